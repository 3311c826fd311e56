"""`truc authority pki`: a registrar puts the certificate of an agency or centre into its record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.authority_desk import FILE, Desk, now, run
from node.cli.files import reading

if TYPE_CHECKING:
    from node.authority_act import Act


@click.command(name="pki")
@click.argument("code")
@click.argument("credentials", type=FILE)
@click.option("--as", "registrar", default="", help="root, level-1 or an agency code. · root, level-1 hoặc mã cơ quan.")
@click.pass_obj
def pki(desk: Desk, /, code: str, credentials: Path, registrar: str) -> None:
    """Put CREDENTIALS into the record of CODE. · Đưa chứng thư số vào bản ghi.

    The file comes from `python -m node.pki_tool make`. It changes neither keys nor host, so nobody has to endorse it.
    """

    def work() -> None:
        opened = desk.open()
        act = opened.act(now(), registrar=registrar)
        with reading(credentials):
            value = credentials.read_bytes()
        put_credentials(act, code, value)
        desk.finish(opened, opened.complete(act), "signed")

    run(desk, work)


def put_credentials(act: Act, code: str, value: bytes) -> None:
    """The next version of the record, with these credentials.

    Raises:
        FormatError: `pki_malformed`, `certificate_malformed`.
        RequestError: `agency_unknown`, `centre_unknown`.
    """
    from dataclasses import replace

    from protocol.agency_code import parse_centre_code
    from protocol.credentials import EXTENSION, read_credentials
    from protocol.errors import RequestError
    from protocol.pki import read_certificate

    try:
        is_centre = bool(parse_centre_code(code))
    except RequestError:
        is_centre = False
    record = act.centre(code) if is_centre else act.agency(code)
    extensions = {**record.extensions, EXTENSION: value}
    found = read_credentials(replace(record, extensions=extensions))
    assert found is not None, "it has just been put there"
    for der in found.certificates:
        read_certificate(der)
    change = act.change_centre if is_centre else act.change_agency
    change(code, extensions=extensions)
