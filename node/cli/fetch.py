"""`truc fetch`: all files of a received document, each compared with what the issuer sealed.

Obeys DESIGN §4 step 9: the receipt `collected` means that the local software has safely taken
the document, so `--collect` comes after everything is durable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from node.cli.desk import Desk, Refused
from node.cli.files import Progress, is_there, make_folder, safe_targets, sync_folder, write_checked
from node.cli.grammar import Verb
from protocol.errors import RequestError

TRIES: Final = 3
"""How often a file is fetched anew when the connection breaks in the middle."""


@click.command(cls=Verb, name="fetch")
@click.argument("consignment")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
@click.option("--collect", is_flag=True)
@click.pass_obj
def fetch(desk: Desk, consignment: str, out: Path, collect: bool) -> None:
    """Its words stand in the table of texts."""
    entry = desk.client.get(f"/v1/inbox/{consignment}")
    parts = _parts(entry)
    targets = safe_targets(out, [str(part["name"]) for part in parts])
    make_folder(out)
    there = [is_there(target, part["sha256"]) for target, part in zip(targets, parts, strict=True)]
    for number, (target, part, known) in enumerate(zip(targets, parts, there, strict=True)):
        if not known:
            _take(desk, f"/v1/inbox/{consignment}/parts/{number}", target, part)
    sync_folder(out)
    if collect:
        desk.client.request("POST", f"/v1/inbox/{consignment}/collect")
    files = [
        {"path": str(target), "sha256": part["sha256"], "size": part["size"], "was_there": known}
        for target, part, known in zip(targets, parts, there, strict=True)
    ]
    if not desk.show({"consignment_id": consignment, "files": files, "collected": collect}):
        for file in files:
            desk.say("fetch there" if file["was_there"] else "fetch file", **file)
        desk.say("fetch collected" if collect else "fetch not collected", consignment=consignment)


def _parts(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The files of a consignment.

    Raises:
        Refused: the content is damaged; the node says how.
        RequestError: `part_gone`.
    """
    if entry.get("problem"):
        raise Refused(entry["problem"])
    if entry["parts"] is None:
        raise RequestError("part_gone")
    parts: list[dict[str, Any]] = entry["parts"]
    return parts


def _take(desk: Desk, path: str, target: Path, part: dict[str, Any]) -> None:
    from protocol.errors import NetworkError

    for attempt in range(1, TRIES + 1):
        progress = Progress(desk, "fetch progress", target.name, int(part["size"]))
        try:
            with desk.client.stream(path) as (_, pieces):
                write_checked(target, pieces, part["sha256"], progress)
            return
        except NetworkError:
            if attempt == TRIES:
                raise
        finally:
            progress.end()
