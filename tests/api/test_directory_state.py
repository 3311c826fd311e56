"""How the directory is, as `/v1/node` and `/readyz` tell it: fresh or old, level or not, and what alarms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from protocol.directory import AGENCY, Names
from protocol.directory_file import write_file
from tests.support.api_checks import good
from tests.support.api_node import api_node
from tests.support.directory_nodes import OPERATOR


async def test_a_node_without_checkpoints_says_that_its_directory_is_old(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        await node.node.room.index.built.wait()
        state = good(await admin.get("/v1/node"))["directory"]
        numbers = node.tree.numbers["level-1"]
        assert state["ready"] and len(state["heads"]) == 64
        assert state["tier"] == "old"
        assert state["logs"] == [
            {"registrar": "level-1", "generation": 1, "number": numbers, "age_seconds": None, "tier": "old"}
        ]
        assert (state["peers_heard"], state["peers_level"], state["alarms"]) == (0, 0, [])
        ready = (await admin.get("/readyz")).json()
        assert "directory_old" in [warning["code"] for warning in ready["warnings"]]
        assert ready["ready"]


async def test_a_fork_is_shown_in_both_languages(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        tree = node.tree
        one = tree.publish(tree.next_agency("G22", names=Names(vi="Một")))
        record = AGENCY.decode(one.statement)
        other = tree.sign(AGENCY, replace(record, names=Names(vi="Hai")), tree.level_1_signers)
        await node.node.services.take_directory(OPERATOR, write_file([one, other]))
        (alarm,) = good(await admin.get("/v1/node"))["directory"]["alarms"]
        assert (alarm["about"], alarm["code"]) == ("level-1/1", "directory_generation_forked")
        assert "level-1" in alarm["vi"] and "level-1" in alarm["en"]
        assert [line["subject"] for line in node.events() if line["event"] == "alarm"] == ["level-1/1"]


async def test_each_peer_shows_what_came_of_comparing_directories(tmp_path: Path) -> None:
    async with api_node(tmp_path) as node, node.admin() as admin:
        await node.node.room.index.built.wait()
        never = {"level": False, "failures": 0, "failed_at": None, "code": "", "vi": "", "en": ""}
        before = good(await admin.get("/v1/peers"))
        assert before["items"] and [peer["directory"] for peer in before["items"]] == [never] * len(before["items"])
        centre = before["items"][0]["centre"]
        node.node.room.sync.heard(centre, node.node.room.index.digest())
        shown = good(await admin.get("/v1/peers"))["items"][0]
        assert (shown["centre"], shown["directory"]) == (centre, {**never, "level": True})
