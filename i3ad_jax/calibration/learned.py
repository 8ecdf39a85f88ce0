"""Test of learning: a method's reconstructions of held-out normal images against simple ones.

Two replacements know nothing of an image but what takes no network to see: the mean training image,
and the nearest known pixels of each hole. What reconstructs no better than they do has not learned.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8

from i3ad_jax.inpainting.masks import checkerboard_masks
from i3ad_jax.methods.method import Method
from i3ad_jax.methods.state import Trained
from i3ad_jax.preprocessing.preprocessing import Preprocessing

EXAMINED = 64  # images, at most: a checkpoint should not take long
COLLAPSED = 0.2  # a smaller `Learned.spread` is that of one picture for all images
ROUNDING = 1e-6  # mean differences of pixels in float32 below this are none
ADVICE = "results mean little (train longer, or on more images)"


@dataclass(frozen=True)
class Learned:
    """Reconstruction quality of held-out normal images.

    Errors are mean absolute ones, over all pixels.

    Attributes:
        l1: the reconstructions' error.
        mean_image_l1: the error of the mean training image as the reconstruction of every image.
        fill_l1: the error of `neighbour_fill_pass`; None for a method that sees every pixel.
        spread: standard deviation over reconstructions, averaged over pixels and channels, by that
            over images; None where the images do not differ.
    """

    l1: float
    mean_image_l1: float
    fill_l1: float | None
    spread: float | None

    @property
    def to_mean_image(self) -> float | None:
        """The error by that of the mean training image; None where that has no error."""
        return _ratio(self.l1, self.mean_image_l1)

    @property
    def to_fill(self) -> float | None:
        """The error by that of the neighbour fill; None where there is none or it has no error."""
        return None if self.fill_l1 is None else _ratio(self.l1, self.fill_l1)

    def as_metrics(self) -> dict[str, float]:
        """Return the error, its ratios and the spread by a run's metric names; None is left out."""
        values = {
            "held_out_l1": self.l1,
            "held_out_l1_to_mean_image": self.to_mean_image,
            "held_out_l1_to_fill": self.to_fill,
            "spread_over_images": self.spread,
        }
        return {name: value for name, value in values.items() if value is not None}

    def problem(self, *, aligned: bool) -> str | None:
        """One line for people if the method has learned too little to detect anything, else None.

        Args:
            aligned: whether images show the same thing at the same place, so that their mean is a
                picture of it. Where they do not, only the neighbour fill is worth a comparison.
        """
        ratio = self.to_mean_image if aligned else self.to_fill
        if aligned and self.spread is not None and self.spread < COLLAPSED:
            return (
                "the method gives almost the same picture for every image: on held-out normal "
                f"images its reconstructions vary {self.spread:.2f} times as much as the images "
                f"do; {ADVICE}"
            )
        if ratio is None or ratio < 1:
            return None
        known = (
            "the mean training image knows" if aligned else "the nearest pixels of each hole tell"
        )
        return (
            f"the method has learned less than {known}: its error on held-out normal images is "
            f"{ratio:.2f} times as large; {ADVICE}"
        )


@dataclass(frozen=True)
class Yardstick:
    """Held-out normal images, and the errors of both simple replacements on them.

    Attributes:
        images: one square of each image, as the networks take them.
        mean_image_l1, fill_l1: as of `Learned`.
    """

    images: Float[np.ndarray | Array, "n h w c"]
    mean_image_l1: float
    fill_l1: float | None

    @classmethod
    def of(
        cls,
        images: Float[np.ndarray | Array, "n h w c"],
        *,
        mean_image: Float[np.ndarray | Array, "*n h w c"],
        patches: int | None,
    ) -> "Yardstick":
        """Return that of some images.

        Args:
            images: held-out normal images, as the networks take them.
            mean_image: of the training images, as far as each square shows of it.
            patches: along each side of the checkerboard by which holes are filled; None for a
                method without holes.
        """
        own = np.asarray(images)
        fill = None if patches is None else _l1(neighbour_fill_pass(own, patches=patches), own)
        return cls(images, _l1(mean_image, images), fill)

    @classmethod
    def of_held_out(
        cls, method: Method, preprocessing: Preprocessing, held_out: UInt8[np.ndarray, "n h w 3"]
    ) -> "Yardstick":
        """Return that of one square of each image, of `EXAMINED` images at most."""
        chosen = held_out[:EXAMINED]
        return cls.of(
            preprocessing.squares(chosen).images,
            mean_image=preprocessing.mean_squares(len(chosen)),
            patches=method.fill_patches,
        )

    def measure(self, reconstructions: Float[np.ndarray | Array, "n h w c"]) -> Learned:
        """Return the evidence of learning from reconstructions of the images, in one pass."""
        return Learned(
            l1=_l1(reconstructions, self.images),
            mean_image_l1=self.mean_image_l1,
            fill_l1=self.fill_l1,
            spread=_ratio(_variation(reconstructions), _variation(self.images)),
        )


