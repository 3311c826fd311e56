"""The node's private keys in memory, and their names in the keystore.

Obeys DESIGN §3 (a centre's operational and sealing keys) and §6 (keys never in backups). Signing
goes through the `Signer` seam, so that keys may live in hardware later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from protocol.errors import ConfigurationError
from protocol.sealing import SealingKey
from protocol.signing import Ed25519Signer, Signer

OPERATIONAL: Final = "centre/operational/ed25519"
SEALING: Final = "centre/sealing/x25519"
IDENTITY: Final = "node/identity/ed25519"
VAULT: Final = "node/vault"
AGENCY_KEYS: Final = "agency/"
"""Followed by the agency's code: its own signing key, where the directory lists one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Signers by agency code (the centre's own under the empty one), sealing keys by key id."""

    signers: Mapping[str, Signer]
    sealing: Mapping[bytes, SealingKey]
    vault_key: bytes
    identity_seed: bytes

    @property
    def centre(self) -> Signer:
        """The centre's operational key."""
        return self.signers[""]


def make_secrets(entropy: Callable[[int], bytes]) -> dict[str, bytes]:
    """Fresh secrets for a new centre, by their names."""
    return {OPERATIONAL: entropy(32), SEALING: entropy(32), IDENTITY: entropy(32), VAULT: entropy(32)}


def keyring_of(secrets: Mapping[str, bytes]) -> Keyring:
    """The keys of these secrets.

    Raises:
        ConfigurationError: `keystore_incomplete`.
    """
    for name in (OPERATIONAL, SEALING, IDENTITY, VAULT):
        if len(secrets.get(name, b"")) != 32:
            raise ConfigurationError("keystore_incomplete", field=name)
    sealing = [SealingKey(secret) for name, secret in secrets.items() if name.startswith(SEALING)]
    own = {
        name.removeprefix(AGENCY_KEYS): Ed25519Signer(secret)
        for name, secret in secrets.items()
        if name.startswith(AGENCY_KEYS)
    }
    return Keyring(
        signers={"": Ed25519Signer(secrets[OPERATIONAL]), **own},
        sealing={key.key_id: key for key in sealing},
        vault_key=secrets[VAULT],
        identity_seed=secrets[IDENTITY],
    )
