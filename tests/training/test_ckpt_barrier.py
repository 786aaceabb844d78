"""A save of several processes' inputs: a chief and workers with graphs and sessions of their own.

Their servers are all in this process, the workers are threads.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ckpt_barrier_support import Job, job, next_of
from tf_support import save_checkpoint, tensorflow
from waiting import eventually

from monolith_cli import messages


def test_later_listeners_come_when_all_have_finished(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path, 1, 2) as j:
        for process in j.workers.values():
            process.callback = lambda action, session: time.sleep(0.2)
        j.seen.clear()
        j.listener.before_save(j.session, 10)
        # Flags are set before callbacks run: "all blocked" would have been too early.
        assert j.chief.op.is_all_blocked(j.session)
        assert sorted(j.seen) == sorted(
            [f"{i} {which} Save" for i in range(3) for which in ("first", "last")]
        )
        for index in range(3):
            mine = [line for line in j.seen if line.startswith(str(index))]
            assert mine == [f"{index} first Save", f"{index} last Save"]
        assert j.listener.finished_workers == [1, 2]
        assert j.listener.unfinished_workers == []
        assert j.listener.has_chief_finished(j.session)
        assert j.states(10) == [0, 1, 2]
        j.stands(1, 2)
        at = {i: j.workers[i].steps for i in (1, 2)}
        j.listener.check(j.session)
        assert j.listener.finished_workers == [1, 2]
        j.listener.after_save(j.session, 10)
        eventually(j.all_clear)
        j.goes_on(1, 2)
        for index, steps in at.items():
            # The step in which it saw the barrier is done, but not counted yet.
            assert next_of(hooks, tmp_path, index) == steps + 1
        assert next_of(hooks, tmp_path, 0) == 0
        assert set(hooks.get_fingerprints(j.session)) == {0, 1, 2}


def test_with_the_saver_hook_of_tensorflow(hooks: Any, tmp_path: Path) -> None:
    v1 = tensorflow().compat.v1
    order: list[str] = []
    made = Job(hooks, tmp_path)

    class Later(v1.train.CheckpointSaverListener):  # type: ignore[misc, name-defined]
        def before_save(self, session: Any, step: int) -> None:
            order.append(f"before {step}: {made.states(step)}")

        def after_save(self, session: Any, step: int) -> None:
            order.append(f"after {step}: {made.chief.op.get_blocked_indices(session)}")

    with made.chief.graph.as_default():
        made.listener._max_pending_seconds = 0.3
        step = v1.train.get_global_step()
        add = v1.assign_add(step, 1)
        saver = v1.train.CheckpointSaverHook(
            str(tmp_path), save_steps=2, listeners=[made.listener, Later()]
        )
        creator = v1.train.ChiefSessionCreator(master=made.chief.target, config=made.chief.config)
        with v1.train.MonitoredSession(creator, hooks=[made.chief.hook, saver]) as session:
            assert order == ["before 0: [0]", "after 0: []"]  # no worker yet: the time is over
            made.work(1)
            made.work(2)
            session.run(add)
            session.run(add)
            for process in made.workers.values():
                process.stop.set()  # they stay until the chief has ended
    assert order[2] == "before 2: [0, 1, 2]"
    assert order[3].startswith("after 2: ")
    assert not order[3].startswith("after 2: [0")
    made.end()


def test_one_that_is_late_writes_nothing_after_the_commit(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with job(hooks, tmp_path, 1, 2) as j:
        go_on = threading.Event()
        j.workers[1].callback = lambda action, session: go_on.wait(20)
        j.listener._max_pending_seconds = 0.3
        began = time.monotonic()
        j.listener.before_save(j.session, 10)
        assert 0.3 <= time.monotonic() - began < 3
        assert j.listener.finished_workers == [2]
        assert j.listener.unfinished_workers == [1]
        assert "Saving step 10 without workers [1]: not finished within 0.3 s." in caplog.text
        j.listener.after_save(j.session, 10)
        j.goes_on(2)
        # The original writes now, at a later position than that of the step.
        go_on.set()
        j.goes_on(1)
        assert j.states(10) == [0, 2]
        j.listener._max_pending_seconds = 10
        j.save(11)
        assert j.states(11) == [0, 1, 2]


def test_one_that_is_late_writes_nothing_into_the_next_save(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path, 1) as j:
        go_on = threading.Event()
        j.workers[1].callback = lambda action, session: go_on.wait(20)
        j.listener._max_pending_seconds = 0.2
        j.save(10)
        j.listener.before_save(j.session, 11)
        assert j.listener.unfinished_workers == [1, 2]
        j.workers[1].callback = lambda action, session: None
        go_on.set()
        eventually(lambda: "1 last Save" in j.seen)
        j.listener.after_save(j.session, 11)
        j.goes_on(1)
        assert j.states(10) == [0]
        assert j.states(11) == [0]


def test_a_barrier_that_is_held_already(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with job(hooks, tmp_path, 1, 2) as j, caplog.at_level("INFO"):
        j.chief.op.place_barrier(j.session)  # StopTraining's: no action
        eventually(lambda: j.chief.op.is_all_blocked(j.session))
        assert j.states(10) == []
        # The original's workers wait for the removal, and save nothing for this step.
        for step in (10, 20):
            j.listener.before_save(j.session, step)
            assert j.listener.finished_workers == [1, 2]
            assert j.states(step) == [0, 1, 2]
            j.listener.after_save(j.session, step)
            assert j.chief.op.is_barrier_placed(j.session)
            j.stands(1, 2)
        assert "The barrier is placed already, and stays after this save." in caplog.text
        j.listener.end(j.session, 20)
        assert j.chief.op.is_barrier_placed(j.session)
        j.chief.op.remove_barrier(j.session)
        j.goes_on(1, 2)


def test_a_placement_and_a_removal_during_a_save(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path, 1, 2) as j:
        j.listener.before_save(j.session, 10)
        j.chief.op.place_barrier(j.session, "Stop")
        j.listener.after_save(j.session, 10)
        eventually(lambda: "1 last Stop" in j.seen and "2 last Stop" in j.seen)
        j.stands(1, 2)
        j.listener.before_save(j.session, 11)
        j.chief.op.remove_barrier(j.session)
        j.stands(1, 2)
        assert j.states(11) == [0, 1, 2]
        j.listener.after_save(j.session, 11)
        j.goes_on(1, 2)


def test_one_that_has_left_counts_as_unfinished(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with job(hooks, tmp_path, 1, 2, lease_seconds=0.5) as j:
        # Worker 2 hears the chief no longer; both are told so by the same counter, so it alone
        # is made impatient.
        read = j.workers[2].op._state.read
        frozen: list[int] = []

        def stale(session: Any) -> Any:
            status = read(session)
            frozen.append(status.lease)
            return status._replace(lease=frozen[0])

        j.listener.before_save(j.session, 10)
        assert j.listener.finished_workers == [1, 2]
        monkeypatch.setattr(j.workers[2].op._state, "read", stale)
        j.goes_on(2)
        j.listener.check(j.session)
        assert j.listener.finished_workers == [1]
        assert j.listener.unfinished_workers == [2]
        assert "Workers [2] have left the barrier during the save." in caplog.text
        monkeypatch.undo()
        j.listener.after_save(j.session, 10)
        j.goes_on(1, 2)
        j.listener.check(j.session)  # nothing to look at


def test_one_that_cannot_write_is_unfinished_and_lives_on(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    replace = os.replace

    def full(source: Any, target: Any) -> None:
        if "input_worker_1.ckpt" in str(target) and str(target).endswith(".index"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with job(hooks, tmp_path, 1, 2) as j:
        j.listener._max_pending_seconds = 1
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            j.save(10)
        assert j.listener.finished_workers == [2]
        assert j.listener.unfinished_workers == [1]
        assert "The input of worker 1 is not saved: " in caplog.text
        assert j.states(10) == [0, 2]
        assert not [n for n in os.listdir(tmp_path) if "worker_1" in n or n.startswith(".")]
        j.goes_on(1, 2)
        j.save(11)
        assert j.listener.finished_workers == [1, 2]
        assert j.states(11) == [0, 1, 2]


def test_the_chief_that_cannot_write(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with job(hooks, tmp_path) as j:
        j.listener._max_pending_seconds = 0.1
        with monkeypatch.context() as patch:
            patch.setattr(
                "monolith_cli.training.inputs.worker.write_input_state",
                lambda *_: (_ for _ in ()).throw(OSError()),
            )
            j.listener.before_save(j.session, 10)
            assert not j.listener.has_chief_finished(j.session)
            j.listener.after_save(j.session, 10)
        assert not j.listener.has_chief_finished(j.session)  # no save is going on
        j.listener.before_save(j.session, 11)
        assert j.listener.has_chief_finished(j.session)
        j.listener.after_save(j.session, 11)


def test_the_chief_saves_its_own_input_for_every_generation(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path) as j:
        j.listener._max_pending_seconds = 0.05
        for step in (10, 11):
            j.chief.input.take(j.session, step)
            j.save(step)
            assert j.states(step) == [0]
        hooks.assign_ckpt_info(j.session, messages.WorkerCkptInfo(global_step=12))
        j.chief.op.place_barrier(j.session, hooks.SAVE_ACTION)
        assert j.states(12) == [0]
        j.save(13)  # held by the placement
        assert j.states(13) == [0]
        j.chief.op.remove_barrier(j.session)
    assert next_of(hooks, tmp_path, 0) == 21


def test_a_placement_by_hand_leaves_a_committed_steps_inputs(hooks: Any, tmp_path: Path) -> None:
    """Workers have gone on since: their states would no more be those of the step."""
    with job(hooks, tmp_path, 1) as j:
        j.listener._max_pending_seconds = 0.5  # worker 2 is absent
        j.chief.input.take(j.session, 5)
        j.save(10)
        save_checkpoint(tmp_path, 10)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert j.states(10) == [0, 1]
        j.chief.input.take(j.session, 5)
        j.goes_on(1)
        for _ in range(2):
            j.seen.clear()
            j.chief.op.place_barrier(j.session, hooks.SAVE_ACTION)
            eventually(lambda: "1 last Save" in j.seen)
            j.chief.op.remove_barrier(j.session)
            j.goes_on(1)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        j.save(20)  # the next save is a save
        assert j.states(20) == [0, 1]
    assert next_of(hooks, tmp_path, 0) == 5


def test_a_placement_by_hand_saves_before_any_commit(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path, 1) as j:
        hooks.assign_ckpt_info(j.session, messages.WorkerCkptInfo(global_step=10))
        for taken in (3, 6):
            j.chief.input.take(j.session, 3)
            j.seen.clear()
            j.chief.op.place_barrier(j.session, hooks.SAVE_ACTION)
            eventually(lambda: "1 last Save" in j.seen)
            j.chief.op.remove_barrier(j.session)
            assert j.states(10) == [0, 1]
            assert next_of(hooks, tmp_path, 0) == taken
            j.goes_on(1)


@pytest.mark.parametrize("held", [False, True])
def test_a_callback_of_the_chief_that_raises_leaves_no_barrier(
    hooks: Any, tmp_path: Path, held: bool
) -> None:
    def fail(action: str, session: Any) -> None:
        raise KeyError("a bug")

    with job(hooks, tmp_path, 1, 2) as j:
        if held:
            j.chief.op.place_barrier(j.session, "Stop")
        j.chief.callback = fail
        with pytest.raises(KeyError, match="a bug"):
            j.listener.before_save(j.session, 10)
        # The original raises after it has placed the barrier: workers would wait for ever.
        assert j.chief.op.is_barrier_placed(j.session) is held
        if held:
            j.chief.op.remove_barrier(j.session)
        j.goes_on(1, 2)
        j.chief.callback = lambda action, session: None
        j.save(11)
        assert j.states(11) == [0, 1, 2]


@pytest.mark.parametrize("lost", ["aborted", "closed"])
def test_a_session_that_dies_in_the_wait(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    errors = tensorflow().errors
    kind = errors.AbortedError if lost == "aborted" else RuntimeError
    with job(hooks, tmp_path, 1, 2) as j:
        j.workers[1].callback = lambda action, session: time.sleep(0.5)
        old, op = j.session, j.chief.op
        looks = itertools.count()
        failed: list[str] = []
        read = op._state.read

        def failing(session: Any) -> Any:
            if next(looks) < 3:  # when asking, and in the wait
                return read(session)
            if lost == "aborted":
                # What comes after must not hide it: sessions recover from this one only.
                failed.append(lost)
                raise kind(None, None, "gone") if len(failed) == 1 else RuntimeError("closed")
            old.close()
            return read(session)

        with monkeypatch.context() as patch:
            patch.setattr(op._state, "read", failing)
            with pytest.raises(kind):
                j.listener.before_save(old, 10)
        j.start()
        j.chief.hook.after_create_session(j.session, None)
        assert op.is_barrier_removed(j.session)
        j.goes_on(1, 2)
        j.save(11)
        assert j.states(11) == [0, 1, 2]
        old.close()


def test_an_error_in_the_wait_leaves_no_barrier(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with job(hooks, tmp_path, 1, 2) as j:

        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(j.chief.op, "wait_until_acknowledged", interrupted)
            with pytest.raises(KeyboardInterrupt):
                j.listener.before_save(j.session, 10)
        assert j.chief.op.is_barrier_removed(j.session)
        j.goes_on(1, 2)


def test_a_save_that_did_not_come_to_its_end(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path, 1, 2) as j:
        j.listener.before_save(j.session, 10)
        # What comes next fails: TensorFlow calls no after_save.
        j.listener.before_save(j.session, 11)
        assert j.states(11) == [0, 1, 2]
        j.listener.end(j.session, 11)
        eventually(j.all_clear)
        j.listener.end(j.session, 11)
        j.listener.after_save(j.session, 11)
        j.goes_on(1, 2)


def test_a_worker_that_joins_during_a_save(hooks: Any, tmp_path: Path) -> None:
    with job(hooks, tmp_path, 1) as j:
        raised: list[BaseException] = []

        def save() -> None:
            try:
                j.listener.before_save(j.session, 10)
            except BaseException as error:
                raised.append(error)

        saving = threading.Thread(target=save)
        saving.start()
        eventually(lambda: 1 in j.states(10))
        late = j.work(2, train=False)
        saving.join(15)
        assert not saving.is_alive()
        assert raised == []
        assert j.listener.finished_workers == [1, 2]
        assert j.states(10) == [0, 1, 2]
        assert late.steps == 0
        assert hooks.get_ckpt_info(j.session).global_step == 10
        j.listener.after_save(j.session, 10)
        j.goes_on(1, 2)


def test_the_originals_way_loses_the_step(hooks: Any, tmp_path: Path) -> None:
    """What is local in a worker too, the worker initialises: it forgets what is being saved."""
    with job(hooks, tmp_path) as j:
        j.listener._max_pending_seconds = 0.1
        j.listener.before_save(j.session, 10)
        j.work(2, train=False, own_info=True)
        eventually(lambda: hooks.get_ckpt_info(j.session).global_step == 0)
        j.listener.after_save(j.session, 10)
        j.goes_on(2)
        assert 2 not in j.states(10)


def test_what_the_listener_shows(hooks: Any, tmp_path: Path) -> None:
    with ExitStack() as stack:
        j = stack.enter_context(job(hooks, tmp_path))
        assert j.listener.barrier_op is j.chief.op
        assert (j.listener.finished_workers, j.listener.unfinished_workers) == ([], [])
        assert not j.listener.has_chief_finished(j.session)
        j.listener.release(j.session)
        j.chief.op.place_barrier(j.session)
        j.listener.release(j.session)  # not its own
        assert j.chief.op.is_barrier_placed(j.session)
