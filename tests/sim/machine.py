"""One machine with its disk, and the lives of the node that runs on it.

A life is one `node.daemon.run_node` with its own environment and transport. It ends by `kill` (the
process dies, the system hangs up for it), `lose_power` (the disk forgets, nobody is told) or
`stop` (cancelled, as a signal would). What it does after its death reaches nobody.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, Protocol

import trio

from node.daemon import Node, NodeSettings, run_node
from node.keyring import Keyring
from node.logs import LineSink, make_log
from node.metrics import Metrics
from node.tasks import start
from protocol.errors import StoreError
from protocol.record import Change
from protocol.step import Settings
from storage.store import create_on, open_on
from tests.sim.disk import Disk
from tests.sim.environment import SimEnvironment
from tests.sim.network import MemoryNetwork, MemoryTransport
from tests.sim.older_release import older_transport
from tests.sim.verdict import Sentence, Verdict
from tests.support.tree import Centre

FAULTS_OF_DISK: Final = frozenset({"disk_full", "store_io", "commit_failed", "store_read_only"})
"""Codes with which a node may end while its disk misbehaves."""
ROLL_BYTES: Final = 256 * 1024
"""Segments are small here, so that they roll and are swept within a short run."""


class Household(Protocol):
    """What machines ask of whoever knows who is who."""

    @property
    def anchor(self) -> bytes:
        """Digest of the first root."""
        ...

    @property
    def first_changes(self) -> tuple[Change, ...]:
        """What the import of the founding writes to a new store."""
        ...

    def centre(self, code: str) -> Centre:
        """A centre with the keys of its founding."""
        ...

    def keyring(self, code: str) -> Keyring:
        """What the keystore of a centre's node holds now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every machine of a world needs to know."""

    country: Household
    network: MemoryNetwork
    verdict: Verdict
    settings: Mapping[str, Any]
    delivery: Mapping[str, Settings] = field(default_factory=dict)
    """Centre → what its operator chose about delivery, where that is not the default."""
    addresses: Mapping[str, tuple[str, ...]]
    older: frozenset[str] = frozenset()
    """Centres whose nodes are of the release before this one."""


