"""Stopping: what waits is taken back before its day is over, and an agency locks itself; as nodes see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from node.authority import Authority
from node.authority_stop import self_lock, withdraw
from node.authority_trust import cut_off, delegate, make_urgent
from node.countersigning import countersigned, endorse
from node.directory import Directory
from node.requests import key_entry
from protocol.directory import LOCK, RecordState
from protocol.directory_file import read_file
from protocol.entitlement import Purpose, keys_for
from protocol.errors import ConfigurationError, FormatError, RequestError
from protocol.limits import DAY_MS, HOUR_MS, MINUTE_MS
from protocol.signing import Ed25519Signer, Signed
from protocol.staged import Staged
from tests.support.errors import expects
from tests.support.tree import Centre, key_seed
from tests.unit.node.test_authority import CENTRE_1, CENTRE_2, CHEAP, NAMES, NOW, believed, request_of
from tests.unit.node.test_authority_trust import LATER, Ministry, founded, things_of

STRANGER = Ed25519Signer(key_seed(1, "stranger"))


class Watcher:
    """A node that has known the tree for a while and sees what comes."""

    def __init__(self, authority: Authority) -> None:
        self.records = Staged()
        self.directory = Directory(self.records, anchor=authority.anchor)
        self.take(authority, NOW)

    def take(self, authority: Authority, now_ms: int, *more: Signed) -> dict[str, str]:
        wires = [*read_file(authority.directory_file()), *(signed.to_wire() for signed in more)]
        result = self.directory.take(wires, now_ms)
        self.records.stage(result.changes)
        return {item.about: item.error.code for item in result.rejected}

    def live(self, now_ms: int) -> None:
        due = self.directory.due(now_ms, clock_trusted=True, heard_ms=now_ms)
        self.records.stage(due.changes)

    def host(self, code: str = "G12") -> str:
        return self.directory.agency(code).host

    def speaks(self, code: str, now_ms: int) -> Iterable[bytes]:
        return keys_for(self.directory, code, Purpose.AGENCY, now_ms).keys


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return founded(tmp_path / "all")


@pytest.fixture
def node(authority: Authority) -> Watcher:
    return Watcher(authority)


# --- withdrawing ----------------------------------------------------------------------------


def test_a_pending_move_is_withdrawn_and_never_comes_into_force(authority: Authority, node: Watcher) -> None:
    authority.change_agency("G12", LATER, host="00.02.W00")
    assert node.take(authority, LATER) == {}
    assert (node.host(), node.directory.pending_agency("G12") is not None) == ("00.01.W00", True)
    withdraw(authority, "G12", LATER + MINUTE_MS)
    node.take(authority, LATER + MINUTE_MS)
    assert node.directory.pending_agency("G12") is None
    node.live(LATER + 3 * DAY_MS)
    assert (node.host(), node.directory.agency("G12").epoch) == ("00.01.W00", 3)
    with expects("authority_nothing_pending", ConfigurationError):
        withdraw(authority, "G12", LATER + HOUR_MS)


def test_what_is_withdrawn_stays_withdrawn_although_somebody_endorses_it_later(
    authority: Authority, node: Watcher
) -> None:
    moved = authority.change_agency("G12", LATER, host="00.02.W00")
    withdraw(authority, "G12", LATER + MINUTE_MS)
    (endorsed,) = countersigned([moved], CENTRE_1.signer)
    node.take(authority, LATER + HOUR_MS, endorsed)
    node.live(LATER + 3 * DAY_MS)
    assert (node.host(), node.directory.agency("G12").epoch) == ("00.01.W00", 3)
    late = Watcher(authority)
    late.take(authority, LATER + DAY_MS, endorsed)
    assert late.host() == "00.02.W00", "for whoever heard of the endorsement first, the way back is a move as well"
    late.live(LATER + 3 * DAY_MS)
    assert (late.host(), late.directory.agency("G12").epoch) == ("00.01.W00", 3)


def test_new_keys_of_a_centre_are_withdrawn(authority: Authority, node: Watcher) -> None:
    fresh = Centre.make(2, "00.01.W00")
    authority.register_centre(request_of(fresh, LATER), LATER)
    node.take(authority, LATER)
    assert node.directory.pending_centre("00.01.W00") is not None
    withdraw(authority, "00.01.W00", LATER + MINUTE_MS)
    node.take(authority, LATER + MINUTE_MS)
    node.live(LATER + 3 * DAY_MS)
    (entry,) = node.directory.centre("00.01.W00").keys
    assert entry.key_id == CENTRE_1.signer.public.key_id
    with expects("agency_unknown", RequestError):
        withdraw(authority, "G99", LATER + HOUR_MS)


def test_silent_takeover_by_a_lower_registrar_is_withdrawn_by_the_body_above(
    authority: Authority, node: Watcher, tmp_path: Path
) -> None:
    ministry = Ministry(tmp_path / "G12", authority, "G12")
    delegate(authority, "G12", ministry.request, LATER, urgent=True)
    ministry.take(authority)
    ministry.authority.register_agency(code="G12.1", names=NAMES, host="00.01.W00", now_ms=LATER)
    node.take(ministry.authority, LATER + MINUTE_MS)
    thief = key_entry(STRANGER.public, LATER)
    now = LATER + 2 * HOUR_MS
    ministry.authority.change_agency("G12.1", now, keys=(thief,))
    ministry.authority.change_agency("G12.1", now, host="00.02.W00")
    node.take(ministry.authority, now)
    assert STRANGER.public.key_id not in node.speaks("G12.1", now)
    authority.keep(things_of(ministry.authority), now)
    stopped = withdraw(authority, "G12.1", now + MINUTE_MS)
    cut_off(authority, "G12", now + MINUTE_MS, compromised_ms=now)
    node.take(authority, now + MINUTE_MS, stopped)
    ministry.authority.change_agency("G12.1", now + 2 * MINUTE_MS, keys=(thief,), decision="again")
    refused = node.take(ministry.authority, now + HOUR_MS)
    assert refused["truc/agency/1 G12.1"] == "directory_key_compromised"
    node.live(now + 3 * DAY_MS)
    assert node.host("G12.1") == "00.01.W00"
    assert STRANGER.public.key_id not in node.speaks("G12.1", now + 3 * DAY_MS)


def test_a_draft_that_others_still_have_to_sign_is_withdrawn(tmp_path: Path) -> None:
    from tests.unit.node.test_authority import custodian, reopened

    founded(tmp_path / "all", level_1_keys=2, level_1_threshold=2)
    one = reopened(custodian(tmp_path / "all", tmp_path / "one", "level-1-1"))
    two = reopened(custodian(tmp_path / "all", tmp_path / "two", "level-1-2"))
    one.change_agency("G12", LATER, host="00.02.W00")
    withdraw(one, "G12", LATER + MINUTE_MS)
    two.sign(read_file(one.directory_file()), LATER + MINUTE_MS)
    assert believed(two, LATER + MINUTE_MS) == {}
    assert (two.view.agency("G12").host, two.view.agency("G12").epoch) == ("00.01.W00", 3)
    assert two.view.pending_agency("G12") is None


def test_lost_key_recovery_is_hurried_by_the_root_and_silent_takeover_of_it_is_not(
    authority: Authority, node: Watcher
) -> None:
    fresh = Centre.make(2, "00.01.W00")
    authority.register_centre(request_of(fresh, LATER), LATER)
    node.take(authority, LATER)
    assert fresh.signer.public.key_id not in node.speaks("G12", LATER + MINUTE_MS)
    urgent = make_urgent(authority, "00.01.W00", LATER + MINUTE_MS)
    node.take(authority, LATER + MINUTE_MS, urgent)
    assert fresh.signer.public.key_id in node.speaks("G12", LATER + 20 * MINUTE_MS)
    nobody = endorse(read_file(authority.directory_file()), [STRANGER], LATER)
    assert not any(item.gained for item in nobody)


# --- self-lock ------------------------------------------------------------------------------


def test_self_lock_by_the_hosts_key_acts_at_once_until_the_registrar_answers(
    authority: Authority, node: Watcher
) -> None:
    signed = self_lock(authority.view, "G12", [STRANGER, CENTRE_1.signer], LATER, reason="nghi lộ khóa")
    assert LOCK.decode(signed.statement).reason == "nghi lộ khóa"
    assert node.take(authority, LATER, signed) == {}
    assert node.directory.state("G12") is RecordState.LOCKED
    authority.keep([signed], LATER)
    authority.change_agency("G12", LATER + HOUR_MS, decision="đã kiểm tra")
    node.take(authority, LATER + HOUR_MS)
    assert node.directory.state("G12") is RecordState.ACTIVE


def test_self_lock_is_signed_by_the_agencys_own_key_if_it_has_one(authority: Authority, node: Watcher) -> None:
    own = authority.make_key("g12", b"x", entropy=lambda size: key_seed(3, "own")[:size], cost=CHEAP)
    authority.change_agency("G12", LATER, keys=(key_entry(own, LATER),), urgent=True)
    with expects("authority_keys_missing", ConfigurationError):
        self_lock(authority.view, "G12", [CENTRE_1.signer, CENTRE_2.signer], LATER + HOUR_MS)
    signed = self_lock(authority.view, "G12", [authority.signer("g12")], LATER + HOUR_MS)
    assert node.take(authority, LATER + HOUR_MS, signed) == {}
    assert node.directory.state("G12") is RecordState.LOCKED


def test_self_lock_says_what_is_wrong(authority: Authority) -> None:
    with expects("agency_unknown", RequestError):
        self_lock(authority.view, "G99", [CENTRE_1.signer], LATER)
    with expects("format_agency_code", FormatError):
        self_lock(authority.view, "g12", [CENTRE_1.signer], LATER)
    with expects("format_field", FormatError):
        self_lock(authority.view, "G12", [CENTRE_1.signer], LATER, reason="x" * 2_001)


def test_self_lock_with_a_slow_clock_is_dated_at_the_record_that_it_locks(authority: Authority, node: Watcher) -> None:
    authority.change_agency("G12", LATER, kind="bộ")
    signed = self_lock(authority.view, "G12", [CENTRE_1.signer], NOW)
    assert LOCK.decode(signed.statement).created_ms == authority.view.agency("G12").created_ms
    node.take(authority, LATER + HOUR_MS, signed)
    assert node.directory.state("G12") is RecordState.LOCKED


def test_self_lock_holds_against_a_silent_takeover_that_would_unlock(authority: Authority, node: Watcher) -> None:
    signed = self_lock(authority.view, "G12", [CENTRE_1.signer], LATER)
    node.take(authority, LATER, signed)
    authority.change_agency("G12", LATER + HOUR_MS, host="00.02.W00")
    node.take(authority, LATER + HOUR_MS)
    assert node.directory.state("G12") is RecordState.LOCKED, "what is pending unlocks nothing"
    record = replace(node.directory.agency("G12"), host="00.02.W00")
    assert record.host != node.host()
