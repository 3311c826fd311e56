"""Introductions between whole nodes over the memory network: who is believed, and what the others cost."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import trio

from node.lobby import VISIT_S
from node.tasks import start
from protocol.directory import RecordState
from protocol.errors import NetworkError
from protocol.framing import Decoder
from protocol.limits import CLOSED_ADMITTED_MS, DAY_MS, HOUR_MS, INTRODUCTIONS_MAX, RECONCILE_QUESTION_BYTES_MAX
from protocol.reconcile_frames import PROTOCOL, Done, HeadsAsked, Introduced, frame_bytes, read_answer
from protocol.signing import Ed25519Signer
from tests.sim.network import MemoryStream
from tests.support.directory_nodes import DirectoryNodes, among_nodes
from tests.support.errors import record
from tests.support.tree import Centre, Tree, key_seed, peer_id_of

A, B, C, D = "00.01.W00", "00.02.W00", "00.03.W00", "00.04.W00"


@asynccontextmanager
async def stranger(nodes: DirectoryNodes, peer_id: str, centre: str = A) -> AsyncIterator[MemoryStream]:
    """A directory stream of somebody with this peer id to a node."""
    transport = nodes.network.transport(peer_id, (f"/memory/{peer_id}",))
    transport.admit({centre: nodes.tree.centres[centre].peer_id})

    async def nobody(_centre: str, _protocol: str, _stream: Any) -> None:
        return

    async with trio.open_nursery() as nursery:
        await start(nursery, transport.run, nobody)
        await transport.dial(centre, f"/memory/{centre}")
        yield await transport.open_stream(centre, PROTOCOL)
        nursery.cancel_scope.cancel()


async def answer_to(stream: MemoryStream, content: bytes) -> str:
    """What the node says to these bytes."""
    await stream.write(content)
    decoder = Decoder(RECONCILE_QUESTION_BYTES_MAX)
    while data := await stream.read(1_000):
        for number, body in decoder.feed(data):
            said = read_answer(number, body)
            assert isinstance(said, Done)
            return said.code
    raise AssertionError("no answer")


async def introduced(nodes: DirectoryNodes, peer_id: str, *things: bytes) -> str:
    """What a node says to somebody with this peer id who shows these things; `let go` if it says nothing."""
    async with stranger(nodes, peer_id) as stream:
        try:
            return await answer_to(stream, frame_bytes(Introduced(things=tuple(sorted(things)))))
        except NetworkError:
            return "let go"
    raise AssertionError


def reasons(nodes: DirectoryNodes, centre: str = A) -> set[str]:
    return {one.reason for one in nodes.nodes[centre].peers.refused()}


def is_up(nodes: DirectoryNodes, one: str, other: str) -> bool:
    link = nodes.nodes[one].links.get(other)
    return link is not None and link.is_up


# --- who is believed --------------------------------------------------------------------------


def test_a_new_centre_that_shows_its_record_is_let_in_at_once() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        nodes.tree.add_centre(D)
        signed, peer_id = nodes.tree.signed[-1], nodes.tree.centres[D].peer_id
        assert await introduced(nodes, peer_id, nodes.tree.signed[0].to_wire(), signed.to_wire()) == ""
        assert D in {peer.centre for peer in nodes.nodes[A].peers.all()}
        await nodes.level()
        assert nodes.know(signed) == {A, B, C}
        assert [line["code"] for line in nodes.events(A, "introduced")] == [""]

    among_nodes(story)


def test_a_node_whose_key_changed_while_it_was_away_finds_its_way_back() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        old = nodes.tree.centres[B]
        nodes.tree.centres[B] = replace(old, identity_seed=key_seed(7, "another identity"))
        moved = nodes.tree.next_centre(B, peer_id=nodes.tree.centres[B].peer_id)
        signed = nodes.tree.publish(moved, old.signer)
        nodes.founding = nodes.tree.imported(nodes.environments[A].now_ms()).changes
        nodes.ready_ms = nodes.environments[A].now_ms()
        async with trio.open_nursery() as nursery:
            nodes.nodes[B] = await start(nursery, nodes.run, B)
            await nodes.until(lambda: is_up(nodes, A, B) and is_up(nodes, C, B))
            await nodes.level()
            assert nodes.know(signed) == {A, B, C}
            assert "peer_id_changed" in reasons(nodes)
            assert not nodes.network.errors
            nursery.cancel_scope.cancel()

    among_nodes(story, without=(B,))


def test_a_node_that_knows_nothing_is_told_so_and_let_in_when_its_record_arrives() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        nodes.tree.centres[D], nodes.logs[D] = Centre.make(1, D), io.StringIO()
        nodes.founding = ()
        nodes.ready_ms = nodes.environments[A].now_ms()
        nodes.settings |= {"contact_peers": {A: nodes.tree.centres[A].peer_id}}
        async with trio.open_nursery() as nursery:
            fresh = nodes.nodes[D] = await start(nursery, nodes.run, D)

            def said() -> list[str]:
                return [line["reason"] for line in nodes.events(D, "peer_down")]

            await nodes.until(lambda: "introduction_unproven" in said())
            record("introduction_refused")
            assert fresh.directory.root_digest() is None
            nodes.set_clock()
            nodes.tree.add_centre(D)
            await nodes.bring(A, nodes.tree.signed[-1])
            await nodes.until(lambda: is_up(nodes, D, A), seconds=600)
            await nodes.level(seconds=600)
            await nodes.until(lambda: is_up(nodes, D, B) and is_up(nodes, D, C), seconds=600)
            assert [one.code for one in fresh.directory.peers()] == [A, B, C, D]
            assert nodes.nodes[C].directory.node_record(D) is not None
            nursery.cancel_scope.cancel()

    among_nodes(story)


def test_nobody_introduces_itself_to_a_peer_that_knew_it_until_a_moment_ago() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        await trio.sleep(600)
        for one in (A, B):
            link = nodes.nodes[one].links.get(C)
            assert link is not None
            link.end("by hand")
        nodes.network.break_connections(nodes.tree.centres[A].peer_id, nodes.tree.centres[B].peer_id)
        for _ in range(20):
            await trio.sleep(0.1)
            assert [peer.unheard for node in nodes.nodes.values() for peer in node.peers.all()] == [0] * 6
        await nodes.until(lambda: is_up(nodes, A, B) and is_up(nodes, A, C) and is_up(nodes, B, C))
        assert not [line for centre in (A, B, C) for line in nodes.events(centre, "introduced")]

    among_nodes(story)


# --- who is not -------------------------------------------------------------------------------


def test_a_wrong_chain_is_not_believed() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        alien = Tree.make(9)
        before = nodes.digests()
        peer_id = alien.centres[A].peer_id
        said = await introduced(nodes, peer_id, *(one.to_wire() for one in alien.signed[:2]))
        assert said not in {"", "busy"}
        assert nodes.digests() == before
        assert not any(map(nodes.know, alien.signed[:2]))
        assert all(peer.peer_id != peer_id for peer in nodes.nodes[A].peers.all())
        assert nodes.events(A, "introduced")[-1]["code"] == said

    among_nodes(story)


def test_somebody_elses_record_introduces_nobody() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        mine = peer_id_of(Ed25519Signer(key_seed(8, "nobody")))
        theirs = nodes.tree.signed[4]
        assert await introduced(nodes, mine, theirs.to_wire()) == "introduction_unproven"
        record("introduction_unproven")
        assert await introduced(nodes, mine) == "introduction_unproven"

    among_nodes(story)


def test_an_old_record_introduces_nobody_under_an_old_peer_id() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        nodes.tree.add_centre(D)
        first, keys = nodes.tree.signed[-1], nodes.tree.centres[D]
        fresh = replace(keys, identity_seed=key_seed(7, "later"))
        second = nodes.tree.publish(nodes.tree.next_centre(D, peer_id=fresh.peer_id), keys.signer)
        await nodes.bring(A, first, second)
        assert await introduced(nodes, keys.peer_id, first.to_wire()) == "introduction_unproven"
        assert nodes.nodes[A].directory.centre(D).peer_id == fresh.peer_id

    among_nodes(story)


def test_a_new_peer_id_that_nobody_endorsed_has_to_wait_for_its_day() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        fresh = replace(nodes.tree.centres[B], identity_seed=key_seed(7, "silent take-over"))
        signed = nodes.tree.publish(nodes.tree.next_centre(B, peer_id=fresh.peer_id))
        assert await introduced(nodes, fresh.peer_id, signed.to_wire()) == "directory_pending"
        assert is_up(nodes, A, B), "the one who is there stays"

    among_nodes(story)


def test_a_stranger_that_asks_instead_gets_no_answer_to_that() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        async with stranger(nodes, peer_id_of(Ed25519Signer(key_seed(8, "curious")))) as stream:
            assert await answer_to(stream, frame_bytes(HeadsAsked())) == "introduction_expected"

    among_nodes(story)


# --- what they cost ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ((70_000).to_bytes(4, "big") + b"\x06", "frame_too_large"),
        (frame_bytes(Introduced(things=(bytes(RECONCILE_QUESTION_BYTES_MAX - 20),))), "format_malformed"),
        ((5).to_bytes(4, "big") + b"\x06junk", "format_malformed"),
        ((1).to_bytes(4, "big") + b"\xff", "frame_unknown"),
    ],
)
def test_too_large_and_senseless_introductions_are_answered_with_the_reason(content: bytes, said: str) -> None:
    async def story(nodes: DirectoryNodes) -> None:
        async with stranger(nodes, peer_id_of(Ed25519Signer(key_seed(8, "large")))) as stream:
            assert await answer_to(stream, content) == said
        assert not nodes.network.errors

    among_nodes(story)


def test_an_endless_introduction_is_cut_off() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        written = 0
        async with stranger(nodes, peer_id_of(Ed25519Signer(key_seed(8, "endless")))) as stream:
            with suppress(NetworkError):
                while written < 10_000_000:
                    await stream.write(bytes(1_000))
                    written += 1_000
        assert written < 1_000_000
        assert not nodes.network.errors

    among_nodes(story)


def test_a_slow_introduction_is_given_up() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        begun = trio.current_time()
        whole = frame_bytes(Introduced(things=(nodes.tree.signed[1].to_wire(),)))
        async with stranger(nodes, peer_id_of(Ed25519Signer(key_seed(8, "slow")))) as stream:
            with suppress(NetworkError):
                for octet in whole:
                    await stream.write(bytes([octet]))
                    await trio.sleep(1)
        assert trio.current_time() - begun < 3 * VISIT_S
        assert not nodes.events(A, "introduced")

    among_nodes(story)


def test_five_hundred_introductions_harm_nobody() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        links = [nodes.nodes[A].links.get(centre) for centre in (B, C)]
        alien = Tree.bare(9)
        for n in range(500):
            alien.add_centre(f"{10 + n // 100:02}.{n % 100:02}.W00")
        before = nodes.digests()
        crowd = nodes.network.listening[nodes.tree.centres[A].peer_id].lobby
        most, answers = 0, []

        async def knock(centre: str, wire: bytes) -> None:
            nonlocal most
            answers.append(await introduced(nodes, alien.centres[centre].peer_id, wire))
            most = max(most, len(crowd))

        renamed = nodes.renamed("G22")
        async with trio.open_nursery() as nursery:
            for signed, centre in zip(alien.signed[1:], alien.centres, strict=True):
                nursery.start_soon(knock, centre, signed.to_wire())
            await nodes.bring(B, renamed)
        assert len(answers) == 500
        assert "" not in answers
        assert most <= INTRODUCTIONS_MAX
        await nodes.level()
        assert nodes.digests() != before, "an honest change went through meanwhile"
        assert nodes.know(renamed) == {A, B, C}
        assert [nodes.nodes[A].links.get(centre) for centre in (B, C)] == links
        assert {peer.centre for peer in nodes.nodes[A].peers.all()} == {B, C}
        assert not any(map(nodes.know, alien.signed))
        assert not nodes.network.errors

    among_nodes(story)


# --- admission follows the directory ----------------------------------------------------------


def test_a_peer_that_no_record_names_any_more_is_let_go_with_the_reason() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        fresh = replace(nodes.tree.centres[B], identity_seed=key_seed(7, "moved"))
        moved = nodes.tree.next_centre(B, peer_id=fresh.peer_id)
        signed = nodes.tree.publish(moved, nodes.tree.centres[B].signer)
        await nodes.bring(A, signed)
        await nodes.until(lambda: not is_up(nodes, A, B))
        assert "peer_id_changed" in reasons(nodes)
        assert nodes.events(A, "peer_let_go")[-1]["reason"] == "peer_id_changed"
        await nodes.until(lambda: not is_up(nodes, C, B))

    among_nodes(story)


def test_a_closed_centre_stays_connected_for_four_hundred_days() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        signed = nodes.tree.publish(nodes.tree.next_centre(B, state=RecordState.CLOSED))
        await nodes.bring(A, signed)
        await nodes.level()
        assert is_up(nodes, A, B)
        for centre in (A, B, C):
            nodes.environments[centre].offset_ms += CLOSED_ADMITTED_MS - DAY_MS
        await trio.sleep(2 * HOUR_MS / 1000)
        assert is_up(nodes, A, B)
        for centre in (A, B, C):
            nodes.environments[centre].offset_ms += DAY_MS
        await nodes.until(lambda: not is_up(nodes, A, B), seconds=3 * HOUR_MS / 1000)
        assert "closed" in reasons(nodes)
        assert B not in {peer.centre for peer in nodes.nodes[A].peers.all()}
        assert is_up(nodes, A, C)

    among_nodes(story, settings={"ping_s": 300.0, "dead_s": 900.0})


def test_a_second_centre_under_a_taken_peer_id_is_an_alarm_and_changes_nothing() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        nodes.set_clock()
        link = nodes.nodes[A].links.get(B)
        nodes.tree.add_centre(D, peer_id=nodes.tree.centres[B].peer_id)
        await nodes.bring(A, nodes.tree.signed[-1])
        await nodes.level()
        assert nodes.nodes[A].links.get(B) is link
        alarm = next(line for line in nodes.events(A, "alarm") if line["code"] == "peer_id_twice")
        assert (alarm["centres"], alarm["kept"]) == ([B, D], B)
        record("peer_id_twice")

    among_nodes(story)
