"""Runs of every format can be read: each folder of `formats` has one, written by its version."""

import csv
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from i3ad_jax import Detector
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.files import read_json, without_digest, write_json, write_with_digest
from i3ad_jax.runs.formats import FORMAT
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, make_untrained_run

RUNS = sorted(Path(__file__).with_name("formats").iterdir())


def test_every_format_but_the_newest_has_a_run() -> None:
    assert [folder.name for folder in RUNS] == [str(number) for number in range(len(RUNS))]
    assert len(RUNS) in (FORMAT, FORMAT + 1)


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_a_run_of_each_format_gives_the_scores_of_its_time(folder: Path, tmp_path: Path) -> None:
    run = RunFolder(folder)
    assert run.read_format() == int(folder.name)
    test = run.read_config().data.load(size=(32, 32)).test
    with run.scores.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    predictions = Detector.load(folder).score(test.images[:])
    assert [row["path"] for row in rows] == list(test.paths)
    for name in predictions[0].scores:
        expected = [float(row[name]) for row in rows]
        # PCA in float32 on another processor: 30 sums of 3,072 products.
        np.testing.assert_allclose(
            [x.scores[name] for x in predictions], expected, rtol=1e-4, atol=1e-5
        )
    copy = shutil.copytree(folder, tmp_path / "run")
    evaluate.main([str(copy), "--out", str(tmp_path / "out"), "--pooling", "peak"])
    written = RunFolder(tmp_path / "out")
    assert written.read_format() == FORMAT
    assert written.read_plan().choices["view"].value == "whole"


def test_a_later_format_is_refused(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(pca_run, tmp_path / "run")
    assert read_json(run / "run.json") == {"format": FORMAT}
    write_json(run / "run.json", {"format": FORMAT + 1})
    message = fails(predict.main, [run, tiny_folder, "--out", tmp_path / "out"])
    assert (
        f"{run / 'run.json'}: run format {FORMAT + 1}, but this version of i3ad_jax reads"
        in message
    )
    for damaged in (True, 0, -1, "1", None):
        write_json(run / "run.json", {"format": damaged})
        assert "damaged" in fails(predict.main, [run, tiny_folder, "--out", tmp_path / "out"])


def made_older(run: Path) -> Path:
    """Turn a run into one of format 2: nothing in it says at which sizes details are seen."""
    folder = RunFolder(run)
    write_json(folder.format, {"format": 2})
    plan, config = without_digest(read_json(folder.plan)), read_json(folder.config)
    for name in ("seen", "levels"):
        del plan["preprocessing"][name]
    write_with_digest(folder.plan, plan)
    for name in ("segmenter_side", "segmenter_levels"):
        del config["training"]["segmenter"][name]
    write_json(folder.config, config)
    return run


def test_runs_with_the_segmentation_network_of_version_0_3_are_refused(
    fails: Fails, untrained_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run = made_older(shutil.copytree(untrained_run, tmp_path / "run"))
    for main, arguments in (
        (predict.main, [run, tiny_folder, "--out", tmp_path / "out"]),
        (evaluate.main, [run, "--data", tiny_folder, "--out", tmp_path / "out"]),
        (train.main, ["--run", run, "--data", tiny_folder, "--resume"]),
    ):
        assert fails(main, arguments) == (
            f"error: {run}: trained by version 0.3 or earlier with another segmentation network;"
            " train it again, or use version 0.3"
        )
    assert not (tmp_path / "out").exists()
    config = RunFolder(run).read_config()  # what was asked for can still be read
    own = config.training.segmenter
    assert (own.segmenter_side, own.segmenter_levels) == (64, 3)


def test_older_runs_of_i3ad_without_a_segmentation_network_are_read(tmp_path: Path) -> None:
    small = {"generator": "context", "context_width": 2}
    make_untrained_run(tmp_path / "run", segmenter_width=0, **small)
    newer = Detector.load(tmp_path / "run")
    older = Detector.load(made_older(tmp_path / "run"))
    assert older.config.training.segmenter.segmenter_width == 0
    assert older.preprocessing.to_json() == newer.preprocessing.to_json()
    assert (older.preprocessing.whole, older.preprocessing.levels) == (True, 0)
    jax.tree.map(np.testing.assert_array_equal, older.state, newer.state)


def test_levels_that_the_settings_do_not_ask_for_are_refused(
    fails: Fails, pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run = RunFolder(shutil.copytree(pca_run, tmp_path / "run"))
    plan = without_digest(read_json(run.plan))
    plan["preprocessing"]["levels"] = 1
    write_with_digest(run.plan, plan)
    message = fails(predict.main, [run.path, tiny_folder, "--out", tmp_path / "out"])
    assert f"{run.plan}: damaged (levels does not match the settings)" in message
