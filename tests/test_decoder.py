"""Decoded pixels against other decoders, over every combination of properties that files have.

The oracles are tifffile for TIFF and imagecodecs (libpng, libjpeg-turbo, libwebp) for the others.
"""

import io
import itertools
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from i3ad_jax.data.decoder import Decoded, UndecodableError, decode, size_of
from i3ad_jax.data.images import read_image
from i3ad_jax.errors import DoubtfulImageWarning

HEIGHT, WIDTH = 16, 20
RNG = np.random.default_rng(0)
COLOURS = {
    "minisblack": 1,
    "miniswhite": 1,
    "rgb": 3,
    "separated": 4,
    "cielab": 3,
    "ycbcr": 3,
}
ORDERS: tuple[Literal["<"], Literal[">"]] = ("<", ">")
NUMBERS = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8")


class Combination(NamedTuple):
    """Properties of a TIFF file; `extra` are its channels beside colours."""

    numbers: str
    photometric: str
    extra: tuple[str, ...]
    planar: bool
    compression: str | None
    byte_order: Literal["<", ">"]
    tiled: bool


def combinations() -> Iterator[Combination]:
    extras = ((), ("unassalpha",), ("assocalpha",), ("unspecified",), ("unassalpha", "unspecified"))
    for numbers, photometric, extra, planar, compression in itertools.product(
        NUMBERS, COLOURS, extras, (False, True), (None, "lzw", "deflate", "packbits", "jpeg")
    ):
        channels = COLOURS[photometric] + len(extra)
        if (planar and channels == 1) or (compression == "jpeg" and numbers != "u1"):
            continue
        if compression is not None and numbers not in ("u1", "u2"):  # whatever it is, refused
            continue
        # All properties together would take minutes; a byte order and a tiling go with each.
        for byte_order in ORDERS:
            tiled = byte_order == ">"
            yield Combination(numbers, photometric, extra, planar, compression, byte_order, tiled)


def as_tiff(made: Combination) -> tuple[bytes, np.ndarray] | None:
    """Return a file, and its numbers as tifffile reads them; None if tifffile writes none."""
    kind = np.dtype(made.numbers)
    colours = COLOURS[made.photometric]
    shape = (HEIGHT, WIDTH, colours + len(made.extra))
    values = RNG.random(shape)
    if made.extra[:1] == ("assocalpha",):  # colours are multiplied by it
        values[..., :colours] *= values[..., colours : colours + 1]
    values = values if kind.kind == "f" else values * np.iinfo(kind).max
    values = values.astype(kind)
    stored = np.moveaxis(values, -1, 0) if made.planar else values
    file = io.BytesIO()
    options: dict[str, Any] = {"planarconfig": "separate" if made.planar else "contig"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tifffile.imwrite(
                file,
                stored[..., 0] if shape[-1] == 1 else stored,
                byteorder=made.byte_order,
                photometric=made.photometric,
                extrasamples=made.extra or None,
                compression=made.compression,
                tile=(16, 16) if made.tiled else None,
                rowsperstrip=None if made.tiled else 5,
                **(options if shape[-1] > 1 else {}),
            )
            read = tifffile.imread(io.BytesIO(file.getvalue()))
    except (ValueError, TypeError, RuntimeError, KeyError, NotImplementedError):
        return None
    read = read[..., None] if shape[-1] == 1 else np.moveaxis(read, 0, -1) if made.planar else read
    return file.getvalue(), read


def channels_of(found: Decoded) -> np.ndarray:
    colours, alpha = found.channels
    return np.stack([*colours, *([] if alpha is None else [alpha])], -1)


def expected_of(made: Combination, values: np.ndarray) -> np.ndarray:
    """Return the colours, and the alpha channel if there is one, by the TIFF specification."""
    colours = COLOURS[made.photometric]
    if made.photometric == "miniswhite":
        return np.iinfo(values.dtype).max - values
    if made.photometric == "separated":
        key = 255 - values[..., 3:].astype(int)
        product = (255 - values[..., :3].astype(int)) * key
        return np.round(product / 255)
    if made.extra[:1] == ("assocalpha",):
        alpha = values[..., colours : colours + 1].astype(float)
        pure = np.where(alpha > 0, values[..., :colours] * 255.0 / np.maximum(alpha, 1), 0)
        return np.concatenate([np.clip(np.round(pure), 0, 255), alpha], -1)
    with_alpha = colours + (made.extra[:1] == ("unassalpha",))
    return values[..., :with_alpha]


def test_tiffs_are_decoded_as_by_tifffile_or_refused_by_their_properties() -> None:
    outcomes: Counter[str] = Counter()
    for made in combinations():
        written = as_tiff(made)
        if written is None:
            continue
        content, values = written
        try:
            found = decode(content)
        except UndecodableError as error:
            outcomes["refused"] += 1
            told = str(error)
            bits = f"{8 * np.dtype(made.numbers).itemsize}-bit"
            assert bits in told or "exceed 16 bits" in told, (made, told)
            assert "convert" in told or "replace" in told, (made, told)
            continue
        outcomes["accepted"] += 1
        decoded, expected = channels_of(found), expected_of(made, values)
        # Pillow multiplies CMYK and divides by alpha in whole numbers.
        rounding = 1 if made.photometric == "separated" or "assocalpha" in made.extra else 0
        shared = min(decoded.shape[-1], expected.shape[-1])
        assert shared >= (1 if COLOURS[made.photometric] == 1 else 3), made
        difference = np.abs(decoded[..., :shared].astype(int) - expected[..., :shared].astype(int))
        if "assocalpha" in made.extra:  # a colour that is not seen is none
            difference = difference[expected[..., -1] > 0]
        assert difference.max() <= rounding, made
        assert found.lossy == (made.compression == "jpeg"), made
    print(outcomes)
    assert outcomes["accepted"] >= 100
    assert outcomes["accepted"] + outcomes["refused"] >= 600


def test_planes_of_16_bits_are_put_together() -> None:
    values = np.zeros((3, 4, 4), "u2")
    values[0] = np.arange(16).reshape(4, 4) * 4096
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric="rgb", planarconfig="separate")
    assert np.asarray(decode(file.getvalue()).rgb())[0, :, 0].tolist() == [0, 16, 32, 48]
    assert size_of(file.getvalue()) == (4, 4)


