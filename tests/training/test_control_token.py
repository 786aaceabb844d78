"""Who may give a job's Controller service orders: the token, in a file and in the environment."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from control_support import (
    CHANGING,
    TOKEN,
    refused,
    running,
)
from save_support import steps

pytestmark = pytest.mark.usefixtures("job_ends")


def test_the_token_is_secret_and_of_one_session(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        os.umask(umask := os.umask(0))
        with running(tmp_path) as job:
            status = os.stat(tmp_path / TOKEN)
            assert stat.S_IMODE(status.st_mode) == 0o600
            assert len(job.token) >= 43  # 32 bytes
            seen.add(job.token)
        assert not (tmp_path / TOKEN).exists()
        assert os.umask(umask) == umask
    assert len(seen) == 2


def test_orders_need_the_token(tmp_path: Path) -> None:
    with running(tmp_path) as job:
        given = [None, "", job.token[:-1], job.token + "x", "wrong"]
        for token in given:
            with job.client(token=token) as client:
                for method in CHANGING:
                    said = refused("UNAUTHENTICATED", lambda c=client, m=method: c(m))
                    missing = "this job takes orders only with its token"
                    assert said == (missing if token is None else "a wrong token")
                for method in ("GetInfo", "GetBlockStatus", "GetTrainingStatus"):
                    client(method)
        with job.client(token=None) as client:
            client.metadata = [("authorization", job.token)]  # the scheme is missing
            refused("UNAUTHENTICATED", lambda: client("StopTraining"))
            client.metadata = [("authorization", f"Bearer {job.token}")]
            client("StopTraining")
        assert steps(tmp_path) == []


@pytest.mark.parametrize("name", ["MONOLITH_CONTROLLER_TOKEN", "MONOLITH_CONTROLLER_TOKEN_FILE"])
def test_the_environment_does_not_count_where_a_file_is_secret(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it looked at: it may be meant for another job."""
    monkeypatch.setenv(name, str(tmp_path / "none"))
    with running(tmp_path) as job:
        assert len(job.token) >= 43
        with job.client(token=str(tmp_path / "none")) as client:
            refused("UNAUTHENTICATED", lambda: client("StopTraining"))
        with job.client(token=job.token) as client:
            client("StopTraining")


@pytest.fixture(params=["mode", "owner", "unwritable", "unreadable", "changed"])
def _none_is_secret(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model directory whose file system cannot keep the token's file secret, nor maybe at all."""
    from monolith_cli.errors import WriteError
    from monolith_cli.training.control import token as control_token

    stat_of, write = os.fstat, control_token.atomic_write

    def changed_stat(file: int) -> os.stat_result:
        fields = list(stat_of(file))
        if request.param == "mode":
            fields[stat.ST_MODE] = stat.S_IFREG | 0o777  # as on a share of Windows
        else:
            fields[stat.ST_UID] += 1
        return os.stat_result(fields)

    def changed_write(path: str, data: bytes, **options: Any) -> None:
        if request.param == "unwritable":
            raise WriteError("not written: Operation not permitted", path=path)
        write(path, b"\xff" if request.param == "unreadable" else data[1:], **options)

    if request.param in ("mode", "owner"):
        monkeypatch.setattr(control_token.os, "fstat", changed_stat)
    else:
        monkeypatch.setattr(control_token, "atomic_write", changed_write)


@pytest.mark.usefixtures("_none_is_secret")
@pytest.mark.parametrize("by", ["variable", "file"])
def test_the_environments_token_where_no_file_is_secret(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / TOKEN).write_text("of a run that was killed")
    if by == "variable":
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "given")
    else:
        (tmp_path / "secret").write_text("given\n")
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "secret"))
    with running(tmp_path) as job:
        assert not (tmp_path / TOKEN).exists()  # clients would take it
        with job.client(token="given") as client:
            client("StopTraining")
        for token in (None, "", "of a run that was killed"):
            with job.client(token=token) as client:
                refused("UNAUTHENTICATED", lambda c=client: c("StopTraining"))


@pytest.mark.usefixtures("_none_is_secret")
@pytest.mark.parametrize("_none_is_secret", ["mode"], indirect=True)
@pytest.mark.parametrize("by", ["nothing", "an empty file", "no file", "spaces"])
def test_no_orders_without_any_token(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import token as control_token

    warnings: list[str] = []
    monkeypatch.setattr(
        control_token.logging, "warning", lambda text, *args: warnings.append(text % args)
    )
    if by == "an empty file":
        (tmp_path / "secret").write_text("\n")
    if by in ("an empty file", "no file"):
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "secret"))
    if by == "spaces":
        monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "no token")
    with running(tmp_path) as job, job.client(token=None) as client:
        assert not (tmp_path / TOKEN).exists()
        [warning] = [text for text in warnings if text.startswith("The job takes no orders")]
        assert ("secret: not there" in warning) == (by == "no file")
        for method in CHANGING if by == "nothing" else CHANGING[:1]:
            said = refused("PERMISSION_DENIED", lambda m=method: client(m))
            assert said.startswith("this job has no token, and so takes no orders")
            assert "MONOLITH_CONTROLLER_TOKEN_FILE" in said
        assert not client("GetInfo").placed
