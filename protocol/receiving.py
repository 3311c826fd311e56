"""What is offered to us: judging, keeping, and the three answers. Spec: `spec/delivery.md`.

Pure step functions of the recipient's side (DESIGN §4, steps 5–7). An offer is answered by the
receipt (accepted; a duplicate gets the same first one for ever), by *not now* (unsigned, nothing
remembered), or by a signed refusal, and that only for what is provable from the issuer's own
signed bytes. A receipt exists only if envelope and all parts are durable, opened and verified.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from protocol import limits
from protocol.delivery import RecipientEvent, RecipientState, next_state
from protocol.draft import Draft
from protocol.errors import FormatError, NotNow
from protocol.judging import (
    Opened,
    Reading,
    Refuse,
    check_bodies,
    issuer_of,
    open_inline,
    open_offer,
    read,
    subject_of,
)
from protocol.receipt import RECEIPT, Receipt, ReceiptCode
from protocol.records import (
    IN,
    REFUSAL_SLOT,
    Arrival,
    Due,
    Incoming,
    Link,
    Pull,
    Refused,
    Return,
    SealedHeader,
    StoredPart,
    Thing,
    Uncollected,
)
from protocol.refusal import REFUSAL, Refusal
from protocol.retention import bring
from protocol.sealing import vault_wrap
from protocol.settling import AGAIN_LATE_MS, AGAIN_SOON_MS
from protocol.signing import thing_digest
from protocol.step import (
    Alarm,
    BodiesDurable,
    BodiesFailed,
    BodyRequest,
    Change,
    Here,
    OfferArrived,
    SendHolding,
    SendNotNow,
    SendReturn,
    StateChanged,
    Step,
    VerifiedBody,
    View,
)

RETRY_OF: Final = {
    "busy": 5_000,
    "disk_floor": 10 * limits.MINUTE_MS,
    "clock": AGAIN_SOON_MS,
    "held": 5 * limits.MINUTE_MS,
    "newer_format": AGAIN_LATE_MS,
    "body_damaged": 5_000,
    "body_gone": AGAIN_SOON_MS,
    "stanza_unusable": 10_000,
    "sealing_key_unknown": AGAIN_SOON_MS,
    "record_stale": AGAIN_SOON_MS,
    "issuer_unknown": AGAIN_SOON_MS,
    "moved": AGAIN_SOON_MS,
    "sign_again": AGAIN_SOON_MS,
    "signer_away": 30_000,
    "pki_required": AGAIN_LATE_MS,
}
"""Earliest retry of each *not now*, in milliseconds; codes that are not here blame the peer and wait an hour."""

NEWER: Final = frozenset({"format_newer", "format_other"})
"""What an older reader says to a newer writer's bytes."""


# --- the three inputs -----------------------------------------------------------------------


def judge(view: View, here: Here, arrived: OfferArrived) -> Step:
    """Answer an offer, or start to pull its bodies.

    An offer that cannot be read is put off like one that cannot be believed: it has no issuer whose
    bytes could be held against him, and it must not take the stream, and all other offers, with it.
    """
    try:
        reading = read(arrived.centre, arrived.offer)
    except FormatError as error:
        code = "newer_format" if error.code in NEWER else "offer_unreadable"
        return _put_off(arrived.centre, subject_of(arrived.offer), code)
    return _answer(view, here, reading, None)


def bodies_durable(view: View, here: Here, durable: BodiesDurable) -> Step:
    """All bodies were pulled, hashed and opened: judge again, by the directory of now, and keep."""
    reading = read(durable.centre, durable.offer)
    return _answer(view, here, reading, durable.bodies)


def bodies_failed(view: View, here: Here, failed: BodiesFailed) -> Step:
    """The bodies could not be pulled, or are not what the issuer signed."""
    reading = read(failed.centre, failed.offer)
    if failed.code != "part_mismatch":
        return _not_now(reading, failed.code)
    try:
        opened = open_offer(view, here, reading)
        return _refused(view, here, Refuse(reading, opened.judged_by, "part_mismatch", "parts"))
    except Refuse as refusal:
        return _refused(view, here, refusal)
    except NotNow as reason:
        return _not_now(reading, reason.code)


def _answer(view: View, here: Here, reading: Reading, bodies: tuple[VerifiedBody, ...] | None) -> Step:
    try:
        again = _known_answer(view, here, reading)
        if again is not None:
            return again
        if bodies is None and here.disk_low:
            raise NotNow("disk_floor")
        opened = open_offer(view, here, reading)
        if view.records.get(SealedHeader, reading.envelope_thing.digest) is not None:
            return _keep(view, here, opened, ())  # pulled or sealed here before, and still held
        if bodies is None and not reading.offer.inline and opened.envelope.parts:
            return _pull(opened)
        if bodies is None:
            bodies = open_inline(opened)
        check_bodies(opened, bodies)
        return _keep(view, here, opened, bodies)
    except Refuse as refusal:
        return _refused(view, here, refusal)
    except NotNow as reason:
        return _not_now(reading, reason.code)


