"""The directory as it is read: codes and aliases, hosts, parties, and which keys speak when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.directory import ROLE_ROOT, Lock, RecordState
from protocol.directory_kinds import DirectoryThing
from protocol.directory_view import DirectoryView, RecordCache, newest_valid
from protocol.entitlement import Purpose, centre_keys, keys_for
from protocol.errors import RequestError, StoreError
from protocol.limits import CLOCK_SKEW_MS, DAY_MS
from protocol.record import Delete
from protocol.signing import Ed25519Signer
from tests.support.errors import expects
from tests.support.tree import START_MS, TREE_READY_MS, Centre, Tree, entry_of, key_seed, sealing_entry
from tests.unit.protocol.test_trust import lock


@pytest.fixture
def tree() -> Tree:
    return Tree.make()


# --- agencies -------------------------------------------------------------------------------


def test_an_agency_is_found_by_its_code_and_by_an_alias_of_either_form(tree: Tree) -> None:
    tree.publish(tree.next_agency("H38", registrar=ROLE_ROOT, aliases=("000.00.00.H38", "H99")))
    view = tree.view()
    assert {view.resolve(text).code for text in ("H38", "000.00.00.H38", "H99")} == {"H38"}
    assert view.agency("H38").names.vi == "UBND tỉnh Lào Cai"
    assert view.state("H38") is RecordState.ACTIVE
    assert view.find_agency("H99") is None


def test_unknown_and_malformed_codes_resolve_to_nothing(tree: Tree) -> None:
    view = tree.view()
    with expects("agency_unknown", RequestError, field="to[1]"):
        view.resolve("H99", field="to[1]")
    with expects("agency_code_malformed", RequestError):
        view.resolve("h38")
    with expects("agency_unknown", RequestError):
        view.agency("H99")
    with expects("centre_unknown", RequestError):
        view.centre("00.09.W00")


def test_an_alias_claimed_twice_resolves_to_neither_until_one_gives_it_up(tree: Tree) -> None:
    for code in ("H38", "H38.7"):
        if code not in tree.agencies:
            tree.add_agency(code, "00.03.W00")
        tree.publish(tree.next_agency(code, aliases=("000.00.01.H38",)))
    with expects("agency_ambiguous", RequestError):
        tree.view().resolve("000.00.01.H38")
    tree.publish(tree.next_agency("H38", aliases=()))
    assert tree.view().resolve("000.00.01.H38").code == "H38.7"


def test_a_primary_code_that_another_claims_as_alias_resolves_to_neither(tree: Tree) -> None:
    tree.publish(tree.next_agency("G12", registrar=ROLE_ROOT, aliases=("H38",)))
    view = tree.view()
    with expects("agency_ambiguous", RequestError):
        view.resolve("H38")
    assert view.agency("H38").code == "H38"


def test_a_closed_agency_is_found_unless_a_living_one_claims_its_text(tree: Tree) -> None:
    tree.publish(tree.next_agency("H38", aliases=("000.00.01.H38",)))
    tree.publish(tree.next_agency("H38", state=RecordState.CLOSED, successors=("G12",)))
    view = tree.view()
    assert view.resolve("000.00.01.H38").successors == ("G12",)
    assert view.resolve("H38").state is RecordState.CLOSED
    tree.publish(tree.next_agency("G12", registrar=ROLE_ROOT, aliases=("000.00.01.H38", "H38")))
    assert {tree.view().resolve(text).code for text in ("000.00.01.H38", "H38")} == {"G12"}


def test_a_host_is_named_with_its_epoch_and_lists_its_agencies(tree: Tree) -> None:
    tree.publish(tree.next_agency("G22.99", host="00.02.W00", epoch=2), tree.centres["00.01.W00"].signer)
    view = tree.view()
    host, epoch = view.host_of("G22.99")
    assert (host.code, epoch) == ("00.02.W00", 2)
    assert [record.code for record in view.agencies_hosted_by("00.01.W00")] == ["G22"]
    assert [record.code for record in view.agencies_hosted_by("00.02.W00")] == ["G12", "G22.99"]
    assert [record.code for record in view.agencies_hosted_by("00.02.W00", after="G12")] == ["G22.99"]


def test_agencies_come_in_pages(tree: Tree) -> None:
    view = tree.view()
    assert [record.code for record in view.agencies(limit=3)] == ["G12", "G22", "G22.99"]
    assert [record.code for record in view.agencies(after="G22.99")] == ["H38"]


def test_a_self_lock_holds_until_a_later_version_of_the_record(tree: Tree) -> None:
    tree.signed.append(lock(tree, tree.centres["00.02.W00"].signer, tree.tick()))
    view = tree.view()
    assert view.state("G12") is RecordState.LOCKED
    party = view.party("G12", at_ms=TREE_READY_MS)
    assert party is not None
    assert party.state == "locked"
    found = view.lock("G12")
    assert found is not None
    assert found.value == Lock(code="G12", created_ms=tree.clock_ms)
    tree.publish(tree.next_agency("G12"))
    assert tree.view().state("G12") is RecordState.ACTIVE


# --- centres --------------------------------------------------------------------------------


def test_a_peer_id_leads_to_its_one_open_centre(tree: Tree) -> None:
    centre = tree.centres["00.01.W00"]
    old = centre.peer_id
    found = tree.view().centre_of_peer(old)
    assert found is not None
    assert found.code == "00.01.W00"
    fresh = Centre.make(9, "00.01.W00").peer_id
    tree.publish(tree.next_centre("00.01.W00", peer_id=fresh), centre.signer)
    view = tree.view()
    assert view.centre_of_peer(old) is None
    assert view.centre_of_peer(fresh) is not None
    tree.publish(tree.next_centre("00.01.W00", state=RecordState.CLOSED))
    view = tree.view()
    assert view.centre_of_peer(fresh) is None
    assert [record.code for record in view.peers()] == ["00.02.W00", "00.03.W00"]


def test_a_peer_id_that_two_centres_claim_leads_to_neither(tree: Tree) -> None:
    tree.add_centre("00.04.W00", peer_id=tree.centres["00.01.W00"].peer_id)
    assert tree.view().centre_of_peer(tree.centres["00.01.W00"].peer_id) is None


def test_centres_and_things_can_be_asked_for(tree: Tree) -> None:
    view = tree.view()
    assert view.centre_exists("00.01.W00")
    assert not view.centre_exists("00.09.W00")
    assert view.root_digest() == tree.anchor
    assert view.thing(tree.anchor) == tree.signed[0]
    assert view.thing(bytes(32)) is None
    assert view.node_record("00.01.W00") is None


# --- parties --------------------------------------------------------------------------------


def test_a_party_has_the_keys_of_its_host_and_names_its_records(tree: Tree) -> None:
    view = tree.view()
    party = view.party("G22.99", at_ms=TREE_READY_MS)
    assert party is not None
    centre = tree.centres["00.01.W00"]
    assert set(party.signers) == set(party.centre_signers) == {centre.signer.public.key_id}
    assert party.sealing == (centre.sealing.key_id, centre.sealing.public_raw)
    assert (party.state, party.centre, party.epoch, party.own_keys) == ("active", "00.01.W00", 1, False)
    assert party.records == (view.agency_versions("G22.99")[0].digest, view.centre_versions("00.01.W00")[0].digest)
    assert view.party("H99", at_ms=TREE_READY_MS) is None


def test_an_agency_with_own_keys_speaks_by_them_and_its_centre_for_itself(tree: Tree) -> None:
    own = Ed25519Signer(key_seed(1, "own"))
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(own),))
    party = tree.view().party("G13", at_ms=TREE_READY_MS)
    assert party is not None
    assert set(party.signers) == {own.public.key_id}
    assert set(party.centre_signers) == {tree.centres["00.02.W00"].signer.public.key_id}
    assert party.own_keys


def test_a_party_under_an_older_epoch_is_its_old_host(tree: Tree) -> None:
    tree.publish(tree.next_agency("G22.99", host="00.02.W00", epoch=2), tree.centres["00.01.W00"].signer)
    view = tree.view()
    old, new = view.party("G22.99", at_ms=TREE_READY_MS, epoch=1), view.party("G22.99", at_ms=TREE_READY_MS)
    assert old is not None
    assert new is not None
    assert (old.centre, new.centre) == ("00.01.W00", "00.02.W00")
    assert set(old.centre_signers) == {tree.centres["00.01.W00"].signer.public.key_id}
    assert view.party("G22.99", at_ms=TREE_READY_MS, epoch=7) is None


def test_after_a_move_the_old_hosts_key_counts_for_what_was_made_before(tree: Tree) -> None:
    tree.clock_ms += DAY_MS
    tree.publish(tree.next_agency("G22.99", host="00.02.W00", epoch=2), tree.centres["00.01.W00"].signer)
    moved_ms = tree.clock_ms
    view = tree.view(START_MS + 5 * DAY_MS)
    old, new = (tree.centres[code].signer.public.key_id for code in ("00.01.W00", "00.02.W00"))
    assert set(keys_for(view, "G22.99", Purpose.AGENCY, moved_ms - 3_600_000).keys) == {old, new}
    assert set(keys_for(view, "G22.99", Purpose.AGENCY, moved_ms + CLOCK_SKEW_MS).keys) == {new}
    assert set(keys_for(view, "G22.99", Purpose.AGENCY, moved_ms + CLOCK_SKEW_MS - 1).keys) == {old, new}


def test_a_closed_agency_is_spoken_for_by_its_living_successors(tree: Tree) -> None:
    tree.clock_ms += DAY_MS
    tree.publish(tree.next_agency("G12", state=RecordState.CLOSED, successors=("G22.99", "H77", "G12.9")))
    tree.publish(tree.next_agency("G22.99", state=RecordState.CLOSED, successors=("H38", "G12")))
    view = tree.view(START_MS + 5 * DAY_MS)
    later = keys_for(view, "G12", Purpose.AGENCY, START_MS + 4 * DAY_MS)
    assert set(later.keys) == {tree.centres["00.03.W00"].signer.public.key_id}
    assert view.agency_versions("H38")[0].digest in later.records
    before = keys_for(view, "G12", Purpose.AGENCY, START_MS + 3_600_000)
    assert tree.centres["00.02.W00"].signer.public.key_id in before.keys
    hosting = keys_for(view, "G12", Purpose.CENTRE, START_MS + 4 * DAY_MS)
    assert set(hosting.keys) == {tree.centres["00.02.W00"].signer.public.key_id}


def test_every_key_that_was_ever_listed_is_found_with_those_of_hosts_and_successors(tree: Tree) -> None:
    """What the trace and `sign_again` look among: revoked keys too, and bodies that succeed each other in a ring."""
    own = Ed25519Signer(key_seed(1, "own"))
    first, second = (tree.centres[code].signer for code in ("00.02.W00", "00.03.W00"))
    revoked = replace(entry_of(own), revoked_ms=START_MS)
    tree.publish(tree.next_agency("G12", keys=(revoked,)), first)
    tree.publish(tree.next_agency("G12", state=RecordState.CLOSED, successors=("H38", "H77")))
    tree.publish(tree.next_agency("H38", state=RecordState.CLOSED, successors=("G12",)))
    found = tree.view().listed_keys("G12")
    assert set(found) == {key.public.key_id for key in (own, first, second)}
    assert tree.view().listed_keys("H99") == {}


def test_a_closed_agency_without_successors_still_speaks_for_itself(tree: Tree) -> None:
    tree.publish(tree.next_agency("G12", state=RecordState.CLOSED))
    assert keys_for(tree.view(), "G12", Purpose.AGENCY, TREE_READY_MS).keys


def test_unknown_agencies_and_centres_have_no_keys(tree: Tree) -> None:
    view = tree.view()
    assert not keys_for(view, "H99", Purpose.AGENCY, TREE_READY_MS).keys
    assert not centre_keys(view, "00.09.W00", TREE_READY_MS).keys
    tree.add_agency("G13", "00.09.W00")
    party = tree.view().party("G13", at_ms=TREE_READY_MS)
    assert party is not None
    assert not party.signers
    assert party.sealing is None


def test_a_key_counts_from_its_beginning_less_the_clocks_tolerance_to_its_end(tree: Tree) -> None:
    short = Ed25519Signer(key_seed(1, "short"))
    begin, end = START_MS + DAY_MS, START_MS + 2 * DAY_MS
    tree.add_agency("G13", "00.02.W00", keys=(entry_of(short, from_ms=begin, until_ms=end),))
    view = tree.view(START_MS + 5 * DAY_MS)
    times = (begin - CLOCK_SKEW_MS - 1, begin - CLOCK_SKEW_MS, end - 1, end)
    found = [bool(keys_for(view, "G13", Purpose.AGENCY, at_ms).keys) for at_ms in times]
    assert found == [False, True, True, False]


def test_stanzas_go_to_the_newest_valid_sealing_key(tree: Tree) -> None:
    centre, fresh = tree.centres["00.03.W00"], Centre.make(9, "00.03.W00")
    later = START_MS + DAY_MS + 3_600_000
    entries = (sealing_entry(centre.sealing), sealing_entry(fresh.sealing, from_ms=later))
    tree.publish(tree.next_centre("00.03.W00", sealing=entries), centre.signer)
    view = tree.view()
    chosen = [view.party("H38", at_ms=at_ms) for at_ms in (TREE_READY_MS, later)]
    assert [party.sealing[0] for party in chosen if party is not None and party.sealing is not None] == [
        centre.sealing.key_id,
        fresh.sealing.key_id,
    ]
    assert newest_valid([replace(entries[0], revoked_ms=1)], later) is None


def test_a_closed_centre_takes_no_stanzas(tree: Tree) -> None:
    tree.publish(tree.next_centre("00.03.W00", state=RecordState.CLOSED))
    party = tree.view().party("H38", at_ms=TREE_READY_MS)
    assert party is not None
    assert party.sealing is None


# --- the cache ------------------------------------------------------------------------------


def test_the_cache_forgets_the_record_used_longest_ago(tree: Tree) -> None:
    records = tree.records()
    view = DirectoryView(records, RecordCache(records_max=1))
    digest = view.agency_versions("G12")[0].digest
    view.agency("H38")
    records.stage([Delete(DirectoryThing, (digest,))])
    assert view.agency("H38").code == "H38"
    with expects("directory_damaged", StoreError):
        view.agency("G12")
