"""`python -m experiments.tables`: tables 1, 3, 4 and 5 of the paper, measured here beside the paper's."""

import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from experiments.categories import categories, table_rows
from experiments.comparison import (
    TABLES,
    Run,
    all_methods_csv,
    all_methods_markdown,
    table_csv,
    table_markdown,
)
from i3ad_jax import command_line
from i3ad_jax.config import Config, validate
from i3ad_jax.errors import InputError
from i3ad_jax.evaluate import evaluate
from i3ad_jax.fit import Interrupted
from i3ad_jax.methods import METHODS, WEIGHTS_OF
from i3ad_jax.presets import defaults
from i3ad_jax.run_folder import RunFolder, environment, write_csv, write_json, write_text
from i3ad_jax.train import train

PROGRAM = "python -m experiments.tables"
HOW_TO_READ = {
    "cells": "mean ± standard deviation over seeds (the paper's figure, ours less the paper's)",
    "figures in brackets": "printed in the paper, not measured here",
    "means": "over the categories that the column has; the paper's over the same categories, where it has"
    " them all (its printed mean where they are all of its own)",
}


@dataclass(frozen=True)
class Flags:
    """Train and test what is missing in OUT, and write table1, 3, 4, 5 and all_methods (.csv and .md) there.

    Give the same command again to go on where it stopped. A run that fails is left out and noted; the exit
    code is then 1; failures.log has the details.
    """

    data: tuple[str, ...]
    """Categories: any form that train takes, a folder of such folders, or textures for all built-in ones."""
    out: Path
    """Folder for the tables; the runs are in its subfolder runs."""
    methods: tuple[str, ...] = METHODS
    """What to train; a projection brings its autoencoder with it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    preset: Literal["quick", "paper"] = "quick"
    """Settings of all runs."""
    steps: int | None = None
    """Training steps of every method; by default those of the preset."""


@dataclass(frozen=True)
class Session:
    """What the tables are made from; results and failures grow with every run.

    Attributes:
        flags: of the command.
        plan: the settings of every run, in the order in which they are made.
        results: what `results.json` of each finished run holds.
        failures: why a run failed, in one line.
        machine: of `environment`.
    """

    flags: Flags
    plan: Mapping[Run, Config]
    results: dict[Run, dict[str, Any]]
    failures: dict[Run, str]
    machine: Mapping[str, Any]

    def write(self) -> None:
        """Writes the tables that have a figure, from the methods that were asked for."""
        out, methods, done = self.flags.out, self.flags.methods, self.results
        results = {run: done[run] for run in self.plan if run in done and run.method in methods}
        if not results:
            return
        rows = table_rows(dict.fromkeys(run.category for run in self.plan))
        notes = self.notes()
        for number, table in TABLES.items():
            if any(run.method == method for run in results for method, _ in table.columns):
                write_csv(out / f"table{number}.csv", *table_csv(number, results, rows))
                text = table_markdown(number, results, rows, {**HOW_TO_READ, **notes})
                write_text(out / f"table{number}.md", text)
        write_csv(out / "all_methods.csv", *all_methods_csv(results, rows))
        write_text(out / "all_methods.md", all_methods_markdown(results, rows, notes))

    def notes(self) -> dict[str, Any]:
        """What stands below the tables."""
        # pca learns from all images at once: it takes no steps
        steps = {run.method: c.training.steps for run, c in self.plan.items() if run.method != "pca"}
        seconds = sum(_seconds(_folder(self.flags.out, run).path) for run in self.plan)
        return {
            "data": ", ".join(dict.fromkeys(config.data.data for config in self.plan.values())),
            "preset": self.flags.preset,
            "steps": _listed(steps) or "none",
            "seeds": _listed(list(self.flags.seeds)),
            "runs": f"{len(self.results)} of {len(self.plan)} finished",
            **{f"failed and left out: {run}": message for run, message in self.failures.items()},
            "wall time of these runs": timedelta(seconds=round(seconds)),
            **{name: _listed(value) for name, value in self.machine.items()},
        }


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, makes the missing runs, writes the tables after each."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    plan = _plan(flags)
    session = Session(flags, plan, _finished(plan, flags.out), {}, environment())
    session.write()
    missing = [run for run in plan if run not in session.results]
    with tqdm(missing, initial=len(session.results), total=len(plan), unit="run") as progress:
        for run in progress:
            progress.set_description(str(run))
            try:
                session.results[run] = _make(run, plan, flags.out)
            except Interrupted as stop:
                progress.close()
                print(f"\n{run} {stop}. To go on, give the same command again.", file=sys.stderr)
                sys.exit(128 + stop.signal)
            except Exception as error:  # whatever it is, the other runs can do without this one
                kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
                session.failures[run] = " ".join(f"{kind}{error}".split())
                progress.write(f"error: {run}: {session.failures[run]}", file=sys.stderr)
                with (flags.out / "failures.log").open("a", encoding="utf-8") as log:
                    log.write(f"{run}\n{traceback.format_exc()}\n")
            session.write()
    print(f"{len(session.results)} of {len(plan)} runs finished; tables in {flags.out}")
    if session.failures:
        sys.exit(1)


def _plan(flags: Flags) -> dict[Run, Config]:
    """The settings of every run, in the order in which they are made: all of one seed, then the next.

    Raises:
        InputError: a flag makes no sense.
    """
    for flag, values in (("data", flags.data), ("methods", flags.methods), ("seeds", flags.seeds)):
        if not values:
            raise InputError(f"--{flag}: nothing given; name at least one or leave it out")
    unknown = [name for name in flags.methods if name not in METHODS]
    if unknown:
        raise InputError(f"--methods {unknown[0]}: unknown; choose from {', '.join(METHODS)}")
    wanted = {*flags.methods, *(WEIGHTS_OF[name] for name in flags.methods if name in WEIGHTS_OF)}
    methods = [name for name in METHODS if name in wanted]  # an autoencoder stands before its projection
    plan, found = {}, categories(flags.data)
    for seed, (category, data), method in product(dict.fromkeys(flags.seeds), found.items(), methods):
        config = defaults(flags.preset, WEIGHTS_OF.get(method, method))
        config = replace(config, method=method, seed=seed, data=replace(config.data, data=data))
        if flags.steps is not None:
            config = replace(config, training=replace(config.training, steps=flags.steps))
        validate(config)
        plan[Run(category, method, seed)] = config
    return plan


def _folder(out: Path, run: Run) -> RunFolder:
    return RunFolder(out / "runs" / run.category / f"{run.method}-seed{run.seed}")


def _finished(plan: Mapping[Run, Config], out: Path) -> dict[Run, dict[str, Any]]:
    """The results of the runs that are done.

    Raises:
        InputError: a run there, done or not, has other settings than the plan; or `out` cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be written to ({error.strerror})") from error
    results = {}
    for run, config in plan.items():
        folder = _folder(out, run)
        if folder.config.exists() or folder.results.exists():
            asked, stored = config.flat(), folder.read_config().flat()
            for name, value in asked.items():
                if value != stored[name]:
                    flag = f"--{name.replace('_', '-')}"
                    here = f"{folder.path} was made with {stored[name]}"
                    raise InputError(f"{flag} {value}: {here}; ask for that or name another --out")
        if folder.results.exists():
            results[run] = folder.read_json(folder.results)
    return results


