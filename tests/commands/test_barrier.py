"""`monolith barrier` on jobs of both kinds, and on things that are no job."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli_support import MONOLITH, Done, call, environment, failed, monolith
from fake_jobs import OriginalJob, OurJob, Refusal, serving, write_address

from monolith_cli.control import client

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("ann")

STATUS_KEYS = [
    "placed",
    "action",
    "reason",
    "owner",
    "placed_seconds_ago",
    "expires_in_seconds",
    "blocked",
    "unblocked",
    "global_step",
    "address",
]


# --- place ----------------------------------------------------------------------------------


def test_place(job: OurJob) -> None:
    done = call("barrier", "place", job.model_dir, "--reason", "slot 7", "--ttl", "1h")
    assert (done.code, done.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines() if "not " not in line)
    assert lines["barrier"] == "placed"
    assert lines["by"] == "ann@box"
    assert lines["reason"] == "slot 7"
    assert lines["ends"].split() == ["in", "1", "h"]
    assert lines["blocked"] == "1, 2, 3"
    asked = job["PlaceBarrier"]
    assert (asked.owner, asked.reason, asked.ttl_ms) == ("ann@box", "slot 7", 3_600_000)


def test_place_ends_by_itself_in_ten_minutes_if_nothing_is_said(job: OurJob) -> None:
    assert call("barrier", "place", job.model_dir).code == 0
    assert job["PlaceBarrier"].ttl_ms == 600_000


def test_place_for_ever(job: OurJob) -> None:
    done = call("barrier", "place", job.model_dir, "--ttl", "0", "--json")
    assert done.document["expires_in_seconds"] is None
    assert job["PlaceBarrier"].ttl_ms == 0
    assert "stays until it is removed" in call("barrier", "status", job.model_dir).out


def test_who_is_second_is_told_who_was_first(job: OurJob) -> None:
    job.place("bob@box", "", 0)
    job.placed_at -= 42
    line = failed(call("barrier", "place", job.model_dir), 5)
    assert "placed by bob@box 42 s ago" in line


def test_place_and_wait(job: OurJob) -> None:
    job.late = {2}
    threading.Timer(0.5, job.late.clear).start()
    done = call("barrier", "place", job.model_dir, "--wait", "--json")
    assert done.document["blocked"] == [1, 2, 3]


def test_place_and_wait_for_one_who_does_not_come(job: OurJob) -> None:
    job.late = {2, 3}
    line = failed(call("barrier", "place", job.model_dir, "--wait", "--timeout", "300ms"), 6)
    remove = f"monolith barrier remove {job.model_dir}"
    told = f"the barrier was placed, and ends within 10 min, or with '{remove}'"
    assert line.endswith(f"workers 2, 3 are not blocked after 0.3 s; {told}")
    assert job.placed


def test_how_a_barrier_ends_that_was_not_waited_for(job: OurJob) -> None:
    job.late = {2}
    place = ["barrier", "place", "--wait", "--timeout", "100ms", "--owner", "bob the 2nd"]
    line = failed(call(*place, "--ttl=0", job.model_dir), 6)
    remove = f"monolith barrier remove {job.model_dir} --owner 'bob the 2nd'"
    assert line.endswith(f"and stays until '{remove}'")
    job.placed = False
    line = failed(call(*place, "--ttl=50ms", job.model_dir), 5)
    assert "removed meanwhile, or its time was over" in line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_place_that_is_interrupted(job: OurJob, number: int, code: int) -> None:
    """The barrier stays: that is said, and how it ends."""
    job.late = {2}
    command = [MONOLITH, "barrier", "place", "--wait", "--json", job.model_dir]
    for method in ("GetInfo", "PlaceBarrier"):
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(MONOLITH_OWNER="ann@box"),
        )
        if method == "PlaceBarrier":
            job.hangs.add(method)
        while job.calls[-2:] != ["GetInfo", method]:  # it waits, or places
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out) == (code, "")
        done = Done(code, out, err)
        word = {130: "interrupted", 143: "terminated"}[code]
        assert (done.error["code"], done.error["kind"]) == (code, word)
        if method == "GetInfo":
            assert done.error["message"].startswith(f"{word}; the barrier was placed, and ends wit")
            assert job.placed
            job.placed = False
        else:
            what = f"may be placed: see 'monolith barrier status {job.model_dir}'"
            assert done.error["message"] == f"{word}; the barrier {what}"
        job.calls.clear()


def test_a_barrier_that_is_removed_while_it_is_waited_for(job: OurJob) -> None:
    job.late = {1}
    threading.Timer(0.3, setattr, (job, "placed", False)).start()
    line = failed(call("barrier", "place", job.model_dir, "--wait"), 5)
    assert "removed meanwhile" in line


# --- remove ---------------------------------------------------------------------------------


def test_remove_ones_own(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    done = call("barrier", "remove", job.model_dir, "--reason", "done")
    assert done == (0, "", "")
    assert job["RemoveBarrier"].reason == "done"
    assert not job["RemoveBarrier"].force
    assert not job.placed


@pytest.mark.parametrize("owner", ["bob@box", ""])
def test_remove_somebody_elses_by_force_only(job: OurJob, owner: str) -> None:
    job.place(owner, "", 0)
    line = failed(call("barrier", "remove", job.model_dir), 5)
    assert f"placed by {owner or 'nobody known'}" in line
    assert "--force removes it" in line
    assert job.placed
    assert call("barrier", "remove", job.model_dir, "--force") == (0, "", "")
    assert not job.placed


def test_force_is_advised_only_where_it_helps(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    for code, what in (
        ("PERMISSION_DENIED", "this job has no token, and so takes no orders: none is secret"),
        ("ABORTED", "monolith: the session is closed"),
        ("INTERNAL", "out of luck"),
    ):
        job.raises["RemoveBarrier"] = Refusal(code, what)
        line = failed(call("barrier", "remove", job.model_dir), 5)
        assert what.removeprefix("monolith: ") in line
        assert "--force" not in line


def test_remove_without_place(job: OurJob) -> None:
    done = call("barrier", "remove", job.model_dir)
    assert done == (0, "", "Note: no barrier is placed\n")
    assert call("barrier", "remove", job.model_dir, "--quiet") == (0, "", "")
    assert job.changes == []


def test_a_barrier_that_ends_just_before_it_is_removed(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    job.raises["RemoveBarrier"] = Refusal("NOT_FOUND", "gone")
    assert call("barrier", "remove", job.model_dir).code == 0


def test_remove_as_json(job: OurJob) -> None:
    job.place("ann@box", "", 0)
    document = call("barrier", "remove", "--json", job.model_dir).document
    assert list(document) == STATUS_KEYS
    assert (document["placed"], document["unblocked"]) == (False, [1, 2, 3])
    done = call("barrier", "remove", "--json", job.model_dir)
    assert done.document["placed"] is False
    assert done.err == "Note: no barrier is placed\n"
    job.place("bob@box", "", 0)
    done = call("barrier", "remove", "--json", job.model_dir)
    assert (done.code, done.out, done.error["kind"]) == (5, "", "refused")


def test_remove_when_the_job_is_not_there_to_be_looked_at(
    job: OurJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remove(asked: Any) -> None:
        job.raises["GetInfo"] = Refusal("UNAVAILABLE", "gone away")

    job.place("ann@box", "", 0)
    monkeypatch.setattr(job, "RemoveBarrier", remove)
    done = call("barrier", "remove", "--json", job.model_dir)
    assert (done.code, done.out) == (5, "")
    assert done.error["message"].endswith("; the barrier is removed")


# --- owner ----------------------------------------------------------------------------------


def test_whose_it_is(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    def owner_of(*args: str) -> str:
        job.placed = False
        assert call("barrier", "place", job.model_dir, *args).code == 0
        return str(job["PlaceBarrier"].owner)

    assert owner_of() == "ann@box"
    monkeypatch.setenv("MONOLITH_BARRIER_PLACE_OWNER", "night-shift")
    assert owner_of() == "night-shift"
    monkeypatch.delenv("MONOLITH_OWNER")
    assert owner_of() == "night-shift"
    assert owner_of("--owner", "carl") == "carl"
    monkeypatch.delenv("MONOLITH_BARRIER_PLACE_OWNER")
    assert re.fullmatch(r".+@" + re.escape(socket.gethostname()), owner_of())


def test_an_owner_without_a_name(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would pass for an original client, whose barrier is anybody's."""
    line = failed(call("barrier", "place", job.model_dir, "--owner", ""), 2)
    assert "'--owner': it is empty;" in line
    monkeypatch.setenv("MONOLITH_OWNER", "")
    monkeypatch.setenv("MONOLITH_BARRIER_PLACE_OWNER", "")
    assert call("barrier", "place", job.model_dir).code == 0
    assert re.fullmatch(r".+@" + re.escape(socket.gethostname()), job["PlaceBarrier"].owner)


