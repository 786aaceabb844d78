"""Reading control.log, whatever is in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from monolith_cli.control.log import KEYS, read_log
from monolith_cli.errors import NotReadableError, PathNotFoundError


def test_lines_that_are_none_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "control.log"
    path.write_bytes(b'{"method": "A"}\n{"method": "B"\n\n\xff\n3\n{"method": "C", "x": 1}')
    entries = read_log(tmp_path)
    assert [entry["method"] for entry in entries] == ["A", "C"]
    assert all(tuple(entry) == KEYS for entry in entries)
    assert [entry["method"] for entry in read_log(tmp_path, 1)] == ["C"]


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError, match="nobody has asked"):
        read_log(tmp_path)
    with pytest.raises(PathNotFoundError, match="not there"):
        read_log(tmp_path / "none")
    (tmp_path / "control.log").mkdir()
    with pytest.raises(NotReadableError):
        read_log(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "control.log")
    with pytest.raises(NotReadableError, match="not a regular file"):
        read_log(tmp_path)


def test_those_refused_do_not_push_out_others(tmp_path: Path) -> None:
    def line(method: str | None, result: str) -> str:
        return json.dumps({"method": method, "result": result}) + "\n"

    refused = [
        line("1", "a wrong token"),
        line("2", "this job takes orders only with its token"),
        line("3", "this job has no token, and so takes no orders: none could be kept secret"),
        line(None, "712 more calls refused within a minute"),
    ]
    with open(tmp_path / "control.log", "w") as file:
        file.write(line("A", "done"))
        file.writelines(refused)
        file.write(line("B", "the barrier was placed by ann 0 s ago: a wrong token"))
        file.writelines(refused * 50)
    methods = [entry["method"] for entry in read_log(tmp_path, 2)]
    assert methods == ["A", "B", "3", None]
    assert len(read_log(tmp_path)) == 206
