"""What local software can ask of a node: handing in, reading both boxes, collecting and answering."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.boxes import Boxes
from node.clock import ClockWatch
from node.cursors import write_cursor
from node.directory import Directory
from node.directory_door import Door
from node.intake import INLINE_PLAIN_BYTES_MAX, Intake, PartGiven, Submission, upload_context
from node.reading import Reader
from node.sender import Sender
from node.services import ACTIONS_MAX, COLLECT, Action, Services
from protocol.acting import ReceiptMade
from protocol.delivery import SenderState
from protocol.errors import Findings, RequestError, StoreError, TrucError
from protocol.limits import DAY_MS
from protocol.record import Put
from protocol.records import Document, Remembered, Upload
from protocol.sealing import vault_wrap
from protocol.step import Caller
from tests.support.bench import Bench
from tests.support.delivery import SYSTEM, Forgery, Side, World, caller, consignment_of, metadata, sealed_part
from tests.support.errors import expects


class Desk:
    """The services of one side."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.world = side.world
        self.bench = bench = Bench(side)
        directory = Directory(side.store.view, anchor=self.world.tree.anchor)
        self.sender = Sender(bench.pump, bench.host_of)
        self.services = Services(
            pump=bench.pump,
            intake=Intake(
                pump=bench.pump,
                store=side.store,
                directory=directory,
                environment=bench.environment,
                promise=self.sender.promise,
                expiry_default_days=30,
            ),
            boxes=Boxes(
                pump=bench.pump,
                store=side.store,
                reader=Reader(side.here().vault_key, side.store, bench.environment),
            ),
            directory=directory,
            door=Door(
                pump=bench.pump,
                directory=directory,
                clock=ClockWatch(bench.environment, bench.log),
                environment=bench.environment,
                log=bench.log,
            ),
        )
        self.boxes = self.services.boxes

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Desk]:
        async with self.bench.running():
            yield self


def submission(*recipients: str, **changes: Any) -> Submission:
    fitting: dict[str, Any] = {
        "issuer": "G22",
        "recipients": recipients or ("H38",),
        "metadata": metadata(),
        "parts": (PartGiven(name="a.pdf", media_type="application/pdf", content=b"content"),),
    }
    return Submission(**{**fitting, **changes})


async def hand_in(desk: Desk, key: str = "k", who: Caller | None = None, **changes: Any) -> bytes:
    accepted = await desk.services.submit(who or caller("G22"), key, submission(**changes))
    return accepted.envelope_id


# --- handing in ------------------------------------------------------------------------------------


async def test_a_document_is_owned_when_submit_returns(autojump_clock: MockClock) -> None:
    desk = Desk(World().a)
    async with desk.running():
        envelope_id = await hand_in(desk)
        document = desk.side.get(Document, envelope_id)
        assert document.expires_ms - document.created_ms in range(30 * DAY_MS - 1_000, 30 * DAY_MS + 1)
        sent = desk.boxes.document(caller("G22"), envelope_id)
        assert [delivery.state for delivery in sent.deliveries] == [SenderState.QUEUED]
        assert sent.opened is not None
        assert sent.opened.header.parts[0].name == "a.pdf"
        with expects("document_unknown", RequestError, field="document"):
            desk.boxes.document(caller("G12"), envelope_id)
        with expects("document_unknown", RequestError):
            desk.boxes.document(caller("G22"), bytes(16))


async def test_codes_are_resolved_at_the_border_and_all_bad_ones_told(autojump_clock: MockClock) -> None:
    desk = Desk(World().a)
    async with desk.running():
        with expects("recipient_unknown", Findings) as caught:
            await hand_in(desk, recipients=("H99", "x y", "H38"))
        error = caught[0]
        assert isinstance(error, Findings)
        assert [(one.code, one.field) for one in error.findings] == [
            ("recipient_unknown", "recipients[0]"),
            ("agency_code_malformed", "recipients[1]"),
        ]
        with expects("agency_unknown", Findings, field="issuer"):
            await hand_in(desk, issuer="H99")


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"recipients": ()}, "recipients_count", "recipients"),
        ({"recipients": ("H38",) * 1_001}, "recipients_count", "recipients"),
        ({"parts": ()}, "parts_count", "parts"),
        ({"parts": (PartGiven(name="a.pdf", media_type="application/pdf"),)}, "part_content_or_upload", "parts[0]"),
        (
            {"parts": (PartGiven(name="a.pdf", media_type="application/pdf", content=b"", upload_id="u"),)},
            "part_content_or_upload",
            "parts[0]",
        ),
        (
            {"parts": (PartGiven(name="a.pdf", media_type="a/b", content=bytes(INLINE_PLAIN_BYTES_MAX + 1)),)},
            "part_needs_upload",
            "parts[0]",
        ),
        (
            {"parts": (PartGiven(name="a.pdf", media_type="application/pdf", upload_id="u"),)},
            "upload_unknown",
            "parts[0].upload_id",
        ),
        ({"expires_days": 91}, "expiry_out_of_range", "expires_days"),
        ({"expires_days": -1}, "expiry_out_of_range", "expires_days"),
        ({"metadata": metadata(secrecy="mat")}, "secrecy_marked", "metadata.secrecy"),
    ],
)
async def test_mistakes_of_a_submit(autojump_clock: MockClock, changes: dict[str, Any], code: str, field: str) -> None:
    desk = Desk(World().a)
    async with desk.running():
        with expects(code, RequestError, field=field):
            await desk.services.submit(caller("G22"), "k", submission(**{"recipients": ("H38",), **changes}))
        assert desk.side.all(Document) == desk.side.all(Remembered) == []


