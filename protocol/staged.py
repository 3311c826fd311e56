"""Records in memory, on top of others: what a long step has decided but not yet handed over.

Used where many changes build on each other before one commit (an import of directory
records), by the off-line verifier, which has no store at all, and by tests. The overlay that
stands between steps and commits is `storage/view.py`; this one knows nothing of commits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from protocol.record import KINDS, Change, Delete, KeyPart, Put, Records

R = TypeVar("R")


class Staged:
    """Implements `Records`: the base with the staged changes applied. Bounded by its user."""

    def __init__(self, base: Records | None = None) -> None:
        self._base = base
        self._staged: dict[type, dict[tuple[KeyPart, ...], Any]] = {}
        self.changes: list[Change] = []
        """Everything staged, in order."""

    def stage(self, changes: Iterable[Change]) -> None:
        """Apply puts and deletes; bodies have no place here."""
        for change in changes:
            if isinstance(change, Put):
                kind = KINDS[type(change.record)]
                self._staged.setdefault(kind.record, {})[kind.key_of(change.record)] = change.record
            else:
                assert isinstance(change, Delete), "bodies go to the store"
                self._staged.setdefault(change.record, {})[change.key] = None
            self.changes.append(change)

    def get(self, record: type[R], *key: KeyPart) -> R | None:
        """The record with this key, or None."""
        staged = self._staged.get(record, {})
        if key in staged:
            found: R | None = staged[key]
            return found
        return None if self._base is None else self._base.get(record, *key)

    def scan(self, record: type[R], *prefix: KeyPart, after: tuple[KeyPart, ...] = (), limit: int = 1000) -> list[R]:
        """Records whose key starts with `prefix`, in key order, behind `prefix + after`."""
        staged = {
            key: item for key, item in self._staged.get(record, {}).items() if _within(key, prefix, (*prefix, *after))
        }
        found = {} if self._base is None else self._from_base(record, prefix, after, limit + len(staged))
        found.update(staged)
        return [found[key] for key in sorted(found) if found[key] is not None][:limit]

    def _from_base(
        self, record: type[R], prefix: tuple[KeyPart, ...], after: tuple[KeyPart, ...], limit: int
    ) -> dict[Any, R]:
        assert self._base is not None
        kind = KINDS[record]
        return {kind.key_of(item): item for item in self._base.scan(record, *prefix, after=after, limit=limit)}


def _within(key: Any, prefix: tuple[KeyPart, ...], floor: Any) -> bool:
    if key[: len(prefix)] != prefix:
        return False
    return len(floor) == len(prefix) or bool(key[: len(floor)] > floor)
