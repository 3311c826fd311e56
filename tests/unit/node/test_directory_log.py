"""One registrar's log in memory: the same, whether it is read at once or grows row by row in any order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from node.directory_log import Filling, RegistrarLog
from protocol.checkpoint import Checkpoint
from protocol.directory_kinds import DirectoryNumber, Subject
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key


def digest_of(number: int) -> bytes:
    """The digest of what stands under a number."""
    return number.to_bytes(32, "big")


class Rows:
    """A log of records and checkpoints; `codes[n]` is what number n + 1 is about, -1 a checkpoint."""

    def __init__(self, codes: Sequence[int], *, liar: bool = False) -> None:
        self.rows = [self._row(number, code) for number, code in enumerate(codes, 1)]
        self.checkpoints = {
            row.digest: self._checkpoint(row.number, liar=liar) for row in self.rows if not row.subject
        }

    @staticmethod
    def _row(number: int, code: int) -> DirectoryNumber:
        return DirectoryNumber(
            registrar="H38",
            generation=1,
            number=number,
            digest=digest_of(number),
            subject=0 if code < 0 else int(Subject.AGENCY),
            code="" if code < 0 else f"H38.{code + 1}",
        )

    def _checkpoint(self, number: int, *, liar: bool) -> Checkpoint:
        newest = {tree_key(row.subject, row.code): row.digest for row in self.rows[: number - 1] if row.subject}
        tree = PrefixTree.of_sorted(sorted(newest.items()))
        before = [row.digest for row in self.rows[: number - 1] if not row.subject]
        return Checkpoint(
            registrar="H38",
            generation=1,
            number=number,
            created_ms=number,
            count=len(tree) + liar,
            root=tree.root,
            previous=before[-1] if before else EMPTY,
        )

    @staticmethod
    def number_of(digest: bytes) -> int:
        return int.from_bytes(digest, "big")

    def read(self, rows: Sequence[DirectoryNumber]) -> RegistrarLog:
        """As after a start."""
        known = {row.digest for row in rows}
        filling = Filling("H38", 1)
        for row in rows:
            filling.add(row)
        steps = filling.finish(
            filling.tree(), self.number_of, lambda digest: self.checkpoints.get(digest) if digest in known else None
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                log: RegistrarLog = end.value
                return log

    def grown(self, rows: Sequence[DirectoryNumber]) -> RegistrarLog:
        """Row by row, each known only when it comes."""
        log, known = RegistrarLog("H38", 1), set[bytes]()

        def find(digest: bytes) -> Checkpoint | None:
            return self.checkpoints.get(digest) if digest in known else None

        for row in rows:
            known.add(row.digest)
            log.take(row, self.number_of, find)
            log.take(row, self.number_of, find)
            log.settle(find)
        return log


    def grown_in_parts(self, parts: Sequence[Sequence[DirectoryNumber]]) -> RegistrarLog:
        """Many rows at once, each part in ascending order."""
        log, known = RegistrarLog("H38", 1), set[bytes]()

        def find(digest: bytes) -> Checkpoint | None:
            return self.checkpoints.get(digest) if digest in known else None

        for part in parts:
            known.update(row.digest for row in part)
            for _ in log.take_many(sorted(part, key=lambda row: row.number), self.number_of, find):
                pass
            log.settle(find)
        return log


LOGS = st.lists(st.integers(-1, 4), min_size=1, max_size=14)


@given(LOGS, st.data())
def test_read_at_once_or_grown_in_any_order_it_is_the_same(codes: list[int], data: st.DataObject) -> None:
    log = Rows(codes)
    rows = [row for row in log.rows if data.draw(st.integers(0, 9)) > 0]
    shuffled = data.draw(st.permutations(rows))
    read, grown = log.read(rows), log.grown(shuffled)
    assert read.head() == grown.head()
    assert read.numbers.ranges == grown.numbers.ranges
    assert list(read.tree) == list(grown.tree)
    assert read.wanted == grown.wanted


@given(LOGS, st.data())
def test_taken_many_at_a_time_it_is_the_same(codes: list[int], data: st.DataObject) -> None:
    log = Rows(codes)
    shuffled = data.draw(st.permutations([row for row in log.rows if data.draw(st.integers(0, 9)) > 0]))
    cut = data.draw(st.integers(0, len(shuffled)))
    read = log.read(sorted(shuffled, key=lambda row: row.number))
    grown = log.grown_in_parts([shuffled[:cut], shuffled[cut:]])
    assert read.head() == grown.head()
    assert read.numbers.ranges == grown.numbers.ranges
    assert list(read.tree) == list(grown.tree)
    assert read.wanted == grown.wanted


@given(LOGS)
def test_a_whole_log_is_complete_up_to_its_last_checkpoint(codes: list[int]) -> None:
    log = Rows(codes)
    marks = [row.digest for row in log.rows if not row.subject]
    for made in (log.read(log.rows), log.grown(log.rows), log.grown_in_parts([log.rows])):
        assert (made.complete is not None) == bool(marks)
        if made.complete is not None:
            assert made.complete.digest == marks[-1]
        assert made.wanted == set()


def test_a_checkpoint_that_counts_otherwise_completes_nothing() -> None:
    log = Rows([0, 1, -1], liar=True)
    assert log.read(log.rows).complete is None
    assert log.grown(log.rows).complete is None


def test_a_gap_that_closes_completes_the_log() -> None:
    log = Rows([0, 1, -1])
    assert log.grown([log.rows[0], log.rows[2]]).complete is None
    made = log.grown([log.rows[0], log.rows[2], log.rows[1]])
    assert made.complete is not None and made.complete.digest == digest_of(3)
    assert made.head().number == 3


def test_a_predecessor_that_is_named_and_not_known_is_wanted() -> None:
    log = Rows([-1, 0, -1])
    made = log.grown(log.rows[1:])
    assert made.wanted == {digest_of(1)}
    assert made.head().number == 0
    assert made.head().checkpoint == EMPTY
