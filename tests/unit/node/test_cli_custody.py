"""Stories that several machines take part in, as their operators type them; a node judges every file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from node.cli.grammar import ExitCode
from node.countersigning import thing
from protocol.directory import RecordState
from protocol.directory_file import read_file, write_file
from protocol.directory_import import Terms, import_things
from protocol.directory_view import DirectoryView, RecordCache
from protocol.signing import Verifier
from protocol.staged import Staged
from storage.folder import OsFolder
from storage.keystore import Cost, create_keystore
from tests.support.errors import record as note_code
from tests.support.tree import key_seed
from tests.unit.node.test_cli_authority import CENTRE_1, CENTRE_2, Office, Registrar, founded, office

__all__ = ["founded", "office"]  # fixtures


class Machine(Office):
    """A machine with a folder of its own."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        super().__init__(path)

    @property
    def directory(self) -> str:
        return directory_of(self)


def directory_of(office: Office) -> str:
    return str(office.path / "authority" / "directory.truc")


class Network:
    """A node that has seen everything since the beginning, and accepts what it accepts."""

    def __init__(self, anchor: str) -> None:
        self.anchor = bytes.fromhex(anchor)
        self.records, self.cache = Staged(), RecordCache()

    def take(self, office: Office, *more: bytes) -> DirectoryView:
        wires = [*read_file(Path(directory_of(office)).read_bytes()), *more]
        result = import_things(
            wires,
            self.records,
            anchor=self.anchor,
            verifier=Verifier(),
            now_ms=office.environment.now_ms(),
            cache=self.cache,
            terms=Terms(joining_ms=0),
        )
        self.records.stage(result.changes)
        self.rejected = {item.about: item.error.code for item in result.rejected}
        return DirectoryView(self.records, self.cache)

    def file(self, path: Path) -> str:
        """What it exports."""
        from protocol.directory_kinds import DirectoryThing

        path.write_bytes(write_file(row.wire for row in self.records.scan(DirectoryThing)))
        return str(path)


# --- keys that never meet -------------------------------------------------------------------


def test_a_root_of_three_custodians_is_founded_rotated_and_interrupted(tmp_path: Path) -> None:
    an, binh, chi, office = (Machine(tmp_path / name) for name in ("an", "binh", "chi", "office"))
    roots = [who.run("key-request", "root", "--holder", who.path.name)["request"] for who in (an, binh, chi)]
    level_1 = office.run("key-request", "level-1", "--holder", "Văn phòng")["request"]
    made = an.run("root", "found", *roots, level_1, "--root-threshold", "2", "--name", "Trục")
    anchor = made["root_digest"]
    assert [row["holder"] for row in made["keys"]] == ["an", "binh", "chi", "Văn phòng"]
    assert [row["code"] for row in made["waiting"]] == ["directory_threshold"]
    node = Network(anchor)
    assert node.take(an).root_versions() == ()

    assert binh.run("sign", an.directory, code=ExitCode.LOCAL)["code"] == "authority_no_anchor"
    wrong = binh.run("adopt", an.directory, "--root-digest", "ab" * 32, code=ExitCode.REFUSED)
    assert wrong["code"] == "directory_no_root"
    for who in (binh, office):
        who.run("adopt", an.directory, "--root-digest", anchor)
    assert binh.run("sign", an.directory)["waiting"] == []
    assert node.take(binh).root_digest() == bytes.fromhex(anchor)

    office.run("--seen", binh.directory, "centre", office.request(CENTRE_1))
    office.run("agency", "--code", "G12", "--name", "Bộ", "--host", "00.01.W00")
    assert node.take(office).agency("G12").host == "00.01.W00"

    dung = Machine(tmp_path / "dung")
    joining = dung.run("key-request", "root", binh.directory, "--root-digest", anchor, "--holder", "dung")["request"]
    binh.run("root", "rotate", joining, "--retire", an.run("show")["key_ids"]["root-1"])
    assert node.take(binh).root_versions()[0].value.version == 1, "interrupted: one signature of two"
    words = ["agency", "--code", "G12", "--kind", "bộ"]
    office.run("--seen", binh.directory, *words, code=ExitCode.LOCAL)  # a key holder's file, older than our own
    office.run("--seen", node.file(tmp_path / "newest.truc"), *words)
    assert node.take(office).agency("G12").kind == "bộ", "everything goes on meanwhile"
    an.run("sign", binh.directory)
    assert node.take(an).root_versions()[0].value.version == 1, "the old threshold alone"
    dung.run("sign", an.directory)
    root = node.take(dung).root_versions()[0].value
    assert (root.version, len(root.role("root").keys)) == (2, 3)
    an.run("--seen", dung.directory, "show")
    refused = an.run("root", "rotate", "--root-threshold", "1", code=ExitCode.LOCAL)
    assert refused["code"] == "authority_keys_missing", "who has left begins nothing"
    foreign = Machine(tmp_path / "foreign").run("key-request", "root", "--holder", "x")["request"]
    wrong = binh.run("--seen", dung.directory, "root", "rotate", foreign, code=ExitCode.LOCAL)
    assert wrong["code"] == "authority_request_tree"
    wrong = binh.run("root", "rotate", office.request(CENTRE_2), code=ExitCode.LOCAL)
    assert wrong["code"] == "authority_no_request"
    text = binh.run("key-request", "level-1", "--holder", "B", as_json=False, lang="vi")
    assert "B: khóa level-1 " in text


