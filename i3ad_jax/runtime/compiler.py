"""`jax.jit` with what XLA's CPU compiler has to be told."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def jit(
    *, optimise: bool = True, **options: Any
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """A decorator: `jax.jit` with `options` and with the compiler options of the device in use.

    The device is asked for at the first call, not where the function is defined.

    Args:
        optimise: False for a program that runs once and takes longer to optimise than to run.
        options: of `jax.jit`.
    """
    level = {} if optimise else {"xla_backend_optimization_level": 0}

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @cache
        def compiled() -> Any:
            return jax.jit(function, compiler_options={**compiler_options(), **level}, **options)

        @wraps(function)
        def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
            return compiled()(*arguments, **keywords)

        return call

    return decorate


@cache
def compiler_options() -> dict[str, str]:
    """On a CPU, Eigen's convolutions in place of YNNPACK's: a generator 1.3 times as fast.

    `benchmarks/README.md` has the measurement. YNNPACK can also crash or hang (jax-ml/jax#39257), so `jit`
    compiles every program of the package. Empty on other devices, and where jaxlib knows no such option.
    """
    if jax.default_backend() != "cpu":
        return {}
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
