"""The attacks of the trust tree by name, and what an honest registrar may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.court import Accepted, Court, Standing
from protocol.directory import (
    AGENCY,
    CENTRE,
    LOCK,
    NODE,
    ROLE_LEVEL_1,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Delegation,
    Lock,
    NodeRecord,
    RecordState,
    Role,
    Root,
)
from protocol.directory_import import import_things
from protocol.directory_kinds import Subject
from protocol.directory_view import DirectoryView, RecordCache
from protocol.entitlement import Purpose
from protocol.errors import FormatError, NotNow, TrustError
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, SIGNED_AGE_MAX_MS
from protocol.signing import Ed25519Signer, Signature, Signed, Verifier, countersign, sign, sign_batch
from protocol.staged import Staged
from protocol.trust import accept_root, judge, judge_statement
from tests.support.errors import expects
from tests.support.tree import START_MS, TREE_READY_MS, Centre, Tree, entry_of, key_seed, sealing_entry

STRANGER = Ed25519Signer(b"\x77" * 32)


def court(tree: Tree, now_ms: int = TREE_READY_MS, *, records: Staged | None = None) -> Court:
    """A node that has known everything in the tree for long."""
    view = DirectoryView(records if records is not None else tree.records(now_ms))
    return Court(lookup=view, verifier=Verifier(), now_ms=now_ms, anchor=tree.anchor, joining_ms=0)


def by(tree: Tree, record: AgencyRecord | CentreRecord, *signers: Ed25519Signer) -> Signed:
    """The record signed by its registrar and these, not published."""
    form: Any = AGENCY if isinstance(record, AgencyRecord) else CENTRE
    return tree.sign(form, record, (*tree.registrars[record.registrar], *signers))


def is_pending(tree: Tree, record: AgencyRecord | CentreRecord, *signers: Ed25519Signer) -> bool:
    return judge(by(tree, record, *signers), court(tree)).standing is Standing.PENDING


def is_in_force(tree: Tree, record: AgencyRecord | CentreRecord, *signers: Ed25519Signer) -> bool:
    return judge(by(tree, record, *signers), court(tree)).standing is Standing.IN_FORCE


def only_by(tree: Tree, record: AgencyRecord | CentreRecord, *signers: Ed25519Signer) -> Signed:
    form: Any = AGENCY if isinstance(record, AgencyRecord) else CENTRE
    return tree.sign(form, record, signers)


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


# --- root -----------------------------------------------------------------------------------


def next_root(tree: Tree, **changes: Any) -> Root:
    return replace(tree.root(version=2, created_ms=tree.tick()), **changes)


def test_the_first_root_is_the_one_whose_digest_the_operator_configured() -> None:
    tree = Tree.bare()
    accepted = accept_root(tree.signed[0], court(tree, records=Staged()))
    assert accepted.subject is Subject.ROOT
    assert accepted.signers == (tree.root_signers[0].public.key_id,)


def test_another_root_than_the_anchor_starts_nothing() -> None:
    tree, other = Tree.bare(1), Tree.bare(2)
    with expects("directory_anchor", TrustError):
        accept_root(other.signed[0], court(tree, records=Staged()))


def test_the_next_root_is_signed_by_the_thresholds_of_both_versions() -> None:
    tree = Tree.bare()
    fresh = Ed25519Signer(key_seed(1, "fresh root"))
    root = next_root(tree)
    root = replace(
        root,
        keys=(*root.keys, entry_of(fresh)),
        roles=(root.role(ROLE_LEVEL_1), Role(name=ROLE_ROOT, keys=(fresh.public.key_id,), threshold=1)),
    )
    both = tree.sign(ROOT, root, (tree.root_signers[0], fresh))
    assert len(judge(both, court(tree)).signers) == 2
    with expects("directory_signer_unknown", NotNow):
        judge(tree.sign(ROOT, root, (fresh,)), court(tree))
    with expects("directory_signer_unknown", NotNow):
        judge(tree.sign(ROOT, root, (tree.root_signers[0],)), court(tree))


def test_threshold_not_met_by_one_of_two_root_keys() -> None:
    tree = Tree.bare(root_keys=3, root_threshold=2)
    root = next_root(tree)
    root = replace(root, roles=(root.role(ROLE_LEVEL_1), replace(root.role(ROLE_ROOT), threshold=2)))
    with expects("directory_threshold", TrustError):
        judge(tree.sign(ROOT, root, tree.root_signers[:1]), court(tree))
    judge(tree.sign(ROOT, root, tree.root_signers[1:]), court(tree))


@pytest.mark.parametrize("signing", ["only the old threshold", "only the new threshold"])
def test_an_interrupted_rotation_changes_nothing_and_can_be_completed_later(signing: str) -> None:
    """v to v+1 with other keys: each half is refused, both together are believed, under the same digest."""
    tree = Tree.bare(root_keys=2, root_threshold=2)
    fresh = tuple(Ed25519Signer(key_seed(1, f"fresh root {n}")) for n in range(3))
    root = next_root(tree)
    ids = tuple(signer.public.key_id for signer in fresh)
    role = Role(name=ROLE_ROOT, keys=ids, threshold=2)
    root = replace(root, keys=(*root.keys, *map(entry_of, fresh)), roles=(root.role(ROLE_LEVEL_1), role))
    halves = (tree.root_signers, fresh[:2]) if signing == "only the old threshold" else (fresh[:2], tree.root_signers)
    records = tree.records()
    half = tree.sign(ROOT, root, halves[0])
    taken = import_things(
        [half.to_wire()], records, anchor=tree.anchor, verifier=Verifier(), now_ms=TREE_READY_MS, cache=RecordCache()
    )
    assert taken.changes == ()
    assert [item.error.code for item in taken.rejected] == ["directory_signer_unknown"]
    one_more = countersign(half, halves[1][0])
    with expects("directory_threshold", TrustError):
        judge(one_more, court(tree, records=records))
    whole = countersign(one_more, halves[1][1])
    assert whole.digest == half.digest
    accepted = judge(whole, court(tree, records=records))
    assert set(accepted.signers) == {signer.public.key_id for signer in (*tree.root_signers, *fresh[:2])}


def test_a_root_version_between_that_is_missing_is_waited_for() -> None:
    tree = Tree.bare()
    with expects("directory_root_gap", NotNow):
        judge(tree.sign(ROOT, next_root(tree, version=3), tree.root_signers), court(tree))


def test_roll_back_of_the_root() -> None:
    tree = Tree.bare()
    tree.signed.append(tree.sign(ROOT, next_root(tree), tree.root_signers))
    old = replace(tree.root(), name="khác")
    with expects("directory_rollback", TrustError):
        judge(tree.sign(ROOT, old, tree.root_signers), court(tree))
    assert judge(tree.signed[0], court(tree)).already


def test_fork_of_the_root_is_told_only_when_the_threshold_really_signed_it() -> None:
    tree = Tree.bare()
    other = replace(tree.root(), name="khác")
    with expects("directory_fork", TrustError):
        judge(tree.sign(ROOT, other, tree.root_signers), court(tree))
    with expects("directory_signer_unknown", NotNow):
        judge(tree.sign(ROOT, other, (STRANGER,)), court(tree))
    foreign = Tree.bare(2)
    with expects("directory_signer_unknown", NotNow):
        judge(foreign.signed[0], court(tree))


def test_fork_of_a_later_root_is_proved_by_the_keys_of_the_version_before() -> None:
    tree = Tree.bare()
    tree.signed.append(tree.sign(ROOT, next_root(tree), tree.root_signers))
    second = next_root(tree, name="khác")
    with expects("directory_fork", TrustError):
        judge(tree.sign(ROOT, second, tree.root_signers), court(tree))


def test_a_root_older_than_the_anchor_is_no_news() -> None:
    tree = Tree.bare()
    anchored = tree.sign(ROOT, replace(tree.root(), version=5), tree.root_signers)
    first, tree.signed = tree.signed[0], [anchored]
    with expects("directory_rollback", TrustError):
        judge(first, court(tree))


def test_a_root_dated_before_the_one_it_replaces_is_refused() -> None:
    tree = Tree.bare()
    root = tree.root(version=2, created_ms=START_MS)
    with expects("directory_order", TrustError):
        judge(tree.sign(ROOT, root, tree.root_signers), court(tree))


def test_an_interrupted_rotation_can_be_completed_later() -> None:
    tree = Tree.bare(root_keys=2, root_threshold=2)
    root = next_root(tree)
    root = replace(root, roles=(root.role(ROLE_LEVEL_1), replace(root.role(ROLE_ROOT), threshold=2)))
    half = tree.sign(ROOT, root, tree.root_signers[:1])
    with expects("directory_threshold", TrustError):
        judge(half, court(tree))
    whole = countersign(half, tree.root_signers[1])
    assert not judge(whole, court(tree)).already


# --- who may sign ---------------------------------------------------------------------------


def test_arbitrary_content_signed_by_a_stranger(tree: Tree) -> None:
    record = tree.next_agency("G12", state=RecordState.CLOSED)
    with expects("directory_signer_unknown", NotNow):
        judge(only_by(tree, record, STRANGER), court(tree))


def test_arbitrary_content_under_a_forged_signature(tree: Tree) -> None:
    signed = by(tree, tree.next_agency("G12", state=RecordState.CLOSED))
    forged = replace(signed, signatures=(replace(signed.signatures[0], signature=b"\x01" * 64),))
    with expects("signature_invalid", TrustError):
        judge(forged, court(tree))


def test_a_junk_signature_beside_a_good_one_does_no_harm(tree: Tree) -> None:
    signed = by(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    junk = Signature(
        key_id=tree.root_signers[0].public.key_id, signature=b"\x01" * 64, tree_size=1, leaf_index=0, path=()
    )
    rows = tuple(sorted((*signed.signatures, junk), key=lambda item: item.key_id))
    judge(replace(signed, signatures=rows), court(tree))


def test_threshold_not_met_by_the_level_1_role() -> None:
    tree = Tree.bare(level_1_threshold=2)
    tree.centres["00.01.W00"] = Centre.make(1, "00.01.W00")
    record = tree.new_agency("G22", "00.01.W00")
    with expects("directory_threshold", TrustError):
        judge(only_by(tree, record, tree.level_1_signers[0]), court(tree))
    judge(by(tree, record), court(tree))


def test_one_key_signing_twice_is_one_signature() -> None:
    tree = Tree.bare(level_1_threshold=2)
    record = tree.new_agency("G22", "00.01.W00")
    signed = only_by(tree, record, tree.level_1_signers[0], tree.level_1_signers[0])
    with expects("directory_threshold", TrustError):
        judge(signed, court(tree))


def test_wrong_delegation_signs_for_another_part_of_the_tree(tree: Tree) -> None:
    tree.delegate("H38")
    stolen = tree.new_agency("G12.18", "00.02.W00", registrar="H38")
    with expects("directory_not_entitled", TrustError):
        judge(by(tree, stolen), court(tree))
    own = tree.next_agency("H38", registrar="H38", kind="khác")
    with expects("directory_not_entitled", TrustError):
        judge(by(tree, own), court(tree))


def test_a_registrar_signs_for_what_lies_below_its_code_at_any_depth(tree: Tree) -> None:
    tree.delegate("H38")
    judge(by(tree, tree.new_agency("H38.12.5", "00.03.W00", registrar="H38")), court(tree))
    judge(by(tree, tree.new_agency("000.00.12.H38", "00.03.W00", registrar="H38", parent="H38")), court(tree))


def test_component_prefix_confusion_between_H38_1_and_H38_12(tree: Tree) -> None:
    tree.add_agency("H38.1", "00.03.W00")
    tree.delegate("H38.1")
    with expects("directory_not_entitled", TrustError):
        judge(by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38.1")), court(tree))
    judge(by(tree, tree.new_agency("H38.1.2", "00.03.W00", registrar="H38.1")), court(tree))


def test_a_delegation_may_be_narrowed_to_parts(tree: Tree) -> None:
    tree.delegate("H38", "H38.12")
    judge(by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38")), court(tree))
    judge(by(tree, tree.new_agency("H38.12.7", "00.03.W00", registrar="H38")), court(tree))
    with expects("directory_not_entitled", TrustError):
        judge(by(tree, tree.new_agency("H38.13", "00.03.W00", registrar="H38")), court(tree))


def test_a_registrar_delegates_further(tree: Tree) -> None:
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    tree.delegate("H38.12")
    tree.add_agency("H38.12.1", "00.03.W00", registrar="H38.12")
    tree.delegate("H38.12.1")
    judge(by(tree, tree.new_agency("H38.12.1.9", "00.03.W00", registrar="H38.12.1")), court(tree))


def test_an_agency_without_delegation_is_no_registrar_yet(tree: Tree) -> None:
    tree.registrars["H38"] = (STRANGER,)
    with expects("directory_registrar_unknown", NotNow):
        judge(by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38")), court(tree))


def test_without_a_root_nobody_is_a_registrar(tree: Tree) -> None:
    with expects("directory_no_root", NotNow):
        judge(by(tree, tree.next_agency("G12")), court(tree, records=Staged()))


def test_a_closed_registrar_signs_nothing_new_but_what_it_signed_before_counts(tree: Tree) -> None:
    tree.delegate("H38")
    before = by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38"))
    tree.clock_ms += DAY_MS
    tree.publish(tree.next_agency("H38", state=RecordState.CLOSED))
    tree.clock_ms += DAY_MS
    after = by(tree, tree.new_agency("H38.13", "00.03.W00", registrar="H38"))
    here = court(tree, START_MS + 10 * DAY_MS)
    judge(before, here)
    with expects("directory_registrar_closed", TrustError):
        judge(after, here)


def test_a_delegated_registrar_registers_no_centre(tree: Tree) -> None:
    tree.delegate("H38")
    with expects("directory_not_entitled", TrustError):
        judge(by(tree, tree.next_centre("00.03.W00", registrar="H38")), court(tree))


def test_the_root_role_signs_anything(tree: Tree) -> None:
    judge(by(tree, tree.next_agency("G22.99", registrar=ROLE_ROOT, kind="vụ")), court(tree))
    judge(by(tree, tree.next_centre("00.03.W00", registrar=ROLE_ROOT)), court(tree))


def test_expired_keys_of_a_registrar_sign_nothing(tree: Tree) -> None:
    signer = Ed25519Signer(key_seed(1, "short"))
    tree.registrars["H38"] = (signer,)
    delegation = Delegation(keys=(entry_of(signer, until_ms=START_MS + DAY_MS),))
    tree.publish(tree.next_agency("H38", delegation=delegation), tree.centres["00.03.W00"].signer)
    judge(by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38")), court(tree))
    tree.clock_ms += DAY_MS
    late = by(tree, tree.new_agency("H38.13", "00.03.W00", registrar="H38"))
    with expects("directory_signer_unknown", NotNow):
        judge(late, court(tree, START_MS + 5 * DAY_MS))


def test_a_revoked_registrar_key_counts_for_nothing_new_whatever_the_date(tree: Tree) -> None:
    record = tree.delegate("H38")
    backdated = by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38"))
    fresh = Ed25519Signer(key_seed(1, "fresh"))
    revoked = replace(record.delegation.keys[0], revoked_ms=tree.clock_ms)
    tree.publish(
        tree.next_agency("H38", delegation=Delegation(keys=(entry_of(fresh), revoked))),
        tree.centres["00.03.W00"].signer,
    )
    with expects("directory_signer_unknown", NotNow):
        judge(backdated, court(tree))


def test_cutting_off_a_registrar_needs_no_endorsement(tree: Tree) -> None:
    tree.delegate("H38")
    tree.publish(tree.next_agency("H38", delegation=Delegation()))
    with expects("directory_registrar_unknown", NotNow):
        judge(by(tree, tree.new_agency("H38.12", "00.03.W00", registrar="H38")), court(tree))


def test_a_generation_that_is_not_open_is_refused(tree: Tree) -> None:
    with expects("directory_generation", TrustError):
        judge(by(tree, tree.next_agency("G12", generation=2)), court(tree))


@pytest.mark.parametrize("content", ["the same", "more"])
def test_a_new_generation_supersedes_quietly_what_it_only_signs_again(tree: Tree, content: str) -> None:
    """The registrar lost its folder: its parent opens a generation, it signs everything anew from number 1."""
    delegation = tree.delegate("H38").delegation
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    fresh = Ed25519Signer(key_seed(1, "fresh registrar"))
    opened = replace(delegation, keys=(*delegation.keys, entry_of(fresh)), generation=2)
    tree.publish(tree.next_agency("H38", delegation=opened), tree.centres["00.03.W00"].signer)
    tree.registrars["H38"] = (fresh,)
    again = replace(tree.agencies["H38.12"], generation=2, number=1, created_ms=tree.tick())
    again = again if content == "the same" else replace(again, kind="xã")
    accepted = judge(by(tree, again), court(tree))
    assert (accepted.standing, accepted.quiet) == (Standing.IN_FORCE, content == "the same")
    with expects("directory_generation", TrustError):
        judge(by(tree, tree.next_agency("H38.12", generation=1)), court(tree))


def compromise(tree: Tree, since_ms: int) -> None:
    """H38's registrar key was stolen at some time; it is revoked, and replaced."""
    entry = tree.agencies["H38"].delegation.keys[0]
    stolen = replace(entry, revoked_ms=max(since_ms, tree.clock_ms), compromised_ms=since_ms)
    fresh = entry_of(Ed25519Signer(key_seed(1, "fresh")))
    tree.publish(tree.next_agency("H38", delegation=Delegation(keys=(fresh, stolen))), tree.centres["00.03.W00"].signer)


