"""The life of a consignment: the tables, and what they promise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.delivery import (
    RECIPIENT_NEXT,
    RECIPIENT_START,
    SENDER_FINAL,
    SENDER_NEXT,
    SENDER_START,
    RecipientEvent,
    RecipientState,
    SenderEvent,
    SenderState,
    diagram,
    may,
    next_state,
    sender_beaten_by_receipt,
)

_SPEC = Path(__file__).parents[3] / "protocol" / "spec" / "delivery.md"


def test_numbers_of_states_and_events_never_change() -> None:
    assert {state.name: int(state) for state in SenderState} == {
        "QUEUED": 1,
        "OFFERED": 2,
        "ARRIVED": 3,
        "COLLECTED": 4,
        "ANSWERED": 5,
        "REFUSED": 10,
        "RECIPIENT_CLOSED": 11,
        "EXPIRED_UNSENT": 12,
        "EXPIRED_UNCONFIRMED": 13,
        "CANCELLED": 14,
    }
    assert {state.name: int(state) for state in RecipientState} == {
        "RECEIVING": 1,
        "ARRIVED": 2,
        "COLLECTED": 3,
        "ANSWERED": 4,
        "RECALLED": 5,
        "DESTROYED": 6,
    }


def test_the_diagrams_in_the_spec_are_drawn_from_the_tables() -> None:
    spec = _SPEC.read_text(encoding="utf-8")
    assert f"```mermaid\n{diagram(SENDER_NEXT, SENDER_START)}```" in spec
    assert f"```mermaid\n{diagram(RECIPIENT_NEXT, RECIPIENT_START)}```" in spec


def test_every_state_can_be_reached() -> None:
    assert _reachable_sender() == set(SenderState)
    assert {RECIPIENT_START, *RECIPIENT_NEXT.values()} == set(RecipientState)


def _reachable_sender() -> set[SenderState]:
    known = {SENDER_START}
    while True:
        more = known | {after for (before, _), after in SENDER_NEXT.items() if before in known}
        if more == known:
            return known
        known = more


def test_a_document_that_goes_well_is_queued_offered_arrived_collected_answered() -> None:
    state = SENDER_START
    events = [SenderEvent.OFFER, SenderEvent.ARRIVE, SenderEvent.COLLECT, SenderEvent.ANSWER, SenderEvent.ANSWER]
    seen = [state := next_state(state, event) for event in events]
    assert seen == [
        SenderState.OFFERED,
        SenderState.ARRIVED,
        SenderState.COLLECTED,
        SenderState.ANSWERED,
        SenderState.ANSWERED,
    ]


def test_a_receipt_beats_every_final_but_a_refusal() -> None:
    for state in SENDER_FINAL:
        after = next_state(state, SenderEvent.ARRIVE)
        assert after is (SenderState.REFUSED if state is SenderState.REFUSED else SenderState.ARRIVED)
        assert sender_beaten_by_receipt(state) is (state is not SenderState.REFUSED)


def test_no_refusal_beats_a_receipt() -> None:
    for state in (SenderState.ARRIVED, SenderState.COLLECTED, SenderState.ANSWERED):
        assert next_state(state, SenderEvent.REFUSE) is state
        assert not sender_beaten_by_receipt(state)


def test_what_was_never_offered_expires_as_unsent_and_all_else_as_unconfirmed() -> None:
    assert next_state(SenderState.QUEUED, SenderEvent.EXPIRE) is SenderState.EXPIRED_UNSENT
    assert next_state(SenderState.OFFERED, SenderEvent.EXPIRE) is SenderState.EXPIRED_UNCONFIRMED


def test_only_a_certain_not_now_puts_a_consignment_back_in_the_queue() -> None:
    assert next_state(SenderState.OFFERED, SenderEvent.DEFER) is SenderState.QUEUED
    assert next_state(SenderState.OFFERED, SenderEvent.DEFER_UNSURE) is SenderState.OFFERED


@given(st.lists(st.sampled_from(SenderEvent), max_size=30))
def test_once_arrived_a_consignment_never_looks_unsent_again(events: list[SenderEvent]) -> None:
    state, arrived = SENDER_START, False
    received = {SenderState.ARRIVED, SenderState.COLLECTED, SenderState.ANSWERED}
    for event in events:
        if may(state, event):
            state = next_state(state, event)
            arrived = arrived or state in received
            assert not arrived or state in received


@given(st.lists(st.sampled_from(SenderEvent), max_size=30))
def test_an_offer_that_may_have_arrived_is_never_called_unsent_or_cancelled(events: list[SenderEvent]) -> None:
    state, unsure = SENDER_START, False
    for event in events:
        if not may(state, event) or (event is SenderEvent.DEFER and unsure):
            continue
        unsure = unsure or (event is SenderEvent.OFFER and state is SenderState.OFFERED)
        state = next_state(state, event)
        assert not (unsure and state in (SenderState.EXPIRED_UNSENT, SenderState.CANCELLED))


@given(st.lists(st.sampled_from(RecipientEvent), max_size=30))
def test_a_recalled_document_never_comes_back(events: list[RecipientEvent]) -> None:
    state, recalled = RECIPIENT_START, False
    for event in events:
        if may(state, event):
            state = next_state(state, event)
            recalled = recalled or state is RecipientState.RECALLED
            assert not recalled or state in (RecipientState.RECALLED, RecipientState.DESTROYED)


def test_whatever_local_software_says_late_is_possible_in_every_state_after_arrival() -> None:
    for state in set(RecipientState) - {RecipientState.RECEIVING, RecipientState.COLLECTED}:
        assert may(state, RecipientEvent.COLLECT)
    for state in set(RecipientState) - {RecipientState.RECEIVING}:
        assert may(state, RecipientEvent.ANSWER)


def test_an_impossible_event_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="CANCEL cannot happen to a ARRIVED"):
        next_state(SenderState.ARRIVED, SenderEvent.CANCEL)
    with pytest.raises(AssertionError, match="ANSWER cannot happen to a RECEIVING"):
        next_state(RecipientState.RECEIVING, RecipientEvent.ANSWER)


def test_an_offered_consignment_cannot_be_cancelled_because_it_may_have_arrived() -> None:
    assert may(SenderState.QUEUED, SenderEvent.CANCEL)
    assert not may(SenderState.OFFERED, SenderEvent.CANCEL)


def test_a_diagram_joins_parallel_arrows() -> None:
    drawn = diagram(RECIPIENT_NEXT, RECIPIENT_START)
    assert drawn.startswith("stateDiagram-v2\n    [*] --> receiving\n")
    assert "    answered --> answered: collect, answer\n" in drawn
