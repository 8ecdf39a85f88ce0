"""`python -m benchmarks.gpu`: all measurements that need a GPU, the most telling first.

Every variant compiles in a process of its own, and is then clocked alone.
"""

import os
import pickle
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import torch

from benchmarks.gpu_variants import (
    CEILINGS,
    COMMAND_BUFFERS,
    DTYPES,
    FIXED,
    Ceilings,
    Found,
    Material,
    Task,
    on_cpu,
    steps,
)
from benchmarks.stopwatch import machine
from benchmarks.subject import EAGER, TORCH_WAYS, load_subject
from benchmarks.tables import write
from benchmarks.timing_table import Row
from benchmarks.training_speed import GAN_ALONE
from benchmarks.turns import FailedError, LateError, Turns
from i3ad_jax import command_line
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError

PROGRAM = "python -m benchmarks.gpu"
BATCHES = (64, 1, 16, 256)  # the most telling first, the longest last
DRY_BATCHES = (1,)
EXIT_BATCHES = 64, 16  # slots of the queue
# The smallest networks and images that do everything.
DRY_SETTINGS = {
    "image_size": 32,
    "width": 2,
    "dilations": (2,),
    "discriminator_width": 2,
    "discriminator_depth": 2,
    "iterations": 2,
    "patches": 4,
}
COMPILING = 0.6  # of the time; what is not compiled then is left out
COLUMNS = (
    *("work", "framework", "variant", "dtype", "batch", "seconds_per_image", "steps_per_second"),
    *("ratio_to_best_torch", "times_floor", "fraction_of_matmul_rate", "times_as_fast_as_fixed"),
    *("peak_memory_bytes", "compile_seconds", "problem"),
)
KERNEL_COLUMNS = (*("work", "variant", "dtype", "batch", "kernel", "runs", "seconds", "share"),)
ALONE = ", compiled alone"
TARGET_FLOOR, TARGET_RATIO, TARGET_EXIT, TARGET_TRAINING = 1.5, 1.5, 4.0, 1.0


