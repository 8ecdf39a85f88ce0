"""Options of the commands, as tyro reads them from dataclasses: choices, groups, help."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from i3ad_jax.config import PRESETS
from i3ad_jax.data.layouts import AUTO, LAYOUTS
from i3ad_jax.methods import METHODS

TITLES = {
    "data": "image",
    "determinism": "reproducibility",
    "engine": "engine",
    "limits": "request",
    "options": "output",
    "preprocessing": "preprocessing",
    "processes": "multi-process",
    "reading": "data set",
    "refine": "inpainting loop",
    "scoring": "calibrated score",
    "segmenter": "segmentation network",
    "settings": "",
    "sizes": "size",
    "ssim": "SSIM",
    "test": "test",
    "threshold": "mask threshold",
    "throughput": "throughput",
    "training": "training",
    "verdict": "verdict",
}
"""Titles of groups of options by the field that holds them; tyro adds the word options."""
_ANNOTATED: Any = Annotated
_LITERAL: Any = Literal


@dataclass
class KnownNames:
    """Names of the options and positional arguments of a command, as fields spell them."""

    options: set[str] = field(default_factory=set)
    positionals: set[str] = field(default_factory=set)


def make_registry(known: KnownNames, *, shown: Collection[str] = ()) -> ConstructorRegistry:
    """Return the rules by which tyro reads the dataclass of a command.

    Args:
        known: gets the names that tyro finds.
        shown: names of the options to keep, all in one group, for a short help; by default all, in
            groups.
    """
    registry, inside = ConstructorRegistry(), False

    @registry.struct_rule
    def read(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal inside
        if inside or not is_dataclass(info.type):
            return None
        inside = True  # tyro's own rule is next
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            inside = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        fields = tuple(_described(each, known, shown=shown) for each in spec.fields)
        return replace(spec, fields=fields)

    return registry


def _described(
    found: StructFieldSpec, known: KnownNames, *, shown: Collection[str]
) -> StructFieldSpec:
    """Return a field with its choices and its place in the help."""
    kind, name = found.type, found.name
    if is_dataclass(found.default) or is_dataclass(get_origin(kind) or kind):
        title = "" if shown else TITLES.get(name, name)
        return _marked(found, tyro.conf.arg(name=title, prefix_name=False))
    found = replace(found, helptext=partial(_joined, found.helptext))
    if tyro.conf.Positional in get_args(kind):
        known.positionals.add(name)
        return _marked(found, tyro.conf.arg(metavar=name.upper(), help_behavior_hint=""))
    known.options.add(name)
    if shown and name not in shown:
        return _marked(found, tyro.conf.Suppress)
    if kind in (str, str | None) and name in (choices := _choices()):
        literal = _LITERAL[choices[name]]
        found = replace(found, type=literal if kind is str else literal | None)
    if found.default in (None, ()):  # the text says what happens by default
        return _marked(found, tyro.conf.arg(help_behavior_hint=""))
    if isinstance(found.default, bool):
        default = "yes" if found.default else "no"
        return _marked(found, tyro.conf.arg(help_behavior_hint=f"(default: {default})"))
    return found


def _choices() -> dict[str, tuple[str, ...]]:
    """Return the choices of options whose values can be registered."""
    return {"method": (*METHODS,), "preset": (*PRESETS,), "layout": (AUTO, *LAYOUTS)}


def _joined(text: str | Callable[[], str | None] | None) -> str | None:
    """Return a help without the line breaks of its source; tyro wraps it."""
    text = text() if callable(text) else text
    return text and " ".join(text.split())


def _marked(found: StructFieldSpec, mark: Any) -> StructFieldSpec:
    return replace(found, type=_ANNOTATED[found.type, mark])
