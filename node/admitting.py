"""Who is admitted, read from the directory: whose peer id counts for which centre, and until when.

Obeys `protocol/spec/joining.md` §3 (DESIGN §5). Pure over a directory and a moment; connections are
the transport's, links `node/peers.py`'s, and asking again at the right time `node/daemon.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from node.logs import Log
from protocol.directory import CentreRecord, RecordState
from protocol.directory_kinds import DirectoryHistory, Subject
from protocol.directory_view import DirectoryView
from protocol.limits import CLOSED_ADMITTED_MS

CENTRES_MAX: Final = 10_000

NOT_NAMED: Final = "not_named"
PEER_ID_CHANGED: Final = "peer_id_changed"
CLOSED: Final = "closed"
PEER_ID_TWICE: Final = "peer_id_twice"


class _Rank(IntEnum):
    """Whose claim to a peer id goes first."""

    LIVE = 0
    CONTACT = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    centre: str
    peer_id: str
    rank: _Rank
    created_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admissions:
    """Centre → peer id; why others are not in (any more); and when to ask again although nothing changed."""

    peers: Mapping[str, str]
    refused: Mapping[str, str]
    """Centre → reason, of centres whose record names a peer id that is not admitted for them."""
    doubled: Mapping[str, tuple[str, ...]]
    """Peer id → the centres that name it, the admitted one first."""
    next_ms: int | None

    def why_not(self, centre: str, peer_id: str) -> str:
        """Why this centre is no longer admitted with this peer id."""
        if self.peers.get(centre, peer_id) != peer_id:
            return PEER_ID_CHANGED
        return self.refused.get(centre, NOT_NAMED)


NOBODY: Final = Admissions(peers={}, refused={}, doubled={}, next_ms=None)


def admissions(view: DirectoryView, *, contacts: Mapping[str, str], before: Admissions, now_ms: int) -> Admissions:
    """Who is admitted at this moment. `contacts`: centre → peer id of the configuration; `before`: the last answer."""
    claims: list[_Claim] = []
    refused: dict[str, str] = {}
    ends: list[int] = []
    known = {record.code: record for record in _centres(view)}
    for record in known.values():
        closed_ms = closed_since_ms(view, record)
        if closed_ms is None:
            claims.append(_claim(record, _Rank.LIVE))
        elif now_ms < closed_ms + CLOSED_ADMITTED_MS:
            claims.append(_claim(record, _Rank.CLOSED))
            ends.append(closed_ms + CLOSED_ADMITTED_MS)
        else:
            refused[record.code] = CLOSED
    for centre, peer_id in contacts.items():
        if centre not in known:
            claims.append(_Claim(centre=centre, peer_id=peer_id, rank=_Rank.CONTACT))
    chosen = _choose(claims, before.peers)
    doubled = {peer_id: tuple(one.centre for one in several) for peer_id, several in chosen.items() if len(several) > 1}
    for others in doubled.values():
        refused.update(dict.fromkeys(others[1:], PEER_ID_TWICE))
    peers = {several[0].centre: peer_id for peer_id, several in chosen.items()}
    return Admissions(
        peers=dict(sorted(peers.items())), refused=refused, doubled=doubled, next_ms=min(ends, default=None)
    )


def tell_doubled(log: Log, found: Admissions, before: Admissions) -> None:
    """Alarm for every peer id that several centres name, when that is new."""
    for peer_id, centres in found.doubled.items():
        if before.doubled.get(peer_id) != centres:
            log.error("alarm", code=PEER_ID_TWICE, peer=peer_id, centres=list(centres), kept=centres[0])


def closed_since_ms(view: DirectoryView, record: CentreRecord) -> int | None:
    """The date of the first version of the unbroken run of closed ones that the newest belongs to; None if it lives.

    Registrars sign a closed record again, with a later date, when they open a new generation.
    """
    since_ms: int | None = None
    pending = view.pending_centre(record.code)
    if pending is not None and pending.value.state is RecordState.CLOSED:
        since_ms = pending.value.created_ms
    for version in view.centre_versions(record.code):
        if version.value.state is not RecordState.CLOSED:
            break
        since_ms = version.value.created_ms if since_ms is None else min(since_ms, version.value.created_ms)
    return since_ms


def _centres(view: DirectoryView) -> list[CentreRecord]:
    rows = view.records.scan(DirectoryHistory, int(Subject.CENTRE), limit=CENTRES_MAX)
    return [view.cache.value(view.records, row.versions[0].digest) for row in rows]


def _claim(record: CentreRecord, rank: _Rank) -> _Claim:
    return _Claim(centre=record.code, peer_id=record.peer_id, rank=rank, created_ms=record.created_ms)


def _choose(claims: Iterable[_Claim], before: Mapping[str, str]) -> dict[str, list[_Claim]]:
    """Of each peer id the claims, the one that counts first."""
    found: dict[str, list[_Claim]] = {}
    for claim in claims:
        found.setdefault(claim.peer_id, []).append(claim)
    for several in found.values():
        several.sort(key=lambda one: (one.rank, before.get(one.centre) != one.peer_id, one.created_ms, one.centre))
    return found
