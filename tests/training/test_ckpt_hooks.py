"""Positions of one worker's input: what is saved, what is restored, and of which step."""

from __future__ import annotations

import errno
import gc
import importlib.util
import json
import os
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from input_support import Input, files_of_at_most, generated, graph, numbers, plain_session
from tf_support import renames, save_checkpoint, tensorflow, write_plain

from monolith_cli import messages
from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.errors import CorruptionError, PathNotFoundError, StateFileError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")
PROTOS = Path(__file__).parents[2] / "protos"


@pytest.fixture(scope="module")
def hooks() -> Any:
    tensorflow()
    from monolith_cli.training import ckpt_hooks

    return ckpt_hooks


def info(step: int) -> Any:
    return messages.WorkerCkptInfo(global_step=step)


class Worker:
    """A graph with inputs and the helper of one worker."""

    def __init__(
        self,
        hooks: Any,
        model_dir: Path,
        *datasets: Callable[[], Any],
        index: int = 1,
        initializable: bool = False,
        disable: str = "",
        **options: Any,
    ) -> None:
        self.hooks = hooks
        self.graph = tensorflow().Graph()
        with self.graph.as_default():
            if disable == "before":
                hooks.disable_iterator_save_restore()
            makers = datasets or (numbers,)
            self.inputs = [Input(maker(), initializable=initializable) for maker in makers]
            self.helper = hooks.WorkerCkptHelper(str(model_dir), index, **options)
            if disable == "after":
                hooks.disable_iterator_save_restore()
            self.callback = self.helper.create_save_iterator_callback()
            self.restorer = self.helper.create_restorer_hook()

    @contextmanager
    def session(self, kind: str = "plain") -> Iterator[Any]:
        """A session whose iterators have been restored."""
        train = tensorflow().compat.v1.train
        with self.graph.as_default():
            if kind == "plain":
                self.restorer.begin()
                with plain_session() as session:
                    self.restorer.after_create_session(session, None)
                    yield session
            else:
                with getattr(train, kind)(hooks=[self.restorer]) as session:
                    yield session

    def save(self, session: Any, step: int) -> Any:
        self.hooks.assign_ckpt_info(session, info(step))
        return self.callback(self.hooks.SAVE_ACTION, session)

    def next(self, kind: str = "plain") -> list[Any]:
        """The next element of each input in a new session."""
        with self.session(kind) as session:
            return [source.take(session)[0] for source in self.inputs]


def save_steps(
    hooks: Any, model_dir: Path, steps: list[int], *datasets: Callable[[], Any], index: int = 1
) -> None:
    """Save after each of these steps, with as many elements consumed."""
    worker = Worker(hooks, model_dir, *datasets, index=index)
    with worker.session() as session:
        for before, step in zip([0, *steps], steps, strict=False):
            for source in worker.inputs:
                source.take(session, step - before)
            assert worker.save(session, step) is True


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


SESSIONS = ["plain", "SingularMonitoredSession", "MonitoredSession"]
STATE_FILES = [
    "checkpoint_input_worker_1",
    "input_worker_1.ckpt-10.data-00000-of-00001",
    "input_worker_1.ckpt-10.index",
]


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


# Which step's state is restored.


def committed(directory: Path, step: int) -> None:
    save_checkpoint(directory, step)


def remove_state(directory: Path, step: int) -> None:
    for path in directory.glob(f"input_worker_1.ckpt-{step}.*"):
        path.unlink()


