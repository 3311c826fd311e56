"""A store on the simulator's disk, which forgets at a power cut whatever was not synced."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from protocol.errors import StoreError
from protocol.record import Body, Delete, Put
from storage.bodies import FILE_SEGMENT
from storage.keystore import Cost, create_keystore, open_keystore
from storage.store import Store, create_on, open_on
from tests.sim.disk import Disk
from tests.support.store_kinds import INCARNATION, Letter, put_body


class Life:
    """Writes at random until the power is cut, and remembers what was acknowledged."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.disk = Disk(Random(seed + 1))
        self.numbers = 0
        self.wanted: dict[bytes, bytes] = {}
        self.letters: set[int] = set()
        self.store = create_on(self.disk.key_value(), self.disk.folder(), incarnation=INCARNATION, roll_bytes=400)

    def open(self) -> Store:
        self.store = open_on(self.disk.key_value(), self.disk.folder(), roll_bytes=400)
        return self.store

    def write_letter(self) -> None:
        self.numbers += 1
        body = put_body(b"%d " % self.numbers * self.chance.randint(1, 40))
        self.store.write([Put(Letter(agency="H38", number=self.numbers)), body])
        self.letters.add(self.numbers)
        self.wanted[body.digest] = body.blob

    def write_large(self) -> None:
        self.numbers += 1
        content = b"large %d " % self.numbers * 10
        digest = hashlib.sha256(content).digest()
        writer = self.store.bodies.writer(digest[:16])
        writer.write(content)
        body = Body(digest=digest, size=len(content), place=writer.finish(digest))
        self.store.write([Put(body)])
        self.wanted[digest] = content

    def delete(self) -> None:
        if self.wanted:
            digest = self.chance.choice(sorted(self.wanted))
            written = self.store.write([Delete(Body, (digest,))])
            del self.wanted[digest]
            for discarded in written.discarded:
                assert self.store.discard(discarded)

    def tidy(self) -> None:
        for segment in self.store.sweep_segments():
            assert self.store.compact(segment) is None
        for digests in self.store.bodies.file_digests():
            for digest in digests:
                self.store.discard(digest)

    def begin_without_end(self) -> None:
        """Bytes that no record names, at every stage of arriving."""
        self.numbers += 1
        writer = self.store.bodies.writer(hashlib.sha256(b"%d" % self.numbers).digest()[:16])
        writer.write(b"unfinished")
        if self.chance.random() < 0.5:
            writer.sync()
        if self.chance.random() < 0.5:
            writer.finish(hashlib.sha256(b"unwanted %d" % self.numbers).digest())
        self.store.bodies.segments.append([b"torn tail"])

    def check(self) -> None:
        letters = self.store.view.scan(Letter)
        assert {letter.number for letter in letters} == self.letters
        assert {body.digest for body in self.store.view.scan(Body)} == set(self.wanted)
        for digest, content in self.wanted.items():
            source = self.store.find_body(digest)
            assert isinstance(source, Body)
            assert self.store.read_body(source, 0, len(content)) == content


@pytest.mark.parametrize("seed", range(40))
def test_a_power_cut_takes_nothing_that_was_acknowledged(seed: int) -> None:
    life = Life(seed)
    steps = (life.write_letter, life.write_large, life.delete, life.tidy, life.begin_without_end)
    for _ in range(6):
        for _ in range(life.chance.randint(0, 8)):
            life.chance.choices(steps, weights=(6, 3, 3, 1, 1))[0]()
        life.check()
        life.disk.crash()
        with pytest.raises(StoreError):
            life.store.write([])
        life.open()
        life.check()


def test_a_crashed_disk_really_lost_something_in_these_tests() -> None:
    struck = 0
    for seed in range(40):
        life = Life(seed)
        life.begin_without_end()
        life.disk.crash()
        struck += life.disk.struck["unsynced_bytes"] + life.disk.struck["unsynced_name"]
        life.open()
        life.check()
    assert struck > 40


@pytest.mark.parametrize("seed", range(20))
def test_a_batch_in_doubt_is_there_with_its_bodies_or_not_at_all(seed: int) -> None:
    life = Life(seed)
    life.write_letter()
    life.disk.fail_commit_in = 1
    body = put_body(b"in doubt")
    with pytest.raises(StoreError):
        life.store.write([Put(Letter(agency="H38", number=99)), body])
    life.disk.crash()
    store = life.open()
    there = store.view.get(Letter, "H38", 99) is not None
    source = store.find_body(body.digest)
    assert (source is not None) == there
    if isinstance(source, Body):
        assert store.read_body(source, 0, 8) == b"in doubt"
        life.letters.add(99)
        life.wanted[body.digest] = b"in doubt"
    life.write_letter()
    life.check()


def test_a_full_disk_stops_nothing_for_good() -> None:
    life = Life(0)
    life.write_letter()
    life.disk.full = True
    for attempt in (life.write_letter, life.write_large, life.begin_without_end):
        with pytest.raises(StoreError) as caught:
            attempt()
        assert caught.value.code == "disk_full"
    life.disk.full = False
    life.write_letter()
    life.write_large()
    life.check()
    life.open()
    life.check()


def test_an_older_copy_of_the_whole_disk_opens_as_what_it_was() -> None:
    life = Life(0)
    life.write_letter()
    older, letters, wanted = life.disk.snapshot(), set(life.letters), dict(life.wanted)
    life.write_letter()
    life.disk.roll_back(older)
    life.letters, life.wanted = letters, wanted
    life.open()
    life.check()


def test_large_bodies_rest_in_files() -> None:
    life = Life(0)
    life.write_large()
    assert [body.place.segment for body in life.store.view.scan(Body)] == [FILE_SEGMENT]


@pytest.mark.parametrize("seed", range(40))
def test_a_keystore_survives_a_power_cut_in_the_middle_of_a_save(seed: int) -> None:
    disk = Disk(Random(seed))
    numbers = iter(range(1000))

    def entropy(size: int) -> bytes:
        return hashlib.sha256(b"%d" % next(numbers)).digest()[:size]

    cheap = Cost(memory_kib=8, passes=1)
    create_keystore(disk.folder(), b"p", entropy=entropy, cost=cheap).put({"vault": b"old"}, entropy=entropy)
    budget = Random(seed).randint(0, 13)

    class Cut(Exception):
        pass

    class Cutting:
        """The machine's folder until the budget of calls is used up."""

        def __init__(self) -> None:
            self.inner = disk.folder()
            self.left = 1000

        def __getattr__(self, name: str) -> object:
            if self.left == 0:
                raise Cut
            self.left -= 1
            return getattr(self.inner, name)

    cutting = Cutting()
    keystore = open_keystore(cutting, b"p")  # type: ignore[arg-type]
    cutting.left = budget
    done = True
    try:
        keystore.put({"vault": b"new"}, entropy=entropy)
    except Cut:
        done = False
    disk.crash()
    found = open_keystore(disk.folder(), b"p").get("vault")
    assert found in ({b"new"} if done else {b"old", b"new"})
