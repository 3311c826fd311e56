"""Credentials of the national PKI for a directory record, made by whoever holds the certificate.

    python -m node.pki_tool statement --code H38 --centre 00.03.W00 --key HEX --certificate cert.pem to-sign.bin
    openssl dgst -sha256 -sign token-key.pem -out signature.bin to-sign.bin      # or whatever drives the token
    python -m node.pki_tool make --certificate chain.pem --signed to-sign.bin signature.bin H38.pki

Obeys `protocol/spec/pki.md` §1. The private key never comes near this program. The result goes to the registrar
(`truc authority pki`), who puts it into the record.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from node.environment import RealEnvironment
from node.founding import write_new
from node.logs import LineSink, make_log
from protocol.catalogue import next_step, text
from protocol.credentials import ENDORSEMENT, Endorsement, Proof, endorsed_text, make_credentials
from protocol.encoding import lp
from protocol.errors import ConfigurationError, FormatError, TrucError
from protocol.limits import MIB
from protocol.pki import Certificate, check_strength, check_usage, read_certificates
from protocol.signing import ALGORITHM_ED25519, PublicKey

EXIT_LOCAL: Final = 4
_PREFIX: Final = lp(ENDORSEMENT.name)


def statement_of(code: str, centre: str, raw_key: bytes, holder: Certificate, now_ms: int) -> bytes:
    """The bytes that the holder's key is to sign.

    Raises:
        FormatError: `format_field`, `key_malformed`.
        TrustError: `certificate_weak`, `certificate_key_usage`, `key_small_order`.
    """
    check_strength(holder, holder=True)
    check_usage(holder)
    key_id = PublicKey.of(ALGORITHM_ED25519, raw_key).key_id
    endorsement = Endorsement(code=code, centre=centre, key_id=key_id, certificate=holder.digest, created_ms=now_ms)
    return endorsed_text(ENDORSEMENT.encode(endorsement))


def proof_of(signed: bytes, signature: bytes) -> Proof:
    """A proof from the bytes that were signed. Raises: FormatError: `pki_malformed`."""
    if not signed.startswith(_PREFIX):
        raise FormatError("pki_malformed", reason="no statement of this tool")
    return Proof(statement=signed[len(_PREFIX) :], signature=signature)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; what is wrong goes to the log, in both languages."""
    options = _parser().parse_args(arguments)
    environment = RealEnvironment()
    try:
        certificates = read_certificates(_read(options.certificate))
        if options.verb == "statement":
            made = statement_of(options.code, options.centre, options.key, certificates[0], environment.now_ms())
        else:
            proofs = [proof_of(_read(one), _read(other)) for one, other in options.signed]
            made = make_credentials(certificates, proofs)
        write_new(options.out, made, mode=0o644)
    except TrucError as error:
        told = {"vi": text(error, "vi"), "en": text(error, "en")}
        log = make_log(LineSink(sys.stderr), environment)
        log.error("not_made", code=error.code, field=error.field, **told, next_step=next_step(error, "vi"))
        return EXIT_LOCAL
    return 0


def _read(path: Path) -> bytes:
    """Raises: ConfigurationError: `file_unreadable`."""
    try:
        with path.open("rb") as file:
            return file.read(MIB)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("file_unreadable", path=str(path), reason=reason) from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node.pki_tool",
        description="Chứng thư số cho bản ghi danh bạ. / Credentials of the national PKI for a directory record.",
    )
    verbs: Any = parser.add_subparsers(dest="verb", required=True)
    statement = verbs.add_parser("statement", help="ghi các byte cần ký / write the bytes to be signed")
    statement.add_argument("--code", required=True, help="mã cơ quan hoặc trung tâm / code of the agency or centre")
    statement.add_argument("--centre", required=True, help="mã trung tâm chủ quản / code of the hosting centre")
    statement.add_argument("--key", required=True, type=bytes.fromhex, help="khóa công khai, hex / public key, hex")
    make = verbs.add_parser("make", help="ghép chứng thư và chữ ký / put certificate and signatures together")
    make.add_argument(
        "--signed", required=True, nargs=2, type=Path, action="append", metavar=("BYTES", "SIGNATURE"),
        help="các byte đã ký và chữ ký / what was signed, and the signature",
    )  # fmt: skip
    for verb in (statement, make):
        verb.add_argument("--certificate", required=True, type=Path, help="PEM hoặc/or DER")
        verb.add_argument("out", type=Path, metavar="OUT", help="tệp kết quả / the file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
