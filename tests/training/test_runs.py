"""Runs in one process: chief and worker are threads with graphs of their own, at one server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.errors import UnreachableError


@pytest.fixture(scope="module")
def runs() -> Any:
    tensorflow()
    from monolith_cli.training import runs

    return runs


@pytest.fixture
def target() -> str:
    """A server of its own for each test; TensorFlow has no way to stop one."""
    server = tensorflow().compat.v1.train.Server.create_local_server()
    _servers.append(server)
    return str(server.target)


_servers: list[Any] = []


class Process:
    """A chief or a worker: a graph, and a session that a thread may use.

    A step takes a token out of a queue, and adds 1 to `total`: with no token there it is under
    way on the server until `give` puts one in.
    """

    def __init__(self, runs: Any, target: str, index: int, model_dir: Path, **options: Any) -> None:
        from monolith_cli.training.barrier_ops import BarrierOp

        tf = tensorflow()
        v1 = tf.compat.v1
        self.runs = runs
        self.index = index
        self.graph = tf.Graph()
        self.is_closed = threading.Event()
        self.error: BaseException | None = None
        self.session: Any = None
        with self.graph.as_default(), v1.device(options.pop("device", None)):
            self.barrier = BarrierOp(
                options.pop("capacity", 2),
                is_chief=index == 0,
                wait_seconds=0.05,
                lease_seconds=options.pop("lease_seconds", 3),
            )
            step = v1.train.create_global_step()
            self.total = v1.get_variable(
                "total", [], tf.int64, v1.zeros_initializer(), use_resource=True
            )
            queue = tf.queue.FIFOQueue(100, [tf.int64], [[]], shared_name="tokens")
            self._give = queue.enqueue([1])
            with tf.control_dependencies([queue.dequeue()]):
                self.step = tf.group(self.total.assign_add(1), step.assign_add(1))
            self._read = self.total.read_value()
            self._options = {
                "master": target,
                "deadline_seconds": 20,
                "scaffold": v1.train.Scaffold(saver=v1.train.Saver()),
                **options,
            }
            self._model_dir = model_dir

    def open(self) -> Any:
        with self.graph.as_default():
            self.session = self.runs.monitored_session(
                self.barrier, self.index, self._model_dir, **self._options
            )
        return self.session

    def in_thread(self, work: Callable[[Any], object]) -> threading.Thread:
        """Open, work, close."""

        def run() -> None:
            try:
                with self.open() as session:
                    work(session)
            except BaseException as error:
                self.error = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def train(self, session: Any) -> None:
        while not session.should_stop():
            session.run(self.step)


def test_a_step_fetches_one_tensor_more(
    runs: Any, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run id and the barrier's first element are read as one; the chief needs neither."""
    session_class = tensorflow().compat.v1.Session
    run, fetched = session_class.run, []

    def noting(session: Any, fetches: Any, *args: Any, **options: Any) -> Any:
        if isinstance(fetches, dict) and "caller" in fetches:
            fetched.append((session.graph, len(fetches) - 1))
        return run(session, fetches, *args, **options)

    monkeypatch.setattr(session_class, "run", noting)
    chief = Process(runs, target, 0, tmp_path)
    with chief.open() as session:
        observer = Observer(chief, target)
        observer.give(1)
        session.run(chief.step)
        worker = Process(runs, target, 1, tmp_path)
        worker.in_thread(worker.train)
        observer.give(5)
        eventually(lambda: observer.total == 6)
    assert {count for graph, count in fetched if graph is worker.graph} == {1}
    assert {count for graph, count in fetched if graph is chief.graph} == {0}


class Observer:
    """Looks at the shared variables, without hooks."""

    def __init__(self, process: Process, target: str) -> None:
        self._process = process
        self.session = tensorflow().compat.v1.Session(target, graph=process.graph)

    def give(self, tokens: int = 1) -> None:
        for _ in range(tokens):
            self.session.run(self._process._give)

    @property
    def total(self) -> int:
        return int(self.session.run(self._process._read))

    @property
    def run_id(self) -> str:
        return str(self._process.barrier.run.get(self.session)[0])

    @property
    def presence(self) -> list[int]:
        return list(self._process.barrier.run.get_presence(self.session))

    @property
    def leaving(self) -> list[int]:
        return list(self._process.barrier._leaving.get(self.session))