def test_what_a_registrar_key_signed_since_it_was_compromised_is_not_believed(tree: Tree) -> None:
    tree.delegate("H38")
    before, since = (by(tree, tree.new_agency(code, "00.03.W00", registrar="H38")) for code in ("H38.1", "H38.2"))
    compromise(tree, tree.clock_ms)
    with expects("directory_key_compromised", TrustError):
        judge(since, court(tree))
    with expects("directory_signer_unknown", NotNow):
        judge(before, court(tree))
    with expects("directory_signer_unknown", NotNow):
        forged = replace(since, signatures=(replace(since.signatures[0], signature=b"\x01" * 64),))
        judge(forged, court(tree))


def test_what_a_compromised_key_signed_and_was_accepted_stays_known(tree: Tree) -> None:
    tree.delegate("H38")
    tree.add_agency("H38.2", "00.03.W00", registrar="H38")
    signed = tree.signed[-1]
    compromise(tree, tree.clock_ms)
    assert judge(signed, court(tree)).already
    assert tree.view().agency("H38.2").host == "00.03.W00"


def test_a_compromised_key_of_the_root_signs_nothing_for_the_role() -> None:
    tree = Tree.bare(root_keys=2)
    root = next_root(tree)
    since_ms = tree.clock_ms
    entries = tuple(
        replace(entry, revoked_ms=since_ms, compromised_ms=since_ms)
        if entry.key_id == tree.root_signers[0].public.key_id
        else entry
        for entry in root.keys
    )
    tree.signed.append(tree.sign(ROOT, replace(root, keys=entries), tree.root_signers[1:]))
    tree.registrars[ROLE_ROOT] = tree.root_signers[:1]
    tree.tick()
    record = tree.new_agency("G22", "00.01.W00", registrar=ROLE_ROOT)
    with expects("directory_key_compromised", TrustError):
        judge(by(tree, record), court(tree))
    judge(only_by(tree, record, tree.root_signers[1]), court(tree))


