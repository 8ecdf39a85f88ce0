"""Processes that prepare at the same time and are then measured one at a time."""

import multiprocessing
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from threading import RLock
from typing import Any, Generic, NamedTuple, TypeVar

from tqdm import tqdm

Task = TypeVar("Task", bound=Hashable)
# Prepares up to its first yield, of None; is sent the message of its turn there; yields results.
Steps = Generator[Any, Any, None]
READY, RESULT, DONE, FAILED = "ready", "result", "done", "failed"
# Each has a device's memory of its own, and only a fresh process has none of its parent's threads.
CONTEXT = multiprocessing.get_context("spawn")


class FailedError(Exception):
    """A task failed; the reason is a line."""


class LateError(Exception):
    """A task was not ready, or not measured, in time."""


class Child(NamedTuple):
    """The process of a task, and the parent's end of their pipe."""

    process: Any
    connection: Connection

    def receive(self) -> tuple[str, Any]:
        """Return the kind of the next message, and the message."""
        try:
            return self.connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join()
            code = self.process.exitcode
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            return FAILED, f"its process ended with {how}"

    def end(self) -> None:
        """Ends the process, which frees all its memory."""
        self.process.kill()
        self.process.join()
        self.connection.close()


class Turns(Generic[Task]):
    """A process for each task: several prepare at once, then each is measured alone.

    Attributes:
        work: from a task to its steps; it must be picklable, as it runs in the task's process.
        workers: number of processes that prepare at once; one that is ready waits, and frees its
            place.
    """

    def __init__(self, work: Callable[[Task], Steps], *, workers: int) -> None:
        self.work, self.workers = work, workers
        self._ready: dict[Task, Child] = {}
        self._failed: dict[Task, str] = {}

    def __enter__(self) -> "Turns[Task]":
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._ready.values():
            child.end()

    def prepare(self, tasks: Sequence[Task], *, until: float) -> None:
        """Prepare tasks in their order, and return when all are ready, failed, or late.

        Late ones are ended, so nothing but waiting processes is left.

        Args:
            tasks: the tasks.
            until: the end by `time.monotonic`.
        """
        waiting, busy, start = deque(tasks), dict[Any, tuple[Task, Child]](), time.monotonic()
        while (waiting or busy) and (left := until - time.monotonic()) > 0:
            while waiting and len(busy) < self.workers:
                task = waiting.popleft()
                child = self._begin(task)
                busy[child.connection] = task, child
            for connection in wait(list(busy), timeout=left):
                task, child = busy.pop(connection)
                kind, message = child.receive()
                seconds = time.monotonic() - start
                print(f"{kind} after {seconds:.0f} s: {task}", file=sys.stderr, flush=True)
                if kind == READY:
                    self._ready[task] = child
                else:
                    self._failed[task] = message
                    child.end()
        for _, child in busy.values():
            child.end()

    def results(self, task: Task, message: Any, *, until: float) -> Iterator[Any]:
        """Yield the results of a task as they come; then its process ends.

        Args:
            task: one that was given to `prepare`.
            message: sent to its steps.
            until: the end by `time.monotonic`.

        Raises:
            FailedError: the task failed, before or now.
            LateError: it was not ready in time, or is not done in time.
        """
        if task in self._failed:
            raise FailedError(self._failed.pop(task))
        if task not in self._ready:
            raise LateError
        child = self._ready.pop(task)
        try:
            with suppress(BrokenPipeError):  # it has ended meanwhile, as `receive` says
                child.connection.send(message)
            kind, result = RESULT, None
            while kind != DONE:
                if not child.connection.poll(max(until - time.monotonic(), 0)):
                    raise LateError
                kind, result = child.receive()
                if kind == FAILED:
                    raise FailedError(result)
                if kind == RESULT:
                    yield result
        finally:
            child.end()

    def _begin(self, task: Task) -> Child:
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_run, args=(self.work, task, theirs), daemon=True)
        process.start()
        theirs.close()  # or the pipe would stay open when the process ends
        return Child(process, ours)


def reason(error: Exception) -> str:
    """Return the error's message, short enough for a table."""
    line = (str(error).strip() or repr(error)).splitlines()[0]
    return line.replace("|", "/")[:200]


def _run(work: Callable[[Any], Steps], task: Any, connection: Connection) -> None:
    """Run the steps of a task in its own process."""
    tqdm.set_lock(RLock())  # the one for several processes would outlast this one, which is killed
    try:
        steps = work(task)
        next(steps)
        connection.send((READY, None))
        try:
            message = connection.recv()
        except EOFError:  # the parent has ended
            return
        connection.send((RESULT, steps.send(message)))
        for result in steps:
            connection.send((RESULT, result))
        connection.send((DONE, None))
    except Exception as error:  # whatever it is: the others can still be measured
        connection.send((FAILED, reason(error)))
