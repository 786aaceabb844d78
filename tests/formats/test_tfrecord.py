"""Record files: ours read by TensorFlow, TensorFlow's read by us, and what else they may be."""

from __future__ import annotations

import os
import pickle
import random
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dump_support as ds
import pytest
import tf_support
from hypothesis import given, settings
from hypothesis import strategies as st
from table_support import flip

from monolith_cli import _native
from monolith_cli.errors import (
    ChangedWhileReadError,
    CorruptionError,
    NotReadableError,
    PathNotFoundError,
    WriteError,
)
from monolith_cli.formats import tfrecord
from monolith_cli.formats.tfrecord import (
    DumpFile,
    RecordWriter,
    read_first_record,
    read_records,
)

COMPRESSIONS = ("plain", "snappy")
BLOCK = 262_144


def some_records(seed: int, count: int, longest: int) -> list[bytes]:
    """Records of very different lengths, half of which compress well."""
    rng = random.Random(seed)
    return [
        rng.randbytes(size) if rng.random() < 0.5 else b"monolith" * (size // 8)
        for size in (int(longest ** rng.random()) for _ in range(count))
    ]


CASES = {
    "none": [],
    "empty": [b""],
    "one": [b"monolith"],
    "small": some_records(1, 500, 300),
    "over several blocks": some_records(2, 400, 60_000),
    # A record of more than two blocks, between others.
    "spanning blocks": [b"before", random.Random(3).randbytes(700_000), b"after"],
    # Frames that end where a block does: 16 bytes of a frame are not data.
    "full blocks": [bytes(BLOCK - 16), bytes(BLOCK // 2 - 16), bytes(BLOCK // 2 - 16), b"end"],
}


def write(path: Path, records: list[bytes], compression: str) -> None:
    with RecordWriter(path, compression) as writer:
        for record in records:
            writer.write(record)


def block_lengths(path: Path) -> list[int]:
    """The uncompressed lengths of a SNAPPY file's blocks."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append(len(_native.snappy_decompress(data[at + 4 : at + 4 + size])))
        at += 4 + size
    return found


# --- TensorFlow and we ----------------------------------------------------------------------


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("case", CASES)
def test_tensorflow_reads_what_we_write(tmp_path: Path, case: str, compression: str) -> None:
    path = tmp_path / "records"
    write(path, CASES[case], compression)
    assert tf_support.read_records(path, snappy=compression == "snappy") == CASES[case]
    assert os.listdir(tmp_path) == ["records"]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("case", CASES)
def test_we_read_what_tensorflow_writes(tmp_path: Path, case: str, compression: str) -> None:
    path = tmp_path / "records"
    writers = {"plain": tf_support.write_plain, "snappy": tf_support.write_snappy}
    writers[compression](path, CASES[case])
    assert list(read_records(path, compression=compression)) == CASES[case]
    # The files tell themselves what they are, unless they are empty.
    assert list(read_records(path)) == CASES[case]
    assert list(read_records(path, compression="snappy")) == CASES[case]


def test_plain_files_are_those_of_tensorflow_byte_by_byte(tmp_path: Path) -> None:
    write(tmp_path / "ours", CASES["small"], "plain")
    tf_support.write_plain(tmp_path / "theirs", CASES["small"])
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_blocks_are_full_and_no_larger_than_tensorflow_reads(tmp_path: Path) -> None:
    path = tmp_path / "records"
    # More than is written at a time.
    records = some_records(4, 60, 400_000)
    total = len(ds.frame_starts(records)) and ds.frame_starts(records)[-1]
    write(path, records * 3, "snappy")
    lengths = block_lengths(path)
    assert lengths[:-1] == [BLOCK] * (3 * total // BLOCK)
    assert lengths[-1] == 3 * total % BLOCK
    assert list(read_records(path)) == records * 3


def test_frames_are_taken_as_they_are(tmp_path: Path) -> None:
    for compression in COMPRESSIONS:
        path = tmp_path / compression
        with RecordWriter(path, compression) as writer:
            writer.write(b"one")
            writer.write_framed(ds.frame(b"two", b"three"))
            writer.write_framed(b"")
        assert list(read_records(path)) == [b"one", b"two", b"three"]
    assert (tmp_path / "plain").read_bytes() == ds.frame(b"one", b"two", b"three")


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=100)), st.sampled_from(COMPRESSIONS))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, records: list[bytes], compression: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip"
    write(path, records, compression)
    assert list(read_records(path, compression=compression)) == records


# --- writing that fails ---------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_writer_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "records"
    path.write_bytes(b"old")

    def fail() -> None:
        with RecordWriter(path) as writer:
            writer.write(bytes(5 << 20))
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["records"]


def test_a_writer_that_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(WriteError) as caught, RecordWriter(tmp_path / "none" / "records"):
        pass
    assert caught.value.path == str(tmp_path / "none" / "records")


# --- reading --------------------------------------------------------------------------------


def test_literal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "records"
    write(path, [b"abc"], "plain")
    # The length and its masked CRC-32C, the data and theirs.
    assert path.read_bytes() == bytes.fromhex("0300000000000000 b099490e 616263 6e57f121")
    # An empty file holds no records, with or without compression.
    write(path, [], "snappy")
    assert path.read_bytes() == b""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_records_before_damage_come_first(tmp_path: Path, compression: str) -> None:
    records = [b"record %d" % number for number in range(2500)]
    path = tmp_path / "records"
    framed = bytearray(ds.frame(*records))
    start = ds.frame_starts(records)[2400]
    framed[start + 13] ^= 1
    path.write_bytes(framed if compression == "plain" else ds.snappy_blocks(framed, 5000))
    found: list[bytes] = []
    with pytest.raises(CorruptionError) as caught:
        found.extend(read_records(path))
    assert found == records[:2400]
    assert caught.value.kind == "bad_data_crc"
    assert caught.value.path == str(path)
    if compression == "plain":
        assert caught.value.offset == start
        assert str(caught.value) == (
            f"{path}: damaged: a record of 11 bytes fails its checksum, at byte {start};"
            " restore the file"
        )
    else:
        # The block as it is stored, and where in it.
        assert caught.value.offset is not None
        assert caught.value.offset < start
        assert f"(uncompressed byte {start}), in the SNAPPY block, at byte " in str(caught.value)


def header(length: int) -> bytes:
    stored = struct.pack("<Q", length)
    return stored + struct.pack("<I", ds.masked_crc32c(stored))


GOOD = ds.frame(b"good")


@pytest.mark.parametrize(
    ("data", "kind", "what"),
    [
        (
            b"x",
            "truncated_header",
            "not a TFRecord file, or cut short: it ends inside the first header, at byte 0",
        ),
        (
            b"no record file" * 9,
            "bad_length_crc",
            "not a TFRecord file, or damaged: the first length fails its checksum, at byte 0",
        ),
        (
            GOOD + bytes(40),
            "bad_length_crc",
            "damaged: the length of a record fails its checksum, at byte 20",
        ),
        (
            GOOD + header(2**60) + b"data",
            "record_too_long",
            "a record that claims to be 1152921504606846976 bytes long, where 67108864 are"
            " allowed, at byte 20",
        ),
        (
            GOOD + header(100) + b"data",
            "truncated_data",
            "cut short: the file ends inside a record of 100 bytes, at byte 20",
        ),
        (
            GOOD + ds.frame(b"bad!")[:-1] + b"!",
            "bad_data_crc",
            "damaged: a record of 4 bytes fails its checksum, at byte 20",
        ),
        (
            ds.snappy_blocks(GOOD) + b"\0\0\0\x09\x20",
            "truncated_block",
            "cut short: the file ends inside a SNAPPY block, at byte ",
        ),
        (
            ds.snappy_blocks(GOOD) + bytes(4) + ds.snappy_blocks(GOOD),
            "bad_block_length",
            "damaged: the lengths of a SNAPPY block make no sense, at byte ",
        ),
        (
            ds.snappy_blocks(GOOD) + b"\0\0\0\x04\x09\x01\x01\x01" + ds.snappy_blocks(GOOD),
            "bad_block",
            "damaged: a SNAPPY block does not decompress, at byte ",
        ),
    ],
)
def test_each_kind_of_damage(tmp_path: Path, data: bytes, kind: str, what: str) -> None:
    path = tmp_path / "records"
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        list(read_records(path))
    assert caught.value.kind == kind
    assert str(caught.value).startswith(f"{path}: {what}")
    hint = "restore the file"
    assert caught.value.hint == hint


def test_the_longest_record_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "records"
    write(path, [b"short", bytes(1000)], "plain")
    assert len(list(read_records(path, max_record_bytes=1000))) == 2
    with pytest.raises(CorruptionError, match="1000 bytes long, where 999 are allowed") as caught:
        list(read_records(path, max_record_bytes=999))
    assert caught.value.hint == "allow longer ones if records are meant to be so long"


def test_the_first_record(tmp_path: Path) -> None:
    path = tmp_path / "records"
    write(path, [b"first", b"second"], "plain")
    flip(path, 25)
    assert read_first_record(str(path)) == b"first"
    path.write_bytes(b"")
    assert read_first_record(str(path)) is None
    path.write_bytes(b"something else entirely")
    with pytest.raises(CorruptionError, match="not a TFRecord file"):
        read_first_record(str(path))
    path.unlink()
    with pytest.raises(PathNotFoundError):
        read_first_record(str(path))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(PathNotFoundError) as caught:
        list(read_records(path))
    assert str(caught.value) == f"{path}: no such file, or it was deleted meanwhile"
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PathNotFoundError):
        list(read_records(tmp_path / "file" / "below"))
    with pytest.raises(NotReadableError) as refused:
        list(read_records(tmp_path))
    assert str(refused.value) == f"{tmp_path}: not readable: not a regular file"
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotReadableError, match="not a regular file"):
        list(read_records(tmp_path / "pipe"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(NotReadableError, match="not readable: Permission denied"):
        list(read_records(path))


def test_names_of_any_bytes(tmp_path: Path) -> None:
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xc3\xa9 \xff"))
    with RecordWriter(path) as writer:
        writer.write(b"one")
    assert list(read_records(path)) == [b"one"]
    assert list(read_records(Path(path))) == [b"one"]


# --- DumpFile -------------------------------------------------------------------------------


def test_sizes(tmp_path: Path) -> None:
    framed = ds.frame(*CASES["small"])
    path = tmp_path / "records"
    path.write_bytes(ds.snappy_blocks(framed))
    file = DumpFile(str(path))
    assert file.stored_bytes == path.stat().st_size
    assert file.stream_bytes == len(framed)
    assert file.stored_bytes < file.stream_bytes
    assert repr(file) == f"DumpFile('{path}')"


def test_open_files_are_kept_but_not_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfrecord, "_OPEN_FILES", 3)
    files = []
    for number in range(5):
        path = tmp_path / f"records-{number}"
        path.write_bytes(GOOD * number)
        files.append(DumpFile(str(path)))
    opened = [file.open() for file in files]
    assert files[4].open() is opened[4]
    assert files[0].open() is not opened[0]
    # Used last, so others go first.
    kept = files[4].open()
    files[1].open()
    files[2].open()
    assert files[4].open() is kept
    assert [file.stream_bytes for file in files] == [0, 20, 40, 60, 80]


def test_a_file_that_was_closed_must_be_the_same_when_it_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(GOOD * 3)
    file = pickle.loads(pickle.dumps(DumpFile(str(path))))
    assert file.stored_bytes == 60
    # A pickle takes along how long the file was, but not the open file.
    sent = pickle.loads(pickle.dumps(file))
    assert (sent.path, sent.expected, sent.max_record_bytes) == (str(path), "plain", 64 << 20)
    path.write_bytes(GOOD * 2)
    with pytest.raises(ChangedWhileReadError) as caught:
        sent.open()
    assert (caught.value.path, caught.value.offset) == (str(path), 40)
    path.unlink()
    with pytest.raises(PathNotFoundError):
        pickle.loads(pickle.dumps(file)).open()


def test_check_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "records"
    path.write_bytes(GOOD)
    file = DumpFile(str(path))
    file.check_unchanged()
    with path.open("ab") as stream:
        stream.write(GOOD)
    with pytest.raises(ChangedWhileReadError, match="changed while it was read, at byte 20"):
        file.check_unchanged()
    path.unlink()
    with pytest.raises((ChangedWhileReadError, PathNotFoundError)):
        file.check_unchanged()


def change_after(path: Path, records: int, change: Callable[[], Any]) -> None:
    """Read records, and change the file after so many of them."""
    for number, _ in enumerate(read_records(path)):
        if number == records:
            change()


def test_a_file_that_changes_while_its_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "records"

    def grow() -> None:
        with path.open("ab") as stream:
            stream.write(GOOD)

    def replace() -> None:
        (tmp_path / "other").write_bytes(path.read_bytes())
        (tmp_path / "other").replace(path)

    for change, expected in (
        (lambda: os.truncate(path, 100_000), ChangedWhileReadError),
        (grow, ChangedWhileReadError),
        (replace, ChangedWhileReadError),
        (path.unlink, PathNotFoundError),
    ):
        write(path, [bytes(300)] * 3000, "plain")
        with pytest.raises(expected) as caught:
            change_after(path, 1000, change)
        assert caught.value.path == str(path)


def test_threads_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "records"
    records = some_records(5, 300, 5000)
    path.write_bytes(ds.snappy_blocks(ds.frame(*records), 3000))
    file = DumpFile(str(path), "snappy")
    found: dict[int, list[bytes]] = {}

    def read(number: int) -> None:
        opened = file.open()
        reader = _native.Reader(opened, 0, opened.stream_bytes)
        found[number] = reader.records(2**63)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(found.values()) == [records] * 4
