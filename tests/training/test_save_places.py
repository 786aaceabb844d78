"""Where saves go: from a process that goes elsewhere, of several ranks, of two hooks of a job."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, dense, listener, names, steps
from tf_support import save_checkpoint, tensorflow

from monolith_cli.checkpoint.inputs import find_input_step
from monolith_cli.checkpoint.restart import restart_point
from monolith_cli.errors import UsageError


@pytest.fixture(autouse=True)
def _tensorflow() -> None:
    tensorflow()


# --- a relative directory -------------------------------------------------------------------------


def test_all_of_a_save_goes_where_the_process_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(job: Job) -> dict[str, Any]:
        from monolith_cli.training.ckpt_info import FidSlotCountSaverListener
        from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

        HashTable("table", 1)
        return {
            "listeners": [
                HashTableCheckpointSaverListener("model/model.ckpt"),
                FidSlotCountSaverListener("model"),
            ]
        }

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with chief("model", build=build) as job:
        monkeypatch.chdir(tmp_path / "elsewhere")
        job.train(2)
        result = job.hook.trigger_save(job.session)
        assert result.path == str(tmp_path / "model" / "model.ckpt-2")
        job.train(1)
    assert os.listdir(tmp_path / "elsewhere") == []
    assert steps(tmp_path / "model") == [2, 3]
    assert dense(tmp_path / "model", 3) == (3, 3.0)
    for name in ("model.ckpt-3.assets", "ckpt.info-3", "ckpt.inputs-3", "monolith_checkpoint"):
        assert (tmp_path / "model" / name).exists()


def test_a_chief_that_recovers_looks_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.runs import ChiefSessionCreator

    v1 = tensorflow().compat.v1
    with chief(tmp_path / "model") as job:
        job.train(2)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    job = Job("model")
    with job.graph.as_default():
        barrier_op = BarrierOp(1)
        creator = ChiefSessionCreator(barrier_op, "model", v1.train.Scaffold())
        monkeypatch.chdir(tmp_path / "elsewhere")
        with creator.create_session() as session:
            assert int(session.run(job.step)) == 2


def test_a_url_is_still_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training.runs import monitored_session

    monkeypatch.chdir(tmp_path)
    message = "hdfs://host/model is a URL"
    with pytest.raises(UsageError, match=message), chief("hdfs://host/model"):
        pass
    with pytest.raises(UsageError, match=message):
        monitored_session(None, 0, "hdfs://host/model")  # type: ignore[arg-type]  # not used
    assert os.listdir(tmp_path) == []


# --- ranks other than the root --------------------------------------------------------------------


def without_saver(attribute: str) -> Any:
    """As the training system's `PartialRecoverySaver(skip_save=True)`."""

    class Saver(tensorflow().compat.v1.train.Saver):  # type: ignore[misc]
        def save(self, *_: Any, **__: Any) -> None:
            return None

    saver = Saver(max_to_keep=1)
    setattr(saver, attribute, True)
    return saver


@pytest.mark.parametrize("attribute", ["skip_save", "_skip_save"])
def test_a_rank_that_saves_nothing_but_its_tables(tmp_path: Path, attribute: str) -> None:
    calls: list[str] = []
    save_checkpoint(tmp_path, 1)  # of the root, which saves meanwhile
    save_checkpoint(tmp_path, 9)
    (tmp_path / "input_worker_0.ckpt-10.index").touch()
    (tmp_path / "chief_claim").write_text("of the root")
    before = names(tmp_path)

    def build(job: Job) -> dict[str, Any]:
        return {
            "saver": without_saver(attribute),
            "listeners": [listener("tables", calls)],
            "guard_saver_listeners": [listener("guard", calls)],
        }

    options = {"restore": tmp_path / "nowhere", "save_graph_def": False}
    with chief(tmp_path, build=build, **options) as job:
        job.train(3)
        assert job.hook.trigger_save(job.session) is None
        assert job.hook.trigger_save(job.session) is None
        assert job.hook.last_saved_step is None
    assert calls == [
        "tables begin",
        "guard begin",
        *("guard before 2", "tables before 2", "tables after 2", "guard after 2"),
        *("guard before 3", "tables before 3", "tables after 3", "guard after 3"),
        *("tables end 3", "guard end 3"),
    ]
    assert names(tmp_path) == before
    assert (tmp_path / "chief_claim").read_text() == "of the root"
    assert steps(tmp_path) == [1, 9]


