"""Whether a stored version of a record is what its registrar signed: looked at again when somebody asks for it.

Obeys `protocol/spec/directory.md` §6, *Damage*. A store is not judged anew at each start; who can write to the disk
could put things there that nobody signed. So what is shown one by one is compared with its registrar's keys, those
included that have ended or were revoked since: whether they counted then was decided at acceptance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.court import signers_of
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, KeyEntry, Numbered
from protocol.directory_view import DirectoryView
from protocol.errors import FormatError, NotNow, StoreError, TrustError
from protocol.limits import DIRECTORY_VERSIONS_MAX
from protocol.signing import ALGORITHM_ED25519, PublicKey, Signed, Verifier

_ROLES: Final = frozenset({ROLE_ROOT, ROLE_LEVEL_1})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Every key that a registrar has had here, how few ever had to sign, and whether that is all of it."""

    keys: dict[bytes, PublicKey]
    threshold: int
    whole: bool


def prove(view: DirectoryView, signed: Signed, value: Numbered, verifier: Verifier) -> tuple[bytes, ...]:
    """The key ids of the registrar that signed this.

    Raises:
        StoreError: `directory_damaged`, `record_damaged`.
    """
    listed = listed_keys(view, value.registrar)
    try:
        return signers_of(signed, listed.keys, verifier, needed=listed.threshold)
    except (NotNow, TrustError) as error:
        if listed.whole:
            raise StoreError("directory_damaged", what=value.code) from error
        return ()


def listed_keys(view: DirectoryView, registrar: str) -> Listed:
    """Raises: StoreError: `directory_damaged`, `record_damaged`."""
    if registrar in _ROLES:
        roots = view.root_versions()
        roles = [root.value.role(registrar) for root in roots]
        entries = [
            entry
            for root, role in zip(roots, roles, strict=True)
            for entry in root.value.keys
            if entry.key_id in role.keys
        ]
        return _listed(entries, [role.threshold for role in roles], len(roots))
    versions = view.agency_versions(registrar)
    delegations = [known.value.delegation for known in versions if known.value.delegation.keys]
    entries = [entry for delegation in delegations for entry in delegation.keys]
    return _listed(entries, [delegation.threshold for delegation in delegations], len(versions))


def _listed(entries: Iterable[KeyEntry], thresholds: list[int], versions: int) -> Listed:
    keys: dict[bytes, PublicKey] = {}
    for entry in entries:
        if entry.algorithm == ALGORITHM_ED25519:
            try:
                keys[entry.key_id] = PublicKey.of(entry.algorithm, entry.raw)
            except (FormatError, TrustError):  # carried by a version, and never good for anything
                continue
    return Listed(keys=keys, threshold=min(thresholds, default=1), whole=versions < DIRECTORY_VERSIONS_MAX)
