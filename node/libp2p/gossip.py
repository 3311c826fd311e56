"""The library's GossipSub router, and what it may see of the world, with a bound on everything it keeps.

Obeys `protocol/spec/announcement.md` §2 and LIBRARIES §libp2p (defaults that lose messages silently). The router
decides who hears of what: mesh, heartbeat, IHAVE and IWANT. The library's other half, Pubsub, is not used: each of
its tasks can end the process, and its caches have no bound. In its place stands `Topic`, which holds
no streams; these are `announcing.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID, PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.rpc_queue import RpcQueue
from libp2p.pubsub.validators import PUBSUB_SIGNING_PREFIX, signature_validator

from protocol.announcement import TOPIC
from protocol.limits import ANNOUNCEMENT_BYTES_MAX, KIB, MIB

PROTOCOLS: Final = (str(PROTOCOL_ID_V11), str(PROTOCOL_ID))
"""The newest first. 1.2 and later add nothing that messages of 64 KiB need."""
MESH: Final = 4
MESH_MIN: Final = 3
MESH_MAX: Final = 8
HEARTBEAT_S: Final = 1
"""The library's own 120 s would leave a new mesh empty for two minutes."""
SEEN_MAX: Final = 16_384
"""Messages remembered: 94 publishers who all use up their allowance twice."""
HELD_BYTES_MAX: Final = 4 * MIB
"""Contents kept for five heartbeats for those who ask by IWANT; above it, messages are not passed on."""
QUEUED_BYTES_MAX: Final = MIB
"""Waiting for one neighbour that does not read; above it, messages for him are lost."""
FRAME_BYTES_MAX: Final = MIB
"""One frame of a neighbour; other implementations fill answers to IWANT up to here."""
FRAME_OUT_BYTES_MAX: Final = 128 * KIB
"""One frame of ours: an announcement and its signature, or several small ones."""
MESSAGES_FRAME_MAX: Final = 64
"""Messages read of one frame; five heartbeats of a busy hour."""
IDS_MAX: Final = 64
"""Message ids read of one frame's IHAVE, and of its IWANT; without it one frame could ask for gigabytes."""
ID_BYTES_MAX: Final = 128
"""A peer id of the largest kind and a sequence number."""
SEQUENCE_BYTES: Final = 8
SIGNATURE_BYTES_MAX: Final = KIB
"""RSA of 8,192 bits; Ed25519 needs 64."""
PENDING_MAX: Final = 1
"""Messages kept for a neighbour that has not said what he listens to; 0 would mean all of them, in this library."""
BACKOFF_S_MAX: Final = 3_600
"""A neighbour can ask to be left alone for so long."""

Frame = Any
"""An `RPC` of the pubsub protocol; the library's generated classes have no types."""


class Seen:
    """Names of messages, so many of the newest."""

    def __init__(self) -> None:
        self._names: dict[bytes, None] = {}

    def has(self, name: bytes) -> bool:
        """Whether it is remembered."""
        return name in self._names

    def add(self, name: bytes) -> None:
        """Remember it."""
        self._names[name] = None
        if len(self._names) > SEEN_MAX:
            del self._names[next(iter(self._names))]


class Outgoing(RpcQueue):
    """Frames for one neighbour; what exceeds its bytes is refused, as what exceeds its number."""

    def __init__(self) -> None:
        super().__init__(max_message_size=FRAME_OUT_BYTES_MAX)
        self.size = 0

    def push(self, rpc: Frame, priority: bool = False) -> bool:
        """Whether there was room."""
        size = rpc.ByteSize()
        if self.size + size > QUEUED_BYTES_MAX or not super().push(rpc, priority):
            return False
        self.size += size
        return True

    async def pop(self) -> Frame | None:
        """The next frame; None when the queue was closed."""
        rpc = await super().pop()
        if rpc is not None:
            self.size -= rpc.ByteSize()
        return rpc


