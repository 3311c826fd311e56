"""Three whole nodes exchange a document with a large part over real libp2p."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from protocol.errors import NetworkError
from tests.support.api_node import DOCUMENT, ApiNode
from tests.support.libp2p import Place, eventually, running
from tests.support.libp2p_nodes import libp2p_nodes
from tests.support.tree import Tree

LARGE = bytes(range(256)) * (5 * 4_096)
"""Five MiB: pulled over body streams, not carried in the offer."""


async def take(recipient: ApiNode, agency: str) -> None:
    """Wait for the document, compare both parts, collect it."""
    async with await recipient.system(agency) as software:
        (arrived,) = (await software.get("/v1/inbox?wait=30")).json()["items"]
        consignment = arrived["consignment"]
        assert (await software.get(f"/v1/inbox/{consignment}/parts/0")).content == LARGE
        assert (await software.get(f"/v1/inbox/{consignment}/parts/1")).text == "xin chào"
        assert (await software.post(f"/v1/inbox/{consignment}/collect")).status_code == 200


async def test_a_document_with_a_large_part_reaches_two_other_nodes(tmp_path: Path) -> None:
    tree = Tree.make()
    async with libp2p_nodes(tmp_path, tree) as nodes, await nodes["00.01.W00"].system("G22") as sender:
        await sender.put("/v1/uploads/large", content=LARGE)
        parts = [{"name": "phụ-lục.bin", "upload_id": "large"}, *DOCUMENT["parts"]]
        body = {**DOCUMENT, "recipients": ["G12", "H38"], "parts": parts}
        accepted = await sender.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"})
        assert accepted.status_code == 201, accepted.text
        await take(nodes["00.02.W00"], "G12")
        await take(nodes["00.03.W00"], "H38")
        cursor, seen = "", list[int]()
        while sorted(seen) != [1, 1, 100, 100]:
            page = (await sender.get(f"/v1/events?wait=30&after={cursor}")).json()
            cursor = page["next"]
            seen += [event["code"] for event in page["items"] if event["what"] == "status"]


async def test_a_stranger_that_knocked_is_shown_with_the_reason(tmp_path: Path) -> None:
    async with libp2p_nodes(tmp_path, Tree.make()) as nodes:
        node, stranger = nodes["00.01.W00"], Place("stranger")
        known = node.node.directory.find_centre("00.01.W00")
        assert known is not None
        async with running(stranger), await node.system("G22") as software:
            stranger.transport.admit({"00.01.W00": known.value.peer_id})
            with suppress(NetworkError):  # let go at once, or a moment after
                await stranger.transport.dial("00.01.W00", node.node.settings.addresses[0])
            await eventually(node.node.peers.refused)
            refused = (await software.get("/v1/peers")).json()["refused"]
        assert (stranger.peer_id, "not_admitted") in {(one["peer_id"], one["reason"]) for one in refused}
