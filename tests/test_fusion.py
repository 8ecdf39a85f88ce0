"""The combined score: every map by its own pooling, weighted by the synthetic defects it finds."""

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from i3ad_jax.calibration.fusion import Fusion, Part, Unit, area, best_pooling, planted_auroc
from i3ad_jax.scoring.maps import POOLINGS, Pooling, image_scores

RNG = np.random.default_rng(0)
NAMES = ("l2", "ssim", "segmentation")


def raised(where: Any, by: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal maps of noise, and the same raised by so much at a place."""
    normal = RNG.normal(size=(40, 64, 64)).astype(np.float32)
    # What differs between images is their level: a single pixel stands out from its own map alone.
    normal += RNG.normal(0, 0.05, (40, 1, 1)).astype(np.float32)
    planted = normal.copy()
    planted[where] += by
    return normal, planted


def fused(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[Fusion, dict[str, Any], dict[str, Any]]:
    """The fusion of maps in the order of `NAMES`, and these maps, normal and defective ones."""
    normal, planted = (
        dict[str, Any](zip(NAMES, maps, strict=False)) for maps in zip(*pairs, strict=True)
    )
    return Fusion.choose(normal, planted_auroc(normal, planted), list(normal)), normal, planted


@pytest.mark.parametrize(
    ("where", "by", "best"),
    [(np.s_[:, 20:22, 30:32], 3.0, "peak"), (np.s_[:], 0.1, "mean")],
    ids=["a spot", "the whole map"],
)
def test_the_pooling_that_separates_planted_defects_is_chosen(
    where: Any, by: float, best: Pooling
) -> None:
    fusion, normal, planted = fused(raised(where, by))
    areas = planted_auroc(normal, planted)["l2"]
    assert fusion.parts["l2"].pooling == best_pooling(areas) == best
    assert set(areas) == set(POOLINGS)
    for pooling in POOLINGS:
        low, high = (image_scores(maps["l2"], pooling) for maps in (normal, planted))
        expected = mannwhitneyu(high, low).statistic / low.size / high.size
        assert areas[pooling] == area(low, high) == pytest.approx(expected)


def test_maps_are_weighed_by_the_planted_defects_they_find() -> None:
    weak, strong = raised(np.s_[:, :8, :8], 0.8), raised(np.s_[:, :8, :8], 3.0)
    worse = strong[1], strong[0]  # planted defects lower it
    fusion, normal, planted = fused(weak, strong, worse)
    found, weights = planted_auroc(normal, planted), [fusion.parts[name].weight for name in NAMES]
    assert sum(weights) == pytest.approx(1)
    best = [max(found[name].values()) for name in NAMES]
    expected = np.array([max(2 * each - 1, 0) for each in best]) ** 2
    np.testing.assert_allclose(weights, expected / expected.sum())
    assert 0 < weights[0] < weights[1]


def test_maps_that_find_nothing_weigh_the_same() -> None:
    normal = RNG.normal(size=(5, 8, 8)).astype(np.float32)
    fusion, *_ = fused((normal, normal), (normal, normal - 1))
    assert [part.weight for part in fusion.parts.values()] == [0.5, 0.5]


def test_scores_and_maps_are_weighted_sums_in_deviations_of_normal_images() -> None:
    fusion, normal, planted = fused(raised(np.s_[:, 3, 3], 6.0), raised(np.s_[:], 0.2))
    score, combined = np.zeros(40), np.zeros((40, 64, 64))
    for name, part in fusion.parts.items():
        own = [image_scores(maps[name], part.pooling) for maps in (normal, planted)]
        score += part.weight * (own[1] - own[0].mean()) / own[0].std()
        tops = image_scores(normal[name], "top_1")
        combined += part.weight * (planted[name] - tops.mean()) / tops.std()
    np.testing.assert_allclose(fusion.scores(planted), score, rtol=1e-6)
    np.testing.assert_allclose(fusion.map(planted), combined, rtol=1e-4, atol=1e-5)
    assert fusion.scores(normal).mean() == pytest.approx(0, abs=1e-9)


def test_a_map_without_any_difference_has_a_part() -> None:
    even = np.full((4, 8, 8), 0.25, np.float32)
    fusion, normal, _ = fused((even, even))
    np.testing.assert_array_equal(fusion.scores(normal), 0)
    np.testing.assert_array_equal(fusion.map(normal), 0)


def test_json_values_are_the_same_fusion() -> None:
    fusion = Fusion({"l2": Part("top_1", 1.0, Unit(0.5, 0.25), Unit(-1.0, 2.0))})
    assert Fusion.from_json(json.loads(json.dumps(fusion.to_json()))) == fusion


@pytest.mark.parametrize(
    "change",
    [
        {"weight": -1.0},
        {"weight": float("nan")},
        {"score": [0.0, 0.0]},
        {"map": [0.0, -1.0]},
        {"map": [float("inf"), 1.0]},
        {"score": [1.0]},
        {"score": ["x", 1.0]},
    ],
    ids=str,
)
def test_values_out_of_range_are_refused(change: dict[str, Any]) -> None:
    values = Fusion({"l2": Part("mean", 1.0, Unit(0.0, 1.0), Unit(0.0, 1.0))}).to_json()
    values["l2"].update(change)
    with pytest.raises((ValueError, TypeError)):
        Fusion.from_json(values)
