# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`l2_ae`, `ssim_ae` and `unet`: networks that learn to reconstruct normal images."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from i3ad_jax.methods.method import Batch, Metrics, NoSettings, StepSettings, initial
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.nn.autoencoder import SIZE_MULTIPLE, Autoencoder
from i3ad_jax.nn.unet import LEVELS, UNet
from i3ad_jax.scoring.maps import l2_map
from i3ad_jax.scoring.ssim import SSIM_SETTINGS, ssim_anomaly
from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import Image, Map, PRNGKey


@dataclass(frozen=True)
class AutoencoderSettings(StepSettings):
    """Network and training of an autoencoder."""

    width: int = setting(32, minimum=1, maximum=1024)
    """Channels of the network's first layer."""
    latent_size: int = setting(100, minimum=1, maximum=65_536)
    """Length of the vector to which the network reduces an image (paper: 100)."""
    learning_rate: float = setting(1e-4, above=0, maximum=100)
    """Adam's step size."""
    adam_beta1: float = setting(0.9, minimum=0, below=1)
    """Adam's decay of the first moment."""
    adam_beta2: float = setting(0.999, minimum=0, below=1)
    """Adam's decay of the second moment."""


@dataclass(frozen=True)
class UNetSettings(AutoencoderSettings):
    """Network and training of the U-Net."""

    skips: tuple[int, ...] = setting((), minimum=1, maximum=LEVELS)
    """Skip connections that are on: 1, next to the image, to 4."""


# The paper, section 3.1; the width by Bergmann et al. 2018.
_PAPER = AutoencoderSettings(steps=20_000)
# 5.5 billion operations a step: about half an hour (an estimate, see `inpainting_gan.PAPER_SMALL`).
_PAPER_SMALL = replace(_PAPER, width=16)
_QUICK = AutoencoderSettings(steps=1500, width=16, learning_rate=1e-3)
PRESETS: Mapping[str, tuple[Settings, Settings]] = {
    "quick": (_QUICK, NoSettings()),
    "gpu": (_PAPER, NoSettings()),
    "paper": (_PAPER, NoSettings()),
    "paper_small": (_PAPER_SMALL, NoSettings()),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class AutoencoderState:
    """Weights and their Adam moments."""

    weights: Any
    optimizer: optax.OptState


@dataclass(frozen=True)
class AutoencoderMethod(ReconstructionMethod):
    """A method whose network reconstructs an image; training makes `difference` of the two small.

    Sources: Bergmann et al. 2018, section 3; the paper, section 3.1.
    """

    training: AutoencoderSettings
    presets: ClassVar = PRESETS
    size_multiple: ClassVar[int] = SIZE_MULTIPLE
    smallest_size: ClassVar[int] = 2 * SIZE_MULTIPLE

    @property
    def network(self) -> Autoencoder | UNet:
        """The network."""
        return Autoencoder(self.training.width, self.training.latent_size)

    @abstractmethod
    def difference(self, image: Image, reconstruction: Image) -> Map:
        """Loss of each pixel; its mean is the training loss."""

    @property
    def _adam(self) -> optax.GradientTransformation:
        settings = self.training
        return optax.adam(settings.learning_rate, b1=settings.adam_beta1, b2=settings.adam_beta2)

    def init(self, key: PRNGKey) -> AutoencoderState:
        """Fresh weights."""
        images = jnp.zeros((1, self.image_size, self.image_size, 3))
        weights = initial(key, self.network, images)["params"]
        return AutoencoderState(weights, self._adam.init(weights))

    def step(
        self, state: AutoencoderState, batch: Batch, key: PRNGKey
    ) -> tuple[AutoencoderState, Metrics]:
        """One step of Adam."""
        images = batch.images

        def loss(weights: Any) -> Float[Array, ""]:
            reconstructions: Any = self.network.apply({"params": weights}, images)
            return jnp.mean(jax.vmap(self.difference)(images, reconstructions))

        value, gradient = jax.value_and_grad(loss)(state.weights)
        updates, optimizer = self._adam.update(gradient, state.optimizer)
        weights: Any = optax.apply_updates(state.weights, updates)
        return AutoencoderState(weights, optimizer), {"reconstruction_loss": value}

    def autoencode(self, state: AutoencoderState, image: Image) -> Image:
        """The network's output for an image."""
        outputs: Any = self.network.apply({"params": state.weights}, image[None])
        return outputs[0]

    def begin(self, state: AutoencoderState, image: Image) -> Any:
        """The network's output."""
        return self.autoencode(state, image)


@dataclass(frozen=True)
class L2Autoencoder(AutoencoderMethod):
    """The autoencoder trained by the mean squared error."""

    name: ClassVar[str] = "l2_ae"

    def difference(self, image: Image, reconstruction: Image) -> Map:
        """Squared error."""
        return l2_map(image, reconstruction)


@dataclass(frozen=True)
class SsimAutoencoder(AutoencoderMethod):
    """Autoencoder trained by the mean SSIM anomaly score, of the SSIM that scores test images."""

    name: ClassVar[str] = "ssim_ae"

    @classmethod
    def trained_with(cls, training: Any) -> frozenset[str]:
        """See `Method.trained_with`: the loss is made of SSIM."""
        return SSIM_SETTINGS

    def difference(self, image: Image, reconstruction: Image) -> Map:
        """The SSIM anomaly score."""
        return ssim_anomaly(image, self.ssim)(reconstruction)


@dataclass(frozen=True)
class UNetMethod(L2Autoencoder):
    """U-Net with some of its skip connections, trained by mean squared error (paper, section 4)."""

    training: UNetSettings

    name: ClassVar[str] = "unet"
    size_multiple: ClassVar[int] = 2**LEVELS
    smallest_size: ClassVar[int] = 2**LEVELS
    # At full size it has four times the autoencoders' convolutions.
    presets: ClassVar = {
        "quick": (replace(UNetSettings(**_QUICK.to_json()), width=8), NoSettings()),
        "gpu": (UNetSettings(**_PAPER.to_json()), NoSettings()),
        "paper": (UNetSettings(**_PAPER.to_json()), NoSettings()),
        "paper_small": (replace(UNetSettings(**_PAPER.to_json()), width=8), NoSettings()),
    }

    @property
    def network(self) -> UNet:
        """The network."""
        return UNet(self.training.width, self.training.latent_size, self.training.skips)
