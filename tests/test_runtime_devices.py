"""Work on several devices and in batches, against the same work at once."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.runtime.devices import devices_for, in_batches, shard_over_devices

IMAGES = {"a": np.arange(7.0, dtype=np.float32), "b": np.random.default_rng(0).random((7, 3))}


def total(rows: dict[str, Any]) -> Any:
    """One number for each row."""
    return rows["a"] ** 2 + rows["b"].sum(axis=1)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
def test_batches_give_what_all_rows_at_once_do(batch_size: int) -> None:
    found = jax.jit(lambda count: in_batches(total, IMAGES, count=count, batch_size=batch_size))
    for count in (1, 4, 7):
        np.testing.assert_allclose(
            found(jnp.int32(count))[:count], total(IMAGES)[:count], rtol=1e-6
        )


def test_no_time_is_spent_on_batches_beyond_the_count() -> None:
    calls: list[int] = []

    def counted(rows: dict[str, Any]) -> Any:
        jax.debug.callback(lambda: calls.append(1))
        return total(rows)

    program = jax.jit(partial(in_batches, counted, IMAGES, batch_size=2))
    program(count=jnp.int32(3)).block_until_ready()
    jax.effects_barrier()
    assert len(calls) == 2


def test_one_device_gives_the_function_itself() -> None:
    found = shard_over_devices(lambda rows, count: total(rows) * count, IMAGES, count=5, devices=1)
    np.testing.assert_allclose(found, 5 * total(IMAGES), rtol=1e-6)


@pytest.mark.parametrize(("images", "together"), [(1, 8), (8, 1), (3, 2), (10_000, 10_000)])
def test_no_device_is_without_an_image(images: int, together: int) -> None:
    found = devices_for(images, together=together)
    assert 1 <= found <= min(images, together, jax.local_device_count())
