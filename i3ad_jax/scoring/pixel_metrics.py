"""Area under curves of defective over defect-free pixels found, for any number of pixels.

Such an area is the mean, over the defective pixels, of the share of the curve's width at which the
pixel is found. This share follows from the numbers of defect-free pixels above it and tied with it.
These numbers are sums over images: a block of images is read at a time, and its defect-free pixels
are sorted as plain numbers, without indices or weights. So the memory needed does not grow with the
number of images, and neither the size of the blocks nor their order changes a result.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Integer, Num
from scipy import ndimage

from i3ad_jax.data.stored import Rows

PIXELS_AT_ONCE = 2**24  # that are read and sorted together
DEFECTIVE_AT_ONCE = 2**22  # that are ranked in one pass over all images; each takes some 80 bytes


class PixelMetrics(NamedTuple):
    """The areas that `pixel_auroc` and `pixel_aupro` give."""

    auroc: float | None
    aupro: float | None


def pixel_metrics(
    masks: Bool[Rows, "n h w"],
    maps: Num[Rows, "n h w"],
    subsets: Bool[np.ndarray, "s n"],
    *,
    max_fpr: float = 0.3,
) -> list[PixelMetrics]:
    """Return AUROC, and AUPRO up to `max_fpr`, of several subsets of images, read together.

    Args:
        masks: True on defective pixels.
        maps: higher where a pixel looks more anomalous.
        subsets: members of each subset. Images in none are not read.
        max_fpr: as `pixel_aupro` takes it.

    Returns:
        The metrics of each subset; None for one without a defective or without a defect-free pixel.

    Raises:
        ValueError: a score is NaN or infinite, or `max_fpr` is not in (0, 1].
    """
    if not 0.0 < max_fpr <= 1.0:
        raise ValueError(f"max_fpr must be in (0, 1], got {max_fpr}")
    defective = np.zeros(len(masks), np.int64)  # pixels of each image
    for rows in _blocks(np.flatnonzero(subsets.any(axis=0)), masks):
        check_finite(maps[rows])
        defective[rows] = np.count_nonzero(masks[rows], axis=(1, 2))
    normal = subsets.sum(axis=1) * np.prod(masks.shape[1:]) - subsets @ defective
    images = np.flatnonzero(defective)
    chunk = (np.cumsum(defective[images]) - 1) // DEFECTIVE_AT_ONCE
    sums = np.zeros((len(subsets), 2, 2))
    for number in np.unique(chunk):
        own = images[chunk == number]
        members = subsets[:, np.repeat(own, defective[own])]
        sums += _sums(masks, maps, subsets, own, members, np.outer(normal, (1.0, max_fpr)))
    return [
        PixelMetrics(*(found / total if total else None for found, total in own))
        for own in sums.tolist()
    ]


def check_finite(scores: np.ndarray) -> None:
    """Raises ValueError if a score is NaN or infinite."""
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite: there are NaN or infinite ones")


def _blocks(images: Integer[np.ndarray, " m"], masks: Rows) -> Iterator[slice | np.ndarray]:
    """Images, in ascending order, as many at a time as have about `PIXELS_AT_ONCE` pixels."""
    step = max(1, PIXELS_AT_ONCE // max(1, int(np.prod(masks.shape[1:]))))
    for first in range(0, len(images), step):
        rows = images[first : first + step]
        neighbours = rows[-1] - rows[0] + 1 == len(rows)
        yield slice(rows[0], rows[-1] + 1) if neighbours else rows  # a slice of an array is no copy


def _sums(
    masks: Rows,
    maps: Rows,
    subsets: Bool[np.ndarray, "s n"],
    images: Integer[np.ndarray, " m"],
    members: Bool[np.ndarray, "s k"],
    widths: Float[np.ndarray, "s 2"],
) -> Float[np.ndarray, "s 2 2"]:
    """Return what `images`' defective pixels add to the subsets' two metrics.

    That is the share found, and the weight.

    Args:
        masks: as `pixel_metrics` takes them.
        maps: as `pixel_metrics` takes them.
        subsets: as `pixel_metrics` takes them.
        images: images with the defective pixels that are ranked, among the defect-free ones of all
            images.
        members: mask of these pixels for each subset.
        widths: of the curve of each subset and metric, in defect-free pixels; 0 adds nothing.
    """
    scores, weights = _defective_pixels(masks, maps, images)
    order = np.argsort(scores)
    ranks = _ranks(masks, maps, subsets, scores[order], members[:, order])
    sums = np.zeros((len(subsets), 2, 2))
    for subset in np.flatnonzero(widths[:, 0]):
        own, (above, at_least) = members[subset], ranks[subset]
        for metric, weight in enumerate((np.ones(own.sum()), weights[own])):
            # Summed in the order of pixels: that of ties depends on the type of the scores.
            share = np.empty(len(scores))
            share[order[own[order]]] = _found(above, at_least, widths[subset, metric])
            sums[subset, metric] = (weight * share[own]).sum(), weight.sum()
    return sums


def _defective_pixels(
    masks: Rows, maps: Rows, images: Integer[np.ndarray, " m"]
) -> tuple[Num[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Return score and region weight of each defective pixel, in the order of the images."""
    scores, weights = [], []
    for rows in _blocks(images, masks):
        block = masks[rows]
        scores.append(maps[rows][block])
        weights.append(_region_weights(block))
    return np.concatenate(scores), np.concatenate(weights)


