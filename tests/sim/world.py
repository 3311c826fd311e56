"""A country in one process: production nodes, software, faults, and the oracle around them.

    outcome = simulate(WorldShape(nodes=4, documents=40), seed=7)

A run has a faulty phase, in which documents are handed in while things break, and then a phase
in which everything is mended and must settle within a bound of virtual time (DESIGN §8). The
same shape and seed decide alike, which `Outcome.trace` shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import trio

from tests.sim.clock import run_seeded
from tests.sim.desk import Desk
from tests.sim.faults import Faults
from tests.sim.machine import Machine, Plan
from tests.sim.network import MemoryNetwork
from tests.sim.notebook import Notebook, Sending
from tests.sim.oracle import Oracle
from tests.sim.software import Bystanders, Software
from tests.sim.verdict import Sentence, Verdict
from tests.sim.wire_watch import WireWatch
from tests.support.tree import Tree

SETTLE_SECONDS: Final = 2.5 * 3_600.0
"""Everything that may have to wait for an hour's *not now* has settled by then, and some."""
LOOK_SECONDS: Final = (5.0, 300.0)
"""How often one looks whether all is settled: the later, the more rarely."""
BACK_SECONDS: Final = (0.5, 45.0)
"""A node that died lives again after so long."""
MARKER: Final = "BÍ MẬT"
ABSENT_SECONDS: Final = 25 * 3_600.0
"""Longer than the shortest life of a document, a day."""
QUIET: Final[Mapping[str, Any]] = {"ping_s": 600, "dead_s": 1_800, "backoff_max_s": 1_800}
"""Settings for a world that waits for a day: a ping every 20 s would cost more than all the rest."""
LARGE_PARTS: Final = (600_000, 700_000)
"""Two of these make an envelope whose bodies are files."""
SIZES: Final = ((0, 0), (1, 200), (200, 5_000), (5_000, 60_000), (60_000, 66_000), (66_000, 300_000))
SIZE_WEIGHTS: Final = (1, 6, 6, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldShape:
    """How large a world is and how hard it is hit."""

    nodes: int = 4
    documents: int = 40
    seconds: float = 240.0
    """Length of the faulty phase."""
    fault_pause: float = 12.0
    faults: bool = True
    absence: bool | None = None
    """One machine stays away for longer than some documents live; None: every fifth seed."""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    seed: int
    objections: tuple[str, ...]
    trace: str
    struck: Counter[str]
    frames: Counter[str]
    virtual_seconds: float
    acknowledged: int
    arrived: int
    story: tuple[str, ...]

    def require_clean(self) -> None:
        """Fail with the seed and the oracle's sentences."""
        assert not self.objections, f"seed {self.seed}:\n" + "\n".join(self.objections)


def simulate(shape: WorldShape, seed: int, *, story: bool = False) -> Outcome:
    """Run one world."""

    async def main() -> Outcome:
        return await World(shape, seed, story=story).run()

    return run_seeded(seed, main)


class World:
    """One seeded country. Scenarios subclass nothing: they build a world and drive its parts."""

    def __init__(self, shape: WorldShape, seed: int, *, story: bool = False) -> None:
        self.shape: Final = shape
        self.seed: Final = seed
        self.chance: Final = Random(seed)
        self.has_absence: Final = seed % 5 == 0 if shape.absence is None else shape.absence
        self.verdict: Final = Verdict(story=[] if story else None)
        self.network: Final = MemoryNetwork(self._own_chance())
        self.hosting: Final = hosting(shape.nodes, self.chance)
        self.host_of: Final = {agency: centre for centre, codes in self.hosting.items() for agency in codes}
        self.tree: Final = Tree.make(seed, hosting=self.hosting)
        self.machines: Final = self._make_machines()
        disks = {name: machine.disk for name, machine in self.machines.items()}
        self.notebooks: Final = {agency: Notebook(agency) for agency in self.host_of}
        self.sendings: Final[list[Sending]] = []
        self.markers: Final = (MARKER.encode(), b"MARKED-CONTENT")
        self.watch: Final = WireWatch(disks, self.verdict, self.markers)
        self.network.taps.append(self.watch)
        keys = {name: centre.signer.public for name, centre in self.tree.centres.items()}
        self.oracle: Final = Oracle(self.verdict, disks, self.notebooks, self.host_of, keys)
        self.software: Final = self._make_software()
        self.faults: Final = Faults(
            list(self.machines.values()), self.network, self._own_chance(), self.verdict, pause=shape.fault_pause
        )
        self._faulty = shape.faults

    def _own_chance(self) -> Random:
        return Random(self.chance.getrandbits(64))

    def _make_machines(self) -> dict[str, Machine]:
        addresses = {centre: (f"/ip4/10.0.0.{n}/tcp/4601",) for n, centre in enumerate(self.hosting, 1)}
        settings = {**(QUIET if self.has_absence else {}), **self.shape.settings}
        plan = Plan(
            tree=self.tree, network=self.network, verdict=self.verdict, settings=settings, addresses=addresses
        )
        return {name: Machine(self.tree.centres[name], plan, self._own_chance()) for name in self.hosting}

    def _make_software(self) -> dict[str, Software]:
        bystanders = Bystanders()
        return {
            agency: Software(
                notebook,
                Desk(self.machines[self.host_of[agency]], agency, self.verdict),
                self._own_chance(),
                self.verdict,
                bystanders,
            )
            for agency, notebook in self.notebooks.items()
        }

    # --- the run ------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Both phases, then the judgement."""
        starts = self.plan_sendings()
        for machine in self.machines.values():
            machine.install()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.network.run)
            for machine in self.machines.values():
                nursery.start_soon(self.keep_alive, machine)
            for agency, software in self.software.items():
                software.knows(self.sendings)
                nursery.start_soon(software.run, starts[agency])
            await self._faulty_phase()
            if self.has_absence:
                await self._absence()
            await self._settle()
            nursery.cancel_scope.cancel()
        self._judge()
        return self.outcome()

    def plan_sendings(self) -> dict[str, list[tuple[float, Sending]]]:
        """Who sends what to whom and when; drawn once, from the seed."""
        starts: dict[str, list[tuple[float, Sending]]] = {agency: [] for agency in self.host_of}
        seconds = self.shape.seconds * (2 if self.has_absence else 1)
        for index in range(self.shape.documents):
            sending = make_sending(self.chance, index, sorted(self.host_of))
            if self.has_absence and self.chance.random() < 0.5:
                sending.expires_days = 1
            self.sendings.append(sending)
            starts[sending.issuer].append((self.chance.random() * seconds, sending))
        return starts

    async def keep_alive(self, machine: Machine) -> None:
        """Whoever watches over the node starts it again whenever it has ended."""
        while True:
            await machine.may_live.wait()
            await machine.live()
            await trio.sleep(self.chance.uniform(*BACK_SECONDS) if self._faulty else BACK_SECONDS[0])

    async def _faulty_phase(self) -> None:
        if self.shape.faults:
            with trio.move_on_after(self.shape.seconds):
                await self.faults.run()
        else:
            await trio.sleep(self.shape.seconds)
        self._faulty = False
        self.faults.mend()
        self.verdict.note("mended")

    async def _absence(self) -> None:
        """One machine is away while documents for it expire; half of them are handed in only then."""
        away = self.chance.choice(list(self.machines.values()))
        away.may_live = trio.Event()
        away.lose_power()
        self.verdict.note("away", away.name)
        await trio.sleep(ABSENT_SECONDS)
        away.may_live.set()
        self.verdict.note("back", away.name)

    async def _settle(self) -> None:
        """Look now and then whether anything is open; it must end in bounded time."""
        pause, longest = LOOK_SECONDS
        self.oracle.judge_bodies()  # holds at every moment; a lost body would be asked for again and again
        with trio.move_on_after(SETTLE_SECONDS):
            while self.oracle.open_ends() and not self.verdict.objections:
                self.look_at_bounds()
                await trio.sleep(pause)
                pause = min(pause * 1.1, longest)
        ends = self.oracle.open_ends()
        if ends and not self.verdict.objections:
            self.verdict.objects(Sentence.STUCK, "; ".join(ends[:5]))
        self.verdict.note("settled", len(ends))

    def look_at_bounds(self) -> None:
        """Counted queues stay within their bounds."""
        for machine in self.machines.values():
            node = machine.node
            if node is None:
                continue
            for centre, (window, _) in node.sender.counts().items():
                self.verdict.require(window <= 256, Sentence.BOUND, f"{window} offers from {machine.name} to {centre}")
            backlog = node.pump.committer.backlog
            self.verdict.require(backlog <= 8_000, Sentence.BOUND, f"{backlog} steps wait at {machine.name}")

    def _judge(self) -> None:
        if not self.verdict.objections:  # after the first objection much else follows from it
            self.oracle.judge()
        self.oracle.look_for_clear_text(self.markers)
        for error in self.network.errors:
            self.verdict.objects(Sentence.BROKEN, f"a stream's task failed: {error!r}")
        for machine in self.machines.values():
            for line in machine.lines:
                if line["event"] in ("stream_failed", "link_failed"):
                    self.verdict.objects(Sentence.BROKEN, f"{machine.name}: {line}")

    def outcome(self) -> Outcome:
        """Everything worth telling."""
        return Outcome(
            seed=self.seed,
            objections=tuple(self.verdict.objections),
            trace=self.verdict.trace,
            struck=self.faults.struck,
            frames=self.watch.seen,
            virtual_seconds=trio.current_time(),
            acknowledged=sum(1 for notebook in self.notebooks.values() for _ in notebook.acknowledged()),
            arrived=sum(len(notebook.arrived) for notebook in self.notebooks.values()),
            story=tuple(self.verdict.story or ()),
        )


