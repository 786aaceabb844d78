"""Naming a flipped bit in a record of 64 KiB, the farthest from its end.

By itself: prints the median of the seconds that it takes, imports and reading not counted.
"""

from __future__ import annotations

import statistics
import struct
import time
from collections.abc import Iterator

from measure import Bench, Row, duration, output, python

_RUNS = 101
_VALUES = (64 << 10) // 5 - 10


class _InMemory:
    """A file that is not one."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return self.data[offset : offset + size]


def measure(bench: Bench) -> Iterator[Row]:
    """With the field that it is in, the value there and the value that was there."""
    seconds = float(output(python("flipped_bit")))
    what = "naming a flipped bit in a record of 64 KiB, and its field"
    yield Row(what, ours=duration(seconds), must="≤ 20 ms")


def _seconds() -> float:
    from monolith_cli import _native
    from monolith_cli.formats.flips import find_flip

    entry = struct.pack("<Bq", 9, 1) + struct.pack("<Bf", 0x15, 0.5) * _VALUES
    data = bytearray(_native.frame_records([entry, b"next"]))
    data[12 + 9 + 1] ^= 1
    file = _InMemory(bytes(data))
    spent = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        found = find_flip(file, 0, "entry")
        spent.append(time.perf_counter() - start)
        assert found is not None
        assert found.field == "num[0]"
    return statistics.median(spent)


if __name__ == "__main__":
    print(_seconds())
