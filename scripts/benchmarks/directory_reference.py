"""The bare loop beside the directory's figures: verify and write, nothing judged, nothing indexed.

    python -m scripts.benchmarks.directory_reference take --file nation.truc --folder DIR [--limit N]
    python -m scripts.benchmarks.directory_reference carry --bytes 300 --rounds 200

`take`: every thing of a directory file is unpacked, its leaf hashed, its path followed to the root of its
batch, each root's signature verified once, and three pairs of the product's sizes are put into LevelDB, a
thousand things to a synced batch; one process, one thread. `carry`: a small change is written and synced,
carried over a loopback connection, verified, written and synced at the other end. It shares no code with
the product.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any, Final

import msgpack
import plyvel
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

BATCH: Final = 1_000
KEY: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def take(file: Path, folder: Path, limit: int) -> dict[str, Any]:
    """Seconds for all things of a file, and how many there were."""
    _, wires = msgpack.unpackb(file.read_bytes(), max_array_len=10**7, max_bin_len=10**7)
    wires = wires[:limit] if limit else wires
    path = folder / "reference-db"
    shutil.rmtree(path, ignore_errors=True)
    begun, cpu = time.monotonic(), time.process_time()
    db = plyvel.DB(str(path), create_if_missing=True, write_buffer_size=4 << 20)
    public, signature = KEY.public_key(), KEY.sign(b"batch")
    roots: set[bytes] = set()
    for at in range(0, len(wires), BATCH):
        with db.write_batch(transaction=True, sync=True) as batch:
            for wire in wires[at : at + BATCH]:
                digest = _take_one(wire, roots, public, signature)
                batch.put(b"d" + digest, wire)
                batch.put(b"n" + digest, digest + bytes(24))
                batch.put(b"h" + digest, digest + bytes(32))
    spent = time.monotonic() - begun
    used = time.process_time() - cpu
    db.close()
    shutil.rmtree(path, ignore_errors=True)
    return {"seconds": spent, "cpu": used, "things": len(wires), "signatures": len(roots)}


def _take_one(wire: bytes, roots: set[bytes], public: Ed25519PublicKey, signature: bytes) -> bytes:
    """The digest of a thing whose path was followed; a new root costs one verification."""
    name, statement, signatures = msgpack.unpackb(wire)
    msgpack.unpackb(statement, strict_map_key=False)
    leaf = hashlib.sha256(b"\0" + name.encode() + statement).digest()
    for _key, signed, _size, index, path in signatures:
        node, place = leaf, index
        for sibling in path:
            node = hashlib.sha256(b"\1" + (sibling + node if place & 1 else node + sibling)).digest()
            place >>= 1
        if signed not in roots:
            roots.add(signed)
            public.verify(signature, b"batch")
    return leaf


def carry(size: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Milliseconds from handing over a change to its being durable at the other end."""
    left, right = socket.socketpair()
    sender, taker = (_Log(folder / f"reference-{name}") for name in "ab")
    late: list[float] = []
    public = KEY.public_key()

    def take_all() -> None:
        for _ in range(rounds):
            content = _exactly(right, size + 64)
            public.verify(content[:64], content[64:])
            taker.keep(content)
            right.sendall(b".")

    thread = threading.Thread(target=take_all, daemon=True)
    thread.start()
    for _ in range(rounds):
        begun, change = time.monotonic(), os.urandom(size)
        content = KEY.sign(change) + change
        sender.keep(content)
        left.sendall(content)
        _exactly(left, 1)
        late.append(1000 * (time.monotonic() - begun))
    thread.join()
    ordered = sorted(late)
    return {"p50_ms": ordered[len(ordered) // 2], "p99_ms": ordered[int(0.99 * len(ordered))]}


class _Log:
    """A file that is synced after every piece."""

    def __init__(self, path: Path) -> None:
        self._file: Final = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)

    def keep(self, content: bytes) -> None:
        """Append and sync."""
        os.write(self._file, content)
        os.fdatasync(self._file)


def _exactly(source: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        content += source.recv(size - len(content))
    return content


def main() -> None:
    """Run one of the references; its figures as JSON."""
    parser = argparse.ArgumentParser(description="the bare loop beside the directory's figures")
    parser.add_argument("what", choices=["take", "carry"])
    parser.add_argument("--file", type=Path)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=700)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path())
    given = parser.parse_args()
    if given.what == "take":
        print(json.dumps(take(given.file, given.folder, given.limit)))
    else:
        print(json.dumps(carry(given.bytes, given.rounds, given.folder)))


if __name__ == "__main__":
    main()
