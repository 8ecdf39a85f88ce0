"""Results of a test, read from its folder."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax.errors import InputError
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder


def test_results_are_those_of_the_files(pca_run: Path) -> None:
    found = read_results(RunFolder(pca_run))
    with (pca_run / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(found.paths) == [row["path"] for row in rows]
    assert list(found.defects) == [row["defect"] for row in rows]
    assert found.labels.tolist() == [int(row["label"]) for row in rows]
    for name, scores in found.scores.items():
        np.testing.assert_array_equal(scores, [float(row[name]) for row in rows])
    results = json.loads((pca_run / "results.json").read_text())
    assert found.headline == results["headline"]
    assert found.config == json.loads((pca_run / "config.json").read_text())


@pytest.mark.parametrize(("old", "new"), [(",1,spot", ",0,spot"), ("spot/0", "spot/9")])
def test_a_changed_table_is_refused(pca_run: Path, tmp_path: Path, old: str, new: str) -> None:
    folder = RunFolder(shutil.copytree(pca_run, tmp_path / "run"))
    text = folder.scores.read_text()
    assert old in text
    folder.scores.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=r"scores.csv: .*tests the run again"):
        read_results(folder)
