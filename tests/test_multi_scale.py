"""Scales against scikit-image."""

import jax.numpy as jnp
import numpy as np
import pytest
from skimage.transform import downscale_local_mean, resize

from i3ad_jax.scoring.multi_scale import multi_scale

RNG = np.random.default_rng(0)
IMAGE, OTHER = (RNG.uniform(-1, 1, (64, 96, 3)).astype(np.float32) for _ in range(2))


def test_scales_are_means_of_blocks_and_their_maps_are_enlarged() -> None:
    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return abs(a - b).mean(axis=-1)

    expected, a, b = [], IMAGE, OTHER
    for _ in range(3):  # 64, 32, 16: the next is too small
        enlarged = resize(distance(a, b), (64, 96), order=1, mode="edge")
        expected.append(enlarged)
        a, b = (downscale_local_mean(x, (2, 2, 1)) for x in (a, b))
    found = multi_scale(distance, jnp.asarray(IMAGE), jnp.asarray(OTHER))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-5)


@pytest.mark.parametrize(("side", "scales"), [(16, 1), (32, 2), (64, 3), (128, 4), (256, 4)])
def test_number_of_scales(side: int, scales: int) -> None:
    sides = []

    def distance(a: jnp.ndarray, _: jnp.ndarray) -> jnp.ndarray:
        sides.append(len(a))
        return a[..., 0]

    image = jnp.zeros((side, side, 3))
    multi_scale(distance, image, image)
    assert sides == [side // 2**i for i in range(scales)]
