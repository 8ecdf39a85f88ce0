"""Standard output and standard error that are closed or cannot be written to."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

CLOSED_PIPE = 141
"""Exit code where nobody reads the output any more: the one that shells give for SIGPIPE."""


@contextmanager
def checked_output() -> Iterator[None]:
    """Write out what the block printed, or end the process where that is not possible.

    A closed pipe, as of `| head -1`, ends it silently. Another failure, such as a full disk, is one
    line and exit code 2. A stream that was closed before (`2>&-`) leads nowhere.

    Raises:
        SystemExit: the output cannot be written to.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout, sys.stderr)
        sys.exit(CLOSED_PIPE)
    except OSError as error:
        _discard(sys.stdout)
        print(f"error: standard output: cannot be written to ({error.strerror})", file=sys.stderr)
        sys.exit(2)


def _discard(*streams: object) -> None:
    """Send streams to nowhere: the interpreter flushes them again at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with suppress(AttributeError, OSError):  # of a stream without a file
            os.dup2(nowhere, stream.fileno())  # pyright: ignore[reportAttributeAccessIssue]
