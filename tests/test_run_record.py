"""A run's files stay true: no result silently rests on other images, settings or weights."""

import csv
import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from i3ad_jax import Detector, command_line
from i3ad_jax.errors import ChangedFilesWarning
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.predict import __main__ as predict
from i3ad_jax.runs.checkpoint import Checkpoints
from i3ad_jax.runs.files import file_hash
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.train import __main__ as train
from tests.conftest import Fails, FlagsOf
from tests.support.json_files import edit, read

# a setting of the test that makes evaluate calibrate anew
RECALIBRATE = (
    "--standardise",
    "global",
)


def content(folder: Path) -> dict[Path, bytes]:
    """Every file below a folder."""
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def write_picture(file: Path, *, seed: int = 0) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file)


@pytest.fixture
def data(tiny_folder: Path, tmp_path: Path) -> Path:
    """A data set to change."""
    return shutil.copytree(tiny_folder, tmp_path / "data")


@pytest.fixture
def run(pca_run: Path, data: Path, tmp_path: Path) -> Path:
    """A finished run of that data set, to change."""
    folder = shutil.copytree(pca_run, tmp_path / "run")
    edit(folder / "config.json", lambda config: config["data"].update(data=str(data)))
    return folder


@pytest.fixture
def other_data(tiny_folder: Path, tmp_path: Path) -> Path:
    """Another data set of the same layout, whose test images are others."""
    root = shutil.copytree(tiny_folder, tmp_path / "elsewhere" / "data")
    for number, file in enumerate(sorted((root / "test").rglob("*.png"))):
        write_picture(file, seed=number)
    return root


# Which images were trained on and held out


def add(_: Path, data: Path) -> str:
    write_picture(data / "train/good/00.png")
    return "train/good/00.png: added"


def damage_first(part: str, *, remove: bool) -> Callable[[Path, Path], str]:
    """Change or remove the first file of a part of the list; return text of the message."""

    def damage(run: Path, data: Path) -> str:
        path = next(iter(read(run / "files.json")[part]))
        if remove:
            (data / path).unlink()
            return f"{path}: missing"
        write_picture(data / path)
        return f"{path}: changed"

    return damage


change_trained, remove_trained = (
    damage_first("trained", remove=remove) for remove in (False, True)
)
change_held_out, remove_held_out = (
    damage_first("held_out", remove=remove) for remove in (False, True)
)


def test_a_run_records_every_training_image_once(run: Path, data: Path) -> None:
    files = read(run / "files.json")
    both = [*files["trained"], *files["held_out"]]
    assert sorted(both) == [f"train/good/{number}.png" for number in range(8)]
    assert len(files["held_out"]) == 2
    for path, recorded in (files["trained"] | files["held_out"]).items():
        assert recorded == hashlib.sha256((data / path).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "change", [add, change_trained, remove_trained, change_held_out, remove_held_out]
)
def test_resume_refuses_other_training_images_and_names_the_file(
    fails: Fails, run: Path, data: Path, change: Callable[[Path, Path], str]
) -> None:
    named, before = change(run, data), content(run)
    assert named in fails(train.main, ["--run", run, "--resume"])
    assert content(run) == before


@pytest.mark.parametrize(
    "change",
    [add, *(pytest.param(x, marks=pytest.mark.slow) for x in (change_trained, remove_trained))],
)
def test_evaluate_uses_the_recorded_held_out_images_and_names_changes(
    run: Path, data: Path, tmp_path: Path, change: Callable[[Path, Path], str]
) -> None:
    evaluate.main([str(run), *RECALIBRATE, "--out", str(tmp_path / "before")])
    with pytest.warns(ChangedFilesWarning, match=change(run, data)):
        evaluate.main([str(run), *RECALIBRATE, "--out", str(tmp_path / "after")])
    for file in ("calibration.json", "statistics/ssim_calibrated.npy", "scores.csv", "files.json"):
        assert (tmp_path / "after" / file).read_bytes() == (tmp_path / "before" / file).read_bytes()


