"""Estimates of the time of a training on this machine and on a GPU, and of its memory.

Real training steps are not timed: their program takes half a minute to compile. A matrix product
is, which takes a fraction of a second.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from i3ad_jax.check.choices import Choices
from i3ad_jax.methods.method import Batch, Method, PlantedSquares
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.runtime.compiler import jit
from i3ad_jax.runtime.memory import allowed

Range = tuple[float, float]
"""The least and the largest value."""

FRACTIONS: Range = (0.1, 0.17)
"""Operations a second of training steps of I3AD over those of a large matrix product, on a CPU.

Measured: six trainings of 4,000 steps, standard preset, on two idle cores with AVX-512. A product
has 400 billion operations a second there. The least is 0.108 (magnetic tiles: 303 s, 3.28 billion
operations a step), the largest 0.159 (built-in cloth: 425 s, 6.74 billion). A run of the paper
preset has not been timed.
"""
TEST_OPERATIONS: Range = (15e9, 35e9)
TEST_OPERATIONS_OF_PIXEL: Range = (0.3e6, 0.6e6)
"""Operations that such a product makes while an image is calibrated or tested: for each image, and
for each pixel of the working size.

Measured: the same six runs and one of the quick preset, less training and compilation. An image
took 0.06 to 0.09 s at 64 x 64 pixels, 0.12 to 0.14 s at 256 x 256 and 0.16 to 0.21 s at 320 x 320.
"""
START: Range = (5.0, 60.0)
"""Seconds to import and to compile: programs in the cache, and none."""
PRODUCT_SIZE = 2048  # rows and columns

GPU = "an H100"
GPU_RATES = {"float32": 41e12, "bfloat16": 77e12}
"""Operations a second of training steps on this GPU, by the type that networks compute in.

Not measured. For the step of I3AD's gpu preset that XLA compiles for this card, 2.5 times the least
time (`benchmarks.gpu_program`): 13.6 and 7.2 ms for 1.4 trillion operations. float32 is TF32 there.
"""
DAY = 86_400

PROCESS = 1400 * 2**20
"""Bytes of Python, JAX, and the compiler's work.

Measured: a process that trained and tested the built-in cloth of 64 x 64 pixels had 1,554 MiB at
its peak, nothing being compiled before. The other parts of the estimate are 150 MiB. Another run
on small images had 1,199 MiB.
"""
TEMPORARY = 0.03
"""Bytes of a compiled step's temporary arrays over the bytes that its operations access.

