"""Evidence files: what they prove, and every way in which they prove nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from protocol.consignment import CONSIGNMENT
from protocol.directory import ROOT, KeyEntry, NodeRecord, RecordState
from protocol.encoding import encode
from protocol.envelope import ENVELOPE, encode_header
from protocol.errors import ConfigurationError, FormatError, RequestError, TrustError
from protocol.evidence import EVIDENCE, Evidence, main, read_evidence, verify_evidence
from protocol.evidence_records import collect_records
from protocol.evidence_text import proof_json, proof_lines
from protocol.limits import DAY_MS, HOUR_MS, MINUTE_MS
from protocol.receipt import RECEIPT
from protocol.sealing import header_keys, seal_header
from protocol.signing import Ed25519Signer, joined, sign
from tests.support import samples
from tests.support.errors import expects, record
from tests.support.evidence_story import CONTENT_KEY, ISSUER_CENTRE, RECIPIENT_CENTRE, Story, generate
from tests.support.statement_vectors import FOLDER
from tests.support.tree import Tree, entry_of, key_seed

# --- what a file proves -----------------------------------------------------------------------


def test_a_consignment_without_receipts_is_proved_to_have_been_sent() -> None:
    proof = Story().verify()
    assert proof.consignment.value.recipient == "H38"
    assert (proof.receipts, proof.refusal, proof.header) == ((), None, None)


def test_a_whole_chain_is_proved() -> None:
    proof = Story().say(1, 100, 3, 4, 5, 6).verify()
    assert [verified.value.code for verified in proof.receipts] == [1, 100, 3, 4, 5, 6]


def test_a_refusal_is_proved() -> None:
    story = Story()
    proof = story.verify(refusal=story.refusal())
    assert proof.refusal is not None
    assert proof.refusal.value.code == "part_mismatch"


def test_a_disclosed_key_proves_subject_and_files() -> None:
    story = Story().say(1)
    proof = story.verify(header=story.sealed_header, content_key=CONTENT_KEY)
    assert proof.header == story.header


def test_collected_records_are_enough_and_leave_out_strangers() -> None:
    story = Story(tree=Tree.make()).say(1, 3)
    needed = collect_records(story.tree.view(), ["G12", "H38"])
    assert len(needed) == 5 < len(story.tree.signed)
    assert len(story.verify(directory=needed).receipts) == 2


def test_collecting_follows_registrars_and_successors() -> None:
    tree = Tree.make()
    tree.delegate("H38")
    tree.add_agency("H38.12", "00.01.W00", registrar="H38", parent="H38")
    closed = tree.next_agency("H38.12", state=RecordState.CLOSED, successors=("G22",), registrar="H38")
    tree.publish(closed)
    found = {thing.digest for thing in collect_records(tree.view(), ["H38.12", "nobody"])}
    named = [thing for thing in tree.signed if b"00.02.W00" not in thing.statement and b"G22.99" not in thing.statement]
    assert found == {thing.digest for thing in named}


def test_a_file_is_the_same_whatever_the_order_of_the_records() -> None:
    story = Story().say(1)
    assert story.file(directory=reversed(story.tree.signed)) == story.file()


def test_extensions_of_a_later_version_are_carried() -> None:
    story = Story()
    evidence = replace(read_evidence(story.file()), extensions={128: "later"})
    file = encode([EVIDENCE.name, EVIDENCE.encode(evidence)])
    assert verify_evidence(file, root=story.tree.anchor).consignment.value == story.consignment


def test_statuses_are_signed_by_the_agencys_own_key_where_it_lists_one() -> None:
    own = Ed25519Signer(key_seed(1, "H38 own"))
    tree = Tree.make(hosting={ISSUER_CENTRE: ("G12",), RECIPIENT_CENTRE: ()})
    tree.add_agency("H38", RECIPIENT_CENTRE, keys=(entry_of(own),))
    story = Story(tree=tree).say(1)
    good, bad = story.receipt(3, own), story.receipt(3)
    assert len(story.verify(receipts=[*story.receipts, good]).receipts) == 2
    with expects("evidence_unproved", TrustError, field="receipts[1]"):
        story.verify(receipts=[*story.receipts, bad])


def test_a_key_that_was_revoked_later_still_proves_what_it_signed_before_and_is_named() -> None:
    story = Story().say(1, 3)
    centre, fresh = story.tree.centres[RECIPIENT_CENTRE], Ed25519Signer(key_seed(1, "fresh"))
    story.tree.clock_ms = story.now_ms + 10 * DAY_MS
    old = entry_of(centre.signer)
    later = story.tree.next_centre(
        RECIPIENT_CENTRE,
        keys=(replace(old, revoked_ms=story.tree.clock_ms), entry_of(fresh, from_ms=story.tree.clock_ms)),
    )
    story.tree.publish(later, centre.signer)
    story.tree.add_agency("H38.1", RECIPIENT_CENTRE)
    proof = story.verify()
    assert proof.revoked == {centre.signer.public.key_id}
    assert proof_json(proof)["revoked_keys"] == [centre.signer.public.key_id.hex()]
    assert any("this key was revoked later" in line for line in proof_lines(proof, "en"))


def fresh_key_a_day_later(story: Story, *, from_ms: int = 0) -> Ed25519Signer:
    """The recipient's centre lists another key a day later, and gives the old one up."""
    centre, fresh = story.tree.centres[RECIPIENT_CENTRE], Ed25519Signer(key_seed(1, "fresh"))
    story.tree.clock_ms = story.now_ms + DAY_MS
    entries = (
        replace(entry_of(centre.signer), revoked_ms=story.now_ms),
        entry_of(fresh, from_ms=from_ms or story.tree.clock_ms),
    )
    story.tree.publish(story.tree.next_centre(RECIPIENT_CENTRE, keys=entries), centre.signer)
    return fresh