@pytest.mark.parametrize("change", [change_held_out, remove_held_out])
@pytest.mark.filterwarnings("ignore::i3ad_jax.errors.ChangedFilesWarning")
def test_evaluate_does_not_calibrate_by_other_images_than_those_held_out(
    fails: Fails, run: Path, data: Path, change: Callable[[Path, Path], str]
) -> None:
    named = change(run, data)
    assert named in fails(evaluate.main, [run, *RECALIBRATE])
    assert not (run / "evaluation/results.json").exists()


def test_the_command_warns_in_one_line(
    run: Path, data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = add(run, data)
    monkeypatch.setattr(sys, "argv", ["evaluate", str(run), *RECALIBRATE])
    monkeypatch.setattr(command_line, "set_up_jax", lambda: None)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        command_line.run(evaluate.main)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith(f"warning: {named}")


# Which data set


def test_a_relative_data_set_means_the_same_from_every_working_directory(
    data: Path, other_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags_of: FlagsOf
) -> None:
    run = tmp_path / "run"
    monkeypatch.chdir(data.parent)
    train.main([*flags_of("pca"), "--data", "data", "--run", str(run)])
    assert read(run / "config.json")["data"]["data"] == str(data)
    before = (run / "scores.csv").read_bytes(), read(run / "results.json")["data_digest"]
    monkeypatch.chdir(other_data.parent)
    evaluate.main([str(run)])
    assert ((run / "scores.csv").read_bytes(), read(run / "results.json")["data_digest"]) == before
    evaluate.main([str(run), "--data", "data"])
    assert read(run / "evaluation/results.json")["data_digest"] != before[1]
    assert (run / "scores.csv").read_bytes() == before[0]


# Every results folder is complete by itself


def test_results_of_a_second_test_keep_its_own_settings_and_calibration(
    run: Path, other_data: Path
) -> None:
    evaluate.main([str(run), *RECALIBRATE])
    first = {
        name: (run / "evaluation" / name).read_bytes()
        for name in ("config.json", "calibration.json")
    }
    evaluate.main([str(run), "--data", str(other_data)])
    second = RunFolder(run / "evaluation")
    assert second.read_config() == RunFolder(run).read_config()
    assert (
        second.calibration.read_bytes()
        == (run / "calibration.json").read_bytes()
        != first["calibration.json"]
    )
    for file in (run / "statistics").iterdir():
        assert (second.statistics / file.name).read_bytes() == file.read_bytes()
    assert read(second.results)["thresholds"] == read(second.calibration)["thresholds"]
    assert read(second.results)["data_digest"] != read(run / "results.json")["data_digest"]
    assert second.read_files() == RunFolder(run).read_files()


@pytest.mark.parametrize(
    "flags",
    [
        ("--ssim-score", "half"),
        *(pytest.param(x, marks=pytest.mark.slow) for x in (RECALIBRATE, ("--queue-size", "2"))),
    ],
)
def test_the_detector_of_a_results_folder_gives_these_results(
    run: Path, data: Path, tmp_path: Path, flags: tuple[str, str]
) -> None:
    results = tmp_path / "results"
    evaluate.main([str(run), *flags, "--out", str(results)])
    with (results / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    detector = Detector.load(results)
    for row, prediction in zip(
        rows, detector.score([data / row["path"] for row in rows]), strict=True
    ):
        assert {name: float(row[name]) for name in prediction.scores} == prediction.scores
    assert detector.calibration.thresholds == read(results / "results.json")["thresholds"]


@pytest.mark.slow
def test_run_and_results_can_be_moved_together(
    run: Path, tmp_path: Path, tiny_folder: Path
) -> None:
    evaluate.main([str(run), *RECALIBRATE])
    expected = Detector.load(run / "evaluation").score(tiny_folder / "test/spot")
    shutil.move(run, tmp_path / "moved")
    found = Detector.load(tmp_path / "moved/evaluation").score(tiny_folder / "test/spot")
    assert [prediction.scores for prediction in found] == [
        prediction.scores for prediction in expected
    ]


@pytest.mark.slow
def test_results_of_results_point_to_the_run_that_has_the_weights(
    run: Path, tiny_folder: Path
) -> None:
    evaluate.main([str(run), *RECALIBRATE])
    evaluate.main([str(run / "evaluation"), "--standardise", "none"])
    detector = Detector.load(run / "evaluation/evaluation")
    assert detector.config.scoring.standardise == "none"
    assert detector.score(tiny_folder / "test/spot/0.png")[0].scores["ssim"] > 0


def test_results_cannot_be_trained_on(fails: Fails, run: Path, flags_of: FlagsOf) -> None:
    evaluate.main([str(run), *RECALIBRATE])
    before = content(run)
    message = fails(train.main, ["--run", run / "evaluation", "--resume"])
    assert f"{run / 'evaluation'}" in message
    assert f"--run {run}" in message
    assert "holds a run" in fails(train.main, [*flags_of("pca"), "--run", run / "evaluation"])
    assert content(run) == before


def test_environment_and_report_tell_the_test_from_the_training(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(
        run / "environment.json",
        lambda values: values.update(platform="the machine of the training"),
    )
    monkeypatch.setattr(sys, "argv", ["the-test", str(run), *RECALIBRATE])
    evaluate.main([str(run), *RECALIBRATE])
    environment = read(run / "evaluation/environment.json")
    assert environment["command"] == ["the-test", str(run), *RECALIBRATE]
    assert environment["platform"] != "the machine of the training"
    assert environment["training"] == read(run / "environment.json")
    assert read(run / "evaluation/results.json")["environment"]["command"] == environment["command"]
    report = (run / "evaluation/report.html").read_text()
    for name, value in (
        ("test.platform", environment["platform"]),
        ("training.platform", "the machine of the training"),
    ):
        assert f"<code>{name}</code></th><td><code>{value}</code>" in report


@pytest.mark.slow
def test_old_results_never_stand_beside_new_settings(fails: Fails, run: Path) -> None:
    evaluate.main([str(run), *RECALIBRATE])
    (run / "evaluation/report.html").unlink()
    (run / "evaluation/report.html").mkdir()  # in the way of the new one
    assert "report.html" in fails(evaluate.main, [run, "--standardise", "none"])
    assert not (run / "evaluation/results.json").exists()


# No test overwrites a run


@pytest.mark.parametrize(
    "way", ["{run}", "./run", "run", "link", "{run}/../run", "run/evaluation/..", "link/../run/."]
)
def test_results_of_other_settings_do_not_overwrite_the_run_by_any_path(
    fails: Fails, run: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.chdir(run.parent)
    Path("link").symlink_to(run)
    before = content(run)
    message = fails(evaluate.main, [run, *RECALIBRATE, "--out", way.format(run=run)])
    assert message.startswith("error: --out ")
    assert "is the run itself" in message
    assert content(run) == before


def test_results_do_not_overwrite_another_run(fails: Fails, run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    before = content(other)
    for flags in ([], RECALIBRATE):
        assert f"--out {other}: holds another run" in fails(
            evaluate.main, [run, *flags, "--out", other]
        )
    (other / "config.json").unlink()
    del before[other / "config.json"]
    assert "holds another run" in fails(evaluate.main, [run, "--out", other])
    assert content(other) == before


# A calibration that cannot be right


def damage_array(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], str]:
    """Statistics that cannot be right, with the hash of their file."""

    def damage(run: Path) -> str:
        file = run / "statistics/ssim_calibrated.npy"
        np.save(file, change(np.load(file)))
        hashes = {"statistics/ssim_calibrated.npy": file_hash(file)}
        edit(run / "calibration.json", lambda values: values["sha256"].update(hashes))
        return "ssim_calibrated.npy"

    return damage


def damage_values(change: Callable[[Any], object], named: str) -> Callable[[Path], str]:
    def damage(run: Path) -> str:
        edit(run / "calibration.json", change)
        return named

    return damage


CALIBRATION_DAMAGE = {
    "statistics of zeros": damage_array(np.zeros_like),
    "statistics of NaN": damage_array(lambda values: np.full_like(values, np.nan)),
    "one deviation of 0": damage_array(
        lambda values: np.where(np.arange(32) == 3, [[[0]], [[0]]], values)
    ),
    "one infinite mean": damage_array(
        lambda values: np.where(np.arange(32) == 3, [[[np.inf]], [[1]]], values)
    ),
    "a negative deviation": damage_array(np.negative),
    "statistics of another size": damage_array(lambda values: values[:, :16, :16]),
    "the mean alone": damage_array(lambda values: values[:1]),
    "statistics of one pixel": damage_array(lambda values: values[:, :1, :1]),
    "statistics of text": damage_array(lambda values: values.astype(str)),
    "no statistics": lambda run: shutil.rmtree(run / "statistics") or "l2_calibrated.npy",
    "a score of NaN": damage_values(
        lambda c: c["held_out_scores"]["l2"].append(float("nan")), "scores of l2"
    ),
    "an infinite score": damage_values(
        lambda c: c["held_out_scores"]["l2"].append(1e999), "scores of l2"
    ),
    "a score of text": damage_values(
        lambda c: c["held_out_scores"].update(l2=["0.5"]), "scores of l2"
    ),
    "a score of true": damage_values(
        lambda c: c["held_out_scores"].update(l2=[True]), "scores of l2"
    ),
    "no scores": damage_values(lambda c: c["held_out_scores"].update(l2=[]), "scores of l2"),
    "other scores": damage_values(
        lambda c: c["held_out_scores"].update(l2=[9.0]), "threshold of l2"
    ),
    "another threshold": damage_values(lambda c: c["thresholds"].update(l2=9.0), "threshold of l2"),
    "a threshold of text": damage_values(
        lambda c: c["thresholds"].update(l2="0.5"), "calibration.json"
    ),
    "an older version's": damage_values(
        lambda c: c.pop("held_out_scores"), "'held_out_scores' is missing"
    ),
    "no threshold of a score": damage_values(
        lambda c: c["thresholds"].pop("ms_ssim"), "'ms_ssim' is missing"
    ),
    "no thresholds": damage_values(lambda c: c.pop("thresholds"), "'thresholds' is missing"),
    "thresholds in a list": damage_values(lambda c: c.update(thresholds=[1.0]), "calibration.json"),
    "no pooling": damage_values(lambda c: c.pop("pooling"), "'pooling' is missing"),
    "no pooling of a score": damage_values(lambda c: c["pooling"].pop("ssim"), "'ssim' is missing"),
    "an unknown pooling": damage_values(
        lambda c: c["pooling"].update(l2="median"), "'median' is none of"
    ),
    "an unknown pooling of a part": damage_values(
        lambda c: c["fusion"]["l2"].update(pooling="median"), "'median' is none of"
    ),
    "a part without a weight": damage_values(
        lambda c: c["fusion"]["l2"].pop("weight"), "'weight' is missing"
    ),
    "a part without a deviation": damage_values(
        lambda c: c["fusion"]["l2"].update(map=[0.0, 0.0]), "part l2 is out of range"
    ),
    "no headline": damage_values(lambda c: c.pop("headline"), "'headline' is missing"),
    "an unknown headline": damage_values(lambda c: c.update(headline="l3"), "'l3' is none of"),
    "a headline in a list": damage_values(lambda c: c.update(headline=["l2"]), "calibration.json"),
    "nothing learned": damage_values(lambda c: c.pop("learned"), "'learned' is missing"),
    "no step": damage_values(lambda c: c.pop("step"), "'step' is missing"),
    "a step of text": damage_values(lambda c: c.update(step="one"), "calibration.json"),
    "half a step": damage_values(lambda c: c.update(step=1.5), "calibration.json"),
    "a list": lambda run: (run / "calibration.json").write_text("[]") and "calibration.json",
    "half a file": lambda run: (run / "calibration.json").write_text("{") and "calibration.json",
}


@pytest.mark.parametrize("damage", CALIBRATION_DAMAGE.values(), ids=[*CALIBRATION_DAMAGE])
def test_a_damaged_calibration_is_refused_by_predict_and_evaluate(
    fails: Fails, run: Path, data: Path, tmp_path: Path, damage: Callable[[Path], str]
) -> None:
    named, out = damage(run), tmp_path / "out"
    for message in (
        fails(predict.main, [run, data / "test", "--out", out]),
        fails(evaluate.main, [run, "--out", out]),
    ):
        assert str(run) in message
        assert named in message
    assert not out.exists()


PREPROCESSING_DAMAGE: dict[str, Callable[[Any], object]] = {
    "no scale": lambda values: values.pop("scale"),
    "a scale of 0": lambda values: values.update(scale=0.0),
    "a scale of NaN": lambda values: values.update(scale=float("nan")),
    "another working size": lambda values: values.update(working_size=[40, 32]),
    "a square larger than the image": lambda values: values.update(side=64),
    "an unknown centre": lambda values: values.update(centre="median"),
    "a mean intensity of 2": lambda values: values.update(mean_intensity=2.0),
}


@pytest.mark.parametrize("change", PREPROCESSING_DAMAGE.values(), ids=[*PREPROCESSING_DAMAGE])
def test_a_damaged_preprocessing_is_refused(
    fails: Fails, run: Path, data: Path, change: Callable
) -> None:
    edit(run / "plan.json", lambda values: change(values["preprocessing"]))
    for message in (
        fails(predict.main, [run, data / "test", "--out", run / "out"]),
        fails(evaluate.main, [run]),
        fails(train.main, ["--run", run, "--resume"]),
    ):
        assert f"{run / 'plan.json'}: damaged" in message


def test_a_damaged_or_missing_mean_image_is_refused(fails: Fails, run: Path) -> None:
    mean = np.load(run / "mean_image.npy")
    for damaged in (mean[:16], np.full_like(mean, np.nan)):
        np.save(run / "mean_image.npy", damaged)
        hashes = {"mean_image.npy": file_hash(run / "mean_image.npy")}
        edit(run / "plan.json", lambda values, hashes=hashes: values.update(sha256=hashes))
        assert "the mean image must be finite, of shape (32, 32, 3)" in fails(evaluate.main, [run])
    (run / "mean_image.npy").unlink()
    assert f"{run / 'mean_image.npy'}: " in fails(evaluate.main, [run])


def flip(file: Path) -> None:
    """Changes the last bit but a few of a file: in an array, a little of one value."""
    content = bytearray(file.read_bytes())
    content[-4] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("file", ["mean_image.npy", "statistics/l2_calibrated.npy"])
def test_an_array_with_a_flipped_bit_is_refused(
    fails: Fails, run: Path, data: Path, file: str
) -> None:
    flip(run / file)
    for message in (
        fails(predict.main, [run, data / "test", "--out", run / "out"]),
        fails(evaluate.main, [run]),
    ):
        assert f"{Path(file).name} is not the file that was written with it" in message


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("plan.json", lambda values: values["preprocessing"].update(scale=1.5)),
        ("calibration.json", lambda values: values["tuned"].update(u=0.25)),
        ("calibration.json", lambda values: values["learned"].update(held_out_l1=0.5)),
        ("calibration.json", lambda values: values.pop("digest")),
        ("plan.json", lambda values: values.pop("digest")),
    ],
)
def test_another_value_that_makes_sense_is_refused(
    fails: Fails, run: Path, data: Path, file: str, change: Callable[[Any], object]
) -> None:
    edit(run / file, change)
    message = fails(predict.main, [run, data / "test", "--out", run / "out"])
    assert f"{run / file}: damaged (its values have changed since they were written)" in message
    edit(run / file, lambda _: None, new_digest=True)
    Detector.load(run)


@pytest.mark.parametrize("change", [lambda v: v.pop("sha256"), lambda v: v["sha256"].clear()])
@pytest.mark.parametrize("file", ["plan.json", "calibration.json"])
def test_a_file_without_the_hashes_of_its_arrays_is_refused(
    fails: Fails, run: Path, data: Path, file: str, change: Callable[[Any], object]
) -> None:
    edit(run / file, change)
    assert f"{run / file}: damaged" in fails(
        predict.main, [run, data / "test", "--out", run / "out"]
    )


def test_a_calibration_of_other_weights_is_refused(
    fails: Fails, run: Path, data: Path, tmp_path: Path
) -> None:
    state = Detector.load(run).state
    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(2, state)
    for message in (
        fails(predict.main, [run, data / "test", "--out", tmp_path / "out"]),
        fails(evaluate.main, [run]),
    ):
        assert f"{run / 'calibration.json'}: made with the weights of step 1" in message
        assert f"--run {run} --resume" in message


def test_weights_of_another_training_with_as_many_steps_are_refused(
    fails: Fails, tiny_run: Path, tmp_path: Path, data: Path
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    with Checkpoints(run / "checkpoints") as checkpoints:
        checkpoints.save(
            6,
            jax.tree.map(
                lambda leaf: jax.device_put(np.asarray(leaf) + 1), Detector.load(tiny_run).state
            ),
        )
    message = fails(predict.main, [run, data / "test", "--out", tmp_path / "out"])
    assert f"{run / 'calibration.json'}: made with other weights" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "u",
    [
        *(float("nan"), "0.3", 2.5),
        *(
            pytest.param(x, marks=pytest.mark.slow)
            for x in (float("inf"), None, [0.3], {}, True, -0.1)
        ),
    ],
    ids=str,
)
def test_an_impossible_u_is_refused(
    fails: Fails, tiny_run: Path, tmp_path: Path, data: Path, u: Any
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    edit(run / "calibration.json", lambda values: values["tuned"].update(u=u))
    message = fails(predict.main, [run, data / "test", "--out", tmp_path / "out"])
    assert f"{run / 'calibration.json'}: damaged" in message
    assert not (tmp_path / "out").exists()


def test_a_missing_u_is_refused(fails: Fails, tiny_run: Path, tmp_path: Path, data: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    edit(run / "calibration.json", lambda values: values["tuned"].clear())
    assert "'u' is missing" in fails(predict.main, [run, data / "test", "--out", tmp_path / "out"])


# Settings and weights


@pytest.mark.parametrize(
    "change",
    [
        {"latent_size": 4},
        {"discriminator_depth": 1},
    ],
)
def test_weights_of_other_settings_are_not_called_damaged(
    fails: Fails, tiny_run: Path, tmp_path: Path, data: Path, change: dict[str, Any]
) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    edit(run / "config.json", lambda config: config["training"].update(change))
    message = fails(predict.main, [run, data / "test", "--out", tmp_path / "out"])
    assert f"{run / 'checkpoints/6'}: " in message
    assert "config.json" in message
    assert "delete this" not in message
    assert "damaged checkpoint" not in message


def test_a_plan_of_other_settings_is_refused(fails: Fails, tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    edit(run / "config.json", lambda config: config["training"].update(generator="two_stage"))
    message = fails(evaluate.main, [run])
    assert (
        f"{run / 'plan.json'}: damaged (generator is context, but two_stage in config.json)"
        in message
    )


def test_weights_of_another_method_are_not_called_damaged(
    fails: Fails, tiny_run: Path, run: Path
) -> None:
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(tiny_run / "checkpoints", run / "checkpoints")
    for main, arguments in ((evaluate.main, [run]), (train.main, ["--run", run, "--resume"])):
        message = fails(main, arguments)
        assert "config.json" in message
        assert "delete this" not in message


# Runs of an earlier version


def test_run_of_an_earlier_version_is_refused_with_advice_in_one_line(
    fails: Fails, tmp_path: Path, data: Path
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    config = {
        "method": "pca",
        "preset": "quick",
        "seed": 0,
        "data": {"data": "textures:weave", "image_size": 64, "aspect": "stretch", "held_out": 0.2},
        "network": {"width": 8, "components": 30, "dtype": "float32"},
        "training": {"steps": 1500, "batch_size": 4},
        "refine": {"iterations": 30, "u": None},
        "search": {"projection_steps": 50},
        "score": {"standardise": "auto", "top_fraction": 0.01},
    }
    (run / "config.json").write_text(json.dumps(config))
    for commit in (None, "23273d7"):
        (run / "environment.json").write_text(json.dumps({"git_commit": commit}))
        for main, arguments in (
            (evaluate.main, [run]),
            (evaluate.main, [run, "--help"]),
            (predict.main, [run, data / "test", "--out", tmp_path / "out"]),
            (train.main, ["--run", run, "--resume"]),
        ):
            message = fails(main, arguments)
            assert f"{run / 'config.json'}: " in message
            assert "train a new run" in message
            assert (f"use the package at commit {commit}" in message) == (commit is not None)
