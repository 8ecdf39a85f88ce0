"""Run folders damaged file by file and key by key."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .case import Case, Expected, Material
from .commands import COMMANDS, PREDICT
from .files import DAMAGE, Damage, copy_run, written

JSON_FILES = (
    "run.json",
    "config.json",
    "calibration.json",
    "plan.json",
    "files.json",
    "results.json",
)
TEXTS = {
    "list": "[]",
    "null": "null",
    "object": "{}",
    "number": "1",
    "nan": "NaN",
    "deep": "[" * 100_000,
    "deep-object": '{"a":' * 100_000,
    "latin-1": '{"\xe9": 1}',
    "surrogate": '{"a": "\\ud800"}',
}
VALUES: dict[str, Any] = {
    "null": None,
    "list": [],
    "object": {},
    "text": "text",
    "huge": 10**400,
    "infinite": float("inf"),
    "nan": float("nan"),
    "true": True,
    "nested": [[[{}]]],
}
GONE = "gone"
# What lies where Orbax looks for checkpoints, and is none.
STRAY: dict[str, Damage] = {
    "file": written(b""),
    "7-empty": lambda checkpoints, rng: (checkpoints / "7").mkdir(),
    "7-file": lambda checkpoints, rng: written(b"")(checkpoints / "7", rng),
    "empty": lambda checkpoints, rng: _emptied(checkpoints),
}
_COMMANDS = {**COMMANDS, "predict": PREDICT}


def cases(run: Path) -> Iterator[Case]:
    """Cases of a run folder; the files and keys of the example `run` are damaged in turn."""
    files = sorted(file.relative_to(run).as_posix() for file in run.rglob("*") if file.is_file())
    for file in (file for file in files if not Path(file).name.startswith(".")):
        for damage in (*DAMAGE, GONE):
            for name in _commands_that_read(file):
                yield _damaged(file, damage, name)
    for stray in STRAY:
        for name in ("predict", "resume", "export"):
            yield _strayed(stray, name)
    for file in (*JSON_FILES, "environment.json", "metrics.jsonl"):
        for text in TEXTS:
            for name in _commands_that_read(file):
                yield _rewritten(file, text, name)
    for file in JSON_FILES:
        values = json.loads((run / file).read_text())
        for place in _places(values):
            # A report reads the results alone: fewer kinds of damage will do for so many keys.
            for kind in ("null", "text", GONE) if file == "results.json" else (*VALUES, GONE):
                yield _changed(file, place, kind, "report" if file == "results.json" else "predict")


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _strayed(stray: str, name: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_run(folder, material)
        checkpoints = folder / "run/checkpoints"
        if stray == "file":
            shutil.rmtree(checkpoints)
        STRAY[stray](checkpoints, rng)

    return Case(
        f"runs/checkpoints/{stray}/{name}", _COMMANDS[name], _expected(name), prepare=prepare
    )


def _commands_that_read(file: str) -> tuple[str, ...]:
    if file in (
        "results.json",
        "scores.csv",
        "environment.json",
        "metrics.jsonl",
    ) or file.startswith("maps"):
        return ("report",)
    if file == "files.json":
        return ("predict", "resume", "export")
    if file in ("config.json", "calibration.json"):
        return ("predict", "evaluate", "report")
    return ("predict",)


def _damaged(file: str, damage: str, name: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_run(folder, material)
        if damage == GONE:
            (folder / "run" / file).unlink()
        else:
            DAMAGE[damage][0](folder / "run" / file, rng)

    return Case(f"runs/{file}/{damage}/{name}", _COMMANDS[name], _expected(name), prepare=prepare)


def _rewritten(file: str, text: str, name: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_run(folder, material)
        (folder / "run" / file).write_text(TEXTS[text], encoding="latin-1")

    named = "" if file in ("environment.json", "metrics.jsonl", "results.json") else file
    expected: Expected = "refused" if named else "either"
    if name == "report":  # says on the page what is not there
        named, expected = "", "either"
    return Case(f"runs/{file}/{text}/{name}", _COMMANDS[name], expected, named, prepare)


def _changed(file: str, place: tuple[str | int, ...], kind: str, name: str) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_run(folder, material)
        values = json.loads((folder / "run" / file).read_text())
        *above, last = place
        inside = values
        for key in above:
            inside = inside[key]
        if kind == GONE:
            del inside[last]
        else:
            inside[last] = VALUES[kind]
        text = json.dumps(values).replace(
            json.dumps(10**400), "1e400" if len(above) % 2 else "1" + "0" * 400
        )
        (folder / "run" / file).write_text(text)

    where = ".".join(map(str, place))
    return Case(
        f"runs/{file}/{where}={kind}/{name}", _COMMANDS[name], _expected(name), prepare=prepare
    )


def _expected(name: str) -> Expected:
    return "same" if name == "predict" else "either"


def _places(values: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every key and, of lists, the first place, down to the leaves."""
    keys = (
        list(values)
        if isinstance(values, dict)
        else range(isinstance(values, list) and len(values) > 0)
    )
    for key in keys:
        yield (*above, key)
        yield from _places(values[key], (*above, key))
