"""What bad input gets: one line that names file and place, its exit code, and nothing written.

Every kind of damage goes through every command that reads entries, at its default and with
`--on-corrupt skip`.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli_support import MONOLITH, Done, call, environment
from dump_support import (
    frame,
    frame_starts,
    masked_crc32c,
    put_bytes,
    put_fixed64,
    put_floats,
    snappy_blocks,
    table_meta,
    write_checkpoint_state,
    write_hash_filter,
    write_model_dir,
)

SLOT_3 = 3 << 48
RECORDS = [put_fixed64(1, SLOT_3 | n) + b"".join(put_floats(2, [float(n)])) for n in range(12)]
FIDS = [SLOT_3 | n for n in range(12)]
FRAMED = frame(*RECORDS)
STARTS = frame_starts(RECORDS)

VICTIM = 5
START, END = STARTS[VICTIM], STARTS[VICTIM + 1]
BEFORE, BEHIND = FIDS[:VICTIM], FIDS[VICTIM + 1 :]

LAST_SHARD = "t-00001-of-00002"
COMMANDS = {
    "ckpt-info": ["ckpt-info"],
    "ls": ["table", "ls"],
    "dump": ["table", "dump"],
    "get": ["table", "get"],
}


def run(name: str, model: Path, *options: str, scan: bool = False) -> Done:
    """A command over all of a directory; `get` looks for all entries."""
    words = [*COMMANDS[name], "--json", *options]
    if scan and name in ("ckpt-info", "ls"):
        words.append("--scan")
    return call(*words, model, *(FIDS if name == "get" else []))


def fids(done: Done) -> list[int]:
    """The entries that were printed; every line must be valid JSON."""
    return [int(json.loads(line)["fid"]) for line in done.out.splitlines()]


def found(name: str, done: Done) -> int | list[int]:
    """What a command that went through to the end has found: fids, or how many entries."""
    if name == "ckpt-info":
        entries: int = done.document["entries"]
        return entries
    if name == "ls":
        return sum(int(table["entries"]) for table in done.document)
    return fids(done)


def names(directory: Path) -> list[str]:
    return sorted(str(path) for path in directory.rglob("*"))


def check_error(done: Done, path: Path, kind: str, offset: int | None, code: int = 4) -> str:
    """An error line and an error object that name the file and the place; returns the line."""
    *_, line, document = done.err.splitlines()
    assert done.code == code
    assert line.startswith(f"Error: {path}: ")
    if offset is not None:
        assert f", at byte {offset}" in line
    assert "Traceback" not in done.err
    error = json.loads(document)["error"]
    error.pop("absent", None)  # of 'get', where entries were read; test_table.py has it
    assert {"error": error} == {
        "error": {
            "code": code,
            "kind": kind,
            "message": line.removeprefix("Error: "),
            "file": str(path),
            "offset": offset,
        }
    }
    return line


# --- damaged records ------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    out = bytearray(data)
    out[at] ^= 8
    return bytes(out)


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
        "a record of 1 byte that is no EntryDump",
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
        b"not a record in here\n" * 30, "bad_length_crc", 0, "no TFRecord file, or damaged", [], []
    ),
    "short text": Damage(
        b"text\n", "truncated_header", 0, "no TFRecord file, or cut short", [], []
    ),
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Two tables; the first one's second file is there to be damaged."""
    directory = tmp_path / "model"
    write_model_dir(directory, singles={"t": [], "u": [put_fixed64(1, 1)]}, shards=2)
    return directory


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


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


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


