"""A document between two agencies of one node: same frames, same receiver, no shortcut."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from node.link_table import Links
from node.links import Link
from node.loopback import EchoStream
from node.returner import Returner
from node.sender import Sender
from node.tasks import start
from protocol.exchange import Hello
from protocol.records import IN, OUT, BodyUse, Incoming, Outgoing, Pair, Return
from tests.support.bench import Bench
from tests.support.delivery import A, World, submitted
from tests.support.links import make_link
from tests.support.tree import TREE_READY_MS


async def test_one_link_to_ourselves_carries_offer_receipt_and_acknowledgement(autojump_clock: MockClock) -> None:
    world = World()
    bench, links = Bench(world.a), Links()
    sender, returner = Sender(bench.pump, bench.host_of), Returner(bench.pump, bench.host_of)
    bench.pump.send = links.route

    def up(link: Link, _hello: Hello) -> None:
        links.promote(link)
        returner.peer_up(A)
        sender.peer_up(A)

    link = make_link(bench, A, EchoStream(), on_up=up, on_holding=sender.holding, on_dropped=sender.dropped)
    links.add(link)
    async with bench.running(), trio.open_nursery() as nursery:
        await start(nursery, sender.run)
        nursery.start_soon(link.run)
        await trio.sleep(1)
        assert link.is_up
        given = submitted("G22", ["G22.99"], [bytes(300_000)], expires_ms=TREE_READY_MS + 10**9)
        await bench.pump.ask(given)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    (entry,), (arrived,) = world.a.all(Outgoing), world.a.all(Incoming)
    assert (entry.codes, arrived.codes, entry.head) == ((1,), (1,), arrived.head)
    assert world.a.all(Return) == []
    assert world.a.get(Pair, A) == Pair(centre=A, given=2, held=2)
    assert {use.box for use in world.a.all(BodyUse, arrived.parts[0].digest)} == {OUT, IN}
    assert bench.pulls == [], "the body is not copied"
