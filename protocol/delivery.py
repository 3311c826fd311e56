"""The life of a consignment, at its sender and at its recipient, as two transition tables.

Obeys `spec/delivery.md` (DECISIONS, "States"), whose diagrams are drawn from these tables. The
tables say which state follows; who makes the event happen, and what is written and sent with it, is
`node/sender.py` and `node/receiver.py`. Numbers are durable: they stand in records.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeVar, overload


class SenderState(IntEnum):
    """Where a consignment stands at the issuer's node; numbers from 10 on are final."""

    QUEUED = 1
    OFFERED = 2
    ARRIVED = 3
    COLLECTED = 4
    ANSWERED = 5
    REFUSED = 10
    RECIPIENT_CLOSED = 11
    EXPIRED_UNSENT = 12
    EXPIRED_UNCONFIRMED = 13
    CANCELLED = 14


class SenderEvent(IntEnum):
    """What can happen to a consignment at the issuer's node."""

    OFFER = 1
    """An offer is about to leave: from here on the recipient may have it."""
    DEFER = 2
    """Not now, and every offer ever written was answered so: the recipient has nothing."""
    DEFER_UNSURE = 3
    """Not now, but an earlier offer got no answer: the recipient may have it."""
    ARRIVE = 4
    COLLECT = 5
    ANSWER = 6
    """Receipt 01, receipt 100, any other receipt; each verified."""
    REFUSE = 7
    """A verified refusal whose records are still the current ones."""
    CLOSE = 8
    """The recipient's code was closed."""
    EXPIRE = 9
    CANCEL = 10


class RecipientState(IntEnum):
    """Where a consignment stands at the recipient's node."""

    RECEIVING = 1
    ARRIVED = 2
    COLLECTED = 3
    ANSWERED = 4
    RECALLED = 5
    DESTROYED = 6


class RecipientEvent(IntEnum):
    """What can happen to a consignment at the recipient's node."""

    ACCEPT = 1
    """All is durable, opened and verified; receipt 0 is made."""
    COLLECT = 2
    ANSWER = 3
    """A status 02 to 06, or 16, or 15 on an update or replacement."""
    AGREE_RECALL = 4
    """A status 15 on a take-back or revocation."""
    DESTROY = 5
    """Bodies, keys and metadata are gone; the trace of the recall stays."""


SENDER_START: Final = SenderState.QUEUED
RECIPIENT_START: Final = RecipientState.RECEIVING

SENDER_FINAL: Final = frozenset(state for state in SenderState if state >= SenderState.REFUSED)
"""Final without a receipt: nothing more is owed, and only a receipt or a refusal can still change it."""

_S, _E = SenderState, SenderEvent

_RECEIVED: Final = (_S.ARRIVED, _S.COLLECTED, _S.ANSWERED)
_OPEN_FINALS: Final = (_S.RECIPIENT_CLOSED, _S.EXPIRED_UNSENT, _S.EXPIRED_UNCONFIRMED, _S.CANCELLED)

SENDER_NEXT: Final[Mapping[tuple[SenderState, SenderEvent], SenderState]] = {
    (_S.QUEUED, _E.OFFER): _S.OFFERED,
    (_S.QUEUED, _E.CLOSE): _S.RECIPIENT_CLOSED,
    (_S.QUEUED, _E.EXPIRE): _S.EXPIRED_UNSENT,
    (_S.QUEUED, _E.CANCEL): _S.CANCELLED,
    (_S.OFFERED, _E.OFFER): _S.OFFERED,
    (_S.OFFERED, _E.DEFER): _S.QUEUED,
    (_S.OFFERED, _E.DEFER_UNSURE): _S.OFFERED,
    (_S.OFFERED, _E.CLOSE): _S.OFFERED,  # it may have arrived before; receipts of a closed code still flow
    (_S.OFFERED, _E.EXPIRE): _S.EXPIRED_UNCONFIRMED,
    (_S.ARRIVED, _E.COLLECT): _S.COLLECTED,
    (_S.ARRIVED, _E.ANSWER): _S.ANSWERED,
    (_S.COLLECTED, _E.ANSWER): _S.ANSWERED,
    (_S.ANSWERED, _E.COLLECT): _S.ANSWERED,
    (_S.ANSWERED, _E.ANSWER): _S.ANSWERED,
    # A receipt is the stronger word: it beats every final but a refusal, and no refusal beats it.
    **{(state, _E.ARRIVE): _S.ARRIVED for state in (_S.QUEUED, _S.OFFERED, *_OPEN_FINALS)},
    **{(state, _E.REFUSE): state for state in _RECEIVED},
    **{(_S.REFUSED, event): _S.REFUSED for event in (_E.ARRIVE, _E.COLLECT, _E.ANSWER)},
    # A refusal says that nothing arrived, which is more than an expiry or a closed code can say.
    **{(state, _E.REFUSE): _S.REFUSED for state in (_S.QUEUED, _S.OFFERED, _S.REFUSED, *_OPEN_FINALS)},
}

