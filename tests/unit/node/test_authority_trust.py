"""Who may sign: roots that change hands, four levels of registrars, lost and stolen keys, restored folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from node.authority import Authority, open_authority
from node.authority_folder import ISSUED_FILE
from node.authority_recovery import Recovered, recover, see
from node.authority_registrar import Applicant, apply_as_registrar
from node.authority_root import RolePlan, make_role_keys, next_root
from node.authority_trust import (
    admit_heartbeat_key,
    beat,
    cut_off,
    delegate,
    dismiss_heartbeat_key,
    make_urgent,
    revoke_key,
)
from node.requests import key_entry
from protocol.checkpoint import CHECKPOINT, HEARTBEAT, fork_of, fork_wire, heartbeat_keys
from protocol.directory import AGENCY, ROLE_LEVEL_1, ROLE_ROOT, ROOT, Delegation, Names, RecordState
from protocol.directory_file import read_file
from protocol.errors import ConfigurationError, NotNow, RequestError, TrustError
from protocol.limits import DAY_MS, HOUR_MS
from protocol.signing import Ed25519Signer, PublicKey, Signed, Verifier, sign
from tests.support.errors import expects
from tests.support.tree import key_seed
from tests.unit.node.test_authority import (
    CENTRE_1,
    CENTRE_2,
    CHEAP,
    NAMES,
    NOW,
    PASSPHRASE,
    believed,
    custodian,
    folder,
    made,
    reopened,
    request_of,
)

LATER = NOW + HOUR_MS
DAY_LATER = NOW + DAY_MS + HOUR_MS


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Two centres, G12 at the first; one folder with all keys."""
    return founded(tmp_path / "all")


def founded(path: Path, **plan: int) -> Authority:
    opened = made(path, **plan)
    act = opened.act(NOW)
    for centre in (CENTRE_1, CENTRE_2):
        act.register_centre(request_of(centre))
    act.register_agency(code="G12", names=NAMES, host="00.01.W00")
    opened.complete(act)
    return opened


def entropy_of(label: str) -> Callable[[int], bytes]:
    """Different bytes at each call and for each label."""
    calls = count()
    return lambda size: key_seed(8, f"{label} {next(calls)}")[:size]


class Ministry:
    """A registrar with a folder of its own, below another."""

    def __init__(self, path: Path, above: Authority, code: str, **who: Any) -> None:
        self.code = code
        self.path = path
        self.authority, self.request = apply_as_registrar(
            folder(path),
            Applicant(code=code, **who),
            read_file(above.directory_file()),
            anchor=above.anchor,
            passphrase=PASSPHRASE,
            entropy=entropy_of(f"{path.name} {code}"),
            now_ms=LATER,
            cost=CHEAP,
        )

    def take(self, other: Authority, now_ms: int = LATER) -> None:
        self.authority.keep(things_of(other), now_ms)


def things_of(authority: Authority) -> list[Signed]:
    return list(authority.issued.things.values())


def checkpoint_numbers(authority: Authority, name: str, generation: int = 1) -> list[int]:
    entries = authority.issued.log(name, generation).entries
    return [number for number, entry in sorted(entries.items()) if not entry.subject]


# --- checkpoints ----------------------------------------------------------------------------


def test_every_act_ends_with_one_checkpoint_that_says_the_truth(authority: Authority) -> None:
    assert checkpoint_numbers(authority, ROLE_LEVEL_1) == [4]
    authority.change_agency("G12", LATER, kind="bộ")
    log = authority.issued.log(ROLE_LEVEL_1, 1)
    first, second = (authority.issued.checkpoint(log.entries[n].digest) for n in (4, 6))
    assert first is not None and second is not None
    assert (first.count, second.count) == (3, 3)
    assert first.root != second.root
    assert second.previous == log.entries[4].digest
    assert log.is_whole


def test_one_signature_of_a_key_covers_all_of_an_act(tmp_path: Path) -> None:
    opened = founded(tmp_path, level_1_keys=2, level_1_threshold=2)
    act = opened.act(LATER)
    for n in range(1, 40):
        act.register_agency(code=f"G12.{n}", names=NAMES, host="00.01.W00")
    signed = opened.complete(act)
    verifier = Verifier()
    for name in ("level-1-1", "level-1-2"):
        key = opened.key(name)
        assert key is not None
        for item in signed:
            verifier.verify(item, key)
    assert verifier.operations == 2


