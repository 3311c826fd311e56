"""The commands against a real node, on a real socket: a document goes from G22 to G22.99, both hosted there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.cli.client import Client
from node.cli.desk import Refused
from tests.cli.conftest import ROOT, World, truc
from tests.support.errors import record

META = ("--type", "Công văn", "--secrecy", "none")
LARGE = bytes(range(256)) * 4096 * 3
"""Three megabytes: an upload of several segments."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A document that has arrived."""

    document: str
    consignment: str
    files: dict[str, bytes]


def post(world: World, folder: Path, number: str, files: dict[str, bytes], *more: str) -> Sent:
    """Send these files from G22 to G22.99 and wait until they have arrived."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    words = ("--from", "G22", "--to", "G22.99", "--number", number, "--notation", "VPCP-KSTT", *META, *more)
    told = world.json("send", *(folder / name for name in files), "--subject", f"V/v thử {number}", *words)
    for _ in range(20):
        for item in world.json("inbox", "list", "--all", "--wait", "1", "--limit", "100")["items"]:
            if item["document"] == told["id"]:
                return Sent(told["id"], item["consignment"], files)
    raise AssertionError(told)


@pytest.fixture(scope="module")
def sent(world: World, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """A document with a small and a large file."""
    files = {"công văn.pdf": b"%PDF-1.7\n" + b"x" * 1000, "phụ lục.docx": LARGE}
    return post(world, tmp_path_factory.mktemp("files"), "1", files, "--lane", "khan", "--signer", "Nguyễn A; Chánh VP")


# --- documents ------------------------------------------------------------------------------


def test_a_sent_document_arrives_with_its_words(world: World, sent: Sent) -> None:
    item = world.json("show", sent.consignment)
    assert item["issuer"] == "G22"
    assert item["metadata"]["subject"] == "V/v thử 1"
    assert item["metadata"]["signers"] == [{"competence": "", "name": "Nguyễn A", "position": "Chánh VP"}]
    assert {part["name"]: part["sha256"] for part in item["parts"]} == {
        name: hashlib.sha256(content).hexdigest() for name, content in sent.files.items()
    }
    assert [part["media_type"] for part in item["parts"]] == [
        "application/pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ]


def test_the_same_command_again_sends_nothing_again(world: World, sent: Sent, tmp_path: Path) -> None:
    again = post(world, tmp_path, "1", sent.files, "--lane", "khan", "--signer", "Nguyễn A; Chánh VP")
    assert again.document == sent.document


def test_the_boxes_list_it_in_the_readers_language(world: World, sent: Sent) -> None:
    vi, en = world.truc("outbox", "list").out, world.truc("outbox", "list", "--lang", "en").out
    assert vi.splitlines()[0].split("  ")[0] == "mã"
    assert sent.document in vi
    assert "1/VPCP-KSTT" in en
    assert "G22.99 " in en
    assert "V/v thử 1" in world.truc("inbox", "list", "--all", "--agency", "G22.99").out


def test_a_document_and_a_consignment_are_shown_with_their_chain(world: World, sent: Sent) -> None:
    shown = world.truc("show", sent.document, "--lang", "en").out
    assert ["subject", "V/v", "thử", "1"] in [line.split() for line in shown.splitlines()]
    assert f"G22.99  {sent.consignment}" in shown
    assert "01 arrived" in shown
    shown = world.truc("show", sent.consignment).out
    assert "trích yếu" in shown
    assert "3.1 MB" in shown
    assert "01 đã đến" in shown


def test_fetching_compares_writes_over_nothing_and_collects_when_asked(
    world: World, sent: Sent, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "out"
    ran = world.truc("fetch", sent.consignment, "--out", out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == sent.files
    assert ran.out.count("đúng") == 2
    assert "Chưa báo nhận" in ran.out
    again = world.json("fetch", sent.consignment, "--out", out, "--collect")
    assert [file["was_there"] for file in again["files"]] == [True, True]
    assert 100 in [receipt["code"] for receipt in world.json("show", sent.consignment)["receipts"]]
    (out / "công văn.pdf").write_text("mine")
    assert "file_exists" in world.truc("fetch", sent.consignment, "--out", out, expect=4).err
    assert (out / "công văn.pdf").read_text() == "mine"


def test_answers_come_back_to_the_issuer(world: World, tmp_path: Path) -> None:
    sent = post(world, tmp_path / "f", "2", {"a.txt": b"a"})
    world.truc("answer", sent.consignment, 3, "--staff-name", "Trần B")
    world.truc("answer", sent.consignment, 3, "--staff-name", "Trần B")  # the same words: the same answer
    told = world.truc("answer", sent.consignment, 6, "--lang", "en")
    assert told.out == f"Recorded status 06 finished for {sent.consignment}.\n"
    world.truc("answer", sent.consignment, 4, "--reason", "chuyển lại")
    codes = [receipt["code"] for receipt in world.json("show", sent.consignment)["receipts"]]
    assert codes == [1, 3, 6, 4]
    assert "status_reason_missing" in world.truc("answer", sent.consignment, 2, expect=1).err
    timeline = world.truc("trace", sent.document, "--lang", "en").out
    assert "03 accepted, Trần B" in timeline
    assert "out of order" in timeline
    assert "NOT VERIFIED" not in timeline
    assert timeline.count("verified") >= 8


def test_what_the_node_refuses_is_told_with_code_text_and_next_step(world: World, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    words = ("send", tmp_path / "a.txt", "--from", "G22", "--to", "G22.99", "--to", "Z99", "--type", "Công văn")
    ran = world.truc(*words, "--subject", "x", "--lang", "en", expect=1)
    assert "recipient_unknown [recipients[1]]: No agency has the code Z99." in ran.err
    assert "→" in ran.err
    refused = world.json(*words[:-4], "--type", "Công văn", "--subject", "", "--secrecy", "mật", expect=1)
    assert {item["code"] for item in refused["findings"]} == {"secrecy_marked", "metadata_subject_empty"}


def test_an_unknown_document_is_refused_and_a_malformed_id_too(world: World) -> None:
    assert "id_malformed" in world.truc("show", "csg_x", expect=1).err
    assert "document_unknown" in world.truc("show", "doc_" + "a" * 26, expect=1).err


def test_metadata_from_a_file_is_overruled_by_options(world: World, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"type": "Tờ trình", "place": "Huế", "secrecy": "none", "pages": 3}))
    (tmp_path / "b.bin").write_bytes(b"")
    told = world.json(
        "send", tmp_path / "b.bin", "--from", "G22", "--to", "G22.99", "--metadata", tmp_path / "m.json",
        "--subject", "y", "--pages", 4, "--key", "mine-1", "--expires-days", 3,
    )  # fmt: skip
    shown = world.json("show", told["id"])
    assert (shown["metadata"]["type"], shown["metadata"]["place"], shown["metadata"]["pages"]) == ("Tờ trình", "Huế", 4)
    assert shown["parts"][0]["size"] == 0


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_metadata_file_that_is_none_is_told(world: World, tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content)
    (tmp_path / "a").write_text("a")
    words = ("send", tmp_path / "a", "--from", "G22", "--to", "G22.99", "--metadata", tmp_path / "m.json")
    assert "file_unreadable" in world.truc(*words, expect=4).err
    record("file_unreadable")


def test_a_file_that_is_not_there_is_told_before_anything_is_sent(world: World, tmp_path: Path) -> None:
    ran = world.truc("send", tmp_path / "none", "--from", "G22", "--to", "G22.99", *META, expect=4)
    assert "file_unreadable" in ran.err


# --- uploads and downloads that go wrong ----------------------------------------------------


class Unplugged(Exception):
    """The cable."""


def client_of(world: World) -> Client:
    return Client.over_socket(world.config.parent / "data" / "api.sock")


def put(client: Client, name: str, content: bytes, offset: int, total: int) -> None:
    headers = {"Upload-Offset": str(offset), "Upload-Length": str(total), "Content-Type": "application/octet-stream"}
    client.request("PUT", f"/v1/uploads/{name}", body=content, headers=headers)


def test_a_broken_upload_goes_on_where_it_ended(world: World, tmp_path: Path) -> None:
    client = client_of(world)
    headers = {"Upload-Offset": "0", "Upload-Length": str(len(LARGE)), "Content-Length": str(len(LARGE))}

    def broken() -> Iterator[bytes]:
        yield LARGE[: 1024 * 1024]
        raise Unplugged

    with pytest.raises(Unplugged):
        client.request(
            "PUT",
            "/v1/uploads/broken-0",
            body=broken(),
            headers={**headers, "Content-Type": "application/octet-stream"},
        )
    client.close()
    sent = post(world, tmp_path / "f", "9", {"to.docx": LARGE}, "--key", "broken")
    assert world.json("show", sent.consignment)["parts"][0]["sha256"] == hashlib.sha256(LARGE).hexdigest()


def test_the_nodes_reason_is_heard_even_when_it_answers_before_the_body_is_sent(world: World) -> None:
    client = client_of(world)
    with pytest.raises(Refused) as caught:
        put(client, "early", bytes(8 * 1024 * 1024), 65_536, 16 * 1024 * 1024)
    assert caught.value.problem["code"] == "upload_offset_differs"
    client.close()


def test_a_stream_that_is_refused_says_why(world: World, sent: Sent) -> None:
    client = client_of(world)
    path = f"/v1/inbox/{sent.consignment}/parts/99"
    with pytest.raises(Refused) as caught, client.stream(path) as (_, pieces):
        list(pieces)
    assert caught.value.problem["code"] == "part_unknown"
    client.close()


def test_a_reader_who_stops_early_disturbs_nobody(world: World, sent: Sent) -> None:
    client = client_of(world)
    with client.stream(f"/v1/inbox/{sent.consignment}/parts/1") as (headers, pieces):
        assert int(headers["content-length"]) == len(LARGE)
        next(pieces)
    assert client.get("/v1/node")["joined"] is True
    client.close()


# --- evidence -------------------------------------------------------------------------------


def test_evidence_is_exported_and_verified_without_a_node(world: World, sent: Sent, tmp_path: Path) -> None:
    file = tmp_path / "proof"
    world.truc("evidence", "export", sent.consignment, "--out", file)
    assert "file_exists" in world.truc("evidence", "export", sent.consignment, "--out", file, expect=4).err
    told = truc("evidence", "verify", file, "--root", world.root, "--lang", "en")
    assert "VALID: every signature" in told.out
    assert truc("--json", "evidence", "verify", file, "--root", world.root).json["consignment_id"] == sent.consignment
    told = truc("--lang", "vi", "evidence", "verify", file, "--root", "00" * 32, expect=1)
    assert "KHÔNG HỢP LỆ" in told.out
    assert truc("--json", "evidence", "verify", file, "--root", "11" * 32, expect=1).json["code"] == "evidence_root"
    truc("evidence", "verify", file, "--root", "nonsense", expect=2)
    truc("evidence", "verify", tmp_path / "none", "--root", world.root, expect=4)


# --- access ---------------------------------------------------------------------------------


def test_a_system_uses_its_token_until_it_is_revoked(world: World) -> None:
    made = world.json("access", "add", "QLVB", "--agency", "G22.99", "--right", "receive")
    over_tcp = ("--url", f"http://127.0.0.1:{world.port}", "--token", made["token"])
    assert truc(*over_tcp, "--json", "node").json["caller"]["agencies"] == ["G22.99"]
    assert "right_missing" in truc(*over_tcp, "audit", expect=1).err
    assert made["system"] in world.truc("access", "list").out
    world.truc("access", "revoke", made["system"])
    assert "token_unknown" in truc(*over_tcp, "node", expect=1).err
    assert "token_missing" in truc(*over_tcp[:2], "node", expect=1).err
    trail = world.truc("audit", "--lang", "en").out
    assert "access add" in trail
    assert "access revoke" in trail


def test_a_new_token_is_alone_on_its_line(world: World) -> None:
    ran = world.truc("access", "add", "Phần mềm", "--agency", "G22", "--lang", "en")
    assert ran.out.splitlines()[1].startswith("truc_")
    assert "Keep it now" in ran.err


# --- looking --------------------------------------------------------------------------------


def test_the_node_says_who_it_is(world: World) -> None:
    told = world.truc("node", "--lang", "en").out
    rows = [line.split() for line in told.splitlines()]
    assert ["centre", "00.22.W00"] in rows
    assert ["root", world.root] in rows
    assert ["agencies", "G22,", "G22.99"] in rows
    assert world.json("node")["joined"] is True


def test_the_directory_is_listed_searched_and_shown(world: World) -> None:
    assert world.truc("directory", "list").out == (
        "mã      tên                  trạng thái  nơi lưu trữ\n"
        "G22     Văn phòng Chính phủ  hoạt động   00.22.W00\n"
        "G22.99  Vụ Thử nghiệm        hoạt động   00.22.W00\n"
    )
    found = world.json("directory", "search", "vu", "thu")
    assert [item["code"] for item in found["items"]] == ["G22.99"]
    assert "Không có gì." in world.truc("directory", "search", "zzz").out
    shown = world.truc("directory", "show", "G22.99", "--lang", "en").out
    assert ["parent", "G22"] in [line.split() for line in shown.splitlines()]
    shown = world.truc("directory", "show", "00.22.W00").out
    assert ["peer", "id"] in [line.split()[:2] for line in shown.splitlines() if "12D3KooW" in line]


def test_importing_tells_what_was_known_and_what_is_not_believed(world: World, tmp_path: Path) -> None:
    file = world.folder / "authority" / "directory.truc"
    told = world.truc("directory", "import", file, "--lang", "en").out
    assert told == "Loaded 0 new records and 0 checkpoints; 7 were known.\n"
    (tmp_path / "x.truc").write_bytes(b"nonsense")
    assert "format_" in world.truc("directory", "import", tmp_path / "x.truc", expect=1).err
    world.truc("directory", "import", tmp_path / "none", expect=4)


def test_no_other_node_is_known(world: World) -> None:
    assert world.truc("peers").out == "Không có gì.\n"


# --- doctor and the rest of a node's life ---------------------------------------------------


def test_the_doctor_is_red_until_the_keys_are_backed_up(world: World, tmp_path: Path) -> None:
    sick = world.json("doctor", expect=1)
    assert [item["code"] for item in sick["findings"] if item["light"] == "red"] == ["no_backup"]
    (tmp_path / "p").write_text("backup words\n")
    (tmp_path / "p").chmod(0o400)
    world.truc("keys", "backup", tmp_path / "keys", "--backup-passphrase-file", tmp_path / "p")
    well = world.json("doctor")
    assert well["well"] is True
    told = world.truc("doctor", "--lang", "en").out
    assert "✓ key backup: done" in told
    assert told.endswith("The node is well.\n")


def test_a_second_daemon_on_the_same_folder_ends_with_one_line_that_says_why(world: World) -> None:
    words = [sys.executable, "-m", "tests.cli.node_process", str(world.config)]
    ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 4
    [line] = ran.stderr.splitlines()
    assert json.loads(line)["code"] == "store_locked"


def test_a_command_is_a_program_of_its_own_that_answers(world: World) -> None:
    """What it takes is printed, not judged: the machine is shared."""
    program = (
        "import time; begun = time.perf_counter()\n"
        "from node.cli.main import main\n"
        f"main(['--config', {str(world.config)!r}, 'node'])\n"
        "import sys; print(round((time.perf_counter() - begun) * 1000), 'ms', file=sys.stderr)"
    )
    for _ in range(3):
        ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "00.22.W00" in ran.stdout
        print("truc node:", ran.stderr)
