"""The test of a detector in Python: it measures what the command measures."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i3ad_jax import Detector, Evaluation, InputError
from i3ad_jax.data.load import load_dataset


@pytest.fixture(scope="module")
def detector(pca_run: Path) -> Detector:
    return Detector.load(pca_run)


@pytest.fixture(scope="module")
def evaluation(detector: Detector, tiny_folder: Path) -> Evaluation:
    return detector.evaluate(tiny_folder)


def test_metrics_are_those_of_the_command(evaluation: Evaluation, pca_run: Path) -> None:
    assert evaluation.metrics == json.loads((pca_run / "results.json").read_text())["scores"]


def test_metrics_can_be_asked_for(evaluation: Evaluation) -> None:
    own = evaluation.metrics["l2"]
    assert evaluation.metric("pixel_aupro", score="l2") == own["pixel_aupro"]
    assert evaluation.metric("f1", score="l2", defect="spot") == own["per_defect"]["spot"]["f1"]
    assert evaluation.metric("image_ap") == evaluation.metrics[evaluation.rule.score]["image_ap"]
    with pytest.raises(InputError, match="not measured; defects: all, spot"):
        evaluation.metric("image_auroc", defect="scratch")


def test_the_confusion_is_that_of_the_predictions(
    evaluation: Evaluation, detector: Detector, tiny_folder: Path
) -> None:
    verdicts = [
        (Path(x.name).parent.name != "good", x.is_anomalous)
        for x in detector.score(tiny_folder / "test")
    ]
    assert evaluation.confusion == tuple(
        map(verdicts.count, [(True, True), (True, False), (False, True), (False, False)])
    )


def test_images_with_labels_and_masks_are_as_good_as_a_folder(
    evaluation: Evaluation, detector: Detector, tiny_folder: Path
) -> None:
    test = load_dataset(str(tiny_folder), size=(32, 32), aspect="stretch").test
    files = [tiny_folder / path for path in test.paths]
    masks: list[Any] = [None] * len(files)
    for i, file in enumerate(files):
        if test.defects[i] != "good":
            mask = tiny_folder / "ground_truth" / test.defects[i] / f"{file.stem}_mask.png"
            masks[i] = np.asarray(Image.open(mask).convert("L")) > 127
    found = detector.evaluate(files, test.defects, masks=masks)
    assert found.metrics == evaluation.metrics
    without = detector.evaluate(files, test.labels)
    assert without.metric("image_auroc") == evaluation.metric("image_auroc")
    assert without.metric("pixel_auroc") is None
    assert {*without.defects} == {"good", "defect"}


@pytest.mark.parametrize(
    ("labels", "masks", "message"),
    [
        (None, None, "labels: give a label for each image"),
        ([0], None, "labels: 1 for 2 images"),
        ([0, 2], None, "label 1: 2; give 0"),
        ([0, ""], None, "label 1: ''; give 0"),
        ([0, 1], [None], "masks: 1 for 2 images"),
        ([0, 1], [None, np.zeros((8, 9))], r"mask 1: shape \(8, 9\), but the image has \(40, 48\)"),
    ],
)
def test_labels_that_cannot_be_used_are_named(
    detector: Detector, labels: Any, masks: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        detector.evaluate(np.zeros((2, 40, 48, 3), np.uint8), labels, masks=masks)


def test_a_folder_without_labels_is_refused(detector: Detector, tiny_folder: Path) -> None:
    with pytest.raises(InputError, match="no test images"):
        detector.evaluate(tiny_folder / "test/good")


def test_it_can_be_written_read_and_shown(
    evaluation: Evaluation, detector: Detector, tiny_folder: Path
) -> None:
    assert json.loads(json.dumps(evaluation.to_dict())) == evaluation.to_dict()
    assert len(repr(evaluation)) < 250
    assert repr(evaluation).startswith("Evaluation(")
    assert evaluation._repr_html_().count("<tr>") == 1 + len(list(evaluation.rows()))
    again = detector.evaluate(tiny_folder)
    assert again == evaluation
    assert hash(again) == hash(evaluation)
    assert evaluation != detector.with_rule(score="l2").evaluate(tiny_folder)


def test_a_table_for_pandas(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match="needs pandas"):
        evaluation.to_dataframe()
    monkeypatch.undo()
    pytest.importorskip("pandas", reason="pip install pandas")
    table = evaluation.to_dataframe()
    assert list(table["defect"].unique()) == ["all", "spot"]
    assert len(table) == len(list(evaluation.rows()))
