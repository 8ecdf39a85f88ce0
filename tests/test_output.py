"""Output into closed pipes, full devices and closed streams, in real processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = [["--help"], ["--version"], ["devices"]]


def run(
    arguments: list[str],
    *,
    unbuffered: bool = False,
    stdout: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess[str]:
    """A command of `i3ad` with these streams; what it prints to the others."""
    environment = {name: x for name, x in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-m", "i3ad_jax", *arguments],
        env=environment | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {}),
        text=True,
        stdout=stdout,
        stderr=stderr,
    )


@pytest.fixture
def closed_pipe() -> int:
    """The end to write to of a pipe that nobody reads; it is closed with the process."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("arguments", PRINTS)
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_closed_pipe_ends_a_command_silently(
    arguments: list[str], unbuffered: bool, closed_pipe: int
) -> None:
    done = run(arguments, unbuffered=unbuffered, stdout=closed_pipe)
    os.close(closed_pipe)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["predict", "nowhere", "x", "--out", "out"]])
def test_errors_into_a_closed_pipe_end_it_too(
    arguments: list[str], closed_pipe: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(arguments, stdout=closed_pipe, stderr=closed_pipe)
    os.close(closed_pipe)
    assert done.returncode == 141
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", PRINTS)
def test_a_full_device_is_one_line(arguments: list[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    done = run(arguments, stdout=full)
    os.close(full)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: standard output")


def test_a_reader_that_leaves_meanwhile_leaves_no_partial_files(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """The bars of a training go nowhere: it ends as it does by Ctrl-C."""
    command = ["train", "--method", "pca", "--data", str(tiny_folder), "--run", "run"]
    training = subprocess.Popen(
        [sys.executable, "-m", "i3ad_jax", *command, "--image-size", "32", "--view", "whole"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert training.stdout is not None
    assert training.stdout.read(1)
    training.stdout.close()
    assert training.wait(60) == 141
    files = (path.name for path in tmp_path.rglob("*"))
    assert [name for name in files if name.startswith(".") and name != ".lock"] == []


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_stream_closed_at_the_start_changes_nothing(stream: str) -> None:
    command = f'exec "$0" -m i3ad_jax --version {stream}>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (stream == "2")
