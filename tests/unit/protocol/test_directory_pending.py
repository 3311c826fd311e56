"""No silent take-over: a day in which everybody goes on with the old record and can see the new one coming."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.court import Court, Standing
from protocol.directory import ROLE_LEVEL_1, AgencyRecord, CentreRecord, Delegation, KeyEntry, RecordState
from protocol.directory_import import Imported, Terms, import_things
from protocol.directory_kinds import DirectoryDue, DirectoryHistory, Subject
from protocol.directory_pending import Due, due_changes
from protocol.directory_view import DirectoryView, RecordCache
from protocol.entitlement import Purpose, keys_for
from protocol.errors import RequestError
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, DIRECTORY_DUE_MAX, HOUR_MS, MINUTE_MS, PENDING_MS
from protocol.signing import Ed25519Signer, Signature, Signed, Verifier
from protocol.staged import Staged
from protocol.standing import order_of
from tests.support.errors import expects
from tests.support.tree import START_MS, TREE_READY_MS, Centre, Tree, entry_of, key_seed, sealing_entry
from tests.unit.protocol.test_trust import STRANGER, by, lock, only_by

SEEN_MS = TREE_READY_MS
"""When the things of these tests reach the node, which has known the tree for almost a day."""
DUE_MS = SEEN_MS + PENDING_MS


class Here:
    """A node's directory, in memory."""

    def __init__(self, tree: Tree, *, known_ms: int = START_MS + HOUR_MS) -> None:
        self.tree = tree
        self.records = Staged()
        self.cache = RecordCache()
        assert not self.take(tree.signed, known_ms).rejected

    @property
    def view(self) -> DirectoryView:
        return DirectoryView(self.records, self.cache)

    def court(self, now_ms: int, *, clock_trusted: bool = True) -> Court:
        anchor = self.tree.anchor
        return Court(
            lookup=self.view, verifier=Verifier(), now_ms=now_ms, anchor=anchor, clock_trusted=clock_trusted
        )

    def take(self, things: Iterable[Signed], now_ms: int = SEEN_MS, *, clock_trusted: bool = True) -> Imported:
        result = import_things(
            [signed.to_wire() for signed in things],
            self.records,
            anchor=self.tree.anchor,
            verifier=Verifier(),
            now_ms=now_ms,
            cache=self.cache,
            terms=Terms(clock_trusted=clock_trusted),
        )
        self.records.stage(result.changes)
        return result

    def due(self, now_ms: int, *, clock_trusted: bool = True, heard_ms: int | None = None) -> Due:
        due = due_changes(self.view, self.court(now_ms, clock_trusted=clock_trusted), heard_ms=heard_ms)
        self.records.stage(due.changes)
        return due

    def standing(self, signed: Signed, now_ms: int = SEEN_MS) -> Standing:
        """Take one thing that must be accepted, and say what became of it."""
        (accepted,) = self.take([signed], now_ms).accepted
        return accepted.standing


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


@pytest.fixture
def here(tree: Tree) -> Here:
    return Here(tree)


def moved(tree: Tree, **changes: Any) -> AgencyRecord:
    return tree.next_agency("G22.99", **{"host": "00.02.W00", "epoch": 2, **changes})


def speakers(view: DirectoryView, code: str, at_ms: int = SEEN_MS) -> set[bytes]:
    return set(keys_for(view, code, Purpose.AGENCY, at_ms).keys)


def id_of(centre: Centre) -> bytes:
    return centre.signer.public.key_id


# --- the day --------------------------------------------------------------------------------


def test_a_silent_takeover_counts_nowhere_for_a_day(tree: Tree, here: Here) -> None:
    change = by(tree, moved(tree, aliases=("000.00.01.G22",)))
    assert here.standing(change) is Standing.PENDING
    view = here.view
    assert view.host_of("G22.99")[0].code == "00.01.W00"
    assert view.agency("G22.99").epoch == 1
    assert speakers(view, "G22.99") == {id_of(tree.centres["00.01.W00"])}
    assert "G22.99" in [record.code for record in view.agencies_hosted_by("00.01.W00")]
    with expects("agency_unknown", RequestError):
        view.resolve("000.00.01.G22")
    pending = view.pending_agency("G22.99")
    assert pending is not None
    assert pending.digest == change.digest
    assert [(row.subject, row.code, row.since_ms) for row in view.all_pending()] == [(3, "G22.99", SEEN_MS)]
    assert view.thing(change.digest) == change
    assert view.numbered(ROLE_LEVEL_1, 1, tree.numbers[ROLE_LEVEL_1]) == change.digest


