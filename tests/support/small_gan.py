"""The inpainting GAN with a generator of two layers, which compiles in a fraction of the time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from i3ad_jax.methods.aegan import Aegan
from i3ad_jax.methods.i3ad import I3AD
from i3ad_jax.methods.inpainting_gan import GanState, InpaintingGan
from tests.support.random_weights import random_weights


class TwoLayers(nn.Module):
    """Two stages, coarse and fine as those of `Inpainter`, of one convolution each."""

    @nn.compact
    def __call__(self, masked: Any, masks: Any) -> Any:
        def stage(images: Any, name: str) -> Any:
            return jnp.tanh(
                nn.Conv(3, (5, 5), name=name)(jnp.concatenate([images, masks], axis=-1))
            )

        coarse = stage(masked, "coarse")
        return coarse, stage(masks * coarse + (1 - masks) * masked, "fine")


class SmallGan(InpaintingGan):
    """The GAN of the methods below."""

    @property
    def inpainter(self) -> Any:
        """The generator."""
        return TwoLayers()


class SmallI3AD(I3AD):
    """I3AD with the small generator."""

    @property
    def gan(self) -> SmallGan:
        """Both networks."""
        return SmallGan(self.training, self.image_size, self.test.dtype, self.ssim)


class SmallAegan(Aegan):
    """AEGAN with the small generator."""

    @property
    def gan(self) -> SmallGan:
        """Both networks."""
        return SmallGan(self.training, self.image_size, self.test.dtype, self.ssim)


def untrained_gan(gan: InpaintingGan) -> GanState:
    """A state of random weights and of optimisers that have taken no step."""
    shapes = jax.eval_shape(gan.init, jax.random.key(0))
    generator = random_weights(shapes.generator)
    optimizers = shapes.generator_optimizer, shapes.discriminator_optimizer
    return GanState(
        generator,
        generator,
        random_weights(shapes.discriminator),
        random_weights(shapes.spectral),
        *jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), optimizers),
    )
