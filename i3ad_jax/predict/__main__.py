"""`python -m i3ad_jax.predict`: score images without labels by a trained run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import jax
import tyro

from i3ad_jax import __version__, command_line
from i3ad_jax.calibration.verdict import Rule, VerdictOptions
from i3ad_jax.data.dataset import content_hash
from i3ad_jax.data.search import describe
from i3ad_jax.data.sources import digest_of_sources, find_sources
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.predict.names import NamedSource, name_sources
from i3ad_jax.predict.parts import (
    BlockScorer,
    PredictionParts,
    check_packages,
    cut,
    images_a_part,
)
from i3ad_jax.predict.results import PredictionFiles, Summary
from i3ad_jax.predict.scorer import Options, Scorer
from i3ad_jax.predict.workers import Job, score_on_workers
from i3ad_jax.runs.files import read_json, write_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.accelerator import share_gpu
from i3ad_jax.runtime.cluster import find_ray
from i3ad_jax.runtime.compiler import Determinism
from i3ad_jax.runtime.precision import TF32_ERROR
from i3ad_jax.runtime.progress import progress_bar, with_progress
from i3ad_jax.settings import Settings, setting

PROGRAM = "python -m i3ad_jax.predict"
SHOWN = ("out", "score", "threshold", "false_alarms", "save", "resume", "engine")
"""Options that --help shows."""
BROKEN_IMAGES = 3
"""Exit code where some images could not be read and all others were."""
UNUSABLE_PICTURES = 4
"""Exit code where all images were read, and some pictures are unusable."""


@dataclass(frozen=True)
class EngineSettings(Settings):
    """Settings of the engine that scores the images."""

    engine: Literal["stream", "blocks", "ray"] = "stream"
    """stream: this process, row by row into predictions.csv. blocks: this process, a thousand
    blocks into predictions/, a Parquet file each; another start scores the missing ones. ray: the
    same by workers of the Ray cluster that RAY_ADDRESS names, or of this machine: one for each GPU,
    or for each core without GPUs."""
    workers: int | None = setting(None, minimum=1, maximum=65_536)
    """Number of workers that score with --engine ray; by default one for each GPU or core."""


@dataclass(frozen=True)
class Flags:
    """Score images; write predictions.csv and, for each image, a picture of its regions to OUT.

    The column `anomalous` is 1 where the score is above the threshold, which comes from normal
    images alone. An image that cannot be read has a row with the reason; the exit code is then 3.
    A picture that is lit, coloured, focused or framed unlike the normal images is neither normal
    nor anomalous, and the column `unusable` says why; the exit code is then 4.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[str, ...]]
    """Image files, folders of them, or Parquet files with a row for each; or URIs such as
    s3://bucket/images."""
    out: Path
    """Folder for the results, without those of another prediction."""
    column: str = "image"
    """Column of Parquet files with the contents of images' files, or with their paths or URIs."""
    verdict: VerdictOptions = field(default_factory=VerdictOptions)
    options: Options = field(default_factory=Options)
    engine: EngineSettings = field(default_factory=EngineSettings)
    determinism: Determinism = field(default_factory=Determinism)


def predict(
    detector: Detector, images: Sequence[NamedSource], *, out: Path, options: Options
) -> Summary:
    """Score images and write the results to `out`, `predictions.csv` last.

    Raises:
        InputError: `out` cannot be written to or has files of another prediction, another command
            works there, or an image cannot be used and `options.strict` is set.
    """
    results = PredictionFiles(out)
    scorer = Scorer(detector, options, results)
    about = _about(detector, images, options)
    with RunFolder(out).lock(), RunFolder(out).writing():
        results.begin(about, resume=options.resume)
        if not results.finished():
            unit = detector.chunk  # scores come in the same lists as without the interruption
            with results.growing_table(scorer.columns, unit=unit) as table:
                total, kept = len(images), table.kept
                rows = scorer.rows(images[kept:])
                for row in with_progress(
                    rows,
                    "predict",
                    total=total,
                    initial=kept,
                    unit="image",
                    leave=False,
                    compiles=True,
                ):
                    table.add(row)
        summary = Summary.of(results.read_table())
        write_json(results.about, {**about, **summary._asdict()})
    return summary


