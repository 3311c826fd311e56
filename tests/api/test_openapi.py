"""Generated requests against the OpenAPI document, over the real Unix socket: every answer is one
that the document promises, and none is a 500."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jsonschema_rs
import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.api_checks import good
from tests.support.api_node import DOCUMENT, api_node, served

EXAMPLES = 12


@pytest.fixture(scope="module")
def served_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A node with a document in each box, served from a thread: the socket, and the API's document."""
    folder, ready, stop, told = tmp_path_factory.mktemp("api"), threading.Event(), trio.Event(), dict[str, Any]()

    async def main() -> None:
        async with api_node(folder, limits={"wait_seconds_max": 0}) as node, node.admin() as admin:
            good(await admin.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "k"}), 201)
            good(await admin.get("/v1/inbox?wait=20"))
            told["document"] = good(await admin.get("/openapi.json"))
            async with served(node) as bound:
                told["socket"], told["token"] = bound.unix_socket, trio.lowlevel.current_trio_token()
                ready.set()
                await stop.wait()

    thread = threading.Thread(target=lambda: trio.run(main))
    thread.start()
    assert ready.wait(30)
    yield told["socket"], told["document"]
    told["token"].run_sync_soon(stop.set)
    thread.join(30)
    assert not thread.is_alive()


def test_generated_requests_get_promised_answers(served_node: tuple[Path, dict[str, Any]]) -> None:
    path, document = served_node
    found: Any = schemathesis.openapi.from_dict(document).get_all_operations()
    operations = [result.ok() for result in found]
    assert len(operations) > 20
    for operation in operations:
        _try(operation, path, document)


def _try(operation: Any, socket_path: Path, document: dict[str, Any]) -> None:
    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def tried(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy())
        status, headers, body = _send(case, socket_path)
        _check(document, operation, status, headers, body)

    tried()


def _send(case: Any, socket_path: Path) -> tuple[int, dict[str, str], bytes]:
    target = case.path
    for name, value in (case.path_parameters or {}).items():
        target = target.replace("{" + name + "}", quote(str(value), safe=""))
    query = urlencode(case.query or {}, doseq=True)
    headers = {name: str(value) for name, value in (case.headers or {}).items() if str(value).isprintable()}
    headers = {name: value for name, value in headers.items() if value.isascii() and name != "Authorization"}
    body = case.body if isinstance(case.body, bytes) else None
    if body is None and isinstance(case.body, dict | list):
        body = json.dumps(case.body).encode()
    if case.media_type:
        headers["Content-Type"] = case.media_type
    client = http.client.HTTPConnection("localhost", timeout=20)
    client.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.sock.settimeout(20)
        client.sock.connect(str(socket_path))
        client.request(case.method, f"{target}?{query}" if query else target, body=body, headers=headers)
        answer = client.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        client.close()


def _check(document: dict[str, Any], operation: Any, status: int, headers: dict[str, str], body: bytes) -> None:
    where = f"{operation.method} {operation.path} {status} {body[:300]!r}"
    promised = document["paths"][operation.path][operation.method.lower()]["responses"]
    assert status != 500, where
    assert str(status) in promised, where
    media_type = headers.get("content-type", "").partition(";")[0]
    content = promised[str(status)].get("content", {})
    if body and media_type.endswith("json"):
        schema = {**content[media_type]["schema"], "components": document["components"]}
        jsonschema_rs.validate(schema, json.loads(body))
