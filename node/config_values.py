"""Kinds of values in the configuration file: paths, addresses, codes, each checked by its form.

The form only: no name is resolved, no file is opened, and multiaddrs are read without the
library, whose door is elsewhere (DESIGN §1). Which keys exist is left to `node/config.py`.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from protocol.errors import ConfigurationError, RequestError
from protocol.textid import from_text

_CENTRE: Final = re.compile(r"\d{2}\.\d{2}\.W\d{2}", re.ASCII)
_PEER_ID: Final = re.compile(r"(12D3KooW|16Uiu2HA|Qm)[1-9A-HJ-NP-Za-km-z]{36,52}")
_HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_UID: Final = re.compile(r"[1-9]\d{0,9}", re.ASCII)
_MODE: Final = re.compile(r"0[0-7]{3}")
_PORT: Final = re.compile(r"\d{1,5}", re.ASCII)
PORT_MAX: Final = 65_535
ADDRESS_CHARACTERS_MAX: Final = 300


class SocketAddress(NamedTuple):
    """An IP address in its canonical text form, and a TCP port."""

    host: str
    port: int


def mistake(code: str, **detail: str | int) -> PydanticCustomError:
    """A mistake with a code of the catalogue, as pydantic collects it.

    A `key` in the detail names a field below the place where pydantic found it.
    """
    return PydanticCustomError(code, "{code}", {"code": code, **detail})


def as_error(found: Any) -> ConfigurationError:
    """One entry of `ValidationError.errors()` in the catalogue's words."""
    kind, context = str(found["type"]), dict(found.get("ctx", {}))
    place = _place((*found["loc"], context.pop("key", "")))
    if context.pop("code", "") == kind:
        return ConfigurationError(kind, field=place, **context)
    if kind in _PLAIN:
        return ConfigurationError(_PLAIN[kind], field=place)
    if kind == "literal_error":
        return ConfigurationError("config_choice", field=place, choices=context["expected"])
    if kind in _BOUNDS:
        name, sign = _BOUNDS[kind]
        return ConfigurationError("config_range", field=place, bound=f"{sign} {context[name]}")
    return ConfigurationError("config_type", field=place, expected=_TYPES.get(kind, kind))


_PLAIN: Final = {"missing": "config_key_missing", "extra_forbidden": "config_key_unknown"}
_BOUNDS: Final = {
    "greater_than_equal": ("ge", "≥"),
    "less_than_equal": ("le", "≤"),
    "too_short": ("min_length", "≥"),
    "too_long": ("max_length", "≤"),
    "string_too_long": ("max_length", "≤"),
}
_TYPES: Final = {
    "int_type": "integer",
    "string_type": "string",
    "tuple_type": "array",
    "dict_type": "table",
    "model_type": "table",
}


def _place(parts: tuple[str | int, ...]) -> str:
    """`peers[0].addresses[1]`; pydantic's mark for the key of a table is left out."""
    named = [part for part in parts if part not in ("", "[key]")]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in named)
    return path.removeprefix(".")


# --- text forms -----------------------------------------------------------------------------


