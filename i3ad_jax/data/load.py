"""From the text of `--data` to a data set, and the held-out part of its training images."""

import os
from pathlib import Path

import numpy as np

from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.folder import read_folder
from i3ad_jax.data.images import Aspect
from i3ad_jax.data.textures import make_textures
from i3ad_jax.errors import InputError

_FORMS = "a folder in MVTec layout, textures:KIND or tfds:mvtec_ad/CATEGORY"


def load_dataset(data: str, *, image_size: int, aspect: Aspect) -> Dataset:
    """The data set that `data` names, in memory.

    Args:
        data: `textures:KIND` (`textures` alone is the weave), `tfds:mvtec_ad/CATEGORY`, or the path
            of a folder in MVTec layout.
        image_size: side of every image in pixels.
        aspect: how an image that is not square becomes square; see `images.preprocess`.

    Raises:
        InputError: there is no such data set, or its files cannot be used.
    """
    source, _, name = data.partition(":")
    if source == "textures":
        return make_textures(name or "weave", image_size=image_size)
    if source == "tfds":
        return _load_tfds(name, image_size=image_size, aspect=aspect)
    if not os.path.isdir(data):  # noqa: PTH112 (Path.is_dir raises where a parent folder is closed)
        raise InputError(f"--data {data}: no such folder; give {_FORMS}")
    return read_folder(Path(data), image_size=image_size, aspect=aspect)


def hold_out(train: Split, *, fraction: float, seed: int) -> tuple[Split, Split]:
    """A random part of `train` to learn from, and the held-out rest, each in `train`'s order.

    Args:
        train: at least 2 images.
        fraction: of the images that are held out, in (0, 1); rounded to whole images, with at
            least one image in either part.
        seed: of the choice.

    Raises:
        InputError: `fraction` is outside (0, 1), or there are fewer than 2 images.
    """
    if not 0 < fraction < 1:
        raise InputError(f"--held-out {fraction}: give a fraction between 0 and 1")
    if len(train) < 2:
        raise InputError(f"train/good has {len(train)} image(s); at least 2 are needed, one to hold out")
    count = min(max(round(fraction * len(train)), 1), len(train) - 1)
    order = np.random.default_rng(seed).permutation(len(train))
    return train.take(np.sort(order[count:])), train.take(np.sort(order[:count]))


def _load_tfds(name: str, *, image_size: int, aspect: Aspect) -> Dataset:
    collection, _, category = name.partition("/")
    if collection != "mvtec_ad":
        raise InputError(f"--data tfds:{name}: only tfds:mvtec_ad/CATEGORY is known; give {_FORMS}")
    try:  # here, because only this source needs these packages, and they are slow to import
        from i3ad_jax.data.mvtec_ad import load_mvtec_ad
    except ImportError as error:
        packages = "tensorflow-datasets array-record importlib_resources"
        raise InputError(f"--data tfds:{name}: {error}; run pip install {packages}") from error
    return load_mvtec_ad(category, image_size=image_size, aspect=aspect)
