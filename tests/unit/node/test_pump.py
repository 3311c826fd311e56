"""Input → step → batch → effects."""

from __future__ import annotations

import trio
import trio.lowlevel
from trio.testing import MockClock

from protocol.errors import RequestError, StoreError
from protocol.exchange import NotNow
from protocol.record import Put
from protocol.records import Counter, Return
from protocol.step import Alarm, Collected, Offering, OfferPutOff, Recorded, SendOffer, StateChanged
from protocol.textid import to_text
from tests.support.bench import Bench
from tests.support.delivery import A, C, Forgery, World, caller, submitted
from tests.support.errors import expects
from tests.support.tree import TREE_READY_MS

RECORDED = Recorded(changes=(Put(Counter(name="a", value=1)),), why="test", reply=5)


async def test_whoever_asks_gets_the_reply_when_it_is_durable(autojump_clock: MockClock) -> None:
    bench = Bench(World().a)
    async with bench.running():
        assert await bench.pump.ask(RECORDED) == 5
        assert bench.side.get(Counter, "a").value == 1


async def test_a_refusal_waits_for_what_it_was_read_from_and_falls_with_it(autojump_clock: MockClock) -> None:
    bench = Bench(World().a)
    unknown = Collected(caller=caller("G22"), consignment=bytes(32))
    async with bench.running():
        bench.pump.put(RECORDED)
        ticket = bench.pump.file(unknown)
        assert bench.side.find(Counter, "a") is None
        with expects("consignment_unknown", RequestError):
            await ticket.wait()
        assert bench.side.find(Counter, "a") is not None
        bench.side.disk.fail_commit_in, bench.side.disk.fail_code = 1, "disk_full"
        bench.pump.put(RECORDED)
        with expects("commit_failed", StoreError):
            await bench.pump.ask(unknown)


async def test_a_part_that_goes_on_at_once_hears_a_refusal_at_once(autojump_clock: MockClock) -> None:
    bench = Bench(World().a)
    with expects("consignment_unknown", RequestError):
        bench.pump.put(Collected(caller=caller("G22"), consignment=bytes(32)))


async def test_sends_events_and_body_requests_leave_after_the_batch(autojump_clock: MockClock) -> None:
    world = World()
    bench = Bench(world.c)
    seen: list[int] = []
    bench.pump.after_batch.append(lambda step: seen.append(len(step.changes)))
    offer = Forgery(world=world, contents=(bytes(200_000),), offer={"inline": ()}).arrives()
    async with bench.running():
        bench.pump.put(RECORDED)
        ticket = bench.pump.put(offer)
        assert (bench.pulls, bench.sent, seen) == ([], [], [])
        await ticket.wait()
    assert [request.consignment for request in bench.pulls] == [bench.sent[0].consignment]  # type: ignore[union-attr]
    assert seen == [len(RECORDED.changes), 0]


async def test_a_change_of_state_is_one_line_of_the_log(autojump_clock: MockClock) -> None:
    bench = Bench(World().a)
    given = submitted("G22", ["H38"], expires_ms=TREE_READY_MS + 10**6, offer_now=frozenset({"H38"}))
    async with bench.running():
        await bench.pump.ask(given)
    (change,) = [event for event in bench.told if isinstance(event, StateChanged)]
    lines = [line for line in bench.lines.getvalue().splitlines() if "offered" in line]
    assert len(lines) == 1
    assert to_text("csg", change.consignment) in lines[0]
    assert [type(send) for send in bench.sent] == [SendOffer]


async def test_alarms_are_logged(autojump_clock: MockClock) -> None:
    world = World()
    bench = Bench(world.c)
    async with bench.running():
        await bench.pump.ask(Forgery(world=world, envelope={"issuer": "G12"}).arrives())
    assert [event.code for event in bench.told if isinstance(event, Alarm)] == ["offer_mismatch"]
    assert [(line["code"], line["centre"]) for line in bench.logged("alarm")] == [("offer_mismatch", A)]


async def test_a_not_now_speaks_of_an_offer_or_of_a_thing_that_we_owe(autojump_clock: MockClock) -> None:
    world = World()
    world.c.do(Forgery(world=world).arrives())
    bench = Bench(world.c)
    (owed,) = world.c.all(Return)
    async with bench.running():
        await bench.pump.ask(OfferPutOff(centre=A, answer=NotNow(subject=owed.thing, code="busy", retry_ms=5_000)))
    assert world.c.all(Return)[0].waiting == "busy"
    sent = world.submit("G22", ["H38"])
    world.a.do(Offering(centre=C, consignments=(sent.only,)))
    world.a.do(OfferPutOff(centre=C, answer=NotNow(subject=sent.only, code="held", retry_ms=5_000)))
    assert world.a.out(sent.only).waiting == "held"


async def test_listeners_of_recorded_changes_hear_before_they_are_durable(autojump_clock: MockClock) -> None:
    bench = Bench(World().a)
    heard: list[bool] = []
    bench.pump.when_recorded.append(lambda: heard.append(bench.side.find(Counter, "a") is None))
    async with bench.running():
        await bench.pump.ask(RECORDED)
        await bench.pump.ask(Offering(centre=C, consignments=()))
        await trio.lowlevel.checkpoint()
    assert heard == [True]
