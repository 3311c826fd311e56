"""Reading the directory: pages, filters, search, single records, history, tree, following, export, damage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from node.cursors import write_cursor
from protocol.directory import AGENCY, AgencyRecord, Names, RecordState
from protocol.directory_file import read_file, write_file
from protocol.directory_kinds import DirectoryHistory, DirectoryThing, Subject
from protocol.directory_news import DirectoryNews, DirectoryNewsHead
from protocol.directory_view import DirectoryView
from protocol.record import Delete, Put
from protocol.signing import Signed, sign
from storage.keyspace import key
from tests.support.api_checks import good, refused
from tests.support.api_node import ApiNode, api_node
from tests.support.directory_nodes import OPERATOR, signer_of
from tests.support.tree import Tree

HERE, THERE = "00.01.W00", "00.03.W00"
RAW = {"Content-Type": "application/octet-stream"}


def province() -> Tree:
    """Lào Cai with a registrar of its own, a department, two communes and an old-form body."""
    tree = Tree.make()
    tree.delegate("H38")
    for code, parent, name, alias, kind in (
        ("H38.12", "H38", "Sở Tài chính", "000.00.12.H38", "sở"),
        ("H38.12.1", "H38.12", "Phòng Đầu tư", "000.01.12.H38", "phòng"),
        ("H38.1", "H38", "Ủy ban nhân dân phường Đình Bảng", "000.00.01.H38", "Phường"),
        ("H38.2", "H38", "Ủy ban nhân dân xã Phước Long", "000.00.02.H38", "xã"),
    ):
        tree.add_agency(code, THERE, registrar="H38", parent=parent, names=Names(vi=name), aliases=(alias,), kind=kind)
    tree.add_agency("000.00.77.H38", THERE, parent="", names=Names(vi="Ban Quản lý cũ"))
    return tree


@asynccontextmanager
async def reader(folder: Path, tree: Tree | None = None) -> AsyncIterator[tuple[ApiNode, httpx.AsyncClient]]:
    """A node that knows the province, and a system of an agency that has nothing to do with it."""
    async with api_node(folder, tree=province() if tree is None else tree) as node, await node.system("G22") as client:
        yield node, client


def codes(page: dict[str, Any]) -> list[str]:
    return [item["code"] for item in page["items"]]


async def take(node: ApiNode, *things: Signed) -> None:
    imported = await node.node.services.take_directory(OPERATOR, write_file(things))
    assert not imported.rejected, imported.rejected


# --- pages, filters, search -----------------------------------------------------------------


async def test_pages_go_by_opaque_cursors_in_the_order_of_codes(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, client):
        seen: list[str] = []
        page: dict[str, Any] = {"more": True, "next": ""}
        while page["more"]:
            page = good(await client.get("/v1/directory", params={"limit": 3, "after": page["next"]}))
            seen += codes(page)
        assert seen == sorted(seen) == [
            "000.00.77.H38", "G12", "G22", "G22.99", "H38", "H38.1", "H38.12", "H38.12.1", "H38.2",
        ]  # fmt: skip
        assert page["next"] not in seen
        assert codes(good(await client.get("/v1/directory", params={"after": page["next"]}))) == []


FILTERS: list[tuple[dict[str, str], list[str]]] = [
    ({"prefix": "H38.1"}, ["H38.1", "H38.12", "H38.12.1"]),
    ({"under": "H38.12"}, ["H38.12.1"]),
    ({"under": "H38.1"}, []),
    ({"under": "000.00.12.H38"}, ["H38.12.1"]),
    ({"under": "H38"}, ["000.00.77.H38", "H38.1", "H38.12", "H38.12.1", "H38.2"]),
    ({"under": "H38.77"}, []),
    ({"under": "000.00.77.H38"}, []),
    ({"host": HERE}, ["G22", "G22.99"]),
    ({"kind": "PHUONG"}, ["H38.1"]),
    ({"state": "closed"}, []),
    ({"state": "active", "host": "00.02.W00"}, ["G12"]),
    ({"top": "true"}, ["G12", "G22", "H38"]),
    ({"q": "uy ban", "kind": "xã"}, ["H38.2"]),
]


async def test_filters_hold_all_together(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, client):
        for query, found in FILTERS:
            assert codes(good(await client.get("/v1/directory", params=query))) == found, query


SEARCHES: list[tuple[str, list[str], str | None]] = [
    ("dinh bang", ["H38.1"], None),
    ("ĐÌNH  bảng\u200b", ["H38.1"], None),
    ("Ðinh", ["H38.1"], None),
    ("long phuoc", ["H38.2"], None),
    ("000.00.12", ["H38.12"], None),
    ("000.00.12.h38", ["H38.12"], "H38.12"),
    ("h38.12", ["H38.12", "H38.12.1"], "H38.12"),
    ("không có gì", [], None),
]


async def test_search_needs_no_accents_no_order_and_takes_both_code_forms(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, client):
        for text, found, exact in SEARCHES:
            page = good(await client.get("/v1/directory/search", params={"q": text}))
            assert codes(page) == found, text
            assert (page["exact"] and page["exact"]["code"]) == exact, text


BAD: list[tuple[str, dict[str, str], str, str]] = [
    ("", {"after": "G22"}, "cursor_malformed", "after"),
    ("", {"after": "\u00e9"}, "cursor_malformed", "after"),
    ("", {"after": "aGVsbG8="}, "cursor_malformed", "after"),
    ("", {"state": "dead"}, "field_wrong", "state"),
    ("", {"limit": "0"}, "field_wrong", "limit"),
    ("", {"prefix": "h38\x00"}, "agency_code_malformed", "prefix"),
    ("", {"under": "38"}, "agency_code_malformed", "under"),
    ("", {"host": "H38"}, "centre_code_malformed", "host"),
    ("", {"q": "x" * 201}, "search_too_long", "q"),
    ("", {"kind": "x" * 201}, "search_too_long", "kind"),
    ("/search", {}, "field_missing", "q"),
    ("/search", {"q": " \u200b "}, "search_empty", "q"),
    ("/search", {"q": "x" * 201}, "search_too_long", "q"),
    ("/G22.98", {}, "agency_unknown", "code"),
    ("/000.00.98.G22", {}, "agency_unknown", "code"),
    ("/99.99.W99", {}, "centre_unknown", "code"),
    ("/g22", {}, "agency_code_malformed", "code"),
    ("/G22.98/history", {}, "agency_unknown", "code"),
    ("/000.00.98.G22/tree", {}, "agency_unknown", "code"),
    ("/G22/tree", {"after": "x"}, "cursor_malformed", "after"),
    ("/changes", {"after": "x"}, "cursor_malformed", "after"),
    ("/export", {"registrar": "G99"}, "registrar_unknown", "registrar"),
]


async def test_bad_input_is_told_with_its_field(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, client):
        for path, query, code, field in BAD:
            refused(await client.get(f"/v1/directory{path}", params=query), code, field=field)


async def test_whoever_reads_writes_nothing_and_strangers_read_nothing(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        refused(await client.post("/v1/directory/import", content=node.tree.file, headers=RAW), "right_missing")
        for path in ("", "/search?q=a", "/changes", "/export", "/G22", "/G22/history", "/G22/tree"):
            async with node.client("truc_nobody") as nobody:
                refused(await nobody.get(f"/v1/directory{path}"), "token_unknown")


# --- entity tags ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["?limit=2", "/search?q=lao", "/H38", f"/{HERE}", "/H38/history", "/H38/tree"])
async def test_what_a_client_has_is_not_sent_again_until_it_changes(tmp_path: Path, path: str) -> None:
    async with reader(tmp_path) as (node, client):
        first = await client.get(f"/v1/directory{path}")
        tag = first.headers["etag"]
        assert tag.startswith("W/") == (path in {"/H38", f"/{HERE}"})  # there stands how old the log is
        again = await client.get(f"/v1/directory{path}", headers={"If-None-Match": f'W/"x", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert (await client.get(f"/v1/directory{path}", headers={"If-None-Match": '"other"'})).status_code == 200
        if HERE not in path:
            await take(node, node.tree.publish(node.tree.next_agency("H38", names=Names(vi="Tỉnh Lào Cai mới"))))
            changed = await client.get(f"/v1/directory{path}", headers={"If-None-Match": tag})
            assert changed.status_code == 200
            assert changed.headers["etag"] != tag


async def test_two_questions_never_share_a_tag(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, client):
        tags = {
            (await client.get(path)).headers["etag"]
            for path in ("/v1/directory", "/v1/directory?limit=2", "/v1/directory?q=lao", "/v1/directory/search?q=lao")
        }
        assert len(tags) == 4


# --- one record -----------------------------------------------------------------------------


async def test_an_agency_is_shown_with_its_registrar_log_keys_and_delegation(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        item = good(await client.get("/v1/directory/000.00.12.H38"))
        assert (item["code"], item["registrar"], item["parent"], item["hosted_here"]) == ("H38.12", "H38", "H38", False)
        await node.node.room.index.built.wait()
        item = good(await client.get("/v1/directory/H38.12"))
        assert (item["log"]["registrar"], item["log"]["number"], item["tier"]) == ("H38", 4, "old")
        assert (item["pending"], item["problem"], item["delegation"]) == (None, None, None)
        upper = good(await client.get("/v1/directory/H38"))
        assert upper["delegation"]["threshold"] == 1
        assert len(upper["delegation"]["keys"][0]["key_id"]) == 64
        centre = good(await client.get(f"/v1/directory/{THERE}"))
        assert centre["peer_id"].startswith("12D3")
        assert (centre["registrar"], len(centre["keys"]), len(centre["sealing"])) == ("level-1", 1, 1)


async def test_a_pending_change_is_shown_beside_what_counts(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        tree = node.tree
        tree.clock_ms = node.environment.now_ms()
        moved = tree.publish(tree.next_agency("G12", host=THERE, epoch=2))
        await node.node.services.take_directory(OPERATOR, write_file([moved]))
        item = good(await client.get("/v1/directory/G12"))
        assert (item["host"], item["epoch"]) == ("00.02.W00", 1)
        pending = item["pending"]
        assert (pending["version"], pending["host"]) == (moved.digest.hex(), THERE)
        assert pending["changes"] == ["host", "epoch"]
        assert pending["due_at"] is None or pending["due_at"] > pending["created_at"]
        versions = good(await client.get("/v1/directory/G12/history"))["items"]
        assert [version["standing"] for version in versions] == ["pending", "in_force"]
        assert versions[0]["in_force_at"] is None


async def test_an_import_says_what_waits_for_its_day_and_counts_checkpoints(tmp_path: Path) -> None:
    async with api_node(tmp_path, tree=province()) as node, node.admin() as admin:
        tree = node.tree
        tree.clock_ms = node.environment.now_ms()
        moved = tree.publish(tree.next_agency("G12", host=THERE, epoch=2))
        named = tree.publish(tree.next_agency("G22", names=Names(vi="Tên mới")))
        taken = good(await admin.post("/v1/directory/import", content=write_file([moved, named]), headers=RAW))
        assert sorted(taken["accepted"]) == ["agency G12", "agency G22"]
        assert (taken["pending"], taken["checkpoints"], taken["rejected"]) == (["agency G12"], 0, [])


async def test_a_lock_and_a_closing_are_seen_in_lists_at_once(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        closed = node.tree.next_agency("H38.1", state=RecordState.CLOSED, successors=("H38.2",))
        await take(node, node.tree.publish(closed))
        page = good(await client.get("/v1/directory?state=closed"))
        assert [(item["code"], item["successors"]) for item in page["items"]] == [("H38.1", ["H38.2"])]
        assert "H38.1" not in codes(good(await client.get("/v1/directory?state=active")))


async def test_history_tells_versions_changes_and_who_signed(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        tree = node.tree
        second = tree.publish(tree.next_agency("H38.12", names=Names(vi="Sở Kế hoạch"), kind="ban"))
        await take(node, second)
        told = good(await client.get("/v1/directory/000.00.12.H38/history"))
        assert (told["code"], told["subject"]) == ("H38.12", "agency")
        first, older = told["items"]
        assert (first["standing"], first["changes"], first["version"]) == (
            "in_force", ["names", "kind"], second.digest.hex(),
        )  # fmt: skip
        assert (older["standing"], older["changes"], older["names"]) == ("superseded", [], {"vi": "Sở Tài chính"})
        assert [signer["role"] for signer in first["signers"]] == ["registrar"]
        upper = good(await client.get("/v1/directory/H38/history"))["items"][0]
        assert sorted(signer["role"] for signer in upper["signers"]) == ["other", "registrar"]


async def test_a_tree_goes_up_to_level_one_and_one_level_down(tmp_path: Path) -> None:
    async with reader(tmp_path) as (_, client):
        branch = good(await client.get("/v1/directory/H38/tree?limit=2"))
        assert (branch["above"], codes(branch), branch["more"]) == ([], ["000.00.77.H38", "H38.1"], True)
        rest = good(await client.get("/v1/directory/H38/tree", params={"after": branch["next"]}))
        assert (codes(rest), rest["more"]) == (["H38.12", "H38.2"], False)
        leaf = good(await client.get("/v1/directory/H38.12.1/tree"))
        assert ([item["code"] for item in leaf["above"]], codes(leaf)) == (["H38", "H38.12"], [])


# --- following ------------------------------------------------------------------------------


async def test_a_follower_lists_once_and_then_hears_what_changes(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        cursor = good(await client.get("/v1/directory?limit=1"))["changes"]
        page = good(await client.get("/v1/directory/changes", params={"after": cursor}))
        assert (page["items"], page["next"], page["more"]) == ([], cursor, False)
        heard: list[dict[str, Any]] = []

        async def listen() -> None:
            heard.append(good(await client.get("/v1/directory/changes", params={"after": cursor, "wait": 30})))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await take(
                node,
                node.tree.publish(node.tree.next_agency("H38.1", names=Names(vi="Một"))),
                node.tree.publish(node.tree.next_agency("H38.2", names=Names(vi="Hai"))),
                node.tree.publish(node.tree.next_agency("H38.1", names=Names(vi="Một nữa"))),
            )
        told = heard[0]["items"]
        assert sorted((item["subject"], item["code"]) for item in told) == [("agency", "H38.1"), ("agency", "H38.2")]
        one = good(await client.get("/v1/directory/changes", params={"after": cursor, "limit": 1}))
        assert one["more"]
        two = good(await client.get("/v1/directory/changes", params={"after": one["next"], "limit": 1}))
        assert (one["items"] + two["items"], two["more"]) == (told, False)
        last = good(await client.get("/v1/directory/changes", params={"after": two["next"]}))
        assert last["items"] == []


async def test_a_fork_is_news(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        tree = node.tree
        one = tree.publish(tree.next_agency("G22", names=Names(vi="Một")))
        record = AGENCY.decode(one.statement)
        other = tree.sign(AGENCY, replace(record, names=Names(vi="Hai")), tree.level_1_signers)
        await node.node.services.take_directory(OPERATOR, write_file([one, other]))
        told = good(await client.get("/v1/directory/changes"))["items"]
        assert ("fork", "level-1/1") in [(item["subject"], item["code"]) for item in told]


async def test_a_cursor_of_another_store_or_of_what_is_swept_says_where_to_go_on(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        answer = await client.get("/v1/directory/changes", params={"after": write_cursor(b"o" * 16, 7)})
        told = refused(answer, "changes_forgotten", field="after")
        assert "Read the whole directory again" in told["next"]["en"], "what lies between is in no feed"
        restart = told["values"]["restart"]
        await take(node, node.tree.publish(node.tree.next_agency("H38.1", names=Names(vi="Một"))))
        page = good(await client.get("/v1/directory/changes", params={"after": restart}))
        assert codes(page) == ["H38.1"]
        head = node.node.store.committed.get(DirectoryNewsHead)
        assert head is not None
        node.node.store.write([Delete(DirectoryNews, (head.first,)), Put(replace(head, first=head.following))])
        restart = refused(
            await client.get("/v1/directory/changes", params={"after": restart}), "changes_forgotten", field="after"
        )["values"]["restart"]
        assert good(await client.get("/v1/directory/changes", params={"after": restart}))["items"] == []
        ahead = write_cursor(node.node.store.incarnation, 65_536 * 99)
        refused(await client.get("/v1/directory/changes", params={"after": ahead}), "changes_forgotten")


# --- export ---------------------------------------------------------------------------------


async def test_an_export_is_a_directory_file_with_everything(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        answer = await client.get("/v1/directory/export")
        assert answer.status_code == 200
        things = set(read_file(answer.content))
        assert {signed.to_wire() for signed in node.tree.signed} <= things
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert int(answer.headers["x-truc-things"]) == len(things)
        async with node.admin() as admin:
            again = good(await admin.post("/v1/directory/import", content=answer.content, headers=RAW))
        assert (again["accepted"], again["rejected"]) == ([], [])


async def test_an_export_of_one_registrar_is_enough_to_judge_its_log(tmp_path: Path) -> None:
    tree = province()
    tree.delegate("G22")
    tree.add_agency("G22.5", HERE, registrar="G22", parent="G22")
    async with reader(tmp_path, tree) as (_, client):
        part = read_file((await client.get("/v1/directory/export?registrar=H38")).content)
        said = {signed.to_wire(): signed for signed in tree.signed}
        left_out = [AGENCY.decode(signed.statement).code for wire, signed in said.items() if wire not in part]
        assert left_out == ["G22.5"]


async def test_fork_proofs_travel_in_exports_and_are_taken_in(tmp_path: Path) -> None:
    async with reader(tmp_path / "a") as (node, client):
        tree = node.tree
        one = tree.publish(tree.next_agency("G22", names=Names(vi="Một")))
        other = tree.sign(AGENCY, replace(AGENCY.decode(one.statement), names=Names(vi="Hai")), tree.level_1_signers)
        await node.node.services.take_directory(OPERATOR, write_file([one, other]))
        file = (await client.get("/v1/directory/export")).content
    async with api_node(tmp_path / "b", tree=province()) as fresh, fresh.admin() as admin:
        taken = good(await admin.post("/v1/directory/import", content=file, headers=RAW))
        assert taken["rejected"] == []
        assert fresh.node.directory.fork("level-1", 1) is not None


async def test_more_exports_at_once_than_allowed_are_turned_away(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        begun = [await node.node.room.export.begin() for _ in range(2)]
        for export in begun:
            await anext(export.pieces)
        refused(await client.get("/v1/directory/export"), "export_busy")
        for export in begun:
            await export.pieces.aclose()
        assert (await client.get("/v1/directory/export")).status_code == 200


# --- damage ---------------------------------------------------------------------------------


def history_of(node: ApiNode, code: str) -> DirectoryHistory:
    history = DirectoryView(node.node.store.committed).history(Subject.AGENCY, code)
    assert history is not None
    return history


def forged(node: ApiNode, code: str, **changes: Any) -> Signed:
    """A version that a stranger signed."""
    digest = history_of(node, code).versions[0].digest
    signed = DirectoryView(node.node.store.committed).thing(digest)
    assert signed is not None
    record: AgencyRecord = replace(AGENCY.decode(signed.statement), **changes)
    return sign(AGENCY.name, AGENCY.encode(record), signer_of("stranger"))


async def tampered(folder: Path, code: str, **changes: Any) -> Signed:
    """Stop a node and write a forged version into its store, under the digest of the real one."""
    async with reader(folder) as (node, _):
        signed, digest = forged(node, code, **changes), history_of(node, code).versions[0].digest
        row = node.node.store.committed.get(DirectoryThing, digest)
        assert row is not None
        node.node.store.write([Put(replace(row, wire=signed.to_wire()))])
    return signed


async def test_a_record_changed_on_the_disk_is_named_and_spoils_nothing_else(tmp_path: Path) -> None:
    await tampered(tmp_path, "H38.12", host=HERE)
    async with reader(tmp_path) as (node, client):
        page = good(await client.get("/v1/directory"))
        assert [(item["code"], item["problem"]["code"]) for item in page["items"] if item["problem"]] == [
            ("H38.12", "directory_damaged")
        ]
        assert len(page["items"]) == 9
        assert codes(good(await client.get("/v1/directory/search?q=h38.12"))) == ["H38.12", "H38.12.1"]
        told = refused(await client.get("/v1/directory/H38.12"), "directory_damaged")
        assert "truc directory verify" in told["next"]["vi"]
        versions = good(await client.get("/v1/directory/H38.12/history"))["items"]
        assert [version["problem"]["code"] for version in versions] == ["directory_damaged"]
        assert codes(good(await client.get("/v1/directory/H38/tree"))) == ["000.00.77.H38", "H38.1", "H38.12", "H38.2"]
        alarms = [line for line in node.events() if line["event"] == "alarm" and line["code"] == "directory_damaged"]
        assert "H38.12" in [line["subject"] for line in alarms]


async def test_a_whole_forged_record_in_the_store_is_found_by_its_signature(tmp_path: Path) -> None:
    """History and thing fit together: only the registrar's signature is missing."""
    async with reader(tmp_path) as (node, _):
        signed, history = forged(node, "H38.12", names=Names(vi="Kẻ lạ")), history_of(node, "H38.12")
        ref = replace(history.versions[0], digest=signed.digest)
        row = DirectoryThing(digest=signed.digest, wire=signed.to_wire(), accepted_ms=1)
        node.node.store.write([Put(row), Put(replace(history, versions=(ref,)))])
    async with reader(tmp_path) as (_, client):
        refused(await client.get("/v1/directory/H38.12"), "directory_damaged")
        (version,) = good(await client.get("/v1/directory/H38.12/history"))["items"]
        assert version["problem"]["code"] == "directory_damaged"
        assert good(await client.get("/v1/directory/H38.2"))["problem"] is None


