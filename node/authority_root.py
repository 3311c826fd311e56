"""Versions of the root: the first one of a new authority, and each next with other keys or generations.

Obeys DESIGN §3 ("Root: m-of-n keys, versions signed by the old and the new threshold; two roles")
and `protocol/spec/trust.md` §3. A version that lacks signatures changes nothing, and others complete it
by files (`Authority.sign`). What an authority does with its root is `authority.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from node.authority import Authority
from node.authority_act import revoked
from node.authority_folder import AuthorityFolder, Book, Entropy
from node.countersigning import signed_together
from node.requests import key_entry, signed_by_all
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, ROOT, KeyEntry, Role, Root, check
from protocol.errors import ConfigurationError
from protocol.limits import DAY_MS
from protocol.signing import Ed25519Signer, PublicKey, Signed
from storage.keystore import Cost

ROOT_KEY_LIFE_MS: Final = 20 * 365 * DAY_MS
KEY_PREFIX_MIN: Final = 8
"""Characters of a key id that name a key: 32 bits, among at most sixteen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPlan:
    """How many keys the root's two roles get, and how many of them must sign."""

    root_keys: int = 1
    root_threshold: int = 1
    level_1_keys: int = 1
    level_1_threshold: int = 1

    def check(self) -> None:
        """Raises: ConfigurationError: `authority_threshold`."""
        for threshold, keys in ((self.root_threshold, self.root_keys), (self.level_1_threshold, self.level_1_keys)):
            if not 1 <= threshold <= keys <= 9:
                raise ConfigurationError("authority_threshold", threshold=threshold, keys=keys)


def create_authority(
    folder: AuthorityFolder,
    *,
    name: str,
    passphrase: bytes,
    entropy: Entropy,
    now_ms: int,
    plan: KeyPlan | None = None,
    cost: Cost | None = None,
) -> Authority:
    """A new root with fresh keys, in an empty folder.

    Raises:
        ConfigurationError: `authority_exists`, `authority_threshold`.
        FormatError: `format_field` (the name).
    """
    plan = plan if plan is not None else KeyPlan()
    plan.check()
    if folder.exists():
        raise ConfigurationError("authority_exists")
    check(_first_root(name, plan, _placeholder_keys(plan), now_ms))
    names = [*_key_names(ROLE_ROOT, plan.root_keys), *_key_names(ROLE_LEVEL_1, plan.level_1_keys)]
    keys = {key: folder.make_key(key, passphrase, entropy=entropy, cost=cost) for key in names}
    root = _first_root(name, plan, {key: signer.public for key, signer in keys.items()}, now_ms)
    signers = [keys[key] for key in _key_names(ROLE_ROOT, plan.root_keys)][: plan.root_threshold]
    signed = signed_by_all(ROOT, root, signers)
    book = Book(anchor=signed.digest, last_ms=now_ms)
    folder.write_issued([signed.to_wire()])
    folder.write_book(book)
    return Authority(folder, book, [signed.to_wire()], keys, now_ms)


# --- next versions --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePlan:
    """What becomes of one role in the next version of the root."""

    name: str
    fresh: tuple[KeyEntry, ...] = ()
    """New keys, which take the place of all old ones; none: the old ones stay."""
    joining: tuple[KeyEntry, ...] = ()
    """Keys that come beside those that stay."""
    leaving: frozenset[bytes] = frozenset()
    """Ids of keys that act for the role no more; what they signed before goes on to count."""
    threshold: int = 0
    """0: as before."""
    next_generation: bool = False


def next_root(
    authority: Authority,
    roles: Iterable[RolePlan],
    now_ms: int,
    *,
    revoke: Iterable[bytes] = (),
    compromised_ms: int = 0,
    instead: bool = False,
) -> Signed:
    """Sign the next version of the root with every key here that its old or new threshold asks for.

    Keys of no role are not listed any more, revoked ones are. `instead`: drop a version that was
    begun and that nobody will complete.

    Raises:
        ConfigurationError: `authority_root_begun`, `authority_keys_missing`, `authority_threshold`,
            `authority_unseen` (the network may have a newer root).
        FormatError: `format_field` (more than 16 keys).
    """
    present = authority.present_root()
    authority.check_seen(ROLE_ROOT, now_ms)
    _check_nothing_begun(authority, instead=instead)
    at_ms = authority.date(max(now_ms, present.created_ms + 1))
    made = _changed_root(present, {plan.name: plan for plan in roles}, at_ms, set(revoke), compromised_ms)
    signers = authority.root_signers(present, made)
    if not authority.root_signers(present):
        raise ConfigurationError("authority_keys_missing", registrar=ROLE_ROOT)
    check(made)
    (signed,) = signed_together([(ROOT.name, ROOT.encode(made))], signers)
    authority.publish([signed], at_ms)
    return signed


