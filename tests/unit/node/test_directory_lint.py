"""What is wrong with a directory file is listed with its reason; what is right counts."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.authority import Authority
from node.authority_recovery import recover
from node.directory_dirt import spelling
from node.directory_lint import Linted, lint
from protocol.checkpoint import CHECKPOINT, Checkpoint, fork_of, fork_wire
from protocol.directory import AGENCY, NODE, ROOT, Names, NodeRecord, RecordState
from protocol.directory_file import read_file
from protocol.errors import NotNow
from protocol.limits import DAY_MS, HOUR_MS
from protocol.signing import sign
from tests.support.errors import expects
from tests.support.errors import record as note_code
from tests.support.tree import Tree, entry_of
from tests.unit.node.test_authority import CENTRE_1, CENTRE_2, NAMES, NOW, made, request_of

LATER = NOW + HOUR_MS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    opened = made(tmp_path / "all")
    act = opened.act(NOW)
    for centre in (CENTRE_1, CENTRE_2):
        act.register_centre(request_of(centre))
    for code in ("G12", "G13"):
        act.register_agency(code=code, names=Names(vi=f"Bộ {code}"), host="00.01.W00")
    opened.complete(act)
    return opened


def linted(authority: Authority, now_ms: int = LATER, **how: Any) -> Linted:
    return lint(read_file(authority.directory_file()), now_ms, **how)


def told(found: Linted) -> set[tuple[str, str, str]]:
    for flaw in found.flaws:
        note_code(flaw.error.code)
    return {(flaw.about, flaw.grade, flaw.error.code) for flaw in found.flaws}


def test_a_clean_file_has_nothing_to_be_told(authority: Authority) -> None:
    found = linted(authority, anchor=authority.anchor)
    assert (found.flaws, found.valid, found.is_clean, found.anchor) == ((), 6, True, authority.anchor)


def test_what_is_not_readable_or_not_believed_is_told_with_its_reason(authority: Authority) -> None:
    authority.change_agency("G12", LATER, host="00.02.W00")
    authority.change_agency("G13", LATER, aliases=("G99",))
    foreign = Tree.make(5)
    wires = [*read_file(authority.directory_file()), b"\xc1", foreign.things[1]]
    found = lint(wires, LATER, anchor=authority.anchor)
    assert told(found) == {
        (f"#{len(wires) - 1}", "fault", "format_malformed"),
        ("truc/agency/1 G12", "pending", "directory_pending"),
        ("truc/agency/1 G13", "fault", "directory_alias"),
        ("truc/centre/1 00.01.W00", "fault", "directory_signer_unknown"),
    }
    assert not found.is_clean


def test_an_alias_claimed_twice_is_told(authority: Authority) -> None:
    authority.change_agency("G12", LATER, aliases=("000.00.00.G12",))
    authority.change_agency("G13", LATER, registrar="root", aliases=("000.00.00.G12", "G12"))
    assert told(linted(authority)) == {("000.00.00.G12", "fault", "lint_alias"), ("G12", "fault", "lint_alias")}
    authority.close_agency("G12", LATER + 5, successors=["G13"])
    assert told(linted(authority)) == set()


def test_missing_parents_hosts_and_successors_are_told(authority: Authority) -> None:
    authority.register_agency(code="G14.1", names=NAMES, host="00.02.W00", now_ms=LATER)
    authority.close_agency("G13", LATER, successors=["G77"])
    authority.change_centre("00.02.W00", LATER, state=RecordState.CLOSED)
    assert told(linted(authority)) == {
        ("G14.1", "fault", "lint_parent"),
        ("G14.1", "fault", "lint_host"),
        ("G13", "fault", "lint_successor"),
    }


def test_keys_that_end_soon_or_have_ended_are_told(authority: Authority) -> None:
    record = authority.view.centre("00.01.W00")
    ends_ms = LATER + 30 * DAY_MS
    keys = tuple(replace(entry, until_ms=ends_ms) for entry in record.keys)
    authority.change_centre("00.01.W00", LATER, keys=keys)
    assert told(linted(authority)) == {("00.01.W00", "warning", "lint_key_ends")}
    assert linted(authority).is_clean
    assert told(linted(authority, ends_ms)) == {("00.01.W00", "fault", "lint_keys_ended")}


def test_gaps_forks_and_false_checkpoints_are_told(authority: Authority) -> None:
    signed = authority.change_agency("G12", LATER, kind="bộ")
    rest = [item.to_wire() for item in authority.issued.things.values() if item.digest != signed.digest]
    assert told(lint(rest, LATER, anchor=authority.anchor)) == {("level-1", "warning", "lint_gap")}
    tree = Tree.make(1)
    record = tree.agencies["G12"]
    twin = tree.sign(AGENCY, replace(record, kind="khác"), tree.registrars[record.registrar])
    found = lint([*tree.things, twin.to_wire()], LATER + 10 * DAY_MS, anchor=tree.anchor)
    assert {("level-1", "fault", "lint_fork"), ("truc/agency/1 G12", "fault", "directory_fork")} <= told(found)


def test_a_checkpoint_that_says_another_thing_is_told() -> None:
    tree = Tree.make(1)
    number = tree.next_number("level-1")
    lie = Checkpoint(
        registrar="level-1", generation=1, number=number, created_ms=tree.tick(), count=1, root=bytes([7] * 32)
    )
    signed = tree.sign(CHECKPOINT, lie, tree.level_1_signers)
    found = lint([*tree.things, signed.to_wire()], LATER + DAY_MS, anchor=tree.anchor)
    assert told(found) == {("level-1", "fault", "checkpoint_differs")}


def test_without_a_root_nothing_can_be_judged(authority: Authority) -> None:
    things = [item.to_wire() for item in authority.issued.things.values() if item.format != ROOT.name]
    broken = sign(ROOT.name, b"\x80", CENTRE_1.signer).to_wire()
    with expects("directory_no_root", NotNow):
        lint([*things, broken], LATER)
    assert entry_of(CENTRE_1.signer).key_id == CENTRE_1.signer.public.key_id


def test_two_spellings_of_one_body_and_namesakes_are_told(authority: Authority) -> None:
    for code, name in (("G12.1", "Cục Thuế"), ("G12.01", "Cục Kho bạc"), ("G12.2", "cục  thuế"), ("G13.1", "Cục Thuế")):
        authority.register_agency(code=code, names=Names(vi=name), host="00.01.W00", now_ms=LATER)
    assert told(linted(authority)) == {
        ("G12.01", "warning", "lint_twin_code"),
        ("G12.1", "warning", "lint_twin_name"),
        ("G12.2", "warning", "lint_text"),
    }
    assert linted(authority).is_clean, "people decide whether they are one"
    authority.close_agency("G12.01", LATER + 5, successors=["G12.1"])
    authority.close_agency("G12.2", LATER + 6, successors=["G12.1"])
    assert told(linted(authority)) == set()


def test_names_that_are_not_composed_are_told(authority: Authority) -> None:
    apart = unicodedata.normalize("NFD", "Bộ Tài chính")
    authority.change_agency("G12", LATER, names=Names(vi=apart, en="Ministry  of Finance"))
    found = linted(authority)
    assert told(found) == {("G12", "warning", "lint_text")}
    assert len(found.flaws) == 2
    assert authority.view.agency("G12").names.vi == apart, "what is signed stays as it is"


def test_who_stays_below_a_parent_that_closed_is_told(authority: Authority) -> None:
    authority.register_agency(code="G12.1", names=NAMES, host="00.01.W00", now_ms=LATER)
    authority.close_agency("G12", LATER + 5, successors=["G13"])
    assert told(linted(authority)) == {("G12.1", "warning", "lint_orphan")}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("G12.1", "G12.01", True),
        ("G12.1", "G12.10", False),
        ("H37.DN.001", "H37.dn.1", True),
        ("G12.0", "G12.00", True),
        ("G12.0A", "G12.A", False),
        ("000.00.01.G12", "000.00.1.G12", False),
    ],
)
def test_spellings_differ_by_padding_and_case_alone(one: str, other: str, same: bool) -> None:
    assert (spelling(one) == spelling(other)) is same


def test_a_proof_of_a_fork_in_the_file_is_told_as_a_fork(authority: Authority) -> None:
    tree = Tree.make(1)
    record = tree.agencies["G12"]
    twins = [tree.sign(AGENCY, replace(record, kind=kind), tree.registrars[record.registrar]) for kind in ("a", "b")]
    found = lint([*tree.things, fork_wire(fork_of(*twins))], LATER + 10 * DAY_MS, anchor=tree.anchor)
    assert ("level-1", "fault", "lint_fork") in told(found)


def test_what_a_closed_generation_said_is_no_fault_once_it_was_said_anew(authority: Authority) -> None:
    recover(authority, "level-1", [], LATER)
    found = linted(authority, LATER + HOUR_MS)
    assert told(found) == {("level-1", "warning", "lint_generation")}
    assert (found.is_clean, found.flaws[0].error.detail["count"]) == (True, 5)


def test_node_records_past_their_end_are_nobodys_fault(authority: Authority) -> None:
    node = NodeRecord(
        centre="00.01.W00", peer_id=CENTRE_1.peer_id, from_ms=LATER, until_ms=LATER + HOUR_MS, addresses=("/a",)
    )
    wire = sign(NODE.name, NODE.encode(node), CENTRE_1.signer).to_wire()
    things = [*read_file(authority.directory_file()), wire]
    assert told(lint(things, LATER + 1)) == told(lint(things, LATER + DAY_MS)) == set()
