"""The layouts of KolektorSDD and KolektorSDD2."""

import shutil
from pathlib import Path

import pytest

from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from tests.support.layout_trees import (
    HEIGHT,
    NO_DEFECT,
    TREES,
    WIDTH,
    box,
    kolektor_sdd,
    kolektor_sdd2,
    write_image,
    write_mask,
)
from tests.support.loading import assert_refused, load


def test_no_item_has_normal_surfaces_in_both_splits(tmp_path: Path) -> None:
    for item in range(10):
        for part in range(4):
            write_image(tmp_path / f"kos{item:02d}/Part{part}.jpg")
            write_mask(
                tmp_path / f"kos{item:02d}/Part{part}_label.bmp", NO_DEFECT if part else box(item)
            )
    data = load(tmp_path)
    normal = [
        path for path, label in zip(data.test.paths, data.test.labels, strict=True) if not label
    ]
    trained, tested = ({path[:5] for path in paths} for paths in (data.train.paths, normal))
    assert (len(data.train), len(normal), data.test.labels.sum()) == (24, 6, 10)
    assert trained == {f"kos{item:02d}" for item in range(8)}
    assert tested == {"kos08", "kos09"}


def test_a_single_item_is_trained_on(tmp_path: Path) -> None:
    tree = kolektor_sdd(tmp_path)
    for item in range(2, 6):
        shutil.rmtree(tmp_path / f"kos{item:02d}")
    data = load(tmp_path)
    assert list(data.train.paths) == [path for path in tree.train if path.startswith("kos01")]
    assert data.test.paths == ("kos01/Part1.jpg",)


@pytest.mark.parametrize(
    ("name", "image", "mask"),
    [
        ("kolektor_sdd", "kos02/Part1.jpg", "kos02/Part1_label.bmp"),
        ("kolektor_sdd2", "train/10000.png", "train/10000_GT.png"),
        ("kolektor_sdd2", "test/20001.png", "test/20001_GT.png"),
    ],
)
def test_an_image_without_its_mask_or_the_reverse_is_refused(
    tmp_path: Path, name: str, image: str, mask: str
) -> None:
    TREES[name](tmp_path / "a")
    (tmp_path / "a" / mask).unlink()
    assert_refused(
        tmp_path / "a", f"{tmp_path / 'a' / image}: its mask is missing", Path(mask).stem
    )
    TREES[name](tmp_path / "b")
    (tmp_path / "b" / image).unlink()
    assert_refused(tmp_path / "b", f"{tmp_path / 'b' / mask}: no image")


def test_faint_marks_make_an_image_defective(tmp_path: Path) -> None:
    kolektor_sdd2(tmp_path)
    write_mask(tmp_path / "train/10000_GT.png", box(0, 1))
    assert load(tmp_path).train.paths == ("train/10002.png",)


@pytest.mark.parametrize(
    ("copies", "note"),
    [
        (
            {"train/10000 (copy).png": "10000.png", "train/10000_GT (copy).png": "10000_GT.png"},
            "not used: 4 images in train",
        ),
        ({"test/20001 - Copy.png": "20001.png"}, "not used: 1 image in test, 2 images in train"),
    ],
)
def test_copies_beside_their_originals_are_left_out(
    tmp_path: Path, copies: dict[str, str], note: str
) -> None:
    """The published archive has two; a defective image of train and its mask are not used too."""
    tree = kolektor_sdd2(tmp_path)
    expected = load(tmp_path)
    for path, original in copies.items():
        shutil.copy((tmp_path / path).parent / original, tmp_path / path)
    data = load(tmp_path)
    assert list(data.train.paths) == sorted(tree.train)
    assert data.digest == expected.digest
    assert data.notes == (note,)


def test_test_images_alone_can_be_read(tmp_path: Path) -> None:
    kolektor_sdd2(tmp_path)
    expected = load(tmp_path).digest
    shutil.rmtree(tmp_path / "train")
    data = load_dataset(
        str(tmp_path), size=(HEIGHT, WIDTH), aspect="stretch", layout="kolektor_sdd2"
    )
    assert data.digest == expected
    with pytest.raises(InputError, match="no image to train on has a mask that is 0 everywhere"):
        _ = data.train


def test_a_copy_without_its_original_is_an_image(tmp_path: Path) -> None:
    kolektor_sdd2(tmp_path)
    write_image(tmp_path / "train/10009 (copy).png")
    assert_refused(tmp_path, "10009 (copy).png: its mask is missing")


def test_names_with_spaces_are_read(tmp_path: Path) -> None:
    tree = kolektor_sdd(tmp_path)
    for ending in (".jpg", "_label.bmp"):
        (tmp_path / f"kos01/Part0{ending}").rename(tmp_path / f"kos01/Part 0{ending}")
    assert list(load(tmp_path).train.paths) == sorted(
        path.replace("kos01/Part0", "kos01/Part 0") for path in tree.train
    )
