"""Files that are not read, each with what its refusal has to say."""

import io
import itertools
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from tests.faults.case import Case

from .made import Content, packed, pillow, rewritten, scored
from .pngs import written as png
from .tiffs import written as tiff

_NUMBERS = {
    "f2": "16-bit floating-point",
    "f4": "32-bit floating-point",
    "f8": "64-bit floating-point",
    "i1": "8-bit signed",
    "i8": "64-bit signed",
    "u8": "64-bit unsigned",
    "c8": "64-bit",
}
_OF_COLOURS = {"i2": "16-bit signed", "i4": "32-bit signed", "u4": "32-bit unsigned"}
_NOT_READ = "not PNG JPEG BMP TIFF WebP convert"
_LARGE = "100,000,000 pixels"


def _tiff(kind: str, *, channels: int = 1, **options: Any) -> Content:
    def content(values: np.ndarray) -> bytes:
        grey = values[..., 1].astype(kind)
        return tiff(grey if channels == 1 else np.stack([grey] * channels, -1), **options)

    return content


def _as(content: bytes) -> Content:
    return lambda values: content


def _pages(count: int, *, planes: bool = False) -> Content:
    def content(values: np.ndarray) -> bytes:
        file = io.BytesIO()
        page = np.moveaxis(values, -1, 0).astype(np.uint16) if planes else values
        with tifffile.TiffWriter(file) as writer:
            for _ in range(count):
                writer.write(
                    page, photometric="rgb", planarconfig="separate" if planes else "contig"
                )
        return file.getvalue()

    return content


def _frames(form: str) -> Content:
    def content(values: np.ndarray) -> bytes:
        file, image = io.BytesIO(), Image.fromarray(values)
        image.save(file, form, save_all=True, append_images=[image.rotate(180)])
        return file.getvalue()

    return content


def _large_bitmap(values: np.ndarray) -> bytes:
    about = struct.pack("<IiiHHIIiiII", 40, 20_000, 10_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 2000, 0, 0, 54) + about + bytes(1000)