def test_the_heartbeat_comes_from_a_machine_without_the_registrars_keys(founded: Office, tmp_path: Path) -> None:
    anchor = founded.run("show")["root_digest"]
    clock = Machine(tmp_path / "clock")
    words = ["key-request", "heartbeat", directory_of(founded), "--root-digest", anchor, "--holder", "máy báo"]
    wrong = clock.run(*words, code=ExitCode.REFUSED)
    assert wrong["code"] == "format_field" or wrong["field"] == "registrar"
    request = clock.run(*words, "--for", "level-1")["request"]
    founded.run("heartbeat-key", "--keys", request)
    wrong = founded.run("heartbeat-key", "--keys", request, "--as", "root", code=ExitCode.LOCAL)
    assert wrong["code"] == "authority_request_purpose"
    said = clock.run("--seen", directory_of(founded), "heartbeat")
    node = Network(anchor)
    view = node.take(founded, *read_file(Path(said["file"]).read_bytes()))
    assert node.rejected == {}
    assert view.root_digest() == bytes.fromhex(anchor)
    assert clock.run("agency", "--code", "G12", "--kind", "x", code=ExitCode.LOCAL)["code"] == "authority_keys_missing"


def test_root_custodians_make_a_lost_key_recovery_urgent_in_turn(tmp_path: Path) -> None:
    an, binh, office = (Machine(tmp_path / name) for name in ("an", "binh", "office"))
    requests = [who.run("key-request", "root", "--holder", who.path.name)["request"] for who in (an, binh)]
    requests.append(office.run("key-request", "level-1", "--holder", "o")["request"])
    anchor = an.run("root", "found", *requests, "--root-threshold", "2")["root_digest"]
    binh.run("adopt", an.directory, "--root-digest", anchor)
    binh.run("sign", an.directory)
    office.run("adopt", binh.directory, "--root-digest", anchor)
    office.run("centre", office.request(CENTRE_1), office.request(CENTRE_2))
    office.run("agency", "--code", "G12", "--name", "Bộ", "--host", "00.01.W00")
    node = Network(anchor)
    node.take(office)
    assert office.run("agency", "--code", "G12", "--host", "00.02.W00")["waiting"] != []
    for who, other in ((an, office), (binh, an)):
        assert node.take(other).agency("G12").host == "00.01.W00"
        who.run("sign", other.directory)
        who.run("urgent", "G12")
    view = node.take(binh)
    assert view.agency("G12").host == "00.02.W00"
    assert view.pending_agency("G12") is None


# --- restored, stolen, stopped --------------------------------------------------------------


