"""What time brings: expiry, asking again, and letting go of what is no longer needed.

Pure step functions over deadlines (`spec/delivery.md` §5). A body goes only when nobody counts
on it any more (DESIGN §6); statements, receipts, refusals and the memory of having seen a
consignment stay for ever. Nothing is judged by time while the clock is suspicious.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from protocol import limits
from protocol.draft import Draft
from protocol.entitlement import Purpose
from protocol.exchange import NotNow
from protocol.receipt import CENTRE_CODES, RECEIPT
from protocol.record import Body
from protocol.records import (
    IN,
    OUT,
    REFUSAL_SLOT,
    BodyUse,
    Deadline,
    Document,
    Due,
    Incoming,
    Outgoing,
    Pull,
    Refused,
    Return,
    SealedHeader,
    StoredPart,
    Thing,
)
from protocol.refusal import REFUSAL
from protocol.sending import expire, is_due
from protocol.signing import Signed
from protocol.speaking import sign_again
from protocol.step import (
    Acked,
    DeadlineReached,
    Here,
    OfferPutOff,
    Queued,
    ReturnsDue,
    SendReturn,
    Step,
    ThingAcked,
    View,
)
from protocol.waiting import RETRY_MIN_MS, wait_of

CLOCK_PAUSE_MS: Final = limits.MINUTE_MS
"""While the clock is suspicious, what falls due is looked at again after this."""

ASKED_AGAIN: Final = frozenset({Due.RETRY, Due.RETURN})
"""Asking again judges nothing by time."""

USERS_MAX: Final = 1_000
"""How many users of one body are looked through; a circular has at most as many recipients."""


def deadlines(view: View, here: Here, reached: DeadlineReached) -> Step:
    """Decide what has fallen due; each deadline is looked at once and then gone."""
    draft = Draft(view, here)
    for at_ms, what, subject in reached.due:
        if draft.get(Deadline, at_ms, what, subject) is None:
            continue
        draft.delete(Deadline, at_ms, what, subject)
        if not here.clock_trusted and what not in ASKED_AGAIN:
            draft.due(here.now_ms + CLOCK_PAUSE_MS, Due(what), subject)
        else:
            _decide(draft, Due(what), subject)
    return draft.step()


def _decide(draft: Draft, what: Due, subject: bytes) -> None:
    match what:
        case Due.EXPIRE:
            expire(draft, subject)
        case Due.RETRY:
            _offer_again(draft, subject)
        case Due.RETURN:
            _return_again(draft, subject)
        case Due.RETIRE_OUT:
            _retire_document(draft, subject[:16])
        case Due.RETIRE_IN:
            _retire_incoming(draft, subject)
        case Due.PULL:
            _give_up_pull(draft, subject)
        case Due.UPLOAD:
            pass  # looked at by node/uploads.py, which owns the partial files


def _give_up_pull(draft: Draft, consignment: bytes) -> None:
    """Unless it went on in between: then it has another deadline."""
    pull = draft.get(Pull, consignment)
    if pull is not None and pull.started_ms + draft.here.settings.pull_patience_ms <= draft.here.now_ms:
        draft.delete(Pull, consignment)


def _offer_again(draft: Draft, consignment: bytes) -> None:
    entry = draft.get(Outgoing, consignment)
    if entry is not None and not entry.settled_ms:
        draft.put(replace(entry, retry_ms=0))
        draft.events.append(Queued(entry.recipient, entry.lane, consignment, False))


# --- returned things: acknowledged, or put off ------------------------------------------------


def acked(view: View, here: Here, ack: ThingAcked) -> Step:
    """The issuer's node holds our receipt or refusal: it is no longer owed."""
    draft = Draft(view, here)
    draft.events.append(Acked(ack.centre, ack.thing))
    owed = _return_of(draft, ack.thing)
    if owed is not None and owed.centre == ack.centre:  # a former host's word does not count
        draft.delete(Return, owed.issuer, owed.consignment, owed.slot)
        draft.not_due(owed.retry_ms, Due.RETURN, owed.thing)
    return replace(draft.step(), can_wait=True)


def return_put_off(view: View, here: Here, answer: OfferPutOff) -> Step:
    """The issuer's node cannot take our receipt now; it stays owed."""
    draft = Draft(view, here)
    draft.events.append(Acked(answer.centre, answer.answer.subject))
    owed = _return_of(draft, answer.answer.subject)
    is_new = owed is not None and (not owed.waiting or is_due(owed.retry_ms, here.now_ms))
    if owed is not None and owed.centre == answer.centre and is_new:
        retry_ms = here.now_ms + _wait(draft, owed, answer.answer)
        draft.not_due(owed.retry_ms, Due.RETURN, owed.thing)
        draft.due(retry_ms, Due.RETURN, owed.thing)
        draft.put(replace(owed, retry_ms=retry_ms, waiting=answer.answer.code, put_offs=owed.put_offs + 1))
    return draft.step()


