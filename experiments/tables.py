"""`python -m experiments.tables`: measure tables 1, 3, 4 and 5, beside the paper's values."""

import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tqdm import tqdm

from experiments.categories import table_rows
from experiments.comparison import (
    TABLES,
    Run,
    all_methods_csv,
    all_methods_markdown,
    table_csv,
    table_markdown,
)
from experiments.runs import finished, plan, run_folder, wall_seconds
from experiments.sweep import Engine, Outcome, outcomes
from i3ad_jax import command_line
from i3ad_jax.config import Config, Preset
from i3ad_jax.methods import METHODS
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import write_csv, write_text
from i3ad_jax.training.recorded import Interrupted

PROGRAM = "python -m experiments.tables"
HOW_TO_READ = {
    "cells": "mean ± standard deviation over seeds (the paper's figure, ours less the paper's)",
    "figures in brackets": "printed in the paper, not measured here",
    "means": "over the categories that the column has; the paper's over the same categories, where"
    " it has them all (its printed mean where they are all of its own)",
}


@dataclass(frozen=True)
class Flags:
    """Train and test what is missing; write table1, 3, 4, 5 and all_methods (.csv, .md) to OUT.

    Give the same command again to resume it where it stopped. A run that fails is left out and
    noted; the exit code is then 1; failures.log has the details.
    """

    data: tuple[str, ...]
    """Categories: any form that train takes, a folder of such folders, or textures for all built-in
    ones."""
    out: Path
    """Folder for the tables; the runs are in its subfolder runs."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Methods to train; a projection brings its autoencoder with it."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """A run for each."""
    preset: Preset = "standard"
    """Settings of all runs."""
    steps: int | None = None
    """Training steps of every method that learns by steps; by default those of the preset."""
    engine: Engine = "here"
    """here: one run after the other. ray: as tasks of this machine, or of the Ray cluster that
    RAY_ADDRESS names, one on each GPU or machine at a time; OUT and the data must be in folders
    that all share."""


@dataclass(frozen=True)
class Session:
    """Content of the tables; results and failures grow with every run.

    Attributes:
        flags: of the command.
        plan: the settings of every run, in the order in which they are trained.
        results: content of `results.json` of each finished run.
        failures: reason of a failure of each run, in one line.
        machine: of `environment`.
    """

    flags: Flags
    plan: Mapping[Run, Config]
    results: dict[Run, dict[str, Any]]
    failures: dict[Run, str]
    machine: Mapping[str, Any]

    def add(self, outcome: Outcome) -> None:
        """Notes how a run ended, in the tables and in `failures.log`."""
        if outcome.results is not None:
            self.results[outcome.run] = outcome.results
        else:
            self.failures[outcome.run] = outcome.problem
            with (self.flags.out / "failures.log").open("a", encoding="utf-8") as log:
                log.write(f"{outcome.run}\n{outcome.trace}\n")
        self.write()

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
        """Notes below the tables."""
        steps = {
            run.method: c.flat()["steps"] for run, c in self.plan.items() if "steps" in c.flat()
        }
        seconds = sum(wall_seconds(run_folder(self.flags.out, run).path) for run in self.plan)
        return {
            "data": ", ".join(dict.fromkeys(config.data.data for config in self.plan.values())),
            "preset": self.flags.preset,
            "steps": steps or "none",
            "seeds": self.flags.seeds,
            "runs": f"{len(self.results)} of {len(self.plan)} finished",
            **{f"failed and left out: {run}": message for run, message in self.failures.items()},
            "wall time of these runs": timedelta(seconds=round(seconds)),
            **self.machine,
        }


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains the missing runs, writes the tables after each."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    planned = plan(
        data=flags.data,
        methods=flags.methods,
        seeds=flags.seeds,
        preset=flags.preset,
        steps=flags.steps,
    )
    session = Session(flags, planned, finished(planned, flags.out), {}, environment())
    session.write()
    missing = [run for run in planned if run not in session.results]
    # On Ray several are at work.
    following = iter([*missing, "end"] if flags.engine == "here" else [])
    with tqdm(initial=len(session.results), total=len(planned), unit="run") as progress:
        progress.set_description(worked_on := str(next(following, "runs")))
        try:
            for outcome in outcomes(missing, planned, flags.out, flags.engine):
                session.add(outcome)
                if outcome.problem:
                    progress.write(f"error: {outcome.run}: {outcome.problem}", file=sys.stderr)
                progress.update()
                progress.set_description(worked_on := str(next(following, "runs")))
        except (Interrupted, KeyboardInterrupt) as stop:
            progress.close()
            print(
                f"\n{worked_on} {stop or 'stopped'}. To continue, give the same command again.",
                file=sys.stderr,
            )
            sys.exit(128 + (stop.signal if isinstance(stop, Interrupted) else signal.SIGINT))
    print(f"{len(session.results)} of {len(planned)} runs finished; tables in {flags.out}")
    if session.failures:
        sys.exit(1)


if __name__ == "__main__":
    command_line.run(main)
