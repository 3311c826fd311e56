"""Keys that are elsewhere: what is signed before its step, what happens without them, and that nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from node.presigning import JOBS_MAX, ROUNDS_MAX
from protocol import signer
from protocol.consignment import CONSIGNMENT
from protocol.envelope import ENVELOPE
from protocol.errors import NotNow, RequestError, StoreError
from protocol.limits import DAY_MS
from protocol.receipt import RECEIPT, Receipt
from protocol.record import Put
from protocol.records import IN, Counter, Incoming, Link, Outgoing, Return, Thing
from protocol.sending import DocumentAccepted
from protocol.signing import Signed, Verifier
from protocol.step import (
    Collected,
    OfferArrived,
    Recorded,
    SendNotNow,
    SendReturn,
    Step,
    Submitted,
    ToSign,
)
from tests.support.delivery import A, C, World, caller, submitted
from tests.support.errors import expects
from tests.support.signers import OutsideBench, ScriptedSigner
from tests.support.signing_keys import own_key_world

VERIFIER = Verifier()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def sender(world: World) -> OutsideBench:
    """A's node, whose operational key is elsewhere."""
    return OutsideBench(world.a, "")


@pytest.fixture
def receiver(world: World) -> OutsideBench:
    """C's node, whose operational key is elsewhere."""
    return OutsideBench(world.c, "")


def document(world: World, key: str = "key 1", **changes: Any) -> Submitted:
    return submitted("G22", ["H38"], [key.encode()], expires_ms=world.now_ms + 30 * DAY_MS, key=key, **changes)


def offered(world: World, key: str = "key 1") -> OfferArrived:
    """An offer by A as it arrives at C's node; A's own key signs."""
    sent = world.submit("G22", ["H38"], [key.encode()], key=key)
    send = world.a.offer(sent.only).sends[0]
    frame: Any = world.a.frame(send)
    return OfferArrived(centre=A, offer=frame)


async def in_background(nursery: trio.Nursery, call: Callable[[], Awaitable[Any]], kept: list[Any]) -> None:
    """Start a call whose result, or outcome, is kept."""

    async def run() -> None:
        try:
            kept.append(await call())
        except (NotNow, RequestError, StoreError) as error:
            kept.append(error)

    nursery.start_soon(run)
    await wait_all_tasks_blocked()


async def until(condition: Callable[[], Any]) -> None:
    """Until this holds; fails after a virtual minute."""
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110  # virtual time: one look at a quiet world
            await trio.sleep(0.1)


def things(bench: OutsideBench, form: str) -> list[Signed]:
    found = [Signed.from_wire(thing.wire, bytes_max=len(thing.wire)) for thing in bench.side.all(Thing)]
    return [thing for thing in found if thing.format == form]


# --- with a signer --------------------------------------------------------------------------------


