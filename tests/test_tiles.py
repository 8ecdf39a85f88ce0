"""Tiles cover an image, and their results combine to those of the whole image."""

import tracemalloc
from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from i3ad_jax.preprocessing.tiles import Place, Tiling

RNG = np.random.default_rng(0)


@st.composite
def tilings(draw: st.DrawFn, smallest_side: int = 8) -> Tiling:
    side = draw(st.integers(smallest_side, 48))
    height, width = draw(st.tuples(*[st.integers(side, 6 * side)] * 2))
    return Tiling((height, width), side)


def cut(images: np.ndarray, place: Place, side: int) -> np.ndarray:
    return images[place.image, place.top : place.top + side, place.left : place.left + side]


@given(tilings())
def test_tiles_cover_the_image_and_overlap(tiling: Tiling) -> None:
    for axis, length in enumerate(tiling.size):
        starts = sorted({corner[axis] for corner in tiling.corners})
        assert starts[0] == 0
        assert starts[-1] + tiling.side == length
        for one, following in pairwise(starts):
            assert one + tiling.side - following >= tiling.side // 4
        assert len(starts) <= 4 / 3 * length / tiling.side + 2 / 3  # so tiles are linear in pixels
    covered = np.zeros(tiling.size, bool)
    for top, left in tiling.corners:
        covered[top : top + tiling.side, left : left + tiling.side] = True
    assert covered.all()
    assert len(set(tiling.corners)) == len(tiling.corners)


@given(tilings(smallest_side=16))  # 1/16 of which is how far the filter sees
def test_local_function_of_tiles_is_that_of_the_image(tiling: Tiling) -> None:
    images = RNG.random((2, *tiling.size), np.float32)
    found = tiling.map(
        lambda places: np.stack(
            [uniform_filter(cut(images, place, tiling.side), 3) for place in places]
        ),
        len(images),
        at_once=7,
    )
    expected = np.stack([uniform_filter(image, 3) for image in images])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_single_tile_is_the_image_bit_for_bit() -> None:
    images = {"map": RNG.normal(size=(5, 12, 12)), "picture": RNG.normal(size=(5, 12, 12, 3, 2))}
    images = {name: x.astype(np.float32) for name, x in images.items()}
    found = Tiling((12, 12), 12).map(
        lambda places: {
            name: np.stack([cut(x, place, 12) for place in places]) for name, x in images.items()
        },
        5,
        at_once=2,
    )
    assert found.keys() == images.keys()
    for name, expected in images.items():
        np.testing.assert_array_equal(found[name], expected)


def test_results_keep_the_axes_beyond_pixels() -> None:
    images = RNG.random((2, 20, 31, 3), np.float32)
    found = Tiling((20, 31), 16).map(
        lambda places: np.stack([cut(images, place, 16) for place in places]), 2, at_once=3
    )
    np.testing.assert_allclose(found, images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_each_tile_is_worked_on_once(at_once: int) -> None:
    tiling = Tiling((40, 25), 16)
    calls: list[list[Place]] = []

    def function(places: list[Place]) -> np.ndarray:
        calls.append(places)
        return np.zeros((len(places), 16, 16), np.float32)

    tiling.map(function, 3, at_once=at_once)
    assert [place for places in calls for place in places] == [
        Place(image, top, left) for image in range(3) for top, left in tiling.corners
    ]
    assert all(len(places) == at_once for places in calls[:-1])


@pytest.mark.parametrize("size", [(16, 16), (16, 29), (40, 57)])
def test_cutting_and_blending_in_one_program_are_those_tile_by_tile(size: tuple[int, int]) -> None:
    tiling, number = Tiling(size, 16), 2
    images = RNG.random((number, *tiling.size, 2), np.float32)
    places = [*tiling.places(number)]
    tiles = np.stack([cut(images, place, tiling.side) for place in places])
    found = tiling.cut(images)
    np.testing.assert_array_equal(found.reshape(tiles.shape), tiles)
    maps = RNG.random(found.shape[:-1], np.float32)
    row = dict(zip(places, maps.reshape(-1, *maps.shape[2:]), strict=True))
    expected = tiling.map(lambda part: np.stack([row[place] for place in part]), number, at_once=3)
    np.testing.assert_allclose(tiling.blend(jnp.asarray(maps)), expected, rtol=1e-5, atol=1e-6)


def test_memory_is_that_of_the_results_and_one_call() -> None:
    tiling, at_once = Tiling((750, 1000), 64), 8
    call = at_once * 64 * 64 * 3 * 4  # all tiles together would be 42 of them
    total = 750 * 1000 * 4  # the weights of all tiles together
    tracemalloc.start()
    try:
        found = tiling.map(
            lambda places: np.ones((len(places), 64, 64, 3), np.float32), 1, at_once=at_once
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Results of the last call live until there are those of the next; a third call is room for
    # sums.
    assert peak < found.nbytes + total + 3 * call
