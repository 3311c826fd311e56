"""Statements of the signed directory: root, centre, agency, node, self-lock, and the two requests.

Spec: `spec/directory.md` (DESIGN §3, "Trust tree"). Here stands what a statement looks like and
what makes it well-formed in itself. Who may sign it and when it replaces another is decided in
`trust.py`; where records lie, in `directory_kinds.py`; the files they travel in, in
`directory_file.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Annotated, Any, Final, TypeVar

from protocol import limits
from protocol.agency_code import is_ancestor, is_new_form, level_one, read_agency_code, read_centre_code
from protocol.encoding import Digest, Extensions, Format, Key, Meta, TimeMs
from protocol.errors import FormatError
from protocol.sealing import sealing_public
from protocol.signing import ALGORITHM_ED25519, PublicKey, key_id_of

T = TypeVar("T")

ALGORITHM_X25519: Final = "x25519"

ROLE_ROOT: Final = "root"
"""The root's own role: next roots, and anything a lower registrar may not say."""
ROLE_LEVEL_1: Final = "level-1"
"""Registration of centres and of everything from level-1 codes downwards."""

CodeText = Annotated[str, Meta(min_length=1, max_length=limits.CODE_CHARACTERS_MAX)]
CentreText = Annotated[str, Meta(min_length=9, max_length=9)]
PeerText = Annotated[str, Meta(min_length=1, max_length=128)]
NameText = Annotated[str, Meta(max_length=limits.DIRECTORY_NAME_CHARACTERS_MAX)]
Positive = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Registrar = Annotated[str, Meta(min_length=1, max_length=limits.CODE_CHARACTERS_MAX)]
"""Whose numbered log a record belongs to: `root`, `level-1`, or the code of an agency with a delegation."""


