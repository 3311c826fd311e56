"""An introduction: with what a peer shows that a centre record names it.

Spec: `spec/joining.md` §2. Pure: which things make an introduction, and whether those that came are
worth judging at all. The frame is `reconcile_frames.Introduced`; judging is `directory_import.py`,
and who hears and answers `node/introduction.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.directory import CENTRE, ROOT, CentreRecord, not_a_record
from protocol.errors import FormatError, TrustError
from protocol.limits import (
    DIRECTORY_WIRE_BYTES_MAX,
    INTRODUCTION_CENTRES_MAX,
    INTRODUCTION_THINGS_MAX,
    RECONCILE_QUESTION_BYTES_MAX,
)
from protocol.signing import Signed

FRAME_ROOM: Final = RECONCILE_QUESTION_BYTES_MAX - 16
"""For things with their lengths: frame type, map, key and the list's length take the rest."""
LENGTH_BYTES: Final = 5
"""Before each byte string, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """Who somebody says it is: the centre, and the things that are to show it."""

    centre: str
    things: tuple[bytes, ...]
    named: tuple[bytes, ...]
    """Digests of the centre's records that name the peer id, newest first."""
    roots: tuple[bytes, ...]
    """Digests of the roots."""


def choose_things(centres: Iterable[bytes], roots: Iterable[bytes]) -> tuple[bytes, ...]:
    """What to send of these wires, each newest first: records of the own centre, then roots, while there is room."""
    chosen: list[bytes] = []
    room = FRAME_ROOM
    for wire in (*list(centres)[:INTRODUCTION_CENTRES_MAX], *roots):
        room -= len(wire) + LENGTH_BYTES
        if room < 0 or len(chosen) == INTRODUCTION_THINGS_MAX:
            break
        chosen.append(wire)
    return tuple(sorted(chosen))


def look(wires: Sequence[bytes], peer_id: str) -> Introduction:
    """Whether these things can lead to a centre record with this peer id; nothing is verified here.

    Raises:
        TrustError: `introduction_unproven`.
        FormatError: a thing that cannot be read, `format_newer`.
    """
    if len(wires) > INTRODUCTION_THINGS_MAX or len(set(wires)) != len(wires):
        raise _unproven(peer_id, "too many things")
    centres: list[tuple[CentreRecord, bytes]] = []
    roots: list[tuple[int, bytes]] = []
    for wire in wires:
        signed = Signed.from_wire(wire, bytes_max=DIRECTORY_WIRE_BYTES_MAX)
        if signed.format == CENTRE.name:
            centres.append((CENTRE.decode(signed.statement), signed.digest))
        elif signed.format == ROOT.name:
            roots.append((ROOT.decode(signed.statement).version, signed.digest))
        else:
            raise _other(signed.format, peer_id)
    named = [(record.created_ms, digest) for record, digest in centres if record.peer_id == peer_id]
    if not named:
        raise _unproven(peer_id, "no record names it")
    if len({record.code for record, _ in centres}) > 1:
        raise _unproven(peer_id, "several centres")
    return Introduction(
        centre=centres[0][0].code,
        things=tuple(wires),
        named=tuple(digest for _, digest in sorted(named, reverse=True)),
        roots=tuple(digest for _, digest in sorted(roots, reverse=True)),
    )


def _other(name: str, peer_id: str) -> FormatError | TrustError:
    error = not_a_record(name)
    return error if error.code == "format_newer" else _unproven(peer_id, "other things")


def _unproven(peer_id: str, reason: str) -> TrustError:
    return TrustError("introduction_unproven", peer=peer_id, reason=reason)
