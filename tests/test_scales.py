"""Images reduced by whole numbers and maps enlarged, in NumPy and in JAX programs."""

from fractions import Fraction
from math import floor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.data.images import Size
from i3ad_jax.preprocessing.scales import enlarge, reduce_pixels, reduce_values

RNG = np.random.default_rng(0)


def rounded_mean(block: np.ndarray) -> int:
    """The exact mean of whole numbers, halves rounded up."""
    return floor(Fraction(int(block.sum(dtype=np.int64)), block.size) + Fraction(1, 2))


@pytest.mark.parametrize("by", [(1, 1), (1, 2), (2, 2), (3, 3), (5, 3), (7, 1), (10, 6), (16, 16)])
def test_pixels_are_the_rounded_means_of_their_blocks(by: tuple[int, int]) -> None:
    down, across = by
    images = RNG.integers(0, 256, (2, 4 * down, 5 * across, 3), np.uint8)
    found = reduce_pixels(images, (4, 5))
    expected = np.empty((2, 4, 5, 3), np.uint8)
    for image, row, column, channel in np.ndindex(*expected.shape):
        rows = slice(row * down, (row + 1) * down)
        block = images[image, rows, column * across : (column + 1) * across, channel]
        expected[image, row, column, channel] = rounded_mean(block)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    in_program = jax.jit(reduce_pixels, static_argnums=1)(jnp.asarray(images), (4, 5))
    assert in_program.dtype == jnp.uint8
    np.testing.assert_array_equal(in_program, expected)


@pytest.mark.parametrize("side", [2, 3, 4, 5, 6, 7, 10, 12])
def test_every_sum_of_a_block_is_rounded_as_it_should(side: int) -> None:
    """Every total that pixels of a block can have, halves among them, or about ten thousand."""
    count = side**2
    totals = np.unique(np.linspace(0, 255 * count, 10_000).astype(int))
    low, more = np.divmod(totals, count)
    pixels = low[:, None] + (np.arange(count) < more[:, None])
    blocks = pixels.astype(np.uint8).reshape(-1, side, side, 1).repeat(3, axis=-1)
    expected = [floor(Fraction(int(total), count) + Fraction(1, 2)) for total in totals]
    for found in (
        reduce_pixels(blocks, (1, 1)),
        jax.jit(reduce_pixels, static_argnums=1)(jnp.asarray(blocks), (1, 1)),
    ):
        np.testing.assert_array_equal(np.asarray(found)[:, 0, 0, 0], expected)


def test_a_single_image_is_reduced_as_one_of_many() -> None:
    images = RNG.integers(0, 256, (3, 8, 12, 3), np.uint8)
    for image, expected in zip(images, reduce_pixels(images, (4, 3)), strict=True):
        np.testing.assert_array_equal(reduce_pixels(image, (4, 3)), expected)
        values = reduce_values(image.astype(np.float32), (4, 3))
        assert np.abs(values - expected).max() <= 0.5


def test_values_are_the_means_of_their_blocks() -> None:
    values = RNG.normal(size=(2, 6, 12, 4)).astype(np.float32)
    found = reduce_values(values, (3, 4))
    assert found.dtype == np.float32
    expected = [
        [
            [own[2 * i : 2 * i + 2, 3 * j : 3 * j + 3].mean(axis=(0, 1)) for j in range(4)]
            for i in range(3)
        ]
        for own in values.astype(np.float64)
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(reduce_values, static_argnums=1)(jnp.asarray(values), (3, 4)), found, atol=1e-6
    )


def test_the_same_size_changes_nothing() -> None:
    images = RNG.integers(0, 256, (2, 6, 8, 3), np.uint8)
    values = RNG.normal(size=(2, 6, 8, 3)).astype(np.float32)
    assert reduce_pixels(images, (6, 8)) is images
    assert reduce_values(values, (6, 8)) is values
    assert enlarge(values, (6, 8)) is values


@pytest.mark.parametrize("rest", [(), (3,), (2, 3)])
@pytest.mark.parametrize("size", [(8, 12), (4, 18), (12, 6), (11, 7)])
def test_enlarged_values_are_interpolated_linearly(size: Size, rest: tuple[int, ...]) -> None:
    values = RNG.normal(size=(2, 4, 6, *rest)).astype(np.float32)
    found = enlarge(values, size)
    assert found.dtype == np.float32
    expected = jax.image.resize(values, (2, *size, *rest), "linear")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    in_program = jax.jit(enlarge, static_argnums=1)(jnp.asarray(values), size)
    np.testing.assert_allclose(in_program, found, rtol=0, atol=1e-6)


def test_constants_stay_constants() -> None:
    np.testing.assert_allclose(enlarge(np.full((1, 3, 5), 0.3, np.float32), (12, 20)), 0.3)
