"""What is wrong with a directory file, off-line: for whoever keeps a registrar's data clean.

Obeys DESIGN §3 and the rules of `protocol/spec/trust.md`, by which every thing is judged as nodes judge it;
besides, what no rule forbids and nobody wants: an alias that resolves to nobody, a parent or host that
is not there, texts of dirty lists (`directory_dirt.py`), keys that are about to end, logs with gaps. Nothing
is written. The command is `truc directory lint`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from node.authority_log import Issued, tree_of
from node.countersigning import merged, things_of
from node.directory_dirt import dirt
from protocol.checkpoint import NUMBERED, Checkpoint
from protocol.directory import ROOT, AgencyRecord, CentreRecord, KeyEntry, RecordState
from protocol.directory_import import Rejected
from protocol.directory_kinds import DirectoryAlias, DirectoryHistory, Subject
from protocol.directory_view import DirectoryView
from protocol.entitlement import registrar
from protocol.errors import FormatError, NotNow, TrucError, TrustError
from protocol.limits import CLOCK_SKEW_MS, DAY_MS
from protocol.signing import Signed

ENDS_SOON_MS: Final = 60 * DAY_MS
"""A key that ends within this is told: a registrar needs weeks for papers."""
SCAN_MAX: Final = 1_000_000
"""Rows looked at; several times a nation's directory."""

