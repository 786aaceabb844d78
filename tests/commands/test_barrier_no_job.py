"""`monolith barrier` on things that are no job, or no longer."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import call, failed, monolith
from fake_jobs import OriginalJob, OurJob, Refusal, listening, serving, write_address
from ports import free_ports

from monolith_cli.control import client

pytestmark = pytest.mark.usefixtures("ann")


def test_a_stale_address(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_ports()[0]}"
    write_address(tmp_path, address + "\n")
    for command in ("place", "remove", "status"):
        start = time.monotonic()
        line = failed(call("barrier", command, tmp_path), 5)
        assert time.monotonic() - start < 1
        assert f"nobody listens at {address}" in line
        assert "stale" in line
        assert "another host" in line
    write_address(tmp_path, f"{socket.gethostname()}:{free_ports()[0]}")
    line = failed(call("barrier", "status", tmp_path), 5)
    assert "stale" in line
    assert "another host" not in line


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_program_that_says_nothing(tmp_path: Path) -> None:
    with listening(lambda connection: time.sleep(3)) as address:
        write_address(tmp_path, address)
        line = failed(call("barrier", "status", tmp_path), 6)
        assert f"no answer from {address} in 0.5 s" in line


def test_waits_are_no_longer_than_asked_for_when_a_job_hangs(job: OurJob) -> None:
    job.hangs.add("GetInfo")
    start = time.monotonic()
    line = failed(call("barrier", "wait", "--blocked", "--timeout=300ms", job.model_dir), 6)
    assert time.monotonic() - start < 2
    assert "no answer" in line


@pytest.mark.usefixtures("impatient")
def test_a_job_that_hangs_half_way(job: OurJob) -> None:
    job.hangs.add("PlaceBarrier")
    line = failed(call("barrier", "place", job.model_dir), 6)
    assert line.endswith("it may still do it; see 'monolith barrier status'")


def test_other_programs(tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        write_address(tmp_path, f"127.0.0.1:{server.server_port}")
        assert "is not a job's controller" in failed(call("barrier", "status", tmp_path), 5)
        server.shutdown()
    with listening(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")) as address:
        write_address(tmp_path, address)
        assert "is not a job's controller" in failed(call("barrier", "status", tmp_path), 5)
    with listening(lambda connection: connection.close()) as address:
        write_address(tmp_path, address)
        failed(call("barrier", "status", tmp_path), 5)
    job = OurJob(tmp_path)
    with serving(job, service="Another"):
        line = failed(call("barrier", "place", tmp_path), 5)
        assert "is not a job's controller" in line
        assert job.calls == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"hello", "holds no address: 'hello'"),
        (b"127.0.0.1", "holds no address"),
        (b"127.0.0.1:0", "holds no address"),
        (b"127.0.0.1:99999", "holds no address"),
        (b"http://127.0.0.1:80", "holds no address"),
        (b"no-such-host.invalid:80", "the host 'no-such-host.invalid' is not known here"),
        (b"unix:80", "the host 'unix' is not known here"),
        (bytes(range(256)) * 16, "holds no address"),
    ],
)
def test_address_files(tmp_path: Path, content: bytes, message: str) -> None:
    write_address(tmp_path, content)
    line = failed(call("barrier", "status", tmp_path), 5)
    assert f"controller_server_addr.txt: {message}" in line
    assert len(line) < 300 + len(str(tmp_path))


def test_no_address_file(tmp_path: Path) -> None:
    for command in (["status"], ["place"], ["wait", "--removed"]):
        line = failed(call("barrier", *command, tmp_path), 5)
        assert line.endswith(
            "no job has left its address (controller_server_addr.txt) here; it may be starting"
            " again, or have no open port; give --address if you know where it listens"
        )
    (tmp_path / "controller_server_addr.txt").mkdir()
    assert "not readable" in failed(call("barrier", "status", tmp_path), 3)


def test_no_directory(tmp_path: Path) -> None:
    line = failed(call("barrier", "status", tmp_path / "none"), 3)
    assert line == f"Error: {tmp_path / 'none'}: not there"
    file = tmp_path / "file"
    file.touch()
    assert "a file in place of a directory" in failed(call("barrier", "status", file), 3)
    assert "MODEL_DIR" in failed(call("barrier", "status"), 2)


def test_the_job_of_another_directory(job: OurJob, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "controller_token").write_text("secret")
    address = Path(job.model_dir, "controller_server_addr.txt").read_text()
    write_address(mine, address)
    for command in (["place"], ["hold", "--", "true"]):
        done = call("barrier", command[0], mine, *command[1:])
        line = failed(done, 125 if command[0] == "hold" else 5)
        assert f"belongs to {job.model_dir}" in line
    assert job.changes == []
    link = tmp_path / "link"
    link.symlink_to(job.model_dir)
    assert call("barrier", "place", link).code == 0


def test_a_given_address(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(job.model_dir, "controller_server_addr.txt")
    address = path.read_text()
    write_address(job.model_dir, "stale:1")
    assert call("barrier", "place", job.model_dir, "--address", address).code == 0
    assert call("barrier", "status", "--address", address).code == 0
    failed(call("barrier", "remove", "--address", address), 5)  # has no token there
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "secret")
    assert call("barrier", "remove", "--address", address).code == 0
    assert "give HOST:PORT" in failed(call("barrier", "status", "--address", "here"), 2)


def test_errors_as_json(tmp_path: Path) -> None:
    done = call("barrier", "status", "--json", tmp_path / "none")
    assert done.code == 3
    assert done.error == {
        "code": 3,
        "kind": "not_found",
        "message": f"{tmp_path / 'none'}: not there",
        "file": str(tmp_path / "none"),
        "offset": None,
    }


def test_a_session_that_is_gone(job: OurJob, original_dir: Path) -> None:
    job.raises["PlaceBarrier"] = Refusal("ABORTED", "monolith: Session is closed")
    assert "PlaceBarrier has failed in the job: Session is closed" in failed(
        call("barrier", "place", job.model_dir), 5
    )
    theirs = OriginalJob(original_dir)
    theirs.raises["StopTraining"] = RuntimeError("Session is closed")
    with serving(theirs):
        line = failed(call("barrier", "place", "--quiet", original_dir), 5)
    assert "StopTraining has failed in the job: Session is closed" in line


@pytest.fixture
def original_dir(tmp_path: Path) -> Path:
    made = tmp_path / "original"
    made.mkdir()
    return made


def test_proxies_are_not_asked(job: OurJob) -> None:
    proxy = f"http://127.0.0.1:{free_ports()[0]}"
    done = monolith("barrier", "status", job.model_dir, http_proxy=proxy, grpc_proxy=proxy)
    assert done.returncode == 0, done.stderr
