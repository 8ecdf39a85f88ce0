"""`python -m i3ad_jax.evaluate`: test a trained run again, on other data or with another loop."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

import tyro

from i3ad_jax import command_line
from i3ad_jax.calibration.standardisation import ScoringSettings
from i3ad_jax.config import Config, Test, default_config
from i3ad_jax.data.load import DataSettings, absolute_source, bytes_of
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.evaluate.tested_run import evaluate_run
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.compiler import Determinism
from i3ad_jax.runtime.throughput import ThroughputSettings
from i3ad_jax.scoring.ssim import SsimSettings
from i3ad_jax.settings import Settings

PROGRAM = "python -m i3ad_jax.evaluate"
SHOWN = (
    *("data", "out", "method", "u", "iterations", "base"),
    *("projection_steps", "latent_steps", "test_batch_size", "image_memory"),
)
"""Options that --help shows."""


@dataclass(frozen=True)
class DefaultsFlags:
    """The flags that decide the defaults of all others."""

    run: tyro.conf.Positional[Path]
    method: str | None = None
    data: str | None = None


@dataclass(frozen=True)
class Flags(Generic[Test]):
    """Test a trained run and write results.json, scores.csv, maps and report.html to OUT.

    Images are prepared as in training. Settings of the test may differ from the run's; u and the
    thresholds are then chosen again, on the run's own held-out normal images. With RUN, --help
    shows its method's options.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    test: Test
    data: str | None = None
    """Test data, in any form that train takes; by default the run's own."""
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    out: Path | None = None
    """Folder for the results; by default RUN, or RUN/evaluation if data or settings differ from the
    run's."""
    image_memory: float | None = None
    """GiB that the images of a split, or the maps, may take in memory, as for train."""
    method: str | None = None
    """Method to test with the run's weights; by default its own. l2_ae_projection takes a run of
    l2_ae, ssim_ae_projection one of ssim_ae."""
    ssim: SsimSettings = field(default_factory=SsimSettings)
    scoring: ScoringSettings = field(default_factory=ScoringSettings)
    throughput: ThroughputSettings = field(default_factory=ThroughputSettings)
    determinism: Determinism = field(default_factory=Determinism)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, tests, prints where the results are."""
    run, stored, config, flags = _settings(arguments)
    flags.determinism.apply()
    command_line.warn_of_unused_gpu()
    data = _data(flags, stored)
    same = data == stored.data and config == replace(stored, throughput=config.throughput)
    out = RunFolder(flags.out or (run.path if same else run.path / "evaluation"))
    memory = bytes_of(flags.image_memory)
    evaluate_run(run, config, data=data, out=out, memory=memory, command=sys.argv)
    command_line.print_results(out)


def _settings(
    arguments: Sequence[str],
) -> tuple[RunFolder, Config[Any, Any], Config[Any, Any], Flags[Settings]]:
    """The run, its settings, those of the test, and all flags."""
    asked_help = {"--help", "--help-all", "-h"} & {*arguments}
    if asked_help and len(arguments) == 1:
        run, stored, config = RunFolder(Path()), default_config("i3ad"), default_config("i3ad")
        reading = stored.data.reading
    else:
        first = command_line.parse_known(
            DefaultsFlags, [a for a in arguments if a not in asked_help]
        )
        run = RunFolder(first.run)
        config = stored = run.read_config()
        if first.method is not None and first.method != stored.method:
            config = stored.for_method(first.method)
        reading = stored.data.for_source(_source(first.data, stored)).reading
    default = Flags(
        run.path,
        config.test,
        reading=reading,
        ssim=config.ssim,
        scoring=config.scoring,
        throughput=config.throughput,
    )
    kind = Flags[type(config.test)]
    flags = command_line.parse(
        kind,
        arguments,
        program=PROGRAM,
        default=default,
        method=config.method,
        shown=SHOWN,
    )
    changed = {"test": flags.test, "ssim": flags.ssim, "scoring": flags.scoring}
    return run, stored, replace(config, **changed, throughput=flags.throughput), flags


def _data(flags: Flags[Settings], stored: Config[Any, Any]) -> DataSettings:
    """Return the settings of the test data, by default those of the run."""
    own = replace(stored.data, reading=flags.reading)
    if flags.data is not None:
        return replace(own, data=_source(flags.data, stored)).absolute()
    if own.reading.folders() == stored.data.reading.folders():
        return own
    return replace(own, data=DataSettings().data).absolute()  # from the working directory


def _source(data: str | None, stored: Config[Any, Any]) -> str:
    """Return the test data, by default that of the run."""
    return absolute_source(data) if data else stored.data.data


if __name__ == "__main__":
    command_line.run(main)