def test_an_interrupted_act_keeps_its_numbers_and_is_completed_after_a_further_one(tmp_path: Path) -> None:
    founded(tmp_path / "all", level_1_keys=3, level_1_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-2"))
    one.change_agency("G12", LATER, kind="bộ")
    one.change_agency("G12", LATER, decision="1/QĐ")
    assert one.view.agency("G12").kind == ""
    assert set(believed(one, LATER).values()) == {"directory_threshold"}
    two.sign(read_file(one.directory_file()), LATER)
    record = two.view.agency("G12")
    assert (record.kind, record.decision) == ("bộ", "1/QĐ"), "the second starts from what the first begun"
    assert believed(two, LATER) == {}
    assert two.issued.log(ROLE_LEVEL_1, 1).is_whole


def test_no_second_thing_is_signed_under_a_number_and_no_false_checkpoint(tmp_path: Path) -> None:
    founded(tmp_path / "all", level_1_keys=3, level_1_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-2"))
    one.change_agency("G12", LATER, kind="bộ")
    two.change_agency("G12", LATER, kind="sở")
    assert two.sign(read_file(one.directory_file()), LATER) == []
    three = reopened(custodian(tmp_path / "all", tmp_path / "three", "level-1-3"))
    only = [signed.to_wire() for signed in things_of(one) if signed.format == CHECKPOINT.name]
    assert three.sign(only, LATER) == [], "what it says cannot be compared with anything here"


def test_what_others_completed_is_there_after_reopening(tmp_path: Path) -> None:
    founded(tmp_path / "all", level_1_keys=2, level_1_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-2"))
    one.change_agency("G12", LATER, kind="bộ")
    two.sign(read_file(one.directory_file()), LATER)
    assert one.sign(read_file(two.directory_file()), LATER) == []
    again = reopened(tmp_path / "one", LATER)
    assert again.view.agency("G12").kind == "bộ"
    assert believed(again, LATER) == {}


def test_what_nobody_entitled_signed_is_not_written_down(authority: Authority, tmp_path: Path) -> None:
    record = replace(authority.view.agency("G12"), number=99, created_ms=LATER)
    forged = sign(AGENCY.name, AGENCY.encode(record), CENTRE_2.signer)
    before = authority.directory_file()
    assert authority.sign([forged.to_wire()], LATER) == []
    assert authority.directory_file() == before
    assert (tmp_path / "all" / ISSUED_FILE).read_bytes() == before


def test_heartbeats_in_a_file_pass_by_and_fork_proofs_get_no_signature(authority: Authority, tmp_path: Path) -> None:
    key = authority.make_key("heartbeat", PASSPHRASE, entropy=entropy_of("beat"), cost=CHEAP)
    admit_heartbeat_key(authority, key, LATER)
    shutil.copytree(tmp_path / "all", tmp_path / "copy")
    twins = [
        opened.change_agency("G12", LATER + 5, kind=kind)
        for opened, kind in ((authority, "bộ"), (reopened(tmp_path / "copy"), "sở"))
    ]
    before = authority.directory_file()
    beside = [beat(authority, LATER + 10).to_wire(), fork_wire(fork_of(*twins))]
    assert authority.sign(beside, LATER + 10) == []
    assert authority.directory_file() == before
    see(authority, [*read_file(before), beside[0]], LATER + 10)
    assert authority.directory_file() == before


def test_fork_of_the_registrars_own_log_is_heard_of_by_the_proof_alone(authority: Authority, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "all", tmp_path / "copy")
    twins = [
        opened.change_agency("G12", LATER + 5, kind=kind)
        for opened, kind in ((authority, "bộ"), (reopened(tmp_path / "copy"), "sở"))
    ]
    proof = fork_wire(fork_of(*twins))
    with expects("authority_behind", ConfigurationError):
        see(authority, [proof], LATER + 10)
    done = recover(authority, ROLE_LEVEL_1, [proof], LATER + 20)
    assert (done.generation, len(done.entered)) == (2, 3)
    assert authority.change_agency("G12", LATER + 30, kind="cục").digest


def test_an_agency_is_registered_once_and_named_once_in_an_act(authority: Authority) -> None:
    with expects("authority_registered", ConfigurationError):
        authority.register_agency(code="G12", names=NAMES, host="00.01.W00", now_ms=LATER)
    act = authority.act(LATER)
    act.change_agency("G12", kind="bộ")
    with expects("authority_repeated", ConfigurationError):
        act.close_agency("G12")


# --- pending --------------------------------------------------------------------------------


def test_the_next_version_starts_from_the_pending_one(authority: Authority) -> None:
    authority.change_agency("G12", LATER, host="00.02.W00")
    authority.change_agency("G12", LATER, kind="bộ")
    assert believed(authority, LATER) == {"truc/agency/1 G12": "directory_pending"}
    assert believed(authority, DAY_LATER + HOUR_MS) == {}
    record = authority.view.agency("G12")
    assert (record.host, record.kind, record.epoch) == ("00.02.W00", "bộ", 2)


def test_a_move_that_is_taken_back_gets_an_epoch_above_the_pending_one(authority: Authority) -> None:
    authority.change_agency("G12", LATER, host="00.02.W00")
    authority.change_agency("G12", LATER, host="00.01.W00")
    assert believed(authority, LATER) == {}
    record = authority.view.agency("G12")
    assert (record.host, record.epoch) == ("00.01.W00", 3)


def test_the_root_role_makes_a_pending_version_urgent(tmp_path: Path) -> None:
    opened = founded(tmp_path / "all", root_keys=2, root_threshold=2)
    opened.change_agency("G12", LATER, host="00.02.W00")
    with expects("authority_nothing_pending", ConfigurationError):
        make_urgent(opened, "00.02.W00", LATER)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "root-1"), LATER)
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "root-2"), LATER)
    make_urgent(one, "G12", LATER)
    assert one.view.agency("G12").host == "00.01.W00"
    two.sign(read_file(one.directory_file()), LATER)
    make_urgent(two, "G12", LATER)
    assert two.view.agency("G12").host == "00.02.W00"
    nobody = reopened(custodian(tmp_path / "all", tmp_path / "nobody", "level-1-1"), LATER)
    with expects("authority_keys_missing", ConfigurationError):
        make_urgent(nobody, "G12", LATER)


