"""What an authority's folder holds, as logs: numbers given, what each next version starts from, checkpoints.

Spec: `protocol/spec/checkpoint.md` §1, §2. Believing is `protocol/directory_import.py`, as in every
node; besides, things that a registrar's key has begun and others still must sign are known here,
so that an act that was interrupted is neither forgotten nor given another number. Nothing is
signed or written here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from protocol.checkpoint import CHECKPOINT, NUMBERED, Checkpoint
from protocol.court import signers_of, subject_of
from protocol.directory import (
    FORMATS,
    LOCK,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Numbered,
    Root,
)
from protocol.directory_import import Rejected, Terms, import_things
from protocol.directory_kinds import DirectoryNumber, Subject
from protocol.directory_view import DirectoryView, RecordCache
from protocol.entitlement import Known, role_keys
from protocol.entitlement import registrar as find_registrar
from protocol.errors import NotNow, TrucError
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.record import Change
from protocol.signing import PublicKey, Signed, Verifier
from protocol.staged import Staged
from protocol.standing import order_of

CACHE_RECORDS: Final = 65_536
"""Decoded records in memory, about 2 KB each: a reorganised province and a half, twice."""

MEMO_ENTRIES: Final = 262_144
"""Verified signatures that are remembered: a tool judges the same things several times in one call."""

KEPT_FORMATS: Final = frozenset({ROOT.name, LOCK.name, *NUMBERED})
"""What a folder holds: what registrars say, and locks. Node records and heartbeats pass by."""

_DATED: Final[dict[str, Any]] = {**FORMATS, **NUMBERED}


# --- one log --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What stands under a number; subject 0 is a checkpoint."""

    digest: bytes
    subject: int
    code: str


@dataclass(slots=True)
class RegistrarLog:
    """What a registrar signed, or has begun to sign, in one generation, by number."""

    entries: dict[int, Entry] = field(default_factory=dict)

    @property
    def top(self) -> int:
        """The largest number; 0 before the first."""
        return max(self.entries, default=0)

    @property
    def is_whole(self) -> bool:
        """Whether no number is missing."""
        return len(self.entries) == self.top

    def current(self, *, below: int) -> dict[tuple[int, str], bytes]:
        """The digest of the newest version of each record with a smaller number than this."""
        return {
            (entry.subject, entry.code): entry.digest
            for number, entry in sorted(self.entries.items())
            if entry.subject and number < below
        }

    def last_checkpoint(self, *, below: int | None = None) -> bytes:
        """The digest of the newest checkpoint; zeros before the first."""
        numbers = [n for n, entry in self.entries.items() if not entry.subject and (below is None or n < below)]
        return self.entries[max(numbers)].digest if numbers else EMPTY


def tree_of(current: dict[tuple[int, str], bytes]) -> PrefixTree:
    """The prefix tree over these records."""
    return PrefixTree.of_sorted(sorted((tree_key(*about), digest) for about, digest in current.items()))


def says_truly(checkpoint: Checkpoint, log: RegistrarLog) -> bool:
    """Whether a checkpoint says what this log holds below its number, and the log lacks nothing there."""
    if any(number not in log.entries for number in range(1, checkpoint.number)):
        return False
    tree = tree_of(log.current(below=checkpoint.number))
    found = (len(tree), tree.root, log.last_checkpoint(below=checkpoint.number))
    return found == (checkpoint.count, checkpoint.root, checkpoint.previous)


def by_root(things: Iterable[Signed], now_ms: int) -> list[tuple[int, list[Signed]]]:
    """The things in parts, each from the date of one version of the root to that of the next, with its end."""
    rest: list[tuple[int, Signed]] = []
    roots: list[tuple[int, Signed]] = []
    for signed in things:
        form = _DATED.get(signed.format)
        try:
            value = form.decode(signed.statement) if form is not None else None
        except TrucError:
            value = None  # told when it is judged
        date_ms: int = getattr(value, "created_ms", getattr(value, "from_ms", 0))
        (roots if isinstance(value, Root) else rest).append((date_ms, signed))
    roots.sort(key=lambda item: item[0])
    parts: list[list[Signed]] = [[], *([root] for _, root in roots)]
    begins = [date_ms for date_ms, _ in roots]
    for date_ms, signed in rest:
        parts[bisect_right(begins, date_ms)].append(signed)
    return list(zip([*(min(date_ms, now_ms) for date_ms in begins), now_ms], parts, strict=True))


# --- everything -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many things are believed, and what still lacks something, and what."""

    accepted: int
    rejected: tuple[Rejected, ...]


