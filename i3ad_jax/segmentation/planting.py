"""Synthetic defects on normal images: examples to learn segmentation from.

Zavrtanik et al. 2021 (DRAEM) paste textures of another data set through thresholded Perlin noise.
Here everything comes from the training images themselves. All functions are pure and can be
compiled. Scalars that are drawn together come from one key: each draw of its own takes a tenth of a
second to compile.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from i3ad_jax.shapes import Image, Images, Map, Mask, Masks, PRNGKey

SMALLEST_SIDE = 16  # pixels: of 8, less than half of the defects visibly change over two pixels
PLANTED = 0.7  # share of the images that get a defect
LINES = 0.35  # share of the defects that are lines; the others are blobs
SOFT = 0.5  # share of the blobs whose edge is soft
MIN_OPACITY = 0.2  # the most is 1
RIM = 0.1  # share of the opacity up to which a soft edge belongs to no mask
VISIBLE = 0.06  # least change that is marked, of the intensities' range of 2
WINDOW = 5  # pixels: side of the window in which a change may also reach `VISIBLE` on average

# Lengths in fractions of the side, the square root of height times width.
MIN_SPACING, MAX_SPACING = 0.06, 0.4  # of the lattice that smooth noise interpolates
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
# of brightness, in the image's standard deviations, and of contrast
OFFSET_SD, LOG_GAIN_SD = (
    1.5,
    0.6,
)
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
    """Adds a random defect to each image with probability `PLANTED`; the others stay as they are.

    A defect is a ragged blob or a thin line of random opacity. It is filled with a piece of this
    image or of another of the batch, a flat tone, or the image itself at another brightness and
    contrast.

    Args:
        key: the only source of randomness.
        images: float32 in [-1, 1], at least `SMALLEST_SIDE` high and wide. Grey images stay grey.
    """
    planted_key, defects_key = jax.random.split(key)
    keys = jax.random.split(defects_key, len(images))
    changed, masks = jax.vmap(_plant_defect)(keys, images, jnp.roll(images, 1, axis=0))
    planted = jax.random.bernoulli(planted_key, PLANTED, (len(images), 1, 1, 1))
    return Planted(jnp.where(planted, changed, images), jnp.where(planted, masks, 0.0))


def _plant_defect(key: PRNGKey, image: Image, other: Image) -> tuple[Image, Mask]:
    """The image with one defect, and the defect's mask; `other` is another image to copy from."""
    scalars_key, blob_key, line_key, fill_key = jax.random.split(key, 4)
    height, width, _ = image.shape
    shape, opacity = jax.random.uniform(scalars_key, (2,))
    is_line = shape < LINES
    line = _line_cover(line_key, height=height, width=width)
    blob = _blob_cover(blob_key, height=height, width=width)
    cover = jnp.where(is_line, line, blob)
    fill = jnp.clip(_fill(fill_key, image, other, is_line=is_line), -1.0, 1.0)
    opacity = MIN_OPACITY + (1 - MIN_OPACITY) * opacity
    changed = image + (opacity * cover)[..., None] * (fill - image)
    mask = (cover > RIM) & _visible(changed - image)
    return changed, mask.astype(jnp.float32)[..., None]


def _visible(change: Image) -> Bool[Array, "h w"]:
    """Mask of the pixels where a change, in the channel that it changes most, can be seen.

    Inside a defect some pixels happen to keep their intensity, so the mean of a window counts too.
    """
    magnitude = jnp.max(jnp.abs(change), axis=-1)
    mean = lax.reduce_window(magnitude, 0.0, lax.add, (WINDOW, WINDOW), (1, 1), "SAME") / WINDOW**2
    return jnp.maximum(magnitude, mean) > VISIBLE


def _blob_cover(key: PRNGKey, *, height: int, width: int) -> Map:
    """Draw the cover in [0, 1] of an ellipse with a noisy outline and a hard or soft edge."""
    place_key, noise_key, scalars_key = jax.random.split(key, 3)
    y, x, radius = _place(place_key, height=height, width=width)
    noise = _smooth_noise(noise_key, height=height, width=width)
    angle, elongation, raggedness, steepness, soft = jax.random.uniform(scalars_key, (5,))
    angle = math.pi * angle
    along = (x * jnp.cos(angle) + y * jnp.sin(angle)) / radius
    across = (
        (y * jnp.cos(angle) - x * jnp.sin(angle))
        / radius
        * _log_scale(elongation, 1.0, MAX_ELONGATION)
    )
    depth = 1 - jnp.hypot(along, across) - MAX_RAGGEDNESS * raggedness * noise
    soft_cover = jnp.clip(depth * _log_scale(steepness, MIN_STEEPNESS, MAX_STEEPNESS), 0.0, 1.0)
    return jnp.where(soft < SOFT, soft_cover, (depth > 0).astype(jnp.float32))


def _line_cover(key: PRNGKey, *, height: int, width: int) -> Map:
    """Cover in [0, 1] of a thin line: the zero contour of smooth noise inside a disc."""
    place_key, noise_key, width_key = jax.random.split(key, 3)
    y, x, radius = _place(place_key, height=height, width=width)
    noise = _smooth_noise(noise_key, height=height, width=width)
    down, right = jnp.gradient(noise)
    # To first order, the distance to a contour is the height above it over the slope.
    distance = jnp.abs(noise) / jnp.sqrt(down**2 + right**2 + 1e-8)
    side = max(_side(height, width), FINEST_SIDE)
    line_width = side * _log_scale(jax.random.uniform(width_key), MIN_LINE_WIDTH, MAX_LINE_WIDTH)
    inside = jnp.hypot(y, x) < LINE_REACH * radius
    return jnp.where(inside, jnp.clip(line_width / 2 - distance + 0.5, 0.0, 1.0), 0.0)


