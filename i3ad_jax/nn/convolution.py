"""Convolution with gradients that are fast on a CPU too."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.nn.dense import flat, with_bias

Pairs = tuple[tuple[int, int], ...]
Kernel = Float[Array, "kh kw i o"]


class Window(NamedTuple):
    """How a kernel moves over an image, for rows and columns.

    Attributes:
        strides: pixels from one output to the next.
        padding: zeros before and after the image.
        dilation: pixels from one tap to the next.
    """

    strides: tuple[int, int]
    padding: Pairs
    dilation: tuple[int, int]


# Up to this many, space-to-depth is faster on a CPU: benchmarks/README.md. `with few_channels(0):` compiles
# without it: JAX keeps programs apart that were traced under different values.
few_channels = jax.make_user_context(8)
STACKED = 2**22  # numbers: 16 MiB, about what caches hold


def convolve(
    x: Float[Array, "b h w i"],
    kernel: Kernel,
    strides: tuple[int, int],
    padding: Pairs,
    dilation: tuple[int, int],
) -> Float[Array, "b h2 w2 o"]:
    """The convolution of `x`, padded with zeros, with a kernel whose taps are `dilation` pixels apart.

    With few input or output channels it is computed after space-to-depth: more multiplications, by zeros, but
    in better filled vectors. Strides and dilation must not both be more than 1.
    """
    few = min(kernel.shape[2:]) <= few_channels.value and max(kernel.shape[:2]) > 1
    if few and strides == dilation == (1, 1):
        return _convolve_space_to_depth(x, kernel, padding)
    return _convolve_direct(x, kernel, Window(strides, padding, dilation))


def _convolve_space_to_depth(x: Any, kernel: Kernel, padding: Pairs) -> Float[Array, "b h2 w2 o"]:
    """Space-to-depth by 2, a convolution with four times the channels, and depth-to-space."""
    batch, *size, channels = x.shape
    # For rows and columns: output size, taps of the new kernel, padded input size.
    outputs, taps, padded_size = [], [], []
    for n, pads, old_taps in zip(size, padding, kernel.shape[:2], strict=True):
        outputs.append(n + sum(pads) - old_taps + 1)
        taps.append(old_taps // 2 + 1)
        padded_size.append(2 * (-(-outputs[-1] // 2) + taps[-1] - 1))
    pads = [
        (low, total - low - n, 0)
        for (low, _), total, n in zip(padding, padded_size, size, strict=True)
    ]
    padded: Any = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *pads, (0, 0, 0)])
    blocks = padded.reshape(
        batch, padded_size[0] // 2, 2, padded_size[1] // 2, 2, channels
    ).swapaxes(2, 3)
    blocks = blocks.reshape(batch, padded_size[0] // 2, padded_size[1] // 2, -1)

    def phase_kernel(*phase: int) -> Kernel:
        # The kernel, shifted to the output pixels of this phase.
        pads = [
            (low, 2 * n - old - low)
            for low, n, old in zip(phase, taps, kernel.shape[:2], strict=True)
        ]
        return jnp.pad(kernel, (*pads, (0, 0), (0, 0)))

    kernels = jnp.stack([phase_kernel(row, column) for row in (0, 1) for column in (0, 1)], axis=3)
    kernels = (
        kernels.reshape(taps[0], 2, taps[1], 2, -1).swapaxes(1, 2).reshape(*taps, 4 * channels, -1)
    )
    y: Any = _convolve_direct(blocks, kernels, Window((1, 1), ((0, 0), (0, 0)), (1, 1)))
    height, width = y.shape[1:3]
    y = y.reshape(batch, height, width, 2, 2, -1).swapaxes(2, 3)
    return y.reshape(batch, 2 * height, 2 * width, -1)[:, : outputs[0], : outputs[1]]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve_direct(
    x: Float[Array, "b h w i"], kernel: Kernel, window: Window
) -> Float[Array, "b h2 w2 o"]:
    """The convolution without space-to-depth, with its own gradients on CPUs.

    On a CPU the kernel's gradient is a matrix product, or one for each tap: two to three times as fast as
    XLA's convolution, and no slower inside a loop, where XLA's is some 60 times slower. The input's gradient
    is computed by polyphase decomposition: one plain convolution per phase of the stride, without
    multiplications by zeros. Other devices use XLA's gradients.
    """
    return _convolve(x, kernel, window)


def _convolve(x: Any, kernel: Any, window: Window) -> Any:
    strides, padding, dilation = window
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )


def _forward(x: Any, kernel: Any, window: Window) -> tuple[Any, tuple[Any, Any]]:
    return _convolve(x, kernel, window), (x, kernel)


def _backward(window: Window, residuals: tuple[Any, Any], cotangent: Any) -> Any:
    x, kernel = residuals

    def kernel_by_convolution(x: Any, cotangent: Any) -> Kernel:
        return jax.vjp(lambda kernel: _convolve(x, kernel, window), kernel)[1](cotangent)[0]

    def kernel_by_products(x: Any, cotangent: Any) -> Kernel:
        stacked = x.size * kernel.shape[1] + cotangent.size * kernel.shape[0]
        gradient = _kernel_gradient_stacked if stacked <= STACKED else _kernel_gradient_by_taps
        return gradient(x, cotangent, kernel.shape, window).astype(kernel.dtype)

    def input_by_convolution(cotangent: Any, kernel: Any) -> Float[Array, "b h w i"]:
        return jax.vjp(lambda x: _convolve(x, kernel, window), x)[1](cotangent)[0]

    def input_by_phases(cotangent: Any, kernel: Any) -> Float[Array, "b h w i"]:
        return _input_gradient_by_phases(cotangent, kernel, x.shape, window)

    return (
        lax.platform_dependent(
            cotangent, kernel, cpu=input_by_phases, default=input_by_convolution
        ),
        lax.platform_dependent(x, cotangent, cpu=kernel_by_products, default=kernel_by_convolution),
    )


_convolve_direct.defvjp(_forward, _backward)


def _kernel_gradient_by_taps(
    x: Any, cotangent: Any, shape: tuple[int, ...], window: Window
) -> Kernel:
    """The gradient of a kernel of this shape: for each tap a product over all output pixels."""
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


def _kernel_gradient_stacked(
    x: Any, cotangent: Any, shape: tuple[int, ...], window: Window
) -> Kernel:
    """The same with one product for all taps whose rows are of one phase of the stride.

    Stacked along the channels are inputs, shifted by a kernel's columns, and cotangents, shifted by its rows:
    height + width copies in place of height x width. It is faster as long as these copies fit into caches.
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
    """The rows of `x` from row `shift` on, so many; zeros where it has none."""
    config = [(0, 0, 0), (-shift, rows + shift - x.shape[1], 0), (0, 0, 0), (0, 0, 0)]
    padded: Any = lax.pad(x, jnp.zeros((), x.dtype), config)
    return padded