def test_an_act_may_be_urgent_from_the_start(authority: Authority) -> None:
    authority.change_agency("G12", LATER, host="00.02.W00", urgent=True)
    assert authority.view.agency("G12").host == "00.02.W00"


# --- root -----------------------------------------------------------------------------------


def test_the_root_changes_hands_by_files(tmp_path: Path) -> None:
    founded(tmp_path / "all", root_keys=3, root_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "root-1"), LATER)
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "root-2"), LATER)
    fresh = make_role_keys(one, ROLE_ROOT, 2, PASSPHRASE, LATER, entropy=entropy_of("root"), cost=CHEAP)
    next_root(one, [RolePlan(name=ROLE_ROOT, fresh=fresh, threshold=2)], LATER)
    assert one.view.root_versions()[0].value.version == 1
    with expects("authority_root_begun", ConfigurationError):
        next_root(one, [RolePlan(name=ROLE_ROOT, threshold=1)], LATER)
    two.sign(read_file(one.directory_file()), LATER)
    root = two.view.root_versions()[0].value
    assert (root.version, len(root.keys)) == (2, 3)
    assert believed(two, LATER) == {}
    one.sign(read_file(two.directory_file()), LATER)
    one.change_agency("G12", LATER, registrar=ROLE_ROOT, kind="bộ")
    assert one.view.agency("G12").kind == "bộ", "the new keys sign"
    with expects("authority_keys_missing", ConfigurationError):
        two.change_agency("G12", LATER + DAY_MS, registrar=ROLE_ROOT, kind="sở")


def test_a_draft_of_the_root_is_dropped_on_demand(tmp_path: Path) -> None:
    founded(tmp_path / "all", root_keys=2, root_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "root-1", "level-1-1"), LATER)
    next_root(one, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], LATER)
    next_root(one, (), LATER, instead=True)
    assert [item.about for item in one.waiting(LATER).rejected] == ["truc/root/1"]
    with expects("authority_threshold", ConfigurationError):
        next_root(one, [RolePlan(name=ROLE_ROOT, threshold=9)], LATER, instead=True)
    alone = reopened(custodian(tmp_path / "all", tmp_path / "level", "level-1-1"), LATER)
    with expects("authority_keys_missing", ConfigurationError):
        next_root(alone, (), LATER)


# --- four levels ----------------------------------------------------------------------------


def test_ministry_department_division_and_unit_register_each_below_themselves(
    authority: Authority, tmp_path: Path
) -> None:
    above = authority
    code = "G12"
    for level in range(4):
        ministry = Ministry(tmp_path / code, above, code)
        assert ministry.authority.key_names == (f"{code}-1",)
        delegate(above, code, ministry.request, LATER, urgent=above is authority)
        if above is not authority:
            above.sign(read_file(above.directory_file()), LATER, further=[CENTRE_1.signer])
        ministry.take(above)
        below = f"{code}.{level + 1}"
        signed = ministry.authority.register_agency(code=below, names=NAMES, host="00.01.W00", now_ms=LATER)
        assert AGENCY.decode(signed.statement).registrar == code
        with expects("directory_not_entitled", TrustError):
            ministry.authority.register_agency(code="G13", names=NAMES, host="00.01.W00", now_ms=LATER)
        above, code = ministry.authority, below
    assert code == "G12.1.2.3.4"
    assert believed(above, LATER) == {}
    assert above.view.agency(code).registrar == "G12.1.2.3"


