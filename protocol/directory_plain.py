"""First records in bulk: what can be decided about a record without its history, because it has none.

Spec: `spec/directory.md` §7. Nearly all of a nation's directory is, to a node that joins, the first
version of its record: nothing is compared, nothing endorsed. Reading such a thing is separated from
judging it, so that it can happen in another process; what comes out is as `directory_import.py` has it.
Whatever is not as plain as that is left to it: `read_plain` and `PlainCourt.take` say so with None.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final, NamedTuple

from protocol.court import Court
from protocol.directory import (
    AGENCY,
    CENTRE,
    NODE,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Numbered,
    RecordState,
    read,
)
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryHistory,
    DirectoryHosting,
    DirectoryNumber,
    DirectoryPeer,
    DirectoryThing,
    Subject,
    VersionRef,
)
from protocol.directory_view import WIRE_BYTES_MAX, DirectoryView
from protocol.encoding import Format, glance
from protocol.entitlement import Registrar, registrar
from protocol.errors import FormatError, NotNow, TrucError, TrustError
from protocol.limits import CLOCK_SKEW_MS
from protocol.merkle import root_from_path
from protocol.record import Put
from protocol.signing import Signed
from protocol.trust import check_aliases

_FORMATS: Final[dict[str, Format[Any]]] = {AGENCY.name: AGENCY, CENTRE.name: CENTRE}

ROOTS: Final = (0, 0)
"""The place of a root: before everything else."""

Place = tuple[int, int]
"""Date and number of dots in the code: what things of a heap are judged by first (`spec/trust.md` §7)."""


class Proof(NamedTuple):
    """A signature over the root of a batch in which the thing really stands."""

    key_id: bytes
    root: bytes
    signature: bytes


class Plain(NamedTuple):
    """A well-formed centre or agency record, as far as it matters for a first version; nothing is believed yet."""

    digest: bytes
    registrar: str
    generation: int
    number: int
    created_ms: int
    is_centre: bool
    code: str
    place: str
    """The agency's host, or the centre's peer id."""
    aliases: tuple[str, ...]
    closed: bool
    delegates: bool
    proofs: tuple[Proof, ...]

    @property
    def order(self) -> tuple[int, int, int, bytes]:
        """As things of a heap are judged."""
        return self.created_ms, self.code.count("."), self.number, self.digest

    @property
    def format(self) -> str:
        """The format's name."""
        return CENTRE.name if self.is_centre else AGENCY.name

    @property
    def subject(self) -> Subject:
        """What it is a version of."""
        return Subject.CENTRE if self.is_centre else Subject.AGENCY


# --- reading: needs nothing but the bytes ---------------------------------------------------


def place_of(wire: bytes) -> Place | None:
    """Where a thing belongs in a heap, at a glance; None for what cannot be read. Only a claim."""
    try:
        thing = glance(wire, bytes_max=WIRE_BYTES_MAX)
        name, statement = thing[0], glance(thing[1], bytes_max=WIRE_BYTES_MAX)
        if name == ROOT.name:
            return ROOTS
        date, code = _PLACES.get(name, (4, 1))
        return int(statement[date]), str(statement[code]).count(".")
    except (FormatError, LookupError, TypeError, ValueError):
        return None


_PLACES: Final = {AGENCY.name: (4, 5), CENTRE.name: (4, 5), NODE.name: (3, 1), "truc/lock/1": (2, 1)}
"""The keys of date and code in a statement; of checkpoints and heartbeats 4 and 1."""


def read_plain(wire: bytes) -> Plain | None:
    """A record that may be taken as the first of its code; None for anything else, readable or not."""
    try:
        signed = Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX)
        form = _FORMATS.get(signed.format)
        if form is None:
            return None
        record: Numbered = read(form, signed.statement)
        if isinstance(record, AgencyRecord):
            check_aliases(record)
    except (FormatError, TrustError):
        return None
    return _plain(signed, record)


def _plain(signed: Signed, record: Numbered) -> Plain:
    is_centre = isinstance(record, CentreRecord)
    return Plain(
        digest=signed.digest,
        registrar=record.registrar,
        generation=record.generation,
        number=record.number,
        created_ms=record.created_ms,
        is_centre=is_centre,
        code=record.code,
        place=record.peer_id if isinstance(record, CentreRecord) else record.host,
        aliases=() if isinstance(record, CentreRecord) else record.aliases,
        closed=record.state is RecordState.CLOSED,
        delegates=isinstance(record, AgencyRecord) and bool(record.delegation.keys),
        proofs=tuple(_proofs(signed)),
    )


def _proofs(signed: Signed) -> Iterable[Proof]:
    for item in signed.signatures:
        try:
            root = root_from_path(signed.digest, item.leaf_index, item.tree_size, item.path)
        except FormatError:
            continue
        yield Proof(item.key_id, root, item.signature)


def rows_of_plain(plain: Plain, wire: bytes, now_ms: int) -> tuple[DirectoryThing, DirectoryHistory, DirectoryNumber]:
    """What is stored of every first version: three writes."""
    subject = int(plain.subject)
    ref = VersionRef(digest=plain.digest, created_ms=plain.created_ms)
    return (
        DirectoryThing(digest=plain.digest, wire=wire, accepted_ms=now_ms),
        DirectoryHistory(subject=subject, code=plain.code, versions=(ref,), since_ms=now_ms),
        DirectoryNumber(
            registrar=plain.registrar,
            generation=plain.generation,
            number=plain.number,
            digest=plain.digest,
            subject=subject,
            code=plain.code,
        ),
    )