@pytest.mark.parametrize("days", [0, 3, 200])
def test_what_was_signed_again_is_proved_by_the_later_key_and_said_so(days: int) -> None:
    """Also when the key begins some days after the record that lists it, or long after the statement."""
    story = Story().say(1)
    fresh = fresh_key_a_day_later(story, from_ms=story.now_ms + days * DAY_MS)
    again = sign(RECEIPT.name, story.receipts[0].statement, fresh)
    proof = story.verify(receipts=[again])
    assert proof.receipts[0].key_id == fresh.public.key_id
    assert proof.signed_again == {again.digest}
    assert proof_json(proof)["signed_again"] == [again.digest.hex()]
    assert any("signed again later with this key" in line for line in proof_lines(proof, "en"))


def test_with_both_signatures_the_one_of_its_own_time_proves() -> None:
    story = Story().say(1)
    fresh = fresh_key_a_day_later(story)
    again = sign(RECEIPT.name, story.receipts[0].statement, fresh)
    both = joined(story.receipts[0], again)
    proof = story.verify(receipts=[both])
    assert proof.receipts[0].key_id == story.signer(RECIPIENT_CENTRE).public.key_id
    assert (proof.signed_again, proof_json(proof)["signed_again"]) == (frozenset(), [])
    assert not any("signed again" in line for line in proof_lines(proof, "en"))


def test_a_later_key_that_spoke_for_somebody_else_proves_nothing() -> None:
    story = Story().say(1)
    fresh_key_a_day_later(story)
    with expects("evidence_unproved", TrustError, field="receipts[0]"):
        story.verify(receipts=[sign(RECEIPT.name, story.receipts[0].statement, story.signer(ISSUER_CENTRE))])


def test_a_key_that_was_revoked_before_proves_nothing() -> None:
    story = Story()
    centre, fresh = story.tree.centres[RECIPIENT_CENTRE], Ed25519Signer(key_seed(1, "fresh"))
    old = replace(entry_of(centre.signer), revoked_ms=story.now_ms - HOUR_MS)
    story.tree.publish(story.tree.next_centre(RECIPIENT_CENTRE, keys=(old, entry_of(fresh))), centre.signer)
    story.say(1)
    with expects("evidence_unproved", TrustError, field="receipts[0]"):
        story.verify()


def test_a_chain_goes_on_at_the_new_host_and_the_old_host_may_not() -> None:
    story = Story().say(1)
    tree = story.tree
    old_host, new_host = tree.centres[RECIPIENT_CENTRE], "00.04.W00"
    tree.clock_ms = story.now_ms + HOUR_MS + 30 * MINUTE_MS
    tree.add_centre(new_host)
    tree.publish(tree.next_agency("H38", host=new_host, epoch=2), old_host.signer)
    story.epoch = 2
    moved = story.receipt(3, tree.centres[new_host].signer)
    assert len(story.verify(receipts=[*story.receipts, moved]).receipts) == 2
    with expects("evidence_unproved", TrustError, field="receipts[1]"):
        story.verify(receipts=[*story.receipts, story.receipt(3, old_host.signer)])


