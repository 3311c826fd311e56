"""Offers on their way to the writer: urgent first, a bounded number unanswered."""

from __future__ import annotations

import pytest

from node.offer_line import OfferLine, Window
from protocol.step import SendOffer

C = "00.38.W00"


def offer(name: bytes, urgency: int = 3) -> SendOffer:
    """An offer known by its name."""
    return SendOffer(C, name, urgency)


def test_the_most_urgent_goes_first_and_equals_in_their_order() -> None:
    line = OfferLine(Window())
    for send in (offer(b"a"), offer(b"b"), offer(b"urgent", 0), offer(b"soon", 2)):
        line.add(send)
    assert [line.next().consignment for _ in range(4)] == [b"urgent", b"soon", b"a", b"b"]
    assert not line


def test_nothing_is_taken_from_an_empty_line() -> None:
    with pytest.raises(IndexError):
        OfferLine(Window()).next()


@pytest.mark.parametrize("window", [Window(offers=2, size=1_000), Window(offers=9, size=100)])
def test_a_full_window_waits_for_answers(window: Window) -> None:
    line = OfferLine(window)
    line.written(b"a", 50)
    line.add(offer(b"c"))
    assert line, "there is room for another one"
    line.written(b"b", 50)
    assert not line
    line.answered(b"somebody else's")
    assert not line
    line.answered(b"a")
    line.answered(b"a")
    assert line and line.next() == offer(b"c")


def test_one_offer_may_be_larger_than_the_window_when_it_is_alone() -> None:
    line = OfferLine(Window(offers=9, size=100))
    line.add(offer(b"large"))
    assert line
    line.written(line.next().consignment, 5_000)
    line.add(offer(b"next"))
    assert not line
    line.answered(b"large")
    assert line


def test_an_offer_that_is_written_again_counts_once() -> None:
    line = OfferLine(Window(offers=9, size=100))
    line.written(b"a", 90)
    line.written(b"a", 60)
    line.add(offer(b"b"))
    assert line
    line.answered(b"a")
    line.written(b"b", 100)
    assert not line
