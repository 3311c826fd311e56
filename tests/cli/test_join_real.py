"""A fresh node joins a running one by an anchor, is registered, and gets a document: real processes, real libp2p."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.conftest import truc
from tests.cli.real_node import running
from tests.support.ports import free_port

FIRST, SECOND = "00.22.W00", "00.12.W00"
META = ("--type", "Công văn", "--secrecy", "none")


@dataclass(frozen=True, slots=True)
class Office:
    """A registrar's office: its folder, and what it signs."""

    folder: Path
    secret: Path

    def sign(self, *words: object) -> Any:
        """One act of the registrar."""
        return truc("authority", "--folder", self.folder, "--passphrase-file", self.secret, "--json", *words).json

    @property
    def directory(self) -> Path:
        """Everything signed so far."""
        return self.folder / "directory.truc"


def office(folder: Path) -> Office:
    """A new office with its passphrase."""
    secret = folder / "secret"
    secret.write_text("the authority's passphrase\n")
    secret.chmod(0o400)
    return Office(folder / "authority", secret)


def first_node(folder: Path, root: str, port: int) -> dict[str, str]:
    """What `truc init` made for the first centre."""
    words = ("--centre", FIRST, "--name", "Văn phòng Chính phủ", "--make-passphrase", "--tcp", "")
    listen = f"/ip4/127.0.0.1/tcp/{port}"
    made: dict[str, str] = truc(
        "--json", "init", "--folder", folder, *words, "--listen", listen, "--root-digest", root
    ).json
    return made


def test_a_fresh_node_joins_by_an_anchor_and_a_document_passes(tmp_path: Path) -> None:
    registrar, port = office(tmp_path), free_port()
    root = registrar.sign("init")["root_digest"]
    made = first_node(tmp_path / "first", root, port)
    registrar.sign("centre", tmp_path / "first" / "centre-request.truc")
    registrar.sign("agency", "--code", "G22", "--name", "Văn phòng Chính phủ", "--host", FIRST, "--kind", "cơ quan")
    first = made["config"]
    with running(Path(first), tmp_path / "notify1"):
        truc("--config", first, "directory", "import", registrar.directory)
        anchor = tmp_path / "mạng.truc"
        contact = f"{FIRST},{made['peer_id']},/ip4/127.0.0.1/tcp/{port}"
        told = truc("--config", first, "--json", "anchor", anchor, "--name", "Thử").json
        by_hand = truc("--json", "anchor", "--root-digest", root, "--contact", contact, "--name", "Thử").json
        assert told["anchor"] == by_hand["anchor"]

        second = tmp_path / "second" / "node.toml"
        plan = ("--folder", second.parent, "--centre", SECOND, "--name", "Bộ Tài chính", "--make-passphrase")
        listen = ("--tcp", "", "--listen", f"/ip4/127.0.0.1/tcp/{free_port()}")
        joined = truc("--json", "join", anchor, *plan, *listen).json
        assert joined["contacts"] == [{"centre": FIRST, "state": "down", "reason": "introduction_unproven"}]
        assert (joined["changed"], joined["registered"], joined["records"]) == (True, False, 0)
        assert joined["missing"] == ["key_backup", "registration"]

        registrar.sign("centre", joined["request"])
        registrar.sign("agency", "--code", "G12", "--name", "Bộ Tài chính", "--host", SECOND, "--kind", "cơ quan")
        truc("--config", first, "directory", "import", registrar.directory)
        key = tmp_path / "backup-secret"
        key.write_text("backup\n")
        key.chmod(0o400)
        truc("--config", second, "keys", "backup", tmp_path / "keys.backup", "--backup-passphrase-file", key)
        again = truc("--json", "join", told["anchor"], "--folder", second.parent).json
        assert (again["changed"], again["registered"], again["level"]) == (False, True, [FIRST])
        assert (again["joined"], again["missing"]) == (True, [])
        assert again["records"] >= 4

        with running(second, tmp_path / "notify2"):
            while_running = truc("--config", second, "--json", "join", anchor).json
            assert (while_running["running"], while_running["registered"]) == (True, True)
            (tmp_path / "a.txt").write_text("Kính gửi")
            sent = truc(
                "--config", first, "--json", "send", tmp_path / "a.txt", "--from", "G22", "--to", "G12",
                "--subject", "V/v thử nghiệm", *META,
            ).json  # fmt: skip
            assert sent["id"] in arrivals(second)


def arrivals(config: Path) -> list[str]:
    """Documents in the inbox of a node, as soon as there are any."""
    for _ in range(30):
        items = truc("--config", config, "--json", "inbox", "list", "--all", "--wait", "2").json["items"]
        if items:
            return [item["document"] for item in items]
    return []
