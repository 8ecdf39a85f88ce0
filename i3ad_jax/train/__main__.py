"""`python -m i3ad_jax.train`: train a method on normal images, test it, write a report."""

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Generic

from i3ad_jax import command_line
from i3ad_jax.config import DEFAULT_PRESET, Config, Test, Training, default_config
from i3ad_jax.data.load import bytes_of
from i3ad_jax.errors import InputError
from i3ad_jax.runs.run_folder import RunFolder, read_config_file
from i3ad_jax.runtime.compiler import Determinism
from i3ad_jax.runtime.memory import device_memory
from i3ad_jax.runtime.processes import Processes, agreed, from_first, is_first
from i3ad_jax.settings import SettingError, flag
from i3ad_jax.train.session import Resources, train_and_test
from i3ad_jax.train.sitting import Sitting
from i3ad_jax.training.recorded import Interrupted, check_resumable

PROGRAM = "python -m i3ad_jax.train"
SHOWN = (
    *("data", "method", "preset", "run", "resume", "config", "seed"),
    *("image_size", "view", "steps", "components"),
)
"""Options that --help shows."""


@dataclass(frozen=True)
class DefaultsFlags:
    """The flags that decide the defaults of all others."""

    config: Path | None = None
    preset: str | None = None
    method: str | None = None
    run: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class Flags(Generic[Training, Test]):
    """Train on normal images, test on labelled ones, and write the results to RUN.

    They are in RUN/report.html, results.json and scores.csv.

    Without any option: I3AD on the built-in cloth, about 8 minutes on two CPU cores with AVX-512;
    --preset quick takes 2 minutes.
    """

    settings: Config[Training, Test]
    run: Path | None = None
    """Folder of the run; by default a new one under runs/."""
    resume: bool = False
    """Continue the run in --run from its newest checkpoint. Its settings hold; only --steps may
    grow, and f_anogan's, whose encoder trains in the last part of them, may not. --data names the
    same images where they have moved."""
    config: Path | None = None
    """Settings as a file: config.json of a run, or one like it. Options override it."""
    image_memory: float | None = None
    """GiB that the images of a split, or the maps of the test, may take in memory; by default half
    of what is free. More of them are read as they are needed, from where pack has put them or a
    temporary file in the folder that TMPDIR names. It changes no result."""
    devices: int | None = None
    """Devices of all processes that share the training: each takes its part of every batch, which
    it must divide. By default one; of several processes as many as can. A run may go on with
    another number of them; they change speed, and results by rounding alone."""
    minutes: float | None = None
    """Minutes from the start of the command after which the training stops as by Ctrl-C, with exit
    code 142. The state is saved, and the command that continues is printed with the number of
    sittings that are left: --steps may take many of them. It changes no result."""
    determinism: Determinism = field(default_factory=Determinism)
    processes: Processes = field(default_factory=Processes)


def main(arguments: Sequence[str]) -> None:
    """Parses the command line, trains, prints where the results are."""
    began = time.monotonic()
    command_line.parse_known(Processes, arguments).join()
    flags, folder = agreed(lambda: _settings(arguments))
    sitting = Sitting(flags.minutes, began)
    flags.determinism.apply()
    command_line.warn_of_unused_gpu()
    if is_first() and not flags.resume and (hint := preset_hint(flags.settings, device_memory())):
        print(hint)
    try:
        results = train_and_test(
            flags.settings,
            folder,
            resume=flags.resume,
            resources=Resources(flags.devices, bytes_of(flags.image_memory), sitting),
            command=sys.argv,
        )
    except Interrupted as stop:
        if is_first():
            print(
                f"\n{stop}{sitting.describe_rest(stop)}. Continue:\n  {_continuing(flags, folder)}",
                file=sys.stderr,
            )
        sys.exit(128 + stop.signal)
    if not is_first():
        return
    if results is None:
        predict = command_line.as_called("python -m i3ad_jax.predict")
        print(
            "\nNo test images: trained only. To score images:\n"
            f"  {predict} {shlex.quote(str(folder.path))} IMAGES --out OUT"
        )
    else:
        command_line.print_results(folder)


