"""Search for images in folders."""

import csv
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from i3ad_jax import Detector
from i3ad_jax.data.decoder import SUFFIXES
from i3ad_jax.data.search import describe, find_below, list_folder
from i3ad_jax.errors import InputError
from i3ad_jax.predict import __main__ as predict
from tests.conftest import unreadable


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def below(folder: Path) -> list[str]:
    return [x.relative_to(folder).as_posix() for x in find_below(folder).images]


def test_image_files_are_known_by_their_suffix_in_any_case(tmp_path: Path) -> None:
    expected = sorted(f"a{suffix}" for suffix in SUFFIXES | {s.upper() for s in SUFFIXES})
    make(tmp_path, *expected, "a.txt", "b")
    assert [path.name for path in list_folder(tmp_path).images] == expected
    assert below(tmp_path) == expected


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".JFIF", ".dib", ".webp", ".WEBP"])
def test_every_suffix_is_read(tmp_path: Path, suffix: str) -> None:
    kinds = {".dib": "bmp", ".webp": "webp"}
    Image.new("RGB", (3, 2)).save(tmp_path / f"a{suffix}", kinds.get(suffix.lower(), "jpeg"))
    (found,) = find_below(tmp_path).images
    assert found.suffix == suffix


def test_what_systems_leave_behind_is_ignored_and_counted(tmp_path: Path) -> None:
    make(
        tmp_path,
        "a/1.png",
        "a/._1.png",
        "a/Thumbs.db",
        ".ipynb_checkpoints/1.png",
        "__MACOSX/a/1.png",
        "a/notes.txt",
    )
    assert below(tmp_path) == ["a/1.png"]
    found = find_below(tmp_path)
    assert found.ignored == {"hidden or system files": 4, ".txt files": 1}
    assert describe(found.ignored) == "1 .txt file, 4 hidden or system files"
    assert [path.name for path in list_folder(tmp_path).folders] == ["a"]


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    make(tmp_path, "elsewhere/1.png", "elsewhere/deep/2.png", "data/z/3.png")
    data = tmp_path / "data"
    (data / "a").symlink_to(tmp_path / "elsewhere")
    (data / "loop").symlink_to(data)
    (tmp_path / "elsewhere/deep/loop").symlink_to(tmp_path / "elsewhere")
    (data / "b").symlink_to(data / "z")  # its images have their own names
    assert below(data) == ["a/1.png", "a/deep/2.png", "z/3.png"]
    assert find_below(data).ignored == {"links to folders that are read already": 3}


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    make(tmp_path, "a.png")
    (tmp_path / "latest").symlink_to("latest")
    assert below(tmp_path) == ["a.png"]
    assert list_folder(tmp_path).ignored == {"other files": 1}


@pytest.mark.parametrize("name", ["@eaDir", "#recycle"])
def test_what_network_storage_leaves_behind_is_ignored(tmp_path: Path, name: str) -> None:
    make(tmp_path, "a.png", f"{name}/a.png", f"deeper/{name}/a.png")
    assert below(tmp_path) == ["a.png"]


def test_folders_with_results_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "out/2.png", "out/maps/1.png", "out/pictures/x/1.jpg")
    assert below(tmp_path) == ["1.png", "out/2.png", "out/maps/1.png", "out/pictures/x/1.jpg"]
    make(tmp_path, "out/predictions.json", "run/run.json", "run/samples/1.png")
    assert below(tmp_path) == ["1.png", "out/2.png"]
    assert find_below(tmp_path).ignored == {".json files": 1, "folders with results": 3}


def test_a_prediction_never_scores_its_own_pictures(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder / "test/good", tmp_path / "d")
    count = len(list(folder.iterdir()))
    for out in (folder / "found", folder / "found", folder / "other"):
        save = ["--save", "maps", "pictures", "--map-format", "png", "--resume"]
        predict.main([str(pca_run), str(folder), "--out", str(out), *save])
        with (out / "predictions.csv").open(newline="") as rows:
            assert len(list(csv.DictReader(rows))) == count
    assert len(list((folder / "found").rglob("*.jpg"))) == count
    assert len(Detector.load(pca_run).score(folder)) == count


def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    make(tmp_path, "1.png", "closed/2.png")
    with (
        unreadable(tmp_path / "closed"),
        pytest.raises(InputError, match=r"closed: cannot be listed \(Permission denied\)"),
    ):
        find_below(tmp_path)
    errors: list[InputError] = []
    with unreadable(tmp_path / "closed"):
        found = find_below(tmp_path, report=errors.append)
    assert [path.name for path in found.images] == ["1.png"]
    assert [str(tmp_path / "closed") in str(error) for error in errors] == [True]


def test_a_missing_folder_has_nothing(tmp_path: Path) -> None:
    assert list_folder(tmp_path / "missing") == ([], [], {})


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    try:
        (Path(os.fsdecode(bytes(tmp_path) + b"/\xff.png"))).write_bytes(b"")
    except OSError:
        pytest.skip("this file system has UTF-8 names alone")
    with pytest.raises(InputError, match="its name is not UTF-8"):
        find_below(tmp_path)
