"""`python -m i3ad_jax.evaluate`: test a trained run again, on other data or with another loop."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import tyro

from i3ad_jax import command_line
from i3ad_jax.calibration import RunCalibration, calibrate, is_calibrated
from i3ad_jax.config import Config, RefineConfig, ScoreConfig, SearchConfig, validate
from i3ad_jax.data.load import hold_out, load_dataset
from i3ad_jax.errors import InputError
from i3ad_jax.evaluation import assess
from i3ad_jax.fit import load_trained
from i3ad_jax.methods import WEIGHTS_OF
from i3ad_jax.runs.run_folder import RunFolder

PROGRAM = "python -m i3ad_jax.evaluate"


@dataclass(frozen=True)
class Where:
    """The flag that decides the defaults of all others."""

    run: tyro.conf.Positional[Path]


@dataclass(frozen=True)
class Flags:
    """Test a trained run and write results.json, scores.csv, maps and report.html to OUT.

    Images are prepared as in training. Settings of the loop may differ from the run's; u and the thresholds
    are then chosen anew, on the run's own held-out normal images.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    data: str | None = None
    """Test data, in any form that train takes; by default the run's own."""
    out: Path | None = None
    """Folder for the results; by default RUN, or RUN/evaluation if data or settings differ from the run's."""
    dtype: Literal["float32", "bfloat16"] | None = None
    """Type the networks compute in, whatever they were trained in; by default the run's."""
    method: str | None = None
    """Method to test with the run's weights; by default its own. l2_ae_projection takes a run of l2_ae,
    ssim_ae_projection one of ssim_ae."""
    refine: RefineConfig = field(default_factory=RefineConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    score: ScoreConfig = field(default_factory=ScoreConfig)


def evaluate(folder: RunFolder, config: Config, *, data: str, out: RunFolder) -> dict:
    """Tests the run in `folder` under `config`, its own but for the loop; returns what `results.json` holds.

    Raises:
        InputError: the run, its checkpoint or the data cannot be used.
    """
    method, state = load_trained(folder, config)
    speed = {"test_batch_size": config.refine.test_batch_size, "queue_size": config.refine.queue_size}
    stored = folder.read_config()
    original = replace(stored, refine=replace(stored.refine, **speed), network=config.network)
    if config == original and is_calibrated(folder):
        calibration = RunCalibration.read(folder)
    else:
        own = load_dataset(config.data.data, image_size=config.data.image_size, aspect=config.data.aspect)
        _, held_out = hold_out(own.train, fraction=config.data.held_out, seed=config.seed)
        calibration = calibrate(method, config, state, held_out.images)
        if config == original or out.path != folder.path:  # predict goes by the run's own settings
            calibration.write(out)
    tested = load_dataset(data, image_size=config.data.image_size, aspect=config.data.aspect)
    return assess(method, config, state, calibration, data=tested, folder=out, source=folder)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, tests, prints where the results are."""
    default = Flags(run=Path())
    if "--help" not in arguments and "-h" not in arguments:
        folder = RunFolder(command_line.parse_known(Where, arguments).run)
        stored = folder.read_config()
        default = Flags(run=folder.path, refine=stored.refine, search=stored.search, score=stored.score)
    flags = command_line.parse(Flags, arguments, program=PROGRAM, default=default)
    folder = RunFolder(flags.run)
    stored = folder.read_config()
    network = replace(stored.network, dtype=flags.dtype or stored.network.dtype)
    method = flags.method or stored.method
    if WEIGHTS_OF.get(method, method) != WEIGHTS_OF.get(stored.method, stored.method):
        raise InputError(
            f"--method {method}: cannot take the weights of {folder.path}, a run of {stored.method}"
        )
    config = replace(
        stored,
        method=method,
        network=network,
        refine=flags.refine,
        search=flags.search,
        score=flags.score,
    )
    validate(config)
    data = flags.data or stored.data.data
    same = (data, config) == (stored.data.data, stored)
    out = RunFolder(flags.out or (folder.path if same else folder.path / "evaluation"))
    command_line.print_results(evaluate(folder, config, data=data, out=out), out)


if __name__ == "__main__":
    command_line.run(main)
