"""Clocks, memory and the machine's limits."""

import gc
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import which
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from tqdm import tqdm

from i3ad_jax.runs.environment import environment

# Seconds before each run on a CPU: PyTorch's threads go on spinning for a while after their work.
PAUSE = 0.5
SLOW = 3.0  # a variant this many times slower than the fastest in its first round is not run again


def paired(
    variants: dict[str, Callable[[], Any]], *, rounds: int, label: str
) -> dict[str, list[float]]:
    """Return the seconds of each call, in the order A B C A B C ...

    A change of the machine's speed thus affects all variants alike. A variant must have run before,
    or its compilation is clocked too, and must return only with its result.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    with tqdm(total=rounds * len(variants), desc=label, unit="run") as progress:
        for number in range(rounds):
            for name, run in variants.items():
                fastest = min((times[0] for times in seconds.values() if times), default=np.inf)
                if not (number and seconds[name][0] > SLOW * fastest):
                    gc.collect()
                    # A GPU's clock would fall.
                    time.sleep(PAUSE if jax.default_backend() == "cpu" else 0)
                    start = time.perf_counter()
                    run()
                    seconds[name].append(time.perf_counter() - start)
                progress.update()
    return seconds


def median_seconds(
    function: Callable[[], Any], *, rounds: int = 5, label: str = "measure"
) -> float:
    """Median of a few calls after one that is not clocked."""
    function()
    return float(np.median(paired({"": function}, rounds=rounds, label=label)[""]))


def resident_growth(function: Callable[[], Any]) -> int | None:
    """Return the peak rise in bytes of resident memory during a call; None outside Linux."""
    reset, status = Path("/proc/self/clear_refs"), Path("/proc/self/status")
    if not reset.exists():
        return None

    def read(name: str) -> int:
        line = next(line for line in status.read_text().splitlines() if line.startswith(name))
        return 1024 * int(line.split()[1])

    gc.collect()
    reset.write_text("5")  # sets VmHWM, the highest VmRSS so far, back
    before = read("VmRSS")
    function()
    return read("VmHWM") - before


def peak_growth(function: Callable[[], Any]) -> int | None:
    """Bytes that PyTorch took at most during a call: on a GPU by its allocator's account."""
    if torch_device() == "cpu":
        return resident_growth(function)
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    function()
    return torch.cuda.max_memory_allocated() - before


def bytes_needed(program: Any) -> int:
    """Memory that a compiled JAX program needs in all, by the compiler's own account."""
    memory = program.memory_analysis()
    return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes


def matmul_rate(dtype: str) -> float:
    """Operations a second of a large matrix product, the better of JAX and PyTorch.

    Of random numbers: a GPU multiplies constants faster, with less power. There one after the
        other, since
    its clock rises only under work.
    """
    size, times = (8192, 20) if jax.default_backend() == "gpu" else (2048, 1)
    ours = jax.random.normal(jax.random.key(0), (size, size), dtype)
    theirs = torch.randn((size, size), device=torch_device()).to(getattr(torch, dtype))
    product = jax.jit(jnp.matmul)
    if dtype == "bfloat16" and jax.default_backend() == "cpu":
        size = size // 4  # emulated there
        ours, theirs = ours[:size, :size], theirs[:size, :size].contiguous()
    seconds = min(
        median_seconds(lambda: jax.block_until_ready([product(ours, ours) for _ in range(times)])),
        median_seconds(lambda: synchronise([theirs @ theirs for _ in range(times)])),
    )
    return 2 * size**3 * times / seconds


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of copying an array that no cache holds."""
    source = jnp.ones(2**27, jnp.float32)
    copy = jax.jit(lambda x: x + 1)
    return 2 * source.nbytes / median_seconds(lambda: copy(source).block_until_ready())


def torch_device() -> str:
    """Device of PyTorch: the kind that JAX uses."""
    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def can_compile() -> bool:
    """Return whether torch.compile can work: on a CPU it needs a C++ compiler. Prints so if not."""
    found = torch_device() == "cuda" or any(which(name) for name in ("g++", "clang++"))
    if not found:
        print("no C++ compiler: torch.compile is left out", file=sys.stderr)
    return found


def synchronise(result: Any) -> Any:
    """The result, once PyTorch has computed it."""
    if torch_device() == "cuda":
        torch.cuda.synchronize()
    return result


def machine() -> dict[str, Any]:
    """Return what a run records, processor, PyTorch, driver and flags.

    A figure is worth nothing without them.
    """
    return {
        **environment(),
        "processor": processor(),
        "torch": torch.__version__,
        "gpu_driver": gpu_driver(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def gpu_driver() -> str | None:
    """The version of NVIDIA's driver; None without one."""
    if not which("nvidia-smi"):
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def processor() -> str:
    """The CPU's name and its number of cores."""
    info = Path("/proc/cpuinfo")
    lines: Iterable[str] = info.read_text().splitlines() if info.exists() else ()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
