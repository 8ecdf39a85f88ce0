"""Predictions by Ray's workers, in processes of their own, some of which are killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import TypeVar

import pytest
from conftest import FlagsOf
from pyarrow import parquet

from i3ad_jax import predict, train

pytest.importorskip("ray", reason="Ray is not installed")
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


def readers(pipe: Path) -> list[int]:
    """The processes that have it open, but for this one."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.readlink() == pipe:
                found.append(int(link.parts[2]))
        except OSError:  # closed meanwhile
            continue
    return [process for process in found if process != os.getpid()]


def is_unread(pipe: Path) -> bool:
    """Whether no process has it open to read: those that end keep it for a moment after they left /proc."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return True
    return False


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux to find who reads a file")
def test_killed_workers_and_a_killed_command_lose_and_double_no_image(
    run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(tiny_folder / "test", images)
    (images / "good/0a.png").write_bytes(b"no picture")
    slow = tmp_path / "slow.png"  # read for as long as the test does not write it
    os.mkfifo(slow)
    sources = (run, slow, images)
    arguments = (*sources, "--out", out, "--engine", "ray", "--save", "scores", "--workers", "2")

    with start(*arguments) as command:
        with slow.open("wb"):  # waits until a worker reads it
            (worker,) = eventually(lambda: readers(slow))
            assert worker != command.pid
            os.kill(worker, signal.SIGKILL)
            eventually(lambda: is_unread(slow))
        with slow.open("wb"):  # until the next one does
            (again,) = eventually(lambda: readers(slow))
            assert again not in (command.pid, worker)
            eventually(lambda: len(list(out.glob("predictions/*.parquet"))) == 3)
            command.kill()
            eventually(lambda: is_unread(slow))  # no worker outlives the command
    kept = {part: part.stat().st_mtime_ns for part in out.glob("predictions/*.parquet")}
    assert len(kept) == 3

    content = (tiny_folder / "test/spot/1.png").read_bytes()
    Thread(target=slow.write_bytes, args=(content,)).start()
    with start(*arguments) as second:
        printed, problems = second.communicate()
    assert second.returncode == 3, problems
    assert "of 7 images are anomalous" in printed
    assert "1 images could not be used" in problems
    assert {part: part.stat().st_mtime_ns for part in kept} == kept
    assert sorted(part.name for part in (out / "predictions").iterdir()) == [
        f"part-{number:06}.parquet" for number in range(4)
    ]

    slow.unlink()
    slow.write_bytes(content)
    with pytest.raises(SystemExit, match="3"):
        predict.main([*map(str, sources), "--out", str(tmp_path / "alone"), "--engine", "blocks"])
    found, expected = (parquet.read_table(folder / "predictions") for folder in (out, tmp_path / "alone"))
    assert found == expected


def test_an_error_of_a_worker_is_one_line(run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    images, out = (tiny_folder / "test", broken), tmp_path / "out"
    with start(run, *images, "--out", out, "--engine", "ray", "--strict") as command:
        problems = command.communicate()[1].replace("\r", "\n")
    assert command.returncode == 2
    lines = [line for line in problems.splitlines() if line.strip() and "%|" not in line]
    assert lines == [f"error: {broken}: not a PNG, JPEG, BMP or TIFF image; convert or remove it"]
