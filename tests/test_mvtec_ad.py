"""The TFDS builder of MVTec AD, on a small tree of its layout."""

import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from tests.support.loading import read_all

tfds = pytest.importorskip("tensorflow_datasets")

RNG = np.random.default_rng(0)
# Python 3.11.4 is the first that does; with an older one archives are refused.
EXTRACTS = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="this Python cannot extract archives safely"
)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def write_category(root: Path, *, channels: tuple[int, ...]) -> None:
    """A category of 14 x 18 images: 12 to learn from, two classes of 3 to test on."""
    for part, count in (("train/good", 12), ("test/good", 3), ("test/hole", 3)):
        for i in range(count):
            save(root / part / f"{i:03d}.png", RNG.integers(0, 256, (14, 18, *channels)))
    for i in range(3):
        save(root / f"ground_truth/hole/{i:03d}_mask.png", RNG.integers(0, 2, (14, 18)) * 255)


def pack(archive: Path, folder: Path, name: str) -> None:
    with tarfile.open(archive, "w:xz", preset=0) as tar:
        tar.add(folder, name)


@pytest.fixture
def manual(tmp_path, monkeypatch) -> Path:
    """The folder where TFDS expects manual downloads, in a TFDS folder of its own."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    folder = tmp_path / "tfds/downloads/manual"
    folder.mkdir(parents=True)
    return folder


def load(category: str = "bottle"):
    return read_all(load_dataset(f"tfds:mvtec_ad/{category}", size=(8, 8), aspect="pad"))


def assert_same(a, b) -> None:
    for split_a, split_b in ((a.train, b.train), (a.test, b.test)):
        np.testing.assert_array_equal(split_a.images, split_b.images)
        np.testing.assert_array_equal(split_a.masks, split_b.masks)
        np.testing.assert_array_equal(split_a.annotated, split_b.annotated)
        assert (split_a.paths, split_a.defects) == (split_b.paths, split_b.defects)
        assert split_a.hashes == split_b.hashes
        assert split_a.original_sizes == split_b.original_sizes
    assert a.digest == b.digest


@pytest.mark.parametrize(
    "source",
    [
        "folder",
        pytest.param("mvtec_anomaly_detection.tar.xz", marks=EXTRACTS),
        pytest.param("bottle.tar.xz", marks=EXTRACTS),
    ],
)
@pytest.mark.parametrize("channels", [(3,), ()])
def test_its_arrays_are_those_of_the_folder(tmp_path, manual, source, channels):
    original = tmp_path / "original/bottle"
    write_category(original, channels=channels)
    expected = read_all(load_dataset(str(original), size=(8, 8), aspect="pad", layout="mvtec"))
    if source == "folder":
        original.rename(manual / "bottle")
    else:
        write_category(tmp_path / "original/cable", channels=channels)
        pack(manual / source, tmp_path / "original", ".")
    assert_same(load(), expected)


def test_prepared_data_need_their_source_no_more(tmp_path, manual):
    write_category(manual / "bottle", channels=(3,))
    first = load()
    (manual / "bottle").rename(tmp_path / "gone")
    assert_same(load(), first)


def test_an_example_has_all_features(manual):
    write_category(manual / "screw", channels=())
    load("screw")
    builder = tfds.builder_from_directory(manual.parents[1] / "mvtec_ad/screw/1.0.0")
    examples = {example["path"]: example for example in builder.as_data_source("test")}
    normal, hole = examples[b"test/good/000.png"], examples[b"test/hole/000.png"]
    assert (normal["label"], hole["label"]) == (0, 1)
    assert (normal["defect"], hole["defect"]) == (b"good", b"hole")
    assert normal["mask"].shape == hole["mask"].shape == (14, 18, 1)
    assert not normal["mask"].any()
    assert hole["mask"].any()


@pytest.mark.slow
def test_tensorflow_is_not_imported(manual):
    write_category(manual / "bottle", channels=(3,))
    code = """
import sys
from i3ad_jax.data.load import load_dataset
before = "tensorflow_datasets" in sys.modules
load_dataset("tfds:mvtec_ad/bottle", size=(8, 8), aspect="stretch")
print(before, "tensorflow_datasets" in sys.modules, "tensorflow" in sys.modules)
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.split()[-3:] == ["False", "True", "False"]


def assert_refused(*words: str, category: str = "bottle") -> None:
    with pytest.raises(InputError) as caught:
        load(category)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_unknown_category_is_answered_with_the_15():
    known = (
        "bottle, cable, capsule, carpet, grid, hazelnut, leather, metal_nut, pill, screw, tile, "
        "toothbrush, transistor, wood, zipper"
    )
    assert_refused("--data tfds:mvtec_ad/bottles", known, category="bottles")


