"""The reference signer: holds one key in its own process and signs what a node asks for on a Unix socket.

    python -m node.signer_agent KEYFILE --socket /run/truc/signer.sock

Obeys `protocol/spec/signer.md`. For tests and small sites: another user id can keep the key from whoever
takes over the node. Signers for tokens and HSMs keep the same words with another key behind them. The
key file is a blob under a passphrase (`storage/keystore.py`); `--new` makes one and prints the public key.
"""

from __future__ import annotations

import argparse
import getpass
import os
import socket
import stat
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from node.environment import RealEnvironment
from node.external_signer import READ_BYTES, ROOT_UID, user_behind
from node.founding import write_new
from node.logs import LineSink, Log, make_log
from node.tasks import Ready
from protocol import signer
from protocol.catalogue import next_step, text
from protocol.errors import ConfigurationError, FormatError, TrucError
from protocol.framing import Decoder
from protocol.limits import SIGNER_FRAME_BYTES_MAX
from protocol.signer import DEFAULT_FORMATS, Kind
from protocol.signing import Ed25519Signer, Signer
from storage.keystore import Cost, open_secrets, read_credential, seal_secrets

SEED: Final = "seed"
KEY_FILE_BYTES_MAX: Final = 64 * 1024
CONNECTIONS_MAX: Final = 4
"""One node, and its successor while it restarts."""
BACKLOG: Final = 4
EXIT_LOCAL: Final = 4


