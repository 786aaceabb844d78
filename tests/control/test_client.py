"""The client as a library; what commands make of it is in tests/commands."""

from __future__ import annotations

import os
import signal
import threading
import time
import types
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import OriginalJob, OurJob, Refusal, serving

from monolith_cli.control.client import BusyError, connect
from monolith_cli.control.hold import Held, hold
from monolith_cli.control.program import find_program
from monolith_cli.control.wait import wait_until
from monolith_cli.errors import RefusedError, TimedOutError, UnreachableError, UsageError

TRUE = find_program(["true"])
SIGNALS = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)


def test_a_lease(job: OurJob) -> None:
    with connect(job.model_dir) as client:
        lease = client.place(reason="", owner="ann", ttl_seconds=60)
        assert (lease.lease_id, lease.generation) == ("lease-1", 1)
        assert client.renew(lease, 30)
        assert job["RenewBarrier"].ttl_ms == 30_000
        client.remove(owner="somebody else", lease=lease)
        assert not client.renew(lease, 30)
        client.place(reason="", owner="bob", ttl_seconds=None)
        assert not client.renew(lease, 30)
        with pytest.raises(RefusedError, match="placed by bob"):
            client.remove(owner="ann", lease=lease)
        client.remove(owner="ann", force=True)


def test_the_shortest_ttl_is_not_for_ever(job: OurJob) -> None:
    with connect(job.model_dir) as client:
        client.place(reason="", owner="ann", ttl_seconds=1e-9)
        assert job["PlaceBarrier"].ttl_ms == 1


def test_what_no_message_can_hold(job: OurJob) -> None:
    with connect(job.model_dir) as client:
        with pytest.raises(UsageError, match="PlaceBarrier cannot be asked for that"):
            client.place(reason="caf\udce9", owner="ann", ttl_seconds=None)
        with pytest.raises(UsageError, match="PlaceBarrier cannot be asked for that"):
            client.place(reason="", owner="ann", ttl_seconds=1e20)


def test_a_job_that_is_replaced_by_an_original_one(job: OurJob) -> None:
    """Nothing of what leaks out of grpc is anything but an error of the library."""
    with connect(job.model_dir) as client:
        job.raises["PlaceBarrier"] = Refusal("UNIMPLEMENTED", "Method not found!")
        with pytest.raises(UnreachableError, match="has no PlaceBarrier"):
            client.place(reason="", owner="ann", ttl_seconds=None)


def test_who_looks_at_a_busy_job_asks_again(job: OurJob) -> None:
    job.raises["GetInfo"] = Refusal("RESOURCE_EXHAUSTED", "too many calls at once: ask again")
    threading.Timer(0.5, job.raises.clear).start()
    with connect(job.model_dir) as client:
        assert job.calls.count("GetInfo") > 1
        job.raises["GetInfo"] = Refusal("RESOURCE_EXHAUSTED", "too many calls at once: ask again")
        start = time.monotonic()
        with pytest.raises(BusyError, match="too many calls at once"):
            client.info(0.6)
        assert time.monotonic() - start < 1
        asked = len(job.calls)
        job.raises = {"PlaceBarrier": Refusal("RESOURCE_EXHAUSTED", "not now")}
        with pytest.raises(BusyError, match="not now"):  # an order is given once
            client.place(reason="", owner="ann", ttl_seconds=None)
        assert len(job.calls) == asked + 1


def test_wait_asks_no_longer_than_it_may(job: OurJob) -> None:
    with connect(job.model_dir) as client:
        with pytest.raises(TimedOutError, match=r"not yet after 0.1 s"):
            wait_until(client, lambda info: False, 0.1, lambda info: "not yet")
        job.hangs.add("GetInfo")
        with pytest.raises(TimedOutError, match="no answer from"):
            wait_until(client, lambda info: False, 0.3, lambda info: "not yet")


