"""Announcements over real libp2p: GossipSub between our transports, whole nodes, and hosts of others."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX

from node.daemon import Node
from node.directory_roads import Road
from node.libp2p import transport
from node.libp2p.announcing import FRAMES_AT_ONCE, framed
from node.libp2p.gossip import FRAME_BYTES_MAX, PROTOCOLS
from node.transport import ByteStream
from protocol import reconcile_frames
from protocol.announcement import TOPIC
from protocol.directory import Names
from protocol.directory_file import write_file
from protocol.errors import NetworkError
from protocol.limits import ANNOUNCEMENT_BYTES_MAX
from tests.interop.test_libp2p_traps import dial
from tests.support.directory_nodes import OPERATOR
from tests.support.errors import expects, record
from tests.support.libp2p import Place, eventually, identity_of, running, seed_of, still_works
from tests.support.libp2p_nodes import libp2p_nodes
from tests.support.listeners import Listener, StoppedClock, neighbours_of, stock_pubsub
from tests.support.tree import Tree


async def until(is_so: object) -> None:
    """Wait for it, longer than any machine needs."""
    await eventually(is_so, 60)


async def join(*pairs: tuple[Listener, Place]) -> None:
    """Connect them, and wait until each has streams to and from the other."""
    for one, other in pairs:
        await one.transport.dial(other.peer_id, other.address)
    for place in {place for pair in pairs for place in pair if isinstance(place, Listener)}:
        wanted = sum(place in pair for pair in pairs)
        await until(lambda place=place, wanted=wanted: place.neighbours() == wanted)


def frame_of(label: str, content: bytes, sequence: int, **changes: object) -> bytes:
    """A frame with a message that this label's identity publishes; with changes made after signing."""
    pair, peer = _identity(label)
    message = rpc_pb2.Message(data=content, topicIDs=[TOPIC], from_id=peer, seqno=sequence.to_bytes(8, "big"))
    message.signature = pair.private_key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
    for name, value in changes.items():
        setattr(message, name, value)
    return framed(rpc_pb2.RPC(publish=[message]))


@cache
def _identity(label: str) -> tuple[Any, bytes]:
    pair = identity_of(seed_of(label))
    return pair, ID.from_pubkey(pair.public_key).to_bytes()


# --- our own transports ---------------------------------------------------------------------


async def test_an_announcement_is_passed_on_to_whoever_is_not_connected_to_its_publisher() -> None:
    a, b, c = Listener("a"), Listener("b"), Listener("c")
    async with running(a, b, c):
        await join((a, b), (b, c))
        a.transport.announce(b"news")
        await until(lambda: c.heard)
        assert b.heard == c.heard == [(a.peer_id, b"news")]
        assert a.heard == []


async def test_what_is_not_worth_it_is_not_passed_on() -> None:
    a, b, c = Listener("a"), Listener("b"), Listener("c")
    b.worth = False
    async with running(a, b, c):
        await join((a, b), (b, c))
        a.transport.announce(b"gossip")
        await until(lambda: b.heard)
        b.worth = True
        a.transport.announce(b"news")
        await until(lambda: c.heard)
        assert c.contents() == [b"news"]


async def test_a_node_that_takes_no_part_is_left_alone_and_heard_of_no_more() -> None:
    a, b, mute = Listener("a"), Listener("b"), Place("mute")
    async with running(a, b, mute):
        await a.transport.dial(mute.peer_id, mute.address)
        await join((a, b))
        mute.transport.announce(b"nobody hears this")
        a.transport.announce(b"news")
        await until(lambda: b.heard)
        await still_works(a, mute)


async def test_after_a_lost_connection_announcements_go_on() -> None:
    a, b = Listener("a"), Listener("b")
    async with running(a, b):
        await join((a, b))
        await a.transport.drop(b.peer_id)
        await b.transport.disconnected(a.peer_id)
        await until(lambda: not a.neighbours() and not b.neighbours())
        await join((b, a))
        b.transport.announce(b"news")
        await until(lambda: a.contents() == [b"news"])


async def test_the_largest_announcement_arrives() -> None:
    a, b = Listener("a"), Listener("b")
    async with running(a, b):
        await join((a, b))
        a.transport.announce(bytes(ANNOUNCEMENT_BYTES_MAX))
        await until(lambda: b.contents() == [bytes(ANNOUNCEMENT_BYTES_MAX)])


async def test_only_what_admitted_centres_publish_is_looked_at() -> None:
    a, b = Listener("a"), Listener("b")
    async with running(a, b):
        await join((a, b))
        stream = await b.transport.open_stream(a.peer_id, PROTOCOLS[0])
        await stream.write(frame_of("stranger", b"news", 1))
        await until(lambda: a.counted("stranger") == 1)
        await stream.write(frame_of("b", b"honest", 1))
        await until(lambda: a.heard)
        assert a.contents() == [b"honest"]


