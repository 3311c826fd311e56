"""`truc init` and `truc keys` as people and scripts use them."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from protocol.directory import CENTRE_REQUEST
from protocol.directory_file import read_file
from protocol.signing import Signed
from tests.cli.conftest import ROOT, truc

INIT = ("init", "--centre", "00.22.W00", "--name", "Văn phòng Chính phủ", "--folder")

GOLDEN_VI = """\
Đã tạo nút của trung tâm 00.22.W00.
  cấu hình   {home}/node.toml
  dữ liệu    {home}/data
  yêu cầu    {home}/centre-request.truc
  peer id    {peer}
Các bước tiếp theo:
  1. Sao lưu khóa ngay:        truc --config {home}/node.toml keys backup TỆP
  2. Gửi {home}/centre-request.truc cho cơ quan đăng ký; nhận lại tệp danh bạ và root_digest.
  3. Ghi root_digest vào {home}/node.toml, rồi chạy nút:  truc --config {home}/node.toml run
  4. Nạp danh bạ:              truc --config {home}/node.toml directory import TỆP
  5. Kiểm tra:                 truc --config {home}/node.toml doctor
"""

GOLDEN_EN = """\
Made the node of centre 00.22.W00.
  configuration  {home}/node.toml
  data           {home}/data
  request        {home}/centre-request.truc
  peer id        {peer}
What to do next:
  1. Back the keys up now:     truc --config {home}/node.toml keys backup FILE
  2. Send {home}/centre-request.truc to the registrar; it returns a directory file and root_digest.
  3. Put root_digest into {home}/node.toml, then run the node:  truc --config {home}/node.toml run
  4. Load the directory:       truc --config {home}/node.toml directory import FILE
  5. Check:                    truc --config {home}/node.toml doctor
"""


def secret(folder: Path, name: str, words: str) -> Path:
    path = folder / name
    path.write_text(words + "\n")
    path.chmod(0o400)
    return path


def peer_in(text: str) -> str:
    return next(line.split()[-1] for line in text.splitlines() if "peer id" in line)


def test_init_tells_what_it_made_and_what_to_do_next(tmp_path: Path) -> None:
    vi = truc("--lang", "vi", *INIT, tmp_path / "vi", "--make-passphrase").out
    assert vi == GOLDEN_VI.format(home=tmp_path / "vi", peer=peer_in(vi))
    en = truc("--lang", "en", *INIT, tmp_path / "en", "--make-passphrase").out
    assert en == GOLDEN_EN.format(home=tmp_path / "en", peer=peer_in(en))


def test_init_in_json_names_the_files(tmp_path: Path) -> None:
    made = truc("--json", *INIT, tmp_path, "--passphrase-file", secret(tmp_path, "p", "words")).json
    assert all(Path(made[name]).exists() for name in ("config", "data", "request"))
    assert made["peer_id"].startswith("12D3KooW")
    assert f'credential_file = "{tmp_path / "p"}"' in Path(made["config"]).read_text()


def test_init_a_second_time_changes_nothing(tmp_path: Path) -> None:
    truc(*INIT, tmp_path, "--make-passphrase")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert "file_exists" in truc(*INIT, tmp_path, "--make-passphrase", expect=4).err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_init_leaves_nothing_behind_when_its_words_are_wrong(tmp_path: Path) -> None:
    words = ("init", "--folder", tmp_path / "x", "--name", "x", "--make-passphrase")
    assert "centre_code_malformed" in truc(*words, "--centre", "G22", expect=1).err
    ran = truc("--lang", "en", *words, "--centre", "00.22.W00", "--listen", "x", "--tcp", "0.0.0.0:1", expect=4)
    assert "node.listen[0]" in ran.err
    assert "api.tcp" in ran.err
    assert not (tmp_path / "x").exists()
    truc(*words, "--centre", "00.22.W00", "--passphrase-file", tmp_path / "p", expect=2)


def test_a_person_at_a_terminal_is_asked_twice(tmp_path: Path) -> None:
    told = at_terminal([*INIT, str(tmp_path)], [("Passphrase of the keystore", "words"), ("Once more", "words")])
    assert "Made the node" in told
    assert 'credential_file = ""' in (tmp_path / "node.toml").read_text()


def at_terminal(words: list[str], dialogue: list[tuple[str, str]]) -> str:
    """Run the command with a terminal of its own and answer each prompt when it is there."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "node.cli.main", "--lang", "en", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    try:
        told = ""
        for prompt, answer in dialogue:
            told = heard(ours, until=prompt)
            os.write(ours, f"{answer}\n".encode())
        told = heard(ours)
        assert process.wait(30) == 0, told
        return told
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def heard(terminal: int, *, until: str = "") -> str:
    """What comes from a terminal up to these words, or to its end."""
    told = b""
    while not until or until not in told.decode(errors="replace"):
        assert select.select([terminal], [], [], 30)[0], told
        try:
            told += os.read(terminal, 4096)
        except OSError:  # EIO: the other side has closed its terminal
            break
    return told.decode()


