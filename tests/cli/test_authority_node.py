"""The registrar's tool and a running node, by files alone: what the node exports is what the tool has to see."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import World, make_world, started, truc


class Office:
    """The registrar's folder beside the node."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = world.folder / "authority"
        self.directory = self.folder / "directory.truc"

    def run(self, *words: object, expect: int = 0) -> Any:
        how = ("authority", "--folder", self.folder, "--passphrase-file", self.world.folder / "secret", "--json")
        return truc(*how, *words, expect=expect).json

    def bring(self, file: Path | None = None, expect: int = 0) -> Any:
        """An operator imports the registrar's file at the node."""
        return self.world.json("directory", "import", file or self.directory, expect=expect)

    def exported(self, path: Path) -> Path:
        self.world.truc("directory", "export", path)
        return path

    def state(self, code: str) -> str:
        shown: dict[str, Any] = self.world.json("directory", "show", code)
        return str(shown["state"])


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    world = make_world(tmp_path_factory.mktemp("office"))
    with started(world):
        made = Office(world)
        made.bring()
        yield made


def test_what_the_node_exports_is_what_the_tool_sees_before_it_signs(office: Office, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(office.folder, backup)
    newest = office.exported(tmp_path / "one.truc")
    answer = office.run("--seen", newest, "agency", "--code", "G22.1", "--name", "Vụ 1", "--host", "00.22.W00")
    assert answer["waiting"] == []
    assert office.bring()["rejected"] == []
    late = tmp_path / "late"
    shutil.copytree(office.folder, late)
    shutil.rmtree(office.folder)
    shutil.copytree(backup, office.folder)
    newest = office.exported(tmp_path / "two.truc")
    behind = office.run("--seen", newest, "agency", "--code", "G22.1", "--kind", "vụ", expect=4)
    assert behind["code"] == "authority_behind"
    assert office.run("recover", newest)["generation"] == 2
    words = ("agency", "--code", "G22.1", "--kind", "vụ")
    assert office.run("--seen", newest, *words, expect=4)["code"] == "authority_seen_old"
    office.bring()
    office.run("--seen", office.exported(tmp_path / "three.truc"), *words)
    assert office.bring()["rejected"] == []
    assert office.world.json("directory", "show", "G22.1")["kind"] == "vụ"

    sign = ("authority", "--folder", late, "--passphrase-file", office.world.folder / "secret", "--json")
    truc(*sign, "agency", "--code", "G22.1", "--name", "Vụ khác")  # a copy that nobody stopped
    found = office.bring(late / "directory.truc")
    assert found["older"] == [{"registrar": "level-1", "generation": 1, "open": 2, "things": 2}]
    assert (found["accepted"], found["rejected"]) == ([], [])
    told = office.world.truc("directory", "import", late / "directory.truc", "--lang", "en").out
    assert "2 things of generation 1 of level-1 were left out: it is over, 2 is open." in told


def test_self_lock_on_the_agencys_own_machine_reaches_its_node(office: Office, tmp_path: Path) -> None:
    newest, locked = office.exported(tmp_path / "newest.truc"), tmp_path / "lock.truc"
    home = office.world.config.parent
    keys = ("--node-keys", home / "data", "--node-passphrase-file", home / "passphrase")
    truc("authority", "--json", "--out", locked, "lock", "G22.99", "--directory", newest, *keys)
    assert office.bring(locked)["rejected"] == []
    assert office.state("G22.99") == "locked"
    office.run("agency", "--code", "G22.99", "--decision", "đã kiểm tra")
    office.bring()
    assert office.state("G22.99") == "active"


def test_importing_keeps_what_is_valid_and_lists_the_rest_with_reasons(office: Office) -> None:
    office.run("agency", "--code", "G22.2", "--name", "Vụ 2", "--host", "00.22.W00")
    office.run("agency", "--code", "G22.2", "--alias", "G99")
    found = office.bring(expect=1)
    assert [item["about"] for item in found["rejected"]] == ["truc/agency/1 G22.2"]
    problem = found["rejected"][0]["problem"]
    assert (problem["code"], problem["vi"] != problem["en"]) == ("directory_alias", True)
    assert office.state("G22.2") == "active"
    linted = truc("--json", "--lang", "en", "directory", "lint", office.directory, expect=1).json
    assert [(flaw["about"], flaw["code"]) for flaw in linted["flaws"] if flaw["grade"] == "fault"] == [
        ("truc/agency/1 G22.2", "directory_alias")
    ]


def test_a_plan_reaches_the_node_and_names_successors(office: Office, tmp_path: Path) -> None:
    plan = tmp_path / "plan.csv"
    plan.write_text("code,state,name,host,successors\nG22.1,closed,,,G22.3\nG22.3,,Vụ 3,00.22.W00,\n", "utf-8")
    newest = office.exported(tmp_path / "newest.truc")
    office.run("--seen", newest, "reorganise", plan)
    assert office.bring()["rejected"] == [], "the alias of before was told once, and its place in the log is known"
    shown = office.world.json("directory", "show", "G22.1")
    assert (shown["state"], shown["successors"]) == ("closed", ["G22.3"])
