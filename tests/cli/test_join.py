"""`truc join` and `truc anchor` without a network: files, words, wrong calls."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from node.cli.desk import Desk
from node.cli.join import contact_state
from protocol.anchor import anchor_text, read_anchor, write_anchor
from tests.cli.conftest import truc
from tests.support.errors import record
from tests.support.joining_vectors import DIGEST, LARGE, PEERS, SMALL

NEW = ("--centre", "00.22.W00", "--name", "Văn phòng Chính phủ", "--make-passphrase", "--tcp", "", "--wait", 0)


def test_join_makes_a_node_and_says_what_is_missing(tmp_path: Path) -> None:
    ran = truc("--lang", "vi", "join", anchor_text(LARGE), "--folder", tmp_path / "n", *NEW)
    assert DIGEST.hex() in ran.out
    assert "centre-request.truc cho cơ quan đăng ký" in ran.out
    assert "keys backup" in ran.out
    values = tomllib.loads((tmp_path / "n" / "node.toml").read_text())
    assert values["node"]["root_digest"] == DIGEST.hex()
    assert [peer["centre"] for peer in values["peers"]] == ["00.12.W00", "00.38.W00"]
    assert (tmp_path / "n" / "centre-request.truc").is_file()


def test_join_may_be_repeated_with_a_file(tmp_path: Path) -> None:
    file = tmp_path / "anchor.truc"
    file.write_bytes(write_anchor(SMALL))
    first = truc("--json", "join", file, "--folder", tmp_path / "n", *NEW).json
    again = truc("--json", "join", file, "--folder", tmp_path / "n", "--wait", 0).json
    assert (first["changed"], again["changed"]) == (True, False)
    assert first["missing"] == again["missing"] == ["key_backup", "registration"]
    assert (again["network"], again["contacts"], again["running"]) == ("", [], False)


def test_a_new_node_needs_centre_and_name(tmp_path: Path) -> None:
    ran = truc("--lang", "en", "join", anchor_text(SMALL), "--folder", tmp_path, expect=2)
    assert "add --centre and --name" in ran.err
    both = ("--make-passphrase", "--passphrase-file", tmp_path / "x")
    ran = truc("--lang", "en", "join", anchor_text(SMALL), "--folder", tmp_path, *NEW[:4], *both, expect=2)
    assert "only one of" in ran.err
    assert not list(tmp_path.iterdir())


def test_a_damaged_line_and_a_missing_file_are_told(tmp_path: Path) -> None:
    ran = truc("--lang", "en", "join", anchor_text(SMALL)[:-4] + "AAAA", "--folder", tmp_path, *NEW, expect=1)
    assert "anchor_damaged" in ran.err
    record("anchor_damaged")
    ran = truc("--lang", "en", "join", tmp_path / "none", "--folder", tmp_path, *NEW, expect=4)
    assert "file_unreadable" in ran.err


def test_another_network_and_another_centre_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "n"
    truc("join", anchor_text(SMALL), "--folder", folder, *NEW)
    from dataclasses import replace

    other = anchor_text(replace(SMALL, root_digest=bytes([7]) * 32))
    assert "join_other_root" in truc("join", other, "--folder", folder, "--wait", 0, expect=4).err
    record("join_other_root")
    words = ("--folder", folder, "--centre", "00.99.W00", "--wait", 0)
    assert "join_other_centre" in truc("join", anchor_text(SMALL), *words, expect=4).err
    record("join_other_centre")


@pytest.mark.parametrize(
    ("state", "reason", "told"),
    [
        ("up", "", "connected"),
        ("down", "ECONNREFUSED", "silent: nothing listens at its address"),
        ("down", "no_stream", "silent: no_stream"),
        ("down", "introduction_unproven", "answered: it has no record of this node yet"),
    ],
)
def test_a_contact_that_answered_is_not_called_silent(state: str, reason: str, told: str) -> None:
    assert contact_state(Desk("en"), {"state": state, "reason": reason}) == told


def test_an_anchor_is_made_by_hand(tmp_path: Path) -> None:
    contact = f"00.12.W00,{PEERS[0]},/ip4/203.0.113.12/tcp/4601"
    file = tmp_path / "anchor.truc"
    ran = truc("--lang", "en", "anchor", file, "--root-digest", DIGEST.hex(), "--contact", contact)
    assert ran.out.strip() == anchor_text(SMALL)
    assert f"Written to {file}." in ran.err
    assert "publish it over another channel" in ran.err
    assert read_anchor(file.read_bytes()) == SMALL
    assert "file_exists" in truc("anchor", file, "--root-digest", DIGEST.hex(), "--contact", contact, expect=4).err


@pytest.mark.parametrize(
    "words", [("--root-digest", "x", "--contact", "a,b,c"), ("--root-digest", "00" * 32, "--contact", "a")]
)
def test_words_of_an_anchor_that_cannot_be_used(words: tuple[str, ...]) -> None:
    assert truc("--lang", "en", "anchor", *words, expect=2).err.startswith("Usage")


def test_an_anchor_of_a_node_that_has_not_joined_is_not_made(tmp_path: Path) -> None:
    truc("--json", "init", "--folder", tmp_path, *NEW[:-2])
    ran = truc("--config", tmp_path / "node.toml", "anchor", expect=4)
    assert "anchor_unready" in ran.err
    record("anchor_unready")
    truc("join", anchor_text(SMALL), "--folder", tmp_path, "--wait", 0)
    assert "anchor_unready" in truc("--config", tmp_path / "node.toml", "anchor", expect=4).err
