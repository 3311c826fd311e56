"""`truc anchor`: this network's anchor as a line and a file, for those who are to join.

Obeys `protocol/spec/joining.md` §1. From the running node and its configuration, or from words alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.desk import Desk, Refused
from node.cli.grammar import Verb
from protocol.errors import ConfigurationError, NetworkError, RequestError

if TYPE_CHECKING:
    from node.config import Config
    from protocol.anchor import Contact

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=Verb, name="anchor")
@click.argument("file", type=_FILE, required=False)
@click.option("--root-digest", default="")
@click.option("--contact", "contacts", multiple=True)
@click.option("--name", default="")
@click.pass_obj
def anchor(desk: Desk, file: Path | None, root_digest: str, contacts: tuple[str, ...], name: str) -> None:
    """Its words stand in the table of texts."""
    from node.founding import write_new
    from protocol.anchor import Anchor, anchor_text, write_anchor

    named = tuple(_contact(desk, text) for text in contacts)
    config = None if root_digest and named else _own_config(desk)
    digest = _digest(desk, root_digest) if root_digest else _root_of(config)
    made = Anchor(root_digest=digest, contacts=named or _own_contacts(desk, config), name=name)
    content, line = write_anchor(made), anchor_text(made)
    if file is not None:
        write_new(file, content, mode=0o644)
    if not desk.show({"root_digest": digest.hex(), "anchor": line, "file": None if file is None else str(file)}):
        click.echo(line)
        if file is not None:
            desk.note("anchor written", path=file)
        desk.note("anchor made", root=digest.hex())


def _contact(desk: Desk, text: str) -> Contact:
    from protocol.anchor import Contact

    words = text.split(",")
    if len(words) < 3:
        raise click.UsageError(desk.word("anchor contact form"))
    return Contact(centre=words[0], peer_id=words[1], addresses=tuple(words[2:]))


def _digest(desk: Desk, text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise click.UsageError(desk.word("anchor digest form"))
    return digest


def _own_config(desk: Desk) -> Config:
    from node.config import load_config

    return load_config(desk.config_path())


def _root_of(config: Config | None) -> bytes:
    if config is None or config.node.root_digest is None:
        raise ConfigurationError("anchor_unready", reason="root_digest")
    return config.node.root_digest


def _own_contacts(desk: Desk, config: Config | None) -> tuple[Contact, ...]:
    """The running node itself, if others can dial it, and the contacts of its configuration."""
    from protocol.anchor import Contact
    from protocol.limits import ANCHOR_ADDRESSES_MAX, ANCHOR_CONTACTS_MAX

    assert config is not None
    try:
        own = desk.client.get("/v1/node")
    except (NetworkError, Refused, RequestError) as error:
        raise ConfigurationError("anchor_unready", reason=str(getattr(error, "code", "node"))) from error
    found = [(own["centre"], own["peer_id"], own["addresses"])] if own["peer_id"] and own["addresses"] else []
    found += [(peer.centre, peer.peer_id, peer.addresses) for peer in config.peers]
    if not found:
        raise ConfigurationError("anchor_unready", reason="peer_id, addresses")
    return tuple(
        Contact(centre=centre, peer_id=peer_id, addresses=tuple(addresses)[:ANCHOR_ADDRESSES_MAX])
        for centre, peer_id, addresses in found[:ANCHOR_CONTACTS_MAX]
    )
