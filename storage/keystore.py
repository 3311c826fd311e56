"""The node's secrets at rest: named values under one passphrase, in two copies (DESIGN §6).

A copy is SHA-256 of the rest ‖ a canonical statement: Argon2id salt and cost, generation,
nonce, and the secrets sealed with AES-256-GCM, everything else bound as associated text.
The checksum tells damage from a wrong passphrase. Each save writes copy 1 durably, then
copy 2; reading takes the newest copy that opens and heals the other. A backup is one such
blob under a passphrase of its own. Which secrets there are is the callers' business.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from protocol.encoding import Count, Format, Id16, Key, lp
from protocol.errors import ConfigurationError, FormatError, StoreError
from protocol.limits import KIB, MIB
from storage.folder import Folder, translated

Entropy = Callable[[int], bytes]
"""Gives so many random bytes."""

SECRETS_BYTES_MAX: Final = 256 * KIB
"""All secrets together: some thousand keys."""

CREDENTIAL_BYTES_MAX: Final = 4 * KIB
MEMORY_KIB_MAX: Final = 1024 * KIB
"""One gibibyte: a changed file must not make us take all memory before it is refused."""

PASSES_MAX: Final = 64
LANES_MAX: Final = 16

_FOLDER: Final = "keys"
_COPIES: Final = (f"{_FOLDER}/keystore.1", f"{_FOLDER}/keystore.2")
_CHECKSUM_BYTES: Final = 32
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one guess costs: Argon2id with so much memory, so many passes, so many lanes."""

    memory_kib: int = 64 * KIB
    passes: int = 3
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class Secret:
    """One named secret."""

    name: Annotated[str, Key(1)]
    value: Annotated[bytes, Key(2)]


