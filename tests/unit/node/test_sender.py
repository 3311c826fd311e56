"""Windows of reachable peers: what is offered, in which order, how much at once, and when again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.offer_queue import AGED_MS, LOOK_AHEAD, OfferQueue
from node.sender import AHEAD, DROPPED_AGAIN_MS, Sender
from node.tasks import start
from protocol.delivery import SenderState
from protocol.directory import RecordState
from protocol.envelope import Lane
from protocol.exchange import NotNow
from protocol.limits import DAY_MS, HELD_OFFERS_MAX, INLINE_BYTES_MAX, WINDOW_OFFERS_MAX
from protocol.record import Put
from protocol.records import Outgoing, Owed
from protocol.staged import Staged
from protocol.step import OfferPutOff, SendOffer, Settled
from tests.support.bench import Bench
from tests.support.delivery import A, B, C, World, receipt_of, returned, submitted


class Desk:
    """The sender of A's node."""

    def __init__(self) -> None:
        self.world = World()
        self.bench = Bench(self.world.a)
        self.sender = Sender(self.bench.pump, self.bench.host_of)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Desk]:
        async with self.bench.running(), trio.open_nursery() as nursery:
            await start(nursery, self.sender.run)
            yield self
            nursery.cancel_scope.cancel()

    async def submit(self, key: str, recipient: str = "H38", **changes: Any) -> bytes:
        """A document is owned; its consignment."""
        before = {entry.consignment for entry in self.world.a.all(Outgoing)}
        given = submitted(
            "G22", [recipient], [key.encode()], key=key, **{"expires_ms": self.world.now_ms + DAY_MS, **changes}
        )
        await self.bench.pump.ask(given)
        (new,) = {bytes(entry.consignment) for entry in self.world.a.all(Outgoing)} - before
        return new

    async def offered(self, centre: str = C) -> list[bytes]:
        """What was offered so far, in order."""
        await trio.sleep(0.1)
        return [send.consignment for send in self.bench.sent if isinstance(send, SendOffer) and send.centre == centre]

    async def arrives(self, consignment: bytes) -> None:
        """Its first receipt comes."""
        await self.bench.pump.ask(returned(receipt_of(self.world, consignment)))


