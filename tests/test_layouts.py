"""Layouts of data sets on disk: small trees as published ones are, found out, read and refused."""

import hashlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from conftest import Fails, FlagsOf, read_all, unreadable
from layout_trees import (
    HEIGHT,
    MANIFEST,
    NO_DEFECT,
    TREES,
    WIDTH,
    box,
    kolektor_sdd,
    kolektor_sdd2,
    manifest,
    mvtec,
    mvtec_ad_2,
    mvtec_loco,
    visa,
    write_csv,
    write_image,
    write_mask,
)

from i3ad_jax.data.dataset import Dataset
from i3ad_jax.data.images import preprocess, read_image
from i3ad_jax.data.layouts import LAYOUTS, LayoutName, find_layout
from i3ad_jax.data.load import load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.runs.files import read_json
from i3ad_jax.train import __main__ as train

every_layout = pytest.mark.parametrize("name", TREES)
every_layout_with_masks = pytest.mark.parametrize(
    "name", [name for name in TREES if name != "flat"]
)


def load(source: Path, layout: LayoutName = "auto") -> Dataset:
    return read_all(
        load_dataset(str(source), size=(HEIGHT, WIDTH), aspect="stretch", layout=layout)
    )


def assert_refused(source: Path, *words: object, layout: LayoutName = "auto") -> None:
    with pytest.raises(InputError) as caught:
        load(source, layout)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert str(word) in message


def test_every_layout_has_a_name_and_a_tree() -> None:
    assert [*LAYOUTS] == [*TREES] == [name for name in get_args(LayoutName) if name != "auto"]


@every_layout
def test_every_layout_is_found_out(tmp_path: Path, name: LayoutName) -> None:
    assert find_layout(TREES[name](tmp_path).source) is LAYOUTS[name]


@every_layout
def test_images_labels_and_masks_are_what_was_written(tmp_path: Path, name: LayoutName) -> None:
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
def test_a_named_layout_reads_what_auto_finds(tmp_path: Path, name: LayoutName) -> None:
    source = TREES[name](tmp_path).source
    found, named = load(source), load(source, name)
    assert found.digest == named.digest
    assert (found.train.paths, found.train.hashes) == (named.train.paths, named.train.hashes)


@every_layout
def test_a_relative_path_and_a_link_give_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: LayoutName
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
def test_a_mask_of_another_size_is_refused(tmp_path: Path, name: LayoutName) -> None:
    tree = TREES[name](tmp_path)
    assert tree.a_mask is not None
    write_mask(tree.a_mask, box(1).T)
    assert_refused(tree.source, tree.a_mask, "12 x 16 pixels", "16 x 12")


@every_layout
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_damaged_image_is_refused_by_its_path(
    tmp_path: Path, name: LayoutName, split: str
) -> None:
    tree = TREES[name](tmp_path)
    if paths := tree.train if split == "train" else [*tree.test]:
        file = tree.base / paths[0]
        file.write_bytes(file.read_bytes()[:60])
        assert_refused(tree.source, file)


@every_layout_with_masks
def test_a_damaged_mask_is_refused_by_its_path(tmp_path: Path, name: LayoutName) -> None:
    tree = TREES[name](tmp_path)
    assert tree.a_mask is not None
    tree.a_mask.write_bytes(tree.a_mask.read_bytes()[:60])
    assert_refused(tree.source, tree.a_mask)


@every_layout
def test_no_normal_image_to_train_on_is_refused_in_a_named_layout(
    tmp_path: Path, name: LayoutName
) -> None:
    tree = TREES[name](tmp_path)
    for path in tree.train:
        (tree.base / path).unlink()
    assert_refused(tree.source, tree.base, layout=name)


# What is found out.


def test_a_tree_of_no_known_layout_is_answered_with_what_was_looked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "images/a.png")
    words = [word for name, layout in LAYOUTS.items() for word in (name, *layout.signs)]
    assert_refused(tmp_path, f"--data {tmp_path}: ", "--layout", *words)


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


