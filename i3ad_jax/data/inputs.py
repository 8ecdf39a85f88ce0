"""Images as users hold them, one, many or an iterator of them.

They are paths, files' contents, arrays or Pillow pictures.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image

from i3ad_jax.data.dataset import NORMAL, Split, content_hash
from i3ad_jax.data.decoder import FULL_DEPTH, SUFFIXES, Decoded
from i3ad_jax.data.files import check_name
from i3ad_jax.data.images import (
    Aspect,
    File,
    OpenFile,
    Size,
    preprocess,
    preprocess_mask,
    read_bytes,
    read_image,
    rgb_of,
    to_rgb,
)
from i3ad_jax.data.labels import defect_class
from i3ad_jax.data.search import Found, describe, find_below
from i3ad_jax.errors import InputError


@runtime_checkable
class ArrayLike(Protocol):
    """Objects that NumPy converts to an array, such as arrays of JAX or PyTorch."""

    def __array__(self) -> np.ndarray: ...


ImageLike = str | File | OpenFile | bytes | ArrayLike | Image.Image
ImagesLike = ImageLike | Iterable[ImageLike]


ACCEPTED = (
    "give a path, a file's content or an open file, an array (h w, h w 1, h w 3 or h w 4, or a"
    " batch), a Pillow picture, or an iterable of these"
)
DEFECTIVE = "defect"  # class of an anomalous image that is labelled by 1
_MAX_READERS = 8  # each may hold an image of 100 million pixels


class Picture(NamedTuple):
    """An image in the working size, and where it came from.

    Attributes:
        name: its path, or its position among the images given.
        source: its file or the file's content, or the image itself, RGB, if it came as an array or
            picture.
        original_size: of the image before it was resized.
        pixels: of the working size.
    """

    name: str
    source: File | bytes | Image.Image
    original_size: Size
    pixels: UInt8[np.ndarray, "h w 3"]


class Broken(NamedTuple):
    """An image that cannot be used.

    Attributes:
        name: its path, or its position among the images given.
        problem: error and remedy, in one line that names it.
    """

    name: str
    problem: str


def try_pictures(
    images: ImagesLike, *, size: Size, aspect: Aspect, chunk: int, bit_depth: int = FULL_DEPTH
) -> Iterator[list[Picture | Broken]]:
    """Yield the images in lists of at most `chunk`, in order, reading one list ahead.

    Args:
        images: a path of a file or folder, the content of a file, an open file, an array, a Pillow
            picture, or an iterable of these, taken as it comes. Arrays, or what NumPy converts to
            one, are uint8, uint16 or floats in [0, 1]: `h w`, `h w 1`, `h w 3`, `h w 4`, or a batch
            `n h w 1`, `n h w 3` or `n h w 4`. An alpha channel is ignored.
        size: the working size, as for `preprocess`.
        aspect: as for `preprocess`.
        chunk: number of images.
        bit_depth: bits that 16-bit images use, as for `read_image`.

    Raises:
        InputError: there is nothing that could be images, such as a folder without any.
    """
    source = enumerate(_each(images))
    readers = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MAX_READERS))
    try:
        waiting = None
        while numbered := list(islice(source, chunk)):
            ahead = [readers.submit(_picture, *each, size, aspect, bit_depth) for each in numbered]
            if waiting:
                yield [picture.result() for picture in waiting]
            waiting = ahead
        if waiting:
            yield [picture.result() for picture in waiting]
    finally:
        readers.shutdown(cancel_futures=True)


def readable_again(images: ImagesLike) -> ImagesLike:
    """Return images that can be read several times.

    An iterator becomes a list, open files become their contents.

    Raises:
        InputError: an open file cannot be read.
    """
    if isinstance(images, OpenFile):
        return read_bytes(images, name="image 0")
    if isinstance(images, ImageLike) or not isinstance(images, Iterable):
        return images
    return [
        read_bytes(image, name=f"image {i}") if isinstance(image, OpenFile) else image
        for i, image in enumerate(images)
    ]


def as_pictures(
    images: ImagesLike, *, size: Size, aspect: Aspect, chunk: int, bit_depth: int = FULL_DEPTH
) -> Iterator[Picture]:
    """The images one by one, as `try_pictures` reads them.

    Raises:
        InputError: an image cannot be used; the message names its path or position.
    """
    for pictures in try_pictures(
        images, size=size, aspect=aspect, chunk=chunk, bit_depth=bit_depth
    ):
        for picture in pictures:
            if isinstance(picture, Broken):
                raise InputError(picture.problem)
            yield picture


def as_split(
    images: ImagesLike,
    *,
    size: Size,
    aspect: Aspect,
    bit_depth: int = FULL_DEPTH,
    by_file: bool = False,
) -> Split:
    """Return normal images in a working size, as a split.

    Args:
        images: as for `try_pictures`.
        size: the working size, as for `preprocess`.
        aspect: as for `preprocess`.
        bit_depth: bits that 16-bit images use, as for `read_image`.
        by_file: the path of an image file is its absolute path, and its hash that of the file; by
            default, and for other images, they are the position and the hash of the pixels.

    Raises:
        InputError: there is no image, or one cannot be used, or with `by_file` is given twice.
    """
    read = as_pictures(images, size=size, aspect=aspect, chunk=64, bit_depth=bit_depth)
    pictures = [(p.pixels, p.original_size, _file_of(p) if by_file else None) for p in read]
    if not pictures:
        raise InputError("no images given; give at least one")
    pixels, originals, files = zip(*pictures, strict=True)
    split = Split.of_normal_images(np.stack(pixels))
    own = zip(split.paths, split.hashes, strict=True)
    named = [file or position for file, position in zip(files, own, strict=True)]
    paths, hashes = zip(*named, strict=True)
    path, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise InputError(f"{path}: given {count} times; give each image once")
    return replace(split, paths=paths, hashes=hashes, original_sizes=originals)


def as_labelled_split(
    images: ImagesLike,
    labels: Sequence[int | str] | Integer[np.ndarray, " n"],
    masks: Sequence[np.ndarray | None] | None,
    *,
    size: Size,
    aspect: Aspect,
    bit_depth: int = FULL_DEPTH,
) -> Split:
    """Return labelled images in a working size, as a split.

    Args:
        images: as for `try_pictures`.
        labels: for each image 0 or "good" if it is normal, else 1 or the name of its defect class.
        masks: for each image `height width`, not 0 on defective pixels; None if they are not known.
        size: the working size, as for `preprocess`.
        aspect: as for `preprocess`.
        bit_depth: bits that 16-bit images use, as for `read_image`.

    Raises:
        InputError: an image, a label or a mask cannot be used, or their numbers differ.
    """
    split = as_split(images, size=size, aspect=aspect, bit_depth=bit_depth)
    labels = list(labels)
    if len(labels) != len(split):
        raise InputError(f"labels: {len(labels)} for {len(split)} images; give one for each image")
    masks = [None] * len(split) if masks is None else list(masks)
    if len(masks) != len(split):
        raise InputError(
            f"masks: {len(masks)} for {len(split)} images; give one or None for each image"
        )
    defects, small, annotated = [], np.zeros((len(split), *size), bool), np.ones(len(split), bool)
    for i, (label, mask, original) in enumerate(
        zip(labels, masks, split.original_sizes, strict=True)
    ):
        defects.append(_defect_class(i, label))
        if defects[-1] == NORMAL:
            continue
        annotated[i] = mask is not None
        if mask is not None:
            values = np.asarray(mask)
            if values.shape != original:
                raise InputError(f"mask {i}: shape {values.shape}, but the image has {original}")
            small[i] = preprocess_mask(values != 0, size=size, aspect=aspect)
    return replace(split, defects=tuple(defects), masks=small, annotated=annotated)


def _defect_class(number: int, label: object) -> str:
    if isinstance(label, str) and label:
        return defect_class(label)
    if isinstance(label, bool | np.bool_ | int | np.integer) and int(label) in (0, 1):
        return DEFECTIVE if label else NORMAL
    raise InputError(
        f'label {number}: {label!r}; give 0 or "good" for a normal image, else 1 or a defect class'
    )


def find_images(paths: Sequence[Path]) -> Found:
    """Return the files in `paths` and the image files anywhere below its folders, sorted.

    Image files below folders are found by the rules of `search`.

    Raises:
        InputError: there is no path, one does not exist, a folder holds no image or cannot be read,
            or a name is not UTF-8.
    """
    if not paths:
        raise InputError("IMAGES: name image files, or folders of them")
    files, ignored = [], Counter[str]()
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112 (as below)
            found = find_below(path)
            ignored += found.ignored
            if not found.images:
                only = f" ({describe(found.ignored)})" if found.ignored else ""
                raise InputError(
                    f"{path}: no images in this folder{only}; {', '.join(sorted(SUFFIXES))} are"
                    " read"
                )
            files += found.images
        elif os.path.exists(path):  # noqa: PTH110 (Path.exists raises where a name is too long)
            check_name(path)
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return Found(files, [], ignored)


def _each(images: ImagesLike) -> Iterator[ImageLike]:
    if isinstance(images, str | Path):
        yield from find_images([Path(images)]).images
    elif isinstance(images, File | OpenFile | bytes | Image.Image):
        yield images
    elif isinstance(images, ArrayLike):
        array = np.asarray(images)
        yield from array if array.ndim == 4 else [array]
    elif not isinstance(images, Iterable):
        raise InputError(f"images: {type(images).__name__} given; {ACCEPTED}")
    else:
        for image in images:
            if isinstance(image, str | Path) and Path(image).is_dir():
                yield from find_images([Path(image)]).images
            else:
                yield image


def _file_of(picture: Picture) -> tuple[str, str] | None:
    """Return the absolute path of a picture's file and the hash of its content, if it has one."""
    if not isinstance(picture.source, Path):
        return None
    path = os.path.abspath(picture.source)  # noqa: PTH100 (Path.absolute keeps "..")
    return path, content_hash(read_bytes(picture.source))


