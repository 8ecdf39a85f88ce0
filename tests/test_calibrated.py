"""Calibrated maps: each held-out image as if it were new."""

from typing import Any, Literal

import numpy as np
import pytest

from i3ad_jax.calibration.calibrated import add_calibrated
from i3ad_jax.calibration.standardisation import ScoringSettings, statistics
from i3ad_jax.scoring.maps import CALIBRATED

RNG = np.random.default_rng(0)
NORMAL = {
    name: RNG.gamma(2, size=(9, 6, 8)).astype(np.float32) for name in ("l2", "ssim", "ms_ssim")
}
CHOSEN = np.array([4, 0, 4])
BY = pytest.mark.parametrize("by", ["none", "global", "pixel"])


def calibrated(by: Any, planted: dict[str, np.ndarray]) -> tuple[Any, Any, Any]:
    """Return normal and defective maps with calibrated ones, and the statistics."""
    normal, planted = dict(NORMAL), dict(planted)
    found = add_calibrated(normal, planted, CHOSEN, ScoringSettings(standardise=by))
    return normal, planted, found


@BY
def test_copies_without_a_defect_have_the_maps_of_their_images(
    by: Literal["none", "global", "pixel"],
) -> None:
    planted = {name: maps[CHOSEN] for name, maps in NORMAL.items()}
    normal, copies, found = calibrated(by, planted)
    assert {*found} == {score.name for score in CALIBRATED if score.source in NORMAL}
    assert {*normal} == {*copies} == {*NORMAL, *found}
    for name in normal:
        np.testing.assert_allclose(copies[name], normal[name][CHOSEN], rtol=0, atol=1e-5)


@BY
def test_an_image_s_own_map_is_not_in_its_statistics(
    by: Literal["none", "global", "pixel"],
) -> None:
    """A copy of image 4 that is raised is measured by the others' statistics alone."""
    by_5 = np.array([5, 0, 0], np.float32)[:, None, None]
    raised = {name: maps[CHOSEN] + by_5 for name, maps in NORMAL.items()}
    _, copies, found = calibrated(by, raised)
    for score in (score for score in CALIBRATED if score.name in found):
        assert score.source is not None
        own = statistics(np.delete(NORMAL[score.source], 4, axis=0), by)
        change = copies[score.name][0] - copies[score.name][2]
        scale = change * own.sd
        np.testing.assert_allclose(scale, scale.mean(), rtol=1e-4)  # one unit for all pixels
        assert change.min() > 0
