"""A case of bad input, and what became of it."""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from .meaning import Meaning, meaning

Expected = Literal["accepted", "refused", "either", "same", "equal"]
"""`equal`: accepted, with the very result of the usual input. `same`: so, or refused."""
Outcome = Literal[
    "accepted",
    "refused",
    "untidy",
    "unnamed",
    "different",
    "infinite",
    "traceback",
    "hang",
    "killed",
]

# check and predict end in 1 and 3 where they used all but some images, predict in 4 where pictures
# are unusable
ACCEPTED_CODES = (0, 1, 3, 4)
REFUSED_CODE = 2
OUT = "out"
SCORES, TESTED = "scores", "tested"
_PROGRESS = re.compile(
    r"%\||\d+(image|step) \[|[a-z]+/s\]|^[a-z ]+: (compiling \.\.\.|\d+/\d+ [a-z]+ \(\d+ %\))"
)
_TEMPORARY = re.compile(r"\.(.+\.\d+|\d+\..+)$")


class Material(NamedTuple):
    """Material of the cases.

    Attributes:
        data: a data set in MVTec layout.
        run: a finished run of pca on it.
        usual: meanings of results, by name: `scores` of what predict gives for a test image by this
            run, `tested` of the run's own test, others of the usual forms of input.
    """

    data: Path
    run: Path
    usual: Mapping[str, Meaning]


Prepare = Callable[[Path, Material, np.random.Generator], None]
"""Fills the folder that a case runs in."""


def nothing(folder: Path, material: Material, rng: np.random.Generator) -> None:
    """Prepare nothing: the case needs no files."""


@dataclass(frozen=True)
class Case:
    """A command of `i3ad` on bad input.

    Attributes:
        name: unique; what stands before the first slash is its group.
        command: the arguments of `i3ad`; `python` files are relative to the case's folder.
        expected: required end.
        named: parts that the line of a refusal has to name; a word of it is enough where there are
            several.
        cause: words that it has to hold, all of them.
        usual: name of the result in the material that its own must equal, if it is "equal" or
            "same".
        prepare: makes its files.
        directory: working folder, relative to its folder.
        environment: variables to set, or to take away where they are None.
        limits: of resources, by their names in `resource`, in bytes or files.
        fresh: in a new process, not in a fork: for what Python or JAX reads when it starts.
        stdout: the file that standard output goes to; by default it is kept to be looked at.
    """

    name: str
    command: tuple[str, ...]
    expected: Expected = "refused"
    named: str = ""
    prepare: Prepare = nothing
    cause: str = ""
    usual: str = SCORES
    directory: str = "."
    environment: Mapping[str, str | None] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    fresh: bool = False
    stdout: str | None = None

    @property
    def group(self) -> str:
        """Kind of the case."""
        return self.name.partition("/")[0]


class Result(NamedTuple):
    """Result of a case."""

    case: Case
    outcome: Outcome
    detail: str
    seconds: float

    @property
    def missed(self) -> bool:
        """True if the case did not end as it must."""
        allowed = {
            "accepted": {"accepted"},
            "refused": {"refused"},
            "either": {"accepted", "refused"},
            "same": {"accepted", "refused"},
            "equal": {"accepted"},
        }
        return self.outcome not in allowed[self.case.expected]


def judge(
    case: Case, folder: Path, *, code: int, errors: str, material: Material
) -> tuple[Outcome, str]:
    """The outcome of a case that has ended, and its last words.

    Args:
        case: the case.
        folder: folder of the case.
        code: of its exit; negative for a signal.
        errors: its standard error.
        material: source of its files.
    """
    # Bars overwrite their own line; what is printed next to one begins after its last return.
    errors = errors.replace("\x1b[A", "")  # of a bar within a bar, TFDS's
    lines = [part for line in errors.splitlines() for part in line.split("\r") if part.strip()]
    lines = [line for line in lines if not _PROGRESS.search(line)]
    said = [line for line in lines if not line.startswith("warning: ")]
    last = said[-1] if said else ""
    if "Traceback" in errors:
        return "traceback", last
    if code < 0:
        return "killed", f"signal {-code}; {last}"
    if leftovers := [path.name for path in folder.rglob(".*") if _TEMPORARY.fullmatch(path.name)]:
        return "untidy", f"left {leftovers[0]}"
    if code == REFUSED_CODE:
        if len(said) != 1 or not said[0].startswith("error: "):
            return "untidy", f"{len(said)} lines: {' | '.join(said)[:300]}"
        if case.named and not any(word in last for word in case.named.split()):
            return "unnamed", last
        if not all(word in last for word in case.cause.split()):
            return "unnamed", f"not of {case.cause}: {last}"
        return "refused", last
    if code not in ACCEPTED_CODES:
        return "untidy", f"exit code {code}; {last}"
    if case.expected in ("equal", "same"):
        found, usual = meaning(folder / OUT), material.usual[case.usual]
        if found != usual and (found or case.expected == "equal"):
            return "different", _difference(found or (), usual)
    for table in (folder / OUT / "predictions.csv", folder / OUT / "scores.csv"):
        if table.exists() and _not_finite(table):
            return "infinite", table.read_text()
    return "accepted", last


def _difference(found: Meaning, usual: Meaning) -> str:
    """Return the first rows that only one of two results has."""
    only, lacks = [*{*found} - {*usual}], [*{*usual} - {*found}]
    return f"has {sorted(only)[:2]}, not {sorted(lacks)[:2]}; {len(found)} rows of {len(usual)}"


def _not_finite(table: Path) -> bool:
    """Return whether a score in a table is not finite; rows of unused images have no score."""
    with table.open(encoding="utf-8", newline="") as rows:
        cells = [cell.lower() for row in csv.reader(rows) for cell in row]
    return not {"nan", "inf", "-inf"}.isdisjoint(cells)
