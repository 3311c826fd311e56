"""What an operator must hear about the directory: once each in the log, and shown as long as it lasts.

Obeys DESIGN §3 ("No silent take-over", forks, codes claimed twice). Three things alarm: a version that
waits for its day, of a record that this node hosts, corresponds with, or reaches; a registrar that signed
two things under one number; a text that two live records claim. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import trio

from node.directory import Directory
from node.environment import Environment
from node.logs import Log
from protocol.checkpoint import fork_code
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryFork,
    DirectoryHistory,
    DirectoryNumber,
    DirectoryPending,
    DirectoryThing,
    Subject,
)
from protocol.entitlement import registrar as find_registrar
from protocol.errors import NotNow, RequestError, StoreError, TrucError, TrustError
from protocol.record import KINDS, Change, Delete, Put, Records
from protocol.records import Pair, Queued, Return
from protocol.step import Step

R = TypeVar("R")

SLICE: Final = 64
"""Rows read at once after the start: about a millisecond."""
ALARMS_MAX: Final = 1_000
"""Shown at once; a directory with more of them has one trouble, not a thousand."""

_SILENT: Final = frozenset({DirectoryThing, DirectoryNumber})
"""Two of the three rows of every new record: nothing is seen in them that is not seen in the third."""

Key = tuple[str, str]
"""What kind of alarm, about what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAlarm:
    """One trouble. `error` says it in words; `about` names the code or the log."""

    about: str
    since_ms: int
    error: TrucError


