"""Copies that are cut off: what is listed is whole, and the same command goes on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from dying_store import each_death, each_failure
from repair_support import bytes_of, contents_of
from step_support import commit, save_steps

from monolith_cli.care.copy.part import Part
from monolith_cli.care.copy.steps import Copied, copy_steps
from monolith_cli.care.states import StepSurvey
from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.checkpoint.names import COPIED, JOURNAL
from monolith_cli.errors import (
    DirectoryInUseError,
    MonolithError,
    PathNotFoundError,
    StepNotFoundError,
)

DEATHS = int(os.environ.get("CP_DEATHS", "20"))
"""How many moments are tried of each sort of copy; a few hundred for all."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = save_steps(
        tmp_path_factory.mktemp("cp") / "model",
        1,
        2,
        tables=("user_0",),
        manifest=True,
        inputs=(0,),
    )
    (path / "restore_ckpt").write_text("x")
    save_steps(path / "dense_only", 2, tables=())
    (path / "monolith_checkpoint").write_text(
        'exempt_model_checkpoint_paths: "model.ckpt-1"\nlast_checkpoint_save_timestamp: 1\n'
    )
    return path


class Attempt:
    """A copy into a directory that is new, or has a step."""

    def __init__(self, model: Path, directory: Path, *, is_new: bool, link: bool) -> None:
        self.model, self.link = model, link
        self.target = directory / "target"
        self.other = None if is_new else save_steps(directory / "other", 10, tables=("user_0",))

    def prepare(self) -> None:
        shutil.rmtree(self.target, ignore_errors=True)
        if self.other is not None:
            shutil.copytree(self.other, self.target)

    def act(self) -> Copied:
        return copy_steps(
            self.model,
            self.target,
            every=True,
            link=self.link,
            command=["monolith", "ckpt", "cp"],
            quiet_for_seconds=0,
            jobs=1,
        )

    def check_between(self) -> None:
        """All that is listed is whole, and what was there before is."""
        if not self.target.exists() or not any(self.target.iterdir()):
            assert self.other is None
            return
        if self.other is not None:
            there = bytes_of(self.target)
            for name, data in bytes_of(self.other).items():
                assert name == "checkpoint" or there[name] == data
        if not (self.target / "checkpoint").exists():
            # The training system loads the tables that it finds alone.
            for path in self.target.glob("*.assets"):
                assert bytes_of(path) == bytes_of(self.model / path.name)
        try:
            everything = survey(self.target)
        except PathNotFoundError:  # nothing yet that is of a checkpoint
            assert self.other is None
            return
        there, whole = bytes_of(self.target), bytes_of(self.model)
        for found in filter(None, (everything, everything.dense_only)):
            for step in found.steps:
                # Nobody takes for a step what has not arrived in full.
                if step.step == 10 or step.state == "uncommitted":
                    continue
                below = f"{Path(found.directory).relative_to(self.target)}/".removeprefix("./")
                of_step = [n for n in whole if n.startswith(f"{below}model.ckpt-{step.step}.")]
                assert {n: there.get(n) for n in of_step} == {n: whole[n] for n in of_step}
            assert all(step.state != "incomplete" for step in found.steps), found.steps
            if self.other is not None and found.directory == str(self.target):
                assert any(step.step == 10 and step.is_latest for step in found.steps)


def made(directory: Path) -> dict[str, bytes]:
    """All files; of state files not when the states were written, which differs.

    Nor what says when indexes were.
    """
    return {
        name: b"".join(line for line in data.splitlines(True) if b"timestamps" not in line)
        if name.startswith("checkpoint_input")
        else data
        for name, data in bytes_of(directory).items()
        if not name.endswith(COPIED)
    }


def finished(attempt: Attempt) -> dict[str, bytes]:
    attempt.prepare()
    attempt.act()
    return made(attempt.target)


@pytest.mark.parametrize("link", [False, True], ids=["copy", "link"])
@pytest.mark.parametrize("is_new", [True, False], ids=["new", "there"])
def test_dead_at_any_change(model: Path, tmp_path: Path, is_new: bool, link: bool) -> None:
    attempt = Attempt(model, tmp_path, is_new=is_new, link=link)
    wanted = finished(attempt)
    before = contents_of(model)
    deaths = 0
    for tried in each_death(attempt.prepare, attempt.act, most=DEATHS):
        attempt.check_between()
        done = attempt.act()
        assert not done.errors, tried.change
        assert made(attempt.target) == wanted, tried.change
        deaths += 1
    assert deaths >= min(DEATHS, 20)
    assert contents_of(model) == before


def test_a_full_disk_at_any_change(model: Path, tmp_path: Path) -> None:
    attempt = Attempt(model, tmp_path, is_new=False, link=False)
    wanted = finished(attempt)
    for tried in each_failure(attempt.prepare, attempt.act, errno.ENOSPC):
        attempt.check_between()
        attempt.act()
        assert made(attempt.target) == wanted, tried.change


