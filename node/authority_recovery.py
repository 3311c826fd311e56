"""A folder that may not be the newest any more: seeing what the network has, and beginning anew.

Obeys DESIGN §3 ("a registrar's tool signs only after seeing its own newest head") and
`protocol/spec/checkpoint.md` §1: after a restore nobody knows which numbers were given since, so the
parent opens a new generation, in which everything of the registrar that is in force is signed anew.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from node.authority import Authority
from node.authority_act import Act
from node.authority_book import last_believed
from node.authority_log import KEPT_FORMATS, Issued
from node.authority_root import RolePlan, next_root
from node.authority_trust import ROLES
from node.countersigning import things_of
from protocol.checkpoint import heartbeat_keys
from protocol.directory import ROLE_LEVEL_1, ROLE_ROOT, ROOT, KeyEntry, Numbered
from protocol.directory_kinds import Subject
from protocol.directory_suspects import suspects
from protocol.entitlement import Known
from protocol.entitlement import registrar as find_registrar
from protocol.errors import ConfigurationError, FormatError, NotNow, TrucError
from protocol.signing import Signed

# --- seeing ---------------------------------------------------------------------------------


def see(authority: Authority, things: Iterable[bytes], now_ms: int) -> None:
    """Compare the folder with a directory file of the network, and take in what is new of others.

    Raises:
        ConfigurationError: `authority_behind` (the network has what our own keys signed and this
            folder does not know of, or something else under a number of ours); `authority_seen_old`
            (the file itself lacks what is newest of ours here, so it shows nothing).
        TrustError: `directory_fork` (another complete root has the number of the one that is in force here).
    """
    read = readable(things)
    merged = _with(authority, read, now_ms)
    _check_root(merged, authority.date(now_ms))
    for (name, generation), log in merged.logs.items():
        if _is_ours(authority, merged, name, generation, now_ms):
            _compare(authority, merged, name, generation, log.top)
    check_newest(authority, merged, read, now_ms)
    authority.keep(read, now_ms)
    authority.note_seen(now_ms)


def _with(authority: Authority, read: Iterable[Signed], now_ms: int) -> Issued:
    """The folder with these beside it; copies of what is believed here change nothing."""
    merged, known = authority.issued.beside(), authority.issued.things
    merged.take([signed for signed in read if known.get(signed.digest) != signed], authority.date(now_ms))
    return merged


def readable(things: Iterable[bytes]) -> list[Signed]:
    """What a folder holds of these: a network's file has more, and may hold what is newer than we are.

    What proves a fork is taken in as the two things that it is made of: a registrar must hear of its own.
    """
    found: list[Signed] = []
    for wire in things:
        with suppress(FormatError):
            found += [signed for signed in things_of(wire) if signed.format in KEPT_FORMATS]
    return found


def _check_root(merged: Issued, now_ms: int) -> None:
    """Two roots under one number, both signed by their thresholds: nothing is signed until people have decided."""
    for item in merged.waiting(now_ms).rejected:
        if item.about == ROOT.name and item.error.code == "directory_fork":
            raise item.error


def _is_ours(authority: Authority, merged: Issued, name: str, generation: int, now_ms: int) -> bool:
    """Whether this is the open generation of a registrar whose key is here, as far as the network tells."""
    try:
        by = find_registrar(merged.view, name, authority.date(now_ms))
    except TrucError:
        return False
    return by.generation == generation and bool(authority.signers(by))


def check_newest(authority: Authority, merged: Issued, read: Iterable[Signed], now_ms: int) -> None:
    """Return if these have the newest thing of every registrar for whom, or whose sign of life, a key here signs,
    and the root in force where a key of its is here: an older file shows nothing (spec/checkpoint.md §7).

    Raises:
        ConfigurationError: `authority_seen_old`.
    """
    digests = {signed.digest for signed in read}
    versions = authority.view.root_versions()
    if versions and authority.root_signers(versions[0].value) and versions[0].digest not in digests:
        raise ConfigurationError("authority_seen_old", registrar=ROLE_ROOT, known=versions[0].value.version)
    for name, generation in authority.issued.logs:
        if _is_ours(authority, merged, name, generation, now_ms) or _repeats(authority, name, generation, now_ms):
            _check_has_head(authority, name, generation, digests)


def _check_has_head(authority: Authority, name: str, generation: int, digests: Collection[bytes]) -> None:
    number = last_believed(authority.issued, authority.issued.log(name, generation))
    if number and authority.issued.log(name, generation).entries[number].digest not in digests:
        raise ConfigurationError("authority_seen_old", registrar=name, known=number)


def _repeats(authority: Authority, name: str, generation: int, now_ms: int) -> bool:
    last = authority.issued.checkpoint(authority.issued.log(name, generation).last_checkpoint())
    return last is not None and authority.signer_of(heartbeat_keys(last, authority.date(now_ms))) is not None


def _compare(authority: Authority, merged: Issued, name: str, generation: int, top: int) -> None:
    given = max(authority.book.number(name, generation), authority.issued.log(name, generation).top)
    forked = merged.view.fork(name, generation) is not None
    entries = merged.log(name, generation).entries
    beyond = any(number > given and merged.view.was_accepted(entry.digest) for number, entry in entries.items())
    if forked or beyond:
        raise ConfigurationError("authority_behind", registrar=name, known=given, seen=top)


# --- beginning anew -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What was done: the version that opens the new generation, if this folder signed it, and what
    was signed anew under it; `left_out` are digests that a compromised key signed, to be set right."""

    opened: Signed | None = None
    entered: tuple[Signed, ...] = ()
    left_out: tuple[bytes, ...] = ()
    generation: int = 0


