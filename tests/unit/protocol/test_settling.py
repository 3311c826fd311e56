"""What comes back to the sender: receipts and refusals, true and false ones."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from protocol.delivery import SenderState
from protocol.directory import RecordState
from protocol.encoding import encode
from protocol.exchange import NotNow, Returned
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, HOUR_MS, MINUTE_MS, SIGNED_AGE_MAX_MS
from protocol.receipt import RECEIPT, Receipt
from protocol.record import Put
from protocol.records import OUT, Deadline, Document, Due, Happening, Link, Outgoing, Owed, Pair, Thing
from protocol.records import Queued as QueuedCount
from protocol.refusal import REFUSAL
from protocol.signing import Ed25519Signer, Signed, sign
from protocol.step import Alarm, OfferPutOff, SendAck, SendNotNow, Settled, StateChanged, Step, ThingReturned
from tests.support.delivery import B, C, World, receipt_of, refusal_of, returned
from tests.support.errors import record
from tests.support.tree import TREE_READY_MS, Tree, entry_of, key_seed

STRANGER = Ed25519Signer(key_seed(1, "stranger"))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def offered(world: World) -> bytes:
    """A consignment whose offer is on its way."""
    sent = world.submit("G22", ["H38"])
    world.a.offer(sent.only)
    return sent.only


def put_off(step: Step, thing: Signed, code: str, retry_ms: int, *, alarm: bool, centre: str = C) -> None:
    """Nothing is remembered; the peer hears why and when; honest people cannot bring about an alarm."""
    assert step == Step(
        sends=(SendNotNow(centre, thing.digest, code, retry_ms),),
        events=(Alarm(code, centre, thing.digest),) if alarm else (),
    )


# --- receipts that settle -----------------------------------------------------------------------


def test_the_first_receipt_settles_the_consignment_and_is_acknowledged(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered)
    before = world.a.out(offered)
    world.later(7)
    step = world.a.do(returned(thing, number=9))
    assert world.a.out(offered) == replace(
        before,
        state=SenderState.ARRIVED,
        head=thing.digest,
        next_receipt=1,
        codes=(1,),
        settled_ms=TREE_READY_MS + 7,
    )
    assert step.sends == (SendAck(C, thing.digest),)
    assert step.events == (
        Settled(C, offered),
        StateChanged(
            box=OUT,
            consignment=offered,
            envelope_id=before.envelope_id,
            agency="G22",
            peer_agency="H38",
            before="offered",
            state="arrived",
            code="01",
        ),
    )
    assert world.a.get(Thing, thing.digest).wire == thing.to_wire()
    assert world.a.get(Link, OUT, offered, 0) == Link(
        box=OUT,
        consignment=offered,
        sequence=0,
        receipt=thing.digest,
        code=1,
        time_ms=TREE_READY_MS,
        recorded_ms=TREE_READY_MS + 7,
    )
    told = world.a.all(Happening)[-1]
    assert (told.agency, told.what, told.code, told.consignment, told.detail) == ("G22", "status", 1, offered, "")
    assert told.envelope_id == before.envelope_id
    assert world.a.find(Owed, "H38", 3, 1) is None
    assert world.a.get(QueuedCount, "H38", 0).count == 0
    assert world.a.get(Document, before.envelope_id).unsettled == 0
    assert world.a.get(Pair, C).held == 9
    assert [due.what for due in world.a.all(Deadline)] == [Due.RETIRE_OUT]


def test_the_chain_goes_on_link_by_link(world: World, offered: bytes) -> None:
    seen: list[tuple[int, int]] = []
    things: list[Signed] = []
    for code in (1, 100, 3, 5, 4, 4):
        things.append(receipt_of(world, offered, code=code))
        world.a.do(returned(things[-1]))
        seen.append((world.a.out(offered).state, world.a.out(offered).next_receipt))
    assert seen == [
        (SenderState.ARRIVED, 1),
        (SenderState.COLLECTED, 2),
        (SenderState.ANSWERED, 3),
        (SenderState.ANSWERED, 4),
        (SenderState.ANSWERED, 5),
        (SenderState.ANSWERED, 6),
    ]
    entry = world.a.out(offered)
    assert (entry.codes, entry.head) == ((1, 100, 3, 5, 4, 4), things[-1].digest)
    assert [link.flag for link in world.a.all(Link, OUT, offered)] == ["", "", "", "", "out_of_order", ""]
    assert [told.detail for told in world.a.all(Happening)] == ["", "", "", "", "out_of_order", ""]
    assert entry.settled_ms == TREE_READY_MS, "it settled once"


def test_what_the_clerk_wrote_is_kept_with_the_link(world: World, offered: bytes) -> None:
    world.a.do(returned(receipt_of(world, offered)))
    words = {"code": 2, "reason": "Sai thẩm quyền", "staff_name": "Lê Văn C", "staff_position": "Văn thư"}
    world.a.do(returned(receipt_of(world, offered, **words)))
    link = world.a.get(Link, OUT, offered, 1)
    assert (link.reason, link.staff_name, link.staff_position) == ("Sai thẩm quyền", "Lê Văn C", "Văn thư")


def test_a_receipt_twice_is_acknowledged_twice_and_recorded_once(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered)
    world.a.do(returned(thing))
    again = world.a.do(returned(thing))
    assert again.sends == (SendAck(C, thing.digest),)
    assert again.changes == ()
    assert again.events == (Settled(C, offered),)
    later = world.a.do(returned(thing, number=5))
    assert [type(change) for change in later.changes] == [Put]
    assert world.a.get(Pair, C).held == 5


def test_a_receipt_for_what_a_restored_sender_never_offered_settles_it(world: World) -> None:
    sent = world.submit("G22", ["H38"])
    world.a.do(returned(receipt_of(world, sent.only)))
    assert world.a.out(sent.only).state == SenderState.ARRIVED


@pytest.mark.parametrize(
    "state",
    [
        SenderState.EXPIRED_UNSENT,
        SenderState.EXPIRED_UNCONFIRMED,
        SenderState.RECIPIENT_CLOSED,
        SenderState.CANCELLED,
    ],
)
def test_a_receipt_wins_over_every_final_but_a_refusal(world: World, offered: bytes, state: SenderState) -> None:
    world.a.store.write([Put(replace(world.a.out(offered), state=state, settled_ms=5))])
    step = world.a.do(returned(receipt_of(world, offered)))
    entry = world.a.out(offered)
    assert (entry.state, entry.settled_ms, entry.codes) == (SenderState.ARRIVED, 5, (1,))
    assert not [event for event in step.events if isinstance(event, Settled | Alarm)]


def test_a_receipt_after_a_put_off_takes_its_deadline_back(world: World, offered: bytes) -> None:
    world.a.do(OfferPutOff(centre=C, answer=NotNow(subject=offered, code="busy", retry_ms=5_000)))
    world.a.do(returned(receipt_of(world, offered)))
    entry = world.a.out(offered)
    assert (entry.state, entry.waiting, entry.retry_ms) == (SenderState.ARRIVED, "", 0)
    assert [due.what for due in world.a.all(Deadline)] == [Due.RETIRE_OUT]


def test_statuses_of_an_agency_with_its_own_key_are_signed_by_that_key() -> None:
    tree, own = Tree.make(), Ed25519Signer(key_seed(1, "H40 own"))
    tree.add_agency("H40", C, keys=(entry_of(own),))
    world = World(tree)
    sent = world.submit("G22", ["H40"])
    world.a.offer(sent.only)
    world.a.do(returned(receipt_of(world, sent.only)))
    by_centre = receipt_of(world, sent.only, code=3)
    put_off(world.a.step(returned(by_centre)), by_centre, "sign_again", MINUTE_MS, alarm=False)
    by_agency = receipt_of(world, sent.only, own, code=3)
    assert world.a.step(returned(by_agency)).sends == (SendAck(C, by_agency.digest),)
    collected = receipt_of(world, sent.only, own, code=100)
    put_off(world.a.step(returned(collected)), collected, "sign_again", MINUTE_MS, alarm=False)


def test_a_chain_goes_on_under_another_incarnation(world: World, offered: bytes) -> None:
    world.a.do(returned(receipt_of(world, offered)))
    world.a.do(returned(receipt_of(world, offered, code=100, incarnation=bytes(16))))
    assert world.a.out(offered).next_receipt == 2


# --- receipts after a move --------------------------------------------------------------------------


def test_after_a_move_the_new_host_goes_on_with_the_chain_and_the_old_one_may_not(world: World, offered: bytes) -> None:
    world.a.do(returned(receipt_of(world, offered)))
    world.move("H38", B)
    old_host = receipt_of(world, offered, code=3)
    assert world.a.step(returned(old_host)).sends == (SendAck(C, old_host.digest),), "made under its own epoch"
    new_host = receipt_of(world, offered, world.b.keys.signer, code=3, epoch=2)
    step = world.a.do(returned(new_host, centre=B))
    assert step.sends == (SendAck(B, new_host.digest),)
    assert world.a.out(offered).epoch == 2
    late = receipt_of(world, offered, code=4, epoch=1)
    record("receipt_chain_epoch")
    put_off(world.a.step(returned(late)), late, "receipt_chain_epoch", HOUR_MS, alarm=True)


def test_an_epoch_that_no_record_shows_is_a_stale_record(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered, epoch=7)
    put_off(world.a.step(returned(thing)), thing, "record_stale", MINUTE_MS, alarm=False)
    record("record_stale")


def test_a_receipt_brought_by_another_host_frees_its_window_too(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered)
    step = world.a.do(returned(thing, centre=B))
    assert step.sends == (SendAck(B, thing.digest),)
    assert [event for event in step.events if isinstance(event, Settled)] == [Settled(C, offered), Settled(B, offered)]


# --- receipts that do not count ---------------------------------------------------------------------


def test_a_receipt_for_something_never_sent_is_put_off_with_an_alarm(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered, consignment=bytes(32))
    put_off(world.a.step(returned(thing)), thing, "consignment_unknown", HOUR_MS, alarm=True)
    refusal = refusal_of(world, offered, consignment=bytes(32))
    put_off(world.a.step(returned(refusal)), refusal, "consignment_unknown", HOUR_MS, alarm=True)


def test_a_key_that_the_directory_does_not_list_may_be_news(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered, STRANGER)
    put_off(world.a.step(returned(thing)), thing, "record_stale", MINUTE_MS, alarm=False)
    refusal = refusal_of(world, offered, STRANGER)
    put_off(world.a.step(returned(refusal)), refusal, "record_stale", MINUTE_MS, alarm=False)


def damaged(thing: Signed) -> Signed:
    """The right key id with another signature."""
    (signature,) = thing.signatures
    return replace(thing, signatures=(replace(signature, signature=bytes(64)),))


def test_a_bad_signature_is_put_off_with_an_alarm(world: World, offered: bytes) -> None:
    for honest in (receipt_of(world, offered), refusal_of(world, offered)):
        thing = damaged(honest)
        put_off(world.a.step(returned(thing)), thing, "signature_invalid", HOUR_MS, alarm=True)


def test_a_gap_waits_for_what_is_missing(world: World, offered: bytes) -> None:
    thing = receipt_of(world, offered, sequence=1, code=100)
    put_off(world.a.step(returned(thing)), thing, "receipt_chain_gap", MINUTE_MS, alarm=False)
    record("receipt_chain_gap")


def test_two_receipts_with_one_number_are_a_fork(world: World, offered: bytes) -> None:
    other = receipt_of(world, offered, time_ms=TREE_READY_MS - 1)
    world.a.do(returned(receipt_of(world, offered)))
    put_off(world.a.step(returned(other)), other, "receipt_chain_fork", HOUR_MS, alarm=True)
    astray = receipt_of(world, offered, code=3, previous=bytes(32))
    put_off(world.a.step(returned(astray)), astray, "receipt_chain_fork", HOUR_MS, alarm=True)
    record("receipt_chain_fork")


@pytest.mark.parametrize("change", [{"envelope": bytes(32)}, {"issuer": "G12"}, {"recipient": "G12"}])
def test_a_receipt_that_speaks_of_something_else_is_foreign(
    world: World, offered: bytes, change: dict[str, Any]
) -> None:
    thing = receipt_of(world, offered, **change)
    put_off(world.a.step(returned(thing)), thing, "receipt_chain_foreign", HOUR_MS, alarm=True)
    record("receipt_chain_foreign")


def test_collected_comes_once(world: World, offered: bytes) -> None:
    for code in (1, 100):
        world.a.do(returned(receipt_of(world, offered, code=code)))
    again = receipt_of(world, offered, code=100)
    put_off(world.a.step(returned(again)), again, "receipt_collected_twice", HOUR_MS, alarm=True)
    record("receipt_collected_twice")


def test_a_receipt_from_the_future_waits_unless_our_own_clock_is_suspicious(world: World, offered: bytes) -> None:
    limit = receipt_of(world, offered, time_ms=TREE_READY_MS + CLOCK_SKEW_MS)
    assert world.a.step(returned(limit)).sends == (SendAck(C, limit.digest),)
    future = receipt_of(world, offered, time_ms=TREE_READY_MS + CLOCK_SKEW_MS + 1)
    put_off(world.a.step(returned(future)), future, "clock", MINUTE_MS, alarm=False)
    assert world.a.step(returned(future), clock_trusted=False).sends == (SendAck(C, future.digest),)


def test_a_refusal_from_the_future_waits_unless_our_own_clock_is_suspicious(world: World, offered: bytes) -> None:
    limit = refusal_of(world, offered, time_ms=TREE_READY_MS + CLOCK_SKEW_MS)
    assert world.a.step(returned(limit)).sends == (SendAck(C, limit.digest),)
    refusal = refusal_of(world, offered, time_ms=TREE_READY_MS + CLOCK_SKEW_MS + 1)
    put_off(world.a.step(returned(refusal)), refusal, "clock", MINUTE_MS, alarm=False)
    assert world.a.step(returned(refusal), clock_trusted=False).sends == (SendAck(C, refusal.digest),)
    record("clock")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sequence": 0, "code": 3}, "receipt_not_arrived_first"),
        ({"code": 2, "reason": " "}, "receipt_reason_missing"),
        ({"code": 15}, "receipt_request"),
    ],
)
def test_a_receipt_that_contradicts_itself_blames_its_maker_and_leaves_the_stream_alone(
    world: World, offered: bytes, change: dict[str, Any], code: str
) -> None:
    if "sequence" not in change:
        world.a.do(returned(receipt_of(world, offered)))
    thing = receipt_of(world, offered, **change)
    put_off(world.a.step(returned(thing)), thing, code, HOUR_MS, alarm=True)
    record(code)


def test_codes_of_a_newer_version_wait_for_an_upgrade(world: World, offered: bytes) -> None:
    world.a.do(returned(receipt_of(world, offered)))
    thing = receipt_of(world, offered, code=77)
    put_off(world.a.step(returned(thing)), thing, "newer_format", HOUR_MS, alarm=False)
    refusal = refusal_of(world, offered, code="not_in_the_list")
    put_off(world.a.step(returned(refusal)), refusal, "newer_format", HOUR_MS, alarm=False)
    record("newer_format")


def test_statements_with_keys_of_a_newer_version_wait_for_an_upgrade(world: World, offered: bytes) -> None:
    for name in (RECEIPT.name, REFUSAL.name):
        thing = sign(name, encode({1: offered, 127: 1}), world.c.keys.signer)
        assert world.a.step(returned(thing)).sends == (SendNotNow(C, thing.digest, "newer_format", HOUR_MS),)


def test_a_statement_that_does_not_read_is_put_off_with_an_alarm(world: World, offered: bytes) -> None:
    thing = sign(RECEIPT.name, b"\xc1", world.c.keys.signer)
    put_off(world.a.step(returned(thing)), thing, "format_malformed", HOUR_MS, alarm=True)


def test_a_thing_of_an_unknown_format_waits_for_an_upgrade(world: World, offered: bytes) -> None:
    thing = sign("truc/receipt/2", encode({1: 1}), world.c.keys.signer)
    put_off(world.a.step(returned(thing)), thing, "newer_format", HOUR_MS, alarm=False)


def test_bytes_that_are_no_signed_thing_are_put_off_by_their_digest(world: World) -> None:
    step = world.a.step(ThingReturned(centre=C, returned=Returned(number=1, thing=b"\xc1")))
    subject = hashlib.sha256(b"\xc1").digest()
    assert step.sends == (SendNotNow(C, subject, "format_malformed", HOUR_MS),)
    assert step.events == (Alarm("format_malformed", C, subject),)
    assert step.changes == ()


# --- words that were long on their way -----------------------------------------------------------------


def rotated(world: World) -> Ed25519Signer:
    """C's centre gives its operational key up for this one."""
    old, new = world.c.keys.signer, Ed25519Signer(key_seed(1, "another"))
    world.tree.clock_ms = max(world.tree.clock_ms, world.now_ms)
    keys = tuple(
        sorted(
            (entry_of(old, until_ms=world.now_ms), entry_of(new, from_ms=world.now_ms)), key=lambda entry: entry.key_id
        )
    )
    world.publish(world.tree.next_centre(C, keys=keys), old)
    return new