def predict_in_parts(
    detector: Detector,
    images: Sequence[NamedSource],
    *,
    run: Path,
    out: Path,
    options: Options,
    engine: EngineSettings,
) -> Summary:
    """Score the blocks of images whose parts are not in `out` yet.

    Args:
        detector: of the run, for the engine blocks.
        images: at least one.
        run: folder that workers load the detector from.
        out: folder for the results.
        options: as the flags have them.
        engine: as the flags have it.

    Raises:
        InputError: `out` cannot be written to or has files of another prediction, another command
            works there, or an image cannot be used and `options.strict` is set.
    """
    results = PredictionFiles(out)
    parts = PredictionParts(results)
    size = images_a_part(len(images), chunk=detector.chunk)
    about = {**_about(detector, images, options), "images_a_part": size}
    blocks = cut(images, size=size)
    with RunFolder(out).lock(), RunFolder(out).writing():
        parts.begin(about)
        missing = parts.missing(blocks)
        if engine.engine == "ray":
            done = score_on_workers(
                missing, Job.here(run, out, detector.verdict, options), workers=engine.workers
            )
        else:
            done = map(BlockScorer(Scorer(detector, options, results)).score, missing)
        kept = len(images) - sum(len(block.images) for block in missing)
        with progress_bar(
            "predict", len(images), initial=kept, unit="image", leave=False, compiles=True
        ) as progress:
            for count in done:
                progress.update(count)
        return parts.finish(about, blocks)


def _about(detector: Detector, images: Sequence[NamedSource], options: Options) -> dict[str, Any]:
    """Return the origin of a table of predictions, as JSON values."""
    rule = detector.rule
    return {
        "version": __version__,
        "weights": detector.calibration.weights,
        "settings": detector.config.to_json(),
        "score": rule.score,
        "threshold": rule.threshold,
        "threshold_source": rule.source,
        "pixel_threshold": rule.pixel_threshold,
        "false_alarms": rule.false_alarms._asdict(),
        "unusable_pictures": "mark" if detector.verdict.marks_unusable else "ignore",
        "save": sorted(options.save),
        "map_format": options.map_format,
        "images": digest_of_sources(image.source for image in images),
        "names": content_hash("\0".join(image.name for image in images).encode()),
        "at_once": detector.chunk,
    }


def _doubt(run: RunFolder, rule: Rule) -> str | None:
    """Return the scores whose verdict may depend on the device; None on the run's kind of device.

    Another kind may round the products of networks otherwise.
    """
    here = jax.devices()[0].device_kind
    recorded = read_json(run.environment) if run.environment.exists() else {}
    machines = recorded, recorded.get("training", {})  # of results of another test too
    there = {kind for machine in machines for kind in machine.get("devices", ())} - {here}
    if not there:
        return None
    margin = TF32_ERROR * abs(rule.threshold)
    low, high = rule.threshold - margin, rule.threshold + margin
    return (
        f"trained or calibrated on {', '.join(sorted(there))}, scored on {here}: scores may differ"
        f" by {100 * TF32_ERROR:g} %, and verdicts where {rule.score} is from {low:.4g} to"
        f" {high:.4g}"
    )


def _check(flags: Flags) -> None:
    """Raise InputError for what is forgotten or not installed, before images are read."""
    command_line.check_run(flags.run, usage=f"{PROGRAM} RUN IMAGES --out OUT")
    if not flags.images:
        raise InputError("IMAGES: name images, folders or URIs after the run")
    if flags.engine.engine == "ray":
        find_ray()
    if flags.engine.engine != "stream":
        check_packages()


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, predicts, prints where the results are."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM, shown=SHOWN)
    _check(flags)
    flags.determinism.apply()
    if flags.engine.engine == "ray":
        # this process only hands out work: GPUs are the workers'
        jax.config.update("jax_platforms", "cpu")
    share_gpu()
    command_line.warn_of_unused_gpu()
    sources, ignored = find_sources(flags.images, column=flags.column)
    images = name_sources(sources, given=flags.images)
    detector = Detector.load(flags.run)
    detector = replace(detector, verdict=flags.verdict.over(detector.verdict))
    rule = detector.rule
    doubt = None if flags.engine.engine == "ray" else _doubt(RunFolder(flags.run), rule)
    results = PredictionFiles(flags.out)
    if flags.engine.engine == "stream":
        table = results.table
        summary = predict(detector, images, out=flags.out, options=flags.options)
    else:
        table = results.parts
        summary = predict_in_parts(
            detector,
            images,
            run=flags.run,
            out=flags.out,
            options=flags.options,
            engine=flags.engine,
        )
    unusable = f", {summary.unusable} unusable" if summary.unusable else ""
    print(f"{summary.anomalous} of {summary.scored} images are anomalous{unusable}")
    print(rule.describe())
    print(table)
    if doubt:
        print(doubt, file=sys.stderr)
    if ignored:
        print(f"ignored: {describe(ignored)}", file=sys.stderr)
    if summary.unusable:
        print(
            f"{summary.unusable} pictures are taken unlike the normal images: see the column"
            " unusable of the table",
            file=sys.stderr,
        )
    if summary.broken:
        print(
            f"{summary.broken} images could not be used: see the column error of the table",
            file=sys.stderr,
        )
    if summary.broken or summary.unusable:
        sys.exit(BROKEN_IMAGES if summary.broken else UNUSABLE_PICTURES)


if __name__ == "__main__":
    command_line.run(main)
