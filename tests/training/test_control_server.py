"""A job's Controller service, asked by bare grpc."""

from __future__ import annotations

import threading
import time
import types
from pathlib import Path
from typing import Any

import grpc
import pytest
from control_support import TOKEN, Client, Slow, refused, running, together
from save_support import steps
from waiting import eventually

pytestmark = pytest.mark.usefixtures("job_ends")


# --- an original client -----------------------------------------------------------------------


def test_the_five_methods_of_an_original_client(tmp_path: Path) -> None:
    with running(tmp_path, 1, 2, allow_without_token=True) as job, Client(job.address) as client:
        assert not (tmp_path / TOKEN).exists()
        blocks = client("GetBlockStatus")
        assert (blocks.blocked_indices, blocks.unblocked_indices) == ([], [0, 1, 2])

        client("StopTraining")
        eventually(lambda: client("GetBlockStatus").blocked_indices == [0, 1, 2])
        assert client("GetBlockStatus").unblocked_indices == []
        said = refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        assert said.startswith("the barrier was placed by an original client 0 s ago")
        info = client("GetInfo")
        assert (info.placed, info.owner, info.reason, info.expires_in_ms) == (True, "", "", 0)

        client("SaveCheckpoint", timeout=None)
        [step] = steps(tmp_path)
        assert job.states(step) == [0, 1, 2]
        assert client("GetTrainingStatus").global_step >= step

        client("ResumeTraining")
        eventually(lambda: client("GetBlockStatus").blocked_indices == [])
        client("ResumeTraining")  # nothing to remove
        job.goes_on()


def test_an_original_client_does_not_remove_what_somebody_owns(tmp_path: Path) -> None:
    with running(tmp_path, allow_without_token=True) as job, job.client() as client:
        client("PlaceBarrier", owner="alice", reason="to look")
        said = refused("PERMISSION_DENIED", lambda: client("ResumeTraining"))
        assert said == "the barrier was placed by alice 0 s ago: to look"
        said = refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        assert said == "the barrier was placed by alice 0 s ago: to look"
        client("RemoveBarrier", owner="alice")
        assert not client("GetInfo").placed
        # The job's own.
        job.barrier.place_barrier(job.job.raw, "Maintenance")
        said = refused("PERMISSION_DENIED", lambda: client("ResumeTraining"))
        assert said == "the barrier is placed already, by nobody known"
        client("RemoveBarrier", force=True)


# --- owners, leases, times-to-live ------------------------------------------------------------


def test_a_barrier_has_an_owner(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        placed = client("PlaceBarrier", owner="alice", reason="to look", ttl_ms=60_000)
        assert len(placed.lease_id) == 32
        assert placed.expires_in_ms == 60_000
        eventually(lambda: client("GetInfo").blocked_workers == [1])
        info = client("GetInfo")
        assert info.model_dir == str(tmp_path)
        assert (info.placed, info.owner, info.reason) == (True, "alice", "to look")
        assert (info.capacity, info.generation) == (2, placed.generation)
        assert 0 <= info.placed_ms_ago < 10_000
        assert 50_000 < info.expires_in_ms <= 60_000
        assert (info.blocked_workers, info.unblocked_workers) == ([1], [])
        assert not info.HasField("last_saved_step")
        assert not info.saving
        assert info.run_id

        for fields in ({"owner": "bob"}, {"owner": ""}, {"lease_id": "x", "owner": "alice"}):
            said = refused("PERMISSION_DENIED", lambda f=fields: client("RemoveBarrier", **f))
            assert said == "the barrier was placed by alice 0 s ago: to look"
        client("RemoveBarrier", owner="alice")
        eventually(lambda: client("GetInfo").unblocked_workers == [1])
        info = client("GetInfo")
        assert (info.placed, info.owner, info.reason, info.placed_ms_ago) == (False, "", "", 0)
        client("RemoveBarrier", owner="bob")  # of nothing

        placed = client("PlaceBarrier", owner="alice")
        client("RemoveBarrier", lease_id=placed.lease_id)
        client("PlaceBarrier", owner="alice")
        client("RemoveBarrier", owner="bob", force=True)
        # Without an owner: the lease, or force.
        placed = client("PlaceBarrier")
        refused("PERMISSION_DENIED", lambda: client("RemoveBarrier"))
        client("RemoveBarrier", lease_id=placed.lease_id)
        assert not client("GetInfo").placed


def test_a_lease_of_a_barrier_that_is_gone(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        old = client("PlaceBarrier", owner="alice", ttl_ms=60_000)
        client("RemoveBarrier", lease_id=old.lease_id)
        said = refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=old.lease_id))
        assert said == "that barrier is gone"
        new = client("PlaceBarrier", owner="alice")
        # Somebody's second one is not that which his first command held.
        for lease_id in (old.lease_id, ""):
            refused("NOT_FOUND", lambda i=lease_id: client("RenewBarrier", lease_id=i))
        refused("PERMISSION_DENIED", lambda: client("RemoveBarrier", lease_id=old.lease_id))
        assert client("GetInfo").placed
        client("RenewBarrier", lease_id=new.lease_id, ttl_ms=1000)
        assert 0 < client("GetInfo").expires_in_ms <= 1000
        client("RenewBarrier", lease_id=new.lease_id)
        assert client("GetInfo").expires_in_ms == 0
        assert [entry["method"] for entry in job.log()].count("RenewBarrier") == 3  # the refused