def test_the_longest_owner_and_reason_are_told(job: OurJob) -> None:
    """In the refusal that others get, which goes over the wire in a header, escaped."""
    longest = ["--owner", "\U0001f680" * 100, "--reason", "\U0001f680" * 500]
    assert call("barrier", "place", job.model_dir, *longest).code == 0
    assert "placed by \U0001f680" in failed(call("barrier", "place", job.model_dir), 5)
    for option, most in (("--owner", 100), ("--reason", 500)):
        line = failed(call("barrier", "place", job.model_dir, option, "x" * (most + 1)), 2)
        assert f"Invalid value for {option!r}" in line
        assert f"it has {most + 1} characters, and may have {most};" in line


def test_a_reason_that_is_no_text(job: OurJob) -> None:
    line = failed(call("barrier", "place", job.model_dir, "--reason", "caf\udce9"), 2)
    assert "'--reason': it has bytes that are no UTF-8" in line
    assert job.calls == []


@pytest.mark.parametrize(
    "command", [["barrier", x] for x in ("place", "remove", "hold")] + [["job", "save"]]
)
def test_both_variables_of_the_owner_are_documented(command: list[str]) -> None:
    text = " ".join(call(*command, "--help").out.split())
    assert "MONOLITH_OWNER says so for every command." in text
    page = (ROOT / "man" / f"monolith-{'-'.join(command)}.1").read_text(encoding="utf-8")
    assert f"MONOLITH_{'_'.join(command).upper()}_OWNER, MONOLITH_OWNER" in page