def test_it_comes_into_force_when_the_day_is_over_and_not_before(tree: Tree, here: Here) -> None:
    change = by(tree, moved(tree, aliases=("000.00.01.G22",)))
    here.take([change])
    early = here.due(DUE_MS - 1)
    assert (early.changes, early.ended, early.next_ms) == ((), (), DUE_MS)
    due = here.due(DUE_MS)
    assert [(item.subject, item.code, item.digest, item.in_force) for item in due.ended] == [
        (Subject.AGENCY, "G22.99", change.digest, True)
    ]
    assert due.next_ms is None
    view = here.view
    assert view.host_of("G22.99")[0].code == "00.02.W00"
    assert [record.code for record in view.agencies_hosted_by("00.02.W00")] == ["G12", "G22.99"]
    assert "G22.99" not in [record.code for record in view.agencies_hosted_by("00.01.W00")]
    assert view.resolve("000.00.01.G22").code == "G22.99"
    assert view.all_pending() == []
    assert here.records.scan(DirectoryDue) == []


def test_its_keys_count_for_nothing_made_before_it_came_into_force(tree: Tree, here: Here) -> None:
    here.take([by(tree, moved(tree))])
    here.due(DUE_MS + 3 * HOUR_MS)
    old, new = id_of(tree.centres["00.01.W00"]), id_of(tree.centres["00.02.W00"])
    found = [speakers(here.view, "G22.99", at_ms) for at_ms in (DUE_MS - HOUR_MS, DUE_MS, DUE_MS + HOUR_MS)]
    assert found == [{old, new}, {old, new}, {new}]
    versions = here.view.agency_versions("G22.99")
    assert [version.from_ms for version in versions] == [DUE_MS, 0]


def test_its_date_cannot_shorten_the_day(tree: Tree, here: Here) -> None:
    dated_back = moved(tree, created_ms=tree.agencies["G22.99"].created_ms + 1)
    here.take([by(tree, dated_back)])
    assert here.due(DUE_MS - 1).ended == ()


def test_a_centre_that_changes_its_peer_id_or_keys_waits_as_well(tree: Tree, here: Here) -> None:
    fresh = Centre.make(9, "00.03.W00")
    record = tree.next_centre("00.03.W00", keys=(entry_of(fresh.signer),), peer_id=fresh.peer_id)
    assert here.standing(by(tree, record)) is Standing.PENDING
    assert here.view.centre_of_peer(fresh.peer_id) is None
    assert here.view.pending_centre("00.03.W00") is not None
    assert speakers(here.view, "H38") == {id_of(tree.centres["00.03.W00"])}
    here.due(DUE_MS)
    found = here.view.centre_of_peer(fresh.peer_id)
    assert found is not None
    assert here.view.centre_of_peer(tree.centres["00.03.W00"].peer_id) is None


def test_a_delegation_that_waits_makes_no_registrar(tree: Tree, here: Here) -> None:
    delegation = Delegation(keys=(entry_of(STRANGER),))
    tree.registrars["H38"] = (STRANGER,)
    below = by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38"))
    here.take([by(tree, tree.next_agency("H38", delegation=delegation))])
    assert [item.error.code for item in here.take([below]).rejected] == ["directory_registrar_unknown"]
    here.due(DUE_MS)
    assert here.standing(below, DUE_MS) is Standing.IN_FORCE


def test_more_than_one_step_takes_comes_into_force_in_several(tree: Tree) -> None:
    for number in range(DIRECTORY_DUE_MAX + 1):
        tree.add_agency(f"G30.{number}", "00.01.W00")
    here = Here(tree, known_ms=START_MS + DAY_MS - 2 * HOUR_MS)
    moves = [
        by(tree, tree.next_agency(f"G30.{number}", host="00.02.W00", epoch=2))
        for number in range(DIRECTORY_DUE_MAX + 1)
    ]
    here.take(moves, SEEN_MS)
    first = here.due(DUE_MS)
    assert (len(first.ended), first.next_ms) == (DIRECTORY_DUE_MAX, DUE_MS)
    second = here.due(DUE_MS)
    assert (len(second.ended), second.next_ms) == (1, None)


# --- endorsed and urgent copies -------------------------------------------------------------


def test_a_copy_with_an_endorsement_ends_the_waiting_at_once(tree: Tree, here: Here) -> None:
    record = moved(tree)
    plain, endorsed = by(tree, record), by(tree, record, tree.centres["00.01.W00"].signer)
    assert plain.digest == endorsed.digest
    here.take([plain])
    assert here.standing(endorsed, SEEN_MS + HOUR_MS) is Standing.IN_FORCE
    assert here.view.host_of("G22.99")[0].code == "00.02.W00"
    assert here.view.thing(plain.digest) == endorsed
    assert here.due(DUE_MS).next_ms is None
    assert [version.from_ms for version in here.view.agency_versions("G22.99")] == [0, 0]