@pytest.mark.parametrize(("hours", "at_its_time"), [(23, False), (24, True)])
def test_keys_that_nobody_endorsed_speak_for_what_was_signed_a_day_later(hours: int, at_its_time: bool) -> None:
    """As at a node that saw the record on its date; before, it is proved only by a key of later."""
    story = Story()
    fresh = Ed25519Signer(key_seed(1, "fresh"))
    changed = story.tree.next_agency("H38", keys=(entry_of(fresh),), created_ms=story.now_ms)
    story.tree.publish(changed)
    story.say(1)
    story.receipts.append(story.receipt(3, fresh, time_ms=story.now_ms + hours * HOUR_MS))
    again = set() if at_its_time else {story.receipts[1].digest}
    assert story.verify().signed_again == again


def test_a_record_that_nobody_entitled_signed_is_passed_over() -> None:
    story, other = Story().say(1), Tree.make(seed=2)
    proof = story.verify(directory=[*story.tree.signed, *other.signed])
    assert proof == story.verify()


def test_a_root_that_is_younger_than_the_document_can_be_trusted() -> None:
    story = Story().say(1)
    younger = story.tree.root(version=2, created_ms=story.now_ms + DAY_MS)
    signed = story.tree.sign(ROOT, younger, story.tree.root_signers)
    file = story.file(directory=[*story.tree.signed, signed])
    assert verify_evidence(file, root=signed.digest).receipts == story.verify().receipts


def test_a_former_host_still_proves_what_it_said_under_its_own_epoch() -> None:
    story = Story().say(1)
    tree = story.tree
    tree.clock_ms = story.now_ms + HOUR_MS
    tree.add_centre("00.04.W00")
    tree.publish(tree.next_agency("H38", host="00.04.W00", epoch=2), story.signer(RECIPIENT_CENTRE))
    late = story.receipt(3, epoch=1, time_ms=story.now_ms + 5 * HOUR_MS)
    assert len(story.verify(receipts=[*story.receipts, late]).receipts) == 2


# --- what a file does not prove ----------------------------------------------------------------


def test_another_root_proves_nothing() -> None:
    with expects("evidence_root", TrustError, field="envelope"):
        verify_evidence(Story().file(), root=bytes(32))


def test_a_tree_that_somebody_else_made_proves_nothing() -> None:
    forged = Story(tree=Tree.make(seed=2, hosting={ISSUER_CENTRE: ("G12",), RECIPIENT_CENTRE: ("H38",)})).say(1)
    honest = Story()
    with expects("evidence_unproved", TrustError, field="envelope"):
        verify_evidence(
            forged.file(directory=[*forged.tree.signed[1:], honest.tree.signed[0]]), root=honest.tree.anchor
        )


def test_a_file_without_the_recipients_records_does_not_prove_its_receipts() -> None:
    story = Story().say(1)
    without = [thing for thing in story.tree.signed if b"H38" not in thing.statement]
    with expects("evidence_unproved", TrustError, field="receipts[0]") as caught:
        story.verify(directory=without)
    assert caught[0].detail["reason"] == "issuer_unknown"


def test_an_envelope_signed_by_a_stranger_is_not_proved() -> None:
    story = Story()
    forged = sign(ENVELOPE.name, ENVELOPE.encode(story.envelope), story.signer(RECIPIENT_CENTRE))
    with expects("evidence_unproved", TrustError, field="envelope"):
        story.verify(envelope=forged)


def test_a_signature_of_other_bytes_is_not_proved() -> None:
    story = Story().say(1)
    other = story.receipt(1, time_ms=story.now_ms)
    mixed = replace(story.receipts[0], signatures=other.signatures)
    with expects("signature_invalid", TrustError, field="receipts[0]"):
        story.verify(receipts=[mixed])


