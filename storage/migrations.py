"""The schema version of a store, and the ordered steps from one to the next (DESIGN §6).

A store says its version under a key of kind 0, which every version can read. A migration
yields batches; it may be interrupted between two of them and then begins again, so it must
bear to meet records it has already changed. The version is raised in a batch of its own
after the last. There is no way back: an older program refuses a newer store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from protocol.errors import StoreError
from storage.keyspace import open_value, seal_value, store_key
from storage.kv import KeyValue, Pairs

SCHEMA_VERSION: Final = 1
"""The version that this program reads and writes."""

_SCHEMA_KEY: Final = store_key("schema")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step: what turns a store of version `to` − 1 into one of version `to`."""

    to: int
    batches: Callable[[KeyValue], Iterable[Pairs]]


MIGRATIONS: Final[tuple[Migration, ...]] = ()
"""In order, without gaps, the last one leading to SCHEMA_VERSION."""


def stored_version(kv: KeyValue) -> int | None:
    """The schema version of a store; None when nothing was ever created here.

    Raises:
        StoreError: `record_damaged`.
    """
    value = kv.get(_SCHEMA_KEY)
    return None if value is None else int.from_bytes(open_value(_SCHEMA_KEY, value), "big")


def version_pair(version: int) -> tuple[bytes, bytes]:
    """The pair by which a store says its version."""
    return _SCHEMA_KEY, seal_value(_SCHEMA_KEY, version.to_bytes(4, "big"))


def migrate(
    kv: KeyValue, migrations: Sequence[Migration] = MIGRATIONS, *, current: int = SCHEMA_VERSION
) -> tuple[int, ...]:
    """Bring an existing store up to `current`; returns the versions it went through.

    Raises:
        StoreError: `store_newer` with both versions, `store_missing`, and what the store raises.
    """
    version = stored_version(kv)
    if version is None:
        raise StoreError("store_missing")
    if version > current:
        raise StoreError("store_newer", store=version, software=current)
    steps = [step for step in migrations if version < step.to <= current]
    assert [step.to for step in steps] == list(range(version + 1, current + 1)), "a gap between migrations"
    for step in steps:
        for batch in step.batches(kv):
            kv.write(batch)
        kv.write([version_pair(step.to)])
    return tuple(step.to for step in steps)
