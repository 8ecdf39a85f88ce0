"""The principal components against scikit-learn's own reconstruction."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import NoSettings
from i3ad_jax.methods.pca import Pca, PcaSettings
from i3ad_jax.runtime.throughput import Throughput
from i3ad_jax.scoring.ssim import SsimSettings

METHOD = Pca(PcaSettings(components=5), NoSettings(), 16, SsimSettings(), Throughput())
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


def test_by_default_components_adapt_to_few_images() -> None:
    method = replace(METHOD, training=PcaSettings())
    state, shape = method.fit_at_once(IMAGES[:5]), jax.eval_shape(method.init, jax.random.key(0))
    assert state.components.shape == shape.components.shape
    asked = replace(METHOD, training=PcaSettings(components=4)).fit_at_once(IMAGES[:5])
    for image in map(jnp.asarray, IMAGES[5:]):
        np.testing.assert_allclose(
            method.begin(state, image), METHOD.begin(asked, image), atol=1e-6
        )
    with pytest.raises(InputError, match="fewer than the images trained on, 1"):
        method.fit_at_once(IMAGES[:1])
