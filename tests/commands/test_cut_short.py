"""Commands that are cut short: by a full disk, a signal, a reader that has gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from bad_input_support import FRAMED, check_error, names, two_tables
from cli_support import MONOLITH, Done, environment
from dump_support import (
    put_fixed64,
    write_model_dir,
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return two_tables(tmp_path / "model")


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
