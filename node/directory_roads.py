"""By which road something new came into the directory, and what is told of it to those who pass it on.

Serves `node/announcements.py` and the counters; the roads end at `node/directory_door.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

from protocol.checkpoint import Fork, fork_wire
from protocol.directory import AgencyRecord, CentreRecord
from protocol.directory_import import Imported


class Road(Enum):
    """Who brought it."""

    BROUGHT = "brought"
    """An operator, or this node about itself."""
    TOLD = "told"
    """A peer, about itself, in its hello."""
    ASKED = "asked"
    """A peer that was asked."""
    ANNOUNCED = "announced"
    """Whoever announced it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """A thing that this node did not know, or of which it did not know all signatures; durable now."""

    wire: bytes
    created_ms: int
    registrar: str = ""
    """In whose log it stands; empty for what has no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What one act brought."""

    road: Road
    news: tuple[News, ...]
    unnamed: int = 0
    """Of a large heap, how many things more."""


OnTaken = Callable[[Taken], None]


def news_of(imported: Imported) -> Generator[None, None, tuple[News, ...]]:
    """What is new in the result of an import, in the order in which it was believed; pauses after each."""
    news: list[News] = []
    for item in imported.accepted:
        registrar = item.value.registrar if isinstance(item.value, AgencyRecord | CentreRecord) else ""
        news.append(News(wire=item.signed.to_wire(), created_ms=item.created_ms, registrar=registrar))
        yield
    for mark in imported.checkpoints:
        value = mark.value
        news.append(News(wire=mark.signed.to_wire(), created_ms=value.created_ms, registrar=value.registrar))
        yield
    for beat in imported.heartbeats:
        news.append(News(wire=beat.signed.to_wire(), created_ms=beat.value.created_ms))
        yield
    return tuple(news)


def news_of_fork(proof: Fork, now_ms: int) -> News:
    """A proved fork is news whenever its things were made."""
    return News(wire=fork_wire(proof), created_ms=now_ms)
