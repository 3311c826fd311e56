"""Every decoder with its contract: what fuzzing runs (`tests/properties`, `fuzz_run.py`).

A target takes bytes. It may return, or raise one of the errors it names; anything else is a finding: another
exception, a failed assertion, an error whose text cannot be told. `covers` names the functions and
formats that it stands for; `tests/properties/test_no_decoder_is_forgotten.py` holds that against the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from protocol import body_exchange, directory_kinds, directory_news, records, signer
from protocol.anchor import ANCHOR
from protocol.announcement import ANNOUNCEMENT
from protocol.catalogue import next_step, text
from protocol.checkpoint import FORK
from protocol.credentials import CREDENTIALS, ENDORSEMENT
from protocol.encoding import Format
from protocol.errors import FormatError, NetworkError, NotNow, RequestError, TrucError, TrustError
from protocol.evidence import EVIDENCE
from protocol.exchange import FORMATS
from protocol.reconcile_frames import ANSWERS, QUESTIONS
from protocol.record import KINDS
from storage import head
from storage.keystore import KEY_BACKUP, KEYSTORE, SECRETS
from tests.support import fuzz_corpus as corpus
from tests.support import fuzz_machines as machines
from tests.support import fuzz_readers as readers
from tests.support import fuzz_readers_directory as directory
from tests.support import fuzz_readers_secrets as secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One decoder, or several that read the same bytes."""

    name: str
    run: Callable[[bytes], object]
    corpus: Callable[[], Sequence[bytes]]
    covers: tuple[str, ...] = ()
    allowed: tuple[type[TrucError], ...] = (FormatError,)
    mend: Callable[[bytes], bytes] | None = None
    """Makes checksums, order or signatures right again after a mutation."""
    share: float = 1.0
    """Of the time of a run. Formats get less, being read by the same code; slow judges get more."""


def outcome(target: Target, octets: bytes) -> str:
    """How the target took it: nothing, or code and reason. Whatever it may not raise comes out as it is."""
    try:
        target.run(octets)
    except target.allowed as error:
        for language in ("vi", "en"):
            assert text(error, language) and next_step(error, language)
        return _NUMBERS.sub("#", str(error))[:120]
    return ""


_NUMBERS: Final = re.compile(r"\d+|'[^']*'")


def _format(form: Format[Any]) -> Target:
    return Target(
        name=form.name,
        run=lambda octets: readers.statement(form, octets),
        corpus=lambda: corpus.statements(form),
        covers=(form.name,),
        share=0.2,
    )


_DECLARING: Final = (directory_kinds, directory_news, records, head)
"""Modules that declare kinds of records; imported, so that `KINDS` is complete."""

_TESTS_FROM: Final = 240
"""Numbers of kinds that only tests declare."""


def _formats() -> tuple[Format[Any], ...]:
    """Every format but those of stored records."""
    return (
        *directory.DIRECTORY,
        *readers.EXCHANGED,
        *FORMATS.values(),
        *QUESTIONS.values(),
        *ANSWERS.values(),
        *signer.FORMATS.values(),
        *(ANCHOR, ANNOUNCEMENT, FORK, EVIDENCE, ENDORSEMENT, CREDENTIALS),
        *(body_exchange.BODY_ASKED, body_exchange.BODY_GIVEN),
        *(SECRETS, KEYSTORE, KEY_BACKUP),
    )


def _kinds() -> list[Target]:
    assert all(module.__name__ for module in _DECLARING)
    kinds = sorted(KINDS.values(), key=lambda kind: kind.number)
    return [_format(kind.format) for kind in kinds if kind.number < _TESTS_FROM]


_TRUST: Final = (FormatError, TrustError)

