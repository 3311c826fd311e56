"""Requests: whoever asks holds every key that is to be registered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from node.requests import make_agency_request, make_centre_request
from protocol.directory import CENTRE_REQUEST, AgencyRequest, Delegation, Names
from protocol.errors import FormatError, TrustError
from protocol.requests import check_agency_request, check_centre_request
from protocol.signing import Ed25519Signer, Signed, Verifier
from tests.support.errors import expects
from tests.support.tree import START_MS, TREE_READY_MS, Centre, Tree, entry_of, key_seed

NAMES = Names(vi="Sở Thử nghiệm")
STRANGER = Ed25519Signer(b"\x77" * 32)


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


def centre_request(*signers: Ed25519Signer, **changes: Any) -> Signed:
    centre = Centre.make(1, "00.05.W00")
    how: dict[str, Any] = {
        "code": centre.code,
        "names": NAMES,
        "peer_id": centre.peer_id,
        "signers": signers or (centre.signer,),
        "sealing_raw": centre.sealing.public_raw,
        "now_ms": START_MS,
    }
    return make_centre_request(**{**how, **changes})


def agency_request(*signers: Ed25519Signer, **changes: Any) -> Signed:
    request = AgencyRequest(created_ms=TREE_READY_MS, code="G12.7", names=NAMES, host="00.02.W00", parent="G12")
    return make_agency_request(replace(request, **changes), signers)


def test_a_centre_proves_that_it_holds_its_operational_keys() -> None:
    one, two = Ed25519Signer(key_seed(1, "one")), Ed25519Signer(key_seed(1, "two"))
    request = check_centre_request(centre_request(one, two), Verifier())
    assert [entry.key_id for entry in request.keys] == [one.public.key_id, two.public.key_id]


def test_a_centre_that_lists_a_key_it_does_not_hold_is_refused() -> None:
    value = CENTRE_REQUEST.decode(centre_request().statement)
    both = replace(value, keys=(*value.keys, entry_of(STRANGER)))
    signed = Tree.bare().sign(CENTRE_REQUEST, both, [Centre.make(1, "00.05.W00").signer])
    with expects("directory_possession", TrustError):
        check_centre_request(signed, Verifier())
    with expects("directory_possession", TrustError):
        check_centre_request(Tree.bare().sign(CENTRE_REQUEST, value, [STRANGER]), Verifier())


def test_a_request_with_a_broken_signature_says_so() -> None:
    signed = centre_request()
    other = CENTRE_REQUEST.encode(replace(CENTRE_REQUEST.decode(signed.statement), peer_id="khác"))
    with expects("signature_invalid", TrustError):
        check_centre_request(replace(signed, statement=other), Verifier())


def test_an_agency_without_keys_is_asked_for_by_its_host(tree: Tree) -> None:
    host = tree.centres["00.02.W00"].signer
    assert check_agency_request(agency_request(host), tree.view(), Verifier()).code == "G12.7"
    with expects("directory_possession", TrustError):
        check_agency_request(agency_request(STRANGER), tree.view(), Verifier())


def test_an_agency_proves_that_it_holds_signing_and_delegation_keys(tree: Tree) -> None:
    own, below = Ed25519Signer(key_seed(1, "own")), Ed25519Signer(key_seed(1, "below"))
    listed: dict[str, Any] = {"keys": (entry_of(own),), "delegation": Delegation(keys=(entry_of(below),))}
    check_agency_request(agency_request(own, below, **listed), tree.view(), Verifier())
    with expects("directory_possession", TrustError):
        check_agency_request(agency_request(own, tree.centres["00.02.W00"].signer, **listed), tree.view(), Verifier())


def test_a_request_of_another_kind_is_not_taken_for_one(tree: Tree) -> None:
    with expects("format_other", FormatError):
        check_centre_request(agency_request(STRANGER), Verifier())


def test_a_request_is_checked_before_it_is_signed() -> None:
    with expects("format_centre_code", FormatError, field="code"):
        centre_request(code="00.05.X00")
