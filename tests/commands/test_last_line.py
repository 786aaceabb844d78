"""Under --json, what ends stderr is the error as JSON, whatever the command was doing.

Each run is a process of its own (a fork of one that has imported the commands), in Python's
development mode, where the interpreter is taken apart at the end: what a command leaves open is
reported there, behind our own last word.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import forked
import pytest
from dump_support import (
    frame,
    frame_starts,
    put_fixed64,
    put_floats,
    snappy_blocks,
    write_model_dir,
)

RECORDS = [put_fixed64(1, 3 << 48 | n) + b"".join(put_floats(2, [float(n)])) for n in range(300)]
FRAMED = frame(*RECORDS)
AT = frame_starts(RECORDS)[100]


def flipped(data: bytes, at: int) -> bytes:
    out = bytearray(data)
    out[at] ^= 8
    return bytes(out)


DAMAGE: dict[str, bytes] = {
    "data": flipped(FRAMED, AT + 14),
    "length": flipped(FRAMED, AT),
    "too long": FRAMED[:AT] + struct.pack("<Q", 2**60) + FRAMED[AT + 8 :],
    "no entry": FRAMED[:AT] + frame(b"\x09") + FRAMED[AT:],
    "cut": FRAMED[: AT + 20],
    "text": b"not a record in here\n" * 30,
}

BLOCKS: dict[str, Callable[[bytes], bytes]] = {
    "bad block": lambda stored: stored[:9] + b"\xff" * 9 + stored[18:],
    "cut block": lambda stored: stored[:-3],
}

COMMANDS = {
    "ckpt-info": ["ckpt-info", "--scan", "--json", "{}"],
    "show": ["ckpt", "show", "--json", "{}"],
    "ls": ["table", "ls", "--scan", "--json", "{}"],
    "ls of all steps": ["table", "ls", "--scan", "--step", "all", "--json", "{}"],
    "dump": ["table", "dump", "--json", "{}"],
    "page": ["table", "dump", "--json", "--limit", "1000", "--slot", "3", "{}"],
    "cursor": ["table", "dump", "--json", "--cursor", "--limit", "1000", "--offset", "1", "{}"],
    "get": ["table", "get", "--json", "{}", str(3 << 48), "17"],
}
SKIPPING = {"ckpt-info", "ls", "ls of all steps", "dump", "page", "cursor", "get"}


def last_line(command: list[str], model: Path) -> None:
    done = forked.command(*(word.format(model) for word in command))
    assert "Traceback" not in done.stderr
    assert "leaked" not in done.stderr
    assert "ResourceWarning" not in done.stderr
    if done.returncode == 0:
        assert done.stderr == ""
        return
    lines = done.stderr.splitlines()
    assert [line for line in lines if not line.startswith(("Error: ", "Warning: ", "Note: "))] == (
        lines[-1:]
    )
    assert lines[-2].startswith("Error: ")
    assert json.loads(lines[-1])["error"]["code"] == done.returncode
    assert done.stderr.endswith("\n")


def commands() -> list[object]:
    return [
        pytest.param([*words, *options], id=" ".join([name, *options]))
        for name, words in COMMANDS.items()
        for options in ([], ["--on-corrupt", "skip"])
        if not options or name in SKIPPING
    ]


@pytest.mark.parametrize("case", DAMAGE)
@pytest.mark.parametrize("command", commands())
def test_a_damaged_table(tmp_path: Path, command: list[str], case: str) -> None:
    write_model_dir(tmp_path, singles={"t": [], "u": [put_fixed64(1, 1)]}, shards=2)
    (tmp_path / "model.ckpt-300.assets" / "t-00001-of-00002").write_bytes(DAMAGE[case])
    last_line(command, tmp_path)


@pytest.mark.parametrize("case", ["data", "length", "cut", *BLOCKS, "contents"])
@pytest.mark.parametrize("command", commands())
def test_a_damaged_multi_table(tmp_path: Path, command: list[str], case: str) -> None:
    write_model_dir(tmp_path, multis={"M": {"u": RECORDS[:120], "v": RECORDS[120:]}}, shards=1)
    assets = tmp_path / "model.ckpt-300.assets"
    if case == "contents":
        path = assets / "M.meta-00000-of-00001"
        path.write_bytes(flipped(path.read_bytes(), 14))
    elif case in BLOCKS:
        path = assets / "M-00000-of-00001"
        path.write_bytes(BLOCKS[case](path.read_bytes()))
    else:
        (assets / "M-00000-of-00001").write_bytes(snappy_blocks(DAMAGE[case]))
    last_line(command, tmp_path)


@pytest.mark.parametrize("command", commands())
def test_a_missing_shard(tmp_path: Path, command: list[str]) -> None:
    write_model_dir(tmp_path, singles={"t": RECORDS}, shards=2)
    (tmp_path / "model.ckpt-300.assets" / "t-00001-of-00002").unlink()
    last_line(command, tmp_path)


@pytest.mark.parametrize(
    "options", [["--limit", "1000", "--slot", "0"], ["--limit", "2"], ["--offset", "7"]]
)
def test_nothing_damaged(tmp_path: Path, options: list[str]) -> None:
    """A page without a match left things open, too."""
    write_model_dir(tmp_path, singles={"t": RECORDS}, shards=2)
    done = forked.command("table", "dump", "--quiet", *options, tmp_path)
    assert "leaked" not in done.stderr
    assert len(done.stderr.splitlines()) == (done.returncode != 0)
