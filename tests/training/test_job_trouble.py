"""The commands where something is in their way: clocks, hangs, signals, strangers, tokens."""

from __future__ import annotations

import datetime
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_support import environment, monolith
from clocks import library, preloaded
from live_job import ADDRESS, LOG, PATH, TOKEN, WORKERS, LiveJob, live_job

from monolith_cli.control.client import ANSWER_SECONDS
from monolith_cli.control.log import read_log

LEASE_SECONDS = 4
HOUR = 3600
CHIEF_AHEAD_SECONDS = 3 * HOUR
START_SECONDS = 5.0  # of a command, at most, on a machine that is busy


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveJob]:
    """Its chief's clock is hours fast, whatever the test is about."""
    arguments = {"BarrierOp": {"lease_seconds": LEASE_SECONDS}}
    ahead = CHIEF_AHEAD_SECONDS if library() else 0
    with live_job(tmp_path_factory.mktemp("trouble"), arguments, ahead) as job:
        yield job


@pytest.fixture
def job(started: LiveJob) -> Iterator[LiveJob]:
    """The job, without a barrier; it goes on after each test."""
    yield started
    is_placed = started.status["placed"]
    if is_placed:  # the next test is none the worse
        started.ok("barrier", "remove", "--force")
    assert not is_placed
    started.goes_on()


# --- clocks that differ -----------------------------------------------------------------------


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clients_clock(job: LiveJob, hours: int) -> None:
    """No time of day is told from one to the other, and no wait depends on it."""
    if library() is None:
        pytest.skip("no library can be preloaded that shifts clocks")
    env = preloaded(hours * HOUR)
    ask = [sys.executable, "-c", "import time; print(time.time())"]
    theirs = float(subprocess.check_output(ask, env=os.environ | env))
    assert abs(theirs - time.time() - hours * HOUR) < 60

    placed = job.monolith("barrier", "place", "--wait", "--ttl", "1m", "--json", **env)
    assert placed.returncode == 0, placed.stderr
    for said in (placed, job.monolith("barrier", "status", "--json", **env)):
        status = json.loads(said.stdout)
        assert (status["placed"], status["unblocked"]) == (True, [])
        assert 0 <= status["placed_seconds_ago"] < 20
        assert 40 < status["expires_in_seconds"] <= 60
    last = read_log(job.model_dir)[-1]
    ahead = datetime.datetime.fromisoformat(last["time"]).timestamp() - time.time()
    assert abs(ahead - CHIEF_AHEAD_SECONDS) < 60  # the log's clock is the chief's
    job.stands_still(*WORKERS)

    start = time.monotonic()
    late = job.monolith("barrier", "wait", "--removed", "--timeout", "1s", **env)
    assert late.returncode == 6
    assert 1 <= time.monotonic() - start < 1 + START_SECONDS
    assert job.monolith("barrier", "remove", **env).returncode == 0

    # The time-to-live is not over too late, nor too early: it is renewed when it is time.
    placed = job.monolith("barrier", "place", "--ttl", "1s", **env)
    assert placed.returncode == 0, placed.stderr
    start = time.monotonic()
    gone = job.monolith("barrier", "wait", "--removed", "--timeout", "20s", **env)
    assert gone.returncode == 0
    assert time.monotonic() - start < 1 + START_SECONDS
    look = ["sh", "-c", f"sleep 3; monolith barrier status --json {job.model_dir}; exit 7"]
    held = job.monolith("barrier", "hold", "--ttl", "2s", "--", *look, PATH=PATH, **env)
    assert held.returncode == 7, held.stderr
    assert json.loads(held.stdout)["blocked"] == [1, 2, 3]


# --- a job that hangs -------------------------------------------------------------------------


def test_a_job_that_hangs(job: LiveJob) -> None:
    """Each command ends with its deadline; when the job is back, so is the barrier."""
    job.ok("barrier", "place", "--wait", "--ttl", "0")
    with job.stopped("chief_0"):
        check_deadlines(
            job,
            (["barrier", "status"], 6, ANSWER_SECONDS),
            (["barrier", "hold", "--", "echo", "run"], 125, ANSWER_SECONDS),
            (["barrier", "wait", "--removed", "--timeout", "1s"], 6, 1),
            (["job", "save", "--timeout", "2s"], 6, 2),
        )
        job.goes_on(*WORKERS)  # to them the chief is dead
    job.ok("barrier", "wait", "--blocked")
    job.ok("job", "save", "--require-all")
    job.ok("barrier", "remove")


