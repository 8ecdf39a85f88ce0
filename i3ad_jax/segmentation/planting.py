"""Synthetic defects, planted on normal images: examples to learn segmentation from.

Zavrtanik et al. 2021 (DRAEM) paste textures of another data set through thresholded Perlin noise. Here
everything comes from the training images themselves. All functions are pure and can be compiled.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from i3ad_jax.shapes import Image, Images, Map, Mask, Masks, PRNGKey

PLANTED = 0.7  # share of the images that get a defect
LINES = 0.35  # share of the defects that are lines; the others are blobs
MIN_OPACITY = 0.2
VISIBLE = 0.06  # least change that is marked, of the intensities' range of 2
WINDOW = 5  # pixels: side of the window in which a change may also reach `VISIBLE` on average

# Lengths in fractions of the side, the square root of height times width.
NOISE_SPACINGS = 0.4, 0.21, 0.11, 0.06  # between the points of smooth noise's lattice
MIN_RADIUS, MAX_RADIUS = 0.04, 0.4  # half of a blob's long axis
MIN_LINE_WIDTH, MAX_LINE_WIDTH = 0.5 / 128, 2.5 / 128
FINEST_SIDE = 128  # pixels: on smaller images lines are as many pixels wide as on this side

MAX_ELONGATION = 4.0  # of a blob
MAX_RAGGEDNESS = 0.6  # of a blob's outline, in radii per standard deviation of noise
MIN_STEEPNESS, MAX_STEEPNESS = 1.5, 20.0  # of a soft edge: cover per radius
LINE_REACH = 2.0  # radius of the disc that bounds a line, in blob radii

# Of flat fills, in intensity.
GREY_TONES = 0.6  # share of the tones that are grey whatever the image's colours
MIN_CONTRAST = 0.2  # grey tones nearer to the image's mean are moved away by twice as much
MAX_CLOUDS, MAX_GRAIN = 0.3, 0.2  # standard deviations of the smooth noise and of the white noise

LINE_TONES = 0.6  # share of the lines that have a flat fill; the others have another contrast
OFFSET_SD, LOG_GAIN_SD = 1.5, 0.6  # of brightness, in the image's standard deviations, and of contrast
MIN_SD = 0.1  # of an image, for that: on even ones too the change of brightness should show


class Planted(NamedTuple):
    """Images, some of them with a defect, and where it is.

    Attributes:
        images: in [-1, 1].
        masks: 1 on the pixels that a defect visibly changed.
    """

    images: Images
    masks: Masks


def plant_defects(key: PRNGKey, images: Images) -> Planted:
    """Plants a random defect on each image with probability `PLANTED`; the others stay as they are.

    A defect is a ragged blob or a thin line, filled with a piece of this image or of another of the batch,
    with a flat tone, or with the image itself at another brightness and contrast, at random opacity.

    Args:
        key: the only source of randomness.
        images: float32 in [-1, 1], at least 32 pixels high and wide. Images without colours get none.
    """
    planted_key, defects_key = jax.random.split(key)
    keys = jax.random.split(defects_key, len(images))
    changed, masks = jax.vmap(_plant_defect)(keys, images, jnp.roll(images, 1, axis=0))
    planted = jax.random.bernoulli(planted_key, PLANTED, (len(images), 1, 1, 1))
    return Planted(jnp.where(planted, changed, images), jnp.where(planted, masks, 0.0))


def _plant_defect(key: PRNGKey, image: Image, other: Image) -> tuple[Image, Mask]:
    """The image with one defect, and the defect's mask; `other` is another image to copy from."""
    shape_key, blob_key, line_key, fill_key, opacity_key = jax.random.split(key, 5)
    height, width, _ = image.shape
    is_line = jax.random.bernoulli(shape_key, LINES)
    cover = jnp.where(
        is_line,
        _line_cover(line_key, height=height, width=width),
        _blob_cover(blob_key, height=height, width=width),
    )
    fill = jnp.clip(_fill(fill_key, image, other, is_line=is_line), -1.0, 1.0)
    opacity = jax.random.uniform(opacity_key, minval=MIN_OPACITY)
    changed = image + (opacity * cover)[..., None] * (fill - image)
    # The faint rim of a soft edge belongs to no mask: nobody would draw it as part of the defect.
    mask = (cover > 0.1) & _visible(changed - image)
    return changed, mask.astype(jnp.float32)[..., None]


