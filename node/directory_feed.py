"""Following the directory: what changed behind a cursor, and waiting for more.

Obeys DESIGN §7 ("the cursor is the truth, push is the hint") and `protocol/spec/directory.md` §6, *News*. A cursor
counts changes of one store; what it stands before may be swept, and then the reader is told to begin anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import trio

from node.cursors import read_cursor, write_cursor
from node.tasks import Bell
from protocol.directory_news import NEWS_ROW_MAX, DirectoryNews, DirectoryNewsHead, NewsItem, head_of
from protocol.errors import RequestError
from protocol.record import Put
from protocol.step import Step
from storage.store import Store

ROWS_AT_ONCE: Final = 4
"""Rows read between two pauses: half a millisecond if they are full."""
_PLACES: Final = 65_536
"""A cursor is row · this + how many of the row's changes were seen."""
assert NEWS_ROW_MAX < _PLACES


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that changed, and when this node made it durable."""

    time_ms: int
    item: NewsItem


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Some changes in order, and the cursor behind them."""

    items: tuple[Change, ...]
    cursor: str
    more: bool


class DirectoryFeed:
    """Belongs to the loop."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._records: Final = store.committed
        self._bell: Final = Bell()

    def notice(self, step: Step) -> None:
        """A step is durable."""
        if any(isinstance(change, Put) and isinstance(change.record, DirectoryNewsHead) for change in step.changes):
            self._bell.ring()

    @property
    def revision(self) -> int:
        """Grows with everything that changes."""
        return head_of(self._records).following

    @property
    def now(self) -> str:
        """The cursor behind everything."""
        return self._cursor(self.revision, 0)

    async def after(self, cursor: str, *, limit: int, wait_s: float = 0) -> Changes:
        """The changes behind a cursor, in order; waits for the first. The empty cursor stands before all kept.

        Raises:
            RequestError: `cursor_malformed`; `changes_forgotten`, also for a cursor of another store.
        """
        row, seen = self._read(cursor)
        with trio.move_on_after(wait_s):
            while True:
                bell = self._bell.next
                if row < self.revision:
                    break
                await bell.wait()
        return await self._page(row, seen, limit)

    def _read(self, cursor: str) -> tuple[int, int]:
        head = head_of(self._records)
        if not cursor:
            return head.first, 0
        try:
            position = read_cursor(cursor, self._store.incarnation)
        except RequestError as error:
            if error.code != "cursor_of_another_store":
                raise
            raise RequestError("changes_forgotten", field="after", restart=self.now) from error
        row, seen = divmod(position, _PLACES)
        if not head.first <= row <= head.following or seen > NEWS_ROW_MAX:  # swept, or of a newer copy of the store
            raise RequestError("changes_forgotten", field="after", restart=self.now)
        return row, seen

    async def _page(self, row: int, seen: int, limit: int) -> Changes:
        items: list[Change] = []
        following = self.revision
        while row < following:
            news = self._records.get(DirectoryNews, row)
            told = () if news is None else news.items[seen : seen + limit - len(items)]
            items += [Change(time_ms=news.time_ms, item=item) for item in told if news is not None]
            if news is not None and seen + len(told) < len(news.items):
                return Changes(items=tuple(items), cursor=self._cursor(row, seen + len(told)), more=True)
            row, seen = row + 1, 0
            if row % ROWS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        return Changes(items=tuple(items), cursor=self._cursor(row, 0), more=False)

    def _cursor(self, row: int, seen: int) -> str:
        return write_cursor(self._store.incarnation, row * _PLACES + seen)
