"""Weights for tests. They cost no compilation, unlike a network's own initial weights."""

import math
from typing import Any

import jax
import numpy as np

# With larger ones a generator amplifies rounding: at 2 a change of the image by 1e-7 moves its
# output by some 1e-5, and two programs that compute the same agree to no stated tolerance.
# test_random_weights.py measures it for every method.
LARGEST_GAIN = 1.6


def random_weights(shapes: Any, *, gain: float = 1.0) -> Any:
    """Return random arrays of the given shapes.

    Kernels are of order gain / sqrt(inputs), other arrays of order gain.

    Args:
        shapes: pytree of arrays or of what `jax.eval_shape` gives for a network's `init`.
        gain: at most `LARGEST_GAIN`, with which an image still reaches the output of the generator,
            whose gates weaken it.
    """
    assert gain <= LARGEST_GAIN
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: np.float32(gain * rng.normal(size=x.shape) / math.sqrt(math.prod(x.shape[:-1]))),
        shapes,
    )


def amplification(function: Any, images: np.ndarray, *, change: float = 1e-3) -> float:
    """Return how much a relative change of images grows through a function.

    Args:
        function: of float32 images `b h w c`, to an array or a pytree of arrays.
        images: images at which to measure.
        change: relative, far above rounding and far below what saturates an activation.
    """
    noise = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    before, after = (jax.tree.leaves(function(x)) for x in (images, images * (1 + change * noise)))
    return max(float(np.abs(x - y).max()) for x, y in zip(before, after, strict=True)) / change
