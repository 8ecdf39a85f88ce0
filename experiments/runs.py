"""Runs of the experiments: their settings, their folders, and training missing ones."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from experiments.categories import categories
from experiments.comparison import Run
from i3ad_jax.config import Config, default_config, misplaced_setting
from i3ad_jax.data.folder import list_samples
from i3ad_jax.data.load import absolute_source
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate.tested_run import evaluate_run
from i3ad_jax.methods import METHODS
from i3ad_jax.runs.files import read_json, write_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.settings import flag
from i3ad_jax.train.session import train_and_test


def plan(
    *,
    data: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    preset: str,
    steps: int | None,
) -> dict[Run, Config]:
    """Return the settings of all runs in the order of training: all of one seed, then the next.

    A projection brings the autoencoder with it whose weights it takes.

    Args:
        data: as `categories` takes it.
        steps: of every method that learns by steps; None for those of the preset.

    Raises:
        InputError: the flag of one of these is invalid.
    """
    for name, values in (("data", data), ("methods", methods), ("seeds", seeds)):
        if not values:
            raise InputError(f"--{name}: no value given; name at least one or leave it out")
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise InputError(f"--methods {unknown[0]}: unknown; choose from {', '.join(METHODS)}")
    wanted = {*methods, *(METHODS[name].weights_of for name in methods)}
    # An autoencoder stands before its projection.
    ordered = [name for name in METHODS if name in wanted]
    planned, found = {}, categories(data)
    defaults = {method: default_config(method, preset=preset) for method in ordered}
    by_steps = [method for method in ordered if "steps" in defaults[method].flat()]
    if steps is not None and not by_steps:
        raise misplaced_setting("steps", steps, method=ordered[0])
    for seed, (category, source), method in product(dict.fromkeys(seeds), found.items(), ordered):
        changes = {"seed": seed, "data": absolute_source(source)}
        if steps is not None and method in by_steps:
            changes["steps"] = steps
        planned[Run(category, method, seed)] = defaults[method].with_settings(changes)
    return planned


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """Make the folder `out`; turn a failure to write in the block into an InputError.

    The message names --out.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to ({error.strerror})") from error


def run_folder(out: Path, run: Run) -> RunFolder:
    """Folder of a run below that of an experiment."""
    return RunFolder(out / "runs" / run.category / f"{run.method}-seed{run.seed}")


def finished(planned: Mapping[Run, Config], out: Path) -> dict[Run, dict[str, Any]]:
    """The results of the runs that are done.

    Raises:
        InputError: a run there, done or not, has other settings than the plan; or `out` cannot be
            written to.
    """
    with writing(out):
        pass
    results = {}
    for run, config in planned.items():
        folder = run_folder(out, run)
        if folder.config.exists() or folder.results.exists():
            stored = folder.read_config()
            asked, stored = config.flat(), stored.flat()
            for name, value in asked.items():
                if value != stored[name]:
                    here = f"{folder.path} was trained with {stored[name]}"
                    raise InputError(
                        f"{flag(name)} {value}: {here}; ask for that or name another --out"
                    )
        if folder.results.exists():
            results[run] = read_json(folder.results)
    return results


def make(run: Run, planned: Mapping[Run, Config], out: Path) -> dict[str, Any]:
    """Trains, or continues training, and tests; returns what `results.json` holds.

    Raises:
        InputError: a setting or the data cannot be used, training diverged, or the run takes the
            weights of one that is not finished.
        Interrupted: on Ctrl-C or SIGTERM during training, after saving.
    """
    folder, config = run_folder(out, run), planned[run]
    root = Path(config.data.data)
    if root.exists() and not list_samples(root, config.data.reading).test:
        raise InputError(f"--data {root}: no test images to measure with; put them in test/CLASS")
    with _clock(folder.path):
        if (weights_of := METHODS[run.method].weights_of) is not None:
            autoencoder = replace(run, method=weights_of)
            source = run_folder(out, autoencoder)
            if not source.results.exists():  # it failed: its weights may be there, half trained
                raise InputError(
                    f"takes the weights of {autoencoder}, which is not finished; see there"
                )
            evaluate_run(source, config, data=config.data, out=folder, command=sys.argv)
        else:
            train_and_test(config, folder, resume=folder.config.exists(), command=sys.argv)
    return read_json(folder.results)


def wall_seconds(folder: Path) -> float:
    """Seconds of work on the run there, all sessions together; 0 where none was."""
    file = folder / "wall_time.json"
    return read_json(file)["seconds"] if file.exists() else 0.0


@contextmanager
def _clock(folder: Path) -> Iterator[None]:
    """Adds the block's seconds to those of earlier sessions in its `wall_time.json`."""
    before, start = wall_seconds(folder), time.perf_counter()
    try:
        yield
    finally:
        if folder.is_dir():
            write_json(folder / "wall_time.json", {"seconds": before + time.perf_counter() - start})
