"""Nobody sees what belongs to others: every route with another system's ids, tokens, users, rights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from node.access import Access
from node.config import ApiConfig
from protocol.textid import from_text
from tests.support.api_checks import codes, good, refused
from tests.support.api_node import DOCUMENT, ApiNode, api_node
from tests.support.tree import Tree


def routes(node: ApiNode) -> list[APIRoute]:
    """Every route of the app, those of included routers too."""
    found: list[APIRoute] = []
    waiting: list[Any] = list(node.app.routes)
    while waiting:
        route = waiting.pop(0)
        if isinstance(route, APIRoute):
            found.append(route)
        else:
            waiting += list(getattr(getattr(route, "original_router", route), "routes", ()))
    return found


OPEN = {"/healthz", "/readyz", "/metrics"}
ADMIN = {"/v1/access", "/v1/access/{system}", "/v1/audit", "/v1/directory/import"}
PUBLIC = {"/v1/node", "/v1/peers", "/v1/directory", "/v1/directory/{code}"}
"""What every caller may read: the directory is public, the node's state belongs to nobody."""
LISTS = {"/v1/documents", "/v1/inbox", "/v1/events", "/v1/inbox/actions"}


async def test_all_routes_are_async_and_documented(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        found = routes(node)
        assert len(found) > 20
        for route in found:
            assert inspect.iscoroutinefunction(route.endpoint), route.path
            for dependency in route.dependant.dependencies:
                assert inspect.iscoroutinefunction(dependency.call), route.path
        document = good(await admin.get("/openapi.json"))
        assert document["openapi"].startswith("3.1")
        assert set(document["paths"]) == {route.path for route in found}
        text = str(document)
        for name in set(document["components"]["schemas"]) - {"Problem"}:
            assert f"#/components/schemas/{name}" in text, name


async def test_every_route_is_404_with_ids_of_others(tmp_path: Path) -> None:
    async with (
        api_node(tmp_path) as node,
        await node.system("G22", rights=("send", "receive", "report")) as sender,
        await node.system("G22.99") as taker,
        node.admin() as admin,
    ):
        document = good(await sender.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "k"}), 201)["id"]
        csg = good(await taker.get("/v1/inbox?wait=10"))["items"][0]["consignment"]
        await sender.put("/v1/uploads/u", content=b"x")
        values = {"document_id": document, "consignment": csg, "upload_id": "u", "number": 0, "id": csg}
        third = await node.system("G22.99", rights=("send", "receive", "report"))
        await _retire(admin, third)
        async with await _stranger(node) as stranger:
            walked = 0
            for route in routes(node):
                if route.path in OPEN | ADMIN | PUBLIC | LISTS:
                    continue
                for method in sorted(route.methods or ()):
                    for changes in ({}, {"id": document}) if "{id}" in route.path else ({},):
                        path = route.path.format(**{**values, **changes})
                        await _is_unknown(stranger, method, path)
                        walked += 1
            assert walked >= 10
            for path in ("/v1/documents", "/v1/inbox?state=all", "/v1/events"):
                assert good(await stranger.get(path))["items"] == []
            for path in ("/v1/documents", "/v1/inbox"):
                refused(await stranger.get(f"{path}?agency=G22.99"), "agency_unknown")
            actions = [{"consignment": csg, "action": "collect"},
                       {"consignment": csg, "action": "status", "status": 3, "key": "k"}]  # fmt: skip
            outcome = good(await stranger.post("/v1/inbox/actions", json={"actions": actions}))
            assert [item["problem"]["code"] for item in outcome["items"]] == ["consignment_unknown"] * 2
            stolen = {**DOCUMENT, "issuer": "G22.99", "recipients": ["G22"]}
            answer = await stranger.post("/v1/documents", json=stolen, headers={"Idempotency-Key": "k"})
            refused(answer, "issuer_not_yours")
        assert good(await taker.get(f"/v1/inbox/{csg}"))["state"] == "arrived"


async def _is_unknown(client: Any, method: str, path: str) -> None:
    headers = {"Idempotency-Key": "k", "Upload-Offset": "5", "Upload-Length": "9"}
    body: dict[str, Any] = {"json": {"status": 3}} if method == "POST" else {}
    answer = await client.request(method, path, headers=headers, **body)
    if method == "PUT":  # an upload id is the system's own: it begins a new one, of the stranger
        refused(answer, "upload_offset_differs")
    else:
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text[:200]}"


async def _stranger(node: ApiNode) -> Any:
    """A system of an agency that came to this node later and has nothing yet."""
    node.tree.add_agency("G22.77", "00.01.W00")
    async with node.admin() as admin:
        answer = await admin.post(
            "/v1/directory/import", content=node.tree.file, headers={"Content-Type": "application/octet-stream"}
        )
        imported = good(answer)
        assert imported["accepted"] == ["agency G22.77"]
        assert imported["rejected"] == []
    return await node.system("G22.77")


async def _retire(admin: Any, client: Any) -> None:
    """Revoke a system and find its token dead."""
    me = good(await client.get("/v1/node"))["caller"]["system"]
    first = good(await admin.delete(f"/v1/access/{me}"))
    assert first["revoked_at"]
    assert good(await admin.delete(f"/v1/access/{me}")) == first
    refused(await client.get("/v1/node"), "token_unknown")
    await client.aclose()


