"""Runs of a study: given ones, or ones that are trained here where they are missing."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from experiments.categories import categories, category_name
from experiments.comparison import Run
from experiments.runs import finished, make, plan, run_folder
from i3ad_jax.config import Config, Preset, default_config
from i3ad_jax.data.dataset import Dataset
from i3ad_jax.detector import Detector
from i3ad_jax.errors import InputError
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import read_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.training.recorded import Interrupted


@dataclass(frozen=True)
class Flags:
    """Runs of a study, and the folder for its files."""

    out: Path
    """Folder for the figure (.png, .svg), the numbers (.csv) and the conclusion (.md)."""
    runs: tuple[Path, ...] = ()
    """Folders of trained runs that differ by nothing but their seed. Without any, the runs in
    OUT/runs, which are trained where they are missing: minutes each."""
    data: str = "textures:weave"
    """Without --runs: what to train on, in any form that train takes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Without --runs: a run for each."""
    preset: Preset = "standard"
    """Without --runs: settings of the runs."""
    steps: int | None = None
    """Without --runs: training steps; by default those of the preset."""


@dataclass(frozen=True)
class LoopFlags(Flags):
    """The same for a study of one loop under either reading of the paper."""

    base: Literal["previous", "original"] | None = None
    """Source of the pixels outside the mask, as in train; by default that of the runs. Another base
    has another u, chosen by the rule on the runs' held-out normal images."""


class Loaded(NamedTuple):
    """A finished run: its folder and its detector."""

    folder: RunFolder
    detector: Detector

    @classmethod
    def of(cls, folder: RunFolder) -> "Loaded":
        """The run in a folder.

        Raises:
            InputError: the run is not finished, or a file of it is damaged.
        """
        return cls(folder, Detector.load(folder.path))

    @property
    def commit(self) -> str | None:
        """The one at which its weights were trained."""
        return read_json(self.folder.source().environment)["git_commit"]


@dataclass(frozen=True)
class Subject:
    """Subject of a study.

    Attributes:
        runs: one for each seed.
        data: theirs.
        machine: of `environment`.
        start: of the study, by `time.perf_counter`.
    """

    runs: Sequence[Loaded]
    data: Dataset
    machine: Mapping[str, Any] = field(default_factory=environment)
    start: float = field(default_factory=time.perf_counter)

    @property
    def name(self) -> str:
        """The data's, without its folder."""
        return category_name(Path(self.data.name).name.removeprefix("textures:"))


def settings(flags: Flags) -> Config:
    """Settings of a study's runs of I3AD, except for the seed and those of training.

    Raises:
        InputError: the first of --runs is not a run.
    """
    return (
        RunFolder(flags.runs[0]).read_config()
        if flags.runs
        else default_config("i3ad", preset=flags.preset)
    )


def folders(flags: Flags, *, methods: Sequence[str] = ("i3ad",)) -> list[RunFolder]:
    """Return the runs in the flags, or else those of OUT/runs, trained here where missing.

    Raises:
        InputError: a flag is invalid, or a run cannot be trained.
        SystemExit: on Ctrl-C or SIGTERM during training; the same command continues from there.
    """
    if flags.runs:
        return [RunFolder(path) for path in flags.runs]
    planned = one_category(flags, methods=methods)
    train_missing(planned, flags.out)
    return [run_folder(flags.out, run) for run in planned if run.method in methods]


def one_category(flags: Flags, *, methods: Sequence[str]) -> dict[Run, Config]:
    """The plan of these methods' runs by the flags.

    Raises:
        InputError: a flag is invalid, or --data names several categories.
    """
    if len(found := categories([flags.data])) != 1:
        raise InputError(
            f"--data {flags.data}: holds {', '.join(found)}; a study takes one of them"
        )
    return plan(
        data=[flags.data],
        methods=methods,
        seeds=flags.seeds,
        preset=flags.preset,
        steps=flags.steps,
    )


def train_missing(planned: Mapping[Run, Config], out: Path) -> None:
    """Trains and tests the runs that are missing below the folder `out`.

    Raises:
        InputError: a run there has other settings, or a run cannot be trained.
        SystemExit: on Ctrl-C or SIGTERM during training; the same command continues from there.
    """
    done = finished(planned, out)
    missing = tqdm(
        [run for run in planned if run not in done], unit="run", disable=len(done) == len(planned)
    )
    for run in missing:
        missing.set_description(str(run))
        try:
            make(run, planned, out)
        except Interrupted as stop:
            missing.close()
            print(f"\n{run} {stop}. To continue, give the same command again.", file=sys.stderr)
            sys.exit(128 + stop.signal)


def load_seeds(
    chosen: Sequence[RunFolder], *, base: Literal["previous", "original"] | None = None
) -> Subject:
    """Runs of I3AD that differ by their seed alone, with their data.

    Args:
        chosen: the runs.
        base: of the loop, if not the runs' own; u is then chosen again.

    Raises:
        InputError: a run is not finished, is of another method or differs from the first, two have
            one seed, or the test images are not of both classes.
    """
    first = chosen[0].read_config()
    configs = [folder.read_config() for folder in chosen]
    for folder, config in zip(chosen, configs, strict=True):
        if config.method != "i3ad":
            raise InputError(
                f"--runs {folder.path}: a run of {config.method}; this study is about i3ad"
            )
        expected = {**first.flat(), "seed": config.seed}
        for name, value in config.flat().items():
            if value != expected[name]:
                raise InputError(
                    f"--runs {folder.path}: trained with {name} {value}, {chosen[0].path} with"
                    f" {expected[name]}; give runs that differ by their seed alone"
                )
    if len({config.seed for config in configs}) < len(configs):
        raise InputError(
            f"--runs {chosen[-1].path}: two of the runs have one seed; give each seed once"
        )
    data, runs = labelled_data(chosen[0]), [Loaded.of(folder) for folder in chosen]
    if base is not None and base != first.test.refine.base:
        runs = [run._replace(detector=recalibrated(run.detector, data, base=base)) for run in runs]
    return Subject(runs, data)


def recalibrated(detector: Detector, data: Dataset, **settings: Any) -> Detector:
    """Return the detector with other settings, for the test alone, calibrated with them.

    Raises:
        InputError: a setting cannot be used, or a calibration image is missing from the data or has
            changed.
    """
    plan, own = with_settings(detector, **settings).plan, detector.config.data
    size = plan.preprocessing.size
    held_out = plan.files.read_calibration_set(own, size=size, train=data.train)
    return Detector.calibrated(
        plan, detector.state, held_out.images[:], step=detector.calibration.step
    )


def with_settings(detector: Detector, **settings: Any) -> Detector:
    """Return the detector with other settings, for the test alone, and the calibration that it has.

    A study may change what the weights were trained with, such as the patches of the checkerboard,
    too.

    Raises:
        InputError: a setting cannot be used.
    """
    plan = detector.plan
    return replace(detector, plan=plan.with_asked(plan.asked.with_settings(settings)))


def labelled_data(run: RunFolder) -> Dataset:
    """The data of a run, in its working size.

    Raises:
        InputError: it cannot be read, or its test images are not of both classes.
    """
    config = run.read_config().data
    size = run.read_plan().preprocessing.size
    data = config.load(size=size)
    if len(set(data.test.labels.tolist())) < 2:
        raise InputError(f"--data {data.name}: a study needs normal and anomalous test images")
    return data
