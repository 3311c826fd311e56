"""HTTP to a simulated node: its ASGI app, without sockets, as over its listeners.

One app is made for each life of a node and shared by all who talk to it. A call that the node's
death interrupts raises `NodeGone`; problem details become the errors that they tell of.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

import httpx
import trio
from fastapi import FastAPI

from node.api.app import make_app
from node.daemon import Node
from protocol.errors import Findings, RequestError, StoreError
from protocol.textid import from_text
from tests.sim.desk import RIGHTS, NodeGone
from tests.sim.machine import Machine

REPEATED: Final = frozenset({500, 503, 507})
"""Answers after which software tries again."""
AGAIN_SECONDS: Final = 5.0
ADMIN: Final = {"listener": "unix", "user": (1, 0, 0)}


class Apps:
    """The app of every machine's present life."""

    def __init__(self) -> None:
        self._made: Final[dict[str, tuple[Node, FastAPI]]] = {}

    def of(self, machine: Machine, node: Node) -> FastAPI:
        """The app over this node."""
        known = self._made.get(machine.name)
        if known is None or known[0] is not node:
            known = self._made[machine.name] = (node, make_app(node))
        return known[1]


class ApiClient:
    """One system's HTTP client; it outlives the nodes that it talks to."""

    def __init__(self, machine: Machine, apps: Apps | None = None) -> None:
        self._machine: Final = machine
        self._apps: Final = Apps() if apps is None else apps
        self._joining: Final = trio.Lock()
        self._token = ""
        self.system = b""

    async def join(self, *agencies: str) -> None:
        """Be let in by the administrator, over the Unix socket; once."""
        async with self._joining:
            if self._token:
                return
            body = {"name": "sim", "agencies": list(agencies), "rights": sorted(RIGHTS)}
            answer = require_good(await self._ask("POST", "/v1/access", ADMIN, {}, json=body))
            self._token, self.system = answer.json()["token"], from_text("sys", answer.json()["system"], field="")

    async def once(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """One call, whatever it is answered. Raises: NodeGone."""
        more = {"Authorization": f"Bearer {self._token}", **(headers or {})}
        return await self._ask(method, path, {"listener": "tcp"}, more, json=json, content=content)

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> httpx.Response:
        """Call until there is an answer that settles the matter, under the same key."""
        headers = {"Idempotency-Key": key} if key else {}
        while True:
            try:
                answer = await self.once(method, path, json=body, headers=headers)
            except NodeGone:
                await self._machine.alive.wait()
                continue
            if answer.status_code not in REPEATED:
                return answer
            await trio.sleep(AGAIN_SECONDS)

    async def _ask(
        self,
        method: str,
        path: str,
        state: Mapping[str, Any],
        headers: Mapping[str, str],
        *,
        json: Any = None,
        content: AsyncIterator[bytes] | None = None,
    ) -> httpx.Response:
        node = self._machine.node
        if node is None:
            raise NodeGone
        app = self._apps.of(self._machine, node)

        async def listened(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state)}, _until_it_breaks(receive), send)

        transport = httpx.ASGITransport(app=listened)
        with trio.CancelScope() as scope, self._machine.calling(scope):
            request = httpx.Request(method, f"http://localhost{path}", json=json, content=content, headers=headers)
            answer = await transport.handle_async_request(request)
            await answer.aread()
            return answer
        raise NodeGone


def _until_it_breaks(receive: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """What a server hears of a client whose content ends in an error: it is gone."""
    gone = False

    async def hear() -> Any:
        nonlocal gone
        try:
            return {"type": "http.disconnect"} if gone else await receive()
        except RequestError:
            gone = True
            return {"type": "http.disconnect"}

    return hear


def require_good(answer: httpx.Response) -> httpx.Response:
    """The answer, if it is none of the outcomes that are errors.

    Raises:
        RequestError: the problem that it tells of, as `Findings` where there are several.
        StoreError: the node cannot at present.
    """
    if answer.status_code < 400:
        return answer
    if not answer.content:  # to a HEAD
        raise RequestError("upload_missing" if answer.status_code == 404 else "token_unknown")
    problem = answer.json()
    if answer.status_code in REPEATED:
        raise StoreError(problem["code"])
    if "findings" in problem:
        raise Findings([_error(finding) for finding in problem["findings"]])
    raise _error(problem)


def _error(told: Mapping[str, Any]) -> RequestError:
    return RequestError(told["code"], field=told["field"], **told["values"])
