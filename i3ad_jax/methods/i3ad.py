"""I3AD: an inpainting GAN trained on normal images, and the loop that inpaints what looks wrong."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from i3ad_jax.compiler import jit
from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.losses import (
    discount_weights,
    discounted_l1_loss,
    discriminator_hinge_loss,
    generator_hinge_loss,
)
from i3ad_jax.masks import brush_mask
from i3ad_jax.methods.method import Calibration, Metrics
from i3ad_jax.nn.inpainter import MIN_SIZE, SIZE_MULTIPLE, Inpainter
from i3ad_jax.nn.patchgan import PatchDiscriminator
from i3ad_jax.refine import Inpaint, Refined, Trajectory, refine, trace
from i3ad_jax.refine_queue import refine_queue, spread_over_devices
from i3ad_jax.score import l2_map
from i3ad_jax.shapes import Image, Images, Maps, Mask, Masks, PRNGKey
from i3ad_jax.threshold import U_CANDIDATES, choose_u

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


class I3AD:
    """The paper's method; see `Method` for what each function promises."""

    def __init__(self, config: Config) -> None:
        size = config.data.image_size
        if size % SIZE_MULTIPLE or size < MIN_SIZE:
            raise InputError(
                f"--image-size {size}: the network takes multiples of {SIZE_MULTIPLE} from {MIN_SIZE} upwards"
            )
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

    def step(self, state: GanState, images: Images, key: PRNGKey) -> tuple[GanState, Metrics]:
        """One update of the discriminator, then one of the generator, on the same inpainted batch."""
        masks = brush_masks(key, images)

        (coarse, fine), backward = jax.vjp(
            lambda generator: self._inpaint(generator, images * (1 - masks), masks), state.generator
        )

        def discriminator_loss(discriminator: Any) -> tuple[Float[Array, ""], Any]:
            # Real and fake in one call: the power iteration advances once, and both see the same weights.
            shown = jnp.concatenate([images, _paste(images, masks, fine)])
            logits, spectral = self._discriminate(
                discriminator, state.spectral, shown, jnp.concatenate([masks, masks])
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
            variables = {"params": discriminator, "batch_stats": spectral}
            logits: Any = self.patchgan.apply(
                variables, _paste(images, masks, fine), masks, update_stats=False
            )
            return self._generator_loss(images, masks, coarse, fine, logits)

        # The generator ran once, above; what is left of its update is the backward pass.
        losses, by_output = jax.value_and_grad(generator_loss, argnums=(0, 1), has_aux=True)(coarse, fine)
        (gradient,) = backward(by_output)
        updates, generator_optimizer = self.generator_adam.update(gradient, state.generator_optimizer)
        generator = optax.apply_updates(state.generator, updates)

        state = GanState(generator, discriminator, spectral, generator_optimizer, discriminator_optimizer)
        return state, {"generator_loss": losses[0], "discriminator_loss": d_loss, **losses[1]}

    @jit(static_argnums=0)
    def sample(self, state: GanState, images: Images, key: PRNGKey) -> Float[Array, "rows b h w c"]:
        masks = brush_masks(key, images)
        _, fine = self._inpaint(state.generator, images * (1 - masks), masks)
        return jnp.stack([images, images * (1 - masks), _paste(images, masks, fine)])

    def calibrate(self, state: GanState, images: Images) -> Calibration:
        """The threshold u: what `--u` says, or the paper's rule on at most `--u-images` images."""
        loop = self.config.refine
        if loop.u is not None:
            return {"u": loop.u, "u_reason": "given by --u"}
        # One image at a time: with all candidates it is a batch already.
        chosen = tqdm(images[: loop.u_images], desc="choose u", unit="image")
        errors = np.stack([np.asarray(self._l1_errors(state, image)) for image in chosen])
        errors = errors.mean(axis=0, dtype=np.float64)
        u, reason = choose_u(errors, tolerance=loop.u_tolerance)
        table = {
            f"{candidate:.2f}": float(error) for candidate, error in zip(U_CANDIDATES, errors, strict=True)
        }
        return {"u": u, "u_reason": reason, "u_errors": table}

    def anomaly_maps(
        self, state: GanState, calibration: Calibration, images: Images, count: int
    ) -> dict[str, Maps]:
        return self._anomaly_maps(state, images, jnp.int32(count), jnp.float32(calibration["u"]))

    def trace(self, state: GanState, calibration: Calibration, images: Images) -> Trajectory:
        return self._trace(state, images, jnp.float32(calibration["u"]))

    def inpaint(self, state: GanState) -> Inpaint:
        """The trained generator as a function of one masked image and its mask."""

        def inpaint(image: Image, mask: Mask) -> Image:
            _, fine = self._inpaint(state.generator, image[None], mask[None])
            return fine[0]

        return inpaint

    @jit(static_argnums=0)
    def _anomaly_maps(
        self, state: GanState, images: Images, count: Int[Array, ""], u: Float[Array, ""]
    ) -> dict[str, Maps]:
        loop = self.config.refine

        def queue(images: Images, count: Int[Array, ""]) -> Refined:
            slots = loop.test_batch_size
            return refine_queue(self.inpaint(state), images, count=count, slots=slots, u=u, config=loop)

        refined = spread_over_devices(queue, images, count=count, devices=jax.device_count())
        return {"l2": jax.vmap(l2_map)(images, refined.image), "ssim": refined.score}

    @jit(static_argnums=0)
    def _trace(self, state: GanState, images: Images, u: Float[Array, ""]) -> Trajectory:
        inpaint = self.inpaint(state)
        return jax.vmap(lambda image: trace(inpaint, image, u=u, config=self.config.refine))(images)

    @jit(static_argnums=0)
    def _l1_errors(self, state: GanState, image: Image) -> Float[Array, " candidates"]:
        """Mean L1 error, in [0, 1], after the rule's number of iterations with each candidate u."""
        loop = self.config.refine
        loop = replace(loop, iterations=min(loop.u_iterations, loop.iterations))
        inpaint = self.inpaint(state)

        def error(u: Float[Array, ""]) -> Float[Array, ""]:
            refined = refine(inpaint, image, u=u, config=loop, early_exit=True).image
            return jnp.mean(jnp.abs(refined - image)) / 2

        return jax.vmap(error)(jnp.array(U_CANDIDATES))

    def _inpaint(self, generator: Any, masked: Images, masks: Masks) -> tuple[Images, Images]:
        """Coarse and fine images from images whose holes are 0."""
        outputs: Any = self.inpainter.apply({"params": generator}, masked, masks)
        return outputs

    def _discriminate(
        self, params: Any, spectral: Any, images: Images, masks: Masks
    ) -> tuple[Float[Array, "b h2 w2 d"], Any]:
        """Logits, and the power iteration one step further."""
        variables = {"params": params, "batch_stats": spectral}
        logits, updated = self.patchgan.apply(
            variables, images, masks, update_stats=True, mutable=["batch_stats"]
        )
        return logits, updated["batch_stats"]

    def _generator_loss(
        self, images: Images, masks: Masks, coarse: Images, fine: Images, fake_logits: Float[Array, "b ..."]
    ) -> tuple[Float[Array, ""], Metrics]:
        training = self.config.training
        weights = discount_weights(masks, discount=training.discount)
        adversarial = generator_hinge_loss(fake_logits)
        reconstruction = discounted_l1_loss(images, coarse, weights) + discounted_l1_loss(
            images, fine, weights
        )
        loss = training.adversarial_weight * adversarial + training.reconstruction_weight * reconstruction
        return loss, {"adversarial_loss": adversarial, "reconstruction_loss": reconstruction}


def brush_masks(key: PRNGKey, images: Images) -> Masks:
    """A training mask for each image."""
    batch, height, width, _ = images.shape
    keys = jax.random.split(key, batch)
    return jax.vmap(lambda key: brush_mask(key, height=height, width=width))(keys)


def _paste(images: Images, masks: Masks, inpainted: Images) -> Images:
    """The images with their holes filled from `inpainted`."""
    return masks * inpainted + (1 - masks) * images
