"""Statistics of normal maps against plain NumPy, and the choice between pixel and global ones."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from i3ad_jax.calibration.standardisation import Standardise, choose, leave_one_out, statistics

RNG = np.random.default_rng(0)
MAPS = RNG.gamma(2.0, size=(12, 5, 7)).astype(np.float32)


def test_global_statistics_are_of_all_pixels_together() -> None:
    found = statistics(MAPS, "global")
    assert found.mean.shape == found.sd.shape == (5, 7)
    np.testing.assert_allclose(found.mean, MAPS.mean(), rtol=1e-6)
    np.testing.assert_allclose(found.sd, MAPS.std(), rtol=1e-6)


def test_pixel_statistics_weight_a_sample_of_neighbours_and_one_image() -> None:
    found = statistics(MAPS, "pixel")
    for place in np.ndindex(5, 7):
        share = np.zeros((5, 7))
        # the weight of another pixel: what an impulse there leaves here
        for other in np.ndindex(5, 7):
            impulse = np.zeros((5, 7))
            impulse[other] = 1
            share[other] = gaussian_filter(impulse, 1.0)[place]
        weights = 12 / 13 * np.tile(share / 12, (12, 1, 1)) + 1 / 13 / MAPS.size
        mean = np.average(MAPS, weights=weights)
        variance = np.average((MAPS - mean) ** 2, weights=weights)
        assert found.mean[place] == pytest.approx(mean, rel=1e-5)
        assert found.sd[place] == pytest.approx(np.sqrt(variance), rel=1e-5)


def test_where_images_agree_the_deviation_has_a_floor() -> None:
    maps = RNG.gamma(2.0, size=(12, 32, 32)).astype(np.float32)
    maps[:, 10:25, 10:25] = maps.mean()
    floor = maps.std() / np.sqrt(len(maps) + 1)
    assert statistics(maps, "pixel").sd[17, 17] == pytest.approx(floor, rel=0.01)
    assert statistics(maps, "pixel").sd.min() >= 0.99 * floor
    same = statistics(np.full((3, 4, 4), 0.5, np.float32), "pixel")
    assert np.isfinite(same.standardise(np.full((4, 4), 0.7, np.float32))).all()


def test_standardised_normal_maps_have_mean_0_and_deviation_1() -> None:
    scale = np.repeat([1.0, 3.0], 16)
    maps = RNG.normal(scale, scale, (2000, 32, 32)).astype(np.float32)
    by_pixel = statistics(maps, "pixel").standardise(maps)
    assert by_pixel.dtype == np.float32
    inside = np.r_[0:11, 21:32]  # where all neighbours are alike
    np.testing.assert_allclose(by_pixel.mean(axis=(0, 1))[inside], 0, atol=0.05)
    np.testing.assert_allclose(by_pixel.std(axis=(0, 1))[inside], 1, atol=0.05)
    all_together = statistics(maps, "global").standardise(maps)
    assert all_together.mean() == pytest.approx(0, abs=1e-5)
    assert all_together.std() == pytest.approx(1, abs=1e-5)


def test_none_changes_nothing() -> None:
    np.testing.assert_array_equal(statistics(MAPS, "none").standardise(MAPS), MAPS)


@pytest.mark.parametrize("kind", ["pixel", "global", "none"])
def test_leaving_one_out_is_to_have_never_seen_it(kind: Standardise) -> None:
    found = list(leave_one_out(MAPS, kind))
    assert len(found) == len(MAPS)
    for index, others in enumerate(found):
        expected = statistics(np.delete(MAPS, index, axis=0), kind)
        np.testing.assert_allclose(others.mean, expected.mean, rtol=1e-5)
        np.testing.assert_allclose(others.sd, expected.sd, rtol=1e-5)


def test_a_single_image_gets_the_global_statistics_of_itself() -> None:
    (own,) = leave_one_out(MAPS[:1], "global")
    np.testing.assert_allclose(own.mean, MAPS[0].mean(), rtol=1e-6)
    assert np.isfinite(statistics(MAPS[:1], "pixel").standardise(MAPS)).all()


def test_pixels_that_differ_get_their_own_statistics() -> None:
    place = np.repeat(np.linspace(1, 4, 8), 8).reshape(8, 8)
    chosen, fit = choose(RNG.normal(place, 0.1 * place, (20, 8, 8)).astype(np.float32))
    assert chosen == "pixel"
    assert fit["pixel"] > fit["global"]


def test_pixels_that_are_alike_share_statistics() -> None:
    maps = RNG.normal(1, 0.3, (20, 8, 8)).astype(np.float32)
    chosen, fit = choose(maps)
    assert chosen == "global"
    # Nearly what the true distribution gives.
    assert fit["global"] == pytest.approx(norm.logpdf(maps, 1, 0.3).mean(), abs=0.01)
