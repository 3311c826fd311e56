"""The prefix tree: one hash over a set of (key, digest), and what two such sets differ in.

Spec: `spec/checkpoint.md` §5. A tree in memory that changes cheaply: leaves lie sorted in
buckets by the first bits of their keys, and above the buckets stands a dense binary tree of
hashes, so one change hashes one bucket and one path. Which things are in a tree is decided by
whoever fills it; how two nodes compare theirs, in `reconcile.py`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Final

from protocol.encoding import Key, Meta, lp
from protocol.errors import FormatError
from protocol.merkle import inner

HASH_BYTES: Final = 32
KEY_BITS: Final = 256
NIBBLE: Final = 4
"""Bits by which prefixes grow on the wire."""
EMPTY: Final = bytes(HASH_BYTES)
"""The tree without leaves."""

_ENTRY: Final = 2 * HASH_BYTES
_BUCKET_LEAVES: Final = 64
"""Leaves to a bucket, on average, beyond which the tree gets sixteen times as many buckets."""
_BUCKET_BITS_MAX: Final = 12
"""4,096 buckets: thirty leaves each for a nation, and a quarter of a megabyte of upper hashes."""


def tree_key(subject: int, code: str) -> bytes:
    """The key of what is known about a subject: SHA-256(lp(`truc/directory-key/1`) ‖ subject ‖ lp(code))."""
    return sha256(lp("truc/directory-key/1") + bytes((subject,)) + lp(code)).digest()


def leaf_hash(key: bytes, digest: bytes) -> bytes:
    """SHA-256(0x00 ‖ key ‖ digest)."""
    return sha256(b"\x00" + key + digest).digest()


def join(left: bytes, right: bytes) -> bytes:
    """The tree of two halves: an empty half leaves the other as it is."""
    if left == EMPTY:
        return right
    return left if right == EMPTY else inner(left, right)


def joined(hashes: Sequence[bytes]) -> bytes:
    """The tree over the trees of a power of two of neighbouring prefixes."""
    level = list(hashes)
    while len(level) > 1:
        level = [join(level[at], level[at + 1]) for at in range(0, len(level), 2)]
    return level[0]


# --- prefixes and nodes ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first `bits` bits of keys, left-aligned in as few bytes as hold them, unused bits zero."""

    bits: int
    value: bytes

    @property
    def number(self) -> int:
        """The bits as a number."""
        return int.from_bytes(self.value, "big") >> (8 * len(self.value) - self.bits)

    def covers(self, key: bytes) -> bool:
        """Whether the key begins with this prefix."""
        return int.from_bytes(key, "big") >> (KEY_BITS - self.bits) == self.number

    def child(self, nibble: int) -> Prefix:
        """The prefix that is four bits longer; `nibble` is 0 to 15."""
        return prefix_of(self.bits + NIBBLE, self.number << NIBBLE | nibble)


def prefix_of(bits: int, number: int) -> Prefix:
    """The prefix of so many bits with this number."""
    size = (bits + 7) // 8
    return Prefix(bits, (number << (8 * size - bits)).to_bytes(size, "big"))


ROOT_PREFIX: Final = Prefix(0, b"")