# --- judging --------------------------------------------------------------------------------


class PlainCourt:
    """Judges the plain things of one heap, in order; nothing else may change the directory meanwhile.

    Remembers what the registrars are, which no first version of another code changes.
    """

    def __init__(self, view: DirectoryView, court: Court, *, own_centre: str | None) -> None:
        self._view: Final = view
        self._court: Final = court
        self._own_centre: Final = own_centre
        self._registrars: dict[tuple[str, int], Registrar | None] = {}
        self._forked: dict[tuple[str, int], bool] = {}
        self._good: set[Proof] = set()
        self._taken: set[tuple[Any, ...]] = set()

    def is_known(self, plain: Plain) -> bool:
        """Whether it was taken before, and no further signature on it could matter."""
        taken = self._view.numbered(plain.registrar, plain.generation, plain.number) == plain.digest
        return taken and self._view.pending(plain.subject, plain.code) is None

    def unproved(self, plains: Iterable[Plain]) -> Generator[None, None, list[tuple[str, Registrar, Proof]]]:
        """The signatures that `take` would verify, each once, as far as their registrars are known by now.
        Pauses after each thing."""
        found: dict[Proof, tuple[str, Registrar, Proof]] = {}
        for plain in plains:
            by = self._registrar(plain.registrar, plain.created_ms)
            if by is not None:
                for proof in plain.proofs:
                    if proof not in self._good and proof.key_id in by.keys.keys:
                        found[proof] = (plain.format, by, proof)
            yield
        return list(found.values())

    def verify(self, wanted: Iterable[tuple[str, Registrar, Proof]]) -> list[Proof]:
        """Those of them that are valid; for a worker."""
        return [proof for name, by, proof in wanted if self._is_valid(name, by, proof)]

    def note(self, good: Iterable[Proof]) -> None:
        """These were found valid."""
        self._good.update(good)

    def take(self, plain: Plain) -> list[Put] | None:
        """The index rows beside the three of `rows_of_plain`, if this is a first version that is to be believed."""
        if plain.created_ms > self._court.now_ms + CLOCK_SKEW_MS:
            return None
        by = self._registrar(plain.registrar, plain.created_ms)
        if by is None or plain.generation != by.generation or not self._covers(by, plain):
            return None
        if not self._is_first(plain) or self._is_forked(plain.registrar, plain.generation):
            return None
        if not self._is_signed(plain, by):
            return None
        self._taken.add((plain.is_centre, plain.code))
        self._taken.add((plain.registrar, plain.generation, plain.number))
        if plain.delegates:
            self._forget(plain.code)
        return self._indexes(plain)

    def _is_first(self, plain: Plain) -> bool:
        """Of its number and of its record; what was taken a moment ago cannot be read yet."""
        number = (plain.registrar, plain.generation, plain.number)
        if (plain.is_centre, plain.code) in self._taken or number in self._taken:
            return False
        unused = self._view.numbered(*number) is None
        return unused and self._view.history(plain.subject, plain.code) is None

    def _registrar(self, name: str, at_ms: int) -> Registrar | None:
        if (name, at_ms) not in self._registrars:
            try:
                found = registrar(self._view, name, at_ms)
            except (NotNow, TrustError):
                found = None
            self._registrars[(name, at_ms)] = found
        return self._registrars[(name, at_ms)]

    def _forget(self, code: str) -> None:
        """A code whose record delegates is a registrar from now on; whoever asks sees to it that it can be read."""
        for key in [key for key, found in self._registrars.items() if found is None and key[0] == code]:
            del self._registrars[key]

    def _covers(self, by: Registrar, plain: Plain) -> bool:
        return by.covers_centres() if plain.is_centre else by.covers_agency(plain.code)

    def _is_signed(self, plain: Plain, by: Registrar) -> bool:
        good = 0
        for proof in plain.proofs:
            if proof in self._good or (proof.key_id in by.keys.keys and self._is_valid(plain.format, by, proof)):
                self._good.add(proof)
                good += proof.key_id in by.keys.keys
        return good >= by.threshold

    def _is_valid(self, name: str, by: Registrar, proof: Proof) -> bool:
        try:
            self._court.verifier.verify_root(name, by.keys.keys[proof.key_id], proof.root, proof.signature)
        except TrucError:
            return False
        return True

    def _is_forked(self, name: str, generation: int) -> bool:
        key = (name, generation)
        if key not in self._forked:
            self._forked[key] = self._view.fork(name, generation) is not None
        return self._forked[key]

    def _indexes(self, plain: Plain) -> list[Put]:
        if plain.is_centre:
            return [Put(DirectoryPeer(peer_id=plain.place, centre=plain.code))]
        rows = [Put(DirectoryAlias(alias=alias, code=plain.code, live=not plain.closed)) for alias in plain.aliases]
        if self._own_centre is None or plain.place == self._own_centre:
            rows.append(Put(DirectoryHosting(centre=plain.place, code=plain.code)))
        return rows
