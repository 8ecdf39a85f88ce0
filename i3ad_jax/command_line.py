"""Shared parts of the commands: flags, one-line errors, exit codes, the compilation cache."""

import ctypes
import io
import logging
import os
import re
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import redirect_stderr, suppress
from inspect import getdoc
from itertools import dropwhile, takewhile, zip_longest
from pathlib import Path
from typing import Any, TypeVar, get_origin

import jax
import tyro
from PIL import Image

from i3ad_jax.config import methods_with, misplaced_setting
from i3ad_jax.data.files import check_name
from i3ad_jax.errors import InputError, UnusedGpuWarning, did_you_mean
from i3ad_jax.flags import KnownNames, make_registry
from i3ad_jax.runs.results import read_results
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.accelerator import keep_plugin_errors, unusable_gpu, unused_gpu
from i3ad_jax.runtime.configuration import configure_process
from i3ad_jax.runtime.devices import use_every_core
from i3ad_jax.runtime.memory import is_out_of_memory
from i3ad_jax.runtime.output import checked_output
from i3ad_jax.runtime.processes import end_alone, is_first, is_lost
from i3ad_jax.settings import flag

Flags = TypeVar("Flags")
# what memory goes to
SIZES = (
    "batch_size",
    "test_batch_size",
    "queue_size",
    "width",
    "image_size",
)
PROGRAMS = ("i3ad", "python -m i3ad_jax")
_CHOICE = re.compile(
    r"invalid choice '(?P<value>.*)' for argument '(?P<option>.*)'\."
    r" Expected one of \((?P<choices>.*)\)"
)
_MISSING = re.compile(r"^Missing from .*?: ")
# what follows names the option itself, or the option does
_PARSING = re.compile(r"^Error parsing (\S+: (?=--))?")


