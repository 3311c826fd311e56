"""`truc peers`: whom we reach, why a directory does not come from somebody, and who was turned away."""

from __future__ import annotations

from typing import Any

import pytest

from node.api.state import compared_view
from node.cli.desk import Desk
from node.cli.look import tell_peers
from node.cli.texts import TEXTS
from node.cli.texts_joining import JOINING
from node.directory_sync import ComparedWith
from protocol.errors import NetworkError
from tests.support.errors import record

NEVER = compared_view(ComparedWith())
FAILED = compared_view(ComparedWith(failures=3, error=NetworkError("reconcile_order"), failed_ms=1_780_000_000_000))
PEER = {"centre": "00.02.W00", "state": "up", "reason": "", "directory": NEVER}
STRANGER = "12D3KooWStranger"


def told(capsys: pytest.CaptureFixture[str], language: Any, *items: dict[str, Any], **more: Any) -> list[str]:
    tell_peers(Desk(language), {"items": list(items), **more})
    return capsys.readouterr().out.splitlines()


def refused(reason: str, time_ms: int, *, peer_id: str = STRANGER, address: str = "") -> dict[str, Any]:
    return {"peer_id": peer_id, "address": address, "reason": reason, "time_ms": time_ms}


def test_a_directory_that_does_not_come_is_told_with_code_reason_and_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = told(capsys, "en", {**PEER, "directory": FAILED}, {**PEER, "centre": "00.03.W00"})
    assert "not compared, 3 times" in lines[1]
    assert lines[2].split() == ["00.03.W00", "connected"]
    assert lines[3].startswith("The directory of 00.02.W00 could not be compared, last at 2026-05-29 03:26:40: ")
    assert lines[3].endswith(f": reconcile_order: {FAILED['en']}")
    assert len(lines) == 4
    lines = told(capsys, "vi", {**PEER, "directory": FAILED})
    assert FAILED["vi"] in lines[-1] and FAILED["vi"] != FAILED["en"]
    record("reconcile_order")


def test_what_failed_and_went_well_since_is_left_to_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    since = compared_view(ComparedWith(level=True, error=NetworkError("reconcile_order"), failed_ms=5))
    lines = told(capsys, "en", {**PEER, "directory": since})
    assert (since["code"], since["level"]) == ("reconcile_order", True)
    assert len(lines) == 2 and lines[1].split() == ["00.02.W00", "connected", "the", "same"]


def test_a_node_of_an_older_release_says_nothing_of_directories(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "en", {"centre": "00.02.W00", "state": "up", "reason": ""})
    assert len(lines) == 2


def test_who_was_turned_away_is_listed_once_with_the_reason_newest_first(capsys: pytest.CaptureFixture[str]) -> None:
    many = [
        refused("silent", 1_780_000_000_000, peer_id="", address="/ip4/203.0.113.7/tcp/4001"),
        refused("not_admitted", 1_780_000_001_000, address="/ip4/203.0.113.8/tcp/4001"),
        refused("silent", 1_780_000_002_000, peer_id="", address="/ip4/203.0.113.7/tcp/4002"),
        refused("directory_rollback", 1_780_000_003_000, address="/ip4/203.0.113.9/tcp/1"),
    ]
    lines = told(capsys, "en", PEER, refused=many)
    assert lines[2] == "Not let in of late:"
    assert [line.split()[1] for line in lines[4:]] == ["03:26:43", "03:26:42", "03:26:41"]
    assert lines[4].endswith("directory_rollback"), "a reason of a newer release, or a code, as it is"
    assert lines[5].split()[2:5] == ["/ip4/203.0.113.7", "/ip4/203.0.113.7/tcp/4002", "2"]
    assert lines[6].endswith(TEXTS["refused not_admitted"][1])
    assert STRANGER in lines[6]


def test_names_of_strangers_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    lines = told(capsys, "vi", PEER, refused=[refused("silent", 5, peer_id="\x1b[2J")])
    assert "\x1b" not in "".join(lines)


REASONS = ("not_admitted", "not_named", "peer_id_changed", "peer_id_twice", "closed", "admission_over",
           "introductions_in_vain", "introduction_unproven", "handshake", "silent", "directory_pending")  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_of_a_refusal_has_words_in_both_languages(reason: str) -> None:
    vi, en = JOINING[f"refused {reason}"]
    assert vi and en and vi != en
