"""A world in which an agency of C lists a signing key of its own."""

from __future__ import annotations

from protocol.signing import Ed25519Signer
from tests.support.delivery import C, World
from tests.support.tree import Tree, entry_of, key_seed


def own_key_world(agency: str) -> tuple[World, Ed25519Signer]:
    """The world, and the agency's private key."""
    own, tree = Ed25519Signer(key_seed(12, agency)), Tree.make()
    tree.add_agency(agency, C, keys=(entry_of(own),))
    return World(tree=tree), own
