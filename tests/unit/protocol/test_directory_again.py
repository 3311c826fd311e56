"""What lacks an endorsement is judged anew when the key or the version it lacked comes later: order decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.court import Standing
from protocol.directory import ROOT, AgencyRecord, KeyEntry, Role
from protocol.directory_import import Imported, Terms, import_things
from protocol.directory_kinds import DirectoryDue, DirectoryPending, Subject
from protocol.directory_view import DirectoryView
from protocol.limits import HOUR_MS, PENDING_MS
from protocol.signing import Ed25519Signer, Signed, Verifier, countersign
from tests.support.tree import START_MS, TREE_READY_MS, Tree, entry_of, key_seed
from tests.unit.protocol.test_directory_pending import Here
from tests.unit.protocol.test_trust import STRANGER, by

SEEN_MS = TREE_READY_MS
OVER_MS = SEEN_MS + PENDING_MS
CODE, HOST, OTHER, THIRD = "G22.99", "00.01.W00", "00.02.W00", "00.03.W00"
FRESH = Ed25519Signer(key_seed(9, "fresh"))
"""The key of the host that a later version of its record lists."""


class Story:
    """A move of an agency away from its host, and what else may happen to it."""

    def __init__(self) -> None:
        self.tree = Tree.make()
        self.things: dict[str, Signed] = {}

    def add(self, name: str, signed: Signed) -> Signed:
        self.things[name] = signed
        return signed

    def rotate(self) -> None:
        """The host lists a further key."""
        keys = (entry_of(FRESH), *self.tree.centre_records[HOST].keys)
        self.add("rotated", by(self.tree, self.tree.next_centre(HOST, keys=keys), self.tree.centres[HOST].signer))

    def move(self, endorser: Ed25519Signer) -> None:
        """It moves; the endorsement comes with another copy."""
        moved = self.add("moved", by(self.tree, self.tree.next_agency(CODE, host=OTHER, epoch=2)))
        self.add("endorsed", countersign(moved, endorser))

    def later(self, **changes: Any) -> None:
        """A version of the same record that is newer than the move."""
        self.add("later", by(self.tree, self.tree.next_agency(CODE, **changes)))

    def name(self, digest: bytes) -> str:
        named = {signed.digest: name for name, signed in self.things.items() if name != "endorsed"}
        return named.get(digest, "first")

    def seen(self, here: Here) -> tuple[tuple[str, ...], tuple[str, ...], str]:
        """What counts, what lies aside, what waits."""
        history = here.view.history(Subject.AGENCY, CODE)
        pending = here.view.pending(Subject.AGENCY, CODE)
        assert history is not None
        return (
            tuple(self.name(item.digest) for item in history.versions),
            tuple(sorted(self.name(item.digest) for item in history.aside)),
            "" if pending is None else self.name(pending.digest),
        )

    def endings(self, *, after_ms: int = SEEN_MS) -> set[tuple[tuple[str, ...], tuple[str, ...], str]]:
        """What nodes know to which these come in every order, one by one; and then the copy that peers have."""
        found = set()
        for order in permutations(self.things.values()):
            here = Here(Tree.make())
            for signed in order:
                here.take([signed])
            here.take([self.things["endorsed"]] if "endorsed" in self.things else [])
            here.due(after_ms)
            assert bool(here.records.scan(DirectoryDue)) == bool(here.records.scan(DirectoryPending))
            found.add(self.seen(here))
        return found


def story(*, rotated: str = "") -> Story:
    """The move, endorsed by the host's key; or by its new key, which was listed before or after the move."""
    made = Story()
    if rotated == "before":
        made.rotate()
    made.move(FRESH if rotated else made.tree.centres[HOST].signer)
    if rotated == "after":
        made.rotate()
    return made


ROTATED = pytest.mark.parametrize("rotated", ["", "before", "after"])

# --- all orders -----------------------------------------------------------------------------


@ROTATED
def test_an_endorsed_move_is_in_force_at_once_in_whatever_order_key_and_copies_come(rotated: str) -> None:
    made = story(rotated=rotated)
    assert made.endings() == {(("moved", "first"), (), "")}


@ROTATED
def test_a_version_that_follows_an_endorsed_move_is_in_force_in_whatever_order_they_come(rotated: str) -> None:
    made = story(rotated=rotated)
    made.later(host=OTHER, epoch=2, kind="vụ")
    assert made.endings() == {(("later", "moved", "first"), (), "")}


