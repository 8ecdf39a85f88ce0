"""Regions of an anomaly map, against scikit-image's."""

from dataclasses import astuple

import numpy as np
import pytest
from skimage.measure import label, regionprops

from i3ad_jax.scoring.regions import Region, find_regions


@pytest.mark.parametrize("seed", range(6))
def test_regions_are_scikit_image_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    anomaly_map = rng.normal(size=(23, 31)).astype(np.float32)
    found = find_regions(anomaly_map, 0.8)
    expected = regionprops(label(anomaly_map > 0.8, connectivity=2), intensity_image=anomaly_map)
    expected.sort(key=lambda region: -region.intensity_max)
    assert len(found) == len(expected) > 5
    for own, other in zip(found, expected, strict=True):
        top, left, bottom, right = other.bbox
        assert astuple(own)[:5] == (left, top, right - left, bottom - top, other.area)
        assert own.peak == other.intensity_max
        assert (own.y, own.x) == pytest.approx(other.centroid)


def test_nothing_is_above_the_largest_value() -> None:
    anomaly_map = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert find_regions(anomaly_map, 11) == []
    assert find_regions(anomaly_map, 10) == [Region(3, 2, 1, 1, 1, 11.0, 3.0, 2.0)]
    (whole,) = find_regions(anomaly_map, -1)
    assert whole == Region(0, 0, 4, 3, 12, 11.0, 1.5, 1.0)