async def test_a_document_is_owned_only_when_it_is_signed(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        await in_background(nursery, lambda: sender.pump.ask(document(world)), kept)
        assert (kept, sender.batches, sender.side.all(Outgoing)) == ([], 0, []), "nothing is recorded before"
        assert sender.pump.view.records.scan(Outgoing) == []
        await sender.only.sign_next()
        await sender.only.sign_next()
    assert isinstance(kept[0], DocumentAccepted)
    for form in (ENVELOPE.name, CONSIGNMENT.name):
        (thing,) = things(sender, form)
        VERIFIER.verify(thing, sender.only.key.public)


async def test_many_documents_at_once_share_one_signature_per_format(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        for n in range(20):
            await in_background(nursery, lambda n=n: sender.pump.ask(document(world, f"key {n}")), kept)  # type: ignore[misc]
        nursery.start_soon(sender.only.sign_all)
        await until(lambda: len(kept) == 20)
        nursery.cancel_scope.cancel()
    assert sender.only.asked == 4, "two for the first, which was alone, and two for all others together"
    assert all(isinstance(one, DocumentAccepted) for one in kept)
    for thing in things(sender, ENVELOPE.name):
        VERIFIER.verify(thing, sender.only.key.public)


async def test_a_receipt_leaves_signed_and_the_same_offer_twice_gets_the_same_one(
    autojump_clock: MockClock, world: World, receiver: OutsideBench
) -> None:
    offer = offered(world)
    async with receiver.running(), trio.open_nursery() as nursery:
        tickets = [receiver.pump.put(offer), receiver.pump.put(offer)]
        assert receiver.sent == []
        nursery.start_soon(receiver.only.sign_all)
        for ticket in tickets:
            await ticket.wait()
        nursery.cancel_scope.cancel()
    returned = [send.thing for send in receiver.sent if isinstance(send, SendReturn)]
    assert len(receiver.side.all(Incoming)) == 1
    assert len(set(returned)) == 1 and len(returned) == 2
    VERIFIER.verify(receiver.side.thing(returned[0]), receiver.only.key.public)


async def test_a_step_that_turns_out_to_say_something_else_is_signed_again(
    autojump_clock: MockClock, world: World, receiver: OutsideBench
) -> None:
    """Two links of one chain are computed at once: the second has to stand behind the first."""
    offer = offered(world)
    async with receiver.running(), trio.open_nursery() as nursery:
        ticket = receiver.pump.put(offer)
        nursery.start_soon(receiver.only.sign_all)
        await ticket.wait()
        (entry,) = receiver.side.all(Incoming)
        who = caller("H38")
        answered = receiver.side.answered(entry.consignment, 3)
        given = (Collected(caller=who, consignment=entry.consignment), answered)
        tickets = [receiver.pump.file(one) for one in given]
        for one in tickets:
            await one.wait()
        nursery.cancel_scope.cancel()
    links = receiver.side.all(Link, IN, entry.consignment)
    assert [link.code for link in links] == [1, 100, 3]
    for before, link in pairwise(links):
        thing = receiver.side.thing(link.receipt)
        VERIFIER.verify(thing, receiver.only.key.public)
        receipt: Receipt = RECEIPT.decode(thing.statement)
        assert receipt.previous == before.receipt


async def test_what_needs_no_signature_does_not_wait_for_those_that_do(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        await in_background(nursery, lambda: sender.pump.ask(document(world)), kept)
        await sender.pump.ask(Recorded(changes=(Put(Counter(name="other", value=1)),), why="something else"))
        assert sender.side.get(Counter, "other").value == 1
        assert kept == []
        nursery.cancel_scope.cancel()


async def test_a_mistake_of_the_caller_is_told_without_asking_anybody(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    async with sender.running():
        with expects("recipient_unknown", RequestError):
            await sender.pump.ask(submitted("G22", ["H99"], expires_ms=world.now_ms + DAY_MS))


async def test_a_second_submit_under_the_same_key_waits_and_gets_the_first_answer(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        for _ in range(2):
            await in_background(nursery, lambda: sender.pump.ask(document(world)), kept)
        nursery.start_soon(sender.only.sign_all)
        await until(lambda: len(kept) == 2)
        nursery.cancel_scope.cancel()
    assert kept[0].envelope_id == kept[1].envelope_id
    assert len(sender.side.all(Outgoing)) == 1


# --- without one ----------------------------------------------------------------------------------


async def test_a_signer_killed_in_the_middle_loses_nothing_and_needs_no_restart(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        await in_background(nursery, lambda: sender.pump.ask(document(world)), kept)
        await sender.only.sign_next()  # the envelope; before the consignment it dies
        await wait_all_tasks_blocked()
        await sender.only.hang_up()
        await wait_all_tasks_blocked()
        assert [error.code for error in kept] == ["signer_away"]
        assert sender.side.all(Outgoing) == [] and sender.pump.view.records.scan(Outgoing) == []
        with expects("signer_away", NotNow):  # and at once, as long as it is away
            await sender.pump.ask(document(world))
        await sender.until_up()
        nursery.start_soon(sender.only.sign_all)
        accepted = await sender.pump.ask(document(world))
        nursery.cancel_scope.cancel()
    assert isinstance(accepted, DocumentAccepted), "the same request under the same key"
    assert len(sender.side.all(Outgoing)) == 1


async def test_an_offer_without_a_signer_is_put_off_and_taken_later(
    autojump_clock: MockClock, world: World, receiver: OutsideBench
) -> None:
    offer = offered(world)
    async with receiver.running(), trio.open_nursery() as nursery:
        ticket = receiver.pump.put(offer)
        await receiver.only.hear()
        await receiver.only.hang_up()
        await ticket.wait()
        (answer,) = receiver.sent
        assert isinstance(answer, SendNotNow) and answer.code == "signer_away"
        assert receiver.side.all(Incoming) == [] and receiver.side.all(Return) == []
        receiver.sent.clear()
        await receiver.pump.put(offer).wait()
        assert [type(send) for send in receiver.sent] == [SendNotNow], "nobody is asked while it is away"
        await receiver.until_up()
        nursery.start_soon(receiver.only.sign_all)
        await receiver.pump.put(offer).wait()
        nursery.cancel_scope.cancel()
    assert len(receiver.side.all(Incoming)) == 1
    assert len(receiver.side.all(Return)) == 1, "the receipt is owed until it is acknowledged"


async def test_a_status_without_a_signer_is_not_taken_and_can_be_repeated(
    autojump_clock: MockClock, world: World, receiver: OutsideBench
) -> None:
    async with receiver.running(), trio.open_nursery() as nursery:
        ticket = receiver.pump.put(offered(world))
        await receiver.only.sign_next()
        await ticket.wait()
        (entry,) = receiver.side.all(Incoming)
        await receiver.only.hang_up()
        await wait_all_tasks_blocked()
        collected = Collected(caller=caller("H38"), consignment=entry.consignment)
        with expects("signer_away", NotNow):
            await receiver.pump.ask(collected)
        assert receiver.side.box(entry.consignment).collected_ms == 0
        await receiver.until_up()
        nursery.start_soon(receiver.only.sign_all)
        made = await receiver.pump.ask(collected)
        nursery.cancel_scope.cancel()
    assert made.code == 100


async def test_one_agencys_signer_that_is_away_holds_up_nobody_else(autojump_clock: MockClock) -> None:
    world, own = own_key_world("H40")
    world.c.signers["H40"] = own
    bench = OutsideBench(world.c, "H40")
    async with bench.running(), trio.open_nursery() as nursery:
        expires_ms = world.now_ms + DAY_MS
        await bench.only.hang_up()
        await wait_all_tasks_blocked()
        with expects("signer_away", NotNow):
            await bench.pump.ask(submitted("H40", ["G22"], expires_ms=expires_ms, key="own"))
        assert isinstance(
            await bench.pump.ask(submitted("H38", ["G22"], expires_ms=expires_ms, key="centre's")), DocumentAccepted
        )
        await bench.until_up("H40")
        nursery.start_soon(bench.only.sign_all)
        assert isinstance(
            await bench.pump.ask(submitted("H40", ["G22"], expires_ms=expires_ms, key="own")), DocumentAccepted
        )
        nursery.cancel_scope.cancel()
    for thing in things(bench, ENVELOPE.name):
        VERIFIER.verify(thing, own.public if thing.has_signature_of(own.public.key_id) else world.c.keys.signer.public)


async def test_a_format_that_the_signer_may_not_sign_stops_only_what_wants_it(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        await in_background(nursery, lambda: sender.pump.ask(document(world)), kept)
        asked = await sender.only.hear()
        await sender.only.say(signer.Failed(number=asked.number, code="format_not_allowed"))
        await sender.only.sign_next()
        await wait_all_tasks_blocked()
        assert [error.code for error in kept] == ["signer_away"]
        await in_background(nursery, lambda: sender.pump.ask(document(world)), kept)
        nursery.start_soon(sender.only.sign_all)
        await until(lambda: len(kept) == 2)
        nursery.cancel_scope.cancel()
    assert isinstance(kept[1], DocumentAccepted)


async def test_no_more_wait_than_the_bound_and_the_rest_is_told_so(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    kept: list[Any] = []
    async with sender.running(), trio.open_nursery() as nursery:
        tickets = [sender.pump.file(document(world, f"key {n}")) for n in range(JOBS_MAX + 3)]
        assert sender.presigner.waiting == JOBS_MAX
        for ticket in tickets[JOBS_MAX:]:
            with expects("signer_away", NotNow):
                await ticket.wait()
        nursery.start_soon(sender.only.sign_all)
        kept += [await ticket.wait() for ticket in tickets[:JOBS_MAX]]
        nursery.cancel_scope.cancel()
    assert len(sender.side.all(Outgoing)) == len(kept) == JOBS_MAX
    assert sender.presigner.waiting == 0


async def test_a_step_that_never_says_the_same_twice_is_given_up(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    said = 0

    def restless(given: Any, here: Any) -> Step:
        nonlocal said
        if "" in here.signers_away:
            return Step(reply="given up")
        said += 1
        return Step(changes=(ToSign(format="truc/receipt/1", statement=b"%d" % said),))

    sender.presigner._compute = restless  # type: ignore[misc]  # a step function that breaks the one rule
    async with sender.running(), trio.open_nursery() as nursery:
        here = sender.presigner.pinned(sender.here())
        given = Recorded(changes=(), why="restless")
        ticket = sender.presigner.take(given, here, restless(given, here))
        nursery.start_soon(sender.only.sign_all)
        assert await ticket.wait() == "given up"
        nursery.cancel_scope.cancel()
    assert said == ROUNDS_MAX + 2


async def test_a_disk_that_takes_nothing_any_more_is_told_to_whoever_waited_for_a_signature(
    autojump_clock: MockClock, world: World, sender: OutsideBench
) -> None:
    async with sender.running(), trio.open_nursery() as nursery:
        ticket = sender.pump.file(document(world))
        sender.committer.read_only = StoreError("disk_full")
        nursery.start_soon(sender.only.sign_all)
        with expects("store_read_only", StoreError):
            await ticket.wait()
        nursery.cancel_scope.cancel()


# --- what belongs to no step ----------------------------------------------------------------------


async def test_an_errand_waits_for_the_signer_and_a_later_one_takes_its_place(
    autojump_clock: MockClock, sender: OutsideBench
) -> None:
    signed: list[Signed] = []

    def use(wire: bytes) -> None:
        signed.append(Signed.from_wire(wire, bytes_max=len(wire)))

    async with sender.running(), trio.open_nursery() as nursery:
        await sender.only.hang_up()
        await wait_all_tasks_blocked()
        for statement in (b"monday", b"tuesday"):
            sender.presigner.sign_later("truc/node/1", statement, "", use)
        await wait_all_tasks_blocked()
        assert signed == []
        await sender.until_up()
        await sender.only.hear()
        await sender.only.hang_up()
        await wait_all_tasks_blocked()
        await sender.until_up()
        nursery.start_soon(sender.only.sign_all)
        await until(lambda: signed)
        nursery.cancel_scope.cancel()
    assert [thing.statement for thing in signed] == [b"tuesday"]
    VERIFIER.verify(signed[0], sender.only.key.public)


def test_what_waits_is_counted_and_troubles_are_named(world: World) -> None:
    bench = OutsideBench(world.a, "")
    assert bench.presigner.away == {""}
    assert bench.presigner.troubles()[""].code == "signer_unreachable"
    assert C not in bench.presigner.away


def test_a_computation_that_draws_other_sizes_goes_its_own_way() -> None:
    world = World()
    bench = OutsideBench(world.a, "")
    here = bench.presigner.pinned(world.a.here())
    replay: Any = here.entropy
    first = [here.entropy(16), here.entropy(32)]
    replay.rewind()
    assert [here.entropy(16), here.entropy(32)] == first
    replay.rewind()
    assert here.entropy(16) == first[0]
    other = here.entropy(12)
    assert len(other) == 12
    assert here.entropy(32) != first[1]
    assert isinstance(bench.only, ScriptedSigner)