XLA counts the latter before it compiles. Measured: 36 of 1,200 MiB, context encoder, standard
preset.
"""


class Images(NamedTuple):
    """Numbers of images of a data set: normal training images, and test images."""

    train: int
    test: int


@dataclass(frozen=True)
class Cost:
    """Cost of a training with calibration and test.

    Attributes:
        steps: of the training.
        operations: floating-point operations of a step, as XLA counts them.
        seconds: on this machine; None where nothing is known.
        seconds_on_gpu: of the training on `GPU`, by `GPU_RATES`.
        bytes_at_peak: memory of the process, for a run on a CPU.
    """

    steps: int
    operations: float
    seconds: Range | None
    seconds_on_gpu: float
    bytes_at_peak: int

    @property
    def duration(self) -> str:
        """The seconds for people; what takes more than a day needs a GPU."""
        if self.seconds is None:
            return "time unknown"
        if self.seconds[0] > DAY:
            return f"needs a GPU: about {_span(self.seconds_on_gpu)} on {GPU}"
        return _span(*self.seconds)


def estimate(choices: Choices, images: Images, *, rate: float | None) -> Cost:
    """Estimate the cost of a training.

    Args:
        choices: its settings.
        images: numbers of images.
        rate: as `matrix_product_rate` gives it.
    """
    config, (height, width) = choices.config, choices.sizes.working
    # Other numbers of steps make another method, but not another step to count.
    method = config.with_settings({"steps": 1, "sample_every": 1}).build()
    step, steps = count_step(method), config.training.steps
    calibrate = round(config.data.held_out * images.train) + config.scoring.planted_images
    scored, pixels, training = calibrate + images.test, height * width, steps * step.operations
    seconds = None
    if rate is not None:
        seconds = estimate_seconds(training, scored=scored, pixels=pixels, rate=rate)
    state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state_shapes(method)))
    of_step = 2 * state + int(TEMPORARY * step.bytes_accessed)  # a copy of the state is calibrated
    size = estimate_bytes(
        of_step, images, calibrate=calibrate, pixels=pixels, scores=len(method.score_names)
    )
    on_gpu = training / GPU_RATES[config.flat().get("dtype", "float32")]
    return Cost(steps, step.operations, seconds, on_gpu, size)


def estimate_bytes(
    of_step: int, images: Images, *, calibrate: int, pixels: int, scores: int
) -> int:
    """Estimate the bytes of a process that trains, calibrates and tests on a CPU, at its peak.

    Args:
        of_step: bytes of the state and of the temporary arrays of a step.
        images: numbers of images.
        calibrate: number of images that are calibrated, with copies with synthetic defects.
        pixels: of the working size.
        scores: number of scores, each with a map of every image.
    """
    maps = 4 * scores * pixels  # of an image, float32
    # test images with masks; what is too large for memory is in a file
    by_image = (3 * pixels * images.train, 4 * pixels * images.test, maps * images.test)
    kept = sum(size for size in by_image if size <= allowed(None))
    return PROCESS + of_step + maps * calibrate + kept


def estimate_seconds(training: float, *, scored: int, pixels: int, rate: float) -> Range:
    """Estimate the seconds of a training, its calibration and its test on a CPU.

    Args:
        training: floating-point operations of all steps.
        scored: number of images that are calibrated or tested.
        pixels: of the working size.
        rate: as `matrix_product_rate` gives it.
    """
    # The largest fraction of the rate takes the least time.
    factors = zip(START, FRACTIONS[::-1], TEST_OPERATIONS, TEST_OPERATIONS_OF_PIXEL, strict=True)
    least, most = (
        start + (training / fraction + scored * (of_image + pixels * of_pixel)) / rate
        for start, fraction, of_image, of_pixel in factors
    )
    return least, most


class StepCounts(NamedTuple):
    """Floating-point operations of a training step, and bytes that its operations access.

    As XLA counts them before it compiles.
    """

    operations: float
    bytes_accessed: float


@cache
def count_step(method: Method) -> StepCounts:
    """Count the operations of a training step and the bytes that they access."""
    side: int = method.image_size
    training: Any = method.training

    def images(count: int, channels: int, side: int = side) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, side, side, channels), jnp.float32)

    def step(state: Any, normal: jax.Array, planted: PlantedSquares | None, key: jax.Array) -> Any:
        return method.step(state, Batch(normal, planted), key)

    detail = method.detail(training)
    planted: Any = detail and PlantedSquares(
        *(images(method.num_planted, channels, detail.side) for channels in (3, 3, 1))  # type: ignore[arg-type]
    )
    lowered = jax.jit(step).lower(
        state_shapes(method),
        images(training.batch_size, 3),
        planted,
        jax.eval_shape(lambda: jax.random.key(0)),
    )
    counts: Any = lowered.cost_analysis()
    return StepCounts(float(counts["flops"]), float(counts["bytes accessed"]))


def matrix_product_rate() -> float | None:
    """Return the floating-point operations a second of a large matrix product, on a CPU only.

    The fastest of several products counts. None on other devices: the relation of a training to it
    has been measured on CPUs alone.
    """
    if jax.default_backend() != "cpu":
        return None
    factor, product = jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE), jnp.float32), jit()(jnp.matmul)
    product(factor, factor).block_until_ready()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        product(factor, factor).block_until_ready()
        seconds.append(time.perf_counter() - start)
    return 2 * PRODUCT_SIZE**3 / min(seconds)


def _span(least: float, most: float | None = None) -> str:
    """Return seconds for people, such as "4 to 7 minutes"."""
    most = least if most is None else most
    units = (("days", DAY), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    unit, length = next(unit for unit in units if most >= 2 * unit[1] or unit[1] == 1)
    low, high = (max(round(seconds / length), 1) for seconds in (least, most))
    return f"{high} {unit}" if low == high else f"{low} to {high} {unit}"
