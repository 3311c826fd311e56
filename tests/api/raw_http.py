"""A served node and raw connections to its socket, for tests in which the bytes themselves matter."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio

from node.api.server import Bound
from protocol.records import Document
from tests.support.api_checks import check_told, good, until
from tests.support.api_node import DOCUMENT, ApiNode, api_node, served


@asynccontextmanager
async def running(folder: Path, **api: Any) -> AsyncIterator[tuple[ApiNode, Bound]]:
    """A served node."""
    async with api_node(folder, **api) as node, served(node) as bound:
        yield node, bound


async def dial(bound: Bound) -> trio.SocketStream:
    """A raw connection to the Unix socket."""
    made = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await made.connect(str(bound.unix_socket))
    return trio.SocketStream(made)


async def everything(stream: trio.SocketStream) -> bytes:
    """All bytes until the server closes."""
    got = b""
    with trio.fail_after(60):
        async with stream:
            with suppress(trio.BrokenResourceError):
                async for piece in stream:
                    got += piece
    return got


def head_of(raw: bytes) -> tuple[int, dict[str, str]]:
    """Status and headers of a raw answer."""
    lines = raw.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = (line.partition(":") for line in lines[1:])
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in headers}


def problem_in(raw: bytes) -> dict[str, Any]:
    """The complete problem in a raw answer."""
    status, headers = head_of(raw)
    problem: dict[str, Any] = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert headers["content-type"] == "application/problem+json", raw[:300]
    assert problem["status"] == status
    check_told(problem)
    return problem


async def still_serves(node: ApiNode, bound: Bound) -> None:
    """Whatever happened before: a document that is handed in over the socket now arrives, whole."""
    key = f"good-{len(node.node.store.committed.scan(Document))}"
    body = json.dumps({**DOCUMENT, "metadata": {**DOCUMENT["metadata"], "subject": key}}).encode()
    stream = await dial(bound)
    head = f"POST /v1/documents HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: {key}"
    await stream.send_all(f"{head}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
    assert head_of(await everything(stream))[0] == 201
    found: list[dict[str, Any]] = []
    async with node.admin() as admin:

        async def arrived() -> bool:
            items = good(await admin.get("/v1/inbox?state=all&limit=1000"))["items"]
            found[:] = [item for item in items if item["metadata"]["subject"] == key]
            return bool(found)

        await until(arrived)
        assert (await admin.get(f"/v1/inbox/{found[0]['consignment']}/parts/0")).text == "xin chào"
