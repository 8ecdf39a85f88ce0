"""Whole commands as processes: seconds from start to exit, and the most memory they held."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from i3ad_jax.errors import InputError
from i3ad_jax.predict.__main__ import UNUSABLE_PICTURES

# Linux counts the memory of the parent to a process's peak: a small one starts the command.
_START = """
import os, sys, time
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ), 0)
with open(sys.argv[1], "w") as file:
    print(time.perf_counter() - start, usage.ru_maxrss, file=file)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Cost(NamedTuple):
    """Cost of a process: seconds, and bytes of resident memory at its peak."""

    seconds: float
    peak_bytes: int


def cost_of(command: Sequence[str | Path], *, environment: Mapping[str, str]) -> Cost:
    """Runs a command to its end in an empty folder, so that only installed modules count.

    Pictures that `predict` calls unusable are scored like others.

    Raises:
        InputError: the command fails; with the last line that it printed.
    """
    with tempfile.TemporaryDirectory() as empty, tempfile.NamedTemporaryFile("r") as cost:
        words = [str(word) for word in command]
        found = subprocess.run(
            [sys.executable, "-c", _START, cost.name, *words],
            cwd=empty,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if found.returncode not in (0, UNUSABLE_PICTURES):
            last = found.stdout.strip().rpartition("\n")[2]
            raise InputError(f"{' '.join(words)}: exit code {found.returncode}; {last}")
        seconds, kilobytes = cost.read().split()
    return Cost(float(seconds), 1024 * int(kilobytes))


def clean_environment(cache: Path) -> dict[str, str]:
    """Return this process's variables except for ones that mix installations.

    Compiled programs go to `cache`.
    """
    mixing = {"PYTHONPATH", "JAX_COMPILATION_CACHE_DIR"}
    kept = {name: value for name, value in os.environ.items() if name not in mixing}
    return {**kept, "XDG_CACHE_HOME": str(cache)}
