"""A U-Net with selectable skip connections (Ronneberger et al. 2015; paper, section 4)."""

import math

import jax.numpy as jnp
from flax import linen as nn

from i3ad_jax.nn.convolution import Conv
from i3ad_jax.nn.dense import Dense
from i3ad_jax.nn.layers import Features
from i3ad_jax.shapes import Images

LEVELS = 4


class TwoConvs(nn.Module):
    """Two 3 x 3 convolutions, each followed by a ReLU.

    Initial weights have variance 2 / N, where N is the fan-in (Ronneberger et al. 2015, section 3):
    with less, the signal would nearly die out over 16 such layers.
    """

    features: int

    @nn.compact
    def __call__(self, x: Features) -> Features:
        """Return the features after both convolutions, of the same height and width."""
        for number in (1, 2):
            conv = Conv(
                self.features,
                (3, 3),
                kernel_init=nn.initializers.he_normal(),
                name=f"conv_{number}",
            )
            x = nn.relu(conv(x))
        return x


class UNet(nn.Module):
    """An encoder of four max-poolings, a latent vector, and a decoder with skip connections.

    Deviation: the paper does not describe its U-Net; ours has the autoencoders' latent vector as
    bottleneck, so that without skip connections it is an autoencoder, and only they can carry
    details.

    Attributes:
        width: channels at full size; doubled at each coarser level.
        latent_size: length of the latent vector.
        skips: levels with a skip connection, 1 at full size to 4 at an eighth of it.
    """

    width: int
    latent_size: int
    skips: tuple[int, ...]

    @nn.compact
    def __call__(self, images: Images) -> Images:
        """Return reconstructions in [-1, 1] of images in [-1, 1]; sides must be multiples of 16."""
        x, encoded = images, {}
        for level in range(1, LEVELS + 1):
            x = TwoConvs(self.width << (level - 1), name=f"down_{level}")(x)
            encoded[level] = x
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        shape = x.shape[1:]
        latent = Dense(self.latent_size, name="latent")(x.reshape(len(x), math.prod(shape)))
        x = Dense(math.prod(shape), name="unfold")(latent).reshape(-1, *shape)
        for level in reversed(range(1, LEVELS + 1)):
            features = self.width << (level - 1)
            x = nn.ConvTranspose(features, (2, 2), strides=(2, 2), name=f"up_{level}")(x)
            if level in self.skips:
                x = jnp.concatenate([encoded[level], x], axis=-1)
            x = TwoConvs(features, name=f"up_{level}_convs")(x)
        return nn.tanh(Conv(3, (1, 1), name="rgb")(x))
