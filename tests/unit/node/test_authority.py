"""The authority's folder: what it signs is what nodes believe, and no number is given twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from node.authority import Authority, open_authority
from node.authority_act import rotated
from node.authority_folder import BOOK_FILE, ISSUED_FILE, AuthorityFolder
from node.authority_root import KeyPlan, create_authority
from node.countersigning import endorse, merged
from node.requests import key_entry, make_agency_request, make_centre_request
from protocol.checkpoint import CHECKPOINT
from protocol.credentials import EXTENSION
from protocol.directory import (
    AGENCY,
    AGENCY_REQUEST,
    CENTRE,
    CENTRE_REQUEST,
    NODE,
    ROLE_LEVEL_1,
    ROLE_ROOT,
    ROOT,
    AgencyRequest,
    CentreRecord,
    Delegation,
    Names,
    NodeRecord,
    RecordState,
)
from protocol.directory_file import read_file
from protocol.errors import ConfigurationError, FormatError, NotNow, RequestError, StoreError, TrustError
from protocol.limits import DAY_MS
from protocol.signing import Ed25519Signer, Signed, countersign, sign
from storage.folder import OsFolder
from storage.keystore import Cost
from tests.support.errors import expects
from tests.support.pki import NationalPki
from tests.support.tree import START_MS, Centre, Tree, key_seed

CHEAP = Cost(memory_kib=8, passes=1)
PASSPHRASE = b"mat khau"
NAMES = Names(vi="Bộ Tài chính")
NOW = START_MS + 1_000
HOLDER = NationalPki().holder
CENTRE_1, CENTRE_2 = Centre.make(1, "00.01.W00"), Centre.make(1, "00.02.W00")


def entropy() -> Callable[[int], bytes]:
    """Different bytes at each call, the same in each run."""
    calls: Iterator[int] = count()
    return lambda size: key_seed(7, str(next(calls)))[:size]


def folder(path: Path) -> AuthorityFolder:
    return AuthorityFolder(OsFolder(path))


def made(path: Path, **plan: int) -> Authority:
    return create_authority(
        folder(path),
        name="Trục",
        passphrase=PASSPHRASE,
        entropy=entropy(),
        now_ms=START_MS,
        plan=KeyPlan(**plan),
        cost=CHEAP,
    )


def reopened(path: Path, now_ms: int = NOW) -> Authority:
    return open_authority(folder(path), passphrase=PASSPHRASE, now_ms=now_ms)


def request_of(centre: Centre, now_ms: int = START_MS, **changes: Any) -> Signed:
    how: dict[str, Any] = {
        "code": centre.code,
        "names": Names(vi=f"Trung tâm {centre.code}"),
        "peer_id": centre.peer_id,
        "signers": [centre.signer],
        "sealing_raw": centre.sealing.public_raw,
        "now_ms": now_ms,
    }
    return make_centre_request(**{**how, **changes})


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Two centres, G12 at the first."""
    opened = made(tmp_path)
    for centre in (CENTRE_1, CENTRE_2):
        opened.register_centre(request_of(centre), NOW)
    opened.register_agency(code="G12", names=NAMES, host="00.01.W00", now_ms=NOW)
    return opened


def believed(authority: Authority, now_ms: int = NOW + 60_000) -> dict[str, str]:
    """What a node rejects of the authority's file, by what it is about."""
    return {item.about: item.error.code for item in authority.waiting(now_ms).rejected}


# --- a tree ---------------------------------------------------------------------------------


def test_a_tree_is_made_from_requests_and_believed_by_a_node(authority: Authority) -> None:
    assert believed(authority) == {}
    record = authority.view.agency("G12")
    assert (record.registrar, record.number, record.host, record.epoch) == (ROLE_LEVEL_1, 5, "00.01.W00", 1)
    assert len(read_file(authority.directory_file())) == 7, "each act ends with a checkpoint"
    assert authority.view.root_digest() == authority.anchor


