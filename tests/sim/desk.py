"""The counter at which one agency's software meets its node: the service functions, nothing below.

Calls what the API handlers call (DESIGN §8). A call that the node's death interrupts raises
`NodeGone`, as a broken connection would. Whatever is shown here must be durable already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, TypeVar

import trio

from node.daemon import Node
from node.intake import PartGiven, Submission
from node.services import Action
from protocol.document import Metadata
from protocol.envelope import Lane
from protocol.records import Document, Incoming, Link
from protocol.step import Caller
from tests.sim.durable import Durable
from tests.sim.machine import Machine
from tests.sim.notebook import Sending
from tests.sim.verdict import Sentence, Verdict

T = TypeVar("T")

RIGHTS: Final = frozenset({"send", "receive", "report"})
PAGE: Final = 20
REASON: Final = "Không thuộc thẩm quyền"


class NodeGone(Exception):
    """There is no node to ask, or it died before it answered."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One line of the inbox."""

    consignment: str
    agency: str
    subject: str


class Desk:
    """One system's calls. Ids are hexadecimal here."""

    def __init__(self, machine: Machine, agency: str, verdict: Verdict) -> None:
        self._machine: Final = machine
        self._verdict: Final = verdict
        self._durable: Final = Durable(machine.disk)
        self.caller: Final = Caller(
            system=agency.encode().ljust(16, b"."), actor="sim", agencies=frozenset({agency}), rights=RIGHTS
        )

    async def opened(self) -> None:
        """Return when there is a node to ask."""
        await self._machine.alive.wait()

    async def submit(self, sending: Sending) -> str:
        """Hand a document in; its id."""
        submission = Submission(
            issuer=sending.issuer,
            recipients=sending.recipients,
            metadata=Metadata(type="Công văn", subject=sending.subject, secrecy="none", number=sending.number),
            parts=tuple(
                PartGiven(name=f"tep-{n}.bin", media_type="application/octet-stream", content=content)
                for n, content in enumerate(sending.parts)
            ),
            lane=Lane(sending.lane),
            expires_days=sending.expires_days,
        )
        accepted = await self._call(lambda node: node.services.submit(self.caller, sending.key, submission))
        kept = self._durable.get(Document, accepted.envelope_id) is not None
        self._verdict.require(kept, Sentence.EARLY, f"{sending.key} was acknowledged before it was durable")
        return accepted.envelope_id.hex()

    async def arrivals(self, cursor: str, wait_s: float) -> tuple[list[Seen], str]:
        """Uncollected consignments behind a cursor."""
        page = await self._call(
            lambda node: node.services.boxes.inbox(self.caller, after=cursor, limit=PAGE, wait_s=wait_s)
        )
        for received in page.items:
            kept = self._durable.get(Incoming, received.entry.consignment) is not None
            self._verdict.require(kept, Sentence.EARLY, "an arrival was listed before it was durable")
        seen = [
            Seen(item.entry.consignment.hex(), item.entry.recipient, item.opened.header.metadata.subject)
            for item in page.items
            if item.opened is not None
        ]
        return seen, page.cursor

    async def fetch(self, consignment: str) -> tuple[bytes, ...]:
        """SHA-256 of every part, from the plain bytes."""
        return await self._call(lambda node: self._fetch(node, bytes.fromhex(consignment)))

    async def look_at(self, consignment: str) -> None:
        """Open one consignment."""

        async def look(node: Node) -> None:
            node.services.boxes.received(self.caller, bytes.fromhex(consignment))

        await self._call(look)

    async def collect(self, consignment: str) -> int:
        """Confirm that it is safely taken; the link's place in the chain."""
        return await self._act(Action(consignment=bytes.fromhex(consignment), code=100))

    async def answer(self, consignment: str, code: int, key: str) -> int:
        """Send a status; the link's place in the chain."""
        reason = REASON if code == 2 else ""
        return await self._act(Action(consignment=bytes.fromhex(consignment), code=code, key=key, reason=reason))

    async def news(self, cursor: str, wait_s: float) -> tuple[str, frozenset[str]]:
        """Documents that something happened to, behind a cursor."""
        page = await self._call(
            lambda node: node.services.boxes.events(self.caller, after=cursor, limit=PAGE, wait_s=wait_s)
        )
        return page.cursor, frozenset(item.envelope_id.hex() for item in page.items)

    async def outcomes(self, document: str) -> dict[str, tuple[str, tuple[int, ...]]]:
        """State and statuses of a document per recipient."""

        async def look(node: Node) -> dict[str, tuple[str, tuple[int, ...]]]:
            sent = node.services.boxes.document(self.caller, bytes.fromhex(document))
            for delivery in sent.deliveries:
                for link in delivery.links:
                    kept = self._durable.get(Link, link.box, link.consignment, link.sequence)
                    self._verdict.require(kept == link, Sentence.EARLY, "a status was shown before it was durable")
            return {
                delivery.entry.recipient: (delivery.state.name.lower(), tuple(link.code for link in delivery.links))
                for delivery in sent.deliveries
            }

        return await self._call(look)

    async def _act(self, action: Action) -> int:
        made = await self._call(lambda node: node.services.act(self.caller, action))
        link = self._durable.get(Link, 1, action.consignment, made.sequence)
        kept = link is not None and link.code == action.code
        self._verdict.require(kept, Sentence.EARLY, f"{action.code:02d} was acknowledged before it was durable")
        return made.sequence

    async def _fetch(self, node: Node, consignment: bytes) -> tuple[bytes, ...]:
        received = node.services.boxes.received(self.caller, consignment)
        digests: list[bytes] = []
        for number in range(len(received.entry.parts)):
            _, pieces = node.services.boxes.part(self.caller, consignment, number)
            digest = sha256()
            async for piece in pieces:
                digest.update(piece)
            digests.append(digest.digest())
        return tuple(digests)

    async def _call(self, ask: Callable[[Node], Awaitable[T]]) -> T:
        node = self._machine.node
        if node is None:
            raise NodeGone
        with trio.CancelScope() as scope, self._machine.calling(scope):
            return await ask(node)
        raise NodeGone
