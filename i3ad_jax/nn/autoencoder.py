"""The convolutional autoencoder of Bergmann et al. 2018 (table 1 there), for any image size."""

import math

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.nn.convolution import Conv
from i3ad_jax.nn.dense import Dense
from i3ad_jax.nn.layers import DownsampleConv, Features, UpsampleConv, num_downsamplings
from i3ad_jax.shapes import Images

SIZE_MULTIPLE = 8
SMALLEST_SIDE = 8  # pixels: feature maps are halved until their side is at most this
SLOPE = 0.2  # of the leaky ReLU


class Encoder(nn.Module):
    """Images to latent vectors.

    Convolutions of stride 2 until the side is at most 8 pixels, all but the first followed by one
    of stride 1. Images of 256 x 256 take one level more than the original's 128 x 128 (Bergmann et
    al. 2019).

    Deviation: the original has no stride-1 convolution at the smallest level before the two that
    narrow it.
    """

    width: int
    latent_size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Float[Array, "b z"]:
        """Return the latent vectors of images in [-1, 1]."""
        dtype = self.dtype
        for level, features in enumerate(widths(self.width, x.shape[1])):
            x = _activate(DownsampleConv(features, dtype=dtype, name=f"down_{level}")(x))
            if level:
                x = _activate(Conv(features, (3, 3), dtype=dtype, name=f"conv_{level}")(x))
        x = _activate(Conv(2 * self.width, (3, 3), dtype=dtype, name="narrow_1")(x))
        x = _activate(Conv(self.width, (3, 3), dtype=dtype, name="narrow_2")(x))
        pixels = x.reshape(len(x), math.prod(x.shape[1:]))
        return Dense(self.latent_size, dtype=dtype, name="latent")(pixels)


class Decoder(nn.Module):
    """Latent vectors to images in [-1, 1]: the layers of the encoder in reverse."""

    width: int
    size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latent: Float[Array, "b z"]) -> Images:
        """Return the images of latent vectors."""
        levels, dtype = widths(self.width, self.size), self.dtype
        side = self.size >> len(levels)
        x = _activate(Dense(side * side * self.width, dtype=dtype, name="latent")(latent))
        x = x.reshape(-1, side, side, self.width)
        x = _activate(Conv(2 * self.width, (3, 3), dtype=dtype, name="widen_1")(x))
        x = _activate(Conv(levels[-1], (3, 3), dtype=dtype, name="widen_2")(x))
        for level, features in reversed(list(enumerate(levels))):
            if level:
                x = _activate(UpsampleConv(features, dtype=dtype, name=f"up_{level}")(x))
                x = _activate(Conv(levels[level - 1], (3, 3), dtype=dtype, name=f"conv_{level}")(x))
        return nn.tanh(UpsampleConv(3, dtype=dtype, name="rgb")(x).astype(jnp.float32))


class Autoencoder(nn.Module):
    """Encoder and decoder with a latent vector between them.

    Attributes:
        width: channels of the first layer; 32 in the original.
        latent_size: length of the latent vector; 100 in the paper.
    """

    width: int
    latent_size: int

    @nn.compact
    def __call__(self, images: Images) -> Images:
        """Reconstructions in [-1, 1] of square images in [-1, 1]."""
        latent = Encoder(self.width, self.latent_size, name="encoder")(images)
        return Decoder(self.width, images.shape[1], name="decoder")(latent)


def widths(width: int, size: int) -> list[int]:
    """Channels of each stride-2 layer, first to last: w, w, 2w, 4w at 128; one more w at 256."""
    return [
        width * max(1, 4 >> remaining)
        for remaining in reversed(range(num_downsamplings(size, SMALLEST_SIDE)))
    ]


def _activate(x: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    return nn.leaky_relu(x, SLOPE)
