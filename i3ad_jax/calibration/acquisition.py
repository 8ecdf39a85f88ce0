"""Acquisition conditions: is a picture lit, coloured, focused and framed as normal images are?

A picture that was taken with a failed lamp or out of focus has a high anomaly score, which says
nothing about the part. Light, colour and detail are compared by levels: the sorted values of an
image, averaged in 16 blocks of equal size, against those of a typical normal image. The mean log
ratio of the middle half of the blocks moves with the whole image, and hardly with a local defect.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Size

FEWEST = 5  # normal images that bounds are learned from
_MOST = 1000  # of each split: more cost time and change little
_BLOCKS = 16
# Added to levels of red, green, blue, colour and detail: a ratio of noise near 0 says nothing.
_OFFSETS = np.array([[4.0], [4.0], [4.0], [2.0], [0.5]])


class _Condition(NamedTuple):
    """A quantity of a picture.

    Attributes:
        floor: bounds are at least this far beyond the values of normal images.
        low, high: words for a picture below and above the bounds.
        shown: sentence part with the value.
        is_fraction: any fraction down to 0 is usable; other values are logarithms.
    """

    floor: float
    low: str
    high: str
    shown: str
    is_fraction: bool = False


_CONDITIONS = {
    "proportions": _Condition(0.05, "too narrow", "too wide", "width / height {}"),
    "exposure": _Condition(0.1, "too dark", "too bright", "{} times the usual brightness"),
    "clipped": _Condition(
        0.25, "", "clipped", "{} of the values are black or white", is_fraction=True
    ),
    "red": _Condition(0.1, "colour cast", "colour cast", "red {} times as usual beside green"),
    "blue": _Condition(0.1, "colour cast", "colour cast", "blue {} times as usual beside green"),
    "colour": _Condition(
        0.4, "too little colour", "too much colour", "{} times the usual difference of channels"
    ),
    "detail": _Condition(0.3, "blurred", "noisy", "{} times the usual fine detail"),
}


@dataclass(frozen=True, eq=False)
class Acquisition:
    """Conditions of normal images, and bounds for those of others.

    Attributes:
        reference: logarithms of a typical normal image's levels of red, green, blue, colour (the
            difference between the largest and the smallest channel) and detail (the absolute
            Laplacian), ascending.
        bounds: by the name of each condition, the least and the largest value of a usable picture.
    """

    reference: Float[np.ndarray, "5 16"]
    bounds: Mapping[str, tuple[float, float]]

    @classmethod
    def learn(cls, *splits: Split) -> "Acquisition | None":
        """Return the bounds of normal images; None if there are too few.

        The range of n images is widened on each side by 0.4 + 6 / n of its width, and at least by
        the condition's floor. For a normal distribution, this is five standard deviations from the
        mean, whatever n.

        Args:
            splits: normal images of one size, all from the same camera.
        """
        chosen = [(split, i) for split in splits for i in _subsample(len(split))]
        if len(chosen) < FEWEST:
            return None
        levels, clipped = _levels([split.images[i] for split, i in chosen])
        sizes = [split.original_sizes[i] for split, i in chosen]
        reference = np.median(levels, axis=0)
        found = _conditions(reference, levels, clipped, sizes)
        share = 0.4 + 6 / len(chosen)
        return cls(reference, {name: _widened(name, own, share) for name, own in found.items()})

    def extended(self, split: Split) -> "Acquisition":
        """Return bounds that other normal images are within too, such as those of a new lamp."""
        levels, clipped = _levels(split.images[i] for i in range(len(split)))
        found = _conditions(self.reference, levels, clipped, split.original_sizes)
        bounds = {}
        for name, (low, high) in self.bounds.items():
            inside = low <= found[name].min() and found[name].max() <= high
            other_low, other_high = (low, high) if inside else _widened(name, found[name], 0)
            bounds[name] = min(low, other_low), max(high, other_high)
        return replace(self, bounds=bounds)

    def problems(
        self, images: UInt8[np.ndarray, "n h w 3"], sizes: Sequence[Size]
    ) -> list[str | None]:
        """Return in one line why each picture is unusable; None if it is usable.

        Args:
            images: in the size of the images that the bounds were learned from.
            sizes: of the pictures before they were resized.
        """
        levels, clipped = _levels(images)
        found = _conditions(self.reference, levels, clipped, sizes)
        return [
            self._problem({name: float(own[i]) for name, own in found.items()})
            for i in range(len(images))
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the conditions as JSON values."""
        bounds = {name: list(own) for name, own in self.bounds.items()}
        return {"reference": self.reference.tolist(), "bounds": bounds}

    @classmethod
    def from_json(cls, values: Any) -> "Acquisition":
        """Return the conditions that `to_json` described.

        Raises:
            KeyError, TypeError, ValueError: a value is missing or cannot be used.
        """
        reference = _numbers(values["reference"], (len(_OFFSETS), _BLOCKS))
        bounds = _numbers([values["bounds"][name] for name in _CONDITIONS], (len(_CONDITIONS), 2))
        if (bounds[:, 0] > bounds[:, 1]).any():
            raise ValueError("a bound of the acquisition conditions is above the other")
        pairs = zip(_CONDITIONS, bounds.tolist(), strict=True)
        return cls(reference, {name: (low, high) for name, (low, high) in pairs})

    def _problem(self, values: Mapping[str, float]) -> str | None:
        for name, condition in _CONDITIONS.items():
            bounds, value = self.bounds[name], values[name]
            if bounds[0] <= value <= bounds[1]:
                continue
            word = condition.low if value < bounds[0] else condition.high
            value, low, high = (
                f"{x if condition.is_fraction else math.exp(x):.2f}" for x in (value, *bounds)
            )
            return f"{word}: {condition.shown.format(value)} ({low} to {high} in usable images)"
        return None


