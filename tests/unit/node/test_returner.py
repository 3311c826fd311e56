"""What is owed to issuers: gone through when a peer comes up, a bounded number at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from node.returner import WINDOW, Returner
from node.tasks import start
from protocol.exchange import NotNow
from protocol.record import Put
from protocol.records import Return
from protocol.step import OfferPutOff, SendReturn, ThingAcked
from tests.support.bench import Bench
from tests.support.delivery import A, B, Forgery, World


class Desk:
    """The returner of C's node, which owes to G22 at A."""

    def __init__(self, owed: int = 1) -> None:
        self.world = World()
        self.world.c.do(Forgery(world=self.world).arrives())
        (first,) = self.world.c.all(Return)
        self.first: Return = first
        more = [
            Put(Return(issuer="G22", consignment=n.to_bytes(32, "big"), slot=0, thing=first.thing, centre=A, number=n))
            for n in range(2, owed + 1)
        ]
        self.world.c.store.write(more)
        self.bench = Bench(self.world.c)
        self.returner = Returner(self.bench.pump, self.bench.host_of)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.bench.running(), trio.open_nursery() as nursery:
            await start(nursery, self.returner.run)
            yield
            nursery.cancel_scope.cancel()

    async def brought(self, centre: str = A) -> list[SendReturn]:
        await trio.sleep(0.5)
        return [send for send in self.bench.sent if isinstance(send, SendReturn) and send.centre == centre]


async def test_what_is_owed_is_brought_when_its_issuers_host_comes_up(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.returner.peer_up(B)
        assert await desk.brought(B) == await desk.brought() == []
        desk.returner.peer_up(A)
        assert await desk.brought() == [SendReturn(A, desk.first.thing, 1)]
        desk.returner.peer_down(A)
        desk.returner.peer_up(A)
        assert len(await desk.brought()) == 2, "once per connection"


async def test_things_under_way_are_bounded_by_what_is_acknowledged(autojump_clock: MockClock) -> None:
    desk = Desk()
    things = []
    for n in range(WINDOW + 5):
        given = Forgery(world=desk.world, envelope={"envelope_id": n.to_bytes(16, "big"), "lane": 9}).arrives()
        desk.world.c.do(given)
        things.append(given)
    async with desk.running():
        desk.returner.peer_up(A)
        brought = await desk.brought()
        assert len(brought) == WINDOW
        desk.bench.pump.put(ThingAcked(centre=A, thing=brought[0].thing))
        assert len(await desk.brought()) == WINDOW + 1
        for send in brought[1:]:
            desk.bench.pump.put(ThingAcked(centre=A, thing=send.thing))
        assert len(await desk.brought()) == WINDOW + 6
        assert len({send.thing for send in await desk.brought()}) == WINDOW + 6


async def test_what_was_put_off_is_not_brought_before_its_time(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        answer = NotNow(subject=desk.first.thing, code="busy", retry_ms=5_000)
        await desk.bench.pump.ask(OfferPutOff(centre=A, answer=answer))
        desk.returner.peer_up(A)
        assert await desk.brought() == []
        await trio.sleep(6)
        desk.returner.peer_up(A)
        assert len(await desk.brought()) == 1


async def test_after_a_move_a_host_that_was_idle_is_brought_what_is_owed(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.returner.peer_up(B)
        await trio.sleep(1)
        desk.world.move("G22", B)
        desk.returner.hosts_changed()
        assert await desk.brought(B) == [SendReturn(B, desk.first.thing, 1)]


async def test_a_read_only_node_brings_again_what_needs_a_record(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.world.move("G22", B)
        desk.world.c.disk.fail_commit_in, desk.world.c.disk.fail_code = 1, "disk_full"
        desk.returner.peer_up(B)
        await trio.sleep(1)
        assert await desk.brought(B) == []
        desk.returner.peer_up(B)
        await trio.sleep(15)
        desk.returner.peer_up(B)
        assert len(await desk.brought(B)) == 1


async def test_receipts_that_found_no_room_on_their_link_are_brought_again(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with desk.running():
        desk.returner.again(A)
        assert await desk.brought() == [], "without a link there is nothing to bring"
        desk.returner.peer_up(A)
        assert len(await desk.brought()) == 1
        desk.returner.again(A)
        assert len(await desk.brought()) == 2


async def test_many_issuers_of_other_nodes_do_not_hold_the_loop(autojump_clock: MockClock) -> None:
    """One look at the index between two turns of the loop, however many there are."""
    desk = Desk()
    thing = desk.first.thing
    strangers = [
        Return(issuer=f"A{n:03}", consignment=bytes(32), slot=0, thing=thing, centre=B, number=0) for n in range(300)
    ]
    desk.world.c.store.write([Put(owed) for owed in strangers])
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with desk.running(), trio.open_nursery() as nursery:
        nursery.start_soon(count)
        desk.returner.peer_up(A)
        assert desk.bench.sent == [], "nothing is walked through in the call itself"
        while not desk.bench.sent:
            await trio.lowlevel.checkpoint()
        assert turns > len(strangers) / 2
        nursery.cancel_scope.cancel()
