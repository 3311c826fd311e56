"""`truc authority`: the commands that change who may sign, repair a folder, or carry out a plan.

Obeys DESIGN §3 "Trust tree" and §7. What is done is `node/authority_root.py`, `authority_trust.py`,
`authority_recovery.py`, `authority_plan.py` and `authority_registrar.py`; here words become parameters.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from node.cli.authority_desk import (
    FILE,
    Desk,
    digest_of,
    key_requests_in,
    now,
    requests_in,
    run,
    things_in,
    write,
)

if TYPE_CHECKING:
    from node.authority import Authority
    from node.authority_root import RolePlan
    from protocol.signing import Signed

_AS = click.option(
    "--as", "registrar", default="", help="root, level-1 or an agency code. · root, level-1 hoặc mã cơ quan."
)
_URGENT = click.option("--urgent", is_flag=True, help="The root's keys here sign as well. · Khóa gốc ở đây cùng ký.")
_SINCE = click.option(
    "--compromised-since", "since", default="",
    help="Since when others may have used the key. · Từ lúc nào người khác có thể đã dùng khóa.",
)  # fmt: skip
_ROLES: Final = ("root", "level-1")


# --- root -----------------------------------------------------------------------------------


@click.group()
def root() -> None:
    """Versions of the root. · Các bản của gốc."""


@root.command()
@click.argument("files", nargs=-1, type=FILE)
@click.option("--retire", "leaving", multiple=True, help="This key leaves its role. · Khóa này rời vai trò.")
@click.option("--root-keys", type=click.IntRange(1, 9), help="Fresh keys for the root role. · Khóa gốc mới.")
@click.option("--root-threshold", type=click.IntRange(1, 9), help="How many must sign. · Số chữ ký cần có.")
@click.option("--level-1-keys", type=click.IntRange(1, 9), help="Fresh keys for level-1. · Khóa cấp 1 mới.")
@click.option("--level-1-threshold", type=click.IntRange(1, 9), help="How many must sign. · Số chữ ký cần có.")
@click.option("--instead", is_flag=True, help="Drop a version that was begun. · Bỏ bản đang ký dở.")
@click.pass_obj
def rotate(
    desk: Desk, /, files: tuple[Path, ...], leaving: tuple[str, ...], instead: bool, **numbers: int | None
) -> None:
    """Sign the next root: other keys, other thresholds. · Ký bản gốc kế tiếp với khóa, ngưỡng khác.

    FILES are key requests of custodians; their keys come beside those that stay.
    · FILES là yêu cầu khóa; các khóa đó được thêm bên cạnh khóa còn lại.
    """

    def work() -> None:
        from node.authority_custody import with_custodians
        from node.authority_root import next_root

        opened = desk.open()
        requests = [item for path in files for item in key_requests_in(path)]
        gone = _leaving(opened, leaving)
        plans = [
            _role_plan(desk, opened, role, numbers[f"{word}_keys"], numbers[f"{word}_threshold"], gone)
            for role, word in (("root", "root"), ("level-1", "level_1"))
        ]
        plans = with_custodians(opened, plans, requests)
        desk.finish(opened, [next_root(opened, plans, now(), instead=instead)], "signed")

    run(desk, work)


def _leaving(opened: Authority, keys: tuple[str, ...]) -> frozenset[bytes]:
    from node.authority_root import find_key

    return frozenset(find_key(opened, "root", key, opened.present_root().keys) for key in keys)


def _role_plan(
    desk: Desk,
    opened: Authority,
    role: str,
    keys: int | None,
    threshold: int | None,
    leaving: frozenset[bytes] = frozenset(),
) -> RolePlan:
    from node.authority_root import RolePlan, make_role_keys
    from node.environment import RealEnvironment
    from protocol.errors import ConfigurationError

    if keys is None:
        return RolePlan(name=role, threshold=threshold or 0, leaving=leaving)
    needed = threshold or opened.present_root().role(role).threshold
    if needed > keys:
        raise ConfigurationError("authority_threshold", threshold=needed, keys=keys)
    fresh = make_role_keys(opened, role, keys, desk.passphrase(), now(), entropy=RealEnvironment().entropy)
    return RolePlan(name=role, fresh=fresh, threshold=needed)


# --- registrars -----------------------------------------------------------------------------


@click.command()
@click.argument("code")
@click.argument("file", type=FILE)
@click.option("--root-digest", default="", help="The trusted root, in hexadecimal. · Mã băm của gốc được tin.")
@click.option("--name", default="", help="Its name, if it has no record yet. · Tên, nếu chưa có bản ghi.")
@click.option("--host", default="", help="Its centre, if it has no record yet. · Trung tâm, nếu chưa có bản ghi.")
@click.option("--keys", type=click.IntRange(1, 9), default=1, show_default=True)
@click.option("--threshold", type=click.IntRange(1, 9), default=1, show_default=True)
@click.pass_obj
def apply(desk: Desk, /, code: str, file: Path, root_digest: str, **who: Any) -> None:
    """A folder with keys for a registrar, and its request. · Tạo thư mục khóa cho cơ quan đăng ký và tệp yêu cầu.

    FILE is a directory file with the root. · FILE là tệp danh bạ có bản gốc.
    """

    def work() -> None:
        from node.authority_folder import AuthorityFolder
        from node.authority_registrar import Applicant, apply_as_registrar
        from node.environment import RealEnvironment
        from protocol.directory_file import write_file
        from storage.folder import OsFolder

        made, request = apply_as_registrar(
            AuthorityFolder(OsFolder(desk.folder)),
            Applicant(code=code, **who),
            things_in(file),
            anchor=digest_of(root_digest) if root_digest else None,
            passphrase=desk.passphrase(confirm=True),
            entropy=RealEnvironment().entropy,
            now_ms=now(),
        )
        path = desk.out if desk.out is not None else desk.folder / f"{code}-request.truc"
        write(path, write_file([request]))
        desk.say("request", path=path, code=code)
        desk.show({"root_digest": made.anchor.hex(), "request": str(path), "keys": list(made.key_names)})

    run(desk, work)


@click.command()
@click.argument("code")
@click.option("--keys", type=FILE, required=True, help="The registrar's request. · Tệp yêu cầu của cơ quan đăng ký.")
@click.option("--part", "--parts", "parts", multiple=True, help="Only below this code, repeatable. · Chỉ dưới mã này.")
@click.option("--threshold", type=click.IntRange(1, 16), help="How many must sign. · Số chữ ký cần có.")
@_AS
@_URGENT
@click.pass_obj
def delegate(
    desk: Desk, /, code: str, keys: Path, parts: tuple[str, ...], threshold: int | None, registrar: str, urgent: bool
) -> None:
    """Let the keys of a request sign below CODE. · Ủy quyền cho các khóa trong yêu cầu ký dưới mã CODE."""

    def work() -> None:
        from node.authority_trust import delegate as do

        opened = desk.open()
        (request, *_) = requests_in(keys)
        signed = do(
            opened, code, request, now(), parts=parts, threshold=threshold or 0, registrar=registrar, urgent=urgent
        )
        desk.finish(opened, [signed], "signed")

    run(desk, work)


@click.command(name="cut-off")
@click.argument("code")
@click.option("--keys", type=FILE, help="The request of its new key holders. · Yêu cầu của người giữ khóa mới.")
@_SINCE
@_AS
@_URGENT
@click.pass_obj
def cut_off(desk: Desk, /, code: str, keys: Path | None, since: str, registrar: str, urgent: bool) -> None:
    """Revoke a registrar's keys, open its next generation. · Thu hồi mọi khóa của một cơ quan đăng ký."""

    def work() -> None:
        from node.authority_trust import cut_off as do

        opened = desk.open()
        if code in _ROLES:
            desk.finish(opened, [_cut_off_role(desk, opened, code, moment(since))], "signed")
            return
        request = requests_in(keys)[0] if keys is not None else None
        signed = do(
            opened, code, now(), request=request, compromised_ms=moment(since), registrar=registrar, urgent=urgent
        )
        desk.finish(opened, [signed], "signed")

    run(desk, work)


