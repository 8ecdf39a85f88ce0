"""Any number of images through a compiled program of one shape, queue by queue."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from i3ad_jax.runtime.progress import progress_bar

Results = TypeVar("Results")


@runtime_checkable
class ProgressBar(Protocol):
    """A progress bar, such as tqdm's."""

    @property
    def n(self) -> float:
        """Number of images done."""
        ...

    def update(self, n: float) -> object:
        """Add `n` to it."""
        ...


def by_queues(
    function: Callable[[Any, int], Results], images: Any, *, size: int, label: str | None = None
) -> Results:
    """Return the results of `function` for all images, as NumPy arrays.

    Args:
        function: from a queue of `size` rows and the number of valid ones to a pytree of arrays
            with a row for each.
        images: a pytree of arrays with a row for each image; at least one.
        size: rows of a queue; the last one is padded with copies.
        label: of the progress bar; without one there is none.
    """
    parts: list[Any] = []
    total = len(jax.tree.leaves(images)[0])
    with progress_bar(
        label or "", total, unit="image", compiles=True, disable=label is None
    ) as progress:
        for first in range(0, total, size):
            count = min(size, total - first)
            rows = np.minimum(first + np.arange(size), total - 1)
            results = function(jax.tree.map(lambda x: x[rows], images), count)  # noqa: B023 (done at once)
            parts.append(jax.tree.map(lambda x: np.asarray(x)[:count], results))  # noqa: B023 (done at once)
            progress.update(count)
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)
