"""Any number of images through a compiled program of one shape, queue by queue."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from tqdm import tqdm

from i3ad_jax.shapes import Images, to_float

Results = TypeVar("Results")


def by_queues(
    function: Callable[[Images, int], Results],
    images: UInt8[np.ndarray, "n h w 3"],
    *,
    size: int,
    label: str | None = None,
) -> Results:
    """What `function` gives for all images, as NumPy arrays.

    Args:
        function: from `size` images in [-1, 1], and how many of them mean something, to a pytree of arrays
            with a row for each image.
        images: at least one.
        size: images of a queue; the last one is filled up by copies.
        label: of the progress bar; without one there is none.
    """
    parts: list[Any] = []
    with tqdm(total=len(images), desc=label, unit="image", disable=label is None) as progress:
        for first in range(0, len(images), size):
            queue = images[first : first + size]
            count = len(queue)
            padded = np.concatenate([queue, np.repeat(queue[-1:], size - count, axis=0)])
            results = function(to_float(jnp.asarray(padded)), count)
            parts.append(jax.tree.map(lambda x: np.asarray(x)[:count], results))  # noqa: B023 (done at once)
            progress.update(count)
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
