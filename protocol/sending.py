"""What we owe: submitting, offering, putting off and expiring. Spec: `spec/delivery.md`.

Pure step functions of the sender's side (DESIGN §4, steps 1–4 and the ways it can end without a
receipt). What a receipt or refusal does to an outbox entry is `settling.py`; the recipient's
side is `receiving.py`; when an offer is made and to whom, `node/sender.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from protocol import limits
from protocol.consignment import CONSIGNMENT, Consignment
from protocol.delivery import SenderEvent, SenderState, next_state
from protocol.draft import Draft
from protocol.entitlement import Purpose
from protocol.envelope import ENVELOPE, Envelope, Header, PartRef, PartSecret, check_envelope, encode_header
from protocol.errors import Findings, RequestError
from protocol.exchange import NotNow
from protocol.record import PutBody
from protocol.records import (
    OUT,
    Document,
    Due,
    Numbered,
    Outgoing,
    Owed,
    Queued,
    Remembered,
    SealedHeader,
    Sent,
    StoredPart,
    Upload,
)
from protocol.sealing import body_digest, header_keys, seal_header, vault_wrap
from protocol.signing import thing_digest
from protocol.speaking import sign_again
from protocol.step import (
    Here,
    Offering,
    OfferPutOff,
    Party,
    SealedPart,
    SendOffer,
    Settled,
    StateChanged,
    Step,
    Submitted,
    View,
)
from protocol.step import Queued as QueuedEvent
from protocol.textid import to_text
from protocol.waiting import RETRY_MAX_MS, RETRY_MIN_MS, wait_of

LIVE_STATES = frozenset(
    {
        SenderState.QUEUED,
        SenderState.OFFERED,
        SenderState.ARRIVED,
        SenderState.COLLECTED,
        SenderState.ANSWERED,
        SenderState.EXPIRED_UNCONFIRMED,
    }
)
"""A sending in one of these counts for the duplicate rule (unless it was returned with 02)."""


@dataclass(frozen=True, slots=True)
class DocumentAccepted:
    """The reply to `Submitted`. `repeated` when the key was used for the same request before."""

    envelope_id: bytes
    repeated: bool


def document_subject(envelope_id: bytes) -> bytes:
    """How a document is named in deadlines: its id, filled up to 32 bytes."""
    return envelope_id.ljust(32, b"\0")


def content_key_context(envelope_id: bytes) -> bytes:
    """What the vault binds a document's content key to on the sender's side."""
    return b"document" + envelope_id


# --- submit ---------------------------------------------------------------------------------


def submit(view: View, here: Here, submitted: Submitted) -> Step:
    """Own a document: one batch with envelope, consignments, queue entries and the idempotency key.

    Raises:
        RequestError: `key_reused`, `issuer_not_yours`, `document_repeated`, `number_taken`,
            `upload_unknown`, `upload_repeated`.
        Findings: `issuer_*` and `recipient_*` codes, all at once.
    """
    known = remembered(view, submitted.caller.system, submitted.key, submitted.request, submitted.parts_digest)
    if known is not None:
        return Step(reply=known)
    parties = _check_parties(view, here, submitted)
    _check_uploads(view, submitted)
    _check_not_sent_before(view, submitted)
    return _own(Draft(view, here), submitted, parties)


def remembered(view: View, system: bytes, key: str, request: bytes, parts: bytes) -> DocumentAccepted | None:
    """What this key was answered before. `parts` is the digest of the parts' plain digests; empty
    when the uploads that the request names are gone, as they are after the first success.

    Raises:
        RequestError: `key_reused` (another request came under this key).
    """
    known = view.records.get(Remembered, system, "documents", key)
    if known is None:
        return None
    if known.request != request or (parts and known.answer[16:] != parts):
        raise RequestError("key_reused", field="Idempotency-Key")
    return DocumentAccepted(known.answer[:16], True)


def _check_parties(view: View, here: Here, submitted: Submitted) -> dict[str, Party]:
    if submitted.issuer not in submitted.caller.agencies:
        raise RequestError("issuer_not_yours", field="issuer", agency=submitted.issuer)
    findings = [*_issuer_findings(view, here, submitted.issuer)]
    parties: dict[str, Party] = {}
    for index, code in enumerate(submitted.recipients):
        field = f"recipients[{index}]"
        party = view.directory.party(code, at_ms=here.now_ms)
        if code == submitted.issuer:
            findings.append(RequestError("recipient_is_issuer", field=field, agency=code))
        elif code in parties:
            findings.append(RequestError("recipient_repeated", field=field, agency=code))
        elif party is None:
            findings.append(RequestError("recipient_unknown", field=field, agency=code))
        elif party.state == "closed":
            successors = ", ".join(party.successors) or "–"
            findings.append(RequestError("recipient_closed", field=field, agency=code, successors=successors))
        elif party.state == "locked":
            findings.append(RequestError("recipient_locked", field=field, agency=code))
        elif reason := here.pki_missing(code):
            findings.append(RequestError("recipient_pki", field=field, agency=code, reason=reason))
        else:
            parties[code] = party
    if findings:
        raise Findings(findings)
    return parties


def _issuer_findings(view: View, here: Here, issuer: str) -> list[RequestError]:
    party = view.directory.party(issuer, at_ms=here.now_ms)
    if party is None or party.centre != here.centre:
        return [RequestError("issuer_not_hosted", field="issuer", agency=issuer)]
    if party.state != "active":
        return [RequestError("issuer_not_active", field="issuer", agency=issuer, state=party.state)]
    if not holds_key(here, party):
        return [RequestError("signing_key_missing", field="issuer", agency=issuer)]
    return []


def holds_key(here: Here, party: Party) -> bool:
    """This node signs for the agency with a key that the directory lists, so that others believe it."""
    return here.signing_keys.get(party.code if party.own_keys else "") in party.signers


def is_due(retry_ms: int, now_ms: int) -> bool:
    """A *not now* may be asked again. One that lies further ahead than any may was noted by a
    wall clock that has been set back since."""
    return retry_ms <= now_ms or retry_ms > now_ms + RETRY_MAX_MS


def _check_uploads(view: View, submitted: Submitted) -> None:
    """One document per upload: another one may have taken it since the border looked."""
    seen: set[str] = set()
    for index, part in enumerate(submitted.parts):
        if not part.upload_id:
            continue
        field = f"parts[{index}].upload_id"
        if part.upload_id in seen:
            raise RequestError("upload_repeated", field=field)
        seen.add(part.upload_id)
        upload = view.records.get(Upload, submitted.caller.system, part.upload_id)
        if upload is None or upload.body != part.body:
            raise RequestError("upload_unknown", field=field, upload=part.upload_id)


def _check_not_sent_before(view: View, submitted: Submitted) -> None:
    """The duplicate rule of Decree 30 (DESIGN §4): same number, same content, same recipient."""
    if not submitted.number_index:
        return
    for numbered in view.records.scan(Numbered, submitted.number_index):
        document = view.records.get(Document, numbered.envelope_id)
        if document is None:
            continue
        live = {entry.recipient for entry in _live_sendings(view, document)}
        if not live:
            continue
        first = to_text("doc", document.envelope_id)
        if numbered.content != submitted.content:
            if not submitted.reuse_reason:
                raise RequestError("number_taken", field="metadata.number", first=first)
        elif again := sorted(live.intersection(submitted.recipients)):
            raise RequestError("document_repeated", field="recipients", first=first, agencies=", ".join(again))


def _live_sendings(view: View, document: Document) -> list[Outgoing]:
    entries = (view.records.get(Outgoing, consignment) for consignment in consignments_of(document))
    return [entry for entry in entries if entry is not None and entry.state in LIVE_STATES and 2 not in entry.codes]


def consignments_of(document: Document) -> list[bytes]:
    """The consignment ids of a document, in the order of its recipients."""
    return [
        Consignment(envelope=document.envelope, issuer=document.issuer, recipient=code, created_ms=0).id
        for code in document.recipients
    ]


def _own(draft: Draft, submitted: Submitted, parties: dict[str, Party]) -> Step:
    here = draft.here
    envelope_id, content_key = here.entropy(16), here.entropy(32)
    envelope, sealed_header = _seal(submitted, envelope_id, content_key, here.now_ms)
    statement = ENVELOPE.encode(envelope)
    digest = thing_digest(ENVELOPE.name, statement)
    own = draft.view.directory.party(submitted.issuer, at_ms=here.now_ms)
    signer = submitted.issuer if own is not None and own.own_keys else ""
    draft.sign(ENVELOPE.name, statement, signer)
    draft.put(SealedHeader(envelope=digest, sealed=sealed_header))
    draft.use_body(digest, OUT, submitted.issuer, digest)
    _keep_parts(draft, submitted, digest)
    document = Document(
        envelope_id=envelope_id,
        envelope=digest,
        issuer=submitted.issuer,
        system=submitted.caller.system,
        created_ms=here.now_ms,
        expires_ms=submitted.expires_ms,
        lane=int(submitted.lane),
        recipients=submitted.recipients,
        parts=tuple(StoredPart(digest=part.digest, size=part.size) for part in envelope.parts),
        unsettled=len(parties),
        wrapped_key=vault_wrap(here.vault_key, content_key_context(envelope_id), content_key, here.entropy(16)),
        sequence=draft.count("documents"),
    )
    draft.put(document)
    draft.put(Sent(agency=document.issuer, sequence=document.sequence, envelope_id=envelope_id))
    for code in submitted.recipients:
        _owe(draft, document, parties[code], signer, offered=code in submitted.offer_now)
    if submitted.number_index:
        draft.put(Numbered(index=submitted.number_index, envelope_id=envelope_id, content=submitted.content))
    draft.put(
        Remembered(
            system=submitted.caller.system,
            operation="documents",
            key=submitted.key,
            request=submitted.request,
            answer=envelope_id + submitted.parts_digest,
        )
    )
    why = f" number reused: {submitted.reuse_reason}" if submitted.reuse_reason else ""
    draft.audit(submitted.caller, "documents", submitted.issuer, to_text("doc", envelope_id) + why)
    return draft.step(reply=DocumentAccepted(envelope_id, False))


def _seal(submitted: Submitted, envelope_id: bytes, content_key: bytes, now_ms: int) -> tuple[Envelope, bytes]:
    header = Header(
        metadata=submitted.metadata,
        idempotency_key=submitted.key,
        system=submitted.caller.system,
        parts=tuple(
            PartSecret(
                key=part.key,
                name=part.name,
                media_type=part.media_type,
                plain_size=part.plain_size,
                plain_digest=part.plain_digest,
            )
            for part in submitted.parts
        ),
    )
    keys = header_keys(content_key, envelope_id)
    sealed = seal_header(keys.header_key, encode_header(header))
    envelope = Envelope(
        envelope_id=envelope_id,
        issuer=submitted.issuer,
        created_ms=now_ms,
        expires_ms=submitted.expires_ms,
        lane=int(submitted.lane),
        commitment=keys.commitment,
        header_digest=body_digest(sealed),
        header_size=len(sealed),
        parts=tuple(PartRef(part.body, part.size) for part in submitted.parts),
    )
    check_envelope(envelope)
    return envelope, sealed


def _keep_parts(draft: Draft, submitted: Submitted, envelope: bytes) -> None:
    for part in submitted.parts:
        if part.blob is not None:
            draft.put_body(PutBody(part.body, part.blob))
        draft.use_body(part.body, OUT, submitted.issuer, envelope)
        if part.upload_id:
            draft.delete(Upload, submitted.caller.system, part.upload_id)


def _owe(draft: Draft, document: Document, party: Party, signer: str, *, offered: bool) -> None:
    consignment = Consignment(
        envelope=document.envelope, issuer=document.issuer, recipient=party.code, created_ms=document.created_ms
    )
    statement = CONSIGNMENT.encode(consignment)
    draft.sign(CONSIGNMENT.name, statement, signer)
    digest = thing_digest(CONSIGNMENT.name, statement)
    entry = Outgoing(
        consignment=consignment.id,
        statement=digest,
        envelope=document.envelope,
        envelope_id=document.envelope_id,
        issuer=document.issuer,
        recipient=party.code,
        lane=document.lane,
        sequence=draft.count(f"queue {party.code}"),
        created_ms=document.created_ms,
        expires_ms=document.expires_ms,
        state=SenderState.QUEUED,
        centre=party.centre,
        number=draft.journal(party.centre, digest, consignment.id),
        head=digest,
    )
    if offered:
        entry = _marked_offered(draft, entry, party)
    draft.put(entry)
    draft.put(
        Owed(
            recipient=entry.recipient,
            urgency=urgency(entry.lane),
            sequence=entry.sequence,
            consignment=entry.consignment,
            since_ms=entry.created_ms,
            bytes=offer_bytes(document.parts),
        )
    )
    _count_queued(draft, entry, 1)
    draft.due(entry.expires_ms, Due.EXPIRE, entry.consignment)
    draft.events.append(QueuedEvent(entry.recipient, entry.lane, entry.consignment, offered))
    if not offered:
        draft.events.append(changed(entry, SenderState.QUEUED))


def urgency(lane: int) -> int:
    """Sort order of a lane in the queue: 0 goes first."""
    return 3 - lane


def offer_bytes(parts: Iterable[StoredPart | SealedPart]) -> int:
    """About how many bytes an offer of a document with these parts writes to the stream."""
    inline = sum(part.size for part in parts)
    return (inline if inline <= limits.INLINE_BYTES_MAX else 0) + 2048


def changed(entry: Outgoing, state: SenderState, code: str = "") -> StateChanged:
    """The log line of an outgoing consignment."""
    return StateChanged(
        box=OUT,
        consignment=entry.consignment,
        envelope_id=entry.envelope_id,
        agency=entry.issuer,
        peer_agency=entry.recipient,
        before=SenderState(entry.state).name.lower(),
        state=state.name.lower(),
        code=code,
    )


def _count_queued(draft: Draft, entry: Outgoing, change: int) -> None:
    queued = draft.get(Queued, entry.recipient, entry.lane) or Queued(
        recipient=entry.recipient, lane=entry.lane, count=0
    )
    assert queued.count + change >= 0, "more settled than queued"
    draft.put(replace(queued, count=queued.count + change))


# --- offer ----------------------------------------------------------------------------------


def offer(view: View, here: Here, offering: Offering) -> Step:
    """Mark consignments as offered before their offers leave; close those whose recipient is closed.

    With an empty centre nothing is offered, and closing is all that happens.
    """
    draft = Draft(view, here)
    for consignment in offering.consignments:
        entry = draft.get(Outgoing, consignment)
        if entry is None or entry.settled_ms or entry.state not in (SenderState.QUEUED, SenderState.OFFERED):
            draft.events.append(Settled(offering.centre, consignment))
            continue
        party = view.directory.party(entry.recipient, at_ms=here.now_ms)
        if party is not None and party.state == "closed" and entry.state == SenderState.QUEUED:
            end(draft, entry, SenderEvent.CLOSE, "recipient_closed", detail=", ".join(party.successors))
            draft.events.append(Settled(offering.centre, consignment))
        elif party is None or party.centre != offering.centre:
            draft.events.append(Settled(offering.centre, consignment))
        else:
            draft.put(_marked_offered(draft, entry, party))
    return draft.step()


def _marked_offered(draft: Draft, entry: Outgoing, party: Party) -> Outgoing:
    """The entry as it must be durable before the offer may leave."""
    number = entry.number
    if party.centre != entry.centre:  # the recipient has moved: due at another centre now
        number = draft.journal(party.centre, entry.statement, entry.consignment)
    draft.not_due(entry.retry_ms, Due.RETRY, entry.consignment)
    draft.sends.append(SendOffer(party.centre, entry.consignment, urgency(entry.lane)))
    if entry.state == SenderState.QUEUED:
        draft.events.append(changed(entry, SenderState.OFFERED))
    return replace(
        entry,
        state=next_state(SenderState(entry.state), SenderEvent.OFFER),
        unsure=entry.unsure or entry.state == SenderState.OFFERED,
        centre=party.centre,
        number=number,
        epoch=party.epoch,
        offered_ms=draft.here.now_ms,
        waiting="",
        retry_ms=0,
    )


def put_off(view: View, here: Here, answer: OfferPutOff) -> Step:
    """The peer says *not now* to an offer: keep owing, ask again when it says."""
    draft = Draft(view, here)
    entry = draft.get(Outgoing, answer.answer.subject)
    if (
        entry is None
        or entry.settled_ms
        or entry.centre != answer.centre
        or (entry.waiting and not is_due(entry.retry_ms, here.now_ms))  # said twice about one offer
    ):
        draft.events.append(Settled(answer.centre, answer.answer.subject))  # its place in that window is free
        return draft.step()
    retry_ms = here.now_ms + _wait(draft, entry, answer.answer)
    draft.not_due(entry.retry_ms, Due.RETRY, entry.consignment)
    draft.due(retry_ms, Due.RETRY, entry.consignment)
    state = SenderState(entry.state)
    if state == SenderState.OFFERED:
        state = next_state(state, SenderEvent.DEFER_UNSURE if entry.unsure else SenderEvent.DEFER)
    put_offs = entry.put_offs + 1
    draft.put(replace(entry, state=state, waiting=answer.answer.code, retry_ms=retry_ms, put_offs=put_offs))
    draft.events.append(Settled(answer.centre, entry.consignment, retry_ms))
    draft.events.append(changed(entry, state, answer.answer.code))
    return draft.step()


def _wait(draft: Draft, entry: Outgoing, answer: NotNow) -> int:
    """How long to wait before asking again, in milliseconds; not long when something was mended here."""
    said = (entry.envelope, entry.statement)
    if answer.code == "sign_again" and sign_again(draft, entry.issuer, Purpose.AGENCY, said):
        return RETRY_MIN_MS
    return wait_of(answer, entry.put_offs)


# --- ends without a receipt -----------------------------------------------------------------


def expire(draft: Draft, consignment: bytes) -> None:
    """The document's expiry has come: the outcome says whether the recipient may have it."""
    entry = draft.get(Outgoing, consignment)
    if entry is None or entry.settled_ms:
        return
    code = "expired_unsent" if entry.state == SenderState.QUEUED else "expired_unconfirmed"
    end(draft, entry, SenderEvent.EXPIRE, code)