class Router(GossipSub):
    """The library's router without what is optional, unbounded, or dials."""

    def __init__(self, on_lost: Callable[[], object]) -> None:
        """`on_lost` is told of every frame or message that had no room."""
        super().__init__(
            protocols=[TProtocol(name) for name in PROTOCOLS],
            degree=MESH,
            degree_low=MESH_MIN,
            degree_high=MESH_MAX,
            heartbeat_interval=HEARTBEAT_S,
            adaptive_gossip_enabled=False,
            spam_protection_enabled=False,
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=PENDING_MAX,
        )
        self.scorer = None  # publishers are judged by what they say, in node/announcements.py
        self._on_lost: Final = on_lost

    async def publish(self, msg_forwarder: ID, pubsub_msg: Any) -> None:
        """Pass a message on, if there is room to keep it for those who ask."""
        held = sum(len(message.data) for message in self.mcache.msgs.values())
        if held + len(pubsub_msg.data) > HELD_BYTES_MAX:
            self._on_lost()
            return
        await super().publish(msg_forwarder, pubsub_msg)
        self.recent_message_deliveries.clear()  # would grow for ever while adaptive gossip is off

    def _check_equivocation(self, msg: Any) -> bool:
        """The library keeps 1,000 whole messages to compare; the names that `Topic` has seen do as well."""
        return True

    async def _do_px(self, px_peers: Sequence[Any]) -> None:
        """Whom to dial is the directory's business, never a neighbour's."""

    def _handle_dropped_rpc(self, peer_id: ID, rpc: Frame, reason: str) -> None:
        super()._handle_dropped_rpc(peer_id, rpc, reason)
        self._on_lost()


class Topic:
    """Who listens, what was seen, and how messages are signed: what the router asks of a Pubsub."""

    def __init__(self, host: Any, router: Router, take: Callable[[ID, ID, bytes], bool]) -> None:
        """`take` is told of each new, rightly signed message: forwarder, publisher, content; whether to pass it on."""
        self._me: Final[ID] = host.get_id()
        self._key: Final = host.get_private_key()
        self._router: Final = router
        self._take: Final = take
        self._sequence = 0
        self.peers: Final[dict[ID, ID]] = {}
        """Neighbours that we can write to."""
        self.peer_queues: Final[dict[ID, Outgoing]] = {}
        self.peer_topics: Final[dict[str, set[ID]]] = {}
        self.seen_messages: Final = Seen()
        router.attach(self)  # type: ignore[arg-type]

    # --- what the router asks -----------------------------------------------------------------

    def get_message_id(self, message: Any) -> bytes:
        """Publisher and number; with any other id the router's IHAVE and IWANT find nothing."""
        return bytes(message.from_id + message.seqno)

    async def write_msg(self, peer: ID, rpc: Frame) -> bool:
        """In its turn, behind what waits already."""
        self._router.send_rpc(peer, rpc)
        return True

    # --- neighbours ---------------------------------------------------------------------------

    def hello(self) -> Frame:
        """The first frame on a stream of ours."""
        return rpc_pb2.RPC(subscriptions=[rpc_pb2.RPC.SubOpts(subscribe=True, topicid=TOPIC)])

    async def can_write(self, peer: ID, protocol: str) -> Outgoing:
        """From now on frames for this neighbour are put into the queue returned."""
        self._router.add_peer(peer, TProtocol(protocol))
        self.peers[peer] = peer
        queue = self.peer_queues[peer] = Outgoing()
        if peer in self.peer_topics.get(TOPIC, ()):
            await self._listens(peer)
        return queue

    def cannot_write(self, peer: ID) -> None:
        """The stream to this neighbour is over."""
        if self.peers.pop(peer, None) is not None:
            self.peer_queues.pop(peer).close()
            self._router.remove_peer(peer)

    def forget(self, peer: ID) -> None:
        """The stream from this neighbour is over: he listens to nothing."""
        listeners = self.peer_topics.get(TOPIC, set())
        listeners.discard(peer)
        if not listeners:
            self.peer_topics.pop(TOPIC, None)
        for mesh in self._router.mesh.values():
            mesh.discard(peer)

    # --- messages -----------------------------------------------------------------------------

    async def publish(self, content: bytes, sequence: int) -> None:
        """Sign and send a message. `sequence` is any number that this peer id did not use lately."""
        self._sequence = max(self._sequence + 1, sequence)
        message = rpc_pb2.Message(
            data=content,
            topicIDs=[TOPIC],
            from_id=self._me.to_bytes(),
            seqno=self._sequence.to_bytes(SEQUENCE_BYTES, "big"),
        )
        message.signature = self._key.sign(PUBSUB_SIGNING_PREFIX.encode() + message.SerializeToString())
        self.seen_messages.add(self.get_message_id(message))
        await self._router.publish(self._me, message)

    async def received(self, peer: ID, frame: Frame) -> None:
        """Everything in one frame of a neighbour but its messages, for which see `take_message`."""
        for subscription in frame.subscriptions[:MESSAGES_FRAME_MAX]:
            if subscription.topicid == TOPIC and subscription.subscribe:
                self.peer_topics.setdefault(TOPIC, set()).add(peer)
                await self._listens(peer)
            elif subscription.topicid == TOPIC:
                self.forget(peer)
        if frame.HasField("control"):
            await self._router.handle_rpc(trimmed(frame.control), peer)

    async def take_message(self, forwarder: ID, message: Any) -> bool:
        """Take in one message of a frame; False if it was not rightly signed, or of another topic."""
        if not _is_shaped(message):
            return False
        name = self.get_message_id(message)
        if self.seen_messages.has(name):
            return True
        publisher = ID(message.from_id)
        if not _is_signed(message):
            return False
        self.seen_messages.add(name)
        if publisher != self._me and self._take(forwarder, publisher, message.data):
            await self._router.publish(forwarder, message)
        return True

    async def _listens(self, peer: ID) -> None:
        """A neighbour listens and can be written to: into the mesh with him, and what he may have missed."""
        if peer in self.peers:
            await self._router.flush_pending_messages(peer)
            await self._router.on_peer_subscribed(peer, TOPIC)
            await self._router.send_recent_messages(peer, TOPIC)


