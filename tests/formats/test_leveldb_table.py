"""LevelDB's tables, as TensorFlow writes them and as they could be."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import bundle_support as bs
import cramjam
import numpy as np
import pytest
import tf_support
from hypothesis import given
from hypothesis import strategies as st

from monolith_cli.errors import CorruptionError, NotReadableError, PathNotFoundError
from monolith_cli.formats import leveldb_table
from monolith_cli.formats.leveldb_table import format_table, read_table

ENTRIES = [(b"", b"header"), (b"a", b""), (b"a\0", b"x" * 300), (b"b/" * 50, b"y"), (b"\xff", b"z")]
maps = st.dictionaries(st.binary(max_size=20), st.binary(max_size=200), min_size=1, max_size=60)


def read(path: Path) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value, _ in read_table(path)]


def corruption(path: Path) -> CorruptionError:
    with pytest.raises(CorruptionError) as caught:
        read(path)
    assert caught.value.path == str(path)
    return caught.value


@pytest.mark.parametrize("snappy", [False, True], ids=["plain", "snappy"])
@pytest.mark.parametrize("block_entries", [1, 2, 40])
def test_blocks(tmp_path: Path, block_entries: int, snappy: bool) -> None:
    path = tmp_path / "t.index"
    path.write_bytes(bs.table_of(ENTRIES, block_entries=block_entries, snappy=snappy))
    assert read(path) == ENTRIES


@given(maps, st.integers(1, 70), st.booleans())
def test_any_table(
    tmp_path_factory: pytest.TempPathFactory,
    entries: dict[bytes, bytes],
    block_entries: int,
    snappy: bool,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.index"
    path.write_bytes(
        bs.table_of(sorted(entries.items()), block_entries=block_entries, snappy=snappy)
    )
    assert read(path) == sorted(entries.items())
    path.write_bytes(format_table(sorted(entries.items())))
    assert read(path) == sorted(entries.items())


def test_entries_come_with_the_place_of_their_block(tmp_path: Path) -> None:
    path = tmp_path / "t.index"
    path.write_bytes(bs.table_of(ENTRIES, block_entries=2))
    first = len(bs.stored(bs.block(ENTRIES[:2])))
    second = len(bs.stored(bs.block(ENTRIES[2:4])))
    assert [offset for _, _, offset in read_table(path)] == [
        0,
        0,
        first,
        first,
        first + second,
    ]


def test_tensorflow_reads_what_tests_build(tmp_path: Path) -> None:
    """Snappy blocks too, which it never writes there."""
    tf = tf_support.tensorflow()
    values = {f"layer/{number:04d}/kernel": tf.constant([number, 7]) for number in range(300)}
    bs.save(tmp_path / "m", values)
    entries = read(tmp_path / "m.index")
    for snappy in (False, True):
        bs.write_index(tmp_path / "m", bs.table_of(entries, snappy=snappy))
        reader = tf.train.load_checkpoint(str(tmp_path / "m"))
        assert reader.get_tensor("layer/0123/kernel").tolist() == [123, 7]
        assert len(reader.get_variable_to_shape_map()) == 300
        assert read(tmp_path / "m.index") == entries


def test_an_index_of_several_blocks_by_tensorflow(tmp_path: Path) -> None:
    tf = tf_support.tensorflow()
    names = [f"tower/{hashlib.sha256(bytes([n % 256, n // 256])).hexdigest()}" for n in range(4000)]
    value = tf.constant(np.float32(1))
    bs.save(tmp_path / "m", dict.fromkeys(names, value))
    assert os.path.getsize(tmp_path / "m.index") > 262144
    entries = list(read_table(tmp_path / "m.index"))
    assert len({offset for _, _, offset in entries}) > 1
    assert [key.decode() for key, _, _ in entries] == ["", *sorted(names)]


# ---- damage --------------------------------------------------------------------------------------


@pytest.mark.parametrize("snappy", [False, True], ids=["plain", "snappy"])
def test_a_flipped_bit_anywhere_is_seen_or_means_nothing(tmp_path: Path, snappy: bool) -> None:
    path = tmp_path / "t.index"
    good = bs.table_of(ENTRIES, block_entries=3, snappy=snappy)
    unseen, errors = set(), []
    for at in range(len(good)):
        for bit in (0, 3, 7):
            damaged = bytearray(good)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                assert read(path) == ENTRIES
                unseen.add(at)
            except CorruptionError as error:
                errors.append(error)
    for error in errors:
        assert error.path == str(path)
        assert error.offset is not None
        assert 0 <= error.offset < len(good)
    # Of the meta index nothing is read, nor of the padding behind what names the blocks.
    unread = good.index(bs.stored(bs.block([])))
    names = len(good) - 48
    assert unseen
    assert all(unread <= at < unread + 13 or names <= at < len(good) - 8 for at in unseen)


def test_a_table_that_is_cut_off_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "t.index"
    good = bs.table_of(ENTRIES, block_entries=2)
    for size in range(len(good)):
        path.write_bytes(good[:size])
        assert corruption(path).kind == "not_a_table"
    path.write_bytes(good + b"\0")
    assert corruption(path).kind == "not_a_table"


def test_blocks_that_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "t.index"
    good = bs.table_of(ENTRIES)
    for handle in (
        bs.varint(len(good)) + bs.varint(8),
        bs.varint(0) + bs.varint(2**62),
        bs.varint(2**63) + bs.varint(2**63),
        bs.varint(2**64 - 1) + bs.varint(1),
    ):
        footer = (bs.varint(0) + bs.varint(8) + handle).ljust(40, b"\0") + good[-8:]
        path.write_bytes(good[:-48] + footer)
        error = corruption(path)
        assert error.kind == "truncated_block"
        assert error.offset == len(good) - 48
        assert "which is not there" in str(error)
    path.write_bytes(good[:-48] + b"\xff" * 40 + good[-8:])
    assert corruption(path).kind == "not_a_table"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "without restart points"),
        (b"\0\0\0", "without restart points"),
        (b"\xff\xff\xff\xff", "more restart points"),
        (b"\0\0\0\0\2\0\0\0", "more restart points"),
        (b"\x80\x80\x80\0\0\0\0", "beyond the end"),  # an entry in the bytes of restart points
        (b"\5\1\0a" + bs.block([]), "beyond the end of its block"),  # shares what is not there
        (b"\0\x7f\0a" + bs.block([]), "beyond the end of its block"),
        (b"\0\1\x7fa" + bs.block([]), "beyond the end of its block"),
        (b"\0" + b"\xff" * 9 + b"\1\1" + bs.block([]), "beyond the end of its block"),
        (b"\0" + b"\xff" * 11 + bs.block([]), "more than ten bytes"),
    ],
)
def test_blocks_that_make_no_sense(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "t.index"
    good = bs.stored(bs.block([(b"", b"header")]))
    path.write_bytes(bs.table([good, bs.stored(content)], [b"", b"b"]))
    error = corruption(path)
    assert (error.kind, error.offset) == ("bad_block", len(good))
    assert what in str(error)


def test_a_block_of_an_unknown_type(tmp_path: Path) -> None:
    path = tmp_path / "t.index"
    path.write_bytes(bs.table([bs.stored(bs.block(ENTRIES), kind=2)], [b"\xff"]))
    error = corruption(path)
    assert (error.kind, error.offset) == ("bad_block", 0)
    assert "unknown type 2" in str(error)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not snappy",
        b"\xff\xff\xff\xff\x0f\0a",  # 4 GiB out of a byte
        b"\x80\x80\x80\x40" + bytes(20),  # 128 MiB
        bytes(cramjam.snappy.compress_raw(bytes(100)))[:-1],
    ],
)
def test_a_block_that_does_not_decompress(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.index"
    path.write_bytes(bs.table([bs.stored(content, kind=1)], [b"\xff"]))
    tracemalloc.start()
    error = corruption(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (error.kind, error.offset) == ("bad_block", 0)
    assert peak < 4 << 20


def test_keys_and_blocks_are_in_order(tmp_path: Path) -> None:
    path = tmp_path / "t.index"
    first, second = (bs.stored(bs.block([(key, b"")])) for key in (b"a", b"b"))
    path.write_bytes(bs.table([second, first], [b"a", b"b"]))
    assert "out of order" in str(corruption(path))
    path.write_bytes(bs.table([bs.stored(bs.block([(b"a", b""), (b"a", b"")], 1))], [b"b"]))
    assert "out of order" in str(corruption(path))
    # The same block again and again would be work without end.
    good = bs.stored(bs.block([]))
    index = bs.stored(bs.block([(bytes([i]), b"\0" + bs.varint(len(good) - 5)) for i in range(9)]))
    footer = (b"\0\0" + bs.varint(len(good)) + bs.varint(len(index) - 5)).ljust(40, b"\0")
    path.write_bytes(good + index + footer + bytes.fromhex("57fb808b247547db"))
    assert "blocks out of order" in str(corruption(path))


def test_keys_that_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four bytes each, but every key is as long as all before it together."""
    monkeypatch.setattr(leveldb_table, "MAX_KEYS_BYTES", 1 << 20)
    content = b"".join(bs.varint(n) + b"\1\0a" for n in range(4000)) + bs.block([])
    path = tmp_path / "t.index"
    path.write_bytes(bs.table([bs.stored(content)], [b"b"]))
    assert "too long" in str(corruption(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"")
    for path in (tmp_path / "gone", tmp_path / "t" / "t"):
        with pytest.raises(PathNotFoundError) as caught:
            read(path)
        assert caught.value.path == str(path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(NotReadableError, match="not a regular file"):
            read(path)
    path = tmp_path / "t"
    path.chmod(0)
    if not os.access(path, os.R_OK):
        with pytest.raises(NotReadableError):
            read(path)
