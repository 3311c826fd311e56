"""`truc authority` as an operator types it: from requests to a directory that nodes believe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.authority_folder import BOOK_FILE, AuthorityFolder
from node.authority_root import create_authority
from node.cli.authority import TEXTS, authority
from node.cli.grammar import ExitCode
from node.cli.main import truc
from node.environment import RealEnvironment
from node.requests import make_agency_request, make_centre_request
from protocol.directory import AgencyRequest, Names
from protocol.directory_file import read_file, write_file
from protocol.directory_import import Imported, import_things
from protocol.directory_view import DirectoryView, RecordCache
from protocol.signing import Verifier
from protocol.staged import Staged
from storage.folder import OsFolder
from storage.keystore import Cost, create_keystore
from tests.support.errors import record as note_code
from tests.support.pki import NationalPki
from tests.support.tree import Centre, key_seed


class Office:
    """A folder on disk, and the command line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.secret = path / "secret"
        self.secret.write_text("mật khẩu\n", "utf-8")
        self.secret.chmod(0o400)
        self.environment = RealEnvironment()

    def run(self, *words: str, lang: str = "en", as_json: bool = True, code: int = 0) -> Any:
        how = ["--folder", str(self.path / "authority"), "--passphrase-file", str(self.secret), "--lang", lang]
        result = self.invoke([*how, *(["--json"] if as_json else []), *words])
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if as_json and code != 2 else result.output

    def invoke(self, words: list[str], text: str | None = None) -> Result:
        return CliRunner().invoke(authority, words, input=text, catch_exceptions=False)

    def request(self, centre: Centre) -> str:
        signed = make_centre_request(
            code=centre.code,
            names=Names(vi=f"Trung tâm {centre.code}"),
            peer_id=centre.peer_id,
            signers=[centre.signer],
            sealing_raw=centre.sealing.public_raw,
            now_ms=self.environment.now_ms(),
        )
        path = self.path / f"{centre.code}.truc"
        path.write_bytes(write_file([signed]))
        return str(path)

    def imported(self, anchor: str, file: Path | None = None) -> tuple[Imported, DirectoryView]:
        """What a node makes of the directory file."""
        records = Staged()
        result = import_things(
            read_file((file or self.path / "authority" / "directory.truc").read_bytes()),
            records,
            anchor=bytes.fromhex(anchor),
            verifier=Verifier(),
            now_ms=self.environment.now_ms(),
            cache=RecordCache(),
        )
        records.stage(result.changes)
        return result, DirectoryView(records)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


CENTRE_1, CENTRE_2 = Centre.make(1, "00.01.W00"), Centre.make(1, "00.02.W00")


def test_a_tree_is_made_with_three_commands(office: Office) -> None:
    anchor = office.run("init", "--name", "Trục")["root_digest"]
    signed = office.run("centre", office.request(CENTRE_1), office.request(CENTRE_2))["signed"]
    assert [row["about"] for row in signed] == ["truc/centre/1 00.01.W00", "truc/centre/1 00.02.W00"]
    answer = office.run(
        "agency",
        "--code",
        "G12",
        "--name",
        "Bộ Tài chính",
        "--name-en",
        "Ministry of Finance",
        "--host",
        "00.01.W00",
        "--alias",
        "000.00.00.G12",
        "--kind",
        "ministry",
        "--decision",
        "1/QĐ",
    )
    assert answer["waiting"] == []
    result, view = office.imported(anchor)
    assert not result.rejected
    record = view.resolve("000.00.00.G12")
    assert (record.code, record.names.en, record.host, record.kind) == (
        "G12",
        "Ministry of Finance",
        "00.01.W00",
        "ministry",
    )


def test_a_certificate_that_endorses_no_new_key_is_told_and_taken_out(office: Office) -> None:
    office.run("init")
    office.run("centre", office.request(CENTRE_1))
    holder = NationalPki().holder
    file = office.path / "credentials"
    file.write_bytes(holder.credentials(holder.proof("00.01.W00", "00.01.W00", CENTRE_1.signer.public.key_id)))
    office.run("pki", "00.01.W00", str(file))
    assert office.run("centre", office.request(CENTRE_1))["credentials_taken_out"] == []
    told = office.run("centre", office.request(Centre.make(2, "00.01.W00")), as_json=False, lang="en")
    assert "The certificate of 00.01.W00 does not endorse its new keys" in told


