"""The operator's off-line tool: makes and signs a real tree of records from requests.

Obeys DESIGN §3 "Trust tree", DECISIONS "Joining before gossip exists", `protocol/spec/checkpoint.md` §1.
Time and entropy are parameters; nothing here touches the network or a running node. What an act says
is `authority_act.py`; logs and drafts are `authority_log.py`, files `authority_folder.py`; whether a folder may
sign, `authority_book.py`; versions of the root, `authority_root.py`; what changes who may sign,
`authority_trust.py`; a folder that was lost, `authority_recovery.py`. Whether a record counts is decided
by the same `protocol/trust.py` that every node uses. The commands are `node/cli/authority.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from node.authority_act import Act
from node.authority_batch import drafted
from node.authority_book import check_entered, check_head, check_seen, with_known_numbers
from node.authority_folder import AuthorityFolder, Book, Entropy, LogPosition
from node.authority_judged import JudgedFile
from node.authority_log import Issued, Waiting, says_truly
from node.authority_single import SingleActs
from node.countersigning import (
    check_statement,
    countersigned,
    merged,
    records_in,
    sign_where_asked,
    signed_together,
)
from protocol.checkpoint import CHECKPOINT, NUMBERED, Checkpoint
from protocol.directory import (
    ROLE_LEVEL_1,
    ROLE_ROOT,
    ROOT,
    KeyEntry,
    Root,
)
from protocol.directory_file import write_file
from protocol.directory_view import DirectoryView
from protocol.entitlement import Registrar, role_keys
from protocol.entitlement import registrar as find_registrar
from protocol.errors import ConfigurationError, NotNow, TrucError
from protocol.prefix_tree import EMPTY
from protocol.signing import Ed25519Signer, PublicKey, Signed, Signer
from storage.keystore import Cost

SIGNING_ROUNDS_MAX = 4
"""Rounds in which what a signature brought into force asks for the next one: a tree's few levels."""


