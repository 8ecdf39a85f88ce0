"""Ctrl-C and SIGTERM held back, where work ends first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def held_signals() -> Iterator[list[int]]:
    """A list to which SIGINT and SIGTERM add their number, once; a second one acts as usual."""
    received: list[int] = []
    # where alone Python takes signals
    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if in_main else ()
    handlers = {number: signal.getsignal(number) for number in numbers}

    def note(number: int, _: Any) -> None:
        received.append(number)
        signal.signal(number, handlers[signal.Signals(number)])

    for number in handlers:
        signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