def test_a_parameter_server_that_hangs(job: LiveJob) -> None:
    """The chief takes calls, but cannot answer them."""
    with job.stopped("ps_0"):
        check_deadlines(
            job,
            (["barrier", "wait", "--removed", "--timeout", "1s"], 6, 1),
            (["job", "save", "--timeout", "2s"], 6, 2),
        )
    job.ok("job", "save", "--require-all")


def check_deadlines(job: LiveJob, *ends: tuple[list[str], int, float]) -> None:
    """Commands, all at once; their exit codes, and when they shall give up."""
    address = (job.model_dir / ADDRESS).read_text()

    def check(end: tuple[list[str], int, float]) -> None:
        args, code, seconds = end
        start = time.monotonic()
        done = job.monolith(*args)
        took = time.monotonic() - start
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert f"no answer from {address} in {seconds:g} s" in done.stderr, args
        assert "the job hangs, or something else listens there" in done.stderr, args
        assert seconds - 0.5 < took < seconds + START_SECONDS, args

    with ThreadPoolExecutor(len(ends)) as pool:
        list(pool.map(check, ends))


# --- signals ----------------------------------------------------------------------------------

TRAP = "trap 'exit 9' INT TERM; echo ready; while :; do sleep 0.05; done"


@pytest.mark.parametrize(
    ("command", "code"), [(["sh", "-c", TRAP], 9), (["sh", "-c", "echo ready; exec sleep 30"], 143)]
)
def test_hold_is_terminated(job: LiveJob, command: list[str], code: int) -> None:
    with subprocess.Popen(
        job.command("barrier", "hold", "--owner", "ann", "--", *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as hold:
        assert hold.stdout is not None
        assert hold.stdout.readline() == "ready\n"
        assert job.status["blocked"] == [1, 2, 3]
        hold.terminate()
        out, err = hold.communicate(timeout=20)
    assert (hold.returncode, out, err) == (code, "", "")
    removed_by_ann(job)


def test_ctrl_c_in_hold(job: LiveJob) -> None:
    """At a terminal of its own, which sends it to the command as well."""
    terminal, theirs = pty.openpty()
    enter = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0);"
        " os.execv(sys.argv[1], sys.argv[1:])"
    )
    command = job.command("barrier", "hold", "--owner", "ann", "--", "sh", "-c", TRAP)
    with subprocess.Popen(
        [sys.executable, "-c", enter, *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(),
    ) as hold:
        os.close(theirs)
        try:
            text = b""
            while b"ready" not in text:
                text += os.read(terminal, 1000)
            assert job.status["blocked"] == [1, 2, 3]
            os.write(terminal, b"\x03")
            assert hold.wait(20) == 9
        finally:
            hold.kill()
            os.close(terminal)
    removed_by_ann(job)


def removed_by_ann(job: LiveJob) -> None:
    """At once: not by its time-to-live, which is a minute."""
    assert job.status["placed"] is False
    last = read_log(job.model_dir)[-1]
    assert (last["method"], last["owner"], last["result"]) == ("RemoveBarrier", "ann", "done")


# --- who may not ------------------------------------------------------------------------------

WRONG = {"MONOLITH_CONTROLLER_TOKEN": "guessed"}
WRONG_TOKEN, NO_TOKEN = "a wrong token", "this job takes orders only with its token"
CHANGES = (
    ("barrier", "place"),
    ("barrier", "remove", "--force"),
    ("barrier", "hold", "--", "echo", "run"),
    ("job", "save"),
    ("job", "stop"),
)


def test_who_has_not_the_token(job: LiveJob) -> None:
    job.ok("barrier", "place", "--ttl", "0", "--owner", "ann")
    before = len(read_log(job.model_dir))
    for args in CHANGES:
        refused(job.from_afar(*args, **WRONG), WRONG_TOKEN, *args)
    for args in CHANGES:
        refused(job.from_afar(*args), NO_TOKEN, *args)
    assert job.status["owner"] == "ann"
    first = read_log(job.model_dir)[before]
    assert (first["method"], first["result"]) == ("PlaceBarrier", WRONG_TOKEN)
    assert re.fullmatch(r"ipv4:127\.0\.0\.1:\d+", first["peer"])

    token = job.model_dir / TOKEN
    kept = token.with_name("kept")
    os.rename(token, kept)
    try:
        token.write_text("that-of-another-run\n")
        done = job.monolith("barrier", "remove", "--force")
        refused(done, WRONG_TOKEN)
        assert str(token) in done.stderr
        token.unlink()
        token.mkdir()  # which root cannot read either
        done = job.monolith("barrier", "remove", "--force")
        refused(done, NO_TOKEN)
        assert str(token) in done.stderr
        assert job.status["owner"] == "ann"  # who only looks needs none
        token.rmdir()
    finally:
        os.rename(kept, token)
    job.ok("barrier", "remove", "--owner", "ann")


def refused(done: subprocess.CompletedProcess[str], what: str, *args: str) -> None:
    assert (done.returncode, done.stdout) == (125 if "hold" in args else 5, ""), done.stderr
    assert what in done.stderr


def test_remove_without_place(job: LiveJob) -> None:
    before = (job.model_dir / LOG).read_bytes()
    done = job.monolith("barrier", "remove")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no barrier is placed" in done.stderr
    assert (job.model_dir / LOG).read_bytes() == before


# --- who else may be at the address -----------------------------------------------------------

SILENT = """
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print("port", listener.getsockname()[1], flush=True)
time.sleep(60)
"""


@contextmanager
def stranger(*args: str) -> Iterator[str]:
    """Another program, that tells its port; its address."""
    with subprocess.Popen(
        [sys.executable, "-u", *args], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            port = re.search(r"port (\d+)", process.stdout.readline())
            assert port
            yield f"127.0.0.1:{port[1]}"
        finally:
            process.kill()


def asked(directory: Path, *args: str) -> tuple[int, str, float]:
    """Exit code, the one line that is said, and the seconds it took."""
    start = time.monotonic()
    done = monolith(*args[:2], str(directory), *args[2:])
    took = time.monotonic() - start
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.returncode, done.stderr, took


ALL_COMMANDS = (
    ("barrier", "place"),
    ("barrier", "remove"),
    ("barrier", "status"),
    ("barrier", "wait", "--removed"),
    ("barrier", "hold", "--", "echo", "run"),
    ("job", "status"),
    ("job", "save"),
    ("job", "stop"),
)


def test_a_web_server(tmp_path: Path) -> None:
    (tmp_path / TOKEN).write_text("secret")
    with stranger("-m", "http.server", "0", "--bind", "127.0.0.1") as address:
        (tmp_path / ADDRESS).write_text(address)
        check_all(tmp_path, f"what listens at {address} is not a job's controller")


def check_all(directory: Path, *expected: str) -> None:
    """Every command says so, at once."""
    for args in ALL_COMMANDS:
        code, line, took = asked(directory, *args)
        assert code == (125 if "hold" in args else 5), (args, line)
        assert all(text in line for text in expected), (args, line)
        assert took < START_SECONDS, args


def test_a_program_that_never_answers(tmp_path: Path) -> None:
    with stranger("-c", SILENT) as address:
        (tmp_path / ADDRESS).write_text(address)
        for args in (("barrier", "wait", "--removed"), ("job", "save")):
            code, line, took = asked(tmp_path, *args, "--timeout", "1s")
            assert code == 6
            assert f"no answer from {address} in 1 s" in line
            assert 1 <= took < 1 + START_SECONDS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (bytes(range(256)) * 16, "holds no address"),
        (b"no-such-host.invalid:2222", "the host 'no-such-host.invalid' is not known here"),
    ],
)
def test_an_address_that_is_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / ADDRESS).write_bytes(content)
    for args in (("barrier", "status"), ("job", "save")):
        code, line, took = asked(tmp_path, *args)
        assert code == 5
        assert f"{ADDRESS}: {message}" in line
        assert took < ANSWER_SECONDS


# --- a chief that is dead ---------------------------------------------------------------------


def test_the_chief_is_killed_and_stays_dead(started: LiveJob) -> None:
    """The last test on this job; it leaves its address and its barrier."""
    job = started
    job.ok("barrier", "place", "--ttl", "0", "--wait")
    job.kill(0)
    died = time.monotonic()
    job.stands_still(*WORKERS)
    check_all(job.model_dir, f"nobody listens at {(job.model_dir / ADDRESS).read_text()}", "stale")
    job.goes_on(*WORKERS)
    assert LEASE_SECONDS - 2 < time.monotonic() - died < LEASE_SECONDS + 5