@pytest.mark.parametrize("suffix", ["-00000-of-00001", ".meta-00000-of-00001"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_multi_table_of_another_format(multi: Path, name: str, suffix: str) -> None:
    path = multi / "model.ckpt-300.assets" / f"M{suffix}"
    path.write_bytes(POINTER)
    check_error(run(name, multi, scan=True), path, "not_records", None)


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


# --- multi tables ---------------------------------------------------------------------------

BLOCK = 100
BLOCKS = [snappy_blocks(FRAMED[at : at + BLOCK]) for at in range(0, len(FRAMED), BLOCK)]
BAD = 2
BAD_AT = sum(map(len, BLOCKS[:BAD]))
CONTENTS = {"u": RECORDS[:7], "v": RECORDS[7:]}


def outside(first: int, last: int) -> list[int]:
    """The entries with no byte in those blocks."""
    return [
        fid
        for index, fid in enumerate(FIDS)
        if STARTS[index + 1] <= first * BLOCK or STARTS[index] >= (last + 1) * BLOCK
    ]


def with_bad_block(block: bytes) -> bytes:
    return b"".join([*BLOCKS[:BAD], block, *BLOCKS[BAD + 1 :]])


LATER = BLOCKS[BAD]
SNAPPY = {
    "content": (
        with_bad_block(LATER[:5] + b"\xff" * (len(LATER) - 5)),
        ("bad_block", BAD_AT, "damaged: a SNAPPY block does not decompress"),
        outside(BAD, BAD),
    ),
    "block length of 0": (
        with_bad_block(bytes(4)),
        ("bad_block_length", BAD_AT, "damaged: the lengths of a SNAPPY block make no sense"),
        outside(BAD, BAD),
    ),
    "block length of 4 GB": (
        with_bad_block(b"\xff" * 4 + LATER[4:]),
        ("bad_block_length", BAD_AT, "damaged: the lengths of a SNAPPY block make no sense"),
        outside(BAD, BAD),
    ),
    "cut in a block": (
        b"".join(BLOCKS)[:-3],
        (
            "truncated_block",
            sum(map(len, BLOCKS[:-1])),
            "cut short: the file ends inside a SNAPPY block",
        ),
        outside(len(BLOCKS) - 1, len(BLOCKS) - 1),
    ),
    "cut in a block length": (
        b"".join(BLOCKS[:-1]) + BLOCKS[-1][:2],
        (
            "truncated_block",
            sum(map(len, BLOCKS[:-1])),
            "cut short: the file ends inside a SNAPPY block",
        ),
        outside(len(BLOCKS) - 1, len(BLOCKS) - 1),
    ),
    "record in a sound block": (
        b"".join(
            snappy_blocks(flipped(FRAMED, START + 14)[at : at + BLOCK])
            for at in range(0, len(FRAMED), BLOCK)
        ),
        (
            "bad_data_crc",
            len(BLOCKS[0]),
            f"damaged: a record of 14 bytes fails its checksum (uncompressed byte {START}), in the"
            " SNAPPY block",
        ),
        BEFORE + BEHIND,
    ),
    "text": (
        b"not a record in here\n" * 30,
        ("truncated_block", 0, "no SNAPPY TFRecord file, or cut short"),
        [],
    ),
}


@pytest.fixture
def multi(tmp_path: Path) -> Path:
    directory = tmp_path / "multi"
    write_model_dir(directory, multis={"M": CONTENTS}, shards=1)
    return directory


@pytest.mark.parametrize("case", SNAPPY)
@pytest.mark.parametrize("name", COMMANDS)
def test_snappy_damage(multi: Path, name: str, case: str) -> None:
    data, (kind, offset, says), rest = SNAPPY[case]
    path = multi / "model.ckpt-300.assets" / "M-00000-of-00001"
    path.write_bytes(data)
    there = names(multi)
    done = run(name, multi, scan=True)
    assert says in check_error(done, path, kind, offset)
    assert done.err.count("\n") == 2
    assert done.out == ""  # nobody knows where a table ends before the whole file was read

    done = run(name, multi, "--on-corrupt", "skip", scan=True)
    check_error(done, path, kind, offset)
    assert f"Warning: {path}: {says}" in done.err
    left = found(name, done)
    if isinstance(left, int):
        assert len(rest) <= left < len(FIDS)
    else:
        assert set(rest) <= set(left) < set(FIDS)
        assert len(left) == len(set(left))
    assert names(multi) == there


def test_tables_beside_a_damaged_block(multi: Path) -> None:
    path = multi / "model.ckpt-300.assets" / "M-00000-of-00001"
    path.write_bytes(SNAPPY["content"][0])
    done = run("dump", multi, "--on-corrupt", "skip")
    rows = [json.loads(line) for line in done.out.splitlines()]
    table_of = {int(row["fid"]): row["table"] for row in rows}
    expected = {fid: "u" if fid in FIDS[:7] else "v" for fid in table_of}
    assert table_of == expected  # known from both ends


@pytest.mark.parametrize("name", COMMANDS)
def test_fewer_entries_than_promised(multi: Path, name: str) -> None:
    path = multi / "model.ckpt-300.assets" / "M-00000-of-00001"
    path.write_bytes(snappy_blocks(frame(*RECORDS[:9])))
    there = names(multi)
    done = run(name, multi, scan=True)
    size = path.stat().st_size
    line = check_error(done, path, "too_few_records", size)
    assert "ends after 9 of the 12 records that its table of contents promises" in line
    assert (done.out, done.err.count("\n")) == ("", 2)

    done = run(name, multi, "--on-corrupt", "skip", scan=True)
    check_error(done, path, "too_few_records", size)
    left = found(name, done)
    assert left == 9 if isinstance(left, int) else sorted(left) == FIDS[:9]
    assert names(multi) == there
    # By the table of contents alone nobody sees it, and the output says that nobody looked.
    done = call("ckpt-info", "--dry-run", multi)
    assert done.code == 0
    assert "not verified: 2 tables counted by the tables of contents" in done.out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("options", [[], ["--on-corrupt", "skip"]])
def test_more_entries_than_promised(multi: Path, name: str, options: list[str]) -> None:
    path = multi / "model.ckpt-300.assets" / "M-00000-of-00001"
    path.write_bytes(snappy_blocks(frame(*RECORDS, RECORDS[0], put_fixed64(1, 1))))
    done = run(name, multi, *options, scan=True)
    assert done.code == 0
    note = (
        "Note: no ckpt.info was written: records that no table of contents promises were left out"
        " of the counts\n"
    )
    assert done.err == (note if name == "ckpt-info" else "") + (
        f"Warning: {path}: 2 records more than its table of contents promises; left out\n"
    )
    left = found(name, done)
    assert left == 12 if isinstance(left, int) else sorted(left) == FIDS
    if name == "ckpt-info":
        assert done.document["slot_counts"] == {"3": 12}


@pytest.mark.parametrize(
    ("data", "kind", "place"),
    [
        (flipped(frame(table_meta("u", 12)), 14), "bad_data_crc", ", at byte 0"),
        (frame(table_meta("u", 12))[:-3], "truncated_data", ", at byte 0"),
        (frame(b"\xff"), "bad_message", " (record 0)"),
        (b"text\n" * 10, "bad_length_crc", ", at byte 0"),
    ],
)
def test_damaged_table_of_contents(multi: Path, data: bytes, kind: str, place: str) -> None:
    path = multi / "model.ckpt-300.assets" / "M.meta-00000-of-00001"
    path.write_bytes(data)
    for name in COMMANDS:
        for options in ([], ["--on-corrupt", "skip"]):
            done = run(name, multi, *options)
            assert (done.code, done.error["kind"], done.error["file"]) == (4, kind, str(path))
            assert not found(name, done)
            assert f"{place}; restore it: without it nobody knows which" in done.error["message"]


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


# --- directories ----------------------------------------------------------------------------


def remove(name: str) -> Any:
    return lambda model: (model / "model.ckpt-300.assets" / name).unlink()


def add(name: str) -> Any:
    return lambda model: (model / "model.ckpt-300.assets" / name).write_bytes(b"")


@pytest.mark.parametrize(
    ("change", "name", "kind", "says"),
    [
        (
            remove("t-00001-of-00002"),
            "t-00001-of-00002",
            "missing_shard",
            "missing: 1 of 2 shards are there; restore it, or take another step",
        ),
        (
            add("t-00000-of-00001"),
            "t-00000-of-00002",
            "shard_mismatch",
            "two totals: 't-00000-of-00001' is there as well; move away what is left over from"
            " another dump",
        ),
        (
            add("t-00002-of-00002"),
            "t-00002-of-00002",
            "shard_mismatch",
            "numbers begin at 0: shard 2 is not one of 2; move it away",
        ),
        (
            add("m.meta-00000-of-00001"),
            "m-00000-of-00001",
            "missing_shard",
            "missing, while its 'm.meta' is there; restore it, or take another step",
        ),
    ],
)
def test_sets_that_are_not_whole(model: Path, change: Any, name: str, kind: str, says: str) -> None:
    change(model)
    path = model / "model.ckpt-300.assets" / name
    there = names(model)
    for command in COMMANDS:
        for options in ([], ["--on-corrupt", "skip"]):
            done = run(command, model, *options)
            assert check_error(done, path, kind, None) == f"Error: {path}: {says}"
            # The one entry of the other table.
            assert found(command, done) == {"get": [], "dump": [1]}.get(command, 1)
    assert names(model) == there


def test_files_that_a_dying_writer_left(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    (assets / "t-00000-of-00002-tmp-1f2e").write_bytes(b"half a")
    (assets / "t-tmp-77").write_bytes(b"file")
    for name, entries in {"ckpt-info": 1, "ls": 1, "dump": [1]}.items():
        done = run(name, model)
        assert (done.code, found(name, done)) == (0, entries)
        assert done.err == "".join(
            f"Warning: {assets}/{leftover}: the training system takes it for a shard of 't', and"
            " cannot restore that table; remove this file\n"
            for leftover in ("t-00000-of-00002-tmp-1f2e", "t-tmp-77")
        )


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda path: path.mkdir(), "not_found", "an empty directory; give a model directory, "),
        (lambda path: path.touch(), "not_found", "a file in place of a directory; give the dir"),
        (lambda path: None, "not_found", "no such directory; give a model directory, one *.ass"),
    ],
)
def test_nothing_there(tmp_path: Path, make: Any, kind: str, says: str) -> None:
    path = tmp_path / "x"
    make(path)
    for name in COMMANDS:
        done = run(name, path)
        assert says in check_error(done, path, kind, None, code=3)
        assert done.out == ""


