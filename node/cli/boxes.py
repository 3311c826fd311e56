"""`truc outbox`, `inbox`, `show`, `answer`, `trace`: what was sent, what came, what became of it.

Obeys DESIGN §7. Everything shown comes from the API; a trace is this node's durable changes of
state with the receipts that it has verified.
"""

from __future__ import annotations

import hashlib
from typing import Any

import click

from node.cli.desk import Desk, tell
from node.cli.grammar import Verb, Verbs
from node.cli.tables import moment, pairs, plain, size_text, status_text, table


@click.group(cls=Verbs, name="outbox")
def outbox() -> None:
    """Its words stand in the table of texts."""


@outbox.command(name="list")
@click.option("--agency", default="")
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@click.pass_obj
def outbox_list(desk: Desk, /, **query: Any) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/documents", **query)
    if desk.show(page):
        return
    rows = [
        (
            item["id"],
            moment(item["created_at"]),
            item["issuer"],
            *_about(item),
            ", ".join(f"{one['recipient']} {_state(desk, one)}" for one in item["recipients"]),
        )
        for item in page["items"]
    ]
    table(desk, ("id", "time", "issuer", "number", "subject", "recipients"), rows)
    _more(desk, page)


@click.group(cls=Verbs, name="inbox")
def inbox() -> None:
    """Its words stand in the table of texts."""


@inbox.command(name="list")
@click.option("--agency", default="")
@click.option("--all", "everything", is_flag=True)
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 100), default=50, show_default=True)
@click.option("--wait", type=click.IntRange(0, 60), default=0)
@click.pass_obj
def inbox_list(desk: Desk, /, everything: bool, wait: int, **query: Any) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/inbox", state="all" if everything else "", wait=wait or "", **query)
    if desk.show(page):
        return
    rows = [
        (
            item["consignment"],
            moment(item["arrived_at"]),
            item["issuer"],
            item["recipient"],
            *_about(item),
            _state(desk, item),
        )
        for item in page["items"]
    ]
    table(desk, ("id", "time", "issuer", "recipient", "number", "subject", "state"), rows)
    _more(desk, page)


@click.command(cls=Verb, name="show")
@click.argument("id", metavar="ID")
@click.pass_obj
def show(desk: Desk, /, **words: str) -> None:
    """Its words stand in the table of texts."""
    told = words["id"]
    item = desk.client.get(f"/v1/inbox/{told}" if told.startswith("csg_") else f"/v1/documents/{told}")
    if desk.show(item):
        return
    pairs(desk, _heading(desk, item))
    if item.get("problem"):
        tell(desk, item["problem"])
    parts = item.get("parts") or []
    if parts:
        click.echo()
        rows = [(part["name"], size_text(part["size"]), part["media_type"], part["sha256"]) for part in parts]
        table(desk, ("file", "size", "media type", "sha256"), rows)
    for delivery in item.get("recipients", [item]):
        click.echo()
        click.echo(f"{plain(delivery['recipient'])}  {delivery['consignment']}  {_state(desk, delivery)}")
        for receipt in delivery.get("receipts", []):
            click.echo(f"  {_receipt(desk, receipt)}")


@click.command(cls=Verb, name="answer")
@click.argument("consignment")
@click.argument("status", type=click.IntRange(1, 99))
@click.option("--reason", default="")
@click.option("--staff-name", default="")
@click.option("--staff-position", default="")
@click.option("--key", default="")
@click.pass_obj
def answer(desk: Desk, /, consignment: str, status: int, key: str, **words: str) -> None:
    """Its words stand in the table of texts."""
    request = {"status": status, **{name: value for name, value in words.items() if value}}
    told = "\0".join((consignment, str(status), *words.values()))
    key = key or "cli-" + hashlib.sha256(told.encode()).hexdigest()[:40]
    made = desk.client.post(f"/v1/inbox/{consignment}/statuses", request, key=key)
    if not desk.show(made):
        desk.say("answered", status=status_text(desk, status), consignment=consignment)
        if made.get("flag"):
            desk.say(f"flag {made['flag']}")


@click.command(cls=Verb, name="trace")
@click.argument("id", metavar="ID")
@click.pass_obj
def trace(desk: Desk, /, **words: str) -> None:
    """Its words stand in the table of texts."""
    story = desk.client.get(f"/v1/trace/{words['id']}")
    if desk.show(story):
        return
    rows = [
        (moment(item["at"]), item["box"] and desk.word(f"box {item['box']}"), item["agency"], item["peer_agency"],
         _happened(desk, item), _verified(desk, item["verified"]))
        for item in story["items"]
    ]  # fmt: skip
    table(desk, ("time", "box", "agency", "other side", "what", "signature"), rows)


# --- pieces ---------------------------------------------------------------------------------


def _about(item: dict[str, Any]) -> tuple[str, str]:
    """Number with notation, and subject; empty when the content is not kept any more, and the code of
    its damage if there is one."""
    if item.get("problem"):
        return "", str(item["problem"]["code"])
    metadata = item.get("metadata") or {}
    number = "/".join(value for value in (metadata.get("number"), metadata.get("notation")) if value)
    return number, str(metadata.get("subject") or "")


def _heading(desk: Desk, item: dict[str, Any]) -> list[tuple[str, object]]:
    metadata = item.get("metadata") or {}
    number, subject = _about(item)
    return [
        ("id", item.get("id") or item.get("document")),
        ("issuer", item.get("issuer")),
        ("lane", desk.word(f"lane {item['lane']}") if item.get("lane") else ""),
        ("type", metadata.get("type")),
        ("number", number),
        ("issued on", metadata.get("issued_on")),
        ("subject", subject),
        ("due on", metadata.get("due_on")),
        ("created", moment(item.get("created_at"))),
        ("arrived", moment(item.get("arrived_at"))),
        ("expires", moment(item.get("expires_at"))),
    ]


def _state(desk: Desk, delivery: dict[str, Any]) -> str:
    """The state in words, with the newest status behind it."""
    told = desk.known(f"state {delivery['state']}", delivery["state"])
    codes = [receipt["code"] for receipt in delivery.get("receipts", []) if receipt["code"] not in (1, 100)]
    return f"{told} ({status_text(desk, codes[-1])})" if codes else told


def _receipt(desk: Desk, receipt: dict[str, Any]) -> str:
    """One line of a chain."""
    staff = " – ".join(value for value in (receipt.get("staff_name"), receipt.get("staff_position")) if value)
    flag = desk.word(f"flag {receipt['flag']}") if receipt.get("flag") else ""
    rest = [value for value in (receipt.get("reason"), staff, flag) if value]
    line = f"{moment(receipt['at'])}  {status_text(desk, receipt['code'])}"
    return plain("  ".join([line, *rest]))


def _happened(desk: Desk, item: dict[str, Any]) -> str:
    """What a moment of a trace was: a receipt by its status, anything else by its name."""
    if item["code"] is not None:
        what = status_text(desk, item["code"])
        flag = desk.word(f"flag {item['detail']}") if item["detail"] else ""
        rest = [value for value in (item["reason"], item["staff_name"], item["staff_position"], flag) if value]
    else:
        what = desk.known(f"state {item['what']}", item["what"])
        rest = [item["detail"]] if item["detail"] else []
    return ", ".join([what, *rest])


def _verified(desk: Desk, verified: bool | None) -> str:
    return "" if verified is None else desk.word("verified" if verified else "not verified")


def _more(desk: Desk, page: dict[str, Any]) -> None:
    if page.get("more"):
        desk.note("more", cursor=page["next"])
