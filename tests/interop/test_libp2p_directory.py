"""The directory over real libp2p: what is imported at one node is known at a third one through the second."""

from __future__ import annotations

from pathlib import Path

import trio

from protocol.directory import Names
from protocol.directory_file import write_file
from tests.support.directory_nodes import OPERATOR
from tests.support.libp2p import eventually
from tests.support.libp2p_nodes import libp2p_nodes
from tests.support.tree import Tree

A, B, C = "00.01.W00", "00.02.W00", "00.03.W00"


async def test_a_change_reaches_a_third_node_through_the_second(tmp_path: Path) -> None:
    tree = Tree.make()
    async with libp2p_nodes(tmp_path, tree, apart=((A, C),), settings={"ping_s": 0.5}) as nodes:
        await eventually(lambda: nodes[A].node.peers.states().get("up") == 1, 20)
        changed = tree.publish(tree.next_agency("G22", names=Names(vi="Tên mới")))
        await nodes[A].node.services.take_directory(OPERATOR, write_file([changed]))
        await eventually(lambda: nodes[C].node.directory.was_accepted(changed.digest), 20)
        assert nodes[C].node.directory.agency("G22").names.vi == "Tên mới"
        assert nodes[A].node.links.get(C) is None
        with trio.fail_after(20):
            while len({node.node.room.index.digest() for node in nodes.values()}) > 1:  # noqa: ASYNC110
                await trio.sleep(0.1)  # pings go on; what is waited for has no event
