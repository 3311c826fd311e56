"""Answers that a client need not fetch again: entity tags and 304 (RFC 9110 §8.8.3, §13.1.2)."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from protocol.encoding import lp

UNCHANGED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "Not changed since the answer with this ETag."},
}
"""For the `responses` of a route."""


def tag_of(*parts: bytes | str) -> str:
    """A strong entity tag that changes when any of these does."""
    return f'"{sha256(lp(*parts)).hexdigest()[:32]}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the client says that it has the answer with this tag."""
    given = request.headers.get("if-none-match", "")
    opaque = tag.removeprefix("W/")  # RFC 9110 §13.1.2: this comparison is the weak one
    return given.strip() == "*" or opaque in {item.strip().removeprefix("W/") for item in given.split(",")}


def unchanged(tag: str) -> Response:
    """The client has it."""
    return Response(status_code=304, headers={"ETag": tag})


def tagged(request: Request, answer: Any, steady: Any = None) -> Response:
    """An answer with the tag of its own bytes; 304 where the client has them. `steady`: the answer without what
    changes with time alone, whose tag is a weak one."""
    made = JSONResponse(answer)
    tag = tag_of(bytes(made.body)) if steady is None else f"W/{tag_of(bytes(JSONResponse(steady).body))}"
    if is_known(request, tag):
        return unchanged(tag)
    made.headers["ETag"] = tag
    return made
