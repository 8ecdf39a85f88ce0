"""Array conventions of the whole package, in prose and as type aliases.

Channels come last. Inside the package images are float32 in [-1, 1]; uint8 appears only at the
edges (files, data sets in memory), and `to_float` and `to_uint8` are the only bridge. Masks are
float32, 0 or 1, of shape `h w 1`, and **1 marks a hole: a pixel to be inpainted**. (The paper's
training formula `M * x` writes the opposite sign; its SSIM mask writes ours.) Maps are float32 of
shape `h w`, higher where a pixel looks more anomalous.

A singular name (`image`, `mask`) is one array, the plural a batch. Algorithms are written for one
image and `vmap`ped by their caller; networks take batches.
"""

from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

Image = Float[Array, "h w c"]
Images = Float[Array, "b h w c"]
Mask = Float[Array, "h w 1"]
Masks = Float[Array, "b h w 1"]
Map = Float[Array, "h w"]
Maps = Float[Array, "b h w"]
Pixels = UInt8[Array, "*batch h w c"]
PRNGKey = Key[Array, ""]
Length = Any
"""A whole number, or the symbol for one in a program whose number of images is left open."""

AnyArray = TypeVar("AnyArray", np.ndarray, Array)
"""Arrays of functions that work on NumPy's, and on JAX's as a part of a program. Where they ask for
`float`, the one computes in float64, the other in float32."""


def to_float(pixels: UInt8[AnyArray, "*batch h w c"]) -> Float[AnyArray, "*batch h w c"]:
    """Images in [-1, 1], float32, from 8-bit pixels."""
    return pixels.astype(jnp.float32) / 127.5 - 1.0


def to_uint8(images: Float[Array, "*batch h w c"]) -> Pixels:
    """8-bit pixels from images in [-1, 1]; values outside are clipped, the rest rounded."""
    return jnp.round((jnp.clip(images, -1.0, 1.0) + 1.0) * 127.5).astype(jnp.uint8)
