"""What must hold of the directory, on every honest node, at every moment and in the end.

Sees what is durable on the disks (`durable.py`), what the registrars said (`realm.py`), who is admitted and who
is blamed; nothing that the code under test computes about the directory decides here. Trees are
computed again as their definition reads (`tests/support/tree_reference.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from protocol.directory import NODE
from protocol.directory_kinds import (
    DirectoryFork,
    DirectoryHistory,
    DirectoryNumber,
    DirectoryPending,
    DirectoryThing,
    Subject,
)
from protocol.limits import DAY_MS
from protocol.prefix_tree import tree_key
from protocol.signing import Signed
from tests.sim.durable import Durable
from tests.sim.environment import virtual_ms
from tests.sim.machine import Machine
from tests.sim.realm import About, Realm, Said
from tests.sim.registrars import FORKED, TAKEN_OVER, Registrars
from tests.sim.verdict import Sentence, Verdict
from tests.support.tree_reference import tree

SUBJECTS: Final = (Subject.CENTRE, Subject.AGENCY)
BACKLOG_MAX: Final = 8_000
LATE_MAX: Final = 20_000
STEADY_SECONDS: Final = 30.0
"""A node that lives so long has taken up the directory on its disk."""


class DirectoryOracle:
    """`look` now and then, `judge` at the end."""

    def __init__(
        self,
        realm: Realm,
        machines: Mapping[str, Machine],
        verdict: Verdict,
        registrars: Callable[[], Registrars],
        *,
        older: frozenset[str],
    ) -> None:
        self._realm: Final = realm
        self._machines: Final = machines
        self._verdict: Final = verdict
        self._registrars: Final = registrars
        self._older: Final = older
        self._ranks: Final[dict[tuple[str, About], tuple[DirectoryHistory, Any]]] = {}
        self._first_seen: Final[dict[str, int]] = {}
        self.delayed = 0
        """Nodes at which a take-over waited for its day."""

    # --- at every moment ----------------------------------------------------------------------

    def look(self) -> None:
        """What must hold at every moment."""
        for name, machine in self._machines.items():
            self._never_back(name, machine)
            self._takeover_waits(name, machine)
            if machine.node is not None:
                self._bounds(machine)
                self._nobody_honest_is_blamed(name, machine)
                self._honest_are_admitted(name, machine)

    def _never_back(self, name: str, machine: Machine) -> None:
        for subject in SUBJECTS:
            for row in Durable(machine.disk).all(DirectoryHistory, int(subject)):
                about = (Subject(row.subject), row.code)
                known = self._ranks.get((name, about))
                if known is not None and known[0] is row:
                    continue
                newest = row.versions[0].digest
                said = self._realm.said.get(newest)
                if said is None:
                    self._verdict.objects(Sentence.WRONG, f"{name} believes of {row.code} what nobody said")
                    continue
                rank = _rank(said)
                back = known is not None and rank < known[1]
                self._verdict.require(not back, Sentence.ROLLED_BACK, f"{name}: {row.code} at {said}")
                self._ranks[(name, about)] = (row, rank)

    def _takeover_waits(self, name: str, machine: Machine) -> None:
        """In force nowhere before a day has passed since this node first saw it."""
        takeover = self._registrars().takeover
        if takeover is None:
            return
        durable = Durable(machine.disk)
        if durable.get(DirectoryThing, takeover.digest) is not None and name not in self._first_seen:
            self._first_seen[name] = virtual_ms()
            self.delayed += 1
        history = durable.get(DirectoryHistory, int(Subject.AGENCY), TAKEN_OVER)
        if history is None or history.versions[0].digest != takeover.digest:
            return
        waited_ms = virtual_ms() - self._first_seen.get(name, virtual_ms())
        self._verdict.require(
            waited_ms >= DAY_MS - 15 * 60_000, Sentence.TAKEN_OVER, f"{name} after {waited_ms // 60_000} minutes"
        )
        self._verdict.require(
            self._registrars().back is None, Sentence.TAKEN_OVER, f"{name} although it was taken back"
        )

    def _bounds(self, machine: Machine) -> None:
        node = machine.node
        assert node is not None
        room = node.room
        for what, count, most in (
            ("steps wait", node.pump.committer.backlog, BACKLOG_MAX),
            ("rows wait for the index", room.index.late, LATE_MAX),
            ("told things wait at the door", room.door.waiting, 1_000),
            ("peers are remembered by sync", len(room.sync.levels), len(self._realm.centres)),
            ("alarms are shown", len(room.alarms.all()), 1_000),
        ):
            self._verdict.require(count <= most, Sentence.BOUND, f"{count} {what} at {machine.name}")

    def _nobody_honest_is_blamed(self, name: str, machine: Machine) -> None:
        node = machine.node
        assert node is not None
        for other in self._realm.honest:
            conduct = node.conducts.of(other)
            self._verdict.require(
                not conduct.faults, Sentence.BLAMED, f"{name} blames {other} for {conduct.fault} ({conduct.faults})"
            )

    def _honest_are_admitted(self, name: str, machine: Machine) -> None:
        transport = machine.transport
        if transport is None or machine.lived_seconds < STEADY_SECONDS:
            return
        known = {row.code for row in Durable(machine.disk).all(DirectoryHistory, int(Subject.CENTRE))}
        for other in self._realm.honest:
            admitted = other == name or transport.admitted.get(other) == self._realm.centre(other).peer_id
            self._verdict.require(admitted or other not in known, Sentence.UNADMITTED, f"{name} does not admit {other}")

    # --- whether all is settled ---------------------------------------------------------------

    def open_ends(self) -> list[str]:
        """What is not yet as it must be in the end."""
        names = [name for name in self._machines if name not in self._older]
        asleep = [name for name, machine in self._machines.items() if machine.node is None]
        if asleep:
            return [f"{', '.join(asleep[:3])} not running"]
        digests = {name: node.room.index.digest() for name in names if (node := self._machines[name].node)}
        if b"" in digests.values() or len(set(digests.values())) > 1:
            return [f"{len(set(digests.values()))} different heads digests"]
        return [*self._unmeant(names[:1])]

    def fork_is_known(self) -> bool:
        """Whether every node that can has a proof on its disk."""
        if self._registrars().open_ends:
            return False
        names = [name for name in self._machines if name not in self._older]
        return all(Durable(self._machines[name].disk).get(DirectoryFork, FORKED, 1) is not None for name in names)

    def _unmeant(self, names: Iterable[str]) -> Iterable[str]:
        """Records that are not what their registrars said last."""
        for name in names:
            durable = Durable(self._machines[name].disk)
            for (subject, code), digest in self._realm.meant.items():
                history = durable.get(DirectoryHistory, int(subject), code)
                if history is None or history.versions[0].digest != digest:
                    yield f"{name}: {subject.name.lower()} {code} is not what was said last"

    # --- in the end -----------------------------------------------------------------------------

    def judge(self) -> None:
        """What must hold when all is settled."""
        for text in self._unmeant(self._machines):
            self._verdict.objects(Sentence.DIVERGED, text)
        trees = self._trees()
        for name, machine in self._machines.items():
            self._nothing_invented(name, machine)
            if name not in self._older:
                self._same_logs(name, machine, trees)
                self._forks_are_known(name, machine)
                self._takeover_alarms(name, machine)
        self._same_pending()

    def _current(self) -> dict[str, int]:
        """The newest generation of each registrar."""
        newest: dict[str, int] = {}
        for said in self._realm.said.values():
            newest[said.registrar] = max(said.generation, newest.get(said.registrar, 0))
        return newest

    def _logs(self) -> dict[str, dict[int, Said]]:
        """What stands under each number of each registrar's newest generation."""
        newest = self._current()
        logs: dict[str, dict[int, Said]] = {}
        for said in self._realm.said.values():
            if said.generation == newest[said.registrar]:
                logs.setdefault(said.registrar, {})[said.number] = said
        return logs

    def _trees(self) -> dict[str, bytes]:
        """The root of the prefix tree over what each registrar said, by the definition."""
        roots: dict[str, bytes] = {}
        for registrar, log in self._logs().items():
            leaves: dict[bytes, bytes] = {}
            for _, said in sorted(log.items()):
                if said.about[1]:
                    leaves[tree_key(*said.about)] = said.digest
            roots[registrar] = tree(leaves)
        return roots

    def _same_logs(self, name: str, machine: Machine, trees: Mapping[str, bytes]) -> None:
        """Every number is known, and the tree that the node tells is the one that was signed."""
        node = machine.node
        assert node is not None
        durable = Durable(machine.disk)
        for registrar, log in self._logs().items():
            generation = self._current()[registrar]
            rows = {row.number: row.digest for row in durable.all(DirectoryNumber, registrar, generation)}
            wrong = [number for number, said in log.items() if rows.get(number) != said.digest]
            more = sorted(set(rows) - set(log))
            self._verdict.require(
                not wrong and not more, Sentence.DIVERGED, f"{name}: log of {registrar}: wrong {wrong}, too many {more}"
            )
            told = node.room.index.log(registrar)
            self._verdict.require(
                told is not None and told.head().root == trees[registrar],
                Sentence.DIVERGED,
                f"{name} tells another tree of {registrar}",
            )

    def _nothing_invented(self, name: str, machine: Machine) -> None:
        """Nothing lies on the disk that nobody entitled has said."""
        for row in Durable(machine.disk).all(DirectoryThing):
            if row.digest in self._realm.things:
                continue
            signed = Signed.from_wire(row.wire, bytes_max=len(row.wire))
            honest = signed.format == NODE.name and self._is_own_word(signed)
            self._verdict.require(
                honest, Sentence.WRONG, f"{name} keeps a {signed.format} that nobody entitled has signed"
            )

    def _is_own_word(self, signed: Signed) -> bool:
        """A node record signed with a key of its own centre."""
        value = NODE.decode(signed.statement)
        keys = self._realm.keys_of(value.centre)
        return any(item.key_id in keys for item in signed.signatures)

    def _forks_are_known(self, name: str, machine: Machine) -> None:
        forked = self._registrars().forked
        forks = {(row.registrar, row.generation) for row in Durable(machine.disk).all(DirectoryFork)}
        expected = {(FORKED, 1)} if forked else set()
        self._verdict.require(forks == expected, Sentence.UNPROVEN, f"{name} knows forks {forks}")
        if forked:
            self._require_alarm(name, machine, "directory_generation_forked", f"{FORKED}/1")

    def _takeover_alarms(self, name: str, machine: Machine) -> None:
        if self._registrars().takeover is not None and name == self._realm.founded_at[TAKEN_OVER]:
            self._require_alarm(name, machine, "directory_pending", TAKEN_OVER)

    def _require_alarm(self, name: str, machine: Machine, code: str, about: str) -> None:
        heard = any(
            line["event"] == "alarm" and line.get("code") == code and line.get("subject") == about
            for line in machine.lines
        )
        self._verdict.require(heard, Sentence.UNPROVEN, f"{name} has not alarmed about {code} of {about}")

    def _same_pending(self) -> None:
        """What waits for its day waits everywhere."""
        for name in self._machines:
            if name in self._older:
                continue
            rows = Durable(self._machines[name].disk).all(DirectoryPending)
            takeover = self._registrars().takeover
            wrong = [row.code for row in rows if takeover is None or row.digest != takeover.digest]
            self._verdict.require(not wrong, Sentence.DIVERGED, f"{name}: {wrong} still wait for their day")


def _rank(said: Said) -> tuple[Any, ...]:
    """The order of versions, `protocol/spec/trust.md` §5."""
    roles = {"root": 0, "level-1": 1}
    height = roles.get(said.registrar, 2 + said.registrar.count("."))
    return (said.created_ms, -height, said.registrar, said.generation, said.number, said.digest)
