"""Splits of images."""

import hashlib

import numpy as np
import pytest

from i3ad_jax.data.dataset import Split
from i3ad_jax.errors import InputError


def test_arrays_make_a_split_of_normal_images():
    images = np.random.default_rng(0).integers(0, 256, (11, 3, 4, 3)).astype(np.uint8)
    split = Split.of_normal_images(images)
    np.testing.assert_array_equal(split.images, images)
    assert split.paths == tuple(str(i) for i in range(11))
    assert set(split.defects) == {"good"}
    assert split.original_sizes == ((3, 4),) * 11
    assert split.masks.shape == (11, 3, 4)
    assert not split.masks[:].any()
    assert split.annotated.all()
    assert split.hashes == tuple(hashlib.sha256(image.tobytes()).hexdigest() for image in images)
    strided = Split.of_normal_images(np.asfortranarray(images))
    assert strided.hashes == split.hashes


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((2, 4, 4), np.uint8),
        np.zeros((2, 4, 4, 1), np.uint8),
        [[0]],
    ],
)
def test_arrays_of_another_type_or_shape_are_refused(images):
    with pytest.raises(InputError, match=r"^images: must .*, not "):
        Split.of_normal_images(images)
