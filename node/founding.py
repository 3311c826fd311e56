"""Files of a node that exist before it runs: keystore, configuration, request, key backup.

Obeys DECISIONS "Joining before gossip exists" and DESIGN §6 (backups never contain private keys;
the key backup is its own act; unattended start from a credential file). Nothing is ever written
over. Words and prompts are `node/cli/setup.py`; starting is `node/main.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.config import Config, parse_config
from node.keyring import Keyring, SignerPlace, keyring_of, make_secrets
from node.peer_id import peer_id_of
from node.requests import make_centre_request
from protocol.agency_code import parse_centre_code
from protocol.directory import Names
from protocol.directory_file import write_file
from protocol.errors import ConfigurationError, StoreError
from protocol.limits import MIB
from protocol.signing import ALGORITHM_ED25519, PublicKey
from storage.folder import OsFolder
from storage.keystore import Cost, Keystore, create_keystore, open_keystore, open_secrets, read_credential

Entropy = Callable[[int], bytes]

CONFIG_NAME: Final = "node.toml"
REQUEST_NAME: Final = "centre-request.truc"
PASSPHRASE_NAME: Final = "passphrase"  # noqa: S105  # a file name
PASSPHRASE_BYTES: Final = 20
"""160 bits, written as 40 hex digits."""
KEYS_FOLDER: Final = "keys"
BACKUP_MARK: Final = "backup-made.json"
KEYSTORE_COPIES: Final = ("keystore.1", "keystore.2")
BACKUP_BYTES_MAX: Final = MIB

PASSPHRASE_FILE_VARIABLE: Final = "TRUC_PASSPHRASE_FILE"  # noqa: S105  # a variable name
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
"""Set by systemd for `LoadCredential=passphrase:…`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the operator says at `truc init`."""

    folder: Path
    centre: str
    name_vi: str
    name_en: str = ""
    root_digest: str = ""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/4601",)
    announce: tuple[str, ...] = ()
    tcp: str = "127.0.0.1:4680"
    credential: Path | None = None
    """Named in the configuration, for unattended starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What `found_node` wrote."""

    config: Path
    data: Path
    request: Path
    peer_id: str


def found_node(plan: Plan, passphrase: bytes, *, entropy: Entropy, now_ms: int, cost: Cost | None = None) -> Founded:
    """Make the data folder with fresh keys, the configuration and the centre's request.

    Raises:
        RequestError: `centre_code_malformed`.
        FormatError: `format_field` (a name the directory would not carry).
        ConfigurationError: `config_invalid` (all mistakes of the plan), `file_exists`, `file_unwritable`.
        StoreError: `keystore_exists`, `disk_full`, `store_io`.
    """
    config = check_plan(plan)
    config_path, request_path = plan.folder / CONFIG_NAME, plan.folder / REQUEST_NAME
    secrets = make_secrets(entropy)
    keyring = keyring_of(secrets)
    request = _request(plan, keyring, now_ms)
    keystore = create_keystore(OsFolder(config.data_dir), passphrase, entropy=entropy, cost=cost)
    keystore.put(secrets, entropy=entropy)
    write_new(request_path, request)
    write_new(config_path, config_text(plan).encode())
    peer_id = peer_id_of(keyring.identity_seed)
    return Founded(config=config_path, data=config.data_dir, request=request_path, peer_id=peer_id)


def check_plan(plan: Plan) -> Config:
    """What the plan will be as a configuration; nothing is written, so that a slip costs nothing.

    Raises:
        RequestError: `centre_code_malformed`.
        ConfigurationError: `config_invalid` (all mistakes), `file_exists`.
        StoreError: `keystore_exists`.
    """
    parse_centre_code(plan.centre)
    config = parse_config(config_text(plan).encode(), plan.folder / CONFIG_NAME)
    for name in (CONFIG_NAME, REQUEST_NAME):
        if (plan.folder / name).exists():
            raise ConfigurationError("file_exists", path=str(plan.folder / name))
    if any((config.data_dir / KEYS_FOLDER / name).exists() for name in KEYSTORE_COPIES):
        raise StoreError("keystore_exists")
    return config


def make_passphrase(folder: Path, *, entropy: Entropy) -> Path:
    """A random passphrase in a file that only this user can read. Raises: as `write_new`."""
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / PASSPHRASE_NAME
    write_new(path, entropy(PASSPHRASE_BYTES).hex().encode() + b"\n", mode=0o400)
    return path


def config_text(plan: Plan) -> str:
    """The configuration of a new node: what differs from the defaults, with a word on each."""
    credential = "" if plan.credential is None else str(plan.credential.absolute())
    values = {
        "centre": plan.centre,
        "root": plan.root_digest,
        "listen": list(plan.listen),
        "announce": list(plan.announce),
        "tcp": plan.tcp,
        "credential": credential,
    }
    return _CONFIG.format_map({name: json.dumps(value, ensure_ascii=False) for name, value in values.items()})


# --- the keystore ---------------------------------------------------------------------------


def find_passphrase(credential: Path | None, variables: Mapping[str, str], ask: Callable[[], str] | None) -> bytes:
    """The keystore's passphrase: from the configured file, from systemd's credentials, from the file
    that an environment variable names, else from a person.

    Raises:
        ConfigurationError: `passphrase_needed` (nobody to ask), and as `read_credential`.
    """
    if credential is not None:
        return read_credential(credential)
    if named := variables.get(PASSPHRASE_FILE_VARIABLE, ""):
        return read_credential(Path(named))
    given = variables.get(CREDENTIALS_VARIABLE, "")
    if given and (Path(given) / PASSPHRASE_NAME).exists():
        return read_credential(Path(given) / PASSPHRASE_NAME)
    if ask is None:
        raise ConfigurationError("passphrase_needed")
    return ask().encode()


def open_keyring(config: Config, passphrase: bytes) -> Keyring:
    """The keys of this node.

    Raises:
        ConfigurationError: `keystore_passphrase`, `keystore_incomplete`.
        StoreError: `keystore_missing`, `keystore_damaged`, `disk_full`, `store_io`.
    """
    keystore = open_keystore(_existing(config.data_dir), passphrase)
    places = [
        SignerPlace(
            agency=one.agency,
            socket=one.socket,
            public=PublicKey.of(ALGORITHM_ED25519, one.public_key),
            uid=one.uid,
            deadline_s=one.deadline_seconds,
        )
        for one in config.signers
    ]
    return keyring_of({name: keystore.get(name) or b"" for name in keystore.names()}, places)


def back_up_keys(
    config: Config, passphrase: bytes, target: Path, target_passphrase: bytes, *, entropy: Entropy, now_ms: int
) -> int:
    """Write the key backup and note that it was made; the number of keys in it.

    Raises:
        ConfigurationError: `file_exists`, `file_unwritable`, `keystore_passphrase`.
        StoreError: as `open_keystore`.
    """
    keystore = open_keystore(_existing(config.data_dir), passphrase)
    blob = keystore.export_backup(target_passphrase, entropy=entropy)
    write_new(target, blob)
    open_secrets(_read(target), target_passphrase)  # a backup that cannot be read back is none
    note_backup(config.data_dir, now_ms)
    return len(keystore.names())


def restore_keys(
    config: Config, backup: Path, backup_passphrase: bytes, passphrase: bytes, *, entropy: Entropy, now_ms: int
) -> tuple[str, ...]:
    """Make the keystore of a folder that has none from a backup; the names of the keys.

    Raises:
        ConfigurationError: `file_unreadable`, `key_backup_damaged`, `keystore_passphrase`, `keystore_incomplete`.
        StoreError: `keystore_exists`, `disk_full`, `store_io`.
    """
    secrets = open_secrets(_read(backup), backup_passphrase)
    keyring_of(secrets)
    keystore: Keystore = create_keystore(OsFolder(config.data_dir), passphrase, entropy=entropy)
    keystore.put(secrets, entropy=entropy)
    note_backup(config.data_dir, now_ms)
    return keystore.names()


def note_backup(data: Path, now_ms: int) -> None:
    """Note beside the keystore that a backup of exactly these keys exists."""
    fresh, mark = data / KEYS_FOLDER / f"{BACKUP_MARK}.new", data / KEYS_FOLDER / BACKUP_MARK
    content = json.dumps({"time_ms": now_ms, "keystores": keystore_digests(data)})
    with writing(mark):
        fresh.write_text(content + "\n")
        fresh.replace(mark)


def keystore_digests(data: Path) -> list[str]:
    """SHA-256 of each copy of the keystore that is there, in hexadecimal, sorted."""
    found = (data / KEYS_FOLDER / name for name in KEYSTORE_COPIES)
    return sorted({hashlib.sha256(path.read_bytes()).hexdigest() for path in found if path.is_file()})


# --- files ----------------------------------------------------------------------------------


def write_new(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """A new durable file; a name that is taken is never touched.

    Raises:
        ConfigurationError: `file_exists`, `file_unwritable`.
    """
    with writing(path):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What goes wrong with a file that is written, as an outcome. Raises: `file_exists`, `file_unwritable`."""
    try:
        yield
    except FileExistsError as error:
        raise ConfigurationError("file_exists", path=str(path)) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("file_unwritable", path=str(path), reason=reason) from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BACKUP_BYTES_MAX)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("file_unreadable", path=str(path), reason=reason) from error


