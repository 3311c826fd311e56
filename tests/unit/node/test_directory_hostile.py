"""Peers that lie when directories are compared: nothing of it is believed, nobody honest is blamed, it ends.

Each test is one of the bad inputs that reconciliation has to expect (`protocol/spec/reconcile.md` §4), at running
nodes over the memory network. B lies; A is lied to; C is honest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
import trio

from node.transport import ByteStream
from protocol.directory import AGENCY, NODE, ROOT, Names
from protocol.directory_kinds import Subject
from protocol.encoding import encode
from protocol.errors import NetworkError
from protocol.framing import Decoder
from protocol.heads import LogHead
from protocol.limits import MIB, RECONCILE_JUNK_MAX, RECONCILE_PREFIXES_MAX, RECONCILE_STREAMS_MAX
from protocol.prefix_tree import EMPTY, Node, PrefixTree, joined, tree_key
from protocol.reconcile_frames import (
    Done,
    HeadsAsked,
    HeadsGiven,
    Kind,
    LogAsked,
    LogGiven,
    RootsAsked,
    ThingsGiven,
    TreeAsked,
    TreeGiven,
    frame_bytes,
    read_answer,
    read_question,
)
from protocol.signing import Signed, sign
from tests.support.directory_liar import READ_BYTES, Behaviour, Liar, Lying
from tests.support.directory_nodes import A, B, C, DirectoryNodes, among_nodes, signer_of
from tests.support.tree import Tree

D = "00.04.W00"
QUIET = {"ping_s": 600, "dead_s": 1_800}
"""So that the liar's node does not say the truth in between."""
Story = Callable[[DirectoryNodes, Liar], Awaitable[None]]


def lied_to(story: Story, *, settings: dict[str, Any] | None = None) -> None:
    """Run a story in which B lies; afterwards A knows what it knew, blames no honest node, and C is heard."""

    async def with_liar(nodes: DirectoryNodes) -> None:
        before = nodes.nodes[A].room.index.heads()
        await story(nodes, Liar(nodes, B))
        assert nodes.nodes[A].room.index.heads() == before, "nothing was believed"
        changed = nodes.renamed("H38", names=Names(vi="Tên mới"))
        await nodes.bring(C, changed)
        await nodes.until(lambda: A in nodes.know(changed))
        nobody_honest_is_blamed(nodes)

    among_nodes(with_liar, settings=settings)


def nobody_honest_is_blamed(nodes: DirectoryNodes) -> None:
    """No node but the liar has a fault in the eyes of an honest one."""
    honest = set(nodes.nodes) - {B}
    for centre in honest:
        faults = {other: nodes.nodes[centre].conducts.of(other).fault for other in honest}
        assert set(faults.values()) == {""}, (centre, faults)


def blamed(nodes: DirectoryNodes, liar: Liar) -> str:
    """The code that `/v1/peers` shows at A for the liar."""
    return nodes.nodes[A].conducts.of(liar.centre).fault


def digest(name: str) -> bytes:
    return sha256(name.encode()).digest()


# --- withholding ----------------------------------------------------------------------------


def claims_numbers(lying: Lying) -> None:
    lying.claims_of["level-1"] = {"number": 1_000}


def claims_a_checkpoint(lying: Lying) -> None:
    lying.claims_of["level-1"] = {"checkpoint": digest("checkpoint")}


def claims_a_root(lying: Lying) -> None:
    lying.claims["root_version"] = 1_000
    lying.root_wires = []


def claims_another_root(lying: Lying) -> None:
    lying.claims["root_digest"] = digest("root")


def shows_a_leaf(lying: Lying) -> None:
    tree = PrefixTree.of_sorted([(tree_key(Subject.AGENCY, "H99"), digest("no such thing"))])
    lying.trees["level-1"] = tree
    lying.claims_of["level-1"] = {"root": tree.root}


def shows_many_loose_leaves(lying: Lying) -> None:
    leaves = sorted((digest(str(n)), digest(f"thing {n}")) for n in range(RECONCILE_JUNK_MAX + 1))
    lying.trees[""] = PrefixTree.of_sorted(leaves)
    lying.claims["loose"] = lying.trees[""].root


@pytest.mark.parametrize(
    "lie",
    [
        claims_numbers,
        claims_a_checkpoint,
        claims_a_root,
        claims_another_root,
        shows_a_leaf,
        shows_many_loose_leaves,
    ],
)
def test_a_peer_that_withholds(lie: Callable[[Lying], None]) -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        lying = Lying(liar.honest)
        lie(lying)
        liar.gives(lying)
        assert await liar.failure(A) == "peer_withholds"
        assert blamed(nodes, liar) == "peer_withholds"

    lied_to(story)


# --- lying about roots ----------------------------------------------------------------------


