"""One descent through a peer's prefix tree: which prefixes to ask about, what lacks here, and what lacks there.

Spec: `spec/reconcile.md` §3. Every node must hash to what its parent said, so a peer can invent a
tree only as a whole, and then has to give what is in it. Depth first: what is pending stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from protocol.errors import NetworkError
from protocol.limits import RECONCILE_NODES_FRAME, RECONCILE_RESTARTS_MAX
from protocol.prefix_tree import EMPTY, KEY_BITS, ROOT_PREFIX, Node, Prefix, PrefixTree

ASKED_AT_ONCE = 2 * RECONCILE_NODES_FRAME
"""Prefixes in one question of ours: comparing each with our own tree hashes a bucket."""


class Descent:
    """The state of one descent from `root`; `what` names the tree in errors."""

    def __init__(self, root: bytes, what: str, *, notes_alone: bool) -> None:
        """`notes_alone`: keep the keys of what only we have; not for trees as large as a nation."""
        self.root = root
        self.found: list[bytes] = []
        """Digests of leaves that are not kept here, to be fetched by the caller."""
        self.alone: dict[bytes, None] = {}
        """Keys of own leaves that were not in the other tree as it was shown, in the order of the descent."""
        self.settled = True
        self._what = what
        self._notes_alone = notes_alone
        self._restarts = 0
        self._pending: list[tuple[Prefix, bytes]] = [(ROOT_PREFIX, root)]
        self._asked: list[tuple[Prefix, bytes]] = []

    @property
    def pending(self) -> bool:
        """Whether there may be something to ask."""
        return bool(self._pending)

    def ask(self, own: PrefixTree) -> list[Prefix]:
        """The prefixes of the next question; none when what was pending has become equal."""
        asked: list[tuple[Prefix, bytes]] = []
        while self._pending and len(asked) < ASKED_AT_ONCE:
            prefix, said = self._pending.pop()
            if said == EMPTY:
                self._alone(prefix, own)
            elif said != own.tree_below(prefix):
                asked.append((prefix, said))
        self._asked = asked[::-1]
        return [prefix for prefix, _ in asked]

    def look(self, nodes: Sequence[Node], own: PrefixTree, holds: Callable[[bytes], bool]) -> None:
        """Hold the next nodes of the answer against what their parents said.

        Raises:
            NetworkError: `peer_contradicts`.
        """
        if len(nodes) > len(self._asked):
            raise self._contradiction()
        for node in nodes:
            prefix, said = self._asked.pop()
            if node.hash != said or (node.key and not prefix.covers(node.key)):
                raise self._contradiction()
            if node.below:
                self._deeper(prefix, node, own)
                continue
            self._alone(prefix, own, but=(node.key, node.digest))
            if not holds(node.digest):
                self.found.append(node.digest)

    def finish(self) -> None:
        """The answer is complete. Raises: as `look`."""
        if self._asked:
            raise self._contradiction()

    def restart(self, root: bytes) -> None:
        """The other side's tree changed meanwhile; begin again, a few times at most."""
        self._asked = []
        self._restarts += 1
        self.settled = self._restarts <= RECONCILE_RESTARTS_MAX
        self.root = root
        self._pending = [(ROOT_PREFIX, root)] if self.settled else []

    def _deeper(self, prefix: Prefix, node: Node, own: PrefixTree) -> None:
        if prefix.bits == KEY_BITS:
            raise self._contradiction()
        hashes = own.hashes(prefix)
        for nibble in range(16):
            if node.below[nibble] != hashes[nibble]:
                self._pending.append((prefix.child(nibble), node.below[nibble]))

    def _alone(self, prefix: Prefix, own: PrefixTree, *, but: tuple[bytes, bytes] | None = None) -> None:
        if self._notes_alone:
            self.alone |= {key: None for key, digest in own.leaves(prefix) if (key, digest) != but}

    def _contradiction(self) -> NetworkError:
        return NetworkError("peer_contradicts", what=self._what)