class SignerAgent:
    """Signs for whoever connects and may. One request at a time per connection."""

    def __init__(
        self,
        key: Signer,
        log: Log,
        *,
        formats: Collection[str] = DEFAULT_FORMATS,
        uids: Collection[int] = (),
    ) -> None:
        """`uids`: users besides root and our own who may connect."""
        self._key: Final = key
        self._log: Final = log
        self._formats: Final = frozenset(formats)
        self._uids: Final = frozenset({ROOT_UID, os.getuid(), *uids})
        self._connections = 0
        self.signed = 0

    async def run(self, listener: socket.socket, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the connections of a listening Unix socket until cancelled."""
        listening = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        self._log.info("signer_ready", key=self._key.public.key_id.hex()[:16], formats=sorted(self._formats))
        task_status.started()
        await trio.serve_listeners(self._accept, [listening])

    async def _accept(self, stream: trio.SocketStream) -> None:
        uid = user_behind(stream)
        if uid not in self._uids or self._connections >= CONNECTIONS_MAX:
            self._log.warning("signer_turned_away", uid=uid, connections=self._connections)
            await trio.aclose_forcefully(stream)
            return
        self._connections += 1
        try:
            await self.serve(stream)
        except (FormatError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._log.info("signer_connection_ended", uid=uid, reason=str(error) or type(error).__name__)
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """One connection, until its other end closes.

        Raises:
            FormatError: it broke a rule.
            trio.BrokenResourceError: it is gone.
        """
        public = self._key.public
        key = signer.RawKey(algorithm=public.algorithm, raw=public.raw)
        await stream.send_all(signer.write(signer.Hello(protocol=signer.PROTOCOL, keys=(key,))))
        decoder = Decoder(SIGNER_FRAME_BYTES_MAX)
        while read := await stream.receive_some(READ_BYTES):
            for frame in decoder.feed(bytes(read)):
                await stream.send_all(signer.write(self.answer(signer.read(*frame, Kind.SIGN))))
        decoder.finish()

    def answer(self, request: signer.Sign) -> signer.SignedText | signer.Failed:
        """What a request is answered."""
        refused = signer.refusal_of(request, self._key.public, self._formats)
        if refused:
            self._log.warning("signer_refused", code=refused)
            return signer.Failed(number=request.number, code=refused)
        self.signed += 1
        return signer.SignedText(number=request.number, signature=self._key.sign(request.text))


def bind(path: Path, *, mode: int = 0o600) -> socket.socket:
    """A listening socket, by default one that only this user (and root) can open; a dead one of before is replaced.

    Raises:
        ConfigurationError: `signer_socket` (somebody answers there, or the folder is not ours).
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_dead(path)
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError("signer_socket", path=str(path), reason=error.strerror or str(error)) from error
    except ConfigurationError:
        listener.close()
        raise
    return listener


def _remove_dead(path: Path) -> None:
    if not path.exists() or not stat.S_ISSOCK(path.stat().st_mode):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink()
            return
    raise ConfigurationError("signer_socket", path=str(path), reason="in use")


# --- the key file -----------------------------------------------------------------------------


def make_key_file(
    path: Path, passphrase: bytes, *, entropy: Callable[[int], bytes], cost: Cost | None = None
) -> Ed25519Signer:
    """A new key in a new file. Raises: ConfigurationError, as `write_new`."""
    seed = entropy(32)
    write_new(path, seal_secrets({SEED: seed}, passphrase, entropy=entropy, cost=cost), mode=0o400)
    return Ed25519Signer(seed)


def open_key_file(path: Path, passphrase: bytes) -> Ed25519Signer:
    """The key in a file.

    Raises:
        ConfigurationError: `signer_key_file`, `key_backup_damaged`, `keystore_passphrase`.
    """
    try:
        with path.open("rb") as file:
            blob = file.read(KEY_FILE_BYTES_MAX)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError("signer_key_file", path=str(path), reason=reason) from error
    seed = open_secrets(blob, passphrase).get(SEED, b"")
    if len(seed) != 32:
        raise ConfigurationError("signer_key_file", path=str(path), reason="no seed of 32 bytes")
    return Ed25519Signer(seed)


# --- the program ------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; what is wrong goes to the log, in both languages."""
    options = _parser().parse_args(arguments)
    environment = RealEnvironment()
    log = make_log(LineSink(sys.stderr), environment)
    try:
        passphrase = _passphrase(options.passphrase_file)
        if options.new:
            made = make_key_file(options.key_file, passphrase, entropy=environment.entropy)
            sys.stdout.write(f'public_key = "{made.public.raw.hex()}"\n')
            return 0
        key = open_key_file(options.key_file, passphrase)
        agent = SignerAgent(key, log, formats=options.format or DEFAULT_FORMATS, uids=options.uid)
        listener = bind(options.socket, mode=0o666 if options.uid else 0o600)
    except TrucError as error:
        told = {"vi": text(error, "vi"), "en": text(error, "en")}
        log.error("start_failed", code=error.code, **told, next_step=next_step(error, "vi"))
        return EXIT_LOCAL
    try:
        trio.run(partial(agent.run, listener))
    except KeyboardInterrupt:
        log.info("stopped", signed=agent.signed)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m node.signer_agent",
        description="Tiến trình ký tham chiếu: giữ một khóa và ký cho nút. "
        "/ The reference signer: holds one key and signs for a node.",
    )
    add = parser.add_argument
    add("key_file", type=Path, metavar="KEYFILE", help="tệp khóa / the key file")
    add("--new", action="store_true", help="tạo khóa mới rồi dừng / make a new key and stop")
    add("--socket", type=Path, default=Path("signer.sock"), help="ổ cắm Unix / the Unix socket")
    add("--passphrase-file", type=Path, help="tệp mật khẩu; không có: hỏi / file with the passphrase; else asked")
    add("--uid", type=int, action="append", default=[], help="người dùng được nối / a user who may connect")
    add("--format", action="append", default=[], help="định dạng được ký / a format that may be signed")
    return parser


def _passphrase(file: Path | None) -> bytes:
    """Raises: ConfigurationError, as `read_credential`."""
    return read_credential(file) if file is not None else getpass.getpass("Mật khẩu / passphrase: ").encode()


if __name__ == "__main__":
    sys.exit(main())
