"""Undoing a rollback: all comes back, or into a directory of its own; and what is cut off."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rollback_support import bytes_in, list_rolled, save_rolled, tree, write_rolled
from step_support import commit, time_of

from monolith_cli.care.fsck import CheckOptions, check
from monolith_cli.care.pins import pin
from monolith_cli.care.rollback.back import RolledBack, roll_back
from monolith_cli.care.rollback.undo import undo_rollback, undo_rollback_to
from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.inputs import find_input_step
from monolith_cli.checkpoint.override import write_override
from monolith_cli.checkpoint.restart import restart_point
from monolith_cli.errors import (
    AlreadyExistsError,
    DifferentError,
    DirectoryInUseError,
    PathNotFoundError,
    StateFileError,
    UsageError,
    WriteError,
)
from monolith_cli.formats.checkpoint_state import read_checkpoint_state
from monolith_cli.storage.local import LocalStore

COMMAND = ["monolith", "ckpt", "rollback"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_rolled(tmp_path / "model", 100, 200, 300, 400, beside=(150, 350))


def back(model: Path, step: int, **how: Any) -> RolledBack:
    return roll_back(model, step, command=COMMAND, **how)


def undo(model: Path, **how: Any) -> RolledBack:
    return undo_rollback(model, command=COMMAND, **how)


def test_all_comes_back(model: Path) -> None:
    # Odd bytes in what is written anew come back as they were.
    (model / "checkpoint_input_worker_1").write_bytes(b"\xff # by hand\r\n")
    os.utime(model / "checkpoint_input_worker_1", (time_of(0), time_of(0)))
    write_override(model, 400, {1: 300})
    before = tree(model)
    away = back(model, 200)
    done = undo(model)
    assert (done.step, done.before, done.is_undo) == (400, 200, True)
    assert (done.files, done.steps, done.directory) == (away.files, away.steps, away.directory)
    assert done.texts == list(reversed(away.texts))
    assert bytes_in(model) == {name: kept.data for name, kept in before.items()}
    after = tree(model)
    assert {name for name in after if after[name] != before[name]} == set(done.texts)
    assert not (model / "rolled-back").exists()
    with pytest.raises(PathNotFoundError, match="no rollback to undo"):
        undo(model)


def test_one_after_another(model: Path) -> None:
    before = bytes_in(model)
    back(model, 300)
    back(model, 100)
    assert undo(model).step == 300
    assert undo(model).step == 400
    assert bytes_in(model) == before


def test_a_dry_run_changes_nothing(model: Path) -> None:
    back(model, 200)
    before = tree(model)
    assert undo(model, dry_run=True).files > 20
    assert undo_rollback_to(model, model.parent / "new", dry_run=True).step == 400
    assert tree(model) == before
    assert not (model.parent / "new").exists()


def refused(model: Path, error: type[Exception], what: str, **how: Any) -> None:
    before = tree(model)
    with pytest.raises(error, match=what):
        undo(model, **how)
    assert tree(model) == before


def test_a_step_that_was_committed_since(model: Path) -> None:
    back(model, 200)
    save_rolled(model, 250)
    list_rolled(model, 100, 200, 250)
    refused(model, DifferentError, "step 250 has been committed since the rollback")


def test_a_checkpoint_that_was_changed_since(model: Path) -> None:
    back(model, 200)
    list_rolled(model, 200)
    refused(model, DifferentError, "has been changed since the rollback")


def test_a_name_that_is_taken(model: Path) -> None:
    back(model, 200)
    (model / "model.ckpt-300.assets").mkdir()
    refused(model, AlreadyExistsError, r"model\.ckpt-300\.assets: exists by now")


def test_what_was_moved_away_is_gone(model: Path) -> None:
    away = model / back(model, 200).directory
    (away / "model.ckpt-300.index").unlink()
    refused(model, PathNotFoundError, r"model\.ckpt-300\.index: is gone")
    (away / "rollback.json").write_text("{")
    refused(model, StateFileError, "not the record of a rollback")
    (away / "rollback.json").unlink()
    refused(model, PathNotFoundError, "no rollback to undo")


def test_a_job_that_is_alive(model: Path) -> None:
    back(model, 200)
    os.utime(model / "model.ckpt-200.index")
    refused(model, DirectoryInUseError, r"'model\.ckpt-200\.index' was written")
    (warning,) = undo(model, dry_run=True).warnings
    assert warning.startswith("not now: a job may save here")
    assert undo(model, quiet_for_seconds=0).step == 400


def test_what_a_save_that_died_has_left_is_no_commit(model: Path) -> None:
    before = bytes_in(model)
    back(model, 200)
    (model / "model.ckpt-250.assets").mkdir()
    (model / "checkpoint_input_worker_0").write_text('model_checkpoint_path: "x-250"\n')
    undo(model)
    assert bytes_in(model) == before


# --- a directory of its own -----------------------------------------------------------------------


def test_into_a_directory_of_its_own(model: Path, tmp_path: Path) -> None:
    (model / "restore_ckpt").write_text("done")
    pin(model, 100)
    back(model, 200)
    save_rolled(model, 300)  # by a job that has gone on
    commit(model, 100, 200, 300)
    before = {n: k for n, k in tree(model).items() if not n.startswith("rolled-back")}
    done = undo_rollback_to(model, tmp_path / "new")
    assert (done.step, done.directory) == (400, str(tmp_path / "new"))
    assert tree(model) == before
    new = tmp_path / "new"
    assert [(each.step, each.state) for each in survey(new).steps] == [
        (300, "complete"),
        (400, "complete"),
    ]
    state = read_checkpoint_state(str(new / "checkpoint"))
    assert state.all_model_checkpoint_paths == ("model.ckpt-300", "model.ckpt-400")
    assert state.all_model_checkpoint_timestamps == (time_of(300), time_of(400))
    judgement = check(new, "all", CheckOptions(jobs=1))
    assert [each.id for each in judgement.findings if each.severity != "note"] == []
    restart = restart_point(new)
    assert (restart.step, find_input_step(str(new), 1, restart)) == (400, 400)
    assert (new / "restore_ckpt").read_text() == "done"
    assert b"exempt" not in (new / "monolith_checkpoint").read_bytes()
    assert [each.step for each in survey(new / "dense_only").steps] == [350]
    assert not (new / "rollback.json").exists()
    with pytest.raises(PathNotFoundError, match="no rollback to undo"):
        undo_rollback_to(model, tmp_path / "other")


def test_a_directory_that_exists(model: Path, tmp_path: Path) -> None:
    back(model, 200)
    before = tree(model)
    (tmp_path / "new").mkdir()
    with pytest.raises(AlreadyExistsError, match="new: exists already"):
        undo_rollback_to(model, tmp_path / "new")
    assert tree(model) == before


@pytest.mark.parametrize(
    "name",
    [
        *("model/mine", "model/dense_only", "model/rolled-back/mine", "model/not/there"),
        *("link/mine", "away/mine"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_a_directory_in_the_model_directory(
    model: Path, tmp_path: Path, name: str, dry_run: bool
) -> None:
    """`prune --rolled-back` would delete the only copy, and others take it for the model's own."""
    shutil.rmtree(model / "dense_only")
    away = back(model, 200).directory
    (tmp_path / "link").symlink_to(model)
    (tmp_path / "away").symlink_to(model / away)
    before = tree(model)
    with pytest.raises(UsageError, match=f"lies in {model}; name a directory elsewhere"):
        undo_rollback_to(model, tmp_path / name, dry_run=dry_run)
    assert tree(model) == before


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_directory_in_one_that_is_not_there(model: Path, tmp_path: Path, dry_run: bool) -> None:
    back(model, 200)
    before = tree(model)
    with pytest.raises(PathNotFoundError, match=f"^{tmp_path}/not: no such directory"):
        undo_rollback_to(model, tmp_path / "not" / "there", dry_run=dry_run)
    assert tree(model) == before


