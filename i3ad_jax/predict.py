"""`python -m i3ad_jax.predict`: score images without labels by a trained run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from PIL import Image
from tqdm import tqdm

from i3ad_jax import command_line
from i3ad_jax.data.inputs import find_images
from i3ad_jax.detector import Detector
from i3ad_jax.reporting.figures import overlay
from i3ad_jax.runs.files import write_array, write_csv
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.maps import SCORES
from i3ad_jax.settings import SettingError

PROGRAM = "python -m i3ad_jax.predict"


@dataclass(frozen=True)
class Flags:
    """Score images; write predictions.csv and, for each image, a heat map picture and an anomaly map to OUT.

    The column `anomalous` is 1 where the score is above the run's threshold, which comes from normal images
    alone. Pictures and maps have the size of the image.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them."""
    out: Path
    """Folder for the results."""
    score: str | None = None
    """Which score the verdict, the map and the picture show, by default the run's headline; predictions.csv
    has them all, and its header names them."""


def predict(detector: Detector, files: Sequence[Path], *, out: Path, score: str | None = None) -> None:
    """Scores the images in `files` and writes the results to `out`, `predictions.csv` last.

    The verdicts, maps and pictures are those of `score`, by default the headline.

    Raises:
        InputError: an image cannot be used, the method has no such score, or `out` cannot be written to.
    """
    scores = list(detector.calibration.thresholds)
    score = score or detector.calibration.headline
    if score not in scores:
        raise SettingError(
            "score", score, f"no score of {detector.config.method}; one of {', '.join(scores)}"
        )
    names = _names(files)
    rows: list[tuple[object, ...]] = []
    with RunFolder(out).writing():
        for kind in ("maps", "pictures"):
            (out / kind).mkdir(parents=True, exist_ok=True)
        progress = tqdm(detector.stream(files), "predict", len(files), unit="image", leave=False)
        for name, prediction in zip(names, progress, strict=True):
            anomaly_map = prediction.anomaly_map(score=score)
            write_array(out / "maps" / f"{name}.npy", anomaly_map)
            heat = overlay(prediction.original, anomaly_map, vmax=SCORES[score].heat_limit)
            Image.fromarray(heat).save(out / "pictures" / f"{name}.png")
            values = [prediction.scores[column] for column in scores]
            rows.append((prediction.name, *values, int(prediction.anomalous[score])))
        write_csv(out / "predictions.csv", ("path", *scores, "anomalous"), rows)


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each image's results: its stem, numbered where several images share one."""
    names: dict[str, None] = {}
    for file in files:
        name, count = file.stem, 2
        while name in names:
            name, count = f"{file.stem}-{count}", count + 1
        names[name] = None
    return list(names)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, predicts, prints where the results are."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    files = find_images(flags.images)
    predict(Detector.load(flags.run), files, out=flags.out, score=flags.score)
    print(flags.out / "predictions.csv")


if __name__ == "__main__":
    command_line.run(main)
