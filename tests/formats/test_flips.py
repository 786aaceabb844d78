"""Flipped bits: found by the checksums of a record, and named by the field that they are in."""

from __future__ import annotations

import os
import random
import re
import struct
import time
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
import tf_support
from google.protobuf.message import DecodeError
from table_support import flip

from monolith_cli import _native, messages
from monolith_cli.errors import ChangedWhileReadError
from monolith_cli.formats import flips
from monolith_cli.formats.flips import MAX_FLIP_BYTES, Flip, find_flip, name_flips
from monolith_cli.formats.tfrecord import DumpFile, Skipped

ROUNDS = int(os.environ.get("FLIP_ROUNDS", "10000"))
"""Random damages; the expectations hold for any number."""

SLOT_5 = 5 << 48


class InMemory:
    """A file that is not one."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, offset: int, size: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    def flip(self, bit: int) -> None:
        self.data[bit // 8] ^= 1 << bit % 8


def some_entry() -> Any:
    entry = ds.random_entry(
        random.Random(7),
        fid=SLOT_5 | 1234,
        segments=[("adagrad", 4), ("adam", 3), ("batch_softmax", 2)],
        last_update_ts_sec=1_700_000_000,
        special=False,
    )
    entry.num[1] = 0.0123
    return entry


def damage_of(path: Path) -> tuple[DumpFile, list[Skipped]]:
    file = DumpFile(os.fspath(path))
    reader = _native.Reader(file.open(), 0, file.stream_bytes, skip=True)
    while not reader.done:
        reader.skip(1000)
    return file, file.skipped(reader.damages)


def named(path: Path, message: str | None = "entry") -> list[Flip | None]:
    return name_flips(*damage_of(path), message)


def some_length(rng: random.Random) -> int:
    """Of 16 bytes to 64 KiB, as many small ones as large ones."""
    return int(16 * (MAX_FLIP_BYTES / 16) ** rng.random())


# --- finding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", ds.frame(b"next")], ids=["last", "not last"])
@pytest.mark.parametrize("record", [b"", b"\0", some_entry().SerializeToString()], ids=len)
def test_every_bit_of_a_record(record: bytes, behind: bytes) -> None:
    before = ds.frame(b"first")
    file = InMemory(before + ds.frame(record) + behind)
    for bit in range(8 * len(before), 8 * (len(before) + 16 + len(record))):
        file.flip(bit)
        found = find_flip(file, len(before))
        file.flip(bit)
        assert found is not None
        assert (found.offset, found.bit, found.length) == (bit // 8, bit % 8, len(record))
        at = found.offset - len(before)
        parts = ["length"] * 8 + ["length_crc"] * 4 + ["data"] * len(record) + ["data_crc"] * 4
        assert found.part == parts[at]


def test_random_bits_are_all_named_right() -> None:
    rng = random.Random(1)
    for _ in range(ROUNDS // 10):
        length = some_length(rng)
        file = InMemory(ds.frame(b"") + _native.frame_records([rng.randbytes(length), b"next"]))
        for _ in range(10):
            bit = rng.randrange(8 * 16, 8 * (32 + length))
            file.flip(bit)
            found = find_flip(file, 16)
            file.flip(bit)
            assert found is not None
            assert (found.offset, found.bit) == (bit // 8, bit % 8)


def test_more_than_a_bit_is_named_no_more_often_than_is_said() -> None:
    rng = random.Random(2)
    wrong, expected = 0, 0.0
    for _ in range(ROUNDS // 10):
        length = some_length(rng)
        file = InMemory(_native.frame_records([rng.randbytes(length), b"next"]))
        for _ in range(10):
            bits = rng.sample(range(8 * (16 + length)), rng.randint(2, 64))
            for bit in bits:
                file.flip(bit)
            wrong += find_flip(file, 0) is not None
            expected += (8 * length + 32) / 2**32
            for bit in bits:
                file.flip(bit)
    # By chance it is more than that once in a thousand runs.
    assert wrong <= expected + 3 * expected**0.5 + 2


def test_the_odds_are_those_of_chance() -> None:
    # Whatever else a record of these bytes is stored with, no flipped bit explains.
    data = random.Random(3).randbytes(100)
    explained = set()
    for bit in range(8 * (100 + 4)):
        file = InMemory(ds.frame(data))
        file.flip(8 * 12 + bit)
        found = find_flip(file, 0)
        assert found is not None
        crc = ds.masked_crc32c(file.read(12, 100))
        # Seen from the bytes as they are: what a checksum must be for this bit to be named.
        explained.add(struct.unpack("<I", file.read(112, 4))[0] ^ crc)
        assert found.one_in == 2**32 // (8 * 100 + 32)
    assert len(explained) == 8 * 100 + 32


def test_damage_of_two_bits_in_a_header_is_not_named() -> None:
    frame = ds.frame(b"record", b"next")
    for first in range(96):
        for second in range(first):
            file = InMemory(frame)
            file.flip(first)
            file.flip(second)
            assert find_flip(file, 0) is None


def test_a_good_record_has_no_flipped_bit() -> None:
    file = InMemory(ds.frame(b"record", b"next"))
    assert find_flip(file, 0) is None
    assert find_flip(file, 22) is None
    assert find_flip(file, file.size) is None


def test_a_header_wants_what_is_behind_it_to_hold() -> None:
    file = InMemory(ds.frame(b"record", b"next"))
    file.flip(3)
    assert find_flip(file, 0) is not None
    file.flip(8 * 22 + 1)  # the next header
    assert find_flip(file, 0) is None
    file = InMemory(ds.frame(b"record") + b"\0" * 11)  # no header, and not the end
    file.flip(3)
    assert find_flip(file, 0) is None
    file = InMemory(ds.frame(b"record"))
    file.flip(3)
    file.flip(8 * 13)  # the data
    assert find_flip(file, 0) is None


def test_cut_records_are_not_named() -> None:
    frame = ds.frame(b"record")
    for size in range(len(frame)):
        file = InMemory(frame[:size])
        if size:
            file.flip(0)
        assert find_flip(file, 0) is None


def test_the_longest_record() -> None:
    for length, is_named in ((MAX_FLIP_BYTES, True), (MAX_FLIP_BYTES + 1, False)):
        for bit in (5, 80, 8 * 12, 8 * (length + 12) + 31):
            file = InMemory(_native.frame_records([bytes(length), b"next"]))
            file.flip(bit)
            assert (find_flip(file, 0) is not None) is is_named


def test_two_bits_that_explain_the_same_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of records this long it is rare that a bit of the data and one of the checksum do.
    file = InMemory(ds.frame(b"record"))
    file.flip(8 * 12 + 1)
    assert find_flip(file, 0) is not None
    monkeypatch.setattr(flips._native, "flips_that_mend", lambda block: [1, 8 * 6 + 1])
    assert find_flip(file, 0) is None


def test_what_mends_a_block_and_what_does_not() -> None:
    block = b"data" + struct.pack("<I", ds.masked_crc32c(b"data"))
    assert _native.flips_that_mend(block) == []
    for bit in range(64):
        flipped = bytearray(block)
        flipped[bit // 8] ^= 1 << bit % 8
        assert _native.flips_that_mend(flipped) == [bit]
    with pytest.raises(ValueError, match="checksum"):
        _native.flips_that_mend(b"abc")


def test_a_long_record_takes_little_time() -> None:
    file = InMemory(_native.frame_records([random.Random(5).randbytes(MAX_FLIP_BYTES)]))
    file.flip(8 * 12)  # the farthest from the end
    spent = []
    for _ in range(5):
        start = time.process_time()
        assert find_flip(file, 0, "entry") is not None
        spent.append(time.process_time() - start)
    assert min(spent) < 0.020


# --- in files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records by TensorFlow's own writer: an empty one, entries, the last one empty again."""
    path = tmp_path_factory.mktemp("flips") / "t-00000-of-00001"
    tf_support.write_plain(path, [b"", *ds.random_entries(11, 400), b""])
    return path


