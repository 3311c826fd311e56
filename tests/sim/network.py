"""A network in memory that behaves like libp2p over TCP, with all that can go wrong on the way.

Implements `node.transport` (DESIGN §5, §8). Nothing is lost or reordered inside a stream that
lives; streams break and lose what nobody has read, sides can believe in connections that are gone,
links can be cut, slow, or let dials hang. One task per network wakes for the next thing that
is due; nothing polls. Faults are counted in `struck` when they really hit something.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from random import Random
from typing import Final

import trio

from node.lobby import VISIT_S, Lobby
from node.tasks import Ready
from node.transport import Accept, ByteStream, Hear, Meet, Refused
from protocol.errors import NetworkError, TrucError
from tests.sim.announced import Announced, chance_of_announcements

DIRECTORY: Final = "/truc/directory/1.0.0"
PROTOCOLS: Final = ("/truc/exchange/1.0.0", "/truc/body/1.0.0", DIRECTORY)
WINDOW_BYTES: Final = 256 * 1024
"""Written and not yet read, per direction of a stream: what TCP and muxer would buffer."""
PATIENCE_SECONDS: Final = 5.0
"""After this a dial or the opening of a stream is given up."""
SLOW_SECONDS: Final = 0.2
"""A piece that takes longer than this to send has met a slow link."""
DELAY_SECONDS: Final = 0.008
"""One way, on average."""

Tap = Callable[[str, str, str, int, bytes], None]
"""Told (from centre, to centre, protocol, stream number, bytes) when a node hands bytes over."""


class Schedule:
    """Calls functions at virtual times, in order; one task for the whole network."""

    def __init__(self) -> None:
        self._due: Final[list[tuple[float, int, Callable[[], None]]]] = []
        self._order: Final = count()
        self._sooner = trio.Event()

    def at(self, time: float, call: Callable[[], None]) -> None:
        """Have this called at a time."""
        sooner = not self._due or time < self._due[0][0]
        heapq.heappush(self._due, (time, next(self._order), call))
        if sooner:
            self._sooner.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            while self._due and self._due[0][0] <= trio.current_time():
                heapq.heappop(self._due)[2]()
            with trio.move_on_at(self._due[0][0] if self._due else float("inf")):
                await self._sooner.wait()
            self._sooner = trio.Event()


@dataclass(slots=True)
class Link:
    """What lies between two machines."""

    cut: bool = False
    bytes_per_second: float = 0.0
    """0: as fast as you like."""
    delay_factor: float = 1.0
    waiting: list[Callable[[], None]] = field(default_factory=list)
    """What will go on when the link is mended."""


class MemoryNetwork:
    """All machines and what lies between them. Run `run` in a nursery beside the nodes."""

    def __init__(self, chance: Random) -> None:
        self.chance: Final = chance
        self.schedule: Final = Schedule()
        self.struck: Final[Counter[str]] = Counter()
        self.taps: Final[list[Tap]] = []
        self.errors: Final[list[BaseException]] = []
        """What `accept` raised beside outcomes of the catalogue: never to be forgiven."""
        self.listening: Final[dict[str, MemoryTransport]] = {}
        self.hanging: Final[set[str]] = set()
        """Peer ids whose machines take connections and then say nothing."""
        self.streams_opened = 0
        self.announcing: Final = chance_of_announcements()
        self.announcements_lost = 0.0
        """Which part of all announcements, between two neighbours."""
        self._links: Final[dict[frozenset[str], Link]] = {}
        self._numbers: Final = count(1)

    async def run(self) -> None:
        """Move bytes until cancelled."""
        await self.schedule.run()

    def transport(
        self, peer_id: str, addresses: Sequence[str], *, centre: str = "", protocols: Iterable[str] = PROTOCOLS
    ) -> MemoryTransport:
        """One life of a node's network; `centre` names it in taps."""
        return MemoryTransport(self, peer_id, tuple(addresses), centre or peer_id, frozenset(protocols))

    def link(self, a: str, b: str) -> Link:
        """What lies between two peer ids."""
        pair = frozenset((a, b))
        link = self._links.get(pair)
        if link is None:
            link = self._links[pair] = Link()
        return link

    def cut(self, a: str, b: str) -> None:
        """Let nothing pass between two machines; connections do not notice."""
        self.link(a, b).cut = True

    def mend(self, a: str, b: str) -> None:
        """Let everything pass again, fast."""
        link = self.link(a, b)
        link.cut, link.bytes_per_second, link.delay_factor = False, 0.0, 1.0
        waiting, link.waiting = link.waiting, []
        for resume in waiting:
            resume()

    def mend_all(self) -> None:
        """No faults any more."""
        self.hanging.clear()
        for pair in list(self._links):
            self.mend(*(sorted(pair) if len(pair) == 2 else [*pair, *pair]))

    def break_connections(self, a: str, b: str) -> None:
        """A reset in the middle: both sides learn of it after a moment."""
        for end in self._ends(a, b):
            self.struck["reset"] += bool(end.streams)
            self.schedule.at(self.arrival(a, b), end.die)

    def half_open(self, a: str, b: str) -> None:
        """The connection ends for `b`; `a` goes on believing in it, and what it writes vanishes."""
        for end in self._ends(a, b):
            if end.transport.peer_id == b and end.up:
                self.struck["half_open"] += 1
                end.die()
            end.deserted = end.forgotten = True

    def arrival(self, a: str, b: str, size: int = 0, after: float = 0.0) -> float:
        """When something sent now arrives."""
        link = self.link(a, b)
        sending = size / link.bytes_per_second if link.bytes_per_second else 0.0
        if sending > SLOW_SECONDS:
            self.struck["slow"] += 1
        delay = DELAY_SECONDS * link.delay_factor * (0.5 + self.chance.random())
        return max(after, trio.current_time()) + sending + delay

    def number(self) -> int:
        """A number for a stream, in the order of opening."""
        return next(self._numbers)

    def _ends(self, a: str, b: str) -> list[_End]:
        transports = (self.listening.get(a), self.listening.get(b))
        ends = [end for transport in transports if transport for end in transport.ends]
        return [end for end in ends if {end.transport.peer_id, end.peer_id} == {a, b}]


