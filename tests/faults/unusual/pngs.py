"""PNG files: depths, interlacing, palettes, colour keys and all that stands beside the pixels."""

import itertools
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import imagecodecs
import numpy as np
from PIL import ImageCms

from tests.faults.case import Case

from .made import Content, of_16_bits, scored, with_alpha
from .tiffs import indices

Chunk = tuple[bytes, bytes]
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
_PASSES = (*_PASSES, (0, 1, 1, 2))  # left, top and steps of Adam7
_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # colour type by channels


def written(
    values: np.ndarray,
    *,
    bits: int | None = None,
    palette: np.ndarray | None = None,
    interlaced: bool = False,
    before: Sequence[Chunk] = (),
    after: Sequence[Chunk] = (),
    parts: int = 1,
) -> bytes:
    """Return a PNG file.

    Args:
        values: uint8 or uint16, `height width` or `height width channels`.
        bits: of each number; by default those of the type.
        palette: colours that the numbers stand for, `n 3`.
        interlaced: by Adam7.
        before: chunks that stand before the pixels.
        after: chunks that follow them.
        parts: number of the chunks that the pixels are in.
    """
    values = values if values.ndim == 3 else values[..., None]
    bits = bits or 8 * values.dtype.itemsize
    kind = _KINDS[values.shape[-1]] if palette is None else 3
    header = struct.pack(
        ">IIBBBBB", values.shape[1], values.shape[0], bits, kind, 0, 0, int(interlaced)
    )
    passes = _PASSES if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(
        _rows(values[top::down, left::right], bits) for left, top, right, down in passes
    )
    data = zlib.compress(rows)
    size = -(-len(data) // parts)
    chunks = [(b"IHDR", header), *before]
    if palette is not None:
        chunks.insert(1, (b"PLTE", palette.astype(np.uint8).tobytes()))
    chunks += [(b"IDAT", data[at : at + size]) for at in range(0, len(data), size)]
    chunks += [*after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk with its length and checksum."""
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def _rows(values: np.ndarray, bits: int) -> bytes:
    if not values.size:
        return b""
    if bits < 8:
        each = np.unpackbits(values[..., :1], axis=-1)[..., -bits:]
        packed = np.packbits(each.reshape(len(values), -1), axis=-1)
    else:
        big = values.astype(">u2") if bits == 16 else values
        packed = np.frombuffer(big.tobytes(), np.uint8).reshape(len(values), -1)
    return np.pad(packed, ((0, 0), (1, 0))).tobytes()  # each row after a 0: no filter


def _text(name: bytes, key: bytes, content: bytes) -> Chunk:
    return name, key + b"\0" + content


_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_CHUNKS: dict[str, dict[str, Sequence[Chunk]]] = {
    "gamma": {"before": [(b"gAMA", struct.pack(">I", 100_000))]},
    "gamma-srgb": {"before": [(b"gAMA", struct.pack(">I", 45_455)), (b"sRGB", b"\0")]},
    "chromaticities": {"before": [(b"cHRM", struct.pack(">8I", *range(1000, 9000, 1000)))]},
    "profile": {"before": [_text(b"iCCP", b"sRGB", b"\0" + zlib.compress(_PROFILE))]},
    "profile-broken": {"before": [_text(b"iCCP", b"x", b"\0" + zlib.compress(b"no profile"))]},
    "significant-bits": {"before": [(b"sBIT", b"\5\6\5")]},
    "background": {"before": [(b"bKGD", struct.pack(">3H", 1, 2, 3))]},
    "resolution": {"before": [(b"pHYs", struct.pack(">IIB", 2835, 5669, 1))]},
    "offset": {"before": [(b"oFFs", struct.pack(">iiB", -3, 4, 0))]},
    "time": {"after": [(b"tIME", struct.pack(">HBBBBB", 2020, 2, 30, 25, 61, 61))]},
    "text": {"before": [_text(b"tEXt", b"Comment", b"caf\xe9")]},
    "text-compressed": {"before": [_text(b"zTXt", b"Comment", b"\0" + zlib.compress(b"x"))]},
    "text-unicode": {"after": [_text(b"iTXt", b"Title", b"\0\0de\0\0\xc3\xa4\xf0\x9f\x98\x80")]},
    "exif": {"before": [(b"eXIf", b"MM\0*\0\0\0\x08\0\0\0\0\0\0")]},
    "histogram-private": {"before": [(b"prVt", bytes(40))], "after": [(b"teSt", b"")]},
    "light-levels": {"before": [(b"cICP", b"\1\x0d\0\1"), (b"cLLI", bytes(8))]},
}  # fmt: skip
_KEY_8, _KEY_16 = struct.pack(">3H", 255, 255, 255), struct.pack(">3H", 65535, 65535, 65535)


def cases() -> Iterator[Case]:
    """Cases of a picture that is scored."""
    kinds: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
        "grey": ("grey", lambda values: values),
        "grey-alpha": ("grey", with_alpha),
        "rgb": ("colour", lambda values: values),
        "rgb-alpha": ("colour", with_alpha),
    }
    for (kind, (picture, channels)), bits, interlaced, parts in itertools.product(
        kinds.items(), (8, 16), (False, True), (1, 5)
    ):

        def content(
            values: np.ndarray,
            kind: str = kind,
            channels: Callable[[np.ndarray], np.ndarray] = channels,
            bits: int = bits,
            interlaced: bool = interlaced,
            parts: int = parts,
        ) -> bytes:
            stored = channels(of_16_bits(values) if bits == 16 else values)
            return written(stored, interlaced=interlaced, parts=parts)

        name = f"{kind}-{bits}{'-interlaced' if interlaced else ''}-{parts}"
        yield scored(f"png/{name}", picture, "picture.png", content)
    for number, (name, chunks) in enumerate(_CHUNKS.items()):
        bits = (8, 16)[number % 2]
        yield scored(f"png/with-{name}-{bits}", "colour", "p.png", _stored(bits, **chunks))
    keys = {"grey-8": _KEY_8[:2], "grey-16": _KEY_16[:2], "colour-8": _KEY_8, "colour-16": _KEY_16}
    for (name, key), interlaced in itertools.product(keys.items(), (False, True)):
        picture, bits = name.split("-")
        stored = _stored(int(bits), before=[(b"tRNS", key)], interlaced=interlaced)
        end = "-interlaced" if interlaced else ""
        yield scored(f"png/colour-key-{name}{end}", picture, "p.png", stored)
    yield from _few_bits()
    for level, filter_ in itertools.product((0, 9), (8, 128, 248)):

        def filtered(values: np.ndarray, level: int = level, filter_: int = filter_) -> bytes:
            return bytes(imagecodecs.png_encode(values, level=level, filter=filter_))

        yield scored(f"png/level-{level}-filter-{filter_}", "colour", "p.png", filtered)


def _stored(bits: int, **options: Any) -> Content:
    return lambda values: written(of_16_bits(values) if bits == 16 else values, **options)


def _few_bits() -> Iterator[Case]:
    for (picture, bits), interlaced in itertools.product(
        (("black-white", 1), ("4-greys", 2), ("16-greys", 4)), (False, True)
    ):
        end = "-interlaced" if interlaced else ""

        def content(values: np.ndarray, bits: int = bits, interlaced: bool = interlaced) -> bytes:
            return written(values // (255 // (2**bits - 1)), bits=bits, interlaced=interlaced)

        yield scored(f"png/grey-{bits}{end}", picture, "p.png", content)
    for bits, interlaced, transparency, more in itertools.product(
        (4, 8), (False, True), (b"", b"\xff\x80\1"), (0, 3)
    ):

        def palette(
            values: np.ndarray,
            bits: int = bits,
            interlaced: bool = interlaced,
            transparency: bytes = transparency,
            more: int = more,
        ) -> bytes:
            numbers, colours = indices(values)
            unused = np.full((more, 3), 99, np.uint8)
            before = [(b"tRNS", transparency)] if transparency else []
            return written(
                numbers + more, bits=bits, palette=np.concatenate([unused, colours]),
                interlaced=interlaced, before=before,
            )  # fmt: skip

        end = f"{'-interlaced' if interlaced else ''}{'-transparent' if transparency else ''}"
        yield scored(f"png/palette-{bits}-{more}-unused{end}", "few-colours", "p.png", palette)
