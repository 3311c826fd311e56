"""The queue before a connection's one writer: order, joining, bounds, end."""

from __future__ import annotations

import trio
import trio.testing

from node.libp2p.frame_queue import CHUNK_BYTES, CONTROL_FRAMES_MAX, FrameQueue, Rank


def frames(queue: FrameQueue) -> list[bytes]:
    return [waiting.frame for waiting in queue.take()]


async def test_exchange_frames_overtake_bodies() -> None:
    queue, body = FrameQueue(), bytes(CHUNK_BYTES)
    for _ in range(2):
        queue.put(body, Rank.BODY)
    queue.put(b"exchange", Rank.EXCHANGE)
    queue.put(b"control", Rank.CONTROL)
    assert frames(queue) == [b"control", b"exchange"]
    assert frames(queue) == [body]
    queue.put(b"again", Rank.EXCHANGE)
    assert frames(queue) == [b"again"]
    assert frames(queue) == [body]
    assert not len(queue)


async def test_small_frames_are_joined_up_to_one_message() -> None:
    queue = FrameQueue()
    for size in (30_000, 30_000, 30_000):
        queue.put(bytes(size), Rank.EXCHANGE)
    queue.put(b"body", Rank.BODY)
    assert [len(frame) for frame in frames(queue)] == [30_000, 30_000]
    assert [len(frame) for frame in frames(queue)] == [30_000, 4]


async def test_a_frame_longer_than_a_message_goes_alone() -> None:
    queue = FrameQueue()
    queue.put(bytes(CHUNK_BYTES + 1), Rank.EXCHANGE)
    queue.put(b"x", Rank.EXCHANGE)
    assert [len(frame) for frame in frames(queue)] == [CHUNK_BYTES + 1]


async def test_bodies_of_several_streams_take_turns_as_they_came() -> None:
    queue = FrameQueue()
    for name in (b"a", b"b"):
        queue.put(name * CHUNK_BYTES, Rank.BODY)
    assert frames(queue)[0][:1] == b"a"
    queue.put(b"a" * CHUNK_BYTES, Rank.BODY)
    assert frames(queue)[0][:1] == b"b"


async def test_waiting_ends_when_something_comes() -> None:
    queue = FrameQueue()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(queue.some)
            await trio.testing.wait_all_tasks_blocked()
            queue.put(b"x", Rank.CONTROL)
        await queue.some()


async def test_the_end_fails_what_waits_and_what_comes() -> None:
    queue = FrameQueue()
    before = queue.put(b"x", Rank.BODY)
    assert not before.sent.is_set()
    queue.end()
    after = queue.put(b"y", Rank.BODY)
    for waiting in (before, after):
        assert waiting.failed and waiting.sent.is_set()
    assert frames(queue) == []


async def test_a_flood_of_control_frames_is_noticed() -> None:
    queue = FrameQueue()
    for _ in range(CONTROL_FRAMES_MAX):
        queue.put(b"ping", Rank.CONTROL)
    assert not queue.is_flooded
    queue.put(b"ping", Rank.CONTROL)
    assert queue.is_flooded
