"""Signed things: keys, signatures over batches, and the type that says "checked".

Spec: `spec/signing.md` (DECISIONS "Signed thing on the wire"). A signature covers the root
of a Merkle tree over one or more statements of one format, so a batch costs one public-key
operation on each side. Which key may say what is decided in `trust.py`; what a statement
means, in the module of its format. One of the doors to `cryptography`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from protocol.encoding import Format, decode, encode, lp
from protocol.errors import FormatError, TrustError
from protocol.limits import MERKLE_DEPTH_MAX, SIGNATURE_BYTES_MAX, SIGNATURES_MAX
from protocol.merkle import inclusion_paths, root_from_path, tree_root

T = TypeVar("T")

ALGORITHM_ED25519: Final = "ed25519"

FORMAT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9/_-]{0,59}/[0-9]{1,3}")
"""What the name of a signed format looks like: `truc/receipt/1`."""


# --- keys ---------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def key_id_of(algorithm: str, raw: bytes) -> bytes:
    """SHA-256(lp(algorithm) ‖ lp(public key)), the name of a key everywhere."""
    return sha256(lp(algorithm, raw)).digest()


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that can verify; one that fails the checks of spec/signing.md §1 cannot be made.

    Raises:
        FormatError: `key_algorithm_unknown`, `key_malformed` (length, encoding, no point).
        TrustError: `key_small_order` (such a key accepts signatures nobody made).
    """

    algorithm: str
    raw: bytes
    key_id: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.algorithm != ALGORITHM_ED25519:
            raise FormatError("key_algorithm_unknown", algorithm=self.algorithm)
        _check_ed25519(self.raw)
        object.__setattr__(self, "key_id", key_id_of(self.algorithm, self.raw))

    @classmethod
    def of(cls, algorithm: str, raw: bytes) -> PublicKey:
        """The key with these bytes, checked."""
        return cls(algorithm, raw)


_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y8: Final = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
_SMALL_ORDER_Y: Final = frozenset((0, 1, _P - 1, _Y8, _P - _Y8))
"""The y coordinates of the eight points whose order divides 8."""


