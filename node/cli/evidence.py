"""`truc evidence`: export what proves a delivery, and verify such a file without any node.

Obeys DESIGN §3 (`truc/evidence/1`). Verifying is `protocol/evidence.py`, which runs alone as well:
`python -m protocol.evidence FILE --root DIGEST`.
"""

from __future__ import annotations

from pathlib import Path

import click

from node.cli.desk import Desk
from node.cli.grammar import ExitCode, Verbs

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Verbs, name="evidence")
def evidence() -> None:
    """Its words stand in the table of texts."""


@evidence.command(name="export")
@click.argument("consignment")
@click.option("--out", type=_FILE, required=True)
@click.pass_obj
def export(desk: Desk, consignment: str, out: Path) -> None:
    """Its words stand in the table of texts."""
    from node.founding import write_new

    answer = desk.client.request("GET", f"/v1/evidence/{consignment}")
    write_new(out, answer.body)
    if not desk.show({"file": str(out), "size": len(answer.body)}):
        desk.say("evidence written", path=out)


@evidence.command(name="verify")
@click.argument("file", type=_FILE)
@click.option("--root", required=True)
@click.pass_obj
def verify(desk: Desk, file: Path, root: str) -> int:
    """Its words stand in the table of texts."""
    from node.cli.files import reading
    from protocol.errors import TrucError
    from protocol.evidence import verify_evidence
    from protocol.evidence_text import outcome_json, outcome_lines, proof_json, proof_lines

    try:
        digest = bytes.fromhex(root)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise click.BadParameter(desk.word("bad digest"), param_hint="--root")
    with reading(file):
        content = file.read_bytes()
    try:
        proof = verify_evidence(content, root=digest)
    except TrucError as error:
        if not desk.show(outcome_json(error)):
            click.echo("\n".join(outcome_lines(error, desk.language)))
        return ExitCode.REFUSED
    if not desk.show(proof_json(proof)):
        click.echo("\n".join(proof_lines(proof, desk.language)))
    return ExitCode.DONE
