"""Nodes come to know the same: by pings and sessions alone, through others, and without asking in vain."""

from __future__ import annotations

from dataclasses import replace

import trio

from node.directory_sync import ComparedWith
from protocol.checkpoint import Tier, fork_of, fork_wire
from protocol.directory import AGENCY, Names
from protocol.limits import DAY_MS, HOUR_MS
from protocol.prefix_tree import EMPTY
from tests.support.directory_liar import Liar, Lying
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes, heartbeat_of, signer_of

QUIET = {"ping_s": 600, "dead_s": 1_800}
"""For stories of days: a ping every few seconds would cost more than all the rest."""


def test_a_change_reaches_a_third_node_through_the_second() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.cut(A, C)
        changed = nodes.renamed("G22", names=Names(vi="Tên mới", en="New name"))
        await nodes.bring(A, changed)
        await nodes.until(lambda: nodes.know(changed) == {A, B, C})
        await nodes.level()
        assert nodes.nodes[C].directory.agency("G22").names.vi == "Tên mới"

    among_nodes(story)


def test_five_hundred_records_arrive_and_are_asked_for_once() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        first = len(nodes.tree.signed)
        for n in range(500):
            nodes.tree.clock_ms -= 60_000  # as many in one minute
            nodes.tree.add_agency(f"H38.{n + 1}", C)
        await nodes.bring(A, *nodes.tree.signed[first:])
        await nodes.level()
        for centre in (B, C):
            came = sum(line["things"] for line in nodes.events(centre, "directory_compared"))
            assert 500 <= came <= 1_010, "from one peer, or from both at once"

    among_nodes(story)


def test_nodes_that_know_the_same_do_not_ask() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        def opened() -> list[float]:
            return [
                node.metrics.streams_opened.labels(protocol="directory")._value.get()
                for node in nodes.nodes.values()
            ]

        await trio.sleep(30)  # what was heard on the way is asked for once
        before = opened()
        await trio.sleep(600)
        assert opened() == before

    among_nodes(story)


def test_a_fork_is_proved_everywhere_and_nobody_is_asked_about_it_for_ever() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        one = nodes.renamed("G22", names=Names(vi="Một"))
        record = AGENCY.decode(one.statement)
        other = nodes.tree.sign(AGENCY, replace(record, names=Names(vi="Hai")), nodes.tree.level_1_signers)
        await nodes.bring(A, one)
        await nodes.bring(C, other)
        await nodes.until(
            lambda: all(node.directory.fork("level-1", 1) is not None for node in nodes.nodes.values())
        )
        await trio.sleep(60)
        before = [len(nodes.events(centre, "directory_compared")) for centre in nodes.nodes]
        await trio.sleep(1_800)
        assert [len(nodes.events(centre, "directory_compared")) for centre in nodes.nodes] == before
        for centre, node in nodes.nodes.items():
            assert [alarm.about for alarm in node.room.alarms.all()] == ["level-1/1"]
            codes = [line["code"] for line in nodes.events(centre, "alarm")]
            assert codes == ["directory_generation_forked"]

    among_nodes(story)


def test_logs_that_parted_and_met_again_are_proved_by_their_checkpoints() -> None:
    """Numbers, trees and newest checkpoints have become the same; what lay between is not."""

    async def story(nodes: DirectoryNodes) -> None:
        first = nodes.checkpoint("level-1")
        number = nodes.tree.numbers["level-1"]
        hidden = nodes.renamed("G22", number=number, names=Names(vi="Một"))
        nodes.tree.numbers["level-1"] = number
        again = nodes.renamed("G22", names=Names(vi="Hai"))
        second = nodes.checkpoint("level-1", previous=EMPTY)
        nodes.cut(A, B)
        nodes.cut(B, C)
        await nodes.bring(A, first, again, second)
        level = {nodes.nodes[centre].room.index.digest for centre in (A, C)}
        await nodes.until(lambda: nodes.know(again) == {A, C} and len({digest() for digest in level}) == 1)
        forks = {centre: node.directory.fork("level-1", 1) for centre, node in nodes.nodes.items()}
        assert {centre for centre, fork in forks.items() if fork is not None} == {A, C}
        assert forks[A] == forks[C], "two checkpoints after the same one"
        await nodes.bring(B, hidden, again, second)
        assert nodes.nodes[B].directory.fork("level-1", 1) is None, "it holds no such pair"
        nodes.network.mend_all()
        await nodes.until(
            lambda: all(node.directory.fork("level-1", 1) is not None for node in nodes.nodes.values())
        )
        for node in nodes.nodes.values():
            assert [alarm.about for alarm in node.room.alarms.all()] == ["level-1/1"]

    among_nodes(story)


def test_three_nodes_in_a_line_know_the_same_though_only_pings_tell() -> None:
    """No announcement, no import at more than one node, no link between the ends: the guarantee."""

    async def story(nodes: DirectoryNodes) -> None:
        nodes.cut(A, C)
        nodes.set_clock()
        nodes.tree.add_agency("H38.1", C)
        things = [nodes.tree.signed[-1], nodes.renamed("G22", names=Names(vi="Một")), nodes.checkpoint("level-1")]
        await nodes.bring(A, *things[:2])
        await nodes.level()
        await nodes.bring(C, nodes.renamed("G12", names=Names(vi="Hai")), *things[2:])
        await nodes.level()
        for node in nodes.nodes.values():
            assert node.directory.agency("G22").names.vi == "Một"
            assert node.directory.agency("G12").names.vi == "Hai"
            assert all(not node.conducts.of(centre).faults for centre in (A, B, C))

    among_nodes(story)