def _like(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise mistake("config_form", example=example)
        return value

    return AfterValidator(check)


def _system(value: str) -> str:
    try:
        from_text("sys", value)
    except RequestError:
        raise mistake("config_form", example="sys_ + 26 × [a-z2-7]") from None
    return value


def _digest(value: Any) -> bytes | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise mistake("config_form", example="e3b0c442… (64 hex)")
    return bytes.fromhex(value)


def _mode(value: Any) -> int:
    if type(value) is int and value == value & 0o777:
        return value
    if not isinstance(value, str) or not _MODE.fullmatch(value) or int(value, 8) & 0o600 != 0o600:
        raise mistake("config_form", example="0660")
    return int(value, 8)


Centre = Annotated[str, _like(_CENTRE, "00.22.W00")]
PeerId = Annotated[str, _like(_PEER_ID, "12D3KooW…")]
HostName = Annotated[str, _like(_HOST, "truc.example.gov.vn")]
SystemId = Annotated[str, AfterValidator(_system)]
Uid = Annotated[str, _like(_UID, "1001")]
Digest = Annotated[bytes | None, PlainValidator(_digest)]
FileMode = Annotated[int, PlainValidator(_mode)]


# --- paths ----------------------------------------------------------------------------------


def _absolute(value: Any, info: ValidationInfo) -> Path:
    """Relative to the configuration file's folder, which comes as the context; `~` is the user's home."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise mistake("config_type", expected="string")
    if not value or "\0" in value:
        raise mistake("config_form", example="/var/lib/truc")
    try:
        given = Path(value).expanduser()
    except RuntimeError as error:
        raise mistake("config_form", example="/var/lib/truc") from error
    folder = info.context if isinstance(info.context, Path) else Path.cwd()
    return folder / given


def _absolute_or_none(value: Any, info: ValidationInfo) -> Path | None:
    return None if value is None or value == "" else _absolute(value, info)


FolderPath = Annotated[Path, PlainValidator(_absolute)]
OptionalPath = Annotated[Path | None, PlainValidator(_absolute_or_none)]


# --- network addresses ----------------------------------------------------------------------


def _listener(value: Any, example: str) -> SocketAddress:
    """`127.0.0.1:4680` or `[::1]:4680`: an address, not a name, so that what is reachable is certain."""
    if isinstance(value, SocketAddress):
        return value
    if not isinstance(value, str):
        raise mistake("config_type", expected="string")
    host, colon, port = value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    address = _ip(host[1:-1] if bracketed else host, 6 if bracketed else 4)
    if not colon or address is None or not _port(port, 0):
        raise mistake("config_form", example=example)
    return SocketAddress(str(address), int(port))


def _loopback(value: Any) -> SocketAddress | None:
    if value is None or value == "":
        return None
    listener = _listener(value, "127.0.0.1:4680")
    if not ipaddress.ip_address(listener.host).is_loopback:
        raise mistake("config_plain_listener", address=value)
    return listener


def _tls(value: Any) -> SocketAddress:
    return _listener(value, "10.0.0.5:4643")


LoopbackListener = Annotated[SocketAddress | None, PlainValidator(_loopback)]
TlsListener = Annotated[SocketAddress, PlainValidator(_tls)]


def _ip(value: str, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return address if address.version == version else None


def _port(value: str, least: int) -> bool:
    return bool(_PORT.fullmatch(value)) and least <= int(value) <= PORT_MAX


def _is_host(protocol: str, value: str) -> bool:
    if protocol in ("ip4", "ip6"):
        return _ip(value, int(protocol[2])) is not None
    return protocol in ("dns", "dns4", "dns6") and bool(_HOST.fullmatch(value))


def _multiaddr(value: str) -> tuple[str, str, str] | None:
    """Protocol, host and port of `/ip4/10.0.0.5/tcp/4601`; None for every other form."""
    parts = value.split("/")
    if len(value) > ADDRESS_CHARACTERS_MAX or len(parts) != 5 or parts[0] or parts[3] != "tcp":
        return None
    return (parts[1], parts[2], parts[4]) if _is_host(parts[1], parts[2]) else None


def _listen(value: str) -> str:
    read = _multiaddr(value)
    if read is None or read[0].startswith("dns") or not _port(read[2], 0):
        raise mistake("config_form", example="/ip4/0.0.0.0/tcp/4601")
    return value


def _dial(value: str) -> str:
    read = _multiaddr(value)
    if read is None or not _port(read[2], 1) or _is_unspecified(read[1]):
        raise mistake("config_form", example="/ip4/203.113.1.2/tcp/4601")
    return value


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


ListenAddress = Annotated[str, AfterValidator(_listen)]
DialAddress = Annotated[str, AfterValidator(_dial)]
