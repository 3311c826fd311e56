"""A heap of any size comes in as if it had been judged at once: in parts, resumed, served meanwhile."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import trio

from node.daemon import Node, NodeSettings, run_node
from node.directory_readers import WORTH_IT, ChildReaders
from node.environment import RealEnvironment
from node.keyring import Keyring
from node.logs import LineSink, make_log
from node.metrics import Metrics
from node.tasks import start
from protocol.directory import AGENCY, Names
from protocol.directory_import import Imported, import_things
from protocol.directory_kinds import (
    DirectoryAlias,
    DirectoryFork,
    DirectoryHistory,
    DirectoryHosting,
    DirectoryNumber,
    DirectoryPeer,
    DirectoryPending,
    DirectoryThing,
)
from protocol.directory_view import RecordCache
from protocol.limits import DAY_MS
from protocol.record import Records
from protocol.sealing import SealingKey
from protocol.signing import Signed, Verifier, sign
from protocol.staged import Staged
from scripts.benchmarks.nation import BODIES, Log, Nation, agencies, centre_code, seed_of, signer_of
from storage.store import create_on
from tests.sim.clock import run_seeded
from tests.sim.disk import Disk
from tests.sim.environment import SimEnvironment
from tests.sim.network import MemoryNetwork

CENTRE = centre_code(0)
KINDS = (
    DirectoryThing,
    DirectoryHistory,
    DirectoryNumber,
    DirectoryFork,
    DirectoryAlias,
    DirectoryHosting,
    DirectoryPeer,
    DirectoryPending,
)
NATION = Nation(BODIES + WORTH_IT, 20)
FOUNDED = NATION.found()
WIRES = [thing.to_wire() for thing in FOUNDED]
NOW_MS = NATION.clock_ms + 30 * DAY_MS


def in_the_directory(records: Records) -> dict[type, list[Any]]:
    """Everything that a store holds of the directory."""
    return {kind: records.scan(kind, limit=100_000) for kind in KINDS}


def at_once(wires: Sequence[bytes]) -> tuple[Imported, Staged]:
    """The same things judged as one heap."""
    records = Staged()
    from protocol.directory_import import Terms

    imported = import_things(
        wires,
        records,
        anchor=NATION.anchor,
        verifier=Verifier(),
        now_ms=NOW_MS,
        cache=RecordCache(),
        terms=Terms(own_centre=CENTRE),
    )
    records.stage(imported.changes)
    return imported, records


def on_a_node(story: Callable[[Node], Awaitable[None]], disk: Disk | None = None) -> None:
    """Run a node of the nation that knows nothing yet (or what is on its disk), and the story."""
    sealing = SealingKey(seed_of(f"sealing {CENTRE}"))
    disk = Disk(Random(2)) if disk is None else disk

    async def main() -> None:
        network = MemoryNetwork(Random(1))
        environment = FrozenEnvironment(Random(3))
        log = make_log(LineSink(io.StringIO()), environment)
        store = create_on(disk.key_value(), disk.folder(), incarnation=bytes(16))
        keyring = Keyring(
            signers={"": signer_of(f"operational {CENTRE}")},
            sealing={sealing.key_id: sealing},
            vault_key=bytes(32),
            identity_seed=seed_of("not the one of the record, so that no node record comes between"),
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.run)

            async def run(*, task_status: Any) -> None:
                await run_node(
                    settings=NodeSettings(centre=CENTRE, anchor=NATION.anchor),
                    environment=environment,
                    transport=network.transport("12D3KooWA", ("/memory/a",), centre=CENTRE),
                    store=store,
                    keyring=keyring,
                    metrics=Metrics(),
                    log=log,
                    task_status=task_status,
                )

            node: Node = await start(nursery, run)
            await story(node)
            nursery.cancel_scope.cancel()

    run_seeded(1, main)


class FrozenEnvironment(SimEnvironment):
    """The wall clock stands still, so that what is stored can be compared whole."""

    def now_ms(self) -> int:
        return NOW_MS


# --- the same as at once --------------------------------------------------------------------


def test_a_nation_comes_in_as_if_it_had_been_judged_at_once() -> None:
    expected, records = at_once(WIRES)

    async def story(node: Node) -> None:
        imported = await node.room.door.take(WIRES)
        assert set(imported.names) == set(expected.names)
        assert len(imported.first) == NATION.records + NATION.centres
        assert not imported.rejected
        found = in_the_directory(node.store.view)
        for kind, rows in in_the_directory(records).items():
            assert found[kind] == rows, kind

    on_a_node(story)


def test_what_is_not_plain_is_judged_as_at_once_too() -> None:
    wires = [*WIRES, *map(Signed.to_wire, awkward())]
    Random(7).shuffle(wires)
    expected, records = at_once(wires)
    assert {item.error.code for item in expected.rejected} >= {
        "directory_fork",
        "directory_signer_unknown",
        "directory_not_entitled",
        "directory_registrar_unknown",
    }

    async def story(node: Node) -> None:
        imported = await node.room.door.take([*wires, b"nothing", b"\x93\x01\x02\x03"])
        assert {(item.digest, item.error.code) for item in imported.rejected if item.digest} == {
            (item.digest, item.error.code) for item in expected.rejected
        }
        assert sum(not item.digest for item in imported.rejected) == 2
        assert sorted(imported.names) == sorted(expected.names)
        found = in_the_directory(node.store.view)
        for kind, rows in in_the_directory(records).items():
            assert found[kind] == rows, kind

    on_a_node(story)


def awkward() -> list[Signed]:
    """Later versions, a fork, forged records, strangers."""
    nation = Nation(NATION.records, NATION.centres)
    nation.found()
    below = [record for by, record in agencies(nation.records, nation.centres) if by == "H01"]
    renamed = nation.sign("H01", [replace(record, names=Names(vi=f"{record.names.vi} mới")) for record in below[:40]])
    forked = Log("H02", number=2).sign([replace(below[0], code="H02.777", parent="H02")], nation.clock_ms)
    stranger = replace(below[0], registrar="H01", number=9_000, code="H01.888")
    forged = sign(AGENCY.name, AGENCY.encode(stranger), signer_of("nobody"))
    outside = nation.sign("H03", [replace(below[1], code="H04.999", parent="H04")])
    nobody = Log("H01.999").sign([replace(below[2], code="H01.999.1", parent="H01.999")], nation.clock_ms)
    return [*renamed, next(forked), forged, *outside, *nobody]


# --- a part at a time -----------------------------------------------------------------------


def test_what_was_durable_when_it_was_broken_off_stays_and_the_rest_is_taken_the_next_time() -> None:
    _, records = at_once(WIRES)

    async def story(node: Node) -> None:
        seen: list[int] = []
        with trio.CancelScope() as scope:

            def notice(_step: Any) -> None:
                seen.append(len(node.store.committed.scan(DirectoryHistory, limit=100_000)))
                if seen[-1] > 300:
                    scope.cancel()

            node.pump.after_batch.append(notice)
            await node.room.door.take(WIRES)
        assert scope.cancelled_caught
        node.pump.after_batch.remove(notice)
        assert node.directory.agency("H01").code == "H01", "what is known is served meanwhile"
        imported = await node.room.door.take(WIRES)
        assert imported.already >= 300
        assert imported.already + len(imported.names) + len(imported.checkpoints) == len(WIRES)
        found = in_the_directory(node.store.view)
        for kind, rows in in_the_directory(records).items():
            assert found[kind] == rows, kind

    on_a_node(story)


def test_a_heap_that_comes_again_changes_nothing_and_verifies_nothing() -> None:
    async def story(node: Node) -> None:
        await node.room.door.take(WIRES)
        commits, operations = node.store.head.commit, node.verifier.operations
        imported = await node.room.door.take(WIRES)
        assert (imported.already, imported.names, imported.rejected) == (len(WIRES), (), ())
        assert (node.store.head.commit, node.verifier.operations) == (commits, operations)

    on_a_node(story)


def test_a_batch_of_a_registrar_costs_one_verification() -> None:
    async def story(node: Node) -> None:
        before = node.verifier.operations
        await node.room.door.take(WIRES)
        roots = {item.signature for thing in FOUNDED for item in thing.signatures}
        assert node.verifier.operations - before <= len(roots)

    on_a_node(story)


def test_a_first_version_costs_three_writes_and_an_alias_one_more() -> None:
    async def story(node: Node) -> None:
        written: list[Any] = []
        node.pump.after_batch.append(lambda step: written.extend(step.changes))
        await node.room.door.take(WIRES)
        kinds = [type(change.record) for change in written if hasattr(change, "record")]
        assert kinds.count(DirectoryThing) == len(WIRES)
        records = NATION.records + NATION.centres
        assert kinds.count(DirectoryNumber) == len(WIRES) - 1
        assert kinds.count(DirectoryHistory) == records + 1

    on_a_node(story)


def test_the_index_is_the_same_after_a_bulk_import_as_after_a_restart() -> None:
    async def story(node: Node) -> None:
        await node.room.door.take(WIRES)
        await node.room.index.caught_up()
        from node.directory_index import DirectoryIndex

        again = DirectoryIndex(node.directory, node.store.committed, node.environment, node.log)
        operations = node.verifier.operations
        await again.build()
        assert again.digest() == node.room.index.digest() != b""
        assert node.verifier.operations == operations, "a restart verifies nothing again"
        assert all(log.complete is not None for log in node.room.index.logs())

    on_a_node(story)


# --- readers --------------------------------------------------------------------------------


def with_readers(story: Callable[[ChildReaders, io.StringIO], Awaitable[None]]) -> None:
    """Child processes that read, on the real clock."""

    async def main() -> None:
        lines = io.StringIO()
        environment = RealEnvironment()
        readers = ChildReaders(make_log(LineSink(lines), environment), environment)
        async with trio.open_nursery() as nursery:
            await start(nursery, readers.run)
            await story(readers, lines)
            nursery.cancel_scope.cancel()
        assert readers.children == 0

    trio.run(main)


def test_children_read_what_would_be_read_here() -> None:
    from node.directory_readers import InlineReaders

    async def story(readers: ChildReaders, _lines: io.StringIO) -> None:
        places, inline = await readers.places(WIRES), InlineReaders()
        assert readers.children > 0
        reads = await readers.read(WIRES, NOW_MS)
        assert (places, reads) == (await inline.places(WIRES), await inline.read(WIRES, NOW_MS))

    with_readers(story)


def test_few_things_start_no_children() -> None:
    async def story(readers: ChildReaders, _lines: io.StringIO) -> None:
        await readers.read(WIRES[: WORTH_IT - 1], NOW_MS)
        assert readers.children == 0

    with_readers(story)


def test_a_child_that_is_lost_loses_nothing() -> None:
    async def story(readers: ChildReaders, lines: io.StringIO) -> None:
        first = await readers.read(WIRES, NOW_MS)
        readers.kill_children()
        assert await readers.read(WIRES, NOW_MS) == first
        assert "reader_lost" in lines.getvalue()

    with_readers(story)