class RecordState(IntEnum):
    """Active: all. Locked: no new documents. Closed: locked for good, signed by successors."""

    ACTIVE = 0
    LOCKED = 1
    CLOSED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """How an agency or centre is called; `vi` is compulsory in a record."""

    vi: Annotated[NameText, Key(1)]
    en: Annotated[NameText, Key(2)] = ""
    short: Annotated[NameText, Key(3)] = ""
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A public key and when it counts: from `from_ms` to before `until_ms`, unless revoked.

    A rotated key stays listed with its end, so that what it signed can still be verified. A revoked
    key counts nowhere; `compromised_ms` says since when somebody else may have signed with it.
    """

    algorithm: Annotated[str, Meta(min_length=1, max_length=40), Key(1)]
    raw: Annotated[bytes, Meta(min_length=1, max_length=1024), Key(2)]
    from_ms: Annotated[TimeMs, Key(3)]
    until_ms: Annotated[TimeMs, Key(4)]
    revoked_ms: Annotated[TimeMs, Key(5)] = 0
    compromised_ms: Annotated[TimeMs, Key(6)] = 0
    extensions: Extensions = field(default_factory=dict)

    @property
    def key_id(self) -> bytes:
        """SHA-256(lp(algorithm) ‖ lp(raw))."""
        return key_id_of(self.algorithm, self.raw)


Keys = Annotated[tuple[KeyEntry, ...], Meta(max_length=limits.DIRECTORY_KEYS_MAX)]
SomeKeys = Annotated[tuple[KeyEntry, ...], Meta(min_length=1, max_length=limits.DIRECTORY_KEYS_MAX)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Which of the root's keys act for a role, how many of them must sign, and the open generation."""

    name: Annotated[str, Meta(min_length=1, max_length=40), Key(1)]
    keys: Annotated[tuple[Digest, ...], Meta(min_length=1, max_length=limits.DIRECTORY_KEYS_MAX), Key(2)]
    threshold: Annotated[int, Meta(ge=1, le=limits.DIRECTORY_KEYS_MAX), Key(3)]
    generation: Annotated[Positive, Key(4)] = 1
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """One version of the key set that starts all trust; signed by its own and the version before's threshold."""

    version: Annotated[Positive, Key(1)]
    created_ms: Annotated[TimeMs, Key(2)]
    name: Annotated[NameText, Key(3)]
    keys: Annotated[SomeKeys, Key(4)]
    roles: Annotated[tuple[Role, ...], Meta(min_length=2, max_length=2), Key(5)]
    extensions: Extensions = field(default_factory=dict)

    def role(self, name: str) -> Role:
        """The role with this name; a well-formed root has both."""
        return next(role for role in self.roles if role.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """Keys that sign records below an agency's code: everything, or only below `parts`.

    No keys means no delegation. Records are newly accepted only under the open `generation`.
    """

    keys: Annotated[Keys, Key(1)] = ()
    threshold: Annotated[int, Meta(ge=1, le=limits.DIRECTORY_KEYS_MAX), Key(2)] = 1
    generation: Annotated[Positive, Key(3)] = 1
    parts: Annotated[tuple[CodeText, ...], Meta(max_length=limits.DIRECTORY_PARTS_MAX), Key(4)] = ()
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreRecord:
    """The operator of a node: its peer id, operational signing keys and sealing keys."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    number: Annotated[Positive, Key(3)]
    created_ms: Annotated[TimeMs, Key(4)]
    code: Annotated[CentreText, Key(5)]
    names: Annotated[Names, Key(6)]
    peer_id: Annotated[PeerText, Key(7)]
    keys: Annotated[SomeKeys, Key(8)]
    sealing: Annotated[SomeKeys, Key(9)]
    state: Annotated[RecordState, Key(10)] = RecordState.ACTIVE
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyRecord:
    """An agency code: who it is, which centre hosts it, and whose keys speak for it."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    number: Annotated[Positive, Key(3)]
    created_ms: Annotated[TimeMs, Key(4)]
    code: Annotated[CodeText, Key(5)]
    names: Annotated[Names, Key(6)]
    host: Annotated[CentreText, Key(7)]
    epoch: Annotated[Positive, Key(8)]
    parent: Annotated[str, Meta(max_length=limits.CODE_CHARACTERS_MAX), Key(9)] = ""
    kind: Annotated[str, Meta(max_length=40), Key(10)] = ""
    aliases: Annotated[tuple[CodeText, ...], Meta(max_length=limits.DIRECTORY_ALIASES_MAX), Key(11)] = ()
    state: Annotated[RecordState, Key(12)] = RecordState.ACTIVE
    successors: Annotated[tuple[CodeText, ...], Meta(max_length=limits.DIRECTORY_SUCCESSORS_MAX), Key(13)] = ()
    decision: Annotated[NameText, Key(14)] = ""
    keys: Annotated[Keys, Key(15)] = ()
    delegation: Annotated[Delegation, Key(16)] = field(default_factory=Delegation)
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRecord:
    """Where a centre's node is reached and what it speaks; signed by the centre's operational key."""

    centre: Annotated[CentreText, Key(1)]
    peer_id: Annotated[PeerText, Key(2)]
    from_ms: Annotated[TimeMs, Key(3)]
    until_ms: Annotated[TimeMs, Key(4)]
    addresses: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=255)], ...], Meta(max_length=16), Key(5)]
    features: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=40)], ...], Meta(max_length=64), Key(6)] = ()
    versions: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...], Meta(max_length=64), Key(7)] = ()
    software: Annotated[str, Meta(max_length=100), Key(8)] = ""
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """An agency locks itself: from `created_ms` until a later version of its record."""

    code: Annotated[CodeText, Key(1)]
    created_ms: Annotated[TimeMs, Key(2)]
    reason: Annotated[str, Meta(max_length=limits.REASON_CHARACTERS_MAX), Key(3)] = ""
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreRequest:
    """A centre asks to be registered; signed by every operational key it lists (possession)."""

    created_ms: Annotated[TimeMs, Key(1)]
    code: Annotated[CentreText, Key(2)]
    names: Annotated[Names, Key(3)]
    peer_id: Annotated[PeerText, Key(4)]
    keys: Annotated[SomeKeys, Key(5)]
    sealing: Annotated[SomeKeys, Key(6)]
    extensions: Extensions = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencyRequest:
    """An agency asks to be registered; signed by every key it lists, else by its host's operational key."""

    created_ms: Annotated[TimeMs, Key(1)]
    code: Annotated[CodeText, Key(2)]
    names: Annotated[Names, Key(3)]
    host: Annotated[CentreText, Key(4)]
    parent: Annotated[str, Meta(max_length=limits.CODE_CHARACTERS_MAX), Key(5)] = ""
    kind: Annotated[str, Meta(max_length=40), Key(6)] = ""
    aliases: Annotated[tuple[CodeText, ...], Meta(max_length=limits.DIRECTORY_ALIASES_MAX), Key(7)] = ()
    decision: Annotated[NameText, Key(8)] = ""
    keys: Annotated[Keys, Key(9)] = ()
    delegation: Annotated[Delegation, Key(10)] = field(default_factory=Delegation)
    extensions: Extensions = field(default_factory=dict)


