"""Layouts with a folder for each class."""

import shutil
from pathlib import Path

from tests.support.layout_trees import mvtec, mvtec_ad_2, write_image
from tests.support.loading import assert_refused, load


def test_stray_image_or_validation_folder_keeps_the_layout_of_mvtec(
    tmp_path: Path,
) -> None:
    tree = mvtec(tmp_path)
    write_image(tmp_path / "overview.png")
    write_image(tmp_path / "validation/good/000.png")
    assert list(load(tmp_path).train.paths) == sorted(tree.train)


def test_masks_are_not_taken_for_a_class_of_images(tmp_path: Path) -> None:
    mvtec_ad_2(tmp_path)
    shutil.rmtree(tmp_path / "test_public/bad")
    assert_refused(tmp_path, "000_overexposed_mask.png", "no image of that name in test_public/bad")
    shutil.rmtree(tmp_path / "test_public/ground_truth")
    assert set(load(tmp_path).test.defects) == {"good"}
