"""Sealing: parts and headers in chunks, content keys for recipients, secrets under the vault key.

Spec: `spec/sealing.md` (DECISIONS "Sealing"). Every part has its own fresh key and no key
ever seals two streams; drawing keys is the caller's business, because entropy is an input.
Signatures stand in `signing.py`, the envelope that names digests and commitment in
`envelope.py`. One of the doors to `cryptography`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from protocol.body_digest import BodyHasher as BodyHasher  # noqa: PLC0414  # part of this module's vocabulary
from protocol.body_digest import Octets
from protocol.body_digest import body_digest as body_digest  # noqa: PLC0414
from protocol.encoding import lp
from protocol.errors import FormatError, TrustError
from protocol.limits import CHUNK_BYTES, HEADER_BYTES_MAX, PART_BYTES_MAX, TAG_BYTES
from protocol.signing import key_id_of

ALGORITHM_X25519: Final = "x25519"
KEY_BYTES: Final = 32
STANZA_BYTES: Final = 80
"""Encapsulated X25519 key, 32; sealed content key, 32; tag, 16."""
VAULT_SALT_BYTES: Final = 16

_SEALED_CHUNK_BYTES: Final = CHUNK_BYTES + TAG_BYTES
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_ZERO_NONCE: Final = bytes(12)


# --- sizes --------------------------------------------------------------------------------


def sealed_size(plain_size: int) -> int:
    """Bytes that a part of `plain_size` bytes has when sealed: a tag per begun chunk, at least one."""
    assert 0 <= plain_size <= PART_BYTES_MAX
    return plain_size + TAG_BYTES * max(1, -(-plain_size // CHUNK_BYTES))


def plain_size(sealed_size: int) -> int:
    """The inverse of `sealed_size`.

    Raises:
        FormatError: `sealed_size_impossible` (no part has this size when sealed).
    """
    chunks = -(-sealed_size // _SEALED_CHUNK_BYTES)
    plain = sealed_size - TAG_BYTES * chunks
    if chunks < 1 or not 0 <= plain <= PART_BYTES_MAX or max(1, -(-plain // CHUNK_BYTES)) != chunks:
        raise FormatError("sealed_size_impossible", size=sealed_size)
    return plain


# --- STREAM -------------------------------------------------------------------------------


class _Stream:
    """Cuts what is fed into chunks of a fixed size and turns each into another one.

    Between one chunk and `chunk_bytes` bytes are held back, because only the end of the
    stream says which chunk is the last (STREAM, Hoang et al. 2015).
    """

    def __init__(self, turn: Callable[[bytes, Octets, None], bytes], chunk_bytes: int) -> None:
        self._turn = turn
        self._chunk_bytes = chunk_bytes
        self._held = b""
        self.chunks = 0
        self.closed = False

    def feed(self, octets: Octets) -> list[bytes]:
        assert not self.closed, "this stream is finished"
        size = self._chunk_bytes
        view = memoryview(octets)
        turned: list[bytes] = []
        if self._held and len(self._held) + len(view) > size:
            fill = size - len(self._held)
            turned.append(self._next(self._held + view[:fill] if fill else self._held))
            self._held, view = b"", view[fill:]
        start = 0
        while len(view) - start > size:
            turned.append(self._next(view[start : start + size]))
            start += size
        self._held += view[start:]
        return turned

    def more(self) -> list[bytes]:
        """The caller knows that more octets follow: a full chunk need not be held back."""
        if len(self._held) < self._chunk_bytes:
            return []
        turned, self._held = [self._next(self._held)], b""
        return turned

    def last(self) -> bytes:
        assert not self.closed, "this stream is finished"
        self.closed = True
        return self._turn(self.chunks.to_bytes(11, "big") + b"\x01", self._held, None)

    @property
    def held_bytes(self) -> int:
        return len(self._held)

    def _next(self, chunk: Octets) -> bytes:
        nonce = self.chunks.to_bytes(11, "big") + b"\x00"
        self.chunks += 1
        return self._turn(nonce, chunk, None)


class PartSealer:
    """Seals one part under its own key, chunk by chunk, and digests both sides of it.

    The key must be fresh: two streams under one key reveal their difference.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._stream = _Stream(AESGCM(key).encrypt, CHUNK_BYTES)
        self._plain = sha256()
        self._body = BodyHasher()
        self.plain_size = 0

    def feed(self, plain: Octets) -> bytes:
        """The sealed chunks that are complete now, possibly none."""
        chunks = self._stream.feed(plain)
        self._plain.update(plain)
        self.plain_size += len(plain)
        return self._sealed(chunks)

    def more_follows(self) -> bytes:
        """The caller promises further plain bytes: a full chunk is given out, which `feed` holds
        back because it might have been the last."""
        return self._sealed(self._stream.more())

    def finish(self) -> bytes:
        """The last sealed chunk; the sealer is used up."""
        return self._sealed([self._stream.last()])

    @property
    def sealed_size(self) -> int:
        """Sealed bytes given out so far."""
        return self._body.size

    @property
    def plain_digest(self) -> bytes:
        """SHA-256 of the plain bytes fed."""
        return self._plain.digest()

    @property
    def body_digest(self) -> bytes:
        """Tree digest of the sealed bytes; only after `finish`."""
        assert self._stream.closed
        return self._body.digest()

    def _sealed(self, chunks: list[bytes]) -> bytes:
        for chunk in chunks:
            self._body.update(chunk)
        return b"".join(chunks)


