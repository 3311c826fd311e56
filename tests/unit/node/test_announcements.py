"""What is announced, once and by whom; what follows from hearing; junk, floods, gaps; and doing without."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
import trio

from node.announcements import HEARD_AT_ONCE, IGNORED_FIRST_MS, IGNORED_MAX_MS, PENDING_MAX, WAITING_OF_ONE_MAX
from node.directory_roads import News, Road, Taken
from protocol.announcement import ANNOUNCEMENT, Announcement, LogMark, read_announcement
from protocol.checkpoint import fork_of, fork_wire
from protocol.directory import AGENCY, Names
from protocol.limits import ANNOUNCED_AGE_MAX_MS, ANNOUNCED_LOGS_MAX, DAY_MS
from protocol.signing import Signed
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes

QUIET = {"ping_s": 3_000, "dead_s": 9_000}
"""No ping tells anything while a story lasts."""
Story = Callable[[DirectoryNodes], Awaitable[None]]


def announcing(story: Story, **settings: Any) -> None:
    """Nodes that announce and hardly ever ping; the story begins when what they said of themselves is heard."""

    async def settled(nodes: DirectoryNodes) -> None:
        await trio.sleep(60)
        await story(nodes)

    among_nodes(settled, settings={"announce": True, **QUIET, **settings})


def by_road(nodes: DirectoryNodes, centre: str, road: Road) -> int:
    """How many things came to a node on this road."""
    return int(nodes.nodes[centre].metrics.directory_things.labels(road=road.value)._value.get())


def counted(nodes: DirectoryNodes, centre: str, outcome: str) -> int:
    """How many announcements came to this at a node."""
    return int(nodes.nodes[centre].metrics.announcements.labels(outcome=outcome)._value.get())


def asked(nodes: DirectoryNodes) -> int:
    """How many directory streams were opened by all nodes."""
    return sum(
        int(node.metrics.streams_opened.labels(protocol="directory")._value.get()) for node in nodes.nodes.values()
    )


def hear(nodes: DirectoryNodes, at: str, publisher: str, **fields: Any) -> bool:
    """A node hears an announcement of a centre; whether it passes it on."""
    made = {"created_ms": nodes.environments[at].now_ms(), **fields}
    return nodes.nodes[at].room.announcements.hear(publisher, ANNOUNCEMENT.encode(Announcement(**made)))


def spoilt(signed: Signed) -> Signed:
    """The same thing with a signature that is none."""
    first = signed.signatures[0]
    return replace(signed, signatures=(replace(first, signature=bytes(64)),))


# --- announcing -----------------------------------------------------------------------------


def test_what_is_brought_reaches_all_by_announcement_and_nobody_is_asked() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        before, sent = asked(nodes), [counted(nodes, centre, "sent") for centre in (A, B, C)]
        changed = nodes.renamed("G22", names=Names(vi="Tên mới"))
        await nodes.bring(A, changed)
        await nodes.until(lambda: nodes.know(changed) == {A, B, C}, seconds=5)
        await trio.sleep(30)
        assert by_road(nodes, B, Road.ANNOUNCED) and by_road(nodes, C, Road.ANNOUNCED)
        assert asked(nodes) == before
        now = [counted(nodes, centre, "sent") for centre in (A, B, C)]
        assert [after - first for after, first in zip(now, sent, strict=True)] == [1, 0, 0], "announced once"
        await nodes.level(seconds=1)

    announcing(story)


def test_things_of_one_act_go_into_one_announcement_and_a_checkpoint_with_them() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        sent = counted(nodes, A, "sent")
        nodes.set_clock()
        first = len(nodes.tree.signed)
        for n in range(20):
            nodes.tree.clock_ms -= 60_000
            nodes.tree.add_agency(f"H38.{n + 1}", C)
        things = [*nodes.tree.signed[first:], nodes.checkpoint()]
        await nodes.bring(A, *things)
        await nodes.until(lambda: all(nodes.know(thing) == {A, B, C} for thing in things), seconds=5)
        assert counted(nodes, A, "sent") == sent + 1

    announcing(story)


def test_a_large_heap_is_announced_in_part_and_the_rest_is_asked_for() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        first = len(nodes.tree.signed)
        for n in range(200):
            nodes.tree.clock_ms -= 60_000
            nodes.tree.add_agency(f"H38.{n + 1}", C)
        await nodes.bring(A, *nodes.tree.signed[first:])
        await nodes.level(seconds=30)
        assert 2 <= counted(nodes, A, "sent") - 1 <= 8

    announcing(story)


def test_a_lost_announcement_costs_a_question_and_nothing_else() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.network.announcements_lost = 1.0
        changed = nodes.renamed("G22", names=Names(vi="Tên mới"))
        await nodes.bring(A, changed)
        await nodes.until(lambda: nodes.know(changed) == {A, B, C})
        assert by_road(nodes, B, Road.ASKED) and by_road(nodes, C, Road.ASKED)
        assert nodes.network.struck["announcement_lost"]
        await nodes.level()

    announcing(story, ping_s=20, dead_s=60)


def test_what_was_learned_by_asking_is_announced_unless_somebody_else_did_so_before() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        room, sent = nodes.nodes[B].room, counted(nodes, B, "sent")
        one, other, old = (nodes.renamed("G22", names=Names(vi=name)) for name in ("Một", "Hai", "Cũ"))
        now_ms = nodes.environments[B].now_ms()
        news = [News(wire=thing.to_wire(), created_ms=now_ms, registrar="level-1") for thing in (one, other)]
        news.append(News(wire=old.to_wire(), created_ms=now_ms - ANNOUNCED_AGE_MAX_MS - 1, registrar="level-1"))
        room.announcements.taken(Taken(road=Road.ASKED, news=tuple(news)))
        assert hear(nodes, B, C, things=(other.to_wire(),))
        await nodes.until(lambda: nodes.know(one) == {A, C}, seconds=5)
        assert nodes.know(old) == set(), "it was made long ago: whoever lacks it asks"
        assert counted(nodes, B, "sent") == sent + 1

    announcing(story)


def test_of_a_heap_too_large_to_announce_the_logs_are_told() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        told: list[Announcement] = []
        announcements = nodes.nodes[A].room.announcements

        def note(_centre: str, content: bytes) -> bool:
            told.append(read_announcement(content))
            return False

        nodes.network.listening[nodes.tree.centres[B].peer_id].announced.hear = note
        wires = tuple(News(wire=b"%06d" % n, created_ms=0, registrar="level-1") for n in range(PENDING_MAX + 50))
        announcements.taken(Taken(road=Road.BROUGHT, news=wires, unnamed=100_000))
        await trio.sleep(1)
        told.sort(key=lambda value: value.heads)
        assert sum(len(value.things) for value in told) == PENDING_MAX
        assert [mark.registrar for mark in told[-1].logs] == ["level-1"]
        assert len(told[-1].logs) <= ANNOUNCED_LOGS_MAX
        assert told[-1].heads == nodes.nodes[A].room.index.digest()

    announcing(story)


def test_whoever_imports_without_end_announces_no_more_than_others_listen_to() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        before = counted(nodes, A, "sent")
        for n in range(200):
            news = (News(wire=b"%06d" % n, created_ms=0),)
            nodes.nodes[A].room.announcements.taken(Taken(road=Road.BROUGHT, news=news))
            await trio.sleep(0.1)
        assert counted(nodes, A, "sent") - before < HEARD_AT_ONCE

    announcing(story)


def test_a_node_signs_its_own_record_anew_and_says_so_itself() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        for node in nodes.nodes.values():
            node._node_record_ms = 0
        before = counted(nodes, B, "sent"), counted(nodes, C, "sent")
        nodes.nodes[A].node_record()
        await trio.sleep(5)
        assert by_road(nodes, B, Road.ANNOUNCED) and by_road(nodes, C, Road.ANNOUNCED)
        assert (counted(nodes, B, "sent"), counted(nodes, C, "sent")) == before, "others do not repeat it"
        await nodes.level(seconds=1)

    announcing(story)


def test_a_proved_fork_is_announced() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        one = nodes.renamed("G22", names=Names(vi="Một"))
        other = nodes.tree.sign(
            AGENCY, replace(AGENCY.decode(one.statement), names=Names(vi="Hai")), nodes.tree.level_1_signers
        )
        proof = fork_wire(fork_of(one, other))
        assert await nodes.nodes[A].room.door.take_given([proof]) == []
        await nodes.until(
            lambda: all(node.directory.fork("level-1", 1) is not None for node in nodes.nodes.values()), seconds=10
        )
        assert by_road(nodes, B, Road.ANNOUNCED)

    announcing(story)


# --- hearing --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", ANNOUNCEMENT.encode(Announcement(created_ms=1, heads=bytes(31) + b"x")) + b"\x00"],
    ids=["nothing", "junk", "more than all"],
)
def test_what_cannot_be_read_is_not_passed_on_and_its_publisher_is_ignored_longer_and_longer(content: bytes) -> None:
    async def story(nodes: DirectoryNodes) -> None:
        hearing, environment = nodes.nodes[A].room.announcements, nodes.environments[A]
        pauses: list[int] = []
        for _ in range(12):
            assert not hearing.hear(B, content)
            assert not hear(nodes, A, B, things=(b"sound",)), "ignored"
            pauses.append(hearing._publishers[B].ignored_to_ms - environment.monotonic_ms())
            await trio.sleep(pauses[-1] / 1_000)
        assert pauses[:3] == [IGNORED_FIRST_MS, 2 * IGNORED_FIRST_MS, 4 * IGNORED_FIRST_MS]
        assert pauses[-1] == max(pauses) <= IGNORED_MAX_MS
        assert hear(nodes, A, B, heads=b"\x01" * 32), "afterwards it is listened to again"
        conduct = nodes.nodes[A].conducts.of(B)
        assert conduct.faults >= 12
        assert conduct.fault.startswith("format_")
        assert nodes.events(A, "announcements_ignored")[0]["centre"] == B
        assert not nodes.nodes[A].conducts.of(C).faults

    announcing(story)


def test_a_wrong_signature_is_the_publishers_fault_and_nobody_elses() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        bad = spoilt(nodes.renamed("G22", names=Names(vi="Giả")))
        assert hear(nodes, A, B, things=(bad.to_wire(),)), "it looks like one; others may pass it on in good faith"
        await nodes.until(lambda: nodes.nodes[A].conducts.of(B).faults, seconds=5)
        assert nodes.nodes[A].conducts.of(B).fault == "signature_invalid"
        assert nodes.know(bad) == set()
        assert not hear(nodes, A, B, heads=b"\x01" * 32)
        assert nodes.nodes[A].peers.states() == {"up": 2}, "links stand: only announcements are ignored"

    announcing(story)


def test_what_is_not_believed_though_rightly_signed_blames_nobody() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        one = nodes.renamed("G22", names=Names(vi="Một"))
        fork = nodes.tree.sign(
            AGENCY, replace(AGENCY.decode(one.statement), names=Names(vi="Hai")), nodes.tree.level_1_signers
        )
        stranger = replace(fork, signatures=(replace(fork.signatures[0], key_id=bytes(32)),))
        newer = replace(fork, format="truc/agency/2")
        known = nodes.tree.signed[0]
        things = (one, fork, stranger, newer, known)
        assert hear(nodes, A, B, things=tuple(thing.to_wire() for thing in things))
        await nodes.until(lambda: nodes.nodes[A].directory.fork("level-1", 1), seconds=5)
        assert not nodes.nodes[A].conducts.of(B).faults
        assert hear(nodes, A, B, heads=b"\x01" * 32)

    announcing(story)


def test_an_old_announcement_and_one_from_the_future_are_not_passed_on_and_blame_nobody() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        now_ms = nodes.environments[A].now_ms()
        for created_ms in (now_ms - ANNOUNCED_AGE_MAX_MS - 1, now_ms + ANNOUNCED_AGE_MAX_MS + 1_000):
            assert not hear(nodes, A, B, created_ms=created_ms, heads=b"\x01" * 32)
        assert counted(nodes, A, "stale") == 2
        assert not nodes.nodes[A].conducts.of(B).faults

    announcing(story)


def test_a_node_whose_clock_may_be_wrong_does_not_judge_by_time() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.environments[A].offset_ms += 2 * DAY_MS
        assert not nodes.nodes[A].clock.trusted
        assert hear(nodes, A, B, created_ms=nodes.environments[B].now_ms(), heads=b"\x01" * 32)

    announcing(story)


def test_who_claims_to_know_more_is_asked_and_who_repeats_old_heads_is_not() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        before = asked(nodes)
        head = nodes.nodes[A].room.index.log("level-1").head()  # type: ignore[union-attr]
        mark = LogMark(registrar="level-1", generation=1, number=head.number)
        hear(nodes, A, B, heads=b"\x01" * 32, logs=(mark,))
        hear(nodes, A, B, heads=b"\x02" * 32)
        await trio.sleep(30)
        assert asked(nodes) == before
        hear(nodes, A, B, heads=b"\x03" * 32, logs=(replace(mark, number=head.number + 1),))
        await trio.sleep(30)
        assert asked(nodes) == before + 1
        for _ in range(40):
            hear(nodes, A, B, heads=b"\x04" * 32, logs=(LogMark(registrar="H99", generation=1, number=1),))
            await trio.sleep(60)
        assert asked(nodes) - before <= 30, "no more than the rules of reconciliation allow"

    announcing(story)


def test_of_ten_thousand_junk_announcements_a_bounded_number_is_looked_at() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        hearing = nodes.nodes[A].room.announcements
        things = tuple(b"%05d" % n for n in range(64))
        for n in range(10_000):
            value = Announcement(created_ms=nodes.environments[A].now_ms(), heads=n.to_bytes(32, "big"), things=things)
            hearing.hear(B, ANNOUNCEMENT.encode(value))
        assert len(hearing._heard) == WAITING_OF_ONE_MAX
        assert counted(nodes, A, "heard") + counted(nodes, A, "dropped") <= HEARD_AT_ONCE + 20
        assert counted(nodes, A, "too_many") >= 10_000 - HEARD_AT_ONCE - 20
        assert hear(nodes, A, C, heads=b"\x01" * 32), "others are listened to meanwhile"
        await nodes.until(lambda: not hearing._heard, seconds=30)
        assert counted(nodes, A, "ignored") == 0
        assert nodes.nodes[A].conducts.of(B).faults == 1, "the first one judged told enough"
        changed = nodes.renamed("G22", names=Names(vi="Tên mới"))
        await nodes.bring(C, changed)
        await nodes.until(lambda: A in nodes.know(changed), seconds=5)

    announcing(story)


def test_what_is_repeated_is_judged_once() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        changed = nodes.renamed("G22", names=Names(vi="Tên mới"))
        hear(nodes, A, B, things=(changed.to_wire(),))
        await nodes.until(lambda: A in nodes.know(changed), seconds=5)
        before = nodes.nodes[A].verifier.operations
        for n in range(10):
            hear(nodes, A, C, heads=bytes([n + 1]) * 32, things=(changed.to_wire(),))
        await trio.sleep(1)
        assert nodes.nodes[A].verifier.operations == before

    announcing(story)


def test_whoever_is_no_longer_admitted_is_forgotten() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        hearing = nodes.nodes[A].room.announcements
        hear(nodes, A, B, heads=b"\x01" * 32)
        nodes.nodes[A].room.keep([A, C])
        assert B not in hearing._publishers
        await trio.sleep(1)

    announcing(story)


# --- doing without --------------------------------------------------------------------------


def test_switched_off_everything_converges_all_the_same() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        changed = nodes.renamed("G22", names=Names(vi="Tên mới"))
        await nodes.bring(A, changed)
        await nodes.level()
        assert nodes.know(changed) == {A, B, C}
        assert not any(counted(nodes, centre, "sent") + counted(nodes, centre, "heard") for centre in (A, B, C))
        assert by_road(nodes, B, Road.ASKED)

    among_nodes(story, settings={"announce": False})
