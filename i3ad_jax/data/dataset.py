"""`Dataset`, which every data source returns: images with labels, defect classes and masks."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from i3ad_jax.data.images import Size
from i3ad_jax.data.stored import Rows, take
from i3ad_jax.errors import InputError

NORMAL = "good"
"""The defect class of normal images."""


@dataclass(frozen=True)
class Split:
    """Images of one part of a data set, all of one size, with what is known about each.

    Images and masks are in memory, or in a file where they are too many for it.

    Attributes:
        images: uint8 in [0, 255], RGB.
        paths: path of each image, relative to the data set's root, unique.
        defects: the defect class of each image; `"good"` is a normal one.
        masks: True on defective pixels; all False for a normal image.
        annotated: whether `masks` is the truth for that image. False for a defective image that
            came without a mask: such an image has no part in pixel metrics.
        hashes: SHA-256 of each image's content, 64 hex digits: of its encoded file, or of its
            pixels (`images[i]`, row by row) if it never was a file.
        original_sizes: the upright size of each picture before it was brought to the size of
            `images`.
    """

    images: UInt8[Rows, "n h w 3"]
    paths: tuple[str, ...]
    defects: tuple[str, ...]
    masks: Bool[Rows, "n h w"]
    annotated: Bool[np.ndarray, " n"]
    hashes: tuple[str, ...]
    original_sizes: tuple[Size, ...]

    @classmethod
    def of_normal_images(cls, images: np.ndarray) -> "Split":
        """A split of normal images that are in memory already; their paths are "0", "1", and so on.

        Args:
            images: uint8 in [0, 255], RGB.

        Raises:
            InputError: `images` has another type or shape.
        """
        found: Any = images  # The type above may not have been checked.
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8:
            given = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
            raise InputError(f"images: must be a NumPy array of uint8, not {given}")
        if found.ndim != 4 or found.shape[3] != 3:
            raise InputError(
                f"images: must have the shape (n, height, width, 3), not {found.shape}"
            )
        return cls(
            images=found,
            paths=tuple(map(str, range(len(found)))),
            defects=(NORMAL,) * len(found),
            masks=np.zeros(found.shape[:3], bool),
            annotated=np.ones(len(found), bool),
            hashes=tuple(content_hash(image.tobytes()) for image in found),
            original_sizes=(found.shape[1:3],) * len(found),
        )

    @property
    def labels(self) -> np.ndarray:
        """0 for each normal image, 1 for each anomalous one, int64 `n`."""
        return np.array([int(defect != NORMAL) for defect in self.defects], np.int64)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, in that order."""
        return Split(
            images=take(self.images, indices),
            paths=tuple(self.paths[i] for i in indices),
            defects=tuple(self.defects[i] for i in indices),
            masks=take(self.masks, indices),
            annotated=self.annotated[indices],
            hashes=tuple(self.hashes[i] for i in indices),
            original_sizes=tuple(self.original_sizes[i] for i in indices),
        )

    def in_memory(self) -> "Split":
        """The same with all images and masks in memory."""
        return replace(self, images=self.images[:], masks=self.masks[:])


class Dataset:
    """A named data set: normal images to learn from, and a labelled test split.

    A split may be given as a function, which reads it when it is first used.

    Attributes:
        name: of the data set.
        notes: remarks on its files, each in one line.
    """

    def __init__(
        self,
        name: str,
        train: Split | Callable[[], Split],
        test: Split | Callable[[], Split],
        *,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.notes = name, tuple(notes)
        self._train, self._test = train, test

    @cached_property
    def train(self) -> Split:
        """Normal images to learn from.

        Raises:
            InputError: an image cannot be read.
        """
        return self._train if isinstance(self._train, Split) else self._train()

    @cached_property
    def test(self) -> Split:
        """Labelled images to test on, possibly none.

        Raises:
            InputError: an image or a mask cannot be read.
        """
        return self._test if isinstance(self._test, Split) else self._test()

    @property
    def digest(self) -> str:
        """SHA-256 of the test split, 64 hex digits, for results to say what they were measured on.

        It covers, for each image in order, its path, hash and defect class, whether it is
        annotated, and its mask at the split's image size. It does not cover the training images.
        """
        test = self.test
        labels = [test.paths, test.hashes, test.defects, test.annotated.tolist(), test.masks.shape]
        found = hashlib.sha256(json.dumps(labels).encode())
        for mask in test.masks:
            found.update(mask.tobytes())
        return found.hexdigest()


def content_hash(content: bytes) -> str:
    """SHA-256 of `content`, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()
