"""`python -m benchmarks.timing_table`: the paper's Table 2 on this machine, beside PyTorch."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.experimental.compilation_cache import compilation_cache
from tqdm import tqdm

from benchmarks.stopwatch import (
    bytes_needed,
    can_compile,
    copy_bandwidth,
    machine,
    matmul_rate,
    paired,
    peak_growth,
)
from benchmarks.subject import TORCH_LOOPS, TORCH_WAYS, Subject, load_subject, untrained
from benchmarks.tables import publish
from i3ad_jax import command_line
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.masks import NUM_CHECKERBOARDS
from i3ad_jax.runs.files import write_json
from i3ad_jax.runtime.devices import copied_to, devices_for

PROGRAM = "python -m benchmarks.timing_table"
QUICK_ITERATIONS = 4
# Later ones repeat the work, and rounding that has moved a mask's pixel grows in them.
CHECKED_ITERATIONS = 1
PAPER_SIZE = 256
# Mean absolute difference of two loops' SSIM maps. Rounding alone moves pixels whose score is next
# to u in or out of a mask, and what is inpainted there differs.
MAPS_AGREE = {"float32": 2e-3, "tf32": 5e-2, "bfloat16": 5e-2}
PAPER_MACHINE = "PyTorch 1.5, Quadro RTX 8000 (the paper's Table 2, not measured here)"
PAPER = {"framework": PAPER_MACHINE, "variant": "paper"}
PAPER_SECONDS = {"anogan": (63.4, 500), "l2_ae_projection": (0.70, 50), "i3ad": (0.58, 30)}
COLUMNS = (
    *("method", "framework", "variant", "dtype", "batch", "image_size", "early_exit", "iterations"),
    *("seconds_per_image", "p95_seconds_per_image", "ratio_to_best_torch", "compile_seconds"),
    *("second_start_seconds", "peak_memory_bytes", "fraction_of_matmul_rate", "ratio_to_mean_cost"),
)
Row = dict[str, Any]


@dataclass(frozen=True)
class Flags:
    """Time the test-time loop in JAX and PyTorch, in turns; write timing_table.json, .md to OUT.

    Nothing else should run on the machine meanwhile. The timing is refused where the two do not
    give the same maps.
    """

    out: Path = Path("timing_table")
    """Folder for the table."""
    run: Path | None = None
    """A run of I3AD trained with --view whole --levelling no --centre none: its weights, image
    size, u and test images, and rows for the early exit. Without it, the paper's networks
    (256 x 256) with random weights."""
    methods: tuple[str, ...] = ("i3ad", "l2_ae_projection")
    """Methods to time without a run: i3ad, l2_ae_projection, anogan (minutes for each image on a
    CPU)."""
    image_size: int = PAPER_SIZE
    """Side of the images in pixels without a run. At another than the paper's, the notes say how
    many operations an image takes at both."""
    batches: tuple[int, ...] = ()
    """Images that go through the loop together; by default 1 and 4, on a GPU 1, 16 and 64."""
    rounds: int = 3
    """Times that each variant runs."""
    quick: bool = False
    """4 iterations and 2 rounds, for a look within 10 minutes on two cores."""


class Variant(NamedTuple):
    """One way to run the loop; `run` gives the SSIM maps. What is not known beforehand is None."""

    framework: str
    name: str
    dtype: str
    run: Callable[[], Any]
    memory: int | None = None
    compile_seconds: float | None = None
    second_start_seconds: float | None = None


class First(NamedTuple):
    """The first run of a variant: its maps, seconds and bytes of memory."""

    maps: np.ndarray
    seconds: float
    memory: int | None


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes and prints the table."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    if flags.rounds < 1 or min(flags.batches, default=1) < 1:
        raise InputError("--rounds and --batches: must be at least 1")
    jax.config.update("jax_enable_compilation_cache", False)
    if not set(flags.methods) <= set(TORCH_LOOPS):
        raise InputError(
            f"--methods {' '.join(flags.methods)}: choose from {' '.join(TORCH_LOOPS)}"
        )
    rounds = 2 if flags.quick else flags.rounds
    sized = (
        {}
        if flags.run
        else {name: _paper_networks(name, flags.image_size) for name in flags.methods}
    )
    subjects = [load_subject(flags.run)] if flags.run else list(sized.values())
    if flags.quick:
        subjects = [subject.with_iterations(QUICK_ITERATIONS) for subject in subjects]
    batches = flags.batches or ((1, 16, 64) if jax.default_backend() == "gpu" else (1, 4))
    limits = {dtype: matmul_rate(dtype) for dtype in ("float32", "bfloat16")}
    rates = {"matmul_operations_per_second": limits, "copy_bytes_per_second": copy_bandwidth()}
    if flags.image_size != PAPER_SIZE:
        paper_sized = {name: _paper_networks(name, PAPER_SIZE) for name in sized}
        for side, each in ((flags.image_size, sized), (PAPER_SIZE, paper_sized)):
            rates[f"operations_per_image_at_{side}"] = {
                name: own.operations() for name, own in each.items()
            }
    notes = {**machine(), **rates}
    rows = [
        {
            **PAPER,
            "method": method,
            "iterations": iterations,
            "seconds_per_image": seconds,
            "image_size": PAPER_SIZE,
        }
        for method, (seconds, iterations) in PAPER_SECONDS.items()
    ]
    for subject in subjects:
        operations = subject.operations()
        least = {dtype: operations / limit for dtype, limit in limits.items()}
        for batch in batches:
            # Few CPUs compute in bfloat16: where it is emulated, one batch of it is long enough.
            # The baselines compute in float32 alone.
            both = batch == batches[0] or jax.default_backend() == "gpu"
            dtypes = (
                ("float32", "bfloat16") if both and subject.method.name == "i3ad" else ("float32",)
            )
            rows += time_fixed(subject, batch, dtypes=dtypes, rounds=rounds, least=least)
    if flags.run:
        for slots in (*batches, 2 * batches[-1]):
            # On one device, to compare with the loop of fixed length; on all, as in the commands.
            counts = {1, devices_for(len(subjects[0].images), together=slots)}
            rows += [
                time_queue(subjects[0], slots, devices=n, rounds=rounds) for n in sorted(counts)
            ]
    compare(rows)
    rows = [{column: row.get(column) for column in COLUMNS} for row in rows]
    publish(flags.out, "timing_table", COLUMNS, rows, notes=notes)
    write_json(flags.out / "environment.json", notes)


def time_fixed(
    subject: Subject, batch: int, *, dtypes: Sequence[str], rounds: int, least: dict[str, float]
) -> list[Row]:
    """Rows of all variants of the loop of fixed length.

    `least` is by dtype the seconds that an image would take at the rate of a large matrix product.
    """
    firsts, variants = first_runs(subject.with_iterations(CHECKED_ITERATIONS), batch, dtypes)
    for name, first in firsts.items():
        check(name, first.maps, firsts["JAX fixed float32"].maps, variants[name].dtype)
    if subject.iterations > CHECKED_ITERATIONS:
        firsts, variants = first_runs(subject, batch, dtypes)
    tried = [(variant, firsts[name]) for name, variant in variants.items()]
    return clock(subject, batch, tried, rounds=rounds, least=least)


def first_runs(
    subject: Subject, batch: int, dtypes: Sequence[str]
) -> tuple[dict[str, First], dict[str, Variant]]:
    """All variants of the loop of fixed length, and the first run of each, by the same names."""
    # After eight shapes of a network PyTorch would silently no longer compile it.
    torch.compiler.reset()
    both = (*_torch_variants(subject, batch, dtypes), *_jax_variants(subject, batch, dtypes))
    variants = {f"{variant.framework} {variant.name} {variant.dtype}": variant for variant in both}
    names = tqdm(
        variants, desc=f"batch {batch}, {subject.iterations} iterations: first run", unit="variant"
    )
    return {name: first_run(variants[name]) for name in names}, variants


def clock(
    subject: Subject,
    batch: int,
    tried: Sequence[tuple[Variant, First]],
    *,
    rounds: int,
    least: dict[str, float],
) -> list[Row]:
    """Rows of variants after their first run, clocked in turns; `least` as in `time_fixed`."""
    runs = {
        f"{variant.framework} {variant.name} {variant.dtype}": variant.run for variant, _ in tried
    }
    seconds = paired(runs, rounds=rounds, label=f"batch {batch}")
    rows = []
    for (variant, first), times in zip(tried, seconds.values(), strict=True):
        row = _row(subject, variant, batch, np.array(times) / batch, iterations=subject.iterations)
        if variant.framework == "PyTorch" and TORCH_WAYS[variant.name].mode:
            row["compile_seconds"] = first.seconds - row["seconds_per_image"] * batch
        if variant.framework == "JAX":
            row["fraction_of_matmul_rate"] = least[variant.dtype] / row["seconds_per_image"]
        rows.append({**row, "early_exit": False, "peak_memory_bytes": first.memory})
    return rows


def time_queue(subject: Subject, slots: int, *, devices: int, rounds: int) -> Row:
    """The row of all test images as one queue, where each takes only the iterations it needs.

    `ratio_to_mean_cost` compares with as many passes, on average, of the fixed loop at this batch,
    `times_as_fast_as_fixed` with all of that loop.
    """
    arguments = copied_to(
        devices, (subject.state, jnp.asarray(subject.images), jnp.int32(len(subject.images)))
    )
    queue = subject.queue(slots=slots // devices, devices=devices)
    start = time.perf_counter()
    program = subject.compile(queue, *arguments[1:], state=arguments[0])
    compile_seconds = time.perf_counter() - start

    def run() -> Any:
        return jax.block_until_ready(program(*arguments))

    refined = run()
    first = jnp.asarray(subject.batch(slots))
    loop = subject.compile(subject.fixed_loop(), first)

    def run_fixed() -> Any:
        return loop(subject.state, first).block_until_ready()

    check("queue", refined.score[:slots], run_fixed(), subject.dtype)
    seconds = paired({"queue": run, "fixed": run_fixed}, rounds=rounds, label="queue")
    times, mean = np.array(seconds["queue"]) / len(subject.images), float(refined.iterations.mean())
    fixed = float(np.median(seconds["fixed"])) / slots
    a_pass = fixed / (NUM_CHECKERBOARDS + subject.iterations)
    name = f"queue on {devices} device{'s' * (devices > 1)}"
    variant = Variant("JAX", name, subject.dtype, run, bytes_needed(program), compile_seconds)
    row = _row(subject, variant, slots, times, iterations=mean)
    cost = row["seconds_per_image"] / (a_pass * (NUM_CHECKERBOARDS + mean))
    row["times_as_fast_as_fixed"] = fixed / row["seconds_per_image"]
    return {**row, "early_exit": True, "ratio_to_mean_cost": float(cost)}


def compare(rows: list[Row]) -> None:
    """Add to each measured row its speed relative to PyTorch's best at its batch and dtype.

    A queue is compared with PyTorch's best at any batch.
    """
    measured = [row for row in rows if "batch" in row]
    for row in measured:
        same = ("method", "dtype") if row["early_exit"] else ("method", "dtype", "batch")
        kind = {name: row[name] for name in same}
        theirs = [
            other["seconds_per_image"]
            for other in measured
            if other["framework"] == "PyTorch" and kind.items() <= other.items()
        ]
        if theirs:
            row["ratio_to_best_torch"] = min(theirs) / row["seconds_per_image"]


def _paper_networks(method: str, image_size: int) -> Subject:
    return untrained(
        default_config(method, preset="paper").with_settings({"image_size": image_size})
    )


def _row(
    subject: Subject, variant: Variant, batch: int, times: np.ndarray, *, iterations: float
) -> Row:
    return {
        "method": subject.method.name,
        "framework": variant.framework,
        "variant": variant.name,
        "dtype": variant.dtype,
        "batch": batch,
        "image_size": subject.method.image_size,
        "iterations": iterations,
        "seconds_per_image": float(np.median(times)),
        "p95_seconds_per_image": float(np.percentile(times, 95)),
        "compile_seconds": variant.compile_seconds,
        "second_start_seconds": variant.second_start_seconds,
        "peak_memory_bytes": variant.memory,
    }


def first_run(variant: Variant) -> First:
    """The first run, which compiles what torch.compile has not yet."""
    results = []
    start = time.perf_counter()
    grown = peak_growth(lambda: results.append(np.asarray(variant.run())))
    return First(results[0], time.perf_counter() - start, variant.memory or grown)


def check(name: str, maps: Any, reference: Any, dtype: str) -> None:
    """Refuses to time what computes something else.

    Raises:
        RuntimeError: the maps differ by more than rounding.
    """
    difference = float(np.abs(np.asarray(maps) - np.asarray(reference)).mean())
    if not difference <= MAPS_AGREE[dtype]:
        raise RuntimeError(f"{name}: its maps differ by {difference:.2g} on average; not timed")


def _torch_variants(subject: Subject, batch: int, dtypes: Sequence[str]) -> list[Variant]:
    best = "compile, channels_last" if can_compile() else "eager, channels_last"
    kinds = {("eager, channels_last", "float32"), *((best, dtype) for dtype in dtypes)}
    return [
        Variant("PyTorch", name, dtype, torch_run(subject.computing_in(dtype), batch, name))
        for name, dtype in sorted(kinds, reverse=True)
    ]


def torch_run(subject: Subject, batch: int, name: str) -> Callable[[], np.ndarray]:
    """PyTorch's loop for this many images, by one of `TORCH_WAYS`."""
    way = TORCH_WAYS[name]
    images, loop = subject.tensors(batch, way), subject.torch_loop(way)
    return lambda: loop(images).cpu().numpy()


def _jax_variants(subject: Subject, batch: int, dtypes: Sequence[str]) -> list[Variant]:
    """Variants on one device, and on all of them, as in the commands."""
    images, variants = jnp.asarray(subject.batch(batch)), []
    devices = devices_for(batch, together=batch)
    for dtype in dtypes:
        own = subject.computing_in(dtype)
        program, *seconds = _compile_twice(subject, own.fixed_loop(), images)
        run = partial(_run, program, subject.state, images)
        variants.append(Variant("JAX", "fixed", dtype, run, bytes_needed(program), *seconds))
        if devices > 1:
            state, copies = copied_to(devices, (subject.state, images))
            program = subject.compile(own.sharded_loop(devices=devices), copies, state=state)
            run, name = partial(_run, program, state, copies), f"fixed on {devices} devices"
            variants.append(Variant("JAX", name, dtype, run, bytes_needed(program)))
    return variants


def _run(program: Any, state: Any, images: Any) -> np.ndarray:
    return np.asarray(program(state, images))


def _compile_twice(
    subject: Subject, loop: Callable[..., Any], images: Any
) -> tuple[Any, float, float]:
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
        compilation_cache.reset_cache()
    return program, first, second


if __name__ == "__main__":
    command_line.run(main)