def test_a_saver_that_writes_nothing_and_does_not_say_so(tmp_path: Path) -> None:
    def build(job: Job) -> dict[str, Any]:
        return {"saver": without_saver("other")}

    def train() -> None:
        with chief(tmp_path, build=build) as job:
            job.train(2)

    with pytest.raises(UsageError, match="the saver has written nothing for"):
        train()
    assert not (tmp_path / "checkpoint").exists()


# --- a dense-only save with a barrier -------------------------------------------------------------


@contextmanager
def full_and_dense(directory: Path, **options: Any) -> Iterator[tuple[Job, Any]]:
    """Both hooks bring workers to the barrier, which save their inputs beside the model."""
    from monolith_cli.training.barrier_ops import BarrierOp
    from monolith_cli.training.ckpt_hooks import BarrierSaverListener, WorkerCkptHelper
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    v1 = tensorflow().compat.v1
    more: list[Any] = []

    def build(job: Job) -> dict[str, Any]:
        dataset = tensorflow().data.Dataset.range(100)
        job.next = v1.data.make_one_shot_iterator(dataset).get_next()
        helper = WorkerCkptHelper(directory / "model", 0)
        job.hooks.append(helper.create_restorer_hook())
        op = BarrierOp(1, barrier_callbacks=[helper.create_save_iterator_callback()])
        more.append(
            NoFirstSaveCheckpointSaverHook(
                str(directory / "dense"),
                save_steps=1000,
                saver=v1.train.Saver(max_to_keep=0),
                is_dense_only=True,
                guard_saver_listeners=[BarrierSaverListener(op)],
            )
        )
        return {"guard_saver_listeners": [BarrierSaverListener(op)]}

    model = directory / "model"
    with chief(model, build=build, save_steps=1000, more_hooks=more, **options) as job:
        yield job, more[0]


def inputs(directory: Path) -> set[str]:
    return {name for name in names(directory / "model") if name.startswith("input_worker_0")}


def test_inputs_of_a_dense_only_save_before_the_first_commit(tmp_path: Path) -> None:
    with full_and_dense(tmp_path) as (job, dense_hook):
        job.train(3)
        job.raw.run(job.next)
        assert dense_hook.trigger_save(job.session).step == 3
        assert "input_worker_0.ckpt-3.index" in inputs(tmp_path)
        # Nor is that where a job goes on whose model starts anew.
        assert restart_point(tmp_path / "model").step is None
        assert (
            find_input_step(str(tmp_path / "model"), 0, restart_point(tmp_path / "model")) is None
        )
        job.train(1)
        assert job.hook.trigger_save(job.session).step == 4
        assert {name.partition(".ckpt-4")[0] for name in inputs(tmp_path)} == {"input_worker_0"}
        assert not any("-3" in name for name in names(tmp_path / "model"))
    assert steps(tmp_path / "dense") == [3]


def test_a_dense_only_save_leaves_a_full_one_as_it_is(tmp_path: Path) -> None:
    with full_and_dense(tmp_path) as (job, dense_hook):
        job.train(3)
        assert job.hook.trigger_save(job.session).step == 3
        said = (tmp_path / "model" / "ckpt.inputs-3").read_bytes()
        job.hook.after_create_session(job.raw, None)  # forgets what was saved in full
        assert dense_hook.trigger_save(job.session).step == 3
        assert (tmp_path / "model" / "ckpt.inputs-3").read_bytes() == said
        assert json.loads(said)["workers"]["0"]["finished"] is True
