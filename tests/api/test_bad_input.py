"""Input that no honest client sends, byte by byte over the real socket: each gets an outcome with a code,
nothing is kept of it, and the next document is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.api.server import Bound
from protocol.errors import StoreError
from protocol.records import Document, Upload
from storage.folder import OsFolder
from tests.api.raw_http import dial, everything, head_of, problem_in, running, still_serves
from tests.support.api_checks import good, refused, until
from tests.support.api_node import DOCUMENT, ApiNode, api_node
from tests.support.errors import record


async def say(bound: Bound, raw: bytes) -> bytes:
    """The answer to these bytes."""
    stream = await dial(bound)
    await stream.send_all(raw)
    return await everything(stream)


def request(line: str | bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request with these bytes in its first line and headers, as they are."""
    first = line.encode() if isinstance(line, str) else line
    more = (b"Host: localhost", b"Connection: close", b"Content-Length: %d" % len(body), *headers)
    return first + b" HTTP/1.1\r\n" + b"\r\n".join(more) + b"\r\n\r\n" + body


JSON = b"Content-Type: application/json"
SMALL = json.dumps(DOCUMENT).encode()

NO_CHUNK = (
    b"PUT /v1/uploads/u HTTP/1.1\r\nHost: localhost\r\nUpload-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
)

BAD: list[tuple[str, bytes, str]] = [
    ("invalid UTF-8 in a path", request(b"GET /v1/inbox/%ff%fe"), "id_malformed"),
    ("invalid UTF-8 in an upload id", request(b"PUT /v1/uploads/%ff", body=b"x"), "upload_id_malformed"),
    ("invalid UTF-8 in a query", request(b"GET /v1/inbox?agency=%ff"), "agency_unknown"),
    ("invalid UTF-8 in a cursor", request(b"GET /v1/inbox?after=%ff"), "cursor_malformed"),
    ("invalid UTF-8 in a number", request(b"GET /v1/inbox?limit=%ff"), "field_wrong"),
    ("invalid UTF-8 in a token", request("GET /v1/node", b"Authorization: Bearer \xff\xfe"), "token_unknown"),
    ("invalid UTF-8 in a key", request("POST /v1/documents", JSON, b"Idempotency-Key: \xff", body=SMALL),
     "key_characters"),
    ("invalid UTF-8 in a body", request("POST /v1/documents", JSON, b"Idempotency-Key: k", body=b'{"issuer":"\xff"}'),
     "body_not_utf8"),
    ("a NUL in an id", request(b"GET /v1/inbox/csg_%00"), "id_malformed"),
    ("a NUL in a query", request(b"GET /v1/directory?q=%00&limit=0"), "field_wrong"),
    ("a path out of the uploads", request(b"PUT /v1/uploads/..%2f..%2fnode.toml", body=b"x"), "route_unknown"),
    ("dots as an upload id", request(b"PUT /v1/uploads/%2e%2e", body=b"x"), "upload_id_malformed"),
    ("a device as an upload id", request(b"PUT /v1/uploads/CON%3a", body=b"x"), "upload_id_malformed"),
    ("a bidi control in an id", request("GET /v1/trace/doc_%e2%80%ae"), "id_malformed"),
    ("an endless id", request(b"GET /v1/inbox/csg_" + b"a" * 60_000), "id_malformed"),
    ("an endless number", request(b"GET /v1/inbox?limit=" + b"9" * 60_000), "field_wrong"),
    ("a part number beyond all", request(b"GET /v1/inbox/csg_" + b"a" * 52 + b"/parts/" + b"9" * 400),
     "consignment_unknown"),
    ("a length that is none", request("PUT /v1/uploads/u", b"Upload-Length: \xb2", body=b"x"),
     "upload_offset_malformed"),
    ("two lengths", request("PUT /v1/uploads/u", b"Content-Length: 7", body=b"x"), "request_malformed"),
    ("a length below nothing", b"PUT /v1/uploads/u HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
     "request_malformed"),
    ("a NUL in a header", request("GET /healthz", b"X-A: a\0b"), "request_malformed"),
    ("a header without a name", request("GET /healthz", b": x"), "request_malformed"),
    ("a chunk that is none", NO_CHUNK, "request_malformed"),
]  # fmt: skip


async def test_bytes_that_no_honest_client_sends_get_a_code_and_change_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "node") as (node, bound):
        for name, raw, code in BAD:
            answer = await say(bound, raw)
            assert problem_in(answer)["code"] == code, f"{name}: {answer[:300]!r}"
            record(code)
        assert node.node.store.committed.scan(Document) == []
        assert node.node.store.committed.scan(Upload) == []
        assert names_in(tmp_path) == {"node"}, "nothing lies outside the folder"
        assert not [line for line in node.events() if line["event"] in ("request_failed", "connection_failed")]
        await still_serves(node, bound)


