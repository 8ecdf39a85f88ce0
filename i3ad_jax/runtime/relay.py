"""A process of its own that reads what native libraries print in another, which they may end by it.

JAX's coordination service ends a process whose partner is lost from its own threads, after pages
about it: nothing in that process can say it in one line. This one outlives it. It runs by its path,
without JAX.
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator

FATAL = b"JAX distributed service detected fatal errors"
LAST_WORD = b"error: "  # begins the line by which the process itself says why it ends
_HEADER = re.compile(rb"[IWEF]\d{4} [\d:.]+ +\d+ (?P<file>[\w.]+):\d+\]")
_SERVICE = re.compile(rb"coordination_|preemption_|client\.h|distributed_")
# Gloo's greetings, written in pieces by several threads at once: a line may be left with a number
# alone.
_CHATTER = re.compile(rb"\[Gloo\]|is connected to|peer ranks|^[\d\s]*$")


def relayed(lines: Iterable[bytes], lost: bytes) -> Iterator[bytes]:
    """Yield lines without the coordination service's; for its end of the process the line `lost`.

    Args:
        lines: output of native libraries, with line ends.
        lost: text for the moment when the service has ended the process.
    """
    of_service = False  # a message's further lines have no header
    for line in lines:
        if line.startswith(LAST_WORD):
            yield line
            return
        if FATAL in line:
            yield lost
            return
        if header := _HEADER.match(line):
            of_service = bool(_SERVICE.match(header["file"]))
        if not of_service and not _CHATTER.search(line):
            yield line


def main() -> None:
    """Relay standard input to standard error; the argument is the line about a lost process."""
    output = sys.stderr.buffer
    for line in relayed(sys.stdin.buffer, os.fsencode(sys.argv[1]) + b"\n"):
        output.write(line)
        output.flush()
    for _ in sys.stdin.buffer:  # a full pipe would keep the process from its end
        pass


if __name__ == "__main__":
    main()
