"""Signed things: what verifies, what never does, and what a batch costs."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Annotated, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.encoding import Format, Key, encode, lp
from protocol.errors import FormatError, TrucError, TrustError
from protocol.signing import (
    ALGORITHM_ED25519,
    Ed25519Signer,
    PublicKey,
    Signed,
    Verifier,
    countersign,
    key_id_of,
    sign,
    sign_batch,
    thing_digest,
)
from tests.support.errors import expects
from tests.support.vectors import load

ROWS = load("signing")
FORM = "truc/example/1"
ONE, TWO, THREE = (Ed25519Signer(bytes([n]) * 32) for n in (1, 2, 3))


# --- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in ROWS if "seed" in row], ids=lambda row: row["name"])
def test_a_key_and_its_name_follow_from_the_seed(row: dict[str, Any]) -> None:
    key = Ed25519Signer(bytes.fromhex(row["seed"])).public
    assert (key.algorithm, key.raw.hex(), key.key_id.hex()) == (ALGORITHM_ED25519, row["key"], row["key_id"])
    assert PublicKey.of(ALGORITHM_ED25519, key.raw) == key


@pytest.mark.parametrize(
    "row", [row for row in ROWS if "wire" not in row and "error" in row], ids=lambda row: row["name"]
)
def test_a_bad_key_cannot_be_made(row: dict[str, Any]) -> None:
    with expects(row["error"], TrustError if row["error"] == "key_small_order" else FormatError):
        PublicKey.of(ALGORITHM_ED25519, bytes.fromhex(row["key"]))


def test_the_danger_of_a_small_order_key_is_real() -> None:
    """With the neutral element as key and as R, and s = 0, OpenSSL accepts any text."""
    neutral = (1).to_bytes(32, "little")
    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"whatever was never signed")
    with expects("key_small_order", TrustError):
        PublicKey(ALGORITHM_ED25519, neutral)


P, D = 2**255 - 19, -121665 * pow(121666, -1, 2**255 - 19) % (2**255 - 19)
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """The law of the twisted Edwards curve −x² + y² = 1 + d·x²·y² (RFC 8032 §5.1.4)."""
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2
    return (x1 * y2 + x2 * y1) * pow(1 + t, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - t, -1, P) % P


def point_of(y: int) -> Point:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return x, y


def test_the_refused_points_are_those_that_eight_times_give_the_neutral_one() -> None:
    raws = {bytes.fromhex(row["key"]) for row in ROWS if row.get("error") == "key_small_order"}
    ys = {int.from_bytes(raw, "little") & (2**255 - 1) for raw in raws}
    assert len(ys) == 5  # eight points: orders 1 and 2 have x = 0, the others come in pairs
    for y in ys:
        point = point_of(y)
        for _ in range(3):
            point = add(point, point)
        assert point == (0, 1)


@given(st.binary(min_size=32, max_size=32))
def test_a_key_made_by_the_library_is_never_refused(seed: bytes) -> None:
    assert len(Ed25519Signer(seed).public.key_id) == 32


def test_an_unknown_algorithm_is_named() -> None:
    with expects("key_algorithm_unknown", FormatError) as caught:
        PublicKey.of("ml-dsa-65", bytes(1952))
    assert caught[0].detail == {"algorithm": "ml-dsa-65"}


def test_the_name_of_a_key_covers_its_algorithm() -> None:
    raw = ONE.public.raw
    assert key_id_of("ed25519", raw) == sha256(b"\x00\x00\x00\x07ed25519\x00\x00\x00\x20" + raw).digest()
    assert key_id_of("x25519", raw) != ONE.public.key_id


def test_a_signer_does_not_show_its_seed() -> None:
    assert repr(ONE) == f"Ed25519Signer({ONE.public.key_id.hex()[:16]})"


# --- things ---------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in ROWS if "wire" in row], ids=lambda row: row["name"])
def test_a_thing_reads_and_verifies_as_its_vector_says(row: dict[str, Any]) -> None:
    wire, key = bytes.fromhex(row["wire"]), PublicKey.of(ALGORITHM_ED25519, bytes.fromhex(row["key"]))
    if "error" in row:
        with expects(row["error"], TrustError if row["error"].startswith("signature_") else FormatError):
            Verifier().verify(Signed.from_wire(wire, bytes_max=10_000), key)
        return
    signed = Signed.from_wire(wire, bytes_max=10_000)
    assert signed.to_wire() == wire
    assert signed.digest.hex() == row["digest"]
    Verifier().verify(signed, key)


def test_a_signature_covers_what_the_specification_says() -> None:
    signed = sign(FORM, b"\x80", ONE)
    leaf = sha256(b"\x00" + lp(FORM) + b"\x80").digest()
    text = lp(FORM) + lp("ed25519") + lp(ONE.public.key_id) + leaf
    assert signed.digest == thing_digest(FORM, b"\x80") == leaf
    Ed25519PublicKey.from_public_bytes(ONE.public.raw).verify(signed.signatures[0].signature, text)
    assert signed.signatures[0].path == ()


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=20))
def test_every_thing_of_a_batch_verifies_at_the_cost_of_one(statements: list[bytes]) -> None:
    verifier = Verifier()
    things = sign_batch(FORM, statements, ONE)
    assert [signed.statement for signed in things] == statements
    for signed in things:
        again = Signed.from_wire(signed.to_wire(), bytes_max=10_000)
        assert again == signed
        verifier.verify(again, ONE.public)
    assert verifier.operations == 1


def test_an_empty_batch_signs_nothing() -> None:
    assert sign_batch(FORM, [], ONE) == []


@pytest.mark.parametrize("name", ["", "truc/example", "Truc/example/1", "truc/example/1 ", "/1", "x" * 61 + "/1"])
def test_a_format_without_a_proper_name_is_not_signed(name: str) -> None:
    with pytest.raises(AssertionError):
        sign(name, b"\x80", ONE)


@settings(max_examples=200)
@given(st.data())
def test_no_changed_byte_of_a_thing_verifies_unless_it_says_the_same(data: st.DataObject) -> None:
    good = sign_batch(FORM, [b"a", b"b", b"c"], ONE)[1]
    wire = good.to_wire()
    at = data.draw(st.integers(0, len(wire) - 1))
    bad = wire[:at] + bytes([wire[at] ^ data.draw(st.integers(1, 255))]) + wire[at + 1 :]
    try:
        read = Signed.from_wire(bad, bytes_max=10_000)
        Verifier().verify(read, ONE.public)
    except TrucError:
        return
    # Only the size of the tree is covered by nothing, as long as the path fits it.
    size = read.signatures[0].tree_size
    assert read == dataclasses.replace(good, signatures=(dataclasses.replace(good.signatures[0], tree_size=size),))


@given(st.binary(max_size=120))
def test_any_bytes_are_a_thing_in_its_one_form_or_a_format_error(wire: bytes) -> None:
    try:
        signed = Signed.from_wire(wire, bytes_max=120)
    except FormatError:
        return
    assert signed.to_wire() == wire


def test_a_thing_longer_than_allowed_is_refused_unread() -> None:
    with expects("format_too_large", FormatError):
        Signed.from_wire(b"\xc1" * 11, bytes_max=10)


# --- further signatures ---------------------------------------------------------------------


def test_a_further_signature_leaves_the_thing_the_same() -> None:
    signed = sign_batch(FORM, [b"a", b"b"], ONE)[0]
    both = countersign(signed, TWO)
    assert both.digest == signed.digest
    assert [s.key_id for s in both.signatures] == sorted((ONE.public.key_id, TWO.public.key_id))
    verifier = Verifier()
    for key in (ONE.public, TWO.public):
        verifier.verify(both, key)
        assert both.has_signature_of(key.key_id)
    assert not both.has_signature_of(THREE.public.key_id)
    with expects("signature_missing", TrustError) as caught:
        verifier.verify(both, THREE.public)
    assert caught[0].detail == {"key": THREE.public.key_id.hex()}


def test_signing_again_with_the_same_key_replaces_its_signature() -> None:
    signed = sign_batch(FORM, [b"a", b"b"], ONE)[0]
    again = countersign(signed, ONE)
    assert again == sign(FORM, b"a", ONE)


def test_a_seventeenth_signature_is_refused() -> None:
    signed = sign(FORM, b"a", ONE)
    for n in range(100, 115):
        signed = countersign(signed, Ed25519Signer(bytes([n]) * 32))
    assert len(Signed.from_wire(signed.to_wire(), bytes_max=10_000).signatures) == 16
    assert len(countersign(signed, ONE).signatures) == 16
    with expects("format_field", FormatError, field="signatures"):
        countersign(signed, TWO)


def test_a_thing_without_order_among_its_signatures_is_our_mistake() -> None:
    both = countersign(sign(FORM, b"a", ONE), TWO)
    for signatures in ((), both.signatures[::-1], both.signatures[:1] * 2):
        with pytest.raises(AssertionError):
            Signed(format=FORM, statement=b"a", signatures=signatures)


# --- the verifier ---------------------------------------------------------------------------


def test_only_success_is_remembered() -> None:
    good = sign(FORM, b"a", ONE)
    bad = Signed(
        format=FORM, statement=b"a", signatures=(dataclasses.replace(good.signatures[0], signature=bytes(64)),)
    )
    verifier = Verifier()
    for attempt in (1, 2):
        with expects("signature_invalid", TrustError):
            verifier.verify(bad, ONE.public)
        assert verifier.operations == attempt
    verifier.verify(good, ONE.public)
    verifier.verify(good, ONE.public)
    assert verifier.operations == 3


def test_what_is_remembered_counts_for_no_other_format_key_or_root() -> None:
    verifier = Verifier()
    good = sign(FORM, b"a", ONE)
    verifier.verify(good, ONE.public)
    for changed in (
        Signed(format="truc/example/2", statement=b"a", signatures=good.signatures),
        Signed(format=FORM, statement=b"b", signatures=good.signatures),
        Signed(
            format=FORM,
            statement=b"a",
            signatures=(dataclasses.replace(good.signatures[0], key_id=TWO.public.key_id),),
        ),
    ):
        with expects("signature_invalid", TrustError):
            verifier.verify(changed, TWO.public if changed.has_signature_of(TWO.public.key_id) else ONE.public)


def test_the_memory_keeps_the_signatures_used_last() -> None:
    verifier = Verifier(memo_entries=2)
    a, b, c = (sign(FORM, text, ONE) for text in (b"a", b"b", b"c"))
    for signed in (a, b, a, c):  # b is the one not used for longest
        verifier.verify(signed, ONE.public)
    assert verifier.operations == 3
    verifier.verify(a, ONE.public)
    assert verifier.operations == 3
    verifier.verify(b, ONE.public)
    assert verifier.operations == 4


def test_threads_may_share_a_verifier() -> None:
    verifier = Verifier(memo_entries=3)
    things = [sign(FORM, b"%d" % n, ONE) for n in range(12)]

    def verify_all(offset: int) -> None:
        for n in range(120):
            verifier.verify(things[(n * 5 + offset) % 12], ONE.public)

    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(verify_all, offset) for offset in range(4)]:
            done.result()


class _Evicting(OrderedDict[bytes, None]):
    """A memory in which another thread evicts an entry between its being written and moved."""

    def move_to_end(self, key: bytes, last: bool = True) -> None:
        self.clear()
        super().move_to_end(key, last)


def test_an_entry_evicted_by_another_thread_is_verified_again() -> None:
    verifier = Verifier(memory=_Evicting())
    signed = sign(FORM, b"a", ONE)
    verifier.verify(signed, ONE.public)
    verifier.verify(signed, ONE.public)
    assert verifier.operations == 2


def test_a_verifier_without_memory_is_our_mistake() -> None:
    with pytest.raises(AssertionError):
        Verifier(memo_entries=0)


# --- verified statements --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Example:
    text: Annotated[str, Key(1)]


EXAMPLE = Format(FORM, Example, bytes_max=100)


def test_opening_gives_the_statement_and_who_signed_it() -> None:
    signed = sign(FORM, EXAMPLE.encode(Example("x")), ONE)
    verified = Verifier().open(EXAMPLE, signed, ONE.public)
    assert (verified.value, verified.signed, verified.key_id) == (Example("x"), signed, ONE.public.key_id)


def test_a_thing_of_another_format_is_not_opened() -> None:
    other = sign("truc/example/2", EXAMPLE.encode(Example("x")), ONE)
    with expects("format_other", FormatError):
        Verifier().open(EXAMPLE, other, ONE.public)


@pytest.mark.parametrize(
    ("make", "family", "code"),
    [
        (lambda: sign(FORM, encode({1: 2}), ONE), FormatError, "format_field"),
        (lambda: sign(FORM, EXAMPLE.encode(Example("x")), TWO), TrustError, "signature_missing"),
    ],
)
def test_what_is_not_verified_or_no_statement_is_not_opened(
    make: Callable[[], Signed], family: type[TrucError], code: str
) -> None:
    with expects(code, family):
        Verifier().open(EXAMPLE, make(), ONE.public)
