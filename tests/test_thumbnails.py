"""Thumbnails of a report."""

from tests.support.report_parts import make_pictures


def test_pictures_keep_to_their_budget() -> None:
    everything = make_pictures(9)
    assert list(everything) == list(range(9))
    lengths = [len(own.input) + len(own.heat) for own in everything.values()]
    some = make_pictures(9, budget=sum(lengths[:4]))
    assert some == {index: everything[index] for index in range(4)}
    assert make_pictures(9, budget=0) == {}
