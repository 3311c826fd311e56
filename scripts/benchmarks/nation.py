"""A directory of national size, made up: 125,000 agencies on four levels, signed in registrars' batches.

The same from the same numbers, so it is made once and kept in the system's temporary folder. 34 provinces
and 22 ministries sign what stands below them; two departments of each sign for their own part. Every
batch is one signature and ends with a checkpoint, as with the registrar's tool. All keys follow from
labels, so that a benchmark can sign further records; no real node may ever trust them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from node.peer_id import peer_id_of
from protocol.checkpoint import CHECKPOINT, Checkpoint
from protocol.court import subject_of
from protocol.directory import (
    AGENCY,
    ALGORITHM_X25519,
    CENTRE,
    CENTRE_REQUEST,
    ROLE_LEVEL_1,
    ROLE_ROOT,
    ROOT,
    AgencyRecord,
    CentreRecord,
    Delegation,
    KeyEntry,
    Names,
    Numbered,
    Role,
    Root,
)
from protocol.directory_file import read_file, write_file
from protocol.encoding import Format, encode, glance
from protocol.limits import DAY_MS, DIRECTORY_WIRE_BYTES_MAX, MINUTE_MS
from protocol.prefix_tree import EMPTY, PrefixTree, tree_key
from protocol.sealing import SealingKey
from protocol.signing import Ed25519Signer, Signed, countersign, sign, sign_batch

RECORDS: Final = 125_000
CENTRES: Final = 200
PROVINCES: Final = 34
MINISTRIES: Final = 22
BODIES: Final = PROVINCES + MINISTRIES
WEIGHTS: Final = (8, 1)
"""Agencies below a province and below a ministry."""
BATCH: Final = 2_000
"""Records under one signature: eleven hashes of path with each."""
DEPARTMENTS: Final = 2
"""Of each body, those that sign for their own part."""
LEVEL_2: Final = 120
"""Departments and communes of a body, at most; below each are units, below these teams."""
UNITS: Final = 8
START_MS: Final = 1_780_000_000_000
"""The first root, in 2026."""
END_MS: Final = START_MS + 3_650 * DAY_MS
BEHIND_MS: Final = 60 * DAY_MS
"""After all that is founded and changed."""
VERSION: Final = 2
"""To be raised when something else is made from the same numbers."""

KINDS: Final = ("Sở", "Uỷ ban nhân dân xã", "Phòng", "Trung tâm", "Trường tiểu học", "Trạm y tế")
PLACES: Final = ("Đại Từ", "Nghĩa Hưng", "Phước Long", "Cẩm Xuyên", "Yên Bình", "Ô Lâm", "Thạnh Mỹ Tây", "Bằng Lũng")

_FORMATS: Final[dict[type, Format[Any]]] = {AgencyRecord: AGENCY, CentreRecord: CENTRE}


def seed_of(label: str) -> bytes:
    """32 bytes that look random and are always the same."""
    return sha256(f"truc benchmarks {VERSION} {label}".encode()).digest()


def signer_of(label: str) -> Ed25519Signer:
    """The key with this label."""
    return Ed25519Signer(seed_of(label))


def entry_of(signer: Ed25519Signer) -> KeyEntry:
    """A signer's key as it stands in records."""
    return KeyEntry(algorithm=signer.public.algorithm, raw=signer.public.raw, from_ms=START_MS, until_ms=END_MS)


def centre_code(number: int) -> str:
    """The code of a made-up centre."""
    return f"{number // 100:02}.{number % 100:02}.W00"


def body_code(number: int) -> str:
    """A province or a ministry."""
    return f"H{number + 1:02}" if number < PROVINCES else f"G{number - PROVINCES + 1:02}"


# --- who there is ---------------------------------------------------------------------------


def agencies(count: int, centres: int) -> Iterator[tuple[str, AgencyRecord]]:
    """Every agency with its registrar, above before below; without numbers and dates."""
    for body in range(BODIES):
        code, own = body_code(body), range(body % centres, centres, BODIES) or range(body % centres, centres)
        yield ROLE_LEVEL_1, _agency(code, "", own[0], "Bộ" if body >= PROVINCES else "Tỉnh", delegates=True)
        yield from _below(code, _share(body, count - BODIES), own)


def _share(body: int, count: int) -> int:
    """How many of `count` agencies stand below a body."""
    province, ministry = WEIGHTS
    whole = PROVINCES * province + MINISTRIES * ministry

    def until(number: int) -> int:
        weight = min(number, PROVINCES) * province + max(0, number - PROVINCES) * ministry
        return count * weight // whole

    return until(body + 1) - until(body)


