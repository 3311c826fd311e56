"""Judging a whole directory again: sound ones, and every way in which one is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.directory_verify import Verified, verify
from protocol.checkpoint import CHECKPOINT, Checkpoint, Fork, fork_wire
from protocol.directory import AGENCY, AgencyRecord, CentreRecord, Names
from protocol.directory_file import file_head, file_part, part_size, read_file, write_file
from protocol.directory_kinds import Subject
from protocol.prefix_tree import PrefixTree, tree_key
from protocol.signing import Signed, sign
from tests.support.directory_nodes import signer_of
from tests.support.tree import TREE_READY_MS, Tree


@pytest.fixture
def tree() -> Tree:
    tree = Tree.make()
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    return tree


def checkpointed(tree: Tree, registrar: str) -> Signed:
    """A checkpoint over all that the registrar has signed."""
    leaves: dict[bytes, bytes] = {}
    for signed in tree.signed:
        record = _numbered(signed)
        if record is not None and record.registrar == registrar:
            subject = Subject.AGENCY if isinstance(record, AgencyRecord) else Subject.CENTRE
            leaves[tree_key(subject, record.code)] = signed.digest
    root = PrefixTree.of_sorted(sorted(leaves.items())).root
    value = Checkpoint(
        registrar=registrar, generation=1, number=tree.next_number(registrar), created_ms=tree.tick(),
        count=len(leaves), root=root,
    )  # fmt: skip
    return tree.sign(CHECKPOINT, value, tree.registrars[registrar])


def _numbered(signed: Signed) -> AgencyRecord | CentreRecord | None:
    from protocol.directory import CENTRE

    forms = {AGENCY.name: AGENCY, CENTRE.name: CENTRE}
    return forms[signed.format].decode(signed.statement) if signed.format in forms else None  # type: ignore[attr-defined]


def judged(tree: Tree, *more: bytes, without: Signed | None = None) -> Verified:
    wires = {signed.to_wire() for signed in tree.signed if signed is not without} | set(more)
    return verify(sorted(wires), anchor=tree.anchor, now_ms=TREE_READY_MS + 86_400_000)


def test_a_sound_directory_is_believed_whole_and_its_checkpoints_agree(tree: Tree) -> None:
    points = [checkpointed(tree, name).to_wire() for name in ("level-1", "H38")]
    found = judged(tree, *points)
    assert found.is_sound and not found.faults and found.pending == 0
    assert found.counts == {"root": 1, "centre": 3, "agency": 6, "checkpoint": 2}
    logs = {log.registrar: log for log in found.logs}
    assert (logs["H38"].things, logs["H38"].missing, logs["H38"].checkpoint) == (2, 0, 2)
    assert logs["level-1"].checkpoint == logs["level-1"].number


def test_a_record_that_was_left_out_leaves_a_gap_and_an_unmatched_checkpoint(tree: Tree) -> None:
    second = tree.add_agency("H38.13", "00.03.W00", registrar="H38")
    hidden = next(s for s in tree.signed if s.format == AGENCY.name and AGENCY.decode(s.statement).code == "H38.12")
    found = judged(tree, checkpointed(tree, "H38").to_wire(), without=hidden)
    (log,) = (log for log in found.logs if log.registrar == "H38")
    assert second.number == 2
    assert (log.missing, log.checkpoint) == (1, 0)


def test_a_stranger_s_record_is_a_fault(tree: Tree) -> None:
    record = tree.next_agency("H38.12", names=Names(vi="Kẻ lạ"))
    forged = sign(AGENCY.name, AGENCY.encode(record), signer_of("stranger"))
    found = judged(tree, forged.to_wire())
    assert [(fault.digest, fault.error.code) for fault in found.faults] == [(forged.digest, "directory_signer_unknown")]
    assert not found.is_sound


def test_another_root_believes_nothing(tree: Tree) -> None:
    other = Tree.make(seed=9)
    found = verify(sorted(s.to_wire() for s in tree.signed), anchor=other.anchor, now_ms=TREE_READY_MS)
    assert found.counts == {} and len(found.faults) == len(tree.signed)


def test_what_a_registrar_may_not_say_is_told_and_is_no_fault_of_the_file(tree: Tree) -> None:
    tree.publish(tree.next_agency("H38.12", epoch=3))
    tree.publish(tree.next_agency("H38.12", epoch=2))
    found = judged(tree)
    assert [(fault.error.code, fault.in_log) for fault in found.faults] == [("directory_epoch", True)]
    assert found.is_sound


def test_fork_proofs_are_judged_too(tree: Tree) -> None:
    one = tree.publish(tree.next_agency("H38.12", names=Names(vi="Một")))
    value = AGENCY.decode(one.statement)
    two = tree.sign(AGENCY, replace(value, names=Names(vi="Hai")), tree.registrars["H38"])
    first, second = sorted((one, two), key=lambda signed: signed.digest)
    proof = fork_wire(Fork(first=first.to_wire(), second=second.to_wire()))
    found = judged(tree, proof)
    assert found.is_sound and found.counts["fork"] == 1
    stranger = tree.sign(AGENCY, replace(value, names=Names(vi="Ba")), [signer_of("stranger")])
    first, second = sorted((one, stranger), key=lambda signed: signed.digest)
    forged = fork_wire(Fork(first=first.to_wire(), second=second.to_wire()))
    found = judged(tree, forged)
    assert [fault.about for fault in found.faults] == ["truc/fork/1"] and not found.is_sound


def test_what_cannot_be_read_spoils_nothing_else(tree: Tree) -> None:
    found = judged(tree, b"nonsense", fork_wire(Fork(first=b"a", second=b"b")))
    assert len(found.faults) == 2 and found.counts["agency"] == 6


@pytest.mark.parametrize("count", [0, 1, 15, 16, 300])
def test_a_file_written_in_pieces_is_the_file_written_at_once(count: int) -> None:
    wires = sorted(n.to_bytes(2, "big") * (40 * (n % 9 + 1)) for n in range(count))
    pieces = file_head(len(wires)) + b"".join(map(file_part, wires))
    assert pieces == write_file(wires)
    assert read_file(pieces) == tuple(wires)
    assert len(pieces) == len(file_head(len(wires))) + sum(part_size(len(wire)) for wire in wires)


def test_heads_and_parts_of_every_size_have_the_size_they_say() -> None:
    for count in (65_535, 65_536):
        assert len(file_head(count)) == len(file_head(0)) + (2 if count < 65_536 else 4)
    for size in (255, 256, 65_535, 65_536):
        assert len(file_part(bytes(size))) == part_size(size)
