"""A night in which thirty provinces and what stands below them close and are registered under successors.

The registrar's own tool signs one plan; a node that is running imports the file. At a tenth of the size;
`TRUC_NIGHT_SCALE=1` is the whole night (`scripts/test tests/api/test_night.py`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from node.authority import Authority
from node.authority_batch import BATCH_RECORDS_MAX
from node.authority_plan import apply_plan, check_plan, read_plan
from protocol.directory import RecordState
from protocol.directory_import import Imported, import_things
from protocol.directory_view import RecordCache
from protocol.limits import HOUR_MS
from protocol.signing import Verifier
from protocol.staged import Staged
from tests.support.api_checks import good, refused, until
from tests.support.api_node import CENTRE, DOCUMENT, ApiNode, api_node
from tests.support.night import closing, pairs, registering
from tests.support.tree import START_MS, TREE_READY_MS, Centre
from tests.unit.node.test_authority import made, request_of

SCALE = int(os.environ.get("TRUC_NIGHT_SCALE", "10"))


@dataclass
class Registered:
    """As much of a test's tree as a node needs, signed by the registrar's tool."""

    authority: Authority
    centres: dict[str, Centre]

    @property
    def anchor(self) -> bytes:
        return self.authority.anchor

    def imported(self) -> Imported:
        things = [signed.to_wire() for signed in self.authority.issued.kept()]
        return import_things(
            things, Staged(), anchor=self.anchor, verifier=Verifier(), now_ms=TREE_READY_MS, cache=RecordCache()
        )

    def carry_out(self, plan: str, now_ms: int) -> None:
        act = self.authority.act(now_ms)
        check_plan(apply_plan(act, read_plan(plan), self.authority.issued.agency))
        self.authority.complete(act)


def before_the_night(folder: Path) -> Registered:
    centre = Centre.make(1, CENTRE)
    authority = made(folder)
    authority.register_centre(request_of(centre), START_MS + 1)
    tree = Registered(authority, {CENTRE: centre})
    tree.carry_out(registering(CENTRE, scale=SCALE), START_MS + 23 * HOUR_MS)
    return tree


async def send(client: httpx.AsyncClient, issuer: str, recipient: str, key: str) -> httpx.Response:
    body = {**DOCUMENT, "issuer": issuer, "recipients": [recipient]}
    return await client.post("/v1/documents", json=body, headers={"Idempotency-Key": key})


async def statuses(client: httpx.AsyncClient, document: str) -> list[int]:
    (delivery,) = good(await client.get(f"/v1/documents/{document}"))["recipients"]
    return [item["code"] for item in delivery["receipts"]]


async def answer(client: httpx.AsyncClient, csg: str, code: int) -> None:
    path = f"/v1/inbox/{csg}/statuses"
    good(await client.post(path, json={"status": code}, headers={"Idempotency-Key": f"{csg}{code}"}), 201)


async def the_night(node: ApiNode, tree: Registered) -> dict[str, Any]:
    tree.carry_out(closing(CENTRE, scale=SCALE), TREE_READY_MS)
    headers = {"Content-Type": "application/octet-stream"}
    async with node.admin() as admin:
        file = tree.authority.directory_file()
        found: dict[str, Any] = good(await admin.post("/v1/directory/import", content=file, headers=headers))
    return found


async def test_new_documents_name_the_successor_and_statuses_of_old_ones_still_arrive(tmp_path: Path) -> None:
    tree = before_the_night(tmp_path / "authority")
    async with (
        api_node(tmp_path / "node", tree=tree) as node,  # type: ignore[arg-type]  # as much of a tree as it needs
        await node.system("H10") as sender,
        await node.system("H16.6") as commune,
    ):
        to_commune = good(await send(sender, "H10", "H16.6", "before"), 201)["id"]
        to_province = good(await send(commune, "H16.6", "H10", "before"), 201)["id"]
        arrived = good(await commune.get("/v1/inbox?wait=20"))["items"][0]["consignment"]
        returned = good(await sender.get("/v1/inbox?wait=20"))["items"][0]["consignment"]

        found = await the_night(node, tree)

        bodies = len(list(pairs(SCALE)))
        batches = -(-2 * bodies // BATCH_RECORDS_MAX)
        assert found["rejected"] == []
        assert len(found["accepted"]) in {2 * bodies, 2 * bodies + batches}
        directory = node.node.directory
        assert all(directory.state(old) is RecordState.CLOSED for old, _ in pairs(SCALE))
        assert all(directory.state(new) is RecordState.ACTIVE for _, new in pairs(SCALE))
        assert list(directory.all_pending()) == []

        told = refused(await send(sender, "H10", "H16.6", "after"), "issuer_not_active")
        assert told["field"] == "issuer"
        async with await node.system("H60") as successor:
            told = refused(await send(successor, "H60", "H16.6", "after"), "recipient_closed", field="recipients[0]")
            assert told["values"]["successors"] == "H66.6"
            good(await send(successor, "H60", "H66.6", "after"), 201)

        await answer(commune, arrived, 3)
        await answer(sender, returned, 6)

        async def both_told() -> bool:
            return 3 in await statuses(sender, to_commune) and 6 in await statuses(commune, to_province)

        await until(both_told)
