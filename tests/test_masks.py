"""Masks of every coding."""

import io
from itertools import product

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.decoder import decode
from i3ad_jax.data.masks import MaskValues, marked, read_mask
from i3ad_jax.errors import InputError

DEFECT = np.zeros((24, 32), bool)
DEFECT[5:12, 8:20] = True
HALF = DEFECT.copy()
HALF[:, 14:] = False


def mask_file(pixels: np.ndarray, kind: str = "PNG", **options: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def read(pixels: np.ndarray, values: MaskValues = "auto", kind: str = "PNG") -> np.ndarray:
    return read_mask(mask_file(pixels, kind), name="x", values=values)


@pytest.mark.parametrize(
    ("background", "defect"), [*product([0], [1, 2, 85, 127, 128, 254, 255]), (127, 128), (85, 170)]
)
def test_of_two_numbers_the_larger_is_a_defect(background: int, defect: int) -> None:
    pixels = np.where(DEFECT, defect, background).astype(np.uint8)
    np.testing.assert_array_equal(read(pixels), DEFECT)
    np.testing.assert_array_equal(read(pixels.astype(np.uint16)), DEFECT)
    np.testing.assert_array_equal(read(pixels, kind="TIFF"), DEFECT)


def test_of_more_numbers_every_one_is_a_defect_that_is_not_0() -> None:
    pixels = np.where(HALF, 85, np.where(DEFECT, 170, 0)).astype(np.uint8)
    np.testing.assert_array_equal(read(pixels), DEFECT)
    np.testing.assert_array_equal(read(np.stack([pixels] * 3, -1)), DEFECT)


def test_colours_of_classes_are_defects() -> None:
    colours = np.where(HALF[..., None], (0, 128, 0), np.where(DEFECT[..., None], (90, 0, 0), 0))
    np.testing.assert_array_equal(read(colours.astype(np.uint8)), DEFECT)


def test_class_numbers_are_defects_though_there_are_two() -> None:
    pixels = np.where(DEFECT, 3, 7).astype(np.uint8)
    assert read(pixels, "nonzero").all()
    np.testing.assert_array_equal(read(np.where(DEFECT, 3, 0).astype(np.uint8), "nonzero"), DEFECT)


def test_a_soft_mask_is_cut_at_half_of_its_range() -> None:
    pixels = np.where(HALF, 120, np.where(DEFECT, 135, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read(pixels, "soft"), DEFECT & ~HALF)
    deep = pixels.astype(np.uint16) * 257
    np.testing.assert_array_equal(read(deep, "soft"), DEFECT & ~HALF)


@pytest.mark.parametrize(("quality", "kind"), [(95, "JPEG"), (60, "JPEG"), (80, "WEBP")])
def test_a_lossy_mask_is_cut_at_the_middle(quality: int, kind: str) -> None:
    file = mask_file(np.where(DEFECT, 255, 0).astype(np.uint8), kind, quality=quality)
    values = np.asarray(Image.open(io.BytesIO(file)))
    assert len(np.unique(values)) > 2  # compression has changed numbers
    assert decode(file).lossy
    np.testing.assert_array_equal(read_mask(file, name="x"), DEFECT)


def test_a_lossless_webp_mask_is_not_cut() -> None:
    file = mask_file(
        np.where(HALF, 9, np.where(DEFECT, 200, 0)).astype(np.uint8), "WEBP", lossless=1
    )
    assert not decode(file).lossy
    np.testing.assert_array_equal(read_mask(file, name="x"), DEFECT)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_inverted_masks_have_dark_defects(dtype: type) -> None:
    white = 1 if dtype is bool else np.iinfo(dtype).max
    pixels = np.where(DEFECT, 0, white).astype(dtype)
    np.testing.assert_array_equal(read(pixels, "inverted"), DEFECT)
    assert not read(np.full_like(pixels, white), "inverted").any()
    np.testing.assert_array_equal(read(np.where(DEFECT, 0, 1).astype(np.uint8), "inverted"), DEFECT)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 0, 0), (255, 255, 255)])
def test_a_defect_may_be_what_is_not_transparent(colour: tuple[int, int, int]) -> None:
    pixels = np.empty((*DEFECT.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, np.where(DEFECT, 255, 0)
    np.testing.assert_array_equal(read(pixels), DEFECT)
    pixels[..., :3] = np.where(DEFECT[..., None], colour, (255, 255, 255))
    np.testing.assert_array_equal(read(pixels), DEFECT)


def test_grey_with_alpha_is_a_mask_too() -> None:
    pixels = np.stack([np.zeros_like(DEFECT), DEFECT], -1).astype(np.uint8) * 255
    np.testing.assert_array_equal(read(pixels), DEFECT)


def test_an_alpha_channel_that_is_the_same_everywhere_does_not_count() -> None:
    for alpha in (0, 255):
        pixels = np.full((*DEFECT.shape, 4), alpha, np.uint8)
        pixels[..., :3] = np.where(DEFECT[..., None], 255, 0)
        np.testing.assert_array_equal(read(pixels), DEFECT)


@pytest.mark.parametrize("values", ["auto", "nonzero", "soft"])
@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16])
def test_an_empty_mask_is_empty(dtype: type, values: MaskValues) -> None:
    assert not read(np.zeros((3, 4), dtype), values).any()
    assert read(np.full((3, 4), np.iinfo(np.uint8).max, np.uint8), values).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("background", "defect"),
    [
        ((255, 255, 255), (255, 0, 0)),
        ((255, 0, 0), (255, 255, 255)),
        ((0, 0, 255), (255, 255, 0)),
    ],
)
def test_colours_of_which_none_is_brighter_are_refused(
    background: tuple[int, ...], defect: tuple[int, ...], kind: str
) -> None:
    large = np.kron(DEFECT, np.ones((4, 4), bool))
    pixels = np.where(large[..., None], defect, background).astype(np.uint8)
    with pytest.raises(InputError, match="x: its colours have equal largest channels"):
        read(pixels, kind=kind)


def test_nearly_white_and_bright_colours_on_darker_ones_are_read() -> None:
    rng = np.random.default_rng(0)
    white = rng.integers(250, 256, (*DEFECT.shape, 3)).astype(np.uint8)
    assert read(white, "soft", kind="JPEG").all()
    pixels = np.where(DEFECT[..., None], (0, 255, 0), (128, 0, 0)).astype(np.uint8)
    np.testing.assert_array_equal(read(pixels), DEFECT)


def test_marked_is_what_read_mask_gives() -> None:
    file = mask_file(np.where(DEFECT, 2, 0).astype(np.uint8))
    np.testing.assert_array_equal(marked(decode(file), name="x", values="auto"), DEFECT)