def test_an_urgent_copy_ends_the_waiting_at_once(tree: Tree, here: Here) -> None:
    record = moved(tree)
    here.take([by(tree, record)])
    assert here.standing(by(tree, record, *tree.root_signers)) is Standing.IN_FORCE


def test_any_other_copy_of_what_is_pending_changes_nothing(tree: Tree, here: Here) -> None:
    record = moved(tree)
    plain = by(tree, record)
    here.take([plain])
    endorser = tree.centres["00.01.W00"].signer
    junk = Signature(key_id=endorser.public.key_id, signature=b"\x01" * 64, tree_size=1, leaf_index=0, path=())
    rows = tuple(sorted((*plain.signatures, junk), key=lambda item: item.key_id))
    stripped = only_by(tree, record, endorser)
    for copy in (plain, replace(plain, signatures=rows), by(tree, record, STRANGER), stripped):
        result = here.take([copy], SEEN_MS + HOUR_MS)
        assert (result.already, result.changes) == (1, ())
    assert here.due(DUE_MS).ended[0].in_force


def test_an_endorsed_copy_of_an_earlier_one_of_the_row_takes_the_later_ones_with_it(tree: Tree, here: Here) -> None:
    first, second = moved(tree), moved(tree, kind="vụ")
    here.take([by(tree, first)])
    here.take([by(tree, second)])
    assert here.standing(by(tree, first, tree.centres["00.01.W00"].signer)) is Standing.IN_FORCE
    assert here.view.agency("G22.99").kind == "vụ"
    assert here.view.all_pending() == []
    history = here.view.history(Subject.AGENCY, "G22.99")
    assert history is not None
    assert (len(history.versions), history.aside) == (3, ())


# --- rows -----------------------------------------------------------------------------------


def test_a_row_with_the_same_protected_content_waits_once(tree: Tree, here: Here) -> None:
    here.take([by(tree, moved(tree))])
    again = by(tree, moved(tree, kind="vụ", state=RecordState.LOCKED))
    assert here.standing(again, SEEN_MS + 5 * HOUR_MS) is Standing.PENDING
    assert here.due(DUE_MS).ended[0].digest == again.digest


@pytest.mark.parametrize(
    "more",
    [{"keys": (entry_of(STRANGER),)}, {"delegation": Delegation(keys=(entry_of(STRANGER),))}, {"host": "00.03.W00"}],
    ids=["own keys", "delegation", "host"],
)
def test_a_version_that_protects_something_else_waits_a_day_of_its_own(
    tree: Tree, here: Here, more: dict[str, Any]
) -> None:
    """Otherwise a harmless change could wait in place of a harmful one."""
    here.take([by(tree, moved(tree))])
    here.take([by(tree, moved(tree, **more))], SEEN_MS + 5 * HOUR_MS)
    assert here.due(DUE_MS).next_ms == DUE_MS + 5 * HOUR_MS


def test_a_centres_row_is_its_peer_id_and_keys(tree: Tree, here: Here) -> None:
    fresh = Centre.make(9, "00.03.W00")
    first = tree.next_centre("00.03.W00", keys=(entry_of(fresh.signer),))
    here.take([by(tree, first)])
    names = replace(first.names, en="Renamed")
    here.take([by(tree, replace(first, number=tree.next_number(ROLE_LEVEL_1), created_ms=tree.tick(), names=names))])
    assert here.due(SEEN_MS).next_ms == DUE_MS
    here.take([by(tree, tree.next_centre("00.03.W00", peer_id=fresh.peer_id))], SEEN_MS + HOUR_MS)
    assert here.due(SEEN_MS).next_ms == DUE_MS + HOUR_MS


def test_going_back_and_forth_breaks_the_row(tree: Tree, here: Here) -> None:
    here.take([by(tree, moved(tree))])
    here.take([by(tree, tree.next_agency("G22.99"))])
    here.take([by(tree, moved(tree))], SEEN_MS + HOUR_MS)
    assert here.due(DUE_MS).next_ms == DUE_MS + HOUR_MS


def test_what_the_registrar_says_last_replaces_what_is_pending(tree: Tree, here: Here) -> None:
    taken = moved(tree)
    here.take([by(tree, taken)])
    assert here.standing(by(tree, tree.next_agency("G22.99", kind="vụ"))) is Standing.IN_FORCE
    assert here.view.all_pending() == []
    late = here.take([by(tree, taken, tree.centres["00.01.W00"].signer)])
    assert (late.already, late.changes) == (1, ())
    assert here.due(DUE_MS).ended == ()
    assert here.view.host_of("G22.99")[0].code == "00.01.W00"


def test_an_older_version_that_arrives_late_takes_its_place_before_the_pending_one(tree: Tree, here: Here) -> None:
    harmless = by(tree, tree.next_agency("G22.99", kind="vụ"))
    change = by(tree, moved(tree))
    here.take([change])
    assert here.standing(harmless, SEEN_MS + HOUR_MS) is Standing.IN_FORCE
    assert here.view.agency("G22.99").kind == "vụ"
    assert here.due(DUE_MS).ended[0].digest == change.digest


