"""The news: which changes are told, in how many rows, and what is swept."""

from __future__ import annotations

from typing import Any

from protocol.directory_kinds import DirectoryFork, DirectoryHistory, DirectoryNumber, Subject, VersionRef
from protocol.directory_news import (
    NEWS_KEPT_MS,
    NEWS_ROW_MAX,
    NEWS_ROWS_MAX,
    DirectoryNews,
    DirectoryNewsHead,
    NewsItem,
    head_of,
    news_changes,
)
from protocol.record import Change, Delete, Put
from protocol.staged import Staged

NOW = 1_800_000_000_000


def history(subject: Subject, code: str) -> Put:
    ref = VersionRef(digest=bytes(32), created_ms=1)
    return Put(DirectoryHistory(subject=int(subject), code=code, versions=(ref,)))


def tell(records: Staged, *changes: Any, now_ms: int = NOW, clock_trusted: bool = True) -> tuple[Change, ...]:
    made = news_changes(changes, records, now_ms, clock_trusted=clock_trusted)
    records.stage(made)
    return made


def rows(records: Staged) -> list[DirectoryNews]:
    return records.scan(DirectoryNews)


def test_a_step_is_told_in_one_row_and_each_record_once() -> None:
    records = Staged()
    fork = DirectoryFork(registrar="H38", generation=2, number=5, first=bytes(32), second=b"b", first_wire=b"a")
    made = tell(
        records, history(Subject.AGENCY, "H38"), history(Subject.AGENCY, "H38"), history(Subject.LOCK, "H38"),
        history(Subject.CENTRE, "00.01.W00"), history(Subject.ROOT, ""), Put(fork),
    )  # fmt: skip
    assert len(made) == 2
    assert [(item.subject, item.code) for item in rows(records)[0].items] == [
        (Subject.AGENCY, "H38"), (Subject.CENTRE, "00.01.W00"), (Subject.ROOT, ""), (Subject.FORK, "H38/2"),
    ]  # fmt: skip
    assert head_of(records) == DirectoryNewsHead(first=1, following=2)


def test_what_changes_nothing_that_is_looked_up_is_no_news() -> None:
    number = DirectoryNumber(registrar="H38", generation=1, number=1, digest=bytes(32))
    quiet = (history(Subject.NODE, "00.01.W00"), history(Subject.HEARTBEAT, "H38"), Put(number))
    assert tell(Staged(), *quiet, Delete(DirectoryHistory, (3, "H38"))) == ()


def test_many_changes_take_a_row_for_each_256() -> None:
    records = Staged()
    tell(records, *(history(Subject.AGENCY, f"H38.{n}") for n in range(2 * NEWS_ROW_MAX + 1)))
    assert [len(row.items) for row in rows(records)] == [NEWS_ROW_MAX, NEWS_ROW_MAX, 1]
    assert [row.sequence for row in rows(records)] == [1, 2, 3]


def test_rows_older_than_35_days_go_two_at_a_time_and_never_by_a_doubtful_clock() -> None:
    records = Staged()
    for n in range(5):
        tell(records, history(Subject.AGENCY, f"H38.{n}"))
    later = NOW + NEWS_KEPT_MS + 1
    tell(records, history(Subject.AGENCY, "H39"), now_ms=later, clock_trusted=False)
    assert head_of(records) == DirectoryNewsHead(first=1, following=7)
    tell(records, history(Subject.AGENCY, "H39"), now_ms=later)
    assert [row.sequence for row in rows(records)] == [3, 4, 5, 6, 7]
    assert head_of(records) == DirectoryNewsHead(first=3, following=8)


def test_there_are_never_more_rows_than_are_kept() -> None:
    records = Staged()
    item = NewsItem(subject=int(Subject.AGENCY), code="H38")
    first, following = 1, NEWS_ROWS_MAX + 1
    records.stage([Put(DirectoryNews(sequence=n, time_ms=NOW, items=(item,))) for n in (1, 2, 3)])
    records.stage([Put(DirectoryNewsHead(first=first, following=following))])
    tell(records, history(Subject.AGENCY, "H39"))
    assert head_of(records) == DirectoryNewsHead(first=2, following=following + 1)
