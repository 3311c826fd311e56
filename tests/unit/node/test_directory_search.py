"""The search while the directory changes: what was answered as durable is found, and damage is told."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.directory_search import ANEW, MANY, QUIET_S, REST_S, DirectorySearch
from node.directory_text import Question, words_of
from node.environment import RealEnvironment
from node.logs import LineSink, make_log
from node.tasks import start
from protocol.directory import Names
from protocol.directory_kinds import DirectoryHistory, Subject, VersionRef
from protocol.errors import NotNow, StoreError
from protocol.record import Put
from protocol.staged import Staged
from protocol.step import Step
from storage.keyspace import key_of
from tests.support.errors import expects
from tests.support.tree import Tree


class Bench:
    """A search over records in memory, which a test changes step by step."""

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = Tree.make() if tree is None else tree
        self.records = self.tree.records()
        self.first = trio.Event()
        self.log = io.StringIO()
        environment = RealEnvironment()
        self.search = DirectorySearch(self.records, environment, make_log(LineSink(self.log), environment), self.first)

    def commit(self, *changes: Any) -> None:
        """A step is durable."""
        self.records.stage(changes)
        self.search.notice(Step(changes=changes))

    def publish(self) -> None:
        """Everything that the tree has signed since is taken in."""
        before = Staged()
        before.stage(self.records.changes)
        fresh = self.tree.records()
        self.commit(*[change for change in fresh.changes if change not in before.changes])

    async def codes(self, text: str = "", **asked: Any) -> list[str]:
        return list((await self.search.find(Question(words=words_of(text), **asked))).codes)


def with_search(story: Callable[[Bench], Awaitable[None]]) -> None:
    """Run a story on virtual time, with the search running beside it."""

    async def main() -> None:
        bench = Bench()
        async with trio.open_nursery() as nursery:
            await start(nursery, bench.search.run)
            await story(bench)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_what_is_durable_is_found_by_the_next_question() -> None:
    async def story(bench: Bench) -> None:
        bench.first.set()
        assert await bench.codes("tai chinh") == ["G12"]
        bench.tree.publish(bench.tree.next_agency("G12", names=Names(vi="Bộ Ngân khố")))
        bench.publish()
        assert await bench.codes("tai chinh") == []
        assert await bench.codes("ngân khố") == ["G12"]
        bench.tree.add_agency("G12.5", "00.02.W00", names=Names(vi="Kho bạc"))
        bench.publish()
        assert await bench.codes(under="G12") == ["G12.5"]

    with_search(story)


def test_until_the_text_is_there_callers_are_told_to_come_again() -> None:
    async def patient(bench: Bench) -> None:
        await trio.sleep(31)
        assert await bench.codes("g22") == ["G22", "G22.99"]

    with_search(patient)

    async def impatient(bench: Bench) -> None:
        with expects("directory_being_read", NotNow):
            await bench.codes("x")

    with_search(impatient)


def test_a_nation_that_comes_in_is_put_into_order_once_when_it_is_quiet() -> None:
    async def story(bench: Bench) -> None:
        bench.first.set()
        before = await bench.codes()
        history = bench.records.get(DirectoryHistory, int(Subject.AGENCY), "G12")
        assert history is not None
        codes = [f"H99.{n:05d}" for n in range(ANEW + 1)]
        text = bench.search.text
        bench.commit(*(Put(replace(history, code=code)) for code in codes[: MANY + 1]))
        await trio.sleep(QUIET_S / 2)
        assert text.count == len(before)  # the record says G12: each is found damaged, by its code
        bench.commit(*(Put(replace(history, code=code)) for code in codes))
        found = await bench.search.find(Question(), limit=5_000)
        assert sorted([*before, *codes]) == list(found.codes)
        assert found.revision
        assert bench.search.damaged == len(codes)
        assert bench.search.text is not text

    with_search(story)


def test_a_search_without_pause_in_the_changes_is_answered_all_the_same() -> None:
    async def story(bench: Bench) -> None:
        bench.first.set()
        await bench.codes()
        history = bench.records.get(DirectoryHistory, int(Subject.AGENCY), "G12")
        assert history is not None

        async def change_for_ever() -> None:
            bench.commit(*(Put(replace(history, code=f"H99.{n}")) for n in range(MANY + 1)))
            while True:
                bench.commit(Put(replace(history, code="H99.0")))
                await trio.sleep(QUIET_S / 2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_for_ever)
            assert await bench.codes("tai chinh") == ["G12"]
            await trio.sleep(REST_S + 10)
            assert "H99.128" in await bench.codes(prefix="H99.12")
            nursery.cancel_scope.cancel()

    with_search(story)


def test_a_lock_of_nobody_makes_no_agency() -> None:
    async def story(bench: Bench) -> None:
        bench.first.set()
        before = await bench.codes()
        ref = VersionRef(digest=bytes(32), created_ms=1)
        bench.commit(Put(DirectoryHistory(subject=int(Subject.LOCK), code="H77", versions=(ref,))))
        assert await bench.codes() == before

    with_search(story)


class Flipped(Staged):
    """Gives all histories but some, as a store does whose checksums do not fit."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: set[str] = set()

    def get(self, record: Any, *parts: Any) -> Any:
        found = super().get(record, *parts)
        self._check(found)
        return found

    def scan(self, record: Any, *prefix: Any, after: Any = (), limit: int = 1000) -> Any:
        found = super().scan(record, *prefix, after=after, limit=limit)
        for row in found:
            self._check(row)
        return found

    def _check(self, row: Any) -> None:
        if isinstance(row, DirectoryHistory) and row.code in self.bad:
            raise StoreError("record_damaged", key=key_of(row).hex())


