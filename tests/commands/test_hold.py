"""`monolith barrier hold`: the command's end is its own, and the barrier goes whatever happens."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cli_support import MONOLITH, Done, call, environment, failed, monolith
from fake_jobs import OriginalJob, OurJob, Refusal, serving
from waiting import eventually

ENV = environment(MONOLITH_OWNER="ann@box")


def args_of(job: OriginalJob, *args: str) -> list[str]:
    return [str(MONOLITH), "barrier", "hold", job.model_dir, *args]


def hold(job: OriginalJob, *args: str, stdin: str = "") -> Done:
    done = subprocess.run(
        args_of(job, *args),
        check=False,
        capture_output=True,
        text=True,
        input=stdin,
        timeout=30,
        env=ENV,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def start(job: OriginalJob, *args: str, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        args_of(job, *args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENV,
        **how,
    )


# Says when it is there, and which signals it gets; ends after the first with code 3.
LISTENER = """
import signal, sys, time
def note(number, frame):
    print(signal.Signals(number).name, flush=True)
    time.sleep(0.3)  # a second one would come now
    seen.append(number)
seen = []
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):
    signal.signal(getattr(signal, name), note)
print("ready", flush=True)
while not seen:
    time.sleep(0.01)
sys.exit(3)
"""
LISTEN = [sys.executable, "-c", LISTENER]


def test_the_workers_stand_while_the_command_runs(job: OurJob) -> None:
    job.late = {2}
    threading.Timer(1, job.late.clear).start()
    status = f"{MONOLITH} barrier status --json {job.model_dir}"
    done = hold(job, "--reason", "a copy", "--", "sh", "-c", status)
    assert (done.code, done.err) == (0, "")
    seen = json.loads(done.out)
    assert seen["unblocked"] == []
    assert (seen["owner"], seen["reason"]) == ("ann@box", "a copy")
    assert 0 < seen["expires_in_seconds"] <= 60
    assert job.changes == ["PlaceBarrier", "RenewBarrier", "RemoveBarrier"]
    assert not job.placed


def test_the_reason_is_the_command_if_none_is_given(job: OurJob) -> None:
    assert hold(job, "--", "test", "a", "=", "a").code == 0
    assert job["PlaceBarrier"].reason == "test a = a"
    assert hold(job, "--", "true", "caf\udce9", "x" * 70_000).code == 0
    assert job["PlaceBarrier"].reason.startswith("true caf\ufffd xxx")
    assert job["PlaceBarrier"].reason.endswith("xxx...")


@pytest.mark.parametrize("code", [0, 1, 5, 125, 255])
def test_the_code_is_passed_on(job: OurJob, code: int) -> None:
    assert hold(job, "--", "sh", "-c", f"exit {code}") == (code, "", "")
    assert not job.placed


def test_a_command_that_is_killed(job: OurJob) -> None:
    assert hold(job, "--", "sh", "-c", "kill -9 $$").code == 137
    assert not job.placed


def test_a_command_that_cannot_be_run(job: OurJob, tmp_path: Path) -> None:
    done = hold(job, "--", "no-such-command")
    assert (done.code, done.err) == (127, "Error: no-such-command: not found\n")
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    done = hold(job, "--", str(script))
    assert (done.code, done.err) == (126, f"Error: {script}: Permission denied\n")
    assert "a directory" in failed(hold(job, "--", str(tmp_path)), 126)
    script.write_text("#!/no/such/shell -e\n")
    script.chmod(0o755)
    assert "a script for '/no/such/shell', which is not there" in failed(
        hold(job, "--", str(script)), 126
    )
    assert job.changes == []  # nobody has stood still for it


def test_what_only_an_attempt_can_tell(job: OurJob, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF\0of another machine")
    program.chmod(0o755)
    done = hold(job, "--", str(program))
    assert (done.code, done.err) == (126, f"Error: {program}: Exec format error\n")
    assert job.changes == ["PlaceBarrier", "RenewBarrier", "RemoveBarrier"]
    assert not job.placed


def test_a_script_that_does_not_say_what_it_is_for(job: OurJob, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1 from sh"; exit 3\n')
    script.chmod(0o755)
    assert hold(job, "--", str(script), "hello") == (3, "hello from sh\n", "")


def test_streams_are_the_commands(job: OurJob) -> None:
    assert hold(job, "--", "cat", stdin="x\n") == (0, "x\n", "")
    assert hold(job, "--", "sh", "-c", "echo oops >&2; echo fine") == (0, "fine\n", "oops\n")
    line = " ".join(args_of(job, "--", "yes")) + " | head -n 1; exit ${PIPESTATUS[0]}"
    done = subprocess.run(
        ["bash", "-c", line], check=False, capture_output=True, text=True, env=ENV, timeout=30
    )
    assert (done.returncode, done.stdout) == (141, "y\n")
    assert "Traceback" not in done.stderr
    assert not job.placed


def test_options_of_the_command_are_its_own(job: OurJob) -> None:
    assert hold(job, "--", "echo", "--help", "--", "-x") == (0, "--help -- -x\n", "")


def test_a_given_address(job: OurJob) -> None:
    address = Path(job.model_dir, "controller_server_addr.txt").read_text()
    Path(job.model_dir, "controller_server_addr.txt").write_text("stale:1")
    assert hold(job, "--address", address, "--", "echo", "with") == (0, "with\n", "")
    done = subprocess.run(
        [MONOLITH, "barrier", "hold", "--address", address, "--", "echo", "without"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
        env={**ENV, "MONOLITH_CONTROLLER_TOKEN": "secret"},
    )
    assert (done.returncode, done.stdout) == (0, "without\n")


def test_no_command(job: OurJob) -> None:
    for args in ([], ["--"]):
        done = hold(job, *args)
        assert done.code == 2
        assert "No command: give it after --" in done.err
    done = hold(job, "x", "--", "y")
    assert (done.code, job.calls) == (2, [])


# --- its own failures -----------------------------------------------------------------------


def test_workers_that_do_not_come(job: OurJob) -> None:
    job.late = {2, 3}
    done = hold(job, "--timeout", "300ms", "--", "echo", "run")
    assert (done.code, done.out) == (125, "")
    assert "workers 2, 3 are not blocked after 0.3 s; the command was not run" in done.err
    assert done.err.count("\n") == 1
    assert not job.placed


def test_a_barrier_that_goes_before_the_command_is_run(job: OurJob) -> None:
    job.late = {2}
    process = start(job, "--", "echo", "run")
    eventually(lambda: job.placed)
    job.placed = False
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (125, "")
    assert "removed before all workers stood; the command was not run" in err


@pytest.mark.parametrize("how", ["removed", "restarted", "another token", "dead"])
def test_a_barrier_that_is_lost_meanwhile(tmp_path: Path, how: str) -> None:
    job = OurJob(tmp_path)
    go = tmp_path / "go"
    os.mkfifo(go)
    with serving(job) as address:
        ttl = "2s" if how == "dead" else "60s"
        script = f"echo run; cat {go}; echo done; exit 7"
        process = start(job, "--ttl", ttl, "--", "sh", "-c", script)
        assert process.stdout is not None
        process.stdout.readline()
        if how == "removed":
            job.placed = False
        elif how != "dead":
            job.restart("new" if how == "another token" else None)
        else:
            return_to = go
        if how != "dead":
            go.write_text("")
            out, err = process.communicate(timeout=10)
    if how == "dead":
        return_to.write_text("")
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (125, "done\n")
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert "lost while the command ran" in err
    assert "the command has ended with 7" in err
    if how == "dead":
        assert f"could not be removed: nobody listens at {address} any more; " in err
        assert "the barrier has ended by itself by now" in err
    else:
        assert f"run it again if it needed the pause; see 'monolith job log {tmp_path}'" in err


def test_a_job_that_dies_meanwhile(tmp_path: Path) -> None:
    """What ends the barrier then is neither its time nor the command that removes it."""
    job = OurJob(tmp_path)
    go = tmp_path / "go"
    os.mkfifo(go)
    with serving(job) as address:
        process = start(job, "--json", "--", "sh", "-c", f"echo run; cat {go}; exit 7")
        assert process.stdout is not None
        process.stdout.readline()
    go.write_text("")
    time.sleep(1)
    process.send_signal(signal.SIGINT)  # it would try for ten seconds
    out, err = process.communicate(timeout=10)
    done = Done(process.returncode, out, err)
    assert (done.code, done.error["kind"]) == (125, "refused")
    assert done.error["message"].endswith(
        "the barrier may have been lost while the command ran, and could not be removed: nobody"
        f" listens at {address} any more; the command has ended with 7; the barrier ends when the"
        " workers see that the chief is dead, or join the run of another"
    )


def test_a_job_that_dies_before_all_stand(tmp_path: Path) -> None:
    job = OurJob(tmp_path)
    job.late = {1}
    with serving(job) as address:
        process = start(job, "--", "echo", "run")
        eventually(lambda: job.placed)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (125, "")
    assert f"nobody listens at {address} any more" in err or "before it answered" in err
    assert "stale" not in err


def test_a_chief_that_has_started_again_at_another_port(tmp_path: Path) -> None:
    before, now = OurJob(tmp_path), OurJob(tmp_path)
    now.run_id = "another"
    go = tmp_path / "go"
    os.mkfifo(go)
    with serving(before):
        process = start(before, "--", "sh", "-c", f"echo run; cat {go}")
        assert process.stdout is not None
        process.stdout.readline()
    with serving(now):
        go.write_text("")
        _, err = process.communicate(timeout=10)
    assert process.returncode == 125
    assert "the barrier was lost while the command ran" in err


def test_a_barrier_that_cannot_be_removed(job: OurJob) -> None:
    """Nobody is left in the dark: where it is, until when, and what to do."""
    job.raises["RemoveBarrier"] = Refusal("PERMISSION_DENIED", "no orders")
    done = hold(job, "--owner", "bob", "--json", "--", "sh", "-c", "echo done; exit 7")
    assert (done.code, done.out) == (125, "done\n")
    address = Path(job.model_dir, "controller_server_addr.txt").read_text()
    remove = f"monolith barrier remove {job.model_dir} --owner bob"
    assert re.fullmatch(
        f"Error: {address}: the barrier could not be removed: no orders; the command has ended with"
        rf" 7; the barrier ends within (10|9\.\d) s, or with '{remove}'",
        done.err.splitlines()[0],
    )
    assert (done.error["code"], done.error["kind"]) == (125, "refused")


def test_a_missing_command_is_said_where_nobody_listens_too() -> None:
    done = monolith("barrier", "hold", "--address", "127.0.0.1:1", "--", "no-such-command")
    assert (done.returncode, done.stderr) == (127, "Error: no-such-command: not found\n")


@pytest.mark.parametrize("option", ["--json", "--debug"])
def test_options_behind_dashes_are_not_its_own(option: str) -> None:
    line = ["barrier", "hold", "--address", "127.0.0.1:1", "--"]
    assert call(*line, "no-such-command", option).err == "Error: no-such-command: not found\n"
    assert call(*line, "true", option).err.count("\n") == 1
    ours = call(*line[:-1], option, "--", "no-such-command")
    assert ours.err.count("\n") > 1


def test_errors_as_json(job: OurJob) -> None:
    done = hold(job, "--json", "--", "no-such-command")
    assert (done.code, done.out) == (127, "")
    assert (done.error["code"], done.error["message"]) == (127, "no-such-command: not found")
    assert hold(job, "--json", "--", "sh", "-c", "echo mine; exit 3") == (3, "mine\n", "")


def test_two_at_once(job: OurJob) -> None:
    first = start(job, "--", *LISTEN)
    assert first.stdout is not None
    first.stdout.readline()
    second = hold(job, "--", "echo", "run")
    assert (second.code, second.out) == (125, "")
    assert "placed by ann@box" in second.err
    assert job.placed
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=10)
    assert first.returncode == 3
    assert not job.placed


def test_no_job(tmp_path: Path) -> None:
    done = hold(OurJob(tmp_path / "none"), "--", "echo", "run")
    assert (done.code, done.out) == (125, "")
    assert done.err.startswith(f"Error: {tmp_path}/none: not there")


# --- time -----------------------------------------------------------------------------------


def test_renewed_while_it_lives_and_ended_by_its_time_when_killed(job: OurJob) -> None:
    process = start(job, "--ttl", "900ms", "--", "sleep", "3")
    eventually(lambda: job.calls.count("RenewBarrier") > 3)
    assert job.placed
    process.kill()
    process.communicate(timeout=10)
    assert job.placed
    ahead = time.monotonic() + 1
    job.clock = lambda: ahead
    job.check("GetInfo", {})
    assert not job.placed


def test_an_original_job(tmp_path: Path) -> None:
    job = OriginalJob(tmp_path)
    with serving(job):
        done = hold(job, "--ttl", "5s", "--", "sh", "-c", "exit 4")
        assert "leave out --ttl" in failed(done, 125)
        assert job.changes == []
        done = hold(job, "--", "sh", "-c", "exit 4")
    assert done.code == 4
    assert done.err == ("Warning: an original job: if this command is killed, the barrier stays\n")
    assert job.changes == ["StopTraining", "ResumeTraining"]


# --- signals --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"])
def test_signals_are_passed_on(job: OurJob, name: str) -> None:
    process = start(job, "--", *LISTEN, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (3, f"{name}\n", "")
    assert not job.placed


def test_a_command_that_a_signal_ends(job: OurJob) -> None:
    process = start(job, "--", "sh", "-c", "echo ready; exec sleep 20", start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=10)
    assert process.returncode == 143
    assert not job.placed


SIGNAL_CODES = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131)]


@pytest.mark.parametrize(("name", "code"), SIGNAL_CODES)
def test_a_signal_before_the_command(job: OurJob, name: str, code: int) -> None:
    job.late = {1}
    process = start(job, "--", "echo", "run", start_new_session=True)
    eventually(lambda: job.placed)
    process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "")
    assert err == "Error: stopped before the command was run\n"
    assert not job.placed


class Terminal:
    """`hold` in the foreground of a terminal of its own.

    Not by pexpect, which forks: this process has grpc's threads.
    """

    def __init__(self, job: OriginalJob, *command: str, stdin: str = "terminal") -> None:
        self.number, theirs = pty.openpty()
        enter = (
            "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(1, termios.TIOCSCTTY, 0);"
            " os.execv(sys.argv[1], sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", enter, *args_of(job, "--", *command)],
            stdin=theirs if stdin == "terminal" else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env=ENV,
        )
        os.close(theirs)
        self.text = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.number)

    def read_until(self, text: bytes) -> None:
        while text not in self.text:
            self.text += os.read(self.number, 1000)

    def press(self, key: bytes) -> None:
        os.write(self.number, key)

    def end(self) -> int:
        try:
            while more := os.read(self.number, 1000):
                self.text += more
        except OSError:  # what a terminal says that nobody has open any more
            pass
        return self.process.wait(10)


@pytest.mark.parametrize("stdin", ["terminal", "pipe"])
@pytest.mark.parametrize(("key", "name"), [(b"\x03", b"SIGINT"), (b"\x1c", b"SIGQUIT")])
def test_keys_reach_the_command_once(job: OurJob, stdin: str, key: bytes, name: bytes) -> None:
    with Terminal(job, *LISTEN, stdin=stdin) as terminal:
        terminal.read_until(b"ready")
        terminal.press(key)
        assert terminal.end() == 3
    assert terminal.text.count(name) == 1, terminal.text
    assert b"Traceback" not in terminal.text
    assert not job.placed


def test_a_command_that_takes_no_notice_of_ctrl_c(job: OurJob) -> None:
    """It goes on in peace, as an editor or a debugger would, however often; Ctrl-\\ ends it."""
    script = "trap '' INT; echo ready; for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done"
    with Terminal(job, "sh", "-c", script) as terminal:
        terminal.read_until(b"ready")
        for _ in range(3):
            terminal.press(b"\x03")
            time.sleep(0.2)
        assert terminal.process.poll() is None
        assert job.placed
        terminal.press(b"\x1c")
        assert terminal.end() == 131
    assert b"Error" not in terminal.text
    assert not job.placed
