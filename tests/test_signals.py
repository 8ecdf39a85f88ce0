"""Signals that are held back while work ends."""

import os
import signal
import threading

import pytest

from i3ad_jax.runtime.signals import held_signals

BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


class CaughtError(Exception):
    """The usual handler was called."""


@pytest.fixture(autouse=True)
def _usual_handlers() -> object:
    """Raise `CaughtError` at both signals during a test."""

    def catch(number: int, _: object) -> None:
        raise CaughtError(number)

    before = [(number, signal.signal(number, catch)) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@BOTH
def test_the_first_signal_is_held_and_the_second_acts(number: signal.Signals) -> None:
    with held_signals() as received:
        os.kill(os.getpid(), number)
        assert received == [number]
        with pytest.raises(CaughtError):
            os.kill(os.getpid(), number)
    assert received == [number]


@BOTH
def test_handlers_are_restored_after_the_block(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with held_signals():
        assert signal.getsignal(number) is not before
    assert signal.getsignal(number) is before
    with pytest.raises(CaughtError):
        os.kill(os.getpid(), number)


def test_another_thread_leaves_handlers_alone() -> None:
    found = []

    def work() -> None:
        with held_signals() as received:
            found.append((signal.getsignal(signal.SIGINT), list(received)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(signal.getsignal(signal.SIGINT), [])]