def _below(body: str, count: int, centres: Sequence[int]) -> Iterator[tuple[str, AgencyRecord]]:
    """So many agencies on three levels below a body: first all departments, then units, then teams."""
    departments = min(count, LEVEL_2)
    units = min(count - departments, departments * UNITS)
    for place in range(count):
        if place < departments:
            department, code, parent = place, f"{body}.{place + 1}", body
        elif place < departments + units:
            unit = place - departments
            department = unit % departments
            parent = f"{body}.{department + 1}"
            code = f"{parent}.{unit // departments + 1}"
        else:
            team = place - departments - units
            unit = team % units
            department = unit % departments
            parent = f"{body}.{department + 1}.{unit // departments + 1}"
            code = f"{parent}.{team // units + 1}"
        delegates = place < min(DEPARTMENTS, departments)
        registrar = body if place < departments or department >= DEPARTMENTS else f"{body}.{department + 1}"
        aliases = (f"000.00.{place + 1:02}.{body}",) if place < min(departments, 99) else ()
        host = centres[department % len(centres)]
        yield registrar, _agency(code, parent, host, KINDS[place % len(KINDS)], aliases=aliases, delegates=delegates)


def _agency(
    code: str, parent: str, host: int, kind: str, *, aliases: tuple[str, ...] = (), delegates: bool = False
) -> AgencyRecord:
    name = f"{kind} {PLACES[sum(code.encode()) % len(PLACES)]} {code}"
    return AgencyRecord(
        registrar=ROLE_LEVEL_1,
        generation=1,
        number=1,
        created_ms=START_MS,
        code=code,
        names=Names(vi=name),
        host=centre_code(host),
        epoch=1,
        parent=parent,
        kind=kind,
        aliases=aliases,
        delegation=Delegation(keys=(entry_of(signer_of(f"registrar {code}")),)) if delegates else Delegation(),
    )


def centre_record(number: int) -> CentreRecord:
    """A made-up centre; its node's identity, operational and sealing keys follow from its code."""
    code = centre_code(number)
    sealing = SealingKey(seed_of(f"sealing {code}"))
    entry = KeyEntry(algorithm=ALGORITHM_X25519, raw=sealing.public_raw, from_ms=START_MS, until_ms=END_MS)
    return CentreRecord(
        registrar=ROLE_LEVEL_1,
        generation=1,
        number=1,
        created_ms=START_MS,
        code=code,
        names=Names(vi=f"Trung tâm dữ liệu {code}"),
        peer_id=peer_id_of(seed_of(f"identity {code}")),
        keys=(entry_of(signer_of(f"operational {code}")),),
        sealing=(entry,),
    )


# --- signing --------------------------------------------------------------------------------


@dataclass(slots=True)
class Log:
    """One registrar's log as it grows."""

    registrar: str
    number: int = 0
    current: dict[bytes, bytes] = field(default_factory=dict)
    last: bytes = EMPTY

    def signer(self) -> Ed25519Signer:
        """The registrar's key."""
        return signer_of(f"registrar {self.registrar}")

    def sign(self, records: Sequence[Numbered], at_ms: int) -> Iterator[Signed]:
        """These records under the next numbers, in batches of one format, and the checkpoint after them."""
        for start in range(0, len(records), BATCH):
            part = [self._placed(record, at_ms) for record in records[start : start + BATCH]]
            form = _FORMATS[type(part[0])]
            things = sign_batch(form.name, [form.encode(record) for record in part], self.signer())
            for record, thing in zip(part, things, strict=True):
                self.current[tree_key(int(subject_of(record)), record.code)] = thing.digest
            yield from things
        yield self._checkpoint(at_ms)

    def _placed(self, record: Numbered, at_ms: int) -> Numbered:
        self.number += 1
        return replace(record, registrar=self.registrar, number=self.number, created_ms=at_ms)

    def _checkpoint(self, at_ms: int) -> Signed:
        self.number += 1
        tree = PrefixTree.of_sorted(sorted(self.current.items()))
        value = Checkpoint(
            registrar=self.registrar,
            generation=1,
            number=self.number,
            created_ms=at_ms,
            count=len(tree),
            root=tree.root,
            previous=self.last,
        )
        signed = sign(CHECKPOINT.name, CHECKPOINT.encode(value), self.signer())
        self.last = signed.digest
        return signed


