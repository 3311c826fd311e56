"""The node's private keys in memory, and their names in the keystore; and which keys are elsewhere.

Obeys DESIGN §3 (a centre's operational and sealing keys) and §6 (keys never in backups). Signing goes through the
`Signer` seam: a key that another process holds (`places`) stands among the signers with its public half only, and what
it signs is signed before its step is handed over (`node/presigning.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.errors import ConfigurationError
from protocol.sealing import SealingKey
from protocol.signing import Ed25519Signer, PublicKey, Signer

OPERATIONAL: Final = "centre/operational/ed25519"
SEALING: Final = "centre/sealing/x25519"
IDENTITY: Final = "node/identity/ed25519"
VAULT: Final = "node/vault"
AGENCY_KEYS: Final = "agency/"
"""Followed by the agency's code: its own signing key, where the directory lists one."""
DEADLINE_S: Final = 5.0
"""A token takes 0.1 s; an HSM over a busy line a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerPlace:
    """Where a signer is and what it must be. `agency` is empty for the centre's own key; `uid` None allows the node's
    own user and root only."""

    agency: str
    socket: Path
    public: PublicKey
    uid: int | None = None
    deadline_s: float = DEADLINE_S


@dataclass(frozen=True, slots=True)
class OutsideKey:
    """Stands among a node's signers for a key that is elsewhere: it has a public half and signs nothing here."""

    public: PublicKey

    def sign(self, message: bytes) -> bytes:
        """Nobody may ask: what such a key signs is signed before its step is handed over."""
        raise AssertionError(f"{len(message)} bytes for a key that is elsewhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Signers by agency code (the centre's own under the empty one), sealing keys by key id."""

    signers: Mapping[str, Signer]
    sealing: Mapping[bytes, SealingKey]
    vault_key: bytes
    identity_seed: bytes
    places: tuple[SignerPlace, ...] = ()
    """Where the keys are that other processes hold."""

    @property
    def centre(self) -> Signer:
        """The centre's operational key."""
        return self.signers[""]


def make_secrets(entropy: Callable[[int], bytes]) -> dict[str, bytes]:
    """Fresh secrets for a new centre, by their names."""
    return {OPERATIONAL: entropy(32), SEALING: entropy(32), IDENTITY: entropy(32), VAULT: entropy(32)}


def keyring_of(secrets: Mapping[str, bytes], places: Iterable[SignerPlace] = ()) -> Keyring:
    """The keys of these secrets. One that is elsewhere (`places`) takes the place of one of the same agency here.

    Raises:
        ConfigurationError: `keystore_incomplete`.
    """
    places = tuple(places)
    outside: dict[str, Signer] = {place.agency: OutsideKey(place.public) for place in places}
    for name in (SEALING, IDENTITY, VAULT) if "" in outside else (OPERATIONAL, SEALING, IDENTITY, VAULT):
        if len(secrets.get(name, b"")) != 32:
            raise ConfigurationError("keystore_incomplete", field=name)
    sealing = [SealingKey(secret) for name, secret in secrets.items() if name.startswith(SEALING)]
    own: dict[str, Signer] = {
        name.removeprefix(AGENCY_KEYS): Ed25519Signer(secret)
        for name, secret in secrets.items()
        if name.startswith(AGENCY_KEYS)
    }
    if "" not in outside:
        own[""] = Ed25519Signer(secrets[OPERATIONAL])
    return Keyring(
        signers={**own, **outside},
        places=places,
        sealing={key.key_id: key for key in sealing},
        vault_key=secrets[VAULT],
        identity_seed=secrets[IDENTITY],
    )
