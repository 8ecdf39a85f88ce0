"""The layout of MVTec LOCO AD."""

from pathlib import Path

from tests.support.layout_trees import box, mvtec_loco, write_image, write_mask
from tests.support.loading import assert_refused


def test_a_mask_outside_the_folder_of_its_image_is_refused(tmp_path: Path) -> None:
    mvtec_loco(tmp_path)
    mask = tmp_path / "ground_truth/logical_anomalies/000_mask.png"
    write_mask(mask, box(1))
    assert_refused(tmp_path, f"{mask}: ", "--layout mvtec")


def test_masks_without_an_image_are_refused(tmp_path: Path) -> None:
    mvtec_loco(tmp_path)
    write_mask(tmp_path / "ground_truth/logical_anomalies/007/000.png", box(1))
    assert_refused(tmp_path, tmp_path / "ground_truth/logical_anomalies/007", "no image")


def test_an_empty_folder_of_masks_is_refused(tmp_path: Path) -> None:
    mvtec_loco(tmp_path)
    folder = tmp_path / "ground_truth/structural_anomalies/001"
    folder.mkdir()
    assert_refused(tmp_path, f"{folder}: no masks")


def test_two_images_that_would_share_their_masks_are_refused(tmp_path: Path) -> None:
    mvtec_loco(tmp_path)
    write_image(tmp_path / "test/logical_anomalies/000.jpg")
    assert_refused(tmp_path, "000.jpg", "000.png", "rename")
