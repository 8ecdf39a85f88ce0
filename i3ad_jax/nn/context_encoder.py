"""The context encoder (Pathak et al. 2016): an inpainting generator with a short vector.

The vector is in the middle of the network. A convolutional generator continues what it sees around
a hole, a defect that is larger than the hole too. Here all that is seen of an image goes through a
vector too short to carry a defect: what comes out is like some normal image as a whole. It draws no
fine texture that differs in place from image to image.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike

from i3ad_jax.nn.autoencoder import Decoder, Encoder
from i3ad_jax.shapes import Images, Masks


class ContextEncoder(nn.Module):
    """Inpaints the holes of images in one stage: the autoencoder's layers, given the mask as well.

    Pathak et al.'s middle layer is wider, connected within each channel alone.

    Deviation: the paper's generator is `Inpainter`, which the paper preset keeps.

    Attributes:
        width: channels of the first layer.
        latent_size: length of the vector.
        dtype: type the layers compute in.
    """

    width: int
    latent_size: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, masked: Images, masks: Masks) -> tuple[Images]:
        """The images in [-1, 1], float32, every pixel generated.

        Args:
            masked: images in [-1, 1] with their holes set to 0. Height and width are multiples of
                8.
            masks: 1 on holes.
        """
        inputs = jnp.concatenate([masked, masks], axis=-1).astype(self.dtype)
        latent = Encoder(self.width, self.latent_size, self.dtype, name="encoder")(inputs)
        return (Decoder(self.width, masked.shape[1], self.dtype, name="decoder")(latent),)
