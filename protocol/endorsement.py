"""No silent take-over: which changes of a record must be endorsed by a key of the version before.

Spec: `spec/trust.md` §5 (DESIGN §3). Adding a key, lengthening its life, or moving to another
host or peer needs an endorsement, whatever state the record is in: otherwise locking first
would open the door. Revoking, shortening, locking and closing need none. What becomes of a
version that lacks one is decided in `standing.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from protocol.directory import AgencyRecord, CentreRecord, Delegation, KeyEntry, Numbered
from protocol.entitlement import KeySet, Lookup, own_keys, revoked_ids, valid_keys
from protocol.errors import NotNow
from protocol.limits import HOSTING_EPOCH_STEP_MAX


def protected(record: Numbered) -> tuple[Any, ...]:
    """What a pending row must not change: whose keys speak, where things go, who signs below."""
    if isinstance(record, CentreRecord):
        return record.peer_id, record.keys, record.sealing
    return record.host, record.keys, record.delegation


def endorsers(
    lookup: Lookup, old: Numbered, new: Numbered, *, revoked: frozenset[bytes] = frozenset()
) -> KeySet | None:
    """The keys of `old`, none of them in `revoked`, one of which must have signed `new`; None when none must.

    Raises:
        NotNow: `directory_centre_unknown`.
    """
    if isinstance(old, CentreRecord):
        assert isinstance(new, CentreRecord)
        found = centre_endorsers(old, new)
    else:
        assert isinstance(new, AgencyRecord)
        found = agency_endorsers(lookup, old, new)
    if found is None:
        return None
    return KeySet(keys={key: value for key, value in found.keys.items() if key not in revoked}, records=found.records)


def agency_endorsers(lookup: Lookup, old: AgencyRecord, new: AgencyRecord) -> KeySet | None:
    """The keys of `old` one of which must have signed `new`; None when the change needs no endorsement.

    Raises:
        NotNow: `directory_centre_unknown` (the old host's keys would be needed).
    """
    routes = old.host != new.host or gains_key(old.keys, new.keys) or loses_key(old.keys, new.keys)
    routes = routes or new.epoch > old.epoch + HOSTING_EPOCH_STEP_MAX
    delegates = _delegates_more(old.delegation, new.delegation)
    if not routes and not delegates:
        return None
    if not old.keys and not lookup.centre_versions(old.host):
        raise NotNow("directory_centre_unknown", centre=old.host)
    keys = own_keys(lookup, old, new.created_ms, revoked_ids(old.keys))
    if routes:
        return keys
    return keys | KeySet(keys=valid_keys(old.delegation.keys, new.created_ms), records=())


def centre_endorsers(old: CentreRecord, new: CentreRecord) -> KeySet | None:
    """The operational keys of `old` one of which must have signed `new`; None when none must."""
    if old.peer_id == new.peer_id and not gains_key(old.keys, new.keys) and not gains_key(old.sealing, new.sealing):
        return None
    return KeySet(keys=valid_keys(old.keys, new.created_ms), records=())


def gains_key(old: Iterable[KeyEntry], new: Iterable[KeyEntry]) -> bool:
    """Whether some key counts at a time at which it did not count before."""
    before = {entry.key_id: entry for entry in old}
    return any(not entry.revoked_ms and _counts_longer(before.get(entry.key_id), entry) for entry in new)


def _counts_longer(before: KeyEntry | None, after: KeyEntry) -> bool:
    if before is None or before.revoked_ms:
        return True
    return after.from_ms < before.from_ms or after.until_ms > before.until_ms


def loses_key(old: Iterable[KeyEntry], new: Iterable[KeyEntry]) -> bool:
    """Whether a key is no longer listed at all: without any, the host's key would speak instead."""
    return not {entry.key_id for entry in old} <= {entry.key_id for entry in new}


def _delegates_more(old: Delegation, new: Delegation) -> bool:
    """Whether the new delegation lets anybody sign what nobody could sign before."""
    if not new.keys:
        return False
    wider = bool(old.parts) and (not new.parts or not set(new.parts) <= set(old.parts))
    return not old.keys or gains_key(old.keys, new.keys) or new.threshold < old.threshold or wider
