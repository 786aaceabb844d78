"""Who asks a job's Controller service for too much, and who has to wait."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from control_support import Running, refused, running
from waiting import eventually

pytestmark = pytest.mark.usefixtures("job_ends")


def test_a_message_that_is_too_large(tmp_path: Path) -> None:
    """The job's own words, and not grpc's, which has the same status for too many calls."""
    with running(tmp_path) as job, job.client() as client:
        said = refused("INVALID_ARGUMENT", lambda: client("SaveNow", reason="x" * 70_000))
        assert said == "a request of 70004 bytes is too long: 65536 are taken"
        said = refused("INVALID_ARGUMENT", lambda: client("PlaceBarrier", reason="ä" * 10_000))
        assert said == "owner and reason have 20000 bytes, and may have 16384"
        said = refused("RESOURCE_EXHAUSTED", lambda: client("StopJob", reason="x" * 2_000_000))
        assert "larger than max" in said
        client("PlaceBarrier", owner="alice", reason="ä" * 8000)
        assert len(client("GetInfo").reason) == 8000
        said = refused("ALREADY_EXISTS", lambda: client("PlaceBarrier"))
        assert said.startswith("the barrier was placed by alice 0 s ago: äää")
        assert len(said) == 600
        results = [entry["result"] for entry in job.log()]
        assert [result[:14] for result in results[:2]] == ["a request of 7", "owner and reas"]


def test_garbage(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        for method in ("PlaceBarrier", "SaveNow", "RemoveBarrier"):
            raw = client.channel.unary_unary(f"/Controller/{method}")
            for data in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x02\xff\xff"):
                say = functools.partial(raw, data, timeout=5)
                refused("UNAUTHENTICATED", say)
                said = refused("INVALID_ARGUMENT", lambda s=say: s(metadata=client.metadata))
                assert said == "the request does not parse"
        assert [e["result"] for e in job.log()].count("the request does not parse") == 9
        for name in ("/Controller/Nothing", "/Other/GetInfo"):
            raw = client.channel.unary_unary(name)
            refused("UNIMPLEMENTED", lambda r=raw: r(b"", timeout=5))
        # Fields of a client that is newer than the job.
        client.channel.unary_unary("/Controller/GetInfo")(b"\xfa\x01\x03new", timeout=5)
        assert not client("GetInfo").placed


def looking_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("controller-looks")]


def test_who_looks_or_is_refused_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more than are taken at once some are sent away; orders come through all the time."""
    from monolith_cli.training.control import calls as control_calls

    monkeypatch.setattr(control_calls, "_MOST_LOOKS", 20)
    with running(tmp_path) as job, job.client() as client, job.client(token="wrong") as other:
        for start in (
            lambda: client.start("GetTrainingStatus"),
            lambda: client.start("GetInfo"),
            lambda: other.start("StopTraining"),
        ):
            read, go = job.barrier._state.read, threading.Event()

            def slow(session: Any, read: Any = read, go: Any = go) -> Any:
                if threading.current_thread().name.startswith("controller-looks"):
                    assert go.wait(20)  # as if the parameter server were slow
                return read(session)

            job.barrier._state.read = slow
            first = client.start("GetInfo")
            eventually(lambda: looking_threads())
            calls = [start() for _ in range(60)]
            try:
                for _ in range(3):
                    lease = client("PlaceBarrier", owner="alice", timeout=5).lease_id
                    client("RenewBarrier", lease_id=lease, timeout=5)
                    client("RemoveBarrier", lease_id=lease, timeout=5)
                client("SaveNow", timeout=10)
            finally:
                go.set()
                job.barrier._state.read = read
            assert first.code() == grpc.StatusCode.OK
            codes = [call.code() for call in calls]
            sent_away = [c for c in calls if c.code() == grpc.StatusCode.RESOURCE_EXHAUSTED]
            assert {call.details() for call in sent_away} == {"too many calls at once: ask again"}
            assert 19 <= len(codes) - len(sent_away) <= 21
            assert {grpc.StatusCode.RESOURCE_EXHAUSTED} < set(codes)
            job.goes_on()
        assert len(looking_threads()) == 1


def test_headers_alone_keep_nobody_waiting(tmp_path: Path) -> None:
    """Calls whose message never comes."""
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(30)
        yield from ()

    with running(tmp_path) as job, job.client() as client:
        calls = [
            client.channel.stream_unary(f"/Controller/{method}").future(nothing())
            for method in ("GetInfo", "StopTraining", "StopJob") * 5
        ]
        try:
            client("PlaceBarrier", owner="alice", timeout=5)
            assert client("GetInfo", timeout=5).owner == "alice"
            codes = {call.code() for call in calls}
            assert codes == {grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED}
        finally:
            never.set()


def test_more_orders_than_the_job_takes(tmp_path: Path) -> None:
    with running(tmp_path) as job, job.client() as client:
        with job.server._server._barrier._lock:
            calls = [client.start("RemoveBarrier") for _ in range(100)]
            eventually(lambda: sum(call.done() for call in calls) == 36)
            assert not client("GetInfo").placed
        codes = [call.code() for call in calls]
        assert codes.count(grpc.StatusCode.OK) == 64
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 36


def test_those_who_look_together_see_the_same(tmp_path: Path) -> None:
    """One look at the job for all of them, taken after they have asked."""
    with running(tmp_path) as job, job.client() as client:
        looks = []
        look = job.barrier.look

        def counted(session: Any) -> Any:
            looks.append(threading.current_thread().name)
            return look(session)

        job.barrier.look = counted
        calls = [client.start("GetInfo") for _ in range(200)]
        assert {call.code() for call in calls} == {grpc.StatusCode.OK}
        # 32 in a round at most; on a slow machine they come one after the other.
        assert 7 <= len(looks) <= 60
        for _ in range(5):  # one's own deed is always seen
            client("PlaceBarrier", owner="alice")
            calls = [client.start("GetInfo") for _ in range(5)]
            assert all(call.result().owner == "alice" for call in calls)
            client("RemoveBarrier", owner="alice")
            assert not client("GetBlockStatus").blocked_indices


def test_whoever_has_waited_in_vain_places_nothing(tmp_path: Path) -> None:
    with running(tmp_path, 1) as job, job.client() as client:
        server: Running = job
        client("GetInfo")  # connected
        with server.server._server._barrier._lock:  # as if the parameter server were slow
            refused("DEADLINE_EXCEEDED", lambda: client("PlaceBarrier", timeout=0.3))
            time.sleep(0.3)  # until the job has learnt of it, too
        eventually(lambda: [e["result"] for e in job.log()] == ["whoever asked has gone"])
        assert not client("GetInfo").placed