# --- numbers and dates ----------------------------------------------------------------------


def test_future_dates_are_not_judged_yet(tree: Tree) -> None:
    tree.clock_ms = TREE_READY_MS + CLOCK_SKEW_MS
    record = tree.next_agency("G12", state=RecordState.LOCKED)
    with expects("directory_future", NotNow):
        judge(by(tree, record), court(tree))
    judge(by(tree, replace(record, created_ms=TREE_READY_MS + CLOCK_SKEW_MS)), court(tree))


def test_roll_back_to_an_older_number(tree: Tree) -> None:
    """It takes its place in the log and in the past, and replaces nothing."""
    before = replace(tree.agencies["G12"], kind="cũ", number=100, created_ms=tree.tick())
    tree.numbers[ROLE_LEVEL_1] = 200
    tree.publish(tree.next_agency("G12", state=RecordState.LOCKED))
    assert judge(by(tree, before), court(tree)).standing is Standing.SUPERSEDED


def test_what_was_accepted_once_is_known_whoever_signs_it_again(tree: Tree) -> None:
    first = tree.signed[-1]
    tree.publish(tree.next_agency("H38", state=RecordState.LOCKED))
    accepted = judge(first, court(tree))
    assert accepted.already
    assert accepted.signers == ()


def test_fork_two_things_under_one_number(tree: Tree) -> None:
    other = replace(tree.agencies["H38"], kind="khác", created_ms=tree.tick())
    with expects("directory_fork", TrustError):
        judge(by(tree, other), court(tree))
    elsewhere = replace(tree.new_agency("H39", "00.03.W00"), number=tree.agencies["H38"].number)
    with expects("directory_fork", TrustError):
        judge(by(tree, elsewhere), court(tree))