class Authority(SingleActs):
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
        self._keys = keys
        first = next((signer for _, signer in sorted(keys.items())), None)
        self.issued = JudgedFile(folder, book.anchor, first).issued(tuple(issued), self._clock(now_ms))
        self._book = with_known_numbers(self._book, self.issued)

    @property
    def anchor(self) -> bytes:
        """What nodes write into their configuration as `root_digest`."""
        return self._book.anchor

    @property
    def book(self) -> Book:
        """The last numbers given."""
        return self._book

    @property
    def view(self) -> DirectoryView:
        """The tree as a node would believe it."""
        return self.issued.view

    @property
    def key_names(self) -> tuple[str, ...]:
        """The opened keys."""
        return tuple(sorted(self._keys))

    def key(self, name: str) -> PublicKey | None:
        """The public half of an opened key, None when there is none of this name."""
        signer = self._keys.get(name)
        return None if signer is None else signer.public

    def signer(self, name: str) -> Ed25519Signer:
        """The opened key of this name."""
        return self._keys[name]

    def signer_of(self, key_ids: Iterable[bytes]) -> Ed25519Signer | None:
        """The first opened key, by name, that is one of these."""
        wanted = set(key_ids)
        return next((signer for _, signer in sorted(self._keys.items()) if signer.public.key_id in wanted), None)

    def directory_file(self) -> bytes:
        """Everything, to be imported by nodes; records that still lack a signature included."""
        return write_file(self.issued.kept())

    def waiting(self, now_ms: int) -> Waiting:
        """What still lacks something, and what."""
        return self.issued.waiting(self._clock(now_ms))

    def make_key(self, name: str, passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None) -> PublicKey:
        """A further key in this folder, for instance a registrar's for `Delegation.keys`."""
        self._keys[name] = self._folder.make_key(name, passphrase, entropy=entropy, cost=cost)
        return self._keys[name].public

    # --- acts -------------------------------------------------------------------------------

    def act(self, now_ms: int, *, registrar: str = "", entering: bool = False) -> Act:
        """Begin an act of a registrar (default: the folder's own, else level-1, else root).

        `entering`: it is the first of a new generation, and repeats everything.

        Raises:
            ConfigurationError: `authority_keys_missing`, `authority_behind` (this folder lacks what it
                signed itself), `authority_unseen` (not compared with the network for a day),
                `authority_not_entered` (a new generation begins with everything that is in force).
            TrustError: `directory_generation_forked`, `directory_registrar_closed`.
            NotNow: `directory_registrar_unknown`.
        """
        at_ms = self.date(now_ms)
        by = find_registrar(self.view, registrar or self.default_registrar(now_ms), at_ms)
        if not self.signers(by):
            raise ConfigurationError("authority_keys_missing", registrar=by.name)
        self.check_head(by, now_ms)
        if not entering:
            check_entered(self.issued, by)
        return Act(self.issued, by, at_ms)

    def complete(self, act: Act, *, urgent: bool = False) -> tuple[Signed, ...]:
        """Number and sign an act, in batches that each end with a checkpoint; the records, durable on return.

        One signature of each key covers all of one format in a batch; all batches become durable
        together. `urgent`: the root role's keys in this folder sign as well.

        Raises:
            StoreError: nothing was signed as far as anybody can see.
        """
        by, log = act.by, self.issued.log(act.by.name, act.by.generation)
        heartbeat = self.heartbeat_entries(by, act.at_ms) if act.heartbeat is None else act.heartbeat
        signers = self.signers(by)[: by.threshold]
        things: list[Signed] = []
        for statements in drafted(act, log, heartbeat):
            *records, checkpoint = signed_together(statements, signers)
            if urgent and by.name != ROLE_ROOT:
                records = self.by_root(records, act.at_ms)
            things += [*records, checkpoint]
        self._publish(things, act.at_ms)
        self._remember(CHECKPOINT.decode(things[-1].statement), things[-1].digest)
        return tuple(signed for signed in things if signed.format != CHECKPOINT.name)

    def by_root(self, things: list[Signed], at_ms: int) -> list[Signed]:
        """These with signatures of the root role's keys that are here, as many as it needs.

        Raises:
            ConfigurationError: `authority_keys_missing`.
        """
        root = find_registrar(self.view, ROLE_ROOT, at_ms)
        signers = self.signers(root)[: root.threshold]
        if not signers:
            raise ConfigurationError("authority_keys_missing", registrar=ROLE_ROOT)
        for signer in signers:
            things = countersigned(things, signer)
        return things

    def publish(self, things: Sequence[Signed], now_ms: int) -> None:
        """Keep things that have no number, or further signatures on known ones. Raises: StoreError."""
        self._publish(things, now_ms)
        self._write(with_known_numbers(self._book, self.issued))

    def heartbeat_entries(self, by: Registrar, at_ms: int) -> tuple[KeyEntry, ...]:
        """The keys that may repeat the registrar's newest checkpoint and are not past their end."""
        last = self.issued.checkpoint(self.issued.log(by.name, by.generation).last_checkpoint())
        return tuple(entry for entry in last.heartbeat if entry.until_ms > at_ms) if last is not None else ()

    # --- signing what others made -----------------------------------------------------------

    def sign(
        self, things: Iterable[bytes], now_ms: int, *, further: Iterable[Signer] = (), instead: bool = False
    ) -> list[Signed]:
        """Add every signature that these things need and that our keys (or `further`) can give.

        A key signs only what the rules ask it for: as registrar, as one of the root's keys, or
        as an endorser; and nothing under a number that is taken here by another thing, nor a
        checkpoint that says another thing about the log than this folder knows. What is believed
        or was begun is kept in the folder; what gained a signature is returned. `instead`: drop the
        version of the root that these keys have begun, for the one in `things`.

        Raises:
            FormatError: a thing cannot be read.
            ConfigurationError: `authority_root_begun`; `authority_behind`, `authority_unseen` where a
                registrar's or a root's key would sign: what it said before may be missing here.
        """
        signers: list[Signer] = [*self._keys.values(), *further]
        read = self._merged(records_in(things))
        for signed in read:
            check_statement(signed)
        changed = self._changed(read)
        self.issued.take(changed, self._clock(now_ms))
        for signed in read:
            self._check_no_other_root(signed, signers, instead=instead)
        gained: dict[bytes, Signed] = {}
        for _ in range(SIGNING_ROUNDS_MAX):
            after = sign_where_asked(
                read,
                signers,
                self.view,
                verifier=self.issued.verifier,
                may_sign=self._may_sign,
                anchor=self.anchor,
            )
            fresh = [new for old, new in zip(read, after, strict=True) if new != old]
            self._check_heads(fresh, now_ms)
            self.issued.take(fresh, self._clock(now_ms))
            gained.update({signed.digest: signed for signed in fresh})
            read = after
            if not fresh:
                break
        if changed or gained:
            self._save()
        return list(gained.values())

    def keep(self, things: Iterable[Signed], now_ms: int) -> None:
        """Take in what others made, as it is. Raises: StoreError."""
        changed = self._changed(self._merged(things))
        if changed:
            self.issued.take(changed, self._clock(now_ms))
            self._save()

    def _check_no_other_root(self, signed: Signed, signers: Sequence[Signer], *, instead: bool) -> None:
        if signed.format != ROOT.name or not self.issued.is_next_root(signed):
            return
        other = self.issued.other_root_begun(signed, [signer.public.key_id for signer in signers])
        if other is None:
            return
        if not instead:
            raise ConfigurationError("authority_root_begun", version=ROOT.decode(other.statement).version)
        self.issued.forget(other.digest)

    def _check_heads(self, gained: Iterable[Signed], now_ms: int) -> None:
        """As before an act of our own: whose keys sign as registrar has to know what they signed before."""
        checked: set[str] = set()
        for signed in gained:
            form = NUMBERED.get(signed.format)
            value = form.decode(signed.statement) if form is not None else None
            if value is not None and value.registrar not in checked:
                by = find_registrar(self.view, value.registrar, value.created_ms)
                if any(signed.has_signature_of(signer.public.key_id) for signer in self.signers(by)):
                    self.check_head(by, now_ms)
                    checked.add(value.registrar)
            elif signed.format == ROOT.name and self.view.root_versions():
                self.check_seen(ROLE_ROOT, now_ms)

    def _merged(self, things: Iterable[Signed]) -> list[Signed]:
        return [merged(self.issued.things.get(signed.digest), signed) for signed in things]

    def _changed(self, things: Iterable[Signed]) -> list[Signed]:
        return [signed for signed in things if self.issued.things.get(signed.digest) != signed]

    def _may_sign(self, signed: Signed) -> bool:
        form = NUMBERED.get(signed.format)
        if form is None:
            return True
        value = form.decode(signed.statement)
        log = self.issued.log(value.registrar, value.generation)
        entry = log.entries.get(value.number)
        if entry is not None and entry.digest != signed.digest:
            return False
        return not isinstance(value, Checkpoint) or says_truly(value, log)

    # --- who may sign -----------------------------------------------------------------------

    def default_registrar(self, now_ms: int) -> str:
        """The folder's own, else level-1 if one of its keys is here, else root."""
        for name in (self._book.registrar, ROLE_LEVEL_1, ROLE_ROOT):
            if name and self.has_keys(name, now_ms):
                return name
        raise ConfigurationError("authority_keys_missing", registrar=self._book.registrar or ROLE_LEVEL_1)

    def registrar_above(self, code: str, now_ms: int) -> str:
        """Who signs the record of this agency here: whoever registered it, else level-1, else root.

        Raises:
            ConfigurationError: `authority_keys_missing`.
        """
        known = self.issued.agency(code)
        own: tuple[str, ...] = () if known is None else (known.value.registrar,)
        for name in (*own, ROLE_LEVEL_1, ROLE_ROOT):
            if self.has_keys(name, now_ms):
                return name
        raise ConfigurationError("authority_keys_missing", registrar=own[0] if own else ROLE_LEVEL_1)

    def has_keys(self, name: str, now_ms: int) -> bool:
        """Whether a key here may sign for this registrar now."""
        try:
            return bool(self.signers(find_registrar(self.view, name, self.date(now_ms))))
        except TrucError:
            return False

    def signers(self, by: Registrar) -> list[Ed25519Signer]:
        """The opened keys of a registrar, by name."""
        return [signer for _, signer in sorted(self._keys.items()) if signer.public.key_id in by.keys.keys]

    def check_head(self, by: Registrar, now_ms: int) -> None:
        """As `authority_book.check_head`, of this folder."""
        check_head(self._book, self.issued, by, now_ms)

    def check_seen(self, registrar: str, now_ms: int) -> None:
        """Return if the folder knows the network of not more than a day ago. Raises: ConfigurationError
        `authority_unseen`."""
        check_seen(self._book, registrar, now_ms)

    def present_root(self) -> Root:
        """The root in force. Raises: NotNow `directory_no_root` (it lacks signatures still, or none is trusted)."""
        versions = self.view.root_versions()
        if not versions:
            raise NotNow("directory_no_root")
        return versions[0].value

    def root_signers(self, *roots: Any) -> list[Ed25519Signer]:
        """The opened keys of the root role in any of these versions of the root, by name."""
        keys = {key for root in roots for key in role_keys(root, ROLE_ROOT, root.created_ms)}
        return [signer for _, signer in sorted(self._keys.items()) if signer.public.key_id in keys]

    # --- the book ---------------------------------------------------------------------------

    def date(self, now_ms: int) -> int:
        """Dates never go back and never repeat, whatever the clock of this machine does."""
        return max(now_ms, self._book.last_ms + 1)

    def trust(self, anchor: bytes, things: Iterable[Signed], now_ms: int) -> None:
        """Trust this root from now on, in a folder of keys that trusts none yet.

        Raises:
            ConfigurationError: `authority_trusts`.
        """
        if self._book.anchor not in {EMPTY, anchor}:
            raise ConfigurationError("authority_trusts", anchor=self._book.anchor.hex())
        if self._book.anchor == EMPTY:
            self.issued = Issued(anchor)
            self.issued.take(things, now_ms)
            self._folder.write_issued(signed.to_wire() for signed in self.issued.kept())
            self._write(with_known_numbers(replace(self._book, anchor=anchor), self.issued))

    def note_seen(self, now_ms: int) -> None:
        """The folder was compared with what the network has."""
        self._write(replace(self._book, seen_ms=max(self._book.seen_ms, now_ms)))

    def leave(self, name: str, generation: int, now_ms: int) -> None:
        """Never sign again in this generation: what was signed in it elsewhere is not known."""
        if self._book.has_left(name, generation):
            return
        left = LogPosition(registrar=name, generation=generation, number=1)
        self._write(replace(self._book, left=(*self._book.left, left), seen_ms=max(self._book.seen_ms, now_ms)))

    def _clock(self, now_ms: int) -> int:
        """Dates of the book may run ahead of a slow clock."""
        return max(now_ms, self._book.last_ms)

    def _publish(self, things: Sequence[Signed], now_ms: int) -> None:
        """Durable before anybody sees it, this folder included."""
        if things:
            together = {signed.digest: signed for signed in (*self.issued.kept(), *things)}
            self._folder.write_issued(signed.to_wire() for signed in together.values())
            self.issued.take(things, self._clock(now_ms))

    def _save(self) -> None:
        """Write down what was taken in: the records before the numbers."""
        self._folder.write_issued(signed.to_wire() for signed in self.issued.kept())
        self._write(with_known_numbers(self._book, self.issued))

    def _remember(self, checkpoint: Checkpoint, digest: bytes) -> None:
        position = LogPosition(
            registrar=checkpoint.registrar, generation=checkpoint.generation, number=checkpoint.number, head=digest
        )
        self._write(self._book.with_position(position, checkpoint.created_ms))

    def _write(self, book: Book) -> None:
        if book != self._book:
            self._folder.write_book(book)
            self._book = book


def open_authority(folder: AuthorityFolder, *, passphrase: bytes, now_ms: int) -> Authority:
    """The authority of this folder with the keys that the passphrase opens.

    Raises:
        ConfigurationError: `authority_missing`, `authority_damaged`, `keystore_passphrase`, `key_backup_damaged`.
    """
    book = folder.read_book()
    return Authority(folder, book, folder.read_issued(), folder.open_keys(passphrase), now_ms)
