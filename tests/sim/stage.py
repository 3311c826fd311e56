"""A small world for one scenario: nodes that run, desks to act at, and frames as they went by.

    async with on_stage(seed) as stage:
        document = await stage.desk("H02").submit(stage.sending("H02", "H03"))

Nothing goes wrong by itself here. At the end the oracle judges as it does every world.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import trio

from protocol import exchange
from protocol.exchange import Frame, Session
from tests.sim.clock import run_seeded
from tests.sim.desk import Desk, NodeGone
from tests.sim.durable import Durable
from tests.sim.machine import Machine
from tests.sim.notebook import Sending
from tests.sim.papers import MARKER
from tests.sim.traits import Traits
from tests.sim.world import World, WorldShape

PATIENCE_SECONDS: Final = 900.0


@dataclass(slots=True)
class Stage:
    """A world under a director's hand. `frames` are (sender, receiver, frame) in the order of the wire."""

    world: World
    frames: list[tuple[str, str, Frame]] = field(default_factory=list)
    _sessions: dict[tuple[int, str], Session] = field(default_factory=dict)
    _count: int = 0

    def machine(self, agency: str) -> Machine:
        """The machine whose node hosts this agency."""
        return self.world.machines[self.world.host_of[agency]]

    def desk(self, agency: str) -> Desk:
        """The counter of this agency's software."""
        return self.world.desk(agency)

    def durable(self, agency: str) -> Durable:
        """What lies on the disk of its node."""
        return Durable(self.machine(agency).disk)

    def sending(self, issuer: str, *recipients: str, lane: int = 0, parts: tuple[bytes, ...] = (b"mot",)) -> Sending:
        """A document to hand in, known to the oracle."""
        self._count += 1
        sending = Sending(
            key=f"{issuer}-{self._count}",
            issuer=issuer,
            recipients=recipients,
            subject=f"{MARKER} {self._count}",
            parts=parts,
            lane=lane,
        )
        self.world.sendings.append(sending)
        return sending

    async def submit(self, sending: Sending) -> str:
        """Hand it in, again and again until it is acknowledged, and write that down."""
        while True:
            try:
                sending.document = await self.desk(sending.issuer).submit(sending)
            except NodeGone:
                await self.desk(sending.issuer).opened()
            else:
                self.world.notebooks[sending.issuer].sendings.append(sending)
                return sending.document

    async def reaches(self, sending: Sending, count: int) -> None:
        """Return when every recipient's chain has so many links at the sender's."""
        desk = self.desk(sending.issuer)
        cursor = ""
        with trio.fail_after(PATIENCE_SECONDS):
            while True:
                try:
                    outcomes = await desk.outcomes(sending.document)
                    if all(len(codes) >= count for _, codes in outcomes.values()):
                        return
                    cursor, _ = await desk.news(cursor, 10)
                except NodeGone:
                    cursor = ""
                    await desk.opened()

    def watch(self, sender: str, receiver: str, protocol: str, number: int, piece: bytes) -> None:
        """A tap that keeps frames."""
        if protocol == exchange.PROTOCOL:
            session = self._sessions.setdefault((number, sender), Session(sender))
            self.frames.extend((sender, receiver, frame) for frame in session.receive(piece))

    def sent(self, kind: type[Frame]) -> list[Any]:
        """All frames of a kind, in the order of the wire."""
        return [frame for _, _, frame in self.frames if isinstance(frame, kind)]


@asynccontextmanager
async def on_stage(seed: int = 1) -> AsyncIterator[Stage]:
    """Three machines that run; the oracle's objections fail the scenario."""
    world = World(WorldShape(nodes=3, documents=0, faults=False, traits=Traits()), seed)
    stage = Stage(world)
    world.network.taps.append(stage.watch)
    for machine in world.machines.values():
        machine.install()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.network.run)
        for machine in world.machines.values():
            nursery.start_soon(world.keep_alive, machine)
        for machine in world.machines.values():
            await machine.alive.wait()
        await trio.sleep(1)  # links are up
        yield stage
        nursery.cancel_scope.cancel()
    assert not world.verdict.objections, world.verdict.objections
    assert not world.network.errors, world.network.errors


def play(scenario: Callable[[], Coroutine[Any, Any, None]], seed: int = 1) -> None:
    """Run a scenario on the virtual clock."""
    run_seeded(seed, scenario)
