"""Sealing: against the vectors, against independent computations, and under every kind of damage."""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import lp
from protocol.errors import FormatError, TrustError
from protocol.limits import CHUNK_BYTES, HEADER_BYTES_MAX, PART_BYTES_MAX
from protocol.sealing import (
    BodyHasher,
    PartOpener,
    PartSealer,
    SealingKey,
    body_digest,
    committed_header_key,
    header_keys,
    keyed_index,
    open_all,
    open_header,
    open_stanza,
    plain_size,
    seal_all,
    seal_header,
    sealed_size,
    sealing_public,
    stanza_info,
    vault_open,
    vault_subkey,
    vault_wrap,
    wrap_stanza,
)
from protocol.signing import key_id_of
from tests.support.errors import expects
from tests.support.vectors import load
from tests.support.vectors_crypto import ENVELOPE_ID, KEY, SALT, SEALING_SEED, chunk, stanza_binding
from tests.support.vectors_encoding import pattern

Row = dict[str, Any]
ROWS = load("sealing")


def rows(kind: str, *, good: bool) -> pytest.MarkDecorator:
    """The vectors of one kind, either those that open or those that do not."""
    found = [row for row in ROWS if row["kind"] == kind and ("error" not in row) is good]
    assert found
    return pytest.mark.parametrize("row", found, ids=lambda row: row["name"])


def octets(row: Row, name: str) -> bytes:
    return bytes.fromhex(row[name])