def test_only_the_registrar_itself_can_prove_its_fork(tree: Tree) -> None:
    other = replace(tree.agencies["H38"], kind="khác")
    with expects("directory_signer_unknown", NotNow):
        judge(only_by(tree, other, STRANGER), court(tree))


def test_after_a_fork_nothing_new_of_that_generation_is_believed(tree: Tree) -> None:
    other = by(tree, replace(tree.agencies["H38"], kind="khác", created_ms=tree.tick()))
    later = by(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    records = tree.records()
    taken = import_things(
        [other.to_wire()], records, anchor=tree.anchor, verifier=Verifier(), now_ms=TREE_READY_MS, cache=RecordCache()
    )
    records.stage(taken.changes)
    with expects("directory_generation_forked", TrustError):
        judge(later, court(tree, records=records))
    assert DirectoryView(records).agency("G12").state is RecordState.ACTIVE


def test_where_numbers_and_dates_contradict_each_other_dates_decide(tree: Tree) -> None:
    early = tree.next_agency("G12", created_ms=START_MS + 1, state=RecordState.LOCKED)
    assert judge(by(tree, early), court(tree)).standing is Standing.ASIDE


def test_fast_forward_and_recovery_of_a_number(tree: Tree) -> None:
    """The largest number there is: neither the registrar itself nor the root is stopped by it."""
    tree.publish(tree.next_agency("G12", number=2**63 - 1, state=RecordState.LOCKED))
    for registrar in (ROLE_ROOT, ROLE_LEVEL_1):
        back = tree.next_agency("G12", registrar=registrar, state=RecordState.ACTIVE)
        assert judge(by(tree, back), court(tree)).standing is Standing.IN_FORCE


def test_fast_forward_of_the_epoch_needs_an_endorsement(tree: Tree) -> None:
    """Otherwise one signature could use up all epochs, and no host could ever change again."""
    for epoch, standing in ((1_001, Standing.IN_FORCE), (1_002, Standing.PENDING), (2**63 - 1, Standing.PENDING)):
        assert judge(by(tree, tree.next_agency("G12", epoch=epoch)), court(tree)).standing is standing


def test_between_registrars_the_later_date_wins(tree: Tree) -> None:
    tree.publish(tree.next_agency("G12", registrar=ROLE_ROOT, state=RecordState.LOCKED))
    older = tree.next_agency("G12", registrar=ROLE_LEVEL_1, created_ms=tree.agencies["G12"].created_ms - 1)
    assert judge(by(tree, older), court(tree)).standing is Standing.SUPERSEDED


def test_of_one_date_the_upper_registrar_is_newer(tree: Tree) -> None:
    tree.publish(tree.next_agency("G12", registrar=ROLE_ROOT, number=1))
    at_ms = tree.agencies["G12"].created_ms
    lower = tree.next_agency("G12", registrar=ROLE_LEVEL_1, created_ms=at_ms, number=2**62)
    assert judge(by(tree, lower), court(tree)).standing is Standing.SUPERSEDED
    upper = tree.next_agency("G12", registrar=ROLE_ROOT, created_ms=at_ms, number=2)
    assert judge(by(tree, upper), court(tree)).standing is Standing.IN_FORCE


# --- hosts, keys, aliases -------------------------------------------------------------------


def test_a_move_takes_the_next_epoch_and_the_old_hosts_endorsement(tree: Tree) -> None:
    moved = tree.next_agency("G22.99", host="00.02.W00", epoch=2)
    assert is_in_force(tree, moved, tree.centres["00.01.W00"].signer)


def test_silent_takeover_of_a_host(tree: Tree) -> None:
    moved = tree.next_agency("G22.99", host="00.02.W00", epoch=2)
    for signers in ((), (tree.centres["00.02.W00"].signer,), (STRANGER,)):
        assert is_pending(tree, moved, *signers)


def test_silent_takeover_by_locking_first(tree: Tree) -> None:
    for state in (RecordState.LOCKED, RecordState.CLOSED):
        tree.publish(tree.next_agency("G22.99", state=state))
        back = tree.next_agency("G22.99", host="00.02.W00", epoch=2, state=RecordState.ACTIVE)
        assert is_pending(tree, back)


def test_a_host_change_without_a_new_epoch(tree: Tree) -> None:
    moved = tree.next_agency("G22.99", host="00.02.W00")
    with expects("directory_epoch", TrustError):
        judge(by(tree, moved, tree.centres["00.01.W00"].signer), court(tree))


def test_an_epoch_never_goes_back(tree: Tree) -> None:
    tree.publish(tree.next_agency("G22.99", epoch=3))
    with expects("directory_epoch", TrustError):
        judge(by(tree, tree.next_agency("G22.99", epoch=2)), court(tree))


def test_locking_and_closing_need_no_endorsement(tree: Tree) -> None:
    assert is_in_force(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    assert is_in_force(tree, tree.next_agency("G12", state=RecordState.CLOSED, successors=("G22",)))


def test_silent_takeover_by_an_agency_key_nobody_endorsed(tree: Tree) -> None:
    keyed = tree.next_agency("G12", keys=(entry_of(STRANGER),))
    assert is_pending(tree, keyed)
    assert is_in_force(tree, keyed, tree.centres["00.02.W00"].signer)


def test_lost_key_recovery_waits_a_day_unless_the_old_key_or_the_root_says_so(tree: Tree) -> None:
    own, new = Ed25519Signer(key_seed(1, "own")), Ed25519Signer(key_seed(1, "new"))
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(own),))
    recovered = tree.next_agency("G13", keys=(entry_of(new),))
    for signers in ((), (new,), (tree.centres["00.02.W00"].signer,)):
        assert is_pending(tree, recovered, *signers)
    assert is_in_force(tree, recovered, own)
    assert is_in_force(tree, recovered, *tree.root_signers)


