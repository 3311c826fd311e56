"""What a folder's records were judged to be, kept beside them, so that the next command need not judge them again.

Spec: `protocol/spec/checkpoint.md` §8. Judging is `authority_log.py`; a folder without this file, or with one that
does not fit, is judged from the beginning. The file is sealed by a key of the folder, so that nobody who can write
to the disk alone can have anything believed; it holds no thing itself, but says by their digests which of the things
in the folder it speaks of; and it speaks for one release of the rules only.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import protocol
from node import authority_log
from node.authority_folder import AuthorityFolder
from node.authority_log import Issued
from node.countersigning import thing
from protocol.checkpoint import NUMBERED
from protocol.directory import FORMATS
from protocol.directory_kinds import DirectoryThing
from protocol.encoding import encode, lp, recall
from protocol.errors import FormatError, StoreError
from protocol.record import Delete, Put
from protocol.signing import Signed, Signer
from protocol.staged import Staged
from storage.keyspace import key, key_of, write_known
from storage.kv import MemoryKeyValue
from storage.view import OverlayView

JUDGED_FORMAT: Final = "truc/authority-judged/1"
WORTH_IT: Final = 1_024
"""Things from which on it is kept, and so many more until it is written anew: judging them takes a second."""
_SEAL_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """`until_ms`: as of when. `accepted`: of each thing that was believed, the digest of its whole wire; `others`: of
    those that were not. `pairs`: what the records are but for the things."""

    until_ms: int
    accepted: frozenset[bytes]
    others: frozenset[bytes]
    pairs: dict[bytes, bytes]


class JudgedFile:
    """The file of one folder: opened with one of its keys."""

    def __init__(self, folder: AuthorityFolder, anchor: bytes, signer: Signer | None) -> None:
        """Without a key nothing is read or kept."""
        self._folder: Final = folder
        self._anchor: Final = anchor
        rules = _rules()
        self._rules: Final = rules
        self._secret: Final = None if signer is None or not rules else _secret_of(signer)

    def issued(self, wires: Sequence[bytes], now_ms: int) -> Issued:
        """Everything in the folder, judged as of now.

        Raises:
            FormatError: a thing cannot be read.
        """
        judged = self._read()
        known = None if judged is None else _resumed(judged, self._anchor, wires, now_ms)
        if judged is None or known is None:
            known = Issued(self._anchor)
            known.take(map(thing, wires), now_ms)
            judged = None
        if len(wires) - (0 if judged is None else len(judged.accepted) + len(judged.others)) >= WORTH_IT:
            with suppress(StoreError):  # it only saves time
                self._write(known, {} if judged is None else judged.pairs, now_ms)
        return known

    # --- the file -----------------------------------------------------------------------------

    def _read(self) -> _Judged | None:
        """What is there, if a key of this folder sealed it, for this root and these rules."""
        if self._secret is None:
            return None
        try:
            content = self._folder.read_judged() or b""
        except StoreError:
            return None
        seal, body = content[:_SEAL_BYTES], content[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(self._secret, body)):
            return None
        until_ms, accepted, others, pairs = recall(body)
        return _Judged(
            until_ms=until_ms,
            accepted=_digests_in(accepted),
            others=_digests_in(others),
            pairs=dict(zip(pairs[::2], pairs[1::2], strict=True)),
        )

    def _write(self, issued: Issued, before: dict[bytes, bytes], now_ms: int) -> None:
        if self._secret is None:
            return
        pairs = {**before, **_written(issued)}
        groups: tuple[list[Signed], list[Signed]] = ([], [])
        for digest, signed in issued.things.items():
            groups[issued.view.was_accepted(digest)].append(signed)
        others, believed = (b"".join(sorted(sha256(signed.to_wire()).digest() for signed in group)) for group in groups)
        until_ms = max([now_ms, *map(_date_of, groups[1])])
        rows = [item for pair in sorted(pairs.items()) for item in pair if pair[1]]
        body = encode([until_ms, believed, others, rows])
        self._folder.write_judged(self._seal(self._secret, body) + body)

    def _seal(self, secret: bytes, body: bytes) -> bytes:
        return hmac.digest(secret, lp(JUDGED_FORMAT, self._rules, self._anchor) + sha256(body).digest(), "sha256")


def _resumed(judged: _Judged, anchor: bytes, wires: Sequence[bytes], now_ms: int) -> Issued | None:
    """What was judged before, and on top of it what has come since; None where this might differ from judging all:
    the clock is behind, something is missing or changed, or something older is believed only now."""
    if now_ms < judged.until_ms:
        return None
    known: list[Signed] = []
    further: list[Signed] = []
    waited: list[Signed] = []
    for wire in wires:
        name, signed = sha256(wire).digest(), thing(wire)
        if name in judged.accepted:
            known.append(signed)
            continue
        if name in judged.others:
            waited.append(signed)
        elif _date_of(signed) < judged.until_ms:
            return None
        further.append(signed)
    if len(known) != len(judged.accepted):
        return None
    base = MemoryKeyValue(judged.pairs)
    base.pairs.update(write_known(_row(signed, judged.until_ms)) for signed in known)
    issued = Issued(anchor, records=Staged(OverlayView(base)))
    issued.resume(known)
    issued.take(further, now_ms)
    return None if any(issued.view.was_accepted(signed.digest) for signed in waited) else issued


def _digests_in(joined: bytes) -> frozenset[bytes]:
    return frozenset(joined[at : at + 32] for at in range(0, len(joined), 32))


def _row(signed: Signed, now_ms: int) -> DirectoryThing:
    return DirectoryThing(digest=signed.digest, wire=signed.to_wire(), accepted_ms=now_ms)


def _written(issued: Issued) -> dict[bytes, bytes]:
    """Keys and values of everything but the things; an empty value: deleted."""
    final: dict[bytes, Any] = {}
    for change in issued.changes():
        if isinstance(change, Put):
            final[key_of(change.record)] = change.record
        elif isinstance(change, Delete):
            final[key(change.record, *change.key)] = None
    return {
        at: b"" if record is None else write_known(record)[1]
        for at, record in final.items()
        if not isinstance(record, DirectoryThing)
    }


def _date_of(signed: Signed) -> int:
    form = {**FORMATS, **NUMBERED}.get(signed.format)
    try:
        value = form.decode(signed.statement) if form is not None else None
    except FormatError:
        value = None
    date_ms: int = getattr(value, "created_ms", getattr(value, "from_ms", 0))
    return date_ms


# --- pieces -----------------------------------------------------------------------------------


def _secret_of(signer: Signer) -> bytes:
    """What only the holder of this key finds: its signature (always the same one) on a text that is no statement's."""
    about = lp(JUDGED_FORMAT)
    return sha256(about + signer.sign(about + signer.public.key_id)).digest()


def _rules() -> bytes:
    """What everything was judged by: the digest of the program's own text; empty if that is not there to be read."""
    folder = Path(str(protocol.__file__)).parent
    files: Iterable[Path] = [*sorted(folder.glob("*.py")), Path(str(authority_log.__file__)), Path(__file__)]
    try:
        return sha256(b"".join(lp(file.name, file.read_bytes()) for file in files)).digest()
    except OSError:
        return b""
