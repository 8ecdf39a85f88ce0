"""Several devices: of one process for a queue of images, of all processes for a training batch."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from i3ad_jax.shapes import Length

Results = TypeVar("Results")  # a pytree of arrays
_AXIS = "device"


def use_every_core() -> None:
    """Make each processor core a device of JAX, unless the user has set the number of devices.

    One program leaves cores idle wherever one of its operations ends; two of them fill these gaps
    (`benchmarks/README.md` has the measurement). A program for one device still has the threads of
    all cores. To be called before JAX is used.
    """
    if jax.config.jax_num_cpu_devices < 1:  # pyright: ignore[reportAttributeAccessIssue]
        jax.config.update("jax_num_cpu_devices", os.cpu_count() or 1)


def count_devices(process: int) -> int:
    """Return the number of devices of a process."""
    return len(jax.local_devices(process))


def devices_for(num_images: int, *, together: int) -> int:
    """Return the number of devices to shard a queue over, `together` images worked on at a time."""
    return min(jax.local_device_count(), together, num_images)


def copied_to(devices: int, arrays: Results) -> Results:
    """Copy arrays to this process's first `devices` devices, for a program that runs on them."""
    return jax.device_put(arrays, NamedSharding(_own_mesh(devices), PartitionSpec()))


def copied_to_all(devices: int, arrays: Results) -> Results:
    """The same arrays on each of `devices` devices of all processes, which give them alike."""
    sharding = NamedSharding(_mesh(devices), PartitionSpec())
    if jax.process_count() == 1:
        return jax.device_put(arrays, sharding)

    def copy(x: Any) -> Array:
        values = np.asarray(x)
        return jax.make_array_from_callback(values.shape, sharding, lambda part: values[part])

    return jax.tree.map(copy, arrays)


def own_copy(arrays: Results) -> Results:
    """Return arrays of `copied_to_all` on one device of this process; others as they are."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, arrays)


def own_part(array: np.ndarray, *, axis: int) -> np.ndarray:
    """This process's part of an axis that the processes divide."""
    return np.split(array, jax.process_count(), axis)[jax.process_index()]


def sharded(part: np.ndarray, *, devices: int, axis: int) -> Array:
    """Return the array of all processes' parts; each of `devices` devices has part of an axis."""
    sharding = NamedSharding(_mesh(devices), PartitionSpec(*[None] * axis, _AXIS))
    return jax.make_array_from_process_local_data(sharding, part)


def replicated(arrays: Results, *, devices: int) -> Results:
    """Constrain arrays of a program to be whole on each of `devices` devices of all processes."""
    return lax.with_sharding_constraint(arrays, NamedSharding(_mesh(devices), PartitionSpec()))


def shard_over_devices(
    function: Callable[[Any, Int[Array, ""]], Results],
    images: Any,
    *,
    count: int | Int[Array, ""],
    devices: int,
) -> Results:
    """Return `function(images, count)`, computed by this process's devices, a shard each.

    Image i goes to device i modulo their number, so that all have work whatever the count; no
    device waits for another before its shard is done.

    Args:
        function: from images and the number of valid rows to arrays with a row for each image.
        images: a pytree of arrays with a row for each image.
        count: number of valid rows; the rest is padding.
        devices: number of devices to shard them over.
    """
    if devices == 1:
        return function(images, jnp.asarray(count))
    total = len(jax.tree.leaves(images)[0])
    rows = -(-total // devices)

    def split(x: Array) -> Array:
        padded = jnp.pad(x, [(0, rows * devices - total)] + [(0, 0)] * (x.ndim - 1))
        return padded.reshape(rows, devices, *x.shape[1:]).swapaxes(0, 1)

    counts = (count - jnp.arange(devices) + devices - 1) // devices

    def one_device(shard: Any, count: Int[Array, " 1"]) -> Results:
        own = jax.tree.map(lambda x: x[0], shard)
        return jax.tree.map(lambda x: x[None], function(own, count[0]))

    each = PartitionSpec(_AXIS)
    on_all = jax.shard_map(
        one_device, mesh=_own_mesh(devices), in_specs=each, out_specs=each, check_vma=False
    )
    results = on_all(jax.tree.map(split, images), counts)
    return jax.tree.map(
        lambda x: x.swapaxes(0, 1).reshape(rows * devices, *x.shape[2:])[:total], results
    )


def in_batches(
    function: Callable[..., Results], arrays: Any, *, count: Int[Array, ""], batch_size: Length
) -> Results:
    """Return the results of `function` for the first `count` rows, a few at a time to save memory.

    Args:
        function: from a pytree of arrays with a row for each image to such a pytree.
        arrays: its argument, of any number of rows.
        count: number of valid rows; no time is spent on batches beyond.
        batch_size: rows that are worked on together.
    """
    rows = jax.tree.leaves(arrays)[0].shape[0]
    size = min(batch_size, rows)
    if size == rows:
        return function(arrays)
    function = jax.jit(function, inline=True)  # traced once, not for its shapes too

    def take(first: int | Int[Array, ""]) -> Any:
        return jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, first, size), arrays)

    def add(batch: Int[Array, ""], results: Results) -> Results:
        # The last batch begins early enough to be full; what was done before comes out as before.
        first = jnp.minimum(batch * size, rows - size)
        return jax.tree.map(
            lambda all_rows, x: lax.dynamic_update_slice_in_dim(all_rows, x, first, axis=0),
            results,
            function(take(first)),
        )

    of_one_batch = jax.eval_shape(lambda: function(take(0)))
    zeros = jax.tree.map(lambda x: jnp.zeros((rows, *x.shape[1:]), x.dtype), of_one_batch)
    return lax.fori_loop(0, -(-count // size), add, zeros)


def _own_mesh(devices: int) -> Mesh:
    return Mesh(np.array(jax.local_devices()[:devices]), (_AXIS,))


def _mesh(devices: int) -> Mesh:
    """Over as many devices of each process, one process after the other."""
    each = devices // jax.process_count()
    own = [jax.local_devices(process)[:each] for process in range(jax.process_count())]
    return Mesh(np.array(own).ravel(), (_AXIS,))
