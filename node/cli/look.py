"""`truc node`, `peers`, `directory`: who we are, whom we reach, whom the directory knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from node.cli.desk import Desk
from node.cli.files import reading
from node.cli.grammar import Verb, Verbs
from node.cli.lint import lint
from node.cli.tables import names_of, pairs, plain, table


@click.command(cls=Verb, name="node")
@click.pass_obj
def node(desk: Desk) -> None:
    """Its words stand in the table of texts."""
    found = desk.client.get("/v1/node")
    if desk.show(found):
        return
    clock, store = found["clock"], found["store"]
    pairs(
        desk,
        [
            ("centre", found["centre"]),
            ("peer id", found["peer_id"]),
            ("version", found["version"]),
            ("root", found["root_digest"] or desk.word("no")),
            ("agencies", found["agencies"]),
            ("addresses", found["addresses"]),
            ("clock", desk.word(f"doctor says clock {min(clock['quality'], 2) if clock['trusted'] else 0}")),
            ("commit", store["commit"]),
            ("read-only", store["read_only"]),
            ("queued", [f"{desk.known(f'lane {lane}', lane)} {count}" for lane, count in found["queued"].items()]),
            ("peers", f"{found['peers_up']}/{found['peers_known']}"),
            *_of_directory(desk, found.get("directory")),
            ("uptime", f"{found['uptime_seconds']} s"),
            ("rights", found["caller"]["rights"]),
        ],
    )
    for alarm in found.get("directory", {}).get("alarms", ()):
        desk.say("directory alarm", about=plain(alarm["about"]), text=plain(alarm[desk.language]))


def _of_directory(desk: Desk, state: dict[str, Any] | None) -> list[tuple[str, object]]:
    """How fresh it is, and how many peers know nothing more; nothing from a node of an older release."""
    if state is None:
        return []
    tier = desk.known(f"directory {state['tier']}", state["tier"])
    return [
        ("directory", tier if state["ready"] else desk.word("directory being read")),
        ("level peers", f"{state['peers_level']}/{state['peers_heard']}"),
    ]


@click.command(cls=Verb, name="peers")
@click.pass_obj
def peers(desk: Desk) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/peers")
    if desk.show(page):
        return
    rows = [
        (item["centre"], desk.known(f"peer {item['state']}", item["state"]), item["reason"]) for item in page["items"]
    ]
    table(desk, ("centre", "state", "reason"), rows)


@click.group(cls=Verbs, name="directory")
def directory() -> None:
    """Its words stand in the table of texts."""


directory.add_command(lint)


@directory.command(name="list")
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.pass_obj
def directory_list(desk: Desk, after: str, limit: int) -> None:
    """Its words stand in the table of texts."""
    _list(desk, after=after, limit=limit)


@directory.command(name="search")
@click.argument("words", nargs=-1, required=True)
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.pass_obj
def directory_search(desk: Desk, words: tuple[str, ...], after: str, limit: int) -> None:
    """Its words stand in the table of texts."""
    _list(desk, q=" ".join(words), after=after, limit=limit)


def _list(desk: Desk, **query: object) -> None:
    page = desk.client.get("/v1/directory", **query)
    if desk.show(page):
        return
    rows = [
        (
            item["code"],
            names_of(item["names"], desk),
            desk.known(f"agency {item['state']}", item["state"]),
            item["host"],
        )
        for item in page["items"]
    ]
    table(desk, ("code", "name", "state", "host"), rows)
    if page.get("more"):
        desk.note("more", cursor=page["next"])


@directory.command(name="show")
@click.argument("code")
@click.pass_obj
def directory_show(desk: Desk, code: str) -> None:
    """Its words stand in the table of texts."""
    item = desk.client.get(f"/v1/directory/{code}")
    if desk.show(item):
        return
    pairs(
        desk,
        [
            ("code", item["code"]),
            ("name", names_of(item["names"], desk)),
            ("aliases", item.get("aliases")),
            ("parent", item.get("parent")),
            ("kind", item.get("kind")),
            ("state", desk.known(f"agency {item['state']}", item["state"])),
            ("successors", item.get("successors")),
            ("host", item.get("host")),
            ("peer id", item.get("peer_id")),
            ("epoch", item.get("epoch")),
            ("decision", item.get("decision")),
        ],
    )


@directory.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def directory_import(desk: Desk, file: Path) -> None:
    """Its words stand in the table of texts."""
    with reading(file):
        content = file.read_bytes()
    headers = {"Content-Type": "application/octet-stream"}
    found = desk.client.request("POST", "/v1/directory/import", body=content, headers=headers).json
    if desk.show(found):
        return
    desk.say("imported", accepted=len(found["accepted"]), known=found["already"])
    for item in found["rejected"]:
        problem = item["problem"]
        desk.say("not imported", about=item["about"], code=problem["code"], text=problem[desk.language])
