"""Time of each kernel of a JAX program, by JAX's profiler."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

# Lines of a profile that have kernels: streams of a GPU; on a CPU the threads that run operations.
PLANES = {"gpu": ("/device:GPU:", "Stream"), "cpu": ("/host:CPU", "tf_XLA")}
# Events of a CPU's threads that are no operations.
MARKS = ("end: ", "ThreadpoolListener::", "ThunkExecutor::")


class KernelTime(NamedTuple):
    """Times that kernels of a name ran, and the seconds of all of them."""

    kernel: str
    runs: int
    seconds: float


def kernel_times(run: Callable[[], Any]) -> list[KernelTime]:
    """Return the kernels of a call by name, the longest first.

    On a CPU they are operations, and those of a loop count twice: alone and within the loop.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        times = defaultdict[str, list[float]](list)
        for name, seconds in _events(Path(folder)):
            times[name].append(seconds)
    found = [KernelTime(name, len(each), sum(each)) for name, each in times.items()]
    return sorted(found, key=lambda kernel: kernel.seconds, reverse=True)


def _events(folder: Path) -> Iterator[tuple[str, float]]:
    """Name and seconds of each kernel that ran."""
    plane_name, line_name = PLANES[jax.default_backend()]
    for file in folder.rglob("*.xplane.pb"):
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            for line in plane.lines if plane.name.startswith(plane_name) else ():
                if line.name.startswith(line_name):
                    yield from (
                        (event.name, 1e-9 * event.duration_ns)
                        for event in line.events
                        if not event.name.startswith(MARKS)
                    )
