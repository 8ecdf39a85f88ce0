"""Ranking metrics of image scores and anomaly maps: AUROC and AUPRO, exact, from raw scores.

Scores may have any finite range: nothing is clamped, rescaled or binned, and ties are one step of
the curve. Only the order of scores matters, so float32 maps are ranked as they are; all sums are
float64. A metric that the data cannot give, for want of one of the two classes, is None. Masks and
maps may be in files: pixel metrics read them block by block.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.data.stored import Rows
from i3ad_jax.scoring.pixel_metrics import check_finite, pixel_metrics

FALSE_ALARM_PERCENT = (1, 5, 10)


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


def image_metrics(
    labels: Integer[np.ndarray, " n"], scores: Num[np.ndarray, " n"], *, threshold: float
) -> dict[str, float | None]:
    """Metrics of image scores by name.

    Args:
        labels: 0 for a normal image, 1 for an anomalous one.
        scores: higher where an image looks more anomalous.
        threshold: above it an image counts as anomalous, for `f1`.

    Returns:
        `image_auroc`. `image_ap`: average precision. `f1`: of the anomalous class at the threshold.
        `recall_at_1`, `_5` and `_10`: the largest fraction of the anomalous images that is found
        with a false-alarm rate of at most 1, 5 and 10 % of these normal images. All in [0, 1]; None
        if `labels` holds one class only.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    auroc = image_auroc(labels, scores)
    names = [f"recall_at_{percent}" for percent in FALSE_ALARM_PERCENT]
    if auroc is None:
        return dict.fromkeys(("image_auroc", "image_ap", "f1", *names))
    false_alarm_rate, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    return {
        "image_auroc": auroc,
        "image_ap": float(average_precision_score(labels, scores)),
        "f1": float(f1_score(labels, scores > threshold)),
        **{
            name: float(recall[false_alarm_rate <= percent / 100].max())
            for name, percent in zip(names, FALSE_ALARM_PERCENT, strict=True)
        },
    }


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
    test: Split,
    maps: Mapping[str, Num[Rows, "n h w"]],
    scores: Mapping[str, np.ndarray],
    thresholds: Mapping[str, float],
) -> dict[str, dict[str, Any]]:
    """All metrics of each kind of score, as results.json holds them.

    Pixel metrics use the annotated images alone. A defect class is measured on its own images
    together with all normal ones.

    Args:
        test: the images' labels, masks and defect classes.
        maps: per kind of score (such as "ssim") the anomaly maps, `n h w`.
        scores: for the same kinds the image scores, `n`.
        thresholds: for the same kinds, for `f1`.

    Returns:
        Per kind the metrics of `image_metrics`, "pixel_auroc", "pixel_aupro" and "per_defect",
        which has the others for each defect class. A metric without data is None.

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
                **image_metrics(
                    test.labels[images], scores[kind][images], threshold=thresholds[kind]
                ),
                "pixel_auroc": own.auroc,
                "pixel_aupro": own.aupro,
            }
            for images, own in zip(chosen, pixels, strict=True)
        )
        return {**whole, "per_defect": dict(zip(names, per_defect, strict=True))}

    return {kind: measure(kind) for kind in maps}
