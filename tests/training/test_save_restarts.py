"""Saves across restarts: what is kept, where training goes on, dense-only hooks."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import (
    Job,
    chief,
    dense,
    full_step,
    listener,
    names,
    of_step,
    steps,
    stock,
)
from tf_support import tensorflow

from monolith_cli.checkpoint import commits
from monolith_cli.errors import UsageError
from monolith_cli.formats.checkpoint_state import (
    MonolithCheckpointState,
    format_monolith_checkpoint_state,
    read_checkpoint_state,
)

pytestmark = pytest.mark.usefixtures("threads_end")


# --- what is kept ---------------------------------------------------------------------------------


def extras(directory: Path) -> Any:
    """A listener that writes what belongs to a step besides the dense variables."""

    def before(session: Any, step: int) -> None:
        (directory / f"model.ckpt-{step}.assets").mkdir()
        for name in (f"model.ckpt-{step}.assets/t-00000-of-00001", f"ckpt.info-{step}"):
            (directory / name).touch()
        for suffix in ("index", "data-00000-of-00001"):
            (directory / f"input_worker_1.ckpt-{step}.{suffix}").touch()

    return listener(before=before)


def test_old_steps_go_with_all_that_belongs_to_them(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, max_to_keep=2, save_steps=1, listeners=[extras(tmp_path)]) as job:
        job.train(4)
    assert steps(tmp_path) == [3, 4]
    for step in (1, 2):
        assert of_step(tmp_path, step) == {f"ckpt.info-{step}"}
    for step in (3, 4):
        assert len(of_step(tmp_path, step)) == 9


@pytest.mark.parametrize("ours", [True, False])
def test_restarts_do_not_forget_what_is_to_be_deleted(
    save: Any, tmp_path: Path, ours: bool
) -> None:
    for _ in range(4):
        with chief(
            tmp_path,
            max_to_keep=2,
            hook_class=None if ours else stock(),
            save_steps=100,
            by_name=True,
        ) as job:
            job.train(1)
    on_disk = sorted(int(name[11:-6]) for name in names(tmp_path) if name.endswith(".index"))
    assert on_disk == ([3, 4] if ours else [0, 1, 2, 3, 4])


def test_zero_keeps_all(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, max_to_keep=0, save_steps=1) as job:
        job.train(7)
    assert steps(tmp_path) == [1, 2, 3, 4, 5, 6, 7]


def test_every_n_hours_one_stays(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(commits.time, "time", lambda: now)
    for _ in range(6):  # each in a session of its own
        with chief(tmp_path, max_to_keep=1, keep_hours=2, save_steps=100) as job:
            job.train(1)
        now += 3600
    kept = [name for name in names(tmp_path) if name.endswith(".index")]
    # 1 is the first that is listed, and 3 and 5 are two hours later than what stayed before.
    assert sorted(kept) == [f"model.ckpt-{step}.index" for step in (3, 5, 6)]
    assert read_checkpoint_state(str(tmp_path / "checkpoint")).all_model_checkpoint_paths == (
        "model.ckpt-6",
    )


def test_an_exempt_step_stays(save: Any, tmp_path: Path) -> None:
    exempt = MonolithCheckpointState((str(tmp_path / "model.ckpt-1"),), 0, "CUCKOO_HASH_MAP")
    (tmp_path / "monolith_checkpoint").write_text(format_monolith_checkpoint_state(exempt))
    with chief(tmp_path, max_to_keep=2, save_steps=1, listeners=[extras(tmp_path)]) as job:
        job.train(5)
    assert steps(tmp_path) == [1, 4, 5]
    assert len(of_step(tmp_path, 1)) == 9


# --- restarts -------------------------------------------------------------------------------------


def test_a_session_that_restored_nothing_is_refused(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path / "model") as job:
        job.train(4)
    before = names(tmp_path / "model")
    message = "the session is at step 0, but the latest checkpoint there is of 4"
    with (
        pytest.raises(UsageError, match=message),
        chief(tmp_path / "model", restore=tmp_path / "elsewhere"),
    ):
        pass
    assert names(tmp_path / "model") == before


def write_override(directory: Path, step: int) -> None:
    text = json.dumps({"model_step": step, "inputs": {"1": step}})
    (directory / "ckpt.override").write_text(text)


def test_an_override_needs_a_session_of_exactly_that_step(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(5)
    write_override(tmp_path, 2)
    # TensorFlow's own session creator restores what `checkpoint` names, tables would be of step 2.
    message = r"is at step 5, but 'ckpt\.override' asks for 2"
    with pytest.raises(UsageError, match=message), chief(tmp_path):
        pass
    assert steps(tmp_path) == [2, 4, 5]


def test_an_override_ends_with_the_next_commit(save: Any, tmp_path: Path) -> None:
    from monolith_cli.training.runs import ChiefSessionCreator

    def build(job: Job) -> dict[str, Any]:
        from monolith_cli.training.barrier_ops import BarrierOp

        job.barrier_op = BarrierOp(1, wait_seconds=0.02)
        return {}

    with chief(tmp_path) as job:
        job.train(5)
    write_override(tmp_path, 2)
    v1 = tensorflow().compat.v1
    job = Job(tmp_path)
    with job.graph.as_default():
        build(job)
        scaffold = v1.train.Scaffold(saver=v1.train.Saver())
        hook = save.NoFirstSaveCheckpointSaverHook(str(tmp_path), save_steps=2, scaffold=scaffold)
        creator = ChiefSessionCreator(job.barrier_op, tmp_path, scaffold)
        with v1.train.MonitoredSession(creator, [hook]) as job.session:
            assert job.at == 2
            assert hook.trigger_save(job.session).step == 2
            assert (tmp_path / "ckpt.override").exists()
            job.train(1)
            assert (tmp_path / "ckpt.override").exists()
            job.train(1)
            assert not (tmp_path / "ckpt.override").exists()
            assert not of_step(tmp_path, 5)
            job.train(1)
    assert steps(tmp_path) == [2, 4, 5]
    assert dense(tmp_path, 5) == (5, 5.0)
    said = [json.loads((tmp_path / f"ckpt.inputs-{step}").read_text()) for step in (4, 5)]
    assert said[0]["override"]["model_step"] == 2
    assert "override" not in said[1]


def test_recovery_goes_on_from_what_is_committed(save: Any, tmp_path: Path) -> None:
    tf = tensorflow()
    calls: list[str] = []

    class AbortOnce(tf.compat.v1.train.SessionRunHook):  # type: ignore[misc]
        sessions = 0
        steps = 0

        def after_create_session(self, session: Any, coord: Any) -> None:
            self.sessions += 1

        def after_run(self, run_context: Any, run_values: Any) -> None:
            self.steps += 1
            if self.steps == 5:
                raise tf.errors.AbortedError(None, None, "once")

    abort = AbortOnce()
    with chief(tmp_path, listeners=[listener("l", calls)], more_hooks=[abort], save_steps=3) as job:
        job.train(5)  # 5 is lost, and one step made again
        assert abort.sessions == 2
        assert job.at == 4
        assert "l end" not in " ".join(calls)
        job.train(2)
        assert steps(tmp_path) == [3, 6]
        result = job.hook.trigger_save(job.session)
        assert result.step == 6
    assert [call for call in calls if "end" in call] == ["l end 6"]
    assert dense(tmp_path, 6) == (6, 6.0)


# --- dense-only -----------------------------------------------------------------------------------


@contextmanager
def full_and_dense(
    directory: Path, *, full_steps: int = 4, dense_steps: int = 2, **options: Any
) -> Iterator[tuple[Job, Any]]:
    from monolith_cli.training.save_utils import NoFirstSaveCheckpointSaverHook

    v1 = tensorflow().compat.v1
    made = []

    def build(job: Job) -> dict[str, Any]:
        hook = NoFirstSaveCheckpointSaverHook(
            str(directory / "dense"),
            save_steps=dense_steps,
            saver=v1.train.Saver(max_to_keep=0),
            is_dense_only=True,
        )
        made.append(hook)
        more.append(hook)
        return {}

    more: list[Any] = []
    with chief(
        directory / "model", build=build, save_steps=full_steps, more_hooks=more, **options
    ) as job:
        yield job, made[0]


def test_a_dense_only_hook_leaves_out_what_was_just_saved_in_full(
    save: Any, tmp_path: Path
) -> None:
    with full_and_dense(tmp_path) as (job, hook):
        job.train(4)
        assert hook.trigger_save(job.session) is None
        job.train(2)
        assert hook.trigger_save(job.session).step == 6
        job.hook.trigger_save(job.session)
    assert steps(tmp_path / "model") == [4, 6]
    assert steps(tmp_path / "dense") == [2, 6]


def test_a_dense_only_hook_alone_saves_at_the_end(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, is_dense_only=True, save_steps=100) as job:
        job.train(3)
    assert steps(tmp_path) == [3]


def test_a_dense_only_hook_follows_a_job_that_went_back(save: Any, tmp_path: Path) -> None:
    with full_and_dense(tmp_path) as (job, hook):
        job.train(7)
        shutil.copytree(tmp_path / "model", tmp_path / "old")
    assert steps(tmp_path / "dense") == [2, 6]  # 7 is saved in full first
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "old").rename(tmp_path / "model")
    with full_and_dense(tmp_path) as (job, hook):
        assert job.at == 4
        job.train(1)
        result = hook.trigger_save(job.session)
        assert result.step == 5
        assert steps(tmp_path / "dense") == [2, 5]
        assert not of_step(tmp_path / "dense", 6)


def test_after_going_back_a_full_save_of_before_is_none(save: Any, tmp_path: Path) -> None:
    tf = tensorflow()

    with full_and_dense(tmp_path) as (job, _):
        job.train(4)
    assert full_step(job.graph) == 4
    # The same graph, in a session that starts from nothing: 4 is not saved in full in it.
    shutil.rmtree(tmp_path / "model")
    v1 = tf.compat.v1
    with job.graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        job.hook.after_create_session(session, None)
        assert full_step(job.graph) is None


def test_two_hooks_in_one_directory_are_refused(save: Any, tmp_path: Path) -> None:
    def build(job: Job) -> dict[str, Any]:
        v1 = tensorflow().compat.v1
        hook = save.NoFirstSaveCheckpointSaverHook(
            str(tmp_path / "." / "model"), save_steps=3, saver=v1.train.Saver(), is_dense_only=True
        )
        job.hooks.append(hook)
        return {}

    message = "two saver hooks of a session save into one directory"
    with pytest.raises(UsageError, match=message), chief(tmp_path / "model", build=build):
        pass
