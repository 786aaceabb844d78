"""The request file as a library sees it; how commands use it is in tests/commands/test_job.py."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from monolith_cli.control.action_file import ask_by_file, save_by_file
from monolith_cli.errors import PathNotFoundError, RefusedError, TimedOutError, WriteError


def test_the_request_is_whole_when_it_is_there(tmp_path: Path) -> None:
    path, seen = tmp_path / "monolith_action", []

    def job() -> None:
        while not path.exists():
            pass
        seen.append(path.read_bytes())
        (tmp_path / "monolith_action_response").write_bytes(b"OK")
        path.unlink()

    thread = threading.Thread(target=job)
    thread.start()
    ask_by_file(tmp_path, "TRIGGER_SAVE", 10)
    thread.join()
    assert seen == [b"action: TRIGGER_SAVE\n"]


def test_an_interrupted_wait_takes_the_request_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        assert (tmp_path / "monolith_action").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ask_by_file(tmp_path, "STOP", 10)
    assert list(tmp_path.iterdir()) == []


def test_an_answer_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "monolith_action_response")
    threading.Timer(0.2, (tmp_path / "monolith_action").unlink).start()
    ask_by_file(tmp_path, "STOP", 10)


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(PathNotFoundError):
        ask_by_file(tmp_path / "none", "STOP", 1)
    with pytest.raises(PathNotFoundError):
        save_by_file(tmp_path / "none", 1)
    with pytest.raises(TimedOutError):
        ask_by_file(tmp_path, "STOP", 0.05)
    (tmp_path / "monolith_action").mkdir()
    with pytest.raises((RefusedError, WriteError)):
        ask_by_file(tmp_path, "STOP", 1)
