"""What a durable record is: a statement class with a number and a key. Spec: `spec/records.md`.

A record never leaves the node that wrote it; its format belongs to the schema version of
the store. It is written with the same strict encoding as everything else. Where a record
lies and how keys sort is the business of `storage/keyspace.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar

from protocol.encoding import Count, Digest, Format, Key

R = TypeVar("R")

KeyPart = int | str | bytes
"""One component of a key. Integers sort as unsigned 64-bit numbers, strings as UTF-8 with a
closing NUL (so no string may contain one), byte strings must have a fixed length per field."""

RECORD_BYTES_MAX: Final = 1024 * 1024
"""One record; the largest is a sealed header with its wrapping."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """One kind of record: its number (the first byte of its keys), class and key fields."""

    number: int
    record: type[R]
    key: tuple[str, ...]
    format: Format[R]

    def key_of(self, record: R) -> tuple[KeyPart, ...]:
        """The key parts of a record, in order."""
        return tuple(getattr(record, name) for name in self.key)


KINDS: Final[dict[type, Kind[Any]]] = {}
"""Every kind of record by class. Filled by the decorator below while modules are imported."""


def kind(number: int, *key: str) -> Callable[[type[R]], type[R]]:
    """Declare a frozen dataclass with `Annotated[..., Key(n)]` fields as a kind of record."""

    def declare(cls: type[R]) -> type[R]:
        assert 0 < number < 256
        assert all(known.number != number for known in KINDS.values()), f"record number {number} is taken"
        KINDS[cls] = Kind(number, cls, key, Format(f"truc/store/{number}/1", cls, bytes_max=RECORD_BYTES_MAX))
        return cls

    return declare


@dataclass(frozen=True, slots=True)
class Put:
    """Make this record durable, replacing the one with its key.

    `written`: its key and value in the store, where they were made ahead (`storage/keyspace.py`).
    """

    record: Any
    written: tuple[bytes, bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the record with this key, if there is one."""

    record: type
    key: tuple[KeyPart, ...]


@dataclass(frozen=True, slots=True)
class PutBody:
    """Make these sealed bytes durable and name them by a `Body` record in the same batch.

    For bodies of at most 1 MiB; larger ones stream into the body store first, and the step
    that follows carries `Put(Body(...))`. A digest that is durable already is not written
    again, unless the same batch deletes its record before.
    """

    digest: bytes
    blob: bytes


Change = Put | Delete | PutBody


class Records(Protocol):
    """Read access to durable records, overlaid with what has been handed over but not yet committed."""

    def get(self, record: type[R], *key: KeyPart) -> R | None:
        """The record with this key, or None."""
        ...

    def scan(self, record: type[R], *prefix: KeyPart, after: tuple[KeyPart, ...] = (), limit: int = 1000) -> list[R]:
        """Up to `limit` records whose key starts with `prefix`, in key order, strictly behind
        the key (or key prefix) `prefix + after` when `after` is given."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the bytes of a body lie: in a segment, or (segment 0) in a file named by the digest."""

    segment: Annotated[Count, Key(1)]
    offset: Annotated[Count, Key(2)]
    length: Annotated[Count, Key(3)]


STAGED_SEGMENT: Final = 2**63 - 1
"""The segment number of a body that is handed over but not yet written. Never stored."""


@kind(30, "digest")
@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A durable body. Its place belongs to the store: never copy it into another record."""

    digest: Annotated[Digest, Key(1)]
    size: Annotated[Count, Key(2)]
    place: Annotated[Place, Key(3)]