def test_a_status_of_long_ago_is_taken_while_its_key_is_still_in_use(world: World, offered: bytes) -> None:
    signed_ms = world.now_ms
    world.later(SIGNED_AGE_MAX_MS + 1)
    step = world.a.do(returned(receipt_of(world, offered, time_ms=signed_ms)))
    assert [type(send) for send in step.sends] == [SendAck]
    assert world.a.out(offered).codes == (1,)


@pytest.mark.parametrize("late", [False, True])
def test_a_word_of_long_ago_needs_a_key_of_now(world: World, offered: bytes, late: bool) -> None:
    """A key that was given up cannot date things back for ever; at 90 days to the millisecond it still counts."""
    signed_ms = world.now_ms
    receipt, refusal = (make(world, offered, time_ms=signed_ms) for make in (receipt_of, refusal_of))
    world.later(DAY_MS)
    rotated(world)
    world.later(SIGNED_AGE_MAX_MS - DAY_MS + late)
    for thing in (receipt, refusal):
        step = world.a.step(returned(thing))
        if late:
            put_off(step, thing, "sign_again", MINUTE_MS, alarm=False)
        else:
            assert [type(send) for send in step.sends] == [SendAck]
    assert [type(send) for send in world.a.step(returned(receipt), clock_trusted=False).sends] == [SendAck]


