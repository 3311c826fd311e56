"""Peers hear soon of what is new; where announcements do that, few are told, and nobody of what they brought."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from node.directory_roads import Road, Taken
from node.directory_telling import ANNOUNCED_PEERS, DirectoryTelling
from node.tasks import Bell, start
from protocol.directory import Names
from tests.sim.environment import SimEnvironment
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes

PEERS = tuple(f"00.{n:02}.W00" for n in range(94))


class Known:
    """An index of which only the digest matters."""

    def __init__(self) -> None:
        self.built = trio.Event()
        self.changed = Bell()
        self._digest = b"old"

    def digest(self) -> bytes:
        return self._digest

    def becomes(self, digest: bytes) -> None:
        self._digest = digest
        self.changed.ring()


class Place:
    """A node with 94 links, and who was pinged when."""

    def __init__(self, *, announced: bool) -> None:
        self.index = Known()
        self.index.built.set()
        self.said: dict[str, bytes] = dict.fromkeys(PEERS, b"old")
        self.heard: dict[str, bytes] = dict.fromkeys(PEERS, b"old")
        self.pings: list[tuple[float, str]] = []
        self.asking = trio.Event()
        self.asking.set()
        self.telling = DirectoryTelling(
            index=self.index,
            at_rest=self._at_rest,
            unaware=lambda: [centre for centre in PEERS if self.heard[centre] != self.index.digest()],
            says=lambda centre: self.said[centre],
            tell=self._ping,
            environment=SimEnvironment(Random(1)),
            announced=announced,
        )

    async def _at_rest(self) -> None:
        await self.asking.wait()

    def _ping(self, centres: Collection[str]) -> None:
        for centre in centres:
            self.heard[centre] = self.index.digest()
            self.pings.append((trio.current_time(), centre))

    def changes(self, road: Road | None, digest: bytes = b"new") -> None:
        self.index.becomes(digest)
        if road is not None:
            self.telling.taken(Taken(road=road, news=()))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[float]:
        async with trio.open_nursery() as nursery:
            await start(nursery, self.telling.run)
            await wait_all_tasks_blocked()
            yield trio.current_time()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("road", [Road.BROUGHT, Road.ASKED, Road.TOLD, None])
async def test_without_announcements_everybody_is_told_within_half_a_second(
    road: Road | None, autojump_clock: MockClock
) -> None:
    place = Place(announced=False)
    async with place.running() as begun:
        place.changes(road)
        await trio.sleep(60)
        assert sorted(centre for _, centre in place.pings) == sorted(PEERS)
        assert all(at - begun <= 0.5 for at, _ in place.pings)


@pytest.mark.parametrize("road", [Road.ANNOUNCED, Road.TOLD, None])
async def test_what_an_announcement_brought_is_told_to_nobody(road: Road | None, autojump_clock: MockClock) -> None:
    place = Place(announced=True)
    async with place.running():
        place.changes(road)
        await trio.sleep(60)
        assert place.pings == []


@pytest.mark.parametrize("road", [Road.BROUGHT, Road.ASKED])
async def test_what_came_otherwise_is_told_to_a_few_after_the_announcement_had_its_time(
    road: Road, autojump_clock: MockClock
) -> None:
    place = Place(announced=True)
    async with place.running() as begun:
        place.changes(road)
        await trio.sleep(60)
        assert len({centre for _, centre in place.pings}) == len(place.pings) == ANNOUNCED_PEERS
        assert all(2 <= at - begun <= 4 for at, _ in place.pings)


async def test_whoever_says_the_same_or_has_heard_it_is_not_told(autojump_clock: MockClock) -> None:
    place = Place(announced=True)
    async with place.running():
        place.changes(Road.BROUGHT)
        await trio.sleep(1)
        for centre in PEERS[:50]:
            place.said[centre] = b"new"
        for centre in PEERS[50:91]:
            place.heard[centre] = b"new"
        await trio.sleep(60)
        assert sorted(centre for _, centre in place.pings) == sorted(PEERS[91:])


async def test_one_change_by_an_operator_does_not_make_the_announced_ones_after_it_told(
    autojump_clock: MockClock,
) -> None:
    place = Place(announced=True)
    async with place.running():
        place.changes(Road.BROUGHT)
        await trio.sleep(30)
        before = len(place.pings)
        place.changes(Road.ANNOUNCED, b"newer")
        await trio.sleep(30)
        assert len(place.pings) == before


async def test_a_long_import_is_told_every_five_seconds_at_most(autojump_clock: MockClock) -> None:
    place = Place(announced=False)
    async with place.running() as begun:
        for n in range(300):
            place.changes(Road.BROUGHT, str(n).encode())
            await trio.sleep(0.1)
        times = sorted({at for at, _ in place.pings})
        assert len(times) <= 1 + (trio.current_time() - begun) / 5
        await trio.sleep(10)
        assert set(place.heard.values()) == {b"299"}


async def test_nothing_is_told_in_the_middle_of_a_session_unless_it_lasts(autojump_clock: MockClock) -> None:
    place = Place(announced=False)
    place.asking = trio.Event()
    async with place.running():
        place.changes(Road.ASKED)
        await trio.sleep(4)
        assert place.pings == []
        place.changes(Road.ASKED, b"newer")
        place.asking.set()
        await trio.sleep(1)
        assert len(place.pings) == len(PEERS)
        assert set(place.heard.values()) == {b"newer"}


async def test_what_is_known_at_the_start_is_nobodys_news(autojump_clock: MockClock) -> None:
    place = Place(announced=False)
    async with place.running():
        await trio.sleep(60)
        assert place.pings == []


def test_where_every_announcement_is_lost_a_change_arrives_all_the_same() -> None:
    """No ping interval ends meanwhile: who is told in the place of the announcement tells on."""

    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(60)
        nodes.network.announcements_lost = 1.0
        nodes.cut(A, C)
        changed = nodes.renamed("G22", names=Names(vi="Tên mới"))
        await nodes.bring(A, changed)
        await nodes.until(lambda: nodes.know(changed) == {A, B, C}, seconds=30)

    among_nodes(story, settings={"announce": True, "ping_s": 3_000, "dead_s": 9_000})
