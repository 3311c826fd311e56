"""Heads: how far a node knows each registrar's log, as one small value that two nodes compare.

Spec: `spec/reconcile.md` §1. Equal heads digests mean that both know the same; where they
differ, `differing` says in which logs. Asking itself is `reconcile.py`; which things
are known is kept by whoever holds them, with `Numbers` for the places in one log.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Final

from protocol.checkpoint import check_registrar
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, Positive, Registrar
from protocol.encoding import Count, Digest, Key, encode, lp
from protocol.errors import FormatError
from protocol.prefix_tree import EMPTY

HEADS_CONTEXT: Final = "truc/directory-heads/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """How far the newest generation of one registrar's log is known."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    number: Annotated[Count, Key(3)]
    """Every number from 1 to this one is known."""
    checkpoint: Annotated[Digest, Key(4)] = EMPTY
    """Digest of the newest checkpoint up to `number`."""
    root: Annotated[Digest, Key(5)] = EMPTY
    """The prefix tree over all that is known of this generation now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads:
    """All that a node knows of the directory; `logs` in ascending order of registrars, each once."""

    root_version: int = 0
    root_digest: bytes = EMPTY
    loose: bytes = EMPTY
    """The prefix tree over what has no number: node records, self-locks, heartbeats, fork proofs."""
    logs: tuple[LogHead, ...] = ()


def heads_digest(heads: Heads) -> bytes:
    """SHA-256 over lp(`truc/directory-heads/1`) and the canonical encoding of the heads."""
    logs = [[head.registrar, head.generation, head.number, head.checkpoint, head.root] for head in heads.logs]
    wire = [heads.root_version, heads.root_digest, heads.loose, logs]
    return sha256(lp(HEADS_CONTEXT) + encode(wire)).digest()


def check_order(logs: Iterable[LogHead], *, after: str = "") -> None:
    """Heads that a peer named: registrars well-formed, ascending, above `after`.

    Raises:
        FormatError: `format_agency_code`, `format_field`.
    """
    names = [after, *(head.registrar for head in logs)]
    if any(a >= b for a, b in pairwise(names)):
        raise FormatError("format_field", field="logs", reason="not in ascending order")
    for name in names[1:]:
        check_registrar(name, field="logs.registrar")


def parents_first(logs: Iterable[LogHead]) -> list[LogHead]:
    """The order in which logs are asked for: what entitles a registrar stands in a log before its own."""
    return sorted(logs, key=lambda head: (_rank(head.registrar), head.registrar))


def _rank(registrar: str) -> int:
    if registrar == ROLE_ROOT:
        return -2
    return -1 if registrar == ROLE_LEVEL_1 else registrar.count(".")


def differing(mine: Heads, theirs: Heads) -> list[LogHead]:
    """Their heads that are not mine, parents first: each may hold something that I lack."""
    own = {head.registrar: head for head in mine.logs}
    return parents_first(head for head in theirs.logs if own.get(head.registrar) != head)


# --- the known numbers of one log -----------------------------------------------------------


class Numbers:
    """Which numbers of one log are known: ranges, so that gaps cost nothing to find.

    A log without gaps is one range. Made again from `ranges`, which are ascending, apart from
    each other, and inclusive on both sides.
    """

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            assert 1 <= first <= last and (not self._lasts or self._lasts[-1] + 1 < first), "ranges out of order"
            self._firsts.append(first)
            self._lasts.append(last)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """What is known, as few ranges as possible."""
        return tuple(zip(self._firsts, self._lasts, strict=True))

    @property
    def reached(self) -> int:
        """The number up to which every one is known; 0 when 1 is not."""
        return self._lasts[0] if self._firsts and self._firsts[0] == 1 else 0

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def add(self, number: int) -> None:
        """This number is known now."""
        assert number >= 1
        if number in self:
            return
        at = bisect_right(self._firsts, number)  # the range behind the gap that the number lies in
        joins_before = at > 0 and self._lasts[at - 1] == number - 1
        joins_after = at < len(self._firsts) and self._firsts[at] == number + 1
        if joins_before and joins_after:
            self._lasts[at - 1] = self._lasts.pop(at)
            self._firsts.pop(at)
        elif joins_before:
            self._lasts[at - 1] = number
        elif joins_after:
            self._firsts[at] = number
        else:
            self._firsts.insert(at, number)
            self._lasts.insert(at, number)

    def missing(self, first: int, last: int) -> tuple[int, int] | None:
        """The first range of numbers from `first` to `last` of which none is known; None if all are."""
        at = bisect_right(self._firsts, first) - 1
        if at >= 0 and first <= self._lasts[at]:
            first = self._lasts[at] + 1
        if first > last:
            return None
        following = bisect_right(self._firsts, first)
        if following < len(self._firsts):
            last = min(last, self._firsts[following] - 1)
        return first, last
