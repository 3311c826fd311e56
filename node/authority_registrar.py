"""A registrar's own folder: keys that never were elsewhere, and the request that hands over their public halves.

Obeys DESIGN §3 ("registrars for parts of the tree, delegating further") and DECISIONS "Signed thing"
(a registered key brings a proof of possession). The body above answers with `truc authority delegate`;
from then on the folder is an authority like any other (`authority.py`), for its part of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from node.authority import Authority
from node.authority_act import default_parent
from node.authority_folder import AuthorityFolder, Book, Entropy
from node.authority_recovery import readable
from node.requests import key_entry, signed_by_all
from protocol.directory import AGENCY_REQUEST, ROOT, AgencyRequest, Delegation, Names, check
from protocol.errors import ConfigurationError, NotNow
from protocol.limits import DIRECTORY_KEYS_MAX
from protocol.signing import Ed25519Signer, Signed
from storage.keystore import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """Which agency wants to register others; name and host only if it has no record yet."""

    code: str
    name: str = ""
    host: str = ""
    keys: int = 1
    threshold: int = 1


def apply_as_registrar(
    folder: AuthorityFolder,
    who: Applicant,
    things: Iterable[bytes],
    *,
    anchor: bytes | None,
    passphrase: bytes,
    entropy: Entropy,
    now_ms: int,
    cost: Cost | None = None,
) -> tuple[Authority, Signed]:
    """A folder with fresh keys for a registrar, over a directory file, and its request to the body above.

    `anchor`: digest of the trusted root; None takes the first root in the file, for the operator to compare.

    Raises:
        ConfigurationError: `authority_exists`, `authority_threshold`.
        NotNow: `directory_no_root`.
        RequestError: `agency_unknown` (no record yet, and no name or host given).
        FormatError: `format_field` and others.
    """
    if not 1 <= who.threshold <= who.keys < DIRECTORY_KEYS_MAX:
        raise ConfigurationError("authority_threshold", threshold=who.threshold, keys=who.keys)
    if folder.exists():
        raise ConfigurationError("authority_exists")
    read = readable(things)
    book = Book(anchor=anchor if anchor is not None else _first_root(read), registrar=who.code)
    seen = Authority(folder, book, [signed.to_wire() for signed in read], {}, now_ms)
    if not seen.view.root_versions():
        raise NotNow("directory_no_root")
    wish = _wish(seen, who, now_ms)
    check(wish)
    names = [f"{who.code}-{index + 1}" for index in range(who.keys)]
    keys = {name: folder.make_key(name, passphrase, entropy=entropy, cost=cost) for name in names}
    request = signed_by_all(AGENCY_REQUEST, with_keys(wish, keys.values(), who.threshold, now_ms), [*keys.values()])
    kept = [signed.to_wire() for signed in seen.issued.kept()]
    folder.write_issued(kept)
    folder.write_book(book)
    return Authority(folder, book, kept, keys, now_ms), request


def with_keys(wish: AgencyRequest, keys: Iterable[Ed25519Signer], threshold: int, now_ms: int) -> AgencyRequest:
    """The request with these keys as the agency's registrar."""
    entries = tuple(key_entry(signer.public, now_ms) for signer in keys)
    return replace(wish, delegation=Delegation(keys=entries, threshold=threshold))


def _wish(seen: Authority, who: Applicant, now_ms: int) -> AgencyRequest:
    known = seen.issued.agency(who.code)
    if known is None and who.name and who.host:
        parent = default_parent(who.code)
        return AgencyRequest(created_ms=now_ms, code=who.code, names=Names(vi=who.name), host=who.host, parent=parent)
    record = seen.view.agency(who.code) if known is None else known.value
    return AgencyRequest(
        created_ms=now_ms, code=record.code, names=record.names, host=record.host, parent=record.parent
    )


def _first_root(things: Iterable[Signed]) -> bytes:
    roots = [signed for signed in things if signed.format == ROOT.name]
    if not roots:
        raise NotNow("directory_no_root")
    return min(roots, key=lambda signed: ROOT.decode(signed.statement).version).digest
