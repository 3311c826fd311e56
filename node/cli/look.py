"""`truc node`, `peers`: who we are, whom we reach."""

from __future__ import annotations

from typing import Any

import click

from node.cli.desk import Desk
from node.cli.grammar import Verb
from node.cli.tables import pairs, plain, table


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