def read_prefix(bits: int, value: bytes, *, field: str = "") -> Prefix:
    """A prefix that a peer named.

    Raises:
        FormatError: `format_field` (more than 256 bits, no multiple of four, wrong length, a
            bit behind the last).
    """
    if not 0 <= bits <= KEY_BITS or bits % NIBBLE:
        raise FormatError("format_field", field=field, reason="0 to 256 bits, a multiple of 4")
    if len(value) != (bits + 7) // 8:
        raise FormatError("format_field", field=field, reason="length")
    prefix = Prefix(bits, value)
    if prefix_of(bits, prefix.number) != prefix:
        raise FormatError("format_field", field=field, reason="bits behind the prefix")
    return prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What is below a prefix: nothing, one leaf, or sixteen trees. Exactly one of them."""

    key: Annotated[bytes, Meta(max_length=HASH_BYTES), Key(1)] = b""
    digest: Annotated[bytes, Meta(max_length=HASH_BYTES), Key(2)] = b""
    below: Annotated[
        tuple[Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)], ...], Meta(max_length=16), Key(3)
    ] = ()

    @property
    def hash(self) -> bytes:
        """The tree below the prefix that this node speaks of."""
        if self.below:
            return joined(self.below)
        return leaf_hash(self.key, self.digest) if self.key else EMPTY


NOTHING: Final = Node()


def check_node(node: Node, *, field: str = "") -> None:
    """The shape of a node that a peer gave.

    Raises:
        FormatError: `format_field`.
    """
    shape = (len(node.key), len(node.digest), len(node.below))
    if shape not in {(0, 0, 0), (HASH_BYTES, HASH_BYTES, 0), (0, 0, 16)}:
        raise FormatError("format_field", field=field, reason="neither nothing, nor a leaf, nor sixteen hashes")


# --- the tree -------------------------------------------------------------------------------


class PrefixTree:
    """A set of leaves with its hash: 64 bytes a leaf, and up to 256 KiB of hashes for a large one."""

    _bits: int
    _buckets: list[bytes]
    _count: int
    _upper: bytearray

    def __init__(self) -> None:
        self._fill(0, [b""])

    @classmethod
    def of_sorted(cls, leaves: Iterable[tuple[bytes, bytes]]) -> PrefixTree:
        """The tree over (key, digest) in ascending order of keys, no key twice; one pass."""
        entries, last = bytearray(), b""
        for key, digest in leaves:
            assert last < key and len(key) == len(digest) == HASH_BYTES, "not in ascending order"
            entries += key
            entries += digest
            last = key
        tree = cls()
        tree._fill_sorted(entries)
        return tree

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """The leaves in ascending order of keys."""
        for bucket in self._buckets:
            for at in range(0, len(bucket), _ENTRY):
                yield bucket[at : at + HASH_BYTES], bucket[at + HASH_BYTES : at + _ENTRY]

    @property
    def root(self) -> bytes:
        """The tree over all leaves."""
        return self._hash(1)

    def get(self, key: bytes) -> bytes | None:
        """The digest under this key."""
        bucket = self._buckets[self._bucket_of(key)]
        at = _place(bucket, key)
        return bucket[at + HASH_BYTES : at + _ENTRY] if _is_at(bucket, at, key) else None

    def put(self, key: bytes, digest: bytes) -> None:
        """Add a leaf, or replace the one under this key."""
        assert len(key) == len(digest) == HASH_BYTES
        number = self._bucket_of(key)
        bucket = self._buckets[number]
        at = _place(bucket, key)
        known = _is_at(bucket, at, key)
        self._replace(number, bucket[:at] + key + digest + bucket[at + _ENTRY * known :])
        self._count += not known
        if self._count > _BUCKET_LEAVES << self._bits and self._bits < _BUCKET_BITS_MAX:
            self._fill_sorted(b"".join(self._buckets))

    def put_many(self, leaves: Sequence[tuple[bytes, bytes]]) -> Generator[None, None, None]:
        """As `put` for each, with a pause after each bucket, a tenth of a millisecond; the tree changes at the end,
        at once. Nothing else may change it meanwhile."""
        if self._count + len(leaves) > _BUCKET_LEAVES << self._bits and self._bits < _BUCKET_BITS_MAX:
            yield from self._put_and_spread(leaves)
            return
        changed: dict[int, dict[bytes, bytes]] = {}
        for key, digest in leaves:
            changed.setdefault(self._bucket_of(key), {})[key] = digest
        upper, buckets, count = bytearray(self._upper), list(self._buckets), self._count
        for number, added in changed.items():
            count -= len(buckets[number]) // _ENTRY
            buckets[number] = _merged(buckets[number], added)
            count += len(buckets[number]) // _ENTRY
            _set(upper, (1 << self._bits) + number, _tree(buckets[number]))
            yield
        level = {(1 << self._bits) + number for number in changed}
        while level and level != {1}:
            level = {node >> 1 for node in level}
            for node in level:
                _set(upper, node, join(_get(upper, 2 * node), _get(upper, 2 * node + 1)))
            yield
        self._upper, self._buckets, self._count = upper, buckets, count

    def _put_and_spread(self, leaves: Iterable[tuple[bytes, bytes]]) -> Generator[None, None, None]:
        """As `put_many`, where the tree becomes too large for its buckets."""
        entries = _merged(b"".join(self._buckets), dict(leaves))
        larger = PrefixTree()
        bits = self._bits
        while bits < _BUCKET_BITS_MAX and len(entries) // _ENTRY > _BUCKET_LEAVES << bits:
            bits += NIBBLE
        larger._bits, larger._buckets = bits, _cut(entries, bits, 0, 1 << bits)
        larger._count, larger._upper = len(entries) // _ENTRY, bytearray(2 * HASH_BYTES << bits)
        for number, bucket in enumerate(larger._buckets):
            _set(larger._upper, (1 << bits) + number, _tree(bucket))
            yield
        for node in range((1 << bits) - 1, 0, -1):
            _set(larger._upper, node, join(_get(larger._upper, 2 * node), _get(larger._upper, 2 * node + 1)))
            if node % 64 == 0:
                yield
        self._bits, self._buckets = larger._bits, larger._buckets
        self._count, self._upper = larger._count, larger._upper

    def remove(self, key: bytes) -> None:
        """Take the leaf under this key out, if there is one."""
        number = self._bucket_of(key)
        bucket = self._buckets[number]
        at = _place(bucket, key)
        if _is_at(bucket, at, key):
            self._replace(number, bucket[:at] + bucket[at + _ENTRY :])
            self._count -= 1

    def below(self, prefix: Prefix) -> Node:
        """What is below this prefix; `bits` is a multiple of four."""
        few = self._first_two(prefix)
        if not few:
            return NOTHING
        if len(few) == _ENTRY:
            return Node(key=few[:HASH_BYTES], digest=few[HASH_BYTES:])
        return Node(below=self.hashes(prefix))

    def tree_below(self, prefix: Prefix) -> bytes:
        """The tree below this prefix, as its parent has it among its hashes."""
        if prefix.bits <= self._bits:
            return self._hash((1 << prefix.bits) + prefix.number)
        return _tree(self._within(prefix))

    def hashes(self, prefix: Prefix) -> tuple[bytes, ...]:
        """The trees below the sixteen prefixes that are four bits longer."""
        assert prefix.bits % NIBBLE == 0 and prefix.bits < KEY_BITS
        if prefix.bits < self._bits:
            first = (1 << prefix.bits + NIBBLE) + (prefix.number << NIBBLE)
            return tuple(self._hash(first + nibble) for nibble in range(16))
        parts = _cut(self._within(prefix), prefix.bits + NIBBLE, prefix.number << NIBBLE, 16)
        return tuple(_tree(part) for part in parts)

    def leaves(self, prefix: Prefix) -> list[tuple[bytes, bytes]]:
        """The leaves below this prefix, in ascending order of keys."""
        spread = self._bits - prefix.bits
        if spread > 0:
            entries = b"".join(self._buckets[prefix.number << spread : (prefix.number + 1) << spread])
        else:
            entries = self._within(prefix)
        starts = range(0, len(entries), _ENTRY)
        return [(entries[at : at + HASH_BYTES], entries[at + HASH_BYTES : at + _ENTRY]) for at in starts]

    # --- pieces ---------------------------------------------------------------------------

    def _bucket_of(self, key: bytes) -> int:
        return int.from_bytes(key[:2], "big") >> (16 - self._bits)

    def _hash(self, node: int) -> bytes:
        """The hash of a node of the dense tree; the children of n are 2n and 2n + 1, the root is 1."""
        return _get(self._upper, node)

    def _set_hash(self, node: int, value: bytes) -> None:
        _set(self._upper, node, value)

    def _replace(self, number: int, bucket: bytes) -> None:
        self._buckets[number] = bucket
        node = (1 << self._bits) + number
        self._set_hash(node, _tree(bucket))
        while node > 1:
            node >>= 1
            self._set_hash(node, join(self._hash(2 * node), self._hash(2 * node + 1)))

    def _fill(self, bits: int, buckets: list[bytes]) -> None:
        assert len(buckets) == 1 << bits
        self._bits = bits
        self._buckets = buckets
        self._count = sum(map(len, buckets)) // _ENTRY
        self._upper = bytearray(2 * HASH_BYTES << bits)
        for number, bucket in enumerate(buckets):
            self._set_hash((1 << bits) + number, _tree(bucket))
        for node in range((1 << bits) - 1, 0, -1):
            self._set_hash(node, join(self._hash(2 * node), self._hash(2 * node + 1)))

    def _fill_sorted(self, entries: bytes | bytearray) -> None:
        count, bits = len(entries) // _ENTRY, 0
        while bits < _BUCKET_BITS_MAX and count > _BUCKET_LEAVES << bits:
            bits += NIBBLE
        self._fill(bits, _cut(entries, bits, 0, 1 << bits))

    def _within(self, prefix: Prefix) -> bytes:
        """The entries below a prefix that is at least as long as those of the buckets."""
        bucket = self._buckets[prefix.number >> (prefix.bits - self._bits)]
        return _cut(bucket, prefix.bits, prefix.number, 1)[0]

    def _first_two(self, prefix: Prefix) -> bytes:
        """The first entries below a prefix, at most two of them."""
        if prefix.bits >= self._bits:
            return self._within(prefix)[: 2 * _ENTRY]
        spread = self._bits - prefix.bits
        found = b""
        for bucket in self._buckets[prefix.number << spread : (prefix.number + 1) << spread]:
            found += bucket[: 2 * _ENTRY - len(found)]
            if len(found) == 2 * _ENTRY:
                break
        return found


def _get(upper: bytearray, node: int) -> bytes:
    return bytes(upper[node * HASH_BYTES : (node + 1) * HASH_BYTES])


def _set(upper: bytearray, node: int, value: bytes) -> None:
    upper[node * HASH_BYTES : (node + 1) * HASH_BYTES] = value


def _merged(entries: bytes, added: dict[bytes, bytes]) -> bytes:
    """The entries with these (key, digest) put among them."""
    digests = {
        entries[at : at + HASH_BYTES]: entries[at + HASH_BYTES : at + _ENTRY]
        for at in range(0, len(entries), _ENTRY)
    }
    digests.update(added)
    return b"".join([key + digests[key] for key in sorted(digests)])


def _place(entries: bytes | bytearray, key: bytes) -> int:
    """The offset of the first entry whose key is not below this one, or begins with it."""
    places = range(len(entries) // _ENTRY)
    return bisect_left(places, key, key=lambda n: bytes(entries[n * _ENTRY : n * _ENTRY + HASH_BYTES])) * _ENTRY


def _cut(entries: bytes | bytearray, bits: int, first: int, count: int) -> list[bytes]:
    """The entries below each of `count` neighbouring prefixes of so many bits."""
    end = first + count
    last = _place(entries, prefix_of(bits, end).value) if end < 1 << bits else len(entries)
    places = [_place(entries, prefix_of(bits, number).value) for number in range(first, end)]
    return [bytes(entries[start:stop]) for start, stop in pairwise((*places, last))]


def _is_at(bucket: bytes, at: int, key: bytes) -> bool:
    return bucket[at : at + HASH_BYTES] == key


def _tree(entries: bytes) -> bytes:
    """The tree over sorted entries, in one pass: neighbours that share the most bits join first."""
    if not entries:
        return EMPTY
    hashes: list[bytes] = []
    apart: list[int] = []  # apart[n]: bits from the first in which the leaves beside border n differ
    last = 0
    for at in range(0, len(entries), _ENTRY):
        entry = entries[at : at + _ENTRY]
        key = int.from_bytes(entry[:HASH_BYTES], "big")
        if at:
            differing = (key ^ last).bit_length()
            while apart and apart[-1] < differing:
                apart.pop()
                right = hashes.pop()
                hashes[-1] = inner(hashes[-1], right)
            apart.append(differing)
        hashes.append(sha256(b"\x00" + entry).digest())
        last = key
    tree = hashes.pop()
    while hashes:
        tree = inner(hashes.pop(), tree)
    return tree
