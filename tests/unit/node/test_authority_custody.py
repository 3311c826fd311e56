"""Keys on machines of their own: founding and changing a root by files, and being interrupted anywhere."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.authority import Authority
from node.authority_custody import (
    Holder,
    adopt,
    found_root,
    heartbeat_keys_asked_for,
    open_custody,
    request_keys,
    with_custodians,
)
from node.authority_folder import AuthorityFolder
from node.authority_recovery import see
from node.authority_root import RolePlan, next_root
from node.authority_trust import admit_heartbeat_key, beat, revoke_key
from protocol.checkpoint import HEARTBEAT
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, ROOT
from protocol.directory_file import read_file
from protocol.directory_import import import_things
from protocol.directory_view import DirectoryView, RecordCache
from protocol.errors import ConfigurationError, FormatError, NotNow, StoreError, TrustError
from protocol.limits import DAY_MS, HOUR_MS
from protocol.prefix_tree import EMPTY
from protocol.signing import Ed25519Signer, Signed, Verifier, sign
from protocol.staged import Staged
from storage.folder import OsFolder
from tests.support.errors import expects
from tests.support.tree import START_MS, key_seed
from tests.unit.node.test_authority import (
    CENTRE_1,
    CHEAP,
    NAMES,
    PASSPHRASE,
    believed,
    folder,
    made,
    reopened,
    request_of,
)
from tests.unit.node.test_authority_trust import entropy_of, things_of

NOW = START_MS + HOUR_MS


class Custodian:
    """A machine of its own with a folder and keys for one purpose."""

    def __init__(self, path: Path, purpose: str, tree: Authority | None = None, **who: Any) -> None:
        self.path = path
        things = read_file(tree.directory_file()) if tree is not None else ()
        anchor = tree.anchor if tree is not None else EMPTY
        self.authority = open_custody(folder(path), things, anchor=anchor, passphrase=PASSPHRASE, now_ms=NOW)
        self.request = request_keys(
            self.authority,
            folder(path),
            Holder(name=path.name, purpose=purpose, **who),
            NOW,
            passphrase=PASSPHRASE,
            entropy=entropy_of(path.name),
            cost=CHEAP,
        )

    def reopened(self, now_ms: int = NOW) -> Authority:
        return open_custody(folder(self.path), (), anchor=EMPTY, passphrase=PASSPHRASE, now_ms=now_ms)

    def adopt(self, other: Authority, now_ms: int = NOW) -> None:
        adopt(self.authority, read_file(other.directory_file()), other.anchor, now_ms)

    def sign(self, other: Authority, now_ms: int = NOW, **how: Any) -> list[Signed]:
        return self.authority.sign(read_file(other.directory_file()), now_ms, **how)


class Board:
    """Three custodians of the root, of whom two must sign, and one of level-1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.roots = [Custodian(path / name, ROLE_ROOT) for name in ("an", "binh", "chi")]
        self.office = Custodian(path / "office", ROLE_LEVEL_1)

    def requests(self) -> list[Signed]:
        return [custodian.request for custodian in (*self.roots, self.office)]

    def founded(self) -> Authority:
        one, two, three = self.roots
        found_root(one.authority, self.requests(), NOW, name="Trục", root_threshold=2)
        two.adopt(one.authority)
        two.sign(one.authority)
        for other in (three, self.office):
            other.adopt(two.authority)
        one.sign(two.authority)
        return one.authority


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def of_a_node(authority: Authority, anchor: bytes, now_ms: int = NOW) -> DirectoryView:
    """What a node believes of a custodian's file."""
    records = Staged()
    result = import_things(
        read_file(authority.directory_file()),
        records,
        anchor=anchor,
        verifier=Verifier(),
        now_ms=now_ms,
        cache=RecordCache(),
    )
    records.stage(result.changes)
    return DirectoryView(records)


# --- founding -------------------------------------------------------------------------------


