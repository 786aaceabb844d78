"""Tensor bundles with mutations, some with checksums that are right again.

Whatever the bytes are, reading ends with a value or with an error that names the file, soon, and
without much memory. FUZZ_RUNS=100000 tries that many (500 a second), FUZZ_SEED=2 others.
"""

from __future__ import annotations

import os
import random
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import bundle_support as bs
from bundle_support import Stored, masked

from monolith_cli._native import crc32c
from monolith_cli.errors import CorruptionError, MissingShardError, MonolithError, UsageError
from monolith_cli.formats.bundle_index import TensorEntry
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.variant import parse_state_part

RUNS = int(os.environ.get("FUZZ_RUNS", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

MOST_BYTES = 8 << 20
MOST_SECONDS = 2.0
WATCHED = 10
"""One in so many runs has its memory watched, which makes it ten times as slow."""

NASTY = [
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**32,
    2**62,
    2**63,
    2**64 - 1,
]


def mutated(rng: random.Random, data: bytes) -> bytes:
    """A few bytes changed, lost, doubled, or made a number that nobody expects."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(out) + 1)
        match rng.randrange(6):
            case 0 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(out):
                out[at] = rng.randrange(256)
            case 2:
                del out[at:]
            case 3:
                del out[at : at + rng.randrange(20)]
            case 4:
                out[at:at] = out[at : at + rng.randrange(60)]
            case _:
                number = bs.varint(rng.choice(NASTY))
                out[at : at + rng.choice([0, 1, len(number)])] = number
    return bytes(out)


class Maker:
    """Bundles of which some part is damaged, before or after its checksum was made."""

    def __init__(self, rng: random.Random, prefix: Path) -> None:
        self.rng = rng
        self.prefix = prefix

    def maybe(self, data: bytes, one_in: int = 6) -> bytes:
        return mutated(self.rng, data) if self.rng.randrange(one_in) == 0 else data

    def strings(self) -> Stored:
        strings = [self.rng.randbytes(self.rng.choice([0, 1, 5, 130])) for _ in range(3)]
        lengths = b"".join(bs.varint(len(string)) for string in strings)
        crc = crc32c(b"".join(len(string).to_bytes(4, "little") for string in strings))
        content = self.maybe(lengths + masked(crc)) + b"".join(strings)
        whole = crc32c(b"".join(strings), crc32c(masked(crc), crc))
        return Stored(7, (3,), content, masked(whole))

    def part(self) -> bytes:
        values = {
            b"next": (9, (), [self.rng.randbytes(8)]),
            b"buffer[0]": (7, (2,), [b"ab" * self.rng.randrange(3000), b"c"]),
            b"60d8|It::Shuffle:index": (1, (2, 2), [bytes(16)]),
        }
        if self.rng.randrange(3):
            return self.maybe(bs.state_part(b"It::Shuffle", values))
        tensors = b"".join(
            bs.field(3, self.maybe(bs.field(1, dtype) + bs.field(10, b"\1\2")))
            for dtype, _, _ in values.values()
        )
        return self.maybe(bs.field(2, b"@@".join([b"It::Shuffle", *values])) + tensors)

    def write(self) -> None:
        rng = self.rng
        tensors = {
            b"dense": Stored(1, (2, 3), bytes(24)),
            b"text": self.strings(),
            b"state": bs.variants([self.part() for _ in range(rng.randrange(4))]),
            b"sliced": Stored(1, (4,), extra=b"".join(self.slice(at) for at in (0, 2))),
        }
        for at in (0, 2):
            key = b"\0sliced\0\1\1\1" + bytes([0x80 | at, 0x82])
            tensors[key] = Stored(1, (2,), bytes(8))
        data = bytearray()
        entries = [(b"", self.maybe(bs.HEADER, 40))]
        for name, tensor in sorted(tensors.items()):
            entry = self.maybe(bs.entry_message(tensor, len(data)), 10)
            entries.append((self.maybe(name, 40), entry))
            data += tensor.content
        snappy = rng.randrange(2) == 0
        cut = rng.randrange(1, len(entries))
        blocks = []
        for part in (entries[:cut], entries[cut:]):
            content = self.maybe(bs.block(part), 20)
            blocks.append(bs.stored(content, snappy=snappy))
        index = bs.table(blocks, [entries[cut - 1][0], b"\xff" * 9], snappy=snappy)
        bs.write_index(self.prefix, self.maybe(index, 10))
        path = self.prefix.with_name(self.prefix.name + ".data-00000-of-00001")
        path.write_bytes(self.maybe(bytes(data), 10))

    def slice(self, at: int) -> bytes:
        extent = bs.field(1, bs.field(1, at) + bs.field(2, 2))
        return bs.field(7, self.maybe(extent, 20))


def read_everything(prefix: Path) -> int:
    """How many tensors could be read; the rest failed as it should."""
    good = 0
    try:
        bundle = TensorBundle(prefix)
    except CorruptionError as error:
        check(error)
        return 0
    for entry in bundle.entries.values():
        try:
            if entry.dtype == "variant":
                read_state(bundle, entry)
            else:
                bundle.array(entry)
            good += 1
        except UsageError:  # a dtype that is no array's, or a shape
            pass
        except (CorruptionError, MissingShardError) as error:
            check(error)
    return good


def read_state(bundle: TensorBundle, entry: TensorEntry) -> None:
    for element in bundle.variants(entry):
        with suppress(ValueError):  # as it is said of parts
            part = parse_state_part(element)
            assert part.size_bytes >= 0
            for i, value in enumerate(part.values):
                part.scalar(i)
                if value.size_bytes < MOST_BYTES:
                    part.content(i)


def check(error: MonolithError) -> None:
    assert error.path is not None
    assert error.offset is None or 0 <= error.offset < 1 << 63
    assert str(error)


def test_mutated_bundles(tmp_path: Path) -> None:
    prefix = tmp_path / "b"
    good = 0
    for run in range(RUNS):
        seed = SEED * 1_000_003 + run
        Maker(random.Random(seed), prefix).write()
        start = time.process_time()
        try:
            with memory_watched(seed) if run % WATCHED == 0 else nullcontext():
                good += read_everything(prefix)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        assert time.process_time() - start < MOST_SECONDS, seed
    assert good > RUNS  # most parts of most bundles are whole


@contextmanager
def memory_watched(seed: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES, seed
    finally:
        tracemalloc.stop()
