"""Every format of images, whole and damaged, as an image and as a mask."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .case import Case, Expected, Material
from .commands import PACK
from .files import DAMAGE, Damage, copy_data

WIDTH, HEIGHT = 48, 40


def _picture(mode: str) -> Image.Image:
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 200, WIDTH)[None, :, None] * np.ones((HEIGHT, WIDTH, 3))
    colour = Image.fromarray((ramp + rng.uniform(0, 55, ramp.shape)).astype(np.uint8))
    if mode == "I;16":
        return Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257)
    return colour.convert(mode)


def _file(form: str, mode: str, **options: Any) -> Callable[[], bytes]:
    def content() -> bytes:
        file = io.BytesIO()
        pictures = [_picture(mode).rotate(90 * turn) for turn in range(3)]
        more = {"append_images": pictures[1:]} if options.get("save_all") else {}
        pictures[0].save(file, form, **options, **more)
        return file.getvalue()

    return content


def _bomb() -> bytes:
    """A PNG that states 100,000 x 100,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + _file("PNG", "RGB")()[33:]


def _sized(width: int, height: int) -> Callable[[], bytes]:
    def content() -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (width, height), (90, 120, 30)).save(file, "PNG")
        return file.getvalue()

    return content


# Content by the suffix that it is written with, and what becomes of it without damage.
FORMATS: Mapping[str, tuple[str, Callable[[], bytes], Expected]] = {
    "png-grey": (".png", _file("PNG", "L"), "accepted"),
    "png-colour": (".png", _file("PNG", "RGB"), "accepted"),
    "png-alpha": (".png", _file("PNG", "RGBA"), "accepted"),
    "png-palette": (".png", _file("PNG", "P"), "accepted"),
    "png-1-bit": (".png", _file("PNG", "1"), "accepted"),
    "png-16-bit": (".png", _file("PNG", "I;16"), "accepted"),
    "png-animated": (".png", _file("PNG", "RGB", save_all=True), "refused"),
    "jpeg-grey": (".jpg", _file("JPEG", "L"), "accepted"),
    "jpeg-colour": (".jpeg", _file("JPEG", "RGB"), "accepted"),
    "jpeg-progressive": (".JPG", _file("JPEG", "RGB", progressive=True), "accepted"),
    "jpeg-cmyk": (".jpg", _file("JPEG", "CMYK"), "accepted"),
    "jpeg-several": (".jpg", _file("MPO", "RGB", save_all=True), "accepted"),
    "bmp-colour": (".bmp", _file("BMP", "RGB"), "accepted"),
    "bmp-palette": (".bmp", _file("BMP", "P"), "accepted"),
    "bmp-1-bit": (".bmp", _file("BMP", "1"), "accepted"),
    "tiff-raw": (".tif", _file("TIFF", "RGB"), "accepted"),
    "tiff-lzw": (".tiff", _file("TIFF", "RGB", compression="tiff_lzw"), "accepted"),
    "tiff-deflate": (".tif", _file("TIFF", "L", compression="tiff_adobe_deflate"), "accepted"),
    "tiff-jpeg": (".tif", _file("TIFF", "RGB", compression="jpeg"), "accepted"),
    "tiff-fax": (".tif", _file("TIFF", "1", compression="group4"), "accepted"),
    "tiff-16-bit": (".tif", _file("TIFF", "I;16"), "accepted"),
    "tiff-float": (".tif", _file("TIFF", "F"), "refused"),
    "tiff-pages": (".tif", _file("TIFF", "RGB", save_all=True), "refused"),
    "gif": (".png", _file("GIF", "P"), "refused"),
    "webp": (".png", _file("WEBP", "RGB"), "accepted"),
    "bomb": (".png", _bomb, "refused"),
    "1x1": (".png", _sized(1, 1), "accepted"),
    "2x2": (".png", _sized(2, 2), "accepted"),
    "20000x20": (".png", _sized(20_000, 20), "accepted"),
    "20x20000": (".png", _sized(20, 20_000), "accepted"),
    "20000x20000": (".png", _sized(20_000, 20_000), "refused"),
}
_LARGE = ("20000x20", "20x20000", "20000x20000")
_MASKS = ("png-grey", "png-1-bit", "png-16-bit", "tiff-fax", "bmp-1-bit", "jpeg-grey")


def cases() -> Iterator[Case]:
    """Cases of images in a data set to pack, and of whole ones in the other commands too."""
    for name, (suffix, content, expected) in FORMATS.items():
        place = f"train/good/new{suffix}"
        yield _case(f"{name}/whole", place, content, None, expected)
        scored = ("predict", "run", "data/test/good", "--out", "out")
        yield _case(
            f"{name}/predict", f"test/good/new{suffix}", content, None, "accepted", command=scored
        )
        if name not in _LARGE:
            for damage, (spoil, ends) in DAMAGE.items():
                end = "refused" if "refused" in (expected, ends) and ends != "either" else "either"
                yield _case(f"{name}/{damage}", place, content, spoil, end)
    for name in _MASKS:
        suffix, content, _ = FORMATS[name]
        place = f"ground_truth/spot/0_mask{suffix}"
        yield _case(f"{name}/mask", place, content, None, "accepted")
        for damage, (spoil, ends) in DAMAGE.items():
            yield _case(f"{name}/mask-{damage}", place, content, spoil, ends)


def _case(
    name: str,
    place: str,
    content: Callable[[], bytes],
    spoil: Damage | None,
    expected: Expected,
    *,
    command: tuple[str, ...] = PACK,
) -> Case:
    def prepare(folder: Path, material: Material, rng: np.random.Generator) -> None:
        copy_data(folder, material)
        if place.startswith("ground_truth"):
            (folder / "data/ground_truth/spot/0_mask.png").unlink()
        if command[0] == "predict":
            (folder / "run").symlink_to(material.run)
        file = folder / "data" / place
        file.write_bytes(content())
        if spoil is not None:
            spoil(file, rng)

    return Case(f"images/{name}", command, expected, Path(place).stem, prepare)
