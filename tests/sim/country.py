"""Who is who in a world: centres, the agencies they host, and everybody's private keys.

The registrar's side of the directory is `tests/support/tree.py`; here stands which keys the nodes
hold, so that they can be rotated, and which ones the oracle believes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final

from node.keyring import Keyring
from protocol.directory import KeyEntry
from protocol.limits import MINUTE_MS
from protocol.receipt import CENTRE_CODES
from protocol.record import Change
from protocol.sealing import SealingKey
from protocol.signing import Ed25519Signer, PublicKey, Signer
from tests.support.tree import Centre, Tree, entry_of, key_seed, sealing_entry

OWN_KEYS_SHARE: Final = 0.3
"""Of the agencies sign for themselves."""
VILLAIN: Final = "00.99.W00"
VILLAINS_AGENCY: Final = "H99"


@dataclass(slots=True)
class CentreKeys:
    """The keys of one centre, oldest first; the node signs with the newest and opens with all."""

    operational: list[Ed25519Signer]
    sealing: list[SealingKey]


@dataclass(slots=True)
class Country:
    """A tree with the private keys of its centres and agencies."""

    tree: Tree
    hosting: dict[str, tuple[str, ...]]
    own: dict[str, Ed25519Signer] = field(default_factory=dict)
    """Agency → its own signing key, where it has one."""
    keys: dict[str, CentreKeys] = field(default_factory=dict)
    host_of: dict[str, str] = field(default_factory=dict)
    first_changes: tuple[Change, ...] = ()
    """What the import of everything registered at the founding writes to a new store."""

    @classmethod
    def found(
        cls, seed: int, hosting: Mapping[str, tuple[str, ...]], chance: Random, *, villain: bool = False
    ) -> Country:
        """Register everybody; some agencies with a key of their own."""
        tree = Tree.bare(seed)
        country = cls(tree, dict(hosting))
        for centre, agencies in hosting.items():
            country._register(centre, agencies, chance)
        if villain:
            tree.add_centre(VILLAIN)
            tree.add_agency(VILLAINS_AGENCY, VILLAIN)
        imported = tree.imported()
        assert not imported.rejected, imported.rejected
        country.first_changes = imported.changes
        return country

    def _register(self, code: str, agencies: tuple[str, ...], chance: Random) -> None:
        self.tree.add_centre(code)
        centre = self.tree.centres[code]
        self.keys[code] = CentreKeys([centre.signer], [centre.sealing])
        for agency in agencies:
            keys: tuple[KeyEntry, ...] = ()
            if chance.random() < OWN_KEYS_SHARE:
                self.own[agency] = Ed25519Signer(key_seed(self.tree.seed, f"{agency} own"))
                keys = (entry_of(self.own[agency]),)
            self.tree.add_agency(agency, code, keys=keys)
            self.host_of[agency] = code

    @property
    def anchor(self) -> bytes:
        """Digest of the first root."""
        return self.tree.anchor

    def centre(self, code: str) -> Centre:
        """A centre with the keys of its founding."""
        return self.tree.centres[code]

    def peer_id(self, code: str) -> str:
        """Under which peer id a centre is found."""
        return self.tree.centres[code].peer_id

    def keyring(self, code: str) -> Keyring:
        """What the keystore of a centre's node holds now."""
        keys = self.keys[code]
        signers: dict[str, Signer] = {"": keys.operational[-1]}
        signers.update({agency: self.own[agency] for agency in self.hosting[code] if agency in self.own})
        return Keyring(
            signers=signers,
            sealing={key.key_id: key for key in keys.sealing},
            vault_key=key_seed(self.tree.seed, f"{code} vault"),
            identity_seed=self.centre(code).identity_seed,
        )

    def set_clock(self, now_ms: int) -> None:
        """The next record is made at this moment (the tree's clock goes on by a minute with each)."""
        self.tree.clock_ms = now_ms - MINUTE_MS

    def rotate(self, code: str, now_ms: int) -> None:
        """Publish new keys of a centre beside its old ones, endorsed by the old operational key."""
        keys, turn = self.keys[code], len(self.keys[code].operational)
        signer = Ed25519Signer(key_seed(self.tree.seed, f"{code} operational {turn}"))
        sealing = SealingKey(key_seed(self.tree.seed, f"{code} sealing {turn}"))
        self.set_clock(now_ms)
        known = self.tree.centre_records[code]
        record = self.tree.next_centre(
            code,
            keys=(*known.keys, entry_of(signer, from_ms=now_ms)),
            sealing=(*known.sealing, sealing_entry(sealing, from_ms=now_ms)),
        )
        self.tree.publish(record, keys.operational[-1])
        keys.sealing.append(sealing)

    def revoke(self, code: str, now_ms: int) -> None:
        """Publish that the key which the centre's node has given up counts nowhere any more."""
        given_up = self.keys[code].operational[-2].public.key_id
        self.set_clock(now_ms)
        known = self.tree.centre_records[code]
        keys = [replace(entry, revoked_ms=now_ms) if entry.key_id == given_up else entry for entry in known.keys]
        self.tree.publish(self.tree.next_centre(code, keys=tuple(keys)))

    def take_up(self, code: str) -> None:
        """The centre's node signs with the newest published key from its next life on."""
        keys = self.keys[code]
        signer = Ed25519Signer(key_seed(self.tree.seed, f"{code} operational {len(keys.operational)}"))
        keys.operational.append(signer)

    def may_sign(self, agency: str, code: int) -> list[PublicKey]:
        """Whose signature a receipt with this code bears (DESIGN §3)."""
        if agency in self.own and code not in CENTRE_CODES:
            return [self.own[agency].public]
        return self.centre_keys(self.host_of[agency])

    def centre_keys(self, code: str) -> list[PublicKey]:
        """All operational keys that a centre has had."""
        return [signer.public for signer in self.keys[code].operational]


def hosting(nodes: int, chance: Random) -> dict[str, tuple[str, ...]]:
    """Centres and the agencies they host: some host several, so that documents stay in the house."""
    shapes: dict[str, tuple[str, ...]] = {}
    for n in range(1, nodes + 1):
        code = f"H{n:02d}"
        lower = tuple(f"{code}.{below}" for below in range(1, 1 + (chance.randint(0, 2) if n > 1 else 1)))
        shapes[f"00.{n:02d}.W00"] = (code, *lower)
    return shapes
