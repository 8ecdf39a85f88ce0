"""Training as an iterator of steps, without disk, progress bars or signals: `train.session` adds these."""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, UInt8
from tqdm import tqdm

from i3ad_jax.data.stored import Rows, some
from i3ad_jax.errors import DivergenceError, InputError
from i3ad_jax.methods.method import Batch, Method, Metrics, State, StepSettings
from i3ad_jax.methods.state import fresh_state
from i3ad_jax.plan import Plan
from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.devices import copied_to_all, own_copy, replicated
from i3ad_jax.runtime.processes import arrays_of_first, gathered
from i3ad_jax.segmentation.planting import Planted, plant_defects
from i3ad_jax.settings import flag
from i3ad_jax.shapes import PRNGKey
from i3ad_jax.training.batches import BLOCK, Augmentation, Block, RawSquares, TrainingImages

LOG = logging.getLogger(__name__)
SQUARES_AT_ONCE = 4  # random tiles of an image that a method which learns at once is given
IMAGES_AT_ONCE = 5000  # that it is given, at most: their squares are in memory together
CHECK_EVERY = 20  # steps between looks at the losses
CALL_SECONDS = (
    0.5  # that a call of the compiled program takes, about: so long may Ctrl-C and a bar wait
)
DIVERGED = 1e4  # losses here are of order one; beyond this no training comes back


class Step(NamedTuple):
    """A training step.

    Attributes:
        number: of steps that led to `state`.
        state: what is learned so far, on all devices that share the training. The next step takes its
            memory: copy what is to be kept.
        metrics: losses of this step.
    """

    number: int
    state: State
    metrics: Metrics

    def problem(self, *, weights: bool = True) -> str | None:
        """The loss that has diverged, or `weights` that are not finite; waits for the step's end."""
        for name, value in self.metrics.items():
            if not abs(float(value)) < DIVERGED:
                return f"{name} = {float(value):g}"
        if not weights or all(
            bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(self.state)
        ):
            return None
        return f"a weight = {math.nan:g}"


