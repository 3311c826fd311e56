"""Keys that never lie in one place: a custodian's folder, its request, and what is made of requests.

Obeys `protocol/spec/key_request.md` (DESIGN §3, "Root: m-of-n keys"). A custodian makes keys on a machine of
its own and hands over a request; one of them founds the root from all requests, or signs its next version;
the others trust the root once they have compared its digest, and add their signatures (`Authority.sign`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from node.authority import Authority
from node.authority_folder import AuthorityFolder, Book, Entropy
from node.authority_recovery import readable
from node.authority_root import ROOT_KEY_LIFE_MS, RolePlan, free_names
from node.countersigning import signed_together
from node.requests import key_entry
from protocol.checkpoint import check_registrar
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, ROOT, KeyEntry, Role, Root, check
from protocol.errors import ConfigurationError, NotNow
from protocol.key_request import (
    KEY_REQUEST,
    PURPOSE_HEARTBEAT,
    KeyRequest,
    check_key_request,
    proved_key_request,
)
from protocol.limits import CUSTODY_KEYS_MAX
from protocol.prefix_tree import EMPTY
from protocol.signing import Signed, Verifier
from storage.keystore import Cost

ROLES: Final = (ROLE_LEVEL_1, ROLE_ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds keys, how many, and what they are for; `registrar` only for heartbeats."""

    name: str
    purpose: str
    registrar: str = ""
    keys: int = 1


# --- a custodian's folder ---------------------------------------------------------------------


def open_custody(
    folder: AuthorityFolder, things: Iterable[bytes], *, anchor: bytes, passphrase: bytes, now_ms: int
) -> Authority:
    """The folder of a custodian, made if it is not there; over a tree, or (`anchor` zero) before there is one.

    Raises:
        ConfigurationError: `authority_trusts`, `keystore_passphrase`, and as `AuthorityFolder.read_book`.
        NotNow: `directory_no_root` (the file does not hold the trusted root).
    """
    if not folder.exists():
        folder.write_issued([])
        folder.write_book(Book(anchor=EMPTY))
    book = folder.read_book()
    opened = Authority(folder, book, folder.read_issued(), folder.open_keys(passphrase), now_ms)
    if anchor != EMPTY:
        adopt(opened, things, anchor, now_ms)
    return opened


def adopt(authority: Authority, things: Iterable[bytes], anchor: bytes, now_ms: int) -> None:
    """Trust this root, once, with everything that the file has under it. Raises: as `open_custody`."""
    read = readable(things)
    if all(signed.digest != anchor for signed in read) and authority.anchor != anchor:
        raise NotNow("directory_no_root")
    authority.trust(anchor, read, now_ms)
    authority.keep(read, now_ms)
    authority.note_seen(now_ms)


def request_keys(
    authority: Authority,
    folder: AuthorityFolder,
    who: Holder,
    now_ms: int,
    *,
    passphrase: bytes,
    entropy: Entropy,
    cost: Cost | None = None,
) -> Signed:
    """Fresh keys in this folder, and the request that hands over their public halves.

    Raises:
        ConfigurationError: `authority_threshold` (number of keys), `authority_no_anchor` (heartbeats belong to a tree).
        FormatError: `format_field`, `format_agency_code`.
    """
    if not 1 <= who.keys <= CUSTODY_KEYS_MAX:
        raise ConfigurationError("authority_threshold", threshold=who.keys, keys=CUSTODY_KEYS_MAX)
    if who.purpose == PURPOSE_HEARTBEAT:
        if authority.anchor == EMPTY:
            raise ConfigurationError("authority_no_anchor")
        check_registrar(who.registrar)
    check_key_request(_request(authority, who, [_NOBODYS], now_ms))
    stem = f"{who.purpose}-{who.registrar}" if who.registrar else who.purpose
    names = free_names(folder.key_names(), stem, who.keys)
    life_ms = ROOT_KEY_LIFE_MS if who.purpose in ROLES else None
    entries: list[KeyEntry] = []
    for name in names:
        public = authority.make_key(name, passphrase, entropy=entropy, cost=cost)
        entries.append(key_entry(public, now_ms, life_ms=life_ms) if life_ms else key_entry(public, now_ms))
    value = _request(authority, who, entries, now_ms)
    check_key_request(value)
    signers = [signer for entry in entries if (signer := authority.signer_of([entry.key_id])) is not None]
    (signed,) = signed_together([(KEY_REQUEST.name, KEY_REQUEST.encode(value))], signers)
    return signed


def _request(authority: Authority, who: Holder, entries: Sequence[KeyEntry], now_ms: int) -> KeyRequest:
    return KeyRequest(
        created_ms=now_ms,
        purpose=who.purpose,
        anchor=authority.anchor,
        keys=tuple(entries),
        holder=who.name,
        registrar=who.registrar,
    )