def _cut_off_role(desk: Desk, opened: Authority, name: str, compromised_ms: int) -> Signed:
    """As many fresh keys as the role had, and its next generation."""
    from dataclasses import replace

    from node.authority_root import next_root

    role = opened.present_root().role(name)
    plan = _role_plan(desk, opened, name, len(role.keys), role.threshold)
    plans = [replace(plan, next_generation=True)]
    return next_root(opened, plans, now(), revoke=role.keys, compromised_ms=compromised_ms)


@click.command(name="revoke-key")
@click.argument("where")
@click.argument("key")
@_SINCE
@_AS
@_URGENT
@click.pass_obj
def revoke_key(desk: Desk, /, where: str, key: str, since: str, registrar: str, urgent: bool) -> None:
    """Revoke KEY of the root, an agency or a centre. · Thu hồi khóa KEY của gốc, cơ quan hoặc trung tâm."""

    def work() -> None:
        from node.authority_trust import revoke_key as do

        opened = desk.open()
        signed = do(opened, where, key, now(), compromised_ms=moment(since), registrar=registrar, urgent=urgent)
        desk.finish(opened, [signed], "signed")

    run(desk, work)


@click.command()
@click.argument("code")
@click.pass_obj
def urgent(desk: Desk, /, code: str) -> None:
    """Sign a pending change with the root's keys. · Ký khẩn thay đổi đang chờ bằng khóa gốc."""

    def work() -> None:
        from node.authority_trust import make_urgent

        opened = desk.open()
        desk.finish(opened, [make_urgent(opened, code, now())], "countersigned")

    run(desk, work)


