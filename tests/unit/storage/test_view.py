"""The overlay answers rightly at every moment between hand-over and settling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.errors import StoreError
from protocol.record import STAGED_SEGMENT, Body, Change, Delete, Put, PutBody
from storage.keyspace import key, key_of, write_record
from storage.kv import MemoryKeyValue
from storage.view import OverlayView
from tests.support.errors import expects
from tests.support.store_kinds import Counted, Letter, Mention, put_body

AGENCIES = ("A", "B", "BA")


def apply(kv: MemoryKeyValue, changes: Sequence[Change]) -> None:
    for change in changes:
        if isinstance(change, Delete):
            kv.write([(key(change.record, *change.key), None)])
        elif isinstance(change, Put):
            kv.write([write_record(change.record)])


changes = st.lists(
    st.builds(
        lambda agency, number, text: (
            Delete(Letter, (agency, number)) if text is None else Put(Letter(agency=agency, number=number, text=text))
        ),
        st.sampled_from(AGENCIES),
        st.integers(0, 5),
        st.none() | st.sampled_from(["x", "y"]),
    ),
    max_size=4,
)


class ViewMachine(RuleBasedStateMachine):
    """Stages, writes ahead of settling, settles and fails at random; compares with a dictionary
    in which every staged change counts at once."""

    @initialize()
    def begin(self) -> None:
        self.kv = MemoryKeyValue()
        self.view = OverlayView(self.kv)
        self.waiting: list[tuple[int, Sequence[Change]]] = []
        self.written = 0
        self.model: dict[tuple[str, int], Letter] = {}
        self.durable: dict[tuple[str, int], Letter] = {}

    @staticmethod
    def _follow(model: dict[tuple[str, int], Letter], staged: Sequence[Change]) -> None:
        for change in staged:
            if isinstance(change, Delete):
                model.pop(change.key, None)  # type: ignore[arg-type]
            elif isinstance(change, Put):
                model[change.record.agency, change.record.number] = change.record

    @rule(staged=changes)
    def stage(self, staged: Sequence[Change]) -> None:
        self.waiting.append((self.view.stage(staged), staged))
        self._follow(self.model, staged)

    @rule(steps=st.integers(1, 3))
    def worker_writes(self, steps: int) -> None:
        for _, staged in self.waiting[self.written : self.written + steps]:
            apply(self.kv, staged)
            self._follow(self.durable, staged)
            self.written += 1

    @rule()
    def settle(self) -> None:
        if self.written:
            self.view.settle(self.waiting[self.written - 1][0])
            del self.waiting[: self.written]
            self.written = 0

    @rule()
    def commit_fails(self) -> None:
        self.view.forget_all()
        self.waiting, self.written = [], 0
        self.model = dict(self.durable)

    @rule(limit=st.integers(1, 4), after=st.none() | st.integers(0, 5), agency=st.none() | st.sampled_from(AGENCIES))
    def scan(self, limit: int, after: int | None, agency: str | None) -> None:
        if agency is None:
            found = self.view.scan(Letter, limit=limit)
            expected = [self.model[at] for at in sorted(self.model)]
        else:
            found = self.view.scan(Letter, agency, after=() if after is None else (after,), limit=limit)
            expected = [
                self.model[at] for at in sorted(self.model) if at[0] == agency and (after is None or at[1] > after)
            ]
        assert found == expected[:limit]

    @invariant()
    def every_key_reads_as_in_the_model(self) -> None:
        for agency in AGENCIES:
            for number in range(6):
                assert self.view.get(Letter, agency, number) == self.model.get((agency, number))
        if not self.waiting:
            assert self.view.staged_count == 0


TestView = ViewMachine.TestCase


def test_a_record_staged_again_survives_the_settling_of_the_first_time() -> None:
    view = OverlayView(MemoryKeyValue())
    first = view.stage([Put(Counted(value=1))])
    second = view.stage([Put(Counted(value=2))])
    view.settle(first)
    assert view.get(Counted) == Counted(value=2)
    view.settle(second)
    assert view.get(Counted) is None  # nobody wrote it below in this test


def test_settling_after_everything_was_forgotten_does_nothing() -> None:
    view = OverlayView(MemoryKeyValue())
    ticket = view.stage([Put(Counted(value=1))])
    view.forget_all()
    later = view.stage([Put(Counted(value=2))])
    view.settle(ticket)
    assert view.get(Counted) == Counted(value=2)
    assert later > ticket


def test_a_staged_body_shows_its_size_and_its_bytes_but_no_place() -> None:
    view = OverlayView(MemoryKeyValue())
    body = put_body(b"sealed")
    ticket = view.stage([body])
    seen = view.get(Body, body.digest)
    assert seen is not None
    assert (seen.size, seen.place.segment) == (6, STAGED_SEGMENT)
    assert view.blob(body.digest) == b"sealed"
    view.settle(ticket)
    assert view.blob(body.digest) is None


def test_a_body_deleted_after_staging_has_no_bytes_any_more() -> None:
    view = OverlayView(MemoryKeyValue())
    body = put_body(b"sealed")
    view.stage([body, Delete(Body, (body.digest,))])
    assert view.get(Body, body.digest) is None
    assert view.blob(body.digest) is None


def test_a_scan_crosses_many_deleted_records_in_few_slices() -> None:
    class CountingKeyValue(MemoryKeyValue):
        slices = 0

        def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
            self.slices += 1
            return super().scan(start, stop, limit)

    kv = CountingKeyValue()
    kv.write([write_record(Letter(agency="A", number=number)) for number in range(2000)])
    view = OverlayView(kv)
    view.stage([Delete(Letter, ("A", number)) for number in range(1999)])
    assert [letter.number for letter in view.scan(Letter, "A", limit=1)] == [1999]
    assert kv.slices <= 13


def test_a_scan_over_a_damaged_record_fails() -> None:
    kv = MemoryKeyValue()
    letter = Letter(agency="A", number=1)
    kv.pairs[key_of(letter)] = b"\x00" * 9
    with expects("record_damaged", StoreError):
        OverlayView(kv).scan(Letter)


def test_an_incomplete_key_is_our_own_mistake() -> None:
    view = OverlayView(MemoryKeyValue())
    for parts in (("A",), ("A", 1, 2)):
        with pytest.raises(AssertionError):
            view.get(Letter, *parts)


def test_kinds_do_not_see_each_other() -> None:
    view = OverlayView(MemoryKeyValue())
    records: list[Any] = [Letter(agency="A", number=1), Mention(digest=bytes(32), agency="A"), Counted(value=1)]
    view.stage([Put(record) for record in records] + [PutBody(bytes(32), b"")])
    assert [view.scan(type(record)) for record in records] == [[record] for record in records]
