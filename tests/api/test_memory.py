"""A large part costs no memory: in by PUT, over the loop-back link, out by GET, on real sockets."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import trio

from node.api.server import Bound
from protocol.limits import KIB, MIB
from tests.support.api_checks import good
from tests.support.api_node import DOCUMENT, api_node, served

SIZE = 200 * MIB
BLOCK = bytes(range(256)) * (MIB // 256)
GROWTH_BYTES_MAX = 24 * MIB


def anonymous_bytes() -> int:
    """RssAnon of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no RssAnon")


class Watch:
    """The largest value seen."""

    def __init__(self) -> None:
        self.base = anonymous_bytes()
        self.peak = self.base

    def look(self) -> None:
        self.peak = max(self.peak, anonymous_bytes())

    @property
    def growth(self) -> int:
        return self.peak - self.base


async def put(bound: Bound, token: str, size: int, watch: Watch) -> bytes:
    """Upload so many bytes; the answer."""
    stream = await trio.open_tcp_stream("127.0.0.1", bound.tcp_port)
    async with stream:
        head = "PUT /v1/uploads/u HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Authorization: Bearer {token}\r\nContent-Length: {size}"
        await stream.send_all(f"{head}\r\nConnection: close\r\n\r\n".encode())
        for _ in range(size // len(BLOCK)):
            await stream.send_all(BLOCK)
            watch.look()
        answer = b""
        async for piece in stream:
            answer += piece
        return answer


async def fetch(bound: Bound, token: str, csg: str, watch: Watch) -> tuple[int, str]:
    """Size and SHA-256 of the part."""
    stream = await trio.open_tcp_stream("127.0.0.1", bound.tcp_port)
    async with stream:
        head = f"GET /v1/inbox/{csg}/parts/0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}"
        await stream.send_all(f"{head}\r\nConnection: close\r\n\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += await stream.receive_some(64 * KIB)
        rest = got.partition(b"\r\n\r\n")[2]
        size, digest = len(rest), hashlib.sha256(rest)
        async for piece in stream:
            size += len(piece)
            digest.update(piece)
            watch.look()
        return size, digest.hexdigest()


def expected_digest() -> str:
    """SHA-256 of what was uploaded."""
    digest = hashlib.sha256()
    for _ in range(SIZE // len(BLOCK)):
        digest.update(BLOCK)
    return digest.hexdigest()


@pytest.mark.slow
async def test_a_part_of_200_mb_raises_memory_by_less_than_24(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, served(node) as bound, await node.system("G22", "G22.99") as system:
        token = system.headers["authorization"].partition(" ")[2]
        await put(bound, token, 8 * MIB, Watch())  # threads, pools and caches come into being
        body = {**DOCUMENT, "parts": [{"name": "a.bin", "upload_id": "u"}]}
        good(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "warm"}), 201)
        warm = good(await system.get("/v1/inbox?wait=20"))["items"][0]["consignment"]
        await fetch(bound, token, warm, Watch())
        good(await system.post(f"/v1/inbox/{warm}/collect"))
        watch = Watch()
        assert b'"complete":true' in await put(bound, token, SIZE, watch)
        good(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)
        (arrived,) = good(await system.get("/v1/inbox?wait=60"))["items"]
        size, digest = await fetch(bound, token, arrived["consignment"], watch)
        assert size == SIZE
        assert digest == expected_digest() == arrived["parts"][0]["sha256"]
        assert watch.growth < GROWTH_BYTES_MAX, f"{watch.growth / MIB:.1f} MiB"
        print(f"RssAnon grew by {watch.growth / MIB:.1f} MiB")