@pytest.mark.parametrize("numbers", ["u1", "u2"])
def test_white_may_be_0(numbers: str) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4), numbers), photometric="miniswhite")
    assert np.asarray(decode(file.getvalue()).rgb()).min() == 255


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("planar", [False, True])
def test_16_bit_colours_are_turned_upright(
    compression: str | None, orientation: int, planar: bool
) -> None:
    values = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype("u2")
    upright = [
        lambda a: a,
        np.fliplr,
        lambda a: a[::-1, ::-1],
        np.flipud,
        lambda a: a.swapaxes(0, 1),
        lambda a: np.rot90(a, -1),
        lambda a: a[::-1, ::-1].swapaxes(0, 1),
        np.rot90,
    ][orientation - 1]
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.moveaxis(values, -1, 0) if planar else values,
        photometric="rgb",
        planarconfig="separate" if planar else "contig",
        compression=compression,
        extratags=[(274, "H", 1, orientation, True)],
    )
    found = decode(file.getvalue())
    np.testing.assert_array_equal(channels_of(found), upright(values))


@pytest.mark.parametrize("orientation", [1, 6])
def test_16_bit_grey_with_alpha_keeps_its_low_bytes(orientation: int) -> None:
    values = RNG.integers(0, 4096, (HEIGHT, WIDTH, 2)).astype("u2")
    file = bytes(imagecodecs.png_encode(values))
    exif, turned = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(values[..., 0]).save(turned, "png", exif=exif)
    start = turned.getvalue().index(b"eXIf") - 4
    length = int.from_bytes(turned.getvalue()[start : start + 4], "big")
    found = decode(file[:33] + turned.getvalue()[start : start + 12 + length] + file[33:])
    upright = values if orientation == 1 else np.rot90(values, -1)
    np.testing.assert_array_equal(channels_of(found), upright)
    expected = np.round(upright[..., 0] * (255 / 4095))
    np.testing.assert_array_equal(np.asarray(found.rgb(bit_depth=12))[..., 0], expected)


def test_bigtiffs_are_read_or_refused_by_their_byte_order() -> None:
    values = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype("u1")
    files = {}
    for order in ORDERS:
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="rgb", bigtiff=True, byteorder=order)
        files[order] = file.getvalue()
    np.testing.assert_array_equal(channels_of(decode(files["<"])), values)
    for read in (decode, size_of):
        with pytest.raises(UndecodableError, match="BigTIFF in big-endian byte order"):
            read(files[">"])


