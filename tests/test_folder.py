"""Folders in MVTec layout."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.folder import read_folder
from i3ad_jax.data.images import preprocess, preprocess_mask, read_image
from i3ad_jax.data.masks import read_mask
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.errors import InputError
from tests.conftest import unreadable
from tests.support.loading import read_all

SIZE = 32


def write_image(path: Path, *, seed: int, size: tuple[int, int] = (12, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path)


def write_mask(path: Path, *, seed: int, size: tuple[int, int] = (12, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 2, size).astype(np.uint8) * 255
    Image.fromarray(pixels).save(path)


def write_train(root: Path) -> None:
    for i in range(3):
        write_image(root / f"train/good/{i}.png", seed=i)


def read(root: Path):
    return read_all(
        read_folder(root, size=(8, 8), aspect="stretch", reading=ReadingSettings("mvtec"))
    )


def assert_refused(root: Path, file: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read(root)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def assert_same(a, b) -> None:
    for split_a, split_b in ((a.train, b.train), (a.test, b.test)):
        np.testing.assert_array_equal(split_a.images, split_b.images)
        np.testing.assert_array_equal(split_a.masks, split_b.masks)
        np.testing.assert_array_equal(split_a.annotated, split_b.annotated)
        assert (split_a.paths, split_a.defects) == (split_b.paths, split_b.defects)
        assert split_a.hashes == split_b.hashes
        assert split_a.original_sizes == split_b.original_sizes


def write_test(root: Path) -> None:
    write_image(root / "test/good/a.png", seed=10)
    for i in range(2):
        write_image(root / f"test/hole/{i}.png", seed=20 + i)
        write_mask(root / f"ground_truth/hole/{i}_mask.png", seed=30 + i)


@pytest.mark.parametrize("size", [(8, 8), (8, 12)])
def test_every_image_goes_through_the_one_pre_processing(tmp_path, size):
    write_train(tmp_path)
    write_image(tmp_path / "test/good/a.png", seed=3, size=(10, 20))
    write_image(tmp_path / "test/hole/b.png", seed=4, size=(20, 10))
    write_mask(tmp_path / "ground_truth/hole/b_mask.png", seed=5, size=(20, 10))
    data = read_folder(tmp_path, size=size, aspect="pad", reading=ReadingSettings("mvtec"))
    assert data.name == tmp_path.name
    assert data.train.images.dtype == np.uint8
    assert data.test.masks.dtype == bool
    for split in (data.train, data.test):
        for image, path in zip(split.images, split.paths, strict=True):
            expected = preprocess(read_image(tmp_path / path), size=size, aspect="pad")
            np.testing.assert_array_equal(image, expected)
    mask = read_mask(tmp_path / "ground_truth/hole/b_mask.png")
    assert data.test.paths == ("test/good/a.png", "test/hole/b.png")
    np.testing.assert_array_equal(
        data.test.masks[1], preprocess_mask(mask, size=size, aspect="pad")
    )
    assert not data.test.masks[0].any()
    assert data.train.original_sizes == ((12, 12),) * 3
    assert data.test.original_sizes == ((10, 20), (20, 10))


def test_every_format_is_read_and_everything_else_ignored(tmp_path):
    names = ["a.png", "b.PNG", "c.jpg", "d.JPEG", "e.bmp", "f.tif", "g.TIFF"]
    for i, name in enumerate(names):
        write_image(tmp_path / "train/good" / name, seed=i)
    for name in (".hidden.png", "README", "notes.txt", "Thumbs.db"):
        (tmp_path / "train/good" / name).write_text("not an image")
        (tmp_path / name).write_text("not an image")
    (tmp_path / "train/good/folder.png").mkdir()
    (tmp_path / "test/.hidden").mkdir(parents=True)
    (tmp_path / "test/.hidden/a.png").write_text("not an image")
    assert read(tmp_path).train.paths == tuple(f"train/good/{name}" for name in names)


def test_masks_belong_to_images_by_stem(tmp_path):
    write_train(tmp_path)
    for number in (1, 2, 10):
        write_image(tmp_path / f"test/hole/{number}.png", seed=number)
        write_mask(tmp_path / f"ground_truth/hole/{number}_mask.png", seed=number)
    data = read(tmp_path).test
    assert data.paths == ("test/hole/1.png", "test/hole/10.png", "test/hole/2.png")
    for mask, path in zip(data.masks, data.paths, strict=True):
        own = read_mask(tmp_path / f"ground_truth/hole/{Path(path).stem}_mask.png")
        np.testing.assert_array_equal(mask, preprocess_mask(own, size=(8, 8), aspect="stretch"))


@pytest.mark.parametrize("mask", ["a_mask.png", "a.png", "a_mask.BMP", "a.tif"])
def test_a_mask_may_have_its_own_suffix_and_format(tmp_path, mask):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    write_mask(tmp_path / "ground_truth/hole" / mask, seed=1)
    assert read(tmp_path).test.masks[:].any()


def test_images_without_masks_are_not_annotated(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/good/a.png", seed=0)
    write_image(tmp_path / "test/hole/a.png", seed=1)
    write_image(tmp_path / "test/hole/b.png", seed=2)
    write_mask(tmp_path / "ground_truth/hole/b.png", seed=2)
    data = read(tmp_path)
    assert data.test.annotated.tolist() == [True, False, True]
    assert data.test.labels.tolist() == [0, 1, 1]
    assert data.train.annotated.all()


def test_an_empty_mask_of_a_defective_image_is_an_annotation(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    (tmp_path / "ground_truth/hole").mkdir(parents=True)
    Image.new("L", (12, 12)).save(tmp_path / "ground_truth/hole/a_mask.png")
    data = read(tmp_path).test
    assert data.annotated.all()
    assert not data.masks[:].any()


def test_training_images_alone_are_enough(tmp_path):
    write_train(tmp_path)
    data = read(tmp_path)
    assert len(data.train) == 3
    assert len(data.test) == 0
    assert data.test.images.shape == (0, 8, 8, 3)
    assert data.test.masks.shape == (0, 8, 8)
    assert data.test.annotated.shape == (0,)


def test_the_order_on_disk_does_not_matter(tmp_path):
    names = [f"test/{c}/{n}.png" for c in ("good", "a", "a-b", "B") for n in (1, 2, 10, "ä")]
    for root, order in ((tmp_path / "x/data", names), (tmp_path / "y/data", names[::-1])):
        write_train(root)
        for name in order:
            write_image(root / name, seed=names.index(name))
            if "good" not in name:
                write_mask(root / name.replace("test", "ground_truth"), seed=names.index(name))
    first, second = read(tmp_path / "x/data"), read(tmp_path / "y/data")
    assert_same(first, second)
    assert list(first.test.paths) == sorted(names)


def test_names_beyond_ascii_work(tmp_path):
    root = tmp_path / "データ é"
    write_image(root / "train/good/图像 один.png", seed=0)
    write_image(root / "test/Kratzer ß/ñ.png", seed=1)
    write_mask(root / "ground_truth/Kratzer ß/ñ_mask.png", seed=2)
    data = read(root)
    assert data.name == "データ é"
    assert data.train.paths == ("train/good/图像 один.png",)
    assert data.test.defects == ("Kratzer ß",)
    assert data.test.masks[:].any()


def test_a_relative_root_gives_the_same_data(tmp_path, monkeypatch):
    write_train(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert_same(read(Path()), read(tmp_path))
    assert read(Path()).name == tmp_path.name


@pytest.mark.parametrize("existing", ["", "train", "train/good", "train/bad"])
def test_missing_normal_images_are_refused(tmp_path, existing):
    (tmp_path / existing).mkdir(parents=True, exist_ok=True)
    assert_refused(tmp_path, tmp_path / "train/good", "no images")


def test_an_image_outside_the_class_folders_is_refused(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/a.png", seed=0)
    assert_refused(tmp_path, tmp_path / "test/a.png", "test/good")


@pytest.mark.parametrize("mask", ["hole/b_mask.png", "hole/b.png", "dent/a_mask.png", "a_mask.png"])
def test_a_mask_without_an_image_is_refused(tmp_path, mask):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    write_mask(tmp_path / "ground_truth" / mask, seed=0)
    assert_refused(tmp_path, tmp_path / "ground_truth" / mask, "no image")


@pytest.mark.parametrize("other", ["a.jpg", "a_mask.png"])
def test_a_mask_of_two_images_is_refused(tmp_path, other):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    write_image(tmp_path / "test/hole" / other, seed=1)
    assert len(read(tmp_path).test) == 2
    write_mask(tmp_path / "ground_truth/hole/a_mask.png", seed=0)
    assert_refused(tmp_path, tmp_path / "ground_truth/hole/a_mask.png", "a.png", other)


def test_two_masks_of_one_image_are_refused(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    for name in ("a.png", "a_mask.png"):
        write_mask(tmp_path / "ground_truth/hole" / name, seed=0)
    assert_refused(tmp_path, tmp_path / "ground_truth/hole/a_mask.png", "another mask")


def test_a_mask_of_another_size_is_refused(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0, size=(10, 20))
    mask = tmp_path / "ground_truth/hole/a_mask.png"
    write_mask(mask, seed=0, size=(20, 10))
    assert_refused(tmp_path, mask, "10 x 20 pixels", "20 x 10")


def test_sizes_are_compared_upright(tmp_path):
    write_train(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "test/hole").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(tmp_path / "test/hole/a.jpg", exif=exif)
    write_mask(tmp_path / "ground_truth/hole/a_mask.png", seed=0, size=(20, 10))
    test = read(tmp_path).test
    assert test.annotated.all()
    assert test.original_sizes == ((20, 10),)


def test_a_normal_image_may_have_an_empty_mask_only(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/good/a.png", seed=0)
    mask = tmp_path / "ground_truth/good/a_mask.png"
    mask.parent.mkdir(parents=True)
    Image.new("L", (12, 12)).save(mask)
    assert not read(tmp_path).test.masks[:].any()
    Image.new("L", (12, 12), 255).save(mask)
    assert_refused(tmp_path, mask, "normal image")


@pytest.mark.parametrize(
    "name", ["train/good/1.png", "test/hole/a.png", "ground_truth/hole/a_mask.png"]
)
def test_a_damaged_file_is_refused_by_name(tmp_path, name):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    write_mask(tmp_path / "ground_truth/hole/a_mask.png", seed=0)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    assert_refused(tmp_path, tmp_path / name)


@pytest.mark.parametrize("name", ["train/good/1.png", "train/good", "train"])
def test_an_unreadable_file_or_folder_is_refused_by_name(tmp_path, name):
    write_train(tmp_path)
    with unreadable(tmp_path / name):
        assert_refused(
            tmp_path, tmp_path / ("train/good" if name == "train" else name), "ermission"
        )


def test_hashes_are_those_of_the_files(tmp_path):
    write_train(tmp_path)
    write_test(tmp_path)
    write_image(tmp_path / "train/good/x.jpg", seed=3)
    data = read(tmp_path)
    for split in (data.train, data.test):
        expected = [
            hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in split.paths
        ]
        assert list(split.hashes) == expected
    assert len(data.train.hashes) == 4


def test_a_part_of_a_split_keeps_what_belongs_together(tmp_path):
    write_train(tmp_path)
    write_test(tmp_path)
    write_image(tmp_path / "test/good/a.png", seed=10, size=(12, 16))
    split = read(tmp_path).test
    part = split.take(np.array([2, 0]))
    assert part.original_sizes == ((12, 12), (12, 16))
    assert part.paths == ("test/hole/1.png", "test/good/a.png")
    assert part.hashes == tuple(
        hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in part.paths
    )
    assert part.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(part.images[:], split.images[[2, 0]])
    np.testing.assert_array_equal(part.masks[:], split.masks[[2, 0]])


def remove_mask(root: Path) -> None:
    (root / "ground_truth/hole/0_mask.png").unlink()


def rename_class(root: Path) -> None:
    (root / "test/hole").rename(root / "test/cut")
    (root / "ground_truth/hole").rename(root / "ground_truth/cut")


@pytest.mark.parametrize(
    "change",
    [
        lambda root: write_image(root / "test/good/a.png", seed=99),
        lambda root: write_mask(root / "ground_truth/hole/0_mask.png", seed=99),
        lambda root: write_image(root / "test/good/b.png", seed=99),
        lambda root: (root / "test/good/a.png").unlink(),
        lambda root: (root / "test/good/a.png").rename(root / "test/good/b.png"),
        remove_mask,
        rename_class,
    ],
)
def test_the_digest_changes_with_any_test_image_label_or_mask(tmp_path, change):
    write_train(tmp_path)
    write_test(tmp_path)
    before = read(tmp_path).digest
    change(tmp_path)
    assert read(tmp_path).digest != before


def test_the_digest_tells_an_empty_mask_from_none(tmp_path):
    write_train(tmp_path)
    write_image(tmp_path / "test/hole/a.png", seed=0)
    before = read(tmp_path).digest
    (tmp_path / "ground_truth/hole").mkdir(parents=True)
    Image.new("L", (12, 12)).save(tmp_path / "ground_truth/hole/a_mask.png")
    assert read(tmp_path).digest != before


def test_the_digest_does_not_depend_on_the_folder_or_the_training_images(tmp_path):
    for name in ("x", "y"):
        write_train(tmp_path / name)
        write_test(tmp_path / name)
    write_image(tmp_path / "y/train/good/more.png", seed=4)
    first, second = read(tmp_path / "x"), read(tmp_path / "y")
    assert len(first.digest) == 64
    assert first.digest == second.digest == Dataset("other", first.train, first.test).digest


def test_mvtec_bottle(real_data):
    data = read_folder(
        real_data("mvtec_bottle"),
        size=(SIZE, SIZE),
        aspect="stretch",
        reading=ReadingSettings("mvtec"),
    )
    classes, counts = np.unique(data.test.defects, return_counts=True)
    assert len(data.train) == 209
    expected = {"broken_large": 20, "broken_small": 22, "contamination": 21, "good": 20}
    assert dict(zip(classes.tolist(), counts.tolist(), strict=True)) == expected
    assert data.test.annotated.all()
    np.testing.assert_array_equal(data.test.masks[:].any(axis=(1, 2)), data.test.labels == 1)


@pytest.mark.slow
def test_magnetic_tile(real_data):
    data = read_folder(
        real_data("magnetic_tile"),
        size=(SIZE, SIZE),
        aspect="pad",
        reading=ReadingSettings("mvtec"),
    )
    assert (len(data.train), len(data.test)) == (762, 582)
    assert data.test.annotated.all()
    empty = (data.test.labels == 1) & ~data.test.masks[:].any(axis=(1, 2))
    assert {data.test.defects[i] for i in np.flatnonzero(empty)} == {"uneven"}
    assert empty.sum() == 4