def test_an_older_unendorsed_version_that_arrives_late_is_kept_for_the_log(tree: Tree, here: Here) -> None:
    older, newer = by(tree, moved(tree)), by(tree, moved(tree, host="00.03.W00"))
    here.take([newer])
    assert here.standing(older) is Standing.ASIDE
    assert here.due(DUE_MS).ended[0].digest == newer.digest
    assert here.view.numbered(ROLE_LEVEL_1, 1, tree.numbers[ROLE_LEVEL_1] - 1) == older.digest


def test_an_endorsed_older_version_carries_the_pending_one_only_if_that_follows_from_it(
    tree: Tree, here: Here
) -> None:
    endorser = tree.centres["00.01.W00"].signer
    first = by(tree, moved(tree), endorser)
    second = by(tree, moved(tree, host="00.03.W00", epoch=3))
    here.take([second])
    assert here.standing(first) is Standing.IN_FORCE
    assert here.view.host_of("G22.99")[0].code == "00.02.W00"
    assert here.due(DUE_MS).ended[0].digest == second.digest
    assert here.view.host_of("G22.99")[0].code == "00.03.W00"


def test_a_pending_version_is_not_carried_to_where_nobody_could_endorse_it(tree: Tree, here: Here) -> None:
    """The centre between is not known here yet: nobody can tell what it would say."""
    first = by(tree, moved(tree, host="00.09.W00"), tree.centres["00.01.W00"].signer)
    here.take([by(tree, moved(tree, host="00.03.W00", epoch=3))])
    assert here.standing(first) is Standing.IN_FORCE
    assert here.view.agency("G22.99").host == "00.09.W00"
    assert here.due(DUE_MS).ended[0].in_force


def test_a_pending_version_whose_epoch_no_longer_fits_never_comes_into_force(tree: Tree, here: Here) -> None:
    here.take([by(tree, moved(tree, created_ms=tree.clock_ms + 10 * MINUTE_MS))])
    here.take([by(tree, moved(tree, host="00.03.W00"), tree.centres["00.01.W00"].signer)])
    (ended,) = here.due(DUE_MS).ended
    assert not ended.in_force
    assert here.view.host_of("G22.99")[0].code == "00.03.W00"


# --- what acts at once ----------------------------------------------------------------------


def test_locking_and_closing_act_at_once_and_never_re_route(tree: Tree, here: Here) -> None:
    here.take([by(tree, moved(tree, state=RecordState.LOCKED))])
    assert here.view.state("G22.99") is RecordState.LOCKED
    closing = moved(tree, state=RecordState.CLOSED, successors=("G12",))
    here.take([by(tree, closing)])
    view = here.view
    party = view.party("G22.99", at_ms=SEEN_MS)
    assert party is not None
    assert (party.state, party.successors, party.centre) == ("closed", ("G12",), "00.01.W00")
    assert set(party.signers) == {id_of(tree.centres["00.01.W00"])}
    here.due(DUE_MS)
    assert speakers(here.view, "G22.99", DUE_MS + HOUR_MS) == {id_of(tree.centres["00.02.W00"])}


def test_opening_a_closed_code_again_with_other_keys_waits(tree: Tree) -> None:
    tree.publish(tree.next_agency("G22.99", state=RecordState.CLOSED, successors=("G12",)))
    here = Here(tree)
    here.take([by(tree, moved(tree, state=RecordState.ACTIVE, successors=()))])
    party = here.view.party("G22.99", at_ms=SEEN_MS)
    assert party is not None
    assert (party.state, party.successors) == ("closed", ("G12",))


def test_an_alias_is_free_as_soon_as_a_version_closes_its_agency(tree: Tree) -> None:
    alias = "000.00.01.G22"
    tree.publish(tree.next_agency("G22.99", aliases=(alias,)))
    tree.publish(tree.next_agency("G22", aliases=(alias,)))
    here = Here(tree)
    with expects("agency_ambiguous", RequestError):
        here.view.resolve(alias)
    closing = moved(tree, state=RecordState.CLOSED, aliases=(alias,))
    here.take([by(tree, closing)])
    assert here.view.resolve(alias).code == "G22"
    here.take([by(tree, tree.next_agency("G22.99"))])
    with expects("agency_ambiguous", RequestError):
        here.view.resolve(alias)


def test_closing_a_centre_acts_at_once(tree: Tree, here: Here) -> None:
    fresh = Centre.make(9, "00.03.W00")
    here.take([by(tree, tree.next_centre("00.03.W00", peer_id=fresh.peer_id, state=RecordState.CLOSED))])
    view = here.view
    assert view.centre_of_peer(tree.centres["00.03.W00"].peer_id) is None
    assert [record.code for record in view.peers()] == ["00.01.W00", "00.02.W00"]
    party = view.party("H38", at_ms=SEEN_MS)
    assert party is not None
    assert party.sealing is None


