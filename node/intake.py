"""Takes documents from local software: who may send, is it complete and legal, then the pump owns it.

Obeys DESIGN §4 steps 1 and 2, and DECISIONS "Recipients of a submit", "Idempotency". Codes are
resolved here, at the border; everything that must hold when the document is owned is checked
again inside the step.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from node.environment import Environment
from node.pump import Pump
from node.sender import Promise
from protocol import limits
from protocol.directory_view import DirectoryView
from protocol.document import Metadata, check_metadata
from protocol.encoding import encode, lp
from protocol.envelope import Header, Lane, encode_header
from protocol.errors import Findings, RequestError
from protocol.identity import content_identity, number_identity, year_of
from protocol.part_name import check_part_names
from protocol.records import Upload
from protocol.sealing import PartSealer, keyed_index, sealed_size, vault_open, vault_subkey
from protocol.sending import DocumentAccepted, offer_bytes, remembered
from protocol.step import Caller, Recorded, SealedPart, Submitted
from storage.bodies import SMALL_BODY_BYTES_MAX
from storage.store import Store

R = TypeVar("R")

VIETNAM: Final = dt.timezone(dt.timedelta(hours=7))
"""Dates of documents are local; there is no daylight saving time (DOMAIN §3)."""
KEY_CHARACTERS_MAX: Final = limits.IDEMPOTENCY_KEY_CHARACTERS_MAX
INLINE_PLAIN_BYTES_MAX: Final = 768 * limits.KIB
"""A part that comes inside the request; sealed it must fit a segment body (1 MiB)."""
INLINE_TOTAL_BYTES_MAX: Final = 4 * limits.MIB
"""All such parts together: they are held in memory until the batch is durable."""
SEAL_INLINE_BYTES_MAX: Final = 128 * limits.KIB
"""Up to here sealing on the loop is cheaper than the hop to a worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartGiven:
    """A part of a submit: its content, or the id of a finished upload."""

    name: str
    media_type: str
    content: bytes | None = None
    upload_id: str = ""
    sha256: bytes = b""
    """What the author says the plain bytes are; empty: nothing was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A document as local software hands it in; codes in any written form."""

    issuer: str
    recipients: tuple[str, ...]
    metadata: Metadata
    parts: tuple[PartGiven, ...]
    lane: Lane = Lane.THUONG
    expires_days: int = 0
    """0: the node's default."""
    reuse_reason: str = ""


def upload_context(system: bytes, token: bytes) -> bytes:
    """What the vault binds the key of an upload to."""
    return b"upload" + system + token


