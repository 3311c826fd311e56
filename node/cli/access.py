"""`truc access` and `truc audit`: which local software may do what, and who changed what."""

from __future__ import annotations

from typing import Any, Final

import click

from node.cli.desk import Desk
from node.cli.grammar import Verb, Verbs
from node.cli.tables import moment, table

RIGHTS: Final = ("send", "receive", "report", "admin")


@click.group(cls=Verbs, name="access")
def access() -> None:
    """Its words stand in the table of texts."""


@access.command(name="add")
@click.argument("name")
@click.option("--agency", "agencies", multiple=True, required=True)
@click.option(
    "--right", "rights", type=click.Choice(RIGHTS), multiple=True, default=("send", "receive"), show_default=True
)
@click.pass_obj
def access_add(desk: Desk, name: str, agencies: tuple[str, ...], rights: tuple[str, ...]) -> None:
    """Its words stand in the table of texts."""
    wish = {"name": name, "agencies": list(agencies), "rights": list(rights)}
    made = desk.client.post("/v1/access", wish)
    if not desk.show(made):
        desk.say("access made", system=made["system"], name=name)
        click.echo(made["token"])
        desk.note("access once")


@access.command(name="list")
@click.pass_obj
def access_list(desk: Desk) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/access")
    if desk.show(page):
        return
    rows = [
        (
            item["system"],
            item["name"],
            item["agencies"],
            item["rights"],
            moment(item["created_at"]),
            moment(item.get("revoked_at")),
        )
        for item in page["items"]
    ]
    table(desk, ("system", "name", "agencies", "rights", "created", "revoked"), rows)


@access.command(name="revoke")
@click.argument("system")
@click.pass_obj
def access_revoke(desk: Desk, system: str) -> None:
    """Its words stand in the table of texts."""
    found = desk.client.request("DELETE", f"/v1/access/{system}")
    if not desk.show(found.json if found.body else {"system": system}):
        desk.say("access revoked", system=system)


@click.command(cls=Verb, name="audit")
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.pass_obj
def audit(desk: Desk, /, **query: Any) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/audit", **query)
    if desk.show(page):
        return
    rows = [
        (moment(item["at"]), item["actor"], item["operation"], item.get("agency"), item.get("subject"))
        for item in page["items"]
    ]
    table(desk, ("time", "actor", "operation", "agency", "subject"), rows)
    if page.get("more"):
        desk.note("more", cursor=page["next"])
