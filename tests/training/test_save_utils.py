"""Saves, in real sessions: when, in which order, and what is left when they fail."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, Killed, chief, dense, listener, names, steps
from tf_support import tensorflow

from monolith_cli.checkpoint import commits
from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StateFileError, StepNotFoundError, UsageError, WriteError
from monolith_cli.formats.checkpoint_state import (
    MonolithCheckpointState,
    format_monolith_checkpoint_state,
    read_checkpoint_state,
    read_monolith_checkpoint_state,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def save() -> Any:
    tensorflow()
    from monolith_cli.training import save_utils

    return save_utils


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    tensorflow()
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        # TensorFlow's writer of summaries lives as long as the process.
        if type(thread).__name__ != "_EventLoggerThread":
            thread.join(5)
            assert not thread.is_alive(), thread


def no_space(*_: Any) -> None:
    raise tensorflow().errors.ResourceExhaustedError(None, None, "no space")


def stock() -> Any:
    return tensorflow().compat.v1.train.CheckpointSaverHook


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


def steps_or_none(directory: Path) -> list[int]:
    try:
        return steps(directory)
    except StepNotFoundError:
        return []


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


# --- order and commit -----------------------------------------------------------------------------


def full_step(graph: Any) -> int | None:
    """The step of a graph that a full save has covered last."""
    from monolith_cli.training.saves.graph_saves import GraphSaves

    return GraphSaves.of(graph).full_step


@contextmanager
def at_boundary(
    hook: Any, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]
) -> Iterator[None]:
    """Call `act` with a name at each boundary inside a save that is not a listener's."""
    from monolith_cli.training.saves import save as module

    saver, write_inputs, write = hook._get_saver(), module.write_step_inputs, commits.atomic_write
    write_manifest, store = module.write_step_manifest, saver.save

    def save(*args: Any, **options: Any) -> Any:
        act("dense")
        result = store(*args, **options)
        act("dense done")
        return result

    def inputs(*args: Any) -> None:
        write_inputs(*args)
        act("inputs done")

    def manifest(*args: Any) -> None:
        write_manifest(*args)
        act("manifest done")

    def commit(path: str, data: bytes) -> None:
        if os.path.basename(path) == "checkpoint":
            act("commit")
        write(path, data)
        if os.path.basename(path) == "checkpoint":
            act("commit done")

    with monkeypatch.context() as patch:
        patch.setattr(saver, "save", save)
        patch.setattr(module, "write_step_inputs", inputs)
        patch.setattr(module, "write_step_manifest", manifest)
        patch.setattr(commits, "atomic_write", commit)
        yield


def test_a_save_is_not_seen_before_its_commit(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, set[str]]] = []

    def note(what: str) -> None:
        known = {name for _, new in seen for name in new}
        seen.append((what, names(tmp_path) - known))
        if what != "commit done":
            assert steps_or_none(tmp_path) == [], what
            with pytest.raises(StepNotFoundError, match=r"not committed|no step 2"):
                open_model_dir(tmp_path).checkpoint(2)

    calls = listener(
        before=lambda session, step: note("tables"),
        after=lambda session, step: seen.append(("after", set())),
    )
    with chief(tmp_path, listeners=[calls]) as job:
        note("start")
        with at_boundary(job.hook, monkeypatch, note):
            job.train(2)
        assert seen == [
            (
                "start",
                {"graph.pbtxt", "meta_graph_for_debugging.pb", "monolith_checkpoint"},
            ),
            ("tables", {"ckpt.inputs-2"}),  # begun: no workers in it
            ("dense", set()),
            (
                "dense done",
                {f"model.ckpt-2{end}" for end in (".index", ".meta", ".data-00000-of-00001")},
            ),
            ("inputs done", set()),
            ("manifest done", {"ckpt.manifest-2"}),
            ("commit", set()),
            ("commit done", {"checkpoint"}),
            ("after", set()),
        ]
        assert steps(tmp_path) == [2]


BOUNDARIES = [
    "guard", "tables", "dense", "dense done", "inputs done", "manifest done", "commit",
    "commit done", "after",
]  # fmt: skip


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_killed_at_a_boundary(
    save: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    boundary: str,
    first: bool,
) -> None:
    old = [] if first else [2, 3]
    if not first:
        with chief(tmp_path) as job:
            job.train(3)

    def act(what: str) -> None:
        if what == boundary:
            raise Killed

    def tables(session: Any, step: int) -> None:
        assets = tmp_path / f"model.ckpt-{step}.assets"
        assets.mkdir()
        (assets / "t-00000-of-00001").touch()
        (tmp_path / f"ckpt.info-{step}").touch()
        (tmp_path / f"input_worker_1.ckpt-{step}.index").touch()
        act("tables")

    listeners = [listener(before=tables, after=lambda session, step: act("after"))]
    guards = [listener(before=lambda session, step: act("guard"))]
    with (
        pytest.raises(Killed),
        chief(tmp_path, save_steps=1, listeners=listeners, guard_saver_listeners=guards) as job,
        at_boundary(job.hook, monkeypatch, act),
    ):
        job.train(1)
    killed = 1 if first else 4
    is_committed = boundary in ("commit done", "after")
    assert steps_or_none(tmp_path) == old + [killed] * is_committed

    with chief(tmp_path, save_steps=100) as job:
        at = killed if is_committed else (old or [0])[-1]
        assert job.at == at
        job.train(3)
        assert job.hook.trigger_save(job.session).step == at + 3
    assert steps(tmp_path) == old + [killed] * is_committed + [at + 3]
    if not is_committed and killed != at + 3:
        assert not [name for name in names(tmp_path) if name.rpartition("-")[2] == str(killed)]
        assert not [name for name in names(tmp_path) if f"-{killed}." in name]
    for step in steps(tmp_path):
        assert dense(tmp_path, step) == (step, float(step))


