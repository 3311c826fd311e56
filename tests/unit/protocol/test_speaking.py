"""Whose signature counts after keys have changed, and signing the same statement again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.delivery import SenderState
from protocol.draft import Draft
from protocol.entitlement import Purpose
from protocol.exchange import NotNow
from protocol.limits import MINUTE_MS, SIGNED_AGE_MAX_MS
from protocol.record import Put
from protocol.records import Return, Thing
from protocol.signing import Ed25519Signer, Signed, Verifier, sign
from protocol.speaking import sign_again
from protocol.step import OfferPutOff, ReturnsDue, SendAck, SendNotNow, SendReturn, Settings, Step, ToSign
from protocol.step_signing import SIGNATURES_KEPT, signed_changes
from protocol.waiting import RETRY_MIN_MS
from tests.support.delivery import A, B, C, Side, World, reach, receipt_of, returned
from tests.support.tree import entry_of, key_seed


@pytest.fixture
def world() -> World:
    return World()


def new_key(label: str) -> Ed25519Signer:
    return Ed25519Signer(key_seed(1, label))


def give_up(world: World, side: Side, *, ended_ms: int = 0, take_up: bool = True) -> Ed25519Signer:
    """The centre's operational key is replaced, revoked or else ended; its node signs with the new one."""
    old, fresh = side.signers[""], new_key(f"{side.centre} fresh")
    world.later(10 * MINUTE_MS)  # further than clocks may differ: the new key did not count before
    world.tree.clock_ms = max(world.tree.clock_ms, world.now_ms)
    end: dict[str, Any] = {"until_ms": ended_ms} if ended_ms else {"revoked_ms": world.now_ms}
    known = world.tree.centre_records[side.centre].keys
    before = [replace(entry, **end) if entry.key_id == old.public.key_id else entry for entry in known]
    keys = sorted((*before, entry_of(fresh, from_ms=world.now_ms)), key=lambda entry: entry.key_id)
    world.publish(world.tree.next_centre(side.centre, keys=tuple(keys)), old)
    if take_up:
        side.signers[""] = fresh
    world.later(10 * MINUTE_MS)
    return fresh


def own_key(world: World, agency: str) -> Ed25519Signer:
    """The agency lists a key of its own, and its node holds it."""
    own = new_key(f"{agency} own")
    side = world.host(agency)
    world.publish(world.tree.next_agency(agency, keys=(entry_of(own),)), side.keys.signer)
    side.signers[agency] = own
    world.later(10 * MINUTE_MS)
    return own


def signers_of(side: Side, digest: bytes) -> set[bytes]:
    return {item.key_id for item in side.thing(digest).signatures}


def put_off(world: World, side: Side, subject: bytes, code: str = "sign_again") -> Any:
    peer = C if side is world.a else A
    return side.do(OfferPutOff(centre=peer, answer=NotNow(subject=subject, code=code, retry_ms=MINUTE_MS)))


def to_sign(step: Any) -> list[ToSign]:
    return [change for change in step.changes if isinstance(change, ToSign)]


# --- offers -----------------------------------------------------------------------------------