def _make(run: Run, plan: Mapping[Run, Config], out: Path) -> dict[str, Any]:
    """Trains, or goes on training, and tests; returns what `results.json` holds."""
    folder, config = _folder(out, run), plan[run]
    root = Path(config.data.data)
    if root.is_dir() and not (root / "test").is_dir():
        raise InputError(f"--data {root}: no test images to measure with; put them in test/CLASS")
    with _clock(folder.path):
        if run.method in WEIGHTS_OF:
            autoencoder = replace(run, method=WEIGHTS_OF[run.method])
            source = _folder(out, autoencoder)
            if not source.results.exists():  # it failed: its weights may be there, half trained
                raise InputError(f"takes the weights of {autoencoder}, which is not finished; see there")
            if not folder.config.exists():
                folder.create(config, sys.argv)
            evaluate(source, config, data=config.data.data, out=folder)
        else:
            train(config, folder, resume=folder.config.exists())
    return folder.read_json(folder.results)


@contextmanager
def _clock(folder: Path) -> Iterator[None]:
    """Adds the block's seconds to those of earlier sessions in its `wall_time.json`."""
    before, start = _seconds(folder), time.perf_counter()
    try:
        yield
    finally:
        if folder.is_dir():
            write_json(folder / "wall_time.json", {"seconds": before + time.perf_counter() - start})


def _seconds(folder: Path) -> float:
    file = folder / "wall_time.json"
    return RunFolder(folder).read_json(file)["seconds"] if file.exists() else 0.0


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


if __name__ == "__main__":
    command_line.run(main)