def _known_answer(view: View, here: Here, reading: Reading) -> Step | None:
    """A consignment is answered once; whoever asks again as the issuer's host gets the same."""
    incoming = view.records.get(Incoming, reading.id)
    refused = view.records.get(Refused, reading.id)
    if incoming is None and refused is None:
        return None
    issuer_of(view, reading)
    draft = Draft(view, here)
    draft.hold(reading.centre, reading.offer.number)
    if incoming is not None:
        first = view.records.get(Link, IN, reading.id, 0)
        assert first is not None, "an accepted consignment has its first receipt"
        _return_again(draft, reading, 0, first.receipt)
    else:
        assert refused is not None
        _return_again(draft, reading, REFUSAL_SLOT, refused.refusal)
    return draft.step()


def _return_again(draft: Draft, reading: Reading, slot: int, thing: bytes) -> None:
    """While it is owed it goes under its journal number, so that no mark of the pair is skipped."""
    owed = draft.get(Return, reading.consignment.issuer, reading.id, slot)
    if owed is None:
        draft.sends.append(SendReturn(reading.centre, thing, 0))
    else:
        bring(draft, owed)


def _pull(opened: Opened) -> Step:
    """Nothing is recorded: only what comes of it may be worth remembering (`pull_goes_on`)."""
    reading = opened.reading
    request = BodyRequest(
        centre=reading.centre,
        offer=reading.offer,
        consignment=reading.id,
        envelope=opened.envelope,
        header=opened.header,
    )
    return Step(sends=(SendHolding(reading.centre, reading.id),), body_requests=(request,))


def pull_goes_on(view: View, here: Here, request: BodyRequest) -> tuple[Change, ...]:
    """Bytes of a large body have come: what is on the disk is kept for a day from now on."""
    draft = Draft(view, here)
    parts = tuple(StoredPart(digest=ref.digest, size=ref.size) for ref in request.envelope.parts)
    _forget_pull(draft, request.consignment)
    draft.put(Pull(consignment=request.consignment, centre=request.centre, started_ms=here.now_ms, parts=parts))
    draft.due(here.now_ms + here.settings.pull_patience_ms, Due.PULL, request.consignment)
    return draft.step().changes


def pull_left_nothing(view: View, here: Here, consignment: bytes) -> tuple[Change, ...]:
    """Nothing of this pull is on the disk, so there is nothing to remember."""
    draft = Draft(view, here)
    _forget_pull(draft, consignment)
    return draft.step().changes


# --- the answers ----------------------------------------------------------------------------


def content_key_context(consignment: bytes) -> bytes:
    """What the vault binds a content key to on the recipient's side."""
    return b"consignment" + consignment


def _keep(view: View, here: Here, opened: Opened, bodies: tuple[VerifiedBody, ...]) -> Step:
    """ONE batch: envelope, consignment, key under the vault key, bodies, and receipt 0."""
    draft = Draft(view, here)
    reading, envelope = opened.reading, opened.envelope
    draft.hold(reading.centre, reading.offer.number)
    for thing in (reading.envelope_thing, reading.consignment_thing):
        if draft.get(Thing, thing.digest) is None:
            draft.put(Thing(digest=thing.digest, wire=thing.to_wire()))
    for body in bodies:
        if body.put is not None:
            draft.put_body(body.put)
    _use_bodies(draft, opened)
    receipt, digest = _first_receipt(here, opened)
    draft.sign(RECEIPT.name, RECEIPT.encode(receipt))
    sequence = draft.count("arrivals")
    incoming = Incoming(
        consignment=reading.id,
        statement=reading.consignment_thing.digest,
        envelope=reading.envelope_thing.digest,
        envelope_id=envelope.envelope_id,
        issuer=envelope.issuer,
        recipient=opened.recipient.code,
        epoch=opened.recipient.epoch,
        lane=envelope.lane,
        state=next_state(RecipientState.RECEIVING, RecipientEvent.ACCEPT),
        sequence=sequence,
        arrived_ms=here.now_ms,
        parts=tuple(StoredPart(digest=ref.digest, size=ref.size) for ref in envelope.parts),
        head=digest,
        next_receipt=1,
        codes=(int(ReceiptCode.ARRIVED),),
        judged_by=opened.judged_by,
        wrapped_key=vault_wrap(here.vault_key, content_key_context(reading.id), opened.content_key, here.entropy(16)),
    )
    draft.put(incoming)
    draft.put(Arrival(agency=incoming.recipient, sequence=sequence, consignment=reading.id))
    draft.put(Uncollected(agency=incoming.recipient, sequence=sequence, consignment=reading.id))
    _forget_pull(draft, reading.id)
    chain(draft, receipt, digest)
    draft.happen(incoming.recipient, "arrived", consignment=reading.id, envelope_id=envelope.envelope_id, code=1)
    owe_return(draft, reading.centre, incoming.issuer, reading.id, 0, digest)
    draft.events.append(changed(replace(incoming, state=RecipientState.RECEIVING), RecipientState.ARRIVED))
    return draft.step()


