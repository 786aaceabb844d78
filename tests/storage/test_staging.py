"""Sets of files that are staged, and moved into place."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from monolith_cli.errors import WriteError
from monolith_cli.storage.staging import move_files, staging_directory, sweep, sync_files


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def write(directory: str, *files: str) -> None:
    for name in files:
        Path(directory, name).write_text(name)


def stage_and_move(directory: Path) -> None:
    with staging_directory(str(directory / ".tmp")) as staging:
        write(staging, "a", "b")
        move_files(staging, str(directory), ["a", "b"])


def test_files_are_moved_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b").write_text("an older one")
    seen: list[str] = []
    replace, fsync = os.replace, os.fsync

    def replaced(source: str, target: str) -> None:
        seen.append(f"move {os.path.basename(target)}")
        replace(source, target)

    def synced(file: int) -> None:
        seen.append(f"sync {os.path.basename(os.readlink(f'/proc/self/fd/{file}'))}")
        fsync(file)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "fsync", synced)
    with staging_directory(str(tmp_path / ".tmp")) as staging:
        write(staging, "a", "b", "left")
        sync_files(staging, ["a", "b"])
        move_files(staging, str(tmp_path), ["b", "a"])
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "b").read_text() == "b"
    assert seen == ["sync a", "sync b", "move b", "move a"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "b" / "in the way").mkdir(parents=True)
    with pytest.raises(WriteError) as caught:
        stage_and_move(tmp_path)
    assert names(tmp_path) == ["b"]
    assert (caught.value.errno, caught.value.path) == (errno.EISDIR, str(tmp_path))


def test_an_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = os.replace

    def interrupted(source: str, target: str) -> None:
        if target.endswith("b"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage_and_move(tmp_path)
    assert names(tmp_path) == []


def test_what_the_killed_leave_is_swept(tmp_path: Path) -> None:
    for name in (".model-1.tmp", ".model-2.tmp", ".other-1.tmp", ".model-3.part"):
        (tmp_path / name / "below").mkdir(parents=True)
    sweep(str(tmp_path), ".model-", ".tmp")
    assert names(tmp_path) == [".model-3.part", ".other-1.tmp"]
    sweep(str(tmp_path / "none"), ".", "")


def test_a_staging_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(WriteError, match="directory not made"),
        staging_directory(str(tmp_path / "file" / "below")),
    ):
        pytest.fail("it is not there")
