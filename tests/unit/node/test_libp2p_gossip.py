"""The router behind its guards: what it may see, what it keeps, and frames in and out of bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from node.libp2p.announcing import Frames, framed
from node.libp2p.gossip import (
    BACKOFF_S_MAX,
    FRAME_BYTES_MAX,
    FRAME_OUT_BYTES_MAX,
    HELD_BYTES_MAX,
    IDS_MAX,
    PROTOCOLS,
    QUEUED_BYTES_MAX,
    SEEN_MAX,
    Outgoing,
    Router,
    Seen,
    Topic,
    trimmed,
)
from node.libp2p.host import make_host
from protocol.announcement import TOPIC
from protocol.errors import FormatError
from protocol.limits import ANNOUNCEMENT_BYTES_MAX
from tests.support.errors import expects
from tests.support.libp2p import seed_of

PEERS = [make_host(seed_of(label), []).get_id() for label in ("a", "b", "c")]


class Part:
    """One node's router and topic, without a network."""

    def __init__(self, label: str = "a") -> None:
        self.lost = 0
        self.taken: list[tuple[ID, ID, bytes]] = []
        self.worth = True
        self.router = Router(self.lose)
        self.topic = Topic(make_host(seed_of(label), []), self.router, self.take)

    def lose(self) -> None:
        self.lost += 1

    def take(self, forwarder: ID, publisher: ID, content: bytes) -> bool:
        self.taken.append((forwarder, publisher, content))
        return self.worth

    async def join(self, *neighbours: ID) -> None:
        """Everybody here listens and can be written to."""
        await self.router.join(TOPIC)
        for peer in neighbours:
            await self.topic.received(peer, self.topic.hello())
            await self.topic.can_write(peer, PROTOCOLS[0])

    def waiting(self, peer: ID) -> list[Any]:
        """Frames that wait for a neighbour."""
        queue = self.topic.peer_queues[peer]._queue
        return [*queue._priority, *queue._non_priority]


def message_of(label: str, content: bytes, sequence: int = 1) -> Any:
    """What a node publishes, rightly signed."""
    signed: list[Any] = []
    topic = Topic(make_host(seed_of(label), []), _Catching(signed), lambda *_: True)  # type: ignore[arg-type]
    coroutine = topic.publish(content, sequence)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    return signed[0]


class _Catching:
    def __init__(self, caught: list[Any]) -> None:
        self._caught = caught

    def attach(self, _topic: Any) -> None:
        return

    async def publish(self, _forwarder: ID, message: Any) -> None:
        self._caught.append(message)


# --- settings -------------------------------------------------------------------------------


def test_the_router_beats_every_second_and_limits_nobody_silently() -> None:
    router = Part().router
    assert (router.heartbeat_interval, router.degree, router.degree_low, router.degree_high) == (1, 4, 3, 8)
    assert not router.spam_protection_enabled
    assert not router.eclipse_protection_enabled
    assert not router.adaptive_gossip_enabled
    assert router.scorer is None
    assert not router.do_px
    assert router.protocols == ["/meshsub/1.1.0", "/meshsub/1.0.0"]


# --- what comes -----------------------------------------------------------------------------


async def test_a_message_is_taken_once_and_passed_on_to_all_but_its_forwarder_and_its_publisher() -> None:
    part, (_, b, c) = Part(), PEERS
    await part.join(b, c)
    message = message_of("b", b"news")
    assert await part.topic.take_message(b, message)
    assert await part.topic.take_message(c, message)
    assert part.taken == [(b, b, b"news")]
    assert [list(frame.publish) for frame in part.waiting(c) if frame.publish] == [[message]]
    assert not any(frame.publish for frame in part.waiting(b))
    assert not any(frame.HasField("senderRecord") for frame in part.waiting(c))


async def test_our_own_message_that_comes_back_is_not_news() -> None:
    part, (_, b, _) = Part(), PEERS
    await part.join(b)
    assert await part.topic.take_message(b, message_of("a", b"mine"))
    assert part.taken == []


async def test_what_is_not_worth_it_is_remembered_and_not_passed_on() -> None:
    part, (_, b, c) = Part(), PEERS
    await part.join(b, c)
    part.worth = False
    for _ in range(3):
        await part.topic.take_message(b, message_of("b", b"gossip"))
    assert len(part.taken) == 1
    assert not any(frame.publish for frame in part.waiting(c))


