"""Fills against a plain loop; errors, spreads and warnings of reconstructions that are known."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax.calibration.learned import Learned, Yardstick, neighbour_fill, neighbour_fill_pass
from i3ad_jax.inpainting.masks import checkerboard_masks

SIDES = ((0, -1), (0, 1), (-1, 0), (1, 0))
RNG = np.random.default_rng(0)
OBJECT = RNG.uniform(-0.5, 0.5, (10, 12, 3))
LIGHT = RNG.normal(0, 0.1, (40, 1, 1, 3)) * RNG.uniform(0, 1, (10, 12, 1))
IMAGES = (OBJECT + LIGHT).astype(np.float32)
MEAN_IMAGE = np.asarray(IMAGES.mean(axis=0))


def filled_plainly(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    filled = image.astype(np.float64)
    for y, x in np.argwhere(mask[..., 0] > 0):
        found = []  # value and weight of the nearest known pixel on each side
        for dy, dx in SIDES:
            row, column, steps = y + dy, x + dx, 1
            while 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                if mask[row, column, 0] == 0:
                    found.append((image[row, column], 1 / steps))
                    break
                row, column, steps = row + dy, column + dx, steps + 1
        filled[y, x] = sum(value * weight for value, weight in found) / (
            sum(w for _, w in found) or 1
        )
    return filled


def test_neighbour_fill_is_a_plain_loops() -> None:
    images = RNG.uniform(-1, 1, (4, 7, 9, 3)).astype(np.float32)
    shares = np.reshape([0.3, 0.7, 0.97, 1.0], (4, 1, 1, 1))
    masks = (RNG.uniform(size=(4, 7, 9, 1)) < shares).astype(np.float32)
    filled = neighbour_fill(images, masks)
    expected = [*map(filled_plainly, images, masks)]
    np.testing.assert_allclose(filled, expected, rtol=0, atol=1e-6)
    assert (np.asarray(filled[3]) == 0).all()  # nothing known


def test_neighbour_fill_reads_no_hole_and_keeps_what_is_known() -> None:
    mask = np.asarray(checkerboard_masks(height=10, width=12, patches=4)[:1])
    image = IMAGES[:1]
    filled = neighbour_fill(image, mask)
    np.testing.assert_array_equal(
        neighbour_fill(np.where(mask > 0, np.float32(1e6), image), mask), filled
    )
    np.testing.assert_array_equal(filled * (1 - mask), image * (1 - mask))


def test_pass_fills_each_pixel_as_a_hole_of_its_board() -> None:
    filled = neighbour_fill_pass(IMAGES[:2], patches=4)
    for board in np.asarray(checkerboard_masks(height=10, width=12, patches=4)):
        for image, result in zip(IMAGES, filled, strict=False):
            np.testing.assert_allclose(
                result * board, filled_plainly(image, board) * board, rtol=0, atol=1e-6
            )


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_perfect_reconstructions(array: Any) -> None:
    images, mean_image = array(IMAGES), array(MEAN_IMAGE)
    learned = Yardstick.of(images, mean_image=mean_image, patches=4).measure(images)
    assert (learned.l1, learned.to_mean_image, learned.to_fill, learned.spread) == (0, 0, 0, 1)
    assert learned.problem(aligned=True) is None
    assert learned.problem(aligned=False) is None


def test_errors_and_spread_are_those_of_a_direct_computation() -> None:
    reconstructions = MEAN_IMAGE + 0.7 * (IMAGES - MEAN_IMAGE)
    learned = Yardstick.of(IMAGES, mean_image=MEAN_IMAGE, patches=4).measure(reconstructions)
    fill = neighbour_fill_pass(IMAGES, patches=4)
    metrics = learned.as_metrics()
    assert metrics == pytest.approx(
        {
            "held_out_l1": np.abs(reconstructions - IMAGES).mean(),
            "held_out_l1_to_mean_image": 0.3,
            "held_out_l1_to_fill": np.abs(reconstructions - IMAGES).mean()
            / np.abs(fill - IMAGES).mean(),
            "spread_over_images": 0.7,
        },
        rel=1e-4,
    )


def test_mean_image_is_reported_as_collapsed() -> None:
    constant = np.broadcast_to(MEAN_IMAGE, IMAGES.shape)
    learned = Yardstick.of(IMAGES, mean_image=MEAN_IMAGE, patches=None).measure(constant)
    assert (learned.to_mean_image, learned.spread) == (1, pytest.approx(0))
    assert "almost the same picture for every image" in str(learned.problem(aligned=True))
    assert "held_out_l1_to_fill" not in learned.as_metrics()
    assert learned.problem(aligned=False) is None  # there is no fill to compare with


def test_an_error_as_large_as_that_of_what_knows_nothing_is_reported() -> None:
    learned = Learned(l1=0.3, mean_image_l1=0.2, fill_l1=0.1, spread=0.9)
    assert "less than the mean training image" in str(learned.problem(aligned=True))
    assert "1.50 times" in str(learned.problem(aligned=True))
    assert "less than the nearest pixels" in str(learned.problem(aligned=False))
    assert "3.00 times" in str(learned.problem(aligned=False))
    better = Learned(l1=0.3, mean_image_l1=0.31, fill_l1=0.29, spread=0.9)
    assert better.problem(aligned=True) is None
    assert better.problem(aligned=False)


def test_neighbour_fill_in_place_of_the_generator_is_reported() -> None:
    fill = neighbour_fill_pass(IMAGES, patches=4)
    learned = Yardstick.of(IMAGES, mean_image=MEAN_IMAGE, patches=4).measure(fill)
    assert learned.to_fill == 1
    assert learned.problem(aligned=False)


def test_images_that_do_not_differ_have_no_ratios() -> None:
    grey = np.full((3, 8, 8, 3), 0.3, np.float32)
    learned = Yardstick.of(grey, mean_image=grey[0], patches=4).measure(grey + np.float32(0.1))
    assert learned.as_metrics() == pytest.approx({"held_out_l1": 0.1})
    assert learned.problem(aligned=True) is None
    assert learned.problem(aligned=False) is None
