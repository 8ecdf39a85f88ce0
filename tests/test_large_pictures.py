"""Originals of test images: from files, in their own size, only if they are those tested."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.dataset import Split
from i3ad_jax.data.images import Aspect
from i3ad_jax.data.load import DataSettings
from i3ad_jax.report.large_pictures import SIDE, LargePictures

SIZE = (48, 32)  # height and width of the original


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set with one defective image, a bright dot at row 30, column 20."""
    for name in ("train/good", "test/good", "test/dot", "ground_truth/dot"):
        (tmp_path / name).mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 99, (*SIZE, 3), np.uint8)
    for name in ("train/good/0", "train/good/1", "test/good/0"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    mask = np.zeros(SIZE, np.uint8)
    mask[28:33, 18:23] = 255
    Image.fromarray(mask).save(tmp_path / "ground_truth/dot/0_mask.png")
    pixels[mask > 0] = 255
    Image.fromarray(pixels).save(tmp_path / "test/dot/0.png")
    return tmp_path


def loaded(folder: Path, aspect: Aspect = "stretch") -> tuple[LargePictures, Split]:
    data = DataSettings(str(folder), aspect=aspect)
    test = data.load(size=(24, 24)).test
    return LargePictures(data, test), test


def test_an_original_has_the_pixels_of_its_file_and_its_mask(folder: Path) -> None:
    pictures, test = loaded(folder)
    shown = pictures.read(test.paths.index("test/dot/0.png"))
    np.testing.assert_array_equal(shown.image, np.asarray(Image.open(folder / "test/dot/0.png")))
    mask = np.asarray(Image.open(folder / "ground_truth/dot/0_mask.png")) > 0
    np.testing.assert_array_equal(shown.truth, mask)
    assert shown.is_original
    assert shown.original_size == SIZE
    assert pictures.read(test.paths.index("test/good/0.png")).truth is None


@pytest.mark.parametrize("aspect", ["stretch", "pad", "crop"])
def test_the_frame_puts_the_working_size_over_the_original(folder: Path, aspect: Aspect) -> None:
    pictures, test = loaded(folder, aspect)
    index = test.paths.index("test/dot/0.png")
    left, top, width, height = pictures.read(index).frame
    rows, columns = np.nonzero(test.images[index][..., 0] > 180)
    assert left + (columns.mean() + 0.5) * width / 24 == pytest.approx(20.5, abs=1.0)
    assert top + (rows.mean() + 0.5) * height / 24 == pytest.approx(30.5, abs=1.0)
    covers_all = left <= 0 and top <= 0 and left + width >= 32 and top + height >= 48
    assert covers_all == (aspect != "crop")


@pytest.mark.parametrize("change", ["removed", "another", "damaged", "folder removed"])
def test_a_file_that_is_not_the_one_tested_leaves_the_working_size(
    folder: Path, change: str
) -> None:
    pictures, test = loaded(folder)
    index, file = test.paths.index("test/dot/0.png"), folder / "test/dot/0.png"
    match change:
        case "removed":
            file.unlink()
            (folder / "ground_truth/dot/0_mask.png").unlink()
        case "another":
            Image.new("RGB", (32, 48)).save(file)
        case "damaged":
            file.write_bytes(file.read_bytes()[:50])
        case _:
            folder.rename(folder.with_name("elsewhere"))
    shown = pictures.read(index)
    np.testing.assert_array_equal(shown.image, test.images[index])
    np.testing.assert_array_equal(shown.truth, test.masks[index])
    assert shown.frame == (0, 0, 24, 24)
    assert (shown.original_size, shown.is_original) == (SIZE, False)


def test_a_large_original_is_reduced(folder: Path) -> None:
    large = Image.open(folder / "test/good/0.png").resize((3 * SIDE, 2 * SIDE))
    large.save(folder / "test/good/0.png")
    pictures, test = loaded(folder)
    index = test.paths.index("test/good/0.png")
    shown = pictures.read(index)
    assert shown.image.shape[1] == SIDE
    assert shown.image.shape[0] == pytest.approx(SIDE * 2 / 3, abs=1)
    assert shown.original_size == (2 * SIDE, 3 * SIDE)
    assert shown.is_original


def test_images_that_never_were_files_are_their_own_originals() -> None:
    data = DataSettings("textures:weave")
    test = data.load(size=(64, 64)).test
    shown = LargePictures(data, test).read(0)
    np.testing.assert_array_equal(shown.image, test.images[0])
    assert shown.is_original
