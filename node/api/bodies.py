"""Bodies of requests: JSON of a bounded size as a checked model, raw bytes as a stream.

Obeys DESIGN §7. Everything in a body is checked strictly and unknown fields are refused, so that a
misspelt one is not silently lost.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from node.api.context import context_of
from node.api.problems import invalid
from protocol.errors import RequestError
from protocol.limits import KIB, MIB

JSON_BYTES_MAX: Final = 8 * MIB
"""Four MiB of inline parts in base64, with metadata."""
LOOP_BYTES_MAX: Final = 256 * KIB
"""Larger bodies are read in a worker."""
JSON: Final = "application/json"
RAW: Final = "application/octet-stream"


class Model(BaseModel):
    """The base of everything that comes in."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


M = TypeVar("M", bound=Model)


async def read_json(request: Request, model: type[M]) -> M:
    """The body as a model.

    Raises:
        RequestError: `body_media_type`, `body_too_large`, `body_cut`, `body_slow`, `body_not_utf8`,
            `body_not_json`; as Findings `field_missing`, `field_unknown`, `field_wrong`.
    """
    _require_media_type(request, JSON)
    body = await read_whole(request, JSON_BYTES_MAX)
    if len(body) <= LOOP_BYTES_MAX:
        return parse(body, model)
    return await context_of(request).node.environment.run_document(parse, body, model)


def parse(body: bytes, model: type[M]) -> M:
    """Bytes as a model. Raises: as `read_json`."""
    try:
        body.decode()
        return model.model_validate_json(body)
    except UnicodeDecodeError as error:
        raise RequestError("body_not_utf8", position=error.start) from error
    except ValidationError as error:
        raise invalid(error) from None  # the cause would carry what was sent


async def read_whole(request: Request, bytes_max: int) -> bytes:
    """The body in memory.

    Raises:
        RequestError: `body_too_large`, `body_cut`, `body_slow`.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > bytes_max:
        raise RequestError("body_too_large", limit=bytes_max)
    body = bytearray()
    async with aclosing(pieces_of(request)) as pieces:
        async for piece in pieces:
            body += piece
            if len(body) > bytes_max:
                raise RequestError("body_too_large", limit=bytes_max)
    return bytes(body)


async def pieces_of(request: Request) -> AsyncGenerator[bytes, None]:
    """The body piece by piece.

    Raises:
        RequestError: `body_cut` (the client went away in the middle), `body_slow`.
    """
    more = True
    while more:
        message: Any = await request.receive()
        if message["type"] != "http.request":
            raise RequestError("body_cut")
        more = message.get("more_body", False)
        yield message.get("body", b"")


def require_raw(request: Request) -> None:
    """A file comes as bytes. Raises: RequestError: `body_media_type`."""
    _require_media_type(request, RAW)


def _require_media_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise RequestError("body_media_type", field="Content-Type", wanted=wanted)


def body_doc(model: type[Model], example: Any) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads this model; `openapi.py` adds the schemas."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema, "example": example}}}}


def raw_doc(text: str) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads bytes."""
    schema = {"type": "string", "format": "binary"}
    return {"requestBody": {"required": True, "description": text, "content": {RAW: {"schema": schema}}}}