def test_an_agency_is_locked_closed_and_renamed(office: Office) -> None:
    anchor = office.run("init")["root_digest"]
    office.run("centre", office.request(CENTRE_1))
    for code in ("G12", "G13"):
        office.run("agency", "--code", code, "--name", "Bộ", "--host", "00.01.W00")
    office.run("agency", "--code", "G12", "--name-en", "Ministry")
    office.run("agency", "--code", "G12", "--state", "closed", "--successor", "G13")
    _, view = office.imported(anchor)
    record = view.agency("G12")
    assert (record.state.name, record.successors, record.names.vi) == ("CLOSED", ("G13",), "Bộ")
    assert record.names.en == "Ministry"


def test_a_move_is_endorsed_with_the_old_hosts_own_keys(office: Office) -> None:
    anchor = office.run("init")["root_digest"]
    office.run("centre", office.request(CENTRE_1), office.request(CENTRE_2))
    office.run("agency", "--code", "G12", "--name", "Bộ", "--host", "00.01.W00")
    answer = office.run("agency", "--code", "G12", "--host", "00.02.W00")
    assert [row["code"] for row in answer["waiting"]] == ["directory_pending"]
    data = office.path / "node"
    keystore = create_keystore(
        OsFolder(data), "mật khẩu".encode(), entropy=office.environment.entropy, cost=Cost(memory_kib=8, passes=1)
    )
    keystore.put(
        {"operational": key_seed(1, "00.01.W00 operational"), "note": b"x"}, entropy=office.environment.entropy
    )
    file, out = str(office.path / "authority" / "directory.truc"), office.path / "endorsed.truc"
    words = ["--json", "--out", str(out), "sign", file, "--node-keys", str(data), "--node-passphrase-file"]
    result = office.invoke([*words, str(office.secret)])
    assert [row["about"] for row in json.loads(result.stdout)["signed"]] == ["truc/agency/1 G12"]
    assert office.run("sign", str(out))["waiting"] == []
    _, view = office.imported(anchor)
    assert view.host_of("G12")[0].code == "00.02.W00"
    again = office.invoke(
        ["--lang", "vi", "sign", str(out), "--node-keys", str(data), "--node-passphrase-file", str(office.secret)]
    )
    assert TEXTS["nothing_to_sign"][0] in again.output


def test_a_registrars_key_is_made_and_used(office: Office) -> None:
    office.run("init")
    office.run("centre", office.request(CENTRE_1))
    office.run("agency", "--code", "H38", "--name", "Tỉnh", "--host", "00.01.W00", "--delegate", "h38")
    answer = office.run("agency", "--code", "H38.1", "--name", "Sở", "--host", "00.01.W00", "--as", "H38")
    assert [row["registrar"] for row in answer["signed"]] == ["H38"]
    office.run("agency", "--code", "H38.2", "--name", "Sở", "--host", "00.01.W00", "--as", "H38", "--delegate", "h38")


def test_people_read_what_was_done_in_both_languages(office: Office) -> None:
    text = office.run("init", "--root-keys", "2", "--root-threshold", "2", lang="vi", as_json=False)
    assert "Đã tạo cơ quan gốc" in text
    text = office.run("centre", office.request(CENTRE_1), as_json=False)
    assert "Signed truc/centre/1 00.01.W00 (number 1 of level-1)." in text
    office.run("agency", "--code", "G12", "--name", "Bộ", "--host", "00.01.W00")
    text = office.run("agency", "--code", "G12", "--alias", "G99", lang="vi", as_json=False)
    assert "Còn chờ: truc/agency/1 G12: Mã khác G99 không được phép" in text
    assert "Keys: level-1-1, root-1, root-2" in office.run("show", as_json=False)
    assert TEXTS["nothing_to_sign"][1] in office.run(
        "sign", str(office.path / "authority" / "directory.truc"), as_json=False
    )


def test_the_passphrase_is_asked_for_when_no_file_names_it(office: Office) -> None:
    folder = ["--folder", str(office.path / "authority")]
    made = office.invoke([*folder, "--json", "init"], "bí mật\nbí mật\n")
    assert made.exit_code == 0
    wrong = office.invoke([*folder, "--lang", "en", "show"], "sai\n")
    assert wrong.exit_code == ExitCode.LOCAL
    assert wrong.stderr.splitlines()[-2].startswith("keystore_passphrase: The keystore passphrase is wrong.")
    assert wrong.stderr.splitlines()[-1] == "  → Enter it again, or correct the credential file."