def test_the_same_time_and_entropy_make_the_same_tree(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        opened = made(tmp_path / name, root_keys=2, root_threshold=2)
        opened.register_centre(request_of(CENTRE_1), NOW)
        files.append(opened.directory_file())
    assert files[0] == files[1]


def test_numbers_and_dates_go_on_after_reopening_whatever_the_clock_says(authority: Authority, tmp_path: Path) -> None:
    before = authority.view.agency("G12")
    again = reopened(tmp_path, START_MS - 10_000)
    again.change_agency("G12", START_MS - 10_000, kind="bộ")
    after = again.view.agency("G12")
    assert after.number == before.number + 2
    assert after.created_ms > before.created_ms


def test_an_older_copy_of_the_records_signs_nothing(authority: Authority, tmp_path: Path) -> None:
    issued = (tmp_path / ISSUED_FILE).read_bytes()
    authority.change_agency("G12", NOW, kind="bộ")
    newer = (tmp_path / ISSUED_FILE).read_bytes()
    (tmp_path / ISSUED_FILE).write_bytes(issued)
    with expects("authority_behind", ConfigurationError):
        reopened(tmp_path).change_agency("G12", NOW, kind="bộ")
    (tmp_path / ISSUED_FILE).write_bytes(newer)
    assert reopened(tmp_path).change_agency("G12", NOW, kind="sở").digest


def test_a_book_that_did_not_learn_of_the_last_act_learns_from_the_records(
    authority: Authority, tmp_path: Path
) -> None:
    book = (tmp_path / BOOK_FILE).read_bytes()
    authority.change_agency("G12", NOW, kind="bộ")
    (tmp_path / BOOK_FILE).write_bytes(book)
    again = reopened(tmp_path)
    again.change_agency("G12", NOW, kind="sở")
    assert again.view.agency("G12").number == 9
    assert believed(again) == {}


@pytest.mark.parametrize("name", [BOOK_FILE, ISSUED_FILE])
def test_a_damaged_folder_is_noticed(authority: Authority, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xc1")
    with expects("authority_damaged", ConfigurationError):
        reopened(tmp_path)


def test_a_folder_holds_one_authority(authority: Authority, tmp_path: Path) -> None:
    with expects("authority_exists", ConfigurationError):
        made(tmp_path)
    with expects("authority_missing", ConfigurationError):
        reopened(tmp_path / "elsewhere")
    with expects("keystore_passphrase", ConfigurationError):
        open_authority(folder(tmp_path), passphrase=b"sai", now_ms=NOW)


@pytest.mark.parametrize("plan", [{"root_threshold": 2}, {"level_1_threshold": 0}, {"root_keys": 10}])
def test_impossible_thresholds_make_nothing(tmp_path: Path, plan: dict[str, int]) -> None:
    with expects("authority_threshold", ConfigurationError):
        made(tmp_path, **plan)
    assert not folder(tmp_path).exists()


def test_a_wrong_name_makes_no_key(tmp_path: Path) -> None:
    with expects("format_field", FormatError, field="name"):
        create_authority(folder(tmp_path), name=" x", passphrase=PASSPHRASE, entropy=entropy(), now_ms=NOW, cost=CHEAP)
    assert folder(tmp_path).key_names() == ()


def test_a_damaged_key_file_is_not_taken_for_another_custodians(authority: Authority, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "root-1.key"
    path.write_bytes(path.read_bytes()[:-1])
    with expects("key_backup_damaged", ConfigurationError):
        reopened(tmp_path)


# --- agencies -------------------------------------------------------------------------------


def test_a_request_of_an_agency_becomes_its_record(authority: Authority) -> None:
    own = Ed25519Signer(key_seed(1, "own"))
    wish = AgencyRequest(
        created_ms=NOW, code="G12.7", names=NAMES, host="00.02.W00", parent="G12", keys=(key_entry(own.public, NOW),)
    )
    authority.register_request(make_agency_request(wish, [own]), NOW)
    assert authority.view.agency("G12.7").keys == wish.keys
    with expects("directory_possession", TrustError):
        authority.register_request(make_agency_request(wish, [CENTRE_2.signer]), NOW)


def test_an_agency_needs_a_registered_host_and_a_known_code(authority: Authority) -> None:
    with expects("centre_unknown", RequestError):
        authority.register_agency(code="G13", names=NAMES, host="00.09.W00", now_ms=NOW)
    with expects("agency_unknown", RequestError):
        authority.change_agency("G13", NOW, kind="bộ")
    with expects("centre_unknown", RequestError):
        authority.change_agency("G12", NOW, host="00.09.W00")
    with expects("format_agency_code", FormatError):
        authority.register_agency(code="g13", names=NAMES, host="00.01.W00", now_ms=NOW)
    assert believed(authority) == {}


def test_locking_and_closing_with_successors(authority: Authority) -> None:
    authority.register_agency(code="G13", names=NAMES, host="00.02.W00", now_ms=NOW)
    authority.change_agency("G12", NOW, state=RecordState.LOCKED)
    assert authority.view.state("G12") is RecordState.LOCKED
    authority.close_agency("G12", NOW, successors=["G13"])
    assert authority.view.agency("G12").successors == ("G13",)
    assert believed(authority) == {}


def test_an_alias_of_the_new_form_is_signed_as_root(authority: Authority) -> None:
    authority.change_agency("G12", NOW, aliases=("G99",))
    assert believed(authority) == {"truc/agency/1 G12": "directory_alias"}
    authority.change_agency("G12", NOW, registrar=ROLE_ROOT, aliases=("G99",))
    assert authority.view.resolve("G99").code == "G12"


def test_a_key_of_the_folder_becomes_a_registrars(authority: Authority, tmp_path: Path) -> None:
    key = authority.make_key("g13", PASSPHRASE, entropy=entropy(), cost=CHEAP)
    delegation = Delegation(keys=(key_entry(key, NOW),))
    authority.register_agency(code="G13", names=NAMES, host="00.02.W00", now_ms=NOW, delegation=delegation)
    again = reopened(tmp_path)
    assert again.key_names == ("g13", "level-1-1", "root-1")
    assert again.key("g13") == key
    assert again.key("g14") is None
    again.register_agency(code="G13.1", names=NAMES, host="00.02.W00", now_ms=NOW, registrar="G13")
    assert again.view.agency("G13.1").number == 1
    assert believed(again) == {}


# --- moves, rotation, endorsement -----------------------------------------------------------


def test_a_move_takes_the_next_epoch_and_waits_for_the_old_host(authority: Authority) -> None:
    authority.change_agency("G12", NOW, host="00.02.W00")
    assert believed(authority) == {"truc/agency/1 G12": "directory_pending"}
    assert authority.view.agency("G12").host == "00.01.W00"
    answered = endorse(read_file(authority.directory_file()), [CENTRE_1.signer, CENTRE_2.signer], NOW + 10)
    assert [item.signed.format for item in answered if item.gained] == [AGENCY.name]
    gained = authority.sign([item.signed.to_wire() for item in answered], NOW + 10)
    assert gained == []
    record = authority.view.agency("G12")
    assert (record.host, record.epoch) == ("00.02.W00", 2)
    assert believed(authority) == {}


def test_a_move_that_nobody_endorsed_is_in_force_a_day_later(authority: Authority, tmp_path: Path) -> None:
    authority.change_agency("G12", NOW, host="00.02.W00")
    assert reopened(tmp_path, NOW + DAY_MS - 1).view.agency("G12").host == "00.01.W00"
    later = reopened(tmp_path, NOW + DAY_MS + 60_000)
    assert later.view.agency("G12").host == "00.02.W00"
    assert believed(later, NOW + DAY_MS + 60_000) == {}


def test_a_centre_rotates_its_keys_by_a_new_request(authority: Authority) -> None:
    fresh = Centre.make(2, "00.01.W00")
    authority.register_centre(request_of(fresh, NOW), NOW)
    assert believed(authority) == {"truc/centre/1 00.01.W00": "directory_pending"}
    things = read_file(authority.directory_file())
    gained = authority.sign(things, NOW + 10, further=[CENTRE_1.signer])
    assert len(gained) == 1
    record = authority.view.centre("00.01.W00")
    assert [entry.key_id for entry in record.keys] == [fresh.signer.public.key_id, CENTRE_1.signer.public.key_id]
    assert record.keys[1].until_ms <= record.created_ms
    assert believed(authority) == {}


def test_a_repeated_request_with_the_same_keys_needs_no_endorsement(authority: Authority) -> None:
    authority.register_centre(request_of(CENTRE_1, NOW + 5, names=Names(vi="Tên mới")), NOW + 5)
    assert authority.view.centre("00.01.W00").names.vi == "Tên mới"
    assert believed(authority) == {}


def certified(authority: Authority, *keys: bytes) -> bytes:
    """Credentials for keys of the first centre, put into its record; another extension lies beside them."""
    value = HOLDER.credentials(*(HOLDER.proof("00.01.W00", "00.01.W00", key) for key in keys))
    authority.change_centre("00.01.W00", NOW + 1, extensions={EXTENSION: value, 200: "của người khác"})
    return value


def asked_again(authority: Authority, request: Signed) -> tuple[CentreRecord, list[str]]:
    """The record that a further request makes, and whose certificates were taken out."""
    act = authority.act(NOW + 10)
    act.register_centre(request)
    (signed,) = authority.complete(act)
    return CENTRE.decode(signed.statement), act.taken_out


def test_what_a_further_request_does_not_speak_of_stays_in_a_centres_record(authority: Authority) -> None:
    value = certified(authority, CENTRE_1.signer.public.key_id)
    authority.change_centre("00.01.W00", NOW + 2, state=RecordState.LOCKED)
    record, taken_out = asked_again(authority, request_of(CENTRE_1, NOW + 5, names=Names(vi="Tên mới")))
    assert (record.names.vi, record.state, taken_out) == ("Tên mới", RecordState.LOCKED, [])
    assert record.extensions == {EXTENSION: value, 200: "của người khác"}


def test_a_certificate_that_endorses_no_key_of_now_is_taken_out_and_told(authority: Authority) -> None:
    certified(authority, CENTRE_1.signer.public.key_id)
    record, taken_out = asked_again(authority, request_of(Centre.make(2, "00.01.W00"), NOW + 5))
    assert (record.extensions, taken_out) == ({200: "của người khác"}, ["00.01.W00"])


def test_a_certificate_that_endorses_the_new_key_already_stays_without_the_old_ones_proof(authority: Authority) -> None:
    fresh = Centre.make(2, "00.01.W00")
    certified(authority, CENTRE_1.signer.public.key_id, fresh.signer.public.key_id)
    record, taken_out = asked_again(authority, request_of(fresh, NOW + 5))
    proof = HOLDER.proof("00.01.W00", "00.01.W00", fresh.signer.public.key_id)
    assert (record.extensions[EXTENSION], taken_out) == (HOLDER.credentials(proof), [])


def with_extensions(request: Signed, centre: Centre, **extensions: object) -> Signed:
    value = CENTRE_REQUEST.decode(request.statement)
    more = {int(key[1:]): item for key, item in extensions.items()}
    return sign(CENTRE_REQUEST.name, CENTRE_REQUEST.encode(replace(value, extensions=more)), centre.signer)


def test_a_certificate_in_the_request_itself_takes_the_place_of_the_old_one(authority: Authority) -> None:
    fresh = Centre.make(2, "00.01.W00")
    certified(authority, CENTRE_1.signer.public.key_id)
    value = HOLDER.credentials(HOLDER.proof("00.01.W00", "00.01.W00", fresh.signer.public.key_id))
    request = with_extensions(request_of(fresh, NOW + 5), fresh, _128=value, _201="không ai đọc được")
    record, taken_out = asked_again(authority, request)
    assert (record.extensions, taken_out) == ({EXTENSION: value, 200: "của người khác"}, [])


@pytest.mark.parametrize("centre", [CENTRE_1, Centre.make(1, "00.03.W00")], ids=["known", "new"])
def test_a_request_with_credentials_that_cannot_be_read_is_refused(authority: Authority, centre: Centre) -> None:
    request = with_extensions(request_of(centre, NOW + 5), centre, _128=b"abc")
    with expects("pki_malformed", FormatError):
        authority.register_centre(request, NOW + 10)


def test_credentials_that_cannot_be_read_do_not_outlive_the_next_request(authority: Authority) -> None:
    authority.change_centre("00.01.W00", NOW + 1, extensions={EXTENSION: b"abc"})
    record, taken_out = asked_again(authority, request_of(CENTRE_1, NOW + 5))
    assert (record.extensions, taken_out) == ({}, ["00.01.W00"])


def test_an_agencys_request_brings_its_certificate(authority: Authority) -> None:
    value = HOLDER.credentials(HOLDER.proof("G13", "00.01.W00", CENTRE_1.signer.public.key_id))
    asked = AgencyRequest(created_ms=NOW, code="G13", names=NAMES, host="00.01.W00", extensions={EXTENSION: value})
    authority.register_request(make_agency_request(asked, [CENTRE_1.signer]), NOW + 1)
    assert authority.view.agency("G13").extensions == {EXTENSION: value}


def test_a_centre_can_be_closed(authority: Authority) -> None:
    authority.change_centre("00.02.W00", NOW, state=RecordState.CLOSED)
    assert authority.view.centre("00.02.W00").state is RecordState.CLOSED


def test_a_revoked_key_stays_listed_as_revoked_when_keys_rotate() -> None:
    old = key_entry(CENTRE_1.signer.public, START_MS)
    gone = replace(key_entry(CENTRE_2.signer.public, START_MS), revoked_ms=NOW)
    assert rotated([old, gone], [old], NOW) == (old, replace(gone, until_ms=NOW))


# --- several custodians ---------------------------------------------------------------------


def custodian(path: Path, target: Path, *keys: str) -> Path:
    """A copy of the folder with only these keys."""
    shutil.copytree(path, target)
    for file in (target / "keys").iterdir():
        if file.stem not in keys:
            file.unlink()
    return target


def test_two_custodians_sign_one_record_in_turn(tmp_path: Path) -> None:
    made(tmp_path / "all", level_1_keys=3, level_1_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-3"))
    one.register_centre(request_of(CENTRE_1), NOW)
    assert believed(one) == {
        "truc/centre/1 00.01.W00": "directory_threshold",
        "truc/checkpoint/1 level-1": "directory_threshold",
    }
    gained = two.sign(read_file(one.directory_file()), NOW)
    assert [item.format for item in gained] == [CENTRE.name, CHECKPOINT.name]
    assert believed(two) == {}
    assert one.sign(read_file(two.directory_file()), NOW) == []
    assert believed(one) == {}
    assert (
        reopened(tmp_path / "two").register_agency(code="G12", names=NAMES, host="00.01.W00", now_ms=NOW).digest
        != gained[0].digest
    )
    assert reopened(tmp_path / "two").view.numbered(ROLE_LEVEL_1, 1, 1) == gained[0].digest


def test_without_a_registrars_key_nothing_is_signed(tmp_path: Path) -> None:
    made(tmp_path / "all")
    only_root = reopened(custodian(tmp_path / "all", tmp_path / "root", "root-1"))
    only_root.register_centre(request_of(CENTRE_1), NOW)
    assert only_root.view.centre("00.01.W00").registrar == ROLE_ROOT
    with expects("authority_keys_missing", ConfigurationError):
        only_root.register_centre(request_of(CENTRE_2), NOW, registrar=ROLE_LEVEL_1)
    nobody = reopened(custodian(tmp_path / "all", tmp_path / "nobody"))
    with expects("authority_keys_missing", ConfigurationError):
        nobody.register_centre(request_of(CENTRE_1), NOW)


def test_a_key_signs_only_what_the_rules_ask_it_for(authority: Authority) -> None:
    node = NodeRecord(centre="00.01.W00", peer_id=CENTRE_1.peer_id, from_ms=NOW, until_ms=NOW + 1, addresses=())
    foreign = Tree.make(5)
    things = [sign(NODE.name, NODE.encode(node), CENTRE_1.signer).to_wire(), *foreign.things]
    assert authority.sign(things, NOW) == []
    request = make_agency_request(
        AgencyRequest(created_ms=NOW, code="G12.7", names=NAMES, host="00.01.W00", parent="G12"), [CENTRE_1.signer]
    )
    assert request.format == AGENCY_REQUEST.name
    with expects("directory_format", FormatError):
        authority.sign([request.to_wire()], NOW)


def test_numbers_of_a_forged_record_do_not_enter_the_book(authority: Authority, tmp_path: Path) -> None:
    record = replace(authority.view.agency("G12"), number=2**63 - 1, created_ms=NOW + 5)
    forged = sign(AGENCY.name, AGENCY.encode(record), CENTRE_2.signer)
    authority.sign([forged.to_wire()], NOW)
    again = reopened(tmp_path)
    again.change_agency("G12", NOW, kind="bộ")
    assert again.view.agency("G12").number == 7


def test_no_key_turns_somebody_elses_draft_into_a_record(authority: Authority) -> None:
    stranger = Ed25519Signer(key_seed(1, "stranger"))
    known = authority.view.agency("G12")
    taken = replace(known, host="00.02.W00", epoch=2, number=9, created_ms=NOW + 5)
    unknown = replace(taken, registrar="G12")
    drafts = [sign(AGENCY.name, AGENCY.encode(record), stranger) for record in (taken, unknown)]
    issued = authority.view.agency_versions("G12")[0]
    broken = authority.view.thing(issued.digest)
    assert broken is not None
    drafts.append(replace(broken, statement=AGENCY.encode(taken)))
    assert authority.sign([draft.to_wire() for draft in drafts], NOW, further=[CENTRE_1.signer]) == []
    assert authority.view.agency("G12") == known


def test_custodians_sign_the_next_root_in_turn(tmp_path: Path) -> None:
    made(tmp_path / "all", root_keys=3, root_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "root-1", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "root-2", "level-1-1"))
    present = one.view.root_versions()[0].value
    wanted = replace(present, version=2, created_ms=NOW, name="Trục mới")
    stranger = Ed25519Signer(key_seed(1, "stranger"))
    draft = sign(ROOT.name, ROOT.encode(wanted), stranger)
    assert one.sign([draft.to_wire()], NOW) == []
    key = folder(tmp_path / "one").open_keys(PASSPHRASE)["root-1"]
    begun = sign(ROOT.name, ROOT.encode(wanted), key)
    assert two.sign([begun.to_wire()], NOW) != []
    assert two.view.root_versions()[0].value.name == "Trục mới"
    assert believed(two) == {}


def test_copies_of_one_thing_are_merged_as_far_as_there_is_room(authority: Authority) -> None:
    record = authority.view.thing(authority.view.agency_versions("G12")[0].digest)
    assert record is not None
    assert merged(None, record) == record
    crowd = record
    for n in range(15):
        crowd = countersign(crowd, Ed25519Signer(key_seed(1, f"crowd {n}")))
    other = countersign(record, Ed25519Signer(key_seed(1, "late")))
    assert merged(crowd, other) == crowd
    assert merged(record, other) == other


def test_endorsing_needs_the_tree_in_the_same_file(authority: Authority) -> None:
    with expects("directory_no_root", NotNow):
        endorse([], [CENTRE_1.signer], NOW)
    root = authority.view.thing(authority.anchor)
    assert root is not None
    unsigned = sign(ROOT.name, root.statement, CENTRE_1.signer)
    assert not any(item.gained for item in endorse([unsigned.to_wire()], [CENTRE_1.signer], NOW))


def test_a_full_disk_gives_no_record(authority: Authority, tmp_path: Path) -> None:
    class Full(OsFolder):
        def append(self, name: str, content: bytes) -> None:
            raise StoreError("disk_full")

    opened = open_authority(AuthorityFolder(Full(tmp_path)), passphrase=PASSPHRASE, now_ms=NOW)
    before = opened.directory_file()
    with expects("disk_full", StoreError):
        opened.change_agency("G12", NOW, kind="bộ")
    assert opened.directory_file() == before
