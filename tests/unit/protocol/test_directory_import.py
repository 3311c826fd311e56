"""Taking in heaps of things: what is valid is kept, the rest is listed, nothing waits in vain."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from protocol.court import Standing
from protocol.directory import CENTRE_REQUEST, ROOT, CentreRequest, Delegation, RecordState
from protocol.directory_import import Imported, Terms, import_things, with_pending_as_waiting
from protocol.directory_kinds import DirectoryFork, DirectoryHistory, DirectoryThing, Subject
from protocol.directory_view import DirectoryView, RecordCache
from protocol.errors import RequestError
from protocol.limits import DIRECTORY_VERSIONS_MAX
from protocol.record import Put
from protocol.signing import Ed25519Signer, Signed, Verifier, sign
from protocol.staged import Staged
from tests.support.errors import record as note_code
from tests.support.tree import TREE_READY_MS, Tree, entry_of, key_seed
from tests.unit.protocol.test_trust import STRANGER, by, node_record, signed_node


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


def take(
    tree: Tree, things: Iterable[Signed | bytes], records: Staged | None = None, terms: Terms | None = None
) -> Imported:
    wires = [item.to_wire() if isinstance(item, Signed) else item for item in things]
    records = records if records is not None else tree.records()
    return import_things(
        wires,
        records,
        anchor=tree.anchor,
        verifier=Verifier(),
        now_ms=TREE_READY_MS,
        cache=RecordCache(),
        terms=terms,
    )


def codes(result: Imported) -> list[str]:
    for item in result.rejected:
        note_code(item.error.code)
    return [item.error.code for item in result.rejected]


def test_what_is_valid_is_kept_and_what_is_not_is_listed_with_its_reason(tree: Tree) -> None:
    bad = by(tree, replace(tree.next_agency("H38"), aliases=("000.00.00.G12",)))
    request = CentreRequest(
        created_ms=1,
        code="00.01.W00",
        names=tree.centre_records["00.01.W00"].names,
        peer_id="x",
        keys=tree.centre_records["00.01.W00"].keys,
        sealing=tree.centre_records["00.01.W00"].sealing,
    )
    asked = tree.sign(CENTRE_REQUEST, request, [STRANGER])
    receipt = sign("truc/receipt/1", b"\x80", STRANGER)
    result = take(tree, [*tree.signed, bad, asked, receipt, b"junk"], Staged())
    assert len(result.accepted) == len(tree.signed)
    assert sorted(codes(result)) == ["directory_alias", "directory_format", "directory_format", "format_malformed"]
    assert {item.about for item in result.rejected} == {"", "truc/agency/1 H38", "truc/centre-request/1 00.01.W00"}


def test_taking_in_the_same_again_changes_nothing(tree: Tree) -> None:
    result = take(tree, [*tree.signed, *tree.signed])
    assert (result.changes, result.accepted, result.rejected) == ((), (), ())
    assert result.already == 2 * len(tree.signed)


def test_a_record_waits_for_its_registrar_in_the_same_file(tree: Tree) -> None:
    tree.delegate("H38")
    early = tree.agencies["H38"].created_ms - 120_000
    child = tree.new_agency("H38.12", "00.03.W00", registrar="H38", created_ms=early)
    result = take(tree, [by(tree, child), *tree.signed], Staged())
    assert not result.rejected


def test_a_chain_of_registrars_as_deep_as_codes_can_be_is_taken_in_at_once(tree: Tree) -> None:
    """Each is dated ten seconds before the registrar it waits for: the worst order there is."""
    tree.delegate("H38")
    chain, created_ms = [], tree.clock_ms
    for depth in range(1, 17):
        upper = "H38" + ".1" * (depth - 1)
        signer = Ed25519Signer(key_seed(1, upper + ".1"))
        created_ms -= 10_000
        delegation = Delegation(keys=(entry_of(signer),))
        record = tree.new_agency(
            upper + ".1", "00.03.W00", registrar=upper, created_ms=created_ms, delegation=delegation
        )
        chain.append(by(tree, record))
        tree.registrars[upper + ".1"] = (signer,)
    result = take(tree, [*chain, *tree.signed], Staged())
    assert not result.rejected
    assert len(result.accepted) == len(tree.signed) + 16


def test_a_later_version_does_not_overtake_one_that_waits(tree: Tree) -> None:
    """Else the second version would count as first sight, and would need no endorsement."""
    tree.delegate("H38")
    early = tree.agencies["H38"].created_ms - 240_000
    first = tree.new_agency("H38.12", "00.03.W00", registrar="H38", created_ms=early)
    taken = replace(tree.next_agency("H38"), code="H38.12", parent="H38", delegation=Delegation())
    taken = replace(taken, host="00.01.W00", epoch=2, created_ms=early + 60_000)
    result = take(tree, [by(tree, taken), by(tree, first), *tree.signed], Staged(), terms=Terms(joining_ms=0))
    assert [item.value for item in result.pending] == [taken]
    view_of = Staged()
    view_of.stage(result.changes)
    assert DirectoryView(view_of).agency("H38.12").host == "00.03.W00"


def test_what_is_pending_can_be_listed_among_what_still_lacks_a_signature(tree: Tree) -> None:
    moved = by(tree, tree.next_agency("G22.99", host="00.02.W00", epoch=2))
    bad = by(tree, replace(tree.next_agency("H38"), aliases=("000.00.00.G12",)))
    result = with_pending_as_waiting(take(tree, [moved, bad], terms=Terms(joining_ms=0)))
    assert codes(result) == ["directory_alias", "directory_pending"]
    assert (result.rejected[1].about, result.rejected[1].digest) == ("truc/agency/1 G22.99", moved.digest)


def test_what_was_pending_and_was_replaced_in_the_same_heap_does_not_wait(tree: Tree) -> None:
    moved = by(tree, tree.next_agency("G22.99", host="00.02.W00", epoch=2))
    back = by(tree, tree.next_agency("G22.99", kind="vụ"))
    result = take(tree, [moved, back], terms=Terms(joining_ms=0))
    assert [item.standing for item in result.accepted] == [Standing.PENDING, Standing.IN_FORCE]
    assert result.pending == ()


def test_one_that_waits_in_vain_does_not_hold_others_back(tree: Tree) -> None:
    vain = replace(tree.next_agency("G12"), registrar="H38")
    tree.registrars["H38"] = (STRANGER,)
    good = by(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    result = take(tree, [by(tree, vain), good])
    assert [item.code for item in result.accepted] == ["G12"]
    assert codes(result) == ["directory_registrar_unknown"]


def test_superseded_versions_stay_and_node_records_do_not(tree: Tree) -> None:
    first = signed_node(tree, node_record(tree, from_ms=TREE_READY_MS - 5))
    second = signed_node(tree, node_record(tree))
    tree.publish(tree.next_agency("G12", state=RecordState.LOCKED))
    tree.signed += [first, second]
    records = tree.records()
    history = records.get(DirectoryHistory, int(Subject.AGENCY), "G12")
    assert history is not None
    assert len(history.versions) == 2
    assert all(records.get(DirectoryThing, item.digest) is not None for item in history.versions)
    assert records.get(DirectoryThing, first.digest) is None
    assert records.get(DirectoryThing, second.digest) is not None


def test_only_the_newest_versions_are_looked_at(tree: Tree) -> None:
    for _ in range(DIRECTORY_VERSIONS_MAX + 2):
        tree.publish(tree.next_agency("G12"))
    records = tree.records()
    history = records.get(DirectoryHistory, int(Subject.AGENCY), "G12")
    assert history is not None
    assert len(history.versions) == DIRECTORY_VERSIONS_MAX
    assert records.get(DirectoryThing, tree.signed[4].digest) is not None


def test_both_things_of_a_fork_are_kept_as_proof(tree: Tree) -> None:
    other = by(tree, replace(tree.agencies["H38"], kind="khác", created_ms=tree.tick()))
    third = by(tree, replace(tree.agencies["H38"], kind="nữa", created_ms=tree.tick()))
    result = take(tree, [other, third])
    assert codes(result) == ["directory_fork", "directory_fork"]
    (change,) = result.changes
    assert isinstance(change, Put)
    fork = change.record
    assert isinstance(fork, DirectoryFork)
    both = [Signed.from_wire(wire, bytes_max=len(wire)) for wire in (fork.first_wire, fork.second)]
    assert {signed.digest for signed in both} == {tree.view().agency_versions("H38")[0].digest, other.digest}
    assert fork.first == both[0].digest < both[1].digest


def test_indexes_follow_the_record_in_force(tree: Tree) -> None:
    tree.publish(tree.next_agency("H38", aliases=("000.00.00.H38", "000.00.01.H38")))
    tree.publish(tree.next_agency("H38", aliases=("000.00.01.H38",)))
    view = tree.view()
    assert view.resolve("000.00.01.H38").code == "H38"
    with pytest.raises(RequestError):
        view.resolve("000.00.00.H38")


def test_a_fork_of_the_root_is_listed_and_closes_nothing() -> None:
    tree = Tree.make()
    other = replace(tree.root(), name="khác")
    result = take(tree, [tree.sign(ROOT, other, tree.root_signers)])
    assert codes(result) == ["directory_fork"]
    assert result.changes == ()
