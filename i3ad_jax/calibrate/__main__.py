"""`python -m i3ad_jax.calibrate`: calibrate a trained run again, on new normal images."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from i3ad_jax import command_line
from i3ad_jax.calibration.thresholds import false_alarms
from i3ad_jax.data.inputs import find_images
from i3ad_jax.data.search import describe
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError, LearnedLittleWarning
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.scoring.rates import Rate

PROGRAM = "python -m i3ad_jax.calibrate"


@dataclass(frozen=True)
class Flags:
    """Calibrate a run again, on new normal images, and write the result to OUT as a run.

    For images of a new lamp or a new batch. The weights stay; thresholds and all else that comes
    from calibration images are computed again. RUN does not change, and OUT/files.json lists the
    new images.
    """

    run: tyro.conf.Positional[Path]
    """Folder of a trained run."""
    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files, or folders of them: normal images that no training has seen, a hundred or
    more."""
    out: Path
    """Folder for the recalibrated run; must not hold a run."""


def recalibrate(old: Detector, images: Sequence[Path]) -> tuple[Detector, Rate]:
    """Return the recalibrated detector, and how many of the images exceed the old threshold.

    Args:
        old: detector of the run.
        images: files of new normal images.

    Raises:
        InputError: an image cannot be used, is given twice, or served the training.
    """
    split = old.config.data.split_of(images, size=old.preprocessing.size, by_file=True)
    trained = {*old.files.trained.values()}
    for path, content in zip(split.paths, split.hashes, strict=True):
        if content in trained:
            raise InputError(f"{path}: the run was trained on this image; leave it out")
    _, scores = old.score_split(split, progress=True)
    exceed_old = false_alarms(scores[old.rule.score], old.rule.threshold)
    return old.recalibrated(images, progress=True), exceed_old


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, recalibrates, prints both thresholds and where the run is."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    command_line.check_run(flags.run, usage=f"{PROGRAM} RUN IMAGES --out OUT")
    if RunFolder(flags.out).config.exists():
        raise InputError(f"--out {flags.out}: holds a run; name another folder")
    found = find_images(flags.images)
    old = Detector.load(flags.run)
    new, exceed_old = recalibrate(old, found.images)
    if new.calibration.problem:
        warnings.warn(new.calibration.problem, LearnedLittleWarning, stacklevel=2)
    new.save(flags.out)
    for name, rule, exceed in (
        ("old", old.rule, exceed_old),
        ("new", new.rule, new.rule.false_alarms),
    ):
        print(f"{name} threshold: {rule.score} {rule.threshold:.4g}, exceeded by {exceed}")
    print(new.rule.describe())
    print(flags.out)
    if found.ignored:
        print(f"ignored: {describe(found.ignored)}", file=sys.stderr)


if __name__ == "__main__":
    command_line.run(main)
