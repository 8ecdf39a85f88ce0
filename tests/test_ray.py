"""Predictions by Ray's workers, in processes of their own, some of which are killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from PIL import Image

from i3ad_jax.predict import __main__ as predict
from i3ad_jax.train import __main__ as train
from tests.conftest import FlagsOf
from tests.support.progress_lines import without_progress

pytestmark = pytest.mark.slow
pytest.importorskip("ray", reason="pip install -e '.[ray]'")
parquet = pytest.importorskip("pyarrow.parquet", reason="pip install -e '.[ray]'")
Found = TypeVar("Found")
COMPILED_ALIKE = {**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as conftest.py has it


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, flags_of: FlagsOf) -> Path:
    """A run that scores two images at a time."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train.main([*flags_of("pca"), "--queue-size", "2", "--run", str(folder)])
    return folder


def start(*arguments: str | Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "i3ad_jax.predict", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=COMPILED_ALIKE, stdout=pipe, stderr=pipe, text=True)


def eventually(condition: Callable[[], Found]) -> Found:
    while not (found := condition()):
        time.sleep(0.02)
    return found


def workers_of(command: "subprocess.Popen[str]") -> list[int]:
    """The processes that score for a command: children of Ray's node, its child."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended meanwhile
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])

    def is_below(process: int) -> bool:
        return process == command.pid or (process in parents and is_below(parents[process]))

    return [process for process in filter(is_below, parents) if b"ray::Worker" in name_of(process)]


def name_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="needs Linux to find Ray's workers"
)
def test_killed_workers_and_a_killed_command_lose_and_double_no_image(
    run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(tiny_folder / "test", images)
    (images / "good/0a.png").write_bytes(b"no picture")
    # to decode them takes most of the time
    Image.new("RGB", (5000, 5000)).save(images / "large0.png")
    for number in range(1, 16):
        (images / f"large{number}.png").hardlink_to(images / "large0.png")
    arguments = (run, images, "--out", out, "--engine", "ray", "--save", "scores", "--workers", "2")

    def parts() -> list[Path]:
        return sorted(out.glob("predictions/*.parquet"))

    with start(*arguments) as command:
        eventually(parts)
        first, second = workers_of(command)
        os.kill(first, signal.SIGKILL)
        known = {first, second}
        eventually(lambda: set(workers_of(command)) - known and len(parts()) > 3)
        known.update(workers_of(command))
        command.kill()
        eventually(lambda: not any(map(name_of, known)))  # no worker outlives the command
    kept = {part: part.stat().st_mtime_ns for part in parts()}
    assert len(kept) < 11

    with start(*arguments) as again:
        printed, problems = again.communicate()
    assert again.returncode == 3, problems
    assert "of 22 images are anomalous" in printed
    assert "1 images could not be used" in problems
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert [part.name for part in parts()] == [f"part-{number:06}.parquet" for number in range(12)]

    with pytest.raises(SystemExit, match="3"):
        predict.main(
            [
                *(str(run), str(images), "--out", str(tmp_path / "alone")),
                *("--engine", "blocks", "--save", "scores"),
            ]
        )
    found, expected = (
        parquet.read_table(folder / "predictions") for folder in (out, tmp_path / "alone")
    )
    assert found == expected


def test_an_error_of_a_worker_is_one_line(run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images, out = (tiny_folder / "test", broken), tmp_path / "out"
    with start(run, *images, "--out", out, "--engine", "ray", "--strict") as command:
        problems = command.communicate()[1].replace("\r", "\n")
    assert command.returncode == 2
    lines = without_progress(problems.splitlines())
    message = "not a PNG, JPEG, BMP, TIFF or WebP image; convert or remove it"
    assert lines == [f"error: {broken}: {message}"]