class _End:
    """One side of a connection."""

    def __init__(self, transport: MemoryTransport, peer_id: str) -> None:
        self.transport: Final = transport
        self.peer_id: Final = peer_id
        self.other: _End
        self.up = True
        self.deserted = False
        """The other side is gone and has not said so."""
        self.forgotten = False
        """Something on the way has forgotten the connection: not even a reset comes back."""
        self.streams: Final[dict[MemoryStream, None]] = {}

    def die(self) -> None:
        """This side learns that the connection is gone."""
        if not self.up:
            return
        self.up = False
        self.transport.lose_end(self)
        for stream in list(self.streams):
            stream.break_here()
        self.transport.notice(self.peer_id)

    def hang_up(self) -> None:
        """Close from this side; the other one learns of it, if anything still reaches it."""
        if not self.up:
            return
        self.die()
        self.reach_other(self.other.die)

    def reach_other(self, call: Callable[[], None]) -> None:
        """Have something happen at the other side after a moment; not while the link is cut."""
        network, here, there = self.transport.network, self.transport.peer_id, self.peer_id
        if self.deserted or self.transport.is_dead:
            return
        if network.link(here, there).cut:
            network.struck["partition"] += 1
            return  # a FIN or RST that is lost is not repeated: the other side stays half open
        network.schedule.at(network.arrival(here, there), call)


