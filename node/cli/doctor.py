"""`truc doctor`: is this node well? One line per finding, green or red, with what to do.

Obeys DESIGN §6 (red until the keys were backed up) and §7. What the node knows of itself comes from
`/readyz`, `/v1/node` and `/v1/peers`; files of this machine are looked at without opening the
database, so that a node that does not start is examined as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from node.cli.desk import Desk, Refused, problem_of
from node.cli.grammar import ExitCode, Verb
from node.cli.texts import say
from protocol.errors import NetworkError, TrucError

if TYPE_CHECKING:
    from node.config import Config

Light = Literal["green", "yellow", "red"]

MARKS: Final[dict[Light, tuple[str, str]]] = {"green": ("✓", "green"), "yellow": ("!", "yellow"), "red": ("✗", "red")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at; `vi`, `en` are what a person reads."""

    about: str
    light: Light
    code: str
    vi: str
    en: str


@click.command(cls=Verb, name="doctor")
@click.pass_obj
def doctor(desk: Desk) -> int:
    """Its words stand in the table of texts."""
    findings = list(_examine(desk))
    ill = any(finding.light == "red" for finding in findings)
    rows = [
        {"about": item.about, "light": item.light, "code": item.code, "vi": item.vi, "en": item.en} for item in findings
    ]
    if not desk.show({"well": not ill, "findings": rows}):
        for finding in findings:
            _print(desk, finding)
        desk.say("doctor red" if ill else "doctor green")
    return ExitCode.REFUSED if ill else ExitCode.DONE


def _print(desk: Desk, finding: Finding) -> None:
    mark, colour = MARKS[finding.light]
    shown = click.style(mark, fg=colour) if sys.stdout.isatty() else mark
    words = finding.vi if desk.language == "vi" else finding.en
    click.echo(f"{shown} {desk.word(f'doctor {finding.about}')}: {words}")


def _examine(desk: Desk) -> Iterator[Finding]:
    if desk.is_local and desk.socket is None:
        yield from _files(desk)
    try:
        ready = desk.client.request("GET", "/readyz", accepted=(503,)).json
        yield from _readiness(ready)
        yield from _node(desk.client.get("/v1/node"))
        yield from _peers(desk.client.get("/v1/peers"))
    except NetworkError as error:
        yield _outcome("answers", error)
    except Refused as error:
        yield _problem("answers", "red", error.problem)


# --- files of this machine ------------------------------------------------------------------


def _files(desk: Desk) -> Iterator[Finding]:
    from node.config import load_config

    try:
        config = load_config(desk.config_path())
    except TrucError as error:
        yield _outcome("configuration", error)
        return
    yield _told("configuration", "green", "fine", value=str(desk.config_path()))
    joined = config.node.root_digest is not None
    yield _told("root", "green" if joined else "red", "fine" if joined else "no root", value=config.node.centre)
    yield _backup(config.data_dir)
    yield _disk(config)


def _backup(data: Path) -> Finding:
    """The mark that `truc keys backup` leaves names the keystore's present content."""
    keys = data / "keys"
    try:
        copies = sorted({hashlib.sha256(path.read_bytes()).hexdigest() for path in keys.glob("keystore.[12]")})
        if not copies:
            return _told("keys", "red", "no keys", value=str(keys))
        mark = keys / "backup-made.json"
        if not mark.is_file():
            return _told("keys", "red", "no backup")
        noted = json.loads(mark.read_text())
    except PermissionError:
        return _told("keys", "yellow", "not readable", value=str(keys))
    except (OSError, ValueError):
        return _told("keys", "red", "no backup")
    same = isinstance(noted, dict) and noted.get("keystores") == copies
    return _told("keys", "green" if same else "red", "backed up" if same else "backup old")


def _disk(config: Config) -> Finding:
    from node.cli.tables import size_text

    try:
        free = os.statvfs(config.data_dir)
    except OSError as error:
        return _told("disk", "red", "not readable", value=error.strerror or "?")
    free_bytes = free.f_bavail * free.f_frsize
    floor = config.storage.disk_floor_bytes
    light: Light = "red" if free_bytes < floor else "yellow" if free_bytes < 2 * floor else "green"
    return _told("disk", light, "disk", value=size_text(free_bytes), floor=size_text(floor))


# --- what the node says ---------------------------------------------------------------------


def _readiness(ready: dict[str, Any]) -> Iterator[Finding]:
    if not ready["reasons"]:
        yield _told("ready", "green", "ready")
    yield from (_problem("ready", "red", reason) for reason in ready["reasons"])
    yield from (_problem("ready", "yellow", warning) for warning in ready.get("warnings", ()))


def _node(found: dict[str, Any]) -> Iterator[Finding]:
    clock = found["clock"]
    quality = min(int(clock["quality"]), 2) if clock["trusted"] else 0
    yield _told("clock", "green" if quality else "yellow", f"clock {quality}")


def _peers(page: dict[str, Any]) -> Iterator[Finding]:
    items = page["items"]
    up = sum(1 for item in items if item["state"] == "up")
    light: Light = "green" if up == len(items) else "yellow" if up else "red"
    yield _told("peers", light if items else "green", "peers", value=up, count=len(items))


def _told(about: str, light: Light, what: str, **values: object) -> Finding:
    key = f"doctor says {what}"
    code = what.replace(" ", "_")
    return Finding(about=about, light=light, code=code, vi=say(key, "vi", **values), en=say(key, "en", **values))


def _outcome(about: str, error: TrucError) -> Finding:
    return _problem(about, "red", problem_of(error))


def _problem(about: str, light: Light, problem: Mapping[str, Any]) -> Finding:
    """An outcome with its next step."""
    words = {}
    for language in ("vi", "en"):
        step = (problem.get("next") or {}).get(language, "")
        words[language] = str(problem.get(language, problem["code"])) + (f"\n    → {step}" if step else "")
    return Finding(about=about, light=light, code=str(problem["code"]), vi=words["vi"], en=words["en"])
