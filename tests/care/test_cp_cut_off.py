"""Copies that are cut off: what is listed is whole, and the same command goes on."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from dying_store import each_death, each_failure
from repair_support import bytes_of, contents_of
from step_support import save_steps

from monolith_cli.care.copy.steps import Copied, copy_steps
from monolith_cli.care.survey import survey
from monolith_cli.checkpoint.names import JOURNAL
from monolith_cli.errors import PathNotFoundError

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
        try:
            everything = survey(self.target)
        except PathNotFoundError:  # nothing yet that is of a checkpoint
            assert self.other is None
            return
        for found in filter(None, (everything, everything.dense_only)):
            assert all(step.state != "incomplete" for step in found.steps), found.steps
            if self.other is not None and found.directory == str(self.target):
                assert any(step.step == 10 and step.is_latest for step in found.steps)


def made(directory: Path) -> dict[str, bytes]:
    """All files; of state files not when the states were written, which differs."""
    return {
        name: b"".join(line for line in data.splitlines(True) if b"timestamps" not in line)
        if name.startswith("checkpoint_input")
        else data
        for name, data in bytes_of(directory).items()
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


def test_it_goes_on_with_what_was_begun(model: Path, tmp_path: Path) -> None:
    """Whatever it is asked for then; and it says so."""
    attempt = Attempt(model, tmp_path, is_new=True, link=False)
    wanted = finished(attempt)
    for tried in each_death(attempt.prepare, attempt.act, most=6):
        if not (attempt.target / JOURNAL).exists():
            continue
        done = copy_steps(model, attempt.target, 1, as_latest=True)
        assert done.resumed, tried.change
        assert made(attempt.target) == wanted
