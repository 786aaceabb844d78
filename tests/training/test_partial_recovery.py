"""A saver that restores a lost parameter server alone, and when it learns that all are restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ports import free_addresses
from save_support import Killed
from tf_support import tensorflow

SERVERS = ("/job:ps/task:0", "/job:ps/task:1")


@pytest.fixture(scope="module")
def target() -> str:
    """The address of a chief with two parameter servers, in this process."""
    tf = tensorflow()
    hosts = free_addresses(3)
    cluster = tf.train.ClusterSpec({"ps": hosts[:2], "chief": hosts[2:]})
    servers = [
        tf.distribute.Server(cluster, job_name=job, task_index=task)
        for job, task in (("ps", 0), ("ps", 1), ("chief", 0))
    ]
    _kept.extend(servers)
    return str(servers[-1].target)


_kept: list[Any] = []


class PartialSaver:
    """As that of the training system: a queue on each server tells whether it was restored."""

    def __init__(self, variables: dict[str, Any], saver: Any, name: str) -> None:
        tf = tensorflow()
        self._saver = saver
        self.calls = 0
        self.restored: list[str] = []
        self._savers = {
            server: tf.compat.v1.train.Saver([variable]) for server, variable in variables.items()
        }
        self._marks, self._sizes, self._unmarks = {}, {}, {}
        for server in variables:
            with tf.device(server):
                queue = tf.queue.FIFOQueue(1, tf.int32, [()], shared_name=f"{name}{server[-1]}")
                self._marks[server], self._sizes[server] = queue.enqueue(1), queue.size()
                self._unmarks[server] = queue.dequeue()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._saver, name)

    def marked(self, session: Any) -> list[bool]:
        return [bool(size) for size in session.run(list(self._sizes.values()))]

    def forget(self, session: Any, server: str) -> None:
        session.run(self._unmarks[server])

    def setup_ps_initialized_state(self, session: Any) -> None:
        assert isinstance(session, tensorflow().compat.v1.Session)
        self.calls += 1
        for server, is_marked in zip(self._marks, self.marked(session), strict=True):
            if not is_marked:
                session.run(self._marks[server])

    def restore(self, session: Any, path: str) -> None:
        for server, is_marked in zip(self._marks, self.marked(session), strict=True):
            if not is_marked:
                self._savers[server].restore(session, path)
                self.restored.append(server)


class Job:
    """A chief with a variable on each server."""

    def __init__(self, directory: Path, target: str, *, hook_first: bool) -> None:
        from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

        tf = tensorflow()
        v1 = tf.compat.v1
        self.directory, self.target = directory, target
        self.fails = False
        self.graph = tf.Graph()
        job = self

        class Restorer(v1.train.SessionRunHook):  # type: ignore[misc,name-defined]
            """That of the tables, say."""

            def after_create_session(self, session: Any, coord: Any) -> None:
                assert job.saver.calls == job.calls_before
                if job.fails:
                    raise ValueError("not restored")

        with self.graph.as_default():
            with tf.device(SERVERS[0]):
                self.step = v1.train.create_global_step()
            with tf.device(SERVERS[1]):
                self.number = v1.get_variable(
                    "number", [], initializer=v1.zeros_initializer(), use_resource=True
                )
                self._lose = tf.raw_ops.DestroyResourceOp(resource=self.number.handle)
            self.train_op = tf.group(self.step.assign_add(1), self.number.assign_add(1.0))
            self.values = [self.step.read_value(), self.number.read_value()]
            variables = dict(zip(SERVERS, (self.step, self.number), strict=True))
            self.saver = PartialSaver(variables, v1.train.Saver(), str(directory))
            self._scaffold = v1.train.Scaffold(saver=self.saver)
            self.hook = NoFirstSaveCheckpointSaverHook(
                str(directory), save_steps=1000, scaffold=self._scaffold, save_graph_def=False
            )
            self._hooks = [self.hook, Restorer()] if hook_first else [Restorer(), self.hook]

    def session(self) -> Any:
        v1 = tensorflow().compat.v1
        self.calls_before = self.saver.calls
        self.saver.restored.clear()
        with self.graph.as_default():
            creator = v1.train.ChiefSessionCreator(
                self._scaffold, self.target, checkpoint_dir=str(self.directory)
            )
            return v1.train.MonitoredSession(creator, self._hooks)

    def plain(self) -> Any:
        return tensorflow().compat.v1.Session(self.target, graph=self.graph)

    def empty_server_1(self) -> None:
        """As if its process had died, and a new one had come."""
        with self.plain() as session:
            session.run(self._lose)
            self.saver.forget(session, SERVERS[1])


@pytest.fixture(params=[True, False], ids=["saver hook first", "saver hook last"])
def job(tmp_path: Path, target: str, request: pytest.FixtureRequest) -> Job:
    return Job(tmp_path, target, hook_first=request.param)


def train_and_die(job: Job) -> None:
    """Four steps, of which three are saved."""
    with pytest.raises(Killed), job.session() as session:  # noqa: PT012
        for _ in range(3):
            session.run(job.train_op)
        assert job.hook.trigger_save(session).step == 3
        session.run(job.train_op)
        raise Killed


def test_a_server_that_lost_its_memory_is_restored_alone(job: Job) -> None:
    train_and_die(job)
    assert job.saver.calls == 1
    job.empty_server_1()
    with job.session() as session:
        assert job.saver.restored == [SERVERS[1]]
        assert session._tf_sess().run(job.values) == [4, 3.0]
        assert job.saver.calls == 1
        for _ in range(2):
            session.run(job.train_op)
        assert job.saver.calls == 2  # once a session
        assert job.saver.marked(session._tf_sess()) == [True, True]


def test_a_restore_that_fails_marks_nothing(job: Job) -> None:
    train_and_die(job)
    job.empty_server_1()
    job.fails = True
    with pytest.raises(ValueError, match="not restored"):
        job.session()
    with job.plain() as session:
        assert job.saver.marked(session) == [True, False]
    job.fails = False
    with job.session() as session:
        assert job.saver.restored == [SERVERS[1]]
        session.run(job.train_op)
        assert session._tf_sess().run(job.values) == [5, 4.0]


def test_it_is_said_what_that_means(job: Job, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    train_and_die(job)
    said = [each.getMessage() for each in caplog.records if "initialised" in each.getMessage()]
    assert said == [
        "Parameter servers are marked as initialised. One that loses its memory alone is restored"
        " alone: the model then mixes the step of its checkpoint with the later one of the others."
    ]
