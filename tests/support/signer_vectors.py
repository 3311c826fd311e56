"""Makes `signer.json`: `python -m tests.support.signer_vectors`.

Bodies by type, good and bad, and texts with what a signer must say to them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from protocol import signer
from protocol.encoding import lp
from protocol.errors import FormatError
from protocol.signer import DEFAULT_FORMATS, PROTOCOL, Kind, RawKey
from protocol.signing import Ed25519Signer, signed_text
from tests.support.statement_vectors import plain
from tests.support.tree import key_seed
from tests.support.vectors import FOLDER, written

Row = dict[str, Any]

KEY: Final = Ed25519Signer(key_seed(11, "signer"))
ROOT: Final = bytes(range(32))
TEXT: Final = signed_text("truc/receipt/1", KEY.public, ROOT)
RAW: Final = RawKey(algorithm="ed25519", raw=KEY.public.raw)


def rows() -> list[Row]:
    """Bodies, then texts."""
    good = [
        _good("a hello", signer.Hello(protocol=PROTOCOL, keys=(RAW,))),
        _good("a hello with an extension", signer.Hello(protocol=PROTOCOL, keys=(RAW,), extensions={200: "HSM"})),
        _good("a request", signer.Sign(number=1, key_id=KEY.public.key_id, text=TEXT)),
        _good("a signature", signer.SignedText(number=1, signature=KEY.sign(TEXT))),
        _good("a refusal", signer.Failed(number=2, code="unavailable", reason="không có thẻ")),
    ]
    bad = [
        _bad("a hello without keys", Kind.HELLO, bytes.fromhex("8201ad747275632f7369676e65722f310290")),
        _bad("a request under number 0", Kind.SIGN, bytes.fromhex("83010002c420") + bytes(32) + b"\x03\xc4\x01x"),
        _bad("a request for nothing", Kind.SIGN, bytes.fromhex("83010102c420") + bytes(32) + b"\x03\xc4\x00"),
        _bad("an unknown key below 128", Kind.SIGNED, bytes.fromhex("83010102c401780301")),
        _bad("a code with blanks", Kind.FAILED, bytes.fromhex("82010102a36e6f20")),
        _bad("a code with a line end", Kind.FAILED, bytes.fromhex("82010102a36e6f0a")),
        _bad("a written empty reason", Kind.FAILED, bytes.fromhex("83010102a26e6f03a0")),
        _bad("cut off", Kind.SIGN, bytes.fromhex("8301")),
    ]
    return [*good, *bad, *_texts()]


def _good(name: str, said: signer.Said) -> Row:
    frame = signer.write(said)
    return {"name": name, "type": frame[4], "body": frame[5:].hex(), "fields": plain(said)}


def _bad(name: str, kind: Kind, body: bytes) -> Row:
    try:
        signer.read(kind, body, kind)
    except FormatError as error:
        return {"name": name, "type": int(kind), "body": body.hex(), "error": error.code}
    raise AssertionError(name)


def _texts() -> list[Row]:
    other = Ed25519Signer(key_seed(11, "other")).public
    name, algorithm, key_id = "truc/receipt/1", "ed25519", KEY.public.key_id
    texts: list[tuple[str, bytes, bytes]] = [
        ("the text of a receipt", TEXT, key_id),
        ("for another key", TEXT, other.key_id),
        ("a text that names another key", signed_text(name, other, ROOT), key_id),
        ("a format that is not allowed", signed_text("truc/lock/1", KEY.public, ROOT), key_id),
        ("a name that is none", lp("receipt", algorithm, key_id) + ROOT, key_id),
        ("another algorithm", lp(name, "rsa", key_id) + ROOT, key_id),
        ("two parts", lp(name, algorithm) + ROOT, key_id),
        ("four parts", lp(name, algorithm, key_id, b"") + ROOT, key_id),
        ("a part that reaches into the root", lp(name, algorithm, key_id)[:-1] + ROOT, key_id),
        ("a short root", TEXT[:-1], key_id),
        ("anything else", b"Trung tam ky giup toi", key_id),
    ]
    return [_text(what, text, key) for what, text, key in texts]


def _text(name: str, text: bytes, key_id: bytes) -> Row:
    request = signer.Sign(number=1, key_id=key_id, text=text)
    refused = signer.refusal_of(request, KEY.public, DEFAULT_FORMATS)
    return {
        "name": f"text: {name}",
        "raw_key": KEY.public.raw.hex(),
        "key_id": key_id.hex(),
        "text": text.hex(),
        "refused": refused,
    }


def write(folder: Path = FOLDER) -> None:
    """Write the file."""
    (folder / "signer.json").write_text(written(rows()), encoding="utf-8")


if __name__ == "__main__":
    write()
