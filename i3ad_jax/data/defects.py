"""Synthetic defects, drawn onto a clean picture of a surface.

Every defect is a function `(rng, image) -> (image, mask)` of a square float picture in [0, 1]. It
returns the defective picture and a mask that is True on exactly the pixels that the defect visibly
touches. Lengths are in units of 1/64 of the image's side, and no draw depends on the number of
pixels, so the same `rng` gives the same defect at every resolution.
"""

from collections.abc import Callable

import numpy as np
import scipy
from jaxtyping import Bool, Float

UNITS = 64
"""Units of length along the side of an image, whatever its number of pixels."""

Picture = Float[np.ndarray, "h w 3"]
Plane = Float[np.ndarray, "h w"]
Marked = tuple[Picture, Bool[np.ndarray, "h w"]]

# A pixel belongs to the mask where the defect covers more than this part of it: less cannot be
# seen.
_VISIBLE = 0.1


def pixel_centres(image_size: int) -> tuple[Plane, Plane]:
    """The x and y of every pixel's centre, in units, each `image_size image_size`."""
    y, x = (np.indices((image_size, image_size)) + 0.5) * (UNITS / image_size)
    return x, y


def blob(rng: np.random.Generator, image: Picture) -> Marked:
    """A stain of irregular outline, darker or lighter than the surface."""
    cover = _patch(rng, image, radius=rng.uniform(4.5, 10.0))
    strength = rng.uniform(0.25, 0.6)
    stain = rng.choice([0.1, 0.95]) + rng.uniform(-0.05, 0.05, 3)
    return _blend(image, stain, strength * cover), cover > _VISIBLE


def scratch(rng: np.random.Generator, image: Picture) -> Marked:
    """A thin, slightly curved line, darker or lighter than the surface."""
    along, across, length = _arc(rng, image, shortest=22.0, longest=44.0)
    width = rng.uniform(1.4, 2.4)
    cover = _ramp(width / 2 - np.abs(across)) * _ramp(length / 2 - np.abs(along))
    tone = rng.choice([0.1, 0.95])
    return _blend(image, tone, rng.uniform(0.35, 0.75) * cover), cover > _VISIBLE


def cut(rng: np.random.Generator, image: Picture) -> Marked:
    """A dark slit, widest in the middle, between frayed bright edges."""
    along, across, length = _arc(rng, image, shortest=16.0, longest=30.0)
    phases = rng.uniform(0, 2 * np.pi, (2, 3))
    frays = [
        sum(np.sin(f * along + p) for f, p in zip((0.9, 1.7, 2.9), side, strict=True))
        for side in phases
    ]
    fray = np.where(across > 0, frays[0], frays[1]) / 3
    half_width = (
        rng.uniform(1.6, 2.8) * np.clip(1 - (2 * along / length) ** 2, 0, None) * (1 + 0.3 * fray)
    )
    slit = _ramp(half_width - 0.5 - np.abs(across))
    edge = _ramp(half_width + 0.6 - np.abs(across)) * _ramp(length / 2 - np.abs(along))
    frayed = _blend(image, 0.9, rng.uniform(0.3, 0.6) * edge)
    return _blend(frayed, 0.08, rng.uniform(0.7, 0.95) * slit), edge > _VISIBLE


def blur(rng: np.random.Generator, image: Picture) -> Marked:
    """A smeared patch, in which the texture is smoothed away."""
    cover = _patch(rng, image, radius=rng.uniform(6.0, 11.0))
    sigma = rng.uniform(1.5, 3.0) * len(image) / UNITS
    smeared = scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
    return _blend(image, smeared, cover), cover > _VISIBLE


def colour(rng: np.random.Generator, image: Picture) -> Marked:
    """A patch of dye: another hue, about the same brightness, and the texture fainter below it."""
    cover = _patch(rng, image, radius=rng.uniform(6.0, 11.0))
    hue = rng.uniform(0, 2 * np.pi) + np.array([0, 2, 4]) * np.pi / 3
    tint = 1 + rng.uniform(0.1, 0.3) * np.cos(hue)
    dyed = _blend(
        image, np.full_like(image, image.mean()), rng.uniform(0.2, 0.5) * np.ones_like(cover)
    )
    return _blend(image, np.clip(dyed * tint, 0, 1), cover), cover > _VISIBLE


def missing_thread(rng: np.random.Generator, image: Picture) -> Marked:
    """Darken a strip along one axis, at most an eighth of the side wide: the ground shows there."""
    x, y = pixel_centres(len(image))
    along, across = (x, y) if rng.random() < 0.5 else (y, x)
    length, width = rng.uniform(20.0, 44.0), rng.uniform(5.0, 8.0)
    middle = rng.uniform(length / 2, UNITS - length / 2)
    cover = _ramp(length / 2 - np.abs(along - middle)) * _ramp(
        width / 2 - np.abs(across - rng.uniform(8.0, UNITS - 8.0))
    )
    sigma = 6.0 * len(image) / UNITS
    local_mean = scipy.ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="nearest")
    background = rng.uniform(0.55, 0.8) * local_mean
    return _blend(image, background, rng.uniform(0.6, 0.9) * cover), cover > _VISIBLE


DEFECTS: dict[str, Callable[[np.random.Generator, Picture], Marked]] = {
    "blob": blob,
    "scratch": scratch,
    "cut": cut,
    "blur": blur,
    "colour": colour,
    "missing_thread": missing_thread,
}


def _ramp(distance: Plane) -> Plane:
    """Cover of an edge: 0 to 1 as the signed distance inwards goes from -0.5 to 0.5 units."""
    return np.clip(distance + 0.5, 0.0, 1.0)


def _blend(
    image: Picture, other: Picture | Float[np.ndarray, " 3"] | float, cover: Plane
) -> Picture:
    """The other picture or colour where `cover` is 1, `image` where it is 0."""
    return image + cover[..., None] * (other - image)


def _patch(rng: np.random.Generator, image: Picture, *, radius: float) -> Plane:
    """Cover of a random lobed region of about this mean radius, in units."""
    x, y = pixel_centres(len(image))
    centre = rng.uniform(12.0, UNITS - 12.0, 2)
    dx, dy = x - centre[0], y - centre[1]
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(x)
    for lobes in (2, 3, 4, 5):
        outline += rng.uniform(0.0, 0.4) / lobes * np.cos(lobes * angle + rng.uniform(0, 2 * np.pi))
    return _ramp(radius * outline - np.hypot(dx, dy))


def _arc(
    rng: np.random.Generator, image: Picture, *, shortest: float, longest: float
) -> tuple[Plane, Plane, float]:
    """Coordinates along and across a random arc, in units, and the arc's length.

    The arc is a flat parabola, `across = 0`, from `along = -length / 2` to `length / 2`.
    """
    x, y = pixel_centres(len(image))
    length = rng.uniform(shortest, longest)
    centre = rng.uniform(14.0, UNITS - 14.0, 2)
    angle = rng.uniform(0, np.pi)
    bend = rng.uniform(-0.012, 0.012)
    dx, dy = x - centre[0], y - centre[1]
    along = np.cos(angle) * dx + np.sin(angle) * dy
    across = np.cos(angle) * dy - np.sin(angle) * dx
    # To first order, the distance from a parabola is the height above it over its slope's length.
    return along, (across - bend * along**2) / np.hypot(1.0, 2 * bend * along), length
