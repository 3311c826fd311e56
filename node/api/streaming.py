"""An answer that leaves piece by piece, and stops when nobody reads it any more.

Starlette's own streaming answer hides errors in exception groups and cannot tell a cut answer
from a whole one; this one ends early by the exception itself, which the gate turns into a cut.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class PieceResponse(Response):
    """Sends pieces as they come; the headers promise their whole length."""

    def __init__(self, pieces: AsyncIterator[bytes], headers: Mapping[str, str]) -> None:
        self.status_code = 200
        self.background = None
        self.body = b""
        self.init_headers(headers)
        self._pieces: Final = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or until the client is gone; raises what the pieces raise."""
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as sending:
                nursery.start_soon(_cancel_when_gone, receive, sending)
                try:
                    await self._send(send)
                except Exception as error:  # noqa: BLE001  # raised again outside the nursery, which would wrap it
                    failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not sending.cancelled_caught:  # the watcher has ended: the server may tell it goodbye in here
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(cast("Any", self._pieces)) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _cancel_when_gone(receive: Receive, scope: trio.CancelScope) -> None:
    message: Any = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await receive()
    scope.cancel()
