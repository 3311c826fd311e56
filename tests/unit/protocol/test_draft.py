"""A draft reads what it wrote, writes each record once, and ends as one step."""

from __future__ import annotations

import pytest

from protocol.draft import Draft
from protocol.record import Body, Delete, Place, Put, PutBody
from protocol.records import Audit, BodyUse, Counter, Deadline, Due, Happening, Journal, Pair
from protocol.step import SendAck, Settled, Step, ToSign
from tests.support.delivery import C, World, caller
from tests.support.tree import TREE_READY_MS


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def draft(world: World) -> Draft:
    return Draft(world.a.view, world.a.here())


def test_an_empty_draft_is_nothing(draft: Draft) -> None:
    assert draft.step() == Step()
    assert draft.step(reply=5) == Step(reply=5)


def test_reads_see_what_was_put_and_deleted_on_top_of_the_store(world: World, draft: Draft) -> None:
    world.a.store.write([Put(Counter(name="x", value=1)), Put(Counter(name="y", value=2))])
    assert draft.get(Counter, "x") == Counter(name="x", value=1)
    draft.put(Counter(name="x", value=5))
    draft.delete(Counter, "y")
    assert draft.get(Counter, "x") == Counter(name="x", value=5)
    assert draft.get(Counter, "y") is None
    assert draft.get(Counter, "z") is None
    assert draft.step().changes == (Put(Counter(name="x", value=5)), Delete(Counter, ("y",)))


def test_a_record_that_is_put_twice_is_written_once(draft: Draft) -> None:
    draft.put(Counter(name="x", value=1))
    draft.delete(Counter, "x")
    draft.put(Counter(name="x", value=2))
    assert draft.step().changes == (Put(Counter(name="x", value=2)),)


def test_counters_begin_at_one_and_go_up_within_a_step(world: World, draft: Draft) -> None:
    world.a.store.write([Put(Counter(name="old", value=41))])
    assert [draft.count("new"), draft.count("new"), draft.count("old")] == [1, 2, 42]
    assert draft.step().changes == (Put(Counter(name="new", value=2)), Put(Counter(name="old", value=42)))


def test_journal_numbers_go_up_and_leave_the_other_mark_alone(world: World, draft: Draft) -> None:
    world.a.store.write([Put(Pair(centre=C, given=3, held=8, incarnation=b"1" * 16))])
    assert [draft.journal(C, b"t" * 32, b"c" * 32), draft.journal(C, b"u" * 32, b"d" * 32)] == [4, 5]
    assert draft.get(Pair, C) == Pair(centre=C, given=5, held=8, incarnation=b"1" * 16)
    assert draft.get(Journal, C, 4) == Journal(centre=C, number=4, thing=b"t" * 32, consignment=b"c" * 32)
    assert draft.get(Journal, C, 5) == Journal(centre=C, number=5, thing=b"u" * 32, consignment=b"d" * 32)
    assert draft.journal("00.09.W00", b"t" * 32, b"c" * 32) == 1


def test_only_a_higher_number_is_news_to_the_mark(world: World, draft: Draft) -> None:
    world.a.store.write([Put(Pair(centre=C, given=3, held=8, incarnation=b"1" * 16))])
    draft.hold(C, 8)
    draft.hold(C, 2)
    assert draft.step() == Step()
    draft.hold(C, 12)
    assert draft.step().changes == (Put(Pair(centre=C, given=3, held=12, incarnation=b"1" * 16)),)
    draft.hold("00.09.W00", 0)
    assert draft.get(Pair, "00.09.W00") is None


def test_deadlines_are_set_and_taken_back(draft: Draft) -> None:
    draft.due(9, Due.RETRY, b"s" * 32)
    draft.not_due(0, Due.RETRY, b"s" * 32)
    assert draft.step().changes == (Put(Deadline(at_ms=9, what=2, subject=b"s" * 32)),)
    draft.not_due(9, Due.RETRY, b"s" * 32)
    assert draft.step().changes == (Delete(Deadline, (9, 2, b"s" * 32)),)


def test_what_is_to_be_signed_and_small_bodies_stand_before_the_records(draft: Draft) -> None:
    place = Place(segment=0, offset=0, length=3)
    draft.put(Counter(name="x", value=1))
    draft.put_body(PutBody(b"b" * 32, b"xyz"))
    draft.put_body(Put(Body(digest=b"c" * 32, size=3, place=place)))
    draft.sign("truc/receipt/1", b"s", "G22")
    draft.sign("truc/receipt/1", b"t")
    draft.use_body(b"b" * 32, 0, "G22", b"h" * 32)
    assert draft.step().changes == (
        PutBody(b"b" * 32, b"xyz"),
        ToSign(format="truc/receipt/1", statement=b"s", agency="G22"),
        ToSign(format="truc/receipt/1", statement=b"t", agency=""),
        Put(Counter(name="x", value=1)),
        Put(Body(digest=b"c" * 32, size=3, place=place)),
        Put(BodyUse(body=b"b" * 32, box=0, agency="G22", holder=b"h" * 32)),
    )


def test_events_and_audit_have_sequences_of_their_own(draft: Draft) -> None:
    draft.happen("G22", "status", consignment=b"c" * 32, envelope_id=b"e" * 16, code=3, detail="repeated")
    draft.happen("G22", "refused")
    draft.audit(caller("G22"), "documents", "G22", "doc_x")
    records = [change.record for change in draft.step().changes if isinstance(change, Put)]
    assert [record for record in records if isinstance(record, Happening)] == [
        Happening(
            sequence=1,
            agency="G22",
            what="status",
            time_ms=TREE_READY_MS,
            consignment=b"c" * 32,
            envelope_id=b"e" * 16,
            code=3,
            detail="repeated",
        ),
        Happening(sequence=2, agency="G22", what="refused", time_ms=TREE_READY_MS),
    ]
    assert [record for record in records if isinstance(record, Audit)] == [
        Audit(
            sequence=1,
            time_ms=TREE_READY_MS,
            system=bytes(range(16)),
            actor="kiểm thử",
            operation="documents",
            agency="G22",
            subject="doc_x",
        )
    ]


def test_sends_and_events_leave_in_their_order(draft: Draft) -> None:
    draft.sends += [SendAck(C, b"1"), SendAck(C, b"2")]
    draft.events += [Settled(C, b"1"), Settled(C, b"2")]
    step = draft.step()
    assert step.sends == (SendAck(C, b"1"), SendAck(C, b"2"))
    assert step.events == (Settled(C, b"1"), Settled(C, b"2"))
