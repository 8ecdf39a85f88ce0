"""BMP, WebP and JPEG files, suffixes in any case, and content of another kind than the suffix."""

import io
import itertools
import struct
from collections.abc import Iterator
from typing import Any

import imagecodecs
import numpy as np
from PIL import Image

from tests.faults.case import Case

from .made import Content, packed, pillow, rewritten, scored, with_alpha
from .tiffs import written

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".bmp", ".dib", ".tif", ".tiff", ".webp"),
)
_LOSSLESS: dict[str, Content] = {
    "png": pillow("PNG"),
    "bmp": pillow("BMP"),
    "tiff": written,
    "webp": lambda values: bytes(imagecodecs.webp_encode(values, lossless=True)),
}
_PLACES = (("test/good/1.png",), ("train/good/3.png", "test/spot/2.png"), ("train/good/0.png",))


def cases() -> Iterator[Case]:
    """Cases of a picture that is scored, or of one image of a data set."""
    yield from _bitmaps()
    yield from _webps()
    yield from _jpegs()
    for suffix in SUFFIXES:
        form = "jpeg" if suffix[1:3] == "jp" or suffix == ".jfif" else suffix[1:]
        own = {"tif": "tiff", "dib": "bmp"}.get(form, form)
        for form, content in _LOSSLESS.items():
            if form != own:
                yield scored(f"suffix/{suffix}-of-{form}", "colour", f"picture{suffix}", content)
        if form != "jpeg":
            exact = pillow("JPEG", quality=100)
            yield scored(f"suffix/{suffix}-of-jpeg", "squares", f"picture{suffix}", exact)
        spellings = {
            "lower": suffix,
            "upper": suffix.upper(),
            "mixed": suffix[:2].upper() + suffix[2:],
        }
        for (case, spelled), places in zip(spellings.items(), _PLACES, strict=True):
            for place in places:
                change = rewritten(place, spelled, _LOSSLESS.get(own, pillow("PNG")))
                where = place.rpartition("/")[0].replace("/", "-")
                yield packed(f"suffix/{suffix}-{case}-{where}", change)


def _bitmap(values: np.ndarray, *, top_down: bool, bits: int, header: int) -> bytes:
    """Return a BMP file of 24 or 32 bits a pixel, with a header of 12, 40, 108 or 124 bytes."""
    height, width = values.shape[:2]
    stored = values[..., ::-1]
    if bits == 32:
        stored = np.concatenate([stored, np.full((height, width, 1), 7, np.uint8)], -1)
    rows = stored if top_down else stored[::-1]
    data = rows.tobytes()  # 48 pixels in a row: a multiple of 4 bytes
    if header == 12:
        about = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        signed = -height if top_down else height
        sizes = (header, width, signed, 1, bits, 0, len(data), 2835, 2835, 0, 0)
        about = struct.pack("<IiiHHIIiiII", *sizes).ljust(header, b"\0")
    start = 14 + len(about)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + about + data


def _bitmaps() -> Iterator[Case]:
    for top_down, bits, header in itertools.product((False, True), (24, 32), (12, 40, 108, 124)):
        if header == 12 and (top_down or bits == 32):
            continue

        def content(
            values: np.ndarray,
            top_down: bool = top_down,
            bits: int = bits,
            header: int = header,
        ) -> bytes:
            return _bitmap(values, top_down=top_down, bits=bits, header=header)

        name = f"bmp/{bits}-header-{header}{'-top-down' if top_down else ''}"
        yield scored(name, "colour", "p.bmp", content)
    for picture, mode in (
        *(("grey", "L"), ("colour", "RGBA"), ("black-white", "1"), ("few-colours", "P")),
        *(("16-greys", "L"), ("squares", "RGB")),
    ):
        for form in ("BMP", "DIB"):
            yield scored(
                f"bmp/{form}-{picture}-{mode}", picture, f"p.{form.lower()}", pillow(form, mode)
            )


def _webps() -> Iterator[Case]:
    for method, picture in itertools.product((0, 3, 6), ("colour", "grey")):
        content = pillow("WEBP", "RGB", lossless=True, method=method)
        yield scored(f"webp/{picture}-{method}", picture, "p.webp", content)
    beside: dict[str, dict[str, Any]] = {
        "profile": {"icc_profile": bytes(100)},
        "xmp": {"xmp": b"<x/>"},
        "exif": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    }
    for name, options in beside.items():
        yield scored(f"webp/{name}", "colour", "p.webp", pillow("WEBP", lossless=True, **options))
    transparent = pillow("WEBP", lossless=True, exact=True)
    yield scored("webp/alpha", "colour", "p.webp", lambda values: transparent(with_alpha(values)))

    def unseen(values: np.ndarray) -> bytes:
        return transparent(np.dstack([values, np.zeros(values.shape[:2], np.uint8)]))

    yield scored("webp/alpha-0", "colour", "p.webp", unseen)


def _jpegs() -> Iterator[Case]:
    """Cases of squares of one grey, which JPEG of the best quality keeps."""
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "restarts": {"restart_marker_rows": 1},
        "profile": {"icc_profile": bytes(100)},
        "comment": {"comment": b"\xff\xd8 in a comment"},
        "resolution": {"dpi": (72, 300)},
        "xmp": {"xmp": b"<x/>"},
        "exif": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    }
    for number, (name, more) in enumerate(options.items()):
        mode = ("L", "RGB", "CMYK")[number % 3]
        content = pillow("JPEG", mode, quality=100, **more)
        yield scored(f"jpeg/{name}-{mode}", "squares", "p.jpg", content)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        content = pillow("JPEG", "RGB", quality=100, subsampling=subsampling)
        yield scored(f"jpeg/{subsampling.replace(':', '')}", "squares", "p.jpeg", content)
    for space in ("RGB", "YCBCR"):

        def stored(values: np.ndarray, space: str = space) -> bytes:
            colours = np.stack([values] * 3, -1)
            return bytes(imagecodecs.jpeg8_encode(colours, level=100, outcolorspace=space))

        yield scored(f"jpeg/stored-as-{space}", "squares", "p.jpg", stored)
    yield scored("jpeg/junk-after-it", "squares", "p.jpg", _with_junk)
    yield scored("jpeg/pictures-after-it", "squares", "p.jpg", _with_pictures)


def _with_junk(values: np.ndarray) -> bytes:
    return pillow("JPEG", quality=100)(values) + b"\0" * 50 + b"camera data"


def _with_pictures(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    small = Image.fromarray(np.ascontiguousarray(values[::2, ::2]))
    Image.fromarray(values).save(file, "MPO", save_all=True, append_images=[small], quality=100)
    return file.getvalue()
