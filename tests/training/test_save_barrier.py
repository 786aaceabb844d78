"""Saves with workers at a barrier."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from save_barrier_support import PLACES, POLL, assert_let_go, inputs_of, job_with_barrier
from save_support import (
    Job,
    Killed,
    listener,
    my_index,
    names,
    no_space,
    steps,
)
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StepNotFoundError, UnfinishedWorkersError

pytestmark = pytest.mark.usefixtures("threads_end")


# --- workers --------------------------------------------------------------------------------------


def test_the_order_of_a_save(tmp_path: Path) -> None:
    seen: list[tuple[str, set[str]]] = []

    def note(what: str, job: Job | None = None) -> Callable[..., None]:
        def act(*_: Any) -> None:
            known = {name for _, new in seen for name in new}
            seen.append((what, names(tmp_path) - known))

        return act

    with job_with_barrier(
        tmp_path,
        1,
        inputs=True,
        tables=True,
        listeners=[
            {"before": note("tables")},
            {"before": note("counts"), "after": note("committed")},
        ],
        guard_saver_listeners=[listener(before=note("inputs"), after=note("let go"))],
    ) as job:
        note("start")()
        job.session.run([job.train_op, job.next])
        result = job.hook.trigger_save(job.session)
    assert result == (1, str(tmp_path / "model.ckpt-1"), (0, 1), ())
    bundle = {".index", ".data-00000-of-00001"}
    assert [(what, new) for what, new in seen if what != "start"] == [
        (
            "inputs",
            {"ckpt.inputs-1"}
            | {f"input_worker_{i}.ckpt-1{end}" for i in (0, 1) for end in bundle}
            | {f"checkpoint_input_worker_{i}" for i in (0, 1)},
        ),
        ("tables", {"model.ckpt-1.assets"}),
        ("counts", {"ckpt.info-1"}),
        (
            "committed",
            {"checkpoint", "ckpt.manifest-1"}
            | {f"model.ckpt-1{end}" for end in bundle | {".meta"}},
        ),
        ("let go", set()),
    ]
    assert inputs_of(tmp_path, 1) == {"0": True, "1": True}


@pytest.mark.parametrize("place", PLACES)
def test_every_worker_stands_while_the_model_is_saved(tmp_path: Path, place: str) -> None:
    jobs: list[Job] = []
    blocked: list[bool] = []

    def before(session: Any, step: int) -> None:
        blocked.append(jobs[0].barrier_op.is_all_blocked(session))

    with job_with_barrier(
        tmp_path, 1, 2, capacity=3, place=place, listeners=[{"before": before}]
    ) as job:
        jobs.append(job)
        job.train(1)
        result = job.hook.trigger_save(job.session)
        assert (result.finished_workers, result.unfinished_workers) == ((1, 2), ())
        assert_let_go(job)
        job.train(1)
        assert job.hook.trigger_save(job.session).step == 2
    assert blocked == [True, True]


@pytest.mark.parametrize("place", PLACES)
def test_a_step_without_some_worker_is_committed_and_says_so(tmp_path: Path, place: str) -> None:
    with job_with_barrier(tmp_path, 1, capacity=3, place=place, max_pending_seconds=0.3) as job:
        job.train(1)
        result = job.hook.trigger_save(job.session)
        assert (result.finished_workers, result.unfinished_workers) == ((1,), (2,))
        assert job.hook.trigger_save(job.session) == result  # read back
        with pytest.raises(UnfinishedWorkersError, match=r"worker 2 has not saved"):
            job.hook.trigger_save(job.session, require_all=True)  # it is committed all the same
    assert steps(tmp_path) == [1]
    assert inputs_of(tmp_path, 1) == {"1": True, "2": False}


@pytest.mark.parametrize("place", PLACES)
def test_all_required(tmp_path: Path, place: str) -> None:
    dense_saves: list[int] = []
    with job_with_barrier(
        tmp_path,
        1,
        capacity=3,
        place=place,
        max_pending_seconds=0.3,
        require_all=True,
        save_steps=2,
        listeners=[{"before": lambda session, step: dense_saves.append(step)}],
    ) as job:
        job.train(2)  # a save on time is left out
        with pytest.raises(StepNotFoundError):
            open_model_dir(tmp_path).checkpoint()
        job.train(1)
        for ask in ({}, {"require_all": True}):
            with pytest.raises(UnfinishedWorkersError, match=r"worker 2 "):
                job.hook.trigger_save(job.session, **ask)
        assert job.hook.trigger_save(job.session, ignore_save_errors=True) is None
        assert_let_go(job)
        assert not (tmp_path / "checkpoint").exists()
        assert job.hook.last_saved_step is None
        assert dense_saves == []  # known right after the barrier, before anything else
        result = job.hook.trigger_save(job.session, require_all=False)
        assert (result.step, result.unfinished_workers) == (3, (2,))
    assert steps(tmp_path) == [3]
    assert not [name for name in names(tmp_path) if "-2" in name]


def test_a_worker_that_leaves_before_the_commit_is_unfinished(tmp_path: Path) -> None:
    jobs: list[Job] = []

    with job_with_barrier(
        tmp_path,
        1,
        capacity=2,
        lease_seconds=0.3,
        listeners=[{"before": lambda session, step: hold_up(jobs[0])}],
    ) as job:
        jobs.append(job)
        job.train(1)
        with pytest.raises(UnfinishedWorkersError):
            job.hook.trigger_save(job.session, require_all=True)
        assert not (tmp_path / "checkpoint").exists()
        assert_let_go(job)
        result = job.hook.trigger_save(job.session)
        assert (result.finished_workers, result.unfinished_workers) == ((), (1,))
    assert inputs_of(tmp_path, 1) == {"1": False}


def hold_up(job: Job) -> None:
    """Give no sign of life until the worker has left, as a chief that swaps would."""
    job.barrier_op._chief_side.heartbeat.stop()
    job.barrier_op.chief_end._heartbeat.stop()
    deadline = time.monotonic() + 10
    while 1 in job.barrier_op.get_blocked_indices(job.raw):
        assert time.monotonic() < deadline
        time.sleep(POLL)


def test_the_chiefs_own_input_counts(tmp_path: Path) -> None:
    bad = [True]

    def callback(action: str, session: Any) -> object:
        return not (bad and my_index() == 0)

    with job_with_barrier(tmp_path, 1, inputs=True, callback=callback) as job:
        job.train(1)
        with pytest.raises(UnfinishedWorkersError, match=r"worker 0 "):
            job.hook.trigger_save(job.session, require_all=True)
        assert job.hook.trigger_save(job.session).unfinished_workers == (0,)
        bad.clear()
        job.train(1)
        assert job.hook.trigger_save(job.session).finished_workers == (0, 1)
    assert inputs_of(tmp_path, 1) == {"0": False, "1": True}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("failures", [1, 2])
@pytest.mark.parametrize("ignore", [True, False])
def test_failures_leave_no_barrier(tmp_path: Path, place: str, failures: int, ignore: bool) -> None:
    left = [failures]

    def fail(session: Any, step: int) -> None:
        if left[0]:
            left[0] -= 1
            no_space()

    with job_with_barrier(tmp_path, 1, place=place, listeners=[{"before": fail}]) as job:
        job.train(1)
        if failures == 1:
            assert job.hook.trigger_save(job.session).step == 1
        elif ignore:
            assert job.hook.trigger_save(job.session, ignore_save_errors=True) is None
        else:
            with pytest.raises(tensorflow().errors.ResourceExhaustedError):
                job.hook.trigger_save(job.session)
        assert left == [0]
        assert_let_go(job)
        job.train(1)
        assert job.hook.trigger_save(job.session).finished_workers == (1,)
    assert steps(tmp_path) == ([1, 2] if failures == 1 else [2])


@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_raised_leaves_no_barrier(tmp_path: Path, place: str) -> None:
    def kill(session: Any, step: int) -> None:
        raise Killed

    later: list[Any] = []
    with job_with_barrier(
        tmp_path,
        1,
        place=place,
        listeners=[{"before": lambda session, step: [one(session, step) for one in later]}],
    ) as job:
        job.train(1)
        later.append(kill)
        with pytest.raises(Killed):
            job.hook.trigger_save(job.session)
        assert_let_go(job)
        later.clear()
        assert job.hook.trigger_save(job.session).step == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_listener_that_fails_after_the_commit_leaves_no_barrier(
    tmp_path: Path, place: str
) -> None:
    with job_with_barrier(tmp_path, 1, place=place, listeners=[{"after": no_space}]) as job:
        job.train(1)
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            job.hook.trigger_save(job.session)
        assert_let_go(job)
        assert job.hook.trigger_save(job.session).step == 1


@pytest.mark.parametrize("place", PLACES)
def test_a_session_lost_in_a_save(tmp_path: Path, place: str) -> None:
    lost = [2]  # the second try is lost as well

    def lose(session: Any, step: int) -> None:
        if step == 4 and lost[0]:
            lost[0] -= 1
            raise tensorflow().errors.AbortedError(None, None, "a server is gone")

    calls: list[str] = []
    with job_with_barrier(
        tmp_path,
        place=place,
        capacity=1,
        save_steps=2,
        listeners=[{"name": "l", "calls": calls, "before": lose}],
    ) as job:
        job.train(4)  # back to 2, and one step again
        assert lost == [0]
        assert int(job.raw.run(job.step)) == 3
        assert_let_go(job)
        assert steps(tmp_path) == [2]
        job.train(1)
        assert steps(tmp_path) == [2, 4]
    assert calls == [
        *("l begin", "l before 2", "l after 2", "l before 4", "l before 4"),
        *("l before 4", "l after 4", "l end 4"),
    ]


# --- barriers of others ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
def test_a_barrier_placed_during_a_save_outlives_it(tmp_path: Path, place: str) -> None:
    jobs: list[Job] = []
    actions: list[str] = []

    def before(session: Any, step: int) -> None:
        with ThreadPoolExecutor(1) as pool:  # as a controller's thread would
            pool.submit(jobs[0].barrier_op.place_barrier, session, "Stop").result(10)

    with job_with_barrier(
        tmp_path,
        1,
        place=place,
        listeners=[{"before": before}],
        callback=lambda action, session: actions.append(f"{my_index()} {action}"),
    ) as job:
        jobs.append(job)
        job.train(1)
        assert job.hook.trigger_save(job.session).finished_workers == (1,)
        assert job.barrier_op.is_barrier_placed(job.raw)
        eventually(lambda: "1 Stop" in actions)
        job.barrier_op.remove_barrier(job.raw)
        assert_let_go(job)
    assert actions[:2] in (["0 Save", "1 Save"], ["1 Save", "0 Save"])
    assert sorted(actions[2:]) == ["0 Stop", "1 Stop"]


@pytest.mark.parametrize("place", PLACES)
def test_a_removal_during_a_save_takes_effect_after_it(tmp_path: Path, place: str) -> None:
    jobs: list[Job] = []
    placed: list[bool] = []

    def before(session: Any, step: int) -> None:
        op = jobs[0].barrier_op
        with ThreadPoolExecutor(1) as pool:
            pool.submit(op.remove_barrier, session).result(10)
        placed.append(op.is_barrier_placed(session))

    with job_with_barrier(tmp_path, 1, place=place, listeners=[{"before": before}]) as job:
        jobs.append(job)
        job.train(1)
        job.barrier_op.place_barrier(job.raw, "Stop")
        eventually(lambda: job.barrier_op.is_all_blocked(job.raw))
        result = job.hook.trigger_save(job.session)  # reaches the workers that stand there
        assert result.finished_workers == (1,)
        assert placed == [True]
        assert_let_go(job)


def test_a_barrier_of_others_stays_after_a_save(tmp_path: Path) -> None:
    with job_with_barrier(tmp_path, 1) as job:
        job.train(1)
        job.barrier_op.place_barrier(job.raw, "Stop")
        assert job.hook.trigger_save(job.session).finished_workers == (1,)
        assert job.barrier_op.is_barrier_placed(job.raw)
        job.barrier_op.remove_barrier(job.raw)
