"""node/joining.py: what an anchor changes in a configuration, and what it leaves alone."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from node.config import load_config
from node.joining import ContactState, Visited, has_key_backup, settle_config
from protocol.anchor import Contact
from protocol.errors import ConfigurationError
from tests.support.errors import expects
from tests.support.joining_vectors import DIGEST, LARGE, ONE, PEERS, SMALL, TWO

BARE = 'config_version = 1\n[node]\ncentre = "00.22.W00"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def test_a_bare_configuration_gets_root_and_contacts(tmp_path: Path) -> None:
    path = written(tmp_path, BARE)
    assert settle_config(path, LARGE)
    config = load_config(path)
    assert config.node.root_digest == DIGEST
    found = [Contact(centre=one.centre, peer_id=one.peer_id, addresses=one.addresses) for one in config.peers]
    assert found == [ONE, TWO]


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, BARE)
    settle_config(path, LARGE)
    before = (path.read_bytes(), path.stat().st_ino)
    assert not settle_config(path, LARGE)
    assert (path.read_bytes(), path.stat().st_ino) == before


@pytest.mark.parametrize(
    "text",
    [
        BARE.replace("[node]", '[node]\nroot_digest = ""  # chưa có'),
        BARE.replace("[node]", "  [ node ] # nút\n  root_digest = ''"),
        BARE + '\n[api]\ntcp = "127.0.0.1:4681"\n# root_digest = "" in a comment\n',
        '# [node]\nconfig_version = 1\n[log]\nlevel = "error"\n[node]\ncentre = "00.22.W00"',
    ],
)
def test_what_the_operator_wrote_stays(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    path.chmod(0o640)
    before = load_config(path)
    assert settle_config(path, SMALL)
    after = load_config(path)
    assert after.node.root_digest == DIGEST
    assert after.model_dump(exclude={"node", "peers"}) == before.model_dump(exclude={"node", "peers"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert "chưa có" not in text or "chưa có" in path.read_text()


def test_contacts_that_are_there_and_this_node_itself_are_not_entered(tmp_path: Path) -> None:
    path = written(tmp_path, BARE.replace("00.22", "00.12"))
    settle_config(path, LARGE)
    assert [peer.centre for peer in load_config(path).peers] == ["00.38.W00"]
    other = f'\n[[peers]]\ncentre = "00.12.W00"\npeer_id = "{PEERS[9]}"\naddresses = ["/ip4/10.0.0.1/tcp/1"]\n'
    mine = written(tmp_path, BARE + other)
    settle_config(mine, LARGE)
    found = {peer.centre: peer.peer_id for peer in load_config(mine).peers}
    assert found == {"00.12.W00": PEERS[9], "00.38.W00": PEERS[1]}


def test_a_node_of_another_network_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, BARE)
    settle_config(path, SMALL)
    before = path.read_bytes()
    with expects("join_other_root", ConfigurationError):
        settle_config(path, replace(SMALL, root_digest=bytes([7]) * 32))
    assert path.read_bytes() == before


def test_a_form_that_cannot_be_changed_safely_is_left_to_a_hand(tmp_path: Path) -> None:
    inline = f'peers = [{{centre = "00.77.W00", peer_id = "{PEERS[2]}", addresses = ["/ip4/10.0.0.1/tcp/1"]}}]\n'
    dotted = 'config_version = 1\nnode.centre = "00.22.W00"\n'
    for text in ('config_version = 1\nnode = {centre = "00.22.W00"}\n', inline + BARE, dotted):
        path = written(tmp_path, text)
        with expects("join_config_by_hand", ConfigurationError):
            settle_config(path, SMALL)
        assert path.read_text() == text


def test_a_folder_that_takes_no_file_is_an_outcome(tmp_path: Path) -> None:
    path = written(tmp_path, BARE)
    (tmp_path / "node.toml.new").mkdir()
    with expects("file_unwritable", ConfigurationError):
        settle_config(path, SMALL)


def test_only_a_note_about_exactly_these_keys_is_a_backup(tmp_path: Path) -> None:
    assert not has_key_backup(tmp_path)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "backup-made.json").write_text("[]")
    assert not has_key_backup(tmp_path)


def test_an_answer_counts_as_reached_and_silence_does_not() -> None:
    def of(state: str, reason: str) -> bool:
        return ContactState(centre="00.12.W00", state=state, reason=reason).is_reached

    assert of("up", "")
    assert of("down", "introduction_unproven")
    assert not of("down", "refused")
    assert not of("down", "stream_broken")
    assert not Visited(contacts=(), registered=False, root_version=0, records=0, level=()).contacts