def _subsample(count: int) -> range:
    """Indices of at most `_MOST` images, evenly spaced."""
    return range(0, count, max(1, math.ceil(count / _MOST)))


def _widened(name: str, values: Float[np.ndarray, " n"], share: float) -> tuple[float, float]:
    condition, low, high = _CONDITIONS[name], float(values.min()), float(values.max())
    margin = max(condition.floor, share * (high - low))
    return 0.0 if condition.is_fraction else low - margin, high + margin


def _levels(
    images: Iterable[UInt8[np.ndarray, "h w 3"]],
) -> tuple[Float[np.ndarray, "n 5 16"], Float[np.ndarray, " n"]]:
    """Return logarithms of the levels of images, and the fraction of their values at an end."""
    levels, clipped = [], []
    for image in images:
        red, green, blue = np.ascontiguousarray(np.moveaxis(image, -1, 0))
        colour = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        total = red.astype(np.int16) + green + blue
        inner = total[1:-1, 1:-1]
        detail = np.abs(
            4 * inner - total[:-2, 1:-1] - total[2:, 1:-1] - total[1:-1, :-2] - total[1:-1, 2:]
        )
        found = [*map(_blocks, (red, green, blue, colour)), _blocks(detail) / 3]
        levels.append(np.log(np.stack(found) + _OFFSETS))
        clipped.append(np.mean((image <= 1) | (image >= 254)))
    return np.stack(levels), np.array(clipped)


def _blocks(values: np.ndarray) -> Float[np.ndarray, " 16"]:
    """Means of equal shares of the sorted values."""
    ordered = np.sort(values, axis=None, kind="stable")  # by radix: fast for small integers
    size = len(ordered) // _BLOCKS
    first = (len(ordered) - _BLOCKS * size) // 2
    return ordered[first : first + _BLOCKS * size].reshape(_BLOCKS, size).mean(axis=1)


def _conditions(
    reference: Float[np.ndarray, "5 16"],
    levels: Float[np.ndarray, "n 5 16"],
    clipped: Float[np.ndarray, " n"],
    sizes: Sequence[Size],
) -> dict[str, Float[np.ndarray, " n"]]:
    """Return the conditions of images by name."""
    ordered = np.sort(levels - reference, axis=-1)
    middle = ordered[..., _BLOCKS // 4 : -_BLOCKS // 4].mean(axis=-1)
    red, green, blue, colour, detail = middle.T
    exposure = (red + green + blue) / 3
    heights, widths = np.array(sizes, np.float64).T
    return {
        "proportions": np.log(widths / heights),
        "exposure": exposure,
        "clipped": clipped,
        "red": red - green,
        "blue": blue - green,
        "colour": colour,
        "detail": detail - exposure,  # light alone changes it in proportion
    }


def _numbers(values: Any, shape: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    """Return a table of finite numbers.

    Raises:
        ValueError: it is none, or of another shape.
    """
    rows = [row for row in values if isinstance(row, list)]
    if not all(type(value) in (int, float) for row in rows for value in row):
        raise ValueError("the acquisition conditions must be numbers")
    try:
        found = np.array(rows, np.float64)
    except OverflowError as error:
        raise ValueError("the acquisition conditions must be finite") from error
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"the acquisition conditions must be {shape} finite numbers")
    return found