def test_a_folder_that_was_restored_recovers_with_a_nodes_newest_file(founded: Office, tmp_path: Path) -> None:
    node = Network(founded.run("show")["root_digest"])
    folder, backup = founded.path / "authority", tmp_path / "backup"
    shutil.copytree(folder, backup)
    founded.run("agency", "--code", "G12", "--kind", "bộ")
    node.take(founded)
    shutil.rmtree(folder)
    shutil.copytree(backup, folder)
    newest = node.file(tmp_path / "newest.truc")
    words = ["agency", "--code", "G12", "--decision", "1/QĐ"]
    assert founded.run("--seen", newest, *words, code=ExitCode.LOCAL)["code"] == "authority_behind"
    answer = founded.run("recover", newest)
    assert (answer["generation"], answer["waiting"]) == (2, [])
    assert founded.run("--seen", newest, *words, code=ExitCode.LOCAL)["code"] == "authority_seen_old"
    node.take(founded)
    founded.run("--seen", node.file(tmp_path / "newest.truc"), *words)
    record = node.take(founded).agency("G12")
    assert (record.kind, record.decision, record.generation) == ("bộ", "1/QĐ", 2)
    assert node.rejected == {}


def test_silent_takeover_by_a_stolen_registrar_key_is_seen_withdrawn_and_cut_off(founded: Office) -> None:
    anchor = founded.run("show")["root_digest"]
    node = Network(anchor)
    ministry = Registrar(founded.path / "ministry", founded, "G12")
    founded.run("delegate", "G12", "--keys", ministry.answer, "--urgent")
    ministry.run("--seen", directory_of(founded), "agency", "--code", "G12.1", "--name", "Cục", "--host", "00.01.W00")
    node.take(ministry)
    ministry.run("agency", "--code", "G12.1", "--host", "00.02.W00")
    view = node.take(ministry)
    assert view.agency("G12.1").host == "00.01.W00"
    assert view.pending_agency("G12.1") is not None
    newest = node.file(founded.path / "newest.truc")
    answer = founded.run("--seen", newest, "withdraw", "G12.1")
    assert [row["registrar"] for row in answer["signed"]] == ["level-1"]
    founded.run("cut-off", "G12", "--compromised-since", "2026-01-01T00:00+07:00")
    view = node.take(founded)
    assert (view.agency("G12.1").host, view.pending_agency("G12.1")) == ("00.01.W00", None)
    ministry.run("agency", "--code", "G12.1", "--host", "00.02.W00")
    view = node.take(ministry)
    assert node.rejected["truc/agency/1 G12.1"] in {"directory_key_compromised", "directory_signer_unknown"}
    assert founded.run("withdraw", "G12.1", code=ExitCode.LOCAL)["code"] == "authority_nothing_pending"
    assert founded.run("withdraw", "G99", code=ExitCode.REFUSED)["code"] == "agency_unknown"


def test_self_lock_is_signed_on_the_agencys_node_without_any_registrar(founded: Office) -> None:
    node = Network(founded.run("show")["root_digest"])
    node.take(founded)
    data = founded.path / "node"
    entropy = founded.environment.entropy
    keystore = create_keystore(OsFolder(data), "mật khẩu".encode(), entropy=entropy, cost=Cost(memory_kib=8, passes=1))
    keystore.put({"operational": key_seed(1, "00.01.W00 operational")}, entropy=entropy)
    out = founded.path / "lock.truc"
    keys = ["--node-keys", str(data), "--node-passphrase-file", str(founded.secret)]
    words = ["lock", "G12", "--directory", directory_of(founded), *keys, "--reason", "nghi lộ khóa"]
    result = founded.invoke(["--json", "--out", str(out), *words])
    assert json.loads(result.stdout)["code"] == "G12", result.output
    view = node.take(founded, *read_file(out.read_bytes()))
    assert view.state("G12") is RecordState.LOCKED
    founded.run("agency", "--code", "G12", "--decision", "đã xem")
    assert node.take(founded).state("G12") is RecordState.ACTIVE
    refused = founded.run("lock", "G12", code=ExitCode.LOCAL)
    assert refused["code"] == "authority_keys_missing", "the registrar is not the agency"
    founded.run("lock", "G12", "--directory", "x", code=ExitCode.USAGE)
    said = founded.invoke(["--lang", "vi", "--out", str(out), *words])
    assert "Đã ký tự khóa G12" in said.output


