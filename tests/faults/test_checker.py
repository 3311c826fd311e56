"""The checker finds what it is there to find: a lost document, a doubled one, a wrong file, a broken chain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.real.checker import judge

CHAIN = (1, 100, 3)
RECIPIENTS = ("G12", "H38")
FILES = {"a.bin": "aa"}
ROWS = [{"key": "k1", "document": "doc_1", "repeated": False, "files": FILES}]


def sent(document: str = "doc_1", codes: Sequence[int] = CHAIN) -> dict[str, Any]:
    receipts = [{"sequence": number, "code": code} for number, code in enumerate(codes)]
    deliveries = [
        {"recipient": code, "consignment": f"csg_{code}_{document}", "receipts": receipts} for code in RECIPIENTS
    ]
    return {"id": document, "recipients": deliveries}


def events(recipient: str, document: str = "doc_1", consignment: str = "", **other: Any) -> list[dict[str, Any]]:
    about = {"consignment": consignment or f"csg_{recipient}_{document}", "document": document}
    fetched = {"event": "fetched", **about, "recipient": recipient, "files": FILES, **other}
    return [{"event": "listed", **about}, fetched, {"event": "collected", **about, "action": "collect"}]


def judged(
    folder: Path,
    *,
    rows: Sequence[Mapping[str, Any]] = ROWS,
    listed: Sequence[Mapping[str, Any]] = (),
    g12: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """What the checker says of this story, in which H38 has everything."""
    for name, found in (("g12", events("G12") if g12 is None else g12), ("h38", events("H38"))):
        (folder / name).mkdir()
        (folder / name / "register.jsonl").write_text("".join(json.dumps(event) + "\n" for event in found))
    registers = [folder / "g12", folder / "h38"]
    return "\n".join(judge(rows, listed or [sent()], registers, recipients=RECIPIENTS, chain=CHAIN))


def test_a_story_in_which_everything_is_right_has_no_findings(tmp_path: Path) -> None:
    assert judged(tmp_path) == ""


def test_a_page_that_came_twice_before_the_collect_is_no_finding(tmp_path: Path) -> None:
    listed, fetched, collected = events("G12")
    assert judged(tmp_path, g12=[listed, fetched, listed, fetched, collected]) == ""


@pytest.mark.parametrize(
    ("g12", "finding"),
    [
        ([], "csg_G12_doc_1: never arrived"),
        (events("G12")[:2], "fetched, never collected"),
        (events("G12", files={"a.bin": "bb"}), "other files than were handed in"),
        (events("G12") + events("G12")[:1], "listed again after it was collected"),
        (events("G12") + events("G12", consignment="csg_other"), "2 consignments of one document"),
        (events("G12") + events("G12", "doc_9"), "csg_G12_doc_9: nobody sent it"),
    ],
)
def test_what_is_wrong_at_a_recipient_is_found(tmp_path: Path, g12: list[dict[str, Any]], finding: str) -> None:
    assert finding in judged(tmp_path, g12=g12)


def test_a_document_that_was_accepted_and_is_not_there_is_found(tmp_path: Path) -> None:
    rows = [*ROWS, {"key": "k2", "document": "doc_2", "repeated": False, "files": FILES}]
    assert judged(tmp_path, rows=rows) == "doc_2: accepted, but the node does not know it"


def test_one_document_under_two_keys_and_one_that_no_key_brought_are_found(tmp_path: Path) -> None:
    assert "doc_1: 2 times" in judged(tmp_path, rows=[*ROWS, {**ROWS[0], "key": "k2"}])
    (tmp_path / "again").mkdir()
    assert "doc_2: nobody's key brought it" in judged(tmp_path / "again", listed=[sent(), sent("doc_2")])


@pytest.mark.parametrize("codes", [(1, 100), (1, 100, 3, 3), (100, 1, 3), ()])
def test_a_chain_that_lacks_doubles_or_turns_a_receipt_is_found(tmp_path: Path, codes: tuple[int, ...]) -> None:
    assert f"receipts {list(codes)}" in judged(tmp_path, listed=[sent(codes=codes)])


def test_a_recipient_too_few_is_found(tmp_path: Path) -> None:
    document = sent()
    document["recipients"] = document["recipients"][:1]
    assert "doc_1: wrong recipients" in judged(tmp_path, listed=[document])
