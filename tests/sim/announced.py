"""How announcements travel in memory: from neighbour to neighbour, some of them lost.

Stands in for GossipSub behind `node.transport`. A node passes on what its own judgement lets through, to a few
neighbours at random, so that some announcements do not reach everybody, as in life. It has chance of its
own: with or without announcements the network's other chances are the same.
"""

from __future__ import annotations

from itertools import count
from random import Random
from typing import TYPE_CHECKING, Final

import trio

from node.transport import Hear

if TYPE_CHECKING:
    from tests.sim.network import MemoryNetwork, MemoryTransport

NEIGHBOURS: Final = 6
"""Whom a node tells; with four, one node in fifty would miss an announcement even if nothing is lost."""
DELAY_SECONDS: Final = 0.012
"""One way, on average, with what the library takes to pass it on."""

Name = tuple[str, int]


class Announced:
    """One transport's part. `hear` is set for those who take part."""

    def __init__(self, transport: MemoryTransport) -> None:
        self._transport: Final = transport
        self._numbers: Final = count(1)
        self._seen: Final[set[Name]] = set()
        self.hear: Hear | None = None

    def announce(self, content: bytes) -> None:
        """Tell some neighbours."""
        if self.hear is not None:
            name = (self._transport.peer_id, next(self._numbers))
            self._seen.add(name)
            self._spread(name, content)

    def told(self, name: Name, content: bytes) -> None:
        """A neighbour says what somebody announced."""
        transport = self._transport
        centre = transport.centre_of(name[0])
        if self.hear is None or transport.is_dead or name in self._seen or centre is None:
            return
        self._seen.add(name)
        if self.hear(centre, content):
            self._spread(name, content)

    def _spread(self, name: Name, content: bytes) -> None:
        network, here = self._transport.network, self._transport.peer_id
        chance, lost = network.announcing, network.announcements_lost
        known = {end.peer_id for end in self._transport.ends if end.up and self._transport.centre_of(end.peer_id)}
        neighbours = sorted(known - {name[0]})
        for there in chance.sample(neighbours, min(NEIGHBOURS, len(neighbours))):
            if network.link(here, there).cut:
                network.struck["partition"] += 1
            elif chance.random() < lost:
                network.struck["announcement_lost"] += 1
            else:
                at = trio.current_time() + DELAY_SECONDS * (0.5 + chance.random())
                network.schedule.at(at, _Telling(network, there, here, name, content))


class _Telling:
    """An announcement on its way to one neighbour."""

    def __init__(self, network: MemoryNetwork, there: str, here: str, name: Name, content: bytes) -> None:
        self._network: Final = network
        self._there: Final = there
        self._here: Final = here
        self._name: Final = name
        self._content: Final = content

    def __call__(self) -> None:
        transport = self._network.listening.get(self._there)
        if transport is not None and transport.centre_of(self._here) is not None:
            transport.announced.told(self._name, self._content)


def chance_of_announcements() -> Random:
    """Always the same."""
    return Random("announcements")
