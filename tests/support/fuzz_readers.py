"""What each fuzz target does with bytes: read them, and hold what came out against a second way.

A reader raises what the decoder raises; its own assertions say what must hold for everything that was read:
written again it is the same bytes, the quick way says the same as the careful one, nothing that is to
be judged stops the judge.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final

from protocol import body_exchange, signer
from protocol.consignment import CONSIGNMENT, check_consignment
from protocol.document import check_metadata
from protocol.encoding import DEPTH_MAX, Format, decode, encode, glance, lp, recall
from protocol.envelope import ENVELOPE, HEADER, check_envelope
from protocol.errors import FormatError, RequestError, TrustError
from protocol.evidence import EVIDENCE, read_evidence, verify_evidence
from protocol.evidence_text import outcome_json, outcome_lines, proof_json, proof_lines
from protocol.exchange import FORMATS, FrameType
from protocol.framing import encode_frame
from protocol.judging import read as read_offer
from protocol.judging import subject_of
from protocol.limits import DIRECTORY_WIRE_BYTES_MAX
from protocol.receipt import RECEIPT, check_receipt
from protocol.reconcile_frames import HeadsGiven, TreeGiven, frame_bytes, read_answer, read_question
from protocol.refusal import REFUSAL, check_refusal
from protocol.sealing import (
    sealing_public,
)
from protocol.signing import ALGORITHM_ED25519, PublicKey, Signed, Verifier
from tests.support import fuzz_corpus as corpus
from tests.support.vectors import load

# --- the encoding ---------------------------------------------------------------------------------


def statement(form: Format[Any], octets: bytes) -> None:
    """One way of writing it; what we wrote ourselves is recalled as the same."""
    try:
        recalled = form.recall(octets)
    except FormatError:
        recalled = None
    value = form.decode(octets)
    assert recalled == value
    assert form.encode(value) == form.pack(value) == octets


def encoding(octets: bytes) -> None:
    """The three ways of reading agree on whatever `decode` takes."""
    seen: list[Any] = []
    for reader in (_glance, recall):
        try:
            seen.append(reader(octets))
        except FormatError:
            seen.append(None)
    value = decode(octets, bytes_max=_BYTES_MAX)
    assert seen == [value, value]
    assert encode(value) == octets
    assert _depth(value) <= DEPTH_MAX


_BYTES_MAX: Final = 2_000


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(_depth, items), default=0)


def _glance(octets: bytes) -> Any:
    return glance(octets, bytes_max=_BYTES_MAX)


# --- things and keys ------------------------------------------------------------------------------


@cache
def keys() -> dict[bytes, PublicKey]:
    """The keys of the vectors' trees."""
    return {key_id: known.public for key_id, known in corpus.SIGNERS.items()}


VERIFIER: Final = Verifier()


def signed_thing(octets: bytes) -> None:
    """Read, written again, verified by every key that is known."""
    thing = Signed.from_wire(octets, bytes_max=DIRECTORY_WIRE_BYTES_MAX)
    assert thing.to_wire() == octets
    for item in thing.signatures:
        key = keys().get(item.key_id)
        if key is None:
            continue
        try:
            VERIFIER.verify(thing, key)
        except TrustError:
            continue


def public_key(octets: bytes) -> None:
    """A key to verify with, and one to seal for."""
    with suppress(FormatError, TrustError):
        sealing_public(octets)
    assert len(PublicKey.of(ALGORITHM_ED25519, octets).key_id) == 32


# --- frames ---------------------------------------------------------------------------------------


def question(octets: bytes) -> None:
    """Type and body of a question."""
    assert frame_bytes(read_question(*_framed(octets))) == encode_frame(*_framed(octets))


def answer(octets: bytes) -> None:
    """Type and body of an answer."""
    given = read_answer(*_framed(octets))
    assert frame_bytes(given) == encode_frame(*_framed(octets))
    if isinstance(given, TreeGiven):
        shapes = {(len(node.key), len(node.digest), len(node.below)) for node in given.nodes}
        assert shapes <= {(0, 0, 0), (32, 32, 0), (0, 0, 16)}
        assert all(len(node.hash) == 32 for node in given.nodes)
    elif isinstance(given, HeadsGiven):
        names = [head.registrar for head in given.logs]
        assert names == sorted(set(names))


