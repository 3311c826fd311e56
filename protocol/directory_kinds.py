"""How the directory lies in the store: record kinds 100 to 109, and 112. Spec: `spec/directory.md` §6.

Signed things are kept by digest and never deleted, so that whatever was judged by a version
can name it for ever. Everything else here is an index that can be rebuilt from the things.
What changes when a thing is accepted is decided in `directory_changes.py`.
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
    HEARTBEAT = 6
    FORK = 7
    PENDING = 8
    """In trees only: the pending version of a record."""
    MEANWHILE = 9
    """In trees only: the version in force of a record that has a pending one."""


SubjectNumber = Annotated[int, Meta(ge=1, le=7)]
NumberedSubject = Annotated[int, Meta(ge=0, le=7)]
"""A subject, or 0 for a registrar's checkpoint, which is about its own log."""
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
    """One accepted version: the thing's digest, when it was made, and since when it is in force here
    (0: since it was made; later for one that was pending)."""

    digest: Annotated[Digest, Key(1)]
    created_ms: Annotated[TimeMs, Key(2)]
    from_ms: Annotated[TimeMs, Key(3)] = 0


@kind(101, "subject", "code")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryHistory:
    """The versions of the root (code ``), a centre, agency, node (by centre code) or lock; the one
    in force first, and as many older ones as are looked at when judging by the past.

    `since_ms`: when this node first saw the code. `aside`: versions that belong to the log and
    never counted here (replaced while pending, late and not vouched for, contradictory), newest first.
    """

    subject: Annotated[SubjectNumber, Key(1)]
    code: Annotated[Text, Key(2)]
    versions: Annotated[
        tuple[VersionRef, ...], Meta(min_length=1, max_length=limits.DIRECTORY_VERSIONS_MAX), Key(3)
    ]
    since_ms: Annotated[TimeMs, Key(4)] = 0
    aside: Annotated[tuple[VersionRef, ...], Meta(max_length=limits.DIRECTORY_VERSIONS_MAX), Key(5)] = ()


@kind(103, "registrar", "generation", "number")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryNumber:
    """What a registrar signed under a number; a second thing under it proves a fork.

    Subject and code (2 centre, 3 agency; 0 and no code for a checkpoint) tell of which record the
    thing is a version: one scan over a generation gives what its prefix tree is made of.
    """

    registrar: Annotated[Text, Key(1)]
    generation: Annotated[Count, Key(2)]
    number: Annotated[Count, Key(3)]
    digest: Annotated[Digest, Key(4)]
    subject: Annotated[NumberedSubject, Key(5)] = 0
    code: Annotated[Text, Key(6)] = ""


@kind(104, "registrar", "generation")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFork:
    """Proof that a registrar signed two things under one number; closes the generation to new things.

    `first` is the smaller of the two digests; both wires are there, whichever was known before.
    """

    registrar: Annotated[Text, Key(1)]
    generation: Annotated[Count, Key(2)]
    number: Annotated[Count, Key(3)]
    first: Annotated[Digest, Key(4)]
    second: Annotated[bytes, Meta(max_length=2 * limits.STATEMENT_BYTES_MAX), Key(5)]
    first_wire: Annotated[bytes, Meta(max_length=2 * limits.STATEMENT_BYTES_MAX), Key(6)]


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
    """An agency (of any state) that this centre hosts now; kept for the centre this node serves."""

    centre: Annotated[Text, Key(1)]
    code: Annotated[Text, Key(2)]


@kind(107, "peer_id", "centre")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPeer:
    """A centre's record in force names this peer id."""

    peer_id: Annotated[Text, Key(1)]
    centre: Annotated[Text, Key(2)]


@kind(108, "subject", "code")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPending:
    """The newest version of a record that needs an endorsement and has none.

    `since_ms`: when this node first saw the first of an unbroken row of such versions with the
    same protected content; 0 while its clock was not trusted, so that the time has not begun.
    """

    subject: Annotated[SubjectNumber, Key(1)]
    code: Annotated[Text, Key(2)]
    digest: Annotated[Digest, Key(3)]
    since_ms: Annotated[TimeMs, Key(4)]

    @property
    def due_ms(self) -> int:
        """When it comes into force by itself; 0 if its time has not begun."""
        return self.since_ms + limits.PENDING_MS if self.since_ms else 0


@kind(109, "due_ms", "subject", "code")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDue:
    """Pending versions by the moment at which they come into force; 0 stands before all others."""

    due_ms: Annotated[TimeMs, Key(1)]
    subject: Annotated[SubjectNumber, Key(2)]
    code: Annotated[Text, Key(3)]


@kind(112, "registrar", "generation", "previous")
@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryFollower:
    """The checkpoint that names this one as the one before it; zeros stand before the first. A second
    one proves a fork."""

    registrar: Annotated[Text, Key(1)]
    generation: Annotated[Count, Key(2)]
    previous: Annotated[Digest, Key(3)]
    digest: Annotated[Digest, Key(4)]
