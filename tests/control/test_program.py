"""Whether a program can be run, as a shell would find out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monolith_cli.control.program import find_program, start_program
from monolith_cli.errors import NotReadableError, PathNotFoundError


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, mode in (("a", 0o644), ("b", 0o755)):
        (tmp_path / name).mkdir()
        script(tmp_path / name / "tool", "#!/bin/sh\n", mode)
    (tmp_path / "a" / "folder").mkdir()
    monkeypatch.setenv("PATH", f"/none:{tmp_path}/a:{tmp_path}/b")
    assert find_program(["tool", "x"]) == (f"{tmp_path}/b/tool", ["tool", "x"])
    with pytest.raises(PathNotFoundError):
        find_program(["folder"])
    monkeypatch.setenv("PATH", f"{tmp_path}/a")
    with pytest.raises(NotReadableError, match="Permission denied"):
        find_program(["tool"])
    monkeypatch.chdir(tmp_path)
    assert find_program(["b/tool"]).path == "b/tool"
    with pytest.raises(PathNotFoundError):
        find_program(["b/none"])
    with pytest.raises(PathNotFoundError):
        find_program([""])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("#!/no/such/shell\n", "/no/such/shell"),
        ("#! \t/no/such/shell -e\n", "/no/such/shell"),
        ("#!/bin/sh\r\n", "/bin/sh\r"),  # written on Windows
    ],
)
def test_what_a_script_is_for(tmp_path: Path, line: str, name: str) -> None:
    path = script(tmp_path / "script", line)
    with pytest.raises(OSError, match=r".+"):
        os.execv(path, [str(path)])
    with pytest.raises(NotReadableError) as caught:
        find_program([str(path)])
    assert caught.value.what == f"a script for {name!r}, which is not there"


@pytest.mark.parametrize("line", ["#!/bin/sh\n", "#!/bin/sh -e\n", "#!\n", "exit 0\n", ""])
def test_scripts_that_can_be_run(tmp_path: Path, line: str) -> None:
    path = str(script(tmp_path / "script", line))
    program = find_program([path])
    assert program == (path, [path])
    assert start_program(program).wait(10) == 0


def test_what_only_the_attempt_tells(tmp_path: Path) -> None:
    path = tmp_path / "program"
    path.write_bytes(b"\x7fELF\0")
    path.chmod(0o755)
    program = find_program([str(path)])
    assert program.path == str(path)
    with pytest.raises(NotReadableError, match="Exec format error"):
        start_program(program)
    path.unlink()
    with pytest.raises(PathNotFoundError, match="not found"):
        start_program(program)