class _Pipe:
    """One direction of a stream: what was written, travels, and waits to be read."""

    def __init__(self, writer: _End, reader: _End) -> None:
        self.writer: Final = writer
        self.reader: Final = reader
        self.travelling: Final[deque[tuple[float, bytes]]] = deque()
        self.arrived: Final[deque[bytes]] = deque()
        self.outstanding = 0
        """Bytes written and not yet read."""
        self.closed = False
        self.ended = False
        """The reader has been told that nothing more comes."""
        self.broken_for_writer = False
        self.broken_for_reader = False
        self.room = trio.Event()
        self.news = trio.Event()
        self._last = 0.0
        self._scheduled = False

    def send(self, piece: bytes) -> None:
        """Put bytes on their way; empty bytes are the end."""
        network = self.writer.transport.network
        self.outstanding += len(piece)
        self._last = network.arrival(
            self.writer.transport.peer_id, self.writer.peer_id, len(piece), max(self._last, trio.current_time())
        )
        self.travelling.append((self._last, piece))
        self._plan()

    def break_for_writer(self) -> None:
        self.broken_for_writer = True
        self.room.set()

    def break_for_reader(self) -> None:
        """What has not been read is lost."""
        self.broken_for_reader = True
        self.travelling.clear()
        self.arrived.clear()
        self.news.set()

    def take(self, bytes_max: int) -> bytes:
        """Up to this many of the bytes that have arrived."""
        piece = self.arrived.popleft()
        if len(piece) > bytes_max:
            self.arrived.appendleft(piece[bytes_max:])
            piece = piece[:bytes_max]
        self.outstanding -= len(piece)
        if not self.broken_for_writer:
            self.room.set()
        return piece

    def _plan(self) -> None:
        if not self._scheduled and self.travelling:
            self._scheduled = True
            self.writer.transport.network.schedule.at(self.travelling[0][0], self._arrive)

    def _arrive(self) -> None:
        self._scheduled = False
        if not self.travelling:
            return
        writer, network = self.writer, self.writer.transport.network
        link = network.link(writer.transport.peer_id, writer.peer_id)
        if link.cut:
            network.struck["partition"] += 1
            self._scheduled = True
            link.waiting.append(self._resume)  # TCP repeats it later
            return
        if writer.forgotten or writer.peer_id not in network.listening:
            network.struck["vanished"] += 1
            self.travelling.clear()
            return
        if writer.deserted or not self.reader.up:  # nobody there knows this connection: a reset comes back
            self.travelling.clear()
            network.schedule.at(network.arrival(writer.peer_id, writer.transport.peer_id), writer.die)
            return
        while self.travelling and self.travelling[0][0] <= trio.current_time():
            self._deliver(self.travelling.popleft()[1])
        self.news.set()
        self._plan()

    def _resume(self) -> None:
        self._scheduled = False
        self._plan()

    def _deliver(self, piece: bytes) -> None:
        if self.broken_for_reader:
            return
        if piece:
            self.arrived.append(piece)
        else:
            self.ended = True


