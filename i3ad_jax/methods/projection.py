# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`l2_ae_projection` and `ssim_ae_projection`: iterative projection on a trained autoencoder."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.methods.autoencoder import (
    PRESETS,
    AutoencoderMethod,
    AutoencoderState,
    L2Autoencoder,
    SsimAutoencoder,
)
from i3ad_jax.scoring.ssim import ssim_anomaly
from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import Image


@dataclass(frozen=True)
class ProjectionSettings(Settings):
    """Iterative projection."""

    projection_steps: int = setting(50, minimum=1, maximum=1_000_000)
    """Gradient steps on the image (paper: 50)."""
    projection_rate: float = setting(0.5, above=0, maximum=1000)
    """Size of a step, alpha (paper: 0.5)."""
    projection_weight: float = setting(0.05, minimum=0, maximum=1e6)
    """Weight of the L1 distance to the original, lambda (paper: 0.05)."""


@dataclass(frozen=True)
class ProjectionMethod(AutoencoderMethod):
    """A method whose reconstruction is the nearest image that its autoencoder reconstructs well.

    From the input itself it descends the energy `energy` by 50 gradient steps, each pixel's step
    weighted by the square of its error (Dehaene et al. 2020, section 3). So a pixel that is
    reconstructed well stays as it is. The weights are those of the autoencoder, trained as ever.
    """

    test: ProjectionSettings
    presets: ClassVar = {
        name: (training, ProjectionSettings()) for name, (training, _) in PRESETS.items()
    }

    @abstractmethod
    def loss(self, image: Image, reconstruction: Image) -> Float[Array, ""]:
        """The autoencoder's loss, as a sum over pixels."""

    @property
    def iterations(self) -> int:
        """Gradient steps."""
        return self.test.projection_steps

    def energy(self, state: AutoencoderState, image: Image, moved: Image) -> Float[Array, ""]:
        """Return the autoencoder's loss on `moved` plus lambda times its L1 distance from `image`.

        Sums over pixels: of squared errors and distances in each channel, of intensities in [0, 1],
        or of the SSIM anomaly score.
        """
        return self._energy(state, image, moved)[0]

    def begin(self, state: AutoencoderState, image: Image) -> Image:
        """The image itself."""
        return image

    def improve(self, state: AutoencoderState, image: Image, search: Image) -> Image:
        """One gradient step."""
        (_, reconstruction), gradient = jax.value_and_grad(self._energy, argnums=2, has_aux=True)(
            state, image, search
        )
        # In intensities the gradient is twice as large, and so is a step here as there.
        error = (search - reconstruction) / 2
        step = 4 * self.test.projection_rate * gradient * error**2
        # SSIM is steep where an image is flat: a step that leaves what an image can be ends at its
        # border.
        return jnp.clip(search - step, -1, 1)

    def _energy(
        self, state: AutoencoderState, image: Image, moved: Image
    ) -> tuple[Float[Array, ""], Image]:
        reconstruction = self.autoencode(state, moved)
        # |d|, whose gradient at 0 is 0: that of jnp.abs is 1, which would move what may stay.
        d = moved - image
        distance = jnp.sum(d * lax.stop_gradient(jnp.sign(d))) / 2
        return self.loss(
            moved, reconstruction
        ) + self.test.projection_weight * distance, reconstruction


@dataclass(frozen=True)
class L2Projection(ProjectionMethod, L2Autoencoder):
    """Iterative projection on the autoencoder `l2_ae`."""

    name: ClassVar[str] = "l2_ae_projection"
    weights_of: ClassVar[str | None] = "l2_ae"

    def loss(self, image: Image, reconstruction: Image) -> Float[Array, ""]:
        """Squared error of intensities."""
        return jnp.sum((image - reconstruction) ** 2) / 4


@dataclass(frozen=True)
class SsimProjection(ProjectionMethod, SsimAutoencoder):
    """Iterative projection on the autoencoder `ssim_ae`."""

    name: ClassVar[str] = "ssim_ae_projection"
    weights_of: ClassVar[str | None] = "ssim_ae"

    def loss(self, image: Image, reconstruction: Image) -> Float[Array, ""]:
        """The SSIM anomaly score."""
        return jnp.sum(ssim_anomaly(image, self.ssim)(reconstruction))