def examine(trained: Trained, yardstick: Yardstick) -> Learned | None:
    """Return the evidence of learning; None for a method with a search."""
    images: Any = yardstick.images
    reconstructions = trained.method.reconstruct_once(trained.state, images)
    return None if reconstructions is None else yardstick.measure(reconstructions)


def neighbour_fill_pass(
    images: Float[np.ndarray, "n h w c"], *, patches: int
) -> Float[np.ndarray, "n h w c"]:
    """Fill every pixel of the images by `neighbour_fill`, as a hole of one of four checkerboards.

    This is what I3AD's first pass would be with this fill instead of the generator. In NumPy:
    to compile it would take longer than to run it once.
    """
    _, height, width, _ = images.shape
    boards = np.asarray(checkerboard_masks(height=height, width=width, patches=patches))
    return sum(
        (board * neighbour_fill(images, board[None]) for board in boards), np.zeros_like(images)
    )


def neighbour_fill(
    images: Float[np.ndarray, "n h w c"], masks: Float[np.ndarray, "m h w 1"]
) -> Float[np.ndarray, "n h w c"]:
    """Fill each hole from the nearest known pixels to its left, right, top and bottom.

    A pixel of a hole becomes the mean of the ones that exist, weighted by the inverse of their
    distances; 0 where none exists. One mask may be that of all images.
    """
    sides = [
        _nearest_known(images, masks, axis=axis, beyond=beyond)
        for axis in (1, 2)
        for beyond in (False, True)
    ]
    total = sum(weights for _, weights in sides)
    mean = sum(weights * values for values, weights in sides) / np.where(total > 0, total, 1)
    return np.where(masks > 0, mean, images)


def _nearest_known(
    images: Float[np.ndarray, "n h w c"],
    masks: Float[np.ndarray, "m h w 1"],
    *,
    axis: int,
    beyond: bool,
) -> tuple[Float[np.ndarray, "n h w c"], Float[np.ndarray, "m h w 1"]]:
    """Return the nearest known pixel before or beyond each pixel along an axis, and its weight.

    The weight is 0 if there is none. Known pixels find themselves.
    """
    size = masks.shape[axis]
    position = np.expand_dims(np.arange(size), [each for each in range(4) if each != axis])
    if beyond:
        flipped = np.flip(np.where(masks > 0, size, position), axis)
        nearest = np.flip(np.minimum.accumulate(flipped, axis), axis)
    else:
        nearest = np.maximum.accumulate(np.where(masks > 0, -1, position), axis)
    exists = (nearest >= 0) & (nearest < size)
    values = np.take_along_axis(images, np.clip(nearest, 0, size - 1), axis)
    distance = np.maximum(np.abs(nearest - position), 1)
    return values, np.where(exists, 1 / distance, 0).astype(np.float32)


def _ratio(value: float, reference: float) -> float | None:
    return value / reference if reference > ROUNDING else None


def _l1(
    images: Float[np.ndarray | Array, "..."], others: Float[np.ndarray | Array, "n h w c"]
) -> float:
    return float(np.abs(np.asarray(images) - np.asarray(others)).mean(dtype=np.float64))


def _variation(images: Float[np.ndarray | Array, "n h w c"]) -> float:
    """Standard deviation over images, averaged over pixels and channels."""
    return float(np.asarray(images).std(axis=0, dtype=np.float64).mean())
