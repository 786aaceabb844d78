"""The barrier between processes: a parameter server, a chief and two workers on loopback."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forked import Program
from ports import free_addresses
from tf_support import tensorflow
from waiting import eventually

PROGRAM = Path(__file__).parents[1] / "support" / "barrier_job.py"
LEASE_SECONDS = 3  # as in barrier_job.py
POLL_SECONDS = 0.2
STEP_SECONDS = 0.01


class Process:
    """One process of the job, and what it has said."""

    def __init__(self, role: str, index: int, cluster: dict[str, list[str]]) -> None:
        self.process = Program(PROGRAM, role, index, json.dumps(cluster), quiet=True)
        self.said: list[dict[str, Any]] = []
        self.answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            said = json.loads(line)
            if "answer" in said:
                self.answers.put(said)
            self.said.append(said)

    def ask(self, expression: str) -> Any:
        """What the chief answers to an expression of `op` and `session`."""
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self.answers.get(timeout=20)["answer"]

    def all(self, key: str) -> list[Any]:
        return [said[key] for said in list(self.said) if key in said]

    @property
    def steps(self) -> int:
        return max(self.all("step"), default=0)

    def kill(self) -> None:
        self.process.kill()
        self.reader.join(10)
        self.process.close()


class Job:
    def __init__(self) -> None:
        ports = free_addresses(4)
        self.cluster = {"ps": ports[:1], "chief": ports[1:2], "worker": ports[2:]}
        self.processes: list[Process] = []
        self.start("ps", 0)
        self.chief = self.start("chief", 0)
        self.one = self.start("worker", 1)
        self.two: Process

    def start(self, role: str, index: int) -> Process:
        process = Process(role, index, self.cluster)
        self.processes.append(process)
        return process


@pytest.fixture
def small() -> Iterator[Job]:
    """A job whose second worker has not been started."""
    tensorflow()
    made = Job()
    try:
        eventually(lambda: made.one.steps > 3, 60)
        yield made
    finally:
        for process in made.processes:
            process.kill()


@pytest.fixture
def job(small: Job) -> Job:
    small.two = small.start("worker", 2)
    eventually(lambda: small.two.steps > 0, 60)
    return small


def test_a_worker_that_joins_during_a_placement(small: Job) -> None:
    job = small
    assert job.chief.ask("op.get_blocked_indices(session)") == []
    generation = job.chief.ask("op.place_barrier(session, 'Save')")
    job.two = job.start("worker", 2)
    eventually(lambda: job.two.all("callback") == ["Save"], 60)
    # It has neither cleared the barrier nor missed the action, and trains no step.
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 5)") == [1, 2]
    assert job.chief.ask("op.is_all_blocked(session)")
    before = job.one.steps
    time.sleep(3 * POLL_SECONDS)
    assert job.one.steps == before
    assert job.two.steps == 0
    job.chief.ask("op.remove_barrier(session)")
    eventually(lambda: job.two.steps > 3 and job.one.steps > before)
    assert job.chief.ask("op.get_blocked_indices(session)") == []


def test_from_place_to_all_blocked(job: Job) -> None:
    seconds = []
    for _ in range(5):
        expression = (
            "(lambda t: (op.place_barrier(session), [time.sleep(0.002) for _ in"
            " iter(lambda: op.is_all_blocked(session), True)], time.monotonic() - t)[-1])"
            "(time.monotonic())"
        )
        seconds.append(job.chief.ask(expression))
        job.chief.ask("op.remove_barrier(session)")
        eventually(lambda: job.chief.ask("op.is_none_blocked(session)"))
    assert min(seconds) <= STEP_SECONDS + POLL_SECONDS


def test_removed_and_placed_within_a_poll(job: Job) -> None:
    first = job.chief.ask("op.place_barrier(session, 'one')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {first}, 5)") == [1, 2]
    steps = job.one.steps, job.two.steps
    second = job.chief.ask("(op.remove_barrier(session), op.place_barrier(session, 'two'))[1]")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {second}, 5)") == [1, 2]
    assert job.one.all("callback")[-2:] == ["one", "two"]
    assert job.two.all("callback")[-2:] == ["one", "two"]
    # At most one of them looked in between, and took a step.
    assert sum((job.one.steps, job.two.steps)) - sum(steps) <= 2
    job.chief.ask("op.remove_barrier(session)")


def test_a_request_while_a_barrier_is_held(job: Job) -> None:
    stop = job.chief.ask("op.place_barrier(session, 'Stop')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {stop}, 5)") == [1, 2]
    steps = job.one.steps, job.two.steps
    generation, placed = job.chief.ask("op.begin_request(session, 'Save')")
    assert not placed
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 5)") == [1, 2]
    assert job.one.all("callback")[-2:] == job.two.all("callback")[-2:] == ["Stop", "Save"]
    job.chief.ask("op.end_request(session)")
    assert job.chief.ask("op.is_all_blocked(session)")
    assert (job.one.steps, job.two.steps) == steps
    job.chief.ask("op.remove_barrier(session)")
    eventually(lambda: job.chief.ask("op.is_none_blocked(session)"))


def test_a_worker_killed_at_the_barrier(job: Job) -> None:
    generation, _ = job.chief.ask("op.begin_request(session, 'Save')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 5)") == [1, 2]
    job.two.kill()
    # What it has saved stays saved, and the next save knows that it is not there.
    assert job.chief.ask(f"op.get_acknowledged_indices(session, {generation})") == [1, 2]
    job.chief.ask("op.end_request(session)")
    generation, _ = job.chief.ask("op.begin_request(session, 'Save')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 1)") == [1]
    job.chief.ask("op.end_request(session)")
    job.two = job.start("worker", 2)
    eventually(lambda: job.two.steps > 0, 60)
    assert job.chief.ask("op.get_blocked_indices(session)") == []


def test_a_chief_killed_while_the_barrier_is_placed(job: Job) -> None:
    workers = job.one, job.two
    generation = job.chief.ask("op.place_barrier(session, 'Save')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 5)") == [1, 2]
    time.sleep(LEASE_SECONDS + 1)
    assert job.chief.ask("op.is_all_blocked(session)")  # it lives, for longer than a lease
    steps = [worker.steps for worker in workers]
    killed = time.monotonic()
    job.chief.kill()
    eventually(lambda: all(w.steps > s + 20 for w, s in zip(workers, steps, strict=True)))
    for worker, before in zip(workers, steps, strict=True):
        first = next(s["started"] for s in worker.said if s.get("step") == before + 2)
        assert LEASE_SECONDS - 1.5 < first - killed < LEASE_SECONDS + 3


def test_a_chief_that_comes_back_has_no_barrier_and_can_place_one(job: Job) -> None:
    generation = job.chief.ask("op.place_barrier(session, 'Save')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 5)") == [1, 2]
    job.chief.kill()
    job.chief = job.start("chief", 0)
    eventually(lambda: job.chief.all("ready"), 60)
    assert job.chief.ask("op.get_blocked_indices(session)") == []
    generation = job.chief.ask("op.place_barrier(session, 'again')")
    assert job.chief.ask(f"op.wait_until_acknowledged(session, {generation}, 5)") == [1, 2]
    assert job.one.all("callback") == ["Save", "again"]
    job.chief.ask("op.remove_barrier(session)")
    steps = job.one.steps
    eventually(lambda: job.one.steps > steps + 3)
