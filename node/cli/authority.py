"""`truc authority`: the operator's off-line tool that makes and signs the tree of records.

Obeys DESIGN §7 (grammar, `--json`, `vi`/`en`). It needs no running node. What is done is `node/authority.py`;
here words become parameters, and outcomes become text (`authority_desk.py`). Commands that change who
may sign are `authority_trust.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from node.cli.authority_custody import COMMANDS as CUSTODY
from node.cli.authority_desk import (
    FILE,
    TEXTS,
    Desk,
    node_signers,
    now,
    read,
    requests_in,
    row_of,
    run,
    things_in,
    write,
)
from node.cli.authority_pki import pki
from node.cli.authority_plan import COMMANDS as PLANS
from node.cli.authority_stop import COMMANDS as STOPPING
from node.cli.authority_trust import COMMANDS as TRUST

if TYPE_CHECKING:
    from node.authority import Authority
    from node.authority_act import Act
    from protocol.signing import Signer

__all__ = ["TEXTS", "authority"]


@click.group()
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("authority"),
    help="The authority's folder. · Thư mục của cơ quan gốc.",
)
@click.option("--passphrase-file", type=FILE, help="First line is the passphrase. · Dòng đầu là mật khẩu.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the directory file here. · Ghi thêm tệp danh bạ ra đây.",
)
@click.option(
    "--seen",
    type=FILE,
    help="A node's directory file, to compare before signing. · Tệp danh bạ của một nút, để so trước khi ký.",
)
@click.option("--lang", type=click.Choice(["vi", "en"]), help="Language of texts. · Ngôn ngữ.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output. · Kết quả cho máy đọc.")
@click.pass_context
def authority(
    context: click.Context,
    folder: Path,
    passphrase_file: Path | None,
    out: Path | None,
    seen: Path | None,
    lang: str | None,
    as_json: bool,
) -> None:
    """Make and sign directory records, off-line. · Lập và ký bản ghi danh bạ, không cần mạng."""
    outer = context.parent.params if context.parent is not None else {}
    language: Literal["vi", "en"] = "en" if (lang or outer.get("lang")) == "en" else "vi"
    in_json = as_json or bool(outer.get("as_json") or outer.get("json"))
    context.obj = Desk(
        folder=folder, passphrase_file=passphrase_file, language=language, as_json=in_json, out=out, seen=seen
    )


for _command in (*TRUST, *CUSTODY, *STOPPING, *PLANS, pki):
    authority.add_command(_command)


@authority.command()
@click.option("--name", default="Trục liên thông văn bản", help="What the root is called. · Tên của gốc.")
@click.option("--root-keys", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--root-threshold", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--level-1-keys", "level_1_keys", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--level-1-threshold", "level_1_threshold", type=click.IntRange(1, 9), default=1, show_default=True)
@click.pass_obj
def init(desk: Desk, /, name: str, **numbers: int) -> None:
    """A new root with fresh keys. · Tạo gốc mới với khóa mới."""
    run(desk, lambda: _init(desk, name, numbers))


def _init(desk: Desk, name: str, numbers: dict[str, int]) -> None:
    from node.authority_folder import AuthorityFolder
    from node.authority_root import KeyPlan, create_authority
    from node.environment import RealEnvironment
    from storage.folder import OsFolder

    plan = KeyPlan(**numbers)
    plan.check()
    made = create_authority(
        AuthorityFolder(OsFolder(desk.folder)),
        name=name,
        passphrase=desk.passphrase(confirm=True),
        entropy=RealEnvironment().entropy,
        now_ms=now(),
        plan=plan,
    )
    desk.say("created", name=name, anchor=made.anchor.hex())
    desk.finish(made, [], "signed")


@authority.command()
@click.argument("requests", nargs=-1, required=True, type=FILE)
@click.option("--as", "registrar", default="", help="root, level-1 or an agency code. · root, level-1 hoặc mã cơ quan.")
@click.pass_obj
def centre(desk: Desk, requests: tuple[Path, ...], registrar: str) -> None:
    """Register centres, or rotate their keys, from request files. · Đăng ký trung tâm từ tệp yêu cầu."""

    def work() -> None:
        opened = desk.open()
        wanted = [item for path in requests for item in requests_in(path)]
        act = opened.act(now(), registrar=registrar)
        for item in wanted:
            act.register_centre(item)
        signed = opened.complete(act)
        for code in act.taken_out:
            desk.say("taken out", code=code)
        desk.finish(opened, signed, "signed", credentials_taken_out=act.taken_out)

    run(desk, work)


@authority.command()
@click.argument("request", required=False, type=FILE)
@click.option("--code", help="The agency code. · Mã cơ quan.")
@click.option("--name", help="Its name. · Tên cơ quan.")
@click.option("--name-en", help="Its name in English. · Tên tiếng Anh.")
@click.option("--host", help="The centre that hosts it. · Trung tâm lưu trữ.")
@click.option("--alias", "aliases", multiple=True, help="A further code, repeatable. · Mã khác, có thể lặp.")
@click.option("--parent", help="Default: the code without its last component. · Mặc định: bỏ thành phần cuối của mã.")
@click.option("--kind", help="What sort of body it is. · Loại cơ quan.")
@click.option("--decision", help="The decision that granted the code. · Quyết định cấp mã.")
@click.option("--state", type=click.Choice(["active", "locked", "closed"]), help="New state. · Trạng thái mới.")
@click.option("--successor", "successors", multiple=True, help="Who answers for a closed code. · Cơ quan kế thừa.")
@click.option("--delegate", help="Name of a key (made if missing) that may sign below. · Tên khóa được ủy quyền.")
@click.option("--as", "registrar", default="", help="root, level-1 or an agency code. · root, level-1 hoặc mã cơ quan.")
@click.option("--urgent", is_flag=True, help="The root's keys here sign as well. · Khóa gốc ở đây cùng ký.")
@click.pass_obj
def agency(desk: Desk, /, request: Path | None, code: str | None, registrar: str, urgent: bool, **wanted: Any) -> None:
    """Register an agency, or sign the next version of its record. · Đăng ký hoặc sửa bản ghi cơ quan.

    A code that is known already gets a new version with what is given changed; another host
    gets the next hosting epoch and needs an endorsement by the old host (`truc authority sign`).
    """
    if (request is None) == (code is None):
        raise click.UsageError("FILE or --code · cần tệp yêu cầu hoặc --code")

    def work() -> None:
        opened = desk.open()
        act = opened.act(now(), registrar=registrar)
        for item in requests_in(request) if request is not None else ():
            act.register_request(item)
        if code is not None:
            _agency(desk, opened, act, code, wanted)
        desk.finish(opened, opened.complete(act, urgent=urgent), "signed")

    run(desk, work)


def _agency(desk: Desk, opened: Authority, act: Act, code: str, wanted: dict[str, Any]) -> None:
    from node.authority_plan import agency_changes
    from protocol.directory import RecordState

    known = opened.issued.agency(code)
    said = {name: value for name, value in wanted.items() if value not in {None, ()} and name != "delegate"}
    if "state" in said:
        said["state"] = RecordState[said["state"].upper()]
    changes = agency_changes(said, known.value if known is not None else None)
    if wanted["delegate"] is not None:
        changes["delegation"] = _delegation(desk, opened, wanted["delegate"])
    if known is not None:
        act.change_agency(code, **changes)
        return
    if not {"names", "host"} <= set(changes):
        raise click.UsageError("a new agency needs --name and --host · cơ quan mới cần --name và --host")
    act.register_agency(code=code, **{key: changes[key] for key in changes if key not in {"state", "successors"}})


def _delegation(desk: Desk, opened: Authority, name: str) -> Any:
    from node.environment import RealEnvironment
    from node.requests import key_entry
    from protocol.directory import Delegation

    key = opened.key(name)
    if key is None:
        key = opened.make_key(name, desk.passphrase(), entropy=RealEnvironment().entropy)
    return Delegation(keys=(key_entry(key, now()),))


@authority.command()
@click.argument("file", type=FILE)
@click.option(
    "--node-keys",
    type=click.Path(file_okay=False, path_type=Path),
    help="A node's data folder whose operational key endorses. · Thư mục dữ liệu của nút ký xác nhận.",
)
@click.option("--node-passphrase-file", type=FILE, help="Passphrase of its keystore. · Mật khẩu kho khóa.")
@click.option("--instead", is_flag=True, help="Drop the root that was begun here. · Bỏ bản gốc đang ký dở ở đây.")
@click.pass_obj
def sign(desk: Desk, /, file: Path, node_keys: Path | None, node_passphrase_file: Path | None, instead: bool) -> None:
    """Add the signatures that records in FILE still lack. · Thêm chữ ký còn thiếu cho các bản ghi trong tệp.

    With --node-keys a centre endorses without an authority's folder; the result goes to --out.
    """

    def work() -> None:
        if node_keys is not None:
            _endorse(desk, file, node_signers(desk, node_keys, node_passphrase_file))
            return
        opened = desk.open()
        gained = opened.sign(things_in(file), now(), instead=instead)
        if not gained:
            desk.say("nothing_to_sign")
        desk.finish(opened, gained, "countersigned")

    run(desk, work)


def _endorse(desk: Desk, file: Path, signers: list[Signer]) -> None:
    from node.countersigning import endorse
    from protocol.directory_file import read_file, write_file

    things = endorse(read_file(read(file)), signers, now())
    rows = [row_of(item.signed) for item in things if item.gained]
    for row in rows:
        desk.say("countersigned", **row)
    if not rows:
        desk.say("nothing_to_sign")
    path = desk.out if desk.out is not None else file
    write(path, write_file(item.signed for item in things))
    desk.say("written", path=path, count=len(things))
    desk.show({"file": str(path), "signed": rows})


@authority.command()
@click.pass_obj
def show(desk: Desk) -> None:
    """The keys here, the anchor, and what still waits. · Khóa, mỏ neo và những gì còn chờ."""

    def work() -> None:
        opened = desk.open(trusting=False)
        ids = {name: opened.signer(name).public.key_id.hex() for name in opened.key_names}
        desk.say("state", keys=", ".join(ids), anchor=opened.anchor.hex())
        desk.finish(opened, [], "signed", key_ids=ids)

    run(desk, work)