class Nation:
    """The made-up tree and its registrars' logs."""

    def __init__(self, records: int = RECORDS, centres: int = CENTRES) -> None:
        assert records > BODIES and centres > 0
        self.records: Final = records
        self.centres: Final = centres
        self.logs: Final[dict[str, Log]] = {}
        self.clock_ms = START_MS
        self.root: Final = _root()

    @property
    def anchor(self) -> bytes:
        """The digest of the only root."""
        return self.root.digest

    def found(self) -> list[Signed]:
        """Root, centres, and every agency: upper registrars before lower ones."""
        by_registrar: dict[str, list[Numbered]] = {}
        for registrar, record in agencies(self.records, self.centres):
            by_registrar.setdefault(registrar, []).append(record)
        centres: list[Numbered] = [centre_record(number) for number in range(self.centres)]
        things = [self.root, *self.sign(ROLE_LEVEL_1, centres)]
        for registrar in sorted(by_registrar, key=lambda name: (name != ROLE_LEVEL_1, name.count("."), name)):
            things += self.sign(registrar, by_registrar[registrar])
        return things

    def logs_bytes(self) -> bytes:
        """The logs as they are now, to be gone on with later."""
        return encode(
            [
                [log.registrar, log.number, log.last, [key + digest for key, digest in log.current.items()]]
                for log in self.logs.values()
            ]
        )

    def take_up_logs(self, data: bytes) -> None:
        """Go on with these logs, after everything that was founded."""
        for registrar, number, last, leaves in glance(data, bytes_max=2**30):
            self.logs[registrar] = Log(registrar, number, {leaf[:32]: leaf[32:] for leaf in leaves}, last)
        self.clock_ms = START_MS + BEHIND_MS

    def sign(self, registrar: str, records: Sequence[Numbered]) -> list[Signed]:
        """Further records of a registrar, a minute after whatever was signed before."""
        self.clock_ms += MINUTE_MS
        return list(self.logs.setdefault(registrar, Log(registrar)).sign(records, self.clock_ms))

    def register(self, requests: Iterable[bytes], agencies_at: dict[str, str]) -> list[Signed]:
        """Centres that asked (files of `truc init`), and one agency at each: code by centre code."""
        asked = [
            CENTRE_REQUEST.decode(Signed.from_wire(wire, bytes_max=DIRECTORY_WIRE_BYTES_MAX).statement)
            for file in requests
            for wire in read_file(file)
        ]
        centres: list[Numbered] = [
            replace(centre_record(0), code=one.code, names=one.names, peer_id=one.peer_id, keys=one.keys,
                    sealing=one.sealing)
            for one in asked
        ]  # fmt: skip
        hosted: list[Numbered] = [
            replace(_agency(code, "", 0, "Bộ"), host=centre) for centre, code in agencies_at.items()
        ]
        return [*self.sign(ROLE_LEVEL_1, centres), *(self.sign(ROLE_LEVEL_1, hosted) if hosted else ())]

    def change(self, count: int) -> list[Signed]:
        """So many agencies get another name, all over the country; one checkpoint for each registrar.

        None that level-1 signs: its log goes on with the nodes of a benchmark.
        """
        below = [(by, record) for by, record in agencies(self.records, self.centres) if by != ROLE_LEVEL_1]
        step = max(1, len(below) // count)
        chosen: dict[str, list[Numbered]] = {}
        for place, (registrar, record) in enumerate(below):
            if place % step == step // 2 and place // step < count:
                renamed = replace(record, names=Names(vi=f"{record.names.vi} ({self.clock_ms // MINUTE_MS})"))
                chosen.setdefault(registrar, []).append(renamed)
        return [thing for registrar, records in chosen.items() for thing in self.sign(registrar, records)]


def _root() -> Signed:
    signers = {"root": [signer_of(f"root {n}") for n in range(3)], "level-1": [signer_of("registrar level-1")]}
    root = Root(
        version=1,
        created_ms=START_MS,
        name="Gốc thử nghiệm (hư cấu)",
        keys=tuple(entry_of(signer) for group in signers.values() for signer in group),
        roles=(
            Role(name=ROLE_LEVEL_1, keys=tuple(s.public.key_id for s in signers["level-1"]), threshold=1),
            Role(name=ROLE_ROOT, keys=tuple(s.public.key_id for s in signers["root"]), threshold=2),
        ),
    )
    first, second, _ = signers["root"]
    return countersign(sign(ROOT.name, ROOT.encode(root), first), second)


# --- kept on the disk -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Files of a nation; `nation` goes on signing behind them."""

    nation: Nation
    directory: Path
    """Everything founded."""
    seed: Path
    """The root and the centres: enough to connect, and to reconcile the rest."""
    changes: Path
    """500 changes of a week, or as many as were asked for; of the same size as those that `nation` signs."""


def make_nation(records: int = RECORDS, centres: int = CENTRES, changes: int = 500) -> Made:
    """The nation of these numbers, made now or found in the temporary folder."""
    folder = Path(tempfile.gettempdir()) / f"truc-nation-{VERSION}-{os.getuid()}-{records}-{centres}-{changes}"
    names = ("directory.truc", "seed.truc", "changes.truc", "logs")
    if not all((folder / name).exists() for name in names):
        _make(folder, names, Nation(records, centres), changes)
    directory, seed, changed, logs = (folder / name for name in names)
    nation = Nation(records, centres)
    nation.take_up_logs(logs.read_bytes())
    return Made(nation=nation, directory=directory, seed=seed, changes=changed)


def _make(folder: Path, names: Sequence[str], nation: Nation, changes: int) -> None:
    founded = nation.found()
    logs = nation.logs_bytes()
    seed = [thing for thing in founded if thing.format in {ROOT.name, CENTRE.name}]
    contents = (write_file(founded), write_file(seed), write_file(nation.change(changes)), logs)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in zip(names, contents, strict=True):
        part = folder / f"{name}.part"
        part.write_bytes(content)
        part.rename(folder / name)
