"""`truc node`, `peers`: who we are, whom we reach."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

import click

from node.cli.desk import Desk
from node.cli.grammar import Verb
from node.cli.tables import moment, pairs, plain, table


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
            ("signers", [outside_key(desk, one) for one in found.get("signers", ())]),
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


def outside_key(desk: Desk, one: dict[str, Any]) -> str:
    """Whose key it is and which, and whether the process that holds it answers."""
    said = desk.word("signer answers") if one["problem"] is None else one["problem"][desk.language]
    others = [key_id[:16] for key_id in one["serves"] if key_id != one["key_id"]]
    told = f"{one['agency'] or desk.word('signer of the centre')} {one['algorithm']} {one['key_id'][:16]}: {said}"
    return f"{told} ({desk.word('signer serves also')} {', '.join(others)})" if others else told


def _state(desk: Desk, peer: dict[str, Any]) -> str:
    return desk.known(f"peer {peer['state']}", peer["state"])


def reason_of(desk: Desk, peer: dict[str, Any]) -> str:
    """Why a peer is not connected; rare reasons as they stand in the log."""
    return desk.known(f"reason {peer['reason']}", peer["reason"])


@click.command(cls=Verb, name="peers")
@click.pass_obj
def peers(desk: Desk) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/peers")
    if not desk.show(page):
        tell_peers(desk, page)


def tell_peers(desk: Desk, page: dict[str, Any]) -> None:
    """Whom we reach, why a directory does not come, and who was turned away."""
    said = (_state, reason_of, _compared)
    rows = [(item["centre"], *(say(desk, item) for say in said)) for item in page["items"]]
    table(desk, ("centre", "state", "reason", "directory"), rows)
    for item in page["items"]:
        _tell_failure(desk, item["centre"], item.get("directory"))
    _tell_refused(desk, page.get("refused", ()))


def _compared(desk: Desk, item: dict[str, Any]) -> str:
    """Whether it has something for us; empty where it was not heard, or the node is of an older release."""
    state = item.get("directory") or {}
    if state.get("level"):
        return desk.word("peer level")
    return desk.word("peer not compared", count=state["failures"]) if state.get("failures") else ""


def _tell_failure(desk: Desk, centre: str, state: dict[str, Any] | None) -> None:
    """Why its directory did not come, as long as it does not."""
    if state and state["failures"]:
        told, at = plain(state[desk.language]), moment(state["failed_at"])
        desk.say("peer directory failed", centre=plain(centre), at=at, code=plain(state["code"]), text=told)


def _tell_refused(desk: Desk, refused: Sequence[dict[str, Any]]) -> None:
    """Who was turned away: one line for each and each reason, the newest first."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in reversed(refused):
        found.setdefault((one["peer_id"] or one["address"].partition("/tcp/")[0], one["reason"]), []).append(one)
    if not found:
        return
    desk.say("peers refused")
    rows = [
        (_time(items[0]["time_ms"]), who, items[0]["address"], len(items), desk.known(f"refused {reason}", reason))
        for (who, reason), items in found.items()
    ]
    table(desk, ("time", "who", "addresses", "count", "reason"), rows)


def _time(time_ms: int) -> str:
    return moment(dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat())
