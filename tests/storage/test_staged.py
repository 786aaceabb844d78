"""Files that are written piece by piece where nobody looks yet."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from monolith_cli.errors import WriteError
from monolith_cli.storage.staged import append, sync


def test_pieces_are_appended(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    append(path)
    assert Path(path).read_bytes() == b""
    for piece in (b"one", b"", b"two"):
        append(path, lambda file, piece=piece: os.write(file, piece) and None)
    append(path)
    sync(path)
    assert Path(path).read_bytes() == b"onetwo"


def test_what_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="No such file") as caught:
        append(str(tmp_path / "no" / "file"))
    assert caught.value.path == str(tmp_path / "no" / "file")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError) as caught:
        append(str(tmp_path / "file"), full)
    assert caught.value.kind == "no_space"
    with pytest.raises(WriteError, match="no file can have that name"):
        append(str(tmp_path / "a\0b"))
