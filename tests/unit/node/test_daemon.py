"""Whole nodes over the memory network: what only shows when all parts are bound together."""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest
import trio

from node.daemon import Node, NodeSettings, run_node
from node.keyring import Keyring
from node.logs import LineSink, make_log
from node.metrics import Metrics
from node.peers import PEER_OPENS_S
from node.tasks import start
from protocol.errors import ConfigurationError
from storage.store import create_on
from tests.sim.clock import run_seeded
from tests.sim.disk import Disk
from tests.sim.environment import SimEnvironment
from tests.sim.network import MemoryNetwork
from tests.support.errors import record
from tests.support.tree import TREE_READY_MS, Tree, key_seed

A, B, C = "00.01.W00", "00.02.W00", "00.03.W00"


class Shy:
    """The transport of a node that never opens an exchange stream of its own."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def opens_exchange(self, _centre: str) -> bool:
        return False


class Country:
    """Three nodes of one tree, each logging into memory."""

    def __init__(self, *, shy: bool = False) -> None:
        self.tree = Tree.make()
        self.shy = min(self.tree.centres, key=lambda centre: self.tree.centres[centre].peer_id) if shy else ""
        self.network = MemoryNetwork(Random(1))
        self.nodes: dict[str, Node] = {}
        self.logs = {centre: io.StringIO() for centre in self.tree.centres}

    async def run(self, centre: str, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """One node until cancelled."""
        keys = self.tree.centres[centre]
        environment = SimEnvironment(Random(centre))
        transport = self.network.transport(keys.peer_id, (f"/memory/{centre}",), centre=centre)
        environment.offset_ms += TREE_READY_MS - environment.now_ms()
        disk = Disk(Random(2))
        store = create_on(disk.key_value(), disk.folder(), incarnation=environment.entropy(16))
        store.write(self.tree.imported().changes)
        await run_node(
            settings=NodeSettings(
                centre=centre,
                anchor=self.tree.anchor,
                addresses=(f"/memory/{centre}",),
                contacts={other: (f"/memory/{other}",) for other in self.tree.centres},
            ),
            environment=environment,
            transport=Shy(transport) if self.shy == centre else transport,
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

    def events(self, centre: str, event: str) -> list[dict[str, Any]]:
        """What a node logged under one name."""
        lines = [json.loads(line) for line in self.logs[centre].getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def reasons(self, centre: str) -> set[str]:
        """Why links of a node have ended."""
        return {line["reason"] for line in self.events(centre, "peer_down")}

    async def all_up(self) -> None:
        """Until every node has said hello to both others."""
        with trio.fail_after(60):
            while any(  # noqa: ASYNC110  # virtual time: one look at a quiet world
                node.peers.states() != {"up": 2} for node in self.nodes.values()
            ):
                await trio.sleep(0.5)  # virtual time: one look at a quiet world


def in_a_country(story: Callable[[Country], Awaitable[None]], *, shy: bool = False) -> None:
    """Run three nodes, and the story when all are up."""

    async def main() -> None:
        country = Country(shy=shy)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(country.network.run)
            for centre in country.tree.centres:
                country.nodes[centre] = await start(nursery, country.run, centre)
            await country.all_up()
            await story(country)
            nursery.cancel_scope.cancel()

    run_seeded(1, main)


def test_a_link_that_ends_is_made_again_and_the_reason_is_told() -> None:
    async def story(country: Country) -> None:
        link = country.nodes[A].links.get(B)
        assert link is not None
        link.end("by hand")
        await trio.sleep(1)
        await country.all_up()
        assert country.nodes[A].links.get(B) is not link
        down = [*country.events(A, "peer_down"), *country.events(B, "peer_down")]
        assert "link_over" in {line["code"] for line in down}
        assert "by hand" in {line["reason"] for line in down}
        record("link_over")

    in_a_country(story)


def test_a_peer_that_does_not_open_its_stream_is_not_waited_for_for_ever() -> None:
    async def story(country: Country) -> None:
        links = [node.links.get(centre) for centre, node in country.nodes.items()]
        await trio.sleep(10 * PEER_OPENS_S)
        assert [node.links.get(centre) for centre, node in country.nodes.items()] == links, "they stay"

    in_a_country(story, shy=True)


def test_a_peer_that_falls_silent_is_given_up_and_found_again() -> None:
    async def story(country: Country) -> None:
        peer_id = country.tree.centres[B].peer_id
        country.network.cut(country.tree.centres[A].peer_id, peer_id)
        with trio.fail_after(300):
            while "peer_silent" not in country.reasons(A) | country.reasons(B):  # noqa: ASYNC110  # virtual time
                await trio.sleep(5)
        record("peer_silent")
        country.network.mend_all()
        with trio.fail_after(600):
            await country.all_up()

    in_a_country(story)


def test_one_voice_that_sees_a_twin_is_an_alarm_and_two_stop_the_node() -> None:
    async def story(country: Country) -> None:
        node = country.nodes[A]
        node.twin_seen(B)
        node.twin_seen(B)
        await trio.sleep(1)
        assert country.events(A, "alarm")[0]["code"] == "twin"
        node.twin_seen(C)
        await trio.sleep(1)

    with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match="twin"), flatten_subgroups=True):
        in_a_country(story)
    record("twin")
