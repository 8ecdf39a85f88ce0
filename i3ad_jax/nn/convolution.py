"""The convolution of all layers: `lax.conv_general_dilated` with gradients that CPUs compute fast."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

Pairs = tuple[tuple[int, int], ...]
Kernel = Float[Array, "kh kw i o"]


FEW_CHANNELS = 8  # up to which convolutions are quicker on blocks; benchmarks/README.md has the measurement


def convolve(
    x: Float[Array, "b h w i"],
    kernel: Kernel,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
) -> Float[Array, "b h2 w2 o"]:
    """The convolution of `x`, padded with zeros, with a kernel whose taps are `dilation` pixels apart.

    Where few channels go in or come out it is taken of blocks of 2 x 2 pixels, whose channels lie beside one
    another: more multiplications, by zeros, in better filled vectors. Strides and dilation must not both be
    more than 1.
    """
    few = min(kernel.shape[2:]) <= FEW_CHANNELS and max(kernel.shape[:2]) > 1
    if few and strides == dilation == (1, 1):
        return _convolve_blocks(x, kernel, padding)
    return _convolve_pixels(x, kernel, strides, padding, dilation)


def _convolve_blocks(x: Any, kernel: Kernel, padding: Pairs) -> Float[Array, "b h2 w2 o"]:
    batch, *size, channels = x.shape
    outputs, taps, full = [], [], []  # of rows and columns: outputs, taps in blocks, inputs with the padding
    for n, pads, reach in zip(size, padding, kernel.shape[:2], strict=True):
        outputs.append(n + sum(pads) - reach + 1)
        taps.append(reach // 2 + 1)
        full.append(2 * (-(-outputs[-1] // 2) + taps[-1] - 1))
    around = [(low, rows - low - n, 0) for (low, _), rows, n in zip(padding, full, size, strict=True)]
    padded: Any = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *around, (0, 0, 0)])
    blocks = padded.reshape(batch, full[0] // 2, 2, full[1] // 2, 2, channels).swapaxes(2, 3)
    blocks = blocks.reshape(batch, full[0] // 2, full[1] // 2, -1)

    def place(*at: int) -> Kernel:
        # The kernel as the output at this place of a block has it.
        sides = [(low, 2 * n - reach - low) for low, n, reach in zip(at, taps, kernel.shape[:2], strict=True)]
        return jnp.pad(kernel, (*sides, (0, 0), (0, 0)))

    kernels = jnp.stack([place(row, column) for row in (0, 1) for column in (0, 1)], axis=3)
    kernels = kernels.reshape(taps[0], 2, taps[1], 2, -1).swapaxes(1, 2).reshape(*taps, 4 * channels, -1)
    y: Any = _convolve_pixels(blocks, kernels, (1, 1), ((0, 0), (0, 0)), (1, 1))
    height, width = y.shape[1:3]
    y = y.reshape(batch, height, width, 2, 2, -1).swapaxes(2, 3)
    return y.reshape(batch, 2 * height, 2 * width, -1)[:, : outputs[0], : outputs[1]]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve_pixels(
    x: Float[Array, "b h w i"],
    kernel: Kernel,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
) -> Float[Array, "b h2 w2 o"]:
    """The convolution, pixel by pixel.

    On a CPU its gradient by the kernel is a matrix product for each tap: two to three times as fast as XLA's
    own convolution there, and no slower inside a loop, where XLA's is some 60 times slower. Its gradient by
    `x` is one plain convolution for each place between two strides, which multiplies no zeros. Other devices
    keep XLA's gradients.
    """
    return _convolve(x, kernel, strides, padding, dilation)


def _convolve(x: Any, kernel: Any, strides: Any, padding: Any, dilation: Any) -> Any:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )


def _forward(x: Any, kernel: Any, strides: Any, padding: Any, dilation: Any) -> tuple[Any, tuple[Any, Any]]:
    return _convolve(x, kernel, strides, padding, dilation), (x, kernel)


def _backward(strides: Any, padding: Any, dilation: Any, saved: tuple[Any, Any], error: Any) -> Any:
    x, kernel = saved
    convolution = partial(_convolve, strides=strides, padding=padding, dilation=dilation)

    def by_convolution(x: Any, error: Any) -> Kernel:
        return jax.vjp(lambda kernel: convolution(x, kernel), kernel)[1](error)[0]

    def by_taps(x: Any, error: Any) -> Kernel:
        padded = jnp.pad(x, ((0, 0), *padding, (0, 0)))

        def tap(row: int, column: int) -> Float[Array, "i o"]:
            # What this tap saw of each output's input.
            slices = [
                slice(at * gap, at * gap + step * (size - 1) + 1, step)
                for at, gap, step, size in zip(
                    (row, column), dilation, strides, error.shape[1:3], strict=True
                )
            ]
            seen = padded[:, slices[0], slices[1]]
            return seen.reshape(-1, seen.shape[-1]).T @ error.reshape(-1, error.shape[-1])

        height, width = kernel.shape[:2]
        rows = [jnp.stack([tap(row, column) for column in range(width)]) for row in range(height)]
        return jnp.stack(rows).astype(kernel.dtype)

    def by_x(error: Any, kernel: Any) -> Float[Array, "b h w i"]:
        return jax.vjp(lambda x: convolution(x, kernel), x)[1](error)[0]

    def by_x_by_places(error: Any, kernel: Any) -> Float[Array, "b h w i"]:
        return _gradient_by_places(error, kernel, x.shape, strides, padding, dilation)

    return (
        lax.platform_dependent(error, kernel, cpu=by_x_by_places, default=by_x),
        lax.platform_dependent(x, error, cpu=by_taps, default=by_convolution),
    )


_convolve_pixels.defvjp(_forward, _backward)


def _gradient_by_places(
    error: Any,
    kernel: Any,
    shape: tuple[int, ...],
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
) -> Float[Array, "b h w i"]:
    """The gradient by an input of this shape: pixels at the same place between strides share their taps."""
    batch, height, width, channels = shape
    counts = [-(-size // stride) for size, stride in zip((height, width), strides, strict=True)]
    backwards = kernel[::-1, ::-1].swapaxes(2, 3)

    def place(*places: int) -> Float[Array, "b h2 w2 i"]:
        taps, pads = [], []
        axes = zip(places, counts, error.shape[1:3], kernel.shape, strides, padding, dilation, strict=False)
        for at, count, length, size, stride, (low, _), gap in axes:
            first = (
                at + low
            ) % stride  # of the taps that see pixels at this place, each `stride` from the last
            number = len(range(first, size, stride))
            taps.append(slice(size - 1 - first - stride * (number - 1), size - first, stride))
            before = (number - 1) * gap - (at + low - first) // stride
            pads.append((before, count + (number - 1) * gap - before - length))
        return _convolve(error, backwards[taps[0], taps[1]], (1, 1), tuple(pads), dilation)

    rows = [
        jnp.stack([place(row, column) for column in range(strides[1])], axis=3) for row in range(strides[0])
    ]
    whole = jnp.stack(rows, axis=2).reshape(batch, counts[0] * strides[0], counts[1] * strides[1], channels)
    return whole[:, :height, :width]


def _flax_convolve(x: Any, kernel: Any, strides: Any, padding: Any, *, rhs_dilation: Any, **_: Any) -> Any:
    """`convolve` as `nn.Conv` calls it; what is ignored are features of `nn.Conv` that no layer here uses."""
    reach = [(taps - 1) * gap + 1 for taps, gap in zip(kernel.shape[:2], rhs_dilation, strict=True)]
    pairs = lax.padtype_to_pads(x.shape[1:3], reach, strides, padding) if padding == "SAME" else padding
    pairs = tuple((int(low), int(high)) for low, high in pairs)
    return convolve(x, kernel, tuple(strides), pairs, tuple(rhs_dilation))


Conv = partial(nn.Conv, conv_general_dilated=_flax_convolve)
