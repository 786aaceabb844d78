"""A file that an object of Python's reads."""

from __future__ import annotations

import gc
import random
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest

from monolith_cli import _native

RECORDS = ds.random_entries(51, 60, segments=(("adagrad", 3),))
FRAMED = ds.frame(*RECORDS)
SNAPPY = ds.snappy_blocks(FRAMED, 200)
PIECES = [(1, 0), (100, 0), (100, 1), (1000, 3), (None, None)]


class Memory:
    """Bytes in memory, and who asked for which."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.version: Any = "v1"
        self.asked: list[tuple[int, int]] = []
        self.threads: set[threading.Thread] = set()
        self.file: _native.File | None = None

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self.asked.append((offset, len(buffer)))
        self.threads.add(threading.current_thread())
        part = self.data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)


def read(
    file: _native.File, read_bytes: int | None = None, ahead: int | None = None
) -> list[bytes]:
    reader = _native.Reader(file, 0, None, read_bytes=read_bytes, read_ahead=ahead)
    records = reader.records(2**63)
    assert reader.damages == []
    return records


Finished = Callable[[], None]


@pytest.fixture
def finished() -> Finished:
    """Wait for reads ahead that nobody waits for any more; other threads may stay for long."""
    before = set(threading.enumerate())

    def wait() -> None:
        for thread in set(threading.enumerate()) - before:
            thread.join()
        gc.collect()

    return wait


@pytest.mark.parametrize(("read_bytes", "ahead"), PIECES)
@pytest.mark.parametrize("data", [FRAMED, SNAPPY], ids=["plain", "snappy"])
def test_an_object_reads(data: bytes, read_bytes: int | None, ahead: int | None) -> None:
    source = Memory(data)
    file = _native.File.over(source)
    assert (file.stored_bytes, file.compression) == (
        len(data),
        "plain" if data is FRAMED else "snappy",
    )
    assert read(file, read_bytes, ahead) == RECORDS
    assert file.stream_bytes == len(FRAMED)
    file.check_unchanged()
    if ahead == 0:
        assert source.threads == {threading.current_thread()}


@pytest.mark.parametrize("data", [FRAMED, SNAPPY], ids=["plain", "snappy"])
def test_ranges(data: bytes) -> None:
    file = _native.File.over(Memory(data))
    found = []
    for start, end in [(0, 1000), (1000, 3000), (3000, None)]:
        reader = _native.Reader(file, start, end, how="walk", read_bytes=50, read_ahead=2)
        found += reader.records(2**63)
    assert found == RECORDS


def test_what_is_asked_for() -> None:
    data = ds.frame(*[bytes(1000)] * 5000)
    source = Memory(data)
    file = _native.File.over(source)
    assert source.asked == [(0, 64 << 10)]  # enough to see that it is a plain file
    source.asked.clear()
    assert len(read(file)) == 5000
    mib = 1 << 20
    # Each byte once, a mebibyte at first; the last piece was asked for by a thread.
    assert sorted(source.asked) == [
        (0, mib),
        (mib, 2 * mib),
        (3 * mib, len(data) - 3 * mib),
    ]
    assert len(source.threads) == 2
    source.asked.clear()
    assert len(read(file, mib)) == 5000
    assert sorted(source.asked) == [
        (at, min(mib, len(data) - at)) for at in range(0, len(data), mib)
    ]


def test_one_pass_asks_for_each_byte_once() -> None:
    source = Memory(SNAPPY)
    file = _native.File.over(source)
    source.asked.clear()
    assert read(file, 500, 1) == RECORDS
    asked = sorted(source.asked)
    assert [at for at, _ in asked] == [0, *(at + n for at, n in asked[:-1])]
    assert sum(n for _, n in asked) == len(SNAPPY)
    assert file.mapped


def test_nothing_is_read_ahead_beyond_a_range(finished: Finished) -> None:
    data = ds.frame(*[bytes(1000)] * 500)
    source = Memory(data)
    file = _native.File.over(source)
    source.asked.clear()
    reader = _native.Reader(file, 0, 20_000, read_bytes=9000, read_ahead=4)
    assert len(reader.records(2**63)) == 20
    finished()
    # Its last record may be longer.
    assert 20_000 < max(at + n for at, n in source.asked) <= 20_000 + (64 << 10) < len(data)


def test_reads_ahead_are_few(finished: Finished) -> None:
    data = ds.frame(*[bytes(1000)] * 500)
    source = Memory(data)
    file = _native.File.over(source)
    source.asked.clear()
    reader = _native.Reader(file, 0, None, read_bytes=4000, read_ahead=3)
    assert len(reader.records(9)) == 9
    finished()
    # Three pieces make nine records, and three more are begun.
    assert sum(n for _, n in source.asked) == 6 * 4000


class Failing(Memory):
    """Raises once it is asked for something at or behind `bad`."""

    def __init__(self, data: bytes, bad: int, error: BaseException) -> None:
        super().__init__(data)
        self.bad = bad
        self.error: BaseException | None = error

    def read_into(self, offset: int, buffer: memoryview) -> int:
        if self.error is not None and offset + len(buffer) > self.bad:
            error, self.error = self.error, None
            raise error
        return super().read_into(offset, buffer)


class Odd(Exception):
    pass


def read_one_by_one(reader: _native.Reader, found: list[bytes]) -> None:
    while not reader.done:
        found += reader.records(1)


@pytest.mark.parametrize("error", [Odd("so"), OSError(5, "no"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize(("read_bytes", "ahead"), [(100, 0), (100, 1), (300, 4)])
@pytest.mark.parametrize("data", [FRAMED, SNAPPY], ids=["plain", "snappy"])
def test_what_it_raises_reaches_the_caller(
    data: bytes, read_bytes: int, ahead: int, error: BaseException
) -> None:
    source = Failing(data, len(data), error)
    source.error = None
    file = _native.File.over(source)
    source.bad, source.error = 1500, error
    reader = _native.Reader(file, 0, None, read_bytes=read_bytes, read_ahead=ahead)
    found: list[bytes] = []
    with pytest.raises(type(error)) as raised:
        read_one_by_one(reader, found)
    assert raised.value is error
    # Nothing is lost: the next call goes on from there.
    assert found + reader.records(2**63) == RECORDS


@pytest.mark.parametrize("ahead", [0, 2])
def test_a_file_that_got_shorter(ahead: int) -> None:
    source = Memory(FRAMED)
    file = _native.File.over(source)
    source.data = FRAMED[:1500]
    reader = _native.Reader(file, 0, None, read_bytes=400, read_ahead=ahead)
    with pytest.raises(_native.ChangedError) as raised:
        reader.records(2**63)
    assert raised.value.args == (1500,)


@pytest.mark.parametrize("answer", [-1, 10**9, None, "1", 2**70])
def test_answers_that_make_no_sense(answer: Any) -> None:
    class Wrong(Memory):
        def read_into(self, offset: int, buffer: memoryview) -> int:
            return answer  # type: ignore[no-any-return]

    with pytest.raises((ValueError, TypeError, OverflowError)):
        _native.File.over(Wrong(FRAMED))


def test_objects_that_cannot_read() -> None:
    with pytest.raises(AttributeError):
        _native.File.over(object())
    with pytest.raises(ValueError, match="expected"):
        _native.File.over(Memory(FRAMED), "zip")


def test_a_buffer_that_is_kept_does_no_harm() -> None:
    kept = []

    class Keeping(Memory):
        def read_into(self, offset: int, buffer: memoryview) -> int:
            kept.append(buffer)
            return super().read_into(offset, buffer)

    source = Keeping(FRAMED)
    assert read(_native.File.over(source), 100, 2) == RECORDS
    for buffer in kept:
        buffer[:] = bytes(len(buffer))


def test_what_must_not_change() -> None:
    source = Memory(FRAMED)
    file = _native.File.over(source)
    source.version = "v2"
    with pytest.raises(_native.ChangedError):
        file.check_unchanged()
    source.version, source.size = "v1", 3
    with pytest.raises(_native.ChangedError) as raised:
        file.check_unchanged()
    assert raised.value.args == (3,)

    class Checking(Memory):
        def check_unchanged(self) -> None:
            raise Odd("gone")

    with pytest.raises(Odd, match="gone"):
        _native.File.over(Checking(FRAMED)).check_unchanged()


def test_a_map_travels_to_an_object(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(SNAPPY)
    source = Memory(SNAPPY)
    file = _native.File.over(source, block_map=_native.File(bytes(path)).block_map)
    assert (file.mapped, source.asked) == (True, [])
    reader = _native.Reader(file, 2000, 3000, how="walk")
    assert len(reader.records(2**63)) > 2


def test_several_threads_share_a_file() -> None:
    rng = random.Random(1)
    records = [rng.randbytes(200) for _ in range(3000)]
    framed = ds.frame(*records[:300]) + _native.frame_records(records[300:])
    for data in (framed, ds.snappy_blocks(framed, 5000)):
        file = _native.File.over(Memory(data))
        found: list[list[bytes]] = []
        threads = [
            threading.Thread(target=lambda: found.append(read(file, 5000, 2)))  # noqa: B023
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert found == [records] * 6


def test_the_object_lives_as_long_as_file_and_readers(finished: Finished) -> None:
    source = Memory(FRAMED)
    gone = weakref.ref(source)
    file = _native.File.over(source)
    reader = _native.Reader(file, 0, None, read_bytes=100, read_ahead=2)
    del source, file
    gc.collect()
    assert len(reader.records(20)) == 20
    assert gone() is not None
    del reader
    finished()
    assert gone() is None


def test_an_object_that_keeps_its_file_is_collected(finished: Finished) -> None:
    source = Memory(FRAMED)
    source.file = _native.File.over(source)
    gone = weakref.ref(source)
    reader = _native.Reader(source.file, 0, None, read_bytes=100)
    del source
    gc.collect()
    assert len(reader.records(2**63)) == len(RECORDS)  # the reader still needs it
    del reader
    finished()
    assert gone() is None


def test_nothing_leaks_when_reading_fails(finished: Finished) -> None:
    gone = []
    for ahead in (0, 3):
        source = Failing(FRAMED, len(FRAMED) + 1, Odd("so"))
        gone.append(weakref.ref(source))
        file = _native.File.over(source)
        source.bad = 1000
        reader = _native.Reader(file, 0, None, read_bytes=100, read_ahead=ahead)
        with pytest.raises(Odd):
            reader.records(2**63)
        del source, file, reader
    finished()
    assert [ref() for ref in gone] == [None, None]
