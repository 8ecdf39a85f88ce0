"""Images of fewer bits than their 16-bit files have room for, by `--bit-depth`."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.faults.case import Case

from .made import IMAGES, Change, Content, packed, rewritten, with_alpha
from .pngs import written as png
from .tiffs import written as tiff

_FORMS: Mapping[str, tuple[str, Content]] = {
    "png": (".png", png),
    "png-alpha": (".png", lambda values: png(with_alpha(values))),
    "png-interlaced": (".png", lambda values: png(values, interlaced=True)),
    "tiff": (".tif", lambda values: tiff(values, photometric="rgb")),
    "tiff-swapped": (".tif", lambda values: tiff(values, byteorder=">", compression="deflate")),
    "tiff-planes": (
        ".tif",
        lambda values: tiff(np.moveaxis(values, -1, 0), photometric="rgb", planarconfig="separate"),
    ),
}


def cases() -> Iterator[Case]:
    """Cases of a data set that is packed, all its images in one form."""
    for (form, (suffix, write)), bits in itertools.product(_FORMS.items(), (8, 10, 12, 15)):
        yield packed(
            f"depth/{form}-{bits}", _all(suffix, write, bits), options=("--bit-depth", str(bits))
        )


def _all(suffix: str, write: Content, bits: int) -> Change:
    full = 2**bits - 1

    def content(values: np.ndarray) -> bytes:
        return write(np.round(values * (full / 255)).astype(np.uint16))

    changes: list[Callable[[Path], object]] = [rewritten(file, suffix, content) for file in IMAGES]
    return lambda data: [change(data) for change in changes]
