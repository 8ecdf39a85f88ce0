"""Fills the disk at every write, makes room, continues, and compares with an undisturbed run.

`python -m tests.faults.full_disk` gives each command a file system in memory, of sizes from nothing
to more than the command needs. It must end in one line or succeed, leave no wrong file that a
reader accepts, and with more room end in the same bits. Linux's root alone may mount; for others it
is skipped.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .case import Case, Material, judge
from .commands import on
from .material import set_environment, warm_up, write_data
from .mounts import may_mount, mount, own_namespace
from .results import left_over, wrong_but_readable
from .tasks import TASKS, TRAIN_I3AD, Task
from .trial import FORK, Trial, Whole

_NAMES = (
    "train i3ad",
    "train pca",
    "evaluate",
    "predict npy",
    "predict png",
    "predict blocks",
    "pack",
    "export",
)
_BEYOND = 1.4  # times what a whole command leaves: while it works it needs more


class Level(NamedTuple):
    """A size of the file system and what became of the command there."""

    task: str
    size: int
    outcome: str
    miss: str


def on_disk(task: Task) -> Task:
    """The task with its results on the file system that is filled, in `disk`."""
    command, again = (on(each, out="disk/out") for each in (task.command, task.again))
    return Task(task.name, command, again, f"disk/{task.begun}")


def try_level(trial: Trial, task: Task, whole: Whole, size: int) -> Level:
    """Runs a task on a file system of `size` bytes, and again on a larger one.

    The process has to have its own namespace of mounts.
    """
    folder = trial.folder(f"disk {task.name} {size}")
    work, disk = folder / "work", folder / "work/disk"
    disk.mkdir()
    mount(disk, f"size={size}")
    try:
        ended = trial.end(folder, trial.start(folder, task.command))
        case = Case("", task.command, "either")
        material = Material(trial.data, trial.run, {})
        outcome, detail = judge(case, work, code=ended.code, errors=ended.errors, material=material)
        misses = [] if outcome in ("accepted", "refused") else [f"{outcome}: {detail}"]
        if wrong := wrong_but_readable(work, whole.said):
            misses.append(f"wrong but readable: {wrong}")
        subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
        if outcome != "accepted":
            ended = trial.end(folder, trial.start(folder, task.next_command(work)))
        found = trial.said(work)
        if ended.code:
            misses.append(f"could not go on: {ended.errors[-300:]}")
        elif differing := sorted(
            name for name in found | whole.said if found.get(name) != whole.said.get(name)
        ):
            misses.append(f"ended differently: {differing} {found.get('', '')}")
        if left := left_over(work):
            misses.append(f"left behind: {left}")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
    shutil.rmtree(folder)
    return Level(task.name, size, outcome, "; ".join(misses))


def main() -> None:
    """Parses the command line, fills, prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.full_disk", description=__doc__)
    parser.add_argument("--levels", type=int, default=40, help="sizes for each command")
    parser.add_argument(
        "--only", nargs="+", default=list(_NAMES), help="commands, by their names in tasks.py"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands at a time")
    flags = parser.parse_args()
    if not may_mount():
        print("skipped: only root on Linux may mount a file system of some bytes")
        return
    tasks = [on_disk(task) for task in TASKS if task.name in flags.only]
    levels = []
    with tempfile.TemporaryDirectory(prefix="full_disk_") as temporary:
        base = Path(temporary).resolve()
        set_environment(base)
        warm_up()
        write_data(base / "data")
        trial = Trial(base)
        trial.make_run(TRAIN_I3AD, of=tasks)
        with ProcessPoolExecutor(flags.jobs, mp_context=FORK, initializer=own_namespace) as pool:
            plan = [
                (trial, task, whole, size)
                for task, whole in zip(tasks, pool.map(trial.whole, tasks), strict=True)
                for size in _sizes(whole, flags.levels)
            ]
            for level in pool.map(_level, plan):
                levels.append(level)
                print(
                    f"{level.task} on {level.size} bytes: {level.outcome}; {level.miss or 'right'}",
                    flush=True,
                )
    print("| command | sizes | refused | accepted | misses |\n| --- | ---: | ---: | ---: | ---: |")
    for name in dict.fromkeys(level.task for level in levels):
        own = [level for level in levels if level.task == name]
        refused, accepted = (
            sum(x.outcome == kind for x in own) for kind in ("refused", "accepted")
        )
        print(
            f"| {name} | {len(own)} | {refused} | {accepted} | {sum(bool(x.miss) for x in own)} |"
        )
    sys.exit(any(level.miss for level in levels))


def _sizes(whole: Whole, levels: int) -> list[int]:
    """Sizes of the file system in bytes, whole pages; fewer than `levels` where these coincide."""
    last = _BEYOND * whole.size / levels
    return sorted({int(last * number) // 4096 * 4096 + 4096 for number in range(levels)})


def _level(arguments: tuple[Trial, Task, Whole, int]) -> Level:
    return try_level(*arguments)


if __name__ == "__main__":
    main()