def test_a_stray_image_or_validation_folder_leaves_the_layout_of_mvtec_as_it_is(
    tmp_path: Path,
) -> None:
    tree = mvtec(tmp_path)
    write_image(tmp_path / "overview.png")
    write_image(tmp_path / "validation/good/000.png")
    assert list(load(tmp_path).train.paths) == sorted(tree.train)


@pytest.mark.parametrize("name", ["mvtec", "flat", "kolektor_sdd"])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, name: LayoutName) -> None:
    source = manifest(tmp_path).source
    assert_refused(source, f"--layout {name}: ", "a folder", source, layout=name)


def test_a_folder_in_place_of_a_manifest_is_refused(tmp_path: Path) -> None:
    mvtec(tmp_path)
    assert_refused(tmp_path, "--layout manifest: ", "a file", tmp_path, layout="manifest")


@pytest.mark.parametrize("name", ["list.txt", "image.png"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("path,split,label\n")
    assert_refused(tmp_path / name, f"--data {tmp_path / name}: ", ".csv or .parquet")


@pytest.mark.parametrize("data", ["textures:weave", "tfds:mvtec_ad/bottle"])
def test_a_source_without_files_has_no_layout(data: str) -> None:
    with pytest.raises(InputError, match=r"^--layout mvtec: .*leave --layout out"):
        load_dataset(data, size=(HEIGHT, WIDTH), aspect="stretch", layout="mvtec")


# MVTec LOCO AD and MVTec AD 2.


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


def test_masks_are_not_taken_for_a_class_of_images(tmp_path: Path) -> None:
    mvtec_ad_2(tmp_path)
    shutil.rmtree(tmp_path / "test_public/bad")
    assert_refused(tmp_path, "000_overexposed_mask.png", "no image of that name in test_public/bad")
    shutil.rmtree(tmp_path / "test_public/ground_truth")
    assert set(load(tmp_path).test.defects) == {"good"}


# VisA.


def test_visa_without_its_split_is_refused(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    table = tree.base / "split_csv/1cls.csv"
    table.unlink()
    assert_refused(tree.source, f"{table}: no such file")


def test_the_folder_of_all_categories_is_answered_with_how_to_name_one(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    assert_refused(tree.base, f"{tree.base}: ", f"{tree.base}/candle")


def test_a_category_of_another_name_than_in_the_split_is_refused(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    tree.source.rename(tree.base / "candles")
    assert_refused(tree.base / "candles", "1cls.csv", "candles", "candle, pcb1")


def test_another_category_may_be_absent(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    expected = load(tree.source).digest
    shutil.rmtree(tree.base / "pcb1")
    assert load(tree.source).digest == expected


@pytest.mark.parametrize(
    "file", ["Images/Normal/0001.JPG", "Images/Anomaly/000.JPG", "Masks/Anomaly/000.png"]
)
def test_a_missing_file_of_visa_is_refused_with_its_row(tmp_path: Path, file: str) -> None:
    tree = visa(tmp_path)
    (tree.source / "Data" / file).unlink()
    assert_refused(tree.source, "1cls.csv: line ", tree.source / "Data" / file, "no such file")


def test_a_split_without_a_column_is_refused(tmp_path: Path) -> None:
    tree = visa(tmp_path)
    table = tree.base / "split_csv/1cls.csv"
    write_csv(table, [("object", "split", "label", "image")])
    assert_refused(tree.source, f"{table}: no column 'mask'")


# KolektorSDD and KolektorSDD2.


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
    tmp_path: Path, name: LayoutName, image: str, mask: str
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


# Tables.


def as_parquet(rows: Sequence[Sequence[str]], file: Path) -> Path:
    header, *cells = rows
    columns = {name: [row[i] or None for row in cells] for i, name in enumerate(header)}
    write_parquet(file, columns)
    return file


def write_parquet(file: Path, columns: Mapping[str, Any]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install -e '.[parquet]'")
    parquet.write_table(pytest.importorskip("pyarrow").table(columns), file)


def test_a_parquet_file_is_read_as_a_csv(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    data, expected = load(as_parquet(MANIFEST, tmp_path / "parts.parquet")), load(tree.source)
    assert data.digest == expected.digest
    assert (data.train.paths, data.train.hashes) == (expected.train.paths, expected.train.hashes)


def test_labels_in_parquet_may_be_whole_numbers_or_categories(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install -e '.[parquet]'")
    tree = manifest(tmp_path)
    paths = pyarrow.array([*tree.train, *tree.test])
    splits = pyarrow.array(["train"] * 2 + ["test"] * 3).dictionary_encode()
    labels = pyarrow.array([0, 0, 0, 1, 2])
    columns = {"path": paths, "split": splits, "label": labels, "mask": pyarrow.nulls(5)}
    write_parquet(tmp_path / "parts.parquet", columns)
    data = load(tmp_path / "parts.parquet")
    found = dict(zip(data.test.paths, data.test.defects, strict=True))
    assert found == dict(zip(tree.test, ("good", "1", "2"), strict=True))
    assert data.test.annotated.tolist() == [defect == "good" for defect in data.test.defects]


def test_labels_in_parquet_that_are_no_text_or_whole_numbers_are_refused(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    columns = {"path": tree.train, "split": ["train"] * 2, "label": [0.0, 0.0]}
    write_parquet(tmp_path / "parts.parquet", columns)
    assert_refused(tmp_path / "parts.parquet", "parts.parquet: column label holds double")


def test_parquet_without_pyarrow_is_answered_with_the_way_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest(tmp_path)
    file = tmp_path / "parts.parquet"
    file.write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert_refused(file, f"{file}: ", "pip install 'i3ad_jax[parquet]'")
    assert len(load(tmp_path / "parts.csv").train) == 2


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_damaged_table_is_refused_by_its_name(tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pip install -e '.[parquet]'")
    file = tmp_path / f"parts.{ending}"
    file.write_bytes(b'path,split,label\n\xff,"')
    assert_refused(file, f"{file}: cannot be read")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("column", ["path", "split", "label"])
def test_a_table_without_a_column_is_refused(tmp_path: Path, ending: str, column: str) -> None:
    manifest(tmp_path)
    missing = MANIFEST[0].index(column)
    rows = [[cell for i, cell in enumerate(row) if i != missing] for row in MANIFEST]
    file = tmp_path / f"other.{ending}"
    write_csv(file, rows) if ending == "csv" else as_parquet(rows, file)
    assert_refused(file, f"{file}: no column {column!r}", "path, split, label")


def test_the_column_of_masks_is_optional(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    write_csv(tree.source, [row[:3] for row in MANIFEST])
    data = load(tree.source)
    assert sorted(data.test.defects) == ["1", "good", "scratch"]
    assert data.test.annotated.sum() == 1


def test_a_csv_as_spreadsheets_write_it_is_read(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    expected = load(tree.source).digest
    text = "\ufeff" + tree.source.read_text().replace("path,split", "path , split").replace(
        "\n", "\r\n"
    )
    tree.source.write_bytes(text.encode())
    assert load(tree.source).digest == expected


def test_paths_may_lead_out_of_the_folder_of_the_table(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    rows = [
        (f"../{path.strip()}", split, label, f"../{mask}" if mask else "")
        for path, split, label, mask, _ in MANIFEST[1:]
    ]
    data = load(write_csv(tmp_path / "tables/parts.csv", [MANIFEST[0][:4], *rows]))
    assert data.train.paths == ("../pictures/1.png", "../pictures/2.png")
    assert data.test.hashes == load(tree.source).test.hashes


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("pictures/5.png", "val", "good", ""), ["split 'val'", "train or test"]),
        (("pictures/5.png", "", "good", ""), ["split ''"]),
        (("pictures/5.png", "train", "scratch", ""), ["'scratch' in train", "good or 0"]),
        (("pictures/5.png", "test", "", ""), ["label is empty"]),
        (("", "test", "good", ""), ["path is empty"]),
        (("pictures/9.png", "test", "good", ""), ["pictures/9.png: no such file"]),
        (("pictures", "test", "good", ""), ["pictures: no such file"]),
        (("x" * 300, "test", "good", ""), ["no such file"]),
        (("pictures/5.png", "test", "scratch", "masks/9.png"), ["masks/9.png: no such file"]),
        (("pictures/x/../1.png", "test", "good", ""), ["pictures/1.png is in", "line 2"]),
        (("pictures/5.png", "test", "scratch", "", "one", "two"), ["more cells than columns"]),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_by_its_line(
    tmp_path: Path, row: tuple[str, ...], words: list[str]
) -> None:
    manifest(tmp_path)
    (tmp_path / "pictures/x").mkdir()
    rows = [MANIFEST[0][:4], ("pictures/1.png", "train", "good", ""), row]
    file = write_csv(tmp_path / "other.csv", rows)
    assert_refused(file, f"{file}: line 3: ", *words)


def test_a_mask_that_marks_a_defect_in_a_normal_image_is_refused(tmp_path: Path) -> None:
    tree = manifest(tmp_path)
    for split in ("train", "test"):
        row = ("pictures/3.png", split, "good", "masks/a.png")
        write_csv(tree.source, [MANIFEST[0][:4], ("pictures/1.png", "train", "good", ""), row])
        assert_refused(tree.source, tmp_path / "masks/a.png", "normal image")


# The commands.


@pytest.fixture
def table(tiny_folder: Path, tmp_path: Path) -> Path:
    """A table of the images of a copy of the tiny folder."""
    data = load(tiny_folder)
    rows = [
        ("path", "split", "label", "mask"),
        *((path, "train", "good", "") for path in data.train.paths),
    ]
    for path, defect in zip(data.test.paths, data.test.defects, strict=True):
        mask = path.replace("test", "ground_truth").replace(".png", "_mask.png")
        rows.append((path, "test", defect, "" if defect == "good" else mask))
    data = shutil.copytree(tiny_folder, tmp_path / "data")
    return write_csv(data / "parts.csv", rows)


def assert_same_results(found: Path, expected: Path, *, source: Path) -> None:
    results, others = (read_json(folder / "results.json") for folder in (found, expected))
    for name in ("data_digest", "scores", "thresholds"):
        assert results[name] == others[name]
    assert results["data_source"] == str(source)
    assert (found / "files.json").read_bytes() == (expected / "files.json").read_bytes()


def test_a_table_gives_the_data_of_the_folder(table: Path, tiny_folder: Path) -> None:
    found, expected = load(table), load(tiny_folder)
    assert found.digest == expected.digest
    assert found.train.hashes == expected.train.hashes


@pytest.mark.slow
def test_a_test_on_a_table_finds_what_one_on_the_folder_does(
    tmp_path: Path, table: Path, pca_run: Path
) -> None:
    evaluate.main([str(pca_run), "--data", str(table), "--out", str(tmp_path / "again")])
    assert_same_results(tmp_path / "again", pca_run, source=table)


@pytest.mark.slow
def test_a_run_from_a_table_finds_what_one_from_the_folder_does(
    tmp_path: Path, table: Path, pca_run: Path, flags_of: FlagsOf
) -> None:
    train.main([*flags_of("pca"), "--data", str(table), "--run", str(tmp_path / "run")])
    assert_same_results(tmp_path / "run", pca_run, source=table)


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
def test_an_unreadable_folder_is_named(tmp_path: Path, name: LayoutName, closed: str) -> None:
    tree = TREES[name](tmp_path)
    folder = tree.base / closed
    with unreadable(folder):
        assert_refused(tree.source, folder, "ermission")