def test_a_root_is_founded_from_keys_that_never_met(board: Board) -> None:
    one, two, three = (custodian.authority for custodian in board.roots)
    root = found_root(one, board.requests(), NOW, name="Trục", root_threshold=2)
    assert one.anchor == root.digest
    assert of_a_node(one, root.digest).root_versions() == (), "one signature of two is not enough"
    with expects("directory_no_root", NotNow):
        one.change_agency("G12", NOW, kind="bộ", registrar=ROLE_ROOT)
    with expects("directory_no_root", NotNow):
        next_root(one, (), NOW)
    board.roots[1].adopt(one)
    assert [item.digest for item in board.roots[1].sign(one)] == [root.digest]
    assert of_a_node(two, root.digest).root_digest() == root.digest
    for other in (board.roots[2], board.office):
        other.adopt(two)
        assert other.sign(two) == [], "nothing more is asked for"
    office = board.office.authority
    office.register_centre(request_of(CENTRE_1, NOW), NOW)
    office.register_agency(code="G12", names=NAMES, host="00.01.W00", now_ms=NOW)
    assert believed(office, NOW) == {}
    assert len(three.key_names) == 1


def test_everybody_keeps_what_was_begun_over_a_restart(board: Board) -> None:
    one, two = board.roots[0], board.roots[1]
    found_root(one.authority, board.requests(), NOW, name="Trục", root_threshold=2)
    again = one.reopened()
    assert believed(again, NOW) == {"truc/root/1": "directory_threshold"}
    adopt(two.authority, read_file(again.directory_file()), again.anchor, NOW)
    two.authority.sign(read_file(again.directory_file()), NOW)
    assert two.reopened().present_root().version == 1


def test_arbitrary_content_in_the_place_of_the_root_is_not_signed(board: Board) -> None:
    one, two = board.roots[0], board.roots[1]
    root = found_root(one.authority, board.requests(), NOW, name="Trục", root_threshold=2)
    other = replace(ROOT.decode(root.statement), name="Trục khác")
    key = one.authority.signer(one.authority.key_names[0])
    two.adopt(one.authority)
    forged = sign(ROOT.name, ROOT.encode(other), key)
    assert two.authority.sign([forged.to_wire()], NOW) == [], "another root than the one that was compared"
    stranger = sign(ROOT.name, root.statement, Ed25519Signer(key_seed(1, "stranger")))
    three = board.roots[2]
    adopt(three.authority, [stranger.to_wire()], root.digest, NOW)
    assert three.authority.sign([stranger.to_wire()], NOW) == [], "nobody of the board has begun it"


def test_a_folder_trusts_one_root_and_only_after_its_digest_was_compared(board: Board, tmp_path: Path) -> None:
    one, two = board.roots[0], board.roots[1]
    found_root(one.authority, board.requests(), NOW, name="Trục", root_threshold=2)
    with expects("directory_no_root", NotNow):
        adopt(two.authority, read_file(one.authority.directory_file()), bytes([7] * 32), NOW)
    two.adopt(one.authority)
    two.adopt(one.authority)
    foreign = made(tmp_path / "foreign")
    with expects("authority_trusts", ConfigurationError):
        two.adopt(foreign)
    with expects("authority_trusts", ConfigurationError):
        found_root(two.authority, board.requests(), NOW, name="Trục")


def test_founding_needs_the_right_requests(board: Board, tmp_path: Path) -> None:
    one = board.roots[0].authority
    tree = made(tmp_path / "tree")
    beats = Custodian(tmp_path / "beats", "heartbeat", tree, registrar=ROLE_LEVEL_1)
    with expects("authority_request_purpose", ConfigurationError):
        found_root(one, [*board.requests(), beats.request], NOW, name="Trục")
    with expects("authority_request_tree", ConfigurationError):
        found_root(one, [*board.requests(), Custodian(tmp_path / "x", ROLE_ROOT, tree).request], NOW, name="Trục")
    with expects("authority_no_request", ConfigurationError):
        found_root(one, [], NOW, name="Trục")
    with expects("authority_threshold", ConfigurationError):
        found_root(one, [board.roots[0].request], NOW, name="Trục")
    with expects("authority_threshold", ConfigurationError):
        found_root(one, board.requests(), NOW, name="Trục", root_threshold=4)
    with expects("authority_keys_missing", ConfigurationError):
        found_root(board.office.authority, board.requests(), NOW, name="Trục")
    with expects("format_field", FormatError, field="name"):
        found_root(one, board.requests(), NOW, name=" Trục")
    assert one.anchor == EMPTY


