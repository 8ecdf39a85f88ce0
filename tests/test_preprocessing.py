"""What networks see of images, whole or in tiles, and how results and training squares come of it."""

import json
from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing, Squares
from i3ad_jax.shapes import to_float
from i3ad_jax.training.batches import BLOCK, Augmentation, TrainingImages

RNG = np.random.default_rng(0)

Turned = dict[tuple[bool, int], np.ndarray]


def noise(count: int, height: int, width: int) -> np.ndarray:
    """Images of noise, in which each place is like no other, of differing exposure."""
    exposure = RNG.uniform(0.3, 1, (count, 1, 1, 1))
    return (exposure * RNG.integers(0, 256, (count, height, width, 3))).astype(np.uint8)


def learn(images: np.ndarray, *, side: int, **settings: Any) -> Preprocessing:
    return Preprocessing.learn(images, images[:2], side=side, **settings)


def levelled(images: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    return np.stack([preprocessing.units.levelled(image) for image in images])


def windows(image: np.ndarray, side: int) -> np.ndarray:
    """All crops of an image: `rows columns side side 3`."""
    found = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
    return np.moveaxis(found, 2, -1)


def place_of(square: np.ndarray, image: np.ndarray) -> tuple[int, int] | None:
    """The first row and column of the image's crop that a square is, if it is one."""
    distance = np.abs(windows(image, len(square)) - square).max(axis=(2, 3, 4))
    matches = np.argwhere(distance < 1e-5)
    assert len(matches) <= 1
    return (int(matches[0][0]), int(matches[0][1])) if len(matches) else None


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


def training_images(
    images: np.ndarray, preprocessing: Preprocessing, *, batch: int = 3
) -> TrainingImages:
    return TrainingImages(images, preprocessing, batch_size=batch, num_planted=0, seed=0)


def squares_of_steps(
    images: TrainingImages,
    preprocessing: Preprocessing,
    augment: Augment,
    *,
    steps: int,
    key: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which images the first steps draw, the squares, and what is subtracted from them."""
    (block,) = images.blocks(0, steps)
    augmentation = jax.jit(Augmentation.of(preprocessing, augment).__call__)
    keys = jax.random.split(jax.random.key(key), steps)
    found = [augmentation(own, block.batches[step]) for step, own in enumerate(keys)]
    pixels, centres = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    return np.concatenate([images.draw(step).image for step in range(steps)]), pixels, centres


def test_training_square_of_a_whole_image_is_what_networks_see_of_it() -> None:
    images = noise(4, 16, 16)
    preprocessing = learn(images, side=16, levelling="yes", centre="image")
    drawn = training_images(images, preprocessing, batch=5)
    index, squares, centres = squares_of_steps(drawn, preprocessing, "none", steps=2)
    expected = preprocessing.squares(images[index])
    np.testing.assert_array_equal(centres, expected.centre)
    scaled = (squares - centres) / preprocessing.units.scale
    np.testing.assert_allclose(scaled, expected.images, rtol=0, atol=1e-6)


def undone(square: np.ndarray) -> Turned:
    """The square as it was, if it was mirrored left to right or not and then turned by so many quarters."""
    turned = {count: np.rot90(square, -count) for count in range(4)}
    return {
        (flip, count): x[:, ::-1] if flip else x
        for count, x in turned.items()
        for flip in (False, True)
    }


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        ("none", {(False, 0)}),
        ("flip", {(False, 0), (True, 0)}),
        ("turn", {(flip, count) for flip in (False, True) for count in range(4)}),
    ],
)
def test_training_squares_are_crops_of_levelled_images(
    augment: Augment, expected: set[Any]
) -> None:
    images = noise(2, 10, 9)
    preprocessing = learn(images, side=8, levelling="yes", centre="image")
    drawn = training_images(images, preprocessing, batch=12)
    index, squares, centres = squares_of_steps(drawn, preprocessing, augment, steps=20)
    whole = levelled(images, preprocessing)
    found = []
    for square, centre, i in zip(squares, centres, index, strict=True):
        originals, centres_before = undone(square), undone(centre)
        places = {how: place_of(original, whole[i]) for how, original in originals.items()}
        ((how, place),) = [(how, place) for how, place in places.items() if place is not None]
        assert place_of(centres_before[how], preprocessing.units.mean_image) == place
        found.append((how, place))
    assert {how for how, _ in found} == expected
    assert {place for _, place in found} == {(top, left) for top in range(3) for left in range(2)}


def test_training_squares_are_a_function_of_the_key_and_the_seed() -> None:
    images = noise(3, 20, 20)
    preprocessing = learn(images, side=8)
    drawn = training_images(images, preprocessing)
    same, again, other = (
        squares_of_steps(drawn, preprocessing, "turn", steps=1, key=key)[1] for key in (5, 5, 6)
    )
    np.testing.assert_array_equal(same, again)
    assert (same != other).any()
    of_seed = TrainingImages(images, preprocessing, batch_size=3, num_planted=0, seed=1)
    elsewhere = squares_of_steps(of_seed, preprocessing, "turn", steps=1, key=5)[1]
    assert (same != elsewhere).any(axis=(1, 2, 3)).all()


def test_an_epoch_takes_every_image_once_in_an_order_of_its_own() -> None:
    images = noise(7, 8, 8)
    drawn = training_images(images, learn(images, side=8), batch=3)
    index = np.concatenate([drawn.draw(step).image for step in range(14)])
    epochs = index.reshape(6, 7)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(7), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_blocks_begin_anywhere_and_hold_what_each_step_draws() -> None:
    images = noise(5, 12, 11)
    preprocessing = learn(images, side=8)
    drawn = TrainingImages(images, preprocessing, batch_size=2, num_planted=1, seed=3)
    from_start, later = (
        list(drawn.blocks(0, 2 * BLOCK + 1)),
        list(drawn.blocks(BLOCK + 7, 2 * BLOCK + 1)),
    )
    assert [int(block.first) for block in from_start] == [0, BLOCK, 2 * BLOCK]
    assert not list(drawn.blocks(4, 4))
    for array, expected in zip(
        jax.tree.leaves(from_start[1:]), jax.tree.leaves(later), strict=True
    ):
        np.testing.assert_array_equal(array, expected)
    for step in (0, BLOCK - 1, BLOCK, 2 * BLOCK):
        index, corners = drawn.draw(step)
        block = from_start[step // BLOCK]
        parts = [squares[step % BLOCK] for squares in (block.batches, block.to_plant)]
        pixels, gains, origins = (
            np.concatenate(arrays) for arrays in zip(*map(jax.tree.leaves, parts), strict=True)
        )
        places = zip(index, corners, strict=True)
        expected = [images[i, top : top + 8, left : left + 8] for i, (top, left) in places]
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(origins, corners)
        np.testing.assert_allclose(gains, preprocessing.units.gains(images)[index])
