"""Damages every file of a run, a half-trained run, a pack and an export at places all along it.

`python -m tests.faults.damage` flips a bit, cuts the file or zeroes 64 bytes at each twentieth of
its length, and reads all again. It must be refused or give the very same scores, data or end of the
training. The table has a row for each file; damage that changed a result is printed with the
command that repeats it, and the exit code is 1.
"""

import argparse
import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .commands import PACK, on
from .material import set_environment, write_data
from .tasks import TRAIN_I3AD

PLACES = 20
_STEPS = 4  # of a half-trained run, whose training has twice as many


class Damage(NamedTuple):
    """Damage of a file of a subject.

    Attributes:
        subject: run, half, pack or export.
        file: its path there.
        kind: flipped, cut or zeroed.
        place: in twentieths of the file's length.
    """

    subject: str
    file: str
    kind: str
    place: int

    def __str__(self) -> str:
        return f"{self.subject}/{self.file}/{self.kind}/{self.place}"


def spoil(file: Path, kind: str, place: int) -> None:
    """Flips a bit, cuts the file short or zeroes 64 bytes at a twentieth of its length."""
    content = bytearray(file.read_bytes())
    first = place * len(content) // PLACES
    match kind:
        case "flipped":
            content[first] ^= 1 << (first % 8)
        case "cut":
            del content[first:]
        case "zeroed":
            content[first : first + 64] = bytes(len(content[first : first + 64]))
    file.write_bytes(content)


