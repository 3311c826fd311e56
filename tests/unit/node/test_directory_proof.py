"""Looking at a stored record's signatures again: keys that have ended or were revoked since still prove it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.directory_proof import prove
from protocol.directory import AGENCY, AgencyRecord, Delegation, Names
from protocol.directory_view import DirectoryView
from protocol.errors import StoreError
from protocol.signing import Signed, Verifier, sign
from protocol.staged import Staged
from tests.support.directory_nodes import signer_of
from tests.support.errors import expects
from tests.support.tree import TREE_READY_MS, Tree, entry_of


@pytest.fixture
def tree() -> Tree:
    tree = Tree.make()
    tree.delegate("H38")
    return tree


def view_of(tree: Tree) -> DirectoryView:
    records: Staged = tree.records()
    return DirectoryView(records)


def proven(tree: Tree, signed: Signed) -> tuple[bytes, ...]:
    return prove(view_of(tree), signed, AGENCY.decode(signed.statement), Verifier())


def registered(tree: Tree) -> Signed:
    tree.add_agency("H38.12", "00.03.W00", registrar="H38")
    return tree.signed[-1]


def rotated(tree: Tree, **ending: Any) -> None:
    """H38 gets another key; the old one is listed with an end."""
    (old,) = tree.registrars["H38"]
    fresh = signer_of("fresh registrar")
    delegation = Delegation(keys=(entry_of(old, **ending), entry_of(fresh)))
    tree.publish(tree.next_agency("H38", delegation=delegation), tree.centres["00.03.W00"].signer)


def test_the_registrars_key_proves_a_record(tree: Tree) -> None:
    signed = registered(tree)
    assert proven(tree, signed) == (tree.registrars["H38"][0].public.key_id,)


@pytest.mark.parametrize("ending", [{"until_ms": TREE_READY_MS}, {"revoked_ms": TREE_READY_MS}])
def test_a_key_that_has_ended_or_was_revoked_since_still_does(tree: Tree, ending: dict[str, int]) -> None:
    signed = registered(tree)
    rotated(tree, **ending)
    assert len(proven(tree, signed)) == 1


def test_level_1_and_root_prove_by_their_roles(tree: Tree) -> None:
    centre_signed = next(s for s in tree.signed if s.format == AGENCY.name)
    assert len(proven(tree, centre_signed)) == 1


def test_what_a_stranger_signed_or_changed_is_damage(tree: Tree) -> None:
    signed = registered(tree)
    record: AgencyRecord = replace(AGENCY.decode(signed.statement), names=Names(vi="Kẻ lạ"))
    forged = sign(AGENCY.name, AGENCY.encode(record), signer_of("stranger"))
    borrowed = Signed(format=AGENCY.name, statement=AGENCY.encode(record), signatures=signed.signatures)
    for wrong in (forged, borrowed):
        with expects("directory_damaged", StoreError):
            proven(tree, wrong)


def test_a_registrar_that_is_nobody_proves_nothing(tree: Tree) -> None:
    signed = registered(tree)
    record = replace(AGENCY.decode(signed.statement), registrar="G12")
    with expects("directory_damaged", StoreError):
        prove(view_of(tree), signed, record, Verifier())