FEW_BITS = [(bits, None) for bits in (1, 2, 4, 12)]
WHOLE_BYTES = [*itertools.product((8, 16), (None, "packbits", "deflate", "lzw"))]


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    """Return rows of numbers, the highest bit first and each row in whole bytes, uint8."""
    digits = values[..., None] >> np.arange(bits)[::-1] & 1
    return np.packbits(digits.reshape(len(values), -1).astype(np.uint8), axis=1)


@pytest.mark.parametrize(("bits", "compression"), FEW_BITS + WHOLE_BYTES)
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_grey_of_every_depth_uses_its_whole_range(
    bits: int, compression: str | None, byte_order: Literal["<", ">"]
) -> None:
    values = RNG.integers(0, 2**bits, (HEIGHT, WIDTH)).astype("u1" if bits <= 8 else "u2")
    values[0, :2] = 0, 2**bits - 1
    file = io.BytesIO()
    stored = values if bits in (8, 16) else packed(values, bits)
    tifffile.imwrite(file, stored, byteorder=byte_order, compression=compression)
    if bits not in (8, 16):
        file.seek(0)
        with tifffile.TiffFile(file) as opened:
            tags = opened.pages.first.tags
            tags["ImageWidth"].overwrite(WIDTH)
            tags["BitsPerSample"].overwrite(bits)
    if (bits, byte_order) == (12, ">"):
        with pytest.raises(UndecodableError, match="12-bit"):
            decode(file.getvalue())
        return
    expected = np.round(values.astype(float) * 255 / (2**bits - 1))
    np.testing.assert_array_equal(np.asarray(decode(file.getvalue()).rgb())[..., 0], expected)


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("level", [0, 9])
def test_pngs_are_decoded_as_by_libpng(kind: str, channels: int, level: int) -> None:
    values = RNG.integers(0, np.iinfo(kind).max + 1, (HEIGHT, WIDTH, channels)).astype(kind)
    file = bytes(imagecodecs.png_encode(values[..., 0] if channels == 1 else values, level=level))
    np.testing.assert_array_equal(imagecodecs.png_decode(file).reshape(values.shape), values)
    found = decode(file)
    np.testing.assert_array_equal(channels_of(found), values)
    colours = values[..., : channels - (channels % 2 == 0)]
    assert found.peak == (None if found.deep is None else colours.max())


@pytest.mark.parametrize(("bits", "mode"), [(1, "P"), (2, "P"), (4, "P"), (1, "1")])
def test_pngs_of_few_bits_are_decoded_as_by_libpng(bits: int, mode: str) -> None:
    values = RNG.integers(0, 2**bits, (HEIGHT, WIDTH)).astype("u1")
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette(RNG.integers(0, 256, 3 * 2**bits).astype("u1").tobytes())
    else:
        image = Image.fromarray(values * 255).convert("1")
    file = io.BytesIO()
    image.save(file, "png", bits=bits)
    expected = imagecodecs.png_decode(file.getvalue())
    expected = np.stack([expected] * 3, -1) if expected.ndim == 2 else expected[..., :3]
    np.testing.assert_array_equal(np.asarray(decode(file.getvalue()).rgb()), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["444", "422", "420"])
def test_jpegs_are_decoded_as_by_libjpeg(mode: str, progressive: bool, subsampling: str) -> None:
    smooth = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) * 6
    values = smooth.astype("u1") if mode == "L" else np.stack([smooth, smooth[::-1], smooth], -1)
    file = bytes(
        imagecodecs.jpeg8_encode(
            values.astype("u1"), level=90, subsampling=None if mode == "L" else subsampling
        )
    )
    if progressive:
        buffer = io.BytesIO()
        Image.open(io.BytesIO(file)).save(buffer, "jpeg", progressive=True, quality=90)
        file = buffer.getvalue()
    expected = imagecodecs.jpeg8_decode(file)
    found = channels_of(decode(file)).squeeze()
    # two versions of libjpeg-turbo, whose inverse transforms and upsampling may round differently
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2
    assert decode(file).lossy


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("channels", [3, 4])
def test_webps_are_decoded_as_by_libwebp(lossless: bool, channels: int) -> None:
    values = RNG.integers(0, 256, (HEIGHT, WIDTH, channels)).astype("u1")
    file = bytes(imagecodecs.webp_encode(values, lossless=lossless, level=None if lossless else 80))
    expected = imagecodecs.webp_decode(file)
    np.testing.assert_array_equal(channels_of(decode(file))[..., :3], expected[..., :3])
    if lossless and channels == 3:
        np.testing.assert_array_equal(expected, values)
    assert decode(file).lossy is not lossless


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["BMP", "DIB"])
def test_bmps_give_their_pixels(mode: str, kind: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype("u1")).convert(mode)
    file = io.BytesIO()
    image.save(file, kind)
    np.testing.assert_array_equal(
        np.asarray(decode(file.getvalue()).rgb()), np.asarray(image.convert("RGB"))
    )


