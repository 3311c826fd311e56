"""What was judged once is not judged again, and going on from it finds what judging everything finds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node import authority_judged
from node.authority import Authority
from node.authority_folder import ISSUED_FILE, JUDGED_FILE, KEYS_FOLDER, AuthorityFolder
from node.authority_log import Issued
from node.authority_recovery import recover
from node.authority_root import RolePlan, next_root
from node.authority_stop import withdraw
from node.countersigning import thing
from protocol.checkpoint import fork_of
from protocol.directory import ROLE_LEVEL_1
from protocol.directory_file import read_file, write_file
from protocol.directory_kinds import Subject
from protocol.errors import ConfigurationError, StoreError, TrustError
from protocol.limits import DAY_MS, HOUR_MS
from tests.support.errors import expects
from tests.unit.node.test_authority import CENTRE_1, NAMES, NOW, custodian, folder, reopened, request_of
from tests.unit.node.test_authority_trust import LATER, founded

HERE = "00.01.W00"


@pytest.fixture(autouse=True)
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Small folders keep what was judged as well; of each file whose seal fits, whether it was gone on from."""
    seen: list[bool] = []
    really: Callable[..., Issued | None] = authority_judged._resumed

    def spy(*given: Any) -> Issued | None:
        found = really(*given)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(authority_judged, "WORTH_IT", 1)
    monkeypatch.setattr(authority_judged, "_resumed", spy)
    return seen


def state_of(issued: Issued, now_ms: int) -> Any:
    """Everything that an act can depend on."""
    waiting = issued.waiting(now_ms)
    entries = [entry for log in issued.logs.values() for entry in log.entries.values() if entry.subject]
    about = {(Subject(entry.subject), entry.code) for entry in entries}
    view = issued.view
    pending = {one: view.pending(*one) for one in about}
    return (
        {place: log.entries for place, log in issued.logs.items()},
        {place: view.fork(*place) is not None for place in issued.logs},
        [version.digest for version in view.root_versions()],
        {one: [version.digest for version in view.versions(*one)] for one in about},
        {one: None if row is None else row.digest for one, row in pending.items()},
        {item.digest: item.error.code for item in waiting.rejected},
        sorted(signed.to_wire() for signed in issued.kept()),
        issued.drafts(),
    )


def same(path: Path, now_ms: int) -> Authority:
    """The folder opened now; asserts that it is what judging everything finds."""
    opened = reopened(path, now_ms)
    anew = Issued(opened.anchor)
    anew.take(map(thing, read_file((path / ISSUED_FILE).read_bytes())), max(now_ms, opened.book.last_ms))
    assert state_of(opened.issued, now_ms) == state_of(anew, now_ms)
    return opened


@pytest.fixture
def path(tmp_path: Path, resumed: list[bool]) -> Path:
    founded(tmp_path / "all")
    reopened(tmp_path / "all", NOW + 1)
    assert (tmp_path / "all" / JUDGED_FILE).exists()
    resumed.clear()
    return tmp_path / "all"


def test_commands_go_on_from_what_the_first_one_judged(path: Path, resumed: list[bool]) -> None:
    for n in range(4):
        same(path, NOW + 10 + n).change_agency("G12", NOW + 10 + n, kind=f"bộ {n}")
    assert same(path, NOW + 20).view.agency("G12").kind == "bộ 3"
    assert resumed == [True] * 5


def test_a_change_that_waited_is_in_force_after_its_day_and_one_that_is_withdrawn_never(
    path: Path, resumed: list[bool]
) -> None:
    same(path, LATER).change_agency("G12", LATER, host="00.02.W00")
    assert same(path, LATER + HOUR_MS).view.agency("G12").host == HERE
    assert same(path, LATER + DAY_MS + 1).view.agency("G12").host == "00.02.W00"
    opened = same(path, LATER + DAY_MS + 2)
    opened.note_seen(LATER + DAY_MS + 2)
    opened.change_agency("G12", LATER + DAY_MS + 2, host=HERE)
    withdraw(same(path, LATER + DAY_MS + 3), "G12", LATER + DAY_MS + 3)
    assert same(path, LATER + 3 * DAY_MS).view.agency("G12").host == "00.02.W00"
    assert all(resumed)


def test_drafts_of_several_key_holders_and_their_completion(tmp_path: Path, resumed: list[bool]) -> None:
    founded(tmp_path / "all", level_1_keys=3, level_1_threshold=2)
    one, two = (custodian(tmp_path / "all", tmp_path / name, f"level-1-{n}") for n, name in ((1, "one"), (2, "two")))
    same(one, LATER).change_agency("G12", LATER, kind="bộ")
    for step in range(3):
        same(one, LATER + step + 1)
    same(two, LATER + 5).sign(read_file(same(one, LATER + 4).directory_file()), LATER + 5)
    same(one, LATER + 6).sign(read_file(same(two, LATER + 6).directory_file()), LATER + 6)
    for who in (one, two):
        assert same(who, LATER + 10).view.agency("G12").kind == "bộ"
    assert True in resumed and False in resumed, "what was completed since is judged anew"


