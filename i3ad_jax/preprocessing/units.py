"""Images in units of their data set: less what all normal images share, over how much they vary.

Not in the paper, whose networks see pixels in [-1, 1]. On aligned objects the mean training image
explains nearly all of a pixel: a network that sees raw pixels learns that image, and hardly
anything else. What is left after the mean image has been taken away is what tells one normal image
from another.

Where exposure differs from image to image, the grain of bright ones is stronger, and every residual
with it. After brightness normalisation, all images have one mean intensity and the same grain.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import scipy
from jaxtyping import Float, UInt8

from i3ad_jax.shapes import AnyArray, to_float

Centre = Literal["none", "colour", "image"]

SPREAD = 4.0  # standard deviations that become 1: few pixels leave the range of tanh
SMALLEST_SCALE = 1e-2  # of images that do not differ at all; about one grey level of 255
# What does more to images must leave less than this fraction of what the simpler way leaves.
CLEARLY = 0.9
DARKEST = 1 / 255  # mean intensity, of 1: a black image is not levelled beyond all bounds
GRAIN_SD = 1.5  # pixels: what varies more slowly is no grain


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a data set.

    Attributes:
        level: mean intensity, in [0, 1], to which each image is brought by a factor; None leaves
            them alone.
        mean_image: of the normalised training images, float32, in [-1, 1].
        subtract: image that is subtracted: the mean image, its mean colour, or nothing.
        scale: divisor of the rest.
    """

    level: float | None
    mean_image: Float[np.ndarray, "h w 3"]
    subtract: Centre
    scale: float

    @cached_property
    def centre(self) -> Float[np.ndarray, "h w 3"]:
        """Image that is subtracted from normalised images, float32."""
        if self.subtract == "image":
            return self.mean_image
        colour = (
            self.mean_image.mean(axis=(0, 1))
            if self.subtract == "colour"
            else np.zeros(3, np.float32)
        )
        return np.broadcast_to(colour, self.mean_image.shape)

    @classmethod
    def of(cls, images: UInt8[np.ndarray, "n h w 3"], *, level: bool, centre: Centre) -> "Units":
        """The units that these normal images give.

        Args:
            images: of the working size.
            level: whether to bring all images to one mean intensity, that of these.
            centre: image to subtract; for "none" nothing is scaled either: the paper's units.
        """
        target = float(_intensity(images)) if level else None
        mean = np.zeros(images.shape[1:])
        units = cls(target, mean.astype(np.float32), "none", 1.0)
        for image in images:  # one by one: as float64, all of them together may be large
            mean += units.levelled(image)
        units = cls(target, (mean / len(images)).astype(np.float32), centre, 1.0)
        if centre == "none":
            return units
        deviation = np.sqrt(np.mean([units.squared_deviation(image) for image in images]))
        return replace(units, scale=max(float(SPREAD * deviation), SMALLEST_SCALE))

    def gains(self, images: UInt8[AnyArray, "n h w 3"]) -> Float[AnyArray, " n"]:
        """The factor that brings each image's intensities to the level, float32."""
        if self.level is None:
            return images.__array_namespace__().ones(images.shape[0], np.float32)
        return (self.level / _intensity(images, (1, 2, 3))).astype(np.float32)

    def levelled(self, image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
        """Return the normalised image's pixel values, float32.

        They are in [-1, 1] except where it became brighter than white.
        """
        return self.gains(image[None])[0] * (image.astype(np.float32) / 127.5) - 1

    def squared_deviation(self, image: UInt8[np.ndarray, "h w 3"]) -> float:
        """Mean square of what is left of an image, in normalised pixel values."""
        return float(np.mean((self.levelled(image) - self.centre) ** 2))


def level(
    pixels: UInt8[AnyArray, "*b h w 3"], gain: Float[AnyArray, "*b"]
) -> Float[AnyArray, "*b h w 3"]:
    """Pixel values of images after brightness normalisation, float32."""
    return gain[..., None, None, None] * (to_float(pixels) + 1) - 1


def to_units(
    levelled: Float[AnyArray, "*n h w 3"],
    centre: Float[AnyArray, "*m h w 3"],
    scale: float | np.float32 | Float[AnyArray, "..."],
) -> Float[AnyArray, "*n h w 3"]:
    """Return normalised pixel values in units of the data: the networks' input.

    Args:
        levelled: of images.
        centre: subtracted image, of each image or of all.
        scale: divisor of the rest, likewise.
    """
    return (levelled - centre) / scale


def from_units(
    values: Float[AnyArray, "*n h w 3"],
    centre: Float[AnyArray, "*m h w 3"],
    scale: float | np.float32 | Float[AnyArray, "..."],
) -> Float[AnyArray, "*n h w 3"]:
    """Return normalised pixel values of images in units of the data: the inverse of `to_units`."""
    return values * scale + centre


def unlevelled(
    levelled: Float[AnyArray, "*b h w 3"], gain: Float[AnyArray, "*b"]
) -> Float[AnyArray, "*b h w 3"]:
    """Return pixel values as they were before `level`."""
    return (levelled + 1) / gain[..., None, None, None] - 1


def choose_level(images: UInt8[np.ndarray, "n h w 3"]) -> tuple[bool, dict[str, float]]:
    """Decide whether brightness normalisation makes the grain of normal images clearly more alike.

    Returns:
        The choice, and the standard deviation over images of the logarithm of their grain, with and
        without.
    """
    intensity = np.log([_intensity(image) for image in images])
    grain = np.log([max(_grain(image), DARKEST) for image in images])
    spread = {"as_they_are": float(np.std(grain)), "levelled": float(np.std(grain - intensity))}
    return spread["levelled"] < CLEARLY * spread["as_they_are"], spread


def choose_centre(
    images: UInt8[np.ndarray, "n h w 3"], held_out: UInt8[np.ndarray, "m h w 3"], *, level: bool
) -> tuple[Centre, float]:
    """Choose the mean image or the mean colour to subtract, by what unseen images keep.

    Both are compared by what is left of unseen normal images.

    Returns:
        The choice, and how much of the variance of unseen images the mean image explains: near 1
        for aligned objects, 0 or below for textures.
    """
    colour, image = (Units.of(images, level=level, centre=centre) for centre in ("colour", "image"))
    left = [(colour.squared_deviation(x), image.squared_deviation(x)) for x in held_out]
    of_colour, of_image = np.mean(left, axis=0)
    explained = 1 - float(of_image / of_colour) if of_colour > 0 else 1.0
    return ("image" if of_image < CLEARLY * of_colour else "colour"), explained


def explain_detail(units: Units, held_out: UInt8[np.ndarray, "m h w 3"]) -> float:
    """Return the share of unseen images' detail that the mean image's detail explains.

    The detail is what a blurred image lacks.

    Near 1 for objects whose edges are aligned, near 0 for surfaces of which only the shading is.
    """
    mean = _detail(units.mean_image)
    details = (_detail(units.levelled(image)) for image in held_out)
    unexplained, total = np.mean(
        [(np.mean((own - mean) ** 2), np.mean(own**2)) for own in details], axis=0
    )
    return 1 - float(unexplained / total) if total > 0 else 1.0


def _intensity(images: UInt8[AnyArray, "*n h w 3"], axis: tuple[int, ...] | None = None) -> Any:
    """Mean intensity over all axes or some, in (0, 1]."""
    mean = images.mean(axis=axis, dtype=float) / 255
    return images.__array_namespace__().maximum(mean, DARKEST)


def _grain(image: UInt8[np.ndarray, "h w 3"]) -> float:
    """Mean absolute difference of intensities from their smooth part, in [0, 1]."""
    return float(np.abs(_detail(image / 255)).mean())


def _detail(values: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """Values less their smooth part."""
    return values - scipy.ndimage.gaussian_filter(values, (GRAIN_SD, GRAIN_SD, 0))