def preset_hint(config: Config[Any, Any], memory: int | None) -> str | None:
    """Return a line on the preset for a GPU where the default preset would train on one.

    The default does not depend on the machine: the same command gives the same results.

    Args:
        config: settings of the training.
        memory: bytes that the process may take on its GPU; None for a CPU.
    """
    if memory is None or config.preset != DEFAULT_PRESET:
        return None
    return (
        f"preset {DEFAULT_PRESET} suits a CPU; for 256 x 256 pixels on this GPU give --preset gpu"
    )


def _continuing(flags: Flags[Any, Any], folder: RunFolder) -> str:
    """Return the command that continues a run, with the options that the run does not keep."""
    kept = {name: getattr(flags, name) for name in ("devices", "image_memory", "minutes")}
    options = "".join(f" {flag(name)} {kept[name]:g}" for name in kept if kept[name] is not None)
    options += " --deterministic" if flags.determinism.deterministic else ""
    run = shlex.quote(str(folder.path))
    return f"{command_line.as_called(PROGRAM)} --run {run} --resume{options}"


def _settings(arguments: Sequence[str]) -> tuple[Flags[Any, Any], RunFolder]:
    """Return the flags over the values of the preset, or of the run if resumed, and the run."""
    first = command_line.parse_known(DefaultsFlags, arguments)
    if not first.resume:
        flags = _parse(arguments, _defaults(first))
        return flags, RunFolder(flags.run or _new_folder(flags.settings))
    if first.run is None:
        raise InputError("--resume: say which run with --run FOLDER")
    if first.config is not None:
        raise InputError(
            f"--config {first.config}: a run that is resumed has its own; leave it out"
        )
    folder = RunFolder(first.run)
    stored = folder.read_config()
    if folder.weights.exists():
        trained = folder.source().path
        raise InputError(
            f"--run {folder.path}: holds results of a test; --run {trained} is what was trained"
        )
    check_resumable(stored.flat(), {"method": first.method or stored.method}, folder)
    flags = _parse(arguments, stored)
    check_resumable(stored.flat(), flags.settings.flat(), folder)
    return flags, folder


def _defaults(first: DefaultsFlags) -> Config[Any, Any]:
    """Settings that options override: those of a file, or of a method and a preset."""
    if first.config is None:
        return default_config(first.method or "i3ad", preset=first.preset or DEFAULT_PRESET)
    for name in ("method", "preset"):
        if (value := getattr(first, name)) is not None:
            raise InputError(
                f"--{name} {value}: {first.config} has its own {name}; leave one of them out"
            )
    try:
        return read_config_file(first.config)
    except SettingError as error:
        raise InputError(
            f"{first.config}: {error.setting} {error.problem}; give config.json of a run"
        ) from error


def _parse(arguments: Sequence[str], config: Config[Any, Any]) -> Flags[Any, Any]:
    """The flags, those of the method's own settings over `config`."""
    kind = Flags[type(config.training), type(config.test)]
    flags = command_line.parse(
        kind,
        arguments,
        program=PROGRAM,
        default=Flags(config),
        method=config.method,
        shown=SHOWN,
    )
    settings = replace(flags.settings, data=flags.settings.data.absolute())
    return replace(flags, settings=settings)


def _new_folder(config: Config) -> Path:
    name = "".join(letter if letter.isalnum() else "-" for letter in Path(config.data.data).name)
    now = datetime.fromisoformat(from_first(datetime.now().isoformat()))
    return Path("runs") / f"{now:%Y%m%d-%H%M%S}-{config.method}-{name}-seed{config.seed}"


if __name__ == "__main__":
    command_line.run(main)
