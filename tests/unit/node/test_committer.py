"""Group commit: what is durable when, what leaves in which order, and what a failed batch does."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.committer import (
    BACKLOG_STEPS_MAX,
    BATCH_BYTES_MAX,
    BATCH_STEPS_MAX,
    CAN_WAIT_S,
    GATHER_QUIET_TURNS,
    READ_ONLY_PROBE_S,
)
from protocol.errors import RequestError, StoreError
from protocol.receipt import RECEIPT
from protocol.record import Body, Delete, Place, Put, PutBody
from protocol.records import Counter, SealedHeader, Thing
from protocol.signing import Signed, Verifier
from protocol.step import SendAck, Settled, Step, ToSign
from tests.support.bench import Bench
from tests.support.delivery import C, World
from tests.support.errors import expects


def counted(name: str, value: int = 1, **more: Any) -> Step:
    """A step that makes a counter durable and says so."""
    return Step(changes=(Put(Counter(name=name, value=value)),), sends=(SendAck(C, name.encode()),), **more)


@pytest.fixture
def bench() -> Bench:
    return Bench(World().a)


def acks(bench: Bench) -> list[str]:
    return [send.thing.decode() for send in bench.sent if isinstance(send, SendAck)]


# --- order -----------------------------------------------------------------------------------------


async def test_nothing_is_seen_before_it_is_durable(autojump_clock: MockClock, bench: Bench) -> None:
    seen: list[Any] = []
    bench.pump.send = lambda _send: seen.append(bench.side.find(Counter, "a"))
    async with bench.running():
        ticket = bench.committer.hand_over(counted("a", reply="done"))
        assert bench.side.find(Counter, "a") is None
        assert bench.pump.view.records.get(Counter, "a") is not None, "the next step reads it"
        assert seen == []
        assert await ticket.wait() == "done"
    assert seen == [Counter(name="a", value=1)]


async def test_nothing_of_a_batch_is_shown_while_it_is_written(autojump_clock: MockClock, bench: Bench) -> None:
    shown: list[Any] = []
    committed = bench.side.store.committed
    bench.pump.send = lambda _send: shown.append(committed.get(Counter, "a"))
    # durable, and the loop may be in the middle of a page
    bench.side.disk.on_commit = lambda: shown.append(committed.get(Counter, "a"))
    async with bench.running():
        await bench.committer.hand_over(counted("a")).wait()
    assert shown == [None, Counter(name="a", value=1)]


async def test_effects_leave_in_the_order_of_the_steps(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        tickets = [bench.committer.hand_over(counted(str(n))) for n in range(50)]
        await tickets[-1].wait()
    assert acks(bench) == [str(n) for n in range(50)]


async def test_the_last_of_several_words_about_a_record_is_the_one_that_stays(
    autojump_clock: MockClock, bench: Bench
) -> None:
    async with bench.running():
        tickets = [bench.committer.hand_over(counted("a", value)) for value in (1, 2, 3)]
        await tickets[-1].wait()
    assert bench.side.get(Counter, "a").value == 3
    assert bench.side.store.view.staged_count == 0


async def test_tasks_that_are_ready_to_run_share_one_batch(autojump_clock: MockClock, bench: Bench) -> None:
    async def later(turns: int) -> None:
        for _turn in range(turns):
            await trio.lowlevel.checkpoint()
        await bench.committer.hand_over(counted(str(turns))).wait()

    async with bench.running(), trio.open_nursery() as nursery:
        for n in range(8):
            nursery.start_soon(later, 5 * n)
    assert (bench.batches, len(acks(bench))) == (1, 8)


async def test_a_loop_that_never_rests_writes_all_the_same(bench: Bench) -> None:
    async with bench.running():
        brought = 0
        while not bench.batches:  # there is always something new to wait for
            bench.committer.hand_over(Step(changes=(Put(Counter(name="a", value=brought)),)))
            brought += 1
            await trio.lowlevel.checkpoint()
    assert brought > GATHER_QUIET_TURNS


async def test_what_nobody_waits_for_goes_with_the_next_batch_or_a_little_later(
    autojump_clock: MockClock, bench: Bench
) -> None:
    async with bench.running():
        for name in "ab":
            bench.committer.hand_over(counted(name, can_wait=True))
        await trio.sleep(CAN_WAIT_S / 2)
        assert (bench.batches, acks(bench)) == (0, [])
        await bench.committer.hand_over(counted("c")).wait()
        assert (bench.batches, acks(bench)) == (1, ["a", "b", "c"])
        bench.committer.hand_over(counted("d", can_wait=True))
        await trio.sleep(CAN_WAIT_S + 0.01)
        assert (bench.batches, acks(bench)) == (2, ["a", "b", "c", "d"])
        await trio.sleep(10 * CAN_WAIT_S)
        assert bench.batches == 2


async def test_what_can_wait_does_not_wait_for_the_last_of_a_stream(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        for n in range(20):
            bench.committer.hand_over(counted(str(n), can_wait=True))
            await trio.sleep(CAN_WAIT_S / 4)
        assert bench.batches >= 4


async def test_what_is_handed_over_during_a_batch_forms_the_next_one(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        first = bench.committer.hand_over(counted("a"))
        await trio.sleep(0.001)
        others = [bench.committer.hand_over(counted(name)) for name in "bcd"]
        assert bench.committer.backlog == 3
        await first.wait()
        assert bench.batches == 1
        await others[-1].wait()
    assert bench.batches == 2
    assert bench.committer.backlog == 0


async def test_a_step_without_changes_waits_for_the_batch_it_was_read_from(
    autojump_clock: MockClock, bench: Bench
) -> None:
    async with bench.running():
        bench.committer.hand_over(counted("a"))
        await trio.sleep(0.001)  # the batch is on its way to the disk
        ticket = bench.committer.hand_over(Step(sends=(SendAck(C, b"answer"),), reply=5))
        assert bench.sent == []
        assert await ticket.wait() == 5
        assert acks(bench) == ["a", "answer"]
        assert bench.batches == 1, "it needs no batch of its own"


async def test_a_step_without_changes_leaves_at_once_when_nothing_is_under_way(
    autojump_clock: MockClock, bench: Bench
) -> None:
    ticket = bench.committer.hand_over(Step(sends=(SendAck(C, b"answer"),), reply=5))
    assert acks(bench) == ["answer"]
    assert await ticket.wait() == 5


async def test_a_refusal_is_told_only_when_what_it_was_read_from_is_durable(
    autojump_clock: MockClock, bench: Bench
) -> None:
    async with bench.running():
        bench.committer.hand_over(counted("a"))
        ticket = bench.committer.hand_over(Step(error=RequestError("key_reused")))
        with expects("key_reused", RequestError):
            await ticket.wait()
        assert acks(bench) == ["a"]


async def test_what_an_effect_leads_to_waits_until_the_others_of_its_batch_are_out(
    autojump_clock: MockClock, bench: Bench
) -> None:
    def react(event: Any) -> None:
        if event == Settled(C, b"go"):
            bench.committer.hand_over(Step(sends=(SendAck(C, b"reaction"),)))

    bench.pump.listeners.append(react)
    async with bench.running():
        bench.committer.hand_over(counted("a", events=(Settled(C, b"go"),)))
        await bench.committer.hand_over(counted("b")).wait()
        await trio.testing.wait_all_tasks_blocked()
    assert acks(bench) == ["a", "b", "reaction"]


async def test_a_chain_of_reactions_does_not_grow_the_stack(autojump_clock: MockClock, bench: Bench) -> None:
    left = [3_000]

    def react(event: Any) -> None:
        if left[0]:
            left[0] -= 1
            bench.committer.hand_over(Step(events=(event,)))

    bench.pump.listeners.append(react)
    async with bench.running():
        bench.committer.hand_over(Step(events=(Settled(C, b"go"),)))
        await trio.sleep(1)
    assert left == [0]


async def test_whoever_waits_late_or_twice_gets_the_same(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        ticket = bench.committer.hand_over(counted("a", reply=7))
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ticket.wait)
        assert await ticket.wait() == 7


# --- bounds ------------------------------------------------------------------------------------------


async def test_a_batch_takes_a_thousand_steps(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        tickets = [bench.committer.hand_over(counted(str(n % 7), n + 1)) for n in range(2 * BATCH_STEPS_MAX + 1)]
        await tickets[BATCH_STEPS_MAX - 1].wait()
        assert bench.batches == 1
        await tickets[-1].wait()
    assert bench.batches == 3


@pytest.mark.parametrize("kind", ["body", "header", "thing", "statement"])
async def test_a_batch_takes_eight_mebibytes_of_whatever_is_large(
    autojump_clock: MockClock, bench: Bench, kind: str
) -> None:
    def large(n: int) -> Step:
        if kind == "body":
            return Step(changes=(PutBody(n.to_bytes(32, "big"), bytes(1024 * 1024)),))
        if kind == "header":
            rows = [
                SealedHeader(envelope=(100 * n + m).to_bytes(32, "big"), sealed=bytes(128 * 1024)) for m in range(8)
            ]
            return Step(changes=tuple(Put(row) for row in rows))
        if kind == "thing":
            things = [Thing(digest=(100 * n + m).to_bytes(32, "big"), wire=bytes(64 * 1024)) for m in range(16)]
            return Step(changes=tuple(Put(thing) for thing in things))
        return Step(changes=tuple(ToSign(format="truc/receipt/1", statement=bytes(65_536)) for _ in range(16)))

    async with bench.running():
        tickets = [bench.committer.hand_over(large(n)) for n in range(9)]
        await tickets[7].wait()
        assert bench.batches == 1
        await tickets[8].wait()
    assert bench.batches == 2
    assert BATCH_BYTES_MAX == 8 * 1024 * 1024


async def test_a_step_larger_than_a_batch_goes_alone(autojump_clock: MockClock, bench: Bench) -> None:
    bodies = tuple(PutBody(n.to_bytes(32, "big"), bytes(1024 * 1024)) for n in range(9))
    async with bench.running():
        bench.committer.hand_over(counted("a"))
        await bench.committer.hand_over(Step(changes=bodies)).wait()
    assert bench.batches == 2


@pytest.mark.parametrize("large", [False, True])
async def test_readers_pause_while_too_much_waits(autojump_clock: MockClock, bench: Bench, large: bool) -> None:
    if large:
        steps = [Step(changes=(PutBody(n.to_bytes(32, "big"), bytes(1024 * 1024)),)) for n in range(40)]
    else:
        steps = [counted(str(n % 5), n + 1) for n in range(BACKLOG_STEPS_MAX + 1)]
    for step in steps:
        bench.committer.hand_over(step)
    with trio.move_on_after(1) as waiting:
        await bench.committer.room()
    assert waiting.cancelled_caught
    async with bench.running():
        await bench.committer.room()
        assert 0 < bench.committer.backlog <= BACKLOG_STEPS_MAX


async def test_with_little_waiting_readers_go_on_at_once(autojump_clock: MockClock, bench: Bench) -> None:
    for n in range(BACKLOG_STEPS_MAX):
        bench.committer.hand_over(counted(str(n % 5), n + 1))
    with trio.fail_after(0):
        await bench.committer.room()


# --- signing -----------------------------------------------------------------------------------------


async def test_one_signature_covers_all_statements_of_a_format_in_a_batch(
    autojump_clock: MockClock, bench: Bench
) -> None:
    statements = [b"one", b"two", b"three"]
    async with bench.running():
        tickets = [
            bench.committer.hand_over(Step(changes=(ToSign(format=RECEIPT.name, statement=statement),)))
            for statement in statements
        ]
        bench.committer.hand_over(Step(changes=(ToSign(format="truc/refusal/1", statement=b"no"),)))
        await tickets[-1].wait()
    things = [Signed.from_wire(row.wire, bytes_max=10_000) for row in bench.side.all(Thing)]
    assert {thing.statement for thing in things} == {*statements, b"no"}
    for thing in things:
        Verifier().verify(thing, bench.side.keys.signer.public)
    assert {thing.signatures[0].tree_size for thing in things if thing.format == RECEIPT.name} == {3}
    assert bench.metrics.signatures.labels(operation="sign")._value.get() == 2


# --- large bodies that nobody needs any more ---------------------------------------------------------------


async def test_files_of_bodies_that_lost_their_record_are_removed_after_the_batch(
    autojump_clock: MockClock, bench: Bench
) -> None:
    bodies, digest = bench.side.store.bodies, bytes(32)
    writer = bodies.writer(bytes(16))
    writer.write(b"large")
    place = writer.finish(digest)
    async with bench.running():
        body = Body(digest=digest, size=5, place=place)
        await bench.committer.hand_over(Step(changes=(Put(body),))).wait()
        await bench.committer.hand_over(Step(changes=(Delete(Body, (digest,)),))).wait()
        await trio.sleep(1)
    assert place == Place(segment=0, offset=0, length=5)
    assert not [name for name in bench.side.disk.names if name.startswith("bodies/")]
    assert bench.environment.hops["body"] == 1


# --- failure -----------------------------------------------------------------------------------------


async def failed(bench: Bench, code: str = "disk_full") -> None:
    bench.side.disk.fail_commit_in, bench.side.disk.fail_code = 1, code
    ticket = bench.committer.hand_over(counted("lost"))
    with expects("commit_failed", StoreError) as caught:
        await ticket.wait()
    assert caught[0].detail == {"reason": code}


async def test_a_failed_batch_fails_every_step_behind_it_too(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        bench.side.disk.fail_commit_in, bench.side.disk.fail_code = 1, "disk_full"
        tickets = [bench.committer.hand_over(counted("a"))]
        await trio.sleep(0.001)
        tickets += [
            bench.committer.hand_over(counted("b")),
            bench.committer.hand_over(Step(reply="read from what was lost")),
            bench.committer.hand_over(Step(error=RequestError("key_reused"))),
        ]
        for ticket in tickets:
            with expects("commit_failed", StoreError):
                await ticket.wait()
    assert (bench.sent, bench.told) == ([], [])
    assert [error.code for error in bench.failures] == ["disk_full"]
    assert bench.side.store.view.staged_count == 0
    assert bench.pump.view.records.get(Counter, "b") is None
    assert bench.metrics.commits_failed._value.get() == 1
    assert [(line["code"], line["steps"]) for line in bench.logged("commit_failed")] == [("disk_full", 4)]


async def test_a_read_only_node_takes_nothing_and_still_answers_from_the_disk(
    autojump_clock: MockClock, bench: Bench
) -> None:
    async with bench.running():
        await bench.committer.hand_over(counted("before")).wait()
        await failed(bench)
        with expects("store_read_only", StoreError) as caught:
            bench.committer.hand_over(counted("more"))
        assert caught[0].detail == {"reason": "disk_full"}
        assert bench.pump.view.records.get(Counter, "more") is None
        assert await bench.committer.hand_over(Step(reply="known")).wait() == "known"
        assert bench.committer.read_only is not None


async def test_a_node_that_went_read_only_tries_again_and_begins_anew(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        await failed(bench)
        assert len(bench.failures) == 1
        await trio.sleep(READ_ONLY_PROBE_S + 1)
        assert bench.committer.read_only is None
        assert len(bench.failures) == 2, "sessions are reset once more: what came in between was not taken"
        await bench.committer.hand_over(counted("after")).wait()
    assert bench.side.get(Counter, "after").value == 1
    assert bench.side.find(Counter, "lost") is None
    assert len(bench.logged("store_writable")) == 1


async def test_a_disk_that_stays_full_is_told_once(autojump_clock: MockClock, bench: Bench) -> None:
    async with bench.running():
        bench.side.disk.full = True
        with expects("commit_failed", StoreError):
            await bench.committer.hand_over(Step(changes=(PutBody(bytes(32), b"x"),))).wait()
        for _ in range(5):
            bench.side.disk.fail_commit_in = 1
            await trio.sleep(READ_ONLY_PROBE_S)
        assert len(bench.logged("commit_failed")) == 1
        assert len(bench.failures) == 1
        bench.side.disk.full, bench.side.disk.fail_commit_in = False, 0
        await trio.sleep(READ_ONLY_PROBE_S * 2)
        assert bench.committer.read_only is None


async def test_the_first_second_and_third_commit_may_fail(autojump_clock: MockClock, bench: Bench) -> None:
    for nth in (1, 2, 3):
        bench = Bench(World().a)
        bench.side.disk.fail_commit_in, bench.side.disk.fail_code = nth, "disk_full"
        outcomes: list[bool] = []
        async with bench.running():
            for n in range(3):
                try:
                    await bench.committer.hand_over(counted(str(n))).wait()
                    outcomes.append(True)
                except StoreError:
                    outcomes.append(False)
        assert outcomes == [n + 1 < nth for n in range(3)]
        assert [bench.side.find(Counter, str(n)) is not None for n in range(3)] == outcomes
        assert acks(bench) == [str(n) for n in range(3) if outcomes[n]]
