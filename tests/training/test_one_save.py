"""One save without a hook: its order, what is tried again, and what a failure leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from save_support import Job, Killed, dense, listener, names, steps
from tf_support import tensorflow

from monolith_cli.checkpoint.inputs import WorkerInput
from monolith_cli.errors import StepNotFoundError, UnfinishedWorkersError

STEP_4 = {
    "ckpt.inputs-4",
    "ckpt.manifest-4",
    "model.ckpt-4.data-00000-of-00001",
    "model.ckpt-4.index",
}


class Noting:
    """A saver, or a writer of summaries, whose calls are noted; `fail` says how often it fails."""

    def __init__(self, calls: list[str], what: Any = None) -> None:
        self.calls = calls
        self.what = what
        self.fail = 0

    def save(self, *args: Any, **options: Any) -> Any:
        self.calls.append("dense")
        self._fail()
        return self.what.save(*args, **options)

    def add_session_log(self, *_: Any) -> None:
        self.calls.append("summary")
        self._fail()

    def _fail(self) -> None:
        if self.fail:
            self.fail -= 1
            raise tensorflow().errors.ResourceExhaustedError(None, None, "no space")

    def get(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.what, name)


class Place:
    """What a save needs: a session at step 4, a directory, a saver, and a list of calls."""

    def __init__(self, path: Path) -> None:
        tensorflow()
        from monolith_cli.training.saves.held_directory import HeldDirectory
        from monolith_cli.training.saves.model_saver import ModelSaver

        v1 = tensorflow().compat.v1
        self.path = path
        self.calls: list[str] = []
        self.job = Job(path)
        with self.job.graph.as_default():
            self.saver = Noting(self.calls, v1.train.Saver(save_relative_paths=True))
            init = v1.global_variables_initializer()
        self.session = v1.Session(graph=self.job.graph)
        self.session.run(init)
        for _ in range(4):
            self.session.run(self.job.train_op)
        self.model_saver = ModelSaver(self.saver.get)
        self.directory = HeldDirectory(
            str(path), "model.ckpt", self.model_saver, "CUCKOO_HASH_MAP", is_dense_only=False
        )
        self.directory.hold(self.session)
        self.directory.restart(self.session, 4)
        self.summaries = Noting(self.calls)

    def save(
        self, listeners: list[Any] | None = None, guards: list[Any] | None = None, **options: Any
    ) -> Any:
        from monolith_cli.training.saves.listeners import SaveListeners
        from monolith_cli.training.saves.save import Save

        self.directory.begin(4, "")
        options = {"writes_graph": False, "require_all": False, **options}
        return Save(
            self.session,
            4,
            self.directory,
            SaveListeners(listeners or [], guards or []),
            get_saver=self.model_saver.get,
            summary_writer=self.summaries,
            note_commit=lambda: self.calls.append("commit"),
            **options,
        ).run()

    def steps(self) -> list[int]:
        try:
            return steps(self.path)
        except StepNotFoundError:
            return []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.directory.claim.release()
    made.session.close()


def raising(error: BaseException) -> Callable[..., None]:
    def act(*_: Any) -> None:
        raise error

    return act


def test_the_order(place: Place) -> None:
    calls = place.calls
    result, should_stop = place.save(
        [listener("first", calls), listener("second", calls)],
        [listener("outer", calls), listener("inner", calls)],
    )
    assert result == (4, str(place.path / "model.ckpt-4"), (), ())
    assert not should_stop
    assert calls == [
        "outer before 4",
        "inner before 4",
        "first before 4",
        "second before 4",
        "dense",
        "commit",
        "summary",
        "first after 4",
        "second after 4",
        "inner after 4",
        "outer after 4",
    ]
    assert names(place.path) == {*STEP_4, "checkpoint"}
    assert place.steps() == [4]
    assert dense(place.path, 4) == (4, 4.0)
    assert place.directory.latest == 4


def test_listeners_see_what_is_there(place: Place) -> None:
    seen: list[set[str]] = []

    def look(*_: Any) -> None:
        seen.append(names(place.path))

    place.save([listener(before=look, after=look)])
    # The first one marks a step that is being written.
    assert seen == [{"ckpt.inputs-4"}, {*STEP_4, "checkpoint"}]


@pytest.mark.parametrize("where", ["listeners", "guards"])
def test_a_listener_may_end_the_training(place: Place, where: str) -> None:
    result, should_stop = place.save(**{where: [listener(after=lambda *_: True)]})
    assert result.step == 4
    assert should_stop


def test_what_fails_is_tried_once_more_inside_the_same_guards(place: Place) -> None:
    place.saver.fail = 1
    place.save([listener("one", place.calls)], [listener("guard", place.calls)])
    assert place.calls == [
        "guard before 4",
        "one before 4",
        "dense",
        "one before 4",
        "dense",
        "commit",
        "summary",
        "one after 4",
        "guard after 4",
    ]
    assert place.steps() == [4]


def test_what_fails_twice_is_not_committed(place: Place) -> None:
    place.saver.fail = 2
    with pytest.raises(tensorflow().errors.ResourceExhaustedError):
        place.save([listener("one", place.calls)], [listener("guard", place.calls)])
    assert place.calls == [
        "guard before 4",
        "one before 4",
        "dense",
        "one before 4",
        "dense",
        "guard after 4",
    ]
    assert place.steps() == []
    place.save()
    assert place.steps() == [4]


def test_what_has_died_is_not_tried_again(place: Place) -> None:
    with pytest.raises(Killed):
        place.save([listener("one", place.calls, before=raising(Killed()))])
    assert place.calls == ["one before 4"]
    assert place.steps() == []


def test_after_the_commit_nothing_is_tried_again(place: Place) -> None:
    error = tensorflow().errors.UnavailableError(None, None, "gone")
    with pytest.raises(tensorflow().errors.UnavailableError):
        place.save([listener("one", place.calls, after=raising(error))])
    assert place.calls == ["one before 4", "dense", "commit", "summary", "one after 4"]
    assert place.steps() == [4]


def test_a_step_that_cannot_be_told_of_is_committed(place: Place) -> None:
    place.summaries.fail = 1
    result, _ = place.save()
    assert result.step == 4
    assert place.calls == ["dense", "commit", "summary"]
    assert place.steps() == [4]


def test_with_a_graph_there_is_more(place: Place) -> None:
    place.save(writes_graph=True)
    more = {"checkpoint", "model.ckpt-4.meta", "monolith_checkpoint"}
    assert names(place.path) == {*STEP_4, *more}


@pytest.mark.parametrize("require_all", [False, True])
def test_a_worker_that_has_not_come(
    place: Place, monkeypatch: pytest.MonkeyPatch, require_all: bool
) -> None:
    workers = {0: WorkerInput(True, None), 1: WorkerInput(False, None)}
    module = "monolith_cli.training.saves.save"
    monkeypatch.setattr(f"{module}.covered_inputs", lambda *_: workers)
    if not require_all:
        result, _ = place.save()
        assert result == (4, str(place.path / "model.ckpt-4"), (0,), (1,))
        return
    with pytest.raises(UnfinishedWorkersError, match="worker 1 has not saved its input"):
        place.save(require_all=True)
    assert place.calls == ["dense"]  # not tried again
    assert place.steps() == []


def test_the_directory_says_what_is_known_of_a_step(place: Place) -> None:
    place.save()
    assert place.directory.is_committed(4)
    assert not place.directory.is_committed(5)
    assert place.directory.committed(4) == (4, str(place.path / "model.ckpt-4"), (), ())


def test_what_no_commit_covers_is_removed(place: Place) -> None:
    place.save()
    place.directory.begin(6, "")
    (place.path / "ckpt.inputs-6").touch()
    (place.path / "model.ckpt-6.index").touch()
    place.directory.clear()
    assert names(place.path) == {*STEP_4, "checkpoint"}
