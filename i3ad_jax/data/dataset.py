"""What every data source returns: arrays in memory with labels, defect classes and masks."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8


@dataclass(frozen=True)
class Split:
    """Images of one part of a data set, all of one size, with what is known about each.

    Attributes:
        images: uint8 in [0, 255], RGB.
        paths: where each image came from, relative to the data set's root, unique.
        defects: the defect class of each image; `"good"` is a normal one.
        masks: True on defective pixels; all False for a normal image.
        annotated: whether `masks` is the truth for that image. False for a defective image that
            came without a mask: such an image has no part in pixel metrics.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    paths: tuple[str, ...]
    defects: tuple[str, ...]
    masks: Bool[np.ndarray, "n h w"]
    annotated: Bool[np.ndarray, " n"]

    @property
    def labels(self) -> np.ndarray:
        """0 for each normal image, 1 for each anomalous one, int64 `n`."""
        return np.array([int(defect != NORMAL) for defect in self.defects])

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at `indices`, in that order."""
        return Split(
            images=self.images[indices],
            paths=tuple(self.paths[i] for i in indices),
            defects=tuple(self.defects[i] for i in indices),
            masks=self.masks[indices],
            annotated=self.annotated[indices],
        )


@dataclass(frozen=True)
class Dataset:
    """A named data set: normal images to learn from, and a labelled test split."""

    name: str
    train: Split
    test: Split


NORMAL = "good"