def _visible(change: Image) -> Array:
    """Where a change, in the channel that it changes most, can be seen; of a mask's shape `h w`.

    Inside a defect some pixels happen to keep their intensity, so the mean of a window counts too.
    """
    size = jnp.max(jnp.abs(change), axis=-1)
    mean = lax.reduce_window(size, 0.0, lax.add, (WINDOW, WINDOW), (1, 1), "SAME") / WINDOW**2
    return jnp.maximum(size, mean) > VISIBLE


def _blob_cover(key: PRNGKey, *, height: int, width: int) -> Map:
    """Cover in [0, 1] of an ellipse whose outline smooth noise perturbs, with a hard or a soft edge."""
    keys = jax.random.split(key, 7)
    y, x, radius = _place(keys[0], height=height, width=width)
    angle = jax.random.uniform(keys[1], maxval=math.pi)
    elongation = _log_uniform(keys[2], 1.0, MAX_ELONGATION)
    along = (x * jnp.cos(angle) + y * jnp.sin(angle)) / radius
    across = (y * jnp.cos(angle) - x * jnp.sin(angle)) / radius * elongation
    raggedness = jax.random.uniform(keys[3], maxval=MAX_RAGGEDNESS)
    noise = _smooth_noise(keys[4], height=height, width=width)
    depth = 1 - jnp.hypot(along, across) - raggedness * noise
    soft = jnp.clip(depth * _log_uniform(keys[5], MIN_STEEPNESS, MAX_STEEPNESS), 0.0, 1.0)
    return jnp.where(jax.random.bernoulli(keys[6]), soft, (depth > 0).astype(jnp.float32))


def _line_cover(key: PRNGKey, *, height: int, width: int) -> Map:
    """Cover in [0, 1] of a thin line: the zero contour of smooth noise inside a disc."""
    place_key, noise_key, width_key = jax.random.split(key, 3)
    y, x, radius = _place(place_key, height=height, width=width)
    noise = _smooth_noise(noise_key, height=height, width=width)
    down, right = jnp.gradient(noise)
    # To first order, the distance to a contour is the height above it over the slope.
    distance = jnp.abs(noise) / jnp.sqrt(down**2 + right**2 + 1e-8)
    side = max(_side(height, width), FINEST_SIDE)
    line_width = side * _log_uniform(width_key, MIN_LINE_WIDTH, MAX_LINE_WIDTH)
    inside = jnp.hypot(y, x) < LINE_REACH * radius
    return jnp.where(inside, jnp.clip(line_width / 2 - distance + 0.5, 0.0, 1.0), 0.0)


def _place(
    key: PRNGKey, *, height: int, width: int
) -> tuple[Float[Array, "h 1"], Float[Array, " w"], Float[Array, ""]]:
    """Pixels down and right from a random centre in the image, and a random radius in pixels."""
    row_key, column_key, radius_key = jax.random.split(key, 3)
    y = jnp.arange(height)[:, None] + 0.5 - jax.random.uniform(row_key, maxval=height)
    x = jnp.arange(width) + 0.5 - jax.random.uniform(column_key, maxval=width)
    return y, x, _side(height, width) * _log_uniform(radius_key, MIN_RADIUS, MAX_RADIUS)


def _smooth_noise(key: PRNGKey, *, height: int, width: int) -> Map:
    """White noise on a lattice of random spacing, interpolated by cubic splines; its variance is about 1."""
    spacing_key, noise_key = jax.random.split(key)
    side = _side(height, width)
    spacing = side * jax.random.choice(spacing_key, jnp.array(NOISE_SPACINGS))
    # As many points as the finest lattice needs; one point lies beyond each border, for the splines.
    lattice = [math.ceil(pixels / (side * min(NOISE_SPACINGS))) + 3 for pixels in (height, width)]
    return jax.image.scale_and_translate(
        jax.random.normal(noise_key, lattice),
        (height, width),
        (0, 1),
        scale=jnp.stack([spacing, spacing]),
        translation=-1.5 * jnp.stack([spacing, spacing]),
        method="cubic",
    )


