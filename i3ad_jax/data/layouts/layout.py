"""Interface of a layout of a data set on disk: how it is recognised, which samples it has."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from i3ad_jax.data.samples import Sample
from i3ad_jax.data.search import list_folder
from i3ad_jax.errors import InputError

FOLDER_NAMES = {
    "train": ("training",),
    "test": ("testing",),
    "ground_truth": ("groundtruth", "ground-truth", "ground truth", "gt", "masks", "mask"),
}
"""Other names of the folders that layouts have, in any case."""


class Listing(NamedTuple):
    """The samples of a data set, each split in the order of their paths.

    Attributes:
        train: normal images to learn from; empty if there are none, which is enough for a test.
        test: labelled images; empty if there are none, which is enough for training.
    """

    train: list[Sample]
    test: list[Sample]


class Mismatch(NamedTuple):
    """A file without a place in the data set.

    Such are an image that is of no class, a mask that is not the only one of one image, and a copy
    of another file beside it.

    Attributes:
        kind: kind of the problem.
        file: the file or folder.
        problem: the same for people, with what to do.
    """

    kind: Literal[
        "loose_image",
        "loose_mask",
        "mask_without_image",
        "ambiguous_mask",
        "second_mask",
        "stray_copy",
    ]
    file: Path
    problem: str


Report = Callable[[Mismatch], None]


def refuse(mismatch: Mismatch) -> None:
    """Raise InputError unless the file can be left out without loss, as a copy can."""
    if mismatch.kind != "stray_copy":
        raise InputError(f"{mismatch.file}: {mismatch.problem}")


class Layout(ABC):
    """Directory layout of a data set on disk.

    Attributes:
        signs: folders and files below the root by which it is recognised, all of which exist; `*`
            stands for any name. Of two layouts that match, the one whose signs include those of the
            other is meant.
        is_file: whether a data set is one file, which lists the others, and not a folder.
    """

    signs: tuple[str, ...]
    is_file: ClassVar[bool] = False

    def matches(self, root: Path) -> bool:
        """Return whether `root`, which exists, looks like this layout.

        Raises:
            InputError: a folder cannot be read.
        """
        return root.is_dir() and all(exists(root, sign) for sign in self.signs)

    def resembles(self, root: Path) -> bool:
        """Return whether `root`, which matches no layout, is one of this layout by other names.

        Raises:
            InputError: a folder cannot be read.
        """
        del root
        return False

    def lacks(self, root: Path) -> str | None:
        """Return what a folder of no layout lacks to be of this one, and what to do.

        None if it does not look like it. Raises: InputError: a folder cannot be read.
        """
        del root
        return None

    def with_normal(self, names: tuple[str, ...]) -> "Layout":
        """Return the layout where folders of these names, too, hold normal images."""
        del names
        return self

    def no_train(self, root: Path) -> str:
        """Return the error of a data set without images to learn from."""
        return f"{root}: no images; put the normal images to learn from there"

    @abstractmethod
    def list_samples(self, root: Path) -> Listing:
        """Return the samples of the data set in `root`.

        No image is decoded for it unless its label is its mask.

        Raises:
            InputError: a file or folder is missing or cannot be read, or masks and images do not
                match.
        """

    def list_matching(self, root: Path, report: Report) -> Listing:
        """Return what `list_samples` does, but give files that do not match to `report`.

        They are left out if it returns.

        A layout that cannot leave them out refuses them all the same.

        Raises:
            InputError: as `list_samples`.
        """
        del report
        return self.list_samples(root)


def exists(root: Path, sign: str) -> bool:
    """Return whether a file or folder below `root` matches a sign of a layout.

    Raises:
        InputError: it cannot be told because a folder may not be entered.
    """
    if "*" in sign:
        return next(root.glob(sign), None) is not None
    try:
        return (root / sign).exists()
    except OSError as error:
        raise InputError(
            f"{root / sign}: cannot be read ({error.strerror}); check its permissions"
        ) from error


def locate(root: Path, path: str) -> Path:
    """Return the folder below `root` that a layout calls `path`, by its other names too.

    Each part is the folder of exactly this name, or else the only one whose name is this one or one
    of its `FOLDER_NAMES` in any case.

    Args:
        root: of the data set.
        path: names of folders with slashes between.

    Returns:
        The folder; `root / path` if it does not exist.

    Raises:
        InputError: a folder cannot be listed, or several could be meant.
    """
    found = root
    for name in path.split("/"):
        exact = found / name
        if not (exists(found, name) and exact.is_dir()):
            accepted = {name, *FOLDER_NAMES.get(name, ())}
            others = [f for f in list_folder(found).folders if f.name.casefold() in accepted]
            if len(others) > 1:
                both = " and ".join(folder.name for folder in others[:2])
                raise InputError(f"{found}: {both} could each be {name}; rename one of them")
            exact = others[0] if others else exact
        found = exact
    return found


def pair_masks_by_stem(
    masks: Iterable[tuple[Path, list[Path], str]], report: Report
) -> dict[Path, tuple[Path, ...]]:
    """Return the mask of each image that has one.

    Args:
        masks: files with the images of their stem, and the folder that has such images, for
            messages.
        report: is given each mask that has no image or several, or whose image has a mask already.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    for mask, owners, place in masks:
        if not owners:
            problem = f"no image of that name in {place}; rename or remove the mask"
            report(Mismatch("mask_without_image", mask, problem))
        elif len(owners) > 1:
            both = " and ".join(owner.name for owner in owners[:2])
            problem = f"could belong to {both} in {place}; rename one of them"
            report(Mismatch("ambiguous_mask", mask, problem))
        elif owners[0] in found:
            problem = f"{owners[0].name} has another mask, {found[owners[0]][0]}; remove one"
            report(Mismatch("second_mask", mask, problem))
        else:
            found[owners[0]] = (mask,)
    return found


def stems_of_mask(mask: Path) -> set[str]:
    """Return the stems that the image of a mask may have: that of the mask, without `_mask`."""
    return {mask.stem, mask.stem.removesuffix("_mask")}


def by_path(samples: list[Sample]) -> list[Sample]:
    """The samples in the order of their paths."""
    return sorted(samples, key=lambda sample: sample.path)