@pytest.mark.parametrize(
    "change",
    [
        {"seqno": b"\x01"},
        {"from_id": b""},
        {"from_id": b"\x00" * 200},
        {"signature": b""},
        {"signature": bytes(64)},
        {"signature": bytes(5_000)},
        {"key": bytes(5_000)},
        {"data": b"other"},
        {"data": bytes(ANNOUNCEMENT_BYTES_MAX + 1)},
        {"key": b"\xff" * 40, "from_id": b"\x12\x20" + bytes(32)},
    ],
    ids=lambda change: " ".join(f"{name} {len(value)}" for name, value in change.items()),
)
async def test_a_message_of_another_shape_or_signature_is_none(change: dict[str, bytes]) -> None:
    part, message = Part(), message_of("b", b"news")
    for name, value in change.items():
        setattr(message, name, value)
    assert not await part.topic.take_message(PEERS[1], message)
    assert part.taken == []


@pytest.mark.parametrize("topics", [[], ["/other"], [TOPIC, TOPIC], [TOPIC, "/other"]])
async def test_a_message_of_another_topic_is_none(topics: list[str]) -> None:
    part, message = Part(), message_of("b", b"news")
    del message.topicIDs[:]
    message.topicIDs.extend(topics)
    assert not await part.topic.take_message(PEERS[1], message)


def test_a_message_is_named_by_its_publisher_and_number() -> None:
    message = message_of("b", b"news", 7)
    assert Part().topic.get_message_id(message) == PEERS[1].to_bytes() + (7).to_bytes(8, "big")


async def test_numbers_grow_though_the_clock_stands_or_goes_back() -> None:
    part, (_, b, _) = Part(), PEERS
    await part.join(b)
    for time_ms in (5, 5, 3, 9):
        await part.topic.publish(b"news", time_ms)
    numbers = [int.from_bytes(frame.publish[0].seqno, "big") for frame in part.waiting(b) if frame.publish]
    assert numbers == [5, 6, 7, 9]


async def test_who_listens_no_more_is_written_to_no_more() -> None:
    part, (_, b, c) = Part(), PEERS
    await part.join(b, c)
    gone = rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=False, topicid=TOPIC)])
    await part.topic.received(b, gone)
    part.topic.cannot_write(c)
    await part.topic.publish(b"news", 1)
    assert not any(frame.publish for frame in part.waiting(b))
    assert list(part.topic.peer_queues) == [b]
    part.topic.forget(c)
    assert part.topic.peer_topics == {}
    part.topic.forget(c)
    part.topic.cannot_write(c)


async def test_subscriptions_to_other_topics_are_not_remembered() -> None:
    part = Part()
    many = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"/topic/{n}") for n in range(1_000)]
    await part.topic.received(PEERS[1], rpc_pb2.RPC(subscriptions=many))
    assert part.topic.peer_topics == {}


async def test_whoever_comes_is_told_what_was_said_of_late() -> None:
    part, (_, b, c) = Part(), PEERS
    await part.join(b)
    await part.topic.publish(b"news", 1)
    await part.join(c)
    assert [frame.publish[0].data for frame in part.waiting(c) if frame.publish] == [b"news"]


async def test_who_missed_a_message_hears_of_it_wishes_for_it_and_gets_it() -> None:
    (here, there, _), one, other = PEERS, Part("a"), Part("b")
    await one.topic.publish(b"news", 1)  # nobody listened
    await other.join(here)
    await one.join()
    names = one.router.mcache.window(TOPIC)
    offer = rpc_pb2.ControlMessage(ihave=[rpc_pb2.ControlIHave(topicID=TOPIC, messageIDs=names)])
    await other.topic.received(here, rpc_pb2.RPC(control=offer))
    wish = next(frame for frame in other.waiting(here) if frame.control.iwant)
    await one.topic.can_write(there, PROTOCOLS[1])
    await one.topic.received(there, wish)
    (answer,) = (frame for frame in one.waiting(there) if frame.publish)
    assert await other.topic.take_message(here, answer.publish[0])
    assert other.taken == [(here, here, b"news")]
    await other.topic.received(here, rpc_pb2.RPC(control=offer))
    assert sum(len(frame.control.iwant) for frame in other.waiting(here)) == 1, "nobody wishes for what he has"