def test_a_word_of_long_ago_that_was_signed_again_is_the_same_word(world: World, offered: bytes) -> None:
    signed_ms = world.now_ms
    old = receipt_of(world, offered, time_ms=signed_ms)
    world.later(DAY_MS)
    new = rotated(world)
    world.later(SIGNED_AGE_MAX_MS)
    again = receipt_of(world, offered, new, time_ms=signed_ms)
    assert (again.digest, again.to_wire() != old.to_wire()) == (old.digest, True)
    assert [type(send) for send in world.a.do(returned(again)).sends] == [SendAck]


def test_a_put_off_thing_does_not_raise_the_mark_of_the_pair(world: World, offered: bytes) -> None:
    world.a.do(returned(receipt_of(world, offered, epoch=7), number=99))
    assert world.a.get(Pair, C).held == 0


# --- refusals -----------------------------------------------------------------------------------


def test_a_refusal_judged_by_our_records_is_final(world: World, offered: bytes) -> None:
    before = world.a.out(offered)
    thing = refusal_of(world, offered, code="too_large", field="parts")
    step = world.a.do(returned(thing, number=4))
    assert world.a.out(offered) == replace(
        before,
        state=SenderState.REFUSED,
        settled_ms=TREE_READY_MS,
        refusal=thing.digest,
        refusal_code="too_large",
    )
    assert step.sends == (SendAck(C, thing.digest),)
    assert step.events[0] == Settled(C, offered)
    change = step.events[1]
    assert isinstance(change, StateChanged)
    assert (change.before, change.state, change.code) == ("offered", "refused", "too_large")
    assert world.a.get(Thing, thing.digest).wire == thing.to_wire()
    told = world.a.all(Happening)[-1]
    assert (told.agency, told.what, told.detail, told.consignment) == ("G22", "refused", "too_large", offered)
    assert told.envelope_id == before.envelope_id, "the software knows its document by it"
    assert world.a.get(Pair, C).held == 4
    assert world.a.find(Owed, "H38", 3, 1) is None