def test_parts_and_thresholds_of_a_delegation(authority: Authority, tmp_path: Path) -> None:
    ministry = Ministry(tmp_path / "G12", authority, "G12", keys=3, threshold=2)
    delegate(authority, "G12", ministry.request, LATER, parts=["G12.7"], threshold=3, urgent=True)
    ministry.take(authority)
    with expects("directory_not_entitled", TrustError):
        ministry.authority.register_agency(code="G12.8", names=NAMES, host="00.01.W00", now_ms=LATER)
    ministry.authority.register_agency(code="G12.7.1", names=NAMES, host="00.01.W00", now_ms=LATER)
    assert believed(ministry.authority, LATER) == {}
    assert authority.view.agency("G12").delegation.threshold == 3


def test_a_request_of_another_agency_or_without_keys_delegates_nothing(authority: Authority, tmp_path: Path) -> None:
    ministry = Ministry(tmp_path / "G12", authority, "G12")
    authority.register_agency(code="G13", names=NAMES, host="00.01.W00", now_ms=LATER)
    with expects("authority_no_request", ConfigurationError):
        delegate(authority, "G13", ministry.request, LATER)
    with expects("agency_unknown", RequestError):
        Ministry(tmp_path / "G14", authority, "G14")
    newcomer = Ministry(tmp_path / "G15", authority, "G15", name="Bộ", host="00.01.W00")
    authority.register_request(newcomer.request, LATER)
    assert authority.view.agency("G15").delegation.keys != ()


def test_a_registrars_folder_is_made_once_over_a_root(authority: Authority, tmp_path: Path) -> None:
    Ministry(tmp_path / "G12", authority, "G12")
    with expects("authority_exists", ConfigurationError):
        Ministry(tmp_path / "G12", authority, "G12")
    with expects("authority_threshold", ConfigurationError):
        Ministry(tmp_path / "other", authority, "G12", threshold=2)
    how: dict[str, Any] = {"passphrase": PASSPHRASE, "entropy": entropy_of("other"), "now_ms": LATER, "cost": CHEAP}
    with expects("directory_no_root", NotNow):
        apply_as_registrar(folder(tmp_path / "other"), Applicant(code="G12"), [], anchor=None, **how)
    things = read_file(authority.directory_file())
    with expects("directory_no_root", NotNow):
        apply_as_registrar(folder(tmp_path / "other"), Applicant(code="G12"), things, anchor=bytes(32), **how)
    opened, _ = apply_as_registrar(folder(tmp_path / "third"), Applicant(code="G12"), things, anchor=None, **how)
    assert opened.anchor == authority.anchor


# --- revoking -------------------------------------------------------------------------------


def test_a_key_of_a_centre_an_agency_or_the_root_is_revoked(tmp_path: Path) -> None:
    opened = founded(tmp_path / "all", root_keys=2)
    key = opened.make_key("g12", PASSPHRASE, entropy=entropy_of("g12"), cost=CHEAP)
    with expects("authority_key_unknown", ConfigurationError):
        revoke_key(opened, "G12", "g12", LATER)
    name = CENTRE_1.signer.public.key_id.hex()
    revoke_key(opened, "00.01.W00", name[:12].upper(), LATER, compromised_ms=NOW)
    (entry,) = opened.view.centre("00.01.W00").keys
    assert (entry.compromised_ms, entry.revoked_ms > LATER - 1) == (NOW, True)
    revoke_key(opened, "root", "root-2", LATER)
    root = opened.view.root_versions()[0].value
    assert (root.version, len(root.role(ROLE_ROOT).keys), len(root.keys)) == (2, 1, 3)
    with expects("authority_threshold", ConfigurationError):
        revoke_key(opened, "root", "root-1", LATER)
    with expects("agency_unknown", RequestError):
        revoke_key(opened, "G99", key.key_id.hex(), LATER)


def test_a_registrars_key_is_revoked_as_long_as_enough_are_left(authority: Authority, tmp_path: Path) -> None:
    ministry = Ministry(tmp_path / "G12", authority, "G12", keys=2, threshold=2)
    delegate(authority, "G12", ministry.request, LATER, urgent=True)
    first = ministry.authority.key("G12-1")
    assert isinstance(first, PublicKey)
    with expects("authority_threshold", ConfigurationError):
        revoke_key(authority, "G12", first.key_id.hex(), LATER)
    delegate(authority, "G12", ministry.request, LATER, threshold=1, urgent=True)
    revoke_key(authority, "G12", first.key_id.hex(), LATER)
    entries = authority.view.agency("G12").delegation.keys
    assert [bool(entry.revoked_ms) for entry in entries].count(True) == 1
    assert believed(authority, LATER) == {}