def test_keys_are_backed_up_and_restored_elsewhere(tmp_path: Path) -> None:
    home, theirs = tmp_path / "a", secret(tmp_path, "b", "backup words")
    peer = truc("--json", *INIT, home, "--make-passphrase").json["peer_id"]
    config = home / "node.toml"
    told = truc(
        "--config", config, "--lang", "en", "keys", "backup", tmp_path / "k", "--backup-passphrase-file", theirs
    )
    assert told.out.startswith(f"Backed up 4 keys into {tmp_path / 'k'}.")
    again = ("keys", "backup", tmp_path / "k", "--backup-passphrase-file", theirs)
    assert "file_exists" in truc("--config", config, *again, expect=4).err
    (home / "data").rename(home / "lost")
    made = truc(
        "--config", config, "--json", "keys", "restore", tmp_path / "k", "--backup-passphrase-file", theirs
    ).json
    assert made["keys"] == [
        "centre/operational/ed25519",
        "centre/sealing/x25519",
        "node/identity/ed25519",
        "node/vault",
    ]
    assert identity_of(home, peer)


def identity_of(home: Path, peer: str) -> bool:
    from node.config import load_config
    from node.founding import open_keyring
    from node.peer_id import peer_id_of
    from storage.keystore import read_credential

    keyring = open_keyring(load_config(home / "node.toml"), read_credential(home / "passphrase"))
    return peer_id_of(keyring.identity_seed) == peer


def test_a_wrong_passphrase_is_an_outcome(tmp_path: Path) -> None:
    truc(*INIT, tmp_path / "a", "--make-passphrase")
    wrong = secret(tmp_path, "w", "wrong")
    words = ("keys", "backup", tmp_path / "k", "--passphrase-file", wrong, "--backup-passphrase-file", wrong)
    assert "keystore_passphrase" in truc("--config", tmp_path / "a" / "node.toml", *words, expect=4).err
    assert not (tmp_path / "k").exists()


# --- doctor without a node ------------------------------------------------------------------


def test_the_doctor_examines_a_node_that_does_not_run(tmp_path: Path) -> None:
    truc(*INIT, tmp_path, "--make-passphrase")
    told = truc("--config", tmp_path / "node.toml", "--json", "doctor", expect=1).json
    lights = {item["about"]: (item["light"], item["code"]) for item in told["findings"]}
    assert lights["configuration"] == ("green", "fine")
    assert lights["root"] == ("red", "no_root")
    assert lights["keys"] == ("red", "no_backup")
    assert lights["answers"] == ("red", "node_unreachable")


def test_the_doctor_sees_keys_that_changed_since_the_backup_or_are_gone(tmp_path: Path) -> None:
    truc(*INIT, tmp_path, "--make-passphrase")
    theirs = secret(tmp_path, "b", "backup words")
    config = ("--config", tmp_path / "node.toml")
    truc(*config, "keys", "backup", tmp_path / "k", "--backup-passphrase-file", theirs)
    assert key_light(tmp_path) == ("green", "backed_up")
    mark = tmp_path / "data" / "keys" / "backup-made.json"
    noted = json.loads(mark.read_text())
    mark.write_text(json.dumps({**noted, "keystores": []}))
    assert key_light(tmp_path) == ("red", "backup_old")
    mark.write_text("nonsense")
    assert key_light(tmp_path) == ("red", "no_backup")
    for copy in (tmp_path / "data" / "keys").glob("keystore.*"):
        copy.unlink()
    assert key_light(tmp_path) == ("red", "no_keys")


def key_light(home: Path) -> tuple[str, str]:
    told = truc("--config", home / "node.toml", "--json", "doctor", expect=1).json
    return next((item["light"], item["code"]) for item in told["findings"] if item["about"] == "keys")


def test_the_doctor_shows_every_mistake_of_a_configuration(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text("config_version = 1\n[node]\ncentre = 'x'\nlisten = 3\n")
    told = truc("--lang", "en", "--config", tmp_path / "node.toml", "doctor", expect=1).out
    assert "node.centre" in told
    assert "node.listen" in told


def test_a_further_request_is_made_with_the_present_keys(tmp_path: Path) -> None:
    truc("init", "--folder", tmp_path, "--centre", "00.22.W00", "--name", "Trung tâm", "--make-passphrase")
    words = ("--config", tmp_path / "node.toml", "--lang", "en", "keys", "request", tmp_path / "again.truc")
    told = truc(*words, "--name", "Tên mới")
    assert "truc authority centre" in told.out
    one, again = (
        CENTRE_REQUEST.decode(Signed.from_wire(wire, bytes_max=len(wire)).statement)
        for name in ("centre-request.truc", "again.truc")
        for wire in read_file((tmp_path / name).read_bytes())
    )
    assert [key.key_id for key in one.keys] == [key.key_id for key in again.keys]
    assert (one.peer_id, [key.raw for key in one.sealing]) == (again.peer_id, [key.raw for key in again.sealing])
    assert (again.code, again.names.vi) == ("00.22.W00", "Tên mới")
    assert "file_exists" in truc(*words, "--name", "Tên mới", expect=4).err