# --- what a neighbour wishes ----------------------------------------------------------------


def test_what_a_neighbour_wishes_is_trimmed() -> None:
    control = rpc_pb2.ControlMessage()
    for topic in (TOPIC, "/other"):
        control.ihave.add(topicID=topic, messageIDs=[b"%d" % n for n in range(1_000)])
        for _ in range(5):
            control.graft.add(topicID=topic)
            prune = control.prune.add(topicID=topic, backoff=2**40)
            prune.peers.add(peerID=b"somebody")
    control.iwant.add(messageIDs=[b"same"] * 10_000 + [bytes(1_000)])
    control.idontwant.add(messageIDs=[b"x"] * 10_000)
    kept = trimmed(control).control
    assert [(ihave.topicID, len(ihave.messageIDs)) for ihave in kept.ihave] == [(TOPIC, IDS_MAX)]
    assert [list(iwant.messageIDs) for iwant in kept.iwant] == [[b"same"]]
    assert [graft.topicID for graft in kept.graft] == [TOPIC]
    assert [(prune.topicID, prune.backoff, len(prune.peers)) for prune in kept.prune] == [(TOPIC, BACKOFF_S_MAX, 0)]
    assert not kept.idontwant


def test_wishes_for_nothing_are_nothing() -> None:
    kept = trimmed(rpc_pb2.ControlMessage()).control
    assert not (kept.ihave or kept.iwant or kept.graft or kept.prune)


# --- bounds ---------------------------------------------------------------------------------


async def test_the_router_keeps_a_bounded_number_of_bytes() -> None:
    part, (_, b, _) = Part(), PEERS
    await part.join(b)
    for n in range(100):
        await part.topic.publish(bytes(ANNOUNCEMENT_BYTES_MAX), n)
    held = sum(len(message.data) for message in part.router.mcache.msgs.values())
    assert HELD_BYTES_MAX - ANNOUNCEMENT_BYTES_MAX < held <= HELD_BYTES_MAX
    assert part.topic.peer_queues[b].size <= QUEUED_BYTES_MAX
    assert part.lost
    assert not part.router.equivocation_detection
    assert not part.router.recent_message_deliveries


async def test_a_queue_is_bounded_in_bytes_and_its_room_comes_back() -> None:
    queue, frame = Outgoing(), rpc_pb2.RPC(publish=[rpc_pb2.Message(data=bytes(60_000))])
    taken = sum(queue.push(frame) for _ in range(40))
    assert taken == QUEUED_BYTES_MAX // frame.ByteSize()
    assert await queue.pop() == frame
    assert queue.push(frame)
    assert not queue.push(frame)
    queue.close()
    while await queue.pop() is not None:
        pass
    assert queue.size == 0


def test_names_are_remembered_up_to_a_bound() -> None:
    seen = Seen()
    for n in range(SEEN_MAX + 10):
        seen.add(b"%d" % n)
    assert not seen.has(b"9")
    assert seen.has(b"10")


# --- frames ---------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 400), max_size=20))
def test_frames_come_out_as_they_went_in_however_they_are_cut(contents: list[bytes], sizes: list[int]) -> None:
    frames = [rpc_pb2.RPC(publish=[rpc_pb2.Message(data=content)]) for content in contents]
    data, reader, found = b"".join(map(framed, frames)), Frames(), list[bytes]()
    for size in sizes:
        found += reader.feed(data[:size])
        data = data[size:]
    found += reader.feed(data)
    assert [rpc_pb2.RPC.FromString(frame) for frame in found] == frames


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_a_format_error(data: bytes) -> None:
    try:
        Frames().feed(data)
    except FormatError as error:
        assert error.code == "frame_too_large"


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x81\x80\x80\x80\x00", b"\x81\x80\x40"])
def test_a_frame_beyond_the_bound_is_refused_before_it_comes(data: bytes) -> None:
    with expects("frame_too_large"):
        Frames().feed(data + b"\xff\xff")


def test_our_frames_hold_the_largest_announcement() -> None:
    message = rpc_pb2.Message(data=bytes(ANNOUNCEMENT_BYTES_MAX), signature=bytes(64), from_id=bytes(38))
    assert rpc_pb2.RPC(publish=[message]).ByteSize() < FRAME_OUT_BYTES_MAX < FRAME_BYTES_MAX
