"""The run folder: where a run keeps its settings, weights and results, and how commands read them."""

import csv
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from i3ad_jax import __version__
from i3ad_jax.config import Config
from i3ad_jax.errors import InputError

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scikit-learn",
    "pillow",
)


class RunFolder:
    """Paths and small files of one run.

    Every file but `metrics.jsonl`, which grows line by line, appears whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.calibration = path / "calibration.json"
        self.statistics = path / "statistics"
        self.results = path / "results.json"
        self.scores = path / "scores.csv"
        self.maps = path / "maps"
        self.report = path / "report.html"
        self.cases = path / "cases.png"

    def create(self, config: Config, command: Sequence[str]) -> None:
        """Makes the folder and writes the settings and the environment.

        Raises:
            InputError: there is a run already, or the folder cannot be written to.
        """
        if self.config.exists():
            raise InputError(
                f"--run {self.path}: holds a run; continue it with --resume or name another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.environment, {"command": list(command), "seed": config.seed, **environment()})
            write_json(self.config, config.to_json())
        except OSError as error:
            raise InputError(f"--run {self.path}: cannot be written to ({error.strerror})") from error

    def read_config(self) -> Config:
        """The settings of the run.

        Raises:
            InputError: this is no run folder, or its settings are damaged.
        """
        try:
            return Config.from_json(self.read_json(self.config))
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(
                f"{self.config}: not the settings of this version ({error}); train anew"
            ) from error

    def read_json(self, file: Path) -> dict[str, Any]:
        """The contents of one of the run's JSON files.

        Raises:
            InputError: the file is missing or damaged.
        """
        try:
            return json.loads(file.read_text())
        except FileNotFoundError as error:
            raise InputError(f"{file}: missing; {self.path} is no finished run, train it first") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read ({error})") from error

    def read_array(self, file: Path) -> np.ndarray:
        """One of the run's arrays.

        Raises:
            InputError: the file is missing or damaged.
        """
        try:
            return np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read ({error})") from error

    def read_metrics(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; a last line that was cut short is left out."""
        rows = []
        for line in self.metrics.read_text().splitlines() if self.metrics.exists() else []:
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def keep_metrics_until(self, step: int) -> None:
        """Drops the rows later than `step`: a resumed run writes them again."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))


def write_text(file: Path, text: str) -> None:
    """Puts `text` in `file`, whole or not at all."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(file)


def append_line(file: Path, values: dict[str, Any]) -> None:
    """Adds one line of JSON to `file`."""
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(values) + "\n")


def write_json(file: Path, values: Any) -> None:
    """Puts `values` in `file` as JSON, whole or not at all."""
    write_text(file, json.dumps(values, indent=2, allow_nan=False) + "\n")


def write_array(file: Path, values: np.ndarray) -> None:
    """Puts an array in `file` in NumPy's format, whole or not at all."""
    temporary = file.with_name(f".{os.getpid()}.{file.name}")  # np.save insists on its suffix
    np.save(temporary, values, allow_pickle=False)
    temporary.replace(file)


def write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Puts a table in `file`, whole or not at all; numbers keep all their digits."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(header)
    writer.writerows(rows)
    write_text(file, table.getvalue())


def environment() -> dict[str, Any]:
    """Time, machine, versions and commit: what a figure is worth nothing without."""
    return {
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "devices": [device.device_kind for device in jax.devices()],
        "packages": {"i3ad_jax": __version__, **{name: metadata.version(name) for name in PACKAGES}},
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of the package's source tree, with `-dirty` if it was changed; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
