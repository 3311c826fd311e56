"""The node's directory: what everyone in `node/` reads, and the one way things enter it.

Obeys DESIGN §3 "Trust tree" and DECISIONS "Joining before gossip exists". Rules and reading
are `protocol/trust.py` and `protocol/directory_view.py`; this facade binds them to the store's
records, the configured trust anchor and one verifier. Nothing here writes: `take` returns
changes that the pump commits; so does `due`, to be called when pending versions come into force.
Gossip and reconciliation call the same `take`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any, Final

from protocol.court import Court
from protocol.directory import NODE, NodeRecord, check
from protocol.directory_file import read_file
from protocol.directory_import import Imported, Patience, Terms, import_steps, import_things
from protocol.directory_pending import Due, due_changes
from protocol.directory_plain import PlainCourt
from protocol.directory_view import DirectoryView, RecordCache
from protocol.entitlement import Purpose, begins_ms
from protocol.errors import ConfigurationError
from protocol.limits import CLOCK_SKEW_MS, DAY_MS, NODE_RECORD_VALID_MAX_MS
from protocol.record import Change, Put, Records
from protocol.registrar_log import judge_fork
from protocol.signing import Signed, Signer, Verifier, sign
from protocol.step import Party
from protocol.trust import Basis, judge_statement

PARTIES_MAX: Final = 20_000
"""Remembered agencies; about 1 KB each. A node meets a few thousand correspondents."""


class Directory(DirectoryView):
    """`DirectoryView` over the store, with the operator's anchor. Belongs to the loop.

    Besides everything of `DirectoryView` (`resolve agency find_agency state host_of
    agencies_hosted_by centre centre_of_peer peers node_record party thing root_digest`):
    `take`, `take_file`, `take_fork`, `due`, `judge`.
    """

    def __init__(
        self,
        records: Records,
        *,
        anchor: bytes,
        verifier: Verifier | None = None,
        cache: RecordCache | None = None,
        own_centre: str | None = None,
    ) -> None:
        """`own_centre`: the only one of which `agencies_hosted_by` will know; None keeps all."""
        assert len(anchor) == 32
        self.own_centre: Final = own_centre
        super().__init__(records, cache)
        self._parties: dict[tuple[str, int | None], list[tuple[int, int, Party]]] = {}
        self.anchor: Final = anchor
        self.verifier: Final = verifier if verifier is not None else Verifier()

    def party(self, code: str, *, at_ms: int, epoch: int | None = None) -> Party | None:
        """As `DirectoryView.party`, remembered for as long as time changes nothing in it; asked
        some ten times for every document. Successors' keys turn at moments of their own: not kept."""
        known = self._parties.get((code, epoch), [])
        for from_ms, until_ms, party in known:
            if from_ms <= at_ms < until_ms:
                return party
        found = super().party(code, at_ms=at_ms, epoch=epoch)
        if found is not None and not any(row.value.successors for row in self.agency_versions(code)):
            if len(self._parties) >= PARTIES_MAX:
                self._parties.clear()
            from_ms, until_ms = self._unchanged_around(code, at_ms)
            self._parties.setdefault((code, epoch), []).append((from_ms, until_ms, found))
        return found

    def forget_parties(self) -> None:
        """The directory's records changed, or a change of them was lost."""
        self._parties.clear()

    def _unchanged_around(self, code: str, at_ms: int) -> tuple[int, int]:
        """The span around a moment in which the same versions and keys count: between the nearest
        moments at which any comparison in `protocol/entitlement.py` turns."""
        agencies = self.agency_versions(code)
        hosts = {version.value.host for version in agencies}
        centres = [version for host in hosts for version in self.centre_versions(host)]
        turns = [0, 2**63]
        for begin_ms in (*map(begins_ms, agencies), *map(begins_ms, centres)):
            turns += [begin_ms - CLOCK_SKEW_MS, begin_ms + CLOCK_SKEW_MS]
        keys = [entry for version in agencies for entry in version.value.keys]
        keys += [entry for version in centres for entry in (*version.value.keys, *version.value.sealing)]
        for entry in keys:
            turns += [entry.from_ms - CLOCK_SKEW_MS, entry.from_ms, entry.until_ms]
        return max(turn for turn in turns if turn <= at_ms), min(turn for turn in turns if turn > at_ms)

    def check_anchor(self) -> None:
        """The stored roots begin with the configured anchor, or nothing is stored yet.

        Raises:
            ConfigurationError: `root_digest_differs`.
        """
        if self.root_versions() and not self.was_accepted(self.anchor):
            raise ConfigurationError("root_digest_differs", field="root_digest")

    def court(self, now_ms: int, *, clock_trusted: bool = True) -> Court:
        """What judging needs, at this moment."""
        return Court(
            lookup=self, verifier=self.verifier, now_ms=now_ms, anchor=self.anchor, clock_trusted=clock_trusted
        )

    def take(self, things: Iterable[bytes], now_ms: int, *, clock_trusted: bool = True) -> Imported:
        """Judge signed things (wire bytes, any order); commit the result's `changes` in one step."""
        return import_things(
            things,
            self.records,
            anchor=self.anchor,
            verifier=self.verifier,
            now_ms=now_ms,
            cache=self.cache,
            terms=Terms(clock_trusted=clock_trusted, own_centre=self.own_centre),
        )

    def take_steps(
        self, things: Iterable[bytes], now_ms: int, *, clock_trusted: bool, patience: Patience | None = None
    ) -> Generator[None, None, Imported]:
        """As `take`, with a pause after each thing; nothing of the directory may change meanwhile.
        `patience`: as for `import_steps`."""
        return import_steps(
            things,
            self.records,
            anchor=self.anchor,
            verifier=self.verifier,
            now_ms=now_ms,
            cache=self.cache,
            terms=Terms(clock_trusted=clock_trusted, own_centre=self.own_centre),
            patience=patience,
        )

    def plain_court(self, now_ms: int) -> PlainCourt:
        """For the first versions of a large heap, at this moment."""
        return PlainCourt(self, self.court(now_ms), own_centre=self.own_centre)

    def take_file(self, file: bytes, now_ms: int, *, clock_trusted: bool = True) -> Imported:
        """As `take`, for the bytes of a `.truc` file. Raises: FormatError, as `read_file`."""
        return self.take(read_file(file), now_ms, clock_trusted=clock_trusted)

    def take_fork(self, first: Signed, second: Signed, now_ms: int) -> tuple[Change, ...]:
        """The changes that keep a proof of two things under one number; none if one is kept already.

        Raises: as `registrar_log.judge_fork`.
        """
        fork = judge_fork(first, second, self.court(now_ms))
        return () if fork == self.fork(fork.registrar, fork.generation) else (Put(fork),)

    def due(self, now_ms: int, *, clock_trusted: bool, heard_ms: int | None) -> Due:
        """Which pending versions come into force now, and when to ask again; as `due_changes`."""
        court = self.court(now_ms, clock_trusted=clock_trusted)
        return due_changes(self, court, own_centre=self.own_centre, heard_ms=heard_ms)

    def judge(
        self, signed: Signed, *, agency: str, purpose: Purpose, created_ms: int, now_ms: int, epoch: int | None = None
    ) -> Basis:
        """Judge a statement about consignments. Raises: as `trust.judge_statement`."""
        return judge_statement(
            signed, self.court(now_ms), agency=agency, purpose=purpose, created_ms=created_ms, epoch=epoch
        )


def node_statement(
    *,
    centre: str,
    peer_id: str,
    addresses: Iterable[str],
    features: Iterable[str],
    versions: Iterable[str],
    software: str,
    now_ms: int,
    valid_ms: int = 7 * DAY_MS,
) -> bytes:
    """What this node says of itself, for its centre's operational key to sign; made daily and at address change."""
    assert 0 < valid_ms <= NODE_RECORD_VALID_MAX_MS
    record = NodeRecord(
        centre=centre,
        peer_id=peer_id,
        from_ms=now_ms,
        until_ms=now_ms + valid_ms,
        addresses=tuple(addresses),
        features=tuple(features),
        versions=tuple(versions),
        software=software,
    )
    check(record)
    return NODE.encode(record)


def make_node_record(*, signer: Signer, **said: Any) -> Signed:
    """`node_statement`, signed by a key at hand."""
    return sign(NODE.name, node_statement(**said), signer)