class Issued:
    """Everything in the folder: things by digest, the tree as nodes believe it, logs, and drafts."""

    def __init__(
        self,
        anchor: bytes,
        verifier: Verifier | None = None,
        *,
        remembers: bool = True,
        records: Staged | None = None,
    ) -> None:
        """`remembers`: as whoever took in each thing on its date, and believes on what a key said
        before the root that revokes it; else as a node that joins now. `records`: what was judged before."""
        self.anchor: Final = anchor
        self._remembers: Final = remembers
        self.verifier: Final = verifier if verifier is not None else Verifier(MEMO_ENTRIES)
        self.things: Final[dict[bytes, Signed]] = {}
        self.logs: Final[dict[tuple[str, int], RegistrarLog]] = {}
        self._records: Final = Staged() if records is None else records
        self.view: Final = DirectoryView(self._records, RecordCache(CACHE_RECORDS))
        self._open: dict[bytes, Signed] = {}
        self._begun: set[bytes] = set()
        self._drafts: dict[tuple[Subject, str], dict[bytes, Numbered]] = {}
        self._reasons: dict[bytes, Rejected] = {}

    def take(self, things: Iterable[Signed], now_ms: int) -> None:
        """Keep these; believe of them, and of what waited, what the rules believe as of now.

        An endorsement is asked for always: how long nodes have known a code is not known here.
        """
        fresh = {signed.digest: signed for signed in things}
        self.things.update(fresh)
        judged = {**self._open, **fresh}
        parts = by_root(judged.values(), now_ms) if self._remembers else [(now_ms, list(judged.values()))]
        for until_ms, part in parts:
            self._judge(part, now_ms, until_ms)
        for signed in judged.values():
            self._enter(signed)

    def resume(self, things: Iterable[Signed]) -> None:
        """Go on with records that were judged before, of these things."""
        self.things.update((signed.digest, signed) for signed in things)
        for row in self._records.scan(DirectoryNumber, limit=len(self.things) + 1):
            log = self.logs.setdefault((row.registrar, row.generation), RegistrarLog())
            log.entries[row.number] = Entry(digest=row.digest, subject=row.subject, code=row.code)

    def beside(self) -> Issued:
        """A copy on top of this one, to try out what further things would change."""
        copy = Issued(self.anchor, self.verifier, remembers=self._remembers, records=Staged(self._records))
        copy.things.update(self.things)
        copy.logs.update((place, RegistrarLog(dict(log.entries))) for place, log in self.logs.items())
        copy._open, copy._begun = dict(self._open), set(self._begun)
        copy._drafts = {about: dict(drafts) for about, drafts in self._drafts.items()}
        copy._reasons = dict(self._reasons)
        return copy

    def changes(self) -> Sequence[Change]:
        """What judging changed in the records, in order."""
        return self._records.changes

    def _judge(self, things: Sequence[Signed], now_ms: int, until_ms: int) -> None:
        result = import_things(
            [signed.to_wire() for signed in things],
            self._records,
            anchor=self.anchor,
            verifier=self.verifier,
            now_ms=now_ms,
            cache=self.view.cache,
            terms=Terms(joining_ms=0, as_of_ms=until_ms),
        )
        self._records.stage(result.changes)
        for signed in things:
            self._reasons.pop(signed.digest, None)
        self._reasons.update({item.digest: item for item in result.rejected})

    def log(self, registrar: str, generation: int) -> RegistrarLog:
        """A registrar's log; empty if it never signed anything."""
        return self.logs.get((registrar, generation), RegistrarLog())

    def checkpoint(self, digest: bytes) -> Checkpoint | None:
        """The checkpoint with this digest."""
        known = self.things.get(digest)
        return None if known is None or known.format != CHECKPOINT.name else CHECKPOINT.decode(known.statement)

    def waiting(self, now_ms: int) -> Waiting:
        """What lacks something as of now, pending versions included."""
        self.take((), now_ms)
        rows = list(self._reasons.values())
        for row in self.view.all_pending(limit=1_000_000):
            signed = self.things[row.digest]
            error = NotNow("directory_pending", code=row.code)
            rows.append(Rejected(about=f"{signed.format} {row.code}", digest=row.digest, error=error))
        return Waiting(accepted=len(self.things) - len(self._open), rejected=tuple(rows))

    def kept(self) -> list[Signed]:
        """What the folder writes down: what is believed, and what somebody entitled has begun to sign.

        Anything else in a file that was read is nobody's word, and must not become it by being judged
        again another day.
        """
        return [
            signed
            for digest, signed in self.things.items()
            if signed.format in KEPT_FORMATS and (digest not in self._open or digest in self._begun)
        ]

    def drafts(self) -> tuple[Signed, ...]:
        """What somebody entitled has begun to sign and others still have to."""
        return tuple(self.things[digest] for digest in sorted(self._begun))

    def other_root_begun(self, signed: Signed, own: Iterable[bytes]) -> Signed | None:
        """The draft that keys of these ids have signed, and that has the number of this version of the root.

        Both complete would be a fork of everything (spec/key_request.md §3).
        """
        version, ids = ROOT.decode(signed.statement).version, tuple(own)
        for draft in self.drafts():
            same = draft.format == ROOT.name and draft.digest != signed.digest
            if same and ROOT.decode(draft.statement).version == version and any(map(draft.has_signature_of, ids)):
                return draft
        return None

    def is_next_root(self, signed: Signed) -> bool:
        """Whether this is the version of the root that is to come: the trusted one itself before any is believed."""
        versions = self.view.root_versions()
        if not versions:
            return signed.digest == self.anchor
        return ROOT.decode(signed.statement).version == versions[0].value.version + 1

    def forget(self, digest: bytes) -> None:
        """Take out a draft that has no number: a version of the root that nobody will complete."""
        del self._open[digest], self.things[digest]
        self._begun.discard(digest)
        self._reasons.pop(digest, None)

    # --- what the next version starts from ----------------------------------------------------

    def agency(self, code: str) -> Known[AgencyRecord] | None:
        """The newest version of an agency's record: in force, pending, or still to be signed by others."""
        return self._newest(Subject.AGENCY, code)

    def centre(self, code: str) -> Known[CentreRecord] | None:
        """As `agency`, of a centre."""
        return self._newest(Subject.CENTRE, code)

    def _newest(self, subject: Subject, code: str) -> Known[Any] | None:
        versions = self.view.versions(subject, code)
        pending = self.view.pending_version(subject, code)
        drafts = self._drafts.get((subject, code), {})
        found = [*versions[:1], *([pending] if pending is not None else [])]
        found += [Known(value, digest) for digest, value in drafts.items() if self._may_come(digest, value)]
        return max(found, key=order_of, default=None)

    def _may_come(self, digest: bytes, value: Numbered) -> bool:
        if digest not in self._begun:
            return False
        try:
            return find_registrar(self.view, value.registrar, value.created_ms).generation == value.generation
        except TrucError:
            return False

    # --- pieces -----------------------------------------------------------------------------

    def _enter(self, signed: Signed) -> None:
        accepted = self.view.was_accepted(signed.digest)
        if accepted:
            self._open.pop(signed.digest, None)
        else:
            self._open[signed.digest] = signed
        form = _DATED.get(signed.format)
        value = self._begun_value(signed) if not accepted and form is not None else None
        if value is not None:
            self._begun.add(signed.digest)
        else:
            self._begun.discard(signed.digest)
        if signed.format in NUMBERED and (accepted or value is not None):
            self._number(signed, NUMBERED[signed.format].decode(signed.statement), accepted=accepted)

    def _begun_value(self, signed: Signed) -> Any:
        """The statement, if a key of whoever may say it signed it: anybody can write a large number
        into a file. None otherwise, and for a second draft under a number, as long as nothing is proved."""
        try:
            value = _DATED[signed.format].decode(signed.statement)
            signers_of(signed, self._entitled(signed, value), self.verifier, needed=1)
        except TrucError:
            return None
        if isinstance(value, Root) or self.view.fork(value.registrar, value.generation) is not None:
            return value
        entry = self.log(value.registrar, value.generation).entries.get(value.number)
        return value if entry is None or entry.digest == signed.digest else None

    def _entitled(self, signed: Signed, value: Any) -> Mapping[bytes, PublicKey]:
        """The keys of whoever may say this. Raises: TrucError."""
        if isinstance(value, Root):
            versions = self.view.root_versions()
            before = versions[0].value if versions else value
            return role_keys(before, ROLE_ROOT, value.created_ms) if self.is_next_root(signed) else {}
        if isinstance(value, CentreRecord | AgencyRecord | Checkpoint):
            return find_registrar(self.view, value.registrar, value.created_ms).keys.keys
        return {}

    def _number(self, signed: Signed, value: Any, *, accepted: bool) -> None:
        subject = 0 if isinstance(value, Checkpoint) else int(subject_of(value))
        code = value.code if subject else ""
        log = self.logs.setdefault((value.registrar, value.generation), RegistrarLog())
        if accepted or value.number not in log.entries:
            log.entries[value.number] = Entry(digest=signed.digest, subject=subject, code=code)
        if subject and not accepted:
            self._drafts.setdefault((Subject(subject), code), {})[signed.digest] = value