def test_a_registrar_is_cut_off_at_once_and_its_successor_waits_for_the_day(
    authority: Authority, tmp_path: Path
) -> None:
    old = Ministry(tmp_path / "old", authority, "G12")
    delegate(authority, "G12", old.request, LATER, urgent=True)
    old.take(authority)
    old.authority.register_agency(code="G12.1", names=NAMES, host="00.01.W00", now_ms=LATER)
    authority.keep(things_of(old.authority), LATER)
    with expects("authority_key_unknown", ConfigurationError):
        cut_off(authority, "G12", LATER + 5, request=old.request)
    cut_off(authority, "G12", LATER + 5, compromised_ms=LATER + 1)
    stolen = old.authority.register_agency(code="G12.2", names=NAMES, host="00.01.W00", now_ms=LATER + HOUR_MS)
    authority.keep([stolen], LATER + 2 * HOUR_MS)
    assert believed(authority, LATER + 2 * HOUR_MS)["truc/agency/1 G12.2"] == "directory_key_compromised"
    delegation = authority.view.agency("G12").delegation
    assert (delegation.generation, [bool(item.revoked_ms) for item in delegation.keys]) == (2, [True])
    fresh = Ministry(tmp_path / "new", authority, "G12")
    delegate(authority, "G12", fresh.request, LATER + 2 * HOUR_MS)
    assert authority.view.pending_agency("G12") is not None


def test_expired_keys_of_a_registrar_sign_nothing_and_fresh_ones_take_their_place(
    authority: Authority, tmp_path: Path
) -> None:
    ministry = Ministry(tmp_path / "G12", authority, "G12")
    delegate(authority, "G12", ministry.request, LATER, urgent=True)
    ministry.take(authority)
    ministry.authority.register_agency(code="G12.1", names=NAMES, host="00.01.W00", now_ms=LATER)
    late = LATER + 6 * 365 * DAY_MS
    see(ministry.authority, read_file(ministry.authority.directory_file()), late)
    with expects("authority_keys_missing", ConfigurationError):
        ministry.authority.change_agency("G12.1", late, kind="cục", registrar="G12")
    see(authority, read_file(authority.directory_file()), late)
    fresh = apply_as_registrar(
        folder(tmp_path / "fresh"),
        Applicant(code="G12"),
        read_file(authority.directory_file()),
        anchor=authority.anchor,
        passphrase=PASSPHRASE,
        entropy=entropy_of("fresh"),
        now_ms=late,
        cost=CHEAP,
    )
    delegate(authority, "G12", fresh[1], late, urgent=True)
    fresh[0].keep([*things_of(authority), *things_of(ministry.authority)], late)
    fresh[0].note_seen(late)
    fresh[0].change_agency("G12.1", late + 5, kind="cục", registrar="G12")
    assert fresh[0].view.agency("G12.1").kind == "cục"


# --- heartbeats -----------------------------------------------------------------------------


def test_a_heartbeat_key_repeats_the_last_checkpoint_and_nothing_else(authority: Authority) -> None:
    with expects("authority_keys_missing", ConfigurationError):
        beat(authority, LATER)
    key = authority.make_key("heartbeat", PASSPHRASE, entropy=entropy_of("beat"), cost=CHEAP)
    signed = admit_heartbeat_key(authority, key, LATER)
    checkpoint = CHECKPOINT.decode(signed.statement)
    assert list(heartbeat_keys(checkpoint, LATER + 5)) == [key.key_id]
    alive = beat(authority, LATER + DAY_MS)
    value = HEARTBEAT.decode(alive.statement)
    assert (value.checkpoint, value.created_ms) == (signed.digest, LATER + DAY_MS)
    Verifier().verify(alive, key)
    assert alive.digest not in authority.issued.things, "each replaces the one before"
    authority.change_agency("G12", LATER + 10, kind="bộ")
    assert HEARTBEAT.decode(beat(authority, LATER + DAY_MS).statement).checkpoint != signed.digest, "the key stays"
    dismiss_heartbeat_key(authority, "heartbeat", LATER + 20)
    with expects("authority_keys_missing", ConfigurationError):
        beat(authority, LATER + DAY_MS)