def _use_bodies(draft: Draft, opened: Opened) -> None:
    reading = opened.reading
    envelope, agency = reading.envelope_thing.digest, opened.recipient.code
    if draft.get(SealedHeader, envelope) is None:
        draft.put(SealedHeader(envelope=envelope, sealed=reading.offer.header))
    draft.use_body(envelope, IN, agency, reading.id)
    for ref in opened.envelope.parts:
        draft.use_body(ref.digest, IN, agency, reading.id)


def _first_receipt(here: Here, opened: Opened) -> tuple[Receipt, bytes]:
    reading = opened.reading
    receipt = Receipt(
        consignment=reading.id,
        envelope=reading.envelope_thing.digest,
        issuer=opened.envelope.issuer,
        recipient=opened.recipient.code,
        epoch=opened.recipient.epoch,
        incarnation=here.incarnation,
        sequence=0,
        previous=reading.consignment_thing.digest,
        code=int(ReceiptCode.ARRIVED),
        time_ms=here.now_ms,
        clock_quality=here.clock_quality,
    )
    return receipt, thing_digest(RECEIPT.name, RECEIPT.encode(receipt))


def _forget_pull(draft: Draft, consignment: bytes) -> None:
    pull = draft.get(Pull, consignment)
    if pull is not None:
        draft.delete(Pull, consignment)
        draft.not_due(pull.started_ms + draft.here.settings.pull_patience_ms, Due.PULL, consignment)


def chain(draft: Draft, receipt: Receipt, digest: bytes, flag: str = "") -> None:
    """Put a receipt of ours into its chain."""
    draft.put(
        Link(
            box=IN,
            consignment=receipt.consignment,
            sequence=receipt.sequence,
            receipt=digest,
            code=receipt.code,
            time_ms=receipt.time_ms,
            recorded_ms=draft.here.now_ms,
            flag=flag,
            reason=receipt.reason,
            staff_name=receipt.staff_name,
            staff_position=receipt.staff_position,
        )
    )


def owe_return(draft: Draft, centre: str, issuer: str, consignment: bytes, slot: int, thing: bytes) -> None:
    """Owe a receipt or refusal to the issuer until its node acknowledges it. Without a centre it
    is owed all the same, and gets its number when the issuer's host is known."""
    number = draft.journal(centre, thing, consignment) if centre else 0
    draft.put(Return(issuer=issuer, consignment=consignment, slot=slot, thing=thing, centre=centre, number=number))
    if centre:
        draft.sends.append(SendReturn(centre, thing, number))


def _refused(view: View, here: Here, refuse: Refuse) -> Step:
    draft = Draft(view, here)
    reading = refuse.reading
    draft.hold(reading.centre, reading.offer.number)
    refusal = Refusal(
        consignment=reading.id,
        envelope=reading.envelope_thing.digest,
        recipient=reading.consignment.recipient,
        code=refuse.code,
        field=refuse.field,
        judged_by=refuse.judged_by[: limits.JUDGED_BY_MAX],
        time_ms=here.now_ms,
    )
    statement = REFUSAL.encode(refusal)
    digest = thing_digest(REFUSAL.name, statement)
    draft.sign(REFUSAL.name, statement)
    for thing in (reading.envelope_thing, reading.consignment_thing):
        draft.put(Thing(digest=thing.digest, wire=thing.to_wire()))
    draft.put(
        Refused(
            consignment=reading.id,
            refusal=digest,
            code=refuse.code,
            issuer=reading.consignment.issuer,
            recipient=reading.consignment.recipient,
            time_ms=here.now_ms,
        )
    )
    _forget_pull(draft, reading.id)
    owe_return(draft, reading.centre, reading.consignment.issuer, reading.id, REFUSAL_SLOT, digest)
    draft.events.append(
        StateChanged(
            box=IN,
            consignment=reading.id,
            envelope_id=b"",
            agency=reading.consignment.recipient,
            peer_agency=reading.consignment.issuer,
            before="",
            state="refused",
            code=refuse.code,
        )
    )
    return draft.step()


def _not_now(reading: Reading, code: str) -> Step:
    return _put_off(reading.centre, reading.id, code)


def _put_off(centre: str, subject: bytes, code: str) -> Step:
    """Nothing is remembered, not even the journal number."""
    blame = code not in RETRY_OF or code == "body_gone"
    return Step(
        sends=(SendNotNow(centre, subject, code, RETRY_OF.get(code, AGAIN_LATE_MS)),),
        events=(Alarm(code, centre, subject),) if blame else (),
    )


def changed(entry: Incoming, state: RecipientState, code: str = "") -> StateChanged:
    """The log line of an incoming consignment."""
    return StateChanged(
        before=RecipientState(entry.state).name.lower(),
        box=IN,
        consignment=entry.consignment,
        envelope_id=entry.envelope_id,
        agency=entry.recipient,
        peer_agency=entry.issuer,
        state=state.name.lower(),
        code=code,
    )