@ROTATED
def test_a_second_move_that_nobody_endorsed_waits_behind_the_endorsed_one_everywhere(rotated: str) -> None:
    made = story(rotated=rotated)
    made.later(host=THIRD, epoch=3)
    assert made.endings() == {(("moved", "first"), (), "later")}
    assert made.endings(after_ms=OVER_MS) == {(("later", "moved", "first"), (), "")}


def test_a_move_taken_back_ends_alike_everywhere_after_its_day() -> None:
    """Whether the endorsement came before or after decides only whether the way back waits for its day."""
    made = story()
    made.later(epoch=3)
    assert made.endings() == {(("later", "moved", "first"), (), ""), (("moved", "first"), (), "later")}
    assert made.endings(after_ms=OVER_MS) == {(("later", "moved", "first"), (), "")}


@pytest.mark.parametrize("rotated", ["before", "after"])
def test_a_move_taken_back_before_the_endorsers_key_is_known_is_at_most_lost_to_history(rotated: str) -> None:
    """What counts is the same after the day; only the way back from the past is not looked for everywhere."""
    made = story(rotated=rotated)
    made.later(epoch=3)
    heads = {(versions[0], pending) for versions, _, pending in made.endings(after_ms=OVER_MS)}
    assert heads == {("later", "")}


# --- what wakes it --------------------------------------------------------------------------


def test_a_root_that_lists_the_hurrying_key_makes_urgent_what_was_signed_with_it() -> None:
    made = Story()
    tree = made.tree
    fresh = entry_of(FRESH)
    roles = tuple(
        role if role.name != "root" else Role(name="root", keys=(*role.keys, fresh.key_id), threshold=role.threshold)
        for role in tree.root().roles
    )
    moved = by(tree, tree.next_agency(CODE, host=OTHER, epoch=2))
    root = replace(tree.root(version=2), keys=(*tree.root().keys, fresh), roles=roles, created_ms=tree.tick())
    made.add("moved", countersign(moved, FRESH))
    made.add("root", tree.sign(ROOT, root, tree.root_signers))
    assert made.endings() == {(("moved", "first"), (), "")}


@pytest.mark.parametrize("later_ms", [0, HOUR_MS])
def test_an_endorsement_by_a_key_that_comes_into_force_after_its_day_counts_from_then_on(later_ms: int) -> None:
    tree = Tree.make()
    here = Here(tree)
    keys = (entry_of(FRESH), *tree.centre_records[HOST].keys)
    rotated = by(tree, tree.next_centre(HOST, keys=keys))
    moved = by(tree, tree.next_agency(CODE, host=OTHER, epoch=2), FRESH)
    assert here.standing(rotated) is Standing.PENDING
    assert here.standing(moved, SEEN_MS + later_ms) is Standing.PENDING
    due = here.due(OVER_MS)
    assert [(item.code, item.in_force) for item in due.ended] == [(HOST, True), (CODE, True)]
    assert here.view.agency(CODE).host == OTHER
    assert due.next_ms is None
    assert here.records.scan(DirectoryDue) == []


def test_a_move_that_another_one_put_aside_takes_its_place_when_the_key_comes_into_force() -> None:
    """Both days are over at the same moment: the endorsed move counts first, and the one after it then."""
    made = story(rotated="before")
    tree = made.tree
    here = Here(Tree.make())
    keys = (entry_of(FRESH), *tree.centre_records[HOST].keys)
    assert here.standing(by(tree, tree.next_centre(HOST, keys=keys))) is Standing.PENDING
    here.take([made.things["endorsed"]])
    second = by(tree, tree.next_agency(CODE, host=THIRD, epoch=3))
    here.take([second])
    assert made.seen(here) == (("first",), ("moved",), "first"), "the second move waits, under no name"
    due = here.due(OVER_MS)
    assert [(item.code, item.digest == second.digest) for item in due.ended][:2] == [(HOST, False), (CODE, True)]
    assert made.seen(here)[0] == ("first", "moved", "first")


def test_a_key_that_comes_later_vouches_for_nothing_it_did_not_sign() -> None:
    made = Story()
    made.rotate()
    made.move(STRANGER)
    assert made.endings() == {(("first",), (), "moved")}


def test_a_key_that_was_revoked_meanwhile_vouches_for_nothing() -> None:
    """The host revokes the new key in the version that brings it; it is no endorser in any order."""
    made = Story()
    revoked = entry_of(FRESH, revoked_ms=START_MS + HOUR_MS)
    keys = (revoked, *made.tree.centre_records[HOST].keys)
    made.add("rotated", by(made.tree, made.tree.next_centre(HOST, keys=keys)))
    made.move(FRESH)
    assert made.endings() == {(("first",), (), "moved")}


