"""The node's directory on the real store's view, and the node's own record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.directory import Directory, make_node_record
from protocol.directory import AGENCY, NODE, NodeRecord, RecordState
from protocol.directory_kinds import DirectoryHistory
from protocol.directory_view import DirectoryView
from protocol.entitlement import Purpose
from protocol.errors import ConfigurationError, FormatError, NotNow
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, HOUR_MS, PENDING_MS
from protocol.record import Put, Records
from protocol.signing import Ed25519Signer, sign
from protocol.staged import Staged
from storage.kv import MemoryKeyValue
from storage.view import OverlayView
from tests.support.errors import expects
from tests.support.tree import START_MS, TREE_READY_MS, Tree, entry_of, key_seed


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


def test_a_file_taken_in_is_read_back_through_the_stores_overlay(tree: Tree) -> None:
    view = OverlayView(MemoryKeyValue())
    directory = Directory(view, anchor=tree.anchor)
    result = directory.take_file(tree.file, TREE_READY_MS)
    assert directory.root_digest() is None
    view.stage(result.changes)
    assert directory.root_digest() == tree.anchor
    assert [record.code for record in directory.agencies()] == ["G12", "G22", "G22.99", "H38"]
    assert [record.code for record in directory.agencies_hosted_by("00.01.W00", after="G22")] == ["G22.99"]
    assert [record.code for record in directory.peers()] == ["00.01.W00", "00.02.W00", "00.03.W00"]
    found = directory.centre_of_peer(tree.centres["00.02.W00"].peer_id)
    assert found is not None
    assert found.code == "00.02.W00"
    assert directory.take_file(tree.file, TREE_READY_MS).already == len(tree.signed)


def test_the_overlay_and_the_memory_records_answer_alike(tree: Tree) -> None:
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    view = OverlayView(MemoryKeyValue())
    changes = tree.imported().changes
    view.stage(changes)
    stores: list[Records] = [view, tree.records()]
    answers = [
        (
            reader.agencies(limit=2),
            reader.agencies(after="G22"),
            reader.agencies_hosted_by("00.03.W00"),
            reader.peers(),
            reader.party("H38.12", at_ms=TREE_READY_MS),
        )
        for reader in map(DirectoryView, stores)
    ]
    assert answers[0] == answers[1]


def test_a_file_that_is_none_is_refused_as_a_whole(tree: Tree) -> None:
    with expects("format_malformed", FormatError):
        Directory(Staged(), anchor=tree.anchor).take_file(b"\xc1", TREE_READY_MS)


def test_a_store_that_began_with_another_root_is_noticed(tree: Tree) -> None:
    Directory(Staged(), anchor=bytes(32)).check_anchor()
    Directory(tree.records(), anchor=tree.anchor).check_anchor()
    with expects("root_digest_differs", ConfigurationError, field="root_digest"):
        Directory(tree.records(), anchor=bytes(32)).check_anchor()


def test_a_statement_is_judged_by_the_directory(tree: Tree) -> None:
    directory = Directory(tree.records(), anchor=tree.anchor)
    signer = tree.centres["00.02.W00"].signer
    signed = sign("truc/consignment/1", b"\x80", signer)
    basis = directory.judge(
        signed, agency="G12", purpose=Purpose.AGENCY, created_ms=TREE_READY_MS, now_ms=TREE_READY_MS
    )
    assert basis.key_id == signer.public.key_id
    with expects("record_stale", NotNow):
        directory.judge(signed, agency="H38", purpose=Purpose.CENTRE, created_ms=TREE_READY_MS, now_ms=TREE_READY_MS)


def test_the_nodes_own_record_is_taken_like_any_other(tree: Tree) -> None:
    centre = tree.centres["00.01.W00"]
    signed = make_node_record(
        centre=centre.code,
        peer_id=centre.peer_id,
        addresses=["/ip4/127.0.0.1/tcp/4001"],
        features=["inline"],
        versions=["truc/envelope/1"],
        software="truc-node",
        now_ms=TREE_READY_MS,
        signer=centre.signer,
        valid_ms=DAY_MS,
    )
    records = tree.records()
    directory = Directory(records, anchor=tree.anchor)
    records.stage(directory.take([signed.to_wire()], TREE_READY_MS).changes)
    found = directory.node_record(centre.code)
    assert found is not None
    assert found.value == NODE.decode(signed.statement)
    assert isinstance(found.value, NodeRecord)
    assert found.value.until_ms == TREE_READY_MS + DAY_MS


def test_a_remembered_party_is_what_would_be_read_anew_at_every_turn_of_time(tree: Tree) -> None:
    short = Ed25519Signer(key_seed(1, "short"))
    begin, end = START_MS + DAY_MS // 2, START_MS + 2 * DAY_MS
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(short, from_ms=begin, until_ms=end),))
    tree.clock_ms += DAY_MS
    tree.publish(tree.next_agency("G22.99", host="00.02.W00", epoch=2), tree.centres["00.01.W00"].signer)
    tree.publish(tree.next_agency("G12", state=RecordState.CLOSED, successors=("G13",)))
    records = tree.records(START_MS + 5 * DAY_MS)
    directory, fresh = Directory(records, anchor=tree.anchor), DirectoryView(records)
    turns = [begin, end, tree.clock_ms, tree.agencies["G22.99"].created_ms, tree.agencies["G13"].created_ms]
    moments = [turn + step for turn in turns for step in (-300_001, -300_000, -1, 0, 1, 299_999, 300_000, 300_001)]
    for code in ("G13", "G22.99", "G12", "H99"):
        for epoch in (None, 1, 2):
            for at_ms in (*moments, *reversed(moments)):
                assert directory.party(code, at_ms=at_ms, epoch=epoch) == fresh.party(code, at_ms=at_ms, epoch=epoch)


def test_a_changed_record_shows_after_parties_are_forgotten(tree: Tree) -> None:
    records = tree.records()
    directory = Directory(records, anchor=tree.anchor)
    assert directory.party("G12", at_ms=TREE_READY_MS) is directory.party("G12", at_ms=TREE_READY_MS + 1)
    tree.publish(tree.next_agency("G12", state=RecordState.LOCKED))
    records.stage(directory.take(tree.things, TREE_READY_MS).changes)
    directory.forget_parties()
    party = directory.party("G12", at_ms=TREE_READY_MS)
    assert party is not None
    assert party.state == "locked"


def test_a_fork_is_taken_once(tree: Tree) -> None:
    records = tree.records()
    directory = Directory(records, anchor=tree.anchor)
    record = tree.new_agency("G40", "00.01.W00")
    pair = [tree.sign(AGENCY, item, tree.level_1_signers) for item in (record, replace(record, kind="khác"))]
    changes = directory.take_fork(pair[0], pair[1], TREE_READY_MS)
    assert len(changes) == 1
    records.stage(changes)
    assert directory.take_fork(pair[1], pair[0], TREE_READY_MS) == ()


def test_what_is_pending_comes_into_force_and_parties_follow(tree: Tree) -> None:
    records = tree.records(START_MS + HOUR_MS)
    directory = Directory(records, anchor=tree.anchor, own_centre="00.02.W00")
    moved = tree.next_agency("G22.99", host="00.02.W00", epoch=2)
    taken = directory.take([tree.sign(AGENCY, moved, tree.level_1_signers).to_wire()], TREE_READY_MS)
    assert any(isinstance(change, Put) and isinstance(change.record, DirectoryHistory) for change in taken.changes)
    records.stage(taken.changes)
    due_ms = directory.due(TREE_READY_MS, clock_trusted=True, heard_ms=None).next_ms
    assert due_ms == TREE_READY_MS + PENDING_MS
    assert directory.due(due_ms, clock_trusted=False, heard_ms=None).changes == ()
    records.stage(directory.due(due_ms, clock_trusted=True, heard_ms=None).changes)
    directory.forget_parties()
    moments = [due_ms + step for step in (-CLOCK_SKEW_MS - 1, -CLOCK_SKEW_MS, 0, CLOCK_SKEW_MS - 1, CLOCK_SKEW_MS)]
    fresh = DirectoryView(records)
    for at_ms in (*moments, *reversed(moments)):
        assert directory.party("G22.99", at_ms=at_ms) == fresh.party("G22.99", at_ms=at_ms)
    assert "G22.99" in [record.code for record in directory.agencies_hosted_by("00.02.W00")]