def test_bits_of_a_file_by_tensorflow(by_tensorflow: Path, tmp_path: Path) -> None:
    data = by_tensorflow.read_bytes()
    rng = random.Random(12)
    path = tmp_path / "t-00000-of-00001"
    # All of the first and the last record, and some bits between.
    places = [*range(0, 128, 9), *range(8 * len(data) - 128, 8 * len(data), 9)]
    for bit in [*places, *rng.sample(range(8 * len(data)), 20)]:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        found = named(path)
        assert [(each.offset, each.bit) for each in found if each] == [(bit // 8, bit % 8)]
        assert found[0] is not None
        assert found[0].mend(bytes(damaged), 0) == data
    assert tf_support.read_records(by_tensorflow)[0] == b""


def test_bits_here_and_there_are_all_named(by_tensorflow: Path, tmp_path: Path) -> None:
    data = bytearray(by_tensorflow.read_bytes())
    offsets = list(range(100, len(data), 2500))
    for offset in offsets:
        data[offset] ^= 0x10
    path = tmp_path / "t-00000-of-00001"
    path.write_bytes(data)
    assert [each and each.offset for each in named(path)] == offsets


def test_more_than_three_in_four_kibibytes_are_not_named(
    by_tensorflow: Path, tmp_path: Path
) -> None:
    data = bytearray(by_tensorflow.read_bytes())
    crowd = [10_000, 11_000, 12_000, 13_000]
    for offset in [1000, *crowd[:3], 30_000]:
        data[offset] ^= 1
    path = tmp_path / "t-00000-of-00001"
    path.write_bytes(data)
    assert [each and each.offset for each in named(path)] == [1000, *crowd[:3], 30_000]
    data[crowd[3]] ^= 1
    path.write_bytes(data)
    assert [each and each.offset for each in named(path)] == [1000, *[None] * 4, 30_000]


def test_snappy_is_never_named(tmp_path: Path) -> None:
    path = tmp_path / "multi-00000-of-00001"
    # In literals, as random bytes are stored, a flipped bit is one of the record too.
    tf_support.write_snappy(path, [random.Random(4).randbytes(1000)])
    flip(path, 500)
    file, damage = damage_of(path)
    assert [each.kind for each in damage] == ["bad_data_crc"]
    assert name_flips(file, damage) == [None]


def test_a_file_that_changes_meanwhile(by_tensorflow: Path, tmp_path: Path) -> None:
    path = tmp_path / "t-00000-of-00001"
    path.write_bytes(by_tensorflow.read_bytes())
    flip(path, 1000)
    file, damage = damage_of(path)
    path.write_bytes(b"")
    with pytest.raises(ChangedWhileReadError):
        name_flips(file, damage)


# --- naming -----------------------------------------------------------------------------------


def value_at(message: Any, field: str) -> Any:
    """What protobuf reads there."""
    parts = re.findall(r"\w+", {"fid": "id"}.get(field, field))
    if parts[0] == "opt":
        message, parts = message.opt.dump[int(parts[1])], parts[2:]
    for part in parts:
        message = message[int(part)] if part.isdigit() else getattr(message, part)
    return message


def as_read(text: str, value: Any) -> bool:
    """Whether a text says that value; a float as the float32 that it is."""
    if not isinstance(value, float):
        return text == str(value)
    return struct.pack("<f", float(text)) == struct.pack("<f", value) or value != value


@pytest.mark.parametrize("is_scrambled", [False, True], ids=["in order", "scrambled"])
def test_fields_are_as_protobuf_reads_them(is_scrambled: bool) -> None:
    rng = random.Random(21)
    seen = set()
    for _ in range(300):
        entry = ds.random_entry(rng)
        data = ds.scrambled(entry, rng) if is_scrambled else entry.SerializeToString()
        whole = messages.EntryDump.FromString(data)
        for bit in rng.sample(range(8 * len(data)), min(10, 8 * len(data))):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            place = _native.place_of_bit(flipped, bit, "entry")
            assert place is not None
            field, old, new = (text.decode() for text in place)
            if " " in field:  # a tag, a length
                assert (old, new) == (f"0x{flipped[bit // 8]:02x}", f"0x{data[bit // 8]:02x}")
                continue
            seen.add(re.sub(r"\[\d+\]", "", field))
            if not is_scrambled:  # where a field may come twice the last one counts
                assert as_read(new, value_at(whole, field))
                try:
                    damaged = messages.EntryDump.FromString(bytes(flipped))
                except (DecodeError, SystemError):  # the latter of protobuf 3.20
                    continue  # a number that reaches into what follows it
                if bit % 8 != 7 or "ts_sec" not in field:
                    assert as_read(old, value_at(damaged, field))
    assert {"fid", "num", "last_update_ts_sec", "opt.adam.v", "opt.ftrl.zero"} <= seen


def test_the_sentence() -> None:
    entry = some_entry()
    data = entry.SerializeToString()
    file = InMemory(ds.frame(data, b"next"))
    at = 12 + 9 + 5 + 1  # behind the header: fid, num[0], a tag
    file.flip(8 * (at + 3) + 7)  # its sign
    found = find_flip(file, 0, "entry")
    assert found is not None
    assert found.sentence == (
        "flipping bit 7 of byte 30 makes the checksum hold (by chance once in"
        f" {2**32 // (8 * len(data) + 32):,} such records, if more was damaged); it flipped after"
        " the record was framed; num[1]: -0.0123 → 0.0123"
    )


def test_what_is_not_data_has_its_name() -> None:
    def change(bit: int, record: bytes = b"record", message: str | None = None) -> str:
        file = InMemory(ds.frame(record))
        file.flip(bit)
        found = find_flip(file, 0, message)
        assert found is not None
        return found.change

    assert change(10) == "the length: 1,030 → 6"
    stored = struct.unpack("<II", ds.frame(b"record")[8:12] + ds.frame(b"record")[-4:])
    assert change(65) == f"the checksum of the length: {stored[0] ^ 2:#010x} → {stored[0]:#010x}"
    assert change(8 * 18) == f"the checksum of the data: {stored[1] ^ 1:#010x} → {stored[1]:#010x}"
    assert change(8 * 12) == "the record's data"
    table = ds.table_meta("user", 1000)
    assert change(8 * (12 + 2), table, "contents") == "table_name: tser → user"
    assert change(8 * (12 + 7), table, "contents") == "num_entries: 1001 → 1000"
    cells = ds.put_int(1, 10_000) + ds.put_int(2, 4097) + ds.put_int(2, 5)
    assert change(8 * (12 + 7) + 1, cells, "filter") == "data[1]: 7 → 5"
    assert change(8 * (12 + 1), cells, "filter") == "offset: 10001 → 10000"
    head = ds.put_int(2, 64) + ds.put_tag(4, 1) + struct.pack("<d", 0.5)
    assert change(8 * (12 + 10) + 7, head, "filter_meta") == "fill_rate: -0.5 → 0.5"
    other = "a tag, a length or an unknown field"
    assert change(8 * 12, table, "contents") == f"{other} before table_name: 0x0b → 0x0a"


def test_a_message_that_is_none() -> None:
    assert _native.place_of_bit(b"\xff\xff", 3, "entry") is None
    assert _native.place_of_bit(b"", 0, "entry") is None
    assert _native.place_of_bit(b"\x08\x01", 99, "contents") is None
    with pytest.raises(ValueError, match="no such message"):
        _native.place_of_bit(b"", 0, "letter")
