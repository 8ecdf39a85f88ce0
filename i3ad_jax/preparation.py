"""From normal images to what a training needs of them: the view, the units, and which images are held out."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from i3ad_jax.config import Config
from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.images import Size, working_size
from i3ad_jax.data.inputs import ImagesLike, as_pictures
from i3ad_jax.data.load import load_dataset
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError
from i3ad_jax.preprocessing.preprocessing import ALIGNED, Preprocessing, View
from i3ad_jax.settings import Settings

RESOLUTION = 320  # square root of the number of pixels: more would take too long by default
PARTLY_ALIGNED = 0.2  # of the variance of unseen images that the mean image explains
SMALL_REDUCTION = 6.0  # of the side of a picture: what spans some pixels is still seen


@dataclass(frozen=True, eq=False)
class Preparation:
    """What a training starts from.

    Attributes:
        config: the settings, with the view that was chosen.
        preprocessing: what networks see of an image.
        files: which images are trained on and which held out.
        images: those trained on, of the working size.
        held_out: the others.
    """

    config: Config[Any, Any]
    preprocessing: Preprocessing
    files: TrainingFiles
    images: Split
    held_out: Split


def prepare(config: Config[Any, Any], read: Callable[[Size], Split]) -> Preparation:
    """Divides normal images, and chooses by the held-out ones what networks see of an image.

    Args:
        config: the settings.
        read: gives the normal images in a working size; called twice where tiles are chosen.

    Raises:
        InputError: the images cannot be read, or are too few.
    """
    data, settings = config.data, config.preprocessing
    whole = (data.image_size, data.image_size)

    def divide(size: Size) -> tuple[TrainingFiles, Split, Split]:
        # Anew for each size: what never was a file is recorded by its pixels. The division stays the same.
        train = read(size)
        files = TrainingFiles.choose(train, fraction=data.held_out, seed=config.seed)
        return files, *files.select(train)

    files, images, held_out = divide(whole)
    sizes = images.original_sizes + held_out.original_sizes
    preprocessing = None if settings.view == "tiles" else learn_preprocessing(config, images, held_out)
    if preprocessing is not None and settings.view == "auto":
        config = config.with_settings({"view": choose_view(preprocessing, sizes)})
    if preprocessing is None or config.preprocessing.view == "tiles":
        size = size_for_tiles(config, sizes)
        if size != whole:
            files, images, held_out = divide(size)
        preprocessing = learn_preprocessing(config, images, held_out)
    if config.flat().get("generator") == "auto":
        config = config.with_settings({"generator": choose_generator(preprocessing)})
    return Preparation(config, preprocessing, files, images, held_out)


def load_data(
    config: Config[Settings, Settings], *, size: Size, memory: int | None = None, progress: bool = False
) -> Dataset:
    """The data set that the settings name, in this working size; `memory` as in `load_dataset`.

    Raises:
        InputError: it cannot be read.
    """
    data = config.data
    return load_dataset(
        data.data, size=size, aspect=data.aspect, layout=data.layout, memory=memory, progress=progress
    )


def load_train(
    config: Config[Settings, Settings], *, size: Size, memory: int | None = None, progress: bool = False
) -> Split:
    """The normal training images that the settings name, as `load_data` reads them."""
    return load_data(config, size=size, memory=memory, progress=progress).train


def as_split(images: ImagesLike, config: Config[Settings, Settings], size: Size) -> Split:
    """Normal images in a working size.

    Raises:
        InputError: there is none, or one cannot be used.
    """
    data = config.data
    read = as_pictures(images, size=size, aspect=data.aspect, chunk=64)
    pictures = [(picture.pixels, picture.original_size) for picture in read]
    if not pictures:
        raise InputError("no images given; give at least one")
    split = Split.of_normal_images(np.stack([pixels for pixels, _ in pictures]))
    return replace(split, original_sizes=tuple(original for _, original in pictures))


def learn_preprocessing(config: Config[Any, Any], images: Split, held_out: Split) -> Preprocessing:
    """What networks will see of images in the size of these."""
    settings = config.preprocessing
    return Preprocessing.learn(
        images.images,
        held_out.images[:],
        side=config.side,
        levelling=settings.levelling,
        centre=settings.centre,
    )


def size_for_tiles(config: Config[Any, Any], original_sizes: Sequence[Size]) -> Size:
    """The working size of images of these sizes, from which tiles are cut."""
    settings = config.preprocessing
    resolution = settings.resolution or min(RESOLUTION, round(_median_side(original_sizes)))
    aspect = config.data.aspect
    return working_size(original_sizes, resolution=resolution, smallest=config.side, aspect=aspect)


def choose_view(small: Preprocessing, original_sizes: Sequence[Size]) -> View:
    """Whole images where they are partly alike and lose little when made small, or are alike in detail.

    Else tiles: surfaces whose shading alone is the same in all images have defects that a small image loses.

    Args:
        small: what whole normal images give, in the size in which networks would see them.
        original_sizes: of these images.
    """
    if _median_side(original_sizes) / small.side <= SMALL_REDUCTION:
        whole = small.reasons["explained_by_mean_image"] >= PARTLY_ALIGNED
    else:
        whole = small.reasons["detail_explained_by_mean_image"] >= ALIGNED
    return "whole" if whole else "tiles"


def choose_generator(preprocessing: Preprocessing) -> str:
    """The context encoder where whole images are partly alike: what it draws is an image as a whole."""
    whole = preprocessing.size == (preprocessing.side, preprocessing.side)
    alike = preprocessing.reasons["explained_by_mean_image"] >= PARTLY_ALIGNED
    return "context" if whole and alike else "two_stage"


def _median_side(original_sizes: Sequence[Size]) -> float:
    """Of the square with as many pixels as the median picture."""
    return math.sqrt(float(np.median([height * width for height, width in original_sizes])))
