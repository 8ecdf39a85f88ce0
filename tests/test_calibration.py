"""Calibrated maps and scores, from the held-out images to every file of a run."""

import csv
import json
import shutil
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from i3ad_jax import evaluate, predict, train
from i3ad_jax.calibration import Calibration, calibrate, plain_anomaly_maps, scores_of
from i3ad_jax.config import default_config
from i3ad_jax.errors import InputError
from i3ad_jax.methods.method import State
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import CALIBRATED, image_scores
from i3ad_jax.scoring.standardisation import ScoringSettings, statistics

CONFIG = default_config("pca").with_settings({"image_size": 16, "components": 3, "queue_size": 9})
METHOD = CONFIG.build()
RNG = np.random.default_rng(0)


def pictures(count: int) -> np.ndarray:
    """A ramp under noise that grows from left to right."""
    ramp = np.linspace(40, 200, 16)
    noise = RNG.normal(0, np.linspace(2, 30, 16)[:, None], (count, 16, 16, 3))
    return np.clip(ramp[:, None, None] + noise, 0, 255).astype(np.uint8)


TRAINED_ON, HELD_OUT = pictures(12), pictures(9)


@pytest.fixture(scope="module")
def state() -> State:
    return METHOD.fit_at_once(TRAINED_ON)


@pytest.fixture(scope="module")
def plain(state: State) -> np.ndarray:
    """The plain SSIM maps of the held-out images."""
    return plain_anomaly_maps(METHOD, state, {}, HELD_OUT)["ssim"]


def calibrated(
    state: State, *, images: np.ndarray = HELD_OUT, scoring: ScoringSettings = CONFIG.scoring
) -> Calibration:
    return calibrate(METHOD, state, images, scoring=scoring, seed=0, step=1)


@pytest.mark.parametrize("by", ["pixel", "global", "none"])
def test_thresholds_are_of_images_that_the_statistics_have_not_seen(
    by: Literal["pixel", "global", "none"], state: State, plain: np.ndarray
) -> None:
    scoring = ScoringSettings(standardise=by, top_fraction=0.05)
    found = calibrated(state, scoring=scoring)
    scores = []
    for index, own in enumerate(plain):
        others = statistics(np.delete(plain, index, axis=0), by)
        scores.append(np.sort(others.standardise(own).ravel())[-13:].mean())  # 5 % of 256
    assert found.thresholds["ssim_calibrated"] == pytest.approx(np.quantile(scores, 0.95), rel=1e-4)
    assert found.thresholds["ssim"] == np.quantile(image_scores(plain), 0.95)
    maps = found.complete(plain_anomaly_maps(METHOD, state, {}, HELD_OUT))
    if by == "pixel":
        seen = scores_of(maps, scoring)["ssim_calibrated"]
        assert np.quantile(seen, 0.95) < found.thresholds["ssim_calibrated"]


def test_calibrated_maps_stand_beside_the_plain_ones(state: State, plain: np.ndarray) -> None:
    found = calibrated(state)
    chosen = found.standardise["ssim_calibrated"]
    assert chosen["by"] == max(chosen["log_likelihoods"], key=chosen["log_likelihoods"].get) == "pixel"
    maps = found.complete(plain_anomaly_maps(METHOD, state, {}, HELD_OUT))
    assert list(maps) == ["l2", "ssim", "ms_ssim", "l2_calibrated", "ssim_calibrated", "ms_ssim_calibrated"]
    np.testing.assert_array_equal(maps["ssim"], plain)
    np.testing.assert_array_equal(maps["ssim_calibrated"], statistics(plain, "pixel").standardise(plain))


def test_files_hold_all_of_it(state: State, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written = calibrated(state)
    written.write(folder)
    read = Calibration.read(folder, method=METHOD, step=1, state=state)
    assert read.to_json() == written.to_json()
    assert list(read.statistics) == list(written.statistics) == [score.name for score in CALIBRATED]
    for name, found in written.statistics.items():
        np.testing.assert_array_equal(read.statistics[name].mean, found.mean)
        np.testing.assert_array_equal(read.statistics[name].sd, found.sd)
    (folder.statistics / "ssim_calibrated.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"ssim_calibrated\.npy: cannot be read"):
        Calibration.read(folder, method=METHOD, step=1, state=state)


def test_one_held_out_image_is_enough(state: State) -> None:
    assert np.isfinite(calibrated(state, images=HELD_OUT[:1]).thresholds["ssim_calibrated"])


def columns(file: Path) -> dict[str, list[str]]:
    with file.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_without_standardising_and_pooling_it_is_the_plain_score(pca_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(pca_run), "--out", str(tmp_path), "--standardise", "none", "--top-fraction", "1"])
    scores = columns(tmp_path / "scores.csv")
    assert scores["ssim_calibrated"] == scores["ssim"] == columns(pca_run / "scores.csv")["ssim"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["scores"]["ssim_calibrated"] == results["scores"]["ssim"]
    assert results["thresholds"]["ssim_calibrated"] == results["thresholds"]["ssim"]


def test_a_run_that_was_stopped_before_it_was_calibrated_is_calibrated_by_resume_and_by_evaluate(
    pca_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    command = [str(tiny_folder / "test"), "--out", str(tmp_path / "found")]
    for number, again in enumerate((["--resume", "--run"], [])):
        run = shutil.copytree(pca_run, tmp_path / f"run{number}")
        shutil.rmtree(run / "statistics")
        (run / "calibration.json").unlink()
        with pytest.raises(InputError, match=r"calibration\.json: missing"):
            predict.main([str(run), *command])
        (train if again else evaluate).main([*again, str(run)])
        for file in ("scores.csv", "calibration.json", "statistics/ssim_calibrated.npy"):
            assert (run / file).read_bytes() == (pca_run / file).read_bytes()
        predict.main([str(run), *command, "--score", "ssim_calibrated"])
        found = columns(tmp_path / "found/predictions.csv")
        own = [float(score) for score in columns(run / "scores.csv")["ssim_calibrated"]]
        assert [float(score) for score in found["ssim_calibrated"]] == pytest.approx(own, rel=1e-5)
        threshold = json.loads((run / "calibration.json").read_text())["thresholds"]["ssim_calibrated"]
        assert found["anomalous"] == [str(int(score > threshold)) for score in own]
        assert np.load(tmp_path / "found/maps/0.npy").min() < 0  # deviations: 1 - SSIM is never negative


def test_other_settings_do_not_touch_the_run_s_calibration(pca_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(pca_run, tmp_path / "run")
    evaluate.main([str(run), "--standardise", "global"])
    assert (run / "calibration.json").read_bytes() == (pca_run / "calibration.json").read_bytes()
    written = json.loads((run / "evaluation/calibration.json").read_text())
    assert written["standardise"]["ssim_calibrated"]["by"] == "global"
