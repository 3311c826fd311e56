"""Keeps one exchange link with every centre of the directory.

Obeys DESIGN §5: own reconnect loop with address rotation, back-off that belongs to the peer and
is capped, any sign of life wakes it at once, and an own centre is reached over the loop-back
stream. A peer that breaks the rules of its streams is left alone for a while that grows; to one that
does not seem to know us we introduce ourselves. Which addresses a centre has comes from its node
record and the configuration; who is admitted is `node/admitting.py`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from node.body_server import BodyServer
from node.conduct import Conducts
from node.directory_server import DirectoryServer
from node.environment import Environment
from node.free_memory import FreeMemory
from node.introduction import Introducer, Introductions
from node.link_table import Links
from node.links import Link
from node.logs import Log, log_failure
from node.loopback import EchoStream
from node.metrics import Metrics
from node.returner import Returner
from node.sender import Sender
from node.tasks import Ready, start
from node.transport import ByteStream, Refused, Transport
from protocol import body_exchange, exchange, reconcile_frames
from protocol.errors import FormatError, NetworkError, TrucError
from protocol.exchange import Hello

DIAL_S: Final = 10
"""One address gets this long; a silent server would hang a dial for minutes."""
OPEN_S: Final = 10
"""A connected peer that accepts no stream for so long is taken for gone."""
BACKOFF_FIRST_S: Final = 0.5
TWIN_ALIVE_S: Final = 25
"""A peer that was heard so recently lives; a ping comes every 20 seconds."""
PEER_OPENS_S: Final = 30
"""The peer whose part it is opens its exchange stream at once when it is connected. Less a random part:
two that opened at the same moment would each give up the other's link."""
KNOWS_US_S: Final = 60
"""Whoever had a link with us so recently knows us, however it ended."""
HANG_UP_S: Final = 1
"""A stranger that was believed is let go at once, to come back as a peer; one that was known stays."""
UNHEARD_BACKOFF_S: Final = 60
"""Longest pause before a peer is tried again that is there and does not know us: the registrar may have
signed our record a minute ago."""
LET_GO_MAX: Final = 64
"""Peers that lost their admission, remembered for `/v1/peers`; older ones are in the log."""
HELLOS: Final = 16
"""Peers that came, after which free memory is given back: the allocator keeps 280 KB of every handshake."""
STEADY_S: Final = 30
"""A link that stood this long was a good one: the next back-off begins small again."""


@dataclass(slots=True)
class Peer:
    """One centre as the network shows it."""

    centre: str
    peer_id: str = ""
    addresses: tuple[str, ...] = ()
    failures: int = 0
    unheard: int = 0
    """Connections in a row on which it never said hello: perhaps it does not know us. An odd number
    calls for an introduction; even ones do not, for older releases hear none."""
    spoke_ms: int | None = None
    """When it last said hello, or a link with it ended."""
    state: str = "new"
    reason: str = ""
    since_ms: int = 0
    hello: Hello | None = None
    wake: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


MakeLink = Callable[[str, ByteStream, Callable[[Link, Hello], None]], Link]


