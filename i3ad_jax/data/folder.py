"""Data sets in folders of the MVTec AD layout.

    ROOT/train/good/*                          normal images to learn from
    ROOT/test/good/*                           normal images to test on
    ROOT/test/CLASS/*                          defective images of one class
    ROOT/ground_truth/CLASS/STEM_mask.*        the mask of test/CLASS/STEM.*; STEM.* is accepted too

Masks are optional, and so is everything under `test`. Only PNG, JPEG, BMP and TIFF files count,
whatever the case of their extension; hidden files and all others are ignored.
"""

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image
from tqdm import tqdm

from i3ad_jax.data.dataset import NORMAL, Dataset, Split, content_hash
from i3ad_jax.data.images import (
    SUFFIXES,
    Aspect,
    Size,
    preprocess,
    preprocess_mask,
    read_bytes,
    read_image,
    read_mask,
)
from i3ad_jax.errors import InputError


@dataclass(frozen=True)
class Sample:
    """One image of a data set before it is decoded.

    Attributes:
        path: relative to the data set's root, with forward slashes.
        defect: the defect class, `"good"` for a normal image.
        image: its file, or the bytes of one.
        mask: the same for its mask; None if it has none.
    """

    path: str
    defect: str
    image: Path | bytes
    mask: Path | bytes | None


def read_folder(root: Path, *, size: Size, aspect: Aspect, progress: bool = False) -> Dataset:
    """The data set in `root`, named after it; images in the order of their paths.

    The test split is empty if there are no test images: enough for training.

    Raises:
        InputError: there are no normal training images; a file or folder cannot be read; a mask
            has no image, several, or another size than its image; an image has two masks; or a
            normal image has a mask that marks a defect.
    """
    splits = (
        read_split(samples.__getitem__, len(samples), size=size, aspect=aspect, progress=progress)
        for samples in (list_train(root), list_test(root))
    )
    return Dataset(root.resolve().name, *splits)


def list_train(root: Path) -> list[Sample]:
    """The training samples of a folder, in the order of their paths; at least one.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    folder = root / "train" / NORMAL
    images, _ = _list(folder)
    if not images:
        raise InputError(f"{folder}: no images; put the normal images to learn from there")
    return [Sample(file.relative_to(root).as_posix(), NORMAL, file, None) for file in images]


def list_test(root: Path) -> list[Sample]:
    """The test samples of a folder with their masks, in the order of their paths.

    Raises:
        InputError: a folder cannot be read, an image is in no class folder, or masks and images do
            not match.
    """
    loose, classes = _list(root / "test")
    if loose:
        raise InputError(f"{loose[0]}: move it to a folder of its class, such as test/{NORMAL}")
    images = [file for folder in classes for file in _list(folder)[0]]
    masks = _pair_masks(root, images)
    samples = [
        Sample(file.relative_to(root).as_posix(), file.parent.name, file, masks.get(file)) for file in images
    ]
    return sorted(samples, key=lambda sample: sample.path)


def read_split(
    sample_at: Callable[[int], Sample],
    count: int,
    *,
    size: Size,
    aspect: Aspect,
    progress: bool = False,
) -> Split:
    """The split of `count` samples in their order, decoded and brought to one size.

    Args:
        sample_at: gives the sample of an index; called in several threads.
        count: number of samples.
        size, aspect: as for `preprocess`.
        progress: show a progress bar.

    Raises:
        InputError: as for `read_sample`.
    """
    images = np.zeros((count, *size, 3), np.uint8)
    masks = np.zeros((count, *size), bool)

    def read(i: int) -> _Label:
        sample = sample_at(i)
        image, mask, image_hash = read_sample(sample)
        images[i] = preprocess(image, size=size, aspect=aspect)
        if mask is not None:
            masks[i] = preprocess_mask(mask, size=size, aspect=aspect)
        annotated = mask is not None or sample.defect == NORMAL
        return _Label(sample.path, sample.defect, annotated, image_hash, (image.height, image.width))

    with ThreadPoolExecutor() as pool:  # Pillow releases the GIL while it decodes and resizes
        done = pool.map(read, range(count))
        labels = list(tqdm(done, "reading images", count, unit="image", leave=False, disable=not progress))
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
    """A sample's RGB picture, its mask of the same size (None if it has none), and its file's SHA-256.

    The picture is decoded from the very bytes that are hashed: the file is read once.

    Raises:
        InputError: either cannot be read, their sizes differ, or a normal image has a mask that
            marks a defect.
    """
    name = _name(sample.image, sample.path)
    content = read_bytes(sample.image, name=name)
    image, image_hash = read_image(content, name=name), content_hash(content)
    if sample.mask is None:
        return image, None, image_hash
    mask_name = _name(sample.mask, f"mask of {sample.path}")
    mask = read_mask(sample.mask, name=mask_name)
    if mask.shape != (image.height, image.width):
        sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels, but its image has {image.width} x {image.height}"
        raise InputError(f"{mask_name}: {sizes}; give the mask its image's size")
    if sample.defect == NORMAL and mask.any():
        raise InputError(f"{mask_name}: marks a defect in a normal image; correct one or remove the mask")
    return image, mask, image_hash


class _Label(NamedTuple):
    """What a `Split` says of an image."""

    path: str
    defect: str
    annotated: bool
    image_hash: str
    original_size: Size


def _name(source: Path | bytes, otherwise: str) -> str:
    return str(source) if isinstance(source, Path) else otherwise


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """The image files and the folders directly in `folder`, by name; none if it does not exist."""
    try:
        visible = sorted(
            (path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name
        )
        folders = [path for path in visible if path.is_dir()]
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    return [p for p in visible if p.suffix.lower() in SUFFIXES and p not in folders], folders


def _pair_masks(root: Path, images: list[Path]) -> dict[Path, Path]:
    """The mask of each test image that has one, found by class and stem."""
    by_stem = defaultdict(list)
    for image in images:
        by_stem[image.parent.name, image.stem].append(image)
    loose, classes = _list(root / "ground_truth")
    masks: dict[Path, Path] = {}
    for mask in loose + [file for folder in classes for file in _list(folder)[0]]:
        defect, stems = mask.parent.name, {mask.stem, mask.stem.removesuffix("_mask")}
        owners = sorted(image for stem in stems for image in by_stem[defect, stem])
        if not owners:
            raise InputError(f"{mask}: no image of that name in test/{defect}; rename or remove the mask")
        if len(owners) > 1:
            both = " and ".join(owner.name for owner in owners[:2])
            raise InputError(f"{mask}: could belong to {both} in test/{defect}; rename one of them")
        if owners[0] in masks:
            raise InputError(f"{mask}: {owners[0].name} has another mask, {masks[owners[0]]}; remove one")
        masks[owners[0]] = mask
    return masks
