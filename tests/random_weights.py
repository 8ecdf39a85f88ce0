"""Weights for tests. They cost no compilation, unlike a network's own initial weights."""

import math
from typing import Any

import jax
import numpy as np


def random_weights(shapes: Any, *, gain: float = 1.0) -> Any:
    """Random arrays of the given shapes: kernels of order gain / sqrt(inputs), all else of order gain.

    Args:
        shapes: what `jax.eval_shape` says of a network's `init`.
        gain: with 2, a signal reaches the output of the generator, whose gates weaken it.
    """
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: np.float32(gain * rng.normal(size=x.shape) / math.sqrt(math.prod(x.shape[:-1]))), shapes
    )
