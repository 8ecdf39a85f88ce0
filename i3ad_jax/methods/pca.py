# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""`pca`: reconstruction from principal components, a baseline of seconds without a network."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.reconstruction import ReconstructionMethod
from i3ad_jax.runtime.precision import EXACT
from i3ad_jax.settings import SettingError, Settings, setting
from i3ad_jax.shapes import Image, PRNGKey

DEFAULT = 30  # components


@dataclass(frozen=True)
class PcaSettings(Settings):
    """Principal component analysis."""

    components: int | None = setting(None, minimum=1, maximum=65_536)
    """Principal components, fewer than there are training images; by default 30, or as many as the
    images allow."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PcaState:
    """The mean image, `p`, and the principal components, `n p`, both flattened.

    A pytree's fields may hold anything that JAX or Orbax puts there instead of arrays.
    """

    mean: Any
    components: Any


@dataclass(frozen=True)
class Pca(ReconstructionMethod):
    """Projects an image onto what normal images have in common. Not in the paper."""

    training: PcaSettings
    test: NoSettings

    name: ClassVar[str] = "pca"
    presets: ClassVar = dict.fromkeys(("quick", "paper"), (PcaSettings(), NoSettings()))

    @property
    def _room(self) -> int:
        """Number of components in the state."""
        return self.training.components or DEFAULT

    def init(self, key: PRNGKey) -> PcaState:
        """Return the structure that `fit_at_once` will fill in."""
        pixels = 3 * self.image_size**2
        return PcaState(jnp.zeros(pixels), jnp.zeros((self._room, pixels)))

    def fit_at_once(self, squares: Float[np.ndarray, "n h w 3"]) -> PcaState:
        """The components of these images, by scikit-learn.

        Raises:
            SettingError: there are too few images for the number of components.
        """
        from sklearn.decomposition import PCA  # slow to import, and testing needs none of it

        most = len(squares) - 1
        count = self.training.components or max(1, min(DEFAULT, most))
        if count > most:
            problem = f"must be fewer than the images trained on, {len(squares)}"
            raise SettingError("components", count, problem)
        pca = PCA(count, svd_solver="full").fit(squares.reshape(len(squares), -1))
        unused = ((0, self._room - count), (0, 0))  # zeros add nothing
        return PcaState(jnp.asarray(pca.mean_), jnp.pad(jnp.asarray(pca.components_), unused))

    def begin(self, state: PcaState, image: Image) -> Image:
        """The projection."""
        weights = jnp.matmul(state.components, image.ravel() - state.mean, precision=EXACT)
        projection = jnp.matmul(weights, state.components, precision=EXACT)
        return (state.mean + projection).reshape(image.shape)