def restart_chief_during_a_step(runs: Any, target: str, tmp_path: Path) -> tuple[int, bool]:
    """Returns what a restored total has become, and whether it was restored during the step."""
    chief = Process(runs, target, 0, tmp_path)
    chief.open()
    worker = Process(runs, target, 1, tmp_path)
    thread = worker.in_thread(worker.train)
    observer = Observer(chief, target)
    eventually(lambda: observer.presence[1] == 1)
    time.sleep(0.3)  # the worker's step is under way, and waits for its token
    first = observer.run_id
    # The chief dies without a word, and starts again.
    again = Process(runs, target, 0, tmp_path)
    restart = again.in_thread(lambda session: eventually(lambda: done.is_set(), 30))
    done = threading.Event()
    eventually(lambda: observer.run_id != first)
    with contextlib.suppress(AssertionError):
        eventually(lambda: observer.run_id, 1)
    has_begun_before_the_step_ended = bool(observer.run_id)
    observer.give(2)  # the step under way may have read the old run id, the next one not
    eventually(lambda: observer.run_id)
    eventually(lambda: observer.presence[1] == 1)
    time.sleep(0.3)
    total = observer.total
    done.set()
    restart.join(10)
    observer.give(3)
    thread.join(10)
    assert not thread.is_alive()
    assert worker.error is None
    return total, has_begun_before_the_step_ended


def test_a_step_under_way_does_not_reach_the_restored_model(
    runs: Any, target: str, tmp_path: Path
) -> None:
    assert restart_chief_during_a_step(runs, target, tmp_path) == (0, False)