def revoked(entry: KeyEntry) -> KeyEntry:
    return replace(entry, revoked_ms=SEEN_MS)


def test_a_revocation_acts_at_once_also_beside_a_new_key(tree: Tree) -> None:
    own, fresh = Ed25519Signer(key_seed(1, "own")), Centre.make(9, "00.03.W00")
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(own),))
    delegated = tree.delegate("H38").delegation.keys[0]
    here = Here(tree)
    centre = tree.centre_records["00.03.W00"]
    changes: list[AgencyRecord | CentreRecord] = [
        tree.next_agency("G13", keys=(entry_of(STRANGER), revoked(entry_of(own)))),
        tree.next_centre(
            "00.03.W00",
            keys=(entry_of(fresh.signer), revoked(centre.keys[0])),
            sealing=(sealing_entry(fresh.sealing), revoked(centre.sealing[0])),
        ),
        tree.next_agency("H38", delegation=Delegation(keys=(entry_of(STRANGER), revoked(delegated)))),
    ]
    below = by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38"))
    for change in changes:
        assert here.standing(by(tree, change)) is Standing.PENDING
    assert (speakers(here.view, "G13"), speakers(here.view, "H38")) == (set(), set())
    party = here.view.party("H38", at_ms=SEEN_MS)
    assert party is not None
    assert party.sealing is None
    assert [item.error.code for item in here.take([below]).rejected] == ["directory_signer_unknown"]


def test_a_registrar_closed_by_a_pending_version_signs_nothing_new(tree: Tree) -> None:
    tree.delegate("H38")
    here = Here(tree)
    here.take([by(tree, tree.next_agency("H38", host="00.01.W00", epoch=2, state=RecordState.CLOSED))])
    before = tree.new_agency("H38.12", "00.03.W00", registrar="H38")
    after = replace(before, created_ms=tree.clock_ms + CLOCK_SKEW_MS + 1, number=2, code="H38.13")
    result = here.take([by(tree, before), by(tree, after)])
    assert [item.code for item in result.accepted] == ["H38.12"]
    assert [item.error.code for item in result.rejected] == ["directory_registrar_closed"]


def test_self_lock_is_not_ended_by_a_version_that_waits(tree: Tree, here: Here) -> None:
    """Its keys see the alarm and can stop everything until the registrar is set right."""
    here.take([by(tree, moved(tree))])
    here.take([lock(tree, tree.centres["00.01.W00"].signer, tree.tick(), "G22.99")])
    here.take([by(tree, moved(tree, kind="vụ"))])
    assert here.view.state("G22.99") is RecordState.LOCKED


# --- clocks and joining ---------------------------------------------------------------------


def test_a_clock_that_is_not_trusted_begins_and_ends_nothing(tree: Tree, here: Here) -> None:
    change = by(tree, moved(tree))
    here.take([change], SEEN_MS - 20 * HOUR_MS, clock_trusted=False)
    assert here.due(DUE_MS, clock_trusted=False).next_ms is None
    begun = here.due(SEEN_MS)
    assert (begun.ended, begun.next_ms) == ((), DUE_MS)
    wrong = here.due(DUE_MS + DAY_MS, clock_trusted=False)
    assert (wrong.changes, wrong.next_ms) == ((), None)
    assert here.due(DUE_MS).ended[0].in_force


def test_a_node_that_was_stopped_or_cut_off_brings_nothing_into_force_before_it_has_heard(
    tree: Tree, here: Here
) -> None:
    """Its peers may know for long that the registrar took it back."""
    here.take([by(tree, moved(tree))])
    for heard_ms in (SEEN_MS, DUE_MS - 1):
        due = here.due(DUE_MS + DAY_MS, heard_ms=heard_ms)
        assert (due.changes, due.ended, due.next_ms) == ((), (), None)
    assert here.due(DUE_MS - 1, heard_ms=SEEN_MS).next_ms == DUE_MS
    assert here.due(DUE_MS + DAY_MS, heard_ms=DUE_MS).ended[0].in_force


def test_a_node_that_joins_arrives_where_the_others_are(tree: Tree) -> None:
    """What they have waited for is in force, what they wait for is pending, and for as long."""
    here = Here(tree, known_ms=SEEN_MS)
    waited = by(tree, moved(tree, created_ms=SEEN_MS + HOUR_MS - 1 - PENDING_MS))
    waits = by(tree, tree.next_agency("G12", host="00.01.W00", epoch=2, created_ms=SEEN_MS - 2 * HOUR_MS))
    assert here.standing(waits, SEEN_MS + 1) is Standing.PENDING
    assert here.standing(waited, SEEN_MS + HOUR_MS - 1) is Standing.IN_FORCE
    assert here.due(SEEN_MS + HOUR_MS).next_ms == DUE_MS - 2 * HOUR_MS


