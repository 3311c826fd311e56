"""What the commands of `truc authority` share: the folder, its passphrase, files, and what is said in the end.

Obeys DESIGN §7 (`--json`, `vi`/`en`, the exit codes of `grammar.ExitCode`, which the error tree decides as
for all commands). The commands are `authority.py` and `authority_trust.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from node.cli.desk import exit_code_of, problem_of, tell
from node.cli.files import reading, writing
from protocol.errors import TrucError

if TYPE_CHECKING:
    from node.authority import Authority
    from node.authority_log import Waiting
    from protocol.signing import Signed, Signer

ROWS_SAID_MAX: Final = 50
"""Signed records that are told one by one; of more, people are told how many."""

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
    "checkpoint": (
        "Điểm chốt số {number} của {registrar}: {count} bản ghi.",
        "Checkpoint {number} of {registrar}: {count} records.",
    ),
    "many": ("Đã ký {count} bản ghi trong một lần.", "Signed {count} records at once."),
    "request": (
        "Yêu cầu: {path}. Gửi cho cấp trên: truc authority delegate {code} --keys {path}",
        "Request: {path}. Hand it to the body above: truc authority delegate {code} --keys {path}",
    ),
    "heartbeat": ("Tín hiệu sống của {registrar}: {path}", "Heartbeat of {registrar}: {path}"),
    "opened": ("Đã mở đợt {generation} cho {registrar}.", "Opened generation {generation} of {registrar}."),
    "entered": (
        "Đã ký lại {count} bản ghi trong đợt {generation} của {registrar}.",
        "Signed {count} records anew in generation {generation} of {registrar}.",
    ),
    "left out": (
        "Chưa ký lại, cần xem xét vì do khóa bị lộ ký: {about}",
        "Not signed anew; to be looked at, a compromised key signed it: {about}",
    ),
    "taken out": (
        "Đã bỏ chứng thư số của {code}: nó không xác nhận khóa mới. Lập lại, rồi: truc authority pki {code} TỆP",
        "The certificate of {code} does not endorse its new keys and was taken out: truc authority pki {code} FILE",
    ),
    "key request": (
        "Yêu cầu: {path}. Đọc mã khóa dưới đây khi giao tệp.",
        "Request: {path}. Read the key ids below aloud when you hand it over.",
    ),
    "key asked for": ("  {holder}: khóa {purpose} {key_id}", "  {holder}: {purpose} key {key_id}"),
    "plan fault": ("Dòng {line} {about}: {code}: {text}", "Line {line} {about}: {code}: {text}"),
    "plan checked": (
        "{changes} thay đổi sẽ được ký; {same} dòng không đổi gì; {faults} dòng sai.",
        "{changes} changes would be signed; {same} lines change nothing; {faults} lines are wrong.",
    ),
    "adopted": ('Từ nay tin bản gốc:\n  root_digest = "{anchor}"', 'Trusted from now on:\n  root_digest = "{anchor}"'),
    "locked": (
        "Đã ký tự khóa {code}: {path}. Nạp tệp này vào một nút: truc directory import {path}",
        "Signed the self-lock of {code}: {path}. Import it at a node: truc directory import {path}",
    ),
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
    seen: Path | None = None

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

    def open(self, *, trusting: bool = True) -> Authority:
        """The authority of the folder; `trusting`: it must have adopted a root.

        Raises:
            ConfigurationError: `authority_no_anchor`, and as `open_authority`.
        """
        from node.authority import open_authority
        from node.authority_folder import AuthorityFolder
        from storage.folder import OsFolder

        if not self.folder.is_dir():
            from protocol.errors import ConfigurationError

            raise ConfigurationError("authority_missing")
        folder = AuthorityFolder(OsFolder(self.folder))
        opened = open_authority(folder, passphrase=self.passphrase(), now_ms=now())
        if trusting and not any(opened.anchor):
            from protocol.errors import ConfigurationError

            raise ConfigurationError("authority_no_anchor")
        if self.seen is not None:
            from node.authority_recovery import see

            see(opened, things_in(self.seen), now())
        return opened

    def finish(self, authority: Authority, signed: Sequence[Signed], event: str, **further: Any) -> None:
        """Say what was signed and what still waits; write the directory file."""
        wire = authority.directory_file()
        path = self.out if self.out is not None else self.folder / "directory.truc"
        if self.out is not None:
            write(self.out, wire)
        rows = [row_of(item) for item in signed]
        for row in rows if len(rows) <= ROWS_SAID_MAX else ():
            self.say(event, **row)
        if len(rows) > ROWS_SAID_MAX:
            self.say("many", count=len(rows))
        checkpoint = self._checkpoint(authority, signed)
        result = authority.waiting(now())
        waiting = self._waiting(result)
        self.say("written", path=path, count=result.accepted)
        answer = {"root_digest": authority.anchor.hex(), "file": str(path), "signed": rows, "waiting": waiting}
        self.show({**answer, **({"checkpoint": checkpoint} if checkpoint else {}), **further})

    def _checkpoint(self, authority: Authority, signed: Sequence[Signed]) -> dict[str, Any]:
        """The checkpoint that ended the act in which the first of these was signed."""
        values = [value_of(item) for item in signed]
        places = [(value.registrar, value.generation) for value in values if hasattr(value, "generation")]
        last = authority.issued.checkpoint(authority.issued.log(*places[0]).last_checkpoint()) if places else None
        if last is None:
            return {}
        self.say("checkpoint", registrar=last.registrar, number=last.number, count=last.count)
        return {"registrar": last.registrar, "number": last.number, "count": last.count, "root": last.root.hex()}

    def _waiting(self, result: Waiting) -> list[dict[str, str]]:
        from protocol.catalogue import text

        rows = []
        for item in result.rejected:
            self.say("waiting", about=item.about, reason=text(item.error, self.language))
            rows.append({"about": item.about, "code": item.error.code})
        return rows


# --- pieces ---------------------------------------------------------------------------------


def run(desk: Desk, work: Callable[[], None]) -> None:
    """Run a command; an outcome of the catalogue is told, and decides the exit code."""
    try:
        work()
    except TrucError as error:
        tell(desk, problem_of(error))
        raise click.exceptions.Exit(exit_code_of(error)) from error


def read(path: Path) -> bytes:
    """Raises: ConfigurationError `file_unreadable`."""
    with reading(path):
        return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    """Raises: ConfigurationError `file_unwritable`."""
    with writing(path):
        path.write_bytes(content)


def now() -> int:
    """Milliseconds."""
    from node.environment import RealEnvironment

    return RealEnvironment().now_ms()


def things_in(path: Path) -> tuple[bytes, ...]:
    """The things in a directory file, unread. Raises: ConfigurationError `file_unreadable`; FormatError."""
    from protocol.directory_file import read_file

    return read_file(read(path))


def requests_in(path: Path) -> list[Signed]:
    """The requests in a file, which may be a directory file or one signed thing."""
    from protocol.directory import AGENCY_REQUEST, CENTRE_REQUEST
    from protocol.directory_file import read_file
    from protocol.directory_view import WIRE_BYTES_MAX
    from protocol.errors import ConfigurationError
    from protocol.signing import Signed

    things = [Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX) for wire in read_file(read(path))]
    found = [item for item in things if item.format in {CENTRE_REQUEST.name, AGENCY_REQUEST.name}]
    if not found:
        raise ConfigurationError("authority_no_request")
    return found


def key_requests_in(path: Path) -> list[Signed]:
    """The requests of custodians in a file. Raises: ConfigurationError `authority_no_request`, `file_unreadable`."""
    from protocol.directory_view import WIRE_BYTES_MAX
    from protocol.errors import ConfigurationError
    from protocol.key_request import KEY_REQUEST
    from protocol.signing import Signed

    things = [Signed.from_wire(wire, bytes_max=WIRE_BYTES_MAX) for wire in things_in(path)]
    found = [item for item in things if item.format == KEY_REQUEST.name]
    if not found:
        raise ConfigurationError("authority_no_request")
    return found


def node_signers(desk: Desk, folder: Path, passphrase_file: Path | None) -> list[Signer]:
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


def digest_of(digits: str) -> bytes:
    """A digest as people copy it. Raises: ConfigurationError `authority_digest`."""
    from protocol.errors import ConfigurationError

    try:
        found = bytes.fromhex(digits)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise ConfigurationError("authority_digest", text=digits)
    return found


def value_of(signed: Signed) -> Any:
    """The statement of a signed thing that this tool makes."""
    from protocol.checkpoint import CHECKPOINT
    from protocol.directory import FORMATS

    form = CHECKPOINT if signed.format == CHECKPOINT.name else FORMATS[signed.format]
    return form.decode(signed.statement)


def row_of(signed: Signed) -> dict[str, Any]:
    """What a line of output says about a signed record."""
    from protocol.directory_import import about_code

    value = value_of(signed)
    return {
        "about": f"{signed.format} {about_code(value)}".strip(),
        "number": getattr(value, "number", 0),
        "registrar": getattr(value, "registrar", "root"),
        "digest": signed.digest.hex(),
    }