def _wait(draft: Draft, owed: Return, answer: NotNow) -> int:
    """How long to wait before bringing it again, in milliseconds; not long when it is signed again here."""
    if answer.code == "sign_again" and _sign_again(draft, owed):
        return RETRY_MIN_MS
    return wait_of(answer, owed.put_offs)


def _sign_again(draft: Draft, owed: Return) -> bool:
    signed = _thing(draft, owed.thing)
    assert signed is not None, "the return was found by it"
    if signed.format == REFUSAL.name:
        refused = REFUSAL.decode(signed.statement)
        return sign_again(draft, refused.recipient, Purpose.CENTRE, (owed.thing,))
    receipt = RECEIPT.decode(signed.statement)
    purpose = Purpose.CENTRE if receipt.code in CENTRE_CODES else Purpose.AGENCY
    return sign_again(draft, receipt.recipient, purpose, (owed.thing,), epoch=receipt.epoch)


def _thing(draft: Draft, digest: bytes) -> Signed | None:
    thing = draft.get(Thing, digest)
    return None if thing is None else Signed.from_wire(thing.wire, bytes_max=limits.THING_BYTES_MAX)


def _return_of(draft: Draft, digest: bytes) -> Return | None:
    signed = _thing(draft, digest)
    if signed is None:
        return None
    if signed.format == RECEIPT.name:
        receipt = RECEIPT.decode(signed.statement)
        return draft.get(Return, receipt.issuer, receipt.consignment, receipt.sequence)
    if signed.format != REFUSAL.name:
        return None
    refused = draft.get(Refused, REFUSAL.decode(signed.statement).consignment)
    return None if refused is None else draft.get(Return, refused.issuer, refused.consignment, REFUSAL_SLOT)


def _return_again(draft: Draft, digest: bytes) -> None:
    owed = _return_of(draft, digest)
    if owed is not None:
        bring(draft, replace(owed, retry_ms=0, waiting=""))


def returns_due(view: View, here: Here, due: ReturnsDue) -> Step:
    """Bring what is owed to an issuer's node: after the batch that made it durable, like all else."""
    draft = Draft(view, here)
    for consignment, slot in due.owed:
        owed = draft.get(Return, due.issuer, consignment, slot)
        if owed is not None and is_due(owed.retry_ms, here.now_ms):
            bring(draft, owed)
    return draft.step()


def bring(draft: Draft, owed: Return) -> None:
    """Send to the issuer's present host; after a change of host under a new journal number."""
    issuer = draft.view.directory.party(owed.issuer, at_ms=draft.here.now_ms)
    if issuer is None:
        return
    if issuer.centre != owed.centre:
        number = draft.journal(issuer.centre, owed.thing, owed.consignment)
        owed = replace(owed, centre=issuer.centre, number=number)
    if owed != draft.get(Return, owed.issuer, owed.consignment, owed.slot):
        draft.put(owed)
    draft.sends.append(SendReturn(owed.centre, owed.thing, owed.number))


# --- letting go -----------------------------------------------------------------------------


def _retire_document(draft: Draft, envelope_id: bytes) -> None:
    document = draft.get(Document, envelope_id)
    if document is None or document.unsettled:
        return
    draft.put(replace(document, wrapped_key=b""))
    _release(draft, document.envelope, document.parts, OUT, document.issuer, document.envelope)


def _retire_incoming(draft: Draft, consignment: bytes) -> None:
    entry = draft.get(Incoming, consignment)
    if entry is None or not entry.collected_ms:
        return
    draft.put(replace(entry, wrapped_key=b""))
    _release(draft, entry.envelope, entry.parts, IN, entry.recipient, consignment)


def _release(
    draft: Draft, envelope: bytes, parts: tuple[StoredPart, ...], box: int, agency: str, holder: bytes
) -> None:
    """Count one user less for header and bodies; the last one out lets them go."""
    for digest in (envelope, *(part.digest for part in parts)):
        draft.delete(BodyUse, digest, box, agency, holder)
        if _still_used(draft, digest):
            continue
        if digest == envelope:
            draft.delete(SealedHeader, envelope)
        elif draft.get(Body, digest) is not None:
            draft.delete(Body, digest)


def _still_used(draft: Draft, digest: bytes) -> bool:
    users = draft.view.records.scan(BodyUse, digest, limit=USERS_MAX)
    return any(draft.get(BodyUse, use.body, use.box, use.agency, use.holder) is not None for use in users)
