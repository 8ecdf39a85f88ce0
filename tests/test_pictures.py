"""Pictures hold the pixels that they promise, each where it is looked for."""

import re

import numpy as np
import pytest

from i3ad_jax import pictures


@pytest.mark.parametrize("states", [1, 5, 31, 200])
def test_each_state_lies_where_the_page_looks_for_it(states):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (states, 256, 8, 3), np.uint8)
    sheet = np.asarray(pictures.sprite_sheet(images))
    columns, rows = pictures.sprite_grid(states, 256)
    assert sheet.shape == (rows * 256, columns * 8, 3)
    assert sheet.shape[0] <= 8192
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        np.testing.assert_array_equal(sheet[row * 256 :, column * 8 :][:256, :8], image)


def test_outline_fills_to_the_mask_it_came_from():
    mask = np.random.default_rng(0).random((9, 12)) < 0.4
    crossed = np.zeros((9, 12), int)
    for x, y, length in re.findall(r"M(\d+) (\d+)v(\d+)", pictures.outline(mask)):
        crossed[int(y) : int(y) + int(length), int(x) :] += 1
    np.testing.assert_array_equal(crossed % 2 == 1, mask)
    down = np.zeros((9, 12), int)
    for x, y, length in re.findall(r"M(\d+) (\d+)h(\d+)", pictures.outline(mask)):
        down[int(y) :, int(x) : int(x) + int(length)] += 1
    np.testing.assert_array_equal(down % 2 == 1, mask)


def test_overlay_depends_on_the_map_relative_to_vmax_and_saturates():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (5, 6, 3), np.uint8)
    heat = rng.random((5, 6), np.float32)
    picture = pictures.overlay(image, heat, vmax=1.0)
    np.testing.assert_array_equal(pictures.overlay(image, heat * 4, vmax=4.0), picture)
    hottest = pictures.overlay(image, np.ones_like(heat), vmax=1.0)
    np.testing.assert_array_equal(
        pictures.overlay(image, np.full_like(heat, 9.0), vmax=1.0), hottest
    )
    assert not np.array_equal(picture, hottest)


def test_overlay_of_an_all_zero_map_shows_no_heat():
    image = np.full((2, 2, 3), 100, np.uint8)
    nothing = np.zeros((2, 2), np.float32)
    np.testing.assert_array_equal(
        pictures.overlay(image, nothing, vmax=0.0), pictures.overlay(image, nothing, vmax=1.0)
    )


def test_contact_sheet_keeps_every_pixel_in_its_row_and_column():
    rows = list(np.random.default_rng(0).integers(0, 256, (3, 4, 5, 6, 3), np.uint8))
    sheet = np.asarray(pictures.contact_sheet(rows, gap=2))
    assert sheet.shape == (3 * 7, 4 * 8, 3)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            np.testing.assert_array_equal(sheet[row * 7 :, column * 8 :][:5, :6], image)
