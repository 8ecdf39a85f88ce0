"""A small U-Net that marks anomalous pixels (cf. Ronneberger et al. 2015)."""

import math

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from i3ad_jax.nn.convolution import Conv
from i3ad_jax.nn.layers import Features
from i3ad_jax.shapes import Maps

MOST_GROUPS = 8


class Block(nn.Module):
    """A 3 x 3 convolution, group norm (Wu and He 2018) in float32, and a ReLU."""

    features: int
    stride: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the features after convolution, norm and ReLU."""
        x = Conv(
            self.features, (3, 3), stride=self.stride, use_bias=False, dtype=self.dtype, name="conv"
        )(x)
        # At least two channels a group: of one alone the mean over the image would be lost.
        groups = math.gcd(MOST_GROUPS, self.features // 2)
        x = nn.GroupNorm(num_groups=groups, dtype=jnp.float32, name="norm")(x)
        return nn.relu(x).astype(self.dtype)


class Segmenter(nn.Module):
    """Features of each pixel to the logit that it is anomalous.

    The U-Net works on 2 x 2 blocks of pixels (space-to-depth): full resolution would take most of
    the time.

    Attributes:
        width: channels at half the height and width, even; doubled at each coarser level, up to 4
            `width`.
        depth: number of times that height and width are halved, the blocks included.
        dtype: type the layers compute in.
    """

    width: int = 16
    depth: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Maps:
        """Logits, float32, of features whose height and width are multiples of 2**depth."""

        def block(x: Features, features: int, name: str, *, stride: int = 1) -> Features:
            return Block(features, stride=stride, dtype=self.dtype, name=name)(x)

        widths = [self.width * min(2**level, 4) for level in range(self.depth)]
        x = block(_space_to_depth(x.astype(self.dtype)), self.width, "down_0")
        encoded = [block(x, self.width, "down_0_out")]
        for level, features in enumerate(widths[1:], start=1):
            x = block(encoded[-1], features, f"down_{level}", stride=2)
            encoded.append(block(x, features, f"down_{level}_out"))
        x = encoded.pop()
        for level, skip in reversed(list(enumerate(encoded))):
            x = block(x.repeat(2, axis=1).repeat(2, axis=2), widths[level], f"up_{level}")
            x = block(jnp.concatenate([x, skip], axis=-1), widths[level], f"up_{level}_out")
        blocks = Conv(4, (3, 3), dtype=self.dtype, name="logits")(x)
        return _depth_to_space(blocks).astype(jnp.float32)


def _space_to_depth(x: Features) -> Features:
    """The 2 x 2 blocks of pixels as channels."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).swapaxes(2, 3)
    return x.reshape(batch, height // 2, width // 2, 4 * channels)


def _depth_to_space(blocks: Features) -> Maps:
    """Pixels from the four channels of their 2 x 2 blocks."""
    batch, height, width, _ = blocks.shape
    return (
        blocks.reshape(batch, height, width, 2, 2)
        .swapaxes(2, 3)
        .reshape(batch, 2 * height, 2 * width)
    )
