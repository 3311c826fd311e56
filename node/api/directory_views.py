"""What the API shows of the directory: schemas, and how they are made from records.

Obeys DESIGN §7. A record that cannot be read or was changed on the disk is shown by its code with the `problem`;
nobody is shown what it says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any, Final

from typing_extensions import TypedDict

from node.api.pki_view import PkiView
from node.api.problems import problem
from node.api.state import LogView
from node.api.views import maybe_moment, moment, names_view
from node.directory_feed import Change
from protocol.directory import AgencyRecord, CentreRecord, Delegation, KeyEntry, Names, Numbered, RecordState
from protocol.directory_import import Imported
from protocol.directory_kinds import DirectoryPending, Subject
from protocol.entitlement import Known
from protocol.errors import TrucError


class AgencyView(TypedDict):
    """An agency. `state` is active, locked or closed; `unknown` with a `problem`, if its record is damaged here."""

    code: str
    aliases: list[str]
    names: dict[str, str]
    parent: str
    kind: str
    host: str
    hosted_here: bool
    epoch: int
    state: str
    successors: list[str]
    decision: str
    problem: dict[str, Any] | None


class CentreView(TypedDict):
    """The operator of a node."""

    code: str
    names: dict[str, str]
    peer_id: str
    state: str


class KeyView(TypedDict):
    """A public key, and when it counts."""

    key_id: str
    algorithm: str
    from_at: str
    until_at: str
    revoked_at: str | None
    compromised_at: str | None


class DelegationView(TypedDict):
    """What an agency may register below itself: by how many of which keys, for which parts (none: all)."""

    threshold: int
    generation: int
    parts: list[str]
    keys: list[KeyView]


class PendingView(TypedDict):
    """A version that waits for an endorsement or for its day to end. `changes` names the fields that differ;
    `due_at` is null while its day has not begun."""

    version: str
    created_at: str
    registrar: str
    due_at: str | None
    changes: list[str]
    host: str
    state: str
    names: dict[str, str]


class VersionOf(TypedDict):
    """Which version of a record this is, who registered it, and how fresh that registrar's log is here."""

    version: str
    registrar: str
    generation: int
    number: int
    created_at: str
    known_since: str | None
    pending: PendingView | None
    log: LogView | None
    keys: list[KeyView]


class AgencyDetail(AgencyView, VersionOf):
    """An agency with all that is known of its record. `tier`: the worse of its registrar's log and its host's."""

    locked_by_itself: bool
    delegation: DelegationView | None
    tier: str
    pki: PkiView


class CentreDetail(CentreView, VersionOf):
    """A centre with all that is known of its record."""

    sealing: list[KeyView]
    addresses: list[str]
    pki: PkiView


class AgencyPage(TypedDict):
    """Some agencies in the order of their codes; `changes` is the cursor from which to follow them."""

    items: list[AgencyView]
    next: str
    more: bool
    changes: str


class SearchPage(AgencyPage):
    """What was found. `exact`: the agency whose code, in either form, or alias was asked for."""

    exact: AgencyView | None


class SignerView(TypedDict):
    """A key that signed: `registrar`, or `other` (an endorser, or anybody who passed it on)."""

    key_id: str
    role: str


class VersionView(TypedDict):
    """One version of a record. `standing`: pending, in_force, superseded or aside; `changes`: fields that differ
    from the next older version."""

    version: str
    standing: str
    registrar: str
    generation: int
    number: int
    created_at: str
    in_force_at: str | None
    state: str
    host: str
    names: dict[str, str]
    changes: list[str]
    signers: list[SignerView]
    problem: dict[str, Any] | None


class HistoryView(TypedDict):
    """All versions kept of a record, the newest first within their standing."""

    code: str
    subject: str
    known_since: str | None
    items: list[VersionView]


class BranchView(TypedDict):
    """An agency and those right below it; `above` from level 1 down."""

    agency: AgencyView
    above: list[AgencyView]
    items: list[AgencyView]
    next: str
    more: bool


class ChangeView(TypedDict):
    """Something whose record changed: look it up again. `subject`: root, centre, agency or fork."""

    at: str
    subject: str
    code: str


class ChangePage(TypedDict):
    """Some changes in order; `next` is the cursor behind them."""

    items: list[ChangeView]
    next: str
    more: bool


class RejectedView(TypedDict):
    """A signed thing that was not taken, and why."""

    about: str
    digest: str
    problem: dict[str, object]


class OlderView(TypedDict):
    """Things of a registrar's generation that is over: what counts of it is signed anew in the open one."""

    registrar: str
    generation: int
    open: int
    things: int


class ImportedView(TypedDict):
    """What came of a directory file."""

    accepted: list[str]
    pending: list[str]
    """Those of `accepted` that count only when they are endorsed or their day is over."""
    checkpoints: int
    already: int
    older: list[OlderView]
    rejected: list[RejectedView]


