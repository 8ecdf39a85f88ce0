"""`Preprocessing`: the one way from a data set's pixels to what networks see, and back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from i3ad_jax.data.images import Size
from i3ad_jax.data.stored import Rows, some
from i3ad_jax.preprocessing.scales import enlarge, halved, reduce_pixels, reduce_values
from i3ad_jax.preprocessing.tiles import Place, Tiling
from i3ad_jax.preprocessing.units import (
    Centre,
    Units,
    choose_centre,
    choose_level,
    explain_detail,
    from_units,
    level,
    to_units,
    unlevelled,
)
from i3ad_jax.runtime.memory import check_room, check_room_for_images
from i3ad_jax.runtime.queues import ProgressBar
from i3ad_jax.settings import Settings, setting
from i3ad_jax.shapes import Images, Maps, to_uint8

View = Literal["whole", "tiles"]
Levelling = Literal["auto", "yes", "no"]
Augment = Literal["none", "flip", "turn"]
_MEASURES = ("working_size", "side", "seen", "levels", "scale", "mean_intensity")
LEARNED_FROM = 1000  # images: the mean of more would hardly be another
# of the variance of unseen images that the mean image explains: then objects lie alike
ALIGNED = 0.5


@dataclass(frozen=True)
class PreprocessingSettings(Settings):
    """Network inputs from an image. The paper's networks see whole images, in pixel values."""

    view: Literal["auto", "whole", "tiles"] = "auto"
    """whole: whole images at --image-size. tiles: overlapping tiles of them at --resolution. auto:
    whole images of aligned objects, tiles of surfaces, decided by normal images. Large images are
    whole only where they are alike in detail, or where I3AD's segmentation network sees details."""
    resolution: int | None = setting(None, minimum=8, maximum=10_000)
    """Working resolution: images are resized to about N x N pixels in total, keeping their
    proportions, to be cut into tiles. I3AD's segmentation network sees them at this size; tiles are
    then cut from half the height and width, unless these are less than a tile. None is 320, or what
    the images have if that is less."""
    tile: int = setting(64, minimum=8, maximum=10_000)
    """Side of a tile in pixels."""
    levelling: Levelling = "auto"
    """Bring all images to one mean intensity; auto does so where that makes the grain of normal
    images more alike: where exposure differs."""
    centre: Literal["auto", "none", "colour", "image"] = "auto"
    """Subtracted from an image before it is divided by the standard deviation of normal images:
    their mean colour or their mean image. none: nothing, pixels in [-1, 1], as in the paper. auto:
    the choice that leaves least of held-out normal images."""
    augment: Augment = "none"
    """Training images are also mirrored left to right (flip), or mirrored and turned by quarters
    (turn)."""


