"""Texts of a prediction, and the regions in which it finds defects."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from i3ad_jax import Detector, InputError, pictures
from i3ad_jax.prediction import Prediction


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run)


@pytest.fixture(scope="module")
def predictions(detector: Detector, tiny_folder: Path) -> list[Prediction]:
    return detector.score(tiny_folder / "test")


def test_the_verdict_is_the_rule_s(detector: Detector, predictions: list[Prediction]) -> None:
    for prediction in predictions:
        assert prediction.score == prediction.scores[detector.rule.score]
        assert prediction.threshold == detector.rule.threshold == detector.threshold()
        assert prediction.is_anomalous == (prediction.score > prediction.threshold)
        assert prediction.verdict == ("anomalous" if prediction.is_anomalous else "normal")
        assert prediction.anomalous[detector.rule.score] == prediction.is_anomalous
        np.testing.assert_array_equal(
            prediction.map, prediction.anomaly_map(score=detector.rule.score)
        )


def test_an_unusable_picture_has_scores_and_no_verdict_by_them(detector: Detector) -> None:
    white = np.full((40, 48, 3), 255, np.uint8)
    (found,) = detector.score(white)
    assert (found.verdict, found.is_anomalous) == ("unusable", None)
    assert found.unusable is not None
    assert found.unusable in repr(found)
    assert found.plot().get_title().startswith(f"unusable, {found.unusable}; ")
    (ignored,) = detector.with_rule(unusable="ignore").score(white)
    assert (ignored.verdict, ignored.is_anomalous, ignored.unusable) == ("anomalous", True, None)
    assert ignored.scores == found.scores
    assert ignored != found


def test_regions_are_where_the_map_is_above_the_threshold(predictions: list[Prediction]) -> None:
    number = 0
    for prediction in predictions:
        threshold = prediction.rule.pixel_threshold
        assert threshold is not None
        assert (
            sum(region.area for region in prediction.regions) == (prediction.map > threshold).sum()
        )
        if prediction.regions:
            assert prediction.regions[0].peak == prediction.map.max() > threshold
        number += len(prediction.regions)
    assert number > 0


def test_share_of_calibration_images_with_a_region_is_the_false_alarm_rate(
    detector: Detector,
) -> None:
    peaks = detector.calibration.held_out_peaks[detector.rule.score]
    for rate in (0.05, 0.5):
        rule = detector.with_rule(false_alarm_rate=rate).rule
        assert rule.pixel_threshold == np.quantile(peaks, 1 - rate)


def test_equal_predictions_are_equal_and_have_one_hash(
    detector: Detector, predictions: list[Prediction], tiny_folder: Path
) -> None:
    again = detector.score(tiny_folder / "test")
    assert again == predictions
    assert {*again} == {*predictions}
    assert len({*again}) == len(predictions)
    assert predictions[0] != predictions[1]
    assert predictions[0] != detector.with_rule(score="l2").score(tiny_folder / "test")[0]
    assert predictions[0] != "prediction"


def test_a_representation_is_one_line(predictions: list[Prediction], detector: Detector) -> None:
    for shown in (*map(repr, predictions), repr(detector)):
        assert len(shown) < 200
        assert "\n" not in shown
    verdict = r"(anomalous: \S+ \S+ >|normal: \S+ \S+ <=) \S+"
    assert re.fullmatch(rf"Prediction\('.*/0\.png', {verdict}\)", repr(predictions[0]))
    assert re.fullmatch(
        r"Detector\(pca, whole images of 32 x 32, \d+ trained, \d+ calibrated, \S+ > \S+\)",
        repr(detector),
    )


def test_a_notebook_shows_picture_and_verdict(
    detector: Detector, predictions: list[Prediction], tiny_folder: Path
) -> None:
    shown = predictions[0]._repr_html_()
    assert shown.count('<img src="data:image/webp;base64,') == 1
    assert ("anomalous: " if predictions[0].is_anomalous else "normal: ") in shown
    assert "whole images of 32 x 32 pixels" in detector._repr_html_()
    trace = detector.trace(tiny_folder / "test/good/0.png")
    assert (
        repr(trace) == f"Trace(1 images of 32 x 32, {len(trace.iterations)} states to iteration 0)"
    )
    assert trace._repr_html_().count("<img") == 1
    assert trace == detector.trace(tiny_folder / "test/good/0.png")
    assert hash(trace) == hash(detector.trace(tiny_folder / "test/good/0.png"))


def test_a_name_is_text_not_html(detector: Detector, tmp_path: Path, tiny_folder: Path) -> None:
    file = tmp_path / "<b>&.png"
    file.write_bytes((tiny_folder / "test/good/0.png").read_bytes())
    (prediction,) = detector.score(file)
    assert "<b>" not in prediction._repr_html_()
    assert "&lt;b&gt;&amp;.png" in prediction._repr_html_()


def test_a_plot_has_a_box_for_each_region(predictions: list[Prediction], tmp_path: Path) -> None:
    found = max(predictions, key=lambda prediction: len(prediction.regions))
    axes = found.plot()
    assert len(axes.patches) == len(found.regions) > 0
    first, region = axes.patches[0], found.regions[0]
    assert (first.get_x(), first.get_y()) == (region.left - 0.5, region.top - 0.5)
    assert (first.get_width(), first.get_height()) == (region.width, region.height)
    axes.figure.savefig(tmp_path / "found.png")
    given = Figure().subplots()
    assert found.plot(given) is given


def test_a_picture_outlines_each_region(predictions: list[Prediction]) -> None:
    found = max(predictions, key=lambda prediction: len(prediction.regions))
    others = [each for each in predictions if not each.regions]
    assert found.regions
    assert others
    for prediction in (found, others[0]):
        sheet = np.asarray(prediction.picture)
        panels = sheet[: -pictures.GAP * 8]  # without the colour scale and the caption
        lines = (panels == pictures.REGION).all(axis=-1)
        assert lines.any() == bool(prediction.regions)
        assert not lines[:, : sheet.shape[1] // 3].any()


def test_a_rule_is_saved_with_the_detector(
    detector: Detector, tmp_path: Path, tiny_folder: Path
) -> None:
    ruled = detector.with_rule(score="l2", false_alarm_rate=0.5)
    assert ruled.rule.score == "l2"
    assert ruled.rule.threshold == np.median(detector.calibration.held_out_scores["l2"])
    assert ruled.threshold(false_alarm_rate=0.5) == ruled.rule.threshold
    assert ruled.threshold(score="ssim") == detector.threshold(score="ssim")
    ruled.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    assert loaded.rule == ruled.rule
    assert loaded.score(tiny_folder / "test") == ruled.score(tiny_folder / "test")
    fixed = detector.with_rule(threshold=0.25)
    assert (fixed.rule.score, fixed.rule.threshold) == (detector.rule.score, 0.25)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"score": "l3"}, "--score l3: this run has no such score"),
        ({"false_alarm_rate": 1.0}, "false_alarm_rate 1.0: must be more than 0 and less than 1"),
        (
            {"false_alarm_rate": 0.1, "threshold": 1.0},
            "false_alarm_rate and threshold: give one of them",
        ),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(
    detector: Detector, rule: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        detector.with_rule(**rule)


def test_a_run_without_pixel_thresholds_says_so(tiny_folder: Path) -> None:
    old = Detector.load(Path(__file__).parent / "formats/0")
    (prediction,) = old.score(tiny_folder / "test/good/0.png")
    with pytest.raises(InputError, match="calibrated without pixel thresholds"):
        _ = prediction.regions
    assert not prediction.plot().patches
    assert "regions" not in prediction._repr_html_()
