"""First versions in bulk: what is plain is believed, and everything else is left to those who compare."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.court import Court
from protocol.directory import AGENCY, CENTRE, AgencyRecord, Names
from protocol.directory_changes import changes_for
from protocol.directory_import import import_things
from protocol.directory_kinds import DirectoryFork
from protocol.directory_plain import ROOTS, Plain, PlainCourt, place_of, read_plain, rows_of_plain
from protocol.directory_view import DirectoryView, RecordCache
from protocol.encoding import encode
from protocol.limits import CLOCK_SKEW_MS, HOUR_MS
from protocol.record import Put
from protocol.signing import Ed25519Signer, Signed, Verifier, countersign, sign, sign_batch
from protocol.staged import Staged
from protocol.trust import judge
from tests.support.tree import START_MS, Tree

A, C = "00.01.W00", "00.03.W00"


class Case:
    """A tree that is known, and things that come."""

    def __init__(self) -> None:
        self.tree = Tree.make()
        self.records = self.tree.records()
        self.view = DirectoryView(self.records)
        self.court = Court(
            lookup=self.view, verifier=Verifier(), now_ms=self.tree.clock_ms + HOUR_MS, anchor=self.tree.anchor
        )

    def plain_court(self, own_centre: str | None = None) -> PlainCourt:
        return PlainCourt(self.view, self.court, own_centre=own_centre)

    def take(self, signed: Signed) -> list[Put] | None:
        plain = read_plain(signed.to_wire())
        assert plain is not None
        return self.plain_court().take(plain)

    def agency(self, code: str = "H38.7", **more: Any) -> AgencyRecord:
        return self.tree.new_agency(code, C, **more)

    def signed(self, record: AgencyRecord) -> Signed:
        return self.tree.sign(AGENCY, record, self.tree.registrars[record.registrar])


def plain_of(signed: Signed) -> Plain:
    found = read_plain(signed.to_wire())
    assert found is not None
    return found


# --- reading --------------------------------------------------------------------------------


def test_a_thing_has_its_place_by_date_and_height() -> None:
    tree = Tree.make()
    for signed in tree.signed[1:]:
        value = (AGENCY if signed.format == AGENCY.name else CENTRE).decode(signed.statement)
        assert place_of(signed.to_wire()) == (value.created_ms, value.code.count("."))
    assert place_of(tree.signed[0].to_wire()) == ROOTS


@pytest.mark.parametrize(
    "wire", [b"", b"\xc0", encode([]), encode(["truc/agency/1", encode({}), []]), encode(["x", b"", []]), encode(3)]
)
def test_what_cannot_be_read_has_no_place_and_is_not_plain(wire: bytes) -> None:
    assert place_of(wire) is None
    assert read_plain(wire) is None


def test_only_records_are_plain() -> None:
    tree = Tree.make()
    assert read_plain(tree.signed[0].to_wire()) is None
    assert all(read_plain(signed.to_wire()) is not None for signed in tree.signed[1:])


def test_an_alias_that_the_registrar_may_not_give_is_not_plain() -> None:
    case = Case()
    assert read_plain(case.signed(case.agency(aliases=("000.00.07.H38",))).to_wire()) is not None
    assert read_plain(case.signed(case.agency(aliases=("000.00.07.G22",))).to_wire()) is None


def test_a_signature_whose_path_leads_nowhere_proves_nothing() -> None:
    case = Case()
    one, other = (AGENCY.encode(case.agency(code)) for code in ("H38.7", "H38.8"))
    first, _ = sign_batch(AGENCY.name, [one, other], case.tree.level_1_signers[0])
    broken = replace(first, signatures=tuple(replace(item, path=()) for item in first.signatures))
    assert plain_of(broken).proofs == ()
    assert case.take(broken) is None
    assert case.take(first) is not None


# --- judging --------------------------------------------------------------------------------


def test_a_plain_thing_changes_what_it_would_change_the_long_way() -> None:
    case = Case()
    for record in (case.agency(), case.agency("H38.8", aliases=("000.00.08.H38",)), case.agency("G07")):
        signed = case.signed(record)
        expected = changes_for(judge(signed, case.court), case.view, case.court.now_ms)
        found = case.take(signed)
        assert found is not None
        rows = rows_of_plain(plain_of(signed), signed.to_wire(), case.court.now_ms)
        by_kind = {repr(change) for change in expected}
        assert {repr(Put(row)) for row in rows} | {repr(change) for change in found} == by_kind


def test_a_centre_is_plain_too() -> None:
    case = Case()
    record = case.tree.add_centre("00.09.W00")
    signed = case.tree.signed[-1]
    found = case.take(signed)
    assert [put.record.peer_id for put in found or ()] == [record.peer_id]


def test_hosting_is_listed_for_the_own_centre_alone() -> None:
    case = Case()
    plain = plain_of(case.signed(case.agency()))
    assert case.plain_court(A).take(plain) == []
    found = case.plain_court(C).take(plain)
    assert found is not None
    (hosting,) = found
    assert (hosting.record.centre, hosting.record.code) == (C, "H38.7")


def test_whatever_is_known_or_comes_twice_is_left_to_others() -> None:
    case = Case()
    known = plain_of(next(signed for signed in case.tree.signed if signed.format == AGENCY.name))
    court = case.plain_court()
    assert court.take(known) is None
    assert court.is_known(known)
    first = case.agency()
    plain = plain_of(case.signed(first))
    assert not court.is_known(plain)
    assert court.take(plain) is not None
    assert court.take(plain) is None
    assert court.take(plain_of(case.signed(replace(case.agency("H38.9"), number=first.number)))) is None
    assert court.take(plain_of(case.signed(replace(case.agency(), code="H38.7")))) is None
    later = plain_of(case.signed(case.tree.next_agency("G22", names=Names(vi="Tên mới"))))
    assert court.take(later) is None, "a second version"


@pytest.mark.parametrize(
    "changes",
    [
        {"created_ms": START_MS + 10**9},
        {"generation": 2},
        {"registrar": "G22"},
        {"registrar": "H39", "code": "H39.1", "parent": "H39"},
    ],
)
def test_what_its_registrar_may_not_say_is_left_to_others(changes: dict[str, Any]) -> None:
    case = Case()
    record = replace(case.agency(), **changes)
    if "created_ms" in changes:
        record = replace(record, created_ms=case.court.now_ms + CLOCK_SKEW_MS + 1)
    assert case.take(case.tree.sign(AGENCY, record, case.tree.level_1_signers)) is None


def test_another_key_or_too_few_signatures_are_left_to_others() -> None:
    case = Case()
    record = case.agency()
    assert case.take(case.tree.sign(AGENCY, record, [Ed25519Signer(bytes(32))])) is None
    good = case.signed(record)
    (item,) = good.signatures
    forged = replace(good, signatures=(replace(item, signature=bytes(64)),))
    assert case.take(forged) is None
    two = Tree.bare(level_1_threshold=2)
    view = DirectoryView(two.records())
    court = Court(lookup=view, verifier=Verifier(), now_ms=two.clock_ms + HOUR_MS, anchor=two.anchor)
    agency = AGENCY.encode(two.new_agency("G22", A))
    one = sign(AGENCY.name, agency, two.level_1_signers[0])
    assert PlainCourt(view, court, own_centre=None).take(plain_of(one)) is None
    both = plain_of(countersign(one, two.level_1_signers[1]))
    assert PlainCourt(view, court, own_centre=None).take(both) is not None


def test_nothing_new_of_a_forked_generation_is_plain() -> None:
    case = Case()
    fork = DirectoryFork(registrar="level-1", generation=1, number=1, first=bytes(32), second=b"", first_wire=b"")
    case.records.stage([Put(fork)])
    assert case.take(case.signed(case.agency())) is None


def test_a_registrar_that_becomes_one_in_the_same_heap_is_one() -> None:
    case = Case()
    tree = case.tree
    tree.add_agency("H50", C)
    upper = tree.signed.pop()
    signer = Ed25519Signer(b"r" * 32)
    from protocol.directory import Delegation
    from tests.support.tree import entry_of

    record = replace(AGENCY.decode(upper.statement), delegation=Delegation(keys=(entry_of(signer),)))
    upper = case.signed(record)
    lower = tree.sign(AGENCY, tree.new_agency("H50.1", C, registrar="H50"), [signer])
    court = case.plain_court()
    first, second = plain_of(upper), plain_of(lower)
    assert first.delegates and not second.delegates
    assert court.take(second) is None
    found = court.take(first)
    assert found is not None
    case.records.stage([*(Put(row) for row in rows_of_plain(first, upper.to_wire(), case.court.now_ms)), *found])
    assert court.take(second) is not None


def test_signatures_that_were_verified_elsewhere_are_not_verified_again() -> None:
    case = Case()
    plain = plain_of(case.signed(case.agency()))
    court = case.plain_court()
    steps, wanted = court.unproved([plain, plain]), None
    while wanted is None:
        try:
            next(steps)
        except StopIteration as end:
            wanted = end.value
    assert len(wanted) == 1
    court.note(court.verify(wanted))
    operations = case.court.verifier.operations
    assert court.take(plain) is not None
    assert case.court.verifier.operations == operations == 1


def test_the_tree_of_the_tests_is_plain_but_for_its_root() -> None:
    tree = Tree.make()
    records, cache = Staged(), RecordCache()
    root = import_things(
        tree.things[:1], records, anchor=tree.anchor, verifier=Verifier(), now_ms=tree.clock_ms, cache=cache
    )
    records.stage(root.changes)
    view = DirectoryView(records, cache)
    court = Court(lookup=view, verifier=Verifier(), now_ms=tree.clock_ms, anchor=tree.anchor)
    for signed in tree.signed[1:]:
        plain = plain_of(signed)
        found = PlainCourt(view, court, own_centre=None).take(plain)
        assert found is not None
        rows = rows_of_plain(plain, signed.to_wire(), tree.clock_ms)
        records.stage([*(Put(row) for row in rows), *found])
    assert [view.agency(code).code for code in tree.agencies] == list(tree.agencies)
