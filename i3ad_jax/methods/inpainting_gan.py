# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""The inpainting GAN that I3AD and AEGAN train (paper, section 2.2; Yu et al. 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int

from i3ad_jax.inpainting.losses import (
    discounted_l1_loss,
    discriminator_hinge_loss,
    generator_hinge_loss,
)
from i3ad_jax.methods.method import AdversarialSettings, Metrics, initial, updated_average
from i3ad_jax.nn.context_encoder import ContextEncoder
from i3ad_jax.nn.inpainter import Inpainter
from i3ad_jax.nn.patchgan import PatchDiscriminator
from i3ad_jax.scoring.ssim import SSIM_SETTINGS, SsimSettings, ssim_anomaly
from i3ad_jax.settings import SettingError, setting
from i3ad_jax.shapes import Image, Images, Map, Masks, PRNGKey

# a fresh vector is random: let it find the largest singular value first
POWER_ITERATIONS_AT_START = 15


@dataclass(frozen=True)
class GanSettings(AdversarialSettings):
    """Networks and training of the inpainting GAN."""

    generator: Literal["auto", "two_stage", "context"] = "two_stage"
    """two_stage: the paper's coarse-to-fine generator of gated convolutions, which continues the
    surroundings of a hole. context: a context encoder, which draws the whole image from a short
    vector. auto: context where normal images are at least partly alike as a whole."""
    width: int = setting(24, minimum=1, maximum=1024)
    """Channels of the two-stage generator's first layer after gating; the paper's network has
    24."""
    dilations: tuple[int, ...] = setting((2, 4, 8, 16), minimum=1, maximum=1024)
    """Dilation of each dilated convolution in the middle of the two-stage generator's stages."""
    context_width: int = setting(16, minimum=1, maximum=1024)
    """Channels of the context encoder's first layer."""
    latent_size: int = setting(100, minimum=1, maximum=65_536)
    """Length of the vector to which the context encoder reduces an image."""
    discriminator_width: int = setting(64, minimum=1, maximum=1024)
    """Channels of the discriminator's first layer; later layers have 2, then 4 times as many."""
    discriminator_depth: int = setting(6, minimum=1, maximum=16)
    """Number of stride-2 convolutions of the discriminator."""
    reconstruction_weight: float = setting(1.0, minimum=0, maximum=1e6)
    """Weight of the discounted L1 term in the generator's loss. Not in the paper; Yu et al.
    2019."""
    average: float = setting(0.0, minimum=0, below=1)
    """Decay, at each step, of the moving average of the generator's weights that is used; 0 uses
    the last weights, as in the paper."""
    ssim_weight: float = setting(0.0, minimum=0, maximum=1e6)
    """Weight of (1 - SSIM) / 2 in the generator's loss, 0 as in the paper."""
    adversarial_weight: float = setting(1.0, minimum=0, maximum=1e6)
    """Weight of the adversarial term in the generator's loss. Not in the paper; Yu et al. 2019."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({*self.dilations}) < len(self.dilations):  # layers are named by them
            raise SettingError("dilations", self.dilations, "must differ from one another")


# Small networks and few steps: they learn faster and hold still by larger steps and a quieter
# adversary.
QUICK: Mapping[str, Any] = {
    "steps": 250,
    "sample_every": 50,
    "batch_size": 4,
    "generator": "auto",
    "width": 8,
    "dilations": (2, 4, 8),
    "discriminator_width": 16,
    "discriminator_depth": 4,
    "generator_learning_rate": 1e-3,
    "discriminator_learning_rate": 1e-3,
    "adversarial_weight": 1e-3,
    "ssim_weight": 1.0,
    "average": 0.995,
}
STANDARD: Mapping[str, Any] = {**QUICK, "steps": 4000, "sample_every": 500}
# The standard preset's losses with the paper's widths, and the context encoder as wide as the
# paper's autoencoders. Three times the standard preset's width takes a third of Adam's step size.
# 12,000 steps are to take 10 minutes at most on an H100, and an hour on a card of 8 GB: 4 and 43 by
# compilation (docs/how-long.md). No run of it has been measured.
GPU: Mapping[str, Any] = {
    **STANDARD,
    "steps": 12_000,
    "batch_size": 8,
    "width": 24,
    "dilations": (2, 4, 8, 16),
    "context_width": 32,
    "discriminator_width": 64,
    "discriminator_depth": 6,
    "generator_learning_rate": 3e-4,
    "discriminator_learning_rate": 3e-4,
}
# The paper's settings except for these, at 128 x 128. A step has 20 billion operations, as
# `check.cost.step_operations` counts them. Two idle cores with AVX-512 did about 65 billion a
# second in the standard preset's training (two-stage generator, cloth, 4,000 steps of 6.7 billion
# in 425 s). So 9,000 steps and the test should take about 50 minutes: an estimate, not measured.
PAPER_SMALL: Mapping[str, Any] = {
    "steps": 9000,
    "batch_size": 4,
    "width": 8,
    "discriminator_width": 16,
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GanState:
    """Weights of both networks and their Adam moments.

    Attributes:
        generator: as the last step left it.
        average: a moving average of the generator over the steps: the one that is used.
        spectral: the memory of the power iteration.
    """

    generator: Any
    average: Any
    discriminator: Any
    spectral: Any
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


@dataclass(frozen=True)
class InpaintingGan:
    """A generator that fills holes and a discriminator of real and inpainted images.

    Attributes:
        settings: of both networks and their training.
        image_size: side in pixels.
        dtype: number type in which both compute.
        ssim: of the SSIM term in the generator's loss.
    """

    settings: GanSettings
    image_size: int
    dtype: str
    ssim: SsimSettings

    @property
    def inpainter(self) -> Inpainter | ContextEncoder:
        """The generator; the two-stage one as long as `generator` is "auto"."""
        settings, dtype = self.settings, jnp.dtype(self.dtype)
        if settings.generator == "context":
            return ContextEncoder(settings.context_width, settings.latent_size, dtype)
        return Inpainter(settings.width, settings.dilations, dtype)

    @property
    def patchgan(self) -> PatchDiscriminator:
        """The discriminator."""
        width, depth = self.settings.discriminator_width, self.settings.discriminator_depth
        return PatchDiscriminator(width, depth, jnp.dtype(self.dtype))

    def _adams(self) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
        settings = self.settings
        adam = partial(optax.adam, b1=settings.adam_beta1, b2=settings.adam_beta2)
        return adam(settings.generator_learning_rate), adam(settings.discriminator_learning_rate)

    def init(self, key: PRNGKey) -> GanState:
        """Fresh weights and optimisers."""
        generator_key, discriminator_key = jax.random.split(key)
        size = self.image_size
        images, masks = jnp.zeros((1, size, size, 3)), jnp.zeros((1, size, size, 1))
        generator = initial(generator_key, self.inpainter, images, masks)["params"]
        variables = initial(discriminator_key, self.patchgan, images, masks, update_stats=False)
        discriminator, spectral = variables["params"], variables["batch_stats"]

        def iterate(_: Int[Array, ""], spectral: Any) -> Any:
            # Power iteration looks at the weights only, so any image will do.
            return self._discriminate_and_iterate(discriminator, spectral, images, masks)[1]

        spectral = lax.fori_loop(0, POWER_ITERATIONS_AT_START, iterate, spectral)
        generator_adam, discriminator_adam = self._adams()
        return GanState(
            generator=generator,
            average=jax.tree.map(jnp.copy, generator),  # both are donated to the training step
            discriminator=discriminator,
            spectral=spectral,
            generator_optimizer=generator_adam.init(generator),
            discriminator_optimizer=discriminator_adam.init(discriminator),
        )

    def step(
        self, state: GanState, images: Images, *, inputs: Images, masks: Masks, weights: Masks
    ) -> tuple[GanState, Metrics]:
        """One update of the discriminator, then one of the generator, on the same inpainted batch.

        Args:
            state: before the step.
            images: the true images.
            inputs: the generator's inputs from them.
            masks: 1 where its output replaces the true pixels before the discriminator.
            weights: of each pixel in the reconstruction loss.
        """
        generator_adam, discriminator_adam = self._adams()

        def inpaint(generator: Any) -> tuple[tuple[Images, ...], None]:
            return self.inpaint(generator, inputs, masks), None

        stages, backward, _ = jax.vjp(inpaint, state.generator, has_aux=True)

        def discriminator_loss(discriminator: Any) -> tuple[Float[Array, ""], Any]:
            # Real and fake in one call: the power iteration advances once, for the same weights.
            # Each fake follows its real image, so that both stay on one device.
            both = jnp.stack([images, paste(images, masks, stages[-1])], axis=1)
            logits, spectral = self._discriminate_and_iterate(
                discriminator,
                state.spectral,
                both.reshape(-1, *images.shape[1:]),
                jnp.repeat(masks, 2, axis=0),
            )
            real, fake = logits[::2], logits[1::2]
            return discriminator_hinge_loss(real, fake), spectral

        (d_loss, spectral), gradient = jax.value_and_grad(discriminator_loss, has_aux=True)(
            state.discriminator
        )
        updates, discriminator_optimizer = discriminator_adam.update(
            gradient, state.discriminator_optimizer
        )
        discriminator = optax.apply_updates(state.discriminator, updates)

        def generator_loss(stages: tuple[Images, ...]) -> tuple[Float[Array, ""], Metrics]:
            logits = self.discriminate(
                discriminator, spectral, paste(images, masks, stages[-1]), masks
            )
            adversarial = generator_hinge_loss(logits)
            reconstruction = sum(discounted_l1_loss(images, x, weights) for x in stages)
            settings = self.settings
            loss = (
                settings.adversarial_weight * adversarial
                + settings.reconstruction_weight * reconstruction
            )
            if settings.ssim_weight:
                loss += settings.ssim_weight * sum(self._dissimilarity(images, x) for x in stages)
            return loss, {
                "adversarial_loss": adversarial,
                "reconstruction_loss": jnp.asarray(reconstruction),
            }

        # The generator ran once, above; what is left of its update is the backward pass.
        losses, by_output = jax.value_and_grad(generator_loss, has_aux=True)(stages)
        (gradient,) = backward(by_output)
        updates, generator_optimizer = generator_adam.update(gradient, state.generator_optimizer)
        generator = optax.apply_updates(state.generator, updates)

        average = updated_average(
            state.average, generator, generator_optimizer, decay=self.settings.average
        )
        state = GanState(
            generator,
            average,
            discriminator,
            spectral,
            generator_optimizer,
            discriminator_optimizer,
        )
        return state, {"generator_loss": losses[0], "discriminator_loss": d_loss, **losses[1]}

    def _dissimilarity(self, images: Images, inpainted: Images) -> Float[Array, ""]:
        """Mean of (1 - SSIM) / 2, in [0, 1]."""

        def compare(image: Image, other: Image) -> Map:
            return ssim_anomaly(image, self.ssim)(other)

        return jnp.mean(jax.vmap(compare)(images, inpainted)) / 2

    def rounded(self, generator: Any) -> Any:
        """Return the generator's weights in its type, once for all calls in a loop.

        The layers round them too: the results are the same bits.
        """
        return jax.tree.map(lambda x: x.astype(self.dtype), generator)

    def inpaint(self, generator: Any, inputs: Images, masks: Masks) -> tuple[Images, ...]:
        """Return the output of each stage of the generator; the last is the result."""
        outputs: Any = self.inpainter.apply({"params": generator}, inputs, masks)
        return outputs

    def discriminate(
        self, discriminator: Any, spectral: Any, images: Images, masks: Masks
    ) -> Float[Array, "b h2 w2 d"]:
        """The discriminator's output; the power iteration stays where it is."""
        variables = {"params": discriminator, "batch_stats": spectral}
        logits: Any = self.patchgan.apply(variables, images, masks, update_stats=False)
        return logits

    def _discriminate_and_iterate(
        self, discriminator: Any, spectral: Any, images: Images, masks: Masks
    ) -> tuple[Float[Array, "b h2 w2 d"], Any]:
        """The discriminator's output, and the power iteration one step further."""
        variables = {"params": discriminator, "batch_stats": spectral}
        found: tuple[Any, Any] = self.patchgan.apply(
            variables, images, masks, update_stats=True, mutable=["batch_stats"]
        )
        logits, updated = found
        return logits, updated["batch_stats"]


def paste(images: Images, masks: Masks, inpainted: Images) -> Images:
    """The images with their holes filled from `inpainted`."""
    return masks * inpainted + (1 - masks) * images


def gan_trained_with(training: GanSettings) -> frozenset[str]:
    """Names of the settings outside `training` that the weights of both networks depend on."""
    ssim = SSIM_SETTINGS if training.ssim_weight else frozenset[str]()
    return frozenset(["dtype"]) | ssim