def test_urgent_takes_the_threshold_of_the_root_role() -> None:
    tree = Tree.bare(root_keys=3, root_threshold=2)
    tree.add_centre("00.01.W00")
    record = tree.next_centre("00.01.W00", keys=(entry_of(STRANGER),))
    assert is_pending(tree, record, tree.root_signers[0])
    assert is_in_force(tree, record, *tree.root_signers[1:])


def test_a_centre_rotates_its_keys_with_its_own_endorsement(tree: Tree) -> None:
    fresh = Centre.make(9, "00.03.W00")
    record = tree.next_centre("00.03.W00", keys=(entry_of(fresh.signer),))
    assert is_pending(tree, record)
    assert is_in_force(tree, record, tree.centres["00.03.W00"].signer)
    assert is_pending(tree, tree.next_centre("00.03.W00", sealing=(sealing_entry(fresh.sealing),)))
    assert is_pending(tree, tree.next_centre("00.03.W00", peer_id=fresh.peer_id))


def test_an_endorsement_waits_for_the_old_hosts_record(tree: Tree) -> None:
    tree.add_agency("G13", "00.09.W00")
    moved = tree.next_agency("G13", host="00.02.W00", epoch=2)
    with expects("directory_centre_unknown", NotNow):
        judge(by(tree, moved), court(tree))
    assert is_in_force(tree, moved, *tree.root_signers)


