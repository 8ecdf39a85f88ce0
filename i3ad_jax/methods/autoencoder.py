"""`l2_ae`, `ssim_ae` and `unet`: networks that learn to repeat normal images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.refine import anomaly_score
from i3ad_jax.methods.method import Metrics, check_image_size
from i3ad_jax.methods.reconstruction import Model
from i3ad_jax.nn.autoencoder import SIZE_MULTIPLE, Autoencoder
from i3ad_jax.nn.unet import LEVELS, UNet
from i3ad_jax.scoring.maps import l2_map
from i3ad_jax.shapes import Image, Images, Map, PRNGKey

Difference = Callable[[Image, Image], Map]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AutoencoderState:
    """Weights and their Adam moments."""

    weights: Any
    optimizer: optax.OptState


class AutoencoderModel(Model):
    """A `Model` that repeats an image; `difference` of image and repetition is what its training makes small.

    Sources: Bergmann et al. 2018, section 3; the paper, section 3.1.
    """

    def __init__(self, config: Config, network: Autoencoder | UNet, difference: Difference) -> None:
        training, size = config.training, config.data.image_size
        self.network, self.difference, self.size = network, difference, size
        self.adam = optax.adam(
            training.generator_learning_rate, b1=training.adam_beta1, b2=training.adam_beta2
        )

    def init(self, key: PRNGKey) -> AutoencoderState:
        weights = self.network.init(key, jnp.zeros((1, self.size, self.size, 3)))["params"]
        return AutoencoderState(weights, self.adam.init(weights))

    def step(self, state: AutoencoderState, images: Images, key: PRNGKey) -> tuple[AutoencoderState, Metrics]:
        def loss(weights: Any) -> Float[Array, ""]:
            repeated: Any = self.network.apply({"params": weights}, images)
            return jnp.mean(jax.vmap(self.difference)(images, repeated))

        value, gradient = jax.value_and_grad(loss)(state.weights)
        updates, optimizer = self.adam.update(gradient, state.optimizer)
        weights: Any = optax.apply_updates(state.weights, updates)
        return AutoencoderState(weights, optimizer), {"reconstruction_loss": value}

    def repeat(self, state: AutoencoderState, image: Image) -> Image:
        """What the network makes of an image."""
        repeated: Any = self.network.apply({"params": state.weights}, image[None])
        return repeated[0]

    def begin(self, state: AutoencoderState, image: Image) -> Image:
        return self.repeat(state, image)


def l2_ae(config: Config) -> AutoencoderModel:
    """The autoencoder trained by the mean squared error."""
    return AutoencoderModel(config, _autoencoder(config), l2_map)


def ssim_ae(config: Config) -> AutoencoderModel:
    """The autoencoder trained by the mean SSIM anomaly score, with the SSIM that scores the test images."""

    def difference(image: Image, repeated: Image) -> Map:
        return anomaly_score(image, config.refine)(repeated)

    return AutoencoderModel(config, _autoencoder(config), difference)


def unet(config: Config) -> AutoencoderModel:
    """A U-Net with some of its skip connections, trained by the mean squared error (paper, section 4).

    Raises:
        InputError: there are no such skip connections, or the images cannot be halved four times.
    """
    network = config.network
    check_image_size(config, multiple=2**LEVELS, smallest=2**LEVELS)
    if not set(network.skips) <= set(range(1, LEVELS + 1)):
        raise InputError(f"--skips {' '.join(map(str, network.skips))}: give numbers from 1 to {LEVELS}")
    return AutoencoderModel(config, UNet(network.width, network.latent_size, network.skips), l2_map)


def _autoencoder(config: Config) -> Autoencoder:
    check_image_size(config, multiple=SIZE_MULTIPLE, smallest=2 * SIZE_MULTIPLE)
    return Autoencoder(config.network.width, config.network.latent_size)
