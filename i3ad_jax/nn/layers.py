"""Building blocks that the networks share.

`dtype` is what a layer computes in; its weights are float32 always.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.nn.convolution import Conv, convolve

Features = Float[Array, "b h w c"]


def halvings(size: int, smallest: int) -> int:
    """How often a side of `size` pixels can be halved evenly before it is `smallest` or less."""
    count = 0
    while size % 2 == 0 and size > smallest:
        size, count = size // 2, count + 1
    return count


def gate(x: Features) -> Features:
    """elu(a) * sigmoid(g), where a and g are the two halves of the channels (Yu et al. 2019, eq. 3)."""
    activation, gates = jnp.split(x, 2, axis=-1)
    # The usual elu takes a branch and an expm1 for each number: several times slower on a CPU, and no better
    # here, where 1e-7 is nothing beside the other half's share.
    elu = jnp.maximum(activation, 0) + jnp.exp(jnp.minimum(activation, 0)) - 1
    return elu * nn.sigmoid(gates)


class GatedConv(nn.Module):
    """A convolution whose output is gated pixel by pixel: `gate` of twice `features` channels."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        conv = Conv(
            2 * self.features,
            (self.kernel_size, self.kernel_size),
            strides=self.stride,
            kernel_dilation=self.dilation,
            dtype=self.dtype,
            name="conv",
        )
        return gate(conv(x))


# Seen from the small image, an output pixel's 3 taps fall on 2 pixels: [0] for even, [1] for odd outputs.
_TAPS = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


class GatedUpsample(nn.Module):
    """Twice the height and width by nearest neighbour, then a gated 3 x 3 convolution.

    Neighbours that are copies of one pixel share a tap, so four 2 x 2 convolutions of the small image give
    the same: 4/9 of the multiplications, and the large image is never written (Shi et al. 2016 for the
    idea of convolving before the up-sampling).
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        batch, height, width, channels = x.shape
        shape = (3, 3, channels, 2 * self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        kernels = jnp.einsum("pax,qby,xyio->abipqo", _TAPS, _TAPS, kernel, precision="highest")
        # All four at once: around each corner of the small image's pixels lie 2 x 2 of its own and 2 x 2 of
        # the large image's.
        corners = kernels.reshape(2, 2, channels, -1).astype(self.dtype)
        around: Any = convolve(x.astype(self.dtype), corners, (1, 1), ((1, 1), (1, 1)), (1, 1))
        around = around.reshape(batch, height + 1, width + 1, 2, 2, -1)
        bias = bias.astype(self.dtype)

        def pixels(p: int, q: int) -> Float[Array, "b h w c"]:
            return gate(around[:, p : p + height, q : q + width, p, q] + bias)

        rows = [jnp.stack([pixels(p, 0), pixels(p, 1)], axis=3) for p in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)


class Doubling(nn.Module):
    """A 4 x 4 transposed convolution of stride 2, as a matrix product: twice the height and width.

    Around each corner of the pixels, 2 x 2 of them decide 2 x 2 pixels of the result. XLA's convolution would
    multiply the zeros between pixels too, and within a loop or a `lax.cond`, where the methods have it, its
    gradients take a CPU several times as long.
    """

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Features) -> Features:
        batch, height, width, _ = x.shape
        corners = _beside(_pad(x))
        x = nn.Dense(4 * self.features, use_bias=False, name="taps")(corners)
        x = x.reshape(batch, height + 1, width + 1, 2, 2, self.features).swapaxes(2, 3)
        x = x.reshape(batch, 2 * height + 2, 2 * width + 2, self.features)[:, 1:-1, 1:-1]
        return x + self.param("bias", nn.initializers.zeros, (self.features,)) if self.use_bias else x


class Halving(nn.Module):
    """A 4 x 4 convolution of stride 2, as a matrix product for the same reason: half the height and width.

    Each pixel of the result sees 2 x 2 blocks of 2 x 2 pixels.
    """

    features: int

    @nn.compact
    def __call__(self, x: Features) -> Features:
        batch, height, width, channels = x.shape
        rows, columns = height // 2 + 1, width // 2 + 1
        x = _pad(x).reshape(batch, rows, 2, columns, 2, channels).swapaxes(2, 3)
        blocks = _beside(x.reshape(batch, rows, columns, 4 * channels))
        return nn.Dense(self.features, name="taps")(blocks)


class SelfAttention(nn.Module):
    """Each position gathers from all others what resembles it (Zhang et al. 2018, section 3).

    Queries and keys have 1/8 of the channels and values 1/2; keys and values are max-pooled by 2. The result
    is added with a learned scale that starts at 0. Height and width must be even.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        batch, height, width, channels = x.shape

        def project(features: int, name: str) -> nn.Conv:
            return Conv(features, (1, 1), dtype=self.dtype, name=name)

        def pool(y: Features) -> Features:
            return nn.max_pool(y, (2, 2), strides=(2, 2))

        narrow, wide = max(channels // 8, 1), max(channels // 2, 1)
        query = project(narrow, "query")(x).reshape(batch, -1, narrow)
        key = pool(project(narrow, "key")(x)).reshape(batch, -1, narrow)
        value = pool(project(wide, "value")(x)).reshape(batch, -1, wide)
        # The softmax runs over a thousand positions: in float32 whatever the layer computes in.
        logits = jnp.einsum("bqc,bkc->bqk", query, key, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(logits, axis=-1).astype(self.dtype)
        gathered = jnp.einsum("bqk,bkc->bqc", weights, value).reshape(batch, height, width, wide)
        scale = self.param("scale", nn.initializers.zeros, ())
        return x + scale.astype(self.dtype) * project(channels, "output")(gathered)


def _pad(x: Features) -> Features:
    """A border of one pixel of zeros."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def _beside(x: Features) -> Features:
    """The channels of each 2 x 2 pixels beside one another; one row and one column fewer."""
    return jnp.concatenate(
        [y for rows in (x[:, :-1], x[:, 1:]) for y in (rows[:, :, :-1], rows[:, :, 1:])], -1
    )
