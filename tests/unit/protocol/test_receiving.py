"""The three answers to an offer, what is kept with each, and that each stays the same for ever."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.catalogue import CATALOGUE
from protocol.consignment import CONSIGNMENT
from protocol.delivery import RecipientState
from protocol.directory import RecordState
from protocol.encoding import encode
from protocol.envelope import PartRef
from protocol.exchange import Offer
from protocol.limits import DAY_MS, HOUR_MS, MINUTE_MS
from protocol.receipt import RECEIPT, Receipt
from protocol.receiving import RETRY_OF, content_key_context, judge, pull_goes_on, pull_left_nothing
from protocol.record import Body, PutBody
from protocol.records import (
    IN,
    OUT,
    REFUSAL_SLOT,
    Arrival,
    BodyUse,
    Counter,
    Deadline,
    Due,
    Happening,
    Incoming,
    Journal,
    Link,
    Pair,
    Pull,
    Refused,
    Return,
    SealedHeader,
    StoredPart,
    Thing,
    Uncollected,
)
from protocol.refusal import REFUSAL, Refusal
from protocol.sealing import vault_open
from protocol.signing import PublicKey, Signed, Verifier, sign
from protocol.step import (
    Alarm,
    BodiesDurable,
    BodiesFailed,
    BodyRequest,
    Directory,
    OfferArrived,
    Party,
    SendHolding,
    SendNotNow,
    SendReturn,
    StateChanged,
    Step,
    ThingAcked,
    ToSign,
    VerifiedBody,
)
from tests.support.delivery import A, B, C, Forgery, World, consignment_of, sealed_part
from tests.support.errors import record
from tests.support.tree import TREE_READY_MS

LARGE = bytes(200_000)


@pytest.fixture
def world() -> World:
    return World()


def offer_of(world: World, recipient: str = "H38", contents: tuple[bytes, ...] = (b"content",), **more: Any) -> Offer:
    """An honest offer, as it comes over the wire."""
    sent = world.submit("G22", [recipient], contents, **more)
    step = world.a.offer(sent.only, centre=world.host(recipient).centre)
    frame = world.a.frame(step.sends[0])
    assert isinstance(frame, Offer)
    return frame


def arrives(offer: Offer, centre: str = A) -> OfferArrived:
    return OfferArrived(centre=centre, offer=offer)


def pulled(offer: Offer, contents: tuple[bytes, ...], centre: str = A) -> BodiesDurable:
    """What the puller hands over: bodies verified and placed."""
    parts = [sealed_part(content, index) for index, content in enumerate(contents)]
    bodies = tuple(
        VerifiedBody(
            digest=part.body,
            size=part.size,
            plain_digest=part.plain_digest,
            plain_size=part.plain_size,
            put=PutBody(part.body, part.blob or b""),
        )
        for part in parts
    )
    return BodiesDurable(centre=centre, offer=offer, bodies=bodies)


def thing_of(wire: bytes) -> Signed:
    return Signed.from_wire(wire, bytes_max=len(wire))


# --- accepted --------------------------------------------------------------------------------------


def test_an_accepted_consignment_is_kept_whole_in_one_step(world: World) -> None:
    offer = offer_of(world, contents=(b"one", b"two"))
    consignment = consignment_of(offer)
    world.later(3)
    step = world.c.do(arrives(offer))
    envelope, statement = thing_of(offer.envelope), thing_of(offer.consignment)
    entry = world.c.box(consignment)
    receipt = world.c.thing(entry.head)
    parts = [sealed_part(content, index) for index, content in enumerate((b"one", b"two"))]
    assert entry == Incoming(
        consignment=consignment,
        statement=statement.digest,
        envelope=envelope.digest,
        envelope_id=entry.envelope_id,
        issuer="G22",
        recipient="H38",
        epoch=1,
        lane=0,
        state=RecipientState.ARRIVED,
        sequence=1,
        arrived_ms=TREE_READY_MS + 3,
        parts=tuple(StoredPart(digest=part.body, size=part.size) for part in parts),
        head=receipt.digest,
        next_receipt=1,
        codes=(1,),
        judged_by=entry.judged_by,
        wrapped_key=entry.wrapped_key,
    )
    parties = [world.c.view.directory.party(code, at_ms=world.now_ms) for code in ("G22", "H38")]
    assert set(entry.judged_by) == {digest for party in parties if party for digest in party.records}
    assert world.c.get(Thing, envelope.digest).wire == offer.envelope
    assert world.c.get(Thing, statement.digest).wire == offer.consignment
    assert world.c.get(SealedHeader, envelope.digest).sealed == offer.header
    assert {body.digest for body in world.c.all(Body)} == {part.body for part in parts}
    assert {(use.body, use.box, use.agency, use.holder) for use in world.c.all(BodyUse)} == {
        (digest, IN, "H38", consignment) for digest in (envelope.digest, *(part.body for part in parts))
    }
    assert world.c.all(Arrival) == [Arrival(agency="H38", sequence=1, consignment=consignment)]
    assert world.c.all(Uncollected) == [Uncollected(agency="H38", sequence=1, consignment=consignment)]
    assert step.sends == (SendReturn(A, receipt.digest, 1),)
    assert step.events == (
        StateChanged(
            box=IN,
            consignment=consignment,
            envelope_id=entry.envelope_id,
            agency="H38",
            peer_agency="G22",
            before="receiving",
            state="arrived",
        ),
    )
    told = world.c.all(Happening)
    assert [(one.agency, one.what, one.code, one.consignment) for one in told] == [("H38", "arrived", 1, consignment)]
    assert told[0].envelope_id == world.c.box(consignment).envelope_id
    assert world.c.get(Counter, "arrivals").value == 1  # a durable name: later versions count on from it


def test_the_first_receipt_says_what_was_kept_and_is_signed_by_the_centre(world: World) -> None:
    offer = offer_of(world)
    consignment = consignment_of(offer)
    world.c.do(arrives(offer), clock_quality=2)
    entry = world.c.box(consignment)
    thing = world.c.thing(entry.head)
    Verifier().verify(thing, world.c.keys.signer.public)
    assert RECEIPT.decode(thing.statement) == Receipt(
        consignment=consignment,
        envelope=thing_of(offer.envelope).digest,
        issuer="G22",
        recipient="H38",
        epoch=1,
        incarnation=world.c.incarnation,
        sequence=0,
        previous=thing_of(offer.consignment).digest,
        code=1,
        time_ms=TREE_READY_MS,
        clock_quality=2,
    )
    assert world.c.get(Link, IN, consignment, 0) == Link(
        box=IN,
        consignment=consignment,
        sequence=0,
        receipt=thing.digest,
        code=1,
        time_ms=TREE_READY_MS,
        recorded_ms=TREE_READY_MS,
    )
    assert world.c.get(Return, "G22", consignment, 0) == Return(
        issuer="G22", consignment=consignment, slot=0, thing=thing.digest, centre=A, number=1
    )
    assert world.c.all(Journal, A) == [Journal(centre=A, number=1, thing=thing.digest, consignment=consignment)]
    assert world.c.get(Pair, A) == Pair(centre=A, given=1, held=1)


def test_the_content_key_is_wrapped_again_under_our_own_vault_key(world: World) -> None:
    forgery = Forgery(world=world, content_key=bytes(range(32)))
    given = forgery.arrives()
    world.c.do(given)
    consignment = consignment_of(given.offer)
    wrapped = world.c.box(consignment).wrapped_key
    assert vault_open(world.c.here().vault_key, content_key_context(consignment), wrapped) == bytes(range(32))
    assert given.offer.stanza not in wrapped


def test_an_issuer_and_a_recipient_of_one_node_go_the_same_way(world: World) -> None:
    sent = world.submit("G22", ["G22.99"])
    step = world.a.offer(sent.only, centre=A)
    frame = world.a.frame(step.sends[0])
    assert isinstance(frame, Offer)
    assert frame.inline == (), "the body is here already"
    carried = world.a.do(OfferArrived(centre=A, offer=frame))
    entry = world.a.box(sent.only)
    assert carried.sends == (SendReturn(A, entry.head, 2),)
    assert carried.body_requests == ()
    uses = {(use.box, use.agency) for use in world.a.all(BodyUse, entry.parts[0].digest)}
    assert uses == {(OUT, "G22"), (IN, "G22.99")}
    world.deliver(world.a, carried)
    assert world.a.out(sent.only).codes == (1,)
    assert world.a.get(Pair, A) == Pair(centre=A, given=2, held=2)
    assert world.a.find(Return, "G22", sent.only, 0) is None


def test_a_document_without_parts_needs_no_bodies(world: World) -> None:
    about = {"kind": 1, "reference": bytes(32)}
    step = world.c.do(Forgery(world=world, contents=(), envelope=about).arrives())
    assert [type(send) for send in step.sends] == [SendReturn]
    assert world.c.all(Incoming)[0].parts == ()


# --- the same answer for ever ----------------------------------------------------------------------


def test_a_duplicate_gets_the_same_first_receipt_while_it_is_owed_under_its_own_number(world: World) -> None:
    world.accepted("G22", "H38", [b"another"])
    offer = offer_of(world)
    first = world.c.do(arrives(offer))
    again = world.c.do(arrives(offer))
    assert again.sends == first.sends
    assert isinstance(first.sends[0], SendReturn)
    assert first.sends[0].number == 2
    assert (again.events, again.changes) == ((), ())


def test_a_duplicate_long_after_gets_the_first_receipt_not_the_last(world: World) -> None:
    consignment = world.accepted()
    head = world.c.box(consignment).head
    world.deliver(world.c, world.c.collect(consignment))
    assert world.c.find(Return, "G22", consignment, 0) is None
    assert world.c.box(consignment).head != head
    statement = world.a.thing(world.a.out(consignment).statement)
    envelope = world.a.thing(world.a.out(consignment).envelope)
    offer = replace(
        Forgery(world=world).make(), consignment=statement.to_wire(), envelope=envelope.to_wire(), number=40
    )
    step = world.c.do(arrives(offer))
    assert step.sends == (SendReturn(A, head, 0),)
    assert world.c.get(Pair, A).held == 40


def test_what_was_accepted_is_answered_whatever_has_changed_since(world: World) -> None:
    offer = offer_of(world)
    first = world.c.do(arrives(offer))
    world.publish(world.tree.next_agency("H38", state=RecordState.LOCKED))
    assert world.c.step(arrives(offer), clock_trusted=False, disk_low=True).sends == first.sends
    world.later(365 * DAY_MS)
    assert world.c.step(arrives(offer)).sends == first.sends


def test_only_the_issuers_host_hears_what_was_answered(world: World) -> None:
    offer = offer_of(world)
    world.c.do(arrives(offer))
    step = world.c.step(arrives(offer, B))
    assert step == Step(sends=(SendNotNow(B, consignment_of(offer), "record_stale", MINUTE_MS),))


def test_after_a_move_of_the_issuer_the_receipt_is_owed_to_its_new_host(world: World) -> None:
    offer = offer_of(world)
    consignment = consignment_of(offer)
    world.c.do(arrives(offer))
    head = world.c.box(consignment).head
    world.move("G22", B)
    step = world.c.do(arrives(offer, B))
    assert step.sends == (SendReturn(B, head, 1),)
    owed = world.c.get(Return, "G22", consignment, 0)
    assert (owed.centre, owed.number) == (B, 1)
    assert world.c.get(Journal, B, 1).thing == head


def test_a_replayed_consignment_changes_nothing_for_the_recipient(world: World) -> None:
    offer = offer_of(world)
    world.c.do(arrives(offer))
    entry = world.c.box(consignment_of(offer))
    for _ in range(3):
        world.c.do(arrives(offer))
    assert world.c.box(entry.consignment) == entry
    assert len(world.c.all(Arrival)) == 1
    assert world.c.get(Pair, A).given == 1


# --- not now -----------------------------------------------------------------------------------------


def put_off(world: World, given: OfferArrived, code: str, retry_ms: int, *, alarm: bool = False, **here: Any) -> None:
    consignment = consignment_of(given.offer)
    assert world.c.step(given, **here) == Step(
        sends=(SendNotNow(given.centre, consignment, code, retry_ms),),
        events=(Alarm(code, given.centre, consignment),) if alarm else (),
    )
    record(code)


def test_not_now_remembers_nothing_and_says_when(world: World) -> None:
    put_off(world, Forgery(world=world).arrives(), "clock", MINUTE_MS, clock_trusted=False)
    put_off(world, Forgery(world=world).arrives(B), "record_stale", MINUTE_MS)
    put_off(world, Forgery(world=world, recipient="G12").arrives(), "moved", MINUTE_MS)
    put_off(world, Forgery(world=world, issuer="H99").arrives(), "issuer_unknown", MINUTE_MS)
    put_off(world, Forgery(world=world, offer={"key_id": bytes(32)}).arrives(), "sealing_key_unknown", MINUTE_MS)
    put_off(world, Forgery(world=world, info_epoch=9).arrives(), "stanza_unusable", 10_000)
    put_off(world, Forgery(world=world, offer={"header": b"x"}).arrives(), "body_damaged", 5_000)
    put_off(world, Forgery(world=world, signer=world.b.keys.signer).arrives(), "record_stale", MINUTE_MS)
    put_off(world, Forgery(world=world, envelope_format="truc/envelope/2").arrives(), "newer_format", HOUR_MS)
    assert world.c.all(Incoming) == world.c.all(Refused) == []


def test_what_an_honest_peer_cannot_send_raises_an_alarm_and_waits_an_hour(world: World) -> None:
    put_off(world, Forgery(world=world, envelope={"issuer": "G12"}).arrives(), "offer_mismatch", HOUR_MS, alarm=True)
    thing = thing_of(Forgery(world=world).make().envelope)
    bad = replace(thing, signatures=(replace(thing.signatures[0], signature=bytes(64)),)).to_wire()
    put_off(world, Forgery(world=world, offer={"envelope": bad}).arrives(), "signature_refused", HOUR_MS, alarm=True)
    unreadable = Forgery(world=world).arrives()
    strange = sign("truc/envelope/1", b"\xc1", world.a.keys.signer).to_wire()
    unreadable = arrives(replace(unreadable.offer, envelope=strange))
    put_off(world, unreadable, "offer_unreadable", HOUR_MS, alarm=True)


def test_a_locked_recipient_holds_the_offer(world: World) -> None:
    world.publish(world.tree.next_agency("H38", state=RecordState.LOCKED))
    put_off(world, Forgery(world=world).arrives(), "held", 5 * MINUTE_MS)


def test_below_the_disks_floor_nothing_new_is_taken(world: World) -> None:
    put_off(world, Forgery(world=world).arrives(), "disk_floor", 10 * MINUTE_MS, disk_low=True)


def test_every_code_of_not_now_has_a_time_and_a_text() -> None:
    for code, retry_ms in RETRY_OF.items():
        assert "not_now" in CATALOGUE[code].family.split() or code == "disk_floor"
        assert 1_000 <= retry_ms <= HOUR_MS


def unread(world: World, offer: Offer, subject: bytes, code: str, *, alarm: bool) -> None:
    """It is put off under the name that is left to it, and nothing is remembered or signed."""
    told = (Alarm(code, A, subject),) if alarm else ()
    assert world.c.step(arrives(offer)) == Step(sends=(SendNotNow(A, subject, code, HOUR_MS),), events=told)


def test_an_offer_that_does_not_read_is_put_off_by_the_name_that_is_left_to_it(world: World) -> None:
    offer = Forgery(world=world).make()
    digest = hashlib.sha256(b"\xc1").digest()
    unread(world, replace(offer, consignment=b"\xc1"), digest, "offer_unreadable", alarm=True)
    unread(world, replace(offer, envelope=b"\xc1"), consignment_of(offer), "offer_unreadable", alarm=True)
    itself = Forgery(world=world, recipient="G22").make()
    unread(world, itself, consignment_of(itself), "offer_unreadable", alarm=True)


def test_a_consignment_of_a_later_version_waits_for_an_upgrade(world: World) -> None:
    signer = world.a.keys.signer
    for name, statement in (("truc/consignment/2", encode({1: 1})), (CONSIGNMENT.name, encode({1: 1, 99: 1}))):
        thing = sign(name, statement, signer).to_wire()
        offer = replace(Forgery(world=world).make(), consignment=thing)
        unread(world, offer, hashlib.sha256(thing).digest(), "newer_format", alarm=False)


@given(data=st.data())
def test_whatever_a_peer_offers_in_a_good_frame_has_an_answer(data: st.DataObject) -> None:
    """Any field of an honest offer, damaged or replaced: never an exception, never more than one answer."""
    offer = HONEST.make()
    name = data.draw(st.sampled_from(["envelope", "consignment", "stanza", "header", "inline", "key_id", "epoch"]))
    value: Any = getattr(offer, name)
    if name == "epoch":
        value = data.draw(st.integers(0, 2**63 - 1))
    elif name == "inline":
        value = tuple(data.draw(st.lists(st.binary(max_size=64), max_size=3)))
    elif name == "key_id":
        value = data.draw(st.binary(min_size=32, max_size=32))
    else:
        at = data.draw(st.integers(0, len(value) - 1))
        value = data.draw(
            st.one_of(
                st.binary(max_size=128),
                st.integers(0, 255).map(lambda octet: value[:at] + bytes([octet]) + value[at + 1 :]),
                st.just(value[:at]),
            )
        )
    step = HONEST.world.c.step(arrives(replace(offer, **{name: value})))
    assert len([send for send in step.sends if not isinstance(send, SendHolding)]) + len(step.body_requests) == 1


HONEST = Forgery(world=World())


# --- refused -------------------------------------------------------------------------------------------


def test_a_refusal_is_signed_final_and_owed(world: World) -> None:
    given = Forgery(world=world, envelope={"lane": 9}).arrives()
    consignment = consignment_of(given.offer)
    step = world.c.do(given)
    refused = world.c.get(Refused, consignment)
    thing = world.c.thing(refused.refusal)
    Verifier().verify(thing, world.c.keys.signer.public)
    parties = [world.c.view.directory.party(code, at_ms=world.now_ms) for code in ("G22", "H38")]
    assert REFUSAL.decode(thing.statement) == Refusal(
        consignment=consignment,
        envelope=thing_of(given.offer.envelope).digest,
        recipient="H38",
        code="header_invalid",
        field="lane",
        judged_by=tuple(sorted({digest for party in parties if party for digest in party.records})),
        time_ms=TREE_READY_MS,
    )
    assert refused == Refused(
        consignment=consignment,
        refusal=thing.digest,
        code="header_invalid",
        issuer="G22",
        recipient="H38",
        time_ms=TREE_READY_MS,
    )
    assert world.c.get(Return, "G22", consignment, REFUSAL_SLOT) == Return(
        issuer="G22", consignment=consignment, slot=REFUSAL_SLOT, thing=thing.digest, centre=A, number=1
    )
    assert world.c.get(Pair, A) == Pair(centre=A, given=1, held=1)
    for wire in (given.offer.envelope, given.offer.consignment):
        assert world.c.get(Thing, thing_of(wire).digest).wire == wire
    assert step.sends == (SendReturn(A, thing.digest, 1),)
    assert step.events == (
        StateChanged(
            box=IN,
            consignment=consignment,
            envelope_id=b"",
            agency="H38",
            peer_agency="G22",
            before="",
            state="refused",
            code="header_invalid",
        ),
    )
    assert world.c.all(Incoming) == world.c.all(Arrival) == world.c.all(BodyUse) == []


def test_the_same_refusal_is_given_for_ever(world: World) -> None:
    given = Forgery(world=world, envelope={"lane": 9}).arrives()
    first = world.c.do(given)
    world.later(DAY_MS)
    assert world.c.do(given).sends == first.sends
    assert isinstance(first.sends[0], SendReturn)
    world.c.do(ThingAcked(centre=A, thing=first.sends[0].thing))
    assert world.c.do(given).sends == (SendReturn(A, first.sends[0].thing, 0),)
    assert world.c.get(Pair, A).given == 1


@pytest.mark.parametrize(
    ("forgery", "code"),
    [
        ({"envelope": {"expires_ms": TREE_READY_MS, "created_ms": TREE_READY_MS - 9}}, "expired"),
        ({"header": {"parts": ()}}, "part_mismatch"),
        ({"plain": (b"other!!",)}, "part_mismatch"),
        ({"header_plain": b"\xc1"}, "header_invalid"),
    ],
)
def test_the_codes_of_refusals(world: World, forgery: dict[str, Any], code: str) -> None:
    world.c.do(Forgery(world=world, **forgery).arrives())
    assert [refused.code for refused in world.c.all(Refused)] == [code]


class LongDirectory:
    """Parties judged by a dozen records each, as those of a body that was merged many times."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def party(self, code: str, *, at_ms: int, epoch: int | None = None) -> Party | None:
        found = self._directory.party(code, at_ms=at_ms, epoch=epoch)
        records = tuple(hashlib.sha256(f"{code} {n}".encode()).digest() for n in range(12))
        return None if found is None else replace(found, records=records)

    def listed_keys(self, code: str) -> Mapping[bytes, PublicKey]:
        return self._directory.listed_keys(code)

    def centre_exists(self, centre: str) -> bool:
        return self._directory.centre_exists(centre)


