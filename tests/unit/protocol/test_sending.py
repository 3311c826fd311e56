"""What we owe: submitting, offering, putting off, expiring. Exact records, sends and events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.consignment import CONSIGNMENT
from protocol.delivery import SenderEvent, SenderState
from protocol.directory import RecordState
from protocol.draft import Draft
from protocol.envelope import ENVELOPE, HEADER, Lane
from protocol.errors import Findings, RequestError
from protocol.exchange import NotNow
from protocol.limits import DAY_MS, HOUR_MS, INLINE_BYTES_MAX, MINUTE_MS, SECOND_MS
from protocol.record import Body, PutBody
from protocol.records import (
    OUT,
    Audit,
    BodyUse,
    Counter,
    Deadline,
    Document,
    Due,
    Happening,
    Journal,
    Numbered,
    Outgoing,
    Owed,
    Pair,
    Remembered,
    SealedHeader,
    Sent,
    StoredPart,
    Upload,
)
from protocol.records import Queued as QueuedCount
from protocol.sealing import committed_header_key, open_all, open_header, vault_open
from protocol.sending import (
    DocumentAccepted,
    content_key_context,
    document_subject,
    end,
    expire,
    holds_key,
    is_due,
    offer_bytes,
    urgency,
)
from protocol.signing import Ed25519Signer, Signed, Verifier
from protocol.step import DeadlineReached, Offering, OfferPutOff, Queued, SendOffer, Settled, StateChanged, Step
from protocol.textid import to_text
from tests.support.delivery import SYSTEM, A, B, C, Side, World, caller, metadata, sealed_part, submitted
from tests.support.errors import expects
from tests.support.tree import TREE_READY_MS, entry_of, key_seed

NUMBER = bytes(range(32))
EXPIRES = TREE_READY_MS + 30 * DAY_MS


@pytest.fixture
def world() -> World:
    return World()


def close(world: World, code: str, *successors: str) -> None:
    world.publish(world.tree.next_agency(code, state=RecordState.CLOSED, successors=successors))


def lock(world: World, code: str) -> None:
    world.publish(world.tree.next_agency(code, state=RecordState.LOCKED))


def give_own_key(world: World, code: str) -> Ed25519Signer:
    signer = Ed25519Signer(key_seed(1, f"{code} own"))
    host = world.tree.agencies[code].host
    world.publish(world.tree.next_agency(code, keys=(entry_of(signer),)), world.tree.centres[host].signer)
    return signer


def try_submit(side: Side, *args: Any, **changes: Any) -> Step:
    return side.step(submitted(*args, **{"expires_ms": EXPIRES, **changes}))


# --- submit: what it writes ---------------------------------------------------------------------


def test_a_submitted_document_is_owed_with_everything_it_needs(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12"], [b"one", b"two"], lane=Lane.KHAN)
    document = world.a.get(Document, sent.envelope_id)
    envelope = world.a.thing(document.envelope)
    statement = ENVELOPE.decode(envelope.statement)
    assert (statement.issuer, statement.created_ms, statement.expires_ms) == ("G22", TREE_READY_MS, EXPIRES)
    assert (statement.lane, statement.envelope_id) == (Lane.KHAN, sent.envelope_id)
    Verifier().verify(envelope, world.a.keys.signer.public)
    assert document == Document(
        envelope_id=sent.envelope_id,
        envelope=envelope.digest,
        issuer="G22",
        system=SYSTEM,
        created_ms=TREE_READY_MS,
        expires_ms=EXPIRES,
        lane=1,
        recipients=("H38", "G12"),
        parts=tuple(StoredPart(digest=part.digest, size=part.size) for part in statement.parts),
        unsettled=2,
        wrapped_key=document.wrapped_key,
        sequence=1,
    )
    assert world.a.all(Sent) == [Sent(agency="G22", sequence=1, envelope_id=sent.envelope_id)]


def test_each_recipient_has_a_signed_consignment_an_outbox_entry_and_a_place_in_the_queue(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12"], lane=Lane.HOA_TOC)
    for consignment, code, centre in zip(sent.consignments, ("H38", "G12"), (C, B), strict=True):
        entry = world.a.out(consignment)
        thing = world.a.thing(entry.statement)
        Verifier().verify(thing, world.a.keys.signer.public)
        statement = CONSIGNMENT.decode(thing.statement)
        assert (statement.id, statement.recipient, statement.created_ms) == (consignment, code, TREE_READY_MS)
        assert entry == Outgoing(
            consignment=consignment,
            statement=thing.digest,
            envelope=world.a.get(Document, sent.envelope_id).envelope,
            envelope_id=sent.envelope_id,
            issuer="G22",
            recipient=code,
            lane=3,
            sequence=1,
            created_ms=TREE_READY_MS,
            expires_ms=EXPIRES,
            state=SenderState.QUEUED,
            centre=centre,
            number=1,
            head=thing.digest,
        )
        owed = world.a.get(Owed, code, 0, 1)
        assert (owed.consignment, owed.since_ms, owed.bytes) == (consignment, TREE_READY_MS, 2048 + 7 + 16)
        assert world.a.get(QueuedCount, code, 3).count == 1
        assert world.a.find(Deadline, EXPIRES, Due.EXPIRE, consignment) is not None
        assert world.a.all(Journal, centre) == [
            Journal(centre=centre, number=1, thing=thing.digest, consignment=consignment)
        ]
        assert world.a.get(Pair, centre) == Pair(centre=centre, given=1)


def test_sequences_and_journal_numbers_go_up_and_never_repeat(world: World) -> None:
    first = world.submit("G22", ["H38"], key="1")
    second = world.submit("G22", ["H38"], [b"other"], key="2")
    assert [world.a.out(sent.only).sequence for sent in (first, second)] == [1, 2]
    assert [world.a.out(sent.only).number for sent in (first, second)] == [1, 2]
    assert world.a.get(QueuedCount, "H38", 0).count == 2
    assert world.a.get(Counter, "documents").value == 2


def test_two_recipients_at_one_host_get_two_journal_numbers_in_one_step(world: World) -> None:
    sent = world.submit("H38", ["G22", "G22.99"])
    assert [world.c.out(consignment).number for consignment in sent.consignments] == [1, 2]
    assert world.c.get(Pair, A).given == 2


def test_the_header_opens_with_the_wrapped_key_and_names_what_a_restored_sender_needs(world: World) -> None:
    sent = world.submit("G22", ["H38"], [b"one"], metadata=metadata(subject="V/v kiểm tra"), key="khoa-1")
    document = world.a.get(Document, sent.envelope_id)
    key = vault_open(world.a.here().vault_key, content_key_context(sent.envelope_id), document.wrapped_key)
    envelope = ENVELOPE.decode(world.a.thing(document.envelope).statement)
    header_key = committed_header_key(key, sent.envelope_id, envelope.commitment)
    header = HEADER.decode(open_header(header_key, world.a.get(SealedHeader, document.envelope).sealed))
    assert (header.idempotency_key, header.system, header.metadata.subject) == ("khoa-1", SYSTEM, "V/v kiểm tra")
    source = world.a.store.find_body(document.parts[0].digest)
    assert source is not None
    assert open_all(header.parts[0].key, world.a.store.read_body(source, 0, document.parts[0].size)) == b"one"


def test_header_and_bodies_are_counted_for_the_issuer(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12"], [b"one", b"two"])
    document = world.a.get(Document, sent.envelope_id)
    held = {document.envelope, *(part.digest for part in document.parts)}
    assert {(use.body, use.box, use.agency, use.holder) for use in world.a.all(BodyUse)} == {
        (digest, OUT, "G22", document.envelope) for digest in held
    }
    assert {body.digest for body in world.a.all(Body)} == held - {document.envelope}


def test_a_submit_is_audited_and_told_as_queued(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    assert world.a.all(Audit) == [
        Audit(
            sequence=1,
            time_ms=TREE_READY_MS,
            system=SYSTEM,
            actor="kiểm thử",
            operation="documents",
            agency="G22",
            subject=to_text("doc", sent.envelope_id),
        )
    ]
    assert sent.step.reply == DocumentAccepted(sent.envelope_id, False)
    assert sent.step.sends == ()
    assert sent.step.events == (
        Queued("H38", 0, sent.only, False),
        StateChanged(
            box=OUT,
            consignment=sent.only,
            envelope_id=sent.envelope_id,
            agency="G22",
            peer_agency="H38",
            before="queued",
            state="queued",
        ),
    )


def test_an_offer_that_leaves_with_its_own_batch_is_marked_before_it_leaves(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12"], offer_now=frozenset({"H38"}))
    offered, queued = sent.consignments
    assert sent.step.sends == (SendOffer(C, offered),)
    assert world.a.out(offered) == replace(
        world.a.out(offered), state=SenderState.OFFERED, epoch=1, offered_ms=TREE_READY_MS, unsure=False
    )
    assert world.a.out(queued).state == SenderState.QUEUED
    assert [event for event in sent.step.events if isinstance(event, Queued)] == [
        Queued("H38", 0, offered, True),
        Queued("G12", 0, queued, False),
    ]
    states = [(event.before, event.state) for event in sent.step.events if isinstance(event, StateChanged)]
    assert states == [("queued", "offered"), ("queued", "queued")]
    assert world.a.find(Owed, "H38", 3, 1) is not None


def test_an_agency_with_a_key_of_its_own_signs_envelope_and_consignments(world: World) -> None:
    signer = give_own_key(world, "G22")
    world.a.signers["G22"] = signer
    sent = world.submit("G22", ["H38"])
    entry = world.a.out(sent.only)
    for digest in (entry.envelope, entry.statement):
        Verifier().verify(world.a.thing(digest), signer.public)


def test_without_the_key_that_the_directory_lists_nothing_is_owned(world: World) -> None:
    signer = give_own_key(world, "G22")
    with expects("signing_key_missing", RequestError, field="issuer") as caught:
        try_submit(world.a, "G22", ["H38"])
    assert caught[0].detail == {"agency": "G22"}
    world.a.signers["G22"] = Ed25519Signer(key_seed(1, "another"))
    with expects("signing_key_missing", RequestError, field="issuer"):
        try_submit(world.a, "G22", ["H38"])
    world.a.signers["G22"] = signer
    assert try_submit(world.a, "G22", ["H38"]).changes


def test_a_centre_whose_key_is_not_in_its_record_signs_for_nobody(world: World) -> None:
    world.a.signers[""] = Ed25519Signer(key_seed(1, "not registered"))
    with expects("signing_key_missing", RequestError, field="issuer"):
        try_submit(world.a, "G22", ["H38"])
    party = world.a.view.directory.party("G22", at_ms=world.now_ms)
    assert party is not None
    assert not holds_key(world.a.here(), party)


# --- submit: what it refuses --------------------------------------------------------------------


def test_a_system_sends_only_for_its_own_agencies(world: World) -> None:
    with expects("issuer_not_yours", RequestError, field="issuer") as caught:
        try_submit(world.a, "G22", ["H38"], caller=caller("G22.99"))
    assert caught[0].detail == {"agency": "G22"}


@pytest.mark.parametrize("issuer", ["H38", "H99"])
def test_an_issuer_hosted_elsewhere_or_nowhere_is_refused(world: World, issuer: str) -> None:
    with expects("issuer_not_hosted", Findings, field="issuer") as caught:
        try_submit(world.a, issuer, ["G12"])
    assert caught[0].detail == {"agency": issuer}


def test_a_locked_issuer_sends_nothing_new(world: World) -> None:
    lock(world, "G22")
    with expects("issuer_not_active", Findings, field="issuer") as caught:
        try_submit(world.a, "G22", ["H38"])
    assert caught[0].detail == {"agency": "G22", "state": "locked"}


def test_all_bad_recipients_are_told_at_once(world: World) -> None:
    world.tree.add_agency("H40", C)
    world.tree.add_agency("H41", C)
    world.tree.add_agency("H42", C)
    close(world, "H40", "H38", "G12")
    close(world, "H41")
    lock(world, "H42")
    recipients = ["G12", "H99", "H40", "H41", "H42", "G22", "G12"]
    with expects("recipient_unknown", Findings) as caught:
        try_submit(world.a, "G22", recipients)
    error = caught[0]
    assert isinstance(error, Findings)
    assert [(found.code, found.field, found.detail) for found in error.findings] == [
        ("recipient_unknown", "recipients[1]", {"agency": "H99"}),
        ("recipient_closed", "recipients[2]", {"agency": "H40", "successors": "H38, G12"}),
        ("recipient_closed", "recipients[3]", {"agency": "H41", "successors": "–"}),
        ("recipient_locked", "recipients[4]", {"agency": "H42"}),
        ("recipient_is_issuer", "recipients[5]", {"agency": "G22"}),
        ("recipient_repeated", "recipients[6]", {"agency": "G12"}),
    ]
    for code in ("recipient_closed", "recipient_locked", "recipient_is_issuer", "recipient_repeated"):
        with expects(code):
            raise next(found for found in error.findings if found.code == code)


def test_a_refused_submit_may_come_again_corrected_under_its_key(world: World) -> None:
    with expects("recipient_unknown", Findings):
        try_submit(world.a, "G22", ["H99"], key="k")
    assert world.submit("G22", ["H38"], key="k").only


# --- idempotency ----------------------------------------------------------------------------------


def test_the_same_request_under_the_same_key_is_answered_the_same_and_writes_nothing(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    again = try_submit(world.a, "G22", ["H38"])
    assert again == Step(reply=DocumentAccepted(sent.envelope_id, True))


def test_a_repeat_whose_uploads_are_gone_is_told_by_its_request(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    again = try_submit(world.a, "G22", ["H38"], parts=(), parts_digest=b"")
    assert again == Step(reply=DocumentAccepted(sent.envelope_id, True))


@pytest.mark.parametrize("change", [{"request": bytes(32)}, {"parts_digest": bytes(32)}])
def test_another_request_under_a_used_key_is_refused(world: World, change: dict[str, bytes]) -> None:
    world.submit("G22", ["H38"])
    with expects("key_reused", RequestError, field="Idempotency-Key"):
        try_submit(world.a, "G22", ["H38"], **change)


def test_keys_of_two_systems_do_not_meet(world: World) -> None:
    first = world.submit("G22", ["H38"])
    second = world.submit("G22", ["H38"], caller=caller("G22", system=bytes(16)))
    assert first.envelope_id != second.envelope_id
    assert [record.answer[:16] for record in world.a.all(Remembered)] == [second.envelope_id, first.envelope_id]


# --- the same document again ------------------------------------------------------------------------


def numbered(world: World, recipients: list[str], key: str, **changes: Any) -> Any:
    return world.submit("G22", recipients, key=key, **{"number_index": NUMBER, "content": bytes(32), **changes})


def test_the_same_document_to_the_same_recipient_is_told_with_its_first_id(world: World) -> None:
    first = numbered(world, ["H38", "G12"], "1")
    assert world.a.all(Numbered) == [Numbered(index=NUMBER, envelope_id=first.envelope_id, content=bytes(32))]
    with expects("document_repeated", RequestError, field="recipients") as caught:
        numbered(world, ["G22.99", "H38", "G12"], "2")
    assert caught[0].detail == {"first": to_text("doc", first.envelope_id), "agencies": "G12, H38"}


def test_the_same_document_to_new_recipients_is_accepted(world: World) -> None:
    numbered(world, ["H38"], "1")
    assert numbered(world, ["G12"], "2").only


def test_another_document_under_a_taken_number_needs_a_reason(world: World) -> None:
    first = numbered(world, ["H38"], "1")
    with expects("number_taken", RequestError, field="metadata.number") as caught:
        numbered(world, ["G12"], "2", content=NUMBER)
    assert caught[0].detail == {"first": to_text("doc", first.envelope_id)}
    again = numbered(world, ["H38"], "2", content=NUMBER, reuse_reason="đánh số lại")
    told = world.a.all(Audit)[-1].subject
    assert told == f"{to_text('doc', again.envelope_id)} number reused: đánh số lại"


def test_sendings_that_came_to_nothing_do_not_count(world: World) -> None:
    first = numbered(world, ["H38"], "1")
    for state in (SenderState.REFUSED, SenderState.EXPIRED_UNSENT, SenderState.CANCELLED, SenderState.RECIPIENT_CLOSED):
        world.a.store.write([_put(replace(world.a.out(first.only), state=state))])
        assert try_submit(world.a, "G22", ["H38"], key="2", number_index=NUMBER, content=bytes(32)).changes, state
    world.a.store.write([_put(replace(world.a.out(first.only), state=SenderState.ANSWERED, codes=(1, 2)))])
    assert try_submit(world.a, "G22", ["H38"], key="2", number_index=NUMBER, content=bytes(32)).changes


@pytest.mark.parametrize(
    "state",
    [
        SenderState.OFFERED,
        SenderState.ARRIVED,
        SenderState.COLLECTED,
        SenderState.ANSWERED,
        SenderState.EXPIRED_UNCONFIRMED,
    ],
)
def test_sendings_that_may_have_arrived_count(world: World, state: SenderState) -> None:
    first = numbered(world, ["H38"], "1")
    world.a.store.write([_put(replace(world.a.out(first.only), state=state, codes=(1, 3)))])
    with expects("document_repeated", RequestError):
        try_submit(world.a, "G22", ["H38"], key="2", number_index=NUMBER, content=bytes(32))


def test_a_number_whose_document_is_not_here_does_not_count(world: World) -> None:
    world.a.store.write([_put(Numbered(index=NUMBER, envelope_id=bytes(16), content=bytes(32)))])
    assert numbered(world, ["H38"], "1").only
    with expects("document_repeated", RequestError):  # nor does it hide the one that is here
        numbered(world, ["H38"], "2")


@pytest.mark.parametrize("ended", [0, 1])
def test_a_sending_that_came_to_nothing_does_not_hide_another(world: World, ended: int) -> None:
    sent = [numbered(world, [code], code) for code in ("H38", "G12")]
    world.a.store.write([_put(replace(world.a.out(sent[ended].only), state=SenderState.CANCELLED))])
    with expects("document_repeated", RequestError):
        numbered(world, ["H38", "G12"], "again")


def test_another_number_is_another_document(world: World) -> None:
    numbered(world, ["H38"], "1")
    assert numbered(world, ["H38"], "2", number_index=bytes(32)).only


def _put(record: Any) -> Any:
    from protocol.record import Put

    return Put(record)


# --- uploads ----------------------------------------------------------------------------------------


def uploaded(world: World, upload_id: str, content: bytes = b"content") -> Any:
    """A finished upload, as node/uploads.py leaves it."""
    part = sealed_part(content)
    assert part.blob is not None
    upload = Upload(
        system=SYSTEM,
        upload_id=upload_id,
        total=part.plain_size,
        taken=part.plain_size,
        started_ms=world.now_ms,
        wrapped_key=b"w",
        token=bytes(16),
        body=part.body,
        plain_digest=part.plain_digest,
    )
    world.a.store.write([_put(upload), PutBody(part.body, part.blob)])
    return replace(part, upload_id=upload_id, blob=None)


def test_a_document_takes_its_uploads_with_it(world: World) -> None:
    part = uploaded(world, "u1")
    sent = world.submit("G22", ["H38"], parts=(part,))
    assert world.a.find(Upload, SYSTEM, "u1") is None
    assert world.a.get(Document, sent.envelope_id).parts == (StoredPart(digest=part.body, size=part.size),)
    assert world.a.find(Body, part.body) is not None
    with expects("upload_unknown", RequestError, field="parts[0].upload_id") as caught:
        try_submit(world.a, "G22", ["H38"], key="2", request=bytes(32), parts=(part,))
    assert caught[0].detail == {"upload": "u1"}


def test_an_upload_that_began_anew_is_not_the_one_the_border_saw(world: World) -> None:
    part = uploaded(world, "u1")
    uploaded(world, "u1", b"something else")
    with expects("upload_unknown", RequestError, field="parts[0].upload_id"):
        try_submit(world.a, "G22", ["H38"], parts=(part,))


def test_an_upload_behind_a_small_part_is_looked_at_too(world: World) -> None:
    part = uploaded(world, "u1")
    small = sealed_part(b"small", 1)
    with expects("upload_unknown", RequestError, field="parts[1].upload_id"):
        try_submit(world.a, "G22", ["H38"], parts=(small, replace(part, upload_id="u2")))


def test_one_upload_is_one_part(world: World) -> None:
    part = uploaded(world, "u1")
    with expects("upload_repeated", RequestError, field="parts[1].upload_id"):
        try_submit(world.a, "G22", ["H38"], parts=(part, replace(part, name="x.pdf")))


# --- offering ---------------------------------------------------------------------------------------


def test_an_offer_is_durable_as_offered_before_it_leaves(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    queued = world.a.out(sent.only)
    world.later(5)
    step = world.a.offer(sent.only)
    assert step.sends == (SendOffer(C, sent.only),)
    assert world.a.out(sent.only) == replace(
        queued, state=SenderState.OFFERED, epoch=1, offered_ms=TREE_READY_MS + 5, unsure=False
    )
    assert [(event.before, event.state) for event in step.events if isinstance(event, StateChanged)] == [
        ("queued", "offered")
    ]
    assert len(step.changes) == 1


def test_an_offer_that_got_no_answer_makes_the_next_one_unsure(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    again = world.a.offer(sent.only)
    assert again.sends == (SendOffer(C, sent.only),)
    assert again.events == ()
    assert world.a.out(sent.only).unsure is True
    assert world.a.offer(sent.only).sends and world.a.out(sent.only).unsure is True


def test_what_is_no_longer_owed_or_owed_elsewhere_is_not_offered(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    strange = bytes(32)
    assert world.a.step(Offering(centre=C, consignments=(strange,))) == Step(events=(Settled(C, strange),))
    assert world.a.step(Offering(centre=B, consignments=(sent.only,))) == Step(events=(Settled(B, sent.only),))
    arrived = world.accepted()
    assert world.a.step(Offering(centre=C, consignments=(arrived,))) == Step(events=(Settled(C, arrived),))
    nobody = world.a.view.directory
    world.a.store.write([_put(replace(world.a.out(sent.only), recipient="H99"))])
    assert nobody.party("H99", at_ms=world.now_ms) is None
    assert world.a.step(Offering(centre=C, consignments=(sent.only,))) == Step(events=(Settled(C, sent.only),))


def test_what_is_not_offered_does_not_hold_up_the_rest(world: World) -> None:
    sent = world.submit("G22", ["H38"], lane=Lane.KHAN)
    step = world.a.offer(bytes(32), sent.only)
    assert step.sends == (SendOffer(C, sent.only, urgency(Lane.KHAN)),)
    assert step.events[0] == Settled(C, bytes(32))


def test_what_ends_at_a_closed_code_leaves_the_line_in_which_it_stood(world: World) -> None:
    """Also where the code had moved before: then another line still knows of it."""
    sent = world.submit("G22", ["H38"])
    world.move("H38", B)
    close(world, "H38")
    step = world.a.offer(sent.only, centre=B)
    left = [event for event in step.events if not isinstance(event, StateChanged)]
    assert left == [Settled(C, sent.only), Settled(B, sent.only)]


def test_a_settled_entry_that_still_says_offered_is_not_offered(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.store.write([_put(replace(world.a.out(sent.only), state=SenderState.OFFERED, settled_ms=1))])
    assert world.a.step(Offering(centre=C, consignments=(sent.only,))).events == (Settled(C, sent.only),)


def test_after_a_move_the_consignment_is_due_at_the_new_host_under_a_new_number(world: World) -> None:
    world.submit("G22", ["G12"], key="first")
    sent = world.submit("G22", ["H38"], key="second")
    world.a.offer(sent.only)
    world.move("H38", B)
    step = world.a.offer(sent.only, centre=B)
    entry = world.a.out(sent.only)
    assert step.sends == (SendOffer(B, sent.only),)
    assert (entry.centre, entry.number, entry.epoch, entry.unsure) == (B, 2, 2, True)
    assert world.a.get(Journal, B, 2) == Journal(centre=B, number=2, thing=entry.statement, consignment=sent.only)
    assert (world.a.get(Pair, B).given, world.a.get(Pair, C).given) == (2, 1)
    assert (entry.recipient, entry.sequence) == ("H38", 1), "the queue is not re-keyed"


def test_what_is_queued_for_a_closed_code_ends_and_names_the_successors(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    close(world, "H38", "G12", "G22.99")
    step = world.a.offer(sent.only)
    entry = world.a.out(sent.only)
    assert (entry.state, entry.settled_ms) == (SenderState.RECIPIENT_CLOSED, TREE_READY_MS)
    assert step.sends == ()
    assert Settled(C, sent.only) in step.events
    told = world.a.all(Happening)[-1]
    assert (told.agency, told.what, told.consignment, told.envelope_id, told.detail) == (
        "G22",
        "recipient_closed",
        sent.only,
        sent.envelope_id,
        "G12, G22.99",
    )


def test_queues_of_closed_codes_end_even_when_their_host_is_out_of_reach(world: World) -> None:
    sent, open_still = world.submit("G22", ["H38"], key="1"), world.submit("G22", ["G12"], key="2")
    close(world, "H38")
    step = world.a.offer(sent.only, open_still.only, centre="")
    assert world.a.out(sent.only).state == SenderState.RECIPIENT_CLOSED
    assert world.a.out(open_still.only).state == SenderState.QUEUED
    assert step.sends == ()


def test_what_may_have_arrived_at_a_closed_code_is_asked_for_until_it_expires(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    close(world, "H38")
    assert world.a.offer(sent.only).sends == (SendOffer(C, sent.only),)
    assert world.a.out(sent.only).state == SenderState.OFFERED


# --- not now ----------------------------------------------------------------------------------------


def not_now(consignment: bytes, code: str = "busy", retry_ms: int = 5_000, centre: str = C) -> OfferPutOff:
    return OfferPutOff(centre=centre, answer=NotNow(subject=consignment, code=code, retry_ms=retry_ms))


def test_not_now_to_the_only_offer_leads_back_to_queued_and_sets_a_time(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    offered = world.a.out(sent.only)
    step = world.a.do(not_now(sent.only))
    due_ms = TREE_READY_MS + 5_000
    waiting = replace(offered, state=SenderState.QUEUED, waiting="busy", retry_ms=due_ms, put_offs=1)
    assert world.a.out(sent.only) == waiting
    assert world.a.find(Deadline, due_ms, Due.RETRY, sent.only) is not None
    assert step.sends == ()
    assert step.events[0] == Settled(C, sent.only, due_ms)
    change = step.events[1]
    assert isinstance(change, StateChanged)
    assert (change.before, change.state, change.code) == ("offered", "queued", "busy")
    assert world.a.find(Owed, "H38", 3, 1) is not None


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(0, SECOND_MS), (999, SECOND_MS), (1_001, 1_001), (HOUR_MS, HOUR_MS), (HOUR_MS + 1, HOUR_MS), (2**60, HOUR_MS)],
)
def test_a_peer_parks_us_neither_for_days_nor_in_a_tight_loop(world: World, asked: int, meant: int) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(not_now(sent.only, retry_ms=asked))
    assert world.a.out(sent.only).retry_ms == TREE_READY_MS + meant


def test_not_now_after_an_unanswered_offer_stays_offered(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.offer(sent.only)
    world.a.do(not_now(sent.only))
    entry = world.a.out(sent.only)
    assert (entry.state, entry.unsure, entry.waiting) == (SenderState.OFFERED, True, "busy")


def test_a_second_not_now_to_one_offer_writes_nothing(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(not_now(sent.only))
    step = world.a.do(not_now(sent.only, "held", 60_000))
    assert step == Step(events=(Settled(C, sent.only),))
    assert world.a.out(sent.only).waiting == "busy"
    retries = [due for due in world.a.all(Deadline) if due.what == Due.RETRY]
    assert [due.at_ms for due in retries] == [TREE_READY_MS + 5_000]


def test_not_now_when_the_time_of_the_last_one_had_come_counts_anew(world: World) -> None:
    """It comes before anybody has looked at the deadline."""
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(not_now(sent.only))
    world.later(5_000)
    world.a.do(not_now(sent.only))
    assert world.a.out(sent.only).put_offs == 2
    retries = [due.at_ms for due in world.a.all(Deadline) if due.what == Due.RETRY]
    assert retries == [world.now_ms + 10_000]


@pytest.mark.parametrize(
    ("code", "asked", "waits"),
    [
        ("busy", 5_000, [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]),
        ("held", 300_000, [300_000, 300_000]),
        ("disk_floor", 600_000, [600_000, 600_000]),
        ("body_gone", 60_000, [60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, HOUR_MS, HOUR_MS]),
        ("body_damaged", 5_000, [5_000 << n for n in range(10)] + [HOUR_MS, HOUR_MS]),
    ],
)
def test_a_not_now_that_is_repeated_waits_longer_each_time_up_to_a_bound(
    world: World, code: str, asked: int, waits: list[int]
) -> None:
    sent = world.submit("G22", ["H38"])
    seen = []
    for _ in waits:
        world.a.offer(sent.only)
        world.a.do(not_now(sent.only, code, asked))
        seen.append(world.a.out(sent.only).retry_ms - world.now_ms)
        world.later(seen[-1])
    assert seen == waits


def test_what_is_put_off_for_ever_ends_at_its_expiry(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    while world.a.out(sent.only).state in (SenderState.QUEUED, SenderState.OFFERED):
        world.a.offer(sent.only)
        world.a.do(not_now(sent.only, "body_gone", 60_000))
        world.later(world.a.out(sent.only).retry_ms - world.now_ms)
        due = tuple((one.at_ms, one.what, one.subject) for one in world.a.all(Deadline) if one.at_ms <= world.now_ms)
        world.a.do(DeadlineReached(due=due))
    assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT
    assert [one for one in world.a.all(Deadline) if one.what == Due.RETRY] == []
    assert world.a.out(sent.only).put_offs < 30 * 24 + 10, "about once an hour"


def test_offering_again_takes_the_time_back(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(not_now(sent.only))
    world.a.offer(sent.only)
    entry = world.a.out(sent.only)
    assert (entry.state, entry.waiting, entry.retry_ms, entry.unsure) == (SenderState.OFFERED, "", 0, False)
    assert [due.what for due in world.a.all(Deadline)] == [Due.EXPIRE]


def test_not_now_from_a_host_of_before_frees_its_window_and_changes_nothing(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    before = world.a.out(sent.only)
    assert world.a.do(not_now(sent.only, "moved", centre=B)) == Step(events=(Settled(B, sent.only),))
    assert world.a.out(sent.only) == before


def test_not_now_to_what_is_settled_changes_nothing(world: World) -> None:
    arrived = world.accepted()
    assert world.a.step(not_now(arrived)) == Step(events=(Settled(C, arrived),))


def test_a_time_beyond_every_not_now_was_noted_by_a_clock_that_went_back() -> None:
    assert is_due(1_000, 1_000) and is_due(0, 1_000)
    assert not is_due(1_001, 1_000)
    assert not is_due(1_000 + HOUR_MS, 1_000)
    assert is_due(1_001 + HOUR_MS, 1_000)


# --- expiry ---------------------------------------------------------------------------------------


def expired(side: Side, consignment: bytes) -> Step:
    draft = Draft(side.view, side.here())
    expire(draft, consignment)
    step = draft.step()
    side.store.write(side.signed(step.changes))
    return step


def test_what_was_never_offered_expires_as_unsent(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    step = expired(world.a, sent.only)
    entry = world.a.out(sent.only)
    assert (entry.state, entry.settled_ms) == (SenderState.EXPIRED_UNSENT, TREE_READY_MS)
    assert world.a.find(Owed, "H38", 3, 1) is None
    assert world.a.get(QueuedCount, "H38", 0).count == 0
    assert world.a.get(Document, sent.envelope_id).unsettled == 0
    told = world.a.all(Happening)[-1]
    assert (told.what, told.agency, told.detail) == ("expired_unsent", "G22", "")
    assert Settled(C, sent.only) in step.events
    assert [due.what for due in world.a.all(Deadline)] == [Due.RETIRE_OUT]


def test_what_may_have_arrived_expires_as_unconfirmed(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    step = expired(world.a, sent.only)
    assert world.a.out(sent.only).state == SenderState.EXPIRED_UNCONFIRMED
    change = step.events[-1]
    assert isinstance(change, StateChanged)
    assert (change.before, change.state) == ("offered", "expired_unconfirmed")
    assert world.a.all(Happening)[-1].what == "expired_unconfirmed"


def test_what_was_only_put_off_expires_as_unsent(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(not_now(sent.only))
    expired(world.a, sent.only)
    entry = world.a.out(sent.only)
    assert (entry.state, entry.retry_ms, entry.waiting) == (SenderState.EXPIRED_UNSENT, 0, "")
    assert [due.what for due in world.a.all(Deadline)] == [Due.RETIRE_OUT]


def test_only_the_last_settled_consignment_starts_the_retention(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12"])
    expired(world.a, sent.consignments[0])
    assert world.a.get(Document, sent.envelope_id).unsettled == 1
    assert [due.what for due in world.a.all(Deadline)] == [Due.EXPIRE]
    world.later(MINUTE_MS)
    expired(world.a, sent.consignments[1])
    assert world.a.all(Deadline) == [
        Deadline(
            at_ms=TREE_READY_MS + MINUTE_MS + 35 * DAY_MS,
            what=Due.RETIRE_OUT,
            subject=document_subject(sent.envelope_id),
        )
    ]


def test_expiry_of_what_is_settled_or_unknown_is_nothing(world: World) -> None:
    arrived = world.accepted()
    assert expired(world.a, arrived) == Step()
    assert expired(world.a, bytes(32)) == Step()


def test_a_consignment_settles_once(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    expired(world.a, sent.only)
    draft = Draft(world.a.view, world.a.here())
    end(draft, world.a.out(sent.only), SenderEvent.REFUSE, "refused", detail="policy")
    step = draft.step()
    assert not [event for event in step.events if isinstance(event, Settled)]
    world.a.store.write(step.changes)  # type: ignore[arg-type]
    assert world.a.get(Document, sent.envelope_id).unsettled == 0
    assert world.a.out(sent.only).state == SenderState.REFUSED


def test_more_settled_than_queued_is_our_mistake(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.store.write([_put(QueuedCount(recipient="H38", lane=0, count=0))])
    with pytest.raises(AssertionError, match="more settled than queued"):
        expired(world.a, sent.only)


def test_what_stands_in_stored_records_never_changes() -> None:
    """Or keys would not open any more, and deadlines would name nothing."""
    assert content_key_context(b"id") == b"documentid"
    assert document_subject(b"0123456789abcdef") == b"0123456789abcdef" + bytes(16)


# --- small things -----------------------------------------------------------------------------------


def test_urgent_lanes_sort_first() -> None:
    assert [urgency(lane) for lane in (Lane.HOA_TOC, Lane.THUONG_KHAN, Lane.KHAN, Lane.THUONG)] == [0, 1, 2, 3]


def test_parts_count_in_an_offer_only_when_they_travel_in_it() -> None:
    def parts(*sizes: int) -> tuple[StoredPart, ...]:
        return tuple(StoredPart(digest=bytes(32), size=size) for size in sizes)

    assert offer_bytes(()) == 2048
    assert offer_bytes(parts(10, 20)) == 2048 + 30
    assert offer_bytes(parts(INLINE_BYTES_MAX)) == 2048 + INLINE_BYTES_MAX
    assert offer_bytes(parts(INLINE_BYTES_MAX, 1)) == 2048


def test_signatures_of_a_batch_cover_every_consignment_of_a_circular(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12", "G22.99"])
    things: list[Signed] = [world.a.thing(world.a.out(consignment).statement) for consignment in sent.consignments]
    assert {thing.signatures[0].tree_size for thing in things} == {3}
    for thing in things:
        Verifier().verify(thing, world.a.keys.signer.public)