def _existing(data: Path) -> OsFolder:
    """The data folder, which opening must not bring into being."""
    if not data.is_dir():
        raise StoreError("keystore_missing")
    return OsFolder(data)


def _request(plan: Plan, keyring: Keyring, now_ms: int) -> bytes:
    [sealing] = keyring.sealing.values()
    signed = make_centre_request(
        code=plan.centre,
        names=Names(vi=plan.name_vi, en=plan.name_en),
        peer_id=peer_id_of(keyring.identity_seed),
        signers=[keyring.centre],
        sealing_raw=sealing.public_raw,
        now_ms=now_ms,
    )
    return write_file([signed])


_CONFIG: Final = """\
# Cấu hình của nút, do `truc init` viết; các khóa không nêu giữ giá trị mặc định
# (xem configs/node.example.toml trong bộ cài).
# Configuration of this node, written by `truc init`; keys not named keep their defaults
# (see configs/node.example.toml of the distribution).
config_version = 1
data_dir = "data"

[node]
centre = {centre}
# Vân tay bộ khóa gốc do cơ quan quản lý công bố; rỗng: chưa tham gia mạng.
# Digest of the root key set, published by its keepers; empty: not joined yet.
root_digest = {root}
listen = {listen}
announce = {announce}

# Một nút liên hệ đầu tiên; lặp lại phần này cho mỗi nút. / A first contact; repeat for each node.
# [[peers]]
# centre = "00.12.W00"
# peer_id = "12D3KooW…"
# addresses = ["/ip4/203.0.113.12/tcp/4601"]

[api]
tcp = {tcp}

[keystore]
# Tệp chứa mật khẩu kho khóa để khởi động không cần người; rỗng: hỏi mỗi lần.
# File with the keystore's passphrase, for unattended starts; empty: ask every time.
credential_file = {credential}
"""