async def test_a_peer_that_comes_up_is_offered_what_is_owed_urgent_first(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        slow = await desk.submit("1")
        fast = await desk.submit("2", lane=Lane.HOA_TOC)
        second = await desk.submit("3")
        await desk.submit("4", "G12")
        assert await desk.offered() == []
        desk.sender.peer_up(C)
        assert await desk.offered() == [fast, slow, second]
        assert desk.sender.counts() == {C: (3, 0)}
        assert await desk.offered(B) == []


async def test_what_is_newly_owed_to_a_reachable_peer_goes_at_once(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(C)
        consignment = await desk.submit("1")
        assert await desk.offered() == [consignment]
        await desk.arrives(consignment)
        await trio.sleep(0.1)
        assert desk.sender.counts() == {C: (0, 0)}


async def test_a_full_window_moves_on_as_its_offers_are_answered(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        for n in range(WINDOW_OFFERS_MAX + 3):
            desk.bench.pump.put(
                submitted("G22", ["H38"], [b"%d" % n], key=str(n), expires_ms=desk.world.now_ms + DAY_MS)
            )
        await trio.sleep(5)
        desk.bench.sent.clear()
        desk.sender.peer_up(C)
        sent = await desk.offered()
        full = WINDOW_OFFERS_MAX
        assert (len(sent), desk.sender.counts()) == (full, {C: (full, 0)})
        await desk.arrives(sent[0])
        assert len(await desk.offered()) == full + 1
        assert len(set(await desk.offered())) == full + 1


async def test_no_more_than_a_few_windows_are_recorded_as_offered(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        for n in range(4 * AHEAD + 2):
            content = bytes([n]) * (INLINE_BYTES_MAX - 100)
            await desk.bench.pump.ask(
                submitted("G22", ["H38"], [content], key=str(n), expires_ms=desk.world.now_ms + DAY_MS)
            )
        desk.sender.peer_up(C)
        assert len(await desk.offered()) == 4 * AHEAD


async def test_a_promise_keeps_room_and_is_given_back(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        assert desk.sender.promise(["H38"], 100).recipients == frozenset(), "nobody is reachable"
        desk.sender.peer_up(C)
        await trio.testing.wait_all_tasks_blocked()
        promises = [desk.sender.promise(["H38", "G12", "H99"], 100) for _ in range(WINDOW_OFFERS_MAX + 1)]
        assert [promise.recipients for promise in promises[:-1]] == [frozenset({"H38"})] * WINDOW_OFFERS_MAX
        assert promises[-1].recipients == frozenset()
        promises[0].give_back()
        promises[0].give_back()
        assert desk.sender.promise(["H38"], 100).recipients == {"H38"}
        for promise in promises[1:]:
            promise.give_back()
        large = desk.sender.promise(["H38"], AHEAD * 600_000)
        assert desk.sender.promise(["H38"], 1).recipients == frozenset()
        large.give_back()


async def test_an_offer_that_left_with_its_batch_flies_and_nothing_overtakes_the_queue(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(C)
        await trio.testing.wait_all_tasks_blocked()
        consignment = await desk.submit("1", offer_now=frozenset({"H38"}))
        assert await desk.offered() == [consignment]
        assert desk.sender.counts() == {C: (1, 0)}
        next_one = await desk.submit("2")
        assert await desk.offered() == [consignment, next_one]


async def test_a_peer_that_comes_up_gets_the_most_urgent_of_its_recipients_first(autojump_clock: MockClock) -> None:
    world = World()
    bench = Bench(world.c)
    sender = Sender(bench.pump, bench.host_of)
    async with bench.running(), trio.open_nursery() as nursery:
        await start(nursery, sender.run)
        for key, recipient, lane in (("1", "G22", 0), ("2", "G22", 0), ("3", "G22.99", Lane.HOA_TOC)):
            expires_ms = world.now_ms + DAY_MS
            await bench.pump.ask(submitted("H38", [recipient], key=key, lane=lane, expires_ms=expires_ms))
        sender.peer_up(A)
        assert sender.promise(["G22"], 100).recipients == frozenset(), "nobody knows yet what is most urgent"
        await trio.sleep(0.1)
        offered = [world.c.out(send.consignment) for send in bench.sent if isinstance(send, SendOffer)]
        assert [entry.recipient for entry in offered] == ["G22.99", "G22", "G22"]
        nursery.cancel_scope.cancel()


async def test_a_put_off_offer_frees_its_place_and_comes_again_when_it_is_due(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(C)
        consignment = await desk.submit("1")
        answer = NotNow(subject=consignment, code="busy", retry_ms=5_000)
        await desk.bench.pump.ask(OfferPutOff(centre=C, answer=answer))
        await trio.sleep(0.1)
        assert desk.sender.counts() == {C: (0, 0)}
        desk.sender.peer_up(C)
        assert len(await desk.offered()) == 1, "not before its time"
        await trio.sleep(6)
        desk.sender.peer_up(C)
        assert await desk.offered() == [consignment, consignment]


async def test_offers_whose_bodies_are_pulled_leave_the_window_up_to_a_bound(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(C)
        all_of_them = [await desk.submit(str(n)) for n in range(HELD_OFFERS_MAX + 2)]
        for consignment in all_of_them:
            desk.sender.holding(C, consignment)
        assert desk.sender.counts() == {C: (2, HELD_OFFERS_MAX)}
        desk.sender.holding(C, bytes(32))
        desk.sender.holding(B, all_of_them[0])
        await desk.arrives(all_of_them[0])
        await trio.sleep(0.1)
        assert desk.sender.counts() == {C: (2, HELD_OFFERS_MAX - 1)}


async def test_an_offer_that_made_no_frame_is_tried_again(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(C)
        consignment = await desk.submit("1")
        await desk.offered()
        desk.sender.dropped(C, consignment)
        await trio.sleep(0.1)
        entry = desk.world.a.out(consignment)
        assert (entry.state, entry.waiting) == (SenderState.QUEUED, "busy")
        assert entry.retry_ms - desk.bench.environment.now_ms() in range(DROPPED_AGAIN_MS - 300, DROPPED_AGAIN_MS)
        assert desk.sender.counts() == {C: (0, 0)}


async def test_a_window_counts_each_offer_once_however_often_it_is_told(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        consignment = await desk.submit("1")
        desk.sender.peer_up(C)
        await desk.offered()
        desk.sender.hosts_changed()
        desk.sender.hosts_changed()
        assert await desk.offered() == [consignment]
        assert desk.sender.counts() == {C: (1, 0)}
        desk.bench.pump.listeners[0](Settled(C, consignment))


async def test_after_a_move_the_new_host_is_offered_what_is_owed(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(B)
        consignment = await desk.submit("1")
        assert await desk.offered(B) == []
        desk.world.move("H38", B)
        desk.sender.hosts_changed()
        assert await desk.offered(B) == [consignment]


async def test_queues_of_closed_codes_end_without_their_host(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        consignments = [await desk.submit(str(n)) for n in range(70)]
        open_still = await desk.submit("open", "G12")
        desk.world.publish(desk.world.tree.next_agency("H38", state=RecordState.CLOSED))
        desk.sender.hosts_changed()
        await trio.sleep(1)
        assert {desk.world.a.out(one).state for one in consignments} == {SenderState.RECIPIENT_CLOSED}
        assert desk.world.a.out(open_still).state == SenderState.QUEUED
        assert desk.world.a.all(Owed, "H38") == []


async def test_a_peer_that_goes_down_is_forgotten_and_everything_is_still_owed(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.sender.peer_up(C)
        consignment = await desk.submit("1")
        await desk.offered()
        desk.sender.peer_down(C)
        assert desk.sender.counts() == {}
        desk.sender.dropped(C, bytes(32))
        desk.sender.peer_up(C)
        assert await desk.offered() == [consignment, consignment]
        assert desk.world.a.out(consignment).unsure is True


async def test_a_read_only_node_offers_nothing_and_loses_nothing(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        consignment = await desk.submit("1")
        desk.world.a.disk.fail_commit_in, desk.world.a.disk.fail_code = 1, "disk_full"
        desk.sender.peer_up(C)
        await trio.sleep(1)
        assert await desk.offered() == []
        desk.sender.peer_up(C)
        desk.sender.hosts_changed()
        assert desk.sender.counts() == {C: (0, 0)}
        await trio.sleep(15)
        desk.sender.peer_up(C)
        assert await desk.offered() == [consignment]


# --- the queue of one peer ---------------------------------------------------------------------------


def owed(recipient: str, urgency: int, sequence: int, since_ms: int = 0) -> Owed:
    consignment = f"{recipient} {urgency} {sequence}".encode().ljust(32)
    return Owed(
        recipient=recipient, urgency=urgency, sequence=sequence, consignment=consignment, since_ms=since_ms, bytes=1
    )


def queue_of(*entries: Owed, now_ms: int = 0) -> OfferQueue:
    records = Staged()
    records.stage([Put(entry) for entry in entries])
    queue = OfferQueue(records, lambda: now_ms)
    for entry in entries:
        queue.begin(entry.recipient)
    return queue


def drained(queue: OfferQueue) -> list[tuple[str, int, int]]:
    taken: list[tuple[str, int, int]] = []
    while (entry := queue.next()) is not None:
        taken.append((entry.recipient, entry.urgency, entry.sequence))
    return taken


def test_urgent_lanes_go_first_and_recipients_in_turn() -> None:
    queue = queue_of(owed("A", 3, 1), owed("A", 3, 2), owed("B", 3, 1), owed("B", 0, 2), owed("A", 1, 3))
    assert drained(queue) == [("B", 0, 2), ("A", 1, 3), ("A", 3, 1), ("B", 3, 1), ("A", 3, 2)]
    assert not queue


NOW_MS = 10**9


@pytest.mark.parametrize(("waited_ms", "first"), [(AGED_MS, "old"), (AGED_MS - 1, "new")])
def test_what_waited_ten_minutes_counts_one_lane_higher(waited_ms: int, first: str) -> None:
    for urgency in (2, 3):
        entries = owed("old", urgency, 1, NOW_MS - waited_ms), owed("new", urgency - 1, 1, NOW_MS)
        assert drained(queue_of(*entries, now_ms=NOW_MS))[0][0] == first


def test_inside_a_lane_the_aged_do_not_overtake_what_has_waited_longer() -> None:
    entries = owed("A", 2, 1, NOW_MS - 2 * AGED_MS), owed("B", 3, 1, NOW_MS - AGED_MS), owed("C", 2, 2, NOW_MS)
    assert [recipient for recipient, _, _ in drained(queue_of(*entries, now_ms=NOW_MS))] == ["A", "B", "C"]


def test_nothing_grows_into_the_most_urgent_lane() -> None:
    queue = queue_of(owed("A", 1, 1, 0), owed("A", 0, 2, 10**9), now_ms=10**9)
    assert drained(queue) == [("A", 0, 2), ("A", 1, 1)]


def test_a_long_queue_is_read_in_slices_and_whole() -> None:
    count = 3 * LOOK_AHEAD + 1
    queue = queue_of(*(owed("A", 3, n + 1) for n in range(count)))
    assert [sequence for _, _, sequence in drained(queue)] == list(range(1, count + 1))


def test_what_may_be_offered_again_is_taken_by_its_urgency() -> None:
    queue = queue_of(owed("A", 2, 1), owed("A", 2, 2))
    assert drained(queue) == [("A", 2, 1), ("A", 2, 2)]
    queue.add(owed("A", 2, 1))
    assert queue and not queue.is_clear("B")
    assert drained(queue) == [("A", 2, 1)]
    assert queue.is_clear("A")
