"""Measurements of `benchmarks.gpu`: each prepares, waits for its turn, and then has the GPU alone.

They are steps as `benchmarks.turns` runs them, in a process of their own. Their turn's message are
the card's ceilings.
"""

import os
import pickle
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import gpu_program
from benchmarks.kernel_times import kernel_times
from benchmarks.precision import arithmetic, network_dtype
from benchmarks.stopwatch import bytes_needed, copy_bandwidth, matmul_rate, paired, peak_growth
from benchmarks.subject import EAGER, TORCH_WAYS, Subject, untrained
from benchmarks.timing_table import (
    First,
    Row,
    Variant,
    check,
    clock,
    compiled_queue,
    first_run,
    torch_run,
)
from benchmarks.training_speed import (
    compile_steps,
    jax_steps,
    random_images,
    speed,
    torch_steps,
)
from benchmarks.turns import reason
from i3ad_jax.config import Config
from i3ad_jax.methods.i3ad import I3AD, I3adState
from i3ad_jax.methods.state import fresh_state

DTYPES = ("bfloat16", "tf32")
FIXED = "fixed"
# A graph for the whole loop, where XLA by default has one for each pass at most.
COMMAND_BUFFERS = "fixed, loop in command buffers"
COMMAND_BUFFER_FLAG = "--xla_gpu_enable_command_buffer=+WHILE"
CLOCKED_SECONDS = 4.0  # about as long a variant is clocked, at least twice
ROUNDS = 50
STEP_ROUNDS, QUEUE_ROUNDS = 10, 5
CHECKED_IMAGES = 4  # whose maps are compared with those of PyTorch's eager loop in float32
KERNELS = 12  # that take the longest, of each program


class Task(NamedTuple):
    """A row of the table; `work` is "ceilings", "loop", "early exit" or "training"."""

    work: str
    framework: str
    variant: str
    dtype: str
    batch: int

    def __str__(self) -> str:
        return f"{self.work}, {self.framework} {self.variant}, {self.dtype}, batch {self.batch}"


CEILINGS = Task("ceilings", "PyTorch", EAGER, "float32", CHECKED_IMAGES)


class Ceilings(NamedTuple):
    """Limits of the card, and maps to compare with.

    Attributes:
        rates: operations a second of a large matrix product, by dtype.
        bandwidth: bytes a second that a copy reads and writes.
        maps: SSIM maps of the first images by PyTorch's eager loop in float32.
    """

    rates: Mapping[str, float]
    bandwidth: float
    maps: np.ndarray


class Found(NamedTuple):
    """Result of a task: a row, the ceilings, or the kernels of its program by time."""

    row: Row | None = None
    ceilings: Ceilings | None = None
    kernels: Sequence[Row] = ()


Steps = Generator[Found | None, Ceilings, None]


class Material(NamedTuple):
    """Objects that tasks share, drawn once: arrays are NumPy's.

    Attributes:
        config: of the networks.
        subject: networks with weights as they are drawn, and images.
        trained: a run with its test images, if one was given.
        state: the weights of `subject` with optimisers, to train.
        dry_run: measured once, at the smallest sizes.
    """

    config: Config
    subject: Subject
    trained: Subject | None
    state: I3adState
    dry_run: bool

    @classmethod
    def draw(cls, config: Config, trained: Subject | None, *, dry_run: bool) -> "Material":
        """Draw weights and images."""
        with on_cpu():
            subject = untrained(config)
            state = jax.device_get(fresh_state(jax.random.key(0), subject.method))
        subject = replace(subject, state=jax.device_get(subject.state))
        return cls(config, subject, trained, state, dry_run)


def on_device(subject: Subject, task: Task) -> Subject:
    """The subject in the dtype of a task, with its weights where JAX computes."""
    state = jax.device_put(subject.state)
    return replace(subject.computing_in(network_dtype(task.dtype)), state=state)


