"""node/admitting.py: who is admitted, until when, and who of two that name one peer id."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from node.admitting import NOBODY, Admissions, admissions
from protocol.directory import RecordState
from protocol.limits import CLOSED_ADMITTED_MS, DAY_MS, HOUR_MS
from tests.support.tree import TREE_READY_MS, Tree

A, B, C, D = "00.01.W00", "00.02.W00", "00.03.W00", "00.04.W00"


def decide(
    tree: Tree,
    *,
    now_ms: int = TREE_READY_MS,
    before: Admissions = NOBODY,
    contacts: Mapping[str, str] = MappingProxyType({}),
) -> Admissions:
    view = tree.view(min(now_ms, TREE_READY_MS + 80 * DAY_MS))
    return admissions(view, contacts=contacts, before=before, now_ms=now_ms)


def closed(tree: Tree, code: str, **changes: Any) -> int:
    """Close a centre; the date of its record."""
    record = tree.next_centre(code, state=RecordState.CLOSED, **changes)
    tree.publish(record)
    return record.created_ms


def peers_of(tree: Tree, *codes: str) -> dict[str, str]:
    return {code: tree.centre_records[code].peer_id for code in codes}


def test_every_centre_that_is_not_closed_is_admitted_with_its_peer_id() -> None:
    tree = Tree.make()
    found = decide(tree)
    assert (dict(found.peers), found.next_ms, found.refused) == (peers_of(tree, A, B, C), None, {})


def test_a_closed_centre_stays_for_four_hundred_days_from_its_date() -> None:
    tree = Tree.make()
    end_ms = closed(tree, B) + CLOSED_ADMITTED_MS
    last = decide(tree, now_ms=end_ms - 1)
    assert (set(last.peers), last.next_ms) == ({A, B, C}, end_ms)
    over = decide(tree, now_ms=end_ms, before=last)
    assert (set(over.peers), over.next_ms) == ({A, C}, None)
    assert over.why_not(B, tree.centre_records[B].peer_id) == "closed"


def test_signing_a_closed_record_again_prolongs_nothing() -> None:
    tree = Tree.make()
    end_ms = closed(tree, B) + CLOSED_ADMITTED_MS
    tree.clock_ms += DAY_MS // 2
    closed(tree, B)
    assert decide(tree).next_ms == end_ms


def test_a_centre_that_was_opened_again_counts_from_its_second_closing() -> None:
    tree = Tree.make()
    closed(tree, B)
    tree.publish(tree.next_centre(B, state=RecordState.ACTIVE), tree.centres[B].signer)
    assert decide(tree).next_ms is None
    again_ms = closed(tree, B)
    assert decide(tree).next_ms == again_ms + CLOSED_ADMITTED_MS


def test_closing_inside_a_pending_version_counts_at_once() -> None:
    tree = Tree.make()
    tree.clock_ms += 2 * HOUR_MS  # in its first hour a record may change unendorsed
    moved = tree.next_centre(B, state=RecordState.CLOSED, peer_id=tree.centres[A].peer_id + "x")
    tree.publish(moved)  # another peer id, nobody of the version before endorses it: pending
    view = tree.view(moved.created_ms + 60_000)
    assert view.pending_centre(B) is not None
    found = admissions(view, contacts={}, before=NOBODY, now_ms=moved.created_ms + 60_000)
    assert found.peers[B] == tree.centres[B].peer_id
    assert found.next_ms == moved.created_ms + CLOSED_ADMITTED_MS


def test_a_contact_counts_as_long_as_the_directory_has_no_record_of_its_centre() -> None:
    tree = Tree.make()
    found = decide(tree, contacts={D: "fourth", A: "another"})
    assert found.peers == {**peers_of(tree, A, B, C), D: "fourth"}
    bare = admissions(Tree.bare().view(), contacts={A: "first"}, before=NOBODY, now_ms=TREE_READY_MS)
    assert bare.peers == {A: "first"}


def test_of_two_living_centres_with_one_peer_id_the_one_admitted_before_stays() -> None:
    tree = Tree.make()
    before = decide(tree)
    taken = tree.centres[C].peer_id
    tree.add_centre(D, peer_id=taken)
    for known in (before, NOBODY):  # the older record wins as well
        found = decide(tree, before=known)
        assert (found.peers[C], D in found.peers) == (taken, False)
        assert found.doubled == {taken: (C, D)}
        assert found.why_not(D, taken) == "peer_id_twice"
    moved = decide(tree, before=Admissions(peers={D: taken}, refused={}, doubled={}, next_ms=None))
    assert (moved.peers[D], C in moved.peers) == (taken, False)


def test_a_living_centre_goes_before_a_closed_one_and_before_a_contact() -> None:
    tree = Tree.make()
    taken = tree.centres[B].peer_id
    closed(tree, B)
    tree.add_centre(D, peer_id=taken)
    found = decide(tree, contacts={"00.09.W00": taken})
    assert (found.peers[D], found.doubled) == (taken, {taken: (D, "00.09.W00", B)})


def test_reasons_tell_what_changed() -> None:
    tree = Tree.make()
    found = decide(tree)
    assert found.why_not(A, "older") == "peer_id_changed"
    assert found.why_not("00.77.W00", "gone") == "not_named"