def test_what_a_cut_off_registrar_said_is_not_judged_in_by_a_later_key() -> None:
    """Its day was there to stop it: the parent opens another generation, then the endorser's key comes."""
    tree = Tree.make()
    tree.delegate("H38")
    tree.add_agency("H38.1", HOST, registrar="H38")
    here = Here(tree)
    moved = by(tree, tree.next_agency("H38.1", host=OTHER, epoch=2), FRESH)
    assert here.standing(moved) is Standing.PENDING
    delegation = tree.agencies["H38"].delegation
    here.take([by(tree, tree.next_agency("H38", delegation=replace(delegation, generation=2)))])
    keys = (entry_of(FRESH), *tree.centre_records[HOST].keys)
    here.take([by(tree, tree.next_centre(HOST, keys=keys), tree.centres[HOST].signer)])
    assert here.view.agency("H38.1").host == HOST


# --- in one heap ----------------------------------------------------------------------------


def heap(made: Story, **terms: Any) -> tuple[DirectoryView, Imported]:
    """All of it at once, at a node that has known the tree for a day; or by other terms."""
    here = Here(Tree.make())
    result = import_things(
        [item.to_wire() for item in made.things.values()],
        here.records,
        anchor=made.tree.anchor,
        verifier=Verifier(),
        now_ms=SEEN_MS,
        cache=here.cache,
        terms=Terms(**terms),
    )
    here.records.stage(result.changes)
    return here.view, result


def test_what_waited_for_a_key_of_the_same_heap_does_not_wait() -> None:
    made = story(rotated="after")
    _, result = heap(made)
    assert not result.rejected
    assert result.pending == ()
    assert [(item.code, item.standing) for item in result.again] == [(CODE, Standing.IN_FORCE)]
    assert len({item.signed.digest for item in result.accepted}) == len(result.accepted)


MOVES = ("G22", "G22.99", "G12", "H38")


@given(st.data())
@settings(max_examples=60)
def test_one_heap_shuffled_or_in_parts_is_judged_to_the_same_end(data: st.DataObject) -> None:
    """Keys of hosts turn, agencies move with the newest or an older key, and follow; some wait for endorsement."""
    tree = Tree.make()
    known = tuple(tree.signed)
    made: list[Signed] = []
    signers: dict[str, list[Ed25519Signer]] = {centre: [tree.centres[centre].signer] for centre in (HOST, OTHER, THIRD)}
    for step in range(data.draw(st.integers(3, 8))):
        if data.draw(st.booleans()):
            centre = data.draw(st.sampled_from(sorted(signers)))
            fresh = Ed25519Signer(key_seed(step, centre))
            entries: tuple[KeyEntry, ...] = (entry_of(fresh), *tree.centre_records[centre].keys)
            made.append(tree.publish(tree.next_centre(centre, keys=entries), signers[centre][-1]))
            signers[centre].append(fresh)
        else:
            code = data.draw(st.sampled_from(MOVES))
            old: AgencyRecord = tree.agencies[code]
            to = data.draw(st.sampled_from(sorted(signers)))
            by_whom = data.draw(st.sampled_from(signers[old.host]))
            change = tree.next_agency(code, host=to, epoch=old.epoch + (to != old.host))
            made.append(tree.publish(change, by_whom))
    shuffled = data.draw(st.permutations(made))
    cut = data.draw(st.integers(0, len(made)))
    assert state_of_all(tree, known, [made]) == state_of_all(tree, known, [shuffled[:cut], shuffled[cut:]])


def state_of_all(tree: Tree, known: Sequence[Signed], heaps: Sequence[Sequence[Signed]]) -> dict[Any, Any]:
    here = Here(Tree.make())
    assert [item.digest for item in here.tree.signed] == [item.digest for item in known]
    for things in heaps:
        assert not here.take(things).rejected
    view = DirectoryView(here.records)
    found: dict[Any, Any] = {}
    for subject, codes in ((Subject.AGENCY, MOVES), (Subject.CENTRE, (HOST, OTHER, THIRD))):
        for code in codes:
            history, pending = view.history(subject, code), view.pending(subject, code)
            assert history is not None
            found[subject, code] = (
                [item.digest for item in history.versions],
                sorted(item.digest for item in history.aside),
                None if pending is None else pending.digest,
            )
    return found


def test_a_tool_that_judges_as_of_dates_lets_the_key_vouch_from_its_own_date_on() -> None:
    made = story(rotated="after")
    view, result = heap(made, as_of_ms=SEEN_MS)
    assert view.agency(CODE).host == OTHER
    assert not result.pending
