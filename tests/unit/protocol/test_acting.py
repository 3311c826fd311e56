"""What the recipient's software does: collecting and answering, each a link of the chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.acting import ReceiptMade
from protocol.consignment import CONSIGNMENT
from protocol.delivery import RecipientState
from protocol.errors import RequestError
from protocol.limits import DAY_MS, MINUTE_MS
from protocol.receipt import RECEIPT, Receipt, verify_chain
from protocol.record import Put
from protocol.records import IN, Audit, Deadline, Due, Incoming, Journal, Link, Pair, Remembered, Return, Uncollected
from protocol.signing import Ed25519Signer, Verifier
from protocol.step import Collected, SendReturn, Settings, StateChanged, Step
from protocol.textid import to_text
from tests.support.delivery import SYSTEM, A, B, C, World, caller
from tests.support.errors import expects
from tests.support.tree import TREE_READY_MS, Tree, entry_of, key_seed


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def arrived(world: World) -> bytes:
    """A consignment that arrived at H38, its first receipt acknowledged."""
    return world.accepted()


def made(step: Step) -> ReceiptMade:
    assert isinstance(step.reply, ReceiptMade)
    return step.reply


# --- collecting ------------------------------------------------------------------------------------


def test_collecting_makes_the_next_link_and_starts_the_retention(world: World, arrived: bytes) -> None:
    before = world.c.box(arrived)
    world.later(MINUTE_MS)
    step = world.c.collect(arrived)
    entry = world.c.box(arrived)
    thing = world.c.thing(entry.head)
    assert entry == replace(
        before,
        state=RecipientState.COLLECTED,
        head=thing.digest,
        next_receipt=2,
        codes=(1, 100),
        collected_ms=TREE_READY_MS + MINUTE_MS,
    )
    Verifier().verify(thing, world.c.keys.signer.public)
    assert RECEIPT.decode(thing.statement) == Receipt(
        consignment=arrived,
        envelope=before.envelope,
        issuer="G22",
        recipient="H38",
        epoch=1,
        incarnation=world.c.incarnation,
        sequence=1,
        previous=before.head,
        code=100,
        time_ms=TREE_READY_MS + MINUTE_MS,
        clock_quality=1,
    )
    assert step.reply == ReceiptMade(consignment=arrived, sequence=1, code=100, flag="", repeated=False)
    assert step.sends == (SendReturn(A, thing.digest, 2),)
    assert step.events == (
        StateChanged(
            box=IN,
            consignment=arrived,
            envelope_id=before.envelope_id,
            agency="H38",
            peer_agency="G22",
            before="arrived",
            state="collected",
            code="100",
        ),
    )
    assert world.c.all(Uncollected) == []
    assert world.c.all(Deadline) == [
        Deadline(at_ms=TREE_READY_MS + MINUTE_MS + 35 * DAY_MS, what=Due.RETIRE_IN, subject=arrived)
    ]
    assert world.c.all(Return) == [
        Return(issuer="G22", consignment=arrived, slot=1, thing=thing.digest, centre=A, number=2)
    ]
    assert world.c.get(Journal, A, 2).thing == thing.digest
    assert world.c.get(Pair, A).given == 2
    assert [(one.operation, one.agency, one.subject) for one in world.c.all(Audit)] == [
        ("collect", "H38", to_text("csg", arrived))
    ]


def test_collecting_twice_changes_nothing(world: World, arrived: bytes) -> None:
    world.c.collect(arrived)
    world.later(DAY_MS)
    again = world.c.collect(arrived)
    expected = ReceiptMade(consignment=arrived, sequence=1, code=100, flag="", repeated=True)
    assert again == Step(reply=expected)


def test_collecting_again_finds_its_own_link_among_others(world: World, arrived: bytes) -> None:
    world.c.answer(arrived, 3)
    world.c.collect(arrived)
    assert made(world.c.collect(arrived)) == ReceiptMade(
        consignment=arrived, sequence=2, code=100, flag="", repeated=True
    )
    assert world.c.box(arrived).state == RecipientState.ANSWERED


def test_a_clock_at_its_very_beginning_still_counts_as_collected(world: World, arrived: bytes) -> None:
    party = world.c.here()
    assert party.now_ms > 0
    world.c.changes = {"settings": Settings(retention_ms=0)}
    world.c.collect(arrived)
    assert [due.at_ms for due in world.c.all(Deadline)] == [TREE_READY_MS]


@pytest.mark.parametrize("agencies", [(), ("G12",), ("H38.1",)])
def test_a_consignment_of_another_agency_does_not_exist(
    world: World, arrived: bytes, agencies: tuple[str, ...]
) -> None:
    with expects("consignment_unknown", RequestError, field="consignment"):
        world.c.step(Collected(caller=caller(*agencies), consignment=arrived))
    with expects("consignment_unknown", RequestError, field="consignment"):
        world.c.step(world.c.answered(arrived, 3, caller=caller(*agencies)))


def test_an_unknown_consignment_is_unknown(world: World) -> None:
    with expects("consignment_unknown", RequestError, field="consignment"):
        world.c.step(Collected(caller=caller("H38"), consignment=bytes(32)))


def test_an_agency_that_has_moved_is_served_elsewhere(world: World, arrived: bytes) -> None:
    world.move("H38", B)
    for given in (Collected(caller=caller("H38"), consignment=arrived), world.c.answered(arrived, 3)):
        with expects("agency_not_hosted", RequestError, field="consignment") as caught:
            world.c.step(given)
        assert caught[0].detail == {"agency": "H38"}


def test_an_agency_that_nobody_knows_is_not_hosted(world: World, arrived: bytes) -> None:
    world.c.store.write([Put(replace(world.c.box(arrived), recipient="H99"))])
    with expects("agency_not_hosted", RequestError):
        world.c.step(Collected(caller=caller("H99"), consignment=arrived))


def test_an_agency_that_came_back_signs_under_its_new_epoch(world: World, arrived: bytes) -> None:
    world.move("H38", B)
    world.move("H38", C)
    world.c.collect(arrived)
    assert RECEIPT.decode(world.c.thing(world.c.box(arrived).head).statement).epoch == 3


# --- answering -------------------------------------------------------------------------------------


def test_an_answer_is_signed_into_the_chain_with_the_clerks_words(world: World, arrived: bytes) -> None:
    before = world.c.box(arrived)
    step = world.c.answer(arrived, 2, "k", reason="Sai thẩm quyền", staff_name="Lê Văn C", staff_position="Văn thư")
    entry = world.c.box(arrived)
    receipt = RECEIPT.decode(world.c.thing(entry.head).statement)
    assert (receipt.code, receipt.sequence, receipt.previous) == (2, 1, before.head)
    assert (receipt.reason, receipt.staff_name, receipt.staff_position) == ("Sai thẩm quyền", "Lê Văn C", "Văn thư")
    link = world.c.get(Link, IN, arrived, 1)
    assert (link.code, link.reason, link.staff_name, link.staff_position, link.flag) == (
        2,
        "Sai thẩm quyền",
        "Lê Văn C",
        "Văn thư",
        "",
    )
    assert (entry.state, entry.codes, entry.collected_ms) == (RecipientState.ANSWERED, (1, 2), 0)
    assert step.reply == ReceiptMade(consignment=arrived, sequence=1, code=2, flag="", repeated=False)
    assert step.sends == (SendReturn(A, entry.head, 2),)
    change = step.events[0]
    assert isinstance(change, StateChanged)
    assert (change.before, change.state, change.code) == ("arrived", "answered", "02")
    told = world.c.all(Audit)[-1]
    assert (told.operation, told.agency, told.subject) == ("statuses", "H38", f"{to_text('csg', arrived)} 02")
    remembered = world.c.get(Remembered, SYSTEM, "statuses", "k")
    assert remembered.answer == b"\0\0\0\1"


def test_what_is_odd_is_accepted_with_a_flag(world: World, arrived: bytes) -> None:
    flags = [made(world.c.answer(arrived, code)).flag for code in (3, 3, 6, 4)]
    assert flags == ["", "repeated", "", "out_of_order"]
    assert [link.flag for link in world.c.all(Link, IN, arrived)] == ["", *flags]


def test_the_chain_of_all_links_verifies_and_reaches_the_sender(world: World, arrived: bytes) -> None:
    for step in (world.c.collect(arrived), *(world.c.answer(arrived, code) for code in (3, 4, 5, 6))):
        world.deliver(world.c, step)
    entry = world.a.out(arrived)
    assert entry.codes == world.c.box(arrived).codes == (1, 100, 3, 4, 5, 6)
    assert entry.head == world.c.box(arrived).head
    statement = world.c.thing(world.c.box(arrived).statement)
    links = [(world.c.thing(link.receipt), link.receipt) for link in world.c.all(Link, IN, arrived)]
    chain = [(RECEIPT.decode(thing.statement), digest) for thing, digest in links]
    assert verify_chain(CONSIGNMENT.decode(statement.statement), statement.digest, chain).sequence == 6
    assert world.c.all(Return) == []


def test_an_answer_twice_under_its_key_is_one_answer(world: World, arrived: bytes) -> None:
    world.c.answer(arrived, 3, "k")
    world.c.answer(arrived, 4, "other")
    again = world.c.step(world.c.answered(arrived, 3, "k"))
    assert again == Step(reply=ReceiptMade(consignment=arrived, sequence=1, code=3, flag="", repeated=True))


def test_another_answer_under_a_used_key_is_refused(world: World, arrived: bytes) -> None:
    world.c.answer(arrived, 3, "k")
    with expects("key_reused", RequestError, field="Idempotency-Key"):
        world.c.step(world.c.answered(arrived, 4, "k"))


@pytest.mark.parametrize(
    ("before", "code", "more", "error", "field"),
    [
        ((), 99, {}, "status_unknown", "status"),
        ((), 1, {}, "status_not_yours", "status"),
        ((), 13, {"reason": "x"}, "status_not_yours", "status"),
        ((), 100, {}, "status_not_yours", "status"),
        ((), 15, {}, "status_without_request", "status"),
        ((), 2, {}, "status_reason_missing", "reason"),
        ((), 2, {"reason": " \t"}, "status_reason_missing", "reason"),
        ((2,), 3, {}, "status_after_refusal", "status"),
    ],
)
def test_only_the_impossible_is_refused(
    world: World, arrived: bytes, before: tuple[int, ...], code: int, more: dict[str, Any], error: str, field: str
) -> None:
    for earlier in before:
        world.c.answer(arrived, earlier, reason="lý do")
    entry = world.c.box(arrived)
    with expects(error, RequestError, field=field):
        world.c.step(world.c.answered(arrived, code, **more))
    assert world.c.box(arrived) == entry


def test_an_agency_with_its_own_key_signs_its_statuses_and_only_these() -> None:
    tree, own = Tree.make(), Ed25519Signer(key_seed(1, "H40 own"))
    tree.add_agency("H40", C, keys=(entry_of(own),))
    world = World(tree)
    arrived = world.accepted("G22", "H40")
    with expects("signing_key_missing", RequestError, field="consignment") as caught:
        world.c.step(world.c.answered(arrived, 3))
    assert caught[0].detail == {"agency": "H40"}
    world.c.signers["H40"] = own
    world.deliver(world.c, world.c.answer(arrived, 3))
    Verifier().verify(world.c.thing(world.c.box(arrived).head), own.public)
    world.deliver(world.c, world.c.collect(arrived))
    Verifier().verify(world.c.thing(world.c.box(arrived).head), world.c.keys.signer.public)
    assert world.a.out(arrived).codes == (1, 3, 100)


# --- to whom it is owed -----------------------------------------------------------------------------


def test_a_new_link_is_owed_to_the_issuers_present_host(world: World, arrived: bytes) -> None:
    world.move("G22", B)
    step = world.c.collect(arrived)
    assert step.sends == (SendReturn(B, world.c.box(arrived).head, 1),)
    assert world.c.get(Return, "G22", arrived, 1).centre == B


def test_a_link_for_an_issuer_that_nobody_knows_is_owed_all_the_same(world: World, arrived: bytes) -> None:
    world.c.store.write([Put(replace(world.c.box(arrived), issuer="H99"))])
    step = world.c.collect(arrived)
    assert step.sends == ()
    owed = world.c.get(Return, "H99", arrived, 1)
    assert (owed.centre, owed.number, owed.thing) == ("", 0, world.c.box(arrived).head)
    assert [pair.centre for pair in world.c.all(Pair)] == [A]


@pytest.mark.parametrize("state", [RecipientState.RECALLED, RecipientState.DESTROYED])
def test_what_is_said_after_a_recall_is_recorded_and_changes_no_state(
    world: World, arrived: bytes, state: RecipientState
) -> None:
    world.c.store.write([Put(replace(world.c.box(arrived), state=state))])
    world.c.collect(arrived)
    entry: Incoming = world.c.box(arrived)
    assert (entry.state, entry.codes) == (state, (1, 100))