def hkdf(key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869, written out."""
    prk = hmac.digest(salt or bytes(32), key, "sha256")
    block, made = b"", b""
    for n in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([n]), "sha256")
        made += block
    return made[:length]


# --- parts ----------------------------------------------------------------------------------


@rows("part", good=True)
def test_a_part_seals_to_the_bytes_of_its_vector(row: Row) -> None:
    plain, sealer = pattern(row["plain_size"]), PartSealer(octets(row, "key"))
    sealed = sealer.feed(plain) + sealer.finish()
    assert sealed == seal_all(octets(row, "key"), plain)
    assert (sealer.plain_size, sealer.sealed_size) == (row["plain_size"], row["sealed_size"])
    assert (sealer.plain_digest.hex(), sealer.body_digest.hex()) == (row["plain_digest"], row["body_digest"])
    assert sha256(sealed).hexdigest() == row["sealed_digest"]
    assert len(sealed) == row["sealed_size"]
    assert open_all(octets(row, "key"), sealed) == plain


@rows("part", good=False)
def test_a_damaged_part_does_not_open(row: Row) -> None:
    chunks = [chunk(counter, last, pattern(size)) for counter, last, size in row.get("chunks", ())]
    sealed = b"".join(chunks) or octets(row, "sealed")
    with expects(row["error"], TrustError):
        open_all(octets(row, "key"), sealed)


def test_chunks_are_aes_gcm_under_counter_and_last_flag() -> None:
    plain = pattern(2 * CHUNK_BYTES + 1)
    cut = [plain[:CHUNK_BYTES], plain[CHUNK_BYTES : 2 * CHUNK_BYTES], plain[2 * CHUNK_BYTES :]]
    assert seal_all(KEY, plain) == b"".join(chunk(n, int(n == 2), piece) for n, piece in enumerate(cut))
    assert seal_all(KEY, b"") == chunk(0, 1, b"")
    assert seal_all(KEY, cut[0]) == chunk(0, 1, cut[0])


PIECES = st.lists(
    st.sampled_from([0, 1, 2, 15, 16, 17, 65_519, 65_535, 65_536, 65_537, 65_552, 65_553, 200_000]), max_size=6
)


@given(PIECES, PIECES)
def test_a_part_is_the_same_in_whatever_pieces_it_comes(plain_pieces: list[int], sealed_pieces: list[int]) -> None:
    plain = pattern(sum(plain_pieces))
    sealer, opener = PartSealer(KEY), PartOpener(KEY)
    sealed, at = b"", 0
    for size in plain_pieces:
        sealed += sealer.feed(plain[at : at + size])
        at += size
        assert len(sealed) == sealer.sealed_size
        assert at - len(sealed) <= CHUNK_BYTES  # at most one chunk is held back
    sealed += sealer.finish()
    assert sealed == seal_all(KEY, plain)
    assert len(sealed) == sealed_size(len(plain)) == sealer.sealed_size
    assert sealer.body_digest == body_digest(sealed)

    opened, at = b"", 0
    for size in [*sealed_pieces, len(sealed)]:
        opened += opener.feed(memoryview(sealed)[at : at + size])
        at += size
    assert opened + opener.finish() == plain
    assert (opener.plain_size, opener.plain_digest) == (len(plain), sha256(plain).digest())


@given(st.integers(0, 3 * CHUNK_BYTES), st.data())
def test_no_prefix_no_longer_and_no_flipped_part_opens(size: int, data: st.DataObject) -> None:
    sealed = seal_all(KEY, pattern(size))
    at = data.draw(st.integers(0, len(sealed) - 1))
    flipped = sealed[:at] + bytes([sealed[at] ^ data.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    for damaged in (sealed[:at], sealed + sealed[: at + 1], flipped):
        with expects("part_damaged", TrustError):
            open_all(KEY, damaged)


def test_the_damaged_chunk_is_named() -> None:
    sealed = bytearray(seal_all(KEY, pattern(3 * CHUNK_BYTES)))
    sealed[CHUNK_BYTES + 16 + 5] ^= 1
    with expects("part_damaged", TrustError) as caught:
        open_all(KEY, sealed)
    assert caught[0].detail == {"chunk": 1}


def test_another_key_opens_nothing() -> None:
    with expects("part_damaged", TrustError):
        open_all(KEY[::-1], seal_all(KEY, b"text"))


def test_a_sealer_is_used_once() -> None:
    sealer = PartSealer(KEY)
    sealer.feed(b"x")
    with pytest.raises(AssertionError):
        _ = sealer.body_digest
    sealer.finish()
    with pytest.raises(AssertionError):
        sealer.feed(b"y")
    with pytest.raises(AssertionError):
        sealer.finish()


@pytest.mark.parametrize(
    "damaged", [chunk(0, 0, b"") * 2, bytes(200_000), chunk(0, 0, pattern(CHUNK_BYTES)) + chunk(1, 1, b"")]
)
def test_an_opener_that_found_damage_is_used_up(damaged: bytes) -> None:
    opener = PartOpener(KEY)
    with expects("part_damaged", TrustError):
        opener.feed(damaged)
        opener.finish()
    with pytest.raises(AssertionError):
        opener.feed(b"y")
    with pytest.raises(AssertionError):
        opener.finish()


@pytest.mark.parametrize("make", [PartSealer, PartOpener])
def test_a_part_key_has_32_bytes(make: Any) -> None:
    with pytest.raises(AssertionError):
        make(bytes(16))


# --- sizes ----------------------------------------------------------------------------------


@given(st.integers(0, PART_BYTES_MAX))
def test_sizes_are_inverse_to_one_another(size: int) -> None:
    assert plain_size(sealed_size(size)) == size


@given(st.integers(-5, 3 * CHUNK_BYTES))
def test_a_sealed_size_is_either_possible_or_refused(size: int) -> None:
    try:
        assert sealed_size(plain_size(size)) == size
    except FormatError as error:
        assert error.code == "sealed_size_impossible"


@rows("size", good=False)
def test_no_part_has_an_impossible_sealed_size(row: Row) -> None:
    with expects(row["error"], FormatError):
        plain_size(row["sealed_size"])


@pytest.mark.parametrize("size", [-1, PART_BYTES_MAX + 1])
def test_a_part_too_large_to_seal_is_our_mistake(size: int) -> None:
    with pytest.raises(AssertionError):
        sealed_size(size)


# --- body digest ----------------------------------------------------------------------------

MIB = 2**20


def tree_by_definition(body: bytes) -> bytes:
    """RFC 6962 §2.1 over segments of 1 MiB, word for word."""
    if len(body) <= MIB:
        return sha256(b"\x00" + body).digest()
    k = MIB
    while k * 2 < len(body):
        k *= 2
    return sha256(b"\x01" + tree_by_definition(body[:k]) + tree_by_definition(body[k:])).digest()


@rows("body", good=True)
def test_the_digest_of_a_body_is_that_of_its_vector(row: Row) -> None:
    body = pattern(row["size"])
    assert body_digest(body).hex() == row["digest"]
    assert tree_by_definition(body).hex() == row["digest"]


@given(st.lists(st.sampled_from([0, 1, 65_552, MIB - 1, MIB, MIB + 1, 3 * MIB]), max_size=5))
def test_a_body_may_come_in_any_pieces_and_be_asked_for_its_digest_at_any_time(sizes: list[int]) -> None:
    body, hasher, at = pattern(sum(sizes)), BodyHasher(), 0
    for size in sizes:
        hasher.update(body[at : at + size])
        at += size
        assert hasher.digest() == tree_by_definition(body[:at])
    assert hasher.size == len(body)


# --- header ---------------------------------------------------------------------------------


@rows("header", good=True)
def test_header_key_and_commitment_follow_from_the_content_key(row: Row) -> None:
    keys = header_keys(octets(row, "content_key"), octets(row, "envelope_id"))
    assert (keys.header_key.hex(), keys.commitment.hex()) == (row["header_key"], row["commitment"])
    derived = hkdf(octets(row, "content_key"), octets(row, "envelope_id"), b"truc/envelope/1", 64)
    assert keys.header_key + keys.commitment == derived
    assert (
        committed_header_key(octets(row, "content_key"), octets(row, "envelope_id"), keys.commitment) == keys.header_key
    )


@rows("header", good=False)
def test_a_content_key_that_was_not_committed_to_opens_no_header(row: Row) -> None:
    with expects(row["error"], TrustError):
        committed_header_key(octets(row, "content_key"), octets(row, "envelope_id"), octets(row, "commitment"))


def test_a_header_up_to_the_limit_opens_again() -> None:
    for size, size_when_sealed in ((0, 16), (5, 21), (HEADER_BYTES_MAX - 32, HEADER_BYTES_MAX)):
        sealed = seal_header(KEY, pattern(size))
        assert len(sealed) == size_when_sealed
        assert open_header(KEY, sealed) == pattern(size)


def test_a_header_over_the_limit_is_neither_sealed_nor_opened() -> None:
    with expects("sealed_header_too_large", FormatError):
        seal_header(KEY, pattern(HEADER_BYTES_MAX - 31))
    with expects("sealed_header_too_large", FormatError):
        open_header(KEY, bytes(HEADER_BYTES_MAX + 1))


def test_a_damaged_header_does_not_open() -> None:
    with expects("header_damaged", TrustError):
        open_header(KEY, seal_header(KEY, b"header")[:-1])


# --- stanza ---------------------------------------------------------------------------------


def hpke_open(private: bytes, stanza: bytes, info: bytes) -> bytes:
    """RFC 9180 base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305, written out."""

    def extract(salt: bytes, suite: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(prk: bytes, suite: bytes, label: bytes, context: bytes, length: int) -> bytes:
        text = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(prk, text + b"\x01", "sha256")[:length]

    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"
    key, encapsulated = X25519PrivateKey.from_private_bytes(private), stanza[:32]
    shared = key.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    secret = expand(
        extract(b"", kem, b"eae_prk", shared),
        kem,
        b"shared_secret",
        encapsulated + key.public_key().public_bytes_raw(),
        32,
    )
    context = b"\x00" + extract(b"", suite, b"psk_id_hash", b"") + extract(b"", suite, b"info_hash", info)
    schedule = extract(secret, suite, b"secret", b"")
    aead = ChaCha20Poly1305(expand(schedule, suite, b"key", context, 32))
    return aead.decrypt(expand(schedule, suite, b"base_nonce", context, 12), stanza[32:], b"")


@rows("stanza", good=True)
def test_a_stanza_opens_with_the_key_it_was_made_for(row: Row) -> None:
    key = SealingKey(octets(row, "private"))
    assert (key.public_raw.hex(), key.key_id.hex()) == (row["public"], row["key_id"])
    assert open_stanza(key, octets(row, "stanza"), octets(row, "info")).hex() == row["content_key"]
    assert hpke_open(octets(row, "private"), octets(row, "stanza"), octets(row, "info")).hex() == row["content_key"]


@rows("stanza", good=False)
def test_a_stanza_opens_for_nobody_and_nothing_else(row: Row) -> None:
    with expects(row["error"], TrustError):
        open_stanza(SealingKey(octets(row, "private")), octets(row, "stanza"), octets(row, "info"))


def test_what_is_wrapped_has_80_bytes_opens_and_never_repeats() -> None:
    key = SealingKey(SEALING_SEED)
    one, two = (wrap_stanza(KEY, key.public_raw, b"info") for _ in range(2))
    assert len(one) == 80
    assert one != two
    assert open_stanza(key, one, b"info") == hpke_open(SEALING_SEED, two, b"info") == KEY


def test_the_binding_is_written_as_the_specification_says() -> None:
    key_id = SealingKey(SEALING_SEED).key_id
    assert key_id == key_id_of("x25519", SealingKey(SEALING_SEED).public_raw)
    expected = (
        lp(b"truc/stanza/1") + lp(key_id) + lp(b"\xc0" * 32) + lp(b"\xe0" * 32) + lp(b"H38.12") + b"\x00" * 7 + b"\x01"
    )
    assert stanza_binding() == expected == stanza_info(key_id, b"\xc0" * 32, b"\xe0" * 32, "H38.12", 1)


# Points whose order divides 8 on the curve or its twist, in every encoding of 32 bytes (RFC 7748 §6.1).
SMALL_ORDER = [
    (0).to_bytes(32, "little"),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    (325606250916557431795983626356110631294008115727848805560023387167927233504).to_bytes(32, "little"),
    (39382357235489614581723060781553021112529911719440698176882885853963445705823).to_bytes(32, "little"),
]


@pytest.mark.parametrize("raw", SMALL_ORDER, ids=lambda raw: raw.hex()[:16])
def test_nothing_is_wrapped_for_a_key_of_small_order(raw: bytes) -> None:
    with expects("key_small_order", TrustError):
        wrap_stanza(KEY, raw, b"info")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_sealing_key_has_32_bytes(size: int) -> None:
    with expects("key_malformed", FormatError):
        sealing_public(bytes(size))


def test_a_sealing_key_does_not_show_itself() -> None:
    key = SealingKey(SEALING_SEED)
    assert repr(key) == f"SealingKey({key.key_id.hex()[:16]})"


# --- vault ----------------------------------------------------------------------------------


@rows("vault", good=True)
def test_a_secret_lies_under_the_vault_key_as_its_vector_says(row: Row) -> None:
    key, context, salt = octets(row, "vault_key"), octets(row, "context"), octets(row, "salt")
    assert vault_wrap(key, context, octets(row, "secret"), salt).hex() == row["wrapped"]
    assert vault_open(key, context, octets(row, "wrapped")).hex() == row["secret"]
    one_time = AESGCM(hkdf(key, salt, lp("truc/vault/1", context), 32))
    assert one_time.decrypt(bytes(12), octets(row, "wrapped")[16:], None).hex() == row["secret"]


@rows("vault", good=False)
def test_a_damaged_or_foreign_secret_does_not_open(row: Row) -> None:
    with expects(row["error"], TrustError):
        vault_open(octets(row, "vault_key"), octets(row, "context"), octets(row, "wrapped"))


@given(st.binary(max_size=100), st.binary(max_size=20))
def test_every_secret_comes_back_from_the_vault(secret: bytes, context: bytes) -> None:
    assert vault_open(KEY, context, vault_wrap(KEY, context, secret, SALT)) == secret


def test_another_salt_makes_another_one_time_key() -> None:
    one, two = (vault_wrap(KEY, b"c", bytes(32), salt) for salt in (SALT, ENVELOPE_ID))
    assert one[16:] != two[16:]
    with pytest.raises(InvalidTag):
        AESGCM(hkdf(KEY, SALT, lp("truc/vault/1", b"c"), 32)).decrypt(bytes(12), two[16:], None)


@rows("index", good=True)
def test_an_index_key_and_value_are_those_of_the_vector(row: Row) -> None:
    subkey = vault_subkey(octets(row, "vault_key"), row["purpose"])
    assert (
        subkey.hex()
        == row["subkey"]
        == hkdf(octets(row, "vault_key"), b"", lp("truc/vault-subkey/1", row["purpose"]), 32).hex()
    )
    assert keyed_index(subkey, *row["parts"]).hex() == row["index"]
    assert hmac.digest(subkey, lp(*row["parts"]), "sha256").hex() == row["index"]


def test_an_index_depends_on_purpose_and_on_the_bounds_of_its_parts() -> None:
    numbers, names = vault_subkey(KEY, "number index"), vault_subkey(KEY, "name index")
    assert numbers != names
    assert keyed_index(numbers, "ab", "c") != keyed_index(numbers, "a", "bc")
    assert keyed_index(numbers, "ab") == keyed_index(numbers, b"ab")


@pytest.mark.parametrize(
    "call",
    [
        lambda: vault_wrap(KEY[:16], b"", b"", SALT),
        lambda: vault_wrap(KEY, b"", b"", SALT[:15]),
        lambda: header_keys(KEY[:16], ENVELOPE_ID),
        lambda: header_keys(KEY, ENVELOPE_ID[:15]),
        lambda: wrap_stanza(KEY[:16], SealingKey(SEALING_SEED).public_raw, b""),
        lambda: SealingKey(bytes(31)),
    ],
)
def test_a_key_salt_or_id_of_the_wrong_length_is_our_mistake(call: Any) -> None:
    with pytest.raises(AssertionError):
        call()
