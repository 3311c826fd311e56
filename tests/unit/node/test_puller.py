"""Large bodies: pulled once, verified on their way, resumed at whole MiB, given only to whom they are meant."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.arriving import pull_token
from node.body_server import STREAMS_MAX, WRITE_S, BodyServer
from node.loopback import EchoStream
from node.puller import STALL_S, Puller
from node.tasks import start
from protocol.body_exchange import BodyAsked, BodyGiven, ask, give, read_asked, read_given
from protocol.envelope import PartRef
from protocol.errors import FormatError, NetworkError
from protocol.exchange import Offer
from protocol.framing import Decoder, encode_frame
from protocol.limits import HELD_OFFERS_MAX, MIB
from protocol.records import Deadline, Incoming, Pull, Refused
from protocol.step import OfferArrived, Send, SendHolding, SendNotNow, SendReturn
from tests.sim.disk import CAPACITY_BYTES
from tests.support.bench import Bench, Pipe
from tests.support.delivery import A, B, C, Forgery, World, consignment_of, sealed_part
from tests.support.errors import expects, record

MIDDLE = bytes(range(256)) * 1_000
"""Pulled, and kept in memory until its batch."""
LARGE = bytes(range(256)) * 4 * 2_600
"""2.5 MiB: a file of its own."""


class Half:
    """One end of a pair of streams."""

    def __init__(self, out: EchoStream, into: EchoStream) -> None:
        self.out, self.into = out, into

    async def write(self, data: bytes) -> None:
        await self.out.write(data)

    async def read(self, bytes_max: int) -> bytes:
        return await self.into.read(bytes_max)

    async def close(self) -> None:
        await self.out.close()

    async def reset(self) -> None:
        await self.out.reset()
        await self.into.reset()


class Country:
    """A offers to C; C's puller, A's body server, and streams between them that may break."""

    def __init__(self) -> None:
        self.world = World()
        self.a, self.c = Bench(self.world.a), Bench(self.world.c)
        self.server = BodyServer(
            pump=self.a.pump,
            store=self.world.a.store,
            environment=self.a.environment,
            metrics=self.a.metrics,
            log=self.a.log,
        )
        self.puller = Puller(
            pump=self.c.pump,
            store=self.world.c.store,
            transport=self,  # type: ignore[arg-type]  # opening streams is all that a puller asks of it
            environment=self.c.environment,
            metrics=self.c.metrics,
            log=self.c.log,
        )
        self.c.pump.pull = self.puller.pull
        self.answered = trio.Event()
        self.c.pump.send = self._sent
        self.serve: Any = None
        """Serves a stream instead of the real server."""
        self.opened = 0
        self._nursery: trio.Nursery | None = None

    def _sent(self, send: Send) -> None:
        self.c.sent.append(send)
        if not isinstance(send, SendHolding):
            self.answered.set()

    async def open_stream(self, centre: str, protocol: str) -> Half:
        assert (centre, protocol) == (A, "/truc/body/1.0.0")
        assert self._nursery is not None
        self.opened += 1
        there, back = EchoStream(), EchoStream()
        serve = self.serve or self.server.serve
        self._nursery.start_soon(self._served, serve, Half(back, there))
        return Half(there, back)

    async def _served(self, serve: Any, half: Half) -> None:
        try:
            await serve(C, half)
        except NetworkError:
            await half.reset()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Country]:
        async with self.a.running(), self.c.running(), trio.open_nursery() as self._nursery:
            await start(self._nursery, self.puller.run)
            yield self
            self._nursery.cancel_scope.cancel()

    def offer(self, *contents: bytes) -> Offer:
        sent = self.world.submit("G22", ["H38"], contents, key=hashlib.sha256(b"".join(contents)).hexdigest())
        frame = self.world.a.frame(self.world.a.offer(sent.only).sends[0])
        assert isinstance(frame, Offer)
        return frame

    async def arrives(self, offer: Offer) -> list[Any]:
        """What C answers, behind *holding*."""
        self.c.sent.clear()
        self.answered = trio.Event()
        self.c.pump.put(OfferArrived(centre=A, offer=offer))
        with trio.fail_after(3_600):
            await self.answered.wait()
        return [send for send in self.c.sent if not isinstance(send, SendHolding)]


@pytest.fixture
def country() -> Country:
    return Country()


async def test_a_document_of_middle_size_is_pulled_into_its_batch(autojump_clock: MockClock, country: Country) -> None:
    async with country.running():
        offer = country.offer(MIDDLE, b"small")
        (answer,) = await country.arrives(offer)
        assert isinstance(answer, SendReturn)
        entry = country.world.c.box(consignment_of(offer))
        source = country.world.c.store.find_body(entry.parts[0].digest)
        assert source is not None
        part = sealed_part(MIDDLE)
        assert country.world.c.store.read_body(source, 0, part.size) == part.blob
        assert country.opened == 1, "one stream for all bodies of an envelope"


def large_offer(country: Country, content: bytes = LARGE) -> Offer:
    """An offer of a part that is a file of its own on A's disk."""
    return Forgery(world=country.world, contents=(content,), offer={"inline": ()}).make()


