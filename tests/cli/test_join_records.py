"""`truc join --records FILE`: a registrar's answer brought by hand, while no other node can be reached."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.cli.grammar import ExitCode
from protocol.anchor import anchor_text
from tests.cli.conftest import Ran, truc
from tests.cli.test_join_real import FIRST, Office, office
from tests.support.errors import record
from tests.support.joining_vectors import ONE, SMALL
from tests.support.ports import free_port

PLAN = ("--centre", FIRST, "--name", "Văn phòng Chính phủ", "--make-passphrase", "--tcp", "")


class Newcomer:
    """A node that was founded by an anchor whose one contact is off."""

    def __init__(self, folder: Path) -> None:
        self.registrar: Office = office(folder)
        root = bytes.fromhex(self.registrar.sign("init")["root_digest"])
        contact = replace(ONE, addresses=(f"/ip4/127.0.0.1/tcp/{free_port()}",))
        self.anchor = anchor_text(replace(SMALL, root_digest=root, contacts=(contact,)))
        self.folder = folder / "node"
        listen = ("--listen", f"/ip4/127.0.0.1/tcp/{free_port()}")
        self.made: dict[str, Any] = truc(
            "--json", "join", self.anchor, "--folder", self.folder, *PLAN, *listen, "--wait", 0
        ).json

    def join(self, *words: object, language: str = "en", expect: int) -> Ran:
        """The command again, within two seconds."""
        lang = ("--json",) if language == "json" else ("--lang", language)
        return truc(*lang, "join", self.anchor, "--folder", self.folder, "--wait", 2, *words, expect=expect)


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    return Newcomer(tmp_path)


def test_the_registrars_answer_is_taken_in_though_no_contact_answers(newcomer: Newcomer) -> None:
    newcomer.registrar.sign("centre", newcomer.made["request"])
    records = ("--records", newcomer.registrar.directory)
    found = newcomer.join(*records, language="json", expect=ExitCode.UNREACHABLE).json
    assert (found["registered"], found["joined"], found["reached"]) == (True, True, False)
    assert found["records"] >= 1
    assert found["missing"] == ["key_backup", "contact"]
    assert [contact["state"] for contact in found["contacts"]] == ["down"]
    kept = newcomer.join(language="json", expect=ExitCode.UNREACHABLE).json
    assert (kept["registered"], kept["records"]) == (True, found["records"]), "it is in the node's store"


def test_records_of_another_root_are_told_and_not_taken(newcomer: Newcomer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = office(tmp_path / "other")
    stranger.sign("init")
    records = ("--records", stranger.directory)
    ran = newcomer.join(*records, language="vi", expect=ExitCode.UNREACHABLE)
    assert "Không nhận truc/root/1: directory_anchor" in ran.err
    record("directory_anchor")
    found = newcomer.join(*records, language="json", expect=ExitCode.UNREACHABLE).json
    assert (found["registered"], found["joined"], found["records"]) == (False, False, 0)
    assert {item["problem"]["code"] for item in found["rejected"]} >= {"directory_anchor"}


def test_a_file_that_is_no_directory_file_is_refused_before_anything_is_asked(
    newcomer: Newcomer, tmp_path: Path
) -> None:
    junk = tmp_path / "junk.truc"
    junk.write_bytes(b"junk")
    ran = newcomer.join("--records", junk, expect=ExitCode.REFUSED)
    assert "format_" in ran.err
    gone = newcomer.join("--records", tmp_path / "none", expect=ExitCode.LOCAL)
    assert "file_unreadable" in gone.err
    record("file_unreadable")
