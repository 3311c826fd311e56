"""Named moments at which such systems lose mail, each played once and judged by the oracle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio

from protocol.errors import StoreError
from protocol.exchange import Ack, Offer, Returned
from protocol.records import IN, OUT, Document, Incoming, Link, Outgoing, Owed, Return
from protocol.signing import Signed
from protocol.step import OfferArrived
from tests.sim.api_client import ApiClient
from tests.sim.desk import NodeGone
from tests.sim.notebook import Sending
from tests.sim.stage import PATIENCE_SECONDS, Stage, on_stage, play
from tests.sim.wire_watch import WIRE_BYTES_MAX

T = TypeVar("T")

API_DOCUMENT = {
    "issuer": "H02",
    "recipients": ["H03"],
    "metadata": {"type": "Công văn", "subject": "V/v thử nghiệm", "secrecy": "none"},
    "parts": [{"name": "ghi-chú.txt", "media_type": "text/plain", "content_base64": "eGluIGNow6Bv"}],
}


def kill_once(stage: Stage, agency: str, record: type) -> None:
    """Kill the agency's node at the moment when the first record of a kind has become durable."""
    machine, durable = stage.machine(agency), stage.durable(agency)

    def look() -> None:
        if durable.all(record):
            machine.disk.on_commit = lambda: None
            machine.kill()

    machine.disk.on_commit = look


def test_a_recipient_killed_between_commit_and_receipt_gives_the_receipt_when_it_is_back() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            kill_once(stage, "H03", Incoming)
            sending = stage.sending("H02", "H03")
            await stage.submit(sending)
            await stage.reaches(sending, 1)
            assert stage.machine("H03").lives == 2
            assert len(stage.durable("H03").all(Incoming)) == 1
            assert len({frame.thing for frame in stage.sent(Returned)}) == 1

    play(scenario)


def test_offers_that_arrive_twice_during_one_commit_get_the_same_receipt() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            recipient = stage.machine("H03")

            def double(sender: str, receiver: str, _protocol: str, _number: int, _piece: bytes) -> None:
                if receiver == recipient.name and recipient.node is not None and stage.sent(Offer):
                    stage.world.network.taps.remove(double)
                    for _ in range(2):
                        recipient.node.pump.put(OfferArrived(centre=sender, offer=stage.sent(Offer)[0]))

            stage.world.network.taps.append(double)
            sending = stage.sending("H02", "H03")
            await stage.submit(sending)
            await stage.reaches(sending, 1)
            await trio.sleep(60)
            returned = stage.sent(Returned)
            assert len(returned) == 3, "each of three offers is answered"
            assert len({Signed.from_wire(one.thing, bytes_max=WIRE_BYTES_MAX).digest for one in returned}) == 1
            assert len(stage.durable("H03").all(Incoming)) == 1
            assert len(stage.durable("H02").all(Link, OUT)) == 1

    play(scenario)


def test_a_sender_killed_after_the_commit_answers_the_repeated_call_with_the_same_document() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            kill_once(stage, "H02", Document)
            sending = stage.sending("H02", "H03")
            with pytest.raises(NodeGone):
                await stage.desk("H02").submit(sending)
            (owned,) = stage.durable("H02").all(Document)
            await stage.desk("H02").opened()
            assert await stage.submit(sending) == owned.envelope_id.hex()
            await stage.reaches(sending, 1)
            assert len(stage.durable("H02").all(Document)) == len(stage.durable("H03").all(Incoming)) == 1

    play(scenario)


def test_two_calls_under_one_key_at_the_same_time_become_one_document() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            sending = stage.sending("H02", "H03", parts=(bytes(200_000),))
            documents: list[str] = []

            async def submit() -> None:
                documents.append(await stage.desk("H02").submit(sending))

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(submit)
            assert len(set(documents)) == 1 and len(documents) == 5
            assert len(stage.durable("H02").all(Document)) == 1

    play(scenario)


def test_after_a_partition_the_most_urgent_document_goes_first() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            a, b = stage.machine("H02"), stage.machine("H03")
            stage.world.network.cut(a.centre.peer_id, b.centre.peer_id)
            await trio.sleep(120)
            sendings = [stage.sending("H02", "H03", lane=lane) for lane in (0, 1, 0, 3, 2)]
            for sending in sendings:
                await stage.submit(sending)
            before = len(stage.sent(Offer))
            stage.world.network.mend_all()
            for sending in sendings:
                await stage.reaches(sending, 1)
            lane_of = {row.number: row.lane for row in stage.durable("H02").all(Outgoing)}
            assert [lane_of[offer.number] for offer in stage.sent(Offer)[before:]] == [3, 2, 1, 0, 0]

    play(scenario)


