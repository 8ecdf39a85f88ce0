"""The switch of the workarounds for XLA's CPU back end.

On by default. `I3AD_CPU_WORKAROUNDS=0` in the environment turns it off for a process, and
`with workarounds(False):` for a part of one: JAX keeps programs apart that were traced under
different values.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax import lax

VARIABLE = "I3AD_CPU_WORKAROUNDS"


def default(environment: Mapping[str, str]) -> bool:
    """Return whether the switch is on in a process with these environment variables."""
    return environment.get(VARIABLE, "1") != "0"


workarounds = jax.make_user_context(default(os.environ))


def workarounds_wanted(platform: str) -> bool:
    """Return whether programs for a platform, by JAX's name, have the workarounds for CPUs."""
    return platform == "cpu" and workarounds.value


def by_platform(*arguments: Any, workaround: Callable[..., Any], plain: Callable[..., Any]) -> Any:
    """Return `plain` of the arguments, or `workaround` where the program is compiled for a CPU.

    The platform is that of the compilation: a program traced for several has both.
    """
    if not workarounds_wanted("cpu"):
        return plain(*arguments)
    return lax.platform_dependent(*arguments, cpu=workaround, default=plain)
