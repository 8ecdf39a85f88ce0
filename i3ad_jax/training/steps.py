# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""Training as an iterator of steps, without disk, progress bars or signals (`recorded`)."""

import math
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, UInt8

from i3ad_jax.data.stored import Rows, some
from i3ad_jax.errors import DivergenceError, InputError
from i3ad_jax.methods.method import Batch, Method, Metrics, PlantedSquares, State, StepSettings
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.plan import Plan
from i3ad_jax.preprocessing.units import to_units
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.configuration import configured
from i3ad_jax.runtime.devices import copied_to_all, count_devices, replicated
from i3ad_jax.runtime.processes import arrays_of_first, gathered
from i3ad_jax.runtime.progress import progress_bar
from i3ad_jax.segmentation.planting import plant_defects
from i3ad_jax.settings import flag
from i3ad_jax.shapes import PRNGKey
from i3ad_jax.training.batch_memory import batch_memory
from i3ad_jax.training.batches import Augmentation, Block, RawSquares, TrainingImages

SQUARES_AT_ONCE = 4  # random tiles of an image that a method which learns at once is given
IMAGES_AT_ONCE = 5000  # that it is given, at most: their squares are in memory together
# that a call of the compiled program takes, about: so long may Ctrl-C and a bar wait
CALL_SECONDS = 0.5
DIVERGED = 1e4  # losses here are of order one; beyond this no training comes back


class Step(NamedTuple):
    """A training step.

    Attributes:
        number: of steps that led to `state`.
        state: weights and optimisers so far, on all devices that share the training. The next step
            takes its memory: copy what is to be kept.
        metrics: losses of this step.
    """

    number: int
    state: State
    metrics: Metrics

    def problem(self, *, weights: bool = True) -> str | None:
        """Name a diverged loss, or weights that are not finite; wait for the step's end."""
        for name, value in self.metrics.items():
            if not abs(float(value)) < DIVERGED:
                return f"{name} = {float(value):g}"
        # Not by JAX, which would compile a program for each shape.
        if not weights or all(
            np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(self.state)
        ):
            return None
        return f"a weight = {math.nan:g}"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Training:
    """Everything that is the same in all steps of a training. A pytree.

    Attributes:
        method: to train.
        devices: number of devices that share every batch.
        augmentation: from squares as they were read to training squares.
        planting: the same for squares that get synthetic defects; None for a method without.
        key: of masks and synthetic defects; each step folds its number in.
    """

    method: Method = field(metadata={"static": True})
    devices: int = field(metadata={"static": True})
    augmentation: Augmentation
    planting: Augmentation | None
    key: PRNGKey


