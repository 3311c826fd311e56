"""A country whose directory is the subject: production nodes, registrars with their own tool, faults, liars.

    outcome = simulate_directory(RealmShape(nodes=9), seed=7)

A run has a faulty phase, in which registrars sign, nodes die, links break, centres join and a hostile minority
lies; then everything is mended (the liars go on), and all honest nodes must come to believe the same. Some
worlds go on for the day of a take-over, or for thirty days without any registrar.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import trio

from protocol.checkpoint import Tier
from protocol.limits import DAY_MS
from tests.sim.clock import run_seeded
from tests.sim.directory_oracle import DirectoryOracle
from tests.sim.directory_traits import DirectoryTraits
from tests.sim.directory_villain import TRICKS, DirectoryVillain
from tests.sim.faults import Faults
from tests.sim.machine import Machine, Plan
from tests.sim.network import MemoryNetwork
from tests.sim.postman import Postman
from tests.sim.realm import Realm
from tests.sim.registrars import TAKEN_BACK_SECONDS, Registrars
from tests.sim.verdict import Sentence, Verdict

SETTLE_SECONDS: Final = 2.5 * 3_600.0
"""Everything that may have to wait for an hour's *not now*, or for its turn with a peer, has settled by then."""
LOOK_SECONDS: Final = (5.0, 120.0)
BACK_SECONDS: Final = (0.5, 45.0)
DAY_SECONDS: Final = DAY_MS / 1000
ANNOUNCEMENTS_LOST: Final = 0.3
SILENT_DAYS: Final = 30
CALM_AFTER: Final = 0.7
"""Of the faulty phase: the last act still meets some faults."""
WRITERS: Final = (("H03", "H05"), ("H05", "H03"))
"""Who corresponds; registrars leave them alone."""

MUST_STRIKE: Final = frozenset(
    {
        "kill", "power_cut", "stop", "clock_step", "slow_disk", "partition", "half_open", "silent_death", "reset",
        "slow", "dial_refused", "dial_hung", "failed_commit store_io",
        "vanished", "act rename", "act rename_below", "act overtaken", "act register", "act register_deep", "act lock",
        "act close", "act move_endorsed", "act endorsed_later", "act move_urgent", "act rotate", "act self_lock",
        "act heartbeat", "fork", "new_generation", "take_over", "taken_back", "take_over_in_force", "take_over_delayed",
        "join", "older", "announcing", "silent_month", "letter", *TRICKS,
    }
)  # fmt: skip
"""Every kind of trouble; over the seeds of a suite each must have hit something."""
KINDS_EXPECTED_FROM: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmShape:
    """How large a world is and how hard it is hit."""

    nodes: int = 9
    """Centres at the founding, the hostile ones included."""
    villains: int = 0
    """0: one in ten, at least one."""
    joins: int = 1
    acts: int = 14
    seconds: float = 300.0
    """Length of the faulty phase."""
    fault_pause: float = 15.0
    ping_s: float = 20.0
    traits: DirectoryTraits | None = None
    """None: as the seed says."""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RealmOutcome:
    """What a run came to."""

    seed: int
    objections: tuple[str, ...]
    trace: str
    struck: Counter[str]
    virtual_seconds: float
    settled_after: float
    """Virtual seconds from the mending until all honest nodes believed the same."""
    story: tuple[str, ...]

    def require_clean(self) -> None:
        """Fail with the seed and the oracle's sentences."""
        assert not self.objections, f"seed {self.seed}:\n" + "\n".join(self.objections)


def simulate_directory(shape: RealmShape, seed: int, *, story: bool = False) -> RealmOutcome:
    """Run one world."""

    async def main() -> RealmOutcome:
        return await DirectoryWorld(shape, seed, story=story).run()

    return run_seeded(seed, main)


