"""Where the API listens: a Unix socket, loopback TCP, TCP with TLS. Sockets only, no HTTP.

Obeys DESIGN §7 and LIBRARIES §HTTP. A plain listener never leaves this machine; the configuration
refuses it, and it is refused here once more. A socket of a live node is never taken away from it.
"""

from __future__ import annotations

import errno
import grp
import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Literal

import trio

from node.config import ApiConfig, TlsConfig
from node.config_values import SocketAddress
from protocol.errors import ConfigurationError, TrucError

BACKLOG: Final = 256
PROBE_S: Final = 0.5
LOOK_EVERY_MS: Final = 60_000
"""`/readyz` is open to all and must stay cheap."""
_EXPIRED: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

Kind = Literal["unix", "tcp", "tls", "metrics"]


@dataclass(frozen=True, slots=True)
class Listening:
    """An open listener of one kind. Of TLS, the context that wraps what it accepts."""

    kind: Kind
    listener: trio.SocketListener
    tls: ssl.SSLContext | None = None

    @property
    def port(self) -> int:
        """The TCP port; 0 for the Unix socket."""
        address = self.listener.socket.getsockname()
        return int(address[1]) if isinstance(address, tuple) else 0


@contextmanager
def _named(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigurationError("socket_in_use", address=address) from error
        raise ConfigurationError("socket_unusable", address=address, reason=error.strerror or str(error)) from error


def listen_unix(path: Path, config: ApiConfig) -> Listening:
    """The Unix socket, with its mode and group; a dead node's socket is replaced.

    Raises:
        ConfigurationError: `socket_in_use` (a live node listens there), `socket_unusable`, `socket_group`.
    """
    group = _group(config.unix_group)
    with _named(str(path)):
        _clear(path)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            before = os.umask(0o177)
            try:
                made.bind(str(path))
            finally:
                os.umask(before)
            _hand_to(path, group, config)
            path.chmod(config.unix_mode)
            made.listen(BACKLOG)
        except BaseException:
            made.close()
            raise
    return Listening("unix", trio.SocketListener(trio.socket.from_stdlib_socket(made)))


def _group(name: str) -> int | None:
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise ConfigurationError("socket_group", field="api.unix_group", group=name) from error


def _hand_to(path: Path, group: int | None, config: ApiConfig) -> None:
    if group is None:
        return
    try:
        os.chown(path, -1, group)
    except PermissionError as error:
        raise ConfigurationError("socket_group", field="api.unix_group", group=config.unix_group) from error


def _clear(path: Path) -> None:
    """Remove the socket of a node that is gone; anything else that lies there stays."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigurationError("socket_unusable", address=str(path), reason="not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except TimeoutError:
            pass  # somebody listens and is too busy to accept
    raise ConfigurationError("socket_in_use", address=str(path))


async def listen_tcp(address: SocketAddress, kind: Kind = "tcp") -> Listening:
    """A plain listener on this machine alone.

    Raises:
        ConfigurationError: `config_plain_listener`, `socket_in_use`, `socket_unusable`.
    """
    if not ip_address(address.host).is_loopback:
        raise ConfigurationError("config_plain_listener", field="api.tcp", address=_shown(address))
    return Listening(kind, await _open(address))


async def listen_tls(config: TlsConfig) -> Listening:
    """A listener for other machines.

    Raises:
        ConfigurationError: `tls_unusable`, `socket_in_use`, `socket_unusable`.
    """
    context = tls_context(config)
    return Listening("tls", await _open(config.address), context)


async def _open(address: SocketAddress) -> trio.SocketListener:
    with _named(_shown(address)):
        (listener,) = await trio.open_tcp_listeners(address.port, host=address.host, backlog=BACKLOG)
    return listener


def _shown(address: SocketAddress) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


# --- certificates -----------------------------------------------------------------------------


def tls_context(config: TlsConfig) -> ssl.SSLContext:
    """TLS 1.2 or newer with the configured certificate, HTTP/1.1 only.

    Raises:
        ConfigurationError: `tls_unusable`.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(config.certificate, config.key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            "tls_unusable", field="api.tls", path=str(config.certificate), reason=str(reason)
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted")


class CertificateWatch:
    """Whether the certificate in use is valid now: a node outlives its certificate. A handshake in
    memory, in which the client trusts exactly this certificate, asks OpenSSL itself."""

    def __init__(self, config: TlsConfig, context: ssl.SSLContext, monotonic_ms: Callable[[], int]) -> None:
        self._path: Final = str(config.certificate)
        self._server: Final = context
        self._monotonic_ms: Final = monotonic_ms
        self._client: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._client.check_hostname = False
        self._client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._client.load_verify_locations(config.certificate)
        self._next_ms = monotonic_ms()
        self._found: TrucError | None = None

    def trouble(self) -> TrucError | None:
        """`tls_expired` when it has expired or is not yet valid; looked at once a minute at most."""
        now_ms = self._monotonic_ms()
        if now_ms >= self._next_ms:
            self._next_ms = now_ms + LOOK_EVERY_MS
            self._found = self._look()
        return self._found

    def _look(self) -> TrucError | None:
        try:
            _shake(self._client, self._server)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code in _EXPIRED:
                return ConfigurationError("tls_expired", field="api.tls", path=self._path, reason=error.verify_message)
        return None


def _shake(client: ssl.SSLContext, server: ssl.SSLContext) -> None:
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_side=False),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(8):  # TLS 1.3 needs three flights
        waiting = False
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                waiting = True
        if not waiting:
            return
