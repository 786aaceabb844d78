"""Which step's positions of an input are restored, and what of them fits."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ckpt_hooks_support import Worker, committed, names, remove_state, save_steps
from input_support import Input, generated, graph, numbers, plain_session
from tf_support import tensorflow, write_plain

from monolith_cli.checkpoint.inputs import StepInputs, WorkerInput, write_step_inputs
from monolith_cli.errors import CorruptionError, PathNotFoundError, StateFileError

# Which step's state is restored.


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