def training_steps(
    plan: Plan,
    images: UInt8[Rows, "n h w 3"],
    *,
    start: int = 0,
    state: State | None = None,
    every: Collection[int] = (1,),
    devices: int | None = None,
) -> Iterator[Step]:
    """The steps of a training, from the first or from where an earlier one ended.

    Several steps are one call of a compiled program, which saves the time that every call takes to
    get its memory; how many are together changes no bit. Step i draws its batch, squares and masks
    by the seed and i alone, so a training that was interrupted ends in the same bits as one that
    was not. The images stay on the host, or in a file; those of the next steps are read ahead. A
    method that learns at once takes one step, from all images or `IMAGES_AT_ONCE` of them.

    Args:
        plan: of the training.
        images: normal images of the working size.
        start: number of steps that led to `state`.
        state: to continue from; None for fresh weights. It is donated.
        every: steps are yielded whose number is a multiple of one of these, the last step,
            and where steps are slow others in between, so that `CALL_SECONDS` pass at most.
        devices: devices that share every batch, as `choose_devices` takes them: each has its part
            of the images, and all weights. The result is that of one device up to rounding.

    Raises:
        InputError: there are too few images for the method's settings, or a batch cannot be shared
            so.
        OutOfMemoryError: a batch does not fit in memory; the message names one that does.
    """
    method, preprocessing, seed = plan.method, plan.preprocessing, plan.config.seed
    devices = choose_devices(method.batch_sizes(method.training), devices)
    if not isinstance(method.training, StepSettings):
        if start == 0:
            together = some(images, IMAGES_AT_ONCE)
            squares = preprocessing.squares(together, each=SQUARES_AT_ONCE, seed=seed)
            yield Step(
                1, copied_to_all(devices, method.fit_at_once(np.asarray(squares.images))), {}
            )
        return
    settings = method.training
    init_key, step_key = jax.random.split(jax.random.key(seed))
    state = arrays_of_first(fresh_state(init_key, method)) if state is None else state
    state = copied_to_all(devices, state)
    augment, detail = plan.config.preprocessing.augment, method.detail(settings)
    augmentations = (
        Augmentation.of(preprocessing, augment),
        Augmentation.of(preprocessing, augment, preprocessing.level_sizes) if detail else None,
    )
    training = Training(method, devices, *copied_to_all(devices, augmentations), step_key)
    drawn = TrainingImages(
        images,
        preprocessing,
        batch_size=settings.batch_size,
        seed=seed,
        planted=(method.num_planted, detail.side) if detail else (0, 0),
    )
    number, count = start, 1
    together = steps_per_call(method)
    for block in drawn.blocks(start, settings.steps, together=together, devices=devices):
        end = min(int(block.first) + together, settings.steps)
        if number == start and jax.process_count() > 1:
            # No step: each compiles in its own time, as a process waits for another in a program
            # for 30 s.
            state, _ = run_steps(training, state, block, start, start)
            gathered(start)
        while number < end:
            stop = min(
                number + count, end, *((number // multiple + 1) * multiple for multiple in every)
            )
            clock = time.perf_counter()
            with batch_memory(plan, run_steps, training, state, block):
                state, metrics = run_steps(training, state, block, number, stop)
                jax.block_until_ready((state, metrics))
            count = max(1, int(CALL_SECONDS * (stop - number) / (time.perf_counter() - clock)))
            count = gathered(count)[0]  # all processes make the same calls
            number = stop
            yield Step(number, state, metrics)


@configured
def checked_steps(
    plan: Plan,
    images: UInt8[Rows, "n h w 3"],
    *,
    devices: int | None = None,
    progress: bool = False,
) -> Iterator[Step]:
    """Yield the steps of a plan's training that leave nothing on disk.

    Args:
        plan: of the training.
        images: training images of the working size.
        devices: as for `training_steps`.
        progress: show a progress bar.

    Yields:
        Some steps, one in `steps_per_call` at least, and the last one.

    Raises:
        DivergenceError: a loss or a weight is too large or not finite.
        InputError: there are too few images for the method's settings.
    """
    total, every = num_steps(plan.method), (steps_per_call(plan.method),)
    with progress_bar("train", total, unit="step", compiles=True, disable=not progress) as bar:
        for step in training_steps(plan, images, every=every, devices=devices):
            if problem := step.problem(weights=step.number == total):
                raise DivergenceError(step.number, problem)
            bar.update(step.number - bar.n)
            yield step


def num_steps(method: Method) -> int:
    """Return the number of training steps: one of a method that learns at once."""
    return method.training.steps if isinstance(method.training, StepSettings) else 1


def steps_per_call(method: Method) -> int:
    """Return the number of steps whose squares are on the device together, in all processes.

    The losses are looked at as often.
    """
    return min(gathered(method.throughput.steps_per_call))


@jit(donate_argnums=1)
def run_steps(
    training: Training,
    state: State,
    block: Block,
    start: int | Int[Array, ""],
    stop: int | Int[Array, ""],
) -> tuple[State, Metrics]:
    """Training steps as one program: the state after step `stop`, and that step's metrics.

    The state is donated: the new one takes its memory.
    """

    @jax.jit  # for the shapes and for the loop
    def step(index: Int[Array, ""], state: State) -> tuple[State, Metrics]:
        batch, to_plant = (
            squares[index - block.first] for squares in (block.batches, block.to_plant)
        )
        stepped = _step(training, state, batch, to_plant, jax.random.fold_in(training.key, index))
        return replicated(stepped, devices=training.devices)

    def next_step(index: Int[Array, ""], last: tuple[State, Metrics]) -> tuple[State, Metrics]:
        return step(index, last[0])

    shapes: Metrics = jax.eval_shape(step, jnp.int32(0), state)[1]
    none = jax.tree.map(lambda metric: jnp.zeros(metric.shape, metric.dtype), shapes)
    first, last = jnp.int32(start), jnp.int32(stop)
    return lax.fori_loop(first, last, next_step, (state, none))


def _step(
    training: Training, state: State, batch: RawSquares, to_plant: RawSquares, key: PRNGKey
) -> tuple[State, Metrics]:
    """One training step."""
    method, augmentation = training.method, training.augmentation
    batch_key, plant_key, defect_key, method_key = jax.random.split(key, 4)
    pixels, centre = augmentation(batch_key, batch)
    normal, planted = to_units(pixels, centre, augmentation.scale), None
    if training.planting is not None:
        pixels, centre = training.planting(plant_key, to_plant)
        images, masks = plant_defects(defect_key, pixels)
        planted = PlantedSquares(to_units(images, centre, augmentation.scale), centre, masks)
    return method.step(state, Batch(normal, planted), method_key)


def choose_devices(batches: Mapping[str, int], asked: int | None) -> int:
    """Number of devices, of all processes together, that share a training.

    Args:
        batches: images of a step, as `Method.batch_sizes`.
        asked: by the user; None is one, or with several processes as many as can share each batch.

    Raises:
        InputError: there are fewer, or the batch size is not divisible by them, or they are not
            divisible by the processes.
    """
    processes = jax.process_count()
    there = processes * min(map(count_devices, range(processes)))

    def problem(devices: int) -> str | None:
        if not processes <= devices <= there:
            return f"JAX has {processes} to {there} here"
        if devices % processes:
            return f"must be a multiple of the {processes} processes"
        undivided = (
            f"must divide {flag(name)} {size}" for name, size in batches.items() if size % devices
        )
        return next(undivided, None)

    if asked is None and processes > 1:
        asked = next((n for n in range(there, processes, -processes) if not problem(n)), processes)
    devices = 1 if asked is None else asked
    if found := problem(devices):
        raise InputError(f"--devices {devices}: {found}")
    return devices
