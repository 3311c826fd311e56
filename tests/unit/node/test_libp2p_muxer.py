"""The muxer without a network: floods, ends, and what they do to those who wait."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID
from libp2p.stream_muxer.yamux.yamux import YamuxStream

from node.libp2p.frame_queue import CONTROL_FRAMES_MAX
from node.libp2p.muxer import OneWriterYamux
from node.libp2p.stream import Libp2pStream
from protocol.errors import NetworkError
from tests.support.errors import expects


class Session:
    """A secured connection that takes nothing."""

    is_initiator = True
    is_closed = False

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_closed = True


class Socket:
    """Only closing is asked of it."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


def muxer() -> tuple[OneWriterYamux, Socket]:
    session: Any = Session()
    muxed, socket = OneWriterYamux(session, ID(b"peer")), Socket()
    muxed.attach(socket, lambda: None)
    return muxed, socket


async def test_a_peer_that_asks_and_never_reads_is_let_go() -> None:
    muxed, socket = muxer()
    stream = YamuxStream(1, muxed, True)
    for _ in range(CONTROL_FRAMES_MAX):
        muxed.grant(stream, 1)
    before = socket.is_closed
    muxed.grant(stream, 1)
    assert (before, socket.is_closed, muxed.why_over) == (False, True, "flooded")
    with pytest.raises(ConnectionClosedError):
        await muxed._write_frame(bytes(12))


async def test_a_writer_without_a_window_learns_that_the_connection_ended() -> None:
    muxed, _ = muxer()
    stream = await muxed.open_stream()
    stream.send_window = 0
    over: list[str] = []
    ours = Libp2pStream("00.12.W00", muxed, stream, lambda: over.append("over"))
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_broken, ours)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(muxed._tell_when_over)
            await muxed.close()
    assert over == ["over"]
    await ours.reset()
    await ours.close()
    with expects("stream_broken", NetworkError):
        await ours.read(1)


async def _expect_broken(stream: Libp2pStream) -> None:
    with expects("stream_broken", NetworkError):
        await stream.write(b"waits for room")