@pytest.mark.parametrize(
    ("missing", "model", "expected"),
    [
        ([], 4, 4),  # the model's step, though there are newer ones: not the latest
        ([4], 4, 2),  # the newest older
        ([2, 4], 4, 0),  # never a newer
        ([], 5, 4),
        ([], None, 6),  # no model at all: the latest
        ([6], None, 4),
        ([2, 4, 6], None, 0),
    ],
)
def test_the_state_of_the_step_of_the_model(
    hooks: Any,
    tmp_path: Path,
    missing: list[int],
    model: int | None,
    expected: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    save_steps(hooks, tmp_path, [2, 4, 6])
    for step in missing:
        remove_state(tmp_path, step)
    if model is not None:
        committed(tmp_path, model)
        for path in tmp_path.glob("input_worker_1.ckpt-*.index"):
            if int(path.stem.rpartition("-")[2]) > model:  # saved after that commit
                os.utime(path, (time.time() + 10, time.time() + 10))
    caplog.clear()
    assert Worker(hooks, tmp_path).next() == [expected]
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    if model in (None, expected):
        assert said == []
    else:
        instead = f"it goes on from step {expected}" if expected else "it starts over"
        assert said == [f"There is no state of worker 1's input at step {model}: {instead}."]
    strict = Worker(hooks, tmp_path, require_all=True)
    if model in (None, expected):
        assert strict.next() == [expected]
    else:
        with pytest.raises(PathNotFoundError, match=f"input_worker_1.ckpt-{model}.index: no state"):
            strict.next()


def test_a_step_named_as_the_latest_wins_while_there_is_no_model(
    hooks: Any, tmp_path: Path
) -> None:
    save_steps(hooks, tmp_path, [2, 4])
    state = tmp_path / "checkpoint_input_worker_1"
    latest = tensorflow().train.latest_checkpoint(str(tmp_path), state.name)
    assert latest == str(tmp_path / "input_worker_1.ckpt-4")
    state.write_text('model_checkpoint_path: "/elsewhere/input_worker_1.ckpt-2"\n')
    assert Worker(hooks, tmp_path).next() == [2]


def test_a_first_save_that_was_not_committed_moves_no_input(hooks: Any, tmp_path: Path) -> None:
    save_steps(hooks, tmp_path, [2])
    write_step_inputs(str(tmp_path), StepInputs(2, "run", {}))
    assert Worker(hooks, tmp_path, require_all=True).next() == [0]


@pytest.mark.parametrize("inputs", [{"1": 2}, {"0": 2}, {}])
def test_an_override(hooks: Any, tmp_path: Path, inputs: dict[str, int]) -> None:
    save_steps(hooks, tmp_path, [2, 4, 6])
    committed(tmp_path, 4)
    committed(tmp_path, 6)
    state = tmp_path / "checkpoint"
    state.write_text(
        'model_checkpoint_path: "model.ckpt-6"\n'
        'all_model_checkpoint_paths: "model.ckpt-4"\nall_model_checkpoint_paths: "model.ckpt-6"\n'
    )
    (tmp_path / "ckpt.override").write_text(json.dumps({"model_step": 4, "inputs": inputs}))
    expected = inputs.get("1", 4)
    assert Worker(hooks, tmp_path, require_all=True).next() == [expected]
    remove_state(tmp_path, expected)
    with pytest.raises(PathNotFoundError, match=f"at step {expected}"):
        Worker(hooks, tmp_path, require_all=True).next()


def test_what_the_session_was_restored_from_counts(hooks: Any, tmp_path: Path) -> None:
    from monolith_cli.training.restarts import begin_restart, restart_of_graph

    save_steps(hooks, tmp_path, [2, 4])
    committed(tmp_path, 4)
    worker = Worker(hooks, tmp_path)
    assert begin_restart(worker.graph, tmp_path).step == 4
    # Another process writes while this one restores.
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-9"\n')
    (tmp_path / "model.ckpt-9.index").touch()
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    assert restart_of_graph(worker.graph, link).step == 4
    assert worker.next() == [4]
    with tensorflow().Graph().as_default() as other:
        assert restart_of_graph(other, tmp_path).step == 9
    assert begin_restart(worker.graph, str(link)).step == 9
    assert restart_of_graph(worker.graph, tmp_path).step == 9


@pytest.mark.parametrize("initializable", [False, True], ids=["one-shot", "initializable"])
def test_restored_into_each_session_that_is_made(
    hooks: Any, tmp_path: Path, initializable: bool
) -> None:
    tf = tensorflow()
    if not initializable:
        save_steps(hooks, tmp_path, [3])

    class Failing(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc, name-defined]
        due = False

        def before_run(self, run_context: Any) -> None:
            if self.due:
                self.due = False
                raise tf.errors.AbortedError(None, None, "a process is gone")

    failing = Failing()
    worker = Worker(hooks, tmp_path, initializable=initializable)
    with (
        worker.graph.as_default(),
        tf.compat.v1.train.MonitoredSession(hooks=[worker.restorer, failing]) as session,
    ):
        if initializable:
            worker.inputs[0].take(session, 3)
            worker.save(session, 3)
        assert worker.inputs[0].take(session, 2) == [3, 4]
        failing.due = True
        assert worker.inputs[0].take(session, 2) == [3, 4]
        worker.save(session, 5)
        worker.inputs[0].take(session, 9)
        failing.due = True
        assert worker.inputs[0].take(session, 2) == [5, 6]


def test_a_directory_that_was_moved(hooks: Any, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save_steps(hooks, old, [2, 4])
    committed(old, 2)
    shutil.move(old, new)
    assert Worker(hooks, new, require_all=True).next() == [2]
    (new / "checkpoint").unlink()
    assert Worker(hooks, new).next() == [4]
    latest = tensorflow().train.latest_checkpoint(str(new), "checkpoint_input_worker_1")
    assert latest == str(new / "input_worker_1.ckpt-4")
    text = (new / "checkpoint_input_worker_1").read_text()
    assert "old" not in text
    # The original's paths are absolute: after a move they point nowhere, or to another job.
    text = text.replace('"input', f'"{old}/input')
    (new / "checkpoint_input_worker_1").write_text(text)
    assert Worker(hooks, new).next() == [4]


def test_the_witness_reads_what_was_saved_and_the_other_way_round(
    hooks: Any, tmp_path: Path
) -> None:
    from tensorflow.python.data.ops import iterator_ops

    v1 = tensorflow().compat.v1
    save_steps(hooks, tmp_path, [2, 4])
    with graph():
        source = Input(numbers())
        [resource] = v1.get_collection("iterators")
        ignore = tensorflow().data.experimental.ExternalStatePolicy.IGNORE
        saveable = iterator_ops._IteratorSaveable(resource, resource.name, ignore)
        saver = v1.train.Saver([saveable])
        with plain_session() as session:
            found = v1.train.latest_checkpoint(str(tmp_path), "checkpoint_input_worker_1")
            saver.restore(session, found)
            assert source.take(session, 2) == [4, 5]
            # As the original saves it: its own state file, no meta graph.
            saver.save(
                session,
                str(tmp_path / "input_worker_1.ckpt"),
                global_step=6,
                latest_filename="checkpoint_input_worker_1",
                write_meta_graph=False,
            )
    assert Worker(hooks, tmp_path).next() == [6]


# What cannot be saved, and what does not fit.


def test_each_loses_its_own_position_only(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    makers = [numbers, generated, numbers]
    save = Worker(hooks, tmp_path, *makers)
    with save.session() as session:
        for source in save.inputs:
            source.take(session, 4)
        assert save.save(session, 4) is True
    assert "OneShotIterator_1:0 cannot be saved" in caplog.text
    assert "Step 4 has no state of iterator OneShotIterator_1:0." in caplog.text
    caplog.clear()
    assert Worker(hooks, tmp_path, *makers).next() == [4, 0, 4]
    assert "OneShotIterator_1:0 of worker 1 starts over: no state fits it." in caplog.text
    with pytest.raises(StateFileError, match="no fitting state of OneShotIterator_1:0 of worker 1"):
        Worker(hooks, tmp_path, *makers, require_all=True).next()


def test_nothing_can_be_saved(hooks: Any, tmp_path: Path) -> None:
    worker = Worker(hooks, tmp_path, generated)
    with worker.session() as session:
        worker.inputs[0].take(session)
        assert worker.save(session, 4) is True
    assert names(tmp_path) == []


def with_files(directory: Path, order: list[int]) -> Callable[[], Any]:
    paths = [str(directory / f"part-{i}") for i in order]
    return lambda: tensorflow().data.TFRecordDataset(paths)


CHANGES = {
    "files": ([0, 2], 2, 0, "part-1"),
    "order": ([1, 0], 2, 0, "order"),
    "batch": ([0, 1], 3, 0, "batch_size"),
    "shard": ([0, 1], 2, 1, "index"),
    "nothing": ([0, 1], 2, 0, None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_pipeline_gives_a_warning_that_says_what_differs(
    hooks: Any, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, model_dir = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    for i in range(3):
        write_plain(data / f"part-{i}", [b"%d-%d" % (i, j) for j in range(20)])

    def pipeline(order: list[int], batch: int, shard: int) -> Callable[[], Any]:
        return lambda: with_files(data, order)().shard(2, shard).batch(batch)

    worker = Worker(hooks, model_dir, pipeline([0, 1], 2, 0))
    with worker.session() as session:
        session.run(worker.inputs[0].next)
        assert worker.save(session, 4) is True
        fingerprints = hooks.get_fingerprints(session)
    assert list(fingerprints) == [1]
    workers = {1: WorkerInput(True, fingerprints[1])}
    write_step_inputs(str(model_dir), StepInputs(4, "run", workers))
    committed(model_dir, 4)
    caplog.clear()
    order, batch, shard, what = CHANGES[change]
    changed = Worker(hooks, model_dir, pipeline(order, batch, shard))
    with changed.session() as session:
        # TensorFlow takes the position, whatever it means now.
        first = np.ravel(session.run(changed.inputs[0].next)).tolist()
    assert first != [b"0-0", b"0-2", b"0-4"][:batch]
    said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    if what is None:
        assert said == []
    else:
        assert said
        assert all("input of worker 1 is not the one of step 4: " in line for line in said)
        assert any(what in line for line in said)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (numbers, lambda: numbers().batch(1)),
        (lambda: numbers().batch(1), numbers),
    ],
    ids=["added", "removed"],
)
def test_a_pipeline_of_other_nodes_starts_over(
    hooks: Any, tmp_path: Path, before: Any, after: Any, caplog: pytest.LogCaptureFixture
) -> None:
    save_steps(hooks, tmp_path, [3], before)
    caplog.clear()
    assert np.ravel(Worker(hooks, tmp_path, after).next("MonitoredSession")).tolist() == [0]
    assert "The state of OneShotIterator:0 does not fit it" in caplog.text
    assert "OneShotIterator:0 of worker 1 starts over: no state fits it." in caplog.text
    assert "Restored" not in caplog.text
    with pytest.raises(StateFileError, match=r"input_worker_1\.ckpt-3\.index"):
        Worker(hooks, tmp_path, after, require_all=True).next("MonitoredSession")


def test_a_damaged_state_ends_the_restore(hooks: Any, tmp_path: Path) -> None:
    save_steps(hooks, tmp_path, [3])
    os.truncate(tmp_path / "input_worker_1.ckpt-3.data-00000-of-00001", 10)
    with pytest.raises(CorruptionError):
        Worker(hooks, tmp_path).next("MonitoredSession")
    os.truncate(tmp_path / "input_worker_1.ckpt-3.index", 10)
    with pytest.raises(CorruptionError):
        Worker(hooks, tmp_path).next("MonitoredSession")


@pytest.mark.parametrize("text", ["{", '{"step": 3}', "[]"])
def test_a_damaged_list_of_inputs(hooks: Any, tmp_path: Path, text: str) -> None:
    save_steps(hooks, tmp_path, [3])
    committed(tmp_path, 3)
    (tmp_path / "ckpt.inputs-3").write_text(text)
    with pytest.raises(StateFileError, match=r"ckpt\.inputs-3"):
        Worker(hooks, tmp_path).next()


def test_a_pipeline_that_nobody_can_describe(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(iterators: Any) -> Any:
        raise ValueError("a graph of more than 2 GB")

    save_steps(hooks, tmp_path, [2])
    monkeypatch.setattr("monolith_cli.training.inputs.worker.fingerprint", fail)
    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        worker.inputs[0].take(session, 2)
        assert worker.save(session, 4) is True
        assert hooks.get_fingerprints(session) == {1: None}
    workers = {1: WorkerInput(True, {"OneShotIterator:0": {}})}
    write_step_inputs(str(tmp_path), StepInputs(4, "run", workers))
    committed(tmp_path, 4)
    assert Worker(hooks, tmp_path).next() == [4]
    assert "The input of worker 1 cannot be described" in caplog.text


# Disks that fail.


def wide() -> Any:
    zeros = tensorflow().zeros
    return numbers().map(lambda x: (x, zeros([50_000]))).shuffle(10)


def test_a_full_disk_leaves_nothing_and_the_next_save_succeeds(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(hooks, tmp_path, wide)
    with worker.session() as session:
        session.run(worker.inputs[0].next)
        with files_of_at_most(100_000):
            assert worker.save(session, 10) is False
        assert "The input of worker 1 is not saved: " in caplog.text
        assert names(tmp_path) == []
        session.run(worker.inputs[0].next)
        assert worker.save(session, 10) is True
    assert names(tmp_path) == STATE_FILES


@pytest.mark.parametrize("which", range(3))
def test_no_rename(hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int) -> None:
    """The data, the index and the state file get their names one after the other."""
    save_steps(hooks, tmp_path, [2])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    done: list[str] = []
    replace = os.replace

    def failing(source: Any, target: Any) -> None:
        if len(done) == which:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done.append(target)
        replace(source, target)

    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        worker.inputs[0].take(session, 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            assert worker.save(session, 4) is False
        # A state is there whole, even where it is not listed, or not at all.
        if which < 2:
            assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert not [name for name in names(tmp_path) if name.startswith(".")]
        assert worker.inputs[0].take(session) == [4]
        assert worker.save(session, 5) is True
    assert Worker(hooks, tmp_path).next() == [5]


def test_a_step_that_was_saved_before_is_never_half_of_each(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_steps(hooks, tmp_path, [2, 4])
    seen: list[list[str]] = []
    replace = os.replace

    def watching(source: Any, target: Any) -> None:
        seen.append([name for name in names(tmp_path) if "ckpt-4." in name and name[0] != "."])
        replace(source, target)

    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        worker.inputs[0].take(session, 3)
        monkeypatch.setattr(os, "replace", watching)
        assert worker.save(session, 4) is True
    # New data beside the old index would be a torn state, should the process die there.
    data = "input_worker_1.ckpt-4.data-00000-of-00001"
    assert seen[:2] == [[data], [data]]
    assert Worker(hooks, tmp_path).next() == [7]


def test_a_directory_that_cannot_be_made(
    hooks: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    worker = Worker(hooks, tmp_path / "file" / "model")
    with worker.session() as session:
        assert worker.save(session, 4) is False
        assert worker.inputs[0].take(session) == [0]
    assert "The input of worker 1 is not saved: " in caplog.text


def test_what_a_killed_process_left_goes_at_the_next_save(hooks: Any, tmp_path: Path) -> None:
    own, other = ".input_worker_1.ckpt-4.0a0b0c0d.tmp", ".input_worker_11.ckpt-4.0a0b0c0d.tmp"
    for name in (own, other):
        (tmp_path / name).mkdir()
        (tmp_path / name / "input_worker_1.ckpt-4.index").touch()
    assert Worker(hooks, tmp_path).next() == [0]
    save_steps(hooks, tmp_path, [10])
    assert names(tmp_path) == sorted([other, *STATE_FILES])


def test_a_session_that_is_lost_is_no_full_disk(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tensorflow().errors.UnavailableError(None, None, "gone")
    worker = Worker(hooks, tmp_path)
    with worker.session() as session:
        monkeypatch.setattr(worker.helper._state, "save", lambda *_: (_ for _ in ()).throw(lost))
        with pytest.raises(tensorflow().errors.UnavailableError):
            worker.save(session, 4)
    assert names(tmp_path) == []


def test_what_is_renamed_is_on_disk_before(
    hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(hooks, tmp_path)
    with worker.session() as session, renames(monkeypatch) as renamed:
        assert worker.save(session, 10) is True
    assert renamed == [(str(tmp_path / name), True) for name in STATE_FILES]


def test_a_url(hooks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with tensorflow().Graph().as_default(), pytest.raises(UsageError, match="is a URL"):
        hooks.WorkerCkptHelper("hdfs://nn/model", 1)
    assert names(tmp_path) == []
