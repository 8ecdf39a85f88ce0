"""Data sets on disk: a folder, or a table that lists images, in any of the layouts."""

from functools import partial
from pathlib import Path

from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.layouts import find_layout
from i3ad_jax.data.samples import read_split


def read_folder(
    root: Path,
    *,
    size: Size,
    aspect: Aspect,
    layout: str = "mvtec",
    memory: int | None = None,
    progress: bool = False,
) -> Dataset:
    """Return the data set in `root`, named after it; images in the order of their paths.

    Files are listed here and read when a split is used. The test split is empty if there are no
    test images: enough for training.

    Args:
        root: a folder, or the file of a manifest.
        size: the working size, as for `preprocess`.
        aspect: as for `preprocess`.
        layout: one of `LAYOUTS`, or "auto" for the one that `root` has.
        memory: as for `read_split`.
        progress: show a progress bar.

    Raises:
        InputError: the layout is not found; there are no normal training images; a file or folder
            cannot be read; a mask has no image, several, or another size than its image; an image
            has two masks where one is meant; or a normal image has a mask that marks a defect.
    """
    train, test = find_layout(root, name=layout).list_samples(root)
    splits = (
        partial(
            read_split,
            samples.__getitem__,
            len(samples),
            size=size,
            aspect=aspect,
            memory=memory,
            progress=progress,
        )
        for samples in (train, test)
    )
    return Dataset(root.resolve().name, *splits)
