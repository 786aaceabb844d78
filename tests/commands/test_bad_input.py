"""What bad input gets: one line that names file and place, its exit code, and nothing written.

Every kind of damage goes through every command that reads entries, at its default and with
`--on-corrupt skip`.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import pytest
from bad_input_support import (
    BEFORE,
    BEHIND,
    COMMANDS,
    END,
    FIDS,
    FRAMED,
    LAST_SHARD,
    POINTER,
    RECORDS,
    START,
    STARTS,
    check_error,
    fids,
    flipped,
    found,
    names,
    run,
    two_tables,
)
from cli_support import call
from dump_support import (
    frame,
    masked_crc32c,
    put_bytes,
    put_fixed64,
    write_hash_filter,
)

# --- damaged records ------------------------------------------------------------------------


def header(length: int) -> bytes:
    data = struct.pack("<Q", length)
    return data + struct.pack("<I", masked_crc32c(data))


class Damage(NamedTuple):
    """A damaged file, and what is said of it."""

    data: bytes
    kind: str
    offset: int
    says: str
    before: list[int]
    behind: list[int]


def damage(data: bytes, kind: str, says: str) -> Damage:
    return Damage(data, kind, START, says, BEFORE, BEHIND)


def cut(size: int, kind: str, says: str) -> Damage:
    return Damage(FRAMED[: START + size], kind, START, says, BEFORE, [])


PLAIN = {
    "length": damage(
        flipped(FRAMED, START), "bad_length_crc", "damaged: the length of a record fails"
    ),
    "length checksum": damage(
        flipped(FRAMED, START + 9), "bad_length_crc", "damaged: the length of a record fails"
    ),
    "data": damage(
        flipped(FRAMED, START + 14), "bad_data_crc", "damaged: a record of 14 bytes fails"
    ),
    "data checksum": damage(
        flipped(FRAMED, END - 1), "bad_data_crc", "damaged: a record of 14 bytes fails"
    ),
    "length of 2^60": damage(
        FRAMED[:START] + header(2**60) + FRAMED[START + 12 :],
        "record_too_long",
        "a record that claims to be 1152921504606846976 bytes long, where 67108864 are allowed",
    ),
    "no entry": damage(
        FRAMED[:START] + frame(b"\x09") + FRAMED[END:],
        "bad_message",
        "a record of 1 byte that is not an EntryDump",
    ),
    "cut in a length": cut(3, "truncated_header", "cut short: the file ends inside the header"),
    "cut in a length checksum": cut(
        10, "truncated_header", "cut short: the file ends inside the header"
    ),
    "cut before data": cut(12, "truncated_data", "cut short: the file ends inside a record of 14"),
    "cut in data": cut(20, "truncated_data", "cut short: the file ends inside a record of 14"),
    "cut before a data checksum": cut(
        26, "truncated_data", "cut short: the file ends inside a record of 14"
    ),
    "cut in a data checksum": cut(
        29, "truncated_data", "cut short: the file ends inside a record of 14"
    ),
    "text": Damage(
        b"not a record in here\n" * 30,
        "bad_length_crc",
        0,
        "not a TFRecord file, or damaged",
        [],
        [],
    ),
    "short text": Damage(
        b"text\n", "truncated_header", 0, "not a TFRecord file, or cut short", [], []
    ),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return two_tables(tmp_path / "model")


def spoil(model: Path, data: bytes) -> Path:
    path = model / "model.ckpt-300.assets" / LAST_SHARD
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("case", PLAIN)
@pytest.mark.parametrize("name", COMMANDS)
def test_damage(model: Path, name: str, case: str) -> None:
    data, kind, offset, says, before, _ = PLAIN[case]
    path = spoil(model, data)
    there = names(model)
    done = run(name, model)
    assert says in check_error(done, path, kind, offset)
    assert done.err.count("\n") == 2
    assert fids(done) == before if name == "dump" else done.out == ""
    assert names(model) == there
    # One line for people.
    done = call(*COMMANDS[name], model, *(FIDS if name == "get" else []))
    assert (done.code, done.err.count("\n")) == (4, 1)
    assert done.err.startswith(f"Error: {path}: {says}")


@pytest.mark.parametrize("case", PLAIN)
@pytest.mark.parametrize("name", COMMANDS)
def test_damage_skipped(model: Path, name: str, case: str) -> None:
    data, kind, offset, says, before, behind = PLAIN[case]
    path = spoil(model, data)
    there = names(model)
    done = run(name, model, "--on-corrupt", "skip")
    check_error(done, path, kind, offset)
    [warning] = [line for line in done.err.splitlines() if line.startswith(f"Warning: {path}: ")]
    assert says in warning
    assert f", at byte {offset}; " in warning
    assert warning.endswith(" left out")
    left = before + behind
    expected = {
        "ckpt-info": len(left) + 1,
        "ls": len(left) + 1,
        "dump": [*left, 1],
        "get": left,
    }
    assert found(name, done) == expected[name]
    assert names(model) == there


@pytest.mark.parametrize("name", COMMANDS)
def test_a_file_of_another_format(model: Path, name: str) -> None:
    path = spoil(model, POINTER)
    there = names(model)
    line = check_error(run(name, model), path, "not_records", None)
    # Nobody is told to read around what is not there at all.
    assert line == (
        f"Error: {path}: this is a git-lfs pointer, not the file itself;"
        " fetch the file, with 'git lfs pull' for example"
    )
    done = run(name, model, "--on-corrupt", "skip")
    check_error(done, path, "not_records", None)
    assert (
        f"Warning: {path}: this is a git-lfs pointer, not the file itself; left out\n" in done.err
    )
    assert names(model) == there


def test_what_a_damaged_record_costs(model: Path) -> None:
    spoil(model, PLAIN["data"].data)
    assert "; 1 record left out\n" in run("dump", model, "--on-corrupt", "skip").err
    spoil(model, PLAIN["text"].data)
    assert "; 630 B of records left out\n" in run("dump", model, "--on-corrupt", "skip").err


def test_advice(model: Path) -> None:
    spoil(model, PLAIN["data"].data)
    assert (
        run("dump", model)
        .error["message"]
        .endswith("; restore the file, or read around the damage with --on-corrupt skip")
    )
    # Nobody means records of 2^60 bytes, but some may mean 100 MiB.
    spoil(model, PLAIN["length of 2^60"].data)
    assert "--max-record-bytes" not in run("dump", model).err
    spoil(model, FRAMED[:START] + header(100 << 20) + FRAMED[START + 12 :])
    assert "; raise --max-record-bytes if" in run("dump", model).err


def test_the_cap_on_records(model: Path) -> None:
    path = spoil(model, frame(*RECORDS, put_fixed64(1, 1) + put_bytes(99, bytes(4000))))
    assert run("ckpt-info", model).document["entries"] == 14
    done = run("ckpt-info", model, "--max-record-bytes", "4k")
    assert done.code == 0
    done = run("ckpt-info", model, "--max-record-bytes", "4000")
    check_error(done, path, "record_too_long", STARTS[-1])


def test_several_damaged_places(model: Path) -> None:
    path = spoil(model, flipped(flipped(FRAMED, STARTS[2] + 14), START + 14))
    done = run("ckpt-info", model, "--on-corrupt", "skip")
    assert done.document["skipped"] == [
        {"file": str(path), "kind": "bad_data_crc", "offset": STARTS[2]},
        {"file": str(path), "kind": "bad_data_crc", "offset": START},
    ]
    assert done.err.count("Warning: ") == 2
    assert done.error["message"].endswith(f"{STARTS[2]}; skipped, like 1 more damaged place")
    assert call("ckpt-info", "--quiet", "--on-corrupt", "skip", model).err.count("\n") == 1


def test_checksums_of_data_can_be_left_unchecked(model: Path) -> None:
    spoil(model, PLAIN["data checksum"].data)
    done = run("dump", model, "--no-verify")
    assert (done.code, fids(done)) == (0, [*FIDS, 1])


def test_damaged_hash_filter(model: Path) -> None:
    path, _ = write_hash_filter(model / "model.ckpt-300.assets")
    path.write_bytes(flipped(path.read_bytes(), 14))
    done = run("ckpt-info", model)
    check_error(done, path, "bad_data_crc", 0)
    assert done.out == ""
    done = run("ckpt-info", model, "--on-corrupt", "skip")
    check_error(done, path, "bad_data_crc", 0)
    assert done.document["entries"] == 1
    assert "hash_filters" not in done.document
    assert done.document["written"] is None
