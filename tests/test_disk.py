"""Power cuts: what was written is there, whole, or what was there before."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from i3ad_jax.data.packed import read_packed
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.export import __main__ as export
from i3ad_jax.pack import __main__ as pack
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import write_text
from i3ad_jax.runtime.disk import make_folder, put, remove, whole
from i3ad_jax.train import __main__ as train
from tests.conftest import FlagsOf
from tests.support.power_cut import Disk, Files, content


def without_lock(files: Files) -> Files:
    return {name: own for name, own in files.items() if not name.endswith(".lock")}


def without_temporary(files: Files) -> Files:
    return {
        name: own
        for name, own in files.items()
        if not any(p.startswith(".") for p in Path(name).parts)
    }


def test_the_account_tells_what_a_cut_leaves(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("new")
    assert disk.kept == {}
    (tmp_path / "b").write_text("old")
    (tmp_path / "a").replace(tmp_path / "b")
    assert disk.seen == [{"b": b""}]  # the name came before the content


def test_a_file_is_the_old_or_the_new_one_whenever_power_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("old")
    disk = Disk(tmp_path, monkeypatch)
    with whole(tmp_path / "file") as temporary:
        temporary.write_text("new")
        assert without_temporary(disk.kept) == {"file": b"old"}
    assert disk.seen == [{"file": b"new"}]
    assert disk.kept == {"file": b"new"}


def test_folders_are_there_with_all_above_them_and_what_is_removed_is_gone(
    disk: Disk, tmp_path: Path
) -> None:
    make_folder(tmp_path / "a/b/c")
    write_text(tmp_path / "a/b/c/file", "text")
    assert disk.kept == {"a/b/c/file": b"text"}
    remove(tmp_path / "a/b/c/file")
    assert disk.kept == {}
    remove(tmp_path / "a/b/c/file")
    (tmp_path / "a/b/c/d").mkdir()
    (tmp_path / "a/b/c/d/file").write_text("text")
    put(tmp_path / "a/b/c", tmp_path / "a/b/moved")
    assert disk.kept == {"a/b/moved/d/file": b"text"}


def test_finished_run_survives_a_cut_and_no_checkpoint_is_ahead_of_the_log(
    disk: Disk, tmp_path: Path, flags_of: FlagsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], Checkpoints.save

    def note(checkpoints: Checkpoints, step: int, state: Any) -> None:
        saved.append((step, disk.kept["run/metrics.jsonl"].decode().splitlines()[-1]))
        save(checkpoints, step, state)

    monkeypatch.setattr(Checkpoints, "save", note)
    train.main([*flags_of("l2_ae"), "--run", str(tmp_path / "run")])
    assert [step for step, _ in saved] == [2, 4, 6]
    assert all(f'"step": {step},' in line for step, line in saved)
    expected = without_lock(content(tmp_path))
    assert without_lock(disk.kept) == expected
    assert {"run/report.html", "run/cases.png", "run/metrics.jsonl"} < expected.keys()
    for files in map(without_temporary, disk.seen):  # whatever has a name is whole
        empty = {name for name, own in files.items() if not own and "/checkpoints/" not in name}
        assert empty <= {"run/metrics.jsonl"}  # it is, before the first step
    evaluate.main([str(tmp_path / "run"), "--standardise", "none"])
    assert without_lock(disk.kept) == without_lock(content(tmp_path))


def test_packed_data_is_whole_or_not_packed_whenever_power_is_cut(
    disk: Disk, tmp_path: Path, tiny_folder: Path
) -> None:
    pack.main(
        [str(tiny_folder), "--out", str(tmp_path / "pack"), "--image-size", "32", "--view", "whole"]
    )
    expected = content(tmp_path)
    assert disk.kept == expected
    assert any("pack/packed.json" in files for files in disk.seen)
    assert all(files == expected for files in disk.seen if "pack/packed.json" in files)
    assert len(read_packed(tmp_path / "pack", size=(32, 32), aspect="stretch").train) == 8


def test_an_export_is_whole_or_not_there_whenever_power_is_cut(
    disk: Disk, tmp_path: Path, pca_run: Path
) -> None:
    export.main([str(pca_run), "--out", str(tmp_path / "out")])
    expected = content(tmp_path)
    assert without_temporary(disk.kept) == expected
    appeared = [files for files in disk.seen if any(name.startswith("out/") for name in files)]
    assert appeared
    assert all(without_temporary(files) == expected for files in appeared)


@pytest.mark.parametrize(
    ("engine", "form"), [("stream", "npy"), ("stream", "npz"), ("stream", "png"), ("blocks", "npy")]
)
def test_a_table_of_predictions_has_no_row_without_its_map(
    disk: Disk, tmp_path: Path, pca_run: Path, tiny_folder: Path, engine: str, form: str
) -> None:
    flags = ["--save", "maps", "pictures", "--map-format", form, "--engine", engine]
    predict.main([str(pca_run), str(tiny_folder / "test"), "--out", str(tmp_path / "out"), *flags])
    expected = without_lock(content(tmp_path))
    assert len(expected) == 6 + 6 + 2
    assert without_lock(disk.kept) == expected
    for files in map(without_temporary, disk.seen):
        drawn = {
            name: own for name, own in files.items() if Path(name).suffix in (f".{form}", ".jpg")
        }
        assert drawn.items() <= expected.items()


def test_rows_after_zeros_that_a_cut_left_are_scored_again(
    tmp_path: Path, pca_run: Path, tiny_folder: Path
) -> None:
    arguments = [str(pca_run), str(tiny_folder / "test"), "--out", str(tmp_path / "out")]
    predict.main([*arguments, "--save", "scores"])
    table, expected = (
        tmp_path / "out/predictions.csv",
        (tmp_path / "out/predictions.csv").read_bytes(),
    )
    lines = expected.splitlines(keepends=True)
    spoilt = [*lines[:3], bytes(len(lines[3])), *lines[4:]]  # a page that never reached the disk
    (tmp_path / "out/predictions.partial.csv").write_bytes(b"".join(spoilt))
    shutil.move(table, tmp_path / "moved.csv")
    predict.main([*arguments, "--save", "scores", "--resume"])
    assert table.read_bytes() == expected
