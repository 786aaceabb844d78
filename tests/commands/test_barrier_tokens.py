"""Whom `monolith barrier` shows a token, and which."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import call, failed
from fake_jobs import OurJob

pytestmark = pytest.mark.usefixtures("ann")


def test_the_token_of_the_model_directory(job: OurJob) -> None:
    assert call("barrier", "place", job.model_dir).code == 0
    assert job.token_of("PlaceBarrier") == "Bearer secret"


def test_the_token_goes_with_changes_only(job: OurJob) -> None:
    """What listens at a stale address is somebody else's, until it has said otherwise."""
    call("barrier", "place", job.model_dir, "--wait")
    assert job.token_of("GetInfo") is None


def test_the_token_of_the_model_directory_wins(
    job: OurJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was exported for another job is in nobody's way."""
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "another-jobs")
    assert call("barrier", "place", job.model_dir).code == 0
    Path(job.model_dir, "controller_token").unlink()
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "secret")
    assert call("barrier", "remove", job.model_dir).code == 0
    secret = tmp_path / "token"
    secret.write_text("secret\n")
    monkeypatch.delenv("MONOLITH_CONTROLLER_TOKEN")
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(secret))
    assert call("barrier", "place", job.model_dir).code == 0


def test_no_token(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(job.model_dir, "controller_token")
    path.unlink()
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert "set MONOLITH_CONTROLLER_TOKEN, or MONOLITH_CONTROLLER_TOKEN_FILE" in line
    path.write_text("old")
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert line.endswith(f"the token in {path} is not that of this run")
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "secret1")
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert f"the token in {path} is not that of this run" in line
    assert "the environment's counts only if that file is not there" in line
    path.unlink()
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert "the token in MONOLITH_CONTROLLER_TOKEN is not that of this run" in line
    assert "secret1" not in line
    assert not job.placed
    assert call("barrier", "status", job.model_dir).code == 0


def test_who_may_not_read_the_token_may_look(job: OurJob) -> None:
    path = Path(job.model_dir, "controller_token")
    path.unlink()
    path.mkdir()  # not readable for root either
    assert call("barrier", "status", job.model_dir).code == 0
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert f"the token in {path} is not readable" in line
    assert "set MONOLITH_CONTROLLER_TOKEN" in line
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONOLITH_CONTROLLER_TOKEN", "secret")
        assert call("barrier", "place", job.model_dir).code == 0


@pytest.mark.parametrize("token", ["two words", "a\nb", "töken", "\x00"])
def test_what_cannot_be_a_token(job: OurJob, tmp_path: Path, token: str) -> None:
    Path(job.model_dir, "controller_token").unlink()
    secret = tmp_path / "token"
    secret.write_text(token)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(secret))
        line = failed(call("barrier", "place", job.model_dir), 2)
        assert f"{secret}: not a token" in line
        assert line.endswith("; MONOLITH_CONTROLLER_TOKEN_FILE names it")
        patch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "none"))
        line = failed(call("barrier", "place", job.model_dir), 3)
        assert line.endswith("none: not there; MONOLITH_CONTROLLER_TOKEN_FILE names it")