def test_a_refusal_names_no_more_records_than_its_format_holds(world: World) -> None:
    view = replace(world.c.view, directory=LongDirectory(world.c.view.directory))
    step = judge(view, world.c.here(), Forgery(world=world, envelope={"lane": 9}).arrives())
    (statement,) = [change.statement for change in step.changes if isinstance(change, ToSign)]
    assert len(REFUSAL.decode(statement).judged_by) == 16


# --- large bodies are pulled -----------------------------------------------------------------------------


def test_a_large_document_is_pulled_before_anything_is_promised(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    consignment = consignment_of(offer)
    assert offer.inline == ()
    step = world.c.do(arrives(offer))
    assert (step.sends, step.events, step.reply) == ((SendHolding(A, consignment),), (), None)
    (request,) = step.body_requests
    assert isinstance(request, BodyRequest)
    assert (request.centre, request.consignment, request.offer) == (A, consignment, offer)
    part = sealed_part(LARGE)
    assert request.envelope.parts == (PartRef(part.body, part.size),)
    assert request.header.parts[0].key == part.key
    assert step.changes == (), "only what comes of it may be worth a record"
    assert world.c.find(Pair, A) is None, "the journal number is not held yet"


def test_when_the_bodies_are_durable_the_consignment_is_kept(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    consignment = consignment_of(offer)
    goes_on(world, offer)
    world.later(HOUR_MS)
    step = world.c.do(pulled(offer, (LARGE,)))
    assert step.sends == (SendReturn(A, world.c.box(consignment).head, 1),)
    assert world.c.all(Pull) == world.c.all(Deadline) == []
    assert world.c.get(Body, sealed_part(LARGE).body).size == sealed_part(LARGE).size
    assert world.c.get(Pair, A).held == 1


def test_after_the_pull_the_offer_is_judged_by_the_directory_of_then(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    world.c.do(arrives(offer))
    world.publish(world.tree.next_agency("H38", state=RecordState.LOCKED))
    step = world.c.step(pulled(offer, (LARGE,)))
    assert step.sends == (SendNotNow(A, consignment_of(offer), "held", 5 * MINUTE_MS),)
    assert step.changes == ()


def test_bodies_that_are_here_are_kept_even_when_the_disk_has_run_low(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    world.c.do(arrives(offer))
    assert [type(send) for send in world.c.step(pulled(offer, (LARGE,)), disk_low=True).sends] == [SendReturn]


def goes_on(world: World, offer: Offer) -> None:
    """Bytes of the offer's bodies have come to the disk."""
    (request,) = world.c.step(arrives(offer)).body_requests
    changes = pull_goes_on(world.c.view, world.c.here(), request)
    world.c.store.write([change for change in changes if not isinstance(change, ToSign)])


def test_a_pull_that_goes_on_begins_its_day_anew(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    goes_on(world, offer)
    part = sealed_part(LARGE)
    parts = (StoredPart(digest=part.body, size=part.size),)
    first = Pull(consignment=consignment_of(offer), centre=A, started_ms=TREE_READY_MS, parts=parts)
    assert world.c.all(Pull) == [first]
    due_ms = TREE_READY_MS + DAY_MS
    assert world.c.all(Deadline) == [Deadline(at_ms=due_ms, what=Due.PULL, subject=consignment_of(offer))]
    world.later(HOUR_MS)
    goes_on(world, offer)
    assert world.c.all(Pull) == [replace(first, started_ms=TREE_READY_MS + HOUR_MS)]
    assert [due.at_ms for due in world.c.all(Deadline)] == [due_ms + HOUR_MS]


def test_a_pull_that_goes_on_twice_in_the_same_moment_keeps_its_deadline(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    goes_on(world, offer)
    goes_on(world, offer)
    assert [due.at_ms for due in world.c.all(Deadline)] == [TREE_READY_MS + DAY_MS]


def test_a_pull_that_left_nothing_is_not_remembered(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    goes_on(world, offer)
    changes = pull_left_nothing(world.c.view, world.c.here(), consignment_of(offer))
    world.c.store.write([change for change in changes if not isinstance(change, ToSign)])
    assert world.c.all(Pull) == world.c.all(Deadline) == []
    assert pull_left_nothing(world.c.view, world.c.here(), consignment_of(offer)) == ()


def test_an_envelope_for_two_agencies_here_is_pulled_once() -> None:
    world = World()
    world.tree.add_agency("H40", C)
    world.c.learn()
    world.a.learn()
    sent = world.submit("G22", ["H38", "H40"], [LARGE])
    step = world.a.offer(*sent.consignments)
    offers = [world.a.frame(send) for send in step.sends]
    first, second = (OfferArrived(centre=A, offer=offer) for offer in offers if isinstance(offer, Offer))
    assert len(world.c.do(first).body_requests) == 1
    world.c.do(pulled(first.offer, (LARGE,)))
    kept = world.c.do(second)
    assert (kept.body_requests, [type(send) for send in kept.sends]) == ((), [SendReturn])
    assert [arrival.agency for arrival in world.c.all(Arrival)] == ["H38", "H40"]
    part = sealed_part(LARGE)
    assert {(use.agency, use.holder) for use in world.c.all(BodyUse, part.body)} == set(
        zip(("H38", "H40"), sent.consignments, strict=True)
    )


@pytest.mark.parametrize(("code", "retry_ms"), [("busy", 5_000), ("body_damaged", 5_000), ("disk_floor", 600_000)])
def test_bodies_that_cannot_be_had_now_put_the_offer_off(world: World, code: str, retry_ms: int) -> None:
    offer = offer_of(world, contents=(LARGE,))
    goes_on(world, offer)
    step = world.c.do(BodiesFailed(centre=A, offer=offer, code=code))
    assert step == Step(sends=(SendNotNow(A, consignment_of(offer), code, retry_ms),))
    assert len(world.c.all(Pull)) == 1, "what came so far is kept for the next attempt"


def test_a_body_that_the_sender_has_lost_is_an_alarm(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    step = world.c.do(BodiesFailed(centre=A, offer=offer, code="body_gone"))
    subject = consignment_of(offer)
    told = (Alarm("body_gone", A, subject),)
    assert step == Step(sends=(SendNotNow(A, subject, "body_gone", MINUTE_MS),), events=told)


def test_bodies_that_are_not_what_was_signed_lead_to_a_refusal(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    goes_on(world, offer)
    step = world.c.do(BodiesFailed(centre=A, offer=offer, code="part_mismatch"))
    refused = world.c.get(Refused, consignment_of(offer))
    assert (refused.code, step.sends) == ("part_mismatch", (SendReturn(A, refused.refusal, 1),))
    assert world.c.all(Pull) == world.c.all(Deadline) == []


def test_a_refusal_after_a_pull_still_needs_an_offer_that_may_be_judged(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    failed = BodiesFailed(centre=A, offer=offer, code="part_mismatch")
    step = world.c.step(failed, clock_trusted=False)
    assert step.sends == (SendNotNow(A, consignment_of(offer), "clock", MINUTE_MS),)
    world.later(31 * DAY_MS)
    world.c.do(failed)
    assert world.c.get(Refused, consignment_of(offer)).code == "expired"


def test_pulled_bodies_that_differ_from_the_header_are_refused(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    durable = pulled(offer, (LARGE,))
    wrong = replace(durable, bodies=(replace(durable.bodies[0], plain_digest=bytes(32)),))
    world.c.do(wrong)
    assert world.c.get(Refused, consignment_of(offer)).code == "part_mismatch"


def test_a_pulled_body_that_is_placed_already_is_not_put_again(world: World) -> None:
    offer = offer_of(world, contents=(LARGE,))
    durable = pulled(offer, (LARGE,))
    step = world.c.step(replace(durable, bodies=(replace(durable.bodies[0], put=None),)))
    assert not [change for change in step.changes if isinstance(change, PutBody)]
    assert [type(send) for send in step.sends] == [SendReturn]


def test_the_consignments_statement_is_kept_verbatim(world: World) -> None:
    offer = offer_of(world)
    world.c.do(arrives(offer))
    entry = world.c.box(consignment_of(offer))
    assert CONSIGNMENT.decode(world.c.thing(entry.statement).statement).id == entry.consignment


def test_what_the_vault_binds_keys_to_never_changes() -> None:
    """Or no stored key would open any more."""
    assert content_key_context(b"id") == b"consignmentid"