def test_without_the_fence_it_does(
    runs: Any, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the test before this one tests something."""

    def only_empty(creator: Any) -> None:
        with tensorflow().compat.v1.Session(creator._master, graph=creator._graph) as session:
            creator._barrier_op.run.empty(session)

    monkeypatch.setattr(runs.ChiefSessionCreator, "_fence", only_empty)
    assert restart_chief_during_a_step(runs, target, tmp_path) == (2, True)


def test_a_worker_that_died_is_waited_for_only_so_long(
    runs: Any, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monolith_cli.training.run.chief_session._FENCE_SECONDS", 2.0)
    chief = Process(runs, target, 0, tmp_path)
    chief.open()
    observer = Observer(chief, target)
    chief.barrier.run.set_presence(observer.session, 1, 1)
    began = time.monotonic()
    Process(runs, target, 0, tmp_path).open()
    assert 2 < time.monotonic() - began < 8


def test_a_worker_that_is_there_again_is_not_waited_for(
    runs: Any, target: str, tmp_path: Path
) -> None:
    from monolith_cli.training.run import chief_session

    chief = Process(runs, target, 0, tmp_path)
    chief.open()
    observer = Observer(chief, target)
    chief.barrier.run.set_presence(observer.session, 1, 1)  # a process that is gone
    began = time.monotonic()
    again = Process(runs, target, 0, tmp_path)
    thread = again.in_thread(again.train)
    eventually(lambda: not observer.run_id)
    worker = Process(runs, target, 1, tmp_path)
    worker.in_thread(worker.train)
    eventually(lambda: observer.run_id)
    assert time.monotonic() - began < chief_session._FENCE_SECONDS
    eventually(lambda: again.session)  # is there a moment after its run id
    again.session.close()
    observer.give(10)
    thread.join(10)


@pytest.mark.parametrize("index", [0, 1])
def test_no_parameter_server(runs: Any, tmp_path: Path, index: int) -> None:
    v1 = tensorflow().compat.v1
    with socket.socket() as here, socket.socket() as nobody:
        here.bind(("127.0.0.1", 0))
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (nobody, here)]
        here.close()
        server = v1.train.Server({"ps": hosts[:1], "chief": hosts[1:]}, job_name="chief")
        _servers.append(server)
        options = {"device": "/job:ps/task:0", "deadline_seconds": 1.5}
        process = Process(runs, server.target, index, tmp_path, **options)
        began = time.monotonic()
        with pytest.raises(UnreachableError) as error:
            process.open()
        assert str(error.value).startswith(
            "the job has not come (back) within 1.5 s: /job:ps/task:0 does not answer"
        )
        assert 1.5 <= time.monotonic() - began < 10
        assert isinstance(error.value, ConnectionError)


def test_a_worker_without_a_chief(runs: Any, target: str, tmp_path: Path) -> None:
    worker = Process(runs, target, 1, tmp_path, deadline_seconds=1)
    with pytest.raises(UnreachableError, match="the chief has not initialised anything"):
        worker.open()


def test_a_worker_waits_for_a_chief_that_restores(runs: Any, target: str, tmp_path: Path) -> None:
    """Longer than its deadline, as the chief gives signs of life."""
    tf = tensorflow()

    class Slow(tf.compat.v1.train.SessionRunHook):
        def after_create_session(self, session: Any, coord: Any) -> None:
            time.sleep(4)

    chief = Process(runs, target, 0, tmp_path, hooks=[Slow()], lease_seconds=0.6)
    chief_thread = chief.in_thread(chief.train)
    worker = Process(runs, target, 1, tmp_path, deadline_seconds=2)
    began = time.monotonic()
    worker.open()
    assert time.monotonic() - began > 2
    observer = Observer(chief, target)
    assert observer.presence == [0, 1]
    chief.session.close()
    observer.give()
    chief_thread.join(10)
    assert not worker.session.should_stop()
    with pytest.raises(tf.errors.OutOfRangeError, match="no step is trained"):
        worker.session.run(worker.step)
    assert worker.session.should_stop()
    worker.session.close()


def test_a_worker_that_comes_after_the_end(runs: Any, target: str, tmp_path: Path) -> None:
    chief = Process(runs, target, 0, tmp_path)
    with chief.open():
        pass
    assert Observer(chief, target).run_id == "ended"
    worker = Process(runs, target, 1, tmp_path)
    worker.train(worker.open())  # not one step: there is no token
    assert Observer(chief, target).total == 0


def test_a_worker_that_ends_says_so(runs: Any, target: str, tmp_path: Path) -> None:
    chief = Process(runs, target, 0, tmp_path)
    chief.open()
    observer = Observer(chief, target)
    worker = Process(runs, target, 1, tmp_path, leave_after_seconds=0.2)
    with worker.open():
        assert observer.presence == [0, 1]
        assert observer.leaving == [0, 0]
    assert observer.presence == [0, 0]
    assert observer.leaving == [0, -1]


def out_of_range() -> None:
    raise tensorflow().errors.OutOfRangeError(None, None, "the input has ended")


def test_the_chief_ends_when_all_inputs_have(runs: Any, target: str, tmp_path: Path) -> None:
    chief = Process(runs, target, 0, tmp_path)
    workers_input_ends = threading.Event()
    ended: list[int] = []

    def work(process: Process) -> Callable[[Any], None]:
        def step() -> None:
            if process.index == 0 or workers_input_ends.is_set():
                out_of_range()
            process.session.run(process._read)
            time.sleep(0.02)

        def run(session: Any) -> None:
            process.session = session
            process.runs.run_until_inputs_end(
                session, process.index, process.barrier, step, deadline_seconds=20
            )
            ended.append(process.index)

        return run

    threads = [chief.in_thread(work(chief))]
    worker = Process(runs, target, 1, tmp_path)
    threads.append(worker.in_thread(work(worker)))
    observer = Observer(chief, target)
    eventually(lambda: worker.session is not None and observer.presence == [0, 1])
    time.sleep(1)
    assert not ended
    workers_input_ends.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert ended == [0, 1]
    assert (chief.error, worker.error) == (None, None)
    assert observer.run_id == "ended"


@pytest.mark.parametrize(
    ("index", "why"), [(0, "some worker still trains"), (1, "the chief still trains")]
)
def test_whoever_stays_gives_up(
    runs: Any, target: str, tmp_path: Path, index: int, why: str
) -> None:
    chief = Process(runs, target, 0, tmp_path)
    chief.open()
    process = chief if index == 0 else Process(runs, target, 1, tmp_path)
    session = chief.session if index == 0 else process.open()
    if index:
        chief.barrier.chief_end.close()  # as if it were dead
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=why):
        runs.run_until_inputs_end(
            session, index, process.barrier, out_of_range, deadline_seconds=1.5
        )
    assert 1.5 <= time.monotonic() - began < 6


def test_patience(runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training.run.patience import Patience

    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    patience = Patience(10)
    now = 109.9
    patience.check("nobody")
    patience.note_life(7)  # the first number seen may be old: still, it was seen now
    now = 119.8
    patience.check("nobody")
    patience.note_life(7)
    now = 119.9
    with pytest.raises(UnreachableError, match="within 10 s: nobody"):
        patience.check("nobody")
    patience.note_life(8)
    patience.check("nobody")


def test_a_program_ends_while_its_session_is_being_closed(runs: Any, tmp_path: Path) -> None:
    """Which TensorFlow does in a thread: the interpreter must not end under it."""
    program = """
import gc
import sys
import tensorflow as tf
from monolith_cli.training import barrier_ops, runs

v1 = tf.compat.v1
server = v1.train.Server.create_local_server()
op = barrier_ops.BarrierOp(1)
step = v1.train.create_global_step()
train = step.assign_add(1)
creator = runs.ChiefSessionCreator(op, sys.argv[1], master=server.target)
for _ in range(20):
    creator.create_session()  # which nobody closes
gc.collect()
with runs.monitored_session(op, 0, sys.argv[1], master=server.target) as session:
    session.run(train)
"""
    start = "import tensorflow as tf; tf.compat.v1.disable_eager_execution()\n"
    for _ in range(2):
        result = forked.run(start + program, tmp_path)
        assert result.returncode == 0, result.stderr[-2000:]


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name in ("session-close",):
            thread.join(20)
