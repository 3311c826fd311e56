"""Schema versions: one way up, no way down, and no harm in being interrupted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from protocol.errors import StoreError
from storage.kv import KeyValue, MemoryKeyValue, Pairs
from storage.migrations import MIGRATIONS, SCHEMA_VERSION, Migration, migrate, stored_version, version_pair
from tests.support.errors import expects


def upper(kv: KeyValue) -> Iterator[Pairs]:
    """An invented migration: names in capitals, one batch per name."""
    for at, value in kv.scan(b"\x01", b"\x02", 100):
        yield [(at, value.upper())]


def double(kv: KeyValue) -> Iterator[Pairs]:
    yield [(at, value + value) for at, value in kv.scan(b"\x01", b"\x02", 100)]


STEPS = (Migration(2, upper), Migration(3, double))


def old_store() -> MemoryKeyValue:
    kv = MemoryKeyValue({b"\x01a": b"an", b"\x01b": b"binh"})
    kv.write([version_pair(1)])
    return kv


def test_the_migrations_of_the_product_lead_to_its_version() -> None:
    assert [step.to for step in MIGRATIONS] == list(range(2, SCHEMA_VERSION + 1))
    kv = MemoryKeyValue()
    kv.write([version_pair(SCHEMA_VERSION)])
    assert migrate(kv) == ()


def test_an_older_store_goes_through_every_step_in_order() -> None:
    kv = old_store()
    assert migrate(kv, STEPS, current=3) == (2, 3)
    assert stored_version(kv) == 3
    assert [value for _, value in kv.scan(b"\x01", b"\x02", 9)] == [b"ANAN", b"BINHBINH"]
    assert migrate(kv, STEPS, current=3) == ()


def test_an_interrupted_migration_begins_again() -> None:
    kv = old_store()

    def interrupted(store: KeyValue) -> Iterator[Pairs]:
        yield next(upper(store))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        migrate(kv, [Migration(2, interrupted)], current=2)
    assert stored_version(kv) == 1
    migrate(kv, STEPS[:1], current=2)
    assert [value for _, value in kv.scan(b"\x01", b"\x02", 9)] == [b"AN", b"BINH"]


def test_a_newer_store_is_refused_with_both_versions() -> None:
    kv = MemoryKeyValue()
    kv.write([version_pair(7)])
    with expects("store_newer", StoreError) as caught:
        migrate(kv)
    assert caught[0].detail == {"store": 7, "software": SCHEMA_VERSION}


def test_where_nothing_was_created_there_is_nothing_to_migrate() -> None:
    with expects("store_missing", StoreError):
        migrate(MemoryKeyValue())


def test_a_damaged_version_is_noticed() -> None:
    kv = old_store()
    at, value = version_pair(1)
    kv.pairs[at] = value[:-1] + b"\x02"
    with expects("record_damaged", StoreError):
        migrate(kv)


def test_a_gap_between_migrations_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        migrate(old_store(), STEPS[1:], current=3)
