"""Files that end otherwise than TensorFlow makes believe: counted is what it gives to a job."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tf_support import tensorflow

from monolith_cli.formats.tfrecord import RecordWriter
from monolith_cli.iterators.content import OddEnd
from monolith_cli.iterators.records import FileKind, RecordCounter

RECORD_BYTES = 22
LINES = b"".join(b"line %d\n" % i for i in range(10))


@pytest.fixture
def ten(tmp_path: Path) -> bytes:
    """A file of ten records of six bytes, plain."""
    with RecordWriter(tmp_path / "ten", "plain") as writer:
        for i in range(10):
            writer.write(b"r%05d" % i)
    return (tmp_path / "ten").read_bytes()


def given(path: Path, kind: FileKind) -> int | None:
    """How many TensorFlow gives to a job; None if it ends with an error."""
    tf = tensorflow()
    make = {
        "TFRecord": tf.data.TFRecordDataset,
        "TextLine": tf.data.TextLineDataset,
        "FixedLengthRecord": lambda name, packed: tf.data.FixedLengthRecordDataset(
            name, 5, compression_type=packed
        ),
    }
    try:
        return sum(1 for _ in make[kind.reader](str(path), kind.compression))
    except tf.errors.DataLossError:
        return None


def counted(
    path: Path, content: bytes, kind: FileKind, offset: int | None = None
) -> tuple[int | None, OddEnd | None]:
    path.write_bytes(content)
    counter = RecordCounter()
    count = counter.count(str(path), kind, offset)
    return count.records, counter.odd_ends.get(str(path))


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "GZIP": gzip.compress,
    "ZLIB": zlib.compress,
}


def reader(name: str, compression: str) -> FileKind:
    return FileKind(name, compression, 5, 0, 0)


@pytest.mark.parametrize("offset", [None, 2 * RECORD_BYTES, 10 * RECORD_BYTES])
@pytest.mark.parametrize("left", [1, 11])
@pytest.mark.parametrize("compression", PACK)
def test_cut_inside_a_header(
    tmp_path: Path, ten: bytes, compression: str, left: int, offset: int | None
) -> None:
    path, kind = tmp_path / "part-0", reader("TFRecord", compression)
    records, odd = counted(path, PACK[compression](ten + ten[:left]), kind, offset)
    assert records == (10 if offset is None else offset // RECORD_BYTES)
    assert given(path, kind) == 10
    assert odd == OddEnd(str(path), "cut_header", 220, left, compression)
    where = "byte 220 of its content" if compression else "byte 220"
    assert f"cut inside the header of a record, at {where}:" in str(odd)


@pytest.mark.parametrize("compression", PACK)
def test_cut_inside_a_record(tmp_path: Path, ten: bytes, compression: str) -> None:
    """TensorFlow says so itself."""
    path, kind = tmp_path / "part-0", reader("TFRecord", compression)
    assert counted(path, PACK[compression](ten + ten[:12]), kind) == (None, None)
    assert given(path, kind) is None


def test_cut_inside_the_length_of_a_block(tmp_path: Path) -> None:
    path, kind = tmp_path / "part-0", reader("TFRecord", "SNAPPY")
    with RecordWriter(path, "snappy") as writer:
        for i in range(10):
            writer.write(b"r%05d" % i)
    records, odd = counted(path, path.read_bytes() + b"\0\0\0", kind)
    assert records == given(path, kind) == 10
    assert odd == OddEnd(str(path), "cut_stream", 220, None, "SNAPPY")


@pytest.mark.parametrize(
    ("name", "content", "count"),
    [("TFRecord", None, 10), ("TextLine", LINES, 10), ("FixedLengthRecord", b"12345" * 9, 9)],
)
def test_a_second_stream(tmp_path: Path, ten: bytes, name: str, content: Any, count: int) -> None:
    """Of a ZLIB file only the first is read; of a GZIP file all are."""
    content = ten if content is None else content
    path, packed = tmp_path / "part-0", zlib.compress(content)
    kind = reader(name, "ZLIB")
    records, odd = counted(path, packed + packed, kind)
    assert records == given(path, kind) == count
    assert odd == OddEnd(str(path), "unread_rest", len(content), len(packed), "ZLIB")
    assert f"the {len(packed)} bytes after it are never read" in str(odd)
    kind = reader(name, "GZIP")
    twice = counted(path, gzip.compress(content) * 2, kind)
    assert twice == (given(path, kind), None) == (2 * count, None)


def test_what_follows_a_zlib_stream_may_be_anything(tmp_path: Path, ten: bytes) -> None:
    path, kind = tmp_path / "part-0", reader("TFRecord", "ZLIB")
    records, odd = counted(path, zlib.compress(ten) + b"garbage", kind)
    assert records == given(path, kind) == 10
    assert odd is not None
    assert odd.rest_bytes == 7


def test_a_second_stream_ahead(tmp_path: Path, ten: bytes) -> None:
    """It is said as soon as it is near, and a place in it is none."""
    path, kind = tmp_path / "part-0", reader("TFRecord", "ZLIB")
    twice = zlib.compress(ten) * 2
    records, odd = counted(path, twice, kind, 3 * RECORD_BYTES)
    assert records == 3
    assert odd is not None
    assert odd.kind == "unread_rest"
    assert counted(path, twice, kind, 11 * RECORD_BYTES)[0] is None


@pytest.mark.parametrize(("compression", "cut"), [("GZIP", 8), ("ZLIB", 4)])
@pytest.mark.parametrize(("name", "content"), [("TFRecord", None), ("TextLine", LINES)])
def test_a_stream_without_its_end(
    tmp_path: Path, ten: bytes, name: str, content: Any, compression: str, cut: int
) -> None:
    path, kind = tmp_path / "part-0", reader(name, compression)
    content = ten if content is None else content
    records, odd = counted(path, PACK[compression](content)[:-cut], kind)
    assert records == given(path, kind) == 10
    assert odd == OddEnd(str(path), "cut_stream", len(content), None, compression)


@pytest.mark.parametrize("compression", [*PACK, "SNAPPY"])
def test_a_proper_end(tmp_path: Path, ten: bytes, compression: str) -> None:
    path = tmp_path / "part-0"
    if compression == "SNAPPY":
        with RecordWriter(path, "snappy") as writer:
            writer.write(b"one")
        packed, count = path.read_bytes(), 1
    else:
        packed, count = PACK[compression](ten), 10
    assert counted(path, packed, reader("TFRecord", compression)) == (count, None)