def test_a_mistake_of_the_first_hour_is_set_right_at_once(tree: Tree) -> None:
    here = Here(tree, known_ms=SEEN_MS)
    tree.clock_ms = SEEN_MS
    here.take([by(tree, tree.add_agency("G13", "00.01.W00"))], SEEN_MS + 2 * MINUTE_MS)
    right = by(tree, tree.next_agency("G13", host="00.02.W00", epoch=2))
    assert here.standing(right, SEEN_MS + 10 * MINUTE_MS) is Standing.IN_FORCE


@pytest.mark.parametrize("now_ms", [SEEN_MS + HOUR_MS, SEEN_MS - 1], ids=["an hour later", "the clock went back"])
def test_a_code_that_is_known_for_an_hour_is_not_joined_any_more(tree: Tree, now_ms: int) -> None:
    here = Here(tree, known_ms=SEEN_MS)
    assert here.standing(by(tree, moved(tree)), now_ms) is Standing.PENDING


def test_no_code_is_new_by_a_clock_that_is_not_trusted(tree: Tree) -> None:
    here = Here(tree, known_ms=SEEN_MS)
    (accepted,) = here.take([by(tree, moved(tree))], SEEN_MS + 1, clock_trusted=False).accepted
    assert accepted.standing is Standing.PENDING
    again = here.take([by(tree, moved(tree, kind="vụ"))], SEEN_MS + 2).accepted[0]
    assert again.standing is Standing.IN_FORCE
    assert here.view.all_pending() == []


def test_a_node_that_joins_places_late_versions_in_the_past(tree: Tree) -> None:
    middle = by(tree, moved(tree))
    last = by(tree, tree.next_agency("G22.99", host="00.03.W00", epoch=3))
    here = Here(tree, known_ms=SEEN_MS + HOUR_MS)
    assert here.standing(last, SEEN_MS + HOUR_MS) is Standing.IN_FORCE
    assert here.standing(middle, SEEN_MS + HOUR_MS) is Standing.SUPERSEDED
    versions = here.view.agency_versions("G22.99")
    assert [version.value.host for version in versions] == ["00.03.W00", "00.02.W00", "00.01.W00"]


# --- what the day is for --------------------------------------------------------------------


def take_over(tree: Tree) -> Signed:
    """By whoever stole the registrar's key."""
    return by(tree, tree.next_agency("H38.12", host="00.01.W00", epoch=2))


def below_h38(tree: Tree) -> AgencyRecord:
    record = tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    return record


@pytest.mark.parametrize("how", ["cut off", "key revoked", "new generation", "forked"])
def test_a_silent_takeover_ends_when_its_registrar_is_stopped(tree: Tree, how: str) -> None:
    delegation = below_h38(tree).delegation
    here = Here(tree)
    stolen = take_over(tree)
    assert here.standing(stolen) is Standing.PENDING
    fresh = entry_of(Ed25519Signer(key_seed(1, "fresh")))
    new = {
        "cut off": Delegation(),
        "key revoked": replace(delegation, keys=(revoked(delegation.keys[0]), fresh)),
        "new generation": replace(delegation, generation=2),
        "forked": delegation,
    }[how]
    host = tree.centres["00.03.W00"].signer
    here.take([by(tree, tree.next_agency("H38", delegation=new), host)], SEEN_MS + HOUR_MS)
    if how == "forked":
        here.take([by(tree, replace(tree.agencies["H38.12"], kind="khác"))])
    due = here.due(DUE_MS)
    assert [(item.code, item.in_force) for item in due.ended] == [("H38.12", False)]
    assert here.view.host_of("H38.12")[0].code == "00.03.W00"
    assert here.view.all_pending() == []
    history = here.view.history(Subject.AGENCY, "H38.12")
    assert history is not None
    assert [item.digest for item in history.aside] == [stolen.digest]


def test_a_pending_version_of_a_stopped_registrar_is_not_carried_along(tree: Tree) -> None:
    delegation = below_h38(tree).delegation
    here = Here(tree)
    earlier = tree.next_agency("H38.12", registrar=ROLE_LEVEL_1, kind="xã")
    stolen = by(tree, tree.next_agency("H38.12", keys=(entry_of(STRANGER),)))
    here.take([stolen])
    cut = tree.next_agency("H38", delegation=replace(delegation, generation=2))
    here.take([by(tree, cut)])
    endorser = tree.centres["00.03.W00"].signer
    given = replace(earlier, keys=(entry_of(STRANGER),))
    assert here.standing(by(tree, given, endorser)) is Standing.IN_FORCE
    assert here.view.agency("H38.12").kind == "xã"
    assert not here.due(DUE_MS).ended[0].in_force


