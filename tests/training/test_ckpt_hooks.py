"""Positions of one worker's input: what is saved, when, and of which step."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from pathlib import Path
from typing import Any

import pytest
from ckpt_hooks_support import STATE_FILES, Worker, info, names, save_steps
from input_support import Input, generated, graph, numbers, plain_session
from tf_support import tensorflow

from monolith_cli import messages

PROTOS = Path(__file__).parents[2] / "protos"


SESSIONS = ["plain", "SingularMonitoredSession", "MonitoredSession"]


# What trainers rely on.


@pytest.mark.parametrize("initializable", [False, True], ids=["one-shot", "initializable"])
@pytest.mark.parametrize("kind", SESSIONS)
@pytest.mark.parametrize("index", [0, 1])
def test_the_next_element_continues(
    hooks: Any, tmp_path: Path, kind: str, initializable: bool, index: int
) -> None:
    worker = Worker(hooks, tmp_path, initializable=initializable, index=index)
    with worker.session(kind) as session:
        assert worker.inputs[0].take(session) == [0]
        worker.save(session, 10)
        worker.inputs[0].take(session, 5)
    assert names(tmp_path) == [name.replace("worker_1", f"worker_{index}") for name in STATE_FILES]
    assert worker.next(kind) == [1]
    # Another process.
    assert Worker(hooks, tmp_path, initializable=initializable, index=index).next(kind) == [1]
    # Another worker.
    assert Worker(hooks, tmp_path, initializable=initializable, index=5).next(kind) == [0]


@pytest.mark.parametrize("kind", SESSIONS)
def test_without_a_state_nothing_is_restored(
    hooks: Any, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert Worker(hooks, tmp_path / "model").next(kind) == [0]
        assert Worker(hooks, tmp_path / "model", require_all=True).next(kind) == [0]
    assert "There is no state of worker 1's input: skipped." in caplog.text
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("kind", SESSIONS)
def test_without_iterators_nothing_is_saved(hooks: Any, tmp_path: Path, kind: str) -> None:
    with graph():
        helper = hooks.WorkerCkptHelper(str(tmp_path), 1, require_all=True)
    worker = Worker.__new__(Worker)
    worker.hooks, worker.helper, worker.graph = hooks, helper, helper._graph
    worker.callback, worker.restorer = (
        helper.create_save_iterator_callback(),
        helper.create_restorer_hook(),
    )
    for _ in range(2):
        with worker.session(kind) as session:
            assert worker.save(session, 10) is None
    assert names(tmp_path) == []


@pytest.mark.parametrize("disable", ["before", "after"])
@pytest.mark.parametrize("kind", SESSIONS)
def test_disabled(hooks: Any, tmp_path: Path, kind: str, disable: str) -> None:
    save_steps(hooks, tmp_path, [3])
    before = names(tmp_path)
    worker = Worker(hooks, tmp_path, disable=disable, require_all=True)
    with worker.session(kind) as session:
        assert worker.inputs[0].take(session) == [0]  # starts over
        assert worker.save(session, 10) is None
    assert names(tmp_path) == before
    assert Worker(hooks, tmp_path).next() == [3]  # other graphs are not meant


def test_only_for_its_own_action(hooks: Any, tmp_path: Path) -> None:
    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        for action in ("", "Stop", "save"):
            assert worker.callback(action, session) is None
    assert names(tmp_path) == []


def test_a_worker_that_has_not_restored_saves_nothing(hooks: Any, tmp_path: Path) -> None:
    save_steps(hooks, tmp_path, [10])
    worker = Worker(hooks, tmp_path)
    with worker.graph.as_default():
        worker.restorer.begin()
        for step in (20, 30):  # in each session anew
            with plain_session() as session:
                before = names(tmp_path)
                assert worker.save(session, step) is False
                assert names(tmp_path) == before
                worker.restorer.after_create_session(session, None)
                assert worker.save(session, step) is True
                assert f"input_worker_1.ckpt-{step}.index" in names(tmp_path)


def test_who_has_no_restorer_saves(hooks: Any, tmp_path: Path) -> None:
    """Nor does one wait whose restorer hook is in no session."""
    worker = Worker(hooks, tmp_path)
    with worker.graph.as_default(), plain_session() as session:
        assert worker.save(session, 10) is True


def test_iterators_that_are_made_after_the_helper(hooks: Any, tmp_path: Path) -> None:
    for expected in ([0, 0], [2, 2]):
        worker = Worker(hooks, tmp_path)
        with worker.graph.as_default():
            worker.inputs.append(Input(numbers()))
        with worker.session("SingularMonitoredSession") as session:
            assert [source.take(session)[0] for source in worker.inputs] == expected
            for source in worker.inputs:
                source.take(session)
            worker.save(session, 10)


def test_a_save_through_a_monitored_session_is_no_step(hooks: Any, tmp_path: Path) -> None:
    tf = tensorflow()
    runs = []

    class Counter(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc, name-defined]
        def before_run(self, run_context: Any) -> None:
            runs.append(run_context.original_args.fetches)

    for makers in ([numbers], [numbers, generated]):
        worker = Worker(hooks, tmp_path, *makers)
        with (
            worker.graph.as_default(),
            tf.compat.v1.train.MonitoredSession(hooks=[worker.restorer, Counter()]) as session,
        ):
            for source in worker.inputs:
                source.take(session)
            runs.clear()
            worker.save(session, 10)
            assert runs == []


# The step that is being saved.


def foreign_class() -> Any:
    """WorkerCkptInfo of a trainer's own protobuf pool."""
    from google.protobuf import descriptor_pool, message_factory

    spec = importlib.util.spec_from_file_location("generate", PROTOS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    if not generate.compiler():
        pytest.skip("neither grpcio-tools nor protoc is installed")
    pool = descriptor_pool.DescriptorPool()
    for file in generate.compile_protos().file:
        if file.name == "worker_ckpt_info.proto":
            pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName("monolith.hooks.WorkerCkptInfo")
    return message_factory.GetMessageClass(descriptor)


@pytest.mark.parametrize("kind", SESSIONS)
@pytest.mark.parametrize("foreign", [False, True])
def test_the_info_that_was_assigned(hooks: Any, tmp_path: Path, kind: str, foreign: bool) -> None:
    message = foreign_class() if foreign else messages.WorkerCkptInfo
    assert (message is messages.WorkerCkptInfo) is not foreign
    with Worker(hooks, tmp_path).session(kind) as session:
        assert not hooks.get_ckpt_info(session).HasField("global_step")
        for step in (0, 7, 1 << 40, 128):
            hooks.assign_ckpt_info(session, message(global_step=step))
            found = hooks.get_ckpt_info(session)
            assert found.HasField("global_step")
            assert found.global_step == step


def test_the_info_where_no_hook_was_made(hooks: Any) -> None:
    with graph() as made, tensorflow().compat.v1.Session() as session:
        with pytest.raises(tensorflow().errors.FailedPreconditionError):
            hooks.get_ckpt_info(session)
        session.run(tensorflow().compat.v1.local_variables_initializer())
        hooks.assign_ckpt_info(session, info(3))
        assert hooks.get_ckpt_info(session).global_step == 3
        [variable] = made.get_collection("local_variables")
        assert variable.name == "WorkerCkptMetaInfo:0"
        assert made.get_collection("variables") == []


@pytest.mark.parametrize(("index", "collection"), [(0, "local_variables"), (1, "variables")])
def test_the_chief_alone_initialises_the_info(
    hooks: Any, tmp_path: Path, index: int, collection: str
) -> None:
    made = Worker(hooks, tmp_path, index=index).graph
    keys = ("local_variables", "variables", "trainable_variables")
    found = {key for key in keys if made.get_collection(key)}
    assert found == {collection}


def test_a_graph_that_is_done_with_is_freed(hooks: Any, tmp_path: Path) -> None:
    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        worker.save(session, 1)
    done = weakref.ref(worker.graph)
    with worker.graph.as_default():
        assert "monolith" not in str(tensorflow().compat.v1.train.export_meta_graph())
    del worker, session
    gc.collect()
    assert done() is None


def test_scopes_and_devices_around_it_do_not_matter(hooks: Any, tmp_path: Path) -> None:
    tf = tensorflow()
    with graph() as made:
        source = Input(numbers())
        later = tf.constant(1)
        with tf.name_scope("scope"), tf.control_dependencies([later]), tf.device("/device:CPU:0"):
            helper = hooks.WorkerCkptHelper(str(tmp_path), 1)
        made.finalize()
    assert [v.name for v in made.get_collection("variables")] == ["WorkerCkptMetaInfo:0"]
    assert not [op.name for op in made.get_operations() if op.name.startswith("scope")]
    del source, helper
