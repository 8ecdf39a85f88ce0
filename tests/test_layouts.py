"""Layouts of data sets on disk: small trees as published ones are, detected, read and refused."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax.data.images import preprocess, read_image
from i3ad_jax.data.layouts import LAYOUTS, find_layout
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.runs.files import read_json
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf, unreadable
from tests.support.layout_trees import (
    HEIGHT,
    TREES,
    WIDTH,
    box,
    kolektor_sdd,
    manifest,
    mvtec,
    write_image,
    write_mask,
)
from tests.support.loading import assert_refused, load

every_layout = pytest.mark.parametrize("name", TREES)
every_layout_with_masks = pytest.mark.parametrize(
    "name", [name for name in TREES if name != "flat"]
)


def test_every_layout_has_a_name_and_a_tree() -> None:
    assert [*LAYOUTS] == [*TREES]


@every_layout
def test_every_layout_is_found_out(tmp_path: Path, name: str) -> None:
    assert find_layout(TREES[name](tmp_path).source) is LAYOUTS[name]


@every_layout
def test_images_labels_and_masks_are_what_was_written(tmp_path: Path, name: str) -> None:
    tree = TREES[name](tmp_path)
    data = load(tree.source)
    assert data.name == tree.source.name
    assert list(data.train.paths) == sorted(tree.train)
    assert list(data.test.paths) == sorted(tree.test)
    assert not data.train.labels.any()
    assert not data.train.masks[:].any()
    assert data.train.annotated.all()
    for i, path in enumerate(data.test.paths):
        defect, mask = tree.test[path]
        assert (data.test.defects[i], data.test.labels[i]) == (defect, int(defect != "good"))
        assert data.test.annotated[i] == (mask is not None)
        np.testing.assert_array_equal(data.test.masks[i], 0 if mask is None else mask > 0)
    for split in (data.train, data.test):
        for i, path in enumerate(split.paths):
            file = tree.base / path
            expected = preprocess(read_image(file), size=(HEIGHT, WIDTH), aspect="stretch")
            np.testing.assert_array_equal(split.images[i], expected)
            assert split.hashes[i] == hashlib.sha256(file.read_bytes()).hexdigest()


@every_layout
def test_a_named_layout_reads_what_auto_finds(tmp_path: Path, name: str) -> None:
    source = TREES[name](tmp_path).source
    found, named = load(source), load(source, name)
    assert found.digest == named.digest
    assert (found.train.paths, found.train.hashes) == (named.train.paths, named.train.hashes)


@every_layout
def test_a_relative_path_and_a_link_give_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    tree = TREES[name](tmp_path / "original")
    expected = load(tree.source)
    (tmp_path / "link").symlink_to(tmp_path / "original")
    sources = [tmp_path / "link" / tree.source.relative_to(tmp_path / "original")]
    monkeypatch.chdir(tree.source.parent if tree.source.is_file() else tree.source)
    sources.append(Path(tree.source.name) if tree.source.is_file() else Path())
    for source in sources:
        data = load(source)
        assert data.digest == expected.digest
        assert data.train.hashes == expected.train.hashes


@every_layout_with_masks
def test_a_mask_of_another_size_is_refused(tmp_path: Path, name: str) -> None:
    tree = TREES[name](tmp_path)
    assert tree.a_mask is not None
    write_mask(tree.a_mask, box(1).T)
    assert_refused(tree.source, tree.a_mask, "12 x 16 pixels", "16 x 12")


@every_layout
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_image_is_refused_by_its_path(tmp_path: Path, name: str, split: str) -> None:
    tree = TREES[name](tmp_path)
    if paths := tree.train if split == "train" else [*tree.test]:
        file = tree.base / paths[0]
        file.write_bytes(file.read_bytes()[:60])
        assert_refused(tree.source, file)


@every_layout_with_masks
def test_a_damaged_mask_is_refused_by_its_path(tmp_path: Path, name: str) -> None:
    tree = TREES[name](tmp_path)
    assert tree.a_mask is not None
    tree.a_mask.write_bytes(tree.a_mask.read_bytes()[:60])
    assert_refused(tree.source, tree.a_mask)


@every_layout
def test_no_normal_image_to_train_on_is_refused_where_it_is_needed(
    tmp_path: Path, name: str
) -> None:
    tree = TREES[name](tmp_path)
    own_split = [path for path in tree.test if name == "folders" and path.startswith("Good")]
    for path in (*tree.train, *own_split):
        (tree.base / path).unlink()
    assert_refused(tree.source, tree.base, layout=name)


@pytest.mark.parametrize("name", ["mvtec", "mvtec_loco", "mvtec_ad_2", "btad"])
def test_test_images_alone_can_be_read(tmp_path: Path, name: str) -> None:
    tree = TREES[name](tmp_path)
    expected = load(tree.source).digest
    for path in tree.train:
        (tree.base / path).unlink()
    data = load_dataset(str(tree.source), size=(HEIGHT, WIDTH), aspect="stretch", layout=name)
    assert data.digest == expected
    with pytest.raises(InputError, match="no image"):
        _ = data.train


# What is found out.


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ((), ["has no images and no folders"]),
        (("deep/er/a.png",), ["no known layout; found neither train/good", "--normal DIR"]),
        (("gut/a.png", "x/b.png"), ["no known layout; has images in gut, x: ", "--normal DIR"]),
        (("train/a.png",), ["nearest: mvtec, but train/good has no images", "--normal DIR"]),
        (("Training/bad/a.png",), ["nearest: mvtec, but Training/good has no images"]),
        (("good/a.png", "scratch/b.png"), ["nearest: folders", "beside good", "--anomalous DIR"]),
        (("bad/a.png", "gut/b.png"), ["nearest: folders", "beside bad", "--normal DIR"]),
        (("a.png", "more/b.png"), ["nearest: flat", "--layout flat"]),
        (("x/train/good/a.png", "y/train/good/a.png"), ["holds data sets", "such as ", "/x"]),
    ],
)
def test_a_tree_of_no_known_layout_is_answered_with_the_nearest(
    tmp_path: Path, files: tuple[str, ...], words: list[str]
) -> None:
    for file in files:
        write_image(tmp_path / file)
    with pytest.raises(InputError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"--data {tmp_path}: ")
    assert len(message) < 200 + len(str(tmp_path)) * 2
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("name", ["data.zip", "data.tar.xz", "data.TGZ"])
def test_an_archive_is_answered_with_how_to_use_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    assert_refused(tmp_path / name, f"--data {tmp_path / name}: ", "is an archive; extract it")


def test_a_tree_that_could_have_two_layouts_has_to_be_named(tmp_path: Path) -> None:
    tree = mvtec(tmp_path)
    shutil.rmtree(tmp_path / "ground_truth")
    write_image(tmp_path / "train/ok/000.png")
    assert_refused(tmp_path, f"--data {tmp_path}: ", "mvtec or btad", "--layout")
    assert list(load(tmp_path, "mvtec").train.paths) == sorted(tree.train)
    assert load(tmp_path, "btad").train.paths == ("train/ok/000.png",)


def test_other_folders_beside_the_items_are_ignored(tmp_path: Path) -> None:
    tree = kolektor_sdd(tmp_path)
    write_image(tmp_path / "previews/kos01.jpg")
    assert list(load(tmp_path).train.paths) == tree.train


@pytest.mark.parametrize("name", ["mvtec", "flat", "kolektor_sdd"])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    source = manifest(tmp_path).source
    assert_refused(source, f"--layout {name}: ", "a folder", source, layout=name)


@pytest.mark.parametrize("data", ["textures:weave", "tfds:mvtec_ad/bottle"])
def test_a_source_without_files_has_no_layout(data: str) -> None:
    with pytest.raises(InputError, match=r"^--layout mvtec: .*leave --layout out"):
        load_dataset(data, size=(HEIGHT, WIDTH), aspect="stretch", layout="mvtec")


# The commands.


def test_a_run_keeps_the_layout_that_it_was_given(
    fails: Fails, tmp_path: Path, tiny_folder: Path, flags_of: FlagsOf
) -> None:
    data = shutil.copytree(tiny_folder, tmp_path / "data")
    write_image(data / "train/ok/000.png")
    run = tmp_path / "run"
    flags = [*flags_of("pca"), "--data", str(data), "--run", str(run)]
    assert "mvtec or btad" in fails(train.main, flags)
    train.main([*flags, "--layout", "mvtec"])
    evaluate.main([str(run)])
    assert not (run / "evaluation").exists()  # nothing differs from the run's own test
    assert "--layout btad: " in fails(train.main, ["--run", run, "--resume", "--layout", "btad"])
    # Other data have a layout of their own.
    evaluate.main([str(run), "--data", str(tiny_folder), "--layout", "mvtec"])
    assert read_json(run / "evaluation/results.json")["data_source"] == str(tiny_folder)
    assert "no test images" in fails(
        evaluate.main, [run, "--data", data / "train/ok", "--out", tmp_path / "o"]
    )


@pytest.mark.parametrize(
    ("name", "closed"), [("mvtec", "train"), ("btad", "train"), ("visa", "split_csv")]
)
def test_an_unreadable_folder_is_named(tmp_path: Path, name: str, closed: str) -> None:
    tree = TREES[name](tmp_path)
    folder = tree.base / closed
    with unreadable(folder):
        assert_refused(tree.source, folder, "ermission")
