# pyright: strict, reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
"""Inpainting masks: brush strokes for training, checkerboards for the first test-time pass.

A mask is float32 of shape `h w 1`; 1 marks a hole. All functions are pure and can be compiled.
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from i3ad_jax.shapes import Images, Map, Mask, Masks, PRNGKey

NUM_CHECKERBOARDS = 4
MAX_STROKES = 3
MIN_VERTICES, MAX_VERTICES = 4, 12
MEAN_ANGLE, ANGLE_RANGE = 2 * math.pi / 5, 2 * math.pi / 15
MIN_WIDTH, MAX_WIDTH = 12 / 256, 40 / 256  # of the image side
FEWEST_PATCHES, MOST_PATCHES = 4, 16  # of a random checkerboard, along the side


class Strokes(NamedTuple):
    """Polylines with round joints, in pixels: `s` strokes, each of a start and `v` vertices.

    Attributes:
        points: y, x of each point.
        widths: width of each stroke.
        drawn: 1 if the segment that ends in this vertex is part of the mask.
    """

    points: Float[Array, "s v+1 2"]
    widths: Float[Array, " s"]
    drawn: Float[Array, "s v"]


def brush_strokes(key: PRNGKey, *, height: int, width: int) -> Strokes:
    """Random brush strokes (Yu et al. 2019, algorithm 1).

    1 to 3 strokes of 4 to 12 vertices. The angle at a vertex is uniform in 2 pi / 5 +- 2 pi / 15,
    mirrored at every other one. The segment length is normal with mean = diagonal / 8 and half of
    it as standard deviation, clipped to [0, 2 mean]. Strokes are 12 to 40 pixels wide at an image
    side of 256 and scale with the side. Vertices are clipped to the image.

    Deviation: Yu et al.'s published code also adds a random rectangle to each training mask; here
    masks are strokes alone.
    Deviation: their code draws 4 to 11 vertices (the upper bound is exclusive); here it is 4 to 12.
    Deviation: their code narrows the range of angles once per stroke, by random bounds; here the
    angle at each vertex is drawn from the full range.
    """
    keys = jax.random.split(key, 7)
    num_strokes = jax.random.randint(keys[0], (), 1, MAX_STROKES + 1)
    num_vertices = jax.random.randint(keys[1], (MAX_STROKES, 1), MIN_VERTICES, MAX_VERTICES + 1)
    drawn = (jnp.arange(MAX_STROKES)[:, None] < num_strokes) & (
        jnp.arange(MAX_VERTICES) < num_vertices
    )

    shape = (MAX_STROKES, MAX_VERTICES)
    angles = MEAN_ANGLE + jax.random.uniform(
        keys[2], shape, minval=-ANGLE_RANGE, maxval=ANGLE_RANGE
    )
    angles = jnp.where(jnp.arange(MAX_VERTICES) % 2 == 0, 2 * math.pi - angles, angles)
    mean_length = math.hypot(height, width) / 8
    lengths = mean_length * (1 + jax.random.normal(keys[3], shape) / 2)
    lengths = jnp.clip(lengths, 0, 2 * mean_length)
    segments = lengths[..., None] * jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)

    limit = jnp.array([height, width], jnp.float32)
    start = jax.random.uniform(keys[4], (MAX_STROKES, 2)) * limit

    def next_vertex(
        point: Float[Array, "s 2"], segment: Float[Array, "s 2"]
    ) -> tuple[Float[Array, "s 2"], Float[Array, "s 2"]]:
        point = jnp.clip(point + segment, 0, limit)
        return point, point

    # Unrolled, as a GPU would run a loop as three kernels for each vertex.
    _, vertices = lax.scan(next_vertex, start, segments.swapaxes(0, 1), unroll=True)
    points = jnp.concatenate([start[None], vertices]).swapaxes(0, 1)
    # Segments point to the right on average, so all strokes are mirrored at random, along each
    # axis. Deviation: Yu et al.'s code computes these flips but discards the result; here they take
    # effect.
    points = jnp.where(jax.random.bernoulli(keys[6], shape=(2,)), limit - points, points)
    side = math.sqrt(height * width)
    widths = side * jax.random.uniform(keys[5], (MAX_STROKES,), minval=MIN_WIDTH, maxval=MAX_WIDTH)
    return Strokes(points, widths, drawn.astype(jnp.float32))


def brush_mask(key: PRNGKey, *, height: int, width: int) -> Mask:
    """Draw a mask of random brush strokes: 1 within half a stroke's width of a segment, `h w 1`."""
    strokes = brush_strokes(key, height=height, width=width)
    y, x = jnp.arange(height)[:, None] + 0.5, jnp.arange(width) + 0.5
    reaches = (strokes.drawn * strokes.widths[:, None] / 2).reshape(-1)
    starts, ends = (
        points.reshape(-1, 2) for points in (strokes.points[:, :-1], strokes.points[:, 1:])
    )

    def add_capsule(k: Int[Array, ""], covered: Bool[Array, "h w"]) -> Bool[Array, "h w"]:
        # Pixels within reach of a segment. The round ends give round joints.
        (dy, dx), (from_y, from_x) = ends[k] - starts[k], (y - starts[k, 0], x - starts[k, 1])
        inverse = 1 / jnp.maximum(dy**2 + dx**2, 1e-6)
        along = jnp.clip(from_y * (dy * inverse) + from_x * (dx * inverse), 0, 1)
        return covered | ((from_y - along * dy) ** 2 + (from_x - along * dx) ** 2 < reaches[k] ** 2)

    # One segment after another: an array of all segments and pixels takes a dozen times as long on
    # a CPU.
    count, none = MAX_STROKES * MAX_VERTICES, jnp.zeros((height, width), bool)
    covered = lax.fori_loop(0, count, add_capsule, none, unroll=6)
    return covered.astype(jnp.float32)[..., None]


