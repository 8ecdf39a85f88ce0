# pyright: strict
"""The public interface as a user's type checker sees it: `test_typing.py` checks this file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import numpy as np
from PIL import Image

from i3ad_jax import (
    AnomalyDetector,
    Detector,
    Evaluation,
    InputError,
    Prediction,
    Trace,
    TrainingProgress,
    __version__,
    to_mlflow,
    to_tensorboard,
)

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def fit(data: Path, folder: Path) -> Detector:
    """Train with options of the method, with callbacks and in a folder."""
    losses: list[float] = []

    def watch(progress: TrainingProgress) -> None:
        losses.extend(progress.losses.values())
        if progress.step == progress.steps:
            progress.detector().save(folder / "last")

    return Detector.fit(
        data,
        method="i3ad",
        preset="quick",
        devices=1,
        callbacks=[watch, to_tensorboard(folder / "board"), to_mlflow()],
        folder=folder / "run",
        resume=True,
        progress=True,
        steps=100,
        dilations=(2, 4),
        generator="context",
        u=None,
    )


def score(detector: Detector, data: Path, pixels: Pixels, picture: Image.Image) -> list[str]:
    """Score images of all kinds, and look at a prediction."""
    found: list[Prediction] = detector.score(data)
    for images in (str(data), data.read_bytes(), pixels, picture, [data, pixels], iter([picture])):
        found += detector.stream(images)
    lines: list[str] = []
    for prediction in found:
        assert_type(prediction.score, float)
        assert_type(prediction.threshold, float)
        assert_type(prediction.is_anomalous, bool | None)
        assert_type(prediction.unusable, str | None)
        assert_type(prediction.scores["ssim"], float)
        assert_type(prediction.original_size, tuple[int, int])
        height, width = prediction.map.shape
        highest = max((region.peak for region in prediction.regions), default=0.0)
        boxes = [
            (region.top, region.left, region.height, region.width) for region in prediction.regions
        ]
        lines.append(f"{prediction.name} {height} x {width}: {highest:.3f} in {boxes}")
        Image.fromarray(prediction.heat_map).save("heat_map.png")
        prediction.plot().figure.savefig("found.png")
        np.save("map.npy", prediction.anomaly_map(score="ssim") / prediction.map.max())
    return lines


def measure(detector: Detector, data: Path, images: list[Pixels]) -> dict[str, Any]:
    """Evaluate on a data set, and on images with labels and masks."""
    assert_type(detector.evaluate(data), Evaluation)
    evaluation = detector.evaluate(
        images, labels=["good", "scratch"], masks=[None, np.ones((8, 8), bool)]
    )
    assert_type(evaluation.metric("image_auroc"), float | None)
    misses: int = evaluation.confusion.misses
    aupro = evaluation.metric("pixel_aupro", score="ssim", defect="scratch")
    table = evaluation.to_dataframe()
    return {**evaluation.to_dict(), "misses": misses, "aupro": aupro, "rows": len(table)}


def decide(detector: Detector, folder: Path) -> Detector:
    """Choose a rule, save and load."""
    threshold = detector.threshold(false_alarm_rate=0.01, score="combined")
    detector.with_rule(score="combined", threshold=threshold).save(folder)
    loaded = Detector.load(str(folder)).with_rule(false_alarm_rate=0.05)
    return loaded.recalibrated(folder / "good", u=0.3)


def look_inside(detector: Detector, data: Path) -> Iterator[Pixels]:
    """Reconstruct, and follow the loop."""
    yield detector.reconstruct(data)
    trace: Trace = detector.trace(data)
    for iterations, masks in zip(trace.iterations, trace.masks[0], strict=True):
        yield trace.reconstructions[0, iterations] * masks[..., None]


def as_in_scikit_learn(data: Path, labels: list[int]) -> float:
    """Fit, predict and score by the estimator."""
    estimator = AnomalyDetector(method="pca", contamination=0.1, components=20).fit(data)
    assert_type(estimator.threshold_, float)
    anomalous = estimator.predict(data) == 1
    ranked = estimator.decision_function(data)[anomalous].argsort()
    estimator.set_params(seed=3).detector_.save(f"{__version__}-{len(ranked)}")
    return estimator.score(data, labels)


def or_none(data: Path) -> Detector | None:
    """Catch what cannot be used."""
    try:
        return Detector.fit(data)
    except InputError:
        return None