class Squares(NamedTuple):
    """Network inputs of images. A pytree; its rows are independent.

    Attributes:
        images: in units of the data.
        centre: subtracted image, in pixel values.
        scale: divisor of the rest.
    """

    images: Float[Array, "*n h w 3"]
    centre: Float[Array, "*n h w 3"]
    scale: Float[Array, "*n"]

    @classmethod
    def of_pixels(cls, images: Images) -> "Squares":
        """Images in [-1, 1] as they are."""
        return cls(images, jnp.zeros_like(images), jnp.ones(images.shape[:-3]))

    def pixels(self, images: Float[Array, "*n h w 3"]) -> Float[Array, "*n h w 3"]:
        """Return the pixel values of images in units of the data.

        They are in [-1, 1] unless networks overshoot.
        """
        return from_units(images, self.centre, self.scale[..., None, None, None])


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """Conversion of images of the working size to squares in units of the data, and back.

    Attributes:
        size: the working size: height, width.
        side: of the squares that networks see.
        units: subtracted image, and the scale.
        reasons: for people and files: what was chosen, and by which figures.
        seen: size that squares are cut from: images are reduced to it by whole numbers.
        levels: number of `level_sizes` that a network for images of any size sees; 0 without one.
    """

    size: Size
    side: int
    units: Units
    reasons: Mapping[str, Any]
    seen: Size
    levels: int = 0

    @classmethod
    def learn(
        cls,
        images: UInt8[Rows, "n h w 3"],
        held_out: UInt8[np.ndarray, "m h w 3"],
        *,
        side: int,
        levelling: Levelling = "auto",
        centre: Literal["auto"] | Centre = "auto",
    ) -> "Preprocessing":
        """Return what normal images give; squares are cut from the working size, without levels.

        Args:
            images: those trained on, of the working size; of many, `LEARNED_FROM` are looked at.
            held_out: normal images that serve no training step.
            side: of the squares that networks see.
            levelling: as in `PreprocessingSettings`.
            centre: as in `PreprocessingSettings`.
        """
        images = some(images, LEARNED_FROM)
        levelled, spread = choose_level(images)
        levelled = levelled if levelling == "auto" else levelling == "yes"
        chosen, explained = choose_centre(images, held_out, level=levelled)
        chosen = chosen if centre == "auto" else centre
        units = Units.of(images, level=levelled, centre=chosen)
        reasons = {
            "level": levelled,
            "spread_of_grain": spread,
            "centre": chosen,
            "explained_by_mean_image": explained,
            "detail_explained_by_mean_image": explain_detail(units, held_out),
        }
        size = images.shape[1:3]
        return cls(size, side, units, reasons, seen=size)

    def to_json(self) -> dict[str, Any]:
        """All but the mean image as JSON values."""
        return {
            "working_size": list(self.size),
            "side": self.side,
            "seen": list(self.seen),
            "levels": self.levels,
            "scale": self.units.scale,
            "mean_intensity": self.units.level,
            **self.reasons,
        }

    @classmethod
    def from_json(cls, values: Any, mean_image: np.ndarray) -> "Preprocessing":
        """Return the preprocessing that `to_json` gave, with the mean image.

        Raises:
            ValueError: a value is missing or invalid. The message is one line without a file name.
        """
        try:
            if any(isinstance(values[name], bool) for name in ("side", "scale", "mean_intensity")):
                raise TypeError("sizes, the scale and the mean intensity must be numbers")
            height, width = (int(length) for length in values["working_size"])
            side, scale = int(values["side"]), float(values["scale"])
            # Neither is in a run of a version before 0.4.
            seen = tuple(int(length) for length in values.get("seen", (height, width)))
            levels = values.get("levels", 0)
            level = None if values["mean_intensity"] is None else float(values["mean_intensity"])
            reasons = {key: value for key, value in values.items() if key not in _MEASURES}
            explained = float(reasons["explained_by_mean_image"])
        except KeyError as error:
            raise ValueError(f"{error} is missing") from error
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from error
        if not (
            0 < side <= min(height, width) and 0 < scale < math.inf and math.isfinite(explained)
        ):
            raise ValueError("a size or the scale is out of range")
        if len(seen) != 2 or min(seen) < side or height % seen[0] or width % seen[1]:
            raise ValueError(f"seen {list(seen)} does not fit the other sizes")
        if (
            type(levels) is not int
            or not 0 <= levels <= 32
            or math.gcd(height, width) % 2 ** max(levels - 1, 0)
        ):
            raise ValueError("levels does not fit the sizes")
        if level is not None and not 0 < level <= 1:
            raise ValueError(f"mean_intensity {level} is not in (0, 1]")
        if reasons.get("centre") not in get_args(Centre):
            raise ValueError(f"centre must be one of {', '.join(get_args(Centre))}")
        if mean_image.shape != (height, width, 3) or not np.isfinite(mean_image).all():
            raise ValueError(f"the mean image must be finite, of shape {(height, width, 3)}")
        units = Units(level, mean_image.astype(np.float32), reasons["centre"], scale)
        return cls((height, width), side, units, reasons, seen, levels)

    @property
    def aligned(self) -> bool:
        """True if objects are aligned.

        Then the mean image explains most of what unseen images show.
        """
        return self.reasons["explained_by_mean_image"] >= ALIGNED

    @cached_property
    def tiling(self) -> Tiling:
        """Division of images into squares."""
        return Tiling(self.seen, self.side)

    @property
    def whole(self) -> bool:
        """True if a square is a whole image."""
        return self.seen == (self.side, self.side)

    @cached_property
    def level_sizes(self) -> list[Size]:
        """The working size, half of it, and so on."""
        return halved(self.size, self.levels)

    @cached_property
    def _level_centres(self) -> list[Float[np.ndarray, "_ _ 3"]]:
        """Images that are subtracted from images of each of `level_sizes`."""
        return [reduce_values(self.units.centre, size) for size in self.level_sizes]

    @cached_property
    def centre(self) -> Float[np.ndarray, "h w 3"]:
        """Image that is subtracted from the images that squares are cut from."""
        return reduce_values(self.units.centre, self.seen)

    def apply(
        self,
        function: Callable[[Squares, int], Any],
        images: UInt8[np.ndarray, "n h w 3"],
        *,
        queue_size: int,
        values: int = 3,
        bar: ProgressBar | None = None,
    ) -> Any:
        """Apply `function` to the squares of images; put its results together for whole images.

        Args:
            function: from `queue_size` squares and the number of valid ones to a pytree of arrays
                `squares side side ...`.
            images: of the working size, at least one.
            queue_size: squares of a call; the last one is filled up by zeros.
            values: numbers that `function` gives for each pixel, at least.
            bar: to move on by every finished image.

        Returns:
            The same pytree with arrays `n h w ...` of the working size, float32.

        Raises:
            InputError: there is no memory for `queue_size` squares, or for the results.
        """
        queue = 4 * (3 + values) * queue_size * self.side**2  # what goes in, what comes out
        check_room(queue, lower={"queue_size": queue_size})
        check_room_for_images(4 * values * math.prod(self.size), len(images))
        # of whole images: once for an image, not for each of its tiles
        gains, images = self.units.gains(images), reduce_pixels(images, self.seen)

        def of_places(places: list[Place]) -> Any:
            squares = self._squares(images, gains, places, rows=queue_size)
            results = function(squares, len(places))
            # By NumPy: JAX would compile a slice for every other number of places.
            return jax.tree.map(lambda x: np.asarray(x)[: len(places)], results)

        found = self.tiling.map(of_places, len(images), at_once=queue_size, bar=bar)
        return jax.tree.map(lambda x: enlarge(x, self.size), found)

    def apply_levels(
        self,
        function: Callable[[Squares], Maps],
        images: UInt8[np.ndarray, "n h w 3"],
        *,
        pixels: int,
    ) -> Float[np.ndarray, "n h w"]:
        """Apply `function` to the images at each of their sizes; return the mean of its maps.

        Args:
            function: from images of one size, in units of the data, to a map of each.
            images: of the working size, at least one.
            pixels: approximate number in a call at the working size; at least one image. Calls have
                the same number of images at each size; the last call is padded with copies.
        """
        whole, gains = np.zeros((len(images), *self.size), np.float32), self.units.gains(images)
        together = max(pixels // math.prod(self.size), 1)
        for number in range(self.levels):
            for first in range(0, len(images), together):
                rows = np.minimum(np.arange(first, first + together), len(images) - 1)
                squares = jax.tree.map(jnp.asarray, self._at(number, images[rows], gains[rows]))
                maps = np.asarray(function(squares))[: len(images) - first]
                whole[first : first + together] += enlarge(maps, self.size) / self.levels
        return whole

    def traced_levels(
        self, function: Callable[[Squares], Maps], images: UInt8[Array, "n h w 3"]
    ) -> Maps:
        """Return what `apply_levels` gives, as part of a program of any number of images."""
        gains = self.units.gains(images)
        maps = [
            enlarge(function(self._at(number, images, gains)), self.size) / self.levels
            for number in range(self.levels)
        ]
        return sum(maps[1:], maps[0])

    def _at(self, number: int, images: UInt8[Any, "n h w 3"], gains: Float[Any, " n"]) -> Squares:
        """Return the images at one of `level_sizes`, by its number."""
        pixels = reduce_pixels(images, self.level_sizes[number])
        centre = images.__array_namespace__().broadcast_to(
            self._level_centres[number], pixels.shape
        )
        return self._in_units(pixels, gains, centre)

    def traced(
        self, function: Callable[[Squares], dict[str, Maps]], images: UInt8[Array, "n h w 3"]
    ) -> dict[str, Maps]:
        """Return the result of `apply` for maps, in a program of any number of images.

        Args:
            function: from the squares of all images to maps of each.
            images: of the working size.
        """
        number, tiles = images.shape[0], len(self.tiling.corners)

        def flat(x: Array) -> Array:
            return x.reshape(number * tiles, *x.shape[2:])

        pixels = self.tiling.cut(reduce_pixels(images, self.seen))
        gains = jnp.broadcast_to(self.units.gains(images)[:, None], (number, tiles))
        centre = jnp.broadcast_to(self.tiling.cut(jnp.asarray(self.centre)[None]), pixels.shape)
        maps = function(jax.tree.map(flat, self._in_units(pixels, gains, centre)))
        shape = number, tiles, self.side, self.side
        return {
            name: enlarge(self.tiling.blend(x.reshape(shape)), self.size)
            for name, x in maps.items()
        }

    def squares(
        self, images: UInt8[np.ndarray, "n h w 3"], *, each: int = 1, seed: int = 0
    ) -> Squares:
        """Squares of images: the images themselves, or `each` random tiles of every image."""
        places = self._places(len(images), each, seed)
        return self._squares(reduce_pixels(images, self.seen), self.units.gains(images), places)

    def mean_squares(self, num_images: int, *, seed: int = 0) -> Float[np.ndarray, "n s s 3"]:
        """Return the mean training image's part in each square of the images, in the same units."""
        mean = reduce_values(self.units.mean_image, self.seen)
        in_units = to_units(mean, self.centre, np.float32(self.units.scale))
        return np.stack([self._cut(in_units, place) for place in self._places(num_images, 1, seed)])

    def _places(self, num_images: int, each: int, seed: int) -> list[Place]:
        rng = np.random.default_rng(seed)
        free = [length - self.side + 1 for length in self.seen]
        each = each if max(free) > 1 else 1
        corners = rng.integers(0, free, (num_images * each, 2)).tolist()
        return [Place(i // each, *corner) for i, corner in enumerate(corners)]

    def _cut(self, array: np.ndarray, place: Place) -> np.ndarray:
        return array[place.top : place.top + self.side, place.left : place.left + self.side]

    def pictures(
        self, values: Float[np.ndarray, "n h w 3"], images: UInt8[np.ndarray, "n h w 3"]
    ) -> UInt8[np.ndarray, "n h w 3"]:
        """8-bit pixels of results for whole images that are pictures, such as reconstructions."""
        levelled = from_units(values, self.units.centre, np.float32(self.units.scale))
        pixels = unlevelled(levelled, self.units.gains(images))
        return np.asarray(to_uint8(jnp.asarray(pixels)))

    def _squares(
        self,
        images: UInt8[np.ndarray, "n h w 3"],
        gains: Float[np.ndarray, " n"],
        places: list[Place],
        rows: int = 0,
    ) -> Squares:
        """Return the squares at these places, and zeros in further rows up to `rows`."""
        # By NumPy: JAX would compile each operation at every start.
        pixels = np.stack([self._cut(images[place.image], place) for place in places])
        centre = np.stack([self._cut(self.centre, place) for place in places])
        in_units = self._in_units(pixels, gains[[place.image for place in places]], centre)
        further = (0, max(rows - len(places), 0))
        return jax.tree.map(
            lambda x: jnp.asarray(np.pad(x, (further, *[(0, 0)] * (x.ndim - 1)))), in_units
        )

    def _in_units(
        self, pixels: UInt8[Any, "*n h w 3"], gain: Float[Any, "*n"], centre: Float[Any, "*n h w 3"]
    ) -> Squares:
        scale = gain.__array_namespace__().full(gain.shape, self.units.scale, np.float32)
        return Squares(to_units(level(pixels, gain), centre, self.units.scale), centre, scale)
