"""`python -m i3ad_jax.train`: train a method on normal images, test it, write a report."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from i3ad_jax import command_line
from i3ad_jax.calibration import calibrate
from i3ad_jax.config import Config, validate
from i3ad_jax.data.load import hold_out, load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.evaluation import assess
from i3ad_jax.fit import Interrupted, fit
from i3ad_jax.methods import TRAINED_IN_PARTS, build
from i3ad_jax.presets import PRESETS, defaults
from i3ad_jax.runs.run_folder import RunFolder, write_json

PROGRAM = "python -m i3ad_jax.train"


@dataclass(frozen=True)
class Where:
    """The flags that decide the defaults of all others."""

    preset: str = "quick"
    method: str = "i3ad"
    run: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Flags:
    """Train on normal images, test on labelled ones, and write RUN/report.html, results.json and scores.csv.

    Without any option: I3AD on the built-in textures, a few minutes on two CPU cores.
    """

    run: Path | None = None
    """Folder of the run; by default a new one under runs/."""
    resume: bool = False
    """Continue the run in --run from its newest checkpoint. Its settings hold; only --steps may grow, and
    f_anogan's, whose encoder trains in the last part of them, may not."""
    config: Config = field(default_factory=Config)


def train(config: Config, folder: RunFolder, *, resume: bool = False) -> dict | None:
    """Trains, calibrates and tests; returns what `results.json` holds, None for data without test images.

    Args:
        config: all settings; with `resume`, those of the run but for more steps.
        folder: of the run; made here unless `resume`.
        resume: go on from the newest checkpoint.

    Raises:
        InputError: a setting, the data or the folder cannot be used, or training diverged.
        Interrupted: on Ctrl-C or SIGTERM during training, after saving.
    """
    validate(config)
    method = build(config)
    data = load_dataset(config.data.data, image_size=config.data.image_size, aspect=config.data.aspect)
    kept, held_out = hold_out(data.train, fraction=config.data.held_out, seed=config.seed)
    if not resume:
        folder.create(config, sys.argv)
    elif config != folder.read_config():  # more steps: the results so far are not those of the run any more
        folder.results.unlink(missing_ok=True)
        write_json(folder.config, config.to_json())
    state = fit(method, config, folder, train_images=kept.images, held_out_images=held_out.images)
    calibration = calibrate(method, config, state, held_out.images)
    calibration.write(folder)
    if not len(data.test):
        return None
    return assess(method, config, state, calibration, data=data, folder=folder, source=folder)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains, prints where the results are."""
    config, folder, resume = _settings(arguments)
    try:
        results = train(config, folder, resume=resume)
    except Interrupted as stop:
        print(
            f"\n{stop}. To go on:\n  {PROGRAM} --run {shlex.quote(str(folder.path))} --resume",
            file=sys.stderr,
        )
        sys.exit(128 + stop.signal)
    if results is None:
        print(f"\nNo test images: trained only. Score images by python -m i3ad_jax.predict {folder.path} ...")
    else:
        command_line.print_results(results, folder)


def _settings(arguments: Sequence[str]) -> tuple[Config, RunFolder, bool]:
    """The settings: flags over the preset's values, or over the run's own where it is resumed."""
    where = command_line.parse_known(Where, arguments)
    if where.preset not in PRESETS:
        raise InputError(f"--preset {where.preset}: unknown; one of {', '.join(PRESETS)}")
    if not where.resume:
        default = Flags(config=defaults(where.preset, where.method))
        flags = command_line.parse(Flags, arguments, program=PROGRAM, default=default)
        return flags.config, RunFolder(flags.run or _new_folder(flags.config)), False
    if where.run is None:
        raise InputError("--resume: say which run with --run FOLDER")
    folder = RunFolder(where.run)
    stored = folder.read_config()
    flags = command_line.parse(Flags, arguments, program=PROGRAM, default=Flags(config=stored))
    _check_resumable(stored, flags.config, folder)
    return flags.config, folder, True


def _check_resumable(stored: Config, asked: Config, folder: RunFolder) -> None:
    """Raises InputError unless the settings are the run's own, but for more training steps where it can."""
    old, new = stored.flat(), asked.flat()
    grows = asked.training.steps > stored.training.steps and stored.method not in TRAINED_IN_PARTS
    for name, value in new.items():
        if value != old[name] and not (name == "steps" and grows):
            flag = f"--{name.replace('_', '-')}"
            raise InputError(
                f"{flag} {value}: {folder.path} was trained with {flag} {old[name]};"
                " leave it out or start a new run"
            )


def _new_folder(config: Config) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in Path(config.data.data).name)
    return Path("runs") / f"{datetime.now():%Y%m%d-%H%M%S}-{config.method}-{name}-seed{config.seed}"


if __name__ == "__main__":
    command_line.run(main)
