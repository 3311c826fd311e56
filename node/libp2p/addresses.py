"""Addresses as people write them: `/ip4/203.113.1.2/tcp/4601`, with or without `/p2p/<peer id>`.

Only TCP, by number or by name (DESIGN §5). Read without the multiaddr library, which accepts far
more than this node can dial and does not say what it disliked. Names are resolved when dialled.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from protocol.errors import NetworkError

ADDRESS_CHARACTERS_MAX: Final = 255
_NUMBERS: Final = {"ip4": 4, "ip6": 6}
_NAMES: Final = ("dns", "dns4", "dns6")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to dial or listen; `peer_id` is empty unless the address named it."""

    kind: str
    host: str
    port: int
    peer_id: str = ""

    def __str__(self) -> str:
        return f"/{self.kind}/{self.host}/tcp/{self.port}"


def read_address(text: str) -> Address:
    """The address that a text names.

    Raises:
        NetworkError: `address_unusable`.
    """
    parts = text.split("/")
    if len(text) > ADDRESS_CHARACTERS_MAX or len(parts) not in {5, 7} or parts[0] or parts[3] != "tcp":
        raise NetworkError("address_unusable", address=text[:ADDRESS_CHARACTERS_MAX], reason="form")
    _, kind, host, _, port, *rest = parts
    if not _is_host(kind, host) or not _is_port(port):
        raise NetworkError("address_unusable", address=text, reason="form")
    if rest and (rest[0] != "p2p" or not rest[1].isalnum()):
        raise NetworkError("address_unusable", address=text, reason="form")
    return Address(kind, host, int(port), rest[1] if rest else "")


def address_of(name: tuple[str | int, ...]) -> str:
    """The text form of what `getsockname` or `getpeername` answers for TCP."""
    host = str(name[0]).partition("%")[0]
    kind = "ip6" if ":" in host else "ip4"
    return str(Address(kind, host, int(name[1])))


def _is_host(kind: str, host: str) -> bool:
    if kind in _NAMES:
        return bool(host) and all(character.isalnum() or character in "-._" for character in host)
    try:
        return ipaddress.ip_address(host).version == _NUMBERS.get(kind)
    except ValueError:
        return False


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65_535