def test_a_root_that_nobody_entitled_has_signed() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        stranger = Tree.bare(seed=9)
        forged = stranger.sign(ROOT, stranger.root(version=2, created_ms=nodes.ready_ms), stranger.root_signers)
        lying = Lying(liar.honest)
        lying.claims.update(root_version=2, root_digest=forged.digest)
        lying.root_wires = [forged.to_wire()]
        liar.gives(lying)
        await liar.until(A, lambda: nodes.events(A, "directory_compared"))
        assert nodes.nodes[A].directory.root_digest() == nodes.tree.anchor

    lied_to(story)


def test_a_root_of_a_tree_that_is_always_another() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        lying = Lying(liar.honest)
        lying.claims_of["level-1"] = {"root": digest("no tree")}
        liar.gives(lying)
        asked = len(liar.asked)
        await liar.until(A, lambda: len(liar.asked) > asked)
        await trio.sleep(30)
        assert liar.failures(A) == [], "a tree that changes is no lie"
        assert len(liar.asked) == asked + 1

    lied_to(story)


# --- trees ----------------------------------------------------------------------------------


def answering_trees(tree_given: Callable[[TreeAsked], list[TreeGiven]], root: bytes) -> Behaviour:
    """Says that the loose set has this root, and answers like this when asked about it."""

    async def behaviour(stream: ByteStream) -> None:
        decoder = Decoder(MIB)
        while data := await stream.read(READ_BYTES):
            for number, body in decoder.feed(data):
                question = read_question(number, body)
                if isinstance(question, TreeAsked):
                    for answer in tree_given(question):
                        await stream.write(frame_bytes(answer))
                else:
                    await stream.write(frame_bytes(HeadsGiven(loose=root)))

    return behaviour


def test_a_tree_whose_root_is_new_in_every_answer_ends_and_is_asked_about_again_much_later() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        answers = 0

        def moving(question: TreeAsked) -> list[TreeGiven]:
            nonlocal answers
            answers += 1
            return [TreeGiven(root=digest(f"root {answers}"), nodes=(Node(),) * len(question.prefixes))]

        liar.behaves(answering_trees(moving, digest("root 0")))
        await liar.until(A, lambda: liar.unsettled(A))
        asked = len(liar.asked)
        for _ in range(60):
            liar.says(A)
            await trio.sleep(1)
        assert len(liar.asked) == asked
        assert answers < 10 * asked
        assert blamed(nodes, liar) == ""

    lied_to(story)


def test_tree_nodes_that_contradict_their_parents() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        def wrong(question: TreeAsked) -> list[TreeGiven]:
            return [TreeGiven(root=digest("root"), nodes=(Node(below=(digest("x"),) * 16),) * len(question.prefixes))]

        liar.behaves(answering_trees(wrong, digest("root")))
        assert await liar.failure(A) == "peer_contradicts"
        assert blamed(nodes, liar) == "peer_contradicts"

    lied_to(story)


