"""A new authority: fresh keys, the first root, an empty book.

Obeys DESIGN §3 ("Root: m-of-n keys; two roles"). Next versions of the root come with the
rotation of keys; what an authority does with its root is `authority.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from node.authority import Authority
from node.authority_folder import AuthorityFolder, Book, Entropy
from node.requests import key_entry, signed_by_all
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, ROOT, Role, Root, check
from protocol.errors import ConfigurationError
from protocol.limits import DAY_MS
from protocol.signing import Ed25519Signer, PublicKey
from storage.keystore import Cost

ROOT_KEY_LIFE_MS: Final = 20 * 365 * DAY_MS


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