def trimmed(control: Any) -> Frame:
    """A frame with what the router may see of a neighbour's control message: this topic, few ids, no peers."""
    frame = rpc_pb2.RPC()
    kept = frame.control
    kept.SetInParent()
    offered = [name for ihave in control.ihave if ihave.topicID == TOPIC for name in ihave.messageIDs[:IDS_MAX]]
    wanted = [name for iwant in control.iwant for name in iwant.messageIDs[:IDS_MAX]]
    if ids := _few(offered):
        kept.ihave.add(topicID=TOPIC, messageIDs=ids)
    if ids := _few(wanted):
        kept.iwant.add(messageIDs=ids)
    if any(graft.topicID == TOPIC for graft in control.graft):
        kept.graft.add(topicID=TOPIC)
    prune = next((prune for prune in control.prune if prune.topicID == TOPIC), None)
    if prune is not None:
        kept.prune.add(topicID=TOPIC, backoff=min(prune.backoff, BACKOFF_S_MAX))
    return frame


def _few(ids: Sequence[bytes]) -> list[bytes]:
    return list(dict.fromkeys(name for name in ids if len(name) <= ID_BYTES_MAX))[:IDS_MAX]


def _is_shaped(message: Any) -> bool:
    return (
        list(message.topicIDs) == [TOPIC]
        and len(message.seqno) == SEQUENCE_BYTES
        and 0 < len(message.from_id) <= ID_BYTES_MAX - SEQUENCE_BYTES
        and 0 < len(message.signature) <= SIGNATURE_BYTES_MAX
        and len(message.key) <= SIGNATURE_BYTES_MAX
        and len(message.data) <= ANNOUNCEMENT_BYTES_MAX
    )


def _is_signed(message: Any) -> bool:
    try:
        return bool(signature_validator(message))
    except Exception:  # noqa: BLE001  # parsers of keys, fed by strangers: whatever they raise, it is no signature
        return False