Grade = Literal["fault", "warning", "pending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong, about what, and how bad it is."""

    about: str
    grade: Grade
    error: TrucError


@dataclass(frozen=True, slots=True, kw_only=True)
class Linted:
    """How many things are valid, and everything that is to be said about the rest."""

    anchor: bytes
    valid: int
    flaws: tuple[Flaw, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is at fault."""
        return all(flaw.grade != "fault" for flaw in self.flaws)


def lint(wires: Iterable[bytes], now_ms: int, *, anchor: bytes | None = None) -> Linted:
    """Everything that can be said about these things as of now; `anchor` None trusts the first root among them.

    Raises:
        NotNow: `directory_no_root`.
    """
    things, flaws = _read(wires)
    trusted = anchor if anchor is not None else _first_root(things.values())
    issued = Issued(trusted, remembers=False)
    issued.take(things.values(), now_ms)
    waiting = issued.waiting(now_ms)
    closed: Counter[tuple[str, int]] = Counter()
    for item in waiting.rejected:
        old = _closed_generation(issued, item)
        if old is not None:
            closed[old] += 1
            continue
        grade: Grade = "pending" if item.error.code == "directory_pending" else "fault"
        flaws.append(Flaw(about=item.about, grade=grade, error=item.error))
    for (name, generation), count in sorted(closed.items()):
        error = TrustError("lint_generation", registrar=name, generation=generation, count=count)
        flaws.append(Flaw(about=name, grade="warning", error=error))
    for look in (_aliases, _agencies, _texts, _keys):
        flaws += look(issued.view, now_ms)
    flaws += _logs(issued)
    return Linted(anchor=trusted, valid=waiting.accepted, flaws=tuple(flaws))


def _closed_generation(issued: Issued, item: Rejected) -> tuple[str, int] | None:
    """Whose generation a thing is from, if a later one is open: that says everything in force anew, and
    whoever joins now needs nothing of the old one."""
    signed = issued.things.get(item.digest)
    if item.error.code != "directory_generation" or signed is None:
        return None
    value = NUMBERED[signed.format].decode(signed.statement)
    opened = registrar(issued.view, value.registrar, value.created_ms).generation
    return (value.registrar, value.generation) if value.generation < opened else None


def _read(wires: Iterable[bytes]) -> tuple[dict[bytes, Signed], list[Flaw]]:
    things: dict[bytes, Signed] = {}
    flaws: list[Flaw] = []
    for number, wire in enumerate(wires, 1):
        try:
            for signed in things_of(wire):
                things[signed.digest] = merged(things.get(signed.digest), signed)
        except FormatError as error:
            flaws.append(Flaw(about=f"#{number}", grade="fault", error=error))
    return things, flaws


def _first_root(things: Iterable[Signed]) -> bytes:
    versions: list[tuple[int, bytes]] = []
    for signed in things:
        if signed.format == ROOT.name:
            try:
                versions.append((ROOT.decode(signed.statement).version, signed.digest))
            except FormatError:
                continue  # told when it is judged
    if not versions:
        raise NotNow("directory_no_root")
    return min(versions)[1]


# --- records --------------------------------------------------------------------------------


def _agencies_of(view: DirectoryView) -> Iterator[AgencyRecord]:
    after = ""
    while page := view.agencies(after=after):
        yield from page
        after = page[-1].code


def _centres_of(view: DirectoryView) -> Iterator[CentreRecord]:
    for row in view.records.scan(DirectoryHistory, int(Subject.CENTRE), limit=SCAN_MAX):
        yield view.cache.value(view.records, row.versions[0].digest)


def _aliases(view: DirectoryView, _: int) -> Iterator[Flaw]:
    claims: defaultdict[str, set[str]] = defaultdict(set)
    for row in view.records.scan(DirectoryAlias, limit=SCAN_MAX):
        if row.live:
            claims[row.alias].add(row.code)
    for alias, codes in sorted(claims.items()):
        if view.find_agency(alias) is not None and view.state(alias) is not RecordState.CLOSED:
            codes.add(alias)
        if len(codes) > 1:
            error = TrustError("lint_alias", alias=alias, codes=", ".join(sorted(codes)))
            yield Flaw(about=alias, grade="fault", error=error)


def _agencies(view: DirectoryView, _: int) -> Iterator[Flaw]:
    for record in _agencies_of(view):
        for error in _of_agency(view, record):
            yield Flaw(about=record.code, grade="fault", error=error)
        if _is_orphan(view, record):
            error = TrustError("lint_orphan", code=record.code, parent=record.parent)
            yield Flaw(about=record.code, grade="warning", error=error)


def _is_orphan(view: DirectoryView, record: AgencyRecord) -> bool:
    parent = view.find_agency(record.parent) if record.parent else None
    is_closed = parent is not None and parent.value.state is RecordState.CLOSED
    return is_closed and record.state is not RecordState.CLOSED


def _texts(view: DirectoryView, _: int) -> Iterator[Flaw]:
    for about, error in dirt(_agencies_of(view)):
        yield Flaw(about=about, grade="warning", error=error)


def _of_agency(view: DirectoryView, record: AgencyRecord) -> Iterator[TrustError]:
    for successor in record.successors:
        if view.find_agency(successor) is None:
            yield TrustError("lint_successor", successor=successor, code=record.code)
    if record.state is RecordState.CLOSED:
        return
    if record.parent and view.find_agency(record.parent) is None:
        yield TrustError("lint_parent", parent=record.parent, code=record.code)
    host = view.find_centre(record.host)
    if host is None or host.value.state is RecordState.CLOSED:
        yield TrustError("lint_host", host=record.host, code=record.code)


# --- keys -----------------------------------------------------------------------------------


def _keys(view: DirectoryView, now_ms: int) -> Iterator[Flaw]:
    roots = view.root_versions()
    if roots:
        yield from _ends("root", roots[0].value.keys, now_ms)
    for centre in _centres_of(view):
        if centre.state is not RecordState.CLOSED:
            yield from _ends(centre.code, centre.keys, now_ms)
            yield from _ends(centre.code, centre.sealing, now_ms)
    for agency in _agencies_of(view):
        if agency.state is not RecordState.CLOSED:
            yield from _ends(agency.code, agency.keys, now_ms)
            yield from _ends(agency.code, agency.delegation.keys, now_ms)


def _ends(about: str, entries: Iterable[KeyEntry], now_ms: int) -> Iterator[Flaw]:
    """The last end counts: keys that were rotated stay listed with theirs."""
    listed = list(entries)
    alive = [e for e in listed if not e.revoked_ms and e.from_ms - CLOCK_SKEW_MS <= now_ms < e.until_ms]
    if listed and not alive:
        yield Flaw(about=about, grade="fault", error=TrustError("lint_keys_ended", about=about))
    last = max(alive, key=lambda entry: entry.until_ms, default=None)
    if last is not None and last.until_ms < now_ms + ENDS_SOON_MS:
        day = datetime.fromtimestamp(last.until_ms / 1000, UTC).date().isoformat()
        error = TrustError("lint_key_ends", key=last.key_id.hex()[:16], about=about, day=day)
        yield Flaw(about=about, grade="warning", error=error)


# --- logs -----------------------------------------------------------------------------------


def _logs(issued: Issued) -> Iterator[Flaw]:
    for (name, generation), log in sorted(issued.logs.items()):
        if issued.view.fork(name, generation) is not None:
            yield Flaw(about=name, grade="fault", error=TrustError("lint_fork", registrar=name, generation=generation))
        if not log.is_whole:
            missing = log.top - len(log.entries)
            error = TrustError("lint_gap", registrar=name, generation=generation, count=missing)
            yield Flaw(about=name, grade="warning", error=error)
            continue
        checkpoint = issued.checkpoint(log.last_checkpoint())
        if checkpoint is not None:
            yield from _said(issued, checkpoint)


def _said(issued: Issued, checkpoint: Checkpoint) -> Iterator[Flaw]:
    log = issued.log(checkpoint.registrar, checkpoint.generation)
    tree = tree_of(log.current(below=checkpoint.number))
    if (len(tree), tree.root) != (checkpoint.count, checkpoint.root):
        name = checkpoint.registrar
        error = TrustError(
            "checkpoint_differs", registrar=name, number=checkpoint.number, said=checkpoint.count, found=len(tree)
        )
        yield Flaw(about=name, grade="fault", error=error)
