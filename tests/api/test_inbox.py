"""The inbox over the API: cursors and waiting, files and damage, collecting and answering in batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from node.api.inbox import disposition
from protocol.record import Put
from protocol.records import Arrival, Incoming, SealedHeader, Thing, Uncollected
from protocol.step import Recorded
from tests.support.api_checks import check_told, good, refused, until
from tests.support.api_node import DOCUMENT, ApiNode, api_node, served
from tests.support.errors import record


async def send(client: httpx.AsyncClient, key: str = "k", **changes: Any) -> str:
    """Submit a document; its id."""
    answer = await client.post("/v1/documents", json={**DOCUMENT, **changes}, headers={"Idempotency-Key": key})
    return str(good(answer, 201)["id"])


async def first_arrival(client: httpx.AsyncClient) -> dict[str, Any]:
    """The first thing in the inbox, waited for."""
    arrived: dict[str, Any] = good(await client.get("/v1/inbox?wait=20"))["items"][0]
    return arrived


async def status(client: httpx.AsyncClient, csg: str, code: int, key: str = "s", **more: Any) -> httpx.Response:
    """Answer with a status."""
    return await client.post(
        f"/v1/inbox/{csg}/statuses", json={"status": code, **more}, headers={"Idempotency-Key": key}
    )


async def test_who_waits_gets_the_next_arrival_and_nobody_elses(tmp_path: Path) -> None:
    got: list[dict[str, Any]] = []

    async def wait(client: httpx.AsyncClient) -> None:
        got.append(good(await client.get("/v1/inbox?wait=20")))

    async with api_node(tmp_path) as node, await node.system("G22") as sender, await node.system("G22.99") as taker:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, taker)
            await until(lambda: node.node.services.boxes._arrivals.next.statistics().tasks_waiting)
            await send(sender)
        assert [item["recipient"] for item in got[0]["items"]] == ["G22.99"]
        assert good(await sender.get("/v1/inbox?wait=0"))["items"] == []
        assert good(await taker.get(f"/v1/inbox?after={got[0]['next']}"))["items"] == []


async def test_the_inbox_is_read_in_pages_in_order(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender, await node.system("G22.99") as taker:
        for n in range(12):
            await send(sender, f"k{n}")
        seen: list[str] = []
        cursor = ""
        with trio.fail_after(20):
            while len(seen) < 12:
                page = good(await taker.get(f"/v1/inbox?limit=5&wait=5&after={cursor}"))
                assert len(page["items"]) <= 5
                seen += [item["consignment"] for item in page["items"]]
                cursor = page["next"]
        assert len(set(seen)) == 12
        assert [item["consignment"] for item in good(await taker.get("/v1/inbox?agency=G22.99"))["items"]] == seen


async def test_a_waiting_look_with_a_bad_cursor_is_refused_like_any_other(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        refused(await system.get("/v1/inbox?wait=5&after=!"), "cursor_malformed", field="after")
        refused(await system.get("/v1/inbox?wait=-1"), "field_wrong", field="wait")
        refused(await system.get("/v1/inbox?state=new"), "field_wrong", field="state")


# --- files ------------------------------------------------------------------------------------


async def test_a_file_comes_with_its_length_type_and_a_harmless_name(tmp_path: Path) -> None:
    part = {"name": "Tờ trình ‘50%’.pdf", "media_type": "application/pdf", "content_base64": "JVBERi0="}
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        await send(system, parts=[part])
        csg = (await first_arrival(system))["consignment"]
        answer = await system.get(f"/v1/inbox/{csg}/parts/0")
        assert answer.content == b"%PDF-"
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"] == disposition(part["name"])
        for number in ("1", "-1"):
            refused(await system.get(f"/v1/inbox/{csg}/parts/{number}"), "part_unknown", field="part")
        refused(await system.get(f"/v1/inbox/{csg}/parts/x"), "field_wrong", field="number")
        refused(await system.get(f"/v1/inbox/csg_{'a' * 52}/parts/0"), "consignment_unknown")
        refused(await system.get("/v1/inbox/csg_x/parts/0"), "id_malformed")


@pytest.mark.parametrize(
    ("name", "plain"),
    [('a"b\\c.txt', "a_b_c.txt"), ("văn.txt", "v_n.txt"), ("a\r\nX: y", "a__X: y"), ("100%.txt", "100_.txt")],
)
def test_no_name_breaks_out_of_its_header(name: str, plain: str) -> None:
    header = disposition(name)
    assert header.startswith(f'attachment; filename="{plain}"; ')
    assert header.isascii() and header.isprintable()


async def test_a_small_file_that_is_damaged_is_a_problem_and_not_a_file(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        await send(system)
        csg = (await first_arrival(system))["consignment"]
        damage(node)
        answer = await system.get(f"/v1/inbox/{csg}/parts/0")
        refused(answer, "part_damaged")


async def test_a_large_file_damaged_on_the_way_is_cut_and_never_ends_cleanly(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        content = bytes(6_000_000)
        good(await system.put("/v1/uploads/u", content=content))
        await send(system, parts=[{"name": "a.bin", "upload_id": "u"}])
        csg = (await first_arrival(system))["consignment"]
        for file in (tmp_path / "bodies").rglob("*"):
            if file.is_file():
                raw = bytearray(file.read_bytes())
                raw[-100] ^= 1
                file.write_bytes(raw)
        token = system.headers["authorization"]
        async with served(node) as bound:
            stream = await trio.open_tcp_stream("127.0.0.1", bound.tcp_port)
            request = f"GET /v1/inbox/{csg}/parts/0 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {token}\r\n\r\n"
            await stream.send_all(request.encode())
            raw_answer = b""
            async with stream:
                with trio.fail_after(20):
                    async for piece in stream:
                        raw_answer += piece
        head, _, body = raw_answer.partition(b"\r\n\r\n")
        assert b"content-length: 6000000" in head
        assert 0 < len(body) < 6_000_000
        assert any(line["event"] == "answer_cut" for line in node.events())


@pytest.mark.parametrize("what", ["header", "envelope", "key"])
async def test_damaged_content_is_told_in_its_place_and_hides_nothing_else(tmp_path: Path, what: str) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        for key in ("one", "two", "three"):
            await send(system, key, metadata={**DOCUMENT["metadata"], "subject": key})
        await until(lambda: len(node.node.store.committed.scan(Uncollected, "G22.99")) == 3)
        await spoil(node, what)
        sound, bad, last = good(await system.get("/v1/inbox"))["items"]
        assert [item["metadata"]["subject"] for item in (sound, last)] == ["one", "three"]
        assert sound["problem"] is last["problem"] is None
        assert (bad["metadata"], bad["parts"], bad["state"]) == (None, None, "arrived")
        told_well(bad["problem"], "content_damaged")
        csg = bad["consignment"]
        assert good(await system.get(f"/v1/inbox/{csg}")) == bad
        refused(await system.get(f"/v1/inbox/{csg}/parts/0"), "content_damaged")
        if what != "key":  # on the loop-back both boxes share header and envelope; each has its own key
            documents = good(await system.get("/v1/documents"))["items"]
            assert [item["problem"] is None for item in documents] == [True, False, True]
            told_well(good(await system.get(f"/v1/documents/{bad['document']}"))["problem"], "content_damaged")
        assert (await system.get(f"/v1/inbox/{last['consignment']}/parts/0")).text == "xin chào"
        await send(system, "later")


async def spoil(node: ApiNode, what: str) -> None:
    """Damage the second document of the inbox, as a failing disk would whose checksums still fit."""
    store = node.node.store
    (second,) = (row for row in store.committed.scan(Arrival, "G22.99") if row.sequence == 2)
    entry = store.committed.get(Incoming, second.consignment)
    assert entry is not None
    header, thing = store.committed.get(SealedHeader, entry.envelope), store.committed.get(Thing, entry.envelope)
    assert header is not None and thing is not None
    changed = {
        "header": replace(header, sealed=header.sealed[:-1] + bytes([header.sealed[-1] ^ 1])),
        "envelope": replace(thing, wire=b"\xc1" + thing.wire[1:]),
        "key": replace(entry, wrapped_key=bytes(len(entry.wrapped_key))),
    }
    await node.node.pump.ask(Recorded(changes=(Put(changed[what]),), why="a test"))


def told_well(problem: dict[str, Any], code: str) -> None:
    """Problem details inside an answer: complete, and noted as produced."""
    assert problem["code"] == code
    check_told(problem)
    record(code)


def damage(node: ApiNode) -> None:
    """Flip a byte in every segment of the store."""
    for file in (node.folder / "segments").iterdir():
        raw = bytearray(file.read_bytes())
        raw[5] ^= 1
        file.write_bytes(raw)


async def test_a_consignment_whose_content_is_gone_says_so(tmp_path: Path) -> None:
    from protocol.step import Settings

    at_once = Settings(retention_ms=0)
    async with api_node(tmp_path, settings=at_once) as node, await node.system("G22", "G22.99") as system:
        await send(system)
        csg = (await first_arrival(system))["consignment"]
        good(await system.post(f"/v1/inbox/{csg}/collect"))

        async def gone() -> bool:
            return good(await system.get(f"/v1/inbox/{csg}"))["metadata"] is None

        await until(gone)
        refused(await system.get(f"/v1/inbox/{csg}/parts/0"), "part_gone")
        refused(await system.get(f"/v1/evidence/{csg}?disclose=true"), "part_gone")
        good(await system.get("/v1/inbox?state=all"))


# --- collecting and answering -----------------------------------------------------------------


async def test_collecting_twice_changes_nothing_and_the_first_of_two_systems_wins(tmp_path: Path) -> None:
    async with (
        api_node(tmp_path) as node,
        await node.system("G22") as sender,
        await node.system("G22.99") as one,
        await node.system("G22.99") as two,
    ):
        await send(sender)
        csg = (await first_arrival(one))["consignment"]
        assert not good(await one.post(f"/v1/inbox/{csg}/collect"))["repeated"]
        again = good(await two.post(f"/v1/inbox/{csg}/collect"))
        assert again["repeated"] and again["sequence"] == 1
        refused(await sender.post(f"/v1/inbox/{csg}/collect"), "consignment_unknown")


async def test_statuses_follow_the_table(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        await send(system)
        csg = (await first_arrival(system))["consignment"]
        refused(await status(system, csg, 3, ""), "key_missing", field="Idempotency-Key")
        for code, outcome in ((7, "status_unknown"), (1, "status_not_yours"), (13, "status_not_yours"),
                              (100, "status_not_yours"), (15, "status_without_request")):  # fmt: skip
            refused(await status(system, csg, code), outcome)
        refused(await status(system, csg, 2), "status_reason_missing", field="reason")
        refused(await status(system, csg, 3, reason="x" * 2001), "field_wrong", field="reason")
        made = good(await status(system, csg, 5, "a", staff_name="Trần B", staff_position="Văn thư"), 201)
        assert (made["code"], made["flag"]) == (5, "")
        assert good(await status(system, csg, 3, "b"), 201)["flag"] == "out_of_order"
        assert good(await status(system, csg, 3, "b"), 200)["repeated"]
        refused(await status(system, csg, 4, "b"), "key_reused")
        good(await status(system, csg, 2, "c", reason="Gửi nhầm"), 201)
        refused(await status(system, csg, 3, "d"), "status_after_refusal")
        shown = good(await system.get(f"/v1/inbox/{csg}"))
        assert shown["receipts"][1]["staff_name"] == "Trần B"
        assert shown["receipts"][3]["reason"] == "Gửi nhầm"


async def test_a_batch_of_actions_has_an_outcome_for_each(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        await send(system)
        csg = (await first_arrival(system))["consignment"]
        actions = [
            {"consignment": csg, "action": "collect"},
            {"consignment": csg, "action": "status", "status": 3, "key": "a", "staff_name": "B"},
            {"consignment": csg, "action": "status", "status": 2, "key": "b"},
            {"consignment": "csg_" + "a" * 52, "action": "collect"},
            {"consignment": csg, "action": "status", "status": 4, "key": ""},
            {"consignment": csg, "action": "status", "status": 3, "key": "a", "staff_name": "B"},
        ]
        items = good(await system.post("/v1/inbox/actions", json={"actions": actions}))["items"]
        assert [item["ok"] for item in items] == [True, True, False, False, False, True]
        assert [item["problem"]["code"] for item in items if not item["ok"]] == [
            "status_reason_missing", "consignment_unknown", "key_missing",
        ]  # fmt: skip
        assert items[5]["receipt"]["repeated"]
        refused(await system.post("/v1/inbox/actions", json={"actions": []}), "actions_count")
        too_many = [{"consignment": csg, "action": "collect"}] * 1001
        refused(await system.post("/v1/inbox/actions", json={"actions": too_many}), "actions_count")
        malformed = {"actions": [{"consignment": "x", "action": "collect"}]}
        refused(await system.post("/v1/inbox/actions", json=malformed), "id_malformed", field="actions[0].consignment")


# --- stories and proofs -----------------------------------------------------------------------


async def test_the_trace_tells_both_sides_with_verified_receipts(tmp_path: Path) -> None:
    async with (
        api_node(tmp_path) as node,
        await node.system("G22") as sender,
        await node.system("G22.99") as taker,
    ):
        document = await send(sender, recipients=["G22.99", "G12"])
        csg = (await first_arrival(taker))["consignment"]
        good(await taker.post(f"/v1/inbox/{csg}/collect"))

        async def told() -> bool:
            return len(good(await sender.get(f"/v1/trace/{csg}"))["items"]) == 4

        await until(told)
        story = good(await sender.get(f"/v1/trace/{document}"))["items"]
        assert [item["what"] for item in story].count("queued") == 2
        assert story[0]["what"] == "submitted"
        receipts = [item for item in story if item["what"] == "receipt"]
        assert [(item["code"], item["verified"]) for item in receipts] == [(1, True), (100, True)]
        held = good(await taker.get(f"/v1/trace/{csg}"))["items"]
        assert [(item["box"], item["code"]) for item in held] == [("inbox", 1), ("inbox", 100)]
        refused(await taker.get(f"/v1/trace/{document}"), "trace_unknown")
        refused(await taker.get("/v1/trace/abc"), "id_malformed")


async def test_evidence_is_checked_off_line(tmp_path: Path) -> None:
    from protocol.evidence import verify_evidence

    async with api_node(tmp_path) as node, await node.system("G22") as sender, await node.system("G22.99") as taker:
        await send(sender)
        csg = (await first_arrival(taker))["consignment"]
        good(await status(taker, csg, 3), 201)

        async def told() -> bool:
            return len(good(await sender.get(f"/v1/trace/{csg}"))["items"]) == 4

        await until(told)
        for client in (sender, taker):
            file = (await client.get(f"/v1/evidence/{csg}")).content
            proof = verify_evidence(file, root=node.tree.anchor)
            assert [receipt.value.code for receipt in proof.receipts] == [1, 3]
            assert proof.header is None
            disclosed = (await client.get(f"/v1/evidence/{csg}?disclose=true")).content
            opened = verify_evidence(disclosed, root=node.tree.anchor)
            assert opened.header is not None and opened.header.metadata.subject == "V/v thử nghiệm"
        refused(await sender.get(f"/v1/evidence/csg_{'a' * 52}"), "consignment_unknown")


async def test_a_refusal_and_an_expiry_are_in_the_trace(tmp_path: Path) -> None:
    from protocol.limits import DAY_MS

    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        document = await send(sender, recipients=["G12"], expires_days=1)
        csg = good(await sender.get(f"/v1/documents/{document}"))["recipients"][0]["consignment"]
        node.environment.ahead_ms += 2 * DAY_MS
        node.node.clock._base_ms += 2 * DAY_MS
        node.node.scheduler._earlier.set()

        async def final() -> bool:
            return bool(good(await sender.get(f"/v1/documents/{document}"))["recipients"][0]["final"])

        await until(final)
        story = good(await sender.get(f"/v1/trace/{csg}"))["items"]
        assert [item["what"] for item in story] == ["queued", "expired_unsent"]


# --- state ------------------------------------------------------------------------------------


async def test_readiness_lists_every_reason(tmp_path: Path) -> None:
    async with api_node(tmp_path / "new", joined=False) as node, node.client() as nobody, node.admin() as admin:
        answer = await nobody.get("/readyz")
        assert answer.status_code == 503
        assert [reason["code"] for reason in answer.json()["reasons"]] == ["not_joined"]
        record("not_joined")
        taken = await admin.post(
            "/v1/directory/import", content=node.tree.file, headers={"Content-Type": "application/octet-stream"}
        )
        assert "agency G22" in good(taken)["accepted"]
        await node.node.room.index.built.wait()
        ready = good(await nobody.get("/readyz"))
        assert ready["ready"]
        check_told(ready["warnings"][-1])
        record("directory_old")
        if node.node.clock.quality == 0:
            assert [warning["code"] for warning in ready["warnings"]] == ["clock_unsynchronised", "directory_old"]
        node.node.clock._base_ms -= 3_600_000
        node.environment.ahead_ms += 3_600_000
        node.app.state.context.stop()
        folder: Any = node.node.store.bodies._folder
        folder.free_bytes = lambda: -1
        codes = [reason["code"] for reason in (await nobody.get("/readyz")).json()["reasons"]]
        assert codes == ["stopping", "clock_suspicious", "disk_full"]
        for code in ("clock_suspicious", "stopping"):
            record(code)


async def test_a_node_that_hosts_nobody_is_not_ready(tmp_path: Path) -> None:
    from tests.support.tree import Tree

    tree = Tree.make(hosting={"00.01.W00": (), "00.02.W00": ("G12",)})
    async with api_node(tmp_path, tree=tree) as node, node.client() as nobody:
        reasons = (await nobody.get("/readyz")).json()["reasons"]
        assert [reason["code"] for reason in reasons] == ["nothing_hosted"]
        record("nothing_hosted")


async def test_unsynchronised_clocks_are_a_warning(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.client() as nobody:
        node.node.clock._environment = Unsynchronised()  # type: ignore[assignment,misc]
        await node.node.room.index.built.wait()
        ready = (await nobody.get("/readyz")).json()
        assert [warning["code"] for warning in ready["warnings"]] == ["clock_unsynchronised", "directory_old"]
        record("clock_unsynchronised")


class Unsynchronised:
    """A machine whose clock nobody disciplines."""

    def clock_quality(self) -> int:
        return 0

    def now_ms(self) -> int:
        return 0

    def monotonic_ms(self) -> int:
        return 0


async def test_a_directory_file_that_is_none_is_refused(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        raw = {"Content-Type": "application/octet-stream"}
        refused(await admin.post("/v1/directory/import", content=b"nothing", headers=raw), "format_malformed")
        refused(await admin.post("/v1/directory/import", content=b"{}", headers={"Content-Type": "text/plain"}),
                "body_media_type")  # fmt: skip
        other = type(node.tree).make(seed=2)
        rejected = good(await admin.post("/v1/directory/import", content=other.file, headers=raw))
        assert rejected["accepted"] == [] and rejected["rejected"]
        assert [row["operation"] for row in good(await admin.get("/v1/audit"))["items"]] == ["directory import"]


async def test_the_directory_is_searched_without_accents_in_pages(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        for wanted, found in (("tai chinh", ["G12"]), ("LÀO", ["H38"]), ("g22", ["G22", "G22.99"]), ("x", [])):
            page = good(await system.get("/v1/directory", params={"q": wanted}))
            assert [item["code"] for item in page["items"]] == found
        page = good(await system.get("/v1/directory?limit=2"))
        rest = good(await system.get(f"/v1/directory?limit=2&after={page['next']}"))
        assert [item["code"] for item in (*page["items"], *rest["items"])] == ["G12", "G22", "G22.99", "H38"]
        assert good(await system.get("/v1/directory/00.02.W00"))["peer_id"].startswith("12D3")
        refused(await system.get("/v1/directory/G77"), "agency_unknown")
        refused(await system.get("/v1/directory/99.99.W99"), "centre_unknown")
        refused(await system.get("/v1/directory/_"), "agency_code_malformed")


async def test_a_bug_of_ours_is_told_as_internal_and_logged_with_its_cause(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as system:
        peers: Any = node.node.peers

        def broken() -> Any:
            raise ExceptionGroup("several", [KeyError("secret")])

        peers.all = broken
        refused(await system.get("/v1/peers"), "internal")
        (line,) = [line for line in node.events() if line["event"] == "request_failed"]
        assert "KeyError" in str(line) and "secret" not in str(line)