class DirectoryWorld:
    """One seeded country."""

    def __init__(self, shape: RealmShape, seed: int, *, story: bool = False) -> None:
        self.shape: Final = shape
        self.seed: Final = seed
        self.chance: Final = Random(seed)
        self.traits: Final = DirectoryTraits.of(seed) if shape.traits is None else shape.traits
        self.verdict: Final = Verdict(story=[] if story else None)
        self.struck: Final[Counter[str]] = Counter()
        self.network: Final = MemoryNetwork(self._own_chance())
        villains = shape.villains or max(1, shape.nodes // 10)
        self.realm: Final = Realm.found(seed, shape.nodes, self._own_chance(), villains=villains)
        self.older: Final = frozenset(self.realm.honest[-1:] if self.traits.older else ())
        self.addresses: Final = {code: (f"/ip4/10.0.0.{n}/tcp/4601",) for n, code in enumerate(self.realm.centres, 1)}
        self.settings: Final[dict[str, Any]] = {
            **self._rhythm(shape.ping_s), "announce": self.traits.announced, **shape.settings
        }  # fmt: skip
        self.network.announcements_lost = ANNOUNCEMENTS_LOST
        self.plan: Final = Plan(
            country=self.realm,
            network=self.network,
            verdict=self.verdict,
            settings=self.settings,
            addresses=self.addresses,
            older=self.older,
        )
        self.machines: Final = {code: self._make_machine(code) for code in self.realm.honest}
        self.villains: Final = [self._make_villain(code) for code in self.realm.villains]
        self.oracle: Final = DirectoryOracle(
            self.realm, self.machines, self.verdict, lambda: self.registrars, older=self.older
        )
        self.postman: Final = Postman(self.machines, self.verdict)
        self.faults: Final = Faults(
            list(self.machines.values()), self.network, self._own_chance(), self.verdict, pause=shape.fault_pause
        )
        self.registrars: Registrars
        self.settled_after = 0.0
        self._nursery: trio.Nursery
        self._faulty = True
        self._lying: Final = trio.CancelScope()

    def _own_chance(self) -> Random:
        return Random(self.chance.getrandbits(64))

    @staticmethod
    def _rhythm(ping_s: float) -> dict[str, Any]:
        """Settings of a world with so many seconds between two pings."""
        return {"ping_s": ping_s, "dead_s": 3 * ping_s, "backoff_max_s": max(300.0, ping_s)}

    def _make_machine(self, code: str) -> Machine:
        return Machine(self.realm.centre(code), self.plan, self._own_chance())

    def _make_villain(self, code: str) -> DirectoryVillain:
        return DirectoryVillain(
            self.network, self.realm, code, self.addresses, self._own_chance(), pause=self.shape.seconds / 30,
            announces=self.traits.announced,
        )  # fmt: skip

    # --- the run ------------------------------------------------------------------------------

    async def run(self) -> RealmOutcome:
        """All phases, then the judgement."""
        for machine in self.machines.values():
            machine.install()
        async with trio.open_nursery() as self._nursery:
            self.registrars = Registrars(
                self.realm, self.machines, self._own_chance(), self.verdict, self.struck, self._nursery,
                older=self.older,
            )  # fmt: skip
            self._nursery.start_soon(self.network.run)
            for machine in self.machines.values():
                self._nursery.start_soon(self._keep_alive, machine)
            self._nursery.start_soon(self._keep_lying)
            self._nursery.start_soon(self._keep_looking)
            await self._faulty_phase()
            await self._settle()
            await self._later()
            self._nursery.cancel_scope.cancel()
        self._find_failures()
        return self.outcome()

    async def _keep_alive(self, machine: Machine) -> None:
        """Whoever watches over the node starts it again whenever it has ended."""
        while True:
            await machine.live()
            await trio.sleep(self.chance.uniform(*BACK_SECONDS) if self._faulty else BACK_SECONDS[0])

    async def _keep_lying(self) -> None:
        """Until all is settled. Then the liars go away: being lied to for a month costs more than all the rest."""
        with self._lying:
            async with trio.open_nursery() as nursery:
                for villain in self.villains:
                    nursery.start_soon(villain.run)

    async def _keep_looking(self) -> None:
        while True:
            await trio.sleep(max(LOOK_SECONDS[0], self.settings["ping_s"]))
            self.oracle.look()

    async def _faulty_phase(self) -> None:
        seconds = self.shape.seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.faults.run)
            nursery.start_soon(self.registrars.run, seconds * CALM_AFTER, self.shape.acts)
            nursery.start_soon(self._write_letters)
            for number in range(self.shape.joins):
                nursery.start_soon(self._join, number)
            if self.traits.fork:
                nursery.start_soon(self._at, seconds * (0.3 + 0.3 * self.chance.random()), self.registrars.fork)
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()
        self._faulty = False
        self.faults.mend()
        self.verdict.note("mended")

    async def _at(self, seconds: float, do: Any) -> None:
        await trio.sleep(seconds)
        do()

    async def _join(self, number: int) -> None:
        """A new centre: registered, started with nothing, given the directory of some node."""
        await trio.sleep(self.shape.seconds * (0.2 + 0.4 * self.chance.random()))
        place = len(self.realm.centres) + 1
        code, agency = f"00.{place:02d}.W00", f"H{place:02d}"
        self.registrars.register_centre(code, agency)
        self.addresses[code] = (f"/ip4/10.0.0.{place}/tcp/4601",)
        machine = self.machines[code] = self._make_machine(code)
        machine.install(joins=True)
        self._nursery.start_soon(self._keep_alive, machine)
        self.registrars.bring_everything(machine)
        self.struck["join"] += 1
        self.verdict.note("joins", code, number)

    async def _write_letters(self) -> None:
        for issuer, recipient in WRITERS:
            await trio.sleep(self.chance.random() * self.shape.seconds / 4)
            self._write(issuer, recipient)

    def _write(self, issuer: str, recipient: str) -> None:
        self._nursery.start_soon(self.postman.write(self.realm.host_of[issuer], issuer, recipient))
        self.struck["letter"] += 1

    # --- settling -----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Mend what people have to mend; then all honest nodes must come to believe the same."""
        if self.traits.fork:
            await self._known_fork()
            self.registrars.open_new_generation()
        with trio.move_on_after(SETTLE_SECONDS):
            while self.registrars.open_ends and not self.verdict.objections:  # noqa: ASYNC110  # virtual time
                await trio.sleep(LOOK_SECONDS[0])
        for name in sorted(self.older):
            self.registrars.bring_everything(self.machines[name])
        begun = trio.current_time()
        await self._until_settled(SETTLE_SECONDS)
        self.settled_after = trio.current_time() - begun
        if not self.verdict.objections:
            self.oracle.look()
            self.oracle.judge()

    async def _known_fork(self) -> None:
        """The registrar's own people hear of it from their node; an hour is long."""
        with trio.move_on_after(3_600) as patience:
            while not self.oracle.fork_is_known() and not self.verdict.objections:  # noqa: ASYNC110  # virtual time
                await trio.sleep(30)
        if patience.cancelled_caught:
            self.verdict.objects(Sentence.UNPROVEN, "the fork is not known everywhere after an hour")

    async def _until_settled(self, seconds: float) -> None:
        pause, longest = LOOK_SECONDS
        with trio.move_on_after(seconds):
            while await self._open_ends() and not self.verdict.objections:
                await trio.sleep(pause)
                pause = min(pause * 1.2, longest)
        ends = await self._open_ends()
        if ends and not self.verdict.objections:
            self.verdict.objects(Sentence.STUCK, "; ".join(ends[:5]))
        self.verdict.note("settled", len(ends))

    async def _open_ends(self) -> list[str]:
        if self.registrars.open_ends:
            return [f"{self.registrars.open_ends} acts or files are under way"]
        return self.oracle.open_ends() or await self.postman.open_ends()

    # --- later --------------------------------------------------------------------------------

    async def _later(self) -> None:
        if self.traits.take_over and not self.verdict.objections:
            await self._day_of_a_take_over()
        if self.traits.silence and not self.verdict.objections:
            await self._month_of_silence()

    async def _slower(self, ping_s: float) -> None:
        """All nodes are started again with longer pauses: a day of short ones costs more than all the rest."""
        self.settings.update(self._rhythm(ping_s))
        for machine in self.machines.values():
            machine.stop()
        self._lying.cancel()
        await trio.sleep(60)

    async def _day_of_a_take_over(self) -> None:
        await self._slower(1_200)
        self.registrars.take_over(self.realm.villains[0])
        await trio.sleep(TAKEN_BACK_SECONDS)
        if self.traits.taken_back:
            self.registrars.take_back()
        await trio.sleep(DAY_SECONDS - TAKEN_BACK_SECONDS + 2 * 3_600)
        self.oracle.look()
        self.struck["take_over_delayed"] += self.oracle.delayed
        if not self.traits.taken_back:
            self.registrars.let_stand()
        await self._until_settled(2 * SETTLE_SECONDS)
        if not self.verdict.objections:
            self.oracle.judge()

    async def _month_of_silence(self) -> None:
        await self._slower(6 * 3_600)
        said_last = trio.current_time()
        await trio.sleep_until((SILENT_DAYS - 1) * DAY_SECONDS)  # some have said nothing since the founding
        self._require_tier(Tier.KNOWN)
        for issuer, recipient in WRITERS:
            self._write(issuer, recipient)
        await trio.sleep_until(said_last + (SILENT_DAYS + 1) * DAY_SECONDS)
        self._require_tier(Tier.OLD)
        await self._until_settled(2 * DAY_SECONDS)
        self.struck["silent_month"] += 1
        if not self.verdict.objections:
            self.oracle.judge()

    def _require_tier(self, tier: Tier) -> None:
        for name, machine in self.machines.items():
            if machine.node is not None and name not in self.older:
                found = machine.node.room.freshness.tier()
                self.verdict.require(
                    found is tier, Sentence.UNPROVEN, f"{name} says that its directory is {found.name}"
                )

    # --- the end ------------------------------------------------------------------------------

    def _find_failures(self) -> None:
        for error in self.network.errors:
            self.verdict.objects(Sentence.BROKEN, f"a stream's task failed: {error!r}")
        for machine in self.machines.values():
            for line in machine.lines:
                if line["event"] in ("stream_failed", "link_failed", "session_failed"):
                    self.verdict.objects(Sentence.BROKEN, f"{machine.name}: {line}")

    def outcome(self) -> RealmOutcome:
        """Everything worth telling."""
        tricks = sum((villain.struck for villain in self.villains), Counter[str]())
        return RealmOutcome(
            seed=self.seed,
            objections=tuple(self.verdict.objections),
            trace=self.verdict.trace,
            struck=self.faults.struck
            + self.struck
            + tricks
            + Counter({"older": len(self.older), "announcing": int(self.traits.announced)}),
            virtual_seconds=trio.current_time(),
            settled_after=self.settled_after,
            story=tuple(self.verdict.story or ()),
        )
