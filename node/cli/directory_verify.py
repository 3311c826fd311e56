"""`truc directory verify`: every signature of a directory, from the root down, judged by this program alone.

Obeys DESIGN §7. The things come from a file, or from the node, which is not believed: only the root's digest is.
What is judged is `node/directory_verify.py`.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.desk import Desk
from node.cli.files import Progress, reading
from node.cli.grammar import ExitCode, Verb
from node.cli.tables import moment, plain, table
from protocol.catalogue import next_step, text

if TYPE_CHECKING:
    from node.directory_verify import LogProof, Verified

FAULTS_SHOWN: Final = 1_000


@click.command(cls=Verb, name="verify")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--root", default="")
@click.pass_obj
def verify(desk: Desk, file: Path | None, root: str) -> int:
    """Its words stand in the table of texts."""
    from node.directory_verify import verify as judge
    from node.environment import RealEnvironment
    from protocol.directory_file import read_file

    anchor = _anchor(desk, root)
    wires = read_file(_content(desk, file))
    progress = Progress(desk, "verify progress", "", 2 * len(wires))
    found = judge(wires, anchor=anchor, now_ms=RealEnvironment().now_ms(), tell=lambda _done: progress.add(1))
    progress.end()
    if not desk.show(_answer(found)):
        _tell(desk, found)
    return ExitCode.DONE if found.is_sound else ExitCode.REFUSED


def _anchor(desk: Desk, root: str) -> bytes:
    """The trusted digest: as given, else as configured."""
    node = {} if root else desk.config_values().get("node", {})
    named = root or (node.get("root_digest", "") if isinstance(node, dict) else "")
    try:
        digest = bytes.fromhex(str(named))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise click.BadParameter(desk.word("bad digest"), param_hint="--root")
    return digest


def _content(desk: Desk, file: Path | None) -> bytes:
    if file is None:
        return desk.client.request("GET", "/v1/directory/export").body
    with reading(file):
        return file.read_bytes()


def _answer(found: Verified) -> dict[str, Any]:
    return {
        "sound": found.is_sound,
        "believed": found.counts,
        "pending": found.pending,
        "operations": found.operations,
        "logs": [_log(log) for log in found.logs],
        "faults": [
            {
                "about": fault.about,
                "digest": fault.digest.hex(),
                "in_log": fault.in_log,
                "code": fault.error.code,
                "vi": text(fault.error, "vi"),
                "en": text(fault.error, "en"),
                "next": {"vi": next_step(fault.error, "vi"), "en": next_step(fault.error, "en")},
            }
            for fault in found.faults[:FAULTS_SHOWN]
        ],
        "faults_in_all": len(found.faults),
    }


def _log(log: LogProof) -> dict[str, Any]:
    return {
        "registrar": log.registrar,
        "generation": log.generation,
        "things": log.things,
        "number": log.number,
        "missing": log.missing,
        "checkpoint": log.checkpoint or None,
        "checkpoint_at": _moment(log.checkpoint_ms),
    }


def _moment(time_ms: int) -> str | None:
    """As the API writes times."""
    return dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC).isoformat() if time_ms else None


def _tell(desk: Desk, found: Verified) -> None:
    rows = [
        (
            f"{log['registrar']}/{log['generation']}",
            log["things"],
            log["missing"] or "",
            log["checkpoint"] or desk.word("no"),
            moment(log["checkpoint_at"]),
        )
        for log in map(_log, found.logs)
    ]
    table(desk, ("registrar", "things", "missing", "checkpoint", "time"), rows)
    for fault in found.faults[:FAULTS_SHOWN]:
        grade = desk.word("lint warning" if fault.in_log else "lint fault")
        about, told = plain(fault.about), text(fault.error, desk.language)
        desk.say("lint flaw", grade=grade, about=about, code=fault.error.code, text=told)
    believed = sum(found.counts.values())
    faults = sum(not fault.in_log for fault in found.faults)
    desk.say("verify sound" if found.is_sound else "verify unsound", believed=believed, faults=faults)
