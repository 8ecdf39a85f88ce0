"""`python -m benchmarks.timing_table`: the paper's Table 2 on this machine, beside PyTorch."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.experimental.compilation_cache import compilation_cache

from benchmarks.stopwatch import copy_bandwidth, environment, matmul_rate, paired, resident_growth
from benchmarks.subject import Subject, load_subject
from benchmarks.tables import write_markdown
from i3ad_jax import command_line
from i3ad_jax.errors import InputError

PROGRAM = "python -m benchmarks.timing_table"
PASSES_AT_START = 4
QUICK_ITERATIONS = 4
# Mean absolute difference of two loops' SSIM maps. Rounding alone moves pixels whose score is next to u in or
# out of a mask, and what is inpainted there differs.
MAPS_AGREE = {"float32": 2e-3, "bfloat16": 5e-2}
PAPER = {
    "framework": "PyTorch 1.5, Quadro RTX 8000 (the paper's Table 2, not measured here)",
    "variant": "paper",
}
PAPER_SECONDS = {"anogan": (63.4, 500), "iterative_projection": (0.70, 50), "i3ad": (0.58, 30)}
COLUMNS = (
    *("method", "framework", "variant", "dtype", "batch", "image_size", "early_exit", "iterations"),
    *("seconds_per_image", "p95_seconds_per_image", "ratio_to_best_torch", "compile_seconds"),
    *("second_start_seconds", "peak_memory_bytes", "fraction_of_matmul_rate"),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Flags:
    """Time the test-time loop in JAX and in PyTorch, in turns, and write timing_table.json and .md to OUT.

    Nothing else should run on the machine meanwhile. The timing is refused where the two do not give the
    same maps.
    """

    out: Path = Path("timing_table")
    """Folder for the table."""
    run: Path | None = None
    """A trained run: its weights, image size, u and test images, and rows for the early exit. Without it, the
    paper's network (256 x 256, width 24) with weights as they are drawn."""
    batches: tuple[int, ...] = ()
    """Images that go through the loop together; by default 1 and 4, on a GPU 1, 16 and 64."""
    rounds: int = 3
    """Times that each variant runs."""
    quick: bool = False
    """4 iterations and 2 rounds, for a look within 10 minutes on two cores."""


@dataclass(frozen=True)
class Variant:
    """One way to run the loop on a batch; `run` gives the SSIM maps."""

    framework: str
    name: str
    dtype: str
    run: Callable[[], Any]
    memory: int | None = None
    compile_seconds: float | None = None
    second_start_seconds: float | None = None


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if flags.rounds < 1 or min(flags.batches, default=1) < 1:
        raise InputError("--rounds and --batches: must be at least 1")
    jax.config.update("jax_enable_compilation_cache", False)
    rounds = 2 if flags.quick else flags.rounds
    subject = load_subject(flags.run, iterations=QUICK_ITERATIONS if flags.quick else None)
    batches = flags.batches or ((1, 16, 64) if jax.default_backend() == "gpu" else (1, 4))
    limits = {dtype: matmul_rate(dtype) for dtype in ("float32", "bfloat16")}
    machine = {
        **environment(),
        "matmul_operations_per_second": limits,
        "copy_bytes_per_second": copy_bandwidth(),
    }
    rows = [
        {**PAPER, "method": method, "iterations": iterations, "seconds_per_image": seconds, "image_size": 256}
        for method, (seconds, iterations) in PAPER_SECONDS.items()
    ]
    for batch in batches:
        # Few CPUs compute in bfloat16. Where it is emulated, one batch of it is long enough.
        dtypes = (
            ("float32", "bfloat16") if batch == batches[0] or jax.default_backend() == "gpu" else ("float32",)
        )
        rows += time_batch(subject, batch, dtypes=dtypes, rounds=rounds, matmul_rates=limits)
    if flags.run:
        rows += time_queue(
            subject, batches[-1], rounds=rounds, twin=fastest_torch(rows, batches[-1], "float32")
        )
    rows = [{column: row.get(column) for column in COLUMNS} for row in rows]
    flags.out.mkdir(parents=True, exist_ok=True)
    (flags.out / "timing_table.json").write_text(json.dumps(rows, indent=2) + "\n")
    (flags.out / "environment.json").write_text(json.dumps(machine, indent=2) + "\n")
    write_markdown(flags.out / "timing_table.md", COLUMNS, rows, notes=machine)
    print((flags.out / "timing_table.md").read_text())