class LargeServer:
    """Serves one body, breaking off when told."""

    def __init__(self, content: bytes = LARGE) -> None:
        self.blob = sealed_part(content).blob or b""
        self.offsets: list[int] = []
        self.stop_at: list[int] = []
        self.stall = False

    async def __call__(self, _centre: str, stream: Half) -> None:
        ((number, body),) = Decoder(2_000).feed(await stream.read(2_000))
        asked = read_asked(number, body)
        self.offsets.append(asked.offset)
        await stream.write(give(BodyGiven(size=len(self.blob) - asked.offset)))
        stop = self.stop_at.pop(0) if self.stop_at else len(self.blob)
        await stream.write(self.blob[asked.offset : stop])
        if self.stall:
            await trio.sleep_forever()
        await stream.close()


async def test_a_large_body_becomes_a_file_and_a_broken_stream_goes_on_at_the_last_whole_mebibyte(
    autojump_clock: MockClock, country: Country
) -> None:
    server = LargeServer()
    server.stop_at = [2 * MIB + 5]
    country.serve = server
    offer = large_offer(country)
    async with country.running():
        (answer,) = await country.arrives(offer)
        assert answer == SendNotNow(A, consignment_of(offer), "busy", 5_000)
        token = pull_token(A, sealed_part(LARGE).body)
        assert country.world.c.store.bodies.partial_size(token) == 2 * MIB
        assert len(country.world.c.all(Pull)) == 1
        (answer,) = await country.arrives(offer)
        assert isinstance(answer, SendReturn)
    assert server.offsets == [0, 2 * MIB]
    (entry,) = country.world.c.all(Incoming)
    source = country.world.c.store.find_body(entry.parts[0].digest)
    assert source is not None
    assert country.world.c.store.read_body(source, 0, entry.parts[0].size) == server.blob
    assert country.world.c.store.bodies.partial_tokens() == []


async def test_a_stalled_stream_is_given_up(autojump_clock: MockClock, country: Country) -> None:
    server = LargeServer()
    server.stall, server.stop_at = True, [10]
    country.serve = server
    async with country.running():
        start = trio.current_time()
        (answer,) = await country.arrives(large_offer(country))
        assert (answer.code, trio.current_time() - start >= STALL_S) == ("busy", True)


async def test_other_bytes_than_the_digest_says_are_thrown_away(autojump_clock: MockClock, country: Country) -> None:
    server = LargeServer()
    server.blob = bytes(len(server.blob))
    country.serve = server
    async with country.running():
        (answer,) = await country.arrives(large_offer(country))
        assert answer.code == "body_damaged"
        assert country.world.c.store.bodies.partial_tokens() == []


@pytest.mark.parametrize("large", [False, True])
async def test_bytes_that_the_issuer_signed_and_that_do_not_open_are_refused(
    autojump_clock: MockClock, country: Country, large: bool
) -> None:
    server = LargeServer(LARGE if large else MIDDLE)
    honest = server.blob
    server.blob = honest[:-1] + bytes([honest[-1] ^ 1])
    from protocol.sealing import body_digest

    parts = (PartRef(body_digest(server.blob), len(server.blob)),)
    country.serve = server
    content = LARGE if large else MIDDLE
    offer = Forgery(world=country.world, contents=(content,), envelope={"parts": parts}, offer={"inline": ()}).make()
    async with country.running():
        (answer,) = await country.arrives(offer)
        assert isinstance(answer, SendReturn)
    assert [refused.code for refused in country.world.c.all(Refused)] == ["part_mismatch"]