def test_another_copy_is_told_what_to_finish_first(model: Path, tmp_path: Path) -> None:
    attempt = Attempt(model, tmp_path, is_new=True, link=False)
    wanted = finished(attempt)
    for tried in each_death(attempt.prepare, attempt.act, most=6):
        if not (attempt.target / JOURNAL).exists():
            continue
        before = contents_of(attempt.target)
        other = save_steps(tmp_path / f"other-{tried.change.call}-{len(before)}", 2)
        for source, options in (
            (model, {"step": 1}),
            (model, {"every": True, "link": True}),
            (other, {"every": True}),
        ):
            for dry_run in (False, True):
                with pytest.raises(DirectoryInUseError) as caught:
                    copy_steps(source, attempt.target, dry_run=dry_run, **options)  # type: ignore[arg-type]
                assert "monolith ckpt cp" in str(caught.value.hint)
        assert contents_of(attempt.target) == before
        assert attempt.act().resumed
        assert made(attempt.target) == wanted


def cut_off(source: Path, target: Path, step: int | None = None) -> None:
    """A copy that ends when all has arrived, and nothing is listed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Part, "commit", lambda *_: (_ for _ in ()).throw(MonolithError("cut off")))
        with pytest.raises(MonolithError, match="cut off"):
            copy_steps(source, target, step)


def test_what_has_arrived_of_it_is_no_step(tmp_path: Path) -> None:
    for manifest in (True, False):
        source = save_steps(tmp_path / f"model-{manifest}", 1, tables=("t",), manifest=manifest)
        target = tmp_path / f"copy-{manifest}"
        cut_off(source, target)
        names = os.listdir(target)
        assert not [name for name in names if name.endswith((".assets", ".index"))]
        with pytest.raises(MonolithError):
            open_model_dir(target).checkpoint()
        assert not [s for s in survey_if_any(target) if s.state != "uncommitted"]
        assert not copy_steps(source, target).errors
        assert open_model_dir(target).checkpoint().step == 1


def test_tables_that_have_their_name_already_are_no_step_either(tmp_path: Path) -> None:
    source = save_steps(tmp_path / "model", 1, tables=("t",))
    target = tmp_path / "copy"
    cut_off(source, target)
    (hidden,) = target.glob(".model.ckpt-1.assets.*")
    hidden.rename(target / "model.ckpt-1.assets")
    with pytest.raises(StepNotFoundError, match="was cut off here"):
        open_model_dir(target).checkpoint()
    assert [s.state for s in survey_if_any(target)] == ["uncommitted"]
    assert not copy_steps(source, target).errors
    assert bytes_of(target / "model.ckpt-1.assets") == bytes_of(source / "model.ckpt-1.assets")


def survey_if_any(directory: Path) -> list[StepSurvey]:
    try:
        return list(survey(directory).steps)
    except PathNotFoundError:
        return []


def test_the_latest_that_has_come_since_comes_too(tmp_path: Path) -> None:
    source = save_steps(tmp_path / "model", 1, tables=("t",))
    target = tmp_path / "copy"
    cut_off(source, target)
    save_steps(source, 2, tables=("t",))
    commit(source, 1, 2)
    done = copy_steps(source, target)
    assert done.resumed
    assert [(s.step, s.fate) for s in done.steps] == [(1, "there"), (2, "copied")]
    assert (done.latest, done.asked_latest) == (2, 2)


def test_the_source_was_moved(tmp_path: Path) -> None:
    source = save_steps(tmp_path / "model", 1, 2, tables=("t",))
    target, moved = tmp_path / "copy", tmp_path / "moved"
    cut_off(source, target, 1)
    source.rename(moved)
    with pytest.raises(PathNotFoundError) as caught:
        copy_steps(source, target, 1)
    assert "name its new place" in str(caught.value.hint)
    before = {path.name: path.stat().st_ino for path in target.iterdir()}
    done = copy_steps(moved, target, 1)
    assert (done.latest, [s.step for s in done.steps]) == (1, [1])
    index = target / "model.ckpt-1.index"
    assert index.stat().st_ino in before.values()  # what has arrived is not sent again
    assert made(target) == made_of(moved, tmp_path / "whole", 1)


def test_another_source_when_the_first_is_gone(tmp_path: Path) -> None:
    """What was begun, and is not asked for, goes; the rest is as if nothing had been there."""
    source = save_steps(tmp_path / "model", 1, 2, tables=("t",))
    save_steps(source / "dense_only", 2, tables=())
    target = tmp_path / "copy"
    cut_off(source, target)
    shutil.rmtree(source)
    other = save_steps(tmp_path / "other", 2, 5, tables=("t", "u"))
    done = copy_steps(other, target, 5)
    assert (done.latest, [s.step for s in done.steps]) == (5, [5])
    assert made(target) == made_of(other, tmp_path / "whole", 5)


def made_of(source: Path, target: Path, step: int) -> dict[str, bytes]:
    copy_steps(source, target, step)
    return made(target)
