"""Images that count as nearly the same, where many agree."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from i3ad_jax.check.records import SIDE, Pixels, Record
from i3ad_jax.check.repeats import NEAR, signatures, similar_images
from i3ad_jax.data.images import preprocess
from i3ad_jax.data.textures import TEXTURES, make_textures
from tests.support.copies import COPIES

NUM_IMAGES = 120


def similar(pictures: Sequence[Image.Image]) -> list[list[int]]:
    """The groups of nearly equal pictures, by their positions."""
    images = [
        (
            Record(str(number), "train", "good", None, None, ()),
            Pixels(
                size=(picture.height, picture.width),
                mode="RGB",
                colour=True,
                intensity=0.5,
                content=str(hash(picture.tobytes())),
                peak=None,
                thumbnail=preprocess(picture, size=(SIDE, SIDE), aspect="stretch"),
            ),
        )
        for number, picture in enumerate(pictures)
    ]
    return [[int(record.path) for record in group] for group in similar_images(images)]


def plain_surfaces(count: int, *, noise: float) -> list[Image.Image]:
    """A surface without any texture under light that falls off in a random direction."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-0.5:0.5:128j, -0.5:0.5:128j]
    pictures = []
    for angle, slope, level in zip(
        rng.uniform(0, 2 * np.pi, count),
        rng.uniform(0.1, 0.3, count),
        rng.uniform(126, 154, count),
        strict=True,
    ):
        values = level * (1 + slope * (np.cos(angle) * x + np.sin(angle) * y))
        values = values[..., None] + rng.normal(0, 1, (128, 128, 3)) * noise
        pictures.append(Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)))
    return pictures


def objects(count: int, *, place: int) -> list[Image.Image]:
    """A disc that is always at the same place, with faint blotches that are its own."""
    rng = np.random.default_rng(place)
    y, x = np.mgrid[:128, :128]
    disc = 60 + 120 * (np.hypot(x - place, y - 64) < 40)
    pictures = []
    for _ in range(count):
        blotches = Image.fromarray(rng.normal(0, 6, (16, 16)).astype(np.float32))
        values = disc + np.asarray(blotches.resize((128, 128), Image.Resampling.BICUBIC))
        grey = np.clip(values, 0, 255).astype(np.uint8)
        pictures.append(Image.fromarray(np.repeat(grey[..., None], 3, axis=2)))
    return pictures


def test_plain_surfaces_under_similar_light_are_different_pictures() -> None:
    assert similar(plain_surfaces(NUM_IMAGES, noise=1.0)) == []


def test_objects_that_lie_in_one_of_two_places_are_different_pictures() -> None:
    pictures = objects(NUM_IMAGES, place=56) + objects(NUM_IMAGES // 2, place=72)
    assert similar(pictures) == []


def test_changed_copies_are_found_among_objects_that_lie_alike() -> None:
    pictures = objects(NUM_IMAGES, place=56) + objects(NUM_IMAGES // 2, place=72)
    changes: list[Callable[[Image.Image], Image.Image]] = [
        lambda picture: ImageEnhance.Brightness(picture).enhance(0.85),
        lambda picture: ImageEnhance.Contrast(picture).enhance(1.2),
        lambda picture: picture.resize((102, 102), Image.Resampling.BICUBIC),
    ]
    copies = [change(pictures[i]) for i in (3, 150) for change in changes]
    first = len(pictures)
    assert similar(pictures + copies) == [
        [3, *range(first, first + 3)],
        [150, *range(first + 3, first + 6)],
    ]


def test_copies_are_found_among_few_images() -> None:
    pictures = objects(3, place=56)
    copy = ImageEnhance.Brightness(pictures[0]).enhance(0.85)
    assert similar(pictures) == []
    assert similar([*pictures, copy]) == [[0, 3]]
    # nothing tells what these two have in common against others
    assert similar([pictures[0], copy]) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", TEXTURES)
def test_pictures_of_one_surface_differ_and_their_copies_do_not(kind: str) -> None:
    """The threshold separates all pairs of 312 images from five kinds of copies of every 40th."""
    dataset = make_textures(kind, size=(128, 128))
    images = np.concatenate([dataset.train.images[:], dataset.test.images[:]])
    originals = range(7, len(images), 40)
    copies = [change(Image.fromarray(images[i])) for i in originals for change in COPIES]
    everything = [*(Image.fromarray(image) for image in images), *copies]
    small = np.stack(
        [np.asarray(x.resize((64, 64), Image.Resampling.BILINEAR)) for x in everything]
    )
    vectors = signatures(small)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    different = vectors[: len(images)] @ vectors[: len(images)].T
    np.fill_diagonal(different, 0)
    assert different.max() < NEAR
    owners = np.repeat(vectors[list(originals)], len(COPIES), axis=0)
    assert (owners * vectors[len(images) :]).sum(axis=1).min() >= NEAR
