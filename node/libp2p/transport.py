"""The network over libp2p: listening, dialling, admission, and streams by centre.

Obeys DESIGN §5 and implements `node.transport.Transport`. It keeps its own table of connections,
newest last, and uses the library for what it does well: the noise handshake, yamux, and the agreement on
protocols. When to dial and what to say on a stream is left to `node/peers.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio

from node.environment import Environment, RealEnvironment
from node.libp2p.addresses import address_of, read_address
from node.libp2p.admission import Admission
from node.libp2p.announcing import Announcer
from node.libp2p.connection import TAKE_UP_S, Connection, ours
from node.libp2p.gossip import PROTOCOLS as MESHSUB
from node.libp2p.handshake import Handshakes, Secured
from node.libp2p.host import make_host, protocol_name
from node.libp2p.sockets import connect, open_listeners, tune
from node.libp2p.strangers import Strangers
from node.libp2p.stream import Libp2pStream
from node.logs import Log, log_failure
from node.metrics import Metrics
from node.peer_id import peer_id_of
from node.tasks import Bell, Ready, start
from node.transport import Accept, ByteStream, Hear, Meet, Refused
from protocol import body_exchange, exchange, reconcile_frames
from protocol.errors import NetworkError, TrucError

PROTOCOLS: Final = (exchange.PROTOCOL, body_exchange.PROTOCOL, reconcile_frames.PROTOCOL)
DIAL_S: Final = 8.0
"""Connecting and the handshake; below what `peers.py` gives one address."""
CONNECTIONS_PER_PEER_MAX: Final = 3
"""Both may dial at once, and a restarted peer comes back before its old connection has died."""
STOP_S: Final = 3.0
"""For all goodbyes together when the node stops."""


class Libp2pTransport:
    """A `node.transport.Transport`. Runs once."""

    def __init__(
        self,
        *,
        identity_seed: bytes,
        listen: Sequence[str],
        announce: Sequence[str] = (),
        metrics: Metrics,
        log: Log,
        environment: Environment | None = None,
        protocols: Iterable[str] = PROTOCOLS,
    ) -> None:
        """`listen` and `announce` are addresses like `/ip4/0.0.0.0/tcp/4601`; port 0 lets the system choose.

        Raises:
            NetworkError: `address_unusable`.
        """
        for address in (*listen, *announce):
            read_address(address)
        self.peer_id: Final = peer_id_of(identity_seed)
        self.addresses: tuple[str, ...] = ()
        """Really bound, once `run` has started."""
        self._seed: Final = identity_seed
        self._listen: Final = tuple(listen)
        self._announce: Final = tuple(announce)
        self._protocols: Final = tuple(protocols)
        self._log: Final = log
        self._metrics: Final = metrics
        self._environment: Final[Environment] = environment or RealEnvironment()
        self._admission: Final = Admission(environment=self._environment, metrics=metrics, log=log)
        self._strangers: Final = Strangers(self._admission, log)
        self._connections: Final[dict[str, list[Connection]]] = {}
        self._changed: Final = Bell()
        self._host: Any = None
        self._handshakes: Handshakes
        self._accept: Accept
        self._hear: Hear | None = None
        self._announcer: Announcer | None = None
        self._nursery: trio.Nursery | None = None

    # --- life ---------------------------------------------------------------------------------

    async def run(self, accept: Accept, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """As `Transport.run`."""
        listeners = await open_listeners(self._listen)
        self._accept = accept
        self._make_host()
        async with self._host.run([]), trio.open_nursery() as nursery:
            self._nursery = nursery
            if self._announcer is not None:
                await start(nursery, self._announcer.run)
            await start(nursery, partial(trio.serve_listeners, self._arrived, listeners))
            self.addresses = tuple(address_of(listener.socket.getsockname()) for listener in listeners)
            self._log.info("listening", addresses=list(self.addresses), peer=self.peer_id)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None
                await self._close_all()

    def _make_host(self) -> None:
        self._host = make_host(self._seed, self._announce)
        assert str(self._host.get_id()) == self.peer_id
        for protocol in self._protocols:
            self._host.set_stream_handler(protocol_name(protocol), ours)
        if self._hear is not None:
            self._announcer = self._make_announcer(self._hear)
        self._host.get_network().set_stream_handler(self._serve)
        self._handshakes = Handshakes(self._host.get_network().upgrader, self._admission)

    def _make_announcer(self, hear: Hear) -> Announcer:
        for protocol in MESHSUB:
            self._host.set_stream_handler(protocol_name(protocol), ours)
        return Announcer(
            host=self._host,
            admission=self._admission,
            open_stream=self.open_stream,
            is_connected=self.is_connected,
            disconnected=self.disconnected,
            hear=hear,
            environment=self._environment,
            metrics=self._metrics,
            log=self._log,
        )

    async def _close_all(self) -> None:
        with trio.CancelScope(shield=True), trio.move_on_after(STOP_S):
            async with trio.open_nursery() as nursery:
                for connection in self._all():
                    nursery.start_soon(connection.close)

    # --- who ----------------------------------------------------------------------------------

    def admit(self, peers: Mapping[str, str]) -> None:
        """As `Transport.admit`."""
        self._admission.admit(peers)
        for connection in self._all():
            if self._admission.centre_of(connection.peer_id) != connection.centre:
                self._admission.refuse(connection.peer_id, connection.address, "admission_over")
                self._let_go(connection)
        if self._announcer is not None:
            self._announcer.keep()
        self._changed.ring()

    def meet(self, meet: Meet) -> None:
        """As `Transport.meet`."""
        self._admission.lobby.open(meet)

    def refused(self) -> list[Refused]:
        """Who was turned away of late, oldest first; for `/v1/peers`."""
        return self._admission.refused()

    def opens_exchange(self, centre: str) -> bool:
        """As `Transport.opens_exchange`."""
        peer_id = self._admission.peer_id_of(centre)
        return peer_id is not None and self.peer_id < peer_id

    # --- announcements ------------------------------------------------------------------------

    def announcements(self, hear: Hear) -> None:
        """As `Transport.announcements`."""
        self._hear = hear

    def announce(self, content: bytes) -> None:
        """As `Transport.announce`."""
        if self._announcer is not None:
            self._announcer.announce(content)

    async def _arrived_stream(self, centre: str, protocol: str, stream: ByteStream) -> None:
        """A stream of one of our protocols: neighbours' announcements stay here, the rest is the node's."""
        if self._announcer is not None and protocol in MESHSUB:
            await self._announcer.serve(centre, stream)
        else:
            await self._accept(centre, protocol, stream)

    # --- connections --------------------------------------------------------------------------

    def is_connected(self, centre: str) -> bool:
        """As `Transport.is_connected`."""
        return self._newest(centre) is not None

    async def connected(self, centre: str) -> None:
        """As `Transport.connected`."""
        await trio.lowlevel.checkpoint()
        while not self.is_connected(centre):
            await self._changed.next.wait()

    async def disconnected(self, centre: str) -> None:
        """As `Transport.disconnected`."""
        await trio.lowlevel.checkpoint()
        while self.is_connected(centre):
            await self._changed.next.wait()

    async def drop(self, centre: str) -> None:
        """As `Transport.drop`; goodbyes are said in the background."""
        await trio.lowlevel.checkpoint()
        for connection in self._all():
            if connection.centre == centre:
                self._let_go(connection)

    def connections(self) -> list[Connection]:
        """Those that are up, oldest first; for `/v1/peers`."""
        return [connection for connection in self._all() if connection.is_up]

    async def dial(self, centre: str, address: str) -> None:
        """As `Transport.dial`."""
        await trio.lowlevel.checkpoint()
        wanted = self._admission.peer_id_of(centre)
        if wanted is None:
            raise NetworkError("unreachable", centre=centre, reason="not admitted")
        if self.is_connected(centre):
            return
        where = read_address(address)
        if where.peer_id not in {"", wanted}:
            raise NetworkError("wrong_peer", centre=centre, expected=wanted, found=where.peer_id)
        with trio.move_on_after(DIAL_S):
            stream = await connect(centre, where)
            try:
                secured = await self._handshakes.outbound(stream, centre, wanted)
            except BaseException:
                stream.socket.close()
                raise
            await self._take_up(stream, secured, address, "outbound")
            return
        raise NetworkError("unreachable", centre=centre, reason="silent")

    async def open_stream(self, centre: str, protocol: str) -> Libp2pStream:
        """As `Transport.open_stream`."""
        await trio.lowlevel.checkpoint()
        connection = self._newest(centre)
        if connection is None:
            raise NetworkError("unreachable", centre=centre, reason="no connection")
        return await connection.open_stream(protocol)

    # --- arrivals -----------------------------------------------------------------------------

    async def _arrived(self, stream: trio.SocketStream) -> None:
        """A socket was accepted. Whatever happens to it happens to nothing else."""
        try:
            tune(stream)
            address = address_of(stream.socket.getpeername())
            secured = await self._handshakes.inbound(stream, address)
            if secured is None:
                stream.socket.close()
            elif self._admission.centre_of(secured.peer_id) is None:
                await self._strangers.receive(self._host, stream.socket, secured, address)
            else:
                await self._take_up(stream, secured, address, "inbound")
                await secured.muxed.event_closed.wait()  # the listener closes the socket after us
        except NetworkError as error:
            self._log.info("connection_lost", reason=str(error.detail.get("reason", error.code)))
        except OSError:
            stream.socket.close()  # the peer went while it was greeted
        except Exception as error:  # noqa: BLE001  # outermost frame of an arrival; the listener has to go on
            stream.socket.close()
            log_failure(self._log, "arrival_failed", error)

    async def _take_up(self, stream: trio.SocketStream, secured: Secured, address: str, direction: str) -> None:
        """Register a secured connection here and with the library.

        Raises:
            NetworkError: `unreachable`, when it ended or lost its admission meanwhile.
        """
        centre = self._admission.centre_of(secured.peer_id)
        if centre is None or self._nursery is None:
            stream.socket.close()
            raise NetworkError("unreachable", centre=centre or "?", reason="not admitted")
        connection = Connection(
            peer_id=secured.peer_id, centre=centre, address=address, host=self._host, muxed=secured.muxed
        )
        secured.muxed.attach(stream.socket, partial(self._over, connection))
        self._connections.setdefault(secured.peer_id, []).append(connection)
        await connection.register(direction)
        if connection.swarm_conn is None or not connection.is_up:
            stream.socket.close()
            self._over(connection)
            raise NetworkError("unreachable", centre=centre, reason="hung up")
        self._log.info("connected", centre=centre, address=address, direction=direction)
        self._changed.ring()
        if self._announcer is not None:
            self._announcer.connected(centre)
        self._retire_oldest(secured.peer_id)

    async def _serve(self, net_stream: Any) -> None:
        """Every inbound stream of every peer. An exception that left here would end the host."""
        if await self._strangers.serve(net_stream):
            return
        connection = self._connection_of(net_stream)
        if connection is None or self._admission.centre_of(connection.peer_id) is None:
            with trio.move_on_after(TAKE_UP_S), suppress(Exception):
                await net_stream.muxed_stream.reset()
            return
        centre = connection.centre
        try:
            await connection.serve(net_stream, partial(self._arrived_stream, centre))
        except TrucError:
            pass  # an outcome of the stream, told to whoever waits for it
        except Exception as error:  # noqa: BLE001  # outermost frame of a stream, the library's protocols included
            log_failure(self._log, "stream_failed", error, centre=centre)

    # --- the table ----------------------------------------------------------------------------

    def _all(self) -> list[Connection]:
        return [connection for several in self._connections.values() for connection in several]

    def _newest(self, centre: str) -> Connection | None:
        """The newest connection to an admitted centre that is up and known to the library."""
        several = self._connections.get(self._admission.peer_id_of(centre) or "", [])
        return next((one for one in reversed(several) if one.is_up and one.swarm_conn is not None), None)

    def _connection_of(self, net_stream: Any) -> Connection | None:
        muxed = net_stream.muxed_conn
        several = self._connections.get(str(muxed.peer_id), [])
        return next((one for one in several if one.muxed is muxed), None)

    def _retire_oldest(self, peer_id: str) -> None:
        several = self._connections.get(peer_id, [])
        if len(several) > CONNECTIONS_PER_PEER_MAX:
            self._let_go(several[0])

    def _let_go(self, connection: Connection) -> None:
        """Close a connection in the background; from now on it does not count."""
        connection.retire()
        if self._nursery is not None and connection.swarm_conn is not None:
            self._nursery.start_soon(connection.close)
        else:
            connection.muxed.abort()
        self._over(connection)

    def _over(self, connection: Connection) -> None:
        """The connection no longer counts; called again when it has really ended."""
        several = self._connections.get(connection.peer_id, [])
        if connection in several:
            several.remove(connection)
            if not several:
                del self._connections[connection.peer_id]
            self._log.info("disconnected", centre=connection.centre, reason=connection.why_over)
        self._changed.ring()
