"""Handing documents in over the API: what is taken, what is refused with which code, and what
happens to the same request twice."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from starlette.requests import Request

from node.api.bodies import read_whole
from protocol.errors import RequestError
from tests.support.api_checks import codes, good, refused
from tests.support.api_node import DOCUMENT, ApiNode, api_node
from tests.support.errors import expects
from tests.support.tree import Tree


def document(**changes: Any) -> dict[str, Any]:
    """The small document with other top-level fields; `metadata` is merged."""
    metadata = {**DOCUMENT["metadata"], **changes.pop("metadata", {})}
    return {**DOCUMENT, **changes, "metadata": metadata}


def part(name: str = "a.txt", content: bytes = b"a", **more: Any) -> dict[str, Any]:
    """An inline part."""
    return {"name": name, "media_type": "text/plain", "content_base64": base64.b64encode(content).decode(), **more}


async def submit(client: httpx.AsyncClient, body: Any, key: str = "k1") -> httpx.Response:
    """POST it."""
    return await client.post("/v1/documents", json=body, headers={"Idempotency-Key": key})


async def test_a_document_travels_and_its_statuses_come_back(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender, await node.system("G22.99") as taker:
        accepted = await submit(sender, DOCUMENT)
        document_id = good(accepted, 201)["id"]
        assert accepted.headers["location"] == f"/v1/documents/{document_id}"
        (arrived,) = good(await taker.get("/v1/inbox?wait=10"))["items"]
        assert (arrived["issuer"], arrived["state"], arrived["metadata"]["subject"]) == (
            "G22", "arrived", "V/v thử nghiệm",
        )  # fmt: skip
        csg = arrived["consignment"]
        content = await taker.get(f"/v1/inbox/{csg}/parts/0")
        assert content.text == "xin chào"
        assert content.headers["content-length"] == "9"
        good(await taker.post(f"/v1/inbox/{csg}/collect"))
        good(await taker.post(f"/v1/inbox/{csg}/statuses", json={"status": 3}, headers={"Idempotency-Key": "a"}), 201)
        cursor, seen = "", list[int]()
        while seen != [1, 100, 3]:
            page = good(await sender.get(f"/v1/events?wait=10&after={cursor}"))
            cursor = page["next"]
            seen += [event["code"] for event in page["items"] if event["what"] == "status"]
        shown = good(await sender.get(f"/v1/documents/{document_id}"))
        assert [receipt["code"] for receipt in shown["recipients"][0]["receipts"]] == [1, 100, 3]
        assert shown["recipients"][0]["final"]
        assert [item["id"] for item in good(await sender.get("/v1/documents"))["items"]] == [document_id]
        assert good(await taker.get("/v1/inbox"))["items"] == []
        assert [item["state"] for item in good(await taker.get("/v1/inbox?state=all"))["items"]] == ["answered"]


async def test_all_metadata_arrives_as_it_was_given(tmp_path: Path) -> None:
    metadata = {
        "type": "Công văn", "number": "12", "notation": "VPCP-KSTT", "issued_on": "2026-05-01", "place": "Hà Nội",
        "subject": "Đề nghị", "signers": [{"competence": "KT.", "position": "Phó", "name": "Nguyễn Văn A"}],
        "due_on": "2026-06-01", "secrecy": "none", "pages": 2, "copies": 1, "to_places": ["Như trên", "Lưu"],
        "response_for": [{"code": "G12", "number": "1", "notation": "BTC", "issued_on": "2026-04-01", "document": "x"}],
        "steering": 1, "task_codes": ["T1"], "sphere": "Tài chính",
        "staff": {"name": "Trần B", "position": "CV", "contact": "b@example.vn"}, "recipients": ["G22.99"],
    }  # fmt: skip
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        good(await submit(system, {**DOCUMENT, "metadata": metadata}), 201)
        (arrived,) = good(await system.get("/v1/inbox?wait=10"))["items"]
        assert arrived["metadata"] == metadata


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("an unknown recipient", {"recipients": ["G77"]}, "recipient_unknown", "recipients[0]"),
    ("a malformed recipient", {"recipients": ["g_77"]}, "agency_code_malformed", "recipients[0]"),
    ("the issuer itself", {"recipients": ["G22"]}, "recipient_is_issuer", "recipients[0]"),
    ("a recipient twice", {"recipients": ["G12", "G12"]}, "recipient_repeated", "recipients[1]"),
    ("no recipient", {"recipients": []}, "recipients_count", "recipients"),
    ("an issuer hosted elsewhere", {"issuer": "G12"}, "issuer_not_yours", "issuer"),
    ("no secrecy", {"metadata": {"secrecy": ""}}, "secrecy_missing", "metadata.secrecy"),
    ("a secret document", {"metadata": {"secrecy": "mat"}}, "secrecy_marked", "metadata.secrecy"),
    ("a marking in the subject", {"metadata": {"subject": "(MẬT) Báo cáo"}}, "secrecy_marked", "metadata.subject"),
    ("an empty subject", {"metadata": {"subject": " "}}, "metadata_subject_empty", "metadata.subject"),
    ("no type", {"metadata": {"type": ""}}, "metadata_type_empty", "metadata.type"),
    ("a long subject", {"metadata": {"subject": "x" * 501}}, "metadata_too_long", "metadata.subject"),
    ("too many signers", {"metadata": {"signers": [{}] * 51}}, "metadata_too_many", "metadata.signers"),
    ("negative pages", {"metadata": {"pages": -1}}, "metadata_out_of_range", "metadata.pages"),
    ("a bidi control", {"metadata": {"subject": "a\u202eb"}}, "metadata_character", "metadata.subject"),
    ("a NUL", {"metadata": {"subject": "a\0b"}}, "metadata_character", "metadata.subject"),
    ("no date", {"metadata": {"issued_on": "32/13/2026"}}, "metadata_date_invalid", "metadata.issued_on"),
    ("no parts", {"parts": []}, "parts_count", "parts"),
    ("a path as name", {"parts": [part("../a.txt")]}, "part_name_path", "parts[0].name"),
    ("a NUL in a name", {"parts": [part("a\0.txt")]}, "part_name_control", "parts[0].name"),
    ("a bidi name", {"parts": [part("fdp\u202e.exe")]}, "part_name_control", "parts[0].name"),
    ("a device name", {"parts": [part("CON.txt")]}, "part_name_device", "parts[0].name"),
    ("a 300-character name", {"parts": [part("a" * 300)]}, "part_name_too_long", "parts[0].name"),
    ("an empty name", {"parts": [part("")]}, "part_name_empty", "parts[0].name"),
    ("a name ending in a dot", {"parts": [part("a.")]}, "part_name_trailing", "parts[0].name"),
    ("a character of Windows", {"parts": [part("a?.txt")]}, "part_name_character", "parts[0].name"),
    ("two equal names", {"parts": [part("A.txt"), part("a.txt")]}, "part_name_repeated", "parts[1].name"),
    ("no media type", {"parts": [part(media_type="pdf")]}, "part_media_type_malformed", "parts[0].media_type"),
    ("neither content nor upload", {"parts": [{"name": "a"}]}, "part_content_or_upload", "parts[0]"),
    ("content and upload", {"parts": [part(upload_id="u")]}, "part_content_or_upload", "parts[0]"),
    ("no base64", {"parts": [part(content_base64="…")]}, "field_wrong", "parts[0].content_base64"),
    ("a large inline part", {"parts": [part(content=bytes(800_000))]}, "part_needs_upload", "parts[0]"),
    ("another content than announced", {"parts": [part(sha256="0" * 64)]}, "part_changed", "parts[0].sha256"),
    ("half a digest", {"parts": [part(sha256="0" * 32)]}, "field_wrong", "parts[0].sha256"),
    ("no digest", {"parts": [part(sha256="x" * 64)]}, "field_wrong", "parts[0].sha256"),
    ("an unknown upload", {"parts": [{"name": "a", "upload_id": "u"}]}, "upload_unknown", "parts[0].upload_id"),
    ("a far expiry", {"expires_days": 91}, "expiry_out_of_range", "expires_days"),
    ("an unknown field", {"subjekt": "x"}, "field_unknown", "subjekt"),
    ("an unknown field inside", {"metadata": {"subjekt": "x"}}, "field_unknown", "metadata.subjekt"),
    ("a number for a text", {"issuer": 5}, "field_wrong", "issuer"),
    ("an unknown lane", {"lane": "fast"}, "field_wrong", "lane"),
]  # fmt: skip


async def test_every_mistake_has_its_code_and_field_and_nothing_is_taken(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        for name, change, code, field in BAD:
            answer = await submit(sender, document(**change), "same-key")
            body = refused(answer, code, field=field)
            assert body["field"] == field, name
        assert good(await sender.get("/v1/documents"))["items"] == []
        good(await submit(sender, DOCUMENT, "same-key"), 201)


async def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        body = refused(await submit(sender, document(recipients=["G77", "G12", "x"])), "recipient_unknown")
        assert codes(body) == {("recipient_unknown", "recipients[0]"), ("agency_code_malformed", "recipients[2]")}
        twice = document(metadata={"subject": "", "secrecy": "", "type": ""})
        found = codes(refused(await submit(sender, twice), "secrecy_missing"))
        assert {code for code, _ in found} == {"secrecy_missing", "metadata_subject_empty", "metadata_type_empty"}
        del twice["issuer"]
        twice["x"] = 1
        assert codes(refused(await submit(sender, twice), "field_missing")) == {
            ("field_missing", "issuer"), ("field_unknown", "x"),
        }  # fmt: skip


async def test_closed_and_locked_agencies_get_nothing(tmp_path: Path) -> None:
    tree = Tree.make()
    tree.publish(tree.next_agency("G12", state=2, successors=("H38",)))
    tree.publish(tree.next_agency("H38", state=1))
    tree.publish(tree.next_agency("G22.99", state=1))
    async with api_node(tmp_path, tree=tree) as node, await node.system("G22", "G22.99") as sender:
        body = refused(await submit(sender, document(recipients=["G12", "H38"])), "recipient_closed")
        assert codes(body) == {("recipient_closed", "recipients[0]"), ("recipient_locked", "recipients[1]")}
        assert body["values"]["successors"] == "H38"
        refused(await submit(sender, document(issuer="G22.99", recipients=["G22"])), "issuer_not_active")


async def test_an_admin_sends_for_hosted_agencies_only(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        good(await submit(admin, DOCUMENT), 201)
        refused(await submit(admin, document(issuer="G12", recipients=["H38"]), "k2"), "issuer_not_yours")
        (entry,) = [row for row in good(await admin.get("/v1/audit"))["items"] if row["operation"] == "documents"]
        assert entry["actor"].startswith("admin uid 0")


async def test_the_old_form_of_a_code_is_understood(tmp_path: Path) -> None:
    tree = Tree.make()
    tree.publish(tree.next_agency("G12", aliases=("000.00.00.G12",)))
    async with api_node(tmp_path, tree=tree) as node, await node.system("G22") as sender:
        answer = good(await submit(sender, document(recipients=["000.00.00.G12"])), 201)
        shown = good(await sender.get(f"/v1/documents/{answer['id']}"))
        assert [item["recipient"] for item in shown["recipients"]] == ["G12"]


# --- the same again ---------------------------------------------------------------------------


async def test_the_same_key_brings_the_same_document(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        first = good(await submit(sender, DOCUMENT), 201)
        assert good(await submit(sender, DOCUMENT), 200) == {"id": first["id"], "repeated": True}
        refused(await submit(sender, document(metadata={"subject": "khác"})), "key_reused", field="Idempotency-Key")
        assert len(good(await sender.get("/v1/documents"))["items"]) == 1


async def test_the_same_request_twice_at_once_is_one_document(tmp_path: Path) -> None:
    answers: list[httpx.Response] = []

    async def send(client: httpx.AsyncClient) -> None:
        answers.append(await submit(client, DOCUMENT))

    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(send, sender)
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]


async def test_another_system_may_use_the_same_key(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as one, await node.system("G22") as two:
        first = good(await submit(one, DOCUMENT), 201)
        second = good(await submit(two, DOCUMENT), 201)
        assert first["id"] != second["id"]


@pytest.mark.parametrize(
    ("key", "code"), [("", "key_missing"), ("a b", "key_characters"), ("x" * 201, "key_characters")]
)
async def test_the_key_is_compulsory_and_visible_ascii(tmp_path: Path, key: str, code: str) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        refused(await submit(sender, DOCUMENT, key), code, field="Idempotency-Key")


async def test_the_same_document_again_is_refused_and_another_under_its_number_needs_a_reason(tmp_path: Path) -> None:
    numbered = document(metadata={"number": "5", "notation": "VPCP"})
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        first = good(await submit(sender, numbered, "k1"), 201)
        body = refused(await submit(sender, numbered, "k2"), "document_repeated")
        assert body["values"]["first"] == first["id"]
        good(await submit(sender, {**numbered, "recipients": ["G12"]}, "k4"), 201)
        other = document(metadata={"number": "5", "notation": "VPCP", "subject": "khác"})
        refused(await submit(sender, other, "k3"), "number_taken", field="metadata.number")
        good(await submit(sender, {**other, "allow_number_reuse": "đánh số lại"}, "k3"), 201)


# --- bodies that are none ---------------------------------------------------------------------

RAW_BODIES: list[tuple[bytes, str, str]] = [
    (b"{", "application/json", "body_not_json"),
    (b"", "application/json", "body_not_json"),
    (b'{"issuer": "\xff"}', "application/json", "body_not_utf8"),
    (b'{"issuer": "\\ud800"}', "application/json", "body_not_json"),
    (b"[" * 100_000, "application/json", "body_not_json"),
    (b"[]", "application/json", "field_wrong"),
    (b"{}", "text/plain", "body_media_type"),
    (b"issuer=G22", "application/x-www-form-urlencoded", "body_media_type"),
    (b" " * (8 * 1024 * 1024 + 1), "application/json", "body_too_large"),
]


@pytest.mark.parametrize(("body", "media_type", "code"), RAW_BODIES, ids=[row[2] for row in RAW_BODIES])
async def test_a_body_that_is_no_json_document_has_a_code(
    tmp_path: Path, body: bytes, media_type: str, code: str
) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        answer = await sender.post("/v1/documents", content=body, headers={"Content-Type": media_type})
        refused(answer, code)


async def test_a_body_whose_client_leaves_in_the_middle_is_cut() -> None:
    messages = [{"type": "http.request", "body": b'{"iss', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    with expects("body_cut", RequestError):
        await read_whole(Request({"type": "http", "method": "POST", "headers": []}, receive), 100)


async def test_a_large_inline_document_is_read_in_a_worker(tmp_path: Path) -> None:
    large = document(parts=[part(f"{n}.bin", bytes([n]) * 700_000) for n in range(5)])
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        good(await submit(system, large), 201)
        (arrived,) = good(await system.get("/v1/inbox?wait=10"))["items"]
        assert [item["size"] for item in arrived["parts"]] == [700_000] * 5
        too_many = document(parts=[part(f"{n}.bin", bytes(700_000)) for n in range(7)])
        refused(await submit(system, too_many, "k2"), "part_needs_upload")


# --- rights and lists -------------------------------------------------------------------------


async def test_sending_needs_its_right(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", rights=("receive",)) as system:
        refused(await submit(system, DOCUMENT), "right_missing")
        refused(await system.get("/v1/documents"), "right_missing")


async def test_a_disk_that_is_full_refuses_the_document_and_keeps_nothing(tmp_path: Path, node_full: Any) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        with node_full(node):
            refused(await submit(sender, DOCUMENT), "disk_full")
        good(await submit(sender, DOCUMENT), 201)


@pytest.fixture
def node_full() -> Any:
    """Makes the folder of a node say that it is full."""
    from contextlib import contextmanager

    @contextmanager
    def full(node: ApiNode) -> Any:
        folder: Any = node.node.store.bodies._folder
        before = folder.free_bytes
        folder.free_bytes = lambda: 0
        try:
            yield
        finally:
            folder.free_bytes = before

    return full


async def test_lists_go_on_behind_their_cursor(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22") as sender:
        ids = [good(await submit(sender, DOCUMENT, f"k{n}"), 201)["id"] for n in range(5)]
        page = good(await sender.get("/v1/documents?limit=3"))
        rest = good(await sender.get(f"/v1/documents?limit=3&after={page['next']}"))
        assert [item["id"] for item in (*page["items"], *rest["items"])] == ids
        assert (page["more"], rest["more"]) == (True, False)
        for query in ("limit=0", "limit=101", "limit=x"):
            refused(await sender.get(f"/v1/documents?{query}"), "field_wrong", field="limit")
        refused(await sender.get("/v1/documents?after=!"), "cursor_malformed", field="after")
        refused(await sender.get("/v1/documents?agency=G12"), "agency_unknown", field="agency")


async def test_a_cursor_of_another_store_tells_where_to_begin(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, await node.system("G22", "G22.99") as system:
        foreign = base64.urlsafe_b64encode(b"o" * 16 + bytes(8)).decode()
        for route in ("/v1/documents", "/v1/inbox", "/v1/events"):
            body = refused(await system.get(f"{route}?after={foreign}"), "cursor_of_another_store")
            good(await system.get(f"{route}?after={body['values']['restart']}"))