def test_the_directory_file_is_written_where_it_is_wanted(office: Office) -> None:
    out = office.path / "out.truc"
    how = ["--folder", str(office.path / "authority"), "--passphrase-file", str(office.secret), "--json"]
    result = office.invoke([*how, "--out", str(out), "init"])
    answer = json.loads(result.stdout)
    assert answer["file"] == str(out)
    imported, _ = office.imported(answer["root_digest"], out)
    assert len(imported.accepted) == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["show"], "authority_missing"),
        (["init", "--root-threshold", "2"], "authority_threshold"),
        (["centre", "no-such-file"], "file_unreadable"),
        (["sign", "no-such-file"], "file_unreadable"),
        (["sign", "no-such-file", "--node-keys", "no-such-folder"], "keystore_missing"),
    ],
)
def test_what_is_wrong_on_this_machine_has_a_code_and_the_exit_code_of_all_commands(
    office: Office, words: list[str], code: str
) -> None:
    if words[0] in ("centre", "sign"):
        office.run("init")
    answer = office.run(*words, code=ExitCode.LOCAL)
    note_code(code)
    assert answer["code"] == code
    assert answer["vi"] != answer["en"]
    assert set(answer["next"]) == {"vi", "en"}
    assert not Path("no-such-folder").exists()


def test_a_directory_file_that_cannot_be_written_is_told(office: Office) -> None:
    how = ["--folder", str(office.path / "authority"), "--passphrase-file", str(office.secret), "--lang", "vi"]
    result = office.invoke([*how, "--out", str(office.path / "none" / "out.truc"), "init"])
    assert result.exit_code == ExitCode.LOCAL
    assert "file_unwritable: Không ghi được" in result.stderr
    note_code("file_unwritable")
    assert office.run("show")["waiting"] == [], "the authority itself was made"


def test_a_folder_whose_book_is_damaged_is_told(office: Office) -> None:
    office.run("init")
    book = office.path / "authority" / BOOK_FILE
    book.write_bytes(b"\xc1" + book.read_bytes()[1:])
    assert office.run("show", code=ExitCode.LOCAL)["code"] == "authority_damaged"
    note_code("authority_damaged")


def test_a_file_without_a_request_is_no_request(office: Office) -> None:
    office.run("init")
    answer = office.run("centre", str(office.path / "authority" / "directory.truc"), code=ExitCode.LOCAL)
    note_code("authority_no_request")
    assert answer["code"] == "authority_no_request"
    junk = office.path / "junk.truc"
    junk.write_bytes(b"\xc1")
    text = office.run("centre", str(junk), as_json=False, code=ExitCode.REFUSED)
    assert text.startswith("format_malformed")


def test_wrong_usage_ends_with_2(office: Office) -> None:
    office.run("init")
    office.run("agency", code=2)
    office.run("agency", "--code", "G12", "--name", "Bộ", code=2)
    office.run("centre", code=2)


def test_an_agencys_request_file_becomes_its_record(office: Office) -> None:
    office.run("init")
    office.run("centre", office.request(CENTRE_1))
    wish = AgencyRequest(created_ms=office.environment.now_ms(), code="G12", names=Names(vi="Bộ"), host="00.01.W00")
    path = office.path / "agency-request.truc"
    path.write_bytes(write_file([make_agency_request(wish, [CENTRE_1.signer])]))
    assert [row["about"] for row in office.run("agency", str(path))["signed"]] == ["truc/agency/1 G12"]


# --- who may sign ---------------------------------------------------------------------------


class Registrar(Office):
    """A folder of its own for the registrar of a code, on the same machine."""

    def __init__(self, path: Path, above: Office, code: str) -> None:
        path.mkdir()
        super().__init__(path)
        file = str(above.path / "authority" / "directory.truc")
        answer = self.run("apply", code, file, "--root-digest", above.run("show")["root_digest"])
        self.answer: str = answer["request"]