def names_in(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {path.name for path in folder.iterdir()}


async def test_a_wrong_token_and_a_token_for_another_agency_leave_the_others_alone(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as (node, bound),
        await node.system("G22") as mine,
        await node.system("G22.99") as other,
    ):
        for _ in range(50):
            answer = await say(bound, request("GET /v1/node", b"Authorization: Bearer truc_wrong"))
            assert problem_in(answer)["code"] == "token_unknown"
        stolen = await other.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "k"})
        refused(stolen, "issuer_not_yours")
        good(await mine.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "k"}), 201)
        await still_serves(node, bound)


# --- the disk is full -------------------------------------------------------------------------


class FullDisk:
    """Makes every write of a node's folder fail as a full disk does, until it is freed."""

    def __init__(self, node: ApiNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        kv: Any = node.node.store._kv
        folder: Any = node.node.store.bodies._folder
        assert isinstance(folder, OsFolder)
        self._targets = [(kv, "write"), (folder, "append"), (folder, "create")]

    def fill(self) -> None:
        """From now on nothing can be written."""

        def full(*_words: Any, **_more: Any) -> None:
            raise StoreError("disk_full")

        for target, name in self._targets:
            self._patch.setattr(target, name, full)

    def free(self) -> None:
        """Somebody made room."""
        self._patch.undo()


async def test_a_disk_that_fills_up_stops_writing_and_nothing_else_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.committer.READ_ONLY_PROBE_S", 0.1)
    async with running(tmp_path) as (node, bound), node.admin() as admin:
        good(await admin.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": "before"}), 201)
        (arrived,) = good(await admin.get("/v1/inbox?wait=20"))["items"]
        await until(lambda: _receipts_are_home(admin))
        csg = arrived["consignment"]
        with monkeypatch.context() as patch:
            disk = FullDisk(node, patch)
            disk.fill()
            refused(await _submit(admin, "lost"), "commit_failed")
            refused(await _submit(admin, "lost"), "store_read_only")
            refused(await admin.post(f"/v1/inbox/{csg}/collect"), "store_read_only")
            refused(await admin.put("/v1/uploads/u", content=bytes(3_000_000)), "disk_full")
            ready = await admin.get("/readyz")
            assert ready.status_code == 503
            assert [reason["code"] for reason in ready.json()["reasons"]] == ["store_read_only"]
            assert good(await admin.get("/healthz")) == {"alive": True}
            assert (await admin.get(f"/v1/inbox/{csg}/parts/0")).text == "xin chào"
            assert len(good(await admin.get("/v1/documents"))["items"]) == 1

        async def writes_again() -> bool:
            return (await admin.get("/readyz")).status_code == 200

        await until(writes_again)
        good(await _submit(admin, "lost"), 201)  # the same key: what was refused had left nothing
        good(await admin.post(f"/v1/inbox/{csg}/collect"))
        assert good(await admin.put("/v1/uploads/u", content=bytes(3_000_000)))["complete"]
        await still_serves(node, bound)


async def _submit(client: Any, key: str) -> Any:
    return await client.post("/v1/documents", json=DOCUMENT, headers={"Idempotency-Key": key})


async def _receipts_are_home(client: Any) -> bool:
    (document,) = good(await client.get("/v1/documents"))["items"]
    return [receipt["code"] for receipt in document["recipients"][0]["receipts"]] == [1]


# --- closed and locked ------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "code"), [(1, "recipient_locked"), (2, "recipient_closed")])
async def test_an_agency_that_is_locked_or_closed_while_the_node_runs_gets_nothing_and_others_do(
    tmp_path: Path, state: int, code: str
) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender, node.admin() as admin:
        good(await _submit(sender, "before"), 201)
        node.tree.publish(node.tree.next_agency("H38", state=state))
        raw = {"Content-Type": "application/octet-stream"}
        good(await admin.post("/v1/directory/import", content=node.tree.file, headers=raw))
        body = {**DOCUMENT, "recipients": ["G22.99", "H38"]}
        answer = await sender.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"})
        refused(answer, code, field="recipients[1]")
        assert len(good(await sender.get("/v1/documents"))["items"]) == 1, "all or nothing"
        good(await _submit(sender, "k"), 201)


def test_the_head_of_an_answer_is_read_as_it_is_written() -> None:
    assert head_of(b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n{}") == (404, {"a": "b"})
