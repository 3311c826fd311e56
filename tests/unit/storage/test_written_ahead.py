"""Records whose bytes were made ahead lie in the store as if it had made them."""

from __future__ import annotations

from random import Random

from protocol.directory_kinds import DirectoryNumber
from protocol.record import Delete, Put
from storage.keyspace import write_known, write_record
from storage.store import create_on
from tests.sim.disk import Disk

ROW = DirectoryNumber(registrar="H38", generation=1, number=7, digest=bytes(32), subject=3, code="H38.7")


def test_a_record_written_ahead_is_read_before_and_after_the_batch() -> None:
    disk = Disk(Random(1))
    store = create_on(disk.key_value(), disk.folder(), incarnation=bytes(16))
    change = Put(ROW, write_known(ROW))
    assert change.written == write_record(ROW)
    assert change == Put(ROW), "what it says counts, not who wrote it"
    ticket = store.view.stage([change])
    assert store.view.get(DirectoryNumber, "H38", 1, 7) == ROW
    assert store.view.scan(DirectoryNumber, "H38") == [ROW]
    store.write([change])
    store.view.settle(ticket)
    assert store.view.get(DirectoryNumber, "H38", 1, 7) == ROW
    store.write([Put(ROW, write_known(ROW)), Delete(DirectoryNumber, ("H38", 1, 7))])
    assert store.view.get(DirectoryNumber, "H38", 1, 7) is None
