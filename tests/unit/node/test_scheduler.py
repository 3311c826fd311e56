"""One task sleeps to the least deadline, and wakes for an earlier one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from trio.testing import MockClock

from node.scheduler import DUE_MAX, SLEEP_MAX_S, Scheduler
from node.tasks import start
from protocol.delivery import SenderState
from protocol.record import Put
from protocol.records import Deadline, Due
from protocol.step import Recorded
from tests.support.bench import Bench
from tests.support.delivery import World


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(bench.pump, bench.environment)
    async with bench.running(), trio.open_nursery() as nursery:
        await start(nursery, scheduler.run)
        yield scheduler
        nursery.cancel_scope.cancel()


async def test_an_expiry_is_decided_when_it_is_due_and_not_before(autojump_clock: MockClock) -> None:
    world = World()
    sent = world.submit("G22", ["H38"], expires_ms=world.now_ms + 100_000)
    async with running(Bench(world.a)):
        await trio.sleep(99)
        assert world.a.out(sent.only).state == SenderState.QUEUED
        await trio.sleep(1.5)
        assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT


async def test_an_earlier_deadline_wakes_the_sleeper(autojump_clock: MockClock) -> None:
    world = World()
    world.submit("G22", ["H38"])
    bench = Bench(world.a)
    async with running(bench):
        await trio.sleep(1)
        soon = Deadline(at_ms=bench.environment.now_ms() + 2_000, what=Due.UPLOAD, subject=bytes(32))
        late = Deadline(at_ms=bench.environment.now_ms() + 10**12, what=Due.UPLOAD, subject=bytes(32))
        await bench.pump.ask(Recorded(changes=(Put(late), Put(soon)), why="test"))
        await trio.sleep(1.9)
        assert soon in world.a.all(Deadline)
        await trio.sleep(0.5)
        assert soon not in world.a.all(Deadline)
        assert late in world.a.all(Deadline)


async def test_more_deadlines_than_fit_one_step_are_all_decided(autojump_clock: MockClock) -> None:
    world = World()
    rows = [Deadline(at_ms=n + 1, what=Due.UPLOAD, subject=bytes(32)) for n in range(2 * DUE_MAX + 1)]
    world.a.store.write([Put(row) for row in rows])
    async with running(Bench(world.a)):
        await trio.sleep(1)
        assert world.a.all(Deadline) == []


async def test_a_wall_clock_that_leaps_is_noticed_within_the_hour(autojump_clock: MockClock) -> None:
    world = World()
    sent = world.submit("G22", ["H38"])
    bench = Bench(world.a)
    async with running(bench):
        await trio.sleep(1)
        bench.environment.step_clock(40 * 86_400_000)
        await trio.sleep(SLEEP_MAX_S + 1)
        assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT


async def test_others_are_called_at_their_moment_and_once(autojump_clock: MockClock) -> None:
    bench = Bench(World().a)
    called: list[str] = []
    async with running(bench) as scheduler:
        await trio.sleep(1)
        now_ms = bench.environment.now_ms()
        scheduler.at("late", now_ms + 20_000, lambda: called.append("late"))
        scheduler.at("moved", now_ms + 1_000, lambda: called.append("too early"))
        scheduler.at("moved", now_ms + 10_000, lambda: called.append("moved"))
        await trio.sleep(9.5)
        assert called == []
        await trio.sleep(1)
        assert called == ["moved"]
        await trio.sleep(3_600)
        assert called == ["moved", "late"]


async def test_on_a_disk_that_takes_nothing_what_is_due_stays_due(autojump_clock: MockClock) -> None:
    world = World()
    sent = world.submit("G22", ["H38"], expires_ms=world.now_ms + 1_000)
    world.a.disk.fail_commit_in, world.a.disk.fail_code = 1, "disk_full"
    async with running(Bench(world.a)):
        await trio.sleep(5)
        assert world.a.out(sent.only).state == SenderState.QUEUED
        await trio.sleep(60)
        assert world.a.out(sent.only).state == SenderState.EXPIRED_UNSENT
