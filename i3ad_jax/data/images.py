"""Image files in, arrays of one size out, and anomaly maps back to the size of the file.

`preprocess` is the one way from a picture to the array that a network sees; every reader and the
predict command go through it. `preprocess_mask` and `restore_map` follow the same geometry.
"""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from i3ad_jax.data.files import open_file
from i3ad_jax.errors import InputError, reason_of

Aspect = Literal["stretch", "pad", "crop"]
Size = tuple[int, int]
"""Height and width in pixels."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")


@runtime_checkable
class File(Protocol):
    """A `Path`, or what is read like one, such as a URI; its name is what `str` gives."""

    def read_bytes(self) -> bytes:
        """The content."""
        ...


@runtime_checkable
class OpenFile(Protocol):
    """A file that is open for reading, in binary mode."""

    def read(self) -> bytes:
        """The content."""
        ...


def read_bytes(source: File | OpenFile | bytes, *, name: str | None = None) -> bytes:
    """The content of a file; bytes are returned as they are.

    Args:
        source: a file, an open file, or the bytes of one.
        name: what an error message calls it; by default the path.

    Raises:
        InputError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return source
    try:
        if isinstance(source, Path):
            with open_file(source) as file:
                return file.read()
        content = source.read_bytes() if isinstance(source, File) else source.read()
    except Exception as error:
        raise _unreadable(name or str(source), error) from error
    if not isinstance(content, bytes):
        raise InputError(f"{name}: the file is open as text; open it in binary mode")
    return content


def read_image(source: File | bytes, *, name: str | None = None) -> Image.Image:
    """The RGB picture in a PNG, JPEG, BMP or TIFF file, upright as its EXIF data says.

    Grey, palette and 1-bit pictures become RGB. An alpha channel is ignored. 16-bit grey is scaled
    linearly from its full range: value / 257, rounded. (16-bit colour is cut to its high byte.) Of
    a JPEG with more pictures after it, as cameras write, the first counts.

    Args:
        source: a file, or the bytes of one.
        name: what an error message calls it, needed for bytes; by default the path.

    Raises:
        InputError: the file cannot be opened or decoded, is damaged, has more than 100 million
            pixels or several pages or frames, or holds numbers without a known range (floating
            point, or grey beyond 16 bits).
    """
    name = name or str(source)
    return _in_8_bits(_decode(source, name), name)


def read_size(source: Path | bytes, *, name: str | None = None) -> Size:
    """Height and width that an image file states, without decoding it.

    Args:
        source: a file, or the bytes of one.
        name: as for `read_image`.

    Raises:
        InputError: the file cannot be opened, or states more than 100 million pixels.
    """
    name = name or str(source)
    content = read_bytes(source, name=name)
    with _one_line(name), Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        _check_pixels(opened)
        return opened.height, opened.width


def to_rgb(picture: Image.Image, *, name: str) -> Image.Image:
    """A picture that Pillow has opened or made, as `read_image` would give it.

    Args:
        picture: of any mode.
        name: what an error message calls it.

    Raises:
        InputError: as for `read_image`.
    """
    with _one_line(name):
        upright = _upright(picture, name)
    return _in_8_bits(upright, name)


def read_mask(
    source: Path | bytes, *, name: str | None = None, any_nonzero: bool = False
) -> Bool[np.ndarray, "height width"]:
    """True on the defective pixels of a mask file, upright as its EXIF data says.

    A pixel is defective where its largest colour channel reaches half of the full range (128 of
    255; 32768 of 65535 for 16-bit grey). In a mask that nowhere does, as one of 0 and 1 or of small
    class numbers, it is defective where it is not 0.

    Args:
        source: a file, or the bytes of one.
        name: what an error message calls it, needed for bytes; by default the path.
        any_nonzero: every pixel that is not 0 is defective, whatever the others are: for masks
            whose values are numbers of classes.

    Raises:
        InputError: as for `read_image`.
    """
    name = name or str(source)
    image = _decode(source, name)
    if image.mode.startswith("I"):
        values, half = np.asarray(image), 32768
    else:
        # Channel by channel: NumPy is slow at a maximum over a last axis of 3.
        values, half = reduce(np.maximum, np.moveaxis(np.asarray(image), -1, 0)), 128
    defective = values >= half
    return defective if defective.any() and not any_nonzero else values != 0


def working_size(
    original_sizes: Sequence[Size], *, resolution: int, smallest: int, aspect: Aspect
) -> Size:
    """Return a data set's working size: about `resolution` squared pixels, proportions kept.

    The proportions are the median over the pictures, of log(width / height), as far as `smallest`
    leaves room for them; with "crop" the size is square. The sides are multiples of 8.

    Args:
        original_sizes: of the pictures, at least one.
        resolution: side in pixels of the square of the same area.
        smallest: what each side has at least, in pixels, rounded up to a multiple of 8.
        aspect: how the pictures will be brought to the size, as for `preprocess`.
    """
    smallest = 8 * math.ceil(smallest / 8)
    resolution = max(resolution, smallest)
    heights, widths = np.array(original_sizes).T
    elongation = 1.0 if aspect == "crop" else np.exp(np.median(np.log(widths / heights)) / 2)
    elongation = np.clip(elongation, smallest / resolution, resolution / smallest)
    return 8 * round(resolution / elongation / 8), 8 * round(resolution * elongation / 8)


