"""Time of exchanges between cards, against figures by hand."""

import pytest

from benchmarks.exchange import exchanges, topology
from benchmarks.hlo import Collective, Kernel
from i3ad_jax.errors import InputError

KERNEL = Kernel("fusion", times=3, moved=0, operations=0, exact=False, source="")


def test_topology_has_machines_of_eight() -> None:
    assert [topology(cards) for cards in (1, 2, 8, 16, 64)] == [
        *("1x1x1", "1x1x2", "1x1x8", "2x1x8", "8x1x8")
    ]


@pytest.mark.parametrize("cards", [-8, 0, 12])
def test_cards_fill_machines(cards: int) -> None:
    with pytest.raises(InputError, match=f"--cards {cards}: "):
        topology(cards)


def test_cards_send_a_result_twice_for_a_sum_and_once_otherwise() -> None:
    total = Collective("all-reduce", "f32[112500000]", 450_000_000, [])
    gathered = total._replace(kind="all-gather")
    found = exchanges([total, gathered], 8, lambda _: 0.0)
    assert [each.seconds for each in found] == pytest.approx([2 * 7 / 8 * 1e-3, 7 / 8 * 1e-3])
    # Between machines, at a ninth of the bandwidth.
    (across,) = exchanges([total], 16, lambda _: 0.0)
    assert across.seconds == pytest.approx(2 * 15 / 16 * 9e-3)


def test_kernels_in_the_meantime_hide_an_exchange() -> None:
    total = Collective("all-reduce", "f32[112500000]", 450_000_000, [KERNEL, KERNEL])
    (partly,) = exchanges([total], 2, lambda _: 1e-4)
    assert partly.seconds == pytest.approx(1e-3)
    assert partly.exposed == pytest.approx(1e-3 - 6 * 1e-4)
    assert partly.row()["kernels_meanwhile"] == 6
    (hidden,) = exchanges([total], 2, lambda _: 1e-3)
    assert hidden.exposed == 0
