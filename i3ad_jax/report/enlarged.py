"""Large views of test images: the picture, its map, and outlines over both."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from i3ad_jax import pictures
from i3ad_jax.data.images import Size
from i3ad_jax.data.stored import Rows
from i3ad_jax.report.large_pictures import LargePicture
from i3ad_jax.scoring.regions import label_regions

SMALL_SIDE = 128  # up to this side pictures are stored without loss
BUDGET = 2_000_000  # characters, for all views that are not kept in any case
_QUALITY = 85


@dataclass(frozen=True)
class Enlarged:
    """A large view of an image: pictures as `data:` addresses, outlines as SVG paths.

    The map is in the working size. The page lays its frame over the picture and colours it, so that
    its contrast can be stretched.

    Attributes:
        picture: the image.
        size: its height and width.
        original_size: the same of the original.
        is_original: False if the picture has another size for want of the original.
        truth: outline of the true defect, in pixels of the picture; None without a mask.
        heat: the map in grey, without loss: black is 0 and less, white is `peak`.
        heat_size: height and width of the map.
        frame: left, top, width and height of the map in pixels of the picture.
        peak: largest value of the map; where it is not positive, the map is black.
        regions: outline of the regions, in pixels of the map.
        detected: True if these are detected regions, as `regions_of` returns.
    """

    picture: str
    size: Size
    original_size: Size
    is_original: bool
    truth: str | None
    heat: str
    heat_size: Size
    frame: tuple[float, float, float, float]
    peak: float
    regions: str
    detected: bool

    @property
    def characters(self) -> int:
        """Length of pictures and outlines."""
        return sum(len(own or "") for own in (self.picture, self.heat, self.truth, self.regions))


def enlarge(
    shown: LargePicture, anomaly_map: Float[np.ndarray, "h w"], *, threshold: float | None
) -> Enlarged:
    """Return the large view of an image.

    Args:
        shown: the image.
        anomaly_map: its anomaly map, in the working size.
        threshold: regions are detected where the map is above it; None if it is not known.
    """
    peak = anomaly_map.max()
    heat = np.maximum(anomaly_map, 0) / (peak if peak > 0 else 1)
    grey = np.round(255 * heat).astype(np.uint8)
    regions, detected = regions_of(anomaly_map, threshold)
    height, width = shown.image.shape[:2]
    return Enlarged(
        picture=pictures.data_uri(
            Image.fromarray(shown.image),
            lossless=max(height, width) <= SMALL_SIDE,
            quality=_QUALITY,
        ),
        size=(height, width),
        original_size=shown.original_size,
        is_original=shown.is_original,
        truth=None if shown.truth is None else pictures.outline(shown.truth),
        heat=pictures.data_uri(Image.fromarray(grey), lossless=True),
        heat_size=anomaly_map.shape,
        frame=shown.frame,
        peak=float(peak),
        regions=pictures.outline(regions),
        detected=detected,
    )


def large_views(
    read: Callable[[int], LargePicture],
    maps: Float[Rows, "n h w"],
    *,
    kept: Iterable[int],
    others: Iterable[int],
    threshold: float | None,
    budget: int = BUDGET,
) -> dict[int, Enlarged]:
    """Return large views by index.

    Args:
        read: gives the image of an index.
        maps: anomaly maps of all images.
        kept: indices of images that are shown in any case.
        others: indices of more images, as many as fit the budget, the most instructive first.
        threshold: as for `enlarge`.
        budget: the characters that the views of `others` together have at most.
    """
    views = {index: enlarge(read(index), maps[index], threshold=threshold) for index in kept}
    for index in others:
        if index not in views:
            view = enlarge(read(index), maps[index], threshold=threshold)
            budget -= view.characters
            if budget < 0:
                break
            views[index] = view
    return views


def regions_of(
    anomaly_map: Float[np.ndarray, "h w"], threshold: float | None
) -> tuple[Bool[np.ndarray, "h w"], bool]:
    """Return the pixels of the detected regions, or of the hottest region if there are none.

    The hottest region is connected to the maximum and in the upper half of the map's range.

    Args:
        anomaly_map: scores of pixels.
        threshold: regions are detected above it; None if it is not known.

    Returns:
        The mask, and True if it shows detected regions.
    """
    if threshold is not None and (above := anomaly_map > threshold).any():
        return above, True
    middle = (anomaly_map.min() + anomaly_map.max()) / 2
    labels, _ = label_regions(anomaly_map >= middle)
    return labels == labels.flat[anomaly_map.argmax()], False
