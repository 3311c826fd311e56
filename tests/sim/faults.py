"""What goes wrong in a faulty phase: chosen by the seed, mended at its end, counted when it strikes.

Obeys DESIGN §8 ("faults that struck are counted; a kind that never struck fails the suite").
Disk and network count for themselves what really hit something; what happens to whole machines is
counted here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from random import Random
from typing import Final

import trio

from protocol.record import Body
from protocol.records import Document, Incoming, Uncollected
from storage.bodies import FILE_SEGMENT, body_name
from storage.segments import segment_name
from tests.sim.disk import Disk
from tests.sim.durable import Durable
from tests.sim.machine import Machine
from tests.sim.network import MemoryNetwork
from tests.sim.verdict import Verdict
from tests.sim.villain import TRICKS

MUST_STRIKE: Final = frozenset(
    {
        "kill",
        "power_cut",
        "stop",
        "clock_step",
        "slow_disk",
        "partition",
        "half_open",
        "vanished",
        "silent_death",
        "reset",
        "slow",
        "dial_refused",
        "dial_hung",
        "disk_full",
        "failed_commit store_io",
        "failed_commit disk_full",
        "unsynced_bytes",
        "unsynced_name",
        "bit_flip segment",
        "bit_flip file",
        "damage_reported",
        "upload_broken",
        "upload_resumed",
        "refused",
        "keys_rotated",
        "heard_of_a_change",
        "keys_revoked",
        "signed_again",
        "agency_locked",
        "agency_active",
        "agency_closed",
        "submit_refused recipient_closed",
        "through_api",
        "villain false_body",
        *TRICKS,
    }
)
"""Every kind of trouble; over the seeds of a suite each must have hit something."""
RARE: Final = frozenset({"unsynced_name", "upload_resumed", "bit_flip file", "submit_refused recipient_closed"})
"""Strike only at a rare moment: asked for from 50 seeds on."""

CLOCK_STEPS_MS: Final = (-240_000, 60_000, 240_000, 600_000)
"""Within the 5 minutes that nodes forgive each other, and once beyond (DESIGN §0)."""
MOMENT_SECONDS: Final = 60.0
"""How long a power cut waits for its moment."""
FILLING_SECONDS: Final = (0.03, 4.0)
"""How long a body is pulled, and how long one is uploaded."""
SPEEDS: Final = (4_000.0, 20_000.0, 100_000.0)

Fault = Callable[[], Awaitable[None]]


class Faults:
    """Makes things go wrong until it is cancelled; `mend` makes everything well again."""

    def __init__(
        self,
        machines: Sequence[Machine],
        network: MemoryNetwork,
        chance: Random,
        verdict: Verdict,
        *,
        pause: float,
        flips: bool = False,
    ) -> None:
        """`pause`: seconds between two faults, on average. `flips`: bits in bodies at rest flip, too."""
        self._machines: Final = machines
        self._network: Final = network
        self._chance: Final = chance
        self._verdict: Final = verdict
        self._pause: Final = pause
        self._own: Final[Counter[str]] = Counter()
        self._kinds: Final[Sequence[tuple[int, Fault]]] = (
            (4, self._kill),
            (4, self._power_cut),
            (1, self._stop),
            (3, self._partition),
            (2, self._half_open),
            (3, self._reset),
            (2, self._slow_link),
            (1, self._hanging_dial),
            (2, self._full_disk),
            (3, self._failed_commit),
            (1, self._clock_step),
            (1, self._slow_disk),
            *([(4, self._flip_bit)] if flips else []),
        )

    @property
    def struck(self) -> Counter[str]:
        """How often each kind has hit something."""
        return self._own + self._network.struck + sum((machine.disk.struck for machine in self._machines), Counter())

    async def run(self) -> None:
        """One fault after the other, some at once, for ever."""
        weights = [weight for weight, _ in self._kinds]
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(self._chance.expovariate(1 / self._pause))
                _, fault = self._chance.choices(self._kinds, weights)[0]
                self._verdict.note("fault", fault.__name__.strip("_"))
                nursery.start_soon(fault)

    def mend(self) -> None:
        """No faults from here on."""
        self._network.mend_all()
        for machine in self._machines:
            machine.disk.full = False
            machine.disk.fail_commit_in = 0
            machine.step_clock(-machine.offset_ms)
            machine.drag(1.0)
            if machine.node is not None and machine.node.pump.committer.read_only is not None:
                machine.stop()  # the operator restarts a node whose disk was mended

    # --- machines -----------------------------------------------------------------------------

    async def _kill(self) -> None:
        machine = self._one()
        self._own["kill"] += machine.node is not None
        machine.kill()

    async def _power_cut(self) -> None:
        """At any moment; or, more often, just when a large body arrives."""
        machine = self._one()
        if self._chance.random() < 0.5:
            machine = await self._filling_a_file() or machine
        self._own["power_cut"] += machine.node is not None
        machine.lose_power()

    async def _filling_a_file(self) -> Machine | None:
        """The first machine on which a large body begins, a moment later; None when none does for a while."""
        made = trio.Event()
        machines: list[Machine] = []

        def notice(machine: Machine, name: str) -> None:
            if name.startswith("partial/"):
                machines.append(machine)
                made.set()

        for machine in self._machines:
            machine.disk.on_new_file = partial(notice, machine)
        with trio.move_on_after(MOMENT_SECONDS):
            await made.wait()
            await trio.sleep(self._chance.random() * self._chance.choice(FILLING_SECONDS))
        return machines[0] if machines else None

    async def _stop(self) -> None:
        machine = self._one()
        self._own["stop"] += machine.node is not None
        machine.stop()

    async def _full_disk(self) -> None:
        disk = self._one().disk
        disk.full, disk.admits_being_full = True, self._chance.random() < 0.5
        await trio.sleep(self._chance.uniform(1, 60))
        disk.full = False

    async def _failed_commit(self) -> None:
        machine = self._one()
        disk = machine.disk
        disk.fail_code = self._chance.choice(("store_io", "disk_full"))
        disk.fail_commit_in = self._chance.randint(1, 4)
        await trio.sleep(self._chance.uniform(5, 40))
        node = machine.node
        if node is not None and node.pump.committer.read_only is not None and disk.fail_code == "store_io":
            machine.stop()  # the operator restarts it

    async def _clock_step(self) -> None:
        machine = self._one()
        by_ms = self._chance.choice(CLOCK_STEPS_MS)
        self._own["clock_step"] += machine.node is not None
        machine.step_clock(by_ms)
        await trio.sleep(self._chance.uniform(10, 120))
        machine.step_clock(-machine.offset_ms)

    async def _slow_disk(self) -> None:
        machine = self._one()
        self._own["slow_disk"] += machine.node is not None
        machine.drag(self._chance.choice((10.0, 200.0)))
        await trio.sleep(self._chance.uniform(5, 40))
        machine.drag(1.0)

    async def _flip_bit(self) -> None:
        """In one durable body: at any moment, or just when one has arrived that nobody has fetched yet."""
        disk = self._one().disk
        if self._chance.random() < 0.5:
            await self._something_arrives(disk)
        wanted = _uncollected(disk) or _owed(disk)
        bodies = [body for body in Durable(disk).all(Body) if body.digest not in disk.damaged]
        bodies = [body for body in bodies if body.digest in wanted] or bodies
        files = [body for body in bodies if body.place.segment == FILE_SEGMENT]
        bodies = files if files and self._chance.random() < 0.5 else bodies
        if not bodies:
            return
        body = self._chance.choice(bodies)
        in_file = body.place.segment == FILE_SEGMENT
        name = body_name(body.digest) if in_file else segment_name(body.place.segment)
        if disk.flip_bit_in(name, body.place.offset, body.place.length):
            disk.damaged.add(body.digest)
            self._own["bit_flip file" if in_file else "bit_flip segment"] += 1

    async def _something_arrives(self, disk: Disk) -> None:
        """Return when a batch has brought a document to this disk; or nothing comes for a while."""
        arrived = trio.Event()

        def look() -> None:
            if _uncollected(disk):
                arrived.set()

        disk.on_commit = look
        with trio.move_on_after(MOMENT_SECONDS):
            await arrived.wait()
        disk.on_commit = lambda: None

    # --- the network --------------------------------------------------------------------------

    async def _partition(self) -> None:
        """Cut one machine off from some of the others, shorter or longer than anybody's patience."""
        alone = self._one()
        others = [machine for machine in self._machines if machine is not alone]
        away = self._chance.sample(others, self._chance.randint(1, len(others)))
        for machine in away:
            self._network.cut(alone.centre.peer_id, machine.centre.peer_id)
        await trio.sleep(self._chance.choice((2, 20, 90)) * (0.5 + self._chance.random()))
        for machine in away:
            self._network.mend(alone.centre.peer_id, machine.centre.peer_id)

    async def _half_open(self) -> None:
        self._network.half_open(*self._two())

    async def _reset(self) -> None:
        self._network.break_connections(*self._two())

    async def _slow_link(self) -> None:
        a, b = self._two()
        link = self._network.link(a, b)
        link.bytes_per_second, link.delay_factor = self._chance.choice(SPEEDS), self._chance.choice((1.0, 50.0))
        await trio.sleep(self._chance.uniform(10, 60))
        link.bytes_per_second, link.delay_factor = 0.0, 1.0

    async def _hanging_dial(self) -> None:
        machine = self._one()
        self._network.hanging.add(machine.centre.peer_id)
        for other in self._machines:
            if other is not machine:
                self._network.break_connections(machine.centre.peer_id, other.centre.peer_id)
        await trio.sleep(self._chance.uniform(5, 30))
        self._network.hanging.discard(machine.centre.peer_id)

    def _one(self) -> Machine:
        return self._chance.choice(self._machines)

    def _two(self) -> tuple[str, str]:
        a, b = self._chance.sample(self._machines, 2)
        return a.centre.peer_id, b.centre.peer_id


def _owed(disk: Disk) -> set[bytes]:
    """Sound bodies that have not reached everybody."""
    documents = Durable(disk).all(Document)
    return {part.digest for row in documents if row.unsettled for part in row.parts} - disk.damaged


def _uncollected(disk: Disk) -> set[bytes]:
    """Sound bodies that arrived and were not collected yet."""
    durable = Durable(disk)
    entries = [durable.get(Incoming, row.consignment) for row in durable.all(Uncollected)]
    return {part.digest for entry in entries if entry is not None for part in entry.parts} - disk.damaged