# --- status and wait ------------------------------------------------------------------------


def test_status_as_json(job: OurJob) -> None:
    job.place("ann@box", "a look", 60_000)
    job.placed_at -= 5
    job.late = {3}
    document = call("barrier", "status", job.model_dir, "--json").document
    assert list(document) == STATUS_KEYS
    assert 5 <= document.pop("placed_seconds_ago") < 10
    assert 50 < document.pop("expires_in_seconds") <= 60
    assert re.fullmatch(r"127\.0\.0\.1:[0-9]+", document.pop("address"))
    assert document == {
        "placed": True,
        "action": "",
        "reason": "a look",
        "owner": "ann@box",
        "blocked": [1, 2],
        "unblocked": [3],
        "global_step": 120,
    }


def test_status_of_a_job_that_trains(job: OurJob) -> None:
    done = call("barrier", "status", job.model_dir)
    assert done.out.splitlines() == [
        "barrier      not placed",
        "blocked      none",
        "not blocked  1, 2, 3",
        "global step  120",
    ]
    document = call("barrier", "status", job.model_dir, "--json").document
    assert document["placed_seconds_ago"] is None


def test_names_from_others_do_no_harm_to_a_terminal(job: OurJob) -> None:
    job.place("\x1b[31mbob", "two\nlines", 0)
    out = call("barrier", "status", job.model_dir).out
    assert "\x1b" not in out
    assert len([line for line in out.splitlines() if line.startswith("reason")]) == 1
    assert "lines" in next(line for line in out.splitlines() if line.startswith("reason"))
    assert "\x1b" not in failed(call("barrier", "place", job.model_dir), 5)


def test_wait(job: OurJob) -> None:
    assert call("barrier", "wait", "--removed", job.model_dir) == (0, "", "")
    job.place("bob@box", "a look", 0)
    assert call("barrier", "wait", "--blocked", job.model_dir) == (0, "", "")
    threading.Timer(0.4, setattr, (job, "placed", False)).start()
    assert call("barrier", "wait", "--removed", job.model_dir) == (0, "", "")


def test_wait_as_json(job: OurJob) -> None:
    job.place("bob@box", "a look", 0)
    document = call("barrier", "wait", "--blocked", "--json", job.model_dir).document
    assert list(document) == STATUS_KEYS
    assert (document["owner"], document["blocked"]) == ("bob@box", [1, 2, 3])
    done = call("barrier", "wait", "--removed", "--json", "--timeout=100ms", job.model_dir)
    assert (done.code, done.out, done.error["kind"]) == (6, "", "timed_out")