def test_one_that_cannot_be_made_is_undone_in_place_after_all(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bytes_in(model)
    back(model, 200)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", elsewhere(os.replace, tmp_path / "new"))
        with pytest.raises(WriteError, match="give a directory on the same file system"):
            undo_rollback_to(model, tmp_path / "new")
    undo(model)
    assert bytes_in(model) == before


def elsewhere(replace: Callable[..., None], target: Path) -> Callable[..., None]:
    import errno

    def refuse(one: Any, other: Any) -> None:
        if str(other) == str(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(one, other)

    return refuse


def test_only_what_was_never_committed(model: Path, tmp_path: Path) -> None:
    (model / "model.ckpt-500.assets").mkdir()
    back(model, 400)
    done = undo_rollback_to(model, tmp_path / "new")
    assert done.step is None
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        *("model.ckpt-500.assets", "monolith_checkpoint")
    }


# --- cut off -----------------------------------------------------------------------------------


def test_a_record_from_before_stays(model: Path) -> None:
    """Directories without a record, by hand or of another tool, are nobody's to bring back."""
    (model / "rolled-back" / "by-hand").mkdir(parents=True)
    before = bytes_in(model)
    back(model, 200)
    undo(model)
    assert bytes_in(model) == before
    assert (model / "rolled-back" / "by-hand").is_dir()


def test_the_plan_in_a_journal_counts(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = back(model, 200)
    plan = json.loads((model / done.directory / "rollback.json").read_text())
    journal = model / ".monolith-journal.json"
    by = {"id": "x", "host": "h", "pid": 1, "started": 1.0, "counter": 0}
    by |= dict.fromkeys(("boot_id", "pid_namespace", "process_started"))
    said = {"version": 1, "command": COMMAND, "at": 1.0, "by": by}
    journal.write_text(json.dumps({**said, "kind": "undo", "plan": plan}))
    with pytest.raises(DirectoryInUseError, match="monolith ckpt rollback"):
        back(model, 100)
    assert undo(model, dry_run=True).is_resumed
    assert undo(model).is_resumed
    assert restart_point(model).step == 400
    shutil.copytree(model, model.parent / "copy")
    journal.write_text(json.dumps({**said, "kind": "rollback", "plan": plan}))
    with pytest.raises(DirectoryInUseError):
        undo(model)
    for dry_run in (True, False):
        with pytest.raises(DirectoryInUseError, match="monolith ckpt rollback"):
            back(model, 100, dry_run=dry_run)
        with monkeypatch.context() as patch:
            patch.setattr("monolith_cli.care.rollback.back.lives", lambda by: by.pid == 1)
            patch.setattr("monolith_cli.checkpoint.claim.lives", lambda by: by.pid == 1)
            with pytest.raises(DirectoryInUseError, match="still being done: process 1 on h"):
                back(model, 200, dry_run=dry_run)
    assert back(model, 200, dry_run=True).is_resumed
    resumed = back(model, 200)
    assert (resumed.step, resumed.is_resumed) == (200, True)
    assert not journal.exists()
    assert restart_point(model).step == 200


@pytest.fixture
def at_move(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Something happens before the n-th file gets its other name."""

    def install(number: int, do: Callable[[], object]) -> None:
        rename, seen = LocalStore.rename_if_absent, []

        def counted(self: LocalStore, source: str, target: str) -> None:
            seen.append(source)
            if len(seen) == number:
                do()
            rename(self, source, target)

        monkeypatch.setattr(LocalStore, "rename_if_absent", counted)

    return install


def refuse() -> None:
    raise WriteError("no", path="x")


@pytest.mark.parametrize("number", [1, 7, 25])
@pytest.mark.parametrize("is_undo", [False, True])
def test_what_a_refused_rename_leaves_is_undone(
    model: Path, at_move: Callable[..., None], number: int, is_undo: bool
) -> None:
    if is_undo:
        back(model, 200)
    before = bytes_in(model)
    at_move(number, refuse)
    with pytest.raises(WriteError, match="x: no; all is as it was before"):
        undo(model) if is_undo else back(model, 200)
    assert bytes_in(model) == before
    assert (undo(model) if is_undo else back(model, 200)).step == (400 if is_undo else 200)


@pytest.mark.parametrize("number", [1, 7, 25])
def test_a_job_that_begins_to_save_in_the_middle(
    model: Path, at_move: Callable[..., None], number: int
) -> None:
    """It remembers newer steps, and lists them again: none of them may lack anything."""
    before = bytes_in(model)

    def save() -> None:
        save_rolled(model, 500)
        list_rolled(model, 100, 200, 300, 400, 500)

    at_move(number, save)
    with pytest.raises(DirectoryInUseError, match="a job has begun to save here"):
        back(model, 200)
    after = bytes_in(model)
    assert {name for name in before if after[name] != before[name]} == {"checkpoint"}
    assert not (model / "rolled-back").exists()
    assert {each.state for each in survey(model).steps} == {"complete"}


def test_a_name_that_a_job_takes_in_the_middle(model: Path, at_move: Callable[..., None]) -> None:
    def save() -> None:
        for name in ("model.ckpt-300.index", "model.ckpt-400.index"):
            (model / name).write_text("another")
        list_rolled(model, 100, 200, 300)

    at_move(9, save)
    with pytest.raises(DirectoryInUseError, match="but for 2 names that are taken, such as 'model"):
        back(model, 200)
    assert (model / "model.ckpt-400.index").read_text() == "another"
    (away,) = (model / "rolled-back").iterdir()
    assert {path.name for path in away.iterdir()} >= {"model.ckpt-300.index", "rollback.json"}
