"""`jax.jit` with what XLA's CPU compiler has to be told."""

from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax

from i3ad_jax.cpu.eigen import eigen_options
from i3ad_jax.cpu.switch import workarounds, workarounds_wanted

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
        def compiled(_: bool) -> Any:  # one for each position of the switch
            return jax.jit(function, compiler_options={**compiler_options(), **level}, **options)

        @wraps(function)
        def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
            return compiled(workarounds.value)(*arguments, **keywords)

        return call

    return decorate


def compiler_options() -> dict[str, str]:
    """Return the compiler options of the device in use: on a CPU those of `cpu.eigen`."""
    return eigen_options() if workarounds_wanted(jax.default_backend()) else {}
