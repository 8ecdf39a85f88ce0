"""Pictures hold the pixels that they promise, each where it is looked for."""

import re
from typing import Any

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


def test_an_outline_leaves_the_region_and_what_is_far_from_it() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    mask = np.zeros((40, 50), bool)
    mask[10:20, 15:30] = mask[0:3, 45:50] = mask[35, 2] = True
    drawn = pictures.outlined(image, mask, width=2)
    near = np.zeros_like(mask)
    near[7:23, 12:33] = near[0:6, 42:50] = near[32:39, 0:6] = True
    np.testing.assert_array_equal(drawn[mask | ~near], image[mask | ~near])
    line = (drawn == pictures.REGION).all(axis=-1)
    assert line[8:10, 13:32].all()
    assert line[10:20, 13:15].all()
    assert line[3:5, 45:50].all()
    assert (drawn[near & ~mask & ~line] == 0).all()
    np.testing.assert_array_equal(pictures.outlined(image, np.zeros_like(mask)), image)


@pytest.mark.parametrize(("mark", "column"), [(0.0, 2), (0.5, 50), (1.0, 98), (7.0, 98)])
def test_the_threshold_is_marked_on_the_colour_scale(mark: float, column: int) -> None:
    bar, plain = (pictures.colour_scale(101, 5, mark=mark) for mark in (mark, None))
    marked = (bar == pictures.REGION).all(axis=(0, 2))
    assert np.flatnonzero(marked).tolist() == [column - 1, column, column + 1]
    far = np.abs(np.arange(101) - column) > 2
    np.testing.assert_array_equal(bar[:, far], plain[:, far])


def sheet_of(image: np.ndarray, heat: np.ndarray, **options: Any) -> np.ndarray:
    values: dict[str, Any] = {
        "vmax": 2.0,
        "threshold": 0.9,
        "caption": "anomalous: l2 3 > 2",
        **options,
    }
    return np.asarray(pictures.result_sheet(image, heat, **values))


def test_a_sheet_has_the_image_its_regions_and_its_map() -> None:
    height, width = 250, 300
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    heat = rng.random((height, width), np.float32) ** 8
    sheet, gap = sheet_of(image, heat), pictures.GAP
    panels = [
        sheet[gap : gap + height, gap + column * (width + gap) :][:, :width] for column in range(3)
    ]
    np.testing.assert_array_equal(panels[0], image)
    np.testing.assert_array_equal(panels[1], pictures.outlined(image, heat > 0.9))
    np.testing.assert_array_equal(panels[2], pictures.overlay(image, heat, vmax=2.0))
    unknown = sheet_of(image, heat, threshold=None)
    np.testing.assert_array_equal(unknown[gap : gap + height, 2 * gap + width :][:, :width], image)


def test_other_scores_and_thresholds_have_other_texts() -> None:
    image, heat = np.zeros((300, 300, 3), np.uint8), np.zeros((300, 300), np.float32)
    sheets = [
        sheet_of(image, heat, **changes)
        for changes in ({}, {"vmax": 3.0}, {"threshold": 0.5}, {"caption": "normal: l2 1 <= 2"})
    ]
    assert len({sheet[300 + pictures.GAP :].tobytes() for sheet in sheets}) == len(sheets)
    long = sheet_of(image, heat, caption="unusable, " * 40)
    assert long.shape[0] > sheets[0].shape[0]
    assert long.shape[1] == sheets[0].shape[1]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3000, 2), (900, 1200), (57, 31)])
def test_a_sheet_of_any_image_is_neither_tiny_nor_huge(size: tuple[int, int]) -> None:
    image, heat = np.full((*size, 3), 200, np.uint8), np.zeros(size, np.float32)
    heat[0, 0] = 1.0
    sheet = sheet_of(image, heat)
    least, most = pictures.PANEL_SIDE
    assert 3 * least < sheet.shape[1] < 3 * most + 50
    assert sheet.shape[0] < most + 100
    middle = sheet[:, sheet.shape[1] // 3 : 2 * sheet.shape[1] // 3]
    # A single pixel is outlined in a reduced picture too, but not a region that is the whole image.
    assert (middle == pictures.REGION).all(axis=-1).any() == (max(size) > 1)