def test_silent_takeover_by_a_version_dated_back(tree: Tree) -> None:
    """Between two known versions, or before the first: neither lends its keys a past."""
    first = tree.agencies["G12"]
    tree.publish(tree.next_agency("G12", kind="bộ", created_ms=START_MS + 12 * HOUR_MS))
    tree.clock_ms = START_MS + 12 * HOUR_MS
    here = Here(tree, known_ms=START_MS + 12 * HOUR_MS)
    for created_ms in (START_MS + 6 * HOUR_MS, first.created_ms - 1):
        forged = tree.next_agency("G12", keys=(entry_of(STRANGER),), created_ms=created_ms)
        assert here.standing(by(tree, forged)) is Standing.ASIDE
        assert STRANGER.public.key_id not in speakers(here.view, "G12", created_ms)


def test_a_late_version_that_was_endorsed_counts_for_its_time(tree: Tree) -> None:
    own, host = Ed25519Signer(key_seed(1, "own")), tree.centres["00.02.W00"].signer
    late = by(tree, tree.next_agency("G12", keys=(entry_of(own),), created_ms=START_MS + 6 * HOUR_MS), host)
    tree.publish(tree.next_agency("G12", created_ms=START_MS + 12 * HOUR_MS), host)
    here = Here(tree, known_ms=START_MS + 13 * HOUR_MS)
    assert here.standing(late) is Standing.SUPERSEDED
    assert speakers(here.view, "G12", START_MS + 8 * HOUR_MS) == {own.public.key_id, host.public.key_id}
    assert speakers(here.view, "G12", START_MS + 18 * HOUR_MS) == {host.public.key_id}


def test_a_late_version_whose_endorser_is_unknown_or_revoked_is_kept_for_the_log(tree: Tree) -> None:
    own = Ed25519Signer(key_seed(1, "own"))
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(own),))
    tree.add_agency("G14", "00.09.W00")
    at_ms = START_MS + 6 * HOUR_MS
    late = [
        by(tree, tree.next_agency("G13", keys=(entry_of(own), entry_of(STRANGER)), created_ms=at_ms), own),
        by(tree, tree.next_agency("G14", keys=(entry_of(own),), created_ms=at_ms), *tree.level_1_signers),
        by(tree, tree.next_agency("G22.99", host="00.02.W00", created_ms=at_ms), tree.centres["00.01.W00"].signer),
    ]
    tree.clock_ms = START_MS + 12 * HOUR_MS
    tree.publish(tree.next_agency("G13", keys=(revoked(entry_of(own)),)))
    tree.publish(tree.next_agency("G14"))
    tree.publish(tree.next_agency("G22.99"))
    here = Here(tree, known_ms=START_MS + 13 * HOUR_MS)
    assert [here.standing(signed) for signed in late] == [Standing.ASIDE] * 3


# --- whatever the order ---------------------------------------------------------------------


def story(tree: Tree) -> list[Signed]:
    """Versions of one agency: harmless, endorsed, unendorsed, by two registrars, with equal dates."""
    old, new = tree.centres["00.01.W00"].signer, tree.centres["00.02.W00"].signer
    made = [
        by(tree, tree.next_agency("G22.99", kind="1")),
        by(tree, moved(tree, kind="2")),
        by(tree, tree.next_agency("G22.99", kind="3", registrar="root")),
        by(tree, moved(tree, kind="4"), old),
        by(tree, moved(tree, kind="5", keys=(entry_of(STRANGER),))),
        by(tree, moved(tree, kind="6", keys=(entry_of(STRANGER),)), new),
        by(tree, moved(tree, kind="7", host="00.03.W00", epoch=3, keys=(entry_of(STRANGER),))),
    ]
    made.append(by(tree, moved(tree, kind="8", epoch=3, host="00.03.W00", created_ms=tree.clock_ms)))
    return made


@settings(max_examples=60)
@given(st.permutations(range(8)), st.lists(st.integers(0, 30 * HOUR_MS), min_size=8, max_size=8))
def test_in_the_end_the_newest_version_is_in_force_in_whatever_order_they_arrive(
    order: list[int], pauses: list[int]
) -> None:
    tree = Tree.make()
    here = Here(tree)
    things = story(tree)
    now_ms = SEEN_MS
    for index, pause_ms in zip(order, pauses, strict=True):
        assert not here.take([things[index]], now_ms).rejected
        now_ms += pause_ms
        here.due(now_ms)
    here.due(now_ms + PENDING_MS)
    view = here.view
    assert view.agency("G22.99").kind == "8"
    assert view.all_pending() == []
    assert here.records.scan(DirectoryDue) == []
    history = view.history(Subject.AGENCY, "G22.99")
    assert history is not None
    digests = [item.digest for item in (*history.versions, *history.aside)]
    assert len(digests) == len(set(digests)) == 9
    places = [order_of(version) for version in view.agency_versions("G22.99")]
    assert places == sorted(places, reverse=True)
    assert [record.code for record in view.agencies_hosted_by("00.03.W00")] == ["G22.99", "H38"]


