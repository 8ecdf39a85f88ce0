"""`python -m benchmarks.commands`: time whole commands, from start to exit, by version.

These are the times that users wait for.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median
from subprocess import run
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.processes import Cost, clean_environment, cost_of
from benchmarks.stopwatch import machine
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.data.load import absolute_source, load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder

PROGRAM = "python -m benchmarks.commands"
COLUMNS = ("command", "version", "seconds", "images_per_second", "peak_megabytes", "times_as_fast")
HERE, OTHER = "this", "other"
SIDES = (64, 1600)  # of the photographs, spread evenly over their logarithm
GRAIN = 5.0  # of 255, standard deviation: smooth pictures are written much faster than a camera's


@dataclass(frozen=True)
class Flags:
    """Time train and predict as processes, and write commands.json and .md to OUT.

    With --against the same commands of another installation take turns with this one's, and the
    ratio of each is printed: a ratio below 1 means that the command has become slower.
    """

    out: Path = Path("commands")
    """Folder for the table."""
    data: str = "textures:weave"
    """Training data, in any form that train takes; the photographs are its test images in other
    sizes."""
    against: Path | None = None
    """The Python of another environment, in which another version is installed."""
    images: int = 500
    """Photographs to predict: JPEG files with sides of 64 to 1,600 pixels."""
    steps: int = 60
    """Training steps of the quick preset."""
    rounds: int = 3
    """Times that each command runs; a training runs once."""


@dataclass(frozen=True)
class Installation:
    """A version of the package, and the run that it trained."""

    name: str
    python: Path
    run: Path
    cache: Path

    def command(self, name: str, *arguments: str | Path, cache: Path | None = None) -> Cost:
        """Measure `python -m i3ad_jax.NAME` with its own compiled programs or those in `cache`."""
        command = [self.python, "-m", f"i3ad_jax.{name}", *arguments]
        return cost_of(command, environment=clean_environment(cache or self.cache))

    def can_save(self) -> bool:
        """Return whether its `predict` has the option --save."""
        command = [self.python, "-m", "i3ad_jax.predict", "--help"]
        environment = clean_environment(self.cache)
        found = run(command, capture_output=True, text=True, cwd=self.cache, env=environment)
        return "--save" in found.stdout

    def commit(self) -> str:
        """Return the commit in its run; unknown where it was not installed from a repository."""
        return read_json(RunFolder(self.run).environment)["git_commit"] or "unknown"


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if flags.against is not None and not flags.against.exists():
        raise InputError(
            f"--against {flags.against}: no such file; give the Python of an environment"
        )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "photographs").mkdir()
        photographs = write_photographs(flags, root / "photographs")
        pythons = {HERE: Path(sys.executable)} | ({OTHER: flags.against} if flags.against else {})
        versions = []
        for name, python in pythons.items():
            (root / name).mkdir()
            versions.append(Installation(name, python.absolute(), root / name / "run", root / name))
        costs = measure(versions, photographs, root, flags)
        notes = {
            "data": flags.data,
            "photographs": flags.images,
            "steps of the training": flags.steps,
            "rounds": flags.rounds,
            **{f"{version.name} version, commit": version.commit() for version in versions},
        }
    publish(flags.out, "commands", COLUMNS, list(rows(costs, flags)), notes={**notes, **machine()})


def measure(
    versions: Sequence[Installation], photographs: Sequence[Path], root: Path, flags: Flags
) -> dict[tuple[str, str], list[Cost]]:
    """The costs of each command, of each version in turn."""
    costs: dict[tuple[str, str], list[Cost]] = {}
    data, outs = absolute_source(flags.data), count()
    selective = {version.name: version.can_save() for version in versions}

    def predict(
        version: Installation, images: Sequence[Path], *saved: str, cache: Path | None = None
    ) -> Cost:
        save = ["--save", *saved] if saved and selective[version.name] else []
        out = root / f"out{next(outs)}"
        return version.command("predict", version.run, *images, "--out", out, *save, cache=cache)

    every = [photographs[0].parent]
    cases: Mapping[str, Callable[[Installation], Cost]] = {
        "predict, 1 image": lambda version: predict(version, photographs[:1]),
        f"predict, {flags.images} images, scores": lambda version: predict(
            version, every, "scores"
        ),
        f"predict, {flags.images} images, maps and pictures": lambda version: predict(
            version, every, "scores", "maps", "pictures"
        ),
    }
    with tqdm(total=len(versions) * (2 + len(cases) * flags.rounds), unit="command") as progress:
        for version in versions:
            progress.set_description("train")
            train = [
                "--preset",
                "quick",
                "--data",
                data,
                "--run",
                version.run,
                "--steps",
                str(flags.steps),
            ]
            costs["train", version.name] = [version.command("train", *train)]
            progress.update()
        for version in versions:
            progress.set_description("predict, first start")
            empty = root / f"{version.name}_first_start"
            costs["predict, 1 image, nothing compiled", version.name] = [
                predict(version, photographs[:1], cache=empty)
            ]
            progress.update()
        for case, call in cases.items():
            progress.set_description(case)
            for _ in range(flags.rounds):
                for version in versions:
                    costs.setdefault((case, version.name), []).append(call(version))
                    progress.update()
    return costs


def rows(costs: Mapping[tuple[str, str], Sequence[Cost]], flags: Flags) -> Iterator[dict[str, Any]]:
    """A row for each command and version; `times_as_fast` is this version against the other."""
    for (case, version), measured in costs.items():
        seconds = median(cost.seconds for cost in measured)
        row: dict[str, Any] = {
            "command": case,
            "version": version,
            "seconds": seconds,
            "peak_megabytes": max(cost.peak_bytes for cost in measured) / 1e6,
        }
        if f", {flags.images} images" in case:
            row["images_per_second"] = flags.images / seconds
        if version == HERE and (case, OTHER) in costs:
            row["times_as_fast"] = median(cost.seconds for cost in costs[case, OTHER]) / seconds
        yield row


def write_photographs(flags: Flags, folder: Path) -> list[Path]:
    """JPEG files of many sizes, made from the test images of the data, with a camera's grain.

    Raises:
        InputError: the data cannot be read.
    """
    sources = load_dataset(flags.data, size=(256, 256), aspect="stretch").test.images
    rng, paths = np.random.default_rng(0), []
    for number in range(flags.images):
        width, height = np.exp(rng.uniform(*np.log(SIDES), size=2)).astype(int).tolist()
        paths.append(folder / f"{number:04}.jpg")
        resized = np.asarray(
            Image.fromarray(sources[number % len(sources)]).resize((width, height))
        )
        grainy = np.clip(resized + rng.normal(0, GRAIN, resized.shape), 0, 255).astype(np.uint8)
        Image.fromarray(grainy).save(paths[-1], quality=90)
    return paths


if __name__ == "__main__":
    command_line.run(main)
