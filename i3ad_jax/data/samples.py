"""Images of a data set with their labels and masks before they are decoded, and their decoding."""

import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image

from i3ad_jax.data.dataset import NORMAL, Split, content_hash
from i3ad_jax.data.decoder import FULL_DEPTH
from i3ad_jax.data.images import (
    Aspect,
    Size,
    decode_file,
    preprocess,
    preprocess_mask,
    read_bytes,
    rgb_of,
)
from i3ad_jax.data.masks import MaskValues, read_mask
from i3ad_jax.data.stored import zeros
from i3ad_jax.errors import DoubtfulImageWarning, InputError
from i3ad_jax.runtime.memory import allowed
from i3ad_jax.runtime.progress import with_progress


@dataclass(frozen=True)
class Sample:
    """One image of a data set before it is decoded.

    Attributes:
        path: relative to the data set's root, with forward slashes.
        defect: the defect class, `"good"` for a normal image.
        image: its file, or the bytes of one.
        masks: the same for each of its masks, whose union counts; empty if it has none.
        mask_values: numbers in the masks that are a defect, as for `read_mask`.
        bit_depth: bits that a 16-bit image uses, as for `read_image`.
    """

    path: str
    defect: str
    image: Path | bytes
    masks: tuple[Path | bytes, ...] = ()
    mask_values: MaskValues = "auto"
    bit_depth: int = FULL_DEPTH


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
        image, mask, image_hash, peak = read_sample(sample)
        images[i] = preprocess(image, size=size, aspect=aspect)
        if mask is not None:
            masks[i] = preprocess_mask(mask, size=size, aspect=aspect)
        annotated = mask is not None or sample.defect == NORMAL
        original_size = (image.height, image.width)
        return _Label(sample.path, sample.defect, annotated, image_hash, original_size, peak)

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes and resizes
        done = pool.map(read, range(count))
        shown = progress and count > 0
        labels = list(
            with_progress(
                done, "reading images", total=count, unit="image", leave=False, disable=not shown
            )
        )
    if (unused := unused_range([label.peak for label in labels])) is not None:
        warnings.warn(f"{labels[0].path}: {unused}", DoubtfulImageWarning, stacklevel=2)
    return Split(
        images=images,
        paths=tuple(label.path for label in labels),
        defects=tuple(label.defect for label in labels),
        masks=masks,
        annotated=np.array([label.annotated for label in labels], bool),
        hashes=tuple(label.image_hash for label in labels),
        original_sizes=tuple(label.original_size for label in labels),
    )


class ReadSample(NamedTuple):
    """A sample after decoding.

    Attributes:
        image: RGB, upright.
        mask: union of its masks; None if it has none.
        content_hash: SHA-256 of its file, 64 hex digits.
        peak: largest number of a 16-bit image; None for another.
    """

    image: Image.Image
    mask: Bool[np.ndarray, "height width"] | None
    content_hash: str
    peak: int | None


def read_sample(sample: Sample) -> ReadSample:
    """Decode a sample.

    The picture is decoded from the very bytes that are hashed: the file is read once.

    Raises:
        InputError: either file cannot be read, their sizes differ, or a normal image has a mask
            that marks a defect.
    """
    name = _name(sample.image, sample.path)
    content = read_bytes(sample.image, name=name)
    decoded = decode_file(content, name=name)
    image = rgb_of(decoded, name=name, bit_depth=sample.bit_depth)
    union = np.zeros((image.height, image.width), bool)
    for source in sample.masks:
        mask_name = _name(source, f"mask of {sample.path}")
        mask = read_mask(source, name=mask_name, values=sample.mask_values)
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
    peak = decoded.peak if sample.bit_depth == FULL_DEPTH else None
    return ReadSample(image, union if sample.masks else None, content_hash(content), peak)


def unused_range(peaks: Sequence[int | None]) -> str | None:
    """Return what is wrong with 16-bit images of less than an eighth of the range, if anything.

    Args:
        peaks: largest number of each image; None for one that is not of 16 bits.
    """
    known = [peak for peak in peaks if peak is not None]
    if not known or max(known) >= 2**FULL_DEPTH // 8:
        return None
    bits = max(max(known).bit_length(), 8)
    return (
        f"the 16-bit images use values up to {max(known)} of 65535 and are nearly black;"
        f" give --bit-depth {bits}"
    )


class _Label(NamedTuple):
    """Label, defect class and other facts of an image, from its `Split`."""

    path: str
    defect: str
    annotated: bool
    image_hash: str
    original_size: Size
    peak: int | None


def _name(source: Path | bytes, otherwise: str) -> str:
    return str(source) if isinstance(source, Path) else otherwise
