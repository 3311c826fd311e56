"""What a directory stream gives, to whom, how often, and when it is closed."""

from __future__ import annotations

import trio

from node.transport import ByteStream
from protocol.errors import NetworkError
from protocol.framing import Decoder, encode_frame
from protocol.reconcile_frames import (
    PROTOCOL,
    Answer,
    Done,
    HeadsAsked,
    HeadsGiven,
    Introduced,
    LogAsked,
    LogGiven,
    frame_bytes,
    read_answer,
)
from tests.support.directory_nodes import A, B, DirectoryNodes, among_nodes


async def opened(nodes: DirectoryNodes) -> ByteStream:
    """A directory stream from B to A."""
    transport = nodes.nodes[B].peers._transport
    return await transport.open_stream(A, PROTOCOL)


async def answered(stream: ByteStream) -> Answer | None:
    """The next answer; None when the stream has ended."""
    decoder = Decoder(2**20)
    with trio.fail_after(90):
        while True:
            try:
                data = await stream.read(2**16)
            except NetworkError as error:
                assert error.code == "stream_broken"
                return None
            if not data:
                return None
            frames = decoder.feed(data)
            if frames:
                return read_answer(*frames[0])


def test_a_peer_is_given_heads_and_logs() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        stream = await opened(nodes)
        await stream.write(frame_bytes(HeadsAsked()))
        heads = await answered(stream)
        assert isinstance(heads, HeadsGiven)
        assert [(log.registrar, log.number) for log in heads.logs] == [("level-1", nodes.tree.numbers["level-1"])]
        await stream.write(frame_bytes(LogAsked(registrar="level-1", generation=1, first=2, last=3)))
        given = await answered(stream)
        assert isinstance(given, LogGiven)
        assert [number for number, _ in given.rows] == [2, 3]
        await stream.close()
        assert await answered(stream) is None

    among_nodes(story)


def test_a_third_stream_at_once_is_told_busy() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(60)
        streams = [await opened(nodes) for _ in range(3)]
        await streams[2].write(frame_bytes(HeadsAsked()))
        assert await answered(streams[2]) == Done(code="busy")
        await streams[0].write(frame_bytes(HeadsAsked()))
        assert isinstance(await answered(streams[0]), HeadsGiven)

    among_nodes(story)


def test_a_stream_on_which_nothing_is_asked_is_closed() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        stream = await opened(nodes)
        assert await answered(stream) is None

    among_nodes(story)


def test_half_a_question_does_not_keep_a_stream_open() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        stream = await opened(nodes)
        question = frame_bytes(HeadsAsked())
        await stream.write(question[:2])
        await trio.sleep(50)
        await stream.write(question[2:3])
        with trio.fail_after(30):
            assert await answered(stream) is None

    among_nodes(story)


def test_a_peer_that_is_admitted_need_not_introduce_itself() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        stream = await opened(nodes)
        await stream.write(frame_bytes(Introduced(things=nodes.tree.things[:1])))
        assert await answered(stream) == Done()

    among_nodes(story)


def test_whoever_breaks_a_rule_is_reset_and_counted() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        stream = await opened(nodes)
        await stream.write(encode_frame(99, b"\x80"))
        assert await answered(stream) is None
        assert nodes.nodes[A].conducts.of(B).fault == "frame_unknown"

    among_nodes(story)