def _check_nothing_begun(authority: Authority, *, instead: bool) -> None:
    """Two versions of the root under one number, both complete, would be a fork of everything."""
    known = authority.present_root().version
    for signed in authority.issued.drafts():
        if signed.format == ROOT.name and ROOT.decode(signed.statement).version == known + 1:
            if not instead:
                raise ConfigurationError("authority_root_begun", version=known + 1)
            authority.issued.forget(signed.digest)


def _changed_root(
    present: Root, plans: Mapping[str, RolePlan], at_ms: int, revoke: set[bytes], compromised_ms: int
) -> Root:
    known = revoked(present.keys, revoke, at_ms, compromised_ms)
    gone = {entry.key_id for entry in known if entry.revoked_ms}
    roles = tuple(_changed_role(role, plans.get(role.name), gone) for role in present.roles)
    fresh = {entry.key_id: entry for plan in plans.values() for entry in (*plan.fresh, *plan.joining)}
    members = {key for role in roles for key in role.keys}
    stay = {entry.key_id: entry for entry in known if entry.key_id in members or entry.revoked_ms}
    keys = tuple({**{key: entry for key, entry in fresh.items() if key not in stay}, **stay}.values())
    changes: dict[str, Any] = {"version": present.version + 1, "created_ms": at_ms, "keys": keys, "roles": roles}
    return replace(present, **changes)


def _changed_role(role: Role, plan: RolePlan | None, gone: set[bytes]) -> Role:
    plan = plan if plan is not None else RolePlan(name=role.name)
    stay = () if plan.fresh else tuple(key for key in role.keys if key not in gone | plan.leaving)
    join = [entry.key_id for entry in (*plan.fresh, *plan.joining)]
    keys = (*(key for key in dict.fromkeys(join) if key not in stay), *stay)
    threshold = plan.threshold or role.threshold
    if not 1 <= threshold <= len(keys):
        raise ConfigurationError("authority_threshold", threshold=threshold, keys=len(keys))
    return replace(role, keys=keys, threshold=threshold, generation=role.generation + plan.next_generation)


def make_role_keys(
    authority: Authority,
    role: str,
    number: int,
    passphrase: bytes,
    now_ms: int,
    *,
    entropy: Entropy,
    cost: Cost | None = None,
) -> tuple[KeyEntry, ...]:
    """Fresh keys for a role of the next version, in files named after that version."""
    version = authority.present_root().version + 1
    names = free_names(authority.key_names, f"{role}-v{version}", number)
    made = [authority.make_key(name, passphrase, entropy=entropy, cost=cost) for name in names]
    return tuple(key_entry(key, now_ms, life_ms=ROOT_KEY_LIFE_MS) for key in made)


def find_key(authority: Authority, where: str, key: str, entries: Iterable[KeyEntry]) -> bytes:
    """The id of the key that people mean by a name in this folder, or by the start of its id.

    Raises:
        ConfigurationError: `authority_key_unknown`.
    """
    named = authority.key(key)
    ids = {entry.key_id for entry in entries}
    if named is not None and named.key_id in ids:
        return named.key_id
    found = [item for item in ids if len(key) >= KEY_PREFIX_MIN and item.hex().startswith(key.lower())]
    if len(found) != 1:
        raise ConfigurationError("authority_key_unknown", key=key, where=where)
    return found[0]


def free_names(taken: Sequence[str], stem: str, number: int) -> list[str]:
    """Names of keys that are not there yet: no key file is ever written over."""
    found: list[str] = []
    index = 1
    while len(found) < number:
        name = f"{stem}-{index}"
        if name not in taken:
            found.append(name)
        index += 1
    return found


# --- pieces ---------------------------------------------------------------------------------


def _first_root(name: str, plan: KeyPlan, keys: Mapping[str, PublicKey], now_ms: int) -> Root:
    def role(role_name: str, number: int, threshold: int) -> Role:
        ids = tuple(keys[key].key_id for key in _key_names(role_name, number))
        return Role(name=role_name, keys=ids, threshold=threshold)

    return Root(
        version=1,
        created_ms=now_ms,
        name=name,
        keys=tuple(key_entry(keys[key], now_ms, life_ms=ROOT_KEY_LIFE_MS) for key in keys),
        roles=(
            role(ROLE_LEVEL_1, plan.level_1_keys, plan.level_1_threshold),
            role(ROLE_ROOT, plan.root_keys, plan.root_threshold),
        ),
    )


def _placeholder_keys(plan: KeyPlan) -> dict[str, PublicKey]:
    """Keys of nobody, to check the rest of a root before any key file is written."""
    names = [*_key_names(ROLE_ROOT, plan.root_keys), *_key_names(ROLE_LEVEL_1, plan.level_1_keys)]
    return {name: Ed25519Signer(index.to_bytes(32, "big")).public for index, name in enumerate(names, 1)}


def _key_names(role: str, number: int) -> list[str]:
    return [f"{role}-{index + 1}" for index in range(number)]