@pytest.mark.parametrize(
    ("given", "code", "reason"),
    [
        (give(BodyGiven(code="busy")), "busy", "busy"),
        (give(BodyGiven(code="body_gone")), "body_gone", "body_gone"),
        (give(BodyGiven(code="not_yours")), "record_stale", "record_stale"),
        (give(BodyGiven(code="anything")), "body_damaged", "body_damaged"),
        (give(BodyGiven(size=5)), "body_damaged", "body_size"),
        (encode_frame(1, b""), "body_damaged", "frame_unknown"),
        (b"\xff\xff\xff\xff", "body_damaged", "frame_too_large"),
        (b"", "busy", "stream_ended"),
    ],
)
async def test_a_server_that_gives_nothing_puts_the_offer_off(
    autojump_clock: MockClock, country: Country, given: bytes, code: str, reason: str
) -> None:
    async def serve(_centre: str, stream: Half) -> None:
        await stream.read(2_000)
        if given:
            await stream.write(given)
        await stream.close()

    country.serve = serve
    async with country.running():
        for _ in range(2):
            (answer,) = await country.arrives(large_offer(country))
            assert answer.code == code
        assert {line["code"] for line in country.c.logged("pull_failed")} == {reason}
        assert country.world.c.all(Pull) == [], "what brought nothing is not remembered"
        record(reason)


async def test_a_disk_without_room_is_told_before_the_first_byte(autojump_clock: MockClock, country: Country) -> None:
    country.world.c.store.bodies.reserve(b"somebody else...", CAPACITY_BYTES - MIB)
    async with country.running():
        (answer,) = await country.arrives(large_offer(country))
        assert answer.code == "disk_floor"


async def test_more_pulls_of_one_peer_than_honest_windows_allow_are_put_off(
    autojump_clock: MockClock, country: Country
) -> None:
    async def never(_centre: str, _stream: Half) -> None:
        await trio.sleep_forever()

    country.serve = never
    async with country.running():
        for n in range(2 * HELD_OFFERS_MAX + 1):
            content = n.to_bytes(2, "big") + MIDDLE
            offer = Forgery(
                world=country.world, contents=(content,), content_key=n.to_bytes(32, "big"), offer={"inline": ()}
            ).make()
            country.c.pump.put(OfferArrived(centre=A, offer=offer))
        await trio.sleep(5)
        put_off = [send for send in country.c.sent if isinstance(send, SendNotNow)]
        assert [send.code for send in put_off] == ["busy"]
        assert country.opened == 4, "at most four streams to one peer"


# --- what does not come to its end ---------------------------------------------------------------------


def files_of(country: Country) -> list[bytes]:
    """Bodies that have a file of their own, on the disk itself."""
    return [bytes.fromhex(name[-64:]) for name in country.world.c.disk.names if name.startswith("bodies/")]


async def test_a_pull_that_takes_days_is_remembered_all_the_while(autojump_clock: MockClock, country: Country) -> None:
    server = LargeServer()

    async def slowly(_centre: str, stream: Half) -> None:
        await stream.read(2_000)
        await stream.write(give(BodyGiven(size=len(server.blob))))
        for at in range(0, len(server.blob), 512):
            await stream.write(server.blob[at : at + 512])
            await trio.sleep(STALL_S / 2)
        await stream.close()

    country.serve = slowly
    offer = large_offer(country)
    async with country.running():
        country.c.pump.put(OfferArrived(centre=A, offer=offer))
        seen: list[int] = []
        while not country.answered.is_set():
            await trio.sleep(3_600)
            pulls = country.world.c.all(Pull)
            seen += [pull.started_ms for pull in pulls if pull.started_ms not in seen]
            if trio.current_time() > 48 * 3_600 and not country.answered.is_set():
                now_ms = country.c.here().now_ms
                due = tuple((one.at_ms, one.what, one.subject) for one in country.world.c.all(Deadline))
                assert [one for one in due if one[0] <= now_ms] == [], "its deadline went with it"
                assert len(pulls) == 1
        assert trio.current_time() > 40 * 3_600
        assert len(seen) == 2, "with every piece that came"
    assert [type(send) for send in country.c.sent] == [SendHolding, SendReturn]
    assert country.world.c.all(Pull) == []


