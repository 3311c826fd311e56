"""`truc init`, `truc run`, `truc keys`: the commands that work on this machine's files.

Obeys DECISIONS "Joining before gossip exists" and DESIGN §6 (the key backup is its own act). What is
done is `node/founding.py` and `node/main.py`; here words become parameters and outcomes text.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.desk import Desk
from node.cli.grammar import Verb, Verbs

if TYPE_CHECKING:
    from node.config import Config

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Verb, name="init")
@click.option("--folder", type=_FOLDER, default=Path())
@click.option("--centre", required=True)
@click.option("--name", required=True)
@click.option("--name-en", default="")
@click.option("--root-digest", default="")
@click.option("--listen", multiple=True, default=("/ip4/0.0.0.0/tcp/4601",), show_default=True)
@click.option("--announce", multiple=True)
@click.option("--tcp", default="127.0.0.1:4680", show_default=True)
@click.option("--passphrase-file", type=_FILE)
@click.option("--make-passphrase", is_flag=True)
@click.pass_obj
def init(
    desk: Desk,
    folder: Path,
    centre: str,
    name: str,
    name_en: str,
    root_digest: str,
    listen: tuple[str, ...],
    announce: tuple[str, ...],
    tcp: str,
    passphrase_file: Path | None,
    make_passphrase: bool,
) -> None:
    """Its words stand in the table of texts."""
    from node import founding
    from node.environment import RealEnvironment
    from storage.keystore import read_credential

    if passphrase_file is not None and make_passphrase:
        raise click.UsageError(desk.word("one passphrase"))
    environment = RealEnvironment()
    plan = founding.Plan(
        folder=folder,
        centre=centre,
        name_vi=name,
        name_en=name_en,
        root_digest=root_digest,
        listen=listen,
        announce=announce,
        tcp=tcp,
        credential=folder / founding.PASSPHRASE_NAME if make_passphrase else passphrase_file,
    )
    founding.check_plan(plan)
    if make_passphrase:
        founding.make_passphrase(folder, entropy=environment.entropy)
    passphrase = ask(desk, confirm=True) if plan.credential is None else read_credential(plan.credential)
    founded = founding.found_node(plan, passphrase, entropy=environment.entropy, now_ms=environment.now_ms())
    made = {"config": founded.config, "data": founded.data, "request": founded.request, "peer_id": founded.peer_id}
    if not desk.show({"centre": centre, **{key: str(value) for key, value in made.items()}}):
        desk.say("init made", centre=centre, **made)
        desk.say("init next", **made)


@click.command(cls=Verb, name="run")
@click.pass_obj
def run(desk: Desk) -> int:
    """Its words stand in the table of texts."""
    from node.main import Seams
    from node.main import run as run_node

    return run_node(desk.config_path(), Seams(ask=(lambda: ask(desk).decode()) if sys.stdin.isatty() else None))


@click.group(cls=Verbs, name="keys")
def keys() -> None:
    """Its words stand in the table of texts."""


@keys.command(name="backup")
@click.argument("file", type=_FILE)
@click.option("--passphrase-file", type=_FILE)
@click.option("--backup-passphrase-file", type=_FILE)
@click.pass_obj
def backup(desk: Desk, file: Path, passphrase_file: Path | None, backup_passphrase_file: Path | None) -> None:
    """Its words stand in the table of texts."""
    from node import founding
    from node.environment import RealEnvironment

    config, environment = _config(desk), RealEnvironment()
    passphrase = _keystore_passphrase(desk, config, passphrase_file)
    theirs = _passphrase(desk, backup_passphrase_file, "passphrase backup", confirm=True)
    count = founding.back_up_keys(
        config, passphrase, file, theirs, entropy=environment.entropy, now_ms=environment.now_ms()
    )
    if not desk.show({"file": str(file), "keys": count}):
        desk.say("keys backed up", path=file, count=count)


@keys.command(name="restore")
@click.argument("file", type=_FILE)
@click.option("--passphrase-file", type=_FILE)
@click.option("--backup-passphrase-file", type=_FILE)
@click.pass_obj
def restore(desk: Desk, file: Path, passphrase_file: Path | None, backup_passphrase_file: Path | None) -> None:
    """Its words stand in the table of texts."""
    from node import founding
    from node.environment import RealEnvironment

    config, environment = _config(desk), RealEnvironment()
    theirs = _passphrase(desk, backup_passphrase_file, "passphrase backup")
    passphrase = _keystore_passphrase(desk, config, passphrase_file, confirm=True)
    names = founding.restore_keys(
        config, file, theirs, passphrase, entropy=environment.entropy, now_ms=environment.now_ms()
    )
    if not desk.show({"data": str(config.data_dir), "keys": list(names)}):
        desk.say("keys restored", path=config.data_dir, count=len(names))


@keys.command(name="request")
@click.argument("file", type=_FILE)
@click.option("--name", required=True)
@click.option("--name-en", default="")
@click.option("--passphrase-file", type=_FILE)
@click.pass_obj
def request(desk: Desk, file: Path, name: str, name_en: str, passphrase_file: Path | None) -> None:
    """Its words stand in the table of texts."""
    from node import founding
    from node.centre_request import request_file
    from node.environment import RealEnvironment
    from node.logs import LineSink, make_log
    from protocol.directory import Names

    config, environment = _config(desk), RealEnvironment()
    keyring = founding.open_keyring(config, _keystore_passphrase(desk, config, passphrase_file))
    log = make_log(LineSink(sys.stderr), environment)
    content = request_file(config, keyring, Names(vi=name, en=name_en), environment.now_ms(), log)
    founding.write_new(file, content, mode=0o644)
    key_id, outside = keyring.centre.public.key_id.hex(), any(not one.agency for one in keyring.places)
    if not desk.show({"request": str(file), "key_id": key_id, "outside": outside}):
        desk.say("keys requested", path=file, key_id=key_id)


# --- pieces ---------------------------------------------------------------------------------


def ask(desk: Desk, key: str = "passphrase", *, confirm: bool = False) -> bytes:
    """A passphrase from the terminal, twice where a slip could not be corrected later."""
    again: bool | str = desk.word("passphrase again") if confirm else False
    answer: str = click.prompt(desk.word(key), hide_input=True, confirmation_prompt=again, err=True)
    return answer.encode()


def _passphrase(desk: Desk, file: Path | None, key: str, *, confirm: bool = False) -> bytes:
    from storage.keystore import read_credential

    return ask(desk, key, confirm=confirm) if file is None else read_credential(file)


def _keystore_passphrase(desk: Desk, config: Config, file: Path | None, *, confirm: bool = False) -> bytes:
    import os

    from node.founding import find_passphrase

    named = file if file is not None else config.keystore.credential_file
    return find_passphrase(named, os.environ, lambda: ask(desk, confirm=confirm).decode())


def _config(desk: Desk) -> Config:
    from node.config import load_config

    return load_config(desk.config_path())