def test_a_fork_proof_is_given_to_whoever_knows_neither_thing() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        one = nodes.renamed("G22", names=Names(vi="Một"))
        record = AGENCY.decode(one.statement)
        other = nodes.tree.sign(AGENCY, replace(record, names=Names(vi="Hai")), nodes.tree.level_1_signers)
        door = nodes.nodes[A].room.door
        assert await door.take_given([fork_wire(fork_of(one, other))]) == []
        await nodes.until(
            lambda: all(node.directory.fork("level-1", 1) is not None for node in nodes.nodes.values())
        )
        assert nodes.nodes[C].directory.fork("level-1", 1) == nodes.nodes[A].directory.fork("level-1", 1)
        await nodes.level()

    among_nodes(story)


def test_a_pending_change_alarms_whom_it_concerns_and_comes_into_force_after_its_day() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(2 * HOUR_MS / 1000)  # nobody is joining any more
        moved = nodes.renamed("G22", host=C, epoch=2)
        result = await nodes.bring(B, moved)
        assert [item.code for item in result.pending] == ["G22"]
        await nodes.until(lambda: nodes.know(moved) == {A, B, C}, seconds=7_200)
        hosts = {centre: node.directory.agency("G22").host for centre, node in nodes.nodes.items()}
        assert hosts == {A: A, B: A, C: A}
        assert [alarm.about for alarm in nodes.nodes[A].room.alarms.all()] == ["G22"]
        assert [line["subject"] for line in nodes.events(C, "alarm")] == ["G22"], "it is to become a host"
        await trio.sleep(DAY_MS / 1000 + 3_600)
        hosts = {centre: node.directory.agency("G22").host for centre, node in nodes.nodes.items()}
        assert hosts == {A: C, B: C, C: C}
        assert nodes.nodes[A].room.alarms.all() == []
        assert len(nodes.events(A, "pending_in_force")) == 1

    among_nodes(story, settings=QUIET)


def test_nothing_comes_into_force_at_a_node_that_hears_nobody() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(2 * HOUR_MS / 1000)
        moved = nodes.renamed("G22", host=C, epoch=2)
        await nodes.bring(B, moved)
        await nodes.until(lambda: nodes.know(moved) == {A, B, C}, seconds=7_200)
        nodes.cut(A, B)
        nodes.cut(A, C)
        await trio.sleep(2 * DAY_MS / 1000)
        assert nodes.nodes[A].directory.agency("G22").host == A
        assert nodes.nodes[B].directory.agency("G22").host == C
        nodes.network.mend_all()
        await nodes.until(lambda: nodes.nodes[A].directory.agency("G22").host == C, seconds=7_200)

    among_nodes(story, settings=QUIET)


def test_a_log_is_fresh_by_its_checkpoint_and_by_heartbeats_until_it_is_old() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        fresh = [node.room.freshness for node in nodes.nodes.values()]
        assert {one.tier() for one in fresh} == {Tier.OLD}, "no checkpoint was ever signed"
        beats = signer_of("heartbeat")
        checkpoint = nodes.checkpoint("level-1", beats)
        await nodes.bring(A, checkpoint)
        await nodes.level(seconds=7_200)
        assert {one.tier() for one in fresh} == {Tier.GREEN}
        await trio.sleep(2 * DAY_MS / 1000)
        assert {one.tier() for one in fresh} == {Tier.KNOWN}
        now_ms = nodes.environments[A].now_ms()
        assert await nodes.nodes[A].room.door.take_given([heartbeat_of(checkpoint, beats, now_ms).to_wire()]) == []
        await nodes.level(seconds=7_200)
        assert {one.tier() for one in fresh} == {Tier.GREEN}
        assert all(one.trouble() is None for one in fresh)
        for environment in nodes.environments.values():
            environment.offset_ms += 31 * DAY_MS
        assert {one.tier() for one in fresh} == {Tier.OLD}
        trouble = fresh[0].trouble()
        assert trouble is not None and trouble.code == "directory_old"

    among_nodes(story, settings=QUIET)


def test_why_a_directory_does_not_come_is_told_with_the_peer_and_since_when() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        liar, sync = Liar(nodes, B), nodes.nodes[A].room.sync
        assert (sync.compared_with(B).failures, sync.compared_with(B).error) == (0, None)
        lying = Lying(liar.honest)
        lying.claims_of["level-1"] = {"number": 1_000}
        liar.gives(lying)
        began_ms = nodes.environments[A].now_ms()
        await liar.until(A, lambda: len(liar.failures(A)) >= 2)
        found = sync.compared_with(B)
        assert found.error is not None and found.error.code == "peer_withholds"
        assert found.failures == len(liar.failures(A)) and not found.level
        assert began_ms <= found.failed_ms <= nodes.environments[A].now_ms()
        liar.gives(Lying(liar.honest))
        await liar.until(A, lambda: sync.compared_with(B).failures == 0, seconds=1_200)
        since = sync.compared_with(B)
        assert since.error is not None and since.failed_ms == found.failed_ms, "the last one is remembered"
        assert sync.compared_with("00.99.W00") == ComparedWith()
        sync.keep({C})
        assert sync.compared_with(B) == ComparedWith()

    among_nodes(story, settings=QUIET)
