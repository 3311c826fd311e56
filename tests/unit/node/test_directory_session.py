"""Asking a peer that lies, stalls or hangs up: nothing is believed, it is left alone, and others are asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from node.transport import ByteStream
from protocol.directory import Names
from protocol.framing import encode_frame
from protocol.heads import LogHead
from protocol.reconcile_frames import Done, HeadsGiven, LogGiven, frame_bytes
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes

Behaviour = Callable[[ByteStream], Awaitable[None]]


def tell(nodes: DirectoryNodes, behaviour: Behaviour) -> list[float]:
    """B answers A's directory streams like this from now on, and says that it knows something; when it was asked."""
    asked: list[float] = []

    async def serve(_centre: str, stream: ByteStream) -> None:
        asked.append(trio.current_time())
        await behaviour(stream)

    server: Any = nodes.nodes[B].room.server
    server.serve = serve  # the peer is the liar here
    nodes.nodes[A].room.sync.heard(B, b"\x01" * 32)
    return asked


def failures(nodes: DirectoryNodes) -> list[str]:
    """How A's sessions with B ended."""
    return [line["code"] for line in nodes.events(A, "directory_not_compared") if line["centre"] == B]


async def lies_about_a_number(stream: ByteStream) -> None:
    head = LogHead(registrar="level-1", generation=1, number=1_000)
    await stream.read(2**16)
    await stream.write(frame_bytes(HeadsGiven(logs=(head,))))
    await stream.read(2**16)
    await stream.write(frame_bytes(LogGiven()))
    await stream.read(2**16)


async def says_nothing(stream: ByteStream) -> None:
    await trio.sleep(1_000)


async def drips(stream: ByteStream) -> None:
    for byte in frame_bytes(HeadsGiven()):
        await stream.write(bytes((byte,)))
        await trio.sleep(9)


async def hangs_up(stream: ByteStream) -> None:
    await stream.read(2**16)


async def talks_nonsense(stream: ByteStream) -> None:
    await stream.write(encode_frame(200, b"\x80"))
    await stream.read(2**16)


async def is_busy(stream: ByteStream) -> None:
    await stream.read(2**16)
    await stream.write(frame_bytes(Done(code="busy")))
    await stream.read(2**16)


async def _first_failure(nodes: DirectoryNodes, behaviour: Behaviour) -> str:
    tell(nodes, behaviour)

    def has_failed() -> bool:
        nodes.nodes[A].room.sync.heard(B, b"\x01" * 32)  # its real pings say otherwise
        return bool(failures(nodes))

    await nodes.until(has_failed, seconds=60)
    return failures(nodes)[0]


def test_a_peer_that_withholds_is_counted_and_others_are_believed() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        assert await _first_failure(nodes, lies_about_a_number) == "peer_withholds"
        assert nodes.nodes[A].conducts.of(B).fault == "peer_withholds"
        changed = nodes.renamed("H38", names=Names(vi="Tên mới"))
        await nodes.bring(C, changed)
        await nodes.until(lambda: A in nodes.know(changed))

    among_nodes(story)


def test_a_silent_peer_and_one_that_drips_are_given_up_in_time() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        began = trio.current_time()
        assert await _first_failure(nodes, says_nothing) == "stream_stalled"
        assert trio.current_time() - began < 15

    async def other(nodes: DirectoryNodes) -> None:
        began = trio.current_time()
        assert await _first_failure(nodes, drips) == "stream_stalled"
        assert trio.current_time() - began < 15

    among_nodes(story)
    among_nodes(other)


def test_a_peer_that_hangs_up_is_no_liar() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        assert await _first_failure(nodes, hangs_up) in {"stream_broken", "stream_ended"}
        assert not nodes.nodes[A].conducts.of(B).faults

    among_nodes(story)


def test_frames_that_are_none_are_counted() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        assert await _first_failure(nodes, talks_nonsense) == "frame_unknown"
        assert nodes.nodes[A].conducts.of(B).fault == "frame_unknown"

    among_nodes(story)


def test_a_busy_peer_is_left_alone_for_a_while_and_not_blamed() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        asked = tell(nodes, is_busy)
        for _ in range(20):
            nodes.nodes[A].room.sync.heard(B, b"\x01" * 32)
            await trio.sleep(1)
        assert failures(nodes) == ["busy"]
        assert len(asked) == 1
        assert not nodes.nodes[A].conducts.of(B).faults

    among_nodes(story)


def test_a_peer_that_fails_again_and_again_is_asked_more_and_more_rarely() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        asked = tell(nodes, hangs_up)
        for n in range(360):
            nodes.nodes[A].room.sync.heard(B, n.to_bytes(32, "big"))
            await trio.sleep(5)
        assert 5 <= len(asked) <= 16, "doubling from two seconds to five minutes"

    among_nodes(story)
