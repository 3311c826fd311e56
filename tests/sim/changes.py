"""What happens to the directory while documents are under way: keys rotate, agencies are locked,
unlocked and closed; a key that was rotated out is revoked a little later.

Each change is published at one moment and imported at each node at another, as files travel
(DECISIONS "Joining before gossip exists"), by the same service that the operator calls. A
centre whose keys rotate signs with the new one only after its own node knows it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Final

import trio

from protocol.directory import RecordState
from protocol.errors import StoreError
from protocol.step import Caller
from tests.sim.country import Country
from tests.sim.environment import EPOCH_MS, virtual_ms
from tests.sim.expected import Expected
from tests.sim.machine import Machine
from tests.sim.verdict import Sentence, Verdict

OPERATOR: Final = Caller(
    system=b"operator".ljust(16, b"."), actor="operator", agencies=frozenset(), rights=frozenset({"admin"})
)
CALM_AFTER: Final = 0.7
"""Of the faulty phase, so that the last change still meets some faults."""
TRAVEL_SECONDS: Final = 25.0
"""How long a file takes to a node, on average."""
AGAIN_SECONDS: Final = 4.0
LOCK_AND_UNLOCK: Final = (RecordState.LOCKED, RecordState.ACTIVE)
ROTATIONS: Final = 2
LOCKS: Final = 2
CLOSINGS: Final = 1


class Changes:
    """The registrar of a world, and everybody's operator. `struck` counts what was changed."""

    def __init__(
        self,
        country: Country,
        machines: Mapping[str, Machine],
        expected: Expected,
        chance: Random,
        verdict: Verdict,
        *,
        struck: Counter[str],
        one_import: bool = False,
    ) -> None:
        self._country: Final = country
        self._machines: Final = machines
        self._expected: Final = expected
        self._chance: Final = chance
        self._verdict: Final = verdict
        self._struck: Final = struck
        self._one_import: Final = one_import
        self._open = 0
        self._plan: Sequence[tuple[float, Callable[[], None], str]] = ()

    @property
    def open_ends(self) -> int:
        """Changes that are not everywhere yet."""
        return self._open

    def plan(self, seconds: float) -> None:
        """Draw what will change within so many seconds; the oracle is told before it begins."""
        chance, agencies = self._chance, sorted(self._country.host_of)
        closed = chance.sample(agencies, min(CLOSINGS, max(0, len(agencies) - 3)))
        locked = chance.sample([one for one in agencies if one not in closed], LOCKS)
        rotated = chance.sample(sorted(self._machines), min(ROTATIONS, len(self._machines)))
        self._expected.closed.update(closed)
        self._expected.locked.update(locked)
        moments: list[tuple[float, Callable[[], None], str]] = []
        for agency in locked:
            for at, state in zip(sorted((chance.random(), chance.random())), LOCK_AND_UNLOCK, strict=True):
                moments.append((at, partial(self._state, agency, state), ""))
        moments += [(0.5 + chance.random() / 2, partial(self._state, one, RecordState.CLOSED), "") for one in closed]
        moments += [(chance.random(), partial(self._rotate, one), one) for one in rotated]
        self._plan = sorted(((at * seconds * CALM_AFTER, act, one) for at, act, one in moments), key=lambda row: row[0])
        self._open = len(self._plan)

    async def run(self) -> None:
        """Publish each change at its time, and carry it to every node."""
        async with trio.open_nursery() as nursery:
            for at, publish, rotated in self._plan:
                await trio.sleep_until(at)
                publish()
                tree = self._country.tree
                nursery.start_soon(self._change, tree.file, tree.signed[-1].digest, rotated)

    # --- the registrar ------------------------------------------------------------------------

    def _state(self, agency: str, state: RecordState) -> None:
        tree = self._country.tree
        self._country.set_clock(EPOCH_MS + virtual_ms())
        tree.publish(tree.next_agency(agency, state=state))
        self._struck[f"agency_{state.name.lower()}"] += 1
        self._verdict.note("published", agency, state.name)

    def _rotate(self, centre: str) -> None:
        self._country.rotate(centre, EPOCH_MS + virtual_ms())
        self._struck["keys_rotated"] += 1
        self._verdict.note("published", centre, "keys")

    def _revoke(self, centre: str) -> None:
        """What the old key signed and nobody has taken yet must be signed again."""
        self._country.revoke(centre, EPOCH_MS + virtual_ms())
        self._struck["keys_revoked"] += 1
        self._verdict.note("published", centre, "revoked")

    # --- the operators ------------------------------------------------------------------------

    async def _change(self, file: bytes, digest: bytes, rotated: str) -> None:
        await self._carry(file, digest, rotated)
        self._open -= 1

    async def _carry(self, file: bytes, digest: bytes, rotated: str) -> None:
        one = self._chance.choice(sorted(self._machines)) if self._one_import else ""
        async with trio.open_nursery() as nursery:
            for name, machine in self._machines.items():
                bring = self._bring if one in {"", name} else self._hear
                nursery.start_soon(bring, machine, file if bring == self._bring else digest, name == rotated)

    async def _bring(self, machine: Machine, file: bytes, rotates: bool) -> None:
        await trio.sleep(self._chance.expovariate(1 / TRAVEL_SECONDS))
        while not await self._imported(machine, file):
            await trio.sleep(AGAIN_SECONDS * (0.5 + self._chance.random()))
            await machine.alive.wait()
        self._verdict.note("imported", machine.name)
        await self._known(machine, rotates)

    async def _hear(self, machine: Machine, digest: bytes, rotates: bool) -> None:
        """Nobody imports it here: other nodes tell it, durably."""
        while machine.node is None or not machine.node.room.index.view.was_accepted(digest):
            await trio.sleep(AGAIN_SECONDS)
            await machine.alive.wait()
        self._struck["heard_of_a_change"] += 1
        self._verdict.note("heard", machine.name)
        await self._known(machine, rotates)

    async def _known(self, machine: Machine, rotates: bool) -> None:
        """The machine's node knows the change; if its own keys rotated, it signs with the new one."""
        if rotates:
            await trio.sleep(self._chance.random() * TRAVEL_SECONDS)
            self._country.take_up(machine.name)
            machine.stop()  # the next life signs with the new key
            await trio.sleep(self._chance.random() * TRAVEL_SECONDS)
            self._revoke(machine.name)
            tree = self._country.tree
            await self._carry(tree.file, tree.signed[-1].digest, "")

    async def _imported(self, machine: Machine, file: bytes) -> bool:
        """Whether the node has taken a directory file, durably."""
        node, taken = machine.node, False
        if node is None:
            return False
        with trio.CancelScope() as scope, machine.calling(scope), suppress(StoreError):
            result = await node.services.take_directory(OPERATOR, file)
            taken = True
            for rejected in result.rejected:
                self._verdict.objects(Sentence.REFUSED, f"{machine.name} rejects {rejected.about}: {rejected.error}")
        return taken
