"""A node whose operational key is in another process: real socket, real store, the API as software sees it."""

from __future__ import annotations

from pathlib import Path

from protocol.signing import Ed25519Signer
from tests.support.api_checks import good, refused, until
from tests.support.api_node import CENTRE, DOCUMENT, api_node
from tests.support.signers import agent_at, place_of
from tests.support.tree import Tree


async def test_without_its_signer_a_node_takes_nothing_and_with_it_everything_again(tmp_path: Path) -> None:
    tree, path = Tree.make(), tmp_path / "signer.sock"
    key: Ed25519Signer = tree.centres[CENTRE].signer
    async with (
        api_node(tmp_path / "node", tree=tree, places=(place_of(key, path=path),)) as node,
        await node.system("G22", "G22.99") as client,
        node.admin() as admin,
    ):
        presigner = node.node.presigner
        assert presigner is not None
        headers = {"Idempotency-Key": "1"}
        refused(await client.post("/v1/documents", json=DOCUMENT, headers=headers), "signer_away")
        ready = await admin.get("/readyz")
        assert ready.status_code == 503
        assert [reason["code"] for reason in ready.json()["reasons"]] == ["signer_unreachable"]
        assert node.node.directory.node_record(CENTRE) is None

        async with agent_at(path, key):
            await until(lambda: not presigner.away)
            good(await client.post("/v1/documents", json=DOCUMENT, headers=headers), 201)

            async def arrived() -> list[object]:
                return list(good(await client.get("/v1/inbox"))["items"])

            await until(arrived)
            await until(lambda: node.node.directory.node_record(CENTRE) is not None)
            assert (await admin.get("/readyz")).status_code == 200
            consignment = good(await client.get("/v1/inbox"))["items"][0]["consignment"]

        await until(lambda: presigner.away)  # it was stopped
        url = f"/v1/inbox/{consignment}/collect"
        refused(await client.post(url), "signer_away")
        async with agent_at(path, key):
            await until(lambda: not presigner.away)
            good(await client.post(url))
