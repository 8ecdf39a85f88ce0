"""Brush strokes within their ranges, masks against slow reference code, distances against SciPy."""

import itertools
import math
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.spatial.distance import cdist

from i3ad_jax.inpainting.masks import (
    brush_mask,
    brush_masks,
    brush_strokes,
    checkerboard_masks,
    distance_to_known,
    mixed_masks,
    random_checkerboard_mask,
)

Drawings = tuple[np.ndarray, Any]  # size and `Strokes` of NumPy arrays, one more axis in front

SIZES = [(256, 256), (48, 96)]
BOARDS = [(24, 24, 6), (24, 36, 4), (32, 32, 6), (25, 41, 6), (7, 9, 2), (16, 16, 16), (30, 30, 5)]


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


@pytest.fixture(scope="module", params=SIZES, ids=str)
def drawings(request: pytest.FixtureRequest) -> Drawings:
    """Height and width, and the strokes of many keys."""
    height, width = request.param
    draw = jax.jit(jax.vmap(partial(brush_strokes, height=height, width=width)))
    return np.array([height, width]), jax.tree.map(np.asarray, draw(keys(2000)))


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    """Brush masks of 40 x 64 pixels, `b h w 1`."""
    return np.asarray(jax.jit(jax.vmap(partial(brush_mask, height=40, width=64)))(keys(20)))


def test_numbers_of_strokes_and_vertices(drawings: Drawings) -> None:
    drawn = drawings[1].drawn
    strokes, vertices = drawn.any(axis=2).sum(axis=1), drawn.sum(axis=2)
    assert set(np.unique(strokes)) == {1, 2, 3}
    assert set(np.unique(vertices)) == {0, *range(4, 13)}
    # Drawn vertices and strokes come first, without gaps.
    assert (np.diff(drawn, axis=2) <= 0).all()
    assert (np.diff(drawn.any(axis=2).astype(int), axis=1) <= 0).all()


def test_widths_are_12_to_40_pixels_at_256(drawings: Drawings) -> None:
    (height, width), strokes = drawings
    at_256 = strokes.widths * 256 / math.sqrt(height * width)
    assert 12 - 1e-3 <= at_256.min() < 12.1
    assert 39.9 < at_256.max() <= 40 + 1e-3
    assert abs(at_256.mean() - 26) < 0.5


def test_vertices_cover_the_image_and_stay_inside(drawings: Drawings) -> None:
    size, strokes = drawings
    points = strokes.points.reshape(-1, 2)
    assert (points >= 0).all()
    assert (points <= size).all()
    counts, *_ = np.histogram2d(*points.T, bins=4, range=[(0, size[0]), (0, size[1])])
    assert counts.min() > len(points) / 16 / 4
    # Strokes are mirrored at random, so their distribution is symmetric.
    assert np.abs(strokes.points[:, :, 0].mean(axis=(0, 1)) / size - 0.5).max() < 0.02
    assert np.abs(points.mean(axis=0) / size - 0.5).max() < 0.02


def test_segments_are_at_most_a_quarter_of_the_diagonal(drawings: Drawings) -> None:
    size, strokes = drawings
    mean_length = math.hypot(*size) / 8
    lengths = np.linalg.norm(np.diff(strokes.points, axis=2), axis=-1)
    assert lengths.max() <= 2 * mean_length + 1e-3
    ends = strokes.points[:, :, 1:]
    free = ((ends > 0) & (ends < size)).all(axis=-1)  # not clipped to the image
    lengths = lengths[:, :, :1][free[:, :, :1]]
    # Long segments are clipped more often, so the free ones are a little short of the mean.
    assert 0.85 * mean_length < lengths.mean() < mean_length
    assert 0.4 * mean_length < lengths.std() < 0.5 * mean_length


def test_segments_zigzag_by_the_stated_angle(drawings: Drawings) -> None:
    size, strokes = drawings
    steps, ends = np.diff(strokes.points, axis=2), strokes.points[:, :, 1:]
    lengths = np.linalg.norm(steps, axis=-1)
    free = ((ends > 0) & (ends < size)).all(axis=-1) & (lengths > 0.5)
    turn = (-1) ** np.arange(steps.shape[2])  # segments point up and down in turn
    mirrors = set()
    for step, is_free in zip(steps, free, strict=True):
        y, x = (step[..., 0] * turn)[is_free], step[..., 1][is_free]
        # Undoing one of the four mirrorings brings all angles into the range.
        fitting = [
            mirror
            for mirror in itertools.product((1, -1), repeat=2)
            if (np.abs(np.degrees(np.arctan2(y * mirror[0], x * mirror[1])) - 72) < 24.1).all()
        ]
        assert fitting
        if len(fitting) == 1:
            mirrors.add(fitting[0])
    assert len(mirrors) == 4