def _large_png(values: np.ndarray) -> bytes:
    content = png(values)
    header = b"IHDR" + struct.pack(">II", 10_001, 10_000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def _large_tiff(values: np.ndarray) -> bytes:
    content = bytearray(tiff(values, photometric="rgb"))
    for tag, side in ((256, 20_000), (257, 10_000)):
        place = content.index(struct.pack("<HHI", tag, 4, 1)) + 8
        content[place : place + 4] = struct.pack("<I", side)
    return bytes(content)


def _cut(content: Content, size: int) -> Content:
    return lambda values: content(values)[:size]


_LOSSLESS_WEBP = pillow("WEBP", lossless=True)
_FILES: Mapping[str, tuple[str, Content, str]] = {
    **{f"grey-{kind}": (".tif", _tiff(kind), cause) for kind, cause in _NUMBERS.items()},
    **{
        f"rgb-{kind}": (".tif", _tiff(kind, channels=3, photometric="rgb"), cause)
        for kind, cause in {**_NUMBERS, **_OF_COLOURS}.items()
    },
    "lab-8": (".tif", _tiff("u1", channels=3, photometric="cielab"), "8-bit L*a*b*"),
    "lab-16": (".tif", _tiff("u2", channels=3, photometric="cielab"), "16-bit L*a*b*"),
    "lab-icc": (".tif", _tiff("u1", channels=3, photometric="icclab"), "L*a*b*"),
    "ycbcr": (".tif", _tiff("u1", channels=3, photometric="ycbcr"), "YCbCr"),
    "cmyk-16": (".tif", _tiff("u2", channels=4, photometric="separated"), "16-bit CMYK"),
    "colour-filters": (".tif", _tiff("u1", photometric="cfa"), "colour filter array"),
    "channels-5": (".tif", _tiff("u1", channels=5, photometric="minisblack",
                                 planarconfig="contig"), "5 channel"),
    "channels-3-grey": (".tif", _tiff("u1", channels=3, photometric="minisblack",
                                      planarconfig="contig"), "3 channel grey"),
    "channels-6-of-16": (".tif", _tiff("u2", channels=6, photometric="rgb"), "6 channel 16-bit"),
    "premultiplied-16": (".tif", _tiff("u2", channels=4, photometric="rgb",
                                       extrasamples=("assocalpha",)), "16-bit 4 channel"),
    "pages-2": (".tif", _pages(2), "2 pictures"),
    "pages-40": (".tiff", _pages(40), "40 pictures"),
    "pages-of-planes": (".tif", _pages(3, planes=True), "3 pictures"),
    "png-animated": (".png", _frames("PNG"), "2 pictures"),
    "webp-animated": (".webp", _frames("WEBP"), "2 pictures"),
    "gif": (".png", pillow("GIF"), _NOT_READ),
    "gif-animated": (".jpg", _frames("GIF"), _NOT_READ),
    "avif": (".png", lambda values: bytes(imagecodecs.avif_encode(values)), _NOT_READ),
    "jpeg-xl": (".jpg", lambda values: bytes(imagecodecs.jpegxl_encode(values)), _NOT_READ),
    "jpeg-2000": (".jpg", lambda values: bytes(imagecodecs.jpeg2k_encode(values)), _NOT_READ),
    "qoi": (".bmp", lambda values: bytes(imagecodecs.qoi_encode(values)), _NOT_READ),
    "ppm": (".bmp", pillow("PPM"), _NOT_READ),
    "ico": (".bmp", pillow("ICO"), _NOT_READ),
    "tga": (".tif", pillow("TGA"), _NOT_READ),
    "dds": (".png", pillow("DDS"), _NOT_READ),
    "pdf": (".png", pillow("PDF"), _NOT_READ),
    "eps": (".tif", pillow("EPS"), _NOT_READ),
    "psd": (".tif", _as(b"8BPS\0\1" + bytes(6) + b"\0\3" + bytes(200)), _NOT_READ),
    "svg": (".png", _as(b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>'),
            _NOT_READ),
    "html": (".jpg", _as(b"<!DOCTYPE html><title>404 Not Found</title>"), _NOT_READ),
    "heic": (".jpg", _as(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)), _NOT_READ),
    "exr": (".tif", _as(b"\x76\x2f\x31\x01\x02\0\0\0" + bytes(200)), _NOT_READ),
    "radiance": (".png", _as(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4 +X 4\n"), _NOT_READ),
    "dicom": (".tif", _as(bytes(128) + b"DICM" + bytes(200)), _NOT_READ),
    "fits": (".tif", _as(b"SIMPLE  =                    T".ljust(2880)), _NOT_READ),
    "numpy": (".png", _as(b"\x93NUMPY\1\0v\0{'descr': '|u1', 'shape': (4, 4)}"), _NOT_READ),
    "mp4": (".jpg", _as(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(200)), _NOT_READ),
    "large-png": (".png", _large_png, _LARGE),
    "large-tiff": (".tif", _large_tiff, _LARGE),
    "large-bmp": (".bmp", _large_bitmap, _LARGE),
    "head-of-png": (".png", _cut(pillow("PNG"), 60), "cannot be read"),
    "head-of-jpeg": (".jpg", _cut(pillow("JPEG"), 300), "cannot be read"),
    "head-of-bmp": (".bmp", _cut(pillow("BMP"), 60), "cannot be read"),
    "head-of-tiff": (".tif", _cut(_tiff("u1"), 300), "cannot be read"),
    "head-of-webp": (".webp", _cut(_LOSSLESS_WEBP, 60), "cannot be read"),
    "start-of-png": (".png", _cut(pillow("PNG"), 20), "cannot be read"),
    "start-of-jpeg": (".jpg", _cut(pillow("JPEG"), 20), "cannot be read"),
    "start-of-bmp": (".bmp", _cut(pillow("BMP"), 20), "cannot be read"),
    "start-of-tiff": (".tif", _cut(_tiff("u1"), 20), "cannot be read"),
    "start-of-webp": (".webp", _cut(_LOSSLESS_WEBP, 20), "cannot be read"),
    "beyond-depth": (".png", lambda values: png(np.full((40, 48), 5000, np.uint16)), "13 bits"),
}  # fmt: skip
_ALSO_PACKED = ("grey-f4", "rgb-u4", "lab-8", "pages-2", "gif", "large-png", "head-of-png")


def cases() -> Iterator[Case]:
    """Cases of a picture that is scored, of a training image and of a mask."""
    for name, (suffix, content, cause) in _FILES.items():
        options = ("--bit-depth", "12") if name == "beyond-depth" else ()
        if not options:  # the run of `predict` says which bit depth is meant
            yield scored(
                f"refused/{name}/predict", "colour", f"picture{suffix}", content,
                expected="refused", cause=cause,
            )  # fmt: skip
        if options or name in _ALSO_PACKED:
            yield packed(
                f"refused/{name}/pack", rewritten("train/good/5.png", suffix, content),
                options=options, expected="refused", named=f"good/5{suffix}", cause=cause,
            )  # fmt: skip
    for name in _ALSO_PACKED:
        suffix, content, cause = _FILES[name]

        def of_grey(values: np.ndarray, content: Content = content) -> bytes:
            return content(np.stack([values] * 3, -1))

        yield packed(
            f"refused/{name}/mask", rewritten("ground_truth/spot/1_mask.png", suffix, of_grey),
            expected="refused", named=f"spot/1_mask{suffix}", cause=cause,
        )  # fmt: skip
    for depth, (file, where) in itertools.product(
        (8, 9, 11), (("train/good/0.png", "train"), ("test/spot/0.png", "test"))
    ):

        def deep(values: np.ndarray) -> bytes:
            return png(np.where(values > 9, values.astype(np.uint16) * 16, 4095).astype(np.uint16))

        yield packed(
            f"refused/depth-{depth}-of-12/{where}", rewritten(file, ".png", deep),
            options=("--bit-depth", str(depth)), expected="refused", named=file,
            cause="12 bits --bit-depth",
        )  # fmt: skip