@settings(max_examples=20)
@given(st.permutations(range(8)), st.booleans())
def test_a_heap_gives_the_same_in_every_order(order: list[int], joining: bool) -> None:
    results = []
    for indexes in (range(8), order):
        tree = Tree.make()
        here = Here(tree, known_ms=SEEN_MS if joining else START_MS + HOUR_MS)
        things = story(tree)
        here.take([things[index] for index in indexes])
        results.append(here.records.changes)
    assert results[0] == results[1]


def test_things_taken_in_as_of_their_dates_have_waited_by_then(tree: Tree) -> None:
    record = moved(tree, created_ms=START_MS + 2 * HOUR_MS)
    things = [signed.to_wire() for signed in (*tree.signed, by(tree, record))]
    found = []
    for as_of_ms in (record.created_ms + PENDING_MS - 1, record.created_ms + PENDING_MS):
        records = Staged()
        result = import_things(
            things,
            records,
            anchor=tree.anchor,
            verifier=Verifier(),
            now_ms=START_MS + 5 * DAY_MS,
            cache=RecordCache(),
            terms=Terms(as_of_ms=as_of_ms),
        )
        records.stage(result.changes)
        found.append((DirectoryView(records).agency("G22.99").host, len(result.pending), len(result.ended)))
    assert found == [("00.01.W00", 1, 0), ("00.02.W00", 0, 1)]


def test_the_day_runs_from_the_date_in_later_things_too(tree: Tree) -> None:
    """What is dated after the day finds the pending version in force."""
    record = moved(tree, created_ms=START_MS + 2 * HOUR_MS)
    change = by(tree, record)
    tree.agencies["G22.99"] = record
    after = by(tree, tree.next_agency("G22.99", kind="vụ", created_ms=record.created_ms + PENDING_MS))
    result = import_things(
        [signed.to_wire() for signed in (*tree.signed, change, after)],
        Staged(),
        anchor=tree.anchor,
        verifier=Verifier(),
        now_ms=START_MS + 5 * DAY_MS,
        cache=RecordCache(),
        terms=Terms(as_of_ms=START_MS + 5 * DAY_MS),
    )
    assert [item.standing for item in result.accepted][-2:] == [Standing.PENDING, Standing.IN_FORCE]


# --- what it costs --------------------------------------------------------------------------


def test_a_first_record_of_an_agency_elsewhere_costs_three_writes(tree: Tree, here: Here) -> None:
    foreign, own = tree.new_agency("G31", "00.02.W00"), tree.new_agency("G32", "00.01.W00")
    writes = []
    for record in (foreign, own):
        result = import_things(
            [by(tree, record).to_wire()],
            here.records,
            anchor=tree.anchor,
            verifier=Verifier(),
            now_ms=SEEN_MS,
            cache=here.cache,
            terms=Terms(own_centre="00.01.W00"),
        )
        writes.append(len(result.changes))
    assert writes == [3, 4]


def test_a_history_remembers_when_the_code_was_first_seen(tree: Tree, here: Here) -> None:
    here.take([by(tree, tree.next_agency("G12", kind="bộ"))])
    history = here.records.get(DirectoryHistory, int(Subject.AGENCY), "G12")
    assert history is not None
    assert history.since_ms == START_MS + HOUR_MS


def test_what_a_registrar_may_not_say_is_refused_and_fills_its_place_in_the_log(tree: Tree, here: Here) -> None:
    bad = [
        by(tree, tree.next_agency("G12", aliases=("H99",))),
        by(tree, tree.next_agency("G22.99", host="00.02.W00"), tree.centres["00.01.W00"].signer),
        by(tree, tree.new_agency("G33", "00.01.W00", aliases=("H99",))),
    ]
    result = here.take(bad)
    assert sorted(item.error.code for item in result.rejected) == [
        "directory_alias", "directory_alias", "directory_epoch",
    ]  # fmt: skip
    last = tree.numbers[ROLE_LEVEL_1]
    assert [here.view.numbered(ROLE_LEVEL_1, 1, number) for number in range(last - 2, last + 1)] == [
        signed.digest for signed in bad
    ]
    assert here.view.agency("G12").aliases == ()
    assert here.view.find_agency("G33") is None
    assert here.take(bad).already == 3
    good = here.standing(by(tree, tree.new_agency("G33", "00.01.W00")))
    assert good is Standing.IN_FORCE