def test_wait_too_short(job: OurJob) -> None:
    short = "--timeout=200ms"
    line = failed(call("barrier", "wait", "--blocked", short, job.model_dir), 6)
    assert "no barrier is placed after 0.2 s" in line
    job.place("bob@box", "a look", 0)
    job.late = {2}
    line = failed(call("barrier", "wait", "--blocked", short, job.model_dir), 6)
    assert "worker 2 is not blocked after 0.2 s" in line
    line = failed(call("barrier", "wait", "--removed", short, job.model_dir), 6)
    what = r"the barrier that bob@box placed 0\.\d s ago \(reason: a look\) is still there"
    assert re.search(what + r" after 0\.2 s$", line)


def test_wait_for_what(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--blocked or --removed" in failed(call("barrier", "wait", job.model_dir), 2)
    done = call("barrier", "wait", "--blocked", "--removed", job.model_dir)
    assert "--blocked or --removed" in failed(done, 2)
    monkeypatch.setenv("MONOLITH_BARRIER_WAIT_BLOCKED", "1")
    failed(call("barrier", "wait", "--timeout=100ms", job.model_dir), 6)
    assert call("barrier", "wait", "--removed", job.model_dir).code == 0


# --- original jobs --------------------------------------------------------------------------


def test_an_original_job(original: OriginalJob) -> None:
    done = call("barrier", "place", original.model_dir, "--wait")
    assert done.code == 0
    assert done.err == (
        "Warning: an original job: nobody will know who has placed it and why, and it stays until"
        " it is removed\n"
    )
    assert original.placed
    document = call("barrier", "status", "--json", original.model_dir).document
    assert list(document) == STATUS_KEYS
    del document["address"]
    assert document == {
        "placed": True,
        "action": None,
        "reason": None,
        "owner": None,
        "placed_seconds_ago": None,
        "expires_in_seconds": None,
        "blocked": [1, 2, 3],
        "unblocked": [],
        "global_step": 120,
    }
    line = failed(call("barrier", "place", original.model_dir), 5)
    assert line.endswith("the barrier is placed already; an original job does not know by whom")
    assert call("barrier", "wait", "--blocked", original.model_dir).code == 0
    assert call("barrier", "remove", original.model_dir) == (0, "", "")
    assert not original.placed
    assert original.changes == ["StopTraining", "StopTraining", "ResumeTraining"]


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_time_to_live_that_nothing_would_end(
    original: OriginalJob, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = []
    if by == "option":
        args = ["--ttl", "10m"]
    else:
        monkeypatch.setenv("MONOLITH_BARRIER_PLACE_TTL", "10m")
    line = failed(call("barrier", "place", *args, original.model_dir), 5)
    assert "leave out --ttl" in line
    assert original.changes == []


def test_a_token_is_not_shown_to_an_original_job(
    original: OriginalJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONOLITH_CONTROLLER_TOKEN", "secret")
    call("barrier", "status", original.model_dir)
    assert not [m for m in original.metadata if "authorization" in m]


# --- tokens ---------------------------------------------------------------------------------


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
    assert "the environment's would count if that file were not there" in line
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
        assert f"{secret}: no token" in line
        assert line.endswith("; MONOLITH_CONTROLLER_TOKEN_FILE names it")
        patch.setenv("MONOLITH_CONTROLLER_TOKEN_FILE", str(tmp_path / "none"))
        line = failed(call("barrier", "place", job.model_dir), 3)
        assert line.endswith("none: not there; MONOLITH_CONTROLLER_TOKEN_FILE names it")


# --- what is no job -------------------------------------------------------------------------


@contextlib.contextmanager
def listening(handle: Any) -> Iterator[str]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                handle(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_stale_address(tmp_path: Path) -> None:
    address = f"127.0.0.1:{closed_port()}"
    write_address(tmp_path, address + "\n")
    for command in ("place", "remove", "status"):
        start = time.monotonic()
        line = failed(call("barrier", command, tmp_path), 5)
        assert time.monotonic() - start < 1
        assert f"nobody listens at {address}" in line
        assert "stale" in line
        assert "another host" in line
    write_address(tmp_path, f"{socket.gethostname()}:{closed_port()}")
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
        assert "is no job's controller" in failed(call("barrier", "status", tmp_path), 5)
        server.shutdown()
    with listening(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")) as address:
        write_address(tmp_path, address)
        assert "is no job's controller" in failed(call("barrier", "status", tmp_path), 5)
    with listening(lambda connection: connection.close()) as address:
        write_address(tmp_path, address)
        failed(call("barrier", "status", tmp_path), 5)
    job = OurJob(tmp_path)
    with serving(job, service="Another"):
        line = failed(call("barrier", "place", tmp_path), 5)
        assert "is no job's controller" in line
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
        assert f"is that of {job.model_dir}" in line
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
    proxy = f"http://127.0.0.1:{closed_port()}"
    done = monolith("barrier", "status", job.model_dir, http_proxy=proxy, grpc_proxy=proxy)
    assert done.returncode == 0, done.stderr


# --- TLS ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`server`, `client` and `other`: keys, and certificates that vouch for themselves."""
    made = tmp_path_factory.mktemp("certificates")
    for name in ("server", "client", "other"):
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
        command += ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        command += ["-keyout", str(made / f"{name}.key"), "-out", str(made / f"{name}.pem")]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except FileNotFoundError:
            pytest.skip("openssl is not installed")
    return made


@pytest.fixture(params=[False, True], ids=["tls", "mutual"])
def secure(request: Any, tmp_path: Path, certificates: Path) -> Iterator[tuple[OurJob, bool]]:
    pair = (
        (certificates / "server.key").read_bytes(),
        (certificates / "server.pem").read_bytes(),
    )
    ca = (certificates / "client.pem").read_bytes() if request.param else None
    made = OurJob(tmp_path)
    credentials = grpc.ssl_server_credentials([pair], ca, request.param)
    with serving(made, credentials=credentials):
        yield made, request.param


def test_tls(secure: tuple[OurJob, bool], certificates: Path) -> None:
    job, is_mutual = secure
    ca = ["--tls-ca", str(certificates / "server.pem")]
    mine = ["--tls-cert", str(certificates / "client.pem")]
    mine += ["--tls-key", str(certificates / "client.key")]
    assert call("barrier", "place", job.model_dir, *ca, *mine).code == 0
    done = call("barrier", "status", job.model_dir, *ca)
    if is_mutual:
        assert "give --tls-cert and --tls-key if the job wants to see a cert" in failed(done, 5)
    else:
        assert done.code == 0


def test_tls_goes_wrong_in_one_line(secure: tuple[OurJob, bool], certificates: Path) -> None:
    job, _ = secure
    for args in ([], ["--tls-ca", str(certificates / "other.pem")]):
        done = monolith("barrier", "status", job.model_dir, *args)
        assert done.returncode == 5
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1, done.stderr
        assert ("no secure connection" if args else "--tls-ca") in done.stderr
    assert job.calls == []


def test_tls_with_a_job_that_has_none(job: OurJob, certificates: Path) -> None:
    done = monolith("barrier", "status", job.model_dir, "--tls-ca", certificates / "server.pem")
    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "no secure connection" in done.stderr


def test_options_of_tls(job: OurJob, tmp_path: Path, certificates: Path) -> None:
    ca = ["--tls-ca", str(certificates / "server.pem")]
    for args in (["--tls-cert", "x"], [*ca, "--tls-key", "x"], ["--tls-cert=x", "--tls-key=x"]):
        assert "belong together" in failed(call("barrier", "status", job.model_dir, *args), 2)
    done = call("barrier", "status", job.model_dir, "--tls-ca", tmp_path / "none")
    assert "not there" in failed(done, 3)
    garbage = tmp_path / "garbage.pem"
    garbage.write_bytes(os.urandom(200))
    for args in (
        ["--tls-ca", str(garbage)],
        [*ca, "--tls-cert", str(garbage), "--tls-key", str(garbage)],
    ):
        wrong = monolith("barrier", "status", job.model_dir, *args)
        assert wrong.returncode in (3, 5)
        assert wrong.stderr.count("\n") == 1, wrong.stderr
        assert wrong.stderr.startswith("Error: ")


def test_a_server_that_speaks_tls_but_is_no_job(tmp_path: Path, certificates: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"hello\r\n")

    with listening(handle) as address:
        write_address(tmp_path, address)
        failed(call("barrier", "status", tmp_path), 5)
        ca = certificates / "server.pem"
        failed(call("barrier", "status", tmp_path, "--tls-ca", ca), 5)


# --- the command itself ---------------------------------------------------------------------


def test_a_closed_pipe(job: OurJob) -> None:
    pipe = '"$@" | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(
        ["bash", "-c", pipe, "-", MONOLITH, "barrier", "status", job.model_dir],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 141)
    assert done.stderr == ""


def test_output_for_jq(job: OurJob) -> None:
    out = monolith("barrier", "status", "--json", job.model_dir).stdout
    assert out.count("\n") == 1
    assert json.loads(out)["unblocked"] == [1, 2, 3]