def test_no_such_step_or_table(model: Path) -> None:
    assets = model / "model.ckpt-300.assets"
    for name in COMMANDS:
        done = run(name, model, "--step", "299")
        line = check_error(done, model, "no_such_step", None, code=3)
        assert line == f"Error: {model}: no step 299; the steps are 300"
        done = run(name, model, "--table", "x*")
        line = check_error(done, assets, "no_such_table", None, code=3)
        assert "no table matches 'x*'" in line


def test_a_step_that_is_gone(model: Path) -> None:
    write_checkpoint_state(model, [300, 400])
    for name in COMMANDS:
        done = run(name, model)
        line = check_error(done, model / "checkpoint", "no_such_step", None, code=3)
        assert line.endswith(
            "names 'model.ckpt-400' as the latest, whose files are gone; the steps are 300"
        )
        done = run(name, model, "--step", "400")
        line = check_error(done, model / "checkpoint", "no_such_step", None, code=3)
        assert "names 'model.ckpt-400' as the latest, whose files are gone" in line
    assert run("ckpt-info", model, "--step", "300").document["entries"] == 1


# --- writing, signals, pipes ----------------------------------------------------------------


def test_counts_are_shown_when_they_cannot_be_written(tmp_path: Path) -> None:
    model = tmp_path / "model"
    write_model_dir(model, singles={"t": [put_fixed64(1, slot << 48) for slot in range(300)]})
    path = model / "ckpt.info-300"
    path.write_text("old")
    there = names(model)
    done = subprocess.run(
        [
            "bash",
            "-c",
            f"ulimit -f 2; exec {MONOLITH} ckpt-info --json --force {model} | cat;"
            " exit ${PIPESTATUS[0]}",
        ],
        check=False,
        capture_output=True,
        text=True,
        env=environment(),
    )
    document = json.loads(done.stdout)
    assert (document["entries"], document["written"]) == (300, None)
    check_error(
        Done(done.returncode, done.stdout, done.stderr), path, "file_too_large", None, code=3
    )
    assert done.stderr.startswith(f"Error: {path}: not written: File too large")
    assert path.read_text() == "old"
    assert names(model) == there


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose entries take a while to print."""
    directory = tmp_path_factory.mktemp("endless") / "model"
    write_model_dir(directory, singles={"t": []}, shards=1)
    path = directory / "model.ckpt-300.assets" / "t-00000-of-00001"
    with path.open("wb") as file:
        for _ in range(100):
            file.write(FRAMED * 2000)
    return directory


@pytest.mark.parametrize(
    ("signum", "code", "kind"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_rows_before_a_signal(endless: Path, signum: int, code: int, kind: str) -> None:
    process = subprocess.Popen(
        [MONOLITH, "table", "dump", "--json", "--columns", "fid", endless],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    first = process.stdout.readline()  # it is in the middle now, and waits for its reader
    os.killpg(process.pid, signum)
    *rows, last = [first, *process.stdout.read().splitlines()]
    assert process.wait(20) == code
    assert all(list(json.loads(row)) == ["fid"] for row in rows)
    assert b'{"fid":"8444249301319'.startswith(last[:21])  # it may have been cut
    line, document = process.stderr.read().decode().splitlines()
    process.stdout.close()
    process.stderr.close()
    assert line == f"Error: {kind}"
    assert json.loads(document)["error"]["code"] == code


@pytest.mark.parametrize("command", ["ckpt-info --dry-run", "table ls", "table dump"])
def test_closed_pipe(model: Path, command: str) -> None:
    # `true` reads nothing; short outputs fail only when they are flushed.
    script = f"set -o pipefail; {{ sleep 0.1; {MONOLITH} {command} {model}; }} | true"
    done = subprocess.run(
        ["bash", "-c", script], check=False, capture_output=True, text=True, env=environment()
    )
    assert (done.returncode, done.stderr) == (141, "")
