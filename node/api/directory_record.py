"""`/v1/directory/{code}`: one agency or centre, its history, and what stands below it.

Obeys DESIGN §7 and `protocol/spec/directory.md` §6, *Damage*: what is shown alone is compared with its registrar's
signature again; if it does not stand, the answer is `directory_damaged`, and the history says which version it is.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from node.api.callers import ANYBODY
from node.api.conditional import UNCHANGED, tagged
from node.api.context import Context, Here
from node.api.directory import After, shown
from node.api.directory_views import (
    AgencyDetail,
    AgencyView,
    BranchView,
    CentreDetail,
    HistoryView,
    VersionOf,
    VersionView,
    agency_view,
    centre_view,
    changed_fields,
    delegation_view,
    far_moment,
    key_view,
    names_of,
    pending_view,
)
from node.api.openapi import answers
from node.api.pki_view import pki_view
from node.api.problems import problem
from node.api.state import log_view
from node.api.views import maybe_moment
from node.cursors import read_place, write_place
from node.directory_proof import prove
from node.directory_text import Question, parent_of
from node.tasks import in_slices
from protocol.agency_code import parse_centre_code
from protocol.checkpoint import Tier, worst_tier
from protocol.directory import AgencyRecord, CentreRecord, Numbered
from protocol.directory_kinds import Subject, VersionRef
from protocol.directory_view import DirectoryView
from protocol.entitlement import Known
from protocol.errors import RequestError, StoreError, TrucError

router = APIRouter(prefix="/v1/directory", tags=["directory"])

BRANCH_MAX: Final = 200
"""Agencies right below one, in one answer; a province has some hundred departments and communes."""
ABOVE_MAX: Final = 16
"""Levels above an agency that are shown; four are usual."""


@router.get(
    "/{code}",
    dependencies=ANYBODY,
    responses={**answers({200: AgencyDetail | CentreDetail}, 400, 401, 403, 404, 409, 422), **UNCHANGED},
    operation_id="showDirectory",
)
async def show(request: Request, here: Here, code: str) -> Response:
    """One agency, by its code in either form or an alias; or a centre, by its code."""
    view = here.node.room.index.view
    subject, primary = _named(view, code)
    detail = _agency(here, view, primary) if subject is Subject.AGENCY else _centre(here, view, primary)
    log = detail["log"]
    steady = {**detail, "log": None if log is None else {**log, "age_seconds": None}}
    return tagged(request, detail, steady)


@router.get(
    "/{code}/history",
    dependencies=ANYBODY,
    responses={**answers({200: HistoryView}, 400, 401, 403, 404, 409, 422), **UNCHANGED},
    operation_id="directoryHistory",
)
async def history(request: Request, here: Here, code: str) -> Response:
    """Every version kept of a record, with who signed it; each is compared with its signatures again."""
    view = here.node.room.index.view
    subject, primary = _named(view, code)
    items = await in_slices(_versions(here, view, subject, primary), 4)
    rows = view.history(subject, primary)
    answer: HistoryView = {
        "code": primary,
        "subject": subject.name.lower(),
        "known_since": maybe_moment(0 if rows is None else rows.since_ms),
        "items": items,
    }
    return tagged(request, answer)


@router.get(
    "/{code}/tree",
    dependencies=ANYBODY,
    responses={**answers({200: BranchView}, 400, 401, 403, 404, 409, 422), **UNCHANGED},
    operation_id="directoryTree",
)
async def tree(
    request: Request, here: Here, code: str, after: After = "", limit: Annotated[int, Query(ge=1, le=BRANCH_MAX)] = 100
) -> Response:
    """An agency, those above it, and a page of those right below it."""
    view, centre = here.node.room.index.view, here.node.settings.centre
    record = view.resolve(code, field="code")
    found = await here.node.room.search.find(Question(parent=record.code), after=read_place(after), limit=limit)
    answer: BranchView = {
        "agency": shown(view, record.code, centre),
        "above": _above(view, record, centre),
        "items": [shown(view, below, centre) for below in found.codes],
        "next": write_place(found.codes[-1]) if found.codes else after,
        "more": found.more,
    }
    return tagged(request, answer)


def _named(view: DirectoryView, code: str) -> tuple[Subject, str]:
    """Whom a code names; a record that cannot be read is found by its primary code all the same.

    Raises:
        RequestError: `agency_code_malformed`, `agency_unknown`, `agency_ambiguous`, `centre_unknown`.
    """
    if _is_centre(code):
        if view.history(Subject.CENTRE, code) is None:
            raise RequestError("centre_unknown", field="code", code=code)
        return Subject.CENTRE, code
    try:
        return Subject.AGENCY, view.resolve(code, field="code").code
    except StoreError:
        if view.history(Subject.AGENCY, code) is None:
            raise
        return Subject.AGENCY, code


def _is_centre(code: str) -> bool:
    try:
        parse_centre_code(code)
    except RequestError:
        return False
    return True


# --- one record -------------------------------------------------------------------------------


def _agency(here: Context, view: DirectoryView, code: str) -> AgencyDetail:
    known = view.agency_versions(code)[0]
    record: AgencyRecord = known.value
    lock = view.lock(code)
    return {
        **agency_view(record, view.state(code), here.node.settings.centre),
        **_version_of(here, view, Subject.AGENCY, known),
        "locked_by_itself": lock is not None and lock.value.created_ms >= record.created_ms,
        "delegation": delegation_view(record.delegation),
        "tier": _tier(here, view, record).name.lower(),
        "pki": pki_view(here.node.pki.of_agency(code, view)),
    }


def _centre(here: Context, view: DirectoryView, code: str) -> CentreDetail:
    known = view.centre_versions(code)[0]
    record: CentreRecord = known.value
    node = view.node_record(code)
    return {
        **centre_view(record),
        **_version_of(here, view, Subject.CENTRE, known),
        "sealing": [key_view(entry) for entry in record.sealing],
        "addresses": [] if node is None else list(node.value.addresses),
        "pki": pki_view(here.node.pki.of_centre(code, view)),
    }


def _version_of(here: Context, view: DirectoryView, subject: Subject, known: Known[Any]) -> VersionOf:
    """Which version it is, after a look at its signatures. Raises: StoreError: `directory_damaged`."""
    record: Numbered = known.value
    signed = view.thing(known.digest)
    assert signed is not None, "it was read a moment ago"
    prove(view, signed, record, here.node.verifier)
    row, waits = view.pending(subject, record.code), view.pending_version(subject, record.code)
    rows = view.history(subject, record.code)
    log = here.node.room.freshness.state_of(record.registrar)
    return {
        "version": known.digest.hex(),
        "registrar": record.registrar,
        "generation": record.generation,
        "number": record.number,
        "created_at": far_moment(record.created_ms),
        "known_since": maybe_moment(0 if rows is None else rows.since_ms),
        "pending": None if row is None or waits is None else pending_view(waits, row, record),
        "log": None if log is None else log_view(log),
        "keys": [key_view(entry) for entry in record.keys],
    }


def _tier(here: Context, view: DirectoryView, record: AgencyRecord) -> Tier:
    host = view.find_centre(record.host)
    names = {record.registrar, *([] if host is None else [host.value.registrar])}
    states = [here.node.room.freshness.state_of(name) for name in names]
    return worst_tier(Tier.OLD if state is None else state.tier for state in states)


def _above(view: DirectoryView, record: AgencyRecord, centre: str) -> list[AgencyView]:
    """Those above an agency, from level 1 down; a parent that is not registered ends the row."""
    above: list[AgencyView] = []
    code = parent_of(record)
    while code and len(above) < ABOVE_MAX and view.history(Subject.AGENCY, code) is not None:
        above.insert(0, shown(view, code, centre))
        code = above[0]["parent"]
    return above


# --- history ----------------------------------------------------------------------------------


def _versions(
    here: Context, view: DirectoryView, subject: Subject, code: str
) -> Generator[None, None, list[VersionView]]:
    rows, pending = view.history(subject, code), view.pending(subject, code)
    assert rows is not None, "a code that was resolved has a history"
    waits = [] if pending is None else [VersionRef(digest=pending.digest, created_ms=pending.since_ms)]
    row, refs = [*waits, *rows.versions], [*waits, *rows.versions, *rows.aside]
    standings = ["pending"] * len(waits) + ["in_force"] + ["superseded"] * (len(rows.versions) - 1)
    standings += ["aside"] * len(rows.aside)
    values = [_value(view, ref.digest, code) for ref in refs]
    items: list[VersionView] = []
    for at, (ref, standing) in enumerate(zip(refs, standings, strict=True)):
        older = values[at + 1] if at + 1 < len(row) else None
        items.append(_version(here, view, ref, standing, values[at], older))
        yield
    return items


def _value(view: DirectoryView, digest: bytes, code: str) -> Numbered | StoreError:
    try:
        value: Numbered = view.cache.value(view.records, digest)
    except StoreError as error:
        return error
    return value if value.code == code else StoreError("directory_damaged", what=code)


def _version(
    here: Context,
    view: DirectoryView,
    ref: VersionRef,
    standing: str,
    value: Numbered | StoreError,
    older: Numbered | StoreError | None,
) -> VersionView:
    if isinstance(value, StoreError):
        return _unreadable(ref, standing, value)
    signed = view.thing(ref.digest)
    assert signed is not None, "it was read a moment ago"
    trouble: TrucError | None = None
    proven: Sequence[bytes] = ()
    try:
        proven = prove(view, signed, value, here.node.verifier)
    except StoreError as error:
        trouble = error
    counts = standing in {"in_force", "superseded"}
    return {
        "version": ref.digest.hex(),
        "standing": standing,
        "registrar": value.registrar,
        "generation": value.generation,
        "number": value.number,
        "created_at": far_moment(value.created_ms),
        "in_force_at": far_moment(max(value.created_ms, ref.from_ms)) if counts else None,
        "state": value.state.name.lower(),
        "host": getattr(value, "host", ""),
        "names": names_of(value.names),
        "changes": [] if isinstance(older, StoreError) else changed_fields(older, value),
        "signers": [
            {"key_id": item.key_id.hex(), "role": "registrar" if item.key_id in proven else "other"}
            for item in signed.signatures
        ],
        "problem": None if trouble is None else problem(trouble),
    }


def _unreadable(ref: VersionRef, standing: str, error: StoreError) -> VersionView:
    return {
        "version": ref.digest.hex(),
        "standing": standing,
        "registrar": "",
        "generation": 0,
        "number": 0,
        "created_at": far_moment(ref.created_ms),
        "in_force_at": None,
        "state": "unknown",
        "host": "",
        "names": {},
        "changes": [],
        "signers": [],
        "problem": problem(error),
    }
