"""`monolith ckpt rollback`: what it says and asks; the library's tests have the cases."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cli_support import Done, call, failed
from rollback_support import list_rolled, save_rolled, tree, write_rolled

from monolith_cli.care.rollback.back import RolledBack
from monolith_cli.care.rollback.plan import NewerStep
from monolith_cli.commands import asking
from monolith_cli.reports.lines import report_lines
from monolith_cli.reports.rollback import RolledBackReport
from monolith_cli.storage.local import LocalStore

pytestmark = pytest.mark.usefixtures("no_variables")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_rolled(tmp_path / "model", 100, 200, 300, beside=(100, 250))


class Killed(BaseException):
    pass


def kill(*_: Any) -> None:
    raise Killed


def rollback(*args: object) -> Done:
    return call("ckpt", "rollback", *args)


def told(done: Done) -> tuple[int, str, str]:
    """What was said, whatever the time."""
    return done.code, re.sub(r"\d{8}T\d{6}Z", "TIME", done.out), done.err


ROWS = """\
step  state     files
 300  complete     12
 250  complete      3  dense_only

written  checkpoint_input_worker_* (2), dense_only/checkpoint, checkpoint

"""


def test_there_and_back(model: Path) -> None:
    before = tree(model)
    assert told(rollback("--step", 200, "-n", model)) == (
        0,
        f"{ROWS}15 files of newer steps would be moved to rolled-back/TIME\n"
        "a job would start from step 200\n",
        "Note: a dry run: nothing was changed\n",
    )
    assert tree(model) == before
    assert told(rollback("--step", 200, model)) == (
        0,
        f"{ROWS}15 files of newer steps were moved to rolled-back/TIME\n"
        "a job starts from step 200\n",
        "",
    )
    assert call("ckpt", "latest", model).out == "200\n"
    code, out, err = told(rollback("--undo", model))
    assert (code, err) == (0, "")
    assert out.endswith(
        "15 files were brought back from rolled-back/TIME\nthe latest step is 300\n"
    )
    assert {name: kept.data for name, kept in tree(model).items()} == {
        name: kept.data for name, kept in before.items()
    }


def test_nothing_is_newer(model: Path) -> None:
    assert rollback("--step", 300, model) == Done(0, "nothing is newer than step 300\n", "")


def test_into_a_directory_of_its_own(model: Path, tmp_path: Path) -> None:
    rollback("--step", 200, model)
    save_rolled(model, 250)
    list_rolled(model, 100, 200, 250)
    text = failed(rollback("--undo", model), 1)
    assert "step 250 has been committed since the rollback" in text
    assert text.endswith("bring the steps into a directory of their own with --to DIR")
    new = tmp_path / "new"
    done = rollback("--undo", "--to", new, model)
    assert (done.code, done.err) == (0, "")
    assert done.out.endswith(f"15 files were brought into {new}\nits latest step is 300\n")
    assert call("ckpt", "latest", "--complete", new).out == "300\n"
    assert call("ckpt", "latest", model).out == "250\n"


def test_json(model: Path) -> None:
    done = rollback("--step", 200, "--json", model).document
    assert re.fullmatch(r"rolled-back/\d{8}T\d{6}Z", done.pop("directory"))
    assert done == {
        "model_dir": str(model),
        "step": 200,
        "before": 300,
        "undo": False,
        "dry_run": False,
        "resumed": False,
        "steps": [
            {"step": 300, "state": "complete", "files": 12, "dense_only": False},
            {"step": 250, "state": "complete", "files": 3, "dense_only": True},
        ],
        "files": 15,
        "written": [
            *("checkpoint_input_worker_0", "checkpoint_input_worker_1"),
            *("dense_only/checkpoint", "checkpoint"),
        ],
        "exports": [],
    }


def test_a_pinned_step_with_what_to_run_first(model: Path) -> None:
    call("ckpt", "pin", model, 300)
    text = failed(rollback("--step", 200, model), 1)
    assert f"newer step 300 is pinned; run first: monolith ckpt unpin {model} 300" in text
    line = text.rpartition("run first: ")[2]
    assert call(*shlex.split(line)[1:]).code == 0
    assert rollback("--step", 200, model).code == 0


def test_a_job_that_may_live(model: Path) -> None:
    os.utime(model / "model.ckpt-300.index")
    text = failed(rollback("--step", 200, model), 5)
    assert text.endswith("or say with --quiet-for 0 that it has ended")
    done = rollback("--step", 200, "-n", model)
    assert done.code == 0
    assert done.err.startswith(
        "Warning: not now: a job may save here: 'model.ckpt-300.index' was written"
    )
    assert rollback("--step", 200, "--quiet-for", 0, model).code == 0


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ((), "give either --step or --undo"),
        (("--step", 1, "--undo"), "give either --step or --undo"),
        (("--step", 1, "--to", "x"), "--to makes sense with --undo only"),
        (("--step", "latest"), "the number of the step is needed here"),
    ],
)
def test_usage(model: Path, args: tuple[object, ...], what: str) -> None:
    assert what in failed(rollback(*args, model), 2)


@pytest.mark.parametrize("answer", [False, True])
def test_somebody_is_asked(model: Path, monkeypatch: pytest.MonkeyPatch, answer: bool) -> None:
    asked = []

    def agreed(question: str, yes: bool) -> bool:
        asked.append((question, (model / "rolled-back").exists()))
        return answer

    monkeypatch.setattr(asking, "can_ask", lambda: True)
    monkeypatch.setattr(asking, "agreed", agreed)
    done = rollback("--step", 200, model)
    assert asked == [("Go on?", False)]
    assert (model / "rolled-back").exists() == answer
    assert done.code == (0 if answer else 1)
    assert done.out.startswith(ROWS)
    assert done.out.count("300  complete") == 1
    asked.clear()
    assert rollback("--step", 100, "--yes", "--quiet-for", 0, model).code == 0
    assert not asked


def test_what_was_cut_off_is_finished(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "rename_if_absent", kill)
        assert rollback("--step", 200, model).code == 70
    text = failed(rollback("--undo", model), 5)
    assert f"run it again, which finishes it: monolith ckpt rollback --step 200 {model}" in text
    for options in ((), ("-n",)):
        text = failed(rollback("--step", 100, *options, model), 5)
        assert text.endswith(f"which finishes it: monolith ckpt rollback --step 200 {model}")
    done = rollback("--step", 200, model)
    assert done.code == 0
    assert done.err == "Note: a command was cut off here, and this goes on with it\n"
    assert call("ckpt", "latest", model).out == "200\n"


@pytest.mark.parametrize("is_undo", [False, True])
def test_what_to_run_again_goes_for_every_directory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_undo: bool
) -> None:
    how = ("--undo",) if is_undo else ("--step", 200)
    if is_undo:
        rollback("--step", 200, model)
    (tmp_path / "sub dir").mkdir()
    model = model.rename(tmp_path / "sub dir" / "model")
    with monkeypatch.context() as patch:
        patch.chdir(model.parent)
        patch.setattr(LocalStore, "rename_if_absent", kill)
        assert rollback(*how, "model").code == 70
    monkeypatch.chdir(tmp_path)
    text = failed(call("ckpt", "pin", "sub dir/model", 100), 5)
    line = text.rpartition("finishes it: ")[2]
    assert shlex.split(line)[-1] == str(model)
    assert call(*shlex.split(line)[1:]).code == 0
    assert call("ckpt", "latest", model).out == ("300\n" if is_undo else "200\n")


@pytest.mark.parametrize("workers", [1, 500])
def test_no_line_is_longer_than_a_terminal(workers: int) -> None:
    names = [f"checkpoint_input_worker_{worker}" for worker in range(workers)]
    texts = [*names, "checkpoint_input", "ckpt.override", "dense_only/checkpoint", "checkpoint"]
    to = "rolled-back/20261128T063112Z"
    for is_undo in (False, True):
        for is_dry_run in (False, True):
            steps = [NewerStep("", 10**9, "complete", 123456)]
            done = RolledBack("x", 10**9, 1, to, steps, 123456, texts, is_undo, is_dry_run, False)
            lines = list(report_lines(RolledBackReport(done).sections()))
            assert max(map(len, lines)) <= 80
            assert "checkpoint_input_worker_" in "".join(lines)