class Intake:
    """Submits documents. Bodies of uploads are durable and sealed before."""

    def __init__(
        self,
        *,
        pump: Pump,
        store: Store,
        directory: DirectoryView,
        environment: Environment,
        promise: Callable[[Iterable[str], int], Promise],
        expiry_default_days: int,
    ) -> None:
        """`promise` keeps room for offers that may leave together with the document's own batch."""
        self._pump: Final = pump
        self._store: Final = store
        self._directory: Final = directory
        self._environment: Final = environment
        self._promise: Final = promise
        self._expiry_default_days: Final = expiry_default_days

    async def submit(self, caller: Caller, key: str, submission: Submission) -> DocumentAccepted:
        """Own a document; returns when it is durable.

        Raises:
            RequestError: the caller's mistakes, all at once as `Findings` where there are several.
            StoreError: the disk does not take it.
        """
        if "send" not in caller.rights:
            raise RequestError("right_missing", right="send")
        check_key(key)
        issuer, recipients = self._codes(submission)
        self._check(submission)
        request = self._request_digest(issuer, recipients, submission)
        try:
            known = self._answered_before(caller, key, request, submission)
        except RequestError:  # told only when what it was read from is durable
            await self._when_durable(None)
            raise
        if known is not None:
            return await self._when_durable(known)
        try:
            parts = await self._parts(caller, submission.parts)
        except RequestError:  # the same request, a moment ahead of this one, may have taken the uploads
            known = self._answered_before(caller, key, request, submission)
            if known is None:
                raise
            return await self._when_durable(known)
        promise = self._promise(recipients, offer_bytes(parts))
        try:
            submitted = self._submitted(
                caller, key, submission, issuer, recipients, request, parts, promise.recipients
            )
            accepted: DocumentAccepted = await self._pump.ask(submitted)
            return accepted
        finally:
            promise.give_back()

    async def _when_durable(self, known: R) -> R:
        """The first answer may still be on its way to the disk."""
        accepted: R = await self._pump.ask(Recorded(changes=(), why="repeat", reply=known))
        return accepted

    # --- checks -------------------------------------------------------------------------------

    def _codes(self, submission: Submission) -> tuple[str, tuple[str, ...]]:
        if not 1 <= len(submission.recipients) <= limits.RECIPIENTS_MAX:
            raise RequestError("recipients_count", field="recipients", limit=limits.RECIPIENTS_MAX)
        findings: list[RequestError] = []
        codes: list[str] = []
        wanted = [
            ("issuer", submission.issuer),
            *((f"recipients[{n}]", code) for n, code in enumerate(submission.recipients)),
        ]
        for field, text in wanted:
            try:
                codes.append(self._directory.resolve(text, field=field).code)
            except RequestError as error:
                findings.append(_as_recipient(error) if field != "issuer" else error)
        if findings:
            raise Findings(findings)
        return codes[0], tuple(codes[1:])

    def _check(self, submission: Submission) -> None:
        check_metadata(submission.metadata)
        if not 1 <= len(submission.parts) <= limits.PARTS_MAX:
            raise RequestError("parts_count", field="parts", limit=limits.PARTS_MAX)
        check_part_names([(part.name, part.media_type) for part in submission.parts])
        inline = 0
        for index, part in enumerate(submission.parts):
            size = 0 if part.content is None else len(part.content)
            inline += size
            if size > INLINE_PLAIN_BYTES_MAX or inline > INLINE_TOTAL_BYTES_MAX:
                raise RequestError("part_needs_upload", field=f"parts[{index}]", limit=INLINE_PLAIN_BYTES_MAX)
            if (part.content is None) == (not part.upload_id):
                raise RequestError("part_content_or_upload", field=f"parts[{index}]")
            if part.content is not None:
                _check_unchanged(part, _sha256(part.content), index)
        if not 0 <= submission.expires_days <= limits.EXPIRY_MAX_MS // limits.DAY_MS:
            raise RequestError("expiry_out_of_range", field="expires_days", days=limits.EXPIRY_MAX_MS // limits.DAY_MS)

    # --- idempotency --------------------------------------------------------------------------

    def _request_digest(self, issuer: str, recipients: tuple[str, ...], submission: Submission) -> bytes:
        """Digest of the canonical request: parts by content where it is given, else by upload id."""
        parts = [
            [part.name, part.media_type, part.upload_id, b"" if part.content is None else _sha256(part.content)]
            for part in submission.parts
        ]
        header = encode_header(Header(metadata=submission.metadata, idempotency_key="", system=bytes(16)))
        rest = [int(submission.lane), submission.expires_days, submission.reuse_reason, list(recipients), parts]
        return _sha256(lp("truc/request/1", issuer, header, encode(rest)))

    def _answered_before(
        self, caller: Caller, key: str, request: bytes, submission: Submission
    ) -> DocumentAccepted | None:
        """A repeat without uploads, or whose uploads are gone, is told by the digest of the request
        alone; one whose uploads are all there is compared by their content, inside the step."""
        uploads = [part.upload_id for part in submission.parts if part.upload_id]
        records = self._pump.view.records
        if uploads and all(records.get(Upload, caller.system, upload_id) is not None for upload_id in uploads):
            return None
        return remembered(self._pump.view, caller.system, key, request, b"")

    # --- parts --------------------------------------------------------------------------------

    async def _parts(self, caller: Caller, given: tuple[PartGiven, ...]) -> tuple[SealedPart, ...]:
        parts: list[SealedPart] = []
        for index, part in enumerate(given):
            if part.content is None:
                sealed = self._uploaded(caller, part, f"parts[{index}].upload_id")
                _check_unchanged(part, sealed.plain_digest, index)
                parts.append(sealed)
            else:
                parts.append(await self._seal(part, part.content))
        self._require_space(parts)
        return tuple(parts)

    def _require_space(self, parts: list[SealedPart]) -> None:
        size = sum(part.size for part in parts if part.blob is not None)
        if size:
            self._store.bodies.require_space(size)

    def _uploaded(self, caller: Caller, part: PartGiven, field: str) -> SealedPart:
        upload = self._pump.view.records.get(Upload, caller.system, part.upload_id)
        if upload is None:
            raise RequestError("upload_unknown", field=field, upload=part.upload_id)
        if not upload.plain_digest:
            raise RequestError("upload_unfinished", field=field, taken=upload.taken, total=upload.total)
        vault_key = self._pump.here().vault_key
        return SealedPart(
            name=part.name,
            media_type=part.media_type,
            key=vault_open(vault_key, upload_context(caller.system, upload.token), upload.wrapped_key),
            body=upload.body,
            size=sealed_size(upload.total),
            plain_size=upload.total,
            plain_digest=upload.plain_digest,
            upload_id=part.upload_id,
        )

    async def _seal(self, part: PartGiven, content: bytes) -> SealedPart:
        key = self._environment.entropy(32)
        sealer = PartSealer(key)
        if len(content) <= SEAL_INLINE_BYTES_MAX:
            sealed = _seal(sealer, content)
        else:
            sealed = await self._environment.run_body(_seal, sealer, content)
        assert len(sealed) <= SMALL_BODY_BYTES_MAX
        return SealedPart(
            name=part.name,
            media_type=part.media_type,
            key=key,
            body=sealer.body_digest,
            size=len(sealed),
            plain_size=len(content),
            plain_digest=sealer.plain_digest,
            blob=sealed,
        )

    # --- the input ----------------------------------------------------------------------------

    def _submitted(
        self,
        caller: Caller,
        key: str,
        submission: Submission,
        issuer: str,
        recipients: tuple[str, ...],
        request: bytes,
        parts: tuple[SealedPart, ...],
        offer_now: frozenset[str],
    ) -> Submitted:
        here = self._pump.here()
        metadata = submission.metadata
        plain = [part.plain_digest for part in parts]
        days = submission.expires_days or self._expiry_default_days
        index = b""
        if metadata.number.strip():
            year = year_of(metadata, dt.datetime.fromtimestamp(here.now_ms / 1000, VIETNAM).year)
            identity = number_identity(issuer, year, metadata.number, metadata.notation)
            index = keyed_index(vault_subkey(here.vault_key, "numbers"), identity)
        return Submitted(
            caller=caller,
            key=key,
            request=request,
            parts_digest=_sha256(lp(*plain)),
            issuer=issuer,
            recipients=recipients,
            lane=submission.lane,
            metadata=metadata,
            parts=parts,
            expires_ms=here.now_ms + days * limits.DAY_MS,
            number_index=index,
            content=content_identity(metadata, plain),
            reuse_reason=submission.reuse_reason.strip(),
            offer_now=offer_now,
        )


def check_key(key: str) -> None:
    """An idempotency key: 1 to 200 visible ASCII characters.

    Raises:
        RequestError: `key_missing`, `key_characters`.
    """
    if not key:
        raise RequestError("key_missing", field="Idempotency-Key")
    if len(key) > KEY_CHARACTERS_MAX or not all("!" <= character <= "~" for character in key):
        raise RequestError("key_characters", field="Idempotency-Key", limit=KEY_CHARACTERS_MAX)


def _check_unchanged(part: PartGiven, plain_digest: bytes, index: int) -> None:
    """Raises: RequestError: `part_changed`."""
    if part.sha256 not in (b"", plain_digest):
        raise RequestError("part_changed", field=f"parts[{index}].sha256", found=plain_digest.hex())


def _as_recipient(error: RequestError) -> RequestError:
    """The submit's own code for a recipient that the directory does not know."""
    if error.code == "agency_unknown":
        return RequestError("recipient_unknown", field=error.field, agency=str(error.detail.get("code", "")))
    return error


def _seal(sealer: PartSealer, content: bytes) -> bytes:
    return sealer.feed(content) + sealer.finish()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
