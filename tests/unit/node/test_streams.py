"""Frames and exact counts from a byte stream, and the stream of a node to itself."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.loopback import HELD_BYTES_MAX, EchoStream
from node.streams import StreamReader
from protocol.errors import FormatError, NetworkError
from protocol.framing import encode_frame
from tests.support.bench import Pipe
from tests.support.errors import expects


def fed(data: bytes, *, ended: bool = True) -> StreamReader:
    pipe = Pipe()
    pipe.feed(data)
    if ended:
        pipe.end()
    return StreamReader(pipe)


async def test_a_small_frame_is_followed_by_raw_bytes() -> None:
    reader = fed(encode_frame(2, b"answer") + b"raw bytes")
    assert await reader.frame(100) == (2, b"answer")
    assert await reader.some(3) == b"raw"
    assert await reader.exactly(6) == b" bytes"
    assert await reader.frame(100) is None


async def test_bytes_may_come_one_by_one() -> None:
    pipe = Pipe()
    reader = StreamReader(pipe)
    async with trio.open_nursery() as nursery:

        async def feed() -> None:
            for octet in encode_frame(7, b"slowly"):
                pipe.feed(bytes([octet]))
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(feed)
        assert await reader.frame(100) == (7, b"slowly")


@pytest.mark.parametrize(
    ("data", "code"),
    [(bytes(4), "frame_empty"), (b"\0\0\1\0rest", "frame_too_large"), (b"\0\0", "frame_truncated")],
)
async def test_bytes_that_are_no_frame_are_told(data: bytes, code: str) -> None:
    with expects(code, FormatError):
        await fed(data).frame(100)


async def test_the_largest_frame_is_read_and_one_byte_more_is_not() -> None:
    assert await fed(encode_frame(1, bytes(99))).frame(100) == (1, bytes(99))
    with expects("frame_too_large", FormatError) as caught:
        await fed(encode_frame(1, bytes(100))).frame(100)
    assert caught[0].detail == {"size": 101, "limit": 100}


async def test_a_stream_that_ends_early_is_told() -> None:
    with expects("stream_ended", NetworkError):
        await fed(encode_frame(1, b"abc")[:-1]).frame(100)
    with expects("stream_ended", NetworkError):
        await fed(b"").some(5)
    with expects("stream_ended", NetworkError):
        await fed(b"ab").exactly(3)


# --- loop-back -------------------------------------------------------------------------------------


async def test_what_is_written_to_oneself_is_read_in_order_and_in_any_pieces() -> None:
    stream = EchoStream()
    await stream.write(b"abc")
    await stream.write(b"def")
    assert [await stream.read(2) for _ in range(4)] == [b"ab", b"c", b"de", b"f"]


async def test_a_closed_stream_gives_what_it_holds_and_then_ends() -> None:
    stream = EchoStream()
    await stream.write(b"abc")
    await stream.close()
    assert await stream.read(10) == b"abc"
    assert await stream.read(10) == b""
    with expects("stream_broken", NetworkError):
        await stream.write(b"more")


async def test_a_reset_stream_is_broken_for_both_ends_and_for_those_who_wait() -> None:
    stream = EchoStream()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with expects("stream_broken", NetworkError):
                await stream.read(1)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await stream.reset()
    await stream.reset()
    for call in (stream.read(1), stream.write(b"x")):
        with expects("stream_broken", NetworkError):
            await call


async def test_the_writer_waits_for_a_reader_that_does_not_read(autojump_clock: MockClock) -> None:
    stream = EchoStream()
    await stream.write(bytes(HELD_BYTES_MAX + 1))
    with trio.move_on_after(5) as waiting:
        await stream.write(b"more")
    assert waiting.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.write, b"more")
        await trio.testing.wait_all_tasks_blocked()
        assert len(await stream.read(HELD_BYTES_MAX + 1)) == HELD_BYTES_MAX + 1
    assert await stream.read(10) == b"more"