def test_widening_a_delegation_needs_an_endorsement_and_narrowing_it_none(tree: Tree) -> None:
    record = tree.delegate("H38", "H38.1")
    own = tree.registrars["H38"][0]
    for wider in (replace(record.delegation, parts=()), replace(record.delegation, parts=("H38.1", "H38.2"))):
        assert is_pending(tree, tree.next_agency("H38", delegation=wider))
        assert is_in_force(tree, tree.next_agency("H38", delegation=wider), own)
    tree.publish(tree.next_agency("H38", delegation=replace(record.delegation, parts=())), own)
    assert is_in_force(tree, tree.next_agency("H38", delegation=record.delegation))


def test_a_longer_or_revived_key_needs_an_endorsement_and_a_shorter_one_none(tree: Tree) -> None:
    entry = tree.centre_records["00.03.W00"].keys[0]
    signer = tree.centres["00.03.W00"].signer
    for longer in (replace(entry, until_ms=entry.until_ms + 1), replace(entry, from_ms=entry.from_ms - 1)):
        assert is_pending(tree, tree.next_centre("00.03.W00", keys=(longer,)))
        assert is_in_force(tree, tree.next_centre("00.03.W00", keys=(longer,)), signer)
    assert is_in_force(tree, tree.next_centre("00.03.W00", keys=(replace(entry, until_ms=entry.until_ms - 1),)))
    tree.publish(tree.next_centre("00.03.W00", keys=(replace(entry, revoked_ms=START_MS + 1),)))
    assert is_pending(tree, tree.next_centre("00.03.W00", keys=(entry,)), signer)


def test_alias_hijack_of_another_level_1_code(tree: Tree) -> None:
    foreign = tree.next_agency("H38", aliases=("000.00.00.G12",))
    with expects("directory_alias", TrustError, field="aliases[0]"):
        judge(by(tree, foreign), court(tree))
    judge(by(tree, tree.next_agency("H38", aliases=("000.00.00.H38",))), court(tree))


def test_aliases_of_the_new_form_need_the_root_role(tree: Tree) -> None:
    with expects("directory_alias", TrustError, field="aliases[0]"):
        judge(by(tree, tree.next_agency("H38", aliases=("H99",))), court(tree))
    judge(by(tree, tree.next_agency("H38", registrar=ROLE_ROOT, aliases=("H99",))), court(tree))


# --- node records and locks -----------------------------------------------------------------


def node_record(tree: Tree, **changes: Any) -> NodeRecord:
    centre = tree.centres["00.01.W00"]
    record = NodeRecord(
        centre=centre.code,
        peer_id=centre.peer_id,
        from_ms=TREE_READY_MS,
        until_ms=TREE_READY_MS + DAY_MS,
        addresses=("/ip4/127.0.0.1/tcp/4001",),
    )
    return replace(record, **changes)


