"""Outcomes as RFC 9457 problem details: a stable code, both languages, the field, the next step.

Obeys DESIGN §7. The words stand in `protocol/catalogue.py`; here they only get their JSON form,
and the library's own complaints get a code of the catalogue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi.responses import JSONResponse
from pydantic import ValidationError

from protocol.catalogue import entry_of, next_step, text
from protocol.errors import Findings, RequestError, StoreError, TrucError

MEDIA_TYPE: Final = "application/problem+json"
FINDINGS_MAX: Final = 1_000
REASON_CHARACTERS_MAX: Final = 200


def problem(error: TrucError) -> dict[str, Any]:
    """The problem details of an outcome; `findings` lists every mistake where there are several."""
    told = _told(error)
    told["type"] = f"urn:truc:outcome:{error.code}"
    told["title"] = error.code
    told["status"] = entry_of(error).status
    told["detail"] = told["en"]
    if isinstance(error, Findings):
        told["findings"] = [_told(finding) for finding in error.findings[:FINDINGS_MAX]]
    return told


def _told(error: TrucError) -> dict[str, Any]:
    return {
        "code": error.code,
        "field": error.field,
        "vi": text(error, "vi"),
        "en": text(error, "en"),
        "next": {"vi": next_step(error, "vi"), "en": next_step(error, "en")},
        "values": dict(error.detail),
    }


def problem_answer(error: TrucError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The whole answer to a request that ended in this outcome."""
    more = dict(headers or {})
    status = entry_of(error).status
    if status == 401:
        more["WWW-Authenticate"] = "Bearer"
    if error.code == "upload_offset_differs":
        more["Upload-Offset"] = str(error.detail["offset"])
    if status in (408, 503) and error.code in ("body_slow", "header_slow"):
        more["Connection"] = "close"
    return JSONResponse(problem(error), status, more, MEDIA_TYPE)


def outcome_of(error: BaseException) -> TrucError | None:
    """The one outcome that an exception, or a group of them, stands for; None when it is a bug."""
    if isinstance(error, TrucError):
        return error
    if isinstance(error, BaseExceptionGroup):
        inner = [outcome_of(member) for member in error.exceptions]
        found = [outcome for outcome in inner if outcome is not None]
        return found[0] if len(found) == len(inner) else None
    return None


def internal_error() -> StoreError:
    """What a caller is told about a bug of ours."""
    return StoreError("internal")


# --- complaints of the validator --------------------------------------------------------------

_CODES: Final = {"missing": "field_missing", "extra_forbidden": "field_unknown"}


def findings_of(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> TrucError:
    """pydantic's list of errors in the catalogue's words; `skip` leading parts of each place are left out."""
    findings = [_finding(error, skip) for error in errors[:FINDINGS_MAX]]
    return findings[0] if len(findings) == 1 else Findings(findings)


def invalid(error: ValidationError) -> TrucError:
    """The outcome of a body that breaks its model."""
    return findings_of([dict(item) for item in error.errors(include_url=False, include_input=False)])


def _finding(error: Mapping[str, Any], skip: int) -> RequestError:
    kind, reason = str(error["type"]), str(error["msg"])[:REASON_CHARACTERS_MAX]
    if kind == "json_invalid":
        return RequestError("body_not_json", reason=reason)
    place = _place(error["loc"][skip:])
    if kind in _CODES:
        return RequestError(_CODES[kind], field=place)
    return RequestError("field_wrong", field=place, reason=reason)


def _place(parts: Sequence[str | int]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.removeprefix(".")
