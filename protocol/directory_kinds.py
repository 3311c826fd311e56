"""How the directory lies in the store: record kinds 100 to 109. Spec: `spec/directory.md` §6.

Signed things are kept by digest and never deleted, so that whatever was judged by a version
can name it for ever. Everything else here is an index that can be rebuilt from the things.
What changes when a thing is accepted is decided in `directory_view.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from protocol import limits
from protocol.encoding import Count, Digest, Key, Meta, TimeMs
from protocol.record import kind


class Subject(IntEnum):
    """What a record is about."""

    ROOT = 1
    CENTRE = 2
    AGENCY = 3
    NODE = 4
    LOCK = 5


SubjectNumber = Annotated[int, Meta(ge=1, le=5)]
Text = Annotated[str, Meta(max_length=128)]

@kind(100, "digest")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryThing:
    """A signed thing, verbatim. Never deleted."""

    digest: Annotated[Digest, Key(1)]
    wire: Annotated[bytes, Meta(max_length=2 * limits.STATEMENT_BYTES_MAX), Key(2)]
    accepted_ms: Annotated[TimeMs, Key(3)]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRef:
    """One accepted version: the thing's digest and when it was made."""

    digest: Annotated[Digest, Key(1)]
    created_ms: Annotated[TimeMs, Key(2)]


@kind(101, "subject", "code")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryHistory:
    """The versions of the root (code ``), a centre, agency, node (by centre code) or lock; the one
    in force first, and as many older ones as are looked at when judging by the past."""

    subject: Annotated[SubjectNumber, Key(1)]
    code: Annotated[Text, Key(2)]
    versions: Annotated[
        tuple[VersionRef, ...], Meta(min_length=1, max_length=limits.DIRECTORY_VERSIONS_MAX), Key(3)
    ]


@kind(103, "registrar", "generation", "number")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryNumber:
    """What a registrar signed under a number; a second thing under it proves a fork."""

    registrar: Annotated[Text, Key(1)]
    generation: Annotated[Count, Key(2)]
    number: Annotated[Count, Key(3)]
    digest: Annotated[Digest, Key(4)]


@kind(104, "registrar", "generation")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFork:
    """Proof that a registrar signed two things under one number; closes the generation to new things."""

    registrar: Annotated[Text, Key(1)]
    generation: Annotated[Count, Key(2)]
    number: Annotated[Count, Key(3)]
    first: Annotated[Digest, Key(4)]
    second: Annotated[bytes, Meta(max_length=2 * limits.STATEMENT_BYTES_MAX), Key(5)]


@kind(105, "alias", "code")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryAlias:
    """A record in force claims this alias; `live` unless it is closed."""

    alias: Annotated[Text, Key(1)]
    code: Annotated[Text, Key(2)]
    live: Annotated[bool, Key(3)]


@kind(106, "centre", "code")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryHosting:
    """An agency (of any state) that this centre hosts now."""

    centre: Annotated[Text, Key(1)]
    code: Annotated[Text, Key(2)]


@kind(107, "peer_id", "centre")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPeer:
    """A centre's record in force names this peer id."""

    peer_id: Annotated[Text, Key(1)]
    centre: Annotated[Text, Key(2)]
