"""Kernels by time, of a program whose kernels are known."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.kernel_times import kernel_times


def test_kernels_of_a_call_by_time() -> None:
    program = jax.jit(lambda x: jnp.tanh(x @ x) @ jnp.sin(x))
    x = jnp.ones((300, 300))

    def run(times: int) -> Any:
        return [program(x).block_until_ready() for _ in range(times)]

    run(1)
    once, thrice = kernel_times(lambda: run(1)), kernel_times(lambda: run(3))
    for kernels in (once, thrice):
        seconds = [kernel.seconds for kernel in kernels]
        assert seconds == sorted(seconds, reverse=True)
        assert min(seconds) >= 0
    assert len(once) >= 2  # two products, and what is around them
    runs = {kernel.kernel: kernel.runs for kernel in once}
    assert {kernel.kernel: kernel.runs for kernel in thrice} == {x: 3 * n for x, n in runs.items()}
