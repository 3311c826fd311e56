"""The keys of a node by their names in the keystore."""

from __future__ import annotations

import pytest

from node.keyring import AGENCY_KEYS, OPERATIONAL, SEALING, VAULT, keyring_of, make_secrets
from protocol.errors import ConfigurationError
from tests.support.errors import expects


def entropy(size: int) -> bytes:
    entropy.calls += 1  # type: ignore[attr-defined]
    return bytes([entropy.calls]) * size  # type: ignore[attr-defined]


entropy.calls = 0  # type: ignore[attr-defined]


def test_fresh_secrets_make_a_keyring_whose_keys_all_differ() -> None:
    secrets = make_secrets(entropy)
    keyring = keyring_of(secrets)
    assert len(set(secrets.values())) == len(secrets)
    assert keyring.vault_key == secrets[VAULT]
    assert keyring.centre.sign(b"x") == keyring.signers[""].sign(b"x")
    assert [key.private.private_bytes_raw() for key in keyring.sealing.values()] == [secrets[SEALING]]


def test_an_agency_that_lists_a_key_of_its_own_signs_with_it() -> None:
    keyring = keyring_of({**make_secrets(entropy), f"{AGENCY_KEYS}G22": bytes(32)})
    assert set(keyring.signers) == {"", "G22"}
    assert keyring.signers["G22"].public != keyring.centre.public


@pytest.mark.parametrize("name", [OPERATIONAL, SEALING, VAULT])
def test_a_keystore_without_a_key_is_named_with_it(name: str) -> None:
    secrets = {**make_secrets(entropy), name: b"short"}
    with expects("keystore_incomplete", ConfigurationError, field=name):
        keyring_of(secrets)