def damages(subject: str, folder: Path, number: int) -> Iterator[Damage]:
    """Damages of each file, at `number` places, evenly spaced.

    Not of the log of the training: its rows are drawn, and nothing is computed from them.
    """
    for file in sorted(
        path for path in folder.rglob("*") if path.is_file() and path.stat().st_size
    ):
        for kind in ("flipped", "cut", "zeroed"):
            for place in range(0, PLACES, PLACES // number):
                if file.name not in (".lock", "metrics.jsonl"):
                    yield Damage(subject, file.relative_to(folder).as_posix(), kind, place)


def read_run(folder: Path, data: Path) -> object:
    """Scores and maps of the test images."""
    from i3ad_jax import Detector

    found = Detector.load(folder).score(data / "test")
    return [
        (each.name, each.scores, each.anomalous, each.anomaly_map().tobytes()) for each in found
    ]


def read_half(folder: Path, data: Path) -> object:
    """The end of the training that continues from there, and its calibration."""
    from i3ad_jax.runs.run_folder import RunFolder
    from i3ad_jax.train.session import train_and_test

    run = RunFolder(folder)
    config = run.read_config()
    config = dataclasses.replace(
        config, training=config.training.with_settings({"steps": 2 * _STEPS})
    )
    train_and_test(config, run, resume=True)
    rows = [{k: v for k, v in row.items() if k != "steps_per_second"} for row in run.read_metrics()]
    return (run.calibration.read_bytes(), run.scores.read_bytes(), rows)


def read_pack(folder: Path, data: Path) -> object:
    """All that a training reads from there."""
    from i3ad_jax.data.load import load_dataset

    found = load_dataset(str(folder), size=(32, 32), aspect="stretch")
    return [
        (
            *map(str, dataclasses.astuple(dataclasses.replace(split, images=split.images[:0]))),
            _digest(split.images),
        )
        for split in (found.train, found.test)
    ]


def read_export(folder: Path, data: Path) -> object:
    """Scores, verdicts and maps of some images."""
    from i3ad_jax.export import load_exported

    program, about = load_exported.load(folder)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    found = program(images)
    about_images = (about["working_size"], about["aspect"])
    return about_images, [
        (part, name, np.asarray(x).tobytes()) for part in found for name, x in found[part].items()
    ]


READERS: Mapping[str, Callable[[Path, Path], object]] = {
    "run": read_run,
    "half": read_half,
    "pack": read_pack,
    "export": read_export,
}


class Subjects:
    """Folders to damage, each with what it gives whole, below `base`."""

    def __init__(self, base: Path) -> None:
        self.base, self.data = base, base / "data"

    def make(self, names: Iterable[str]) -> None:
        """Makes those of these names, by processes."""
        write_data(self.data)
        half = (*TRAIN_I3AD.command, "--steps", str(_STEPS), "--run", "half")
        commands = {
            "run": (TRAIN_I3AD.command, ("export", "out", "--out", "export")),
            "half": (half,),
            "pack": (on(PACK, out="pack"),),
        }
        for command in (each for name in commands.keys() & set(names) for each in commands[name]):
            done = subprocess.run(
                [sys.executable, "-m", "i3ad_jax", *command],
                cwd=self.base,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                sys.exit(f"{command}: {done.stderr}")
        if (self.base / "out").exists():
            (self.base / "out").rename(self.base / "run")
        for subject in {"run", "half"} & set(names):  # results, which no command reads but report
            for name in ("results.json", "scores.csv", "report.html", "cases.png"):
                (self.base / subject / name).unlink()
            for name in ("maps", "samples"):
                shutil.rmtree(self.base / subject / name)

    def try_damage(self, damage: Damage) -> str:
        """Outcome: refused, same, different, or the error's type."""
        folder = Path(tempfile.mkdtemp(prefix="damage_")) / damage.subject
        shutil.copytree(self.base / damage.subject, folder)
        spoil(folder / damage.file, damage.kind, damage.place)
        try:
            return self.outcome(damage.subject, folder)
        finally:
            shutil.rmtree(folder.parent)

    def outcome(self, subject: str, folder: Path) -> str:
        """Result of reading a folder of a subject."""
        from i3ad_jax.errors import InputError

        try:
            found = READERS[subject](folder, self.data)
        except InputError:
            return "refused"
        except Exception as error:  # the reader of exports has no errors of its own
            return "refused" if subject == "export" else f"{type(error).__name__}: {error}"[:200]
        return "same" if found == _expected(self, subject) else "different"


_EXPECTED: dict[tuple[Path, str], object] = {}


def _expected(subjects: Subjects, subject: str) -> object:
    """Results of the undamaged folder."""
    key = subjects.base, subject
    if key not in _EXPECTED:
        copy = Path(tempfile.mkdtemp(prefix="whole_")) / subject
        shutil.copytree(subjects.base / subject, copy)
        _EXPECTED[key] = READERS[subject](copy, subjects.data)
        shutil.rmtree(copy.parent)
    return _EXPECTED[key]


def _digest(values: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(values[:]).tobytes()).hexdigest()


def main() -> None:
    """Parses the command line, damages, prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.damage", description=__doc__)
    parser.add_argument("--subjects", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--places", type=int, default=PLACES, help="in each file, a divisor of 20")
    parser.add_argument("--only", nargs="+", default=[""], help="damages whose name begins so")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    flags = parser.parse_args()
    done: list[tuple[Damage, str]] = []
    with tempfile.TemporaryDirectory(prefix="damages_") as temporary:
        set_environment(Path(temporary))
        subjects = Subjects(Path(temporary).resolve())
        subjects.make({*flags.subjects, "run"} if "export" in flags.subjects else flags.subjects)
        planned = [
            damage
            for subject in flags.subjects
            for damage in damages(subject, subjects.base / subject, flags.places)
            if str(damage).startswith(tuple(flags.only))
        ]
        with ProcessPoolExecutor(flags.jobs, initializer=_quiet) as pool:
            futures = [(damage, pool.submit(subjects.try_damage, damage)) for damage in planned]
            for damage, future in futures:
                try:
                    outcome = future.result()
                except BrokenProcessPool:
                    sys.exit(f"{damage}: or the one beside it ended the process")
                done.append((damage, outcome))
                if outcome not in ("refused", "same"):
                    print(
                        f"{outcome}: python -m tests.faults.damage --only {str(damage)!r}",
                        flush=True,
                    )
    print(table(done))
    sys.exit(any(outcome not in ("refused", "same") for _, outcome in done))


def _quiet() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    warnings.simplefilter("ignore")


def table(done: list[tuple[Damage, str]]) -> str:
    """Counts of outcomes by file, as a Markdown table."""
    rows = [
        "| file | refused | same | different | other errors |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in (*dict.fromkeys(f"{damage.subject}/{damage.file}" for damage, _ in done), "all"):
        own = [
            outcome
            for damage, outcome in done
            if name in (f"{damage.subject}/{damage.file}", "all")
        ]
        counts = Counter(own)
        known = [counts[outcome] for outcome in ("refused", "same", "different")]
        rows.append(f"| {' | '.join(map(str, (name, *known, len(own) - sum(known))))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
