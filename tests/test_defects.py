"""Synthetic defects: their masks are right, they are visible, and alike at every resolution."""

import numpy as np
import pytest

from i3ad_jax.data.defects import DEFECTS, pixel_centres

SEEDS = range(25)


def checks(image_size: int) -> np.ndarray:
    """Squares of 4 units in two colours: a surface on which every kind of defect can be seen."""
    x, y = pixel_centres(image_size)
    odd = (np.floor(x / 4) + np.floor(y / 4)) % 2
    return 0.3 + odd[..., None] * np.array([0.40, 0.35, 0.30])


@pytest.mark.parametrize("name", DEFECTS)
@pytest.mark.parametrize(
    "image_size",
    [32, pytest.param(64, marks=pytest.mark.slow), pytest.param(100, marks=pytest.mark.slow)],
)
def test_the_mask_covers_a_small_part_of_the_image(name, image_size):
    for seed in SEEDS:
        _, mask = DEFECTS[name](np.random.default_rng(seed), checks(image_size))
        assert mask.dtype == bool
        assert mask.shape == (image_size, image_size)
        assert 0.005 < mask.mean() < 0.15


@pytest.mark.parametrize("name", DEFECTS)
def test_the_mask_is_where_the_image_changed(name):
    image = checks(64)
    for seed in SEEDS:
        damaged, mask = DEFECTS[name](np.random.default_rng(seed), image)
        change = np.abs(damaged - image).mean(axis=2)
        assert change[~mask].max() < 0.08
        assert change[~mask].mean() < 0.001
        assert change[mask].mean() > 0.02


@pytest.mark.parametrize("name", DEFECTS)
def test_the_damaged_image_stays_in_range_and_the_input_stays_whole(name):
    image = checks(64)
    before = image.copy()
    for seed in SEEDS:
        damaged, _ = DEFECTS[name](np.random.default_rng(seed), image)
        assert damaged.min() >= 0.0
        assert damaged.max() <= 1.0
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", DEFECTS)
def test_twice_the_side_shows_the_same_defect(name):
    for seed in SEEDS:
        _, small = DEFECTS[name](np.random.default_rng(seed), checks(64))
        _, large = DEFECTS[name](np.random.default_rng(seed), checks(128))
        both = small & large.reshape(64, 2, 64, 2).any(axis=(1, 3))
        assert both.sum() > 0.9 * small.sum()


@pytest.mark.parametrize("name", DEFECTS)
def test_position_is_random(name):
    masks = [DEFECTS[name](np.random.default_rng(seed), checks(64))[1] for seed in range(200)]
    assert np.mean(masks, axis=0).max() < 0.35
    assert np.any(masks, axis=0).mean() > 0.5


@pytest.mark.parametrize("name", ["blur", "missing_thread"])
def test_texture_is_flattened(name):
    image = checks(64)
    for seed in SEEDS:
        damaged, mask = DEFECTS[name](np.random.default_rng(seed), image)
        assert damaged[mask].std() < image[mask].std()


def test_colour_changes_the_hue_and_not_the_brightness():
    image = np.full((64, 64, 3), 0.5)
    damaged, mask = DEFECTS["colour"](np.random.default_rng(0), image)
    np.testing.assert_allclose(damaged.mean(axis=2), 0.5, atol=1e-12)
    assert np.ptp(damaged, axis=2)[mask].mean() > 0.05
