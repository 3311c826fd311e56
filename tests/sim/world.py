"""A country in one process: production nodes, software, faults, and the oracle around them.

    outcome = simulate(WorldShape(nodes=4, documents=40), seed=7)

A run has a faulty phase, in which documents are handed in while things break, and then a phase
in which everything is mended and must settle within a bound of virtual time (DESIGN §8). The
same shape and seed decide alike, which `Outcome.trace` shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import trio

from protocol.step import Settings
from tests.sim.api_client import Apps
from tests.sim.api_desk import ApiDesk
from tests.sim.changes import Changes
from tests.sim.clock import run_seeded
from tests.sim.country import VILLAIN, Country, hosting
from tests.sim.desk import Desk
from tests.sim.expected import Expected
from tests.sim.faults import Faults
from tests.sim.machine import Machine, Plan
from tests.sim.network import MemoryNetwork
from tests.sim.notebook import Notebook, Sending
from tests.sim.oracle import ENDED, ON_THE_WAY, Oracle
from tests.sim.papers import MARKED_CONTENT, MARKER, make_sending
from tests.sim.service_desk import ServiceDesk
from tests.sim.software import Bystanders, Software
from tests.sim.traits import Traits
from tests.sim.verdict import Sentence, Verdict
from tests.sim.villain import Villain
from tests.sim.wire_watch import WireWatch

SETTLE_SECONDS: Final = 2.5 * 3_600.0
"""Everything that may have to wait for an hour's *not now* has settled by then, and some."""
LOOK_SECONDS: Final = (5.0, 300.0)
"""How often one looks whether all is settled: the later, the more rarely."""
BACK_SECONDS: Final = (0.5, 45.0)
"""A node that died lives again after so long."""
ABSENT_SECONDS: Final = 25 * 3_600.0
"""Longer than the shortest life of a document, a day."""
NARROW_BYTES: Final = 60_000
"""What a narrow node takes of sealed parts: it refuses about a third of the documents."""
QUIET: Final[Mapping[str, Any]] = {"ping_s": 600, "dead_s": 1_800, "backoff_max_s": 1_800}
"""Settings for a world that waits for a day: a ping every 20 s would cost more than all the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldShape:
    """How large a world is and how hard it is hit."""

    nodes: int = 4
    documents: int = 40
    seconds: float = 240.0
    """Length of the faulty phase."""
    fault_pause: float = 12.0
    faults: bool = True
    traits: Traits | None = None
    """None: as the seed says."""
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
    turned_away: int
    """Documents that the world had planned to refuse at the counter."""
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
        self.traits: Final = Traits.of(seed) if shape.traits is None else shape.traits
        self.verdict: Final = Verdict(story=[] if story else None)
        self.network: Final = MemoryNetwork(self._own_chance())
        self.country: Final = Country.found(
            seed, hosting(shape.nodes, self.chance), self._own_chance(), villain=self.traits.villain
        )
        self.host_of: Final = self.country.host_of
        self.expected: Final = Expected()
        self.struck: Final[Counter[str]] = Counter()
        self.machines: Final = self._make_machines()
        disks = {name: machine.disk for name, machine in self.machines.items()}
        self.notebooks: Final = {agency: Notebook(agency) for agency in self.host_of}
        self.sendings: Final[list[Sending]] = []
        self.markers: Final = (MARKER.encode(), MARKED_CONTENT)
        self.watch: Final = WireWatch(disks, self.verdict, self.markers)
        self.network.taps.append(self.watch)
        self.oracle: Final = Oracle(self.verdict, disks, self.notebooks, self.country, self.expected)
        self.software: Final = self._make_software()
        self.changes: Final = Changes(
            self.country,
            self.machines,
            self.expected,
            self._own_chance(),
            self.verdict,
            struck=self.struck,
            one_import=self.traits.one_import,
        )
        self.villain: Final = self._make_villain() if self.traits.villain else None
        self.faults: Final = Faults(
            list(self.machines.values()),
            self.network,
            self._own_chance(),
            self.verdict,
            pause=shape.fault_pause,
            flips=self.traits.flips,
        )
        self._faulty = shape.faults

    def _own_chance(self) -> Random:
        return Random(self.chance.getrandbits(64))

    def _make_machines(self) -> dict[str, Machine]:
        hosting = self.country.hosting
        self.addresses = {centre: (f"/ip4/10.0.0.{n}/tcp/4601",) for n, centre in enumerate(hosting, 1)}
        if self.traits.villain:
            self.addresses[VILLAIN] = ("/ip4/10.0.0.99/tcp/4601",)
        delivery: dict[str, Settings] = {}
        if self.traits.narrow:
            narrow = self.chance.choice(list(hosting))
            delivery[narrow] = Settings(parts_bytes_max=NARROW_BYTES)
            self.expected.too_large.update(dict.fromkeys(hosting[narrow], NARROW_BYTES))
        plan = Plan(
            country=self.country,
            network=self.network,
            verdict=self.verdict,
            settings={**(QUIET if self.traits.absence else {}), **self.shape.settings},
            delivery=delivery,
            addresses=self.addresses,
        )
        return {name: Machine(self.country.centre(name), plan, self._own_chance()) for name in hosting}

    def _make_software(self) -> dict[str, Software]:
        bystanders, apps = Bystanders(), Apps()
        self.struck["through_api"] += self.traits.through_api
        return {
            agency: Software(
                notebook,
                self.desk(agency, apps),
                self._own_chance(),
                self.verdict,
                bystanders=bystanders,
                expected=self.expected,
                struck=self.struck,
            )
            for agency, notebook in self.notebooks.items()
        }

    def desk(self, agency: str, apps: Apps | None = None) -> Desk:
        """Where this agency's software meets its node: the services, or with `apps` in some worlds the API."""
        machine = self.machines[self.host_of[agency]]
        if self.traits.through_api and apps is not None:
            return ApiDesk(machine, agency, self.verdict, apps)
        return ServiceDesk(machine, agency, self.verdict)

    def _make_villain(self) -> Villain:
        villain = Villain(self.network, self.country, self.addresses[VILLAIN], self._own_chance(), self.verdict)
        self.network.taps.append(villain.watch)
        return villain

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
            if self.traits.changes:
                self.changes.plan(self.shape.seconds)
                nursery.start_soon(self.changes.run)
            for agency, software in self.software.items():
                software.knows(self.sendings)
                nursery.start_soon(software.run, starts[agency])
            await self._faulty_phase()
            if self.traits.absence:
                await self._absence()
            await self._settle()
            nursery.cancel_scope.cancel()
        self._judge()
        return self.outcome()

    def plan_sendings(self) -> dict[str, list[tuple[float, Sending]]]:
        """Who sends what to whom and when; drawn once, from the seed."""
        starts: dict[str, list[tuple[float, Sending]]] = {agency: [] for agency in self.host_of}
        seconds = self.shape.seconds * (2 if self.traits.absence else 1)
        for index in range(self.shape.documents):
            sending = make_sending(self.chance, index, sorted(self.host_of))
            if self.traits.absence and self.chance.random() < 0.5:
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
        async with trio.open_nursery() as nursery:
            if self.shape.faults:
                nursery.start_soon(self.faults.run)
            if self.villain is not None:
                nursery.start_soon(self.villain.run)
            await trio.sleep(self.shape.seconds)
            nursery.cancel_scope.cancel()
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
            while self._open_ends() and not self.verdict.objections:
                self.look_at_bounds()
                await trio.sleep(pause)
                pause = min(pause * 1.1, longest)
        ends = self._open_ends()
        if ends and not self.verdict.objections:
            self.verdict.objects(Sentence.STUCK, "; ".join(ends[:5]))
        self.verdict.note("settled", len(ends))

    def _open_ends(self) -> list[str]:
        changes = self.changes.open_ends
        return [f"{changes} changes of the directory are under way"] if changes else self.oracle.open_ends()

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
                if line["event"] in ("stream_failed", "link_failed", "session_failed"):
                    self.verdict.objects(Sentence.BROKEN, f"{machine.name}: {line}")

    def _ends(self) -> Counter[str]:
        """How often documents ended otherwise than by being answered."""
        sendings = (sending for notebook in self.notebooks.values() for sending in notebook.sendings)
        states = Counter(state for sending in sendings for state in sending.outcomes.values())
        ends = Counter({state: states[state] for state in (*ENDED, *ON_THE_WAY) if states[state]})
        return ends + Counter(signed_again=self.oracle.signed_again)

    def outcome(self) -> Outcome:
        """Everything worth telling."""
        tricks = Counter() if self.villain is None else self.villain.struck
        return Outcome(
            seed=self.seed,
            objections=tuple(self.verdict.objections),
            trace=self.verdict.trace,
            struck=self.faults.struck + self.struck + self._ends() + tricks,
            frames=self.watch.seen,
            virtual_seconds=trio.current_time(),
            acknowledged=sum(1 for notebook in self.notebooks.values() for _ in notebook.acknowledged()),
            turned_away=sum(bool(one.refused) for notebook in self.notebooks.values() for one in notebook.sendings),
            arrived=sum(len(notebook.arrived) for notebook in self.notebooks.values()),
            story=tuple(self.verdict.story or ()),
        )
