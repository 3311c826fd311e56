"""What a step reads: committed records overlaid with everything handed over since (DESIGN §1).

The loop stages the changes of each step when it hands the step to the committer, and
settles them after the batch is durable. In between the overlay answers, whatever state the
store below is in, so a worker may write at any moment. Records are kept as objects here;
encoding is the worker's business (`store.py`). Belongs to the loop's thread alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeVar

from sortedcontainers import SortedDict

from protocol.record import STAGED_SEGMENT, Body, Change, Delete, KeyPart, Place, PutBody
from storage.keyspace import full_key, key_of, key_range, read_record
from storage.kv import Reading

R = TypeVar("R")

SLICE_MAX: Final = 1024
"""Pairs read from the store at once: about a millisecond."""

_Staged = tuple[int, Any, bytes | None]
"""Ticket, record (None: deleted), bytes of a body that is not yet written."""


class OverlayView:
    """`protocol.record.Records` over a `KeyValue` and the changes staged on top of it."""

    def __init__(self, kv: Reading) -> None:
        self._kv: Final = kv
        self._staged: Final[dict[bytes, _Staged]] = SortedDict()
        self._unsettled: Final[deque[tuple[int, tuple[bytes, ...]]]] = deque()
        self._ticket = 0

    def get(self, record: type[R], *key: KeyPart) -> R | None:
        """The record with this key, or None.

        Raises:
            StoreError: `record_damaged`, `store_damaged`, `store_io`.
        """
        at = full_key(record, key)
        staged = self._staged.get(at)
        if staged is not None:
            found: R | None = staged[1]
            return found
        value = self._kv.get(at)
        return None if value is None else read_record(record, at, value)

    def scan(self, record: type[R], *prefix: KeyPart, after: tuple[KeyPart, ...] = (), limit: int = 1000) -> list[R]:
        """Up to `limit` records whose key starts with `prefix`, in key order, strictly behind
        the key (or key prefix) `prefix + after` when `after` is given.

        Raises:
            StoreError: `record_damaged`, `store_damaged`, `store_io`.
        """
        assert limit > 0
        start, stop = key_range(record, prefix, after)
        merged = islice(self._merged(start, stop, limit), limit)
        return [read_record(record, at, value) if isinstance(value, bytes) else value for at, value in merged]

    def blob(self, digest: bytes) -> bytes | None:
        """The bytes of a body that is staged and not yet settled."""
        staged = self._staged.get(full_key(Body, (digest,)))
        return None if staged is None else staged[2]

    def stage(self, changes: Sequence[Change]) -> int:
        """Overlay the changes of one step, in order; the ticket says which were staged before."""
        self._ticket += 1
        at = tuple(self._stage_one(change) for change in changes)
        self._unsettled.append((self._ticket, at))
        return self._ticket

    def settle(self, ticket: int) -> None:
        """Everything staged up to and including this ticket is durable: stop overlaying it,
        except for keys that were staged again later."""
        while self._unsettled and self._unsettled[0][0] <= ticket:
            for at in self._unsettled.popleft()[1]:
                staged = self._staged.get(at)
                if staged is not None and staged[0] <= ticket:
                    del self._staged[at]

    def forget_all(self) -> None:
        """A commit failed: throw away everything staged, read from the store again."""
        self._staged.clear()
        self._unsettled.clear()

    @property
    def staged_count(self) -> int:
        """How many keys the overlay answers for."""
        return len(self._staged)

    def _stage_one(self, change: Change) -> bytes:
        blob: bytes | None = None
        record: Any = None
        if isinstance(change, Delete):
            at = full_key(change.record, change.key)
        elif isinstance(change, PutBody):
            at, record, blob = full_key(Body, (change.digest,)), staged_body(change), change.blob
        else:
            at = key_of(change.record) if change.written is None else change.written[0]
            record = change.record
        self._staged[at] = (self._ticket, record, blob)
        return at

    def _merged(self, start: bytes, stop: bytes, limit: int) -> Iterator[tuple[bytes, Any]]:
        """Pairs in key order: bytes from the store, records from the overlay, no deleted ones."""
        stored = self._stored(start, stop, limit)
        pair = next(stored, None)
        for at in self._staged_keys(start, stop):
            while pair is not None and pair[0] < at:
                yield pair
                pair = next(stored, None)
            if pair is not None and pair[0] == at:
                pair = next(stored, None)
            record = self._staged[at][1]
            if record is not None:
                yield at, record
        while pair is not None:
            yield pair
            pair = next(stored, None)

    def _stored(self, start: bytes, stop: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
        """The store's pairs, read in slices that grow, so that neither a scan for one record nor
        a scan across many deleted ones is wasteful. A batch that is written between two slices
        changes only keys that are staged, and for these the overlay answers."""
        while True:
            pairs = self._kv.scan(start, stop, limit)
            yield from pairs
            if len(pairs) < limit:
                return
            start, limit = pairs[-1][0] + b"\x00", min(limit * 2, SLICE_MAX)

    def _staged_keys(self, start: bytes, stop: bytes) -> Iterator[bytes]:
        keys: Iterator[bytes] = self._staged.irange(start, stop, inclusive=(True, False))  # type: ignore[attr-defined]
        return keys


def staged_body(change: PutBody) -> Body:
    """How a body that is not yet written shows in the overlay."""
    place = Place(segment=STAGED_SEGMENT, offset=0, length=len(change.blob))
    return Body(digest=change.digest, size=len(change.blob), place=place)