def test_the_same_refusal_again_is_acknowledged_and_nothing_else(world: World, offered: bytes) -> None:
    thing = refusal_of(world, offered)
    world.a.do(returned(thing))
    entry, told = world.a.out(offered), len(world.a.all(Happening))
    again = world.a.do(returned(thing))
    assert (again.sends, again.events) == ((SendAck(C, thing.digest),), ())
    assert (world.a.out(offered), len(world.a.all(Happening))) == (entry, told)


def test_a_refusal_by_other_records_is_asked_about_once_more(world: World, offered: bytes) -> None:
    before = world.a.out(offered)
    first = refusal_of(world, offered, judged_by=(bytes(32),))
    step = world.a.do(returned(first))
    retry_ms = TREE_READY_MS + MINUTE_MS
    assert world.a.out(offered) == replace(
        before, refusal=first.digest, waiting="refusal_records_differ", retry_ms=retry_ms
    )
    assert step.sends == (SendAck(C, first.digest),)
    assert step.events[0] == Settled(C, offered, retry_ms), "its place in the window is free"
    change = step.events[1]
    assert isinstance(change, StateChanged)
    assert (change.before, change.state, change.code) == ("offered", "offered", "refusal_records_differ")
    assert world.a.find(Deadline, retry_ms, Due.RETRY, offered) is not None
    assert world.a.find(Thing, first.digest) is not None
    second = refusal_of(world, offered, judged_by=(bytes(32),), time_ms=TREE_READY_MS + 1)
    world.a.do(returned(second))
    entry = world.a.out(offered)
    assert (entry.state, entry.refusal) == (SenderState.REFUSED, second.digest)
    assert world.a.find(Thing, second.digest) is not None, "both are kept as evidence"
    assert [due.what for due in world.a.all(Deadline)] == [Due.RETIRE_OUT]


