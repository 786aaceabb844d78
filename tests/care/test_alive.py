"""Whether a job lives that saves into a directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from fake_jobs import OriginalJob, serving
from step_support import save_steps

from monolith_cli.care.alive import check_quiet
from monolith_cli.checkpoint import claim as claims
from monolith_cli.checkpoint.claim import Claim, write_claim
from monolith_cli.errors import DirectoryInUseError
from monolith_cli.execution.waits import heard_by
from monolith_cli.formats.checkpoint_state import CheckpointState, format_checkpoint_state


def commit_at(directory: Path, *ages: float) -> None:
    """Steps 1, 2, ... that were committed so many seconds ago."""
    now = time.time()
    names = tuple(f"model.ckpt-{step}" for step in range(1, len(ages) + 1))
    state = CheckpointState(names[-1], names, tuple(now - age for age in ages))
    (directory / "checkpoint").write_text(format_checkpoint_state(state))
    for name, age in [*zip(names, ages, strict=True), ("checkpoint", ages[-1])]:
        path = directory / (name if name == "checkpoint" else f"{name}.index")
        os.utime(path, (now - age, now - age))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Saved an hour apart, the last an hour ago."""
    directory = save_steps(tmp_path / "model", 1, 2, 3, tables=())
    commit_at(directory, 3 * 3600, 2 * 3600, 3600)
    return directory


def refusal(directory: Path, quiet_for_seconds: float | None = None) -> DirectoryInUseError:
    with pytest.raises(DirectoryInUseError) as caught:
        check_quiet(directory, quiet_for_seconds)
    return caught.value


def test_a_quiet_directory(model: Path, tmp_path: Path) -> None:
    check_quiet(model)
    check_quiet(tmp_path / "nothing")
    check_quiet(tmp_path)


def test_a_job_that_answers(model: Path) -> None:
    with serving(OriginalJob(model)):
        error = refusal(model, 0)
    assert error.kind == "job_runs"
    assert "a job runs here: it answers at" in error.what
    assert error.hint == "stop the job first"
    check_quiet(model)  # its address is still there


@pytest.mark.parametrize(
    ("ages", "lives"),
    [
        ([7200, 3600, 601], False),  # ten minutes
        ([7200, 3600, 500], True),
        ([700, 640, 580], False),  # twice the longest time between two commits
        ([700, 640, 100], True),
        ([9000, 540, 530, 520, 510, 500], False),  # of the last five alone
        ([9000, 530, 520, 510, 500], True),
        ([500], True),  # nobody knows how often it saves
        ([601], False),
    ],
)
def test_who_has_just_saved(tmp_path: Path, ages: list[float], lives: bool) -> None:
    save_steps(tmp_path, *range(1, len(ages) + 1), tables=())
    commit_at(tmp_path, *ages)
    if lives:
        error = refusal(tmp_path)
        assert error.kind == "just_saved"
        assert f"was written {ages[-1]:.0f} s ago" in error.what
    else:
        check_quiet(tmp_path)


def test_an_index_that_is_not_committed(model: Path) -> None:
    (model / "model.ckpt-4.index").touch()
    assert "'model.ckpt-4.index' was written 0 s ago" in str(refusal(model))
    (model / "model.ckpt-4.index").unlink()
    (model / "other.index").touch()  # of no step
    check_quiet(model)


def test_dense_variables_alone(model: Path) -> None:
    save_steps(model / "dense_only", 1, 2, tables=())
    commit_at(model / "dense_only", 900, 60)
    assert refusal(model).path == str(model / "dense_only")


def test_a_command_that_has_written_checkpoint(model: Path) -> None:
    """That file says when the last commit was, and if not, a command that goes on knows."""
    os.utime(model / "checkpoint")
    check_quiet(model)
    names = tuple(f"model.ckpt-{step}" for step in (1, 2, 3))
    text = format_checkpoint_state(CheckpointState(names[-1], names))
    (model / "checkpoint").write_text(text)
    assert "'checkpoint' was written 0 s ago" in str(refusal(model))
    check_quiet(model, resumed=True)
    (model / "model.ckpt-3.index").touch()
    with pytest.raises(DirectoryInUseError):
        check_quiet(model, resumed=True)


def test_how_long_it_must_be_quiet(model: Path) -> None:
    commit_at(model, 900, 300, 100)
    refusal(model)
    refusal(model, 200)
    check_quiet(model, 90)
    check_quiet(model, 0)


def test_a_clock_that_goes_wrong(model: Path) -> None:
    commit_at(model, 900, 300, -7200)
    assert "was written 7200 s from now, by the clock of this host" in str(refusal(model))
    check_quiet(model, 600)
    refusal(model, 8000)


# --- claims -------------------------------------------------------------------------------------


def claim(directory: Path, **changes: object) -> Claim:
    made = Claim.of_this_process()._replace(**changes)  # type: ignore[arg-type]
    write_claim(str(directory), made, overwrite=True)
    return made


def test_a_chief_that_lives(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = claim(model)

    def sleep(seconds: float) -> None:
        write_claim(str(model), made._replace(counter=1), overwrite=True)

    monkeypatch.setattr(claims.time, "sleep", sleep)
    error = refusal(model, 0)
    assert error.kind == "job_runs"
    assert f"the counter of its chief moves, process {os.getpid()} on" in error.what


def test_a_chief_whose_counter_stands_still(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0.02)
    heard: list[str] = []
    with heard_by(heard.append):
        made = claim(model, host="elsewhere", boot_id="another")
        check_quiet(model)
        (model / "chief_claim").write_text("no claim")
        check_quiet(model)
    assert heard == [
        f"watching for 30 s whether a chief lives here, {made.who}",
        "watching for 30 s whether a chief lives here, whose claim cannot be read",
    ]


def test_a_claim_that_stood_still_is_watched_once(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it is the same: then its counter has not moved since."""
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 0.02)
    made = claim(model, host="elsewhere", boot_id="another")
    check_quiet(model)
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 1000.0)  # nobody waits for it
    heard: list[str] = []
    with heard_by(heard.append):
        check_quiet(model)
        assert heard == []

        def sleep(seconds: float) -> None:
            write_claim(str(model), made._replace(counter=9), overwrite=True)

        monkeypatch.setattr(claims.time, "sleep", sleep)
        claim(model, host="elsewhere", boot_id="another", counter=8)
        assert refusal(model).kind == "job_runs"
    assert len(heard) == 1


def test_a_chief_that_is_known_to_be_gone(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has saved last speaks for nobody; what somebody else has saved since does."""
    monkeypatch.setattr(claims, "CLAIM_SECONDS", 1000.0)  # nobody waits for it
    claim(model, process_started=1)
    commit_at(model, 7200, 3600, 5)
    check_quiet(model)
    long_ago = time.time() - 300
    os.utime(model / "chief_claim", (long_ago, long_ago))
    assert refusal(model).kind == "just_saved"
