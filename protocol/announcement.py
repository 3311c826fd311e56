"""Announcements: what a node tells all others at once when it has learned something of the directory.

Spec: `spec/announcement.md` (DESIGN §5, "the fast hint"). Bytes in, a checked value out, and the other
way round in as few pieces as hold it. When something is announced and what follows from hearing it
is `node/announcements.py`; how it travels is the transport's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Final

from protocol.checkpoint import check_registrar
from protocol.directory import Positive, Registrar
from protocol.encoding import Count, Digest, Extensions, Format, Key, Meta, TimeMs
from protocol.errors import FormatError
from protocol.heads import LogHead
from protocol.limits import (
    ANNOUNCED_LOGS_MAX,
    ANNOUNCED_THINGS_MAX,
    ANNOUNCEMENT_BYTES_MAX,
    ANNOUNCEMENTS_ROW_MAX,
)
from protocol.prefix_tree import EMPTY

TOPIC: Final = "/truc/directory/1"
"""Under which the content travels; a newer form will have another."""
THING_OVERHEAD_BYTES: Final = 5
"""Length of a byte string in MessagePack, at most."""
ROOM_BYTES: Final = 8
"""Key and length of the list of things, which an announcement without any does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogMark:
    """Up to this number everything of a registrar's log is known to whoever announces."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    number: Annotated[Count, Key(3)]

    def is_beyond(self, head: LogHead | None) -> bool:
        """Whether it claims more than a node knows whose head of this log this is."""
        if head is None:
            return True
        return (self.generation, self.number) > (head.generation, head.number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """New things, and how far their logs are known. All of it is a claim."""

    created_ms: Annotated[TimeMs, Key(1)]
    heads: Annotated[Digest, Key(2)] = EMPTY
    logs: Annotated[tuple[LogMark, ...], Meta(max_length=ANNOUNCED_LOGS_MAX), Key(3)] = ()
    things: Annotated[
        tuple[Annotated[bytes, Meta(min_length=1)], ...], Meta(max_length=ANNOUNCED_THINGS_MAX), Key(4)
    ] = ()
    extensions: Extensions = field(default_factory=dict)


ANNOUNCEMENT: Final = Format("truc/announcement/1", Announcement, bytes_max=ANNOUNCEMENT_BYTES_MAX)


def read_announcement(content: bytes) -> Announcement:
    """An announcement from its canonical bytes; its things are unread.

    Raises:
        FormatError: as `Format.decode`; `format_field`, `format_agency_code`.
    """
    value = ANNOUNCEMENT.decode(content)
    check_announcement(value)
    return value


def check_announcement(value: Announcement) -> None:
    """The rules of spec/announcement.md §1 beyond the shape. Raises: as `read_announcement`."""
    if value.heads == EMPTY and (value.logs or not value.things):
        raise FormatError("format_field", field="heads", reason="zero, with logs or without things")
    if any(a.registrar >= b.registrar for a, b in pairwise(value.logs)):
        raise FormatError("format_field", field="logs", reason="not in ascending order")
    for mark in value.logs:
        check_registrar(mark.registrar, field="logs.registrar")
    if len(set(value.things)) < len(value.things):
        raise FormatError("format_field", field="things", reason="repeated")


def pack(
    things: Iterable[bytes], *, created_ms: int, heads: bytes = EMPTY, logs: Sequence[LogMark] = ()
) -> tuple[bytes, ...]:
    """A row of announcements with these things (wire bytes, each once), the last of which tells heads and logs.

    What fits into no announcement, or into none of the row, is left out; so are logs beyond the bound.
    """
    marks = tuple(sorted(logs, key=lambda mark: mark.registrar)[:ANNOUNCED_LOGS_MAX]) if heads != EMPTY else ()
    last = Announcement(created_ms=created_ms, heads=heads, logs=marks)
    groups = _groups(things, ANNOUNCEMENT_BYTES_MAX - len(ANNOUNCEMENT.encode(last)) - ROOM_BYTES)
    if not groups:
        return (ANNOUNCEMENT.encode(last),) if heads != EMPTY else ()
    row = [Announcement(created_ms=created_ms, things=tuple(group)) for group in groups]
    row[-1] = replace(last, things=row[-1].things)
    return tuple(ANNOUNCEMENT.encode(value) for value in row)


def _groups(things: Iterable[bytes], bytes_max: int) -> list[list[bytes]]:
    groups: list[list[bytes]] = []
    left = 0
    for thing in things:
        size = len(thing) + THING_OVERHEAD_BYTES
        if size > bytes_max:
            continue
        if not groups or size > left or len(groups[-1]) == ANNOUNCED_THINGS_MAX:
            if len(groups) == ANNOUNCEMENTS_ROW_MAX:
                break
            groups.append([])
            left = bytes_max
        groups[-1].append(thing)
        left -= size
    return groups
