"""Synthetic defects that measure how sensitive each anomaly map is on normal images.

The segmentation network learns from the defects of `i3ad_jax.segmentation.planting`: measured by
its own training examples, its map would seem better than it is. So these are drawn in another way,
as smooth regions, wandering lines and clusters of spots, and most alter the structure of the
picture where those cover it. Three of the eight kinds still resemble the defects there: `swap`
(a piece of the image), `shade` (another brightness) and `crack` (a thin line).

Each kind is a function `(rng, picture) -> (changed picture, cover)` that draws place, size and
contrast. Outside its cover a defect changes nothing.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Float, Int, Shaped, UInt8
from numpy.random import Generator

from i3ad_jax.data.defects import Picture, Plane

Marked = tuple[Picture, Plane]
Pixels = UInt8[np.ndarray, "h w 3"]
Box = tuple[slice, slice]
Cover = Float[np.ndarray, "rows columns"]
Piece = Float[np.ndarray, "rows columns 3"]

VISIBLE = 2  # grey levels: some pixel must change by more
DRAWS = 4  # attempts at a visible defect of the requested kind, then of `FALLBACK`
FALLBACK = "specks"  # visible even on a picture without structure

# Ranges of lengths in fractions of the side, the square root of height times width.
RADIUS = (0.02, 0.2)  # of a region
CRACK_LENGTH, CRACK_WIDTH = (0.08, 0.6), (1 / 256, 4 / 256)
SPECK = (0.004, 0.02)  # radius
SCATTER = 0.05  # standard deviation of the places of specks, on each axis
COARSEST_GRAIN = 2 / 256  # standard deviation of the Gaussian filter of the noise
BORDER = 0.08  # of height and width: no centre is nearer to the border

# Ranges of lengths in radii of the region.
SOFT, SHADE_SOFT = (0.05, 0.5), (0.05, 1.5)  # width of the edge
SHIFT = (0.15, 0.6)  # by which `warp` displaces
SMEAR = (0.35, 1.7)  # length of the window of `smear`
ERASER = 2.0  # side of the window of `erase`, which passes twice

# Ranges of contrasts in standard deviations of the picture.
SHADE, MARK = (0.4, 2.0), (0.6, 3.0)  # of `shade`; of `crack` and `specks`
ROUGHNESS = (0.3, 1.5)  # standard deviation of the noise of `grain`
MIN_SD = 0.05  # the least standard deviation assumed, in intensities of [0, 1]

ELONGATION = (1.0, 4.0)  # long axis of a region over its short one
LOBES, MAX_LOBE = (2, 3, 5), 0.3  # waves of an outline; amplitude in radii times their number
MAX_SPECKS, CRACK_STEPS = 6, 32  # spots of a cluster; straight parts of a crack
WANDER = 2.0  # radians: standard deviation of the turn along a line as long as the side
TINT = 0.5  # most relative deviation of a channel's contrast on a colourful picture
CHROMA = 0.3  # mean range of a pixel's channels from which a picture is fully colourful


def warp(rng: Generator, picture: Picture) -> Marked:
    """Displace a region smoothly: a dent, a bent pin, a distorted weave or print."""
    box, cover, radius = _region(rng, picture)
    angle, shift = rng.uniform(0, 2 * np.pi), radius * rng.uniform(*SHIFT)
    y, x = np.indices(cover.shape)
    source = [y + cover * shift * np.sin(angle), x + cover * shift * np.cos(angle)]
    channels = np.moveaxis(picture[box], -1, 0)
    moved = [ndi.map_coordinates(each, source, order=1, mode="nearest") for each in channels]
    return _marked(picture, box, np.sign(cover), np.stack(moved, axis=-1))


def swap(rng: Generator, picture: Picture) -> Marked:
    """Insert a piece from elsewhere, in quarter turns: a misplaced part, a fault of the weave."""
    box, cover, _ = _region(rng, picture)
    side, piece = max(cover.shape), picture
    for axis, distance in enumerate(rng.uniform(0.1, 0.9, 2)):
        first = box[axis].start + round(distance * picture.shape[axis])
        piece = piece.take(range(first, first + side), axis, mode="wrap")
    turned = np.rot90(piece, int(rng.integers(4)))
    return _marked(picture, box, cover, turned[: len(cover), : cover.shape[1]])


def smear(rng: Generator, picture: Picture) -> Marked:
    """Average along one axis: smeared paint, a run of glue, polished or molten texture."""
    box, cover, radius = _region(rng, picture)
    window, axis = max(3, round(radius * rng.uniform(*SMEAR))), int(rng.integers(2))
    return _marked(picture, box, cover, ndi.uniform_filter1d(picture[box], window, axis))


def grain(rng: Generator, picture: Picture) -> Marked:
    """Add fine or coarse grey noise: roughness, corrosion, dust, a worn coat."""
    box, cover, _ = _region(rng, picture)
    sigma = _side(picture) * rng.uniform(0, COARSEST_GRAIN)
    sd = _unit(picture) * _log_uniform(rng, ROUGHNESS)
    noise = ndi.gaussian_filter(rng.normal(size=cover.shape), sigma)
    return _marked(picture, box, cover, picture[box] + (sd / noise.std() * noise)[..., None])


def shade(rng: Generator, picture: Picture) -> Marked:
    """Darken or brighten a region with a wide soft edge: a stain, heat, wear, uneven gloss."""
    box, cover, _ = _region(rng, picture, soft=SHADE_SOFT)
    return _toned(rng, picture, box, cover, _log_uniform(rng, SHADE))


def crack(rng: Generator, picture: Picture) -> Marked:
    """Draw a thin wandering line: a crack, a scratch, a hair, a loose thread."""
    thickness = max(1.0, _side(picture) * _log_uniform(rng, CRACK_WIDTH))
    pixels = _line(rng, picture)
    box = _box(picture, pixels, margin=thickness)
    away = np.ones([part.stop - part.start for part in box])
    away[tuple((pixels - [part.start for part in box]).T)] = 0
    cover = np.clip((thickness + 1) / 2 - np.asarray(ndi.distance_transform_edt(away)), 0, 1)
    return _toned(rng, picture, box, cover, _log_uniform(rng, MARK))


def specks(rng: Generator, picture: Picture) -> Marked:
    """Draw a cluster of small spots: dirt, pores, splashes, inclusions."""
    count = int(rng.integers(1, MAX_SPECKS + 1))
    radii = _side(picture) * _log_uniform(rng, SPECK, size=count)
    places = _centre(rng, picture) + rng.normal(0, SCATTER * _side(picture), (count, 2))
    pixels = np.clip(np.floor(places), 0, np.array(picture.shape[:2]) - 1)
    box = _box(picture, pixels, margin=radii.max() + 1)
    y, x = np.ogrid[box]
    distances = [np.hypot(y - row, x - column) for row, column in pixels]
    cover = np.clip(np.max(radii[:, None, None] + 0.5 - distances, axis=0), 0, 1)
    return _toned(rng, picture, box, cover, _log_uniform(rng, MARK))


def erase(rng: Generator, picture: Picture) -> Marked:
    """Fill a region with its smooth surroundings: missing structure, print or parts."""
    box, cover, radius = _region(rng, picture)
    piece, window = picture[box], round(ERASER * radius) + 1
    # Where no surroundings are in reach, the fill tends to the mean of the box.
    weight = (cover == 0)[..., None] + 1e-6
    fill = weight * piece + 1e-6 * piece.mean(axis=(0, 1))
    for axis in (0, 1, 0, 1):
        weight, fill = (ndi.uniform_filter1d(each, window, axis) for each in (weight, fill))
    return _marked(picture, box, cover, fill / weight)


KINDS: Mapping[str, Callable[[Generator, Picture], Marked]] = {
    kind.__name__: kind for kind in (warp, swap, smear, grain, shade, crack, specks, erase)
}
"""Kinds of defects by name, for pictures in [0, 1]; changed pictures are not clipped."""


def probe(rng: Generator, pixels: Pixels, kind: str) -> Pixels:
    """Return a copy of a picture with one visible defect.

    Args:
        rng: the only source of randomness.
        pixels: at least 8 pixels high and wide. Grey pictures stay grey.
        kind: one of `KINDS`; `FALLBACK` replaces it where it changes nothing visibly.
    """
    picture, changed = pixels / 255, pixels
    for name in [kind] * DRAWS + [FALLBACK] * DRAWS:
        changed = np.round(255 * np.clip(KINDS[name](rng, picture)[0], 0, 1)).astype(np.uint8)
        if (np.maximum(changed, pixels) - np.minimum(changed, pixels)).max() > VISIBLE:
            break
    return changed


def probes(
    rng: Generator, images: UInt8[np.ndarray, "n h w 3"], count: int
) -> tuple[UInt8[np.ndarray, "count h w 3"], Int[np.ndarray, " count"]]:
    """Return `count` copies of normal images with one defect each, and the index of each's image.

    Images and kinds take turns in random order, so their numbers of copies differ by one at most.
    """
    rounds = [rng.permutation(len(images)) for _ in range(math.ceil(count / len(images)))]
    chosen = np.concatenate(rounds)[:count]
    kinds = np.resize(rng.permutation(list(KINDS)), count)
    return np.stack([probe(rng, images[i], kinds[n]) for n, i in enumerate(chosen)]), chosen


def _log_uniform(rng: Generator, bounds: tuple[float, float], *, size: int | None = None) -> Any:
    return bounds[0] * (bounds[1] / bounds[0]) ** rng.random(size)


def _side(picture: Picture) -> float:
    return math.sqrt(math.prod(picture.shape[:2]))


def _unit(picture: Picture) -> float:
    """Unit of contrasts in intensity."""
    return max(float(picture.std()), MIN_SD)


def _centre(rng: Generator, picture: Picture) -> Float[np.ndarray, "2"]:
    """Draw the centre of a pixel that is not near the border."""
    return np.floor(rng.uniform(BORDER, 1 - BORDER, 2) * picture.shape[:2]) + 0.5


def _box(picture: Picture, points: Shaped[np.ndarray, "points 2"], *, margin: float) -> Box:
    """Return the rows and columns of all points and of a margin in pixels around them."""
    first = np.maximum(np.floor(points.min(axis=0) - margin), 0).astype(int)
    last = np.minimum(np.ceil(points.max(axis=0) + margin) + 1, picture.shape[:2]).astype(int)
    return slice(first[0], last[0]), slice(first[1], last[1])


def _region(
    rng: Generator, picture: Picture, *, soft: tuple[float, float] = SOFT
) -> tuple[Box, Cover, float]:
    """Draw a soft ellipse with a wavy outline: box with surroundings, cover, radius in pixels."""
    radius = max(1.0, _side(picture) * _log_uniform(rng, RADIUS))
    edge = max(1.0, radius * rng.uniform(*soft))
    stretch = math.sqrt(_log_uniform(rng, ELONGATION))
    angle, centre = rng.uniform(0, np.pi), _centre(rng, picture)
    waves = rng.uniform(0, MAX_LOBE, len(LOBES)) / LOBES
    phases = rng.uniform(0, 2 * np.pi, len(LOBES))
    reach = stretch * (radius * (1 + waves.sum()) + edge / 2)
    box = _box(picture, centre[None], margin=reach + radius)
    y, x = np.ogrid[box]
    y, x = y + 0.5 - centre[0], x + 0.5 - centre[1]
    along = (x * np.cos(angle) + y * np.sin(angle)) / stretch
    across = (y * np.cos(angle) - x * np.sin(angle)) * stretch
    turn = np.arctan2(across, along)
    shape = zip(waves, LOBES, phases, strict=True)
    outline = 1 + sum(wave * np.cos(number * turn + phase) for wave, number, phase in shape)
    depth = np.clip((radius * outline - np.hypot(along, across)) / edge + 0.5, 0, 1)
    return box, depth**2 * (3 - 2 * depth), radius


def _line(rng: Generator, picture: Picture) -> Int[np.ndarray, "points 2"]:
    """Draw a line that wanders from inside the picture: all its pixels there."""
    step = _side(picture) * _log_uniform(rng, CRACK_LENGTH) / CRACK_STEPS
    turns = rng.normal(0, WANDER * math.sqrt(step / _side(picture)), CRACK_STEPS)
    parts = math.ceil(2 * step)  # of a step: half a pixel at most, so that no gap remains
    angles = np.repeat(rng.uniform(0, 2 * np.pi) + np.cumsum(turns), parts)
    walk = np.cumsum(step / parts * np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)
    pixels = np.floor(_centre(rng, picture) + walk).astype(int)
    return pixels[((pixels >= 0) & (pixels < picture.shape[:2])).all(axis=1)]


def _toned(rng: Generator, picture: Picture, box: Box, cover: Cover, contrast: float) -> Marked:
    """Darken or brighten by a contrast, with a tint where the picture is colourful."""
    piece, change = picture[box], contrast * _unit(picture)
    tone, sign = np.average(piece.mean(axis=-1), weights=cover), rng.choice([-1, 1])
    if not 0 <= tone + sign * change <= 1:  # then the direction with more room
        sign = 1 if tone < 0.5 else -1
    colourful = min(1.0, np.ptp(piece, axis=-1).mean() / CHROMA)
    tint = 1 + colourful * rng.uniform(-TINT, TINT, 3)
    return _marked(picture, box, cover, piece + sign * change * tint)


def _marked(picture: Picture, box: Box, cover: Cover, other: Piece) -> Marked:
    """Show a piece in a box of the picture where the cover is 1."""
    changed, whole = picture.copy(), np.zeros(picture.shape[:2])
    changed[box] += cover[..., None] * (other - changed[box])
    whole[box] = cover
    return changed, whole
