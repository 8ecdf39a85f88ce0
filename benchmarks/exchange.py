"""Least time of exchanges between cards, from public bandwidths."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from benchmarks.hlo import Collective, Kernel
from i3ad_jax.errors import InputError

MACHINE = 8  # cards that NVLink connects
NVLINK, NETWORK = 450e9, 50e9  # bytes a second that a card sends, within a machine and beyond


class Exchange(NamedTuple):
    """A collective and its time.

    Attributes:
        collective: the exchange.
        seconds: its least time.
        exposed: seconds of it that no kernel hides.
    """

    collective: Collective
    seconds: float
    exposed: float

    def row(self) -> Mapping[str, Any]:
        """Return the figures for JSON."""
        kind, result, size, meanwhile = self.collective
        return {
            "kind": kind,
            "result": result,
            "bytes": size,
            "kernels_meanwhile": sum(kernel.times for kernel in meanwhile),
            "ms": 1e3 * self.seconds,
            "exposed_ms": 1e3 * self.exposed,
        }


def topology(cards: int) -> str:
    """Machines and cards, as XLA's `topology` describes them: parts x machines x cards.

    Raises:
        InputError: the cards do not fill machines.
    """
    if not (1 <= cards <= MACHINE or (cards > 0 and cards % MACHINE == 0)):
        raise InputError(f"--cards {cards}: must be at most {MACHINE}, or a multiple of it")
    return f"{-(-cards // MACHINE)}x1x{min(cards, MACHINE)}"


def exchanges(
    collectives: Iterable[Collective], cards: int, least_seconds: Callable[[Kernel], float]
) -> list[Exchange]:
    """The times of collectives among cards, one after the other.

    Args:
        collectives: of a program.
        cards: number of cards.
        least_seconds: function from a kernel to its least time.
    """
    found = []
    for collective in collectives:
        seconds = ring_seconds(collective, cards)
        hidden = sum(kernel.times * least_seconds(kernel) for kernel in collective.meanwhile)
        found.append(Exchange(collective, seconds, max(0.0, seconds - hidden)))
    return found


def ring_seconds(collective: Collective, cards: int) -> float:
    """Seconds of a collective in a ring of all cards, without the latency of its steps.

    Each card sends (N - 1) / N of the result, twice for a sum that all need.
    """
    rounds = 2 if collective.kind == "all-reduce" else 1
    bandwidth = NVLINK if cards <= MACHINE else NETWORK
    return rounds * (cards - 1) / cards * collective.size / bandwidth
