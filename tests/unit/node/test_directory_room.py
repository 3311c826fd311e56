"""The rest of the directory's rooms, seen at running nodes: after a restart, alarms, clocks, the operator's choice."""

from __future__ import annotations

import pytest
import trio

from node.directory_index import DirectoryIndex
from protocol.directory import Names, RecordState
from protocol.errors import ConfigurationError
from protocol.limits import DAY_MS, HOUR_MS, MINUTE_MS
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes, heartbeat_of, signer_of
from tests.support.errors import record

ALIAS = "000.00.01.G22"


async def read_anew(nodes: DirectoryNodes, centre: str) -> DirectoryIndex:
    """What a node would know after a restart."""
    node = nodes.nodes[centre]
    index = DirectoryIndex(node.directory, node.store.committed, node.environment, node.log)
    await index.build()
    return index


def test_what_is_read_at_the_start_is_what_has_grown() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        beats = signer_of("heartbeat")
        nodes.set_clock()
        nodes.tree.add_agency("H38.1", C)
        await nodes.bring(A, nodes.tree.signed[-1], nodes.renamed("G22", names=Names(vi="Một")))
        checkpoint = nodes.checkpoint("level-1", beats)
        await nodes.bring(B, checkpoint)
        now_ms = nodes.environments[A].now_ms()
        await nodes.nodes[C].room.door.take_given([heartbeat_of(checkpoint, beats, now_ms).to_wire()])
        await nodes.level()
        await nodes.bring(A, nodes.renamed("G22", names=Names(vi="Hai")))
        await nodes.level()
        for centre, node in nodes.nodes.items():
            index = await read_anew(nodes, centre)
            assert index.heads() == node.room.index.heads()
            grown, read = node.room.index.log("level-1"), index.log("level-1")
            assert grown is not None and read is not None
            assert grown.complete == read.complete
            assert read.complete is not None and read.complete.digest == checkpoint.digest

    among_nodes(story)


def test_node_records_past_their_end_are_not_in_the_loose_set() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        index = nodes.nodes[A].room.index
        assert len(index.loose) == 3
        nodes.environments[A].offset_ms += 8 * DAY_MS
        index.heads()
        assert len(index.loose) == 0

    among_nodes(story)


def test_a_node_signs_its_record_anew_every_day() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        def begun(centre: str) -> int:
            known = nodes.nodes[B].directory.node_record(centre)
            assert known is not None
            return known.value.from_ms

        first = begun(A)
        await trio.sleep(DAY_MS / 1000 + 2 * HOUR_MS / 1000)
        assert begun(A) >= first + DAY_MS

    among_nodes(story, settings={"ping_s": 600, "dead_s": 1_800})


def test_a_text_that_two_live_records_claim_alarms_until_one_is_closed() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        one, other = (nodes.renamed(code, aliases=(ALIAS,)) for code in ("G22", "G22.99"))
        await nodes.bring(A, one, other)
        await nodes.level()
        for centre, node in nodes.nodes.items():
            (alarm,) = node.room.alarms.all()
            assert (alarm.about, alarm.error.code) == (ALIAS, "agency_ambiguous")
            assert len([line for line in nodes.events(centre, "alarm") if line["subject"] == ALIAS]) == 1
        await nodes.bring(B, nodes.renamed("G22.99", state=RecordState.CLOSED))
        await nodes.level()
        assert all(node.room.alarms.all() == [] for node in nodes.nodes.values())

    among_nodes(story)


def test_a_pending_change_that_concerns_nobody_here_is_silent() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(2 * HOUR_MS / 1000)
        moved = nodes.renamed("H38", host=B, epoch=2)
        await nodes.bring(C, moved)
        await nodes.until(lambda: nodes.know(moved) == {A, B, C}, seconds=7_200)
        concerned = {centre for centre, node in nodes.nodes.items() if node.room.alarms.all()}
        assert concerned == {B, C}

    among_nodes(story, settings={"ping_s": 600, "dead_s": 1_800})


def test_by_a_clock_that_is_not_trusted_no_day_begins_and_then_it_does() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(2 * HOUR_MS / 1000)
        node = nodes.nodes[A]
        nodes.environments[A].step_clock(-20 * MINUTE_MS)
        assert not node.clock.trusted
        moved = nodes.renamed("G12", host=C, epoch=2)
        await nodes.bring(A, moved)
        (pending,) = node.directory.all_pending()
        assert pending.since_ms == 0
        await nodes.until(lambda: node.directory.all_pending()[0].since_ms > 0, seconds=3_600)
        assert node.clock.trusted

    among_nodes(story, settings={"ping_s": 60, "dead_s": 180})


def test_an_operator_may_choose_to_stop_when_the_directory_is_old() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        freshness = nodes.nodes[A].room.freshness
        with pytest.raises(ConfigurationError) as refused:
            freshness.require()
        assert refused.value.code == "directory_old"
        record("directory_old")
        await nodes.bring(A, nodes.checkpoint())
        await nodes.nodes[A].room.index.caught_up()
        freshness.require()
        assert freshness.mattering() == {"level-1"}

    among_nodes(story, settings={"stop_when_old": True})


def test_what_is_told_too_much_at_once_is_left_to_reconciliation() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        door = nodes.nodes[A].room.door
        for _ in range(1_500):
            door.tell(B, b"no thing at all")
        await trio.sleep(10)
        codes = {line["code"] for line in nodes.events(A, "not_taken")}
        assert codes == {"busy"}

    among_nodes(story)