def _fill(key: PRNGKey, image: Image, other: Image, *, is_line: Array) -> Image:
    """What shows where the defect covers the image; not clipped.

    Blobs have each of the five kinds equally often. On a thin line a texture cannot be seen as one.
    """
    kind_key, line_key, piece_key, flat_key, local_key = jax.random.split(key, 5)
    kind = jax.random.randint(kind_key, (), 0, 5)
    line_kind = jnp.where(jax.random.bernoulli(line_key, LINE_TONES), 3, 4)
    kind = jnp.where(is_line, line_kind, kind)
    # Kinds 0 to 2 are pieces: of this image, of the other, and of the other enlarged.
    piece = _piece(piece_key, jnp.where(kind == 0, image, other), zoom=jnp.where(kind == 2, 2, 1))
    fills = (piece, piece, piece, _flat_fill(flat_key, image), _local_fill(local_key, image))
    return lax.select_n(kind, *fills)


def _piece(key: PRNGKey, image: Image, *, zoom: Array) -> Image:
    """The image shifted cyclically and mirrored, along each axis at random, and enlarged `zoom` times."""

    def source(key: PRNGKey, size: int) -> Array:
        shift_key, mirror_key = jax.random.split(key)
        step = jnp.where(jax.random.bernoulli(mirror_key), -1, 1)
        return (jax.random.randint(shift_key, (), 0, size) + step * (jnp.arange(size) // zoom)) % size

    row_key, column_key = jax.random.split(key)
    rows, columns = source(row_key, image.shape[0]), source(column_key, image.shape[1])
    return image[rows[:, None], columns]


def _flat_fill(key: PRNGKey, image: Image) -> Image:
    """A tone, uneven by smooth and by white noise, each of random strength."""
    tone_key, clouds_key, grain_key, clouds_sd_key, grain_sd_key = jax.random.split(key, 5)
    height, width, _ = image.shape
    clouds = _smooth_noise(clouds_key, height=height, width=width)[..., None]
    grain = jax.random.normal(grain_key, (height, width, 1))
    clouds_sd = MAX_CLOUDS * jax.random.uniform(clouds_sd_key)
    grain_sd = MAX_GRAIN * jax.random.uniform(grain_sd_key) ** 2
    return _tone(tone_key, image) + clouds_sd * clouds + grain_sd * grain


def _tone(key: PRNGKey, image: Image) -> Float[Array, " c"]:
    """A random grey that differs from the image's mean, or a colour as strong as the image's own are."""
    choice_key, grey_key, colour_key = jax.random.split(key, 3)
    grey = jax.random.uniform(grey_key, minval=-1.0)
    contrast = grey - image.mean()
    away = jnp.where(jnp.abs(contrast) < MIN_CONTRAST, 2 * MIN_CONTRAST * jnp.sign(contrast), 0.0)
    colour = jax.random.uniform(colour_key, image.shape[-1:], minval=-1.0)
    # Any colour at all would stand out on a grey image; one of a tenth of the half range allows all.
    chroma = jnp.mean(jnp.abs(image - image.mean(axis=-1, keepdims=True)))
    colour = colour.mean() + jnp.clip(10 * chroma, 0.0, 1.0) * (colour - colour.mean())
    return jnp.where(jax.random.bernoulli(choice_key, GREY_TONES), grey + away, colour)


def _local_fill(key: PRNGKey, image: Image) -> Image:
    """The image at another brightness and contrast."""
    offset_key, gain_key = jax.random.split(key)
    offset = OFFSET_SD * jnp.maximum(image.std(), MIN_SD) * jax.random.normal(offset_key)
    gain = jnp.exp(LOG_GAIN_SD * jax.random.normal(gain_key))
    mean = image.mean(axis=(0, 1))
    return mean + gain * (image - mean) + offset


def _log_uniform(key: PRNGKey, low: float, high: float) -> Float[Array, ""]:
    return jnp.exp(jax.random.uniform(key, minval=math.log(low), maxval=math.log(high)))


def _side(height: int, width: int) -> float:
    return math.sqrt(height * width)
