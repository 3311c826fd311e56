"""The bare loop that figures are compared with: the same cryptography and disk work, without the product.

    python -m scripts.benchmarks.reference documents --size 65536 --batch 12 --seconds 20 --folder DIR
    python -m scripts.benchmarks.reference part --bytes 1000000000 --folder DIR
    python -m scripts.benchmarks.reference memory

Two processes, as there are two nodes, and one TCP connection over loopback. Per document: the
content hashed twice and sealed, the sealed body hashed at both ends, opened and hashed again; a
header sealed and opened; the content key derived from, wrapped for the recipient (HPKE), unwrapped,
and wrapped for the disk at both ends. Per batch: two signatures by the sender, one by the recipient,
each verified once. Per 16 documents: two `fdatasync`, one at each end. No records, no HTTP, no
directory, no queue. With `--pause` one document at a time, and a sync for each at either end. It
shares no code with the product; sizes are those of a typical document.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SYNC_DOCUMENTS: Final = 16
CHUNK: Final = 64 * 1024
TAG: Final = 16
HEADER: Final = 600
"""Bytes of a typical header (subject, signer, one part)."""
STATEMENTS: Final = 700
"""Bytes of envelope and consignment with their signatures on the wire."""
WINDOW_DOCUMENTS: Final = 64
RECEIPT: Final = 96
SEED_A: Final = bytes(range(32))
SEED_B: Final = bytes(range(32, 64))
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_NONCE: Final = bytes(12)
_COUNT: Final = struct.Struct(">I")


# --- one document ---------------------------------------------------------------------------


def derive(key: bytes, salt: bytes, length: int) -> bytes:
    """HKDF-SHA256."""
    made: Any = HKDF(algorithm=SHA256(), length=length, salt=salt, info=b"reference").derive
    derived: bytes = made(key)
    return derived


def for_the_disk(vault: bytes, key: bytes) -> bytes:
    """A content key wrapped under the vault key."""
    salt = os.urandom(16)
    return salt + AESGCM(derive(vault, salt, 32)).encrypt(_NONCE, key, None)


def sealed(key: bytes, plain: memoryview) -> bytes:
    """Content in sealed chunks."""
    cipher = AESGCM(key)
    pieces = (plain[at : at + CHUNK] for at in range(0, len(plain), CHUNK))
    return b"".join(cipher.encrypt(n.to_bytes(12, "big"), piece, None) for n, piece in enumerate(pieces))


def opened(key: bytes, content: memoryview) -> bytes:
    """The reverse."""
    cipher = AESGCM(key)
    pieces = (content[at : at + CHUNK + TAG] for at in range(0, len(content), CHUNK + TAG))
    return b"".join(cipher.decrypt(n.to_bytes(12, "big"), piece, None) for n, piece in enumerate(pieces))


def leaf(statement: bytes) -> bytes:
    """The hash of a statement in a batch."""
    return hashlib.sha256(b"\0" + statement).digest()


def root(leaves: list[bytes]) -> bytes:
    """As many hashes as a Merkle tree has inner nodes."""
    top = leaves[0]
    for item in leaves[1:]:
        top = hashlib.sha256(b"\1" + top + item).digest()
    return top


class Disk:
    """A file that is synced after every so many documents."""

    def __init__(self, path: Path, every: int) -> None:
        self._file: Final = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._every: Final = every
        self._unsynced = 0

    def keep(self, pieces: list[bytes], documents: int) -> None:
        """Append, and sync when it is time."""
        os.write(self._file, b"".join(pieces))
        self._unsynced += documents
        while self._unsynced >= self._every:
            os.fdatasync(self._file)
            self._unsynced -= self._every


# --- the sender -----------------------------------------------------------------------------


class Sender:
    """Makes batches and reads receipts."""

    def __init__(
        self, size: int, batch: int, disk: Disk, peer: X25519PublicKey, link: socket.socket
    ) -> None:
        self._plain: Final = bytearray(os.urandom(size))
        self._batch: Final = batch
        self._disk: Final = disk
        self._peer: Final = peer
        self._link: Final = link
        self._key: Final = Ed25519PrivateKey.from_private_bytes(SEED_A)
        self._theirs: Final = Ed25519PrivateKey.from_private_bytes(SEED_B).public_key()
        self._vault: Final = os.urandom(32)
        self._owed: deque[tuple[float, list[bytes]]] = deque()
        self._count = 0
        self.latencies: list[float] = []

    def run(self, seconds: float, pause_s: float) -> float:
        """Documents per second."""
        begun = time.monotonic()
        window = max(1, WINDOW_DOCUMENTS // self._batch) if not pause_s else 1
        while time.monotonic() - begun < seconds:
            while len(self._owed) >= window:
                self._settle()
                time.sleep(pause_s)
            self._send()
        while self._owed:
            self._settle()
        return self._count / (time.monotonic() - begun)

    def _send(self) -> None:
        at = time.monotonic()
        frames, leaves = [], []
        for _ in range(self._batch):
            frame, statement = self._document()
            frames.append(frame)
            leaves.append(leaf(statement))
        top = root(leaves)
        envelopes, consignments = self._key.sign(top + b"e"), self._key.sign(top + b"c")
        self._disk.keep(frames, len(frames))
        self._link.sendall(b"".join((_COUNT.pack(len(frames)), envelopes, consignments, top, *frames)))
        self._owed.append((at, leaves))

    def _document(self) -> tuple[bytes, bytes]:
        self._count += 1
        self._plain[:4] = _COUNT.pack(self._count)
        plain = memoryview(self._plain)
        request = hashlib.sha256(plain).digest()
        part_key, content_key, envelope_id = os.urandom(32), os.urandom(32), os.urandom(16)
        body = sealed(part_key, plain)
        digests = hashlib.sha256(plain).digest() + hashlib.sha256(b"\0" + body).digest()
        keys = derive(content_key, envelope_id, 64)
        header = sealed(keys[:32], memoryview(part_key + digests + bytes(HEADER - 96)))
        statement = envelope_id + keys[32:] + digests[32:] + hashlib.sha256(header).digest() + request
        statement = statement.ljust(STATEMENTS, b"\0")
        stanza = _SUITE.encrypt(content_key, self._peer, leaf(statement))
        for_the_disk(self._vault, content_key)
        return b"".join((statement, stanza, header, body)), statement

    def _settle(self) -> None:
        answer = receive(self._link, 64 + 32)
        at, leaves = self._owed.popleft()
        self._theirs.verify(answer[:64], answer[64:])
        if answer[64:] != root([hashlib.sha256(b"\0receipt" + item).digest() for item in leaves]):
            raise SystemExit("the reference's receipts are not those of its documents")
        self._disk.keep([answer * len(leaves)], 0)
        self.latencies += [time.monotonic() - at] * len(leaves)


# --- the recipient --------------------------------------------------------------------------


def recipient(size: int, disk: Disk, link: socket.socket, own: X25519PrivateKey) -> None:
    """Take batches until the sender ends."""
    key, vault = Ed25519PrivateKey.from_private_bytes(SEED_B), os.urandom(32)
    theirs = Ed25519PrivateKey.from_private_bytes(SEED_A).public_key()
    frame_bytes = STATEMENTS + 80 + HEADER + TAG + size + TAG * max(1, -(-size // CHUNK))
    while head := receive(link, _COUNT.size, ends=True):
        (count,) = _COUNT.unpack(head)
        signed = receive(link, 64 + 64 + 32)
        content = memoryview(receive(link, count * frame_bytes))
        leaves = [_take(content[at : at + frame_bytes], own, vault) for at in range(0, len(content), frame_bytes)]
        _check(theirs, signed, root(leaves))
        disk.keep([bytes(content)], count)
        top = root([hashlib.sha256(b"\0receipt" + item).digest() for item in leaves])
        link.sendall(key.sign(top) + top)


def _take(frame: memoryview, own: X25519PrivateKey, vault: bytes) -> bytes:
    statement, stanza = bytes(frame[:STATEMENTS]), bytes(frame[STATEMENTS : STATEMENTS + 80])
    header = frame[STATEMENTS + 80 : STATEMENTS + 80 + HEADER + TAG]
    body = frame[STATEMENTS + 80 + HEADER + TAG :]
    name = leaf(statement)
    content_key = _SUITE.decrypt(stanza, own, name)
    keys = derive(content_key, statement[:16], 64)
    if keys[32:] != statement[16:48] or hashlib.sha256(header).digest() != statement[80:112]:
        raise SystemExit("the reference's header is damaged")
    known = opened(keys[:32], header)
    tree = hashlib.sha256(b"\0")
    tree.update(body)
    if tree.digest() != statement[48:80]:
        raise SystemExit("the reference's body is damaged")
    plain = opened(known[:32], body)
    if hashlib.sha256(plain).digest() != known[32:64]:
        raise SystemExit("the reference's content is damaged")
    for_the_disk(vault, content_key)
    return name


def _check(theirs: Ed25519PublicKey, signed: bytes, top: bytes) -> None:
    theirs.verify(signed[:64], top + b"e")
    theirs.verify(signed[64:128], top + b"c")


def receive(link: socket.socket, size: int, *, ends: bool = False) -> bytes:
    """Exactly so many bytes; none where the stream may end."""
    content = bytearray(size)
    view, got = memoryview(content), 0
    while got < size:
        piece = link.recv_into(view[got:])
        if not piece:
            if ends and not got:
                return b""
            raise SystemExit("the reference's connection broke")
        got += piece
    return bytes(content)


# --- documents ------------------------------------------------------------------------------


def documents(size: int, batch: int, seconds: float, folder: Path, pause_s: float) -> dict[str, Any]:
    """Documents per second, latencies, and what both processes used."""
    own = X25519PrivateKey.from_private_bytes(SEED_B)
    every = 1 if pause_s else SYNC_DOCUMENTS
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        words = ["recipient", "--port", port, "--size", size, "--every", every, "--folder", folder]
        child = subprocess.Popen([sys.executable, "-m", "scripts.benchmarks.reference", *map(str, words)])
        try:
            listener.settimeout(30)
            link, _ = listener.accept()
            with link:
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                link.settimeout(60)
                sender = Sender(size, batch, Disk(folder / "reference-a", every), own.public_key(), link)
                rate = sender.run(seconds, pause_s)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if child.returncode is None:
                child.kill()
                child.wait()
    ordered = sorted(1000 * value for value in sender.latencies)
    return {
        "rate": rate,
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[int(0.99 * len(ordered))],
        "cpu": {"sender": time.process_time(), "recipient": usage.ru_utime + usage.ru_stime},
    }


def _recipient(port: int, size: int, disk: Disk) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        recipient(size, disk, link, X25519PrivateKey.from_private_bytes(SEED_B))


# --- one large part -------------------------------------------------------------------------


def part(size: int, folder: Path) -> dict[str, Any]:
    """Bytes per second of upload, transfer and download, one after the other."""
    folder_a, folder_b = folder / "reference-a", folder / "reference-b"
    key, piece = os.urandom(32), os.urandom(CHUNK)
    seconds = {
        "up": _stage(lambda out: _pour(out, piece, size), lambda source: _seal_file(source, key, folder_a)),
        "transfer": _stage(lambda out: _send_file(out, folder_a), lambda source: _open_file(source, key, folder_b)),
        "down": _stage(lambda out: _send_opened(out, key, folder_b), _drink),
    }
    folder_a.unlink()
    folder_b.unlink()
    return {"rate": size / sum(seconds.values()), **{name: size / spent for name, spent in seconds.items()}}


def _stage(give: Any, take: Any) -> float:
    """One end in a thread, the other here; hashing, sealing and sockets let the other one run."""
    left, right = socket.socketpair()
    begun = time.monotonic()

    def giving() -> None:
        with left:
            give(left)

    thread = threading.Thread(target=giving)
    thread.start()
    with right:
        take(right)
    thread.join()
    return time.monotonic() - begun


def _pour(out: socket.socket, piece: bytes, size: int) -> None:
    for at in range(0, size, len(piece)):
        out.sendall(piece[: size - at])


def _pieces(source: socket.socket, size: int) -> Any:
    held = bytearray()
    while piece := source.recv(256 * 1024):
        held += piece
        while len(held) >= size:
            yield bytes(held[:size])
            del held[:size]
    if held:
        yield bytes(held)


def _seal_file(source: socket.socket, key: bytes, path: Path) -> None:
    cipher, plain, body = AESGCM(key), hashlib.sha256(), hashlib.sha256()
    with path.open("wb") as file:
        for number, piece in enumerate(_pieces(source, CHUNK)):
            plain.update(piece)
            chunk = cipher.encrypt(number.to_bytes(12, "big"), piece, None)
            body.update(chunk)
            file.write(chunk)
        file.flush()
        os.fdatasync(file.fileno())


def _send_file(out: socket.socket, path: Path) -> None:
    with path.open("rb") as file:
        while piece := file.read(256 * 1024):
            out.sendall(piece)


def _open_file(source: socket.socket, key: bytes, path: Path) -> None:
    cipher, plain, body = AESGCM(key), hashlib.sha256(), hashlib.sha256()
    with path.open("wb") as file:
        for number, chunk in enumerate(_pieces(source, CHUNK + TAG)):
            body.update(chunk)
            plain.update(cipher.decrypt(number.to_bytes(12, "big"), chunk, None))
            file.write(chunk)
        file.flush()
        os.fdatasync(file.fileno())


def _send_opened(out: socket.socket, key: bytes, path: Path) -> None:
    cipher = AESGCM(key)
    with path.open("rb") as file:
        number = 0
        while chunk := file.read(CHUNK + TAG):
            out.sendall(cipher.decrypt(number.to_bytes(12, "big"), chunk, None))
            number += 1


def _drink(source: socket.socket) -> None:
    plain = hashlib.sha256()
    while piece := source.recv(256 * 1024):
        plain.update(piece)


# --- memory ---------------------------------------------------------------------------------


def libraries() -> dict[str, Any]:
    """The resident memory of an interpreter that has only imported what the product rests on."""
    import fastapi
    import hypercorn.trio
    import libp2p
    import msgspec
    import plyvel
    import prometheus_client
    import structlog
    import trio

    from scripts.benchmarks.probe import memory

    loaded = (fastapi, hypercorn.trio, libp2p, msgspec, plyvel, prometheus_client, structlog, trio)
    return {"own": memory(os.getpid()).own, "libraries": [module.__name__ for module in loaded]}


def main() -> None:
    """Run one of the references; its figures as JSON."""
    parser = argparse.ArgumentParser(description="the bare loop")
    parser.add_argument("what", choices=["documents", "recipient", "part", "memory"])
    parser.add_argument("--size", type=int, default=CHUNK)
    parser.add_argument("--batch", type=int, default=SYNC_DOCUMENTS)
    parser.add_argument("--every", type=int, default=SYNC_DOCUMENTS)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--bytes", type=int, default=10**9)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path())
    given = parser.parse_args()
    if given.what == "recipient":
        _recipient(given.port, given.size, Disk(given.folder / "reference-b", given.every))
        return
    if given.what == "documents":
        figures = documents(given.size, given.batch, given.seconds, given.folder, given.pause)
    else:
        figures = part(given.bytes, given.folder) if given.what == "part" else libraries()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