def test_a_put_off_time_gives_way_to_that_of_the_second_offer(world: World, offered: bytes) -> None:
    world.a.do(OfferPutOff(centre=C, answer=NotNow(subject=offered, code="busy", retry_ms=5_000)))
    world.a.do(returned(refusal_of(world, offered, judged_by=(bytes(32),))))
    retries = [due.at_ms for due in world.a.all(Deadline) if due.what == Due.RETRY]
    assert retries == [TREE_READY_MS + MINUTE_MS]


def test_the_records_of_the_issuer_count_as_ours(world: World, offered: bytes) -> None:
    party = world.a.view.directory.party("G22", at_ms=world.now_ms)
    assert party is not None
    world.a.do(returned(refusal_of(world, offered, judged_by=party.records)))
    assert world.a.out(offered).state == SenderState.REFUSED


def test_without_a_record_of_the_issuer_its_records_are_news(world: World, offered: bytes) -> None:
    world.a.store.write([Put(replace(world.a.out(offered), issuer="H99"))])
    party = world.a.view.directory.party("G22", at_ms=world.now_ms)
    assert party is not None
    world.a.do(returned(refusal_of(world, offered, judged_by=party.records)))
    assert world.a.out(offered).waiting == "refusal_records_differ"


@pytest.mark.parametrize("change", [{"envelope": bytes(32)}, {"recipient": "G12"}])
def test_a_refusal_that_speaks_of_something_else_is_foreign(
    world: World, offered: bytes, change: dict[str, Any]
) -> None:
    thing = refusal_of(world, offered, **change)
    put_off(world.a.step(returned(thing)), thing, "receipt_chain_foreign", HOUR_MS, alarm=True)


