"""From the text of `--data` to a data set."""

import os
from dataclasses import dataclass
from pathlib import Path

from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.files import check_name
from i3ad_jax.data.folder import read_folder
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.layouts import check_layout
from i3ad_jax.data.packed import is_packed, read_packed
from i3ad_jax.data.textures import make_textures
from i3ad_jax.errors import InputError
from i3ad_jax.settings import Settings, setting

_FORMS = (
    "packed data, a table of images, a folder, as in MVTec layout, textures:KIND or"
    " tfds:mvtec_ad/CATEGORY"
)
_BUILT_IN = "textures"
_TFDS = "tfds"
ARRAYS = "python:images"  # what a run was trained on whose images were given in Python


@dataclass(frozen=True)
class DataSettings(Settings):
    """Which images, and how they are brought to one size."""

    data: str = "textures:weave"
    """Built-in textures (textures:weave, textures:mesh, textures:brick), tfds:mvtec_ad/CATEGORY, a
    folder that pack has written, or a path of one of the layouts below."""
    layout: str = "auto"
    """How the files of --data lie, by default found out: mvtec (train/good, test/CLASS,
    ground_truth/CLASS/*_mask.png); mvtec_loco, mvtec_ad_2, visa, btad, kolektor_sdd or
    kolektor_sdd2, as published (the folder of one category); flat (a folder of normal images); or
    manifest (a .csv or .parquet file with the columns path, split, label and mask)."""
    image_size: int = setting(256, minimum=8, maximum=10_000)
    """Side in pixels to which every image is resized (paper: 256); i3ad takes multiples of 8, at
    least 32."""
    aspect: Aspect = "stretch"
    """How an image that is not square becomes square: stretched (the paper), padded by repeating
    its border, or cropped to its centre."""
    held_out: float = setting(0.2, above=0, below=1)
    """Fraction of the normal training images kept from training, of many at most 1,000 images; u
    and thresholds come from them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_layout(self.layout)

    def load(self, *, size: Size, memory: int | None = None, progress: bool = False) -> Dataset:
        """Return the data set in this working size; arguments and errors as for `load_dataset`."""
        return load_dataset(
            self.data,
            size=size,
            aspect=self.aspect,
            layout=self.layout,
            memory=memory,
            progress=progress,
        )


def load_dataset(
    data: str,
    *,
    size: Size,
    aspect: Aspect,
    layout: str = "auto",
    memory: int | None = None,
    progress: bool = False,
) -> Dataset:
    """The data set that `data` names.

    Args:
        data: `textures:KIND` (`textures` alone is the weave), `tfds:mvtec_ad/CATEGORY`, or the path
            of a folder or file in one of `layouts.LAYOUTS`, or of packed data.
        size: of every image.
        aspect: how an image of other proportions gets this size; see `images.preprocess`.
        layout: how the files lie, found out by default; of a folder or file only.
        memory: bytes that the images of a split may take there, by default half of what is free;
            more of them wait in a temporary file, and are read from it as they are needed.
        progress: show a progress bar.

    Raises:
        InputError: there is no such data set, or its files cannot be used.
    """
    source, _, name = data.partition(":")
    if source in (_BUILT_IN, _TFDS) and layout != "auto":
        raise InputError(
            f"--layout {layout}: --data {data} is no folder or file; leave --layout out"
        )
    if source == _BUILT_IN:
        return make_textures(name or "weave", size=size)
    if source == _TFDS:
        return _load_tfds(name, size=size, aspect=aspect, memory=memory, progress=progress)
    if data == ARRAYS:
        raise InputError(
            f"--data {data}: the run was trained on images given in Python; name a data set"
        )
    if not os.path.exists(data):  # noqa: PTH110 (Path.exists raises where a parent folder is closed)
        raise InputError(f"--data {data}: no such folder or file; give {_FORMS}")
    if is_packed(Path(data)):
        if layout != "auto":
            raise InputError(f"--layout {layout}: --data {data} is packed data; leave --layout out")
        return read_packed(Path(data), size=size, aspect=aspect, memory=memory)
    return read_folder(
        Path(data), size=size, aspect=aspect, layout=layout, memory=memory, progress=progress
    )


def bytes_of(gibibytes: float | None) -> int | None:
    """What `--image-memory` says in bytes.

    Raises:
        InputError: it is no amount of memory.
    """
    if gibibytes is None:
        return None
    if not 0 <= gibibytes < 2**30:
        raise InputError(f"--image-memory {gibibytes:g}: give GiB, 0 or more")
    return int(gibibytes * 2**30)


def absolute_source(data: str) -> str:
    """`data` in a form that means the same data set in every working directory.

    Args:
        data: as for `load_dataset`.

    Returns:
        the absolute path of a folder or file, with symbolic links kept; all else, such as the names
        of built-in textures, as it is.

    Raises:
        InputError: `data` is empty, or its name is not UTF-8.
    """
    if not data:
        raise InputError(f'--data "": is empty; give {_FORMS}')
    if data == ARRAYS or data.partition(":")[0] in (_BUILT_IN, _TFDS):
        return data
    path = os.path.abspath(data)  # noqa: PTH100 (Path.absolute keeps "..")
    check_name(path)
    return path


def _load_tfds(
    name: str, *, size: Size, aspect: Aspect, memory: int | None, progress: bool
) -> Dataset:
    collection, _, category = name.partition("/")
    if collection != "mvtec_ad":
        raise InputError(f"--data tfds:{name}: only tfds:mvtec_ad/CATEGORY is known; give {_FORMS}")
    try:  # here, because only this source needs these packages, and they are slow to import
        from i3ad_jax.data.mvtec_ad import load_mvtec_ad
    except ImportError as error:
        reason = " ".join(str(error).split())
        install = "pip install tensorflow-datasets array-record importlib_resources"
        raise InputError(
            f"--data tfds:{name}: {reason}; run {install}, or give the extracted folder"
        ) from error
    return load_mvtec_ad(category, size=size, aspect=aspect, memory=memory, progress=progress)
