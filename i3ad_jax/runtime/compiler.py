"""`jax.jit` with compiler options: those of CPUs, and of determinism on GPUs."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import jax

from i3ad_jax.cpu.eigen import eigen_options
from i3ad_jax.cpu.switch import workarounds, workarounds_wanted
from i3ad_jax.settings import Settings

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
VARIABLE = "I3AD_DETERMINISTIC"
DETERMINISTIC = {"xla_gpu_exclude_nondeterministic_ops": True, "xla_gpu_autotune_level": 0}
"""Compiler options for GPUs: no operation that adds in any order, no kernel chosen by timing it."""


@dataclass(frozen=True)
class Determinism(Settings):
    """Reproducibility on GPUs."""

    deterministic: bool = False
    """Compute the same bits each time on a GPU, by kernels that are slower or not the fastest. A
    CPU does so anyway. The same as I3AD_DETERMINISTIC=1 in the environment."""

    def apply(self) -> None:
        """Set the environment of this process and of its children, if asked for."""
        if self.deterministic:
            os.environ[VARIABLE] = "1"


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
        def compiled(*_: bool) -> Any:  # one for each position of the switches
            return jax.jit(function, compiler_options={**compiler_options(), **level}, **options)

        @wraps(function)
        def call(*arguments: Parameters.args, **keywords: Parameters.kwargs) -> Result:
            return compiled(workarounds.value, _asked())(*arguments, **keywords)

        return call

    return decorate


def compiler_options() -> dict[str, Any]:
    """Return the compiler options of the device in use."""
    return options_for(jax.default_backend())


def options_for(platform: str) -> dict[str, Any]:
    """Return the compiler options of a platform, by JAX's name.

    For "cpu" those of `cpu.eigen`, for "gpu" `DETERMINISTIC` if asked for.
    """
    if platform == "gpu" and _asked():
        return DETERMINISTIC
    return eigen_options() if workarounds_wanted(platform) else {}


def is_deterministic() -> bool:
    """Return whether programs compute the same bits each time: on a CPU, or where asked for."""
    return jax.default_backend() == "cpu" or _asked()


def _asked() -> bool:
    return os.environ.get(VARIABLE, "0") != "0"
