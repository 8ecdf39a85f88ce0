"""`python -m i3ad_jax.check`: what to know of a data set before training on it."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from i3ad_jax import command_line
from i3ad_jax.check.inspection import inspect_data
from i3ad_jax.check.page import write_page
from i3ad_jax.check.text import lines
from i3ad_jax.data.reading import ReadingSettings
from i3ad_jax.errors import InputError
from i3ad_jax.runs.files import write_json
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.accelerator import share_gpu
from i3ad_jax.runtime.disk import make_folder

PROGRAM = "python -m i3ad_jax.check"


@dataclass(frozen=True)
class Flags:
    """Validate a data set and estimate training time and memory.

    The results are written to OUT, as check.json and check.html.

    The exit code is 1 where something would spoil results or stop a training, such as broken
    images, the same image in train and test, or masks that do not fit; else 0.
    """

    data: tyro.conf.Positional[Path]
    """Folder of a data set, or file of a manifest, as for train."""
    out: Path | None = None
    """Folder for the results; by default checks/NAME."""
    reading: ReadingSettings = field(default_factory=ReadingSettings)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, checks, prints what was found and where it is written."""
    flags = command_line.parse(Flags, arguments, program=PROGRAM)
    share_gpu()
    command_line.warn_of_unused_gpu()
    if not os.path.exists(flags.data):  # noqa: PTH110 (Path.exists raises where a parent folder is closed)
        raise InputError(f"{flags.data}: no such folder or file; give a data set on disk")
    out = flags.out or Path("checks") / flags.data.resolve().name
    inspection = inspect_data(flags.data, reading=flags.reading, progress=True)
    with RunFolder(out).writing():
        make_folder(out)
        write_json(out / "check.json", inspection.to_json())
        write_page(out / "check.html", inspection)
    print("\n".join(lines(inspection)))
    print(f"\n{out / 'check.json'}\n{out / 'check.html'}")
    if inspection.spoils_results:
        sys.exit(1)


if __name__ == "__main__":
    command_line.run(main)
