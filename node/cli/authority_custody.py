"""`truc authority`: keys of custodians on machines of their own, and roots that are made of their requests.

Obeys DESIGN §7 and `protocol/spec/key_request.md`. What is done is `node/authority_custody.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.authority_desk import FILE, Desk, digest_of, key_requests_in, now, run, things_in, write
from node.cli.authority_trust import root

if TYPE_CHECKING:
    from node.authority import Authority
    from protocol.signing import Signed


@click.command(name="key-request")
@click.argument("purpose", type=click.Choice(["root", "level-1", "heartbeat"]))
@click.argument("file", type=FILE, required=False)
@click.option("--root-digest", default="", help="The trusted root, in hexadecimal. · Mã băm của gốc được tin.")
@click.option("--holder", required=True, help="Who holds the keys. · Người giữ khóa.")
@click.option("--keys", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--for", "registrar", default="", help="Whose heartbeat. · Tín hiệu sống của cơ quan nào.")
@click.pass_obj
def key_request(desk: Desk, /, purpose: str, file: Path | None, root_digest: str, holder: str, **who: Any) -> None:
    """Fresh keys in this folder, and the request for them. · Tạo khóa trong thư mục này và tệp yêu cầu.

    FILE is a directory file with the root; none: for a root that is to be founded.
    · FILE là tệp danh bạ có bản gốc; không có: cho bản gốc sắp lập.
    """

    def work() -> None:
        from node.authority_custody import Holder, request_keys
        from node.authority_folder import AuthorityFolder
        from node.environment import RealEnvironment
        from protocol.directory_file import write_file
        from storage.folder import OsFolder

        folder = AuthorityFolder(OsFolder(desk.folder))
        passphrase = desk.passphrase(confirm=not folder.exists())
        opened = _custody(folder, file, root_digest, passphrase)
        signed = request_keys(
            opened,
            folder,
            Holder(name=holder, purpose=purpose, **who),
            now(),
            passphrase=passphrase,
            entropy=RealEnvironment().entropy,
        )
        path = desk.out if desk.out is not None else desk.folder / f"{purpose}-request.truc"
        write(path, write_file([signed]))
        rows = _rows([signed])
        desk.say("key request", path=path)
        _say_keys(desk, rows)
        desk.show({"request": str(path), "keys": rows, "root_digest": opened.anchor.hex()})

    run(desk, work)


def _custody(folder: Any, file: Path | None, digits: str, passphrase: bytes) -> Authority:
    from node.authority_custody import open_custody
    from protocol.errors import ConfigurationError
    from protocol.prefix_tree import EMPTY

    if (file is None) != (not digits):
        raise ConfigurationError("authority_no_anchor")
    anchor = digest_of(digits) if digits else EMPTY
    things = things_in(file) if file is not None else ()
    return open_custody(folder, things, anchor=anchor, passphrase=passphrase, now_ms=now())


@click.command()
@click.argument("file", type=FILE)
@click.option("--root-digest", required=True, help="The root, as it was read out. · Mã băm của gốc, như đã đọc.")
@click.pass_obj
def adopt(desk: Desk, file: Path, root_digest: str) -> None:
    """Trust a root in this folder of keys, once. · Đặt bản gốc được tin cho thư mục khóa này, một lần duy nhất."""

    def work() -> None:
        from node.authority_custody import adopt as do

        opened = desk.open(trusting=False)
        do(opened, things_in(file), digest_of(root_digest), now())
        desk.say("adopted", anchor=opened.anchor.hex())
        desk.finish(opened, [], "signed")

    run(desk, work)


@root.command(name="found")
@click.argument("files", nargs=-1, required=True, type=FILE)
@click.option("--name", default="Trục liên thông văn bản", help="What the root is called. · Tên của gốc.")
@click.option("--root-threshold", type=click.IntRange(1, 16), default=1, show_default=True)
@click.option("--level-1-threshold", "level_1_threshold", type=click.IntRange(1, 16), default=1, show_default=True)
@click.pass_obj
def found(desk: Desk, /, files: tuple[Path, ...], **how: Any) -> None:
    """Make version 1 of a root from requests of custodians. · Lập bản gốc đầu tiên từ yêu cầu của những người giữ khóa.

    FILES are the requests, this folder's own among them. · FILES gồm cả yêu cầu của chính thư mục này.
    """

    def work() -> None:
        from node.authority_custody import found_root

        opened = desk.open(trusting=False)
        requests = [item for path in files for item in key_requests_in(path)]
        _say_keys(desk, _rows(requests))
        signed = found_root(opened, requests, now(), **how)
        desk.say("created", name=how["name"], anchor=opened.anchor.hex())
        desk.finish(opened, [signed], "signed", keys=_rows(requests))

    run(desk, work)


def _rows(requests: list[Signed]) -> list[dict[str, str]]:
    """What people compare aloud: who holds which key, for what."""
    from protocol.key_request import read_key_request

    rows: list[dict[str, str]] = []
    for signed in requests:
        value = read_key_request(signed.statement)
        rows += [
            {"holder": value.holder, "purpose": value.purpose, "key_id": entry.key_id.hex()} for entry in value.keys
        ]
    return rows


def _say_keys(desk: Desk, rows: list[dict[str, str]]) -> None:
    for row in rows:
        desk.say("key asked for", **row)


COMMANDS: Final = (key_request, adopt)
