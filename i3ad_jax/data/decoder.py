"""Decoding of image files: which ones are read, and what their numbers mean.

Pillow decodes. It reads some TIFF files as other pixels than they hold, so each combination of
their properties is either known to be right, by comparison with other decoders, or refused by its
name. This module needs NumPy and Pillow alone: an exported detector takes a copy of it along.
"""

import io
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "BMP", "DIB", "TIFF", "WEBP")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".webp"}
)
MAX_PIXELS = 100_000_000
FULL_DEPTH = 16

# TIFF tags (TIFF 6.0, 1992)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_ORIENTATION, _CHANNELS, _PLANAR, _EXTRA, _SAMPLE_FORMAT = 274, 277, 284, 338, 339
_REDUCED, _DESCRIPTION, _DNG = 254, 270, 50706
_MIN_IS_WHITE, _GREY, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6
_PHOTOMETRICS = {0: "grey, white is 0", 1: "grey", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr"}
_PHOTOMETRICS |= {8: "CIE L*a*b*", 9: "ICC L*a*b*", 32803: "colour filter array"}
_NUMBERS = {1: "unsigned integer", 2: "signed integer", 3: "floating-point", 4: "undefined"}
_JPEG_IN_TIFF = {6, 7}
_LOSSY_IN_TIFF = {*_JPEG_IN_TIFF, 33003, 33005, 34712, 34892, 50001}  # JPEG, JPEG 2000, WebP
_PREMULTIPLIED = 1  # of extra channels
_NO_IMAGE = "not a PNG, JPEG, BMP, TIFF or WebP image; convert or remove it"
_CONVERT = "convert it to 8 or 16 bits, as PNG"
_HEADERS = Lock()  # Pillow's warnings are caught by changing a state of the whole process


class UndecodableError(ValueError):
    """A file is not an image that can be used; the message, without its name, says what to do."""


@dataclass(frozen=True)
class Decoded:
    """An upright image as its file holds it.

    Attributes:
        image: of 8 bits or fewer, in one of Pillow's modes L, LA, RGB and RGBA; None for more.
        deep: of more than 8 bits, uint16 `height width channels`, in the order of these modes.
        bits: of each number in `deep`.
        lossy: whether the file's compression changes numbers, as JPEG does.
        complaints: warnings of Pillow while it read the file.
    """

    image: Image.Image | None
    deep: np.ndarray | None
    bits: int
    lossy: bool = False
    complaints: tuple[str, ...] = ()

    def rgb(self, *, bit_depth: int = FULL_DEPTH) -> Image.Image:
        """Return the image as Pillow's RGB, without its alpha channel.

        Args:
            bit_depth: bits that the numbers of a 16-bit image use. They are scaled linearly from
                that range and rounded: for 16 bits, value / 257.

        Raises:
            UndecodableError: a 16-bit image has numbers beyond `bit_depth`.
        """
        if self.deep is None:
            assert self.image is not None
            return self.image.convert("RGB")
        colours = self.deep[..., :1] if self.deep.shape[-1] < 3 else self.deep[..., :3]
        full = 2 ** min(bit_depth, self.bits) - 1
        if (peak := int(colours.max())) > full:
            raise UndecodableError(
                f"has values up to {peak}, which need {peak.bit_length()} bits;"
                f" give --bit-depth {peak.bit_length()} or more"
            )
        scaled = ((colours.astype(np.uint32) * 255 + full // 2) // full).astype(np.uint8)
        return Image.fromarray(np.broadcast_to(scaled, (*scaled.shape[:2], 3)))

    @property
    def peak(self) -> int | None:
        """Largest number of the colours of a 16-bit image; None for another."""
        deep = self.deep is not None and self.bits == FULL_DEPTH
        return int(np.max(self.channels[0])) if deep else None

    @property
    def channels(self) -> tuple[list[np.ndarray], np.ndarray | None]:
        """The colour channels and the alpha channel, if any, uint8 or uint16 `height width`."""
        values = np.atleast_3d(np.asarray(self.image) if self.deep is None else self.deep)
        colours = values.shape[-1] - (1 - values.shape[-1] % 2)
        channels = list(np.moveaxis(values, -1, 0))
        return channels[:colours], channels[colours] if channels[colours:] else None


def decode(content: bytes) -> Decoded:
    """Return the upright image in a file; of a camera's JPEG with several, the first.

    Raises:
        UndecodableError: the file is not an image, is damaged, or has more than 100 million pixels
            or several pages or frames. Or its numbers have no known range, or an unsupported
            combination of properties, such as floating-point or L*a*b* colours.
    """
    with _one_error():
        tiff = _Tiff.of(content)
    with _one_error("" if tiff is None else f"; {tiff}"):
        if tiff is not None:
            return _decode_tiff(tiff, content)
        opened, complaints = _open(content)
        lossless = opened.format not in ("JPEG", "MPO", "WEBP") or b"VP8L" in content[:64]
        return replace(_loaded(opened, content), lossy=not lossless, complaints=complaints)


def from_pillow(image: Image.Image) -> Decoded:
    """Return an image that Pillow has opened or made, upright.

    Raises:
        UndecodableError: as for `decode`.
    """
    with _one_error():
        _check_pixels(image)
        image.load()
        return _by_mode(ImageOps.exif_transpose(image))


def size_of(content: bytes) -> tuple[int, int]:
    """Return height and width that an image file states, in pixels, without decoding it.

    Raises:
        UndecodableError: the file cannot be opened, or states more than 100 million pixels.
    """
    with _one_error():
        # of a TIFF Pillow may not know the kind
        opened = _Tiff.of(content) or _open(content)[0]
        _check_pixels(opened)
        return opened.height, opened.width


def _open(content: bytes) -> tuple[Image.Image, tuple[str, ...]]:
    """Open a file and read all but its pixels; return what Pillow warned of, too."""
    with _HEADERS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
            _check_pixels(opened)
            if opened.format != "MPO":  # a camera's JPEG: the others are smaller or depth
                _check_frames(getattr(opened, "n_frames", 1))
            if "exif" in opened.info:  # else it would load the pixels of a PNG
                opened.getexif()  # kept: it warns only now
        except Image.DecompressionBombError:
            raise _too_large() from None
        except UnidentifiedImageError as error:
            known = content.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))
            raise (_damaged("its first bytes are damaged") if known else error) from None
    texts = (str(each.message) for each in caught if each.category is UserWarning)
    return opened, tuple(dict.fromkeys(" ".join(text.split()) for text in texts))


def _loaded(opened: Any, content: bytes) -> Decoded:
    """Return the pixels of a file that Pillow decodes rightly."""
    raw_modes = [_raw_mode(tile) for tile in getattr(opened, "tile", ())]
    if raw_modes == ["LA;16B"]:  # Pillow would keep the high bytes: each byte becomes a channel
        opened.tile, opened._mode = [_retold(opened.tile[0], "RGBA")], "RGBA"
    opened.load()
    found = _by_mode(ImageOps.exif_transpose(opened))
    if raw_modes == ["LA;16B"]:
        each = np.asarray(found.image).astype(np.uint16)
        return Decoded(None, each[..., ::2] << 8 | each[..., 1::2], FULL_DEPTH)
    if raw_modes and all(mode.startswith(("RGB;16", "RGBA;16", "RGBX;16")) for mode in raw_modes):
        deep = np.asarray(found.image).astype(np.uint16) << 8 | _low_bytes(content)
        return Decoded(None, deep, FULL_DEPTH)
    return found


def _low_bytes(content: bytes) -> np.ndarray:
    """Return the low bytes of 16-bit colours: Pillow is told that they are the high ones."""
    opened: Any = _open(content)[0]
    other = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
    modes = [_raw_mode(tile) for tile in opened.tile]
    opened.tile = list(map(_retold, opened.tile, [mode[:-1] + other[mode[-1]] for mode in modes]))
    opened.load()
    return np.asarray(ImageOps.exif_transpose(opened))


def _retold(tile: Any, mode: str) -> tuple[Any, ...]:
    """Return a part of a file for a decoder that is told another raw mode."""
    arguments = mode if isinstance(tile[3], str) else (mode, *tile[3][1:])
    changed = *tile[:3], arguments
    return type(tile)(*changed) if hasattr(tile, "_fields") else changed  # Pillow before 11


def _raw_mode(tile: Any) -> str:
    arguments = tile[3]
    mode = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return mode if isinstance(mode, str) else ""


def _by_mode(image: Image.Image) -> Decoded:
    """Return a loaded image in one of few modes."""
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise UndecodableError(f"its grey values exceed 16 bits; {_CONVERT}")
        return Decoded(None, values.astype(np.uint16)[..., None], FULL_DEPTH)
    if mode == "F":
        raise UndecodableError(f"floating-point pixels have no known range; {_CONVERT}")
    # "P" by way of RGBA: Pillow warns where a transparent palette loses its alpha in one step.
    modes = {"1": "L", "La": "LA", "P": "RGBA", "PA": "RGBA", "RGBa": "RGBA"}
    kept = mode if mode in ("L", "LA", "RGB", "RGBA") else modes.get(mode, "RGB")
    return Decoded(image if mode == kept else image.convert(kept), None, 8)


def _decode_tiff(tiff: "_Tiff", content: bytes) -> Decoded:
    match tiff.reader():
        case "tifffile":
            found, complaints = _planes(tiff, content), ()
        case "pillow":
            try:
                opened, complaints = _open(content)
            except UnidentifiedImageError:
                raise tiff.not_read() from None
            found = _loaded(opened, content)
        case _:
            raise tiff.not_read()
    deep = found.deep
    if deep is not None and tiff.photometric == _MIN_IS_WHITE:  # Pillow inverts 8 bits alone
        deep = np.uint16(2 ** tiff.bits[0] - 1) - deep
    return replace(
        found,
        deep=deep,
        bits=min(max(8, tiff.bits[0]), FULL_DEPTH),
        lossy=tiff.compression in _LOSSY_IN_TIFF,
        complaints=complaints,
    )


def _planes(tiff: "_Tiff", content: bytes) -> Decoded:
    """Return 16-bit channels that Pillow mixes up or does not know."""
    try:
        import tifffile  # scikit-image depends on it
    except ImportError as error:  # beside an exported detector
        raise UndecodableError(f"{tiff}: needs tifffile; pip install tifffile") from error
    _check_pixels(tiff)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        _check_frames(len(file.pages))
        try:
            values = file.pages[0].asarray()
        except ValueError as error:  # a compression for which it needs another package
            raise tiff.not_read() from error
    channels = values if tiff.planar else np.moveaxis(values, -1, 0)
    return Decoded(
        None, np.stack([_turned(each, tiff.orientation) for each in channels], -1), FULL_DEPTH
    )


def _turned(channel: np.ndarray, orientation: int) -> np.ndarray:
    """Return a channel of 16 bits, upright."""
    image = Image.fromarray(np.ascontiguousarray(channel.astype(np.uint16)))
    image.getexif()[_ORIENTATION] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


@dataclass(frozen=True)
class _Tiff:
    """Properties of a TIFF file that decide how its numbers are stored, by their tags."""

    photometric: int
    bits: tuple[int, ...]
    numbers: tuple[int, ...]
    planar: bool
    extra: tuple[int, ...]
    compression: int
    orientation: int
    height: int
    width: int

    @classmethod
    def of(cls, content: bytes) -> "_Tiff | None":
        """Return those of a file; None if it is not a TIFF."""
        if content[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            return None
        if content[:4] == b"MM\0+":  # which Pillow takes for another one
            raise UndecodableError(f"BigTIFF in big-endian byte order is not read; {_CONVERT}")
        big = b"+" in content[2:4]
        tags: Any = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if big else 8])
        file = io.BytesIO(content)
        file.seek(tags.next)
        with _HEADERS, warnings.catch_warnings():  # again where Pillow opens it
            warnings.simplefilter("ignore")
            tags.load(file)
            if _HEIGHT not in tags or _WIDTH not in tags:
                raise _damaged("TIFF without height and width")
            if _DNG in tags or int(tags.get(_REDUCED, 0)) & 1:
                raise UndecodableError(f"a raw file of a camera, or a preview; {_CONVERT}")
            stack = re.match(r"(?ms)ImageJ=.*?^images=(\d+)", str(tags.get(_DESCRIPTION, "")))
            _check_frames(int(stack[1]) if stack else 1)  # which has one page alone
            channels, bits = int(tags.get(_CHANNELS, 1)), tuple(tags.get(_BITS, (1,)))
            return cls(
                photometric=int(tags.get(_PHOTOMETRIC, _GREY)),
                bits=bits * channels if len(bits) == 1 else bits,
                numbers=tuple(tags.get(_SAMPLE_FORMAT, (1,))),
                planar=channels > 1 and tags.get(_PLANAR, 1) == 2,
                extra=tuple(tags.get(_EXTRA, ())),
                compression=int(tags.get(_COMPRESSION, 1)),
                orientation=int(tags.get(_ORIENTATION, 1)),
                height=int(tags[_HEIGHT]),
                width=int(tags[_WIDTH]),
            )

    def not_read(self) -> UndecodableError:
        """Return what to raise for a combination of properties that is not read."""
        known = {*self.numbers} == {1}
        why = "this combination is not read" if known else "such numbers have no known range"
        return UndecodableError(f"{self}: {why}; {_CONVERT}")

    def reader(self) -> Literal["pillow", "tifffile"] | None:
        """Return the package that reads it rightly, if any."""
        bits, one_channel = self.bits[0], len(self.bits) == 1
        if self.photometric == _GREY and one_channel and bits in (16, 32):
            return "pillow" if set(self.numbers) <= {1, 2} else None
        if {*self.numbers} != {1} or len({*self.bits}) != 1:
            return None
        colours = {_MIN_IS_WHITE: 1, _GREY: 1, _RGB: 3, _PALETTE: 1, _CMYK: 4, _YCBCR: 3}
        extra = len(self.bits) - colours.get(self.photometric, 0)
        if bits == 8 or (extra == 0 and one_channel):
            return "pillow" if self._read_by_pillow(bits, extra) else None
        if bits != 16 or self.photometric not in (_GREY, _RGB) or _PREMULTIPLIED in self.extra:
            return None
        by_tifffile = self.planar or self.photometric == _GREY
        return None if extra > 1 else "tifffile" if by_tifffile else "pillow"

    def _read_by_pillow(self, bits: int, extra: int) -> bool:
        """Return whether Pillow reads numbers of 8 bits, or one channel of other bits, rightly."""
        match self.photometric, extra:
            case (0 | 1, 0):
                return bits in (1, 2, 4, 8, 12, 16)
            case (3, 0):
                return bits in (1, 2, 4, 8)
            case (1, 1):
                return not self.planar
            case (2, _):
                return extra in (0, len(self.extra)) and not (
                    self.planar and _PREMULTIPLIED in self.extra
                )
            case (6, 0):
                return self.compression in _JPEG_IN_TIFF and not self.planar
            case other:
                return other == (_CMYK, 0)

    def __str__(self) -> str:
        channels = len(self.bits)
        kinds = " and ".join(_NUMBERS.get(kind, f"unknown ({kind})") for kind in {*self.numbers})
        bits = " and ".join(f"{each}-bit" for each in sorted({*self.bits}))
        planes = " stored plane by plane" if self.planar else ""
        colour = _PHOTOMETRICS.get(self.photometric, f"photometric {self.photometric}")
        return (
            f"TIFF of {bits} {kinds} numbers, {channels} channel(s){planes}, {colour},"
            f" compression {self.compression}"
        )


def _check_frames(frames: int) -> None:
    if frames > 1:
        raise UndecodableError(f"holds {frames} pictures; save the one that is meant by itself")


def _check_pixels(opened: Image.Image | _Tiff) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise _too_large()


def _damaged(reason: str) -> UndecodableError:
    return UndecodableError(f"cannot be read ({reason}); replace the file or remove it")


def _too_large() -> UndecodableError:
    return UndecodableError(f"more than {MAX_PIXELS:,} pixels; scale it down or remove it")


@contextmanager
def _one_error(about: str = "") -> Iterator[None]:
    """Turn whatever the decoders raise in the block into an UndecodableError."""
    try:
        yield
    except UndecodableError:
        raise
    except UnidentifiedImageError:
        raise UndecodableError(_NO_IMAGE) from None
    except Exception as error:  # On damaged files Pillow's decoders raise nearly any type.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise _damaged(f"{reason or type(error).__name__}{about}") from error