def time_batch(
    subject: Subject, batch: int, *, dtypes: Sequence[str], rounds: int, matmul_rates: dict[str, float]
) -> list[Row]:
    """Rows of all variants of the loop of fixed length."""
    variants = [*_torch_variants(subject, batch, dtypes), *_jax_variants(subject, batch, dtypes)]
    maps, firsts, memory = {}, {}, {}
    for variant in variants:
        key = (variant.framework, variant.name, variant.dtype)

        def first_run(variant: Variant = variant, key: tuple[str, str, str] = key) -> None:
            start = time.perf_counter()
            maps[key] = np.asarray(variant.run())
            firsts[key] = time.perf_counter() - start

        grown = resident_growth(first_run)
        memory[key] = variant.memory or (
            torch.cuda.max_memory_allocated() if torch.cuda.is_available() else grown
        )
    keys = dict(zip(maps, variants, strict=True))
    reference = maps["JAX", "fixed", "float32"]
    for key, value in maps.items():
        difference = float(np.abs(value - reference).mean())
        if not difference <= MAPS_AGREE[key[2]]:
            raise RuntimeError(f"{' '.join(key)}: its maps differ by {difference:.2g} on average; not timed")
    runs = {" ".join(key): variant.run for key, variant in keys.items()}
    seconds = paired(runs, rounds=rounds, label=f"batch {batch}")
    passes = PASSES_AT_START + subject.config.refine.iterations
    rows = []
    for key, variant in keys.items():
        times = np.array(seconds[" ".join(key)]) / batch
        per_image = float(np.median(times))
        compiles = "compile" in variant.name
        work = subject.operations() * passes if variant.framework == "JAX" else None
        rows.append(
            {
                "method": "i3ad",
                "framework": variant.framework,
                "variant": variant.name,
                "dtype": variant.dtype,
                "batch": batch,
                "image_size": subject.config.data.image_size,
                "early_exit": False,
                "iterations": subject.config.refine.iterations,
                "seconds_per_image": per_image,
                "p95_seconds_per_image": float(np.percentile(times, 95)),
                "compile_seconds": firsts[key] - per_image * batch if compiles else variant.compile_seconds,
                "second_start_seconds": variant.second_start_seconds,
                "peak_memory_bytes": memory[key],
                "fraction_of_matmul_rate": work and work / per_image / matmul_rates[variant.dtype],
            }
        )
    for row in rows:
        row["ratio_to_best_torch"] = fastest_torch(rows, batch, row["dtype"]) / row["seconds_per_image"]
    return rows


def fastest_torch(rows: list[Row], batch: int, dtype: str) -> float:
    """Seconds an image of PyTorch's best variant."""
    return min(
        row["seconds_per_image"]
        for row in rows
        if (row["framework"], row.get("batch"), row.get("dtype")) == ("PyTorch", batch, dtype)
    )


def time_queue(subject: Subject, slots: int, *, rounds: int, twin: float) -> list[Row]:
    """The row of all test images as one queue, where each takes only the iterations it needs."""
    images, count = jnp.asarray(subject.images), jnp.int32(len(subject.images))
    start = time.perf_counter()
    queue = subject.compile(subject.loop(slots=slots), images, count)
    compile_seconds = time.perf_counter() - start
    refined = jax.block_until_ready(queue(subject.state, images, count))
    fixed = subject.compile(subject.loop(), images[:slots])(subject.state, images[:slots])
    difference = float(jnp.abs(fixed.score - refined.score[:slots]).mean())
    if not difference <= MAPS_AGREE["float32"]:
        raise RuntimeError(f"queue: its maps differ by {difference:.2g} on average; not timed")
    run = {"queue": lambda: jax.block_until_ready(queue(subject.state, images, count))}
    times = np.array(paired(run, rounds=rounds, label="queue")["queue"]) / len(images)
    memory = queue.memory_analysis()
    seconds = float(np.median(times))
    return [
        {
            "method": "i3ad",
            "framework": "JAX",
            "variant": "queue",
            "dtype": "float32",
            "batch": slots,
            "image_size": subject.config.data.image_size,
            "early_exit": True,
            "iterations": float(refined.iterations.mean()),
            "seconds_per_image": seconds,
            "p95_seconds_per_image": float(np.percentile(times, 95)),
            "ratio_to_best_torch": twin / seconds,
            "compile_seconds": compile_seconds,
            "peak_memory_bytes": _bytes(memory),
        }
    ]


def _torch_variants(subject: Subject, batch: int, dtypes: Sequence[str]) -> list[Variant]:
    images, variants = subject.tensors(batch), []
    # On a CPU torch.compile calls a C++ compiler.
    can_compile = torch.cuda.is_available() or which("g++") or which("clang++")
    if not can_compile:
        print("no C++ compiler: torch.compile is left out", file=sys.stderr)
    best = "compile, channels_last" if can_compile else "eager, channels_last"
    kinds = {("eager, channels_last", "float32"), *((best, dtype) for dtype in dtypes)}
    for name, dtype in sorted(kinds, reverse=True):
        loop = subject.torch_loop(compiled=name.startswith("compile"), dtype=dtype)
        run = lambda loop=loop: loop(images).cpu().numpy()  # noqa: E731
        variants.append(Variant("PyTorch", name, dtype, run))
    return variants


def _jax_variants(subject: Subject, batch: int, dtypes: Sequence[str]) -> list[Variant]:
    images, variants = jnp.asarray(subject.batch(batch)), []
    for dtype in dtypes:
        program, *seconds = _compile_twice(subject, subject.loop(dtype=dtype), images)
        run = lambda program=program: np.asarray(program(subject.state, images).score)  # noqa: E731
        memory = _bytes(program.memory_analysis())
        variants.append(Variant("JAX", "fixed", dtype, run, memory, *seconds))
    return variants


def _compile_twice(subject: Subject, loop: Callable[..., Any], images: Any) -> tuple[Any, float, float]:
    """The program, and the seconds to get it at a first start and, from a cache, at a second."""

    def compile_it() -> tuple[Any, float]:
        jax.clear_caches()
        start = time.perf_counter()
        program = subject.compile(loop, images)
        return program, time.perf_counter() - start

    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", cache)
        compilation_cache.reset_cache()  # or JAX goes on with the folder that it knew
        _, first = compile_it()
        program, second = compile_it()
        jax.config.update("jax_enable_compilation_cache", False)
    return program, first, second


def _bytes(memory: Any) -> int:
    """What a program needs in all, by the compiler's own account."""
    return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes


if __name__ == "__main__":
    command_line.run(main)