def on_cpu() -> Any:
    """Return a context in which JAX computes on the CPU, where little is compiled sooner."""
    return jax.default_device(jax.local_devices(backend="cpu")[0])


def steps(material: Path, task: Task) -> Steps:
    """The steps of a task, given a pickled `Material`."""
    if task.variant == COMMAND_BUFFERS:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {COMMAND_BUFFER_FLAG}".strip()
    # XLA too tries out which of cuDNN's algorithms is fastest.
    torch.backends.cudnn.benchmark = True
    own: Material = pickle.loads(material.read_bytes())
    with arithmetic(task.dtype):
        yield from STEPS[task.work, task.framework](own, task)


def ceilings(own: Material, task: Task) -> Steps:
    """The card's limits, and the maps to compare with."""

    def limits(rounds: int) -> tuple[dict[str, float], float]:
        rates = {}
        for dtype in DTYPES:
            with arithmetic(dtype):
                rates[dtype] = matmul_rate(network_dtype(dtype), rounds=rounds)
        return rates, copy_bandwidth(rounds=rounds)

    limits(1)  # compiles
    yield None
    maps = torch_run(own.subject, task.batch, task.variant)()
    yield Found(ceilings=Ceilings(*limits(1 if own.dry_run else 5), maps))


def jax_loop(own: Material, task: Task) -> Steps:
    """Our loop of fixed length."""
    subject = on_device(own.subject, task)
    images = jnp.asarray(subject.batch(task.batch))
    start = time.perf_counter()
    program = subject.compile(subject.fixed_loop(), images)
    seconds, lower_bound = time.perf_counter() - start, floor(own, task, program)
    least = subject.operations()
    limits = yield None
    run = lambda: np.asarray(program(subject.state, images))  # noqa: E731
    variant = Variant("JAX", task.variant, task.dtype, run, bytes_needed(program), seconds)
    row = clocked(own, task, variant, limits)
    row["fraction_of_matmul_rate"] = least / limits.rates[task.dtype] / row["seconds_per_image"]
    yield Found(beside_floor(row, lower_bound))
    yield Found(kernels=longest(run))


def torch_loop(own: Material, task: Task) -> Steps:
    """PyTorch's, which compiles in its first run if it does."""
    subject = own.subject.computing_in(network_dtype(task.dtype))
    run = torch_run(subject, task.batch, task.variant)
    variant = Variant("PyTorch", task.variant, task.dtype, run)
    compiled = first_run(variant) if TORCH_WAYS[task.variant] else None
    torch.cuda.empty_cache()  # for the variants whose turn comes first
    limits = yield None
    yield Found(clocked(own, task, variant, limits, compiled=compiled))


def clocked(
    own: Material,
    task: Task,
    variant: Variant,
    limits: Ceilings,
    *,
    compiled: First | None = None,
) -> Row:
    """The row of a loop; `compiled`: its run that compiled, if that was apart.

    Raises:
        RuntimeError: its maps are others than PyTorch's in float32.
    """
    warm = first_run(variant)
    checked = min(task.batch, CHECKED_IMAGES)
    check(task.variant, warm.maps[:checked], limits.maps[:checked], task.dtype)
    rounds = 1 if own.dry_run else int(np.clip(CLOCKED_SECONDS / warm.seconds, 2, ROUNDS))
    tried = [(variant, compiled or warm)]
    (row,) = clock(own.subject, task.batch, tried, rounds=rounds, least={task.dtype: 0.0})
    return row


def early_exit(own: Material, task: Task) -> Steps:
    """The run's test images as a queue."""
    assert own.trained is not None
    subject = on_device(own.trained, task)
    measure = compiled_queue(subject, min(task.batch, len(subject.images)), devices=1)
    yield None
    yield Found(measure(1 if own.dry_run else QUEUE_ROUNDS))


