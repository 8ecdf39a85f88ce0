"""TIFF files: byte orders, compressions, strips and tiles, planes, depths and colours."""

import io
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tifffile

from tests.faults.case import Case, Expected

from .made import Content, of_16_bits, scored, with_alpha

COMPRESSIONS = (None, "lzw", "deflate", "packbits", "zstd")
_OTHERS = ("lzma", "webp", "jpeg2000", "jpegxl", "lerc", "png")
_ORDERS = ("<", ">")
_KINDS = {  # of colour: picture, channels and photometric interpretation
    "grey": ("grey", lambda values: values, "minisblack"),
    "grey-alpha": ("grey", with_alpha, "minisblack"),
    "white-is-0": ("grey", lambda values: np.iinfo(values.dtype).max - values, "miniswhite"),
    "rgb": ("colour", lambda values: values, "rgb"),
    "rgb-alpha": ("colour", with_alpha, "rgb"),
}
# What Pillow has no reader for, by kind, bits, and planes or byte order.
_UNREAD = {
    ("grey-alpha", 8, True): "8-bit plane combination is not read",
    ("white-is-0", 16, ">"): "16-bit white is 0 combination is not read",
}


def written(values: np.ndarray, **options: Any) -> bytes:
    """Return a TIFF file of pixels, with options of tifffile."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(file, values, **options)
    return file.getvalue()


def cases() -> Iterator[Case]:
    """Cases of a picture that is scored."""
    for number, (compression, tiled) in enumerate(itertools.product(COMPRESSIONS, (False, True))):
        for bits, kind in itertools.product((8, 16), _KINDS):
            # Either byte order in turn: all combinations would take minutes more.
            yield from _of_kind(kind, bits, compression, tiled, number // 2 + number)
    yield from _palettes()
    yield from _few_bits()
    yield from _more()


def _of_kind(
    kind: str, bits: int, compression: str | None, tiled: bool, number: int
) -> Iterator[Case]:
    picture, channels, photometric = _KINDS[kind]
    several = picture == "colour" or "alpha" in kind
    for planar in (False, True) if several else (False,):
        order = _ORDERS[(number + planar) % 2]
        cause = _UNREAD.get((kind, bits, planar if several else order), "")
        yield scored(
            f"tiff/{kind}-{bits}/{compression}-{'tiles' if tiled else 'strips'}-"
            f"{'planes' if planar else 'pixels'}-{'little' if order == '<' else 'big'}",
            picture,
            "picture.tif",
            _content(channels, bits, planar, byteorder=order, compression=compression,
                     photometric=photometric, tile=(16, 32) if tiled else None,
                     rowsperstrip=None if tiled else 7),
            expected="same" if cause else "equal",
            cause=cause,
        )  # fmt: skip


def _content(
    channels: Callable[[np.ndarray], np.ndarray], bits: int, planar: bool, **options: Any
) -> Content:
    def content(values: np.ndarray) -> bytes:
        stored = channels(of_16_bits(values) if bits == 16 else values)
        extra = (stored.shape[-1] if stored.ndim == 3 else 1) in (2, 4)
        more: dict[str, Any] = {"extrasamples": ("unassalpha",)} if extra else {}
        if stored.ndim == 3:
            more["planarconfig"] = "separate" if planar else "contig"
        return written(np.moveaxis(stored, -1, 0) if planar else stored, **more, **options)

    return content


def indices(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of pixels' colours, and the colours, uint8 `n 3`."""
    flat = values.reshape(-1, values.shape[-1] if values.ndim == 3 else 1)
    colours, numbers = np.unique(flat, axis=0, return_inverse=True)
    return numbers.reshape(values.shape[:2]).astype(np.uint8), colours


def _palettes() -> Iterator[Case]:
    def content(order: str, compression: str | None, tiled: bool) -> Content:
        def write(values: np.ndarray) -> bytes:
            numbers, colours = indices(values)
            palette = np.zeros((3, 256), np.uint16)
            palette[:, : len(colours)] = colours.T.astype(np.uint16) * 257
            return written(
                numbers, photometric="palette", colormap=palette, byteorder=order,
                compression=compression, tile=(16, 32) if tiled else None,
            )  # fmt: skip

        return write

    for number, (compression, tiled) in enumerate(itertools.product(COMPRESSIONS, (False, True))):
        order = _ORDERS[number % 2]
        name = f"{compression}-{'tiles' if tiled else 'strips'}{'' if order == '<' else '-swapped'}"
        yield scored(
            f"tiff/palette-8/{name}", "few-colours", "p.tiff", content(order, compression, tiled)
        )


