"""`truc send`: hand a document with its files to the node; repeating the same command is harmless.

Obeys DESIGN §4 steps 1–3. Small files go inside the request, others are uploaded before, resumed
where the node says. The idempotency key is the digest of what is sent, unless one is given.
"""

from __future__ import annotations

import base64
import hashlib
import json
import select
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from node.cli.desk import Desk, Refused
from node.cli.files import Progress, digest_of, read_pieces, reading
from node.cli.grammar import Verb
from protocol.errors import ConfigurationError, NetworkError

INLINE_BYTES_MAX: Final = 256 * 1024
INLINE_TOTAL_BYTES_MAX: Final = 2 * 1024 * 1024
"""Inside one request; larger files are cheaper and resumable as uploads."""
TRIES: Final = 20
PAUSE_S: Final = 0.5
PASSING: Final = ("node_unreachable", "upload_busy", "upload_offset_differs")
"""A node that restarts, or has not noticed yet that our last connection is gone: ten seconds for both."""
LANES: Final = ("thuong", "khan", "thuong_khan", "hoa_toc")

MEDIA_TYPES: Final = {
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".doc": "application/msword",
    ".xls": "application/vnd.ms-excel",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".xml": "application/xml",
    ".txt": "text/plain",
    ".zip": "application/zip",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
}
"""The same on every machine, unlike the system's own table."""

_WORDS: Final = ("type", "subject", "number", "notation", "issued_on", "place", "due_on", "secrecy", "sphere")
_NUMBERS: Final = ("pages", "copies")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file to be sent."""

    path: Path
    name: str
    size: int
    sha256: str

    @property
    def media_type(self) -> str:
        """By the ending of its name."""
        return MEDIA_TYPES.get(Path(self.name).suffix.lower(), "application/octet-stream")


@click.command(cls=Verb, name="send")
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--from", "issuer", required=True)
@click.option("--to", "recipients", multiple=True, required=True)
@click.option("--type", default=None)
@click.option("--subject", default=None)
@click.option("--secrecy", default=None)
@click.option("--number", default=None)
@click.option("--notation", default=None)
@click.option("--issued-on", default=None)
@click.option("--place", default=None)
@click.option("--due-on", default=None)
@click.option("--sphere", default=None)
@click.option("--pages", type=int, default=None)
@click.option("--copies", type=int, default=None)
@click.option("--signer", "signer", multiple=True)
@click.option("--metadata", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--lane", type=click.Choice(LANES), default="thuong", show_default=True)
@click.option("--expires-days", type=click.IntRange(1, 90), default=None)
@click.option("--allow-number-reuse", "reuse_reason", default="")
@click.option("--key", default="")
@click.pass_obj
def send(desk: Desk, /, files: tuple[Path, ...], metadata: Path | None, key: str, **options: Any) -> None:
    """Its words stand in the table of texts."""
    attachments = [_attachment(path) for path in files]
    request: dict[str, Any] = {
        "issuer": options["issuer"],
        "recipients": list(options["recipients"]),
        "lane": options["lane"],
        "metadata": {**_from_file(metadata), **_metadata(options)},
    }
    if options["expires_days"] is not None:
        request["expires_days"] = options["expires_days"]
    if options["reuse_reason"]:
        request["allow_number_reuse"] = options["reuse_reason"]
    key = key or _key(request, attachments)
    request["parts"] = _parts(desk, key, attachments)
    answer = desk.client.post("/v1/documents", request, key=key)
    if not desk.show(answer):
        desk.say("sent", document=answer["id"], recipients=", ".join(options["recipients"]), files=len(attachments))
        desk.say("sent next", document=answer["id"])


def _attachment(path: Path) -> Attachment:
    with reading(path):
        size = path.stat().st_size
    return Attachment(path, unicodedata.normalize("NFC", path.name), size, digest_of(path))


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    with reading(path):
        content = path.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as error:
        raise ConfigurationError("file_unreadable", path=str(path), reason="JSON") from error
    if not isinstance(values, dict):
        raise ConfigurationError("file_unreadable", path=str(path), reason="JSON object")
    return values


def _metadata(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in (*_WORDS, *_NUMBERS) if options[name] is not None}
    if options["signer"]:
        given["signers"] = [_signer(text) for text in options["signer"]]
    return given


def _signer(text: str) -> dict[str, str]:
    """`name; position; competence`, the last two may be left out."""
    pieces = [piece.strip() for piece in text.split(";")]
    return {name: piece for name, piece in zip(("name", "position", "competence"), pieces, strict=False) if piece}


def _key(request: dict[str, Any], attachments: Iterable[Attachment]) -> str:
    """The same document under the same command has the same key: sending twice sends once."""
    whole = [request, [[item.name, item.sha256] for item in attachments]]
    return "cli-" + hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:40]


# --- parts ----------------------------------------------------------------------------------


def _parts(desk: Desk, key: str, attachments: list[Attachment]) -> list[dict[str, Any]]:
    room = INLINE_TOTAL_BYTES_MAX
    parts = []
    for number, item in enumerate(attachments):
        part: dict[str, Any] = {"name": item.name, "media_type": item.media_type, "sha256": item.sha256}
        if item.size <= min(INLINE_BYTES_MAX, room):
            room -= item.size
            part["content_base64"] = base64.b64encode(b"".join(read_pieces(item.path))).decode()
        else:
            part["upload_id"] = f"{key}-{number}"[-64:]
            upload(desk, part["upload_id"], item)
        parts.append(part)
    return parts


def upload(desk: Desk, upload_id: str, item: Attachment) -> None:
    """Bring a file to the node, going on where an earlier try ended.

    Raises:
        NetworkError: `node_unreachable`, after several tries.
        Refused: the node does not take it.
    """
    path = f"/v1/uploads/{upload_id}"
    for attempt in range(1, TRIES + 1):
        try:
            _go_on(desk, path, item)
        except (NetworkError, Refused) as error:
            code = error.code if isinstance(error, NetworkError) else error.problem.get("code")
            if attempt == TRIES or code not in PASSING:
                raise
            select.select([], [], [], PAUSE_S)
        else:
            return


def _go_on(desk: Desk, path: str, item: Attachment) -> None:
    """Send what the node does not have yet. Why an upload cannot be asked about, the PUT is told in words."""
    asked = desk.client.request("HEAD", path, accepted=range(400, 600))
    offset = int(asked.headers.get("upload-offset", "0")) if asked.status < 400 else 0
    if asked.status < 400 and offset == item.size:
        return
    progress = Progress(desk, "send progress", item.name, item.size, done=offset)
    headers = {
        "Upload-Offset": str(offset),
        "Upload-Length": str(item.size),
        "Content-Length": str(item.size - offset),
        "Content-Type": "application/octet-stream",
    }
    try:
        desk.client.request("PUT", path, body=_counted(item.path, offset, progress), headers=headers)
    finally:
        progress.end()


def _counted(path: Path, offset: int, progress: Progress) -> Iterator[bytes]:
    for piece in read_pieces(path, offset):
        yield piece
        progress.add(len(piece))
