"""The node's configuration: one TOML file becomes one frozen value, or a list of all mistakes.

Obeys DESIGN §7 (listeners) and DECISIONS "Joining before gossip exists" and "Access". Every key
is documented with its default in `configs/node.example.toml`. Reading keys, opening sockets and
resolving names is left to the services; here nothing but the file itself is looked at.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from node.config_values import (
    PORT_MAX,
    Centre,
    DialAddress,
    Digest,
    FileMode,
    FolderPath,
    HostName,
    ListenAddress,
    LoopbackListener,
    OptionalPath,
    PeerId,
    SocketAddress,
    SystemId,
    TlsListener,
    Uid,
    as_error,
    mistake,
)
from protocol.agency_code import parse_agency_code
from protocol.catalogue import text
from protocol.errors import ConfigurationError, RequestError, TrucError
from protocol.limits import (
    DAY_MS,
    EXPIRY_DEFAULT_MS,
    EXPIRY_MAX_MS,
    KIB,
    PKI_FILES_MAX,
    WINDOW_BYTES_MAX,
    WINDOW_OFFERS_MAX,
)
from protocol.signing import ALGORITHM_ED25519, PublicKey

CONFIG_VERSION: Final = 1
FILE_BYTES_MAX: Final = 1024 * KIB
"""94 peers with four addresses each need 40 KiB."""

SIGNERS_MAX: Final = 64
"""Keys in other processes; each is a connection and a task."""
PEERS_MAX: Final = 1_000
"""As many connections as a node holds (LIBRARIES §libp2p)."""

Many = Field(strict=False)
"""TOML arrays arrive as lists; strict validation would demand tuples."""


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, validate_default=True)


class LogConfig(_Section):
    """Where events go. An empty `file` means standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "text"] = "json"
    file: OptionalPath = None


class NodeConfig(_Section):
    """Who this node is and where other nodes reach it. No `root_digest` means: not joined yet."""

    centre: Centre
    root_digest: Digest = None
    listen: Annotated[tuple[ListenAddress, ...], Many] = ("/ip4/0.0.0.0/tcp/4601",)
    announce: Annotated[tuple[DialAddress, ...], Many] = ()


class PeerConfig(_Section):
    """A first contact, used until the directory knows better."""

    centre: Centre
    peer_id: PeerId
    addresses: Annotated[tuple[DialAddress, ...], Many, Field(min_length=1, max_length=16)]


class TlsConfig(_Section):
    """The listener for document software on other machines."""

    address: TlsListener
    certificate: FolderPath
    key: FolderPath


class ApiLimits(_Section):
    """What one client may cost."""

    header_bytes_max: int = Field(1024 * KIB, ge=16 * KIB, le=4096 * KIB)
    header_timeout_seconds: int = Field(10, ge=1, le=600)
    body_timeout_seconds: int = Field(60, ge=1, le=3600)
    keep_alive_seconds: int = Field(75, ge=1, le=3600)
    wait_seconds_max: int = Field(60, ge=0, le=600)
    connections_max: int = Field(1000, ge=8, le=100_000)
    shutdown_grace_seconds: int = Field(5, ge=0, le=300)


class ApiConfig(_Section):
    """Listeners of the local API. An empty `unix_socket` means `api.sock` in the data folder."""

    unix_socket: OptionalPath = None
    unix_mode: FileMode = 0o660
    unix_group: str = Field("", max_length=64)
    unix_users: dict[Uid, SystemId] = Field(default_factory=dict)
    tcp: LoopbackListener = SocketAddress("127.0.0.1", 4680)
    hosts: Annotated[tuple[HostName, ...], Many] = ()
    tls: TlsConfig | None = None
    limits: ApiLimits = Field(default_factory=ApiLimits)


