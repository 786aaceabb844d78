"""What damaged multi tables get, as test_bad_input has it of single ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bad_input_support import (
    BEFORE,
    BEHIND,
    COMMANDS,
    FIDS,
    FRAMED,
    POINTER,
    RECORDS,
    START,
    STARTS,
    check_error,
    flipped,
    found,
    names,
    run,
)
from cli_support import call
from dump_support import (
    frame,
    put_fixed64,
    snappy_blocks,
    table_meta,
    write_model_dir,
)


@pytest.mark.parametrize("suffix", ["-00000-of-00001", ".meta-00000-of-00001"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_multi_table_of_another_format(multi: Path, name: str, suffix: str) -> None:
    path = multi / "model.ckpt-300.assets" / f"M{suffix}"
    path.write_bytes(POINTER)
    check_error(run(name, multi, scan=True), path, "not_records", None)


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
        ("truncated_block", 0, "not a SNAPPY TFRecord file, or cut short"),
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
    assert "ends after 9 of the 12 records that its contents file promises" in line
    assert (done.out, done.err.count("\n")) == ("", 2)

    done = run(name, multi, "--on-corrupt", "skip", scan=True)
    check_error(done, path, "too_few_records", size)
    left = found(name, done)
    assert left == 9 if isinstance(left, int) else sorted(left) == FIDS[:9]
    assert names(multi) == there
    # By the contents file alone nobody sees it, and the output says that nobody looked.
    done = call("ckpt-info", "--dry-run", multi)
    assert done.code == 0
    assert "not verified: 2 tables counted by the contents files" in done.out


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("options", [[], ["--on-corrupt", "skip"]])
def test_more_entries_than_promised(multi: Path, name: str, options: list[str]) -> None:
    path = multi / "model.ckpt-300.assets" / "M-00000-of-00001"
    path.write_bytes(snappy_blocks(frame(*RECORDS, RECORDS[0], put_fixed64(1, 1))))
    done = run(name, multi, *options, scan=True)
    assert done.code == 0
    note = (
        "Note: no ckpt.info was written: records that no contents file promises were left out"
        " of the counts\n"
    )
    assert done.err == (note if name == "ckpt-info" else "") + (
        f"Warning: {path}: 2 records more than its contents file promises; left out\n"
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
