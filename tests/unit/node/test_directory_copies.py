"""What waits comes into force everywhere when one node has a better signed copy; no announcements, rare pings."""

from __future__ import annotations

import trio

from node.directory_bulk import PART
from node.directory_index import DirectoryIndex
from protocol.checkpoint import waiting_keys
from protocol.directory import Names
from protocol.directory_kinds import Subject
from protocol.limits import HOUR_MS
from protocol.signing import Signed, countersign
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes, signer_of
from tests.support.tree import entry_of

QUIET = {"ping_s": 600, "dead_s": 1_800}
"""What arrives within a minute did not wait for a ping interval."""
SOON = 60


async def moved(nodes: DirectoryNodes) -> Signed:
    """G22 moves from A to C, unendorsed, and everybody has known it long enough to wait a day."""
    await trio.sleep(2 * HOUR_MS / 1000)
    change = nodes.renamed("G22", host=C, epoch=2)
    await nodes.bring(B, change)
    await nodes.until(lambda: nodes.know(change) == {A, B, C}, seconds=SOON)
    await nodes.level(seconds=SOON)
    assert hosts(nodes) == {A: A, B: A, C: A}
    return change


def hosts(nodes: DirectoryNodes) -> dict[str, str]:
    """Who hosts G22 in the eyes of each node."""
    return {centre: node.directory.agency("G22").host for centre, node in nodes.nodes.items()}


def endorsed(nodes: DirectoryNodes, change: Signed) -> Signed:
    """The same with the signature of the host that gives it away."""
    return countersign(change, nodes.tree.centres[A].signer)


def test_an_endorsement_is_known_everywhere_in_seconds() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.cut(A, C)
        change = await moved(nodes)
        await nodes.bring(A, endorsed(nodes, change))
        await nodes.until(lambda: hosts(nodes) == {A: C, B: C, C: C}, seconds=SOON)
        await nodes.level(seconds=SOON)
        assert all(node.directory.all_pending() == [] for node in nodes.nodes.values())
        assert all(node.room.alarms.all() == [] for node in nodes.nodes.values())
        assert not any(node.room.index.waiting_at(key) for node in nodes.nodes.values() for key in keys_of("G22"))

    among_nodes(story, settings=QUIET)


def test_what_a_root_role_made_urgent_is_in_force_everywhere_in_seconds() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        change = await moved(nodes)
        await nodes.bring(C, countersign(change, nodes.tree.root_signers[0]))
        await nodes.until(lambda: hosts(nodes) == {A: C, B: C, C: C}, seconds=SOON)

    among_nodes(story, settings=QUIET)


def test_the_endorsement_of_a_version_that_another_put_aside_arrives_too() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        change = await moved(nodes)
        later = nodes.renamed("G22", host=B, epoch=3)
        await nodes.bring(B, later)
        await nodes.until(lambda: nodes.know(later) == {A, B, C}, seconds=SOON)
        await nodes.bring(A, endorsed(nodes, change))
        await nodes.until(lambda: hosts(nodes) == {A: C, B: C, C: C}, seconds=SOON)
        await nodes.level(seconds=SOON)
        waiting = {centre: node.directory.pending_agency("G22") for centre, node in nodes.nodes.items()}
        assert {None if one is None else one.digest for one in waiting.values()} == {later.digest}

    among_nodes(story, settings=QUIET)


def test_a_signature_of_nobody_changes_nothing_and_nobody_asks_for_ever() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        change = await moved(nodes)
        await nodes.bring(A, countersign(change, signer_of("a stranger")))
        await trio.sleep(SOON)
        assert hosts(nodes) == {A: A, B: A, C: A}
        assert len(nodes.digests()) == 1
        assert all(not node.conducts.of(centre).faults for node in nodes.nodes.values() for centre in (A, B, C))

    among_nodes(story, settings=QUIET)


def test_what_waits_is_compared_after_a_restart_as_before() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await moved(nodes)
        later = nodes.renamed("G22", names=Names(vi="Tên mới"))
        await nodes.bring(B, later)
        await nodes.level(seconds=SOON)
        for node in nodes.nodes.values():
            index = DirectoryIndex(node.directory, node.store.committed, node.environment, node.log)
            await index.build()
            assert index.heads() == node.room.index.heads()
            pending, meanwhile = keys_of("G22")
            assert index.waiting_at(pending) == index.waiting_at(meanwhile) == (Subject.AGENCY, "G22")
            assert index.loose.get(pending) == later.digest
            known = node.directory.find_agency("G22")
            assert known is not None and index.loose.get(meanwhile) == known.digest

    among_nodes(story, settings=QUIET)


def keys_of(code: str) -> tuple[bytes, bytes]:
    """The leaves about an agency that waits."""
    return waiting_keys(int(Subject.AGENCY), code)


def rotated(nodes: DirectoryNodes) -> Signed:
    """A lists a further key."""
    nodes.set_clock()
    keys = (entry_of(signer_of("fresh")), *nodes.tree.centre_records[A].keys)
    return nodes.tree.publish(nodes.tree.next_centre(A, keys=keys), nodes.tree.centres[A].signer)


def test_an_endorsement_counts_everywhere_as_soon_as_the_endorsers_key_is_known() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(2 * HOUR_MS / 1000)
        change = countersign(nodes.renamed("G22", host=C, epoch=2), signer_of("fresh"))
        await nodes.bring(B, change)
        await nodes.until(lambda: nodes.know(change) == {A, B, C}, seconds=SOON)
        assert hosts(nodes) == {A: A, B: A, C: A}
        await nodes.bring(C, rotated(nodes))
        await nodes.until(lambda: hosts(nodes) == {A: C, B: C, C: C}, seconds=SOON)
        await nodes.level(seconds=SOON)
        assert all(node.directory.all_pending() == [] for node in nodes.nodes.values())
        assert all(node.room.alarms.all() == [] for node in nodes.nodes.values())

    among_nodes(story, settings=QUIET)


def test_what_waited_for_a_key_in_a_later_part_of_a_large_heap_does_not_wait_and_is_not_listed() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(2 * HOUR_MS / 1000)
        change = countersign(nodes.renamed("G22", host=C, epoch=2), signer_of("fresh"))
        first = len(nodes.tree.signed)
        for n in range(2 * PART):
            nodes.tree.clock_ms -= 60_000  # as many in one minute
            nodes.tree.add_agency(f"H38.{n + 1}", C)
        result = await nodes.bring(A, change, *nodes.tree.signed[first:], rotated(nodes))
        assert (result.pending, [item.code for item in result.again]) == ((), ["G22"])
        assert change.digest in {item.signed.digest for item in result.accepted}
        assert nodes.nodes[A].directory.agency("G22").host == C

    among_nodes(story, settings=QUIET)