def test_a_fork_and_the_generation_after_it(path: Path, tmp_path: Path) -> None:
    shutil.copytree(path, tmp_path / "copy")
    twins = [
        same(one, LATER + 5).change_agency("G12", LATER + 5, kind=kind)
        for one, kind in ((path, "bộ"), (tmp_path / "copy", "sở"))
    ]
    fork_of(*twins)
    same(path, LATER + 6).keep(twins, LATER + 6)
    opened = same(path, LATER + 7)
    with expects("directory_generation_forked", TrustError):
        opened.change_agency("G12", LATER + 7, kind="cục")
    recover(opened, ROLE_LEVEL_1, [], LATER + 8)
    same(path, LATER + 9).change_agency("G12", LATER + 9, kind="cục")
    assert same(path, LATER + 10).view.agency("G12").generation == 2


def test_a_new_root_and_the_generation_that_it_opens(path: Path, resumed: list[bool]) -> None:
    next_root(same(path, LATER), [RolePlan(name=ROLE_LEVEL_1, next_generation=True)], LATER)
    recover(same(path, LATER + 1), ROLE_LEVEL_1, [], LATER + 1)
    same(path, LATER + 2).register_centre(request_of(CENTRE_1, LATER + 2), LATER + 2)
    same(path, LATER + 3)
    assert all(resumed)


# --- what is not trusted ----------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 31, 32, 40, 100, -1])
def test_an_edited_file_is_noticed_and_everything_judged_again(path: Path, resumed: list[bool], at: int) -> None:
    file = path / JUDGED_FILE
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    for damaged in (bytes(content), bytes(content[: len(content) // 2]), b""):
        file.write_bytes(damaged)
        assert same(path, NOW + 1).view.agency("G12").host == HERE
        assert resumed == [], "its seal does not fit"
        assert file.read_bytes() != damaged, "written anew"


def test_records_that_were_taken_out_are_noticed(path: Path, resumed: list[bool]) -> None:
    wires = read_file((path / ISSUED_FILE).read_bytes())
    agency = next(wire for wire in wires if thing(wire).format == "truc/agency/1")
    (path / ISSUED_FILE).write_bytes(write_file(wire for wire in wires if wire != agency))
    opened = reopened(path, NOW + 2)
    assert resumed == [False]
    assert opened.view.find_agency("G12") is None
    with expects("authority_behind", ConfigurationError):
        opened.register_agency(code="G13", names=NAMES, host=HERE, now_ms=NOW + 2)


def test_an_older_thing_that_was_put_in_is_judged_in_its_place(path: Path, resumed: list[bool]) -> None:
    shutil.copytree(path, path.parent / "copy")
    wire = same(path.parent / "copy", LATER).change_agency("G12", LATER, kind="bộ").to_wire()
    same(path, LATER + HOUR_MS).register_agency(code="G13", names=NAMES, host=HERE, now_ms=LATER + HOUR_MS)
    (path / JUDGED_FILE).unlink()
    reopened(path, LATER + 2 * HOUR_MS)
    (path / ISSUED_FILE).write_bytes(write_file([*read_file((path / ISSUED_FILE).read_bytes()), wire]))
    resumed.clear()
    same(path, LATER + 3 * HOUR_MS)
    assert resumed == [False]


def test_a_clock_that_went_back_other_rules_and_another_key_judge_anew(
    path: Path, resumed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    (path / JUDGED_FILE).unlink()
    reopened(path, NOW + HOUR_MS)
    resumed.clear()
    same(path, NOW + 1)
    assert resumed == [False]
    with monkeypatch.context() as patch:
        patch.setattr(authority_judged, "_rules", lambda: b"others")
        same(path, NOW + HOUR_MS)
    for file in (path / KEYS_FOLDER).glob("level-1*"):
        file.unlink()
    same(path, NOW + HOUR_MS)
    assert resumed == [False]


def test_an_older_file_for_the_same_records_is_as_good(path: Path, resumed: list[bool]) -> None:
    old = (path / JUDGED_FILE).read_bytes()
    same(path, LATER).change_agency("G12", LATER, kind="bộ")
    same(path, LATER + 1)
    (path / JUDGED_FILE).write_bytes(old)
    assert same(path, LATER + 2).view.agency("G12").kind == "bộ"
    assert all(resumed)


def test_a_disk_that_has_no_room_or_gives_nothing_costs_only_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise StoreError("disk_full")

    monkeypatch.setattr(AuthorityFolder, "write_judged", broken)
    monkeypatch.setattr(AuthorityFolder, "read_judged", broken)
    opened = same(path, LATER)
    opened.register_agency(code="G13", names=NAMES, host=HERE, now_ms=LATER)
    assert opened.view.agency("G13").host == HERE


def test_without_a_key_nothing_is_read_or_kept(path: Path, resumed: list[bool]) -> None:
    wires, anchor = read_file((path / ISSUED_FILE).read_bytes()), reopened(path).anchor
    resumed.clear()
    (path / JUDGED_FILE).unlink()
    for _ in range(2):
        issued = authority_judged.JudgedFile(folder(path), anchor, None).issued(wires, NOW)
        assert issued.view.find_agency("G12") is not None
    assert resumed == [] and not (path / JUDGED_FILE).exists()
