"""Convolutions of few channels on 2 x 2 pixels at once, by space-to-depth.

Few channels fill the vectors of XLA's CPU back end badly: with four times the channels a
convolution multiplies more zeros in less time. 8 images of 64 x 64, 4 to 3 channels: 1.8 and 0.4
ms; a training step of the quick preset gains 15 % (benchmarks/README.md).

For CPUs alone: a program for an H200 would move 2.4 GiB more a pass of the paper's generator over
64 images (`benchmarks.gpu_program`).

Upstream: no issue known.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.cpu.window import Kernel, Pairs, Window

FEW_CHANNELS = 8  # of the input or the output, at most


def is_faster(kernel: Kernel, window: Window) -> bool:
    """Return whether a convolution is faster so: few channels, neither strides nor dilation."""
    few = min(kernel.shape[2:]) <= FEW_CHANNELS and max(kernel.shape[:2]) > 1
    return few and window.strides == window.dilation == (1, 1)


def convolve_blocks(
    convolve: Callable[[Any, Any, Window], Any], x: Any, kernel: Kernel, padding: Pairs
) -> Float[Array, "b h2 w2 o"]:
    """Space-to-depth by 2, a convolution with four times the channels, and depth-to-space.

    Args:
        convolve: convolution of images with a kernel over a window.
        x: images.
        kernel: of the convolution, whose strides and dilation are 1.
        padding: zeros before and after the images.
    """
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
    y: Any = convolve(blocks, kernels, Window((1, 1), ((0, 0), (0, 0)), (1, 1)))
    height, width = y.shape[1:3]
    y = y.reshape(batch, height, width, 2, 2, -1).swapaxes(2, 3)
    return y.reshape(batch, 2 * height, 2 * width, -1)[:, : outputs[0], : outputs[1]]
