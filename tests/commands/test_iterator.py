"""`monolith iterator ls`: what it prints; the library's tests have the cases."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_support import Done, call
from iterator_support import commit, write_job, write_states

from monolith_cli.checkpoint.inputs import (
    write_input_state,
)

pytestmark = pytest.mark.usefixtures("no_variables")

LS_KEYS = [
    "worker",
    "name",
    "step",
    "bytes",
    "iterators",
    "behind",
    "model_step",
    "resumes_from",
    "problem",
    "remarks",
]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_job(tmp_path / "model", {1: [10, 20], 2: [10], 3: [10, 20]}, 10, 20)


# --- ls -------------------------------------------------------------------------------------


def test_ls(model: Path) -> None:
    assert call("iterator", "ls", model) == Done(
        0,
        "worker  step  behind  size  iterators\n"
        "     1    20       0  64 B          1\n"
        "     2    10      10  64 B          1\n"
        "     3    20       0  64 B          1\n",
        "",
    )


def test_ls_as_json(model: Path) -> None:
    document = call("iterator", "ls", "--json", model).document
    assert [list(row) for row in document] == [LS_KEYS] * 3
    assert document[1] == {
        "worker": 2,
        "name": "input_worker_2",
        "step": 10,
        "bytes": 64,
        "iterators": 1,
        "behind": 10,
        "model_step": 20,
        "resumes_from": 10,
        "problem": None,
        "remarks": [],
    }


def test_ls_of_another_step(model: Path) -> None:
    document = call("iterator", "ls", "--json", "--step", 10, model).document
    assert [(row["step"], row["behind"]) for row in document] == [(10, 0)] * 3
    done = call("iterator", "ls", "--step", 5, model)
    assert (done.code, done.out) == (3, "")
    assert done.err == f"Error: {model}: no state of step 5 or before; there are states of 10, 20\n"
    assert call("iterator", "ls", "--step", "all", model).code == 2


def test_ls_marks_what_is_damaged_and_shows_the_others(model: Path) -> None:
    data = model / "input_worker_1.ckpt-20.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    for path in model.glob("input_worker_3.ckpt-20*"):
        path.unlink()
    done = call("iterator", "ls", model)
    assert done.code == 4
    assert done.out == (
        "worker  step  behind  size  iterators\n"
        "     1    20       -     -          -  damaged\n"
        "     2    10      10  64 B          1\n"
        "     3    20       -     -          -  gone; our jobs go on from step 10\n"
    )
    warning, error = done.err.splitlines()
    assert warning.startswith(f"Warning: {model}/checkpoint_input_worker_3: names ")
    assert error.startswith(f"Error: {data}: cut off at 63 bytes")
    done = call("iterator", "ls", "--json", model)
    assert done.code == 4
    assert [row["problem"] is None for row in done.document] == [False, True, False]
    assert [row["behind"] for row in done.document] == [None, 10, None]
    assert done.error["code"] == 4


def test_ls_tells_damaged_from_incomplete_and_from_what_may_not_be_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model / "input_worker_1.ckpt-20.data-00000-of-00001").unlink()
    forbidden = str(model / "input_worker_3.ckpt-20.index")

    def refuse(path: Any, *args: Any, **options: Any) -> Any:
        if path == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *args, **options)

    real = os.open
    monkeypatch.setattr(os, "open", refuse)
    assert call("iterator", "show", "--worker", 3, model).code == 3
    done = call("iterator", "ls", model)
    assert [line[39:] for line in done.out.splitlines()] == [
        "",
        "incomplete",
        "",
        "not readable",
    ]
    assert f"{forbidden}: not readable: Permission denied; get permission to read it\n" in done.err
    assert done.code == 4


def test_whoever_is_not_where_the_model_is_is_found(model: Path) -> None:
    """As the help and the documents say it, with jq."""
    write_states(model / "input_worker_4.ckpt-20", IteratorV2=20)
    write_input_state(str(model), 4)
    (model / "input_worker_1.ckpt-20.index").write_bytes(b"")
    for path in model.glob("input_worker_3.ckpt-20*"):
        path.unlink()
    text = call("iterator", "ls", "--json", model).out
    query = ".[] | select(.behind != 0) | .name"
    found = subprocess.run(["jq", query], input=text, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [f'"input_worker_{i}"' for i in (1, 2, 3)]


def test_errors_of_states_say_what_to_do(model: Path) -> None:
    (model / "checkpoint_input_worker_1").write_text("what?")
    (model / "checkpoint_input_worker_2").write_text("")
    for path in model.glob("input_worker_3.ckpt-20*"):
        path.unlink()
    (model / "input_worker_4.ckpt-20.index").write_bytes(b"")
    rewritten = "restore it from a copy, or roll the input back, which writes it again: there are"
    problems = [row["problem"] for row in call("iterator", "ls", "--json", model).document]
    assert problems[0].startswith(f"{model}/checkpoint_input_worker_1: ")
    assert problems[0].endswith(f"; {rewritten} states of 10, 20")
    assert problems[1] == (
        f"{model}/checkpoint_input_worker_2: names no state; {rewritten} states of 10"
    )
    assert problems[2].endswith(f"which is gone; {rewritten} states of 10")
    assert problems[3].endswith("restore it from a copy, or take another step")
    # So it is.
    for worker in (1, 2, 3):
        done = call("iterator", "rollback", "--step", 10, "--worker", worker, model)
        assert done.code == 0
    assert [row["problem"] for row in call("iterator", "ls", "--json", model).document][:3] == (
        [None] * 3
    )


def test_a_state_file_without_any_state(model: Path) -> None:
    (model / "checkpoint_input_worker_9").write_text("what?")
    problem = call("iterator", "ls", "--json", model).document[3]["problem"]
    assert problem.endswith(
        "; restore it from a copy, or remove it: there are no states, and the input starts over"
    )


def test_inputs_that_tensorflows_own_hook_has_saved(model: Path) -> None:
    write_states(model / "input_chief_0.ckpt-20", IteratorV2=20)
    write_states(model / "input.ckpt-10", IteratorV2=10)
    (model / "checkpoint_input").write_text('model_checkpoint_path: "input.ckpt-10"\n')
    (model / "checkpoint_input_ps_1").write_text('model_checkpoint_path: "input_ps_1.ckpt-10"\n')
    done = call("iterator", "ls", model)
    assert done.code == 4
    assert done.out == (
        "       worker  step  behind  size  iterators\n"
        "            1    20       0  64 B          1\n"
        "            2    10      10  64 B          1\n"
        "            3    20       0  64 B          1\n"
        "        input    10      10  64 B          1\n"
        "input_chief_0    20       0  64 B          1  has no state file\n"
        "   input_ps_1    10       -     -          -  gone\n"
    )
    assert done.err.startswith(
        "Note: TensorFlow's own hook has saved input, input_chief_0, input_ps_1:"
        " our jobs do not restore that\n"
    )
    row = call("iterator", "ls", "--json", model).document[3]
    assert (row["worker"], row["name"], row["resumes_from"]) == (None, "input", None)
    rows = call("iterator", "ls", "--json", "--step", 15, model).document[3:]
    assert [row["step"] for row in rows] == [10, None, None]
    shown = call("iterator", "show", model / "input_chief_0.ckpt-20")
    assert shown.code == 0
    # What rolls back and what goes on is about workers alone.
    assert call("iterator", "rollback", "--step", 10, model).code == 0


def test_where_nobody_but_tensorflows_own_hook_has_saved(tmp_path: Path) -> None:
    commit(tmp_path / "model", 20)
    write_states(tmp_path / "model/input.ckpt-20", IteratorV2=20)
    done = call("iterator", "ls", "--json", "--quiet", tmp_path / "model")
    assert [(row["name"], row["behind"]) for row in done.document] == [("input", 0)]
    done = call("iterator", "show", tmp_path / "model")
    assert (done.code, done.err) == (
        3,
        f"Error: {tmp_path}/model: holds no iterator states of a job's workers; to show the one"
        f" that is there, give its path: {tmp_path}/model/input.ckpt-20\n",
    )


def test_states_of_tensorflows_own_hook_without_a_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for step in (20, 30):
        write_states(model / f"input.ckpt-{step}", IteratorV2=step)
    (model / "checkpoint_input").write_text('model_checkpoint_path: "input.ckpt-30"\n')
    done = call("iterator", "ls", model)
    assert done.code == 0
    assert done.out == (
        "worker  step  behind  size  iterators\n input    30       -  64 B          1\n"
    )
    (model / "checkpoint_input").unlink()
    done = call("iterator", "ls", "--json", "--quiet", model)
    assert [(row["name"], row["step"]) for row in done.document] == [("input", 30)]
    done = call("iterator", "show", model)
    assert done.err == (
        f"Error: {model}: holds no iterator states of a job's workers; to show the newest of 2,"
        f" give its path: {model}/input.ckpt-30\n"
    )


def test_ls_tells_of_a_pending_rollback(model: Path) -> None:
    (model / "ckpt.override").write_text(json.dumps({"model_step": 20, "inputs": {"1": 10}}))
    done = call("iterator", "ls", model)
    assert done.out.splitlines()[1].endswith("our jobs go on from step 10")
    assert done.err.startswith("Note: a rollback is pending: ")
    assert call("iterator", "ls", "--quiet", model).err == ""


@pytest.mark.parametrize("command", ["ls", "show"])
def test_wrong_paths(tmp_path: Path, command: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("none", "empty", "file"):
        done = call("iterator", command, tmp_path / name)
        assert (done.code, done.out) == (3, ""), name
        assert done.err.startswith(f"Error: {tmp_path / name}: ")
        assert done.err.count("\n") == 1
    assert call("iterator", command).code == 2
