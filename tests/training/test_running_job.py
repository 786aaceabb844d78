"""The commands on the example job with three workers, while its processes live and die."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli_support import environment
from fake_jobs import message
from live_job import ADDRESS, LOG, NAMES, TOKEN, WORKERS, LiveJob, live_job

from monolith_cli.checkpoint.inputs import read_step_inputs
from monolith_cli.control.client import connect
from monolith_cli.control.log import read_log

# In short: seconds until workers leave a dead chief, and a save gives workers up.
ARGUMENTS: dict[str, dict[str, Any]] = {
    "BarrierOp": {"lease_seconds": 4},
    "BarrierSaverListener": {"max_pending_seconds": 2},
}


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveJob]:
    with live_job(tmp_path_factory.mktemp("running"), ARGUMENTS) as job:
        yield job


@pytest.fixture
def job(started: LiveJob) -> LiveJob:
    """The job, with all of its processes alive and no barrier."""
    started.heal()
    return started


def saved_step(job: LiveJob, *args: object) -> int:
    step, path = job.ok("job", "save", *args).removesuffix("\n").split("\t")
    assert path == f"{job.model_dir}/model.ckpt-{step}"
    return int(step)


def check_inputs(job: LiveJob, step: int) -> None:
    """The inputs of all workers are saved with exactly this step."""
    assert job.states(step) == [0, *WORKERS]
    inputs = read_step_inputs(str(job.model_dir), step)
    assert inputs is not None
    assert {i: entry.finished for i, entry in inputs.workers.items()} == dict.fromkeys(NAMES, True)


# --- pause, save, resume ----------------------------------------------------------------------


def test_a_pause_from_beginning_to_end(job: LiveJob) -> None:
    said = job.ok("barrier", "place", "--reason", "look at slot 7", "--owner", "ann", "--wait")
    assert re.search(r"^by +ann$", said, re.MULTILINE)
    assert re.search(r"^blocked +1, 2, 3$", said, re.MULTILINE)
    status = job.status
    assert (status["owner"], status["reason"]) == ("ann", "look at slot 7")
    assert (status["blocked"], status["unblocked"]) == ([1, 2, 3], [])
    assert 590 < status["expires_in_seconds"] < 600
    job.stands_still(*WORKERS)
    job.goes_on(0)  # the chief does not stop

    step = saved_step(job, "--require-all")
    check_inputs(job, step)
    assert job.step == step
    job.stands_still(*WORKERS)

    job.ok("barrier", "remove", "--owner", "ann")
    job.ok("barrier", "wait", "--removed")
    job.goes_on()
    assert job.status["blocked"] == []


def test_saves_while_all_train(job: LiveJob) -> None:
    steps = [saved_step(job), saved_step(job)]
    assert steps == sorted(set(steps))
    check_inputs(job, steps[-1])
    job.goes_on()


def test_the_time_to_live_ends_it(job: LiveJob) -> None:
    job.ok("barrier", "place", "--ttl", "1s")
    assert job.monolith("barrier", "wait", "--removed", "--timeout", "10s").returncode == 0
    job.goes_on()


def test_of_two_at_once_one_wins(job: LiveJob) -> None:
    def place(owner: str) -> subprocess.CompletedProcess[str]:
        return job.monolith("barrier", "place", "--owner", owner, "--reason", f"{owner} looks")

    with ThreadPoolExecutor(2) as pool:
        ended = dict(zip(("ann", "bob"), pool.map(place, ("ann", "bob")), strict=True))
    assert sorted(done.returncode for done in ended.values()) == [0, 5]
    winner, loser = sorted(ended, key=lambda owner: ended[owner].returncode)
    assert f"the barrier was placed by {winner} 0 s ago: {winner} looks" in ended[loser].stderr
    assert job.monolith("barrier", "remove", "--owner", loser).returncode == 5
    assert job.status["owner"] == winner
    job.ok("barrier", "remove", "--owner", winner)


def test_place_and_remove_a_thousand_times(job: LiveJob) -> None:
    before = job.steps(1)
    with connect(job.model_dir) as client:
        for _ in range(1000):
            client.place(reason="", owner="ann", ttl_seconds=60)
            client.remove(owner="ann")
    job.wait_for(lambda: job.status["blocked"] == [], 10)
    job.goes_on()
    assert job.steps(1) > before


def test_what_was_asked_is_in_the_log(job: LiveJob) -> None:
    job.ok("barrier", "place", "--reason", "why not", "--owner", "ann")
    job.from_afar("barrier", "remove", "--owner", "bob", MONOLITH_CONTROLLER_TOKEN="wrong")
    job.ok("barrier", "remove", "--force", "--owner", "bob", "--reason", "by mistake")
    placed, wrong, removed = read_log(job.model_dir)[-3:]
    assert (placed["method"], placed["owner"], placed["reason"]) == (
        "PlaceBarrier",
        "ann",
        "why not",
    )
    assert wrong["result"] == "a wrong token"
    assert re.fullmatch(r"ipv4:127\.0\.0\.1:\d+", wrong["peer"])
    assert (removed["owner"], removed["reason"], removed["result"]) == ("bob", "by mistake", "done")
    assert "(done)" in job.ok("job", "log").splitlines()[-1]


# --- when things die --------------------------------------------------------------------------


def test_hold_killed(job: LiveJob) -> None:
    """Nobody renews the barrier any more: its time runs out."""
    mark = job.model_dir / "held"
    sleep = ["sh", "-c", f"echo $$ > {mark}.tmp; mv {mark}.tmp {mark}; exec sleep 30"]
    with subprocess.Popen(
        job.command("barrier", "hold", "--ttl", "2s", "--", *sleep), env=environment()
    ) as hold:
        job.wait_for(mark.exists)
        try:
            time.sleep(3)  # which is renewed
            assert job.status["blocked"] == [1, 2, 3]
            hold.kill()
        finally:
            hold.kill()
            os.kill(int(mark.read_text()), signal.SIGKILL)
    job.ok("barrier", "wait", "--removed", "--timeout", "4s")
    job.goes_on()


def test_a_worker_is_killed_and_comes_back(job: LiveJob) -> None:
    job.ok("barrier", "place", "--wait")
    job.kill(2)
    assert job.status["placed"]
    assert job.status["blocked"] == [1, 2, 3]  # as it stood when it died
    lives = job.said(2).count("Worker 2 is in run")
    job.start(NAMES[2])
    job.wait_for(lambda: job.said(2).count("Worker 2 is in run") > lives)
    job.stands_still(*WORKERS)
    job.ok("barrier", "wait", "--blocked")
    job.ok("barrier", "remove")
    job.goes_on()


def test_a_worker_joins(job: LiveJob) -> None:
    job.kill(3)
    late = job.monolith("barrier", "place", "--wait", "--timeout", "1s")
    assert late.returncode == 6
    assert "worker 3 is not blocked after 1 s; the barrier was placed, and ends" in late.stderr
    assert job.status["unblocked"] == [3]

    # This job commits no step that worker 3 could not go on from, whatever it is asked.
    committed = job.step
    for arguments in ([], ["--require-all"]):
        refused = job.monolith("job", "save", *arguments)
        assert refused.returncode == 5, refused.stdout
        assert re.search(r"workers? \D*\b3\b", refused.stderr), refused.stderr
    assert job.step == committed

    before = job.steps(3)
    job.start(NAMES[3])
    job.ok("barrier", "wait", "--blocked")
    assert job.steps(3) == before
    job.ok("barrier", "remove")
    job.goes_on()


def test_the_chief_is_killed_and_starts_again(job: LiveJob) -> None:
    step = saved_step(job)
    token = (job.model_dir / TOKEN).read_text()
    with subprocess.Popen(
        job.command("barrier", "hold", "--", "sh", "-c", "echo ready; read line; exit 7"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as hold:
        assert hold.stdout is not None
        assert hold.stdout.readline() == "ready\n"
        job.kill(0)
        assert hold.stdin is not None
        hold.stdin.write("go\n")
        hold.stdin.flush()
        (job.model_dir / ADDRESS).unlink()
        job.start(NAMES[0])
        job.goes_on()
        assert (job.model_dir / TOKEN).read_text() != token
        status = job.status
        assert (status["placed"], status["blocked"]) == (False, [])
        assert status["global_step"] > step
        said = hold.communicate(timeout=30)[1]
    assert hold.returncode == 125, said
    assert re.search(r"(was|may have been) lost while the command ran", said), said


# --- the end ----------------------------------------------------------------------------------


def ended_well(job: LiveJob) -> None:
    for name in NAMES.values():
        assert job.processes[name].wait(40) == 0, name


def test_a_clean_stop(job: LiveJob) -> None:
    """The last test on this job."""
    job.ok("job", "stop", "--reason", "new hardware", "--owner", "ann")
    ended_well(job)
    assert not (job.model_dir / ADDRESS).exists()
    assert not (job.model_dir / TOKEN).exists()
    assert (job.model_dir / LOG).exists()
    last = read_log(job.model_dir)[-1]
    assert (last["method"], last["owner"], last["reason"]) == ("StopJob", "ann", "new hardware")
    assert job.step is not None
    check_inputs(job, job.step)
    assert job.monolith("job", "status").returncode == 5


def test_an_original_client_and_the_action_file(tmp_path: Path) -> None:
    arguments = {
        **ARGUMENTS,
        "ServerHook": {"allow_without_token": True},
        "controller": {"QUERY_INTERVAL": 1},
    }
    with live_job(tmp_path, arguments) as job:
        assert not (job.model_dir / TOKEN).exists()
        address = (job.model_dir / ADDRESS).read_text()
        with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:

            def call(method: str, answer: str = "Empty") -> Any:
                return channel.unary_unary(
                    f"/Controller/{method}",
                    request_serializer=lambda asked: asked.SerializeToString(),
                    response_deserializer=message(answer).FromString,
                )(message("Empty")(), timeout=20)

            call("StopTraining")
            job.wait_for(
                lambda: list(call("GetBlockStatus", "Blocked").blocked_indices) == [0, 1, 2, 3]
            )
            check_inputs(job, saved_step(job))
            assert job.monolith("barrier", "remove").returncode == 5
            job.stands_still(*WORKERS)
            call("ResumeTraining")
        job.goes_on()

        before = saved_step(job)
        step = saved_step(job, "--via", "file")
        assert step > before
        check_inputs(job, step)
        job.ok("job", "stop", "--via", "file")
        ended_well(job)
        assert not (job.model_dir / ADDRESS).exists()
        assert not (job.model_dir / "monolith_action").exists()
