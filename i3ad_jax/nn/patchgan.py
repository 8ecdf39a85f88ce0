"""The spectral-norm patch discriminator (Yu et al. 2019, section 3.3; Miyato et al. 2018)."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from i3ad_jax.nn.convolution import Conv
from i3ad_jax.shapes import Images, Masks


class PatchDiscriminator(nn.Module):
    """One logit vector per patch of an image, high where the patch looks real.

    5 x 5 convolutions of stride 2, each kernel divided by its largest singular value, which power
    iteration estimates. The iteration's vectors are in the collection `batch_stats`; a call with
    `update_stats=True` advances them one step and must make that collection mutable.

    Attributes:
        width: channels of the first layer; the second has 2 and all later ones 4 times as many.
        depth: number of convolutions.
        dtype: type the layers compute in.
    """

    width: int
    depth: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Images, masks: Masks, *, update_stats: bool
    ) -> Float[Array, "b h2 w2 d"]:
        """Logits, float32, without global pooling; the hinge loss is the mean over all of them."""
        x = jnp.concatenate([images, masks], axis=-1).astype(self.dtype)
        for layer in range(self.depth):
            features = self.width * min(2**layer, 4)
            conv = Conv(features, (5, 5), stride=2, dtype=self.dtype, name=f"conv_{layer}")
            x = nn.SpectralNorm(conv, name=f"spectral_norm_{layer}")(x, update_stats=update_stats)
            if layer < self.depth - 1:
                x = nn.leaky_relu(x, 0.2)
        return x.astype(jnp.float32)