def test_a_refusal_says_more_than_an_expiry(world: World, offered: bytes) -> None:
    state = SenderState.EXPIRED_UNCONFIRMED
    world.a.store.write([Put(replace(world.a.out(offered), state=state, settled_ms=5))])
    world.a.do(returned(refusal_of(world, offered, judged_by=(bytes(32),))))
    entry = world.a.out(offered)
    assert (entry.state, entry.settled_ms) == (SenderState.REFUSED, 5)


def test_a_refusal_after_a_receipt_is_kept_as_evidence_and_changes_no_state(world: World, offered: bytes) -> None:
    world.a.do(returned(receipt_of(world, offered)))
    before = world.a.out(offered)
    thing = refusal_of(world, offered)
    step = world.a.do(returned(thing))
    assert step.sends == (SendAck(C, thing.digest),)
    assert step.events == (Alarm("refusal_after_receipt", C, offered),)
    assert world.a.out(offered) == replace(before, refusal=thing.digest)
    assert world.a.find(Thing, thing.digest) is not None
    assert world.a.step(returned(thing)).events == ()


def test_a_receipt_after_a_refusal_is_kept_as_evidence_and_changes_no_state(world: World, offered: bytes) -> None:
    world.a.do(returned(refusal_of(world, offered)))
    thing = receipt_of(world, offered)
    step = world.a.do(returned(thing))
    entry = world.a.out(offered)
    assert (entry.state, entry.codes, entry.head) == (SenderState.REFUSED, (1,), thing.digest)
    assert step.sends == (SendAck(C, thing.digest),)
    assert step.events[0] == Alarm("receipt_after_refusal", C, offered)