@pytest.mark.parametrize(
    ("key", "code"),
    [("", "key_missing"), ("x" * 201, "key_characters"), ("a b", "key_characters"), ("ă", "key_characters")],
)
async def test_keys_are_visible_ascii(autojump_clock: MockClock, key: str, code: str) -> None:
    desk = Desk(World().a)
    with expects(code, RequestError, field="Idempotency-Key"):
        await hand_in(desk, key)


async def test_rights_are_asked_for_first(autojump_clock: MockClock) -> None:
    desk = Desk(World().a)
    nobody = caller("G22", rights=())
    with expects("right_missing", RequestError):
        await hand_in(desk, who=nobody)
    with expects("right_missing", RequestError):
        await desk.services.collect(nobody, bytes(32))
    with expects("right_missing", RequestError):
        await desk.boxes.inbox(nobody)
    with expects("right_missing", RequestError):
        await desk.services.take_directory(nobody, b"")


async def test_a_parallel_repeat_waits_for_the_first_and_shares_its_fate(autojump_clock: MockClock) -> None:
    desk = Desk(World().a)
    async with desk.running():
        found: list[bytes] = []

        async def submit() -> None:
            found.append(await hand_in(desk))
            assert len(desk.side.all(Document)) == 1, "durable before anybody hears of it"

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(submit)
        assert len(set(found)) == 1
        desk.side.disk.fail_commit_in, desk.side.disk.fail_code = 1, "disk_full"
        errors: list[str] = []

        async def fail() -> None:
            try:
                await hand_in(desk, "second")
            except StoreError as error:
                errors.append(error.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            nursery.start_soon(fail)
        assert set(errors) == {"commit_failed"}
        assert len(errors) == 2


async def test_another_request_under_a_used_key_is_told(autojump_clock: MockClock) -> None:
    desk = Desk(World().a)
    async with desk.running():
        first = await hand_in(desk)
        assert await hand_in(desk) == first
        with expects("key_reused", RequestError):
            await hand_in(desk, metadata=metadata(subject="V/v khác"))


async def test_a_remembered_request_is_answered_on_a_full_disk_and_without_its_uploads(
    autojump_clock: MockClock,
) -> None:
    desk = Desk(World().a)
    part = sealed_part(b"content")
    wrapped = vault_wrap(desk.side.here().vault_key, upload_context(SYSTEM, bytes(16)), part.key, bytes(16))
    uploads = [
        Upload(
            system=SYSTEM,
            upload_id=name,
            total=7,
            taken=7,
            started_ms=1,
            wrapped_key=wrapped,
            token=bytes(16),
            body=part.body,
            plain_digest=part.plain_digest,
        )
        for name in ("u1", "u2")
    ]
    desk.side.store.write([Put(upload) for upload in uploads])
    parts = (
        PartGiven(name="a.pdf", media_type="a/b", upload_id="u1"),
        PartGiven(name="b.pdf", media_type="a/b", content=b"other"),
    )
    async with desk.running():
        first = await hand_in(desk, parts=parts)
        assert desk.side.find(Upload, SYSTEM, "u1") is None
        desk.side.store.bodies.reserve(b"somebody else...", desk.side.store.bodies.free_bytes())
        assert await hand_in(desk, parts=parts) == first
        with expects("disk_full", StoreError):
            await hand_in(desk, "other-key")
        unfinished = Upload(
            system=SYSTEM, upload_id="u3", total=9, taken=0, started_ms=1, wrapped_key=wrapped, token=bytes(16)
        )
        desk.side.store.write([Put(unfinished)])
        with expects("upload_unfinished", RequestError):
            await hand_in(desk, "k3", parts=(PartGiven(name="a.pdf", media_type="a/b", upload_id="u3"),))


async def test_numbers_are_one_number_however_they_are_written(autojump_clock: MockClock) -> None:
    desk = Desk(World().a)
    async with desk.running():
        await hand_in(desk, metadata=metadata(number="0123", notation="BTC-VP"))
        with expects("number_taken", RequestError):
            await hand_in(desk, "2", metadata=metadata(number="123", notation="btc-vp", subject="V/v khác"))
        with expects("document_repeated", RequestError):
            await hand_in(desk, "3", metadata=metadata(number="123", notation="BTC-VP"))


# --- the inbox -------------------------------------------------------------------------------------


def arrive(desk: Desk, count: int = 1) -> list[bytes]:
    found: list[bytes] = []
    for n in range(count):
        given = Forgery(world=desk.world, content_key=n.to_bytes(32, "big")).arrives()
        desk.side.do(given)
        found.append(consignment_of(given.offer))
    return found


async def test_the_inbox_lists_arrivals_in_order_behind_a_cursor(autojump_clock: MockClock) -> None:
    desk = Desk(World().c)
    consignments = arrive(desk, 5)
    async with desk.running():
        who, seen, cursor, more = caller("H38"), [], "", True
        while more:
            page = await desk.boxes.inbox(who, after=cursor, limit=2)
            seen += [item.entry.consignment for item in page.items]
            cursor, more = page.cursor, page.more
        assert seen == consignments
        assert cursor == write_cursor(desk.side.incarnation, 5)
        assert (await desk.boxes.inbox(caller("G12"))).items == ()
        with expects("agency_unknown", RequestError, field="agency"):
            await desk.boxes.inbox(who, agency="G12")
        await desk.services.collect(who, consignments[0])
        assert len((await desk.boxes.inbox(who)).items) == 4
        assert len((await desk.boxes.inbox(who, everything=True)).items) == 5


async def test_whoever_waits_at_the_inbox_hears_of_an_arrival_or_of_nothing(autojump_clock: MockClock) -> None:
    desk = Desk(World().c)
    async with desk.running():
        assert (await desk.boxes.inbox(caller("H38"), wait_s=5)).items == ()
        assert trio.current_time() >= 5
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await trio.sleep(3)
                await desk.bench.pump.ask(Forgery(world=desk.world).arrives())

            nursery.start_soon(later)
            page = await desk.boxes.inbox(caller("H38"), wait_s=60)
        assert len(page.items) == 1
        assert trio.current_time() < 10


async def test_a_consignment_and_its_parts_are_read_only_by_its_agency(autojump_clock: MockClock) -> None:
    desk = Desk(World().c)
    (consignment,) = arrive(desk)
    async with desk.running():
        received, pieces = desk.boxes.part(caller("H38"), consignment, 0)
        assert b"".join([piece async for piece in pieces]) == b"content"
        assert [link.code for link in received.links] == [1]
        with expects("consignment_unknown", RequestError):
            desk.boxes.received(caller("G12"), consignment)
        for number in (-1, 1):
            with expects("part_unknown", RequestError, field="part"):
                desk.boxes.part(caller("H38"), consignment, number)


async def test_events_have_a_cursor_of_their_own_and_skip_other_agencies(autojump_clock: MockClock) -> None:
    desk = Desk(World().c)
    arrive(desk, 3)
    async with desk.running():
        page = await desk.boxes.events(caller("H38"), limit=2)
        assert [(event.what, event.code) for event in page.items] == [("arrived", 1)] * 2
        rest = await desk.boxes.events(caller("H38"), after=page.cursor)
        assert len(rest.items) == 1
        nothing = await desk.boxes.events(caller("G12"))
        assert (nothing.items, nothing.cursor) == ((), rest.cursor)


# --- acting ----------------------------------------------------------------------------------------


async def test_a_batch_of_actions_has_an_outcome_for_each(autojump_clock: MockClock) -> None:
    desk = Desk(World().c)
    first, second = arrive(desk, 2)
    actions = [
        Action(consignment=first, code=COLLECT),
        Action(consignment=first, code=3, key="1"),
        Action(consignment=second, code=2, key="2"),
        Action(consignment=bytes(32), code=COLLECT),
        Action(consignment=second, code=3),
        Action(consignment=first, code=3, key="1"),
    ]
    async with desk.running():
        outcomes = await desk.services.act_all(caller("H38"), actions)
    codes = [outcome.code for outcome in outcomes]
    assert codes == [100, 3, "status_reason_missing", "consignment_unknown", "key_missing", 3]
    assert isinstance(outcomes[5], ReceiptMade)
    assert outcomes[5].repeated
    assert desk.side.box(first).codes == (1, 100, 3)
    assert desk.bench.batches == 1


async def test_refusals_in_a_batch_fall_with_what_they_were_read_from(autojump_clock: MockClock) -> None:
    desk = Desk(World().c)
    (consignment,) = arrive(desk)
    actions = [
        Action(consignment=consignment, code=2, key="1", reason="lý do"),
        Action(consignment=consignment, code=3, key="2"),
    ]
    async with desk.running():
        desk.side.disk.fail_commit_in, desk.side.disk.fail_code = 1, "disk_full"
        outcomes = await desk.services.act_all(caller("H38"), actions)
        again = await desk.services.act_all(caller("H38"), actions)
    assert [outcome.code for outcome in outcomes] == ["commit_failed", "commit_failed"]
    assert again[0].code == "store_read_only"
    assert all(isinstance(outcome, TrucError) for outcome in outcomes)


@pytest.mark.parametrize("count", [0, ACTIONS_MAX + 1])
async def test_a_batch_has_one_to_a_thousand_actions(autojump_clock: MockClock, count: int) -> None:
    desk = Desk(World().c)
    with expects("actions_count", RequestError, field="actions"):
        await desk.services.act_all(caller("H38"), [Action(consignment=bytes(32), code=COLLECT)] * count)
