"""Ranking metrics of image scores and anomaly maps: AUROC and AUPRO, exact, from raw scores.

Scores may have any finite range: nothing is clamped, rescaled or binned, and ties are one step of the
curve. Only the order of scores matters, so float32 maps are ranked as they are; all sums are
float64. A metric that the data cannot give, for want of one of the two classes, is None. Masks and maps
may lie in files: pixel metrics read them block by block.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from sklearn.metrics import roc_auc_score, roc_curve

from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.data.stored import Rows
from i3ad_jax.scoring.pixel_metrics import check_finite, pixel_metrics


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
    check_finite(scores)
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


def pixel_auroc(masks: Bool[Rows, "n h w"], maps: Num[Rows, "n h w"]) -> float | None:
    """Area under the ROC curve of all pixels of all images together, in [0, 1].

    None if there is no defective or no defect-free pixel.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    return pixel_metrics(masks, maps, np.ones((1, len(masks)), bool))[0].auroc


def pixel_aupro(
    masks: Bool[Rows, "n h w"], maps: Num[Rows, "n h w"], *, max_fpr: float = 0.3
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
    return pixel_metrics(masks, maps, np.ones((1, len(masks)), bool), max_fpr=max_fpr)[0].aupro


def summarise(
    test: Split, maps: Mapping[str, Num[Rows, "n h w"]], scores: Mapping[str, np.ndarray]
) -> dict[str, dict]:
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
    normal = defects == NORMAL
    chosen = np.array([np.ones(len(test), bool), *(normal | (defects == name) for name in names)])

    def measure(kind: str) -> dict[str, Any]:
        pixels = pixel_metrics(test.masks, maps[kind], chosen & test.annotated)
        whole, *per_defect = (
            {
                "image_auroc": image_auroc(test.labels[images], scores[kind][images]),
                "pixel_auroc": own.auroc,
                "pixel_aupro": own.aupro,
            }
            for images, own in zip(chosen, pixels, strict=True)
        )
        return {**whole, "per_defect": dict(zip(names, per_defect, strict=True))}

    return {kind: measure(kind) for kind in maps}
