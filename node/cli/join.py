"""`truc join`: into a network by one file or line.

Obeys DECISIONS "Joining before gossip exists" and `protocol/spec/joining.md`. What is done is
`node/joining.py` and `node/founding.py`; here words become parameters, and outcomes say what is
still missing and the next step. May be repeated at any time.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.desk import Desk
from node.cli.files import reading
from node.cli.grammar import ExitCode, Verb
from node.cli.look import reason_of
from node.cli.setup import ask
from node.cli.tables import plain
from protocol.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from node.config import Config
    from node.joining import ContactState, Visited
    from protocol.anchor import Anchor

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
CONFIG_NAME = "node.toml"


@click.command(cls=Verb, name="join")
@click.argument("anchor")
@click.option("--folder", type=_FOLDER, default=Path())
@click.option("--centre", default="")
@click.option("--name", default="")
@click.option("--name-en", default="")
@click.option("--listen", multiple=True, default=("/ip4/0.0.0.0/tcp/4601",), show_default=True)
@click.option("--announce", multiple=True)
@click.option("--tcp", default="127.0.0.1:4680", show_default=True)
@click.option("--passphrase-file", type=_FILE)
@click.option("--make-passphrase", is_flag=True)
@click.option("--records", type=_FILE)
@click.option("--wait", type=click.IntRange(0, 3600), default=60, show_default=True)
@click.option("--verbose", is_flag=True)
@click.pass_obj
def join(
    desk: Desk,
    /,
    anchor: str,
    folder: Path,
    records: Path | None,
    wait: int,
    verbose: bool,
    passphrase_file: Path | None,
    **plan: Any,
) -> int:
    """Its words stand in the table of texts."""
    from node.config import load_config
    from node.joining import settle_config

    wanted = _anchor_of(anchor)
    path = desk.config if desk.config is not None else folder / CONFIG_NAME
    made = not path.exists()
    if made:
        _found(desk, path.parent, wanted, passphrase_file, plan)
    changed = settle_config(path, wanted) or made
    config = load_config(path)
    if plan["centre"] not in {"", config.node.centre}:
        raise ConfigurationError("join_other_centre", file=str(path), found=config.node.centre, wanted=plan["centre"])
    visited = _visit(desk, config, passphrase_file, records, wait, verbose) if wait else None
    return _tell(desk, path, wanted, config, visited, changed=changed, asked=bool(wait))


def _anchor_of(text: str) -> Anchor:
    """A line, or the name of a file."""
    from protocol.anchor import PREFIX, TEXT_CHARACTERS_MAX, read_anchor, read_anchor_text

    if text.lstrip().startswith(PREFIX):
        return read_anchor_text(text)
    with reading(Path(text)), Path(text).open("rb") as file:
        return read_anchor(file.read(TEXT_CHARACTERS_MAX + 1))


def _found(desk: Desk, folder: Path, anchor: Anchor, passphrase_file: Path | None, plan: dict[str, Any]) -> None:
    """As `truc init`, with the anchor's root."""
    from node import founding
    from node.environment import RealEnvironment
    from storage.keystore import read_credential

    if not plan["centre"] or not plan["name"]:
        raise click.UsageError(desk.word("join needs centre"))
    make_passphrase = plan["make_passphrase"]
    if passphrase_file is not None and make_passphrase:
        raise click.UsageError(desk.word("one passphrase"))
    environment = RealEnvironment()
    whole = founding.Plan(
        folder=folder,
        centre=plan["centre"],
        name_vi=plan["name"],
        name_en=plan["name_en"],
        root_digest=anchor.root_digest.hex(),
        listen=plan["listen"],
        announce=plan["announce"],
        tcp=plan["tcp"],
        credential=folder / founding.PASSPHRASE_NAME if make_passphrase else passphrase_file,
    )
    founding.check_plan(whole)
    if make_passphrase:
        founding.make_passphrase(folder, entropy=environment.entropy)
    passphrase = ask(desk, confirm=True) if whole.credential is None else read_credential(whole.credential)
    founding.found_node(whole, passphrase, entropy=environment.entropy, now_ms=environment.now_ms())


def _visit(
    desk: Desk, config: Config, passphrase_file: Path | None, records: Path | None, wait: int, verbose: bool
) -> Visited | None:
    """What the nodes of the anchor told; None if this node is running and tells it itself."""
    from node.environment import RealEnvironment
    from node.founding import find_passphrase
    from node.joining import Visiting, visit
    from node.logs import LineSink, make_log

    content = b""
    if records is not None:
        with reading(records):
            content = records.read_bytes()
    named = passphrase_file if passphrase_file is not None else config.keystore.credential_file
    passphrase = find_passphrase(named, os.environ, lambda: ask(desk).decode())
    log = make_log(LineSink(sys.stderr if verbose else io.StringIO()), RealEnvironment())
    desk.note("join asks", seconds=wait)
    try:
        return visit(Visiting(config=config, passphrase=passphrase, seconds=wait, log=log, records=content))
    except StoreError as error:
        if error.code != "store_locked":
            raise
    return None