class DirectoryAlarms:
    """Belongs to the loop."""

    def __init__(
        self, *, directory: Directory, records: Records, environment: Environment, log: Log, centre: str
    ) -> None:
        """`records`: those of the deliveries, by which one sees with whom this node corresponds."""
        self._directory: Final = directory
        self._records: Final = records
        self._environment: Final = environment
        self._log: Final = log
        self._centre: Final = centre
        self._known: dict[Key, tuple[bytes, DirectoryAlarm]] = {}
        self._code_like: Final[set[str]] = set()
        """Every text that was an alias without the form of an old code, of which there are next to none; complete once
        everything was looked through."""
        self._looked_through = False

    def all(self) -> list[DirectoryAlarm]:
        """What lasts, oldest first."""
        lasting = [alarm for key, (_, alarm) in self._known.items() if key[0] != "fork" or not self._is_over(alarm)]
        return sorted(lasting, key=lambda alarm: (alarm.since_ms, alarm.about))

    # --- looking ------------------------------------------------------------------------------

    async def build(self) -> None:
        """Look through what was there at the start, a millisecond at a time."""
        try:
            await self._look_through()
        except StoreError as error:
            self._log.error("alarm", code=error.code, subject="directory")

    async def _look_through(self) -> None:
        await self._each(DirectoryPending, self._look_at_pending)
        await self._each(DirectoryFork, self._raise_fork)
        texts = {""}

        def look_at_claim(claim: DirectoryAlias) -> None:
            self._remember(claim.alias)
            if claim.alias not in texts:
                self._look_at_text(claim.alias)
            texts.clear()
            texts.add(claim.alias)

        await self._each(DirectoryAlias, look_at_claim)
        self._looked_through = True

    async def _each(self, record: type[R], look: Callable[[R], None]) -> None:
        after: tuple[Any, ...] = ()
        while True:
            page = self._directory.records.scan(record, after=after, limit=SLICE)
            for row in page:
                look(row)
            if len(page) < SLICE:
                return
            after = KINDS[record].key_of(page[-1])
            await trio.lowlevel.checkpoint()

    def notice(self, step: Step) -> None:
        """A step is durable."""
        try:
            for change in step.changes:
                if isinstance(change, Put) and type(change.record) in _SILENT:
                    continue
                if isinstance(change, Put | Delete):
                    self._look_at(change)
        except StoreError as error:
            self._log.error("alarm", code=error.code, subject="directory")

    def _look_at(self, change: Change) -> None:
        match change:
            case Put(record=DirectoryPending() as pending):
                self._look_at_pending(pending)
            case Delete(record=kind, key=(subject, code)) if kind is DirectoryPending:
                self._known.pop(("pending", _name(int(subject), str(code))), None)
            case Put(record=DirectoryFork() as fork):
                self._raise_fork(fork)
            case Put(record=DirectoryAlias(alias=alias)):
                self._remember(alias)
                self._look_at_text(alias)
            case Delete(record=kind, key=(alias, _)) if kind is DirectoryAlias:
                self._look_at_text(str(alias))
            case Put(record=DirectoryHistory(subject=Subject.AGENCY, code=code)):
                self._look_at_code(code)

    # --- pending ------------------------------------------------------------------------------

    def _look_at_pending(self, row: DirectoryPending) -> None:
        if self._matters(row):
            key = ("pending", _name(row.subject, row.code))
            since_ms = row.since_ms or self._environment.now_ms()
            self._raise(key, row.digest, NotNow("directory_pending", code=row.code), row.code, since_ms)

    def _matters(self, row: DirectoryPending) -> bool:
        if row.subject == Subject.CENTRE:
            return row.code == self._centre or self._records.get(Pair, row.code) is not None
        known, waits = self._directory.find_agency(row.code), self._directory.pending_agency(row.code)
        hosts = {version.value.host for version in (known, waits) if version is not None}
        return self._centre in hosts or self._corresponds(row.code)

    def _corresponds(self, agency: str) -> bool:
        """Whether something is owed to it, or was accepted from it."""
        return any(self._records.scan(kind, agency, limit=1) for kind in (Queued, Return))

    # --- forks and texts ----------------------------------------------------------------------

    def _raise_fork(self, fork: DirectoryFork) -> None:
        about = fork_code(fork.registrar, fork.generation)
        error = TrustError("directory_generation_forked", registrar=fork.registrar, code="")
        self._raise(("fork", about), fork.first, error, about, self._environment.now_ms())

    def _is_over(self, alarm: DirectoryAlarm) -> bool:
        """Whether the registrar's parent has opened another generation since."""
        name, _, generation = alarm.about.rpartition("/")
        try:
            by = find_registrar(self._directory, name, self._environment.now_ms())
        except TrucError:
            return False
        return by.generation > int(generation)

    def _look_at_code(self, code: str) -> None:
        """A record changed; almost no code is somebody's alias."""
        if self._may_be_alias(code):
            self._look_at_text(code)

    def _may_be_alias(self, code: str) -> bool:
        if self._looked_through and not _is_old(code):
            return code in self._code_like
        return bool(self._directory.records.scan(DirectoryAlias, code, limit=1)) or ("text", code) in self._known

    def _remember(self, alias: str) -> None:
        if not _is_old(alias):
            self._code_like.add(alias)

    def _look_at_text(self, text: str) -> None:
        try:
            self._directory.resolve(text)
        except RequestError as error:
            if error.code == "agency_ambiguous":
                self._raise(("text", text), b"", error, text, self._environment.now_ms())
                return
        self._known.pop(("text", text), None)

    # --- telling ------------------------------------------------------------------------------

    def _raise(self, key: Key, digest: bytes, error: TrucError, about: str, since_ms: int) -> None:
        known = self._known.get(key)
        if known is not None and known[0] == digest:
            return
        if known is None and len(self._known) >= ALARMS_MAX:
            del self._known[next(iter(self._known))]
        self._known[key] = (digest, DirectoryAlarm(about=about, since_ms=since_ms, error=error))
        self._log.error("alarm", code=error.code, subject=about, digest=digest)


def _name(subject: int, code: str) -> str:
    return f"{subject} {code}"


def _is_old(text: str) -> bool:
    """Codes of the old form, and no others, begin with a digit."""
    return text[:1].isdigit()