# --- recovery -------------------------------------------------------------------------------


@click.command()
@click.argument("file", type=FILE)
@_AS
@click.pass_obj
def recover(desk: Desk, /, file: Path, registrar: str) -> None:
    """Begin a new generation after a folder was lost or restored. · Bắt đầu đợt mới sau khi mất hoặc khôi phục thư mục.

    FILE is the newest directory of the network. · FILE là danh bạ mới nhất trên mạng.
    """

    def work() -> None:
        from node.authority_recovery import recover as do

        opened = desk.open()
        name = registrar or opened.default_registrar(now())
        done = do(opened, name, things_in(file), now())
        told = {"registrar": name, "generation": done.generation}
        if done.opened is not None:
            desk.say("opened", **told)
        if done.entered:
            desk.say("entered", count=len(done.entered), **told)
        left_out = [digest.hex() for digest in done.left_out]
        for digest in left_out:
            desk.say("left out", about=digest)
        signed = [*([done.opened] if done.opened is not None else []), *done.entered]
        desk.finish(opened, signed, "signed", generation=done.generation, left_out=left_out)

    run(desk, work)


# --- heartbeats -----------------------------------------------------------------------------


@click.command(name="heartbeat-key")
@click.option("--name", default="", help="Name of the key; made if missing. · Tên khóa; chưa có thì tạo.")
@click.option("--keys", type=FILE, help="A request from the machine that will say so. · Yêu cầu của máy sẽ nhắc lại.")
@click.option("--dismiss", default="", help="A key that may do so no more. · Khóa không được dùng nữa.")
@_AS
@click.pass_obj
def heartbeat_key(desk: Desk, /, name: str, keys: Path | None, dismiss: str, registrar: str) -> None:
    """A key that may repeat the last checkpoint daily. · Khóa chỉ được nhắc lại điểm chốt cuối hằng ngày."""

    def work() -> None:
        from node.authority_trust import admit_heartbeat_key, dismiss_heartbeat_key
        from node.environment import RealEnvironment

        opened = desk.open()
        if dismiss:
            desk.finish(opened, [dismiss_heartbeat_key(opened, dismiss, now(), registrar=registrar)], "signed")
            return
        whose = registrar or opened.default_registrar(now())
        if keys is not None:
            _admit_asked(desk, opened, keys, whose)
            return
        called = name or f"heartbeat-{whose}"
        key = opened.key(called)
        if key is None:
            key = opened.make_key(called, desk.passphrase(), entropy=RealEnvironment().entropy)
        signed = admit_heartbeat_key(opened, key, now(), registrar=whose)
        desk.finish(opened, [signed], "signed", key=called, key_id=key.key_id.hex())

    run(desk, work)


def _admit_asked(desk: Desk, opened: Authority, file: Path, registrar: str) -> None:
    from node.authority_custody import heartbeat_keys_asked_for
    from node.authority_trust import admit_heartbeat_key

    entries = heartbeat_keys_asked_for(opened, key_requests_in(file), registrar)
    signed = [admit_heartbeat_key(opened, entry, now(), registrar=registrar) for entry in entries]
    desk.finish(opened, signed, "signed", key_ids=[entry.key_id.hex() for entry in entries])


@click.command()
@_AS
@click.pass_obj
def heartbeat(desk: Desk, /, registrar: str) -> None:
    """Say that the last checkpoint is still the last. · Xác nhận điểm chốt cuối vẫn là cuối cùng."""

    def work() -> None:
        from node.authority_trust import beat
        from protocol.checkpoint import HEARTBEAT
        from protocol.directory_file import write_file

        signed = beat(desk.open(), now(), registrar=registrar)
        value = HEARTBEAT.decode(signed.statement)
        path = desk.out if desk.out is not None else desk.folder / "heartbeat.truc"
        write(path, write_file([signed]))
        desk.say("heartbeat", registrar=value.registrar, path=path)
        desk.show({"registrar": value.registrar, "file": str(path), "checkpoint": value.checkpoint.hex()})

    run(desk, work)


# --- pieces ---------------------------------------------------------------------------------


def moment(text: str) -> int:
    """Milliseconds of a moment as people write it, in this machine's time unless it says otherwise; 0 for none.

    Raises:
        ConfigurationError: `authority_time`.
    """
    from datetime import datetime

    from protocol.errors import ConfigurationError

    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text).astimezone()
        return int(found.timestamp() * 1000)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigurationError("authority_time", text=text) from error


COMMANDS: Final = (
    root, apply, delegate, revoke_key, cut_off, urgent, recover, heartbeat_key, heartbeat,
)  # fmt: skip
