"""The studies: their figures against plain NumPy and against what testing a run reports."""

import csv
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments import checkerboard, choices, qualitative, runs, snr, study, threshold
from experiments.comparison import Cell
from experiments.finding import over_seeds
from experiments.trajectories import Trajectories, auroc, auroc_curves, trajectories
from i3ad_jax import Detector
from i3ad_jax.config import Config, default_config
from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.errors import InputError
from i3ad_jax.inpainting.choose_u import U_CANDIDATES
from i3ad_jax.runs.files import read_json, without_digest, write_json, write_with_digest
from i3ad_jax.runs.run_folder import RunFolder
from tests.conftest import Fails
from tests.support.made_up_plan import made_up_plan

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def seeds(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The tiny run, and its weights again under another seed."""
    other = shutil.copytree(tiny_run, tmp_path_factory.mktemp("seeds") / "seed1")
    config = json.loads((other / "config.json").read_text())
    write_json(other / "config.json", {**config, "seed": 1})
    return [tiny_run, other]


@pytest.fixture(scope="module")
def autoencoders(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs of an autoencoder and of projection on it, as a study trains what is missing."""
    size = {
        "image_size": 32,
        "view": "whole",
        "width": 2,
        "latent_size": 3,
        "batch_size": 3,
        "test_batch_size": 4,
    }

    def tiny(method: str, *, preset: str) -> Config:
        return default_config(method, preset=preset).with_settings(size)

    out = tmp_path_factory.mktemp("autoencoders")
    flags = qualitative.Flags(out=out, data=str(tiny_folder), steps=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "default_config", tiny)
        return [
            folder.path for folder in study.folders(flags, methods=("l2_ae", "l2_ae_projection"))
        ]


@pytest.fixture(scope="module")
def subject(seeds: list[Path]) -> study.Subject:
    return study.load_seeds([RunFolder(path) for path in seeds])


@pytest.fixture(scope="module")
def traced(subject: study.Subject) -> Trajectories:
    return trajectories(subject.runs[0].detector, subject.data.test.images[:])


def random_split(count: int, size: int = 6) -> Split:
    """Every second image has a defect; the last one has it without a mask."""
    masks = RNG.random((count, size, size)) < 0.3
    masks[::2] = False
    masks[-1] = False
    return Split(
        images=np.zeros((count, size, size, 3), np.uint8),
        paths=tuple(f"{i}.png" for i in range(count)),
        defects=tuple(("spot" if i % 2 else NORMAL) for i in range(count)),
        masks=masks,
        annotated=np.arange(count) < count - 1,
        hashes=(64 * "0",) * count,
        original_sizes=((size, size),) * count,
    )


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.slow
def test_the_last_state_has_the_auroc_that_testing_reports(
    subject: study.Subject, traced: Trajectories
) -> None:
    reported = read_json(subject.runs[0].folder.results)["scores"]
    curves = auroc_curves(subject.data.test, traced)
    for score in ("l2", "ssim"):
        for metric in ("image", "pixel"):
            # Another program rounds otherwise: of the 6000 pixels a few may change places.
            assert curves[metric, score][-1] == pytest.approx(
                reported[score][f"{metric}_auroc"], abs=1e-5
            )
    assert curves["image", "mean"][0] == (curves["image", "l2"][0] + curves["image", "ssim"][0]) / 2


@pytest.mark.slow
def test_every_state_is_that_of_the_fixed_form(
    subject: study.Subject, traced: Trajectories
) -> None:
    detector = study.with_settings(subject.runs[0].detector, loop="fixed")
    images = subject.data.test.images[:]
    squares = detector.preprocessing.squares(images)
    expected = detector.method.trace(
        detector.state, detector.calibration.tuned, squares, len(images)
    )
    np.testing.assert_allclose(traced.maps["ssim"], expected.scores, atol=1e-5)
    # Errors are of pixel values: networks see these less the centre, over the scale.
    errors = (
        np.asarray(expected.images) - np.asarray(squares.images)[:, None]
    ) * detector.preprocessing.units.scale
    np.testing.assert_allclose(traced.maps["l2"], np.square(errors).mean(axis=-1), atol=1e-5)
    np.testing.assert_array_equal(traced.masks, expected.masks[..., 0] > 0)


def test_auroc_is_scikit_learns() -> None:
    test = random_split(9)
    maps = {score: RNG.random((9, 6, 6)).astype(np.float32) for score in ("l2", "ssim")}
    found = auroc(test, maps)
    for score, values in maps.items():
        image = roc_auc_score(test.labels, values.mean(axis=(1, 2), dtype=np.float64))
        pixel = roc_auc_score(test.masks[:-1].ravel(), values[:-1].ravel())
        assert (found["image", score], found["pixel", score]) == pytest.approx((image, pixel))
    assert found["pixel", "mean"] == pytest.approx(
        (found["pixel", "l2"] + found["pixel", "ssim"]) / 2
    )


def test_curves_go_on_after_the_last_change() -> None:
    test, maps = random_split(5), RNG.random((5, 4, 6, 6)).astype(np.float32)
    maps[:, 3] = maps[:, 2]
    states = Trajectories({"l2": maps, "ssim": -maps}, maps > 0.5, np.array([0, 1, 2, 2, 1]))
    every = states._replace(iterations=np.full(5, 3))
    for names, curve in auroc_curves(test, states).items():
        np.testing.assert_array_equal(curve, auroc_curves(test, every)[names])


def test_signal_to_noise_by_a_plain_loop() -> None:
    test, maps = random_split(5), RNG.random((5, 3, 6, 6)).astype(np.float32)
    figures = snr.signal_to_noise(test, Trajectories({"ssim": maps}, maps > 0.5, np.zeros(5, int)))
    for state in range(3):
        normal, defective = [], []
        for image in range(4):  # the last one is not annotated
            for y, x in np.ndindex(6, 6):
                (defective if test.masks[:][image, y, x] else normal).append(
                    float(maps[image, state, y, x])
                )
        assert figures["ssim_normal"][state] == pytest.approx(np.mean(normal))
        assert figures["ssim_anomalous"][state] == pytest.approx(np.mean(defective))
        assert figures["ssim_ratio"][state] == pytest.approx(np.mean(defective) / np.mean(normal))


def test_no_ratio_without_defective_pixels() -> None:
    test = replace(random_split(4), masks=np.zeros((4, 6, 6), bool))
    maps = RNG.random((4, 2, 6, 6)).astype(np.float32)
    figures = snr.signal_to_noise(test, Trajectories({"ssim": maps}, maps > 0.5, np.zeros(4, int)))
    assert np.isnan(figures["ssim_ratio"]).all()
    assert np.isfinite(figures["ssim_normal"]).all()


def test_nesting_by_sets() -> None:
    masks = RNG.random((7, 5, 4, 4)) < np.array([1, 0.6, 0.5, 0.2, 0.1])[:, None, None]
    masks[:2, 2:] = masks[:2, 1:2]  # finished
    masks[2:4, 3:] &= masks[2:4, 2:3]
    masks[6] = False
    figures = snr.nesting(masks)
    for state in range(2, 5):
        sets = [
            [{*zip(*np.nonzero(mask), strict=True)} for mask in masks[:, i]]
            for i in (state - 1, state)
        ]
        pairs = list(zip(*sets, strict=True))
        moving = [(before, now) for before, now in pairs if before != now]
        expected = {
            "changed": len(moving) / 7,
            "subset": np.mean([now <= before for before, now in pairs]),
            "subset_changed": np.mean([now <= before for before, now in moving]),
            "inside": sum(len(now & before) for before, now in pairs)
            / sum(len(now) for _, now in pairs),
        }
        pixels = sum(len(now) for _, now in moving)
        expected["inside_changed"] = sum(len(now & before) for before, now in moving) / pixels
        assert {name: figures[name][state] for name in expected} == pytest.approx(expected)
    assert all(np.isnan(values[:2]).all() and len(values) == 5 for values in figures.values())


def test_masked_areas() -> None:
    test, masks = random_split(6), RNG.random((6, 2, 6, 6)) < 0.3
    masks[0, 1] = masks[3, 1] = False
    figures = snr.areas(test, masks)
    assert figures["area_normal"] == pytest.approx(
        [100 * masks[[0, 2, 4], i].mean() for i in (0, 1)]
    )
    assert figures["area_anomalous"] == pytest.approx(
        [100 * masks[[1, 3, 5], i].mean() for i in (0, 1)]
    )
    assert figures["empty_normal"] == pytest.approx([0, 1 / 3])
    assert figures["empty_anomalous"] == pytest.approx([0, 1 / 3])


def test_mean_and_deviation_over_seeds() -> None:
    assert over_seeds([0.5]) == Cell(0.5, None)
    assert over_seeds([0.4, 0.8]) == Cell(pytest.approx(0.6), pytest.approx(0.4 / np.sqrt(2)))  # pyright: ignore
    assert over_seeds([0.4, np.nan]) == Cell()


def test_gap_of_the_rule() -> None:
    areas = np.full((2, 6), 0.8)
    areas[0, 4], areas[1, 2], areas[1, 5] = 0.9, 0.86, 0.7
    curves = threshold.Curves(
        range(6), {("image", "mean"): areas}, np.zeros_like(areas), [4, 0], 0.01
    )
    assert curves.gaps(("image", "mean")).mean == pytest.approx((0 + 0.06) / 2)
    assert curves.at_choice(("image", "mean")).mean == pytest.approx((0.9 + 0.8) / 2)


def test_spread_over_checkerboards() -> None:
    names: tuple[str, str] = ("image", "mean")
    curves: checkerboard.Curves = {
        2: {names: np.array([[0.5, 0.8]])},
        4: {names: np.array([[0.9, 0.7]])},
    }
    np.testing.assert_allclose(checkerboard.spread(curves, names), [[0.4, 0.1]])


def test_figures_of_each_checkerboard() -> None:
    names = [(metric, score) for metric in ("image", "pixel") for score in ("l2", "ssim", "mean")]
    curves: checkerboard.Curves = {
        patches: dict.fromkeys(names, np.array([[start, 0.9], [start, 0.8]]))
        for patches, start in ((2, 0.4), (4, 0.7), (8, 0.8))
    }
    finding = checkerboard.report(curves)
    assert "spreads by 0.400 ± 0.000 over" in finding.conclusion
    assert "by 0.000 ± 0.000 after 1 iterations" in finding.conclusion
    assert "Without the one of 2 patches: 0.100 ± 0.000 and 0.000 ± 0.000." in finding.conclusion
    assert [4, "ssim", 1, pytest.approx(0.85), pytest.approx(0.1 / np.sqrt(2))] in [
        line[:5] for line in finding.lines
    ]


def test_choices_change_one_setting_each() -> None:
    stored = default_config("i3ad").with_settings({"base": "original", "u": 0.3})
    options = choices.choices(stored)
    assert options.pop(choices.STORED) == {}
    assert len(options) == sum(len(values) - 1 for values in choices.OPEN.values())
    assert options["base previous"] == {"base": "previous"}
    for changes in options.values():
        changed = stored.with_settings(changes).flat()
        assert [name for name, value in stored.flat().items() if changed[name] != value] == list(
            changes
        )
        assert len(changes) == 1


def test_median_images() -> None:
    test = replace(random_split(9), defects=("b", "good", "a", "a", "b", "good", "a", "good", "a"))
    scores = np.array([3.0, 5, 1, 9, 2, 4, 8, 6, 7])
    # good: 4 5 6; a: 1 7 8 9; b: 2 3
    np.testing.assert_array_equal(qualitative.median_images(test, scores), [1, 8, 4])


def run_study(command: Any, runs: Sequence[Path], out: Path, *flags: str) -> str:
    """Runs a study's command, checks that it wrote what each study writes, and returns the page."""
    command.main(["--runs", *map(str, runs), "--out", str(out), *flags])
    name = command.__name__.split(".")[1]
    page = (out / f"{name}.md").read_text()
    assert f"- command: python -m experiments.{name} --runs" in page
    assert f"![{page.splitlines()[0].removeprefix('# ')}]({name}.png)" in page
    assert {path.suffix for path in out.glob(f"{name}.*")} == {".png", ".svg", ".csv", ".md"}
    return page


def test_a_command_writes_figure_numbers_and_conclusion(
    tiny_run: Path,
    traced: Trajectories,
    subject: study.Subject,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    page = run_study(snr, [tiny_run], tmp_path)
    assert page.splitlines()[2] in capsys.readouterr().out  # the conclusion
    rows = read(tmp_path / "snr.csv")
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    for name, values in snr.signal_to_noise(subject.data.test, traced).items():
        assert [float(row[f"{name}_mean"]) for row in rows] == pytest.approx(values, abs=1e-6)


def test_traces_are_shown_in_the_size_of_the_pictures(pca_run: Path) -> None:
    detector, images = Detector.load(pca_run), RNG.integers(0, 256, (2, 64, 96, 3), np.uint8)
    found, own = qualitative.traced(detector, images), detector.trace(images)
    assert own.scores.shape[2:] == (32, 32)
    expected = jax.image.resize(own.scores, (*own.scores.shape[:2], 64, 96), "linear")
    np.testing.assert_allclose(found.scores, expected, rtol=0, atol=1e-5)
    assert found.reconstructions.shape == (*own.scores.shape[:2], 64, 96, 3)
    assert found.masks.all()
    small = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert qualitative.traced(detector, small) == detector.trace(small)


@pytest.mark.slow
def test_commands(
    seeds: list[Path],
    autoencoders: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    # each choice is a compilation
    monkeypatch.setattr(choices, "OPEN", {"base": ("previous", "original")})
    commands: dict[Any, list[str]] = {
        checkerboard: ["--patches", "4"],
        threshold: [],
        choices: [],
        snr: ["--base", "original"],
        qualitative: [],
    }
    for command, flags in commands.items():
        given = [*autoencoders, seeds[0]] if command is qualitative else seeds
        page = run_study(command, given, tmp_path, *flags)
        assert page.splitlines()[2] in capsys.readouterr().out  # the conclusion

    reported = json.loads((seeds[0] / "results.json").read_text())
    image = reported["scores"]["ssim"]["image_auroc"]
    rows = read(tmp_path / "checkerboard.csv")
    assert len(rows) == 3 * 3  # scores, states
    ends = [row for row in rows if (row["score"], row["iteration"]) == ("ssim", "2")]
    assert [float(r["image_auroc_mean"]) for r in ends] == [pytest.approx(image, abs=1e-5)]
    rows = read(tmp_path / "threshold.csv")
    assert [float(row["u"]) for row in rows] == list(U_CANDIDATES["previous"])
    landed = next(row for row in rows if float(row["u"]) == reported["u"])
    assert float(landed["image_auroc_ssim_mean"]) == pytest.approx(image, abs=1e-5)
    rows = read(tmp_path / "choices.csv")
    assert [row["choice"] for row in rows] == [choices.STORED, "base original"]
    assert float(rows[0]["image_ssim_mean"]) == pytest.approx(image, abs=1e-5)
    assert [row["iteration"] for row in read(tmp_path / "snr.csv")] == ["0", "1", "2"]
    page = (tmp_path / "snr.md").read_text()
    assert "- base: original\n" in page
    u = (
        next(line for line in page.splitlines() if line.startswith("- u: "))
        .removeprefix("- u: ")
        .split(", ")
    )
    # chosen for that base
    assert np.mean([float(x) for x in u]) == pytest.approx(float(rows[1]["u_mean"]))
    shown = [(row["defect"], row["method"]) for row in read(tmp_path / "qualitative.csv")]
    assert shown == [("spot", "l2_ae"), ("spot", "l2_ae_projection"), ("spot", "i3ad")]


@pytest.mark.slow
def test_a_projection_has_the_weights_of_the_autoencoders_run(autoencoders: list[Path]) -> None:
    autoencoder, projection = (study.Loaded.of(RunFolder(path)) for path in autoencoders)
    assert projection.detector.config.method == "l2_ae_projection"
    assert not projection.folder.checkpoints.exists()
    for own, theirs in zip(
        *map(jax.tree.leaves, (projection.detector.state, autoencoder.detector.state)), strict=True
    ):
        np.testing.assert_array_equal(own, theirs)
    assert projection.commit == read_json(autoencoder.folder.environment)["git_commit"]


def test_missing_runs_are_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []

    def train(config: Config, folder: RunFolder, *, resume: bool, command: Sequence[str]) -> dict:
        assert not resume
        trained.append((config.method, config.seed, config.training.steps))
        folder.create(made_up_plan(config), command=command)
        write_json(folder.results, {})
        return {}

    monkeypatch.setattr(runs, "train_and_test", train)
    flags = study.Flags(out=tmp_path, seeds=(0, 2), steps=7)
    expected = [tmp_path / f"runs/weave/i3ad-seed{seed}" for seed in (0, 2)]
    for _ in range(2):  # what is there is not trained again
        assert [folder.path for folder in study.folders(flags)] == expected
    assert trained == [("i3ad", 0, 7), ("i3ad", 2, 7)]


def test_bad_input(seeds: list[Path], tmp_path: Path, fails: Fails) -> None:
    given = shutil.copytree(seeds[0], tmp_path / "given")
    calibration = without_digest(json.loads((given / "calibration.json").read_text()))
    del calibration["tuned"]["u_errors"]
    write_with_digest(given / "calibration.json", calibration)
    other = shutil.copytree(seeds[1], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["training"]["steps"] = 9
    write_json(other / "config.json", config)
    of_pca = shutil.copytree(other, tmp_path / "pca")
    write_json(of_pca / "config.json", default_config("pca").to_json())
    out = ["--out", tmp_path / "out"]
    wrong: list[tuple[Any, list[object], str]] = [
        (snr, ["--runs", tmp_path / "none"], "none/config.json: missing"),
        (snr, ["--runs", seeds[0], seeds[0]], "two of the runs have one seed"),
        (snr, ["--runs", seeds[0], other], "other: trained with steps 9, "),
        (snr, ["--runs", of_pca], "pca: a run of pca; this study is about i3ad"),
        (
            snr,
            ["--data", "textures"],
            "--data textures: holds weave, mesh, brick; a study takes one",
        ),
        (snr, ["--data", "textures:weave", "--steps", "0"], "--steps 0: must be at least 1"),
        (threshold, ["--runs", given], "its u was given by --u"),
        (
            checkerboard,
            ["--runs", seeds[0], "--patches", "4", "33"],
            "--patches 33: must be at most the",
        ),
        (checkerboard, ["--patches", "1"], "--patches 1: must be at least 2"),
        (checkerboard, ["--patches"], "--patches: no value given"),
        (qualitative, ["--runs", *seeds], "--runs: 2 runs of i3ad; give one of each method"),
        (qualitative, ["--runs", of_pca], "--runs: no run of i3ad"),
        (qualitative, ["--seeds", "0", "1"], "--seeds: a picture shows one run of each method"),
        (choices, ["--sneeds", "1"], "--sneeds"),
    ]
    for command, flags, message in wrong:
        assert message in fails(command.main, [*flags, *out])
    assert not (tmp_path / "out" / "runs").exists()


def test_out_that_cannot_be_written(subject: study.Subject, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    flags = snr.Flags(out=tmp_path / "file", runs=(subject.runs[0].folder.path,))
    with pytest.raises(InputError, match=r"--out .*file: cannot be written to"):
        snr.publish(snr.report(snr.measure(subject)), flags, subject, study="snr", arguments=[])
