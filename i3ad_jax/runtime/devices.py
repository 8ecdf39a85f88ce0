"""Several devices for one queue of images: GPUs, or the cores of a processor."""

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from i3ad_jax.shapes import Images

Results = TypeVar("Results")  # a pytree of arrays
_AXIS = "device"


def use_every_core() -> None:
    """Makes each core of the processor a device of JAX's, unless the user has said how many there are.

    One program leaves cores idle wherever one of its operations ends; two of them fill each other's gaps
    (`benchmarks/README.md` has the measurement). A program for one device still has the threads of all cores.
    To be called before JAX is used.
    """
    if jax.config.jax_num_cpu_devices < 1:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def devices_for(num_images: int, *, together: int) -> int:
    """How many devices to share a queue among, of whose images `together` are worked on at a time."""
    return min(jax.device_count(), together, num_images)


def copied_to(devices: int, arrays: Results) -> Results:
    """The same arrays on each of the first `devices` devices, for a program that runs on all of them."""
    return jax.device_put(arrays, NamedSharding(_mesh(devices), PartitionSpec()))


def spread_over_devices(
    queue: Callable[[Images, Int[Array, ""]], Results],
    images: Images,
    *,
    count: int | Int[Array, ""],
    devices: int,
) -> Results:
    """What `queue(images, count)` gives, every device working on a queue of its own.

    Images are dealt like cards, so that all have work whatever the count; no device waits for another before
    its queue is empty.

    Args:
        queue: from images and the number of them that mean something to arrays with a row for each image.
        images: in [-1, 1].
        count: how many of them mean something.
        devices: how many to share them among.
    """
    if devices == 1:
        return queue(images, jnp.asarray(count))
    rows = -(-len(images) // devices)
    padding = [(0, rows * devices - len(images)), (0, 0), (0, 0), (0, 0)]
    hands = jnp.pad(images, padding).reshape(rows, devices, *images.shape[1:]).swapaxes(0, 1)
    counts = (count - jnp.arange(devices) + devices - 1) // devices

    def one_device(hand: Images, count: Int[Array, " 1"]) -> Results:
        return jax.tree.map(lambda x: x[None], queue(hand[0], count[0]))

    each = PartitionSpec(_AXIS)
    dealt = jax.shard_map(one_device, mesh=_mesh(devices), in_specs=each, out_specs=each, check_vma=False)(
        hands, counts
    )
    return jax.tree.map(
        lambda x: x.swapaxes(0, 1).reshape(rows * devices, *x.shape[2:])[: len(images)], dealt
    )


def _mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), (_AXIS,))
