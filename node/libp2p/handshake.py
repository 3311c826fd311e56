"""From a TCP socket to an authenticated, multiplexed connection, or to a clear reason.

Obeys DESIGN §5. Noise names the peer; who is neither admitted nor to be heard is let go before a muxer exists. What an
attacker can hold is bounded: a handshake lasts four seconds, and while too many are under way the
oldest gives place, so silent sockets cannot keep an honest peer out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.peer.id import ID
from libp2p.security.noise.exceptions import PeerIDMismatchesPubkey

from node.libp2p.admission import Admission
from node.libp2p.muxer import OneWriterYamux
from node.libp2p.wire import Wire
from protocol.errors import NetworkError

HANDSHAKE_S: Final = 4.0
"""Four messages of 100 bytes; satellite links need two seconds."""
HANDSHAKES_MAX: Final = 128
"""Inbound, under way at once."""


@dataclass(frozen=True, slots=True)
class Secured:
    """A connection whose peer is known."""

    peer_id: str
    muxed: OneWriterYamux


class Handshakes:
    """Makes secured connections out of sockets."""

    def __init__(self, upgrader: Any, admission: Admission) -> None:
        self._upgrader: Final = upgrader
        self._admission: Final = admission
        self._under_way: Final[dict[trio.CancelScope, None]] = {}

    async def inbound(self, stream: trio.SocketStream, address: str) -> Secured | None:
        """The connection, or None after it was refused and the refusal noted; the socket is the caller's.

        Never raises: what strangers send is no reason for an exception.
        """
        reason = "silent"
        with self._place():
            try:
                return await self._inbound(stream, address)
            except Exception:  # noqa: BLE001  # parsers of the library, fed by strangers
                reason = "handshake"
        self._admission.refuse("", address, reason)
        return None

    async def _inbound(self, stream: trio.SocketStream, address: str) -> Secured | None:
        raw = RawConnection(Wire(stream), False)
        secured = await self._upgrader.upgrade_security(raw, False)
        peer = secured.get_remote_peer()
        if self._admission.centre_of(str(peer)) is None and (reason := self._admission.lobby.refusal(address)):
            self._admission.refuse(str(peer), address, reason)
            return None
        return Secured(str(peer), await self._upgrader.upgrade_connection(secured, peer))

    async def outbound(self, stream: trio.SocketStream, centre: str, peer_id: str) -> Secured:
        """The connection to exactly this peer; the socket is the caller's.

        Raises:
            NetworkError: `wrong_peer`, `unreachable`.
        """
        peer = ID.from_string(peer_id)
        raw = RawConnection(Wire(stream), True)
        try:
            with trio.move_on_after(HANDSHAKE_S):
                secured = await self._upgrader.upgrade_security(raw, True, peer)
                return Secured(peer_id, await self._upgrader.upgrade_connection(secured, peer))
        except Exception as error:  # parsers of the library, fed by whoever answered
            mismatch = error.__cause__
            if isinstance(mismatch, PeerIDMismatchesPubkey):
                found = str(mismatch).rpartition("=")[2]
                raise NetworkError("wrong_peer", centre=centre, expected=peer_id, found=found) from error
            raise NetworkError("unreachable", centre=centre, reason="handshake") from error
        raise NetworkError("unreachable", centre=centre, reason="silent")

    @contextmanager
    def _place(self) -> Iterator[None]:
        with trio.move_on_after(HANDSHAKE_S) as scope:
            self._under_way[scope] = None
            if len(self._under_way) > HANDSHAKES_MAX:
                next(iter(self._under_way)).cancel()
            try:
                yield
            finally:
                del self._under_way[scope]