def test_a_time_to_live_is_over(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        lease = client("PlaceBarrier", owner="alice", ttl_ms=400).lease_id
        for _ in range(5):
            time.sleep(0.2)
            client("RenewBarrier", lease_id=lease, ttl_ms=400)
        assert client("GetInfo").placed
        eventually(lambda: not client("GetInfo").placed, 2)
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=lease, ttl_ms=400))
        eventually(lambda: client("GetInfo").unblocked_workers == [1])
        for ttl_ms in (-1, -(1 << 63), (1 << 63) - 1):
            for method in ("PlaceBarrier", "RenewBarrier"):
                refused("INVALID_ARGUMENT", lambda m=method, t=ttl_ms: client(m, ttl_ms=t))
        assert not client("GetInfo").placed


def test_of_two_who_place_at_once_one_wins(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        for _ in range(20):
            said = together(2, lambda i: client("PlaceBarrier", owner=f"owner-{i}"))
            [winner] = [i for i, one in enumerate(said) if not isinstance(one, grpc.RpcError)]
            assert said[1 - winner].code() == grpc.StatusCode.ALREADY_EXISTS
            assert f"placed by owner-{winner} 0 s ago" in said[1 - winner].details()
            assert client("GetInfo").owner == f"owner-{winner}"
            client("RemoveBarrier", lease_id=said[winner].lease_id)


def test_clocks_need_not_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for the time of day."""
    without = types.SimpleNamespace(monotonic=time.monotonic, sleep=time.sleep)
    for module in (
        "control.calls",
        "control.holder",
        "control.looks",
        "control.ops_hook",
        "controller",
        "barrier.lease",
    ):
        monkeypatch.setattr(f"monolith_cli.training.{module}.time", without)
    with running(tmp_path, 1) as job, job.client() as client:
        client("PlaceBarrier", owner="alice", ttl_ms=60_000)
        info = client("GetInfo")
        assert 0 <= info.placed_ms_ago < 30_000
        assert 30_000 < info.expires_in_ms <= 60_000
        client("RemoveBarrier", owner="alice")


def test_a_thousand_times_placed_and_removed(tmp_path: Path) -> None:
    with running(tmp_path, 1, 2) as job, job.client() as client:
        before = job.at
        generations = []
        for _ in range(1000):
            placed = client("PlaceBarrier", owner="loop")
            generations.append(placed.generation)
            client("RemoveBarrier", lease_id=placed.lease_id)
        assert len(set(generations)) == 1000
        eventually(lambda: client("GetInfo").unblocked_workers == [1, 2])
        assert not client("GetInfo").placed
        assert job.at > before
        assert len(job.log()) == 2000


# --- saves ------------------------------------------------------------------------------------


def test_save_now_while_a_barrier_is_held(tmp_path: Path) -> None:
    with running(tmp_path, 1, 2) as job, job.client() as client:
        client("StopTraining")
        eventually(lambda: client("GetInfo").blocked_workers == [1, 2])
        saved = client("SaveNow", reason="keep", owner="alice", require_all=True)
        assert saved.path == str(tmp_path / f"model.ckpt-{saved.step}")
        assert (saved.finished_workers, saved.unfinished_workers) == ([0, 1, 2], [])
        assert steps(tmp_path) == [saved.step]
        assert job.states(saved.step) == [0, 1, 2]
        info = client("GetInfo")
        assert info.placed  # still
        assert info.blocked_workers == [1, 2]
        assert info.last_saved_step == saved.step
        client("ResumeTraining")
        eventually(lambda: client("GetInfo").unblocked_workers == [1, 2])
        assert client("SaveNow").step > saved.step


def test_a_save_without_stragglers(tmp_path: Path) -> None:
    with running(tmp_path, 1, capacity=4, max_pending_seconds=0.3) as job, job.client() as client:
        said = refused("FAILED_PRECONDITION", lambda: client("SaveNow", require_all=True))
        assert said == "workers 2, 3 have not saved their input"
        assert steps(tmp_path) == []
        assert not client("GetInfo").placed
        saved = client("SaveNow")
        assert (saved.finished_workers, saved.unfinished_workers) == ([0, 1], [2, 3])
        assert steps(tmp_path) == [saved.step]
        assert [entry["result"] for entry in job.log()] == [said, "done"]


def test_a_save_that_takes_too_long(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        hold, held = threading.Event(), threading.Event()
        job.during_step = lambda: (held.set(), hold.wait(20))
        held.wait(10)
        start = time.monotonic()
        refused("DEADLINE_EXCEEDED", lambda: client("SaveNow", timeout=0.5))
        assert time.monotonic() - start < 2
        eventually(lambda: [entry["method"] for entry in job.log()] == ["SaveNow"])
        job.during_step = lambda: None
        hold.set()
        job.goes_on()
        assert steps(tmp_path) == []  # nobody waits for it any more
        assert not client("GetInfo").placed


def test_placed_during_a_save(tmp_path: Path) -> None:
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        save = client.start("SaveNow")
        slow.started.wait(10)
        info = client("GetInfo")
        assert (info.saving, info.placed, info.owner) == (True, True, "")
        client("RemoveBarrier", owner="bob")  # that of a save ends by itself
        lease = client("PlaceBarrier", owner="alice").lease_id
        assert client("GetInfo").owner == "alice"
        refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        slow.go.set()
        assert save.result().finished_workers == [0, 1]
        info = client("GetInfo")
        assert (info.saving, info.placed, info.owner) == (False, True, "alice")
        assert info.blocked_workers == [1]
        client("RemoveBarrier", lease_id=lease)
        assert not client("GetInfo").placed


def test_removed_during_a_save(tmp_path: Path) -> None:
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        lease = client("PlaceBarrier", owner="alice").lease_id
        save = client.start("SaveNow")
        slow.started.wait(10)
        client("RemoveBarrier", lease_id=lease)
        client("RemoveBarrier", owner="alice")  # once more does no harm
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=lease, ttl_ms=1000))
        refused("PERMISSION_DENIED", lambda: client("RemoveBarrier", owner="bob"))
        assert client("GetInfo").blocked_workers == [1]  # the save goes on
        slow.go.set()
        assert save.result().finished_workers == [0, 1]
        assert not client("GetInfo").placed
        eventually(lambda: client("GetInfo").unblocked_workers == [1])


def test_more_saves_than_may_wait(tmp_path: Path) -> None:
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        saves = [client.start("SaveNow")]
        slow.started.wait(10)
        saves += [client.start("SaveNow" if i else "SaveCheckpoint") for i in range(3)]
        eventually(lambda: job.job.hook._on_demand._requests._waiting.__len__() == 3)
        said = refused("RESOURCE_EXHAUSTED", lambda: client("SaveNow"))
        assert said == "4 saves are waited for already"
        assert client("GetInfo").saving  # others are answered
        client("PlaceBarrier", owner="alice")
        slow.go.set()
        assert [save.result() is not None for save in saves] == [True] * 4
        client("SaveNow")


def test_what_a_save_raises_comes_to_whoever_asked(tmp_path: Path) -> None:
    from save_support import listener

    def fail(session: Any, step: int | None) -> None:
        raise ValueError("a listener's\nfault")

    failing = listener(before=fail)
    with running(tmp_path, 1, listeners=[failing]) as job, job.client() as client:
        said = refused("ABORTED", lambda: client("SaveNow", owner="alice"))
        assert said == "monolith: a listener's"
        [entry] = job.log()
        assert (entry["owner"], entry["result"]) == ("alice", said)
        assert not client("GetInfo").placed
        job.goes_on()


def test_what_a_callback_raises_comes_to_whoever_placed(tmp_path: Path) -> None:
    def fail(action: str, session: Any) -> None:
        if not action:
            raise KeyError("callback")

    with running(tmp_path, callback=fail) as job, job.client() as client:
        refused("ABORTED", lambda: client("PlaceBarrier", owner="alice"))
        assert not client("GetInfo").placed
        assert [entry["method"] for entry in job.log()] == ["PlaceBarrier"]


def test_stop_job(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        client("PlaceBarrier", owner="alice")
        client("StopJob", reason="enough", owner="bob")
        assert job.stop.wait(10)  # by itself
        eventually(lambda: job.server.address is None)
        [step] = steps(tmp_path)  # the last one
        assert job.states(step) == [0]
    assert [(e["method"], e["owner"], e["reason"]) for e in job.log()] == [
        ("PlaceBarrier", "alice", ""),
        ("StopJob", "bob", "enough"),
    ]
