"""Cases in forks of a process that has imported everything, in parallel, each with limits."""

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .case import Case, Material, Result, judge

SECONDS = 60
MEMORY = 6 * 2**30
_FORK = multiprocessing.get_context("fork")


class _Running(NamedTuple):
    case: Case
    process: BaseProcess
    folder: Path
    began: float


def run_cases(
    cases: Sequence[Case],
    folder: Path,
    material: Material,
    *,
    jobs: int,
    seed: int,
    keep: bool = False,
) -> Iterator[Result]:
    """Yield the result of each case, in the order in which they end.

    JAX must not have been used: a fork of a process with its threads would wait for them for ever.

    Args:
        cases: to try.
        folder: in which each has a folder.
        material: source of their files.
        jobs: number at a time.
        seed: of the damage, with each case's name: the others do not change it.
        keep: leave the folders.
    """
    waiting, running = list(reversed(cases)), []
    while waiting or running:
        while waiting and len(running) < jobs:
            case = waiting.pop()
            own = folder / f"{len(waiting):05d}"
            (own / "work").mkdir(parents=True)
            process = _FORK.Process(target=run_case, args=(case, own, material, seed))
            process.start()
            running.append(_Running(case, process, own, time.monotonic()))
        wait([each.process.sentinel for each in running], timeout=1)
        for each in list(running):
            took = time.monotonic() - each.began
            if each.process.is_alive() and took < SECONDS:
                continue
            running.remove(each)
            yield _end(each, material, took)
            if not keep:
                shutil.rmtree(each.folder)


def _end(each: _Running, material: Material, seconds: float) -> Result:
    hangs = each.process.is_alive()
    if hangs and each.process.pid is not None:
        os.killpg(each.process.pid, signal.SIGKILL)
    each.process.join()
    errors = (
        (each.folder / "stderr").read_text(errors="replace")
        if (each.folder / "stderr").exists()
        else ""
    )
    if hangs:
        return Result(
            each.case, "hang", errors.strip().splitlines()[-1] if errors.strip() else "", seconds
        )
    code = each.process.exitcode
    assert code is not None
    outcome, detail = judge(
        each.case, each.folder / "work", code=code, errors=errors, material=material
    )
    return Result(each.case, outcome, detail, seconds)


def run_case(case: Case, folder: Path, material: Material, seed: int) -> None:
    """Set up a case's files, limits and environment in the fork, then run its command."""
    os.setsid()
    work = folder / "work"
    case.prepare(work, material, np.random.default_rng([seed, zlib.crc32(case.name.encode())]))
    for number, file in ((1, case.stdout or folder / "stdout"), (2, folder / "stderr")):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(work / case.directory)
    for name, value in case.environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    limits = {"RLIMIT_DATA": MEMORY, "RLIMIT_CORE": 0, **case.limits}
    for name, limit in limits.items():
        resource.setrlimit(getattr(resource, name), (limit, limit))
    if case.fresh:
        done = subprocess.run([sys.executable, "-m", "i3ad_jax", *case.command])
        sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)
    from i3ad_jax import __main__

    sys.argv = ["i3ad", *case.command]
    __main__.main()
