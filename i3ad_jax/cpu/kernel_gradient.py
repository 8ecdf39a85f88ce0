"""The gradient of a convolution's kernel as matrix products.

XLA's CPU back end takes two to three times as long over the convolution that JAX makes of it, and
inside a loop, where a training step is, about 60 times as long (benchmarks/README.md).

Upstream: jax-ml/jax#12868, convolutions in loops on a CPU (open). For the factor outside of loops
no issue is known.
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.cpu.product import flat
from i3ad_jax.cpu.window import Kernel, Window

STACKED = 2**22  # numbers: 16 MiB, about what caches hold


def kernel_gradient(x: Any, cotangent: Any, shape: tuple[int, ...], window: Window) -> Kernel:
    """Return the gradient of a kernel of this shape: one product, or one for each tap.

    One product of stacked copies is faster as long as these fit into caches.
    """
    stacked = x.size * shape[1] + cotangent.size * shape[0]
    gradient = _stacked if stacked <= STACKED else _by_taps
    return gradient(x, cotangent, shape, window)


def _by_taps(x: Any, cotangent: Any, shape: tuple[int, ...], window: Window) -> Kernel:
    """The gradient by a product over all output pixels for each tap."""
    strides, padding, dilation = window
    padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))

    def tap(row: int, column: int) -> Float[Array, "i o"]:
        # The input pixels that this tap multiplies, one for each output pixel.
        slices = [
            _every(position * rate, stride, length)
            for position, rate, stride, length in zip(
                (row, column), dilation, strides, cotangent.shape[1:3], strict=True
            )
        ]
        return flat(padded[:, slices[0], slices[1]]).T @ flat(cotangent)

    height, width = shape[:2]
    return jnp.stack(
        [jnp.stack([tap(row, column) for column in range(width)]) for row in range(height)]
    )


def _stacked(x: Any, cotangent: Any, shape: tuple[int, ...], window: Window) -> Kernel:
    """The gradient by one product for all taps whose rows are of one phase of the stride.

    Stacked along the channels are inputs, shifted by a kernel's columns, and cotangents, shifted by
    its rows: height + width copies instead of height x width.
    """
    height, width, channels, features = shape
    strides, ((top, _), columns_padding), dilation = window
    padded = jnp.pad(x, ((0, 0), (0, 0), columns_padding, (0, 0)))
    columns = (
        _every(column * dilation[1], strides[1], cotangent.shape[2]) for column in range(width)
    )
    inputs = jnp.concatenate([padded[:, :, column] for column in columns], axis=-1)
    taps: dict[int, Any] = {}
    for phase in range(strides[0]):
        rows = [row for row in range(height) if (phase + top - row * dilation[0]) % strides[0] == 0]
        of_phase = inputs[:, phase :: strides[0]]
        shifted = [
            _shift_rows(
                cotangent, (phase + top - row * dilation[0]) // strides[0], of_phase.shape[1]
            )
            for row in rows
        ]
        product = flat(of_phase).T @ flat(jnp.concatenate(shifted, axis=-1))
        product = product.reshape(width, channels, len(rows), features)
        taps |= {row: product[:, :, number] for number, row in enumerate(rows)}
    return jnp.stack([taps[row] for row in range(height)])


def _shift_rows(x: Any, shift: int, rows: int) -> Float[Array, "b rows w c"]:
    """Return `rows` rows of `x` from row `shift` on; zeros where it has none."""
    config = [(0, 0, 0), (-shift, rows + shift - x.shape[1], 0), (0, 0, 0), (0, 0, 0)]
    padded: Any = lax.pad(x, jnp.zeros((), x.dtype), config)
    return padded


def _every(first: int, stride: int, length: int) -> slice:
    """Return a slice of `length` indices, `stride` apart, from `first` on."""
    return slice(first, first + stride * (length - 1) + 1, stride)