_READERS: Final = (
    # --- the encoding, and what stands directly on it
    Target(
        name="encoding",
        run=readers.encoding,
        corpus=lambda: [*corpus.octets("encoding"), *corpus.octets("statement"), *corpus.things()[:20]],
        covers=(
            "encoding.decode",
            "encoding.glance",
            "encoding.recall",
            "encoding.Format.decode",
            "encoding.Format.recall",
        ),
    ),
    Target(
        name="signed-thing",
        run=readers.signed_thing,
        corpus=corpus.things,
        covers=("signing.Signed.from_wire", "signing.Verifier.open", "merkle.root_from_path"),
        mend=corpus.resigned,
    ),
    Target(
        name="public-key",
        run=readers.public_key,
        corpus=lambda: corpus.octets("signing", "key"),
        covers=("signing.PublicKey.of", "sealing.sealing_public"),
        allowed=_TRUST,
    ),
    # --- the directory
    Target(
        name="directory-statement",
        run=directory.directory_statement,
        corpus=lambda: [
            bytes([n]) + octets for n, form in enumerate(directory.DIRECTORY) for octets in corpus.statements(form)
        ],
        covers=(
            "directory.read",
            "checkpoint.check_registrar",
            "checkpoint.read_checkpoint",
            "checkpoint.read_heartbeat",
            "key_request.read_key_request",
        ),
        allowed=_TRUST,
    ),
    Target(
        name="directory-thing",
        run=directory.directory_thing,
        corpus=corpus.things,
        covers=(
            "checkpoint.read_fork",
            "checkpoint.thing_name",
            "directory_plain.place_of",
            "directory_plain.read_plain",
        ),
        mend=corpus.resigned,
    ),
    Target(
        name="directory-file",
        run=directory.directory_file,
        corpus=corpus.heaps,
        covers=("directory_file.read_file",),
    ),
    Target(
        name="directory-heap",
        run=directory.directory_heap,
        corpus=corpus.heaps,
        covers=("directory_import.import_things", "directory_import.import_steps"),
        share=4.0,
        mend=corpus.mended_heap,
    ),
    Target(
        name="key-request",
        run=directory.key_request_thing,
        corpus=lambda: corpus.octets("key_request"),
        covers=("key_request.proved_key_request",),
        allowed=_TRUST,
    ),
    Target(
        name="anchor",
        run=directory.anchor,
        corpus=lambda: [*corpus.octets("anchor"), *corpus.texts("anchor", "text")],
        covers=("anchor.read_anchor", "anchor.read_anchor_text"),
        mend=directory.summed_anchor,
    ),
    Target(
        name="introduction",
        run=directory.introduction,
        corpus=lambda: [octets[1:] for octets in corpus.unframed("introduction")],
        covers=("introduction.look",),
        allowed=_TRUST,
    ),
    Target(
        name="announcement",
        run=directory.announcement,
        corpus=lambda: corpus.octets("announcement"),
        covers=("announcement.read_announcement",),
    ),
    Target(
        name="prefix",
        run=directory.prefix,
        corpus=directory.prefixes,
        covers=("prefix_tree.read_prefix",),
    ),
    # --- frames
    Target(
        name="reconcile-question",
        run=readers.question,
        corpus=lambda: [frame for frame in corpus.unframed("reconcile") if frame and frame[0] < 64],
        covers=("reconcile_frames.read_question", "reconcile_frames.TreeAsked.read_prefixes"),
    ),
    Target(
        name="reconcile-answer",
        run=readers.answer,
        corpus=lambda: [frame for frame in corpus.unframed("reconcile") if frame and frame[0] >= 64],
        covers=("reconcile_frames.read_answer",),
    ),
    Target(
        name="body-exchange",
        run=readers.body_exchange_frame,
        corpus=lambda: corpus.unframed("body_exchange"),
        covers=("body_exchange.read_asked", "body_exchange.read_given"),
    ),
    Target(
        name="signer",
        run=readers.signer_frame,
        corpus=readers.signer_frames,
        covers=("signer.read", "signer.refusal_of"),
    ),
    Target(
        name="signer-text",
        run=readers.signer_text,
        corpus=lambda: corpus.octets("signer", "text"),
    ),
    Target(
        name="offer",
        run=readers.offer,
        corpus=corpus.offers,
        covers=("judging.read", "judging.subject_of"),
    ),
    # --- statements of the exchange
    Target(
        name="exchange-statement",
        run=readers.exchange_statement,
        corpus=lambda: [
            bytes([n]) + octets for n, form in enumerate(readers.EXCHANGED) for octets in corpus.statements(form)
        ],
        covers=("envelope.check_envelope",),
        allowed=(FormatError, RequestError),
    ),
    Target(
        name="evidence-file",
        run=readers.evidence_file,
        corpus=lambda: [file for file, _ in corpus.evidences()],
        covers=("evidence.read_evidence",),
    ),
    Target(
        name="evidence",
        run=readers.evidence,
        corpus=lambda: [file for file, _ in corpus.evidences()],
        covers=("evidence.verify_evidence", "receipt.ChainHead.extend"),
        share=4.0,
        allowed=_TRUST,
        mend=corpus.mended_evidence,
    ),
    # --- sealing
    Target(
        name="sealed",
        run=secrets.sealed,
        corpus=secrets.sealed_parts,
        covers=("sealing.open_all", "sealing.open_header", "sealing.PartOpener.feed"),
        allowed=_TRUST,
    ),
    Target(
        name="stanza",
        run=secrets.stanza,
        corpus=lambda: corpus.octets("sealing", "stanza"),
        covers=("sealing.open_stanza",),
        allowed=(TrustError,),
    ),
    Target(
        name="vault",
        run=secrets.vault,
        corpus=lambda: corpus.octets("sealing", "wrapped"),
        covers=("sealing.vault_open",),
        allowed=(TrustError,),
    ),
    # --- the national PKI
    Target(
        name="certificate",
        run=secrets.certificate,
        corpus=secrets.certificates,
        covers=("pki.read_certificate", "pki.read_certificates"),
        allowed=(FormatError, TrustError, NotNow),
    ),
    Target(
        name="revocation-list",
        run=secrets.revocation_list,
        corpus=secrets.revocation_lists,
        covers=("pki.read_crl",),
    ),
    Target(
        name="credentials",
        run=secrets.credentials,
        corpus=lambda: corpus.octets("pki", "extension"),
        covers=("credentials.read_credentials", "credentials.judge"),
    ),
    # --- texts
    Target(
        name="code",
        run=secrets.code,
        corpus=lambda: [*corpus.texts("agency_codes", "text"), b"00.01.W00"],
        covers=(
            "agency_code.parse_agency_code",
            "agency_code.parse_centre_code",
            "agency_code.read_agency_code",
            "agency_code.read_centre_code",
        ),
        allowed=(FormatError, RequestError),
    ),
    Target(
        name="textid",
        run=secrets.textid,
        corpus=lambda: corpus.texts("textid", "text"),
        covers=("textid.from_text", "textid.from_bare_text"),
        allowed=(RequestError,),
    ),
    Target(
        name="part-name",
        run=secrets.part_name,
        corpus=lambda: [*corpus.texts("part_names", "part_name"), b'application/pdf; name="a b"'],
        covers=("part_name.check_part_name",),
        allowed=(RequestError,),
    ),
    # --- machines
    Target(
        name="framing",
        run=machines.framing,
        corpus=lambda: [b"\x3f" + octets for octets in corpus.octets("framing")],
        covers=("framing.Decoder.feed",),
    ),
    Target(
        name="exchange-session",
        run=machines.exchange,
        corpus=corpus.sessions,
        covers=("exchange.Session.receive", "exchange.Session.frames"),
        allowed=(FormatError, NetworkError),
    ),
    Target(
        name="reconcile-answering",
        run=machines.answering,
        corpus=lambda: [*machines.recorded("answering"), *corpus.octets("reconcile", role="answering")],
        covers=("reconcile_answer.Answerer.receive",),
        allowed=(FormatError, NetworkError),
    ),
    Target(
        name="reconcile-asking",
        run=machines.asking,
        corpus=lambda: machines.recorded("asking"),
        covers=("reconcile.Asker.receive", "reconcile_descent.Descent.look"),
        share=2.0,
        allowed=(FormatError, NetworkError, NotNow),
    ),
    Target(
        name="reconcile-lied-to",
        run=machines.lied_to,
        corpus=lambda: [bytes([n]) for n in range(16)],
        share=2.0,
        allowed=(FormatError, NetworkError, NotNow),
    ),
)

EXCLUDED: Final = {
    "directory_file.write_file": "writes; its things were read before",
    "receipt.verify_chain": "a loop over receipt.ChainHead.extend, of receipts that were read before",
    "sealing.PartSealer.feed": "takes our own user's plain bytes, which have no form",
    "sealing.seal_header": "takes what HEADER.encode wrote",
    "sealing.wrap_stanza": "takes our own content key; the public key is the target public-key",
    "judging.open_offer": "takes what judging.read returned; its bytes are those of evidence, stanza, sealed",
}
"""Functions that look like decoders, and why they have no target of their own."""


@cache
def targets() -> dict[str, Target]:
    """Every target by name: readers and machines first, then one for each format."""
    made = [*_READERS, *(_format(form) for form in _formats()), *_kinds()]
    assert len({target.name for target in made}) == len(made)
    return {target.name: target for target in made}
