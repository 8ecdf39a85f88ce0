"""Runs of every format can be read: each folder of `formats` has one, written by its version."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax import Detector
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.files import read_json, write_json
from i3ad_jax.runs.formats import FORMAT
from i3ad_jax.runs.run_folder import RunFolder
from tests.conftest import Fails

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
