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
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, suppress
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro
from PIL import Image

from i3ad_jax.config import misplaced_setting
from i3ad_jax.data.files import check_name
from i3ad_jax.errors import InputError
from i3ad_jax.runs.run_folder import RunFolder
from i3ad_jax.runtime.configuration import configure_process
from i3ad_jax.runtime.devices import use_every_core
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
_UNKNOWN = re.compile(
    r"Unrecognized options: --(?P<name>[a-z0-9_-]+)(?:(?:=|, )(?P<value>(?!--)[^ ,]+))?"
)


def parse(
    flags: Callable[..., Flags],
    arguments: Sequence[str],
    *,
    program: str,
    default: Any = tyro.MISSING_NONPROP,
    method: str = "",
) -> Flags:
    """The command line as an instance of the dataclass `flags`; nested fields become flat flags.

    Args:
        flags: the dataclass.
        arguments: the command line.
        program: its name in the help, except for a command of `i3ad`, which has its own.
        default: the flags' values where they are not given.
        method: owner of settings among the flags; the error of another method's setting names it.

    Raises:
        InputError: an option is unknown, missing or has a value of the wrong kind.
        SystemExit: with code 0, after `--help`.
    """
    messages, called = io.StringIO(), Path(sys.argv[0]).name
    try:
        with redirect_stderr(messages):
            return tyro.cli(
                flags,
                args=list(arguments),
                prog=called if called.startswith("i3ad ") else program,
                default=default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code == 0:
            raise
        message = _first_paragraph(messages.getvalue())
        if method and (found := _UNKNOWN.search(message)):
            name = found["name"].replace("-", "_").removeprefix("no_")
            raise misplaced_setting(name, found["value"] or "", method=method) from None
        raise InputError(message) from None


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
        raise InputError(_first_paragraph(messages.getvalue())) from None


def print_results(results: dict[str, Any], folder: RunFolder) -> None:
    """Prints the metrics as a table, then where to look."""
    print(f"\n{results['method']} on {results['data']}:")
    print(f"{'score':20}{'image AUROC':>14}{'pixel AUROC':>14}{'pixel AUPRO':>14}")
    for kind, metrics in results["scores"].items():
        cells = (metrics[name] for name in ("image_auroc", "pixel_auroc", "pixel_aupro"))
        print(
            f"{kind:20}"
            + "".join(f"{'-' if value is None else f'{value:.4f}':>14}" for value in cells)
        )
    print(f"\n{folder.results}\n{folder.scores}\n{folder.report}")


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
    # JAX raises either for the same cause, by when it notices that another process is lost.
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not is_lost(error):
            raise
        end_alone()
    except KeyboardInterrupt as stop:
        sys.exit(_fail("interrupted", 128 + (stop.args[0] if stop.args else signal.SIGINT)))
    except BrokenPipeError:
        raise
    except (OSError, MemoryError, RuntimeError, AssertionError) as error:
        if (problem := _of_the_machine(error)) is None:
            raise
        sys.exit(_fail(problem, 2))


def _of_the_machine(error: Exception) -> str | None:
    """Lack of the machine, in words; None where the error is a mistake of the program."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; make room, or name another file or folder"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "Out of memory" in text:
        return f"out of memory; lower {' or '.join(map(flag, SIZES))}"
    *_, last = traceback.extract_tb(error.__traceback__)
    if (platforms := os.environ.get("JAX_PLATFORMS")) and Path(
        last.filename
    ).name == "xla_bridge.py":
        return f"JAX_PLATFORMS={platforms}: JAX has no such devices here; name others, or none"
    return None


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
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


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
    use_every_core()
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        # By the XDG specification an empty variable counts as not set.
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "i3ad_jax"
        jax.config.update("jax_compilation_cache_dir", str(cache))
