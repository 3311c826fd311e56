"""What this node knows of the directory, as it is compared with others: heads, trees, the loose set.

Obeys `protocol/spec/reconcile.md` §1 and DESIGN §5 ("incremental in the store, no full scan per sync").
Built once after the start, in slices, from one scan over each registrar's newest generation; from then on
kept up to date by the batches of the committer. It shows what is durable, and nothing else. How it
is asked and given away is `directory_known.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Generator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, TypeVar

import trio

from node.directory import Directory
from node.directory_log import Filling, RegistrarLog
from node.environment import Environment
from node.logs import Log
from node.tasks import Bell, Ready, in_slices
from protocol.checkpoint import NUMBERED, Checkpoint, Heartbeat, fork_code, fork_name, waiting_keys
from protocol.directory import NODE, ROOT
from protocol.directory_kinds import DirectoryFork, DirectoryHistory, DirectoryNumber, DirectoryPending, Subject
from protocol.directory_view import DirectoryView
from protocol.errors import StoreError
from protocol.heads import Heads, heads_digest
from protocol.heartbeats import find_checkpoint, find_heartbeat
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.record import KINDS, Delete, Put, Records
from protocol.step import Step

R = TypeVar("R")

SLICE: Final = 64
"""Rows read at once: about a millisecond."""
ROWS_AT_ONCE: Final = 8
"""Rows taken into a tree between two pauses: about a millisecond."""
MANY: Final = 16
"""Rows of one log from which on its tree is changed as a whole."""
LATE_AT_ONCE: Final = 4_096
"""Durable rows that are put into order together: two milliseconds."""
LOOSE: Final = (Subject.NODE, Subject.LOCK, Subject.HEARTBEAT)
"""What has no number, and one version that counts for each code."""


class DirectoryIndex:
    """Belongs to the loop. Empty until `build` is over: `digest` is empty as long."""

    def __init__(self, directory: Directory, committed: Records, environment: Environment, log: Log) -> None:
        self._view: Final = DirectoryView(committed, directory.cache)
        self._environment: Final = environment
        self._log: Final = log
        self._logs: dict[str, RegistrarLog] = {}
        self._forks: dict[bytes, tuple[str, int]] = {}
        self._waits: set[tuple[int, str]] = set()
        self._waiting: dict[bytes, tuple[Subject, str]] = {}
        self.loose = PrefixTree()
        self._ends: list[tuple[int, str, bytes]] = []
        self._root = (0, EMPTY)
        self._late: list[Any] = []
        self._is_catching_up = False
        self._news: Final = Bell()
        self._done: Final = Bell()
        self._heads: Heads | None = None
        self._digest = b""
        self.changed: Final = Bell()
        """Rings when something durable was taken in."""
        self.built: Final = trio.Event()
        self.damaged: StoreError | None = None
        """Why nothing can be compared until a restart: the disk does not give what was written."""

    # --- reading ------------------------------------------------------------------------------

    @property
    def view(self) -> DirectoryView:
        """The durable directory."""
        return self._view

    def heads(self) -> Heads:
        """All heads."""
        self._expire()
        if self._heads is None:
            version, digest = self._root
            logs = tuple(self._logs[name].head() for name in sorted(self._logs))
            self._heads = Heads(root_version=version, root_digest=digest, loose=self.loose.root, logs=logs)
            self._digest = heads_digest(self._heads)
        return self._heads

    def digest(self) -> bytes:
        """The heads digest that pings carry; empty until everything is read."""
        if not self.is_ready:
            return b""
        self.heads()
        return self._digest

    @property
    def is_ready(self) -> bool:
        """Everything was read, and could be."""
        return self.built.is_set() and self.damaged is None

    @property
    def late(self) -> int:
        """Rows that are durable and not taken in yet."""
        return len(self._late)

    def log(self, registrar: str) -> RegistrarLog | None:
        """The newest generation of a registrar's log in which anything is known."""
        return self._logs.get(registrar)

    def logs(self) -> list[RegistrarLog]:
        """All of them, in the order of their registrars."""
        return [self._logs[name] for name in sorted(self._logs)]

    def fork_named(self, name: bytes) -> tuple[str, int] | None:
        """The registrar and generation of the proved fork with this name."""
        return self._forks.get(name)

    def waiting_at(self, key: bytes) -> tuple[Subject, str] | None:
        """The record with a pending version that this leaf of the loose set is about."""
        return self._waiting.get(key)

    def wanted(self) -> list[bytes]:
        """Checkpoints that others name, and that are not here."""
        return [digest for log in self._logs.values() for digest in log.wanted]

    def heartbeat(self, registrar: str) -> Heartbeat | None:
        """The heartbeat that counts."""
        found = find_heartbeat(self._view, registrar)
        return None if found is None else found[0]

    # --- building -----------------------------------------------------------------------------

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Read everything, then keep it up to date until cancelled."""
        task_status.started()
        try:
            await self.build()
            while True:
                news = self._news.next
                if self._late:
                    await self._catch_up()
                else:
                    await news.wait()
        except StoreError as error:
            self.damaged = error
            self._late.clear()
            self._done.ring()
            self._log.error("alarm", code=error.code, subject="directory")

    async def build(self) -> None:
        """Read everything once, a millisecond at a time. What is committed meanwhile is taken in afterwards.

        Raises:
            StoreError: something that was written cannot be read.
        """
        registrar: str | None = None
        while (registrar := self._next_registrar(registrar)) is not None:
            await self._build_log(registrar)
        for subject in LOOSE:
            async for history in self._pages(DirectoryHistory, int(subject)):
                self._take_history(history)
        async for fork in self._pages(DirectoryFork):
            self._take_fork(fork)
        async for pending in self._pages(DirectoryPending):
            self._compare_waiting(_About(pending.subject, pending.code))
        root = self._view.history(Subject.ROOT, "")
        if root is not None:
            self._take_history(root)
        await self._catch_up()
        self.built.set()

    def _next_registrar(self, after: str | None) -> str | None:
        place = () if after is None else (after,)
        for row in self._view.records.scan(DirectoryNumber, after=place, limit=1):
            return row.registrar
        return None

    def _newest_generation(self, registrar: str) -> int:
        generation = 0
        while rows := self._view.records.scan(DirectoryNumber, registrar, after=(generation,), limit=1):
            generation = rows[0].generation
        return generation

    async def _build_log(self, registrar: str) -> None:
        generation = self._newest_generation(registrar)
        filling = Filling(registrar, generation)
        async for row in self._pages(DirectoryNumber, registrar, generation):
            filling.add(row)
        tree = await self._environment.run_document(filling.tree)
        steps = filling.finish(tree, self._number_of, self._checkpoint)
        self._logs[registrar] = await in_slices(steps, ROWS_AT_ONCE)

    async def _pages(self, record: type[R], *prefix: int | str) -> AsyncIterator[R]:
        after: tuple[Any, ...] = ()
        while True:
            page = self._view.records.scan(record, *prefix, after=after, limit=SLICE)
            for row in page:
                yield row
            if len(page) < SLICE:
                return
            after = _key_of(page[-1])[len(prefix) :]
            await trio.lowlevel.checkpoint()

    # --- keeping up to date -------------------------------------------------------------------

    def notice(self, step: Step) -> None:
        """A step is durable."""
        rows = [row for row in map(_row_of, step.changes) if row is not None]
        if rows and self.damaged is None:
            self._late += rows
            self._news.ring()

    async def caught_up(self) -> None:
        """Return when everything that is durable by now is in here (or never will be)."""
        while (self._late or self._is_catching_up) and self.damaged is None:
            await self._done.next.wait()

    async def _catch_up(self) -> None:
        self._is_catching_up = True
        while self._late:
            rows, self._late = self._late[:LATE_AT_ONCE], self._late[LATE_AT_ONCE:]
            await in_slices(self._take_all(rows), ROWS_AT_ONCE)
        self._is_catching_up = False
        self._heads = None
        self._done.ring()
        self.changed.ring()

    def _take_all(self, rows: Sequence[Any]) -> Generator[None, None, None]:
        """Records of a log in the order of their numbers, so that checkpoints meet what they count."""
        numbered = [row for row in rows if isinstance(row, DirectoryNumber)]
        for _, group in groupby(sorted(numbered, key=_place), key=lambda row: (row.registrar, row.generation)):
            yield from self._take_numbers(list(group))
        for row in rows:
            if isinstance(row, DirectoryNumber):
                continue
            if isinstance(row, DirectoryHistory):
                self._take_history(row)
            elif isinstance(row, _About):
                self._compare_waiting(row)
            else:
                self._take_fork(row)
            yield
        for registrar in {row.registrar for row in numbered}:
            self._logs[registrar].settle(self._checkpoint)

    def _take_numbers(self, rows: Sequence[DirectoryNumber]) -> Generator[None, None, None]:
        """Rows of one generation of one log, ascending."""
        first = rows[0]
        log = self._logs.get(first.registrar)
        if log is None or log.generation < first.generation:
            log = self._logs[first.registrar] = RegistrarLog(first.registrar, first.generation)
        if log.generation == first.generation:
            if len(rows) >= MANY:
                yield from log.take_many(rows, self._number_of, self._checkpoint)
            else:
                for row in rows:
                    log.take(row, self._number_of, self._checkpoint)
                    yield

    def _take_history(self, history: DirectoryHistory) -> None:
        newest = history.versions[0].digest
        if history.subject == Subject.ROOT:
            signed = self._view.thing(newest)
            self._root = (0, EMPTY) if signed is None else (ROOT.decode(signed.statement).version, newest)
        elif history.subject in LOOSE and self._is_current(history, newest):
            self.loose.put(tree_key(history.subject, history.code), newest)
        elif (history.subject, history.code) in self._waits:
            self._compare_waiting(_About(history.subject, history.code))

    def _compare_waiting(self, about: _About) -> None:
        """What waits of this record, as it is stored by now: leaves come and go with it."""
        record = (Subject(about.subject), about.code)
        pending, history = self._view.pending(*record), self._view.history(*record)
        keys = waiting_keys(*record)
        if pending is not None and history is not None:
            self._waits.add(record)
            self._waiting.update(dict.fromkeys(keys, record))
            for key, digest in zip(keys, (pending.digest, history.versions[0].digest), strict=True):
                self.loose.put(key, digest)
        elif record in self._waits:
            self._waits.discard(record)
            for key in keys:
                del self._waiting[key]
                self.loose.remove(key)

    def _is_current(self, history: DirectoryHistory, digest: bytes) -> bool:
        """Node records count until their end."""
        if history.subject != Subject.NODE:
            return True
        signed = self._view.thing(digest)
        if signed is None:  # superseded by a later row of the same batches
            return False
        heapq.heappush(self._ends, (NODE.decode(signed.statement).until_ms, history.code, digest))
        return True

    def _take_fork(self, fork: DirectoryFork) -> None:
        name = fork_name(fork.registrar, fork.generation)
        self._forks[name] = (fork.registrar, fork.generation)
        self.loose.put(tree_key(Subject.FORK, fork_code(fork.registrar, fork.generation)), name)

    def _expire(self) -> None:
        now_ms = self._environment.now_ms()
        while self._ends and self._ends[0][0] <= now_ms:
            _, centre, digest = heapq.heappop(self._ends)
            key = tree_key(Subject.NODE, centre)
            if self.loose.get(key) == digest:
                self.loose.remove(key)
                self._heads = None

    def _number_of(self, digest: bytes) -> int:
        signed = self._view.thing(digest)
        assert signed is not None, "what is in a tree is stored"
        number: int = NUMBERED[signed.format].decode(signed.statement).number
        return number

    def _checkpoint(self, digest: bytes) -> Checkpoint | None:
        return find_checkpoint(self._view, digest)


@dataclass(frozen=True, slots=True)
class _About:
    """A record of which something began to wait, or ended."""

    subject: int
    code: str


def _row_of(change: Any) -> Any:
    """What a change means for the index, if it does."""
    match change:
        case Put(record=DirectoryNumber() | DirectoryHistory() | DirectoryFork()):
            return change.record
        case Put(record=DirectoryPending(subject=subject, code=code)):
            return _About(subject, code)
        case Delete(record=kind, key=(subject, code)) if kind is DirectoryPending:
            return _About(int(subject), str(code))
    return None


def _place(row: Any) -> tuple[int, str, int, int]:
    """Numbered rows by number; the others behind them, as they came."""
    if isinstance(row, DirectoryNumber):
        return (0, row.registrar, row.generation, row.number)
    return (1, "", 0, 0)


def _key_of(row: Any) -> tuple[Any, ...]:
    return KINDS[type(row)].key_of(row)