class Peers:
    """Connections, links, and what is known about each peer."""

    def __init__(
        self,
        *,
        own: str,
        transport: Transport,
        links: Links,
        make_link: MakeLink,
        body_server: BodyServer,
        directory_server: DirectoryServer,
        sender: Sender,
        returner: Returner,
        environment: Environment,
        metrics: Metrics,
        log: Log,
        backoff_max_s: float,
        conducts: Conducts,
        introductions: Introductions,
        introducer: Introducer,
        on_hello: Callable[[Hello], None],
        on_twin: Callable[[str], None],
    ) -> None:
        """`on_hello` is told of every peer whose link counts from now on, `on_twin` of a peer
        that says it knows another store under our name."""
        self._own: Final = own
        self._transport: Final = transport
        self._links: Final = links
        self._make_link: Final = make_link
        self._body_server: Final = body_server
        self._directory_server: Final = directory_server
        self._sender: Final = sender
        self._returner: Final = returner
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._backoff_max_s: Final = backoff_max_s
        self._conducts: Final = conducts
        self._introductions: Final = introductions
        self._introducer: Final = introducer
        self._on_hello: Final = on_hello
        self._on_twin: Final = on_twin
        self._peers: dict[str, Peer] = {}
        self._let_go: Final[deque[Refused]] = deque(maxlen=LET_GO_MAX)
        self._nursery: trio.Nursery | None = None
        self._free_memory: Final = FreeMemory(environment, HELLOS)

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Keep links until cancelled."""
        async with trio.open_nursery() as self._nursery:
            self._transport.meet(self._introductions.meet)
            await start(self._nursery, self._transport.run, self._accept)
            self._nursery.start_soon(self._keep_own)
            await start(self._nursery, self._free_memory.run)
            task_status.started()

    def admit(
        self,
        peers: Mapping[str, tuple[str, tuple[str, ...]]],
        *,
        contacts: Collection[str] = (),
        why_not: Callable[[str, str], str] = lambda _centre, _peer_id: "not_named",
    ) -> None:
        """From now on these are our peers: centre → (peer id, addresses). Others are let go; `why_not` says why of
        a centre and its peer id. `contacts` are those whom the directory does not name: they may not know us either."""
        assert self._nursery is not None, "admit comes after run has started"
        for peer in list(self._peers.values()):
            if peers.get(peer.centre, ("",))[0] != peer.peer_id:
                self._lose(peer, why_not(peer.centre, peer.peer_id))
        self._transport.admit({centre: peer_id for centre, (peer_id, _) in peers.items() if centre != self._own})
        for centre in set(self._peers) - set(peers):
            self._peers.pop(centre).scope.cancel()
        for centre, (peer_id, addresses) in peers.items():
            if centre == self._own:
                continue
            known = self._peers.get(centre)
            if known is None:
                known = self._peers[centre] = Peer(centre, peer_id, unheard=int(centre in contacts))
                self._nursery.start_soon(self._keep, known)
            elif known.peer_id != peer_id:
                known.peer_id, known.unheard = peer_id, 0
                self.wake(centre)
            self.reach(centre, addresses)

    def _lose(self, peer: Peer, why: str) -> None:
        now_ms = self._environment.now_ms()
        self._let_go.append(Refused(peer_id=peer.peer_id, address="", reason=why, time_ms=now_ms))
        self._log.warning("peer_let_go", centre=peer.centre, peer=peer.peer_id, reason=why)

    def reach(self, centre: str, addresses: tuple[str, ...]) -> None:
        """From now on an admitted centre is looked for at these addresses."""
        peer = self._peers.get(centre)
        if peer is not None and peer.addresses != addresses:
            peer.addresses = addresses
            self.wake(centre)

    def wake(self, centre: str) -> None:
        """A sign of life: try this peer now, whatever its back-off says."""
        peer = self._peers.get(centre)
        if peer is not None:
            peer.failures = 0
            peer.wake.set()

    def all(self) -> list[Peer]:
        """What is known about each peer, for `/v1/peers`."""
        return sorted(self._peers.values(), key=lambda peer: peer.centre)

    def refused(self) -> Sequence[Refused]:
        """Who was turned away or let go of late, oldest first, with the reason."""
        return sorted((*self._let_go, *self._transport.refused()), key=lambda one: one.time_ms)

    def states(self) -> dict[str, int]:
        """How many peers are in each state."""
        return dict(Counter(peer.state for peer in self._peers.values()))

    # --- keeping a link -----------------------------------------------------------------------

    async def _keep(self, peer: Peer) -> None:
        with peer.scope:
            while True:
                try:
                    await self._connect(peer)
                    await self._hold(peer)
                except NetworkError as error:
                    self._failed(peer, error)
                await self._back_off(peer)

    async def _connect(self, peer: Peer) -> None:
        """A connection to the peer, whoever makes it."""
        if self._transport.is_connected(peer.centre):
            return
        if not peer.addresses:
            self._note(peer, "waiting", "no_address")
            await self._transport.connected(peer.centre)
            return
        address = peer.addresses[peer.failures % len(peer.addresses)]
        self._note(peer, "dialling", address)
        with trio.move_on_after(DIAL_S) as patience:
            await self._transport.dial(peer.centre, address)
        if patience.cancelled_caught:
            raise NetworkError("unreachable", centre=peer.centre, reason="silent")

    async def _hold(self, peer: Peer) -> None:
        """Stay while the connection stands; open the exchange stream if that is our part.

        Raises:
            NetworkError: always, in the end: why it is over.
        """
        try:
            if peer.unheard % 2:
                await self._introduce(peer)
            await self._link(peer)
        except NetworkError:
            peer.unheard += not self._knows_us(peer)
            raise

    def _knows_us(self, peer: Peer) -> bool:
        if self._links.get(peer.centre) is not None:
            return True
        return peer.spoke_ms is not None and self._environment.monotonic_ms() - peer.spoke_ms < KNOWS_US_S * 1000

    async def _introduce(self, peer: Peer) -> None:
        """Show who we are, and come back as a peer."""
        self._note(peer, "introducing", "")
        await self._introducer.introduce(peer.centre)
        peer.unheard = 0
        with trio.move_on_after(HANG_UP_S):
            await self._transport.disconnected(peer.centre)
        await self._connect(peer)

    async def _link(self, peer: Peer) -> None:
        if not self._transport.opens_exchange(peer.centre):
            await self._wait_for_the_opener(peer)
        stream = await self._open(peer.centre)
        self._metrics.streams_opened.labels(protocol="exchange").inc()
        why = await self._live(peer.centre, stream)
        raise NetworkError("link_over", centre=peer.centre, reason=why)

    async def _wait_for_the_opener(self, peer: Peer) -> None:
        """Return when the peer, whose part it is, has long enough opened no exchange stream. A daemon
        with our key elsewhere may have it: only our own hello brings that to light.

        Raises:
            NetworkError: the connection is over.
        """
        self._note(peer, "connected", "peer_opens")
        waits = True
        while waits:
            patience_s = PEER_OPENS_S * (0.5 + self._environment.jitter() / 2)
            with trio.move_on_after(patience_s) as patience:
                await self._transport.disconnected(peer.centre)
            if not patience.cancelled_caught:
                raise NetworkError("unreachable", centre=peer.centre, reason="disconnected")
            link = self._links.get(peer.centre)
            waits = link is not None and link.is_up
            if link is not None and waits:
                await link.over.wait()

    async def _open(self, centre: str) -> ByteStream:
        try:
            with trio.fail_after(OPEN_S):
                return await self._transport.open_stream(centre, exchange.PROTOCOL)
        except (NetworkError, trio.TooSlowError) as error:
            await self._transport.drop(centre)  # a connection that takes no stream is none
            raise NetworkError("unreachable", centre=centre, reason="no_stream") from error

    def _failed(self, peer: Peer, error: NetworkError) -> None:
        if self._has_link(peer):
            return  # a failed dial of ours says nothing about the link that the peer has made
        reason = str(error.detail.get("reason", error.code))
        if peer.failures == 0 and error.code != "link_over":  # that one was told when the link ended
            self._log.info("peer_down", centre=peer.centre, code=error.code, reason=reason)
        peer.failures += 1
        self._note(peer, "down", reason)

    async def _back_off(self, peer: Peer) -> None:
        peer.wake = trio.Event()
        exponent = min(peer.failures, 20) - 1
        longest_s = min(self._backoff_max_s, UNHEARD_BACKOFF_S) if peer.unheard else self._backoff_max_s
        delay_s = min(BACKOFF_FIRST_S * 2**exponent, longest_s) * (0.5 + self._environment.jitter() / 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wake_when_connected, peer)
            with trio.move_on_after(delay_s):
                await peer.wake.wait()
            await trio.sleep(self._conducts.of(peer.centre).barred_ms / 1000)  # no sign of life shortens this
            nursery.cancel_scope.cancel()

    async def _wake_when_connected(self, peer: Peer) -> None:
        """A new connection is a sign of life; one that still stands is not."""
        await self._transport.disconnected(peer.centre)
        await self._transport.connected(peer.centre)
        peer.wake.set()

    def _has_link(self, peer: Peer) -> bool:
        link = self._links.get(peer.centre)
        return link is not None and link.is_up

    def _note(self, peer: Peer, state: str, reason: str) -> None:
        if state != "up" and self._links.get(peer.centre) is not None:
            return  # the peer has said hello, if not we: trying another way says nothing
        peer.state, peer.reason, peer.since_ms = state, reason, self._environment.monotonic_ms()

    # --- living on a stream -------------------------------------------------------------------

    async def _keep_own(self) -> None:
        """Recipients hosted here are reached like all others, over a stream to ourselves."""
        while True:
            await self._live(self._own, EchoStream())
            await trio.sleep(BACKOFF_FIRST_S)

    async def _accept(self, centre: str, protocol: str, stream: ByteStream) -> None:
        """A peer opened a stream. Whatever goes wrong in it ends this stream and nothing else."""
        conduct = self._conducts.of(centre)
        try:
            if protocol == exchange.PROTOCOL and conduct.may_open():
                self.wake(centre)
                await self._live(centre, stream)
            elif protocol == body_exchange.PROTOCOL and not conduct.barred_ms:
                await self._body_server.serve(centre, stream)
            elif protocol == reconcile_frames.PROTOCOL and not conduct.barred_ms:
                await self._directory_server.serve(centre, stream)
            else:
                await stream.reset()
        except TrucError as error:
            if isinstance(error, FormatError) and error.code != "frame_truncated":
                conduct.broke(error.code)
            self._log.info("stream_over", centre=centre, protocol=protocol, code=error.code)
        except Exception as error:  # noqa: BLE001  # the outermost frame of a service: one stream, not the node
            log_failure(self._log, "stream_failed", error, centre=centre, protocol=protocol)

    async def _live(self, centre: str, stream: ByteStream) -> str:
        """Run a link on a stream; why it ended."""
        link = self._make_link(centre, stream, self._up)
        self._links.add(link)
        try:
            await link.run()
        except Exception as error:  # noqa: BLE001  # the outermost frame of a link: one peer, not the node
            log_failure(self._log, "link_failed", error, centre=centre)
            link.why_over = "failed"
        finally:
            link.over.set()
            if self._links.remove(link):
                self._sender.peer_down(centre)
                self._returner.peer_down(centre)
                self._down(centre, link.why_over)
        if link.told_twin:
            self._on_twin(centre)
        return link.why_over

    def _down(self, centre: str, why: str) -> None:
        """The link that counted is over, whoever opened it."""
        peer = self._peers.get(centre)
        if peer is not None:
            self._log.info("peer_down", centre=centre, code="link_over", reason=why)
            lived_s = (self._environment.monotonic_ms() - peer.since_ms) / 1000
            peer.failures = 0 if lived_s >= STEADY_S else peer.failures
            peer.hello, peer.spoke_ms = None, self._environment.monotonic_ms()
            self._note(peer, "connected" if self._transport.is_connected(centre) else "down", why)

    def _is_twin(self, link: Link, hello: Hello) -> bool:
        """A second store answers to the name of a peer that is alive at this moment (DECISIONS)."""
        current = self._links.get(link.centre)
        if current is None or current.hello is None or link.centre == self._own:
            return False
        silent_s = (self._environment.monotonic_ms() - current.heard_ms) / 1000
        differs = current.hello.incarnation != hello.incarnation or hello.given < current.hello.given
        return differs and silent_s < TWIN_ALIVE_S

    def _up(self, link: Link, hello: Hello) -> None:
        """Both sides have said hello: what is owed may go."""
        if self._is_twin(link, hello):
            self._log.error("alarm", code="twin", centre=link.centre, subject=hello.incarnation.hex())
            link.part("twin")
            return
        self._links.promote(link)
        self._on_hello(hello)
        peer = self._peers.get(link.centre)
        if peer is not None:
            peer.hello, peer.unheard = hello, 0
            peer.spoke_ms = self._environment.monotonic_ms()
            self._note(peer, "up", "")
            self._log.info("peer_up", centre=link.centre)
            self._free_memory.used()
        self._returner.peer_up(link.centre)
        self._sender.peer_up(link.centre)
