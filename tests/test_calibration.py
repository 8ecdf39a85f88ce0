"""Calibrated maps and scores, from the held-out images to every file of a run."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np
import pytest

from i3ad_jax import evaluate, predict
from i3ad_jax.calibration import CALIBRATED, RunCalibration, anomaly_maps, calibrate, scores_of
from i3ad_jax.config import Config, DataConfig, NetworkConfig, RefineConfig, ScoreConfig
from i3ad_jax.errors import InputError
from i3ad_jax.methods import build
from i3ad_jax.methods.method import State
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import image_scores
from i3ad_jax.scoring.standardisation import statistics
from i3ad_jax.shapes import to_float

CONFIG = Config(
    method="pca",
    data=DataConfig(image_size=16),
    network=NetworkConfig(components=3),
    refine=RefineConfig(queue_size=9),
)
METHOD = build(CONFIG)
RNG = np.random.default_rng(0)


def pictures(count: int) -> np.ndarray:
    """A ramp under noise that grows from left to right."""
    ramp = np.linspace(40, 200, 16)
    noise = RNG.normal(0, np.linspace(2, 30, 16)[:, None], (count, 16, 16, 3))
    return np.clip(ramp[:, None, None] + noise, 0, 255).astype(np.uint8)


TRAINED_ON, HELD_OUT = pictures(12), pictures(9)


@pytest.fixture(scope="module")
def state() -> State:
    return METHOD.fit(to_float(jnp.asarray(TRAINED_ON)))


@pytest.fixture(scope="module")
def plain(state: State) -> np.ndarray:
    """The plain maps of the held-out images."""
    return np.asarray(METHOD.anomaly_maps(state, {}, to_float(jnp.asarray(HELD_OUT)), 9)["ssim"])


@pytest.mark.parametrize("by", ["pixel", "global", "none"])
def test_thresholds_are_of_images_that_the_statistics_have_not_seen(
    by: Literal["pixel", "global", "none"], state: State, plain: np.ndarray
) -> None:
    config = replace(CONFIG, score=ScoreConfig(standardise=by, top_fraction=0.05))
    found = calibrate(METHOD, config, state, HELD_OUT)
    scores = []
    for index, own in enumerate(plain):
        others = statistics(np.delete(plain, index, axis=0), by)
        scores.append(np.sort(others.standardise(own).ravel())[-13:].mean())  # 5 % of 256
    thresholds = found.values["thresholds"]
    assert thresholds["ssim_calibrated"] == pytest.approx(np.quantile(scores, 0.95), rel=1e-4)
    assert thresholds["ssim"] == np.quantile(image_scores(plain), 0.95)
    seen = scores_of(anomaly_maps(METHOD, config, state, found, HELD_OUT), config.score)["ssim_calibrated"]
    if by == "pixel":
        assert np.quantile(seen, 0.95) < thresholds["ssim_calibrated"]


def test_calibrated_maps_stand_beside_the_plain_ones(state: State, plain: np.ndarray) -> None:
    found = calibrate(METHOD, CONFIG, state, HELD_OUT)
    chosen = found.values["standardise"]["ssim_calibrated"]
    assert chosen["by"] == max(chosen["log_likelihoods"], key=chosen["log_likelihoods"].get) == "pixel"
    maps = anomaly_maps(METHOD, CONFIG, state, found, HELD_OUT)
    assert list(maps) == ["l2", "ms_ssim", "ssim", *CALIBRATED]
    np.testing.assert_array_equal(maps["ssim"], plain)
    np.testing.assert_array_equal(maps["ssim_calibrated"], statistics(plain, "pixel").standardise(plain))


def test_files_hold_all_of_it(state: State, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    written = calibrate(METHOD, CONFIG, state, HELD_OUT)
    written.write(folder)
    read = RunCalibration.read(folder)
    assert read.values == written.values
    assert list(read.statistics) == list(written.statistics) == list(CALIBRATED)
    for kind, found in written.statistics.items():
        np.testing.assert_array_equal(read.statistics[kind].mean, found.mean)
        np.testing.assert_array_equal(read.statistics[kind].sd, found.sd)
    (folder.statistics / "ssim_calibrated.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"ssim_calibrated\.npy: cannot be read"):
        RunCalibration.read(folder)


def test_one_held_out_image_is_enough(state: State) -> None:
    found = calibrate(METHOD, CONFIG, state, HELD_OUT[:1])
    assert np.isfinite(found.values["thresholds"]["ssim_calibrated"])


def columns(file: Path) -> dict[str, list[str]]:
    with file.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def test_without_standardising_and_pooling_it_is_the_plain_score(tiny_run: Path, tmp_path: Path) -> None:
    evaluate.main([str(tiny_run), "--out", str(tmp_path), "--standardise", "none", "--top-fraction", "1"])
    scores = columns(tmp_path / "scores.csv")
    assert scores["ssim_calibrated"] == scores["ssim"] == columns(tiny_run / "scores.csv")["ssim"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["scores"]["ssim_calibrated"] == results["scores"]["ssim"]
    assert results["thresholds"]["ssim_calibrated"] == results["thresholds"]["ssim"]


def test_a_run_of_an_earlier_version_is_calibrated_by_evaluate(
    tiny_run: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "statistics")
    config = json.loads((run / "config.json").read_text())
    del config["score"]
    (run / "config.json").write_text(json.dumps(config))
    command = [str(run), str(tiny_folder / "test"), "--out", str(tmp_path / "found")]
    with pytest.raises(InputError, match=rf"statistics: missing; python -m i3ad_jax\.evaluate {run} "):
        predict.main(command)
    evaluate.main([str(run)])
    assert (run / "scores.csv").read_text() == (tiny_run / "scores.csv").read_text()
    predict.main([*command, "--score", "ssim_calibrated"])
    found = columns(tmp_path / "found/predictions.csv")
    own = [float(score) for score in columns(run / "scores.csv")["ssim_calibrated"]]
    assert [float(score) for score in found["ssim_calibrated"]] == pytest.approx(own, rel=1e-5)
    threshold = json.loads((run / "calibration.json").read_text())["thresholds"]["ssim_calibrated"]
    assert found["anomalous"] == [str(int(score > threshold)) for score in own]
    assert np.load(tmp_path / "found/maps/0.npy").min() < 0  # deviations: 1 - SSIM is never negative


def test_other_settings_do_not_touch_the_run_s_calibration(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    evaluate.main([str(run), "--standardise", "global"])
    before = (tiny_run / "calibration.json").read_text()
    assert (run / "calibration.json").read_text() == before
    written = json.loads((run / "evaluation/calibration.json").read_text())
    assert written["standardise"]["ssim_calibrated"]["by"] == "global"
