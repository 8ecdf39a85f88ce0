"""Loading of the data set that `--data` names."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from i3ad_jax.data.dataset import Dataset, Split
from i3ad_jax.data.files import check_name
from i3ad_jax.data.folder import read_folder
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.inputs import ImagesLike, as_split
from i3ad_jax.data.layouts import AUTO
from i3ad_jax.data.packed import is_packed, read_packed
from i3ad_jax.data.reading import DEFAULT_READING, ReadingSettings
from i3ad_jax.data.textures import make_textures
from i3ad_jax.errors import InputError
from i3ad_jax.settings import Settings, flag, setting

_FORMS = (
    "packed data, a table of images, a folder, as in MVTec layout, textures:KIND or"
    " tfds:mvtec_ad/CATEGORY"
)
_BUILT_IN = "textures"
_TFDS = "tfds"
ARRAYS = "python:images"  # what a run was trained on whose images were given in Python


@dataclass(frozen=True)
class DataSettings(Settings):
    """Source of the images, and the rule that brings them to one size."""

    data: str = "textures:weave"
    """Built-in textures (textures:weave, textures:mesh, textures:brick), tfds:mvtec_ad/CATEGORY, a
    folder that pack has written, or a path in one of the layouts of --layout."""
    image_size: int = setting(256, minimum=8, maximum=10_000)
    """Side in pixels to which every image is resized (paper: 256); i3ad takes multiples of 8, at
    least 32."""
    aspect: Aspect = "stretch"
    """Treatment of images that are not square: stretched (the paper), padded by repeating the
    border, or cropped to the centre."""
    held_out: float = setting(0.2, above=0, below=1)
    """Fraction of the normal training images kept from training, of many at most 1,000 images; u
    and thresholds come from them."""
    reading: ReadingSettings = field(default_factory=ReadingSettings)

    def load(self, *, size: Size, memory: int | None = None, progress: bool = False) -> Dataset:
        """Return the data set in this working size.

        Args:
            size: of every image.
            memory: bytes that the images of a split may take there, by default half of what is
                free; more of them wait in a temporary file, and are read from it as they are
                needed.
            progress: show a progress bar.

        Raises:
            InputError: there is no such data set, or its files cannot be used.
        """
        data, reading = self.data, self.reading
        source, _, name = data.partition(":")
        if source == _BUILT_IN:
            self._refuse_reading("is not a folder or file")
            if os.path.isdir(data):  # noqa: PTH112 (as below)
                raise InputError(
                    f"--data {data}: is the name of built-in textures and of a folder; give"
                    f" ./{data} for the folder, or rename it"
                )
            return make_textures(name or "weave", size=size)
        if source == _TFDS:
            self._refuse_reading("is not a folder or file")
            return _load_tfds(name, size=size, aspect=self.aspect, memory=memory, progress=progress)
        if data == ARRAYS:
            raise InputError(
                f"--data {data}: the run was trained on images given in Python; name a data set"
            )
        if not os.path.exists(data):  # noqa: PTH110 (Path.exists raises where a parent folder is closed)
            raise InputError(
                f"--data {data}: no such folder or file; give its new place if it was moved, or"
                f" {_FORMS}"
            )
        if is_packed(Path(data)):
            self._refuse_reading("is packed data", but={"bit_depth"})
            return read_packed(
                Path(data),
                size=size,
                aspect=self.aspect,
                bit_depth=reading.bit_depth,
                memory=memory,
            )
        return read_folder(
            Path(data),
            size=size,
            aspect=self.aspect,
            reading=reading,
            memory=memory,
            progress=progress,
        )

    def for_source(self, data: str) -> "DataSettings":
        """Return the settings of other data, in an absolute form, whose layout is detected."""
        if data == self.data:
            return self
        own = dict.fromkeys(self.reading.folders())
        return replace(self, data=data, reading=replace(self.reading, layout=AUTO, **own))

    def absolute(self) -> "DataSettings":
        """Return settings that mean the same data set in every working directory.

        Folders that options name are relative to `data`. Where that names no folder, such as by
        default, they are relative to the working directory, and `data` becomes the folder that has
        all of them.

        Raises:
            InputError: as for `absolute_source`.
        """
        data, folders = absolute_source(self.data), self.reading.folders()
        if not folders:
            return replace(self, data=data)
        base = Path(data) if Path(data).is_absolute() else Path.cwd()
        paths = {name: os.path.normpath(base / folder) for name, folder in folders.items()}
        if not Path(data).is_absolute():
            data = os.path.commonpath([Path(path).parent for path in paths.values()])
        own = {name: Path(os.path.relpath(path, data)).as_posix() for name, path in paths.items()}
        return replace(self, data=data, reading=replace(self.reading, **own))

    def split_of(self, images: ImagesLike, *, size: Size, by_file: bool = False) -> Split:
        """Return normal images given in Python, in this working size, as `as_split`."""
        depth = self.reading.bit_depth
        return as_split(images, size=size, aspect=self.aspect, bit_depth=depth, by_file=by_file)

    def _refuse_reading(self, kind: str, *, but: Collection[str] = ()) -> None:
        """Raise InputError for an option of how files are read, where there are none to read."""
        default = DEFAULT_READING.flat()
        for name, value in self.reading.flat().items():
            if value != default[name] and name not in but:
                shown = " ".join(value) if isinstance(value, tuple) else value
                raise InputError(
                    f"{flag(name)} {shown}: --data {self.data} {kind}; leave {flag(name)} out"
                )


def load_dataset(
    data: str,
    *,
    size: Size,
    aspect: Aspect,
    layout: str = AUTO,
    memory: int | None = None,
    progress: bool = False,
) -> Dataset:
    """Return the data set that `data` names.

    Args:
        data: `textures:KIND` (`textures` alone is the weave), `tfds:mvtec_ad/CATEGORY`, or the path
            of a folder or file in one of `layouts.LAYOUTS`, or of packed data.
        size: of every image.
        aspect: rule for images of other proportions; see `images.preprocess`.
        layout: directory layout of a folder or file, by default detected.
        memory: as for `DataSettings.load`.
        progress: show a progress bar.

    Raises:
        InputError: there is no such data set, or its files cannot be used.
    """
    settings = DataSettings(data, aspect=aspect, reading=ReadingSettings(layout))
    return settings.load(size=size, memory=memory, progress=progress)


def bytes_of(gibibytes: float | None) -> int | None:
    """Return the bytes that `--image-memory` gives.

    Raises:
        InputError: it is not an amount of memory.
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
