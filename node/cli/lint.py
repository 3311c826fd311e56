"""`truc directory lint`: what is wrong with a directory file, without a node.

Obeys DESIGN §7. What is looked for is `node/directory_lint.py`.
"""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.authority_desk import digest_of
from node.cli.desk import Desk
from node.cli.files import reading
from node.cli.grammar import ExitCode, Verb
from protocol.catalogue import next_step, text


@click.command(cls=Verb, name="lint")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--root-digest", default="")
@click.pass_obj
def lint(desk: Desk, file: Path, root_digest: str) -> int:
    """Its words stand in the table of texts."""
    from node.directory_lint import lint as look
    from node.environment import RealEnvironment
    from protocol.directory_file import read_file

    with reading(file):
        content = file.read_bytes()
    anchor = digest_of(root_digest) if root_digest else None
    found = look(read_file(content), RealEnvironment().now_ms(), anchor=anchor)
    rows = [
        {
            "about": flaw.about,
            "grade": flaw.grade,
            "code": flaw.error.code,
            "vi": text(flaw.error, "vi"),
            "en": text(flaw.error, "en"),
            "next": {"vi": next_step(flaw.error, "vi"), "en": next_step(flaw.error, "en")},
        }
        for flaw in found.flaws
    ]
    answer = {"clean": found.is_clean, "root_digest": found.anchor.hex(), "valid": found.valid, "flaws": rows}
    if not desk.show(answer):
        for flaw in found.flaws:
            grade = desk.word(f"lint {flaw.grade}")
            desk.say("lint flaw", grade=grade, about=flaw.about, code=flaw.error.code,
                     text=text(flaw.error, desk.language))  # fmt: skip
        desk.say("lint clean" if found.is_clean else "lint faulty", valid=found.valid, flaws=len(rows))
    return ExitCode.DONE if found.is_clean else ExitCode.REFUSED