@dataclass(frozen=True, slots=True)
class Secrets:
    """All secrets of a keystore or backup, by name."""

    entries: Annotated[tuple[Secret, ...], Key(1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Secrets under a passphrase."""

    salt: Annotated[Id16, Key(1)]
    memory_kib: Annotated[Count, Key(2)]
    passes: Annotated[Count, Key(3)]
    lanes: Annotated[Count, Key(4)]
    generation: Annotated[Count, Key(5)]
    nonce: Annotated[bytes, Key(6)]
    sealed: Annotated[bytes, Key(7)]


SECRETS: Final = Format("truc/secrets/1", Secrets, bytes_max=SECRETS_BYTES_MAX)
KEYSTORE: Final = Format("truc/keystore/1", Box, bytes_max=2 * SECRETS_BYTES_MAX)
KEY_BACKUP: Final = Format("truc/key-backup/1", Box, bytes_max=2 * SECRETS_BYTES_MAX)


class Keystore:
    """An open keystore: secrets in memory, every change durable in both copies on return."""

    def __init__(self, folder: Folder, lock: _Lock, generation: int, secrets: Mapping[str, bytes]) -> None:
        self._folder: Final = folder
        self._lock = lock
        self._generation = generation
        self._secrets: dict[str, bytes] = dict(secrets)

    def get(self, name: str) -> bytes | None:
        """The secret of this name, or None."""
        return self._secrets.get(name)

    def names(self) -> tuple[str, ...]:
        """What there is, sorted."""
        return tuple(sorted(self._secrets))

    def put(self, secrets: Mapping[str, bytes], *, entropy: Entropy) -> None:
        """Add or replace secrets, all together.

        Raises:
            StoreError: `disk_full`, `store_io`; the secrets in memory are as before then.
            FormatError: `format_too_large`.
        """
        self._save({**self._secrets, **secrets}, self._lock, entropy)

    def remove(self, name: str, *, entropy: Entropy) -> None:
        """Forget a secret; nothing happens when there is none.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        self._save({known: value for known, value in self._secrets.items() if known != name}, self._lock, entropy)

    def change_passphrase(self, passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None) -> None:
        """Seal everything under another passphrase. Interrupted, the old one may still hold.

        Raises:
            StoreError: `disk_full`, `store_io`.
        """
        cost = self._lock.cost if cost is None else cost
        self._save(self._secrets, _Lock.derive(passphrase, entropy(16), cost), entropy)

    def export_backup(self, passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None) -> bytes:
        """All secrets as one encrypted blob under a passphrase of its own."""
        cost = self._lock.cost if cost is None else cost
        return seal_secrets(self._secrets, passphrase, entropy=entropy, cost=cost)

    def _save(self, secrets: Mapping[str, bytes], lock: _Lock, entropy: Entropy) -> None:
        copy = _with_checksum(KEYSTORE, lock.close(KEYSTORE, secrets, self._generation + 1, entropy(_NONCE_BYTES)))
        self._generation += 1  # used up even if writing fails half-way: copies of one generation are equal
        for name in _COPIES:
            _write_copy(self._folder, name, copy)
        self._lock, self._secrets = lock, dict(secrets)


def create_keystore(folder: Folder, passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None) -> Keystore:
    """A new, empty keystore.

    Raises:
        StoreError: `keystore_exists`, `disk_full`, `store_io`.
    """
    if any(folder.size(name) is not None for name in _COPIES):
        raise StoreError("keystore_exists")
    lock = _Lock.derive(passphrase, entropy(16), Cost() if cost is None else cost)
    keystore = Keystore(folder, lock, 0, {})
    keystore.put({}, entropy=entropy)
    return keystore


def open_keystore(folder: Folder, passphrase: bytes) -> Keystore:
    """The keystore of this folder; a damaged or older copy is healed from the other.

    Raises:
        ConfigurationError: `keystore_passphrase`.
        StoreError: `keystore_missing`, `keystore_damaged` (both copies), `disk_full`, `store_io`.
    """
    copies = [_read_copy(folder, name) for name in _COPIES]
    if all(copy is None for copy in copies):
        raise StoreError("keystore_missing")
    boxes = [box for copy in copies if copy is not None and (box := _without_checksum(KEYSTORE, copy)) is not None]
    if not boxes:
        raise StoreError("keystore_damaged")
    for box in sorted(set(boxes), key=lambda box: -box.generation):
        lock = _Lock.derive(passphrase, box.salt, _cost(box))
        secrets = lock.open(KEYSTORE, box)
        if secrets is not None:
            _heal(folder, copies, _with_checksum(KEYSTORE, box))
            return Keystore(folder, lock, max(box.generation for box in boxes), secrets)
    raise ConfigurationError("keystore_passphrase")


def seal_secrets(
    secrets: Mapping[str, bytes], passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None
) -> bytes:
    """Secrets as one encrypted blob: the key backup, or the key file of an off-line authority."""
    lock = _Lock.derive(passphrase, entropy(16), Cost() if cost is None else cost)
    return _with_checksum(KEY_BACKUP, lock.close(KEY_BACKUP, secrets, 0, entropy(_NONCE_BYTES)))


def open_secrets(blob: bytes, passphrase: bytes) -> dict[str, bytes]:
    """What `seal_secrets` sealed.

    Raises:
        ConfigurationError: `key_backup_damaged`, `keystore_passphrase`.
    """
    box = _without_checksum(KEY_BACKUP, blob)
    if box is None:
        raise ConfigurationError("key_backup_damaged")
    secrets = _Lock.derive(passphrase, box.salt, _cost(box)).open(KEY_BACKUP, box)
    if secrets is None:
        raise ConfigurationError("keystore_passphrase")
    return secrets


def read_credential(path: Path) -> bytes:
    """The passphrase in a credential file, for an unattended start: its first line.

    Raises:
        ConfigurationError: `credential_missing`, `credential_open` (others may read it),
            `credential_empty`.
        StoreError: `store_io`.
    """
    with translated(str(path)):
        try:
            mode = path.stat().st_mode
            with path.open("rb") as file:
                line = file.readline(CREDENTIAL_BYTES_MAX).rstrip(b"\r\n")
        except FileNotFoundError as error:
            raise ConfigurationError("credential_missing", path=str(path)) from error
    if mode & 0o077:
        raise ConfigurationError("credential_open", path=str(path))
    if not line:
        raise ConfigurationError("credential_empty", path=str(path))
    return line


@dataclass(frozen=True, slots=True)
class _Lock:
    """A key derived from a passphrase, with what it was derived by."""

    key: bytes
    salt: bytes
    cost: Cost

    @classmethod
    def derive(cls, passphrase: bytes, salt: bytes, cost: Cost) -> _Lock:
        argon = Argon2id(salt=salt, length=32, iterations=cost.passes, lanes=cost.lanes, memory_cost=cost.memory_kib)
        return cls(argon.derive(passphrase), salt, cost)

    def close(self, form: Format[Box], secrets: Mapping[str, bytes], generation: int, nonce: bytes) -> Box:
        entries = tuple(Secret(name, value) for name, value in sorted(secrets.items()))
        box = Box(
            salt=self.salt,
            memory_kib=self.cost.memory_kib,
            passes=self.cost.passes,
            lanes=self.cost.lanes,
            generation=generation,
            nonce=nonce,
            sealed=b"",
        )
        content = SECRETS.encode(Secrets(entries))
        return replace(box, sealed=AESGCM(self.key).encrypt(nonce, content, _bound(form, box)))

    def open(self, form: Format[Box], box: Box) -> dict[str, bytes] | None:
        """The secrets, or None when this is not the key."""
        try:
            content = AESGCM(self.key).decrypt(box.nonce, box.sealed, _bound(form, box))
        except InvalidTag:
            return None
        return {entry.name: entry.value for entry in SECRETS.decode(content).entries}


def _bound(form: Format[Box], box: Box) -> bytes:
    return lp(form.name, form.encode(replace(box, sealed=b"")))


def _with_checksum(form: Format[Box], box: Box) -> bytes:
    content = form.encode(box)
    return hashlib.sha256(content).digest() + content


def _without_checksum(form: Format[Box], copy: bytes) -> Box | None:
    """The box in a copy, or None when the copy is damaged or no such thing."""
    content = copy[_CHECKSUM_BYTES:]
    if not hmac.compare_digest(hashlib.sha256(content).digest(), copy[:_CHECKSUM_BYTES]):
        return None
    try:
        box = form.decode(content)
    except FormatError:
        return None
    sane = 1 <= box.lanes <= LANES_MAX and 8 * box.lanes <= box.memory_kib <= MEMORY_KIB_MAX
    return box if sane and 1 <= box.passes <= PASSES_MAX and len(box.nonce) == _NONCE_BYTES else None


def _cost(box: Box) -> Cost:
    return Cost(memory_kib=box.memory_kib, passes=box.passes, lanes=box.lanes)


def _read_copy(folder: Folder, name: str) -> bytes | None:
    """A copy as it lies there; an unreadable one counts as damaged."""
    try:
        size = folder.size(name)
        return None if size is None else folder.pread(name, 0, min(size, MIB))
    except StoreError:
        return b""


def _write_copy(folder: Folder, name: str, copy: bytes) -> None:
    fresh = f"{name}.new"
    folder.unlink(fresh)
    folder.create(fresh)
    folder.append(fresh, copy)
    folder.fdatasync(fresh)
    folder.rename(fresh, name)
    folder.fsync_folder(_FOLDER)


def _heal(folder: Folder, copies: list[bytes | None], good: bytes) -> None:
    for name, copy in zip(_COPIES, copies, strict=True):
        if copy != good:
            _write_copy(folder, name, good)
