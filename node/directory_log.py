"""One registrar's log as it lies in memory: known numbers, prefix tree, checkpoints, completeness.

Obeys `protocol/spec/reconcile.md` §1 and `protocol/spec/checkpoint.md` §4. Filled once from the rows of
the store (`Filling`), then kept up to date row by row; both give the same, in whatever order rows come.
Which logs there are is `directory_index.py`'s business.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from protocol.checkpoint import Checkpoint, check_complete
from protocol.directory_kinds import DirectoryNumber
from protocol.errors import TrustError
from protocol.heads import LogHead, Numbers
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key

FindCheckpoint = Callable[[bytes], Checkpoint | None]
"""The accepted checkpoint with this digest."""
NumberOf = Callable[[bytes], int]
"""The number of the accepted record with this digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The newest checkpoint that says what is known here."""

    digest: bytes
    checkpoint: Checkpoint


class RegistrarLog:
    """What is known of one generation of one registrar's log."""

    def __init__(self, registrar: str, generation: int, tree: PrefixTree | None = None) -> None:
        self.registrar = registrar
        self.generation = generation
        self.numbers = Numbers()
        self.tree = PrefixTree() if tree is None else tree
        self.complete: Complete | None = None
        self.wanted: set[bytes] = set()
        """Digests of checkpoints that others name as the one before, and that are not known."""
        self._marks: list[tuple[int, bytes]] = []

    def head(self) -> LogHead:
        """How far it is known."""
        reached = self.numbers.reached
        at = bisect_right(self._marks, (reached + 1, b""))
        return LogHead(
            registrar=self.registrar,
            generation=self.generation,
            number=reached,
            checkpoint=self._marks[at - 1][1] if at else EMPTY,
            root=self.tree.root,
        )

    def take(self, row: DirectoryNumber, number_of: NumberOf, find: FindCheckpoint) -> None:
        """One more thing is known; taking it twice changes nothing."""
        self.numbers.add(row.number)
        if not row.subject:
            self.mark(row.number, row.digest, find)
            return
        key = tree_key(row.subject, row.code)
        known = self.tree.get(key)
        if known is None or (known != row.digest and number_of(known) < row.number):
            self.tree.put(key, row.digest)

    def take_many(
        self, rows: Sequence[DirectoryNumber], number_of: NumberOf, find: FindCheckpoint
    ) -> Generator[None, None, None]:
        """As `take` for each, in ascending order of numbers; much cheaper for many. Pauses after each tenth of
        a millisecond."""
        leaves: dict[bytes, tuple[int, bytes]] = {}
        for row in rows:
            if row.subject:
                self._add_leaf(row, leaves, number_of)
            else:
                yield from self._put_all(leaves)
                self.numbers.add(row.number)
                self.mark(row.number, row.digest, find)
            yield
        yield from self._put_all(leaves)

    def _add_leaf(self, row: DirectoryNumber, leaves: dict[bytes, tuple[int, bytes]], number_of: NumberOf) -> None:
        self.numbers.add(row.number)
        key = tree_key(row.subject, row.code)
        waits = leaves.get(key)
        known = self.tree.get(key) if waits is None else None
        if known == row.digest or (known is not None and number_of(known) > row.number):
            return
        if waits is None or waits[0] < row.number:
            leaves[key] = (row.number, row.digest)

    def _put_all(self, leaves: dict[bytes, tuple[int, bytes]]) -> Generator[None, None, None]:
        yield from self.tree.put_many([(key, digest) for key, (_, digest) in leaves.items()])
        leaves.clear()

    def mark(self, number: int, digest: bytes, find: FindCheckpoint) -> None:
        """A checkpoint is known: note what it names, and compare it if it is the last thing known."""
        at = bisect_left(self._marks, (number, digest))
        value = find(digest)
        if self._marks[at : at + 1] == [(number, digest)] or value is None:
            return
        self._marks.insert(at, (number, digest))
        self.wanted.discard(digest)
        if value.previous != EMPTY and find(value.previous) is None:
            self.wanted.add(value.previous)
        self.compare(digest, value)

    def settle(self, find: FindCheckpoint) -> None:
        """Some rows were taken: perhaps the last gap below a checkpoint is closed."""
        if not self._marks or (self.complete is not None and self.complete.digest == self._marks[-1][1]):
            return
        digest = self._marks[-1][1]
        value = find(digest)
        if value is not None:
            self.compare(digest, value)

    def compare(self, digest: bytes, value: Checkpoint) -> None:
        """Whoever knows all numbers up to a checkpoint's, and none above it, compares."""
        if self.numbers.ranges != ((1, value.number),):
            return
        try:
            check_complete(value, self.tree)
        except TrustError:
            return
        self.complete = Complete(digest=digest, checkpoint=value)


class Filling:
    """Collects the rows of a log in ascending order of numbers, to make its tree in one go.

    The tree is made of what stands below the last checkpoint, so that it can be compared; of everything
    where there is no checkpoint.
    """

    def __init__(self, registrar: str, generation: int) -> None:
        self._registrar = registrar
        self._generation = generation
        self._leaves: list[tuple[bytes, bytes]] = []
        self._ranges: list[tuple[int, int]] = []
        self._marks: list[DirectoryNumber] = []
        self._counted = 0
        self._ranges_at_mark: tuple[tuple[int, int], ...] = ()
        self._since_mark: list[DirectoryNumber] = []

    def add(self, row: DirectoryNumber) -> None:
        """The next row."""
        self._note(row.number)
        if row.subject:
            self._leaves.append((tree_key(row.subject, row.code), row.digest))
            self._since_mark.append(row)
            return
        self._marks.append(row)
        self._counted = len(self._leaves)
        self._ranges_at_mark = tuple(self._ranges)
        self._since_mark.clear()

    def _note(self, number: int) -> None:
        if self._ranges and self._ranges[-1][1] + 1 == number:
            self._ranges[-1] = (self._ranges[-1][0], number)
        else:
            self._ranges.append((number, number))

    def tree(self) -> PrefixTree:
        """The tree; for a worker, nothing is changed."""
        counted = self._leaves[: self._counted] if self._marks else self._leaves
        return PrefixTree.of_sorted(sorted(dict(counted).items()))

    def finish(
        self, tree: PrefixTree, number_of: NumberOf, find: FindCheckpoint
    ) -> Generator[None, None, RegistrarLog]:
        """The log with this tree; what stands behind the last checkpoint is taken row by row. Pauses
        after each row, about a tenth of a millisecond."""
        log = RegistrarLog(self._registrar, self._generation, tree)
        log.numbers = Numbers(self._ranges_at_mark if self._marks else self._ranges)
        for mark in self._marks:
            log.mark(mark.number, mark.digest, find)
            yield
        for row in self._since_mark if self._marks else ():
            log.take(row, number_of, find)
            yield
        return log
