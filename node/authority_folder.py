"""The authority's folder: encrypted keys, the book of numbers, and everything issued so far.

Left to `authority.py`: what is signed. An act is durable as a whole before anything of it leaves,
and then the book remembers its head; a folder whose records do not reach the head in its book is an
older copy, and signs nothing. Key files may lie in several folders: each custodian carries one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Final

from protocol.directory import Positive, Registrar
from protocol.directory_file import read_file, write_file
from protocol.encoding import Digest, Format, Key, Meta, TimeMs
from protocol.errors import ConfigurationError, FormatError
from protocol.limits import CODE_CHARACTERS_MAX, DIRECTORY_FILE_BYTES_MAX, KIB
from protocol.prefix_tree import EMPTY
from protocol.signing import Ed25519Signer
from storage.folder import Folder
from storage.keystore import Cost, open_secrets, seal_secrets

Entropy = Callable[[int], bytes]

BOOK_FILE: Final = "book"
ISSUED_FILE: Final = "directory.truc"
JUDGED_FILE: Final = "judged"
KEYS_FOLDER: Final = "keys"
KEY_SUFFIX: Final = ".key"
KEY_FILE_BYTES_MAX: Final = 64 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPosition:
    """The last number that a registrar gave in one of its generations."""

    registrar: Annotated[Registrar, Key(1)]
    generation: Annotated[Positive, Key(2)]
    number: Annotated[Positive, Key(3)]
    head: Annotated[Digest, Key(4)] = EMPTY
    """Digest of what stands under the number: the act's checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What must never go back: the anchor, the last date, and the last number of each registrar."""

    anchor: Annotated[Digest, Key(1)]
    last_ms: Annotated[TimeMs, Key(2)] = 0
    positions: Annotated[tuple[LogPosition, ...], Meta(max_length=10_000), Key(3)] = ()
    seen_ms: Annotated[TimeMs, Key(4)] = 0
    """When the folder was last compared with what the network has."""
    registrar: Annotated[str, Meta(max_length=CODE_CHARACTERS_MAX), Key(5)] = ""
    """Whom the folder signs for unless told otherwise; empty: level-1, else root."""

    left: Annotated[tuple[LogPosition, ...], Meta(max_length=10_000), Key(6)] = ()
    """Generations that were given up here, because nobody knows which numbers were given in them."""

    def has_left(self, registrar: str, generation: int) -> bool:
        """Whether this folder signs nothing more in this generation."""
        return any((p.registrar, p.generation) == (registrar, generation) for p in self.left)

    def position(self, registrar: str, generation: int) -> LogPosition | None:
        """The last number given and what stands under it; None before the first."""
        return next((p for p in self.positions if (p.registrar, p.generation) == (registrar, generation)), None)

    def number(self, registrar: str, generation: int) -> int:
        """The last number given; 0 before the first."""
        known = self.position(registrar, generation)
        return 0 if known is None else known.number

    def with_position(self, position: LogPosition, now_ms: int) -> Book:
        """The book after this number was given; dates never go back."""
        place = (position.registrar, position.generation)
        others = [p for p in self.positions if (p.registrar, p.generation) != place]
        positions = tuple(sorted([*others, position], key=lambda p: (p.registrar, p.generation)))
        return replace(self, last_ms=max(self.last_ms, now_ms), positions=positions)


BOOK: Final = Format("truc/authority-book/1", Book, bytes_max=1024 * KIB)


class AuthorityFolder:
    """Reads and replaces the files of one authority; every write is durable on return."""

    def __init__(self, folder: Folder) -> None:
        self.folder: Final = folder

    def exists(self) -> bool:
        """Whether there is an authority here."""
        return self.folder.size(BOOK_FILE) is not None

    # --- book and issued records ------------------------------------------------------------

    def read_book(self) -> Book:
        """The book of numbers.

        Raises:
            ConfigurationError: `authority_missing`, `authority_damaged`.
        """
        if not self.exists():
            raise ConfigurationError("authority_missing")
        try:
            return BOOK.decode(self._read(BOOK_FILE, BOOK.bytes_max))
        except FormatError as error:
            raise ConfigurationError("authority_damaged", reason=BOOK_FILE) from error

    def write_book(self, book: Book) -> None:
        """Make this the book."""
        self._replace(BOOK_FILE, BOOK.encode(book))

    def read_issued(self) -> tuple[bytes, ...]:
        """Wire bytes of everything issued or taken in.

        Raises:
            ConfigurationError: `authority_damaged`.
        """
        try:
            return read_file(self._read(ISSUED_FILE, DIRECTORY_FILE_BYTES_MAX))
        except FormatError as error:
            raise ConfigurationError("authority_damaged", reason=ISSUED_FILE) from error

    def write_issued(self, things: Iterable[bytes]) -> None:
        """Make these the issued things."""
        self._replace(ISSUED_FILE, write_file(things))

    def read_judged(self) -> bytes | None:
        """The content of the file of `authority_judged.py`; None when there is none."""
        size = self.folder.size(JUDGED_FILE)
        return None if size is None else self._read(JUDGED_FILE, size)

    def write_judged(self, content: bytes) -> None:
        """Make this that file's content."""
        self._replace(JUDGED_FILE, content)

    # --- keys -------------------------------------------------------------------------------

    def key_names(self) -> tuple[str, ...]:
        """The keys that lie here, opened or not."""
        names = self.folder.list(KEYS_FOLDER)
        return tuple(name.removesuffix(KEY_SUFFIX) for name in names if name.endswith(KEY_SUFFIX))

    def make_key(self, name: str, passphrase: bytes, *, entropy: Entropy, cost: Cost | None = None) -> Ed25519Signer:
        """A fresh key, encrypted under the passphrase, in a file of its own."""
        seed = entropy(32)
        blob = seal_secrets({"seed": seed}, passphrase, entropy=entropy, cost=cost)
        self._replace(f"{KEYS_FOLDER}/{name}{KEY_SUFFIX}", blob)
        return Ed25519Signer(seed)

    def open_keys(self, passphrase: bytes) -> dict[str, Ed25519Signer]:
        """The keys that this passphrase opens; other custodians' keys stay closed.

        Raises:
            ConfigurationError: `keystore_passphrase` (there are keys, and it opens none),
                `key_backup_damaged`.
        """
        opened: dict[str, Ed25519Signer] = {}
        for name in self.key_names():
            blob = self._read(f"{KEYS_FOLDER}/{name}{KEY_SUFFIX}", KEY_FILE_BYTES_MAX)
            try:
                opened[name] = Ed25519Signer(open_secrets(blob, passphrase)["seed"])
            except ConfigurationError as error:
                if error.code != "keystore_passphrase":
                    raise
        if self.key_names() and not opened:
            raise ConfigurationError("keystore_passphrase")
        return opened

    # --- files ------------------------------------------------------------------------------

    def _read(self, name: str, bytes_max: int) -> bytes:
        return self.folder.pread(name, 0, bytes_max + 1)

    def _replace(self, name: str, content: bytes) -> None:
        fresh = f"{name}.new"
        self.folder.unlink(fresh)
        self.folder.create(fresh)
        self.folder.append(fresh, content)
        self.folder.fdatasync(fresh)
        self.folder.rename(fresh, name)
        self.folder.fsync_folder(name.rpartition("/")[0])
