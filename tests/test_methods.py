"""Every baseline from the command line to the report: train, resume, evaluate, predict."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from i3ad_jax import evaluate, predict, train
from i3ad_jax.calibration import CALIBRATED
from i3ad_jax.errors import InputError
from i3ad_jax.methods import BASELINES, METHODS, build
from i3ad_jax.presets import defaults

WITH_FEATURES = ("f_anogan", "aegan")


@pytest.fixture(scope="module", params=BASELINES)
def run(
    request: pytest.FixtureRequest, tiny_flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    flags = ["--latent-size", "3", "--components", "2", "--latent-steps", "3", "--projection-steps", "3"]
    train.main([*tiny_flags, *flags, "--steps", "4", "--method", request.param, "--run", str(folder)])
    return folder


def test_baseline_from_training_to_verdicts(run: Path, tiny_folder: Path, tmp_path: Path) -> None:
    results = json.loads((run / "results.json").read_text())
    assert results["method"] == run.name
    kinds = ["l2", *(["l2_ld"] if run.name in WITH_FEATURES else []), "ms_ssim", "ssim", *CALIBRATED]
    assert list(results["scores"]) == list(results["thresholds"]) == kinds
    assert "checkerboard" not in (run / "report.html").read_text()
    with (run / "scores.csv").open() as file:
        assert list(next(csv.DictReader(file))) == ["path", "label", "defect", *kinds]

    evaluate.main([str(run), "--out", str(tmp_path / "again")])
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["scores"] == results["scores"]

    predict.main([str(run), str(tiny_folder / "test" / "spot"), "--out", str(tmp_path / "found")])
    with (tmp_path / "found" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", *kinds, "anomalous"]
    maps = np.load(tmp_path / "found" / "maps" / "0.npy")
    assert maps.shape == (40, 48)


def test_projection_takes_the_autoencoders_run(tiny_flags: list[str], tmp_path: Path) -> None:
    flags = [*tiny_flags, "--steps", "2", "--latent-size", "3", "--projection-steps", "3"]
    train.main([*flags, "--method", "l2_ae", "--run", str(tmp_path / "l2_ae")])
    train.main([*flags, "--method", "l2_ae_projection", "--run", str(tmp_path / "projection")])
    evaluate.main([str(tmp_path / "l2_ae"), "--method", "l2_ae_projection"])
    taken, trained = (
        json.loads((tmp_path / place / "results.json").read_text())
        for place in ("l2_ae/evaluation", "projection")
    )
    assert taken["method"] == "l2_ae_projection"
    assert taken["scores"] == trained["scores"]
    with pytest.raises(InputError, match=r"^--method unet: cannot take the weights of .* a run of l2_ae"):
        evaluate.main([str(tmp_path / "l2_ae"), "--method", "unet"])


def test_resumed_baseline_ends_in_the_same_bits(tiny_flags: list[str], tmp_path: Path) -> None:
    flags = [*tiny_flags, "--method", "f_anogan", "--latent-size", "3", "--checkpoint-every", "1"]
    train.main([*flags, "--steps", "3", "--run", str(tmp_path / "whole")])
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "3")
    (tmp_path / "cut" / "results.json").unlink()
    # Its encoder would have begun to learn later.
    with pytest.raises(InputError, match=r"^--steps 6: .* was trained with --steps 3; .* start a new run"):
        train.main(["--run", str(tmp_path / "cut"), "--resume", "--steps", "6"])
    train.main(["--run", str(tmp_path / "cut"), "--resume"])
    for kind in ("l2", "ssim", "l2_ld"):
        whole, cut = (np.load(tmp_path / place / "maps" / f"{kind}.npy") for place in ("whole", "cut"))
        np.testing.assert_array_equal(whole, cut)


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("method", METHODS)
def test_defaults_of_every_method_can_be_built(preset: str, method: str) -> None:
    config = defaults(preset, method)
    assert (config.preset, config.method) == (preset, method)
    assert build(config).traced[0] == 0
