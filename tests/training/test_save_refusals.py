"""What is refused, rather than to commit what is not there; guards, and other savers."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, listener, names, steps, steps_or_none
from tf_support import tensorflow

from monolith_cli.errors import UsageError

pytestmark = pytest.mark.usefixtures("threads_end")


# --- what is refused, rather than to commit what is not there -------------------------------------


def content(directory: Path) -> dict[str, bytes]:
    """All files but TensorFlow's summaries."""
    return {name: (directory / name).read_bytes() for name in names(directory)}


def padded(v1: Any) -> Any:
    return v1.train.Saver(pad_step_number=True)


def of_version_1(v1: Any) -> Any:
    return v1.train.Saver(write_version=v1.train.SaverDef.V1)


@pytest.mark.parametrize(
    ("make", "message"), [(padded, "the saver has written"), (of_version_1, "version 1")]
)
@pytest.mark.parametrize("before", [False, True])
def test_a_saver_of_other_files(
    save: Any, tmp_path: Path, make: Callable[[Any], Any], message: str, before: bool
) -> None:
    if before:
        with chief(tmp_path) as job:
            job.train(2)
    state = (tmp_path / "checkpoint").read_bytes() if before else None

    def build(job: Job) -> dict[str, Any]:
        return {"saver": make(tensorflow().compat.v1)}

    with pytest.raises(UsageError, match=message), chief(tmp_path, build=build) as job:
        job.train(2)
    assert (tmp_path / "checkpoint").exists() == before
    assert not before or (tmp_path / "checkpoint").read_bytes() == state
    assert not before or steps(tmp_path) == [2]


def test_no_saver(save: Any, tmp_path: Path) -> None:
    v1 = tensorflow().compat.v1

    def build(job: Job) -> dict[str, Any]:
        other = v1.train.Scaffold()  # which the session does not finalize
        job.hooks.append(save.NoFirstSaveCheckpointSaverHook(str(tmp_path), 1, scaffold=other))
        return {"checkpoint_basename": "unused"}

    with pytest.raises(UsageError, match="there is no saver"), chief(tmp_path / "x", build=build):
        pass
    assert "checkpoint" not in names(tmp_path)


def test_tables_under_another_name(save: Any, tmp_path: Path) -> None:
    from monolith_cli.training.hash_table import HashTable, HashTableCheckpointSaverListener

    def building(basename: Path) -> Callable[[Job], dict[str, Any]]:
        def build(job: Job) -> dict[str, Any]:
            HashTable("t", 1)
            return {"listeners": [HashTableCheckpointSaverListener(basename)]}

        return build

    model = tmp_path / "model"
    for basename in (tmp_path / "model.ckpt", model / "other", tmp_path / "model2" / "model.ckpt"):
        message = f"tables are saved as {basename}, dense variables as {model}"
        with pytest.raises(UsageError, match=message), chief(model, build=building(basename)):
            pass
        assert names(model) == set()
    with chief(model, build=building(model / ".." / "model" / "model.ckpt")) as job:
        job.train(2)
    assert steps(model) == [2]
    assert (model / "model.ckpt-2.assets").is_dir()


