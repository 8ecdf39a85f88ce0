# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""Results of a detector: `Prediction` of one image, `Trace` of the loop's states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from i3ad_jax.calibration.verdict import Rule
from i3ad_jax.data.decoder import FULL_DEPTH
from i3ad_jax.data.images import Aspect, File, Size, read_image, restore_map
from i3ad_jax.errors import InputError
from i3ad_jax.pictures import data_uri, overlay, result_sheet
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.scoring.regions import Region, find_regions

_SHOWN_SIDE = 480  # pixels of the longer side of a picture in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Result of a detector for one image.

    Attributes:
        name: path of the image, or its position among the images given.
        scores: image score by name; higher is more anomalous.
        rule: score and threshold that decide.
        thresholds: by the same names, the threshold of each score.
        source: file or content of the file; or the image itself, RGB, if it was given so.
        original_size: height and width of the image.
        small_maps: anomaly map by the same names, in the detector's working size, float32.
        aspect: rule by which the image was brought to that size.
        bit_depth: bits that a 16-bit image uses.
        unusable: reason why the picture is unusable, in one line: it is lit, coloured,
            focused or framed unlike the normal images. None if it is usable, or this is ignored.
    """

    name: str
    scores: Mapping[str, float]
    rule: Rule
    thresholds: Mapping[str, float]
    source: File | bytes | Image.Image
    original_size: Size
    small_maps: Mapping[str, Float[np.ndarray, "h w"]]
    aspect: Aspect
    unusable: str | None = None
    bit_depth: int = FULL_DEPTH

    @property
    def score(self) -> float:
        """Score that decides."""
        return self.scores[self.rule.score]

    @property
    def threshold(self) -> float:
        """Threshold of the score that decides."""
        return self.rule.threshold

    @property
    def verdict(self) -> Literal["normal", "anomalous", "unusable"]:
        """The decision; an unusable picture is neither normal nor anomalous, whatever its score."""
        if self.unusable is not None:
            return "unusable"
        return "anomalous" if self.rule.is_anomalous(self.scores) else "normal"

    @property
    def is_anomalous(self) -> bool | None:
        """True if the score is above the threshold; None for an unusable picture."""
        return None if self.verdict == "unusable" else self.verdict == "anomalous"

    @property
    def anomalous(self) -> dict[str, bool]:
        """Return for the name of every score whether it is above its own threshold."""
        return {name: value > self.thresholds[name] for name, value in self.scores.items()}

    @cached_property
    def map(self) -> Float[np.ndarray, "height width"]:
        """Anomaly map of the score that decides, in the size of the image, float32."""
        return self.anomaly_map()

    def anomaly_map(self, *, score: str | None = None) -> Float[np.ndarray, "height width"]:
        """Return the anomaly map of a score, by default that of `map`."""
        small = self.small_maps[score or self.rule.score]
        return restore_map(small, original_size=self.original_size, aspect=self.aspect)

    @cached_property
    def regions(self) -> list[Region]:
        """Regions of the map above the pixel threshold, the one with the highest peak first.

        The pixel threshold comes from calibration images, of which about as many have a region as
        are called anomalous. An anomalous image can be without a region, and a normal one can have
        one.

        Raises:
            InputError: the run was calibrated by a version without pixel thresholds.
        """
        threshold = self.rule.pixel_threshold
        if threshold is None:
            raise InputError(
                "the run was calibrated without pixel thresholds (version 0.1);"
                " python -m i3ad_jax.train --run RUN --resume calibrates it again"
            )
        if self.small_maps[self.rule.score].max() <= threshold:  # as most normal images
            return []
        return find_regions(self.map, threshold)

    @cached_property
    def original(self) -> UInt8[np.ndarray, "height width 3"]:
        """The image, RGB, in its own size. A file is read again: many images do not fit in memory.

        Raises:
            InputError: the file cannot be read any more, or holds an image of another size.
        """
        source = self.source
        picture = (
            source
            if isinstance(source, Image.Image)
            else read_image(source, name=self.name, bit_depth=self.bit_depth)
        )
        if (picture.height, picture.width) != self.original_size:
            raise InputError(f"{self.name}: has been replaced by another image since it was scored")
        return np.asarray(picture)

    @property
    def heat_map(self) -> UInt8[np.ndarray, "height width 3"]:
        """The image in grey under its anomaly map, RGB."""
        return overlay(self.original, self.map, vmax=SCORES[self.rule.score].heat_limit)

    @property
    def picture(self) -> Image.Image:
        """The image, the image with its regions outlined, and its map, over the verdict."""
        return result_sheet(
            self.original,
            self.map,
            vmax=SCORES[self.rule.score].heat_limit,
            threshold=self.rule.pixel_threshold,
            caption=self._verdict_and_regions,
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw the image under its anomaly map, with a box around each region that is known.

        Args:
            axes: Matplotlib's `Axes` to draw in; by default those of a new figure.

        Returns:
            The axes: `plot().figure.savefig("found.png")` writes the picture.
        """
        from matplotlib.figure import Figure  # half a second to import
        from matplotlib.patches import Rectangle

        axes = Figure().subplots() if axes is None else axes
        axes.imshow(self.heat_map)
        for region in () if self.rule.pixel_threshold is None else self.regions:
            corner = region.left - 0.5, region.top - 0.5
            axes.add_patch(
                Rectangle(corner, region.width, region.height, fill=False, edgecolor="cyan")
            )
        axes.set_title(self._verdict)
        axes.set_axis_off()
        return axes

    @property
    def _verdict(self) -> str:
        sign = ">" if self.rule.is_anomalous(self.scores) else "<="
        score = f"{self.rule.score} {self.score:.4g} {sign} {self.threshold:.4g}"
        if self.unusable is not None:
            return f"unusable, {self.unusable}; {score}"
        return f"{self.verdict}: {score}"

    @property
    def _verdict_and_regions(self) -> str:
        number = "" if self.rule.pixel_threshold is None else f"; regions: {len(self.regions)}"
        return self._verdict + number

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prediction):
            return NotImplemented
        return self._key == other._key and all(
            np.array_equal(own, other.small_maps[name]) for name, own in self.small_maps.items()
        )

    def __hash__(self) -> int:
        return hash(self._key)

    @property
    def _key(self) -> tuple[object, ...]:
        scores = tuple(self.scores.items())
        return self.name, scores, self.rule, self.original_size, self.aspect, self.unusable

    def __repr__(self) -> str:
        return f"Prediction({self.name!r}, {self._verdict})"

    def _repr_html_(self) -> str:
        shown = Image.fromarray(self.heat_map)
        shown.thumbnail((_SHOWN_SIDE, _SHOWN_SIDE))
        return _figure([shown], f"{self.name}: {self._verdict_and_regions}")


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Every state of the test-time loop for each image, in the detector's working size.

    Attributes:
        reconstructions: after the first pass, then after each recorded iteration.
        masks: True where a state was last inpainted; everywhere for a method without a mask.
        scores: the SSIM anomaly score of each state.
        iterations: number of iterations that led to each state.
    """

    reconstructions: UInt8[np.ndarray, "n t h w 3"]
    masks: Bool[np.ndarray, "n t h w"]
    scores: Float[np.ndarray, "n t h w"]
    iterations: tuple[int, ...]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trace):
            return NotImplemented
        return self.iterations == other.iterations and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("reconstructions", "masks", "scores")
        )

    def __hash__(self) -> int:
        return hash((self.iterations, self.reconstructions.tobytes()))

    def __repr__(self) -> str:
        images, states, height, width, _ = self.reconstructions.shape
        last = self.iterations[-1]
        return f"Trace({images} images of {height} x {width}, {states} states to iteration {last})"

    def _repr_html_(self) -> str:
        rows = [
            Image.fromarray(np.concatenate(list(states), axis=1)) for states in self.reconstructions
        ]
        return _figure(rows, repr(self))


def _figure(pictures: Sequence[Image.Image], caption: str) -> str:
    """HTML of pictures, one below the other, and a caption."""
    shown = "<br>".join(f'<img src="{data_uri(picture, lossless=False)}">' for picture in pictures)
    return f"<figure>{shown}<figcaption>{escape(caption)}</figcaption></figure>"
