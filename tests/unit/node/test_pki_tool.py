"""From a certificate to a record that shows it: the holder's tool, the registrar's verb, the node's verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.authority import authority
from node.environment import RealEnvironment
from node.pki_tool import EXIT_LOCAL, main, proof_of
from node.requests import make_centre_request
from protocol.credentials import EXTENSION, judge
from protocol.directory import Names
from protocol.directory_file import read_file, write_file
from protocol.directory_import import import_things
from protocol.directory_view import DirectoryView, RecordCache
from protocol.errors import FormatError
from protocol.limits import DAY_MS
from protocol.pki import Anchors, read_crl
from protocol.signing import Verifier
from protocol.staged import Staged
from tests.support.errors import expects
from tests.support.pki import ec_key, issue, revocation_list
from tests.support.tree import Centre

CENTRE = Centre.make(1, "00.01.W00")
NOW_MS = RealEnvironment().now_ms()
ROOT = issue("Gốc", ec_key(201), None, ca=True, from_ms=NOW_MS - DAY_MS, until_ms=NOW_MS + 9 * DAY_MS)
HOLDER = issue("Bộ", ec_key(202), ROOT, serial=7, from_ms=NOW_MS - DAY_MS, until_ms=NOW_MS + 9 * DAY_MS)


class Desk:
    """The holder's folder and the registrar's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = folder / "secret"
        self.secret.write_bytes(b"mat khau\n")
        self.secret.chmod(0o400)
        self.certificate = folder / "chain.pem"
        self.certificate.write_bytes(HOLDER.pem)

    def statement(self, code: str, name: str = "to-sign.bin", *, key: str = CENTRE.signer.public.raw.hex()) -> int:
        words = ["statement", "--code", code, "--centre", CENTRE.code, "--key", key]
        return main([*words, "--certificate", str(self.certificate), str(self.folder / name)])

    def made(self, name: str = "H38.pki", *, signature: bytes | None = None) -> int:
        signed = self.folder / "to-sign.bin"
        (self.folder / "sig.bin").write_bytes(HOLDER.sign(signed.read_bytes()) if signature is None else signature)
        words = ["make", "--certificate", str(self.certificate), "--signed", str(signed), str(self.folder / "sig.bin")]
        return main([*words, str(self.folder / name)])

    def authority(self, *words: str, code: int = 0) -> str:
        how = ["--folder", str(self.folder / "authority"), "--passphrase-file", str(self.secret), "--json"]
        result = CliRunner().invoke(authority, [*how, *words], catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.output


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("code", ["G12", CENTRE.code])
def test_a_certificate_travels_from_its_holder_into_the_record(desk: Desk, code: str) -> None:
    assert desk.statement(code) == 0
    assert desk.made() == 0
    anchor = json.loads(desk.authority("init"))["root_digest"]
    request = desk.folder / "centre.truc"
    signed = make_centre_request(
        code=CENTRE.code,
        names=Names(vi="Trung tâm"),
        peer_id=CENTRE.peer_id,
        signers=[CENTRE.signer],
        sealing_raw=CENTRE.sealing.public_raw,
        now_ms=NOW_MS,
    )
    request.write_bytes(write_file([signed]))
    desk.authority("centre", str(request))
    desk.authority("agency", "--code", "G12", "--name", "Bộ", "--host", CENTRE.code)
    desk.authority("pki", code, str(desk.folder / "H38.pki"))
    records = Staged()
    result = import_things(
        read_file((desk.folder / "authority" / "directory.truc").read_bytes()),
        records,
        anchor=bytes.fromhex(anchor),
        verifier=Verifier(),
        now_ms=RealEnvironment().now_ms(),
        cache=RecordCache(),
    )
    assert not result.rejected
    records.stage(result.changes)
    view = DirectoryView(records)
    record = view.centre(code) if code == CENTRE.code else view.agency(code)
    assert EXTENSION in record.extensions
    crl = read_crl(revocation_list(ROOT, this_ms=NOW_MS - DAY_MS, next_ms=NOW_MS + DAY_MS))
    anchors = Anchors(anchors=(ROOT.read,), crls=(crl,))
    verdict = judge(record, [CENTRE.signer.public.key_id], anchors, RealEnvironment().now_ms())
    assert (verdict.state, verdict.error) == ("valid", None)


def test_a_registrar_puts_no_junk_into_a_record(desk: Desk) -> None:
    junk = desk.folder / "junk.pki"
    junk.write_bytes(b"junk")
    desk.authority("init")
    assert "agency_unknown" in desk.authority("pki", "G12", str(junk), code=1)


def test_what_the_holder_does_wrong_is_told_and_nothing_is_written(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.statement("G12", key="00" * 31) == EXIT_LOCAL
    assert "key_malformed" in capsys.readouterr().err
    assert desk.statement("G12") == 0
    assert desk.statement("G12") == EXIT_LOCAL
    assert "file_exists" in capsys.readouterr().err
    assert desk.made(signature=b"\x30\x00") == EXIT_LOCAL
    assert "pki_proof_signature" in capsys.readouterr().err
    desk.certificate.unlink()
    assert desk.made() == EXIT_LOCAL
    assert "file_unreadable" in capsys.readouterr().err
    assert not (desk.folder / "H38.pki").exists()


def test_bytes_of_another_program_are_no_statement() -> None:
    with expects("pki_malformed", FormatError):
        proof_of(b"%PDF-1.7", b"x")
