"""What every transport must do: one suite, run against libp2p and against the simulator's network.

Obeys DESIGN §5 ("one contract suite runs against both"). Each check is a function over a
`Wiring`; a test module makes wirings of its kind and parametrises itself with `CHECKS`. What a
check waits for has a deadline, so that a transport which hangs fails instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import trio

from node.tasks import start
from node.transport import ByteStream, Transport
from protocol.errors import NetworkError
from tests.support.errors import expects

EXCHANGE: Final = "/truc/exchange/1.0.0"
BODY: Final = "/truc/body/1.0.0"
DIRECTORY: Final = "/truc/directory/1.0.0"
UNKNOWN: Final = "/truc/unknown/1.0.0"
PATIENCE_SECONDS: Final = 30.0
"""For anything that must happen."""
DIAL_SECONDS_MAX: Final = 20.0
"""A dial to nowhere has failed by then."""
BUFFER_BYTES_MAX: Final = 24 * 1024 * 1024
"""More than this nobody may take in for a reader that does not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One transport, not yet running, and how others reach it."""

    transport: Transport
    centre: str
    peer_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """Three machines, of which checks admit the first two to each other, and an address of nobody."""

    a: Side
    b: Side
    stranger: Side
    dead_address: str


Check = Callable[[Wiring], Awaitable[None]]


@dataclass(slots=True)
class Guests:
    """What arrived at a side: streams in order, and what to do with each."""

    handler: Callable[[str, str, ByteStream], Awaitable[None]]
    seen: list[tuple[str, str]] = field(default_factory=list)

    async def accept(self, centre: str, protocol: str, stream: ByteStream) -> None:
        self.seen.append((centre, protocol))
        await self.handler(centre, protocol, stream)


# --- handlers ---------------------------------------------------------------------------------


async def echo(_centre: str, _protocol: str, stream: ByteStream) -> None:
    """Send everything back, then close, and wait until the other side has gone."""
    while piece := await stream.read(65_536):
        await stream.write(piece)
    await stream.close()


async def hold(_centre: str, _protocol: str, _stream: ByteStream) -> None:
    """Keep the stream, read nothing."""
    await trio.sleep_forever()


async def leave(_centre: str, _protocol: str, _stream: ByteStream) -> None:
    """Return at once: the stream is reset."""


async def fail(_centre: str, _protocol: str, _stream: ByteStream) -> None:
    """End as a handler ends that met a peer's mistake."""
    raise NetworkError("stream_broken", centre="?")


# --- helpers ----------------------------------------------------------------------------------


async def read_all(stream: ByteStream) -> bytes:
    """Everything up to the clean end."""
    pieces: list[bytes] = []
    while piece := await stream.read(65_536):
        pieces.append(piece)
    return b"".join(pieces)


async def read_exactly(stream: ByteStream, size: int) -> bytes:
    """This many bytes."""
    held = b""
    while len(held) < size:
        piece = await stream.read(size - len(held))
        assert piece, f"the stream ended after {len(held)} of {size} bytes"
        held += piece
    return held


async def exchange(stream: ByteStream, content: bytes) -> bytes:
    """Write and read at the same time; the echo."""

    async def write() -> None:
        for offset in range(0, len(content), 65_507):
            await stream.write(content[offset : offset + 65_507])
        await stream.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        return await read_all(stream)


async def is_broken(stream: ByteStream) -> None:
    """Reading and writing both say so in the end; a clean end is no substitute."""
    with expects("stream_broken", NetworkError):
        await read_all(stream)
    with expects("stream_broken", NetworkError):
        for _ in range(1_000):
            await stream.write(bytes(1_000))
            await trio.sleep(0.001)


@asynccontextmanager
async def running(
    wiring: Wiring,
    *,
    at_b: Callable[[str, str, ByteStream], Awaitable[None]] = echo,
    at_a: Callable[[str, str, ByteStream], Awaitable[None]] = echo,
    connect: bool = True,
    seconds: float = PATIENCE_SECONDS * 4,
) -> AsyncIterator[tuple[Guests, Guests]]:
    """Both sides serve, admit each other, and A has dialled B."""
    a, b = wiring.a, wiring.b
    guests_a, guests_b = Guests(at_a), Guests(at_b)
    with trio.fail_after(seconds):
        async with trio.open_nursery() as nursery:
            a.transport.admit({b.centre: b.peer_id})
            b.transport.admit({a.centre: a.peer_id})
            await start(nursery, a.transport.run, guests_a.accept)
            await start(nursery, b.transport.run, guests_b.accept)
            if connect:
                await a.transport.dial(b.centre, b.address)
                with trio.fail_after(PATIENCE_SECONDS):
                    await b.transport.connected(a.centre)
            yield guests_a, guests_b
            nursery.cancel_scope.cancel()


