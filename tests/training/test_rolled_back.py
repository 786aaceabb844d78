"""Jobs that start in a directory after a rollback: ours, and one with TensorFlow's own saver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ckpt_hooks_support import Worker, save_steps
from save_support import chief, dense, steps, stock
from tf_support import save_checkpoint, tensorflow

from monolith_cli.care.rollback.back import roll_back
from monolith_cli.care.rollback.undo import undo_rollback, undo_rollback_to
from monolith_cli.care.survey import survey
from monolith_cli.errors import DifferentError
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state

pytestmark = pytest.mark.usefixtures("threads_end")

COMMAND = ["monolith", "ckpt", "rollback"]


def back(directory: Path, step: int) -> None:
    roll_back(directory, step, command=COMMAND, quiet_for_seconds=0)


@pytest.mark.parametrize("ours", [True, False], ids=["ours", "stock"])
def test_a_job_saves_on(save: Any, tmp_path: Path, ours: bool) -> None:
    hook = None if ours else stock()
    with chief(tmp_path, hook_class=hook) as job:
        job.train(10)
    assert steps(tmp_path)[-4:] == [4, 6, 8, 10]
    back(tmp_path, 6)
    with chief(tmp_path, hook_class=hook, max_to_keep=3) as job:
        assert job.at == 6
        job.train(6)
    latest = steps(tmp_path)[-1]
    assert latest == 12
    assert dense(tmp_path, latest) == (12, 12.0)
    found = survey(tmp_path)
    assert {each.state for each in found.steps} == {"complete"}
    assert found.leftovers.temporaries == 0
    with pytest.raises(DifferentError, match="has been committed since the rollback"):
        undo_rollback(tmp_path, command=COMMAND, quiet_for_seconds=0)
    newer = tmp_path.with_name(f"{tmp_path.name}-newer")
    undo_rollback_to(tmp_path, newer)
    with chief(newer, hook_class=hook) as job:
        assert job.at == 10


def test_a_job_goes_on_after_an_undo(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(6)
    back(tmp_path, 2)
    undo_rollback(tmp_path, command=COMMAND, quiet_for_seconds=0)
    with chief(tmp_path) as job:
        assert job.at == 6
        job.train(2)
    assert steps(tmp_path) == [2, 4, 6, 8]


def test_inputs_are_those_of_the_step(hooks: Any, tmp_path: Path) -> None:
    save_steps(hooks, tmp_path, [2, 4, 6])
    for step in (2, 4, 6):
        save_checkpoint(tmp_path, step)
    names = tuple(f"model.ckpt-{step}" for step in (2, 4, 6))
    text = format_checkpoint_state(CheckpointState(names[-1], names))
    (tmp_path / "checkpoint").write_text(text)
    back(tmp_path, 4)
    assert Worker(hooks, tmp_path, require_all=True).next() == [4]
    # What an original job restores.
    latest = tensorflow().train.latest_checkpoint(str(tmp_path), "checkpoint_input_worker_1")
    assert latest == str(tmp_path / "input_worker_1.ckpt-4")
    undo_rollback(tmp_path, command=COMMAND, quiet_for_seconds=0)
    assert Worker(hooks, tmp_path, require_all=True).next() == [6]