# --- files from anywhere --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "code"),
    [("arbitrary content", "format_malformed"), ("another list", "format_other"), ("order", "format_field")],
)
def test_arbitrary_content_is_named_and_changes_nothing(founded: Office, attack: str, code: str) -> None:
    from protocol.encoding import encode

    content = {
        "arbitrary content": b"\xc1\xc1",
        "another list": encode(["truc/evidence/1", []]),
        "order": encode(["truc/directory-file/1", [b"b", b"a"]]),
    }
    file = founded.path / "file.truc"
    file.write_bytes(content[attack])
    before = Path(directory_of(founded)).read_bytes()
    for words in (["sign", str(file)], ["recover", str(file)], ["--seen", str(file), "show"]):
        assert founded.run(*words, code=ExitCode.REFUSED)["code"] == code
    note_code(code)
    assert Path(directory_of(founded)).read_bytes() == before


def test_roll_back_and_mix_and_match_of_a_nodes_file_take_nothing_away(founded: Office) -> None:
    old = founded.path / "old.truc"
    shutil.copy(directory_of(founded), old)
    founded.run("agency", "--code", "G12", "--kind", "bộ")
    things = [thing(wire) for wire in read_file(Path(directory_of(founded)).read_bytes())]
    newest = max(things, key=lambda signed: (signed.format == "truc/agency/1", len(signed.statement)))
    other = next(signed for signed in things if signed.format == "truc/centre/1")
    mixed = type(newest)(format=newest.format, statement=newest.statement, signatures=other.signatures)
    old.write_bytes(write_file([*read_file(old.read_bytes()), mixed.to_wire()]))
    words = ["agency", "--code", "G12", "--decision", "1/QĐ"]
    assert founded.run("--seen", str(old), *words, code=ExitCode.LOCAL)["code"] == "authority_seen_old"
    answer = founded.run(*words)
    assert answer["waiting"] == []
    node = Network(answer["root_digest"])
    record = node.take(founded).agency("G12")
    assert (record.kind, record.decision) == ("bộ", "1/QĐ")


def test_component_prefix_confusion_and_wrong_delegation_are_not_signed(founded: Office) -> None:
    founded.run("agency", "--code", "H38", "--name", "Tỉnh", "--host", "00.01.W00")
    founded.run("agency", "--code", "H38.1", "--name", "Sở", "--host", "00.01.W00")
    below = Registrar(founded.path / "below", founded, "H38.1")
    founded.run("delegate", "H38.1", "--keys", below.answer, "--urgent")
    new = ["--name", "X", "--host", "00.01.W00"]
    seen = ["--seen", directory_of(founded)]
    assert below.run(*seen, "agency", "--code", "H38.1.2", *new)["waiting"] == []
    for code in ("H38.12", "H38.1", "H38.2", "H39.1"):
        words: list[Any] = ["agency", "--code", code, *new]
        assert below.run(*words, code=ExitCode.REFUSED)["code"] == "directory_not_entitled"


def test_alias_hijack_is_refused_by_every_node_and_told_at_once(founded: Office) -> None:
    founded.run("agency", "--code", "G13", "--name", "Bộ khác", "--host", "00.02.W00")
    answer = founded.run("agency", "--code", "G13", "--alias", "000.00.00.G12")
    assert [(row["about"], row["code"]) for row in answer["waiting"]] == [("truc/agency/1 G13", "directory_alias")]
    node = Network(answer["root_digest"])
    assert node.take(founded).agency("G13").aliases == ()
    assert node.rejected == {"truc/agency/1 G13": "directory_alias"}


# --- words ----------------------------------------------------------------------------------


def test_every_text_and_every_command_of_the_tool_is_there_in_both_languages() -> None:
    from string import Formatter

    import click

    from node.cli.authority import TEXTS, authority

    for key, (vi, en) in TEXTS.items():
        fields = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (vi, en)]
        assert vi and en and fields[0] == fields[1], key

    def commands(group: click.Group) -> list[click.Command]:
        return [
            command
            for item in group.commands.values()
            for command in (commands(item) if isinstance(item, click.Group) else [item])
        ]

    for command in commands(authority):
        assert " · " in (command.help or ""), command.name
        for option in command.params:
            if isinstance(option, click.Option) and option.help:
                assert " · " in option.help, (command.name, option.name)
