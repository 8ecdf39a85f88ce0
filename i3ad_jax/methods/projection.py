"""`l2_ae_projection` and `ssim_ae_projection`: iterative projection on a trained autoencoder."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.config import Config
from i3ad_jax.inpainting.refine import anomaly_score
from i3ad_jax.methods.autoencoder import AutoencoderModel, AutoencoderState, l2_ae, ssim_ae
from i3ad_jax.methods.method import Metrics
from i3ad_jax.methods.reconstruction import Model
from i3ad_jax.shapes import Image, Images, PRNGKey

Loss = Callable[[Image, Image], Float[Array, ""]]


class ProjectionModel(Model):
    """A `Model` whose reconstruction is the nearest image that its autoencoder repeats well.

    From the input itself it descends the energy `energy` by 50 gradient steps, each pixel's step weighted by
    the square of its error: what is repeated well stays as it is (Dehaene et al. 2020, section 3). The
    weights are those of `autoencoder`, trained as ever.
    """

    def __init__(self, config: Config, autoencoder: AutoencoderModel, loss: Loss) -> None:
        self.autoencoder, self.loss, self.search = autoencoder, loss, config.search
        self.iterations = config.search.projection_steps

    def init(self, key: PRNGKey) -> AutoencoderState:
        return self.autoencoder.init(key)

    def step(self, state: AutoencoderState, images: Images, key: PRNGKey) -> tuple[AutoencoderState, Metrics]:
        return self.autoencoder.step(state, images, key)

    def energy(self, state: AutoencoderState, image: Image, moved: Image) -> Float[Array, ""]:
        """The autoencoder's loss on `moved` plus lambda times the L1 distance of `moved` from `image`.

        Sums over pixels: of squared errors and distances in each channel, of intensities in [0, 1], or of the
        SSIM anomaly score.
        """
        return self._energy(state, image, moved)[0]

    def begin(self, state: AutoencoderState, image: Image) -> Image:
        return image

    def improve(self, state: AutoencoderState, image: Image, search: Image) -> Image:
        gradient, repeated = jax.grad(self._energy, argnums=2, has_aux=True)(state, image, search)
        # In intensities the gradient is twice as large, and so is a step here as there.
        error = (search - repeated) / 2
        step = 4 * self.search.projection_rate * gradient * error**2
        # SSIM is steep where an image is flat: a step that leaves what an image can be ends at its border.
        return jnp.clip(search - step, -1, 1)

    def _energy(self, state: AutoencoderState, image: Image, moved: Image) -> tuple[Float[Array, ""], Image]:
        repeated = self.autoencoder.repeat(state, moved)
        # |d|, whose gradient at 0 is 0: that of jnp.abs is 1, which would move what may stay.
        d = moved - image
        distance = jnp.sum(d * lax.stop_gradient(jnp.sign(d))) / 2
        return self.loss(moved, repeated) + self.search.projection_weight * distance, repeated


def l2_ae_projection(config: Config) -> ProjectionModel:
    """Iterative projection on the autoencoder `l2_ae`."""
    return ProjectionModel(config, l2_ae(config), lambda x, y: jnp.sum((x - y) ** 2) / 4)


def ssim_ae_projection(config: Config) -> ProjectionModel:
    """Iterative projection on the autoencoder `ssim_ae`."""
    return ProjectionModel(config, ssim_ae(config), lambda x, y: jnp.sum(anomaly_score(x, config.refine)(y)))
