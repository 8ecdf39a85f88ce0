"""Masks of other numbers, codings, colours and names, which mark the same pixels."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from tests.faults.case import Case, Expected

from .codings import SUFFIXES
from .made import Change, Content, packed, pillow
from .pngs import written as png
from .tiffs import written as tiff

Values = Callable[[np.ndarray], np.ndarray]
FOLDER = "ground_truth/spot"


def _two(sound: int, defect: int) -> Values:
    return lambda marked: np.where(marked, defect, sound).astype(np.uint8)


def _classes(*numbers: int) -> Values:
    """Return numbers of several classes in the defect, none of them 0."""

    def values(marked: np.ndarray) -> np.ndarray:
        columns = np.arange(marked.shape[1]) % len(numbers)
        return np.where(marked, np.array(numbers)[columns], 0).astype(np.uint8)

    return values


def _soft(marked: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    sound, defect = rng.integers(0, 128, marked.shape), rng.integers(128, 256, marked.shape)
    return np.where(marked, defect, sound).astype(np.uint8)


# Numbers, and what `--mask-values` calls them.
_VALUES: Mapping[str, tuple[Values, str]] = {
    "0-255": (_two(0, 255), "auto"),
    "0-1": (_two(0, 1), "auto"),
    "0-85": (_two(0, 85), "auto"),
    "1-2": (_two(1, 2), "auto"),
    "85-170": (_two(85, 170), "auto"),
    "254-255": (_two(254, 255), "auto"),
    "0-85-170": (_classes(85, 170), "auto"),
    "0-1-2-3": (_classes(1, 2, 3), "auto"),
    "0-128-255": (_classes(128, 255), "auto"),
    "soft": (_soft, "soft"),
    "soft-127-128": (_two(127, 128), "soft"),
    "255-0": (_two(255, 0), "inverted"),
    "1-0": (_two(1, 0), "inverted"),
    "170-85": (_two(170, 85), "inverted"),
}
_LOSSY = ("0-255", "0-85", "85-170", "255-0", "170-85")


def _palette(values: np.ndarray) -> bytes:
    return png(values, palette=np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1))


def _channels(*factors: int) -> Values:
    return lambda values: np.stack([values * factor for factor in factors], -1).astype(np.uint8)


_RGB, _RED, _BLUE = _channels(1, 1, 1), _channels(1, 0, 0), _channels(0, 0, 1)


def _opaque(values: np.ndarray) -> np.ndarray:
    return np.dstack([_RGB(values), np.full(values.shape, 255, np.uint8)])


_CODINGS: Mapping[str, tuple[str, Content]] = {
    "png-rgb": (".png", lambda values: png(_RGB(values))),
    "png-red": (".png", lambda values: png(_RED(values))),
    "png-blue": (".png", lambda values: png(_BLUE(values))),
    "png-rgba": (".png", lambda values: png(_opaque(values))),
    "png-palette": (".png", _palette),
    "png-interlaced": (".png", lambda values: png(values, interlaced=True)),
    "png-16-times-257": (".png", lambda values: png(values.astype(np.uint16) * 257)),
    "png-16": (".png", lambda values: png(values.astype(np.uint16))),
    "png-16-rgb": (".png", lambda values: png(_RGB(values).astype(np.uint16) * 257)),
    "tiff-lzw": (".tif", lambda values: tiff(values, compression="lzw")),
    "tiff-tiles": (".tiff", lambda values: tiff(values, tile=(16, 16), byteorder=">")),
    "tiff-planes": (".tif", lambda values: tiff(
        np.stack([values] * 3), photometric="rgb", planarconfig="separate")),
    "tiff-white-is-0": (".tif", lambda values: tiff(255 - values, photometric="miniswhite")),
    "tiff-16": (".tif", lambda values: tiff(values.astype(np.uint16), byteorder=">")),
    "tiff-int16": (".tif", lambda values: tiff(values.astype(np.int16))),
    "tiff-int32": (".tif", lambda values: tiff(values.astype(np.int32))),
    "tiff-uint32": (".tif", lambda values: tiff(values.astype(np.uint32), compression="deflate")),
    "bmp": (".bmp", pillow("BMP")),
    "bmp-rgb": (".bmp", pillow("BMP", "RGB")),
    "webp": (".webp", lambda values: bytes(imagecodecs.webp_encode(_RGB(values), lossless=True))),
}  # fmt: skip
_AS_THEY_ARE = ("png-16", "tiff-16", "tiff-int16", "tiff-int32", "tiff-uint32")  # not times 257
_IN_EVERY_CODING = ("0-255", "0-1", "0-85-170", "255-0")
_OF_EVERY_NUMBER = ("png-rgb", "png-16-times-257", "tiff-lzw")
_QUALITIES = (50, 90)


def cases() -> Iterator[Case]:
    """Cases of a data set that is packed."""
    for (name, (values, meant)), (coding, (suffix, write)) in itertools.product(
        _VALUES.items(), _CODINGS.items()
    ):
        if name not in _IN_EVERY_CODING and coding not in _OF_EVERY_NUMBER:
            continue
        if meant == "soft" and coding in _AS_THEY_ARE:
            continue  # half of the range of 16 bits is not meant
        yield _case(f"{name}/{coding}", values, write, suffix, meant)
    for (name, (values, meant)), quality in itertools.product(_VALUES.items(), _QUALITIES):
        if name in _LOSSY:
            for mode in ("L", "RGB"):
                write = pillow("JPEG", mode, quality=quality)
                yield _case(f"{name}/jpeg-{quality}-{mode}", values, write, ".jpg", meant)
    for sound, defect in ((0, 255), (255, 0)):
        meant = "auto" if defect else "inverted"
        for coding, suffix, write in (
            ("png-1-bit", ".png", pillow("PNG", "1")),
            ("bmp-1-bit", ".bmp", pillow("BMP", "1")),
            ("tiff-1-bit", ".tif", pillow("TIFF", "1")),
            ("tiff-fax", ".tif", pillow("TIFF", "1", compression="group4")),
            ("png-palette-1-bit", ".png", pillow("PNG", "P", bits=8)),
        ):
            yield _case(f"{sound}-{defect}/{coding}", _two(sound, defect), write, suffix, meant)
    yield from _colours()
    yield from _names()


def _case(
    name: str,
    values: Values,
    write: Content,
    suffix: str,
    meant: str = "auto",
    expected: Expected = "equal",
) -> Case:
    options = () if meant == "auto" else ("--mask-values", meant)
    change = _masks(lambda marked: write(values(marked)), suffix)
    return packed(f"masks/{name}", change, options=options, expected=expected, named=FOLDER)


def _masks(content: Content, suffix: str) -> Change:
    """Return the change of every mask to one with this content, made of what it marks."""

    def change(data: Path) -> None:
        for file in sorted((data / FOLDER).iterdir()):
            marked = np.asarray(Image.open(file)) > 0
            file.unlink()
            file.with_suffix(suffix).write_bytes(content(marked))

    return change


def _colours() -> Iterator[Case]:
    colours = {
        "red": (255, 0, 0),
        "white": (255, 255, 255),
        "yellow": (255, 255, 0),
        "dark-red": (128, 0, 0),
        "blue": (0, 0, 255),
        "black": (0, 0, 0),
    }
    for (sound, of_sound), (defect, of_defect) in itertools.permutations(colours.items(), 2):
        if max(of_sound) > max(of_defect):
            continue  # dark defects are read by --mask-values inverted

        def content(
            marked: np.ndarray,
            of_sound: tuple[int, ...] = of_sound,
            of_defect: tuple[int, ...] = of_defect,
        ) -> bytes:
            return png(np.where(marked[..., None], of_defect, of_sound).astype(np.uint8))

        # Of one brightness either colour may be meant.
        told = max(of_sound) < max(of_defect)
        yield packed(
            f"masks/{defect}-on-{sound}", _masks(content, ".png"),
            expected="equal" if told else "same", named=FOLDER,
            cause="" if told else "colours",
        )  # fmt: skip
    for name, colour in {**colours, "none": (7, 9, 8)}.items():
        for full in (255, 1):

            def seen(
                marked: np.ndarray, colour: tuple[int, ...] = colour, full: int = full
            ) -> bytes:
                alpha = np.where(marked, full, 0).astype(np.uint8)
                return png(np.dstack([np.full((*marked.shape, 3), colour, np.uint8), alpha]))

            yield packed(f"masks/alpha-{full}-of-{name}", _masks(seen, ".png"))


def _names() -> Iterator[Case]:
    for end, suffix in itertools.product(("", "_mask"), (*SUFFIXES, ".PNG", ".TIF", ".Tiff")):
        yield packed(f"masks/called-N{end}{suffix}", _renamed("{}" + end + suffix))
    for name in ("{}_MASK.png", "{}_Mask.png", "mask_{}.png", "{}-mask.png", "{} mask.png"):
        yield packed(
            f"masks/called-{name.format('N')}", _renamed(name),
            expected="same", cause="no image of that name",
        )  # fmt: skip


def _renamed(name: str) -> Change:
    def change(data: Path) -> None:
        for file in sorted((data / FOLDER).iterdir()):
            file.rename(file.with_name(name.format(file.name[0])))

    return change