def test_a_receipt_after_a_refusal_that_was_asked_about_settles_with_an_alarm(world: World, offered: bytes) -> None:
    world.a.do(returned(refusal_of(world, offered, judged_by=(bytes(32),))))
    step = world.a.do(returned(receipt_of(world, offered)))
    assert world.a.out(offered).state == SenderState.ARRIVED
    assert step.events[0] == Alarm("receipt_after_refusal", C, offered)


def test_a_recipient_that_nobody_knows_is_a_stale_record(world: World, offered: bytes) -> None:
    receipt, refusal = receipt_of(world, offered, recipient="H99"), refusal_of(world, offered, recipient="H99")
    world.a.store.write([Put(replace(world.a.out(offered), recipient="H99"))])
    put_off(world.a.step(returned(receipt)), receipt, "record_stale", MINUTE_MS, alarm=False)
    put_off(world.a.step(returned(refusal)), refusal, "record_stale", MINUTE_MS, alarm=False)


def test_receipts_of_a_closed_code_still_flow(world: World, offered: bytes) -> None:
    world.publish(world.tree.next_agency("H38", state=RecordState.CLOSED))
    world.a.do(returned(receipt_of(world, offered)))
    assert world.a.out(offered).state == SenderState.ARRIVED


# --- pieces ---------------------------------------------------------------------------------------




def test_the_statement_of_the_test_world_reads_back(world: World, offered: bytes) -> None:
    receipt = RECEIPT.decode(receipt_of(world, offered).statement)
    entry: Outgoing = world.a.out(offered)
    assert isinstance(receipt, Receipt)
    assert (receipt.previous, receipt.envelope) == (entry.head, entry.envelope)