# --- whoever is hostile ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("a junk key", {"key": b"\xff" * 40, "from_id": b"\x12\x20" + bytes(32)}),
        ("a short number", {"seqno": b"\x01"}),
        ("no signature", {"signature": b""}),
        ("another content", {"data": b"other"}),
        ("a content that is too large", {"data": bytes(ANNOUNCEMENT_BYTES_MAX + 1)}),
        ("nobody", {"from_id": b""}),
        ("an id that is none", {"from_id": b"\x00\x01\x02"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_message_that_is_not_rightly_signed_is_dropped_and_ends_nothing(
    name: str, changes: dict[str, object]
) -> None:
    a, b = Listener("a"), Listener("b")
    async with running(a, b):
        await join((a, b))
        stream = await b.transport.open_stream(a.peer_id, PROTOCOLS[0])
        await stream.write(frame_of("b", b"content", 1, **changes))
        await until(lambda: a.counted("unsigned") == 1)
        await stream.write(frame_of("b", b"honest", 2))
        await until(lambda: a.contents() == [b"honest"])


async def test_random_bytes_end_the_stream_and_are_refused_for_a_while() -> None:
    chance = Random(1)
    a, b, c = Listener("a"), Listener("b"), Listener("c")
    async with running(a, b, c):
        await join((a, b), (a, c))
        for _ in range(5):
            stream = await b.transport.open_stream(a.peer_id, PROTOCOLS[0])
            await stream.write(b"\x40" + chance.randbytes(64))
            await _ended(stream)
        assert a.refusals()[-1] in {"format_malformed", "frame_too_large"}
        c.transport.announce(b"news")
        await until(lambda: a.contents() == [b"news"])
        await still_works(a, b)


async def test_a_frame_without_end_is_not_taken_in() -> None:
    a, b = Listener("a"), Listener("b")
    async with running(a, b):
        await join((a, b))
        stream = await b.transport.open_stream(a.peer_id, PROTOCOLS[0])
        await stream.write(b"\xff\xff\xff\x7f" + bytes(1000))
        await _ended(stream)
        assert a.refusals() == ["frame_too_large"]
        assert FRAME_BYTES_MAX < 0xFFFFFFF


async def test_of_ten_thousand_junk_announcements_few_are_read_and_the_reason_is_shown() -> None:
    a, b, c = Listener("a", environment=StoppedClock()), Listener("b"), Listener("c")
    a.worth = False
    async with running(a, b, c):
        await join((a, b), (a, c))
        stream = await b.transport.open_stream(a.peer_id, PROTOCOLS[0])
        await _flood(stream, 10_000)
        assert len(a.heard) <= FRAMES_AT_ONCE
        assert a.refusals() == ["announcement_flood"]
        record("announcement_flood")
        again = await b.transport.open_stream(a.peer_id, PROTOCOLS[0])
        await _ended(again)
        a.worth = True
        c.transport.announce(b"news")
        await until(lambda: (c.peer_id, b"news") in a.heard)
        await still_works(a, b)


async def test_a_wish_for_the_same_message_ten_thousand_times_is_answered_once() -> None:
    a, b = Listener("a"), Listener("b")
    async with running(a, b):
        await join((a, b))
        a.transport.announce(bytes(60_000))
        await until(lambda: b.heard)
        topic = a.transport._announcer._topic  # type: ignore[union-attr]
        (name,) = topic._router.mcache.msgs
        control = rpc_pb2.ControlMessage(iwant=[rpc_pb2.ControlIWant(messageIDs=[name] * 10_000)])
        await topic.received(next(iter(topic.peers)), rpc_pb2.RPC(control=control))
        assert sum(queue.size for queue in topic.peer_queues.values()) < 2 * 60_500


async def _flood(stream: ByteStream, count: int) -> None:
    """Write so many junk messages, or until the stream is over."""
    for n in range(count):
        try:
            await stream.write(frame_of("b", b"junk", n))
        except NetworkError:
            return
    raise AssertionError("all of them were taken")


async def _ended(stream: ByteStream) -> None:
    """The other side ends this stream."""
    with trio.fail_after(10), expects("stream_broken", NetworkError):
        while await stream.read(1000):
            pass


# --- other implementations ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_unmodified_host_of_the_library_takes_part(protocol: str) -> None:
    seed, a, b = seed_of("stock"), Listener("a"), Listener("b")
    async with running(a, b), stock_pubsub(seed, [protocol]) as (host, pubsub, subscription):
        stock = str(host.get_id())
        for place, other in ((a, b), (b, a)):
            place.transport.admit({other.peer_id: other.peer_id, "stock": stock})
        await join((a, b))
        connection = await dial(host, b)
        await until(lambda: b.neighbours() == 2 and len(pubsub.peers) == 1)
        await until(lambda: len(pubsub.router.mesh[TOPIC]) == 1)
        await pubsub.publish(TOPIC, b"from outside")
        await until(lambda: a.heard == [("stock", b"from outside")])
        a.transport.announce(b"from us")
        with trio.fail_after(10):
            while (await subscription.get()).data != b"from us":
                pass
        await connection.close()


# --- whole nodes ----------------------------------------------------------------------------


async def test_a_change_reaches_all_by_announcement_where_nobody_can_be_asked(tmp_path: Path) -> None:
    tree = Tree.make()
    for number in range(4, 7):
        tree.add_centre(f"00.0{number}.W00")
    talk = [protocol for protocol in transport.PROTOCOLS if protocol != reconcile_frames.PROTOCOL]
    async with libp2p_nodes(tmp_path, tree, settings={"ping_s": 600}, protocols=talk) as nodes:
        first, *others = nodes.values()
        for node in nodes.values():
            await until(lambda node=node: node.node.peers.states().get("up") == len(others))
            await until(lambda node=node: neighbours_of(node.node.peers._transport) == len(others))
        changed = tree.publish(tree.next_agency("G22", names=Names(vi="Tên mới")))
        await first.node.services.take_directory(OPERATOR, write_file([changed]))
        for node in others:
            await until(lambda node=node: node.node.directory.was_accepted(changed.digest))
            await until(lambda node=node: by_road(node.node, Road.ANNOUNCED))
            assert not by_road(node.node, Road.ASKED)
        for node in nodes.values():
            assert not node.node.conducts.of(next(iter(nodes))).faults


def by_road(node: Node, road: Road) -> int:
    """How many things this node took in that came on this road."""
    return int(node.metrics.directory_things.labels(road=road.value)._value.get())