def test_a_request_says_what_it_is_for_before_any_key_is_made(tmp_path: Path) -> None:
    how: dict[str, Any] = {"passphrase": PASSPHRASE, "entropy": entropy_of("x"), "cost": CHEAP}
    files = folder(tmp_path)
    opened = open_custody(files, (), anchor=EMPTY, passphrase=PASSPHRASE, now_ms=NOW)
    for who, code in (
        (Holder(name="An", purpose="boss"), "format_field"),
        (Holder(name=" An", purpose=ROLE_ROOT), "format_field"),
        (Holder(name="An", purpose=ROLE_ROOT, registrar="H38"), "format_field"),
    ):
        with expects(code, FormatError):
            request_keys(opened, files, who, NOW, **how)
    with expects("authority_threshold", ConfigurationError):
        request_keys(opened, files, Holder(name="An", purpose=ROLE_ROOT, keys=10), NOW, **how)
    with expects("authority_no_anchor", ConfigurationError):
        request_keys(opened, files, Holder(name="An", purpose="heartbeat", registrar="H38"), NOW, **how)
    assert files.key_names() == ()
    request_keys(opened, files, Holder(name="An", purpose=ROLE_ROOT, keys=2), NOW, **how)
    request_keys(opened, files, Holder(name="An", purpose=ROLE_ROOT), NOW, **how)
    assert files.key_names() == ("root-1", "root-2", "root-3"), "no key is written over"


# --- the next root --------------------------------------------------------------------------


def test_a_custodian_joins_and_another_leaves(board: Board, tmp_path: Path) -> None:
    first = board.founded()
    fourth = Custodian(tmp_path / "dung", ROLE_ROOT, first)
    leaving = frozenset(board.roots[0].authority.signer(name).public.key_id for name in ("root-1",))
    plans = [RolePlan(name=ROLE_ROOT, leaving=leaving), RolePlan(name=ROLE_LEVEL_1)]
    plans = with_custodians(first, plans, [fourth.request])
    next_root(first, plans, NOW + 5)
    two = board.roots[1]
    assert two.sign(first, NOW + 5) != []
    assert two.authority.present_root().version == 1, "the old threshold has signed, the new one not yet"
    fourth.sign(two.authority, NOW + 5)
    two.sign(fourth.authority, NOW + 5)
    root = two.authority.present_root()
    assert (root.version, len(root.role(ROLE_ROOT).keys), len(root.keys)) == (2, 3, 4)
    assert not leaving & set(root.role(ROLE_ROOT).keys)
    assert of_a_node(two.authority, first.anchor).root_versions()[0].value.version == 2
    next_root(fourth.authority, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + 10)
    two.sign(fourth.authority, NOW + 10)
    assert two.authority.present_root().version == 3


