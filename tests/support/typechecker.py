"""Checker of array shapes and types at run time, named by `--jaxtyping-packages` in .ci/run."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

# A whole number is a float, as everywhere in Python's typing.
_beartype: Any = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, checked by beartype where it takes or gives arrays of a stated shape.

    Where it does not, a wrong argument is the package's own to refuse, in a line for the user.
    """
    hints = getattr(function, "__annotations__", {}).values()
    return _beartype(function) if any("jaxtyping" in repr(hint) for hint in hints) else function