def test_an_issuer_with_its_own_key_is_not_spoken_for_by_its_centre() -> None:
    own = Ed25519Signer(key_seed(1, "G12 own"))
    tree = Tree.make(hosting={ISSUER_CENTRE: (), RECIPIENT_CENTRE: ("H38",)})
    tree.add_agency("G12", ISSUER_CENTRE, keys=(entry_of(own),))
    story = Story(tree=tree)
    envelope = sign(ENVELOPE.name, ENVELOPE.encode(story.envelope), own)
    consignment = sign(CONSIGNMENT.name, CONSIGNMENT.encode(story.consignment), own)
    assert story.verify(envelope=envelope, consignment=consignment).envelope.key_id == own.public.key_id
    with expects("evidence_unproved", TrustError, field="envelope"):
        story.verify(consignment=consignment)
    with expects("evidence_unproved", TrustError, field="consignment"):
        story.verify(envelope=envelope)


def test_a_recipients_own_key_cannot_refuse_for_its_centre() -> None:
    own = Ed25519Signer(key_seed(1, "H38 own"))
    tree = Tree.make(hosting={ISSUER_CENTRE: ("G12",), RECIPIENT_CENTRE: ()})
    tree.add_agency("H38", RECIPIENT_CENTRE, keys=(entry_of(own),))
    story = Story(tree=tree)
    assert story.verify(refusal=story.refusal()).refusal is not None
    with expects("evidence_unproved", TrustError, field="refusal"):
        story.verify(refusal=story.refusal(own))


def test_signed_statements_that_break_their_own_rules_prove_nothing() -> None:
    story = Story()
    signer = story.signer(ISSUER_CENTRE)
    endless = replace(story.envelope, expires_ms=story.now_ms + 91 * DAY_MS)
    with expects("envelope_expiry", FormatError, field="envelope.expires_ms"):
        story.verify(envelope=sign(ENVELOPE.name, ENVELOPE.encode(endless), signer))
    circular = replace(story.consignment, recipient="G12")
    with expects("consignment_to_itself", FormatError, field="consignment.recipient"):
        story.verify(consignment=sign(CONSIGNMENT.name, CONSIGNMENT.encode(circular), signer))
    with expects("refusal_code_unknown", FormatError, field="refusal.code"):
        story.verify(refusal=story.refusal(code="busy"))


def test_a_consignment_of_another_envelope_does_not_belong() -> None:
    story = Story()
    other = replace(story.consignment, envelope=bytes(32))
    signed = sign(CONSIGNMENT.name, CONSIGNMENT.encode(other), story.signer(ISSUER_CENTRE))
    with expects("evidence_mismatch", TrustError, field="consignment.envelope"):
        story.verify(consignment=signed)


def test_a_consignment_by_another_issuer_does_not_belong() -> None:
    story = Story()
    other = replace(story.consignment, issuer="H38", recipient="G12")
    signed = sign(CONSIGNMENT.name, CONSIGNMENT.encode(other), story.signer(RECIPIENT_CENTRE))
    with expects("evidence_mismatch", TrustError, field="consignment.issuer"):
        story.verify(consignment=signed)


def test_a_chain_with_a_gap_is_not_proved() -> None:
    story = Story().say(1, 3, 4)
    with expects("receipt_chain_gap", TrustError, field="receipts[1].sequence"):
        story.verify(receipts=[story.receipts[0], story.receipts[2]])


@pytest.mark.parametrize("changes", [{"consignment": bytes(32)}, {"envelope": bytes(32)}, {"recipient": "G12"}])
def test_a_refusal_of_something_else_does_not_belong(changes: dict[str, Any]) -> None:
    story = Story()
    with expects("evidence_mismatch", TrustError, field=f"refusal.{next(iter(changes))}"):
        story.verify(refusal=story.refusal(**changes))


def test_a_refusal_by_the_issuers_own_centre_is_not_proved() -> None:
    story = Story()
    with expects("evidence_unproved", TrustError, field="refusal"):
        story.verify(refusal=story.refusal(story.signer(ISSUER_CENTRE)))


def test_a_wrong_content_key_discloses_nothing() -> None:
    story = Story()
    with expects("commitment_wrong", TrustError, field="header"):
        story.verify(header=story.sealed_header, content_key=bytes(32))


def test_another_sealed_header_does_not_belong() -> None:
    story = Story()
    other = seal_header(header_keys(CONTENT_KEY, bytes(16)).header_key, encode_header(samples.header(1)))
    with expects("evidence_mismatch", TrustError, field="header.header"):
        story.verify(header=other, content_key=CONTENT_KEY)