# --- the checks -------------------------------------------------------------------------------


async def bytes_come_back_in_order(wiring: Wiring) -> None:
    async with running(wiring) as (_, guests):
        stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
        for size in (1, 17, 4_096, 70_000):
            await stream.write(bytes(range(256)) * (size // 256) + bytes(size % 256))
            assert await read_exactly(stream, size) == bytes(range(256)) * (size // 256) + bytes(size % 256)
        await stream.close()
        assert await stream.read(10) == b""
        assert guests.seen == [(wiring.a.centre, EXCHANGE)]


async def a_read_gives_at_most_what_was_asked_for(wiring: Wiring) -> None:
    async with running(wiring):
        stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
        await stream.write(b"0123456789")
        first = await stream.read(3)
        assert 1 <= len(first) <= 3
        assert first + await read_exactly(stream, 10 - len(first)) == b"0123456789"
        await stream.reset()


async def after_closing_one_direction_the_other_goes_on(wiring: Wiring) -> None:
    async def count_then_answer(_centre: str, _protocol: str, stream: ByteStream) -> None:
        received = await read_all(stream)
        await stream.write(b"%d" % len(received))
        await stream.close()
        await trio.sleep_forever()

    async with running(wiring, at_b=count_then_answer):
        stream = await wiring.a.transport.open_stream(wiring.b.centre, BODY)
        await stream.write(bytes(50_000))
        await stream.close()
        assert await read_all(stream) == b"50000"
        assert await stream.read(1) == b"", "the end stays the end"


async def a_reset_is_seen_by_the_other_side(wiring: Wiring) -> None:
    outcome: list[str] = []
    noted = trio.Event()

    async def note(_centre: str, _protocol: str, stream: ByteStream) -> None:
        try:
            await read_all(stream)
        except NetworkError as error:
            outcome.append(error.code)
            noted.set()

    async with running(wiring, at_b=note):
        stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
        await stream.write(b"half a fra")
        await trio.sleep(0.1)
        await stream.reset()
        await stream.reset()
        with expects("stream_broken", NetworkError):
            await stream.read(1)
        with trio.fail_after(PATIENCE_SECONDS):
            await noted.wait()
        assert outcome == ["stream_broken"]


async def a_handler_that_returns_resets_its_stream(wiring: Wiring) -> None:
    async with running(wiring, at_b=leave):
        await is_broken(await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE))


async def a_handler_that_fails_resets_its_stream_and_nothing_else(wiring: Wiring) -> None:
    async with running(wiring, at_b=fail) as (_, guests):
        await is_broken(await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE))
        guests.handler = echo
        stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
        assert await exchange(stream, b"still here") == b"still here"


async def eight_megabytes_travel_both_ways_at_once(wiring: Wiring) -> None:
    content = bytes(range(256)) * (8 * 4_096)
    async with running(wiring):
        stream = await wiring.a.transport.open_stream(wiring.b.centre, BODY)
        answer = await exchange(stream, content)
        assert sha256(answer).digest() == sha256(content).digest()


async def a_reader_that_does_not_read_stops_the_writer(wiring: Wiring) -> None:
    written = 0
    async with running(wiring, at_b=hold):
        stream = await wiring.a.transport.open_stream(wiring.b.centre, BODY)
        with trio.move_on_after(2):
            while written <= BUFFER_BYTES_MAX:
                await stream.write(bytes(65_507))
                written += 65_507
        assert written <= BUFFER_BYTES_MAX, "bytes pile up without bound"
        await stream.reset()
        other = await wiring.b.transport.open_stream(wiring.a.centre, EXCHANGE)
        assert await exchange(other, b"not blocked") == b"not blocked"


async def protocols_reach_the_handler_by_name(wiring: Wiring) -> None:
    async with running(wiring) as (guests_a, guests_b):
        for protocol in (EXCHANGE, BODY):
            assert await exchange(await wiring.a.transport.open_stream(wiring.b.centre, protocol), b"x") == b"x"
            assert await exchange(await wiring.b.transport.open_stream(wiring.a.centre, protocol), b"y") == b"y"
        assert guests_b.seen == [(wiring.a.centre, EXCHANGE), (wiring.a.centre, BODY)]
        assert guests_a.seen == [(wiring.b.centre, EXCHANGE), (wiring.b.centre, BODY)]


async def an_unknown_protocol_is_an_outcome(wiring: Wiring) -> None:
    async with running(wiring) as (_, guests):
        with expects("protocol_unknown", NetworkError):
            await wiring.a.transport.open_stream(wiring.b.centre, UNKNOWN)
        stream = await wiring.a.transport.open_stream(wiring.b.centre, EXCHANGE)
        assert await exchange(stream, b"still here") == b"still here"
        assert guests.seen == [(wiring.a.centre, EXCHANGE)]


async def two_hundred_streams_one_after_the_other(wiring: Wiring) -> None:
    async with running(wiring) as (_, guests):
        for index in range(200):
            stream = await wiring.a.transport.open_stream(wiring.b.centre, BODY)
            assert await exchange(stream, b"%d" % index) == b"%d" % index
        assert len(guests.seen) == 200


async def twenty_streams_at_once_do_not_mix(wiring: Wiring) -> None:
    async with running(wiring):

        async def one(index: int) -> None:
            content = b"%d " % index * 10_000
            stream = await wiring.a.transport.open_stream(wiring.b.centre, BODY)
            assert await exchange(stream, content) == content

        async with trio.open_nursery() as nursery:
            for index in range(20):
                nursery.start_soon(one, index)


async def connections_are_seen_to_come_and_go(wiring: Wiring) -> None:
    a, b = wiring.a, wiring.b
    async with running(wiring, connect=False):
        assert not a.transport.is_connected(b.centre)
        with expects("unreachable", NetworkError):
            await a.transport.open_stream(b.centre, EXCHANGE)
        with trio.fail_after(PATIENCE_SECONDS):
            await a.transport.disconnected(b.centre)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(a.transport.connected, b.centre)
                nursery.start_soon(b.transport.connected, a.centre)
                await a.transport.dial(b.centre, b.address)
            assert a.transport.is_connected(b.centre) and b.transport.is_connected(a.centre)
            await a.transport.dial(b.centre, b.address)  # a connection is up: nothing to do
            stream = await a.transport.open_stream(b.centre, EXCHANGE)
            await b.transport.drop(a.centre)
            await b.transport.disconnected(a.centre)
            await a.transport.disconnected(b.centre)
            await is_broken(stream)
            await a.transport.dial(b.centre, b.address)
            assert await exchange(await a.transport.open_stream(b.centre, EXCHANGE), b"again") == b"again"


async def a_peer_that_is_not_admitted_reaches_no_handler(wiring: Wiring) -> None:
    b, stranger = wiring.b, wiring.stranger
    async with running(wiring) as (_, guests), trio.open_nursery() as nursery:
        stranger.transport.admit({b.centre: b.peer_id})
        await start(nursery, stranger.transport.run, guests.accept)
        with trio.move_on_after(DIAL_SECONDS_MAX):
            try:
                await stranger.transport.dial(b.centre, b.address)
                stream = await stranger.transport.open_stream(b.centre, EXCHANGE)
                await stream.write(b"let me in")
                assert not await stream.read(1), "somebody answered a stranger"
            except NetworkError:
                pass
        assert guests.seen == []
        assert not b.transport.is_connected(stranger.centre)
        stream = await wiring.a.transport.open_stream(b.centre, EXCHANGE)
        assert await exchange(stream, b"members only") == b"members only"
        nursery.cancel_scope.cancel()


async def a_stranger_may_introduce_itself_and_do_nothing_else(wiring: Wiring) -> None:
    b, stranger = wiring.b, wiring.stranger
    met: list[str] = []

    async def meet(peer_id: str, stream: ByteStream) -> str:
        met.append(f"{peer_id} {(await stream.read(100)).decode()}")
        await stream.write(b"no")
        await stream.close()
        await read_all(stream)
        return "introduction_unproven"

    b.transport.meet(meet)
    async with running(wiring) as (_, guests), trio.open_nursery() as nursery:
        stranger.transport.admit({b.centre: b.peer_id})
        await start(nursery, stranger.transport.run, guests.accept)
        for _ in range(2):
            await stranger.transport.dial(b.centre, b.address)
            stream = await stranger.transport.open_stream(b.centre, DIRECTORY)
            await stream.write(b"I am it")
            assert await read_exactly(stream, 2) == b"no"
            await stream.reset()  # only now may the other side hang up
            with trio.fail_after(PATIENCE_SECONDS):
                await stranger.transport.disconnected(b.centre)
        assert met == [f"{stranger.peer_id} I am it"] * 2
        await stranger.transport.dial(b.centre, b.address)
        with suppress(NetworkError):
            stream = await stranger.transport.open_stream(b.centre, EXCHANGE)
            await stream.write(b"let me in")
            assert not await stream.read(1), "somebody answered a stranger"
        assert guests.seen == []
        assert not b.transport.is_connected(stranger.centre)
        nursery.cancel_scope.cancel()


async def admission_that_ends_ends_connections(wiring: Wiring) -> None:
    a, b = wiring.a, wiring.b
    async with running(wiring, at_b=hold) as (_, guests):
        stream = await a.transport.open_stream(b.centre, EXCHANGE)
        await stream.write(b"hello")
        b.transport.admit({})
        with trio.fail_after(PATIENCE_SECONDS):
            await a.transport.disconnected(b.centre)
            await is_broken(stream)
        guests.handler = echo
        b.transport.admit({a.centre: a.peer_id})
        await a.transport.dial(b.centre, b.address)
        assert await exchange(await a.transport.open_stream(b.centre, EXCHANGE), b"back") == b"back"


async def exactly_one_side_opens_the_exchange(wiring: Wiring) -> None:
    a, b = wiring.a, wiring.b
    async with running(wiring, connect=False):
        assert a.transport.opens_exchange(b.centre) == (a.peer_id < b.peer_id)
        assert b.transport.opens_exchange(a.centre) == (b.peer_id < a.peer_id)


async def a_dial_to_nobody_fails_in_time(wiring: Wiring) -> None:
    async with running(wiring, connect=False):
        with trio.fail_after(DIAL_SECONDS_MAX), expects("unreachable", NetworkError):
            await wiring.a.transport.dial(wiring.b.centre, wiring.dead_address)
        await wiring.a.transport.dial(wiring.b.centre, wiring.b.address)  # and does not spoil the next one
        assert wiring.a.transport.is_connected(wiring.b.centre)


async def an_address_that_makes_no_sense_is_an_outcome(wiring: Wiring) -> None:
    async with running(wiring, connect=False):
        with expects("address_unusable", NetworkError):
            await wiring.a.transport.dial(wiring.b.centre, "no address")


async def a_dial_that_finds_somebody_else_is_an_outcome(wiring: Wiring) -> None:
    a, b, stranger = wiring.a, wiring.b, wiring.stranger
    async with running(wiring, connect=False) as (_, guests), trio.open_nursery() as nursery:
        stranger.transport.admit({a.centre: a.peer_id})
        await start(nursery, stranger.transport.run, guests.accept)
        with expects("wrong_peer", NetworkError):
            await a.transport.dial(b.centre, stranger.address)
        assert not a.transport.is_connected(b.centre)
        nursery.cancel_scope.cancel()


async def an_announcement_is_heard_with_its_publisher(wiring: Wiring) -> None:
    a, b = wiring.a, wiring.b
    heard: list[tuple[str, bytes]] = []

    def hear(centre: str, content: bytes) -> bool:
        heard.append((centre, content))
        return True

    a.transport.announcements(hear)
    b.transport.announcements(hear)
    async with running(wiring):
        with trio.fail_after(PATIENCE_SECONDS):
            while not heard:
                b.transport.announce(b"one")  # the first may come before anybody listens
                await trio.sleep(0.2)
            while (a.centre, b"two") not in heard:
                a.transport.announce(b"two")
                await trio.sleep(0.2)
        assert set(heard) == {(b.centre, b"one"), (a.centre, b"two")}, "nobody hears himself"


async def who_takes_no_part_hears_and_says_nothing(wiring: Wiring) -> None:
    a, b = wiring.a, wiring.b
    heard: list[tuple[str, bytes]] = []

    def hear(centre: str, content: bytes) -> bool:
        heard.append((centre, content))
        return True

    a.transport.announcements(hear)
    a.transport.announce(b"before there is a network")
    async with running(wiring):
        a.transport.announce(b"nobody hears this")
        b.transport.announce(b"nor this")
        stream = await a.transport.open_stream(b.centre, EXCHANGE)
        assert await exchange(stream, b"and all else works") == b"and all else works"
        assert heard == []


CHECKS: Final[tuple[Check, ...]] = (
    bytes_come_back_in_order,
    a_read_gives_at_most_what_was_asked_for,
    after_closing_one_direction_the_other_goes_on,
    a_reset_is_seen_by_the_other_side,
    a_handler_that_returns_resets_its_stream,
    a_handler_that_fails_resets_its_stream_and_nothing_else,
    eight_megabytes_travel_both_ways_at_once,
    a_reader_that_does_not_read_stops_the_writer,
    protocols_reach_the_handler_by_name,
    an_unknown_protocol_is_an_outcome,
    two_hundred_streams_one_after_the_other,
    twenty_streams_at_once_do_not_mix,
    connections_are_seen_to_come_and_go,
    a_peer_that_is_not_admitted_reaches_no_handler,
    a_stranger_may_introduce_itself_and_do_nothing_else,
    admission_that_ends_ends_connections,
    exactly_one_side_opens_the_exchange,
    a_dial_to_nobody_fails_in_time,
    an_address_that_makes_no_sense_is_an_outcome,
    a_dial_that_finds_somebody_else_is_an_outcome,
    an_announcement_is_heard_with_its_publisher,
    who_takes_no_part_hears_and_says_nothing,
)
