"""`python -m i3ad_jax.evaluate`: tests of a trained run, repeated or with other settings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax import Detector
from i3ad_jax.errors import DoubtfulLabelWarning
from i3ad_jax.evaluate import __main__ as evaluate


def test_evaluate_repeats_the_run(tiny_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(tiny_run), "--out", str(tmp_path / "again")])
    assert (tmp_path / "again/scores.csv").read_text() == (tiny_run / "scores.csv").read_text()


@pytest.mark.slow
def test_the_batch_size_of_the_test_changes_no_map(tiny_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(tiny_run), "--out", str(tmp_path), "--test-batch-size", "1"])
    together, singly = (np.load(folder / "maps/ssim.npy") for folder in (tiny_run, tmp_path))
    # A barely trained network passes rounding on as it is: 1e-6 was measured on AVX-512 and SSE4.2.
    np.testing.assert_allclose(together, singly, rtol=0, atol=5e-6)


@pytest.mark.slow
def test_evaluate_with_other_settings_leaves_the_run_alone(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    before = (run / "results.json").read_bytes()
    evaluate.main([str(run), "--u", "0.3", "--iterations", "1"])
    results = json.loads((run / "evaluation/results.json").read_text())
    assert (results["u"], results["iterations"]) == (0.3, 1)
    assert (run / "results.json").read_bytes() == before


@pytest.mark.slow
def test_weights_give_nearly_the_same_maps_in_bfloat16(tiny_run: Path, tiny_folder: Path) -> None:
    single = Detector.load(tiny_run)
    asked = single.plan.asked.with_settings({"dtype": "bfloat16"})
    half = replace(single, plan=single.plan.with_asked(asked))
    maps, others = (
        np.stack([found.small_maps["ssim"] for found in own.score(tiny_folder / "test")])
        for own in (single, half)
    )
    assert 0 < np.abs(maps - others).mean() < 0.02


def test_test_images_alone_are_evaluated(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for part in ("test", "ground_truth"):
        shutil.copytree(tiny_folder / part, data / part)
    (data / "notes.txt").write_text("x")
    evaluate.main([str(pca_run), "--data", str(data), "--out", str(tmp_path / "out")])
    results, own = (
        json.loads((folder / "results.json").read_text()) for folder in (tmp_path / "out", pca_run)
    )
    assert results["data_digest"] == own["data_digest"]
    assert results["scores"] == own["scores"]
    assert "not used: 1 .txt file" in capsys.readouterr().out
    detector = Detector.load(pca_run)
    assert detector.evaluate(data).metrics == detector.evaluate(tiny_folder).metrics


def test_a_class_that_scores_like_the_normal_images_is_warned_of(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny_folder, tmp_path / "data")
    for i in range(1, 5):
        for name in ("0", "1", "2"):
            shutil.copy(data / f"test/good/{name}.png", data / f"test/good/{i}_{name}.png")
            shutil.copy(data / f"test/spot/{name}.png", data / f"test/spot/{i}_{name}.png")
    shutil.copytree(data / "test/good", data / "test/gut")
    shutil.rmtree(data / "ground_truth")
    out = ["--out", str(tmp_path / "out")]
    with pytest.warns(DoubtfulLabelWarning) as caught:
        evaluate.main([str(pca_run), "--data", str(data), *out])
    messages = [str(w.message) for w in caught if w.category is DoubtfulLabelWarning]
    assert len(messages) == 1
    assert "give --normal-class gut" in messages[0]
    evaluate.main([str(pca_run), "--data", str(data), "--normal-class", "gut", *out])


def test_folders_of_the_test_are_relative_to_the_working_directory(
    pca_run: Path, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_folder)
    folders = ["--normal", "test/good", "--anomalous", "test/spot"]
    evaluate.main([str(pca_run), *folders, "--out", str(tmp_path)])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["data_source"] == str(tiny_folder / "test")
    assert results["data_reading"]["anomalous"] == "spot"
    assert (results["num_test_normal"], results["num_test_anomalous"]) == (1, 3)
