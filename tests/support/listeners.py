"""Transports that take part in announcements, and hosts of the library as it comes that do as well."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from libp2p.crypto.x25519 import create_new_key_pair as new_noise_key
from libp2p.custom_types import TProtocol
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pubsub import Pubsub
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport as Noise
from libp2p.tools.anyio_service import background_trio_service

from node.environment import Environment, RealEnvironment
from node.libp2p.transport import Libp2pTransport
from protocol.announcement import TOPIC
from tests.support.libp2p import Place, identity_of, stock_host


class StoppedClock(RealEnvironment):
    """Time in which no allowance grows back, and no bar ends."""

    def monotonic_ms(self) -> int:
        """Always the same moment."""
        return 1_000_000


class Listener(Place):
    """A place that remembers what it hears; `worth` is what it answers."""

    def __init__(self, label: str, *, environment: Environment | None = None) -> None:
        super().__init__(label)
        if environment is not None:
            self.transport = Libp2pTransport(
                identity_seed=self.seed,
                listen=[self.address],
                metrics=self.metrics,
                log=self.log,
                environment=environment,
            )
        self.heard: list[tuple[str, bytes]] = []
        self.worth = True
        self.transport.announcements(self.hear)

    def hear(self, centre: str, content: bytes) -> bool:
        """As `node.transport.Hear`."""
        self.heard.append((centre, content))
        return self.worth

    def contents(self) -> list[bytes]:
        """What was heard, whoever said it."""
        return [content for _, content in self.heard]

    def counted(self, outcome: str) -> int:
        """How many announcements came to this."""
        return int(self.metrics.announcements.labels(outcome=outcome)._value.get())

    def neighbours(self) -> int:
        """With how many there is a stream in both directions."""
        return neighbours_of(self.transport)


def neighbours_of(transport: Any) -> int:
    """With how many peers a transport has announcement streams in both directions."""
    topic = transport._announcer._topic
    return len(topic.peers.keys() & topic.peer_topics.get(TOPIC, set()))


@asynccontextmanager
async def stock_pubsub(seed: bytes, protocols: Sequence[str]) -> AsyncIterator[tuple[Any, Pubsub, Any]]:
    """Host, Pubsub and subscription of the library as they come, but for the heartbeat."""
    router = GossipSub(
        [TProtocol(one) for one in protocols], degree=4, degree_low=3, degree_high=8, heartbeat_interval=1
    )
    security = {NOISE: Noise(identity_of(seed), noise_privkey=new_noise_key().private_key)}
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(stock_host(seed, security))
        pubsub = Pubsub(host, router)
        await stack.enter_async_context(background_trio_service(pubsub))
        await stack.enter_async_context(background_trio_service(router))
        await pubsub.wait_until_ready()
        yield host, pubsub, await pubsub.subscribe(TOPIC)
        pubsub.seen_messages.stop()
