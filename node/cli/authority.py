"""`truc authority`: the operator's off-line tool that makes and signs the tree of records.

Obeys DESIGN §7 (grammar, `--json`, `vi`/`en`, the exit codes of `grammar.ExitCode`, which the error
tree decides as for all commands). It needs no running node. What is done is `node/authority.py`; here words
become parameters, and outcomes become text.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from node.cli.desk import exit_code_of, problem_of, tell
from node.cli.files import reading, writing
from protocol.errors import TrucError

if TYPE_CHECKING:
    from node.authority import Authority
    from protocol.directory_import import Imported
    from protocol.signing import Signed, Signer

FILE = click.Path(dir_okay=False, path_type=Path)
"""Whether it is there shows when it is read: an outcome with a code, as of all other commands."""

TEXTS: Final[dict[str, tuple[str, str]]] = {
    "created": (
        'Đã tạo cơ quan gốc “{name}”. Ghi dòng này vào cấu hình của mỗi nút:\n  root_digest = "{anchor}"',
        'Made the authority “{name}”. Put this into the configuration of every node:\n  root_digest = "{anchor}"',
    ),
    "signed": ("Đã ký {about} (số {number} của {registrar}).", "Signed {about} (number {number} of {registrar})."),
    "countersigned": ("Đã thêm chữ ký cho {about}.", "Added a signature to {about}."),
    "nothing_to_sign": ("Không có gì cần chữ ký của các khóa ở đây.", "Nothing here needs a signature of these keys."),
    "waiting": ("Còn chờ: {about}: {reason}", "Still waits: {about}: {reason}"),
    "written": ("Danh bạ: {path} ({count} bản ghi).", "Directory: {path} ({count} records)."),
    "passphrase": ("Mật khẩu", "Passphrase"),
    "state": ('Khóa: {keys}\nroot_digest = "{anchor}"', 'Keys: {keys}\nroot_digest = "{anchor}"'),
}
"""What the commands say, in Vietnamese and English; outcomes of the catalogue come from there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What all commands of the group share."""

    folder: Path
    passphrase_file: Path | None
    language: Literal["vi", "en"]
    as_json: bool
    out: Path | None

    def say(self, key: str, **values: object) -> None:
        """One line for people; nothing in JSON mode."""
        if not self.as_json:
            click.echo(TEXTS[key][0 if self.language == "vi" else 1].format(**values))

    def show(self, answer: object) -> bool:
        """Print an answer as JSON if that is wanted; whether it was."""
        if self.as_json:
            click.echo(json.dumps(answer, ensure_ascii=False))
        return self.as_json

    def passphrase(self, *, confirm: bool = False) -> bytes:
        """From the file, else asked for on the terminal."""
        from storage.keystore import read_credential

        if self.passphrase_file is not None:
            return read_credential(self.passphrase_file)
        prompt = TEXTS["passphrase"][0 if self.language == "vi" else 1]
        answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirm, err=True)
        return answer.encode()

    def open(self) -> Authority:
        """The authority of the folder. Raises: as `open_authority`."""
        from node.authority import open_authority
        from node.authority_folder import AuthorityFolder
        from storage.folder import OsFolder

        if not self.folder.is_dir():
            from protocol.errors import ConfigurationError

            raise ConfigurationError("authority_missing")
        folder = AuthorityFolder(OsFolder(self.folder))
        return open_authority(folder, passphrase=self.passphrase(), now_ms=_now_ms())

    def finish(self, authority: Authority, signed: list[Signed], event: str) -> None:
        """Say what was signed and what still waits; write the directory file."""
        wire = authority.directory_file()
        path = self.out if self.out is not None else self.folder / "directory.truc"
        if self.out is not None:
            _write(self.out, wire)
        rows = [_row(item) for item in signed]
        for row in rows:
            self.say(event, **row)
        result = authority.waiting(_now_ms())
        waiting = self._waiting(result)
        self.say("written", path=path, count=len(result.accepted))
        self.show({"root_digest": authority.anchor.hex(), "file": str(path), "signed": rows, "waiting": waiting})

    def _waiting(self, result: Imported) -> list[dict[str, str]]:
        from protocol.catalogue import text

        rows = []
        for item in result.rejected:
            self.say("waiting", about=item.about, reason=text(item.error, self.language))
            rows.append({"about": item.about, "code": item.error.code})
        return rows


@click.group()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("authority"),
              help="The authority's folder. · Thư mục của cơ quan gốc.")
@click.option("--passphrase-file", type=FILE, help="First line is the passphrase. · Dòng đầu là mật khẩu.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="Also write the directory file here. · Ghi thêm tệp danh bạ ra đây.")
@click.option("--lang", type=click.Choice(["vi", "en"]), help="Language of texts. · Ngôn ngữ.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable output. · Kết quả cho máy đọc.")
@click.pass_context
def authority(
    context: click.Context,
    folder: Path,
    passphrase_file: Path | None,
    out: Path | None,
    lang: str | None,
    as_json: bool,
) -> None:
    """Make and sign directory records, off-line. · Lập và ký bản ghi danh bạ, không cần mạng."""
    outer = context.parent.params if context.parent is not None else {}
    language: Literal["vi", "en"] = "en" if (lang or outer.get("lang")) == "en" else "vi"
    in_json = as_json or bool(outer.get("as_json") or outer.get("json"))
    context.obj = Desk(folder=folder, passphrase_file=passphrase_file, language=language, as_json=in_json, out=out)


@authority.command()
@click.option("--name", default="Trục liên thông văn bản", help="What the root is called. · Tên của gốc.")
@click.option("--root-keys", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--root-threshold", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--level-1-keys", "level_1_keys", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--level-1-threshold", "level_1_threshold", type=click.IntRange(1, 9), default=1, show_default=True)
@click.pass_obj
def init(desk: Desk, /, name: str, **numbers: int) -> None:
    """A new root with fresh keys. · Tạo gốc mới với khóa mới."""
    _run(desk, lambda: _init(desk, name, numbers))


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
        now_ms=_now_ms(),
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
        wanted = [item for path in requests for item in _requests(path)]
        signed = [opened.register_centre(item, _now_ms(), registrar=registrar) for item in wanted]
        desk.finish(opened, signed, "signed")

    _run(desk, work)


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
@click.pass_obj
def agency(desk: Desk, /, request: Path | None, code: str | None, registrar: str, **wanted: Any) -> None:
    """Register an agency, or sign the next version of its record. · Đăng ký hoặc sửa bản ghi cơ quan.

    A code that is known already gets a new version with what is given changed; another host
    gets the next hosting epoch and needs an endorsement by the old host (`truc authority sign`).
    """
    if (request is None) == (code is None):
        raise click.UsageError("FILE or --code · cần tệp yêu cầu hoặc --code")

    def work() -> None:
        opened = desk.open()
        if request is not None:
            signed = [opened.register_request(item, _now_ms(), registrar=registrar) for item in _requests(request)]
        else:
            assert code is not None
            signed = [_agency(desk, opened, code, registrar, wanted)]
        desk.finish(opened, signed, "signed")

    _run(desk, work)


def _agency(desk: Desk, opened: Authority, code: str, registrar: str, wanted: dict[str, Any]) -> Signed:
    known = opened.view.find_agency(code)
    changes = _changes(desk, opened, wanted, known.value if known is not None else None)
    if known is not None:
        return opened.change_agency(code, _now_ms(), registrar=registrar, **changes)
    missing = [name for name in ("names", "host") if name not in changes]
    if missing:
        raise click.UsageError("a new agency needs --name and --host · cơ quan mới cần --name và --host")
    changes.pop("state", None)
    changes.pop("successors", None)
    return opened.register_agency(code=code, now_ms=_now_ms(), registrar=registrar, **changes)


def _changes(desk: Desk, opened: Authority, wanted: dict[str, Any], old: Any) -> dict[str, Any]:
    from protocol.directory import Names, RecordState

    changes = {name: wanted[name] for name in ("host", "parent", "kind", "decision") if wanted[name] is not None}
    if wanted["name"] is not None or (old is not None and wanted["name_en"] is not None):
        vi = wanted["name"] or old.names.vi
        changes["names"] = Names(vi=vi, en=wanted["name_en"] or (old.names.en if old is not None else ""))
    changes |= {name: wanted[name] for name in ("aliases", "successors") if wanted[name]}
    if wanted["state"] is not None:
        changes["state"] = RecordState[wanted["state"].upper()]
    if wanted["delegate"] is not None:
        changes["delegation"] = _delegation(desk, opened, wanted["delegate"])
    return changes


def _delegation(desk: Desk, opened: Authority, name: str) -> Any:
    from node.environment import RealEnvironment
    from node.requests import key_entry
    from protocol.directory import Delegation

    key = opened.key(name)
    if key is None:
        key = opened.make_key(name, desk.passphrase(), entropy=RealEnvironment().entropy)
    return Delegation(keys=(key_entry(key, _now_ms()),))


@authority.command()
@click.argument("file", type=FILE)
@click.option("--node-keys", type=click.Path(file_okay=False, path_type=Path),
              help="A node's data folder whose operational key endorses. · Thư mục dữ liệu của nút ký xác nhận.")
@click.option("--node-passphrase-file", type=FILE, help="Passphrase of its keystore. · Mật khẩu kho khóa.")
@click.pass_obj
def sign(desk: Desk, file: Path, node_keys: Path | None, node_passphrase_file: Path | None) -> None:
    """Add the signatures that records in FILE still lack. · Thêm chữ ký còn thiếu cho các bản ghi trong tệp.

    With --node-keys a centre endorses without an authority's folder; the result goes to --out.
    """

    def work() -> None:
        if node_keys is not None:
            _endorse(desk, file, _node_signers(desk, node_keys, node_passphrase_file))
            return
        from protocol.directory_file import read_file

        opened = desk.open()
        gained = opened.sign(read_file(_read(file)), _now_ms())
        if not gained:
            desk.say("nothing_to_sign")
        desk.finish(opened, gained, "countersigned")

    _run(desk, work)


def _endorse(desk: Desk, file: Path, signers: list[Signer]) -> None:
    from node.countersigning import endorse
    from protocol.directory_file import read_file, write_file

    things = endorse(read_file(_read(file)), signers, _now_ms())
    rows = [_row(item.signed) for item in things if item.gained]
    for row in rows:
        desk.say("countersigned", **row)
    if not rows:
        desk.say("nothing_to_sign")
    path = desk.out if desk.out is not None else file
    _write(path, write_file(item.signed for item in things))
    desk.say("written", path=path, count=len(things))
    desk.show({"file": str(path), "signed": rows})


@authority.command()
@click.pass_obj
def show(desk: Desk) -> None:
    """The keys here, the anchor, and what still waits. · Khóa, mỏ neo và những gì còn chờ."""

    def work() -> None:
        opened = desk.open()
        desk.say("state", keys=", ".join(opened.key_names), anchor=opened.anchor.hex())
        desk.finish(opened, [], "signed")

    _run(desk, work)


# --- pieces ---------------------------------------------------------------------------------


def _run(desk: Desk, work: Callable[[], None]) -> None:
    """Run a command; an outcome of the catalogue is told, and decides the exit code."""
    try:
        work()
    except TrucError as error:
        tell(desk, problem_of(error))
        raise click.exceptions.Exit(exit_code_of(error)) from error


def _read(path: Path) -> bytes:
    """Raises: ConfigurationError `file_unreadable`."""
    with reading(path):
        return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    """Raises: ConfigurationError `file_unwritable`."""
    with writing(path):
        path.write_bytes(content)


def _now_ms() -> int:
    from node.environment import RealEnvironment

    return RealEnvironment().now_ms()


def _requests(path: Path) -> list[Signed]:
    """The requests in a file, which may be a directory file or one signed thing."""
    from protocol.directory import AGENCY_REQUEST, CENTRE_REQUEST
    from protocol.directory_file import read_file
    from protocol.directory_view import WIRE_BYTES_MAX
    from protocol.errors import ConfigurationError
    from protocol.signing import Signed

    things = [Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX) for wire in read_file(_read(path))]
    found = [item for item in things if item.format in {CENTRE_REQUEST.name, AGENCY_REQUEST.name}]
    if not found:
        raise ConfigurationError("authority_no_request")
    return found


def _node_signers(desk: Desk, folder: Path, passphrase_file: Path | None) -> list[Signer]:
    """Every 32-byte secret of a node's keystore as a signer; only a key that is asked for signs.

    Raises:
        StoreError, ConfigurationError: as `open_keystore` and `read_credential`.
    """
    from protocol.errors import StoreError
    from protocol.signing import Ed25519Signer
    from storage.folder import OsFolder
    from storage.keystore import open_keystore, read_credential

    passphrase = read_credential(passphrase_file) if passphrase_file is not None else desk.passphrase()
    if not folder.is_dir():
        raise StoreError("keystore_missing")  # to look is not to make a folder
    keystore = open_keystore(OsFolder(folder), passphrase)
    secrets = [keystore.get(name) for name in keystore.names()]
    return [Ed25519Signer(secret) for secret in secrets if secret is not None and len(secret) == 32]


def _row(signed: Signed) -> dict[str, Any]:
    """What a line of output says about a signed record."""
    from protocol.directory import FORMATS
    from protocol.directory_import import about_code

    value = FORMATS[signed.format].decode(signed.statement)
    return {
        "about": f"{signed.format} {about_code(value)}".strip(),
        "number": getattr(value, "number", 0),
        "registrar": getattr(value, "registrar", "root"),
        "digest": signed.digest.hex(),
    }
