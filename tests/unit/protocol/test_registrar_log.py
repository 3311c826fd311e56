"""Checkpoints and forks of a registrar's log: who signed them, whichever was known before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from protocol.checkpoint import CHECKPOINT, HEARTBEAT, Checkpoint, Heartbeat
from protocol.court import Standing
from protocol.directory import AGENCY, LOCK, ROLE_LEVEL_1, ROLE_ROOT, Lock, RecordState
from protocol.directory_import import Imported, import_things
from protocol.directory_kinds import DirectoryNumber
from protocol.directory_suspects import suspects
from protocol.directory_view import DirectoryView, RecordCache
from protocol.errors import FormatError, NotNow, TrustError
from protocol.limits import CLOCK_SKEW_MS
from protocol.prefix_tree import EMPTY
from protocol.record import Put
from protocol.registrar_log import checkpoint_changes, judge_checkpoint, judge_fork
from protocol.signing import Ed25519Signer, Signed, Verifier, sign
from protocol.staged import Staged
from protocol.trust import judge
from tests.support.errors import expects
from tests.support.tree import START_MS, TREE_READY_MS, Tree, entry_of
from tests.unit.protocol.test_trust import STRANGER, by, compromise, court, node_record, only_by, signed_node


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


def checkpoint(tree: Tree, registrar: str = ROLE_LEVEL_1, **changes: Any) -> Checkpoint:
    how: dict[str, Any] = {
        "registrar": registrar,
        "generation": 1,
        "number": tree.next_number(registrar),
        "created_ms": tree.tick(),
        "count": 1,
        "root": bytes(31) + b"\x01",
    }
    return Checkpoint(**{**how, **changes})


def signed_by(tree: Tree, value: Checkpoint, *signers: Ed25519Signer) -> Signed:
    return tree.sign(CHECKPOINT, value, signers or tree.registrars[value.registrar])


def take(tree: Tree, things: Iterable[Signed], records: Staged) -> Imported:
    result = import_things(
        [signed.to_wire() for signed in things],
        records,
        anchor=tree.anchor,
        verifier=Verifier(),
        now_ms=TREE_READY_MS,
        cache=RecordCache(),
    )
    records.stage(result.changes)
    return result


# --- checkpoints ----------------------------------------------------------------------------


def test_a_checkpoint_takes_a_number_of_its_registrars_log(tree: Tree) -> None:
    records = tree.records()
    value = checkpoint(tree)
    signed = signed_by(tree, value)
    accepted = judge_checkpoint(signed, value, court(tree, records=records))
    assert accepted.signers == (tree.level_1_signers[0].public.key_id,)
    records.stage(checkpoint_changes(accepted, TREE_READY_MS))
    view = DirectoryView(records)
    assert view.numbered(ROLE_LEVEL_1, 1, value.number) == signed.digest
    assert view.thing(signed.digest) == signed
    assert judge_checkpoint(signed, value, court(tree, records=records)).already


def test_a_number_tells_of_which_record_its_thing_is_a_version(tree: Tree) -> None:
    records = tree.records()
    take(tree, [signed_by(tree, checkpoint(tree))], records)
    rows = records.scan(DirectoryNumber, ROLE_LEVEL_1, 1)
    assert [(row.number, row.subject, row.code) for row in rows] == [
        (1, 2, "00.01.W00"), (2, 3, "G22"), (3, 3, "G22.99"), (4, 2, "00.02.W00"), (5, 3, "G12"),
        (6, 2, "00.03.W00"), (7, 3, "H38"), (8, 0, ""),
    ]  # fmt: skip


def test_checkpoints_come_in_a_heap_with_records(tree: Tree) -> None:
    first = checkpoint(tree)
    signed = signed_by(tree, first)
    second = signed_by(tree, checkpoint(tree, previous=signed.digest))
    records = tree.records()
    result = take(tree, [second, signed], records)
    assert [item.signed for item in result.checkpoints] == [signed, second]
    assert (result.accepted, result.rejected) == ((), ())
    assert take(tree, [second, signed], records).already == 2
    unsound = signed_by(tree, checkpoint(tree, count=0))
    rejected = take(tree, [unsound], records).rejected
    assert [(item.about, item.error.code) for item in rejected] == [("truc/checkpoint/1 level-1", "format_field")]


def test_a_checkpoint_is_signed_by_the_threshold_of_a_registrar(tree: Tree) -> None:
    value = checkpoint(tree)
    with expects("directory_signer_unknown", NotNow):
        judge_checkpoint(signed_by(tree, value, STRANGER), value, court(tree))
    tree.registrars["H38"] = (STRANGER,)
    other = checkpoint(tree, "H38")
    with expects("directory_registrar_unknown", NotNow):
        judge_checkpoint(signed_by(tree, other), other, court(tree))
    future = checkpoint(tree, created_ms=TREE_READY_MS + CLOCK_SKEW_MS + 1)
    with expects("directory_future", NotNow):
        judge_checkpoint(signed_by(tree, future), future, court(tree))


def test_a_checkpoint_of_a_generation_that_is_not_open(tree: Tree) -> None:
    value = checkpoint(tree, generation=2)
    with expects("directory_generation", TrustError):
        judge_checkpoint(signed_by(tree, value), value, court(tree))


def test_a_checkpoint_by_a_compromised_key(tree: Tree) -> None:
    tree.delegate("H38")
    value = checkpoint(tree, "H38")
    signed = signed_by(tree, value)
    compromise(tree, value.created_ms)
    with expects("directory_key_compromised", TrustError):
        judge_checkpoint(signed, value, court(tree))


def test_roll_back_of_a_checkpoint(tree: Tree) -> None:
    """It follows the one that it names: in the same log, with a larger number, not earlier."""
    first = checkpoint(tree)
    previous = signed_by(tree, first).digest
    good = checkpoint(tree, previous=previous, created_ms=first.created_ms)
    judge_checkpoint(signed_by(tree, good), good, court(tree), previous=first)
    free = Staged()
    free.stage(Tree.bare().imported().changes)
    for bad in (replace(good, created_ms=first.created_ms - 1), replace(good, number=first.number - 1)):
        with expects("directory_order", TrustError):
            judge_checkpoint(signed_by(tree, bad), bad, court(tree, records=free), previous=first)
    elsewhere = checkpoint(tree, ROLE_ROOT, number=9, previous=previous)
    with expects("directory_order", TrustError):
        judge_checkpoint(signed_by(tree, elsewhere), elsewhere, court(tree), previous=first)


# --- forks ----------------------------------------------------------------------------------


def test_fork_of_a_record_and_a_checkpoint_under_one_number(tree: Tree) -> None:
    records = tree.records()
    value = checkpoint(tree, number=tree.agencies["H38"].number)
    signed = signed_by(tree, value)
    assert [item.error.code for item in take(tree, [signed], records).rejected] == ["directory_fork"]
    fork = DirectoryView(records).fork(ROLE_LEVEL_1, 1)
    assert fork is not None
    wires = {Signed.from_wire(wire, bytes_max=len(wire)).format for wire in (fork.first_wire, fork.second)}
    assert wires == {CHECKPOINT.name, AGENCY.name}
    later = by(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    assert [item.error.code for item in take(tree, [later], records).rejected] == ["directory_generation_forked"]


@pytest.mark.parametrize("known", ["neither", "the first", "the second"])
def test_fork_whichever_of_the_two_was_known_before(tree: Tree, known: str) -> None:
    first = tree.new_agency("G40", "00.01.W00")
    pair = [by(tree, first), by(tree, replace(first, kind="khác"))]
    records = tree.records()
    take(tree, {"neither": [], "the first": pair[:1], "the second": pair[1:]}[known], records)
    here = court(tree, records=records)
    forks = [judge_fork(one, other, here) for one, other in (pair, pair[::-1])]
    assert forks[0] == forks[1]
    assert (forks[0].registrar, forks[0].generation, forks[0].number) == (ROLE_LEVEL_1, 1, first.number)
    assert {forks[0].first_wire, forks[0].second} == {signed.to_wire() for signed in pair}


@pytest.mark.parametrize("named", ["none", "one"])
@pytest.mark.parametrize("known", ["neither", "the first", "the second"])
def test_fork_of_two_checkpoints_after_one_under_different_numbers(tree: Tree, named: str, known: str) -> None:
    records = tree.records()
    before = signed_by(tree, checkpoint(tree))
    take(tree, [before] if named == "one" else [], records)
    previous = before.digest if named == "one" else EMPTY
    pair = [signed_by(tree, checkpoint(tree, previous=previous)) for _ in range(2)]
    take(tree, {"neither": [], "the first": pair[:1], "the second": pair[1:]}[known], records)
    here = court(tree, records=records)
    forks = [judge_fork(one, other, here) for one, other in (pair, pair[::-1])]
    number = CHECKPOINT.decode(pair[0].statement).number
    assert forks[0] == forks[1]
    assert (forks[0].registrar, forks[0].generation, forks[0].number) == (ROLE_LEVEL_1, 1, number)
    rejected = take(tree, pair if known != "the second" else pair[::-1], records).rejected
    assert [item.error.code for item in rejected] == ["directory_fork"]
    assert DirectoryView(records).fork(ROLE_LEVEL_1, 1) == forks[0]
    later = by(tree, tree.next_agency("G12", state=RecordState.LOCKED))
    assert [item.error.code for item in take(tree, [later], records).rejected] == ["directory_generation_forked"]


def test_a_chain_of_checkpoints_is_no_fork_and_begins_anew_in_each_generation(tree: Tree) -> None:
    delegation = tree.delegate("H38").delegation
    records = tree.records()
    chain: list[Signed] = []
    for _ in range(3):
        previous = chain[-1].digest if chain else EMPTY
        chain.append(signed_by(tree, checkpoint(tree, "H38", count=0, root=EMPTY, previous=previous)))
    assert take(tree, chain[::-1], records).rejected == ()
    opened = by(tree, tree.next_agency("H38", delegation=replace(delegation, generation=2)))
    again = signed_by(tree, checkpoint(tree, "H38", generation=2, number=1, count=0, root=EMPTY))
    assert take(tree, [opened, again], records).rejected == ()
    assert DirectoryView(records).follower("H38", 1, EMPTY) == chain[0].digest
    assert DirectoryView(records).follower("H38", 2, EMPTY) == again.digest


def test_a_fork_is_kept_once_for_a_generation(tree: Tree) -> None:
    records = tree.records()
    first, second = tree.new_agency("G40", "00.01.W00"), tree.new_agency("G41", "00.01.W00")
    pairs = [(by(tree, record), by(tree, replace(record, kind="khác"))) for record in (first, second)]
    fork = judge_fork(*pairs[0], court(tree, records=records))
    records.stage([Put(fork)])
    assert judge_fork(*pairs[1], court(tree, records=records)) == fork
    with expects("directory_generation_forked", TrustError):
        judge(by(tree, tree.next_agency("G12")), court(tree, records=records))


def test_after_the_parent_opens_a_generation_the_registrar_is_believed_again(tree: Tree) -> None:
    delegation = tree.delegate("H38").delegation
    records = tree.records()
    record = tree.new_agency("H38.1", "00.03.W00", registrar="H38")
    take(tree, [by(tree, record), by(tree, replace(record, kind="khác"))], records)
    assert DirectoryView(records).fork("H38", 1) is not None
    opened = by(tree, tree.next_agency("H38", delegation=replace(delegation, generation=2)))
    again = by(tree, replace(record, generation=2, number=1, created_ms=tree.tick(), kind="khác"))
    assert [item.error.code for item in take(tree, [again], records).rejected] == ["directory_generation"]
    assert [item.standing for item in take(tree, [opened, again], records).accepted] == [Standing.IN_FORCE] * 2
    assert DirectoryView(records).agency("H38.1").kind == "khác"


def test_two_things_that_prove_no_fork(tree: Tree) -> None:
    record = tree.new_agency("G40", "00.01.W00")
    one, other = by(tree, record), by(tree, tree.new_agency("G41", "00.01.W00"))
    here = court(tree)
    for pair in ((one, one), (one, other)):
        with expects("format_field", FormatError, field="second"):
            judge_fork(*pair, here)
    with expects("directory_signer_unknown", NotNow):
        judge_fork(one, only_by(tree, replace(record, kind="khác"), STRANGER), here)
    with expects("directory_format", FormatError):
        judge_fork(one, tree.sign(LOCK, Lock(code="G12", created_ms=START_MS), [STRANGER]), here)


# --- compromised keys -----------------------------------------------------------------------


def test_what_was_accepted_before_a_key_was_known_to_be_compromised_can_be_listed(tree: Tree) -> None:
    signer = tree.level_1_signers[0]
    since_ms = tree.agencies["G12"].created_ms
    tree.signed.append(signed_by(tree, checkpoint(tree)))
    key_id = signer.public.key_id
    own = signed_node(tree, node_record(tree), signer)
    forged = by(tree, tree.next_agency("G12"))
    forged = replace(forged, signatures=(replace(forged.signatures[0], signature=b"\x01" * 64),))
    beat = Heartbeat(registrar=ROLE_LEVEL_1, generation=1, checkpoint=EMPTY, created_ms=tree.clock_ms)
    foreign = tree.sign(HEARTBEAT, beat, [signer])
    entry = entry_of(signer, revoked_ms=since_ms, compromised_ms=since_ms)
    others = (entry_of(STRANGER, revoked_ms=1, compromised_ms=1), replace(entry, algorithm="rsa"), entry_of(STRANGER))
    found = list(suspects((entry, *others), [*tree.signed, own, forged, foreign], Verifier()))
    assert [item.signed for item in found] == [*tree.signed[5:], own]
    assert {item.key_id for item in found} == {key_id}
    assert all(item.created_ms >= since_ms for item in found)
    assert list(suspects((), [*tree.signed, sign("truc/receipt/1", b"\x80", signer)], Verifier())) == []
