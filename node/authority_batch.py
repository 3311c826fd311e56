"""An act as it will be signed: its records with their numbers in batches, each ended by a checkpoint.

Spec: `protocol/spec/checkpoint.md` §1, §2 (DESIGN §3, "one signature may cover a batch": a night's reorganisation is
a handful of signatures). Pure: digests do not depend on signatures, so the whole chain stands before a key is
used. Signing and writing are `authority.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from node.authority_act import Act
from node.authority_log import RegistrarLog, tree_of
from protocol.checkpoint import CHECKPOINT, Checkpoint, check_checkpoint
from protocol.court import subject_of
from protocol.directory import AGENCY, CENTRE, CentreRecord, KeyEntry, Numbered
from protocol.prefix_tree import tree_key
from protocol.signing import thing_digest

BATCH_RECORDS_MAX: Final = 4_096
"""Records under one signature. Each carries its path to the signed root, 32 bytes for every doubling: 384 here,
less than the record itself; and whoever takes a long act in sees a checkpoint every few seconds."""

Statement = tuple[str, bytes]
"""Format and canonical bytes."""


def drafted(act: Act, log: RegistrarLog, heartbeat: Sequence[KeyEntry]) -> Iterator[list[Statement]]:
    """The act's batches, in order: records, then the checkpoint over the log with them.

    An act without records is a checkpoint.
    """
    tree = tree_of(log.current(below=log.top + 1))
    previous, first = log.last_checkpoint(), log.top + 1
    for part in act.parts(BATCH_RECORDS_MAX, first):
        statements = [statement_of(record) for record in part]
        for record, statement in zip(part, statements, strict=True):
            tree.put(tree_key(subject_of(record), record.code), thing_digest(*statement))
        number = first + len(part)
        checkpoint = Checkpoint(
            registrar=act.by.name,
            generation=act.by.generation,
            number=number,
            created_ms=act.at_ms,
            count=len(tree),
            root=tree.root,
            previous=previous,
            heartbeat=tuple(heartbeat),
        )
        check_checkpoint(checkpoint)
        ended = (CHECKPOINT.name, CHECKPOINT.encode(checkpoint))
        yield [*statements, ended]
        previous, first = thing_digest(*ended), number + 1


def statement_of(record: Numbered) -> Statement:
    """Format and bytes of a record."""
    form: Any = CENTRE if isinstance(record, CentreRecord) else AGENCY
    return form.name, form.encode(record)