def hosting(nodes: int, chance: Random) -> dict[str, tuple[str, ...]]:
    """Centres and the agencies they host: some host several, so that documents stay in the house."""
    shapes: dict[str, tuple[str, ...]] = {}
    for n in range(1, nodes + 1):
        code = f"H{n:02d}"
        lower = tuple(f"{code}.{below}" for below in range(1, 1 + (chance.randint(0, 2) if n > 1 else 1)))
        shapes[f"00.{n:02d}.W00"] = (code, *lower)
    return shapes


def make_sending(chance: Random, index: int, agencies: Sequence[str]) -> Sending:
    """A document with random content, marked so that it can be looked for where it must not stand."""
    issuer = chance.choice(agencies)
    others = [agency for agency in agencies if agency != issuer]
    count = chance.randint(2, len(others)) if len(others) > 1 and chance.random() < 0.15 else 1
    return Sending(
        key=f"{issuer}-{index}",
        issuer=issuer,
        recipients=tuple(chance.sample(others, count)),
        subject=f"{MARKER} {index}",
        parts=_contents(chance),
        lane=chance.choice((0, 0, 0, 1, 2, 3)),
        number=str(index + 1) if chance.random() < 0.7 else "",
    )


def _contents(chance: Random) -> tuple[bytes, ...]:
    if chance.random() < 0.12:
        return tuple(_content(chance, LARGE_PARTS) for _ in range(2))
    bounds = chance.choices(SIZES, SIZE_WEIGHTS, k=chance.choice((1, 1, 1, 2, 3)))
    return tuple(_content(chance, one) for one in bounds)


def _content(chance: Random, bounds: tuple[int, int]) -> bytes:
    size = chance.randint(*bounds)
    return (b"MARKED-CONTENT" + chance.randbytes(size))[:size]
