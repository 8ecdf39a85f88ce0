"""The test images that a report shows large, with every state of the test-time loop."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image
from skimage.segmentation import mark_boundaries
from skimage.util import img_as_ubyte

from i3ad_jax import pictures
from i3ad_jax.report.enlarged import SMALL_SIDE, Enlarged

_MIN_SHOWN_SIDE = 192  # pixels of the page: smaller pictures are enlarged, pixel by pixel
_LEAST_SIDE = 128  # of an image in the picture of all cases: smaller ones are enlarged


@dataclass(frozen=True)
class Case:
    """One test image with everything that the refinement made of it.

    Attributes:
        index: its position among the test images.
        group: heading under which the report shows it; see `choose_cases`.
        image: uint8 RGB.
        truth: True on defective pixels; None if the image came without a mask.
        anomaly_map: the pixels' scores after the last iteration.
        reconstructions: uint8 RGB, the states of the test-time loop, the last one last; none where
            they are not known.
        masks: True where the reconstruction of the same index was inpainted; all True for the
            first.
    """

    index: int
    group: str
    image: UInt8[np.ndarray, "h w 3"]
    truth: Bool[np.ndarray, "h w"] | None
    anomaly_map: Float[np.ndarray, "h w"]
    reconstructions: UInt8[np.ndarray, "t h w 3"]
    masks: Bool[np.ndarray, "t h w"]


def choose_cases(
    labels: Integer[np.ndarray, " n"], scores: Float[np.ndarray, " n"], *, count: int
) -> list[tuple[int, str]]:
    """Index and group of at most `count` images, none twice: the worst and the best of each class.

    The four groups take turns, each with the image that is next in its order, until `count` images
    are chosen or none is left. Of equal scores the image that comes first is taken first.
    """
    order = np.argsort(scores, kind="stable").tolist()
    lowest = {label: [i for i in order if labels[i] == label] for label in (0, 1)}
    order = np.argsort(-scores, kind="stable").tolist()
    highest = {label: [i for i in order if labels[i] == label] for label in (0, 1)}
    groups = {
        "Anomalous, lowest scores: the likeliest misses": lowest[1],
        "Normal, highest scores: the likeliest false alarms": highest[0],
        "Anomalous, highest scores: the surest finds": highest[1],
        "Normal, lowest scores: the surest passes": lowest[0],
    }
    chosen: dict[int, str] = {}
    for turn in itertools.zip_longest(*groups.values()):
        for group, index in zip(groups, turn, strict=True):
            if index is not None and len(chosen) < count:
                chosen.setdefault(index, group)
    rank = list(groups)
    return sorted(chosen.items(), key=lambda item: rank.index(item[1]))


def case_view(case: Case, large: Enlarged) -> dict[str, Any]:
    """Return the values of a case for the page, pictures as `data:` addresses.

    Args:
        case: the case.
        large: the large view of its image.
    """
    height, width = case.image.shape[:2]
    view = {
        "index": case.index,
        "group": case.group,
        "large": large,
        "width": width,
        "height": height,
        "shown_width": width * max(1, round(_MIN_SHOWN_SIDE / width)),
        "areas": [f"{100 * area:.1f}" for area in case.masks.mean(axis=(1, 2))],
        "columns": 1,
        "rows": 1,
    }
    if len(case.masks):
        view["columns"], view["rows"] = pictures.sprite_grid(len(case.masks), height)
        states = pictures.sprite_sheet(case.reconstructions)
        lossless = max(height, width) <= SMALL_SIDE
        view["reconstructions"] = pictures.data_uri(states, lossless=lossless)
        view["masks"] = pictures.data_uri(pictures.sprite_sheet(case.masks), lossless=True)
    return view


def picture(cases: list[Case]) -> Image.Image:
    """Draw the cases side by side, each from input to last image.

    From above: the input, its defect outlined; the anomaly map; the last mask; the last image.
    """
    vmax = max(float(case.anomaly_map.max()) for case in cases)
    truths = [
        np.zeros(case.image.shape[:2], bool) if case.truth is None else case.truth for case in cases
    ]
    outlined = [
        img_as_ubyte(mark_boundaries(case.image, truth, color=(0, 1, 0), mode="inner"))
        for case, truth in zip(cases, truths, strict=True)
    ]
    rows = [
        np.stack(outlined),
        np.stack([pictures.overlay(case.image, case.anomaly_map, vmax=vmax) for case in cases]),
        np.stack(
            [
                np.repeat(255 * case.masks[-1, ..., None].astype(np.uint8), 3, axis=-1)
                for case in cases
            ]
        ),
        np.stack([case.reconstructions[-1] for case in cases]),
    ]
    sheet = pictures.contact_sheet(rows)
    enlarged = max(1, _LEAST_SIDE // len(truths[0]))
    return sheet.resize((sheet.width * enlarged, sheet.height * enlarged), Image.Resampling.NEAREST)
