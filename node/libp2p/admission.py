"""Who may connect, by peer id, and who was turned away of late.

Obeys DESIGN §5: the connection gate of the library sees addresses, not peer ids, so admission is ours: after
the handshake, in every stream, and again whenever the directory changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from node.environment import Environment
from node.lobby import Lobby
from node.logs import Log
from node.metrics import Metrics
from node.transport import Refused

REFUSED_MAX: Final = 64
"""Remembered for `/v1/peers`; older ones are in the log."""
SAY_AGAIN_MS: Final = 60_000
"""Whoever knocks every second is worth one line a minute."""
SAID_MAX: Final = 1_024


class Admission:
    """The admitted centres, both ways, and the latest refusals."""

    def __init__(self, *, environment: Environment, metrics: Metrics, log: Log) -> None:
        self._environment: Final = environment
        self._metrics: Final = metrics
        self._log: Final = log
        self._peer_ids: dict[str, str] = {}
        self._centres: dict[str, str] = {}
        self._refused: Final[deque[Refused]] = deque(maxlen=REFUSED_MAX)
        self._said: Final[dict[tuple[str, str], int]] = {}
        self.lobby: Final = Lobby(environment.monotonic_ms)
        """Those who are not admitted, and may say who they are."""

    def admit(self, peers: Mapping[str, str]) -> None:
        """From now on exactly these: centre code → peer id."""
        self._peer_ids = dict(peers)
        self._centres = {peer_id: centre for centre, peer_id in peers.items()}
        self.lobby.admit(self._centres.__contains__)

    def peer_id_of(self, centre: str) -> str | None:
        """The peer id of an admitted centre."""
        return self._peer_ids.get(centre)

    def centre_of(self, peer_id: str) -> str | None:
        """The admitted centre of a peer id."""
        return self._centres.get(peer_id)

    def refuse(self, peer_id: str, address: str, reason: str) -> None:
        """Count and remember a refusal; say it unless the same one was said a moment ago."""
        now_ms = self._environment.now_ms()
        self._metrics.streams_refused.labels(reason=reason).inc()
        self._refused.append(Refused(peer_id=peer_id, address=address, reason=reason, time_ms=now_ms))
        who = (peer_id or address.partition("/tcp/")[0], reason)
        said_ms = self._said.get(who)
        if said_ms is None or abs(now_ms - said_ms) >= SAY_AGAIN_MS:
            if len(self._said) >= SAID_MAX:
                self._said.clear()
            self._said[who] = now_ms
            self._log.warning("peer_refused", peer=peer_id, address=address, reason=reason)

    def refused(self) -> list[Refused]:
        """The latest refusals, oldest first."""
        return list(self._refused)
