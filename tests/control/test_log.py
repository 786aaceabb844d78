"""Reading control.log, whatever is in it."""

from __future__ import annotations

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
