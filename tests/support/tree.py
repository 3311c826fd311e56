"""A small real signed tree for tests: one root, three centres, a few agencies; the same from the same seed.

    tree = Tree.make()                       # G22 and G22.99 at 00.01.W00, G12 at 00.02.W00, H38 at 00.03.W00
    directory = Directory(tree.records(), anchor=tree.anchor)
    signed = sign(CONSIGNMENT.name, CONSIGNMENT.encode(...), tree.centres["00.01.W00"].signer)

`tree.things` are the wires of a directory file. `tree.add_centre`, `add_agency`, `next_agency`,
`next_centre`, `publish` sign further records; each takes the next number of its registrar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeVar

from protocol.directory import (
    AGENCY,
    ALGORITHM_X25519,
    CENTRE,
    ROLE_LEVEL_1,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Delegation,
    KeyEntry,
    Names,
    NodeRecord,
    Role,
    Root,
)
from protocol.directory_file import write_file
from protocol.directory_import import Imported, import_things
from protocol.directory_view import DirectoryView, RecordCache
from protocol.encoding import Format
from protocol.limits import DAY_MS
from protocol.sealing import SealingKey
from protocol.signing import Ed25519Signer, Signed, Signer, Verifier, countersign, sign
from protocol.staged import Staged

T = TypeVar("T")

START_MS = 1_780_000_000_000
"""The tree's first moment, in 2026; records are made one minute apart."""

TREE_READY_MS = START_MS + DAY_MS
"""A convenient `now` for tests: everything in the tree is a day old."""

YEARS_MS = 3_650 * DAY_MS

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def key_seed(seed: int, label: str) -> bytes:
    """32 bytes that look random and are always the same."""
    return sha256(f"truc tests {seed} {label}".encode()).digest()


def entry_of(signer: Signer, *, from_ms: int = START_MS, until_ms: int = START_MS + YEARS_MS, **more: Any) -> KeyEntry:
    """The directory entry of a signer's key."""
    key = signer.public
    return KeyEntry(algorithm=key.algorithm, raw=key.raw, from_ms=from_ms, until_ms=until_ms, **more)


def sealing_entry(key: SealingKey, *, from_ms: int = START_MS, until_ms: int = START_MS + YEARS_MS) -> KeyEntry:
    """The directory entry of a sealing key."""
    return KeyEntry(algorithm=ALGORITHM_X25519, raw=key.public_raw, from_ms=from_ms, until_ms=until_ms)


def peer_id_of(signer: Ed25519Signer) -> str:
    """The libp2p peer id of an Ed25519 identity key: base58 of its identity multihash."""
    number = int.from_bytes(b"\x00\x24\x08\x01\x12\x20" + signer.public.raw, "big")
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "1" + text


@dataclass(frozen=True, slots=True)
class Centre:
    """A centre with its private keys."""

    code: str
    signer: Ed25519Signer
    sealing: SealingKey
    identity_seed: bytes

    @classmethod
    def make(cls, seed: int, code: str) -> Centre:
        """Keys derived from the seed and the code."""
        return cls(
            code,
            Ed25519Signer(key_seed(seed, f"{code} operational")),
            SealingKey(key_seed(seed, f"{code} sealing")),
            key_seed(seed, f"{code} identity"),
        )

    @property
    def peer_id(self) -> str:
        """The libp2p peer id of the identity key."""
        return peer_id_of(Ed25519Signer(self.identity_seed))