def jax_training(own: Material, task: Task) -> Steps:
    """Our training steps, of the GAN alone."""
    method = own.subject.computing_in(network_dtype(task.dtype)).method
    images = random_images(own.config, task.batch)
    start = time.perf_counter()
    program = compile_steps(method, own.state, images)
    seconds, lower_bound = time.perf_counter() - start, floor(own, task, program)
    limits = yield None
    run = jax_steps(program, own.state, images)
    row = {**clocked_steps(own, run), "compile_seconds": seconds}
    row["peak_memory_bytes"] = bytes_needed(program)
    if "operations" in lower_bound:
        least = lower_bound["operations"] / limits.rates[task.dtype]
        row["fraction_of_matmul_rate"] = least * row["steps_per_second"]
    yield Found(beside_floor(row, lower_bound))
    yield Found(kernels=longest(run))


def torch_training(own: Material, task: Task) -> Steps:
    """PyTorch's."""
    method = own.subject.computing_in(network_dtype(task.dtype)).method
    assert isinstance(method, I3AD)
    with on_cpu():
        images = random_images(own.config, task.batch)
        run = torch_steps(task.variant, method, own.state.gan, images)
    compiled: Row = {}
    if TORCH_WAYS[task.variant]:
        start = time.perf_counter()
        compiled["peak_memory_bytes"] = peak_growth(run)
        compiled["compile_seconds"] = time.perf_counter() - start
        torch.cuda.empty_cache()
    yield None
    row = compiled or {"peak_memory_bytes": peak_growth(run)}
    yield Found({**row, **clocked_steps(own, run)})


def clocked_steps(own: Material, run: Callable[[], Any]) -> Row:
    """The figures of training steps."""
    run()
    times = paired({"": run}, rounds=1 if own.dry_run else STEP_ROUNDS, label="training")
    return {**speed(times[""]), "image_size": own.config.data.image_size}


def floor(own: Material, task: Task, program: Any) -> Row:
    """Figures of a program by `benchmarks.gpu_program`: of an image of the loop, or of a step.

    Nothing for a card that it does not know; a problem if it cannot read the program.
    """
    kind = jax.devices()[0].device_kind.lower().replace(" ", "")
    card = next((card for card in gpu_program.PEAKS if card in kind), None)
    if own.dry_run:
        card = card or "h200"
    if card is None:
        return {}
    work = "train" if task.work == "training" else "loop"
    job = gpu_program.Job("paper", work, task.dtype, task.batch, card)
    try:
        found = gpu_program.figures(job, program)
    except Exception as error:  # a figure beside the measurement, which goes on without it
        return {"problem": f"no floor: {reason(error)}"}
    least = found["floor_ms"] if work == "train" else found["floor_ms_per_image"]
    return {
        "kernels": found["kernels"],
        "bytes": found["bytes"],
        "operations": found["flop"],
        "floor_seconds": least / 1e3,
    }


def beside_floor(row: Row, lower_bound: Row) -> Row:
    """The row with the floor, and how many times the measured time is that."""
    row = {**row, **lower_bound}
    if "floor_seconds" in row:
        measured = row.get("seconds_per_image") or 1 / row["steps_per_second"]
        row["times_floor"] = measured / row["floor_seconds"]
    return row


def longest(run: Callable[[], Any]) -> list[Row]:
    """The kernels of a call that take the longest, and the time of all."""
    times = kernel_times(run)
    total = sum(each.seconds for each in times)
    every = {"kernel": "all", "runs": sum(each.runs for each in times), "seconds": total}
    rows: list[Row] = [every, *(each._asdict() for each in times[:KERNELS])]
    return [{**row, "share": row["seconds"] / total} for row in rows]


STEPS: Mapping[tuple[str, str], Callable[[Material, Task], Steps]] = {
    (CEILINGS.work, CEILINGS.framework): ceilings,
    ("loop", "JAX"): jax_loop,
    ("loop", "PyTorch"): torch_loop,
    ("early exit", "JAX"): early_exit,
    ("training", "JAX"): jax_training,
    ("training", "PyTorch"): torch_training,
}
