"""What a layout of a data set on disk offers: how it is recognised, and which samples it has."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, NoReturn

from i3ad_jax.data.samples import Sample
from i3ad_jax.errors import InputError


class Listing(NamedTuple):
    """The samples of a data set, each split in the order of their paths.

    Attributes:
        train: normal images to learn from, at least one.
        test: labelled images; empty if there are none, which is enough for training.
    """

    train: list[Sample]
    test: list[Sample]


class Mismatch(NamedTuple):
    """An image that is of no class, or a mask that is not the only one of one image.

    Attributes:
        kind: what is wrong.
        file: the file or folder.
        problem: the same for people, with what to do.
    """

    kind: Literal[
        "loose_image", "loose_mask", "mask_without_image", "ambiguous_mask", "second_mask"
    ]
    file: Path
    problem: str


Report = Callable[[Mismatch], None]


def refuse(mismatch: Mismatch) -> NoReturn:
    """Raises InputError: the data set cannot be used as it is."""
    raise InputError(f"{mismatch.file}: {mismatch.problem}")


class Layout(ABC):
    """One way in which data sets lie on disk.

    Attributes:
        signs: by what it is recognised: folders and files below the root, all of which exist; `*`
            stands for any name. Of two layouts that match, the one whose signs include the other's
            is meant.
        is_file: whether a data set is one file, which lists the others, and not a folder.
    """

    signs: tuple[str, ...]
    is_file: ClassVar[bool] = False

    def matches(self, root: Path) -> bool:
        """Whether `root`, which exists, looks like this layout.

        Raises:
            InputError: a folder cannot be read.
        """
        return root.is_dir() and all(exists(root, sign) for sign in self.signs)

    @abstractmethod
    def list_samples(self, root: Path) -> Listing:
        """Return the samples of the data set in `root`.

        No image is decoded for it unless its label is its mask.

        Raises:
            InputError: there are no normal training images, a file or folder is missing or cannot
                be read, or masks and images do not match.
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
    """Whether there is a file or folder below `root` that a sign of a layout describes.

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


def by_path(samples: list[Sample]) -> list[Sample]:
    """The samples in the order of their paths."""
    return sorted(samples, key=lambda sample: sample.path)
