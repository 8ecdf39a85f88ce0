"""`aegan`: I3AD's networks without the mask. They see the whole image and make all of it anew."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.config import Config
from i3ad_jax.methods.inpainting_gan import GanState, InpaintingGan
from i3ad_jax.methods.method import Metrics
from i3ad_jax.methods.reconstruction import Model
from i3ad_jax.shapes import Image, Images, PRNGKey


class AeganModel(Model):
    """A `Model` for the paper's AEGAN column: "there is only difference that input images are masked or not".

    The mask that the networks are given is all ones, so every pixel of the output is the generator's.
    """

    def __init__(self, config: Config) -> None:
        self.gan = InpaintingGan(config)

    def init(self, key: PRNGKey) -> GanState:
        return self.gan.init(key)

    def step(self, state: GanState, images: Images, key: PRNGKey) -> tuple[GanState, Metrics]:
        ones = jnp.ones_like(images[..., :1])
        return self.gan.step(state, images, shown=images, masks=ones, weights=ones)

    def begin(self, state: GanState, image: Image) -> Image:
        _, fine = self.gan.inpaint(state.generator, image[None], jnp.ones_like(image[None, ..., :1]))
        return fine[0]

    def features(self, state: GanState, image: Image) -> Float[Array, " f"]:
        """The discriminator's output, 256 numbers for each place."""
        ones = jnp.ones_like(image[None, ..., :1])
        return self.gan.judge(state.discriminator, state.spectral, image[None], ones).ravel()
