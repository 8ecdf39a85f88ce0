"""Network inputs of images, whole or in tiles, and results and training patches from them."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.preprocessing.preprocessing import Preprocessing, Squares
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
