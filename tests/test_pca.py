"""The principal components against scikit-learn's own reconstruction."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.pca import Pca, PcaSettings
from i3ad_jax.runtime.devices import ThroughputSettings
from i3ad_jax.scoring.ssim import SsimSettings

METHOD = Pca(PcaSettings(components=5), NoSettings(), 16, SsimSettings(), ThroughputSettings())
IMAGES = np.random.default_rng(0).uniform(-1, 1, (12, 16, 16, 3)).astype(np.float32)


def test_reconstruction_is_scikit_learns() -> None:
    state = METHOD.fit_at_once(IMAGES[:8])
    pca = PCA(5, svd_solver="full").fit(IMAGES[:8].reshape(8, -1))
    expected = pca.inverse_transform(pca.transform(IMAGES.reshape(12, -1))).reshape(IMAGES.shape)
    for image, reconstruction in zip(IMAGES, expected, strict=True):
        np.testing.assert_allclose(
            METHOD.begin(state, jnp.asarray(image)), reconstruction, atol=1e-5
        )


def test_fewer_components_than_images() -> None:
    with pytest.raises(InputError, match=r"^--components 5: .*fewer than the images trained on, 5"):
        METHOD.fit_at_once(IMAGES[:5])
