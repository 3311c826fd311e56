"""Who speaks in a request: the bearer of a token, or a user of this machine.

Obeys DECISIONS "Access". A token counts on every listener; without one, the Unix socket tells the
user id of the other side (SO_PEERCRED), and a network listener tells nothing.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Request

from node.api.context import Here
from protocol.errors import RequestError
from protocol.step import Caller


async def _caller(request: Request, here: Here) -> Caller:
    """The caller of this request.

    Raises:
        RequestError: `token_missing`, `token_unknown`, `user_unknown`.
    """
    access = here.node.access
    carried = request.headers.get("authorization")
    if carried is not None:
        scheme, _, token = carried.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise RequestError("token_missing")
        return access.of_token(token.strip())
    user: tuple[int, int, int] | None = request.scope.get("state", {}).get("user")
    if user is None:
        raise RequestError("token_missing")
    pid, uid, _ = user
    return access.of_user(uid, pid, here.config.unix_users)


Who = Annotated[Caller, Depends(_caller)]
"""The caller, as a parameter of a route."""

ANYBODY: Final = [Depends(_caller)]
"""For routes that only want to know that there is a caller."""
