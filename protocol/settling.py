"""What comes back: receipts and refusals at the sender's node. Spec: `spec/delivery.md`.

Pure step functions (DESIGN §4, step 8). A receipt is verified by the directory records of the
epoch it names, recorded with its bytes, and only then acknowledged; a chain takes its links in
order. Whatever cannot be taken now is answered *not now* and stays owed at the other side.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from protocol import limits
from protocol.delivery import SenderEvent, SenderState, next_state
from protocol.draft import Draft
from protocol.entitlement import Purpose
from protocol.errors import FormatError, NotNow, TrustError
from protocol.exchange import unread_subject
from protocol.receipt import CENTRE_CODES, RECEIPT, ChainHead, Receipt, ReceiptCode
from protocol.records import OUT, Due, Link, Outgoing, Thing
from protocol.refusal import REFUSAL, Refusal, check_refusal
from protocol.sending import changed, settled
from protocol.signing import Signed
from protocol.speaking import who_signed
from protocol.status import flag_of
from protocol.step import Alarm, Here, Party, SendAck, SendNotNow, Settled, Step, ThingReturned, View

AGAIN_SOON_MS: Final = limits.MINUTE_MS
"""When missing knowledge should have arrived by then."""
AGAIN_LATE_MS: Final = limits.HOUR_MS
"""When only a person can mend it."""

NEWER_CODES: Final = frozenset({"format_newer", "receipt_code_unknown", "refusal_code_unknown"})
"""A peer that is ahead of us says such things; within a version, codes are only added."""

EVENT_OF: Final = {ReceiptCode.ARRIVED: SenderEvent.ARRIVE, ReceiptCode.COLLECTED: SenderEvent.COLLECT}


def settle(view: View, here: Here, returned: ThingReturned) -> Step:
    """Take a receipt or refusal that a peer brings.

    One thing that cannot be read is put off like one that cannot be believed: it must not
    take the stream, and all else that is owed, with it.
    """
    draft = Draft(view, here)
    try:
        signed = Signed.from_wire(returned.returned.thing, bytes_max=limits.STATEMENT_BYTES_MAX)
    except FormatError as error:
        subject = unread_subject(returned.returned.thing)
        return _put_off(returned.centre, subject, error.code, AGAIN_LATE_MS, alarm=True)
    draft.hold(returned.centre, returned.returned.number)
    try:
        if signed.format == RECEIPT.name:
            return _receipt(draft, returned.centre, signed)
        if signed.format == REFUSAL.name:
            return _refusal(draft, returned.centre, signed)
    except FormatError as error:
        if error.code not in NEWER_CODES:
            return _not_now(returned.centre, signed, error.code, AGAIN_LATE_MS, alarm=True)
    return _not_now(returned.centre, signed, "newer_format", AGAIN_LATE_MS)


def _not_now(centre: str, signed: Signed, code: str, retry_ms: int, *, alarm: bool = False) -> Step:
    return _put_off(centre, signed.digest, code, retry_ms, alarm=alarm)


def _put_off(centre: str, subject: bytes, code: str, retry_ms: int, *, alarm: bool) -> Step:
    """Nothing is remembered, not even the journal number."""
    events = (Alarm(code, centre, subject),) if alarm else ()
    return Step(sends=(SendNotNow(centre, subject, code, retry_ms),), events=events)


# --- receipts -------------------------------------------------------------------------------


def _receipt(draft: Draft, centre: str, signed: Signed) -> Step:
    view, here = draft.view, draft.here
    receipt = RECEIPT.decode(signed.statement)
    entry = view.records.get(Outgoing, receipt.consignment)
    if entry is None:
        return _not_now(centre, signed, "consignment_unknown", AGAIN_LATE_MS, alarm=True)
    known = view.records.get(Link, OUT, entry.consignment, receipt.sequence)
    if known is not None and known.receipt == signed.digest:
        draft.events.append(Settled(centre, entry.consignment))
        draft.sends.append(SendAck(centre, signed.digest))
        return draft.step()
    if here.clock_trusted and receipt.time_ms > here.now_ms + limits.CLOCK_SKEW_MS:
        return _not_now(centre, signed, "clock", AGAIN_SOON_MS)
    party = view.directory.party(entry.recipient, at_ms=receipt.time_ms, epoch=receipt.epoch)
    if party is None:
        return _not_now(centre, signed, "record_stale", AGAIN_SOON_MS)
    purpose = Purpose.CENTRE if receipt.code in CENTRE_CODES else Purpose.AGENCY
    try:
        key = who_signed(view, here, signed, party, purpose, receipt.time_ms, epoch=receipt.epoch)
        here.verifier.verify(signed, key)
        head = _head_of(entry).extend(receipt, signed.digest)
    except NotNow as error:
        return _not_now(centre, signed, error.code, AGAIN_SOON_MS)
    except TrustError as error:
        gap = error.code == "receipt_chain_gap"
        return _not_now(centre, signed, error.code, AGAIN_SOON_MS if gap else AGAIN_LATE_MS, alarm=not gap)
    _record(draft, entry, receipt, signed, head)
    if centre != entry.centre:  # another host than the one it was last offered to
        draft.events.append(Settled(centre, entry.consignment))
    draft.sends.append(SendAck(centre, signed.digest))
    return draft.step()


def _head_of(entry: Outgoing) -> ChainHead:
    return ChainHead(
        consignment=entry.consignment,
        envelope=entry.envelope,
        issuer=entry.issuer,
        recipient=entry.recipient,
        sequence=entry.next_receipt,
        previous=entry.head,
        epoch=entry.epoch,
        collected=ReceiptCode.COLLECTED in entry.codes,
    )


def _record(draft: Draft, entry: Outgoing, receipt: Receipt, signed: Signed, head: ChainHead) -> None:
    event = EVENT_OF.get(ReceiptCode(receipt.code), SenderEvent.ANSWER)
    state = SenderState(entry.state)
    if entry.refusal:  # the recipient said both yes and no
        draft.events.append(Alarm("receipt_after_refusal", entry.centre, entry.consignment))
    if state is not SenderState.REFUSED:
        state = next_state(state, event)
    after = replace(
        entry,
        state=state,
        head=signed.digest,
        next_receipt=head.sequence,
        epoch=head.epoch,
        codes=(*entry.codes, receipt.code),
    )
    draft.put(settled(draft, after))
    draft.put(Thing(digest=signed.digest, wire=signed.to_wire()))
    flag = flag_of(entry.codes, receipt.code).value
    draft.put(
        Link(
            box=OUT,
            consignment=entry.consignment,
            sequence=receipt.sequence,
            receipt=signed.digest,
            code=receipt.code,
            time_ms=receipt.time_ms,
            recorded_ms=draft.here.now_ms,
            flag=flag,
            reason=receipt.reason,
            staff_name=receipt.staff_name,
            staff_position=receipt.staff_position,
        )
    )
    draft.happen(
        entry.issuer,
        "status",
        consignment=entry.consignment,
        envelope_id=entry.envelope_id,
        code=receipt.code,
        detail=flag,
    )
    draft.events.append(changed(entry, state, f"{receipt.code:02d}"))


# --- refusals -------------------------------------------------------------------------------


def _refusal(draft: Draft, centre: str, signed: Signed) -> Step:
    view, here = draft.view, draft.here
    refusal = REFUSAL.decode(signed.statement)
    check_refusal(refusal)
    entry = view.records.get(Outgoing, refusal.consignment)
    if entry is None:
        return _not_now(centre, signed, "consignment_unknown", AGAIN_LATE_MS, alarm=True)
    if here.clock_trusted and refusal.time_ms > here.now_ms + limits.CLOCK_SKEW_MS:
        return _not_now(centre, signed, "clock", AGAIN_SOON_MS)
    party = view.directory.party(entry.recipient, at_ms=refusal.time_ms)
    if party is None:
        return _not_now(centre, signed, "record_stale", AGAIN_SOON_MS)
    try:
        here.verifier.verify(signed, who_signed(view, here, signed, party, Purpose.CENTRE, refusal.time_ms))
    except NotNow as error:
        return _not_now(centre, signed, error.code, AGAIN_SOON_MS)
    except TrustError as error:
        return _not_now(centre, signed, error.code, AGAIN_LATE_MS, alarm=True)
    if (refusal.envelope, refusal.recipient) != (entry.envelope, entry.recipient):
        return _not_now(centre, signed, "receipt_chain_foreign", AGAIN_LATE_MS, alarm=True)
    _refuse(draft, entry, refusal, signed, party)
    draft.sends.append(SendAck(centre, signed.digest))
    return draft.step()


def _refuse(draft: Draft, entry: Outgoing, refusal: Refusal, signed: Signed, party: Party) -> None:
    """Settle by a refusal, unless it was judged by other records than ours: then offer once more."""
    state = SenderState(entry.state)
    draft.put(Thing(digest=signed.digest, wire=signed.to_wire()))
    if entry.next_receipt:
        _refused_after_receipt(draft, entry, signed)
        return
    differ = not _our_records(draft, entry, party).issuperset(refusal.judged_by)
    if differ and not entry.refusal and not entry.settled_ms:
        _offer_once_more(draft, entry, signed)
        return
    after = next_state(state, SenderEvent.REFUSE)
    if after is state:
        return
    draft.put(settled(draft, replace(entry, state=after, refusal=signed.digest, refusal_code=refusal.code)))
    draft.happen(
        entry.issuer, "refused", consignment=entry.consignment, envelope_id=entry.envelope_id, detail=refusal.code
    )
    draft.events.append(changed(entry, after, refusal.code))


def _our_records(draft: Draft, entry: Outgoing, party: Party) -> set[bytes]:
    """The directory records by which we would judge this consignment."""
    issuer = draft.view.directory.party(entry.issuer, at_ms=draft.here.now_ms)
    return {*party.records, *(issuer.records if issuer is not None else ())}


def _offer_once_more(draft: Draft, entry: Outgoing, signed: Signed) -> None:
    retry_ms = draft.here.now_ms + AGAIN_SOON_MS
    draft.not_due(entry.retry_ms, Due.RETRY, entry.consignment)
    draft.due(retry_ms, Due.RETRY, entry.consignment)
    draft.put(replace(entry, refusal=signed.digest, waiting="refusal_records_differ", retry_ms=retry_ms))
    draft.events.append(Settled(entry.centre, entry.consignment, retry_ms))
    draft.events.append(changed(entry, SenderState(entry.state), "refusal_records_differ"))


def _refused_after_receipt(draft: Draft, entry: Outgoing, signed: Signed) -> None:
    """The recipient said both yes and no: the receipt stays, the refusal is kept as evidence."""
    if entry.refusal != signed.digest:
        draft.put(replace(entry, refusal=signed.digest))
        draft.events.append(Alarm("refusal_after_receipt", entry.centre, entry.consignment))
