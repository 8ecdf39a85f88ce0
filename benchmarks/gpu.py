"""`python -m benchmarks.gpu`: all measurements that need a GPU, the most important first.

They take 20 minutes.
"""

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.precision import PRECISIONS, arithmetic, network_dtype
from benchmarks.stopwatch import bytes_needed, machine, matmul_rate
from benchmarks.subject import TORCH_WAYS, Subject, load_subject, untrained
from benchmarks.tables import write
from benchmarks.timing_table import (
    First,
    Row,
    Variant,
    check,
    clock,
    compare,
    first_run,
    time_queue,
    torch_run,
)
from benchmarks.training_speed import GAN_ALONE, time_steps
from i3ad_jax import command_line
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError

PROGRAM = "python -m benchmarks.gpu"
BATCHES = (64, 16, 1, 4, 256)  # the most telling first, the longest last
PRESETS = ("quick", "paper")  # whose training steps are timed
TRAINING = "training, "
DRY_BATCHES = (2,)
# The smallest networks and images that do everything.
DRY_SETTINGS = {
    **{
        "image_size": 32,
        "width": 2,
        "dilations": (2,),
        "discriminator_width": 2,
        "discriminator_depth": 2,
    },
    **{"iterations": 2, "patches": 4},
}
ROUNDS = 5
CLOCKED_SECONDS = 30.0  # about as long all variants of a batch are clocked, at least once each
CHECKED_IMAGES = 4  # whose maps are compared with those of PyTorch's eager loop in float32
COLUMNS = (
    *(
        "work",
        "framework",
        "variant",
        "dtype",
        "batch",
        "image_size",
        "iterations",
        "seconds_per_image",
    ),
    *("p95_seconds_per_image", "steps_per_second", "ratio_to_best_torch", "times_as_fast_as_fixed"),
    *("fraction_of_matmul_rate", "peak_memory_bytes", "compile_seconds", "problem"),
)
TARGET_SECONDS, TARGET_RATIO, TARGET_EXIT = 0.008, 1.5, 4.0


@dataclass(frozen=True)
class Flags:
    """Time loop, early exit and training on a GPU, beside PyTorch; write gpu.json and .md to OUT.

    Rows are written as they come, the most important first: what was measured stays when a lease
    ends early. A measurement that fails, for example for lack of memory, becomes a row with the
    reason.
    """

    out: Path = Path("gpu")
    """Folder for the table."""
    run: Path | None = None
    """A run of I3AD trained with --view whole --levelling no --centre none: rows for the early exit
    on its test images."""
    minutes: float = 20.0
    """After these nothing new is begun; what is left out stands below the table."""
    dry_run: bool = False
    """Every code path at the smallest sizes, on any machine; the figures mean nothing."""


class Job(NamedTuple):
    """Rows of the table that are measured together.

    `work` is "loop", "early exit" (its batch: the slots) or training a preset.
    """

    work: str
    dtype: str
    batch: int

    def __str__(self) -> str:
        return f"{self.work}, {self.dtype}, batch {self.batch}"


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes the table after each job and prints it in the end."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    until = time.monotonic() + 60 * flags.minutes
    # JAX takes three quarters of the memory at once otherwise, and leaves PyTorch too little.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if not flags.dry_run and (jax.default_backend() != "gpu" or not torch.cuda.is_available()):
        raise InputError("there is no GPU that JAX and PyTorch both see; --dry-run does without")
    # XLA too tries out which of cuDNN's algorithms is fastest.
    torch.backends.cudnn.benchmark = True
    bench = Bench.prepare(flags)
    jobs = plan(DRY_BATCHES if flags.dry_run else BATCHES, exits=bool(flags.run))

    def save(rows: Sequence[Row], skipped: Sequence[Job]) -> str:
        notes = {
            **verdicts(rows),
            "skipped": "; ".join(map(str, skipped)) or "nothing",
            **bench.notes,
        }
        return write(flags.out, "gpu", COLUMNS, rows, notes=notes)

    print(
        save(*carry_out(jobs, bench.measure, is_over=lambda: time.monotonic() >= until, save=save))
    )


