"""The counter at which one agency's software meets its node: what every desk can do.

`service_desk.py` calls the service functions, `api_desk.py` comes through the ASGI app (DESIGN
§8). A call that the node's death interrupts raises `NodeGone`, as a broken connection would.
Whatever is shown here must be durable already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from node.daemon import Node
from tests.sim.machine import Machine
from tests.sim.notebook import Sending
from tests.sim.verdict import Verdict
from tests.sim.witness import Witness

T = TypeVar("T")

RIGHTS: Final = frozenset({"send", "receive", "report"})
PAGE: Final = 20
REASON: Final = "Không thuộc thẩm quyền"
MEDIA_TYPE: Final = "application/octet-stream"

Outcomes = dict[str, tuple[str, tuple[int, ...]]]
"""Recipient → (state, statuses in order)."""


class NodeGone(Exception):
    """There is no node to ask, or it died before it answered."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One line of the inbox."""

    consignment: str
    agency: str
    subject: str


class Desk(ABC):
    """One system's calls. Ids are hexadecimal here."""

    def __init__(self, machine: Machine, agency: str, verdict: Verdict) -> None:
        self.machine: Final = machine
        self.agency: Final = agency
        self.witness: Final = Witness(machine.disk, verdict)

    async def opened(self) -> None:
        """Return when there is a node to ask."""
        await self.machine.alive.wait()

    # --- uploads ------------------------------------------------------------------------------

    @abstractmethod
    async def uploaded(self, upload_id: str) -> tuple[int, bool]:
        """How many bytes of an upload are durable, and whether it is complete. 0 when it is not known."""

    @abstractmethod
    async def upload(self, upload_id: str, offset: int, total: int, pieces: AsyncGenerator[bytes, None]) -> int:
        """Bring bytes of a part from an offset on; how many are durable then."""

    # --- documents ----------------------------------------------------------------------------

    @abstractmethod
    async def submit(self, sending: Sending) -> str:
        """Hand a document in, its uploads being complete; its id."""

    @abstractmethod
    async def outcomes(self, document: str) -> Outcomes:
        """State and statuses of a document per recipient."""

    @abstractmethod
    async def news(self, cursor: str, wait_s: float) -> tuple[str, frozenset[str]]:
        """Documents that something happened to, behind a cursor."""

    # --- consignments -------------------------------------------------------------------------

    @abstractmethod
    async def arrivals(self, cursor: str, wait_s: float) -> tuple[list[Seen], str]:
        """Uncollected consignments behind a cursor."""

    @abstractmethod
    async def fetch(self, consignment: str) -> tuple[bytes, ...]:
        """SHA-256 of every part, from the plain bytes."""

    @abstractmethod
    async def look_at(self, consignment: str) -> None:
        """Open one consignment."""

    @abstractmethod
    async def collect(self, consignment: str) -> int:
        """Confirm that it is safely taken; the link's place in the chain."""

    @abstractmethod
    async def answer(self, consignment: str, code: int, key: str) -> int:
        """Send a status; the link's place in the chain."""

    # --- pieces -------------------------------------------------------------------------------

    async def call(self, ask: Callable[[Node], Awaitable[T]]) -> T:
        """Ask the node that lives now. Raises: NodeGone."""
        node = self.machine.node
        if node is None:
            raise NodeGone
        with trio.CancelScope() as scope, self.machine.calling(scope):
            return await ask(node)
        raise NodeGone
