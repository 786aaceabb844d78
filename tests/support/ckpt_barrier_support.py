"""A chief and workers with graphs and sessions of their own, which save their inputs together.

Their servers are all in this process, the workers are threads.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from input_support import Input, servers
from tf_support import tensorflow
from waiting import eventually

POLL = 0.02
_prefixes = itertools.count()


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