def test_the_oldest_heartbeat_key_makes_room(authority: Authority) -> None:
    keys = [Ed25519Signer(key_seed(9, f"heartbeat {n}")).public for n in range(5)]
    *_, last = [admit_heartbeat_key(authority, key, LATER + n) for n, key in enumerate(keys)]
    listed = [entry.key_id for entry in CHECKPOINT.decode(last.statement).heartbeat]
    assert listed == [key.key_id for key in keys[1:]]


def test_nothing_is_repeated_before_the_first_checkpoint(tmp_path: Path) -> None:
    with expects("authority_no_checkpoint", ConfigurationError):
        beat(made(tmp_path), LATER)


# --- restored folders -----------------------------------------------------------------------


def restored(path: Path, backup: Path, now_ms: int = LATER) -> Authority:
    shutil.rmtree(path)
    shutil.copytree(backup, path)
    return reopened(path, now_ms)


def test_a_folder_signs_after_a_day_only_when_it_has_seen_the_network(authority: Authority, tmp_path: Path) -> None:
    with expects("authority_unseen", ConfigurationError):
        authority.change_agency("G12", DAY_LATER, kind="bộ")
    see(authority, read_file(authority.directory_file()), DAY_LATER)
    authority.change_agency("G12", DAY_LATER, kind="bộ")
    assert authority.view.agency("G12").kind == "bộ"


def test_a_restored_folder_sees_that_it_is_behind_and_recovers(authority: Authority, tmp_path: Path) -> None:
    path, backup = tmp_path / "all", tmp_path / "backup"
    shutil.copytree(path, backup)
    authority.change_agency("G12", LATER, kind="bộ")
    network = read_file(authority.directory_file())
    old = restored(path, backup)
    before = old.directory_file()
    with expects("authority_behind", ConfigurationError):
        see(old, network, LATER)
    assert old.directory_file() == before
    done = recover(old, ROLE_LEVEL_1, network, LATER)
    assert (done.generation, len(done.entered)) == (2, 3)
    assert old.view.agency("G12").kind == "bộ"
    assert old.issued.log(ROLE_LEVEL_1, 2).top == 4
    assert believed(old, LATER) == {}
    old.change_agency("G12", LATER, kind="sở")
    assert (old.view.agency("G12").generation, old.view.agency("G12").number) == (2, 5)
    see(old, read_file(old.directory_file()), LATER)


def test_a_file_that_is_older_than_the_folder_shows_nothing(authority: Authority) -> None:
    old = read_file(authority.directory_file())
    authority.change_agency("G12", LATER, kind="bộ")
    late = LATER + DAY_MS + 1_000
    for things in (old, ()):
        with expects("authority_seen_old", ConfigurationError):
            see(authority, things, late)
        with expects("authority_unseen", ConfigurationError):
            authority.change_agency("G12", late, kind="sở")
    with expects("authority_seen_old", ConfigurationError):
        recover(authority, ROLE_LEVEL_1, old, late)
    assert authority.present_root().version == 1, "nothing was opened"


def test_what_only_was_begun_need_not_be_in_the_file_that_is_seen(tmp_path: Path) -> None:
    network = read_file(founded(tmp_path / "all", level_1_keys=3, level_1_threshold=2).directory_file())
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    one.change_agency("G12", LATER, kind="bộ")
    see(one, network, DAY_LATER)
    one.change_agency("G12", DAY_LATER, decision="1/QĐ")
    assert one.view.agency("G12").kind == "", "still begun only"


def test_a_key_holder_that_has_not_looked_for_a_day_countersigns_nothing(tmp_path: Path) -> None:
    network = read_file(founded(tmp_path / "all", level_1_keys=3, level_1_threshold=2).directory_file())
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-2"))
    see(one, network, DAY_LATER)
    one.change_agency("G12", DAY_LATER, kind="bộ")
    begun, before = read_file(one.directory_file()), (tmp_path / "two" / ISSUED_FILE).read_bytes()
    with expects("authority_unseen", ConfigurationError):
        two.sign(begun, DAY_LATER)
    assert (tmp_path / "two" / ISSUED_FILE).read_bytes() == before, "nothing of it is kept"
    two = reopened(tmp_path / "two", DAY_LATER)
    see(two, network, DAY_LATER)
    assert {signed.format for signed in two.sign(begun, DAY_LATER)} == {AGENCY.name, CHECKPOINT.name}