def test_a_rotation_that_is_interrupted_anywhere_changes_nothing_and_can_be_finished(
    board: Board, tmp_path: Path
) -> None:
    first = board.founded()
    fresh = [Custodian(tmp_path / f"new {n}", ROLE_ROOT, first) for n in range(2)]
    leaving = frozenset(first.present_root().role(ROLE_ROOT).keys)
    plans = with_custodians(
        first, [RolePlan(name=ROLE_ROOT, leaving=leaving), RolePlan(name=ROLE_LEVEL_1)], [f.request for f in fresh]
    )
    next_root(first, plans, NOW + 5)
    signers = [board.roots[1], *fresh]
    at = board.roots[0].reopened(NOW + 5)
    for index, custodian in enumerate(signers):
        assert of_a_node(at, first.anchor).root_versions()[0].value.version == 1
        board.office.authority.keep(things_of(at), NOW)
        board.office.authority.register_centre(request_of(CENTRE_1, NOW), NOW + 6 + index)
        gained = custodian.authority.sign(read_file(at.directory_file()), NOW + 5)
        assert [item.format for item in gained] == [ROOT.name]
        at = custodian.reopened(NOW + 5)
    assert of_a_node(at, first.anchor, NOW + 10).root_versions()[0].value.version == 2
    wanted = {f.authority.signer("root-1").public.key_id for f in fresh}
    assert set(at.present_root().role(ROLE_ROOT).keys) == wanted


def test_fork_two_drafts_of_one_version_are_not_signed_by_one_folder(board: Board) -> None:
    first = board.founded()
    two, three = board.roots[1], board.roots[2]
    next_root(first, [RolePlan(name=ROLE_ROOT, threshold=3)], NOW + 5)
    next_root(two.authority, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + 5)
    with expects("authority_root_begun", ConfigurationError):
        two.sign(first, NOW + 5)
    assert three.sign(two.authority, NOW + 5) != []
    assert three.authority.present_root().version == 2
    assert three.sign(first, NOW + 5) == [], "the number is taken"
    gained = board.roots[0].sign(three.authority, NOW + 5)
    assert first.present_root().role(ROLE_LEVEL_1).generation == 2
    assert gained == [], "it was complete"
    assert believed(three.reopened(), NOW + 5) == {}, "nothing is left of the other draft"
    assert believed(board.roots[0].reopened(), NOW + 5) == {}


def test_a_draft_is_given_up_for_another_only_on_demand(board: Board) -> None:
    first = board.founded()
    two = board.roots[1]
    next_root(first, [RolePlan(name=ROLE_ROOT, threshold=3)], NOW + 5)
    next_root(two.authority, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + 5)
    assert two.sign(first, NOW + 5, instead=True) != []
    board.roots[2].sign(two.authority, NOW + 5)
    assert two.sign(board.roots[2].authority, NOW + 5) == []
    assert two.authority.present_root().role(ROLE_ROOT).threshold == 3


