"""Data sets on disk: a folder, or a table that lists images, in any of the layouts."""

import os
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.images import Aspect, Size
from i3ad_jax.data.labels import defect_class
from i3ad_jax.data.layouts.layout import Listing, Report, refuse
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.data.samples import Sample, read_split
from i3ad_jax.data.search import counted, describe, find_below
from i3ad_jax.errors import InputError, LeftOutWarning


class LeftOut(NamedTuple):
    """Files below the root of a data set that are not used.

    Attributes:
        deeper: number of images by folder below one whose images are used.
        elsewhere: the same by any other folder.
        ignored: numbers of other files, as of `search.Found`.
        unreadable: errors of folders that could not be read and are not used.
    """

    deeper: Counter[str]
    elsewhere: Counter[str]
    ignored: Counter[str]
    unreadable: tuple[str, ...]

    def problem(self) -> str | None:
        """Return what is wrong with images that a user would expect to be used, if any."""
        if not self.deeper:
            return None
        folders = ", ".join(f"{folder} ({count})" for folder, count in sorted(self.deeper.items()))
        return (
            f"{counted(self.deeper.total(), 'images')} left out, deeper than the layout has them:"
            f" {folders}; move them up"
        )

    def describe(self) -> str | None:
        """Return all of it for people, in one line; None if there is nothing."""
        images = self.deeper + self.elsewhere
        parts = [counted(count, f"images in {folder}") for folder, count in sorted(images.items())]
        parts += [describe(self.ignored)] if self.ignored else []
        parts += self.unreadable
        return f"not used: {', '.join(parts)}" if parts else None


def read_folder(
    root: Path,
    *,
    size: Size,
    aspect: Aspect,
    reading: ReadingSettings,
    memory: int | None = None,
    progress: bool = False,
) -> Dataset:
    """Return the data set in `root`, named after it; images in the order of their paths.

    Files are listed here and read when a split is used. The test split is empty if there are no
    test images: enough for training. Without training images, the training split raises an
    InputError.

    Args:
        root: a folder, or the file of a manifest.
        size: the working size, as for `preprocess`.
        aspect: as for `preprocess`.
        reading: options to read the files.
        memory: as for `read_split`.
        progress: show a progress bar.

    Raises:
        InputError: the layout is not found, there are no images, or a file or folder cannot be
            read. Or a mask has no image, several, or another size than its image. Or an image has
            two masks where one is meant, or a normal image has a mask that marks a defect.

    Warns:
        LeftOutWarning: images are deeper than the layout has them, or a folder that the layout does
            not need cannot be read.
    """
    listing = list_samples(root, reading)
    left_out = find_left_out(root, listing)
    problem = left_out.problem()
    for warning in (*([f"{root}: {problem}"] if problem else []), *left_out.unreadable):
        warnings.warn(warning, LeftOutWarning, stacklevel=2)
    train, test = (
        partial(
            read_split,
            samples.__getitem__,
            len(samples),
            size=size,
            aspect=aspect,
            memory=memory,
            progress=progress,
        )
        for samples in listing
    )

    def refuse_train() -> NoReturn:
        raise InputError(reading.layout_of(root).no_train(root))

    note = left_out.describe()
    notes = () if note is None else (note,)
    return Dataset(root.resolve().name, train if listing.train else refuse_train, test, notes=notes)


def list_samples(root: Path, reading: ReadingSettings, *, report: Report = refuse) -> Listing:
    """Return the samples of a data set on disk, as the settings label and read them.

    Args:
        root: a folder, or the file of a manifest.
        reading: options to read the files.
        report: is given each file that does not match, as for `Layout.list_matching`.

    Raises:
        InputError: as for `read_folder`; no image is decoded unless its label is its mask.
    """
    layout = reading.layout_of(root)
    listing = layout.list_matching(root, report)
    if not any(listing):
        raise InputError(layout.no_train(root))

    def as_asked(sample: Sample) -> Sample:
        own = sample.mask_values  # of the layout
        return replace(
            sample,
            defect=defect_class(sample.defect, normal=reading.normal_class),
            mask_values=own if reading.mask_values == "auto" else reading.mask_values,
            bit_depth=reading.bit_depth,
        )

    return Listing(*(list(map(as_asked, samples)) for samples in listing))


def find_left_out(root: Path, listing: Listing) -> LeftOut:
    """Return the files below a data set's folder that are not part of it.

    Args:
        root: a folder; or the file of a manifest, which says by itself what is used.
        listing: its samples.
    """
    if not root.is_dir():
        return LeftOut(Counter(), Counter(), Counter(), ())
    samples = [sample for samples in listing for sample in samples]
    images = {os.path.realpath(x.image) for x in samples if isinstance(x.image, Path)}
    masks = {os.path.realpath(m) for x in samples for m in x.masks if isinstance(m, Path)}
    with_images = {os.path.dirname(path) for path in images}  # noqa: PTH120 (as realpath)
    deeper, elsewhere = Counter[str](), Counter[str]()
    errors: list[InputError] = []
    found = find_below(root, report=errors.append)
    for path in found.images:
        real = os.path.realpath(path)
        if real in images or real in masks:
            continue
        above = {str(parent) for parent in Path(real).parents[1:]}
        (deeper if above & with_images else elsewhere)[
            path.parent.relative_to(root).as_posix()
        ] += 1
    return LeftOut(deeper, elsewhere, found.ignored, tuple(map(str, errors)))