# --- the outcome ------------------------------------------------------------------------------


def _tell(
    desk: Desk, path: Path, anchor: Anchor, config: Config, visited: Visited | None, *, changed: bool, asked: bool
) -> int:
    from node.founding import REQUEST_NAME
    from node.joining import has_key_backup

    running = asked and visited is None
    found = _of_running(config) if running else _of_visit(visited)
    request = path.parent / REQUEST_NAME
    missing = _missing(found, key_backup=has_key_backup(config.data_dir), restart=running and changed, asked=asked)
    answer = {
        "centre": config.node.centre,
        "config": str(path),
        "changed": changed,
        "root_digest": anchor.root_digest.hex(),
        "network": anchor.name,
        "request": str(request),
        "running": running,
        **found,
        "missing": missing,
    }
    if not desk.show(answer):
        _print(desk, answer)
    contacts = found["contacts"]
    return ExitCode.UNREACHABLE if asked and contacts and "contact" in missing else ExitCode.DONE


def _of_visit(visited: Visited | None) -> dict[str, Any]:
    from node.api.problems import problem

    if visited is None:
        return {
            "registered": False, "joined": False, "records": 0, "level": [], "rejected": [], **_of_contacts(())
        }  # fmt: skip
    return {
        "registered": visited.registered,
        "joined": visited.root_version > 0,
        "records": visited.records,
        "level": list(visited.level),
        "rejected": [{"about": item.about, "problem": problem(item.error)} for item in visited.rejected],
        **_of_contacts(visited.contacts),
    }


def _of_contacts(contacts: Iterable[ContactState]) -> dict[str, Any]:
    known = list(contacts)
    return {
        "reached": any(one.is_reached for one in known),
        "contacts": [{"centre": one.centre, "state": one.state, "reason": one.reason} for one in known],
    }


def _of_running(config: Config) -> dict[str, Any]:
    """The same, as the running node tells it."""
    from node.cli.client import Client
    from node.joining import ContactState

    client = Client.over_socket(config.unix_socket)
    try:
        own, peers = client.get("/v1/node"), client.get("/v1/peers")
    finally:
        client.close()
    named = {peer.centre for peer in config.peers}
    contacts = [
        ContactState(centre=item["centre"], state=item["state"], reason=item["reason"])
        for item in peers["items"]
        if item["centre"] in named
    ]
    state = own["directory"]
    return {
        "registered": bool(own["peer_id"]),
        "joined": own["joined"],
        "records": sum(log["number"] for log in state["logs"]),
        "level": [],
        "rejected": [],
        **_of_contacts(contacts),
        "reached": any(one.is_reached or one.state != "down" for one in contacts),  # it goes on trying
    }


def _missing(found: dict[str, Any], *, key_backup: bool, restart: bool, asked: bool) -> list[str]:
    """What has to be done still, in the order in which to do it."""
    needed = {
        "key_backup": not key_backup,
        "restart": restart,
        "contact": asked and not found["reached"],
        "registration": not found["registered"],
        "directory": asked and found["registered"] and not found["joined"],
    }
    return [name for name, is_needed in needed.items() if is_needed]


def _print(desk: Desk, answer: dict[str, Any]) -> None:
    desk.say("join made" if answer["changed"] else "join known", **answer)
    for item in answer["contacts"]:
        desk.say("join contact", centre=item["centre"], state=contact_state(desk, item))
    for item in answer["rejected"]:
        told = item["problem"]
        desk.note("not imported", about=plain(item["about"]), code=told["code"], text=told[desk.language])
    if answer["joined"]:
        desk.say("join directory", records=answer["records"])
    desk.say("join registered" if answer["registered"] else "join unregistered")
    desk.say("join next")
    for number, name in enumerate([*answer["missing"], "run" if not answer["running"] else "check"], 1):
        desk.say("join step", number=number, text=desk.word(f"join step {name}", **answer))


def contact_state(desk: Desk, contact: dict[str, Any]) -> str:
    """The one answer that everybody meets in words; other reasons as they stand in the log."""
    if contact["reason"] == "introduction_unproven":
        return desk.word("join not known there")
    state = desk.known(f"peer {contact['state']}", contact["state"])
    return f"{state}: {reason_of(desk, contact)}" if contact["reason"] else state
