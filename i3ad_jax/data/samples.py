"""Images of a data set with their labels and masks before they are decoded, and their decoding."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image
from tqdm import tqdm

from i3ad_jax.data.dataset import NORMAL, Split, content_hash
from i3ad_jax.data.images import (
    Aspect,
    Size,
    preprocess,
    preprocess_mask,
    read_bytes,
    read_image,
    read_mask,
)
from i3ad_jax.data.stored import zeros
from i3ad_jax.errors import InputError
from i3ad_jax.runtime.memory import allowed


@dataclass(frozen=True)
class Sample:
    """One image of a data set before it is decoded.

    Attributes:
        path: relative to the data set's root, with forward slashes.
        defect: the defect class, `"good"` for a normal image.
        image: its file, or the bytes of one.
        masks: the same for each of its masks, whose union counts; empty if it has none.
        any_nonzero: how masks are read, as for `read_mask`.
    """

    path: str
    defect: str
    image: Path | bytes
    masks: tuple[Path | bytes, ...] = ()
    any_nonzero: bool = False


def read_split(
    sample_at: Callable[[int], Sample],
    count: int,
    *,
    size: Size,
    aspect: Aspect,
    memory: int | None = None,
    progress: bool = False,
) -> Split:
    """The split of `count` samples in their order, decoded and brought to one size.

    Every image is decoded once; what does not fit in memory waits in a temporary file.

    Args:
        sample_at: gives the sample of an index; called in several threads.
        count: number of samples.
        size: the working size, as for `preprocess`.
        aspect: as for `preprocess`.
        memory: bytes that the images may take there; by default half of what is free.
        progress: show a progress bar.

    Raises:
        InputError: as for `read_sample`.
    """
    in_memory = count * 3 * math.prod(size) <= allowed(memory)
    images = zeros((count, *size, 3), np.uint8, in_memory=in_memory)
    masks = zeros((count, *size), bool, in_memory=in_memory)

    def read(i: int) -> _Label:
        sample = sample_at(i)
        image, mask, image_hash = read_sample(sample)
        images[i] = preprocess(image, size=size, aspect=aspect)
        if mask is not None:
            masks[i] = preprocess_mask(mask, size=size, aspect=aspect)
        annotated = mask is not None or sample.defect == NORMAL
        return _Label(
            sample.path, sample.defect, annotated, image_hash, (image.height, image.width)
        )

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes and resizes
        done = pool.map(read, range(count))
        shown = progress and count > 0
        labels = list(
            tqdm(done, "reading images", count, unit="image", leave=False, disable=not shown)
        )
    return Split(
        images=images,
        paths=tuple(label.path for label in labels),
        defects=tuple(label.defect for label in labels),
        masks=masks,
        annotated=np.array([label.annotated for label in labels], bool),
        hashes=tuple(label.image_hash for label in labels),
        original_sizes=tuple(label.original_size for label in labels),
    )


def read_sample(sample: Sample) -> tuple[Image.Image, Bool[np.ndarray, "height width"] | None, str]:
    """A sample's RGB picture, the union of its masks (None if it has none), and its file's SHA-256.

    The picture is decoded from the very bytes that are hashed: the file is read once.

    Raises:
        InputError: either cannot be read, their sizes differ, or a normal image has a mask that
            marks a defect.
    """
    name = _name(sample.image, sample.path)
    content = read_bytes(sample.image, name=name)
    image, image_hash = read_image(content, name=name), content_hash(content)
    union = np.zeros((image.height, image.width), bool)
    for source in sample.masks:
        mask_name = _name(source, f"mask of {sample.path}")
        mask = read_mask(source, name=mask_name, any_nonzero=sample.any_nonzero)
        if mask.shape != union.shape:
            sizes = (
                f"{mask.shape[1]} x {mask.shape[0]} pixels, but its image has"
                f" {image.width} x {image.height}"
            )
            raise InputError(f"{mask_name}: {sizes}; give the mask its image's size")
        if sample.defect == NORMAL and mask.any():
            raise InputError(
                f"{mask_name}: marks a defect in a normal image; correct one or remove the mask"
            )
        union |= mask
    return image, union if sample.masks else None, image_hash


class _Label(NamedTuple):
    """What a `Split` says of an image."""

    path: str
    defect: str
    annotated: bool
    image_hash: str
    original_size: Size


def _name(source: Path | bytes, otherwise: str) -> str:
    return str(source) if isinstance(source, Path) else otherwise