class PartOpener:
    """Opens one sealed part, chunk by chunk.

    What `feed` returns is authentic but may be a prefix: nothing of it may be acted upon
    before `finish` has returned and `plain_digest` was compared.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) == KEY_BYTES
        self._stream = _Stream(AESGCM(key).decrypt, _SEALED_CHUNK_BYTES)
        self._plain = sha256()
        self.plain_size = 0

    def feed(self, sealed: Octets) -> bytes:
        """The plain bytes of the chunks that are complete now.

        Raises:
            TrustError: `part_damaged`; the opener is used up.
        """
        return self._turned(lambda: self._stream.feed(sealed))

    def more_follows(self) -> bytes:
        """The caller knows that further chunks exist: a full one is opened that `feed` holds back.

        Raises:
            TrustError: `part_damaged`; the opener is used up.
        """
        return self._turned(self._stream.more)

    def finish(self) -> bytes:
        """The plain bytes of the last chunk; the opener is used up.

        Raises:
            TrustError: `part_damaged` (also truncated, or with anything behind its end).
        """
        # An empty last chunk behind full ones would be a second way of writing one part.
        if not self._stream.closed and self._stream.held_bytes == TAG_BYTES and self._stream.chunks:
            self._stream.closed = True
            raise TrustError("part_damaged", chunk=self._stream.chunks)
        try:
            return self._opened(self._stream.last())
        except InvalidTag as error:
            raise TrustError("part_damaged", chunk=self._stream.chunks) from error

    @property
    def plain_digest(self) -> bytes:
        """SHA-256 of the plain bytes returned so far."""
        return self._plain.digest()

    def _turned(self, turn: Callable[[], list[bytes]]) -> bytes:
        try:
            return self._opened(b"".join(turn()))
        except InvalidTag as error:
            self._stream.closed = True
            raise TrustError("part_damaged", chunk=self._stream.chunks - 1) from error

    def _opened(self, plain: bytes) -> bytes:
        self._plain.update(plain)
        self.plain_size += len(plain)
        return plain


def seal_all(key: bytes, plain: Octets) -> bytes:
    """Seal a whole part that fits in memory."""
    stream = _Stream(AESGCM(key).encrypt, CHUNK_BYTES)
    return b"".join((*stream.feed(plain), stream.last()))


def open_all(key: bytes, sealed: Octets) -> bytes:
    """Open a whole part that fits in memory.

    Raises:
        TrustError: `part_damaged`.
    """
    opener = PartOpener(key)
    return opener.feed(sealed) + opener.finish()


# --- envelope header ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HeaderKeys:
    """What the content key of an envelope becomes: a key for its header, and a commitment to itself."""

    header_key: bytes
    commitment: bytes


def header_keys(content_key: bytes, envelope_id: bytes) -> HeaderKeys:
    """Derive header key and commitment from the content key (32 bytes) and envelope id (16 bytes)."""
    assert len(content_key) == KEY_BYTES
    assert len(envelope_id) == 16
    derived = _hkdf(content_key, salt=envelope_id, info=b"truc/envelope/1", length=64)
    return HeaderKeys(derived[:32], derived[32:])


def committed_header_key(content_key: bytes, envelope_id: bytes, commitment: bytes) -> bytes:
    """The header key, if this content key is the one that the envelope commits to.

    Raises:
        TrustError: `commitment_wrong` (AES-GCM alone would open under two keys to two texts).
    """
    keys = header_keys(content_key, envelope_id)
    if keys.commitment != commitment:
        raise TrustError("commitment_wrong")
    return keys.header_key


def seal_header(header_key: bytes, plain: bytes) -> bytes:
    """Seal a header.

    Raises:
        FormatError: `sealed_header_too_large` (more than 128 KiB when sealed).
    """
    _check_header_size(sealed_size(len(plain)))
    return seal_all(header_key, plain)


def open_header(header_key: bytes, sealed: bytes) -> bytes:
    """Open a sealed header.

    Raises:
        FormatError: `sealed_header_too_large`.
        TrustError: `header_damaged`.
    """
    _check_header_size(len(sealed))
    try:
        return open_all(header_key, sealed)
    except TrustError as error:
        raise TrustError("header_damaged") from error


def _check_header_size(size: int) -> None:
    if size > HEADER_BYTES_MAX:
        raise FormatError("sealed_header_too_large", size=size, limit=HEADER_BYTES_MAX)


# --- stanza: the content key for one recipient --------------------------------------------


@lru_cache(maxsize=4096)
def sealing_public(raw: bytes) -> X25519PublicKey:
    """A checked X25519 public key.

    Raises:
        FormatError: `key_malformed` (not 32 bytes).
        TrustError: `key_small_order` (everybody would know the shared secret).
    """
    if len(raw) != 32:
        raise FormatError("key_malformed", reason="length")
    public = X25519PublicKey.from_public_bytes(raw)
    try:
        X25519PrivateKey.from_private_bytes(b"\x40" * 32).exchange(public)
    except ValueError as error:  # OpenSSL refuses an all-zero shared secret (RFC 7748 §6.1)
        raise TrustError("key_small_order") from error
    return public


class SealingKey:
    """A centre's private X25519 key, to which content keys are wrapped."""

    def __init__(self, private_raw: bytes) -> None:
        assert len(private_raw) == KEY_BYTES
        self.private: Final = X25519PrivateKey.from_private_bytes(private_raw)
        self.public_raw: Final = self.private.public_key().public_bytes_raw()
        self.key_id: Final = key_id_of(ALGORITHM_X25519, self.public_raw)

    def __repr__(self) -> str:
        return f"SealingKey({self.key_id.hex()[:16]})"


