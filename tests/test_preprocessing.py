"""Network inputs of images, whole or in tiles, and results and training patches from them."""

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.transform import downscale_local_mean

from i3ad_jax.errors import InputError
from i3ad_jax.preprocessing.preprocessing import Preprocessing, Squares
from i3ad_jax.preprocessing.scales import reduce_pixels, reduce_values
from i3ad_jax.preprocessing.units import level, to_units
from i3ad_jax.runtime.memory import free_memory
from i3ad_jax.shapes import to_float
from tests.support.patches import RNG, learn, levelled, noise, place_of


def test_whole_images_are_their_own_squares() -> None:
    images = noise(4, 16, 16)
    preprocessing = learn(images, side=16, levelling="yes", centre="image")
    squares = preprocessing.squares(images, each=3)
    expected = (
        levelled(images, preprocessing) - preprocessing.units.centre
    ) / preprocessing.units.scale
    np.testing.assert_allclose(squares.images, expected, rtol=0, atol=1e-6)


def test_nothing_subtracted_leaves_pixels_bit_for_bit() -> None:
    images = noise(3, 16, 16)
    squares = learn(images, side=16, levelling="no", centre="none").squares(images)
    np.testing.assert_array_equal(squares.images, to_float(images))
    np.testing.assert_array_equal(squares.pixels(squares.images), squares.images)