def preprocess(image: Image.Image, *, size: Size, aspect: Aspect) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in the working size, resized by anti-aliased bilinear weights.

    Args:
        image: an RGB picture of any size.
        size: the working size, that of the result.
        aspect: "stretch" fills the size with the whole picture (Nakanishi et al. 2020, the paper);
            "pad" keeps the picture's proportions and repeats its border; "crop" keeps its largest
            central rectangle of the size's proportions.
    """
    place = _placement((image.height, image.width), size, aspect)
    resized = image.crop(place.box).resize(place.size, Image.Resampling.BILINEAR)
    return np.pad(np.asarray(resized), (*place.margins, (0, 0)), mode="edge")


def preprocess_mask(
    mask: Bool[np.ndarray, "height width"], *, size: Size, aspect: Aspect
) -> Bool[np.ndarray, "h w"]:
    """True where at least half of the pixel's area is defective, in the geometry of `preprocess`.

    A defect too small to cover half of any pixel keeps the pixels that it covers most, so that it
    never vanishes unless "crop" cuts it off. The margins that "pad" adds are not defective.
    """
    place = _placement(mask.shape, size, aspect)
    picture = Image.fromarray(mask.astype(np.float32))
    coverage = np.asarray(picture.crop(place.box).resize(place.size, Image.Resampling.BOX))
    defective = (coverage > 0) & (coverage >= min(0.5, coverage.max()))
    return np.pad(defective, place.margins)


def restore_map(
    map_: Float[np.ndarray, "h w"], *, original_size: Size, aspect: Aspect
) -> Float[np.ndarray, "height width"]:
    """An anomaly map at the resolution of the picture that it belongs to, float32.

    It undoes the geometry of `preprocess` by bilinear weights. The part that "crop"
    cut off has no scores of its own: it repeats the map's border values.

    Args:
        map_: float32, in the working size.
        original_size: of the picture.
        aspect: what `preprocess` was given.
    """
    height, width = original_size
    place = _placement(original_size, map_.shape, aspect)
    (row, _), (column, _) = place.margins
    inside = map_[row : row + place.size[1], column : column + place.size[0]].astype(np.float32)
    left, top, right, bottom = place.box
    resized = Image.fromarray(inside).resize(
        (right - left, bottom - top), Image.Resampling.BILINEAR
    )
    return np.pad(np.asarray(resized), ((top, height - bottom), (left, width - right)), mode="edge")


class _Placement(NamedTuple):
    """Placement of a picture in the working size.

    Attributes:
        box: the part of the picture that is used: left, top, right, bottom.
        size: pixels of the working size that it fills: width, height.
        margins: what remains of the working size: (top, bottom), (left, right).
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    margins: tuple[tuple[int, int], tuple[int, int]]


def _placement(original_size: Size, size: Size, aspect: Aspect) -> _Placement:
    """Where a picture of `original_size` lands in the working size."""
    (height, width), (new_height, new_width) = original_size, size
    whole, full, no_margins = (0, 0, width, height), (new_width, new_height), ((0, 0), (0, 0))
    match aspect:
        case "stretch":
            return _Placement(whole, full, no_margins)
        case "pad":
            fitted_height, fitted_width = _fit(original_size, into=size)
            top, left = (new_height - fitted_height) // 2, (new_width - fitted_width) // 2
            margins = (
                (top, new_height - fitted_height - top),
                (left, new_width - fitted_width - left),
            )
            return _Placement(whole, (fitted_width, fitted_height), margins)
        case "crop":
            box_height, box_width = _fit(size, into=original_size)
            top, left = (height - box_height) // 2, (width - box_width) // 2
            return _Placement((left, top, left + box_width, top + box_height), full, no_margins)


def _fit(size: Size, *, into: Size) -> Size:
    """The largest size of the proportions of `size` inside `into`, in whole pixels."""
    scale = min(into[0] / size[0], into[1] / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _decode(source: File | bytes, name: str) -> Image.Image:
    """The upright picture in a file."""
    content = read_bytes(source, name=name)
    with _one_line(name), Image.open(io.BytesIO(content), formats=_FORMATS) as opened:
        frames = getattr(opened, "n_frames", 1)
        # a camera's JPEG, whose others are smaller or for depth
        if frames > 1 and opened.format != "MPO":
            raise InputError(
                f"{name}: holds {frames} pictures; save the one that is meant by itself"
            )
        return _upright(opened, name)


def _upright(opened: Image.Image, name: str) -> Image.Image:
    """The upright picture: RGB, or of Pillow's modes that begin with I (grey, more than 8 bits)."""
    _check_pixels(opened)
    opened.load()
    image = ImageOps.exif_transpose(opened)
    if image.mode == "P":  # Pillow warns where a transparent palette loses its alpha in one step.
        image = image.convert("RGBA")
    if image.mode == "F":
        raise InputError(
            f"{name}: floating-point pixels have no known range; convert it to 8 or 16 bits"
        )
    return image if image.mode.startswith("I") else image.convert("RGB")


def _check_pixels(opened: Image.Image) -> None:
    if opened.width * opened.height > MAX_PIXELS:
        raise Image.DecompressionBombError


def _in_8_bits(image: Image.Image, name: str) -> Image.Image:
    """The picture in RGB, 16-bit grey scaled from its full range."""
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{name}: its grey values exceed 16 bits; convert it to 8 or 16 bits")
    return Image.fromarray(((values.astype(np.int32) + 128) // 257).astype(np.uint8)).convert("RGB")


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises in the block into an InputError that names the picture."""
    try:
        yield
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InputError(
            f"{name}: more than {MAX_PIXELS:,} pixels; scale it down or remove it"
        ) from None
    except UnidentifiedImageError:
        raise InputError(
            f"{name}: not a PNG, JPEG, BMP or TIFF image; convert or remove it"
        ) from None
    except Exception as error:  # On damaged files Pillow's decoders raise nearly any type.
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: cannot be read ({reason_of(error)}); replace the file or remove it")
