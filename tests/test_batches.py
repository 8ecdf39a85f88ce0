"""Training batches: patches of images, drawn by the seed and the step alone."""

from dataclasses import replace
from typing import Any, get_args

import jax
import numpy as np
import pytest
from skimage.transform import resize_local_mean

from i3ad_jax.data.images import Size
from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing
from i3ad_jax.training.batches import Augmentation, TrainingImages
from tests.support.patches import learn, levelled, noise, place_of

Turned = dict[tuple[bool, int], np.ndarray]


def training_images(
    images: np.ndarray, preprocessing: Preprocessing, *, batch: int = 3
) -> TrainingImages:
    return TrainingImages(images, preprocessing, batch_size=batch, seed=0)


def detailed(images: np.ndarray, *, levels: int, **settings: Any) -> Preprocessing:
    """Whole images that networks see at 16 x 16 pixels, and details at several sizes."""
    learned = learn(images, side=16, levelling="yes", centre="image", **settings)
    return replace(learned, seen=(learned.side, learned.side), levels=levels)


def squares_of_steps(
    images: TrainingImages,
    preprocessing: Preprocessing,
    augment: Augment,
    *,
    steps: int,
    key: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images that the first steps draw, the squares, and what is subtracted from them."""
    (block,) = images.blocks(0, steps, together=steps)
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
    """Undo an optional mirroring from left to right, followed by a number of quarter turns."""
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
    of_seed = TrainingImages(images, preprocessing, batch_size=3, seed=1)
    elsewhere = squares_of_steps(of_seed, preprocessing, "turn", steps=1, key=5)[1]
    assert (same != elsewhere).any(axis=(1, 2, 3)).all()


def test_an_epoch_takes_every_image_once_in_an_order_of_its_own() -> None:
    images = noise(7, 8, 8)
    drawn = training_images(images, learn(images, side=8), batch=3)
    index = np.concatenate([drawn.draw(step).image for step in range(14)])
    epochs = index.reshape(6, 7)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(7), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.mark.parametrize("together", [9, 20])
def test_blocks_begin_anywhere_and_hold_what_each_step_draws(together: int) -> None:
    images = noise(5, 12, 11)
    preprocessing = replace(learn(images, side=8), levels=1)
    drawn = TrainingImages(images, preprocessing, batch_size=2, seed=3, planted=(1, 8))
    from_start, later = (
        list(drawn.blocks(0, 2 * together + 1, together=together)),
        list(drawn.blocks(together + 7, 2 * together + 1, together=together)),
    )
    assert [int(block.first) for block in from_start] == [0, together, 2 * together]
    assert not list(drawn.blocks(4, 4, together=together))
    for array, expected in zip(
        jax.tree.leaves(from_start[1:]), jax.tree.leaves(later), strict=True
    ):
        np.testing.assert_array_equal(array, expected)
    for step in (0, together - 1, together, 2 * together):
        index, corners = drawn.draw(step)
        block = from_start[step // together]
        parts = [squares[step % together] for squares in (block.batches, block.to_plant)]
        pixels, gains, origins = (
            np.concatenate(arrays) for arrays in zip(*map(jax.tree.leaves, parts), strict=True)
        )
        places = zip(index, corners, strict=True)
        expected = [images[i, top : top + 8, left : left + 8] for i, (_, top, left) in places]
        np.testing.assert_array_equal(pixels, expected)
        np.testing.assert_array_equal(origins, corners)
        np.testing.assert_allclose(gains, preprocessing.units.gains(images)[index])


def test_whole_images_are_reduced_to_the_side_of_the_networks() -> None:
    images = noise(4, 32, 48)
    preprocessing = detailed(images, levels=1)
    drawn = training_images(images, preprocessing, batch=5)
    index, squares, centres = squares_of_steps(drawn, preprocessing, "none", steps=2)
    assert squares.shape == (10, 16, 16, 3)
    expected = preprocessing.squares(images[index])
    np.testing.assert_allclose(centres, expected.centre, rtol=0, atol=1e-6)
    scaled = (squares - centres) / preprocessing.units.scale
    np.testing.assert_allclose(scaled, expected.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("augment", get_args(Augment))
def test_squares_to_plant_are_those_of_reduced_images(augment: Augment) -> None:
    images = noise(3, 32, 48)
    preprocessing = detailed(images, levels=3)
    sizes = preprocessing.level_sizes
    assert sizes == [(32, 48), (16, 24), (8, 12)]
    drawn = TrainingImages(images, preprocessing, batch_size=2, seed=0, planted=(30, 8))
    (block,) = drawn.blocks(0, 3, together=3)
    augmentation = jax.jit(Augmentation.of(preprocessing, augment, sizes).__call__)
    small = [np.stack([reduced(image, size) for image in images]) for size in sizes]
    gains = preprocessing.units.gains(images)[:, None, None, None]
    whole = [gains * (of_level / 127.5) - 1 for of_level in small]
    centre = [
        resize_local_mean(preprocessing.units.mean_image, size, channel_axis=-1) for size in sizes
    ]
    seen, turned = [], set[Any]()
    for step in range(3):
        index, corners = (own[2:] for own in drawn.draw(step))
        squares = augmentation(jax.random.key(step), block.to_plant[step])
        pixels, centres = (np.asarray(own) for own in squares)
        assert pixels.shape == centres.shape == (30, 8, 8, 3)
        for row, (image, (level, *corner)) in enumerate(zip(index, corners, strict=True)):
            places = {
                how: place_of(own, whole[level][image]) for how, own in undone(pixels[row]).items()
            }
            ((how, place),) = [(how, own) for how, own in places.items() if own is not None]
            assert place == tuple(corner)
            assert place_of(undone(centres[row])[how], centre[level]) == place
            turned.add(how)
            seen.append((level, place))
    assert {level for level, _ in seen} == {0, 1, 2}
    assert {place for level, place in seen if level == 2} == {(0, left) for left in range(5)}
    assert len({place for level, place in seen if level == 0}) > 20
    assert len(turned) == {"none": 1, "flip": 2, "turn": 8}[augment]


def reduced(image: np.ndarray, size: Size) -> np.ndarray:
    """An 8-bit image at a size that it is a multiple of, halves rounded up."""
    means = resize_local_mean(np.float64(image), size, channel_axis=-1, preserve_range=True)
    return np.floor(means + 0.5 + 1e-9).astype(np.uint8)


def test_batches_do_not_depend_on_what_is_planted() -> None:
    images = noise(5, 24, 20)
    preprocessing = replace(learn(images, side=8), levels=1)
    alone, planting = (
        TrainingImages(images, preprocessing, batch_size=4, seed=2, planted=planted)
        for planted in ((0, 0), (3, 8))
    )
    for step in range(10):
        image, corner = alone.draw(step)
        assert (corner[:, 0] == 0).all()
        np.testing.assert_array_equal(planting.draw(step).image[:4], image)
