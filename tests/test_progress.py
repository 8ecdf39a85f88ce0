"""Progress: a bar on a terminal, lines elsewhere, and a time left without compilation."""

import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from i3ad_jax.runtime.progress import about, duration

# Time is the test's: a first step of a minute and others of a second are counted, not waited for.
PHASE = """
import itertools, sys, time
from i3ad_jax.runtime import progress

clock = 0.0
progress.time.monotonic = lambda: clock
time.time = lambda: clock
import tqdm.std
tqdm.std.time = time.time
first, other, count = map(float, sys.argv[1:])
with progress.progress_bar("train", int(count), unit="step", compiles=True) as bar:
    bar.refresh() if hasattr(bar, "refresh") else None
    for number in range(int(count)):
        clock += other if number else first
        bar.update(1)
"""


def on_terminal(arguments: list[str]) -> str:
    """Output of a process on a terminal."""
    main, secondary = pty.openpty()
    termios.tcsetwinsize(secondary, (24, 100))
    process = subprocess.Popen(arguments, stdout=secondary, stderr=secondary)
    os.close(secondary)
    printed = b""
    try:
        while part := os.read(main, 65536):
            printed += part
    except OSError:  # the end, on Linux
        pass
    os.close(main)
    assert process.wait() == 0, printed
    return printed.decode()


def elsewhere(arguments: list[str]) -> str:
    """Output of a process on standard error, a pipe."""
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stderr


def phase(first: float, other: float, count: int) -> list[str]:
    return [sys.executable, "-c", PHASE, str(first), str(other), str(count)]


def test_off_a_terminal_every_tenth_is_a_line() -> None:
    lines = elsewhere(phase(60, 1, 101)).splitlines()
    assert lines[0] == "train: 11/101 steps (10 %), 1 min 10 s, 2 min left"
    assert lines[-1] == "train: 101/101 steps (100 %), 2 min 40 s"
    assert len(lines) == 10


def test_a_short_phase_has_no_line() -> None:
    assert elsewhere(phase(0.5, 0.001, 100)) == ""


def test_on_a_terminal_the_time_left_leaves_out_compilation() -> None:
    drawn = on_terminal(phase(60, 1, 101)).split("\r")
    assert any("compiling ..." in line for line in drawn)
    after_first = [line for line in drawn if " 1/101 " in line]
    assert after_first
    assert all("<?" in line and "compiling" not in line for line in after_first)
    (eleven, *_) = (line for line in drawn if " 11/101 " in line)
    assert "<01:30" in eleven  # 90 steps of a second


@pytest.mark.parametrize(
    ("seconds", "exact", "rounded"),
    [
        (0.4, "0 s", "0 s"),
        (59.4, "59 s", "59 s"),
        (63, "1 min 3 s", "1 min"),
        (3569, "59 min 29 s", "59 min"),
        (3590, "59 min 50 s", "59 min 50 s"),
        (7500, "2 h 5 min", "2 h 5 min"),
    ],
)
def test_times_are_read_as_people_write_them(seconds: float, exact: str, rounded: str) -> None:
    assert (duration(seconds), about(seconds)) == (exact, rounded)


@pytest.mark.slow
def test_a_training_in_a_pipe_has_lines_and_on_a_terminal_bars(
    tiny_flags: list[str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "i3ad_jax", "train", *tiny_flags, "--run"]
    printed = elsewhere([*command, str(tmp_path / "pipe")])
    assert "\r" not in printed
    lines = [line for line in printed.splitlines() if not line.startswith("warning: ")]
    assert all(re.fullmatch(r"[a-z ]+: (compiling \.\.\.|\d+/\d+ .*)", line) for line in lines)
    phases = [line.partition(":")[0] for line in lines]
    assert max(map(phases.count, phases), default=0) <= 11
    assert re.search(r"train: +100%\|.*6/6", on_terminal([*command, str(tmp_path / "terminal")]))
