"""What becomes of what the process with TensorFlow says; it is another one here."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from iterator_support import write_states

from monolith_cli.errors import (
    CorruptionError,
    DatasetError,
    DifferentError,
    PathNotFoundError,
    UsageError,
)
from monolith_cli.iterators import peek as module
from monolith_cli.iterators.peek import Peeked, peek
from monolith_cli.iterators.resume import SavedInput

DONE = 'print(\'D {"elements": 1, "has_ended": false, "non_finite": 2}\')'


class Heard:
    """What `peek` has passed on."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def as_arguments(self) -> dict[str, Callable[[str], object]]:
        return {
            "show": self.elements.append,
            "note": self.notes.append,
            "warn": self.warnings.append,
        }


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SavedInput:
    monkeypatch.setattr(module, "find_spec", lambda name: name == "tensorflow")
    write_states(tmp_path / "input_worker_1.ckpt-10", IteratorV2=5)
    return SavedInput(1, 10, str(tmp_path / "input_worker_1.ckpt-10"))


def speaking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str) -> None:
    """Let the process be one that runs these lines."""
    (tmp_path / "stand_in.py").write_text("\n".join(["import os, sys, time", *lines]))
    monkeypatch.setattr(module, "_MODULE", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def test_what_it_tells(saved: SavedInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["print('N \"a note\"')", "print('W \"a warning\"')", "print('E [1]')", DONE]
    speaking(monkeypatch, tmp_path, "open('order', 'w').write(sys.argv[1])", *lines)
    monkeypatch.chdir(tmp_path)
    heard = Heard()
    done = peek(saved, "inputs:train", 3, number_ids=True, **heard.as_arguments())
    assert done == Peeked(1, False, 2)
    assert (heard.elements, heard.notes, heard.warnings) == (["[1]"], ["a note"], ["a warning"])
    assert json.loads((tmp_path / "order").read_text()) == {
        "prefix": saved.prefix,
        "worker": 1,
        "step": 10,
        "iterator": "IteratorV2:0",
        "module": "inputs",
        "function": "train",
        "count": 3,
        "number_ids": True,
        "debug": False,
    }


def test_its_errors(saved: SavedInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {
        "class": "DifferentError",
        "what": "does not fit",
        "path": "f",
        "offset": None,
        "hint": "h",
        "kind": "k",
    }
    speaking(monkeypatch, tmp_path, "print('E 1')", f"print('F ' + {json.dumps(said)!r})")
    heard = Heard()
    with pytest.raises(DifferentError) as caught:
        peek(saved, "m:f", 1, **heard.as_arguments())
    assert (str(caught.value), caught.value.kind) == ("f: does not fit; h", "k")
    assert heard.elements == ["1"]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("sys.exit(7)", "has ended with 7"),
        ("pass", "has ended with 0"),
    ],
)
def test_one_that_dies(
    saved: SavedInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, said: str
) -> None:
    speaking(monkeypatch, tmp_path, end)
    with pytest.raises(DatasetError, match=f"the process with TensorFlow {said}"):
        peek(saved, "m:f", 1, **Heard().as_arguments())


def test_none_stays_when_somebody_stops(
    saved: SavedInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaking(monkeypatch, tmp_path, "print(f'E {os.getpid()}', flush=True)", "time.sleep(60)")
    pids: list[int] = []

    def stop(text: str) -> None:
        pids.append(int(text))
        raise KeyboardInterrupt

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        peek(saved, "m:f", 1, **(Heard().as_arguments() | {"show": stop}))
    assert time.monotonic() - begun < 30
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_package_of_our_name_in_the_directory_is_not_meant(
    saved: SavedInput, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python has no -P yet")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "stand_in.py").write_text("print('E \"here\"')")
    speaking(monkeypatch, tmp_path, "print('E \"installed\"')", DONE)
    monkeypatch.chdir(tmp_path / "here")
    heard = Heard()
    peek(saved, "m:f", 1, **heard.as_arguments())
    assert heard.elements == ['"installed"']


# --- what needs no process ------------------------------------------------------------------


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any, **__: Any) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(module.subprocess, "Popen", start)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(
    "text", ["inputs", "inputs:", ":f", "a b:f", "inputs:f()", "in/puts:f", ""]
)
def test_no_function(saved: SavedInput, text: str) -> None:
    with pytest.raises(UsageError, match="is not of the form module:function"):
        peek(saved, text, 1, **Heard().as_arguments())


@pytest.mark.usefixtures("silent")
def test_no_tensorflow(saved: SavedInput, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(DatasetError, match="TensorFlow is not installed; install it"):
        peek(saved, "m:f", 1, **Heard().as_arguments())


@pytest.mark.usefixtures("silent")
def test_a_damaged_state(saved: SavedInput) -> None:
    data = Path(f"{saved.prefix}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptionError) as caught:
        peek(saved, "m:f", 1, **Heard().as_arguments())
    assert caught.value.path == str(data)


@pytest.mark.usefixtures("silent")
def test_which_iterator(saved: SavedInput) -> None:
    write_states(Path(saved.prefix), IteratorV2=5, IteratorV2_1=6)
    with pytest.raises(UsageError, match="there are IteratorV2:0, IteratorV2_1:0"):
        peek(saved, "m:f", 1, **Heard().as_arguments())
    with pytest.raises(PathNotFoundError, match="no state of iterator Other"):
        peek(saved, "m:f", 1, name="Other", **Heard().as_arguments())
