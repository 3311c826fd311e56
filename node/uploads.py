"""Parts on their way in: sealed while they are uploaded, durable up to a known offset, resumable.

Obeys DESIGN §3 "Sealing", §7 and DECISIONS "Uploads"; `protocol/spec/uploads.md` tells the rules
that clients see. No plain byte reaches the disk. Each upload has a key of its own; after a crash
or a failure its durable prefix is sealed again under a new one, so that no key ever seals two
streams. The bytes of HTTP are left to `node/api/uploads.py`, the document to `node/intake.py`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from node.access import require_right
from node.environment import Environment
from node.intake import upload_context
from node.logs import Log
from node.pump import Pump
from node.tasks import Ready
from node.upload_stream import UploadStream, new_token, reseal, upload_tokens
from protocol.draft import Draft
from protocol.errors import RequestError, StoreError, TrucError
from protocol.limits import CHUNK_BYTES, DAY_MS, KIB, MIB, MINUTE_MS, PART_BYTES_MAX
from protocol.record import Body, Put, PutBody
from protocol.records import Upload
from protocol.sealing import sealed_size, vault_open, vault_wrap
from protocol.step import Caller, Recorded
from storage.store import Store

ID_CHARACTERS_MAX: Final = 64
UPLOADS_MAX: Final = 1_000
"""Open or unused uploads of one system: two documents of the largest number of parts."""
STREAMS_KEPT: Final = 64
"""Unfinished uploads whose sealer stays in memory; others are sealed again when they go on."""
PIECE_BYTES: Final = 256 * KIB
"""Plain bytes gathered before they go to a worker."""
RECORD_BYTES: Final = 32 * MIB
"""So many bytes at most are sent again after the power failed in the middle of a PUT."""
LIFE_MS: Final = DAY_MS
SLEEP_MAX_S: Final = 3_600
"""The wall clock may be moved meanwhile; what comes later falls due later."""
PAGE: Final = 1_000

_ID: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{ID_CHARACTERS_MAX}}}")
_Place = tuple[bytes, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where an upload stands: durable plain bytes of all; SHA-256 of the whole when complete."""

    upload_id: str
    offset: int
    total: int
    plain_digest: bytes = b""


