"""What both sides of a reconciliation read: the index, the store, and who may sign what.

Obeys `protocol/spec/reconcile.md`; implements `reconcile.Known` for the side that asks and
`reconcile_answer.Kept` for the side that answers. Only durable things are known or given: what
is asked next follows from what was committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from node.directory import Directory
from node.directory_index import SLICE, DirectoryIndex
from node.environment import Environment
from protocol.checkpoint import Fork, fork_wire
from protocol.directory_kinds import DirectoryNumber, DirectoryThing
from protocol.entitlement import registrar as find_registrar
from protocol.errors import TrucError
from protocol.heads import Heads, LogHead, Numbers
from protocol.limits import RECONCILE_FETCH_MAX
from protocol.prefix_tree import PrefixTree


class DirectoryKnown:
    """Belongs to the loop; ask it only when the index is built."""

    def __init__(self, index: DirectoryIndex, directory: Directory, environment: Environment) -> None:
        self._index: Final = index
        self._directory: Final = directory
        self._environment: Final = environment
        self._view: Final = index.view

    def heads(self) -> Heads:
        """All heads."""
        return self._index.heads()

    def head(self, registrar: str) -> LogHead | None:
        """The head of this registrar's log."""
        log = self._index.log(registrar)
        return None if log is None else log.head()

    def takes(self, registrar: str, generation: int) -> bool:
        """Whether something new of this log could be believed: registrar known, generation open, no fork."""
        try:
            by = find_registrar(self._directory, registrar, self._environment.now_ms())
        except TrucError:
            return False
        return by.generation == generation and self._directory.fork(registrar, generation) is None

    def missing(self, registrar: str, generation: int, first: int, last: int) -> tuple[int, int] | None:
        """The first range of numbers in this range of which none is known here; None if all are."""
        log = self._index.log(registrar)
        if log is None or log.generation != generation:
            return Numbers().missing(first, last)
        return log.numbers.missing(first, last)

    def holds(self, digest: bytes) -> bool:
        """Whether the thing with this digest (a fork: this name) is kept here, superseded or not."""
        return self._index.fork_named(digest) is not None or self._view.was_accepted(digest)

    def wanted(self) -> Sequence[bytes]:
        """Digests that things kept here name, and that are not here."""
        return self._index.wanted()[:RECONCILE_FETCH_MAX]

    def tree(self, registrar: str, generation: int) -> PrefixTree | None:
        """The tree of this log, or of the loose set if `registrar` is empty."""
        if not registrar:
            return self._index.loose
        log = self._index.log(registrar)
        return log.tree if log is not None and log.generation == generation else None

    def copies(self, key: bytes) -> Sequence[bytes]:
        """If this leaf is about a record with a pending version: what may come into force by a better copy."""
        about = self._index.waiting_at(key)
        if about is None:
            return ()
        pending, history = self._view.pending(*about), self._view.history(*about)
        if pending is None or history is None:
            return ()
        since_ms = history.versions[0].created_ms
        return (pending.digest, *(item.digest for item in history.aside if item.created_ms >= since_ms))

    # --- given away ---------------------------------------------------------------------------

    def roots(self, version: int) -> Iterator[bytes]:
        """Wire bytes of the root's versions from this one on, ascending."""
        for known in reversed(self._view.root_versions()):
            if known.value.version >= version:
                yield from self._wires(known.digest)

    def log(self, registrar: str, generation: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Number and wire bytes of what is kept of this log, ascending."""
        number = first - 1
        while number < last:
            rows = self._view.records.scan(DirectoryNumber, registrar, generation, after=(number,), limit=SLICE)
            for row in rows:
                if row.number > last:
                    return
                for wire in self._wires(row.digest):
                    yield row.number, wire
            if len(rows) < SLICE:
                return
            number = rows[-1].number

    def wire(self, digest: bytes) -> bytes | None:
        """The thing with this digest, or a proof of the fork with this name."""
        place = self._index.fork_named(digest)
        if place is None:
            return next(self._wires(digest), None)
        fork = self._view.fork(*place)
        return None if fork is None else fork_wire(Fork(first=fork.first_wire, second=fork.second))

    def _wires(self, digest: bytes) -> Iterator[bytes]:
        """As it was kept: the store's checksum is over the whole of it."""
        thing = self._view.records.get(DirectoryThing, digest)
        if thing is not None:
            yield thing.wire