def brush_masks(key: PRNGKey, images: Images) -> Masks:
    """A training mask for each image."""
    batch, height, width, _ = images.shape
    one = partial(brush_mask, height=height, width=width)
    return jax.vmap(one)(jax.random.split(key, batch))


def random_checkerboard_mask(key: PRNGKey, *, height: int, width: int) -> Mask:
    """Draw one of the four masks of a checkerboard of random size and place.

    A mask covers about a quarter of the image. The checkerboard has `FEWEST_PATCHES` to
    `MOST_PATCHES` patches along the side, log-uniform.
    """
    size_key, offset_key = jax.random.split(key)
    ratio = jax.random.uniform(size_key)
    patches = FEWEST_PATCHES * (MOST_PATCHES / FEWEST_PATCHES) ** ratio
    offsets = 2 * jax.random.uniform(offset_key, (2,))
    row, column = (
        jnp.floor(jnp.arange(length) * patches / length + offset) % 2
        for length, offset in ((height, offsets[0]), (width, offsets[1]))
    )
    return (row[:, None] * column)[..., None]


def mixed_masks(key: PRNGKey, images: Images) -> Masks:
    """A training mask for each image: brush strokes, or, as often, of a random checkerboard.

    Deviation: the paper trains with strokes alone, and begins its test with a checkerboard; what is
    filled there ought to have been learned.
    """
    batch, height, width, _ = images.shape
    kind_key, board_key, brush_key = jax.random.split(key, 3)
    board = partial(random_checkerboard_mask, height=height, width=width)
    boards = jax.vmap(board)(jax.random.split(board_key, batch))
    kinds = jax.random.bernoulli(kind_key, shape=(batch, 1, 1, 1))
    return jnp.where(kinds, boards, brush_masks(brush_key, images))


def checkerboard_masks(*, height: int, width: int, patches: int) -> Masks:
    """Return four disjoint masks that together cover the image, `4 h w 1`.

    Source: paper, section 2.4 and appendix F. They are those of `checkerboard_numbers`.
    """
    numbers = checkerboard_numbers(height=height, width=width, patches=patches)
    return jnp.asarray(numbers == np.arange(NUM_CHECKERBOARDS)[:, None, None], jnp.float32)[
        ..., None
    ]


def checkerboard_numbers(*, height: int, width: int, patches: int) -> Int[np.ndarray, "h w"]:
    """Index of the checkerboard mask, of four, in which each pixel is a hole.

    The image is cut into `patches` by `patches` rectangles; rectangle (r, s) is a hole in mask
    `2 (r mod 2) + (s mod 2)`.
    """
    row = np.arange(height) * patches // height % 2
    column = np.arange(width) * patches // width % 2
    return 2 * row[:, None] + column[None, :]


def distance_to_known(mask: Mask) -> Map:
    """Exact Euclidean distance, in pixels, from each pixel to the nearest one outside the mask.

    0 outside the mask. A mask without any known pixel gives the image's diagonal everywhere.
    """
    height, width, _ = mask.shape
    diagonal_squared = float(height**2 + width**2)
    squared = jnp.where(mask[..., 0] > 0, diagonal_squared, 0.0)
    # Squared Euclidean distance is separable: minimise over rows, then over columns.
    squared = _nearest_along_rows(_nearest_along_rows(squared.T).T)
    return jnp.sqrt(squared)


def _nearest_along_rows(squared: Float[Array, "m n"]) -> Float[Array, "m n"]:
    """Minimum over k of squared[:, k] + (j - k)**2, for every column j."""
    size = squared.shape[1]
    position = jnp.arange(size, dtype=jnp.float32)

    def nearer(k: Int[Array, ""], best: Float[Array, "m n"]) -> Float[Array, "m n"]:
        return jnp.minimum(
            best, lax.dynamic_slice_in_dim(squared, k, 1, axis=1) + (position - k) ** 2
        )

    # One k after another: an array of all takes 10 times as long at 64 x 64, 25 times at 256 x 256.
    far = jnp.full_like(squared, jnp.inf)
    return lax.fori_loop(0, size, nearer, far, unroll=16)
