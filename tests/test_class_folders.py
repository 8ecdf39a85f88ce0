"""Layouts with a folder for each class."""

import shutil
from pathlib import Path

import pytest

from i3ad_jax.data.layouts import LAYOUTS, find_layout
from i3ad_jax.data.load import DataSettings
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.errors import InputError
from tests.support.layout_trees import (
    box,
    btad,
    mvtec,
    mvtec_ad_2,
    mvtec_loco,
    write_image,
    write_mask,
)
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


@pytest.mark.parametrize("train", ["train/OK", "train/Good", "train/normal", "Train/Good"])
@pytest.mark.parametrize(
    ("test", "masks"),
    [
        ("test", "ground_truth"),
        ("Test", "Ground_Truth"),
        ("testing", "groundtruth"),
        ("TEST", "masks"),
    ],
)
def test_fixed_folders_are_found_by_other_names(
    tmp_path: Path, train: str, test: str, masks: str
) -> None:
    for i in range(3):
        write_image(tmp_path / train / f"{i}.png")
    for path in ("Good/1.png", "pass/2.png", "Hole/3.png"):
        write_image(tmp_path / test / path)
    write_mask(tmp_path / masks / "hole/3_mask.png", box(1))
    write_mask(tmp_path / masks / "OK/1.png", box(1) * 0)
    write_image(tmp_path / test / "OK/1.png")
    assert find_layout(tmp_path) is LAYOUTS["mvtec"]
    data = load(tmp_path)
    assert data.train.paths == tuple(f"{train}/{i}.png" for i in range(3))
    assert dict(zip(data.test.paths, data.test.defects, strict=True)) == {
        f"{test}/Good/1.png": "good",
        f"{test}/Hole/3.png": "Hole",
        f"{test}/OK/1.png": "good",
        f"{test}/pass/2.png": "good",
    }
    assert data.test.masks[1].any()
    assert data.test.annotated.all()


def test_a_training_folder_of_a_name_that_the_user_gives(tmp_path: Path) -> None:
    for path in ("train/gut/1.png", "train/gut/2.png", "test/gut/3.png", "test/ok/4.png"):
        write_image(tmp_path / path)
    settings = DataSettings(str(tmp_path), reading=ReadingSettings(normal_class=("gut",)))
    data = settings.load(size=(12, 16))
    assert data.train.paths == ("train/gut/1.png", "train/gut/2.png")
    assert set(data.test.defects) == {"good"}


def test_two_folders_that_could_each_be_meant_are_refused(tmp_path: Path) -> None:
    for path in ("Train/good/1.png", "TRAIN/good/2.png"):
        write_image(tmp_path / path)
    if len([*tmp_path.iterdir()]) == 1:
        pytest.skip("names of this file system have no case")
    assert_refused(tmp_path, f"{tmp_path}: TRAIN and Train could each be train")


def test_test_images_alone_are_found(tmp_path: Path) -> None:
    tree = mvtec(tmp_path)
    shutil.rmtree(tmp_path / "train")
    settings = DataSettings(str(tmp_path))
    assert settings.load(size=(12, 16)).test.paths == tuple(sorted(tree.test))
    with pytest.raises(InputError, match=r"train/good: no images; put the normal images to learn"):
        _ = settings.load(size=(12, 16)).train


def test_what_published_data_sets_have_beside_their_images_is_ignored(tmp_path: Path) -> None:
    """Licences, tables, numbers of defects and images whose truth is not published."""
    for name, make in (("mvtec", mvtec), ("mvtec_loco", mvtec_loco), ("mvtec_ad_2", mvtec_ad_2)):
        tree = make(tmp_path / name)
        for file in ("license.txt", "readme.txt", "defects_config.json", "image_anno.csv"):
            (tree.base / file).write_text("x")
        (tree.base / "test").mkdir(exist_ok=True)
        (tree.base / "test/Thumbs.db").write_bytes(b"x")
        assert list(load(tree.source).test.paths) == sorted(tree.test)


def test_btad_has_images_and_masks_of_several_formats(tmp_path: Path) -> None:
    """Products 01 and 03 are BMP, 02 PNG; masks of 03 are BMP, the others PNG."""
    btad(tmp_path)
    for image, mask in (("test/ko/7.png", "7.png"), ("test/ko/8.bmp", "8.bmp")):
        write_image(tmp_path / "01" / image)
        write_mask(tmp_path / "01/ground_truth/ko" / mask, box(2, 1))
    test = load(tmp_path / "01").test
    assert test.annotated.all()
    assert (test.masks[:].any(axis=(1, 2)) == (test.labels == 1)).all()


def test_visa_after_its_conversion_is_a_plain_folder_of_classes(tmp_path: Path) -> None:
    for path in ("train/good/0.JPG", "train/good/1.JPG", "test/good/2.JPG", "test/bad/3.JPG"):
        write_image(tmp_path / path)
    write_mask(tmp_path / "ground_truth/bad/3.png", box(1, 255))
    data = load(tmp_path)
    assert find_layout(tmp_path) is LAYOUTS["mvtec"]
    assert data.test.masks[0].any()


def test_a_folder_named_masks_without_the_classes_is_not_read(tmp_path: Path) -> None:
    """It may serve anything else, and was ignored before other names were read."""
    tree = mvtec(tmp_path)
    shutil.rmtree(tmp_path / "ground_truth")
    write_mask(tmp_path / "masks/more/9.png", box(1))
    data = load(tmp_path)
    assert list(data.test.paths) == sorted(tree.test)
    assert data.test.annotated.sum() == 1