class Uploads:
    """All uploads of a node. Belongs to the loop; sealing and writing happen in workers."""

    def __init__(
        self, *, pump: Pump, store: Store, environment: Environment, log: Log, uploads_max: int = UPLOADS_MAX
    ) -> None:
        self._pump: Final = pump
        self._store: Final = store
        self._environment: Final = environment
        self._log: Final = log
        self._uploads_max: Final = uploads_max
        self._streams: OrderedDict[_Place, UploadStream] = OrderedDict()
        self._busy: set[_Place] = set()

    # --- asking -------------------------------------------------------------------------------

    def progress(self, caller: Caller, upload_id: str) -> Progress:
        """What is durable of an upload of the caller's system.

        Raises:
            RequestError: `right_missing`, `upload_id_malformed`, `upload_missing`.
        """
        _check(caller, upload_id)
        upload = self._store.committed.get(Upload, caller.system, upload_id)
        if upload is None:
            raise RequestError("upload_missing", field="upload_id")
        return _progress(upload)

    # --- bringing -----------------------------------------------------------------------------

    async def put(
        self,
        caller: Caller,
        upload_id: str,
        *,
        offset: int,
        total: int | None,
        content: AsyncIterator[bytes],
        declared: int | None = None,
    ) -> Progress:
        """Take bytes from `offset` on, `declared` of them if the client says so; returns when they
        are durable. `total` is compulsory at first. A stream that breaks leaves whole chunks, durably.

        Raises:
            RequestError: `right_missing`, `upload_id_malformed`, `upload_busy`,
                `upload_length_missing`, `upload_length_too_large`, `upload_length_differs`,
                `upload_offset_differs`, `upload_too_long`, `uploads_too_many`; what `content` raises.
            StoreError: `disk_full`, `disk_floor`, `store_*`.
        """
        _check(caller, upload_id)
        place = (caller.system, upload_id)
        if place in self._busy:
            raise RequestError("upload_busy", field="upload_id")
        self._busy.add(place)
        try:
            upload = self._opened(caller, upload_id, offset, total)
            if declared is not None and offset + declared > upload.total:
                raise RequestError("upload_too_long", field="Content-Length", total=upload.total)
            if upload.plain_digest:
                return await self._nothing_more(upload, content)
            return await self._take(caller, upload, content)
        finally:
            self._busy.discard(place)

    def _opened(self, caller: Caller, upload_id: str, offset: int, total: int | None) -> Upload:
        upload = self._pump.view.records.get(Upload, caller.system, upload_id)
        if upload is None:
            if total is None:
                raise RequestError("upload_length_missing", field="Upload-Length")
            self._check_new(caller, offset, total)
            return self._begin(caller, upload_id, total)
        if total is not None and total != upload.total:
            raise RequestError("upload_length_differs", field="Upload-Length", total=upload.total)
        if offset != upload.taken:
            raise RequestError("upload_offset_differs", field="Upload-Offset", offset=upload.taken)
        return upload

    def _check_new(self, caller: Caller, offset: int, total: int) -> None:
        if offset:
            raise RequestError("upload_offset_differs", field="Upload-Offset", offset=0)
        if total > PART_BYTES_MAX:
            raise RequestError("upload_length_too_large", field="Upload-Length", size=total, limit=PART_BYTES_MAX)
        open_now = self._pump.view.records.scan(Upload, caller.system, limit=self._uploads_max)
        if len(open_now) >= self._uploads_max:
            raise RequestError("uploads_too_many", limit=self._uploads_max)
        self._store.bodies.require_space(sealed_size(total))

    def _begin(self, caller: Caller, upload_id: str, total: int) -> Upload:
        """Remembered when something of it is durable; a partial file that nobody remembers is
        removed at the next start."""
        upload, stream = self._fresh(
            Upload(
                system=caller.system,
                upload_id=upload_id,
                total=total,
                taken=0,
                started_ms=self._environment.now_ms(),
                wrapped_key=b"",
                token=bytes(16),
            )
        )
        self._keep(upload, stream)
        return upload

    def _fresh(self, upload: Upload) -> tuple[Upload, UploadStream]:
        """The same upload from its beginning under a new key and token."""
        key, token = self._environment.entropy(32), new_token(self._environment.entropy)
        context = upload_context(upload.system, token)
        wrapped = vault_wrap(self._pump.here().vault_key, context, key, self._environment.entropy(16))
        stream = UploadStream(self._store.bodies, token, key, upload.total)
        return replace(upload, token=token, wrapped_key=wrapped, taken=0), stream

    async def _nothing_more(self, upload: Upload, content: AsyncIterator[bytes]) -> Progress:
        """A complete upload takes no further byte."""
        async for piece in content:
            if piece:
                raise RequestError("upload_too_long", field="Content-Length", total=upload.total)
        return _progress(upload)

    # --- taking bytes -------------------------------------------------------------------------

    async def _take(self, caller: Caller, upload: Upload, content: AsyncIterator[bytes]) -> Progress:
        self._store.bodies.reserve(upload.token, sealed_size(upload.total))
        try:
            upload, stream = await self._stream_of(upload)
        except BaseException:
            self._store.bodies.release(upload.token)
            raise
        try:
            try:
                whole = await self._receive(upload, stream, content)
            except RequestError:  # the client's doing; what came before stays
                await self._settle(caller, upload, stream)
                raise
            if whole:
                return await self._finish(caller, upload, stream)
            return await self._settle(caller, upload, stream)
        except RequestError:
            raise
        except BaseException:  # the stream and the record may disagree now: begin again from the record
            await self._forsake(upload, stream)
            raise
        finally:
            self._store.bodies.release(upload.token)

    async def _receive(self, upload: Upload, stream: UploadStream, content: AsyncIterator[bytes]) -> bool:
        """Seal what comes, chunk by chunk; whether all is there."""
        waiting, recorded = bytearray(), stream.taken
        try:
            async for piece in content:
                if stream.taken + len(waiting) + len(piece) > upload.total:
                    raise RequestError("upload_too_long", field="Content-Length", total=upload.total)
                waiting += piece
                if len(waiting) < PIECE_BYTES + CHUNK_BYTES:
                    continue
                await self._seal(stream, waiting)
                if stream.durable - recorded >= RECORD_BYTES:
                    recorded = stream.durable
                    await self._record(replace(upload, taken=recorded))
        except RequestError:  # the client's doing: what it brought before stays
            await self._seal(stream, waiting)
            raise
        if stream.taken + len(waiting) < upload.total:
            await self._seal(stream, waiting)
            return False
        await self._environment.run_body(stream.finish, bytes(waiting))
        return True

    async def _seal(self, stream: UploadStream, waiting: bytearray) -> None:
        """Seal the whole chunks of what waits, never the upload's last."""
        size = min(len(waiting), stream.total - stream.taken - 1) // CHUNK_BYTES * CHUNK_BYTES
        if size > 0:
            chunks = bytes(memoryview(waiting)[:size])
            del waiting[:size]
            await self._environment.run_body(stream.take, chunks)

    async def _settle(self, caller: Caller, upload: Upload, stream: UploadStream) -> Progress:
        """Make whole chunks durable and remember them."""
        if stream.taken > upload.taken or stream.durable > upload.taken:
            await self._environment.run_body(stream.pause)
            upload = replace(upload, taken=stream.durable)
            await self._record(upload, caller)
        return _progress(upload)

    async def _finish(self, caller: Caller, upload: Upload, stream: UploadStream) -> Progress:
        """Make the sealed body durable and name it."""
        body: Put | PutBody
        if stream.small:
            body = PutBody(stream.body_digest, await self._environment.run_body(stream.whole))
        else:
            place = await self._environment.run_body(stream.place)
            body = Put(Body(digest=stream.body_digest, size=stream.sealed_size, place=place))
        upload = replace(upload, taken=upload.total, body=stream.body_digest, plain_digest=stream.plain_digest)
        await self._record(upload, caller, body)
        self._streams.pop((upload.system, upload.upload_id), None)
        if stream.on_disk:
            await self._environment.run_body(self._store.bodies.drop_partial, stream.token)
        return _progress(upload)

    async def _record(self, upload: Upload, caller: Caller | None = None, body: Put | PutBody | None = None) -> None:
        draft = Draft(self._pump.view, self._pump.here())
        if body is not None:
            draft.put_body(body)
        draft.put(upload)
        if caller is not None:
            draft.audit(caller, "uploads", "", upload.upload_id)
        await self._pump.ask(Recorded(changes=draft.step().changes, why="upload"))

    async def _forsake(self, upload: Upload, stream: UploadStream) -> None:
        """Forget the stream; its file too, unless the record names it. After a failed batch nobody
        knows what the record says: the sweep at the next start decides."""
        place = (upload.system, upload.upload_id)
        self._streams.pop(place, None)
        known = self._pump.view.records.get(Upload, *place)
        in_doubt = self._pump.committer.read_only is not None
        if stream.on_disk and not in_doubt and (known is None or known.token != stream.token):
            with trio.CancelScope(shield=True), suppress(StoreError):  # the sweep at the next start finds it
                await self._environment.run_body(self._store.bodies.drop_partial, stream.token)

    # --- going on after a break ---------------------------------------------------------------

    async def _stream_of(self, upload: Upload) -> tuple[Upload, UploadStream]:
        stream = self._streams.get((upload.system, upload.upload_id))
        if stream is None or stream.taken != upload.taken or stream.token != upload.token:
            upload, stream = await self._again(upload)
        self._keep(upload, stream)
        return upload, stream

    def _keep(self, upload: Upload, stream: UploadStream) -> None:
        place = (upload.system, upload.upload_id)
        self._streams[place] = stream
        self._streams.move_to_end(place)
        idle = [known for known in self._streams if known not in self._busy]
        for known in idle[: max(0, len(self._streams) - STREAMS_KEPT)]:
            del self._streams[known]

    async def _again(self, upload: Upload) -> tuple[Upload, UploadStream]:
        """Seal the durable prefix under a new key: what the old one sealed last is not known."""
        old_key = vault_open(
            self._pump.here().vault_key, upload_context(upload.system, upload.token), upload.wrapped_key
        )
        fresh, stream = self._fresh(upload)
        bodies = self._store.bodies
        try:
            await self._environment.run_body(reseal, bodies, upload.token, old_key, upload.taken, stream)
        except TrucError as error:
            await self._lost(upload, stream, error)
        fresh = replace(fresh, taken=stream.durable)
        await self._record(fresh)
        await self._environment.run_body(bodies.drop_partial, upload.token)
        bodies.release(upload.token)
        bodies.reserve(fresh.token, sealed_size(fresh.total))
        return fresh, stream

    async def _lost(self, upload: Upload, stream: UploadStream, error: TrucError) -> None:
        """The durable prefix cannot be read any more: the upload begins again from nothing."""
        bodies = self._store.bodies
        await self._environment.run_body(bodies.drop_partial, stream.token)
        if error.code in ("disk_full", "disk_floor"):
            raise error
        self._log.error("upload_lost", upload=upload.upload_id, code=error.code)
        fresh, _ = self._fresh(upload)
        await self._record(fresh)
        await self._environment.run_body(bodies.drop_partial, upload.token)
        raise RequestError("upload_offset_differs", field="Upload-Offset", offset=0)

    # --- letting go ---------------------------------------------------------------------------

    async def run(self, *, task_status: Ready = trio.TASK_STATUS_IGNORED) -> None:
        """Give up old uploads, and partial files that nobody remembers, at the start and every hour at
        least, until cancelled."""
        await self._sweep()
        task_status.started()
        while True:
            next_ms = await self._expire()
            wait_s = max(0.0, (next_ms - self._environment.now_ms()) / 1000)
            await trio.sleep(min(wait_s, SLEEP_MAX_S))
            with suppress(StoreError):  # the next round tries again
                await self._sweep()

    async def _sweep(self) -> None:
        """Drop partial files without an unfinished upload: of a crash, or of a client that went away in
        the very moment in which its part became complete."""
        found = await self._environment.run_body(self._store.bodies.partial_tokens)
        if self._busy or self._pump.committer.read_only is not None:
            return  # a file may be newer than its record, or the record in doubt: next time
        kept = {upload.token for upload in self._all() if not upload.plain_digest}
        for token in upload_tokens(found):
            if token not in kept:
                await self._environment.run_body(self._store.bodies.drop_partial, token)

    async def _expire(self) -> int:
        """Give up what is too old; when to look again."""
        here = self._pump.here()
        if not here.clock_trusted:
            return here.now_ms + MINUTE_MS
        next_ms = here.now_ms + LIFE_MS
        for upload in self._all():
            due_ms = upload.started_ms + LIFE_MS
            if due_ms > here.now_ms:
                next_ms = min(next_ms, due_ms)
            elif (upload.system, upload.upload_id) in self._busy or not await self._give_up(upload):
                next_ms = here.now_ms + MINUTE_MS
        return next_ms

    async def _give_up(self, upload: Upload) -> bool:
        place = (upload.system, upload.upload_id)
        self._busy.add(place)
        try:
            if self._pump.view.records.get(Upload, *place) != upload:
                return True  # a document took it meanwhile
            draft = Draft(self._pump.view, self._pump.here())
            draft.delete(Upload, *place)
            if upload.plain_digest:
                draft.delete(Body, upload.body)
            await self._pump.ask(Recorded(changes=draft.step().changes, why="upload"))
            self._streams.pop(place, None)
            if not upload.plain_digest:
                await self._environment.run_body(self._store.bodies.drop_partial, upload.token)
        except StoreError as error:
            self._log.warning("upload_not_given_up", upload=upload.upload_id, code=error.code)
            return False
        finally:
            self._busy.discard(place)
        return True

    def _all(self) -> list[Upload]:
        uploads: list[Upload] = []
        after: tuple[Any, ...] = ()
        while True:
            page = self._pump.view.records.scan(Upload, after=after, limit=PAGE)
            uploads += page
            if len(page) < PAGE:
                return uploads
            after = (page[-1].system, page[-1].upload_id)


def _check(caller: Caller, upload_id: str) -> None:
    require_right(caller, "send")
    if not _ID.fullmatch(upload_id):
        raise RequestError("upload_id_malformed", field="upload_id", limit=ID_CHARACTERS_MAX)


def _progress(upload: Upload) -> Progress:
    return Progress(
        upload_id=upload.upload_id, offset=upload.taken, total=upload.total, plain_digest=upload.plain_digest
    )
