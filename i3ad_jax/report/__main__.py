"""`python -m i3ad_jax.report`: rewrite a run's report, or compare several runs on one page."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from i3ad_jax import command_line
from i3ad_jax.errors import IncompleteReportWarning, InputError
from i3ad_jax.report.comparison import check_comparable, comparison_page, disagreements
from i3ad_jax.report.run_report import pictures_of, rewrite_report
from i3ad_jax.report.thumbnails import BUDGET, Thumbnail
from i3ad_jax.runs.files import write_text
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.disk import make_folder

PROGRAM = "python -m i3ad_jax.report"


@dataclass(frozen=True)
class Flags:
    """Write the report of a run again, or compare the results of several runs on one page.

    The report of one run takes scores, maps and settings from its folder, pictures from its data
    set, and the states of the loop from its weights; it names files that were removed. Runs that
    are compared must have been tested on the same images.
    """

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of runs, or of results of evaluate."""
    out: Path | None = None
    """The HTML file; by default RUN/report.html. Several runs need it."""


def compare(folders: Sequence[RunFolder], *, out: Path) -> None:
    """Writes one page that compares the results of several runs.

    Images whose files were removed or have changed are left out, with an `IncompleteReportWarning`;
    the page says so too.

    Raises:
        InputError: a folder has no results, two are one, the runs were tested on different images,
            or `out` cannot be written.
    """
    runs = [read_results(folder) for folder in folders]
    reports = [
        os.path.relpath(folder.report, out.parent) if folder.report.exists() else None
        for folder in folders
    ]
    check_comparable(runs)
    paths = [row["path"] for row in disagreements(runs)]
    pictures: list[dict[str, Thumbnail]] = []
    missing: list[str] = []
    for folder, run in zip(folders, runs, strict=True) if paths else ():
        try:
            pictures.append(pictures_of(folder, run, paths, budget=BUDGET // len(runs)))
        except InputError as error:
            pictures.append({})
            missing.append(f"pictures of {run.name} ({error})")
            warnings.warn(f"{out}: lacks {missing[-1]}", IncompleteReportWarning, stacklevel=2)
    page = comparison_page(runs, reports=reports, pictures=pictures, missing=missing)
    with RunFolder(out.parent).writing():
        make_folder(out.parent)
        write_text(out, page)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, writes the page, prints where it is."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    folders = [RunFolder(path) for path in flags.runs]
    if not folders:
        raise InputError("RUN: name the folder of a run, or of several")
    if len(folders) == 1:
        out = flags.out or folders[0].report
        rewrite_report(folders[0], out=out, progress=True)
    elif flags.out is None:
        raise InputError("--out: name the HTML file that compares the runs")
    else:
        out = flags.out
        compare(folders, out=out)
    print(out)


if __name__ == "__main__":
    command_line.run(main)