def test_a_missing_download_is_answered_with_the_folder_and_the_source(manual):
    assert_refused(str(manual), "mvtec_anomaly_detection.tar.xz", "https://www.mvtec.com")
    manual.rmdir()
    assert_refused(str(manual))


def test_damaged_data_are_not_taken_for_prepared(manual):
    write_category(manual / "bottle", channels=(3,))
    damaged = manual / "bottle/test/hole/001.png"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100])
    assert_refused(str(damaged))
    damaged.write_bytes(content)
    assert_same(load(), load_dataset(str(manual / "bottle"), size=(8, 8), aspect="pad"))


@pytest.mark.parametrize("part", ["train", "test", "ground_truth"])
def test_an_incomplete_category_is_refused(tmp_path, manual, part):
    write_category(manual / "bottle", channels=(3,))
    (manual / "bottle" / part).rename(tmp_path / "gone")
    assert_refused(str(manual / "bottle"))
    assert not list(manual.parents[1].glob("mvtec_ad/bottle/1.0.0"))


@pytest.mark.parametrize("name", ["dataset_info.json", "mvtec_ad-test.array_record-00000-of-00001"])
def test_prepared_data_that_lost_a_file_are_refused(manual, name):
    write_category(manual / "bottle", channels=(3,))
    load()
    folder = manual.parents[1] / "mvtec_ad/bottle/1.0.0"
    (folder / name).unlink()
    assert_refused(str(folder), "delete")


def test_damaged_records_are_refused_or_right(manual):
    write_category(manual / "bottle", channels=(3,))
    whole = load()
    folder = manual.parents[1] / "mvtec_ad/bottle/1.0.0"
    problems = []
    for file in (folder / "dataset_info.json", *folder.glob("*.array_record*")):
        content = file.read_bytes()
        damaged = [content[: len(content) * part // 4] for part in range(4)]
        for place in np.flatnonzero(np.frombuffer(content, np.uint8))[::997]:
            damaged.append(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        for spoiled in damaged:
            file.write_bytes(spoiled)
            try:
                assert_same(load(), whole)
            except InputError as error:
                problems.append(str(error))
        file.write_bytes(content)
    assert len(problems) > 12
    assert all(str(folder.parent) in problem for problem in problems)
    assert_same(load(), whole)


def test_no_room_to_prepare_is_said(manual):
    write_category(manual / "bottle", channels=(3,))
    (manual.parents[1] / "mvtec_ad").write_text("in the way")
    assert_refused("cannot be prepared", "TFDS_DATA_DIR")


@EXTRACTS
def test_a_damaged_image_in_an_archive_is_named_by_the_archive(tmp_path, manual):
    write_category(tmp_path / "bottle", channels=(3,))
    (tmp_path / "bottle/test/hole/001.png").write_bytes(b"no image")
    archive = manual / "bottle.tar.xz"
    pack(archive, tmp_path / "bottle", "bottle")
    assert_refused(f"{archive}: bottle/test/hole/001.png")


@EXTRACTS
def test_an_archive_without_the_category_is_refused(tmp_path, manual):
    write_category(tmp_path / "cable", channels=(3,))
    pack(manual / "mvtec_anomaly_detection.tar.xz", tmp_path / "cable", "cable")
    assert_refused("mvtec_anomaly_detection.tar.xz", "no folder bottle")


@EXTRACTS
def test_an_archive_cut_short_anywhere_is_refused(tmp_path, manual):
    write_category(tmp_path / "bottle", channels=(3,))
    archive = manual / "bottle.tar.xz"
    pack(archive, tmp_path / "bottle", "bottle")
    whole = archive.read_bytes()
    for keep in (*range(0, 400, 20), *range(400, len(whole) - 200, 500)):
        archive.write_bytes(whole[:keep])
        assert_refused(str(archive), "get it again")


@EXTRACTS
def test_an_archive_cannot_write_outside_its_folder(tmp_path, manual):
    with tarfile.open(manual / "bottle.tar.xz", "w:xz", preset=0) as tar:
        member = tarfile.TarInfo("bottle/../../../evil.png")
        member.size = 4
        tar.addfile(member, BytesIO(b"evil"))
    assert_refused("bottle.tar.xz", "cannot be extracted")
    assert not list(tmp_path.rglob("evil.png"))
