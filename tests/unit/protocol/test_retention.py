"""What time brings: expiry, asking again, letting go; and when a returned thing is no longer owed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.delivery import SenderState
from protocol.draft import Draft
from protocol.exchange import NotNow
from protocol.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from protocol.record import Body, Put
from protocol.records import (
    IN,
    OUT,
    REFUSAL_SLOT,
    BodyUse,
    Deadline,
    Document,
    Due,
    Incoming,
    Journal,
    Link,
    Outgoing,
    Pair,
    Pull,
    Return,
    SealedHeader,
    StoredPart,
    Thing,
)
from protocol.retention import CLOCK_PAUSE_MS, acked, bring, deadlines, return_put_off, returns_due
from protocol.sending import document_subject
from protocol.step import (
    Acked,
    DeadlineReached,
    OfferPutOff,
    Queued,
    ReturnsDue,
    SendReturn,
    Settings,
    Settled,
    Step,
    ThingAcked,
)
from tests.support.delivery import A, B, C, Forgery, World, consignment_of, reach, receipt_of
from tests.support.tree import TREE_READY_MS

RETENTION_MS = 35 * DAY_MS


@pytest.fixture
def world() -> World:
    return World()


def owed_receipt(world: World) -> tuple[bytes, Return]:
    """A consignment at H38 whose first receipt is still owed."""
    sent = world.submit("G22", ["H38"])
    step = world.a.offer(sent.only)
    to, given = world.arrival(world.a, step.sends[0])
    to.do(given)
    owed = world.c.get(Return, "G22", sent.only, 0)
    return sent.only, owed


# --- deadlines in general --------------------------------------------------------------------------


def test_a_deadline_is_decided_once_and_then_gone(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.later(30 * DAY_MS)
    step = reach(world.a)
    assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT
    assert Settled(C, sent.only) in step.events
    again = world.a.step(DeadlineReached(due=((TREE_READY_MS + 30 * DAY_MS, Due.EXPIRE, sent.only),)))
    assert again == Step()


def test_a_deadline_that_was_taken_back_meanwhile_is_not_decided(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    assert world.a.step(DeadlineReached(due=((5, Due.EXPIRE, sent.only),))) == Step()


def test_a_deadline_that_was_taken_back_does_not_hinder_those_behind_it(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.later(30 * DAY_MS)
    due_ms = TREE_READY_MS + 30 * DAY_MS
    world.a.do(DeadlineReached(due=((5, Due.EXPIRE, bytes(32)), (due_ms, Due.EXPIRE, sent.only))))
    assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT


def test_nothing_expires_or_is_let_go_while_the_clock_is_suspicious(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.later(31 * DAY_MS)
    reach(world.a, clock_trusted=False)
    assert world.a.out(sent.only).state == SenderState.QUEUED
    assert world.a.all(Deadline) == [Deadline(at_ms=world.now_ms + CLOCK_PAUSE_MS, what=Due.EXPIRE, subject=sent.only)]
    world.later(CLOCK_PAUSE_MS)
    reach(world.a)
    assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT


def test_asking_again_judges_nothing_by_time_and_goes_on(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(OfferPutOff(centre=C, answer=NotNow(subject=sent.only, code="busy", retry_ms=5_000)))
    world.later(5_000)
    step = reach(world.a, clock_trusted=False)
    assert step.events == (Queued("H38", 0, sent.only, False),)


def test_many_deadlines_are_decided_in_one_step(world: World) -> None:
    first, second = (world.submit("G22", ["H38"], key=key) for key in "12")
    world.later(30 * DAY_MS)
    reach(world.a)
    assert {entry.state for entry in world.a.all(Outgoing)} == {SenderState.EXPIRED_UNSENT}
    assert {first.only, second.only} == {entry.consignment for entry in world.a.all(Outgoing)}


def test_an_upload_is_left_to_whoever_owns_its_files(world: World) -> None:
    world.a.store.write([Put(Deadline(at_ms=1, what=Due.UPLOAD, subject=bytes(32)))])
    reach(world.a)
    assert world.a.all(Deadline) == []


def test_what_was_partly_pulled_is_given_up(world: World) -> None:
    pull = Pull(consignment=bytes(32), centre=A, started_ms=1, parts=(StoredPart(digest=bytes(32), size=16),))
    world.c.store.write([Put(pull), Put(Deadline(at_ms=1, what=Due.PULL, subject=bytes(32)))])
    reach(world.c)
    assert world.c.all(Pull) == []


def test_patience_with_a_pull_ends_to_the_millisecond(world: World) -> None:
    started_ms = TREE_READY_MS - Settings().pull_patience_ms
    pull = Pull(consignment=bytes(32), centre=A, started_ms=started_ms, parts=())
    world.c.store.write([Put(pull), Put(Deadline(at_ms=TREE_READY_MS, what=Due.PULL, subject=bytes(32)))])
    reach(world.c)
    assert world.c.all(Pull) == []


def test_a_pull_that_went_on_outlives_an_older_deadline(world: World) -> None:
    pull = Pull(consignment=bytes(32), centre=A, started_ms=TREE_READY_MS, parts=())
    world.c.store.write([Put(pull), Put(Deadline(at_ms=1, what=Due.PULL, subject=bytes(32)))])
    reach(world.c)
    assert (world.c.all(Pull), world.c.all(Deadline)) == ([pull], [])


def test_a_retry_is_told_to_the_sender_once_it_is_due(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    world.a.do(OfferPutOff(centre=C, answer=NotNow(subject=sent.only, code="busy", retry_ms=5_000)))
    before = world.a.out(sent.only)
    world.later(5_000)
    step = reach(world.a)
    assert step.events == (Queued("H38", 0, sent.only, False),)
    assert world.a.out(sent.only) == replace(before, retry_ms=0)


def test_a_retry_of_what_is_settled_or_gone_is_nothing(world: World) -> None:
    arrived = world.accepted()
    world.a.store.write([Put(Deadline(at_ms=1, what=Due.RETRY, subject=subject)) for subject in (arrived, bytes(32))])
    step = reach(world.a)
    assert step.events == ()
    assert world.a.out(arrived).state == SenderState.ARRIVED


# --- acknowledged ----------------------------------------------------------------------------------


def test_an_acknowledged_receipt_is_no_longer_owed(world: World) -> None:
    consignment, owed = owed_receipt(world)
    step = world.c.do(ThingAcked(centre=A, thing=owed.thing))
    assert step.events == (Acked(A, owed.thing),)
    assert world.c.find(Return, "G22", consignment, 0) is None
    assert world.c.find(Thing, owed.thing) is not None
    assert len(world.c.all(Link, IN, consignment)) == 1


def test_an_acknowledgement_takes_the_time_of_the_next_attempt_back(world: World) -> None:
    _, owed = owed_receipt(world)
    world.c.do(OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=5_000)))
    assert [due.what for due in world.c.all(Deadline)] == [Due.RETURN]
    world.c.do(ThingAcked(centre=A, thing=owed.thing))
    assert world.c.all(Deadline) == world.c.all(Return) == []


def test_an_acknowledged_refusal_is_no_longer_owed(world: World) -> None:
    given = Forgery(world=world, envelope={"lane": 9}).arrives()
    world.c.do(given)
    (owed,) = world.c.all(Return)
    assert owed.slot == REFUSAL_SLOT
    world.c.do(ThingAcked(centre=A, thing=owed.thing))
    assert world.c.all(Return) == []
    assert consignment_of(given.offer) == owed.consignment


def test_only_the_centre_that_was_brought_a_thing_may_acknowledge_or_put_it_off(world: World) -> None:
    consignment, owed = owed_receipt(world)
    assert world.c.step(ThingAcked(centre=B, thing=owed.thing)) == Step(events=(Acked(B, owed.thing),), can_wait=True)
    answer = NotNow(subject=owed.thing, code="busy", retry_ms=5_000)
    assert world.c.step(OfferPutOff(centre=B, answer=answer)) == Step(events=(Acked(B, owed.thing),))
    assert world.c.get(Return, "G22", consignment, 0) == owed


def test_acknowledging_what_nobody_knows_or_owes_changes_nothing(world: World) -> None:
    consignment, owed = owed_receipt(world)
    strange = [bytes(32), world.c.box(consignment).statement]
    for digest in strange:
        assert world.c.step(ThingAcked(centre=A, thing=digest)) == Step(events=(Acked(A, digest),), can_wait=True)
    world.c.do(ThingAcked(centre=A, thing=owed.thing))
    assert world.c.step(ThingAcked(centre=A, thing=owed.thing)).changes == ()


def test_a_refusal_that_we_received_is_not_one_that_we_owe(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    from tests.support.delivery import refusal_of, returned

    world.a.offer(sent.only)
    thing = refusal_of(world, sent.only)
    world.a.do(returned(thing))
    assert world.a.step(ThingAcked(centre=C, thing=thing.digest)).changes == ()


# --- put off ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "meant"), [(0, SECOND_MS), (5_000, 5_000), (2**50, HOUR_MS)])
def test_a_receipt_that_is_put_off_stays_owed_and_has_a_time(world: World, asked: int, meant: int) -> None:
    consignment, owed = owed_receipt(world)
    step = world.c.do(OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="record_stale", retry_ms=asked)))
    retry_ms = TREE_READY_MS + meant
    waiting = replace(owed, retry_ms=retry_ms, waiting="record_stale", put_offs=1)
    assert world.c.get(Return, "G22", consignment, 0) == waiting
    assert world.c.all(Deadline) == [Deadline(at_ms=retry_ms, what=Due.RETURN, subject=owed.thing)]
    assert (step.events, step.sends) == ((Acked(A, owed.thing),), ())


def test_what_is_put_off_twice_before_its_time_writes_nothing_the_second_time(world: World) -> None:
    _, owed = owed_receipt(world)
    first, second = (
        OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=retry_ms))
        for retry_ms in (5_000, 60_000)
    )
    world.c.do(first)
    assert world.c.do(second) == Step(events=(Acked(A, owed.thing),))
    assert [due.at_ms for due in world.c.all(Deadline)] == [TREE_READY_MS + 5_000]


def test_what_is_put_off_again_when_its_time_had_come_waits_anew(world: World) -> None:
    """The second answer comes before anybody has looked at the deadline."""
    consignment, owed = owed_receipt(world)
    again = OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=5_000))
    world.c.do(again)
    world.later(5_000)
    world.c.do(again)
    assert world.c.get(Return, "G22", consignment, 0).put_offs == 2
    assert [due.at_ms for due in world.c.all(Deadline)] == [world.now_ms + 10_000]


def test_the_waits_of_a_receipt_that_is_put_off_again_and_again_grow(world: World) -> None:
    consignment, owed = owed_receipt(world)
    waits = []
    for _ in range(8):
        world.c.do(OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=5_000)))
        waits.append(world.c.get(Return, "G22", consignment, 0).retry_ms - world.now_ms)
        world.later(waits[-1])
        reach(world.c)
    assert waits == [5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]


def test_when_its_time_has_come_the_receipt_is_brought_again(world: World) -> None:
    consignment, owed = owed_receipt(world)
    world.c.do(OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=5_000)))
    world.later(5_000)
    step = reach(world.c)
    assert step.sends == (SendReturn(A, owed.thing, owed.number),)
    assert world.c.get(Return, "G22", consignment, 0) == replace(owed, put_offs=1)
    assert world.c.all(Deadline) == []


def test_a_time_for_what_is_no_longer_owed_brings_nothing(world: World) -> None:
    _, owed = owed_receipt(world)
    world.c.do(ThingAcked(centre=A, thing=owed.thing))
    world.c.store.write([Put(Deadline(at_ms=1, what=Due.RETURN, subject=owed.thing))])
    assert reach(world.c).sends == ()


# --- brought ---------------------------------------------------------------------------------------


def due(consignment: bytes, *slots: int) -> ReturnsDue:
    return ReturnsDue(issuer="G22", owed=tuple((consignment, slot) for slot in slots))


def test_what_is_owed_is_brought_under_its_number_and_writes_nothing(world: World) -> None:
    consignment, owed = owed_receipt(world)
    assert world.c.step(due(consignment, 0)) == Step(sends=(SendReturn(A, owed.thing, 1),))


def test_what_is_not_owed_or_not_due_is_not_brought(world: World) -> None:
    consignment, owed = owed_receipt(world)
    assert world.c.step(due(consignment, 1)) == Step()
    world.c.do(OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=5_000)))
    world.later(4_999)
    assert world.c.step(due(consignment, 0)) == Step()
    world.later(1)
    assert world.c.step(due(consignment, 0)).sends == (SendReturn(A, owed.thing, 1),)
    world.later(-2 * HOUR_MS)
    assert world.c.step(due(consignment, 0)).sends == (SendReturn(A, owed.thing, 1),), "the clock was set back"


def test_after_a_move_of_the_issuer_its_things_get_numbers_of_the_new_pair(world: World) -> None:
    consignment, owed = owed_receipt(world)
    world.move("G22", B)
    step = world.c.do(due(consignment, 0))
    assert step.sends == (SendReturn(B, owed.thing, 1),)
    assert world.c.get(Return, "G22", consignment, 0) == replace(owed, centre=B, number=1)
    assert world.c.get(Journal, B, 1) == Journal(centre=B, number=1, thing=owed.thing, consignment=consignment)
    assert (world.c.get(Pair, A).given, world.c.get(Pair, B).given) == (1, 1)
    world.c.do(ThingAcked(centre=A, thing=owed.thing))
    assert world.c.find(Return, "G22", consignment, 0) is not None, "the former host's word does not count"


def test_things_for_an_issuer_that_nobody_knows_wait(world: World) -> None:
    consignment, owed = owed_receipt(world)
    draft = Draft(world.c.view, world.c.here())
    bring(draft, replace(owed, issuer="H99"))
    assert draft.step() == Step()
    assert consignment == owed.consignment


def test_a_thing_without_a_number_gets_one_when_its_host_is_known(world: World) -> None:
    consignment, owed = owed_receipt(world)
    world.c.store.write([Put(replace(owed, centre="", number=0))])
    step = world.c.do(due(consignment, 0))
    assert step.sends == (SendReturn(A, owed.thing, 2),)
    assert world.c.get(Return, "G22", consignment, 0) == replace(owed, number=2)


# --- letting go ------------------------------------------------------------------------------------


def test_a_settled_document_keeps_its_statements_and_loses_key_header_and_bodies(world: World) -> None:
    consignment = world.accepted("G22", "H38", [b"one", b"two"])
    entry = world.a.out(consignment)
    world.later(RETENTION_MS)
    reach(world.a)
    document = world.a.get(Document, entry.envelope_id)
    assert document.wrapped_key == b""
    assert world.a.find(SealedHeader, entry.envelope) is None
    assert world.a.all(Body) == world.a.all(BodyUse) == []
    for digest in (entry.envelope, entry.statement, entry.head):
        assert world.a.find(Thing, digest) is not None
    assert world.a.out(consignment) == entry
    assert world.a.all(Deadline) == []


def test_a_document_with_an_open_consignment_is_not_let_go(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    subject = document_subject(sent.envelope_id)
    world.a.store.write([Put(Deadline(at_ms=1, what=Due.RETIRE_OUT, subject=subject))])
    reach(world.a)
    assert world.a.get(Document, sent.envelope_id).wrapped_key
    assert len(world.a.all(BodyUse)) == 2
    world.a.store.write([Put(Deadline(at_ms=1, what=Due.RETIRE_OUT, subject=bytes(32)))])
    assert reach(world.a).events == ()


def test_a_collected_consignment_is_let_go_after_its_time(world: World) -> None:
    consignment = world.accepted()
    world.deliver(world.c, world.c.collect(consignment))
    world.later(RETENTION_MS - 1)
    reach(world.c)
    assert world.c.box(consignment).wrapped_key
    world.later(1)
    reach(world.c)
    entry: Incoming = world.c.box(consignment)
    assert entry.wrapped_key == b""
    assert world.c.find(SealedHeader, entry.envelope) is None
    assert world.c.all(Body) == world.c.all(BodyUse) == []
    assert world.c.find(Thing, entry.head) is not None


def test_retention_may_be_nothing_at_all(world: World) -> None:
    consignment = world.accepted()
    world.c.changes = {"settings": Settings(retention_ms=0)}
    world.deliver(world.c, world.c.collect(consignment))
    reach(world.c)
    assert world.c.box(consignment).wrapped_key == b""


def test_what_was_not_collected_is_not_let_go(world: World) -> None:
    consignment = world.accepted()
    subjects = (consignment, bytes(32))
    world.c.store.write([Put(Deadline(at_ms=1, what=Due.RETIRE_IN, subject=subject)) for subject in subjects])
    reach(world.c)
    assert world.c.box(consignment).wrapped_key
    assert len(world.c.all(BodyUse)) == 2


def test_a_body_that_somebody_else_needs_stays_until_the_last_one_lets_go(world: World) -> None:
    sent = world.submit("G22", ["G22.99"])
    world.deliver(world.a, world.a.offer(sent.only, centre=A))
    entry = world.a.out(sent.only)
    part = world.a.get(Document, sent.envelope_id).parts[0]
    assert {use.box for use in world.a.all(BodyUse, part.digest)} == {OUT, IN}
    world.later(RETENTION_MS)
    reach(world.a)
    assert {use.box for use in world.a.all(BodyUse, part.digest)} == {IN}
    assert world.a.find(Body, part.digest) is not None
    assert world.a.find(SealedHeader, entry.envelope) is not None
    world.deliver(world.a, world.a.collect(sent.only))
    world.later(RETENTION_MS)
    reach(world.a)
    assert world.a.all(BodyUse) == world.a.all(Body) == world.a.all(SealedHeader) == []


def test_two_users_that_let_go_in_one_step_let_the_body_go(world: World) -> None:
    sent = world.submit("G22", ["G22.99"])
    world.deliver(world.a, world.a.offer(sent.only, centre=A))
    world.deliver(world.a, world.a.collect(sent.only))
    world.later(RETENTION_MS)
    reach(world.a)
    assert world.a.all(BodyUse) == world.a.all(Body) == world.a.all(SealedHeader) == []


def test_a_body_whose_record_is_gone_already_is_no_obstacle(world: World) -> None:
    from protocol.record import Delete

    consignment = world.accepted()
    part = world.a.get(Document, world.a.out(consignment).envelope_id).parts[0]
    world.a.store.write([Delete(Body, (part.digest,))])
    world.later(RETENTION_MS)
    reach(world.a)
    assert world.a.all(BodyUse) == []


def test_a_receipt_after_the_expiry_still_counts_and_starts_no_second_retention(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    thing = receipt_of(world, sent.only)
    world.later(30 * DAY_MS)
    reach(world.a)
    assert world.a.out(sent.only).state == SenderState.EXPIRED_UNCONFIRMED
    deadlines_before = world.a.all(Deadline)
    world.later(MINUTE_MS)
    from tests.support.delivery import returned

    world.a.do(returned(thing))
    assert world.a.out(sent.only).state == SenderState.ARRIVED
    assert world.a.all(Deadline) == deadlines_before


def test_the_step_functions_are_those_of_the_table() -> None:
    from node.pump import STEPS, put_off

    assert STEPS[DeadlineReached] is deadlines
    assert STEPS[ThingAcked] is acked
    assert STEPS[ReturnsDue] is returns_due
    assert STEPS[OfferPutOff] is put_off
    assert return_put_off is not put_off