class MemoryStream:
    """One side of a stream; a `node.transport.ByteStream`."""

    def __init__(self, end: _End, protocol: str, number: int, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._end: Final = end
        self._incoming: Final = incoming
        self._outgoing: Final = outgoing
        self.protocol: Final = protocol
        self.number: Final = number
        self.other: MemoryStream
        end.streams[self] = None

    async def write(self, data: bytes) -> None:
        pipe = self._outgoing
        assert not pipe.closed, "nothing is written after closing"
        rest = memoryview(data)
        await trio.lowlevel.checkpoint()
        while rest:
            self._check(pipe.broken_for_writer)
            room = WINDOW_BYTES - pipe.outstanding
            if room > 0:
                piece, rest = bytes(rest[:room]), rest[room:]
                self._end.transport.tapped(self._end.peer_id, self.protocol, self.number, piece)
                pipe.send(piece)
            else:
                pipe.room = trio.Event()
                await pipe.room.wait()

    async def read(self, bytes_max: int) -> bytes:
        assert bytes_max > 0
        pipe = self._incoming
        await trio.lowlevel.checkpoint()
        while True:
            self._check(pipe.broken_for_reader)
            if pipe.arrived:
                return pipe.take(bytes_max)
            if pipe.ended:
                return b""
            pipe.news = trio.Event()
            await pipe.news.wait()

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        pipe = self._outgoing
        if not pipe.closed and not pipe.broken_for_writer:
            pipe.closed = True
            pipe.send(b"")

    async def reset(self) -> None:
        self.reset_now()

    def reset_now(self) -> None:
        """Give up both directions at once; the other side learns of it."""
        if self in self._end.streams:
            self.break_here()
            self._end.reach_other(self.other.break_here)

    def break_here(self) -> None:
        """This side of the stream is over."""
        self._end.streams.pop(self, None)
        self._outgoing.break_for_writer()
        self._incoming.break_for_reader()

    def hang_up(self) -> None:
        """The whole connection of this stream is over."""
        self._end.hang_up()

    @property
    def is_finished(self) -> bool:
        """Both directions were closed and read to the end."""
        return self._outgoing.closed and self._incoming.ended and not self._incoming.arrived

    def _check(self, broken: bool) -> None:
        if broken or self._end.transport.is_dead:
            raise NetworkError("stream_broken", centre=self._end.transport.centre_of(self._end.peer_id) or "?")


class MemoryTransport:
    """One life of one node on the network; a `node.transport.Transport`."""

    def __init__(
        self, network: MemoryNetwork, peer_id: str, addresses: tuple[str, ...], name: str, protocols: frozenset[str]
    ) -> None:
        self.network: Final = network
        self.peer_id: Final = peer_id
        self.addresses: Final = addresses
        self.name: Final = name
        self.protocols: Final = protocols
        self.ends: Final[dict[_End, None]] = {}
        self.is_dead = False
        self._peers: dict[str, str] = {}
        self._centres: dict[str, str] = {}
        self._accept: Accept | None = None
        self._nursery: trio.Nursery | None = None
        self._ends_to: dict[str, dict[_End, None]] = {}
        self.announced: Final = Announced(self)
        self.lobby: Final = Lobby(lambda: int(trio.current_time() * 1000))
        self._changes: dict[str, trio.Event] = {}

    # --- the seam -----------------------------------------------------------------------------

    async def run(self, accept: Accept, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        if self.peer_id in self.network.listening:
            raise NetworkError("address_taken", address=self.addresses[0])
        async with trio.open_nursery() as nursery:
            self._accept, self._nursery = accept, nursery
            self.network.listening[self.peer_id] = self
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._stop()

    def admit(self, peers: Mapping[str, str]) -> None:
        before, self._peers = self._centres, dict(peers)
        self._centres = {peer_id: centre for centre, peer_id in peers.items()}
        for end in list(self.ends):
            if end.peer_id in before and end.peer_id not in self._centres:  # strangers go by themselves
                end.hang_up()
        for peer_id in list(self._changes):
            self.notice(peer_id)

    def announcements(self, hear: Hear) -> None:
        self.announced.hear = hear

    def announce(self, content: bytes) -> None:
        self.announced.announce(content)

    def meet(self, meet: Meet) -> None:
        self.lobby.open(meet)

    def refused(self) -> list[Refused]:
        return []

    def opens_exchange(self, centre: str) -> bool:
        return self.peer_id < self._peers[centre]

    def is_connected(self, centre: str) -> bool:
        return self._end_to(centre) is not None

    async def dial(self, centre: str, address: str) -> None:
        await trio.lowlevel.checkpoint()
        wanted = self._peers.get(centre)
        if wanted is None:
            raise NetworkError("unreachable", centre=centre, reason="not admitted")
        if self.is_connected(centre):
            return
        if not address.startswith("/"):
            raise NetworkError("address_unusable", address=address)
        there = await self._knock(centre, address)
        if there.peer_id != wanted:
            raise NetworkError("wrong_peer", centre=centre, found=there.peer_id)
        if not self.is_connected(centre):
            here, far = _End(self, wanted), _End(there, self.peer_id)
            here.other, far.other = far, here
            self.gain_end(here)
            there.gain_end(far)
            self.notice(wanted)
            there.notice(self.peer_id)
            if self.peer_id not in there._centres:
                self.network.schedule.at(trio.current_time() + VISIT_S, partial(there.turn_out, far))

    async def connected(self, centre: str) -> None:
        await trio.lowlevel.checkpoint()
        while not self.is_connected(centre):
            await self._changed(self._peers.get(centre, ""))

    async def disconnected(self, centre: str) -> None:
        await trio.lowlevel.checkpoint()
        while self.is_connected(centre):
            await self._changed(self._peers[centre])

    async def drop(self, centre: str) -> None:
        await trio.lowlevel.checkpoint()
        for end in list(self.ends):
            if self._centres.get(end.peer_id) == centre:
                end.hang_up()

    async def open_stream(self, centre: str, protocol: str) -> MemoryStream:
        end = self._end_to(centre)
        await trio.lowlevel.checkpoint()
        if end is None or not end.up:
            raise NetworkError("unreachable", centre=centre, reason="no connection")
        await self._negotiate(end, centre)
        there = end.other.transport
        if protocol not in there.protocols:
            raise NetworkError("protocol_unknown", centre=centre, protocol=protocol)
        towards, back = _Pipe(end, end.other), _Pipe(end.other, end)
        number = self.network.number()
        mine = MemoryStream(end, protocol, number, back, towards)
        theirs = MemoryStream(end.other, protocol, number, towards, back)
        mine.other, theirs.other = theirs, mine
        self.network.streams_opened += 1
        there.serve(theirs, self.peer_id)
        return mine

    # --- for the network and the world --------------------------------------------------------

    def centre_of(self, peer_id: str) -> str | None:
        """The admitted centre of a peer id."""
        return self._centres.get(peer_id)

    @property
    def admitted(self) -> Mapping[str, str]:
        """Centre → peer id of everybody who is admitted now."""
        return self._peers

    def notice(self, peer_id: str) -> None:
        """Connections with a peer came or went."""
        change = self._changes.pop(peer_id, None)
        if change is not None:
            change.set()

    async def _changed(self, peer_id: str) -> None:
        await self._changes.setdefault(peer_id, trio.Event()).wait()

    def gain_end(self, end: _End) -> None:
        """A connection is up."""
        self.ends[end] = None
        self._ends_to.setdefault(end.peer_id, {})[end] = None

    def lose_end(self, end: _End) -> None:
        """A connection is gone."""
        self.ends.pop(end, None)
        self._ends_to.get(end.peer_id, {}).pop(end, None)

    def tapped(self, peer_id: str, protocol: str, number: int, piece: bytes) -> None:
        """Tell whoever watches the wire."""
        if not self.is_dead:
            for tap in self.network.taps:
                tap(self.name, self._centres.get(peer_id, peer_id), protocol, number, piece)

    def serve(self, stream: MemoryStream, peer_id: str) -> None:
        """An admitted peer's stream gets a task, anybody else's only to introduce itself."""
        centre = self._centres.get(peer_id)
        if self._nursery is None:
            stream.reset_now()
        elif centre is not None:
            self._nursery.start_soon(self._guarded, centre, stream)
        elif stream.protocol == DIRECTORY and not self.lobby.refusal(peer_id):
            self._nursery.start_soon(self._visited, peer_id, stream)
        else:
            stream.reset_now()

    def turn_out(self, end: _End) -> None:
        """A stranger's time is over, unless it is none any more."""
        if end.peer_id not in self._centres:
            end.hang_up()

    async def _visited(self, peer_id: str, stream: MemoryStream) -> None:
        with self.lobby.visit(peer_id, peer_id) as visit:
            try:
                await self.lobby.hear(visit, stream)
            except TrucError:
                pass
            except Exception as error:  # noqa: BLE001  # the outermost frame of a stream; kept for the oracle
                if not self.is_dead:
                    self.network.errors.append(error)
        stream.hang_up()

    def kill(self, *, silently: bool) -> None:
        """The process dies. Its system hangs up for it, unless the machine is gone as well."""
        for end in list(self.ends):
            if silently:
                self.network.struck["silent_death"] += 1
                end.other.deserted = True
            else:
                end.hang_up()
        self.is_dead = True
        self._stop()

    def accepted(self, stream: MemoryStream) -> ByteStream:
        """What the node gets of a stream that a peer opened."""
        return stream

    async def _guarded(self, centre: str, stream: MemoryStream) -> None:
        assert self._accept is not None
        try:
            await self._accept(centre, stream.protocol, self.accepted(stream))
        except TrucError:
            pass
        except Exception as error:  # noqa: BLE001  # the outermost frame of a stream; kept for the oracle
            if not self.is_dead:
                self.network.errors.append(error)
        finally:
            if stream.is_finished:
                stream.break_here()
            else:
                stream.reset_now()

    async def _knock(self, centre: str, address: str) -> MemoryTransport:
        """The machine behind an address, if it answers in time."""
        network = self.network
        there = next((one for one in network.listening.values() if address in one.addresses), None)
        peer_id = self._peers[centre] if there is None else there.peer_id
        await trio.sleep(2 * (network.arrival(self.peer_id, peer_id) - trio.current_time()))
        if network.link(self.peer_id, peer_id).cut or peer_id in network.hanging:
            network.struck["dial_hung" if peer_id in network.hanging else "partition"] += 1
            await trio.sleep(PATIENCE_SECONDS)
            raise NetworkError("unreachable", centre=centre, reason="timeout")
        if there is None or network.listening.get(there.peer_id) is not there:
            network.struck["dial_refused"] += 1
            raise NetworkError("unreachable", centre=centre, reason="refused")
        return there

    async def _negotiate(self, end: _End, centre: str) -> None:
        """The round trip in which the other side agrees to a stream."""
        network = self.network
        with trio.move_on_after(PATIENCE_SECONDS) as patience:
            await trio.sleep(2 * (network.arrival(self.peer_id, end.peer_id) - trio.current_time()))
            if end.deserted or network.link(self.peer_id, end.peer_id).cut:
                network.struck["vanished" if end.deserted else "partition"] += 1
                while end.up:
                    await self._changed(end.peer_id)
        if patience.cancelled_caught or not end.up:
            raise NetworkError("stream_broken", centre=centre)
        if not end.other.up:
            end.die()
            raise NetworkError("stream_broken", centre=centre)

    def _end_to(self, centre: str) -> _End | None:
        """The newest connection to the centre that is up, as far as this side knows."""
        return next(reversed(self._ends_to.get(self._peers.get(centre, ""), {})), None)

    def _stop(self) -> None:
        if self.network.listening.get(self.peer_id) is self:
            del self.network.listening[self.peer_id]
        for end in list(self.ends):
            end.hang_up()
        self._nursery = None
