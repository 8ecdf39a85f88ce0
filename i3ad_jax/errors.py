"""Errors for a user's mistakes, and warnings."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the file or the option and says what to do. The commands
    print it and exit with code 2; it never shows a traceback.
    """


class DivergenceError(InputError):
    """Losses, weights or scores that are too large or not finite, wherever they are noticed."""

    def __init__(self, step: int, problem: str, *, kept: int | None = None) -> None:
        """Makes the one message of all places.

        Args:
            step: number of training steps that led there.
            problem: the first such value, as `name = value`.
            kept: step of the newest good checkpoint; None if there is none.
        """
        last_good = "" if kept is None else f"; the checkpoint of step {kept} is kept"
        super().__init__(
            f"training diverged at step {step} ({problem}); lower the learning rates{last_good}"
        )


class OutOfMemoryError(InputError):
    """The memory of the host or of a device is exhausted; the message says what to lower."""


def reason_of(error: Exception) -> str:
    """Reason of an error in one line: the system's message, its own message, or its type."""
    return getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return "; did you mean NAME?" for the known name nearest to `given`, or an empty string."""
    nearest = get_close_matches(given.lower(), known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def optional_package(name: str, problem: str) -> Any:
    """Import a package that only some users need.

    Raises:
        InputError: with the text `problem`, if it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(problem) from error


class ChangedFilesWarning(UserWarning):
    """A file that a run was trained on or held out is not what it was; the message names it."""


class DoubtfulImageWarning(UserWarning):
    """An image file is damaged beside its pixels, or uses little of its range; names the file."""


class DoubtfulLabelWarning(UserWarning):
    """A class of test images scores like the normal ones; the message names it."""


class LeftOutWarning(UserWarning):
    """Images of a data set are not used where a user would expect it, or cannot be read."""


class LearnedLittleWarning(UserWarning):
    """A training learned less than the simplest replacement of the network; results mean little."""


class SmallerBatchWarning(UserWarning):
    """A test ran out of memory and continues with fewer images at a time; results are the same."""


class UnusedGpuWarning(UserWarning):
    """JAX computes on the CPU where a GPU is expected; the message says why and what to do."""


class IncompleteReportWarning(UserWarning):
    """A rewritten report lacks files that were removed; the message names them."""
