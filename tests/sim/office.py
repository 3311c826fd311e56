"""A registrar's office in a simulated country: the tool that real registrars have, over a folder in memory.

What an office signs it signs with `node/authority*.py`; nothing here makes records of its own. An
office can be copied, as a careless or a bad registrar copies a folder: both copies then give
the same numbers, which is how forks come about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final, TypeVar

from node.authority import Authority, open_authority
from node.authority_folder import AuthorityFolder
from node.authority_recovery import see
from node.authority_registrar import Applicant, apply_as_registrar
from node.authority_root import create_authority
from node.countersigning import countersigned, thing
from protocol.errors import ConfigurationError
from protocol.signing import Signed, Signer
from storage.keystore import Cost
from tests.sim.disk import Disk

T = TypeVar("T")

PASSPHRASE: Final = b"mat khau"
CHEAP: Final = Cost(memory_kib=8, passes=1)
"""Nobody guesses passphrases here."""


class Office:
    """One registrar at work. `name` is empty for the office of the root and level 1."""

    def __init__(self, name: str, disk: Disk, authority: Authority) -> None:
        self.name: Final = name
        self.authority = authority
        self._disk: Final = disk
        self._given: Final[dict[bytes, Signed]] = {}

    @classmethod
    def central(cls, chance: Random, now_ms: int) -> Office:
        """The office that holds the root's keys and level 1's."""
        disk = Disk(chance)
        made = create_authority(
            AuthorityFolder(disk.folder()),
            name="Trục mô phỏng",
            passphrase=PASSPHRASE,
            entropy=chance.randbytes,
            now_ms=now_ms,
            cost=CHEAP,
        )
        return cls("", disk, made)

    @classmethod
    def applicant(
        cls, who: Applicant, things: Iterable[bytes], anchor: bytes, chance: Random, now_ms: int
    ) -> tuple[Office, Signed]:
        """An office with fresh keys, and its request to the body above."""
        disk = Disk(chance)
        made, request = apply_as_registrar(
            AuthorityFolder(disk.folder()),
            who,
            things,
            anchor=anchor,
            passphrase=PASSPHRASE,
            entropy=chance.randbytes,
            now_ms=now_ms,
            cost=CHEAP,
        )
        return cls(who.code, disk, made), request

    def copy(self, now_ms: int) -> Office:
        """The same folder again, as somebody who carried it away has it."""
        disk = self._disk.snapshot()
        folder = AuthorityFolder(disk.folder())
        return Office(self.name, disk, open_authority(folder, passphrase=PASSPHRASE, now_ms=now_ms))

    def act(self, now_ms: int, do: Callable[[Authority], T], network: Callable[[], Iterable[bytes]]) -> T:
        """Do something with the tool; where it wants to see the network's directory first, show it.

        `network` is the export of some node, which is asked for only then.
        """
        try:
            return do(self.authority)
        except ConfigurationError as error:
            if error.code != "authority_unseen":
                raise
            own = (signed.to_wire() for signed in self.authority.issued.kept())
            see(self.authority, [*network(), *own], now_ms)  # as a node exports it that was handed our own first
            return do(self.authority)

    def endorse(self, signed: Signed, signer: Signer, now_ms: int) -> Signed:
        """Add an endorser's signature to what was signed here, as the file that comes back has it."""
        (both,) = countersigned([signed], signer)
        self.authority.keep([both], now_ms)
        return both

    def hand_out(self) -> list[Signed]:
        """What lies in the folder and was not handed out yet, further signatures included."""
        kept = [thing(signed.to_wire()) for signed in self.authority.issued.kept()]
        fresh = [signed for signed in kept if self._given.get(signed.digest) != signed]
        self._given.update({signed.digest: signed for signed in fresh})
        return fresh
