"""`python -m i3ad_jax.predict`: score images without labels by a trained run."""

import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro
from tqdm import tqdm

from i3ad_jax import __version__, command_line
from i3ad_jax.data.inputs import Broken, find_images
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.prediction import Prediction
from i3ad_jax.prediction_files import (
    GrowingTable,
    MapFormat,
    PredictionFiles,
    digest_of_files,
    names_of_results,
)
from i3ad_jax.runs.files import write_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.settings import Settings
from i3ad_jax.verdict import Rule, VerdictSettings

PROGRAM = "python -m i3ad_jax.predict"
BROKEN_IMAGES = 3
"""Exit code where some images could not be used and all others were."""
_WRITERS = 2
_WAITING = 8  # results that may wait for a writer, each with a map in the size of its image


@dataclass(frozen=True)
class Options(Settings):
    """What is written, and what happens to broken images and interrupted predictions."""

    save: tuple[Literal["scores", "maps", "pictures"], ...] = ("scores", "pictures")
    """What is written: predictions.csv in any case; maps/, anomaly maps in the size of the image; pictures/,
    the image under its heat map, JPEG."""
    map_format: MapFormat = "npy"
    """Of the maps: npy, float32; npz, the same compressed; png, 16 bits from the map's minimum to its
    maximum, which the file's text entries name."""
    strict: bool = False
    """Stop at the first image that cannot be used, instead of noting it in the column error."""
    resume: bool = False
    """Go on where the same prediction was interrupted."""


@dataclass(frozen=True)
class Flags:
    """Score images; write predictions.csv and, for each image, a heat map picture to OUT.

    The column `anomalous` is 1 where the score is above the threshold, which comes from normal images alone.
    An image that cannot be used gets a row with the reason; the exit code is then 3.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them."""
    out: Path
    """Folder for the results."""
    verdict: VerdictSettings = field(default_factory=VerdictSettings)
    options: Options = field(default_factory=Options)


class Summary(NamedTuple):
    """How many images a prediction scored, called anomalous, and could not use."""

    scored: int
    anomalous: int
    broken: int


def predict(detector: Detector, files: Sequence[Path], *, out: Path, rule: Rule, options: Options) -> Summary:
    """Scores the images in `files` and writes the results to `out`, `predictions.csv` last.

    Reading, the detector's program, and drawing and writing go on at the same time, in bounded memory.

    Raises:
        InputError: `out` cannot be written to, or an image cannot be used and `options.strict` is set.
    """
    results = PredictionFiles(out)
    about = _about(detector, files, rule, options)
    with RunFolder(out).writing():
        if not (options.resume and results.finished(about)):
            header = ("path", *detector.calibration.held_out_scores, "anomalous", "error")
            unit = detector.chunk  # scores come in the same lists as without the interruption
            with results.growing_table(header, about, resume=options.resume, unit=unit) as table:
                _fill(table, detector, files, results, rule, options)
        rows = results.read_table()
        summary = Summary(
            scored=sum(not row["error"] for row in rows),
            anomalous=sum(row["anomalous"] == "1" for row in rows),
            broken=sum(bool(row["error"]) for row in rows),
        )
        write_json(results.about, {**about, **summary._asdict()})
    return summary


def _fill(
    table: GrowingTable,
    detector: Detector,
    files: Sequence[Path],
    results: PredictionFiles,
    rule: Rule,
    options: Options,
) -> None:
    """Adds the rows of all images that are missing, each after its map and picture are written."""

    def write(name: str, found: Prediction) -> None:
        anomaly_map = found.anomaly_map(score=rule.score)
        if "maps" in options.save:
            results.write_map(name, anomaly_map, options.map_format)
        if "pictures" in options.save:
            results.write_picture(name, found, anomaly_map, rule.score)

    def add_oldest() -> None:
        found, written = waiting.popleft()
        if isinstance(found, Broken):
            table.add((found.name, *[""] * (len(detector.calibration.held_out_scores) + 1), found.problem))
        else:
            if written is not None:
                written.result()
            values = found.scores.values()
            table.add((found.name, *values, int(rule.is_anomalous(found.scores)), ""))

    waiting: deque[tuple[Prediction | Broken, Future[None] | None]] = deque()
    names = names_of_results(files)[table.kept :]
    drawn = {"maps", "pictures"} & set(options.save)
    for folder in drawn:
        (results.path / folder).mkdir(exist_ok=True)
    writers = ThreadPoolExecutor(max_workers=_WRITERS)
    try:
        progress = tqdm(
            detector.attempt(files[table.kept :]),
            "predict",
            total=len(files),
            initial=table.kept,
            unit="image",
            leave=False,
        )
        for name, found in zip(names, progress, strict=True):
            if isinstance(found, Broken) and options.strict:
                raise InputError(found.problem)
            written = None
            if drawn and isinstance(found, Prediction):
                written = writers.submit(write, name, found)
            waiting.append((found, written))
            if len(waiting) > _WAITING:
                add_oldest()
        while waiting:
            add_oldest()
    finally:
        writers.shutdown(cancel_futures=True)


def _about(detector: Detector, files: Sequence[Path], rule: Rule, options: Options) -> dict[str, Any]:
    """What a table of predictions belongs to, as JSON values."""
    return {
        "version": __version__,
        "weights": detector.calibration.weights,
        "settings": detector.config.to_json(),
        "score": rule.score,
        "threshold": rule.threshold,
        "threshold_source": rule.source,
        "false_alarms": rule.false_alarms._asdict(),
        "save": sorted(options.save),
        "map_format": options.map_format,
        "images": digest_of_files(files),
        "at_once": detector.chunk,
    }


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, predicts, prints where the results are."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    files = find_images(flags.images)
    detector = Detector.load(flags.run)
    rule = Rule.of(detector.calibration, flags.verdict)
    summary = predict(detector, files, out=flags.out, rule=rule, options=flags.options)
    print(f"{summary.anomalous} of {summary.scored} images are anomalous")
    print(rule.describe())
    print(PredictionFiles(flags.out).table)
    if summary.broken:
        print(
            f"{summary.broken} images could not be used: see the column error of the table", file=sys.stderr
        )
        sys.exit(BROKEN_IMAGES)


if __name__ == "__main__":
    command_line.run(main)
