"""What changed in the directory, in the order in which it became durable here: record kinds 110 and 111.

Spec: `spec/directory.md` §6, *News*. Pure: the rows come with the batch that changes the directory, a row for
many changes, so that following costs no record a write of its own. Reading them, and cursors, are
`node/directory_feed.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from protocol.checkpoint import fork_code
from protocol.directory_kinds import DirectoryFork, DirectoryHistory, Subject, SubjectNumber, Text
from protocol.encoding import Count, Key, Meta, TimeMs
from protocol.limits import DAY_MS
from protocol.record import Change, Delete, Put, Records, kind

NEWS_ROW_MAX: Final = 256
"""Changes in one row: about 8 KiB, a tenth of a millisecond of reading."""
NEWS_ROWS_MAX: Final = 65_536
"""Rows kept; a busy month has some thousands."""
NEWS_KEPT_MS: Final = 35 * DAY_MS
"""As long as events; who was away longer reads the whole directory again."""
SWEPT_AT_ONCE: Final = 2
"""Old rows that a new one takes with it: they become fewer even when all are old."""

_TOLD: Final = {
    int(Subject.ROOT): Subject.ROOT,
    int(Subject.CENTRE): Subject.CENTRE,
    int(Subject.AGENCY): Subject.AGENCY,
    int(Subject.LOCK): Subject.AGENCY,
}
"""Whose histories are news, and as what they are told. Node records and heartbeats come daily and change
nothing that anybody looks up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsItem:
    """Something whose record is not what it was."""

    subject: Annotated[SubjectNumber, Key(1)]
    code: Annotated[Text, Key(2)] = ""


@kind(110, "sequence")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryNews:
    """What one step changed, or a part of it."""

    sequence: Annotated[Count, Key(1)]
    time_ms: Annotated[TimeMs, Key(2)]
    items: Annotated[tuple[NewsItem, ...], Meta(min_length=1, max_length=NEWS_ROW_MAX), Key(3)]


@kind(111)
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryNewsHead:
    """Which rows there are: from `first` to before `following`."""

    first: Annotated[Count, Key(1)]
    following: Annotated[Count, Key(2)]


EMPTY_HEAD: Final = DirectoryNewsHead(first=1, following=1)


def head_of(records: Records) -> DirectoryNewsHead:
    """Which rows there are."""
    return records.get(DirectoryNewsHead) or EMPTY_HEAD


def news_changes(changes: Sequence[Any], records: Records, now_ms: int, *, clock_trusted: bool) -> tuple[Change, ...]:
    """What to commit with these changes, so that they can be followed; nothing for others."""
    items = [NewsItem(subject=subject, code=code) for subject, code in dict.fromkeys(_told(changes))]
    if not items:
        return ()
    head = head_of(records)
    made: list[Change] = []
    first, following = head.first, head.following
    for at in range(0, len(items), NEWS_ROW_MAX):
        row = DirectoryNews(sequence=following, time_ms=now_ms, items=tuple(items[at : at + NEWS_ROW_MAX]))
        following += 1
        gone = list(_old(records, first, following, now_ms if clock_trusted else 0))
        first += len(gone)
        made += [*gone, Put(row)]
    return (*made, Put(DirectoryNewsHead(first=first, following=following)))


def _told(changes: Iterable[Any]) -> Iterator[tuple[int, str]]:
    for change in changes:
        record = change.record if isinstance(change, Put) else None
        if isinstance(record, DirectoryHistory) and record.subject in _TOLD:
            yield int(_TOLD[record.subject]), record.code
        elif isinstance(record, DirectoryFork):
            yield int(Subject.FORK), fork_code(record.registrar, record.generation)


def _old(records: Records, first: int, following: int, now_ms: int) -> Iterator[Change]:
    """Deletes of the oldest rows that are too old or too many; by time only if `now_ms` can be trusted."""
    for sequence in range(first, min(first + SWEPT_AT_ONCE, following)):
        row = records.get(DirectoryNews, sequence)
        too_many = following - sequence > NEWS_ROWS_MAX
        if row is None or not (too_many or row.time_ms + NEWS_KEPT_MS < now_ms):
            return
        yield Delete(DirectoryNews, (sequence,))
