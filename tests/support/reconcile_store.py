"""A small directory in memory on both sides of a reconciliation, and two of them brought together.

It judges little (one key for each registrar, no content), because what is compared here is who
knows what; the trust rules have tests of their own. A record with the extension `NEEDS` waits until a
copy of it bears a second signature.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.checkpoint import (
    CHECKPOINT,
    Checkpoint,
    Fork,
    check_fork,
    fork_code,
    fork_name,
    fork_of,
    fork_wire,
    read_fork,
)
from protocol.directory import AGENCY, LOCK, ROOT, AgencyRecord, Lock, Names, Root
from protocol.directory_kinds import Subject
from protocol.encoding import Format
from protocol.errors import FormatError, TrucError, TrustError
from protocol.heads import Heads, LogHead, Numbers
from protocol.limits import DIRECTORY_WIRE_BYTES_MAX
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.reconcile import Ask, Asker, Event, Over, Things
from protocol.reconcile_answer import Answerer
from protocol.signing import Ed25519Signer, Signed, Verifier, sign
from tests.support.tree import START_MS, Tree, key_seed

FORMATS: dict[str, Format[Any]] = {item.name: item for item in (AGENCY, CHECKPOINT, LOCK, ROOT)}
VERIFIER = Verifier()
_ROOT: Root = Tree.bare().root()
NEEDS = 129
"""Extension of a record that waits for a second signature."""


def signer(name: str) -> Ed25519Signer:
    """The one key of a registrar, or of the agency that locks itself."""
    return Ed25519Signer(key_seed(7, name))


def agency(
    registrar: str,
    number: int,
    code: str,
    *,
    generation: int = 1,
    name: str = "",
    ballast: int = 0,
    needs: bool = False,
) -> Signed:
    """A record signed by a registrar; `ballast` bytes make it larger; one that `needs` waits."""
    record = AgencyRecord(
        registrar=registrar,
        generation=generation,
        number=number,
        created_ms=START_MS + number,
        code=code,
        names=Names(vi=name or code),
        host="00.01.W00",
        epoch=1,
        parent=code.rpartition(".")[0],
        extensions={**({128: bytes(ballast)} if ballast else {}), **({NEEDS: True} if needs else {})},
    )
    return sign(AGENCY.name, AGENCY.encode(record), signer(registrar))


def checkpoint(registrar: str, number: int, *, generation: int = 1, **changes: Any) -> Signed:
    """A checkpoint signed by a registrar; it need not fit any log."""
    full: dict[str, Any] = {"count": 1, "root": b"\x01" * 32, "created_ms": START_MS + number, **changes}
    value = Checkpoint(registrar=registrar, generation=generation, number=number, **full)
    return sign(CHECKPOINT.name, CHECKPOINT.encode(value), signer(registrar))


def lock(code: str, created_ms: int) -> Signed:
    """A self-lock; the later one counts."""
    return sign(LOCK.name, LOCK.encode(Lock(code=code, created_ms=created_ms)), signer(code))


def root(version: int, name: str = "Gốc") -> Signed:
    """A version of the root, signed by one key."""
    made = _ROOT
    value = Root(version=version, created_ms=START_MS + version, name=name, keys=made.keys, roles=made.roles)
    return sign(ROOT.name, ROOT.encode(value), signer("root"))


@dataclass
class _Log:
    numbers: Numbers = field(default_factory=Numbers)
    places: dict[int, bytes] = field(default_factory=dict)
    newest: dict[bytes, int] = field(default_factory=dict)
    tree: PrefixTree = field(default_factory=PrefixTree)


class Store:
    """Everything that one node knows; implements `Known` and `Kept`."""

    def __init__(self, things: Iterable[Signed] = (), *, generation: int = 1) -> None:
        self.generation = generation
        self.wires: dict[bytes, bytes] = {}
        self.versions: dict[int, Signed] = {}
        self.logs: dict[tuple[str, int], _Log] = {}
        self.locks: dict[str, tuple[int, bytes]] = {}
        self.forks: dict[tuple[str, int], Fork] = {}
        self.loose = PrefixTree()
        self.wants: list[bytes] = []
        self.waiting: dict[bytes, bytes] = {}
        assert self.judge(thing.to_wire() for thing in things) == []

    # --- judging --------------------------------------------------------------------------

    def judge(self, wires: Iterable[bytes]) -> list[TrucError]:
        """Keep what is good; the errors of the rest."""
        errors: list[TrucError] = []
        for wire in wires:
            try:
                proof = read_fork(wire)
                if proof is not None:
                    self._keep_fork(proof)
                else:
                    self._keep(Signed.from_wire(wire, bytes_max=DIRECTORY_WIRE_BYTES_MAX))
            except TrucError as error:
                errors.append(error)
        return errors

    def _keep(self, signed: Signed) -> None:
        if signed.format not in FORMATS:
            raise FormatError("format_newer")
        value = FORMATS[signed.format].decode(signed.statement)
        name = value.code if isinstance(value, Lock) else "root" if isinstance(value, Root) else value.registrar
        VERIFIER.verify(signed, signer(name).public)
        if signed.digest in self.wires:
            self._keep_copy(value, signed)
            return
        if isinstance(value, Lock):
            self._keep_lock(value, signed)
        elif isinstance(value, Root):
            self._keep_root(value, signed)
        else:
            self._keep_numbered(value, signed)
        self.wires[signed.digest] = signed.to_wire()

    def _keep_lock(self, value: Lock, signed: Signed) -> None:
        mine = (value.created_ms, signed.digest)
        if mine < self.locks.get(value.code, (0, b"")):
            raise TrustError("directory_rollback", registrar=value.code, code=value.code)
        self.locks[value.code] = mine
        self.loose.put(tree_key(Subject.LOCK, value.code), signed.digest)

    def _keep_root(self, value: Root, signed: Signed) -> None:
        known = self.versions.setdefault(value.version, signed)
        if known.digest != signed.digest:
            raise TrustError("directory_fork", registrar="root", code="")

    def _keep_numbered(self, value: AgencyRecord | Checkpoint, signed: Signed) -> None:
        place = (value.registrar, value.generation)
        if value.generation != self.generation or place in self.forks:
            raise TrustError("directory_generation", code=value.registrar, registrar=value.registrar)
        log = self.logs.setdefault(place, _Log())
        taken = log.places.get(value.number, signed.digest)
        if taken != signed.digest:
            first = Signed.from_wire(self.wires[taken], bytes_max=DIRECTORY_WIRE_BYTES_MAX)
            self._keep_fork(fork_of(first, signed))
            raise TrustError("directory_fork", registrar=value.registrar, code="")
        log.places[value.number] = signed.digest
        log.numbers.add(value.number)
        if isinstance(value, AgencyRecord):
            key = tree_key(Subject.AGENCY, value.code)
            if value.number >= log.newest.get(key, 0):
                log.newest[key] = value.number
                log.tree.put(key, signed.digest)
            if value.extensions.get(NEEDS) and len(signed.signatures) == 1:
                self.waiting[_waits(value.code)] = signed.digest
                self.loose.put(_waits(value.code), signed.digest)

    def _keep_copy(self, value: Any, signed: Signed) -> None:
        if isinstance(value, AgencyRecord) and len(signed.signatures) > 1:
            waited = self.waiting.get(_waits(value.code))
            if waited == signed.digest:
                del self.waiting[_waits(value.code)]
                self.loose.remove(_waits(value.code))
                self.wires[signed.digest] = signed.to_wire()

    def _keep_fork(self, proof: Fork) -> None:
        claim = check_fork(proof)
        for thing in (claim.first, claim.second):
            VERIFIER.verify(thing, signer(claim.registrar).public)
        place = (claim.registrar, claim.generation)
        self.forks.setdefault(place, proof)
        name = fork_name(*place)
        self.wires.setdefault(name, fork_wire(proof))
        self.loose.put(tree_key(Subject.FORK, fork_code(*place)), name)

    # --- Known and Kept -------------------------------------------------------------------

    def heads(self) -> Heads:
        version = max(self.versions, default=0)
        found = [self.head(name) for name in sorted({registrar for registrar, _ in self.logs})]
        return Heads(
            root_version=version,
            root_digest=self.versions[version].digest if version else EMPTY,
            loose=self.loose.root,
            logs=tuple(head for head in found if head is not None),
        )

    def head(self, registrar: str) -> LogHead | None:
        generation = max((gen for name, gen in self.logs if name == registrar), default=0)
        if not generation:
            return None
        log = self.logs[registrar, generation]
        reached = log.numbers.reached
        marks = [log.places[number] for number in range(reached, 0, -1) if self._is_checkpoint(log.places[number])]
        return LogHead(
            registrar=registrar,
            generation=generation,
            number=reached,
            checkpoint=marks[0] if marks else EMPTY,
            root=log.tree.root,
        )

    def _is_checkpoint(self, digest: bytes) -> bool:
        return Signed.from_wire(self.wires[digest], bytes_max=2**20).format == CHECKPOINT.name

    def takes(self, registrar: str, generation: int) -> bool:
        return generation == self.generation and (registrar, generation) not in self.forks

    def missing(self, registrar: str, generation: int, first: int, last: int) -> tuple[int, int] | None:
        return self.logs.get((registrar, generation), _Log()).numbers.missing(first, last)

    def holds(self, digest: bytes) -> bool:
        return digest in self.wires

    def wanted(self) -> Sequence[bytes]:
        return self.wants

    def tree(self, registrar: str, generation: int) -> PrefixTree | None:
        if not registrar:
            return self.loose
        log = self.logs.get((registrar, generation))
        return None if log is None else log.tree

    def copies(self, key: bytes) -> Sequence[bytes]:
        return [self.waiting[key]] if key in self.waiting else []

    def roots(self, version: int) -> Iterable[bytes]:
        return [self.versions[known].to_wire() for known in sorted(self.versions) if known >= version]

    def log(self, registrar: str, generation: int, first: int, last: int) -> Iterable[tuple[int, bytes]]:
        places = self.logs.get((registrar, generation), _Log()).places
        return [(number, self.wires[places[number]]) for number in sorted(places) if first <= number <= last]

    def wire(self, digest: bytes) -> bytes | None:
        return self.wires.get(digest)


def _waits(code: str) -> bytes:
    return tree_key(Subject.PENDING, f"{int(Subject.AGENCY)}/{code}")


@dataclass
class Course:
    """What happened in one session."""

    over: Over
    questions: int
    bytes_given: int


def ask_once(mine: Store, theirs: Any, *, piece: int = 0) -> Course:
    """One session: `mine` asks until it knows what `theirs` gives; bytes in pieces, if wanted."""
    asker, answerer = Asker(mine), Answerer(theirs)
    course = Course(over=Over(settled=False, things=0, untaken=0), questions=0, bytes_given=0)
    events = asker.start()
    while events:
        event = events.pop(0)
        if isinstance(event, Ask):
            course.questions += 1
            for data in _answer(answerer, event.frame):
                course.bytes_given += len(data)
                events += _fed(asker, mine, data, piece or len(data))
        else:
            assert isinstance(event, Over)
            course.over = event
    asker.finish()
    answerer.finish()
    return course


def _answer(answerer: Answerer, frame: bytes) -> Iterator[bytes]:
    assert answerer.receive(frame) is not None
    yield from answerer.answer()


def _fed(asker: Asker, mine: Store, data: bytes, piece: int) -> list[Event]:
    out: list[Event] = []
    for at in range(0, len(data), piece):
        found = asker.receive(data[at : at + piece])
        while found:
            event = found.pop(0)
            if isinstance(event, Things):
                found += asker.judged(mine.judge(event.wires))
            else:
                out.append(event)
    return out
