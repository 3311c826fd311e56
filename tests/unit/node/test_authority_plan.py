"""A night of reorganisation: one table, one act, one signature; or nothing at all."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from node.authority import Authority
from node.authority_plan import apply_plan, read_plan
from protocol.directory import RecordState
from protocol.directory_file import read_file
from protocol.errors import ConfigurationError
from protocol.limits import HOUR_MS
from protocol.signing import Signed, Verifier
from tests.support.errors import expects
from tests.unit.node.test_authority import CENTRE_1, CENTRE_2, NAMES, NOW, believed, made, request_of

HEADER = "code,state,name,name_en,host,parent,kind,aliases,successors,decision\n"
PROVINCES, COMMUNES = 30, 7_000
CPU_S_MAX = 20.0


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
    apply_plan(act, read_plan(text), authority.issued.agency)
    return authority.complete(act)


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


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name\nBộ\n", "line 1"),
        ("code,colour\nG13,red\n", "line 1"),
        ("", "line 1"),
        (HEADER + ",closed\n", "line 2"),
        (HEADER + "G12,gone\n", "line 2"),
        (HEADER + "G13,,Bộ\n", "line 2"),
        (HEADER + "G13,closed,Bộ,,00.01.W00\n", "line 2"),
        (HEADER + "G13,,Bộ,,00.09.W00\n", "line 2"),
        (HEADER + "g13,,Bộ,,00.01.W00\n", "line 2"),
        (HEADER + "G12,locked\nG12,closed\n", "line 3"),
        (HEADER + "G12,,,,,,,,,,,,\n", "line 2"),
        (HEADER + 'G12,"closed\n', "line 2"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_nothing_is_signed(authority: Authority, text: str, field: str) -> None:
    before = authority.directory_file()
    with expects("authority_plan", ConfigurationError, field=field):
        carried_out(authority, text)
    assert authority.directory_file() == before


def test_thirty_provinces_and_seven_thousand_communes_are_one_act_and_one_signature(tmp_path: Path) -> None:
    opened = made(tmp_path)
    act = opened.act(NOW)
    act.register_centre(request_of(CENTRE_1))
    opened.complete(act)
    old = [f"H{10 + n}" for n in range(PROVINCES)]
    pairs = [(f"{old[n % PROVINCES]}.{n}", f"H{60 + n % PROVINCES}.{n}") for n in range(1, COMMUNES + 1)]
    pairs = [*((code, f"H{60 + n}") for n, code in enumerate(old)), *pairs]
    carried_out(opened, HEADER + "".join(f"{code},,Cũ {code},,00.01.W00,,,,,\n" for code, _ in pairs), NOW + 10)
    rows = [f"{code},closed,,,,,,,{new},1/QĐ\n{new},,Mới {new},,00.01.W00,,,,,1/QĐ\n" for code, new in pairs]
    began = time.process_time()
    signed = carried_out(opened, HEADER + "".join(rows), NOW + HOUR_MS)
    assert time.process_time() - began < CPU_S_MAX
    assert len(signed) == 2 * (PROVINCES + COMMUNES)
    verifier, key = Verifier(), opened.key("level-1-1")
    assert key is not None
    for item in signed:
        verifier.verify(item, key)
    assert verifier.operations == 1
    assert believed(opened, NOW + 2 * HOUR_MS) == {}
    assert opened.view.state("H16.6") is RecordState.CLOSED
    assert opened.view.resolve("H66.6").code in opened.view.agency("H16.6").successors
    assert len(read_file(opened.directory_file())) == 1 + 2 + 7_031 + 14_061