def flip(node: ApiNode, code: str) -> None:
    """One bit of an agency's history changes on the disk."""
    at = key(DirectoryHistory, int(Subject.AGENCY), code)
    value = node.node.store._kv.get(at)
    assert value is not None
    node.node.store._kv.write([(at, value[:-1] + bytes([value[-1] ^ 1]))])


async def test_a_history_with_a_flipped_byte_is_named_and_everything_else_is_found(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, client):
        everything = codes(good(await client.get("/v1/directory")))
        flip(node, "H38.12")
    async with reader(tmp_path) as (node, client):
        page = good(await client.get("/v1/directory"))
        assert codes(page) == everything
        assert [(item["code"], item["problem"]["code"]) for item in page["items"] if item["problem"]] == [
            ("H38.12", "record_damaged")
        ]
        assert codes(good(await client.get("/v1/directory/search?q=h38.12"))) == ["H38.12", "H38.12.1"]
        assert codes(good(await client.get("/v1/directory/search?q=g22"))) != []
        refused(await client.get("/v1/directory/H38.12"), "record_damaged")
        alarms = [line for line in node.events() if line["event"] == "alarm" and line["code"] == "record_damaged"]
        assert "H38.12" in [line["subject"] for line in alarms]
        assert node.node.room.search.broken is None


async def test_a_good_record_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    async with reader(tmp_path) as (node, _):
        other, history = history_of(node, "H38.2"), history_of(node, "H38.1")
        node.node.store.write([Put(replace(history, versions=other.versions))])
    async with reader(tmp_path) as (_, client):
        refused(await client.get("/v1/directory/H38.1"), "directory_damaged")
        (version,) = good(await client.get("/v1/directory/H38.1/history"))["items"]
        assert version["problem"]["code"] == "directory_damaged"