def test_fork_of_the_root_itself_stops_the_tool(tmp_path: Path) -> None:
    one = made(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    two = reopened(tmp_path / "two", NOW)
    next_root(one, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW)
    next_root(two, [RolePlan(name=ROLE_ROOT, next_generation=True)], NOW)
    before = one.directory_file()
    with expects("directory_fork", TrustError):
        see(one, read_file(two.directory_file()), NOW + 5)
    assert one.directory_file() == before


def test_threshold_not_met_and_roll_back_of_the_root(board: Board) -> None:
    first = board.founded()
    old = read_file(first.directory_file())
    next_root(first, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + 5)
    assert first.present_root().version == 1, "threshold not met"
    board.roots[1].sign(first, NOW + 5)
    two = board.roots[1].authority
    assert two.present_root().version == 2
    assert two.sign(old, NOW + 10) == []
    with expects("authority_seen_old", ConfigurationError):
        see(two, old, NOW + 10)
    assert two.present_root().version == 2, "no roll-back"


def test_fast_forward_and_recovery_of_the_roots_version(board: Board) -> None:
    first = board.founded()
    far = replace(first.present_root(), version=2**60, created_ms=NOW + 5)
    draft = sign(ROOT.name, ROOT.encode(far), first.signer("root-1"))
    two = board.roots[1].authority
    assert two.sign([draft.to_wire()], NOW + 5) == []
    assert believed(two, NOW + 5) == {"truc/root/1": "directory_root_gap"}
    next_root(two, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + 5)
    board.roots[2].sign(two, NOW + 5)
    assert board.roots[2].authority.present_root().version == 2


def test_freeze_a_custodian_that_has_not_looked_for_a_day_begins_no_root(board: Board) -> None:
    first = board.founded()
    with expects("authority_unseen", ConfigurationError):
        next_root(first, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + DAY_MS + HOUR_MS)
    see(first, read_file(first.directory_file()), NOW + DAY_MS + HOUR_MS)
    next_root(first, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + DAY_MS + HOUR_MS)


def test_a_stolen_root_key_is_revoked_by_the_others(board: Board) -> None:
    first = board.founded()
    two, three = board.roots[1], board.roots[2]
    three_id = three.authority.signer("root-1").public.key_id
    revoke_key(first, "root", three_id.hex()[:16], NOW + 5, compromised_ms=NOW)
    two.sign(first, NOW + 5)
    assert len(two.authority.present_root().role(ROLE_ROOT).keys) == 2
    three.sign(two.authority, NOW + 5)
    with expects("authority_keys_missing", ConfigurationError):
        next_root(three.authority, [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], NOW + 10)


@pytest.mark.parametrize("fails_at", range(6))
def test_a_disk_that_fails_anywhere_in_founding_leaves_a_folder_that_can_go_on(board: Board, fails_at: int) -> None:
    class Failing(OsFolder):
        left = fails_at

        def rename(self, old: str, new: str) -> None:
            if self.left == 0:
                raise StoreError("disk_full")
            self.left -= 1
            super().rename(old, new)

    one = board.roots[0]
    files = AuthorityFolder(Failing(one.path))
    opened = Authority(files, files.read_book(), files.read_issued(), files.open_keys(PASSPHRASE), NOW)
    if fails_at < 3:
        with expects("disk_full", StoreError):
            found_root(opened, board.requests(), NOW, name="Trục", root_threshold=2)
    else:
        found_root(opened, board.requests(), NOW, name="Trục", root_threshold=2)
    again = one.reopened()
    if again.anchor == EMPTY:
        found_root(again, board.requests(), NOW, name="Trục", root_threshold=2)
    two = board.roots[1]
    two.adopt(again)
    two.sign(again)
    assert two.authority.present_root().version == 1


# --- heartbeats -----------------------------------------------------------------------------


def test_the_machine_that_repeats_checkpoints_holds_no_other_key(tmp_path: Path) -> None:
    tree = made(tmp_path / "tree")
    tree.register_centre(request_of(CENTRE_1, NOW), NOW)
    beats = Custodian(tmp_path / "beats", "heartbeat", tree, registrar=ROLE_LEVEL_1)
    with expects("authority_keys_missing", ConfigurationError):
        beat(beats.authority, NOW + 10)
    (entry,) = heartbeat_keys_asked_for(tree, [beats.request], ROLE_LEVEL_1)
    signed = admit_heartbeat_key(tree, entry, NOW + 20)
    with expects("authority_keys_missing", ConfigurationError):
        beats.authority.register_centre(request_of(CENTRE_1, NOW), NOW + 20)
    see(beats.authority, read_file(tree.directory_file()), NOW + 20)
    said = HEARTBEAT.decode(beat(beats.authority, NOW + DAY_MS).statement)
    assert (said.checkpoint, said.created_ms) == (signed.digest, NOW + DAY_MS)
    with expects("authority_seen_old", ConfigurationError):
        see(beats.authority, [tree.issued.things[tree.anchor].to_wire()], NOW + DAY_MS)
    assert HEARTBEAT.decode(beat(beats.authority, NOW + DAY_MS).statement).checkpoint == signed.digest
    with expects("authority_request_purpose", ConfigurationError):
        heartbeat_keys_asked_for(tree, [beats.request], ROLE_ROOT)
    with expects("authority_request_purpose", ConfigurationError):
        with_custodians(tree, [RolePlan(name=ROLE_ROOT)], [beats.request])
