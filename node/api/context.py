"""What every route of the API works with: the node, its configuration, and who waits.

Obeys DESIGN §7. One context per app; it lies in the app's state, so that an app is a value that
tests and the simulator can make for any node.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import trio
from fastapi import Depends, Request

from node.config import ApiConfig
from node.daemon import Node
from protocol.errors import TrucError

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Context:
    """The node behind an app. `watches`: what may be wrong with the listeners, such as an expired certificate."""

    node: Node
    config: ApiConfig
    started_ms: int
    watches: list[Callable[[], TrucError | None]] = field(default_factory=list)
    stopping: bool = False
    waiting: set[trio.CancelScope] = field(default_factory=set)

    def stop(self) -> None:
        """Let all who wait for news answer at once."""
        self.stopping = True
        for scope in self.waiting:
            scope.cancel()

    async def wait(self, request: Request, look: Callable[[float], Awaitable[T]], wait_s: int) -> T:
        """`look(seconds)`, ended early when the client goes away or the node stops."""
        bound_s = min(wait_s, self.config.limits.wait_seconds_max)
        if bound_s and not self.stopping:
            await self._patiently(request, look, bound_s)
        return await look(0)

    async def _patiently(self, request: Request, look: Callable[[float], Awaitable[Any]], wait_s: int) -> None:
        """Return when looking again is worth while."""
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                self.waiting.add(scope)
                nursery.start_soon(_until_gone, request, scope)
                try:
                    await look(wait_s)
                except TrucError:
                    pass  # the look without waiting tells it again
                finally:
                    self.waiting.discard(scope)
            nursery.cancel_scope.cancel()


async def _until_gone(request: Request, scope: trio.CancelScope) -> None:
    """Cancel the scope when the client has closed the connection."""
    message: Any = {"type": ""}
    while message["type"] != "http.disconnect":
        message = await request.receive()
    scope.cancel()


def context_of(request: Request) -> Context:
    """The context of the app that serves this request."""
    context: Context = request.app.state.context
    return context


async def _context(request: Request) -> Context:
    return context_of(request)


Here = Annotated[Context, Depends(_context)]
"""The context, as a parameter of a route."""