async def test_without_or_with_a_wrong_token_nothing_is_told(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.client() as nobody, node.client("truc_wrong") as wrong:
        for route in routes(node):
            path = route.path.replace("{number}", "0")
            for method in sorted(route.methods or ()):
                if route.path in OPEN:
                    continue
                answer = await nobody.request(method, path)
                assert answer.status_code == 401, f"{method} {path} {answer.text[:200]}"
                assert answer.headers["www-authenticate"] == "Bearer"
                assert (await wrong.request(method, path)).status_code == 401
        refused(await nobody.get("/v1/node"), "token_missing")
        refused(await wrong.get("/v1/node"), "token_unknown")
        refused(await nobody.get("/v1/node", headers={"Authorization": "Basic eDp5"}), "token_missing")


async def test_only_administrators_administer(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        for route in routes(node):
            if route.path in ADMIN:
                for method in sorted(route.methods or ()):
                    path = route.path.replace("{system}", "sys_" + "a" * 26)
                    wish = {"name": "x", "agencies": ["G22"], "rights": ["send"]}
                    answer = await system.request(method, path, json=wish)
                    refused(answer, "right_missing")


async def test_an_admin_token_acts_for_every_hosted_agency(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", rights=("admin", "send")) as system:
        body = {**DOCUMENT, "issuer": "G22.99", "recipients": ["G22"]}
        good(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)
        assert len(good(await system.get("/v1/access"))["items"]) == 1
        assert good(await system.get("/v1/node"))["caller"]["agencies"] == ["G22", "G22.99"]


async def test_users_of_this_machine_are_administrators_systems_or_nobody(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        made = good(await admin.post("/v1/access", json={"name": "x", "agencies": ["G22"], "rights": ["send"]}), 201)
        unknown = "sys_" + "a" * 26
        node.app.state.context.config = ApiConfig(unix_users={"1001": made["system"], "1002": unknown})
        async with node.client(uid=1001) as known, node.client(uid=1002) as dangling, node.client(uid=1003) as nobody:
            assert good(await known.get("/v1/node"))["caller"]["agencies"] == ["G22"]
            refused(await dangling.get("/v1/node"), "user_unknown")
            refused(await nobody.get("/v1/node"), "user_unknown")
        async with node.client(made["token"], uid=1003) as token:
            assert good(await token.get("/v1/node"))["caller"]["system"] == made["system"]
        own = Access(
            pump=node.node.pump, directory=node.node.directory, centre="00.01.W00", entropy=bytes, own_uid=1500
        )
        assert "admin" in own.of_user(1500, 1, {}).rights
        assert own.of_user(1001, 1, {"1001": made["system"]}).system == from_text("sys", made["system"])


async def test_a_wish_for_access_is_checked(tmp_path: Path) -> None:
    tree = Tree.make()
    async with api_node(tmp_path, tree=tree) as node, node.admin() as admin:
        bad = {"name": "a\0", "agencies": ["G12", "G77", "?"], "rights": ["send", "fly"]}
        body = refused(await admin.post("/v1/access", json=bad), "access_name")
        assert codes(body) == {
            ("access_name", "name"), ("right_unknown", "rights[1]"), ("agency_not_hosted", "agencies[0]"),
            ("agency_unknown", "agencies[1]"), ("agency_code_malformed", "agencies[2]"),
        }  # fmt: skip
        empty = {"name": "x", "agencies": [], "rights": []}
        assert codes(refused(await admin.post("/v1/access", json=empty), "access_rights")) == {
            ("access_rights", "rights"), ("access_agencies", "agencies"),
        }  # fmt: skip
        refused(await admin.delete("/v1/access/sys_" + "a" * 26), "system_unknown")
        refused(await admin.delete("/v1/access/x"), "id_malformed")


async def test_there_are_not_endlessly_many_systems(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("node.access.SYSTEMS_MAX", 1)
    async with api_node(tmp_path) as node, node.admin() as admin:
        await node.token("G22")
        body = {"name": "x", "agencies": ["G22"], "rights": ["send"]}
        refused(await admin.post("/v1/access", json=body), "systems_too_many")


async def test_tokens_are_stored_as_hashes_only(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node:
        token = await node.token("G22")
    everything = all_bytes(tmp_path)
    assert token.encode() not in everything
    assert token.removeprefix("truc_").encode() not in everything


def all_bytes(folder: Path) -> bytes:
    """Everything in the files below a folder."""
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


async def test_systems_are_listed_in_pages(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        for _ in range(3):
            await node.token("G22")
        page = good(await admin.get("/v1/access?limit=2"))
        rest = good(await admin.get(f"/v1/access?limit=2&after={page['next']}"))
        assert (len(page["items"]), len(rest["items"]), rest["more"]) == (2, 1, False)
        audit = good(await admin.get("/v1/audit?limit=2"))
        more = good(await admin.get(f"/v1/audit?after={audit['next']}"))
        assert [row["sequence"] for row in (*audit["items"], *more["items"])] == [1, 2, 3]


async def test_unknown_routes_methods_and_hosts_have_codes(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.client() as client, node.client(host="evil.example") as evil:
        refused(await client.get("/v2/documents"), "route_unknown")
        answer = await client.delete("/healthz")
        refused(answer, "method_unknown")
        assert answer.headers["allow"] == "GET"
        refused(await evil.get("/healthz"), "host_unknown")
        refused(await client.get("/metrics"), "route_unknown")
        for host in ("127.0.0.1:4680", "[::1]:4680", "LOCALHOST"):
            good(await client.get("/healthz", headers={"Host": host}))
        node.app.state.context.config = ApiConfig(hosts=("evil.example",))
        good(await evil.get("/healthz"))
        async with node.admin() as local:
            assert b"truc_api_requests_total" in (await local.get("/metrics")).content
            good(await local.get("/healthz", headers={"Host": "anything"}))