Numbered = CentreRecord | AgencyRecord
"""Records of a registrar's log."""
Statement = Root | CentreRecord | AgencyRecord | NodeRecord | Lock | CentreRequest | AgencyRequest

ROOT: Final = Format("truc/root/1", Root, bytes_max=limits.STATEMENT_BYTES_MAX)
CENTRE: Final = Format("truc/centre/1", CentreRecord, bytes_max=limits.STATEMENT_BYTES_MAX)
AGENCY: Final = Format("truc/agency/1", AgencyRecord, bytes_max=limits.STATEMENT_BYTES_MAX)
NODE: Final = Format("truc/node/1", NodeRecord, bytes_max=limits.STATEMENT_BYTES_MAX)
LOCK: Final = Format("truc/lock/1", Lock, bytes_max=limits.STATEMENT_BYTES_MAX)
CENTRE_REQUEST: Final = Format("truc/centre-request/1", CentreRequest, bytes_max=limits.STATEMENT_BYTES_MAX)
AGENCY_REQUEST: Final = Format("truc/agency-request/1", AgencyRequest, bytes_max=limits.STATEMENT_BYTES_MAX)

FORMATS: Final[dict[str, Format[Any]]] = {
    item.name: item for item in (ROOT, CENTRE, AGENCY, NODE, LOCK, CENTRE_REQUEST, AGENCY_REQUEST)
}


def read(form: Format[T], statement: bytes) -> T:
    """Read a directory statement and check what makes it well-formed in itself (spec/directory.md §3).

    Raises:
        FormatError: as `Format.decode`; `format_field` with the field; `key_malformed`.
        TrustError: `key_small_order`.
    """
    value = form.decode(statement)
    check(value)
    return value


def check(value: Any) -> None:
    """The rules of spec/directory.md §3 for any of the statements. Raises: as `read`."""
    _CHECKS[type(value)](value)


def not_a_record(name: str) -> FormatError:
    """The outcome for a thing of this format: of a newer version of ours, or something else."""
    ours = {known.rpartition("/")[0] for known in FORMATS}
    newer = name not in FORMATS and name.rpartition("/")[0] in ours
    return FormatError("format_newer") if newer else FormatError("directory_format", format=name)


# --- rules within one statement -------------------------------------------------------------


def _wrong(field_path: str, reason: str) -> FormatError:
    return FormatError("format_field", field=field_path, reason=reason)


def _require(condition: bool, field_path: str, reason: str) -> None:
    if not condition:
        raise _wrong(field_path, reason)


def _check_text(text: str, where: str) -> None:
    _require(text == text.strip() and text.isprintable(), where, "blanks around it or unprintable characters")


def _check_names(names: Names) -> None:
    _require(names.vi != "", "names.vi", "empty")
    for name in ("vi", "en", "short"):
        _check_text(getattr(names, name), f"names.{name}")


def _check_unique(items: Sequence[object], where: str) -> None:
    _require(len(set(items)) == len(items), where, "repeated")


def _check_keys(entries: Iterable[KeyEntry], where: str, algorithm: str) -> None:
    ids: list[bytes] = []
    for index, entry in enumerate(entries):
        at = f"{where}[{index}]"
        _require(entry.from_ms < entry.until_ms, f"{at}.until_ms", "not after from_ms")
        _require(entry.compromised_ms <= entry.revoked_ms, f"{at}.compromised_ms", "after revoked_ms")
        _check_key(entry, at, algorithm)
        ids.append(entry.key_id)
    _check_unique(ids, where)


def _check_key(entry: KeyEntry, at: str, algorithm: str) -> None:
    """Keys of algorithms that we do not know are carried and never used."""
    sealing = entry.algorithm == ALGORITHM_X25519
    _require(sealing == (algorithm == ALGORITHM_X25519), f"{at}.algorithm", "a key for another use")
    if sealing:
        sealing_public(entry.raw)
    elif entry.algorithm == ALGORITHM_ED25519:
        PublicKey.of(entry.algorithm, entry.raw)