# --- making them ----------------------------------------------------------------------------


def agency_view(record: AgencyRecord, state: RecordState, here: str) -> AgencyView:
    """An agency as this centre sees it."""
    return {
        "code": record.code,
        "aliases": list(record.aliases),
        "names": names_of(record.names),
        "parent": record.parent,
        "kind": record.kind,
        "host": record.host,
        "hosted_here": record.host == here,
        "epoch": record.epoch,
        "state": state.name.lower(),
        "successors": list(record.successors),
        "decision": record.decision,
        "problem": None,
    }


def damaged_view(code: str, error: TrucError) -> AgencyView:
    """An agency of which only the code can be told."""
    return {
        "code": code,
        "aliases": [],
        "names": {},
        "parent": "",
        "kind": "",
        "host": "",
        "hosted_here": False,
        "epoch": 0,
        "state": "unknown",
        "successors": [],
        "decision": "",
        "problem": problem(error),
    }


def centre_view(record: CentreRecord) -> CentreView:
    """A centre."""
    return {
        "code": record.code,
        "names": names_of(record.names),
        "peer_id": record.peer_id,
        "state": record.state.name.lower(),
    }


def names_of(names: Names) -> dict[str, str]:
    """Names by language, without empty ones."""
    return names_view((("vi", names.vi), ("en", names.en), ("short", names.short)))


def key_view(entry: KeyEntry) -> KeyView:
    """A public key."""
    return {
        "key_id": entry.key_id.hex(),
        "algorithm": entry.algorithm,
        "from_at": far_moment(entry.from_ms),
        "until_at": far_moment(entry.until_ms),
        "revoked_at": maybe_far(entry.revoked_ms),
        "compromised_at": maybe_far(entry.compromised_ms),
    }


def delegation_view(delegation: Delegation) -> DelegationView | None:
    """A delegation; None where there is none."""
    if not delegation.keys:
        return None
    return {
        "threshold": delegation.threshold,
        "generation": delegation.generation,
        "parts": list(delegation.parts),
        "keys": [key_view(entry) for entry in delegation.keys],
    }


def pending_view(known: Known[Any], row: DirectoryPending, before: Numbered) -> PendingView:
    """A pending version beside the one in force."""
    record = known.value
    return {
        "version": known.digest.hex(),
        "created_at": far_moment(record.created_ms),
        "registrar": record.registrar,
        "due_at": maybe_moment(row.due_ms),
        "changes": changed_fields(before, record),
        "host": getattr(record, "host", ""),
        "state": record.state.name.lower(),
        "names": names_of(record.names),
    }


_ALWAYS_OTHER: Final = frozenset({"registrar", "generation", "number", "created_ms"})


def changed_fields(before: Numbered | None, after: Numbered) -> list[str]:
    """The names of the fields that say something else; none for a first version."""
    if before is None:
        return []
    names = [item.name for item in fields(after) if item.name not in _ALWAYS_OTHER]
    return [name for name in names if getattr(before, name) != getattr(after, name)]


FAR_MS: Final = 253_402_300_799_000
"""The last second of the year 9999: what dates in an answer can say. Keys may be registered to end later."""


def far_moment(time_ms: int) -> str:
    """A time that somebody else chose, as text."""
    return moment(min(time_ms, FAR_MS))


def maybe_far(time_ms: int) -> str | None:
    """As `far_moment`; None for a time that has not come."""
    return far_moment(time_ms) if time_ms else None


def change_view(change: Change) -> ChangeView:
    """Something that changed."""
    return {
        "at": moment(change.time_ms),
        "subject": Subject(change.item.subject).name.lower(),
        "code": change.item.code,
    }


def imported_view(imported: Imported) -> ImportedView:
    """What came of a directory file. What is rightly signed in a generation that is over is told by number:
    nobody has to do anything about it."""
    older = Counter(_generations(item.error) for item in imported.rejected if _is_older(item.error))
    return {
        "accepted": list(imported.names),
        "pending": [f"{item.subject.name.lower()} {item.code}" for item in imported.pending],
        "checkpoints": len(imported.checkpoints),
        "already": imported.already,
        "older": [
            {"registrar": registrar, "generation": generation, "open": opened, "things": things}
            for (registrar, generation, opened), things in sorted(older.items())
        ],
        "rejected": [
            {"about": item.about, "digest": item.digest.hex(), "problem": problem(item.error)}
            for item in imported.rejected
            if not _is_older(item.error)
        ],
    }


def _is_older(error: TrucError) -> bool:
    return error.code == "directory_generation" and int(error.detail["found"]) < int(error.detail["open"])


def _generations(error: TrucError) -> tuple[str, int, int]:
    return str(error.detail["registrar"]), int(error.detail["found"]), int(error.detail["open"])
