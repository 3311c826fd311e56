"""Whether this node's clock may be believed.

Obeys DECISIONS "Time": when the wall clock moved more than five minutes against the monotonic
one, or differs that much from the median of at least three peers, nothing is judged by time. A
clock that moved is believed again when peers agree with it, or, where too few peers are heard,
when the system has called it synchronised for a while.
"""

from __future__ import annotations

from statistics import median
from typing import Final

from node.environment import CLOCK_SYNCHRONISED, CLOCK_UNKNOWN, Environment
from node.logs import Log
from protocol.limits import CLOCK_SKEW_MS, HOUR_MS, MINUTE_MS

AGREED: Final = 2
PEERS_MIN: Final = 3
"""Fewer voices prove nothing."""
HEARD_MS: Final = HOUR_MS
"""A peer's time is forgotten after this."""
SYSTEM_EVERY_MS: Final = 5_000
"""The system is asked no more often whether its clock is synchronised; a step asks many times a second."""
SETTLED_MS: Final = 10 * MINUTE_MS
"""How long the system must call a moved clock synchronised before we believe it."""


class ClockWatch:
    """Compares the wall clock with the monotonic one and with what peers say."""

    def __init__(self, environment: Environment, log: Log) -> None:
        self._environment: Final = environment
        self._log: Final = log
        self._base_ms = environment.now_ms() - environment.monotonic_ms()
        self._moved_at_ms: int | None = None
        self._system: tuple[int, int] = (-SYSTEM_EVERY_MS, CLOCK_UNKNOWN)
        """When the system was asked last, and what it said."""
        self._told: dict[str, tuple[int, int]] = {}
        """Centre → (its time minus our monotonic clock, when we heard it)."""
        self._peers_ms: float | None = None
        self._peers_until_ms = 0

    def hear(self, centre: str, time_ms: int) -> None:
        """A peer said what time it is, a moment ago."""
        now_ms = self._environment.monotonic_ms()
        self._told[centre] = (time_ms - now_ms, now_ms)
        self._peers_until_ms = 0

    @property
    def trusted(self) -> bool:
        """Time may be judged by."""
        offset_ms = self._peers_offset_ms()
        if offset_ms is not None:
            if abs(offset_ms) <= CLOCK_SKEW_MS:
                self._believe()
                return True
            self._note_moved("peers", offset_ms)
            return False
        drift_ms = self._drift_ms()
        if abs(drift_ms) <= CLOCK_SKEW_MS:
            return True
        self._note_moved("moved", drift_ms)
        return self._settled()

    @property
    def quality(self) -> int:
        """0 unknown, 1 the system says synchronised, 2 peers agree too."""
        system = self._system_quality()
        offset_ms = self._peers_offset_ms()
        agreed = offset_ms is not None and abs(offset_ms) <= CLOCK_SKEW_MS
        if system == CLOCK_UNKNOWN or not self.trusted:
            return CLOCK_UNKNOWN
        return AGREED if agreed else system

    def _system_quality(self) -> int:
        now_ms = self._environment.monotonic_ms()
        if now_ms - self._system[0] >= SYSTEM_EVERY_MS:
            self._system = (now_ms, self._environment.clock_quality())
        return self._system[1]

    def _drift_ms(self) -> int:
        return self._environment.now_ms() - self._environment.monotonic_ms() - self._base_ms

    def _peers_offset_ms(self) -> float | None:
        """How far peers' clocks are ahead of ours, their median; None when too few were heard lately."""
        now_ms = self._environment.monotonic_ms()
        if now_ms >= self._peers_until_ms:
            self._look_at_peers(now_ms)
        ours = self._environment.now_ms() - now_ms
        return None if self._peers_ms is None else self._peers_ms - ours

    def _look_at_peers(self, now_ms: int) -> None:
        """What stays the same until somebody is heard, or the first of them was heard too long ago."""
        fresh = [(theirs, heard_ms) for theirs, heard_ms in self._told.values() if now_ms - heard_ms <= HEARD_MS]
        self._peers_ms = median(theirs for theirs, _ in fresh) if len(fresh) >= PEERS_MIN else None
        self._peers_until_ms = min((heard_ms for _, heard_ms in fresh), default=now_ms) + HEARD_MS + 1

    def _note_moved(self, why: str, by_ms: float) -> None:
        if self._moved_at_ms is None:
            self._moved_at_ms = self._environment.monotonic_ms()
            self._log.error("clock_suspicious", why=why, by_seconds=int(by_ms / 1000))

    def _settled(self) -> bool:
        since_ms = self._environment.monotonic_ms() - (self._moved_at_ms or 0)
        if self._system_quality() < CLOCK_SYNCHRONISED or since_ms < SETTLED_MS:
            return False
        self._believe()
        return True

    def _believe(self) -> None:
        if self._moved_at_ms is not None:
            self._log.info("clock_believed")
        self._moved_at_ms = None
        self._base_ms = self._environment.now_ms() - self._environment.monotonic_ms()