@dataclass(frozen=True)
class Flags:
    """Time loop, early exit and training on a GPU, beside PyTorch; write gpu.json and .md to OUT.

    All variants compile at the same time, each in its own process, and are then clocked one at a
    time. Rows are written as they come, the most telling first. A variant that fails, for example
    for lack of memory, is a row with the reason. gpu_kernels.json and .md have the kernels that
    take the longest.
    """

    out: Path = Path("gpu")
    """Folder for the tables."""
    run: Path | None = None
    """A run of I3AD trained with --view whole --levelling no --centre none: rows for the early exit
    on its test images."""
    minutes: float = 8.0
    """Time for everything: six tenths to compile. What is late is named below the table."""
    dry_run: bool = False
    """Every code path at the smallest sizes, on any machine; the figures mean nothing."""


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, times, writes the tables after each variant and prints the first."""
    start = time.monotonic()
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    # JAX takes three quarters of the memory at once otherwise.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # The variants share the cores: PyTorch's compiler would start as many processes for each.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    if not flags.dry_run and (jax.default_backend() != "gpu" or not torch.cuda.is_available()):
        raise InputError("there is no GPU that JAX and PyTorch both see; --dry-run does without")
    material, tasks = draw(flags), plan(exits=bool(flags.run), dry_run=flags.dry_run)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "material"
        file.write_bytes(pickle.dumps(material))  # through a pipe each start would wait for it
        table = Table(flags.out, dry_run=flags.dry_run)
        with Turns(partial(steps, file), workers=os.cpu_count() or 1) as turns:
            seconds = 60 * flags.minutes
            turns.prepare(tasks, until=start + COMPILING * seconds)
            measure(tasks, turns, table, until=start + seconds)
            for task in table.fastest_loops():
                turns.prepare([task], until=start + seconds)
                measure([task], turns, table, until=start + seconds, suffix=ALONE)
    print(table.save())


def draw(flags: Flags) -> Material:
    """Draw the networks' weights.

    Raises:
        InputError: the run cannot be used.
    """
    trained = None
    if flags.run:
        with on_cpu():
            trained = load_subject(flags.run)
            trained = replace(trained, state=jax.device_get(trained.state))
        if flags.dry_run:
            trained = replace(trained, images=trained.images[:2]).with_iterations(2)
    settings = {**GAN_ALONE, **(DRY_SETTINGS if flags.dry_run else {})}
    config = default_config("i3ad", preset="paper").with_settings(settings)
    return Material.draw(config, trained, dry_run=flags.dry_run)


def plan(*, exits: bool, dry_run: bool) -> list[Task]:
    """Return all variants, the most telling first."""
    batches = DRY_BATCHES if dry_run else BATCHES
    training_batch = default_config("i3ad", preset="paper").training.batch_size

    def ways(*, compiles: bool) -> list[str]:
        modes = (None, *(("default",) if compiles else ()))  # no graphs without a GPU
        return [name for name, mode in TORCH_WAYS.items() if not dry_run or mode in modes]

    def loops(dtype: str) -> list[Task]:
        full = not dry_run or dtype == DTYPES[0]  # compilation takes most of a dry run
        return [
            Task("loop", framework, variant, dtype, batch)
            for batch in batches
            for framework, variants in (
                ("JAX", (FIXED, *((COMMAND_BUFFERS,) if batch == 1 and full else ()))),
                ("PyTorch", ways(compiles=full)),
            )
            for variant in variants
        ]

    def queues(dtype: str) -> list[Task]:
        slots = EXIT_BATCHES[:1] if dry_run else EXIT_BATCHES
        return [Task("early exit", "JAX", "queue", dtype, batch) for batch in slots if exits]

    def training(dtype: str) -> list[Task]:
        batch = DRY_BATCHES[0] if dry_run else training_batch
        every = [("JAX", "step"), *(("PyTorch", name) for name in ways(compiles=False))]
        return [Task("training", *names, dtype, batch) for names in every]

    best, other = DTYPES
    return [
        CEILINGS,
        *loops(best),
        *queues(best),
        *training(other),
        *training(best),
        *loops(other),
        *queues(other),
    ]


def measure(
    tasks: Sequence[Task], turns: Turns[Task], table: "Table", *, until: float, suffix: str = ""
) -> None:
    """Measure tasks in their order, and save the table as results come; late ones are named."""
    for task in tasks:
        named = task._replace(variant=task.variant + suffix)
        if task != CEILINGS and not table.ceilings:
            table.late.append(named)
            continue
        try:
            for found in turns.results(task, table.ceilings, until=until):
                table.add(named, found)
        except LateError:
            table.late.append(named)
        except FailedError as failure:
            table.add(named, Found({"problem": str(failure)}))
    table.save()


class Table:
    """Results so far, in files after each.

    Attributes:
        rows: of the table, with `ratio_to_best_torch` among rows so far.
        kernels: rows of the table of kernels.
        ceilings: the card's, once measured.
        late: tasks without results.
    """

    def __init__(self, out: Path, *, dry_run: bool) -> None:
        self.out = out
        self.rows, self.kernels = list[Row](), list[Row]()
        self.ceilings: Ceilings | None = None
        self.late: list[Task] = []
        self._notes = {
            "dry run": dry_run,
            **machine(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "jax_platform": jax.devices()[0].client.platform_version,
        }

    def add(self, task: Task, found: Found) -> None:
        """Add a result, and save all."""
        if found.ceilings:
            self.ceilings = found.ceilings
        if found.row:
            self.rows.append({**found.row, **task._asdict()})
            compare(self.rows)
        self.kernels += [{**task._asdict(), **row} for row in found.kernels]
        self.save()

    def save(self) -> str:
        """Write both tables; return the first with its notes."""
        limits = self.ceilings
        notes = {
            **verdicts(self.rows),
            "late": "; ".join(map(str, self.late)) or "nothing",
            "matmul_operations_per_second": limits.rates if limits else "not measured",
            "copy_bytes_per_second": limits.bandwidth if limits else "not measured",
            **self._notes,
        }
        write(self.out, "gpu_kernels", KERNEL_COLUMNS, self.kernels, notes={})
        return write(self.out, "gpu", COLUMNS, self.rows, notes=notes)

    def fastest_loops(self) -> list[Task]:
        """Return our fastest loop in the best dtype, and PyTorch's, if it compiles.

        They are compiled again without others beside them, which disturb the choice of algorithms
        by time.
        """
        found = [
            fastest(self.rows, work="loop", dtype=DTYPES[0], framework=framework)
            for framework in ("JAX", "PyTorch")
        ]
        rows = [row for row in found if row and row["variant"] != EAGER]
        return [Task(*(row[name] for name in Task._fields)) for row in rows]


def speed(row: Row) -> float:
    """Images or steps a second; 0 of a variant that was not measured."""
    if "seconds_per_image" in row:
        return 1 / row["seconds_per_image"]
    return row.get("steps_per_second", 0.0)


def fastest(rows: Sequence[Row], **kind: str | int) -> Row | None:
    """Return the fastest measured row of a kind."""
    found = [row for row in rows if speed(row) and kind.items() <= row.items()]
    return max(found, key=speed, default=None)


def compare(rows: Sequence[Row]) -> None:
    """Add to each measured row its speed relative to PyTorch's best at its batch and dtype.

    A queue is compared with PyTorch's best loop at any batch.
    """
    for row in rows:
        kind = {"framework": "PyTorch", "dtype": row["dtype"], "work": "loop"}
        if row["work"] != "early exit":
            kind |= {"work": row["work"], "batch": row["batch"]}
        theirs = fastest(rows, **kind)
        if theirs and speed(row):
            row["ratio_to_best_torch"] = speed(row) / speed(theirs)


def verdicts(rows: Sequence[Row]) -> dict[str, str]:
    """Return each expectation and whether it was met, or that it was not measured."""

    def ratio(work: str, dtype: str) -> float | None:
        ours, theirs = (
            fastest(rows, work=work, dtype=dtype, framework=name) for name in ("JAX", "PyTorch")
        )
        return speed(ours) / speed(theirs) if ours and theirs else None

    def verdict(value: float | None, most: float = np.inf, *, least: float = 0.0) -> str:
        if value is None:
            return "not measured"
        return f"{value:.3g}, {'pass' if least <= value <= most else 'miss'}"

    best = DTYPES[0]
    loop = fastest(rows, work="loop", dtype=best, framework="JAX") or {}
    queue = fastest(rows, work="early exit", dtype=best) or {}
    return {
        f"target: {best} loop, best batch, at most {TARGET_FLOOR} times its floor": verdict(
            loop.get("times_floor"), TARGET_FLOOR
        ),
        f"target: {best} loop, at least {TARGET_RATIO} times as fast as PyTorch's best": verdict(
            ratio("loop", best), least=TARGET_RATIO
        ),
        f"target: {best} early exit, at least {TARGET_EXIT} times as fast as the loop": verdict(
            queue.get("times_as_fast_as_fixed"), least=TARGET_EXIT
        ),
        **{
            f"target: {dtype} training, at least {TARGET_TRAINING} times as fast as PyTorch's "
            "best": verdict(ratio("training", dtype), least=TARGET_TRAINING)
            for dtype in DTYPES
        },
    }


if __name__ == "__main__":
    command_line.run(main)
