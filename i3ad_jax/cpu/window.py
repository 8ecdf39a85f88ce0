"""XLA's convolution, which the workarounds replace or call."""

from typing import Any, NamedTuple

from jax import lax
from jaxtyping import Array, Float

Pairs = tuple[tuple[int, int], ...]
Kernel = Float[Array, "kh kw i o"]


class Window(NamedTuple):
    """Movement of a kernel over an image, for rows and columns.

    Attributes:
        strides: pixels from one output to the next.
        padding: zeros before and after the image.
        dilation: pixels from one tap to the next.
    """

    strides: tuple[int, int]
    padding: Pairs
    dilation: tuple[int, int]


def xla_convolution(x: Any, kernel: Any, window: Window) -> Any:
    """Return the convolution of images `b h w i` with a kernel `kh kw i o`."""
    strides, padding, dilation = window
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, rhs_dilation=dilation, dimension_numbers=numbers
    )
