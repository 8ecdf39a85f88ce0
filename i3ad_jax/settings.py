"""Settings: frozen dataclasses that are checked whether from flags, JSON or Python.

A field's bounds stand beside its default. The commands turn each field into a flag of the same
name; the text below a field is that flag's help. Each part of the package keeps the settings that
it owns.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, get_args, get_origin

from i3ad_jax.errors import InputError, did_you_mean

Own = TypeVar("Own", bound="Settings")


class SettingError(InputError):
    """A setting has an invalid value; the message names it as a flag."""

    def __init__(self, name: str, value: Any, problem: str) -> None:
        self.setting, self.problem = name, problem
        shown = " ".join(map(str, value)) if isinstance(value, tuple | list) else value
        super().__init__(f"{flag(name)} {shown}".rstrip() + f": {problem}")


class _WrongTypeError(Exception):
    """A value of the wrong type; the message says what it must be."""


def setting(
    default: Any,
    *,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
) -> Any:
    """Return a field of `Settings` with bounds of each number in it: minimum <= value, and so on.

    `above` and `below` are the strict ones: above < value.
    """
    bounds = {"minimum": minimum, "above": above, "maximum": maximum, "below": below}
    stated = {name: bound for name, bound in bounds.items() if bound is not None}
    return dataclasses.field(default=default, metadata=stated)


@dataclass(frozen=True)
class Settings:
    """Base of all settings: numbers, strings, tuples of numbers, and other settings; hashable.

    Raises:
        SettingError: on construction, where a value has another type than its field, is infinite or
            not a number, or is outside its bounds.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, hint = getattr(self, field.name), hints[field.name]
            try:
                value = _typed(value, hint.__bound__ if isinstance(hint, TypeVar) else hint)
            except _WrongTypeError as error:
                raise SettingError(field.name, value, f"must be {error}") from None
            object.__setattr__(self, field.name, value)
            for number in value if isinstance(value, tuple) else (value,):
                if (problem := _outside(number, field.metadata)) is not None:
                    raise SettingError(field.name, value, problem)

    def to_json(self) -> dict[str, Any]:
        """The settings as nested dicts of JSON values."""
        return dataclasses.asdict(self, dict_factory=_json_object)

    def flat(self) -> dict[str, Any]:
        """Return every setting by its name, which is its flag's too, nested settings included."""
        flat: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            flat |= value.flat() if isinstance(value, Settings) else {field.name: value}
        return flat

    def with_settings(self: Own, changes: dict[str, Any]) -> Own:
        """These settings with some changed, each by its own name, wherever it is nested.

        Raises:
            SettingError: a value is invalid, or there is no such setting.
        """
        if unknown := changes.keys() - self.flat().keys():
            name = min(unknown)
            raise SettingError(
                name, changes[name], f"no such setting here; one of {', '.join(self.flat())}"
            )
        new = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Settings):
                own = {name: changes[name] for name in changes.keys() & value.flat().keys()}
                new[field.name] = value.with_settings(own) if own else value
            elif field.name in changes:
                new[field.name] = changes[field.name]
        return dataclasses.replace(self, **new)

    @classmethod
    def from_json(cls: type[Own], values: Any) -> Own:
        """The settings that `to_json` gave.

        Raises:
            SettingError: a setting is missing, unknown, of the wrong type or outside its bounds.
        """
        return _from_json(cls, typing.get_type_hints(cls), values)


def settings_from_json(values: Any, parts: dict[str, Any], kind: type[Any]) -> Any:
    """The settings of class `kind`, of whose fields `parts` gives types that its hints leave open.

    Raises:
        SettingError: as `Settings.from_json`.
    """
    return _from_json(kind, typing.get_type_hints(kind) | parts, values)


def _json_object(values: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON has no tuples: what is compared with a file has to be what the file gives."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def flag(name: str) -> str:
    """A setting's flag."""
    return f"--{name.replace('_', '-')}"


def _from_json(kind: type[Any], hints: dict[str, Any], values: Any) -> Any:
    if not isinstance(values, dict):
        raise SettingError(kind.__name__, values, "must be a JSON object")
    names = [field.name for field in dataclasses.fields(kind)]
    for name in names:
        if name not in values:
            raise SettingError(name, "", "is missing")
    for name in values:
        if name not in names:
            raise SettingError(name, values[name], "is unknown")
    arguments = {}
    for name in names:
        hint, value = hints[name], values[name]
        nested = isinstance(hint, type) and issubclass(hint, Settings)
        arguments[name] = hint.from_json(value) if nested else value
    return kind(**arguments)


def _typed(value: Any, hint: Any) -> Any:
    """`value` as the type `hint` has it: whole numbers for floats and lists for tuples will do.

    Raises:
        _WrongTypeError: it is of another type.
    """
    origin, options = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in options:
            return None
        (hint,) = (option for option in options if option is not type(None))
        return _typed(value, hint)
    if origin is Literal:
        return _one_of(value, options)
    if origin is tuple:
        if not isinstance(value, tuple | list):
            raise _WrongTypeError(f"a list of {'texts' if options[0] is str else 'numbers'}")
        return tuple(_typed(item, options[0]) for item in value)
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if hint is float and isinstance(value, Real) and not isinstance(value, bool):
        return _finite(value)
    if issubclass(hint, str | Settings) and isinstance(value, hint):
        return value
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    raise _WrongTypeError(names.get(hint, hint.__name__))


def _one_of(value: Any, options: tuple[Any, ...]) -> Any:
    """Return `value` if it is one of the options of a literal, and of the type of one."""
    if type(value) in {type(option) for option in options} and value in options:
        return value
    names = [str(option) for option in options]
    raise _WrongTypeError(f"one of {', '.join(names)}{did_you_mean(str(value), names)}")


def _finite(value: Real) -> float:
    """Return `value` as a finite float."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _WrongTypeError("a finite number")
    return number


def _outside(value: Any, bounds: Mapping[str, float]) -> str | None:
    """Return what `value` must be, where it is outside the bounds."""
    if value is None or not bounds:
        return None
    inside = {
        "minimum": lambda bound: value >= bound,
        "above": lambda bound: value > bound,
        "maximum": lambda bound: value <= bound,
        "below": lambda bound: value < bound,
    }
    if all(inside[name](bound) for name, bound in bounds.items()):
        return None
    words = {
        "minimum": "at least",
        "above": "more than",
        "maximum": "at most",
        "below": "less than",
    }
    return "must be " + " and ".join(f"{words[name]} {bound:g}" for name, bound in bounds.items())