def plan(batches: Sequence[int], *, exits: bool) -> list[Job]:
    """Return all jobs, most important first: those of the targets, then one batch of the rest."""
    best, *others = PRECISIONS
    first, *later = batches
    return [
        *(Job("loop", best, batch) for batch in batches),
        *(
            Job("early exit", dtype, batch)
            for dtype in (best, "tf32")
            for batch in batches[:2]
            if exits
        ),
        *(Job("loop", dtype, first) for dtype in others),
        # What users have: JAX's default for float32 is TF32.
        *(Job(TRAINING + preset, "tf32", min(batch_size(preset), first)) for preset in PRESETS),
        *(Job("loop", dtype, batch) for batch in later for dtype in others),
    ]


def batch_size(preset: str) -> int:
    """Images of a training step."""
    return default_config("i3ad", preset=preset).training.batch_size


def carry_out(
    jobs: Sequence[Job],
    measure: Callable[[Job], list[Row]],
    *,
    is_over: Callable[[], bool],
    save: Callable[[Sequence[Row], Sequence[Job]], Any],
) -> tuple[list[Row], list[Job]]:
    """All rows, saved as they come, and the jobs that were not begun before the time was over."""
    rows: list[Row] = []
    for number, job in enumerate(jobs):
        if is_over():
            return rows, list(jobs[number:])
        rows += attempt(job, measure)
        save(rows, jobs[number + 1 :])
    return rows, []


def attempt(job: Job, measure: Callable[[Job], list[Row]]) -> list[Row]:
    """The rows of a job; one with the reason if it fails."""
    # After eight shapes of a network PyTorch would silently no longer compile it.
    torch.compiler.reset()
    gc.collect()
    torch.cuda.empty_cache()
    try:
        with arithmetic(job.dtype):
            rows = measure(job)
    except Exception as error:  # whatever it is: what comes next can still be measured
        rows = [{"problem": reason(error)}]
    return [{"work": job.work, **row, "dtype": job.dtype, "batch": job.batch} for row in rows]


def reason(error: Exception) -> str:
    """Return the error's message, short enough for a table."""
    line = (str(error).strip() or repr(error)).splitlines()[0]
    return line.replace("|", "/")[:200]


