"""`truc directory show` and `history`: all that a node knows of one agency or centre."""

from __future__ import annotations

from typing import Any, Final

import click

from node.cli.desk import Desk
from node.cli.grammar import ExitCode, Verb
from node.cli.tables import moment, names_of, pairs, table

_DIGITS: Final = 16
"""Of a digest, for the eye; `--json` has all of them."""


@click.command(cls=Verb, name="show")
@click.argument("code")
@click.pass_obj
def show(desk: Desk, code: str) -> None:
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
            ("addresses", item.get("addresses")),
            ("epoch", item.get("epoch")),
            ("decision", item.get("decision")),
            *_registered(desk, item),
            *_certificate(desk, item),
        ],
    )
    pending = item.get("pending")
    if pending:
        due = moment(pending["due_at"]) or desk.word("day not begun")
        desk.say("pending change", fields=", ".join(_fields(desk, pending)), host=pending["host"] or "-", due=due)


def _registered(desk: Desk, item: dict[str, Any]) -> list[tuple[str, object]]:
    """By whom, when, and how fresh that log is; nothing from a node of an older release."""
    if "registrar" not in item:
        return []
    log, delegation = item.get("log"), item.get("delegation")
    tier = item.get("tier") or (log or {}).get("tier", "")
    rows: list[tuple[str, object]] = [
        ("registrar", _place(item)),
        ("created", moment(item["created_at"])),
        ("version", item["version"][:_DIGITS]),
        ("directory", desk.known(f"directory {tier}", tier)),
    ]
    if delegation:
        rows.append(("delegation", [f"{delegation['threshold']}/{len(delegation['keys'])}", *delegation["parts"]]))
    return rows


def _certificate(desk: Desk, item: dict[str, Any]) -> list[tuple[str, object]]:
    """What the national PKI says, and why; nothing from a node of an older release."""
    pki = item.get("pki")
    if not pki:
        return []
    problem = pki["problem"]
    told = desk.known(f"pki {pki['state']}", pki["state"])
    rows: list[tuple[str, object]] = [("pki", f"{told}: {problem[desk.language]}" if problem else told)]
    if pki["subject"]:
        rows.append(("certificate", [pki["subject"], pki["issuer"], moment(pki["valid_until"])]))
    return rows


def _place(item: dict[str, Any]) -> str:
    return f"{item['registrar']} {item['generation']}/{item['number']}" if item["registrar"] else ""


def _fields(desk: Desk, item: dict[str, Any]) -> list[str]:
    return [desk.known(f"field {name}", name) for name in item["changes"]]


@click.command(cls=Verb, name="history")
@click.argument("code")
@click.pass_obj
def history(desk: Desk, code: str) -> int:
    """Its words stand in the table of texts."""
    told = desk.client.get(f"/v1/directory/{code}/history")
    bad = any(item["problem"] for item in told["items"])
    if not desk.show(told):
        rows = [
            (
                desk.known(f"standing {item['standing']}", item["standing"]),
                moment(item["created_at"]),
                _place(item),
                names_of(item["names"], desk),
                item["host"],
                desk.known(f"agency {item['state']}", item["state"]),
                _fields(desk, item),
                item["problem"]["code"] if item["problem"] else desk.word("verified"),
            )
            for item in told["items"]
        ]
        table(desk, ("standing", "created", "registrar", "name", "host", "state", "changes", "signature"), rows)
    return ExitCode.REFUSED if bad else ExitCode.DONE
