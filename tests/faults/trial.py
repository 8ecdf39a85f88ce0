"""Tasks run by forks of one process that has imported everything, and what they leave."""

import multiprocessing
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .case import Case, Material
from .processes import run_case
from .results import Said, said
from .tasks import Task

SECONDS = 120
FORK = multiprocessing.get_context("fork")
CHECKPOINT = ".orbax-checkpoint-tmp"  # ends the names of temporary folders


class Whole(NamedTuple):
    """Undisturbed run of a task.

    Attributes:
        said: by its folder.
        seconds: duration.
        changes: to files that its Python code makes.
        saves: temporary folders of checkpoints among them.
        size: of its results on a disk, in bytes.
    """

    said: Said
    seconds: float
    changes: int
    saves: int
    size: int


class Ended(NamedTuple):
    """End of a command: its exit code, negative for a signal, and its output."""

    code: int
    errors: str


class Trial:
    """Runs tasks in folders below `base`, by forks of this process, which must not use JAX."""

    def __init__(self, base: Path) -> None:
        self.base, self.data, self.run = base, base / "data", base / "run"

    def make_run(self, task: Task, *, of: Iterable[Task]) -> None:
        """Has a training leave the run that tasks use, if any of them does."""
        if not any("run" in other.command for other in of):
            return
        folder = self.folder("run of all")
        self._must(task, self.end(folder, self.start(folder, task.command)))
        (folder / "work/out").rename(self.run)

    def folder(self, name: str) -> Path:
        """A new folder, with the data and a run in its `work`."""
        folder = self.base / name
        (folder / "work").mkdir(parents=True)
        (folder / "work/data").symlink_to(self.data)
        if self.run.exists():
            shutil.copytree(self.run, folder / "work/run")
        return folder

    def start(
        self,
        folder: Path,
        command: tuple[str, ...],
        before: Callable[[Path], None] = lambda work: None,
    ) -> BaseProcess:
        """Starts a command of `i3ad` in a fork; calls `before` there with its working folder."""

        def prepare(work: Path, material: Material, rng: np.random.Generator) -> None:
            # shells have background jobs ignore it
            signal.signal(signal.SIGINT, signal.default_int_handler)
            before(work)

        (folder / "stderr").unlink(missing_ok=True)
        case = Case(
            "",
            tuple(str(self.data) if word == "data" else word for word in command),
            prepare=prepare,
        )
        process = FORK.Process(
            target=run_case, args=(case, folder, Material(self.data, self.run, {}), 0)
        )
        process.start()
        return process

    def end(self, folder: Path, process: BaseProcess) -> Ended:
        """Waits for the end of a command, or ends it where it takes too long."""
        process.join(SECONDS)
        if process.is_alive():
            send(process, signal.SIGKILL)
            process.join()
            return Ended(-signal.SIGALRM, "hangs")
        errors = folder / "stderr"
        assert process.exitcode is not None
        return Ended(
            process.exitcode, errors.read_text(errors="replace") if errors.exists() else ""
        )

    def said(self, work: Path) -> Said:
        """Content of the folder, read in a fork."""
        parent, child = FORK.Pipe()
        process = FORK.Process(target=lambda: child.send(_attempt(work)))
        process.start()
        found = parent.recv() if parent.poll(SECONDS) else {"": "cannot be read"}
        process.join()
        return found

    def whole(self, task: Task) -> Whole:
        """Runs a task twice without a stop; it has to end in the same bits."""
        first, second = (self._whole(task, number) for number in range(2))
        if first.said != second.said:
            differing = sorted(
                name for name in first.said if first.said[name] != second.said.get(name)
            )
            sys.exit(f"{task.name}: does not end in the same bits by itself: {differing}")
        return second

    def _whole(self, task: Task, number: int) -> Whole:
        folder = self.folder(f"whole {task.name} {number}")
        work, count = folder / "work", folder / "count"
        began = time.monotonic()
        process = self.start(folder, task.command, lambda work: _count_changes(work, count))
        self._must(task, self.end(folder, process))
        seconds = time.monotonic() - began
        changes = count.read_text().splitlines()
        files = (path for path in work.rglob("*") if "run" not in path.parts and path.is_file())
        size = sum(file.lstat().st_blocks * 512 for file in files)
        return Whole(
            self.said(work), seconds, len(changes), sum(map(begins_checkpoint, changes)), size
        )

    def _must(self, task: Task, ended: Ended) -> None:
        if ended.code:
            sys.exit(f"{task.name}: {ended.errors}")


def send(process: BaseProcess, number: int) -> None:
    """Sends a signal to a process's group."""
    if process.is_alive() and process.pid is not None:
        os.killpg(process.pid, number)


def watch_changes(work: Path, found: Callable[[str], object]) -> None:
    """Calls `found` with each change to files in `work` that this process's Python code begins."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not (isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                return
        elif event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
            path = arguments[0]
        else:
            return
        if isinstance(path, str | bytes | os.PathLike):
            whole = str(work / os.fsdecode(path))
            if whole.startswith(f"{work}/"):
                found(f"{event} {os.path.relpath(whole, work)}")

    sys.addaudithook(watch)


def begins_checkpoint(change: str) -> bool:
    """Return whether a change makes a temporary folder of a checkpoint."""
    return change.startswith("os.mkdir") and change.endswith(CHECKPOINT)


def _count_changes(work: Path, file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    watch_changes(work, lambda change: os.write(descriptor, f"{change}\n".encode()))


def _attempt(work: Path) -> Said:
    try:
        return said(work)
    except Exception as error:
        return {"": f"{type(error).__name__}: {error}"}