def test_a_tree_that_goes_on_below_its_deepest_prefix() -> None:
    """Every node hashes to what its parent said; only the depth gives it away."""

    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        levels = [(digest("deepest"), *(EMPTY,) * 15)]
        while len(levels) < 66:
            levels.append((joined(levels[-1]), *(EMPTY,) * 15))
        deepest_first = [Node(below=level) for level in levels]

        def endless(question: TreeAsked) -> list[TreeGiven]:
            depths = [bits // 4 for bits, _ in question.prefixes]
            below = tuple(deepest_first[65 - depth] for depth in depths)
            return [TreeGiven(root=deepest_first[65].hash, nodes=below)]

        liar.behaves(answering_trees(endless, deepest_first[65].hash))
        assert await liar.failure(A) == "peer_contradicts"
        assert len(liar.asked) == 1

    lied_to(story)


# --- answers without an end -----------------------------------------------------------------


def endless_logs(question: object) -> HeadsGiven | LogGiven:
    if isinstance(question, LogAsked):
        return LogGiven(more=True)
    return HeadsGiven(logs=(LogHead(registrar="level-1", generation=1, number=1_000),))


def endless_roots(question: object) -> HeadsGiven | ThingsGiven:
    return ThingsGiven(more=True) if isinstance(question, RootsAsked) else HeadsGiven(root_version=9)


def endless_nodes(question: object) -> HeadsGiven | TreeGiven:
    root = digest("root")
    return TreeGiven(root=root, more=True) if isinstance(question, TreeAsked) else HeadsGiven(loose=root)


@pytest.mark.parametrize("answer", [endless_logs, endless_roots, endless_nodes])
def test_an_answer_that_never_ends(answer: Callable[[object], HeadsGiven | LogGiven | ThingsGiven | TreeGiven]) -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        frames = 0

        async def behaviour(stream: ByteStream) -> None:
            nonlocal frames
            decoder = Decoder(MIB)
            while data := await stream.read(READ_BYTES):
                for number, body in decoder.feed(data):
                    given = answer(read_question(number, body))
                    await stream.write(frame_bytes(given))
                    while given.more:
                        frames += 1
                        await stream.write(frame_bytes(given))
                        await trio.sleep(0.01)

        liar.behaves(behaviour)
        assert await liar.failure(A) == "peer_endless"
        assert blamed(nodes, liar) == "peer_endless"
        assert frames < 2 * RECONCILE_PREFIXES_MAX

    lied_to(story)


def test_heads_that_never_end() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        async def behaviour(stream: ByteStream) -> None:
            await stream.read(READ_BYTES)
            for n in range(100, 1_000):
                logs = tuple(LogHead(registrar=f"H38.{n}.{m}", generation=1, number=1) for m in range(100, 356))
                await stream.write(frame_bytes(HeadsGiven(logs=logs, more=True)))

        liar.behaves(behaviour)
        assert await liar.failure(A) == "peer_endless"

    lied_to(story)


# --- frames of ten megabytes ----------------------------------------------------------------


async def pour(stream: ByteStream, number: int) -> int:
    """A frame of ten megabytes; how much of it was taken."""
    taken = 0
    try:
        await stream.write((10 * MIB).to_bytes(4, "big") + bytes((number,)))
        for _ in range(160):
            await stream.write(bytes(READ_BYTES))
            taken += READ_BYTES
    except NetworkError:
        pass
    return taken


def test_an_answer_of_ten_megabytes_is_refused_by_its_length() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        taken: list[int] = []

        async def behaviour(stream: ByteStream) -> None:
            await stream.read(READ_BYTES)
            taken.append(await pour(stream, Kind.HEADS_GIVEN))

        liar.behaves(behaviour)
        assert await liar.failure(A) == "frame_too_large"
        await nodes.until(lambda: taken)
        assert taken[0] < MIB
        assert blamed(nodes, liar) == "frame_too_large"

    lied_to(story)


def test_a_question_of_ten_megabytes_is_refused_by_its_length() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        stream = await liar.asks(A)
        assert await pour(stream, Kind.HEADS_ASKED) < MIB
        await nodes.until(lambda: blamed(nodes, liar))
        assert blamed(nodes, liar) == "frame_too_large"
        await trio.sleep(30)

    lied_to(story)


# --- replays --------------------------------------------------------------------------------


def test_a_session_of_long_ago_is_played_again() -> None:
    """Its own words, word for word, after the directory went on: nothing goes back, and nobody is a liar."""

    async def story(nodes: DirectoryNodes) -> None:
        liar = Liar(nodes, B)
        old = nodes.renamed("G22", names=Names(vi="Cũ"))
        await nodes.bring(B, old)
        await nodes.level()
        kept = {frame: await recorded(nodes, frame) for frame in QUESTIONS}
        new = nodes.renamed("G22", names=Names(vi="Mới"))
        await nodes.bring(C, new)
        await nodes.level()

        async def replay(stream: ByteStream) -> None:
            while data := await stream.read(READ_BYTES):
                await stream.write(kept.get(data, frame_bytes(TreeGiven())))

        liar.behaves(replay)
        await liar.until_asked(A)
        await trio.sleep(30)
        assert nodes.nodes[A].directory.agency("G22").names.vi == "Mới"
        assert nodes.nodes[A].conducts.of(B).faults == 0
        nobody_honest_is_blamed(nodes)

    among_nodes(story)


QUESTIONS = (
    frame_bytes(HeadsAsked()),
    frame_bytes(LogAsked(registrar="level-1", generation=1, first=1, last=8)),
    frame_bytes(TreeAsked(prefixes=((0, b""),))),
)


async def recorded(nodes: DirectoryNodes, question: bytes) -> bytes:
    """What B answers to C now."""
    transport = nodes.nodes[C].peers._transport
    stream = await transport.open_stream(B, "/truc/directory/1.0.0")
    await stream.write(question)
    said = await stream.read(READ_BYTES)
    await stream.reset()
    return said


def test_an_old_node_record_is_shown_again() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        liar = Liar(nodes, B)
        node = nodes.nodes[A]
        known = node.directory.node_record(C)
        assert known is not None
        older = replace(known.value, from_ms=known.value.from_ms - 60_000, addresses=("/memory/liar",))
        old = sign(NODE.name, NODE.encode(older), nodes.tree.centres[C].signer)
        lying = Lying(liar.honest)
        leaves = {**dict(node.room.index.loose), tree_key(Subject.NODE, C): old.digest}
        lying.trees[""] = PrefixTree.of_sorted(sorted(leaves.items()))
        lying.claims["loose"], lying.given[old.digest] = lying.trees[""].root, old.to_wire()
        liar.gives(lying)
        await liar.until(A, lambda: [x for x in nodes.events(A, "directory_compared") if x["untaken"]])
        assert node.directory.node_record(C) == known
        asked = len(liar.asked)
        for _ in range(60):
            liar.says(A)
            await trio.sleep(1)
        assert len(liar.asked) == asked, "what it has to give is known"
        assert node.conducts.of(B).faults == 0, "an honest node may be behind"

    among_nodes(story, settings=QUIET)


# --- junk -----------------------------------------------------------------------------------


def test_things_with_wrong_signatures_by_the_hundred() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        lying = Lying(liar.honest)
        first = nodes.tree.numbers["level-1"] + 1
        lying.rows = [(first + n, forged_record(nodes, first + n).to_wire()) for n in range(200)]
        lying.claims_of["level-1"] = {"number": first + 199}
        liar.gives(lying)
        assert await liar.failure(A) == "peer_sends_junk"
        assert blamed(nodes, liar) == "peer_sends_junk"

    lied_to(story)


def forged_record(nodes: DirectoryNodes, number: int) -> Signed:
    """A record in the registrar's name, with its key id and no signature of it."""
    record = replace(nodes.tree.agencies["G22"], number=number, created_ms=nodes.tree.clock_ms, host=B)
    signed = sign(AGENCY.name, AGENCY.encode(record), signer_of("a thief"))
    (real,) = (signer.public.key_id for signer in nodes.tree.registrars["level-1"])
    item = signed.signatures[0]
    return replace(signed, signatures=(replace(item, key_id=real),))


def test_bytes_that_are_no_things_by_the_hundred() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        lying = Lying(liar.honest)
        first = nodes.tree.numbers["level-1"] + 1
        lying.rows = [(first + n, encode([f"no thing {n}"])) for n in range(200)]
        lying.claims_of["level-1"] = {"number": first + 199}
        liar.gives(lying)
        assert await liar.failure(A) == "peer_sends_junk"

    lied_to(story)


# --- floods and drips -----------------------------------------------------------------------


def test_five_hundred_streams_at_once() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        await trio.sleep(60)
        answers: list[object] = []

        async def ask() -> None:
            stream = await liar.asks(A)
            decoder = Decoder(MIB)
            try:
                await stream.write(frame_bytes(HeadsAsked()))
                while data := await stream.read(READ_BYTES):
                    answers.extend(read_answer(*frame) for frame in decoder.feed(data))
            except NetworkError:
                answers.append(None)

        async with trio.open_nursery() as nursery:
            for _ in range(500):
                nursery.start_soon(ask)
            await nodes.until(lambda: len(answers) == 500)
            served = [answer for answer in answers if isinstance(answer, HeadsGiven)]
            busy = [answer for answer in answers if answer == Done(code="busy")]
            assert len(served) == RECONCILE_STREAMS_MAX
            assert 1 <= len(busy) <= 16, "few are told, all others reset"
            nursery.cancel_scope.cancel()

    lied_to(story)


def test_two_peers_that_answer_drop_by_drop_keep_nobody_from_the_third() -> None:
    async def story(nodes: DirectoryNodes) -> None:
        liars = [Liar(nodes, centre) for centre in (B, C)]

        async def drips(stream: ByteStream) -> None:
            await stream.read(READ_BYTES)
            for n in range(10_000):
                logs = (LogHead(registrar=f"H38.{n + 10_000}", generation=1, number=1),)
                await stream.write(frame_bytes(HeadsGiven(logs=logs, more=True)))
                await trio.sleep(9)

        for liar in liars:
            liar.behaves(drips)
        for liar in liars:
            await liar.until_asked(A)
        changed = nodes.renamed("H38", names=Names(vi="Tên mới"))
        await nodes.bring(D, changed)
        await nodes.until(lambda: A in nodes.know(changed))
        assert not any(liar.failures(A) for liar in liars), "they go on dripping"
        await nodes.until(lambda: all(liar.failures(A) for liar in liars), seconds=700)
        assert {code for liar in liars for code in liar.failures(A)} == {"stream_stalled"}

    among_nodes(story, tree=Tree.make(hosting={A: ("G22",), B: ("G12",), C: ("H38",), D: ("H39",)}))


def test_a_peer_that_says_something_new_with_every_ping_is_asked_now_and_then() -> None:
    async def story(nodes: DirectoryNodes, liar: Liar) -> None:
        liar.gives(Lying(liar.honest))
        for n in range(720):
            liar.says(A, n.to_bytes(32, "big"))
            await trio.sleep(5)
        assert 10 <= len(liar.asked) <= 35, "as often as an honest node answers"

    lied_to(story, settings=QUIET)