def _few_bits() -> Iterator[Case]:
    pictures = {1: ("black-white", 255), 2: ("4-greys", 85), 4: ("16-greys", 17)}
    for (bits, (picture, step)), order, white in itertools.product(
        pictures.items(), _ORDERS, (False, True)
    ):

        def content(
            values: np.ndarray,
            bits: int = bits,
            step: int = step,
            order: str = order,
            white: bool = white,
        ) -> bytes:
            numbers = values // step
            return written(
                2**bits - 1 - numbers if white else numbers, bitspersample=bits,
                photometric="miniswhite" if white else "minisblack", byteorder=order,
            )  # fmt: skip

        name = f"{'white-is-0' if white else 'grey'}-{bits}{'' if order == '<' else '-swapped'}"
        yield scored(f"tiff/few-bits/{name}", picture, "p.tif", content)


def _more() -> Iterator[Case]:
    options: dict[str, dict[str, Any]] = {
        "big": {"bigtiff": True},
        "row-by-row": {"rowsperstrip": 1, "compression": "lzw"},
        "one-strip": {"rowsperstrip": 1000, "compression": "deflate"},
        "predictor-lzw": {"predictor": True, "compression": "lzw"},
        "predictor-deflate": {"predictor": True, "compression": "deflate", "tile": (16, 16)},
        "resolution": {"resolution": (300, 72), "resolutionunit": "inch"},
        "description": {"description": "<OME>\u00b5m</OME>".encode()},
        "software": {"software": "camera", "datetime": "2020:01:01 00:00:00"},
        "profile": {"iccprofile": bytes(200)},
        "private-tag": {"extratags": [(65000, 7, 5, b"\0\1\2\3\4", True)]},
        "metadata": {"metadata": {"axes": "YXS", "scale": 2.5}},
        "tile-of-picture": {"tile": (48, 48)},
        "level-9": {"compression": "deflate", "compressionargs": {"level": 9}},
    }
    for number, (name, more) in enumerate(options.items()):
        bits = (8, 16)[number % 2]

        def content(values: np.ndarray, more: dict = more, bits: int = bits) -> bytes:
            stored = of_16_bits(values) if bits == 16 else values
            return written(stored, photometric="rgb", **more)

        yield scored(f"tiff/more/{name}-{bits}", "colour", "p.tif", content)
    yield scored(
        "tiff/more/big-swapped", "colour", "p.tif",
        lambda values: written(values, photometric="rgb", bigtiff=True, byteorder=">"),
        expected="same", cause="BigTIFF big-endian",
    )  # fmt: skip
    yield scored("tiff/more/thumbnail", "colour", "p.tif", _with_thumbnail)
    for name, photometric in (("grey", "minisblack"), ("rgb", "rgb"), ("ycbcr", "ycbcr")):

        def lossy(values: np.ndarray, photometric: str = photometric) -> bytes:
            other = values if photometric == "rgb" else np.full_like(values, 128)
            stored = np.stack([values, other, other], -1)
            stored = values if photometric == "minisblack" else stored
            args = {"level": 100}
            return written(
                stored, photometric=photometric, compression="jpeg", compressionargs=args
            )

        yield scored(f"tiff/jpeg-inside/{name}", "squares", "p.tif", lossy)
    lossless: dict[str, dict[str, Any]] = {
        "webp": {"level": 100, "lossless": True},
        "jpeg2000": {"level": 0, "reversible": True},
        "jpegxl": {"lossless": True},
        "lerc": {"level": 0},
    }
    expected: Expected = "same"
    for compression in _OTHERS:

        def other(values: np.ndarray, compression: str = compression) -> bytes:
            return written(
                values, photometric="rgb", compression=compression,
                compressionargs=lossless.get(compression),
            )  # fmt: skip

        yield scored(
            f"tiff/other-compression/{compression}", "colour", "p.tif", other,
            expected=expected, cause="TIFF 8-bit compression",
        )  # fmt: skip


def _with_thumbnail(values: np.ndarray) -> bytes:
    """Return a file with a smaller picture below its only page, as cameras write."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(values, photometric="rgb", subifds=1)
        writer.write(np.ascontiguousarray(values[::4, ::4]), photometric="rgb", subfiletype=1)
    return file.getvalue()