def _region_weights(masks: Bool[np.ndarray, "n h w"]) -> Float[np.ndarray, " k"]:
    """Return 1 / (size of its component) for each defective pixel, in the order of `maps[masks]`.

    A component is a connected one. With these weights the weighted fraction of defective pixels
    found is the per-region overlap.
    """
    neighbours = np.zeros((3, 3, 3), int)
    neighbours[1] = 1  # a region never reaches into the image before or after
    regions = np.empty(masks.shape, np.int32)
    ndimage.label(masks, structure=neighbours, output=regions)
    regions = regions[masks]
    return 1.0 / np.bincount(regions)[regions]


def _ranks(
    masks: Rows,
    maps: Rows,
    subsets: Bool[np.ndarray, "s n"],
    scores: Num[np.ndarray, " k"],
    members: Bool[np.ndarray, "s k"],
) -> list[Integer[np.ndarray, "2 _"]]:
    """Return the numbers of defect-free pixels above each score, and at or above it.

    Args:
        masks: as `pixel_metrics` takes them.
        maps: as `pixel_metrics` takes them.
        subsets: as `pixel_metrics` takes them.
        scores: ascending.
        members: mask of the scores for each subset.

    Returns:
        For each subset the numbers among its own images, for its own scores.
    """
    ranks = [np.zeros((2, member.sum()), np.int64) for member in members]
    patterns, pattern_of = np.unique(subsets, axis=1, return_inverse=True)
    for number, pattern in enumerate(patterns.T):  # images that are in the same subsets
        own = np.flatnonzero(pattern)
        for rows in _blocks(np.flatnonzero(pattern_of == number), masks) if own.size else ():
            normal = maps[rows][~masks[rows]]
            normal.sort()
            for which, side in enumerate(("right", "left")):
                count = normal.size - np.searchsorted(normal, scores, side=side)
                for subset in own:
                    ranks[subset][which] += count[members[subset]]
    return ranks


def _found(
    above: Integer[np.ndarray, " k"], at_least: Integer[np.ndarray, " k"], width: float
) -> Float[np.ndarray, " k"]:
    """Return the share of the curve's width at which each defective pixel is found.

    The width is the curve's first `width` defect-free pixels. It is found at all pixels below it,
    and its part rises from 0 to 1 over tied ones.
    """
    ties = at_least - above
    reached = np.clip(width - above, 0.0, ties)
    return (
        np.maximum(width - at_least, 0.0) + reached * (reached / np.maximum(2 * ties, 1))
    ) / width
