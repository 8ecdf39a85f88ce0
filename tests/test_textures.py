"""The built-in data set: always the same, well labelled, and train and test are apart."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data import textures
from i3ad_jax.data.defects import DEFECTS
from i3ad_jax.data.images import preprocess, preprocess_mask
from i3ad_jax.data.textures import (
    NOISE,
    NUM_TEST_NORMAL,
    NUM_TEST_PER_DEFECT,
    NUM_TRAIN,
    TEXTURES,
    make_textures,
)
from i3ad_jax.errors import InputError

SIZE = 32


@pytest.fixture(scope="module", params=TEXTURES)
def dataset(request):
    return make_textures(request.param, size=(SIZE, SIZE))


def test_sizes_and_types(dataset):
    assert len(dataset.train) == NUM_TRAIN
    assert len(dataset.test) == NUM_TEST_NORMAL + NUM_TEST_PER_DEFECT * len(DEFECTS)
    for split in (dataset.train, dataset.test):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), SIZE, SIZE, 3)
        assert split.masks.dtype == bool
        assert split.masks.shape == (len(split), SIZE, SIZE)
        assert split.annotated.all()
        assert split.original_sizes == ((SIZE, SIZE),) * len(split)


def test_masks_are_empty_exactly_for_normal_images(dataset):
    assert not dataset.train.masks.any()
    np.testing.assert_array_equal(dataset.test.masks.any(axis=(1, 2)), dataset.test.labels == 1)


def test_paths_name_the_class_and_are_unique(dataset):
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        assert len(set(split.paths)) == len(split)
        for path, defect in zip(split.paths, split.defects, strict=True):
            assert path.rsplit("/", 1)[0] == f"{part}/{defect}"
    assert dataset.train.paths[12] == "train/good/012.png"
    assert "test/blob/003.png" in dataset.test.paths


def test_no_two_images_are_equal(dataset):
    images = np.concatenate([dataset.train.images, dataset.test.images])
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_second_call_gives_the_same_bytes(dataset):
    kind = dataset.name.removeprefix("textures:")
    again = make_textures(kind, size=(SIZE, SIZE))
    assert again.name == dataset.name
    for split, other in ((dataset.train, again.train), (dataset.test, again.test)):
        assert split.paths == other.paths
        assert split.hashes == other.hashes
        np.testing.assert_array_equal(split.images, other.images)
        np.testing.assert_array_equal(split.masks, other.masks)


def test_hashes_are_those_of_the_pixels(dataset):
    for split in (dataset.train, dataset.test):
        assert split.hashes == tuple(
            hashlib.sha256(image.tobytes()).hexdigest() for image in split.images
        )


def test_a_rectangle_shows_the_stretched_square(dataset):
    size = (24, SIZE)
    stretched = make_textures(dataset.name.removeprefix("textures:"), size=size)
    for square, split in ((dataset.train, stretched.train), (dataset.test, stretched.test)):
        assert split.original_sizes == square.original_sizes
        assert split.hashes == tuple(
            hashlib.sha256(image.tobytes()).hexdigest() for image in split.images
        )
        for i in range(len(split)):
            image = preprocess(Image.fromarray(square.images[i]), size=size, aspect="stretch")
            np.testing.assert_array_equal(split.images[i], image)
            mask = preprocess_mask(square.masks[i], size=size, aspect="stretch")
            np.testing.assert_array_equal(split.masks[i], mask)


@pytest.mark.parametrize("kind", TEXTURES)
@pytest.mark.parametrize("part", ["train", "test"])
def test_twice_the_side_shows_the_same_scene(kind, part):
    draw = TEXTURES[kind][part]
    small = np.stack([draw(np.random.default_rng(seed), 64) for seed in range(8)])
    large = np.stack([draw(np.random.default_rng(seed), 128) for seed in range(8)])
    halved = large.reshape(8, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    same = np.abs(halved - small).mean(axis=(1, 2, 3))
    others = np.abs(halved - np.roll(small, 1, axis=0)).mean(axis=(1, 2, 3))
    assert same.max() < others.min() / 3


@pytest.mark.parametrize("kind", TEXTURES)
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_stands_out_from_the_noise(kind, defect):
    for seed in range(12):
        scene_rng, defect_rng = np.random.default_rng(seed).spawn(2)
        scene = TEXTURES[kind]["test"](scene_rng, 64)
        damaged, mask = DEFECTS[defect](defect_rng, scene)
        assert np.abs(damaged - scene)[mask].mean() > NOISE


def test_brick_trains_on_the_left_half_and_tests_on_the_right(monkeypatch):
    halves = np.zeros((512, 512), np.uint8)
    halves[:, 256:] = 200
    monkeypatch.setattr(textures, "brick_wall", lambda: halves)
    dataset = make_textures("brick", size=(SIZE, SIZE))
    assert dataset.train.images[:].max() < 30  # Noise alone.
    assert dataset.test.images[dataset.test.labels == 0].min() > 100


def test_an_unknown_kind_is_the_users_mistake():
    with pytest.raises(
        InputError, match=r"--data textures:wool.*textures:weave.*textures:brick"
    ) as error:
        make_textures("wool", size=(SIZE, SIZE))
    assert "\n" not in str(error.value)
