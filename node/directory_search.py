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
from protocol.directory_kinds import DirectoryHistory, DirectoryPending, Subject
from protocol.directory_news import head_of
from protocol.directory_view import DirectoryView, RecordCache
from protocol.entitlement import state_of
from protocol.errors import NotNow, StoreError
from protocol.record import Put, Records
from protocol.step import Step

LINES_AT_ONCE: Final = 8
"""Lines made between two pauses: about a millisecond."""
BLOCKS_AT_ONCE: Final = 16
"""Blocks looked through between two pauses: half a millisecond if something of what is asked stands in all lines."""
PATIENCE_S: Final = 5
"""How long a question waits for the text; afterwards the caller is told to ask again."""
_CACHE_RECORDS: Final = 16
"""The text is made of every record once: nothing is gained by remembering them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Codes in order, whether there are more, and up to which news the text was right."""

    codes: tuple[str, ...]
    more: bool
    revision: int


class DirectorySearch:
    """Belongs to the loop."""

    def __init__(self, committed: Records, environment: Environment, log: Log) -> None:
        self._view: Final = DirectoryView(committed, RecordCache(_CACHE_RECORDS))
        self._environment: Final = environment
        self._log: Final = log
        self.text = FoldedText()
        self._late: dict[str, None] = {}
        self._busy = False
        self._news: Final = Bell()
        self._done: Final = Bell()
        self.built: Final = trio.Event()
        self.damaged = 0
        """Records found unreadable since the start."""
        self.build_ms = 0

    # --- asking -------------------------------------------------------------------------------

    async def find(self, asked: Question, *, after: str = "", limit: int = 100) -> Found:
        """The first agencies behind this code for which everything asked holds.

        Raises:
            NotNow: `directory_being_read`.
        """
        await self._wait()
        revision = head_of(self._view.records).following if not self._late else 0
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
            while self._late or self._busy:
                await self._done.next.wait()
        if not self.built.is_set():
            raise NotNow("directory_being_read")

    # --- building, keeping up to date ---------------------------------------------------------

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Build the text, then keep it up to date until cancelled."""
        task_status.started()
        began_ms = self._environment.monotonic_ms()
        try:
            await self._build()
        except StoreError as error:  # a history itself cannot be read: looking up single codes goes on
            self._log.error("alarm", code=error.code, subject="directory search")
            return
        self.build_ms = self._environment.monotonic_ms() - began_ms
        self.built.set()
        self._log.info("directory_text", agencies=self.text.count, size=self.text.size, took_ms=self.build_ms)
        while True:
            news = self._news.next
            if self._late:
                await self._catch_up()
            else:
                await news.wait()

    async def _build(self) -> None:
        after: tuple[Any, ...] = ()
        while True:
            page = self._view.records.scan(DirectoryHistory, int(Subject.AGENCY), after=after, limit=BLOCK_LINES)
            lines = await in_slices(self._lines(row.code for row in page), LINES_AT_ONCE)
            self.text.append(lines)
            if len(page) < BLOCK_LINES:
                break
            after = (page[-1].code,)
            await trio.lowlevel.checkpoint()
        await self._catch_up()

    def notice(self, step: Step) -> None:
        """A step is durable."""
        for change in step.changes:
            record = change.record if isinstance(change, Put) else None
            if isinstance(record, DirectoryHistory) and record.subject in {Subject.AGENCY, Subject.LOCK}:
                self._late[record.code] = None
        if self._late:
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
            line = self._line(code)
            if line is not None:
                self.text.put(code, line)
            yield

    def _lines(self, codes: Iterable[str]) -> Generator[None, None, list[bytes]]:
        lines: list[bytes] = []
        for code in codes:
            line = self._line(code)
            if line is not None:
                lines.append(line)
            yield
        return lines

    def _line(self, code: str) -> bytes | None:
        """The line of an agency; None for a lock of nobody."""
        try:
            known = self._view.find_agency(code)
            if known is None:
                return None
            lock, pending = self._view.lock(code), self._view.pending_agency(code)
            return line_of(known.value, state_of(known.value, lock, pending))
        except StoreError as error:
            self.damaged += 1
            self._log.error("alarm", code=error.code, subject=code)
            return damaged_line(code)
