"""SSIM maps against scikit-image, and what the definition promises."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from i3ad_jax.scoring.ssim import ssim_with

# A float32 variance is off in its last digits. That shows only where an image is flat: c2 = 9e-4 is
# then all that divides it.
TOLERANCE, TOLERANCE_WHERE_FLAT = 2e-6, 2e-5

WINDOWS = {
    "gaussian": {"gaussian_weights": True, "sigma": 1.5},
    "uniform": {"gaussian_weights": False, "win_size": 11},
}
# scikit-image squares its constants.
CONSTANTS = {
    "squared": {"K1": 0.01, "K2": 0.03},
    "printed": {"K1": np.sqrt(0.01), "K2": np.sqrt(0.03)},
}


def ssim(reference: np.ndarray, image: np.ndarray, **options: str) -> np.ndarray:
    return np.asarray(ssim_with(jnp.asarray(reference), **options)(jnp.asarray(image)))  # pyright: ignore


def by_skimage(
    reference: np.ndarray, image: np.ndarray, *, window: str, constants: str
) -> np.ndarray:
    """The same map in float64, from intensities in [0, 1]."""
    options = {**WINDOWS[window], **CONSTANTS[constants]}
    pair = ((reference.astype(np.float64) + 1) / 2, (image.astype(np.float64) + 1) / 2)
    result: Any = structural_similarity(
        *pair, data_range=1, channel_axis=-1, full=True, use_sample_covariance=False, **options
    )
    return result[1].mean(axis=-1)


def noise(seed: int, shape: tuple[int, ...] = (24, 37, 3)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def smooth(seed: int) -> np.ndarray:
    """Bright and nearly flat in places, where variances are the hardest to get right."""
    return np.clip(gaussian_filter(noise(seed), (4, 4, 0)) * 4 + 0.5, -1, 1)


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("window", WINDOWS)
def test_map_equals_skimage_everywhere(window: str, constants: str) -> None:
    spot = np.where(np.arange(24)[:, None, None] < 3, np.float32(1), smooth(0))
    pairs = {
        "noise": (noise(0), noise(1), TOLERANCE),
        "added noise": (noise(0), np.clip(noise(0) + noise(1) / 4, -1, 1), TOLERANCE),
        "smooth": (smooth(0), smooth(1), TOLERANCE_WHERE_FLAT),
        "spot": (smooth(0), spot, TOLERANCE_WHERE_FLAT),
        "flat": (np.full_like(spot, 0.9), smooth(1), TOLERANCE_WHERE_FLAT),
    }
    for name, (reference, image, tolerance) in pairs.items():
        actual = ssim(reference, image, window=window, constants=constants)
        expected = by_skimage(reference, image, window=window, constants=constants)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance, err_msg=name)


def test_window_reaches_five_pixels() -> None:
    reference, image = smooth(0), smooth(0)
    image[12, 20] += 0.1
    changed = ~np.isclose(ssim(reference, image), 1, rtol=0, atol=1e-6)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 17, 15, 25)


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("image", [noise(0), smooth(0), np.full((11, 11, 3), -1, np.float32)])
def test_identical_images_give_one(image: np.ndarray, window: str, constants: str) -> None:
    actual = ssim(image, image, window=window, constants=constants)
    np.testing.assert_allclose(actual, 1, rtol=0, atol=1e-6)


def test_symmetric_in_its_images() -> None:
    one_way, other_way = ssim(noise(0), smooth(1)), ssim(smooth(1), noise(0))
    np.testing.assert_allclose(one_way, other_way, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("window", WINDOWS)
def test_bounded_by_one_and_minus_one(window: str) -> None:
    black_and_white = np.sign(noise(0))
    most_different = ssim(black_and_white, -black_and_white, window=window)
    assert -1 <= most_different.min() < -0.9
    for image in (smooth(0), noise(1), np.sign(noise(2))):
        values = ssim(black_and_white, image, window=window)
        assert np.abs(values).max() <= 1


def test_computes_in_float32_whatever_the_image() -> None:
    image = jnp.asarray(noise(1), jnp.bfloat16)
    actual = ssim_with(jnp.asarray(noise(0)))(image)
    assert actual.dtype == jnp.float32
    np.testing.assert_array_equal(actual, ssim(noise(0), np.asarray(image.astype(jnp.float32))))


def test_one_function_serves_many_images() -> None:
    similarity = ssim_with(jnp.asarray(noise(0)))
    images = jnp.stack([smooth(1), noise(1), noise(0)])
    expected = [ssim(noise(0), np.asarray(image)) for image in images]
    np.testing.assert_allclose(jax.vmap(similarity)(images), expected, rtol=0, atol=1e-6)
