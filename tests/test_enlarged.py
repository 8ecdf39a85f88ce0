"""Large views of images: what is shown, where, and within which budget."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.report.enlarged import Enlarged, enlarge, large_views, regions_of
from i3ad_jax.report.large_pictures import LargePicture
from i3ad_jax.scoring.regions import find_regions
from tests.support.report_parts import enlarged, make_case


def decoded(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


def test_a_view_has_every_pixel_of_the_image_and_256_levels_of_the_map() -> None:
    case = make_case(anomaly_map=np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32))
    view = enlarged(case)
    np.testing.assert_array_equal(decoded(view.picture), case.image)
    levels = decoded(view.heat)
    levels = levels[..., 0] if levels.ndim == 3 else levels
    assert view.peak == case.anomaly_map.max()
    np.testing.assert_allclose(
        levels / 255 * view.peak, np.maximum(case.anomaly_map, 0), atol=view.peak / 510 + 1e-6
    )


def test_views_are_those_kept_and_as_many_others_as_fit_the_budget() -> None:
    cases = [make_case(index) for index in range(6)]
    maps = np.stack([case.anomaly_map for case in cases])

    def read(index: int) -> LargePicture:
        return LargePicture(cases[index].image, None, (0.0, 0.0, 16.0, 16.0), (16, 16), True)

    def views(budget: int) -> dict[int, Enlarged]:
        return large_views(
            read, maps, kept=[5, 1], others=[1, 0, 2, 3, 4], threshold=None, budget=budget
        )

    everything = views(10**9)
    assert list(everything) == [5, 1, 0, 2, 3, 4]
    assert everything[3] == enlarge(read(3), maps[3], threshold=None)
    needed = sum(everything[index].characters for index in (0, 2))
    assert list(views(needed)) == [5, 1, 0, 2]
    assert list(views(needed - 1)) == [5, 1, 0]
    assert list(views(0)) == [5, 1]


def test_characters_are_those_of_the_pictures_and_outlines() -> None:
    view = enlarged(make_case())
    assert view.truth is not None
    total = len(view.picture + view.heat + view.truth + view.regions)
    assert view.characters == total
    assert replace(view, truth=None).characters == total - len(view.truth)


def test_regions_are_detected_or_else_the_hottest() -> None:
    heat = np.zeros((8, 9), np.float32)
    heat[1:3, 1:4], heat[5, 5:8], heat[5, 6], heat[7, 0] = 0.8, 0.7, 1.0, 0.9
    for threshold in (0.6, 0.95):
        mask, detected = regions_of(heat, threshold)
        assert detected
        np.testing.assert_array_equal(mask, heat > threshold)
    for offset in (0.0, -5.0):
        for threshold in (None, 1.5):
            mask, detected = regions_of(heat + np.float32(offset), threshold)
            assert not detected
            assert np.argwhere(mask).tolist() == [[5, 5], [5, 6], [5, 7]]


@pytest.mark.parametrize("seed", range(3))
def test_the_hottest_region_is_the_region_that_predict_names_first(seed: int) -> None:
    heat = np.random.default_rng(seed).random((12, 15)).astype(np.float32)
    heat[4, 4], heat[5, 5] = 2.0, 1.5  # neighbours across a corner
    mask, _ = regions_of(heat, None)
    below = np.nextafter((heat.min() + heat.max()) / 2, np.float32(-np.inf))
    hottest = find_regions(heat, float(below))[0]
    assert mask[4, 4]
    assert mask[5, 5]
    assert mask.sum() == hottest.area
    rows, columns = np.nonzero(mask)
    assert (columns.min(), rows.min()) == (hottest.left, hottest.top)
