"""DCGAN's generator and discriminator for any image size (Radford et al. 2016, section 3 and figure 1)."""

import math
from collections.abc import Callable

from flax import linen as nn
from jaxtyping import Array, Float

from i3ad_jax.nn.layers import Doubling, Features, Halving, halvings
from i3ad_jax.shapes import Images

SIZE_MULTIPLE = 8  # three halvings at least
MIN_SIZE = 32
BOTTOM = 4  # pixels along a side where images begin and end
SLOPE = 0.2
# Weighs the last ten steps or so, for the running averages to keep up with weights that move all the time.
MOMENTUM = 0.9


class Generator(nn.Module):
    """Latent vectors, one standard normal number for each entry, to images in [-1, 1].

    A dense layer makes a picture of 4 x 4 pixels, or of a few more at sizes that are not a power of two;
    transposed convolutions double it until it has the wanted size. All but the last are followed by batch
    norm and a ReLU.

    Attributes:
        width: channels at half the image's size; twice as many at each level below, at most 8 times.
        size: side of the image in pixels.
    """

    width: int
    size: int

    @nn.compact
    def __call__(self, latents: Float[Array, "b z"], *, train: bool = False) -> Images:
        """Images; `train` normalises by the batch and updates the running averages (`batch_stats`)."""
        *wider, bottom_width = widths(self.width, self.size)
        side = self.size >> (len(wider) + 1)

        def activate(x: Features, name: str) -> Features:
            return nn.relu(_batch_norm(train, name)(x))

        x = nn.Dense(side * side * bottom_width, use_bias=False, name="bottom")(latents)
        x = activate(x.reshape(-1, side, side, bottom_width), "norm_bottom")
        for level, features in reversed(list(enumerate(wider))):
            up = Doubling(features, use_bias=False, name=f"up_{level}")
            x = activate(up(x), f"norm_{level}")
        return nn.tanh(Doubling(3, name="rgb")(x))


class ImageEncoder(nn.Module):
    """Images to a few numbers each: the generator backwards. A discriminator, a critic or an encoder.

    Attributes:
        width: channels of the first layer; twice as many in each later one, at most 8 times.
        outputs: how many numbers come out for an image.

    Deviation: DCGAN normalises batches here too, and the paper does not describe its AnoGAN. So narrow a
    discriminator tells a real batch from a made-up one by what that leaves; a critic must do without anyway
    (Gulrajani et al. 2017, section 4).
    """

    width: int
    outputs: int

    @nn.compact
    def __call__(self, images: Images) -> tuple[Float[Array, "b f"], Float[Array, "b o"]]:
        """The activations of the last convolution, and the outputs, of images in [-1, 1]."""
        x = images
        for level, features in enumerate(widths(self.width, images.shape[1])):
            x = nn.leaky_relu(Halving(features, name=f"down_{level}")(x), SLOPE)
        seen = x.reshape(len(x), math.prod(x.shape[1:]))
        return seen, nn.Dense(self.outputs, name="outputs")(seen)


def widths(width: int, size: int) -> list[int]:
    """Channels after each halving of an image, from the largest picture downwards: w, 2w, 4w, 8w, 8w, ..."""
    return [width * min(2**level, 8) for level in range(halvings(size, BOTTOM))]


def _batch_norm(train: bool, name: str) -> Callable[[Features], Features]:
    return nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, name=name)
