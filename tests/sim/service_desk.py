"""A desk that calls the service functions: what the API handlers call, and nothing below."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from typing import Final

from node.daemon import Node
from node.intake import PartGiven, Submission
from node.services import Action
from protocol.document import Metadata
from protocol.envelope import Lane
from protocol.errors import RequestError
from protocol.step import Caller
from tests.sim.desk import MEDIA_TYPE, PAGE, REASON, RIGHTS, Desk, Outcomes, Seen
from tests.sim.machine import Machine
from tests.sim.notebook import Sending
from tests.sim.verdict import Verdict


class ServiceDesk(Desk):
    """One system's calls of the services."""

    def __init__(self, machine: Machine, agency: str, verdict: Verdict) -> None:
        super().__init__(machine, agency, verdict)
        self.caller: Final = Caller(
            system=agency.encode().ljust(16, b"."), actor="sim", agencies=frozenset({agency}), rights=RIGHTS
        )

    async def uploaded(self, upload_id: str) -> tuple[int, bool]:
        async def look(node: Node) -> tuple[int, bool]:
            try:
                progress = node.uploads.progress(self.caller, upload_id)
            except RequestError as error:
                if error.code != "upload_missing":
                    raise
                return 0, False
            return progress.offset, bool(progress.plain_digest)

        return await self.call(look)

    async def upload(self, upload_id: str, offset: int, total: int, pieces: AsyncGenerator[bytes, None]) -> int:
        async with aclosing(pieces) as content:
            progress = await self.call(
                lambda node: node.uploads.put(self.caller, upload_id, offset=offset, total=total, content=content)
            )
        self.witness.uploaded(self.caller.system, upload_id, progress.offset)
        return progress.offset

    async def submit(self, sending: Sending) -> str:
        accepted = await self.call(lambda node: node.services.submit(self.caller, sending.key, _submission(sending)))
        self.witness.accepted(sending.key, accepted.envelope_id)
        return accepted.envelope_id.hex()

    async def outcomes(self, document: str) -> Outcomes:
        async def look(node: Node) -> Outcomes:
            sent = node.services.boxes.document(self.caller, bytes.fromhex(document))
            for delivery in sent.deliveries:
                for link in delivery.links:
                    self.witness.shown(link.box, link.consignment, link.sequence, link.receipt)
            return {
                delivery.entry.recipient: (delivery.state.name.lower(), tuple(link.code for link in delivery.links))
                for delivery in sent.deliveries
            }

        return await self.call(look)

    async def news(self, cursor: str, wait_s: float) -> tuple[str, frozenset[str]]:
        page = await self.call(
            lambda node: node.services.boxes.events(self.caller, after=cursor, limit=PAGE, wait_s=wait_s)
        )
        return page.cursor, frozenset(item.envelope_id.hex() for item in page.items)

    async def arrivals(self, cursor: str, wait_s: float) -> tuple[list[Seen], str]:
        page = await self.call(
            lambda node: node.services.boxes.inbox(self.caller, after=cursor, limit=PAGE, wait_s=wait_s)
        )
        for received in page.items:
            self.witness.listed(received.entry.consignment)
        seen = [
            Seen(item.entry.consignment.hex(), item.entry.recipient, item.opened.header.metadata.subject)
            for item in page.items
            if item.opened is not None
        ]
        return seen, page.cursor

    async def fetch(self, consignment: str) -> tuple[bytes, ...]:
        return await self.call(lambda node: self._fetch(node, bytes.fromhex(consignment)))

    async def look_at(self, consignment: str) -> None:
        async def look(node: Node) -> None:
            node.services.boxes.received(self.caller, bytes.fromhex(consignment))

        await self.call(look)

    async def collect(self, consignment: str) -> int:
        return await self._act(Action(consignment=bytes.fromhex(consignment), code=100))

    async def answer(self, consignment: str, code: int, key: str) -> int:
        reason = REASON if code == 2 else ""
        return await self._act(Action(consignment=bytes.fromhex(consignment), code=code, key=key, reason=reason))

    async def _act(self, action: Action) -> int:
        made = await self.call(lambda node: node.services.act(self.caller, action))
        self.witness.acted(action.consignment, made.sequence, action.code)
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


def _submission(sending: Sending) -> Submission:
    return Submission(
        issuer=sending.issuer,
        recipients=sending.recipients,
        metadata=Metadata(type="Công văn", subject=sending.subject, secrecy="none", number=sending.number),
        parts=tuple(_part(sending, number) for number in range(len(sending.parts))),
        lane=Lane(sending.lane),
        expires_days=sending.expires_days,
    )


def _part(sending: Sending, number: int) -> PartGiven:
    name = f"tep-{number}.bin"
    if number in sending.uploaded:
        return PartGiven(name=name, media_type=MEDIA_TYPE, upload_id=sending.upload_id(number))
    return PartGiven(name=name, media_type=MEDIA_TYPE, content=sending.parts[number])
