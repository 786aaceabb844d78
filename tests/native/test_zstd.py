"""Frames of Zstandard, against readers that are not ours."""

from __future__ import annotations

import os
import random

import cramjam
import pytest

from monolith_cli import _native

BLOCK = 128 << 10
RUNS = int(os.environ.get("ZSTD_RUNS", "150"))


def back(data: bytes) -> bytes:
    """What a reader makes of the frame."""
    frame = _native.zstd_compress(data)
    return bytes(cramjam.zstd.decompress(frame)) if data else b""


def drawn(rng: random.Random, symbols: int, size: int, skew: float) -> bytes:
    """So many bytes of an alphabet, of which some come more often than others."""
    alphabet = rng.sample(range(256), symbols)
    weights = [skew**i for i in range(symbols)]
    return bytes(rng.choices(alphabet, weights, k=size))


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("symbols", [1, 2, 3, 128, 129, 256])
def test_sizes_and_alphabets(size: int, symbols: int) -> None:
    data = drawn(random.Random(size * symbols), symbols, size, 0.9)
    assert back(data) == data


@pytest.mark.parametrize(
    "data",
    [
        bytes(range(256)) * 20,
        b"\0" * 1000 + b"\xff",
        b"\xff" * 1000 + b"\0",
        bytes([0, 255]) * 500,
        bytes([254, 255]) * 500,
        bytes([0, 1, 128]) * 500,
        # As frequent as Fibonacci's numbers: codes would be longer than they may be.
        b"".join(bytes([i]) * n for i, n in enumerate([1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144]))
        + b"\x80" * 233
        + b"\x81" * 377
        + b"\x82" * 610
        + b"\x83" * 987
        + b"\x84" * 1597,
    ],
    ids=["all", "last", "first", "ends", "top", "some", "deep"],
)
def test_alphabets_that_are_odd(data: bytes) -> None:
    assert back(data) == data


def test_random_frames() -> None:
    rng = random.Random(7)
    for _ in range(RUNS):
        symbols = rng.choice([2, 3, 5, 17, 100, 128, 129, 200, 255, 256])
        size = rng.choice([rng.randrange(64, 400), rng.randrange(400, 40_000)])
        data = drawn(rng, symbols, size, rng.choice([1, 0.999, 0.97, 0.8, 0.5]))
        if rng.random() < 0.3:
            data += bytes(rng.choices(data, k=1)) * rng.randrange(3000)
        assert back(data) == data, (symbols, size)


def test_what_is_gained() -> None:
    rng = random.Random(3)
    noise = rng.randbytes(2 * BLOCK)
    assert len(_native.zstd_compress(noise)) == len(noise) + 9 + 2 * 3
    assert len(_native.zstd_compress(b"\7" * BLOCK)) == 9 + 4
    skewed = drawn(rng, 200, BLOCK, 0.9)
    theirs = bytes(cramjam.zstd.compress(skewed, 1))
    assert len(_native.zstd_compress(skewed)) < 1.02 * len(theirs)


def test_pyarrow_reads_frames_too() -> None:
    pyarrow = pytest.importorskip("pyarrow")
    data = drawn(random.Random(1), 250, 100_000, 0.97)
    found = pyarrow.Codec("zstd").decompress(_native.zstd_compress(data), len(data))
    assert found.to_pybytes() == data
