"""The form of what a JSON file holds: which keys there are, and what kind of value each has."""

import math
from collections.abc import Mapping
from typing import Any, get_args

from i3ad_jax.calibration.standardisation import Standardise
from i3ad_jax.scoring.maps import POOLINGS

Form = type | frozenset[str] | tuple["Form", ...] | Mapping[Any, "Form"] | None
"""A type; one of some texts; any of some forms; an object by its keys, `...` standing for all
others; null. A `float` is finite, and may be a whole number."""

_PART: Form = {"pooling": frozenset(POOLINGS), "weight": float, "score": list, "map": list}
_CHOICES: Mapping[Any, Form] = {
    "learned": {"problem": (str, None), ...: float},
    "standardise": {...: {"by": frozenset(get_args(Standardise)), "reason": str}},
    "pooling": {...: frozenset(POOLINGS)},
    "planted_auroc": {...: {...: float}},
    "thresholds": {...: float},
    "headline": str,
}


def form_of_choices(values: Any) -> Mapping[Any, Form]:
    """Return the form of what a calibration says, in its file and in the results of a test with it.

    Only those of format 3 and later have `fusion`.
    """
    later = isinstance(values, dict) and "fusion" in values
    return {**_CHOICES, "fusion": ({...: _PART}, None)} if later else _CHOICES


def misfit(value: Any, form: Form, *, name: str = "it") -> str | None:
    """Describe what a JSON value must be, beginning with its name; None if it has the form.

    The description is a few words long.
    """
    if isinstance(form, tuple):
        problems = [misfit(value, one, name=name) for one in form]
        return problems[0] if all(problems) else None
    if form is None:
        return None if value is None else f"{name} must be null"
    if isinstance(form, Mapping):
        return _misfit_of_object(value, form, name)
    if isinstance(form, frozenset):
        known = isinstance(value, str) and value in form
        return None if known else f"{value!r} is none of {', '.join(sorted(form))}"
    kinds = (int, float) if form is float else form
    if not isinstance(value, kinds) or (isinstance(value, bool) and form is not bool):
        words = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            str: "text",
            list: "a list",
        }
        return f"{name} must be {words.get(form, form.__name__)}"
    try:
        return None if form is not float or math.isfinite(value) else f"{name} must be finite"
    except OverflowError:
        return f"{name} must be finite"


def _misfit_of_object(value: Any, form: Mapping[Any, Form], name: str) -> str | None:
    if not isinstance(value, dict):
        return f"{name} must be an object"
    for key in (key for key in form if key is not ...):
        if key not in value:
            return f"{key!r} is missing"
    known = {key: own for key, own in value.items() if key in form or ... in form}
    problems = (
        misfit(own, form.get(key, form.get(...)), name=f"{key!r}") for key, own in known.items()
    )
    return next(filter(None, problems), None)