def test_a_disclosed_header_with_an_evil_name_is_named_by_its_path() -> None:
    header = samples.header(parts=(samples.part_secret(name="../x"),))
    story = Story(header=header)
    with expects("part_name_path", RequestError, field="header.parts[0].name"):
        story.verify(header=story.sealed_header, content_key=CONTENT_KEY)


def test_a_thing_in_the_place_of_another_is_refused() -> None:
    story = Story()
    with expects("format_other", FormatError, field="envelope"):
        story.verify(envelope=story.signed_consignment)


def test_a_record_that_proves_nothing_has_no_place_in_the_file() -> None:
    story = Story()
    node = NodeRecord(centre=ISSUER_CENTRE, peer_id="12D3", from_ms=1, until_ms=2, addresses=())
    signed = story.tree.publish(node, story.signer(ISSUER_CENTRE))
    with expects("directory_format", FormatError) as caught:
        story.verify(directory=[signed])
    assert caught[0].field.startswith("directory[")


# --- vectors ------------------------------------------------------------------------------------

_VECTORS: list[dict[str, Any]] = json.loads((FOLDER / "evidence.json").read_text(encoding="utf-8"))


def test_committed_vectors_are_what_the_format_says() -> None:
    assert generate() == _VECTORS


@pytest.mark.parametrize("vector", _VECTORS, ids=lambda vector: vector["name"])
def test_vectors_of_evidence_files(vector: dict[str, Any]) -> None:
    file, root = bytes.fromhex(vector["hex"]), bytes.fromhex(vector["root"])
    if "error" in vector:
        with expects(vector["error"], field=vector["field"]) as caught:
            verify_evidence(file, root=root)
        assert caught[0].detail == vector.get("detail", caught[0].detail)
    else:
        assert verify_evidence(file, root=root).consignment.value.recipient == "H38"


# --- the bytes ----------------------------------------------------------------------------------


def _altered(**changes: Any) -> bytes:
    evidence: Evidence = replace(read_evidence(Story().file()), **changes)
    return encode([EVIDENCE.name, EVIDENCE.encode(evidence)])


@pytest.mark.parametrize(
    ("file", "code"),
    [
        (b"", "format_malformed"),
        (b"%PDF-1.7", "format_malformed"),
        (encode({1: 2}), "format_other"),
        (encode(["truc/directory-file/1", b""]), "format_other"),
        (encode(["truc/evidence/2", b""]), "format_newer"),
        (encode(["truc/evidence/1", b"", b""]), "format_other"),
        (encode(["truc/evidence/1", b""]), "format_malformed"),
        (encode(["truc/evidence/1", b"\x80"]), "format_field"),
        (_altered(content_key=bytes(32)), "format_field"),
        (_altered(header=b"x", content_key=bytes(31)), "format_field"),
        (_altered(directory=(b"b", b"a")), "format_field"),
        (_altered(directory=(b"a", b"a")), "format_field"),
        (_altered(directory=(b"a",)), "format_field"),
        (_altered(envelope=b""), "format_malformed"),
    ],
)
def test_bytes_that_are_no_evidence_file_are_refused(file: bytes, code: str) -> None:
    with expects(code, FormatError):
        verify_evidence(file, root=Story().tree.anchor)


def test_what_stands_wrong_in_the_file_is_named() -> None:
    with expects("format_field", FormatError, field="directory") as caught:
        read_evidence(_altered(directory=(b"a", b"a")))
    assert caught[0].detail == {"reason": "not in ascending order"}
    with expects("format_field", FormatError, field="content_key") as caught:
        read_evidence(_altered(content_key=bytes(32)))
    assert caught[0].detail == {"reason": "header and 32-byte key belong together"}


def test_a_record_that_cannot_be_read_is_named_by_its_place() -> None:
    with expects("format_malformed", FormatError, field="directory[1]"):
        verify_evidence(_altered(directory=(_altered_root(), b"\xc1")), root=bytes(32))


def _altered_root() -> bytes:
    return Story().tree.signed[0].to_wire()