@pytest.fixture
def founded(office: Office) -> Office:
    """The root's keys are cheap to open, so that a test may open them often."""
    create_authority(
        AuthorityFolder(OsFolder(office.path / "authority")),
        name="Trục",
        passphrase="mật khẩu".encode(),
        entropy=office.environment.entropy,
        now_ms=office.environment.now_ms(),
        cost=Cost(memory_kib=8, passes=1),
    )
    office.run("centre", office.request(CENTRE_1), office.request(CENTRE_2))
    office.run("agency", "--code", "G12", "--name", "Bộ", "--host", "00.01.W00")
    return office


def test_every_act_tells_its_checkpoint(founded: Office) -> None:
    answer = founded.run("agency", "--code", "G12", "--kind", "bộ")
    assert (answer["checkpoint"]["registrar"], answer["checkpoint"]["number"]) == ("level-1", 7)
    text = founded.run("agency", "--code", "G12", "--kind", "sở", as_json=False)
    assert "Checkpoint 9 of level-1: 3 records." in text


def test_a_registrar_applies_is_delegated_to_and_signs(founded: Office) -> None:
    ministry = Registrar(founded.path / "ministry", founded, "G12")
    answer = founded.run("delegate", "G12", "--keys", ministry.answer, "--part", "G12.1", "--urgent")
    assert answer["waiting"] == []
    directory = str(founded.path / "authority" / "directory.truc")
    ministry.run("--seen", directory, "agency", "--code", "G12.1", "--name", "Cục", "--host", "00.01.W00")
    refused = ministry.run("agency", "--code", "G12.2", "--name", "Cục", "--host", "00.01.W00", code=ExitCode.REFUSED)
    assert refused["code"] == "directory_not_entitled"
    answer = founded.run("cut-off", "G12", "--compromised-since", "2026-01-01T00:00+07:00")
    assert [row["about"] for row in answer["signed"]] == ["truc/agency/1 G12"]


def test_the_root_is_rotated_and_keys_are_revoked(founded: Office) -> None:
    answer = founded.run("root", "rotate", "--root-keys", "2", "--root-threshold", "2", "--level-1-keys", "2")
    assert answer["waiting"] == []
    assert founded.run("agency", "--code", "G12", "--kind", "bộ")["waiting"] == []
    refused = founded.run("root", "rotate", "--root-keys", "1", code=ExitCode.LOCAL)
    assert refused["code"] == "authority_threshold"
    assert founded.run("revoke-key", "level-1", "level-1-v2-1")["waiting"] == []
    assert founded.run("cut-off", "level-1")["waiting"] == []
    words = ["agency", "--code", "G12", "--kind", "sở"]
    assert founded.run(*words, code=ExitCode.LOCAL)["code"] == "authority_not_entered"
    note_code("authority_not_entered")
    answer = founded.run("recover", str(founded.path / "authority" / "directory.truc"))
    assert (answer["checkpoint"]["number"], answer["checkpoint"]["count"]) == (4, 3)
    assert founded.run(*words)["checkpoint"]["number"] == 6
    wrong = founded.run("revoke-key", "level-1", "x", code=ExitCode.LOCAL)
    assert wrong["code"] == "authority_key_unknown"


def test_the_root_hurries_a_pending_change(founded: Office) -> None:
    assert founded.run("agency", "--code", "G12", "--host", "00.02.W00")["waiting"] != []
    assert founded.run("urgent", "G12")["waiting"] == []
    assert founded.run("urgent", "G12", code=ExitCode.LOCAL)["code"] == "authority_nothing_pending"


def test_a_heartbeat_is_written_beside_the_directory(founded: Office) -> None:
    made = founded.run("heartbeat-key")
    assert made["key"] == "heartbeat-level-1"
    answer = founded.run("heartbeat")
    assert len(read_file(Path(answer["file"]).read_bytes())) == 1
    assert "Heartbeat of level-1" in founded.run("heartbeat", as_json=False)
    founded.run("heartbeat-key", "--dismiss", "heartbeat-level-1")
    assert founded.run("heartbeat", code=ExitCode.LOCAL)["code"] == "authority_keys_missing"


def test_a_lost_folder_is_recovered(founded: Office) -> None:
    directory = str(founded.path / "authority" / "directory.truc")
    answer = founded.run("recover", directory)
    assert answer["generation"] == 2
    assert len(answer["signed"]) == 4
    text = founded.run("recover", directory, as_json=False)
    assert "Opened generation 3 of level-1." in text
    assert "Signed 3 records anew in generation 3 of level-1." in text