def _place(
    key: PRNGKey, *, height: int, width: int
) -> tuple[Float[Array, "h 1"], Float[Array, " w"], Float[Array, ""]]:
    """Pixels down and right from a random centre in the image, and a random radius in pixels."""
    row, column, radius = jax.random.uniform(key, (3,))
    y = jnp.arange(height)[:, None] + 0.5 - height * row
    x = jnp.arange(width) + 0.5 - width * column
    return y, x, _side(height, width) * _log_scale(radius, MIN_RADIUS, MAX_RADIUS)


def _smooth_noise(key: PRNGKey, *, height: int, width: int) -> Map:
    """Draw white noise on a lattice of random spacing, interpolated bicubically.

    Its standard deviation is 0.8.
    """
    spacing_key, noise_key = jax.random.split(key)
    side = _side(height, width)
    spacing = side * _log_scale(jax.random.uniform(spacing_key), MIN_SPACING, MAX_SPACING)
    # As many points as the finest lattice needs, and those beyond the borders that interpolation
    # needs.
    lattice = [math.ceil(pixels / (side * MIN_SPACING)) + 3 for pixels in (height, width)]
    return jax.image.scale_and_translate(
        jax.random.normal(noise_key, lattice),
        (height, width),
        (0, 1),
        scale=jnp.stack([spacing, spacing]),
        translation=-1.5 * jnp.stack([spacing, spacing]),
        method="cubic",
    )


def _fill(key: PRNGKey, image: Image, other: Image, *, is_line: Bool[Array, ""]) -> Image:
    """Filling that shows where the defect covers the image; not clipped.

    Blobs have each of the five kinds equally often. On a thin line a texture cannot be seen as one.
    """
    kind_key, piece_key, flat_key, local_key = jax.random.split(key, 4)
    draw = jax.random.uniform(kind_key)
    kind = jnp.where(is_line, jnp.where(draw < LINE_TONES, 3, 4), (5 * draw).astype(int))
    # Kinds 0 to 2 are pieces: of this image, of the other, and of the other enlarged.
    piece = _piece(piece_key, jnp.where(kind == 0, image, other), zoom=jnp.where(kind == 2, 2, 1))
    fills = (piece, piece, piece, _flat_fill(flat_key, image), _local_fill(local_key, image))
    return lax.select_n(kind, *fills)


def _piece(key: PRNGKey, image: Image, *, zoom: Int[Array, ""]) -> Image:
    """Shift the image cyclically, mirror it, each axis at random, and enlarge it `zoom` times."""
    shifts, mirrored = jax.random.uniform(key, (2, 2))

    def source(axis: int) -> Int[Array, " n"]:
        size = image.shape[axis]
        step = jnp.where(mirrored[axis] < 0.5, -1, 1)
        return ((size * shifts[axis]).astype(int) + step * (jnp.arange(size) // zoom)) % size

    return image[source(0)[:, None], source(1)]


def _flat_fill(key: PRNGKey, image: Image) -> Image:
    """A tone, uneven by smooth and by white noise, each of random strength."""
    tone_key, clouds_key, grain_key, scalars_key = jax.random.split(key, 4)
    height, width, _ = image.shape
    clouds = _smooth_noise(clouds_key, height=height, width=width)[..., None]
    grain = jax.random.normal(grain_key, (height, width, 1))
    cloudy, grainy = jax.random.uniform(scalars_key, (2,))
    return _tone(tone_key, image) + MAX_CLOUDS * cloudy * clouds + MAX_GRAIN * grainy**2 * grain


def _tone(key: PRNGKey, image: Image) -> Float[Array, " c"]:
    """Draw a grey that differs from the image's mean, or a colour as strong as the image's own."""
    grey_key, colour_key = jax.random.split(key)
    choice, grey = jax.random.uniform(grey_key, (2,))
    grey = 2 * grey - 1
    contrast = grey - image.mean()
    away = jnp.where(jnp.abs(contrast) < MIN_CONTRAST, 2 * MIN_CONTRAST * jnp.sign(contrast), 0.0)
    # On a grey image any colour would stand out; where colours differ from grey by a tenth, all may
    # appear.
    chroma = jnp.mean(jnp.abs(image - image.mean(axis=-1, keepdims=True)))
    colour = jax.random.uniform(colour_key, image.shape[-1:], minval=-1.0)
    colour = colour.mean() + jnp.clip(10 * chroma, 0.0, 1.0) * (colour - colour.mean())
    return jnp.where(choice < GREY_TONES, grey + away, colour)


def _local_fill(key: PRNGKey, image: Image) -> Image:
    """The image at another brightness and contrast."""
    offset, log_gain = jax.random.normal(key, (2,))
    offset = OFFSET_SD * jnp.maximum(image.std(), MIN_SD) * offset
    gain = jnp.exp(LOG_GAIN_SD * log_gain)
    mean = image.mean(axis=(0, 1))
    return mean + gain * (image - mean) + offset


def _log_scale(uniform: Float[Array, ""], low: float, high: float) -> Float[Array, ""]:
    """A log-uniform number between `low` and `high` from a uniform one in [0, 1)."""
    return low * (high / low) ** uniform


def _side(height: int, width: int) -> float:
    return math.sqrt(height * width)