@dataclass(slots=True)
class Tree:
    """The registrars' private keys, and everything they have signed so far."""

    seed: int
    root_signers: tuple[Ed25519Signer, ...]
    level_1_signers: tuple[Ed25519Signer, ...]
    centres: dict[str, Centre] = field(default_factory=dict)
    agencies: dict[str, AgencyRecord] = field(default_factory=dict)
    centre_records: dict[str, CentreRecord] = field(default_factory=dict)
    registrars: dict[str, tuple[Ed25519Signer, ...]] = field(default_factory=dict)
    signed: list[Signed] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    clock_ms: int = START_MS

    @classmethod
    def bare(cls, seed: int = 1, *, root_keys: int = 1, root_threshold: int = 1, level_1_threshold: int = 1) -> Tree:
        """Only a root."""
        roots = tuple(Ed25519Signer(key_seed(seed, f"root {n}")) for n in range(root_keys))
        level_1 = tuple(Ed25519Signer(key_seed(seed, f"level-1 {n}")) for n in range(level_1_threshold))
        tree = cls(seed, roots, level_1)
        tree.registrars = {ROLE_ROOT: roots, ROLE_LEVEL_1: level_1}
        tree.signed.append(tree.sign(ROOT, tree.root(threshold=root_threshold), roots))
        return tree

    @classmethod
    def make(
        cls,
        seed: int = 1,
        *,
        hosting: Mapping[str, Iterable[str]] | None = None,
    ) -> Tree:
        """A root, and centres with the agencies they host (default: the demo's)."""
        tree = cls.bare(seed)
        hosting = hosting if hosting is not None else DEMO
        for centre, codes in hosting.items():
            tree.add_centre(centre)
            for code in codes:
                tree.add_agency(code, centre)
        return tree

    # --- reading ----------------------------------------------------------------------------

    @property
    def anchor(self) -> bytes:
        """Digest of the first root."""
        return self.signed[0].digest

    @property
    def things(self) -> tuple[bytes, ...]:
        """Wire bytes of everything signed so far."""
        return tuple(item.to_wire() for item in self.signed)

    @property
    def file(self) -> bytes:
        """A `.truc` directory file with everything."""
        return write_file(self.signed)

    def imported(self, now_ms: int = TREE_READY_MS) -> Imported:
        """Everything judged on an empty store: `.changes` can be committed to any store."""
        return import_things(
            self.things, Staged(), anchor=self.anchor, verifier=Verifier(), now_ms=now_ms, cache=RecordCache()
        )

    def records(self, now_ms: int = TREE_READY_MS) -> Staged:
        """A memory store in which everything has been accepted."""
        result = self.imported(now_ms)
        assert not result.rejected, result.rejected
        records = Staged()
        records.stage(result.changes)
        return records

    def view(self, now_ms: int = TREE_READY_MS) -> DirectoryView:
        """A view over `records`."""
        return DirectoryView(self.records(now_ms))

    # --- signing ----------------------------------------------------------------------------

    def tick(self) -> int:
        """One minute later."""
        self.clock_ms += 60_000
        return self.clock_ms

    def root(self, *, version: int = 1, threshold: int = 1, created_ms: int | None = None) -> Root:
        """The statement of a root with the present keys."""
        keys = (*self.root_signers, *self.level_1_signers)
        return Root(
            version=version,
            created_ms=self.clock_ms if created_ms is None else created_ms,
            name="Trục thử nghiệm",
            keys=tuple(entry_of(signer) for signer in keys),
            roles=(
                Role(
                    name=ROLE_LEVEL_1,
                    keys=tuple(signer.public.key_id for signer in self.level_1_signers),
                    threshold=len(self.level_1_signers),
                ),
                Role(
                    name=ROLE_ROOT,
                    keys=tuple(signer.public.key_id for signer in self.root_signers),
                    threshold=threshold,
                ),
            ),
        )

    def next_number(self, registrar: str) -> int:
        """The next number in a registrar's log."""
        self.numbers[registrar] = self.numbers.get(registrar, 0) + 1
        return self.numbers[registrar]

    def sign(self, form: Format[T], value: T, signers: Iterable[Signer]) -> Signed:
        """A thing with the signatures of all these; not added to `signed`."""
        first, *others = signers
        signed = sign(form.name, form.encode(value), first)
        for signer in others:
            signed = countersign(signed, signer)
        return signed

    def publish(self, value: AgencyRecord | CentreRecord | NodeRecord, *signers: Signer) -> Signed:
        """Sign with the registrar's keys and these (or only these, for a node record); keep it."""
        if isinstance(value, NodeRecord):
            from protocol.directory import NODE

            signed = self.sign(NODE, value, signers)
        elif isinstance(value, AgencyRecord):
            signed = self.sign(AGENCY, value, (*self.registrars[value.registrar], *signers))
            self.agencies[value.code] = value
        else:
            signed = self.sign(CENTRE, value, (*self.registrars[value.registrar], *signers))
            self.centre_records[value.code] = value
        self.signed.append(signed)
        return signed

    # --- records ----------------------------------------------------------------------------

    def add_centre(self, code: str, **more: Any) -> CentreRecord:
        """Register a centre with fresh keys."""
        centre = self.centres[code] = Centre.make(self.seed, code)
        record = CentreRecord(
            **{
                "registrar": ROLE_LEVEL_1,
                "generation": 1,
                "number": self.next_number(more.get("registrar", ROLE_LEVEL_1)),
                "created_ms": self.tick(),
                "code": code,
                "names": Names(vi=f"Trung tâm {code}", en=f"Centre {code}"),
                "peer_id": centre.peer_id,
                "keys": (entry_of(centre.signer),),
                "sealing": (sealing_entry(centre.sealing),),
                **more,
            }
        )
        self.publish(record)
        return record

    def new_agency(self, code: str, host: str, **more: Any) -> AgencyRecord:
        """The first record of an agency, unsigned."""
        return AgencyRecord(
            **{
                "registrar": ROLE_LEVEL_1,
                "generation": 1,
                "number": self.next_number(more.get("registrar", ROLE_LEVEL_1)),
                "created_ms": self.tick(),
                "code": code,
                "names": Names(vi=NAMES.get(code, f"Cơ quan {code}"), en=f"Agency {code}"),
                "host": host,
                "epoch": 1,
                "parent": code.rpartition(".")[0],
                **more,
            }
        )

    def add_agency(self, code: str, host: str, **more: Any) -> AgencyRecord:
        """Register an agency."""
        record = self.new_agency(code, host, **more)
        self.publish(record)
        return record

    def next_agency(self, code: str, **changes: Any) -> AgencyRecord:
        """The next version of an agency's record, unsigned."""
        registrar = changes.get("registrar", self.agencies[code].registrar)
        fresh = {"registrar": registrar, "number": self.next_number(registrar), "created_ms": self.tick()}
        return replace(self.agencies[code], **{**fresh, **changes})

    def next_centre(self, code: str, **changes: Any) -> CentreRecord:
        """The next version of a centre's record, unsigned."""
        registrar = changes.get("registrar", self.centre_records[code].registrar)
        fresh = {"registrar": registrar, "number": self.next_number(registrar), "created_ms": self.tick()}
        return replace(self.centre_records[code], **{**fresh, **changes})

    def delegate(self, code: str, *parts: str, label: str = "registrar") -> AgencyRecord:
        """Give an agency a registrar's key for what lies below its code; endorsed by its host."""
        signer = Ed25519Signer(key_seed(self.seed, f"{code} {label}"))
        self.registrars[code] = (signer,)
        record = self.next_agency(code, delegation=Delegation(keys=(entry_of(signer),), parts=parts))
        self.publish(record, self.centres[record.host].signer)
        return record


DEMO: dict[str, tuple[str, ...]] = {
    "00.01.W00": ("G22", "G22.99"),
    "00.02.W00": ("G12",),
    "00.03.W00": ("H38",),
}

NAMES = {
    "G22": "Văn phòng Chính phủ",
    "G22.99": "Vụ Thử nghiệm",
    "G12": "Bộ Tài chính",
    "H38": "UBND tỉnh Lào Cai",
}