def test_a_plan_is_carried_out_in_one_act(founded: Office) -> None:
    plan = founded.path / "plan.csv"
    rows = "".join(f"G12.{n},Cục {n},00.01.W00\n" for n in range(1, 61))
    plan.write_text("code,name,host\n" + rows, "utf-8")
    text = founded.run("reorganise", str(plan), as_json=False)
    assert "Signed 60 records at once." in text
    plan.write_bytes(b"code\n\xff\n")
    wrong = founded.run("reorganise", str(plan), code=ExitCode.LOCAL)
    assert (wrong["code"], wrong["field"]) == ("authority_plan", "line 2")


def test_mistakes_in_a_plan_are_listed_and_valid_lines_are_signed_on_demand(founded: Office) -> None:
    plan, rest = founded.path / "plan.csv", founded.path / "rest.csv"
    plan.write_text("code,name,host\nG12.1,Cục,00.01.W00\nG12.2,Cục,00.09.W00\nG12.2.1,Chi cục,00.01.W00\n", "utf-8")
    for words in (["reorganise", str(plan)], ["reorganise", str(plan), "--check"]):
        answer = founded.run(*words, code=ExitCode.REFUSED)
        assert (answer["code"], answer["changes"], answer["same"]) == ("authority_plan", 1, 0)
        assert [(row["line"], row["about"], row["code"]) for row in answer["faults"]] == [
            (3, "G12.2", "centre_unknown"), (4, "G12.2.1", "lint_parent"),
        ]  # fmt: skip
        assert all(row["vi"] != row["en"] and row["next"]["vi"] for row in answer["faults"])
    text = founded.run("reorganise", str(plan), lang="vi", as_json=False, code=ExitCode.REFUSED)
    assert "Dòng 3 G12.2: centre_unknown: Không có trung tâm nào mang mã 00.09.W00." in text
    assert "1 thay đổi sẽ được ký; 0 dòng không đổi gì; 2 dòng sai." in text
    answer = founded.run("reorganise", str(plan), "--keep-valid", "--rest", str(rest), code=ExitCode.REFUSED)
    assert [row["about"] for row in answer["signed"]] == ["truc/agency/1 G12.1"]
    assert rest.read_text("utf-8") == "code,name,host\nG12.2,Cục,00.09.W00\nG12.2.1,Chi cục,00.01.W00\n"
    plan.write_text("code,name,host\nG12.1,Cục,00.01.W00\n", "utf-8")
    answer = founded.run("reorganise", str(plan))
    assert (answer["same"], answer["signed"]) == (1, [])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["revoke-key", "G12", "x", "--compromised-since", "yesterday"], "authority_time"),
        (["apply", "G12", "no-such-file"], "file_unreadable"),
        (["delegate", "G12", "--keys", "no-such-file"], "file_unreadable"),
    ],
)
def test_what_cannot_be_done_with_these_words_has_a_code(founded: Office, words: list[str], code: str) -> None:
    note_code(code)
    assert founded.run(*words, code=ExitCode.LOCAL)["code"] == code


def test_a_digest_is_read_as_people_copy_it(founded: Office) -> None:
    other = Office(founded.path)
    file = str(founded.path / "authority" / "directory.truc")
    for digits in ("xyz", "00"):
        assert other.run("apply", "G12", file, "--root-digest", digits, code=ExitCode.LOCAL)["code"] == (
            "authority_digest"
        )
    note_code("authority_digest")


def test_a_directory_file_is_linted_without_a_node(founded: Office) -> None:
    file = str(founded.path / "authority" / "directory.truc")
    ran = CliRunner().invoke(truc, ["--lang", "en", "--json", "directory", "lint", file], standalone_mode=False)
    assert (json.loads(ran.stdout)["clean"], ran.return_value) == (True, ExitCode.DONE)
    founded.run("agency", "--code", "G12", "--alias", "G99")
    ran = CliRunner().invoke(truc, ["--lang", "en", "directory", "lint", file], standalone_mode=False)
    assert ran.return_value == ExitCode.REFUSED
    assert "FAULT truc/agency/1 G12: directory_alias" in ran.stdout
