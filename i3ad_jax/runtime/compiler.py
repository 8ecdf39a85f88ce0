"""`jax.jit` with what XLA's CPU compiler has to be told."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import jax


def jit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator: `jax.jit` with `options` and with the compiler options of the device in use.

    The device is asked for at the first call, not where the function is defined.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @cache
        def compiled() -> Any:
            return jax.jit(function, compiler_options=compiler_options(), **options)

        @wraps(function)
        def call(*arguments: Any) -> Any:
            return compiled()(*arguments)

        return call

    return decorate


@cache
def compiler_options() -> dict[str, str]:
    """On a CPU, Eigen's convolutions in place of YNNPACK's: a generator 1.3 times as fast.

    `benchmarks/README.md` has the measurement. Empty on other devices, and where jaxlib knows no such option.
    """
    if jax.default_backend() != "cpu":
        return {}
    options = {"xla_cpu_experimental_ynn_fusion_type": ""}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return options
