"""Every way in which a record file can be bad: what is said, where, and what is left."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any, NamedTuple

import cramjam
import dump_support as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monolith_cli import _native

RECORDS = ds.random_entries(11, 24, segments=(("adagrad", 3),))
STARTS = ds.frame_starts(RECORDS)
FRAMED = ds.frame(*RECORDS)

# What is damaged below.
VICTIM = 5
VICTIM_START, VICTIM_END = STARTS[VICTIM], STARTS[VICTIM + 1]
OTHERS = RECORDS[:VICTIM] + RECORDS[VICTIM + 1 :]


class Scan(NamedTuple):
    records: list[bytes]
    damages: list[Any]
    reader: Any


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records"


def scan(file: Path, data: bytes, *, skip: bool, expected: str = "plain", **options: Any) -> Scan:
    file.write_bytes(data)
    opened = _native.File(bytes(file), expected, **options)
    reader = _native.Reader(opened, 0, opened.stream_bytes, skip=skip)
    records = reader.entries(2**63)
    return Scan(records, reader.damages, reader)


def framed_record(length: int, data: bytes) -> bytes:
    """A frame whose header says `length`, with good checksums."""
    header = struct.pack("<Q", length)
    return (
        header
        + struct.pack("<I", ds.masked_crc32c(header))
        + data
        + struct.pack("<I", ds.masked_crc32c(data))
    )


def with_victim(data: bytes) -> bytes:
    return FRAMED[:VICTIM_START] + data + FRAMED[VICTIM_END:]


def flipped(data: bytes, at: int, bit: int = 3) -> bytes:
    out = bytearray(data)
    out[at] ^= 1 << bit
    return bytes(out)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(flipped(FRAMED, VICTIM_START), "bad_length_crc", id="length"),
        pytest.param(flipped(FRAMED, VICTIM_START + 7), "bad_length_crc", id="length, high byte"),
        pytest.param(flipped(FRAMED, VICTIM_START + 8), "bad_length_crc", id="length checksum"),
        pytest.param(flipped(FRAMED, VICTIM_START + 12), "bad_data_crc", id="data"),
        pytest.param(flipped(FRAMED, VICTIM_END - 1), "bad_data_crc", id="data checksum"),
        pytest.param(with_victim(ds.frame(b"\x09")), "bad_message", id="message"),
    ],
)
def test_one_damaged_record(file: Path, data: bytes, kind: str) -> None:
    stopped = scan(file, data, skip=False)
    assert stopped.records == RECORDS[:VICTIM]
    assert stopped.reader.failed
    [damage] = stopped.damages
    assert (damage.kind, damage.offset, damage.position) == (kind, VICTIM_START, VICTIM_START)

    skipped = scan(file, data, skip=True)
    assert skipped.records == OTHERS
    assert not skipped.reader.failed
    [damage] = skipped.damages
    assert (damage.kind, damage.offset, damage.position) == (kind, VICTIM_START, VICTIM_START)
    assert damage.end == VICTIM_END - len(FRAMED) + len(data)
    assert damage.one_record


@pytest.mark.parametrize("cut", range(STARTS[-2], STARTS[-1]))
def test_truncation_at_every_place_of_the_last_record(file: Path, cut: int) -> None:
    start = STARTS[-2]
    for skip in (False, True):
        found = scan(file, FRAMED[:cut], skip=skip)
        assert found.records == RECORDS[:-1]
        if cut == start:  # a shorter file, but a whole one
            assert found.damages == []
            continue
        [damage] = found.damages
        assert damage.kind == ("truncated_header" if cut < start + 12 else "truncated_data")
        assert damage.offset == start


@pytest.mark.parametrize("length", [2**60, 2**64 - 1, 2**63, (64 << 20) + 1])
def test_a_length_beyond_the_cap(file: Path, length: int) -> None:
    data = with_victim(framed_record(length, RECORDS[VICTIM]))
    for skip in (False, True):
        found = scan(file, data, skip=skip)
        [damage] = found.damages
        assert damage.kind in ("record_too_long", "truncated_data")
        assert damage.offset == VICTIM_START
        assert damage.length == length
        # Nothing behind it is lost, although nobody knows how long it is.
        assert found.records == (OTHERS if skip else RECORDS[:VICTIM])


def test_the_cap_is_an_option(file: Path) -> None:
    longest = max(map(len, RECORDS))
    assert scan(file, FRAMED, skip=False, max_record_bytes=longest).records == RECORDS
    found = scan(file, FRAMED, skip=True, max_record_bytes=longest - 1)
    assert found.records == [record for record in RECORDS if len(record) < longest]
    assert {damage.kind for damage in found.damages} == {"record_too_long"}
    assert all(damage.length == longest and damage.one_record for damage in found.damages)


@pytest.mark.parametrize(
    "data",
    [b"x", b"no record file at all\n" * 40, bytes(500), b"\xff" * 500, b"PK\x03\x04" + bytes(90)],
)
@pytest.mark.parametrize("expected", ["plain", "snappy"])
def test_a_file_that_is_something_else(file: Path, data: bytes, expected: str) -> None:
    for skip in (False, True):
        found = scan(file, data, skip=skip, expected=expected)
        assert found.records == []
        assert found.damages[0].offset == 0


@pytest.mark.parametrize("expected", ["plain", "snappy"])
def test_an_empty_file_is_fine(file: Path, expected: str) -> None:
    found = scan(file, b"", skip=False, expected=expected)
    assert (found.records, found.damages) == ([], [])
    assert found.reader.done


def test_every_flipped_bit_is_reported_and_costs_one_record(file: Path) -> None:
    rng = random.Random(0)
    for at in range(len(FRAMED)):
        data = flipped(FRAMED, at, rng.randrange(8))
        victim = max(index for index, start in enumerate(STARTS[:-1]) if start <= at)
        assert scan(file, data, skip=False).records == RECORDS[:victim], at
        found = scan(file, data, skip=True)
        assert found.records == RECORDS[:victim] + RECORDS[victim + 1 :], at
        assert [damage.position for damage in found.damages] == [STARTS[victim]], at


def test_an_inserted_and_a_lost_byte(file: Path) -> None:
    for at in range(VICTIM_START + 1, VICTIM_END):
        for data in (FRAMED[:at] + b"\x55" + FRAMED[at:], FRAMED[:at] + FRAMED[at + 1 :]):
            found = scan(file, data, skip=True)
            assert found.damages, at
            assert [record for record in found.records if record not in OTHERS] in (
                [],
                [RECORDS[VICTIM]],  # where the byte that is lost equals its neighbour
            )
            assert found.records[:VICTIM] == RECORDS[:VICTIM]
            # The next one may go too: the damaged frame's checksum is read over its header.
            assert found.records[-(len(RECORDS) - VICTIM - 2) :] == RECORDS[VICTIM + 2 :]


def test_a_file_that_shrinks_while_it_is_read(file: Path) -> None:
    records = [bytes(100_000)] * 20
    file.write_bytes(ds.frame(*records))
    opened = _native.File(bytes(file))
    reader = _native.Reader(opened, 0, opened.stream_bytes)
    assert len(reader.records(1)) == 1
    with file.open("r+b") as stream:
        stream.truncate(1_000_000)
    with pytest.raises(_native.ChangedError):
        reader.records(20)
    with pytest.raises(_native.ChangedError):
        opened.check_unchanged()


def test_a_file_that_grows_or_is_replaced(file: Path) -> None:
    file.write_bytes(FRAMED)
    opened = _native.File(bytes(file))
    opened.check_unchanged()
    with file.open("ab") as stream:
        stream.write(b"more")
    with pytest.raises(_native.ChangedError):
        opened.check_unchanged()
    opened = _native.File(bytes(file))
    other = file.with_name("other")
    other.write_bytes(file.read_bytes())
    other.replace(file)
    with pytest.raises(_native.ChangedError):
        opened.check_unchanged()
    opened = _native.File(bytes(file))
    file.unlink()
    with pytest.raises(FileNotFoundError):
        opened.check_unchanged()


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _native.File(bytes(tmp_path / "none"))
    with pytest.raises(IsADirectoryError):
        _native.File(bytes(tmp_path))


# --- SNAPPY ---------------------------------------------------------------------------------

BLOCK = 200  # uncompressed bytes; records are shorter, but span blocks


def blocks_of(stream: bytes) -> list[bytes]:
    blocks = []
    for start in range(0, len(stream), BLOCK):
        block = bytes(cramjam.snappy.compress_raw(stream[start : start + BLOCK]))
        blocks.append(struct.pack(">I", len(block)) + block)
    return blocks


BLOCKS = blocks_of(FRAMED)
BAD = 3  # the index of the damaged block
BAD_OFFSET = sum(map(len, BLOCKS[:BAD]))


def outside(first: int, last: int) -> list[bytes]:
    """The records that have no byte in the blocks first to last."""
    return [
        record
        for record, start in zip(RECORDS, STARTS, strict=False)
        if start + len(record) + 16 <= first * BLOCK or start >= (last + 1) * BLOCK
    ]


def scan_snappy(file: Path, blocks: list[bytes], *, skip: bool) -> Scan:
    found = scan(file, b"".join(blocks), skip=skip, expected="snappy")
    assert _native.File(bytes(file), "snappy").compression == "snappy"
    return found


def test_sound_blocks(file: Path) -> None:
    found = scan_snappy(file, BLOCKS, skip=False)
    assert (found.records, found.damages) == (RECORDS, [])
    # An empty block is none of the ends.
    empty = struct.pack(">I", 1) + b"\0"
    found = scan_snappy(file, [empty, *BLOCKS[:BAD], empty, *BLOCKS[BAD:], empty], skip=False)
    assert (found.records, found.damages) == (RECORDS, [])


def with_bad_block(block: bytes) -> list[bytes]:
    return [*BLOCKS[:BAD], block, *BLOCKS[BAD + 1 :]]


@pytest.mark.parametrize(
    ("block", "kind"),
    [
        # Copies from before the start: the lengths are right, the content is not.
        pytest.param(
            BLOCKS[BAD][:6] + b"\x01\xff" * ((len(BLOCKS[BAD]) - 6) // 2 + 1),
            "bad_block",
            id="content",
        ),
        pytest.param(struct.pack(">I", 0), "bad_block_length", id="no content"),
        pytest.param(b"\xff\xff\xff\xff" + BLOCKS[BAD][4:], "bad_block_length", id="4 GB"),
        pytest.param(
            struct.pack(">I", 10) + b"\xff" * 10, "bad_block_length", id="uncompressed length"
        ),
    ],
)
def test_one_damaged_block(file: Path, block: bytes, kind: str) -> None:
    if kind == "bad_block":  # it must be as long as its header says
        block = struct.pack(">I", len(BLOCKS[BAD]) - 4) + block[4 : len(BLOCKS[BAD])]
    stopped = scan_snappy(file, with_bad_block(block), skip=False)
    before = [record for record in outside(BAD, 10**9) if record in RECORDS]
    assert stopped.records == before
    assert stopped.damages[0].kind == kind
    assert stopped.damages[0].offset == BAD_OFFSET
    skipped = scan_snappy(file, with_bad_block(block), skip=True)
    assert skipped.records == outside(BAD, BAD)
    assert [damage.kind for damage in skipped.damages] == [kind]
    assert skipped.damages[0].offset == BAD_OFFSET


@pytest.mark.parametrize("cut", range(1, len(BLOCKS[-1])))
def test_truncation_at_every_place_of_the_last_block(file: Path, cut: int) -> None:
    last = len(BLOCKS) - 1
    for skip in (False, True):
        found = scan_snappy(file, [*BLOCKS[:-1], BLOCKS[-1][:cut]], skip=skip)
        assert found.records == outside(last, last)
        [damage] = found.damages
        assert damage.kind in ("truncated_block", "bad_block_length")
        assert damage.offset == sum(map(len, BLOCKS[:-1]))


def test_a_missing_block(file: Path) -> None:
    last = len(BLOCKS) - 1
    found = scan_snappy(file, BLOCKS[:-1], skip=True)
    assert found.records == outside(last, last)
    assert [damage.kind for damage in found.damages] in (
        [],
        ["truncated_data"],
        ["truncated_header"],
    )
    found = scan_snappy(file, [*BLOCKS[:BAD], *BLOCKS[BAD + 1 :]], skip=True)
    assert found.damages
    assert found.records == outside(BAD, BAD)


def test_a_damaged_record_in_a_sound_block(file: Path) -> None:
    blocks = blocks_of(flipped(FRAMED, VICTIM_START + 12))
    found = scan_snappy(file, blocks, skip=True)
    assert found.records == OTHERS
    [damage] = found.damages
    assert damage.kind == "bad_data_crc"
    assert damage.position == VICTIM_START
    assert damage.offset == sum(map(len, blocks[: VICTIM_START // BLOCK]))


def check_flip(file: Path, at: int, bit: int) -> None:
    ends = [0]
    for block in BLOCKS:
        ends.append(ends[-1] + len(block))
    bad = max(index for index, end in enumerate(ends[:-1]) if end <= at)
    damaged = flipped(b"".join(BLOCKS), at, bit)
    stopped = scan(file, damaged, skip=False, expected="snappy")
    if not stopped.damages:  # a copy from another place where the same bytes are
        assert stopped.records == RECORDS, at
        return
    assert stopped.records == RECORDS[: len(stopped.records)], at
    skipped = scan(file, damaged, skip=True, expected="snappy")
    assert skipped.damages, at
    # All that has no byte in the damaged block is there, in order, and nothing else.
    kept = iter(skipped.records)
    assert all(record in kept for record in outside(bad, bad)), at
    assert set(skipped.records) <= set(RECORDS), at


def test_every_flipped_bit_of_a_compressed_file(file: Path) -> None:
    rng = random.Random(0)
    for at in range(len(BLOCKS[0]), sum(map(len, BLOCKS))):
        check_flip(file, at, rng.randrange(8))


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.sampled_from(["plain", "snappy"]))
def test_any_damage_ends_with_records_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, seed: int, compression: str
) -> None:
    rng = random.Random(seed)
    data = bytearray(FRAMED if compression == "plain" else b"".join(BLOCKS))
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0:
                data[at] = rng.getrandbits(8)
            case 1:
                del data[at : at + rng.randint(1, 50)]
            case 2:
                data[at:at] = rng.randbytes(rng.randint(1, 50))
            case 3:
                data[at : at + 8] = struct.pack("<Q", rng.getrandbits(64))
        if not data:
            data = bytearray(b"\0")
    file = tmp_path_factory.getbasetemp() / "any-damage"
    found = scan(file, bytes(data), skip=True, expected=compression)
    assert set(found.records) <= set(RECORDS)
    assert found.reader.done
