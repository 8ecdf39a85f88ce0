"""Distance of each image from the normal ones, measured on thumbnails."""

import numpy as np
from jaxtyping import Float

from i3ad_jax.check.records import Pixels, Records

COMPONENTS = 20
MOST = 500  # images that components are computed from


def thumbnail_scores(records: Records) -> tuple[Float[np.ndarray, " n"], list[str]]:
    """Return the distance of images from the principal components of normal ones, and classes.

    Of the training images every fifth is held out and scored as normal, so that they count as test
    images do; no other training image is scored.
    """
    train, test = records.readable("train"), records.readable("test")
    learned = [pixels for i, (_, pixels) in enumerate(train) if i % 5][:MOST]
    scored = [*train[::5], *test]
    if len(learned) < 2 or not scored:
        return np.zeros(0), []
    known, images = (_rows(part) for part in (learned, [pixels for _, pixels in scored]))
    mean = known.mean(axis=0)
    _, _, axes = np.linalg.svd(known - mean, full_matrices=False)
    axes = axes[: min(COMPONENTS, len(known) - 1)]
    rest = images - mean
    rest -= rest @ axes.T @ axes
    return np.linalg.norm(rest, axis=1).astype(np.float64), [record.defect for record, _ in scored]


def _rows(images: list[Pixels]) -> Float[np.ndarray, "n pixels"]:
    """Return the grey thumbnails as rows."""
    return np.stack([pixels.thumbnail.mean(axis=2).ravel() for pixels in images]).astype(np.float32)
