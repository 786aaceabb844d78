"""Where a job goes on: by `checkpoint`, or by an override that has not done its work yet."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import tf_support

from monolith_cli.checkpoint.inputs import StepInputs, write_step_inputs
from monolith_cli.checkpoint.override import (
    Override,
    read_override,
    remove_override,
    what_is_left,
)
from monolith_cli.checkpoint.restart import RestartPoint, restart_point
from monolith_cli.errors import (
    NotReadableError,
    PathNotFoundError,
    StateFileError,
    StepNotFoundError,
    WriteError,
)


def save(directory: Path, *steps: int) -> None:
    directory.mkdir(exist_ok=True)
    for step in steps:
        for suffix in (".data-00000-of-00001", ".index"):
            (directory / f"model.ckpt-{step}{suffix}").touch()


def commit(directory: Path, *paths: object) -> None:
    lines = [f'all_model_checkpoint_paths: "{path}"\n' for path in paths]
    lines.append(f'model_checkpoint_path: "{paths[-1]}"\n')
    (directory / "checkpoint").write_text("".join(lines))


def commit_steps(directory: Path, *steps: int) -> None:
    commit(directory, *(f"model.ckpt-{step}" for step in steps))


def override(directory: Path, text: str) -> Override:
    """Ask for a rollback as the command does."""
    (directory / "ckpt.override").write_text(text)
    said = read_override(directory)
    assert said is not None
    return said


def point(directory: Path, step: int, said: Override | None = None) -> RestartPoint:
    return RestartPoint(step, str(directory / f"model.ckpt-{step}"), said)


def test_nothing_is_committed_without_a_checkpoint_file(tmp_path: Path) -> None:
    save(tmp_path / "model", 10)
    for path in (tmp_path / "model", tmp_path / "absent", tmp_path / "model" / "file"):
        assert restart_point(path) == RestartPoint()
        assert restart_point(path).input_step(1) is None


def test_the_latest(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30)
    commit_steps(tmp_path, 10, 20)
    assert restart_point(tmp_path) == point(tmp_path, 20)
    assert restart_point(tmp_path).input_step(1) == 20
    commit_steps(tmp_path, 10, 30, 20)  # the order of the list is no matter
    assert restart_point(tmp_path) == point(tmp_path, 20)


def test_the_latest_of_tensorflow_in_a_moved_directory(tmp_path: Path) -> None:
    for step in (10, 20):
        tf_support.save_checkpoint(tmp_path / "old", step)
    new = (tmp_path / "old").rename(tmp_path / "new")
    assert restart_point(new) == point(new, 20)


def test_a_checkpoint_elsewhere(tmp_path: Path) -> None:
    base, job = tmp_path / "base", tmp_path / "job"
    save(base, 500)
    job.mkdir()
    commit(job, base / "model.ckpt-500")
    assert restart_point(job) == point(base, 500)


def test_a_checkpoint_without_a_number(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt.index").touch()
    commit(tmp_path, "model.ckpt")
    assert restart_point(tmp_path) == RestartPoint(None, str(tmp_path / "model.ckpt"))


def test_a_latest_whose_files_are_gone(tmp_path: Path) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10, 20)
    with pytest.raises(StepNotFoundError, match=r"'model.ckpt-20' as the latest, whose files are"):
        restart_point(tmp_path)


def test_a_malformed_checkpoint_file(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text("model_checkpoint_path: ")
    with pytest.raises(StateFileError):
        restart_point(tmp_path)


# --- rollbacks ------------------------------------------------------------------------------


def test_exactly_that_step(tmp_path: Path) -> None:
    save(tmp_path, 5, 10, 20, 30)
    commit_steps(tmp_path, 10, 20)
    for step in (5, 10, 20):  # one that is kept unlisted, one listed, the latest
        said = override(tmp_path, f'{{"model_step": {step}, "inputs": {{"1": 5, "02": 7}}}}')
        found = restart_point(tmp_path)
        assert found == point(tmp_path, step, said)
        assert [found.input_step(worker) for worker in (0, 1, 2)] == [step, 5, 7]
    for step in (30, 11):  # never committed, never there
        override(tmp_path, f'{{"model_step": {step}}}')
        with pytest.raises(StepNotFoundError):
            restart_point(tmp_path)


def test_a_step_whose_files_are_gone(tmp_path: Path) -> None:
    save(tmp_path, 20)
    commit_steps(tmp_path, 10, 20)
    override(tmp_path, '{"model_step": 10}')
    with pytest.raises(StepNotFoundError, match=r"lists 'model.ckpt-10', whose files are gone"):
        restart_point(tmp_path)


def test_a_rollback_where_the_later_steps_are_cleared_already(tmp_path: Path) -> None:
    """A chief that dies between clearing and its first commit finds `checkpoint` as it was."""
    save(tmp_path, 10)
    commit_steps(tmp_path, 10, 20)
    said = override(tmp_path, '{"model_step": 10}')
    assert restart_point(tmp_path) == point(tmp_path, 10, said)


def test_a_rollback_where_nothing_was_ever_committed(tmp_path: Path) -> None:
    save(tmp_path, 10)
    override(tmp_path, '{"model_step": 10}')
    with pytest.raises(StepNotFoundError) as caught:
        restart_point(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/ckpt.override: step 10 was never committed; remove it to start over"
    )


def test_a_rollback_that_a_running_job_does_not_know(tmp_path: Path) -> None:
    """A worker that joins goes on from where the job is, not from where it will be."""
    save(tmp_path, 10, 20)
    commit_steps(tmp_path, 10, 20)
    said = override(tmp_path, '{"model_step": 10, "inputs": {"1": 5}}')
    assert restart_point(tmp_path, run_step=20) == point(tmp_path, 20)
    assert restart_point(tmp_path, run_step=10) == point(tmp_path, 10, said)


def test_a_rollback_that_has_done_its_work(tmp_path: Path) -> None:
    save(tmp_path, 10, 20, 30)
    commit_steps(tmp_path, 10, 20)
    said = override(tmp_path, '{"model_step": 10, "inputs": {"1": 10}}')
    write_step_inputs(str(tmp_path), StepInputs(30, "", {}, said.as_json()))
    assert restart_point(tmp_path).step == 10  # not committed yet
    commit_steps(tmp_path, 10, 30)
    assert restart_point(tmp_path) == point(tmp_path, 30)
    save(tmp_path, 40)  # nor is it honoured where its removal failed, and the job went on
    write_step_inputs(str(tmp_path), StepInputs(40, "", {}))
    commit_steps(tmp_path, 30, 40)
    assert restart_point(tmp_path) == point(tmp_path, 40)
    assert what_is_left(str(tmp_path), said, [40, 30]) is None
    assert what_is_left(str(tmp_path), said, [40, 10]) == said


def test_the_same_rollback_asked_for_again(tmp_path: Path) -> None:
    save(tmp_path, 10, 20)
    commit_steps(tmp_path, 10, 20)
    text = '{"model_step": 10, "inputs": {"1": 10}}'
    first = override(tmp_path, text)
    write_step_inputs(str(tmp_path), StepInputs(20, "", {}, first.as_json()))
    assert restart_point(tmp_path).step == 20
    second = override(tmp_path, text)
    os.utime(tmp_path / "ckpt.override", ns=(0, first.written_ns + 1))
    assert restart_point(tmp_path).step == 10
    assert (second.model_step, second.inputs) == (first.model_step, first.inputs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\xff",
        "{",
        "[]",
        "7",
        "null",
        '"model_step"',
        "{}",
        '{"inputs": {"1": 5}}',
        '{"model_step": null}',
        '{"model_step": null, "inputs": {}}',
        '{"model_step": 10, "written_ns": "today"}',
        '{"model_step": "10"}',
        '{"model_step": 10.0}',
        '{"model_step": true}',
        '{"model_step": -1}',
        '{"model_step": 10, "inputs": null}',
        '{"model_step": 10, "inputs": [5]}',
        '{"model_step": 10, "inputs": {"chief": 5}}',
        '{"model_step": 10, "inputs": {"-1": 5}}',
        '{"model_step": 10, "inputs": {"1": -5}}',
        '{"model_step": 10, "inputs": {"1": "5"}}',
        "[" * 100_000,
    ],
)
def test_a_malformed_override(tmp_path: Path, text: str) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)
    (tmp_path / "ckpt.override").write_bytes(text.encode("latin-1"))
    with pytest.raises(StateFileError, match=r"ckpt.override: not "):
        restart_point(tmp_path)


def test_what_a_commit_records(tmp_path: Path) -> None:
    said = override(tmp_path, '{"model_step": 10, "inputs": {"10": 5, "2": 7}, "more": 1}')
    assert said.as_json() == {
        "model_step": 10,
        "inputs": {"2": 7, "10": 5},
        "written_ns": (tmp_path / "ckpt.override").stat().st_mtime_ns,
    }


def test_its_removal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not remove_override(tmp_path)
    path = tmp_path / "ckpt.override"
    path.touch()

    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(WriteError) as caught:
            remove_override(tmp_path)
    assert str(caught.value) == f"{path}: not removed: Permission denied"
    assert caught.value.kind == "read_only"
    assert remove_override(tmp_path)
    assert not path.exists()


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    commit_steps(tmp_path, 10)
    (tmp_path / "ckpt.override").mkdir()
    with pytest.raises(PathNotFoundError, match=r"ckpt.override: a directory in place of a file"):
        restart_point(tmp_path)
    (tmp_path / "ckpt.override").rmdir()

    def fail(path: str) -> os.stat_result:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(NotReadableError, match="checkpoint: not readable: Input/output error"):
        restart_point(tmp_path)
