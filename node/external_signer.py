"""A key that another process holds: the node's end of `protocol/spec/signer.md`.

Keeps one connection, asks for one signature at a time, checks each before anybody uses it. Whoever
cannot be reached, is slow or breaks a rule is dropped and dialled again, so a signer may be killed and
started at any time. What is signed, and what becomes of what cannot be, is `node/presigning.py`.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from node.keyring import SignerPlace
from node.logs import Log
from node.tasks import Ready
from protocol import signer
from protocol.errors import ConfigurationError, FormatError, NetworkError, TrucError, TrustError
from protocol.framing import Decoder
from protocol.framing import Frame as RawFrame
from protocol.limits import SIGNER_FRAME_BYTES_MAX
from protocol.merkle import tree_root
from protocol.signer import Kind
from protocol.signing import PublicKey, Verifier, key_id_of, sign_batch, signed_text, thing_digest

PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
READ_BYTES: Final = 4096
CREDENTIALS: Final = struct.Struct("=iII")
"""`struct ucred` of unix(7): pid, uid, gid."""
ROOT_UID: Final = 0


class _Pending:
    """The one request under way."""

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.done: Final = trio.Event()
        self.signature = b""
        self.error: TrucError | None = None


class ExternalSigner:
    """One signer. Belongs to the loop."""

    def __init__(
        self, place: SignerPlace, log: Log, *, connect: Callable[[], Awaitable[trio.abc.Stream]] | None = None
    ) -> None:
        """`connect` opens the stream; the default is the Unix socket, with a look at who is behind it."""
        self.place: Final = place
        self.public: Final = place.public
        self._log: Final = log
        self._connect: Final = connect or self._open_socket
        self._verifier: Final = Verifier(memo_entries=1)
        self._turn: Final = trio.Lock()
        self._stream: trio.abc.Stream | None = None
        self._pending: _Pending | None = None
        self._number = 0
        self.trouble: TrucError | None = self._unreachable("not connected yet")
        """Why it cannot be asked now; None when it can."""
        self.served: tuple[bytes, ...] = ()
        """Ids of the keys that it named when it was last reached, ours among them or not."""
        self.on_up: Callable[[], None] = lambda: None

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Stay connected until cancelled; started after the first try."""
        pause_s, is_ready = PAUSE_MIN_S, False
        while True:
            try:
                stream, decoder, frames = await self._greeted()
            except TrucError as error:
                self._down(error)
            else:
                pause_s = PAUSE_MIN_S
                self._up(stream)
                if not is_ready:
                    is_ready = True
                    task_status.started()
                await self._listen(stream, decoder, frames)
            if not is_ready:
                is_ready = True
                task_status.started()
            await trio.sleep(pause_s)  # the pause before the next try, not a poll
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    async def sign(self, format_name: str, statements: Sequence[bytes]) -> Signature:
        """One signature over all these statements of one format.

        Raises:
            NetworkError: `signer_unreachable`, `signer_slow`, `signer_protocol`, `signer_refused`,
                `signer_wrong_signature`.
            ConfigurationError, RequestError: `signer_user`, `signer_other_key`.
        """
        root = tree_root([thing_digest(format_name, statement) for statement in statements])
        text = signed_text(format_name, self.public, root)
        async with self._turn:
            found = Signature(self.public, text, await self._ask(text))
            try:
                self._verifier.verify(sign_batch(format_name, statements, found)[0], self.public)
            except TrustError as error:  # never used, and its maker not asked again before a new greeting
                raise await self._drop(NetworkError("signer_wrong_signature")) from error
            return found

    # --- asking -------------------------------------------------------------------------------

    async def _ask(self, text: bytes) -> bytes:
        if self.trouble is not None or self._stream is None:
            raise self.trouble or self._unreachable("closed")
        self._number += 1
        pending = self._pending = _Pending(self._number)
        request = signer.Sign(number=pending.number, key_id=self.public.key_id, text=text)
        try:
            with trio.fail_after(self.place.deadline_s):
                await self._stream.send_all(signer.write(request))
                await pending.done.wait()
        except trio.TooSlowError:
            raise await self._drop(NetworkError("signer_slow", seconds=int(self.place.deadline_s))) from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise await self._drop(self._unreachable(type(error).__name__)) from error
        finally:
            self._pending = None
        if pending.error is not None:
            raise pending.error
        return pending.signature

    # --- the connection -----------------------------------------------------------------------

    async def _greeted(self) -> tuple[trio.abc.Stream, Decoder, list[RawFrame]]:
        """A stream whose signer has our key; and what was read of it beyond its hello."""
        with trio.move_on_after(self.place.deadline_s):
            stream = await self._connect()
            try:
                return await self._hear_hello(stream)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        raise NetworkError("signer_slow", seconds=int(self.place.deadline_s))

    async def _hear_hello(self, stream: trio.abc.Stream) -> tuple[trio.abc.Stream, Decoder, list[RawFrame]]:
        decoder = Decoder(SIGNER_FRAME_BYTES_MAX)
        frames: list[RawFrame] = []
        try:
            while not frames:
                frames = decoder.feed(await self._read(stream))
            hello: signer.Hello = signer.read(*frames.pop(0), Kind.HELLO)
            self.served = tuple(key_id_of(key.algorithm, key.raw) for key in hello.keys)
            signer.check_hello(hello, self.public)
        except FormatError as error:
            raise NetworkError("signer_protocol", reason=str(error)) from error
        return stream, decoder, frames

    async def _read(self, stream: trio.abc.Stream) -> bytes:
        try:
            read = bytes(await stream.receive_some(READ_BYTES))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._unreachable(type(error).__name__) from error
        if not read:
            raise self._unreachable("closed by the signer")
        return read

    async def _listen(self, stream: trio.abc.Stream, decoder: Decoder, frames: list[RawFrame]) -> None:
        """Hand answers to whoever waits, until the stream ends or a rule is broken."""
        try:
            while self.trouble is None:
                for frame in frames:
                    self._take(frame)
                frames = decoder.feed(await self._read(stream))
        except FormatError as error:
            self._down(NetworkError("signer_protocol", reason=str(error)))
        except NetworkError as error:
            if self.trouble is None:
                self._down(error)
        finally:
            await trio.aclose_forcefully(stream)

    def _take(self, frame: RawFrame) -> None:
        answer = signer.read(*frame, Kind.SIGNED, Kind.FAILED)
        pending = self._pending
        if pending is None or pending.done.is_set() or answer.number != pending.number:
            raise FormatError("format_field", field="number", reason="nothing was asked under this number")
        if isinstance(answer, signer.Failed):
            pending.error = NetworkError("signer_refused", code=answer.code, reason=answer.reason)
            self._log.warning("signer_refused", agency=self.place.agency, code=answer.code, reason=answer.reason)
        else:
            pending.signature = answer.signature
        pending.done.set()

    def _up(self, stream: trio.abc.Stream) -> None:
        self._stream, self.trouble = stream, None
        self._log.info("signer_up", agency=self.place.agency, key=self.public.key_id.hex()[:16])
        self.on_up()

    def _down(self, error: TrucError) -> None:
        """The signer cannot be asked; whoever waits for it is told, and an operator when it is news."""
        before, self.trouble, self._stream = self.trouble, error, None
        if before is None or before.code != error.code:
            self._log.warning("signer_away", agency=self.place.agency, code=error.code, **error.detail)
        if self._pending is not None:
            self._pending.error = error
            self._pending.done.set()

    async def _drop(self, error: TrucError) -> TrucError:
        """Give up the connection: a late answer must not be taken for the next one."""
        stream = self._stream
        self._down(error)
        if stream is not None:
            await trio.aclose_forcefully(stream)
        return error

    def _unreachable(self, reason: str) -> NetworkError:
        return NetworkError("signer_unreachable", socket=str(self.place.socket), reason=reason)

    async def _open_socket(self) -> trio.abc.Stream:
        try:
            stream = await trio.open_unix_socket(str(self.place.socket))
        except (OSError, ValueError) as error:  # ValueError: a path too long for a socket
            raise self._unreachable(getattr(error, "strerror", None) or str(error)) from error
        allowed = {ROOT_UID, os.getuid()} if self.place.uid is None else {self.place.uid}
        uid = user_behind(stream)
        if uid not in allowed:
            await trio.aclose_forcefully(stream)
            raise ConfigurationError("signer_user", socket=str(self.place.socket), uid=uid)
        return stream


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that has been made elsewhere, in the place of a signer: it signs the one text it is for."""

    public: PublicKey
    text: bytes
    signature: bytes

    def sign(self, message: bytes) -> bytes:
        """The signature that is there already."""
        assert message == self.text, "another text than the one that was signed"
        return self.signature


def user_behind(stream: trio.SocketStream) -> int:
    """The user id of the process at the other end of a Unix socket (its listener's, or its dialler's)."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    uid: int = CREDENTIALS.unpack(raw)[1]
    return uid
