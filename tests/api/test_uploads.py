"""Uploads: durable offsets, going on after breaks and restarts, keys that never seal twice, bounds."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
import trio

from node import uploads as uploads_of
from node.upload_stream import TOKEN_MARK
from protocol.errors import RequestError, StoreError
from protocol.limits import CHUNK_BYTES, DAY_MS, MIB, PART_BYTES_MAX
from protocol.record import Body
from protocol.records import Audit, Upload
from tests.support.api_checks import good, refused
from tests.support.api_node import DOCUMENT, ApiNode, api_node
from tests.support.errors import expects

CONTENT = Random(7).randbytes(3 * MIB + 12_345)


async def put(
    client: httpx.AsyncClient, content: Any, *, at: int | None = None, length: int | None = None, to: str = "u"
) -> httpx.Response:
    """PUT bytes."""
    headers = {} if at is None else {"Upload-Offset": str(at)}
    if length is not None:
        headers["Upload-Length"] = str(length)
    return await client.put(f"/v1/uploads/{to}", content=content, headers=headers)


async def breaking(content: bytes, pieces: int = 65_536) -> AsyncIterator[bytes]:
    """These bytes, then a client that is gone."""
    for start in range(0, len(content), pieces):
        yield content[start : start + pieces]
    raise RequestError("body_cut")


async def offset_of(client: httpx.AsyncClient, upload_id: str = "u") -> int:
    """What HEAD tells."""
    answer = await client.head(f"/v1/uploads/{upload_id}")
    assert answer.status_code == 200
    return int(answer.headers["upload-offset"])


async def delivered(node: ApiNode, client: httpx.AsyncClient, upload_id: str = "u") -> bytes:
    """What arrives when the upload becomes the part of a document."""
    body = {**DOCUMENT, "parts": [{"name": "a.bin", "upload_id": upload_id}]}
    good(await client.post("/v1/documents", json=body, headers={"Idempotency-Key": f"for-{upload_id}"}), 201)
    async with await node.system("G22.99") as taker:
        (arrived,) = good(await taker.get("/v1/inbox?wait=20"))["items"]
        answer = await taker.get(f"/v1/inbox/{arrived['consignment']}/parts/0")
        assert hashlib.sha256(answer.content).hexdigest() == arrived["parts"][0]["sha256"]
        return answer.content


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, MIB, 2 * MIB, len(CONTENT)])
async def test_one_put_makes_a_whole_upload_of_any_size(tmp_path: Path, size: int) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        answer = await put(system, CONTENT[:size])
        assert good(answer) == {
            "upload_id": "u", "offset": size, "length": size, "complete": True,
            "sha256": hashlib.sha256(CONTENT[:size]).hexdigest(),
        }  # fmt: skip
        assert await offset_of(system) == size
        assert await delivered(node, system) == CONTENT[:size]
        assert (await system.head("/v1/uploads/u")).status_code == 404


@pytest.mark.parametrize("step", [CHUNK_BYTES, 3 * CHUNK_BYTES, MIB])
@pytest.mark.parametrize("total", [5 * CHUNK_BYTES, 5 * CHUNK_BYTES + 1, 2 * MIB + 77])
async def test_an_upload_grows_by_whole_chunks_from_put_to_put(tmp_path: Path, step: int, total: int) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        at = 0
        while at < total:
            shown = good(await put(system, CONTENT[at : min(at + step, total)], at=at, length=total))
            at = min(at + step, total)
            assert shown["offset"] == at == await offset_of(system)
            assert shown["complete"] == (at == total)
        assert await delivered(node, system) == CONTENT[:total]


async def test_less_than_a_chunk_is_kept_only_at_the_end(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        shown = good(await put(system, CONTENT[: CHUNK_BYTES + 5], at=0, length=3 * CHUNK_BYTES))
        assert shown["offset"] == CHUNK_BYTES
        shown = good(await put(system, CONTENT[CHUNK_BYTES : 3 * CHUNK_BYTES], at=CHUNK_BYTES))
        assert shown["complete"]
        assert await delivered(node, system) == CONTENT[: 3 * CHUNK_BYTES]


@pytest.mark.parametrize("total", [10 * CHUNK_BYTES, len(CONTENT)])
async def test_a_client_that_goes_away_leaves_what_was_whole(tmp_path: Path, total: int) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        caller = node.node.access.of_token(system.headers["authorization"].partition(" ")[2])
        with expects("body_cut", RequestError):
            await node.node.uploads.put(
                caller, "u", offset=0, total=total, content=breaking(CONTENT[: 5 * CHUNK_BYTES + 99])
            )
        assert await offset_of(system) == 5 * CHUNK_BYTES
        assert good(await put(system, CONTENT[5 * CHUNK_BYTES : total], at=5 * CHUNK_BYTES))["complete"]
        assert await delivered(node, system) == CONTENT[:total]


@pytest.mark.parametrize("total", [10 * CHUNK_BYTES, len(CONTENT)])
async def test_an_upload_goes_on_after_a_restart_under_a_new_key(tmp_path: Path, total: int) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        token = system.headers["authorization"].partition(" ")[2]
        good(await put(system, CONTENT[: 6 * CHUNK_BYTES], at=0, length=total))
        (before,) = node.node.store.committed.scan(Upload)
        sealed = node.node.store.bodies.read_partial(before.token, 0, 6 * (CHUNK_BYTES + 16))
        assert CONTENT[:64] not in sealed
    async with api_node(tmp_path) as node, node.client(token) as system:
        assert await offset_of(system) == 6 * CHUNK_BYTES
        shown = good(await put(system, CONTENT[6 * CHUNK_BYTES : 8 * CHUNK_BYTES], at=6 * CHUNK_BYTES))
        assert shown["offset"] == 8 * CHUNK_BYTES
        (after,) = node.node.store.committed.scan(Upload)
        assert after.token != before.token
        assert node.node.store.bodies.partial_tokens() == [after.token]
        again = node.node.store.bodies.read_partial(after.token, 0, 6 * (CHUNK_BYTES + 16))
        assert not any(again[n : n + 16] == sealed[n : n + 16] for n in range(0, len(sealed), 16))
        good(await put(system, CONTENT[8 * CHUNK_BYTES : total], at=8 * CHUNK_BYTES))
        assert node.node.store.bodies.partial_tokens() == []
        assert await delivered(node, system) == CONTENT[:total]


async def test_an_upload_whose_file_is_damaged_or_gone_begins_again(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        token = system.headers["authorization"].partition(" ")[2]
        for name in ("damaged", "gone"):
            good(await put(system, CONTENT[: 6 * CHUNK_BYTES], at=0, length=len(CONTENT), to=name))
        damaged, gone = node.node.store.committed.scan(Upload)
    file = tmp_path / "partial" / damaged.token.hex()
    file.write_bytes(file.read_bytes()[:100] + b"\0" * 16 + file.read_bytes()[116:])
    (tmp_path / "partial" / gone.token.hex()).unlink()
    async with api_node(tmp_path) as node, node.client(token) as system:
        for name in ("damaged", "gone"):
            answer = await put(system, CONTENT[6 * CHUNK_BYTES :], at=6 * CHUNK_BYTES, to=name)
            refused(answer, "upload_offset_differs")
            assert answer.headers["upload-offset"] == "0"
            assert good(await put(system, CONTENT, at=0, to=name))["complete"]
        assert [line["code"] for line in node.events() if line["event"] == "upload_lost"]
        assert await delivered(node, system, "damaged") == CONTENT


async def test_partial_files_that_nobody_remembers_go_at_the_start(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node:
        writer = node.node.store.bodies.writer(TOKEN_MARK + bytes(10))
        writer.write(b"x")
        writer.pause()
        assert node.node.store.bodies.partial_tokens()
    async with api_node(tmp_path) as node:
        assert node.node.store.bodies.partial_tokens() == []


async def test_a_sweep_takes_what_nobody_remembers_and_nothing_that_is_under_way(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        bodies, begun, swept = node.node.store.bodies, trio.Event(), trio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield CONTENT[: 2 * MIB]
            begun.set()
            await swept.wait()
            yield CONTENT[2 * MIB :]

        async with trio.open_nursery() as nursery:
            answers: list[httpx.Response] = []

            async def bring() -> None:
                answers.append(await put(system, slow(), length=len(CONTENT)))

            nursery.start_soon(bring)
            await begun.wait()
            await node.node.uploads._sweep()
            swept.set()
        assert good(answers[0])["complete"]
        assert await delivered(node, system) == CONTENT
        writer = bodies.writer(TOKEN_MARK + bytes(10))
        writer.write(b"x")
        writer.pause()
        await node.node.uploads._sweep()
        assert bodies.partial_tokens() == []


async def test_wrong_offsets_tell_the_right_one(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        refused(await put(system, b"x", at=5, length=10), "upload_offset_differs")
        good(await put(system, CONTENT[: 2 * CHUNK_BYTES], at=0, length=MIB))
        answer = await put(system, CONTENT[:CHUNK_BYTES], at=0)
        body = refused(answer, "upload_offset_differs", field="Upload-Offset")
        assert answer.headers["upload-offset"] == str(2 * CHUNK_BYTES) == str(body["values"]["offset"])
        refused(await put(system, b"x", at=2 * CHUNK_BYTES, length=MIB + 1), "upload_length_differs")
        finished = good(await put(system, CONTENT[2 * CHUNK_BYTES : MIB], at=2 * CHUNK_BYTES))
        assert finished["complete"]
        assert good(await put(system, b"", at=MIB)) == finished
        refused(await put(system, CONTENT[:MIB], at=0), "upload_offset_differs")
        refused(await put(system, b"x", at=MIB), "upload_too_long")


async def test_more_bytes_than_announced_are_refused_and_the_upload_stays(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):  # what is not taken is drained
            yield bytes(CHUNK_BYTES)

    async with api_node(tmp_path) as node, await node.system("G22") as system:
        refused(await put(system, bytes(101), at=0, length=100), "upload_too_long")
        refused(await put(system, endless(), at=0, length=4 * CHUNK_BYTES), "upload_too_long")
        assert await offset_of(system) < 4 * CHUNK_BYTES
        at = await offset_of(system)
        assert good(await put(system, bytes(4 * CHUNK_BYTES - at), at=at))["complete"]
        refused(await put(system, endless(), at=4 * CHUNK_BYTES), "upload_too_long")


async def test_headers_of_an_upload_are_checked(tmp_path: Path) -> None:
    async def unknown_length() -> AsyncIterator[bytes]:
        yield b"x"

    async with api_node(tmp_path) as node, await node.system("G22") as system:
        refused(await put(system, unknown_length()), "upload_length_missing")
        for name, text in (("Upload-Offset", "-1"), ("Upload-Length", "9" * 17), ("Upload-Length", "0x5")):
            answer = await system.put("/v1/uploads/u", content=b"", headers={name: text})
            refused(answer, "upload_offset_malformed", field=name)
        refused(await put(system, b"", at=0, length=PART_BYTES_MAX + 1), "upload_length_too_large")
        refused(await put(system, b"", to="a.b"), "upload_id_malformed")
        refused(await put(system, b"", to="a" * 65), "upload_id_malformed")
        answer = await put(system, b"", at=0, length=2**39)
        refused(answer, "disk_full")


async def test_an_upload_that_is_not_there_is_404(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        assert (await system.head("/v1/uploads/u")).status_code == 404
        assert (await system.head("/v1/uploads/a.b")).status_code == 400
        caller = node.node.access.of_token(system.headers["authorization"].partition(" ")[2])
        with expects("upload_missing", RequestError):
            node.node.uploads.progress(caller, "u")


async def test_one_of_two_parallel_puts_wins(tmp_path: Path) -> None:
    reached, go_on = trio.Event(), trio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield CONTENT[:MIB]
        reached.set()
        await go_on.wait()
        yield CONTENT[MIB : 2 * MIB]

    outcome: list[httpx.Response] = []

    async def first(client: httpx.AsyncClient) -> None:
        outcome.append(await put(client, slow(), at=0, length=2 * MIB))

    async with api_node(tmp_path) as node, await node.system("G22") as system:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first, system)
            await reached.wait()
            refused(await put(system, CONTENT[: 2 * MIB], at=0, length=2 * MIB), "upload_busy")
            go_on.set()
        assert good(outcome[0])["complete"]
        assert await delivered(node, system) == CONTENT[: 2 * MIB]


async def test_uploads_belong_to_their_system_and_to_one_document(tmp_path: Path) -> None:
    body = {**DOCUMENT, "parts": [{"name": "a", "upload_id": "u"}]}
    async with api_node(tmp_path) as node, await node.system("G22") as system, await node.system("G22") as other:
        good(await put(system, b"mine"))
        assert (await other.head("/v1/uploads/u")).status_code == 404
        refused(await other.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), "upload_unknown")
        good(await put(other, b"theirs"))
        twice = {**body, "parts": [*body["parts"], {"name": "b", "upload_id": "u"}]}
        refused(await system.post("/v1/documents", json=twice, headers={"Idempotency-Key": "k"}), "upload_repeated")
        first = good(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 201)
        refused(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k2"}), "upload_unknown")
        again = good(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), 200)
        assert again == {"id": first["id"], "repeated": True}


async def test_two_documents_at_once_over_one_upload_are_one_document(tmp_path: Path) -> None:
    answers: list[httpx.Response] = []

    async def submit(client: httpx.AsyncClient, key: str) -> None:
        inline = {"name": "b", "content_base64": "QUFB" * 60_000}  # sealed in a worker: others come between
        parts = [inline, {"name": "a", "upload_id": "u"}]
        answers.append(
            await client.post("/v1/documents", json={**DOCUMENT, "parts": parts}, headers={"Idempotency-Key": key})
        )

    async with api_node(tmp_path) as node, await node.system("G22") as system:
        for keys, codes in ((("k", "k", "k"), [200, 200, 201]), (("x", "y", "z"), [201, 422, 422])):
            answers.clear()
            good(await put(system, CONTENT[:1000]))
            async with trio.open_nursery() as nursery:
                for key in keys:
                    nursery.start_soon(submit, system, key)
            assert sorted(answer.status_code for answer in answers) == codes, [answer.text for answer in answers]


async def test_an_unfinished_upload_becomes_no_document(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        good(await put(system, CONTENT[:CHUNK_BYTES], at=0, length=MIB))
        body = {**DOCUMENT, "parts": [{"name": "a", "upload_id": "u"}]}
        refused(await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"}), "upload_unfinished")


async def test_a_part_that_changed_on_its_way_is_noticed_by_its_digest(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        good(await put(system, CONTENT[:1000]))
        for content, code in ((CONTENT[:999], "part_changed"), (CONTENT[:1000], "")):
            digest = hashlib.sha256(content).hexdigest()
            body = {**DOCUMENT, "parts": [{"name": "a", "upload_id": "u", "sha256": digest}]}
            answer = await system.post("/v1/documents", json=body, headers={"Idempotency-Key": "k"})
            if code:
                told = refused(answer, code, field="parts[0].sha256")
                assert told["values"]["found"] == hashlib.sha256(CONTENT[:1000]).hexdigest()
                assert await offset_of(system) == 1000, "it stays for a document that means it"
            else:
                good(answer, 201)


async def test_uploads_are_given_up_after_a_day(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        token = system.headers["authorization"].partition(" ")[2]
        good(await put(system, CONTENT, to="large"))
        good(await put(system, b"x", to="small"))
        good(await put(system, CONTENT[:MIB], at=0, length=len(CONTENT), to="open"))
        node.environment.ahead_ms += DAY_MS - 60_000
        await node.node.uploads._expire()
        assert await offset_of(system, "open") == MIB
    async with api_node(tmp_path) as node, node.client(token) as system:
        assert len(node.node.store.committed.scan(Body)) == 2
        node.environment.ahead_ms += DAY_MS + 60_000
        node.node.clock._base_ms += DAY_MS + 60_000  # the machine slept; nobody set the clock
        await node.node.uploads._expire()
        for name in ("large", "small", "open"):
            assert (await system.head(f"/v1/uploads/{name}")).status_code == 404
        assert node.node.store.committed.scan(Body) == []
        assert node.node.store.bodies.partial_tokens() == []
        good(await put(system, CONTENT, to="large"))


async def test_a_system_has_so_many_uploads_and_no_more(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system, await node.system("G22") as other:
        caller = node.node.access.of_token(system.headers["authorization"].partition(" ")[2])
        few = uploads_of.Uploads(
            pump=node.node.pump, store=node.node.store, environment=node.environment, log=node.node.log, uploads_max=2
        )

        async def one() -> AsyncIterator[bytes]:
            yield b"x"

        for name in ("a", "b"):
            await few.put(caller, name, offset=0, total=1, content=one())
        with expects("uploads_too_many", RequestError):
            await few.put(caller, "c", offset=0, total=1, content=one())
        good(await put(other, b"x"))


async def test_a_disk_that_fails_in_the_middle_leaves_the_durable_offset(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        good(await put(system, CONTENT[:MIB], at=0, length=len(CONTENT)))
        folder: Any = node.node.store.bodies._folder
        append = folder.append

        def fails(name: str, content: bytes) -> None:
            append(name, content[:1000])
            raise StoreError("disk_full")

        folder.append = fails
        refused(await put(system, CONTENT[MIB:], at=MIB), "disk_full")
        assert await offset_of(system) == MIB
        folder.append = append
        assert good(await put(system, CONTENT[MIB:], at=MIB))["complete"]
        assert await delivered(node, system) == CONTENT


async def test_more_unfinished_uploads_than_are_kept_in_memory_go_on(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        names = [f"u{n}" for n in range(uploads_of.STREAMS_KEPT + 3)]
        for name in names:
            good(await put(system, CONTENT[:CHUNK_BYTES], at=0, length=CHUNK_BYTES + 1, to=name))
        assert len(node.node.uploads._streams) <= uploads_of.STREAMS_KEPT + 1
        for name in names:
            assert good(await put(system, b"x", at=CHUNK_BYTES, to=name))["complete"]
        assert node.node.store.bodies.partial_tokens() == []


async def test_every_put_is_in_the_audit_log(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        good(await put(system, CONTENT[:CHUNK_BYTES], at=0, length=2 * CHUNK_BYTES))
        good(await put(system, CONTENT[:CHUNK_BYTES], at=CHUNK_BYTES))
        rows = [row for row in node.node.store.committed.scan(Audit) if row.operation == "uploads"]
        assert [row.subject for row in rows] == ["u", "u"]


async def test_progress_is_remembered_within_a_long_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads_of, "RECORD_BYTES", 8 * MIB)
    seen: list[int] = []
    block = bytes(MIB)

    async def long(client: httpx.AsyncClient) -> AsyncIterator[bytes]:
        for n in range(40):
            if n > 20 and not seen:
                answer = await client.head("/v1/uploads/u")
                if answer.status_code == 200:
                    seen.append(int(answer.headers["upload-offset"]))
            yield block

    async with api_node(tmp_path) as node, await node.system("G22") as system:
        assert good(await put(system, long(system), at=0, length=40 * MIB))["complete"]
        assert seen and seen[0] >= 7 * MIB and seen[0] % CHUNK_BYTES == 0
