"""How fresh the registrars' logs are here, and which of them matter to this node.

Obeys `protocol/spec/checkpoint.md` §4: the tier of an agency is the worst of the registrars that signed its
record and its host's. Here it is the worst of all that this node hosts or owes something to. What
follows from an old one is the operator's choice (`directory.stop_when_old`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.directory import Directory
from node.directory_index import DirectoryIndex
from node.directory_log import RegistrarLog
from node.environment import Environment
from protocol.checkpoint import Tier, log_age_ms, tier_of, worst_tier
from protocol.directory_view import AGENCY_PAGE
from protocol.errors import ConfigurationError
from protocol.record import Records
from protocol.records import Queued

HOSTED_LOOKED_AT: Final = 10_000
QUEUES_LOOKED_AT: Final = 1_000
"""Recipients that something is owed to; those that are looked at tell enough."""
LOOK_AGAIN_MS: Final = 10_000
"""Which registrars matter is found out no more often than that; a health check comes every second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """One registrar's log. `age_ms` is None without a complete checkpoint."""

    registrar: str
    generation: int
    number: int
    age_ms: int | None
    tier: Tier


class Freshness:
    """Belongs to the loop."""

    def __init__(
        self,
        *,
        index: DirectoryIndex,
        directory: Directory,
        records: Records,
        environment: Environment,
        centre: str,
        stop_when_old: bool,
    ) -> None:
        self._index: Final = index
        self._directory: Final = directory
        self._records: Final = records
        self._environment: Final = environment
        self._centre: Final = centre
        self._stop_when_old: Final = stop_when_old
        self._mattering: tuple[int, frozenset[str]] = (-LOOK_AGAIN_MS, frozenset())

    def states(self) -> list[LogState]:
        """Every log, in the order of registrars."""
        return [self._state(log) for log in self._index.logs()]

    def state_of(self, registrar: str) -> LogState | None:
        """One log; None where nothing of it is known (yet)."""
        log = self._index.log(registrar)
        return None if log is None else self._state(log)

    def tier(self) -> Tier:
        """The worst tier of what matters here."""
        return worst_tier(map(self._tier_of, self.mattering()))

    def trouble(self) -> ConfigurationError | None:
        """What to tell when something that matters is old; nothing before the first directory is known."""
        if not self._index.is_ready or self._directory.root_digest() is None:
            return None
        for name in sorted(self.mattering()):
            if self._tier_of(name) is Tier.OLD:
                return ConfigurationError("directory_old", registrar=name)
        return None

    def require(self) -> None:
        """Return unless the operator chose to stop when something that matters is old.

        Raises:
            ConfigurationError: `directory_old`.
        """
        trouble = self.trouble() if self._stop_when_old else None
        if trouble is not None:
            raise trouble

    @property
    def stops(self) -> bool:
        """Whether an old directory stops this node."""
        return self._stop_when_old

    def mattering(self) -> frozenset[str]:
        """The registrars that signed the records of what this node hosts and owes to, and of their hosts."""
        now_ms = self._environment.monotonic_ms()
        if now_ms - self._mattering[0] >= LOOK_AGAIN_MS:
            self._mattering = (now_ms, self._look())
        return self._mattering[1]

    def _look(self) -> frozenset[str]:
        found: set[str] = set()
        after = ""
        for _ in range(HOSTED_LOOKED_AT // AGENCY_PAGE):
            page = self._directory.agencies_hosted_by(self._centre, after=after)
            found.update(record.registrar for record in page)
            if len(page) < AGENCY_PAGE:
                break
            after = page[-1].code
        hosts = {self._centre}
        for recipient in {row.recipient for row in self._records.scan(Queued, limit=QUEUES_LOOKED_AT)}:
            known = self._directory.find_agency(recipient)
            if known is not None:
                found.add(known.value.registrar)
                hosts.add(known.value.host)
        centres = [self._directory.find_centre(host) for host in hosts]
        return frozenset(found | {centre.value.registrar for centre in centres if centre is not None})

    def _tier_of(self, registrar: str) -> Tier:
        log = self._index.log(registrar)
        return Tier.OLD if log is None else self._state(log).tier

    def _state(self, log: RegistrarLog) -> LogState:
        complete = log.complete
        age_ms = log_age_ms(
            self._environment.now_ms(),
            None if complete is None else complete.checkpoint,
            b"" if complete is None else complete.digest,
            self._index.heartbeat(log.registrar),
        )
        return LogState(
            registrar=log.registrar,
            generation=log.generation,
            number=log.numbers.reached,
            age_ms=age_ms,
            tier=tier_of(age_ms),
        )
