"""The text form of a node's peer id, from its identity key: what requests and centre records name.

Obeys the libp2p peer-id specification for Ed25519 keys: base58 (Bitcoin's alphabet) of the identity
multihash of the key's protobuf. Written here because `truc init` must not load the network
library, whose door is `node/libp2p/` (DESIGN §1); the transport uses its own and the two must agree.
"""

from __future__ import annotations

from typing import Final

from protocol.signing import Ed25519Signer

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIX: Final = bytes.fromhex("0024 0801 1220")
"""Identity multihash of 36 bytes; protobuf: key type Ed25519, 32 bytes of key."""


def peer_id_of(identity_seed: bytes) -> str:
    """The peer id (`12D3KooW…`) that belongs to a 32-byte identity seed."""
    return base58(_PREFIX + Ed25519Signer(identity_seed).public.raw)


def base58(raw: bytes) -> str:
    """Bytes in Bitcoin's base58; each leading zero byte is a `1`."""
    number, text = int.from_bytes(raw, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    zeros = len(raw) - len(raw.lstrip(b"\0"))
    return "1" * zeros + text
