"""`truc authority withdraw` and `lock`: stopping a change that waits, and an agency that locks itself.

Obeys DESIGN §3 and §7. What is done is `node/authority_stop.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from node.cli.authority_desk import FILE, Desk, node_signers, now, run, things_in, write

if TYPE_CHECKING:
    from protocol.signing import Signed


@click.command()
@click.argument("code")
@click.option("--as", "registrar", default="", help="root, level-1 or an agency code. · root, level-1 hoặc mã cơ quan.")
@click.option("--urgent", is_flag=True, help="The root's keys here sign as well. · Khóa gốc ở đây cùng ký.")
@click.pass_obj
def withdraw(desk: Desk, /, code: str, registrar: str, urgent: bool) -> None:
    """Take back what waits for CODE: what is in force goes on. · Rút thay đổi đang chờ của CODE.

    Also a change of a registrar below, by whoever stands above it. · Cấp trên cũng rút được thay đổi của cấp dưới.
    """

    def work() -> None:
        from node.authority_stop import withdraw as do

        opened = desk.open()
        desk.finish(opened, [do(opened, code, now(), registrar=registrar, urgent=urgent)], "signed")

    run(desk, work)


@click.command()
@click.argument("code")
@click.option("--reason", default="", help="Why, for people. · Lý do, cho người đọc.")
@click.option("--directory", type=FILE, help="A directory file, with --node-keys. · Tệp danh bạ, đi với --node-keys.")
@click.option("--node-keys", type=click.Path(file_okay=False, path_type=Path),
              help="The data folder of the agency's node. · Thư mục dữ liệu của nút của cơ quan.")  # fmt: skip
@click.option("--node-passphrase-file", type=FILE, help="Passphrase of its keystore. · Mật khẩu kho khóa.")
@click.pass_obj
def lock(
    desk: Desk,
    /,
    code: str,
    reason: str,
    directory: Path | None,
    node_keys: Path | None,
    node_passphrase_file: Path | None,
) -> None:
    """Lock an agency with its own key, without any registrar. · Cơ quan tự khóa bằng khóa của mình.

    The result is a file to import at any node; the registrar's next version of the record unlocks.
    · Nạp tệp kết quả vào một nút bất kỳ; bản ghi kế tiếp của cơ quan đăng ký sẽ mở khóa.
    """
    if (directory is None) != (node_keys is None):
        raise click.UsageError("--directory and --node-keys go together · cần cả --directory và --node-keys")

    def work() -> None:
        from protocol.directory_file import write_file

        if directory is not None and node_keys is not None:
            signed = _by_node(desk, code, reason, directory, node_keys, node_passphrase_file)
        else:
            signed = _by_folder(desk, code, reason)
        path = desk.out if desk.out is not None else Path(f"{code}-lock.truc")
        write(path, write_file([signed]))
        desk.say("locked", code=code, path=path)
        desk.show({"code": code, "file": str(path), "digest": signed.digest.hex()})

    run(desk, work)


def _by_folder(desk: Desk, code: str, reason: str) -> Signed:
    from node.authority_stop import self_lock

    opened = desk.open()
    signers = [opened.signer(name) for name in opened.key_names]
    return self_lock(opened.view, code, signers, now(), reason=reason)


def _by_node(desk: Desk, code: str, reason: str, directory: Path, keys: Path, passphrase_file: Path | None) -> Signed:
    from node.authority_stop import self_lock
    from node.countersigning import view_of

    view = view_of(things_in(directory), now())
    return self_lock(view, code, node_signers(desk, keys, passphrase_file), now(), reason=reason)


COMMANDS: Final = (withdraw, lock)