def _check_root(root: Root) -> None:
    _check_text(root.name, "name")
    _check_keys(root.keys, "keys", ALGORITHM_ED25519)
    names = tuple(role.name for role in root.roles)
    _require(names == (ROLE_LEVEL_1, ROLE_ROOT), "roles", "expected level-1 and root, in this order")
    listed = {entry.key_id for entry in root.keys if not entry.revoked_ms}
    for index, role in enumerate(root.roles):
        _check_unique(role.keys, f"roles[{index}].keys")
        alive = sum(key in listed for key in role.keys)
        _require(set(role.keys) <= {e.key_id for e in root.keys}, f"roles[{index}].keys", "a key that is not listed")
        _require(role.threshold <= alive, f"roles[{index}].threshold", "more than the keys that are not revoked")


def _check_registrar(registrar: str) -> None:
    if registrar not in {ROLE_ROOT, ROLE_LEVEL_1}:
        read_agency_code(registrar, field="registrar")


def _check_centre_record(record: CentreRecord) -> None:
    _check_registrar(record.registrar)
    _check_centre_body(record)


def _check_centre_body(record: CentreRecord | CentreRequest) -> None:
    read_centre_code(record.code, field="code")
    _check_names(record.names)
    _check_text(record.peer_id, "peer_id")
    _check_keys(record.keys, "keys", ALGORITHM_ED25519)
    _check_keys(record.sealing, "sealing", ALGORITHM_X25519)


def _check_agency_record(record: AgencyRecord) -> None:
    _check_registrar(record.registrar)
    _check_agency_body(record)
    for index, code in enumerate(record.successors):
        read_agency_code(code, field=f"successors[{index}]")
    _check_unique((record.code, *record.successors), "successors")


def _check_agency_body(record: AgencyRecord | AgencyRequest) -> None:
    read_agency_code(record.code, field="code")
    _check_names(record.names)
    read_centre_code(record.host, field="host")
    _check_parent(record.code, record.parent)
    for index, alias in enumerate(record.aliases):
        read_agency_code(alias, field=f"aliases[{index}]")
    _check_unique((record.code, *record.aliases), "aliases")
    _check_text(record.kind, "kind")
    _check_text(record.decision, "decision")
    _check_keys(record.keys, "keys", ALGORITHM_ED25519)
    _check_delegation(record.code, record.delegation)


def is_above(upper: str, code: str) -> bool:
    """Whether `upper` stands above `code`: by whole components, and above an old-form code
    (whose order is data, not arithmetic) only the level-1 code that it ends in."""
    if is_new_form(code):
        return is_ancestor(upper, code)
    return upper == level_one(code)


def _check_parent(code: str, parent: str) -> None:
    if is_new_form(code) and "." not in code:
        _require(parent == "", "parent", "a level-1 code has none")
    elif is_new_form(code) or parent:
        read_agency_code(parent, field="parent")
        beside = not is_new_form(code) and parent != code and level_one(parent) == level_one(code)
        _require(beside or is_above(parent, code), "parent", "not above the code")


def _check_delegation(code: str, delegation: Delegation) -> None:
    _check_keys(delegation.keys, "delegation.keys", ALGORITHM_ED25519)
    alive = sum(not entry.revoked_ms for entry in delegation.keys)
    _require(delegation.threshold <= max(1, alive), "delegation.threshold", "more than the keys that are not revoked")
    _require(bool(delegation.keys) or not delegation.parts, "delegation.parts", "without keys")
    for index, part in enumerate(delegation.parts):
        read_agency_code(part, field=f"delegation.parts[{index}]")
        _require(is_above(code, part), f"delegation.parts[{index}]", "not below the code")
    _check_unique(delegation.parts, "delegation.parts")


def _check_node(record: NodeRecord) -> None:
    read_centre_code(record.centre, field="centre")
    _require(record.from_ms < record.until_ms, "until_ms", "not after from_ms")
    _require(record.until_ms - record.from_ms <= limits.NODE_RECORD_VALID_MAX_MS, "until_ms", "more than 7 days")
    _check_unique(record.addresses, "addresses")
    for index, address in enumerate(record.addresses):
        _check_text(address, f"addresses[{index}]")


def _check_lock(lock: Lock) -> None:
    read_agency_code(lock.code, field="code")


_CHECKS: Final[dict[type, Any]] = {
    Root: _check_root,
    CentreRecord: _check_centre_record,
    AgencyRecord: _check_agency_record,
    NodeRecord: _check_node,
    Lock: _check_lock,
    CentreRequest: _check_centre_body,
    AgencyRequest: _check_agency_body,
}
