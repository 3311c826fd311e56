"""A night of reorganisation: one table, a handful of signatures; every mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.authority import Authority
from node.authority_batch import BATCH_RECORDS_MAX
from node.authority_plan import Drafted, apply_plan, check_plan, plan_text, read_plan, with_lines
from protocol.directory import RecordState
from protocol.directory_file import read_file
from protocol.errors import ConfigurationError
from protocol.limits import HOUR_MS
from protocol.signing import Signed, Verifier
from tests.support.errors import expects
from tests.support.night import COMMUNES, HEADER, PROVINCES, closing, registering
from tests.unit.node.test_authority import CENTRE_1, CENTRE_2, NAMES, NOW, believed, made, request_of


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    opened = made(tmp_path)
    act = opened.act(NOW)
    for centre in (CENTRE_1, CENTRE_2):
        act.register_centre(request_of(centre))
    act.register_agency(code="G12", names=NAMES, host="00.01.W00")
    opened.complete(act)
    return opened


def carried_out(authority: Authority, text: str, now_ms: int = NOW + HOUR_MS) -> tuple[Signed, ...]:
    act = authority.act(now_ms)
    check_plan(apply_plan(act, read_plan(text), authority.issued.agency))
    return authority.complete(act)


def drafted(authority: Authority, text: str) -> Drafted:
    return apply_plan(authority.act(NOW + HOUR_MS), read_plan(text), authority.issued.agency)


def told(found: Drafted) -> list[tuple[int, str, str]]:
    return [(fault.line, fault.code, fault.error.code) for fault in found.faults]


def test_a_table_closes_and_registers_in_one_act(authority: Authority) -> None:
    signed = carried_out(
        authority,
        "\ufeff" + HEADER + "G12,closed,,,,,,,G13,1/QĐ\n\nG13,,Bộ mới,New ministry,00.02.W00,,bộ,000.00.00.G13,,1/QĐ\n",
    )
    assert len(signed) == 2
    assert authority.view.agency("G12").successors == ("G13",)
    assert authority.view.resolve("000.00.00.G13").names.en == "New ministry"
    assert believed(authority, NOW + 2 * HOUR_MS) == {}
    carried_out(authority, "code,name_en\nG13,Ministry\n", NOW + 2 * HOUR_MS)
    assert (authority.view.agency("G13").names.vi, authority.view.agency("G13").names.en) == ("Bộ mới", "Ministry")


@pytest.mark.parametrize("text", ["name\nBộ\n", "code,colour\nG13,red\n", ""])
def test_what_is_no_such_table_is_refused_as_a_whole(text: str) -> None:
    with expects("authority_plan", ConfigurationError, field="line 1"):
        read_plan(text)


def test_bytes_that_are_no_text_and_quotes_that_never_end_are_told_with_their_line() -> None:
    with expects("authority_plan", ConfigurationError, field="line 2"):
        plan_text(b"code\n\xff\n")
    with expects("authority_plan", ConfigurationError, field="line 2"):
        read_plan(HEADER + 'G12,"closed\n')


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (",closed", "authority_plan"),
        ("G12,gone", "authority_plan"),
        ("G13,,Bộ", "authority_plan"),
        ("G13,closed,Bộ,,00.01.W00", "authority_plan"),
        ("G13,,Bộ,,00.09.W00", "centre_unknown"),
        ("g13,,Bộ,,00.01.W00", "format_agency_code"),
        ("G13,,B\u200bộ,,00.01.W00", "format_field"),
        ("G13\u200b,,Bộ,,00.01.W00", "format_agency_code"),
        ("G12,,,,,,,,,,,,", "authority_plan"),
        ("G12,closed,,,,,,,G99", "lint_successor"),
        ("G14.1,,Cục,,00.01.W00", "lint_parent"),
        ("G12,,,,,G13", "lint_parent"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_nothing_is_signed(authority: Authority, line: str, code: str) -> None:
    before = authority.directory_file()
    assert [(number, found) for number, _, found in told(drafted(authority, HEADER + line + "\n"))] == [(2, code)]
    with expects("authority_plan", ConfigurationError, field="line 2"):
        carried_out(authority, HEADER + line + "\n")
    assert authority.directory_file() == before


def test_all_mistakes_are_listed_and_what_is_valid_can_be_kept(authority: Authority) -> None:
    text = HEADER + (
        "G12,locked\n"
        "G12,closed\n"
        "G13,,Bộ mới,,00.01.W00\n"
        "G14,,Bộ,,00.09.W00\n"
        "G14.1,,Cục của bộ thiếu,,00.01.W00\n"
        "G12,closed,,,,,,,G14\n"
        "000.00.80.G13,,Chi cục,,00.01.W00,G13\n"
    )
    act = authority.act(NOW + HOUR_MS)
    found = apply_plan(act, read_plan(text), authority.issued.agency)
    assert told(found) == [
        (3, "G12", "authority_repeated"),
        (5, "G14", "centre_unknown"),
        (6, "G14.1", "lint_parent"),
        (7, "G12", "authority_repeated"),
    ]
    assert [item.format for item in authority.complete(act)] == ["truc/agency/1"] * 3
    assert authority.view.state("G12") is RecordState.LOCKED
    assert believed(authority, NOW + 2 * HOUR_MS) == {}
    rest = with_lines(text, [fault.line for fault in found.faults])
    assert rest.splitlines()[0] + "\n" == HEADER
    assert [row.split(",")[0] for row in rest.splitlines()[1:]] == ["G12", "G14", "G14.1", "G12"]


def test_a_code_of_the_old_form_stands_below_nothing_unless_it_is_told(authority: Authority) -> None:
    carried_out(authority, HEADER + "000.00.80.G12,,Chi cục,,00.01.W00\n")
    assert authority.view.agency("000.00.80.G12").parent == ""


def test_a_plan_that_was_carried_out_changes_nothing_the_second_time(authority: Authority) -> None:
    text = HEADER + "G12,closed,,,,,,,G13,1/QĐ\nG13,,Bộ mới,,00.02.W00\n"
    carried_out(authority, text)
    act = authority.act(NOW + 2 * HOUR_MS)
    found = apply_plan(act, read_plan(text), authority.issued.agency)
    assert (found, len(act)) == (Drafted(same=2, faults=()), 0)


@pytest.mark.slow
def test_thirty_provinces_and_seven_thousand_lower_bodies_are_a_handful_of_signatures(tmp_path: Path) -> None:
    opened = made(tmp_path)
    act = opened.act(NOW)
    act.register_centre(request_of(CENTRE_1))
    opened.complete(act)
    carried_out(opened, registering("00.01.W00"), NOW + 10)
    signed = carried_out(opened, closing("00.01.W00"), NOW + HOUR_MS)
    bodies = PROVINCES + COMMUNES
    assert len(signed) == 2 * bodies
    batches = -(-2 * bodies // BATCH_RECORDS_MAX)
    verifier, key = Verifier(), opened.key("level-1-1")
    assert key is not None
    for item in signed:
        verifier.verify(item, key)
    assert verifier.operations == batches == 4
    assert believed(opened, NOW + 2 * HOUR_MS) == {}
    assert opened.view.state("H16.6") is RecordState.CLOSED
    assert opened.view.resolve("H66.6").code in opened.view.agency("H16.6").successors
    earlier = bodies + -(-bodies // BATCH_RECORDS_MAX)
    assert len(read_file(opened.directory_file())) == 1 + 2 + earlier + 2 * bodies + batches
    assert opened.issued.log("level-1", 1).is_whole