def test_brush_mask_covers_the_pixels_near_a_segment(masks: np.ndarray) -> None:
    draw = jax.jit(partial(brush_strokes, height=40, width=64))
    centres = (
        np.stack(np.meshgrid(np.arange(40), np.arange(64), indexing="ij"), axis=-1).reshape(-1, 2)
        + 0.5
    )
    along = np.linspace(0, 1, 200)[:, None]
    for key, mask in zip(keys(6), masks[:6, ..., 0], strict=True):
        strokes = jax.tree.map(np.asarray, draw(key))
        # distance to the edge of the nearest stroke, negative inside
        excess = np.full(len(centres), np.inf)
        for points, width, drawn in zip(*strokes, strict=True):
            for (start, end), is_drawn in zip(itertools.pairwise(points), drawn, strict=True):
                if is_drawn:
                    distances = cdist(centres, start + along * (end - start)).min(axis=1)
                    excess = np.minimum(excess, distances - width / 2)
        clear = np.abs(excess) > 0.01  # sampling of the segments is coarser than that
        assert clear.mean() > 0.98
        np.testing.assert_array_equal(mask.ravel()[clear], (excess < 0)[clear])


def test_brush_masks_are_binary_and_leave_known_pixels(masks: np.ndarray) -> None:
    assert masks.shape == (20, 40, 64, 1)
    assert masks.dtype == np.float32
    assert set(np.unique(masks)) == {0, 1}
    covered = masks.mean(axis=(1, 2, 3))
    assert ((covered > 0) & (covered < 1)).all()


def test_brush_mask_depends_on_its_key_alone(masks: np.ndarray) -> None:
    again = np.asarray(jax.jit(jax.vmap(partial(brush_mask, height=40, width=64)))(keys(20)[::-1]))
    np.testing.assert_array_equal(again[::-1], masks)
    assert len({mask.tobytes() for mask in masks}) == len(masks)


@pytest.mark.parametrize(("height", "width", "patches"), BOARDS)
def test_checkerboards_are_the_rectangles_of_the_formula(
    height: int, width: int, patches: int
) -> None:
    expected = np.zeros((4, height, width, 1))
    for y, x in itertools.product(range(height), range(width)):
        row, column = math.floor(y * patches / height), math.floor(x * patches / width)
        expected[2 * (row % 2) + column % 2, y, x] = 1
    masks = checkerboard_masks(height=height, width=width, patches=patches)
    assert masks.dtype == np.float32
    np.testing.assert_array_equal(masks, expected)


@pytest.mark.parametrize(("height", "width", "patches"), BOARDS)
def test_checkerboards_cover_each_pixel_once_in_equal_patches(
    height: int, width: int, patches: int
) -> None:
    masks = np.asarray(checkerboard_masks(height=height, width=width, patches=patches))[..., 0]
    np.testing.assert_array_equal(masks.sum(axis=0), 1)
    index = masks.argmax(axis=0)
    for line, size in ((index[:, 0], height), (index[0], width)):
        lengths = [len(list(patch)) for _, patch in itertools.groupby(line)]
        assert len(lengths) == patches
        assert {math.floor(size / patches), math.ceil(size / patches)} >= set(lengths)


def euclidean(mask: np.ndarray) -> np.ndarray:
    return np.asarray(distance_transform_edt(mask))


@pytest.mark.parametrize("density", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("shape", [(32, 32), (17, 40)])
def test_distance_to_known_equals_scipys(shape: tuple[int, int], density: float) -> None:
    mask = (np.random.default_rng(3).uniform(size=shape) < density).astype(np.float32)
    distance = jax.jit(distance_to_known)(mask[..., None])
    np.testing.assert_allclose(distance, euclidean(mask), rtol=0, atol=1e-5)


def test_distance_to_known_of_brush_masks(masks: np.ndarray) -> None:
    distances = jax.jit(jax.vmap(distance_to_known))(masks)
    expected = [euclidean(mask) for mask in masks[..., 0]]
    np.testing.assert_allclose(distances, expected, rtol=0, atol=1e-5)
    assert np.max(expected) > 5


def test_distance_without_any_known_pixel_is_the_diagonal() -> None:
    distance = distance_to_known(jax.numpy.ones((30, 40, 1)))
    np.testing.assert_array_equal(distance, np.full((30, 40), 50.0))


def test_random_checkerboards_are_periodic_products_of_rows_and_columns() -> None:
    draw = jax.jit(jax.vmap(partial(random_checkerboard_mask, height=64, width=96)))
    masks = np.asarray(draw(keys(500)))[..., 0]
    assert set(np.unique(masks)) == {0, 1}
    assert abs(masks.mean() - 0.25) < 0.01
    periods = set()
    for mask in masks:
        rows, columns = mask.max(axis=1), mask.max(axis=0)
        np.testing.assert_array_equal(mask, np.outer(rows, columns))
        for line in (rows, columns):
            # Inside the image all holes and all gaps are as wide, but for rounding.
            runs = np.diff(np.flatnonzero(np.diff(line))).tolist()
            assert not runs or max(runs) - min(runs) <= 1
        periods.add(int(np.abs(np.diff(rows)).sum()))
    assert min(periods) <= 4  # 4 to 16 patches have 3 to 16 edges
    assert max(periods) >= 15


def test_every_other_training_mask_is_a_checkerboard() -> None:
    images = np.zeros((200, 32, 32, 3), np.float32)
    key = jax.random.key(3)
    masks = np.asarray(jax.jit(mixed_masks)(key, images))[..., 0]
    products = masks.max(axis=2)[:, :, None] * masks.max(axis=1)[:, None, :]
    boards = (masks == products).all(axis=(1, 2))
    assert 0.4 < boards.mean() < 0.6
    strokes = np.asarray(jax.jit(brush_masks)(jax.random.split(key, 3)[2], images))[..., 0]
    np.testing.assert_array_equal(masks[~boards], strokes[~boards])
