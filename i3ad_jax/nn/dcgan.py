"""DCGAN's generator and discriminator for any image size.

Source: Radford et al. 2016, section 3 and figure 1.
"""

import math
from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from i3ad_jax.nn.dense import Dense
from i3ad_jax.nn.layers import DownsampleConv, Features, UpsampleConv, num_downsamplings
from i3ad_jax.shapes import Images

SIZE_MULTIPLE = 8  # at least three downsamplings
MIN_SIZE = 32
SMALLEST_SIDE = 4  # pixels: feature maps are halved until their side is at most this
SLOPE = 0.2  # of the leaky ReLU
# Averages over about ten steps, so that the running statistics keep up with changing weights.
MOMENTUM = 0.9


class Generator(nn.Module):
    """Standard normal latent vectors to images in [-1, 1].

    A dense layer gives a feature map of 4 x 4 pixels, a few more at sizes that are not a power of
    two; transposed convolutions double it up to the image size. Batch norm and a ReLU follow all
    but the last.

    Attributes:
        width: channels at half the image's size; doubled at each coarser level, up to 8 `width`.
        size: side of the image in pixels.
    """

    width: int
    size: int

    @nn.compact
    def __call__(self, latents: Float[Array, "b z"], *, train: bool = False) -> Images:
        """Return images; `train` normalises by the batch and updates the averages.

        The running averages are in `batch_stats`.
        """
        *finer, coarsest = widths(self.width, self.size)
        side = self.size >> (len(finer) + 1)

        def activate(x: Features, name: str) -> Features:
            return nn.relu(_batch_norm(train, name)(x))

        x = Dense(side * side * coarsest, use_bias=False, name="bottom")(latents)
        x = activate(x.reshape(-1, side, side, coarsest), "norm_bottom")
        for level, features in reversed(list(enumerate(finer))):
            up = UpsampleConv(features, use_bias=False, name=f"up_{level}")
            x = activate(up(x), f"norm_{level}")
        return nn.tanh(UpsampleConv(3, name="rgb")(x))


class ImageEncoder(nn.Module):
    """Stride-2 convolutions and a dense layer: a discriminator, a critic or an encoder.

    Attributes:
        width: channels of the first layer; doubled in each later one, up to 8 `width`.
        outputs: number of outputs per image.

    Deviation: DCGAN has batch norm here too, and the paper does not describe its AnoGAN. We leave
        it out: so narrow a discriminator tells real from generated batches by the statistics that
        batch norm leaves. A critic must not have it anyway (Gulrajani et al. 2017, section 4).
    """

    width: int
    outputs: int

    @nn.compact
    def __call__(self, images: Images) -> tuple[Float[Array, "b f"], Float[Array, "b o"]]:
        """The activations of the last convolution, and the outputs, of images in [-1, 1]."""
        x = images
        for level, channels in enumerate(widths(self.width, images.shape[1])):
            x = nn.leaky_relu(DownsampleConv(channels, name=f"down_{level}")(x), SLOPE)
        features = x.reshape(len(x), math.prod(x.shape[1:]))
        return features, Dense(self.outputs, name="outputs")(features)


def widths(width: int, size: int) -> list[int]:
    """Channels of the feature map at each level, from the finest down: w, 2w, 4w, 8w, 8w, ..."""
    return [width * min(2**level, 8) for level in range(num_downsamplings(size, SMALLEST_SIDE))]


def _batch_norm(train: bool, name: str) -> Callable[[Features], Features]:
    return nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, name=name)
