"""Ranking metrics of image scores and anomaly maps: AUROC and AUPRO, exact, from raw scores.

Scores may have any finite range: nothing is clamped, rescaled or binned, and ties are one step of the
curve. Only the order of scores matters, so float32 maps are ranked as they are; all sums are
float64. A metric that the data cannot give, for want of one of the two classes, is None.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from scipy import ndimage
from sklearn.metrics import roc_auc_score, roc_curve

from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.data.stored import Rows


def image_auroc(labels: Integer[np.ndarray, " n"], scores: Num[np.ndarray, " n"]) -> float | None:
    """Probability that an anomalous image outranks a normal one, a tie counting half; in [0, 1].

    Args:
        labels: 0 for a normal image, 1 for an anomalous one.
        scores: higher where an image looks more anomalous.

    Returns:
        The area under the ROC curve, or None if `labels` holds only one class.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    _check_finite(scores)
    if np.unique(labels).size < 2:
        return None
    return float(roc_auc_score(labels, scores))


def roc_points(
    labels: Integer[np.ndarray, " n"], scores: Num[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]] | None:
    """False and true positive rates of the ROC curve's corners, from (0, 0) to (1, 1).

    None if `labels` holds only one class.
    """
    if np.unique(labels).size < 2:
        return None
    false_positive_rate, true_positive_rate, _ = roc_curve(labels, scores)
    return false_positive_rate, true_positive_rate


def pixel_auroc(masks: Bool[np.ndarray, "n h w"], maps: Num[np.ndarray, "n h w"]) -> float | None:
    """Area under the ROC curve of all pixels of all images together, in [0, 1].

    None if there is no defective or no defect-free pixel.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    return _area(masks, maps, np.ones(masks.sum()), max_fpr=1.0)


def pixel_aupro(
    masks: Bool[np.ndarray, "n h w"], maps: Num[np.ndarray, "n h w"], *, max_fpr: float = 0.3
) -> float | None:
    """Normalised area under the per-region-overlap (PRO) curve up to `max_fpr`, in [0, 1].

    Bergmann et al. 2021 (The MVTec anomaly detection dataset, IJCV 129), the threshold-independent
    PRO metric. For every threshold t, a pixel is found if its score is at least t. Then

    - PRO(t) is the fraction found of each connected component of defective pixels (8 neighbours,
      within one image), averaged over all components: a small defect counts as much as a large one;
    - FPR(t) is the fraction found of all defect-free pixels of all images, normal ones included.

    The curve PRO over FPR starts at (0, 0), is linear between neighbouring thresholds and is cut by
    linear interpolation at exactly FPR = `max_fpr`; its area there is divided by `max_fpr`. A
    constant map scores `max_fpr / 2`, a perfect one 1.

    Returns:
        The area, or None if there is no defective or no defect-free pixel.

    Raises:
        ValueError: a score is NaN or infinite, or `max_fpr` is not in (0, 1].
    """
    if not 0.0 < max_fpr <= 1.0:
        raise ValueError(f"max_fpr must be in (0, 1], got {max_fpr}")
    return _area(masks, maps, _region_weights(masks), max_fpr=max_fpr)


def summarise(test: Split, maps: Mapping[str, Rows], scores: Mapping[str, np.ndarray]) -> dict[str, dict]:
    """All metrics of each kind of score, as results.json holds them.

    Pixel metrics use the annotated images alone. A defect class is measured on its own images
    together with all normal ones.

    Args:
        test: the images' labels, masks and defect classes.
        maps: per kind of score (such as "ssim") the anomaly maps, `n h w`.
        scores: for the same kinds the image scores, `n`.

    Returns:
        Per kind `{"image_auroc", "pixel_auroc", "pixel_aupro", "per_defect"}`, where "per_defect" has
        the first three for each defect class. A metric without data is None.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    defects = np.array(test.defects)
    names = sorted({*test.defects} - {NORMAL})

    def measure(kind: str, chosen: np.ndarray) -> dict[str, float | None]:
        pixels = chosen & test.annotated
        masks, kind_maps = test.masks[pixels], maps[kind][pixels]
        return {
            "image_auroc": image_auroc(test.labels[chosen], scores[kind][chosen]),
            "pixel_auroc": pixel_auroc(masks, kind_maps),
            "pixel_aupro": pixel_aupro(masks, kind_maps),
        }

    return {
        kind: {
            **measure(kind, np.ones(len(test), bool)),
            "per_defect": {name: measure(kind, (defects == name) | (defects == NORMAL)) for name in names},
        }
        for kind in maps
    }


def _check_finite(scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: there are NaN or infinite ones")


def _region_weights(masks: Bool[np.ndarray, "n h w"]) -> Float[np.ndarray, " k"]:
    """1 / (size of its connected component) for each defective pixel, in the order of `maps[masks]`.

    With these weights the weighted fraction of defective pixels found is the per-region overlap.
    """
    neighbours = np.zeros((3, 3, 3), int)
    neighbours[1] = 1  # a region never reaches into the image before or after
    regions = np.empty(masks.shape, np.int32)
    ndimage.label(masks, structure=neighbours, output=regions)
    return 1.0 / np.bincount(regions[masks])[regions[masks]]


def _area(
    masks: Bool[np.ndarray, "n h w"],
    maps: Num[np.ndarray, "n h w"],
    weights: Float[np.ndarray, " k"],
    *,
    max_fpr: float,
) -> float | None:
    """Mean over FPR in [0, `max_fpr`] of the fraction found of the defective pixels' `weights`.

    The curve can bend only at scores of defective pixels, which are few. The many defect-free ones
    are sorted once as plain numbers, without indices or weights: fast, and a few bytes a pixel.
    """
    _check_finite(maps)
    if masks.all() or not masks.any():
        return None
    thresholds, which = np.unique(maps[masks], return_inverse=True)
    found = np.cumsum(np.bincount(which, weights)[::-1])
    found /= found[-1]
    normal = np.sort(maps[~masks])
    above = normal.size - np.searchsorted(normal, thresholds[::-1], side="right")
    at_least = normal.size - np.searchsorted(normal, thresholds[::-1], side="left")
    # Down to each threshold the curve runs level at the height of the one before; there it rises by
    # the defective pixels of that score, over the width of the defect-free ones that tie with them.
    fpr = np.append(np.stack([above, at_least], axis=1), normal.size) / normal.size
    height = np.append(np.stack([np.append(0.0, found[:-1]), found], axis=1), 1.0)
    inside = fpr <= max_fpr
    x = np.append(fpr[inside], max_fpr)
    y = np.append(height[inside], np.interp(max_fpr, fpr, height))
    return float(np.trapezoid(y, x)) / max_fpr
