"""A save of several processes' inputs: a chief and workers with graphs and sessions of their own.

Their servers are all in this process, the workers are threads.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from input_support import Input, servers
from tf_support import save_checkpoint, tensorflow

from monolith_cli import messages

pytestmark = pytest.mark.filterwarnings("ignore")
POLL = 0.02
_prefixes = itertools.count()


@pytest.fixture(scope="module")
def hooks() -> Any:
    tensorflow()
    from monolith_cli.training import ckpt_hooks

    return ckpt_hooks


def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def endless() -> Input:
    """0, 1, 2 and so on."""
    return Input(tensorflow().data.Dataset.range(1 << 40), initializable=True)


class Process:
    """The graph of the chief (0) or of a worker: an input, its helper, and the barrier."""

    def __init__(self, job: Job, index: int, *, own_info: bool = False) -> None:
        tf = tensorflow()
        from monolith_cli.training import barrier_ops
        from monolith_cli.training.inputs.meta import meta_of

        v1 = tf.compat.v1
        self.index, self.job = index, job
        name = "chief" if index == 0 else f"worker{index}"
        self.target = servers("ps", "chief", "worker1", "worker2")[name]
        self.config = v1.ConfigProto(device_filters=["/job:ps", f"/job:{name}"])
        self.graph = tf.Graph()
        setter = v1.train.replica_device_setter(ps_tasks=1, worker_device=f"/job:{name}/task:0")
        with self.graph.as_default(), v1.device(setter):
            if own_info:  # the original's way: local in every process
                meta_of(self.graph, is_chief=True)
            self.input = endless()
            self.helper = job.hooks.WorkerCkptHelper(str(job.model_dir), index)
            self.op = barrier_ops.BarrierOp(
                3,
                is_chief=index == 0,
                wait_seconds=POLL,
                name_prefix=job.prefix,
                barrier_callbacks=[
                    self._called,
                    self.helper.create_save_iterator_callback(),
                    self._called_last,
                ],
                lease_seconds=job.lease_seconds,
            )
            self.hook = barrier_ops.BarrierHook(index, self.op)
            if index == 0:
                v1.train.create_global_step()
        self.callback: Callable[[str, Any], object] = lambda action, session: None
        self.steps = 0
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.thread = threading.Thread(target=self._train, name=f"worker {index}", daemon=True)

    def _called(self, action: str, session: Any) -> object:
        self.job.seen.append(f"{self.index} first {action}")
        return self.callback(action, session)

    def _called_last(self, action: str, session: Any) -> None:
        self.job.seen.append(f"{self.index} last {action}")

    def _train(self) -> None:
        train = tensorflow().compat.v1.train
        creator = train.WorkerSessionCreator(master=self.target, config=self.config)
        make = creator._get_session_manager

        def get_session_manager() -> Any:
            manager = make()
            manager._recovery_wait_secs = 0.05
            return manager

        creator._get_session_manager = get_session_manager
        hooks = [self.helper.create_restorer_hook(), self.hook]
        try:
            with (
                self.graph.as_default(),
                train.MonitoredSession(session_creator=creator, hooks=hooks) as session,
            ):
                while not self.stop.is_set():
                    session.run(self.input.next)
                    self.steps += 1
                    time.sleep(0.005)
        except BaseException as error:
            self.errors.append(error)


class Job:
    """A chief with a plain session, and workers that train until the test is over."""

    def __init__(self, hooks: Any, model_dir: Path, lease_seconds: float = 30) -> None:
        self.hooks, self.model_dir, self.lease_seconds = hooks, model_dir, lease_seconds
        self.prefix = f"test{next(_prefixes)}"
        self.seen: list[str] = []
        self.workers: dict[int, Process] = {}
        self.chief = Process(self, 0)
        with self.chief.graph.as_default():
            self.listener = hooks.BarrierSaverListener(self.chief.op, max_pending_seconds=10)
        self.session: Any = None

    def start(self) -> None:
        v1 = tensorflow().compat.v1
        chief = self.chief
        with chief.graph.as_default():
            self.session = v1.Session(chief.target, config=chief.config)
            self.session.run(
                [
                    v1.global_variables_initializer(),
                    v1.local_variables_initializer(),
                    v1.tables_initializer(),
                ]
            )

    def work(self, index: int, *, train: bool = True, **options: Any) -> Process:
        """Start a worker, and let it train."""
        process = self.workers[index] = Process(self, index, **options)
        process.thread.start()
        if train:
            eventually(lambda: process.steps > 0 or process.errors)
            assert process.errors == []
        return process

    def save(self, step: int) -> None:
        """A save with nothing between its two halves."""
        self.listener.before_save(self.session, step)
        self.listener.after_save(self.session, step)

    def states(self, step: int) -> list[int]:
        """Whose inputs' states of a step are there."""
        return [
            i for i in range(3) if (self.model_dir / f"input_worker_{i}.ckpt-{step}.index").exists()
        ]

    def all_clear(self) -> bool:
        return bool(self.chief.op.is_none_blocked(self.session))

    def goes_on(self, *indices: int) -> None:
        """These workers train."""
        before = {i: self.workers[i].steps for i in indices}
        eventually(lambda: all(self.workers[i].steps > before[i] + 1 for i in indices))

    def stands(self, *indices: int) -> None:
        """These workers stand still."""
        before = {i: self.workers[i].steps for i in indices}
        time.sleep(5 * POLL)
        assert {i: self.workers[i].steps for i in indices} == before

    def end(self) -> None:
        for process in self.workers.values():
            process.stop.set()
        if self.session is not None:
            self.chief.hook.end(self.session)  # which workers wait for, if it has begun
        for process in self.workers.values():
            process.thread.join(60)  # closing a session may stall
            assert not process.thread.is_alive()
            assert process.errors == []
        assert [t.name for t in threading.enumerate() if "barrier" in t.name.lower()] == []


@contextmanager
def job(hooks: Any, model_dir: Path, *workers: int, **options: Any) -> Iterator[Job]:
    made = Job(hooks, model_dir, **options)
    made.start()
    for index in workers:
        made.work(index)
    try:
        yield made
    finally:
        made.end()


def next_of(hooks: Any, model_dir: Path, index: int) -> int:
    """The element that a worker's input goes on with."""
    v1 = tensorflow().compat.v1
    with tensorflow().Graph().as_default():
        source = endless()
        helper = hooks.WorkerCkptHelper(str(model_dir), index)
        with v1.train.SingularMonitoredSession(hooks=[helper.create_restorer_hook()]) as session:
            return int(source.take(session)[0])


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
