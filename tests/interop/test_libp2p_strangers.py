"""Peers that are not admitted, over real libp2p: heard once, and never at the cost of anybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import trio

from node.tasks import start
from node.transport import ByteStream
from protocol.errors import NetworkError
from protocol.limits import INTRODUCTIONS_MAX, INTRODUCTIONS_VAIN_MAX, STRANGER_BYTES_MAX, STRANGER_STREAMS_MAX
from tests.interop.contract import DIRECTORY, echo
from tests.support.libp2p import Place, eventually, guest, pair, seed_of, still_works

SILENT = INTRODUCTIONS_MAX + INTRODUCTIONS_VAIN_MAX + 8


async def deaf(_peer_id: str, _stream: ByteStream) -> str:
    """Hear nobody out."""
    await trio.sleep(float("inf"))
    return "never"


@asynccontextmanager
async def stranger(at: Place, label: str = "stranger") -> AsyncIterator[Place]:
    """A place that knows the other one, and is not known there; connected."""
    place = Place(label)
    async with trio.open_nursery() as nursery:
        place.transport.admit({at.peer_id: at.peer_id})
        await start(nursery, place.transport.run, echo)
        await place.transport.dial(at.peer_id, at.address)
        yield place
        nursery.cancel_scope.cancel()


async def test_silent_strangers_keep_nobody_out_and_are_turned_away_after_a_while() -> None:
    async with pair() as (a, b):
        b.transport.meet(deaf)
        async with AsyncExitStack() as guests:
            for n in range(SILENT):
                with suppress(NetworkError):  # turned away before a muxer was agreed on
                    await guests.enter_async_context(guest(seed_of(f"guest {n}"), b))
                assert len(b.transport._admission.lobby) <= INTRODUCTIONS_MAX
            await still_works(a, b)
            await eventually(lambda: len(b.transport._admission.lobby) == 0, 60)
        assert set(b.refusals()) == {"not_admitted", "introductions_in_vain"}
        await still_works(a, b)


async def test_a_stranger_that_sends_without_end_is_cut_off_early() -> None:
    async with pair() as (a, b):
        b.transport.meet(deaf)
        written = 0
        async with stranger(b) as place:
            stream = await place.transport.open_stream(b.peer_id, DIRECTORY)
            with suppress(NetworkError), trio.fail_after(30):
                while written < 64 * STRANGER_BYTES_MAX:
                    await stream.write(bytes(16_384))
                    written += 16_384
            with trio.fail_after(30):
                await place.transport.disconnected(b.peer_id)
        assert written < 64 * STRANGER_BYTES_MAX
        await still_works(a, b)


async def test_a_stranger_that_opens_many_streams_has_to_go() -> None:
    async with pair() as (a, b):
        b.transport.meet(deaf)
        async with stranger(b) as place:
            with suppress(NetworkError):
                for _ in range(STRANGER_STREAMS_MAX + 1):
                    await place.transport.open_stream(b.peer_id, DIRECTORY)
            with trio.fail_after(30):
                await place.transport.disconnected(b.peer_id)
        await eventually(b.refusals, 30)
        assert b.refusals() == ["not_admitted"]
        await still_works(a, b)


async def test_whoever_is_admitted_while_it_waits_comes_back_as_a_peer() -> None:
    async with pair() as (a, b):
        b.transport.meet(deaf)
        async with stranger(b) as place:
            await eventually(lambda: len(b.transport._admission.lobby) == 1, 30)
            b.transport.admit({a.peer_id: a.peer_id, place.peer_id: place.peer_id})
            with trio.fail_after(30):
                await place.transport.disconnected(b.peer_id)
            await still_works(place, b)
        assert b.refusals() == []