def _picture(
    number: int, image: ImageLike, size: Size, aspect: Aspect, bit_depth: int
) -> Picture | Broken:
    name = str(image) if isinstance(image, str | File) else str(number)
    try:
        if isinstance(image, OpenFile):
            image = read_bytes(image, name=f"image {name}")
        if isinstance(image, str | File | bytes):
            source = Path(image) if isinstance(image, str) else image
            shown = f"image {name}" if isinstance(image, bytes) else name
            original = read_image(source, name=shown, bit_depth=bit_depth)
        else:
            picture = (
                image if isinstance(image, Image.Image) else _from_array(name, image, bit_depth)
            )
            source = original = to_rgb(picture, name=f"image {name}", bit_depth=bit_depth)
    except InputError as error:
        return Broken(name, str(error))
    pixels = preprocess(original, size=size, aspect=aspect)
    return Picture(name, source, (original.height, original.width), pixels)


def _from_array(name: str, image: object, bit_depth: int) -> Image.Image:
    if not isinstance(image, ArrayLike):
        raise InputError(f"image {name}: {type(image).__name__} given; {ACCEPTED}")
    image = np.asarray(image)
    values = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    colour = values.ndim == 3 and values.shape[-1] in (3, 4)
    if not (values.ndim == 2 or colour) or 0 in values.shape:
        raise InputError(f"image {name}: shape {image.shape}; give h w, h w 1, h w 3 or h w 4")
    if np.issubdtype(values.dtype, np.floating):
        if not (values.min() >= 0 and values.max() <= 1):  # NaN is not within either
            raise InputError(
                f"image {name}: {image.dtype} values outside [0, 1]; scale them, or give uint8"
            )
        values = np.round(values.astype(np.float32) * 255).astype(np.uint8)
    if values.dtype == np.uint16:
        channels = values[..., :3] if colour else values[..., None]
        deep = Decoded(None, channels, FULL_DEPTH)
        return rgb_of(deep, name=f"image {name}", bit_depth=bit_depth)
    if values.dtype != np.uint8:
        raise InputError(
            f"image {name}: {image.dtype} values; give uint8, uint16 or floats in [0, 1]"
        )
    return Image.fromarray(np.ascontiguousarray(values[..., :3] if colour else values))
