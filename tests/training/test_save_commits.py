"""The order of a save, what is seen before its commit, and what a kill leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from save_support import (
    Killed,
    chief,
    dense,
    listener,
    names,
    no_space,
    steps,
    steps_or_none,
    stock,
)
from tf_support import tensorflow

from monolith_cli.checkpoint.model_dir import open_model_dir
from monolith_cli.errors import StepNotFoundError
from monolith_cli.storage.local import LocalStore

pytestmark = pytest.mark.usefixtures("threads_end")


@contextmanager
def at_boundary(
    hook: Any, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], None]
) -> Iterator[None]:
    """Call `act` with a name at each boundary inside a save that is not a listener's."""
    from monolith_cli.training.saves import save as module

    saver, write_inputs, write = hook._get_saver(), module.write_step_inputs, LocalStore.put
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

    def commit(local: LocalStore, path: str, data: bytes) -> None:
        if os.path.basename(path) == "checkpoint":
            act("commit")
        write(local, path, data)
        if os.path.basename(path) == "checkpoint":
            act("commit done")

    with monkeypatch.context() as patch:
        patch.setattr(saver, "save", save)
        patch.setattr(module, "write_step_inputs", inputs)
        patch.setattr(module, "write_step_manifest", manifest)
        patch.setattr(LocalStore, "put", commit)
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
