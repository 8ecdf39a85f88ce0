"""Processes of one program: exchange of values, errors in all, and their flags."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from i3ad_jax.train import __main__ as train
from tests.conftest import Fails
from tests.support.ports import free_port

# Asserts in each of two processes what both have to find, and gives its number.
EXCHANGE = """
import sys
import numpy as np
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.processes import (
    Processes, agreed, arrays_of_first, by_first, from_first, gathered, is_first, shared_among
)

own = int(sys.argv[2])
Processes(sys.argv[1], 2, own).join()
assert is_first() == (own == 0)
assert gathered(own + 5) == [5, 6]
assert from_first({"a": own}) == {"a": 0}
assert arrays_of_first(np.array([own])).tolist() == [0]
rows, seen = np.arange(131.0), []
squares = shared_among(lambda part: (seen.append(len(part)), part**2)[1], rows)
np.testing.assert_array_equal(squares, rows**2)
assert seen == [66]
by_first(lambda: print("written", own))
assert agreed(lambda: own) == own

def refuse():
    if own == 1:
        raise InputError("no such file")

try:
    agreed(refuse)
except InputError as error:
    print(own, error)
"""


@pytest.mark.slow
def test_processes_exchange_values_and_fail_together() -> None:
    where = f"127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", EXCHANGE, where, str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(2)
    ]
    printed = [process.communicate(timeout=120)[0] for process in started]
    assert printed == ["written 0\n0 process 1 of 2: no such file\n", "1 no such file\n"]
    assert [process.returncode for process in started] == [0, 0]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (["--num-processes", "2"], "need --coordinator"),
        (["--coordinator", "host"], "HOST:PORT"),
        (["--coordinator", "host:65536", "--num-processes", "2", "--process-id", "0"], "HOST:PORT"),
        (
            ["--coordinator", "host:1234", "--process-id", "0"],
            "needs --num-processes and --process-id",
        ),
        (
            ["--coordinator", "host:1234", "--num-processes", "2", "--process-id", "2"],
            "must be 0 to 1",
        ),
        (["--coordinator", "auto", "--num-processes", "2"], "leave them out"),
    ],
)
def test_flags_of_processes_that_do_not_fit_together(
    given: list[str], problem: str, fails: Fails, tmp_path: Path
) -> None:
    assert problem in fails(train.main, ["--run", tmp_path / "run", *given])
    assert not (tmp_path / "run").exists()


def test_a_port_that_is_taken(fails: Fails) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        where = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", "2", "--process-id", "0"]
        assert f"port {port} cannot be used" in fails(train.main, where)


# A process of a training whose partner is lost, as JAX tells it: by one error or the other.
LOSS = """
import sys
import jax
from i3ad_jax import command_line
from i3ad_jax.runtime.processes import Processes

def command(arguments):
    Processes(sys.argv[1], 1, 0).join()
    error = {"runtime": jax.errors.JaxRuntimeError, "value": ValueError, "own": ValueError}
    raise error[sys.argv[2]]("a mistake" if sys.argv[2] == "own" else "UNKNOWN: Gloo failed")

command_line.run(command)
"""


@pytest.mark.parametrize("kind", ["runtime", "value", "own"])
def test_a_lost_process_is_told_from_a_mistake_in_one_line(kind: str) -> None:
    address = f"localhost:{free_port()}"
    ended = subprocess.run(
        [sys.executable, "-c", LOSS, address, kind], capture_output=True, text=True, timeout=120
    )
    lines = ended.stderr.strip().splitlines()
    if kind == "own":
        assert (ended.returncode, lines[0]) == (1, "Traceback (most recent call last):")
    else:
        assert (ended.returncode, len(lines)) == (2, 1)
        assert lines[0].startswith("error: another process of this training")
