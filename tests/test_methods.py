"""Behaviour that all methods share: settings that identify them, from flags to predictions."""

import csv
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.networks import build
from i3ad_jax.config import PRESETS, default_config
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods import METHODS
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.preprocessing.preprocessing import Squares
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.train import __main__ as train
from tests.conftest import FlagsOf, RunOf, tiny_settings
from tests.support.random_weights import random_weights

BASELINES = [name for name in METHODS if name != "i3ad"]
QUICK = ("l2_ae", "pca")  # to train; one learns by steps, the other at once
WITH_FEATURES = ("f_anogan", "aegan")


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", METHODS)
def test_defaults_of_every_method_can_be_built(preset: str, name: str) -> None:
    config = default_config(name, preset=preset)
    assert (config.preset, config.method) == (preset, name)
    method = build(config)
    assert type(method) is METHODS[name]
    assert method.image_size == PRESETS[preset][0].image_size
    assert method.trace_iterations[0] == 0


@pytest.mark.parametrize("name", METHODS)
def test_settings_identify_a_method(name: str) -> None:
    default = default_config(name)
    method, again = build(default), build(default_config(name))
    assert method is not again
    assert method == again
    assert hash(method) == hash(again)
    own = {
        key: value
        for key, value in default.flat().items()
        if key not in default.preprocessing.flat()
    }
    changes = {
        key: value for key, value in tiny_settings(name).items() if value != own.get(key, value)
    }
    for change in ({"ssim_window": "uniform"}, *({key: value} for key, value in changes.items())):
        other = build(default.with_settings(change))
        assert other != method, change
        assert hash(other) != hash(method), change


def test_methods_of_equal_settings_are_not_one_method() -> None:
    assert len({build(default_config(name)) for name in METHODS}) == len(METHODS)


@pytest.mark.parametrize("name", ["pca", "l2_ae"])  # one mechanism for all
def test_a_second_instance_compiles_nothing(name: str, compiled: list[str]) -> None:
    config = default_config(name).with_settings(tiny_settings(name))
    method, again = build(config), build(config)
    weights = random_weights(jax.eval_shape(method.init, jax.random.key(0)))
    state, squares = (
        jax.tree.map(jnp.asarray, weights),
        Squares.of_pixels(jnp.zeros((2, 32, 32, 3))),
    )
    method.predict(state, {"u": 0.5}, squares, 2)
    assert any("backend_compile" in event for event in compiled)
    compiled.clear()
    again.predict(state, {"u": 0.5}, squares, 1)
    assert compiled == []


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BASELINES],
)
def test_baseline_from_training_to_verdicts(
    name: str, run_of: RunOf, tiny_folder: Path, tmp_path: Path
) -> None:
    run = run_of(name)
    results = json.loads((run / "results.json").read_text())
    assert results["method"] == name
    given = {None, "features"} if name in WITH_FEATURES else {None}
    names = [name for name, score in SCORES.items() if score.needs in given]
    assert list(results["scores"]) == list(results["thresholds"]) == names
    assert "checkerboard" not in (run / "report.html").read_text()
    with (run / "scores.csv").open() as file:
        assert list(next(csv.DictReader(file))) == ["path", "label", "defect", *names]

    evaluate.main([str(run), "--out", str(tmp_path / "again")])
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["scores"] == results["scores"]

    images, found = tiny_folder / "test" / "spot", tmp_path / "found"
    predict.main([str(run), str(images), "--out", str(found), "--save", "maps"])
    with (tmp_path / "found" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        *("path", *names, "anomalous", "unusable", "regions", "map", "picture", "error")
    ]
    maps = np.load(tmp_path / "found" / rows[0]["map"])
    assert maps.shape == (40, 48)


def test_projection_takes_the_autoencoders_run(run_of: RunOf, tmp_path: Path) -> None:
    options = ["--method", "l2_ae_projection", "--projection-steps", "3", "--out", str(tmp_path)]
    evaluate.main([str(run_of("l2_ae")), *options])
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["method"] == "l2_ae_projection"
    with pytest.raises(
        InputError, match=r"^--method unet: cannot take the weights of a run of l2_ae"
    ):
        evaluate.main([str(run_of("l2_ae")), "--method", "unet"])


@pytest.mark.slow
def test_projection_trained_alone_scores_like_that_of_the_autoencoder(
    run_of: RunOf, tmp_path: Path
) -> None:
    options = ["--method", "l2_ae_projection", "--projection-steps", "3", "--out", str(tmp_path)]
    evaluate.main([str(run_of("l2_ae")), *options])
    taken, trained = (
        json.loads((folder / "results.json").read_text())
        for folder in (tmp_path, run_of("l2_ae_projection"))
    )
    assert taken["scores"] == trained["scores"]


@pytest.mark.slow
def test_resumed_baseline_ends_in_the_same_bits(flags_of: FlagsOf, tmp_path: Path) -> None:
    flags = [*flags_of("f_anogan"), "--checkpoint-every", "1"]
    train.main([*flags, "--steps", "3", "--run", str(tmp_path / "whole")])
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "3")
    (tmp_path / "cut" / "results.json").unlink()
    # Its encoder would have begun to learn later.
    with pytest.raises(
        InputError, match=r"^--steps 6: .* was trained with --steps 3; .* start a new run"
    ):
        train.main(["--run", str(tmp_path / "cut"), "--resume", "--steps", "6"])
    train.main(["--run", str(tmp_path / "cut"), "--resume"])
    for kind in ("l2", "ssim", "l2_ld"):
        whole, cut = (
            np.load(tmp_path / place / "maps" / f"{kind}.npy") for place in ("whole", "cut")
        )
        np.testing.assert_array_equal(whole, cut)