def fingerprint_of(directory: Path, step: int) -> dict[str, tuple[int, int]]:
    return {
        name: ((directory / name).stat().st_ino, (directory / name).stat().st_mtime_ns)
        for name in names(directory)
        if f"-{step}" in name or name == "checkpoint"
    }


def test_a_committed_step_is_never_written_again(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    with chief(tmp_path, listeners=[listener("l", calls)]) as job:
        job.train(2)
        before = fingerprint_of(tmp_path, 2)
        calls.clear()
        result = job.hook.trigger_save(job.session)
        assert result == save.SaveResult(2, str(tmp_path / "model.ckpt-2"), (), ())
        assert job.hook.trigger_save(job.session) == result
        assert calls == []
    assert fingerprint_of(tmp_path, 2) == before
    with chief(tmp_path, no_first_save=False) as job:  # nor after a restart
        assert job.hook.trigger_save(job.session) == result
    assert fingerprint_of(tmp_path, 2) == before

    # TensorFlow does write again, and truncates the index in place.
    with chief(tmp_path, hook_class=stock()):
        pass
    after = fingerprint_of(tmp_path, 2)
    assert after["model.ckpt-2.index"] != before["model.ckpt-2.index"]


def test_what_fails_after_the_commit_does_not_write_it_again(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    with chief(
        tmp_path, listeners=[listener("bad", calls, after=no_space), listener("good", calls)]
    ) as job:
        job.train(1)
        calls.clear()
        monkeypatch.setattr(
            job.hook._summary_writer, "add_session_log", lambda *_: no_space()
        )  # is only told
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            job.hook.trigger_save(job.session)
        assert calls == ["bad before 1", "good before 1", "bad after 1", "good after 1"]
        assert steps(tmp_path) == [1]
        assert job.hook.trigger_save(job.session).step == 1


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


def of_step(directory: Path, step: int) -> set[str]:
    return {name for name in names(directory) if name.endswith(f"-{step}") or f"-{step}." in name}


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


# --- saves that fail ------------------------------------------------------------------------------


def test_a_failed_save_is_tried_once_more(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    failures = [1]

    def fail(session: Any, step: int) -> None:
        if failures:
            failures.pop()
            no_space()

    guards = [listener("outer", calls), listener("inner", calls)]
    listeners = [listener("l", calls, before=fail)]
    with chief(tmp_path, listeners=listeners, guard_saver_listeners=guards) as job:
        assert calls == ["l begin", "outer begin", "inner begin"]
        calls.clear()
        job.train(2)
        assert calls == [
            *("outer before 2", "inner before 2"),
            *("l before 2", "l before 2", "l after 2"),
            *("inner after 2", "outer after 2"),
        ]
        calls.clear()
    assert calls == ["l end 2", "outer end 2", "inner end 2"]
    assert steps(tmp_path) == [2]


def test_a_save_that_fails_twice_is_raised(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []
    guards = [listener("guard", calls)]
    listeners = [listener("l", calls, before=no_space)]
    with (
        pytest.raises(tensorflow().errors.ResourceExhaustedError, match="no space"),
        chief(tmp_path, listeners=listeners, guard_saver_listeners=guards) as job,
    ):
        job.train(2)
    assert calls[2:] == ["guard before 2", "l before 2", "l before 2", "guard after 2"]
    assert steps_or_none(tmp_path) == []


@pytest.mark.parametrize("where", ["guard", "listener"])
def test_errors_are_ignored_if_asked(save: Any, tmp_path: Path, where: str) -> None:
    bad = [True]

    def fail(session: Any, step: int) -> None:
        if bad:
            no_space()

    key = "guard_saver_listeners" if where == "guard" else "listeners"
    calls: list[str] = []
    one = listener("l", calls, before=fail)
    with chief(tmp_path, ignore_save_errors=True, **{key: [one]}) as job:
        job.train(3)
        assert steps_or_none(tmp_path) == []
        assert job.hook.trigger_save(job.session, ignore_save_errors=True) is None
        with pytest.raises(tensorflow().errors.ResourceExhaustedError):
            job.hook.trigger_save(job.session)
        job.train(1)  # saves, and fails
        bad.clear()
    assert steps(tmp_path) == [4]  # at the end once more, for nothing has been trained since
    assert not job.hook.is_saving


def test_other_errors_are_not_tried_again(save: Any, tmp_path: Path) -> None:
    calls: list[str] = []

    def fail(session: Any, step: int) -> None:
        raise KeyError("a mistake")

    guards = [listener("outer", calls), listener("inner", calls, after=fail)]
    with (
        pytest.raises(KeyError),
        chief(
            tmp_path,
            listeners=[listener("l", calls, before=fail)],
            guard_saver_listeners=guards,
            ignore_save_errors=True,
        ) as job,
    ):
        job.train(2)
    assert calls[3:] == [
        *("outer before 2", "inner before 2", "l before 2", "inner after 2", "outer after 2")
    ]


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """No file can grow beyond: a disk that is full for all but small ones."""
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def big(job: Job) -> dict[str, Any]:
    v1 = tensorflow().compat.v1
    v1.get_variable("big", [1 << 18], initializer=v1.zeros_initializer())  # 1 MiB
    return {}


def test_a_full_disk_in_the_dense_variables(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path, build=big, save_steps=100) as job:
        job.train(1)
        job.hook.trigger_save(job.session)
        job.train(1)
        with file_size_limit(100_000), pytest.raises(tensorflow().errors.OpError):
            job.hook.trigger_save(job.session)
        assert steps(tmp_path) == [1]
        assert not (tmp_path / "model.ckpt-2.index").exists()
        job.train(1)
    assert steps(tmp_path) == [1, 3]
    assert not of_step(tmp_path, 2)


@pytest.mark.parametrize("file", ["ckpt.inputs-2", "checkpoint", "monolith_checkpoint"])
def test_a_full_disk_at_a_small_file(
    save: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    from monolith_cli.checkpoint import inputs
    from monolith_cli.training.saves import directory as save_directory

    calls: list[str] = []
    full = [True]
    write = commits.atomic_write

    def atomic_write(path: str, data: bytes) -> None:
        calls.append(os.path.basename(path))
        if os.path.basename(path) == file and full and "l before 2" in calls:
            raise WriteError("not written: No space left on device", path=path, kind="no_space")
        write(path, data)

    for module in (inputs, commits, save_directory):
        monkeypatch.setattr(module, "atomic_write", atomic_write)
    with chief(tmp_path, save_steps=100, listeners=[listener("l", calls)]) as job:
        job.train(1)
        job.hook.trigger_save(job.session)
        job.train(1)
        if file == "monolith_checkpoint":  # comes after the commit
            assert job.hook.trigger_save(job.session).step == 2
            assert calls.count("l before 2") == 1
        else:
            with pytest.raises(WriteError, match="No space left"):
                job.hook.trigger_save(job.session)
            assert calls.count("l before 2") == 2
            assert steps(tmp_path) == [1]
            assert open_model_dir(tmp_path).checkpoint().step == 1
        full.clear()
        job.train(1)
    assert steps(tmp_path) == ([1, 2, 3] if file == "monolith_checkpoint" else [1, 3])


def test_a_directory_that_becomes_a_file(save: Any, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    with chief(directory, save_steps=100) as job:
        job.train(1)
        shutil.rmtree(directory)
        directory.touch()
        with pytest.raises(WriteError, match="directory not made"):
            job.hook.trigger_save(job.session)
        directory.unlink()
        job.train(1)
    assert steps(directory) == [2]


def test_a_plain_session_takes_the_directory_as_it_is(save: Any, tmp_path: Path) -> None:
    with chief(tmp_path) as job:
        job.train(4)
    v1 = tensorflow().compat.v1
    job = Job(tmp_path)
    with job.graph.as_default(), v1.Session() as session:
        saver = v1.train.Saver(max_to_keep=2)
        hook = save.NoFirstSaveCheckpointSaverHook(str(tmp_path), save_steps=2, saver=saver)
        hook.begin()
        saver.restore(session, str(tmp_path / "model.ckpt-4"))
        session.run(job.train_op)
        assert hook.trigger_save(session).step == 5
    assert steps(tmp_path) == [4, 5]
    assert not of_step(tmp_path, 2)


def test_a_listener_cannot_save_inside_a_save(save: Any, tmp_path: Path) -> None:
    hooks: list[Any] = []

    def before(session: Any, step: int) -> None:
        hooks[0].trigger_save(session)

    results: list[Any] = []

    def after(session: Any, step: int) -> None:
        results.append(hooks[0].trigger_save(session))  # committed: that is fine

    with chief(tmp_path, save_steps=100, listeners=[listener(after=after)]) as job:
        hooks.append(job.hook)
        job.train(1)
        job.hook.trigger_save(job.session)
        assert [result.step for result in results] == [1]
        job.hook._listeners.append(listener(before=before))
        job.train(1)
        with pytest.raises(RuntimeError, match="a save is going on"):
            job.hook.trigger_save(job.session)
        job.hook._listeners.pop()


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
