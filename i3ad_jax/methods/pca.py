"""`pca`: reconstruction from principal components, the yardstick that costs seconds and no network."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from sklearn.decomposition import PCA

from i3ad_jax.config import Config
from i3ad_jax.errors import InputError
from i3ad_jax.methods.reconstruction import Model
from i3ad_jax.shapes import Image, Images, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PcaState:
    """The mean image and the principal components, both flattened."""

    mean: Float[Array, " p"]
    components: Float[Array, "n p"]


class PcaModel(Model):
    """A `Model` that projects an image onto what normal images have in common. Not in the paper."""

    def __init__(self, config: Config) -> None:
        self.count = config.network.components
        self.pixels = 3 * config.data.image_size**2

    def init(self, key: PRNGKey) -> PcaState:
        """What `fit` will fill in."""
        return PcaState(jnp.zeros(self.pixels), jnp.zeros((self.count, self.pixels)))

    def fit(self, images: Images) -> PcaState:
        """The components of these images, by scikit-learn.

        Raises:
            InputError: there are too few images for so many components.
        """
        if len(images) <= self.count:
            raise InputError(
                f"--components {self.count}: must be fewer than the images trained on, {len(images)}"
            )
        pca = PCA(self.count, svd_solver="full").fit(np.asarray(images).reshape(len(images), -1))
        return PcaState(jnp.asarray(pca.mean_), jnp.asarray(pca.components_))

    def begin(self, state: PcaState, image: Image) -> Image:
        weights = state.components @ (image.ravel() - state.mean)
        return (state.mean + weights @ state.components).reshape(image.shape)
