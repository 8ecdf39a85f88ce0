"""Cases of pixel metrics, and plain definitions to compare them with."""

import itertools

import numpy as np
import pytest
from scipy import ndimage


def close(value):
    """Equal up to the rounding of float64 sums."""
    return pytest.approx(value, rel=0.0, abs=1e-12)


def random_case(seed, *, levels=None, shape=(3, 9, 11)):
    """Masks of a few blocks and maps that are a little higher there; `levels` forces ties."""
    rng = np.random.default_rng(seed)
    masks = np.zeros(shape, bool)
    for image in masks[1:]:
        for _ in range(3):
            y, x = rng.integers(0, 8, 2)
            image[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] = True
    maps = rng.normal(size=shape) + masks
    if levels is not None:
        maps = np.round(maps * levels) / levels
    return masks, maps.astype(np.float32)


def aupro_by_thresholds(masks, maps, max_fpr):
    """The definition: one threshold and region at a time, then one piece of the curve at a time."""
    regions = []
    for index, mask in enumerate(masks):
        labelled, count = ndimage.label(mask, structure=np.ones((3, 3)))  # pyright: ignore
        regions += [(index, labelled == region) for region in range(1, count + 1)]
    curve: list = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        found = maps >= threshold
        overlap = np.mean([found[index][region].mean() for index, region in regions])
        curve.append((found[~masks].mean(), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 < max_fpr and x1 > x0:
            end = min(x1, max_fpr)
            height_at_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + height_at_end) / 2
    return area / max_fpr
