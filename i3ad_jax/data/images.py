"""Image files in, arrays of one size out, and anomaly maps back to the size of the file.

`preprocess` is the one way from a picture to the array that a network sees; every reader and the
predict command go through it. `preprocess_mask` and `restore_map` follow the same geometry. What
the numbers in a file mean is decided in `decoder`.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from i3ad_jax.data import decoder
from i3ad_jax.data.decoder import FULL_DEPTH, Decoded, UndecodableError
from i3ad_jax.data.files import open_file
from i3ad_jax.errors import DoubtfulImageWarning, InputError, reason_of

Aspect = Literal["stretch", "pad", "crop"]
Size = tuple[int, int]
"""Height and width in pixels."""


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
        name: name in error messages; by default the path.

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


def decode_file(source: File | bytes, *, name: str | None = None) -> Decoded:
    """Return the upright image in a file, in the numbers that the file holds.

    Args:
        source: a file, or the bytes of one.
        name: name in error messages, needed for bytes; by default the path.

    Raises:
        InputError: the file cannot be opened or decoded; see `decoder.decode`.

    Warns:
        DoubtfulImageWarning: a part of the file that is not needed for its pixels is damaged.
    """
    name = name or str(source)
    content = read_bytes(source, name=name)
    with _named(name):
        decoded = decoder.decode(content)
    for complaint in decoded.complaints:
        warnings.warn(f"{name}: {complaint}", DoubtfulImageWarning, stacklevel=2)
    return decoded


def read_image(
    source: File | bytes, *, name: str | None = None, bit_depth: int = FULL_DEPTH
) -> Image.Image:
    """Return the RGB picture in a PNG, JPEG, BMP, TIFF or WebP file, upright as its EXIF data say.

    Grey, palette and 1-bit pictures become RGB. An alpha channel is ignored. Of a JPEG with more
    pictures after it, as cameras write, the first counts.

    Args:
        source: a file, or the bytes of one.
        name: name in error messages, needed for bytes; by default the path.
        bit_depth: bits that the numbers of a 16-bit image use. They are scaled linearly from that
            range and rounded: for 16 bits, value / 257.

    Raises:
        InputError: the file cannot be opened or decoded, is damaged, or has more than 100 million
            pixels or several pages or frames. Or its numbers have no known range, more than
            `bit_depth` bits, or an unsupported combination of properties.
    """
    name = name or str(source)
    return rgb_of(decode_file(source, name=name), name=name, bit_depth=bit_depth)


def rgb_of(decoded: Decoded, *, name: str, bit_depth: int = FULL_DEPTH) -> Image.Image:
    """Return a decoded file as `read_image` does; arguments and errors as there."""
    with _named(name):
        return decoded.rgb(bit_depth=bit_depth)


def read_size(source: Path | bytes, *, name: str | None = None) -> Size:
    """Return height and width that an image file states, without decoding it.

    Args:
        source: a file, or the bytes of one.
        name: as for `read_image`.

    Raises:
        InputError: the file cannot be opened, or states more than 100 million pixels.
    """
    name = name or str(source)
    content = read_bytes(source, name=name)
    with _named(name):
        return decoder.size_of(content)


def to_rgb(picture: Image.Image, *, name: str, bit_depth: int = FULL_DEPTH) -> Image.Image:
    """Return a picture that Pillow has opened or made, as `read_image` would give it.

    Args:
        picture: of any mode.
        name: name in error messages.
        bit_depth: as for `read_image`.

    Raises:
        InputError: as for `read_image`.
    """
    with _named(name):
        return decoder.from_pillow(picture).rgb(bit_depth=bit_depth)


def working_size(
    original_sizes: Sequence[Size], *, resolution: int, smallest: int, aspect: Aspect
) -> Size:
    """Return a data set's working size: about `resolution` squared pixels, proportions kept.

    The proportions are the median over the pictures, of log(width / height), as far as `smallest`
    leaves room for them; with "crop" the size is square. The sides are multiples of 8.

    Args:
        original_sizes: of the pictures, at least one.
        resolution: side in pixels of the square of the same area.
        smallest: least length of each side in pixels, rounded up to a multiple of 8.
        aspect: rule for pictures of other proportions, as for `preprocess`.
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
    never disappears unless "crop" cuts it off. The margins that "pad" adds are not defective.
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
        aspect: as `preprocess` was given.
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


def working_frame(
    original_size: Size, *, size: Size, aspect: Aspect
) -> tuple[float, float, float, float]:
    """Return the rectangle that the working size covers, in pixels of the picture.

    It is larger than the picture where "pad" adds margins, and smaller where "crop" cuts.

    Args:
        original_size: of the picture.
        size: the working size.
        aspect: as `preprocess` was given.

    Returns:
        Left, top, width, height.
    """
    place = _placement(original_size, size, aspect)
    left, top, right, bottom = place.box
    across, down = (right - left) / place.size[0], (bottom - top) / place.size[1]
    (above, _), (before, _) = place.margins
    return left - before * across, top - above * down, size[1] * across, size[0] * down


class _Placement(NamedTuple):
    """Placement of a picture in the working size.

    Attributes:
        box: the part of the picture that is used: left, top, right, bottom.
        size: pixels of the working size that it fills: width, height.
        margins: remainder of the working size: (top, bottom), (left, right).
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    margins: tuple[tuple[int, int], tuple[int, int]]


def _placement(original_size: Size, size: Size, aspect: Aspect) -> _Placement:
    """Place of a picture of `original_size` in the working size."""
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


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn the decoder's error into an InputError that names the picture."""
    try:
        yield
    except UndecodableError as error:
        raise InputError(f"{name}: {error}") from error


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"{name}: cannot be read ({reason_of(error)}); replace the file or remove it")
