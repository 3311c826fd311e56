"""What registrars do in a directory world, well and badly, and the operators who carry it to nodes.

Every act is one of the registrars' own tool (`office.py`). What is signed is imported at one or two nodes, as
files travel; from there it has to find its way. Honest acts are remembered as what a record is to be in
the end; a fork, and a take-over that nobody endorsed, are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Final

import trio

from node.authority import Authority
from node.authority_recovery import recover
from node.authority_trust import make_urgent
from node.requests import key_entry
from protocol.directory import LOCK, Lock, Names, RecordState
from protocol.directory_file import write_file
from protocol.directory_import import Rejected
from protocol.directory_kinds import DirectoryThing, Subject
from protocol.errors import NotNow, StoreError
from protocol.signing import Signed, Signer, sign
from tests.sim.changes import OPERATOR
from tests.sim.durable import Durable
from tests.sim.environment import EPOCH_MS, virtual_ms
from tests.sim.machine import Machine
from tests.sim.office import Office
from tests.sim.realm import Realm
from tests.sim.verdict import Sentence, Verdict

TRAVEL_SECONDS: Final = 10.0
"""How long a file takes to an operator, on average."""
AGAIN_SECONDS: Final = 20.0
FORKED: Final = "H01"
"""The registrar whose folder is copied."""
TAKEN_OVER: Final = "H04"
"""The agency that level 1 moves without asking anybody."""
LEFT_ALONE: Final = frozenset({"H01", "H02", "H03", "H04", "H05"})
"""Registrars, the victim of the take-over, and those who exchange documents."""
TAKEN_BACK_SECONDS: Final = 6 * 3_600.0
FORGIVEN: Final = frozenset({"directory_generation_forked", "directory_generation", "directory_fork"})
"""With these an import may end where a fork is about."""


class Registrars:
    """All of them, and everybody's operator. `struck` counts acts."""

    def __init__(
        self,
        realm: Realm,
        machines: Mapping[str, Machine],
        chance: Random,
        verdict: Verdict,
        struck: Counter[str],
        nursery: trio.Nursery,
        *,
        older: frozenset[str],
    ) -> None:
        self._realm: Final = realm
        self._machines: Final = machines
        self._chance: Final = chance
        self._verdict: Final = verdict
        self._struck: Final = struck
        self._nursery: Final = nursery
        self._older: Final = older
        self._open = 0
        self._names = 0
        self._waiting: Final[set[str]] = set()
        """Agencies whose move is still to be endorsed. Who takes it back meanwhile has two honest endings: where the
        endorsement came first the way back waits for its day (`protocol/spec/trust.md` §5)."""
        self._twin: Office | None = None
        self.takeover: Signed | None = None
        """The version that nobody endorsed, once it was handed out."""
        self.back: Signed | None = None
        """The version that takes it back."""
        self.forked = False
        self._acts: Final[dict[str, Callable[[], Awaitable[None] | None]]] = {
            "rename": self._rename,
            "rename_below": self._rename_below,
            "overtaken": self._overtaken,
            "register": self._register,
            "register_deep": self._register_deep,
            "lock": self._lock,
            "close": self._close,
            "move_endorsed": self._move_endorsed,
            "endorsed_later": self._endorsed_later,
            "move_urgent": self._move_urgent,
            "rotate": self._rotate,
            "self_lock": self._self_lock,
            "heartbeat": self._heartbeat,
        }

    @property
    def open_ends(self) -> int:
        """Acts that are not over, and files that are still on their way to a node."""
        return self._open

    @staticmethod
    def now_ms() -> int:
        """The registrars' clock, which is right."""
        return EPOCH_MS + virtual_ms()

    async def run(self, seconds: float, count: int) -> None:
        """So many acts, spread over this time."""
        kinds = [*sorted(self._acts)] * (count // len(self._acts) + 1)
        self._chance.shuffle(kinds)
        moments = sorted(self._chance.random() * seconds for _ in range(count))
        begun = trio.current_time()
        for moment, kind in zip(moments, kinds, strict=False):
            await trio.sleep_until(begun + moment)
            done = self._acts[kind]()
            if done is not None:
                self._open += 1
                self._nursery.start_soon(self._finish, done)
            self._struck[f"act {kind}"] += 1
            self._verdict.note("act", kind)

    async def _finish(self, done: Awaitable[None]) -> None:
        await done
        self._open -= 1

    # --- honest acts --------------------------------------------------------------------------

    def _act(self, office: Office, do: Callable[[Authority], object]) -> list[Signed]:
        """One act, and what is new by it."""
        self._realm.clock_ms = max(self._realm.clock_ms, self.now_ms())
        office.act(self.now_ms(), do, self.export)
        return self._realm.take_stock(office)

    def _name(self) -> Names:
        self._names += 1
        return Names(vi=f"Tên số {self._names}")

    def _some(self) -> str:
        """An ordinary agency that level 1 registered."""
        realm = self._realm
        codes = [
            code for code in sorted(realm.host_of)
            if code not in LEFT_ALONE
            and code not in self._waiting and not code.startswith(("H01.", "H02."))
            and realm.central.authority.view.agency(code).state is not RecordState.CLOSED
        ]  # fmt: skip
        return self._chance.choice(codes)

    def _other_host(self, code: str) -> str:
        host = self._realm.host_of[code]
        return self._chance.choice([one for one in self._realm.honest if one != host and one in self._machines])

    def _rename(self) -> None:
        code = self._some()
        self.carry(
            self._act(self._realm.central, lambda tool: tool.change_agency(code, self.now_ms(), names=self._name()))
        )

    def _rename_below(self) -> None:
        office = self._realm.offices["H02"]
        self.carry(self._act(office, lambda tool: tool.change_agency("H02.9", self.now_ms(), names=self._name())))

    async def _overtaken(self) -> None:
        """The file with the first of two changes is brought after everybody knows the second."""
        code = self._some()
        first, second = (
            self._act(self._realm.central, lambda tool: tool.change_agency(code, self.now_ms(), names=self._name()))
            for _ in range(2)
        )
        self.carry(second)
        await trio.sleep(AGAIN_SECONDS * (1 + self._chance.random()))
        self.carry(first)

    def _register(self) -> None:
        self._register_at("H02")

    def _register_deep(self) -> None:
        """Four levels below the root; not while the body above has forked, whose word would not get through."""
        self._register_at("H01.1")

    def _register_at(self, registrar: str) -> None:
        self._names += 1
        code, host = f"{registrar}.A{self._names}", self._chance.choice(self._realm.founders)
        made = self._act(
            self._realm.offices[registrar],
            lambda tool: tool.register_agency(code=code, names=self._name(), host=host, now_ms=self.now_ms()),
        )
        self._realm.hosts(code, host)
        self.carry(made)

    async def _lock(self) -> None:
        code = self._some()
        for state in (RecordState.LOCKED, RecordState.ACTIVE):
            if self._realm.central.authority.view.agency(code).state is RecordState.CLOSED:
                return
            central = self._realm.central
            self.carry(self._act(central, lambda tool, to=state: tool.change_agency(code, self.now_ms(), state=to)))  # type: ignore[misc]
            await trio.sleep(self._chance.random() * 120)

    def _close(self) -> None:
        code = self._some()
        made = self._act(self._realm.central, lambda tool: tool.close_agency(code, self.now_ms(), successors=("H05",)))
        self.carry(made)

    def _move(self, code: str, to: str, *, urgent: bool = False) -> list[Signed]:
        def do(tool: Authority) -> Signed:
            return tool.change_agency(code, self.now_ms(), host=to, urgent=urgent)

        return self._act(self._realm.central, do)

    def _move_endorsed(self) -> None:
        code = self._some()
        host, to = self._realm.host_of[code], self._other_host(code)
        made = self._move(code, to)
        self._realm.hosts(code, to)
        self.carry(self._endorsed(made, self._realm.signers[host]))

    async def _endorsed_later(self) -> None:
        """Everybody has the version without the endorsement first: the copy has to find its way as well."""
        code = self._some()
        host, to = self._realm.host_of[code], self._other_host(code)
        made = self._move(code, to)
        self._realm.hosts(code, to)
        self.carry(made)
        self._waiting.add(code)
        signer = self._realm.signers[host]  # the key of the version's date, as the file was made for it
        await trio.sleep(self._chance.random() * 120)
        self.carry(self._endorsed(made, signer))
        self._waiting.discard(code)

    def _endorsed(self, made: Sequence[Signed], signer: Signer) -> list[Signed]:
        central = self._realm.central
        records = [
            central.endorse(signed, signer, self.now_ms()) for signed in made if "checkpoint" not in signed.format
        ]
        self._realm.take_stock(central)
        return [*records, *(signed for signed in made if "checkpoint" in signed.format)]

    def _move_urgent(self) -> None:
        code = self._some()
        to = self._other_host(code)
        made = self._move(code, to)
        self._realm.hosts(code, to)
        if self._realm.central.authority.view.pending(Subject.AGENCY, code) is None:
            self.carry(made)  # it goes back to where it is, from a move that waits: nobody has to agree
            return
        hurried = make_urgent(self._realm.central.authority, code, self.now_ms())
        self._realm.take_stock(self._realm.central)
        self.carry([hurried, *(signed for signed in made if signed.digest != hurried.digest)])

    async def _rotate(self) -> None:
        """A further key beside the old one; the node signs with it when it knows that others may."""
        centre = self._chance.choice([one for one in self._realm.honest if one in self._machines])
        fresh = self._realm.next_signer(centre)

        def do(tool: Authority) -> Signed:
            keys = tool.act(self.now_ms()).centre(centre).keys
            return tool.change_centre(centre, self.now_ms(), keys=(key_entry(fresh.public, self.now_ms()), *keys))

        made = self._act(self._realm.central, do)
        self.carry(self._endorsed(made, self._realm.signers[centre]))
        if centre in self._older:
            self.bring_everything(self._machines[centre])  # it asks nobody for directory records
        await self._known_at(centre, made)
        self._realm.signers[centre] = fresh
        self._machines[centre].stop()

    async def _known_at(self, centre: str, made: Sequence[Signed]) -> None:
        durable = Durable(self._machines[centre].disk)
        while not all(durable.get(DirectoryThing, signed.digest) for signed in made):  # noqa: ASYNC110  # virtual time
            await trio.sleep(AGAIN_SECONDS)

    def _self_lock(self) -> None:
        """An agency locks itself, with its host's key."""
        code = self._some()
        lock = Lock(code=code, created_ms=self.now_ms(), reason="thử")
        signed = sign(LOCK.name, LOCK.encode(lock), self._realm.signers[self._realm.host_of[code]])
        self._realm.remember(signed)
        self._realm.meant[(Subject.LOCK, code)] = signed.digest
        self.carry([signed])

    def _heartbeat(self) -> None:
        self.carry([self._realm.beat(self.now_ms())])

    # --- joining ------------------------------------------------------------------------------

    def register_centre(self, code: str, agency: str) -> None:
        """A new centre with an agency, as its request asks for."""
        request = self._realm.new_centre(code)

        def do(tool: Authority) -> object:
            act = tool.act(self.now_ms())
            act.register_centre(request)
            act.register_agency(code=agency, names=self._name(), host=code)
            return tool.complete(act)

        made = self._act(self._realm.central, do)
        self._realm.hosts(agency, code)
        self.carry(made)

    # --- bad acts -----------------------------------------------------------------------------

    def fork(self) -> None:
        """A folder and its copy give one number to two things, and each is imported elsewhere."""
        office = self._realm.offices[FORKED]
        twin = office.copy(self.now_ms())
        twin.hand_out()
        one = self._act(office, lambda tool: tool.change_agency(f"{FORKED}.9", self.now_ms(), names=Names(vi="Một")))
        twin.act(
            self.now_ms(),
            lambda tool: tool.change_agency(f"{FORKED}.9", self.now_ms(), names=Names(vi="Hai")),
            self.export,
        )
        other = twin.hand_out()
        for signed in other:
            self._realm.remember(signed, meant=False)
        self.forked = True
        self._struck["fork"] += 1
        places = self._chance.sample(self._places(), 2)
        self.carry(one, places[:1])
        self.carry(other, places[1:])

    def open_new_generation(self) -> None:
        """The body above opens the next generation, and the registrar signs everything of its own anew."""
        central, office = self._realm.central, self._realm.offices[FORKED]
        recover(central.authority, FORKED, self.export(), self.now_ms())
        self.carry(self._realm.take_stock(central))
        recover(office.authority, FORKED, self.export(), self.now_ms())
        self.carry(self._realm.take_stock(office))
        self._struck["new_generation"] += 1

    def take_over(self, villain: str) -> None:
        """Level 1 alone moves an agency to a hostile centre."""
        before = dict(self._realm.meant)
        made = self._move(TAKEN_OVER, villain)
        self._realm.meant = before
        self.takeover = next(signed for signed in made if "agency" in signed.format)
        self._struck["take_over"] += 1
        self.carry(made, self._chance.sample(self._places(), 1))

    def take_back(self) -> None:
        """Somebody at level 1 has seen the alarm."""
        made = self._move(TAKEN_OVER, self._realm.host_of[TAKEN_OVER])
        self.back = next(signed for signed in made if "agency" in signed.format)
        self._struck["taken_back"] += 1
        self.carry(made)

    def let_stand(self) -> None:
        """Nobody takes it back: after its day it counts."""
        assert self.takeover is not None
        self._realm.meant[(Subject.AGENCY, TAKEN_OVER)] = self.takeover.digest
        self._struck["take_over_in_force"] += 1

    # --- operators ----------------------------------------------------------------------------

    def _places(self) -> list[str]:
        return [name for name in sorted(self._machines) if name not in self._older]

    def carry(self, things: Sequence[Signed], to: Sequence[str] | None = None) -> None:
        """Have one or two nodes import these."""
        some = self._chance.sample(self._places(), self._chance.choice((1, 1, 2))) if to is None else to
        file = write_file(things)
        for name in some:
            self._open += 1
            self._nursery.start_soon(self._bring, self._machines[name], file)

    def bring_everything(self, machine: Machine) -> None:
        """Have an operator import all there is by now."""
        self._open += 1
        self._nursery.start_soon(self._bring, machine, write_file(self._realm.things.values()))

    async def _bring(self, machine: Machine, file: bytes) -> None:
        await trio.sleep(self._chance.expovariate(1 / TRAVEL_SECONDS))
        while not await self._imported(machine, file):
            await trio.sleep(AGAIN_SECONDS * (0.5 + self._chance.random()))
            await machine.alive.wait()
        self._open -= 1

    async def _imported(self, machine: Machine, file: bytes) -> bool:
        """Whether the node has taken all of it, durably."""
        node, taken = machine.node, False
        if node is None:
            return False
        with trio.CancelScope() as scope, machine.calling(scope), suppress(StoreError):
            result = await node.services.take_directory(OPERATOR, file)
            taken = True
            for rejected in result.rejected:
                if isinstance(rejected.error, NotNow):
                    taken = False  # by a wrong clock, or before what it rests on: the operator comes again
                elif not (self.forked and rejected.error.code in FORGIVEN) and not _is_stale(rejected):
                    self._verdict.objects(
                        Sentence.REFUSED, f"{machine.name} rejects {rejected.about}: {rejected.error}"
                    )
        return taken

    def export(self) -> list[bytes]:
        """All signed things that some node has, as `truc directory export` writes them."""
        return [signed.to_wire() for signed in self._realm.things.values()]


def _is_stale(rejected: Rejected) -> bool:
    """A heartbeat or a self-lock that was overtaken on its way."""
    return rejected.error.code == "directory_rollback" and rejected.about.startswith(("truc/heartbeat", "truc/lock"))


def exported(machine: Machine) -> list[bytes]:
    """What a node's disk has of the directory."""
    return [row.wire for row in Durable(machine.disk).all(DirectoryThing)]
