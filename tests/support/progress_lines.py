"""Lines of progress in the output of a command."""

import re

_PROGRESS = re.compile(r"%\||^[a-z ]+: (compiling \.\.\.|\d+/\d+ [a-z]+ \(\d+ %\))")


def without_progress(lines: list[str]) -> list[str]:
    """Return the lines that are neither empty nor of a progress bar."""
    return [line for line in lines if line.strip() and not _PROGRESS.search(line)]
