"""Exports: what is in them and in which order, and what is too much."""

from __future__ import annotations

from random import Random

import pytest

from node.directory import make_node_record
from node.directory_export import DirectoryExport, Export
from node.environment import RealEnvironment
from protocol.directory import LOCK, NODE, Lock
from protocol.directory_file import read_file
from protocol.directory_kinds import DirectoryThing
from protocol.errors import RequestError, StoreError
from protocol.record import Delete, Put
from storage.kv import MemoryKeyValue
from storage.store import Store, create_on
from tests.sim.disk import Disk
from tests.support.errors import expects
from tests.support.tree import TREE_READY_MS, Tree


@pytest.fixture
def tree() -> Tree:
    tree = Tree.make()
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    return tree


def store_of(tree: Tree) -> Store:
    store = create_on(MemoryKeyValue(), Disk(Random(1)).folder(), incarnation=b"i" * 16)
    store.write(tree.imported().changes)
    return store


def export_of(store: Store, **more: int) -> DirectoryExport:
    return DirectoryExport(store, RealEnvironment(), **more)


async def whole(export: Export) -> bytes:
    return b"".join([piece async for piece in export.pieces])


async def test_things_that_begin_alike_stand_in_order_too(tree: Tree) -> None:
    """Locks have no numbers: those of one agency differ behind the bytes that are sorted first, if at all."""
    store = store_of(tree)
    signer = tree.centres["00.03.W00"].signer
    locks = [
        tree.sign(LOCK, Lock(code="H38.12", created_ms=TREE_READY_MS, reason="x" * 900 + str(n)), [signer])
        for n in range(5)
    ]
    store.write([Put(DirectoryThing(digest=lock.digest, wire=lock.to_wire(), accepted_ms=1)) for lock in locks])
    export = await export_of(store).begin()
    file = await whole(export)
    assert set(read_file(file)) == {signed.to_wire() for signed in (*tree.signed, *locks)}
    assert (len(file), export.count) == (export.size, len(tree.signed) + 5)


async def test_what_is_written_meanwhile_is_not_in_it(tree: Tree) -> None:
    store = store_of(tree)
    export = await export_of(store).begin()
    first = tree.signed[0]
    store.write([Delete(DirectoryThing, (first.digest,))])
    assert first.to_wire() in read_file(await whole(export))


async def test_node_records_stay_out(tree: Tree) -> None:
    store, centre = store_of(tree), tree.centres["00.01.W00"]
    record = make_node_record(
        centre="00.01.W00", peer_id=centre.peer_id, addresses=(), features=(), versions=(), software="x",
        now_ms=TREE_READY_MS, signer=centre.signer,
    )  # fmt: skip
    assert record.format == NODE.name
    store.write([Put(DirectoryThing(digest=record.digest, wire=record.to_wire(), accepted_ms=1))])
    assert record.to_wire() not in read_file(await whole(await export_of(store).begin()))


async def test_what_fits_into_no_file_is_told_and_one_log_may_fit(tree: Tree) -> None:
    tree.delegate("G22")
    tree.add_agency("G22.5", "00.01.W00", registrar="G22")
    store = store_of(tree)
    size = (await export_of(store).begin()).size
    with expects("export_too_large", RequestError, field="registrar"):
        await export_of(store, bytes_max=size - 1).begin()
    assert (await export_of(store, bytes_max=size - 1).begin("H38")).size < size


async def test_the_chain_of_a_registrar_must_lead_to_the_root(tree: Tree) -> None:
    store = store_of(tree)
    assert (await export_of(store).begin("level-1")).count == (await export_of(store).begin("root")).count
    for name in ("H77", "x"):
        with expects("registrar_unknown", RequestError):
            await export_of(store).begin(name)


async def test_a_thing_that_is_gone_is_named(tree: Tree) -> None:
    store = store_of(tree)
    store.write([Delete(DirectoryThing, (tree.signed[-1].digest,))])
    with expects("directory_damaged", StoreError):
        await export_of(store).begin("H38")