def recover(authority: Authority, name: str, things: Iterable[bytes], now_ms: int) -> Recovered:
    """Open a registrar's next generation (as the body above), enter it (as the registrar), or both.

    A generation that is open and in which nothing was signed yet is entered; otherwise the next
    one is opened. Everything in the file is taken in first.

    Raises:
        ConfigurationError: `authority_seen_old` (the file lacks what is newest of this registrar here; not if
            its log is forked: then no file has everything).
        ConfigurationError: `authority_generation_needed` (the body above has to open one first),
            and as `Authority.act`.
    """
    read = readable(things)
    merged = _with(authority, read, now_ms)
    generation = find_registrar(merged.view, name, authority.date(now_ms)).generation
    if read and merged.view.fork(name, generation) is None:
        _check_has_head(authority, name, generation, {signed.digest for signed in read})
    fresh = not merged.log(name, generation).top and not authority.book.number(name, generation)
    above = "" if fresh else _above(authority, merged, name, now_ms)
    if above and name not in ROLES:  # a restored folder may hold both, and then both are lost
        opens = find_registrar(merged.view, above, authority.date(now_ms)).generation
        _compare(authority, merged, above, opens, merged.log(above, opens).top)
    authority.keep(read, now_ms)
    authority.note_seen(now_ms)
    opened: Signed | None = None
    if not fresh:
        authority.leave(name, generation, now_ms)
        opened = _open_next(authority, name, above, generation, now_ms)
        before, generation = generation, find_registrar(authority.view, name, authority.date(now_ms)).generation
        if generation == before:  # others have to sign the version that opens it
            return Recovered(opened=opened, generation=before + 1)
    if not authority.has_keys(name, now_ms):
        return Recovered(opened=opened, generation=generation)
    return replace(_enter(authority, name, now_ms), opened=opened)


def _above(authority: Authority, merged: Issued, name: str, now_ms: int) -> str:
    """Who may open the registrar's next generation with the keys that are here: upper bodies may as well."""
    if name in ROLES:
        candidates: tuple[str, ...] = (ROLE_ROOT,)
    else:
        known = merged.agency(name)
        if known is None:
            raise NotNow("directory_registrar_unknown", registrar=name)
        candidates = (known.value.registrar, ROLE_LEVEL_1, ROLE_ROOT)
    for above in candidates:
        if authority.has_keys(above, now_ms):
            return above
    raise ConfigurationError("authority_generation_needed", registrar=name, parent=candidates[0])


def _open_next(authority: Authority, name: str, above: str, generation: int, now_ms: int) -> Signed:
    if name in ROLES:
        return next_root(authority, [RolePlan(name=name, next_generation=True)], now_ms)
    known = authority.issued.agency(name)
    assert known is not None, "whoever has a generation has a record"
    delegation = known.value.delegation
    if delegation.generation > generation:  # opened already, and still to be signed by others
        return authority.issued.things[known.digest]
    following = replace(delegation, generation=generation + 1)
    return authority.set_delegation(name, following, now_ms, registrar=above)


def _enter(authority: Authority, name: str, now_ms: int) -> Recovered:
    act = authority.act(now_ms, registrar=name, entering=True)
    left_out = _repeat_all(authority, act)
    signed = authority.complete(act)
    return Recovered(entered=signed, left_out=left_out, generation=act.by.generation)


def _repeat_all(authority: Authority, act: Act) -> tuple[bytes, ...]:
    """Everything of the registrar in force, then its pending versions, whose day begins anew."""
    suspected = {item.signed.digest for item in suspects(_compromised(authority, act.by.name), _things(authority),
                                                         authority.issued.verifier)}  # fmt: skip
    in_force, pending = _own(authority, act.by.name)
    left_out: list[bytes] = []
    for known in (*in_force, *pending):
        if known.digest in suspected:
            left_out.append(known.digest)
        else:
            act.repeat(known.value)
    return tuple(left_out)


def _own(authority: Authority, name: str) -> tuple[list[Known[Numbered]], list[Known[Numbered]]]:
    in_force: list[Known[Numbered]] = []
    pending: list[Known[Numbered]] = []
    for subject, code in _subjects(authority, name):
        in_force += [item for item in authority.view.versions(subject, code)[:1] if item.value.registrar == name]
        waits = authority.view.pending_version(subject, code)
        pending += [waits] if waits is not None and waits.value.registrar == name else []
    return in_force, pending


def _subjects(authority: Authority, name: str) -> list[tuple[Subject, str]]:
    """What the registrar ever signed about, in any generation; upper codes first."""
    found = {
        (Subject(entry.subject), entry.code)
        for (registrar, _), log in authority.issued.logs.items()
        if registrar == name
        for entry in log.entries.values()
        if entry.subject
    }
    return sorted(found, key=lambda about: (about[0], about[1].count("."), about[1]))


def _things(authority: Authority) -> Iterator[Signed]:
    yield from authority.issued.things.values()


def _compromised(authority: Authority, name: str) -> tuple[KeyEntry, ...]:
    """The keys of a registrar that somebody else may have used."""
    if name in ROLES:
        return authority.present_root().keys
    known = authority.issued.agency(name)
    return known.value.delegation.keys if known is not None else ()