@dataclass(frozen=True)
class Bench:
    """Shared objects of the jobs.

    Attributes:
        subject: the paper's networks with weights as they are drawn.
        trained: the run, if one was given.
        reference: SSIM maps of the first images by PyTorch's eager loop in float32.
        rates: operations a second of a large matrix product, by dtype.
        dry_run: at the smallest sizes, once.
        notes: below the table.
    """

    subject: Subject
    trained: Subject | None
    reference: np.ndarray
    rates: Mapping[str, float]
    dry_run: bool
    notes: Mapping[str, Any]

    @classmethod
    def prepare(cls, flags: Flags) -> "Bench":
        """Draws the weights and measures the machine's limits.

        Raises:
            InputError: the run cannot be used.
        """
        trained = load_subject(flags.run) if flags.run else None
        if trained and flags.dry_run:
            trained = replace(trained, images=trained.images[:2]).with_iterations(2)
        config = default_config("i3ad", preset="paper")
        subject = untrained(config.with_settings(DRY_SETTINGS if flags.dry_run else {}))
        with arithmetic("float32"):
            reference = torch_run(subject, CHECKED_IMAGES, "eager, channels_last")()
        rates = {}
        for dtype in PRECISIONS:
            with arithmetic(dtype):
                rates[dtype] = matmul_rate(network_dtype(dtype))
        notes = {
            "dry run": flags.dry_run,
            **machine(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "jax_platform": jax.devices()[0].client.platform_version,
            "matmul_operations_per_second": rates,
        }
        return cls(subject, trained, reference, rates, flags.dry_run, notes)

    @property
    def rounds(self) -> int:
        """Number of times that each variant is clocked, as far as `CLOCKED_SECONDS` allows."""
        return 1 if self.dry_run else ROUNDS

    def measure(self, job: Job) -> list[Row]:
        """The rows of a job."""
        if job.work == "loop":
            return self.time_loop(job)
        if job.work == "early exit":
            assert self.trained is not None
            subject, slots = (
                self.trained.computing_in(network_dtype(job.dtype)),
                len(self.trained.images),
            )
            return [time_queue(subject, min(job.batch, slots), devices=1, rounds=self.rounds)]
        config = default_config("i3ad", preset=job.work.removeprefix(TRAINING)).with_settings(
            GAN_ALONE
        )
        config = config.with_settings(DRY_SETTINGS if self.dry_run else {})
        return time_steps(config, job.batch, rounds=2 * self.rounds)

    def time_loop(self, job: Job) -> list[Row]:
        """Return the rows of all variants of the loop of fixed length, clocked in turns.

        The row of a variant that fails has no times.
        """
        subject = self.subject.computing_in(network_dtype(job.dtype))
        # To compile takes most of a dry run: it does so in one dtype.
        eager = self.dry_run and job.dtype != "bfloat16"
        ways = [name for name, way in TORCH_WAYS.items() if not (eager and way.mode)]
        makers: dict[tuple[str, str], Callable[[], Variant]] = {
            ("JAX", "fixed"): partial(jax_variant, subject, job),
            **{("PyTorch", name): partial(torch_variant, subject, job, name) for name in ways},
        }
        tried: list[tuple[Variant, First]] = []
        failed: list[Row] = []
        for (framework, name), make in makers.items():
            try:
                variant = make()
                first = first_run(variant)
                checked = min(job.batch, CHECKED_IMAGES)
                check(name, first.maps[:checked], self.reference[:checked], job.dtype)
                tried.append((variant, first))
            except Exception as error:
                failed.append({"framework": framework, "variant": name, "problem": reason(error)})
        if not tried:
            return failed
        shortest = min(first.seconds for _, first in tried)
        rounds = int(np.clip(CLOCKED_SECONDS / (len(tried) * shortest), 1, self.rounds))
        least = {job.dtype: subject.operations() / self.rates[job.dtype]}
        rows = clock(subject, job.batch, tried, rounds=rounds, least=least)
        compare(rows)
        return [*rows, *failed]


def jax_variant(subject: Subject, job: Job) -> Variant:
    """Our loop of fixed length, compiled."""
    images = jnp.asarray(subject.batch(job.batch))
    start = time.perf_counter()
    program = subject.compile(subject.fixed_loop(), images)
    seconds = time.perf_counter() - start
    run = lambda: np.asarray(program(subject.state, images))  # noqa: E731
    return Variant("JAX", "fixed", job.dtype, run, bytes_needed(program), seconds)


def torch_variant(subject: Subject, job: Job, name: str) -> Variant:
    """PyTorch's, by one of `TORCH_WAYS`; it compiles in its first run."""
    return Variant("PyTorch", name, job.dtype, torch_run(subject, job.batch, name))


def verdicts(rows: Sequence[Row]) -> dict[str, str]:
    """Return each expectation and whether it was met, or that it was not measured."""

    def fastest(**kind: str) -> Row | None:
        found = [row for row in rows if "seconds_per_image" in row and kind.items() <= row.items()]
        return min(found, key=lambda row: row["seconds_per_image"], default=None)

    def verdict(value: float | None, passes: Callable[[float], bool]) -> str:
        if value is None:
            return "not measured"
        return f"{value:.3g}, {'pass' if passes(value) else 'miss'}"

    ours = fastest(work="loop", dtype="bfloat16", framework="JAX", variant="fixed")
    theirs = fastest(work="loop", dtype="bfloat16", framework="PyTorch")
    left = fastest(work="early exit", dtype="bfloat16")
    seconds = ours["seconds_per_image"] if ours else None
    ratio = theirs["seconds_per_image"] / seconds if theirs and seconds else None
    gain = left["times_as_fast_as_fixed"] if left else None
    return {
        f"target: at most {TARGET_SECONDS} s an image in bfloat16, best batch": verdict(
            seconds, lambda x: x <= TARGET_SECONDS
        ),
        f"target: at least {TARGET_RATIO} times as fast as PyTorch's best": verdict(
            ratio, lambda x: x >= TARGET_RATIO
        ),
        f"target: the early exit at least {TARGET_EXIT} times as fast again": verdict(
            gain, lambda x: x >= TARGET_EXIT
        ),
    }


if __name__ == "__main__":
    command_line.run(main)