def signed_node(tree: Tree, record: NodeRecord, signer: Ed25519Signer | None = None) -> Signed:
    return tree.sign(NODE, record, [signer or tree.centres["00.01.W00"].signer])


def test_a_node_record_is_signed_by_its_centre(tree: Tree) -> None:
    accepted = judge(signed_node(tree, node_record(tree)), court(tree))
    assert (accepted.subject, accepted.code) == (Subject.NODE, "00.01.W00")
    with expects("directory_signer_unknown", NotNow):
        judge(signed_node(tree, node_record(tree), tree.centres["00.02.W00"].signer), court(tree))


def test_a_node_record_for_another_peer_id_than_the_centres(tree: Tree) -> None:
    with expects("directory_peer", TrustError):
        judge(signed_node(tree, node_record(tree, peer_id=tree.centres["00.02.W00"].peer_id)), court(tree))


def test_a_node_record_outside_its_time_or_of_an_unknown_centre(tree: Tree) -> None:
    old = node_record(tree, from_ms=TREE_READY_MS - DAY_MS, until_ms=TREE_READY_MS)
    with expects("directory_expired", NotNow):
        judge(signed_node(tree, old), court(tree))
    with expects("directory_future", NotNow):
        judge(signed_node(tree, node_record(tree, from_ms=TREE_READY_MS + CLOCK_SKEW_MS + 1)), court(tree))
    with expects("directory_centre_unknown", NotNow):
        judge(signed_node(tree, node_record(tree, centre="00.09.W00")), court(tree))


def test_freeze_an_older_node_record_does_not_replace_a_newer_one(tree: Tree) -> None:
    newer = signed_node(tree, node_record(tree))
    tree.signed.append(newer)
    older = node_record(tree, from_ms=TREE_READY_MS - 1, addresses=())
    with expects("directory_rollback", TrustError):
        judge(signed_node(tree, older), court(tree))
    assert judge(newer, court(tree)).already


def lock(tree: Tree, signer: Ed25519Signer, created_ms: int = TREE_READY_MS, code: str = "G12") -> Signed:
    return tree.sign(LOCK, Lock(code=code, created_ms=created_ms), [signer])


def test_self_lock_by_the_key_that_speaks_for_the_agency(tree: Tree) -> None:
    accepted = judge(lock(tree, tree.centres["00.02.W00"].signer), court(tree))
    assert (accepted.subject, accepted.code) == (Subject.LOCK, "G12")
    with expects("directory_signer_unknown", NotNow):
        judge(lock(tree, tree.centres["00.01.W00"].signer), court(tree))
    with expects("issuer_unknown", NotNow):
        judge(lock(tree, STRANGER, code="G99"), court(tree))


def test_self_lock_of_an_agency_with_own_keys_is_not_its_hosts(tree: Tree) -> None:
    own = Ed25519Signer(key_seed(1, "own"))
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(own),))
    judge(lock(tree, own, code="G13"), court(tree))
    with expects("directory_signer_unknown", NotNow):
        judge(lock(tree, tree.centres["00.02.W00"].signer, code="G13"), court(tree))


def test_an_older_self_lock_does_not_replace_a_newer_one(tree: Tree) -> None:
    signer = tree.centres["00.02.W00"].signer
    tree.signed.append(lock(tree, signer))
    assert judge(lock(tree, signer), court(tree)).already
    with expects("directory_rollback", TrustError):
        judge(lock(tree, signer, TREE_READY_MS - 1), court(tree))


# --- formats --------------------------------------------------------------------------------


def test_a_thing_of_another_kind_or_a_newer_version_is_no_directory_statement(tree: Tree) -> None:
    with expects("directory_format", FormatError):
        judge(sign("truc/receipt/1", b"\x80", STRANGER), court(tree))
    with expects("format_newer", FormatError):
        judge(sign("truc/agency/2", b"\x80", STRANGER), court(tree))
    with expects("format_field", FormatError, field="names.vi"):
        record = tree.next_agency("G12")
        judge(by(tree, replace(record, names=replace(record.names, vi=""))), court(tree))


