"""Killed commands, full disks, damage in place and clock jumps: a quick slice of the trials."""

import gc
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from tests.faults.damage import Subjects, damages, spoil

ROOT = Path(__file__).parents[1]


def trial(name: str, *flags: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.faults.{name}", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_killed_commands_go_on_to_the_same_bits() -> None:
    trial("kills", "--kills", "4", "--stops", "2", "--only", "train pca", "pack")


@pytest.mark.slow
def test_what_a_full_disk_stops_goes_on_to_the_same_bits() -> None:
    trial("full_disk", "--levels", "4", "--only", "pack")


# TensorStore's reads of a damaged file end after the error has been told.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "kind", ["flipped", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("cut", "zeroed"))]
)
def test_a_damaged_checkpoint_is_refused_or_the_same(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(pca_run, tmp_path / "run")
    (tmp_path / "data").symlink_to(tiny_folder)
    subjects = Subjects(tmp_path)
    found = {
        damage: subjects.try_damage(damage)
        for damage in damages("run", tmp_path / "run", 1)
        if damage.file.startswith("checkpoints") and damage.kind == kind
    }
    time.sleep(1)  # until they have ended, and so in this test
    gc.collect()
    assert "refused" in found.values()
    assert set(found.values()) <= {"refused", "same"}, found


def test_damage_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    file, content = tmp_path / "file", bytes(range(1, 201))
    ends = {"flipped": content[51:], "cut": b"", "zeroed": bytes(63) + content[114:]}
    for kind, end in ends.items():
        file.write_bytes(content)
        spoil(file, kind, 5)
        assert file.read_bytes()[:50] == content[:50]
        assert file.read_bytes()[51:] == end
        assert file.read_bytes() != content


@pytest.fixture
def whole(run_of: Callable[[str], Path]) -> Path:
    """A run of six steps that nothing disturbed."""
    return run_of("l2_ae")


@pytest.fixture
def stopped(whole: Path, tmp_path: Path) -> Path:
    """The same run as it was after four steps."""
    unfinished = shutil.ignore_patterns("6", "calibration.json", "results.json", "scores.csv")
    return shutil.copytree(whole, tmp_path / "run", ignore=unfinished)


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch, stopped: Path) -> None:  # noqa: ARG001 (made before)
    """A clock that goes back by an hour whenever somebody looks."""
    hours, now = count(1), time.time()
    for clock in ("time.time", "tqdm.std.time"):
        monkeypatch.setattr(clock, lambda: now - 3600 * next(hours))


@pytest.mark.usefixtures("backwards")
def test_future_file_times_and_a_clock_going_backwards_change_nothing(
    whole: Path, stopped: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run, images = stopped, shutil.copytree(tiny_folder / "test", tmp_path / "images")
    for path in [*run.rglob("*"), *images.rglob("*")]:
        os.utime(path, (2**32, 2**32))  # in the year 2106
    train.main(["--run", str(run), "--resume"])
    for file in ("calibration.json", "scores.csv"):  # weights are in the first by their digest
        assert (run / file).read_bytes() == (whole / file).read_bytes()
    assert read_json(run / "results.json")["seconds_per_image"] > 0
    rows = RunFolder(run).read_metrics()
    assert [row["step"] for row in rows][-2:] == [4, 6]
    assert all(row["steps_per_second"] > 0 for row in rows)
    out = tmp_path / "out"
    arguments = [str(run), str(images), "--save", "scores", "--out"]
    predict.main([*arguments, str(out)])
    table = (out / "predictions.csv").read_text()
    (out / "predictions.partial.csv").write_text(
        "".join(table.splitlines(keepends=True)[:3]), newline=""
    )
    (out / "predictions.csv").unlink()
    predict.main([*arguments, str(out), "--resume"])
    assert (out / "predictions.csv").read_text() == table