_NOBODYS: Final = KeyEntry(
    algorithm="ed25519",
    raw=bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"),
    from_ms=0,
    until_ms=1,
)
"""RFC 8032 §7.1, test 1: the rest of a request is checked with it before any key file is written."""


# --- what is made of requests -----------------------------------------------------------------


def believed_requests(
    requests: Iterable[Signed], purposes: Sequence[str], anchor: bytes, verifier: Verifier
) -> list[KeyRequest]:
    """Requests that are proved, and meant for this tree and one of these purposes.

    Raises:
        ConfigurationError: `authority_no_request`, `authority_request_purpose`, `authority_request_tree`.
        FormatError, TrustError: as `proved_key_request`.
    """
    found = [proved_key_request(signed, verifier) for signed in requests]
    for request in found:
        if request.purpose not in purposes:
            wanted = ", ".join(purposes)
            raise ConfigurationError("authority_request_purpose", found=request.purpose, wanted=wanted)
        if request.anchor != anchor:
            raise ConfigurationError("authority_request_tree", holder=request.holder, found=request.anchor.hex())
    if not found:
        raise ConfigurationError("authority_no_request")
    return found


def found_root(
    authority: Authority,
    requests: Iterable[Signed],
    now_ms: int,
    *,
    name: str,
    root_threshold: int = 1,
    level_1_threshold: int = 1,
) -> Signed:
    """Version 1 of a root from the requests of its custodians, signed with the root keys in this folder.

    The folder trusts it from now on; other custodians' signatures may still be lacking.

    Raises:
        ConfigurationError: `authority_trusts`, `authority_threshold`, `authority_keys_missing` (no key here is
            one of the root's), and as `believed_requests`.
        FormatError: `format_field`.
    """
    if authority.anchor != EMPTY:
        raise ConfigurationError("authority_trusts", anchor=authority.anchor.hex())
    found = believed_requests(requests, ROLES, EMPTY, Verifier())
    thresholds = {ROLE_LEVEL_1: level_1_threshold, ROLE_ROOT: root_threshold}
    roles = tuple(_role(role, found, thresholds[role]) for role in ROLES)
    entries = {entry.key_id: entry for request in found for entry in request.keys}
    root = Root(version=1, created_ms=now_ms, name=name, keys=tuple(entries.values()), roles=roles)
    check(root)
    signers = authority.root_signers(root)
    if not signers:
        raise ConfigurationError("authority_keys_missing", registrar=ROLE_ROOT)
    (signed,) = signed_together([(ROOT.name, ROOT.encode(root))], signers)
    authority.trust(signed.digest, [signed], now_ms)
    authority.note_seen(now_ms)
    return signed


def _role(role: str, requests: Sequence[KeyRequest], threshold: int) -> Role:
    keys = keys_of(requests, role)
    if not 1 <= threshold <= len(keys):
        raise ConfigurationError("authority_threshold", threshold=threshold, keys=len(keys))
    return Role(name=role, keys=tuple(dict.fromkeys(entry.key_id for entry in keys)), threshold=threshold)


def keys_of(requests: Iterable[KeyRequest], purpose: str) -> tuple[KeyEntry, ...]:
    """The keys that were asked for with this purpose."""
    return tuple(entry for request in requests if request.purpose == purpose for entry in request.keys)


def with_custodians(authority: Authority, plans: Iterable[RolePlan], requests: Iterable[Signed]) -> list[RolePlan]:
    """The plans of the next root, with the custodians' keys joining the roles they asked for.

    Raises: as `believed_requests`.
    """
    wanted = list(requests)
    if not wanted:
        return list(plans)
    found = believed_requests(wanted, ROLES, authority.anchor, authority.issued.verifier)
    return [replace(plan, joining=keys_of(found, plan.name)) for plan in plans]


def heartbeat_keys_asked_for(authority: Authority, requests: Iterable[Signed], registrar: str) -> tuple[KeyEntry, ...]:
    """The keys that a custodian wants to repeat this registrar's checkpoints with.

    Raises:
        ConfigurationError: as `believed_requests`; `authority_request_purpose` for another registrar's.
    """
    found = believed_requests(requests, (PURPOSE_HEARTBEAT,), authority.anchor, authority.issued.verifier)
    for request in found:
        if request.registrar != registrar:
            told = f"{request.purpose} {request.registrar}"
            raise ConfigurationError("authority_request_purpose", found=told, wanted=f"{PURPOSE_HEARTBEAT} {registrar}")
    return keys_of(found, PURPOSE_HEARTBEAT)
