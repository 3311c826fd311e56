"""Nobody sees what belongs to others: every route with another system's ids, tokens, users, rights."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel

from node.access import Access
from node.api.app import BODIES
from node.api.documents import MetadataIn
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
PUBLIC = {"/v1/node", "/v1/peers", "/v1/directory", "/v1/directory/search", "/v1/directory/changes",
          "/v1/directory/export", "/v1/directory/{code}", "/v1/directory/{code}/history",
          "/v1/directory/{code}/tree"}  # fmt: skip
"""What every caller may read: the directory is public, the node's state belongs to nobody."""
LISTS = {"/v1/documents", "/v1/inbox", "/v1/events", "/v1/inbox/actions"}
"""Routes without an id in their path: what they may show is tried in the walk one by one."""
QUERIES = {"after", "limit", "wait", "agency", "state", "q", "disclose"} | {
    "prefix", "under", "host", "kind", "top", "registrar",
}  # fmt: skip
"""Of these only `agency` names something that may belong to others."""
BODY_IDS = {"consignment", "upload_id", "issuer", "recipients", "agencies"}
"""Fields of bodies that name something; each is tried with what belongs to others."""
BODY_WORDS = {
    "lane", "metadata", "parts", "expires_days", "allow_number_reuse", "name", "media_type", "content_base64", "sha256",
    "status", "reason", "staff_name", "staff_position", "actions", "action", "key", "rights",
}  # fmt: skip


def requests_of(found: list[APIRoute], foreign: dict[str, tuple[object, ...]]) -> list[tuple[str, str]]:
    """Method and path of every route that has an id in it, with each foreign id in its place.

    Raises: KeyError for an id of a kind that the walk does not know, AssertionError for a route
    that nobody has thought about."""
    made: list[tuple[str, str]] = []
    for route in found:
        if route.path in OPEN | ADMIN | PUBLIC | LISTS:
            continue
        names = [parameter.name for parameter in route.dependant.path_params]
        assert names, f"{route.path} has no id and stands in none of the lists above"
        for values in product(*(foreign[name] for name in names)):
            path = route.path.format(**dict(zip(names, values, strict=True)))
            made += [(method, path) for method in sorted(route.methods or ())]
    return made


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
        foreign: dict[str, tuple[object, ...]] = {
            "document_id": (document,), "consignment": (csg,), "upload_id": ("u",), "number": (0,),
            "id": (csg, document),
        }  # fmt: skip
        third = await node.system("G22.99", rights=("send", "receive", "report"))
        await _retire(admin, third)
        before = [good(await client.get(path)) for client, path in _mine(sender, taker, document, csg)]
        async with await _stranger(node) as stranger:
            walked = requests_of(routes(node), foreign)
            assert len(walked) >= 10
            for method, path in walked:
                await _is_unknown(stranger, method, path)
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
            stolen = {**DOCUMENT, "issuer": "G22.77", "parts": [{"name": "a", "upload_id": "u"}]}
            answer = await stranger.post("/v1/documents", json=stolen, headers={"Idempotency-Key": "k2"})
            refused(answer, "upload_unknown")
        assert [good(await client.get(path)) for client, path in _mine(sender, taker, document, csg)] == before
        assert (await sender.head("/v1/uploads/u")).headers["upload-offset"] == "1"


def _mine(sender: Any, taker: Any, document: str, csg: str) -> list[tuple[Any, str]]:
    """What the owners see; a stranger's walk must leave it as it is."""
    return [(sender, f"/v1/documents/{document}"), (sender, "/v1/events"),
            (taker, f"/v1/inbox/{csg}"), (taker, "/v1/events")]  # fmt: skip


async def test_a_new_route_or_field_that_the_walk_does_not_know_is_noticed(tmp_path: Path) -> None:
    async def nothing() -> None:
        """Stands for a route of tomorrow."""

    async def by_id(thing: str) -> None:
        """Another one, with an id of a new kind."""

    async with api_node(tmp_path) as node:
        found = routes(node)
    known = OPEN | ADMIN | PUBLIC | LISTS
    assert known <= {route.path for route in found}, "a list names a route that is gone"
    assert {path for path in known if "{" in path} == {
        "/v1/directory/{code}", "/v1/directory/{code}/history", "/v1/directory/{code}/tree", "/v1/access/{system}"
    }
    with pytest.raises(AssertionError, match="stands in none of the lists"):
        requests_of([APIRoute("/v1/things", nothing)], {})
    with pytest.raises(KeyError, match="thing"):
        requests_of([APIRoute("/v1/things/{thing}", by_id)], {})
    queries = {parameter.alias for route in found for parameter in route.dependant.query_params}
    assert queries == QUERIES, "a query that names something has to be walked like an id in a path"
    fields = {name for model in _models(BODIES) for name in model.model_fields}
    assert fields == BODY_IDS | BODY_WORDS, "so has a field of a body"


def _models(models: Iterable[type[BaseModel]]) -> set[type[BaseModel]]:
    """These models and all that they are made of, the description of a document left aside."""
    found: set[type[BaseModel]] = set()
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        if model in found or model is MetadataIn:
            continue
        found.add(model)
        for field in model.model_fields.values():
            inner = (field.annotation, *get_args(field.annotation))
            waiting += [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return found


async def _is_unknown(client: Any, method: str, path: str) -> None:
    headers = {"Idempotency-Key": "k", "Upload-Offset": "5", "Upload-Length": "9"}
    body: dict[str, Any] = {"json": {"status": 3}} if method == "POST" else {}
    answer = await client.request(method, path, headers=headers, **body)
    if method == "PUT":  # an upload id is the system's own: it begins a new one, of the stranger
        refused(answer, "upload_offset_differs")
    else:
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
        if method != "HEAD":  # which has no body
            assert answer.json()["code"].endswith("_unknown"), f"{method} {path}: {answer.text[:200]}"


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
