"""Whole nodes over the memory network that differ in what they know of one directory.

Every node starts with the tree as it was founded; what is signed later is imported where a test says so,
and travels from there as it does between real nodes. No gossip: pings and sessions alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any

import trio

from node.daemon import Node, NodeSettings, run_node
from node.keyring import Keyring
from node.logs import LineSink, make_log
from node.metrics import Metrics
from node.tasks import start
from protocol.checkpoint import CHECKPOINT, HEARTBEAT, Checkpoint, Heartbeat
from protocol.directory import AGENCY, CENTRE, AgencyRecord, KeyEntry
from protocol.directory_file import write_file
from protocol.directory_import import Imported
from protocol.directory_kinds import Subject
from protocol.encoding import Format
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.signing import Ed25519Signer, Signed, Signer
from protocol.step import Caller
from storage.store import create_on
from tests.sim.clock import run_seeded
from tests.sim.disk import Disk
from tests.sim.environment import SimEnvironment
from tests.sim.network import MemoryNetwork
from tests.support.tree import TREE_READY_MS, Tree, entry_of, key_seed

A, B, C = "00.01.W00", "00.02.W00", "00.03.W00"
OPERATOR = Caller(
    system=b"operator".ljust(16, b"."), actor="operator", agencies=frozenset(), rights=frozenset({"admin"})
)


class DirectoryNodes:
    """Nodes of one tree: by default its three centres."""

    def __init__(self, tree: Tree | None = None, *, settings: dict[str, Any] | None = None) -> None:
        self.tree = Tree.make() if tree is None else tree
        self.founding = self.tree.imported().changes
        self.settings = {"ping_s": 5.0, "announce": False, **(settings or {})}
        self.network = MemoryNetwork(Random(1))
        self.nodes: dict[str, Node] = {}
        self.logs = {centre: io.StringIO() for centre in self.tree.centres}
        self.environments: dict[str, SimEnvironment] = {}
        self.ready_ms = TREE_READY_MS
        self._marks: dict[str, bytes] = {}

    async def run(self, centre: str, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """One node until cancelled."""
        keys = self.tree.centres[centre]
        environment = self.environments[centre] = SimEnvironment(Random(centre))
        environment.offset_ms += self.ready_ms - environment.now_ms()
        disk = Disk(Random(2))
        store = create_on(disk.key_value(), disk.folder(), incarnation=environment.entropy(16))
        store.write(self.founding)
        await run_node(
            settings=NodeSettings(
                centre=centre,
                anchor=self.tree.anchor,
                addresses=(f"/memory/{centre}",),
                contacts={other: (f"/memory/{other}",) for other in self.tree.centres},
                **self.settings,
            ),
            environment=environment,
            transport=self.network.transport(keys.peer_id, (f"/memory/{centre}",), centre=centre),
            store=store,
            keyring=Keyring(
                signers={"": keys.signer},
                sealing={keys.sealing.key_id: keys.sealing},
                vault_key=key_seed(1, f"{centre} vault"),
                identity_seed=keys.identity_seed,
            ),
            metrics=Metrics(),
            log=make_log(LineSink(self.logs[centre]), environment),
            task_status=task_status,
        )

    # --- what a test asks ---------------------------------------------------------------------

    def events(self, centre: str, event: str) -> list[dict[str, Any]]:
        """What a node logged under one name."""
        lines = [json.loads(line) for line in self.logs[centre].getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def digests(self) -> set[bytes]:
        """The heads digests of all nodes."""
        return {node.room.index.digest() for node in self.nodes.values()}

    def know(self, signed: Signed) -> set[str]:
        """The centres whose nodes have accepted this thing."""
        return {centre for centre, node in self.nodes.items() if node.directory.was_accepted(signed.digest)}

    async def until(self, condition: Callable[[], Any], *, seconds: float = 120) -> None:
        """Until this holds; fails after so many virtual seconds."""
        with trio.fail_after(seconds):
            while not condition():  # noqa: ASYNC110  # virtual time: one look at a quiet world
                await trio.sleep(seconds / 480)

    async def level(self, *, seconds: float = 120) -> None:
        """Until all nodes know the same."""
        for node in self.nodes.values():
            await node.room.index.caught_up()
        await self.until(lambda: len(self.digests()) == 1 and self.digests() != {b""}, seconds=seconds)

    async def bring(self, centre: str, *things: Signed) -> Imported:
        """An operator imports a file at this node."""
        return await self.nodes[centre].services.take_directory(OPERATOR, write_file(things))

    def cut(self, one: str, other: str) -> None:
        """These two reach each other no more."""
        self.network.cut(self.tree.centres[one].peer_id, self.tree.centres[other].peer_id)

    # --- what a registrar signs ---------------------------------------------------------------

    def set_clock(self) -> None:
        """What is signed next is made now."""
        self.tree.clock_ms = max(self.tree.clock_ms, next(iter(self.environments.values())).now_ms() - 60_000)

    def renamed(self, code: str, **changes: Any) -> Signed:
        """The next version of an agency, signed by its registrar alone."""
        self.set_clock()
        return self.tree.publish(self.tree.next_agency(code, **changes))

    def checkpoint(self, registrar: str = "level-1", *heartbeat: Signer, **changes: Any) -> Signed:
        """A checkpoint over all that the registrar has signed, after the one that was made last."""
        self.set_clock()
        newest: dict[bytes, bytes] = {}
        for signed in self.tree.signed:
            value: Any = _record(signed)
            if value is not None and value.registrar == registrar:
                subject = Subject.AGENCY if isinstance(value, AgencyRecord) else Subject.CENTRE
                newest[tree_key(subject, value.code)] = signed.digest
        tree = PrefixTree.of_sorted(sorted(newest.items()))
        entries: tuple[KeyEntry, ...] = tuple(entry_of(signer) for signer in heartbeat)
        value = Checkpoint(
            **{
                "registrar": registrar,
                "generation": 1,
                "number": self.tree.next_number(registrar),
                "created_ms": self.tree.tick(),
                "count": len(tree),
                "root": tree.root if len(tree) else EMPTY,
                "previous": self._marks.get(registrar, EMPTY),
                "heartbeat": entries,
                **changes,
            }
        )
        signed = self.tree.sign(CHECKPOINT, value, self.tree.registrars[registrar])
        self._marks[registrar] = signed.digest
        return signed


def heartbeat_of(checkpoint: Signed, signer: Signer, created_ms: int) -> Signed:
    """A heartbeat that repeats a checkpoint."""
    value = CHECKPOINT.decode(checkpoint.statement)
    beat = Heartbeat(
        registrar=value.registrar,
        generation=value.generation,
        checkpoint=checkpoint.digest,
        created_ms=created_ms,
    )
    return Tree.bare().sign(HEARTBEAT, beat, [signer])


def signer_of(label: str) -> Ed25519Signer:
    """A key that is always the same."""
    return Ed25519Signer(key_seed(5, label))


def _record(signed: Signed) -> Any:
    formats: dict[str, Format[Any]] = {AGENCY.name: AGENCY, CENTRE.name: CENTRE}
    known = formats.get(signed.format)
    return None if known is None else known.decode(signed.statement)


def among_nodes(
    story: Callable[[DirectoryNodes], Awaitable[None]],
    *,
    tree: Tree | None = None,
    without: Iterable[str] = (),
    settings: dict[str, Any] | None = None,
) -> None:
    """Run the nodes, and the story when all of them know the same."""

    async def main() -> None:
        nodes = DirectoryNodes(tree, settings=settings)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(nodes.network.run)
            for centre in nodes.tree.centres:
                if centre not in without:
                    nodes.nodes[centre] = await start(nursery, nodes.run, centre)
            await nodes.level(seconds=7_200)
            await story(nodes)
            nursery.cancel_scope.cancel()

    run_seeded(1, main)
