"""The inpainting GAN that I3AD and AEGAN train (paper, section 2.2; Yu et al. 2019)."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from i3ad_jax.config import Config
from i3ad_jax.inpainting.losses import discounted_l1_loss, discriminator_hinge_loss, generator_hinge_loss
from i3ad_jax.methods.method import Metrics, check_image_size
from i3ad_jax.nn.inpainter import MIN_SIZE, SIZE_MULTIPLE, Inpainter
from i3ad_jax.nn.patchgan import PatchDiscriminator
from i3ad_jax.shapes import Images, Masks, PRNGKey

POWER_ITERATIONS_AT_START = 15  # a fresh vector is random: let it find the largest singular value first


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GanState:
    """Weights of both networks and their Adam moments; `spectral` is the memory of the power iteration."""

    generator: Any
    discriminator: Any
    spectral: Any
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState


class InpaintingGan:
    """A generator that fills holes and a discriminator that judges the result; what is a hole is told."""

    def __init__(self, config: Config) -> None:
        """Raises InputError where the networks cannot take images of the wanted size."""
        check_image_size(config, multiple=SIZE_MULTIPLE, smallest=MIN_SIZE)
        network, training = config.network, config.training
        dtype = jnp.dtype(network.dtype)
        self.config = config
        self.inpainter = Inpainter(network.width, network.dilations, dtype)
        self.patchgan = PatchDiscriminator(network.discriminator_width, network.discriminator_depth, dtype)
        adam = partial(optax.adam, b1=training.adam_beta1, b2=training.adam_beta2)
        self.generator_adam = adam(training.generator_learning_rate)
        self.discriminator_adam = adam(training.discriminator_learning_rate)

    def init(self, key: PRNGKey) -> GanState:
        generator_key, discriminator_key = jax.random.split(key)
        size = self.config.data.image_size
        images, masks = jnp.zeros((1, size, size, 3)), jnp.zeros((1, size, size, 1))
        generator = self.inpainter.init(generator_key, images, masks)["params"]
        variables = self.patchgan.init(discriminator_key, images, masks, update_stats=False)
        discriminator, spectral = variables["params"], variables["batch_stats"]

        def iterate(_: int, spectral: Any) -> Any:
            # Power iteration looks at the weights only, so any image will do.
            return self._discriminate(discriminator, spectral, images, masks)[1]

        spectral = jax.lax.fori_loop(0, POWER_ITERATIONS_AT_START, iterate, spectral)
        return GanState(
            generator=generator,
            discriminator=discriminator,
            spectral=spectral,
            generator_optimizer=self.generator_adam.init(generator),
            discriminator_optimizer=self.discriminator_adam.init(discriminator),
        )

    def step(
        self, state: GanState, images: Images, *, shown: Images, masks: Masks, weights: Masks
    ) -> tuple[GanState, Metrics]:
        """One update of the discriminator, then one of the generator, on the same inpainted batch.

        Args:
            images: the true images.
            shown: what the generator sees of them.
            masks: 1 where its output replaces the true pixels before the discriminator looks.
            weights: of each pixel in the reconstruction loss.
        """
        (coarse, fine), backward = jax.vjp(
            lambda generator: self.inpaint(generator, shown, masks), state.generator
        )

        def discriminator_loss(discriminator: Any) -> tuple[Float[Array, ""], Any]:
            # Real and fake in one call: the power iteration advances once, and both see the same weights.
            judged = jnp.concatenate([images, paste(images, masks, fine)])
            logits, spectral = self._discriminate(
                discriminator, state.spectral, judged, jnp.concatenate([masks, masks])
            )
            real, fake = jnp.split(logits, 2)
            return discriminator_hinge_loss(real, fake), spectral

        (d_loss, spectral), gradient = jax.value_and_grad(discriminator_loss, has_aux=True)(
            state.discriminator
        )
        updates, discriminator_optimizer = self.discriminator_adam.update(
            gradient, state.discriminator_optimizer
        )
        discriminator = optax.apply_updates(state.discriminator, updates)

        def generator_loss(coarse: Images, fine: Images) -> tuple[Float[Array, ""], Metrics]:
            logits = self.judge(discriminator, spectral, paste(images, masks, fine), masks)
            adversarial = generator_hinge_loss(logits)
            reconstruction = sum(discounted_l1_loss(images, x, weights) for x in (coarse, fine))
            training = self.config.training
            loss = training.adversarial_weight * adversarial + training.reconstruction_weight * reconstruction
            return loss, {"adversarial_loss": adversarial, "reconstruction_loss": jnp.asarray(reconstruction)}

        # The generator ran once, above; what is left of its update is the backward pass.
        losses, by_output = jax.value_and_grad(generator_loss, argnums=(0, 1), has_aux=True)(coarse, fine)
        (gradient,) = backward(by_output)
        updates, generator_optimizer = self.generator_adam.update(gradient, state.generator_optimizer)
        generator = optax.apply_updates(state.generator, updates)

        state = GanState(generator, discriminator, spectral, generator_optimizer, discriminator_optimizer)
        return state, {"generator_loss": losses[0], "discriminator_loss": d_loss, **losses[1]}

    def inpaint(self, generator: Any, shown: Images, masks: Masks) -> tuple[Images, Images]:
        """Coarse and fine images."""
        outputs: Any = self.inpainter.apply({"params": generator}, shown, masks)
        return outputs

    def judge(
        self, discriminator: Any, spectral: Any, images: Images, masks: Masks
    ) -> Float[Array, "b h2 w2 d"]:
        """The discriminator's output; the power iteration stays where it is."""
        variables = {"params": discriminator, "batch_stats": spectral}
        logits: Any = self.patchgan.apply(variables, images, masks, update_stats=False)
        return logits

    def _discriminate(
        self, params: Any, spectral: Any, images: Images, masks: Masks
    ) -> tuple[Float[Array, "b h2 w2 d"], Any]:
        """Logits, and the power iteration one step further."""
        variables = {"params": params, "batch_stats": spectral}
        logits, updated = self.patchgan.apply(
            variables, images, masks, update_stats=True, mutable=["batch_stats"]
        )
        return logits, updated["batch_stats"]


def paste(images: Images, masks: Masks, inpainted: Images) -> Images:
    """The images with their holes filled from `inpainted`."""
    return masks * inpainted + (1 - masks) * images
