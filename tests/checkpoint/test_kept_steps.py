"""How many steps stay, and which of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from commit_support import (
    HOUR,
    begin,
    commit,
    exempt,
    listed,
    names,
    names_of,
    save,
    state_of,
    write_state,
)

from monolith_cli.checkpoint import commits, inputs
from monolith_cli.checkpoint.commits import CommittedSteps
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StateFileError, UsageError


def test_the_newest_stay(tmp_path: Path) -> None:
    commit(begin(tmp_path, max_to_keep=2), tmp_path, 10, 20, 30)
    assert listed(tmp_path) == ["model.ckpt-20", "model.ckpt-30"]
    assert names_of(tmp_path, 10) == {"ckpt.info-10"}
    for worker in (0, 1):
        state = state_of(tmp_path, f"checkpoint_input_worker_{worker}")
        assert state.all_model_checkpoint_paths == (
            f"input_worker_{worker}.ckpt-20",
            f"input_worker_{worker}.ckpt-30",
        )
    commit(begin(tmp_path, max_to_keep=1), tmp_path, 40)
    assert listed(tmp_path) == ["model.ckpt-40"]
    assert open_model_dir(tmp_path).steps() == [40]


@pytest.mark.parametrize("max_to_keep", [0, None])
def test_all_stay(tmp_path: Path, max_to_keep: int | None) -> None:
    steps = CommittedSteps(tmp_path, max_to_keep=max_to_keep)
    steps.restart()
    commit(steps, tmp_path, *range(7))
    assert listed(tmp_path) == [f"model.ckpt-{step}" for step in range(7)]


def test_a_negative_number(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_to_keep is -1"):
        CommittedSteps(tmp_path, max_to_keep=-1)


def test_dropping_leaves_what_it_did_not_write(tmp_path: Path) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    for name in ("model.ckpt-10.tar.gz", "model.ckpt-100.index", "model.ckpt-1.index"):
        (tmp_path / name).touch()
    commit(steps, tmp_path, 20)
    assert names_of(tmp_path, 10) == {
        "ckpt.info-10",
        "model.ckpt-10.tar.gz",
        "model.ckpt-100.index",
    }
    assert (tmp_path / "model.ckpt-1.index").exists()


def test_one_every_few_hours_stays_unlisted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1e9
    monkeypatch.setattr(commits.time, "time", lambda: now)
    for hour in range(12):  # the job restarts before each save
        now = 1e9 + hour * HOUR
        commit(begin(tmp_path, max_to_keep=2, keep_every_n_hours=4), tmp_path, hour)
    assert listed(tmp_path) == ["model.ckpt-10", "model.ckpt-11"]
    assert open_model_dir(tmp_path).steps() == [4, 8, 10, 11]
    assert inputs.input_steps(str(tmp_path), 1) == [4, 8, 10, 11]
    assert state_of(tmp_path).last_preserved_timestamp == 1e9 + 8 * HOUR


def test_keep_every_0_hours_keeps_all_but_lists_few(tmp_path: Path) -> None:
    commit(begin(tmp_path, max_to_keep=1, keep_every_n_hours=0), tmp_path, 1, 2, 3)
    assert listed(tmp_path) == ["model.ckpt-3"]
    assert open_model_dir(tmp_path).steps() == [1, 2, 3]


@pytest.mark.parametrize("form", ["model.ckpt-10", "./model.ckpt-10", "{new}/model.ckpt-10"])
@pytest.mark.parametrize("recorded", ["", "{new}/", "{old}/"])
def test_exempt(tmp_path: Path, form: str, recorded: str) -> None:
    places = {"old": tmp_path / "old", "new": tmp_path / "new"}
    new = places["new"]
    save(new, 10, 20)
    write_state(new, *(f"{recorded.format(**places)}model.ckpt-{step}" for step in (10, 20)))
    exempt(new, form.format(**places))
    commit(begin(new, max_to_keep=1), new, 30)
    assert listed(new) == ["model.ckpt-10", "model.ckpt-30"]
    assert open_model_dir(new).steps() == [10, 30]
    assert inputs.input_steps(str(new), 1) == [10, 30]


def test_exempt_in_a_directory_that_was_moved_or_copied(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save(old, 10, 20)
    write_state(old, old / "model.ckpt-10", old / "model.ckpt-20")
    exempt(old, old / "model.ckpt-10")
    shutil.copytree(old, new)
    before = names(old)
    commit(begin(new, max_to_keep=1), new, 30)
    assert names(old) == before
    assert listed(new) == ["model.ckpt-10", "model.ckpt-30"]
    assert names_of(new, 20) == {"ckpt.info-20"}
    shutil.rmtree(new)
    old.rename(new)
    commit(begin(new, max_to_keep=1), new, 30)
    assert listed(new) == ["model.ckpt-10", "model.ckpt-30"]
    assert open_model_dir(new).steps() == [10, 30]


def test_a_checkpoint_elsewhere_is_never_deleted(tmp_path: Path) -> None:
    model, kept = tmp_path / "model", tmp_path / "kept"
    save(model, 30)
    save(kept, 10, 20)
    write_state(model, kept / "model.ckpt-10", "../kept/model.ckpt-20", "model.ckpt-30")
    exempt(model, kept / "model.ckpt-20")
    before = names(kept)
    commit(begin(model, max_to_keep=1), model, 40)
    assert listed(model) == ["../kept/model.ckpt-20", "model.ckpt-40"]
    assert names(kept) == before
    assert open_model_dir(model).steps() == [20, 40]


def test_one_step_by_two_paths_is_one(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    write_state(tmp_path, tmp_path / "model.ckpt-10", "model.ckpt-20", tmp_path / "model.ckpt-20")
    commit(begin(tmp_path, max_to_keep=2), tmp_path, 30)
    assert listed(tmp_path) == ["model.ckpt-20", "model.ckpt-30"]
    assert open_model_dir(tmp_path).steps() == [20, 30]


def test_a_malformed_list_of_exempt_steps_commits_nothing(tmp_path: Path) -> None:
    steps = begin(tmp_path, max_to_keep=1)
    commit(steps, tmp_path, 10)
    (tmp_path / "monolith_checkpoint").write_text("exempt_model_checkpoint_paths: oops\n")
    save(tmp_path, 20)
    with pytest.raises(StateFileError):
        steps.commit(20)
    assert not steps.is_committed(20)
    assert listed(tmp_path) == ["model.ckpt-10"]
