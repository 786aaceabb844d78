"""Directories that are damaged in one place, and commands over all of their entries."""

from __future__ import annotations

import json
from pathlib import Path

from cli_support import Done, call
from dump_support import (
    frame,
    frame_starts,
    put_fixed64,
    put_floats,
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


def flipped(data: bytes, at: int) -> bytes:
    out = bytearray(data)
    out[at] ^= 8
    return bytes(out)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"


def two_tables(directory: Path) -> Path:
    """A model directory; the first table's second file is there to be damaged."""
    write_model_dir(directory, singles={"t": [], "u": [put_fixed64(1, 1)]}, shards=2)
    return directory
