"""Counting the records of input files up to an offset."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pytest

from monolith_cli.formats.tfrecord import RecordWriter
from monolith_cli.iterators.records import Count, FileKind, RecordCounter

SIZES = [3, 0, 100, 5]
OFFSETS = [0, 19, 35, 151, 172]
"""Where records of these sizes begin: each has 16 bytes more. The last is the end."""

PLAIN = FileKind("TFRecord", "")
LINES = FileKind("TextLine", "")


def write_records(path: Path, compression: str = "plain") -> str:
    with RecordWriter(path, compression) as writer:
        for size in SIZES:
            writer.write(b"x" * size)
    return str(path)


def write(path: Path, content: bytes, compression: str = "") -> str:
    if compression == "GZIP":
        content = gzip.compress(content)
    elif compression == "ZLIB":
        content = zlib.compress(content)
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("compression", ["", "SNAPPY", "GZIP", "ZLIB", None])
def test_records_before_an_offset(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "part-0"
    write_records(path, "snappy" if compression == "SNAPPY" else "plain")
    if compression in ("GZIP", "ZLIB"):
        write(path, path.read_bytes(), compression)
    counter, kind = RecordCounter(), FileKind("TFRecord", compression)
    assert [counter.count(str(path), kind, at).records for at in OFFSETS] == [0, 1, 2, 3, 4]
    assert counter.count(str(path), kind) == Count(4)
    why = counter.count(str(path), kind, 40).why
    assert why == "no record of the file begins at that offset: it is another file"
    assert "ends" in (counter.count(str(path), kind, 5000).why or "")


def test_what_compression_it_is_can_be_seen(tmp_path: Path) -> None:
    content = Path(write_records(tmp_path / "plain")).read_bytes()
    twice = gzip.compress(content) + gzip.compress(content)
    (tmp_path / "gz").write_bytes(twice)
    kind = FileKind("TFRecord")
    assert RecordCounter().count(str(tmp_path / "gz"), kind) == Count(8)
    assert RecordCounter().count(str(tmp_path / "gz"), kind, 172) == Count(4)


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_lines(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "t", b"a\nbb\r\nccc\n\nlast", compression)
    counter, kind = RecordCounter(), FileKind("TextLine", compression)
    assert [counter.count(path, kind, at).records for at in (0, 2, 6, 10, 11, 15)] == [*range(6)]
    assert counter.count(path, kind) == Count(5)
    assert counter.count(path, kind, 4).records is None
    assert counter.count(path, kind, 99).why == "the file ends at byte 15, before that offset"


def test_records_of_a_fixed_length(tmp_path: Path) -> None:
    content = b"HH" + b"0123456789" * 3 + b"F"
    plain = write(tmp_path / "plain", content)
    small = write(tmp_path / "gz", content, "GZIP")
    counter, kind = RecordCounter(), FileKind("FixedLengthRecord", "", 5, 2, 1)
    assert [counter.count(plain, kind, at).records for at in (2, 7, 22, 32)] == [0, 1, 4, 6]
    assert counter.count(plain, kind) == Count(6)
    zipped = kind._replace(compression="GZIP")  # where the reader is ahead by the footer
    assert [counter.count(small, zipped, at).records for at in (8, 23, 33)] == [1, 4, 6]
    assert counter.count(small, zipped) == Count(6)
    assert counter.count(plain, kind, 9).why == "its records are not of the length that they had"
    unknown = FileKind("FixedLengthRecord")
    assert counter.count(plain, unknown, 7).why == "the length of its records is not known"


def test_an_empty_file(tmp_path: Path) -> None:
    path = write(tmp_path / "empty", b"")
    for kind in (PLAIN, LINES, FileKind("TFRecord")):
        assert RecordCounter().count(path, kind) == Count(0)
        assert RecordCounter().count(path, kind, 0) == Count(0)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    count = RecordCounter().count(str(tmp_path / "gone"), PLAIN, 19)
    assert count == Count(None, "the file is not there", is_absent=True)
    assert RecordCounter().count(str(tmp_path), PLAIN, 19).is_absent


KNOWN = ["/data/a/x", "/data/b/x", "c/x", "c/d/y", "s3://b/e/x", "s3://b/f/z", "file:///data/u", ""]


@pytest.mark.parametrize(
    ("path", "now"),
    [
        ("/data/a/x", "a/x"),
        ("/data/b/x", "b/x"),
        ("c/x", "x"),
        ("c/d/y", "d/y"),
        ("s3://b/e/x", "e/x"),
        ("s3://b/f/z", "f/z"),
        ("file:///data/u", "u"),
        ("/data/u", "u"),
        ("c/d/y", "y"),  # by its name, as no other has it
        ("gs://not/known", "known"),
        ("", None),
        ("/data/a/", None),
        ("c/e", None),
    ],
)
def test_files_of_several_sorts_that_have_moved(tmp_path: Path, path: str, now: str | None) -> None:
    if now is not None:
        (tmp_path / now).parent.mkdir(exist_ok=True)
        write_records(tmp_path / now)
    counter = RecordCounter(str(tmp_path), KNOWN)
    assert counter.place(path) == (None if now is None else str(tmp_path / now))
    count = counter.count(path, PLAIN, 19)
    assert count.is_absent == (now is None)
    assert count.records == (None if now is None else 1)


def test_a_file_of_another_size(tmp_path: Path) -> None:
    path = write_records(tmp_path / "part-0")
    counter = RecordCounter(sizes={path: 170})
    assert counter.count(path, PLAIN, 19).why == "the file had 170 bytes, and has 172"


@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_a_damaged_file(tmp_path: Path, compression: str) -> None:
    content = bytearray(Path(write_records(tmp_path / "part-0")).read_bytes())
    content[20] ^= 1  # of the second length
    path = write(tmp_path / "part-0", bytes(content), compression)
    count = RecordCounter().count(path, FileKind("TFRecord", compression), 151)
    assert count.records is None
    assert "damaged" in (count.why or "")
    broken = write(tmp_path / "part-1", gzip.compress(b"abc" * 99)[:-20], "")
    assert RecordCounter().count(broken, FileKind("TFRecord", "GZIP"), 19).records is None


class TestMoved:
    """Files that are no longer where the job had them."""

    def test_below_the_directory_that_held_all(self, tmp_path: Path) -> None:
        for day in ("mon", "tue"):
            (tmp_path / day).mkdir()
            write_records(tmp_path / day / "part-0")
        known = ["/data/mon/part-0", "/data/tue/part-0"]
        counter = RecordCounter(str(tmp_path), known)
        assert counter.place("/data/tue/part-0") == str(tmp_path / "tue/part-0")
        assert counter.count("/data/tue/part-0", PLAIN, 35) == Count(2)

    def test_by_their_names(self, tmp_path: Path) -> None:
        write_records(tmp_path / "part-1")
        counter = RecordCounter(str(tmp_path), ["/a/part-0", "/b/part-1"])
        assert counter.count("/b/part-1", PLAIN, 35) == Count(2)
        assert RecordCounter(str(tmp_path)).count("/c/part-1", PLAIN, 35) == Count(2)

    def test_but_not_by_a_name_that_two_have(self, tmp_path: Path) -> None:
        write_records(tmp_path / "part-0")
        counter = RecordCounter(str(tmp_path), ["/data/mon/part-0", "/data/tue/part-0"])
        assert counter.place("/data/tue/part-0") is None


def test_progress_is_told(tmp_path: Path) -> None:
    path = write_records(tmp_path / "part-0")
    seen: list[tuple[int, int]] = []
    RecordCounter(progress=lambda done, total: seen.append((done, total))).count(path, PLAIN)
    assert seen[-1] == (172, 172)


def test_a_file_is_counted_once(tmp_path: Path) -> None:
    path = write_records(tmp_path / "part-0")
    counter = RecordCounter()
    assert counter.count(path, PLAIN) == Count(4)
    Path(path).unlink()
    assert counter.count(path, PLAIN) == Count(4)
