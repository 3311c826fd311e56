"""Who is who in a directory world: offices, centres, agencies, and what everybody was told last.

The tree is signed by the registrars' own tool (`office.py`). Besides, this is the memory of the
oracle: of each record it knows which version was said last and by whom, without asking any node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from node.authority_registrar import Applicant
from node.authority_trust import admit_heartbeat_key, beat
from node.keyring import Keyring
from node.requests import make_centre_request
from protocol.checkpoint import CHECKPOINT, NUMBERED
from protocol.directory import AGENCY, CENTRE, Names
from protocol.directory_import import import_things
from protocol.directory_kinds import Subject
from protocol.directory_view import RecordCache
from protocol.limits import HOUR_MS, MINUTE_MS
from protocol.record import Change
from protocol.signing import Ed25519Signer, Signed, Verifier
from protocol.staged import Staged
from tests.sim.environment import EPOCH_MS
from tests.sim.office import Office
from tests.support.tree import START_MS, Centre, key_seed

KNOWN_SINCE_MS: Final = 2 * HOUR_MS
"""Before the world begins the nodes took in the founding: nobody is joining any more."""
DELEGATED: Final = ("H01", "H02", "H01.1")
"""Agencies that register what is below them; the third one below the first: four levels."""
BEATS: Final = "level-1"
About = tuple[Subject, str]
"""Subject and code of a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One version of one record. `counts` is false for what nobody may believe in the end."""

    about: About
    registrar: str
    generation: int
    number: int
    created_ms: int
    digest: bytes


@dataclass(slots=True)
class Realm:
    """A country whose directory is the subject."""

    seed: int
    chance: Random
    central: Office
    offices: dict[str, Office] = field(default_factory=dict)
    """Registrar → its office; `level-1` and `root` share one."""
    centres: dict[str, Centre] = field(default_factory=dict)
    hosting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    host_of: dict[str, str] = field(default_factory=dict)
    founded_at: dict[str, str] = field(default_factory=dict)
    """Agency → where it was hosted first."""
    founders: tuple[str, ...] = ()
    """The honest centres that were there from the beginning: every registrar knows them."""
    villains: tuple[str, ...] = ()
    first_changes: tuple[Change, ...] = ()
    """What the import of the founding writes to a new store."""
    things: dict[bytes, Signed] = field(default_factory=dict)
    """Everything that registrars handed out, by digest."""
    said: dict[bytes, Said] = field(default_factory=dict)
    meant: dict[About, bytes] = field(default_factory=dict)
    """What each record is to be in the end."""
    heartbeat: Ed25519Signer | None = None
    clock_ms: int = START_MS
    turns: dict[str, int] = field(default_factory=dict)
    """How often a centre's keys were rotated."""
    signers: dict[str, Ed25519Signer] = field(default_factory=dict)
    """Centre → the operational key with which its node signs now."""

    # --- founding ---------------------------------------------------------------------------

    @classmethod
    def found(cls, seed: int, nodes: int, chance: Random, *, villains: int) -> Realm:
        """`nodes` centres, of which the last `villains` are hostile; each hosts a body and one below it."""
        realm = cls(seed, chance, Office.central(chance, START_MS))
        realm.offices["level-1"] = realm.offices["root"] = realm.central
        codes = [f"00.{n:02d}.W00" for n in range(1, nodes + 1)]
        realm.villains = tuple(codes[nodes - villains :])
        realm.founders = tuple(codes[: nodes - villains])
        realm._register_all(codes)
        realm._delegate_all()
        realm._admit_heartbeats()
        realm.take_stock(realm.central)
        realm.first_changes = realm.imported(EPOCH_MS - KNOWN_SINCE_MS)
        return realm

    def _register_all(self, codes: Sequence[str]) -> None:
        act = self.central.authority.act(self.tick())
        for n, code in enumerate(codes, 1):
            act.register_centre(self.new_centre(code))
            for agency in (f"H{n:02d}", f"H{n:02d}.1"):
                if agency not in DELEGATED:
                    act.register_agency(code=agency, names=Names(vi=f"Cơ quan {agency}"), host=code)
                self.hosts(agency, code)
        self.central.authority.complete(act)
        self.take_stock(self.central)

    def new_centre(self, code: str) -> Signed:
        """The request of a centre with fresh keys."""
        centre = self.centres[code] = Centre.make(self.seed, code)
        self.signers[code] = centre.signer
        self.hosting.setdefault(code, ())
        return make_centre_request(
            code=code,
            names=Names(vi=f"Trung tâm {code}"),
            peer_id=centre.peer_id,
            signers=[centre.signer],
            sealing_raw=centre.sealing.public_raw,
            now_ms=self.clock_ms,
        )

    def next_signer(self, code: str) -> Ed25519Signer:
        """A further operational key of a centre."""
        turn = self.turns[code] = self.turns.get(code, 0) + 1
        return self._turned(code, turn)

    def hosts(self, agency: str, centre: str) -> None:
        """An agency is at this centre from now on."""
        self.founded_at.setdefault(agency, centre)
        before = self.host_of.get(agency)
        if before is not None:
            self.hosting[before] = tuple(one for one in self.hosting[before] if one != agency)
        self.hosting[centre] = (*self.hosting.get(centre, ()), agency)
        self.host_of[agency] = centre

    def _delegate_all(self) -> None:
        """Registrars below level 1 apply, and are registered with their keys; then they register a body each."""
        for code in DELEGATED:
            if code not in self.host_of:
                continue
            above = self.offices.get(code.rpartition(".")[0], self.central)
            who = Applicant(code=code, name=f"Cơ quan {code}", host=self.host_of[code])
            office, request = Office.applicant(who, self._wires(), self.anchor, self.chance, self.tick())
            above.authority.register_request(request, self.tick())
            self.take_stock(above)
            self.offices[code] = office
            self.show(office)
            below = f"{code}.9"
            office.authority.register_agency(
                code=below, names=Names(vi=f"Cơ quan {below}"), host=self.host_of[code], now_ms=self.tick()
            )
            self.hosts(below, self.host_of[code])
            self.take_stock(office)

    def _admit_heartbeats(self) -> None:
        key = self.central.authority.make_key("heartbeat", b"mat khau", entropy=self.chance.randbytes)
        admit_heartbeat_key(self.central.authority, key, self.tick(), registrar=BEATS)

    # --- what machines ask --------------------------------------------------------------------

    @property
    def anchor(self) -> bytes:
        """Where all trust begins."""
        return self.central.authority.anchor

    def centre(self, code: str) -> Centre:
        """A centre with the keys of its founding."""
        return self.centres[code]

    def keyring(self, code: str) -> Keyring:
        """What the keystore of a centre's node holds now."""
        centre = self.centres[code]
        return Keyring(
            signers={"": self.signers[code]},
            sealing={centre.sealing.key_id: centre.sealing},
            vault_key=key_seed(self.seed, f"{code} vault"),
            identity_seed=centre.identity_seed,
        )

    def keys_of(self, code: str) -> frozenset[bytes]:
        """Ids of all operational keys that a centre has had."""
        turns = range(1, self.turns.get(code, 0) + 1)
        signers = [self.centres[code].signer, *(self._turned(code, turn) for turn in turns)]
        return frozenset(signer.public.key_id for signer in signers)

    def _turned(self, code: str, turn: int) -> Ed25519Signer:
        return Ed25519Signer(key_seed(self.seed, f"{code} operational {turn}"))

    @property
    def honest(self) -> tuple[str, ...]:
        """Every centre that is not hostile."""
        return tuple(code for code in self.centres if code not in self.villains)

    # --- the oracle's memory ------------------------------------------------------------------

    def take_stock(self, office: Office) -> list[Signed]:
        """What an office says now that it has not said before; each the last word about its record."""
        fresh = office.hand_out()
        for signed in sorted(fresh, key=_order):
            self.remember(signed)
        return fresh

    def remember(self, signed: Signed, *, meant: bool = True) -> None:
        """Something was said, for the first time or with more signatures."""
        known = signed.digest in self.things
        self.things[signed.digest] = signed
        said = said_in(signed)
        if said is None or known:
            return
        self.said[signed.digest] = said
        if meant and said.about[1]:
            self.meant[said.about] = signed.digest

    def show(self, office: Office) -> None:
        """An office takes in what all others said."""
        office.authority.keep(list(self.things.values()), self.clock_ms)
        office.hand_out()

    def beat(self, now_ms: int) -> Signed:
        """That level 1's newest checkpoint is still the last."""
        signed = beat(self.central.authority, now_ms, registrar=BEATS)
        self.things[signed.digest] = signed
        return signed

    def imported(self, now_ms: int) -> tuple[Change, ...]:
        """What the import of everything said so far writes to an empty store."""
        result = import_things(
            self._wires(), Staged(), anchor=self.anchor, verifier=Verifier(), now_ms=now_ms, cache=RecordCache()
        )
        assert not result.rejected, result.rejected
        return result.changes

    def tick(self) -> int:
        """A minute later."""
        self.clock_ms += MINUTE_MS
        return self.clock_ms

    def _wires(self) -> list[bytes]:
        return [signed.to_wire() for signed in self.things.values()]


def said_in(signed: Signed) -> Said | None:
    """What a numbered thing says about which record; a checkpoint is about no code."""
    form = NUMBERED.get(signed.format)
    if form is None:
        return None
    value: Any = form.decode(signed.statement)
    subjects = {CENTRE.name: Subject.CENTRE, AGENCY.name: Subject.AGENCY, CHECKPOINT.name: Subject.ROOT}
    return Said(
        about=(subjects[signed.format], getattr(value, "code", "")),
        registrar=value.registrar,
        generation=value.generation,
        number=value.number,
        created_ms=value.created_ms,
        digest=signed.digest,
    )


def _order(signed: Signed) -> tuple[int, str, int]:
    said = said_in(signed)
    return (0, "", 0) if said is None else (said.created_ms, said.registrar, said.number)