def parse(
    flags: Callable[..., Flags],
    arguments: Sequence[str],
    *,
    program: str,
    default: Any = tyro.MISSING_NONPROP,
    method: str = "",
    shown: Collection[str] = (),
) -> Flags:
    """The command line as an instance of the dataclass `flags`; nested fields become flat flags.

    Args:
        flags: the dataclass.
        arguments: the command line.
        program: its name in the help, except for a command of `i3ad`, which has its own.
        default: the flags' values where they are not given.
        method: owner of settings among the flags; the error of another method's setting names it.
        shown: names of the options that `--help` shows, by default all; `--help-all` shows all.

    Raises:
        InputError: an option is unknown, missing or has a value of the wrong kind.
        SystemExit: with code 0, after `--help` or `--help-all`.
    """
    messages, known = io.StringIO(), KnownNames()
    asked = {"-h", "--help", "--help-all"}.intersection(arguments)
    shown = shown if asked and "--help-all" not in asked else ()
    # None is a value for people who know it, and clutter in a help
    markers = (tyro.conf.OmitArgPrefixes, *((tyro.conf.DisallowNone,) if asked else ()))
    try:
        with redirect_stderr(messages):
            parsed, unexpected = tyro.cli(
                flags,
                args=["--help"] if asked else list(arguments),
                prog=as_called(program),
                description=_short_description(flags, program) if shown else None,
                default=default,
                return_unknown_args=True,
                config=markers,
                registry=make_registry(known, shown=shown),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        parsed, problem = None, _problem(messages.getvalue())
    else:
        problem = _unexpected(unexpected[0], known) if unexpected else ""
    if error := _unknown_option(arguments, known, method=method):
        raise error
    if parsed is None or problem:
        raise InputError(problem)
    return parsed


def parse_known(flags: Callable[..., Flags], arguments: Sequence[str]) -> Flags:
    """The part of the command line that `flags` knows, whatever else is there.

    Raises:
        InputError: one of these options is missing or has a value of the wrong kind.
    """
    messages = io.StringIO()
    try:
        with redirect_stderr(messages):
            known, _ = tyro.cli(
                flags, args=list(arguments), return_unknown_args=True, add_help=False
            )
            return known
    except SystemExit:
        raise InputError(_problem(messages.getvalue())) from None


def as_called(text: str) -> str:
    """Return a text that names commands, with each as the user called this one.

    Args:
        text: commands in it are `python -m i3ad_jax.COMMAND`; the user may call `i3ad COMMAND`.
    """
    program, _, _ = "".join(sys.argv[:1]).rpartition(" ")
    return text.replace("python -m i3ad_jax.", f"{program} ") if program in PROGRAMS else text


def check_run(run: Path, *, usage: str) -> None:
    """Raise InputError unless there is a run; the message has a similar run beside it, if any.

    Args:
        run: folder of the run.
        usage: command line that names the run first.
    """
    if not RunFolder(run).config.exists():
        near = did_you_mean(run.name, [x.parent.name for x in run.parent.glob("*/config.json")])
        raise InputError(f"{run}: not a run (no config.json); name the run first: {usage}{near}")


def print_results(folder: RunFolder) -> None:
    """Print the mistakes at the threshold, the metrics of each score, and where the files are."""
    run = read_results(folder)
    about, selected, counts = run.results, run.headline, run.confusion(run.headline)
    threshold = f"{selected} above {run.threshold(selected):.4g}"
    print(f"\n{about['method']} on {about['data']}, anomalous: {threshold}")
    for name, rate in (("missed", counts.miss_rate), ("false alarms", counts.false_alarm_rate)):
        if rate is not None:
            print(f"{name:14}{rate}")
    names = ("image AUROC", "pixel AUROC", "pixel AUPRO")
    print()
    _print_row("score", (*names, "missed", "false alarms"))
    for kind in (selected, *(kind for kind in about["scores"] if kind != selected)):
        values = (about["scores"][kind][name.lower().replace(" ", "_")] for name in names)
        metrics = ("-" if value is None else f"{value:.4f}" for value in values)
        counts = run.confusion(kind)
        _print_row(kind, (*metrics, str(counts.misses), str(counts.false_alarms)))
    print(f"\nreport:  {folder.report}\nresults: {folder.results}\nscores:  {folder.scores}")


def _print_row(name: str, cells: Iterable[str]) -> None:
    print(f"{name:24}" + "".join(f"{cell:>14}" for cell in cells))


def run(command: Callable[[Sequence[str]], None]) -> None:
    """Run a command on the process's arguments and exit: 0, or 2 after one line about wrong input.

    SIGTERM and Ctrl-C are one line too, and 128 and the signal's number; so is SIGPIPE's, without a
    line, where nobody reads the output.
    """
    for name in ("absl", "asyncio"):  # Orbax's own account of a damaged checkpoint
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger().setLevel(logging.ERROR)  # likewise
    warnings.showwarning = _print_warning
    sys.unraisablehook = _print_unraisable
    _silence_libtiff()
    signal.signal(signal.SIGTERM, _interrupt)
    with checked_output():
        _run(command)


def _run(command: Callable[[Sequence[str]], None]) -> None:
    try:
        for argument in sys.argv[1:]:
            check_name(argument)
        set_up_jax()
        command(sys.argv[1:])
    except InputError as error:
        # Orbax's reads of a damaged checkpoint, which end only now
        sys.unraisablehook = lambda _: None
        sys.exit(_fail(str(error), 2))
    except KeyboardInterrupt as stop:
        sys.exit(_fail("interrupted", 128 + (stop.args[0] if stop.args else signal.SIGINT)))
    except BrokenPipeError:
        raise
    except (OSError, MemoryError, RuntimeError, ValueError, AssertionError) as error:
        # JAX raises a RuntimeError or a ValueError for the same cause.
        if isinstance(error, jax.errors.JaxRuntimeError | ValueError) and is_lost(error):
            end_alone()
        if (problem := _of_the_machine(error)) is None:
            raise
        sys.exit(_fail(problem, 2))


def _of_the_machine(error: Exception) -> str | None:
    """Lack of the machine, in words; None where the error is a mistake of the program."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make room, or name another file or folder"
    if is_out_of_memory(error):
        return f"out of memory; lower {' or '.join(map(flag, SIZES))}"
    *_, last = traceback.extract_tb(error.__traceback__)
    return unusable_gpu(error) if Path(last.filename).name == "xla_bridge.py" else None


def _interrupt(number: int, _: Any) -> None:
    """Ends the process as Ctrl-C does, so that it can clear up: SIGTERM alone would not let it."""
    raise KeyboardInterrupt(number)


def _silence_libtiff() -> None:
    """Keep Pillow's libtiff from printing what is wrong with a file: the error says it too."""
    with suppress(OSError, AttributeError):  # another build of Pillow may have none, or hide it
        library = ctypes.CDLL(Image.core.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            set_handler = getattr(library, name)
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)


def _print_unraisable(error: "sys.UnraisableHookArgs") -> None:
    """Print an unraisable error as Python does, with one exception.

    What TensorStore's threads say once Orbax has given up a damaged checkpoint is left out.
    """
    if str(error.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(error)


def _print_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning) and is_first():
        print(f"warning: {as_called(' '.join(str(message).split()))}", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(f"error: {as_called(' '.join(message.split()))}", file=sys.stderr)
    return code


def _short_description(flags: Callable[..., Any], program: str) -> str:
    """Return the docstring of a command, and where its other options are."""
    text = getdoc(get_origin(flags) or flags)
    return f"{text}\n\n{as_called(program)} --help-all lists all options."


def _unknown_option(
    arguments: Sequence[str], known: KnownNames, *, method: str
) -> InputError | None:
    """Return the error of the first option that the command does not have."""
    for token, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        option, _, value = token.partition("=")
        name = option.removeprefix("--").replace("-", "_").removeprefix("no_")
        if not (option.startswith("--") and name) or name in known.options:
            continue
        value = value or ("" if following.startswith("--") else following)
        if name in known.positionals:
            return InputError(f"{option}: not an option; give {value or name.upper()} without it")
        if method and methods_with(name):
            return misplaced_setting(name, value, method=method)
        nearest = did_you_mean(option, map(flag, known.options))
        return InputError(f"{option}: unknown option{nearest}")
    return None


def _unexpected(token: str, known: KnownNames) -> str:
    """Return the error of an argument that is none of the command's; a path needs its option."""
    options = [name for name in ("data", "out") if name in known.options]
    is_path = bool(options) and not token.startswith("-")
    hint = f"; did you mean {flag(options[0])} {token}?" if is_path else ""
    return f"{token}: unexpected argument{hint}"


def _problem(box: str) -> str:
    """Return tyro's error in one line, with the nearest choice where a value is none."""
    text = _first_paragraph(box)
    if found := _CHOICE.search(text):
        choices = re.findall(r"'([^']*)'", found["choices"])
        problem = f"must be one of {', '.join(choices)}{did_you_mean(found['value'], choices)}"
        return f"{found['option']} {found['value']}: {problem}"
    return _PARSING.sub("", _MISSING.sub("missing: ", text).replace(" (required)", ""))


def _first_paragraph(box: str) -> str:
    """Format tyro's error on one line: what stands between its title and the next rule.

    Around it is a box, or nothing where the terminal's encoding is not UTF-8.
    """

    def is_rule(line: str) -> bool:
        return not line.strip("─-╰╯")

    lines = (line.strip("│ ") for line in box.splitlines()[1:])
    return " ".join(takewhile(lambda line: not is_rule(line), dropwhile(is_rule, lines)))


def set_up_jax() -> None:
    """Set JAX's options; cache compiled programs in the user's cache folder; use all cores."""
    configure_process()
    keep_plugin_errors()
    use_every_core()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        # By the XDG specification an empty variable counts as not set.
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i3ad_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))


def warn_of_unused_gpu() -> None:
    """Warn where JAX computes on the CPU and a GPU is expected. Starts JAX's devices."""
    if (problem := unused_gpu()) is not None:
        warnings.warn(problem, UnusedGpuWarning, stacklevel=2)
