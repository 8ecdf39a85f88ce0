"""Identical and nearly identical images.

The former are found by a hash of their pixels, the latter by what tells them from all others.

Images of one object are so similar that thumbnails or perceptual hashes of any two nearly agree,
and two pictures of a regular surface agree where its threads happen to coincide. So the signature
of an image is its thumbnail, standardised, less the mean of all. Each spatial frequency is divided
by its strength in the data set (as in phase correlation, Kuglin and Hines 1975), so that common
structure counts little. The highest frequencies, which do not survive compression, fade out.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from i3ad_jax.check.records import Pixels, Record

NEAR = 0.9
"""Correlation of signatures from which two images count as nearly the same.

Chosen between what different images have at most and what changed copies have at least. Different
ones: 0.87 in MVTec AD's bottle (but 0.98 for two that show the same scratch) and in the built-in
textures of 64 to 128 pixels. Copies of images of these sets and of magnetic tiles, as JPEG of
quality 50, at 0.8 of the size, by 0.85 darker, with 1.2 times the contrast, or with noise of 5 of
255: 0.91 (but 0.86 for such a JPEG of 64 x 64 pixels). A copy that was shifted, turned or mirrored
is not found.
"""
NEIGHBOUR = 20
CLOSER = 0.2
"""Largest distance of two images, relative to the usual distance around them: 1 less their
correlation must be at most this fraction of what it is for either one and its twentieth neighbour.

Where many images agree, correlation alone calls different ones the same (270 pairs of the 180 discs
in the tests). Examples are a plain surface under a gradient of light, or one of two objects in a
data set. Of copies that `NEAR` finds in the built-in textures the largest fraction is 0.16; of
bottles among tiles, 0.25 lets the first false pair through. A group of more than 20 copies is not
seen, unless their pixels are equal.
"""
FLOOR = 0.3  # of the mean power: frequencies weaker than this are mostly noise
FADE = 0.2  # cycles a pixel, of 0.5: the standard deviation of a Gaussian
FLATTEST = 1.0  # of 255: an image that varies less has no contrast to standardise
_ROWS = 512  # signatures compared at a time with all others


def same_images(images: Sequence[tuple[Record, Pixels]]) -> list[list[Record]]:
    """Groups of at least two images whose pixels are equal."""
    groups = defaultdict(list)
    for record, pixels in images:
        groups[pixels.content].append(record)
    return [group for group in groups.values() if len(group) > 1]


def similar_images(images: Sequence[tuple[Record, Pixels]]) -> list[list[Record]]:
    """Groups of at least two images, chained by pairs that are nearly but not exactly the same.

    Of images whose pixels are equal the first stands for all.
    """
    first = {pixels.content: (record, pixels) for record, pixels in reversed(images)}
    distinct = [first[content] for content in dict.fromkeys(pixels.content for _, pixels in images)]
    if len(distinct) < 3:  # of two images there is nothing that they have in common against others
        return []
    pairs = _similar_pairs(signatures(np.stack([pixels.thumbnail for _, pixels in distinct])))
    links = coo_array((np.ones(len(pairs)), tuple(pairs.T)), (len(distinct), len(distinct)))
    _, numbers = connected_components(links, directed=False)
    groups = defaultdict(list)
    for number, (record, _) in zip(numbers.tolist(), distinct, strict=True):
        groups[number].append(record)
    return [group for group in groups.values() if len(group) > 1]


def signatures(thumbnails: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
    """A vector for each image, of length 1 (0 for an image that is the mean), float32.

    The scalar product of two of them, in [-1, 1], is how much the images agree in what tells them
    from the others. Brightness and contrast of an image do not count.
    """
    grey = thumbnails.mean(axis=-1, dtype=np.float32)
    grey -= grey.mean(axis=(1, 2), keepdims=True)
    grey /= np.maximum(grey.std(axis=(1, 2), keepdims=True), FLATTEST)
    grey -= grey.mean(axis=0)
    height, width = grey.shape[1:]
    grey *= np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1]).astype(np.float32)
    power = np.mean([np.abs(np.fft.rfft2(image)) ** 2 for image in grey], axis=0)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    fading = np.exp(-((frequency / FADE) ** 2) / 2)
    weights = fading / np.sqrt(power + FLOOR * power.mean() + np.finfo(np.float32).tiny)
    found = np.stack(
        [np.fft.irfft2(weights * np.fft.rfft2(image), (height, width)) for image in grey]
    )
    found = found.reshape(len(found), -1).astype(np.float32)
    found -= found.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.divide(found, norms, out=np.zeros_like(found), where=norms > 0)


def _similar_pairs(vectors: Float[np.ndarray, "n d"]) -> np.ndarray:
    """The pairs that are nearly the same by `NEAR` and `CLOSER`, as rows of ascending indices."""
    usual, pairs, gaps = np.zeros(len(vectors), np.float32), [], []
    # in ascending order, at whose end is the image itself
    rank = max(len(vectors) - 1 - NEIGHBOUR, 0)
    for start in range(0, len(vectors), _ROWS):
        agreement = vectors[start : start + _ROWS] @ vectors.T
        usual[start : start + _ROWS] = 1 - np.partition(agreement, rank, axis=1)[:, rank]
        rows, columns = np.nonzero(np.triu(agreement, start + 1) >= NEAR)
        pairs.append(np.stack([rows + start, columns], axis=1))
        gaps.append(1 - agreement[rows, columns])
    found = np.concatenate(pairs)
    return found[np.concatenate(gaps) <= CLOSER * usual[found].min(axis=1)]