_R, _F = RecipientState, RecipientEvent

RECIPIENT_NEXT: Final[Mapping[tuple[RecipientState, RecipientEvent], RecipientState]] = {
    (_R.RECEIVING, _F.ACCEPT): _R.ARRIVED,
    (_R.ARRIVED, _F.COLLECT): _R.COLLECTED,
    (_R.ARRIVED, _F.ANSWER): _R.ANSWERED,
    (_R.COLLECTED, _F.ANSWER): _R.ANSWERED,
    (_R.ANSWERED, _F.COLLECT): _R.ANSWERED,
    (_R.ANSWERED, _F.ANSWER): _R.ANSWERED,
    **{(state, _F.AGREE_RECALL): _R.RECALLED for state in (_R.ARRIVED, _R.COLLECTED, _R.ANSWERED)},
    (_R.RECALLED, _F.DESTROY): _R.DESTROYED,
    # Software that fetched the copy before the recall may still say so; nothing changes.
    **{(state, event): state for state in (_R.RECALLED, _R.DESTROYED) for event in (_F.COLLECT, _F.ANSWER)},
}

State = TypeVar("State", SenderState, RecipientState)
Event = TypeVar("Event", SenderEvent, RecipientEvent)


@overload
def next_state(state: SenderState, event: SenderEvent) -> SenderState: ...
@overload
def next_state(state: RecipientState, event: RecipientEvent) -> RecipientState: ...
def next_state(
    state: SenderState | RecipientState, event: SenderEvent | RecipientEvent
) -> SenderState | RecipientState:
    """The state after an event; an impossible event is our mistake (`AssertionError`)."""
    after = _look_up(state, event)
    assert after is not None, f"{event.name} cannot happen to a {state.name} consignment"
    return after


def may(state: SenderState | RecipientState, event: SenderEvent | RecipientEvent) -> bool:
    """Whether the event can happen in this state: asked before a person's wish is granted, and
    before an answer that came late is taken for news."""
    return _look_up(state, event) is not None


def sender_beaten_by_receipt(state: SenderState) -> bool:
    """Whether a first receipt moves a consignment in this state to *arrived*."""
    return SENDER_NEXT.get((state, SenderEvent.ARRIVE)) is SenderState.ARRIVED


def _look_up(
    state: SenderState | RecipientState, event: SenderEvent | RecipientEvent
) -> SenderState | RecipientState | None:
    """Numbers of the two tables overlap, so the classes choose the table."""
    if isinstance(state, SenderState):
        assert isinstance(event, SenderEvent)
        return SENDER_NEXT.get((state, event))
    assert isinstance(event, RecipientEvent)
    return RECIPIENT_NEXT.get((state, event))


def diagram(table: Mapping[tuple[State, Event], State], start: State) -> str:
    """A Mermaid state diagram of a table; parallel arrows share one line."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (before, event), after in sorted(table.items()):
        arrows.setdefault((before, after), []).append(event.name.lower())
    lines: list[str] = [f"    [*] --> {start.name.lower()}"]
    for (before, after), events in sorted(arrows.items()):
        lines.append(f"    {before.name.lower()} --> {after.name.lower()}: {', '.join(events)}")
    return "\n".join(["stateDiagram-v2", *lines]) + "\n"