def training_steps(
    method: Method,
    images: UInt8[Rows, "n h w 3"],
    *,
    preprocessing: Preprocessing,
    augment: Augment = "none",
    seed: int,
    start: int = 0,
    state: State | None = None,
    every: Collection[int] = (1,),
    devices: int | None = None,
) -> Iterator[Step]:
    """The steps of a training, from the first or from where an earlier one ended.

    Several steps are one call of a compiled program, which saves the time that every call takes to get its
    memory; how many are together changes no bit. Step i draws its batch, squares and masks by the seed and i
    alone, so a training that was interrupted ends in the same bits as one that was not. The images stay on
    the host, or in a file; those of the next steps are read ahead. A method that learns at once takes one
    step, from all images or `IMAGES_AT_ONCE` of them.

    Args:
        method: to train.
        images: normal images of the working size.
        preprocessing: what the networks see of them.
        augment: how training images are mirrored and turned.
        seed: of weights, batches, squares, masks and planted defects.
        start: number of steps that led to `state`.
        state: to go on from; None for fresh weights. It is donated.
        every: what is yielded are steps whose number is a multiple of one of these, the last step, and where
            steps are slow others in between, so that `CALL_SECONDS` pass at most.
        devices: that share every batch, as `choose_devices` takes them: each has its part of the images, and
            all weights. The result is that of one device but for rounding.

    Raises:
        InputError: there are too few images for the method's settings, or a batch cannot be shared so.
    """
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
    augmentation = copied_to_all(devices, Augmentation.of(preprocessing, augment))
    drawn = TrainingImages(
        images,
        preprocessing,
        batch_size=settings.batch_size,
        num_planted=method.num_planted,
        seed=seed,
    )
    number, count = start, 1
    for block in drawn.blocks(start, settings.steps, devices=devices):
        end = min(int(block.first) + BLOCK, settings.steps)
        if number == start and jax.process_count() > 1:
            # No step: each compiles in its own time, as a process waits for another in a program for 30 s.
            state, _ = _run_steps(
                method, devices, state, block, augmentation, start, start, step_key
            )
            gathered(start)
        while number < end:
            stop = min(
                number + count, end, *((number // multiple + 1) * multiple for multiple in every)
            )
            clock = time.perf_counter()
            state, metrics = jax.block_until_ready(
                _run_steps(method, devices, state, block, augmentation, number, stop, step_key)
            )
            count = max(1, int(CALL_SECONDS * (stop - number) / (time.perf_counter() - clock)))
            count = gathered(count)[0]  # all processes make the same calls
            number = stop
            yield Step(number, state, metrics)


def steps_of_plan(
    plan: Plan,
    images: UInt8[Rows, "n h w 3"],
    *,
    start: int = 0,
    state: State | None = None,
    every: Collection[int] = (1,),
    devices: int | None = None,
) -> Iterator[Step]:
    """Return the steps of a plan's training; other arguments and errors as for `training_steps`."""
    return training_steps(
        plan.method,
        images,
        preprocessing=plan.preprocessing,
        augment=plan.config.preprocessing.augment,
        seed=plan.config.seed,
        start=start,
        state=state,
        every=every,
        devices=devices,
    )


def last_step(
    plan: Plan,
    images: UInt8[Rows, "n h w 3"],
    *,
    devices: int | None = None,
    progress: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Step:
    """Return the end of a training.

    Args:
        plan: of the training.
        images: those that are trained on, of the working size.
        devices: as for `training_steps`.
        progress: show a progress bar.
        on_step: called with some steps, one in `CHECK_EVERY` at least, and with the last one.

    Raises:
        DivergenceError: a loss or a weight is too large or not finite.
        InputError: there are too few images for the method's settings.
    """
    total, last = getattr(plan.method.training, "steps", 1), None
    steps = steps_of_plan(plan, images, every=(CHECK_EVERY,), devices=devices)
    with tqdm(desc="train", total=total, unit="step", disable=not progress) as bar:
        for last in steps:
            if problem := last.problem(weights=last.number == total):
                raise DivergenceError(last.number, problem)
            losses = ", ".join(f"{name} {float(value):.4g}" for name, value in last.metrics.items())
            LOG.info("step %d of %d: %s", last.number, total, losses)
            if on_step is not None:
                on_step(last)
            bar.update(last.number - bar.n)
    assert last is not None  # there is at least one step
    return last._replace(state=own_copy(last.state))


@jit(static_argnums=(0, 1), donate_argnums=2)
def _run_steps(
    method: Method,
    devices: int,
    state: State,
    block: Block,
    augmentation: Augmentation,
    start: int | Int[Array, ""],
    stop: int | Int[Array, ""],
    key: PRNGKey,
) -> tuple[State, Metrics]:
    """Training steps as one program: the state after step `stop`, and that step's metrics.

    The state is donated: the new one takes its memory.
    """

    @jax.jit  # traced once, for the shapes and for the loop
    def step(index: Int[Array, ""], state: State) -> tuple[State, Metrics]:
        batch, to_plant = (
            squares[index - block.first] for squares in (block.batches, block.to_plant)
        )
        stepped = _step(
            method, state, batch, to_plant, augmentation, jax.random.fold_in(key, index)
        )
        return replicated(stepped, devices=devices)

    shapes = jax.eval_shape(step, jnp.int32(0), state)[1]
    none = jax.tree.map(lambda metric: jnp.zeros(metric.shape, metric.dtype), shapes)
    first, last = jnp.int32(start), jnp.int32(stop)
    return lax.fori_loop(first, last, lambda index, carry: step(index, carry[0]), (state, none))


def _step(
    method: Method,
    state: State,
    batch: RawSquares,
    to_plant: RawSquares,
    augmentation: Augmentation,
    key: PRNGKey,
) -> tuple[State, Metrics]:
    """One training step."""
    batch_key, plant_key, defect_key, method_key = jax.random.split(key, 4)
    pixels, centre = augmentation(batch_key, batch)
    normal, planted = (pixels - centre) / augmentation.scale, None
    if method.num_planted:
        pixels, centre = augmentation(plant_key, to_plant)
        defective = plant_defects(defect_key, pixels)
        planted = Planted((defective.images - centre) / augmentation.scale, defective.masks)
    return method.step(state, Batch(normal, planted), method_key)


def choose_devices(batches: Mapping[str, int], asked: int | None) -> int:
    """Number of devices, of all processes together, that share a training.

    Args:
        batches: images of a step, as `Method.batch_sizes`.
        asked: by the user; None is one, or with several processes as many as can share each batch.

    Raises:
        InputError: so many are not there, or do not divide each batch, or the processes not them.
    """
    processes = jax.process_count()
    there = processes * min(len(jax.local_devices(process)) for process in range(processes))

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
