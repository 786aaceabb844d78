"""What a job says at the points at which the original does, for those who search its log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, listener, names, workers
from tf_support import tensorflow


@pytest.fixture(autouse=True)
def _tensorflow() -> None:
    tensorflow()


def told(caplog: pytest.LogCaptureFixture, *parts: str) -> list[str]:
    """The messages that contain one of the parts, numbers of seconds replaced."""
    found = [text for text in caplog.messages if any(part in text for part in parts)]
    return [re.sub(r"\d+\.\d{6}", "N", text) for text in found]


@contextmanager
def job_of_three(directory: Path, *present: int, max_pending_seconds: float = 10) -> Iterator[Job]:
    """A chief, and those of its two workers that are present."""
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener

    made = []

    def build(job: Job) -> dict[str, Any]:
        made.append(BarrierOp(3, wait_seconds=0.02))
        return {"listeners": [BarrierSaverListener(made[0], 0.02, max_pending_seconds)]}

    with (
        chief(directory, build=build, save_steps=1000) as job,
        workers(job, made[0], *present),
    ):
        yield job


def test_a_save_tells_for_whom_it_waits_and_how_long_it_took(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = ("barrier", "Unblocked", "been blocked", "saving checkpoint took", "Saving")
    with caplog.at_level("INFO"), job_of_three(tmp_path, 1, 2) as job:
        job.train(2)
        job.hook.trigger_save(job.session)
        messages = told(caplog, *parts)
    assert [text for text in messages if "Worker" not in text] == [
        "Place barrier for saving step 2: workers [1, 2] have 10 s.",
        "All workers have been blocked.",
        f"Saving checkpoints for 2 into {tmp_path}/model.ckpt.",
        "Remove barrier for saving.",
        "saving checkpoint took N seconds",
    ]
    assert sorted(text for text in messages if "Worker" in text) == [
        "Worker 1 waits until the barrier is removed.",
        "Worker 2 waits until the barrier is removed.",
    ]


def test_a_save_without_a_worker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level("INFO"),
        job_of_three(tmp_path, 1, max_pending_seconds=0.2) as job,
    ):
        job.train(1)
        job.hook.trigger_save(job.session)
        assert told(caplog, "Unblocked", "been blocked") == ["Unblocked worker indices: [2]."]


def test_a_save_that_fails_is_told_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        if "1" not in failed:
            failed.append("1")
            raise tensorflow().errors.UnavailableError(None, None, "a server is gone")

    failed: list[str] = []
    with caplog.at_level("INFO"), chief(tmp_path, listeners=[listener(before=fail)]) as job:
        job.train(2)
        assert told(caplog, "trying once more") == [
            "Saving step 2 failed, trying once more: a server is gone"
        ]
        assert "in fail" in caplog.text
        assert told(caplog, "saving checkpoint took") == ["saving checkpoint took N seconds"]


def test_a_stop_by_the_flags(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.controller import ControllerHook, StopHelper

    v1 = tensorflow().compat.v1
    with tensorflow().Graph().as_default(), caplog.at_level("INFO"):
        one = v1.constant(1)
        helper = StopHelper()
        barrier = BarrierOp(1, barrier_callbacks=[helper.create_barrier_callback()])
        hook = ControllerHook(0, barrier)
        hooks = [BarrierHook(0, barrier), hook, helper.create_stop_hook()]
        with v1.train.SingularMonitoredSession(hooks=hooks) as session:
            session.raw_session().run(hook.stop_op)
            session.run(one)
            assert session.should_stop()
    assert told(caplog, "stop") == [
        "Trying to stop all workers, for up to 30 s.",
        "Asked at the barrier to stop the training.",
    ]


def test_disabled_iterators_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from monolith_cli.training.ckpt_hooks import WorkerCkptHelper, disable_iterator_save_restore

    with tensorflow().Graph().as_default(), caplog.at_level("INFO"):
        disable_iterator_save_restore()
        WorkerCkptHelper(str(tmp_path), 3)
    assert told(caplog, "iterators") == [
        "The iterators of worker 3 are neither saved nor restored."
    ]


@pytest.mark.parametrize("save_graph_def", [True, False])
def test_the_graph_for_debugging(tmp_path: Path, save_graph_def: bool) -> None:
    """It is there from the start, and TensorFlow makes the graph and its saver of it."""
    v1 = tensorflow().compat.v1
    path = tmp_path / "meta_graph_for_debugging.pb"
    with chief(tmp_path, save_graph_def=save_graph_def) as job:
        assert path.exists() == save_graph_def
        assert "checkpoint" not in names(tmp_path)
        job.train(2)
    if not save_graph_def:
        return
    with tensorflow().Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(str(path))
        saver.restore(session, str(tmp_path / "model.ckpt-2"))
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        assert session.run(variables) == {"global_step": 2, "number": 2.0}
