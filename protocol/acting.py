"""What the recipient's software does: collecting and answering. Spec: `spec/delivery.md`.

Pure step functions (DESIGN §4, steps 9 and 10). Each makes the next link of the consignment's
receipt chain, owed to the issuer's node like the first one. Which status may follow which is
`status.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocol.delivery import RecipientEvent, RecipientState, next_state
from protocol.draft import Draft
from protocol.errors import RequestError
from protocol.receipt import CENTRE_CODES, RECEIPT, Receipt, ReceiptCode
from protocol.receiving import chain, changed, owe_return
from protocol.records import IN, Due, Incoming, Link, Remembered, Uncollected
from protocol.sending import holds_key
from protocol.signing import thing_digest
from protocol.status import StatusFlag, judge_status
from protocol.step import Answered, Collected, Here, Party, Step, View
from protocol.textid import to_text


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptMade:
    """The reply to `Collected` and `Answered`: the link that stands in the chain."""

    consignment: bytes
    sequence: int
    code: int
    flag: str
    repeated: bool


def collect(view: View, here: Here, collected: Collected) -> Step:
    """Record that local software has safely taken a consignment. Doing it twice changes nothing.

    Raises:
        RequestError: `consignment_unknown` (also for other agencies' consignments),
            `agency_not_hosted`.
    """
    entry = _incoming(view, collected.caller.agencies, collected.consignment)
    if entry.collected_ms:
        return Step(reply=_made_before(view, entry, ReceiptCode.COLLECTED))
    party = _party(view, here, entry)
    draft = Draft(view, here)
    draft.delete(Uncollected, entry.recipient, entry.sequence)
    draft.due(here.now_ms + here.settings.retention_ms, Due.RETIRE_IN, entry.consignment)
    draft.audit(collected.caller, "collect", entry.recipient, to_text("csg", entry.consignment))
    receipt = _next_receipt(here, entry, party, ReceiptCode.COLLECTED)
    after = replace(entry, collected_ms=max(here.now_ms, 1))
    return draft.step(reply=_extend(draft, after, party, receipt, RecipientEvent.COLLECT, StatusFlag.NONE))


def answer(view: View, here: Here, answered: Answered) -> Step:
    """Record a status of the recipient and owe it to the issuer.

    Raises:
        RequestError: `consignment_unknown`, `agency_not_hosted`, `key_reused`, `signing_key_missing`, and
            the `status_*` codes of `judge_status`.
    """
    entry = _incoming(view, answered.caller.agencies, answered.consignment)
    known = view.records.get(Remembered, answered.caller.system, "statuses", answered.key)
    if known is not None:
        if known.request != answered.request:
            raise RequestError("key_reused", field="Idempotency-Key")
        return Step(reply=_made(view, entry, int.from_bytes(known.answer, "big"), repeated=True))
    party = _party(view, here, entry)
    if not holds_key(here, party):
        raise RequestError("signing_key_missing", field="consignment", agency=entry.recipient)
    flag = judge_status(entry.codes, answered.code, has_reason=bool(answered.reason.strip()), request_pending=False)
    draft = Draft(view, here)
    receipt = _next_receipt(here, entry, party, answered.code, answered)
    made = _extend(draft, entry, party, receipt, RecipientEvent.ANSWER, flag)
    draft.put(
        Remembered(
            system=answered.caller.system,
            operation="statuses",
            key=answered.key,
            request=answered.request,
            answer=made.sequence.to_bytes(4, "big"),
        )
    )
    subject = f"{to_text('csg', entry.consignment)} {answered.code:02d}"
    draft.audit(answered.caller, "statuses", entry.recipient, subject)
    return draft.step(reply=made)


def _incoming(view: View, agencies: frozenset[str], consignment: bytes) -> Incoming:
    entry = view.records.get(Incoming, consignment)
    if entry is None or entry.recipient not in agencies:
        raise RequestError("consignment_unknown", field="consignment")
    return entry


def _party(view: View, here: Here, entry: Incoming) -> Party:
    party = view.directory.party(entry.recipient, at_ms=here.now_ms)
    if party is None or party.centre != here.centre:
        raise RequestError("agency_not_hosted", field="consignment", agency=entry.recipient)
    return party


def _next_receipt(here: Here, entry: Incoming, party: Party, code: int, answered: Answered | None = None) -> Receipt:
    return Receipt(
        consignment=entry.consignment,
        envelope=entry.envelope,
        issuer=entry.issuer,
        recipient=entry.recipient,
        epoch=party.epoch,
        incarnation=here.incarnation,
        sequence=entry.next_receipt,
        previous=entry.head,
        code=int(code),
        reason="" if answered is None else answered.reason,
        staff_name="" if answered is None else answered.staff_name,
        staff_position="" if answered is None else answered.staff_position,
        time_ms=here.now_ms,
        clock_quality=here.clock_quality,
    )


def _extend(
    draft: Draft, entry: Incoming, party: Party, receipt: Receipt, event: RecipientEvent, flag: StatusFlag
) -> ReceiptMade:
    """Put the receipt into the chain and owe it to the issuer's present host."""
    statement = RECEIPT.encode(receipt)
    digest = thing_digest(RECEIPT.name, statement)
    own = party.own_keys and receipt.code not in CENTRE_CODES
    draft.sign(RECEIPT.name, statement, entry.recipient if own else "")
    after = replace(
        entry,
        state=next_state(RecipientState(entry.state), event),
        head=digest,
        next_receipt=receipt.sequence + 1,
        codes=(*entry.codes, receipt.code),
    )
    draft.put(after)
    chain(draft, receipt, digest, flag.value)
    issuer = draft.view.directory.party(entry.issuer, at_ms=draft.here.now_ms)
    owe_return(
        draft, "" if issuer is None else issuer.centre, entry.issuer, entry.consignment, receipt.sequence, digest
    )
    draft.events.append(changed(entry, RecipientState(after.state), f"{receipt.code:02d}"))
    return ReceiptMade(
        consignment=entry.consignment, sequence=receipt.sequence, code=receipt.code, flag=flag.value, repeated=False
    )


def _made_before(view: View, entry: Incoming, code: int) -> ReceiptMade:
    return _made(view, entry, entry.codes.index(code), repeated=True)


def _made(view: View, entry: Incoming, sequence: int, *, repeated: bool) -> ReceiptMade:
    link = view.records.get(Link, IN, entry.consignment, sequence)
    assert link is not None, "a remembered receipt stands in the chain"
    return ReceiptMade(
        consignment=entry.consignment, sequence=sequence, code=link.code, flag=link.flag, repeated=repeated
    )
