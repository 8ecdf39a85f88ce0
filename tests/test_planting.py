"""Synthetic defects: their changes to images, their masks and their variety."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import binary_opening, convolve
from skimage.measure import label

from i3ad_jax.segmentation.planting import PLANTED, SMALLEST_SIDE, VISIBLE, plant_defects

COUNT, HEIGHT, WIDTH = 400, 32, 48
PLANT = jax.jit(plant_defects)

# images before and after, and masks without channels
Examples = tuple[np.ndarray, np.ndarray, np.ndarray]


def scenes(*, channel_gains: tuple[float, float, float]) -> np.ndarray:
    """Images of noise, each with a level of its own; equal gains make them grey."""
    rng = np.random.default_rng(0)
    levels, noise = (
        rng.uniform(-0.5, 0.5, (COUNT, 1, 1, 1)),
        rng.normal(0, 0.1, (COUNT, HEIGHT, WIDTH, 1)),
    )
    return ((levels + noise).clip(-1, 1) * channel_gains).astype(np.float32)


def plant(images: np.ndarray, seed: int = 0) -> Examples:
    planted = jax.tree.map(np.asarray, PLANT(jax.random.key(seed), jnp.asarray(images)))
    return images, planted.images, planted.masks[..., 0]


@pytest.fixture(scope="module")
def examples() -> Examples:
    return plant(scenes(channel_gains=(1.0, 0.6, 0.2)))


def changes(examples: Examples) -> Any:
    """The change of each pixel, in the channel that changes most."""
    before, after, _ = examples
    return np.abs(after - before).max(axis=-1)


def test_same_key_same_defects(examples: Examples) -> None:
    again, other = plant(examples[0]), plant(examples[0], seed=1)
    for first, second in zip(examples, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (examples[2] != other[2]).any()


def test_share_of_images_with_a_defect(examples: Examples) -> None:
    # Some defects cannot be seen, and four standard deviations of a share of 400 images are 0.09.
    visible = examples[2].any(axis=(1, 2)).mean()
    assert PLANTED - 0.12 < visible < PLANTED + 0.09


def test_smallest_squares_show_their_defects() -> None:
    rng = np.random.default_rng(0)
    side, levels = SMALLEST_SIDE, rng.uniform(-0.5, 0.5, (COUNT, 1, 1, 1))
    images = levels + rng.normal(0, 0.1, (COUNT, side, side, 3))
    _, after, masks = plant(images.clip(-1, 1).astype(np.float32))
    sizes = masks.sum(axis=(1, 2))
    assert np.isfinite(after).all()
    # four standard deviations of a share of 400 images are 0.1
    assert (sizes > 0).mean() > PLANTED - 0.2
    assert (sizes > 2).mean() > 0.5 * PLANTED


def test_other_images_stay_as_they_are(examples: Examples) -> None:
    untouched = (changes(examples) == 0).all(axis=(1, 2)).mean()
    assert abs(untouched - (1 - PLANTED)) < 0.1


def test_images_stay_in_range_and_masks_are_binary(examples: Examples) -> None:
    _, after, masks = examples
    assert after.shape == (COUNT, HEIGHT, WIDTH, 3)
    assert masks.shape == (COUNT, HEIGHT, WIDTH)
    assert after.dtype == masks.dtype == np.float32
    assert np.abs(after).max() <= 1
    assert set(np.unique(masks)) == {0, 1}


def test_masks_mark_what_changed_visibly(examples: Examples) -> None:
    change, marked = changes(examples), examples[2] > 0
    mean = convolve(change, np.full((1, 5, 5), 1 / 25), mode="constant")
    visible = np.maximum(change, mean)
    assert visible[marked].min() > VISIBLE - 1e-5
    # Where a visible change is not marked, it is the faint rim: at most a tenth of the widest
    # change.
    assert change[~marked].max() <= 0.1 * 2
    # All that is marked is within the defect; neighbours of its outline are not.
    assert (change[marked] > 0).mean() > 0.999


def test_defects_are_local(examples: Examples) -> None:
    touched = (changes(examples) > 0).mean(axis=(1, 2))
    touched = touched[touched > 0]
    assert np.median(touched) < 0.15
    assert touched.max() < 0.9


def test_there_are_lines_and_blobs(examples: Examples) -> None:
    """A line disappears when it is opened with a square wider than it; a blob does not."""
    masks = [mask > 0 for mask in examples[2] if mask.sum() > 20]
    left = [binary_opening(mask, np.ones((5, 5))).sum() / mask.sum() for mask in masks]
    lines = [mask for mask, share in zip(masks, left, strict=True) if share == 0]
    assert 0.1 < len(lines) / len(masks) < 0.6
    assert np.mean(np.array(left) > 0.5) > 0.3
    # A line is connected, mostly: not scattered pixels.
    assert np.median([label(mask).max() for mask in lines]) <= 3  # pyright: ignore


def test_grey_images_stay_grey() -> None:
    grey = plant(scenes(channel_gains=(1.0, 1.0, 1.0)))
    assert (changes(grey) > 0).any()
    assert np.ptp(grey[1], axis=-1).max() < 1e-6


def test_coloured_images_get_other_colours(examples: Examples) -> None:
    """Hues that no fill from the image itself or from a grey tone could have."""
    after, marked = examples[1], examples[2] > 0
    assert (after[marked][:, 2] - after[marked][:, 0]).max() > 0.8


def test_pieces_of_the_image_before_are_pasted() -> None:
    """Grey images take colours only from pieces of others: two in five of the blobs."""
    images = scenes(channel_gains=(1.0, 1.0, 1.0))
    images[::2] = np.array([0.9, -0.9, -0.9])
    _, after, _ = plant(images)
    coloured = (np.ptp(after[1::2], axis=-1) > 0.1).any(axis=(1, 2)).mean()
    assert abs(coloured - PLANTED * 0.65 * 2 / 5) < 0.1
    # Opacity is at least a fifth and the pasted colours are 1.8 apart.
    assert np.quantile(np.ptp(after[1::2], axis=-1).max(axis=(1, 2)), 0.95) > 0.9