def body_exchange_frame(octets: bytes) -> None:
    """A request or an answer about a body."""
    number, body = _framed(octets)
    if number == body_exchange.REQUEST:
        assert body_exchange.ask(body_exchange.read_asked(number, body)) == encode_frame(number, body)
    else:
        assert body_exchange.give(body_exchange.read_given(number, body)) == encode_frame(number, body)


def signer_frames() -> list[bytes]:
    """Type and body of every frame of the vectors."""
    return [bytes([row["type"]]) + bytes.fromhex(row["body"]) for row in load("signer") if "type" in row]


def signer_frame(octets: bytes) -> None:
    """What a signer or a node says; a request is judged."""
    number, body = _framed(octets)
    said = signer.read(number, body, *signer.Kind)
    assert signer.write(said) == encode_frame(number, body)
    if isinstance(said, signer.Hello):
        for key in said.keys:
            try:
                signer.check_hello(said, PublicKey.of(key.algorithm, key.raw))
            except (FormatError, TrustError, RequestError):
                continue
    elif isinstance(said, signer.Sign):
        _refusal_of(said.text)


def signer_text(octets: bytes) -> None:
    """A text to be signed; only one way of cutting it is allowed to pass."""
    if 1 <= len(octets) <= 512:
        _refusal_of(octets)


@cache
def _text_key() -> PublicKey:
    row = next(row for row in load("signer") if row.get("refused") == "")
    return PublicKey.of(ALGORITHM_ED25519, bytes.fromhex(row["raw_key"]))


def _refusal_of(text: bytes) -> None:
    key = _text_key()
    request = signer.Sign(number=1, key_id=key.key_id, text=text)
    if signer.refusal_of(request, key, signer.DEFAULT_FORMATS) == "":
        names = [name for name in signer.DEFAULT_FORMATS if text[:-32] == lp(name, key.algorithm, key.key_id)]
        assert len(names) == 1


def _framed(octets: bytes) -> tuple[int, bytes]:
    return (octets or b"\x00")[0], octets[1:]


def offer(octets: bytes) -> None:
    """An offer's consignment and envelope; an answer can name it in any case."""
    offered = FORMATS[FrameType.OFFER].decode(octets)
    subject = subject_of(offered)
    assert len(subject) == 32
    reading = read_offer("00.01.W00", offered)
    assert reading.consignment.id == subject


# --- statements of the exchange -------------------------------------------------------------------

EXCHANGED: Final[tuple[Format[Any], ...]] = (ENVELOPE, CONSIGNMENT, HEADER, RECEIPT, REFUSAL)

_CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    ENVELOPE.name: check_envelope,
    CONSIGNMENT.name: check_consignment,
    HEADER.name: lambda header: check_metadata(header.metadata),
    RECEIPT.name: check_receipt,
    REFUSAL.name: check_refusal,
}


def exchange_statement(octets: bytes) -> None:
    """A statement with its rules; the first byte is its place in `EXCHANGED`."""
    form = EXCHANGED[(octets or b"\x00")[0] % len(EXCHANGED)]
    _CHECKS[form.name](form.decode(octets[1:]))


def evidence_file(octets: bytes) -> None:
    """A file, written again."""
    assert encode([EVIDENCE.name, EVIDENCE.encode(read_evidence(octets))]) == octets


def evidence(octets: bytes) -> None:
    """A file, verified, and whatever comes of it told."""
    roots = {root for _, root in corpus.evidences()}
    try:
        proof = verify_evidence(octets, root=max(roots, key=lambda root: (root == corpus.evidences()[0][1], root)))
    except (FormatError, TrustError) as error:
        outcome_json(error)
        outcome_lines(error, "vi")
        raise
    proof_json(proof)
    for language in ("vi", "en"):
        assert all(line.isprintable() for line in proof_lines(proof, language))
