"""Saves, in real sessions: when, and which files."""

from __future__ import annotations

import inspect
import time
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, dense, listener, names, steps, steps_or_none, stock
from tf_support import tensorflow

from monolith_cli.errors import StateFileError, WriteError
from monolith_cli.formats.checkpoint_state import (
    MonolithCheckpointState,
    format_monolith_checkpoint_state,
    read_monolith_checkpoint_state,
)

pytestmark = pytest.mark.usefixtures("threads_end")


# --- what callers rely on -------------------------------------------------------------------------


def test_the_constructor_is_the_one_that_trainers_call(save: Any) -> None:
    hook = save.NoFirstSaveCheckpointSaverHook
    parameters = inspect.signature(hook.__init__).parameters.values()
    given = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    assert [(p.name, p.default) for p in given] == [
        ("checkpoint_dir", inspect.Parameter.empty),
        ("save_secs", None),
        ("save_steps", None),
        ("saver", None),
        ("checkpoint_basename", "model.ckpt"),
        ("scaffold", None),
        ("listeners", None),
        ("save_graph_def", True),
        ("tide_start_hour", None),
        ("tide_start_minute", None),
        ("tide_end_hour", None),
        ("tide_end_minute", None),
        ("tide_save_secs", None),
        ("ignore_save_errors", False),
        ("is_dense_only", False),
        ("use_native_multi_hash_table", False),
        ("no_first_save", True),
        ("guard_saver_listeners", None),
    ]
    assert issubclass(hook, tensorflow().compat.v1.train.CheckpointSaverHook)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "every_secs"),
        ({"save_secs": 1, "save_steps": 1}, "both"),
        ({"save_steps": 1, "saver": object(), "scaffold": object()}, "both saver and scaffold"),
        ({"save_secs": 1, "tide_start_hour": 3, "tide_save_secs": 3}, "a tide needs"),
        ({"save_secs": 1, "tide_save_secs": 3}, "a tide needs"),
    ],
)
def test_arguments_that_cannot_be_meant(
    save: Any, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save.NoFirstSaveCheckpointSaverHook(str(tmp_path), **options)


def test_a_saver_of_the_collection_is_taken(save: Any, tmp_path: Path) -> None:
    v1 = tensorflow().compat.v1

    def build(job: Job) -> dict[str, Any]:
        saver = v1.train.Saver(max_to_keep=1)
        v1.add_to_collection(v1.GraphKeys.SAVERS, saver)
        return {"saver": None}

    with chief(tmp_path, build=build) as job:
        job.train(4)
    assert steps(tmp_path) == [4]


def test_no_save_when_a_session_is_made(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path / "ours") as job:
        assert steps_or_none(tmp_path / "ours") == []
        assert job.hook.last_saved_step is None
    assert steps_or_none(tmp_path / "ours") == []  # nor at the end of one without a step
    with chief(tmp_path / "stock", hook_class=stock()):
        assert steps_or_none(tmp_path / "stock") == [0]
    with chief(tmp_path / "first", no_first_save=False) as job:
        assert steps_or_none(tmp_path / "first") == [0]
        assert job.hook.last_saved_step == 0


def test_saves_by_steps_and_at_the_end(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    with chief(tmp_path, save_steps=3, listeners=[listener("l", calls)]) as job:
        job.train(7)
    # The first save comes as many steps after the start, as the session's start counts as one.
    assert calls == [
        "l begin",
        *("l before 3", "l after 3", "l before 6", "l after 6", "l before 7", "l after 7"),
        "l end 7",
    ]
    assert steps(tmp_path) == [3, 6, 7]
    assert [dense(tmp_path, step) for step in (3, 6, 7)] == [(3, 3.0), (6, 6.0), (7, 7.0)]


def test_saves_by_seconds_through_the_timer(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, save_secs=1000) as job:
        timer = job.hook.timer
        assert isinstance(timer, tensorflow().compat.v1.train.SecondOrStepTimer)
        job.train(2)
        assert steps_or_none(tmp_path) == []
        timer._last_triggered_time -= 1000
        job.train(2)
        assert steps(tmp_path) == [3]
        assert timer.last_triggered_step() == 3


def test_a_tide_reaches_the_timer(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.saves import tide_timer

    tide = {
        "tide_start_hour": 23,
        "tide_start_minute": 30,
        "tide_end_hour": 0,
        "tide_end_minute": 30,
        "tide_save_secs": 0,
    }
    minutes = 12 * 60
    monkeypatch.setattr(tide_timer, "_utc_minutes", lambda: minutes)
    with chief(tmp_path, save_secs=1000, **tide) as job:
        minutes = 0
        job.train(2)
        assert steps_or_none(tmp_path) == []
        minutes = 12 * 60
        job.train(2)
        assert steps(tmp_path) == [3, 4]
        minutes = 29
        job.train(2)
        assert steps(tmp_path) == [3, 4]


def test_a_timer_that_is_disabled_saves_nothing_but_the_end(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, tide_start_hour=1) as job:
        job.hook.timer.disable()
        job.train(5)
        assert steps_or_none(tmp_path) == []
        job.hook.timer.enable()
        job.train(2)
        assert steps(tmp_path) == [6]
    assert steps(tmp_path) == [6, 7]


def test_a_listener_stops_training(save: Any, tmp_path: Path) -> None:
    stops = listener(after=lambda session, step: step == 4)
    with chief(tmp_path, listeners=[stops, listener()]) as job:
        while not job.session.should_stop():
            job.train()
        assert job.hook.last_saved_step == 4


# --- files ----------------------------------------------------------------------------------------


def test_the_step_is_the_number_in_the_names(save: Any, tmp_path: Path) -> None:
    def build(job: Job) -> dict[str, Any]:
        late = job.step.assign_add(5)  # by a worker that was not blocked

        def before(session: Any, step: int) -> None:
            session.run(late)

        return {"listeners": [listener(before=before)]}

    with chief(tmp_path, build=build, save_steps=4) as job:
        job.train(4)
    expected = {f"model.ckpt-4{suffix}" for suffix in (".index", ".meta", ".data-00000-of-00001")}
    assert expected <= names(tmp_path)
    assert dense(tmp_path, 4) == (9, 4.0)
    assert steps(tmp_path)[0] == 4


def test_checkpoint_is_tensorflows_and_relative(save: Any, tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    with chief(first) as job:
        job.train(5)
    tf = tensorflow()
    assert tf.train.latest_checkpoint(str(first)) == str(first / "model.ckpt-5")
    state = tf.train.get_checkpoint_state(str(first))
    assert list(state.all_model_checkpoint_paths) == [
        str(first / f"model.ckpt-{step}") for step in (2, 4, 5)
    ]
    assert len(state.all_model_checkpoint_timestamps) == 3
    assert str(tmp_path) not in (first / "checkpoint").read_text()

    first.rename(moved)
    with chief(moved) as job:  # TensorFlow's own session creator restores
        assert job.at == 5
        job.train(1)
    assert steps(moved) == [2, 4, 5, 6]
    assert not first.exists()


def test_another_base_name(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, checkpoint_basename="my.ckpt") as job:
        job.train(2)
        assert job.hook.trigger_save(job.session).path == str(tmp_path / "my.ckpt-2")
    assert (tmp_path / "my.ckpt-2.index").exists()
    assert steps(tmp_path) == [2]


def test_a_job_without_graph_files(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, save_graph_def=False) as job:
        job.train(2)
    assert names(tmp_path) == {
        "checkpoint",
        "ckpt.inputs-2",
        "ckpt.manifest-2",
        "model.ckpt-2.data-00000-of-00001",
        "model.ckpt-2.index",
    }


def test_monolith_checkpoint(save: Any, tmp_path: Path) -> None:
    path = tmp_path / "monolith_checkpoint"
    with chief(tmp_path) as job:
        at_start = read_monolith_checkpoint_state(str(path))
        assert at_start == MonolithCheckpointState((), 0, "CUCKOO_HASH_MAP")
        # Somebody exempts a step while the job runs.
        exempt = at_start._replace(exempt_model_checkpoint_paths=("model.ckpt-2",))
        path.write_text(format_monolith_checkpoint_state(exempt))
        inode = path.stat().st_ino
        job.train(2)
        saved = read_monolith_checkpoint_state(str(path))
        assert abs(saved.last_checkpoint_save_timestamp - time.time()) < 60
        assert saved == exempt._replace(
            last_checkpoint_save_timestamp=saved.last_checkpoint_save_timestamp
        )
        assert path.stat().st_ino != inode  # replaced, not written over
    with chief(tmp_path, use_native_multi_hash_table=True):
        again = read_monolith_checkpoint_state(str(path))
        assert again == saved._replace(builtin_hash_table_type="MULTI_CUCKOO_HASH_MAP")


def test_a_damaged_monolith_checkpoint_is_told_at_the_start(save: Any, tmp_path: Path) -> None:
    (tmp_path / "monolith_checkpoint").write_text("builtin_hash_table_type: WHAT")
    with pytest.raises(StateFileError, match="builtin_hash_table_type"), chief(tmp_path):
        pass


def test_a_directory_that_cannot_be_made(save: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(WriteError, match="directory not made"), chief(directory):
            pass
