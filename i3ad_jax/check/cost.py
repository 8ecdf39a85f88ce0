"""Estimates of a training's time on this machine and of the memory that it keeps."""

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from i3ad_jax.check.choices import Choices
from i3ad_jax.methods.method import Batch, Method, PlantedSquares
from i3ad_jax.methods.state import state_shapes
from i3ad_jax.runtime.compiler import jit

FRACTION = 0.25
"""Operations a second of a run of I3AD, training and test, over those of a large matrix product, on
a CPU.

The figures of docs/results.md give 0.19 to 0.21, where a product has 400 billion a second. Bottle
and tiles, standard preset, took 162 and 154 s for 2,500 steps of 5.2 billion operations. The cloth,
quick preset, took 288 s for 1,500 of 14.4 billion. Where a product had 169 billion, slower programs
than today's had 0.32 to 0.43. A run of the paper preset has not been timed.
"""
PRODUCT_SIZE = 2048  # rows and columns


@dataclass(frozen=True)
class Cost:
    """Cost of a training.

    Attributes:
        steps: of the training.
        operations: floating-point operations of a step, as XLA counts them.
        seconds: of training and a test of some hundred images, within a factor of two or so; None
            where nothing is known.
        bytes_at_least: bytes that stay in memory: images, weights, and optimisers. A step takes
            more for a while.
    """

    steps: int
    operations: float
    seconds: float | None
    bytes_at_least: int

    @property
    def duration(self) -> str:
        """The seconds for people."""
        if self.seconds is None:
            return "unknown"
        for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
            if self.seconds >= 2 * length:
                return f"{self.seconds / length:.0f} {unit}"
        return f"{self.seconds:.0f} seconds"


def estimate(choices: Choices, num_images: int, *, rate: float | None) -> Cost:
    """Estimate the cost of a training.

    Args:
        choices: its settings.
        num_images: to train on.
        rate: as `matrix_product_rate` gives it.
    """
    config = choices.config
    # Every number of steps makes another method, but not another step.
    method = config.with_settings({"steps": 1}).build()
    operations, steps = step_operations(method), config.training.steps
    height, width = choices.sizes.working
    state = jax.tree.leaves(state_shapes(method))
    return Cost(
        steps=steps,
        operations=operations,
        seconds=None if rate is None else steps * operations / (FRACTION * rate),
        bytes_at_least=num_images * height * width * 3
        + sum(x.size * x.dtype.itemsize for x in state),
    )


@cache
def step_operations(method: Method) -> float:
    """Floating-point operations of a training step, as XLA counts them before it compiles."""
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
    return float(counts["flops"])


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
