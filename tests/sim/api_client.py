"""Local software that enters through the ASGI app of a simulated node, as over its HTTP listeners.

DESIGN §8: most simulated software calls the service functions; one scenario in ten comes in here, so
that what the handlers add (tokens, texts, codes) is crossed under faults as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx
import trio

from node.api.app import make_app
from tests.sim.desk import NodeGone
from tests.sim.machine import Machine

REPEATED: Final = frozenset({500, 503, 507})
"""Answers after which software tries again."""


class ApiClient:
    """One system's HTTP client; it outlives the nodes that it talks to."""

    def __init__(self, machine: Machine) -> None:
        self._machine: Final = machine
        self._token = ""

    async def join(self, *agencies: str) -> None:
        """Be let in by the administrator, over the Unix socket."""
        body = {"name": "sim", "agencies": list(agencies), "rights": ["send", "receive", "report"]}
        answer = await self._ask("POST", "/v1/access", {"listener": "unix", "user": (1, 0, 0)}, body, {})
        assert answer.status_code == 201, answer.text
        self._token = answer.json()["token"]

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
        """Call until there is an answer that settles the matter, under the same key."""
        headers = {"Authorization": f"Bearer {self._token}", **({"Idempotency-Key": key} if key else {})}
        while True:
            try:
                answer = await self._ask(method, path, {"listener": "tcp"}, body, headers)
            except NodeGone:
                await self._machine.alive.wait()
                continue
            if answer.status_code not in REPEATED:
                return answer
            await trio.sleep(5)

    async def _ask(
        self, method: str, path: str, state: Mapping[str, Any], body: Any, headers: Mapping[str, str]
    ) -> httpx.Response:
        node = self._machine.node
        if node is None:
            raise NodeGone
        app = make_app(node)

        async def listened(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        transport = httpx.ASGITransport(app=listened)
        with trio.CancelScope() as scope, self._machine.calling(scope):
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=None) as client:
                return await client.request(method, path, json=body, headers=dict(headers))
        raise NodeGone
