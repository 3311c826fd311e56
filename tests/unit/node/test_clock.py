"""Whether this node's clock may be believed."""

from __future__ import annotations

import io
from random import Random

import pytest
import trio
from trio.testing import MockClock

from node.clock import HEARD_MS, SETTLED_MS, ClockWatch
from node.logs import LineSink, make_log
from protocol.limits import CLOCK_SKEW_MS
from tests.sim.environment import SimEnvironment

MOVED = CLOCK_SKEW_MS + 1


class Watch:
    def __init__(self, quality: int = 1) -> None:
        self.environment = SimEnvironment(Random(1), clock_quality=quality)
        self.lines = io.StringIO()
        self.clock = ClockWatch(self.environment, make_log(LineSink(self.lines), self.environment))

    def hear(self, *offsets_ms: int) -> None:
        for n, offset_ms in enumerate(offsets_ms):
            self.clock.hear(f"centre {n}", self.environment.now_ms() + offset_ms)

    def count(self, event: str) -> int:
        return self.lines.getvalue().count(event)


async def test_a_clock_that_goes_steadily_is_believed(autojump_clock: MockClock) -> None:
    watch = Watch()
    await trio.sleep(80_000)
    assert (watch.clock.trusted, watch.clock.quality) == (True, 1)
    assert Watch(quality=0).clock.quality == 0


@pytest.mark.parametrize(
    ("by_ms", "trusted"), [(CLOCK_SKEW_MS, True), (MOVED, False), (-CLOCK_SKEW_MS, True), (-MOVED, False)]
)
async def test_a_clock_that_moved_is_suspicious(autojump_clock: MockClock, by_ms: int, trusted: bool) -> None:
    watch = Watch()
    watch.environment.step_clock(by_ms)
    assert watch.clock.trusted is trusted
    assert watch.clock.trusted is trusted
    assert watch.count("clock_suspicious") == (0 if trusted else 1)
    assert watch.clock.quality == (1 if trusted else 0)


async def test_three_peers_that_agree_settle_the_matter(autojump_clock: MockClock) -> None:
    watch = Watch()
    watch.environment.step_clock(MOVED)
    seen = [watch.clock.trusted]
    watch.hear(0, 0)
    seen.append(watch.clock.trusted)  # two voices prove nothing
    watch.hear(0, 10, CLOCK_SKEW_MS)
    seen.append(watch.clock.trusted)
    assert seen == [False, False, True]
    assert watch.clock.quality == 2
    assert watch.count("clock_believed") == 1
    await trio.sleep(HEARD_MS / 1000 + 1)
    assert watch.clock.trusted, "the moved clock is the one we believe now"


async def test_the_median_of_peers_counts_and_not_one_liar(autojump_clock: MockClock) -> None:
    watch = Watch()
    watch.hear(0, 0, 10**9)
    assert watch.clock.trusted
    watch.hear(MOVED, MOVED, MOVED)
    assert not watch.clock.trusted


async def test_without_peers_a_moved_clock_is_believed_when_the_system_has_vouched_for_it(
    autojump_clock: MockClock,
) -> None:
    watch = Watch()
    watch.environment.step_clock(MOVED)
    seen = [watch.clock.trusted]
    for seconds in (SETTLED_MS / 1000 - 1, 7):
        await trio.sleep(seconds)
        seen.append(watch.clock.trusted)
    assert seen == [False, False, True]
    doubtful = Watch(quality=0)
    doubtful.environment.step_clock(MOVED)
    assert not doubtful.clock.trusted
    await trio.sleep(SETTLED_MS / 1000 + 10)
    assert not doubtful.clock.trusted
