"""`truc directory`: the agencies and centres of the axis, and what is signed about them.

Obeys DESIGN §7. Everything but `verify FILE` and `lint` is asked of the node. One record is `directory_record.py`,
judging a directory again `directory_verify.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from node.cli.desk import Desk
from node.cli.directory_record import history, show
from node.cli.directory_verify import verify
from node.cli.files import reading
from node.cli.grammar import ExitCode, Verbs
from node.cli.lint import lint
from node.cli.tables import moment, names_of, plain, table

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_STATES: Final = click.Choice(("active", "locked", "closed"))
LEVELS_MAX: Final = 8
BELOW_MAX: Final = 200
"""Agencies asked for at once below another."""


@click.group(cls=Verbs, name="directory")
def directory() -> None:
    """Its words stand in the table of texts."""


for _verb in (show, history, verify, lint):
    directory.add_command(_verb)


# --- lists ------------------------------------------------------------------------------------


@directory.command(name="list")
@click.option("--prefix", default="")
@click.option("--under", default="")
@click.option("--state", type=_STATES)
@click.option("--host", default="")
@click.option("--kind", default="")
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.pass_obj
def directory_list(desk: Desk, /, **query: Any) -> None:
    """Its words stand in the table of texts."""
    _listed(desk, "/v1/directory", query)


@directory.command(name="search")
@click.argument("words", nargs=-1, required=True)
@click.option("--under", default="")
@click.option("--state", type=_STATES)
@click.option("--host", default="")
@click.option("--kind", default="")
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.pass_obj
def directory_search(desk: Desk, /, words: tuple[str, ...], **query: Any) -> None:
    """Its words stand in the table of texts."""
    _listed(desk, "/v1/directory/search", {"q": " ".join(words), **query})


def _listed(desk: Desk, path: str, query: dict[str, Any]) -> None:
    page = desk.client.get(path, **{name: value for name, value in query.items() if value is not None})
    if desk.show(page):
        return
    exact = [page["exact"]] if page.get("exact") else []
    items = exact + [item for item in page["items"] if item["code"] not in {one["code"] for one in exact}]
    table(desk, ("code", "name", "state", "host"), [_row(desk, item) for item in items])
    if page.get("more"):
        desk.note("more", cursor=page["next"])


def _row(desk: Desk, item: dict[str, Any]) -> tuple[str, ...]:
    if item.get("problem"):
        return item["code"], str(item["problem"][desk.language]), desk.word("agency unknown"), ""
    return item["code"], names_of(item["names"], desk), _state(desk, item), item["host"]


def _state(desk: Desk, item: dict[str, Any]) -> str:
    return desk.known(f"agency {item['state']}", item["state"])


@directory.command(name="tree")
@click.argument("code", default="")
@click.option("--depth", type=click.IntRange(1, LEVELS_MAX), default=1, show_default=True)
@click.pass_obj
def directory_tree(desk: Desk, code: str, depth: int) -> None:
    """Its words stand in the table of texts."""
    if code:
        branch = desk.client.get(f"/v1/directory/{code}/tree", limit=1)
        above, items = [*branch["above"], branch["agency"]], list(_below(desk, code, depth))
    else:
        above, items = [], list(_tops(desk, depth))
    if desk.show({"above": above, "items": items}):
        return
    for level, item in enumerate(above):
        click.echo(_branch(desk, item, level))
    for item in items:
        click.echo(_branch(desk, item, len(above) + item["level"] - 1))
    if not above and not items:
        desk.say("nothing")


def _tops(desk: Desk, depth: int) -> Iterator[dict[str, Any]]:
    for item in _all(desk, "/v1/directory", top="true", limit=1000):
        yield {**item, "level": 1}
        yield from ({**below, "level": below["level"] + 1} for below in _below(desk, item["code"], depth - 1))


def _below(desk: Desk, code: str, depth: int) -> Iterator[dict[str, Any]]:
    """What stands below an agency, each before what stands below it."""
    for item in _all(desk, f"/v1/directory/{code}/tree", limit=BELOW_MAX) if depth else ():
        yield {**item, "level": 1}
        yield from ({**below, "level": below["level"] + 1} for below in _below(desk, item["code"], depth - 1))


def _all(desk: Desk, path: str, **query: object) -> Iterator[dict[str, Any]]:
    after, more = "", True
    while more:
        page = desk.client.get(path, after=after, **query)
        yield from page["items"]
        after, more = page["next"], page["more"]


def _branch(desk: Desk, item: dict[str, Any], level: int) -> str:
    code, name, state, _ = _row(desk, item)
    told = "" if item["state"] == "active" else f"  [{state}]"
    return plain(f"{'  ' * level}{code}  {name}{told}")


@directory.command(name="changes")
@click.option("--after", default="")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("--wait", type=click.IntRange(0, 60), default=0)
@click.pass_obj
def directory_changes(desk: Desk, after: str, limit: int, wait: int) -> None:
    """Its words stand in the table of texts."""
    page = desk.client.get("/v1/directory/changes", after=after, limit=limit, wait=wait or "")
    if desk.show(page):
        return
    rows = [
        (moment(item["at"]), desk.known(f"subject {item['subject']}", item["subject"]), item["code"])
        for item in page["items"]
    ]
    table(desk, ("time", "what", "code"), rows)
    desk.note("changes next", cursor=page["next"])


# --- files ------------------------------------------------------------------------------------


@directory.command(name="export")
@click.argument("file", type=_FILE)
@click.option("--registrar", default="")
@click.pass_obj
def directory_export(desk: Desk, file: Path, registrar: str) -> None:
    """Its words stand in the table of texts."""
    from node.founding import write_new

    answer = desk.client.request("GET", "/v1/directory/export", query={"registrar": registrar})
    write_new(file, answer.body, mode=0o644)
    things = int(answer.headers.get("x-truc-things", 0))
    if not desk.show({"file": str(file), "size": len(answer.body), "things": things}):
        desk.say("exported", path=file, things=things)


@directory.command(name="import")
@click.argument("file", type=_FILE)
@click.pass_obj
def directory_import(desk: Desk, file: Path) -> int:
    """Its words stand in the table of texts."""
    with reading(file):
        content = file.read_bytes()
    headers = {"Content-Type": "application/octet-stream"}
    found = desk.client.request("POST", "/v1/directory/import", body=content, headers=headers).json
    if not desk.show(found):
        tell_imported(desk, found)
    return ExitCode.REFUSED if found["rejected"] else ExitCode.DONE


def tell_imported(desk: Desk, found: dict[str, Any]) -> None:
    """What is new, what waits for its day, and what was not believed, with the reason and the next step."""
    accepted, checkpoints = len(found["accepted"]), found.get("checkpoints", 0)
    desk.say("imported", accepted=accepted, checkpoints=checkpoints, known=found["already"])
    for about in found.get("pending", ()):
        desk.say("imported pending", about=plain(about), code=plain(about.rpartition(" ")[2]))
    for item in found.get("older", ()):
        desk.say("older", **item)
    for item in found["rejected"]:
        problem = item["problem"]
        desk.say("not imported", about=plain(item["about"]), code=problem["code"], text=problem[desk.language])
        click.echo(f"  → {problem['next'][desk.language]}")