class DeliveryConfig(_Section):
    """How long documents are tried and kept, and how much may be under way to one peer."""

    expiry_default_days: int = Field(EXPIRY_DEFAULT_MS // DAY_MS, ge=1, le=EXPIRY_MAX_MS // DAY_MS)
    retention_days: int = Field(35, ge=0, le=3650)
    window_offers: int = Field(WINDOW_OFFERS_MAX, ge=1, le=WINDOW_OFFERS_MAX)
    window_bytes: int = Field(WINDOW_BYTES_MAX, ge=64 * KIB, le=WINDOW_BYTES_MAX)
    backoff_max_seconds: int = Field(300, ge=1, le=300)


class DirectoryConfig(_Section):
    """What follows when it is long since a registrar's log was known to be up to date: a warning, or no
    new documents."""

    stop_when_old: bool = False
    announce: bool = True


class StorageConfig(_Section):
    """Below the floor no new documents are taken; receipts and records still are."""

    disk_floor_bytes: int = Field(512 * 1024 * KIB, ge=0, le=2**50)


def _ed25519(value: Any) -> bytes:
    """The raw public key, 64 hex digits, as `python -m node.signer_agent --new` prints it."""
    try:
        return PublicKey.of(ALGORITHM_ED25519, bytes.fromhex(value)).raw
    except (TypeError, ValueError, TrucError):
        raise mistake("config_form", example="d75a9801… (64 hex)") from None


def _agency_or_none(value: str) -> str:
    try:
        return value and str(parse_agency_code(value))
    except RequestError:
        raise mistake("config_form", example="H38.12") from None


class SignerConfig(_Section):
    """A key that another process holds. No `agency` means the centre's own operational key; no `uid`, that the
    signer runs as root or as the node's user."""

    agency: Annotated[str, AfterValidator(_agency_or_none)] = ""
    socket: FolderPath
    public_key: Annotated[bytes, PlainValidator(_ed25519)]
    uid: int | None = Field(None, ge=0, le=2**32 - 2)
    deadline_seconds: int = Field(5, ge=1, le=60)


class PkiConfig(_Section):
    """The national PKI: files with trust anchors, intermediates, revocation lists (PEM or DER)."""

    anchors: Annotated[tuple[FolderPath, ...], Many, Field(max_length=PKI_FILES_MAX)] = ()
    intermediates: Annotated[tuple[FolderPath, ...], Many, Field(max_length=PKI_FILES_MAX)] = ()
    crls: Annotated[tuple[FolderPath, ...], Many, Field(max_length=PKI_FILES_MAX)] = ()
    require_pki: bool = False

    @model_validator(mode="after")
    def _anchors_are_named(self) -> PkiConfig:
        if self.require_pki and not self.anchors:
            raise mistake("pki_required_without_anchors", key="require_pki")
        return self


class KeystoreConfig(_Section):
    """Without a credential file the passphrase is asked for at every start."""

    credential_file: OptionalPath = None


class MetricsConfig(_Section):
    """`/metrics` is always on the Unix socket; a port adds 127.0.0.1. 0 = none."""

    loopback_port: int = Field(0, ge=0, le=PORT_MAX)


def _one_entry_per_centre(peers: tuple[PeerConfig, ...]) -> tuple[PeerConfig, ...]:
    centres = [peer.centre for peer in peers]
    for index, centre in enumerate(centres):
        if centre in centres[:index]:
            raise mistake("config_repeated", value=centre)
    return peers


def _one_signer_per_agency(signers: tuple[SignerConfig, ...]) -> tuple[SignerConfig, ...]:
    agencies = [one.agency for one in signers]
    for index, agency in enumerate(agencies):
        if agency in agencies[:index]:
            raise mistake("config_repeated", value=agency or 'agency = ""')
    return signers


Signers = Annotated[
    tuple[SignerConfig, ...], Many, Field(max_length=SIGNERS_MAX), AfterValidator(_one_signer_per_agency)
]
Peers = Annotated[tuple[PeerConfig, ...], Many, Field(max_length=PEERS_MAX), AfterValidator(_one_entry_per_centre)]


class Config(_Section):
    """The whole file. Paths are absolute."""

    config_version: int = Field(ge=1, le=CONFIG_VERSION)
    data_dir: FolderPath = Path("data")
    log: LogConfig = Field(default_factory=LogConfig)
    node: NodeConfig
    peers: Peers = ()
    api: ApiConfig = Field(default_factory=ApiConfig)
    delivery: DeliveryConfig = Field(default_factory=DeliveryConfig)
    directory: DirectoryConfig = Field(default_factory=DirectoryConfig)
    storage: StorageConfig = Field(default_factory=StorageConfig)
    pki: PkiConfig = Field(default_factory=PkiConfig)
    signers: Signers = ()
    keystore: KeystoreConfig = Field(default_factory=KeystoreConfig)
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)

    @property
    def unix_socket(self) -> Path:
        """Where the local API listens for programs of this machine."""
        return self.api.unix_socket or self.data_dir / "api.sock"

    @model_validator(mode="after")
    def _peers_are_others(self) -> Config:
        if any(peer.centre == self.node.centre for peer in self.peers):
            raise mistake("config_repeated", key="peers", value=self.node.centre)
        return self


class ConfigurationMistakes(ConfigurationError):
    """`config_invalid`, with every mistake as an error of its own (code, field, detail)."""

    def __init__(self, file: Path, mistakes: tuple[ConfigurationError, ...]) -> None:
        super().__init__(
            "config_invalid",
            file=str(file),
            count=len(mistakes),
            mistakes_vi="\n".join(f"  {item.field}: {text(item, 'vi')}" for item in mistakes),
            mistakes_en="\n".join(f"  {item.field}: {text(item, 'en')}" for item in mistakes),
        )
        self.mistakes = mistakes


def load_config(path: Path) -> Config:
    """Read the configuration file; relative paths in it start at its folder.

    Raises:
        ConfigurationError: `config_missing` (no such file, or it may not be read),
            `config_not_toml` (with the parser's words), `config_newer` (of a later release),
            `config_invalid` (`ConfigurationMistakes`: all of them, with path and text).
    """
    return parse_config(_read(path), path)


def parse_config(document: bytes, path: Path) -> Config:
    """The same for bytes at hand; `path` says where they come from."""
    try:
        values = tomllib.loads(document.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError("config_not_toml", file=str(path), reason=str(error)) from error
    return make_config(values, path)


def make_config(values: Mapping[str, Any], path: Path) -> Config:
    """The same for values at hand, as tests and simulations have them."""
    version = values.get("config_version")
    if type(version) is int and version > CONFIG_VERSION:
        raise ConfigurationError("config_newer", file=str(path), version=version, known=CONFIG_VERSION)
    try:
        return Config.model_validate(dict(values), context=path.absolute().parent)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise ConfigurationMistakes(path, tuple(map(as_error, found))) from None  # the cause would print the values


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            document = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError("config_missing", file=str(path), reason=error.strerror or str(error)) from error
    if len(document) > FILE_BYTES_MAX:
        raise ConfigurationError("config_not_toml", file=str(path), reason=f"> {FILE_BYTES_MAX} byte")
    return document
