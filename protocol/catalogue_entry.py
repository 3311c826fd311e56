"""A row of the table of outcomes (`catalogue.py`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row: `next_vi` and `next_en` say what the reader can do now.

    `family` names the error class, or two of them where one outcome is first distrusted and
    then answered with "not now" under the same code.
    """

    code: str
    family: str
    status: int
    vi: str
    en: str
    next_vi: str
    next_en: str


def row(family: str, status: int, code: str, vi: str, en: str, next_vi: str, next_en: str) -> Entry:
    """A row, written the way the tables are laid out."""
    return Entry(code=code, family=family, status=status, vi=vi, en=en, next_vi=next_vi, next_en=next_en)
