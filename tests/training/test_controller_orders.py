"""Orders to a job without a port: by an op, and by a file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, chief, workers
from tf_support import tensorflow
from waiting import eventually

from monolith_cli.control.log import read_log

pytestmark = pytest.mark.usefixtures("job_ends")


class Asked:
    """What the hooks of a job without a port are made of."""

    def __init__(self) -> None:
        self.controller: Any = None
        self.barrier: Any = None
        self.saves = 0
        self.stopped: list[tuple[str, str]] = []  # thread and action

    def save(self) -> None:
        self.saves += 1


@contextmanager
def asked(
    directory: Path, *present: int, capacity: int = 1, hooks_before: Sequence[Any] = ()
) -> Iterator[tuple[Job, Asked]]:
    """A chief with a ControllerHook, and a QueryActionHook."""
    from monolith_cli.training.barrier_ops import BarrierHook, BarrierOp
    from monolith_cli.training.controller import ControllerHook, QueryActionHook, StopHelper

    made = Asked()
    hooks: list[Any] = []

    def build(job: Job) -> dict[str, Any]:
        helper = StopHelper()

        def note(action: str, session: Any) -> None:
            made.stopped.append((threading.current_thread().name, action))

        callbacks = [helper.create_barrier_callback(), note]
        made.barrier = BarrierOp(capacity, wait_seconds=0.02, barrier_callbacks=callbacks)
        made.controller = ControllerHook(0, made.barrier, made.save)
        hooks.extend(
            [
                made.controller,
                QueryActionHook(directory, made.controller),
                helper.create_stop_hook(),
                *hooks_before,
                BarrierHook(0, made.barrier),
            ]
        )
        return {}

    with (
        chief(directory, build=build, more_hooks=hooks, save_steps=10**9) as job,
        workers(job, made.barrier, *present),
    ):
        yield job, made


def test_a_save_by_an_op(tmp_path: Path) -> None:
    with asked(tmp_path) as (job, made):
        names = {op.name for op in job.graph.get_operations()}
        assert "monolith_controller_hook/control_var" in names
        job.train(2)
        assert made.saves == 0
        job.raw.run(made.controller.trigger_save_op)
        assert made.saves == 0  # in the chief's step, not before
        job.train()
        assert made.saves == 1
        job.train(3)
        assert made.saves == 1
        assert not job.session.should_stop()


def test_a_stop_by_an_op(tmp_path: Path) -> None:
    with asked(tmp_path, 1, 2, capacity=3) as (job, made):
        job.train()
        job.raw.run(made.controller.stop_op)
        job.train()
        assert job.session.should_stop()  # the chief's own StopHelper
        threads = [thread for thread, action in made.stopped if action == "Stop"]
        assert len(threads) == 3
        assert {"worker-1", "worker-2"} < set(threads)
        assert not made.barrier.is_barrier_placed(job.raw)


def test_a_stop_waits_for_stragglers_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import ops_hook

    assert ops_hook._STOP_WAIT_SECONDS == 30
    monkeypatch.setattr(ops_hook, "_STOP_WAIT_SECONDS", 0.5)
    with asked(tmp_path, 1, capacity=3) as (job, made):
        job.train()
        job.raw.run(made.controller.stop_op)
        start = time.monotonic()
        job.train()
        assert 0.5 <= time.monotonic() - start < 3
        assert "worker-1" in [thread for thread, _ in made.stopped]
        assert not made.barrier.is_barrier_placed(job.raw)


def test_a_stop_while_somebody_holds_the_barrier(tmp_path: Path) -> None:
    with asked(tmp_path, 1, capacity=2) as (job, made):
        job.train()
        made.barrier.place_barrier(job.raw)
        eventually(lambda: made.barrier.get_blocked_indices(job.raw) == [0, 1])
        job.raw.run(made.controller.stop_op)
        job.train()
        assert {("worker-1", "Stop")} < set(made.stopped)
        assert made.barrier.get_blocked_indices(job.raw) == [0, 1]  # it stays his
        made.barrier.remove_barrier(job.raw)


def test_a_controller_without_barrier_or_save(tmp_path: Path) -> None:
    from monolith_cli.training.controller import ControllerHook

    v1 = tensorflow().compat.v1
    with tensorflow().Graph().as_default():
        one = v1.constant(1)
        hook = ControllerHook()
        with v1.train.SingularMonitoredSession(hooks=[hook]) as session:
            session.raw_session().run([hook.stop_op, hook.trigger_save_op])
            session.run(one)
            assert not session.should_stop()


def test_the_flags_are_on_the_first_parameter_server() -> None:
    from monolith_cli.training.controller import ControllerHook

    with tensorflow().Graph().as_default():
        hook = ControllerHook(num_ps=2)
        assert hook.stop_op.device == "/job:ps/task:0/device:CPU:0"


def test_flags_that_no_other_process_would_find() -> None:
    from monolith_cli.training.controller import ControllerHook

    tf = tensorflow()
    with tf.Graph().as_default():
        ControllerHook()
        with pytest.raises(ValueError, match="there is a ControllerHook"):
            ControllerHook()
        with tf.name_scope("a"), pytest.raises(ValueError, match="inside the name scope 'a'"):
            ControllerHook()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    from monolith_cli.training import controller

    assert controller.QUERY_INTERVAL == 60
    monkeypatch.setattr(controller, "QUERY_INTERVAL", 0.1)


def ask(directory: Path, text: str | bytes) -> str:
    """Ask by a file, and wait for the answer."""
    data = text.encode() if isinstance(text, str) else text
    response = directory / "monolith_action_response"
    response.unlink(missing_ok=True)
    (directory / "new").write_bytes(data)
    os.replace(directory / "new", directory / "monolith_action")
    eventually(lambda: not (directory / "monolith_action").exists())
    return response.read_text()


@pytest.mark.usefixtures("quick")
def test_action_files(tmp_path: Path) -> None:
    with asked(tmp_path) as (job, made):
        job.train()
        assert ask(tmp_path, "action: TRIGGER_SAVE") == "OK"
        job.train()
        assert made.saves == 1
        assert (
            ask(tmp_path, "action: 2  # STOP" if _number("STOP") == 2 else "action: STOP") == "OK"
        )
        for text, answer in (
            ("action: RESTART", "Unknown action RESTART"),
            ("action: 77", "Unknown action 77"),
            ("", "Unknown action UNKNOWN"),
            ("action { a: 1 }" + " " * 300, "Unknown action "),
            ("action: ", "Not understood: "),
            ("actoin: STOP", "Not understood: no field 'actoin' is known"),
            (b"\x00\xff\xfe" * 50, "Not understood: "),
        ):
            assert ask(tmp_path, text).startswith(answer), text
        assert not job.session.should_stop()
        job.train()
        assert job.session.should_stop()
    entries = read_log(tmp_path)
    assert [(e["method"], e["result"][:14]) for e in entries] == [
        ("TRIGGER_SAVE", "OK"),
        ("STOP", "OK"),
        *[(None, "Unknown action")] * 4,
        *[(None, "Not understood")] * 3,
    ]
    assert {(e["owner"], e["peer"], e["reason"]) for e in entries} == {(None, "file", None)}


def _number(action: str) -> int:
    from monolith_cli import messages

    enum = messages.get_message("monolith.ControllerHooksProto").DESCRIPTOR.enum_types_by_name
    return int(enum["Action"].values_by_name[action].number)


@pytest.mark.usefixtures("quick")
def test_action_files_before_the_first_run(tmp_path: Path) -> None:
    with asked(tmp_path) as (job, made):
        assert ask(tmp_path, "action: TRIGGER_SAVE") == "OK"
        assert ask(tmp_path, "action: STOP") == "OK"
        assert not job.session.should_stop()
        job.train()
        assert made.saves == 1
        assert job.session.should_stop()


@pytest.mark.usefixtures("quick")
def test_no_action_file_is_looked_for_when_a_hook_has_failed(tmp_path: Path) -> None:
    v1 = tensorflow().compat.v1

    class Failing(v1.train.SessionRunHook):  # type: ignore[misc]
        def after_create_session(self, session: Any, coord: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), asked(tmp_path, hooks_before=[Failing()]):
        pass
    eventually(lambda: "action-file" not in [thread.name for thread in threading.enumerate()])


@pytest.mark.usefixtures("quick")
def test_an_action_that_cannot_be_answered_is_done_once(tmp_path: Path) -> None:
    response = tmp_path / "monolith_action_response"
    with asked(tmp_path) as (job, made):
        job.train()
        response.mkdir()
        (tmp_path / "monolith_action").write_text("action: TRIGGER_SAVE")
        for _ in range(10):
            time.sleep(0.06)
            job.train()
        assert made.saves == 1
        assert [entry["method"] for entry in read_log(tmp_path)] == ["TRIGGER_SAVE"]
        assert (tmp_path / "monolith_action").exists()
        response.rmdir()
        eventually(lambda: not (tmp_path / "monolith_action").exists())
        assert response.read_text() == "OK"
        assert ask(tmp_path, "action: TRIGGER_SAVE") == "OK"
        job.train()
        assert made.saves == 2


@pytest.mark.usefixtures("quick")
def test_nobody_answers_after_the_session(tmp_path: Path) -> None:
    with asked(tmp_path) as (job, _):
        job.train()
        assert "action-file" in [thread.name for thread in threading.enumerate()]
    eventually(lambda: "action-file" not in [thread.name for thread in threading.enumerate()])
    (tmp_path / "monolith_action").write_text("action: STOP")
    time.sleep(0.3)
    assert (tmp_path / "monolith_action").exists()


def test_a_stop_helper_notes_a_stop_only() -> None:
    from monolith_cli.training.controller import STOP_ACTION, StopHelper

    v1 = tensorflow().compat.v1
    assert STOP_ACTION == "Stop"
    with tensorflow().Graph().as_default():
        one = v1.constant(1)
        helper = StopHelper()
        note = helper.create_barrier_callback()
        with v1.train.SingularMonitoredSession(hooks=[helper.create_stop_hook()]) as session:
            for action in ("", "Save", "stop"):
                assert note(action, None) is None
                session.run(one)
                assert not session.should_stop()
            note("Stop", None)
            session.run(one)
            assert session.should_stop()
