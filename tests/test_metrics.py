"""Metrics against brute-force oracles, scikit-learn and properties of their definitions."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from i3ad_jax.data.dataset import Split
from i3ad_jax.scoring.metrics import (
    image_auroc,
    image_metrics,
    pixel_aupro,
    pixel_auroc,
    roc_points,
    summarise,
)
from tests.support.metric_cases import aupro_by_thresholds, close, random_case


def auroc_by_pairs(labels, scores):
    anomalous, normal = scores[labels == 1], scores[labels == 0]
    wins = (anomalous[:, None] > normal) + 0.5 * (anomalous[:, None] == normal)
    return wins.mean()


@pytest.mark.parametrize("levels", [None, 2, 1])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_aupro_equals_a_loop_over_all_thresholds(seed, levels, max_fpr):
    masks, maps = random_case(seed, levels=levels)
    expected = aupro_by_thresholds(masks, maps, max_fpr)
    assert pixel_aupro(masks, maps, max_fpr=max_fpr) == close(expected)


@pytest.mark.parametrize("levels", [None, 2, 1])
def test_pixel_auroc_equals_sklearn_and_pair_counting(levels):
    masks, maps = random_case(0, levels=levels)
    auroc = pixel_auroc(masks, maps)
    assert auroc == close(roc_auc_score(masks.ravel(), maps.ravel()))
    assert auroc == close(auroc_by_pairs(masks.ravel(), maps.ravel()))


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_image_auroc_equals_pair_counting_whatever_the_range_of_scores(scale):
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    scores = np.round(rng.normal(size=40) + labels, 1) * scale
    assert image_auroc(labels, scores) == close(auroc_by_pairs(labels, scores))


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_aupro])
def test_a_perfect_map_scores_one_and_its_negative_zero(metric):
    masks, _ = random_case(0)
    maps = masks.astype(np.float32)
    assert metric(masks, maps) == close(1.0)
    assert metric(masks, -maps) == close(0.0)


def test_a_constant_map_scores_like_the_diagonal():
    masks, maps = random_case(0)
    constant = np.full_like(maps, 7.0)
    assert pixel_auroc(masks, constant) == close(0.5)
    assert pixel_aupro(masks, constant) == close(0.15)


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_aupro])
@pytest.mark.parametrize("transform", [np.exp, lambda x: 1e6 * x - 5.0, lambda x: 2.0**-40 * x])
def test_only_the_order_of_scores_matters(metric, transform):
    masks, maps = random_case(2, levels=4)
    assert metric(masks, transform(maps.astype(np.float64))) == metric(masks, maps)


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_aupro])
def test_the_order_of_images_does_not_matter(metric):
    masks, maps = random_case(3, shape=(6, 9, 11))
    order = np.random.default_rng(0).permutation(6)
    assert metric(masks[order], maps[order]) == close(metric(masks, maps))


@pytest.mark.parametrize("seed", range(20))
def test_aupro_stays_between_zero_and_one(seed):
    masks, maps = random_case(seed, shape=(2, 9, 11))
    aupro = pixel_aupro(masks, maps, max_fpr=0.01)
    assert aupro is not None
    assert 0.0 <= aupro <= 1.0


def test_every_region_counts_the_same_whatever_its_size():
    masks = np.zeros((1, 12, 12), bool)
    masks[0, :6, :6] = True
    masks[0, 10, 10] = True
    only_large, only_small = np.zeros((2, 1, 12, 12))
    only_large[0, :6, :6] = 1.0
    only_small[0, 10, 10] = 1.0
    # Half the regions are found at no cost; the other half only with everything else.
    expected = 0.5 + 0.5 * 0.15
    assert pixel_aupro(masks, only_large) == close(expected)
    assert pixel_aupro(masks, only_small) == close(expected)


def test_diagonal_neighbours_are_one_region_and_images_are_never_joined():
    masks = np.zeros((2, 6, 6), bool)
    masks[0, [1, 2, 3], [1, 2, 3]] = True  # one region of three pixels
    masks[1, 3, 3] = True  # touches the one above only across the two images
    maps = np.zeros(masks.shape)
    maps[1, 3, 3] = 1.0
    assert pixel_aupro(masks, maps) == close(0.5 + 0.5 * 0.15)


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_aupro])
@pytest.mark.parametrize("value", [True, False])
def test_pixel_metrics_of_one_class_are_none(metric, value):
    assert (
        metric(np.full((2, 4, 4), value), np.random.default_rng(0).normal(size=(2, 4, 4))) is None
    )


@pytest.mark.parametrize("label", [0, 1])
def test_image_metrics_of_one_class_are_none(label):
    labels = np.full(3, label)
    assert image_auroc(labels, np.arange(3.0)) is None
    assert {*image_metrics(labels, np.arange(3.0), threshold=1.0).values()} == {None}
    assert roc_points(labels, np.arange(3.0)) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    masks, maps = random_case(0)
    maps[0, 0, 0] = bad
    for metric in (pixel_auroc, pixel_aupro):
        with pytest.raises(ValueError, match="finite"):
            metric(masks, maps)
    with pytest.raises(ValueError, match="finite"):
        image_auroc(np.array([0, 1]), np.array([0.0, bad]))


@pytest.mark.parametrize("max_fpr", [0.0, -0.1, 1.1])
def test_aupro_refuses_an_impossible_limit(max_fpr):
    with pytest.raises(ValueError, match="max_fpr"):
        pixel_aupro(*random_case(0), max_fpr=max_fpr)


def test_roc_points_enclose_the_auroc():
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1], 15)
    scores = np.round(rng.normal(size=30) + labels, 1)
    points = roc_points(labels, scores)
    assert points is not None
    x, y = points
    assert np.trapezoid(y, x) == close(image_auroc(labels, scores))


def make_split(masks, defects, annotated):
    return Split(
        images=np.zeros((*masks.shape, 3), np.uint8),
        paths=tuple(f"{i}.png" for i in range(len(masks))),
        defects=defects,
        masks=masks,
        annotated=np.array(annotated),
        hashes=("0" * 64,) * len(masks),
        original_sizes=(masks.shape[1:],) * len(masks),
    )


def test_summary_measures_each_defect_class_with_all_normal_images():
    masks, maps = random_case(5, shape=(6, 9, 11))
    masks[:2] = False
    split = make_split(masks, ("good", "good", "hole", "cut", "hole", "cut"), [True] * 6)
    scores = maps.mean(axis=(1, 2))
    summary = summarise(split, {"ssim": maps}, {"ssim": scores}, {"ssim": 0.5})["ssim"]
    assert list(summary["per_defect"]) == ["cut", "hole"]
    rows = [0, 1, 2, 4]
    assert summary["per_defect"]["hole"] == {
        **image_metrics(split.labels[rows], scores[rows], threshold=0.5),
        "pixel_auroc": pixel_auroc(masks[rows], maps[rows]),
        "pixel_aupro": pixel_aupro(masks[rows], maps[rows]),
    }
    assert summary["pixel_aupro"] == pixel_aupro(masks, maps)


@pytest.mark.parametrize("seed", range(4))
def test_image_metrics_are_those_of_counting(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, scores = (
        rng.permutation([0] * 30 + [1] * 12),
        rng.integers(0, 9, 42) / 4 + rng.integers(0, 2, 42),
    )
    found = image_metrics(labels, scores, threshold=1.0)
    hits = (scores > 1.0) & (labels == 1)
    precision, recall = hits.sum() / (scores > 1.0).sum(), hits.sum() / 12
    assert found["f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    for percent in (1, 5, 10):
        recalls = [
            np.mean(scores[labels == 1] >= threshold)
            for threshold in [*scores, np.inf]
            if np.mean(scores[labels == 0] >= threshold) <= percent / 100
        ]
        assert found[f"recall_at_{percent}"] == max(recalls)
    steps = sorted({*scores}, reverse=True)
    recalls = [0.0, *(np.mean(scores[labels == 1] >= step) for step in steps)]
    precisions = [np.mean(labels[scores >= step]) for step in steps]
    assert found["image_ap"] == pytest.approx(np.sum(np.diff(recalls) * precisions))


def test_images_without_a_mask_take_no_part_in_pixel_metrics():
    masks, maps = random_case(6, shape=(5, 9, 11))
    masks[[0, 4]] = False
    split = make_split(
        masks, ("good", "hole", "hole", "hole", "cut"), [True, True, True, True, False]
    )
    scores = maps.mean(axis=(1, 2))
    summary = summarise(split, {"l2": maps}, {"l2": scores}, {"l2": 0.5})["l2"]
    assert summary["pixel_auroc"] == pixel_auroc(masks[:4], maps[:4])
    assert summary["image_auroc"] == image_auroc(split.labels, scores)
    assert summary["per_defect"]["cut"]["pixel_auroc"] is None
    assert summary["per_defect"]["cut"]["pixel_aupro"] is None
    assert summary["per_defect"]["cut"]["image_auroc"] is not None
