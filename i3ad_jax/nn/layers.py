"""Building blocks that the networks share.

`dtype` is what a layer computes in; its weights are float32 always.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.nn.convolution import Conv

Features = Float[Array, "b h w c"]


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
        # All four as one matrix product: around each corner of the small image's pixels lie 2 x 2 of its own
        # and 2 x 2 of the large image's. (A 2 x 2 convolution is faster on CPUs, but rounds one image other
        # than a batch.)
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (1, 1), (0, 0)))
        corners = [x[:, a : a + height + 1, b : b + width + 1] for a in (0, 1) for b in (0, 1)]
        around = jnp.concatenate(corners, axis=-1) @ kernels.reshape(4 * channels, -1).astype(self.dtype)
        around = around.reshape(batch, height + 1, width + 1, 2, 2, -1)
        bias = bias.astype(self.dtype)

        def pixels(p: int, q: int) -> Float[Array, "b h w c"]:
            return gate(around[:, p : p + height, q : q + width, p, q] + bias)

        rows = [jnp.stack([pixels(p, 0), pixels(p, 1)], axis=3) for p in (0, 1)]
        return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, -1)


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