@lru_cache(maxsize=4096)
def _check_ed25519(raw: bytes) -> None:
    if len(raw) != 32:
        raise FormatError("key_malformed", reason="length")
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)
    if y >= _P:
        raise FormatError("key_malformed", reason="encoding")
    if y in _SMALL_ORDER_Y:  # OpenSSL accepts these: one signature is valid for every text
        raise TrustError("key_small_order")
    # RFC 8032 §5.1.3: there is a point with this y only if (y² − 1)/(d·y² + 1) is a square.
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    if pow(u * v, (_P - 1) // 2, _P) != 1:
        raise FormatError("key_malformed", reason="not a point")


class Signer(Protocol):
    """Whatever can sign: a key in memory now, a hardware key or a remote signer later."""

    @property
    def public(self) -> PublicKey:
        """The key that verifies what this signer signs."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The signature over exactly these bytes."""
        ...


class Ed25519Signer:
    """A signer from a 32-byte seed (RFC 8032 private key)."""

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == 32
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: Final = PublicKey(ALGORITHM_ED25519, self._private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"Ed25519Signer({self.public.key_id.hex()[:16]})"

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over these bytes."""
        return self._private.sign(message)


# --- signed things ------------------------------------------------------------------------


def thing_digest(format_name: str, statement: bytes) -> bytes:
    """SHA-256(0x00 ‖ lp(format) ‖ statement): names the thing whoever signed it, and is its leaf."""
    return sha256(b"\x00" + lp(format_name) + statement).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One key's signature, and where the thing stands in the tree that it covers."""

    key_id: bytes
    signature: bytes
    tree_size: int
    leaf_index: int
    path: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """Statement bytes with 1–16 signatures, sorted by key id; nothing in it is verified yet."""

    format: str
    statement: bytes
    signatures: tuple[Signature, ...]
    digest: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        ids = [item.key_id for item in self.signatures]
        assert 1 <= len(ids) <= SIGNATURES_MAX and all(a < b for a, b in pairwise(ids))
        object.__setattr__(self, "digest", thing_digest(self.format, self.statement))

    def signature_of(self, key_id: bytes) -> Signature:
        """This key's signature.

        Raises:
            TrustError: `signature_missing`.
        """
        for item in self.signatures:
            if item.key_id == key_id:
                return item
        raise TrustError("signature_missing", key=key_id.hex())

    def has_signature_of(self, key_id: bytes) -> bool:
        """Whether this key is named among the signatures; says nothing about their validity."""
        return any(item.key_id == key_id for item in self.signatures)

    def to_wire(self) -> bytes:
        """The canonical bytes (spec/signing.md §4)."""
        rows = [[s.key_id, s.signature, s.tree_size, s.leaf_index, s.path] for s in self.signatures]
        return encode([self.format, self.statement, rows])

    @classmethod
    def from_wire(cls, data: bytes, *, bytes_max: int) -> Signed:
        """Read canonical bytes; shape only, no signature is looked at.

        Raises:
            FormatError: as `encoding.decode`, and `format_field` with the part that is wrong.
        """
        wire = _shaped(decode(data, bytes_max=bytes_max), "thing", (str, bytes, list))
        if FORMAT_NAME.fullmatch(wire[0]) is None:
            raise FormatError("format_field", field="format", reason="no format name")
        if not 1 <= len(wire[2]) <= SIGNATURES_MAX:
            raise FormatError("format_field", field="signatures", reason="1 to 16 signatures")
        signatures = tuple(_read_signature(row, f"signatures[{n}]") for n, row in enumerate(wire[2]))
        if any(a.key_id >= b.key_id for a, b in pairwise(signatures)):
            raise FormatError("format_field", field="signatures", reason="not in ascending order of key ids")
        return cls(format=wire[0], statement=wire[1], signatures=signatures)


def _shaped(value: Any, where: str, kinds: tuple[type, ...]) -> list[Any]:
    if type(value) is not list or tuple(map(type, value)) != kinds:
        raise FormatError("format_field", field=where, reason="expected [" + ", ".join(k.__name__ for k in kinds) + "]")
    return value


def _read_signature(row: Any, where: str) -> Signature:
    key_id, signature, size, index, path = _shaped(row, where, (bytes, bytes, int, int, list))
    if len(key_id) != 32:
        raise FormatError("format_field", field=f"{where}.key_id", reason="expected 32 bytes")
    if not 1 <= len(signature) <= SIGNATURE_BYTES_MAX:
        raise FormatError("format_field", field=f"{where}.signature", reason="length")
    if not 0 <= index < size <= 1 << MERKLE_DEPTH_MAX:
        raise FormatError("format_field", field=f"{where}.leaf_index", reason="no such leaf")
    if len(path) > MERKLE_DEPTH_MAX or any(type(node) is not bytes or len(node) != 32 for node in path):
        raise FormatError("format_field", field=f"{where}.path", reason="expected up to 32 hashes of 32 bytes")
    return Signature(key_id=key_id, signature=signature, tree_size=size, leaf_index=index, path=tuple(path))


# --- signing ------------------------------------------------------------------------------


def signed_text(format_name: str, key: PublicKey, root: bytes) -> bytes:
    """The bytes that a signature covers: lp(format) ‖ lp(algorithm) ‖ lp(key id) ‖ root."""
    return lp(format_name, key.algorithm, key.key_id) + root


def sign(format_name: str, statement: bytes, signer: Signer) -> Signed:
    """Sign one statement, a batch of one."""
    return sign_batch(format_name, (statement,), signer)[0]


def sign_batch(format_name: str, statements: Sequence[bytes], signer: Signer) -> list[Signed]:
    """Sign statements of one format with one signature; the things come in the same order."""
    assert FORMAT_NAME.fullmatch(format_name) is not None
    if not statements:
        return []
    leaves = [thing_digest(format_name, statement) for statement in statements]
    signature = signer.sign(signed_text(format_name, signer.public, tree_root(leaves)))
    return [
        Signed(
            format=format_name,
            statement=statement,
            signatures=(
                Signature(
                    key_id=signer.public.key_id,
                    signature=signature,
                    tree_size=len(leaves),
                    leaf_index=index,
                    path=path,
                ),
            ),
        )
        for index, (statement, path) in enumerate(zip(statements, inclusion_paths(leaves), strict=True))
    ]


def countersign(signed: Signed, signer: Signer) -> Signed:
    """The same thing with a further signature; one that this key gave before is replaced.

    Raises:
        FormatError: `format_field` (sixteen other keys have signed already).
    """
    return joined(signed, sign(signed.format, signed.statement, signer))


def joined(signed: Signed, further: Signed) -> Signed:
    """One thing with the signatures of both; where one key signed both, that of `further` stays.

    Raises:
        FormatError: `format_field` (more than sixteen keys together).
    """
    assert signed.digest == further.digest, "signatures of another thing"
    by_key = {item.key_id: item for item in (*signed.signatures, *further.signatures)}
    if len(by_key) > SIGNATURES_MAX:
        raise FormatError("format_field", field="signatures", reason="1 to 16 signatures")
    together = tuple(by_key[key_id] for key_id in sorted(by_key))
    return Signed(format=signed.format, statement=signed.statement, signatures=together)


# --- verifying ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Generic[T]):
    """A statement whose signature by `key_id` has been verified. Made only by code that did so."""

    value: T
    signed: Signed
    key_id: bytes


class Verifier:
    """Checks signatures and remembers the roots it has checked, so a batch costs one operation.

    What is remembered is the hash of key, format, root and signature, only after success,
    and only the newest `memo_entries` of them. Safe to share between threads.
    """

    MEMO_ENTRIES: ClassVar[int] = 4096

    def __init__(self, memo_entries: int = MEMO_ENTRIES, memory: OrderedDict[bytes, None] | None = None) -> None:
        assert memo_entries > 0
        self._memo = OrderedDict() if memory is None else memory
        self._memo_entries: Final = memo_entries
        self.operations = 0
        """Public-key operations done so far, for metrics and tests."""

    def verify(self, signed: Signed, key: PublicKey) -> None:
        """Return if this key signed this thing.

        Raises:
            TrustError: `signature_missing` (the key is not among the signers),
                `signature_path` (the thing stands in no tree as described),
                `signature_invalid`.
        """
        item = signed.signature_of(key.key_id)
        try:
            root = root_from_path(signed.digest, item.leaf_index, item.tree_size, item.path)
        except FormatError as error:
            raise TrustError("signature_path") from error
        self.verify_root(signed.format, key, root, item.signature)

    def verify_root(self, format_name: str, key: PublicKey, root: bytes, signature: bytes) -> None:
        """Return if this key signed a batch of this format with this root.

        Raises:
            TrustError: `signature_invalid`.
        """
        text = signed_text(format_name, key, root)
        memo = sha256(text + signature).digest()
        if memo not in self._memo:
            self.operations += 1
            _verify_ed25519(key.raw, signature, text)
        self._remember(memo)

    def open(self, expected: Format[T], signed: Signed, key: PublicKey) -> Verified[T]:
        """Verify a thing and read its statement.

        Raises:
            FormatError: `format_other` (a thing of another format), and as `Format.decode`.
            TrustError: as `verify`.
        """
        if signed.format != expected.name:
            raise FormatError("format_other", found=signed.format, wanted=expected.name)
        self.verify(signed, key)
        return Verified(value=expected.decode(signed.statement), signed=signed, key_id=key.key_id)

    def _remember(self, memo: bytes) -> None:
        self._memo[memo] = None
        try:
            self._memo.move_to_end(memo)
            while len(self._memo) > self._memo_entries:
                self._memo.popitem(last=False)
        except KeyError:  # another thread evicted the entry first: it is verified again next time
            return


@lru_cache(maxsize=1024)
def _ed25519(raw: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(raw)


def _verify_ed25519(raw: bytes, signature: bytes, text: bytes) -> None:
    try:
        _ed25519(raw).verify(signature, text)
    except InvalidSignature as error:
        raise TrustError("signature_invalid") from error
