"""The folder of a run, or of the results of a test: its files, and how they are read."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from i3ad_jax.calibration.verdict import DEFAULT_VERDICT, VerdictSettings
from i3ad_jax.config import Config
from i3ad_jax.data.files import open_file
from i3ad_jax.data.search import RUN
from i3ad_jax.data.training_files import TrainingFiles
from i3ad_jax.errors import InputError
from i3ad_jax.plan import Plan
from i3ad_jax.runs import formats
from i3ad_jax.runs.environment import environment
from i3ad_jax.runs.files import (
    check_digest,
    file_hash,
    read_array,
    read_json,
    without_digest,
    write_array,
    write_json,
    write_text,
    write_with_digest,
)
from i3ad_jax.runs.form import misfit
from i3ad_jax.runs.formats import FORMAT
from i3ad_jax.runtime.disk import make_folder, remove, remove_unfinished
from i3ad_jax.settings import SettingError

# Where commands write below a folder that they lock. Not all that is below: --out may be a folder
# with other runs in it, in which commands may be at work.
_WRITTEN_BELOW = ("checkpoints", "maps", "pictures", "samples", "statistics")


class RunFolder:
    """Paths and small files of one run.

    The results of another test of a run have such a folder too, complete except for the weights, to
    which `weights.json` points. Every file but `metrics.jsonl`, which grows line by line, appears
    whole or not at all, and stays through a power cut.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.environment = path / "environment.json"
        self.files = path / "files.json"
        self.format = path / RUN
        self.plan = path / "plan.json"
        self.mean_image = path / "mean_image.npy"
        self.weights = path / "weights.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.calibration = path / "calibration.json"
        self.rule = path / "rule.json"
        self.statistics = path / "statistics"
        self.results = path / "results.json"
        self.scores = path / "scores.csv"
        self.maps = path / "maps"
        self.report = path / "report.html"
        self.cases = path / "cases.png"

    def create(self, plan: Plan, *, command: Sequence[str] = ()) -> None:
        """Make the folder and write its format, the environment and the plan.

        Raises:
            InputError: the folder holds a run already, or cannot be written to.
        """
        self.check_free()
        with self.writing():
            make_folder(self.path)
            write_json(self.environment, {"seed": plan.asked.seed, **environment(command=command)})
            self.write_plan(plan)

    def check_free(self) -> None:
        """Raises InputError if there is a run here already."""
        if self.config.exists():
            raise InputError(
                f"--run {self.path}: holds a run; continue it with --resume or name another folder"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns the failure to write a file in the block into an InputError that names it."""
        try:
            yield
        except BrokenPipeError:  # of what is printed meanwhile
            raise
        except OSError as error:
            where = error.filename or self.path
            raise InputError(
                f"{where}: cannot be written to ({error.strerror or error})"
            ) from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other commands that write out of the folder during the block.

        What killed processes were writing there is removed.

        Raises:
            InputError: another process holds it, or the folder cannot be written to.
        """
        with self.writing():
            make_folder(self.path)
            lock = FileLock(self.path / ".lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise InputError(
                    f"{self.path}: another command works in this folder; wait for it or name"
                    " another one"
                ) from None
            for folder in ("", *_WRITTEN_BELOW):
                remove_unfinished((self.path / folder).glob("*"))
        try:
            yield
        finally:
            lock.release()

    def is_same(self, other: "RunFolder") -> bool:
        """Return whether both are one folder, by whatever path."""
        return os.path.realpath(self.path) == os.path.realpath(other.path)

    def source(self) -> "RunFolder":
        """The folder with the weights: this one, or the run that `weights.json` names.

        Raises:
            InputError: the run is gone or has been trained further since, or `weights.json` is
                damaged.
        """
        if not self.weights.exists():
            return self
        name = read_json(self.weights).get("run")
        if not isinstance(name, str):
            raise InputError(
                f'{self.weights}: "run" must be the path of a run; evaluate the run again'
            )
        run = RunFolder(Path(os.path.normpath(self.path / name)))
        if not run.checkpoints.is_dir():
            raise InputError(f"{self.weights}: {run.path} has no weights; put the run back there")
        return run

    def point_to(self, run: "RunFolder") -> None:
        """Record that the weights of these results are those of `run`, which may be results too."""
        source = run.source().path.resolve()
        write_json(self.weights, {"run": os.path.relpath(source, self.path.resolve())})

    def read_config(self) -> Config[Any, Any]:
        """Return the settings asked for, of which some may be automatic.

        Raises:
            InputError: this is not a run folder, or its settings are damaged or of another version.
        """
        try:
            return read_config_file(self.config)
        except SettingError as error:
            commit = self._commit()
            use = f", or use the package at commit {commit}" if commit else ""
            raise InputError(
                f"{self.config}: {error.setting} {error.problem}; not the settings of this version:"
                f" train a new run{use}"
            ) from error

    def read_files(self) -> TrainingFiles:
        """Return the record of the files that were trained on and held out.

        Raises:
            InputError: the list is missing or damaged.
        """
        try:
            return TrainingFiles.from_json(read_json(self.files))
        except InputError as error:
            message = str(error)
            raise InputError(
                message if str(self.files) in message else f"{self.files}: {error}"
            ) from error

    def write_plan(self, plan: Plan) -> None:
        """Write a plan: format, files, mean image, choices with its SHA-256, and settings."""
        write_json(self.format, {"format": FORMAT})
        write_json(self.files, plan.files.to_json())
        write_array(self.mean_image, plan.preprocessing.units.mean_image)
        hashes = {self.mean_image.name: file_hash(self.mean_image)}
        write_with_digest(self.plan, {**plan.to_json(), "sha256": hashes})
        write_json(self.config, plan.asked.to_json())

    def read_plan(self) -> Plan:
        """Return the plan of the run.

        Raises:
            InputError: a file is missing or damaged, or of a later format; or the weights are those
                of an earlier segmentation network.
        """
        asked, files, version = self.read_config(), self.read_files(), self.read_format()
        formats.check_segmenter(self.path, version, asked)
        file = self.plan if version else self.path / formats.PREPROCESSING
        try:
            values, found = read_json(file), file_hash(self.mean_image)
            own = without_digest(values)
            if own.pop("sha256", None) != {self.mean_image.name: found}:
                raise ValueError(f"{self.mean_image.name} is not the file that was written with it")
            if file != self.plan:
                own = formats.plan_of_format_0(own, asked)
            plan = Plan.from_json(asked, own, read_array(self.mean_image), files)
            check_digest(values)
            return plan
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{file}: damaged ({error}); train a new run") from error

    def write_verdict(self, verdict: VerdictSettings) -> None:
        """Write `rule.json`, or remove it where the rule is the default."""
        with self.writing():
            if verdict == VerdictSettings():
                remove(self.rule)
            else:
                write_json(self.rule, verdict.to_json())

    def read_verdict(self) -> VerdictSettings:
        """Return the settings of the rule that was saved with the run, or the default.

        Raises:
            InputError: `rule.json` is damaged.
        """
        if not self.rule.exists():
            return DEFAULT_VERDICT
        try:
            # a rule of a version without `unusable` is complete
            return VerdictSettings.from_json({"unusable": None, **read_json(self.rule)})
        except SettingError as error:
            raise InputError(
                f"{self.rule}: damaged ({error}); remove it for the default rule"
            ) from error

    def read_format(self) -> int:
        """Return the format version of the run: 0 before formats had a number.

        Raises:
            InputError: a later version of the package wrote the run, or `run.json` is damaged.
        """
        if not self.format.exists():
            return 0
        version = read_json(self.format).get("format")
        if isinstance(version, bool) or not isinstance(version, int) or version < 1:
            raise InputError(f'{self.format}: damaged ("format" must be a number); train a new run')
        if version > FORMAT:
            raise InputError(
                f"{self.format}: run format {version}, but this version of i3ad_jax reads formats"
                f" up to {FORMAT}; upgrade i3ad_jax"
            )
        return version

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of `metrics.jsonl` before the first damaged one.

        The last line may have been cut short. Raises: InputError: the file cannot be read.
        """
        rows = []
        try:
            with open_file(self.metrics) as opened:
                lines = opened.read().decode("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(
                f"{self.metrics}: cannot be read ({error.strerror}); remove it"
            ) from error
        for line in lines:
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                break
            if misfit(row, {"step": int, ...: (float, None)}):
                break
            rows.append(row)
        return rows

    def keep_metrics_until(self, step: int) -> None:
        """Drops the rows later than `step`: a resumed run writes them again."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in rows))

    def _commit(self) -> str | None:
        try:
            commit = read_json(self.environment).get("git_commit")
        except InputError:
            return None
        return commit if isinstance(commit, str) else None


def read_config_file(file: Path) -> Config[Any, Any]:
    """Return the settings in a JSON file, such as `config.json` of a run.

    Raises:
        InputError: the file is missing or holds no JSON object.
        SettingError: a setting is missing or unknown, or has a value that cannot be used.
    """
    return Config.from_json(formats.newest_settings(read_json(file)))
