"""Virtual time, seeded chance and inline workers behave as the seam says."""

from __future__ import annotations

from random import Random

import pytest
import trio

from node.environment import Environment
from tests.sim.clock import run_seeded
from tests.sim.environment import EPOCH_MS, SimEnvironment


def test_the_wall_clock_follows_virtual_time_and_may_be_stepped() -> None:
    async def main() -> None:
        environment: Environment = (sim := SimEnvironment(Random(1)))
        assert environment.now_ms() == EPOCH_MS
        await trio.sleep(86_400)
        assert environment.now_ms() == EPOCH_MS + 86_400_000
        sim.step_clock(-3_600_000)
        assert environment.now_ms() == EPOCH_MS + 82_800_000
        assert environment.monotonic_ms() == 86_400_000
        assert environment.clock_quality() == 1 and environment.cpu_seconds() == 86_400

    run_seeded(1, main)


def test_a_sleep_to_a_millisecond_ends_in_it() -> None:
    async def main() -> None:
        environment = SimEnvironment(Random(1))
        for ms in (1, 3, 7, 1_001, 59_999):
            deadline = environment.monotonic_ms() + ms
            await trio.sleep(ms / 1000)
            assert environment.monotonic_ms() >= deadline

    run_seeded(1, main)


def test_chance_comes_from_the_seed() -> None:
    async def main() -> tuple[bytes, float, list[int]]:
        environment = SimEnvironment(Random(7))
        return environment.entropy(16), environment.jitter(), environment.shuffled([1, 2, 3, 4])

    first = run_seeded(1, main)
    assert first == run_seeded(2, main)
    assert len(first[0]) == 16 and sorted(first[2]) == [1, 2, 3, 4]


def test_the_committer_runs_one_call_at_a_time_and_takes_time() -> None:
    async def main() -> None:
        environment = SimEnvironment(Random(1))
        done: list[int] = []
        async with trio.open_nursery() as nursery:
            for index in range(3):
                nursery.start_soon(environment.run_committer, done.append, index)
        assert sorted(done) == [0, 1, 2] and trio.current_time() > 0.006
        await environment.run_body(done.append, 3)
        await environment.run_document(done.append, 4)
        assert environment.hops == {"committer": 3, "body": 1, "document": 1}
        with pytest.raises(ValueError, match="wrong"):
            await environment.run_body(_fail)

    run_seeded(1, main)


def _fail() -> None:
    raise ValueError("wrong")


def _cancelled_after(seconds: float, *, kill: bool) -> tuple[bool, bool]:
    """Whether a commit happened, and whether its caller learnt of it."""

    async def main() -> tuple[bool, bool]:
        environment = SimEnvironment(Random(3))
        happened: list[int] = []
        learnt: list[int] = []

        async def commit() -> None:
            await environment.run_committer(happened.append, 1)
            learnt.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit)
            await trio.sleep(seconds)
            if kill:
                environment.kill()
            nursery.cancel_scope.cancel()
        return bool(happened), bool(learnt)

    return run_seeded(1, main)


def test_a_crash_may_fall_before_or_after_a_commit_that_nobody_learns_of() -> None:
    outcomes = {_cancelled_after(after / 2_000, kill=True) for after in range(12)}
    assert outcomes == {(False, False), (True, False), (True, True)}


def test_a_cancelled_caller_waits_for_a_commit_that_has_begun() -> None:
    outcomes = {_cancelled_after(after / 2_000, kill=False) for after in range(12)}
    assert outcomes == {(False, False), (True, True)}
