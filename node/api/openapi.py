"""The OpenAPI 3.1 document: what FastAPI finds, plus bodies that we read ourselves, plus problems.

Obeys DESIGN §7. Every route names the statuses it can answer with; all problems have one schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from node.api.problems import MEDIA_TYPE

DESCRIPTION: Final = """\
Hand documents in, fetch what arrived, answer with statuses. Everything is scoped to the caller's
agencies; another agency's things are 404. Lists are read behind opaque cursors. Errors are RFC 9457
problem details with a stable `code`, text in Vietnamese and English, the field and the next step.
"""

_TEXTS: Final = {
    "type": "object",
    "properties": {"vi": {"type": "string"}, "en": {"type": "string"}},
    "required": ["vi", "en"],
}
_TOLD: Final = {
    "code": {"type": "string", "description": "stable; within /v1 codes are only added"},
    "field": {"type": "string", "description": "path of the field concerned, or empty"},
    "vi": {"type": "string"},
    "en": {"type": "string"},
    "next": _TEXTS,
    "values": {"type": "object", "description": "what the texts were filled with"},
}
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        **_TOLD,
        "findings": {"type": "array", "items": {"type": "object", "properties": _TOLD, "required": list(_TOLD)}},
    },
    "required": ["type", "title", "status", "detail", *_TOLD],
}
_REF: Final = {"$ref": "#/components/schemas/Problem"}


def answers(good: Mapping[int, Any], *problems: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: schemas of its good answers, statuses of its problems."""
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": "OK"} if model is None else {"model": model, "description": _first_line(model)}
        for status, model in good.items()
    }
    for status in sorted({*problems, 408, 421, 500, 503} - set(good)):
        found[status] = {"description": "Problem", "content": {MEDIA_TYPE: {"schema": _REF}}}
    return found


def install(app: FastAPI, bodies: Iterable[Any]) -> None:
    """Make `app.openapi()` answer with the whole document; `bodies` are the models read by us."""

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = _document(app, bodies)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _document(app: FastAPI, bodies: Iterable[Any]) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, openapi_version="3.1.0", description=DESCRIPTION, routes=app.routes
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for body in bodies:
        schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas[body.__name__] = schema
    schemas["Problem"] = PROBLEM
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path in document["paths"].values():
        for operation in path.values():
            _finish(operation)
    return document


def _finish(operation: dict[str, Any]) -> None:
    """Our problems instead of the library's; a token unless the route is open to all."""
    content = operation["responses"].get("422", {}).get("content", {})
    if "application/json" in content:
        operation["responses"]["422"] = {"description": "Problem", "content": {MEDIA_TYPE: {"schema": _REF}}}
    if "open" not in operation.get("tags", ()):
        operation["security"] = [{"token": []}, {}]


def _first_line(model: Any) -> str:
    return (getattr(model, "__doc__", None) or "OK").strip().partition("\n")[0]
