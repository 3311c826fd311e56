"""A desk that comes through the ASGI app, so that what the handlers add is crossed under faults.

DESIGN §8: most simulated software calls the service functions, one scenario in ten comes in here.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from hashlib import sha256
from typing import Any, Final

import httpx

from protocol.envelope import Lane
from protocol.errors import RequestError
from protocol.records import OUT
from protocol.textid import from_text, to_text
from tests.sim.api_client import ApiClient, Apps, require_good
from tests.sim.desk import MEDIA_TYPE, PAGE, REASON, Desk, Outcomes, Seen
from tests.sim.machine import Machine
from tests.sim.notebook import Sending
from tests.sim.verdict import Verdict


class ApiDesk(Desk):
    """One system's calls over HTTP. It is let in when it first calls."""

    def __init__(self, machine: Machine, agency: str, verdict: Verdict, apps: Apps) -> None:
        super().__init__(machine, agency, verdict)
        self._client: Final = ApiClient(machine, apps)

    async def uploaded(self, upload_id: str) -> tuple[int, bool]:
        try:
            answer = await self._http("HEAD", f"/v1/uploads/{upload_id}")
        except RequestError as error:
            if error.code != "upload_missing":
                raise
            return 0, False
        offset = int(answer.headers["Upload-Offset"])
        return offset, offset == int(answer.headers["Upload-Length"])

    async def upload(self, upload_id: str, offset: int, total: int, pieces: AsyncGenerator[bytes, None]) -> int:
        headers = {"Upload-Offset": str(offset), "Upload-Length": str(total)}
        async with aclosing(pieces) as content:
            answer = await self._http("PUT", f"/v1/uploads/{upload_id}", content=content, headers=headers)
        durable = int(answer.json()["offset"])
        self.witness.uploaded(self._client.system, upload_id, durable)
        return durable

    async def submit(self, sending: Sending) -> str:
        answer = await self._http("POST", "/v1/documents", json=_body(sending), headers=_key(sending.key))
        envelope_id = from_text("doc", answer.json()["id"], field="")
        self.witness.accepted(sending.key, envelope_id)
        return envelope_id.hex()

    async def outcomes(self, document: str) -> Outcomes:
        shown = (await self._http("GET", f"/v1/documents/{to_text('doc', bytes.fromhex(document))}")).json()
        outcomes: Outcomes = {}
        for delivery in shown["recipients"]:
            consignment = from_text("csg", delivery["consignment"], field="")
            for link in delivery["receipts"]:
                self.witness.shown(OUT, consignment, link["sequence"], bytes.fromhex(link["digest"]))
            outcomes[delivery["recipient"]] = (delivery["state"], tuple(link["code"] for link in delivery["receipts"]))
        return outcomes

    async def news(self, cursor: str, wait_s: float) -> tuple[str, frozenset[str]]:
        page = (await self._http("GET", f"/v1/events?after={cursor}&limit={PAGE}&wait={int(wait_s)}")).json()
        ids = [item["document"] for item in page["items"] if item["document"]]
        return page["next"], frozenset(from_text("doc", one, field="").hex() for one in ids)

    async def arrivals(self, cursor: str, wait_s: float) -> tuple[list[Seen], str]:
        page = (await self._http("GET", f"/v1/inbox?after={cursor}&limit={PAGE}&wait={int(wait_s)}")).json()
        seen: list[Seen] = []
        for item in page["items"]:
            consignment = from_text("csg", item["consignment"], field="")
            self.witness.listed(consignment)
            if item["metadata"] is not None:
                seen.append(Seen(consignment.hex(), item["recipient"], item["metadata"]["subject"]))
        return seen, page["next"]

    async def fetch(self, consignment: str) -> tuple[bytes, ...]:
        path = _path(consignment)
        shown = (await self._http("GET", path)).json()
        contents = [(await self._http("GET", f"{path}/parts/{part['number']}")).content for part in shown["parts"]]
        return tuple(sha256(content).digest() for content in contents)

    async def look_at(self, consignment: str) -> None:
        await self._http("GET", _path(consignment))

    async def collect(self, consignment: str) -> int:
        return self._acted(consignment, await self._http("POST", f"{_path(consignment)}/collect"))

    async def answer(self, consignment: str, code: int, key: str) -> int:
        body = {"status": code, "reason": REASON if code == 2 else ""}
        path = f"{_path(consignment)}/statuses"
        return self._acted(consignment, await self._http("POST", path, json=body, headers=_key(key)))

    def _acted(self, consignment: str, answer: httpx.Response) -> int:
        made = answer.json()
        self.witness.acted(bytes.fromhex(consignment), made["sequence"], made["code"])
        sequence: int = made["sequence"]
        return sequence

    async def _http(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: AsyncGenerator[bytes, None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        await self._client.join(self.agency)
        return require_good(await self._client.once(method, path, json=json, content=content, headers=headers))


def _path(consignment: str) -> str:
    return f"/v1/inbox/{to_text('csg', bytes.fromhex(consignment))}"


def _key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def _body(sending: Sending) -> dict[str, Any]:
    return {
        "issuer": sending.issuer,
        "recipients": list(sending.recipients),
        "lane": Lane(sending.lane).name.lower(),
        "metadata": {"type": "Công văn", "subject": sending.subject, "secrecy": "none", "number": sending.number},
        "parts": [_part(sending, number) for number in range(len(sending.parts))],
        "expires_days": sending.expires_days,
    }


def _part(sending: Sending, number: int) -> dict[str, Any]:
    part = {"name": f"tep-{number}.bin", "media_type": MEDIA_TYPE}
    if number in sending.uploaded:
        return {**part, "upload_id": sending.upload_id(number)}
    return {**part, "content_base64": base64.b64encode(sending.parts[number]).decode()}
