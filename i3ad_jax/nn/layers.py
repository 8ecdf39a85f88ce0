"""Building blocks that the networks share.

`dtype` is what a layer computes in; its weights are float32 always.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

Features = Float[Array, "b h w c"]


class GatedConv(nn.Module):
    """A convolution whose output is gated pixel by pixel: elu(a) * sigmoid(g) (Yu et al. 2019, eq. 3).

    One convolution gives both halves, a and g, `features` channels each.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        x = nn.Conv(
            2 * self.features,
            (self.kernel_size, self.kernel_size),
            strides=self.stride,
            kernel_dilation=self.dilation,
            dtype=self.dtype,
            name="conv",
        )(x)
        activation, gate = jnp.split(x, 2, axis=-1)
        return nn.elu(activation) * nn.sigmoid(gate)


class GatedUpsample(nn.Module):
    """Twice the height and width by nearest neighbour, then a gated 3 x 3 convolution."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Features) -> Features:
        x = x.repeat(2, axis=1).repeat(2, axis=2)
        return GatedConv(self.features, dtype=self.dtype, name="gated")(x)


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
            return nn.Conv(features, (1, 1), dtype=self.dtype, name=name)

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
