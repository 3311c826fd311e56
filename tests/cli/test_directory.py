"""`truc directory` against a real node: lists, search, one record, history, tree, files, judging again."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.cli.desk import Desk
from node.cli.directory import tell_imported
from protocol.catalogue import Language
from protocol.directory import AGENCY, Names
from protocol.directory_file import read_file, write_file
from protocol.signing import Signed, sign
from tests.cli.conftest import World, truc
from tests.support.directory_nodes import signer_of
from tests.support.errors import record


def test_the_directory_is_listed_in_pages_and_filtered(world: World) -> None:
    ran = world.truc("directory", "list", "--limit", 1)
    cursor = ran.err.split("--after ")[1].strip()
    assert "G22.99" in world.truc("directory", "list", "--after", cursor).out
    assert [item["code"] for item in world.json("directory", "list", "--under", "G22")["items"]] == ["G22.99"]
    assert "Không có gì." in world.truc("directory", "list", "--state", "closed").out
    assert "cursor_malformed" in world.truc("directory", "list", "--after", "x", expect=1).err
    assert "centre_code_malformed" in world.truc("directory", "list", "--host", "x", expect=1).err


def test_words_in_any_order_and_codes_find_agencies(world: World) -> None:
    for words in (("nghiem", "thu"), ("g22.99",)):
        assert world.json("directory", "search", *words)["items"][0]["code"] == "G22.99"
    assert world.json("directory", "search", "g22")["exact"]["code"] == "G22"
    assert world.truc("directory", "search", "g22").out.count("G22.99") == 1
    assert "search_too_long" in world.truc("directory", "search", "x" * 300, expect=1).err


def test_one_record_is_shown_with_its_registrar_and_history(world: World) -> None:
    shown = world.truc("directory", "show", "G22.99", "--lang", "en").out
    assert ["registrar", "level-1"] in [line.split()[:2] for line in shown.splitlines()]
    assert "pending" not in shown.lower()
    assert "agency_unknown" in world.truc("directory", "show", "000.00.77.G22", expect=1).err
    told = world.truc("directory", "history", "G22", "--lang", "en").out.splitlines()
    assert told[0].startswith("standing  created")
    assert told[1].startswith("in force") and told[1].endswith("verified")
    assert "centre_unknown" in world.truc("directory", "history", "99.99.W99", expect=1).err


def test_the_tree_goes_down_as_far_as_asked(world: World) -> None:
    assert world.truc("directory", "tree").out == "G22  Văn phòng Chính phủ\n"
    assert world.truc("directory", "tree", "--depth", 2).out == ("G22  Văn phòng Chính phủ\n  G22.99  Vụ Thử nghiệm\n")
    assert world.truc("directory", "tree", "G22").out == world.truc("directory", "tree", "--depth", 2).out
    assert [item["code"] for item in world.json("directory", "tree", "G22.99")["above"]] == ["G22", "G22.99"]


def test_changes_are_followed_by_a_cursor(world: World) -> None:
    page = world.json("directory", "changes")
    assert {"agency", "centre", "root"} >= {item["subject"] for item in page["items"]} > set()
    ran = world.truc("directory", "changes", "--after", page["next"])
    assert ran.out == "Không có gì.\n"
    assert page["next"] in ran.err


def test_an_export_is_written_once_imports_again_and_verifies_off_line(world: World, tmp_path: Path) -> None:
    file = tmp_path / "danh-ba.truc"
    told = world.json("directory", "export", file)
    assert told["things"] == len(read_file(file.read_bytes()))
    assert "file_exists" in world.truc("directory", "export", file, expect=4).err
    assert "Loaded 0 new records and 0 checkpoints" in world.truc("directory", "import", file, "--lang", "en").out
    ran = truc("directory", "verify", file, "--root", world.root, "--lang", "en")
    assert ran.out.splitlines()[-1].endswith("things are rightly signed, from the root.")
    found = truc("directory", "verify", file, "--root", world.root, "--json").json
    assert (found["sound"], found["faults"], found["logs"][0]["missing"]) == (True, [], 0)
    assert "registrar_unknown" in world.truc("directory", "export", tmp_path / "x", "--registrar", "G1", expect=1).err


def test_the_node_is_verified_without_believing_it(world: World) -> None:
    assert world.json("directory", "verify")["sound"]
    found = world.json("directory", "verify", "--root", "00" * 32, expect=1)
    assert not found["sound"] and found["faults_in_all"] == len(found["faults"]) > 0
    assert "--root" in truc("directory", "verify", "x", "--root", "zz", "--lang", "en", expect=2).err


@pytest.mark.parametrize("language", ["vi", "en"])
def test_a_forged_record_is_named_when_it_is_verified_and_when_it_is_imported(
    world: World, tmp_path: Path, language: str
) -> None:
    things = read_file((world.folder / "authority" / "directory.truc").read_bytes())
    real = next(signed for signed in map(_read, things) if signed.format == AGENCY.name)
    from dataclasses import replace

    value = replace(AGENCY.decode(real.statement), names=Names(vi="Kẻ lạ"), number=99)
    file = tmp_path / "forged.truc"
    file.write_bytes(write_file([*things, sign(AGENCY.name, AGENCY.encode(value), signer_of("stranger"))]))
    ran = world.truc("directory", "verify", file, "--lang", language, expect=1)
    assert f"truc/agency/1 {value.code}: directory_signer_unknown: " in ran.out
    assert ("CANNOT BE BELIEVED" if language == "en" else "KHÔNG TIN ĐƯỢC") in ran.out
    taken = world.truc("directory", "import", file, "--lang", language, expect=1)
    assert "directory_signer_unknown" in taken.out and "  → " in taken.out
    record("directory_signer_unknown")


@pytest.mark.parametrize(("language", "word"), [("vi", "ĐANG CHỜ: agency H38.5"), ("en", "PENDING: agency H38.5")])
def test_what_an_import_left_waiting_is_said_with_the_command_that_tells_more(
    capsys: pytest.CaptureFixture[str], language: Language, word: str
) -> None:
    tell_imported(
        Desk(language),
        {"accepted": ["agency H38.5"], "pending": ["agency H38.5"], "checkpoints": 1, "already": 2, "rejected": []},
    )
    told = capsys.readouterr().out
    assert word in told
    assert "truc directory show H38.5" in told.splitlines()[1]


def _read(wire: bytes) -> Signed:
    return Signed.from_wire(wire, bytes_max=len(wire))
