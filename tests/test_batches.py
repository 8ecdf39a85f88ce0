"""Training batches: patches of images, drawn by the seed and the step alone."""

from typing import Any

import jax
import numpy as np
import pytest

from i3ad_jax.preprocessing.preprocessing import Augment, Preprocessing
from i3ad_jax.training.batches import BLOCK, Augmentation, TrainingImages
from tests.support.patches import learn, levelled, noise, place_of

Turned = dict[tuple[bool, int], np.ndarray]


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
