"""Images as users hold them: paths, arrays, Pillow pictures, one or many, or an iterator of them."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from i3ad_jax.data.images import SUFFIXES, Aspect, Size, preprocess, read_image, to_rgb
from i3ad_jax.errors import InputError

ImageLike = str | Path | np.ndarray | Image.Image
ImagesLike = ImageLike | Iterable[ImageLike]


class Picture(NamedTuple):
    """An image before and after it is brought to the working size.

    Attributes:
        name: its path, or its position among the images given.
        original: RGB, of any size.
        pixels: of the working size.
    """

    name: str
    original: Image.Image
    pixels: UInt8[np.ndarray, "h w 3"]


def as_pictures(images: ImagesLike, *, size: Size, aspect: Aspect, chunk: int) -> Iterator[list[Picture]]:
    """The images in lists of at most `chunk`; the next list is read while one is worked on.

    Args:
        images: a path of a file or folder, an array (uint8 or 16-bit; `h w`, `h w 1`, `h w 3` or `h w 4`, or
            a batch `n h w 1`, `n h w 3` or `n h w 4`), a Pillow picture, or an iterable of these, taken as it
            comes. An alpha channel is ignored.
        size, aspect: as for `preprocess`.
        chunk: number of images.

    Raises:
        InputError: an image cannot be used; the message names its path or position.
    """

    def read(numbered: list[tuple[int, ImageLike]]) -> list[Picture]:
        return [_picture(number, image, size, aspect) for number, image in numbered]

    waiting = None
    source = enumerate(_each(images))
    with ThreadPoolExecutor(max_workers=1) as reader:
        while numbered := list(islice(source, chunk)):
            ahead = reader.submit(read, numbered)
            if waiting:
                yield waiting.result()
            waiting = ahead
        if waiting:
            yield waiting.result()


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files in `paths`, and those with an image's suffix anywhere below the folders in it, sorted.

    Raises:
        InputError: a path does not exist, or a folder holds no image.
    """
    files = []
    for path in paths:
        if path.is_dir():
            found = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()
            )
            if not found:
                raise InputError(f"{path}: no images in this folder; {', '.join(sorted(SUFFIXES))} are read")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    return files


def _each(images: ImagesLike) -> Iterator[ImageLike]:
    if isinstance(images, str | Path):
        yield from find_images([Path(images)])
    elif isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
        yield images
    elif not isinstance(images, Iterable):
        raise InputError(
            f"images: {type(images).__name__} is no path, array, Pillow picture or iterable of them"
        )
    else:
        for image in images:
            if isinstance(image, str | Path) and Path(image).is_dir():
                yield from find_images([Path(image)])
            else:
                yield image


def _picture(number: int, image: ImageLike, size: Size, aspect: Aspect) -> Picture:
    if isinstance(image, str | Path):
        name, original = str(image), read_image(Path(image))
    else:
        name = str(number)
        picture = image if isinstance(image, Image.Image) else _from_array(name, image)
        original = to_rgb(picture, name=f"image {name}")
    return Picture(name, original, preprocess(original, size=size, aspect=aspect))


def _from_array(name: str, image: object) -> Image.Image:
    if not isinstance(image, np.ndarray):
        raise InputError(f"image {name}: {type(image).__name__} is no path, array or Pillow picture")
    values = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    colour = values.ndim == 3 and values.shape[-1] in (3, 4)
    if not (values.ndim == 2 or colour) or 0 in values.shape:
        raise InputError(f"image {name}: shape {image.shape}; give h w, h w 1, h w 3 or h w 4")
    if values.dtype == np.uint16:
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if values.dtype != np.uint8:
        raise InputError(f"image {name}: {image.dtype} values; give uint8 or uint16, whose range is known")
    return Image.fromarray(np.ascontiguousarray(values[..., :3] if colour else values))
