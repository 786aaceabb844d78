"""What a job's Controller service writes into its log."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from control_support import CHANGING, LOG, Slow, refused, running, together
from waiting import eventually

pytestmark = pytest.mark.usefixtures("job_ends")


def test_the_log_has_a_line_for_each(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text('{"method": "of a run before"}\n{"torn')
    with running(tmp_path, 1) as job, job.client() as client:
        client("GetInfo")
        lease = client("PlaceBarrier", owner="alice", reason='to\n"look" ä', ttl_ms=9000).lease_id
        client("RenewBarrier", lease_id=lease, ttl_ms=9000)
        refused("ALREADY_EXISTS", lambda: client("StopTraining"))
        client("SaveNow", owner="alice", reason="x" * 5000)
        client("RemoveBarrier", owner="alice", reason="done")
        port = job.address.rpartition(":")[2]
    first, torn, *lines = (tmp_path / LOG).read_text().splitlines()
    assert (first, torn) == ('{"method": "of a run before"}', '{"torn')
    entries = [json.loads(line) for line in lines]
    assert [list(entry) for entry in entries] == [
        ["time", "method", "owner", "peer", "reason", "result"]
    ] * 4
    assert [(e["method"], e["owner"], e["reason"], e["result"][:30]) for e in entries] == [
        ("PlaceBarrier", "alice", 'to\n"look" ä', "done"),
        ("StopTraining", "", "", "the barrier was placed by alic"),
        ("SaveNow", "alice", "x" * 1000, "done"),
        ("RemoveBarrier", "alice", "done", "done"),
    ]
    assert all(entry["time"].endswith("+00:00") for entry in entries)
    assert all(not entry["peer"].endswith(f":{port}") for entry in entries)


def test_the_log_says_whose_barrier_it_was(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        lease = client("PlaceBarrier", owner="alice", ttl_ms=60_000).lease_id
        client("RemoveBarrier", owner="bob", force=True)
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id=lease, ttl_ms=60_000))
        refused("NOT_FOUND", lambda: client("RenewBarrier", lease_id="x", ttl_ms=60_000))
        client("StopTraining")
        client("RemoveBarrier", owner="bob", force=True)
        job.barrier.place_barrier(job.job.raw, "Maintenance")
        client("RemoveBarrier", owner="bob", force=True)
        client("PlaceBarrier", owner="bob")
        client("RemoveBarrier", owner="bob", force=True)  # his own
    assert [(e["method"], e["owner"], e.get("holder")) for e in job.log()] == [
        ("PlaceBarrier", "alice", None),
        ("RemoveBarrier", "bob", "alice"),
        ("RenewBarrier", "alice", None),
        ("RenewBarrier", "", None),
        ("StopTraining", "", None),
        ("RemoveBarrier", "bob", "an original client"),
        ("RemoveBarrier", "bob", "nobody known"),
        ("PlaceBarrier", "bob", None),
        ("RemoveBarrier", "bob", None),
    ]


def test_many_write_the_log_at_once(tmp_path: Path) -> None:
    with running(tmp_path, allow_without_token=True) as job, job.client() as client:

        def act(index: int) -> None:
            for _ in range(20):
                client("RemoveBarrier", owner=f"owner-{index}", reason="r" * 900)

        together(6, act)
        owners = [entry["owner"] for entry in job.log()]
        assert sorted(owners) == sorted([f"owner-{i}" for i in range(6)] * 20)


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir()
    with running(tmp_path) as job, job.client() as client:
        client("PlaceBarrier", owner="alice")
        assert client("GetInfo").placed


def test_who_is_refused_does_not_fill_the_log(tmp_path: Path) -> None:
    from monolith_cli.control.log import read_log

    with running(tmp_path) as job, job.client() as client:
        client("PlaceBarrier", owner="alice")
        with job.client(token="wrong") as other, job.client(token=None) as another:
            for method in CHANGING:
                refused("UNAUTHENTICATED", lambda m=method: other(m))
            for _ in range(30):
                said = refused(
                    "UNAUTHENTICATED",
                    lambda: another("PlaceBarrier", owner="the president", reason="x" * 60_000),
                )
        assert said == "this job takes orders only with its token"
        client("RemoveBarrier", owner="alice")
    log = job.log()
    assert [(e["method"], e["owner"], e["reason"], e["result"]) for e in log] == [
        ("PlaceBarrier", "alice", "", "done"),
        *((method, None, None, "a wrong token") for method in CHANGING[:5]),
        ("RemoveBarrier", "alice", "", "done"),
        (None, None, None, f"{len(CHANGING) - 5 + 30} more calls refused within a minute"),
    ]
    assert all(entry["peer"].startswith("ipv4:127.0.0.1:") for entry in log[:-1])
    assert log[-1]["peer"] == "ipv4:127.0.0.1"
    assert os.path.getsize(tmp_path / LOG) < 2000
    methods = [entry["method"] for entry in read_log(tmp_path, 2)]
    assert methods == ["PlaceBarrier", CHANGING[4], "RemoveBarrier", None]


def test_those_refused_in_another_minute_have_lines_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monolith_cli.training.control import log as control_log

    monkeypatch.setattr(control_log, "_SPAN_SECONDS", 0.2)
    log = control_log.ControlLog(str(tmp_path))

    def results() -> list[str]:
        path = tmp_path / LOG
        return [json.loads(line)["result"] for line in path.read_text().splitlines()]

    for minute in (1, 2):
        for number in range(8):
            log.write_refused("StopJob", "a wrong token", f"ipv4:10.0.0.{number}:1")
        eventually(lambda m=minute: len(results()) == 6 * m)
    assert results() == [*["a wrong token"] * 5, "3 more calls refused within a minute"] * 2
    for number in range(20):
        log.write_refused("StopJob", "a wrong token", f"ipv6:[::{number:x}]:1")
    log.close()
    log.close()
    last = json.loads((tmp_path / LOG).read_text().splitlines()[-1])
    assert last["result"] == "15 more calls refused within a minute"
    assert last["peer"] == ", ".join([*(f"ipv6:[::{n:x}]" for n in range(5, 10)), "others"])


def test_the_end_of_a_time_to_live_is_in_the_log(tmp_path: Path) -> None:
    def ended() -> list[Any]:
        return [
            (e["owner"], e["peer"], e["reason"], e["result"])
            for e in job.log()
            if e["method"] == "ExpireBarrier"
        ]

    over = "its time-to-live is over"
    with running(tmp_path, 1) as job, job.client() as client:
        client("PlaceBarrier", owner="alice", reason="to look", ttl_ms=50)
        eventually(lambda: ended() == [("alice", None, "to look", over)])
        assert not client("GetInfo").placed
        lease = client("PlaceBarrier", owner="bob", ttl_ms=60_000).lease_id
        client("RenewBarrier", lease_id=lease, ttl_ms=1)
        eventually(lambda: ended()[1:] == [("bob", None, "", over)])
        job.barrier.place_barrier(job.job.raw, ttl_seconds=0.01)  # the trainer's own
        eventually(lambda: ended()[2:] == [(None, None, None, over)])
        client("PlaceBarrier", owner="alice", ttl_ms=60_000)
        client("RemoveBarrier", owner="alice")
    assert len(ended()) == 3


def test_a_time_to_live_that_ends_is_never_none(tmp_path: Path) -> None:
    """Whoever looks while it ends sees a barrier that ends, or none."""
    slow = Slow()
    with running(tmp_path, 1, listeners=[slow.listener]) as job, job.client() as client:
        read = job.barrier._state.read

        def late(session: Any) -> Any:
            status = read(session)
            if status.placed and threading.current_thread().name.startswith("controller-looks"):
                time.sleep(0.2)  # until after the end
            return status

        job.barrier._state.read = late
        for ttl_ms in (1, 100):
            client("PlaceBarrier", owner="alice", ttl_ms=ttl_ms)
            info = client("GetInfo")
            assert (info.placed, info.owner) in ((True, "alice"), (False, ""))
            assert info.placed == (info.expires_in_ms == 1), info
            eventually(lambda: not client("GetInfo").placed)
        # A save keeps what has ended.
        save = client.start("SaveNow")
        slow.started.wait(10)
        client("PlaceBarrier", owner="alice", ttl_ms=1)
        eventually(lambda: job.log()[-1]["method"] == "ExpireBarrier")
        info = client("GetInfo")
        assert (info.placed, info.owner, info.expires_in_ms) == (True, "alice", 1)
        slow.go.set()
        save.result()
        assert not client("GetInfo").placed


def test_the_owner_is_known_as_soon_as_the_barrier(tmp_path: Path) -> None:
    placing, go = threading.Event(), threading.Event()

    def wait(action: str, session: Any) -> None:
        placing.set()
        go.wait(20)

    with running(tmp_path, callback=wait) as job, job.client() as client:
        place = client.start("PlaceBarrier", owner="alice")
        placing.wait(10)
        look = client.start("GetInfo")
        time.sleep(0.1)
        go.set()
        assert (look.result().placed, look.result().owner) == (True, "alice")
        client("RemoveBarrier", lease_id=place.result().lease_id)
