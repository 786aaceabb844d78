"""Scripts as a CI job would have them, run by bash on the example job with three workers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
from cli_support import environment
from live_job import ADDRESS, PATH, ROOT, LiveJob, live_job, run_script

SCRIPTS = Path(__file__).parent / "scripts"

pytestmark = pytest.mark.skipif(which("bash") is None, reason="there is no bash here")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveJob]:
    with live_job(tmp_path_factory.mktemp("scripts")) as job:
        yield job


@pytest.fixture
def job(started: LiveJob) -> Iterator[LiveJob]:
    """The job; it goes on after each script."""
    yield started
    assert started.status["placed"] is False
    started.goes_on()


def test_place_wait_count_remove(job: LiveJob) -> None:
    done = run_script(SCRIPTS / "pause_and_count.sh", job.model_dir)
    assert (done.returncode, done.stderr) == (0, "")
    counts = json.loads(done.stdout)
    assert counts["step"] == job.step
    # Slot 3 has an entry for each record that was trained on, one a step; workers may make some
    # more until they stand.
    assert counts["slot_counts"]["3"] >= counts["step"]


@pytest.mark.parametrize("code", [0, 7])
def test_the_exit_code_of_what_ran_in_hold(job: LiveJob, code: int) -> None:
    done = run_script(SCRIPTS / "hold_while_failing.sh", job.model_dir, code)
    assert (done.returncode, done.stderr) == (code, "")
    status = json.loads(done.stdout)
    assert (status["placed"], status["blocked"]) == (True, [1, 2, 3])
    assert status["reason"] == "nightly check"


def test_save_and_check_exactly_that_step(job: LiveJob) -> None:
    before = job.step
    done = run_script(SCRIPTS / "save_and_check.sh", job.model_dir)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["step"] == job.step != before
    assert job.step is not None
    assert job.states(job.step) == [0, 1, 2, 3]

    # Had the job counted otherwise, it would be seen.
    (job.model_dir / f"ckpt.info-{job.step}").write_text("slot_counts {\n  key: 3\n  value: 1\n}\n")
    check = run_script_of(f'monolith ckpt-info --check --step {job.step} "$1"', job)
    assert check.returncode == 1


def run_script_of(text: str, job: LiveJob) -> subprocess.CompletedProcess[str]:
    script = job.model_dir.parent / "script.sh"
    script.write_text(text)
    return run_script(script, job.model_dir)


@pytest.mark.parametrize("code", [0, 3])
def test_a_trap_removes_the_barrier(job: LiveJob, code: int) -> None:
    command = ["sh", "-c", f"monolith barrier status --json {job.model_dir}; exit {code}"]
    done = run_script(SCRIPTS / "trap_cleanup.sh", job.model_dir, *command)
    assert (done.returncode, done.stderr) == (code, "")
    status = json.loads(done.stdout)
    assert (status["placed"], status["unblocked"]) == (True, [])
    assert status["owner"].startswith("ci-")


def test_a_trap_removes_it_when_the_script_is_ended(job: LiveJob) -> None:
    mark = job.model_dir.parent / "pid"
    command = ["sh", "-c", f"echo $$ > {mark}.tmp; mv {mark}.tmp {mark}; exec sleep 60"]
    with subprocess.Popen(
        ["bash", str(SCRIPTS / "trap_cleanup.sh"), str(job.model_dir), *command],
        env=environment(PATH=PATH),
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        job.wait_for(mark.exists)
        script.send_signal(signal.SIGTERM)
        assert script.wait(20) == 143
        assert script.stderr is not None
        assert script.stderr.read() == ""
    with pytest.raises(ProcessLookupError):  # the command does not outlive the pause
        os.kill(int(mark.read_text()), 0)


def test_a_trap_removes_what_was_placed_for_workers_that_do_not_come(job: LiveJob) -> None:
    script = (SCRIPTS / "trap_cleanup.sh").read_text()
    assert "--timeout 30s" in script
    shorter = job.model_dir.parent / "trap_cleanup.sh"
    shorter.write_text(script.replace("--timeout 30s", "--timeout 1s"))
    with job.stopped("worker_0"):
        done = run_script(shorter, job.model_dir, "echo", "run")
    assert (done.returncode, done.stdout) == (6, "")
    assert "is not blocked after 1 s" in done.stderr
    assert not job.status["placed"]


def test_two_scripts_at_once(job: LiveJob) -> None:
    """The second is told, and ends without having touched the first one's barrier."""
    job.ok("barrier", "place", "--owner", "the other script", "--wait")
    done = run_script(SCRIPTS / "trap_cleanup.sh", job.model_dir, "true")
    assert done.returncode == 5
    assert "the barrier was placed by the other script" in done.stderr
    assert job.status["placed"]
    job.ok("barrier", "remove", "--owner", "the other script")


# --- docs/on-call.md --------------------------------------------------------------------------

# What is another one each time.
VARYING = [
    (r"127\.0\.0\.1:\d+", "ADDRESS"),
    (r"\b[0-9a-f]{32}\b", "RUN"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "DATE"),
    (r"\b[\w.-]+@[\w.-]+", "WHO"),
    (r"\b(\d+ min \d+ s|\d+ min|\d+(\.\d+)? s)\b", "TIME"),
    (r"^(global step  |last saved   )\d+$", r"\1STEP"),
    (r"^\d+(\t|$)", r"STEP\1"),
    (r"\S*model/(model\.ckpt|ckpt\.info)-\d+", r"model/\1-STEP"),
]


def masked(text: str) -> str:
    for pattern, name in VARYING:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def test_the_page_for_the_person_on_call(tmp_path: Path) -> None:
    """Each command, one after another on a job of its own, prints what the page says."""
    page = (ROOT / "docs" / "on-call.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    commands = [
        text.split("\n", 1)
        for block in shown
        for text in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    assert len(commands) > 10
    with live_job(tmp_path) as job:
        for command, output in commands:
            done = subprocess.run(
                ["bash", "-c", command],
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                cwd=tmp_path,
                env=environment(PATH=PATH, LC_ALL="C.UTF-8", COLUMNS="80"),
            )
            assert masked(done.stdout) == masked(output), (command, done.stdout)
        assert not (job.model_dir / ADDRESS).exists()