def test_a_root_that_others_begun_is_not_signed_by_who_has_not_looked_for_a_day(tmp_path: Path) -> None:
    network = read_file(founded(tmp_path / "all", root_keys=2, root_threshold=2).directory_file())
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "root-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "root-2"))
    see(one, network, DAY_LATER)
    next_root(one, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], DAY_LATER)
    begun = read_file(one.directory_file())
    with expects("authority_unseen", ConfigurationError):
        two.sign(begun, DAY_LATER)
    see(two, network, DAY_LATER)
    assert [signed.format for signed in two.sign(begun, DAY_LATER)] == [ROOT.name]


def test_a_sign_of_life_is_given_by_who_has_looked_within_a_day(authority: Authority) -> None:
    key = authority.make_key("heartbeat", PASSPHRASE, entropy=entropy_of("beat"), cost=CHEAP)
    admit_heartbeat_key(authority, key, LATER)
    with expects("authority_unseen", ConfigurationError):
        beat(authority, LATER + DAY_MS + 1)
    see(authority, read_file(authority.directory_file()), LATER + DAY_MS + 1)
    assert beat(authority, LATER + DAY_MS + 1).format == HEARTBEAT.name


def test_the_root_hurries_nothing_that_may_have_been_withdrawn_since(authority: Authority) -> None:
    authority.change_agency("G12", LATER, host="00.02.W00")
    with expects("authority_unseen", ConfigurationError):
        make_urgent(authority, "G12", LATER + DAY_MS + 1)


def test_something_else_under_a_number_of_ours_is_seen(authority: Authority, tmp_path: Path) -> None:
    path, backup = tmp_path / "all", tmp_path / "backup"
    shutil.copytree(path, backup)
    authority.change_agency("G12", LATER, kind="bộ")
    network = read_file(authority.directory_file())
    old = restored(path, backup)
    old.change_agency("G12", LATER, kind="sở")
    old.change_agency("G12", LATER, kind="sở nữa")
    with expects("authority_behind", ConfigurationError):
        see(old, network, LATER)


def test_a_registrar_asks_the_body_above_for_its_next_generation(authority: Authority, tmp_path: Path) -> None:
    ministry = Ministry(tmp_path / "G12", authority, "G12")
    delegate(authority, "G12", ministry.request, LATER, urgent=True)
    ministry.take(authority)
    shutil.copytree(tmp_path / "G12", tmp_path / "backup")
    act = ministry.authority.act(LATER)
    for code in ("G12.1", "G12.2"):
        act.register_agency(code=code, names=NAMES, host="00.01.W00")
    ministry.authority.complete(act)
    ministry.authority.change_agency("G12.1", LATER, host="00.02.W00")
    network = read_file(ministry.authority.directory_file())
    old = restored(tmp_path / "G12", tmp_path / "backup")
    with expects("authority_generation_needed", ConfigurationError):
        recover(old, "G12", network, LATER)
    opened = recover(authority, "G12", network, LATER)
    assert (opened.entered, opened.generation) == ((), 2)
    assert opened.opened is not None
    done = recover(old, "G12", read_file(authority.directory_file()), LATER)
    assert [AGENCY.decode(item.statement).code for item in done.entered] == ["G12.1", "G12.2", "G12.1"]
    assert old.view.agency("G12.1").host == "00.01.W00"
    assert believed(old, LATER) == {"truc/agency/1 G12.1": "directory_pending"}
    old.register_agency(code="G12.3", names=Names(vi="Cục"), host="00.01.W00", now_ms=LATER)
    assert old.view.agency("G12.3").generation == 2


def test_after_asking_for_a_generation_that_others_must_sign_nothing_is_signed_in_the_old_one(tmp_path: Path) -> None:
    founded(tmp_path / "all", root_keys=2, root_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "root-1", "level-1-1"), LATER)
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "root-2"), LATER)
    done = recover(one, ROLE_LEVEL_1, [], LATER)
    assert (done.entered, done.generation) == ((), 2)
    with expects("authority_behind", ConfigurationError):
        one.change_agency("G12", LATER, kind="bộ")
    two.sign(read_file(one.directory_file()), LATER)
    done = recover(one, ROLE_LEVEL_1, read_file(two.directory_file()), LATER)
    assert len(done.entered) == 3
    assert believed(one, LATER) == {}


def test_what_a_stolen_key_signed_is_left_out_when_all_is_signed_anew(authority: Authority, tmp_path: Path) -> None:
    old = Ministry(tmp_path / "old", authority, "G12")
    delegate(authority, "G12", old.request, LATER, urgent=True)
    old.take(authority)
    for n, code in enumerate(("G12.1", "G12.2")):
        old.authority.register_agency(code=code, names=NAMES, host="00.01.W00", now_ms=LATER + n * HOUR_MS)
    authority.keep(things_of(old.authority), LATER + 2 * HOUR_MS)
    now = LATER + 3 * HOUR_MS
    fresh = Ministry(tmp_path / "new", authority, "G12")
    cut_off(authority, "G12", now, request=fresh.request, compromised_ms=LATER + HOUR_MS, urgent=True)
    done = recover(fresh.authority, "G12", read_file(authority.directory_file()), now)
    assert isinstance(done, Recovered)
    assert [AGENCY.decode(item.statement).code for item in done.entered] == ["G12.1"]
    assert len(done.left_out) == 1
    assert fresh.authority.view.agency("G12.2").state is RecordState.ACTIVE, "it goes on, and somebody must look at it"


