"""The signed things of this node's directory as one file, given away while it is made.

Obeys `protocol/spec/directory.md` §5. The file's order is that of the wire bytes, the store's that of digests; so
the beginnings of all wires are sorted first (some 20 MB for a nation), and the things are read again as they leave.
Everything is read from one snapshot. Fork proofs are among the things; node records and heartbeats are not: they tell
of a day, and whoever takes the file in has newer ones.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

import trio

from node.environment import Environment
from protocol.checkpoint import HEARTBEAT, Fork, fork_name, fork_wire
from protocol.directory import NODE, ROLE_LEVEL_1, ROLE_ROOT
from protocol.directory_file import file_head, file_part, part_size
from protocol.directory_kinds import DirectoryFork, DirectoryNumber, DirectoryThing
from protocol.directory_view import DirectoryView, RecordCache
from protocol.encoding import encode
from protocol.errors import RequestError, StoreError
from protocol.limits import DIRECTORY_FILE_BYTES_MAX, KIB
from protocol.record import KINDS, Records
from storage.store import Store

EXPORTS_MAX: Final = 2
"""Exports at the same time: each sorts some 20 MB."""
PAGE: Final = 64
"""Rows read at once: about half a millisecond."""
PIECE_BYTES: Final = 64 * KIB
_BEGINNING: Final = 80
"""Bytes of a wire that are sorted by: format, registrar, generation and number of a numbered thing lie in them."""
_PASSING: Final = tuple(b"\x93" + encode(name) for name in (NODE.name, HEARTBEAT.name))
"""How the wires begin that are left out: an array of three, of which the format is the first."""
_CHAIN_MAX: Final = 32
"""Registrars above each other; a code has fewer components."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A file to come: how many things and bytes, and its pieces."""

    count: int
    size: int
    pieces: AsyncGenerator[bytes, None]


class DirectoryExport:
    """Belongs to the loop."""

    def __init__(self, store: Store, environment: Environment, *, bytes_max: int = DIRECTORY_FILE_BYTES_MAX) -> None:
        self._bytes_max: Final = bytes_max
        self._store: Final = store
        self._environment: Final = environment
        self._running = 0

    async def begin(self, registrar: str = "") -> Export:
        """Everything; or what is needed to judge the log of one registrar: the roots, the logs of those who stand
        above it, its own.

        Raises:
            RequestError: `export_busy`, `registrar_unknown`, `export_too_large`.
            StoreError: `record_damaged`, `directory_damaged`.
        """
        if self._running >= EXPORTS_MAX:
            raise RequestError("export_busy", limit=EXPORTS_MAX)
        self._running += 1
        try:
            records = self._store.frozen()
            listed = _Listed(records)
            await (listed.take_logs(registrar) if registrar else listed.take_all())
            listed.rows = await self._environment.run_document(sorted, listed.rows)
            size = len(file_head(len(listed.rows))) + listed.size
            if size > self._bytes_max:
                raise RequestError("export_too_large", field="registrar", size=size, limit=self._bytes_max)
            return Export(count=len(listed.rows), size=size, pieces=self._pieces(listed))
        finally:
            self._running -= 1

    async def _pieces(self, listed: _Listed) -> AsyncGenerator[bytes, None]:
        self._running += 1
        try:
            held = bytearray(file_head(len(listed.rows)))
            for _, group in groupby(listed.rows, key=lambda row: row[:_BEGINNING]):
                for wire in listed.wires([row[_BEGINNING:] for row in group]):
                    held += file_part(wire)
                if len(held) >= PIECE_BYTES:
                    yield bytes(held)
                    held.clear()
            yield bytes(held)
        finally:
            self._running -= 1


class _Listed:
    """The things of a file: the beginning of each wire, with the digest under which it is found."""

    def __init__(self, records: Records) -> None:
        self._records: Final = records
        self._forks: Final[dict[bytes, bytes]] = {}
        self.rows: list[bytes] = []
        self.size = 0

    async def take_all(self) -> None:
        """Everything that is stored and lasts."""
        await _each(self._records, DirectoryThing, self._add_lasting)
        await _each(self._records, DirectoryFork, self._add_fork)

    async def take_logs(self, registrar: str) -> None:
        """What judges one registrar's log. Raises: RequestError: `registrar_unknown`."""
        view = DirectoryView(self._records, RecordCache(PAGE))
        chain = _chain(view, registrar)
        for root in view.root_versions():
            self._add_stored(root.digest)
        for name in chain:
            await _each(self._records, DirectoryNumber, lambda row: self._add_stored(row.digest), name)
            for fork in self._records.scan(DirectoryFork, name):
                self._add_fork(fork)

    def wires(self, digests: list[bytes]) -> Iterator[bytes]:
        """The wires under these digests, which begin alike, in their order."""
        found = [self._wire(digest) for digest in digests]
        return iter(found if len(found) == 1 else sorted(found))

    def _wire(self, digest: bytes) -> bytes:
        if digest in self._forks:
            return self._forks[digest]
        row = self._records.get(DirectoryThing, digest)
        if row is None:
            raise StoreError("directory_damaged", what=digest.hex()[:16])
        return row.wire

    def _add_lasting(self, row: DirectoryThing) -> None:
        if not row.wire.startswith(_PASSING):
            self._add(row.digest, row.wire)

    def _add_stored(self, digest: bytes) -> None:
        self._add(digest, self._wire(digest))

    def _add_fork(self, fork: DirectoryFork) -> None:
        name = fork_name(fork.registrar, fork.generation)
        self._forks[name] = fork_wire(Fork(first=fork.first_wire, second=fork.second))
        self._add(name, self._forks[name])

    def _add(self, digest: bytes, wire: bytes) -> None:
        assert len(wire) > _BEGINNING, "a signature alone is longer"
        self.rows.append(wire[:_BEGINNING] + digest)
        self.size += part_size(len(wire))


def _chain(view: DirectoryView, registrar: str) -> list[str]:
    """A registrar and those who stand above it, up to both roles of the root."""
    roles = [ROLE_ROOT, ROLE_LEVEL_1]
    chain: list[str] = []
    name = registrar
    while name not in roles:
        known = view.find_agency(name)
        if known is None or name in chain or len(chain) == _CHAIN_MAX:
            raise RequestError("registrar_unknown", field="registrar", registrar=registrar)
        chain.append(name)
        name = known.value.registrar
    return [*roles, *chain]


async def _each(records: Records, record: type[Any], add: Callable[[Any], None], *prefix: str) -> None:
    after: tuple[Any, ...] = ()
    while True:
        page = records.scan(record, *prefix, after=after, limit=PAGE)
        for row in page:
            add(row)
        if len(page) < PAGE:
            return
        after = KINDS[record].key_of(page[-1])[len(prefix) :]
        await trio.lowlevel.checkpoint()