def test_a_node_that_cannot_write_takes_nothing_and_catches_up_when_it_can() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            disk = stage.machine("H03").disk
            disk.full, disk.admits_being_full = True, False
            sending = stage.sending("H02", "H03")
            await stage.submit(sending)
            await trio.sleep(120)
            assert not stage.durable("H03").all(Incoming) and not stage.sent(Returned)
            disk.full = False
            await stage.reaches(sending, 1)

    play(scenario)


def test_a_receipt_stays_owed_until_it_is_acknowledged() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            kill_once(stage, "H02", Link)  # the sender has the receipt and dies before it acknowledges
            sending = stage.sending("H02", "H03")
            await stage.submit(sending)
            await stage.reaches(sending, 1)
            await trio.sleep(60)
            assert stage.machine("H02").lives == 2
            assert not stage.durable("H03").all(Return) and not stage.durable("H02").all(Owed)
            assert len(stage.sent(Returned)) == 2 and len(stage.sent(Ack)) == 1

    play(scenario)


def test_software_that_enters_through_the_api_survives_the_death_of_both_nodes() -> None:
    async def scenario() -> None:
        async with on_stage() as stage:
            sender, taker = ApiClient(stage.machine("H02")), ApiClient(stage.machine("H03"))
            await sender.join("H02")
            await taker.join("H03")
            kill_once(stage, "H02", Document)
            kill_once(stage, "H03", Incoming)
            handed_in = await sender.call("POST", "/v1/documents", API_DOCUMENT, key="one")
            assert handed_in.status_code == 200, "the repeated call finds the document that the first one made"
            (arrived,) = (await taker.call("GET", "/v1/inbox?wait=30")).json()["items"]
            part = await taker.call("GET", f"/v1/inbox/{arrived['consignment']}/parts/0")
            assert part.content == b"xin ch\xc3\xa0o"
            await taker.call("POST", f"/v1/inbox/{arrived['consignment']}/collect")
            status = await taker.call("POST", f"/v1/inbox/{arrived['consignment']}/statuses", {"status": 6}, key="six")
            assert status.status_code == 201
            await trio.sleep(60)
            seen = (await sender.call("GET", f"/v1/documents/{handed_in.json()['id']}")).json()
            assert [one["code"] for one in seen["recipients"][0]["receipts"]] == [1, 100, 6]
            assert stage.machine("H02").lives == stage.machine("H03").lives == 2

    play(scenario)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["store_io", "disk_full"])
@pytest.mark.parametrize("agency", ["H02", "H03"])
def test_every_single_commit_may_fail(agency: str, code: str) -> None:
    """Fail the first commit, the second one, … until a run has no failure."""
    failing = 1
    while _whole_story_with_failing_commit(agency, code, failing):
        failing += 1
    assert failing > 3, "a document with its answers takes more commits than that"


def _whole_story_with_failing_commit(agency: str, code: str, failing: int) -> bool:
    """One document from H02 to H03 with all its answers; whether the commit that should fail was reached."""
    reached: list[bool] = []

    async def scenario() -> None:
        async with on_stage() as stage:
            machine = stage.machine(agency)
            machine.disk.fail_commit_in, machine.disk.fail_code = failing, code
            sending = stage.sending("H02", "H03", parts=(b"mot", bytes(150_000)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_operator, stage, agency)
                await _insist(stage, sending)
                nursery.cancel_scope.cancel()
            links = stage.durable("H02").all(Link, OUT)
            assert [link.code for link in links] == [1, 100, 6]
            assert [link.receipt for link in links] == [link.receipt for link in stage.durable("H03").all(Link, IN)]
            reached.append(not machine.disk.fail_commit_in)

    play(scenario, seed=failing)
    return reached[0]


async def _operator(stage: Stage, agency: str) -> None:
    """Restarts a node that has been read-only for a while."""
    while True:
        await trio.sleep(30)
        node = stage.machine(agency).node
        if node is not None and node.pump.committer.read_only is not None:
            stage.machine(agency).stop()


async def _insist(stage: Stage, sending: Sending) -> None:
    """Both softwares, each repeating what failed."""
    sender, recipient = stage.desk("H02"), stage.desk("H03")
    sending.document = await _until_done(stage, lambda: sender.submit(sending))
    stage.world.notebooks["H02"].sendings.append(sending)
    await stage.reaches(sending, 1)
    (row,) = stage.durable("H03").all(Incoming)
    consignment = row.consignment.hex()
    assert await _until_done(stage, lambda: recipient.fetch(consignment)) == sending.digests
    await _until_done(stage, lambda: recipient.collect(consignment))
    await _until_done(stage, lambda: recipient.answer(consignment, 6, "k"))
    await stage.reaches(sending, 3)


async def _until_done(stage: Stage, call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that failed for a reason of the node's, as software does."""
    with trio.fail_after(PATIENCE_SECONDS):
        while True:
            try:
                return await call()
            except (NodeGone, StoreError):
                await trio.sleep(5)
    raise AssertionError