def test_a_document_whose_key_was_revoked_on_the_way_is_signed_again_and_arrives(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    entry = world.a.out(sent.only)
    old = world.a.signers[""].public.key_id
    fresh = give_up(world, world.a)
    carried = world.deliver(world.a, world.a.offer(sent.only))
    assert [send.code for send in carried if isinstance(send, SendNotNow)] == ["sign_again"]
    for digest in (entry.envelope, entry.statement):
        assert signers_of(world.a, digest) == {old, fresh.public.key_id}
        Verifier().verify(world.a.thing(digest), fresh.public)
    assert world.a.out(sent.only).retry_ms == world.now_ms + RETRY_MIN_MS
    world.later(RETRY_MIN_MS)
    reach(world.a)
    world.deliver(world.a, world.a.offer(sent.only))
    assert world.a.out(sent.only).state == SenderState.ARRIVED
    assert (world.a.out(sent.only).statement, world.a.out(sent.only).envelope) == (entry.statement, entry.envelope)
    assert signers_of(world.c, entry.statement) == {old, fresh.public.key_id}


def test_a_key_that_only_ended_still_speaks_for_its_time(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    give_up(world, world.a, ended_ms=world.now_ms + 1)
    world.deliver(world.a, world.a.offer(sent.only))
    assert world.a.out(sent.only).state == SenderState.ARRIVED
    assert len(signers_of(world.a, world.a.out(sent.only).envelope)) == 1


def test_one_key_signs_again_once_and_then_waits_like_anybody(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    give_up(world, world.a)
    world.a.offer(sent.only)
    assert len(to_sign(put_off(world, world.a, sent.only))) == 2
    wire = world.a.get(Thing, world.a.out(sent.only).envelope).wire
    world.later(RETRY_MIN_MS)
    world.a.offer(sent.only)
    step = put_off(world, world.a, sent.only)
    assert to_sign(step) == []
    assert world.a.out(sent.only).retry_ms >= world.now_ms + MINUTE_MS
    assert world.a.get(Thing, world.a.out(sent.only).envelope).wire == wire


@pytest.mark.parametrize("code", ["busy", "record_stale", "moved"])
def test_other_answers_lead_to_no_signature(world: World, code: str) -> None:
    sent = world.submit("G22", ["H38"])
    give_up(world, world.a)
    world.a.offer(sent.only)
    assert to_sign(put_off(world, world.a, sent.only, code)) == []


def test_a_node_without_a_listed_key_signs_nothing(world: World) -> None:
    """Nobody would believe it; a person has to bring the new key into the node."""
    sent = world.submit("G22", ["H38"])
    give_up(world, world.a, take_up=False)
    world.a.offer(sent.only)
    assert to_sign(put_off(world, world.a, sent.only)) == []
    assert world.a.out(sent.only).retry_ms >= world.now_ms + MINUTE_MS
    world.later(MINUTE_MS)
    world.a.signers[""] = new_key("nobody lists this")
    world.a.offer(sent.only)
    assert to_sign(put_off(world, world.a, sent.only)) == []


def test_an_agency_with_a_key_of_its_own_signs_again_with_that(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    own = own_key(world, "G22")
    give_up(world, world.a)  # what signed it; the centre's new key does not speak for the agency any more
    world.deliver(world.a, world.a.offer(sent.only))
    world.later(RETRY_MIN_MS)
    reach(world.a)
    world.deliver(world.a, world.a.offer(sent.only))
    assert world.a.out(sent.only).state == SenderState.ARRIVED
    assert own.public.key_id in signers_of(world.c, world.a.out(sent.only).envelope)


def test_two_recipients_of_one_document_share_the_new_signature_of_the_envelope(world: World) -> None:
    sent = world.submit("G22", ["H38", "G12"])
    give_up(world, world.a)
    for consignment in sent.consignments:
        entry = world.a.out(consignment)
        centre = world.host(entry.recipient).centre
        world.deliver(world.a, world.a.offer(consignment, centre=centre))
    world.later(RETRY_MIN_MS)
    reach(world.a)
    for consignment in sent.consignments:
        centre = world.host(world.a.out(consignment).recipient).centre
        world.deliver(world.a, world.a.offer(consignment, centre=centre))
        assert world.a.out(consignment).state == SenderState.ARRIVED
    assert len(signers_of(world.a, world.a.out(sent.consignments[0]).envelope)) == 2


def test_an_unknown_key_is_a_matter_of_the_directory(world: World) -> None:
    """Not of the signature: the recipient has not heard of the new key yet."""
    fresh = new_key("not known to the recipient")
    sent = world.submit("G22", ["H38"])
    entry = world.a.out(sent.only)
    for digest in (entry.envelope, entry.statement):
        thing = world.a.thing(digest)
        other = sign(thing.format, thing.statement, fresh)
        world.a.store.write([Put(Thing(digest=digest, wire=other.to_wire()))])
    carried = world.deliver(world.a, world.a.offer(sent.only))
    assert [send.code for send in carried if isinstance(send, SendNotNow)] == ["record_stale"]


# --- receipts and refusals ----------------------------------------------------------------------


def owed(world: World, code: int = 1) -> tuple[bytes, Return]:
    """A consignment at H38 with a receipt under way."""
    if code == 1:
        sent = world.submit("G22", ["H38"])
        to, given = world.arrival(world.a, world.a.offer(sent.only).sends[0])
        to.do(given)
        return sent.only, world.c.get(Return, "G22", sent.only, 0)
    consignment = world.accepted()
    if code == 100:
        world.c.collect(consignment)
    else:
        world.c.answer(consignment, code)
    return consignment, world.c.get(Return, "G22", consignment, 1)


def brought(world: World, back: Return) -> Any:
    """The step that brings an owed thing."""
    step = world.c.do(ReturnsDue(issuer=back.issuer, owed=((back.consignment, back.slot),)))
    assert [type(send) for send in step.sends] == [SendReturn]
    return step


@pytest.mark.parametrize("code", [1, 100, 3])
def test_a_receipt_whose_key_was_revoked_on_the_way_is_signed_again_and_settles(world: World, code: int) -> None:
    consignment, back = owed(world, code)
    fresh = give_up(world, world.c)
    carried = world.deliver(world.c, brought(world, back))
    assert [send.code for send in carried if isinstance(send, SendNotNow)] == ["sign_again"]
    assert fresh.public.key_id in signers_of(world.c, back.thing)
    assert world.c.get(Return, "G22", consignment, back.slot).retry_ms == world.now_ms + RETRY_MIN_MS
    world.later(RETRY_MIN_MS)
    world.deliver(world.c, reach(world.c))
    assert world.a.out(consignment).codes[-1] == code
    assert world.c.find(Return, "G22", consignment, back.slot) is None
    assert signers_of(world.a, back.thing) == signers_of(world.c, back.thing)
    if code == 1:
        world.c.answer(consignment, 3)
        (following,) = world.c.all(Return, "G22", consignment)
        world.deliver(world.c, brought(world, following))
        assert world.a.out(consignment).codes == (1, 3), "the chain goes on behind it"


def test_a_refusal_whose_key_was_revoked_on_the_way_is_signed_again(world: World) -> None:
    sent = world.submit("G22", ["H38"], expires_ms=world.now_ms + 2 * MINUTE_MS)
    step = world.a.offer(sent.only)
    to, given = world.arrival(world.a, step.sends[0])
    world.later(2 * MINUTE_MS)
    (send,) = to.do(given).sends
    assert isinstance(send, SendReturn)
    fresh = give_up(world, world.c)
    (back,) = world.c.all(Return)
    carried = world.deliver(world.c, brought(world, back))
    assert [item.code for item in carried if isinstance(item, SendNotNow)] == ["sign_again"]
    assert fresh.public.key_id in signers_of(world.c, back.thing)
    world.later(RETRY_MIN_MS)
    world.deliver(world.c, reach(world.c))
    assert world.c.all(Return) == []


def test_a_status_of_an_agency_with_its_own_key_is_signed_again_with_that(world: World) -> None:
    consignment = world.accepted()
    first = own_key(world, "H38")
    world.c.answer(consignment, 3)
    (back,) = world.c.all(Return, "G22", consignment)
    second = new_key("H38 second")
    revoked = replace(entry_of(first), revoked_ms=world.now_ms)
    keys = tuple(sorted((revoked, entry_of(second)), key=lambda entry: entry.key_id))
    world.publish(world.tree.next_agency("H38", keys=keys), first)
    world.c.signers["H38"] = second
    world.later(10 * MINUTE_MS)
    world.deliver(world.c, brought(world, back))
    assert signers_of(world.c, back.thing) == {first.public.key_id, second.public.key_id}
    world.later(RETRY_MIN_MS)
    world.deliver(world.c, reach(world.c))
    assert world.a.out(consignment).codes == (1, 3)


def test_a_receipt_by_an_unknown_key_waits_for_the_directory(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    thing = receipt_of(world, sent.only, new_key("nobody"))
    assert world.a.step(returned(thing)).sends == (SendNotNow(C, thing.digest, "record_stale", MINUTE_MS),)


def test_a_receipt_of_a_quarter_of_a_year_ago_needs_a_key_of_now(world: World) -> None:
    consignment, back = owed(world)
    world.later(SIGNED_AGE_MAX_MS - 11 * MINUTE_MS)
    give_up(world, world.c, ended_ms=world.now_ms)
    world.later(1)
    carried = world.deliver(world.c, brought(world, back))
    assert [send.code for send in carried if isinstance(send, SendNotNow)] == ["sign_again"]
    world.later(RETRY_MIN_MS)
    carried = world.deliver(world.c, reach(world.c))
    assert [type(send) for send in carried] == [SendReturn, SendAck]
    assert world.a.out(consignment).codes == (1,)


def test_the_word_of_the_centre_is_signed_again_by_the_centre(world: World) -> None:
    """Arrivals and refusals, also where the agency has a key of its own for what it says itself."""
    own_key(world, "H38")
    consignment, back = owed(world)
    fresh = give_up(world, world.c)
    world.deliver(world.c, brought(world, back))
    world.later(RETRY_MIN_MS)
    world.deliver(world.c, reach(world.c))
    assert world.a.out(consignment).codes == (1,)
    assert fresh.public.key_id in signers_of(world.a, back.thing)


def test_a_refusal_counts_by_the_key_of_the_centre_also_for_an_agency_with_its_own(world: World) -> None:
    own_key(world, "H38")
    world.c.changes["settings"] = Settings(parts_bytes_max=1)
    sent = world.submit("G22", ["H38"])
    to, given = world.arrival(world.a, world.a.offer(sent.only).sends[0])
    to.do(given)
    (back,) = world.c.all(Return)
    give_up(world, world.c)
    carried = world.deliver(world.c, brought(world, back))
    assert [send.code for send in carried if isinstance(send, SendNotNow)] == ["sign_again"]
    world.later(RETRY_MIN_MS)
    carried = world.deliver(world.c, reach(world.c))
    assert [type(send) for send in carried] == [SendReturn, SendAck]


def test_a_host_of_before_signs_again_what_it_said_in_its_own_time(world: World) -> None:
    consignment, back = owed(world)
    world.move("H38", B)
    fresh = give_up(world, world.c)
    carried = world.deliver(world.c, brought(world, back))
    assert [send.code for send in carried if isinstance(send, SendNotNow)] == ["sign_again"]
    assert fresh.public.key_id in signers_of(world.c, back.thing)
    world.later(RETRY_MIN_MS)
    world.deliver(world.c, reach(world.c))
    assert world.a.out(consignment).codes == (1,)


def test_what_is_not_stored_or_not_known_does_not_hinder_the_rest(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    give_up(world, world.a)
    said = world.a.out(sent.only).statement
    draft = Draft(world.a.view, world.a.here())
    assert sign_again(draft, "G22", Purpose.AGENCY, (bytes(32), said))
    assert [change.statement for change in to_sign(draft.step())] == [world.a.thing(said).statement]
    draft = Draft(world.a.view, world.a.here())
    assert sign_again(draft, "H99", Purpose.AGENCY, (said,)) is False
    assert draft.step() == Step()


# --- signatures beside each other ------------------------------------------------------------------


def thing_with(keys: int) -> Signed:
    thing = sign("truc/receipt/1", b"words", new_key("key 0"))
    for turn in range(1, keys):
        ((put, *_), _) = signed_changes([again(thing)], {"": new_key(f"key {turn}")})
        assert isinstance(put, Put)
        thing = Signed.from_wire(put.record.wire, bytes_max=4096)
    return thing


def again(thing: Signed) -> ToSign:
    return ToSign(format=thing.format, statement=thing.statement, before=thing.to_wire())


def test_older_signatures_stay_beside_the_new_one_but_not_for_ever() -> None:
    assert len(thing_with(SIGNATURES_KEPT).signatures) == SIGNATURES_KEPT
    last = thing_with(SIGNATURES_KEPT + 1)
    assert [item.key_id for item in last.signatures] == [new_key(f"key {SIGNATURES_KEPT}").public.key_id]
    assert last.digest == thing_with(1).digest


def test_a_batch_of_old_and_new_statements_takes_one_signature() -> None:
    thing, fresh = thing_with(1), new_key("fresh")
    changes, signatures = signed_changes(
        [again(thing), ToSign(format="truc/receipt/1", statement=b"others"), Put("kept")], {"": fresh}
    )
    assert signatures == 1
    assert changes[0] == Put("kept")
    for put, count in zip(changes[1:], (2, 1), strict=True):
        assert isinstance(put, Put)
        read = Signed.from_wire(put.record.wire, bytes_max=4096)
        assert (len(read.signatures), put.record.digest) == (count, read.digest)
        Verifier().verify(read, fresh.public)