def test_a_listener_of_ones_own_with_a_relative_name(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = listener()
    own.basename = "model/model.ckpt"
    with chief("model", listeners=[own]) as job:
        job.train(2)
    assert steps("model") == [2]
    own.basename = "model/other"
    message = "tables are saved as model/other"
    with pytest.raises(UsageError, match=message), chief("model", listeners=[own]):
        pass


def test_a_url(save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("hdfs://nn/model", "gs://bucket"):
        v1 = tensorflow().compat.v1
        with tensorflow().Graph().as_default():
            v1.train.create_global_step()
            hook = save.NoFirstSaveCheckpointSaverHook(url, save_steps=1, saver=object())
            with pytest.raises(UsageError, match=f"{url} is a URL"):
                hook.begin()
    assert list(tmp_path.iterdir()) == []


def test_a_save_before_the_session(save: Any, tmp_path: Path) -> None:
    v1 = tensorflow().compat.v1
    with tensorflow().Graph().as_default(), v1.Session() as session:
        v1.train.create_global_step()
        hook = save.NoFirstSaveCheckpointSaverHook(
            str(tmp_path), save_steps=1, saver=v1.train.Saver()
        )
        with pytest.raises(RuntimeError, match="the hook has not begun"):
            hook.trigger_save(session)
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_is_closed(save: Any, tmp_path: Path) -> None:
    from monolith_cli.training.graph.shared import plain

    train = tensorflow().compat.v1.train
    for kind in (train.MonitoredSession, train.SingularMonitoredSession):
        with tensorflow().Graph().as_default():
            with kind() as session:
                assert isinstance(plain(session), tensorflow().compat.v1.Session)
            with pytest.raises(RuntimeError, match="the session is closed"):
                plain(session)
    with chief(tmp_path) as job:
        job.train(2)
    with pytest.raises(tensorflow().errors.AbortedError, match="the session has ended"):
        job.hook.trigger_save(job.session)
    assert steps(tmp_path) == [2]


# --- guards ---------------------------------------------------------------------------------------


def test_a_guard_that_was_not_entered_is_not_left(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []

    def fail(session: Any, step: int) -> None:
        raise LookupError("the cause")

    def complain(session: Any, step: int) -> None:
        raise AssertionError("was never entered")

    guards = [
        listener("first", calls),
        listener("second", calls, before=fail, after=complain),
        listener("third", calls, after=complain),
    ]
    with (
        pytest.raises(LookupError, match="the cause"),
        chief(tmp_path, guard_saver_listeners=guards, listeners=[listener("inside", calls)]) as job,
    ):
        job.train(2)
    assert [call for call in calls if not call.endswith("begin")] == [
        "first before 2",
        "second before 2",
        "first after 2",
    ]
    assert steps_or_none(tmp_path) == []


@pytest.mark.parametrize("asked", [False, True])
def test_a_guard_stops_training(save: Any, tmp_path: Path, asked: bool) -> None:
    stops = listener(after=lambda session, step: step == 4)
    with chief(
        tmp_path,
        guard_saver_listeners=[listener(), stops, listener()],
        save_steps=3 if asked else 2,
    ) as job:
        job.train(3)
        assert not job.session.should_stop()
        if asked:
            with ThreadPoolExecutor(1) as pool:
                saved = pool.submit(job.hook.trigger_save, job.session)
                while not job.hook._on_demand._requests._waiting:
                    time.sleep(0.005)
                job.train()
                assert saved.result(10).step == 4
        else:
            job.train()
        assert job.session.should_stop()
        assert job.hook.last_saved_step == 4


# --- other savers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("save_steps", [7, 1])
def test_with_the_saver_of_tensorflows_session(save: Any, tmp_path: Path, save_steps: int) -> None:
    """Both commit in one directory, each in its own rhythm: what is named is there."""
    tf = tensorflow()
    v1 = tf.compat.v1
    named: list[list[int]] = []

    def check() -> None:
        state = tf.train.get_checkpoint_state(str(tmp_path))
        paths = list(state.all_model_checkpoint_paths)
        named.append([int(path.rpartition("-")[2]) for path in paths])
        assert state.model_checkpoint_path == paths[-1]
        for path in paths:
            session = v1.Session(graph=restoring)
            with restoring.as_default(), session:
                restorer.restore(session, path)
                assert session.run(number) == named[-1][paths.index(path)]

    job = Job(tmp_path)
    restoring = tf.Graph()
    with restoring.as_default():
        number = v1.get_variable("number", []).read_value()
        restorer = v1.train.Saver()
    with job.graph.as_default():
        scaffold = v1.train.Scaffold()
        hook = save.NoFirstSaveCheckpointSaverHook(
            str(tmp_path), save_steps=save_steps, scaffold=scaffold
        )
        with v1.train.MonitoredTrainingSession(
            checkpoint_dir=str(tmp_path),
            scaffold=scaffold,
            save_checkpoint_steps=5,
            save_summaries_steps=None,
            log_step_count_steps=None,
            hooks=[hook],
        ) as job.session:
            check()
            before = None
            for _ in range(43):
                job.train()
                now = (tmp_path / "checkpoint").read_bytes()
                if now != before:
                    check()
                before = now
        check()
    lasts = [steps[-1] for steps in named]
    assert lasts == sorted(lasts)
    assert {7, 14, 21, 28, 42, 43} <= set(lasts)
    assert len(set(lasts)) > 10  # and TensorFlow's
    assert all(steps == sorted(set(steps)) for steps in named)
