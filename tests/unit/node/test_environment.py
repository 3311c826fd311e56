"""The real environment: clocks, entropy, and workers with their limits."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import trio

from node.environment import Environment, RealEnvironment


def test_the_real_environment_is_an_environment() -> None:
    environment: Environment = RealEnvironment()
    assert environment.monotonic_ms() <= environment.monotonic_ms()


def test_the_wall_clock_is_in_milliseconds_since_1970() -> None:
    assert abs(RealEnvironment().now_ms() - time.time() * 1000) < 5_000


def test_the_monotonic_clock_measures_milliseconds() -> None:
    environment = RealEnvironment()
    before = environment.monotonic_ms()
    time.sleep(0.03)
    assert 29 <= environment.monotonic_ms() - before < 5_000


def test_entropy_has_the_length_asked_for_and_does_not_repeat() -> None:
    environment = RealEnvironment()
    assert len({environment.entropy(16) for _ in range(100)}) == 100
    assert environment.entropy(0) == b""


def test_jitter_lies_in_the_unit_interval_and_two_nodes_differ() -> None:
    one, other = RealEnvironment(), RealEnvironment()
    values = [one.jitter() for _ in range(100)]
    assert all(0 <= value < 1 for value in values)
    assert values != [other.jitter() for _ in range(100)]


def test_shuffling_keeps_the_items_and_leaves_the_original_alone() -> None:
    original = tuple(range(50))
    shuffled = RealEnvironment().shuffled(original)
    assert sorted(shuffled) == list(original)
    assert shuffled != list(original)
    assert original == tuple(range(50))


def test_processor_time_grows_with_work() -> None:
    environment = RealEnvironment()
    before = environment.cpu_seconds()
    sum(range(300_000))
    assert environment.cpu_seconds() > before


class _Libc:
    def __init__(self, state: int) -> None:
        self._state = state

    def adjtimex(self, _timex: object) -> int:
        return self._state


@pytest.mark.parametrize(
    ("libc", "mark", "quality"),
    [
        (_Libc(0), False, 1),  # TIME_OK
        (_Libc(4), False, 1),  # TIME_WAIT: a leap second was just inserted
        (_Libc(5), False, 0),  # TIME_ERROR: nobody disciplines the clock
        (_Libc(-1), False, 0),  # forbidden by a sandbox
        (_Libc(-1), True, 1),
        (object(), False, 0),  # a C library without adjtimex
    ],
)
def test_clock_quality_is_what_the_system_says(libc: object, mark: bool, quality: int, tmp_path: Path) -> None:
    said = tmp_path / "synchronized"
    if mark:
        said.touch()
    assert RealEnvironment(libc=libc, synchronised_mark=said).clock_quality() == quality


def test_clock_quality_can_be_asked_of_this_machine() -> None:
    assert RealEnvironment().clock_quality() in (0, 1)


async def test_work_runs_in_another_thread_and_its_result_comes_back() -> None:
    hops: list[str] = []
    environment = RealEnvironment(hops.append)
    for run in (environment.run_committer, environment.run_body, environment.run_document):
        thread, doubled = await run(lambda number: (threading.get_ident(), number * 2), 21)
        assert (thread != threading.get_ident(), doubled) == (True, 42)
    assert hops == ["committer", "body", "document"]


async def test_an_error_in_a_worker_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        await RealEnvironment().run_body(lambda: 1 // 0)


@pytest.mark.parametrize(("worker", "most"), [("run_committer", 1), ("run_body", 2), ("run_document", 1)])
async def test_no_more_threads_work_at_once_than_the_design_says(worker: str, most: int) -> None:
    running, peak, lock, reached = 0, 0, threading.Lock(), threading.Event()

    def work() -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
            if peak >= most:
                reached.set()
        assert reached.wait(30)
        time.sleep(0.02)  # for one too many to show itself
        with lock:
            running -= 1

    run = getattr(RealEnvironment(), worker)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(run, work)
    assert peak == most


async def test_a_batch_is_finished_even_when_its_caller_is_cancelled() -> None:
    begun, cancelled, finished = threading.Event(), threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        assert cancelled.wait(30)
        time.sleep(0.05)
        finished.set()

    async def cancel_when_begun(scope: trio.CancelScope) -> None:
        await trio.to_thread.run_sync(begun.wait)
        scope.cancel()
        cancelled.set()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel_when_begun, scope)
            await RealEnvironment().run_committer(write)
        assert finished.is_set()