def test_mix_and_match_a_signature_of_another_record_proves_nothing(tree: Tree) -> None:
    good = by(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    other = AGENCY.encode(tree.next_agency("G12", state=RecordState.CLOSED))
    with expects("signature_invalid", TrustError):
        judge(Signed(format=AGENCY.name, statement=other, signatures=good.signatures), court(tree))


def test_a_registrars_batch_costs_one_public_key_operation(tree: Tree) -> None:
    records = [tree.new_agency(f"H38.{n}", "00.03.W00") for n in range(1, 40)]
    batch = sign_batch(AGENCY.name, [AGENCY.encode(record) for record in records], tree.level_1_signers[0])
    here = court(tree)
    before = here.verifier.operations
    accepted: Iterable[Accepted] = [judge(signed, here) for signed in batch]
    assert [item.code for item in accepted] == [record.code for record in records]
    assert here.verifier.operations == before + 1


# --- statements about consignments ----------------------------------------------------------

TEXT = b"\x80"


def statement_by(signer: Ed25519Signer) -> Signed:
    return sign("truc/consignment/1", TEXT, signer)


def judged(tree: Tree, signer: Ed25519Signer, *, now_ms: int = TREE_READY_MS, **how: Any) -> Any:
    how = {"agency": "G12", "purpose": Purpose.AGENCY, "created_ms": now_ms, **how}
    return judge_statement(statement_by(signer), court(tree, now_ms), **how)


def test_a_statement_names_the_records_it_was_judged_by(tree: Tree) -> None:
    signer = tree.centres["00.02.W00"].signer
    basis = judged(tree, signer)
    view = tree.view()
    assert basis.key_id == signer.public.key_id
    assert set(basis.records) == {view.agency_versions("G12")[0].digest, view.centre_versions("00.02.W00")[0].digest}


def test_a_statement_may_be_made_5_minutes_ahead_and_one_of_long_ago_needs_a_key_of_now(tree: Tree) -> None:
    signer = tree.centres["00.02.W00"].signer
    now = TREE_READY_MS + SIGNED_AGE_MAX_MS
    judged(tree, signer, now_ms=now, created_ms=TREE_READY_MS)
    judged(tree, signer, now_ms=now, created_ms=TREE_READY_MS - 1)  # the key still counts today
    judged(tree, signer, now_ms=now, created_ms=now + CLOCK_SKEW_MS)
    with expects("clock", NotNow):
        judged(tree, signer, now_ms=now, created_ms=now + CLOCK_SKEW_MS + 1)


def test_a_statement_of_an_unknown_agency_or_by_an_unknown_key_waits_for_the_directory(tree: Tree) -> None:
    with expects("issuer_unknown", NotNow):
        judged(tree, STRANGER, agency="G99")
    with expects("record_stale", NotNow):
        judged(tree, STRANGER)


def test_a_statement_by_a_revoked_key_must_be_signed_again(tree: Tree) -> None:
    old = tree.centres["00.02.W00"].signer
    entry = tree.centre_records["00.02.W00"].keys[0]
    fresh = Ed25519Signer(key_seed(1, "fresh"))
    revoked = replace(entry, revoked_ms=START_MS + 1)
    tree.publish(tree.next_centre("00.02.W00", keys=(entry_of(fresh), revoked)), old)
    with expects("sign_again", NotNow):
        judged(tree, old, created_ms=START_MS + 3_600_000)
    judged(tree, fresh)
    judged(tree, fresh, created_ms=START_MS - 3_600_000)  # signed again: by a key of now


def test_a_key_that_ended_speaks_for_its_time_for_90_days(tree: Tree) -> None:
    old, fresh = tree.centres["00.02.W00"].signer, Ed25519Signer(key_seed(1, "fresh"))
    ended = replace(tree.centre_records["00.02.W00"].keys[0], until_ms=TREE_READY_MS)
    tree.publish(tree.next_centre("00.02.W00", keys=(entry_of(fresh), ended)), old)
    made_ms = TREE_READY_MS - 1
    judged(tree, old, created_ms=made_ms, now_ms=made_ms + SIGNED_AGE_MAX_MS)
    with expects("sign_again", NotNow):
        judged(tree, old, created_ms=made_ms, now_ms=made_ms + SIGNED_AGE_MAX_MS + 1)


def test_a_statement_by_a_compromised_key_must_be_signed_again_too(tree: Tree) -> None:
    """Not refused for good: its honest signer can say the same with the new key, and loses nothing."""
    old = tree.centres["00.02.W00"].signer
    entry = tree.centre_records["00.02.W00"].keys[0]
    fresh = Ed25519Signer(key_seed(1, "fresh"))
    stolen = replace(entry, revoked_ms=tree.clock_ms, compromised_ms=START_MS + 1)
    tree.publish(tree.next_centre("00.02.W00", keys=(entry_of(fresh), stolen)), old)
    for created_ms in (START_MS, START_MS + 1, TREE_READY_MS):
        with expects("sign_again", NotNow):
            judged(tree, old, created_ms=created_ms)


def test_a_statement_with_a_broken_signature_of_a_good_key(tree: Tree) -> None:
    signed = statement_by(tree.centres["00.02.W00"].signer)
    broken = replace(signed, statement=b"\x81\x01\x02")
    with expects("signature_invalid", TrustError):
        judge_statement(
            broken, court(tree), agency="G12", purpose=Purpose.AGENCY, created_ms=TREE_READY_MS
        )


# --- convergence ----------------------------------------------------------------------------


@given(st.permutations(range(14)))
def test_any_order_of_arrival_in_one_file_gives_the_same_directory(order: list[int]) -> None:
    tree = _lively_tree()
    assert len(tree.signed) == 14
    things = [tree.signed[index].to_wire() for index in order]
    result = import_things(
        things, Staged(), anchor=tree.anchor, verifier=Verifier(), now_ms=TREE_READY_MS, cache=RecordCache()
    )
    assert result.rejected == ()
    assert result.changes == tree.imported().changes


def _lively_tree() -> Tree:
    tree = Tree.make()
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    tree.publish(tree.next_agency("G22.99", host="00.02.W00", epoch=2), tree.centres["00.01.W00"].signer)
    tree.publish(tree.next_agency("G22.99", state=RecordState.CLOSED, successors=("G22",)))
    tree.signed.append(lock(tree, tree.centres["00.02.W00"].signer, tree.tick()))
    tree.signed.append(signed_node(tree, node_record(tree, from_ms=tree.tick())))
    return tree