def _every(first: int, stride: int, length: int) -> slice:
    """So many places, each so far from the one before."""
    return slice(first, first + stride * (length - 1) + 1, stride)


def _input_gradient_by_phases(
    cotangent: Any, kernel: Any, shape: tuple[int, ...], window: Window
) -> Float[Array, "b h w i"]:
    """The gradient of an input of this shape: input pixels of one phase of the stride share their taps."""
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
            first = (
                offset + low
            ) % stride  # the first tap on pixels of this phase; then every `stride`-th
            number = len(range(first, size, stride))
            taps.append(slice(size - 1 - first - stride * (number - 1), size - first, stride))
            before = (number - 1) * rate - (offset + low - first) // stride
            pads.append((before, count + (number - 1) * rate - before - length))
        return _convolve(
            cotangent, flipped[taps[0], taps[1]], Window((1, 1), tuple(pads), dilation)
        )

    rows = [
        jnp.stack([phase(row, column) for column in range(strides[1])], axis=3)
        for row in range(strides[0])
    ]
    gradient = jnp.stack(rows, axis=2)
    gradient = gradient.reshape(batch, counts[0] * strides[0], counts[1] * strides[1], channels)
    return gradient[:, :height, :width]


class Conv(nn.Module):
    """A convolution with zero padding and a bias: `nn.Conv`, same weights, with this file's gradients.

    Attributes:
        features: channels of the output.
        kernel_size: rows and columns of the kernel.
        stride: pixels from one output to the next; the output is the image's size over it, rounded up.
        dilation: pixels from one tap of the kernel to the next.
        use_bias: whether a bias is added.
        kernel_init: what the kernel is drawn from.
        dtype: type the layer computes in.
    """

    features: int
    kernel_size: tuple[int, int]
    stride: int = 1
    dilation: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        shape = (*self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        extent = [(taps - 1) * self.dilation + 1 for taps in self.kernel_size]
        strides, dilation = (self.stride, self.stride), (self.dilation, self.dilation)
        padding = tuple(lax.padtype_to_pads(x.shape[1:3], extent, strides, "SAME"))
        inputs, kernel = (jnp.asarray(array, self.dtype) for array in (x, kernel))
        y = convolve(inputs, kernel, strides, padding, dilation)
        return with_bias(self, y) if self.use_bias else y
