"""Listeners of a restore, in real sessions."""

from __future__ import annotations

from typing import Any

import pytest
from tf_support import tensorflow


@pytest.fixture(scope="module")
def module() -> Any:
    tensorflow()
    from monolith_cli.training import basic_restore_hook

    return basic_restore_hook


def recorder(module: Any, name: str, calls: list[str]) -> Any:
    class Recorder(module.CheckpointRestorerListener):
        def begin(self) -> None:
            calls.append(f"{name} begin")
            tensorflow().no_op(name=name)  # the graph is still open

        def before_restore(self, session: Any) -> None:
            calls.append(f"{name} before")

        def after_restore(self, session: Any) -> None:
            calls.append(f"{name} after")

        def end(self, session: Any) -> None:
            calls.append(f"{name} end")

    return Recorder()


def test_order_and_nothing_at_steps(module: Any) -> None:
    tf = tensorflow()
    calls: list[str] = []
    with tf.Graph().as_default():
        hook = module.CheckpointRestorerHook(
            [recorder(module, "a", calls), recorder(module, "b", calls)]
        )
        constant = tf.constant(1)
        with tf.compat.v1.train.SingularMonitoredSession(hooks=[hook]) as session:
            expected = ["a begin", "b begin", "a before", "b before", "a after", "b after"]
            assert calls == expected
            session.run(constant)
            session.run(constant)
    assert calls == expected  # no end


def test_again_after_a_recovery(module: Any) -> None:
    tf = tensorflow()
    calls: list[str] = []

    class AbortOnce(tf.compat.v1.train.SessionRunHook):
        aborted = False

        def after_run(self, run_context: Any, run_values: Any) -> None:
            if not self.aborted:
                self.aborted = True
                raise tf.errors.AbortedError(None, None, "once")

    with tf.Graph().as_default():
        hook = module.CheckpointRestorerHook([recorder(module, "a", calls)])
        constant = tf.constant(1)
        with tf.compat.v1.train.MonitoredSession(hooks=[hook, AbortOnce()]) as session:
            session.run(constant)
    assert calls == ["a begin", "a before", "a after", "a before", "a after"]


def test_without_listeners(module: Any) -> None:
    hook = module.CheckpointRestorerHook()
    hook.begin()
    hook.after_create_session(None, None)
    listener = module.CheckpointRestorerListener()
    listener.begin()
    listener.before_restore(None)
    listener.after_restore(None)
    listener.end(None)


def test_what_it_logs(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("absl.logging.info", said.append)
    module.CheckpointRestorerHook([]).after_create_session(None, None)
    assert said == ["Create CheckpointRestorerHook.", "Calling checkpoint restorer listeners."]
