"""One node's inner parts on a workbench: a real pump and committer over a `Side`, on virtual time.

    async with Bench(world.a).running() as bench: await bench.pump.ask(...)

What would leave the node is kept in `sent`, `told` and `pulls`; `Pipe` is a stream between two tests' ends.
"""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any, Final

import trio

from node.committer import Committer
from node.logs import LineSink, Log, make_log
from node.metrics import Metrics
from node.pump import Pump
from node.tasks import start
from protocol.errors import NetworkError, StoreError
from protocol.step import BodyRequest, Event, Here, Send, View
from tests.sim.environment import SimEnvironment
from tests.support.delivery import Side


class Bench:
    """Pump and committer of one side, and everything that they let out."""

    def __init__(self, side: Side) -> None:
        self.side: Final = side
        self.environment: Final = SimEnvironment(Random(1))
        self.metrics: Final = Metrics()
        self.lines: Final = io.StringIO()
        self.log: Final[Log] = make_log(LineSink(self.lines), self.environment)
        view = View(records=side.store.view, directory=side.view.directory)
        self.pump: Final = Pump(view=view, here=self.here, log=self.log)
        self.sent: Final[list[Send]] = []
        self.told: Final[list[Event]] = []
        self.pulls: Final[list[BodyRequest]] = []
        self.failures: Final[list[StoreError]] = []
        self.pump.send = self.sent.append
        self.pump.pull = self.pulls.append
        self.pump.listeners.append(self.told.append)
        self.committer: Final = Committer(
            store=side.store,
            environment=self.environment,
            signers=side.signers,
            metrics=self.metrics,
            log=self.log,
            let_out=self.pump.let_out,
            on_failure=self.failures.append,
        )
        self.pump.committer = self.committer

    def here(self) -> Here:
        """The side at this virtual moment."""
        return replace(self.side.here(), now_ms=self.environment.now_ms())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        """The committer runs as long as this block."""
        async with trio.open_nursery() as nursery:
            await start(nursery, self.committer.run)
            yield self
            nursery.cancel_scope.cancel()

    def host_of(self, agency: str) -> str | None:
        """The centre that hosts an agency now."""
        party = self.side.view.directory.party(agency, at_ms=self.environment.now_ms())
        return None if party is None else party.centre

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        lines = [json.loads(line) for line in self.lines.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    @property
    def batches(self) -> int:
        """Batches written so far."""
        return int(self.metrics.commits._value.get())


class Pipe:
    """A `ByteStream` whose other end is in the test's hands: `feed` what is read, look at `written`."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.was_closed = False
        self.was_reset = False
        self.over: Final = trio.Event()
        """Set when this end was reset."""
        self.stuck = False
        """Writing waits until `unstick`."""
        self._held = bytearray()
        self._over = False
        self._changed = trio.Event()

    def feed(self, data: bytes) -> None:
        """Bytes of the other side."""
        self._held += data
        self._wake()

    def end(self) -> None:
        """The other side closes."""
        self._over = True
        self._wake()

    def unstick(self) -> None:
        """The other side reads again."""
        self.stuck = False
        self._wake()

    async def write(self, data: bytes) -> None:
        if self.was_reset:
            raise NetworkError("stream_broken")
        while self.stuck and not self.was_reset:
            await self._changed.wait()
        self.written += data
        self._wake()
        await trio.lowlevel.checkpoint()

    async def read(self, bytes_max: int) -> bytes:
        while not self._held and not self._over and not self.was_reset:
            await self._changed.wait()
        if self.was_reset:
            raise NetworkError("stream_broken")
        await trio.lowlevel.checkpoint()
        data = bytes(self._held[:bytes_max])
        del self._held[:bytes_max]
        return data

    async def close(self) -> None:
        self.was_closed = True
        await trio.lowlevel.checkpoint()

    async def reset(self) -> None:
        self.was_reset = True
        self.over.set()
        self._wake()
        await trio.lowlevel.checkpoint()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
