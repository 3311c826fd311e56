"""Connections of peers that are not admitted: heard once, on the directory stream, and let go.

Obeys `protocol/spec/joining.md` §2. How many and for how long is `node/lobby.py`; here a connection
of the library gets no more than that: a little memory, a few streams, one of which is listened to.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio

from node.libp2p.admission import Admission
from node.libp2p.connection import TAKE_UP_S, Connection
from node.libp2p.handshake import Secured
from node.libp2p.stream import Libp2pStream
from node.lobby import Visit
from node.logs import Log, log_failure
from protocol import body_exchange, exchange, reconcile_frames
from protocol.errors import TrucError
from protocol.limits import STRANGER_BYTES_MAX, STRANGER_STREAMS_MAX


class Strangers:
    """All of one transport."""

    def __init__(self, admission: Admission, log: Log) -> None:
        self._admission: Final = admission
        self._log: Final = log
        self._guests: Final[dict[Any, tuple[Connection, Visit]]] = {}

    async def receive(self, host: Any, socket: Any, secured: Secured, address: str) -> None:
        """Keep the connection until its introduction was answered or its time is over."""
        muxed = secured.muxed
        connection = Connection(peer_id=secured.peer_id, centre="", address=address, host=host, muxed=muxed)
        muxed.held_bytes_max = STRANGER_BYTES_MAX
        muxed.attach(socket, lambda: None)
        with self._admission.lobby.visit(secured.peer_id, address) as visit:
            self._guests[muxed] = (connection, visit)
            try:
                await connection.register("inbound")
                await muxed.event_shutting_down.wait()
            finally:
                del self._guests[muxed]
                muxed.abort()  # what was answered was read; nobody else is owed a goodbye
        if visit.outcome:
            self._admission.refuse(secured.peer_id, address, visit.outcome)
        else:
            self._log.info("introduction_over", peer=secured.peer_id, address=address)

    async def serve(self, net_stream: Any) -> bool:
        """Whether this inbound stream was a stranger's, and is done with. Never raises."""
        found = self._guests.get(net_stream.muxed_conn)
        if found is None:
            return False
        connection, visit = found
        try:
            if visit.opens(STRANGER_STREAMS_MAX):
                await connection.serve(net_stream, partial(self._hear, visit), library=False)
            else:
                visit.end()
                with trio.move_on_after(TAKE_UP_S), suppress(Exception):
                    await net_stream.muxed_stream.reset()
        except TrucError:
            pass  # an outcome of the stream
        except Exception as error:  # noqa: BLE001  # outermost frame of a stream, and of parsers fed by strangers
            log_failure(self._log, "stream_failed", error, peer=visit.peer_id)
        return True

    async def _hear(self, visit: Visit, protocol: str, stream: Libp2pStream) -> None:
        """Announcements are opened by themselves and merely reset; who speaks as a peer has to go at once."""
        if protocol == reconcile_frames.PROTOCOL:
            await self._admission.lobby.hear(visit, stream)
        elif protocol in {exchange.PROTOCOL, body_exchange.PROTOCOL}:
            visit.end()
