"""Processes, on one machine or several, that train together: how they meet, agree and end."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from i3ad_jax.errors import InputError
from i3ad_jax.runtime import relay

Result = TypeVar("Result")
AUTO = "auto"
LAST_PORT = 65535
HEARTBEAT_SECONDS = 30  # after so long without a sign of life a process counts as lost
SHUTDOWN_SECONDS = 30  # that a process waits for the others at its end
ROWS_AT_ONCE = 64  # that processes exchange: they pass through the memory of devices
_LOST_LINE = (
    "error: another process of this training has not come, has ended or cannot be reached: see what"
    " it says, then start all of them again, with --resume if the run has begun"
)
# What JAX's errors say when another process is lost, and not this one's memory or program at fault.
_LOST = re.compile(
    r"[Gg]loo|NCCL|RCCL|UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|[Cc]oordination"
)


@dataclass(frozen=True)
class Processes:
    """Group of processes that train together, and the place of this one."""

    coordinator: str | None = None
    """HOST:PORT of process 0, the same in all processes, to train in several, on one machine or
    more. auto: for SLURM, Open MPI, Kubernetes and Cloud TPUs, where JAX detects the address and
    the two numbers below."""
    num_processes: int | None = None
    """Number of processes that train together; each is started with the same command, with its own
    --process-id."""
    process_id: int | None = None
    """Number of this process, from 0. Process 0 writes the run, which must be on a file system of
    all."""

    def join(self) -> None:
        """Meet the other processes, if there is a coordinator. To be called before JAX is used.

        Raises:
            InputError: the flags do not fit together, or the others were not found.
        """
        self._check()
        if self.coordinator is None:
            return
        named = self.coordinator != AUTO
        _relay_native_output()
        try:
            jax.distributed.initialize(
                self.coordinator if named else None,
                self.num_processes,
                self.process_id,
                cluster_detection_method="deactivate" if named else None,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
        except (ValueError, RuntimeError) as error:
            problem = (
                f"the processes did not meet ({error})"
                if named
                else f"no SLURM, Open MPI, Kubernetes or Cloud TPU found ({error}); give HOST:PORT,"
                " --num-processes and --process-id"
            )
            raise InputError(f"--coordinator {self.coordinator}: {problem}") from error

    def _check(self) -> None:
        numbers = (self.num_processes, self.process_id)
        if self.coordinator is None:
            if numbers != (None, None):
                raise InputError("--num-processes, --process-id: need --coordinator HOST:PORT")
        elif self.coordinator == AUTO:
            if numbers != (None, None):
                raise InputError(
                    "--coordinator auto: finds --num-processes and --process-id itself; leave them"
                    " out"
                )
        elif (
            not (found := re.fullmatch(r".+:(\d{1,5})", self.coordinator))
            or int(found[1]) > LAST_PORT
        ):
            raise InputError(
                f"--coordinator {self.coordinator}: give HOST:PORT of process 0, or auto"
            )
        elif self.num_processes is None or self.process_id is None:
            raise InputError(
                f"--coordinator {self.coordinator}: needs --num-processes and --process-id (or is"
                " auto)"
            )
        elif not 0 <= self.process_id < self.num_processes:
            raise InputError(
                f"--process-id {self.process_id}: must be 0 to {self.num_processes - 1},"
                f" as --num-processes is {self.num_processes}"
            )
        elif self.process_id == 0:
            self._check_port(int(found[1]))

    def _check_port(self, port: int) -> None:
        """Raises InputError if process 0 cannot meet the others there: JAX would crash."""
        try:
            socket.create_server(("", port)).close()
        except OSError as error:
            problem = f"port {port} cannot be used here ({error.strerror})"
            raise InputError(f"--coordinator {self.coordinator}: {problem}") from error


def is_first() -> bool:
    """Return whether this process writes and prints: the only one, or process 0."""
    return not jax.distributed.is_initialized() or jax.process_index() == 0


def gathered(number: int) -> list[int]:
    """The numbers that all processes give, in their order; each waits for all."""
    if not jax.distributed.is_initialized():
        return [number]
    return np.ravel(multihost_utils.process_allgather(np.int32(number))).tolist()


def from_first(value: Any) -> Any:
    """The JSON value that process 0 gives, in all."""
    if not jax.distributed.is_initialized():
        return value
    return json.loads(_text_of(0, json.dumps(value)))


def arrays_of_first(arrays: Result) -> Result:
    """The pytree of arrays that process 0 gives, in all: another processor may round otherwise."""
    return (
        multihost_utils.broadcast_one_to_all(arrays) if jax.distributed.is_initialized() else arrays
    )


def agreed(function: Callable[[], Result]) -> Result:
    """Return the result of `function`; if it fails in one process, it fails in all.

    Raises:
        InputError: it was raised in a process; all others raise it too.
    """
    if not jax.distributed.is_initialized():
        return function()
    try:
        result, problem = function(), None
    except InputError as error:
        result, problem = None, error
    failed = gathered(problem is not None)
    if not any(failed):
        return result  # pyright: ignore[reportReturnType]
    source = failed.index(True)
    text = _text_of(source, str(problem))
    raise problem or InputError(f"process {source} of {len(failed)}: {text}")


def by_first(function: Callable[[], object]) -> None:
    """Runs `function` in process 0 while the others wait; if it fails, all do.

    Raises:
        InputError: it was raised.
    """
    agreed(lambda: is_first() and function())


def shared_among(function: Callable[[Any], Any], rows: Any) -> Any:
    """Return the results of `function` for all rows, each process working on its part.

    Args:
        function: from rows to a pytree of arrays with a row for each.
        rows: an array, at least one row.
    """
    if not jax.distributed.is_initialized():
        return function(rows)
    total, count = len(rows), jax.process_count()
    each = -(-total // count)  # the same for all: the last ones' parts are filled up by copies
    own = function(rows[np.minimum(jax.process_index() * each + np.arange(each), total - 1)])

    def gather(part: np.ndarray) -> np.ndarray:
        pieces = [
            multihost_utils.process_allgather(np.asarray(part[first : first + ROWS_AT_ONCE]))
            for first in range(0, each, ROWS_AT_ONCE)
        ]
        return np.concatenate(pieces, axis=1).reshape(each * count, *part.shape[1:])[:total]

    return jax.tree.map(gather, own)


def is_lost(error: Exception) -> bool:
    """Return whether an error of JAX reports that another process has ended."""
    return jax.distributed.is_initialized() and bool(_LOST.search(str(error)))


def end_alone() -> None:
    """Ends this process after another was lost: one line, exit code 2, no wait for the others."""
    sys.stdout.flush()
    os.write(2, f"{_LOST_LINE}\n".encode())
    os._exit(2)


def _text_of(process: int, text: str) -> str:
    """The text that one process gives, in all."""
    data = text.encode()
    length = gathered(len(data))[process]
    own = np.frombuffer(data[:length].ljust(length), np.uint8)
    sent = multihost_utils.broadcast_one_to_all(own, is_source=jax.process_index() == process)
    return bytes(sent).decode()


def _relay_native_output() -> None:
    """Relay what native libraries print through `relay`, from all of them.

    Python keeps its streams.
    """
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        own = os.fdopen(
            os.dup(number), "w", encoding=stream.encoding, errors=stream.errors, buffering=1
        )
        setattr(sys, name, own)
    lost = f"\n{_LOST_LINE}"  # after the line of a progress bar
    reading = subprocess.Popen(
        [sys.executable, "-I", relay.__file__, lost],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for this process
    )
    assert reading.stdin is not None
    os.dup2(reading.stdin.fileno(), 1)
    os.dup2(reading.stdin.fileno(), 2)
    reading.stdin.close()
    reading.returncode = 0  # it ends after this process, which does not wait for it