class Machine:
    """Where one centre's node lives, dies and lives again."""

    def __init__(self, centre: Centre, plan: Plan, chance: Random) -> None:
        self.centre: Final = centre
        self.disk: Final = Disk(chance)
        self.node: Node | None = None
        self.offset_ms = 0
        self.slow_down = 1.0
        self.may_live = trio.Event()
        self.may_live.set()
        self.alive = trio.Event()
        """Set while there is a node to ask."""
        self.lives = 0
        self.lines: Final[list[dict[str, Any]]] = []
        """What the node logged at level error, over all lives; everything when a story is told."""
        self._plan: Final = plan
        self._chance: Final = chance
        self._scope: trio.CancelScope | None = None
        self._environment: SimEnvironment | None = None
        self._transport: MemoryTransport | None = None
        self._callers: Final[set[trio.CancelScope]] = set()
        self._over = trio.Event()
        self._over.set()
        self._dying = False
        self._born = 0.0

    @property
    def name(self) -> str:
        """The centre's code."""
        return self.centre.code

    @property
    def transport(self) -> MemoryTransport | None:
        """The network of the present life."""
        return self._transport

    @property
    def lived_seconds(self) -> float:
        """Since when there is a node to ask; 0 while there is none."""
        return trio.current_time() - self._born if self.node is not None else 0.0

    def install(self, *, joins: bool = False) -> None:
        """A new store with the directory in it, as `truc init` and `truc directory import` leave it.

        `joins`: nothing was imported yet.
        """
        store = create_on(
            self.disk.key_value(), self.disk.folder(), incarnation=self._chance.randbytes(16), roll_bytes=ROLL_BYTES
        )
        if not joins:
            store.write(self._plan.country.first_changes)
        self.disk.stop()

    @contextmanager
    def calling(self, scope: trio.CancelScope) -> Iterator[None]:
        """A caller waits for the node: its death ends the call."""
        self._callers.add(scope)
        try:
            yield
        finally:
            self._callers.discard(scope)

    # --- one life -----------------------------------------------------------------------------

    async def live(self) -> None:
        """Run the node until it is killed or stopped."""
        await self._over.wait()
        self._over, self._dying = trio.Event(), False
        self.lives += 1
        self._plan.verdict.note("life", self.name, self.lives)
        try:
            with trio.CancelScope() as self._scope:
                await self._run()
        except Exception as error:  # noqa: BLE001  # judged below: nothing a node raises is lost
            self._judge(error)
        finally:
            self._end()

    async def _run(self) -> None:
        network, name = self._plan.network, self.name
        self._environment = SimEnvironment(self._chance, offset_ms=self.offset_ms)
        self._environment.slow_down = self.slow_down
        make = older_transport if name in self._plan.older else MemoryNetwork.transport
        self._transport = make(network, self.centre.peer_id, self._plan.addresses[name], centre=name)
        store = open_on(self.disk.key_value(), self.disk.folder(), roll_bytes=ROLL_BYTES)
        async with trio.open_nursery() as nursery:
            self.node = await start(nursery, self._serve, store)
            self._born = trio.current_time()
            if not self._dying:
                self.alive.set()

    async def _serve(self, store: Any, *, task_status: Any) -> None:
        environment, transport = self._environment, self._transport
        assert environment is not None and transport is not None
        story = self._plan.verdict.story is not None
        sink = _Sink(self.lines)
        await run_node(
            settings=self._settings(),
            environment=environment,
            transport=transport,
            store=store,
            keyring=self._plan.country.keyring(self.name),
            metrics=Metrics(),
            log=make_log(LineSink(sink), environment, level="info" if story else "error"),
            task_status=task_status,
        )

    def _settings(self) -> NodeSettings:
        others = {centre: addresses for centre, addresses in self._plan.addresses.items() if centre != self.name}
        return NodeSettings(
            centre=self.name,
            anchor=self._plan.country.anchor,
            addresses=self._plan.addresses[self.name],
            contacts=others,
            delivery=self._plan.delivery.get(self.name, Settings()),
            **{"announce": False, **self._plan.settings},  # told apart from what is delivered
        )

    # --- its end ------------------------------------------------------------------------------

    def kill(self) -> None:
        """The process dies at this very moment."""
        self._die(silently=False)
        self.disk.stop()

    def lose_power(self) -> None:
        """The machine dies: the disk forgets what was not synced, and nobody is told."""
        self._die(silently=True)
        self.disk.crash()

    def stop(self) -> None:
        """A signal asks the node to end in order."""
        self._dying = True
        if self._scope is not None:
            self._scope.cancel()

    def _die(self, *, silently: bool) -> None:
        self._dying = True
        if self._environment is not None:
            self._environment.kill()
        if self._transport is not None:
            self._transport.kill(silently=silently)
        if self._scope is not None:
            self._scope.cancel()
        self._end_calls()

    def _end(self) -> None:
        self.node = None
        self._scope = self._environment = self._transport = None
        self.disk.stop()
        self._end_calls()
        self._over.set()

    def _end_calls(self) -> None:
        self.node = None
        if self.alive.is_set():
            self.alive = trio.Event()
        for scope in self._callers:
            scope.cancel()

    def _judge(self, error: Exception) -> None:
        """A node that ends by itself must have had a disk that explains it."""
        codes = {cause.code for cause in _leaves(error) if isinstance(cause, StoreError)}
        explained = bool(codes) and all(isinstance(cause, StoreError) for cause in _leaves(error))
        if not self._dying and not (explained and codes <= FAULTS_OF_DISK):
            self._plan.verdict.objects(Sentence.BROKEN, f"{self.name} ended: {_places(error)}")

    # --- small things that happen to it ---------------------------------------------------------

    def step_clock(self, by_ms: int) -> None:
        """Move the wall clock of the machine."""
        self.offset_ms += by_ms
        if self._environment is not None:
            self._environment.step_clock(by_ms)

    def drag(self, factor: float) -> None:
        """Make the disk slower, or well again (1)."""
        self.slow_down = factor
        if self._environment is not None:
            self._environment.slow_down = factor


class _Sink(io.StringIO):
    """Keeps log lines as values."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        super().__init__()
        self._lines: Final = lines

    def write(self, text: str) -> int:
        self._lines.extend(json.loads(line) for line in text.splitlines() if line.strip())
        return len(text)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


def _places(error: BaseException) -> str:
    """Each cause with the innermost places of our own code."""
    told: list[str] = []
    for leaf in _leaves(error):
        places: list[str] = []
        trace = leaf.__traceback__
        while trace is not None:
            file = trace.tb_frame.f_code.co_filename
            if "site-packages" not in file:
                places.append(f"{file.rpartition('/')[2]}:{trace.tb_lineno}")
            trace = trace.tb_next
        told.append(f"{leaf!r} at {' '.join(places[-4:])}")
    return "; ".join(told)
