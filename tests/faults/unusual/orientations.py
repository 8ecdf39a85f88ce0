"""Pictures whose pixels are turned, and whose EXIF data say so."""

import io
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.faults.case import Case

from .made import Content, of_16_bits, packed, rewritten, scored
from .tiffs import written

# Turned so that the orientation (EXIF 2.3, tag 274) makes it upright again.
_TURNED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def _by_pillow(form: str, **options: Any) -> Any:
    def content(values: np.ndarray, orientation: int) -> bytes:
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        Image.fromarray(values).save(file, form, exif=exif, **options)
        return file.getvalue()

    return content


def _by_tifffile(*, bits: int = 8, planar: bool = False, **options: Any) -> Any:
    def content(values: np.ndarray, orientation: int) -> bytes:
        stored = of_16_bits(values) if bits == 16 else values
        tags = [(274, "H", 1, orientation, True)]
        return written(
            np.moveaxis(stored, -1, 0) if planar else stored, photometric="rgb", extratags=tags,
            planarconfig="separate" if planar else "contig", **options,
        )  # fmt: skip

    return content


def _deep_png(values: np.ndarray, orientation: int) -> bytes:
    plain = bytes(imagecodecs.png_encode(of_16_bits(values)))
    turned = _by_pillow("PNG")(values[:1, :1], orientation)
    start = turned.index(b"eXIf") - 4
    chunk = turned[start : start + 12 + int.from_bytes(turned[start : start + 4], "big")]
    return plain[:33] + chunk + plain[33:]


# File, picture and what writes it.
_FORMS: dict[str, tuple[str, str, Any]] = {
    "png": ("p.png", "colour", _by_pillow("PNG")),
    "png-16": ("p.png", "colour", _deep_png),
    "webp": ("p.webp", "colour", _by_pillow("WEBP", lossless=True)),
    "jpeg": ("p.jpg", "squares", _by_pillow("JPEG", quality=100)),
    "tiff": ("p.tif", "colour", _by_tifffile()),
    "tiff-tiles": ("p.tif", "colour", _by_tifffile(tile=(16, 32), compression="lzw")),
    "tiff-planes": ("p.tif", "colour", _by_tifffile(planar=True, compression="deflate")),
    "tiff-16": ("p.tif", "colour", _by_tifffile(bits=16, compression="deflate")),
    "tiff-16-planes": ("p.tif", "colour", _by_tifffile(bits=16, planar=True)),
}


def cases() -> Iterator[Case]:
    """Cases of a picture that is scored, and of images and masks of a data set."""
    for form, (file, picture, write) in _FORMS.items():
        for orientation in _TURNED:
            content = _turned(write, orientation)
            yield scored(f"orientation/{form}-{orientation}", picture, file, content)
    for orientation in _TURNED:
        content = _turned(_FORMS["png"][2], orientation)
        for file in ("test/spot/1.png", "ground_truth/spot/1_mask.png"):
            where = file.partition("/")[0]
            change = rewritten(file, ".png", content)
            yield packed(f"orientation/{where}-{orientation}", change)


def _turned(write: Any, orientation: int) -> Content:
    turn = _TURNED[orientation]
    return lambda upright: write(np.ascontiguousarray(turn(upright)), orientation)
