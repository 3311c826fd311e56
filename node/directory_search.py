"""Finding agencies by words, parts of codes, state, host and kind, in memory.

Obeys DESIGN §7 and §1 (a millisecond of the loop at a time). Built after the start from what is durable, then
kept up to date by what becomes durable. It gives codes; what is shown of them is read from the store, one
record at a time, so that a damaged one spoils no page. The text itself is `directory_text.py`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio

from node.directory_text import BLOCK_LINES, FoldedText, Question, damaged_line, line_of
from node.environment import Environment
from node.logs import Log
from node.tasks import Bell, Ready, in_slices
from protocol.directory import AgencyRecord
from protocol.directory_kinds import DirectoryHistory, Subject
from protocol.directory_news import head_of
from protocol.directory_view import DirectoryView, RecordCache
from protocol.entitlement import state_of
from protocol.errors import NotNow, StoreError
from protocol.record import Put, Records
from protocol.step import Step
from storage.keyspace import key

LINES_AT_ONCE: Final = 8
"""Lines made between two pauses: about a millisecond."""
BLOCKS_AT_ONCE: Final = 16
"""Blocks looked through between two pauses: half a millisecond if something of what is asked stands in all lines."""
ANEW: Final = 2_000
"""Changed records from which on all are read anew in order: a line put among others costs ten times as much."""
MANY: Final = 128
"""Changed records from which on it is waited whether more are coming."""
QUIET_S: Final = 2
"""After so long without further changes it is over."""
PATIENCE_S: Final = 5
"""How long a question waits for the text; afterwards the caller is told to ask again."""
BEHIND_S: Final = 3
"""How long it waits for changes to be in the text; while a nation is taken in, it is answered without them."""
FIRST_S: Final = 30
"""How long is waited for what is to be read before."""
REST_S: Final = 300
"""How long is waited for quiet: a nation is taken in by then, and what never rests is not waited for."""
KEY_END: Final = b"\x00"
_CACHE_RECORDS: Final = 16
"""The text is made of every record once: nothing is gained by remembering them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Codes in order, whether there are more, and up to which news the text was right."""

    codes: tuple[str, ...]
    more: bool
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """In the place of a history that cannot be read."""

    code: str
    error: StoreError


Row = DirectoryHistory | Damaged


class DirectorySearch:
    """Belongs to the loop."""

    def __init__(self, committed: Records, environment: Environment, log: Log, first: trio.Event) -> None:
        """`first`: what is read before, lest the two reads of a nation delay what has to be ready sooner."""
        self._first: Final = first
        self._view: Final = DirectoryView(committed, RecordCache(_CACHE_RECORDS))
        self._environment: Final = environment
        self._log: Final = log
        self.text = FoldedText()
        self._late: dict[str, None] = {}
        self._busy = False
        self._news: Final = Bell()
        self._done: Final = Bell()
        self.built: Final = trio.Event()
        self.broken: StoreError | None = None
        """Why nothing can be found until a restart: the disk does not give what was written."""
        self.damaged = 0
        """Records found unreadable since the start."""
        self.build_ms = 0

    # --- asking -------------------------------------------------------------------------------

    async def find(self, asked: Question, *, after: str = "", limit: int = 100) -> Found:
        """The first agencies behind this code for which everything asked holds.

        Raises:
            NotNow: `directory_being_read`.
            StoreError: `record_damaged`, `store_io`: the text could not be built.
        """
        await self._wait()
        revision = 0 if self._late or self._busy else head_of(self._view.records).following
        codes: list[str] = []
        blocks = 0
        for code in self.text.find(asked, after):
            if code is None:
                blocks += 1
                if blocks % BLOCKS_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            elif len(codes) == limit:
                return Found(codes=tuple(codes), more=True, revision=revision)
            else:
                codes.append(code)
        return Found(codes=tuple(codes), more=False, revision=revision)

    async def _wait(self) -> None:
        """Until the text is built and knows what is durable; what goes on changing is not waited for."""
        with trio.move_on_after(PATIENCE_S):
            await self.built.wait()
        with trio.move_on_after(BEHIND_S):
            while (self._late or self._busy) and self.broken is None:
                await self._done.next.wait()
        if self.broken is not None:
            raise self.broken
        if not self.built.is_set():
            raise NotNow("directory_being_read")

    # --- building, keeping up to date ---------------------------------------------------------

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Build the text, then keep it up to date until cancelled."""
        task_status.started()
        with trio.move_on_after(FIRST_S):
            await self._first.wait()
        try:
            await self._build()
            await self._keep_up()
        except StoreError as error:  # the disk gives nothing: looking up single codes may go on
            self.broken = error
            self._late.clear()
            self.built.set()
            self._done.ring()
            self._log.error("alarm", code=error.code, subject="directory search")

    async def _build(self) -> None:
        began_ms = self._environment.monotonic_ms()
        await self._fill(self.text)
        await self._catch_up()
        self.build_ms = self._environment.monotonic_ms() - began_ms
        self.built.set()
        self._log.info("directory_text", agencies=self.text.count, size=self.text.size, took_ms=self.build_ms)

    async def _keep_up(self) -> None:
        while True:
            news = self._news.next
            if len(self._late) > MANY:
                await self._rest()
            if len(self._late) > ANEW:
                await self._build_anew()
            elif self._late:
                await self._catch_up()
            else:
                await news.wait()

    async def _rest(self) -> None:
        """Return when no more changes are coming in: a nation is put into order once, at its end."""
        quiet = False
        with trio.move_on_after(REST_S):
            while not quiet:
                news = self._news.next
                with trio.move_on_after(QUIET_S) as patience:
                    await news.wait()
                quiet = patience.cancelled_caught

    async def _build_anew(self) -> None:
        """Read everything in order, with the old text at hand meanwhile."""
        self._busy, self._late, fresh = True, {}, FoldedText()
        await self._fill(fresh)
        self.text = fresh
        await self._catch_up()

    async def _fill(self, text: FoldedText) -> None:
        """Read all agencies into an empty text."""
        after: tuple[Any, ...] = ()
        while True:
            page = self._page(after, BLOCK_LINES)
            if not page:
                return
            text.append(await in_slices(self._lines(page), LINES_AT_ONCE))
            after = (page[-1].code,)
            await trio.lowlevel.checkpoint()

    def _page(self, after: tuple[Any, ...], limit: int) -> list[Row]:
        """The next histories, in the place of one that cannot be read its code; none at the end.

        Raises:
            StoreError: the disk gives nothing at all.
        """
        try:
            return list(self._view.records.scan(DirectoryHistory, int(Subject.AGENCY), after=after, limit=limit))
        except StoreError as error:
            if limit > 1:
                return self._page(after, limit // 2)
            return [damaged_code(error, after)]

    def notice(self, step: Step) -> None:
        """A step is durable."""
        for change in step.changes:
            record = change.record if isinstance(change, Put) else None
            if isinstance(record, DirectoryHistory) and record.subject in {Subject.AGENCY, Subject.LOCK}:
                self._late[record.code] = None
        if self.broken is not None:
            self._late.clear()
        elif self._late:
            self._news.ring()

    async def _catch_up(self) -> None:
        self._busy = True
        while self._late:
            codes, self._late = list(self._late), {}
            await in_slices(self._put_all(codes), LINES_AT_ONCE)
        self._busy = False
        self._done.ring()

    def _put_all(self, codes: Iterable[str]) -> Generator[None, None, None]:
        for code in codes:
            row = self._row(code)
            if row is not None:  # a lock may be somebody's who is not known
                self.text.put(code, self._line(row))
            yield

    def _row(self, code: str) -> Row | None:
        try:
            return self._view.history(Subject.AGENCY, code)
        except StoreError as error:
            return damaged_code(error, ())

    def _lines(self, rows: Iterable[Row]) -> Generator[None, None, list[bytes]]:
        lines: list[bytes] = []
        for row in rows:
            line = self._line(row)
            if line:
                lines.append(line)
            yield
        return lines

    def _line(self, row: Row) -> bytes:
        """The line of an agency whose history this is; none of one whose code is none."""
        code = row.code
        try:
            if isinstance(row, Damaged):
                raise row.error
            record: AgencyRecord = self._view.cache.value(self._view.records, row.versions[0].digest)
            if record.code != code:
                raise StoreError("directory_damaged", what=code)
            return line_of(record, state_of(record, self._view.lock(code), self._view.pending_agency(code)))
        except StoreError as error:
            self.damaged += 1
            self._log.error("alarm", code=error.code, subject=code)
            return damaged_line(code) if code.replace(".", "").isalnum() else b""


def damaged_code(error: StoreError, after: tuple[str, ...]) -> Damaged:
    """Which history cannot be read, by the key that the error names.

    Raises:
        StoreError: the error itself, if it is about anything but one history behind `after`.
    """
    begin = key(DirectoryHistory, int(Subject.AGENCY))
    at = bytes.fromhex(str(error.detail.get("key", ""))) if error.code == "record_damaged" else b""
    if not at.startswith(begin) or not at.endswith(KEY_END):
        raise error
    code = at[len(begin) : -len(KEY_END)].decode(errors="replace")
    if after and code <= after[0]:  # never the same again and again
        raise error
    return Damaged(code=code, error=error)
