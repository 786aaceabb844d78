"""What a reader's methods promise: all that was asked for, however long that takes, and signals."""

from __future__ import annotations

import bisect
import itertools
import json
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dump_support as ds
import numpy as np
import pytest

from monolith_cli import _native

ENTRIES = 300
NO_LIMIT = 2**63 - 1
LAST = 3 << 48 | ENTRIES - 1


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> _native.File:
    """150 MB: a reader looks for signals twice on its way through."""
    path = tmp_path_factory.mktemp("reader") / "t"
    padding = ds.put_bytes(99, bytes(500_000))
    with path.open("wb") as out:
        for n in range(ENTRIES):
            entry = ds.put_fixed64(1, 3 << 48 | n) + padding
            out.write(_native.frame_records([entry]))
    return _native.File(bytes(path))


def reader_of(file: _native.File) -> _native.Reader:
    return _native.Reader(file, 0, file.stream_bytes)


def only_the_last() -> _native.Filter:
    chosen = _native.Filter()
    chosen.set_fids([LAST])
    return chosen


def fid_of(entry: bytes) -> int:
    return int.from_bytes(entry[1:9], "little")


def test_one_call_counts_to_the_end(file: _native.File) -> None:
    reader, counter = reader_of(file), _native.Counter()
    assert reader.count(counter) == counter.entries == ENTRIES
    assert reader.done
    assert reader.count(counter) == 0
    assert reader_of(file).count(_native.Counter(), only_the_last()) == 1


def test_one_call_skips_as_many_as_asked(file: _native.File) -> None:
    reader = reader_of(file)
    assert reader.skip(ENTRIES - 1) == ENTRIES - 1
    assert not reader.done
    assert reader.skip(NO_LIMIT) == 1
    assert reader.done


ONE_CALL: dict[str, Callable[[_native.Reader], list[int]]] = {
    "records": lambda r: [fid_of(record) for record in r.records(NO_LIMIT)[-1:]],
    "entries": lambda r: [fid_of(entry) for entry in r.entries(1, only_the_last())],
    "frames": lambda r: [fid_of(r.frames(1, NO_LIMIT, only_the_last())[0][12:])],
    "json_lines": lambda r: [
        int(json.loads(line)["fid"])
        for line in r.json_lines(1, NO_LIMIT, only_the_last())[0].splitlines()
    ],
    "columns": lambda r: np.frombuffer(r.columns(1, only_the_last())["fid"], np.int64).tolist(),
}


@pytest.mark.parametrize("method", ONE_CALL)
def test_one_call_finds_what_is_far_behind(file: _native.File, method: str) -> None:
    reader = reader_of(file)
    assert ONE_CALL[method](reader) == [LAST]
    assert reader.position == file.stream_bytes


class Alarm(Exception):
    pass


INTERRUPTED: dict[str, Callable[[_native.Reader], Any]] = {
    "count": lambda r: r.count(_native.Counter()),
    "skip": lambda r: r.skip(NO_LIMIT),
    "entries": lambda r: r.entries(1, only_the_last()),
    "frames": lambda r: r.frames(1, NO_LIMIT, only_the_last()),
    "json_lines": lambda r: r.json_lines(1, NO_LIMIT, only_the_last()),
    "columns": lambda r: r.columns(1, only_the_last()),
}


@pytest.mark.parametrize("method", INTERRUPTED)
def test_a_signal_ends_a_call(file: _native.File, method: str) -> None:
    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(100):  # the alarm may ring before or behind the call
            reader = reader_of(file)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.001)
                INTERRUPTED[method](reader)
            except Alarm:
                if reader.position > 0:
                    break
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 0 < reader.position < file.stream_bytes
    assert not reader.done
    # Nothing is lost: the next call goes on from there.
    left = ENTRIES * reader.position // file.stream_bytes
    assert reader.count(_native.Counter()) == ENTRIES - left


def test_records_across_what_is_read_at_once(tmp_path: Path) -> None:
    # A reader takes 64 KiB, then twice as much each time up to 512 KiB. What is left of a record at
    # the end of one read moves in front of the next.
    rng = random.Random(5)
    records = [rng.randbytes(rng.randrange(700)) for _ in range(5_000)]
    framed = _native.frame_records(records)
    starts = ds.frame_starts(records)
    path = tmp_path / "t"
    path.write_bytes(framed)
    assert reader_of(_native.File(bytes(path))).records(NO_LIMIT) == records
    ends = list(itertools.accumulate([64 << 10, 128 << 10, 256 << 10, 512 << 10, 512 << 10]))
    for at in [end + near for end in ends for near in (-700, -40, -1, 0, 1, 40, 700)]:
        damaged = bytearray(framed)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        file = _native.File(bytes(path))
        reader = _native.Reader(file, 0, file.stream_bytes, skip=True)
        victim = bisect.bisect_right(starts, at) - 1
        assert reader.records(NO_LIMIT) == records[:victim] + records[victim + 1 :], at
        assert [damage.position for damage in reader.damages] == [starts[victim]], at