def test_16_bit_numbers_are_scaled_from_the_bit_depth() -> None:
    values = np.arange(4096, dtype="u2").reshape(64, 64)
    found = decode(bytes(imagecodecs.png_encode(values)))
    expected = np.round(values / 4095 * 255)
    assert np.asarray(found.rgb(bit_depth=12))[..., 0].tolist() == expected.tolist()
    assert np.asarray(found.rgb())[..., 0].tolist() == np.round(values / 257).tolist()
    assert found.peak == 4095
    with pytest.raises(UndecodableError, match=r"up to 4095, which need 12 bits"):
        found.rgb(bit_depth=11)


def test_the_peak_is_that_of_the_colours() -> None:
    opaque = np.full((4, 4, 4), 65535, "u2")
    opaque[..., :3] = 4095
    assert decode(bytes(imagecodecs.png_encode(opaque))).peak == 4095


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a PNG, JPEG, BMP, TIFF or WebP image"),
        (b"GIF89a" + bytes(50), "not a PNG, JPEG, BMP, TIFF or WebP image"),
        (b"II*\0" + bytes(4), r"cannot be read \(TIFF without height and width\); replace"),
        (b"\x89PNG\r\n\x1a\n" + bytes(22), r"cannot be read \(its first bytes are damaged\)"),
        (b"\xff\xd8\xff\xe0" + bytes(16), r"cannot be read \(its first bytes are damaged\)"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(UndecodableError, match=message):
        decode(content)
    with pytest.raises(UndecodableError, match=message):
        size_of(content)


def test_several_pages_are_refused() -> None:
    pages = np.zeros((2, 4, 4), "u2")
    for photometric, values in (("minisblack", pages), ("rgb", np.zeros((2, 3, 4, 4), "u2"))):
        file = io.BytesIO()
        with tifffile.TiffWriter(file) as writer:
            for page in values:
                writer.write(
                    page,
                    photometric=photometric,
                    planarconfig="separate" if page.ndim == 3 else None,
                    contiguous=False,
                )
        with pytest.raises(UndecodableError, match="holds 2 pictures"):
            decode(file.getvalue())


def test_stacks_in_one_page_are_refused() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((5, 8, 9), "u1"), imagej=True)
    assert len(tifffile.TiffFile(io.BytesIO(file.getvalue())).series[0].pages) == 5
    with pytest.raises(UndecodableError, match="holds 5 pictures"):
        decode(file.getvalue())
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((8, 9), "u1"), imagej=True)
    assert decode(file.getvalue()).image is not None


@pytest.mark.parametrize(("tag", "kind", "value"), [(50706, "B", (1, 4, 0, 0)), (254, "I", 1)])
def test_the_preview_of_a_raw_file_is_not_taken_for_it(tag: int, kind: str, value: Any) -> None:
    file = io.BytesIO()
    count = 4 if tag == 50706 else 1
    options: dict[str, Any] = {"extratags": [(tag, kind, count, value, True)]}
    if tag == 254:
        options = {"subfiletype": 1}
    tifffile.imwrite(file, np.zeros((8, 9), "u1"), **options)
    with pytest.raises(UndecodableError, match="raw file of a camera"):
        decode(file.getvalue())


def test_damage_beside_the_pixels_is_told() -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), "u1")).save(file, "jpeg", exif=exif)
    content = file.getvalue()
    entries = content.index(b"Exif\0\0") + 6 + 8  # their number, big-endian
    broken = content[: entries + 1] + b"\x09" + content[entries + 2 :]
    assert decode(content).complaints == ()
    (complaint,) = decode(broken).complaints
    assert complaint.startswith("Corrupt EXIF data")
    with pytest.warns(DoubtfulImageWarning, match=r"^photo\.jpg: Corrupt EXIF data"):
        read_image(broken, name="photo.jpg")