async def test_less_than_a_mebibyte_is_not_kept_for_the_next_attempt(
    autojump_clock: MockClock, country: Country
) -> None:
    server = LargeServer()
    server.stop_at = [MIB - 1]
    country.serve = server
    async with country.running():
        (answer,) = await country.arrives(large_offer(country))
        assert answer.code == "busy"
        await trio.sleep(1)
        assert country.world.c.store.bodies.partial_tokens() == []
        assert country.world.c.all(Pull) == country.world.c.all(Deadline) == []


async def test_parts_that_have_come_are_not_asked_for_again(autojump_clock: MockClock, country: Country) -> None:
    """The first body is whole and waits for the second; only its last piece is asked for again."""
    blobs = {part.body: part.blob or b"" for part in (sealed_part(LARGE, 0), sealed_part(MIDDLE, 1))}
    asked: list[tuple[bytes, int]] = []
    gone = [sealed_part(MIDDLE, 1).body]

    async def serve(_centre: str, stream: Half) -> None:
        decoder = Decoder(2_000)
        while data := await stream.read(2_000):
            for frame in decoder.feed(data):
                one = read_asked(*frame)
                asked.append((one.body, one.offset))
                if one.body in gone:
                    gone.remove(one.body)
                    await stream.write(give(BodyGiven(code="busy")))
                    return
                await stream.write(give(BodyGiven(size=len(blobs[one.body]) - one.offset)))
                await stream.write(blobs[one.body][one.offset :])

    country.serve = serve
    offer = Forgery(world=country.world, contents=(LARGE, MIDDLE), offer={"inline": ()}).make()
    async with country.running():
        (answer,) = await country.arrives(offer)
        assert answer.code == "busy"
        assert files_of(country) == [], "nothing has its name yet"
        (answer,) = await country.arrives(offer)
        assert isinstance(answer, SendReturn)
    large, middle = blobs
    assert asked == [(large, 0), (middle, 0), (large, 2 * MIB), (middle, 0)]
    assert country.world.c.all(Pull) == []


async def test_a_body_of_an_offer_that_expired_meanwhile_goes_at_once(
    autojump_clock: MockClock, country: Country
) -> None:
    server = LargeServer()
    country.serve = server
    envelope = {"expires_ms": country.world.now_ms + 500}
    offer = Forgery(world=country.world, contents=(LARGE,), envelope=envelope, offer={"inline": ()}).make()

    async def late(centre: str, stream: Half) -> None:
        await trio.sleep(1)
        await server(centre, stream)

    country.serve = late
    async with country.running():
        (answer,) = await country.arrives(offer)
        assert isinstance(answer, SendReturn)
        assert [refused.code for refused in country.world.c.all(Refused)] == ["expired"]
        await trio.sleep(1)
        assert files_of(country) == []


async def test_a_body_whose_batch_fails_goes_at_once(autojump_clock: MockClock, country: Country) -> None:
    country.serve = LargeServer()
    async with country.running():
        disk = country.world.c.disk
        disk.fail_commit_in, disk.fail_code = 2, "disk_full"  # the first one remembers the pull
        country.c.pump.put(OfferArrived(centre=A, offer=large_offer(country)))
        await trio.sleep(1)
        assert len(country.c.failures) == 1
        assert files_of(country) == []
        await trio.sleep(60)
        (answer,) = await country.arrives(large_offer(country))
        assert isinstance(answer, SendReturn)
        assert len(files_of(country)) == 1


async def test_a_pull_of_one_peer_does_not_hinder_the_same_bytes_of_another(
    autojump_clock: MockClock, country: Country
) -> None:
    """A recipient of the same document knows its header and its bodies, and may offer them as its own."""

    async def serve(centre: str, stream: Half) -> None:
        await LargeServer()(centre, stream)

    country.serve = serve
    opened = country.open_stream

    async def by_centre(centre: str, protocol: str) -> Half:
        if centre == B:
            await trio.sleep_forever()
        return await opened(centre, protocol)

    country.open_stream = by_centre  # type: ignore[method-assign]
    async with country.running():
        squat = Forgery(
            world=country.world,
            issuer="G12",
            contents=(LARGE,),
            signer=country.world.b.keys.signer,
            offer={"inline": ()},
        ).make()
        country.c.pump.put(OfferArrived(centre=B, offer=squat))
        await trio.sleep(1)
        (answer,) = await country.arrives(large_offer(country))
        assert isinstance(answer, SendReturn)