def test_a_registrar_that_nobody_knows_is_not_recovered(authority: Authority) -> None:
    with expects("directory_registrar_unknown", NotNow):
        recover(authority, "G99", [], LATER)


def test_a_forked_generation_takes_no_further_acts(authority: Authority, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "all", tmp_path / "copy")
    copy = reopened(tmp_path / "copy")
    authority.change_agency("G12", LATER, kind="bộ")
    copy.change_agency("G12", LATER, kind="sở")
    authority.keep(things_of(copy), LATER)
    with expects("directory_generation_forked", TrustError):
        authority.change_agency("G12", LATER, kind="cục")
    done = recover(authority, ROLE_LEVEL_1, [], LATER)
    assert len(done.entered) == 3
    assert authority.change_agency("G12", LATER, kind="cục").digest


def test_the_proof_of_a_fork_stays_in_the_folder(authority: Authority, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "all", tmp_path / "copy")
    copy = reopened(tmp_path / "copy")
    authority.change_agency("G12", LATER, kind="bộ")
    copy.change_agency("G12", LATER, kind="sở")
    authority.keep(things_of(copy), LATER)
    with expects("directory_generation_forked", TrustError):
        reopened(tmp_path / "all", LATER).change_agency("G12", LATER, kind="cục")


def test_a_generation_that_waits_for_signatures_is_not_opened_twice(tmp_path: Path) -> None:
    opened = founded(tmp_path / "all", level_1_keys=2, level_1_threshold=2)
    ministry = Ministry(tmp_path / "G12", opened, "G12")
    delegate(opened, "G12", ministry.request, LATER, urgent=True)
    ministry.take(opened)
    ministry.authority.register_agency(code="G12.1", names=NAMES, host="00.01.W00", now_ms=LATER)
    network = read_file(ministry.authority.directory_file())
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"), LATER)
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-2"), LATER)
    first, second = (recover(one, "G12", network, LATER) for _ in range(2))
    assert first.opened is not None
    assert second.opened is not None
    assert first.opened.digest == second.opened.digest
    two.keep(things_of(ministry.authority), LATER)
    two.sign(read_file(one.directory_file()), LATER)
    assert two.view.agency("G12").delegation.generation == 2


def test_a_restored_folder_of_two_registrars_begins_with_the_upper_one(authority: Authority, tmp_path: Path) -> None:
    key = authority.make_key("g12", PASSPHRASE, entropy=entropy_of("g12"), cost=CHEAP)
    delegation = Delegation(keys=(key_entry(key, NOW),))
    authority.change_agency("G12", LATER, urgent=True, delegation=delegation)
    shutil.copytree(tmp_path / "all", tmp_path / "backup")
    authority.change_agency("G12", LATER, kind="bộ")
    authority.register_agency(code="G12.1", names=NAMES, host="00.01.W00", now_ms=LATER, registrar="G12")
    network = read_file(authority.directory_file())
    old = restored(tmp_path / "all", tmp_path / "backup")
    with expects("authority_behind", ConfigurationError):
        recover(old, "G12", network, LATER)
    assert recover(old, ROLE_LEVEL_1, network, LATER).generation == 2
    assert recover(old, "G12", network, LATER).generation == 2
    assert believed(old, LATER) == {}


def test_an_older_release_s_folder_without_checkpoints_goes_on(authority: Authority, tmp_path: Path) -> None:
    kept = [signed.to_wire() for signed in things_of(authority) if signed.format != CHECKPOINT.name]
    path = tmp_path / "all"
    files = folder(path)
    files.write_issued(kept)
    positions = tuple(replace(item, number=3, head=bytes(32)) for item in authority.book.positions)
    files.write_book(replace(authority.book, positions=positions))
    again = open_authority(folder(path), passphrase=PASSPHRASE, now_ms=LATER)
    again.change_agency("G12", LATER, kind="bộ")
    assert checkpoint_numbers(again, ROLE_LEVEL_1) == [5]
    assert believed(again, LATER) == {}
    assert (path / ISSUED_FILE).exists()
