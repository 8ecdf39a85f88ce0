"""The gradient of a convolution's input as plain convolutions, by polyphase decomposition.

JAX makes of it a convolution of a reversed kernel, with a dilated input where strides are more than
1. Inside a loop XLA's CPU back end takes 5 to 30 times as long over it as outside (3 x 3, 32
channels, 64 x 64: 16 and 0.6 ms, benchmarks/README.md).

Upstream: jax-ml/jax#12868, convolutions in loops on a CPU, and jax-ml/jax#23783, transposed
convolutions, which this gradient is with strides (both open).
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.cpu.window import Window, xla_convolution


def input_gradient(
    cotangent: Any, kernel: Any, shape: tuple[int, ...], window: Window
) -> Float[Array, "b h w i"]:
    """Return the gradient of an input of this shape, by one convolution per phase of the stride.

    Input pixels of one phase share their taps, so nothing is multiplied by inserted zeros.
    """
    strides, padding, dilation = window
    batch, height, width, channels = shape
    counts = [-(-size // stride) for size, stride in zip((height, width), strides, strict=True)]
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)

    def phase(*phases: int) -> Float[Array, "b h2 w2 i"]:
        taps, pads = [], []
        axes = zip(
            phases,
            counts,
            cotangent.shape[1:3],
            kernel.shape,
            strides,
            padding,
            dilation,
            strict=False,
        )
        for offset, count, length, size, stride, (low, _), rate in axes:
            # The first tap on pixels of this phase; then every `stride`-th.
            first = (offset + low) % stride
            number = len(range(first, size, stride))
            taps.append(slice(size - 1 - first - stride * (number - 1), size - first, stride))
            before = (number - 1) * rate - (offset + low - first) // stride
            pads.append((before, count + (number - 1) * rate - before - length))
        return xla_convolution(
            cotangent, flipped[taps[0], taps[1]], Window((1, 1), tuple(pads), dilation)
        )

    rows = [
        jnp.stack([phase(row, column) for column in range(strides[1])], axis=3)
        for row in range(strides[0])
    ]
    gradient = jnp.stack(rows, axis=2)
    gradient = gradient.reshape(batch, counts[0] * strides[0], counts[1] * strides[1], channels)
    return gradient[:, :height, :width]
