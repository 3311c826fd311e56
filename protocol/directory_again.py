"""What is judged anew because something it is compared with is believed only now.

Spec: `spec/trust.md` §5, "Copies" and "Again". An endorsement may come before the record that lists its
key, and a version before the one that it follows: so that order decides nothing, whoever takes in
things asks here after each of them. Pure; how one thing is judged is `trust.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from typing import Any, Final, TypeVar

from protocol.court import Accepted, Court, Standing
from protocol.directory_kinds import Subject
from protocol.directory_view import DirectoryView
from protocol.entitlement import Known
from protocol.signing import Signed
from protocol.standing import order_of
from protocol.trust import judge_again

T = TypeVar("T")

About = tuple[Subject, str]
"""A centre's or an agency's record."""


def touches(accepted: Accepted) -> bool:
    """Whether anything else may be judged otherwise for it."""
    counts = accepted.standing in {Standing.IN_FORCE, Standing.SUPERSEDED}
    return counts and not accepted.quiet and accepted.subject in {Subject.ROOT, Subject.CENTRE, Subject.AGENCY}


class Uncounted:
    """The records of which something waits, by the centres that might vouch for it; for as long as nothing else
    changes the directory. Of what lies aside there is no list: only what is added here is found."""

    def __init__(self, view: DirectoryView) -> None:
        self.view: Final = view
        self._by_centre: Final[dict[str, dict[About, None]]] = {}
        self._is_read = False

    def add(self, subject: Subject, code: str) -> None:
        """Something of this record waits, or lies aside."""
        hosts = {code} if subject is Subject.CENTRE else {v.value.host for v in self.view.agency_versions(code)}
        for centre in hosts:
            self._by_centre.setdefault(centre, {})[subject, code] = None

    def touched_by(self, subject: Subject, code: str) -> Generator[None, None, Sequence[About]]:
        """What may count because this is believed, in the order of subjects and codes; pauses while it reads."""
        if subject is Subject.AGENCY:
            return ((subject, code),)
        if not self._is_read:
            yield from self._read()
        if subject is Subject.ROOT:
            return sorted({about for found in self._by_centre.values() for about in found})
        return sorted({(subject, code), *self._by_centre.get(code, ())})

    def _read(self) -> Generator[None, None, None]:
        after: tuple[int, str] | None = None
        while page := self.view.all_pending(after=after):
            for row in page:
                self.add(Subject(row.subject), row.code)
                yield
            after = page[-1].subject, page[-1].code
        self._is_read = True


def judged_again(about: About, court: Court, view: DirectoryView, copies: Collection[Signed] = ()) -> Accepted | None:
    """The oldest of what waits or lies aside of this record that counts by now; None if nothing does.

    `copies`: better signed ones that came before the key did.
    """
    for known in _uncounted(about, view):
        kept = view.thing(known.digest)
        for signed in (kept, *(copy for copy in copies if copy.digest == known.digest)):
            accepted = None if signed is None else judge_again(signed, known.value, court)
            if accepted is not None:
                return accepted
    return None


def at_once(steps: Generator[None, None, T]) -> T:
    """The end of what pauses, without the pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _uncounted(about: About, view: DirectoryView) -> list[Known[Any]]:
    history, pending = view.history(*about), view.pending_version(*about)
    if history is None:
        return []
    found: list[Known[Any]] = [] if pending is None else [pending]
    found += [Known(view.cache.value(view.records, item.digest), item.digest) for item in history.aside]
    return sorted(found, key=order_of)
