"""Two daemons under one peer id: over real libp2p, a second store with the keys of a node that lives."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.support.api_checks import good, until
from tests.support.api_node import DOCUMENT, ApiNode
from tests.support.errors import record
from tests.support.libp2p_nodes import libp2p_nodes, run_one
from tests.support.ports import free_port
from tests.support.tree import Tree

A, B, C = "00.01.W00", "00.02.W00", "00.03.W00"


def alarms(node: ApiNode, centre: str) -> list[dict[str, Any]]:
    """What a node said about a twin of, or seen by, this centre."""
    said = [line for line in node.events() if line["event"] == "alarm"]
    return [line for line in said if (line["code"], line["centre"]) == ("twin", centre)]


async def carries(nodes: dict[str, ApiNode]) -> None:
    """A document of the first daemon arrives at both others, once each."""
    async with (
        await nodes[A].system("G22") as sender,
        await nodes[B].system("G12") as g12,
        await nodes[C].system("H38") as h38,
    ):
        body = {**DOCUMENT, "recipients": ["G12", "H38"]}
        document = good(await sender.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)["id"]
        for taker in (g12, h38):
            assert len(good(await taker.get("/v1/inbox?wait=30"))["items"]) == 1

        async def received() -> bool:
            shown = good(await sender.get(f"/v1/documents/{document}"))["recipients"]
            return all([item["code"] for item in one["receipts"]] == [1] for one in shown)

        await until(received)


async def test_a_second_daemon_under_one_peer_id_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    tree = Tree.make()
    async with libp2p_nodes(tmp_path, tree) as nodes:
        await until(lambda: all(node.node.peers.states() == {"up": 2} for node in nodes.values()))
        addresses = {code: node.node.settings.addresses for code, node in nodes.items()}
        addresses[A] = (f"/ip4/127.0.0.1/tcp/{free_port()}",)
        folder = tmp_path / "twin"
        folder.mkdir()
        twins: list[ApiNode] = []

        async def twin(closing: ExitStack) -> None:
            async with trio.open_nursery() as nursery:
                start = partial(run_one, folder, tree, A, addresses, closing, incarnation=b"the twin's store")
                twins.append(await nursery.start(start))

        with ExitStack() as closing:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(twin, closing)
                await until(lambda: twins and alarms(twins[0], C))
                assert alarms(nodes[C], A), "both sides say so"
                await carries(nodes)
                nursery.cancel_scope.cancel()
        assert nodes[A].node.peers.states() == {"up": 2}, "whoever was there first is not disturbed"
        record("twin")
