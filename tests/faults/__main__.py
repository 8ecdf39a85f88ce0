"""Tries all cases, or some; the exit code is 1 where one did not end as it must."""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from .case import Case, Outcome, Result
from .material import make_material, warm_up
from .processes import run_cases
from .usual import with_usual

OUTCOMES = get_args(Outcome)


def main() -> None:
    """Parses the command line, tries the cases, prints the table and each miss."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--sample", type=int, help="try so many of the cases, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the damage")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="try the cases whose name begins so"
    )
    parser.add_argument(
        "--also", action="append", default=[], help="beside a sample, a case of this name"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cases at a time")
    parser.add_argument(
        "--keep", type=Path, help="an empty folder in which the cases' folders stay"
    )
    parser.add_argument("--list", action="store_true", help="print the names alone")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faults_") as temporary:
        material = make_material(Path(temporary))
        warm_up()
        cases = [
            case
            for case in all_cases(material.run)
            if case.name.startswith((*flags.only, *flags.also))
        ]
        if flags.sample is not None:
            names = [case.name for case in cases]
            chosen = {
                *random.Random(flags.seed).sample(names, min(flags.sample, len(names))),
                *flags.also,
            }
            cases = [case for case in cases if case.name in chosen]
        if flags.list:
            print("\n".join(case.name for case in cases))
            return
        if any(case.usual not in material.usual for case in cases):
            material = with_usual(material)
        folder = flags.keep or Path(temporary) / "cases"
        results = []
        for result in run_cases(
            cases,
            folder.resolve(),
            material,
            jobs=flags.jobs,
            seed=flags.seed,
            keep=flags.keep is not None,
        ):
            results.append(result)
            if result.missed:
                print(_miss(result, flags.seed), flush=True)
    print(table(results))
    sys.exit(any(result.missed for result in results))


def all_cases(run: Path) -> Iterator[Case]:
    """Every case; their names are unique. `run` is an example of a run folder."""
    from . import environments, images, layouts, numbers, options, prepared, runs, unusual

    yield from options.cases()
    yield from images.cases()
    yield from layouts.cases()
    yield from prepared.cases()
    yield from runs.cases(run)
    yield from environments.cases()
    yield from numbers.cases()
    yield from unusual.cases()


def table(results: list[Result]) -> str:
    """Counts of outcomes by group, as a Markdown table."""
    groups = sorted({result.case.group for result in results})
    rows = [["cases", *OUTCOMES, "misses", "seconds"], ["---", *["---:"] * (len(OUTCOMES) + 2)]]
    for group in (*groups, "all"):
        own = [result for result in results if group in (result.case.group, "all")]
        counts = Counter(result.outcome for result in own)
        missed = sum(result.missed for result in own)
        seconds = f"{sum(result.seconds for result in own):.0f}"
        rows.append([group, *(str(counts[outcome]) for outcome in OUTCOMES), str(missed), seconds])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _miss(result: Result, seed: int) -> str:
    again = f"python -m tests.faults --seed {seed} --keep KEPT --only {result.case.name!r}"
    return (
        f"{result.outcome}, not {result.case.expected}: "
        f"{result.case.name} ({result.seconds:.1f} s)\n"
        f"  {result.detail[:400]}\n  i3ad {' '.join(result.case.command)[:200]!r}\n  {again}"
    )


if __name__ == "__main__":
    main()
