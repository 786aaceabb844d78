"""What copies have brought is not taken for what a job has just saved."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest
import repair_support as rs
from step_support import commit, save_steps, time_of

from monolith_cli.care.alive import check_quiet
from monolith_cli.care.copy.steps import copy_steps
from monolith_cli.checkpoint.names import COPIED
from monolith_cli.errors import DirectoryInUseError


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_steps(tmp_path / "model", 1, 2, 3, tables=("t",))


def test_what_a_copy_has_brought_is_no_sign_of_a_job(model: Path, tmp_path: Path) -> None:
    now = time.time()
    commit(model, 1, 2, 3)
    text = (model / "checkpoint").read_text()
    (model / "checkpoint").write_text(text.replace(f"{time_of(3)!r}", f"{now!r}"))
    target = tmp_path / "copy"
    copy_steps(model, target)
    copy_steps(model, target, every=True)
    check_quiet(target)
    moved = shutil.move(target, tmp_path / "moved")
    check_quiet(moved)
    # What a job saves is one, be it the same step.
    (moved / "model.ckpt-3.index").touch()
    with pytest.raises(DirectoryInUseError, match=r"'model.ckpt-3.index' was written"):
        check_quiet(moved)
    for data in (b"", b"{}", b'{"version": 1, "indexes": 1}'):
        (moved / COPIED).write_bytes(data)
        with pytest.raises(DirectoryInUseError):
            check_quiet(moved)


def test_a_step_that_was_there_is_still_what_a_job_has_saved(model: Path, tmp_path: Path) -> None:
    target = shutil.copytree(model, tmp_path / "copy")
    commit(target, 3)
    (target / "model.ckpt-3.index").touch()
    copy_steps(model, target, every=True, quiet_for_seconds=0)
    with pytest.raises(DirectoryInUseError, match=r"'model.ckpt-3.index' was written"):
        check_quiet(target)


def test_a_target_where_somebody_has_just_saved(model: Path, tmp_path: Path) -> None:
    target = save_steps(tmp_path / "other", 10)
    (target / "model.ckpt-10.index").touch()
    before = rs.contents_of(target)
    with pytest.raises(DirectoryInUseError) as caught:
        copy_steps(model, target)
    assert caught.value.kind == "just_saved"
    done = copy_steps(model, target, dry_run=True)
    assert done.notes[-1].startswith("not now: a job may save here: 'model.ckpt-10.index' was")
    assert [s.fate for s in done.steps] == ["to_copy"]
    assert rs.contents_of(target) == before
