"""Images in every form that users hold them in give the same pixels."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from i3ad_jax import InputError
from i3ad_jax.data.inputs import as_split, readable_again

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), np.uint8)


def read(images: Any) -> np.ndarray:
    return as_split(images, size=(20, 24), aspect="stretch").images[:]


def encoded(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


class Wrapped:
    """An array of another library."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        list(PIXELS),
        (image for image in PIXELS),
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        (PIXELS / 255).astype(np.float16),
        PIXELS.astype(np.uint16) * 257,
        jnp.asarray(PIXELS),
        list(jnp.asarray(PIXELS)),
        Wrapped(PIXELS),
        [Wrapped(image) for image in PIXELS],
        [Image.fromarray(image) for image in PIXELS],
        [encoded(image) for image in PIXELS],
        [io.BytesIO(encoded(image)) for image in PIXELS],
        np.concatenate([PIXELS, np.zeros((3, 20, 24, 1), np.uint8)], axis=-1),
    ],
    ids=lambda images: type(images).__name__,
)
def test_every_form_gives_the_same_pixels(images: Any) -> None:
    np.testing.assert_array_equal(read(images), PIXELS)


def test_a_single_image_is_one_image(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(encoded(PIXELS[0]))
    with file.open("rb") as opened:
        for image in (
            PIXELS[0],
            Wrapped(PIXELS[0]),
            Image.fromarray(PIXELS[0]),
            file,
            str(file),
            opened,
        ):
            np.testing.assert_array_equal(read(image), PIXELS[:1])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(encoded(PIXELS[0]))
    with file.open("rb") as closed:
        pass
    with pytest.raises(InputError, match=r"^image 1: cannot be read .*closed file"):
        read([PIXELS[0], closed])


@pytest.mark.parametrize(
    "images",
    [
        lambda: iter(PIXELS),
        lambda: [io.BytesIO(encoded(image)) for image in PIXELS],
        lambda: (io.BytesIO(encoded(image)) for image in PIXELS),
        lambda: PIXELS,
    ],
)
def test_images_can_be_read_again(images: Callable[[], Any]) -> None:
    again = readable_again(images())
    for _ in range(2):
        np.testing.assert_array_equal(read(again), PIXELS)


def test_a_single_open_file_can_be_read_again() -> None:
    again = readable_again(io.BytesIO(encoded(PIXELS[0])))
    for _ in range(2):
        np.testing.assert_array_equal(read(again), PIXELS[:1])


@pytest.mark.parametrize(
    "grey",
    [PIXELS[0, ..., 0], PIXELS[0, ..., :1], [PIXELS[0, ..., 0] / 255], PIXELS[:1, ..., :1]],
    ids=["h w", "h w 1", "floats", "n h w 1"],
)
def test_grey_images_have_three_equal_channels(grey: Any) -> None:
    np.testing.assert_array_equal(read(grey), np.repeat(PIXELS[:1, ..., :1], 3, axis=-1))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (PIXELS.astype(np.int64), "image 0: int64 values; give uint8, uint16 or floats in"),
        (PIXELS.astype(float), "image 0: float64 values outside .0, 1.; scale them, or give uint8"),
        (np.full((4, 4), np.nan), "image 0: float64 values outside .0, 1."),
        (-(PIXELS / 255), "image 0: float64 values outside .0, 1."),
        (np.zeros((4, 4, 2), np.uint8), r"image 0: shape \(4, 4, 2\); give h w, h w 1"),
        (np.zeros((1, 2, 3, 4, 5), np.uint8), r"image 0: shape \(1, 2, 3, 4, 5\)"),
        (np.zeros((0, 4), np.uint8), r"image 0: shape \(0, 4\)"),
        (3, "images: int given; give a path, a file's content or an open file"),
        ([None], "image 0: NoneType given; give a path"),
        ([PIXELS[0], {}], "image 1: dict given; give a path"),
        (io.StringIO("text"), "image 0: the file is open as text; open it in binary mode"),
        ([], "no images given"),
    ],
)
def test_what_cannot_be_an_image_is_refused_with_what_can(images: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(images)