def test_squares_are_random_crops_of_levelled_images() -> None:
    images = noise(3, 18, 20)
    preprocessing = learn(images, side=16, levelling="yes", centre="image")
    squares = preprocessing.squares(images, each=20, seed=1)
    whole = levelled(images, preprocessing)
    places = []
    pixels, centres = np.asarray(squares.pixels(squares.images)), np.asarray(squares.centre)
    for row, (square, centre) in enumerate(zip(pixels, centres, strict=True)):
        place = place_of(square, whole[row // 20])
        assert place is not None
        assert place_of(centre, preprocessing.units.mean_image) == place
        places.append(place)
    assert len(set(places)) > 10  # of 15
    again = preprocessing.squares(images, each=20, seed=1)
    np.testing.assert_array_equal(again.images, squares.images)


@pytest.mark.parametrize("centre", ["none", "colour", "image"])
@pytest.mark.parametrize("size", [(16, 16), (18, 20)])
def test_mean_squares_show_the_mean_image_where_the_squares_lie(
    size: tuple[int, int], centre: Any
) -> None:
    images = np.repeat(noise(1, *size), 4, axis=0)
    preprocessing = learn(images, side=16, centre=centre)
    np.testing.assert_allclose(
        preprocessing.mean_squares(4, seed=3),
        preprocessing.squares(images, seed=3).images,
        atol=1e-4,
    )


@pytest.mark.parametrize("size", [(16, 16), (24, 33)])
@pytest.mark.parametrize("centre", ["none", "colour", "image"])
@pytest.mark.parametrize("levelling", ["no", "yes"])
def test_what_squares_show_comes_back_as_the_pictures(
    size: tuple[int, int], levelling: Any, centre: Any
) -> None:
    images = noise(3, *size)
    images[2] = 0
    preprocessing = learn(images, side=16, levelling=levelling, centre=centre)
    values = preprocessing.apply(lambda squares, _: squares.images, images, queue_size=4)
    assert values.shape == images.shape
    np.testing.assert_array_equal(preprocessing.pictures(values, images), images)


@pytest.mark.parametrize("grey", [0, 255])
def test_images_without_contrast_come_back(grey: int) -> None:
    images = np.full((3, 16, 24, 3), grey, np.uint8)
    for levelling in ("no", "yes"):
        preprocessing = learn(images, side=16, levelling=levelling)
        values = preprocessing.apply(lambda squares, _: squares.images, images, queue_size=4)
        np.testing.assert_allclose(values, 0, atol=1e-4)
        np.testing.assert_array_equal(preprocessing.pictures(values, images), images)


def test_program_is_compiled_once_whatever_the_size_and_number_of_images() -> None:
    traced = []

    @jax.jit
    def program(squares: Squares) -> Any:
        traced.append(squares.images.shape)
        return squares.images, squares.pixels(squares.images)[..., 0]

    counts = []
    for number, size in ((1, (16, 16)), (3, (16, 16)), (2, (16, 40)), (1, (33, 25))):
        images = noise(number, *size)
        preprocessing = learn(images, side=16)

        def function(squares: Squares, count: int) -> Any:
            counts.append(count)
            return program(squares)

        counts.clear()
        found, red = preprocessing.apply(function, images, queue_size=4)
        assert found.shape == (number, *size, 3)
        assert red.shape == (number, *size)
        assert sum(counts) == number * len(preprocessing.tiling.corners)
        assert len(counts) == -(-sum(counts) // 4)
    assert traced == [(4, 16, 16, 3)]


def test_rows_that_fill_up_a_queue_mean_nothing() -> None:
    images = noise(3, 16, 24)

    def function(squares: Squares, count: int) -> Any:
        meant = np.arange(len(squares.images)) < count
        return np.where(meant[:, None, None, None], squares.images, np.nan)

    assert np.isfinite(learn(images, side=16).apply(function, images, queue_size=5)).all()


def test_choices_follow_the_settings() -> None:
    images = noise(6, 16, 16)
    for levelling in ("yes", "no"):
        for centre in ("none", "colour", "image"):
            units = learn(images, side=16, levelling=levelling, centre=centre).units
            assert (units.level is not None) == (levelling == "yes")
            assert units.subtract == centre


def test_objects_that_lie_alike_are_told_from_surfaces() -> None:
    picture = RNG.integers(40, 200, (1, 16, 16, 3))
    objects = (picture + RNG.integers(0, 9, (8, 16, 16, 3))).astype(np.uint8)
    for images, aligned in ((objects, True), (noise(8, 16, 16), False)):
        preprocessing = Preprocessing.learn(images[:6], images[6:], side=16)
        assert preprocessing.aligned == aligned
        assert preprocessing.units.subtract == ("image" if aligned else "colour")


def reduced(size: tuple[int, int], *, levels: int = 0) -> Preprocessing:
    """Whole images of this size that networks see at 16 x 16 pixels."""
    learned = learn(noise(6, *size), side=16, levelling="yes", centre="image")
    return replace(learned, seen=(16, 16), levels=levels)


def test_whole_images_are_reduced_and_their_maps_enlarged() -> None:
    preprocessing, images = reduced((32, 48)), noise(5, 32, 48)
    shapes, counts = set[Any](), list[int]()

    def function(squares: Squares, count: int) -> Any:
        shapes.add(squares.images.shape)
        counts.append(count)
        pixels = squares.pixels(squares.images)
        return {"pixels": pixels, "red": pixels[..., 0]}

    found = preprocessing.apply(function, images, queue_size=2)
    assert shapes == {(2, 16, 16, 3)}
    assert counts == [2, 2, 1]
    small = downscale_local_mean(images, (1, 2, 3, 1))
    gains = preprocessing.units.gains(images)[:, None, None, None]
    expected = jax.image.resize(gains * (small / 127.5) - 1, images.shape, "linear")
    # a reduced pixel is a whole number
    np.testing.assert_allclose(found["pixels"], expected, rtol=0, atol=1.01 / 255 * gains.max())
    np.testing.assert_array_equal(found["red"], found["pixels"][..., 0])


@pytest.mark.parametrize(("values", "refused"), [(2**42, "--queue-size 1"), (None, "3 images")])
def test_results_that_do_not_fit_are_refused_before_anything_is_computed(
    values: int | None, refused: str
) -> None:
    preprocessing, images = reduced((512, 512)), noise(3, 512, 512)
    if values is None:  # which fit in a queue, but not at 1024 times its pixels
        values = free_memory() // (4 * 16**2 * 256)
    calls = list[int]()
    with pytest.raises(InputError, match=f"^{refused}: .*GiB of memory at least"):
        preprocessing.apply(
            lambda _, count: calls.append(count), images, queue_size=1, values=values
        )
    assert not calls


def test_reduced_squares_are_in_units_of_the_reduced_mean_image() -> None:
    preprocessing, images = reduced((32, 48)), noise(3, 32, 48)
    squares = preprocessing.squares(images, each=4)
    assert squares.images.shape == (3, 16, 16, 3)
    centre = downscale_local_mean(np.float64(preprocessing.units.mean_image), (2, 3, 1))
    np.testing.assert_allclose(squares.centre, np.stack([centre] * 3), rtol=0, atol=1e-6)
    np.testing.assert_allclose(preprocessing.centre, centre, rtol=0, atol=1e-6)
    again = preprocessing.apply(lambda own, _: own.centre, images, queue_size=4)
    expected = jax.image.resize(squares.centre, images.shape, "linear")
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(preprocessing.mean_squares(2), 0, atol=1e-6)


def sharpness(squares: Squares) -> Any:
    """A map that depends on the size at which an image is seen, and on what is subtracted."""
    image = squares.images[..., 0] + 0.3 * squares.centre[..., 1]
    return jnp.abs(image - jnp.roll(image, 1, axis=2)) * squares.scale[:, None, None]


@pytest.mark.parametrize("size", [(32, 48), (64, 64)])
@pytest.mark.parametrize("pixels", [1, 5000, 10**6])
def test_maps_of_levels_are_the_mean_over_the_sizes(size: tuple[int, int], pixels: int) -> None:
    preprocessing, images = reduced(size, levels=2), noise(5, *size)
    height, width = size
    assert preprocessing.level_sizes == [size, (height // 2, width // 2)]
    called = list[tuple[int, ...]]()

    def function(squares: Squares) -> Any:
        called.append(squares.images.shape)
        return sharpness(squares)

    found = preprocessing.apply_levels(function, images, pixels=pixels)
    assert found.dtype == np.float32
    assert found.shape == images.shape[:3]
    # one program for each size
    assert len(set(called)) == 2
    assert {count for count, *_ in called} == {max(pixels // (height * width), 1)}
    units, expected = preprocessing.units, np.zeros(images.shape[:3])
    for by in (1, 2):
        for image, whole in zip(images, expected, strict=True):
            small = np.floor(downscale_local_mean(image, (by, by, 1)) + 0.5).astype(np.uint8)
            centre = downscale_local_mean(np.float64(units.centre), (by, by, 1))
            seen = (units.gains(image[None])[0] * (small / 127.5) - 1 - centre) / units.scale
            rows = Squares(*(jnp.float32(x)[None] for x in (seen, centre, units.scale)))
            whole += np.asarray(jax.image.resize(sharpness(rows)[0], size, "linear")) / 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("pixels", [1, 5000])
def test_gains_and_centres_of_levels_are_those_of_each_image_by_itself(pixels: int) -> None:
    preprocessing, images = reduced((32, 48), levels=2), noise(5, 32, 48)
    seen = list[Squares]()

    def function(squares: Squares) -> Any:
        seen.append(squares)
        return squares.images[..., 0]

    preprocessing.apply_levels(function, images, pixels=pixels)
    together = max(pixels // (32 * 48), 1)
    rows = list(range(5)) + [4] * (-5 % together)
    calls = len(seen) // 2
    for number, size in enumerate(preprocessing.level_sizes):
        found = [np.concatenate(x) for x in zip(*seen[number * calls :][:calls], strict=True)]
        units = preprocessing.units
        centre = reduce_values(units.centre, size)
        for row, image, own, scale in zip(rows, *found, strict=True):
            whole = images[row][None]
            levelled = level(reduce_pixels(whole, size), units.gains(whole))
            np.testing.assert_array_equal(image, to_units(levelled, centre, units.scale)[0])
            np.testing.assert_array_equal(own, centre)
            assert scale == np.float32(units.scale)


def test_programs_give_what_numpy_gives() -> None:
    images = noise(3, 32, 48)
    for preprocessing in (
        reduced((32, 48), levels=2),
        replace(learn(images, side=16, levelling="yes", centre="image"), levels=2),
    ):
        traced: Any = jax.jit(
            lambda x, own=preprocessing: own.traced(lambda rows: {"own": sharpness(rows)}, x)
        )(images)
        expected = preprocessing.apply(lambda rows, _: sharpness(rows), images, queue_size=4)
        np.testing.assert_allclose(traced["own"], expected, rtol=0, atol=1e-5)
        levels: Any = jax.jit(lambda x, own=preprocessing: own.traced_levels(sharpness, x))(images)
        expected = preprocessing.apply_levels(sharpness, images, pixels=2000)
        np.testing.assert_allclose(levels, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (16, 16)])
def test_json_of_whole_images_and_levels_gives_the_same_back(size: tuple[int, int]) -> None:
    saved = reduced(size, levels=1)
    values = json.loads(json.dumps(saved.to_json()))
    found = Preprocessing.from_json(values, saved.units.mean_image)
    assert (found.whole, found.levels, found.tiling) == (True, 1, saved.tiling)
    assert found.level_sizes == [size]
    assert found.to_json() == values


@pytest.mark.parametrize(("size", "whole"), [((16, 16), True), ((16, 32), False)])
def test_json_of_a_version_without_levels_is_read(size: tuple[int, int], whole: bool) -> None:
    saved = learn(noise(3, *size), side=16)
    values = {name: x for name, x in saved.to_json().items() if name not in ("seen", "levels")}
    found = Preprocessing.from_json(values, saved.units.mean_image)
    assert (found.whole, found.levels) == (whole, 0)
    assert found.to_json() == saved.to_json()


@pytest.mark.parametrize("levelling", ["no", "yes"])
def test_json_gives_the_same_back(levelling: Any) -> None:
    images = noise(3, 16, 20)
    saved = learn(images, side=16, levelling=levelling, centre="image")
    values = json.loads(json.dumps(saved.to_json(), allow_nan=False))
    found = Preprocessing.from_json(values, saved.units.mean_image)
    assert found.to_json() == saved.to_json()
    assert found.aligned == saved.aligned
    for one, other in zip(found.squares(images), saved.squares(images), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "damage",
    [
        {"working_size": [16]},
        {"working_size": "large"},
        {"working_size": None},
        {"working_size": [-16, -20]},
        {"side": 17},
        {"side": 0},
        {"side": float("inf")},
        {"scale": 0},
        {"scale": float("nan")},
        {"scale": float("inf")},
        {"mean_intensity": 0},
        {"mean_intensity": 1.5},
        {"mean_intensity": float("nan")},
        {"mean_intensity": "bright"},
        {"centre": "median"},
        {"centre": ["image"]},
        {"seen": [8, 16]},
        {"seen": [16, 16]},
        {"seen": [16]},
        {"seen": None},
        {"seen": "small"},
        {"levels": -1},
        {"levels": 1.5},
        {"levels": None},
        {"levels": "all"},
        {"levels": True},
        {"levels": 6},
        {"explained_by_mean_image": None},
        {"explained_by_mean_image": float("nan")},
    ],
    ids=str,
)
def test_damaged_json_is_refused_in_one_line(damage: dict[str, Any]) -> None:
    saved = learn(noise(3, 16, 20), side=16)
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (any message of one line)
        Preprocessing.from_json(saved.to_json() | damage, saved.units.mean_image)
    assert "\n" not in str(refused.value)


def test_missing_json_is_refused() -> None:
    saved = learn(noise(3, 16, 20), side=16)
    values, image = saved.to_json(), saved.units.mean_image
    for name in (
        "working_size",
        "side",
        "scale",
        "mean_intensity",
        "centre",
        "explained_by_mean_image",
    ):
        with pytest.raises(ValueError, match=name):
            Preprocessing.from_json({key: x for key, x in values.items() if key != name}, image)
    for other in (None, [], "text", 3):
        with pytest.raises(ValueError, match=r"^[^\n]+$"):
            Preprocessing.from_json(other, image)
    for damaged in (image[:-1], image[..., 0], np.full_like(image, np.nan)):
        with pytest.raises(ValueError, match="mean image"):
            Preprocessing.from_json(values, damaged)
