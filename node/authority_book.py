"""Whether a folder may sign: what its book of numbers says, against the records that lie beside it.

Obeys DESIGN §3 ("a registrar's tool signs only after seeing its own newest head"). The book itself is
`authority_folder.py`, comparing with the network `authority_recovery.py`. Pure.
"""

from __future__ import annotations

from node.authority_folder import Book, LogPosition
from node.authority_log import Issued, RegistrarLog
from protocol.checkpoint import NUMBERED
from protocol.entitlement import Registrar
from protocol.errors import ConfigurationError, TrustError
from protocol.limits import FRESH_MS
from protocol.prefix_tree import EMPTY


def check_head(book: Book, issued: Issued, by: Registrar, now_ms: int) -> None:
    """Return if the folder has everything that it signed for this registrar itself, and looked lately:
    one that lacks something would give a number twice.

    Raises:
        ConfigurationError: `authority_behind`, `authority_unseen`.
        TrustError: `directory_generation_forked`.
    """
    if issued.view.fork(by.name, by.generation) is not None:
        raise TrustError("directory_generation_forked", registrar=by.name, code="")
    log = issued.log(by.name, by.generation)
    position = book.position(by.name, by.generation)
    if book.has_left(by.name, by.generation) or (position is not None and not _reaches(log, position)):
        seen = position.number if position is not None else log.top
        raise ConfigurationError("authority_behind", registrar=by.name, known=log.top, seen=seen)
    if not log.is_whole:
        raise ConfigurationError("authority_behind", registrar=by.name, known=len(log.entries), seen=log.top)
    if log.top:
        check_seen(book, by.name, now_ms)


def check_seen(book: Book, registrar: str, now_ms: int) -> None:
    """Return if the folder was made, signed or was compared with the network within a day.

    Raises:
        ConfigurationError: `authority_unseen`.
    """
    if now_ms > max(book.last_ms, book.seen_ms) + FRESH_MS:
        raise ConfigurationError("authority_unseen", registrar=registrar)


def check_entered(issued: Issued, by: Registrar) -> None:
    """Return unless the registrar's open generation has still to begin with everything that is in force.

    Raises:
        ConfigurationError: `authority_not_entered`.
    """
    earlier = any(name == by.name and generation < by.generation for name, generation in issued.logs)
    if earlier and not issued.log(by.name, by.generation).top:
        raise ConfigurationError("authority_not_entered", registrar=by.name, generation=by.generation)


def with_known_numbers(book: Book, issued: Issued) -> Book:
    """The book with numbers that another folder of the same registrar gave, or that it did not learn of in time."""
    for (name, generation), log in issued.logs.items():
        known = book.position(name, generation)
        number = last_believed(issued, log)
        given = 0 if known is None else known.number
        headless = known is not None and known.head == EMPTY and known.number == number
        if number > given or headless:
            digest = log.entries[number].digest
            position = LogPosition(registrar=name, generation=generation, number=number, head=digest)
            book = book.with_position(position, _date_of(issued, digest))
    return book


def last_believed(issued: Issued, log: RegistrarLog) -> int:
    """The largest number whose thing is believed: one that only was begun may come from anybody's file."""
    numbers = sorted(log.entries, reverse=True)
    return next((n for n in numbers if issued.view.was_accepted(log.entries[n].digest)), 0)


def _date_of(issued: Issued, digest: bytes) -> int:
    signed = issued.things[digest]
    created_ms: int = NUMBERED[signed.format].decode(signed.statement).created_ms
    return created_ms


def _reaches(log: RegistrarLog, position: LogPosition) -> bool:
    entry = log.entries.get(position.number)
    return entry is not None and position.head in {EMPTY, entry.digest}