def test_many_threads_share_a_client(job: OurJob) -> None:
    with connect(job.model_dir) as client:
        threads = [
            threading.Thread(target=lambda: [client.info() for _ in range(20)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert job.calls.count("GetInfo") == 161


def test_an_original_job_tells_no_more(tmp_path: Path) -> None:
    job = OriginalJob(tmp_path)
    with serving(job), connect(tmp_path) as client:
        assert client.is_original
        info = client.info()
        assert (info.placed, info.blocked, info.unblocked) == (False, [], [1, 2, 3])
        assert info.owner is info.generation is info.run_id is None
        lease = client.place(reason="", owner="", ttl_seconds=None)
        assert lease == (None, None, None)
        assert client.renew(lease, 30)
        client.remove(owner="", lease=lease)
        assert not client.renew(lease, 30)


def test_hold_leaves_signals_as_they_were(job: OurJob) -> None:
    before = [signal.getsignal(s) for s in SIGNALS]
    with connect(job.model_dir) as client:
        held = hold(client, TRUE, reason="", owner="ann", ttl_seconds=5, timeout_seconds=5)
    assert held[:4] == (0, None, False, None)
    after = [signal.getsignal(s) for s in SIGNALS]
    assert after == before


def hold_true(job: OriginalJob, ttl_seconds: float = 60) -> Held:
    with connect(job.model_dir) as client:
        return hold(
            client,
            TRUE,
            reason="",
            owner="ann",
            ttl_seconds=ttl_seconds,
            timeout_seconds=5,
        )


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "ABORTED"])
@pytest.mark.parametrize("method", ["RenewBarrier", "RemoveBarrier"])
def test_a_removal_that_cannot_be_done_at_once(job: OurJob, method: str, code: str) -> None:
    job.raises[method] = Refusal(code, "monolith: not now")
    threading.Timer(0.8, job.raises.clear).start()
    assert hold_true(job)[:4] == (0, None, False, None)
    assert not job.placed


def test_a_removal_that_nobody_answers(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monolith_cli.control.hold._ATTEMPT_SECONDS", 0.3)
    job.hangs.add("RemoveBarrier")
    threading.Timer(0.8, job.hangs.clear).start()
    assert hold_true(job)[:4] == (0, None, False, None)
    assert not job.placed


def test_a_removal_whose_answer_does_not_come(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was done at the first attempt; somebody else has placed another one by the second."""

    def remove(asked: Any) -> Any:
        if job.calls.count("RemoveBarrier") == 1:
            job.placed = False
            job.place("bob", "", 0)
            raise Refusal("UNAVAILABLE", "gone away")
        raise Refusal("PERMISSION_DENIED", "placed by bob")

    monkeypatch.setattr(job, "RemoveBarrier", remove)
    assert hold_true(job)[:4] == (0, None, False, None)
    assert (job.placed, job.owner) == (True, "bob")


def test_a_removal_that_cannot_be_done(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monolith_cli.control.hold._END_SECONDS", 0.8)
    job.raises["RemoveBarrier"] = Refusal("RESOURCE_EXHAUSTED", "not now")
    held = hold_true(job)
    assert held[:3] == (0, None, False)
    assert "not now" in str(held.not_removed)
    assert held.ends_in_seconds is not None
    assert held.ends_in_seconds < 0.8  # as the last renewal was for no longer than that
    assert job.calls.count("RemoveBarrier") > 2
    job.raises["RenewBarrier"] = Refusal("UNAVAILABLE", "not now")
    job.placed = False
    assert hold_true(job)[:3] == (0, None, None)


def test_a_removal_that_is_refused_is_not_tried_again(job: OurJob) -> None:
    job.raises["RemoveBarrier"] = Refusal("PERMISSION_DENIED", "no token here")
    held = hold_true(job)
    assert "no token here" in str(held.not_removed)
    assert held.ends_in_seconds is not None
    assert 5 < held.ends_in_seconds <= 10
    assert job["RenewBarrier"].ttl_ms == 10_000
    assert job.calls.count("RemoveBarrier") == 1


def test_a_barrier_that_ends_by_itself_is_not_removed_any_more(job: OurJob) -> None:
    job.raises["RenewBarrier"] = job.raises["RemoveBarrier"] = Refusal("UNAVAILABLE", "not now")
    start = time.monotonic()
    held = hold_true(job, ttl_seconds=0.5)
    assert time.monotonic() - start < 3
    assert held.is_lost is None
    assert held.ends_in_seconds == 0


def test_a_renewal_that_may_have_been_done(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has answered it, so the barrier may end as late as if it was done."""
    monkeypatch.setattr("monolith_cli.control.hold._ATTEMPT_SECONDS", 0.4)
    monkeypatch.setattr("monolith_cli.control.hold._END_SECONDS", 0.8)
    job.hangs.add("RenewBarrier")
    held = hold_true(job, ttl_seconds=0.9)
    assert held.is_lost is None
    assert held.ends_in_seconds is not None
    assert held.ends_in_seconds > 0.5


def test_a_removal_that_is_interrupted(job: OurJob) -> None:
    job.raises["RemoveBarrier"] = Refusal("UNAVAILABLE", "not now")

    def interrupt() -> None:
        while job.calls.count("RemoveBarrier") < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    start = time.monotonic()
    held = hold_true(job)
    assert time.monotonic() - start < 5
    assert held.not_removed is not None


def test_a_barrier_that_is_not_removed_when_the_command_was_not_run(
    job: OurJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monolith_cli.control.hold._END_SECONDS", 0.3)
    job.raises["RemoveBarrier"] = Refusal("UNAVAILABLE", "not now")
    job.late = {2}
    with connect(job.model_dir) as client:
        held = hold(
            client,
            TRUE,
            reason="",
            owner="ann",
            ttl_seconds=60,
            timeout_seconds=0.3,
        )
    assert held.code == 125
    assert "worker 2 is not blocked after 0.3 s; the command was not run" in str(held.problem)
    assert held.not_removed is not None


def test_a_client_that_finds_no_job_leaves_nothing_open(tmp_path: Path) -> None:
    job = OurJob(tmp_path)
    with serving(job) as address:
        other = tmp_path / "other"
        other.mkdir()
        before = threading.active_count()
        for _ in range(5):
            with pytest.raises(UnreachableError, match="belongs to"):
                connect(other, address)
        assert threading.active_count() <= before + 1


def test_a_job_of_a_directory_that_cannot_be(tmp_path: Path) -> None:
    with (
        serving(OurJob("/a\0b"), publish=False) as address,
        pytest.raises(UnreachableError, match="belongs to"),
    ):
        connect(tmp_path, address)


def test_a_job_that_ends_while_it_is_asked(tmp_path: Path) -> None:
    """Not a stale address, as it has answered before."""

    class SlowJob(OurJob):
        def SaveNow(self, asked: Any) -> Any:
            time.sleep(1)
            return super().SaveNow(asked)

    job = SlowJob(tmp_path)
    with serving(job):
        client = connect(tmp_path)
        told: list[str] = []

        def save() -> None:
            with pytest.raises(UnreachableError) as caught:
                client.save(require_all=False, reason="", owner="ann", timeout_seconds=20)
            told.append(str(caught.value))

        thread = threading.Thread(target=save)
        thread.start()
        while "SaveNow" not in job.calls:
            thread.join(0.01)
    thread.join()
    client.close()
    assert "has ended, or a new run has begun, before it answered" in told[0]


def test_a_job_that_is_dead_when_it_is_asked_again(tmp_path: Path) -> None:
    with serving(OurJob(tmp_path)) as address:
        client = connect(tmp_path)
    with pytest.raises(UnreachableError):
        client.info()  # it may not know yet that its connection has ended
    with pytest.raises(UnreachableError, match=f"nobody listens at {address} any more") as caught:
        client.info()
    client.close()
    assert caught.value.kind == "nobody_listens"
    assert caught.value.hint == "the job has ended or died since, or is starting again"


@pytest.mark.parametrize("code", ["INTERNAL", "UNKNOWN", "DATA_LOSS", "OUT_OF_RANGE", "ABORTED"])
def test_whatever_a_job_answers_its_address_is_not_stale(job: OurJob, code: str) -> None:
    job.raises["SaveNow"] = Refusal(code, "out of luck")
    with connect(job.model_dir) as client, pytest.raises(BusyError) as caught:
        client.save(require_all=False, reason="", owner="ann", timeout_seconds=20)
    assert caught.value.what == "SaveNow has failed in the job: out of luck"
    assert caught.value.hint is None


@pytest.mark.parametrize(
    ("code", "details"), [("CANCELLED", "going away"), ("UNKNOWN", "Stream removed")]
)
def test_calls_that_end_with_the_server(job: OurJob, code: str, details: str) -> None:
    job.raises["SaveNow"] = Refusal(code, details)
    with connect(job.model_dir) as client, pytest.raises(UnreachableError) as caught:
        client.save(require_all=False, reason="", owner="ann", timeout_seconds=20)
    assert caught.value.kind == "session_ended"


def test_an_original_job_that_has_answered_half(tmp_path: Path) -> None:
    job = OriginalJob(tmp_path)
    job.raises["GetTrainingStatus"] = Refusal("INTERNAL", "out of luck")
    with serving(job), pytest.raises(BusyError) as caught:
        connect(tmp_path)
    assert caught.value.what == "GetTrainingStatus has failed in the job: out of luck"


def test_trouble_at_the_first_call(job: OurJob) -> None:
    """It may be a job, so nobody says that its address is stale."""
    job.raises["GetInfo"] = Refusal("INTERNAL", "out of luck")
    with pytest.raises(UnreachableError) as caught:
        connect(job.model_dir)
    assert "GetInfo has failed at 127.0.0.1:" in caught.value.what
    assert "stale" not in str(caught.value)


def test_only_a_save_has_unfinished_workers(job: OurJob) -> None:
    job.raises["PlaceBarrier"] = Refusal("FAILED_PRECONDITION", "not while it starts")
    with connect(job.model_dir) as client, pytest.raises(RefusedError) as caught:
        client.place(reason="", owner="ann", ttl_seconds=None)
    assert caught.value.what == "not while it starts"


def test_a_commit_at_step_0(job: OurJob) -> None:
    job.last_saved_step = 0
    with connect(job.model_dir) as client:
        assert client.first_info.last_saved_step == 0
        job.last_saved_step = None
        assert client.info().last_saved_step is None


def test_a_job_that_has_come_back_at_another_address(tmp_path: Path) -> None:
    first, second = OurJob(tmp_path), OurJob(tmp_path)
    second.run_id = "another"
    with serving(first):
        client = connect(tmp_path)
        run_id = client.info().run_id
        assert not client.is_replaced(run_id)
    assert not client.is_replaced(run_id)  # the address is stale, and nothing else is known
    with serving(second):
        assert client.is_replaced(run_id)
        assert not client.is_replaced("another")
    client.close()


def test_the_clients_clock_plays_no_part(job: OurJob, monkeypatch: pytest.MonkeyPatch) -> None:
    without = types.SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    for module in ("client", "calls", "wait"):
        monkeypatch.setattr(f"monolith_cli.control.{module}.time", without)
    with connect(job.model_dir) as client:
        lease = client.place(reason="", owner="ann", ttl_seconds=60)
        info = wait_until(client, lambda info: info.placed, 5, lambda info: "not placed")
        assert info.expires_in_seconds is not None
        assert client.renew(lease, 60)
        client.remove(owner="ann", lease=lease)