def test_no_single_changed_byte_leaves_another_proof() -> None:
    story = Story().say(1)
    file = story.file(directory=collect_records(story.tree.view(), ["G12", "H38"]))
    honest = verify_evidence(file, root=story.tree.anchor)
    for index in range(0, len(file), 37):
        damaged = bytearray(file)
        damaged[index] ^= 1
        try:
            proof = verify_evidence(bytes(damaged), root=story.tree.anchor)
        except (FormatError, TrustError):
            continue
        assert (proof.envelope.value, proof.consignment.value) == (honest.envelope.value, honest.consignment.value)
        assert [item.value for item in proof.receipts] == [item.value for item in honest.receipts]


# --- the command --------------------------------------------------------------------------------


def _run(path: Path, root: bytes, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "protocol.evidence", str(path), "--root", root.hex(), *more]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


def test_the_command_verifies_off_line_with_protocol_and_cryptography_alone(tmp_path: Path) -> None:
    story = Story().say(1, 3)
    path = tmp_path / "proof.truc"
    path.write_bytes(story.file())
    done = _run(path, story.tree.anchor)
    assert done.returncode == 0, done.stderr
    assert "HỢP LỆ: mọi chữ ký" in done.stdout
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, protocol.evidence; print(*{n.partition('.')[0] for n in sys.modules})"],
        capture_output=True,
        text=True,
        check=True,
    )
    foreign = {"node", "storage", "trio", "libp2p", "plyvel", "structlog", "fastapi", "pydantic"}
    assert not foreign & set(loaded.stdout.split())


def test_the_command_tells_a_person_everything_in_both_languages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    story = Story().say(1, 100)
    story.receipts.append(story.receipt(2, reason="Sai\x1b[2J thẩm quyền"))
    path = tmp_path / "proof.truc"
    path.write_bytes(story.file(header=story.sealed_header, content_key=CONTENT_KEY, refusal=story.refusal(field="")))
    root = story.tree.anchor.hex()
    assert main([str(path), "--root", root, "--lang", "en"]) == 0
    english = capsys.readouterr().out
    assert "Issuer: G12, signed 2026-" in english
    assert "2. 2026-" in english
    assert "02 returned – Sai\ufffd[2J thẩm quyền" in english
    assert "Final refusal" in english
    assert "Subject: V/v triển khai" in english
    assert f"File: van-ban-1.pdf  sha256 {sha256(b'part 1').hexdigest()}" in english
    assert main([str(path), "--root", root]) == 0
    assert "02 từ chối tiếp nhận" in capsys.readouterr().out


def test_the_command_answers_programs_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story().say(1)
    path = tmp_path / "proof.truc"
    path.write_bytes(story.file(header=story.sealed_header, content_key=CONTENT_KEY, refusal=story.refusal()))
    assert main([str(path), "--root", story.tree.anchor.hex(), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["valid"] is True
    assert told["receipts"][0]["code"] == 1
    assert told["refusal"] == {"code": "part_mismatch", "field": "parts[0]"}
    assert told["parts"][0]["sha256"] == sha256(b"part 0").hexdigest()
    assert main([str(path), "--root", "00" * 32, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "evidence_root"


def test_the_command_says_why_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    story = Story().say(1, 3)
    path = tmp_path / "proof.truc"
    path.write_bytes(story.file(receipts=story.receipts[1:]))
    assert main([str(path), "--root", story.tree.anchor.hex(), "--lang", "en"]) == 1
    assert "NOT VALID [receipts[0].sequence]: The chain of receipts has a gap" in capsys.readouterr().out


def test_a_file_that_is_not_there_is_an_outcome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "nothing"), "--root", "00" * 32, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["code"] == "evidence_unreadable"
    assert told["en"] == f"The file {tmp_path / 'nothing'} cannot be read: No such file or directory."
    record("evidence_unreadable")
    assert issubclass(ConfigurationError, Exception)


@pytest.mark.parametrize("root", ["", "zz", "00" * 31])
def test_a_root_that_is_no_digest_is_wrong_usage(root: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["file", "--root", root])
    assert stopped.value.code == 2


def test_an_absurd_time_is_shown_as_its_number() -> None:
    story = Story()
    proof = story.verify()
    absurd = replace(proof.envelope, value=replace(story.envelope, created_ms=2**62))
    assert any("4611686018427387904 ms" in line for line in proof_lines(replace(proof, envelope=absurd), "en"))


def test_a_revoked_entry_is_found_only_where_it_is_revoked() -> None:
    entry: KeyEntry = entry_of(Ed25519Signer(bytes(32)))
    assert entry.revoked_ms == 0
    assert Story().verify().revoked == frozenset()