@pytest.mark.parametrize("bad", [("G12",), ("G22", "G22.99"), ("H38.1", "H38.63", "H38.64", "H38.90")])
def test_damaged_histories_are_listed_by_their_codes_and_told_and_all_others_are_found(bad: tuple[str, ...]) -> None:
    async def main() -> None:
        tree = Tree.make()
        for n in range(1, 91):
            tree.add_agency(f"H38.{n}", "00.02.W00", names=Names(vi=f"Sở {n}"))
        bench = Bench(tree)
        records = Flipped()
        records.stage(bench.records.changes)
        every = sorted(row.code for row in records.scan(DirectoryHistory, int(Subject.AGENCY)))
        records.bad = set(bad)
        environment = RealEnvironment()
        search = DirectorySearch(records, environment, make_log(LineSink(bench.log), environment), bench.first)
        bench.first.set()
        async with trio.open_nursery() as nursery:
            await start(nursery, search.run)
            assert list((await search.find(Question(), limit=1_000)).codes) == every
            assert search.damaged == len(bad)
            said = [json.loads(line) for line in bench.log.getvalue().splitlines()]
            told = [line["subject"] for line in said if line["event"] == "alarm" and line["code"] == "record_damaged"]
            assert told == sorted(bad)
            history = bench.records.get(DirectoryHistory, int(Subject.AGENCY), "H38.7")
            records.bad.add("H38.7")
            search.notice(Step(changes=(Put(history),)))
            assert list((await search.find(Question(), limit=1_000)).codes) == every
            assert search.damaged == len(bad) + 1 and search.broken is None
            assert "H38.7" not in (await search.find(Question(words=words_of("sở 7")))).codes, "its name is not known"
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_row_whose_place_itself_is_damaged_is_passed_over() -> None:
    async def main() -> None:
        bench = Bench()
        records = Flipped()
        records.stage(bench.records.changes)
        history = records.get(DirectoryHistory, int(Subject.AGENCY), "G12")
        before = [row.code for row in records.scan(DirectoryHistory, int(Subject.AGENCY))]
        records.stage([Put(replace(history, code="H3\x07"))])
        records.bad = {"H3\x07"}
        environment = RealEnvironment()
        search = DirectorySearch(records, environment, make_log(LineSink(bench.log), environment), bench.first)
        bench.first.set()
        async with trio.open_nursery() as nursery:
            await start(nursery, search.run)
            assert list((await search.find(Question())).codes) == before
            assert search.damaged == 1
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_a_disk_that_does_not_give_histories_is_told_to_all_who_ask() -> None:
    class Broken(Staged):
        def scan(self, record: Any, *prefix: Any, after: Any = (), limit: int = 1000) -> Any:
            raise StoreError("record_damaged", key="65")

    async def main() -> None:
        bench = Bench()
        environment = RealEnvironment()
        search = DirectorySearch(Broken(), environment, make_log(LineSink(bench.log), environment), bench.first)
        bench.first.set()
        async with trio.open_nursery() as nursery:
            await start(nursery, search.run)
            with expects("record_damaged", StoreError):
                await search.find(Question())
            search.notice(Step(changes=tuple(bench.records.changes)))
            with expects("record_damaged", StoreError):
                await search.find(Question())
            nursery.cancel_scope.cancel()
        assert '"subject": "directory search"' in bench.log.getvalue()

    trio.run(main, clock=MockClock(autojump_threshold=0))
