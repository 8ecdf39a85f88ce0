"""Every option of every command with invalid or unlikely values."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from i3ad_jax.check import __main__ as check
from i3ad_jax.config import default_config
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.export import __main__ as export
from i3ad_jax.methods import METHODS
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.report import __main__ as report
from i3ad_jax.serve.app import Limits
from i3ad_jax.settings import Settings, flag
from i3ad_jax.train import __main__ as train

from .case import Case, Material

NO_NUMBERS = ("text", "", "nan", "inf", "-inf", "1e400", "0x", "1_", "--", "\u0663x")
WHOLE = ("-1", "0", "1", "2", "1000000", "2147483648", "9223372036854775808", "1" + "0" * 30, "1.5")
REAL = ("-1", "0", "1", "1e-320", "0.5", "1e300", "-1e300")
WORDS = ("", "nonsense", "x" * 5000, "a\nb", "-")
# Numbers that some value below 2**31 is too small for, or whose every value makes sense.
_LARGE = {"seed", "threshold"}
SHARED_BY = ("i3ad", "pca")  # methods whose shared settings are tried, too


@dataclass(frozen=True)
class Option:
    """An option of a command: its flag, its type and its bounds."""

    flag: str
    kind: Any
    bounds: Mapping[str, float]

    @property
    def number(self) -> type | None:
        """int or float, alone, optional or in a tuple; None if it is not a number."""
        return next(
            (kind for kind in (int, float) if kind in (self.kind, *typing.get_args(self.kind))),
            None,
        )

    def may_be(self, value: str) -> bool:
        """Return whether the bounds and the size of a computer allow a value."""
        number = self.number
        try:
            given = number(value) if number else 0
        except ValueError:
            return False
        large = self.flag.removeprefix("--") in _LARGE
        if not large and abs(given) > (2**31 - 1 if number is int else 1e299):
            return False
        inside = {
            "minimum": lambda bound: given >= bound,
            "above": lambda bound: given > bound,
            "maximum": lambda bound: given <= bound,
            "below": lambda bound: given < bound,
        }
        return np.isfinite(float(given)) and all(
            inside[name](bound) for name, bound in self.bounds.items()
        )


def options_of(flags: Any) -> Iterator[Option]:
    """Yield the options of a dataclass or of an instance of one, nested ones included."""
    kind = flags if isinstance(flags, type) else type(flags)
    hints = typing.get_type_hints(kind, include_extras=False)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        value = getattr(flags, field.name, None)
        nested = value if isinstance(value, Settings) else hint
        if dataclasses.is_dataclass(nested):
            yield from options_of(nested)
        elif field.name not in ("run", "out", "images", "runs", "data"):
            yield Option(flag(field.name), hint, field.metadata)


def cases() -> Iterator[Case]:
    """Cases of options: all stop, at the latest, where they would write."""
    seen: set[tuple[str, str]] = set()
    for method in METHODS:
        config = default_config(method)
        for part in (config.training, config.test):
            for option in options_of(part):
                yield from _cases(option, f"train-{method}", _train(method))
                seen.add((method, option.flag))
    for method in SHARED_BY:
        for option in options_of(default_config(method)):
            if (method, option.flag) not in seen and option.flag not in ("--training", "--test"):
                yield from _cases(option, f"train-{method}", _train(method))
    for option in options_of(train.Flags):
        if option.flag in ("--image-memory", "--devices", "--minutes"):
            yield from _cases(option, "train", _train("pca"))
    test = evaluate.Flags(Path(), default_config("pca").test)
    for name, kind, command in (
        ("evaluate", test, ("evaluate", "run", "--out", "file/out")),
        ("predict", predict.Flags, ("predict", "run", "data/test/good/0.png", "--out", "file/out")),
        ("pack", pack.Flags, ("pack", "data", "--out", "file/out")),
        ("check", check.Flags, ("check", "data", "--out", "file/out")),
        ("export", export.Flags, ("export", "run", "--out", "file/out")),
        ("report", report.Flags, ("report", "run", "--out", "file/out.html")),
        ("serve", Limits, ("serve", "nowhere")),
    ):
        for option in options_of(kind):
            yield from _cases(option, name, command)
    for value in (*NO_NUMBERS, "-1", "65536", "1" + "0" * 30):
        yield _case(
            Option("--port", int, {"minimum": 0, "maximum": 65535}),
            value,
            "serve",
            ("serve", "run"),
        )


def _train(method: str) -> tuple[str, ...]:
    return ("train", "--method", method, "--data", "data", "--preset", "quick", "--run", "file/run")


def _cases(option: Option, name: str, command: tuple[str, ...]) -> Iterator[Case]:
    values = {int: (*WHOLE, *NO_NUMBERS), float: (*REAL, *NO_NUMBERS), None: WORDS}[option.number]
    for value in () if option.kind is bool else values:
        yield _case(option, value, name, command)


def _case(option: Option, value: str, name: str, command: tuple[str, ...]) -> Case:
    free = option.number is None and str in (option.kind, *typing.get_args(option.kind))
    possible = free or (option.number is not None and option.may_be(value))
    return Case(
        f"options/{name}/{option.flag.removeprefix('--')}={value[:20]!r}",
        (*command, f"{option.flag}={value}"),
        "either" if possible else "refused",
        "" if possible else option.flag,
        prepare=_files,
    )


def _files(folder: Path, material: Material, rng: np.random.Generator) -> None:
    """The data and the run, and a file where a command would make a folder."""
    (folder / "data").symlink_to(material.data)
    (folder / "run").symlink_to(material.run)
    (folder / "file").write_text("in the way")
