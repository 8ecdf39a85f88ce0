# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`aegan`: I3AD's networks without the mask: from the whole image they generate all of it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from i3ad_jax.methods.inpainting_gan import (
    GPU,
    PAPER_SMALL,
    QUICK,
    STANDARD,
    GanSettings,
    GanState,
    InpaintingGan,
    gan_trained_with,
)
from i3ad_jax.methods.method import Batch, ComputeSettings, Metrics
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.nn.inpainter import MIN_SIZE, SIZE_MULTIPLE
from i3ad_jax.shapes import Image, PRNGKey


@dataclass(frozen=True)
class Aegan(ReconstructionMethod):
    """The paper's AEGAN column: "there is only difference that input images are masked or not".

    The mask that the networks are given is all ones, so every pixel of the output is the
    generator's.
    """

    training: GanSettings
    test: ComputeSettings

    name: ClassVar[str] = "aegan"
    size_multiple: ClassVar[int] = SIZE_MULTIPLE
    smallest_size: ClassVar[int] = MIN_SIZE
    presets: ClassVar = {
        "standard": (GanSettings(**STANDARD), ComputeSettings()),
        "quick": (GanSettings(**QUICK), ComputeSettings()),
        "gpu": (GanSettings(**GPU), ComputeSettings(dtype="bfloat16")),
        "paper": (GanSettings(), ComputeSettings()),
        "paper_small": (GanSettings(**PAPER_SMALL), ComputeSettings()),
    }

    @classmethod
    def trained_with(cls, training: Any) -> frozenset[str]:
        """See `Method.trained_with`."""
        return gan_trained_with(training)

    @property
    def gan(self) -> InpaintingGan:
        """Both networks."""
        return InpaintingGan(self.training, self.image_size, self.test.dtype, self.ssim)

    def init(self, key: PRNGKey) -> GanState:
        """Fresh weights and optimisers."""
        return self.gan.init(key)

    def step(self, state: GanState, batch: Batch, key: PRNGKey) -> tuple[GanState, Metrics]:
        """One update of each network."""
        images = batch.images
        ones = jnp.ones_like(images[..., :1])
        return self.gan.step(state, images, inputs=images, masks=ones, weights=ones)

    def begin(self, state: GanState, image: Image) -> Image:
        """The generator's output."""
        *_, generated = self.gan.inpaint(
            state.average, image[None], jnp.ones_like(image[None, ..., :1])
        )
        return generated[0]

    def features(self, state: GanState, image: Image) -> Float[Array, " f"]:
        """The discriminator's output, 256 numbers for each place."""
        ones = jnp.ones_like(image[None, ..., :1])
        return self.gan.discriminate(state.discriminator, state.spectral, image[None], ones).ravel()
