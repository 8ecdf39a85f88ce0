"""Training as an iterator of steps, without disk, progress bars or signals: `session.py` adds these."""

import math
import time
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, UInt8
from tqdm import tqdm

from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import Batch, Method, Metrics, State, StepSettings
from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing
from i3ad_jax.preprocessing.training_images import TrainingImages
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.segmentation.planting import Planted, plant_defects
from i3ad_jax.shapes import PRNGKey

SQUARES_AT_ONCE = 4  # random tiles of an image that a method which learns at once is given
CHECK_EVERY = 20  # steps between looks at the losses
CALL_SECONDS = 0.5  # that a call of the compiled program takes, about: so long may Ctrl-C and a bar wait
DIVERGED = 1e4  # losses here are of order one; beyond this no training comes back


class Step(NamedTuple):
    """A training step.

    Attributes:
        number: of steps that led to `state`.
        state: what is learned so far. The next step takes its memory: copy what is to be kept.
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
        if not weights or all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(self.state)):
            return None
        return f"a weight = {math.nan:g}"


def training_steps(
    method: Method,
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    preprocessing: Preprocessing,
    augment: Augment = "none",
    seed: int,
    start: int = 0,
    state: State | None = None,
    every: Collection[int] = (1,),
) -> Iterator[Step]:
    """The steps of a training, from the first or from where an earlier one ended.

    Several steps are one call of a compiled program, which saves the time that every call takes to get its
    memory; how many are together changes no bit. Step i draws its batch, squares and masks from a key made of
    the seed and i alone, so a training that was interrupted ends in the same bits as one that was not. A
    method that learns from all images at once takes one step.

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

    Raises:
        InputError: there are too few images for the method's settings.
    """
    if not isinstance(method.training, StepSettings):
        if start == 0:
            squares = preprocessing.squares(images, each=SQUARES_AT_ONCE, seed=seed)
            yield Step(1, method.fit_at_once(np.asarray(squares.images)), {})
        return
    init_key, train_key = jax.random.split(jax.random.key(seed))
    order_key, step_key = jax.random.split(train_key)
    state = fresh_state(init_key, method) if state is None else state
    on_device = TrainingImages.of(images, preprocessing, augment)
    number, count, total = start, 1, method.training.steps
    while number < total:
        stop = min(number + count, total, *((number // multiple + 1) * multiple for multiple in every))
        clock = time.perf_counter()
        state, metrics = jax.block_until_ready(
            _run_steps(method, state, on_device, number, stop, order_key, step_key)
        )
        count = max(1, int(CALL_SECONDS * (stop - number) / (time.perf_counter() - clock)))
        number = stop
        yield Step(number, state, metrics)


def last_step(
    method: Method,
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    preprocessing: Preprocessing,
    augment: Augment,
    seed: int,
    progress: bool = False,
) -> Step:
    """The end of a training; arguments as for `training_steps`, and `progress` to show a bar.

    Raises:
        InputError: training diverged, or there are too few images for the method's settings.
    """
    total, last = getattr(method.training, "steps", 1), None
    steps = training_steps(
        method, images, preprocessing=preprocessing, augment=augment, seed=seed, every=(CHECK_EVERY,)
    )
    with tqdm(desc="train", total=total, unit="step", disable=not progress) as bar:
        for last in steps:
            if problem := last.problem(weights=last.number == total):
                raise InputError(
                    f"training diverged at step {last.number} ({problem}); lower the learning rates"
                )
            bar.update(last.number - bar.n)
    assert last is not None  # there is at least one step
    return last


def fresh_state(key: PRNGKey, method: Method) -> State:
    """What `method.init` gives."""
    return _init(method, key)


@cache
def state_shapes(method: Method) -> State:
    """The structure of the method's states, with `jax.ShapeDtypeStruct` leaves."""
    return jax.eval_shape(lambda: method.init(jax.random.key(0)))


@jit(optimise=False, static_argnums=0)  # mostly random numbers
def _init(method: Method, key: PRNGKey) -> State:
    return method.init(key)


@jit(static_argnums=0, donate_argnums=1)
def _run_steps(
    method: Method,
    state: State,
    images: TrainingImages,
    start: int | Int[Array, ""],
    stop: int | Int[Array, ""],
    order_key: PRNGKey,
    step_key: PRNGKey,
) -> tuple[State, Metrics]:
    """Training steps as one program: the state after step `stop`, and that step's metrics.

    The state is donated: the new one takes its memory.
    """

    def step(index: Int[Array, ""], carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
        return _step(method, carry[0], images, index, order_key, step_key)

    shapes = jax.eval_shape(lambda: step(jnp.int32(0), (state, {}))[1])
    none = jax.tree.map(lambda metric: jnp.zeros(metric.shape, metric.dtype), shapes)
    return lax.fori_loop(start, stop, step, (state, none))


def _step(
    method: Method,
    state: State,
    images: TrainingImages,
    index: Int[Array, ""],
    order_key: PRNGKey,
    step_key: PRNGKey,
) -> tuple[State, Metrics]:
    """One training step: its batch from the epoch's shuffled images, then the method's step."""
    settings = method.training
    assert isinstance(settings, StepSettings)

    def draw(position: Array) -> Array:
        epoch, place = jnp.divmod(position, len(images.pixels))
        return jax.random.permutation(jax.random.fold_in(order_key, epoch), len(images.pixels))[place]

    chosen = jax.vmap(draw)(index * settings.batch_size + jnp.arange(settings.batch_size))
    square_key, defect_key, method_key = jax.random.split(jax.random.fold_in(step_key, index), 3)
    squares, centre = images.draw(square_key, chosen)
    batch = Batch((squares - centre) / images.scale, _planted(defect_key, images, method.num_planted))
    return method.step(state, batch, method_key)


def _planted(key: PRNGKey, images: TrainingImages, count: int) -> Planted | None:
    """So many random images, most of them with a planted defect, in units of the data."""
    if not count:
        return None
    index_key, square_key, defect_key = jax.random.split(key, 3)
    index = jax.random.randint(index_key, (count,), 0, len(images.pixels))
    squares, centre = images.draw(square_key, index)
    planted = plant_defects(defect_key, squares)
    return Planted((planted.images - centre) / images.scale, planted.masks)
