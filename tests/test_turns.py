"""Processes that prepare together and are measured one at a time."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.turns import FailedError, LateError, Turns, reason

FOREVER = 600.0


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def only_one(file: Path) -> None:
    """Fails if two processes are here at the same time."""
    file.touch(exist_ok=False)
    time.sleep(0.05)
    file.unlink()


def together_then_alone(folder: Path, number: int, task: str) -> Generator[Any, Any, None]:
    """Prepares only when `number` processes do, and is measured only when alone."""
    (folder / task).touch()
    while len(list(folder.glob("task *"))) < number:
        time.sleep(0.01)
    message = yield
    for _ in range(2):
        only_one(folder / "measured")
        yield f"{task}: {message}"


def alone(folder: Path, task: int) -> Generator[Any, Any, None]:
    only_one(folder / "prepared")
    yield
    yield task


def fails(task: str) -> Generator[Any, Any, None]:
    match task:
        case "raises":
            raise ValueError("no | memory\nat line 3")
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "ends":
            sys.exit(3)
        case "sleeps":
            time.sleep(FOREVER)
    yield
    yield "result"
    if task == "raises later":
        raise ValueError("no time")
    time.sleep(FOREVER)


def test_tasks_prepare_together_and_are_measured_alone(tmp_path: Path) -> None:
    tasks = ["task a", "task b"]
    with Turns(partial(together_then_alone, tmp_path, len(tasks)), workers=2) as turns:
        turns.prepare(tasks, until=soon())
        found = [[*turns.results(task, "go", until=soon())] for task in tasks]
    assert found == [["task a: go"] * 2, ["task b: go"] * 2]


def test_a_task_that_is_ready_makes_room_for_the_next(tmp_path: Path) -> None:
    with Turns(partial(alone, tmp_path), workers=1) as turns:
        turns.prepare([0, 1], until=soon())
        assert [[*turns.results(task, None, until=soon())] for task in (0, 1)] == [[0], [1]]


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ("raises", "no / memory"),
        ("killed", "its process ended with signal 9"),
        ("ends", "its process ended with exit code 3"),
    ],
)
def test_what_fails_is_known_by_its_reason(task: str, line: str) -> None:
    with Turns(fails, workers=2) as turns:
        turns.prepare([task], until=soon())
        with pytest.raises(FailedError) as error:
            next(turns.results(task, None, until=soon()))
    assert str(error.value) == line


def test_results_before_a_failure_are_kept() -> None:
    with Turns(fails, workers=2) as turns:
        turns.prepare(["raises later"], until=soon())
        results = turns.results("raises later", None, until=soon())
        assert next(results) == "result"
        with pytest.raises(FailedError, match=r"^no time$"):
            next(results)


def test_what_is_late_is_ended() -> None:
    with Turns(fails, workers=2) as turns:
        turns.prepare(["fine"], until=soon())
        turns.prepare(["sleeps"], until=soon(0.3))
        assert len(multiprocessing.active_children()) == 1
        for task in ("sleeps", "never begun"):
            with pytest.raises(LateError):
                next(turns.results(task, None, until=soon()))
        results = turns.results("fine", None, until=soon(0.3))
        assert next(results) == "result"
        with pytest.raises(LateError):
            next(results)
    assert multiprocessing.active_children() == []


def test_waiting_processes_end_with_the_turns() -> None:
    with Turns(fails, workers=2) as turns:
        turns.prepare(["fine"], until=soon())
        (child,) = multiprocessing.active_children()
    assert child.exitcode == -signal.SIGKILL


def test_reason_is_a_line_for_a_table() -> None:
    assert reason(MemoryError()) == "MemoryError()"
    assert reason(ValueError("x" * 300)) == "x" * 200
