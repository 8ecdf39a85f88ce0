# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Training steps that do not fit in memory: the batch that does, by the compiled program."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from inspect import unwrap
from typing import Any

import jax

from i3ad_jax.errors import OutOfMemoryError
from i3ad_jax.methods.method import Method
from i3ad_jax.plan import Plan
from i3ad_jax.runtime.compiler import compiler_options
from i3ad_jax.runtime.memory import device_memory, free_memory, is_out_of_memory
from i3ad_jax.settings import flag

Program = Callable[..., Any]


@contextmanager
def batch_memory(plan: Plan, program: Program, *arguments: Any) -> Generator[None, None, None]:
    """Replace an error by lack of memory in the block by one that names the batch that fits.

    Args:
        plan: of the training.
        program: runs steps: `training.steps.run_steps`.
        arguments: its training, state and block, which may be donated in the block.

    Raises:
        OutOfMemoryError: the block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, ValueError) as error:  # JAX raises either
        if not is_out_of_memory(error):
            raise
        reason = _problem(plan, unwrap(program), *arguments)
    else:
        return
    raise OutOfMemoryError(reason)


def _problem(plan: Plan, program: Program, training: Any, state: Any, block: Any) -> str:
    """Return the message of a training without memory for its batch."""
    asked = plan.config.batch_sizes()
    if jax.process_count() > 1:  # they would have to compile together
        return f"{_options(asked)}: out of memory; lower {' and '.join(map(flag, asked))}"
    room, sizes = device_memory() or free_memory(), asked
    while (smaller := _halved(sizes, devices=training.devices)) != sizes:
        sizes = smaller
        method = plan.config.with_settings(sizes).build()
        needed = _needed(program, replace(training, method=method), state, block)
        if needed <= room:
            return (
                f"{_options(asked)}: out of memory; {_options(sizes)} fits: it needs"
                f" {needed / 2**20:,.0f} of {room / 2**20:,.0f} MiB"
            )
    return f"{_options(asked)}: out of memory, and no smaller batch fits; lower --image-size"


def _halved(sizes: dict[str, int], *, devices: int) -> dict[str, int]:
    """Return half of each batch size, at least 1 for each device, which share it."""
    return {name: max(size // 2 // devices, 1) * devices for name, size in sizes.items()}


def _needed(program: Program, training: Any, state: Any, block: Any) -> int:
    """Return the bytes of the compiled program with its arguments, for the training's batches."""
    method: Method = training.method
    batch = method.batch_sizes(method.training)["batch_size"]

    def shape(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)

    def of(count: int, squares: Any) -> Any:
        def resized(x: Any) -> jax.ShapeDtypeStruct:
            return shape(x).update(shape=(len(squares.gains), count, *x.shape[2:]))

        return jax.tree.map(resized, squares)

    block = replace(
        block,
        first=shape(block.first),
        batches=of(batch, block.batches),
        to_plant=of(method.num_planted, block.to_plant),
    )
    training, state = jax.tree.map(shape, (training, state))
    jitted = jax.jit(program, donate_argnums=1, compiler_options=compiler_options())
    memory: Any = jitted.lower(training, state, block, 0, 1).compile().memory_analysis()
    return (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )


def _options(sizes: dict[str, int]) -> str:
    return " ".join(f"{flag(name)} {size}" for name, size in sizes.items())
