"""The operator's off-line tool: makes and signs a real tree of records from requests.

Obeys DESIGN §3 "Trust tree", DECISIONS "Joining before gossip exists". Time and entropy are
parameters; nothing here touches the network or a running node. Files and numbers are
`authority_folder.py`; whether a record counts is decided by the same `protocol/trust.py` that
every node uses. The commands are `node/cli/authority.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from node.authority_folder import AuthorityFolder, Book, Entropy
from node.countersigning import merged, sign_where_asked, thing
from node.requests import signed_by_all
from protocol.directory import (
    AGENCY,
    CENTRE,
    FORMATS,
    ROLE_LEVEL_1,
    ROLE_ROOT,
    AgencyRecord,
    CentreRecord,
    Delegation,
    KeyEntry,
    Names,
    Numbered,
    RecordState,
    check,
)
from protocol.directory_file import write_file
from protocol.directory_import import Imported, Terms, import_things, with_pending_as_waiting
from protocol.directory_view import DirectoryView, RecordCache
from protocol.encoding import Format
from protocol.entitlement import registrar as find_registrar
from protocol.errors import ConfigurationError
from protocol.requests import check_agency_request, check_centre_request
from protocol.signing import Ed25519Signer, PublicKey, Signed, Signer, Verifier
from protocol.staged import Staged
from storage.keystore import Cost

# --- the authority --------------------------------------------------------------------------


class Authority:
    """An opened folder: the keys that its passphrase opened, the book, and the tree so far."""

    def __init__(
        self,
        folder: AuthorityFolder,
        book: Book,
        issued: Iterable[bytes],
        keys: dict[str, Ed25519Signer],
        now_ms: int,
    ) -> None:
        self._folder = folder
        self._book = book
        self._things = {signed.digest: signed for signed in map(thing, issued)}
        self._keys = keys
        self._verifier = Verifier()
        self._records = Staged()
        self._take(self._things.values(), now_ms)
        self._check_numbers()

    @property
    def anchor(self) -> bytes:
        """What nodes write into their configuration as `root_digest`."""
        return self._book.anchor

    @property
    def view(self) -> DirectoryView:
        """The tree as a node would believe it."""
        return DirectoryView(self._records)

    @property
    def key_names(self) -> tuple[str, ...]:
        """The opened keys."""
        return tuple(sorted(self._keys))

    def key(self, name: str) -> PublicKey | None:
        """The public half of an opened key, None when there is none of this name."""
        signer = self._keys.get(name)
        return None if signer is None else signer.public

    def directory_file(self) -> bytes:
        """Everything, to be imported by nodes; records that still lack a signature included."""
        return write_file(self._things.values())

    def waiting(self, now_ms: int) -> Imported:
        """The whole tree judged anew: `rejected` names what still lacks something, and what."""
        result = import_things(
            [signed.to_wire() for signed in self._things.values()],
            Staged(),
            anchor=self.anchor,
            verifier=self._verifier,
            now_ms=now_ms,
            cache=RecordCache(),
            terms=Terms(joining_ms=0, as_of_ms=now_ms),
        )
        return with_pending_as_waiting(result)

    # --- issuing ----------------------------------------------------------------------------

    def register_centre(self, request: Signed, now_ms: int, *, registrar: str = "") -> Signed:
        """The record of a centre from its request; a known centre's keys are rotated.

        Raises:
            FormatError, TrustError: the request is not sound (`directory_possession`).
            ConfigurationError: `authority_keys_missing`.
        """
        wanted = check_centre_request(request, self._verifier)
        known = self.view.find_centre(wanted.code)
        at_ms = self._date(now_ms)
        old = known.value if known is not None else None
        record = CentreRecord(
            **self._numbering(registrar or self._default_registrar(now_ms), at_ms),
            code=wanted.code,
            names=wanted.names,
            peer_id=wanted.peer_id,
            keys=wanted.keys if old is None else rotated(old.keys, wanted.keys, at_ms),
            sealing=wanted.sealing if old is None else rotated(old.sealing, wanted.sealing, at_ms),
        )
        return self._issue(CENTRE, record)

    def change_centre(self, code: str, now_ms: int, *, registrar: str = "", **changes: Any) -> Signed:
        """The next version of a centre's record with some fields changed. Raises: as `change_agency`."""
        at_ms = self._date(now_ms)
        old = self.view.centre(code)
        numbering = self._numbering(registrar or self._default_registrar(now_ms), at_ms)
        return self._issue(CENTRE, replace(old, **{**numbering, **changes}))

    def register_agency(
        self,
        *,
        code: str,
        names: Names,
        host: str,
        now_ms: int,
        registrar: str = "",
        parent: str | None = None,
        kind: str = "",
        aliases: Sequence[str] = (),
        decision: str = "",
        keys: tuple[KeyEntry, ...] = (),
        delegation: Delegation | None = None,
    ) -> Signed:
        """The first record of an agency; its centre must be registered.

        Raises:
            RequestError: `centre_unknown`.
            FormatError: `format_field` and others (a wrong code, name, parent).
            ConfigurationError: `authority_keys_missing`.
        """
        self.view.centre(host)
        at_ms = self._date(now_ms)
        record = AgencyRecord(
            **self._numbering(registrar or self._default_registrar(now_ms), at_ms),
            code=code,
            names=names,
            host=host,
            epoch=1,
            parent=code.rpartition(".")[0] if parent is None else parent,
            kind=kind,
            aliases=tuple(aliases),
            decision=decision,
            keys=keys,
            delegation=delegation if delegation is not None else Delegation(),
        )
        return self._issue(AGENCY, record)

    def register_request(self, request: Signed, now_ms: int, *, registrar: str = "") -> Signed:
        """The first record of an agency from its request. Raises: as `register_agency`, and
        TrustError: `directory_possession`, `signature_invalid`."""
        wanted = check_agency_request(request, self.view, self._verifier)
        return self.register_agency(
            code=wanted.code,
            names=wanted.names,
            host=wanted.host,
            now_ms=now_ms,
            registrar=registrar,
            parent=wanted.parent,
            kind=wanted.kind,
            aliases=wanted.aliases,
            decision=wanted.decision,
            keys=wanted.keys,
            delegation=wanted.delegation,
        )

    def change_agency(self, code: str, now_ms: int, *, registrar: str = "", **changes: Any) -> Signed:
        """The next version of an agency's record with some fields changed; a new host gets the next epoch.

        Raises:
            RequestError: `agency_unknown`, `centre_unknown`.
            FormatError: `format_field` and others.
            ConfigurationError: `authority_keys_missing`.
        """
        old = self.view.agency(code)
        host = changes.get("host", old.host)
        if host != old.host:
            self.view.centre(host)
            changes["epoch"] = old.epoch + 1
        numbering = self._numbering(registrar or self._default_registrar(now_ms), self._date(now_ms))
        return self._issue(AGENCY, replace(old, **{**numbering, **changes}))

    def close_agency(self, code: str, now_ms: int, *, successors: Sequence[str] = (), registrar: str = "") -> Signed:
        """Close a code, naming who answers for it now. Raises: as `change_agency`."""
        return self.change_agency(
            code, now_ms, registrar=registrar, state=RecordState.CLOSED, successors=tuple(successors)
        )

    def make_key(self, name: str, passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None) -> PublicKey:
        """A further key in this folder, for instance a registrar's for `Delegation.keys`."""
        self._keys[name] = self._folder.make_key(name, passphrase, entropy=entropy, cost=cost)
        return self._keys[name].public

    # --- signing what others made -----------------------------------------------------------

    def sign(self, things: Iterable[bytes], now_ms: int, *, further: Iterable[Signer] = ()) -> list[Signed]:
        """Add every signature that these things need and that our keys (or `further`) can give.

        A key signs only what the rules ask it for: as registrar, as one of the root's keys, or
        as an endorser. Everything read is kept in the folder; what gained a signature is returned.

        Raises:
            FormatError: a thing cannot be read.
        """
        signers: list[Signer] = [*self._keys.values(), *further]
        gained: list[Signed] = []
        for signed in map(thing, things):
            together = merged(self._things.get(signed.digest), signed)
            complete = sign_where_asked(together, signers, self.view)
            self._things[signed.digest] = complete
            if complete != together:
                gained.append(complete)
        self._keep(self._things.values(), now_ms)
        self._note_numbers()
        return gained

    # --- pieces -----------------------------------------------------------------------------

    def _default_registrar(self, now_ms: int) -> str:
        """Level-1 if one of its keys is here, else root."""
        for name in (ROLE_LEVEL_1, ROLE_ROOT):
            if self._signers(name, now_ms):
                return name
        raise ConfigurationError("authority_keys_missing", registrar=ROLE_LEVEL_1)

    def _signers(self, registrar: str, at_ms: int) -> list[Ed25519Signer]:
        keys = find_registrar(self.view, registrar, at_ms).keys.keys
        return [signer for _, signer in sorted(self._keys.items()) if signer.public.key_id in keys]

    def _date(self, now_ms: int) -> int:
        """Dates never go back and never repeat, whatever the clock of this machine does."""
        return max(now_ms, self._book.last_ms + 1)

    def _numbering(self, registrar: str, at_ms: int) -> dict[str, Any]:
        generation = find_registrar(self.view, registrar, at_ms).generation
        number = self._book.number(registrar, generation) + 1
        return {"registrar": registrar, "generation": generation, "number": number, "created_ms": at_ms}

    def _issue(self, form: Format[Any], record: Numbered) -> Signed:
        """Check, write the number into the book, sign, keep. In this order."""
        check(record)
        role = find_registrar(self.view, record.registrar, record.created_ms)
        signers = self._signers(record.registrar, record.created_ms)[: role.threshold]
        if not signers:
            raise ConfigurationError("authority_keys_missing", registrar=record.registrar)
        self._book = self._book.with_number(record.registrar, record.generation, record.number, record.created_ms)
        self._folder.write_book(self._book)
        signed = signed_by_all(form, record, signers)
        self._things[signed.digest] = signed
        self._keep([signed], record.created_ms)
        return signed

    def _keep(self, fresh: Iterable[Signed], now_ms: int) -> None:
        self._folder.write_issued(signed.to_wire() for signed in self._things.values())
        self._take(fresh, now_ms)

    def _take(self, things: Iterable[Signed], now_ms: int) -> None:
        """Believe what the rules believe. Dates of the book may run ahead of a slow clock. An
        endorsement is asked for always: how long nodes have known a code is not known here."""
        result = import_things(
            [signed.to_wire() for signed in things],
            self._records,
            anchor=self.anchor,
            verifier=self._verifier,
            now_ms=max(now_ms, self._book.last_ms),
            cache=RecordCache(),
            terms=Terms(joining_ms=0, as_of_ms=max(now_ms, self._book.last_ms)),
        )
        self._records.stage(result.changes)

    def _check_numbers(self) -> None:
        """An older copy of the book beside newer records would give numbers twice."""
        for value in self._numbered():
            if value.number > self._book.number(value.registrar, value.generation):
                raise ConfigurationError("authority_damaged", reason="numbers")

    def _note_numbers(self) -> None:
        """Numbers that another folder of the same registrar gave are taken here as well."""
        book = self._book
        for value in self._numbered():
            if value.number > book.number(value.registrar, value.generation):
                last_ms = max(book.last_ms, value.created_ms)
                book = book.with_number(value.registrar, value.generation, value.number, last_ms)
        if book != self._book:
            self._folder.write_book(book)
            self._book = book

    def _numbered(self) -> Iterable[Numbered]:
        """Only what counts: anybody can write a large number into a file."""
        for signed in self._things.values():
            value = FORMATS[signed.format].decode(signed.statement)
            if isinstance(value, CentreRecord | AgencyRecord) and self.view.was_accepted(signed.digest):
                yield value


def open_authority(folder: AuthorityFolder, *, passphrase: bytes, now_ms: int) -> Authority:
    """The authority of this folder with the keys that the passphrase opens.

    Raises:
        ConfigurationError: `authority_missing`, `authority_damaged`, `keystore_passphrase`, `key_backup_damaged`.
    """
    book = folder.read_book()
    return Authority(folder, book, folder.read_issued(), folder.open_keys(passphrase), now_ms)


def rotated(old: Sequence[KeyEntry], new: Sequence[KeyEntry], at_ms: int) -> tuple[KeyEntry, ...]:
    """New entries first; old ones that are not among them stay listed and end now.

    A key that was listed before and is not revoked keeps its entry: nothing about it changes.
    """
    fresh = {entry.key_id for entry in new}
    before = {entry.key_id: entry for entry in old if not entry.revoked_ms}
    ended = [
        replace(entry, until_ms=max(entry.from_ms + 1, min(entry.until_ms, at_ms)))
        for entry in old
        if entry.key_id not in fresh
    ]
    return (*(before.get(entry.key_id, entry) for entry in new), *ended)
