"""4 x 4 convolutions of stride 2, and their transposes, as 2 x 2 convolutions or one product.

XLA's transposed convolution multiplies the inserted zeros too. Inside a loop or a `lax.cond`, where
the methods use it, its gradients take several times as long on a CPU. An iteration of AnoGAN's
search for 8 images of 64 x 64 took 33 ms and takes 7 (benchmarks/README.md).

Used on every back end; nothing was measured on a GPU.

Upstream: jax-ml/jax#23783, transposed convolutions, and jax-ml/jax#12868, convolutions in loops on
a CPU (both open).
"""

from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.cpu.convolution import convolve
from i3ad_jax.cpu.product import product
from i3ad_jax.cpu.switch import workarounds

WINDOWS = 400_000  # numbers: 1.6 MB


def downsample(x: Any, taps: Float[Array, "k o"]) -> Float[Array, "b h w o"]:
    """Return a 4 x 4 convolution of stride 2: half the height and width, both of them even.

    After space-to-depth by 2, the receptive field of an output pixel is a 2 x 2 window.

    Args:
        x: images `b h w i`.
        taps: the kernel, as that of the 2 x 2 convolution: k = 16 i.
    """
    batch, height, width, channels = x.shape
    if not workarounds.value:
        kernel = taps.reshape(2, 2, 2, 2, channels, -1).swapaxes(1, 2)
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel.reshape(4, 4, channels, -1), (2, 2), "SAME", dimension_numbers=numbers
        )
    rows, columns = height // 2 + 1, width // 2 + 1
    blocks = _pad(x).reshape(batch, rows, 2, columns, 2, channels).swapaxes(2, 3)
    return convolve_2x2(blocks.reshape(batch, rows, columns, 4 * channels), taps)


def upsample(x: Any, taps: Float[Array, "k p"]) -> Float[Array, "b h w o"]:
    """Return a 4 x 4 transposed convolution of stride 2: twice the height and width.

    Each 2 x 2 window of the padded input gives a 2 x 2 block of the output.

    Args:
        x: images `b h w i`.
        taps: the kernel, as that of the 2 x 2 convolution: k = 4 i, p = 4 o.
    """
    batch, height, width, channels = x.shape
    features = taps.shape[-1] // 4
    if not workarounds.value:
        # Along an axis, the first pixel of a window has the first two of the four taps and the
        # second pixel the others. Of each two, the first output pixel has the second.
        kernel = taps.reshape(2, 2, channels, 2, 2, features)[:, :, :, ::-1, ::-1]
        kernel = kernel.transpose(0, 3, 1, 4, 2, 5).reshape(4, 4, channels, features)
        return lax.conv_transpose(x, kernel, (2, 2), "SAME")
    x = convolve_2x2(_pad(x), taps)
    x = x.reshape(batch, height + 1, width + 1, 2, 2, features).swapaxes(2, 3)
    return x.reshape(batch, 2 * height + 2, 2 * width + 2, features)[:, 1:-1, 1:-1]


def convolve_2x2(x: Any, taps: Any) -> Any:
    """Return a 2 x 2 convolution without padding, a row and a column smaller.

    As long as an image's windows stay in a CPU's caches, it is one product over their channels.

    Args:
        x: images `b h w i`.
        taps: the kernel `4 i o`.
    """
    if 4 * x[0].size <= WINDOWS:
        return product(_concatenate_2x2(x), taps)
    kernel = taps.reshape(2, 2, x.shape[-1], -1)
    return convolve(x, kernel, (1, 1), ((0, 0), (0, 0)), (1, 1))


def _pad(x: Any) -> Any:
    """Zero padding of one pixel on each side."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _concatenate_2x2(x: Any) -> Any:
    """Concatenated channels of each 2 x 2 window, of stride 1 and without padding."""
    return jnp.concatenate(
        [y for rows in (x[:, :-1], x[:, 1:]) for y in (rows[:, :, :-1], rows[:, :, 1:])], -1
    )