def end(draft: Draft, entry: Outgoing, event: SenderEvent, what: str, *, detail: str = "") -> None:
    """Settle a consignment without a receipt and tell the issuer's software."""
    state = next_state(SenderState(entry.state), event)
    draft.put(settled(draft, replace(entry, state=state)))
    draft.happen(entry.issuer, what, consignment=entry.consignment, envelope_id=entry.envelope_id, detail=detail)
    draft.events.append(changed(entry, state))


def settled(draft: Draft, entry: Outgoing) -> Outgoing:
    """Take an entry out of the queue, once; the last one of a document starts its retention."""
    if entry.settled_ms:
        return entry
    draft.delete(Owed, entry.recipient, urgency(entry.lane), entry.sequence)
    draft.not_due(entry.expires_ms, Due.EXPIRE, entry.consignment)
    draft.not_due(entry.retry_ms, Due.RETRY, entry.consignment)
    _count_queued(draft, entry, -1)
    document = draft.get(Document, entry.envelope_id)
    assert document is not None and document.unsettled > 0
    draft.put(replace(document, unsettled=document.unsettled - 1))
    if document.unsettled == 1:
        due_ms = draft.here.now_ms + draft.here.settings.retention_ms
        draft.due(due_ms, Due.RETIRE_OUT, document_subject(entry.envelope_id))
    draft.events.append(Settled(entry.centre, entry.consignment))
    return replace(entry, settled_ms=max(draft.here.now_ms, 1), retry_ms=0, waiting="")
