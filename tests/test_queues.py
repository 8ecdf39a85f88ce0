"""Queues of one shape, against the same function on all images."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from i3ad_jax.runtime.queues import by_queues


@given(st.integers(1, 20), st.integers(1, 9))
def test_every_image_is_in_one_queue(total: int, size: int) -> None:
    images = {"a": np.arange(total), "b": np.random.default_rng(0).random((total, 2))}
    counts: list[int] = []

    def double(queue: dict[str, np.ndarray], count: int) -> dict[str, Any]:
        assert {len(x) for x in queue.values()} == {size}
        # Whatever fills up the last queue is an image, so no value is invalid.
        assert (queue["a"][count:] == total - 1).all()
        counts.append(count)
        return {name: 2 * x for name, x in queue.items()}

    found = by_queues(double, images, size=size)
    assert sum(counts) == total
    assert counts[:-1] == [size] * (len(counts) - 1)
    for name, x in images.items():
        np.testing.assert_array_equal(found[name], 2 * x)
