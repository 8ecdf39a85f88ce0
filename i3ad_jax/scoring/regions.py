"""Connected regions of an anomaly map above a threshold: where the defects are."""

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Bool, Float, Integer


@dataclass(frozen=True)
class Region:
    """Connected pixels of an anomaly map that are above a threshold, in pixels of the image.

    Attributes:
        left, top, width, height: of the smallest box around it.
        area: number of pixels.
        peak: largest value of the map in it.
        x, y: its centroid; the centre of the upper left pixel is (0, 0).
    """

    left: int
    top: int
    width: int
    height: int
    area: int
    peak: float
    x: float
    y: float


def label_regions(mask: Bool[np.ndarray, "h w"]) -> tuple[Integer[np.ndarray, "h w"], int]:
    """Return the number of the region of each pixel, and the number of regions.

    A region is a set of True pixels that are 8-connected: neighbours share an edge or a corner.

    Returns:
        Numbers from 1, 0 on pixels that are False; and the largest number.
    """
    return scipy.ndimage.label(mask, np.ones((3, 3)))


def find_regions(anomaly_map: Float[np.ndarray, "h w"], threshold: float) -> list[Region]:
    """Return the regions of pixels above a threshold, the highest peak first."""
    above = anomaly_map > threshold
    if not above.any():
        return []
    labels, count = label_regions(above)
    numbers = np.arange(1, count + 1)
    peaks = scipy.ndimage.maximum(anomaly_map, labels, numbers)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    centres = scipy.ndimage.center_of_mass(above, labels, numbers)
    boxes = scipy.ndimage.find_objects(labels)
    regions = [
        Region(
            left=columns.start,
            top=rows.start,
            width=columns.stop - columns.start,
            height=rows.stop - rows.start,
            area=int(area),
            peak=float(peak),
            x=float(x),
            y=float(y),
        )
        for (rows, columns), area, peak, (y, x) in zip(boxes, areas, peaks, centres, strict=True)
    ]
    return sorted(regions, key=lambda region: -region.peak)