# --- space ---------------------------------------------------------------------------------------------


async def test_no_peer_may_announce_more_than_four_fifths_of_what_is_free(
    autojump_clock: MockClock, country: Country
) -> None:
    """What is on the disk already needs no space."""
    size = len(sealed_part(LARGE).blob or b"")
    bodies, server = country.world.c.store.bodies, LargeServer()
    bodies.reserve(b"somebody else...", bodies.free_bytes() - size * 5 // 4 + MIB // 2)
    country.serve = server
    async with country.running():
        (answer,) = await country.arrives(large_offer(country))
        assert (answer.code, server.offsets) == ("disk_floor", [])
        bodies.reserve(b"somebody else...", bodies.free_bytes() - size * 5 // 4 - MIB // 2)
        server.stop_at = [2 * MIB]
        (answer,) = await country.arrives(large_offer(country))
        assert answer.code == "busy"
        bodies.reserve(b"somebody else...", bodies.free_bytes() - MIB)
        (answer,) = await country.arrives(large_offer(country))
        assert isinstance(answer, SendReturn)


async def test_one_body_is_pulled_once_at_a_time_from_a_peer(autojump_clock: MockClock, country: Country) -> None:
    """A document that was sent again is a new envelope over the same sealed bytes."""
    server = LargeServer()

    async def late(centre: str, stream: Half) -> None:
        await trio.sleep(1)
        await server(centre, stream)

    country.serve = late
    again = Forgery(
        world=country.world, contents=(LARGE,), content_key=b"another".ljust(32, b"."), offer={"inline": ()}
    ).make()
    async with country.running():
        country.c.pump.put(OfferArrived(centre=A, offer=large_offer(country)))
        await trio.sleep(0.1)
        (answer,) = await country.arrives(again)
        assert (answer.subject, answer.code) == (consignment_of(again), "busy")
        await trio.sleep(5)
        assert len(country.world.c.all(Incoming)) == 1
        (answer,) = await country.arrives(again)
        assert isinstance(answer, SendReturn)
    assert len(files_of(country)) == 1


async def test_when_one_body_gets_no_name_none_keeps_its(autojump_clock: MockClock, country: Country) -> None:
    two = LARGE[::-1]
    blobs = {part.body: part.blob or b"" for part in (sealed_part(LARGE, 0), sealed_part(two, 1))}
    bodies, second = country.world.c.store.bodies, sealed_part(two, 1).body

    async def serve(_centre: str, stream: Half) -> None:
        decoder = Decoder(2_000)
        while data := await stream.read(2_000):
            for frame in decoder.feed(data):
                one = read_asked(*frame)
                await stream.write(give(BodyGiven(size=len(blobs[one.body]) - one.offset)))
                await stream.write(blobs[one.body][one.offset :])

    country.serve = serve
    offer = Forgery(world=country.world, contents=(LARGE, two), offer={"inline": ()}).make()
    async with country.running():
        bodies._leaving.add(second)  # an old copy is being removed at this moment
        (answer,) = await country.arrives(offer)
        assert answer.code == "busy"
        await trio.sleep(1)
        assert files_of(country) == []
        bodies._leaving.discard(second)
        (answer,) = await country.arrives(offer)
        assert isinstance(answer, SendReturn)
        assert len(files_of(country)) == 2


async def test_what_broken_pulls_of_a_peer_leave_is_bounded_and_the_oldest_goes_first(
    autojump_clock: MockClock, country: Country
) -> None:
    """Fourteen MiB are free; every pull breaks off after two."""
    bodies = country.world.c.store.bodies
    contents = [LARGE[:-2] + n.to_bytes(2, "big") for n in range(4)]
    async with country.running():
        for n, content in enumerate(contents):
            bodies.reserve(b"somebody else...", bodies.free_bytes() - 14 * MIB)
            server = LargeServer(content)
            server.stop_at = [2 * MIB]
            country.serve = server
            forgery = Forgery(
                world=country.world, contents=(content,), content_key=n.to_bytes(32, "big"), offer={"inline": ()}
            )
            (answer,) = await country.arrives(forgery.make())
            assert answer.code == "busy"
            await trio.sleep(1)
    kept = [n for n, content in enumerate(contents) if bodies.partial_size(pull_token(A, sealed_part(content).body))]
    assert kept == [2, 3]


# --- the serving side --------------------------------------------------------------------------------


async def answers(country: Country, centre: str, *asked: BodyAsked) -> bytes:
    """What A's server writes to a centre that asks."""
    pipe = Pipe()
    for one in asked:
        pipe.feed(ask(one))
    pipe.end()
    await country.server.serve(centre, pipe)
    assert pipe.was_closed
    return bytes(pipe.written)


def given_in(written: bytes) -> BodyGiven:
    ((number, body),) = Decoder(2_000).feed(written)
    return read_given(number, body)


async def test_the_recipients_host_and_nobody_else_is_given_a_body(country: Country) -> None:
    sent = country.world.submit("G22", ["H38"], [MIDDLE])
    part = sealed_part(MIDDLE)
    asked = BodyAsked(consignment=sent.only, body=part.body)
    written = await answers(country, C, asked)
    header = give(BodyGiven(size=part.size))
    assert written == header + (part.blob or b"")
    refused = give(BodyGiven(code="not_yours"))
    assert await answers(country, B, asked) == refused
    assert await answers(country, C, BodyAsked(consignment=bytes(32), body=part.body)) == refused
    assert await answers(country, C, BodyAsked(consignment=sent.only, body=bytes(32))) == refused
    assert await answers(country, C, BodyAsked(consignment=sent.only, body=part.body, offset=MIB)) == refused
    country.world.move("H38", B)
    assert await answers(country, C, asked) == refused
    assert (await answers(country, B, asked)) == written


async def test_a_body_that_is_gone_is_told(country: Country) -> None:
    from protocol.record import Body, Delete

    sent = country.world.submit("G22", ["H38"], [MIDDLE])
    part = sealed_part(MIDDLE)
    country.world.a.store.write([Delete(Body, (part.body,))])
    asked = BodyAsked(consignment=sent.only, body=part.body)
    for _ in range(3):
        assert given_in(await answers(country, C, asked)) == BodyGiven(code="body_gone")
    (alarm,) = country.a.logged("alarm")
    assert (alarm["code"], alarm["centre"], alarm["subject"]) == ("body_gone", C, sent.only.hex()), "said once"


async def test_one_stream_carries_request_after_request(country: Country) -> None:
    sent = country.world.submit("G22", ["H38"], [MIDDLE, b"second"])
    one, two = sealed_part(MIDDLE), sealed_part(b"second", 1)
    asked = [BodyAsked(consignment=sent.only, body=part.body) for part in (one, two)]
    written = await answers(country, C, *asked)
    assert written == b"".join(give(BodyGiven(size=part.size)) + (part.blob or b"") for part in (one, two))


async def test_a_request_that_breaks_the_rules_ends_the_stream(country: Country) -> None:
    for data, code in ((encode_frame(2, b""), "frame_unknown"), (b"\0\0\x10\0", "frame_too_large")):
        pipe = Pipe()
        pipe.feed(data)
        with expects(code, FormatError):
            await country.server.serve(C, pipe)


async def test_idle_streams_are_closed_and_a_peer_has_few_of_them(autojump_clock: MockClock, country: Country) -> None:
    pipes = [Pipe() for _ in range(STREAMS_MAX + 1)]
    async with trio.open_nursery() as nursery:
        for pipe in pipes:
            nursery.start_soon(country.server.serve, C, pipe)
            await trio.sleep(0.01)
        assert [pipe.was_reset for pipe in pipes] == [False] * STREAMS_MAX + [True]
    assert all(pipe.was_closed for pipe in pipes[:-1])
    late = Pipe()
    late.end()
    await country.server.serve(C, late)
    assert late.was_closed


async def test_a_peer_that_takes_no_piece_is_given_up(autojump_clock: MockClock, country: Country) -> None:
    sent = country.world.submit("G22", ["H38"], [MIDDLE])
    pipe = Pipe()
    pipe.stuck = True
    pipe.feed(ask(BodyAsked(consignment=sent.only, body=sealed_part(MIDDLE).body)))
    with expects("stream_stalled", NetworkError):
        await country.server.serve(C, pipe)
    assert trio.current_time() >= WRITE_S
