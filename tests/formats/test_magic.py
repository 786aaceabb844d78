"""Files of other formats, made by their own writers where Python has one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_support import Stored, write_bundle
from dump_support import frame, write_model_dir

from monolith_cli.checkpoint.dense import list_dense
from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.checkpoint.restart import read_override
from monolith_cli.errors import CorruptionError, StateFileError
from monolith_cli.formats.checkpoint_state import (
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)
from monolith_cli.formats.ckpt_info import read_ckpt_info
from monolith_cli.formats.leveldb_table import read_table
from monolith_cli.formats.magic import HEAD_BYTES, what_it_is, what_the_file_is
from monolith_cli.formats.tensor_bundle import TensorBundle
from monolith_cli.formats.tfrecord import read_first_record, read_records

FRAMED = frame(*[b"some record"] * 40)
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\n"
    b"oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
    b"size 12345\n"
)


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("t", data)
    return out.getvalue()


def tarred(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        entry = tarfile.TarInfo("t")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def array(data: bytes) -> bytes:
    out = io.BytesIO()
    np.save(out, np.frombuffer(data, np.uint8))
    return out.getvalue()


def database() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (a)")
        connection.commit()
        found: bytes = connection.serialize() if hasattr(connection, "serialize") else b""
    return found or b"SQLite format 3\0"


OTHERS = {
    "git-lfs": (POINTER, "a git-lfs pointer, not the file itself"),
    "gzip": (gzip.compress(FRAMED), "a gzip file"),
    "zstd": (bytes.fromhex("28b52ffd0458090000") + bytes(30), "a zstd file"),
    "zip": (zipped(FRAMED), "a zip archive"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
    "bzip2": (bz2.compress(FRAMED), "a bzip2 file"),
    "xz": (lzma.compress(FRAMED), "an xz file"),
    "lz4": (bytes.fromhex("04224d186440a7") + bytes(30), "an lz4 file"),
    "snappy": (b"\xff\x06\0\0sNaPpY" + bytes(30), "a snappy file in the framing format"),
    "tar": (tarred(FRAMED), "a tar archive"),
    "parquet": (b"PAR1\x15\x04\x15\x10" + bytes(30) + b"PAR1", "a parquet file"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(30), "an HDF5 file"),
    "NumPy": (array(FRAMED), "a NumPy file"),
    "SQLite": (database(), "an SQLite database"),
    "HTML": (b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html><body>404</body></html>\n", "an HTML page"),
    "HTML without a type": (b"<HTML>\n<head><title>Sign in</title></head>\n", "an HTML page"),
    "XML": (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "an XML document"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_formats(case: str) -> None:
    data, name = OTHERS[case]
    known = what_it_is(data[:HEAD_BYTES])
    assert known is not None
    assert known.name == name


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f", FRAMED, b'model_checkpoint_path: "model.ckpt-30"\n', b"version 1\n", bytes(600)],
)
def test_what_has_no_such_beginning(data: bytes) -> None:
    assert what_it_is(data) is None


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert what_the_file_is(str(tmp_path / "t")) is None
    assert what_the_file_is(str(tmp_path)) is None


READERS: dict[str, Callable[[str], object]] = {
    "plain": lambda path: list(read_records(path)),
    "snappy": lambda path: list(read_records(path, compression="snappy")),
    "first": read_first_record,
    "index": lambda path: list(read_table(path)),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", OTHERS)
def test_readers_name_them(tmp_path: Path, reader: str, case: str) -> None:
    path = tmp_path / "t"
    data, name = OTHERS[case]
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        READERS[reader](str(path))
    known = what_it_is(data)
    assert known is not None
    assert str(caught.value) == f"{path}: this is {name}; {known.remedy}"
    assert caught.value.kind == ("not_a_table" if reader == "index" else "not_records")


def test_records_that_begin_like_that_are_records(tmp_path: Path) -> None:
    """Only what does not parse is looked at."""
    path = tmp_path / "t"
    path.write_bytes(frame(b"PAR1", POINTER))
    assert list(read_records(path)) == [b"PAR1", POINTER]


def test_a_table_of_contents(tmp_path: Path) -> None:
    from monolith_cli import open_model_dir, open_tables

    assets = write_model_dir(tmp_path, multis={"M": {"a": [b""]}}, shards=1)
    (assets / "M.meta-00000-of-00001").write_bytes(POINTER)
    with pytest.raises(CorruptionError, match="this is a git-lfs pointer"):
        open_tables(open_model_dir(tmp_path).checkpoint())


TEXTS: dict[str, Callable[[Path], object]] = {
    "checkpoint": lambda path: read_checkpoint_state(str(path)),
    "monolith_checkpoint": lambda path: read_monolith_checkpoint_state(str(path)),
    "ckpt.info-20": read_ckpt_info,
    "ckpt.inputs-20": lambda path: read_step_inputs(str(path.parent), 20),
    "ckpt.override": lambda path: read_override(path.parent),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("case", OTHERS)
def test_readers_of_text_name_them(tmp_path: Path, name: str, case: str) -> None:
    path = tmp_path / name
    data, what = OTHERS[case]
    path.write_bytes(data)
    with pytest.raises(StateFileError) as caught:
        TEXTS[name](path)
    known = what_it_is(data)
    assert known is not None
    assert str(caught.value) == f"{path}: this is {what}; {known.remedy}"


LONG_POINTER = POINTER + b"x" * 900
PAGE = b"<!DOCTYPE html>\n<html><body>404</body></html>\n" * 40


@pytest.mark.parametrize("data", [POINTER, LONG_POINTER, PAGE])
def test_data_files_of_dense_variables(tmp_path: Path, data: bytes) -> None:
    """Too short for what the index says, or longer: the beginning says what it is."""
    from monolith_cli import open_model_dir

    write_bundle(tmp_path / "model.ckpt-20", {b"w": Stored(1, [64], bytes(256))})
    path = tmp_path / "model.ckpt-20.data-00000-of-00001"
    path.write_bytes(data)
    known = what_it_is(data)
    assert known is not None
    expected = f"{path}: this is {known.name}; {known.remedy}"
    (problem,) = list_dense(open_model_dir(tmp_path).checkpoint()).problems
    assert (str(problem), problem.kind) == (expected, "not_data")
    bundle = TensorBundle(tmp_path / "model.ckpt-20")
    with pytest.raises(CorruptionError) as caught:
        bundle.read(bundle.entries["w"])
    assert (str(caught.value), caught.value.kind) == (expected, "not_data")


def test_variables_that_begin_like_that_are_variables(tmp_path: Path) -> None:
    from monolith_cli import open_model_dir

    content = gzip.compress(FRAMED)
    write_bundle(tmp_path / "model.ckpt-20", {b"w": Stored(4, [len(content)], content)})
    assert list_dense(open_model_dir(tmp_path).checkpoint()).problems == []
    bundle = TensorBundle(tmp_path / "model.ckpt-20")
    assert bundle.read(bundle.entries["w"]) == content
