"""A file without a name, for what does not fit into memory."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from monolith_cli.errors import WriteError
from monolith_cli.storage.scratch import Scratch


def test_what_is_written_is_read_again_and_leaves_no_name(tmp_path: Path) -> None:
    with Scratch(str(tmp_path)) as scratch:
        places = [(scratch.write(data), data) for data in (b"abc", b"", os.urandom(3 << 20))]
        assert scratch.size == 3 + (3 << 20)
        assert list(tmp_path.iterdir()) == []
        for offset, data in places:
            assert scratch.read(offset, len(data)) == data
        assert scratch.read(1, 2) == b"bc"
        scratch.clear()
        assert scratch.size == 0
        assert scratch.read(scratch.write(b"again"), 5) == b"again"
        with pytest.raises(WriteError, match="what was written is gone"):
            scratch.read(0, 6)


def test_threads_share_it(tmp_path: Path) -> None:
    found: dict[int, int] = {}
    with Scratch(str(tmp_path)) as scratch:

        def write(number: int) -> None:
            for _ in range(50):
                offset = scratch.write(bytes([number]) * 1000)
                found[offset] = number

        threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == list(range(0, 200_000, 1000))
        for offset, number in found.items():
            assert scratch.read(offset, 1000) == bytes([number]) * 1000


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with (
        Scratch(str(tmp_path / "none")) as scratch,
        pytest.raises(WriteError, match="no room to sort in: No such file or directory"),
    ):
        scratch.write(b"x")
