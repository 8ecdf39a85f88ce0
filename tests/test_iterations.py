"""The study of iterations: figures of a tested run, and the learned mask by a plain loop."""

import csv
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from experiments import iterations, snr
from experiments.study import load_seeds
from experiments.trajectories import Trajectories, trajectories
from i3ad_jax import Detector
from i3ad_jax.data.dataset import NORMAL, Split
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import __main__ as evaluate
from i3ad_jax.methods.i3ad import I3AD, I3adState
from i3ad_jax.preprocessing.preprocessing import Preprocessing, Squares
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder
from tests.conftest import Fails

RNG = np.random.default_rng(0)


@pytest.fixture
def detector(tiny_run: Path) -> Detector:
    return Detector.load(tiny_run)


def rows_of(arguments: list[str], out: Path) -> dict[int, dict[str, str]]:
    """Runs the study and returns the rows of its CSV file by iteration."""
    iterations.main([*arguments, "--out", str(out)])
    with (out / "iterations.csv").open(newline="") as lines:
        return {int(row["iteration"]): row for row in csv.DictReader(lines)}


@pytest.mark.slow
def test_paper_s_rule_has_the_auroc_of_a_test(tiny_run: Path, tmp_path: Path) -> None:
    rows = rows_of(["--runs", str(tiny_run)], tmp_path / "study")
    evaluate.main([str(tiny_run), "--iterations", "0", "--out", str(tmp_path / "once")])
    assert [*rows] == [0, 1, 2]
    for iteration, folder in ((0, tmp_path / "once"), (2, tiny_run)):
        results = read_json(folder / "results.json")
        assert results["iterations"] == iteration
        for score in ("l2", "ssim"):
            own = results["scores"][score]["image_auroc"]
            assert float(rows[iteration][f"auroc_{score}_ssim_mean"]) == pytest.approx(own)
    for score in ("l2", "ssim"):  # both rules start with the checkerboard pass
        for figure in ("auroc", "ratio"):
            start, other = (float(rows[0][f"{figure}_{score}_{x}_mean"]) for x in iterations.RULES)
            assert start == pytest.approx(other, rel=1e-4)
    page = (tmp_path / "study/iterations.md").read_text()
    assert "Image AUROC of ssim with the segmentation mask: " in page
    assert (tmp_path / "study/iterations.png").stat().st_size > 0


def test_an_empty_mask_leaves_the_checkerboard_reconstruction(detector: Detector) -> None:
    images = RNG.integers(0, 256, (3, 32, 32, 3), np.uint8)
    start = trajectories(detector, images).maps
    empty, full = (iterations.segmentation_states(detector, x, images) for x in (1.5, 0.0))
    for score in ("l2", "ssim"):
        np.testing.assert_allclose(empty[score][:, 0], start[score][:, 0], rtol=0, atol=1e-5)
        np.testing.assert_array_equal(empty[score][:, 1], empty[score][:, 0])
        assert np.abs(full[score][:, 1] - full[score][:, 0]).max() > 1e-3


@pytest.mark.parametrize(("seen", "base"), [(64, "previous"), (64, "original"), (32, "previous")])
def test_learned_mask_by_a_plain_loop_of_many_iterations(
    detector: Detector, seen: int, base: str
) -> None:
    """Tiles of 32 x 32 of images of 64 x 64, or such images reduced to 32 x 32."""
    images = RNG.integers(0, 256, (2, 64, 64, 3), np.uint8)
    learned = Preprocessing.learn(images, images, side=32)
    preprocessing = replace(learned, seen=(seen, seen), levels=2)
    plan = detector.plan.with_asked(detector.plan.asked.with_settings({"base": base}))
    detector = replace(detector, plan=replace(plan, preprocessing=preprocessing))
    probable = iterations.probabilities(detector, images)
    assert probable.shape == (2, seen, seen)
    threshold, method, state = float(np.median(probable)), detector.method, detector.state
    assert isinstance(method, I3AD)
    assert isinstance(state, I3adState)
    corners = iter(preprocessing.tiling.places(2))

    def l2_after_four_iterations(squares: Squares, _: int) -> np.ndarray:
        fill, found = jax.vmap(method.inpaint(state)), []
        states = np.asarray(method.reconstruct_once(state, squares.images))
        inputs = np.asarray(squares.images)
        masks = np.stack(
            [
                probable[image, top : top + 32, left : left + 32, None] >= threshold
                for image, top, left in corners
            ]
        ).astype(np.float32)
        for _ in range(4):
            known = (inputs if base == "original" else states) * (1 - masks)
            states = masks * np.asarray(fill(jnp.asarray(known), jnp.asarray(masks))) + known
            errors = (states - inputs) * preprocessing.units.scale
            found.append(np.square(errors).mean(axis=-1))
        return np.stack(found, axis=-1)

    count = 2 * len(preprocessing.tiling.corners)
    expected = preprocessing.apply(l2_after_four_iterations, images, queue_size=count)
    found = iterations.segmentation_states(detector, threshold, images)["l2"]
    assert found.shape == (2, 2, 64, 64)
    for iteration in range(4):
        np.testing.assert_allclose(found[:, 1], expected[..., iteration], rtol=0, atol=1e-5)
    assert np.abs(found[:, 1] - found[:, 0]).max() > 1e-3


def test_figures_in_parts_are_those_of_all_images(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    masks = RNG.random((9, 32, 32)) < 0.3
    masks[::2] = False
    test = Split(
        images=RNG.integers(0, 256, (9, 32, 32, 3), np.uint8),
        paths=tuple(f"{i}.png" for i in range(9)),
        defects=tuple(("spot" if i % 2 else NORMAL) for i in range(9)),
        masks=masks,
        annotated=np.arange(9) != 3,
        hashes=(64 * "0",) * 9,
        original_sizes=((32, 32),) * 9,
    )

    def states(images: np.ndarray) -> iterations.StateMaps:
        own = np.moveaxis(images, 3, 1).astype(np.float32)  # a state for each colour
        return {"l2": own, "ssim": own[:, ::-1] ** 2}

    monkeypatch.setattr(iterations, "PIXELS", 3 * 32 * 32 * 2)  # two images a part
    found = iterations.figures(detector, test, states)
    maps = states(test.images[:])
    ratios = snr.signal_to_noise(test, Trajectories(maps, maps["l2"] > 0, np.zeros(9, int)))
    for score, values in maps.items():
        np.testing.assert_allclose(found["ratio", score], ratios[f"{score}_ratio"], rtol=1e-6)
        areas = [roc_auc_score(test.labels, values[:, i].mean(axis=(1, 2))) for i in range(3)]
        np.testing.assert_allclose(found["auroc", score], areas)
    without = iterations.figures(detector, replace(test, masks=np.zeros_like(masks)), states)
    assert np.isnan(without["ratio", "ssim"]).all()


def test_bad_input(tiny_run: Path, tmp_path: Path, fails: Fails) -> None:
    out = ["--out", tmp_path / "out"]
    wrong = ["--runs", tiny_run, "--iterations", "-1", *out]
    assert "--iterations -1: must be at least 0" in fails(iterations.main, wrong)
    subject = load_seeds([RunFolder(tiny_run)])
    plan = subject.runs[0].detector.plan
    without = replace(plan, preprocessing=replace(plan.preprocessing, levels=0))
    run = subject.runs[0]._replace(detector=replace(subject.runs[0].detector, plan=without))
    with pytest.raises(InputError, match=r"--runs .*: trained without a segmentation network"):
        iterations.measure(replace(subject, runs=[run]))