def stanza_info(key_id: bytes, consignment_id: bytes, envelope_digest: bytes, recipient: str, epoch: int) -> bytes:
    """Everything that a stanza is bound to (DECISIONS "Sealing")."""
    bound = lp("truc/stanza/1", key_id, consignment_id, envelope_digest, recipient)
    return bound + epoch.to_bytes(8, "big")


def wrap_stanza(content_key: bytes, sealing_public_raw: bytes, info: bytes) -> bytes:
    """Wrap a content key for one recipient, 80 bytes; every wrap differs (HPKE draws its own entropy).

    Raises:
        FormatError: `key_malformed`.
        TrustError: `key_small_order`.
    """
    assert len(content_key) == KEY_BYTES
    return _SUITE.encrypt(content_key, sealing_public(sealing_public_raw), info)


def open_stanza(sealing_key: SealingKey, stanza: bytes, info: bytes) -> bytes:
    """The content key in a stanza.

    Raises:
        TrustError: `stanza_unusable` (damaged, for another key, or bound to something else).
    """
    if len(stanza) != STANZA_BYTES:
        raise TrustError("stanza_unusable")
    try:
        return _SUITE.decrypt(stanza, sealing_key.private, info)
    except (InvalidTag, ValueError) as error:
        raise TrustError("stanza_unusable") from error


# --- vault: secrets at rest ---------------------------------------------------------------


def vault_wrap(vault_key: bytes, context: bytes, secret: bytes, salt16: bytes) -> bytes:
    """Seal a small secret for the disk: salt ‖ ciphertext ‖ tag. The salt must be fresh entropy."""
    assert len(salt16) == VAULT_SALT_BYTES
    return salt16 + _vault_cipher(vault_key, context, salt16).encrypt(_ZERO_NONCE, secret, None)


def vault_open(vault_key: bytes, context: bytes, wrapped: bytes) -> bytes:
    """The secret that `vault_wrap` sealed under this key and context.

    Raises:
        TrustError: `vault_damaged` (damaged, or of another key or context).
    """
    salt, sealed = wrapped[:VAULT_SALT_BYTES], wrapped[VAULT_SALT_BYTES:]
    try:
        return _vault_cipher(vault_key, context, salt).decrypt(_ZERO_NONCE, sealed, None)
    except InvalidTag as error:
        raise TrustError("vault_damaged") from error


def vault_subkey(vault_key: bytes, purpose: str) -> bytes:
    """A 32-byte key for one purpose, such as an index that must not show what it indexes."""
    return _hkdf(vault_key, salt=b"", info=lp("truc/vault-subkey/1", purpose), length=32)


def keyed_index(subkey: bytes, *parts: bytes | str) -> bytes:
    """HMAC-SHA256 over lp of the parts: equal parts meet, and nobody without the key learns which."""
    return hmac.digest(subkey, lp(*parts), "sha256")


def _vault_cipher(vault_key: bytes, context: bytes, salt: bytes) -> AESGCM:
    assert len(vault_key) == KEY_BYTES
    # The salt makes the key one-time, so the nonce may be constant.
    return AESGCM(_hkdf(vault_key, salt=salt, info=lp("truc/vault/1", context), length=32))


def _hkdf(key: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    derive: Any = HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive
    derived: bytes = derive(key)
    return derived
